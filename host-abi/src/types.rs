//! Types of values, functions, tables, memories and globals.
//!
//! The names are those of the specification (core 2.0, section 2.3). [`SlotType`] is the one
//! addition: the class of machine storage a value needs, which is all that frames, calls and
//! compiled code have to know of a type.

use std::fmt;
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

    /// The class of storage a value of this type takes.
    #[must_use]
    pub const fn slot_type(self) -> SlotType {
        match self {
            Self::I32 => SlotType::I32,
            Self::I64 => SlotType::I64,
            Self::F32 => SlotType::F32,
            Self::F64 => SlotType::F64,
            Self::V128 => SlotType::V128,
            Self::Ref(r) => match r.heap {
                HeapType::Func => SlotType::Func,
                HeapType::Extern => SlotType::Ref,
            },
        }
    }

    /// Whether this is a reference type.
    #[must_use]
    pub const fn is_ref(self) -> bool {
        matches!(self, Self::Ref(_))
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

/// A reference type (specification 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefType {
    pub nullable: bool,
    pub heap: HeapType,
}

impl RefType {
    pub const FUNCREF: Self = Self { nullable: true, heap: HeapType::Func };
    pub const EXTERNREF: Self = Self { nullable: true, heap: HeapType::Extern };
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heap = match self.heap {
            HeapType::Func => "func",
            HeapType::Extern => "extern",
        };
        if self.nullable { write!(f, "{heap}ref") } else { write!(f, "(ref {heap})") }
    }
}

/// What a reference refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeapType {
    Func,
    Extern,
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FuncType {
    params: Arc<[ValType]>,
    results: Arc<[ValType]>,
}

impl FuncType {
    /// Makes a function type.
    pub fn new(params: impl IntoIterator<Item = ValType>, results: impl IntoIterator<Item = ValType>) -> Self {
        Self { params: params.into_iter().collect(), results: results.into_iter().collect() }
    }

    #[must_use]
    pub fn params(&self) -> &[ValType] {
        &self.params
    }

    #[must_use]
    pub fn results(&self) -> &[ValType] {
        &self.results
    }

    /// Number of 64-bit slots the parameters take when passed in memory.
    #[must_use]
    pub fn param_slots(&self) -> usize {
        slots_of(&self.params)
    }

    /// Number of 64-bit slots the results take when passed in memory.
    #[must_use]
    pub fn result_slots(&self) -> usize {
        slots_of(&self.results)
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

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        write!(f, "[{}] -> [{}]", list(&self.params), list(&self.results))
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
