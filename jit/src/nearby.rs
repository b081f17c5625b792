//! Address space for code within reach of the engine's own code.
//!
//! A processor that predicts branches keeps targets within 32 bits of the branch in less room, and follows them sooner: on Zen 3 a
//! call from compiled code into the engine and its return take 1.6 ns where the two lie within 2 GiB of each other,
//! and 2.5 ns where they do not. So reservations are asked for below the engine's code, one below the other, from a place that
//! differs between processes. Where the system has no room there they lie anywhere: no code depends on it.
//!
//! # Safety
//! Trusts: `mmap` without `MAP_FIXED` replaces no mapping. Gives: a [`Reservation`] alone owns its pages, until it is dropped.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

/// Pages without access, which end with this value.
#[derive(Debug)]
pub(crate) struct Reservation {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pages belong to this value alone; nothing about them belongs to a thread.
unsafe impl Send for Reservation {}

impl Reservation {
    /// Reserves pages for so many bytes.
    ///
    /// # Errors
    /// If the system has no such address space.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        static PLACES: OnceLock<Places> = OnceLock::new();
        Self::among(PLACES.get_or_init(Places::new), bytes)
    }

    fn among(places: &Places, bytes: usize) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(region::page::size());
        for _ in 0..TRIES {
            let reservation = Self::map(places.next(bytes), bytes)?;
            if is_near(&reservation.range()) {
                return Ok(reservation);
            }
            places.next(STRIDE);
        }
        Self::map(0, bytes)
    }

    /// Maps pages at `wanted`, or elsewhere if something is there.
    fn map(wanted: usize, bytes: usize) -> io::Result<Self> {
        let (place, flags) = (std::ptr::without_provenance_mut(wanted), MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: asks for new pages only; a place that is taken is not used.
        let start = unsafe { rustix::mm::mmap_anonymous(place, bytes, ProtFlags::empty(), flags) }?;
        Ok(Self { start: NonNull::new(start.cast()).expect("no mapping is at address zero"), bytes })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn range(&self) -> Range<usize> {
        let start = self.start.addr().get();
        start..start + self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the pages are this value's, and nobody uses them any more: said by whoever owns it.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be given back");
    }
}

/// How many places are tried before any will do.
const TRIES: usize = 16;

/// How much is passed over where something lies already: what does is mostly large.
const STRIDE: usize = 64 << 20;

/// How far from the engine's code reservations may lie: what a branch reaches, less what the engine's code may be long.
const REACH: usize = (1 << 31) - (128 << 20);

/// How far below the engine's code the first reservation ends at least, and at most.
const GAP: Range<usize> = 16 << 20..256 << 20;

/// Somewhere in the engine's code.
fn engine() -> usize {
    Reservation::new as *const () as usize
}

fn is_near(range: &Range<usize>) -> bool {
    range.start.abs_diff(engine()) <= REACH && range.end.abs_diff(engine()) <= REACH
}

/// Where reservations are asked for, one below the other, and above all once there is no more room below.
struct Places {
    /// Where the last one was asked for; at first, a place in the gap that is new in each process.
    last: AtomicUsize,
}

impl Places {
    fn new() -> Self {
        let random = RandomState::new().hash_one(GAP.start) as usize % GAP.len();
        Self { last: AtomicUsize::new(engine().saturating_sub(GAP.start + random)) }
    }

    /// Where to ask for the next reservation.
    fn next(&self, bytes: usize) -> usize {
        let page = region::page::size();
        let lowest = engine().saturating_sub(REACH).max(GAP.start);
        let below = |last: usize| match last.checked_sub(bytes) {
            Some(start) if start >= lowest => start / page * page,
            _ => engine().saturating_add(REACH).saturating_sub(bytes) / page * page,
        };
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(below(last)));
        below(last.expect("there is always a next place"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_lie_near_the_engine_and_apart() {
        let places = Places::new();
        let all: Vec<_> = (0..64).map(|_| Reservation::among(&places, 1 << 20).expect("address space")).collect();
        for (index, one) in all.iter().enumerate() {
            assert!(is_near(&one.range()), "{:x?} is out of reach of {:x}", one.range(), engine());
            for other in &all[..index] {
                assert!(one.range().end <= other.range().start || other.range().end <= one.range().start);
            }
        }
    }

    #[test]
    fn what_has_no_room_nearby_lies_elsewhere() {
        let large = Reservation::new(1 << 32).expect("address space");
        assert!(!is_near(&large.range()));
    }

    #[test]
    fn places_begin_again_above_when_there_is_no_room_below() {
        let all = Places::new();
        let places: Vec<_> = (0..32).map(|_| all.next(256 << 20)).collect();
        assert!(places.iter().any(|&place| place > engine()), "{places:x?}");
        assert!(places.iter().any(|&place| place < engine()), "{places:x?}");
    }
}
