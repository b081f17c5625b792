//! The state of a module's own functions: made for each when it is first needed, so that having many costs nothing.
//!
//! # Safety
//! Entries lie in memory that begins as zero, of which every part of an entry is valid, and never move. What [`Kept`]
//! keeps lies in boxes that are dropped with it alone.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{PoisonError, RwLock};

use aura_host_abi::vm::VmFuncEntry;
use region::{Allocation, Protection};

use crate::error::{Error, Result};

/// The entry words of a module's own functions. Those that are not made are zero.
pub(crate) struct Entries(Place);

enum Place {
    Small(Box<[VmFuncEntry]>),
    /// Pages that the system gives when they are touched, and how many entries they hold.
    Large(Allocation, usize),
}

/// More entries than this get pages of their own: asking the system for those costs more than writing zeros.
const SMALL_MAX: usize = 256;

// SAFETY: the memory is owned; entries hold atomics alone.
unsafe impl Send for Entries {}
// SAFETY: as above.
unsafe impl Sync for Entries {}

impl Entries {
    /// So many entries, none of them made.
    ///
    /// # Errors
    /// If the system has no memory.
    pub(crate) fn new(count: usize) -> Result<Self> {
        if count <= SMALL_MAX {
            return Ok(Self(Place::Small((0..count).map(|_| VmFuncEntry::default()).collect())));
        }
        let memory = region::alloc(count * size_of::<VmFuncEntry>(), Protection::READ_WRITE)
            .map_err(|error| Error::resource(format!("no memory for {count} functions: {error}")))?;
        Ok(Self(Place::Large(memory, count)))
    }
}

impl Deref for Entries {
    type Target = [VmFuncEntry];

    fn deref(&self) -> &[VmFuncEntry] {
        match &self.0 {
            Place::Small(entries) => entries,
            // SAFETY: the memory is owned, zero where nothing was written, page-aligned, and has room for so many.
            Place::Large(memory, count) => unsafe { std::slice::from_raw_parts(memory.as_ptr(), *count) },
        }
    }
}

/// What was made of some of a module's functions, by index. It stays as long as this.
pub(crate) struct Kept<T>(RwLock<HashMap<u32, Box<T>>>);

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
            last.make([std::ptr::dangling_mut(); 2], std::ptr::null(), 7, 9);
            assert!(last.is_made() && !entries[..count - 1].iter().any(VmFuncEntry::is_made));
            assert_eq!((last.index(), last.type_id()), (7, 9));
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
