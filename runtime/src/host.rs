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

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use aura_host_abi::host::{Denial, HostCall};
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmFuncRef, VmHostFunc};
use aura_host_abi::{Action, Capability, FuncType, GrantSpec, GuestMemory, Resource, TrapCode};

use crate::error::{Error, ErrorKind, Result};
use crate::grant::DeniedImport;
use crate::store::StoreData;
use crate::trap;
use crate::vm::instance::InstanceData;
use crate::vm::memory::LinearMemory;

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
    pub(crate) body: Box<Body>,
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
        let entry = store.engine.host_entry(type_id);
        let vm = VmHostFunc { store: store.vm(), entries: std::ptr::null(), func: std::ptr::null(), home };
        let func_ref = VmFuncRef { entry, vmctx: std::ptr::null_mut(), type_id, padding: 0 };
        let mut record = Box::new(Self { vm, func_ref, func, capabilities });
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
        if unsafe { (*entry).index } != u32::MAX {
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

    /// Reads the state of the capabilities now, and counts.
    fn is_open(&self) -> bool {
        let live = self.capabilities.iter().find(|capability| capability.is_live());
        match live {
            Some(capability) => capability.use_once(),
            None => {
                for revoked in &self.capabilities {
                    let _ = revoked.use_once();
                }
                false
            }
        }
    }

    fn run(&self, store: *mut StoreData, slots: &mut [u64]) -> Result<()> {
        let context = HostContext { store, home: self.vm.home };
        match &self.func.gate {
            Some(gate) if !self.is_open() => self.deny(gate, context, slots),
            _ => (self.func.body)(context, slots),
        }
    }

    #[cold]
    fn deny(&self, gate: &Gate, context: HostContext, slots: &mut [u64]) -> Result<()> {
        if let Denial::Quiet(answer) = gate.denial {
            return with_call(context, slots, answer).map_err(Error::from);
        }
        // SAFETY: the store runs on this thread, and nothing else of it is borrowed here.
        let data = unsafe { &mut *context.store };
        DeniedImport::note(&mut data.denied, &self.func, gate.actions);
        match gate.denial {
            Denial::Code(code) => slots[0] = code.into(),
            Denial::Trap | Denial::Quiet(_) => return Err(Error::trap_code(TrapCode::CapabilityDenied)),
        }
        Ok(())
    }
}

/// Calls `body` with the [`HostCall`] of a context: the memory that the calling instance exports as `memory`.
pub(crate) fn with_call<R>(context: HostContext, slots: &mut [u64], body: impl FnOnce(&mut HostCall<'_>) -> R) -> R {
    // SAFETY: the store runs on this thread; the borrow ends with the next line.
    let store = unsafe { &*context.store };
    let (deadline, shared) = (store.deadline, store.shared.clone());
    let memory = match context.home.is_null() {
        true => None,
        // SAFETY: `home` is a live instance of the store.
        false => unsafe { &*InstanceData::from_vmctx(context.home) }.exported_memory(),
    };
    let memory = match memory {
        None => GuestMemory::empty(),
        Some(memory) => {
            // SAFETY: memories live as long as their store.
            let memory = unsafe { LinearMemory::from_vm(memory) };
            // SAFETY: a memory's bytes below its length stay mapped readable and writable while it lives.
            unsafe { GuestMemory::from_raw(memory.base(), memory.byte_len()) }
        }
    };
    body(&mut HostCall::new(memory, slots, deadline, Some(shared.interrupted())))
}

/// The slot entry of every host function.
pub(crate) extern "C" fn host_entry(vmctx: *mut VmCtx, _: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: this entry is reached through references made by `HostRecord::add` only.
    let record = unsafe { &*vmctx.cast::<HostRecord>().cast_const() };
    let store = StoreData::of(vmctx);
    // SAFETY: callers of an entry word pass as many slots as the type needs; nobody else uses them meanwhile.
    let slots = unsafe { slots_of(slots, record.func.ty.call_slots()) };
    // SAFETY: as below; the borrow ends with the line.
    let scope = unsafe { &mut *store }.roots.get_mut().begin();
    let result = catch_unwind(AssertUnwindSafe(|| record.run(store, slots)));
    // SAFETY: as below; the borrow ends with the line.
    unsafe { &mut *store }.roots.get_mut().end(scope);
    let error = match result {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(error)) => error,
        Err(panic) => {
            poison(record.vm.home);
            Error::panic(&format!("{}.{}", record.func.module, record.func.name), &*panic)
        }
    };
    // SAFETY: the body has returned; nothing of the store is borrowed on this thread.
    fail(unsafe { &mut *store }, error);
    Status::Trap
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
        // SAFETY: `home` is a live instance; no reference to its data is held across a host call.
        unsafe { (*InstanceData::from_vmctx(home)).poisoned = true };
    }
}

#[cold]
fn fail(store: &mut StoreData, error: Error) {
    match error.trap() {
        // A trap that the function asked for, as if guest code had trapped here.
        Some(trap) if error.kind() == ErrorKind::Trap && trap.frames().is_empty() => trap::record(store, trap.code()),
        _ => {
            trap::record(store, TrapCode::HostError);
            store.pending.error = Some(error);
        }
    }
}
