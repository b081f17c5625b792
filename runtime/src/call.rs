//! The ways from the host into guest code: [`invoke`], which every function can be called by, and [`enter`], for
//! functions that are compiled and whose arguments fit registers.
//!
//! A call arms the stack limit for the thread and the place on its stack. What was armed stays for the next
//! call, which looks whether it comes from near there ([`Armed`]) and then has nothing to set and nothing to put back: it takes
//! the store's outermost activation as it lies there.
//!
//! # Safety
//! Trusts: a handle that passed its store's check points to a live function. Gives: while guest code runs, no Rust
//! reference into the store is alive; the store is reached through one raw pointer, and borrowed again after the call.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmFuncRef};

use crate::error::{Error, Result};
use crate::externs::Func;
use crate::host::HostRecord;
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
    let begun = begin(unsafe { &mut *store }, here)?;
    // SAFETY: the store is live.
    let vm = unsafe { (*store).vm() };
    // SAFETY: `func` gives instance and entry that belong together; slots suffice.
    let status = here.run(vm, || unsafe { tier::call_slots(vmctx, entry, slots) });
    // SAFETY: guest code has returned; nothing of the store is borrowed.
    let data = unsafe { &mut *store };
    end(data, &begun);
    match status {
        Status::Ok => Ok(()),
        status => Err(ended(data, status)),
    }
}

/// What the stack limit was armed for, and so which calls may take the short way ([`is_ready`]). Whatever such a call would have to
/// look at besides keeps calls from it in advance.
#[derive(Debug)]
pub(crate) struct Armed {
    /// The number of the thread whose calls may take it; [`IN_CALL`] or [`NOBODY`].
    turn: u64,
    /// What `turn` is to be once the call in progress has ended.
    next: u64,
    /// The lowest place on the thread's stack where a call may begin.
    low: usize,
    /// An instance of the store is poisoned: each call looks at its own.
    poisoned: bool,
}

/// The turn while a call is in progress.
const IN_CALL: u64 = u64::MAX;

/// The turn while no call may take the short way. No thread has this number.
const NOBODY: u64 = u64::MAX - 1;

/// How far from where the stack limit was set calls may begin that it serves.
const NEAR: usize = 16 << 10;

impl Default for Armed {
    fn default() -> Self {
        Self { turn: NOBODY, next: NOBODY, low: 0, poisoned: false }
    }
}

impl Armed {
    /// Whether guest code of the store is running.
    pub(crate) fn is_in_call(&self) -> bool {
        self.turn == IN_CALL
    }

    /// The next call sets its limits anew: what they were set for has changed.
    pub(crate) fn forget(&mut self) {
        self.next = NOBODY;
        if !self.is_in_call() {
            self.turn = NOBODY;
        }
    }

    /// From now on calls look whether their instance is poisoned.
    pub(crate) fn poison(&mut self) {
        self.poisoned = true;
        self.forget();
    }

    /// No instance of the store is poisoned any more.
    pub(crate) fn unpoison(&mut self) {
        self.poisoned = false;
    }

    #[inline(always)]
    fn begin(&mut self) {
        self.turn = IN_CALL;
    }

    #[inline(always)]
    fn end(&mut self) {
        self.turn = self.next;
    }
}

/// Whether [`enter`] serves for a function now. An interrupt does not keep a call from it: guest code looks at the stack limit itself.
///
/// # Safety
/// As [`invoke`].
#[inline(always)]
pub(crate) unsafe fn is_ready(store: *const StoreData, entry: *const VmFuncEntry, here: &ThisThread) -> bool {
    // SAFETY: a live function has a live entry.
    let is_direct = unsafe { &(*entry).direct }.load(Ordering::Acquire);
    // SAFETY: nothing of the store is borrowed exclusively.
    let armed = unsafe { &(*store).armed };
    is_direct && armed.turn == here.known_number() && arch::stack_pointer().wrapping_sub(armed.low) <= 2 * NEAR
}

/// Calls a compiled function of an instance with its arguments in registers, of which the first `ints` integers count; returns the
/// bits of its result. `FIRST` says that the thread is idle.
///
/// # Safety
/// As [`invoke`]; [`is_ready`] said so just now, and the registers hold the arguments of the function's type, which fit
/// with its results.
#[inline(always)]
pub(crate) unsafe fn enter<const FLOATS: bool, const FLOAT_RESULT: bool, const FIRST: bool>(
    store: *mut StoreData,
    entry: *const VmFuncEntry,
    vmctx: *mut VmCtx,
    here: &ThisThread,
    registers: &Registers,
    ints: usize,
) -> Result<u64> {
    // SAFETY: said by the caller; each borrow ends within its line.
    let vm = unsafe { (*store).vm() };
    // SAFETY: as above.
    unsafe { (*store).armed.begin() };
    let used = |at: usize| if at < ints { MaybeUninit::new(registers.ints[at]) } else { MaybeUninit::uninit() };
    let floats = registers.floats.map(f64::from_bits);
    let enter = || {
        // SAFETY: instance and entry belong together; the store runs on this thread, and was armed, so that its outermost
        // activation is the innermost one; the arguments are those of the type.
        unsafe { arch::enter_registers::<FLOATS, FLOAT_RESULT>(vm, vmctx, entry, std::array::from_fn(used), floats) }
    };
    let returned = if FIRST { here.run_first(vm, enter) } else { here.run(vm, enter) };
    // SAFETY: as above.
    unsafe { (*store).armed.end() };
    if returned.status == Status::Ok as u64 {
        return Ok(returned.value);
    }
    let status = if returned.status == Status::Exception as u64 { Status::Exception } else { Status::Trap };
    // SAFETY: guest code has returned; nothing of the store is borrowed.
    let data = unsafe { &mut *store };
    // What unwound took the activation out.
    data.shared.put_outermost();
    Err(ended(data, status))
}

/// How many times the bytes that frames may cost native stack may be used for them, where their cost is the limit.
const NATIVE_PER_COST: usize = 16;

/// A call that began.
struct Begun {
    /// What frames might still cost before.
    depth_left: i64,
    /// No other call of the store is in progress.
    is_outermost: bool,
}

/// Sets the limits of guest code on this thread.
fn begin(store: &mut StoreData, here: &ThisThread) -> Result<Begun> {
    if store.depth >= DEPTH_MAX {
        return Err(Error::trap_code(TrapCode::StackOverflow));
    }
    if store.deadline.is_some_and(|deadline| std::time::Instant::now() >= deadline) {
        store.shared.interrupt();
    }
    let begun = Begun { depth_left: store.shared.depth_left(), is_outermost: !store.armed.is_in_call() };
    if begun.is_outermost {
        arm(store, here)?;
    }
    store.depth += 1;
    store.armed.begin();
    Ok(begun)
}

/// The call ends that began so.
fn end(store: &mut StoreData, begun: &Begun) {
    store.depth -= 1;
    store.shared.set_depth_left(begun.depth_left);
    if begun.is_outermost {
        store.armed.end();
    }
}

/// Arms the stack limit for calls from here, and the rest that is counted down from a call's beginning.
fn arm(store: &mut StoreData, here: &ThisThread) -> Result<()> {
    store.flight.runs_here();
    store.armed.forget();
    let config = store.engine.config();
    let bytes = config.max_wasm_stack;
    let native = if config.deterministic { bytes.saturating_mul(NATIVE_PER_COST) } else { bytes };
    store.shared.set_depth_left(i64::try_from(bytes).unwrap_or(i64::MAX));
    let pointer = arch::stack_pointer();
    store.shared.arm(pointer.saturating_sub(native).max(here.lowest_usable()));
    if store.engine.compiler().is_none() {
        return Ok(());
    }
    store.shared.have_page()?;
    store.shared.put_outermost();
    // Where frames are counted, or the clock is to be looked at, each call begins the long way.
    if !config.deterministic && store.deadline.is_none() && !store.armed.poisoned {
        store.armed.next = here.number();
        store.armed.low = pointer.saturating_sub(NEAR);
    }
    Ok(())
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
    if !store.armed.is_in_call()
        && store.deadline.is_none()
        && error.trap().is_some_and(|t| t.code() == TrapCode::Interrupted)
    {
        // An interrupt ends one call; a deadline stays passed until it is moved.
        store.withdraw_interrupt();
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
