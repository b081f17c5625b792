//! Accesses to bytes that another thread may write at the same moment: those of shared memories.
//!
//! Guests may race on a shared memory as they like; the specification gives each race a meaning, and
//! Rust gives a race of plain accesses none. So everything that Rust code does with such bytes is an
//! atomic access: of the whole width where it is aligned and has at most eight bytes, else of words and
//! single bytes. Relaxed ones here, sequentially consistent ones where the guest asked for that. No
//! reference to the bytes is ever made, except to atomic cells. Rust leaves racing accesses of
//! different sizes undefined too; the machine does not, and the bytes were mapped by the system and
//! belong to no Rust object, so that no optimisation has anything to conclude from.
//!
//! # Safety
//! Every function here wants its range mapped readable, and writable if it writes, for the time of the
//! call. What is in it may change at any time.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

const WORD: usize = size_of::<u64>();

/// How much of an overlapping copy is on its way at once.
const BUFFER: usize = 512;

macro_rules! cells {
    ($($load:ident, $store:ident: $ty:ident in $cell:ident;)*) => {
        $(
            /// # Safety
            /// See the head of the file; `at` is aligned.
            unsafe fn $load(at: *const u8) -> $ty {
                // SAFETY: said by the caller; all other accesses are atomic, or the guest's.
                unsafe { $cell::from_ptr(at.cast_mut().cast()) }.load(Relaxed)
            }

            /// # Safety
            /// See the head of the file; `at` is aligned.
            unsafe fn $store(at: *mut u8, value: $ty) {
                // SAFETY: as for the load.
                unsafe { $cell::from_ptr(at.cast()) }.store(value, Relaxed);
            }
        )*
    };
}

cells! {
    load_8, store_8: u8 in AtomicU8;
    load_16, store_16: u16 in AtomicU16;
    load_32, store_32: u32 in AtomicU32;
    load_64, store_64: u64 in AtomicU64;
}

/// How many bytes come before the first aligned word of a range.
fn before_words(at: *const u8, len: usize) -> usize {
    (at.addr().next_multiple_of(WORD) - at.addr()).min(len)
}

/// Copies out of a raced range of `into`'s length.
///
/// # Safety
/// `from` and the bytes behind it: see the head of the file. `into` is not part of it.
pub unsafe fn copy_out(from: *const u8, into: &mut [u8]) {
    match into.len() {
        // SAFETY: said by the caller.
        2 if from.addr().is_multiple_of(2) => into.copy_from_slice(&unsafe { load_16(from) }.to_ne_bytes()),
        // SAFETY: said by the caller.
        4 if from.addr().is_multiple_of(4) => into.copy_from_slice(&unsafe { load_32(from) }.to_ne_bytes()),
        // SAFETY: said by the caller.
        _ => unsafe { copy_out_words(from, into) },
    }
}

/// # Safety
/// As for [`copy_out`].
unsafe fn copy_out_words(mut from: *const u8, into: &mut [u8]) {
    let (head, rest) = into.split_at_mut(before_words(from, into.len()));
    for byte in head {
        // SAFETY: said by the caller.
        *byte = unsafe { load_8(from) };
        from = from.wrapping_add(1);
    }
    let mut words = rest.chunks_exact_mut(WORD);
    for word in &mut words {
        // SAFETY: said by the caller; the head brought `from` to a multiple of a word.
        word.copy_from_slice(&unsafe { load_64(from) }.to_ne_bytes());
        from = from.wrapping_add(WORD);
    }
    for byte in words.into_remainder() {
        // SAFETY: said by the caller.
        *byte = unsafe { load_8(from) };
        from = from.wrapping_add(1);
    }
}

/// Copies into a raced range of `from`'s length.
///
/// # Safety
/// `to` and the bytes behind it: see the head of the file. `from` is not part of it.
pub unsafe fn copy_in(to: *mut u8, from: &[u8]) {
    match *from {
        // SAFETY: said by the caller.
        [a, b] if to.addr().is_multiple_of(2) => unsafe { store_16(to, u16::from_ne_bytes([a, b])) },
        // SAFETY: said by the caller.
        [a, b, c, d] if to.addr().is_multiple_of(4) => unsafe { store_32(to, u32::from_ne_bytes([a, b, c, d])) },
        // SAFETY: said by the caller.
        _ => unsafe { copy_in_words(to, from) },
    }
}

/// # Safety
/// As for [`copy_in`].
unsafe fn copy_in_words(mut to: *mut u8, from: &[u8]) {
    let (head, rest) = from.split_at(before_words(to, from.len()));
    for &byte in head {
        // SAFETY: said by the caller.
        unsafe { store_8(to, byte) };
        to = to.wrapping_add(1);
    }
    let (words, tail) = rest.as_chunks::<WORD>();
    for &word in words {
        // SAFETY: said by the caller; the head brought `to` to a multiple of a word.
        unsafe { store_64(to, u64::from_ne_bytes(word)) };
        to = to.wrapping_add(WORD);
    }
    for &byte in tail {
        // SAFETY: said by the caller.
        unsafe { store_8(to, byte) };
        to = to.wrapping_add(1);
    }
}

/// Copies between two ranges that may be raced and may overlap, as if all were read before any is written.
///
/// # Safety
/// Both ranges of `len` bytes: see the head of the file.
pub unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let mut buffer = [0; BUFFER];
    let upwards = to.addr() <= from.addr();
    let mut done = 0;
    while done < len {
        let now = BUFFER.min(len - done);
        // What is written never reaches what is still to be read: it lies on the side that is done.
        let start = if upwards { done } else { len - done - now };
        // SAFETY: a part of the caller's range; the buffer is ours.
        unsafe { copy_out(from.wrapping_add(start), &mut buffer[..now]) };
        // SAFETY: as above.
        unsafe { copy_in(to.wrapping_add(start), &buffer[..now]) };
        done += now;
    }
}

/// Fills a raced range.
///
/// # Safety
/// The range of `len` bytes: see the head of the file.
pub unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
    let buffer = [byte; BUFFER];
    let mut done = 0;
    while done < len {
        let now = BUFFER.min(len - done);
        // SAFETY: a part of the caller's range; the buffer is ours.
        unsafe { copy_in(to.wrapping_add(done), &buffer[..now]) };
        done += now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 3 * BUFFER;

    fn numbers() -> Vec<u8> {
        (0..LEN).map(|i| (i * 7 % 251) as u8).collect()
    }

    #[test]
    fn copies_of_every_alignment_and_length_are_whole() {
        let source = numbers();
        for start in 0..WORD {
            for len in (0..40).chain([LEN - WORD]) {
                let mut out = vec![0xee; len];
                // SAFETY: inside the vector, which nothing else uses.
                unsafe { copy_out(source.as_ptr().wrapping_add(start), &mut out) };
                assert_eq!(out, source[start..start + len]);
                let mut memory = vec![0xee; LEN];
                // SAFETY: as above.
                unsafe { copy_in(memory.as_mut_ptr().wrapping_add(start), &out) };
                assert_eq!(memory[start..start + len], out);
                assert!(memory[..start].iter().chain(&memory[start + len..]).all(|&byte| byte == 0xee));
            }
        }
    }

    #[test]
    fn overlapping_copies_read_before_they_write() {
        for (from, to) in [(0, 1), (1, 0), (0, BUFFER), (BUFFER, 0), (3, BUFFER + 1), (BUFFER + 1, 3), (5, 5)] {
            let mut memory = numbers();
            let mut expected = memory.clone();
            let len = LEN - from.max(to);
            expected.copy_within(from..from + len, to);
            let base = memory.as_mut_ptr();
            // SAFETY: both ranges are inside the vector, which nothing else uses.
            unsafe { copy(base.wrapping_add(from), base.wrapping_add(to), len) };
            assert_eq!(memory, expected, "{from} to {to}");
        }
    }

    #[test]
    fn fills_write_their_range_alone() {
        for (start, len) in [(0, 0), (1, 1), (3, 13), (7, LEN - 8)] {
            let mut memory = vec![1; LEN];
            // SAFETY: inside the vector, which nothing else uses.
            unsafe { fill(memory.as_mut_ptr().wrapping_add(start), 9, len) };
            assert!(memory.iter().enumerate().all(|(i, &b)| (b == 9) == (start..start + len).contains(&i)));
        }
    }
}
