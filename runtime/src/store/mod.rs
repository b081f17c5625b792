//! `Store`: the owner of instances and of everything they made, and the context of every call.
//!
//! | file | what it holds |
//! |---|---|
//! | [`data`] | what a store is without the host's data |
//! | [`limits`] | what it may take |
//! | [`context`] | borrows of it, and what host functions see |
//!
//! # Safety
//! A store's part without its type parameter, [`StoreData`], lies first in [`StoreInner`], so that
//! engine code reaches it from a [`VmStore`] without knowing the parameter. The box never moves.
//! While guest code runs, the host's `&mut Store` is borrowed by the call; host functions get the
//! store back through [`Caller`], one at a time, innermost first.

mod context;
mod data;
mod limits;

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::AuditSink;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::exception::ExnRef;
use crate::gc::Collections;
use crate::grant::{self, DeniedImport, SlotReport};
use crate::interrupt::InterruptHandle;
use crate::limiter::{Tenant, Usage};
use crate::slot;
use crate::watchdog;

pub use self::context::{AsContext, AsContextMut, Caller, StoreContext, StoreContextMut};
pub(crate) use self::data::{StoreData, StoreId};
pub use self::limits::StoreLimits;

/// A store with its host's data behind it.
#[repr(C)]
pub(crate) struct StoreInner<T> {
    pub(crate) data: StoreData,
    pub(crate) user: T,
}

/// Owns instances, and the host data that host functions work on.
///
/// A store is the unit of isolation and of use: everything in it lives until the store is dropped,
/// and one thread at a time runs its guests. Handles are used with the store that they are of, so that nothing of it can be
/// used after it is gone:
///
/// ```compile_fail,E0382
/// # use aura_runtime::{Engine, Instance, Module, Store};
/// # let engine = Engine::default();
/// # let module = Module::new(&engine, r#"(module (func (export "f")))"#).unwrap();
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[]).unwrap();
/// let func = instance.get_typed_func::<(), ()>(&store, "f").unwrap();
/// drop(store);
/// func.call(&mut store, ()).unwrap();
/// ```
pub struct Store<T: 'static> {
    inner: NonNull<StoreInner<T>>,
}

// SAFETY: a store owns all it points to; moving it to another thread moves the whole. What it shares
// with handles on other threads is atomic.
unsafe impl<T: Send> Send for Store<T> {}
// SAFETY: shared references to a store only read.
unsafe impl<T: Sync> Sync for Store<T> {}

impl<T: fmt::Debug> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("data", self.data()).finish_non_exhaustive()
    }
}

impl<T: 'static> Store<T> {
    /// Makes an empty store.
    #[must_use]
    pub fn new(engine: &Engine, data: T) -> Self {
        let inner = Box::leak(Box::new(StoreInner { data: StoreData::new(engine), user: data }));
        let inner = NonNull::from(inner);
        // SAFETY: just made.
        let shared = unsafe { &(*inner.as_ptr()).data.shared };
        shared.set_host(inner.as_ptr().cast());
        Self { inner }
    }

    /// Where a store lies that is, or becomes, a slot.
    pub(crate) fn pointer(&self) -> NonNull<StoreInner<T>> {
        self.inner
    }

    /// The store at a place.
    ///
    /// # Safety
    /// [`Store::new`] made it there, for `T` or what lies as a `T` does; nobody else owns it, and its host data is a `T`.
    #[inline]
    pub(crate) unsafe fn of_slot(inner: NonNull<StoreInner<T>>) -> Self {
        Self { inner }
    }

    #[inline]
    fn get(&self) -> &StoreInner<T> {
        // SAFETY: the box lives until the store is dropped, and `self` is borrowed.
        unsafe { self.inner.as_ref() }
    }

    #[inline]
    fn get_mut(&mut self) -> &mut StoreInner<T> {
        // SAFETY: as in `get`; `self` is borrowed exclusively.
        unsafe { self.inner.as_mut() }
    }

    /// The host's data.
    #[must_use]
    pub fn data(&self) -> &T {
        &self.get().user
    }

    /// The host's data.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.get_mut().user
    }

    /// Ends the store and gives the host's data back.
    #[must_use]
    pub fn into_data(self) -> T {
        let this = std::mem::ManuallyDrop::new(self);
        if this.get().data.slot.is_some() {
            // SAFETY: the store is live.
            let user = unsafe { &raw const (*this.inner.as_ptr()).user };
            // SAFETY: the host's data is read once: `this` is never dropped, and a slot without a life has none.
            let user = unsafe { user.read() };
            // SAFETY: nobody uses the store any more.
            unsafe { slot::end_life(this.inner.as_ptr().cast()) };
            return user;
        }
        // SAFETY: `new` leaked this box, and `this` is never dropped.
        let mut inner = unsafe { Box::from_raw(this.inner.as_ptr()) };
        inner.data.leave_tenant();
        inner.user
    }

    /// The engine the store was made for.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.get().data.engine
    }

    /// Sets how much fuel is left.
    ///
    /// # Errors
    /// If the engine does not consume fuel.
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        let data = &self.get().data;
        data.fuel()?;
        data.shared.set_fuel(i64::try_from(fuel).unwrap_or(i64::MAX));
        Ok(())
    }

    /// How much fuel is left.
    ///
    /// # Errors
    /// If the engine does not consume fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        Ok(self.get().data.fuel()?.max(0) as u64)
    }

    /// From `after` from now on, guest code is interrupted: it traps with [`crate::TrapCode::Interrupted`].
    pub fn set_deadline(&mut self, after: Duration) {
        let data = &mut self.get_mut().data;
        data.withdraw_interrupt();
        data.deadline = Instant::now().checked_add(after);
        if let Some(deadline) = data.deadline {
            watchdog::watch(deadline, &data.shared);
        }
    }

    /// Takes the deadline back.
    pub fn clear_deadline(&mut self) {
        let data = &mut self.get_mut().data;
        data.deadline = None;
        data.shared.cancel_watch();
        data.withdraw_interrupt();
    }

    /// A handle by which other threads stop this store's guests.
    #[must_use]
    pub fn interrupt_handle(&self) -> InterruptHandle {
        let data = &self.get().data;
        data.expose();
        InterruptHandle::new(data.shared.clone())
    }

    /// Bounds what the store's instances may take from now on.
    pub fn set_limits(&mut self, limits: StoreLimits) {
        let data = &mut self.get_mut().data;
        data.expose();
        data.limit(limits);
    }

    #[cfg(test)]
    pub(crate) fn data_for_tests(&mut self) -> &mut StoreData {
        &mut self.get_mut().data
    }

    /// Takes the exception that the last call to fail with [`crate::ErrorKind::Exception`] ended by. It is kept until
    /// it is taken, or another takes its place.
    pub fn take_pending_exception(&mut self) -> Option<ExnRef> {
        ExnRef::take_pending(&mut self.get_mut().data)
    }

    /// Collects all objects that guests and the host have no reference to, and values of the host that nobody refers to.
    ///
    /// # Errors
    /// If the system has no memory to do it in; nothing changes then.
    pub fn gc(&mut self) -> Result<()> {
        self.as_context_mut().gc()
    }

    /// How often the heap was collected.
    #[must_use]
    pub fn gc_collections(&self) -> Collections {
        self.get().data.heap.collections
    }

    /// Bytes of objects in the heap, those included that nobody uses any more and no collection has found yet.
    #[must_use]
    pub fn gc_heap_used(&self) -> u64 {
        self.get().data.heap.used()
    }

    /// What the store's instances take now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.get().data.usage()
    }

    /// Lets this store take from the share of a tenant, together with the tenant's other stores.
    ///
    /// # Errors
    /// If the store has instances, memories or tables already.
    pub fn set_tenant(&mut self, tenant: &Arc<Tenant>) -> Result<()> {
        let data = &mut self.get_mut().data;
        if data.usage() != Usage::default() || data.tenant.is_some() {
            return Err(Error::usage("a store is given to a tenant while it is empty, and once"));
        }
        data.tenant = Some(tenant.clone());
        Ok(())
    }

    /// The store's grants, with what they were used for, in the order in which they were made.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotReport> {
        grant::reports(&self.get().data)
    }

    /// Calls that were denied because nothing at all was granted for them.
    #[must_use]
    pub fn denials_without_slot(&self) -> u64 {
        self.get().data.audit.denials_without_slot
    }

    /// Tells a sink of every call that needs a grant from now on; returns the one that was told before.
    pub fn set_audit(&mut self, sink: Option<Box<dyn AuditSink>>) -> Option<Box<dyn AuditSink>> {
        let data = &mut self.get_mut().data;
        data.expose();
        data.flight.tell_each(sink.is_some());
        data.grants.iter().flatten().for_each(|grant| grant.capability.tell_each());
        std::mem::replace(&mut data.audit.sink, sink)
    }

    /// Imports that guests called without a grant, each once.
    #[must_use]
    pub fn denials(&self) -> &[DeniedImport] {
        &self.get().data.denied
    }

    /// Imports that guests called without a grant and that answered as if there were nothing to be had,
    /// each once. Start-up code asks for much that its program never misses.
    #[must_use]
    pub fn quiet_denials(&self) -> &[DeniedImport] {
        &self.get().data.quietly_denied
    }
}

impl<T> Drop for Store<T> {
    #[inline]
    fn drop(&mut self) {
        if self.get().data.slot.is_some() {
            // SAFETY: the store is live.
            let user = unsafe { &raw mut (*self.inner.as_ptr()).user };
            // SAFETY: the host's data is live and dropped once: a slot without a life has none.
            unsafe { user.drop_in_place() };
            // SAFETY: nobody uses the store any more.
            return unsafe { slot::end_life(self.inner.as_ptr().cast()) };
        }
        self.free();
    }
}

impl<T> Store<T> {
    /// Frees a store that is no slot.
    fn free(&mut self) {
        // SAFETY: `new` leaked this box; `into_data` does not drop the store.
        let mut inner = unsafe { Box::from_raw(self.inner.as_ptr()) };
        inner.data.shared.cancel_watch();
        inner.data.leave_tenant();
        // Instances before what their tables and memories name.
        inner.data.instances.clear();
    }
}
