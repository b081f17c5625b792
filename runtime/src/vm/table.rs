//! Tables: a growing array of 64-bit elements that guest code indexes directly.
//!
//! Invariants: `VmTable::base` and `length` describe the storage at every moment guest code may
//! look; every element below `length` is a valid reference of the table's class. Growth moves the
//! storage, so that nobody keeps the base across a call.
//!
//! # Safety
//! Trusts: one thread at a time works with a store. Gives: element accesses through [`TableData`]
//! are checked against the length. References to elements are never made, because guest code
//! writes them through the base.

use std::cell::UnsafeCell;
use std::fmt;
use std::ptr::NonNull;

use aura_host_abi::TableType;
use aura_host_abi::vm::VmTable;

use crate::vm::placed::Placed;

/// What a table may hold unless the store's limits say otherwise.
pub const TABLE_ELEMENTS_LIMIT: u64 = 10_000_000;

/// A table. Made by [`TableData::new`].
pub struct TableData {
    vm: Placed<VmTable>,
    /// Owns the elements; only growth touches it, everybody else goes through `vm`.
    storage: UnsafeCell<Vec<u64>>,
    ty: TableType,
    max: u64,
}

/// A table could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The table is bigger at the start than a limit, or than its maximum.
    Limit { elements: u64, limit: u64 },
    /// The system has no memory for the elements.
    NoMemory { elements: u64 },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { elements, limit } => {
                write!(f, "a table of {elements} elements at the start passes the limit of {limit}")
            }
            Self::NoMemory { elements } => write!(f, "no memory for a table of {elements} elements"),
        }
    }
}

impl std::error::Error for TableError {}

/// A range of elements is not inside its table or segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOutOfBounds;

impl TableData {
    /// Makes a table of `limits.min` elements, each `init`.
    ///
    /// # Errors
    /// If the minimum passes `limit` or the maximum, or the system has no memory.
    pub fn new(ty: TableType, init: u64, limit: u64) -> Result<Box<Self>, TableError> {
        let elements = ty.limits.min;
        if elements > limit {
            return Err(TableError::Limit { elements, limit });
        }
        let index_max = if ty.table64 { u64::MAX } else { u64::from(u32::MAX) };
        let max = ty.limits.max.unwrap_or(u64::MAX).min(index_max);
        if elements > max {
            return Err(TableError::Limit { elements, limit: max });
        }
        let base = UnsafeCell::new(std::ptr::null_mut());
        let mut table = Box::<Self>::new_uninit();
        let vm = VmTable { base, length: UnsafeCell::new(0), host: table.as_mut_ptr().cast() };
        let table = Box::write(table, Self { vm: Placed::new(vm), storage: UnsafeCell::default(), ty, max });
        if !table.extend(elements, init) {
            return Err(TableError::NoMemory { elements });
        }
        Ok(table)
    }

    /// The record behind a [`VmTable`].
    ///
    /// # Safety
    /// `vm` points to the [`VmTable`] of a [`TableData`] that lives for `'a`.
    pub unsafe fn from_vm<'a>(vm: *const VmTable) -> &'a Self {
        // SAFETY: the caller says that `vm` is live.
        let host = unsafe { (*vm).host };
        // SAFETY: `new` set `host` to the boxed record that owns `vm`; nobody has it exclusively, because
        // every method takes a shared reference.
        unsafe { &*host.cast::<Self>().cast_const() }
    }

    /// What compiled code and the interpreter see; stable while the table lives.
    #[must_use]
    pub fn vm(&self) -> *mut VmTable {
        self.vm.as_ptr()
    }

    /// Moves what compiled code sees into the block of the instance that defines the table.
    ///
    /// # Safety
    /// - `place` is the table's in the block, which stays valid as long as the table is used.
    /// - Nobody uses an address that [`TableData::vm`] gave before.
    pub(crate) unsafe fn place_at(&mut self, place: NonNull<VmTable>) {
        // SAFETY: said by the caller.
        unsafe { self.vm.move_to(place) };
    }

    /// The type it was made with; its minimum is the size at the start.
    #[must_use]
    pub fn ty(&self) -> &TableType {
        &self.ty
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> u64 {
        // SAFETY: one thread at a time works with the store; no reference to the word exists.
        unsafe { *self.vm.length.get() }
    }

    /// An element, if the table has it.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<u64> {
        let at = self.range(index, 1).ok()?;
        // SAFETY: `range` put the element inside the storage.
        Some(unsafe { at.read() })
    }

    /// Replaces an element.
    ///
    /// # Errors
    /// If the table has none of this index.
    pub fn set(&self, index: u64, value: u64) -> Result<(), TableOutOfBounds> {
        let at = self.range(index, 1)?;
        // SAFETY: `range` put the element inside the storage.
        unsafe { at.write(value) };
        Ok(())
    }

    /// A copy of the elements.
    pub(crate) fn elements(&self) -> Box<[u64]> {
        (0..self.len()).map(|index| self.get(index).expect("an index below the length")).collect()
    }

    /// Takes the table back to elements it had, of which there may be more now. Says whether there were: what machine
    /// code sees of the table has changed then.
    #[inline]
    pub(crate) fn restore(&self, elements: &[u64]) -> bool {
        let has_grown = self.len() != elements.len() as u64;
        if has_grown {
            self.truncate(elements.len());
        }
        if !elements.is_empty() {
            let to = self.range(0, elements.len() as u64).expect("tables never get shorter");
            // SAFETY: `range` put the elements inside the storage, which is not the copy's.
            unsafe { std::ptr::copy_nonoverlapping(elements.as_ptr(), to, elements.len()) };
        }
        has_grown
    }

    /// Forgets elements from `len` on.
    #[cold]
    fn truncate(&self, len: usize) {
        // SAFETY: as in `extend`.
        let storage = unsafe { &mut *self.storage.get() };
        storage.truncate(len);
        let base = storage.as_mut_ptr();
        // SAFETY: one thread at a time works with the store; no reference to the words exists.
        unsafe { *self.vm.base.get() = base };
        // SAFETY: as above.
        unsafe { *self.vm.length.get() = len as u64 };
    }

    /// Passes every element through `change`.
    pub(crate) fn each(&self, mut change: impl FnMut(u64) -> u64) {
        for index in 0..self.len() {
            let at = self.range(index, 1).expect("an index below the length");
            // SAFETY: `range` put the element inside the storage.
            let old = unsafe { at.read() };
            // SAFETY: as above.
            unsafe { at.write(change(old)) };
        }
    }

    /// Adds `delta` elements, each `init`, and returns the old length, or `None` if the maximum,
    /// `allow(old, new)` or the system forbids it; nothing changes then.
    pub fn grow(&self, delta: u64, init: u64, allow: impl FnOnce(u64, u64) -> bool) -> Option<u64> {
        let old = self.len();
        let new = old.checked_add(delta)?;
        if new > self.max || (delta != 0 && !allow(old, new)) {
            return None;
        }
        self.extend(delta, init).then_some(old)
    }

    /// Sets `len` elements from `dst` to `value`.
    ///
    /// # Errors
    /// If the range is not inside the table; nothing is then written.
    pub fn fill(&self, dst: u64, value: u64, len: u64) -> Result<(), TableOutOfBounds> {
        let to = self.range(dst, len)?;
        for i in 0..len as usize {
            let at = to.wrapping_add(i);
            // SAFETY: `range` put `len` elements from `to` inside the storage.
            unsafe { at.write(value) };
        }
        Ok(())
    }

    /// Copies `len` elements of `source`, which may be this table, as if through a buffer.
    ///
    /// # Errors
    /// If one of the ranges is not inside its table; nothing is then written.
    pub fn copy_from(&self, dst: u64, source: &Self, src: u64, len: u64) -> Result<(), TableOutOfBounds> {
        let (to, from) = (self.range(dst, len)?, source.range(src, len)?);
        // SAFETY: both ranges lie in their storages; `copy` allows them to overlap.
        unsafe { std::ptr::copy(from, to, len as usize) };
        Ok(())
    }

    /// Copies `len` elements of a segment from `src` on.
    ///
    /// # Errors
    /// If one of the ranges is not inside; nothing is then written.
    pub fn init(&self, dst: u64, segment: &[u64], src: u64, len: u64) -> Result<(), TableOutOfBounds> {
        let to = self.range(dst, len)?;
        let end = src.checked_add(len).filter(|&end| end <= segment.len() as u64).ok_or(TableOutOfBounds)?;
        let from = &segment[src as usize..end as usize];
        // SAFETY: `range` put `len` elements from `to` inside the storage, which is not the segment's.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    /// Checks that a range lies inside the table.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self, start: u64, len: u64) -> Result<(), TableOutOfBounds> {
        self.range(start, len).map(|_| ())
    }

    /// The address of element `start`, if `len` elements from there are inside the table.
    fn range(&self, start: u64, len: u64) -> Result<*mut u64, TableOutOfBounds> {
        let end = start.checked_add(len).ok_or(TableOutOfBounds)?;
        if end > self.len() {
            return Err(TableOutOfBounds);
        }
        // SAFETY: one thread at a time works with the store; no reference to the word exists.
        let base = unsafe { *self.vm.base.get() };
        Ok(base.wrapping_add(start as usize))
    }

    /// Adds elements and publishes the storage; false if the system has no memory.
    fn extend(&self, delta: u64, init: u64) -> bool {
        // SAFETY: this is the only place that borrows the storage; nothing below calls back.
        let storage = unsafe { &mut *self.storage.get() };
        let Ok(delta) = usize::try_from(delta) else { return false };
        if storage.try_reserve(delta).is_err() {
            return false;
        }
        storage.resize(storage.len() + delta, init);
        let (base, length) = (storage.as_mut_ptr(), storage.len() as u64);
        // SAFETY: one thread at a time works with the store; no reference to the word exists.
        unsafe { *self.vm.base.get() = base };
        // SAFETY: as above.
        unsafe { *self.vm.length.get() = length };
        true
    }
}

impl fmt::Debug for TableData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableData").field("ty", &self.ty).field("len", &self.len()).finish_non_exhaustive()
    }
}

// SAFETY: the record owns its elements; references in them are addresses of the store it moves with.
unsafe impl Send for TableData {}

#[cfg(test)]
mod tests {
    use super::*;
    use aura_host_abi::{Limits64, RefType};

    fn ty(min: u64, max: Option<u64>) -> TableType {
        TableType { element: RefType::FUNCREF, limits: Limits64 { min, max }, table64: false }
    }

    fn made(min: u64, max: Option<u64>) -> Box<TableData> {
        TableData::new(ty(min, max), 0, TABLE_ELEMENTS_LIMIT).expect("table")
    }

    fn elements(table: &TableData) -> Vec<u64> {
        (0..table.len()).map(|i| table.get(i).expect("inside")).collect()
    }

    #[test]
    fn grows_up_to_its_maximum() {
        let table = made(1, Some(3));
        assert_eq!(table.grow(1, 7, |old, new| (old, new) == (1, 2)), Some(1));
        assert_eq!(table.grow(2, 7, |_, _| true), None);
        assert_eq!(table.grow(u64::MAX, 7, |_, _| true), None);
        assert_eq!(table.grow(1, 7, |_, _| false), None);
        assert_eq!(table.grow(0, 7, |_, _| false), Some(2));
        assert_eq!(elements(&table), [0, 7]);
        assert_eq!(made(0, None).grow(1 << 32, 0, |_, _| true), None);
    }

    #[test]
    fn d3_huge_tables_are_a_clean_error() {
        for min in [TABLE_ELEMENTS_LIMIT + 1, 1 << 32, u64::MAX] {
            let wide = TableType { table64: true, ..ty(min, None) };
            assert_eq!(
                TableData::new(wide, 0, TABLE_ELEMENTS_LIMIT).expect_err("limit"),
                TableError::Limit { elements: min, limit: TABLE_ELEMENTS_LIMIT }
            );
            assert_eq!(
                TableData::new(TableType { table64: true, ..ty(u64::MAX, None) }, 0, u64::MAX).err(),
                Some(TableError::NoMemory { elements: u64::MAX })
            );
        }
    }

    #[test]
    fn c12_ranges_do_not_wrap() {
        let table = made(4, None);
        let other = made(2, None);
        for (start, len, inside) in [
            (0, 4, true),
            (4, 0, true),
            (5, 0, false),
            (3, 2, false),
            (u64::MAX, 1, false),
            (1, u64::MAX, false),
            (1 << 63, 1 << 63, false),
            (u64::MAX, 0, false),
        ] {
            assert_eq!(table.fill(start, 0, len).is_ok(), inside, "fill {start} {len}");
            assert_eq!(table.init(start, &[0; 4], 0, len).is_ok(), inside, "init {start} {len}");
            assert_eq!(made(4, None).init(0, &[0; 4], start, len).is_ok(), inside, "from segment {start} {len}");
            assert_eq!(table.copy_from(start, &made(4, None), 0, len).is_ok(), inside, "copy to {start} {len}");
            assert_eq!(made(4, None).copy_from(0, &table, start, len).is_ok(), inside, "copy from {start} {len}");
        }
        assert_eq!(table.copy_from(0, &other, 0, 3), Err(TableOutOfBounds));
        assert_eq!((table.get(4), table.set(4, 1)), (None, Err(TableOutOfBounds)));
    }

    #[test]
    fn copies_within_a_table_may_overlap() {
        let table = made(5, None);
        table.init(0, &[1, 2, 3, 4, 5], 0, 5).expect("init");
        table.copy_from(1, &table, 0, 3).expect("copy up");
        assert_eq!(elements(&table), [1, 1, 2, 3, 5]);
        table.copy_from(0, &table, 1, 4).expect("copy down");
        assert_eq!(elements(&table), [1, 2, 3, 5, 5]);
        table.fill(1, 9, 2).expect("fill");
        assert_eq!(elements(&table), [1, 9, 9, 5, 5]);
    }
}
