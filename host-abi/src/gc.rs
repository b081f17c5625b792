//! References, objects and the heap of a store, as both tiers see them.
//!
//! A value of class [`SlotType::Ref`](crate::SlotType::Ref) is 32 bits, never a pointer:
//!
//! ```text
//! 0                        null
//! ....................1    an i31: the value in the upper 31 bits
//! ...................10    a value of the host: index in the store's list in the upper 30 bits
//! .................000     an object: its offset in the store's heap, a multiple of 8
//! ```
//!
//! `any.convert_extern` and `extern.convert_any` therefore do not change a bit. An object begins with
//! a header of 8 bytes, [`VmObject`]; fields lie behind it at their natural alignment, 8 at most, and
//! vectors are read and written unaligned. An exception is a structure whose first field is its tag.
//!
//! ```text
//! heap - CARD_BYTES   cards: one byte for each CARD_SIZE bytes of the heap
//! heap + 0            never an object
//! heap + HEAP_START   young objects, made by moving VmStore::heap_next up; behind them old ones
//! heap + HEAP_MAX     the end of what 32 bits reach
//! ```
//!
//! Collections move objects: a reference is valid only in a place the collector knows.

/// The null reference.
pub const NULL: u32 = 0;
/// The bit that tells an i31 from everything else.
pub const I31_TAG: u32 = 1;
/// The two lowest bits of a reference to a value of the host.
pub const HOST_TAG: u32 = 2;
/// How many values of the host the encoding has room for.
pub const HOST_VALUES_MAX: usize = 1 << 30;
/// The greatest alignment of anything in the heap; objects begin at and are long as multiples of it.
pub const OBJECT_ALIGN: u32 = 8;

/// Address space of a heap: what an offset of 32 bits reaches.
pub const HEAP_MAX: u64 = 1 << 32;
/// Offset of the first object. What lies below, and with it what null would name, is inaccessible.
pub const HEAP_START: u32 = 1 << 16;
/// Base-2 logarithm of the bytes for which one card stands.
pub const CARD_SHIFT: u32 = 9;
/// Bytes for which one card stands.
pub const CARD_SIZE: u32 = 1 << CARD_SHIFT;
/// Bytes of the cards of a heap, which lie before its base: the card of an object at `o` is at `heap - CARD_BYTES + (o >> CARD_SHIFT)`.
pub const CARD_BYTES: usize = (HEAP_MAX >> CARD_SHIFT) as usize;
/// A card in whose bytes a reference was stored since the last collection. Storing a reference into an object that may be
/// old sets the card of the place it is stored at.
pub const CARD_DIRTY: u8 = 1;
/// Objects up to this size are always made young, so that what is stored into them before anything else is allocated needs no card.
pub const YOUNG_SIZE_MAX: u32 = 4096;

/// The header of an object. An array has its length there; for other objects that word is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmObject {
    /// Kind and type; see [`tag`].
    pub tag: u32,
    /// Number of elements of an array.
    pub length: u32,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    Struct = 1,
    Array = 2,
    Exception = 3,
}

/// The bits of a tag that are the type.
pub const TYPE_BITS: u32 = 28;
/// A mask of those.
pub const TYPE_MASK: u32 = (1 << TYPE_BITS) - 1;
/// In the place of a tag: the object moved to the offset in the length's place. Only the collector sees it.
pub const FORWARDED: u32 = u32::MAX;

/// The first word of an object: its kind in the upper 4 bits, below them the canonical number of its
/// type; for an exception, the number of its tag's function type.
///
/// # Panics
/// If the number has more than 28 bits; registries stay far below.
#[must_use]
pub const fn tag(kind: ObjectKind, type_id: u32) -> u32 {
    assert!(type_id <= TYPE_MASK, "canonical type numbers stay below 2^28");
    (kind as u32) << TYPE_BITS | type_id
}

/// The kind in a tag.
#[must_use]
pub const fn kind_of(tag: u32) -> Option<ObjectKind> {
    match tag >> TYPE_BITS {
        1 => Some(ObjectKind::Struct),
        2 => Some(ObjectKind::Array),
        3 => Some(ObjectKind::Exception),
        _ => None,
    }
}

/// The canonical number of the type in a tag.
#[must_use]
pub const fn type_of(tag: u32) -> u32 {
    tag & TYPE_MASK
}

/// Whether a reference is to an object of the heap.
#[must_use]
pub const fn is_object(reference: u32) -> bool {
    reference != NULL && reference.is_multiple_of(OBJECT_ALIGN)
}

/// Whether a reference is an i31.
#[must_use]
pub const fn is_i31(reference: u32) -> bool {
    reference & I31_TAG != 0
}

/// `ref.i31`: the lower 31 bits of a number as a reference.
#[must_use]
pub const fn i31(value: u32) -> u32 {
    value << 1 | I31_TAG
}

/// `i31.get_u`.
#[must_use]
pub const fn i31_unsigned(reference: u32) -> u32 {
    reference >> 1
}

/// `i31.get_s`.
#[must_use]
pub const fn i31_signed(reference: u32) -> i32 {
    reference.cast_signed() >> 1
}

/// The reference to a value of the host by its index in the store's list.
///
/// # Panics
/// If the index is [`HOST_VALUES_MAX`] or more.
#[must_use]
pub const fn host_value(index: u32) -> u32 {
    assert!((index as usize) < HOST_VALUES_MAX, "limits keep the store's list short");
    index << 2 | HOST_TAG
}

/// The index of the value of the host that this refers to, if it does.
#[must_use]
pub const fn host_index(reference: u32) -> Option<u32> {
    if reference & 3 == HOST_TAG { Some(reference >> 2) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_is_of_one_kind() {
        for bits in [0, 1, 2, 3, 6, 7, 8, 0x10000, 0x7fff_fff8, 0x8000_0001, u32::MAX - 7, u32::MAX] {
            let kinds = [bits == NULL, is_i31(bits), host_index(bits).is_some(), is_object(bits)];
            assert_eq!(kinds.iter().filter(|is| **is).count(), 1, "{bits:#x}");
        }
    }

    #[test]
    fn numbers_survive_the_encoding() {
        for value in [0, 1, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, u32::MAX] {
            assert_eq!(i31_unsigned(i31(value)), value & 0x7fff_ffff);
            assert_eq!(i31_signed(i31(value)), (value << 1).cast_signed() >> 1);
        }
        for index in [0, 1, (1 << 30) - 1] {
            assert_eq!(host_index(host_value(index)), Some(index));
        }
        for kind in [ObjectKind::Struct, ObjectKind::Array, ObjectKind::Exception] {
            assert_eq!((kind_of(tag(kind, TYPE_MASK)), type_of(tag(kind, TYPE_MASK))), (Some(kind), TYPE_MASK));
            assert_ne!(tag(kind, TYPE_MASK), FORWARDED);
        }
    }

    #[test]
    fn the_header_is_eight_bytes() {
        assert_eq!((size_of::<VmObject>(), std::mem::offset_of!(VmObject, tag)), (8, 0));
        assert_eq!(std::mem::offset_of!(VmObject, length), 4);
        assert!(CARD_BYTES.is_multiple_of(4096) && i32::try_from(CARD_BYTES).is_ok());
    }
}
