//! Machine code in artifacts: compiled once, by `Module::compile_native`, and taken as it is by every run.
//!
//! Compiled code names no address and no number of an engine: what it needs it finds through the instance. So its bytes serve
//! wherever they lie. They stand in *groups*, functions that are called first in the first ones, others by their place in the
//! module; each group is the code of its functions, in pieces of its own, and behind it what is known of that code.
//!
//! ```text
//! rows     for each own function, its group (0: it is interpreted)
//! groups   for each, where its code begins, how long code and tables are
//! native   code | tables | code | tables ...      each begins with a piece
//! stubs    between the conventions, for types of functions with code and of imported ones
//! ```
//!
//! A group is read when a function of it is first called: into private memory, compared there, copied to fresh pages, which become
//! executable and never writable again (`aura_jit::ModuleCode`). Code is used only by engines whose compiler would make code of the
//! same meaning ([`Target`]): a processor that lacks what it uses refuses the artifact; with other options the code is left aside.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aura_jit::{CompiledFunction, Compiler};
use aura_validator::Code;
use aura_validator::code::Inst;
use aura_validator::codec::Coded;

use super::format::{Native as Sections, PIECE, Section, digest};
use super::pieces::Content;
use crate::compile::{self, Compiled as Made, Unit};
use crate::engine::{Engine, StubKind};
use crate::error::{Error, ErrorKind, Result};
use crate::module::{self, Module};

/// Bytes of code after which a group is full. Less costs calls of the system, more reads what is not called.
const GROUP_BYTES: usize = 16 << 10;
/// Functions after which a group is full.
const GROUP_FUNCTIONS: usize = 64;

/// Bytes of a function's row, and of a group's.
const ROW: u64 = 4;
const GROUP_ROW: u64 = 16;

/// What machine code was made for, as far as its meaning depends on it.
pub(super) struct Target {
    /// Of the processor, what the code may use.
    processor: Vec<String>,
    /// Options of the engine, in words.
    options: String,
}

impl Target {
    /// What an engine's compiler makes code for; none if the engine has no compiler.
    pub(super) fn of(engine: &Engine) -> Option<Self> {
        let compiler = engine.compiler()?;
        let config = compiler.config();
        let lowering = engine.lowering();
        let options = format!(
            "bounds {:?}, canonical NaNs {}, fuel {}, depth {}",
            config.bounds, config.deterministic, lowering.fuel, lowering.depth
        );
        Some(Self { processor: compiler.processor_features(), options })
    }

    pub(super) fn to_text(&self) -> String {
        format!("{}\n{}", self.options, self.processor.join(" "))
    }

    /// Whether code that was made for `there` serves here; why not, if it never can.
    fn serves(&self, there: &str) -> std::result::Result<bool, String> {
        let (options, processor) = there.split_once('\n').unwrap_or_default();
        if options != self.options {
            return Ok(false);
        }
        let lacks = |feature: &&str| !self.processor.iter().any(|has| has == feature);
        match processor.split(' ').filter(|feature| !feature.is_empty()).find(lacks) {
            None => Ok(true),
            Some(feature) => Err(format!(
                "its machine code is for a processor with `{feature}`, which this one lacks; compile the module again"
            )),
        }
    }
}

/// The digest of what an engine's machine code is for; zeros if it makes none.
pub(crate) fn target_digest(engine: &Engine) -> [u8; 32] {
    Target::of(engine).map_or([0; 32], |target| digest(target.to_text().as_bytes()))
}

/// Whether the engine takes the machine code of an artifact.
///
/// # Errors
/// If this processor cannot run it, or the artifact was changed.
pub(super) fn is_for(content: &Content, engine: &Engine) -> std::result::Result<bool, String> {
    let there = content.header().native;
    if there == [0; 32] || engine.compiler().is_none() {
        return Ok(false);
    }
    if there == engine.native_target() {
        return Ok(true);
    }
    let text = content.section(Section::NativeTarget)?;
    let text = String::from_utf8_lossy(&text);
    Target::of(engine).map_or(Ok(false), |here| here.serves(&text))
}

/// The machine code of a module, for [`Module::to_native_artifact`].
pub struct Native {
    pub(super) sections: Sections,
    compiled: u32,
    left: u32,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").field("compiled", &self.compiled).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Native {
    /// How many functions were compiled.
    #[must_use]
    pub fn compiled(&self) -> u32 {
        self.compiled
    }

    /// How many functions are over the budget of the compiler and stay interpreted.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Bytes of code, and of what is known of it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.sections.code.len() as u64
    }

    /// Whether there is no code.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.compiled == 0
    }
}

/// A function that was compiled, with the functions of the module that it calls directly and their types.
struct Compiled {
    own: u32,
    function: CompiledFunction,
    callees: Vec<(u32, u32)>,
}

impl Module {
    /// Compiles all functions of the module that are within the budget of the compiler, on so many threads. `progress` is
    /// told now and then how many are done.
    ///
    /// # Errors
    /// If the engine has no compiler ([`crate::Strategy::Interpreter`]), or bodies of the module are validated lazily.
    pub fn compile_native(&self, threads: usize, progress: &(dyn Fn(u32) + Sync)) -> Result<Native> {
        let validated = self.validated();
        let (Some(target), Some(compiler)) = (Target::of(self.engine()), self.engine().compiler()) else {
            return Err(Error::usage("machine code is made by engines that have a compiler"));
        };
        if !validated.is_validated() {
            return Err(Error::usage("machine code in artifacts is of modules that were validated whole"));
        }
        validated.know_all_functions()?;
        let all = validated.num_own_funcs();
        let next = AtomicU32::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let own = next.fetch_add(1, Ordering::Relaxed);
                if own >= all {
                    return done;
                }
                done.extend(compile_one(self, compiler, own));
                progress(own + 1);
            }
        };
        let done: Vec<Vec<Compiled>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut done = vec![work()];
            done.extend(threads.into_iter().map(|thread| thread.join().expect("the compiler's panics are caught")));
            done
        });
        let mut done: Vec<Compiled> = done.into_iter().flatten().collect();
        let first = super::called_first(validated);
        done.sort_by_key(|one| (first.iter().position(|own| *own == one.own).unwrap_or(usize::MAX), one.own));
        let compiled = done.len() as u32;
        let stubs = stubs(self, compiler, &done);
        let mut sections = lay_out(all, &done);
        sections.stubs = stubs;
        sections.target = target.to_text();
        sections.digest = digest(sections.target.as_bytes());
        Ok(Native { sections, compiled, left: all - compiled })
    }
}

fn compile_one(module: &Module, compiler: &Compiler, own: u32) -> Option<Compiled> {
    let config = module.engine().config();
    if own % 2 == 1 && config.odd_functions_interpreted {
        return None;
    }
    let made;
    let code = match module.inner().known_code(own) {
        Some(code) => code,
        None => {
            made = module.inner().make_code(own).ok()?;
            &made
        }
    };
    let function = compiler.compile(module.validated(), own, code).ok()?;
    Some(Compiled { own, function, callees: callees(module.validated(), code) })
}

/// The functions of the module that code calls directly, with their types.
fn callees(module: &aura_validator::Module, code: &Code) -> Vec<(u32, u32)> {
    let imported = module.num_imported_funcs();
    let called = code.insts.iter().filter_map(|inst| match *inst {
        Inst::Call { func, .. } | Inst::ReturnCall { func, .. } => func.checked_sub(imported),
        _ => None,
    });
    let mut called: Vec<_> = called.map(|own| (own, module.func_type_index(imported + own))).collect();
    called.sort_unstable();
    called.dedup();
    called
}

/// Stubs for the types of functions with code, and of imported ones, which the code calls: by kind and type index.
fn stubs(module: &Module, compiler: &Compiler, done: &[Compiled]) -> Vec<u8> {
    let validated = module.validated();
    let imported = validated.num_imported_funcs();
    let mut wanted: Vec<_> = done
        .iter()
        .map(|one| (StubKind::SlotsToRegs, validated.func_type_index(imported + one.own)))
        .chain(imported_types(validated).map(|ty| (StubKind::RegsToSlots, ty)))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut out = Vec::new();
    for (kind, ty) in wanted {
        let Ok(stub) = kind.compile(compiler, validated.func_type_at(ty)) else { continue };
        (kind as u8, ty).put(&mut out);
        put_function(&mut out, &stub);
    }
    out
}

/// The types of imported functions, by index.
fn imported_types(module: &aura_validator::Module) -> impl Iterator<Item = u32> + '_ {
    (0..module.num_imported_funcs()).map(|func| module.func_type_index(func))
}

fn put_function(out: &mut Vec<u8>, function: &CompiledFunction) {
    (function.bytes.len() as u64).put(out);
    out.extend_from_slice(&function.bytes);
    function.put_tables(out);
}

fn take_function(bytes: &mut &[u8]) -> Option<CompiledFunction> {
    let len = usize::try_from(u64::take(bytes)?).ok()?;
    let (code, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    CompiledFunction::take_tables(bytes, code.into())
}

/// Functions in groups, with the rows that name them.
fn lay_out(all: u32, done: &[Compiled]) -> Sections {
    let mut rows = vec![0_u32; all as usize];
    let mut sections = Sections::default();
    let (mut rest, mut group) = (done, 0_u32);
    while !rest.is_empty() {
        let (mut code, mut tables, mut count) = (Vec::new(), Vec::new(), 0);
        group += 1;
        while let Some(one) = rest.get(count).filter(|_| count < GROUP_FUNCTIONS && code.len() < GROUP_BYTES) {
            rows[one.own as usize] = group;
            let start: usize = code.len().next_multiple_of(one.function.alignment as usize);
            code.resize(start, 0);
            code.extend_from_slice(&one.function.bytes);
            (one.own, (start as u64, one.function.bytes.len() as u64)).put(&mut tables);
            one.callees.put(&mut tables);
            one.function.put_tables(&mut tables);
            count += 1;
        }
        rest = &rest[count..];
        let start = sections.code.len() as u64;
        let (code_len, tables_len) = (code.len() as u32, tables.len() as u32);
        sections.groups.extend_from_slice(&start.to_le_bytes());
        sections.groups.extend_from_slice([code_len, tables_len].map(u32::to_le_bytes).as_flattened());
        for part in [code, tables] {
            sections.code.extend_from_slice(&part);
            sections.code.resize(sections.code.len().next_multiple_of(PIECE), 0);
        }
    }
    sections.rows = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
    sections
}

/// The machine code of an artifact, for the module that was loaded from it.
pub(crate) struct KeptNative {
    content: Arc<Content>,
    /// What became of groups that were needed: the reason, if one was refused.
    groups: Mutex<HashMap<u32, std::result::Result<bool, String>>>,
    stubs: OnceLock<std::result::Result<Stubs, String>>,
}

type Stubs = HashMap<(StubKind, u32), CompiledFunction>;

impl KeptNative {
    pub(super) fn new(content: Arc<Content>) -> Self {
        Self { content, groups: Mutex::default(), stubs: OnceLock::new() }
    }

    /// Puts the code of a function, and of those in its group, into their entry words. Says whether there is some.
    ///
    /// # Errors
    /// If the artifact was changed.
    pub(crate) fn publish(&self, module: &module::Inner, own: u32) -> Result<bool> {
        if own % 2 == 1 && module.engine().config().odd_functions_interpreted {
            return Ok(false);
        }
        let changed = |why: String| Error::new(ErrorKind::Artifact, why);
        let row = self.content.part(Section::NativeRows, ROW * u64::from(own)..ROW * (u64::from(own) + 1));
        let row = row.map_err(changed)?;
        let group = u32::from_le_bytes(*row.first_chunk().expect("a row's length"));
        if group == 0 {
            return Ok(false);
        }
        // Held while the group is read: who needs it too waits for it.
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let known = groups.entry(group).or_insert_with(|| self.publish_group(module, group - 1));
        known.clone().map_err(changed)
    }

    fn publish_group(&self, module: &module::Inner, group: u32) -> std::result::Result<bool, String> {
        let functions = self.group(group)?;
        let stubs = self.stubs.get_or_init(|| {
            let bytes = self.content.section(Section::NativeStubs)?;
            take_stubs(&bytes).ok_or_else(undecoded)
        });
        let stubs = stubs.as_ref().map_err(String::clone)?;
        let (engine, validated) = (module.engine(), module.validated());
        let stub = |kind: StubKind, ty: u32, id: u32| engine.stub(kind, id, || stubs.get(&(kind, ty)).cloned());
        for ty in imported_types(validated) {
            // What fails here fails again where the stub is called for, and is an error there.
            let _ = stub(StubKind::RegsToSlots, ty, module.type_id_of(ty));
        }
        let mut made = Vec::with_capacity(functions.len());
        for Compiled { own, function, callees } in functions {
            if own % 2 == 1 && engine.config().odd_functions_interpreted {
                continue;
            }
            for (callee, ty) in callees {
                module.entry_of_type(callee, ty);
            }
            let ty = validated.row(own).map_err(|error| error.to_string())?.ty;
            let entry = module.entry_of_type(own, ty);
            if let Ok(stub) = stub(StubKind::SlotsToRegs, ty, entry.type_id()) {
                made.push(Made { unit: Unit { func: own, header: None }, function, stub });
            }
        }
        Ok(compile::publish_made(module, made))
    }

    /// The functions of a group.
    fn group(&self, group: u32) -> std::result::Result<Vec<Compiled>, String> {
        let at = GROUP_ROW * u64::from(group);
        let row = self.content.part(Section::NativeGroups, at..at + GROUP_ROW)?;
        let word = |at: usize| u32::from_le_bytes(row[at..at + 4].try_into().expect("four bytes"));
        let start = u64::from(word(0)) | u64::from(word(4)) << 32;
        let (code_len, tables_len) = (word(8) as usize, word(12) as usize);
        let tables = code_len.next_multiple_of(PIECE);
        let bytes = self.content.whole_pieces(Section::NativeCode, start..start + (tables + tables_len) as u64)?;
        take_group(&bytes[..code_len], &bytes[tables..]).ok_or_else(undecoded)
    }
}

fn undecoded() -> String {
    "machine code of an artifact does not decode".to_owned()
}

fn take_stubs(mut bytes: &[u8]) -> Option<Stubs> {
    let mut stubs = HashMap::new();
    while !bytes.is_empty() {
        let (kind, ty) = <(u8, u32)>::take(&mut bytes)?;
        let kind = StubKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        stubs.insert((kind, ty), take_function(&mut bytes)?);
    }
    Some(stubs)
}

fn take_group(code: &[u8], mut tables: &[u8]) -> Option<Vec<Compiled>> {
    let mut functions = Vec::new();
    while !tables.is_empty() {
        let (own, (start, len)) = <(u32, (u64, u64))>::take(&mut tables)?;
        let (start, len) = (usize::try_from(start).ok()?, usize::try_from(len).ok()?);
        let code = code.get(start..start.checked_add(len)?)?;
        let callees = Coded::take(&mut tables)?;
        functions.push(Compiled { own, function: CompiledFunction::take_tables(&mut tables, code.into())?, callees });
    }
    Some(functions)
}
