//! What the collector knows of a type: how large its objects are and where references lie in them.
//!
//! Descriptions are made at the first object of a type that the collector meets, and kept.

use std::cell::OnceCell;
use std::fmt;

use aura_host_abi::gc::{ObjectKind, kind_of, type_of};

/// How the objects of a type lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A structure or an exception.
    Fields {
        /// In bytes, header included: a multiple of 8.
        size: u32,
        /// Offsets of the references, ascending.
        refs: Box<[u32]>,
    },
    Array {
        /// Offset of the first element.
        first: u32,
        /// Bytes of an element.
        element: u32,
        /// Whether the elements are references.
        refs: bool,
    },
}

impl Shape {
    /// Bytes of an object with this length word.
    pub(super) fn size(&self, length: u32) -> u64 {
        match *self {
            Self::Fields { size, .. } => size.into(),
            Self::Array { first, element, .. } => {
                (u64::from(first) + u64::from(length) * u64::from(element)).next_multiple_of(8)
            }
        }
    }
}

/// Types in one piece of the table.
const PIECE: usize = 1 << 10;
/// Pieces of the table: more numbers than registries give.
const PIECES: usize = 1 << 11;

type Piece = Box<[OnceCell<Shape>]>;

/// The descriptions of an engine's types, by kind and number.
pub(crate) struct Shapes {
    describe: Box<dyn Fn(u32) -> Shape + Send + Sync>,
    objects: Table,
    exceptions: Table,
}

#[derive(Default)]
struct Table(OnceCell<Box<[OnceCell<Piece>]>>);

impl Shapes {
    /// `describe` knows the objects with a tag.
    pub(crate) fn new(describe: impl Fn(u32) -> Shape + Send + Sync + 'static) -> Self {
        Self { describe: Box::new(describe), objects: Table::default(), exceptions: Table::default() }
    }

    /// The shape of the objects with a tag.
    ///
    /// # Panics
    /// If it is no object's tag.
    #[inline]
    pub(super) fn of(&self, tag: u32) -> &Shape {
        let table = match kind_of(tag) {
            Some(ObjectKind::Exception) => &self.exceptions,
            Some(_) => &self.objects,
            None => panic!("an object begins with a tag, found {tag:#x}"),
        };
        table.entry(type_of(tag) as usize).get_or_init(|| (self.describe)(tag))
    }
}

impl Table {
    #[inline]
    fn entry(&self, id: usize) -> &OnceCell<Shape> {
        let pieces = self.0.get_or_init(|| (0..PIECES).map(|_| OnceCell::new()).collect());
        &pieces[id / PIECE].get_or_init(|| (0..PIECE).map(|_| OnceCell::new()).collect())[id % PIECE]
    }
}

impl fmt::Debug for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shapes").finish_non_exhaustive()
    }
}
