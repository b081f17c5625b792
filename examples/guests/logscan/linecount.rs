//! A skill over the interface of `guest/` that does the least that can be done with every byte: it counts lines, of one
//! input (`count_lines`) or of a stream of any length (`aura_stream`). `first_and_last` looks at two bytes only,
//! `touch` at one of each page.

#![no_std]

use core::arch::wasm32::{
    u8x16_eq, u8x16_splat, u8x16_sub, u16x8_extadd_pairwise_u8x16, u32x4_extadd_pairwise_u16x8, u32x4_extract_lane,
    v128, v128_load,
};

use aura_guest::{NO_ROOM, Step};

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

aura_guest::skill!(count_lines, |input, output| aura_guest::put(output, &lines(input).to_le_bytes()));

#[unsafe(no_mangle)]
pub extern "C" fn first_and_last(input: *const u8, len: usize) -> u32 {
    // SAFETY: the host lends the input for the time of the call.
    let input = unsafe { aura_guest::input(input, len) };
    input.first().map_or(0, |byte| u32::from(*byte)) + input.last().map_or(0, |byte| u32::from(*byte))
}

#[unsafe(no_mangle)]
pub extern "C" fn touch(input: *const u8, len: usize) -> u32 {
    // SAFETY: as above.
    let input = unsafe { aura_guest::input(input, len) };
    input.iter().step_by(4096).fold(0, |sum, byte| sum.wrapping_add(u32::from(*byte)))
}

struct Stream {
    lines: u64,
    reported: bool,
}

/// A skill runs on one thread and is called by one at a time.
static mut STREAM: Stream = Stream { lines: 0, reported: false };

aura_guest::stream!(|input, last, output| {
    // SAFETY: nobody else has a reference to it; see above.
    let stream = unsafe { &mut *(&raw mut STREAM) };
    stream.lines += lines(input);
    let mut step = Step { consumed: input.len(), produced: 0 };
    if last && !stream.reported {
        stream.reported = true;
        step.produced = number(stream.lines, output).ok_or(NO_ROOM)?;
    }
    Ok(step)
});

/// Writes a number and a line feed.
fn number(mut number: u64, output: &mut [u8]) -> Option<usize> {
    let (mut digits, mut start) = (*b"00000000000000000000\n", 20);
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            output.get_mut(..21 - start)?.copy_from_slice(&digits[start..]);
            return Some(21 - start);
        }
    }
}

/// Lines by their ends, 64 bytes at a time.
fn lines(input: &[u8]) -> u64 {
    // A lane of a counter holds 255 at most.
    const PART: usize = 255 * 64;
    let mut lines = 0;
    for part in input.chunks(PART) {
        let (blocks, rest) = part.as_chunks::<64>();
        let mut counts = [u8x16_splat(0); 4];
        for block in blocks {
            for (count, vector) in counts.iter_mut().zip(block.as_chunks::<16>().0) {
                // A lane that is equal is -1.
                *count = u8x16_sub(*count, u8x16_eq(vector_of(vector), u8x16_splat(b'\n')));
            }
        }
        lines += counts.into_iter().map(sum).sum::<u64>();
        lines += rest.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    lines
}

fn vector_of(bytes: &[u8; 16]) -> v128 {
    // SAFETY: the bytes are there, and a vector is loaded from any address.
    unsafe { v128_load(bytes.as_ptr().cast()) }
}

/// The sum of the lanes of a counter.
fn sum(counts: v128) -> u64 {
    let pairs = u32x4_extadd_pairwise_u16x8(u16x8_extadd_pairwise_u8x16(counts));
    let lanes = [
        u32x4_extract_lane::<0>(pairs),
        u32x4_extract_lane::<1>(pairs),
        u32x4_extract_lane::<2>(pairs),
        u32x4_extract_lane::<3>(pairs),
    ];
    lanes.into_iter().map(u64::from).sum()
}
