//! `Instance`: a module with its imports, linked.
//!
//! The steps are those of the specification (core 2.0, section 4.5.4): check imports, make memories,
//! tables, globals and segments, link, then run active segments and the start function. An instance
//! that fails once it is linked stays in its store, because tables it was given may
//! already name its functions; nobody else can reach it.
//!
//! # Safety
//! Trusts: the caller's store is live, on this thread, and not borrowed. Gives: an instance is linked, every part of its
//! block set, before any service or guest code sees it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aura_host_abi::trap::Status;
use aura_host_abi::vm::VmCtx;
use aura_host_abi::{MemoryType, TableType};
use aura_validator::module::{ConstExpr, ConstOp, DataSegment, ElementItems, ExternType, SegmentMode};

use crate::call::invoke;
use crate::constant::evaluate;
use crate::error::{Error, Result};
use crate::externs::{Extern, Func, Global, Memory, Table};
use crate::host::{HostFunc, HostRecord};
use crate::module::Module;
use crate::shared::SharedMemory;
use crate::store::{AsContext, AsContextMut, StoreData, StoreId};
use crate::typed::{TypedFunc, WasmParams, WasmResults};
use crate::types::TypeRegistry;
use crate::vm::instance::InstanceData;
use crate::vm::memory::{self, MemoryError};
use crate::{grant, services};

/// Bytes of data from which on its pages are asked for at once.
const POPULATE_FROM: usize = 64 << 10;

/// How far apart segments are whose pages are asked for together.
const NEIGHBOUR: u64 = 4096;

/// A linked instance of a module. A handle: the instance lives in its store.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    pub(crate) store: StoreId,
    pub(crate) index: u32,
}

/// What an import is resolved to.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    Extern(Extern),
    /// A host function that is given a record of its own for the instance.
    Host(Arc<HostFunc>),
}

impl Instance {
    /// Instantiates a module with exactly these imports, in the order of [`Module::imports`].
    ///
    /// # Errors
    /// If number or types of the imports are not the module's, limits are passed, or a segment or the start function traps.
    pub fn new(mut store: impl AsContextMut, module: &Module, imports: &[Extern]) -> Result<Self> {
        let data = std::ptr::from_mut(&mut store.as_context_mut().0.data);
        let resolved = imports.iter().cloned().map(Resolved::Extern).collect();
        // SAFETY: the store is borrowed by this call and used through `data` alone.
        unsafe { instantiate(data, module, resolved) }
    }

    fn data<'a>(&self, store: &'a StoreData) -> &'a InstanceData {
        store.check(self.store, "the instance").expect("Instance");
        &store.instances[self.index as usize]
    }

    /// The module.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    #[must_use]
    pub fn module(&self, store: impl AsContext) -> Module {
        self.data(&store.as_context().0.data).module.clone()
    }

    /// An export by name.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    #[must_use]
    pub fn get_export(&self, store: impl AsContext, name: &str) -> Option<Extern> {
        self.data(&store.as_context().0.data).export(self.store, name)
    }

    /// All exports, in the module's order.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    #[must_use]
    pub fn exports(&self, store: impl AsContext) -> Vec<(String, Extern)> {
        let context = store.as_context();
        let data = self.data(&context.0.data);
        let exports = data.module.validated().exports();
        exports.iter().map(|e| (e.name.clone(), data.handle(self.store, e.index))).collect()
    }

    /// The exported function of this name.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    #[must_use]
    pub fn get_func(&self, store: impl AsContext, name: &str) -> Option<Func> {
        self.get_export(store, name)?.into_func()
    }

    /// The exported memory of this name.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    #[must_use]
    pub fn get_memory(&self, store: impl AsContext, name: &str) -> Option<Memory> {
        self.get_export(store, name)?.into_memory()
    }

    /// The exported shared memory of this name.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    #[must_use]
    pub fn get_shared_memory(&self, store: impl AsContext, name: &str) -> Option<SharedMemory> {
        self.get_export(store, name)?.into_shared_memory()
    }

    /// The exported table of this name.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    #[must_use]
    pub fn get_table(&self, store: impl AsContext, name: &str) -> Option<Table> {
        self.get_export(store, name)?.into_table()
    }

    /// The exported global of this name.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    #[must_use]
    pub fn get_global(&self, store: impl AsContext, name: &str) -> Option<Global> {
        self.get_export(store, name)?.into_global()
    }

    /// The exported function of this name, its type checked once.
    ///
    /// # Errors
    /// If there is no such function or its type is another.
    ///
    /// # Panics
    /// If the instance belongs to another store.
    pub fn get_typed_func<P: WasmParams, R: WasmResults>(
        &self,
        store: impl AsContext,
        name: &str,
    ) -> Result<TypedFunc<P, R>> {
        let func = self.get_func(&store, name);
        func.ok_or_else(|| Error::usage(format!("the instance exports no function `{name}`")))?.typed(store)
    }
}

/// Instantiates a module.
///
/// # Safety
/// `store` is live, runs on this thread, and nothing of it is borrowed.
pub(crate) unsafe fn instantiate(store: *mut StoreData, module: &Module, imports: Vec<Resolved>) -> Result<Instance> {
    // SAFETY: said by the caller.
    let handle = unsafe { link(store, module, imports, Beginning::Segments) }?;
    if let Some(start) = module.validated().start() {
        // SAFETY: said by the caller.
        unsafe { run_start(store, handle.index as usize, start) }?;
    }
    Ok(handle)
}

/// What an instance has before its start function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// Its active segments, which are dropped.
    Segments,
    /// All segments as they are: whoever links it gives it another state.
    Bare,
}

/// Links an instance of a module, and runs nothing of it.
///
/// # Safety
/// As [`instantiate`].
pub(crate) unsafe fn link(
    store: *mut StoreData,
    module: &Module,
    imports: Vec<Resolved>,
    beginning: Beginning,
) -> Result<Instance> {
    // SAFETY: nothing of the store is borrowed, by the contract of this function.
    let data = unsafe { &mut *store };
    if !data.engine.same(module.engine()) {
        return Err(Error::usage("the module was made for another engine than the store"));
    }
    if data.instances.len() >= data.limits.instances {
        let limit = data.limits.instances;
        return Err(Error::resource(format!("the store has {limit} instances; raise StoreLimits::instances")));
    }
    if !data.allow_instance() {
        return Err(Error::resource("the store's limiter or tenant has no room for another instance"));
    }
    check_imports(data, module, &imports)?;
    know_data(module, beginning)?;
    if module.meets_objects() {
        data.heap.reserve();
    }
    let index = u32::try_from(data.instances.len()).expect("limits keep instances below 2^32");
    let mut instance = InstanceData::new(module, data.vm());
    let vmctx = instance.vmctx();
    link_imports(data, &mut instance, imports);
    make_own(data, &mut instance, module)?;
    data.instances.push(instance);
    let handle = Instance { store: data.id, index };
    grant::map_in_standing(data, index as usize);
    let checked_first = data.engine.config().segments_checked_first;
    // SAFETY: nothing of the store is borrowed past this point; the instance is linked.
    unsafe { init_globals(module, vmctx) }?;
    // SAFETY: as above.
    unsafe { evaluate_elements(module, vmctx) }?;
    if beginning == Beginning::Bare {
        return Ok(handle);
    }
    if checked_first {
        // SAFETY: as above.
        unsafe { check_segments(module, vmctx) }?;
    }
    // SAFETY: as above.
    unsafe { run_segments(store, module, vmctx) }?;
    Ok(handle)
}

/// Sees to it that the data is there that the instance begins with, or may copy later.
fn know_data(module: &Module, beginning: Beginning) -> Result<()> {
    let wanted = |data: &DataSegment| beginning == Beginning::Segments || matches!(data.mode, SegmentMode::Passive);
    Ok(module.validated().know_data(wanted)?)
}

fn check_imports(store: &StoreData, module: &Module, imports: &[Resolved]) -> Result<()> {
    let wanted = module.validated().imports();
    if wanted.len() != imports.len() {
        let (given, wanted) = (imports.len(), wanted.len());
        return Err(Error::link(format!("{given} imports given, the module has {wanted}")));
    }
    let types = store.engine.types();
    let (mut funcs, mut tags) = (0.., 0..);
    for (wanted, given) in module.imports().zip(imports) {
        let (given, type_id) = match given {
            Resolved::Extern(given) => {
                let ty = given.ty_in(store)?;
                (ty, given.type_id())
            }
            Resolved::Host(func) => (ExternType::Func(func.ty.clone()), Some(types.intern(&func.ty)?)),
        };
        let matches = match (type_id, wanted.ty()) {
            (Some(type_id), ExternType::Func(_)) if matches!(given, ExternType::Func(_)) => {
                let func = funcs.next().expect("limits keep imports below 2^32");
                types.is_subtype(type_id, module.type_id(module.validated().func_type_index(func)))
            }
            (Some(type_id), ExternType::Tag(_)) if matches!(given, ExternType::Tag(_)) => {
                let tag: usize = tags.next().expect("limits keep imports below 2^32");
                type_id == module.type_id(module.validated().tags()[tag])
            }
            (_, wanted) => import_matches(types, &given, wanted),
        };
        if !matches {
            return Err(Error::link(format!(
                "incompatible import type for `{}.{}`: the module wants {}, it was given {}",
                wanted.module(),
                wanted.name(),
                describe(wanted.ty()),
                describe(&given)
            )));
        }
    }
    Ok(())
}

/// Whether something of type `given` that is not a function may stand for an import (specification 3.0, section 3.3.8).
fn import_matches(types: &TypeRegistry, given: &ExternType, wanted: &ExternType) -> bool {
    use aura_host_abi::Limits64;
    let fits = |given: Limits64, wanted: Limits64| {
        given.min >= wanted.min && wanted.max.is_none_or(|max| given.max.is_some_and(|given| given <= max))
    };
    match (given, wanted) {
        (ExternType::Global(a), ExternType::Global(b)) if a.mutable || b.mutable => a == b,
        (ExternType::Global(a), ExternType::Global(b)) => types.matches(a.content, b.content),
        (ExternType::Table(a), ExternType::Table(b)) => {
            a.element == b.element && a.table64 == b.table64 && fits(a.limits, b.limits)
        }
        (ExternType::Memory(a), ExternType::Memory(b)) => {
            (a.memory64, a.shared, a.page_size_log2) == (b.memory64, b.shared, b.page_size_log2)
                && fits(a.limits, b.limits)
        }
        _ => false,
    }
}

/// A type in words, for messages.
pub(crate) fn describe(ty: &ExternType) -> String {
    let limits = |l: &aura_host_abi::Limits64| match l.max {
        Some(max) => format!("{}..={max}", l.min),
        None => format!("{}..", l.min),
    };
    match ty {
        ExternType::Func(ty) => format!("func {ty}"),
        ExternType::Tag(ty) => format!("tag {ty}"),
        ExternType::Global(ty) if ty.mutable => format!("global (mut {})", ty.content),
        ExternType::Global(ty) => format!("global {}", ty.content),
        ExternType::Table(ty) => format!("table {}{} of {}", index_type(ty.table64), limits(&ty.limits), ty.element),
        ExternType::Memory(ty) => {
            let shared = if ty.shared { "shared " } else { "" };
            let pages = if ty.page_size_log2 == 0 { "pages of 1 byte" } else { "pages" };
            format!("memory {shared}{}{} {pages}", index_type(ty.memory64), limits(&ty.limits))
        }
    }
}

/// The type of indices in words: the usual one is not named.
fn index_type(is_64: bool) -> &'static str {
    if is_64 { "i64 " } else { "" }
}

fn link_imports(store: &mut StoreData, instance: &mut InstanceData, imports: Vec<Resolved>) {
    let (mut funcs, mut tables, mut memories, mut globals, mut tags) = (0.., 0.., 0.., 0.., 0..);
    let next = |counter: &mut std::ops::RangeFrom<u32>| counter.next().expect("limits keep imports below 2^32");
    for import in imports {
        match import {
            Resolved::Host(func) => {
                let func = HostRecord::add(store, func, instance.vmctx(), Vec::new());
                instance.patch_import(next(&mut funcs), func);
            }
            Resolved::Extern(Extern::Func(func)) => instance.patch_import(next(&mut funcs), func.raw()),
            Resolved::Extern(Extern::Table(table)) => instance.set_table(next(&mut tables), table.raw()),
            Resolved::Extern(Extern::Memory(memory)) => instance.set_memory(next(&mut memories), memory.raw()),
            Resolved::Extern(Extern::SharedMemory(memory)) => {
                store.keep_shared(&memory);
                instance.set_shared_memory(next(&mut memories), memory);
            }
            Resolved::Extern(Extern::Global(global)) => {
                instance.set_imported_global(next(&mut globals), global.raw());
            }
            Resolved::Extern(Extern::Tag(tag)) => instance.set_tag(next(&mut tags), tag.raw()),
        }
    }
}

/// Makes the memories, tables and tags that the module defines itself.
fn make_own(store: &mut StoreData, instance: &mut InstanceData, module: &Module) -> Result<()> {
    let counts = *instance.layout.counts();
    let validated = module.validated();
    let (first_memory, first_table) = (store.memories.len(), store.tables.len());
    let own_memories = (counts.imported_memories..).zip(&validated.memories()[counts.imported_memories as usize..]);
    for (index, ty) in own_memories.clone() {
        match ty.shared {
            false => drop(Memory::make(store, *ty)?),
            true => instance.set_shared_memory(index, make_shared(store, *ty)?),
        }
    }
    for table in &validated.tables()[counts.imported_tables as usize..] {
        let element = table.ty.element.map_index(|index| module.engine_index(index));
        let init = match &table.init {
            None => 0,
            // SAFETY: imports are linked, and such an expression names nothing else; nothing of the store is used meanwhile.
            Some(init) => unsafe { evaluate(instance.vmctx(), init) }?[0],
        };
        Table::make(store, TableType { element, ..table.ty }, init)?;
    }
    for (own, ty) in (0..).zip(&validated.tags()[counts.imported_tags as usize..]) {
        instance.make_tag(own, module.type_id(*ty));
    }
    // From here on nothing fails: the block of a linked instance lives as long as its store.
    let unshared = own_memories.filter(|(_, ty)| !ty.shared);
    for ((index, _), memory) in unshared.zip(&mut store.memories[first_memory..]) {
        // SAFETY: the place is this memory's in the block; nobody has its address yet.
        unsafe { memory.place_at(instance.own_memory(index - counts.imported_memories)) };
        instance.set_memory(index, memory.vm());
    }
    for (own, table) in (0..).zip(&mut store.tables[first_table..]) {
        // SAFETY: the place is this table's in the block; nobody has its address yet.
        unsafe { table.place_at(instance.own_table(own)) };
        instance.set_table(counts.imported_tables + own, table.vm());
    }
    Ok(())
}

/// Makes a shared memory that the module defines itself, within the store's limits.
fn make_shared(store: &mut StoreData, ty: MemoryType) -> Result<SharedMemory> {
    let limit = store.memory_bytes_left();
    let memory = SharedMemory::make(&store.engine, ty, limit)?;
    let bytes = memory.record().byte_len();
    if !store.allow_memory_growth(0, bytes) {
        return Err(Error::resource(MemoryError::Limit { bytes, limit }.to_string()));
    }
    store.keep_shared(&memory);
    Ok(memory)
}

/// Sets the instance's own globals, each in its place before the next one is evaluated.
///
/// # Safety
/// As [`instantiate`]; `vmctx` is the linked instance, which is in its store.
unsafe fn init_globals(module: &Module, vmctx: *mut VmCtx) -> Result<()> {
    let imported = module.validated().counts().imported_globals;
    for (own, init) in (0..).zip(module.validated().global_inits()) {
        // SAFETY: said by the caller.
        let bits = unsafe { evaluate(vmctx, init) }?;
        // SAFETY: the instance is live; the borrow ends with this line.
        let global = unsafe { &*InstanceData::from_vmctx(vmctx) }.global(imported + own);
        // SAFETY: the instance is linked, and nothing of it runs yet.
        let cell = unsafe { &(*global).bits };
        // SAFETY: as above.
        unsafe { *cell.get() = bits };
    }
    Ok(())
}

/// Evaluates the element segments, each element in its place before the next one is evaluated.
///
/// # Safety
/// As [`init_globals`].
unsafe fn evaluate_elements(module: &Module, vmctx: *mut VmCtx) -> Result<()> {
    // SAFETY: the instance is live; each borrow ends within its statement.
    let instance = || unsafe { &mut *InstanceData::from_vmctx(vmctx) };
    for segment in module.validated().elements() {
        match &segment.items {
            ElementItems::Funcs(funcs) => {
                let reference = |func: &u32| instance().func_ref(*func).expose_provenance() as u64;
                let values = funcs.iter().map(reference).collect();
                instance().elements.push(Some(values));
            }
            ElementItems::Exprs(exprs) => {
                instance().elements.push(Some(vec![0; exprs.len()].into()));
                for (index, expr) in exprs.iter().enumerate() {
                    // SAFETY: said by the caller.
                    let bits = unsafe { evaluate(vmctx, expr) }?;
                    let values = instance().elements.last_mut().and_then(Option::as_mut).expect("just pushed");
                    values[index] = bits[0];
                }
            }
        }
    }
    Ok(())
}

/// Where a segment goes: mostly a number, which takes no evaluation.
///
/// # Safety
/// As [`evaluate`].
unsafe fn place(vmctx: *mut VmCtx, offset: &ConstExpr) -> Result<u64> {
    match *offset.ops() {
        [ConstOp::I32(at)] => Ok(u64::from(at as u32)),
        [ConstOp::I64(at)] => Ok(at as u64),
        // SAFETY: said by the caller.
        _ => unsafe { evaluate(vmctx, offset) }.map(|bits| bits[0]),
    }
}

/// Checks that every active segment fits, for [`crate::Config::segments_checked_first`].
///
/// # Safety
/// As [`init_globals`].
unsafe fn check_segments(module: &Module, vmctx: *mut VmCtx) -> Result<()> {
    let validated = module.validated();
    let fits = |mode: &SegmentMode, len: u64, room: &dyn Fn(u32) -> u64| match mode {
        SegmentMode::Active { target, offset } => {
            // SAFETY: said by the caller.
            let offset = unsafe { place(vmctx, offset) }?;
            Ok::<_, Error>(offset.checked_add(len).is_some_and(|end| end <= room(*target)))
        }
        SegmentMode::Passive | SegmentMode::Declared => Ok(true),
    };
    // SAFETY: the instance is live, and an offset makes no object: nothing changes its data meanwhile.
    let instance = unsafe { &*InstanceData::from_vmctx(vmctx) };
    let table_len = |table| {
        // SAFETY: a linked instance's tables are live.
        let table = unsafe { &*instance.table(table) };
        // SAFETY: no guest of the store runs that could write the length.
        unsafe { *table.length.get() }
    };
    let memory_len = |memory| {
        // SAFETY: a linked instance's memories are live.
        let memory = unsafe { &*instance.memory(memory) };
        memory.length.load(Ordering::Relaxed)
    };
    for segment in validated.elements() {
        let len = match &segment.items {
            ElementItems::Funcs(funcs) => funcs.len(),
            ElementItems::Exprs(exprs) => exprs.len(),
        };
        if !fits(&segment.mode, len as u64, &table_len)? {
            return Err(Error::link("elements segment does not fit"));
        }
    }
    for segment in validated.data() {
        if !fits(&segment.mode, segment.bytes.len() as u64, &memory_len)? {
            return Err(Error::link("data segment does not fit"));
        }
    }
    Ok(())
}

/// Copies active segments in, elements first, and drops them.
///
/// # Safety
/// As [`instantiate`]; `vmctx` is the linked instance.
unsafe fn run_segments(store: *mut StoreData, module: &Module, vmctx: *mut VmCtx) -> Result<()> {
    let offset = |expr: &ConstExpr| {
        // SAFETY: the instance is live and linked; nothing of its store is borrowed.
        unsafe { place(vmctx, expr) }
    };
    let validated = module.validated();
    for (index, segment) in validated.elements().iter().enumerate() {
        let len = match &segment.items {
            ElementItems::Funcs(funcs) => funcs.len(),
            ElementItems::Exprs(exprs) => exprs.len(),
        };
        if let SegmentMode::Active { target, offset: at } = &segment.mode {
            let (target, at, len) = ((*target).into(), offset(at)?, len as u64);
            // SAFETY: the instance is live and linked, and its store runs on this thread.
            let status = unsafe { services::table_init(vmctx, target, index as u64, at, 0, len) };
            // SAFETY: as for this function.
            unsafe { succeed(store, status) }?;
        }
        if !matches!(segment.mode, SegmentMode::Passive) {
            // SAFETY: the instance is live and linked.
            unsafe { services::elem_drop(vmctx, index as u64) };
        }
    }
    // SAFETY: as for this function.
    unsafe { populate(module, vmctx) }?;
    for (index, segment) in validated.data().iter().enumerate() {
        if let SegmentMode::Active { target, offset: at } = &segment.mode {
            let (target, at, len) = ((*target).into(), offset(at)?, segment.bytes.len() as u64);
            // SAFETY: as for tables.
            let status = unsafe { services::memory_init(vmctx, target, index as u64, at, 0, len) };
            // SAFETY: as for this function.
            unsafe { succeed(store, status) }?;
            // SAFETY: the instance is live and linked.
            unsafe { services::data_drop(vmctx, index as u64) };
        }
    }
    Ok(())
}

/// Has the system give the pages that active segments are about to be copied to at once, instead of a fault for each: neighbours
/// together, if they are many.
///
/// # Safety
/// As [`run_segments`].
unsafe fn populate(module: &Module, vmctx: *mut VmCtx) -> Result<()> {
    let data = module.validated().data();
    if data.iter().map(|segment| segment.bytes.len()).sum::<usize>() < POPULATE_FROM {
        return Ok(());
    }
    let mut next: Option<(u32, Range<u64>)> = None;
    // SAFETY: the instance is live and linked.
    let instance = unsafe { &*InstanceData::from_vmctx(vmctx) };
    // SAFETY: a linked instance's memories are live.
    let give = |(memory, range)| memory::populate(unsafe { &*instance.memory(memory) }, range);
    for segment in data {
        let SegmentMode::Active { target, offset } = &segment.mode else { continue };
        // SAFETY: said by the caller.
        let start = unsafe { place(vmctx, offset) }?;
        let end = start.saturating_add(segment.bytes.len() as u64);
        match &mut next {
            Some((memory, range)) if memory == target && (range.start..range.end + NEIGHBOUR).contains(&start) => {
                range.end = range.end.max(end);
            }
            _ => {
                next.replace((*target, start..end)).map(give);
            }
        }
    }
    next.map(give);
    Ok(())
}

/// Turns a service's status into a result.
///
/// # Safety
/// As [`instantiate`].
unsafe fn succeed(store: *mut StoreData, status: Status) -> Result<()> {
    match status {
        Status::Ok => Ok(()),
        // SAFETY: as for this function.
        Status::Trap => Err(crate::trap::take(unsafe { &mut *store })),
        Status::TailCall | Status::Exception => unreachable!("services call nothing"),
    }
}

/// Runs the start function.
///
/// # Safety
/// As [`instantiate`].
pub(crate) unsafe fn run_start(store: *mut StoreData, instance: usize, start: u32) -> Result<()> {
    // SAFETY: nothing of the store is borrowed exclusively.
    let data = unsafe { &*store };
    let instance = &data.instances[instance];
    let imported = instance.layout.counts().imported_funcs;
    if start < imported {
        // SAFETY: a start function has neither arguments nor results.
        return unsafe { invoke(store, instance.func_ref(start), std::ptr::null_mut()) };
    }
    let entry = instance.module.inner().entry(start - imported)?;
    let vmctx = instance.vmctx();
    let func = aura_host_abi::vm::VmFuncRef { entry, vmctx, type_id: entry.type_id(), padding: 0 };
    // SAFETY: as above; the reference lives during the call, and nobody else learns of it.
    unsafe { invoke(store, &raw const func, std::ptr::null_mut()) }
}
