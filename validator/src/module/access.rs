//! What can be asked of a [`Module`].

use std::ops::Range;
use std::sync::OnceLock;

use aura_host_abi::vm::{VmCounts, VmCtxLayout};
use aura_host_abi::{FuncType, GlobalType, MemoryType, SubType};

use super::known::Known;
use super::{
    ConstExpr, CustomSection, DataSegment, ElementSegment, Export, ExternIndex, ExternType, Import, Module,
    ModuleInner, Table,
};
use crate::parse::Error;
use crate::parse::convert::Kinds;
use crate::{Bytes, Features};

/// Bytes of what stands in front of a data segment's bytes, about: index, offset, length.
const SEGMENT_HEAD_MAX: u32 = 32;

/// Ascending ranges, those together that are at most so far apart.
fn merged(mut ranges: impl Iterator<Item = Range<u32>>, apart: u32) -> impl Iterator<Item = Range<u32>> {
    let mut next = ranges.next();
    std::iter::from_fn(move || {
        let mut range = next.take()?;
        for other in ranges.by_ref() {
            if other.start < range.start || other.start.saturating_sub(range.end) > apart {
                next = Some(other);
                break;
            }
            range.end = range.end.max(other.end);
        }
        Some(range)
    })
}

impl ModuleInner {
    /// So many exports are looked through one by one.
    pub(crate) const FEW_EXPORTS: usize = 6;

    /// A module without parts.
    pub(crate) fn empty(bytes: Bytes, features: Features) -> Self {
        Self {
            bytes,
            features,
            types: Vec::new(),
            kinds: Vec::new(),
            groups: Vec::new(),
            funcs: Vec::new(),
            bodies: Vec::new(),
            tables: Vec::new(),
            memories: Vec::new(),
            globals: Vec::new(),
            global_inits: Vec::new(),
            tags: Vec::new(),
            imports: Vec::new(),
            exports: Vec::new(),
            exports_by_name: Vec::new(),
            start: None,
            elements: Vec::new(),
            data: Vec::new(),
            counts: VmCounts::default(),
            escaping: Vec::new(),
            custom_sections: Vec::new(),
            names: OnceLock::new(),
            known: None,
            unvalidated: None,
        }
    }

    /// What each of the types is a type of, to convert types that name them.
    pub(crate) fn kinds(&self) -> Kinds<'_> {
        Kinds(&self.kinds)
    }

    /// The type index of a function; of an own one of a module that came back from its head, if it was asked for.
    pub(crate) fn func_type_index(&self, func: u32) -> u32 {
        match (&self.known, func.checked_sub(self.counts.imported_funcs)) {
            (Some(known), Some(own)) => known.type_index(&self.escaping, own),
            _ => self.funcs[func as usize],
        }
    }

    /// The body of an own function; of a module that came back from its head, if it was asked for.
    pub(crate) fn body(&self, own_func: u32) -> Range<u32> {
        match &self.known {
            Some(known) => known.body(own_func),
            None => self.bodies[own_func as usize].clone(),
        }
    }

    /// The function type with this index.
    ///
    /// # Panics
    /// If there is none, which validation excludes where one is named.
    pub(crate) fn func_type_at(&self, type_index: u32) -> &FuncType {
        self.types[type_index as usize].composite.as_func().expect("validated: a function type")
    }
}

impl Module {
    /// The module's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.inner.bytes
    }

    /// The features it was validated under.
    #[must_use]
    pub fn features(&self) -> Features {
        self.inner.features
    }

    /// The types, by type index.
    #[must_use]
    pub fn types(&self) -> &[SubType] {
        &self.inner.types
    }

    /// The recursion groups: ranges of the types that cover them, in order.
    #[must_use]
    pub fn type_groups(&self) -> &[Range<u32>] {
        &self.inner.groups
    }

    /// The function type with this type index.
    ///
    /// # Panics
    /// If there is no such type, or it is not a function type.
    #[must_use]
    pub fn func_type_at(&self, type_index: u32) -> &FuncType {
        self.inner.func_type_at(type_index)
    }

    /// How many functions there are, imported ones included.
    #[must_use]
    pub fn num_funcs(&self) -> u32 {
        self.num_imported_funcs() + self.num_own_funcs()
    }

    /// How many functions are imported: they come first in the function space.
    #[must_use]
    pub fn num_imported_funcs(&self) -> u32 {
        self.inner.counts.imported_funcs
    }

    /// How many functions the module defines itself.
    #[must_use]
    pub fn num_own_funcs(&self) -> u32 {
        self.inner.known.as_ref().map_or(self.inner.bodies.len() as u32, Known::count)
    }

    /// The type index of a function.
    ///
    /// # Panics
    /// If the function space has no such index; if the module came back from its head, and it is an own function that was
    /// asked for neither by [`Module::row`] nor with all others, and that no reference may be made to.
    #[must_use]
    pub fn func_type_index(&self, func: u32) -> u32 {
        self.inner.func_type_index(func)
    }

    /// The type of a function.
    ///
    /// # Panics
    /// As [`Module::func_type_index`].
    #[must_use]
    pub fn func_type(&self, func: u32) -> &FuncType {
        self.func_type_at(self.func_type_index(func))
    }

    /// The tables, imported ones first.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.inner.tables
    }

    /// The memories, imported ones first.
    #[must_use]
    pub fn memories(&self) -> &[MemoryType] {
        &self.inner.memories
    }

    /// The globals, imported ones first.
    #[must_use]
    pub fn globals(&self) -> &[GlobalType] {
        &self.inner.globals
    }

    /// The type index of each tag, imported ones first.
    #[must_use]
    pub fn tags(&self) -> &[u32] {
        &self.inner.tags
    }

    /// The initial values of the module's own globals.
    #[must_use]
    pub fn global_inits(&self) -> &[ConstExpr] {
        &self.inner.global_inits
    }

    /// The imports in their order.
    #[must_use]
    pub fn imports(&self) -> &[Import] {
        &self.inner.imports
    }

    /// The exports in their order.
    #[must_use]
    pub fn exports(&self) -> &[Export] {
        &self.inner.exports
    }

    /// The export of this name.
    #[must_use]
    pub fn export(&self, name: &str) -> Option<&Export> {
        let exports = &self.inner.exports;
        if exports.len() <= ModuleInner::FEW_EXPORTS {
            return exports.iter().find(|export| export.name == name);
        }
        let found = self.inner.exports_by_name.binary_search_by_key(&name, |&i| &exports[i as usize].name).ok()?;
        Some(&exports[self.inner.exports_by_name[found] as usize])
    }

    /// The type of what stands at an index.
    ///
    /// # Panics
    /// If the index space has no such index.
    #[must_use]
    pub fn extern_type(&self, index: ExternIndex) -> ExternType {
        match index {
            ExternIndex::Func(i) => ExternType::Func(self.func_type(i).clone()),
            ExternIndex::Table(i) => ExternType::Table(self.inner.tables[i as usize].ty),
            ExternIndex::Memory(i) => ExternType::Memory(self.inner.memories[i as usize]),
            ExternIndex::Global(i) => ExternType::Global(self.inner.globals[i as usize]),
            ExternIndex::Tag(i) => ExternType::Tag(self.func_type_at(self.inner.tags[i as usize]).clone()),
        }
    }

    /// Whether all bodies were validated; else each is before it is lowered.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.inner.unvalidated.is_none()
    }

    /// The start function, an index in the function space.
    #[must_use]
    pub fn start(&self) -> Option<u32> {
        self.inner.start
    }

    /// The element segments.
    #[must_use]
    pub fn elements(&self) -> &[ElementSegment] {
        &self.inner.elements
    }

    /// The data segments.
    #[must_use]
    pub fn data(&self) -> &[DataSegment] {
        &self.inner.data
    }

    /// Has the bytes of those data segments compared that are wanted, if they come in pieces; neighbours together.
    ///
    /// # Errors
    /// If they were changed.
    pub fn know_data(&self, wanted: impl Fn(&DataSegment) -> bool) -> Result<(), Error> {
        let ranges = self.inner.data.iter().filter(|segment| wanted(segment)).map(|segment| segment.bytes.clone());
        for Range { start, end } in merged(ranges, SEGMENT_HEAD_MAX) {
            let bytes = self.inner.bytes.get(start as usize..end as usize);
            bytes.map_err(|why| Error::changed(why, start.into()))?;
        }
        Ok(())
    }

    /// The bytes of a data segment.
    ///
    /// # Panics
    /// If there is no such segment; if the bytes come in pieces, and [`Module::know_data`] was to say that they were changed.
    #[must_use]
    pub fn data_bytes(&self, segment: u32) -> &[u8] {
        self.slice(&self.inner.data[segment as usize].bytes).expect("`know_data` found the bytes")
    }

    /// Where the body of an own function is, from its locals' count to its end.
    ///
    /// # Panics
    /// If the module defines no such function; if the module came back from its head, and the function was not asked for.
    #[must_use]
    pub fn body_range(&self, own_func: u32) -> Range<u32> {
        self.inner.body(own_func)
    }

    /// Bytes of all function bodies.
    #[must_use]
    pub fn code_size(&self) -> u64 {
        match &self.inner.known {
            Some(known) => known.code_size(),
            None => self.inner.bodies.iter().map(|body| u64::from(body.end - body.start)).sum(),
        }
    }

    /// The custom sections that were kept, in their order.
    #[must_use]
    pub fn custom_sections(&self) -> &[CustomSection] {
        &self.inner.custom_sections
    }

    /// The contents of the first custom section of this name.
    #[must_use]
    pub fn custom_section(&self, name: &str) -> Option<&[u8]> {
        let section = self.inner.custom_sections.iter().find(|section| section.name == name)?;
        self.slice(&section.bytes)
    }

    /// How many of each thing the module has.
    #[must_use]
    pub fn counts(&self) -> VmCounts {
        self.inner.counts
    }

    /// How an instance lies in memory.
    #[must_use]
    pub fn layout(&self) -> VmCtxLayout {
        VmCtxLayout::new(self.inner.counts)
    }

    /// Own functions (by definition order, ascending) that a reference may be made to.
    #[must_use]
    pub fn escaping(&self) -> &[u32] {
        &self.inner.escaping
    }

    /// Whether a reference may be made to an own function.
    #[must_use]
    pub fn is_escaping(&self, own_func: u32) -> bool {
        self.inner.escaping.binary_search(&own_func).is_ok()
    }

    fn slice(&self, range: &Range<u32>) -> Option<&[u8]> {
        self.inner.bytes.get(range.start as usize..range.end as usize).ok()
    }
}
