//! `Module`: a validated module in an engine, with the state of its functions in both tiers.
//!
//! # Safety
//! Entries point to their module by `owner`; a module is kept alive by every store that has an
//! instance of it, and entries are reached through instances only.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use aura_host_abi::vm::VmFuncEntry;
use aura_host_abi::{SlotType, StructType, SubType, TypeIndex, ValType};
use aura_validator::code::Inst;
use aura_validator::module::{ExternIndex, ExternType};
use aura_validator::{Bytes, Code};

use crate::artifact::{KeptCode, KeptNative};
use crate::compile::ModuleTiers;
use crate::engine::{Config, Engine};
use crate::entries::{Entries, Kept};
use crate::error::{Error, ErrorKind, Result};
use crate::interp::{self, Form, FormBox, FormOptions, baseline};
use crate::{Bounds, arch, tier};

/// A validated module, ready to be instantiated. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    engine: Engine,
    validated: aura_validator::Module,
    /// The engine's number of each of the module's types.
    type_ids: Box<[u32]>,
    /// Entry words of own functions, made at first need; the addresses are what instances list.
    entries: Entries,
    /// How exceptions of each of the module's tags lie in the heap.
    exceptions: Box<[StructType]>,
    codes: Kept<Code>,
    /// Lowered bodies that an artifact has.
    kept: Option<KeptCode>,
    /// Machine code that an artifact has.
    native: Option<KeptNative>,
    /// What the interpreter made of them; their addresses are in the entries.
    forms: Kept<FormBox>,
    /// Machine code of cells of them, once there is some.
    baseline: OnceLock<Option<baseline::Area>>,
    meets_objects: bool,
    pub(crate) tiers: ModuleTiers,
    this: Weak<Inner>,
}

// SAFETY: entries hold atomics, constants, and a pointer to this very value.
unsafe impl Send for Inner {}
// SAFETY: as above; everything else is immutable or behind a lock.
unsafe impl Sync for Inner {}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// One import of a module.
#[derive(Clone, Debug)]
pub struct ImportType<'a> {
    import: &'a aura_validator::module::Import,
    ty: ExternType,
}

impl<'a> ImportType<'a> {
    /// The first of the two names.
    #[must_use]
    pub fn module(&self) -> &'a str {
        &self.import.module
    }

    /// The second of the two names.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.import.name
    }

    /// What is imported. Defined types in it are the engine's.
    #[must_use]
    pub fn ty(&self) -> &ExternType {
        &self.ty
    }
}

/// One export of a module.
#[derive(Clone, Debug)]
pub struct ExportType<'a> {
    name: &'a str,
    ty: ExternType,
}

impl<'a> ExportType<'a> {
    /// The export's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// What is exported. Defined types in it are the engine's.
    #[must_use]
    pub fn ty(&self) -> &ExternType {
        &self.ty
    }
}

impl Module {
    /// Makes a module from its binary or its text form.
    ///
    /// # Errors
    /// If the text does not parse, or the module is malformed, invalid, uses proposals that are off, or passes a limit;
    /// if the engine has no room for its types.
    pub fn new(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Self> {
        let bytes = bytes.as_ref();
        match wat::parse_bytes(bytes) {
            Ok(Cow::Borrowed(binary)) => Self::from_binary(engine, binary),
            Ok(Cow::Owned(binary)) => Self::from_owned(engine, binary),
            // Bytes that are neither: the binary reader explains them better.
            Err(_) if std::str::from_utf8(bytes).is_err() => Self::from_binary(engine, bytes),
            Err(error) => Err(Error::new(ErrorKind::Malformed, error.to_string())),
        }
    }

    /// Makes a module from its binary form.
    ///
    /// # Errors
    /// If it is malformed, invalid, uses proposals that are off, or passes a limit; if the engine has no room for its types.
    pub fn from_binary(engine: &Engine, bytes: &[u8]) -> Result<Self> {
        Self::from_bytes(engine, bytes.into())
    }

    /// Makes a module from its binary form without copying it.
    ///
    /// # Errors
    /// As [`Module::from_binary`].
    pub fn from_owned(engine: &Engine, bytes: Vec<u8>) -> Result<Self> {
        Self::from_bytes(engine, bytes.into())
    }

    fn from_bytes(engine: &Engine, bytes: Bytes) -> Result<Self> {
        let Config { features, limits, validation, .. } = engine.config();
        Self::from_validated(engine, aura_validator::Module::with(bytes, features, limits, *validation)?, None, None)
    }

    /// Reads a module from a `.wasm` or `.wat` file.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`Module::new`].
    pub fn from_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = crate::files::read(path)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {}: {error}", path.display())))?;
        match bytes.starts_with(b"\0asm") {
            true => Self::from_owned(engine, bytes),
            false => Self::new(engine, bytes),
        }
    }

    /// Says whether bytes are a module that the engine accepts, all of it.
    ///
    /// # Errors
    /// As [`Module::from_binary`].
    pub fn validate(engine: &Engine, bytes: &[u8]) -> Result<()> {
        let config = engine.config();
        aura_validator::Module::new(bytes, &config.features, &config.limits)?;
        Ok(())
    }

    /// `kept` are bodies that were lowered before, with this engine's options, `native` is code that was compiled with them.
    pub(crate) fn from_validated(
        engine: &Engine,
        validated: aura_validator::Module,
        kept: Option<KeptCode>,
        native: Option<KeptNative>,
    ) -> Result<Self> {
        let type_ids = engine.types().intern_module(&validated)?;
        let entries = Entries::new(validated.num_own_funcs() as usize)?;
        let exception = |ty: &u32| StructType::of_exception(validated.func_type_at(*ty));
        let exceptions = validated.tags().iter().map(exception).collect();
        let inner = Arc::new_cyclic(|this: &Weak<Inner>| Inner {
            engine: engine.clone(),
            entries,
            codes: Kept::default(),
            kept,
            native,
            forms: Kept::default(),
            baseline: OnceLock::new(),
            tiers: ModuleTiers::default(),
            this: this.clone(),
            exceptions,
            type_ids,
            meets_objects: meets_objects(&validated),
            validated,
        });
        Ok(Self { inner })
    }

    /// Whether a reference to an object or to an exception may come to the module's code.
    pub(crate) fn meets_objects(&self) -> bool {
        self.inner.meets_objects
    }

    /// The engine the module was made for.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// What the validator knows of the module.
    #[must_use]
    pub fn validated(&self) -> &aura_validator::Module {
        &self.inner.validated
    }

    /// Whether the module came from an artifact with machine code that is taken here: its options are the engine's.
    #[must_use]
    pub fn has_native(&self) -> bool {
        self.inner.has_native()
    }

    /// The name in the module's name section.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.inner.validated.name()
    }

    /// The imports, in order.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> {
        let mut funcs = 0..;
        self.inner.validated.imports().iter().map(move |import| {
            let ty = match import.ty {
                ExternType::Func(_) => {
                    let func = funcs.next().expect("limits keep imports below 2^32");
                    ExternType::Func(self.engine_func_type(func))
                }
                ref other => self.engine_type(other),
            };
            ImportType { import, ty }
        })
    }

    /// The exports, in order.
    pub fn exports(&self) -> impl ExactSizeIterator<Item = ExportType<'_>> {
        let module = &self.inner.validated;
        module.exports().iter().map(|e| {
            let ty = match e.index {
                ExternIndex::Func(func) => ExternType::Func(self.engine_func_type(func)),
                other => self.engine_type(&module.extern_type(other)),
            };
            ExportType { name: &e.name, ty }
        })
    }

    /// The type of a function, with the engine's names of defined types: the engine's own copy.
    fn engine_func_type(&self, func: u32) -> aura_host_abi::FuncType {
        self.engine().types().func(self.type_id(self.validated().func_type_index(func))).clone()
    }

    /// A type of the module with the engine's names of defined types.
    fn engine_type(&self, ty: &ExternType) -> ExternType {
        ty.map_index(|index| self.engine_index(index))
    }

    /// The engine's name of a defined type of the module.
    pub(crate) fn engine_index(&self, index: TypeIndex) -> TypeIndex {
        match index {
            TypeIndex::Module(n) => self.engine().types().named(self.type_id(n)),
            other => other,
        }
    }

    /// Whether both are the same module, made once.
    #[inline]
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) fn type_id(&self, type_index: u32) -> u32 {
        self.inner.type_ids[type_index as usize]
    }

    pub(crate) fn type_ids(&self) -> &[u32] {
        &self.inner.type_ids
    }

    /// How exceptions of a tag lie in the heap.
    pub(crate) fn exception_type(&self, tag: u32) -> &StructType {
        &self.inner.exceptions[tag as usize]
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// What stands for the module where machine code is registered.
    pub(crate) fn token(&self) -> u64 {
        self.inner.token()
    }
}

/// Whether a module's code may have a reference to something in the heap: it makes such things itself, or is handed them
/// by a function, a table or a global.
fn meets_objects(module: &aura_validator::Module) -> bool {
    let is_ref = |ty: &ValType| ty.slot_type() == SlotType::Ref;
    let meets = |ty: &SubType| match ty.composite.as_func() {
        Some(func) => func.params().iter().chain(func.results()).any(is_ref),
        None => true,
    };
    module.types().iter().any(meets)
        || !module.tags().is_empty()
        || module.tables().iter().any(|table| table.ty.element.slot_type() == SlotType::Ref)
        || module.globals().iter().any(|global| is_ref(&global.content))
}

impl Inner {
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn validated(&self) -> &aura_validator::Module {
        &self.validated
    }

    /// What stands for the module where machine code is registered.
    pub(crate) fn token(&self) -> u64 {
        std::ptr::from_ref(self).addr() as u64
    }

    /// The engine's number of a type of the module.
    pub(crate) fn type_id_of(&self, type_index: u32) -> u32 {
        self.type_ids[type_index as usize]
    }

    /// Entry words of own functions, made or not.
    pub(crate) fn entries(&self) -> &[VmFuncEntry] {
        &self.entries
    }

    /// The entry of an own function of a type of the module, made now if it is not yet.
    pub(crate) fn entry_of_type(&self, own_func: u32, type_index: u32) -> &VmFuncEntry {
        let entry = &self.entries[own_func as usize];
        if !entry.is_made() {
            let regs = arch::lazy_regs(self.validated.func_type_at(type_index));
            let first = [regs, tier::interp_entry as *mut ()];
            self.entries.make(own_func, first, self.this.as_ptr().cast(), self.type_ids[type_index as usize]);
        }
        entry
    }

    /// The entry of an own function that a reference may be made to, made now if it is not yet.
    pub(crate) fn escaping_entry(&self, own_func: u32) -> &VmFuncEntry {
        let func = self.validated.num_imported_funcs() + own_func;
        self.entry_of_type(own_func, self.validated.func_type_index(func))
    }

    /// The entry of an own function, made now if it is not yet.
    ///
    /// # Errors
    /// If the module is from an artifact, which was changed.
    pub(crate) fn entry(&self, own_func: u32) -> Result<&VmFuncEntry> {
        let entry = &self.entries[own_func as usize];
        match entry.is_made() {
            true => Ok(entry),
            false => Ok(self.entry_of_type(own_func, self.validated.row(own_func)?.ty)),
        }
    }

    /// Makes the entries of the functions that code calls directly, before it is compiled.
    ///
    /// # Errors
    /// As [`Inner::entry`].
    pub(crate) fn make_callees(&self, code: &Code) -> Result<()> {
        let imported = self.validated.num_imported_funcs();
        for inst in &code.insts {
            if let Inst::Call { func, .. } | Inst::ReturnCall { func, .. } = *inst
                && let Some(own) = func.checked_sub(imported)
            {
                self.entry(own)?;
            }
        }
        Ok(())
    }

    /// Itself, without keeping it alive.
    pub(crate) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// The lowered body of an own function, made at first need.
    ///
    /// # Errors
    /// If its validation was left for later, and it is not valid.
    pub(crate) fn code(&self, own_func: u32) -> Result<&Code> {
        match self.codes.get(own_func) {
            Some(code) => Ok(code),
            None => Ok(self.codes.keep(own_func, self.make_code(own_func)?)),
        }
    }

    /// The lowered body of an own function, if it was needed before.
    pub(crate) fn known_code(&self, own_func: u32) -> Option<&Code> {
        self.codes.get(own_func)
    }

    /// Takes the lowered body of an own function from the artifact, or lowers it.
    ///
    /// # Errors
    /// As [`Inner::code`]; if the artifact was changed.
    pub(crate) fn make_code(&self, own_func: u32) -> Result<Code> {
        if let Some(kept) = &self.kept
            && let Some(code) = kept.code(&self.validated.row(own_func)?)?
        {
            return Ok(code);
        }
        self.validated.validate_body(own_func)?;
        Ok(self.validated.lower(own_func, &self.engine.lowering()))
    }

    /// Machine code that an artifact has of the module.
    pub(crate) fn native(&self) -> Option<&KeptNative> {
        self.native.as_ref()
    }

    /// Whether an artifact has machine code of the module.
    pub(crate) fn has_native(&self) -> bool {
        self.native.is_some()
    }

    /// Puts the machine code that an artifact has of an own function into its entry words. Says whether there is some.
    ///
    /// # Errors
    /// If the artifact was changed.
    #[cold]
    pub(crate) fn take_native(&self, own_func: u32) -> Result<bool> {
        self.native.as_ref().map_or(Ok(false), |native| native.publish(self, own_func))
    }

    /// The form of an own function that the interpreter runs, made at first need.
    ///
    /// # Errors
    /// As [`Inner::code`].
    #[cold]
    pub(crate) fn form(&self, own_func: u32) -> Result<*const Form> {
        if let Some(form) = self.forms.get(own_func) {
            return Ok(form.form());
        }
        // What is refused is not interpreted either.
        self.take_native(own_func)?;
        let code = self.code(own_func)?;
        let made = self.source(own_func, code).form();
        let form = self.forms.keep(own_func, made).form();
        self.entry(own_func)?.form.store(form.cast_mut().cast(), Ordering::Release);
        Ok(form)
    }

    /// What the form of an own function is made from.
    fn source<'a>(&'a self, own_func: u32, code: &'a Code) -> interp::Source<'a> {
        let config = self.engine.config();
        let options = FormOptions { canonical_nans: config.canonical_nans(), counted: config.counts() };
        let Self { validated, type_ids, entries, .. } = self;
        interp::Source { module: validated, type_ids, entries, own_func, code, options }
    }

    /// Writes machine code for the cells of an own function, and publishes it, `at_once` or with that of others; where there is no room
    /// for code, nothing. Says whether it waits: for others, or for a second call of this.
    #[cold]
    pub(crate) fn make_baseline(&self, own_func: u32, at_once: bool) -> bool {
        let Ok(code) = self.code(own_func) else { return false };
        if code.insts.len() + code.targets.len() > BASELINE_INSTS_MAX || self.form(own_func).is_err() {
            return false;
        }
        let (Some(area), Some(form)) = (self.baseline(), self.forms.get(own_func)) else { return false };
        area.add(own_func, at_once, |emitter| self.source(own_func, code).emit(form, emitter))
    }

    /// How many cells of an own function have machine code; nothing if it has none.
    pub(crate) fn cells_with_code(&self, own_func: u32) -> Option<usize> {
        self.baseline.get()?.as_ref()?.cells_with_code(own_func)
    }

    fn baseline(&self) -> Option<&baseline::Area> {
        let area = self.baseline.get_or_init(|| {
            let bytes = usize::try_from(self.validated.code_size()).unwrap_or(usize::MAX);
            let room = bytes.saturating_mul(BASELINE_PER_BYTE).clamp(BASELINE_BYTES_MIN, BASELINE_BYTES_MAX);
            let config = self.engine.config();
            let masked = config.bounds == Bounds::Explicit;
            let options = baseline::EmitOptions { canonical_nans: config.canonical_nans(), masked };
            baseline::Area::new(self.token(), room, options)
        });
        area.as_ref()
    }
}

/// Functions of more instructions and entries of branch tables get no machine code for their cells: it would hold their caller up.
const BASELINE_INSTS_MAX: usize = 64 << 10;

/// Address space for machine code of cells: so many bytes for each byte of function bodies, from a minimum up to a maximum.
const BASELINE_PER_BYTE: usize = 64;
const BASELINE_BYTES_MIN: usize = 1 << 20;
const BASELINE_BYTES_MAX: usize = 64 << 20;
