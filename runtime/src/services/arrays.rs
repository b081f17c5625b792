//! Services of arrays: making them with a length that is known only at run time, and bulk operations.
//!
//! As for memories and tables: bounds first, then fuel by length, then the work in pieces. None but
//! those that make an array may collect, so that references and addresses stay what they are.
//!
//! # Safety
//! Trusts: references that guest code passes are null or to live arrays of the type, which validation
//! and the collector see to; [`crate::gc::Heap::address`] checks that addresses lie in the heap.

use aura_host_abi::composite::OBJECT_HEADER;
use aura_host_abi::gc::{NULL, ObjectKind, tag};
use aura_host_abi::{ArrayType, TrapCode};
use aura_validator::fuel::BULK_ELEMENTS_PER_FUEL;

use super::{Direction, Guest, PIECE_BYTES, part};
use crate::gc::Heap;

/// Elements of an array that lie inside it.
#[derive(Clone, Copy)]
struct Range {
    array: u32,
    /// Bytes from the beginning of the object.
    start: u64,
    /// Bytes of an element.
    size: u64,
    len: u64,
}

impl Range {
    /// The address of a piece of the range, in bytes from its start.
    fn address(self, heap: &Heap, from: usize, len: usize) -> *mut u8 {
        heap.address(self.array, self.start + from as u64, len as u64)
    }
}

impl Guest {
    pub(super) fn array_new(&mut self, ty: u64, length: u64) -> Result<u32, TrapCode> {
        self.charge(length / BULK_ELEMENTS_PER_FUEL)?;
        let tag = tag(ObjectKind::Array, self.instance().module.type_id(ty as u32));
        let size = self.array_type(ty).size(length as u32);
        self.heap_alloc(tag.into(), length, size)
    }

    pub(super) fn array_new_data(&mut self, ty: u64, segment: u64, src: u64, length: u64) -> Result<u32, TrapCode> {
        let bytes = length * u64::from(self.array_type(ty).element.storage.size());
        part(self.data_segment(segment), src, bytes).ok_or(TrapCode::MemoryOutOfBounds)?;
        let array = self.array_new(ty, length)?;
        self.array_init_data(ty, segment, array.into(), 0, src, length)?;
        Ok(array)
    }

    pub(super) fn array_new_elem(&mut self, ty: u64, segment: u64, src: u64, length: u64) -> Result<u32, TrapCode> {
        part(self.element_segment(segment), src, length).ok_or(TrapCode::TableOutOfBounds)?;
        let array = self.array_new(ty, length)?;
        self.array_init_elem(ty, segment, array.into(), 0, src, length)?;
        Ok(array)
    }

    pub(super) fn array_fill(
        &mut self,
        ty: u64,
        array: u64,
        dst: u64,
        low: u64,
        high: u64,
        len: u64,
    ) -> Result<(), TrapCode> {
        let to = self.elements(ty, array, dst, len)?;
        self.charge(len / BULK_ELEMENTS_PER_FUEL)?;
        let bits = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
        let size = to.size as usize;
        self.note_elements(ty, to);
        self.in_element_pieces(to, Direction::Up, |heap, from, len| {
            let at = to.address(heap, from, len);
            for element in (0..len).step_by(size) {
                // SAFETY: the address is of `len` bytes, a multiple of the element's size, which is 16 at most.
                unsafe { std::ptr::copy_nonoverlapping(bits.as_ptr(), at.wrapping_add(element), size) };
            }
        })
    }

    pub(super) fn array_copy(
        &mut self,
        ty: u64,
        dst_array: u64,
        dst: u64,
        src_array: u64,
        src: u64,
        len: u64,
    ) -> Result<(), TrapCode> {
        let null = u64::from(NULL);
        if dst_array == null || src_array == null {
            return Err(TrapCode::NullArray);
        }
        let to = self.elements(ty, dst_array, dst, len)?;
        let from = self.elements(ty, src_array, src, len)?;
        self.charge(len / BULK_ELEMENTS_PER_FUEL)?;
        // Pieces that overlap must be read before they are written, as in one move of the whole.
        let direction = if dst <= src { Direction::Up } else { Direction::Down };
        self.note_elements(ty, to);
        self.in_element_pieces(to, direction, |heap, start, len| {
            let (to, from) = (to.address(heap, start, len), from.address(heap, start, len));
            // SAFETY: both addresses are of `len` bytes in the heap; `copy` allows them to overlap.
            unsafe { std::ptr::copy(from, to, len) };
        })
    }

    pub(super) fn array_init_data(
        &mut self,
        ty: u64,
        segment: u64,
        array: u64,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Result<(), TrapCode> {
        let to = self.elements(ty, array, dst, len)?;
        let from = part(self.data_segment(segment), src, len * to.size).ok_or(TrapCode::MemoryOutOfBounds)?;
        self.charge(len / BULK_ELEMENTS_PER_FUEL)?;
        self.in_element_pieces(to, Direction::Up, |heap, start, len| {
            let from = &from[start..start + len];
            // SAFETY: the address is of `len` bytes in the heap; a module's bytes lie elsewhere.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.address(heap, start, len), len) };
        })
    }

    pub(super) fn array_init_elem(
        &mut self,
        ty: u64,
        segment: u64,
        array: u64,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Result<(), TrapCode> {
        let to = self.elements(ty, array, dst, len)?;
        let from = part(self.element_segment(segment), src, len).ok_or(TrapCode::TableOutOfBounds)?;
        self.charge(len / BULK_ELEMENTS_PER_FUEL)?;
        let size = to.size as usize;
        self.note_elements(ty, to);
        self.in_element_pieces(to, Direction::Up, |heap, start, len| {
            let at = to.address(heap, start, len);
            for (index, element) in from[start / size..(start + len) / size].iter().enumerate() {
                let bits = element.to_le_bytes();
                // SAFETY: the address is of `len` bytes; a reference has 4 or 8, which its size says.
                unsafe { std::ptr::copy_nonoverlapping(bits.as_ptr(), at.wrapping_add(index * size), size) };
            }
        })
    }

    /// `len` elements of an array from `start`.
    fn elements(&self, ty: u64, array: u64, start: u64, len: u64) -> Result<Range, TrapCode> {
        let array = array as u32;
        if array == NULL {
            return Err(TrapCode::NullArray);
        }
        let length = self.store_data().heap.header(array).length;
        if start.checked_add(len).is_none_or(|end| end > u64::from(length)) {
            return Err(TrapCode::ArrayOutOfBounds);
        }
        let size = u64::from(self.array_type(ty).element.storage.size());
        Ok(Range { array, start: u64::from(OBJECT_HEADER) + start * size, size, len })
    }

    /// As [`Guest::in_pieces`], in bytes of elements.
    fn in_element_pieces(
        &self,
        range: Range,
        direction: Direction,
        mut work: impl FnMut(&Heap, usize, usize),
    ) -> Result<(), TrapCode> {
        self.in_pieces(range.len * range.size, PIECE_BYTES, direction, |start, len| {
            work(&self.store_data().heap, start, len);
        })
    }

    /// The barrier for references that are about to be stored: before the work, which may be interrupted.
    fn note_elements(&self, ty: u64, to: Range) {
        if to.len > 0 && self.array_type(ty).element.storage.is_heap_ref() {
            self.store_data().heap.note_stores(to.array, to.start, to.len * to.size);
        }
    }

    fn array_type(&self, ty: u64) -> ArrayType {
        let ty = &self.instance().module.validated().types()[ty as usize];
        *ty.composite.as_array().expect("validated: an array type")
    }

    fn element_segment<'a>(&self, segment: u64) -> &'a [u64] {
        self.instance().elements[segment as usize].as_deref().unwrap_or_default()
    }
}
