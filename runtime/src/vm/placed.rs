//! Where the part of a memory or table lies that machine code sees.
//!
//! What an instance defines itself lies in the instance's own block, so that compiled code needs no
//! pointer to it; what the host makes lies by itself. It is made by itself in both cases and moves
//! at most once, before anybody has its address.
//!
//! # Safety
//! Trusts: a place in a block outlives its last use (a store keeps its instances as long as it runs).
//! Gives: the address is stable but for that one move.

use std::fmt;
use std::ptr::NonNull;

/// A value that machine code sees, by its address.
pub(crate) struct Placed<T> {
    at: NonNull<T>,
    /// Whether `at` is a box of its own.
    boxed: bool,
}

impl<T> Placed<T> {
    /// Puts a value in a place of its own.
    pub(crate) fn new(value: T) -> Self {
        Self { at: NonNull::from(Box::leak(Box::new(value))), boxed: true }
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.at.as_ptr()
    }

    /// Moves the value to `place`.
    ///
    /// # Safety
    /// - `place` is aligned, has room for a `T`, and stays valid until the last use of the value.
    /// - Nobody uses the address the value had so far.
    pub(crate) unsafe fn move_to(&mut self, place: NonNull<T>) {
        assert!(self.boxed, "a value moves into a block once");
        // SAFETY: `new` leaked this box, and `boxed` says that nobody took it back.
        let value = unsafe { Box::from_raw(self.at.as_ptr()) };
        // SAFETY: said by the caller.
        unsafe { place.write(*value) };
        (self.at, self.boxed) = (place, false);
    }
}

impl<T> std::ops::Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the place is valid; what machine code changes in a `T` is atomic or in cells.
        unsafe { self.at.as_ref() }
    }
}

impl<T> Drop for Placed<T> {
    fn drop(&mut self) {
        if self.boxed {
            // SAFETY: as in `move_to`.
            drop(unsafe { Box::from_raw(self.at.as_ptr()) });
        }
    }
}

impl<T> fmt::Debug for Placed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placed").field("at", &self.at).field("boxed", &self.boxed).finish()
    }
}
