//! Which tier runs a function, and the crossings between tiers.
//!
//! Every function is entered through the words of its [`VmFuncEntry`]. They begin as
//! [`interp_entry`] and `arch::lazy_regs`; compiling a function replaces them by its code and a stub.
//! [`resolve_regs`] decides at the first call from compiled code; what the interpreter makes hot is compiled later ([`crate::heat`]).
//!
//! # Safety
//! Trusts: an entry's `owner` is the live module it belongs to (or, for host functions, the live
//! engine); entries are reached through instances, which keep their modules. Gives: an entry word
//! always holds code for the entry's type, and code is freed only with its module.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmActivation, VmCtx, VmFuncEntry};

use crate::compile::{self, Unit};
use crate::engine::{Engine, Strategy};
use crate::heat::ASKED;
use crate::{arch, host, interp, module, services, tail};

/// The slot entry of functions that are not compiled, for compiled callers.
pub(crate) extern "C" fn interp_entry(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: whoever calls an entry word passes the callee's live instance, the entry itself, and
    // slots as its type needs; that is the contract of `VmFuncEntry`.
    match unsafe { enter_interpreter(vmctx, entry, slots) } {
        // SAFETY: the call was left pending just now.
        Status::TailCall => unsafe { tail::complete(vmctx) },
        status => status,
    }
}

unsafe fn enter_interpreter(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: the instance is live.
    let store = unsafe { (*vmctx).store };
    // SAFETY: a live instance has a live store.
    let limit = unsafe { &(*store).stack_limit };
    if arch::stack_pointer() < limit.load(Ordering::Relaxed) {
        // SAFETY: as for this function.
        let status = unsafe { services::stack_check_failed(vmctx) };
        if status != Status::Ok {
            return status;
        }
    }
    // SAFETY: the entry is that of a live module's function.
    let module = unsafe { module_of(entry) };
    // SAFETY: as above.
    let is_compiled = match is_compiled_first(module, unsafe { &*entry }) {
        Ok(is_compiled) => is_compiled,
        // SAFETY: as for this function.
        Err(error) => return unsafe { fail(vmctx, error) },
    };
    if is_compiled {
        // SAFETY: the entry word now holds compiled code for the same type.
        return unsafe { tail::restart(vmctx, entry, slots) };
    }
    // SAFETY: as for this function.
    unsafe { interp::run(vmctx, entry, slots) }
}

/// Whether a function that is called has compiled code, before the interpreter runs it: an artifact may have kept some, and
/// an engine that interprets nothing makes it.
///
/// # Errors
/// If the artifact was changed.
fn is_compiled_first(module: &module::Inner, entry: &VmFuncEntry) -> Result<bool, crate::Error> {
    // What was interpreted before has none.
    if module.has_native() && entry.form.load(Ordering::Acquire).is_null() && module.take_native(entry.index())? {
        return Ok(true);
    }
    Ok(module.engine().config().strategy == Strategy::Jit && compile_once(module, entry))
}

/// Calls a function with its arguments in slots, whatever tier it is in.
///
/// # Safety
/// `vmctx` and `entry` belong together, the instance is live and its store runs on this thread;
/// `slots` has room for the type's arguments and results.
pub(crate) unsafe fn call_slots(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: as for this function.
    match unsafe { call_once(vmctx, entry, slots) } {
        // SAFETY: as for this function.
        Status::TailCall => unsafe { tail::follow(vmctx, entry, slots) },
        status => status,
    }
}

/// As [`call_slots`], but leaves a tail call that the function ends with to the caller.
///
/// # Safety
/// As [`call_slots`].
pub(crate) unsafe fn call_once(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: the entry is live.
    let code = unsafe { &(*entry).slots_entry }.load(Ordering::Acquire);
    if code == host::host_entry as *mut () {
        return host::host_entry(vmctx, entry, slots);
    }
    if code == interp_entry as *mut () {
        // SAFETY: as for this function.
        return unsafe { enter_interpreter(vmctx, entry, slots) };
    }
    let code = NonNull::new(code).expect("entry words are never null");
    // SAFETY: as for this function; the word holds a slot entry for `entry`.
    unsafe { enter(code, vmctx, entry, slots) }
}

/// Runs compiled code with its arguments in slots, in an activation of its own.
///
/// # Safety
/// As [`call_slots`]; `code` has the convention of a slot entry and is for functions of the entry's type.
pub(crate) unsafe fn enter(code: NonNull<()>, vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> Status {
    let mut activation = VmActivation::new();
    // SAFETY: the instance is live.
    let store = unsafe { (*vmctx).store };
    // SAFETY: store and activation live during the call; the rest is said by the caller.
    let status = unsafe { arch::enter(store, &raw mut activation, code.as_ptr(), vmctx, entry, slots) };
    match status {
        status if status == Status::Ok as u32 => Status::Ok,
        status if status == Status::Exception as u32 => Status::Exception,
        _ => Status::Trap,
    }
}

/// What the interpreter runs of a function. Without it, because the function turns out to be invalid, the status says that the
/// call failed.
///
/// # Safety
/// `entry` belongs to a live module's own function, `vmctx` to a live instance of it.
pub(crate) unsafe fn form_of(vmctx: *mut VmCtx, entry: *const VmFuncEntry) -> Result<*const interp::Form, Status> {
    // SAFETY: the entry is live.
    let known = unsafe { &(*entry).form }.load(Ordering::Acquire);
    if !known.is_null() {
        return Ok(known.cast());
    }
    // SAFETY: as for this function.
    let module = unsafe { module_of(entry) };
    // SAFETY: the entry is live.
    match module.form(unsafe { (*entry).index() }) {
        Ok(form) => Ok(form),
        // SAFETY: as for this function.
        Err(error) => Err(unsafe { fail(vmctx, error) }),
    }
}

/// The entry of an own function of an instance's module. Without it, because an artifact was changed, the status says that the
/// call failed.
///
/// # Safety
/// `vmctx` is of a live instance of the module, whose store runs on this thread.
pub(crate) unsafe fn entry_of(
    vmctx: *mut VmCtx,
    module: &module::Inner,
    own_func: u32,
) -> Result<*const VmFuncEntry, Status> {
    match module.entry(own_func) {
        Ok(entry) => Ok(entry),
        // SAFETY: as for this function.
        Err(error) => Err(unsafe { fail(vmctx, error) }),
    }
}

/// Ends a call with an error of the engine's.
///
/// # Safety
/// `vmctx` is of a live instance, or the context of a host function, whose store runs on this thread.
#[cold]
unsafe fn fail(vmctx: *mut VmCtx, error: crate::Error) -> Status {
    // SAFETY: said by the caller; nothing else of the store is borrowed while a tier changes.
    let data = unsafe { &mut *crate::store::StoreData::of(vmctx) };
    data.pending.error = Some(error);
    crate::trap::record(data, TrapCode::HostError);
    Status::Trap
}

/// Finds the register entry for a function that compiled code calls for the first time.
pub(crate) extern "C" fn resolve_regs(vmctx: *mut VmCtx, entry: *const VmFuncEntry) -> *const () {
    resolve_or(vmctx, entry, arch::propagate as *const ())
}

/// As [`resolve_regs`], for a function whose results do not fit registers.
pub(crate) extern "C" fn resolve_regs_with_area(vmctx: *mut VmCtx, entry: *const VmFuncEntry) -> *const () {
    resolve_or(vmctx, entry, arch::propagate_with_area as *const ())
}

/// The register entry; where its stub cannot be made, `propagate`, which leads straight out of the activation.
fn resolve_or(vmctx: *mut VmCtx, entry: *const VmFuncEntry, propagate: *const ()) -> *const () {
    // SAFETY: `arch::lazy_regs` passes what compiled code called: a live instance and its function's entry.
    let word = unsafe { &(*entry).regs_entry };
    let first = word.load(Ordering::Acquire);
    if !arch::is_lazy(first) {
        return first;
    }
    // SAFETY: as above: host functions' contexts share the head of an instance's.
    let store = unsafe { (*vmctx).store };
    // SAFETY: a live instance has a live store.
    let limit = unsafe { &(*store).stack_limit };
    // SAFETY: the entry is live.
    let is_own = unsafe { (*entry).index() } != u32::MAX;
    // Compiling takes long, and what is called may never look: a call that is to end does not begin it.
    if is_own && arch::stack_pointer() < limit.load(Ordering::Relaxed) {
        // SAFETY: an own function's context is its live, linked instance.
        let status = unsafe { services::stack_check_failed(vmctx) };
        if status != Status::Ok {
            return propagate;
        }
    }
    // SAFETY: as above.
    match unsafe { resolve(entry) } {
        // The stub that leads to the interpreter must not replace code that another thread put there
        // meanwhile: the function's other word then leads here, and each would lead to the other for ever.
        Ok(code) => match word.compare_exchange(first, code.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => code.as_ptr(),
            Err(newer) => newer,
        },
        Err(error) => {
            // SAFETY: the instance is live (host functions' contexts share its head).
            unsafe { fail(vmctx, error) };
            propagate
        }
    }
}

unsafe fn resolve(entry: *const VmFuncEntry) -> Result<NonNull<()>, crate::Error> {
    // SAFETY: the caller has a live entry.
    if unsafe { (*entry).index() } == u32::MAX {
        // SAFETY: entries with this index are those of host functions.
        return unsafe { Engine::stub_for_host_entry(entry) };
    }
    // SAFETY: as above.
    let module = unsafe { module_of(entry) };
    // SAFETY: as above.
    if is_compiled_first(module, unsafe { &*entry })? {
        // SAFETY: as above.
        let code = unsafe { &(*entry).regs_entry }.load(Ordering::Acquire);
        return Ok(NonNull::new(code).expect("entry words are never null"));
    }
    // SAFETY: as above.
    module.engine().regs_to_slots(unsafe { (*entry).type_id() })
}

/// The code to which compiled code jumps to tail-call a function whose arguments are in the store.
///
/// # Safety
/// `entry` is live.
pub(crate) unsafe fn tail_entry(entry: *const VmFuncEntry) -> Result<NonNull<()>, crate::Error> {
    // SAFETY: said by the caller.
    if unsafe { (*entry).index() } == u32::MAX {
        // SAFETY: entries with this index are those of host functions.
        return unsafe { Engine::tail_entry_for_host(entry) };
    }
    // SAFETY: other entries are those of modules' own functions.
    let module = unsafe { module_of(entry) };
    // SAFETY: said by the caller.
    module.engine().tail_entry(unsafe { (*entry).type_id() })
}

/// The module of a function's entry.
///
/// # Safety
/// `entry` belongs to a live module's own function.
pub(crate) unsafe fn module_of<'a>(entry: *const VmFuncEntry) -> &'a module::Inner {
    // SAFETY: as for this function.
    let owner = unsafe { (*entry).owner() };
    // SAFETY: own functions' owner is their module, which the instance that led here keeps.
    unsafe { &*owner.cast() }
}

/// Compiles a function on this thread unless that was tried before. Says whether its entry words hold compiled code.
#[cold]
pub(crate) fn compile_once(module: &module::Inner, entry: &VmFuncEntry) -> bool {
    // Whoever wants the same function waits for its code.
    let turn = module.tiers.turn();
    if entry.limit.swap(ASKED, Ordering::Relaxed) != ASKED {
        compile::compile_all(module, &[Unit { func: entry.index(), header: None }]);
    }
    drop(turn);
    is_compiled(entry)
}

/// Whether an own function's entry words hold compiled code.
pub(crate) fn is_compiled(entry: &VmFuncEntry) -> bool {
    entry.direct.load(Ordering::Acquire)
}
