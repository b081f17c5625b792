//! wasmparser's types as ours. Total on what validated under [`crate::Features`].
//!
//! A reference to a defined type carries that type's kind, because its storage depends on it; `Kinds`
//! says it, for types of the group that is being read too.

use aura_host_abi::{
    ArrayType, CompositeKind, CompositeType, ConcreteType, FieldType, FuncType, GlobalType, HeapType, Limits64,
    MemoryType, RefType, StorageType, StructType, SubType, TableType, TypeIndex, ValType,
};
use wasmparser::{AbstractHeapType, CompositeInnerType, UnpackedIndex};

use super::error::Error;

/// The kind of each of a module's types, by index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kinds<'a>(pub(crate) &'a [CompositeKind]);

/// The kind of a type.
pub(super) fn kind(ty: &wasmparser::SubType) -> Result<CompositeKind, Error> {
    match ty.composite_type.inner {
        CompositeInnerType::Func(_) => Ok(CompositeKind::Func),
        CompositeInnerType::Struct(_) => Ok(CompositeKind::Struct),
        CompositeInnerType::Array(_) => Ok(CompositeKind::Array),
        CompositeInnerType::Cont(_) => Err(Error::unsupported("stack-switching", "a continuation type", 0)),
    }
}

impl Kinds<'_> {
    pub(crate) fn val_type(self, ty: wasmparser::ValType) -> Result<ValType, Error> {
        Ok(match ty {
            wasmparser::ValType::I32 => ValType::I32,
            wasmparser::ValType::I64 => ValType::I64,
            wasmparser::ValType::F32 => ValType::F32,
            wasmparser::ValType::F64 => ValType::F64,
            wasmparser::ValType::V128 => ValType::V128,
            wasmparser::ValType::Ref(ty) => ValType::Ref(self.ref_type(ty)?),
        })
    }

    pub(crate) fn ref_type(self, ty: wasmparser::RefType) -> Result<RefType, Error> {
        Ok(RefType { nullable: ty.is_nullable(), heap: self.heap_type(ty.heap_type())? })
    }

    pub(crate) fn heap_type(self, ty: wasmparser::HeapType) -> Result<HeapType, Error> {
        match ty {
            wasmparser::HeapType::Abstract { shared: false, ty } => abstract_type(ty),
            wasmparser::HeapType::Concrete(index) => Ok(HeapType::Concrete(self.concrete(module_index(index)))),
            other => Err(Error::unsupported("custom-descriptors", format!("heap type {other:?}"), 0)),
        }
    }

    /// The type with this index in the module's type section.
    pub(crate) fn concrete(self, index: u32) -> ConcreteType {
        ConcreteType { kind: self.0[index as usize], index: TypeIndex::Module(index) }
    }

    pub(super) fn sub_type(self, ty: &wasmparser::SubType) -> Result<SubType, Error> {
        let composite = match &ty.composite_type.inner {
            CompositeInnerType::Func(ty) => CompositeType::Func(self.func_type(ty)?),
            CompositeInnerType::Struct(ty) => {
                let fields = ty.fields.iter().map(|field| self.field_type(*field)).collect::<Result<Vec<_>, _>>()?;
                CompositeType::Struct(StructType::new(fields))
            }
            CompositeInnerType::Array(ty) => CompositeType::Array(ArrayType { element: self.field_type(ty.0)? }),
            CompositeInnerType::Cont(_) => {
                return Err(Error::unsupported("stack-switching", "a continuation type", 0));
            }
        };
        let supertype = ty.supertype_idxs.first().map(|index| TypeIndex::Module(module_index(index.unpack())));
        Ok(SubType { is_final: ty.is_final, supertype, composite })
    }

    fn func_type(self, ty: &wasmparser::FuncType) -> Result<FuncType, Error> {
        let mut refused = None;
        let mut convert = |ty: &wasmparser::ValType| {
            self.val_type(*ty).unwrap_or_else(|why| {
                refused = Some(why);
                ValType::I32
            })
        };
        // Collected at once, into one piece.
        let types = ty.params().iter().chain(ty.results()).map(&mut convert).collect();
        match refused {
            None => Ok(FuncType::of_list(types, ty.params().len())),
            Some(why) => Err(why),
        }
    }

    fn field_type(self, ty: wasmparser::FieldType) -> Result<FieldType, Error> {
        let storage = match ty.element_type {
            wasmparser::StorageType::I8 => StorageType::I8,
            wasmparser::StorageType::I16 => StorageType::I16,
            wasmparser::StorageType::Val(ty) => StorageType::Val(self.val_type(ty)?),
        };
        Ok(FieldType { storage, mutable: ty.mutable })
    }

    pub(crate) fn table_type(self, ty: wasmparser::TableType) -> Result<TableType, Error> {
        Ok(TableType {
            element: self.ref_type(ty.element_type)?,
            limits: Limits64 { min: ty.initial, max: ty.maximum },
            table64: ty.table64,
        })
    }

    pub(crate) fn global_type(self, ty: wasmparser::GlobalType) -> Result<GlobalType, Error> {
        Ok(GlobalType { content: self.val_type(ty.content_type)?, mutable: ty.mutable })
    }
}

fn abstract_type(ty: AbstractHeapType) -> Result<HeapType, Error> {
    Ok(match ty {
        AbstractHeapType::Func => HeapType::Func,
        AbstractHeapType::NoFunc => HeapType::NoFunc,
        AbstractHeapType::Extern => HeapType::Extern,
        AbstractHeapType::NoExtern => HeapType::NoExtern,
        AbstractHeapType::Any => HeapType::Any,
        AbstractHeapType::Eq => HeapType::Eq,
        AbstractHeapType::I31 => HeapType::I31,
        AbstractHeapType::Struct => HeapType::Struct,
        AbstractHeapType::Array => HeapType::Array,
        AbstractHeapType::None => HeapType::None,
        AbstractHeapType::Exn => HeapType::Exn,
        AbstractHeapType::NoExn => HeapType::NoExn,
        AbstractHeapType::Cont | AbstractHeapType::NoCont => {
            return Err(Error::unsupported("stack-switching", format!("heap type {ty:?}"), 0));
        }
    })
}

/// The index in the type section, as the bytes of a module have it.
fn module_index(index: UnpackedIndex) -> u32 {
    index.as_module_index().expect("the reader leaves indices as they stand in the module")
}

pub(crate) fn memory_type(ty: wasmparser::MemoryType) -> MemoryType {
    MemoryType {
        limits: Limits64 { min: ty.initial, max: ty.maximum },
        memory64: ty.memory64,
        shared: ty.shared,
        page_size_log2: ty.page_size_log2.map_or(16, |log2| log2 as u8),
    }
}
