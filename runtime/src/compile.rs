//! Compiling what is hot: what was asked for, who compiles it, and where the code goes.
//!
//! A [`Unit`] is a function, or a function from one of its loop headers on. The interpreter asks for it and goes
//! on; a few threads of the engine compile what was asked for, module after module, first what the interpreter has spent most on
//! for what it takes to compile, and publish the code by stores into entry words and into the table of loops. Units that are
//! compiled one after the other in a short time share pages. Without threads, whoever asks compiles.
//!
//! Invariants: each unit is asked for once; what cannot be compiled within its budget stays interpreted, and
//! so does whatever a panic of the compiler hits. The interpreter takes no lock that is held while something
//! is compiled. A thread keeps a module alive only while it compiles for it.
//!
//! # Safety
//! Trusts: entries of a module live as long as it. Gives: an entry word holds code for the entry's type; code is freed
//! with its module.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aura_jit::{CodeKind, CompiledFunction, ModuleCode};
use aura_validator::Code;

use crate::{heat, module};

/// Address space for the machine code of a module, which bounds what it may take: so many bytes, and so many for each byte of
/// its function bodies, up to a maximum. Each function may come to lie in pages of its own; small modules leave room
/// for others near the engine's code.
const CODE_RESERVATION: RangeInclusive<usize> = 1 << 20..=256 << 20;
const CODE_PER_BYTE: usize = 1 << 10;

/// After so long, or so many bytes of code, what was compiled is published, though more is waiting.
const BATCH_TIME: Duration = Duration::from_micros(500);
const BATCH_BYTES: usize = 16 << 10;

/// Something to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unit {
    /// An own function of the module.
    pub(crate) func: u32,
    /// The loop header to begin at, an instruction of its lowered body; none for its start.
    pub(crate) header: Option<u32>,
}

/// Code that goes on in an interpreted frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoopCode {
    /// The slot entry of such code for functions of the type.
    pub(crate) stub: NonNull<()>,
    pub(crate) code: NonNull<()>,
}

/// A loop header that the interpreter passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loop {
    /// What a look at it adds to its function's heat.
    pub(crate) weight: u32,
    /// What all looks added.
    pub(crate) heat: u32,
    pub(crate) state: LoopState,
}

impl Loop {
    /// One that was not looked at yet.
    pub(crate) fn new(weight: u32) -> Self {
        Self { weight, heat: 0, state: LoopState::Counted }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum LoopState {
    /// Not asked for yet.
    Counted,
    /// Hot, but its function was asked for as a whole, since it is entered again and again; the loop's heat then.
    Behind {
        heat: u32,
    },
    /// Hot, but a loop around it was asked for; how often it may still be passed before one further in is.
    Waiting {
        outer: u32,
        patience: u32,
    },
    Asked,
    Ready(LoopCode),
}

/// Loop headers by function and instruction.
pub(crate) type Loops = BTreeMap<(u32, u32), Loop>;

// SAFETY: the pointers are addresses of code that lives as long as the module; code has no thread.
unsafe impl Send for LoopCode {}

/// The compiled tier's share of a module.
#[derive(Default)]
pub(crate) struct ModuleTiers {
    /// Executable code, made when the first unit is compiled.
    code: Mutex<Option<ModuleCode>>,
    /// Held while a unit is compiled by who asks for it: others who need the same wait for it.
    turn: Mutex<()>,
    /// Loop headers that the interpreter passed often.
    loops: Mutex<Loops>,
    /// What was asked for and is not being compiled yet.
    waiting: Mutex<Vec<Waiting>>,
    /// Functions that were compiled, in this order, if the engine keeps them.
    made: Mutex<Vec<(u32, CompiledFunction)>>,
    /// When a function was warm or hot for the first time.
    first_warm: OnceLock<Instant>,
}

/// A unit that was asked for.
struct Waiting {
    unit: Unit,
    /// What one of its function's heat stands for, and what compiling it takes, both in instructions.
    worth: u64,
    cost: u64,
}

impl Waiting {
    fn new(unit: Unit, code: &Code) -> Self {
        Self { unit, worth: heat::entry_worth(code), cost: heat::cost(code) }
    }

    /// How many instructions the interpreter has run of the function for each that it takes to compile, in 1024ths.
    fn urgency(&self, module: &module::Inner) -> u64 {
        let heat = heat::of(&module.entries()[self.unit.func as usize]);
        u64::from(heat) * self.worth * 1024 / self.cost
    }
}

/// A lock whose holders do not leave anything half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ModuleTiers {
    /// When a function was warm or hot for the first time, which is now if none was.
    pub(crate) fn first_warm(&self) -> Instant {
        *self.first_warm.get_or_init(Instant::now)
    }

    /// The loops of the module, for a short look.
    pub(crate) fn loops(&self) -> MutexGuard<'_, Loops> {
        locked(&self.loops)
    }

    /// Notes that a loop is asked for. Says whether nobody did before.
    pub(crate) fn is_first_to_ask(&self, place: (u32, u32)) -> bool {
        let mut loops = self.loops();
        let Some(known) = loops.get_mut(&place) else { return false };
        let is_first = !matches!(known.state, LoopState::Asked | LoopState::Ready(_));
        if is_first {
            known.state = LoopState::Asked;
        }
        is_first
    }

    /// Functions that were compiled, in this order, if the engine keeps them.
    pub(crate) fn made(&self) -> MutexGuard<'_, Vec<(u32, CompiledFunction)>> {
        locked(&self.made)
    }

    /// Held by who compiles what it wants to call at once.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        locked(&self.turn)
    }
}

/// Has a unit compiled that nobody asked for before: later by a thread, or at once if the engine has none.
pub(crate) fn ask(module: &module::Inner, unit: Unit) {
    match module.engine().workers() {
        Some(workers) => {
            // Code that is not valid is never hot.
            let Ok(code) = module.code(unit.func) else { return };
            locked(&module.tiers.waiting).push(Waiting::new(unit, code));
            workers.wake_for(module.weak());
        }
        None => compile_all(module, &[unit]),
    }
}

/// Compiles units of a module one after the other and publishes their code together.
pub(crate) fn compile_all(module: &module::Inner, units: &[Unit]) {
    let mut batch = Batch::default();
    units.iter().for_each(|&unit| batch.compile(module, unit));
    batch.publish(module);
}

/// Units that were compiled and are not published.
#[derive(Default)]
struct Batch {
    done: Vec<Compiled>,
    bytes: usize,
}

struct Compiled {
    unit: Unit,
    function: CompiledFunction,
    /// The slot entry for such code of its type.
    stub: NonNull<()>,
}

impl Batch {
    /// Compiles a unit; what cannot be compiled stays interpreted, which is no error.
    fn compile(&mut self, module: &module::Inner, unit: Unit) {
        let config = module.engine().config();
        if unit.func % 2 == 1 && config.odd_functions_interpreted {
            return;
        }
        let compiled = catch_unwind(AssertUnwindSafe(|| compile(module, unit)));
        if let Ok(Some(compiled)) = compiled {
            self.bytes += compiled.function.bytes.len();
            self.done.push(compiled);
        }
    }

    /// Makes what was compiled executable, and known to callers.
    fn publish(self, module: &module::Inner) {
        let Some(addresses) = make_executable(module, &self.done) else { return };
        for (Compiled { unit, stub, function }, code) in self.done.into_iter().zip(addresses) {
            let Some(header) = unit.header else {
                let entry = &module.entries()[unit.func as usize];
                entry.publish(code.as_ptr(), stub.as_ptr());
                if module.engine().config().keep_compiled {
                    module.tiers.made().push((unit.func, function));
                }
                continue;
            };
            if let Some(known) = module.tiers.loops().get_mut(&(unit.func, header)) {
                known.state = LoopState::Ready(LoopCode { stub, code });
            }
        }
    }
}

fn compile(module: &module::Inner, unit: Unit) -> Option<Compiled> {
    let engine = module.engine();
    let compiler = engine.compiler()?;
    let code = module.code(unit.func).ok()?;
    module.make_callees(code).ok()?;
    let type_id = module.entry(unit.func).ok()?.type_id();
    let validated = module.validated();
    let (function, stub) = match unit.header {
        None => (compiler.compile(validated, unit.func, code), engine.slots_to_regs(type_id)),
        Some(header) => (compiler.compile_loop(validated, unit.func, code, header), engine.slots_to_loop(type_id)),
    };
    Some(Compiled { unit, function: function.ok()?, stub: stub.ok()? })
}

/// Publishes code in the module's memory, which is made for the first; `None` if there is no room.
fn make_executable(module: &module::Inner, done: &[Compiled]) -> Option<Vec<NonNull<()>>> {
    if done.is_empty() {
        return None;
    }
    let mut memory = locked(&module.tiers.code);
    if memory.is_none() {
        let bytes = usize::try_from(module.validated().code_size()).unwrap_or(usize::MAX).saturating_mul(CODE_PER_BYTE);
        let room = CODE_RESERVATION.start().saturating_add(bytes).min(*CODE_RESERVATION.end());
        *memory = Some(ModuleCode::new(module.engine().compiler()?, module.token(), room).ok()?);
    }
    let batch: Vec<_> = done.iter().map(|one| (CodeKind::Function(one.unit.func), &one.function)).collect();
    memory.as_ref()?.publish(&batch).ok()
}

/// The threads of an engine that compile. They start when the first unit is asked for, and end with the engine.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    threads_max: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was asked for, or the engine ends.
    work: Condvar,
    /// Nothing is asked for any more.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    /// Modules that units were asked of; each at most once.
    modules: VecDeque<Weak<module::Inner>>,
    /// Threads that wait for work, and those that compile.
    waiting: usize,
    busy: usize,
    ends: bool,
}

/// How far behind guests a thread that compiles stands where both want the same core, as the system counts niceness.
const BEHIND: i32 = 5;

/// Puts this thread behind others of the process; where the system refuses, it stays beside them.
fn step_back() {
    if let Ok(now) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, (now + BEHIND).min(19));
    }
}

impl Workers {
    /// At most `threads_max` threads, none of them started.
    pub(crate) fn new(threads_max: usize) -> Self {
        Self { shared: Arc::default(), threads: Mutex::default(), threads_max }
    }

    /// Sees to it that a thread looks at what a module asked for.
    fn wake_for(&self, module: Weak<module::Inner>) {
        let mut state = locked(&self.shared.state);
        if !state.modules.iter().any(|known| known.ptr_eq(&module)) {
            state.modules.push_back(module);
        }
        let is_short = state.waiting == 0;
        drop(state);
        if is_short {
            self.start_another();
        }
        self.shared.work.notify_one();
    }

    /// Starts a thread unless there are enough. Where the system has none, the others do the work, or nobody: what is not
    /// compiled is interpreted.
    fn start_another(&self) {
        let mut threads = locked(&self.threads);
        if threads.len() == self.threads_max {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let name = format!("aura-compile-{}", threads.len());
        if let Ok(thread) = std::thread::Builder::new().name(name).spawn(move || {
            step_back();
            shared.work();
        }) {
            threads.push(thread);
        }
    }

    /// Waits until everything that was asked for is compiled.
    pub(crate) fn wait(&self) {
        if locked(&self.threads).is_empty() {
            return;
        }
        let mut state = locked(&self.shared.state);
        while state.busy > 0 || !state.modules.is_empty() {
            state = self.shared.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        locked(&self.shared.state).ends = true;
        self.shared.work.notify_all();
        let this = std::thread::current().id();
        for thread in locked(&self.threads).drain(..) {
            // The last handle of the engine may have been a module's that a thread dropped: that thread ends by itself.
            if thread.thread().id() != this {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn work(&self) {
        while let Some(module) = self.next() {
            let more = module.upgrade().is_some_and(|module| compile_most_urgent(&module));
            let mut state = locked(&self.state);
            state.busy -= 1;
            if more && !state.modules.iter().any(|known| known.ptr_eq(&module)) {
                // Behind the other modules, so that none waits for all of this one.
                state.modules.push_back(module);
            }
            if state.modules.is_empty() && state.busy == 0 {
                self.idle.notify_all();
            }
        }
    }

    /// The next module that asked for something; none if the engine ends.
    fn next(&self) -> Option<Weak<module::Inner>> {
        let mut state = locked(&self.state);
        loop {
            if state.ends {
                return None;
            }
            if let Some(module) = state.modules.pop_front() {
                state.busy += 1;
                return Some(module);
            }
            state.waiting += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }
}

/// Compiles a batch of what a module asked for, the most urgent first. Says whether there is more.
fn compile_most_urgent(module: &module::Inner) -> bool {
    let start = Instant::now();
    let mut batch = Batch::default();
    while let Some(unit) = take_most_urgent(module) {
        batch.compile(module, unit);
        if batch.bytes >= BATCH_BYTES || start.elapsed() >= BATCH_TIME {
            break;
        }
    }
    batch.publish(module);
    !locked(&module.tiers.waiting).is_empty()
}

/// A loop stands before its function: whoever passes it is waiting now.
fn take_most_urgent(module: &module::Inner) -> Option<Unit> {
    let mut waiting = locked(&module.tiers.waiting);
    let urgency = |one: &Waiting| (one.urgency(module), one.unit.header.is_some());
    let (first, _) = waiting.iter().enumerate().max_by_key(|(_, one)| urgency(one))?;
    Some(waiting.swap_remove(first).unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Engine, Module};

    #[test]
    fn what_ran_most_for_its_size_is_compiled_first() {
        let body = |count| "(drop (i32.popcnt (global.get 0)))".repeat(count);
        let wat = format!(
            "(module (global (mut i32) (i32.const 0)) (func {}) (func (loop {})) (func {}))",
            body(9000),
            body(20),
            body(20)
        );
        let engine = Engine::new(Config::new().compile_threads(1)).expect("it is sound");
        let module = Module::new(&engine, wat).expect("it is valid");
        let inner = module.inner();
        let ask = |func, header| {
            let code = inner.code(func).expect("it is valid");
            locked(&inner.tiers.waiting).push(Waiting::new(Unit { func, header }, code));
        };
        for (func, heat) in [(0, 50_000), (1, 900), (2, 500)] {
            inner.entry(func).expect("an entry").heat_by(heat);
            ask(func, None);
        }
        ask(1, Some(0));
        let mut order = std::iter::from_fn(|| take_most_urgent(inner)).map(|unit| (unit.func, unit.header));
        assert_eq!(order.next(), Some((1, Some(0))));
        assert_eq!(order.next(), Some((1, None)));
        // Meanwhile the other became hotter.
        inner.entry(2).expect("an entry").heat_by(900);
        ask(1, None);
        assert_eq!(order.map(|(func, _)| func).collect::<Vec<_>>(), [2, 1, 0]);
    }

    #[test]
    fn only_the_thread_that_steps_back_does() {
        let niceness = || rustix::process::getpriority_process(None).expect("a priority");
        let before = niceness();
        let behind = std::thread::spawn(move || {
            step_back();
            niceness()
        });
        assert_eq!(behind.join().expect("thread"), (before + BEHIND).min(19));
        assert_eq!(niceness(), before);
    }
}
