//! Pages that compiled loops read at each pass: an interrupt takes a store's page away, and the read faults.
//!
//! Every page is part of one region of zeros, and one store's as long as that holds it. Pages that came back are given first,
//! so that reading them faults no more. Taking a page away changes what the system has mapped in one page; where it can, by a
//! mark on the page that splits no mapping (Linux 6.13), else by its protection.
//!
//! # Safety
//! Trusts: `mmap`, `madvise` and `mprotect`. Gives: a page can be read until [`Page::close`] and from [`Page::open`] on; nobody
//! writes to it; the region is never unmapped.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use crate::error::{Error, Result};

/// Pages for which address space is taken at once.
const REGION_PAGES: usize = 1 << 14;

/// Makes any access to a range of pages a fault, and takes that back, without a change of mappings.
const MADV_GUARD_INSTALL: libc::c_int = 102;
const MADV_GUARD_REMOVE: libc::c_int = 103;

/// Addresses of pages that belong to nobody.
#[derive(Debug)]
struct Pool {
    returned: Vec<usize>,
    /// Those never given: the next, and where they end.
    next: usize,
    end: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { returned: Vec::new(), next: 0, end: 0 });

impl Pool {
    fn take(&mut self) -> Result<usize> {
        if let Some(page) = self.returned.pop() {
            return Ok(page);
        }
        if self.next == self.end {
            let bytes = REGION_PAGES * rustix::param::page_size();
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            // SAFETY: the system chooses the place, so that nothing is mapped over.
            let region = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ, flags) };
            let region =
                region.map_err(|error| Error::resource(format!("no address space to interrupt loops: {error}")))?;
            (self.next, self.end) = (region.addr(), region.addr() + bytes);
        }
        let page = self.next;
        self.next += rustix::param::page_size();
        Ok(page)
    }
}

/// A page of one store.
#[derive(Debug)]
pub(crate) struct Page {
    address: usize,
    /// Whether it may be taken away. Most never are, and then dropping them asks nothing of the system.
    may_be_closed: AtomicBool,
}

impl Page {
    /// A page that can be read.
    pub(crate) fn take() -> Result<Self> {
        let address = POOL.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Ok(Self { address, may_be_closed: AtomicBool::new(false) })
    }

    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// Makes reading the page a fault, from the time this returns on. It returns later where a process has as many mappings
    /// as it may and the system knows no other way.
    pub(crate) fn close(&self) {
        self.may_be_closed.store(true, SeqCst);
        while !self.advise(MADV_GUARD_INSTALL) && !self.protect(MprotectFlags::empty()) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Makes the page one that can be read.
    pub(crate) fn open(&self) {
        // Merging mappings takes none.
        let opened = self.advise(MADV_GUARD_REMOVE) | self.protect(MprotectFlags::READ);
        assert!(opened, "a page of this region can be made readable");
    }

    fn advise(&self, advice: libc::c_int) -> bool {
        let place = std::ptr::without_provenance_mut(self.address);
        // SAFETY: the page is one of the region, and nothing but compiled code reads it, which takes a fault for an interrupt.
        unsafe { libc::madvise(place, rustix::param::page_size(), advice) == 0 }
    }

    fn protect(&self, flags: MprotectFlags) -> bool {
        let place = std::ptr::without_provenance_mut(self.address);
        // SAFETY: as above.
        unsafe { rustix::mm::mprotect(place, rustix::param::page_size(), flags) }.is_ok()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if *self.may_be_closed.get_mut() {
            self.open();
        }
        POOL.lock().unwrap_or_else(PoisonError::into_inner).returned.push(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the system can read a byte of the page.
    fn can_be_read(page: &Page) -> bool {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let place = std::ptr::without_provenance(page.address());
        // SAFETY: the system answers that a place cannot be read with an error.
        let written = unsafe { libc::write(std::os::fd::AsRawFd::as_raw_fd(&writer), place, 1) };
        drop(reader);
        written == 1
    }

    #[test]
    fn a_page_is_taken_away_and_comes_back() {
        let (page, other) = (Page::take().expect("a page"), Page::take().expect("a page"));
        assert_ne!(page.address(), other.address());
        for _ in 0..2 {
            assert!(can_be_read(&page));
            page.close();
            page.close();
            assert!(!can_be_read(&page) && can_be_read(&other));
            page.open();
        }
        page.close();
        let address = page.address();
        drop(page);
        let pages: Vec<_> = std::iter::from_fn(|| Page::take().ok()).take(64).collect();
        for page in pages.iter().filter(|page| page.address() == address) {
            assert!(can_be_read(page), "whoever gets it next can read it");
        }
    }
}
