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
use std::os::fd::OwnedFd;
use std::sync::Arc;

use region::Protection;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::memory::LinearMemory;
use crate::error::{Error, Result};

/// Bytes of a page of the host.
pub(crate) const PAGE: usize = 4096;
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
/// Bytes of content from which on an image is a file that memories map, and not a copy.
const FILE_FROM: usize = 256 << 10;

/// Bytes of the longest memory that an image may be of.
const IMAGE_MAX: usize = 1 << 40;

/// A page of zeros, to compare with.
static ZEROS: [u8; PAGE] = [0; PAGE];

/// What a memory holds when an instance begins: immutable, shared by all slots of an image.
pub(crate) struct MemoryImage {
    /// In bytes, of the memory.
    length: u64,
    /// The pages up to the last that is not zero.
    content: Content,
    /// Whether a page is not zero, by page.
    has_bytes: Box<[bool]>,
}

/// Pages from the first to the last that is not zero.
struct Content {
    base: *const u8,
    bytes: usize,
    file: Option<OwnedFd>,
}

// SAFETY: nobody writes the pages once they are made.
unsafe impl Send for Content {}
// SAFETY: as above.
unsafe impl Sync for Content {}

impl Drop for Content {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: `MemoryImage::of` mapped it, and nobody else has the address.
            let _ = unsafe { rustix::mm::munmap(self.base.cast_mut().cast(), self.bytes) };
        }
    }
}

impl fmt::Debug for MemoryImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryImage").field("length", &self.length).field("content", &self.content.bytes).finish()
    }
}

impl MemoryImage {
    /// The image of a memory as it is now.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub(crate) fn of(memory: &LinearMemory) -> rustix::io::Result<Self> {
        let length = memory.byte_len();
        let pages = (length as usize).div_ceil(PAGE);
        let has_bytes: Box<[bool]> = (0..pages).map(|page| page_of(memory, page) != ZEROS).collect();
        let bytes = has_bytes.iter().rposition(|&has| has).map_or(0, |last| (last + 1) * PAGE);
        let content = Content::new(bytes)?;
        for page in (0..pages).filter(|&page| has_bytes[page]) {
            let to = content.base.cast_mut().wrapping_add(page * PAGE);
            let from = memory.base().wrapping_add(page * PAGE);
            // SAFETY: both have the page; the mapping is new.
            unsafe { std::ptr::copy_nonoverlapping(from, to, PAGE) };
        }
        content.seal()?;
        Ok(Self { length, content, has_bytes })
    }

    /// The image of a memory of `length` bytes whose pages are zero but for these, ascending, which `read` gives in
    /// order, a run of neighbours at a time. `None` if there are no such pages.
    ///
    /// # Errors
    /// Those of `read`; if the system has no room.
    pub(crate) fn from_pages(
        length: u64,
        kept: &[u32],
        mut read: impl FnMut(&mut [u8]) -> Result<()>,
    ) -> Result<Option<Self>> {
        let pages = usize::try_from(length).ok().filter(|length| *length <= IMAGE_MAX).map(|it| it.div_ceil(PAGE));
        let Some(pages) = pages
            .filter(|&pages| kept.is_sorted_by(|a, b| a < b) && kept.last().is_none_or(|&it| (it as usize) < pages))
        else {
            return Ok(None);
        };
        let no_room = |error: rustix::io::Errno| Error::resource(format!("keeping a memory's content: {error}"));
        let mut has_bytes = vec![false; pages].into_boxed_slice();
        let bytes = kept.last().map_or(0, |&last| (last as usize + 1) * PAGE);
        let content = Content::new(bytes).map_err(no_room)?;
        for run in kept.chunk_by(|a, b| a + 1 == *b) {
            let (first, bytes) = (run[0] as usize, run.len() * PAGE);
            has_bytes[first..first + run.len()].fill(true);
            let to = content.base.cast_mut().wrapping_add(first * PAGE);
            // All pages of the run at once, instead of a fault for each; where the system does not know how, they fault.
            // SAFETY: the run lies in the mapping, which is new and nobody else's.
            let _ = unsafe { rustix::mm::madvise(to.cast(), bytes, Advice::LinuxPopulateWrite) };
            // SAFETY: as above.
            read(unsafe { std::slice::from_raw_parts_mut(to, bytes) })?;
        }
        content.seal().map_err(no_room)?;
        Ok(Some(Self { length, content, has_bytes }))
    }

    /// The pages that are not zero, ascending.
    pub(crate) fn kept_pages(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.has_bytes).filter(|(_, has)| **has).map(|(page, _)| page)
    }

    /// The bytes of a page.
    pub(crate) fn bytes_of(&self, page: u32) -> &[u8; PAGE] {
        // SAFETY: a page of the image, or of zeros: readable, and never written again.
        unsafe { &*self.page(page as usize).cast() }
    }

    /// Bytes of the memory.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the content is a file, which memories map.
    pub(crate) fn is_file(&self) -> bool {
        self.content.file.is_some()
    }

    fn pages(&self) -> usize {
        self.has_bytes.len()
    }

    /// A page's bytes.
    #[inline(always)]
    fn page(&self, page: usize) -> *const u8 {
        if self.has_bytes[page] { self.content.base.wrapping_add(page * PAGE) } else { ZEROS.as_ptr() }
    }

    /// Puts the content into a memory that reads as zeros and has the image's length at least.
    ///
    /// # Errors
    /// If the system refuses to map the file.
    pub(crate) fn fill(&self, memory: &LinearMemory) -> rustix::io::Result<()> {
        assert!(memory.byte_len() >= self.length, "the memory has the image's length");
        if let Some(file) = &self.content.file {
            let flags = MapFlags::PRIVATE | MapFlags::FIXED;
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let (base, bytes) = (memory.base().cast(), self.content.bytes);
            // SAFETY: the range lies inside the memory's length, whose pages nobody refers to; the file is sealed.
            unsafe { rustix::mm::mmap(base, bytes, protection, flags, file, 0) }?;
            memory.note_mapping();
            return Ok(());
        }
        self.copy_to(memory);
        Ok(())
    }

    fn copy_to(&self, memory: &LinearMemory) {
        for page in (0..self.pages()).filter(|&page| self.has_bytes[page]) {
            // SAFETY: the page lies inside the memory, writable, and is not the image's.
            unsafe { std::ptr::copy_nonoverlapping(self.page(page), memory.base().wrapping_add(page * PAGE), PAGE) };
        }
    }
}

impl Content {
    /// Pages of zeros, to be written and sealed.
    fn new(bytes: usize) -> rustix::io::Result<Self> {
        if bytes == 0 {
            return Ok(Self { base: std::ptr::null(), bytes, file: None });
        }
        let file = if bytes >= FILE_FROM { Some(new_file(bytes)?) } else { None };
        Ok(Self { base: map_new(bytes, file.as_ref())?.cast(), bytes, file })
    }

    /// Nobody changes the pages any more.
    fn seal(&self) -> rustix::io::Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        // SAFETY: the mapping is this value's own.
        unsafe { rustix::mm::mprotect(self.base.cast_mut().cast(), self.bytes, rustix::mm::MprotectFlags::READ) }?;
        match &self.file {
            Some(file) => {
                rustix::fs::fcntl_add_seals(file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE)
            }
            None => Ok(()),
        }
    }
}

fn new_file(bytes: usize) -> rustix::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("aura-image", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&file, bytes as u64)?;
    Ok(file)
}

fn map_new(bytes: usize, file: Option<&OwnedFd>) -> rustix::io::Result<*mut std::ffi::c_void> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    match file {
        // SAFETY: a new mapping at a place of the system's choice.
        Some(file) => unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, file, 0) },
        // SAFETY: as above.
        None => unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) },
    }
}

/// A copy of a page of a memory.
fn page_of(memory: &LinearMemory, page: usize) -> [u8; PAGE] {
    let mut bytes = [0; PAGE];
    // SAFETY: pages of the length are readable to their end; no guest runs.
    unsafe { std::ptr::copy_nonoverlapping(memory.base().wrapping_add(page * PAGE), bytes.as_mut_ptr(), PAGE) };
    bytes
}

/// What is known of the pages of a memory that goes back to its image.
pub(crate) struct Tracking {
    image: Arc<MemoryImage>,
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
        let always_open = !protects || pages == 0 || region::page::size() != PAGE;
        let this = Self {
            listed: UnsafeCell::new(Vec::with_capacity(if always_open { 0 } else { LISTED_MAX.min(pages) })),
            clean: UnsafeCell::new(vec![0; if always_open { 0 } else { pages }].into()),
            is_open: UnsafeCell::new(vec![false; if always_open { 0 } else { pages }].into()),
            all_open: Cell::new(pages > 0),
            always_open,
            faults: Cell::new(0),
            overflows: Cell::new(0),
            resets: Cell::new(0),
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
        // What was lent is the host's, and may end on other threads at any time: such a memory does not come back.
        if memory.lending().is_some() || (memory.byte_len() != self.image.length && !memory.shrink(self.image.length)) {
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
        if memory.byte_len() != self.image.length {
            return Some(memory.byte_len().min(self.image.length));
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
        if self.image.content.file.is_none() {
            for page in (0..self.image.pages()).filter(|&page| self.image.has_bytes[page]) {
                self.restore(memory, page);
            }
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
