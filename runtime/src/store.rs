//! `Store`: the owner of instances and of everything they made, and the context of every call.
//!
//! # Safety
//! A store's part without its type parameter, [`StoreData`], lies first in [`StoreInner`], so that
//! engine code reaches it from a [`VmStore`] without knowing the parameter. The box never moves.
//! While guest code runs, the host's `&mut Store` is borrowed by the call; host functions get the
//! store back through [`Caller`], one at a time, innermost first.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aura_host_abi::flight::Flight;
use aura_host_abi::vm::{VmCtx, VmStore, VmTag};
use aura_host_abi::{GuestMemory, TrapCode};

use crate::audit::{Audit, AuditSink};
use crate::call::Armed;
use crate::constant::Typed;
use crate::engine::{Engine, Strategy};
use crate::error::{Error, Result};
use crate::exception::ExnRef;
use crate::externs::{Extern, GlobalRecord};
use crate::gc::{self, Collections, Heap, HostValues, RootsCell};
use crate::grant::{self, Attach, DeniedImport, Injections, SlotReport, Standing};
use crate::host::{self, HostRecord};
use crate::interp::{self, InterpState};
use crate::interrupt::{InterruptHandle, StoreShared};
use crate::limiter::{Ask, Limited, Tenant, Usage};
use crate::shared::SharedMemory;
use crate::slot::{self, Slot};
use crate::thread;
use crate::trap::Pending;
use crate::vm::instance::InstanceData;
use crate::vm::lending::Failed;
use crate::vm::memory::LinearMemory;
use crate::vm::table::{TABLE_ELEMENTS_LIMIT, TableData};
use crate::watchdog;

/// Bounds on what the instances of a store may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Table elements.
    pub table_elements: u64,
    /// Instances.
    pub instances: usize,
    /// Host values that guests hold references to.
    pub extern_refs: usize,
    /// Bytes of objects in the garbage-collected heap, at most [`crate::GC_HEAP_MAX`]; less than 64 KiB counts as that.
    /// While objects are moved, the system may have to give as much again.
    pub gc_heap_bytes: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 40,
            table_elements: TABLE_ELEMENTS_LIMIT,
            instances: 10_000,
            extern_refs: 1_000_000,
            gc_heap_bytes: 1 << 30,
        }
    }
}

/// What a store is without the host's data.
#[allow(clippy::vec_box, reason = "machine code and handles point to what the boxes hold")]
#[derive(Debug)]
pub(crate) struct StoreData {
    pub(crate) shared: Arc<StoreShared>,
    pub(crate) id: StoreId,
    pub(crate) engine: Engine,
    pub(crate) consume_fuel: bool,
    pub(crate) interp: InterpState,
    pub(crate) pending: Pending,
    /// What [`aura_host_abi::vm::VmTail::args`] points to, once it is needed.
    pub(crate) tail_args: Box<[u64]>,
    /// The exception that the error of a call stands for, until somebody takes or throws it; 0 if none.
    pub(crate) pending_exception: u32,
    pub(crate) limits: StoreLimits,
    memory_bytes: u64,
    table_elements: u64,
    pub(crate) deadline: Option<Instant>,
    /// Calls of the host into guest code that have not returned.
    pub(crate) depth: u32,
    /// What the stack limit was set for last.
    pub(crate) armed: Armed,
    pub(crate) instances: Vec<Box<InstanceData>>,
    pub(crate) memories: Vec<Box<LinearMemory>>,
    /// Those that instances of this store import or define.
    pub(crate) shared_memories: Vec<SharedMemory>,
    pub(crate) tables: Vec<Box<TableData>>,
    pub(crate) globals: Vec<Box<GlobalRecord>>,
    pub(crate) tags: Vec<Box<VmTag>>,
    pub(crate) host_records: Vec<Box<HostRecord>>,
    pub(crate) externs: HostValues,
    pub(crate) roots: RootsCell,
    /// Operands of the constant expression that is evaluated.
    pub(crate) constants: Vec<Typed>,
    pub(crate) heap: Heap,
    /// By slot; empty where a grant waits to be taken in.
    pub(crate) grants: Vec<Option<Standing>>,
    pub(crate) denied: Vec<DeniedImport>,
    pub(crate) quietly_denied: Vec<DeniedImport>,
    /// The host calls of the store's guests, as whoever revokes sees them.
    pub(crate) flight: Arc<Flight>,
    pub(crate) injections: Arc<Injections>,
    pub(crate) attach: Option<Attach>,
    pub(crate) audit: Audit,
    pub(crate) limiter: Option<Ask>,
    tenant: Option<Arc<Tenant>>,
    /// If the store is a slot, how it goes back to what it was.
    pub(crate) slot: Option<Box<Slot>>,
    /// Somebody else may act on the store, or something was set that no reset puts back.
    exposed: AtomicBool,
}

/// Names a store for its handles; never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StoreId(u64);

impl StoreId {
    /// A thread takes numbers from all by the thousand.
    const PER_THREAD: u64 = 1 << 12;

    #[inline]
    pub(crate) fn next() -> Self {
        let ids = thread::here().ids();
        let (next, end) = ids.get();
        let (next, end) = if next == end { Self::more() } else { (next, end) };
        ids.set((next + 1, end));
        Self(next)
    }

    #[cold]
    fn more() -> (u64, u64) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let next = NEXT.fetch_add(Self::PER_THREAD, Ordering::Relaxed);
        (next, next + Self::PER_THREAD)
    }
}

impl StoreData {
    fn new(engine: &Engine) -> Self {
        let config = engine.config();
        // Where the cost of frames is the limit, the interpreter's own must not be met before: arguments lie beside frames.
        let stack_bytes = if config.deterministic { 2 * config.max_wasm_stack } else { config.max_wasm_stack };
        let mut interp = InterpState::new(stack_bytes);
        interp.auto_tier = config.strategy != Strategy::Interpreter;
        interp.passes = crate::tier::loop_period(config);
        interp.passes_left = interp.passes;
        interp.canonical_nans = config.canonical_nans();
        interp.by_loop = interp::by_loop(config.interpreter_jumps);
        let (id, shared, flight) =
            (StoreId::next(), Arc::new(StoreShared::new(engine.types().table())), Arc::new(Flight::default()));
        let interrupted = Arc::downgrade(&shared);
        flight.set_interrupt(move || {
            if let Some(shared) = interrupted.upgrade() {
                shared.interrupt();
            }
        });
        Self {
            heap: Heap::new(&shared, engine, StoreLimits::default().gc_heap_bytes),
            shared,
            id,
            injections: Arc::new(Injections::new(flight.clone())),
            flight,
            attach: None,
            audit: Audit::default(),
            limiter: None,
            tenant: None,
            slot: None,
            exposed: AtomicBool::new(false),
            engine: engine.clone(),
            consume_fuel: config.consume_fuel,
            interp,
            pending: Pending::default(),
            tail_args: Box::default(),
            pending_exception: 0,
            limits: config.store_limits,
            memory_bytes: 0,
            table_elements: 0,
            deadline: None,
            depth: 0,
            armed: Armed::default(),
            instances: Vec::new(),
            memories: Vec::new(),
            shared_memories: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
            tags: Vec::new(),
            host_records: Vec::new(),
            externs: HostValues::default(),
            roots: RootsCell::default(),
            constants: Vec::new(),
            grants: Vec::new(),
            denied: Vec::new(),
            quietly_denied: Vec::new(),
        }
    }

    /// The store's data from what machine code sees of the store.
    #[inline]
    pub(crate) fn from_vm(store: *mut VmStore) -> *mut Self {
        // SAFETY: callers hold the store of a running instance, which is live.
        let host = unsafe { &(*store).host };
        // SAFETY: set once, before anything of the store runs.
        unsafe { *host.get() }.cast()
    }

    /// The store's data from an instance of it, or the context of one of its host functions.
    #[inline]
    pub(crate) fn of(vmctx: *mut VmCtx) -> *mut Self {
        // SAFETY: callers hold a live instance or host context; both begin with their store.
        Self::from_vm(unsafe { (*vmctx).store })
    }

    #[inline]
    pub(crate) fn vm(&self) -> *mut VmStore {
        self.shared.vm()
    }

    /// Asks the limits whether linear memories may grow, and counts the growth.
    pub(crate) fn allow_memory_growth(&mut self, old_bytes: u64, new_bytes: u64) -> bool {
        let limit = self.limits.memory_bytes;
        let Some(after) = grown_within(self.memory_bytes, old_bytes, new_bytes, limit) else { return false };
        let allowed = self.others_allow(Limited::Memory, after - self.memory_bytes, after);
        if allowed {
            self.memory_bytes = after;
        }
        allowed
    }

    /// Asks the limits whether tables may grow, and counts the growth.
    pub(crate) fn allow_table_growth(&mut self, old: u64, new: u64) -> bool {
        let limit = self.limits.table_elements;
        let Some(after) = grown_within(self.table_elements, old, new, limit) else { return false };
        let allowed = self.others_allow(Limited::Table, after - self.table_elements, after);
        if allowed {
            self.table_elements = after;
        }
        allowed
    }

    /// Asks whether the store may have one instance more.
    pub(crate) fn allow_instance(&mut self) -> bool {
        self.others_allow(Limited::Instances, 1, self.instances.len() as u64 + 1)
    }

    /// Asks the host's limiter and takes from the tenant's share.
    fn others_allow(&self, what: Limited, grow_by: u64, desired: u64) -> bool {
        let store = Self::from_vm(self.vm());
        self.limiter.as_ref().is_none_or(|ask| ask.allows(store, what, grow_by, desired))
            && self.tenant.as_ref().is_none_or(|tenant| tenant.take(what, grow_by))
    }

    fn leave_tenant(&mut self) {
        if let Some(tenant) = self.tenant.take() {
            tenant.give_back(self.usage());
        }
    }

    /// Notes that the store is not to be used again after it was dropped.
    pub(crate) fn expose(&self) {
        self.exposed.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_exposed(&self) -> bool {
        self.exposed.load(Ordering::Relaxed) || self.tenant.is_some() || self.limiter.is_some()
    }

    pub(crate) fn limit(&mut self, limits: StoreLimits) {
        self.limits = limits;
        self.heap.set_limit(limits.gc_heap_bytes);
    }

    /// Bytes of memories and elements of tables that count.
    pub(crate) fn usage_now(&self) -> (u64, u64) {
        (self.memory_bytes, self.table_elements)
    }

    #[inline]
    pub(crate) fn set_usage(&mut self, memory_bytes: u64, table_elements: u64) {
        (self.memory_bytes, self.table_elements) = (memory_bytes, table_elements);
    }

    /// Ends what a life has left behind in the store itself.
    #[inline]
    pub(crate) fn end_pending(&mut self) {
        if self.deadline.take().is_some() {
            self.shared.cancel_watch();
        }
        if self.shared.interrupted().load(Ordering::Relaxed) {
            self.shared.withdraw_interrupt();
        }
        self.shared.forget_trap();
        if !self.pending.is_empty() {
            self.pending = Pending::default();
        }
        self.pending_exception = 0;
        self.roots.get_mut().forget();
        if !self.grants.is_empty() {
            grant::forget(self);
        }
        self.denied.clear();
        self.quietly_denied.clear();
        self.audit.denials_without_slot = 0;
    }

    fn usage(&self) -> Usage {
        let instances = self.instances.len() as u64;
        Usage { memory_bytes: self.memory_bytes, table_elements: self.table_elements, instances }
    }

    pub(crate) fn memory_bytes_left(&self) -> u64 {
        self.limits.memory_bytes.saturating_sub(self.memory_bytes)
    }

    pub(crate) fn table_elements_left(&self) -> u64 {
        self.limits.table_elements.saturating_sub(self.table_elements)
    }

    /// The memory in whose reservation a host address lies. Signal handlers call this: it takes no lock.
    pub(crate) fn memory_at(&self, address: usize) -> Option<&LinearMemory> {
        let own = self.memories.iter().map(|memory| &**memory);
        let shared = self.shared_memories.iter().map(SharedMemory::record);
        own.chain(shared).find(|memory| memory.contains_address(address))
    }

    /// Keeps a shared memory for as long as the store.
    pub(crate) fn keep_shared(&mut self, memory: &SharedMemory) {
        if !self.shared_memories.iter().any(|known| known.same(memory)) {
            self.shared_memories.push(memory.clone());
        }
    }

    /// Why the access that faulted in compiled code failed, if something lent is the reason.
    pub(crate) fn explain_fault(&self) -> Option<Failed> {
        let host = self.shared.fault_address()?;
        self.memory_at(host)?.explain(host, self.shared.is_cut_off())
    }

    /// Why the access of Rust code failed that just did.
    pub(crate) fn take_lent_failure(&self) -> Option<Failed> {
        self.memories.iter().find_map(|memory| memory.lending()?.take_failed())
    }

    pub(crate) fn take_fault_address(&mut self) -> Option<u64> {
        let host = self.shared.take_fault_address()?;
        let memory = self.memory_at(host)?;
        (host as u64).checked_sub(memory.base().addr() as u64)
    }

    pub(crate) fn set_trap_code(&mut self, code: TrapCode) {
        self.shared.set_trap(code as u32);
    }

    pub(crate) fn take_trap_code(&mut self) -> Option<TrapCode> {
        TrapCode::from_u8(self.shared.take_trap() as u8)
    }

    /// Errs if a handle is of another store.
    #[inline]
    pub(crate) fn check(&self, id: StoreId, what: &str) -> Result<()> {
        if self.id == id { Ok(()) } else { Err(Error::wrong_store(what)) }
    }

    pub(crate) fn fuel(&self) -> Result<i64> {
        if self.consume_fuel {
            Ok(self.shared.fuel())
        } else {
            Err(Error::usage("fuel is off; switch it on with Config::consume_fuel(true)"))
        }
    }
}

/// What is used after growth, if it is within the limit.
fn grown_within(used: u64, old: u64, new: u64, limit: u64) -> Option<u64> {
    used.checked_add(new.saturating_sub(old)).filter(|&after| after <= limit)
}

/// A store with its host's data behind it.
#[repr(C)]
pub(crate) struct StoreInner<T> {
    pub(crate) data: StoreData,
    pub(crate) user: T,
}

/// Owns instances, and the host data that host functions work on.
///
/// A store is the unit of isolation and of use: everything in it lives until the store is dropped,
/// and one thread at a time runs its guests.
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

    /// From `after` from now on, guest code is interrupted: it traps with [`TrapCode::Interrupted`].
    pub fn set_deadline(&mut self, after: Duration) {
        let data = &mut self.get_mut().data;
        data.shared.withdraw_interrupt();
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
        data.shared.withdraw_interrupt();
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
