//! What a store is without the host's data: what its instances made, what they may do, and what is on its way.
//!
//! # Safety
//! See [`crate::store`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use aura_host_abi::TrapCode;
use aura_host_abi::flight::Flight;
use aura_host_abi::vm::{VmActivation, VmCtx, VmStore, VmTag};

use crate::audit::Audit;
use crate::call::Armed;
use crate::constant::Typed;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::externs::GlobalRecord;
use crate::gc::{Heap, HostValues, RootsCell};
use crate::grant::{self, Attach, DeniedImport, Injections, Standing};
use crate::host::HostRecord;
use crate::interp::{self, InterpState};
use crate::interrupt::StoreShared;
use crate::limiter::{Ask, Tenant};
use crate::shared::SharedMemory;
use crate::slot::Slot;
use crate::store::StoreLimits;
use crate::thread;
use crate::trap::Pending;
use crate::vm::instance::InstanceData;
use crate::vm::lending::Failed;
use crate::vm::memory::LinearMemory;
use crate::vm::table::TableData;

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
    pub(super) memory_bytes: u64,
    pub(super) table_elements: u64,
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
    pub(super) tenant: Option<Arc<Tenant>>,
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
    /// The innermost activation of compiled code; null where no guest code runs, for the outermost one says then where it was
    /// left last, which is over.
    pub(crate) fn activation(&self) -> *mut VmActivation {
        if self.armed.is_in_call() { self.shared.activation() } else { std::ptr::null_mut() }
    }

    pub(super) fn new(engine: &Engine) -> Self {
        let config = engine.config();
        // Where the cost of frames is the limit, the interpreter's own must not be met before: arguments lie beside frames.
        let stack_bytes = if config.deterministic { 2 * config.max_wasm_stack } else { config.max_wasm_stack };
        let mut interp = InterpState::new(stack_bytes);
        interp.auto_tier = config.counts();
        interp.passes = crate::heat::loop_period(config);
        interp.passes_left = interp.passes;
        interp.lends_stack = config.memory_slices.is_some();
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

    /// Notes that the store is not to be used again after it was dropped.
    pub(crate) fn expose(&self) {
        self.exposed.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_exposed(&self) -> bool {
        self.exposed.load(Ordering::Relaxed) || self.tenant.is_some() || self.limiter.is_some()
    }

    /// Forgets an interrupt; the next call sets the stack limit again.
    pub(crate) fn withdraw_interrupt(&mut self) {
        self.shared.withdraw_interrupt();
        self.armed.forget();
    }

    /// Ends what a life has left behind in the store itself.
    #[inline]
    pub(crate) fn end_pending(&mut self) {
        if self.deadline.take().is_some() {
            self.shared.cancel_watch();
        }
        if self.shared.interrupted().load(Ordering::Relaxed) {
            self.withdraw_interrupt();
        }
        self.armed.unpoison();
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
