//! Slices: memories of the same most length side by side in one mapping, for very many small ones.
//!
//! ```text
//! slice 0 │ slice 1 │ ... │ slice count - 1 │ one inaccessible page
//! ```
//!
//! A process has some 65,000 mappings; slices take one, however many there are. All of it is readable and writable: only
//! the memory's length bounds an access, so that memories in slices have explicit bounds, and neither windows nor pages that
//! are write-protected. What no memory has used takes no memory of the system's.
//!
//! Invariants: a slice is one memory's, or it is free and reads as zeros. The protection of the mapping never changes.
//!
//! # Safety
//! Trusts: whoever drops a [`Slice`] uses none of its addresses any more. Gives: a slice's addresses are its own, and
//! the mapping stays as long as any slice of it.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

use super::memory::MemoryError;

/// The mapping.
pub(super) struct Slices {
    base: *mut u8,
    len: usize,
    /// Of each, a multiple of the page size.
    bytes: usize,
    count: usize,
    free: Mutex<Free>,
}

/// Which slices are free.
#[derive(Debug, Default)]
struct Free {
    /// From this one on none was ever used.
    fresh: usize,
    given_back: Vec<usize>,
}

impl fmt::Debug for Slices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slices").field("count", &self.count).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

// SAFETY: the mapping is usable from any thread; who has which slice is behind a lock.
unsafe impl Send for Slices {}
// SAFETY: as above.
unsafe impl Sync for Slices {}

impl Slices {
    /// Maps `count` slices of `bytes` each, rounded up to whole pages.
    ///
    /// # Errors
    /// If the system has no address space for them.
    pub(super) fn new(count: usize, bytes: u64) -> Result<Arc<Self>, MemoryError> {
        let page = region::page::size();
        let each = bytes.checked_next_multiple_of(page as u64).unwrap_or(u64::MAX);
        let all = each.saturating_mul(count as u64).saturating_add(page as u64);
        let system = |errno: rustix::io::Errno| MemoryError::System {
            bytes: all,
            source: region::Error::SystemCall(errno.raw_os_error()),
        };
        let len = usize::try_from(all).unwrap_or(usize::MAX & !(page - 1));
        let (flags, prot) = (MapFlags::PRIVATE | MapFlags::NORESERVE, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at a place of the system's choice.
        let base = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, prot, flags) };
        let base = base.map_err(system)?.cast::<u8>();
        let made = Self { base, len, bytes: each as usize, count, free: Mutex::default() };
        let last = base.wrapping_add(len - page).cast();
        // SAFETY: the last page of the mapping just made; nobody uses it.
        unsafe { rustix::mm::mprotect(last, page, MprotectFlags::empty()) }.map_err(system)?;
        // A page of two megabytes would be given for the first byte of some thirty memories. Systems without such pages refuse.
        // SAFETY: the mapping just made.
        let _ = unsafe { rustix::mm::madvise(base.cast(), len, Advice::LinuxNoHugepage) };
        Ok(Arc::new(made))
    }

    /// A slice that reads as zeros.
    ///
    /// # Errors
    /// If all are in use.
    pub(super) fn take(self: &Arc<Self>) -> Result<Slice, MemoryError> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match free.given_back.pop() {
            Some(index) => index,
            None if free.fresh < self.count => {
                free.fresh += 1;
                free.fresh - 1
            }
            None => return Err(MemoryError::NoSlice { count: self.count }),
        };
        Ok(Slice { slices: self.clone(), index })
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it, and no slice of it is left.
        unsafe { rustix::mm::munmap(self.base.cast(), self.len) }.expect("a mapping can be unmapped");
    }
}

/// One memory's share of a mapping. Dropping it gives it back, zeroed.
#[derive(Debug)]
pub(super) struct Slice {
    slices: Arc<Slices>,
    index: usize,
}

impl Slice {
    /// Its addresses.
    pub(super) fn range(&self) -> Range<usize> {
        let start = self.base().addr();
        start..start + self.slices.bytes
    }

    /// Where it begins.
    pub(super) fn base(&self) -> *mut u8 {
        self.slices.base.wrapping_add(self.index * self.slices.bytes)
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        let bytes = self.slices.bytes;
        // SAFETY: the slice's own pages, private and anonymous, which nobody uses any more.
        let forgotten = unsafe { rustix::mm::madvise(self.base().cast(), bytes, Advice::LinuxDontNeed) };
        if forgotten.is_err() {
            // SAFETY: as above; all of it is writable.
            unsafe { self.base().write_bytes(0, bytes) };
        }
        self.slices.free.lock().unwrap_or_else(PoisonError::into_inner).given_back.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_lie_side_by_side_and_come_back_zeroed() {
        let slices = Slices::new(3, 100).expect("room");
        let page = region::page::size();
        let all: Vec<Slice> = (0..3).map(|_| slices.take().expect("free")).collect();
        assert!(all.windows(2).all(|two| two[0].range().end == two[1].range().start && two[0].range().len() == page));
        let error = slices.take().expect_err("all are in use").to_string();
        assert!(error.contains("all 3 slices") && error.contains("memory_slices"), "{error}");
        for slice in &all {
            // SAFETY: the slice is this test's.
            unsafe { slice.base().write_bytes(0xc5, page) };
        }
        let end = all[2].range().end;
        drop(all);
        for _ in 0..3 {
            let slice = slices.take().expect("given back");
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(slice.base(), page) };
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
        let behind = region::query(std::ptr::with_exposed_provenance::<u8>(end)).expect("query");
        assert_eq!(behind.protection(), region::Protection::NONE);
    }

    #[test]
    fn none_are_no_mistake() {
        let error = Slices::new(0, 1 << 16).expect("a page").take().expect_err("none");
        assert!(error.to_string().contains("all 0 slices"), "{error}");
        assert!(Slices::new(usize::MAX, u64::MAX).is_err());
    }
}
