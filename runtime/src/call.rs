//! The way from the host into guest code: the one function every call of the host passes.
//!
//! # Safety
//! Trusts: a handle that passed its store's check points to a live function. Gives: while guest code runs, no Rust
//! reference into the store is alive; the store is reached through one raw pointer, and borrowed again after the call.

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::VmFuncRef;

use crate::error::{Error, Result};
use crate::externs::Func;
use crate::host::HostRecord;
use crate::signals::Running;
use crate::store::{AsContextMut, StoreData};
use crate::value::{Val, read_slots, write_slots};
use crate::vm::instance::InstanceData;
use crate::{arch, exception, stack, tier, trap};

/// How deep host functions and guests may call each other in turns.
const DEPTH_MAX: u32 = 1000;

/// Calls a function of the store with its arguments in slots.
///
/// # Safety
/// - `store` is live and runs on this thread; nothing of it is borrowed.
/// - `func` is a function of the store; `slots` has room for its type's arguments and results.
pub(crate) unsafe fn invoke(store: *mut StoreData, func: *const VmFuncRef, slots: *mut u64) -> Result<()> {
    // SAFETY: the caller vouches for the function; references are immutable.
    let VmFuncRef { entry, vmctx, .. } = *unsafe { &*func };
    // SAFETY: as above.
    if unsafe { HostRecord::of(func) }.is_none() {
        // SAFETY: a function that is not the host's belongs to a live instance.
        let instance = unsafe { &*InstanceData::from_vmctx(vmctx) };
        if instance.poisoned {
            return Err(Error::trap_code(TrapCode::Poisoned));
        }
    }
    // SAFETY: nothing of the store is borrowed, by the contract of this function.
    let before = begin(unsafe { &mut *store })?;
    // SAFETY: the store is live.
    let running = Running::new(unsafe { (*store).vm() });
    // SAFETY: `func` gives instance and entry that belong together; slots suffice.
    let status = unsafe { tier::call_slots(vmctx, entry, slots) };
    drop(running);
    // SAFETY: guest code has returned; nothing of the store is borrowed.
    let data = unsafe { &mut *store };
    data.depth -= 1;
    data.shared.arm(before.stack_limit);
    data.shared.set_depth_left(before.depth_left);
    match status {
        Status::Ok => Ok(()),
        Status::Trap => Err(finish(data)),
        Status::Exception => {
            data.pending_exception = exception::take_pending(data.vm());
            Err(Error::exception())
        }
        Status::TailCall => unreachable!("`call_slots` makes the tail calls of what it calls"),
    }
}

/// The limits of guest code to go back to when a call ends.
struct Before {
    stack_limit: usize,
    depth_left: i64,
}

/// How many times the bytes that frames may cost native stack may be used for them, where their cost is the limit.
const NATIVE_PER_COST: usize = 16;

/// Sets the limits of guest code on this thread; returns those before.
fn begin(store: &mut StoreData) -> Result<Before> {
    if store.depth >= DEPTH_MAX {
        return Err(Error::trap_code(TrapCode::StackOverflow));
    }
    if store.deadline.is_some_and(|deadline| std::time::Instant::now() >= deadline) {
        store.shared.interrupt();
    }
    let before = Before { stack_limit: store.shared.stack_limit(), depth_left: store.shared.depth_left() };
    if store.depth == 0 {
        store.flight.runs_here();
        let config = store.engine.config();
        let bytes = config.max_wasm_stack;
        let native = if config.deterministic { bytes.saturating_mul(NATIVE_PER_COST) } else { bytes };
        store.shared.set_depth_left(i64::try_from(bytes).unwrap_or(i64::MAX));
        store.shared.arm(arch::stack_pointer().saturating_sub(native).max(stack::lowest_usable()));
    }
    store.depth += 1;
    Ok(before)
}

#[cold]
fn finish(store: &mut StoreData) -> Error {
    let error = trap::take(store);
    if store.depth == 0 && store.deadline.is_none() && error.trap().is_some_and(|t| t.code() == TrapCode::Interrupted) {
        // An interrupt ends one call; a deadline stays passed until it is moved.
        store.shared.withdraw_interrupt();
    }
    error
}

impl Func {
    /// Calls the function.
    ///
    /// # Errors
    /// If it traps or a host function fails; if number or types of arguments or results are not the
    /// function's; if a handle belongs to another store.
    pub fn call(&self, mut store: impl AsContextMut, args: &[Val], results: &mut [Val]) -> Result<()> {
        let data = std::ptr::from_mut(store.as_context_mut().0);
        // SAFETY: `StoreData` is the first field of the store; nothing else of it is borrowed.
        let data = unsafe { &mut (*data).data };
        data.check(self.store, "the function")?;
        let engine = data.engine.clone();
        let ty = engine.types().func(self.type_id());
        let expect = |what: &str, given: usize, wanted: usize| match given == wanted {
            true => Ok(()),
            false => Err(Error::usage(format!("{given} {what} given, the function {ty} has {wanted}"))),
        };
        expect("arguments", args.len(), ty.params().len())?;
        expect("places for results", results.len(), ty.results().len())?;
        let mut slots = vec![0; ty.call_slots()];
        write_slots(&mut slots, args, ty.params(), data)?;
        let data = std::ptr::from_mut(data);
        // SAFETY: the store is borrowed by this call and used through `data` alone; the slots fit the type.
        unsafe { invoke(data, self.raw(), slots.as_mut_ptr()) }?;
        // SAFETY: as above; the call has returned.
        let data = unsafe { &*data };
        for (result, value) in results.iter_mut().zip(read_slots(&slots, ty.results(), data)) {
            *result = value;
        }
        Ok(())
    }
}
