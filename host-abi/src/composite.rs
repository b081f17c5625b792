//! Defined types: functions, structures, arrays, and where they stand among their supertypes.
//!
//! Specification 3.0, sections 2.3.8 to 2.3.10. A structure or array type knows how its objects lie in
//! the heap: natural alignment (8 bytes at most), packed fields in their own width, references of the
//! heap in 4 bytes, function references in 8. Both tiers and the collector take it from here.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::gc::{OBJECT_ALIGN, VmObject};
use crate::types::{CompositeKind, FuncType, SlotType, TypeIndex, ValType};

/// Bytes before the first field of a structure or element of an array: the header, in which an array has its length.
pub const OBJECT_HEADER: u32 = size_of::<VmObject>() as u32;

/// What a field or element holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageType {
    I8,
    I16,
    Val(ValType),
}

impl StorageType {
    /// The type of the value on the operand stack.
    #[must_use]
    pub const fn unpacked(self) -> ValType {
        match self {
            Self::I8 | Self::I16 => ValType::I32,
            Self::Val(ty) => ty,
        }
    }

    /// Bytes it takes in an object.
    #[must_use]
    pub const fn size(self) -> u32 {
        match self {
            Self::I8 => 1,
            Self::I16 => 2,
            Self::Val(ty) => match ty.slot_type() {
                SlotType::I32 | SlotType::F32 | SlotType::Ref => 4,
                SlotType::I64 | SlotType::F64 | SlotType::Func => 8,
                SlotType::V128 => 16,
            },
        }
    }

    /// Whether it holds a reference into the heap.
    #[must_use]
    pub const fn is_heap_ref(self) -> bool {
        matches!(self, Self::Val(ty) if matches!(ty.slot_type(), SlotType::Ref))
    }

    fn align(self) -> u32 {
        self.size().min(OBJECT_ALIGN)
    }
}

impl fmt::Display for StorageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I8 => f.write_str("i8"),
            Self::I16 => f.write_str("i16"),
            Self::Val(ty) => ty.fmt(f),
        }
    }
}

/// A field of a structure, or the elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldType {
    pub storage: StorageType,
    pub mutable: bool,
}

impl FieldType {
    fn map_index(self, map: impl FnOnce(TypeIndex) -> TypeIndex) -> Self {
        match self.storage {
            StorageType::Val(ty) => Self { storage: StorageType::Val(ty.map_index(map)), ..self },
            _ => self,
        }
    }

    fn concrete(&self) -> bool {
        matches!(self.storage, StorageType::Val(ty) if ty.concrete().is_some())
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mutable { write!(f, "(mut {})", self.storage) } else { self.storage.fmt(f) }
    }
}

/// A structure type. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StructType(Arc<StructInner>);

#[derive(Debug)]
struct StructInner {
    fields: Box<[FieldType]>,
    offsets: Box<[u32]>,
    heap_refs: Box<[u32]>,
    size: u32,
}

impl StructType {
    /// Makes a structure type and lays its objects out.
    ///
    /// # Panics
    /// If its objects would pass 1 GiB; the limit on fields keeps them far below.
    pub fn new(fields: impl IntoIterator<Item = FieldType>) -> Self {
        let fields: Box<[FieldType]> = fields.into_iter().collect();
        let mut end = OBJECT_HEADER;
        let place = |field: &FieldType| {
            let at = end.next_multiple_of(field.storage.align());
            end = at + field.storage.size();
            assert!(end < 1 << 30, "limits keep structures small");
            at
        };
        let offsets: Box<[u32]> = fields.iter().map(place).collect();
        let is_ref = |&(field, _): &(&FieldType, &u32)| field.storage.is_heap_ref();
        let heap_refs = fields.iter().zip(&offsets).filter(is_ref).map(|(_, &at)| at).collect();
        Self(Arc::new(StructInner { fields, offsets, heap_refs, size: end.next_multiple_of(OBJECT_ALIGN) }))
    }

    /// How an exception lies in the heap whose tag has this type: its tag's address, then what it carries.
    #[must_use]
    pub fn of_exception(ty: &FuncType) -> Self {
        let payload = ty.params().iter().copied();
        let fields = std::iter::once(ValType::I64).chain(payload);
        Self::new(fields.map(|ty| FieldType { storage: StorageType::Val(ty), mutable: false }))
    }

    #[must_use]
    pub fn fields(&self) -> &[FieldType] {
        &self.0.fields
    }

    /// Where a field is, in bytes from the start of the object.
    ///
    /// # Panics
    /// If there is no such field.
    #[must_use]
    pub fn offset(&self, field: u32) -> u32 {
        self.0.offsets[field as usize]
    }

    /// Where the references into the heap are, in bytes from the start of the object, ascending.
    #[must_use]
    pub fn heap_refs(&self) -> &[u32] {
        &self.0.heap_refs
    }

    /// Bytes of an object, header included: a multiple of 8.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.0.size
    }
}

impl PartialEq for StructType {
    fn eq(&self, other: &Self) -> bool {
        self.0.fields == other.0.fields
    }
}

impl Eq for StructType {}

impl Hash for StructType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.fields.hash(state);
    }
}

impl fmt::Display for StructType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(struct")?;
        self.fields().iter().try_for_each(|field| write!(f, " {field}"))?;
        f.write_str(")")
    }
}

/// An array type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArrayType {
    pub element: FieldType,
}

impl ArrayType {
    /// Bytes of an object of this length, header included: a multiple of 8.
    #[must_use]
    pub fn size(&self, length: u32) -> u64 {
        let elements = u64::from(length) * u64::from(self.element.storage.size());
        (u64::from(OBJECT_HEADER) + elements).next_multiple_of(OBJECT_ALIGN.into())
    }
}

impl fmt::Display for ArrayType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(array {})", self.element)
    }
}

/// What a defined type describes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CompositeType {
    Func(FuncType),
    Struct(StructType),
    Array(ArrayType),
}

impl CompositeType {
    /// What it is a type of.
    #[must_use]
    pub const fn kind(&self) -> CompositeKind {
        match self {
            Self::Func(_) => CompositeKind::Func,
            Self::Struct(_) => CompositeKind::Struct,
            Self::Array(_) => CompositeKind::Array,
        }
    }

    /// The function type, if it is one.
    #[must_use]
    pub const fn as_func(&self) -> Option<&FuncType> {
        match self {
            Self::Func(ty) => Some(ty),
            _ => None,
        }
    }

    /// The structure type, if it is one.
    #[must_use]
    pub const fn as_struct(&self) -> Option<&StructType> {
        match self {
            Self::Struct(ty) => Some(ty),
            _ => None,
        }
    }

    /// The array type, if it is one.
    #[must_use]
    pub const fn as_array(&self) -> Option<&ArrayType> {
        match self {
            Self::Array(ty) => Some(ty),
            _ => None,
        }
    }
}

impl CompositeType {
    /// The same type with other types of values in it.
    #[must_use]
    pub fn map_values(&self, map: impl Fn(ValType) -> ValType) -> Self {
        let field = |field: &FieldType| match field.storage {
            StorageType::Val(ty) => FieldType { storage: StorageType::Val(map(ty)), ..*field },
            _ => *field,
        };
        match self {
            Self::Func(ty) => {
                let list = |types: &[ValType]| types.iter().map(|ty| map(*ty)).collect::<Vec<_>>();
                Self::Func(FuncType::new(list(ty.params()), list(ty.results())))
            }
            Self::Struct(ty) => Self::Struct(StructType::new(ty.fields().iter().map(field))),
            Self::Array(ty) => Self::Array(ArrayType { element: field(&ty.element) }),
        }
    }
}

impl fmt::Display for CompositeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Func(ty) => write!(f, "(func {ty})"),
            Self::Struct(ty) => ty.fmt(f),
            Self::Array(ty) => ty.fmt(f),
        }
    }
}

/// A defined type with its place among its supertypes (specification 2.3.9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubType {
    /// It has no subtypes.
    pub is_final: bool,
    pub supertype: Option<TypeIndex>,
    pub composite: CompositeType,
}

impl SubType {
    /// A final type without a supertype, as the short form defines it.
    #[must_use]
    pub const fn simple(composite: CompositeType) -> Self {
        Self { is_final: true, supertype: None, composite }
    }

    /// The same type with other names for the defined types in it.
    #[must_use]
    pub fn map_index(&self, map: impl Fn(TypeIndex) -> TypeIndex) -> Self {
        let composite = match &self.composite {
            CompositeType::Func(ty) => CompositeType::Func(ty.map_index(&map)),
            CompositeType::Struct(ty) if ty.fields().iter().any(FieldType::concrete) => {
                CompositeType::Struct(StructType::new(ty.fields().iter().map(|field| field.map_index(&map))))
            }
            CompositeType::Struct(ty) => CompositeType::Struct(ty.clone()),
            CompositeType::Array(ty) => CompositeType::Array(ArrayType { element: ty.element.map_index(&map) }),
        };
        Self { is_final: self.is_final, supertype: self.supertype.map(&map), composite }
    }

    /// Whether it names defined types.
    #[must_use]
    pub fn names_types(&self) -> bool {
        let by_value = match &self.composite {
            CompositeType::Func(ty) => ty.names_types(),
            CompositeType::Struct(ty) => ty.fields().iter().any(FieldType::concrete),
            CompositeType::Array(ty) => ty.element.concrete(),
        };
        by_value || self.supertype.is_some()
    }

    /// How many types stand in it: what it costs to keep.
    #[must_use]
    pub fn weight(&self) -> usize {
        1 + match &self.composite {
            CompositeType::Func(ty) => ty.params().len() + ty.results().len(),
            CompositeType::Struct(ty) => ty.fields().len(),
            CompositeType::Array(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ConcreteType, HeapType, RefType};

    fn field(storage: StorageType) -> FieldType {
        FieldType { storage, mutable: true }
    }

    #[test]
    fn fields_lie_at_their_natural_alignment() {
        let types = [
            StorageType::I8,
            StorageType::I16,
            StorageType::Val(ValType::ANYREF),
            StorageType::Val(ValType::FUNCREF),
            StorageType::I8,
            StorageType::Val(ValType::V128),
            StorageType::Val(ValType::EXTERNREF),
        ];
        let ty = StructType::new(types.map(field));
        let offsets: Vec<_> = (0..types.len() as u32).map(|i| ty.offset(i)).collect();
        assert_eq!(offsets, [8, 10, 12, 16, 24, 32, 48]);
        assert_eq!((ty.heap_refs(), ty.size()), (&[12, 48][..], 56));
        assert_eq!(StructType::new([]).size(), OBJECT_HEADER);
    }

    #[test]
    fn arrays_are_as_long_as_their_elements() {
        let array = |storage| ArrayType { element: field(storage) };
        assert_eq!((array(StorageType::I8).size(0), array(StorageType::I8).size(5)), (8, 16));
        assert_eq!(array(StorageType::Val(ValType::V128)).size(u32::MAX), 8 + 16 * u64::from(u32::MAX));
    }

    #[test]
    fn the_hierarchies_are_those_of_the_specification() {
        use HeapType::{Any, Array, Eq, Exn, Extern, Func, I31, NoExn, NoExtern, NoFunc, None, Struct};
        let of = |kind| HeapType::Concrete(ConcreteType { kind, index: TypeIndex::Module(0) });
        let (func, object) = (of(CompositeKind::Func), of(CompositeKind::Struct));
        let chains: [&[HeapType]; 6] = [
            &[NoFunc, func, Func],
            &[NoExtern, Extern],
            &[NoExn, Exn],
            &[None, object, Struct, Eq, Any],
            &[None, I31, Eq, Any],
            &[None, of(CompositeKind::Array), Array, Eq, Any],
        ];
        let all: Vec<_> = chains.concat();
        let below = |a: &HeapType, b: &HeapType| {
            chains.iter().any(|chain| {
                let at = |x| chain.iter().position(|y| y == x);
                at(a).is_some_and(|a| at(b).is_some_and(|b| a <= b))
            })
        };
        for a in &all {
            for b in &all {
                assert_eq!(a.matches(*b, |x, y| x == y), below(a, b), "{a} below {b}");
            }
        }
        let non_null = RefType { nullable: false, heap: Any };
        assert!(non_null.matches(RefType::ANYREF, |_, _| false) && !RefType::ANYREF.matches(non_null, |_, _| false));
    }
}
