//! wasmparser's types as ours. Total on what validated under [`crate::Features`].

use aura_host_abi::{FuncType, GlobalType, HeapType, Limits64, MemoryType, RefType, TableType, ValType};
use wasmparser::AbstractHeapType;

use super::error::Error;

pub(crate) fn val_type(ty: wasmparser::ValType) -> Result<ValType, Error> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ValType::Ref(ref_type(ty)?),
    })
}

pub(crate) fn ref_type(ty: wasmparser::RefType) -> Result<RefType, Error> {
    Ok(RefType { nullable: ty.is_nullable(), heap: heap_type(ty.heap_type())? })
}

pub(crate) fn heap_type(ty: wasmparser::HeapType) -> Result<HeapType, Error> {
    match ty {
        wasmparser::HeapType::Abstract { shared: false, ty: AbstractHeapType::Func } => Ok(HeapType::Func),
        wasmparser::HeapType::Abstract { shared: false, ty: AbstractHeapType::Extern } => Ok(HeapType::Extern),
        other => Err(Error::unsupported("gc", format!("heap type {other:?}"), 0)),
    }
}

pub(crate) fn func_type(ty: &wasmparser::FuncType) -> Result<FuncType, Error> {
    let list = |types: &[wasmparser::ValType]| types.iter().map(|&t| val_type(t)).collect::<Result<Vec<_>, _>>();
    Ok(FuncType::new(list(ty.params())?, list(ty.results())?))
}

pub(crate) fn table_type(ty: wasmparser::TableType) -> Result<TableType, Error> {
    Ok(TableType {
        element: ref_type(ty.element_type)?,
        limits: Limits64 { min: ty.initial, max: ty.maximum },
        table64: ty.table64,
    })
}

pub(crate) fn memory_type(ty: wasmparser::MemoryType) -> MemoryType {
    MemoryType {
        limits: Limits64 { min: ty.initial, max: ty.maximum },
        memory64: ty.memory64,
        shared: ty.shared,
        page_size_log2: ty.page_size_log2.map_or(16, |log2| log2 as u8),
    }
}

pub(crate) fn global_type(ty: wasmparser::GlobalType) -> Result<GlobalType, Error> {
    Ok(GlobalType { content: val_type(ty.content_type)?, mutable: ty.mutable })
}
