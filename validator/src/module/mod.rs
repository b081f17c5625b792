//! `Module`: everything known of a validated module before any of it runs.
//!
//! Invariant: a `Module` was validated whole, or whole but for bodies, each of which is before it is lowered. Bodies are byte ranges of the module's own immutable
//! bytes; nothing here is per function but its type and its range.

mod access;
mod known;
mod names;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aura_host_abi::vm::VmCounts;
use aura_host_abi::{CompositeKind, FuncType, GlobalType, MemoryType, RefType, SubType, TableType, TypeIndex, ValType};

pub use known::{Functions, Row};

use crate::Bytes;
use crate::ops::Op;

/// A validated module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) inner: Arc<ModuleInner>,
}

/// The parts of a module, in the order of the specification's module syntax (2.5).
#[derive(Debug)]
pub(crate) struct ModuleInner {
    pub(crate) bytes: Bytes,
    pub(crate) types: Vec<SubType>,
    /// What each of the types is a type of.
    pub(crate) kinds: Vec<CompositeKind>,
    /// The recursion groups: ranges of `types` that cover it, in order.
    pub(crate) groups: Vec<Range<u32>>,
    /// Type index of every function, imported ones first; of imported ones alone if others are `known`.
    pub(crate) funcs: Vec<u32>,
    /// Bodies of own functions: from the locals' count to the end. None here if they are `known`.
    pub(crate) bodies: Vec<Range<u32>>,
    pub(crate) tables: Vec<Table>,
    pub(crate) memories: Vec<MemoryType>,
    pub(crate) globals: Vec<GlobalType>,
    /// Initial values of own globals.
    pub(crate) global_inits: Vec<ConstExpr>,
    /// Type index of every tag, imported ones first.
    pub(crate) tags: Vec<u32>,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
    /// Indices into `exports`, in the order of their names; none if they are few.
    pub(crate) exports_by_name: Vec<u32>,
    pub(crate) start: Option<u32>,
    pub(crate) elements: Vec<ElementSegment>,
    pub(crate) data: Vec<DataSegment>,
    pub(crate) counts: VmCounts,
    /// Indices among own functions, ascending, of those that a reference may be made to: exported, in an element segment or a global, or named by `ref.func`
    /// (which validation allows only for functions that stand in one of the other places).
    pub(crate) escaping: Vec<u32>,
    pub(crate) custom_sections: Vec<CustomSection>,
    /// Where the name section names functions: see [`names`].
    pub(crate) names: OnceLock<Box<[names::NameAt]>>,
    pub(crate) features: crate::Features,
    /// The own functions of a module that was validated before.
    pub(crate) known: Option<known::Known>,
    /// What it takes to validate bodies, if that is left for later.
    pub(crate) unvalidated: Option<crate::parse::Unvalidated>,
}

/// A table and, for own tables of non-nullable references, its initial value.
#[derive(Clone, Debug)]
pub struct Table {
    pub ty: TableType,
    pub init: Option<ConstExpr>,
}

/// One import entry. Entries are resolved one by one, even where two have the same name.
#[derive(Clone, Debug)]
pub struct Import {
    pub module: String,
    pub name: String,
    pub ty: ExternType,
}

/// What is imported or exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternType {
    Func(FuncType),
    Table(TableType),
    Memory(MemoryType),
    Global(GlobalType),
    /// A tag: the parameters are what its exceptions carry.
    Tag(FuncType),
}

impl ExternType {
    /// The same type with other names for the defined types in it.
    #[must_use]
    pub fn map_index(&self, map: impl Fn(TypeIndex) -> TypeIndex) -> Self {
        match self {
            Self::Func(ty) => Self::Func(ty.map_index(map)),
            Self::Tag(ty) => Self::Tag(ty.map_index(map)),
            Self::Table(ty) => Self::Table(TableType { element: ty.element.map_index(map), ..*ty }),
            Self::Global(ty) => Self::Global(GlobalType { content: ty.content.map_index(map), ..*ty }),
            Self::Memory(ty) => Self::Memory(*ty),
        }
    }

    /// The types of values that stand in it.
    pub fn values(&self) -> Vec<ValType> {
        match self {
            Self::Func(ty) | Self::Tag(ty) => ty.params().iter().chain(ty.results()).copied().collect(),
            Self::Table(ty) => vec![ValType::Ref(ty.element)],
            Self::Global(ty) => vec![ty.content],
            Self::Memory(_) => Vec::new(),
        }
    }
}

/// One export.
#[derive(Clone, Debug)]
pub struct Export {
    pub name: String,
    pub index: ExternIndex,
}

/// An index in one of the module's index spaces, imported ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternIndex {
    Func(u32),
    Table(u32),
    Memory(u32),
    Global(u32),
    Tag(u32),
}

/// A constant expression (specification 3.3.11) in postfix order. Most are of one step, and programs have tens of thousands: such
/// a one takes no allocation.
#[derive(Clone, Debug, PartialEq)]
pub struct ConstExpr {
    ops: Ops,
}

#[derive(Clone, Debug, PartialEq)]
enum Ops {
    One(ConstOp),
    /// Not one.
    Many(Box<[ConstOp]>),
}

impl ConstExpr {
    /// The expression of these steps.
    #[must_use]
    pub fn new(ops: &[ConstOp]) -> Self {
        let ops = match ops {
            [one] => Ops::One(*one),
            many => Ops::Many(many.into()),
        };
        Self { ops }
    }

    /// The steps, in order.
    #[must_use]
    pub fn ops(&self) -> &[ConstOp] {
        match &self.ops {
            Ops::One(op) => std::slice::from_ref(op),
            Ops::Many(ops) => ops,
        }
    }
}

/// One step of a constant expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConstOp {
    I32(i32),
    I64(i64),
    /// Bits of an `f32`.
    F32(u32),
    /// Bits of an `f64`.
    F64(u64),
    V128([u8; 16]),
    GlobalGet(u32),
    RefNull(RefType),
    RefFunc(u32),
    RefI31,
    /// The structure type.
    StructNew(u32),
    StructNewDefault(u32),
    /// The array type.
    ArrayNew(u32),
    ArrayNewDefault(u32),
    ArrayNewFixed {
        type_index: u32,
        len: u32,
    },
    /// A two-operand row of the operator table.
    Binary(Op),
}

/// When a segment is copied.
#[derive(Clone, Debug)]
pub enum SegmentMode {
    Passive,
    /// Copied at instantiation to `offset` of the table or memory with this index.
    Active {
        target: u32,
        offset: ConstExpr,
    },
    /// Dropped at instantiation; only declares references.
    Declared,
}

/// An element segment.
#[derive(Clone, Debug)]
pub struct ElementSegment {
    pub mode: SegmentMode,
    pub ty: RefType,
    pub items: ElementItems,
}

/// The elements of a segment.
#[derive(Clone, Debug)]
pub enum ElementItems {
    Funcs(Box<[u32]>),
    Exprs(Box<[ConstExpr]>),
}

/// A data segment; its bytes are a range of the module's.
#[derive(Clone, Debug)]
pub struct DataSegment {
    pub mode: SegmentMode,
    pub bytes: Range<u32>,
}

/// A custom section that was kept: its contents are a range of the module's bytes.
#[derive(Clone, Debug)]
pub struct CustomSection {
    pub name: String,
    pub bytes: Range<u32>,
}
