//! Guest memory as host functions see it.
//!
//! Invariant: no reference to guest bytes ever leaves this file; a host function copies in or out
//! through checked calls, so that a guest that runs on another thread, or a mapping that is shared,
//! can never turn a Rust reference into undefined behaviour.
//!
//! # Safety
//! [`GuestMemory::from_raw`] and [`GuestMemory::from_raw_shared`] are the unsafe doors. Their callers guarantee that `length` bytes from
//! `base` stay mapped readable and writable for the lifetime of the view; everything else here is
//! checked against `length`.

use std::fmt;
use std::marker::PhantomData;

use crate::raced;

/// A range of guest memory is not inside the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    pub address: u64,
    pub len: u64,
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest range of {} bytes at {:#x} is outside the memory", self.len, self.address)
    }
}

impl std::error::Error for OutOfBounds {}

/// Who else may touch the bytes during the call.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Nobody.
    Own,
    /// Guests on other threads: every access is atomic.
    Raced,
    /// Nobody, as far as `plain` bytes go; what lies behind may fault.
    Lent { plain: u64, copy: CarefulCopy },
}

/// Copies bytes from the second address to the first where either side may fault; false if one did, and an
/// unknown part is then copied. Nothing else happens by a fault.
pub type CarefulCopy = unsafe fn(*mut u8, *const u8, usize) -> bool;

/// A bounds-checked view of a linear memory for the time of one host call.
#[derive(Debug)]
pub struct GuestMemory<'a> {
    base: *mut u8,
    length: u64,
    kind: Kind,
    borrow: PhantomData<&'a mut [u8]>,
}

impl<'a> GuestMemory<'a> {
    /// A view of bytes of the host's own, for tests of host functions.
    #[must_use]
    pub fn over(bytes: &'a mut [u8]) -> Self {
        Self { base: bytes.as_mut_ptr(), length: bytes.len() as u64, kind: Kind::Own, borrow: PhantomData }
    }

    /// A view of no memory at all: every access of at least one byte is out of bounds.
    #[must_use]
    pub fn empty() -> Self {
        Self { base: std::ptr::null_mut(), length: 0, kind: Kind::Own, borrow: PhantomData }
    }

    /// Makes a view.
    ///
    /// # Safety
    /// `base..base + length` is mapped readable and writable for the lifetime of the view.
    #[must_use]
    pub unsafe fn from_raw(base: *mut u8, length: u64) -> Self {
        Self { base, length, kind: Kind::Own, borrow: PhantomData }
    }

    /// Makes a view of a memory that guests on other threads use too. Each byte is copied atomically, no
    /// two of them together.
    ///
    /// # Safety
    /// As for [`GuestMemory::from_raw`].
    #[must_use]
    pub unsafe fn from_raw_shared(base: *mut u8, length: u64) -> Self {
        Self { base, length, kind: Kind::Raced, borrow: PhantomData }
    }

    /// Makes a view of a memory that has windows for sharing behind its first `plain` bytes: there a range may be
    /// inside the memory and still not be there, or only to be read.
    ///
    /// # Safety
    /// As for [`GuestMemory::from_raw`] as far as `plain` goes; `copy` keeps its word for every address below `length`.
    #[must_use]
    pub unsafe fn from_raw_lent(base: *mut u8, length: u64, plain: u64, copy: CarefulCopy) -> Self {
        Self { base, length, kind: Kind::Lent { plain, copy }, borrow: PhantomData }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Checks that a range lies inside the memory, without touching it.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self, address: u64, len: u64) -> Result<(), OutOfBounds> {
        match address.checked_add(len) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(OutOfBounds { address, len }),
        }
    }

    /// Copies guest bytes out.
    ///
    /// # Errors
    /// If the range is out of bounds; `into` is then unchanged. If a part of it lies where nothing is lent.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        self.check(address, into.len() as u64)?;
        if !into.is_empty() {
            let from = self.base.wrapping_add(address as usize);
            match self.kind {
                // SAFETY: `check` put the range inside `length`, which `from_raw`'s caller keeps mapped;
                // `into` is a live exclusive slice of host memory and so cannot overlap a guest mapping.
                Kind::Own => unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) },
                // SAFETY: as above.
                Kind::Raced => unsafe { raced::copy_out(from, into) },
                // SAFETY: as above, as far as plain accesses go.
                Kind::Lent { plain, .. } if address + into.len() as u64 <= plain => unsafe {
                    std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len());
                },
                Kind::Lent { copy, .. } => {
                    // SAFETY: `from_raw_lent`'s caller vouches for `copy` below `length`; `into` is host memory.
                    let copied = unsafe { copy(into.as_mut_ptr(), from, into.len()) };
                    return if copied { Ok(()) } else { Err(OutOfBounds { address, len: into.len() as u64 }) };
                }
            }
        }
        Ok(())
    }

    /// Copies host bytes in.
    ///
    /// # Errors
    /// If the range is out of bounds; nothing is then written. If a part of it lies where nothing is lent, or for reading
    /// only; an unknown part of the rest is then written.
    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), OutOfBounds> {
        self.check(address, from.len() as u64)?;
        if !from.is_empty() {
            let to = self.base.wrapping_add(address as usize);
            match self.kind {
                // SAFETY: as in `read`, with the roles exchanged.
                Kind::Own => unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) },
                // SAFETY: as above.
                Kind::Raced => unsafe { raced::copy_in(to, from) },
                // SAFETY: as above, as far as plain accesses go.
                Kind::Lent { plain, .. } if address + from.len() as u64 <= plain => unsafe {
                    std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
                },
                Kind::Lent { copy, .. } => {
                    // SAFETY: as in `read`.
                    let copied = unsafe { copy(to, from.as_ptr(), from.len()) };
                    return if copied { Ok(()) } else { Err(OutOfBounds { address, len: from.len() as u64 }) };
                }
            }
        }
        Ok(())
    }

    /// Copies guest bytes out into a new vector. Check `len` against a cap of your own first: the guest chose it.
    ///
    /// # Errors
    /// If the range is out of bounds; nothing is then allocated.
    pub fn read_vec(&self, address: u64, len: u64) -> Result<Vec<u8>, OutOfBounds> {
        self.check(address, len)?;
        let mut bytes = vec![0; len as usize];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a little-endian `u32`.
    ///
    /// # Errors
    /// If the range is out of bounds.
    pub fn read_u32(&self, address: u64) -> Result<u32, OutOfBounds> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a little-endian `u64`.
    ///
    /// # Errors
    /// If the range is out of bounds.
    pub fn read_u64(&self, address: u64) -> Result<u64, OutOfBounds> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes a little-endian `u32`.
    ///
    /// # Errors
    /// If the range is out of bounds.
    pub fn write_u32(&mut self, address: u64, value: u32) -> Result<(), OutOfBounds> {
        self.write(address, &value.to_le_bytes())
    }

    /// Writes a little-endian `u64`.
    ///
    /// # Errors
    /// If the range is out of bounds.
    pub fn write_u64(&mut self, address: u64, value: u64) -> Result<(), OutOfBounds> {
        self.write(address, &value.to_le_bytes())
    }
}
