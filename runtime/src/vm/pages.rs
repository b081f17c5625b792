//! Pages that are about to be written.
//!
//! # Safety
//! Trusts: the system, that to ask for pages changes none of their bytes, wherever they are.

use rustix::mm::{Advice, madvise};

/// Has the system give the pages of a range at once, instead of a fault for each. Where it does not know how, or they cannot be
/// written, they are left as they are.
pub(crate) fn populate(start: *mut u8, bytes: usize) {
    // SAFETY: bytes stay what they are, and what is not mapped for writing is refused.
    let _ = unsafe { madvise(start.cast(), bytes, Advice::LinuxPopulateWrite) };
}

/// Says before that, of a range that will be filled, that the pages should be huge.
pub(crate) fn prefer_huge(start: *mut u8, bytes: usize) {
    // SAFETY: bytes stay what they are.
    let _ = unsafe { madvise(start.cast(), bytes, Advice::LinuxHugepage) };
}
