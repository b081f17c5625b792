//! `Image`: a linked module from which instances are made in the time of a function call.
//!
//! Everything that depends on the module, its imports and its grants alone is done once, for each slot: see
//! [`crate::slot`]. An image is closed: only functions come from outside.
//!
//! | file | what it holds |
//! |---|---|
//! | [`config`] | how instances begin |
//! | [`instance`] | an instance, and its functions |
//!
//! # Safety
//! Trusts: [`crate::slot`]. Gives: slots of an image of `T` hold stores of `T`; host data is written when a life begins
//! and read or dropped once when it ends.

mod config;
mod instance;

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aura_validator::module::ExternIndex;

pub use self::config::ImageConfig;
pub(crate) use self::instance::FuncPlace;
pub use self::instance::{ImageFunc, ImageInstance};
use crate::error::{Error, Result};
use crate::grant;
use crate::instance::{Beginning, Resolved, link};
use crate::linker::Linker;
use crate::loan::{SlotWindow, Standing};
use crate::module::Module;
use crate::signals;
use crate::slot::{self, Shelf, Slot};
use crate::snapshot::Snapshot;
use crate::store::{Store, StoreData, StoreInner};
use crate::typed::{WasmParams, WasmResults};
use crate::vm::content::MemoryImage;
use crate::vm::memory::LinearMemory;
use crate::vm::reset::Tracking;

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
    /// What every instance is lent. Slots are lent it one at a time: counters of a grant are of one thread.
    lent: Mutex<Vec<Standing>>,
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
            lent: Mutex::new(config.lent.iter().map(Standing::renewed).collect()),
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

    /// Takes back what [`ImageConfig::lend`] lent, from all instances, also while they run on other threads: when this
    /// returns, no access to it succeeds any more.
    pub fn revoke_lent(&self) {
        let lent = self.core.lent.lock().unwrap_or_else(PoisonError::into_inner);
        lent.iter().for_each(Standing::revoke);
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
        let window = self.add_window(data())?;
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
            window,
        }));
        Ok(())
    }

    /// Adds the window that the configuration asks for, and lends what it lends.
    fn add_window(&self, data: &mut StoreData) -> Result<Option<SlotWindow>> {
        if self.config.window == 0 && self.config.lent.is_empty() {
            return Ok(None);
        }
        let first = || data.memories.first().map(|memory| memory.vm());
        let memory = data.instances[0].exported_memory().or_else(first);
        let memory = memory.ok_or_else(|| Error::usage("the module has no memory that could have a window"))?;
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        SlotWindow::add(data, memory, self.config.window, &mut lent).map(Some)
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
        let expected = self.shelf.expected.lock().unwrap_or_else(PoisonError::into_inner);
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
