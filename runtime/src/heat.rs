//! What the interpreter counts, and what is compiled for it: how hot a function or a loop has to be, which code is asked for then,
//! and when a loop moves into it.
//!
//! The interpreter counts [`count_entry`] entries into functions, and [`at_loop`] passes of loops. Both count in the same unit, an entry
//! into the function. What is warm, a fortieth of that, gets machine code for its cells here ([`crate::interp::baseline`]). What is hot
//! is asked for in [`crate::compile`], and the interpreter goes on. With a fixed threshold
//! ([`Config::tier_up_threshold`]) everything is asked for where it is, after as many entries or passes; without one nothing is
//! made of a module in the first moment after something of it became warm.
//!
//! # Safety
//! As [`crate::tier`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use aura_host_abi::vm::VmFuncEntry;
use aura_validator::Code;
use aura_validator::code::Inst;

use crate::compile::{self, Loop, LoopCode, LoopState, Loops, Unit};
use crate::engine::{Config, Strategy};
use crate::module;
use crate::tier::{compile_once, is_compiled, module_of};

/// The limit of a function that the compiler was asked for: no heat reaches it.
pub(crate) const ASKED: u32 = u32::MAX;

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

/// Counts an entry of the interpreter into a function. Says whether it is compiled now.
///
/// # Safety
/// `entry` belongs to a live module's own function.
#[inline]
pub(crate) unsafe fn count_entry(entry: *const VmFuncEntry) -> bool {
    // SAFETY: the entry is live.
    let heat = unsafe { &*entry }.heat_by(1);
    // SAFETY: as above.
    let limit = unsafe { &(*entry).limit }.load(Ordering::Relaxed);
    // SAFETY: as for this function.
    heat >= limit && unsafe { became_hot(entry, heat) }
}

/// How hot the interpreter has made a function.
pub(crate) fn of(entry: &VmFuncEntry) -> u32 {
    entry.heat.load(Ordering::Relaxed)
}

/// Looks at a function that may be hot.
///
/// # Safety
/// As [`count_entry`].
#[cold]
unsafe fn became_hot(entry: *const VmFuncEntry, heat: u32) -> bool {
    // SAFETY: as for this function.
    let module = unsafe { module_of(entry) };
    // SAFETY: the entry lives as long as its module.
    let entry = unsafe { &*entry };
    let known = match entry.limit.load(Ordering::Relaxed) {
        0 => match first_look(module, entry) {
            Ok(limit) if heat >= limit => limit,
            Ok(_) => return false,
            Err(is_compiled) => return is_compiled,
        },
        known => known,
    };
    if is_too_soon(module) {
        let later = heat.saturating_mul(2).min(ASKED - 1);
        // Another thread may have asked meanwhile.
        let _ = entry.limit.compare_exchange(known, later, Ordering::Relaxed, Ordering::Relaxed);
        return false;
    }
    if !is_more_than_warm(module, entry, heat, known) {
        return false;
    }
    if module.engine().workers().is_none() {
        return compile_once(module, entry);
    }
    if entry.limit.swap(ASKED, Ordering::Relaxed) != ASKED {
        compile::ask(module, Unit { func: entry.index(), header: None });
    }
    is_compiled(entry)
}

/// Nothing is made of a module for so long after a function of it was warm or hot for the first time: what has ended by then need not
/// pay for a thread and for pages of code.
const SETTLE: Duration = Duration::from_micros(200);

fn is_too_soon(module: &module::Inner) -> bool {
    let config = module.engine().config();
    let is_fixed = config.tier_up_threshold.is_some() || config.baseline_threshold.is_some();
    !is_fixed && config.strategy != Strategy::Jit && module.tiers.first_warm().elapsed() < SETTLE
}

/// Sets the heat at which a function is looked at again and returns it; else, whether it is compiled.
fn first_look(module: &module::Inner, entry: &VmFuncEntry) -> Result<u32, bool> {
    // Where an artifact was changed, the interpreter finds that too, and can say it.
    if module.take_native(entry.index()).is_ok_and(|is_taken| is_taken) {
        return Err(true);
    }
    // An invalid function is never hot: whoever enters it learns that.
    let Ok(code) = module.code(entry.index()) else { return Err(false) };
    let config = module.engine().config();
    let limit = limit(config, code).min(first_limit(config, code));
    // Another thread may have asked meanwhile.
    let _ = entry.limit.compare_exchange(0, limit, Ordering::Relaxed, Ordering::Relaxed);
    Ok(limit)
}

/// Has machine code made for the cells of a function that was not more than warm when it was `known` to be. Says whether it is hot now.
fn is_more_than_warm(module: &module::Inner, entry: &VmFuncEntry, heat: u32, known: u32) -> bool {
    let config = module.engine().config();
    let compiles = config.strategy != Strategy::Interpreter;
    if !config.has_baseline() || known == ASKED {
        return compiles;
    }
    let Ok(code) = module.code(entry.index()) else { return false };
    let hot = limit(config, code);
    if known < hot {
        warm(module, entry, heat, known, hot);
    }
    compiles && heat >= hot
}

/// Has machine code made for the cells of a function that is warm. If it waits for that of others, the function is looked at once more
/// when it is twice as warm, and else when it is hot.
fn warm(module: &module::Inner, entry: &VmFuncEntry, heat: u32, known: u32, hot: u32) {
    let change = |from, to| entry.limit.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    let at_once = module.engine().config().baseline_threshold.is_some();
    if change(known, hot) && module.make_baseline(entry.index(), at_once) {
        change(hot, heat.saturating_mul(2).min(hot));
    }
}

/// How many entries make a function warm: what it takes to make machine code for its cells is as little beside what
/// compiling takes.
fn first_limit(config: &Config, code: &Code) -> u32 {
    if !config.has_baseline() {
        return ASKED;
    }
    match config.baseline_threshold {
        Some(entries) => entries.saturating_add(1).min(ASKED - 1),
        None => (hot(code) / WARM).max(2),
    }
}

/// How many times sooner a function is warm than hot.
const WARM: u32 = 40;

/// How many passes of loop headers the interpreter makes before it asks for compiled code.
pub(crate) fn loop_period(config: &Config) -> u32 {
    match (config.strategy, config.tier_up_threshold) {
        (Strategy::Auto, None) => LOOP_PERIOD,
        (Strategy::Auto, Some(_)) => 1,
        _ if config.has_baseline() && config.baseline_threshold.is_some() => 1,
        _ if config.has_baseline() => LOOP_PERIOD,
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
/// As [`count_entry`]; `code` is the function's.
pub(crate) unsafe fn at_loop(entry: *const VmFuncEntry, code: &Code, header: u32, passes: u32) -> AtLoop {
    // SAFETY: as for this function.
    let module = unsafe { module_of(entry) };
    // SAFETY: the entry lives as long as its module.
    let entry = unsafe { &*entry };
    let config = module.engine().config();
    if config.strategy != Strategy::Auto && !config.has_baseline() {
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
        let heat = entry.heat_by(known.weight);
        let (known, limit) = (entry.limit.load(Ordering::Relaxed), limit(config, code));
        let is_warm = config.has_baseline() && known < limit && heat >= first_limit(config, code);
        let is_hot = config.strategy == Strategy::Auto && heat >= limit;
        if (is_warm || is_hot) && is_too_soon(module) {
            return AtLoop::Stay;
        }
        if is_warm {
            drop(loops);
            warm(module, entry, heat, known, limit);
            return AtLoop::Stay;
        }
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
    u64::from(of(entry)).saturating_sub(passes)
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
    match config.strategy {
        Strategy::Auto => {}
        Strategy::Interpreter => return ASKED,
        Strategy::Jit => return 1,
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
