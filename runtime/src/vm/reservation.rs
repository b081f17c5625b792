//! Address space for memories, and reservations of memories that ended, kept for the next ones.
//!
//! ```text
//! before │ base .. accessible .. capacity │ after        a guard, what a memory may ever reach, a guard
//! ```
//!
//! To reserve 8 GiB, open the first page and fault it in takes the system longer than a small module takes to be loaded,
//! called and dropped. A memory that ends gives its reservation back to its engine, cleaned: pages that are resident at its
//! beginning are zeroed and stay, all others are forgotten by the system, what was grown is closed. The next memory of
//! the same shape then needs neither a system call nor a fault.
//!
//! Invariants: a reservation that is kept reads as zeros wherever it becomes accessible, and only
//! `base..base + accessible` is accessible. Only memories of ordinary pages give theirs back: nothing but the system's own anonymous pages was ever
//! mapped there, and all that was accessible is readable and writable.
//!
//! # Safety
//! Trusts: whoever gives a reservation back uses none of its addresses any more. Gives: cleaning touches the
//! reservation alone.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use region::{Allocation, Protection};
use rustix::mm::{Advice, MprotectFlags};

use super::memory::MemoryError;
use super::slices::{Slice, Slices};
use crate::Bounds;
use crate::engine::Config;

/// Pages from the beginning of a memory on that may stay resident in a reservation that is kept.
const LOOKED_AT: usize = 256;
/// How many of them, at most, do.
const RESIDENT_MAX: usize = 64;
/// In how many pieces, at most.
const RUNS_MAX: usize = 8;

/// How much address space a memory takes: what lies before it, what it may reach, what lies behind. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) before: u64,
    pub(crate) capacity: u64,
    pub(crate) after: u64,
}

/// The address space of one memory.
pub(crate) struct Reservation {
    addresses: Addresses,
    shape: Shape,
    /// Bytes from the base on that can be read and written; whole pages of the host.
    accessible: usize,
}

/// Whose they are.
enum Addresses {
    Own(Allocation),
    /// All of it is readable and writable, always.
    Slice(Slice),
}

impl Reservation {
    fn new(shape: Shape) -> Result<Self, MemoryError> {
        let page = region::page::size() as u64;
        let capacity = shape.capacity.checked_next_multiple_of(page).unwrap_or(u64::MAX);
        let bytes = shape.before.saturating_add(capacity).saturating_add(shape.after);
        let size = usize::try_from(bytes).unwrap_or(usize::MAX);
        let addresses =
            region::alloc(size, Protection::NONE).map_err(|source| MemoryError::System { bytes, source })?;
        Ok(Self { addresses: Addresses::Own(addresses), shape, accessible: 0 })
    }

    /// Where the memory's first byte lies.
    pub(crate) fn base(&self) -> *mut u8 {
        let first = match &self.addresses {
            Addresses::Own(addresses) => addresses.as_ptr::<u8>().cast_mut(),
            Addresses::Slice(slice) => slice.base(),
        };
        first.wrapping_add(self.shape.before as usize)
    }

    /// All addresses, guards included.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        match &self.addresses {
            Addresses::Own(addresses) => addresses.as_range(),
            Addresses::Slice(slice) => slice.range(),
        }
    }

    /// Whether it is a slice of a mapping that memories share.
    pub(crate) fn is_slice(&self) -> bool {
        matches!(self.addresses, Addresses::Slice(_))
    }

    /// Makes exactly so many bytes accessible, in whole pages.
    fn open_exactly(&mut self, bytes: u64) -> rustix::io::Result<()> {
        let wanted = bytes.next_multiple_of(region::page::size() as u64) as usize;
        let (from, to) = (self.accessible.min(wanted), self.accessible.max(wanted));
        if from == to {
            return Ok(());
        }
        let flags =
            if wanted > self.accessible { MprotectFlags::READ | MprotectFlags::WRITE } else { MprotectFlags::empty() };
        // SAFETY: callers pass no more than the capacity, so that the range lies in the reservation; nobody uses it.
        unsafe { rustix::mm::mprotect(self.base().wrapping_add(from).cast(), to - from, flags) }?;
        self.accessible = wanted;
        Ok(())
    }

    /// Makes it read as zeros, the first `first` bytes accessible and no others; false if the system refuses.
    fn clean(&mut self, first: u64) -> bool {
        let page = region::page::size();
        let first = first.next_multiple_of(page as u64) as usize;
        let kept = self.zero_resident(first.min(self.accessible), page);
        kept.is_some_and(|forgotten_from| self.forget(forgotten_from, self.accessible))
            && self.open_exactly(first as u64).is_ok()
    }

    /// Zeroes pages at the beginning that are resident and lets the system forget those between; says from where on
    /// nothing was done yet, or nothing if the system refuses.
    fn zero_resident(&self, first: usize, page: usize) -> Option<usize> {
        let mut resident = [0_u8; LOOKED_AT];
        let pages = (first / page).min(LOOKED_AT);
        let bytes = pages * page;
        // SAFETY: the range is the reservation's, and the array has a place for each of its pages.
        if pages == 0 || unsafe { libc::mincore(self.base().cast(), bytes, resident.as_mut_ptr()) } != 0 {
            return Some(0);
        }
        let (mut at, mut done, mut left) = (0, 0, RESIDENT_MAX);
        for run in resident[..pages].chunk_by(|a, b| a & 1 == b & 1).take(RUNS_MAX) {
            let end = at + run.len() * page;
            if run[0] & 1 == 1 {
                if run.len() > left {
                    break;
                }
                left -= run.len();
                // A page that is not resident may be one that the system moved to its disk.
                if !self.forget(done, at) {
                    return None;
                }
                // SAFETY: the range is accessible, and nobody else uses it.
                unsafe { self.base().wrapping_add(at).write_bytes(0, end - at) };
                done = end;
            }
            at = end;
        }
        Some(done)
    }

    /// Has the system forget accessible pages, so that they read as zeros; false if it refuses.
    fn forget(&self, from: usize, to: usize) -> bool {
        let at = self.base().wrapping_add(from).cast();
        // SAFETY: the range is the reservation's own private pages, and nobody uses them.
        from >= to || unsafe { rustix::mm::madvise(at, to - from, Advice::LinuxDontNeed) }.is_ok()
    }
}

// SAFETY: a reservation owns its addresses, which are usable from any thread.
unsafe impl Send for Reservation {}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("range", &self.range()).field("accessible", &self.accessible).finish()
    }
}

/// Where the memories of an engine get their address space.
#[derive(Debug)]
pub(crate) struct Reservations {
    pub(super) bounds: Bounds,
    pub(super) ceiling_64: u64,
    kept_max: usize,
    /// Of memories that ended, the last one last.
    kept: Mutex<Vec<Reservation>>,
    /// How many slices memories are to share, of how many bytes, and the mapping once there is a memory.
    slices: Option<(usize, u64)>,
    sliced: Mutex<Option<Arc<Slices>>>,
}

impl Reservations {
    pub(crate) fn new(config: &Config) -> Self {
        let Config { bounds, memory64_ceiling: ceiling_64, memories_kept: kept_max, .. } = *config;
        let (kept, slices, sliced) = (Mutex::default(), config.memory_slices, Mutex::default());
        Self { bounds, ceiling_64, kept_max, kept, slices, sliced }
    }

    /// How far a memory may ever grow that could grow so far.
    pub(super) fn bound(&self, capacity: u64) -> u64 {
        self.slices.map_or(capacity, |(_, bytes)| capacity.min(bytes))
    }

    /// A slice for a memory.
    fn slice(&self, shape: Shape, (count, bytes): (usize, u64), accessible: u64) -> Result<Reservation, MemoryError> {
        if accessible > bytes {
            return Err(MemoryError::NotInSlice { bytes: accessible, slice: bytes });
        }
        let mut sliced = self.sliced.lock().unwrap_or_else(PoisonError::into_inner);
        let slices = match &mut *sliced {
            Some(slices) => slices,
            none => none.insert(Slices::new(count, bytes)?),
        };
        Ok(Reservation { addresses: Addresses::Slice(slices.take()?), shape, accessible: accessible as usize })
    }

    /// A reservation whose first `accessible` bytes can be read and written, and read as zeros.
    ///
    /// # Errors
    /// If the system has no room.
    pub(super) fn take(&self, shape: Shape, accessible: u64) -> Result<Reservation, MemoryError> {
        if let Some(slices) = self.slices {
            return self.slice(shape, slices, accessible);
        }
        let mut found = match self.take_kept(shape, accessible) {
            Some(found) => found,
            None => self.reserve(shape)?,
        };
        match found.open_exactly(accessible) {
            Ok(()) => Ok(found),
            Err(errno) => {
                let source = region::Error::SystemCall(errno.raw_os_error());
                Err(MemoryError::System { bytes: accessible, source })
            }
        }
    }

    /// The last one kept that fits, or else one that would with another length.
    fn take_kept(&self, shape: Shape, accessible: u64) -> Option<Reservation> {
        let mut kept = self.lock();
        let of_shape = |kept: &&Reservation| kept.shape == shape;
        let exact = kept.iter().rposition(|kept| of_shape(&kept) && kept.accessible as u64 == accessible);
        let place = exact.or_else(|| kept.iter().rposition(|kept| of_shape(&kept)))?;
        Some(kept.remove(place))
    }

    #[cold]
    fn reserve(&self, shape: Shape) -> Result<Reservation, MemoryError> {
        Reservation::new(shape).or_else(|error| {
            // What is kept may be what there is no room beside.
            let kept = std::mem::take(&mut *self.lock());
            if kept.is_empty() {
                return Err(error);
            }
            drop(kept);
            Reservation::new(shape)
        })
    }

    /// Takes back the reservation of a memory that ended, of ordinary pages, with so many bytes accessible now and at its
    /// beginning. What cannot be kept is unmapped.
    ///
    /// # Safety
    /// Nobody uses an address of it any more, and only the system's own anonymous pages were ever mapped in it.
    pub(super) unsafe fn give(&self, mut reservation: Reservation, now: u64, first: u64) {
        if self.kept_max == 0 || reservation.is_slice() {
            return;
        }
        assert!(first <= now && now <= reservation.shape.capacity, "a memory lies inside its reservation");
        reservation.accessible = now.next_multiple_of(region::page::size() as u64) as usize;
        if reservation.clean(first) {
            let mut kept = self.lock();
            // The one that waited longest goes: shapes that nobody asks for any more give way.
            let oldest = if kept.len() >= self.kept_max { Some(kept.remove(0)) } else { None };
            kept.push(reservation);
            drop(kept);
            drop(oldest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Reservation>> {
        // Nothing that panics happens under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::vm::memory::LinearMemory;
    use aura_host_abi::{Limits64, MemoryType};
    use proptest::prelude::*;
    use std::sync::Arc;

    const PAGE: u64 = 65536;

    fn space(bounds: Bounds, kept: usize) -> Arc<Reservations> {
        Arc::new(Reservations::new(Config::new().bounds(bounds).memories_kept(kept)))
    }

    fn made(space: &Arc<Reservations>, min: u64) -> Box<LinearMemory> {
        let limits = Limits64 { min, max: Some(100) };
        let ty = MemoryType { limits, memory64: false, shared: false, page_size_log2: 16 };
        LinearMemory::new(space, ty, u64::MAX).expect("memory")
    }

    fn bytes_mut(memory: &mut LinearMemory) -> &mut [u8] {
        let len = memory.byte_len() as usize;
        // SAFETY: the memory's bytes, which nobody else uses.
        unsafe { std::slice::from_raw_parts_mut(memory.base(), len) }
    }

    /// That a new memory has nothing of those before it: neither their bytes nor their length.
    fn assert_is_new(memory: &mut LinearMemory, min: u64) {
        assert_eq!(memory.byte_len(), min * PAGE);
        assert!(bytes_mut(memory).iter().all(|byte| *byte == 0), "a byte of the memory before");
        let end = memory.base().wrapping_add((min * PAGE) as usize);
        assert_eq!(region::query(end).expect("query").protection(), Protection::NONE, "its length");
    }

    #[test]
    fn the_next_memory_of_a_shape_takes_the_reservation_of_the_last() {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let space = space(bounds, 2);
            let memory = made(&space, 1);
            let base = memory.base();
            drop(memory);
            assert_eq!(space.kept(), 1);
            assert_eq!(made(&space, 1).base(), base);
            assert_eq!(made(&space, 3).base(), base);
        }
    }

    #[test]
    fn no_more_are_kept_than_the_engine_says() {
        for kept in [0, 1, 3] {
            let space = space(Bounds::Guard, kept);
            let several: Vec<_> = (0..5).map(|_| made(&space, 1)).collect();
            drop(several);
            assert_eq!(space.kept(), kept);
        }
    }

    #[test]
    fn what_was_grown_is_closed_and_zero_when_it_is_grown_again() {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let space = space(bounds, 1);
            let mut memory = made(&space, 1);
            memory.grow(9, |_, _| true).expect("growth");
            bytes_mut(&mut memory).fill(0xaa);
            let base = memory.base();
            drop(memory);
            let mut memory = made(&space, 1);
            assert_eq!(memory.base(), base);
            assert_is_new(&mut memory, 1);
            memory.grow(20, |_, _| true).expect("growth");
            assert!(bytes_mut(&mut memory).iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_shorter_memory_does_not_reach_what_a_longer_one_could() {
        let space = space(Bounds::Guard, 1);
        let mut long = made(&space, 40);
        bytes_mut(&mut long).fill(0xbb);
        let base = long.base();
        drop(long);
        for pages in [1, 0, 39, 2, 100] {
            let mut memory = made(&space, pages);
            assert_eq!(memory.base(), base);
            assert_is_new(&mut memory, pages);
            bytes_mut(&mut memory).fill(0xcc);
        }
    }

    #[test]
    fn memories_of_every_kind_are_new() {
        let kinds = [(false, true, 16), (true, false, 16), (false, false, 0), (true, false, 0), (true, true, 16)];
        for (memory64, shared, page_size_log2) in kinds {
            let space = space(Bounds::Guard, 1);
            let limits = Limits64 { min: 3, max: Some(9) };
            let ty = MemoryType { limits, memory64, shared, page_size_log2 };
            let mut base = None;
            for _ in 0..3 {
                let mut memory = LinearMemory::new(&space, ty, u64::MAX).expect("memory");
                assert_eq!(*base.get_or_insert(memory.base()), memory.base(), "{ty:?}");
                assert!(bytes_mut(&mut memory).iter().all(|byte| *byte == 0), "{ty:?}");
                memory.grow(4, |_, _| true).expect("growth");
                assert!(bytes_mut(&mut memory).iter().all(|byte| *byte == 0), "{ty:?}");
                bytes_mut(&mut memory).fill(0xee);
            }
        }
    }

    /// A life of a memory: its length at the start, growth, and what of it is written.
    fn life() -> impl Strategy<Value = (u64, u64, Vec<(u64, u64)>)> {
        (0_u64..30, 0_u64..30, proptest::collection::vec((any::<u64>(), 1_u64..300_000), 0..12))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn nothing_of_any_life_is_left(lives in proptest::collection::vec(life(), 1..8), explicit in any::<bool>()) {
            let space = space(if explicit { Bounds::Explicit } else { Bounds::Guard }, 1);
            for (min, growth, writes) in lives {
                let mut memory = made(&space, min);
                assert_is_new(&mut memory, min);
                memory.grow(growth, |_, _| true).expect("growth");
                let bytes = bytes_mut(&mut memory);
                prop_assert!(bytes.iter().skip((min * PAGE) as usize).all(|byte| *byte == 0));
                for (at, len) in writes {
                    if bytes.is_empty() {
                        break;
                    }
                    let at = (at % bytes.len() as u64) as usize;
                    let end = bytes.len().min(at + len as usize);
                    bytes[at..end].fill(0xdd);
                }
            }
        }
    }
}
