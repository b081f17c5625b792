//! The state of a module's own functions: made for each when it is first needed, so that having many costs nothing.
//!
//! # Safety
//! Entries lie in memory that begins as zero, of which every part of an entry is valid, and never move. Only made ones are
//! ever written, so that memory with those zeroed is as new. What [`Kept`]
//! keeps lies in boxes that are dropped with it alone.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use aura_host_abi::vm::VmFuncEntry;
use region::{Allocation, Protection};

use crate::error::{Error, Result};

/// The entry words of a module's own functions. Those that are not made are zero.
pub(crate) struct Entries(Place);

enum Place {
    Small(Box<[VmFuncEntry]>),
    Large(Large),
}

/// More entries than this get pages of their own: asking the system for those costs more than writing zeros.
const SMALL_MAX: usize = 256;

/// Pages that one owner has at a time.
struct Pages(Allocation);

// SAFETY: whoever has it owns the memory, which has no thread.
unsafe impl Send for Pages {}

/// Entries in pages that the system gives when they are touched.
struct Large {
    /// Taken when it is dropped.
    pages: Option<Pages>,
    count: usize,
    /// Those that were made.
    made: Mutex<Vec<u32>>,
}

/// Pages without a module, all zero, for the next one: to get them touched is dear. The one that came last goes first.
static SPARE: Mutex<Vec<Pages>> = Mutex::new(Vec::new());
const SPARE_MAX: usize = 2;
const SPARE_BYTES_MAX: usize = 32 << 20;
/// Where more entries were made, zeroing them costs as much as new pages.
const SPARE_MADE_MAX: usize = 1024;

// SAFETY: the memory is owned; entries hold atomics alone.
unsafe impl Send for Large {}
// SAFETY: as above.
unsafe impl Sync for Large {}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entries {
    /// So many entries, none of them made.
    ///
    /// # Errors
    /// If the system has no memory.
    pub(crate) fn new(count: usize) -> Result<Self> {
        if count <= SMALL_MAX {
            return Ok(Self(Place::Small((0..count).map(|_| VmFuncEntry::default()).collect())));
        }
        let bytes = count * size_of::<VmFuncEntry>();
        let mut spare = locked(&SPARE);
        let found = spare.iter().rposition(|pages| (bytes..=bytes.saturating_mul(16)).contains(&pages.0.len()));
        let known = found.map(|place| spare.remove(place));
        drop(spare);
        let new = || {
            region::alloc(bytes, Protection::READ_WRITE)
                .map(Pages)
                .map_err(|error| Error::resource(format!("no memory for {count} functions: {error}")))
        };
        let pages = known.map_or_else(new, Ok)?;
        Ok(Self(Place::Large(Large { pages: Some(pages), count, made: Mutex::default() })))
    }

    /// Makes an entry, which is callable from then on.
    pub(crate) fn make(&self, index: u32, first: [*mut (); 2], owner: *const (), type_id: u32) {
        self[index as usize].make(first, owner, index, type_id);
        if let Place::Large(large) = &self.0 {
            locked(&large.made).push(index);
        }
    }
}

impl Deref for Entries {
    type Target = [VmFuncEntry];

    fn deref(&self) -> &[VmFuncEntry] {
        match &self.0 {
            Place::Small(entries) => entries,
            Place::Large(Large { pages, count, .. }) => {
                let pages = pages.as_ref().expect("there until it is dropped");
                // SAFETY: the memory is owned, zero where nothing was written, page-aligned, and has room for so many.
                unsafe { std::slice::from_raw_parts(pages.0.as_ptr(), *count) }
            }
        }
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        let made = std::mem::take(&mut *locked(&self.made));
        let Some(mut pages) = self.pages.take() else { return };
        if made.len() > SPARE_MADE_MAX || pages.0.len() > SPARE_BYTES_MAX {
            return;
        }
        for index in made {
            let entry = pages.0.as_mut_ptr::<VmFuncEntry>().wrapping_add(index as usize);
            // SAFETY: an entry of these pages, which nobody refers to any more; zeros are one.
            unsafe { entry.write_bytes(0, 1) };
        }
        let mut spare = locked(&SPARE);
        if spare.len() == SPARE_MAX {
            spare.remove(0);
        }
        spare.push(pages);
    }
}

/// What was made of some of a module's functions, by index. It stays as long as this.
pub(crate) struct Kept<T>(RwLock<BTreeMap<u32, Box<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl<T> Kept<T> {
    /// What is kept of a function.
    pub(crate) fn get(&self, func: u32) -> Option<&T> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: boxes never move what they hold, and are dropped with `self` alone.
        kept.get(&func).map(|kept| unsafe { &*std::ptr::from_ref(&**kept) })
    }

    /// Keeps this, unless another thread was first.
    pub(crate) fn keep(&self, func: u32, made: T) -> &T {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.entry(func).or_insert_with(|| Box::new(made));
        // SAFETY: as in `get`.
        unsafe { &*std::ptr::from_ref(&**kept) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_begin_unmade_few_or_many() {
        for count in [0, 1, SMALL_MAX, SMALL_MAX + 1, 100_000] {
            let entries = Entries::new(count).expect("memory");
            assert_eq!(entries.len(), count);
            let Some(last) = entries.last() else { continue };
            assert!(!last.is_made() && last.form.load(std::sync::atomic::Ordering::Relaxed).is_null());
            let index = count as u32 - 1;
            entries.make(index, [std::ptr::dangling_mut(); 2], std::ptr::null(), 9);
            assert!(last.is_made() && !entries[..count - 1].iter().any(VmFuncEntry::is_made));
            assert_eq!((last.index(), last.type_id()), (index, 9));
        }
    }

    #[test]
    fn pages_that_come_again_are_zero() {
        for round in 0..20 {
            let entries = Entries::new(10_000 + round).expect("memory");
            assert!(!entries.iter().any(VmFuncEntry::is_made), "{round}");
            (0..700).for_each(|n| entries.make(n * 13, [std::ptr::dangling_mut(); 2], std::ptr::null(), n));
            entries[13].heat_by(5);
        }
    }

    #[test]
    fn the_first_to_keep_is_kept() {
        let kept = Kept::default();
        assert_eq!(kept.get(3), None);
        let first: *const String = kept.keep(3, "first".to_owned());
        assert_eq!(kept.keep(3, "second".to_owned()), "first");
        (4..100).for_each(|n| assert_eq!(kept.keep(n, n.to_string()), &n.to_string()));
        assert!(std::ptr::eq(kept.get(3).expect("kept"), first));
    }
}
