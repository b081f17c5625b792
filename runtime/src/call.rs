//! The ways from the host into guest code: [`invoke`], which every function can be called by, and [`enter`], for
//! functions that are compiled and whose arguments fit registers.
//!
//! A call arms the stack limit for the thread and the place on its stack. What was armed stays for the next
//! call, which looks whether it comes from near there ([`Armed`]) and then has nothing to set and nothing to put back.
//!
//! # Safety
//! Trusts: a handle that passed its store's check points to a live function. Gives: while guest code runs, no Rust
//! reference into the store is alive; the store is reached through one raw pointer, and borrowed again after the call.

use std::sync::atomic::Ordering;

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::VmFuncRef;

use crate::error::{Error, Result};
use crate::externs::Func;
use crate::host::{self, HostRecord};
use crate::store::{AsContextMut, StoreData};
use crate::thread::ThisThread;
use crate::typed::Registers;
use crate::value::{Val, read_slots, write_slots};
use crate::vm::instance::InstanceData;
use crate::{arch, exception, thread, tier, trap};

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
        if instance.is_poisoned() {
            return Err(Error::trap_code(TrapCode::Poisoned));
        }
    }
    let here = thread::here();
    // SAFETY: nothing of the store is borrowed, by the contract of this function.
    let depth_left = begin(unsafe { &mut *store }, here)?;
    // SAFETY: the store is live.
    let vm = unsafe { (*store).vm() };
    // SAFETY: `func` gives instance and entry that belong together; slots suffice.
    let status = here.run(vm, || unsafe { tier::call_slots(vmctx, entry, slots) });
    // SAFETY: guest code has returned; nothing of the store is borrowed.
    let data = unsafe { &mut *store };
    data.depth -= 1;
    data.shared.set_depth_left(depth_left);
    match status {
        Status::Ok => Ok(()),
        status => Err(ended(data, status)),
    }
}

/// What the stack limit was armed for: it is right for calls that begin near there.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    /// The thread, as [`ThisThread::number`] has it; 0 for none.
    thread: usize,
    /// How far from the stack pointer the limit may lie.
    near: usize,
    far: usize,
}

/// How far from each other the places on a stack may lie from where calls with one stack limit begin.
const NEAR: usize = 16 << 10;

impl Armed {
    /// Whether the limit serves a call that begins here. An interrupt makes it serve none.
    #[inline(always)]
    fn serves(&self, here: &ThisThread, limit: usize) -> bool {
        let distance = arch::stack_pointer().wrapping_sub(limit);
        self.thread == here.number()
            && distance.wrapping_sub(self.near) <= self.far - self.near
            && limit >= here.known_lowest()
    }
}

/// Whether [`enter`] serves for a function now.
///
/// # Safety
/// As [`invoke`].
#[inline(always)]
pub(crate) unsafe fn is_ready(store: *const StoreData, func: *const VmFuncRef, here: &ThisThread) -> bool {
    // SAFETY: said by the caller.
    let VmFuncRef { entry, vmctx, .. } = *unsafe { &*func };
    // SAFETY: a live function has a live entry.
    let code = unsafe { &(*entry).slots_entry }.load(Ordering::Acquire);
    // A function that is compiled got the word for registers before this one.
    if std::ptr::eq(code, tier::interp_entry as *const ()) || std::ptr::eq(code, host::host_entry as *const ()) {
        return false;
    }
    // SAFETY: a function that is not the host's belongs to a live instance.
    let is_poisoned = unsafe { &(*vmctx).poisoned }.get();
    // SAFETY: nothing of the store is borrowed exclusively.
    let data = unsafe { &*store };
    !is_poisoned && data.depth == 0 && data.deadline.is_none() && data.armed.serves(here, data.shared.stack_limit_now())
}

/// Calls a compiled function with its arguments in registers; returns the bits of its result.
///
/// # Safety
/// As [`invoke`]; [`is_ready`] said so just now, and the registers hold the arguments of the function's type, which fit
/// with its results.
#[inline(always)]
pub(crate) unsafe fn enter<const FLOATS: bool, const FLOAT_RESULT: bool>(
    store: *mut StoreData,
    func: *const VmFuncRef,
    here: &ThisThread,
    registers: &Registers,
) -> Result<u64> {
    // SAFETY: said by the caller.
    let VmFuncRef { entry, vmctx, .. } = *unsafe { &*func };
    // SAFETY: said by the caller; each borrow ends within its line.
    let vm = unsafe { (*store).vm() };
    // SAFETY: as above.
    unsafe { (*store).depth = 1 };
    let [a, b, c, d] = registers.ints;
    let floats = registers.floats.map(f64::from_bits);
    let returned = here.run(vm, || {
        // SAFETY: instance and entry belong together; the store runs on this thread; the arguments are those of the type.
        unsafe { arch::enter_registers::<FLOATS, FLOAT_RESULT>(vmctx, entry, [a, b, c, d], floats) }
    });
    // SAFETY: as above.
    unsafe { (*store).depth = 0 };
    if returned.status == Status::Ok as u64 {
        return Ok(returned.value);
    }
    let status = if returned.status == Status::Exception as u64 { Status::Exception } else { Status::Trap };
    // SAFETY: guest code has returned; nothing of the store is borrowed.
    Err(ended(unsafe { &mut *store }, status))
}

/// How many times the bytes that frames may cost native stack may be used for them, where their cost is the limit.
const NATIVE_PER_COST: usize = 16;

/// Sets the limits of guest code on this thread; returns what frames might still cost before.
fn begin(store: &mut StoreData, here: &ThisThread) -> Result<i64> {
    if store.depth >= DEPTH_MAX {
        return Err(Error::trap_code(TrapCode::StackOverflow));
    }
    if store.deadline.is_some_and(|deadline| std::time::Instant::now() >= deadline) {
        store.shared.interrupt();
    }
    let depth_left = store.shared.depth_left();
    if store.depth == 0 {
        arm(store, here)?;
    }
    store.depth += 1;
    Ok(depth_left)
}

/// Arms the stack limit for calls from here, and the rest that is counted down from a call's beginning.
fn arm(store: &mut StoreData, here: &ThisThread) -> Result<()> {
    store.flight.runs_here();
    let config = store.engine.config();
    let bytes = config.max_wasm_stack;
    let native = if config.deterministic { bytes.saturating_mul(NATIVE_PER_COST) } else { bytes };
    store.shared.set_depth_left(i64::try_from(bytes).unwrap_or(i64::MAX));
    let pointer = arch::stack_pointer();
    let limit = pointer.saturating_sub(native).max(here.lowest_usable());
    store.shared.arm(limit);
    let distance = pointer.saturating_sub(limit);
    let thread = if config.deterministic { 0 } else { here.number() };
    store.armed = Armed { thread, near: distance.saturating_sub(NEAR), far: distance.saturating_add(NEAR) };
    if store.engine.compiler().is_some() { store.shared.have_page() } else { Ok(()) }
}

/// The error of a call that did not return.
#[cold]
#[inline(never)]
fn ended(store: &mut StoreData, status: Status) -> Error {
    match status {
        Status::Trap => finish(store),
        Status::Exception => {
            store.pending_exception = exception::take_pending(store.vm());
            Error::exception()
        }
        Status::Ok | Status::TailCall => unreachable!("a call's way in makes the tail calls of what it calls"),
    }
}

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
