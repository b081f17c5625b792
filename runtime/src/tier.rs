//! Which tier runs a function, and the crossings between tiers.
//!
//! Every function is entered through the words of its [`VmFuncEntry`]. They begin as
//! [`interp_entry`] and `arch::lazy_regs`; compiling a function replaces them by its code and a stub.
//! [`resolve_regs`] decides at the first call from compiled code, [`heat`] when the interpreter has
//! entered a function often.
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
use aura_jit::{CodeKind, ModuleCode};
use aura_validator::Code;

use crate::engine::{Engine, Strategy};
use crate::{arch, host, interp, module, services, tail};

/// Address space per module for machine code.
const CODE_RESERVATION: usize = ModuleCode::DEFAULT_RESERVATION;

/// Heat of a function that was compiled or cannot be: never offered to the compiler again.
const SETTLED: u32 = u32::MAX;

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
    if module.engine().config().strategy == Strategy::Jit {
        // SAFETY: as above.
        if unsafe { compile_once(entry) } {
            // SAFETY: the entry word now holds compiled code for the same type.
            return unsafe { tail::restart(vmctx, entry, slots) };
        }
    }
    // SAFETY: as for this function.
    unsafe { interp::run(vmctx, entry, slots) }
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
    let mut activation = VmActivation::new();
    // SAFETY: the instance is live.
    let store = unsafe { (*vmctx).store };
    // SAFETY: store and activation live during the call; the word holds a slot entry for `entry`.
    let status = unsafe { arch::enter(store, &raw mut activation, code, vmctx, entry, slots) };
    match status {
        status if status == Status::Ok as u32 => Status::Ok,
        status if status == Status::Exception as u32 => Status::Exception,
        _ => Status::Trap,
    }
}

/// The lowered body of a function.
///
/// # Safety
/// `entry` belongs to a live module's own function.
pub(crate) unsafe fn code_of(entry: *const VmFuncEntry) -> Result<*const Code, Status> {
    // SAFETY: as for this function.
    let module = unsafe { module_of(entry) };
    // SAFETY: the entry is live.
    let index = unsafe { (*entry).index };
    Ok(module.code(index))
}

/// Counts `amount` entries of the interpreter into a function or its loops. Says whether it is compiled now.
///
/// # Safety
/// `entry` belongs to a live module's own function.
#[inline]
pub(crate) unsafe fn heat(entry: *const VmFuncEntry, amount: u32) -> bool {
    // SAFETY: the entry is live.
    let heat = unsafe { &(*entry).heat };
    let before = heat.load(Ordering::Relaxed);
    if before == SETTLED {
        return false;
    }
    let now = before.saturating_add(amount).min(SETTLED - 1);
    heat.store(now, Ordering::Relaxed);
    // SAFETY: as for this function.
    let threshold = unsafe { module_of(entry) }.engine().config().tier_up_threshold;
    // SAFETY: as for this function.
    now > threshold && unsafe { compile_once(entry) }
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
            let data = unsafe { &mut *crate::store::StoreData::of(vmctx) };
            data.pending.error = Some(error);
            crate::trap::record(data, TrapCode::HostError);
            propagate
        }
    }
}

unsafe fn resolve(entry: *const VmFuncEntry) -> Result<NonNull<()>, crate::Error> {
    // SAFETY: the caller has a live entry.
    if unsafe { (*entry).index } == u32::MAX {
        // SAFETY: entries with this index are those of host functions.
        return unsafe { Engine::stub_for_host_entry(entry) };
    }
    // SAFETY: as above.
    let module = unsafe { module_of(entry) };
    // SAFETY: as above.
    if module.engine().config().strategy == Strategy::Jit && unsafe { compile_once(entry) } {
        // SAFETY: as above.
        let code = unsafe { &(*entry).regs_entry }.load(Ordering::Acquire);
        return Ok(NonNull::new(code).expect("entry words are never null"));
    }
    // SAFETY: as above.
    module.engine().regs_to_slots(unsafe { (*entry).type_id })
}

/// The code to which compiled code jumps to tail-call a function whose arguments are in the store.
///
/// # Safety
/// `entry` is live.
pub(crate) unsafe fn tail_entry(entry: *const VmFuncEntry) -> Result<NonNull<()>, crate::Error> {
    // SAFETY: said by the caller.
    if unsafe { (*entry).index } == u32::MAX {
        // SAFETY: entries with this index are those of host functions.
        return unsafe { Engine::tail_entry_for_host(entry) };
    }
    // SAFETY: other entries are those of modules' own functions.
    let module = unsafe { module_of(entry) };
    // SAFETY: said by the caller.
    module.engine().tail_entry(unsafe { (*entry).type_id })
}

/// The module of a function's entry.
///
/// # Safety
/// `entry` belongs to a live module's own function.
unsafe fn module_of<'a>(entry: *const VmFuncEntry) -> &'a module::Inner {
    // SAFETY: as for this function.
    let owner = unsafe { (*entry).owner };
    // SAFETY: own functions' owner is their module, which the instance that led here keeps.
    unsafe { &*owner.cast() }
}

/// Compiles a function unless that was tried before. Says whether its entry words hold compiled code.
///
/// # Safety
/// `entry` belongs to a live module's own function.
#[cold]
unsafe fn compile_once(entry: *const VmFuncEntry) -> bool {
    // SAFETY: as for this function.
    let module = unsafe { module_of(entry) };
    // SAFETY: the entry lives as long as its module.
    let entry = unsafe { &*entry };
    let mut code = module.code.lock().expect("compilation does not panic with the lock held");
    // Another thread that counts may have written its number over this one's verdict.
    let is_new = entry.slots_entry.load(Ordering::Acquire) == interp_entry as *mut ();
    if is_new && entry.heat.load(Ordering::Relaxed) != SETTLED {
        entry.heat.store(SETTLED, Ordering::Relaxed);
        if !(entry.index % 2 == 1 && module.engine().config().odd_functions_interpreted) {
            // What cannot be compiled within its budget stays interpreted; that is no error.
            let _ = compile(module, entry, &mut code);
        }
    }
    entry.slots_entry.load(Ordering::Acquire) != interp_entry as *mut ()
}

fn compile(module: &module::Inner, entry: &VmFuncEntry, code: &mut Option<ModuleCode>) -> Result<(), String> {
    let engine = module.engine();
    let Some(compiler) = engine.compiler() else { return Err("the engine has no compiler".to_owned()) };
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let lowered = module.code(entry.index);
    let compiled =
        compiler.compile(module.validated(), entry.index, lowered, module.type_ids()).map_err(|e| text(&e))?;
    let stub = engine.slots_to_regs(entry.type_id).map_err(|e| text(&e))?;
    if code.is_none() {
        let token = std::ptr::from_ref(module).addr() as u64;
        *code = Some(ModuleCode::new(compiler, token, CODE_RESERVATION).map_err(|e| text(&e))?);
    }
    let memory = code.as_ref().expect("just made");
    let regs = memory.publish(&[(CodeKind::Function(entry.index), &compiled)]).map_err(|e| text(&e))?[0];
    entry.regs_entry.store(regs.as_ptr(), Ordering::Release);
    entry.slots_entry.store(stub.as_ptr(), Ordering::Release);
    Ok(())
}
