//! `Ring`: data that is larger than memory, through a window of a guest.
//!
//! ```text
//! buffer   │ b a . . . d c │      the bytes a to d, of which c and d were put in first
//! window   │ b a . . . d c │ b a . . . d c │
//!                      └─ pending ─┘        always in one piece
//! ```
//!
//! The same pages are lent twice, side by side, so that what is pending, or free, lies in one piece wherever it begins:
//! the host reads into the ring and the guest works where the bytes lie. Both positions are the host's alone; a
//! guest gets addresses and lengths and answers how far it came, which is checked.

use std::os::fd::AsFd;

use crate::buffer::{Access, SharedBuffer};
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::loan::{Loan, Window};
use crate::store::AsContextMut;

/// A buffer that is filled at one end and emptied at the other, in a window of a guest.
#[derive(Debug)]
pub struct Ring {
    buffer: SharedBuffer,
    loans: [Loan; 2],
    capacity: u64,
    /// Bytes that were ever taken out, and put in.
    taken: u64,
    put: u64,
}

impl Ring {
    /// Makes a ring of `capacity` bytes, a multiple of the host's page size, in `2 * capacity` bytes of a window from
    /// `at` on. The guest reads it with [`Access::Read`] and fills it with [`Access::Write`].
    ///
    /// # Errors
    /// As [`Window::lend`], and if the capacity is not of whole pages.
    pub fn new(
        mut store: impl AsContextMut,
        window: &Window,
        grant: &Grant,
        at: u64,
        capacity: u64,
        access: Access,
    ) -> Result<Self> {
        if access == Access::Private || !capacity.is_multiple_of(region::page::size() as u64) {
            return Err(Error::usage("a ring has whole pages, which host and guest share"));
        }
        let buffer = SharedBuffer::new(capacity)?;
        let mut lend = |at| window.lend(&mut store, grant, at, &buffer, 0..capacity, access);
        let loans = [lend(at)?, lend(at.saturating_add(capacity))?];
        Ok(Self { buffer, loans, capacity, taken: 0, put: 0 })
    }

    /// Address and length of what was put in and not taken out, for a guest to work on.
    #[must_use]
    pub fn pending(&self) -> (u64, u64) {
        (self.loans[0].address() + self.taken % self.capacity, self.put - self.taken)
    }

    /// Address and length of what is free, for a guest to fill.
    #[must_use]
    pub fn free(&self) -> (u64, u64) {
        (self.loans[0].address() + self.put % self.capacity, self.capacity - (self.put - self.taken))
    }

    /// Takes bytes out, as the guest said that it is done with them.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn consume(&mut self, bytes: u64) -> Result<()> {
        let pending = self.pending().1;
        if bytes > pending {
            return Err(Error::usage(format!("{bytes} of {pending} pending bytes of a ring were consumed")));
        }
        self.taken += bytes;
        Ok(())
    }

    /// Puts bytes in that the guest wrote, as it said.
    ///
    /// # Errors
    /// If there is no room for so many.
    pub fn produce(&mut self, bytes: u64) -> Result<()> {
        let free = self.free().1;
        if bytes > free {
            return Err(Error::usage(format!("{bytes} bytes were produced into {free} free ones of a ring")));
        }
        self.put += bytes;
        Ok(())
    }

    /// Reads once from a source into the ring, without a copy in between; how many bytes, 0 at the source's end or if
    /// the ring is full.
    ///
    /// # Errors
    /// If reading fails.
    pub fn fill_from(&mut self, source: &mut (impl std::io::Read + AsFd)) -> Result<u64> {
        let (start, free) = (self.put % self.capacity, self.free().1);
        if free == 0 {
            return Ok(0);
        }
        let count = self.buffer.fill_from(source, start..self.capacity.min(start + free))?;
        self.put += count;
        Ok(count)
    }

    /// Writes what is pending to a sink, without a copy in between, and takes it out.
    ///
    /// # Errors
    /// If writing fails.
    pub fn drain_to(&mut self, sink: &mut (impl std::io::Write + AsFd)) -> Result<()> {
        while self.pending().1 > 0 {
            let (start, pending) = (self.taken % self.capacity, self.pending().1);
            self.taken += self.buffer.drain_to(sink, start..self.capacity.min(start + pending))?;
        }
        Ok(())
    }
}
