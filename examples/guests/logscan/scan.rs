//! Counts the lines of a log by severity and finds its slowest requests. Works on bytes, allocates nothing: the
//! same source runs in a sandbox and natively, by vectors of 16 bytes in both.
//!
//! A line is `TIME SEVERITY req=ID METHOD PATH STATUS DURATIONms SIZEB`; lines of another shape are counted only.
//! What is done for a line takes no branch that depends on it, but for the few that are slow or of another shape.
//!
//! # Safety
//! Vectors are loaded from arrays of 16 bytes, which need no alignment.

/// How many of the slowest requests are told.
pub const SLOWEST: usize = 5;

/// Bytes that are searched for line feeds at once.
const BLOCK: usize = 64;

/// How much of a line's end is looked at for the duration.
const TAIL: usize = 32;

/// Most digits of a duration.
const DIGITS: usize = 8;

/// Where a line has its severity: the time has 24 bytes and a space.
const SEVERITY: usize = 25;

/// What a severity is counted as, by its first letter; 0 is none.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    kinds[b'I' as usize] = 1;
    kinds[b'W' as usize] = 2;
    kinds[b'E' as usize] = 3;
    kinds
};

/// What was found so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    pub lines: u64,
    /// Lines of another shape, and those that inform, warn and tell of errors.
    pub kinds: [u64; 4],
    /// Milliseconds and number of the line, the slowest first.
    pub slowest: [(u32, u64); SLOWEST],
}

impl Scan {
    /// Nothing so far.
    pub const NEW: Self = Self { lines: 0, kinds: [0; 4], slowest: [(0, 0); SLOWEST] };

    /// Takes all whole lines; how many bytes they are. With `last`, what follows them is a line too.
    pub fn take(&mut self, input: &[u8], last: bool) -> usize {
        let mut start = 0;
        let (blocks, rest) = input.as_chunks::<BLOCK>();
        for (index, block) in blocks.iter().enumerate() {
            let mut ends = line_feeds(block);
            while ends != 0 {
                let end = index * BLOCK + ends.trailing_zeros() as usize;
                self.line(&input[start..end]);
                start = end + 1;
                ends &= ends - 1;
            }
        }
        for (index, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            let end = blocks.len() * BLOCK + index;
            self.line(&input[start..end]);
            start = end + 1;
        }
        if last && start < input.len() {
            self.line(&input[start..]);
            start = input.len();
        }
        start
    }

    #[inline(always)]
    fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        let Some(tail) = line.last_chunk::<TAIL>() else { return };
        let kind = KINDS[usize::from(line[SEVERITY])];
        self.kinds[usize::from(kind) & 3] += 1;
        let duration = duration(tail);
        if kind > 0 && duration > self.slowest[SLOWEST - 1].0 {
            self.slow(duration);
        }
    }

    /// Enters a duration where it belongs.
    #[cold]
    #[inline(never)]
    fn slow(&mut self, duration: u32) {
        let mut entry = (duration, self.lines);
        for place in &mut self.slowest {
            if entry.0 > place.0 {
                core::mem::swap(&mut entry, place);
            }
        }
    }

    /// Writes what was found as text; how many bytes, `None` if they do not fit.
    pub fn report(&self, output: &mut [u8]) -> Option<usize> {
        let mut out = Text { output, len: 0 };
        let [_, infos, warnings, errors] = self.kinds;
        for (name, count) in [("lines ", self.lines), ("info ", infos), ("warn ", warnings), ("error ", errors)] {
            out.put(name.as_bytes())?;
            out.number(count)?;
            out.put(b"\n")?;
        }
        for (duration, line) in self.slowest.iter().filter(|slow| slow.1 > 0) {
            out.number((*duration).into())?;
            out.put(b"ms line ")?;
            out.number(*line)?;
            out.put(b"\n")?;
        }
        Some(out.len)
    }
}

/// Which bytes of a block are line feeds, by bits.
#[inline(always)]
fn line_feeds(block: &[u8; BLOCK]) -> u64 {
    let vectors = block.as_chunks::<16>().0;
    let part = |index: usize| u64::from(equal(&vectors[index], b'\n')) << (16 * index);
    part(0) | part(1) | part(2) | part(3)
}

/// Which of 16 bytes are this one, by bits.
#[cfg(target_arch = "wasm32")]
#[inline(always)]
fn equal(bytes: &[u8; 16], byte: u8) -> u16 {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_splat, v128_load};
    // SAFETY: the bytes are there, and a vector is loaded from any address.
    let vector = unsafe { v128_load(bytes.as_ptr().cast()) };
    u8x16_bitmask(u8x16_eq(vector, u8x16_splat(byte)))
}

/// As above, by the same instructions.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn equal(bytes: &[u8; 16], byte: u8) -> u16 {
    use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: the bytes are there, and the instruction takes any address.
    let vector = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    // SAFETY: every x86-64 processor has this instruction, and the next two.
    let wanted = unsafe { _mm_set1_epi8(byte.cast_signed()) };
    // SAFETY: as above.
    let equal = unsafe { _mm_cmpeq_epi8(vector, wanted) };
    // SAFETY: as above.
    (unsafe { _mm_movemask_epi8(equal) }) as u16
}

/// The number before `ms`, which is followed by a space and the line's last word; 0 if it is not there.
#[inline(always)]
fn duration(tail: &[u8; TAIL]) -> u32 {
    let vectors = tail.as_chunks::<16>().0;
    let spaces = u32::from(equal(&vectors[0], b' ')) | u32::from(equal(&vectors[1], b' ')) << 16;
    let last = (spaces | 1).ilog2();
    let before = spaces & !(1 << last);
    let digits = last.wrapping_sub((before | 1).ilog2() + 3) as usize;
    // The digits end where `ms` begins, which is two bytes before the last space.
    let Some(start) = (last as usize).checked_sub(DIGITS + 2) else { return 0 };
    let Some(text) = tail[start..].first_chunk::<{ DIGITS + 2 }>() else { return 0 };
    let (number, unit) = text.split_at(DIGITS);
    if digits.wrapping_sub(1) >= DIGITS || unit != b"ms" {
        return 0;
    }
    let number = u64::from_le_bytes(number.try_into().unwrap_or_default());
    decimal(number, digits as u32)
}

/// The number that the last digits of eight bytes are, by a few multiplications; 0 if one of them is no digit.
#[inline(always)]
fn decimal(text: u64, digits: u32) -> u32 {
    let ones = u64::MAX / 255;
    let values = (text ^ (ones * u64::from(b'0'))) & (u64::MAX << (64 - 8 * digits));
    if (values | (values + ones * 0x76)) & (ones * 0x80) != 0 {
        return 0;
    }
    let pairs = values.wrapping_mul(10 * (1 << 8) + 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 * (1 << 16) + 1) >> 16 & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000 * (1 << 32) + 1) >> 32) as u32
}

struct Text<'a> {
    output: &'a mut [u8],
    len: usize,
}

impl Text<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.output.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    fn number(&mut self, mut number: u64) -> Option<()> {
        let (mut digits, mut start) = ([0; 20], 20);
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return self.put(&digits[start..]);
            }
        }
    }
}
