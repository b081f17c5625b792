//! `ImageInstance`: an instance of an image, and its functions.
//!
//! # Safety
//! Trusts: a store keeps its instances as long as it exists.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::Core;
use crate::error::Result;
use crate::externs::Func;
use crate::grant::Subject;
use crate::instance::{Instance, run_start};
use crate::loan::Window;
use crate::module::Module;
use crate::store::{AsContext, AsContextMut, Store, StoreContext, StoreContextMut};
use crate::typed::{TypedFunc, WasmParams, WasmResults};
use crate::vm::instance::InstanceData;

/// An exported function of every instance of an [`crate::Image`].
pub struct ImageFunc<P, R> {
    pub(super) module: Module,
    pub(super) func: FuncPlace,
    pub(super) types: PhantomData<fn(P) -> R>,
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

/// An instance of an [`crate::Image`]: a store of its own, which dropping takes back.
///
/// It cannot be used after it was dropped, nor what was borrowed from it:
///
/// ```compile_fail,E0382
/// # use aura_runtime::{Engine, Image, ImageConfig, Linker, Module};
/// # let engine = Engine::default();
/// # let module = Module::new(&engine, r#"(module (memory (export "m") 1) (func (export "f")))"#).unwrap();
/// # let image = Image::<()>::new(&Linker::new(&engine), &module, &ImageConfig::new()).unwrap();
/// let func = image.typed_func::<(), ()>("f").unwrap();
/// let mut instance = image.instantiate(()).unwrap();
/// drop(instance);
/// instance.call(&func, ()).unwrap();
/// ```
///
/// ```compile_fail,E0505
/// # use aura_runtime::{Engine, Image, ImageConfig, Linker, Module};
/// # let engine = Engine::default();
/// # let module = Module::new(&engine, r#"(module (memory (export "m") 1) (func (export "f")))"#).unwrap();
/// # let image = Image::<()>::new(&Linker::new(&engine), &module, &ImageConfig::new()).unwrap();
/// let instance = image.instantiate(()).unwrap();
/// let memory = instance.instance().get_memory(&*instance, "m").unwrap();
/// let bytes = memory.data(&*instance);
/// drop(instance);
/// println!("{}", bytes[0]);
/// ```
///
/// Handles to things of it fit no other life of its slot, and an instance outlives the image it is of:
///
/// ```
/// # use aura_runtime::{Engine, Image, ImageConfig, Linker, Module};
/// # let engine = Engine::default();
/// # let module = Module::new(&engine, r#"(module (memory (export "m") 1) (func (export "f")))"#).unwrap();
/// # let image = Image::<()>::new(&Linker::new(&engine), &module, &ImageConfig::new()).unwrap();
/// let func = image.typed_func::<(), ()>("f").unwrap();
/// let first = image.instantiate(()).unwrap();
/// let memory = first.instance().get_memory(&*first, "m").unwrap();
/// drop(first);
/// let mut second = image.instantiate(()).unwrap();
/// assert!(memory.grow(&mut *second, 1).is_err());
/// drop(image);
/// second.call(&func, ()).unwrap();
/// ```
pub struct ImageInstance<T: 'static> {
    pub(super) store: Store<T>,
}

impl<T: fmt::Debug> fmt::Debug for ImageInstance<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageInstance").field("store", &self.store).finish()
    }
}

impl<T: 'static> ImageInstance<T> {
    #[cold]
    pub(super) fn begin(&mut self, core: &Core<T>) -> Result<()> {
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

    /// The window of its memory, if [`ImageConfig::window`] asked for one.
    ///
    /// [`ImageConfig::window`]: super::ImageConfig::window
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        let data = &self.store.as_context().0.data;
        let place = data.slot.as_ref()?.window.as_ref()?;
        Some(place.window(data.id))
    }

    /// Address and length in the guest's memory of what [`ImageConfig::lend`] lent, in the order of those calls; `None` if
    /// there is no such loan, or it was taken back before the slot was made. Where it was taken back since, accesses trap.
    ///
    /// [`ImageConfig::lend`]: super::ImageConfig::lend
    #[inline]
    #[must_use]
    pub fn lent(&self, index: usize) -> Option<(u64, u64)> {
        let data = &self.store.as_context().0.data;
        let loan = data.slot.as_ref()?.window.as_ref()?.lent.get(index)?.as_ref()?;
        Some((loan.address(), loan.len()))
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
