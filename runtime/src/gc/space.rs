//! The address space of a heap: where an offset becomes an address.
//!
//! ```text
//! starts │ cards │ HEAP_START inaccessible │ young │ old, one half │ old, other half │ one page inaccessible
//! ```
//!
//! The whole is reserved when the heap is made and never moves; pages become accessible as objects
//! need them. Whatever 32 bits a reference has, its address is inside: a wrong one meets other
//! objects, zeros or a fault, never memory of the host.
//!
//! # Safety
//! Trusts: the kernel's `mmap` and `mprotect` through `region` and `rustix`. Gives: reads and writes
//! lie in the reservation, which is asserted, and pages of it that are not accessible stop the process. Rust references to
//! bytes of the heap are never made; one thread at a time uses it.

use std::fmt;
use std::ops::Range;

use aura_host_abi::gc::{CARD_BYTES, CARD_SHIFT, HEAP_MAX, VmObject};
use region::{Allocation, Protection};

/// Pages become accessible by so many bytes, or more, at once.
const STEP: u64 = 1 << 20;

/// The reservation of a heap.
pub(super) struct Space {
    reservation: Allocation,
    base: *mut u8,
    /// Accessible ranges, one for each part.
    open: [Range<u64>; PARTS],
}

/// The young objects' part, and the old objects' two.
pub(super) const PARTS: usize = 3;

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("at", &self.reservation.as_range()).field("open", &self.open).finish()
    }
}

// SAFETY: the space owns its reservation.
unsafe impl Send for Space {}
// SAFETY: shared references only read.
unsafe impl Sync for Space {}

impl Space {
    /// Reserves a space whose parts begin at these offsets; the last one ends at [`HEAP_MAX`]. `None` if the system has no room.
    pub(super) fn new(starts: [u64; PARTS]) -> Option<Self> {
        let page = region::page::size();
        let size = 2 * CARD_BYTES + HEAP_MAX as usize + page;
        let reservation = region::alloc(size, Protection::NONE).ok()?;
        let first = reservation.as_ptr::<u8>().cast_mut();
        // SAFETY: the tables are the first pages of the reservation just made; nothing refers to them.
        unsafe { region::protect(first, 2 * CARD_BYTES, Protection::READ_WRITE) }.ok()?;
        let base = first.wrapping_add(2 * CARD_BYTES);
        Some(Self { reservation, base, open: starts.map(|start| start..start) })
    }

    /// The address of offset 0.
    pub(super) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Makes a part accessible up to `end` at least, and at most up to `limit`; false if the system refuses.
    pub(super) fn open(&mut self, part: usize, end: u64, limit: u64) -> bool {
        let open = &self.open[part];
        if end <= open.end {
            return true;
        }
        assert!(end <= limit && limit <= HEAP_MAX, "parts keep to their ends");
        let more = STEP.max((open.end - open.start) / 4);
        let page = region::page::size() as u64;
        let to = end.max((open.end + more).min(limit)).next_multiple_of(page);
        let from = self.base.wrapping_add(open.end as usize);
        // SAFETY: the range is inside the reservation and behind what is accessible of its part; nothing refers to it.
        let opened = unsafe { region::protect(from, (to - open.end) as usize, Protection::READ_WRITE) };
        if opened.is_err() {
            return false;
        }
        self.open[part].end = to;
        true
    }

    /// Gives the pages of a part back to the system; they stay accessible and read as zeros.
    pub(super) fn discard(&mut self, part: usize) {
        let open = &self.open[part];
        if open.is_empty() {
            return;
        }
        let at = self.base.wrapping_add(open.start as usize).cast();
        let len = (open.end - open.start) as usize;
        // SAFETY: the pages are this heap's own, private and anonymous, and hold no object any more.
        let given = unsafe { rustix::mm::madvise(at, len, rustix::mm::Advice::LinuxDontNeed) };
        given.expect("private pages can always be given back");
    }

    /// The address of `len` bytes of objects.
    ///
    /// # Panics
    /// If they are not inside the space.
    #[inline]
    pub(super) fn at(&self, at: u64, len: u64) -> *mut u8 {
        assert!(at + len <= HEAP_MAX, "objects lie in the heap");
        self.base.wrapping_add(at as usize)
    }

    /// The header of an object.
    #[inline]
    pub(super) fn header(&self, object: u32) -> VmObject {
        // SAFETY: `at` checked the range; objects are aligned to 8, and any bits are a header.
        unsafe { self.at(object.into(), 8).cast::<VmObject>().read() }
    }

    #[inline]
    pub(super) fn set_header(&self, object: u32, header: VmObject) {
        // SAFETY: as in `header`.
        unsafe { self.at(object.into(), 8).cast::<VmObject>().write(header) };
    }

    /// A reference in an object.
    #[inline]
    pub(super) fn reference(&self, at: u64) -> u32 {
        // SAFETY: `at` checked the range; references are aligned to 4.
        unsafe { self.at(at, 4).cast::<u32>().read() }
    }

    #[inline]
    pub(super) fn set_reference(&self, at: u64, reference: u32) {
        // SAFETY: as in `reference`.
        unsafe { self.at(at, 4).cast::<u32>().write(reference) };
    }

    pub(super) fn zero(&self, at: u64, len: u64) {
        // SAFETY: `at` checked the range.
        unsafe { self.at(at, len).write_bytes(0, len as usize) };
    }

    /// Copies an object to a place that it does not overlap.
    #[inline]
    pub(super) fn copy(&self, from: u64, to: u64, len: u64) {
        let (from, to) = (self.at(from, len), self.at(to, len));
        // SAFETY: `at` checked both ranges; the collector copies from one part into another.
        unsafe { std::ptr::copy_nonoverlapping(from, to, len as usize) };
    }

    /// The entry of the table `cards` for an offset.
    pub(super) fn card(&self, at: u64) -> *mut u8 {
        assert!(at < HEAP_MAX, "cards are of the heap");
        self.base.wrapping_sub(CARD_BYTES).wrapping_add((at >> CARD_SHIFT) as usize)
    }

    /// The entry of the table `starts` for an offset.
    pub(super) fn start(&self, at: u64) -> *mut u8 {
        self.card(at).wrapping_sub(CARD_BYTES)
    }
}
