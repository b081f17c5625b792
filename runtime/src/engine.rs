//! `Config` and `Engine`: what all modules of a process part have in common.
//!
//! # Safety
//! Trusts: entries that name an engine are used while a store of it lives, which keeps the engine. Gives: addresses of
//! stubs and of host entries stay valid for as long as the engine; what threads share is atomic or locked.

use std::collections::HashMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock};

use aura_host_abi::vm::VmFuncEntry;
use aura_host_abi::{FuncType, ValType};
use aura_jit::{CodeKind, CompileError, CompiledFunction, Compiler, CompilerConfig, ModuleCode};
use aura_validator::{Features, Limits, LowerOptions, Validation};

use crate::compile::Workers;
use crate::error::{Error, Result};
use crate::store::StoreLimits;
use crate::types::TypeRegistry;
use crate::vm::memory::CEILING_64;
use crate::vm::reservation::Reservations;
use crate::{Bounds, OptLevel, arch, artifact, host, signals};

/// Which tier runs functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The interpreter alone; no machine code is made, unless [`Config::baseline`] asks for some.
    Interpreter,
    /// Each function is compiled at its first call; what cannot be compiled is interpreted.
    Jit,
    /// Functions start in the interpreter and are compiled when they are hot.
    #[default]
    Auto,
}

/// How an [`Engine`] works. Every setting has a default that suits untrusted code.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) strategy: Strategy,
    pub(crate) bounds: Bounds,
    pub(crate) opt_level: OptLevel,
    pub(crate) features: Features,
    pub(crate) limits: Limits,
    pub(crate) validation: Validation,
    pub(crate) consume_fuel: bool,
    pub(crate) canonicalize_nans: bool,
    pub(crate) deterministic: bool,
    pub(crate) max_wasm_stack: usize,
    pub(crate) tier_up_threshold: Option<u32>,
    pub(crate) compile_threads: Option<usize>,
    pub(crate) odd_functions_interpreted: bool,
    pub(crate) keep_compiled: bool,
    pub(crate) interpreter_jumps: bool,
    pub(crate) baseline: Option<bool>,
    pub(crate) baseline_threshold: Option<u32>,
    pub(crate) segments_checked_first: bool,
    pub(crate) gc_stress: bool,
    pub(crate) memory64_ceiling: u64,
    pub(crate) memories_kept: usize,
    pub(crate) memory_slices: Option<(usize, u64)>,
    pub(crate) store_limits: StoreLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            bounds: Bounds::default(),
            opt_level: OptLevel::default(),
            features: Features::NEWEST,
            limits: Limits::default(),
            validation: Validation::default(),
            consume_fuel: false,
            canonicalize_nans: false,
            deterministic: false,
            max_wasm_stack: 512 << 10,
            tier_up_threshold: None,
            compile_threads: None,
            odd_functions_interpreted: false,
            keep_compiled: false,
            interpreter_jumps: false,
            baseline: None,
            baseline_threshold: None,
            segments_checked_first: false,
            gc_stress: false,
            memory64_ceiling: CEILING_64,
            memories_kept: 16,
            memory_slices: None,
            store_limits: StoreLimits::default(),
        }
    }
}

impl Config {
    /// The default configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Which tier runs functions.
    pub fn strategy(&mut self, strategy: Strategy) -> &mut Self {
        self.strategy = strategy;
        self
    }

    /// How compiled code keeps accesses inside a memory.
    pub fn bounds(&mut self, bounds: Bounds) -> &mut Self {
        self.bounds = bounds;
        self
    }

    /// How hard the compiler tries.
    pub fn opt_level(&mut self, level: OptLevel) -> &mut Self {
        self.opt_level = level;
        self
    }

    /// Which proposals modules may use.
    pub fn features(&mut self, features: Features) -> &mut Self {
        self.features = features;
        self
    }

    /// Which proposals modules may use, as set so far.
    #[must_use]
    pub fn get_features(&self) -> Features {
        self.features
    }

    /// How large modules may be.
    pub fn limits(&mut self, limits: Limits) -> &mut Self {
        self.limits = limits;
        self
    }

    /// When function bodies are validated; all before the module exists, unless set.
    ///
    /// With [`Validation::Lazy`], a module with an invalid function is a module like others, and the first call of that
    /// function fails with [`crate::ErrorKind::Invalid`] or [`crate::ErrorKind::Limit`]. What ran until then has run.
    pub fn validation(&mut self, validation: Validation) -> &mut Self {
        self.validation = validation;
        self
    }

    /// Whether guest code consumes fuel; see [`crate::Store::set_fuel`].
    pub fn consume_fuel(&mut self, on: bool) -> &mut Self {
        self.consume_fuel = on;
        self
    }

    /// Whether every NaN that guest code computes is the canonical one, the same on both tiers.
    pub fn canonicalize_nans(&mut self, on: bool) -> &mut Self {
        self.canonicalize_nans = on;
        self
    }

    /// Whether a program does the same whatever runs it: every tier gives the same bits, traps and fuel, on every machine.
    ///
    /// NaNs are canonical, as with [`Config::canonicalize_nans`]; relaxed vector operators follow the specification's
    /// deterministic profile, as always; and the call stack is exhausted at the same call: frames cost what their code
    /// says, at most [`Config::max_wasm_stack`] together, however large they are on a tier. For that, the thread's stack
    /// should have room for four times as many bytes; on a smaller one, compiled code may end sooner.
    /// What comes from outside stays outside: host functions, deadlines, memory that the system refuses.
    pub fn deterministic(&mut self, on: bool) -> &mut Self {
        self.deterministic = on;
        self
    }

    /// Whether computed NaNs are canonical, for whatever reason.
    pub(crate) fn canonical_nans(&self) -> bool {
        self.canonicalize_nans || self.deterministic
    }

    /// Whether what is warm in the interpreter gets machine code for each of its cells, in the same frames, long before the compiler is
    /// asked. Unless set, it does with [`Strategy::Auto`]. With [`Strategy::Interpreter`], which makes no machine code, this makes some
    /// all the same; with [`Strategy::Jit`] it changes nothing, nor in builds whose interpreter does not jump
    /// (see [`crate::inspect::INTERPRETER_JUMPS`]). It takes at most 64 MiB for a module, and a small part of what compiling takes.
    pub fn baseline(&mut self, on: bool) -> &mut Self {
        self.baseline = Some(on);
        self
    }

    /// How many entries into a function and passes of its loops leave it without code of [`Config::baseline`]; then it gets some at
    /// once. Unless set, larger functions need more, and code of several is published together.
    pub fn baseline_threshold(&mut self, entries: u32) -> &mut Self {
        self.baseline_threshold = Some(entries);
        self
    }

    /// Whether cells get machine code.
    pub(crate) fn has_baseline(&self) -> bool {
        self.strategy != Strategy::Jit
            && self.baseline.unwrap_or(self.strategy == Strategy::Auto)
            && crate::interp::baseline::AVAILABLE
            && !crate::interp::by_loop(self.interpreter_jumps)
    }

    /// Whether the interpreter counts what it runs.
    pub(crate) fn counts(&self) -> bool {
        self.strategy != Strategy::Interpreter || self.has_baseline()
    }

    /// Bytes of stack that guest code may use: native stack for compiled code, as much again for values of interpreted code.
    pub fn max_wasm_stack(&mut self, bytes: usize) -> &mut Self {
        self.max_wasm_stack = bytes;
        self
    }

    /// With [`Strategy::Auto`], how many entries into a function and passes of its loops leave it cold: one more makes it
    /// hot, and a loop that makes its function hot moves into compiled code where it is. Unless set, larger functions
    /// need more, since they take longer to compile.
    pub fn tier_up_threshold(&mut self, entries: u32) -> &mut Self {
        self.tier_up_threshold = Some(entries);
        self
    }

    /// With [`Strategy::Auto`], how many threads of the engine compile what is hot while its guests go on; they start when
    /// the first function is hot. With 0, whoever makes a function hot waits until it is compiled. Unless set, one or two,
    /// by the machine.
    pub fn compile_threads(&mut self, threads: usize) -> &mut Self {
        self.compile_threads = Some(threads);
        self
    }

    /// Whether the heap is collected before every object that is made: for tests, as every reference that is not where it
    /// should be is found then.
    pub fn gc_stress(&mut self, on: bool) -> &mut Self {
        self.gc_stress = on;
        self
    }

    /// How many bytes a memory of 64-bit addresses can grow to, if its module declares no less; 64 GiB unless set.
    /// Address space for all of them is reserved when the memory is made, because memories never move. A module
    /// whose memory begins larger is refused; growth beyond answers -1.
    pub fn memory64_ceiling(&mut self, bytes: u64) -> &mut Self {
        self.memory64_ceiling = bytes;
        self
    }

    /// How many reservations of memories that ended the engine keeps for the next ones; 16 unless set. One takes the
    /// address space of a memory, 8 GiB with [`Bounds::Guard`], and keeps at most 256 KiB of memory resident, zeroed. With 0,
    /// each memory asks the system for its own.
    pub fn memories_kept(&mut self, count: usize) -> &mut Self {
        self.memories_kept = count;
        self
    }

    /// Has all memories of the engine lie side by side in one mapping: `count` slices of `bytes` each, which no memory grows
    /// beyond. For very many instances at a time: a process has some 65,000 mappings, and a memory of its own
    /// takes two or more. Bounds become [`Bounds::Explicit`]; memories have no windows for sharing; images compare the pages of
    /// a memory that goes back ([`crate::ImageConfig::protect_pages`] has no effect); what the interpreter needs while it
    /// runs is not kept by a store whose guests have returned. Address space for all slices is taken with the first memory; what is not used takes no memory of the system's.
    ///
    /// Making a memory fails if all slices are in use, or it begins longer than one.
    pub fn memory_slices(&mut self, count: usize, bytes: u64) -> &mut Self {
        self.memory_slices = Some((count, bytes));
        self.bounds = Bounds::Explicit;
        self
    }

    /// What the instances of a store may take, unless the store says otherwise ([`crate::Store::set_limits`]).
    pub fn store_limits(&mut self, limits: StoreLimits) -> &mut Self {
        self.store_limits = limits;
        self
    }

    /// Whether functions of odd index are never compiled, so that calls between functions change tier. For tests of tiers.
    pub fn odd_functions_interpreted(&mut self, on: bool) -> &mut Self {
        self.odd_functions_interpreted = on;
        self
    }

    /// Whether modules remember the machine code that was made for them, for [`crate::Module::native_so_far`]. It takes as much
    /// memory again as the code.
    pub fn keep_compiled(&mut self, on: bool) -> &mut Self {
        self.keep_compiled = on;
        self
    }

    /// Whether the interpreter's handlers jump to each other where it was built with both ways: optimised and with debug
    /// assertions. Other builds have one way, and this changes nothing. For tests of the interpreter.
    pub fn interpreter_jumps(&mut self, on: bool) -> &mut Self {
        self.interpreter_jumps = on;
        self
    }

    /// Whether instantiation checks all active segments before it writes any, and refuses a module with one that does
    /// not fit as unlinkable. WebAssembly 1.0 was first published with this rule; since bulk memory a misfit is a trap.
    pub fn segments_checked_first(&mut self, on: bool) -> &mut Self {
        self.segments_checked_first = on;
        self
    }
}

/// A setter for each proposal that the engine implements.
macro_rules! proposal_setters {
    ($(#[doc = $what:literal] $setter:ident = $name:literal, $flag:ident, $implemented:tt;)*) => {
        impl Config {
            $(proposal_setters! { @one $what, $setter, $name, $implemented })*
        }
    };
    (@one $what:literal, $setter:ident, $name:literal, true) => {
        #[doc = concat!("Whether modules may use the proposal `", $name, "`.\n\n", $what)]
        pub fn $setter(&mut self, on: bool) -> &mut Self {
            self.features = self.features.with($name, on).expect("the proposal is implemented");
            self
        }
    };
    (@one $what:literal, $setter:ident, $name:literal, false) => {};
}

aura_validator::for_each_proposal!(proposal_setters);

/// Compiles and links modules. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    /// The digest of what decides whether a module is valid.
    validity: OnceLock<[u8; 32]>,
    /// The digest of what machine code of the engine is for.
    native_target: OnceLock<[u8; 32]>,
    types: TypeRegistry,
    /// Memories hold it too, so that they may outlive the engine's own share.
    reservations: Arc<Reservations>,
    jit: Option<Jit>,
    /// None if whoever needs compiled code compiles it.
    workers: Option<Workers>,
    /// One entry per type for all host functions of the type, and one per type of closure for those that take registers.
    host_entries: Mutex<HostEntries>,
}

/// The compiled tier's share of an engine: the compiler, and stubs that serve every module.
struct Jit {
    compiler: Compiler,
    stubs: ModuleCode,
    /// Those that are there, by kind and type.
    known: Mutex<HashMap<(StubKind, u32), NonNull<()>>>,
    /// Their code, if the engine keeps it.
    made: Option<Mutex<HashMap<(StubKind, u32), CompiledFunction>>>,
}

/// What leads from one convention to another; see `jit/src/stubs.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum StubKind {
    /// Calls compiled functions of a type with arguments in slots.
    SlotsToRegs,
    /// Lets compiled code call functions of a type that are not compiled.
    RegsToSlots,
    /// Puts code for a loop in the place of a frame of a function of a type.
    SlotsToLoop,
    /// What compiled code tail-calls for a tail call that left the interpreter.
    TailEntry,
}

impl StubKind {
    pub(crate) const ALL: [Self; 4] = [Self::SlotsToRegs, Self::RegsToSlots, Self::SlotsToLoop, Self::TailEntry];

    /// Compiles the stub of this kind for a type.
    pub(crate) fn compile(self, compiler: &Compiler, ty: &FuncType) -> Result<CompiledFunction, CompileError> {
        match self {
            Self::SlotsToRegs => compiler.compile_slots_to_regs(ty),
            Self::RegsToSlots => compiler.compile_regs_to_slots(ty),
            Self::SlotsToLoop => compiler.compile_slots_to_loop(ty),
            Self::TailEntry => compiler.compile_tail_entry(ty),
        }
    }
}

// SAFETY: the pointers are addresses of code that lives as long as the engine; code has no thread.
unsafe impl Send for Jit {}
// SAFETY: as above; the maps are behind locks.
unsafe impl Sync for Jit {}
// SAFETY: entries hold atomics and constants; their addresses are stable because they are boxed.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Entries of host functions by type and by the code that takes registers, if there is some.
type HostEntries = HashMap<(u32, Option<NonNull<()>>), Box<VmFuncEntry>>;

/// Address space for the stubs of one engine.
const STUBS_RESERVATION: usize = 64 << 20;

impl Engine {
    /// Makes an engine.
    ///
    /// # Errors
    /// If compiled code is asked for on a machine that the compiler does not support, or the configuration contradicts itself.
    pub fn new(config: &Config) -> Result<Self> {
        let stack = config.max_wasm_stack;
        if !(64 << 10..=1 << 30).contains(&stack) {
            return Err(Error::usage(format!("max_wasm_stack is {stack} bytes; it must be 64 KiB to 1 GiB")));
        }
        if config.memory_slices.is_some() && config.bounds == Bounds::Guard {
            return Err(Error::usage(
                "memory_slices needs Bounds::Explicit: guards take address space for each memory",
            ));
        }
        let jit = match config.strategy {
            Strategy::Interpreter => None,
            Strategy::Jit | Strategy::Auto => Some(Jit::new(config)?),
        };
        if jit.is_some() {
            signals::install()?;
        }
        let inner = Inner {
            config: config.clone(),
            validity: OnceLock::new(),
            native_target: OnceLock::new(),
            types: TypeRegistry::default(),
            reservations: Arc::new(Reservations::new(config)),
            jit,
            workers: workers(config),
            host_entries: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the engine was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// What of the configuration decides whether a module is valid, as text: equal for engines that accept the same modules.
    #[must_use]
    pub fn validity(&self) -> String {
        let Config { features, limits, .. } = self.config();
        format!("{features:?} {limits:?}")
    }

    /// What decides whether machine code that one engine made serves another, as text: equal for those whose code is the same.
    /// `None` for an engine that makes none.
    #[must_use]
    pub fn code_target(&self) -> Option<String> {
        artifact::target_text(self)
    }

    /// The digest of [`Engine::validity`].
    pub(crate) fn validity_digest(&self) -> [u8; 32] {
        *self.inner.validity.get_or_init(|| *blake3::hash(self.validity().as_bytes()).as_bytes())
    }

    /// The digest of what decides whether machine code that was made elsewhere means the same here.
    pub(crate) fn native_target(&self) -> [u8; 32] {
        *self.inner.native_target.get_or_init(|| artifact::target_digest(self))
    }

    /// What lowering adds to code for this engine.
    pub(crate) fn lowering(&self) -> LowerOptions {
        let config = self.config();
        LowerOptions { fuel: config.consume_fuel, depth: config.deterministic }
    }

    /// Whether both are the same engine: handles and modules of one do not work with another.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether every value of type `value` may stand where `place` is expected (specification 3.3.5).
    ///
    /// # Errors
    /// If one of the types names a defined type of another engine.
    pub fn is_subtype(&self, value: ValType, place: ValType) -> Result<bool> {
        [value, place].into_iter().try_for_each(|ty| self.types().check(ty))?;
        Ok(self.types().matches(value, place))
    }

    pub(crate) fn types(&self) -> &TypeRegistry {
        &self.inner.types
    }

    /// Where memories get their address space.
    pub(crate) fn reservations(&self) -> &Arc<Reservations> {
        &self.inner.reservations
    }

    /// Waits until the threads that compile have nothing left to do: for measurements and tests.
    pub fn wait_for_compilation(&self) {
        if let Some(workers) = self.workers() {
            workers.wait();
        }
    }

    /// The threads that compile, if the engine has any.
    pub(crate) fn workers(&self) -> Option<&Workers> {
        self.inner.workers.as_ref()
    }

    pub(crate) fn compiler(&self) -> Option<&Compiler> {
        self.inner.jit.as_ref().map(|jit| &jit.compiler)
    }

    /// The entry that all host functions of this type share, or those of them that take registers, with this code
    /// ([`arch::host_entry`]).
    pub(crate) fn host_entry(&self, type_id: u32, direct: Option<NonNull<()>>) -> *const VmFuncEntry {
        let first = || direct.map_or_else(|| arch::lazy_regs(self.inner.types.func(type_id)), NonNull::as_ptr);
        let mut entries = self.inner.host_entries.lock().expect("holders of this lock do not panic");
        let entry = entries.entry((type_id, direct)).or_insert_with(|| {
            let entry = Box::<VmFuncEntry>::default();
            let owner = std::ptr::from_ref(&*self.inner).cast();
            entry.make([first(), host::host_entry as *mut ()], owner, u32::MAX, type_id);
            entry
        });
        &raw const **entry
    }

    /// The stub that lets compiled code call functions of a type that are not compiled.
    pub(crate) fn regs_to_slots(&self, type_id: u32) -> Result<NonNull<()>> {
        self.stub(StubKind::RegsToSlots, type_id, || None)
    }

    /// The stub of a kind for a type: if there is none yet, the one that is kept somewhere, else a new one.
    pub(crate) fn stub(
        &self,
        kind: StubKind,
        type_id: u32,
        kept: impl FnOnce() -> Option<CompiledFunction>,
    ) -> Result<NonNull<()>> {
        self.inner.stub(kind, type_id, kept)
    }

    /// The code of a stub that was made before, if the engine keeps it.
    pub(crate) fn kept_stub(&self, kind: StubKind, type_id: u32) -> Option<CompiledFunction> {
        let made = self.inner.jit().made.as_ref()?;
        made.lock().expect("holders of this lock do not panic").get(&(kind, type_id)).cloned()
    }

    /// The stub that compiled code tail-calls for a tail call that left the interpreter.
    pub(crate) fn tail_entry(&self, type_id: u32) -> Result<NonNull<()>> {
        self.stub(StubKind::TailEntry, type_id, || None)
    }

    /// The stub that calls compiled functions of a type with arguments in slots.
    pub(crate) fn slots_to_regs(&self, type_id: u32) -> Result<NonNull<()>> {
        self.stub(StubKind::SlotsToRegs, type_id, || None)
    }

    /// The stub that puts code for a loop in the place of a frame of a function of a type.
    pub(crate) fn slots_to_loop(&self, type_id: u32) -> Result<NonNull<()>> {
        self.stub(StubKind::SlotsToLoop, type_id, || None)
    }

    /// As [`Engine::regs_to_slots`], for the type and in the engine of a host function's entry.
    ///
    /// # Safety
    /// `entry` came from [`Engine::host_entry`] of an engine that lives.
    pub(crate) unsafe fn stub_for_host_entry(entry: *const VmFuncEntry) -> Result<NonNull<()>> {
        // SAFETY: said by the caller.
        let (inner, type_id) = unsafe { Self::of_host_entry(entry) };
        inner.stub(StubKind::RegsToSlots, type_id, || None)
    }

    /// As [`Engine::tail_entry`], for the type and in the engine of a host function's entry.
    ///
    /// # Safety
    /// As [`Engine::stub_for_host_entry`].
    pub(crate) unsafe fn tail_entry_for_host(entry: *const VmFuncEntry) -> Result<NonNull<()>> {
        // SAFETY: said by the caller.
        let (inner, type_id) = unsafe { Self::of_host_entry(entry) };
        inner.stub(StubKind::TailEntry, type_id, || None)
    }

    unsafe fn of_host_entry<'a>(entry: *const VmFuncEntry) -> (&'a Inner, u32) {
        // SAFETY: the caller vouches that the entry lives.
        let owner = unsafe { (*entry).owner() };
        // SAFETY: `host_entry` set the owner to the engine, which lives.
        let inner = unsafe { &*owner.cast::<Inner>() };
        // SAFETY: as the first.
        (inner, unsafe { (*entry).type_id() })
    }
}

/// The threads that compile: as many as asked for, or one or two and leave a core to the guest.
fn workers(config: &Config) -> Option<Workers> {
    if config.strategy != Strategy::Auto {
        return None;
    }
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = config.compile_threads.unwrap_or_else(|| (cores() - 1).clamp(1, 2));
    (threads > 0).then(|| Workers::new(threads))
}

impl Inner {
    fn jit(&self) -> &Jit {
        self.jit.as_ref().expect("compiled code runs in engines that have a compiler")
    }

    fn stub(
        &self,
        kind: StubKind,
        type_id: u32,
        kept: impl FnOnce() -> Option<CompiledFunction>,
    ) -> Result<NonNull<()>> {
        let jit = self.jit();
        jit.stub((kind, type_id), || match kept() {
            Some(kept) => Ok(kept),
            None => kind.compile(&jit.compiler, self.types.func(type_id)),
        })
    }
}

impl Jit {
    fn new(config: &Config) -> Result<Self> {
        let compiler = Compiler::new(CompilerConfig {
            opt_level: config.opt_level,
            bounds: config.bounds,
            deterministic: config.canonical_nans(),
            ..CompilerConfig::default()
        })
        .map_err(|error| Error::resource(error.to_string()))?;
        let stubs = ModuleCode::new(&compiler, 0, STUBS_RESERVATION).map_err(|e| Error::resource(e.to_string()))?;
        let made = config.keep_compiled.then(Mutex::default);
        Ok(Self { compiler, stubs, known: Mutex::default(), made })
    }

    fn stub(
        &self,
        name: (StubKind, u32),
        make: impl FnOnce() -> Result<CompiledFunction, CompileError>,
    ) -> Result<NonNull<()>> {
        let mut known = self.known.lock().expect("holders of this lock do not panic");
        if let Some(code) = known.get(&name) {
            return Ok(*code);
        }
        let compiled = make().map_err(|e| Error::resource(e.to_string()))?;
        let published = self.stubs.publish(&[(CodeKind::Stub, &compiled)]);
        let code = published.map_err(|error| Error::resource(error.to_string()))?[0];
        known.insert(name, code);
        if let Some(made) = &self.made {
            made.lock().expect("holders of this lock do not panic").insert(name, compiled);
        }
        Ok(code)
    }
}

impl Default for Engine {
    /// An engine of the default configuration; on a machine that the compiler does not support, one
    /// that interprets.
    fn default() -> Self {
        Self::new(&Config::new()).unwrap_or_else(|_| {
            Self::new(Config::new().strategy(Strategy::Interpreter))
                .expect("an interpreter needs nothing of the machine")
        })
    }
}
