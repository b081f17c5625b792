//! Stand-in: which tier runs a function.
use std::sync::atomic::Ordering;

use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmFuncEntry};
use aura_validator::{Code, LowerOptions};

pub(crate) type SlotsEntry = extern "C" fn(*mut VmCtx, *const VmFuncEntry, *mut u64) -> Status;

pub(crate) extern "C" fn interp_entry(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: stand-in.
    unsafe { crate::interp::run(vmctx, entry, slots) }
}

pub(crate) unsafe fn call_slots(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: stand-in.
    let word = unsafe { (*entry).slots_entry.load(Ordering::Acquire) };
    // SAFETY: stand-in.
    let f: SlotsEntry = unsafe { std::mem::transmute(word) };
    f(vmctx, entry, slots)
}

pub(crate) unsafe fn code_of(entry: *const VmFuncEntry) -> Result<*const Code, Status> {
    // SAFETY: stand-in.
    let module = unsafe { &*(*entry).owner.cast::<crate::module::Inner>() };
    // SAFETY: stand-in.
    let index = unsafe { (*entry).index };
    let lower = || module.validated.lower(index, &LowerOptions { fuel: module.fuel });
    Ok(module.codes[index as usize].get_or_init(lower))
}

pub(crate) unsafe fn heat(_entry: *const VmFuncEntry, _amount: u32) -> bool {
    false
}
