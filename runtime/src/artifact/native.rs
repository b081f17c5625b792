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
//! A group is read when a function of it is first called: into fresh pages, which are compared there, become
//! executable and never writable again (`aura_jit::KeptCode`). Code is used only by engines whose compiler would make code of the
//! same meaning ([`Target`]): a processor that lacks what it uses refuses the artifact; with other options the code is left aside.

use std::collections::HashMap;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aura_jit::{CodeKind, CompiledFunction, Compiler, KeptCode, KeptFunction, KeptTables};
use aura_validator::Code;
use aura_validator::code::Inst;
use aura_validator::codec::Coded;

use super::format::{Contents, Native as Sections, PIECE, Section, digest};
use super::key::ArtifactKey;
use super::pieces::Content;
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

/// What an engine's machine code is for, in words; `None` if it makes none.
pub(crate) fn target_text(engine: &Engine) -> Option<String> {
    Target::of(engine).map(|target| target.to_text())
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
    ty: u32,
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
        done.sort_by_key(|one| one.own);
        let first = called_first(validated, &done);
        let place = |own: u32| first.iter().position(|known| *known == own).unwrap_or(usize::MAX);
        done.sort_by_key(|one| (place(one.own), one.own));
        let first = done.iter().take_while(|one| place(one.own) != usize::MAX).count();
        Ok(Native::of(self, compiler, &target, (&done, first)))
    }

    /// The machine code that was made for the module so far, with what it came with from an artifact: `None` if nothing was
    /// made in this process. The engine keeps it if [`crate::Config::keep_compiled`] says so.
    ///
    /// # Errors
    /// If the artifact was changed.
    pub fn native_so_far(&self) -> Result<Option<Native>> {
        let inner = self.inner();
        let made = inner.tiers.made().clone();
        let (Some(target), Some(compiler)) = (Target::of(self.engine()), self.engine().compiler()) else {
            return Ok(None);
        };
        if made.is_empty() {
            return Ok(None);
        }
        let mut done = inner.native().map_or(Ok(Vec::new()), KeptNative::all)?;
        for (own, function) in made {
            let code = inner.code(own)?;
            let ty = self.validated().row(own)?.ty;
            done.push(Compiled { own, ty, function, callees: callees(self.validated(), code) });
        }
        Ok(Some(Native::of(self, compiler, &target, (&done, 0))))
    }

    /// How many bytes of machine code were made for the module in this process, and how many an artifact has, if the engine
    /// keeps code.
    #[must_use]
    pub fn native_bytes(&self) -> (u64, u64) {
        let made = self.inner().tiers.made().iter().map(|(_, function)| function.bytes.len() as u64).sum();
        (made, self.inner().native().map_or(0, KeptNative::bytes))
    }
}

impl Native {
    /// `first` of the functions are called before others: they stand in a group of their own.
    fn of(module: &Module, compiler: &Compiler, target: &Target, (done, first): (&[Compiled], usize)) -> Self {
        let all = module.validated().num_own_funcs();
        let mut sections = lay_out(all, done, first);
        sections.stubs = stubs(module, compiler, done);
        sections.target = target.to_text();
        sections.digest = digest(sections.target.as_bytes());
        let compiled = done.len() as u32;
        Self { sections, compiled, left: all - compiled }
    }

    /// An artifact of the code alone, for [`Artifact::load_with_code`](super::Artifact::load_with_code): `label` is that of the
    /// module's artifact.
    #[must_use]
    pub fn to_artifact(&self, key: &ArtifactKey, label: [u8; 32]) -> Vec<u8> {
        Contents { label, native: self.sections.clone(), ..Contents::default() }.write(key)
    }
}

fn compile_one(module: &Module, compiler: &Compiler, own: u32) -> Option<Compiled> {
    if is_skipped(module.inner(), own) {
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
    let ty = module.validated().row(own).ok()?.ty;
    Some(Compiled { own, ty, function, callees: callees(module.validated(), code) })
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
    let mut wanted: Vec<_> = done
        .iter()
        .map(|one| (StubKind::SlotsToRegs, one.ty))
        .chain(imported_types(validated).map(|ty| (StubKind::RegsToSlots, ty)))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut out = Vec::new();
    for (kind, ty) in wanted {
        let kept = module.engine().kept_stub(kind, module.type_id(ty));
        let made = || kind.compile(compiler, validated.func_type_at(ty)).ok();
        let Some(stub) = kept.or_else(made) else { continue };
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

/// Functions that are called before others, and those that they call directly; `done` is sorted by function.
fn called_first(module: &aura_validator::Module, done: &[Compiled]) -> Vec<u32> {
    let mut first = super::called_first(module);
    let mut next = 0;
    while let Some(&own) = first.get(next) {
        if let Ok(at) = done.binary_search_by_key(&own, |one| one.own) {
            done[at].callees.iter().for_each(|&(callee, _)| super::add(&mut first, Some(callee)));
        }
        next += 1;
    }
    first
}

/// Functions in groups, with the rows that name them. No group has both some of the `first` and others.
fn lay_out(all: u32, done: &[Compiled], first: usize) -> Sections {
    let mut rows = vec![0_u32; all as usize];
    let mut sections = Sections::default();
    let (mut rest, mut group) = (done, 0_u32);
    while !rest.is_empty() {
        let hot = first.saturating_sub(done.len() - rest.len());
        let most = if hot > 0 { hot.min(GROUP_FUNCTIONS) } else { GROUP_FUNCTIONS };
        let (mut code, mut tables, mut count) = (Vec::new(), Vec::new(), 0);
        group += 1;
        while let Some(one) = rest.get(count).filter(|_| count < most && code.len() < GROUP_BYTES) {
            rows[one.own as usize] = group;
            let start: usize = code.len().next_multiple_of(one.function.alignment as usize);
            code.resize(start, 0);
            code.extend_from_slice(&one.function.bytes);
            ((one.own, one.ty), (start as u32, one.function.bytes.len() as u32)).put(&mut tables);
            one.callees.put(&mut tables);
            let mut own = Vec::new();
            one.function.put_tables(&mut own);
            (own.len() as u32).put(&mut tables);
            tables.extend_from_slice(&own);
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
    /// Where the code runs; none if the system had no room.
    memory: OnceLock<Option<KeptCode>>,
}

type Stubs = HashMap<(StubKind, u32), CompiledFunction>;

/// Where a group is: the first of its pieces, bytes of code, bytes of tables in the pieces behind.
struct Group {
    first: u64,
    code: usize,
    tables: usize,
}

/// What stands in front of a function's tables.
struct Head {
    own: u32,
    ty: u32,
    code: Range<usize>,
    callees: Vec<(u32, u32)>,
    tables: Range<usize>,
}

impl KeptNative {
    pub(super) fn new(content: Arc<Content>) -> Self {
        Self { content, groups: Mutex::default(), stubs: OnceLock::new(), memory: OnceLock::new() }
    }

    /// Puts the code of a function, and of those in its group, into their entry words. Says whether there is some.
    ///
    /// # Errors
    /// If the artifact was changed.
    pub(crate) fn publish(&self, module: &module::Inner, own: u32) -> Result<bool> {
        if is_skipped(module, own) {
            return Ok(false);
        }
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
        let group = self.group(group)?;
        let Some(memory) = self.memory(module) else { return Ok(false) };
        let tables: Arc<[u8]> = self.tables(&group)?.into();
        let heads = take_heads(&tables, group.code)?;
        let made = memory.publish(group.code.next_multiple_of(PIECE), |pages| {
            self.content.read_pieces(group.first, pages)?;
            let kept = |head: &Head| KeptFunction {
                kind: CodeKind::Function(head.own),
                range: head.code.clone(),
                tables: KeptTables::new(tables.clone(), head.tables.clone()),
            };
            Ok::<_, String>(heads.iter().map(kept).collect())
        })?;
        let Some(made) = made else { return Ok(false) };
        let stub = self.stubs(module)?;
        for (Head { own, ty, callees, .. }, code) in heads.into_iter().zip(made) {
            if is_skipped(module, own) {
                continue;
            }
            // What code calls exists before it runs.
            for (callee, ty) in callees {
                module.entry_of_type(callee, ty);
            }
            let entry = module.entry_of_type(own, ty);
            if let Some(stub) = stub(StubKind::SlotsToRegs, ty) {
                entry.publish(code.as_ptr(), stub.as_ptr());
            }
        }
        Ok(true)
    }

    /// Where the module's code runs.
    fn memory(&self, module: &module::Inner) -> Option<&KeptCode> {
        let make = || {
            let code = self.content.header().section(Section::NativeCode);
            // Tables stand there too, so this is more than enough for all groups.
            KeptCode::new(module.token(), (code.end - code.start) as usize).ok()
        };
        self.memory.get_or_init(make).as_ref()
    }

    /// Who gives stubs for types of the module; those for imported functions, which code may call at any time, are there
    /// from then on.
    fn stubs<'a>(
        &'a self,
        module: &'a module::Inner,
    ) -> std::result::Result<impl Fn(StubKind, u32) -> Option<NonNull<()>> + 'a, String> {
        let is_first = self.stubs.get().is_none();
        let stubs = self.stubs.get_or_init(|| {
            let bytes = self.content.section(Section::NativeStubs)?;
            take_stubs(&bytes).ok_or_else(undecoded)
        });
        let stubs = stubs.as_ref().map_err(String::clone)?;
        let stub = move |kind, ty| {
            let kept = || stubs.get(&(kind, ty)).cloned();
            // What fails here fails again where the stub is called for, and is an error there.
            module.engine().stub(kind, module.type_id_of(ty), kept).ok()
        };
        if is_first {
            for ty in imported_types(module.validated()) {
                stub(StubKind::RegsToSlots, ty);
            }
        }
        Ok(stub)
    }

    fn group(&self, group: u32) -> std::result::Result<Group, String> {
        let at = GROUP_ROW * u64::from(group);
        let row = self.content.part(Section::NativeGroups, at..at + GROUP_ROW)?;
        let word = |at: usize| u32::from_le_bytes(row[at..at + 4].try_into().expect("four bytes"));
        let start = u64::from(word(0)) | u64::from(word(4)) << 32;
        let (code, tables) = (word(8) as usize, word(12) as usize);
        let section = self.content.header().section(Section::NativeCode);
        let bytes = (code.next_multiple_of(PIECE) + tables.next_multiple_of(PIECE)) as u64;
        let first = section.start.checked_add(start).filter(|first| first.is_multiple_of(PIECE as u64));
        match first.filter(|first| first.checked_add(bytes).is_some_and(|end| end <= section.end)) {
            Some(first) => Ok(Group { first: first / PIECE as u64, code, tables }),
            None => Err("a part of an artifact lies outside it".to_owned()),
        }
    }

    fn tables(&self, group: &Group) -> std::result::Result<Vec<u8>, String> {
        let mut tables = vec![0; group.tables.next_multiple_of(PIECE)];
        self.content.read_pieces(group.first + group.code.div_ceil(PIECE) as u64, &mut tables)?;
        tables.truncate(group.tables);
        Ok(tables)
    }

    /// The functions of all groups.
    fn all(&self) -> Result<Vec<Compiled>> {
        let rows = self.content.header().section(Section::NativeGroups);
        let mut all = Vec::new();
        for group in 0..((rows.end - rows.start) / GROUP_ROW) as u32 {
            self.compiled(group, &mut all).map_err(changed)?;
        }
        Ok(all)
    }

    fn compiled(&self, group: u32, all: &mut Vec<Compiled>) -> std::result::Result<(), String> {
        let group = self.group(group)?;
        let mut code = vec![0; group.code.next_multiple_of(PIECE)];
        self.content.read_pieces(group.first, &mut code)?;
        let tables = self.tables(&group)?;
        for Head { own, ty, code: range, callees, tables: part } in take_heads(&tables, group.code)? {
            let function = CompiledFunction::take_tables(&mut &tables[part], code[range].into());
            all.push(Compiled { own, ty, function: function.ok_or_else(undecoded)?, callees });
        }
        Ok(())
    }

    /// Bytes of code, and of what is known of it.
    fn bytes(&self) -> u64 {
        let code = self.content.header().section(Section::NativeCode);
        code.end - code.start
    }
}

/// Whether a function is not to be compiled, for a test.
fn is_skipped(module: &module::Inner, own: u32) -> bool {
    own % 2 == 1 && module.engine().config().odd_functions_interpreted
}

fn changed(why: String) -> Error {
    Error::new(ErrorKind::Artifact, why)
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

/// The functions of a group with so much code, which follow one another in it.
fn take_heads(tables: &[u8], code_len: usize) -> std::result::Result<Vec<Head>, String> {
    let (mut heads, mut rest, mut next) = (Vec::new(), tables, 0);
    while !rest.is_empty() {
        let head = take_head(&mut rest, tables.len()).ok_or_else(undecoded)?;
        if head.code.start < next || head.code.end > code_len {
            return Err(undecoded());
        }
        next = head.code.end;
        heads.push(head);
    }
    Ok(heads)
}

/// A head and the tables behind it, from the rest of so many bytes.
fn take_head(rest: &mut &[u8], all: usize) -> Option<Head> {
    let ((own, ty), (start, len)) = Coded::take(rest)?;
    let (start, len): (u32, u32) = (start, len);
    let callees = Coded::take(rest)?;
    let tables_len = u32::take(rest)? as usize;
    let begin = all - rest.len();
    *rest = rest.get(tables_len..)?;
    let code = start as usize..(start as usize).checked_add(len as usize).filter(|_| len > 0)?;
    Some(Head { own, ty, code, callees, tables: begin..begin + tables_len })
}
