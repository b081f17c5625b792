//! Borrows of a store: contexts, and [`Caller`], which host functions get.
//!
//! # Safety
//! See [`crate::store`].

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Instant;

use aura_host_abi::GuestMemory;
use aura_host_abi::vm::VmCtx;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::exception::ExnRef;
use crate::externs::Extern;
use crate::gc;
use crate::host;
use crate::store::{Store, StoreInner};
use crate::vm::instance::InstanceData;

/// A shared borrow of a store.
pub struct StoreContext<'a, T: 'static>(pub(crate) &'a StoreInner<T>);

/// An exclusive borrow of a store.
pub struct StoreContextMut<'a, T: 'static>(pub(crate) &'a mut StoreInner<T>);

impl<T> fmt::Debug for StoreContext<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreContext").field(&self.0.data.id).finish()
    }
}

impl<T> fmt::Debug for StoreContextMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreContextMut").field(&self.0.data.id).finish()
    }
}

impl<T> StoreContextMut<'_, T> {
    /// The host's data.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.0.user
    }

    /// As [`Store::gc`], while guests of the store may be running.
    ///
    /// # Errors
    /// As there.
    pub fn gc(&mut self) -> Result<()> {
        gc::collect(&mut self.0.data).map_err(Error::trap_code)
    }
}

/// What a store can be borrowed from: `&Store`, `&mut Store`, [`Caller`].
pub trait AsContext {
    /// The host's data.
    type Data: 'static;
    /// Borrows the store.
    fn as_context(&self) -> StoreContext<'_, Self::Data>;
}

/// What a store can be borrowed from exclusively: `&mut Store`, [`Caller`].
pub trait AsContextMut: AsContext {
    /// Borrows the store exclusively.
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data>;
}

impl<T: 'static> AsContext for Store<T> {
    type Data = T;
    #[inline]
    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.get())
    }
}

impl<T: 'static> AsContextMut for Store<T> {
    #[inline]
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.get_mut())
    }
}

impl<C: AsContext> AsContext for &C {
    type Data = C::Data;
    fn as_context(&self) -> StoreContext<'_, C::Data> {
        (**self).as_context()
    }
}

impl<C: AsContext> AsContext for &mut C {
    type Data = C::Data;
    fn as_context(&self) -> StoreContext<'_, C::Data> {
        (**self).as_context()
    }
}

impl<C: AsContextMut> AsContextMut for &mut C {
    #[inline]
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        (**self).as_context_mut()
    }
}

impl<T> AsContext for StoreContext<'_, T> {
    type Data = T;
    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T> AsContext for StoreContextMut<'_, T> {
    type Data = T;
    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T> AsContextMut for StoreContextMut<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.0)
    }
}

/// What a host function sees of its call: the store, and the instance that imported the function.
pub struct Caller<'a, T: 'static> {
    store: &'a mut StoreInner<T>,
    home: *mut VmCtx,
    /// The number of the call, as [`Flight`] counts.
    number: u64,
}

impl<T> fmt::Debug for Caller<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl<'a, T: 'static> Caller<'a, T> {
    #[inline]
    pub(crate) fn new(store: &'a mut StoreInner<T>, home: *mut VmCtx) -> Self {
        let number = store.data.flight.running();
        Self { store, home, number }
    }

    /// The caller of a function that does not look at it: its number is one that is never cancelled, without a look at the flight.
    #[inline]
    pub(crate) fn unasked(store: &'a mut StoreInner<T>, home: *mut VmCtx) -> Self {
        Self { store, home, number: u64::MAX }
    }

    /// The host's data.
    #[must_use]
    pub fn data(&self) -> &T {
        &self.store.user
    }

    /// As [`Store::take_pending_exception`].
    pub fn take_pending_exception(&mut self) -> Option<ExnRef> {
        ExnRef::take_pending(&mut self.store.data)
    }

    /// The host's data.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.store.user
    }

    /// The engine of the store.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.store.data.engine
    }

    /// The memory that the calling instance exports as `memory`: bounds-checked, never a reference to its bytes.
    /// Empty if it exports none, and if the host itself calls.
    #[must_use]
    pub fn memory(&mut self) -> GuestMemory<'_> {
        host::memory_of(self.home)
    }

    /// Counts bytes that this call moved between host and guest for the grant that let it in.
    pub fn moved(&self, bytes: u64) {
        self.store.data.flight.moved(bytes);
    }

    /// Whether this call is to end: its deadline passed, the host interrupted it, or the grant that let it in was
    /// taken back. A host function that takes long asks every few milliseconds.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        let data = &self.store.data;
        data.shared.interrupted().load(Ordering::Relaxed)
            || data.flight.is_cancelled(self.number)
            || data.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// An export of the instance that imported the function; `None` too if the host called it directly.
    #[must_use]
    pub fn get_export(&mut self, name: &str) -> Option<Extern> {
        if self.home.is_null() {
            return None;
        }
        // SAFETY: `home` is an instance of this store, which lives as long as the store.
        let instance = unsafe { &*InstanceData::from_vmctx(self.home) };
        instance.export(self.store.data.id, name)
    }
}

impl<T: 'static> AsContext for Caller<'_, T> {
    type Data = T;
    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.store)
    }
}

impl<T: 'static> AsContextMut for Caller<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.store)
    }
}

impl<'a, C: AsContext> From<&'a C> for StoreContext<'a, C::Data> {
    fn from(store: &'a C) -> Self {
        store.as_context()
    }
}

impl<'a, C: AsContext> From<&'a mut C> for StoreContext<'a, C::Data> {
    fn from(store: &'a mut C) -> Self {
        let store: &'a C = store;
        store.as_context()
    }
}

impl<'a, C: AsContextMut> From<&'a mut C> for StoreContextMut<'a, C::Data> {
    fn from(store: &'a mut C) -> Self {
        store.as_context_mut()
    }
}
