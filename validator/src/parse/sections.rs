//! Sections into the parts of a module.
//!
//! Each section's counts are compared with the limits before wasmparser validates it, and converted
//! after it did: conversion meets only what is valid.

use std::ops::Range;

use aura_host_abi::CompositeKind;
use aura_host_abi::vm::VmCounts;
use wasmparser::{DataKind, ElementKind, ExternalKind, Operator, Payload, SectionLimited, TableInit, TypeRef};

use super::error::{Error, Stop};
use super::{convert, data, numbers, plain};
use crate::limits::{Limits, check};
use crate::module::{
    ConstExpr, ConstOp, CustomSection, DataSegment, ElementItems, ElementSegment, Export, ExternIndex, ExternType,
    Import, ModuleInner, SegmentMode, Table,
};
use crate::ops::Op;

/// A module under construction.
pub(super) struct Builder<'l> {
    module: &'l mut ModuleInner,
    limits: &'l Limits,
    /// Functions that a reference may be made to, as met; imported ones too.
    referred: Vec<u32>,
}

impl<'l> Builder<'l> {
    pub(super) fn new(module: &'l mut ModuleInner, limits: &'l Limits) -> Self {
        Self { module, limits, referred: Vec::new() }
    }

    /// What is known so far.
    pub(super) fn module(&self) -> &ModuleInner {
        self.module
    }

    /// Compares the counts of a section with the limits.
    pub(super) fn check_limits(&self, payload: &Payload<'_>) -> Result<(), Stop> {
        let limits = self.limits;
        let counts = &self.module.counts;
        match payload {
            Payload::TypeSection(s) => count("types", s, 0, limits.types),
            Payload::ImportSection(s) => count("imports", s, 0, limits.imports),
            Payload::FunctionSection(s) => count("functions", s, counts.imported_funcs, limits.functions),
            Payload::TableSection(s) => count("tables", s, counts.tables, limits.tables),
            Payload::MemorySection(s) => count("memories", s, counts.memories, limits.memories),
            Payload::TagSection(s) => count("tags", s, counts.tags, limits.tags),
            Payload::GlobalSection(s) => count("globals", s, counts.globals, limits.globals),
            Payload::ExportSection(s) => count("exports", s, 0, limits.exports),
            Payload::ElementSection(s) => count("element_segments", s, 0, limits.element_segments),
            Payload::DataSection(s) => count("data_segments", s, 0, limits.data_segments),
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                Ok(check("body_bytes", range.end - range.start, limits.body_bytes, range.start)?)
            }
            _ => Ok(()),
        }
    }

    /// Adds a section that validated.
    pub(super) fn add(&mut self, payload: Payload<'_>) -> Result<(), Stop> {
        match payload {
            Payload::TypeSection(section) => self.types(section),
            Payload::ImportSection(section) => self.imports(section),
            Payload::FunctionSection(section) => self.functions(section),
            Payload::TableSection(section) => self.tables(section),
            Payload::MemorySection(section) => self.memories(section),
            Payload::GlobalSection(section) => self.globals(section),
            Payload::TagSection(section) => self.tags(section),
            Payload::ExportSection(section) => self.exports(section),
            Payload::ElementSection(section) => self.elements(section),
            Payload::DataSection(section) => self.data(section),
            Payload::StartSection { func, .. } => {
                self.module.start = Some(func);
                Ok(())
            }
            Payload::CodeSectionEntry(body) => {
                self.module.bodies.push(narrow(&body.range()));
                Ok(())
            }
            Payload::CustomSection(section) => {
                self.custom(section.name(), &section.data_range());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Finishes the module.
    pub(super) fn finish(self) {
        let imported = self.module.counts.imported_funcs;
        let mut escaping = self.referred;
        escaping.retain(|func| *func >= imported);
        escaping.iter_mut().for_each(|func| *func -= imported);
        escaping.sort_unstable();
        escaping.dedup();
        self.module.escaping = escaping;
    }

    /// The bytes of a section that was read, its number of items included.
    fn bytes_of(&self, range: &Range<u64>) -> &[u8] {
        self.module.bytes.get(range.start as usize..range.end as usize).expect("the section was read")
    }

    fn types(&mut self, section: wasmparser::TypeSectionReader<'_>) -> Result<(), Stop> {
        if let Some(types) = plain::functions(self.bytes_of(&section.range()), self.limits) {
            self.module.kinds = vec![CompositeKind::Func; types.len()];
            self.module.groups = (0..types.len() as u32).map(|index| index..index + 1).collect();
            self.module.types = types;
            return Ok(());
        }
        let count = section.count() as usize;
        (self.module.types, self.module.kinds) = (Vec::with_capacity(count), Vec::with_capacity(count));
        self.module.groups = Vec::with_capacity(count);
        for item in section.into_iter_with_offsets() {
            let (offset, group) = item?;
            for ty in group.types() {
                self.check_type(ty, offset)?;
                self.module.kinds.push(convert::kind(ty)?);
            }
            // Types of a group may name later ones of it, so that their kinds come first.
            let start = self.module.types.len() as u32;
            for ty in group.types() {
                let ty = self.module.kinds().sub_type(ty)?;
                self.module.types.push(ty);
            }
            self.module.groups.push(start..self.module.types.len() as u32);
        }
        Ok(())
    }

    fn check_type(&self, ty: &wasmparser::SubType, offset: u64) -> Result<(), Stop> {
        let limits = self.limits;
        check("types", self.module.kinds.len() as u64 + 1, limits.types, offset)?;
        match &ty.composite_type.inner {
            wasmparser::CompositeInnerType::Func(func) => {
                check("params", func.params().len() as u64, limits.params, offset)?;
                check("results", func.results().len() as u64, limits.results, offset)?;
            }
            wasmparser::CompositeInnerType::Struct(ty) => {
                check("struct_fields", ty.fields.len() as u64, limits.struct_fields, offset)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn imports(&mut self, section: wasmparser::ImportSectionReader<'_>) -> Result<(), Stop> {
        let start = section.range().start;
        for item in section.into_imports_with_offsets() {
            let (offset, import) = item?;
            check("name_bytes", import.module.len().max(import.name.len()) as u64, self.limits.name_bytes, offset)?;
            let ty = self.import_type(import.ty, offset)?;
            self.module.imports.push(Import { module: import.module.to_owned(), name: import.name.to_owned(), ty });
        }
        let VmCounts { imported_funcs, tables, memories, globals, tags, .. } = self.module.counts;
        check("functions", imported_funcs.into(), self.limits.functions, start)?;
        check("tables", tables.into(), self.limits.tables, start)?;
        check("tags", tags.into(), self.limits.tags, start)?;
        check("memories", memories.into(), self.limits.memories, start)?;
        Ok(check("globals", globals.into(), self.limits.globals, start)?)
    }

    fn import_type(&mut self, ty: TypeRef, offset: u64) -> Result<ExternType, Stop> {
        let module = &mut self.module;
        Ok(match ty {
            TypeRef::Func(index) => {
                module.funcs.push(index);
                module.counts.imported_funcs += 1;
                ExternType::Func(module.func_type_at(index).clone())
            }
            TypeRef::Table(ty) => {
                let ty = module.kinds().table_type(ty)?;
                module.tables.push(Table { ty, init: None });
                module.counts.tables += 1;
                module.counts.imported_tables += 1;
                ExternType::Table(ty)
            }
            TypeRef::Memory(ty) => {
                let ty = convert::memory_type(ty);
                module.memories.push(ty);
                module.counts.memories += 1;
                module.counts.imported_memories += 1;
                ExternType::Memory(ty)
            }
            TypeRef::Global(ty) => {
                let ty = module.kinds().global_type(ty)?;
                module.globals.push(ty);
                module.counts.globals += 1;
                module.counts.imported_globals += 1;
                ExternType::Global(ty)
            }
            TypeRef::Tag(ty) => {
                module.tags.push(ty.func_type_idx);
                module.counts.tags += 1;
                module.counts.imported_tags += 1;
                ExternType::Tag(module.func_type_at(ty.func_type_idx).clone())
            }
            TypeRef::FuncExact(_) => {
                return Err(Error::unsupported("custom-descriptors", "an exact function import", offset).into());
            }
        })
    }

    fn functions(&mut self, section: wasmparser::FunctionSectionReader<'_>) -> Result<(), Stop> {
        let mut funcs = std::mem::take(&mut self.module.funcs);
        numbers::indices(self.bytes_of(&section.range()), &mut funcs).expect("the section is valid");
        self.module.funcs = funcs;
        Ok(())
    }

    fn tables(&mut self, section: wasmparser::TableSectionReader<'_>) -> Result<(), Stop> {
        for item in section.into_iter_with_offsets() {
            let (offset, table) = item?;
            let min = table.ty.initial;
            let limit = self.limits.table_elements;
            if limit != u32::MAX && min > u64::from(limit) {
                return Err(Error::limit("table_elements", min, limit.into(), offset).into());
            }
            let init = match table.init {
                TableInit::RefNull => None,
                TableInit::Expr(expr) => Some(self.const_expr(&expr)?),
            };
            self.module.tables.push(Table { ty: self.module.kinds().table_type(table.ty)?, init });
            self.module.counts.tables += 1;
        }
        Ok(())
    }

    fn memories(&mut self, section: wasmparser::MemorySectionReader<'_>) -> Result<(), Stop> {
        for memory in section {
            self.module.memories.push(convert::memory_type(memory?));
            self.module.counts.memories += 1;
        }
        Ok(())
    }

    fn globals(&mut self, section: wasmparser::GlobalSectionReader<'_>) -> Result<(), Stop> {
        for global in section {
            let global = global?;
            let ty = self.module.kinds().global_type(global.ty)?;
            self.module.globals.push(ty);
            self.module.counts.globals += 1;
            let init = self.const_expr(&global.init_expr)?;
            self.module.global_inits.push(init);
        }
        Ok(())
    }

    fn tags(&mut self, section: wasmparser::TagSectionReader<'_>) -> Result<(), Stop> {
        for tag in section {
            self.module.tags.push(tag?.func_type_idx);
            self.module.counts.tags += 1;
        }
        Ok(())
    }

    fn exports(&mut self, section: wasmparser::ExportSectionReader<'_>) -> Result<(), Stop> {
        self.module.exports = Vec::with_capacity(section.count() as usize);
        for item in section.into_iter_with_offsets() {
            let (offset, export) = item?;
            check("name_bytes", export.name.len() as u64, self.limits.name_bytes, offset)?;
            let index = match export.kind {
                ExternalKind::Func => {
                    self.referred.push(export.index);
                    ExternIndex::Func(export.index)
                }
                ExternalKind::Table => ExternIndex::Table(export.index),
                ExternalKind::Memory => ExternIndex::Memory(export.index),
                ExternalKind::Global => ExternIndex::Global(export.index),
                ExternalKind::Tag => ExternIndex::Tag(export.index),
                ExternalKind::FuncExact => {
                    return Err(Error::unsupported("custom-descriptors", "an exact function export", offset).into());
                }
            };
            self.module.exports.push(Export { name: export.name.to_owned(), index });
        }
        let exports = &self.module.exports;
        if exports.len() > ModuleInner::FEW_EXPORTS {
            let mut by_name: Vec<u32> = (0..exports.len() as u32).collect();
            by_name.sort_unstable_by_key(|&i| exports[i as usize].name.as_str());
            self.module.exports_by_name = by_name;
        }
        Ok(())
    }

    fn elements(&mut self, section: wasmparser::ElementSectionReader<'_>) -> Result<(), Stop> {
        for element in section {
            let element = element?;
            let mode = match &element.kind {
                ElementKind::Passive => SegmentMode::Passive,
                ElementKind::Declared => SegmentMode::Declared,
                ElementKind::Active { table_index, offset_expr } => {
                    SegmentMode::Active { target: table_index.unwrap_or(0), offset: self.const_expr(offset_expr)? }
                }
            };
            let offset = element.range.start;
            let (ty, items) = match element.items {
                wasmparser::ElementItems::Functions(funcs) => {
                    check("segment_elements", funcs.count().into(), self.limits.segment_elements, offset)?;
                    let funcs = funcs.into_iter().collect::<Result<Box<[u32]>, _>>()?;
                    self.referred.extend_from_slice(&funcs);
                    (wasmparser::RefType::FUNCREF, ElementItems::Funcs(funcs))
                }
                wasmparser::ElementItems::Expressions(ty, exprs) => {
                    check("segment_elements", exprs.count().into(), self.limits.segment_elements, offset)?;
                    let exprs = exprs.into_iter().map(|expr| self.const_expr(&expr?)).collect::<Result<_, Stop>>()?;
                    (ty, ElementItems::Exprs(exprs))
                }
            };
            let ty = self.module.kinds().ref_type(ty)?;
            self.module.elements.push(ElementSegment { mode, ty, items });
        }
        Ok(())
    }

    fn data(&mut self, section: wasmparser::DataSectionReader<'_>) -> Result<(), Stop> {
        self.module.data.reserve_exact(section.count() as usize);
        for data in section {
            let data = data?;
            let mode = match &data.kind {
                DataKind::Passive => SegmentMode::Passive,
                DataKind::Active { memory_index, offset_expr } => {
                    SegmentMode::Active { target: *memory_index, offset: self.const_expr(offset_expr)? }
                }
            };
            let start = data.range.end - data.data.len() as u64;
            self.module.data.push(DataSegment { mode, bytes: narrow(&(start..data.range.end)) });
        }
        Ok(())
    }

    /// Where the bodies are.
    pub(super) fn add_bodies(&mut self, bodies: Vec<Range<u32>>) {
        self.module.bodies = bodies;
    }

    /// The segments of a data section, which are valid.
    pub(super) fn add_data(&mut self, segments: Vec<DataSegment>) {
        self.module.data = segments;
    }

    fn custom(&mut self, name: &str, range: &Range<u64>) {
        let limits = self.limits;
        let kept = self.module.custom_sections.len() < limits.custom_sections_kept as usize
            && range.end - range.start <= u64::from(limits.custom_section_bytes_kept)
            && name.len() <= limits.name_bytes as usize;
        if kept {
            self.module.custom_sections.push(CustomSection { name: name.to_owned(), bytes: narrow(range) });
        }
    }

    fn const_expr(&mut self, expr: &wasmparser::ConstExpr<'_>) -> Result<ConstExpr, Stop> {
        if self.limits.const_expr_operators > 0
            && let Some(expr) = data::offset(&mut expr.get_binary_reader())
        {
            return Ok(expr);
        }
        let mut ops = Vec::new();
        for item in expr.get_operators_reader().into_iter_with_offsets() {
            let (operator, offset) = item?;
            if matches!(operator, Operator::End) {
                break;
            }
            check("const_expr_operators", ops.len() as u64 + 1, self.limits.const_expr_operators, offset)?;
            ops.extend(self.const_op(&operator, offset)?);
        }
        Ok(ConstExpr::new(&ops))
    }

    /// The step of an operator; `None` if there is nothing to do.
    fn const_op(&mut self, operator: &Operator<'_>, offset: u64) -> Result<Option<ConstOp>, Stop> {
        Ok(Some(match *operator {
            Operator::I32Const { value } => ConstOp::I32(value),
            Operator::I64Const { value } => ConstOp::I64(value),
            Operator::F32Const { value } => ConstOp::F32(value.bits()),
            Operator::F64Const { value } => ConstOp::F64(value.bits()),
            Operator::V128Const { value } => ConstOp::V128(*value.bytes()),
            Operator::GlobalGet { global_index } => ConstOp::GlobalGet(global_index),
            Operator::RefNull { hty } => {
                let heap = self.module.kinds().heap_type(hty)?;
                ConstOp::RefNull(aura_host_abi::RefType { nullable: true, heap })
            }
            Operator::RefFunc { function_index } => {
                self.referred.push(function_index);
                ConstOp::RefFunc(function_index)
            }
            Operator::RefI31 => ConstOp::RefI31,
            Operator::StructNew { struct_type_index } => ConstOp::StructNew(struct_type_index),
            Operator::StructNewDefault { struct_type_index } => ConstOp::StructNewDefault(struct_type_index),
            Operator::ArrayNew { array_type_index } => ConstOp::ArrayNew(array_type_index),
            Operator::ArrayNewDefault { array_type_index } => ConstOp::ArrayNewDefault(array_type_index),
            Operator::ArrayNewFixed { array_type_index, array_size } => {
                ConstOp::ArrayNewFixed { type_index: array_type_index, len: array_size }
            }
            // References of both hierarchies have one encoding.
            Operator::AnyConvertExtern | Operator::ExternConvertAny => return Ok(None),
            Operator::I32Add => ConstOp::Binary(Op::I32Add),
            Operator::I32Sub => ConstOp::Binary(Op::I32Sub),
            Operator::I32Mul => ConstOp::Binary(Op::I32Mul),
            Operator::I64Add => ConstOp::Binary(Op::I64Add),
            Operator::I64Sub => ConstOp::Binary(Op::I64Sub),
            Operator::I64Mul => ConstOp::Binary(Op::I64Mul),
            _ => return Err(Error::unsupported("gc", format!("constant operator {operator:?}"), offset).into()),
        }))
    }
}

/// Compares the count of a section's items, with those of the same kind before it, with a limit. A
/// count that the section's bytes cannot hold is a fault of decoding, which the validator reports.
fn count<T>(name: &'static str, section: &SectionLimited<'_, T>, before: u32, bound: u32) -> Result<(), Stop> {
    let range = section.range();
    let items = u64::from(section.count());
    if items > range.end - range.start {
        return Ok(());
    }
    Ok(check(name, u64::from(before) + items, bound, range.start)?)
}

/// A range of offsets in a module, whose length the limits keep below 2 GiB.
fn narrow(range: &Range<u64>) -> Range<u32> {
    range.start as u32..range.end as u32
}
