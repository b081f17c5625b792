//! Types of values, functions, tables, memories and globals.
//!
//! The names are those of the specification (core 3.0, section 2.3). [`SlotType`] is the one
//! addition: the class of machine storage a value needs, which is all that frames, calls and
//! compiled code have to know of a type.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A value type (specification 2.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValType {
    I32,
    I64,
    F32,
    F64,
    V128,
    Ref(RefType),
}

impl ValType {
    /// The nullable reference to any function.
    pub const FUNCREF: Self = Self::Ref(RefType::FUNCREF);
    /// The nullable reference to a value of the host.
    pub const EXTERNREF: Self = Self::Ref(RefType::EXTERNREF);
    /// The nullable reference to anything but functions, host values and exceptions.
    pub const ANYREF: Self = Self::Ref(RefType::ANYREF);

    /// The class of storage a value of this type takes.
    #[must_use]
    pub const fn slot_type(self) -> SlotType {
        match self {
            Self::I32 => SlotType::I32,
            Self::I64 => SlotType::I64,
            Self::F32 => SlotType::F32,
            Self::F64 => SlotType::F64,
            Self::V128 => SlotType::V128,
            Self::Ref(r) => match r.heap.top() {
                HeapType::Func => SlotType::Func,
                _ => SlotType::Ref,
            },
        }
    }

    /// A number that tells types from each other but for which defined type they name.
    const fn number(self) -> u64 {
        match self {
            Self::I32 => 0,
            Self::I64 => 1,
            Self::F32 => 2,
            Self::F64 => 3,
            Self::V128 => 4,
            Self::Ref(RefType { nullable, heap }) => 16 + 32 * nullable as u64 + heap.number(),
        }
    }

    /// Whether this is a reference type.
    #[must_use]
    pub const fn is_ref(self) -> bool {
        matches!(self, Self::Ref(_))
    }

    /// Whether places of this type can begin as zero or null (specification 3.2.3).
    #[must_use]
    pub const fn is_defaultable(self) -> bool {
        !matches!(self, Self::Ref(RefType { nullable: false, .. }))
    }

    /// Whether every value of this type is one of `other` (specification 3.3.5). `is_subtype` compares two defined types.
    pub fn matches(self, other: Self, is_subtype: impl FnOnce(TypeIndex, TypeIndex) -> bool) -> bool {
        match (self, other) {
            (Self::Ref(a), Self::Ref(b)) => a.matches(b, is_subtype),
            (a, b) => a == b,
        }
    }

    /// The defined type that a type names, if it names one.
    #[must_use]
    pub const fn concrete(self) -> Option<ConcreteType> {
        match self {
            Self::Ref(RefType { heap: HeapType::Concrete(concrete), .. }) => Some(concrete),
            _ => None,
        }
    }

    /// The same type with another name for the defined type in it.
    #[must_use]
    pub fn map_index(self, map: impl FnOnce(TypeIndex) -> TypeIndex) -> Self {
        match self {
            Self::Ref(ty) => Self::Ref(ty.map_index(map)),
            other => other,
        }
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::Ref(r) => return r.fmt(f),
        })
    }
}

/// A reference type (specification 2.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefType {
    pub nullable: bool,
    pub heap: HeapType,
}

impl RefType {
    pub const FUNCREF: Self = Self { nullable: true, heap: HeapType::Func };
    pub const EXTERNREF: Self = Self { nullable: true, heap: HeapType::Extern };
    pub const ANYREF: Self = Self { nullable: true, heap: HeapType::Any };
    pub const EXNREF: Self = Self { nullable: true, heap: HeapType::Exn };

    /// The class of storage a reference of this type takes.
    #[must_use]
    pub const fn slot_type(self) -> SlotType {
        ValType::Ref(self).slot_type()
    }

    /// Whether every value of this type is one of `other` (specification 3.3.4). `is_subtype` compares two defined types.
    pub fn matches(self, other: Self, is_subtype: impl FnOnce(TypeIndex, TypeIndex) -> bool) -> bool {
        (other.nullable || !self.nullable) && self.heap.matches(other.heap, is_subtype)
    }

    /// The same type with another name for the defined type in it.
    #[must_use]
    pub fn map_index(self, map: impl FnOnce(TypeIndex) -> TypeIndex) -> Self {
        match self.heap {
            HeapType::Concrete(ConcreteType { kind, index }) => {
                Self { heap: HeapType::Concrete(ConcreteType { kind, index: map(index) }), ..self }
            }
            _ => self,
        }
    }
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.heap, self.nullable) {
            (HeapType::Concrete(_), true) => write!(f, "(ref null {})", self.heap),
            (HeapType::NoFunc | HeapType::NoExtern | HeapType::NoExn, true) => {
                write!(f, "null{}ref", &self.heap.name()[2..])
            }
            (HeapType::None, true) => f.write_str("nullref"),
            (heap, true) => write!(f, "{heap}ref"),
            (heap, false) => write!(f, "(ref {heap})"),
        }
    }
}

/// What a reference refers to (specification 2.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeapType {
    Func,
    NoFunc,
    Extern,
    NoExtern,
    Any,
    Eq,
    I31,
    Struct,
    Array,
    None,
    Exn,
    NoExn,
    /// A type that somebody defined.
    Concrete(ConcreteType),
}

/// A defined type, by where it is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConcreteType {
    pub kind: CompositeKind,
    pub index: TypeIndex,
}

/// What a defined type is a type of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompositeKind {
    Func,
    Struct,
    Array,
}

impl CompositeKind {
    /// The type of all references to types of this kind.
    #[must_use]
    pub const fn abstracted(self) -> HeapType {
        match self {
            Self::Func => HeapType::Func,
            Self::Struct => HeapType::Struct,
            Self::Array => HeapType::Array,
        }
    }
}

/// The name of a defined type, which means something in one place only: indices of two spaces never compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeIndex {
    /// In the type section of the module at hand.
    Module(u32),
    /// In the recursion group at hand.
    Group(u32),
    /// The canonical number `id` of the engine `engine`: equal types have equal numbers.
    Engine { engine: u32, id: u32 },
}

impl HeapType {
    /// The greatest type of the same hierarchy (specification 3.2.1): every reference is of one of four.
    #[must_use]
    pub const fn top(self) -> Self {
        match self {
            Self::Func | Self::NoFunc | Self::Concrete(ConcreteType { kind: CompositeKind::Func, .. }) => Self::Func,
            Self::Extern | Self::NoExtern => Self::Extern,
            Self::Exn | Self::NoExn => Self::Exn,
            _ => Self::Any,
        }
    }

    /// The least abstract type that a type is or is of.
    const fn abstracted(self) -> Self {
        match self {
            Self::Concrete(concrete) => concrete.kind.abstracted(),
            other => other,
        }
    }

    /// A number below 16 that tells types from each other but for which defined type they name.
    const fn number(self) -> u64 {
        match self {
            Self::Func => 0,
            Self::NoFunc => 1,
            Self::Extern => 2,
            Self::NoExtern => 3,
            Self::Any => 4,
            Self::Eq => 5,
            Self::I31 => 6,
            Self::Struct => 7,
            Self::Array => 8,
            Self::None => 9,
            Self::Exn => 10,
            Self::NoExn => 11,
            Self::Concrete(_) => 12,
        }
    }

    /// Whether no value but null is of this type.
    #[must_use]
    pub const fn is_bottom(self) -> bool {
        matches!(self, Self::NoFunc | Self::NoExtern | Self::None | Self::NoExn)
    }

    /// Whether this is a subtype of `other` (specification 3.3.3). `is_subtype` compares two defined types.
    pub fn matches(self, other: Self, is_subtype: impl FnOnce(TypeIndex, TypeIndex) -> bool) -> bool {
        match (self, other) {
            (Self::Concrete(a), Self::Concrete(b)) => a.kind == b.kind && is_subtype(a.index, b.index),
            (a, b) if a.top() != b.top() => false,
            (a, b) if a.is_bottom() || b == b.top() => true,
            (_, Self::Concrete(_)) => false,
            (a, Self::Eq) => a != Self::Any,
            (a, b) => a.abstracted() == b,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Func => "func",
            Self::NoFunc => "nofunc",
            Self::Extern => "extern",
            Self::NoExtern => "noextern",
            Self::Any => "any",
            Self::Eq => "eq",
            Self::I31 => "i31",
            Self::Struct => "struct",
            Self::Array => "array",
            Self::None => "none",
            Self::Exn => "exn",
            Self::NoExn => "noexn",
            Self::Concrete(_) => "a defined type",
        }
    }
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concrete(ConcreteType { index: TypeIndex::Module(n), .. }) => write!(f, "{n}"),
            Self::Concrete(ConcreteType { index: TypeIndex::Group(n), .. }) => write!(f, "rec.{n}"),
            Self::Concrete(ConcreteType { index: TypeIndex::Engine { id, .. }, .. }) => write!(f, "type#{id}"),
            abstract_type => f.write_str(abstract_type.name()),
        }
    }
}

/// The class of storage a value takes in a frame, an argument list or a machine register.
///
/// A slot is 64 bits; [`SlotType::V128`] takes two consecutive ones, low half first. A value
/// narrower than its slot leaves the upper bits unspecified: each reader takes its own width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SlotType {
    I32,
    I64,
    F32,
    F64,
    V128,
    /// A function reference: a pointer to a [`crate::vm::VmFuncRef`], 0 for null. Never moves.
    Func,
    /// A reference the collector manages: a 32-bit index, 0 for null.
    Ref,
}

impl SlotType {
    /// How many 64-bit slots a value of this class takes.
    #[must_use]
    pub const fn slots(self) -> u32 {
        match self {
            Self::V128 => 2,
            _ => 1,
        }
    }
}

/// A function type: parameters to results. Cheap to clone, so that the imports of a hostile module cannot multiply a long one.
#[derive(Clone, PartialEq, Eq)]
pub struct FuncType {
    /// Parameters, then results.
    types: Arc<[ValType]>,
    params: usize,
}

impl FuncType {
    /// Makes a function type.
    pub fn new(params: impl IntoIterator<Item = ValType>, results: impl IntoIterator<Item = ValType>) -> Self {
        let mut types: Vec<_> = params.into_iter().collect();
        let params = types.len();
        types.extend(results);
        Self { types: types.into(), params }
    }

    /// The function type of which the first so many of these are the parameters, and the others the results.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn of_list(types: Arc<[ValType]>, params: usize) -> Self {
        assert!(params <= types.len(), "parameters are among the types");
        Self { types, params }
    }

    #[must_use]
    pub fn params(&self) -> &[ValType] {
        &self.types[..self.params]
    }

    #[must_use]
    pub fn results(&self) -> &[ValType] {
        &self.types[self.params..]
    }

    /// Whether it names defined types.
    #[must_use]
    pub fn names_types(&self) -> bool {
        self.types.iter().any(|ty| ty.concrete().is_some())
    }

    /// The same type with other names for the defined types in it.
    #[must_use]
    pub fn map_index(&self, map: impl Fn(TypeIndex) -> TypeIndex) -> Self {
        match self.names_types() {
            true => Self { types: self.types.iter().map(|ty| ty.map_index(&map)).collect(), params: self.params },
            false => self.clone(),
        }
    }

    /// Number of 64-bit slots the parameters take when passed in memory.
    #[must_use]
    pub fn param_slots(&self) -> usize {
        slots_of(self.params())
    }

    /// Number of 64-bit slots the results take when passed in memory.
    #[must_use]
    pub fn result_slots(&self) -> usize {
        slots_of(self.results())
    }

    /// Length of the slot array a call in memory needs: parameters come in, results go out, both from index 0.
    #[must_use]
    pub fn call_slots(&self) -> usize {
        self.param_slots().max(self.result_slots())
    }
}

fn slots_of(types: &[ValType]) -> usize {
    types.iter().map(|t| t.slot_type().slots() as usize).sum()
}

impl Hash for FuncType {
    /// A number for each value, so that what most types are is hashed in one piece; those of defined types behind them.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (mut word, mut values) = (self.params as u64, 0);
        for ty in &*self.types {
            values += 1;
            word = word << 8 | ty.number();
            if values % 7 == 0 {
                state.write_u64(word);
            }
            if let Some(concrete) = ty.concrete() {
                concrete.hash(state);
            }
        }
        state.write_u64(word);
        state.write_usize(values);
    }
}

impl fmt::Debug for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FuncType").field("params", &self.params()).field("results", &self.results()).finish()
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        write!(f, "[{}] -> [{}]", list(self.params()), list(self.results()))
    }
}

/// The bounds of a table or memory: in elements for a table, in pages for a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits64 {
    pub min: u64,
    pub max: Option<u64>,
}

/// A memory type (specification 2.3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryType {
    /// In pages.
    pub limits: Limits64,
    /// Addresses are `i64` instead of `i32`.
    pub memory64: bool,
    pub shared: bool,
    /// Base-2 logarithm of the page size in bytes: 16, or 0 with custom page sizes.
    pub page_size_log2: u8,
}

impl MemoryType {
    /// The page size in bytes.
    #[must_use]
    pub const fn page_size(&self) -> u64 {
        1 << self.page_size_log2
    }
}

/// A table type (specification 2.3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableType {
    pub element: RefType,
    /// In elements.
    pub limits: Limits64,
    /// Indices are `i64` instead of `i32`.
    pub table64: bool,
}

/// A global type (specification 2.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GlobalType {
    pub content: ValType,
    pub mutable: bool,
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn function_types_are_told_apart_and_hashed_alike() {
        let concrete = |id| {
            let index = TypeIndex::Engine { engine: 1, id };
            let heap = HeapType::Concrete(ConcreteType { kind: CompositeKind::Func, index });
            ValType::Ref(RefType { nullable: true, heap })
        };
        let values = [ValType::I32, ValType::F64, ValType::FUNCREF, ValType::EXTERNREF, concrete(1), concrete(2)];
        let list = |len: usize, from: usize| (0..len).map(move |n| values[(from + n) % values.len()]);
        let all: Vec<_> = (0..20)
            .flat_map(|params| (0..20).flat_map(move |results| (0..6).map(move |from| (params, results, from))))
            .map(|(params, results, from)| FuncType::new(list(params, from), list(results, from + 1)))
            .collect();
        let (state, mut hashes) = (RandomState::new(), std::collections::HashSet::new());
        for ty in &all {
            let again = FuncType::new(ty.params().to_vec(), ty.results().to_vec());
            assert_eq!((&again, state.hash_one(&again)), (ty, state.hash_one(ty)));
            assert_eq!(again.map_index(|index| index), *ty);
            hashes.insert(state.hash_one(ty));
        }
        let different: std::collections::HashSet<_> = all.iter().map(ToString::to_string).collect();
        // What names no defined type is its text; hashes tell even more apart.
        assert!(hashes.len() >= different.len(), "{} {}", hashes.len(), different.len());
    }
}
