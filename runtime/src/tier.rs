//! Which tier runs a function, and the crossings between tiers.
//!
//! Every function is entered through the words of its [`VmFuncEntry`]. They begin as
//! [`interp_entry`] and `arch::lazy_regs`; compiling a function replaces them by its code and a stub.
//! [`resolve_regs`] decides at the first call from compiled code. The interpreter counts: [`heat`] entries into
//! functions, [`at_loop`] passes of loops. What is hot is asked for in [`crate::compile`], and the interpreter goes on.
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
use aura_validator::Code;
use aura_validator::code::Inst;

use crate::compile::{self, Loop, LoopCode, LoopState, Loops, Unit};
use crate::engine::{Config, Engine, Strategy};
use crate::{arch, host, interp, module, services, tail};

/// The limit of a function that the compiler was asked for: no heat reaches it.
const ASKED: u32 = u32::MAX;

/// How many times the interpreter may run as many instructions as a function has before the function is compiled.
/// Compiling takes about 2.5 µs for each; the interpreter loses about 2 ns with each that it runs. A thread that
/// compiles costs the guest nothing, so a tenth of what would break even.
const RUNS_PER_INST: u64 = 100;

/// What compiling costs whatever the size, in instructions.
const COMPILE_BASE: u64 = 60;

/// With so many instructions, a function takes twice as long for each as a small one.
const COSTS_TWICE: u64 = 2000;

/// After so many entries a function is taken to be entered again.
const ENTERED_OFTEN: u64 = 4;

/// How many passes a hot loop may make in the interpreter while code for a loop around it is asked for, or there and that loop's
/// header does not come: each about a millisecond or two.
const PATIENCE: u32 = 32_000;

/// Passes of loop headers between two looks at whether there is compiled code.
const LOOP_PERIOD: u32 = 64;

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

/// Counts an entry of the interpreter into a function. Says whether it is compiled now.
///
/// # Safety
/// `entry` belongs to a live module's own function.
#[inline]
pub(crate) unsafe fn heat(entry: *const VmFuncEntry) -> bool {
    // SAFETY: the entry is live.
    let heat = unsafe { &*entry }.heat_by(1);
    // SAFETY: as above.
    let limit = unsafe { &(*entry).limit }.load(Ordering::Relaxed);
    // SAFETY: as for this function.
    heat >= limit && unsafe { became_hot(entry, heat) }
}

/// How hot the interpreter has made a function.
pub(crate) fn heat_of(entry: &VmFuncEntry) -> u32 {
    entry.heat.load(Ordering::Relaxed)
}

/// Looks at a function that may be hot.
///
/// # Safety
/// As [`heat`].
#[cold]
unsafe fn became_hot(entry: *const VmFuncEntry, heat: u32) -> bool {
    // SAFETY: as for this function.
    let module = unsafe { module_of(entry) };
    // SAFETY: the entry lives as long as its module.
    let entry = unsafe { &*entry };
    if entry.limit.load(Ordering::Relaxed) == 0 {
        // Where an artifact was changed, the interpreter finds that too, and can say it.
        if module.take_native(entry.index()).is_ok_and(|is_taken| is_taken) {
            return true;
        }
        // An invalid function is never hot: whoever enters it learns that.
        let Ok(code) = module.code(entry.index()) else { return false };
        let limit = limit(module.engine().config(), code);
        // Another thread may have asked meanwhile.
        let _ = entry.limit.compare_exchange(0, limit, Ordering::Relaxed, Ordering::Relaxed);
        if heat < limit {
            return false;
        }
    }
    if module.engine().workers().is_none() {
        return compile_once(module, entry);
    }
    if entry.limit.swap(ASKED, Ordering::Relaxed) != ASKED {
        compile::ask(module, Unit { func: entry.index(), header: None });
    }
    is_compiled(entry)
}

/// How many passes of loop headers the interpreter makes before it asks for compiled code.
pub(crate) fn loop_period(config: &Config) -> u32 {
    match (config.strategy, config.tier_up_threshold) {
        (Strategy::Auto, None) => LOOP_PERIOD,
        (Strategy::Auto, Some(_)) => 1,
        _ => u32::MAX,
    }
}

/// What the interpreter does at a loop header where it looked.
#[derive(Debug)]
pub(crate) enum AtLoop {
    Stay,
    /// Looks at the next header that it passes, too: code for a loop around this one is there.
    Watch,
    Enter(LoopCode),
}

/// Counts passes of a loop header, an instruction of a function's code, and says where to go on.
///
/// # Safety
/// As [`heat`]; `code` is the function's.
pub(crate) unsafe fn at_loop(entry: *const VmFuncEntry, code: &Code, header: u32, passes: u32) -> AtLoop {
    // SAFETY: as for this function.
    let module = unsafe { module_of(entry) };
    // SAFETY: the entry lives as long as its module.
    let entry = unsafe { &*entry };
    let config = module.engine().config();
    if config.strategy != Strategy::Auto {
        return AtLoop::Stay;
    }
    let place = (entry.index(), header);
    let wanted = {
        let mut loops = module.tiers.loops();
        let known = loops.entry(place).or_insert_with(|| Loop::new(loop_weight(config, code, header, passes)));
        if let LoopState::Ready(code) = known.state {
            return AtLoop::Enter(code);
        }
        known.heat = known.heat.saturating_add(known.weight);
        let is_hot = entry.heat_by(known.weight) >= limit(config, code);
        match config.tier_up_threshold {
            _ if !is_hot => return AtLoop::Stay,
            Some(_) => Wanted::From(header),
            None => wanted(&mut loops, entry, code, header),
        }
    };
    match wanted {
        Wanted::Nothing => return AtLoop::Stay,
        Wanted::Watch => return AtLoop::Watch,
        Wanted::Whole => {
            if entry.limit.swap(ASKED, Ordering::Relaxed) != ASKED {
                compile::ask(module, Unit { func: entry.index(), header: None });
            }
        }
        Wanted::From(header) => {
            if module.tiers.is_first_to_ask((entry.index(), header)) {
                compile::ask(module, Unit { func: entry.index(), header: Some(header) });
            }
        }
    }
    match module.tiers.loops().get(&place) {
        Some(&Loop { state: LoopState::Ready(code), .. }) => AtLoop::Enter(code),
        _ => AtLoop::Stay,
    }
}

/// What is to be done for a loop that is hot.
#[derive(Debug)]
enum Wanted {
    Nothing,
    /// Code for a loop around it is there, whose header may come next.
    Watch,
    /// To compile the function as a whole.
    Whole,
    /// To compile it from this header on.
    From(u32),
}

/// What to do for a loop that is hot.
///
/// A function that was entered a few times is compiled as a whole first, so that whoever enters it next is in compiled code. If
/// it is and the loop still passes as often as makes a function hot, there is somebody in it who stays.
///
/// Then, or in a function that is hardly ever entered, code is to begin at the outermost header around, since code for an inner
/// one tests in each round of the outer ones whether it resumes. Where that header does not come soon it is the next one further in.
fn wanted(loops: &mut Loops, entry: &VmFuncEntry, code: &Code, header: u32) -> Wanted {
    let place = (entry.index(), header);
    match loops[&place].state {
        LoopState::Asked | LoopState::Ready(_) => Wanted::Nothing,
        LoopState::Counted if entered(loops, entry) >= ENTERED_OFTEN => {
            let heat = loops[&place].heat;
            set(loops, place, LoopState::Behind { heat });
            Wanted::Whole
        }
        LoopState::Behind { heat } if !is_compiled(entry) || loops[&place].heat - heat < hot(code) => Wanted::Nothing,
        LoopState::Counted | LoopState::Behind { .. } => further_in(loops, place, code, None),
        LoopState::Waiting { outer, patience: 0 } => further_in(loops, place, code, Some(outer)),
        LoopState::Waiting { outer, patience } => {
            let is_there = loops.get(&(place.0, outer)).is_some_and(|outer| matches!(outer.state, LoopState::Ready(_)));
            let passes = if is_there { 1 } else { LOOP_PERIOD };
            set(loops, place, LoopState::Waiting { outer, patience: patience.saturating_sub(passes) });
            if is_there { Wanted::Watch } else { Wanted::Nothing }
        }
    }
}

/// How hot entries into a function, and not passes of its loops, have made it.
fn entered(loops: &Loops, entry: &VmFuncEntry) -> u64 {
    let own = loops.range((entry.index(), 0)..=(entry.index(), u32::MAX));
    let passes: u64 = own.map(|(_, known)| u64::from(known.heat)).sum();
    u64::from(heat_of(entry)).saturating_sub(passes)
}

/// Has a hot loop wait for the outermost loop around it, or the next one further in than that for which it waited in vain; behind
/// the last of them it is the loop itself.
fn further_in(loops: &mut Loops, place: (u32, u32), code: &Code, in_vain: Option<u32>) -> Wanted {
    let mut around = code.loops_around(place.1).into_iter();
    let Some(outer) = around.find(|&outer| in_vain.is_none_or(|last| last < outer)) else {
        return Wanted::From(place.1);
    };
    // One that was not passed yet is taken to be worth as much.
    let weight = loops[&place].weight;
    loops.entry((place.0, outer)).or_insert_with(|| Loop::new(weight));
    set(loops, place, LoopState::Waiting { outer, patience: PATIENCE });
    Wanted::From(outer)
}

fn set(loops: &mut Loops, place: (u32, u32), state: LoopState) {
    loops.get_mut(&place).expect("the loop is known").state = state;
}

/// How many entries make a function hot. The more it takes to compile, the more; an entry is worth what it may run.
fn limit(config: &Config, code: &Code) -> u32 {
    if config.strategy != Strategy::Auto {
        return 1;
    }
    match config.tier_up_threshold {
        Some(entries) => entries.saturating_add(1).min(ASKED - 1),
        None => hot(code),
    }
}

/// How many entries make a function hot by its size.
fn hot(code: &Code) -> u32 {
    let to_compile = cost(code) * RUNS_PER_INST;
    u32::try_from(to_compile / entry_worth(code)).unwrap_or(ASKED - 1).clamp(1, ASKED - 1)
}

/// What compiling a function takes, in instructions of a small one.
pub(crate) fn cost(code: &Code) -> u64 {
    let insts = code.insts.len() as u64;
    (insts + COMPILE_BASE) * (COSTS_TWICE + insts) / COSTS_TWICE
}

/// How many instructions an entry into a function is taken to run.
pub(crate) fn entry_worth(code: &Code) -> u64 {
    (code.insts.len() as u64 / 4).clamp(8, 64)
}

/// How many entries as many passes of a loop are worth.
fn loop_weight(config: &Config, code: &Code, header: u32, passes: u32) -> u32 {
    if config.tier_up_threshold.is_some() {
        return passes;
    }
    let body = &code.insts[header as usize..code.loop_end(header) as usize];
    // Each pass goes one way of a table.
    let ways = body.iter().map(|inst| if let Inst::BrTable { len, .. } = *inst { u64::from(len) } else { 1 }).max();
    let runs = u64::from(passes) * (body.len() as u64 / 2 / ways.unwrap_or(1).max(1)).max(2);
    (runs / entry_worth(code)).clamp(1, 1 << 20) as u32
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
unsafe fn module_of<'a>(entry: *const VmFuncEntry) -> &'a module::Inner {
    // SAFETY: as for this function.
    let owner = unsafe { (*entry).owner() };
    // SAFETY: own functions' owner is their module, which the instance that led here keeps.
    unsafe { &*owner.cast() }
}

/// Compiles a function on this thread unless that was tried before. Says whether its entry words hold compiled code.
#[cold]
fn compile_once(module: &module::Inner, entry: &VmFuncEntry) -> bool {
    // Whoever wants the same function waits for its code.
    let turn = module.tiers.turn();
    if entry.limit.swap(ASKED, Ordering::Relaxed) != ASKED {
        compile::compile_all(module, &[Unit { func: entry.index(), header: None }]);
    }
    drop(turn);
    is_compiled(entry)
}

/// Whether a function's entry words hold compiled code.
fn is_compiled(entry: &VmFuncEntry) -> bool {
    entry.slots_entry.load(Ordering::Acquire) != interp_entry as *mut ()
}
