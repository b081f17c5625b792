//! Making machine code for artifacts: every function of a module, or those that a run compiled, laid out in groups.

use std::sync::atomic::{AtomicU32, Ordering};

use aura_jit::{CompiledFunction, Compiler};
use aura_validator::Code;
use aura_validator::code::Inst;
use aura_validator::codec::Coded;

use super::{KeptNative, Target, imported_types, is_skipped};
use crate::artifact;
use crate::artifact::format::{Contents, Native as Sections, PIECE, digest};
use crate::artifact::key::ArtifactKey;
use crate::engine::StubKind;
use crate::error::{Error, Result};
use crate::module::Module;

/// Bytes of code after which a group is full. Less costs calls of the system, more reads what is not called.
const GROUP_BYTES: usize = 16 << 10;
/// Functions after which a group is full.
const GROUP_FUNCTIONS: usize = 64;

/// The machine code of a module, for [`Module::to_native_artifact`].
pub struct Native {
    pub(in crate::artifact) sections: Sections,
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
pub(super) struct Compiled {
    pub(super) own: u32,
    pub(super) ty: u32,
    pub(super) function: CompiledFunction,
    pub(super) callees: Vec<(u32, u32)>,
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

    /// An artifact of the code alone, for [`Artifact::load_with_code`](crate::Artifact::load_with_code): `label` is that of the
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

fn put_function(out: &mut Vec<u8>, function: &CompiledFunction) {
    (function.bytes.len() as u64).put(out);
    out.extend_from_slice(&function.bytes);
    function.put_tables(out);
}

/// Functions that are called before others, and those that they call directly; `done` is sorted by function.
fn called_first(module: &aura_validator::Module, done: &[Compiled]) -> Vec<u32> {
    let mut first = artifact::called_first(module);
    let mut next = 0;
    while let Some(&own) = first.get(next) {
        if let Ok(at) = done.binary_search_by_key(&own, |one| one.own) {
            done[at].callees.iter().for_each(|&(callee, _)| artifact::add(&mut first, Some(callee)));
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
            let start = one.function.start_behind(code.len());
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
