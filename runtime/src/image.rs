//! `Image`: a linked module from which instances are made in the time of a function call.
//!
//! Everything that depends on the module, its imports and its grants alone is done once, for each slot: see
//! [`crate::slot`]. An image is closed: only functions come from outside.
//!
//! # Safety
//! Trusts: [`crate::slot`]. Gives: slots of an image of `T` hold stores of `T`; host data is written when a life begins
//! and read or dropped once when it ends.

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aura_host_abi::{Capability, GrantSpec, Terms};
use aura_validator::module::ExternIndex;

use crate::error::{Error, Result};
use crate::externs::Func;
use crate::grant::{self, Subject};
use crate::instance::{Beginning, Instance, Resolved, link, run_start};
use crate::linker::Linker;
use crate::module::Module;
use crate::signals;
use crate::slot::{self, Bound, Shelf, Slot};
use crate::snapshot::Snapshot;
use crate::store::{AsContext, AsContextMut, Store, StoreContext, StoreContextMut, StoreData, StoreInner, StoreLimits};
use crate::typed::{TypedFunc, WasmParams, WasmResults};
use crate::vm::instance::InstanceData;
use crate::vm::memory::LinearMemory;
use crate::vm::reset::{MemoryImage, Tracking};

/// Makes a grant known to the host's data.
type Attach<T> = fn(&mut T, &Arc<Capability>) -> Result<()>;

/// How instances of an [`Image`] begin. Every setting has a default.
pub struct ImageConfig<T: 'static> {
    fuel: u64,
    limits: Option<StoreLimits>,
    grants: Vec<(GrantSpec, Terms)>,
    attach: Option<Attach<T>>,
    open_handles: Option<fn(&T) -> Option<String>>,
    idle_max: usize,
    bound: Option<Bound>,
    protects: bool,
}

impl<T> Clone for ImageConfig<T> {
    fn clone(&self) -> Self {
        Self { limits: self.limits, grants: self.grants.clone(), ..*self }
    }
}

impl<T> fmt::Debug for ImageConfig<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageConfig").field("grants", &self.grants).field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl<T> Default for ImageConfig<T> {
    fn default() -> Self {
        Self {
            fuel: 0,
            limits: None,
            grants: Vec::new(),
            attach: None,
            open_handles: None,
            idle_max: 256,
            bound: None,
            protects: true,
        }
    }
}

impl<T> ImageConfig<T> {
    /// The default: no grants, no fuel, the engine's limits, as many slots as are wanted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Fuel of each instance at its beginning, if the engine consumes fuel.
    pub fn fuel(&mut self, fuel: u64) -> &mut Self {
        self.fuel = fuel;
        self
    }

    /// What each instance may take, instead of [`crate::Config::store_limits`].
    pub fn limits(&mut self, limits: StoreLimits) -> &mut Self {
        self.limits = Some(limits);
        self
    }

    /// Grants every instance this from its beginning, anew for each: what one used up, another has whole.
    pub fn grant(&mut self, spec: GrantSpec, terms: Terms) -> &mut Self {
        self.grants.push((spec, terms));
        self
    }

    /// Says how the host's data is told of each grant, as [`Store::on_grant`].
    pub fn on_grant(&mut self, attach: fn(&mut T, &Arc<Capability>) -> Result<()>) -> &mut Self {
        self.attach = Some(attach);
        self
    }

    /// Says what the host's data holds open that a snapshot cannot have: it is refused then, with this text.
    pub fn open_handles(&mut self, find: fn(&T) -> Option<String>) -> &mut Self {
        self.open_handles = Some(find);
        self
    }

    pub(crate) fn open_handles_of(&self, data: &T) -> Option<String> {
        self.open_handles.and_then(|find| find(data))
    }

    /// How many slots a thread keeps waiting for this image, 256 unless set; what comes back beyond is freed.
    pub fn idle_max(&mut self, slots: usize) -> &mut Self {
        self.idle_max = slots;
        self
    }

    /// How many instances may exist at once. One more is an error, or waits this long for another to be dropped. The slots
    /// then wait behind a lock, for every thread to find.
    pub fn slots_max(&mut self, slots: usize, wait: Option<Duration>) -> &mut Self {
        self.bound = Some(Bound { slots, wait });
        self
    }

    /// Whether pages that instances have not been seen to write are write-protected, so that only the written ones are taken
    /// back; `true` unless set. Without it every page is compared when an instance is dropped: for very many small ones.
    pub fn protect_pages(&mut self, on: bool) -> &mut Self {
        self.protects = on;
        self
    }
}

/// A module that is linked once, from which instances are made fast. Cheap to clone, usable from any thread.
///
/// An instance is a [`Store`] of its own with one instance in it. Dropping it takes everything back, so that the next
/// instance finds nothing of it, and costs no system call and no page fault as long as it stays within what earlier instances
/// did: growth of memory, pages never written before, objects, or handles for other threads take the slower ways that
/// they need. The first instance on each thread makes a slot, which costs what an ordinary instance costs.
pub struct Image<T: 'static> {
    core: Arc<Core<T>>,
}

struct Core<T: 'static> {
    module: Module,
    imports: Vec<Resolved>,
    config: ImageConfig<T>,
    fuel: i64,
    starts: bool,
    shelf: Arc<Shelf>,
    /// Where instances begin, if not as the module says.
    snapshot: Option<Snapshot>,
    /// Of the memories that the module defines.
    memories: OnceLock<Vec<Arc<MemoryImage>>>,
}

impl<T> Drop for Core<T> {
    fn drop(&mut self) {
        self.shelf.close();
    }
}

impl<T> Clone for Image<T> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone() }
    }
}

impl<T> fmt::Debug for Image<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("module", &self.core.module).finish_non_exhaustive()
    }
}

impl<T: 'static> Image<T> {
    /// Links a module; makes the first slot, so that what is wrong shows here.
    ///
    /// # Errors
    /// As [`Linker::instantiate`]; if the linker defines an import as something of a store.
    pub fn new(linker: &Linker<T>, module: &Module, config: &ImageConfig<T>) -> Result<Self> {
        Self::begin_at(linker.functions(module)?, module, config, None)
    }

    pub(crate) fn begin_at(
        imports: Vec<Resolved>,
        module: &Module,
        config: &ImageConfig<T>,
        snapshot: Option<Snapshot>,
    ) -> Result<Self> {
        signals::install()?;
        let core = Core {
            module: module.clone(),
            imports,
            fuel: i64::try_from(config.fuel).unwrap_or(i64::MAX),
            starts: snapshot.is_none() && module.validated().start().is_some(),
            shelf: Arc::new(Shelf::new(config.idle_max, config.bound)),
            config: config.clone(),
            snapshot,
            memories: OnceLock::new(),
        };
        let image = Self { core: Arc::new(core) };
        if image.core.shelf.take_or_count()?.is_none() {
            let made = image.make_slot()?;
            // SAFETY: the slot is new and has no host data.
            unsafe { slot::end_life(made.as_ptr().cast()) };
        }
        Ok(image)
    }

    /// The module.
    #[must_use]
    pub fn module(&self) -> &Module {
        &self.core.module
    }

    pub(crate) fn imports(&self) -> &[Resolved] {
        &self.core.imports
    }

    /// How many slots exist on all threads, in use or waiting.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.core.shelf.slots()
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// If the start function traps, the host's data refuses a grant, or there is no slot and none can be made.
    #[inline]
    pub fn instantiate(&self, data: T) -> Result<ImageInstance<T>> {
        let core = &*self.core;
        let store = match core.shelf.take() {
            Some(waiting) => waiting.cast(),
            None => self.another_slot()?.as_ptr(),
        };
        // SAFETY: the store was taken from a list, or made, for this: it is nobody else's.
        let inner: &mut StoreInner<MaybeUninit<T>> = unsafe { &mut *store };
        inner.user.write(data);
        slot::begin_life(&mut inner.data, core.fuel);
        // SAFETY: the host's data was written just now; the allocation is a store's.
        let store = unsafe { Store::of_slot(NonNull::from(inner).cast()) };
        let mut instance = ImageInstance { store };
        if core.starts || !core.config.grants.is_empty() {
            instance.begin(core)?;
        }
        Ok(instance)
    }

    /// Runs `body` with an instance that ends with it.
    ///
    /// # Errors
    /// As [`Image::instantiate`].
    #[inline]
    pub fn run<R>(&self, data: T, body: impl FnOnce(&mut ImageInstance<T>) -> R) -> Result<R> {
        let mut instance = self.instantiate(data)?;
        Ok(body(&mut instance))
    }

    /// The exported function of this name, its type checked, for every instance of the image.
    ///
    /// # Errors
    /// If there is no such function or its type is another.
    pub fn typed_func<P: WasmParams, R: WasmResults>(&self, name: &str) -> Result<ImageFunc<P, R>>
    where
        T: Default,
    {
        self.typed_func_with(name, T::default())
    }

    /// As [`Image::typed_func`], with data for the instance in which the function is looked up.
    ///
    /// # Errors
    /// As there.
    pub fn typed_func_with<P: WasmParams, R: WasmResults>(&self, name: &str, data: T) -> Result<ImageFunc<P, R>> {
        let instance = self.instantiate(data)?;
        instance.instance().get_typed_func::<P, R>(&instance.store, name)?;
        let index = self.core.module.validated().export(name).map(|export| export.index);
        let Some(ExternIndex::Func(func)) = index else { unreachable!("it was found as a function just now") };
        Ok(ImageFunc {
            module: self.core.module.clone(),
            func: instance.instance_data().func_place(func),
            types: PhantomData,
        })
    }

    /// A slot where this thread has none waiting.
    #[cold]
    #[inline(never)]
    fn another_slot(&self) -> Result<NonNull<StoreInner<MaybeUninit<T>>>> {
        match self.core.shelf.take_or_count()? {
            Some(waiting) => Ok(NonNull::new(waiting).expect("stores on lists are live").cast()),
            None => self.make_slot(),
        }
    }

    /// Makes a slot that was counted.
    fn make_slot(&self) -> Result<NonNull<StoreInner<MaybeUninit<T>>>> {
        let made = Store::<MaybeUninit<T>>::new(self.core.module.engine(), MaybeUninit::uninit());
        let pointer = made.pointer();
        // SAFETY: the store is live and used through this pointer alone.
        let data = unsafe { &raw mut (*pointer.as_ptr()).data };
        // SAFETY: as above.
        if let Err(error) = unsafe { self.core.make_ready(data) } {
            self.core.shelf.uncount();
            return Err(error);
        }
        std::mem::forget(made);
        Ok(pointer)
    }
}

impl<T: 'static> Core<T> {
    /// Links the instance of a new slot and notes how it is.
    ///
    /// # Safety
    /// `store` is live, and nothing of it is borrowed. On an error it is as any store.
    unsafe fn make_ready(&self, store: *mut StoreData) -> Result<()> {
        // SAFETY: said by the caller; each borrow ends within its line.
        let data = || unsafe { &mut *store };
        if let Some(limits) = self.config.limits {
            data().limit(limits);
        }
        if let Some(attach) = self.config.attach {
            grant::set_attach(data(), attach);
        }
        // Linking is done once for all lives, and charged to none.
        data().shared.set_fuel(i64::MAX);
        let beginning = if self.snapshot.is_some() { Beginning::Bare } else { Beginning::Segments };
        // SAFETY: said by the caller.
        unsafe { link(store, &self.module, self.imports.clone(), beginning) }?;
        if let Some(snapshot) = &self.snapshot {
            snapshot.apply(data())?;
        }
        let single_use = !data().shared_memories.is_empty() || !data().heap.is_untouched();
        if !single_use {
            self.track(data())?;
        }
        let data = data();
        let (memory_bytes, table_elements) = data.usage_now();
        data.slot = Some(Box::new(Slot {
            shelf: self.shelf.clone(),
            free: free::<T>,
            template: data.instances[0].template(),
            tables: data.tables.iter().map(|table| table.elements()).collect(),
            memories: data.memories.len(),
            host_records: data.host_records.len(),
            memory_bytes,
            table_elements,
            single_use,
        }));
        Ok(())
    }

    fn track(&self, data: &StoreData) -> Result<()> {
        let refused = |error: rustix::io::Errno| Error::resource(format!("keeping a memory's content: {error}"));
        if self.memories.get().is_none() {
            let of = |memory: &LinearMemory| MemoryImage::of(memory).map(Arc::new).map_err(refused);
            let images = match &self.snapshot {
                Some(snapshot) => snapshot.memories().to_vec(),
                None => data.memories.iter().map(|memory| of(memory)).collect::<Result<Vec<_>>>()?,
            };
            // Another thread may have been first: what both made is the same.
            let _ = self.memories.set(images);
        }
        let images = self.memories.get().expect("just made");
        let expected = self.shelf.expected.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (index, (memory, image)) in data.memories.iter().zip(images).enumerate() {
            let expected = expected.get(index).map_or(&[][..], |pages| pages);
            if self.snapshot.is_some() || image.is_file() {
                image.fill(memory).map_err(refused)?;
            }
            memory.track(Tracking::new(memory, image.clone(), self.config.protects, expected));
        }
        Ok(())
    }
}

/// Frees a slot's store, whose host data is gone.
///
/// # Safety
/// `store` is the data of a slot of an image of `T`, and nobody else's.
unsafe fn free<T: 'static>(store: *mut StoreData) {
    // SAFETY: said by the caller.
    let slot = unsafe { (*store).slot.take() };
    let pointer = NonNull::new(store).expect("a store").cast::<StoreInner<MaybeUninit<T>>>();
    // SAFETY: said by the caller; it is no slot any more, so that it is dropped as a store without host data.
    drop(unsafe { Store::of_slot(pointer) });
    drop(slot);
}

/// An exported function of every instance of an [`Image`].
pub struct ImageFunc<P, R> {
    module: Module,
    func: FuncPlace,
    types: PhantomData<fn(P) -> R>,
}

/// Where an instance finds the reference to one of its functions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FuncPlace {
    Import(u32),
    Own(usize),
}

impl<P, R> Clone for ImageFunc<P, R> {
    fn clone(&self) -> Self {
        Self { module: self.module.clone(), func: self.func, types: PhantomData }
    }
}

impl<P, R> fmt::Debug for ImageFunc<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageFunc").field("func", &self.func).finish_non_exhaustive()
    }
}

/// An instance of an [`Image`]: a store of its own, which dropping takes back.
pub struct ImageInstance<T: 'static> {
    store: Store<T>,
}

impl<T: fmt::Debug> fmt::Debug for ImageInstance<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageInstance").field("store", &self.store).finish()
    }
}

impl<T: 'static> ImageInstance<T> {
    #[cold]
    fn begin(&mut self, core: &Core<T>) -> Result<()> {
        for (spec, terms) in &core.config.grants {
            self.store.grant_with(Subject::Store, spec.clone(), *terms)?;
        }
        match core.module.validated().start() {
            Some(start) if core.starts => {
                let data = &raw mut self.store.as_context_mut().0.data;
                // SAFETY: the store is borrowed by this call and used through `data` alone.
                unsafe { run_start(data, 0, start) }
            }
            _ => Ok(()),
        }
    }

    /// The handle of the instance, as the handles of any store's instances.
    #[must_use]
    pub fn instance(&self) -> Instance {
        Instance { store: self.store.as_context().0.data.id, index: 0 }
    }

    pub(crate) fn instance_data(&self) -> &InstanceData {
        let data = self.store.as_context();
        // Dereferences the box as long as the store is borrowed.
        let instance = std::ptr::from_ref(&*data.0.data.instances[0]);
        // SAFETY: instances live as long as their store, which `self` borrows.
        unsafe { &*instance }
    }

    /// A function of the image, in this instance.
    ///
    /// # Panics
    /// If it is of an image of another module, or the store was exchanged for one that has no instance.
    #[inline]
    #[must_use]
    pub fn func<P: WasmParams, R: WasmResults>(&self, func: &ImageFunc<P, R>) -> TypedFunc<P, R> {
        let data = &self.store.as_context().0.data;
        let instance = &data.instances[0];
        assert!(instance.module.same(&func.module), "a function of the same module");
        TypedFunc::of_checked(Func::new_raw(data.id, instance.func_at(func.func)))
    }

    /// Calls a function of the image.
    ///
    /// # Errors
    /// As [`TypedFunc::call`].
    ///
    /// # Panics
    /// As [`ImageInstance::func`].
    #[inline]
    pub fn call<P: WasmParams, R: WasmResults>(&mut self, func: &ImageFunc<P, R>, params: P) -> Result<R> {
        self.func(func).call(&mut self.store, params)
    }

    /// Ends the instance and gives the host's data back.
    #[must_use]
    pub fn into_data(self) -> T {
        self.store.into_data()
    }
}

impl<T> Deref for ImageInstance<T> {
    type Target = Store<T>;

    fn deref(&self) -> &Store<T> {
        &self.store
    }
}

impl<T> DerefMut for ImageInstance<T> {
    fn deref_mut(&mut self) -> &mut Store<T> {
        &mut self.store
    }
}

impl<T: 'static> AsContext for ImageInstance<T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        self.store.as_context()
    }
}

impl<T: 'static> AsContextMut for ImageInstance<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        self.store.as_context_mut()
    }
}
