//! Tail calls that leave the interpreter.
//!
//! A frame that is to be replaced by one of another tier cannot call: it would stay on the native
//! stack. So it puts the callee and its arguments into the store's [`VmTail`], returns
//! [`Status::TailCall`], and whoever called it makes the call: compiled code by a jump to the tail
//! entry of the callee's type (the stub of its own call does that), Rust by the loop in [`follow`].
//! Nothing runs between the writer and the reader, so that one place in the store is enough.
//!
//! # Safety
//! Trusts: as [`crate::tier`]. Gives: the argument buffer is as long as any function's parameters.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmStore, VmTail};

use crate::store::StoreData;
use crate::tier;

/// Slots of the argument buffer: as many parameters as wasmparser admits, vectors all of them.
const ARGS_MAX: usize = 2 * 1000;

/// The store's pending tail call.
///
/// # Safety
/// `store` is live and runs on this thread; the reference ends before guest code runs.
unsafe fn pending<'a>(store: *mut VmStore) -> &'a mut VmTail {
    // SAFETY: said by the caller.
    let tail = unsafe { (*store).tail.get() };
    // SAFETY: the cell belongs to this thread.
    unsafe { &mut *tail }
}

/// Where the arguments of a tail call go, [`ARGS_MAX`] slots.
///
/// # Safety
/// As [`pending`].
pub(crate) unsafe fn args(store: *mut VmStore) -> *mut u64 {
    // SAFETY: said by the caller.
    let tail = unsafe { pending(store) };
    if tail.args.is_null() {
        // SAFETY: the store's data is live, and nothing of it is borrowed here.
        let data = unsafe { &mut *StoreData::from_vm(store) };
        data.tail_args = vec![0; ARGS_MAX].into();
        tail.args = data.tail_args.as_mut_ptr();
    }
    tail.args
}

/// Asks the caller of the running function to call another one in its place. The arguments are in the buffer.
///
/// # Safety
/// As [`pending`]; `vmctx` and `entry` belong together and live.
pub(crate) unsafe fn leave(store: *mut VmStore, vmctx: *mut VmCtx, entry: *const VmFuncEntry) -> Status {
    // SAFETY: said by the caller.
    let tail = unsafe { pending(store) };
    (tail.vmctx, tail.entry) = (vmctx, entry);
    Status::TailCall
}

/// As [`leave`], for the function that was about to run itself, with its arguments where they are: its entry words have changed.
///
/// # Safety
/// As [`tier::call_slots`].
pub(crate) unsafe fn restart(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *const u64) -> Status {
    // SAFETY: the instance is live.
    let store = unsafe { (*vmctx).store };
    // SAFETY: the store runs on this thread.
    let buffer = unsafe { args(store) };
    // SAFETY: as above; nothing of the store is borrowed.
    let data = unsafe { &*StoreData::from_vm(store) };
    // SAFETY: the entry is live.
    let params = data.engine.types().func(unsafe { (*entry).type_id() }).param_slots();
    // SAFETY: both are as long as the parameters of any function, or of this one; the buffer is the store's own.
    unsafe { std::ptr::copy_nonoverlapping(slots, buffer, params) };
    // SAFETY: said by the caller.
    unsafe { leave(store, vmctx, entry) }
}

/// Makes the calls that a function called from Rust left behind, until one returns.
///
/// # Safety
/// As [`tier::call_slots`], with the function that was called and its slots.
#[cold]
pub(crate) unsafe fn follow(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: the instance is live.
    let store = unsafe { (*vmctx).store };
    // SAFETY: the store runs on this thread; the borrow ends with this line.
    let engine = unsafe { &*StoreData::from_vm(store) }.engine.clone();
    // SAFETY: the entry is live.
    let results = engine.types().func(unsafe { (*entry).type_id() }).result_slots();
    loop {
        // SAFETY: the store runs on this thread.
        let &mut VmTail { vmctx, entry, args, .. } = unsafe { pending(store) };
        // SAFETY: the entry is live.
        let ty = engine.types().func(unsafe { (*entry).type_id() });
        let mut array = vec![0_u64; ty.call_slots()];
        // SAFETY: the buffer holds the callee's arguments, for which the array has room.
        unsafe { std::ptr::copy_nonoverlapping(args, array.as_mut_ptr(), ty.param_slots()) };
        // SAFETY: whoever left the call named a live function; the array fits its type.
        match unsafe { tier::call_once(vmctx, entry, array.as_mut_ptr()) } {
            Status::TailCall => {}
            Status::Ok => {
                // SAFETY: a tail callee's results are those of the function that called it.
                unsafe { std::ptr::copy_nonoverlapping(array.as_ptr(), slots, results) };
                return Status::Ok;
            }
            status => return status,
        }
    }
}

/// Completes the pending tail call for a caller that is compiled code.
///
/// # Safety
/// A tail call of the instance's store is pending.
pub(crate) unsafe fn complete(vmctx: *mut VmCtx) -> Status {
    // SAFETY: the instance is live.
    let store = unsafe { (*vmctx).store };
    // SAFETY: the store runs on this thread; compiling runs no guest code.
    let tail = unsafe { pending(store) };
    // SAFETY: the callee is live.
    match unsafe { code_for(tail.entry) } {
        Ok(code) => {
            tail.code = code.as_ptr();
            Status::TailCall
        }
        Err(error) => {
            // SAFETY: nothing of the store is borrowed.
            let data = unsafe { &mut *StoreData::from_vm(store) };
            data.pending.error = Some(error);
            crate::trap::record(data, TrapCode::HostError);
            Status::Trap
        }
    }
}

/// The tail entry of a function.
///
/// # Safety
/// `entry` is live.
unsafe fn code_for(entry: *const VmFuncEntry) -> Result<NonNull<()>, crate::Error> {
    // SAFETY: said by the caller.
    let word = unsafe { &(*entry).tail_entry };
    if let Some(known) = NonNull::new(word.load(Ordering::Acquire)) {
        return Ok(known);
    }
    // SAFETY: said by the caller.
    let code = unsafe { tier::tail_entry(entry) }?;
    word.store(code.as_ptr(), Ordering::Release);
    Ok(code)
}
