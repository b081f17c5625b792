//! Memories that go back to how they were: what a slot keeps for the memory of its instance.
//!
//! ```text
//! first life   all pages are read-only; the first write to one faults once: it becomes writable and is listed
//! reset        the listed pages are copied back from the image: nothing else can differ, since the hardware forbade it
//! next lives   listed pages stay writable: no fault, no system call
//! ```
//!
//! A page that stayed as it was in several resets that looked leaves the list. A life with more than
//! [`FAULTS_MAX`] faults opens the whole memory: its reset compares all pages and lists those that differ. After
//! [`OVERFLOWS_MAX`] such lives, or if the memory is large, it stays open; large ones are then given back to the system.
//!
//! Invariants: a page of the image's length is writable only if it is listed or all are open. A page that is listed
//! is listed once. The list never passes its capacity, since the signal handler, which adds to it, cannot allocate.
//!
//! # Safety
//! Trusts: [`LinearMemory`]'s reservation; one thread at a time, its signal handler included, uses a memory that is
//! tracked. Gives: protections of accessible pages only are changed, between read-only and read-write.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::sync::Arc;

use region::Protection;
use rustix::mm::Advice;

use super::content::{MemoryImage, PAGE, page_of};
use super::memory::LinearMemory;

/// Faults in one life after which the whole memory is opened.
const FAULTS_MAX: u32 = 32;
/// Pages that may be listed.
const LISTED_MAX: usize = 1024;
/// Lives that open the whole memory, after which it is not protected again.
const OVERFLOWS_MAX: u32 = 4;
/// Pages of a memory that is compared when it was open; a larger one is given back to the system.
const COMPARED_MAX: usize = 512;
/// Every so many resets look whether listed pages were written at all.
const LOOK_EVERY: u32 = 64;
/// A page that was clean in so many of those leaves the list.
const CLEAN_MAX: u8 = 4;

/// What is known of the pages of a memory that goes back to its image.
pub(crate) struct Tracking {
    image: Arc<MemoryImage>,
    /// The memory's, with the window that a slot keeps.
    length: u64,
    /// Pages that are writable.
    listed: UnsafeCell<Vec<u32>>,
    /// By page, for those of the list: in how many looks it was clean.
    clean: UnsafeCell<Box<[u8]>>,
    is_open: UnsafeCell<Box<[bool]>>,
    all_open: Cell<bool>,
    /// Nothing is protected: the memory's pages cannot be listed.
    always_open: bool,
    faults: Cell<u32>,
    overflows: Cell<u32>,
    resets: Cell<u32>,
}

impl fmt::Debug for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracking")
            .field("all_open", &self.all_open)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Tracking {
    /// Begins to track a memory that is as its image is now. `protects` says that pages may be protected; `expected` are
    /// pages that others were seen to write.
    pub(crate) fn new(memory: &LinearMemory, image: Arc<MemoryImage>, protects: bool, expected: &[u32]) -> Self {
        let pages = image.pages();
        let always_open = !protects || memory.is_slice() || pages == 0 || region::page::size() != PAGE;
        let this = Self {
            listed: UnsafeCell::new(Vec::with_capacity(if always_open { 0 } else { LISTED_MAX.min(pages) })),
            clean: UnsafeCell::new(vec![0; if always_open { 0 } else { pages }].into()),
            is_open: UnsafeCell::new(vec![false; if always_open { 0 } else { pages }].into()),
            all_open: Cell::new(pages > 0),
            always_open,
            faults: Cell::new(0),
            overflows: Cell::new(0),
            resets: Cell::new(0),
            length: memory.byte_len(),
            image,
        };
        if !always_open {
            this.close(memory, expected);
        }
        this
    }

    /// The pages that are listed now.
    pub(crate) fn listed(&self) -> Vec<u32> {
        let mut pages = self.list().clone();
        pages.sort_unstable();
        pages
    }

    #[allow(clippy::mut_from_ref, reason = "one thread uses it, and no borrow lasts longer than a method")]
    fn list(&self) -> &mut Vec<u32> {
        // SAFETY: one thread uses this value; borrows end within the method that makes them, and faults happen outside.
        unsafe { &mut *self.listed.get() }
    }

    #[allow(clippy::mut_from_ref, reason = "as above")]
    fn open_flags(&self) -> &mut [bool] {
        // SAFETY: as in `list`.
        unsafe { &mut *self.is_open.get() }
    }

    /// Protects all pages but these, which it lists.
    fn close(&self, memory: &LinearMemory, pages: &[u32]) {
        self.list().clear();
        self.open_flags().fill(false);
        if !protect(memory, 0, self.image.pages(), Protection::READ) {
            self.all_open.set(true);
            return;
        }
        self.all_open.set(false);
        let pages = &pages[..pages.len().min(self.list().capacity())];
        for run in pages.chunk_by(|a, b| a + 1 == *b) {
            self.open(memory, run[0] as usize, run.len());
        }
    }

    /// Makes pages writable and lists them.
    fn open(&self, memory: &LinearMemory, first: usize, count: usize) {
        let list = self.list();
        if list.len() + count > list.capacity() || !protect(memory, first, count, Protection::READ_WRITE) {
            return self.open_all(memory);
        }
        for page in first..first + count {
            if !std::mem::replace(&mut self.open_flags()[page], true) {
                list.push(page as u32);
            }
        }
    }

    fn open_all(&self, memory: &LinearMemory) {
        // What cannot be made writable stays protected, and its next write is a fault that nobody claims.
        self.all_open.set(protect(memory, 0, self.image.pages(), Protection::READ_WRITE));
    }

    /// A write to this offset of the memory faulted; says whether it may go on now. The signal handler calls this.
    pub(crate) fn fault(&self, memory: &LinearMemory, offset: usize) -> bool {
        let page = offset / PAGE;
        if self.all_open.get() || page >= self.image.pages() || self.open_flags()[page] {
            return false;
        }
        self.faults.set(self.faults.get() + 1);
        if self.faults.get() > FAULTS_MAX {
            self.open_all(memory);
        } else {
            self.open(memory, page, 1);
        }
        self.all_open.get() || self.open_flags()[page]
    }

    /// Makes a range of the memory writable, for writers whose faults nobody would see.
    pub(crate) fn make_writable(&self, memory: &LinearMemory, offset: u64, len: u64) {
        let pages = self.image.pages() as u64;
        let (first, end) =
            ((offset / PAGE as u64).min(pages), offset.saturating_add(len).div_ceil(PAGE as u64).min(pages));
        if self.all_open.get() || first >= end {
            return;
        }
        let (first, end) = (first as usize, end as usize);
        if self.open_flags()[first..end].iter().all(|open| *open) {
            return;
        }
        if end - first > FAULTS_MAX as usize { self.open_all(memory) } else { self.open(memory, first, end - first) }
    }

    /// Takes the memory back to its image; false if that is not possible.
    #[inline]
    pub(crate) fn reset(&self, memory: &LinearMemory) -> bool {
        if !memory.go_back(self.image.length(), self.length) {
            return false;
        }
        if self.all_open.get() {
            return self.reset_all(memory);
        }
        self.faults.set(0);
        self.resets.set(self.resets.get().wrapping_add(1));
        if self.resets.get().is_multiple_of(LOOK_EVERY) {
            self.look(memory);
        }
        for &page in &*self.list() {
            self.restore(memory, page as usize);
        }
        true
    }

    #[inline(always)]
    fn restore(&self, memory: &LinearMemory, page: usize) {
        let (from, to) = (self.image.page(page), memory.base().wrapping_add(page * PAGE));
        // SAFETY: a page of the image, and one of the memory, which is writable because it is listed or all are.
        unsafe { std::ptr::copy_nonoverlapping(from, to, PAGE) };
    }

    /// The first offset at which a memory is not as its image.
    pub(crate) fn difference(&self, memory: &LinearMemory) -> Option<u64> {
        if memory.byte_len() != self.length {
            return Some(memory.byte_len().min(self.length));
        }
        (0..self.image.pages()).find(|&page| self.differs(memory, page)).map(|page| (page * PAGE) as u64)
    }

    fn differs(&self, memory: &LinearMemory, page: usize) -> bool {
        // SAFETY: a page of the image.
        let image = unsafe { &*self.image.page(page).cast::<[u8; PAGE]>() };
        page_of(memory, page) != *image
    }

    /// Takes pages off the list that nobody has written for long.
    #[cold]
    #[inline(never)]
    fn look(&self, memory: &LinearMemory) {
        // SAFETY: as in `list`.
        let clean = unsafe { &mut *self.clean.get() };
        let flags = self.open_flags();
        self.list().retain(|&page| {
            let page = page as usize;
            clean[page] = if self.differs(memory, page) { 0 } else { clean[page] + 1 };
            let stays = clean[page] < CLEAN_MAX || !protect(memory, page, 1, Protection::READ);
            if !stays {
                (clean[page], flags[page]) = (0, false);
            }
            stays
        });
    }

    /// Takes back a memory whose pages were all writable.
    #[cold]
    #[inline(never)]
    fn reset_all(&self, memory: &LinearMemory) -> bool {
        self.faults.set(0);
        self.overflows.set(self.overflows.get().saturating_add(1));
        let pages = self.image.pages();
        if pages > COMPARED_MAX {
            return self.give_back(memory);
        }
        let differing: Vec<u32> =
            (0..pages).filter(|&page| self.differs(memory, page)).map(|page| page as u32).collect();
        for &page in &differing {
            self.restore(memory, page as usize);
        }
        if !self.always_open && self.overflows.get() < OVERFLOWS_MAX {
            self.close(memory, &differing);
        }
        true
    }

    /// Lets the system forget a large memory's pages.
    fn give_back(&self, memory: &LinearMemory) -> bool {
        let (base, bytes) = (memory.base().cast(), self.image.pages() * PAGE);
        // SAFETY: the range is the memory's own, private; nobody refers to it.
        if unsafe { rustix::mm::madvise(base, bytes, Advice::LinuxDontNeed) }.is_err() {
            return false;
        }
        if !self.image.is_file() || memory.is_slice() {
            self.image.kept_pages().for_each(|page| self.restore(memory, page as usize));
        }
        if !self.always_open && self.overflows.get() < OVERFLOWS_MAX {
            self.close(memory, &self.listed());
        }
        true
    }
}

/// Changes the protection of pages of a tracked memory. Async-signal-safe.
fn protect(memory: &LinearMemory, first: usize, count: usize, protection: Protection) -> bool {
    let flags = match protection {
        Protection::READ => rustix::mm::MprotectFlags::READ,
        _ => rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE,
    };
    let from = memory.base().wrapping_add(first * PAGE);
    // SAFETY: callers pass pages of the image's length, which lie in the memory's length: accessible before and after.
    unsafe { rustix::mm::mprotect(from.cast(), count * PAGE, flags) }.is_ok()
}
