//! What a memory holds when an instance of an image begins.
//!
//! Small content is a copy; large content is a file of the system's, which memories map privately.
//!
//! # Safety
//! Trusts: nobody writes a memory while its image is made. Gives: the pages of an image never change.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::memory::LinearMemory;
use super::pages;
use crate::error::{Error, Result};

/// Bytes of a page of the host.
pub(crate) const PAGE: usize = 4096;
/// Bytes of content from which on an image is a file that memories map, and not a copy.
const FILE_FROM: usize = 256 << 10;

/// Pages that a thread reads at a time; fewer are not worth a second thread.
const PART_PAGES: usize = 256;

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
    /// The image of a memory as it is now, without what lies in and behind windows.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub(crate) fn of(memory: &LinearMemory) -> rustix::io::Result<Self> {
        let length = memory.plain_len();
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

    /// The image of a memory of `length` bytes whose pages are zero but for these, ascending. `read` gives runs of neighbours
    /// by their place among these, on several threads if there are many. `None` if there are no such pages.
    ///
    /// # Errors
    /// Those of `read`; if the system has no room.
    pub(crate) fn from_pages(
        length: u64,
        kept: &[u32],
        read: impl Fn(usize, &mut [u8]) -> Result<()> + Sync,
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
        kept.iter().for_each(|&page| has_bytes[page as usize] = true);
        content.read(kept, read)?;
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

    pub(crate) fn pages(&self) -> usize {
        self.has_bytes.len()
    }

    /// A page's bytes.
    #[inline(always)]
    pub(crate) fn page(&self, page: usize) -> *const u8 {
        if self.has_bytes[page] { self.content.base.wrapping_add(page * PAGE) } else { ZEROS.as_ptr() }
    }

    /// Puts the content into a memory that reads as zeros and has the image's length at least.
    ///
    /// # Errors
    /// If the system refuses to map the file.
    pub(crate) fn fill(&self, memory: &LinearMemory) -> rustix::io::Result<()> {
        assert!(memory.plain_len() >= self.length, "the memory has the image's length");
        if let Some(file) = self.content.file.as_ref().filter(|_| !memory.is_slice()) {
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
        for page in self.kept_pages() {
            let page = page as usize;
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

    fn place(&self, page: u32) -> *mut u8 {
        self.base.cast_mut().wrapping_add(page as usize * PAGE)
    }

    /// Reads pages, ascending ones, before anybody else has the content.
    fn read(&self, pages: &[u32], read: impl Fn(usize, &mut [u8]) -> Result<()> + Sync) -> Result<()> {
        let runs = pages.chunk_by(|a, b| a + 1 == *b).flat_map(|run| run.chunks(PART_PAGES));
        let parts: Vec<(usize, &[u32])> = runs
            .scan(0, |next, part| {
                let at = *next;
                *next += part.len();
                Some((at, part))
            })
            .collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((at, part)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (to, bytes) = (self.place(part[0]), part.len() * PAGE);
                pages::populate(to, bytes);
                // SAFETY: the part lies in the mapping, which nobody else has; no two parts have a page in common, and each has one number.
                read(*at, unsafe { std::slice::from_raw_parts_mut(to, bytes) })?;
            }
            Ok(())
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = cores.min(pages.len() / PART_PAGES);
        std::thread::scope(|scope| {
            let others: Vec<_> =
                (1..threads).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
            let own = work();
            let panicked = |_| Err(Error::resource("reading a memory's content: a thread panicked"));
            others.into_iter().fold(own, |all, other| all.and(other.join().unwrap_or_else(panicked)))
        })
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
pub(crate) fn page_of(memory: &LinearMemory, page: usize) -> [u8; PAGE] {
    let mut bytes = [0; PAGE];
    // SAFETY: pages of the length are readable to their end; no guest runs.
    unsafe { std::ptr::copy_nonoverlapping(memory.base().wrapping_add(page * PAGE), bytes.as_mut_ptr(), PAGE) };
    bytes
}
