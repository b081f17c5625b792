//! Host functions: how guest code reaches a closure of the host, and what stands in its way.
//!
//! A host function that needs no grant is called at once. One behind a gate is called only through a
//! capability whose state is read at that very call, so that revoking reaches every reference to the
//! function, wherever a guest kept it. A panic stops here: it becomes an error, and the instance that
//! imported the function is poisoned.
//!
//! # Safety
//! Trusts: the `vmctx` of a host function's [`VmFuncRef`] is the [`VmHostFunc`] at the start of a
//! [`HostRecord`], which its store keeps until it is dropped.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use aura_host_abi::flight::{CallInFlight, Flight, Outcome};
use aura_host_abi::host::{Denial, HostCall};
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmFuncRef, VmHostFunc};
use aura_host_abi::{Action, Capability, FuncType, GrantSpec, GuestMemory, Resource, TrapCode};

use crate::audit::{self, AuditEvent, AuditOutcome};
use crate::error::{Error, ErrorKind, Result};
use crate::grant::{self, DeniedImport};
use crate::store::StoreData;
use crate::vm::instance::InstanceData;
use crate::vm::memory::LinearMemory;
use crate::{exception, trap};

/// The body of a host function, without the type of its store.
pub type Body = dyn Fn(HostContext, &mut [u64]) -> Result<()> + Send + Sync;

/// Where a host function is called from.
#[derive(Clone, Copy, Debug)]
pub struct HostContext {
    pub(crate) store: *mut StoreData,
    /// The instance that imports the function, or null.
    pub(crate) home: *mut VmCtx,
}

/// A host function, independent of stores.
pub(crate) struct HostFunc {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) ty: FuncType,
    pub(crate) gate: Option<Gate>,
    pub(crate) body: HostBody,
}

/// What a host function does.
pub struct HostBody {
    pub(crate) slots: Box<Body>,
    /// The same for arguments in registers, where they fit.
    pub(crate) direct: Option<Direct>,
}

/// A closure as compiled code calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct {
    /// The `regs_entry` of functions without a gate, [`arch::host_entry`].
    pub(crate) code: NonNull<()>,
    /// The same for functions behind one.
    pub(crate) gated: NonNull<()>,
    /// The closure, which [`HostBody::slots`] owns.
    pub(crate) closure: *const (),
}

// SAFETY: the pointers are to code and to a closure that can be shared and sent, which `slots` is bound to.
unsafe impl Send for HostBody {}
// SAFETY: as above.
unsafe impl Sync for HostBody {}

impl fmt::Debug for HostBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBody").field("direct", &self.direct).finish_non_exhaustive()
    }
}

impl From<Box<Body>> for HostBody {
    fn from(slots: Box<Body>) -> Self {
        Self { slots, direct: None }
    }
}

impl fmt::Debug for HostFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostFunc({}.{} {})", self.module, self.name, self.ty)
    }
}

/// What must be granted before a host function exists for a guest.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Any one of these opens it.
    pub(crate) actions: &'static [Action],
    pub(crate) denial: Denial,
}

impl HostFunc {
    /// Whether a grant maps this function in.
    pub(crate) fn opened_by(&self, spec: &GrantSpec) -> bool {
        let Some(gate) = &self.gate else { return false };
        match &spec.resource {
            Resource::Function(name) => gate.actions.contains(&Action::Call) && *name == self.name,
            _ => gate.actions.contains(&spec.action),
        }
    }
}

/// A host function as one instance imports it: immutable once its reference was handed out.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct HostRecord {
    vm: VmHostFunc,
    pub(crate) func_ref: VmFuncRef,
    pub(crate) func: Arc<HostFunc>,
    /// What opens the gate; empty in the denial stub that a fresh import vector holds.
    capabilities: Vec<Arc<Capability>>,
    /// The first of them, null if there is none: calls look here without following the list.
    first: *const Capability,
    /// [`Direct::closure`], null if there is none.
    closure: *const (),
}

impl HostRecord {
    /// Makes a record in a store and returns its reference.
    pub(crate) fn add(
        store: &mut StoreData,
        func: Arc<HostFunc>,
        home: *mut VmCtx,
        capabilities: Vec<Arc<Capability>>,
    ) -> *const VmFuncRef {
        let type_id = store.engine.types().intern(&func.ty).expect("its type was checked when the function was made");
        let direct = func.body.direct;
        let code = direct.map(|d| if func.gate.is_some() { d.gated } else { d.code });
        let entry = store.engine.host_entry(type_id, code);
        let closure = direct.map_or(std::ptr::null(), |d| d.closure);
        let vm = VmHostFunc { store: store.vm(), entries: std::ptr::null(), home };
        let func_ref = VmFuncRef { entry, vmctx: std::ptr::null_mut(), type_id, padding: 0 };
        let first = capabilities.first().map_or(std::ptr::null(), Arc::as_ptr);
        let mut record = Box::new(Self { vm, func_ref, func, capabilities, first, closure });
        record.func_ref.vmctx = (&raw mut *record).cast();
        store.host_records.push(record);
        let record = store.host_records.last().expect("just pushed");
        &raw const record.func_ref
    }

    /// The record of a reference, if it is to a host function.
    ///
    /// # Safety
    /// `func` is a reference of a live store.
    pub(crate) unsafe fn of<'a>(func: *const VmFuncRef) -> Option<&'a Self> {
        // SAFETY: the reference is live.
        let entry = unsafe { (*func).entry };
        // SAFETY: a live reference has a live entry.
        if unsafe { (*entry).index() } != u32::MAX {
            return None;
        }
        // SAFETY: the reference is live.
        let record = unsafe { (*func).vmctx }.cast::<Self>();
        // SAFETY: host functions' contexts are records, which live as long as their store.
        Some(unsafe { &*record })
    }

    pub(crate) fn capabilities(&self) -> &[Arc<Capability>] {
        &self.capabilities
    }

    pub(crate) fn home(&self) -> *mut VmCtx {
        self.vm.home
    }

    fn run(&self, store: *mut StoreData, slots: &mut [u64]) -> Result<()> {
        let context = HostContext { store, home: self.vm.home };
        if self.func.gate.is_none() {
            return (self.func.body.slots)(context, slots);
        }
        match self.pass(context, false, |()| (self.func.body.slots)(context, slots), ()) {
            Ok(result) => result,
            Err(()) => self.run_gated(context, slots),
        }
    }

    /// Runs the `body` of a function behind a gate if nothing more stands in the way than the state of a capability: there is a
    /// grant that stands and has no terms, and no audit listens. Hands `args` back if the call is to take the long
    /// way, [`HostRecord::run_gated`]. `is_lone` says that nothing leads from the body to the store or to a capability.
    ///
    /// # Errors
    /// The arguments; inside, the error of the body.
    #[inline(always)]
    pub(crate) fn pass<A, R>(
        &self,
        context: HostContext,
        is_lone: bool,
        body: impl FnOnce(A) -> Result<R>,
        args: A,
    ) -> Result<Result<R>, A> {
        if self.first.is_null() {
            return Err(args);
        }
        // SAFETY: the capability is one that the record keeps.
        let capability = unsafe { &*self.first };
        if is_lone {
            let Some(call) = capability.begin_lone_call() else { return Err(args) };
            let result = body(args);
            call.end();
            return Ok(result);
        }
        let Some(call) = capability.begin_plain_call() else { return Err(args) };
        let result = body(args);
        match call.end() {
            None => Ok(result),
            Some(outcome) => Ok(self.finish_gated(context, capability, outcome, result)),
        }
    }

    /// Counts a call that did more than pass.
    #[cold]
    fn finish_gated<R>(
        &self,
        context: HostContext,
        capability: &Capability,
        outcome: Outcome,
        result: Result<R>,
    ) -> Result<R> {
        let gate = self.func.gate.as_ref().expect("only gated calls are counted");
        // SAFETY: the body has returned; nothing of the store is borrowed.
        unsafe { &mut *context.store }.account(self, gate, capability, outcome, result.is_err())?;
        result
    }

    /// Calls a function behind a gate with its arguments in slots: what waits for the store is done first, any grant
    /// that stands opens the gate, terms are charged, and the call is counted and told to the audit.
    #[inline(never)]
    pub(crate) fn run_gated(&self, context: HostContext, slots: &mut [u64]) -> Result<()> {
        let gate = self.func.gate.as_ref().expect("a function without a gate always passes");
        let store = context.store;
        // SAFETY: the store runs on this thread, and nothing of it is borrowed exclusively.
        let flight = Arc::as_ptr(unsafe { &(*store).flight });
        // SAFETY: the store's calls in flight live as long as it, and are shared.
        let flight = unsafe { &*flight };
        if flight.take_attention() {
            // SAFETY: as above; nothing of the store is borrowed before the call begins.
            grant::take_in_injections(unsafe { &mut *store });
        }
        let call = InFlight::begin(flight);
        let Some(capability) = self.opened(store) else {
            return self.deny(gate, context, call, self.capabilities.last().map(|last| &**last), slots);
        };
        if capability.is_direct() && !capability.charge_call() {
            return self.deny(gate, context, call, Some(capability), slots);
        }
        let result = (self.func.body.slots)(context, slots);
        let outcome = call.end();
        // SAFETY: the body has returned; the store lives.
        let is_audited = unsafe { (*store).audit.sink.is_some() };
        if outcome.slot.is_none() && capability.is_direct() && !is_audited {
            capability.count(outcome.denied, outcome.bytes);
            return result;
        }
        self.finish_gated(context, capability, outcome, result)
    }

    /// The first capability that stands, its state read now: of those that opened the import, or else one that was
    /// granted after the guest kept this reference.
    fn opened<'a>(&'a self, store: *mut StoreData) -> Option<&'a Capability> {
        if let Some(capability) = self.capabilities.iter().find(|capability| capability.is_live()) {
            return Some(capability);
        }
        // SAFETY: the store runs on this thread; capabilities on its list stay until it is dropped.
        let store: &'a StoreData = unsafe { &*store };
        grant::find_standing(store, &self.func, self.vm.home).map(|found| &**found)
    }

    #[cold]
    fn deny(
        &self,
        gate: &Gate,
        context: HostContext,
        call: InFlight<'_>,
        acted_on: Option<&Capability>,
        slots: &mut [u64],
    ) -> Result<()> {
        drop(call);
        // SAFETY: the store runs on this thread, and nothing else of it is borrowed here.
        let data = unsafe { &mut *context.store };
        data.account_denial(self, gate, acted_on)?;
        if let Denial::Quiet(answer) = gate.denial {
            DeniedImport::note(&mut data.quietly_denied, &self.func, gate.actions);
            return with_call(context, slots, answer).map_err(Error::from);
        }
        DeniedImport::note(&mut data.denied, &self.func, gate.actions);
        match gate.denial {
            Denial::Code(code) => slots[0] = code.into(),
            Denial::Trap | Denial::Quiet(_) => return Err(Error::trap_code(TrapCode::CapabilityDenied)),
        }
        Ok(())
    }
}

/// A gated call while it is in flight; ends when it is dropped, also by a panic.
struct InFlight<'a> {
    flight: &'a Flight,
    call: CallInFlight,
}

impl<'a> InFlight<'a> {
    fn begin(flight: &'a Flight) -> Self {
        Self { flight, call: flight.begin() }
    }

    fn end(self) -> Outcome {
        let this = std::mem::ManuallyDrop::new(self);
        this.flight.end(&this.call)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.flight.end(&self.call);
    }
}

impl StoreData {
    /// Counts a call that was let in by `gate_capability`, and tells the audit.
    #[inline(never)]
    fn account(
        &mut self,
        record: &HostRecord,
        gate: &Gate,
        gate_capability: &Capability,
        outcome: Outcome,
        failed: bool,
    ) -> Result<()> {
        let named = match outcome.slot {
            Some(slot) => self.grants.get(slot as usize).and_then(Option::as_ref).map(|grant| &*grant.capability),
            None => gate_capability.is_direct().then_some(gate_capability),
        };
        match named {
            Some(capability) => capability.count(outcome.denied, outcome.bytes),
            None if outcome.denied => self.audit.denials_without_slot += 1,
            // The call acted on nothing that anybody granted, such as a descriptor that is not open.
            None => return Ok(()),
        }
        if self.audit.sink.is_none() {
            return Ok(());
        }
        let how = match (outcome.denied, failed) {
            (true, _) => AuditOutcome::Denied,
            (false, true) => AuditOutcome::Failed,
            (false, false) => AuditOutcome::Allowed,
        };
        let acted_on = named.map(|capability| (capability.slot(), capability.spec().clone()));
        self.tell_audit(record, gate, acted_on, how, outcome.bytes)
    }

    fn account_denial(&mut self, record: &HostRecord, gate: &Gate, acted_on: Option<&Capability>) -> Result<()> {
        match acted_on {
            Some(capability) => capability.count(true, 0),
            None => self.audit.denials_without_slot += 1,
        }
        let acted_on = acted_on.map(|capability| (capability.slot(), capability.spec().clone()));
        self.tell_audit(record, gate, acted_on, AuditOutcome::Denied, 0)
    }

    #[cold]
    fn tell_audit(
        &mut self,
        record: &HostRecord,
        gate: &Gate,
        acted_on: Option<(Option<u32>, GrantSpec)>,
        outcome: AuditOutcome,
        bytes: u64,
    ) -> Result<()> {
        let instance = audit::instance_index(self, record.home());
        let Some(sink) = &mut self.audit.sink else { return Ok(()) };
        let event = AuditEvent {
            instance,
            slot: acted_on.as_ref().and_then(|(slot, _)| *slot),
            spec: acted_on.as_ref().map(|(_, spec)| spec),
            actions: gate.actions,
            function: (&record.func.module, &record.func.name),
            outcome,
            bytes,
        };
        sink.record(&event).map_err(|error| Error::new(ErrorKind::Host, format!("the audit cannot be kept: {error}")))
    }
}

/// Calls `body` with the [`HostCall`] of a context: the memory that the calling instance exports as `memory`.
pub(crate) fn with_call<R>(context: HostContext, slots: &mut [u64], body: impl FnOnce(&mut HostCall<'_>) -> R) -> R {
    // SAFETY: the store runs on this thread; the borrow ends with this function's first lines.
    let store = unsafe { &*context.store };
    let deadline = store.deadline;
    // SAFETY: what a store shares with other threads lives as long as it, and is never replaced.
    let shared = unsafe { &*Arc::as_ptr(&store.shared) };
    // SAFETY: as above.
    let flight = unsafe { &*Arc::as_ptr(&store.flight) };
    let call = HostCall::new(memory_of(context.home), slots, deadline, Some(shared.interrupted()));
    body(&mut call.in_flight(flight, flight.running()))
}

/// The memory that an instance exports as `memory`, or the empty view.
pub(crate) fn memory_of<'a>(home: *mut VmCtx) -> GuestMemory<'a> {
    let memory = match home.is_null() {
        true => None,
        // SAFETY: `home` is a live instance of the store.
        false => unsafe { &*InstanceData::from_vmctx(home) }.exported_memory(),
    };
    match memory {
        None => GuestMemory::empty(),
        Some(memory) => {
            // SAFETY: memories live as long as their store.
            unsafe { LinearMemory::from_vm(memory) }.view()
        }
    }
}

/// The slot entry of every host function.
pub(crate) extern "C" fn host_entry(vmctx: *mut VmCtx, _: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: this entry is reached through references made by `HostRecord::add` only.
    let record = unsafe { &*vmctx.cast::<HostRecord>().cast_const() };
    let store = StoreData::of(vmctx);
    // SAFETY: callers of an entry word pass as many slots as the type needs; nobody else uses them meanwhile.
    let slots = unsafe { slots_of(slots, record.func.ty.call_slots()) };
    match record.guarded(store, || record.run(store, slots)) {
        Ok(()) => Status::Ok,
        Err(status) => status,
    }
}

/// The host function whose [`arch::HostCode`] was called with `vm`: its closure, its store, and where it is called from.
///
/// # Safety
/// `vm` is what the code of a closure of type `F` was called with.
#[inline(always)]
pub(crate) unsafe fn called<'a, F>(vm: *mut VmCtx) -> (&'a HostRecord, &'a F, HostContext) {
    // SAFETY: said by the caller: host functions' contexts are records, which live as long as their store.
    let record = unsafe { &*vm.cast::<HostRecord>().cast_const() };
    // SAFETY: said by the caller; the record keeps the closure.
    let closure = unsafe { &*record.closure.cast::<F>() };
    (record, closure, HostContext { store: StoreData::of(vm), home: record.vm.home })
}

/// Why a lone host function did not return. Its store is told once the place where compiled code was left is known.
pub(crate) enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

impl HostRecord {
    /// Runs the function's body: in a scope of rooted references, stopping panics.
    ///
    /// # Errors
    /// The status by which the caller is to end; the error then waits in the store.
    #[inline(always)]
    pub(crate) fn guarded<R>(&self, store: *mut StoreData, body: impl FnOnce() -> Result<R>) -> Result<R, Status> {
        // SAFETY: as below; the borrow ends with the line.
        let scope = unsafe { &mut *store }.roots.get_mut().begin();
        let result = catch_unwind(AssertUnwindSafe(body));
        // SAFETY: as below; the borrow ends with the line.
        unsafe { &mut *store }.roots.get_mut().end(scope);
        match result {
            Ok(Ok(value)) => Ok(value),
            // SAFETY: the body has returned; nothing of the store is borrowed on this thread.
            Ok(Err(error)) => Err(fail(unsafe { &mut *store }, error)),
            // SAFETY: as above.
            Err(panic) => Err(self.panicked(unsafe { &mut *store }, &*panic)),
        }
    }

    /// Tells the function's store that it failed; says by which status its caller is to end.
    pub(crate) fn failed(&self, store: *mut StoreData, failure: Failure) -> Status {
        // SAFETY: the body has returned; nothing of the store, which is this function's, is borrowed on this thread.
        let store = unsafe { &mut *store };
        match failure {
            Failure::Error(error) => fail(store, error),
            Failure::Panic(panic) => self.panicked(store, &*panic),
        }
    }

    #[cold]
    #[inline(never)]
    fn panicked(&self, store: &mut StoreData, panic: &(dyn Any + Send)) -> Status {
        poison(self.vm.home);
        store.armed.poison();
        fail(store, Error::panic(&format!("{}.{}", self.func.module, self.func.name), panic))
    }
}

unsafe fn slots_of<'a>(slots: *mut u64, len: usize) -> &'a mut [u64] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: as for this function.
    unsafe { std::slice::from_raw_parts_mut(slots, len) }
}

#[cold]
fn poison(home: *mut VmCtx) {
    if !home.is_null() {
        // SAFETY: `home` is a live instance.
        unsafe { &(*home).poisoned }.set(true);
    }
}

#[cold]
#[inline(never)]
fn fail(store: &mut StoreData, error: Error) -> Status {
    if error.kind() == ErrorKind::Exception && store.pending_exception != 0 {
        exception::set_pending(store.vm(), std::mem::take(&mut store.pending_exception));
        return Status::Exception;
    }
    match error.trap() {
        // A trap that the function asked for, as if guest code had trapped here.
        Some(trap) if error.kind() == ErrorKind::Trap && trap.frames().is_empty() => trap::record(store, trap.code()),
        _ => {
            trap::record(store, TrapCode::HostError);
            store.pending.error = Some(error);
        }
    }
    Status::Trap
}
