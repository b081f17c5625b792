//! Counts the lines of a log by severity and finds its slowest requests. Works on bytes, allocates nothing: the
//! same source runs in a sandbox and natively.
//!
//! # Safety
//! Vectors are loaded from arrays of 16 bytes, which need no alignment.
//!
//! A line is `TIME SEVERITY req=ID METHOD PATH STATUS DURATIONms SIZEB`; lines of another shape are counted only.

/// How many of the slowest requests are told.
pub const SLOWEST: usize = 5;

/// How much of a line's end is looked at for the duration.
const TAIL: usize = 32;

/// What was found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub lines: u64,
    pub infos: u64,
    pub warnings: u64,
    pub errors: u64,
    /// Milliseconds and number of the line, the slowest first.
    pub slowest: [(u32, u64); SLOWEST],
}

impl Scan {
    /// Takes all whole lines; how many bytes they are. With `last`, what follows them is a line too.
    pub fn take(&mut self, input: &[u8], last: bool) -> usize {
        let mut start = 0;
        let (blocks, rest) = input.as_chunks::<16>();
        for (index, block) in blocks.iter().enumerate() {
            let mut ends = line_feeds(block);
            while ends != 0 {
                let end = index * 16 + ends.trailing_zeros() as usize;
                self.line(&input[start..end]);
                start = end + 1;
                ends &= ends - 1;
            }
        }
        for (index, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            let end = blocks.len() * 16 + index;
            self.line(&input[start..end]);
            start = end + 1;
        }
        if last && start < input.len() {
            self.line(&input[start..]);
            start = input.len();
        }
        start
    }

    fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        // The time has 24 bytes and a space.
        match line.get(25) {
            Some(b'I') => self.infos += 1,
            Some(b'W') => self.warnings += 1,
            Some(b'E') => self.errors += 1,
            _ => return,
        }
        if let Some(duration) = duration(line) {
            self.slow(duration);
        }
    }

    fn slow(&mut self, duration: u32) {
        if duration <= self.slowest[SLOWEST - 1].0 {
            return;
        }
        let place = self.slowest.iter().position(|(other, _)| *other < duration).unwrap_or(SLOWEST - 1);
        self.slowest.copy_within(place..SLOWEST - 1, place + 1);
        self.slowest[place] = (duration, self.lines);
    }

    /// Writes what was found as text; how many bytes, `None` if they do not fit.
    pub fn report(&self, output: &mut [u8]) -> Option<usize> {
        let mut out = Text { output, len: 0 };
        for (name, count) in
            [("lines ", self.lines), ("info ", self.infos), ("warn ", self.warnings), ("error ", self.errors)]
        {
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

/// Which of 16 bytes are line feeds, by bits.
#[cfg(target_arch = "wasm32")]
fn line_feeds(bytes: &[u8; 16]) -> u32 {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_splat, v128_load};
    // SAFETY: the bytes are there, and a vector is loaded from any address.
    let vector = unsafe { v128_load(bytes.as_ptr().cast()) };
    u8x16_bitmask(u8x16_eq(vector, u8x16_splat(b'\n'))).into()
}

/// As above, by the same instructions.
#[cfg(target_arch = "x86_64")]
fn line_feeds(bytes: &[u8; 16]) -> u32 {
    use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: the bytes are there, and the instruction takes any address.
    let vector = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    // SAFETY: every x86-64 processor has this instruction, and the next two.
    let wanted = unsafe { _mm_set1_epi8(b'\n'.cast_signed()) };
    // SAFETY: as above.
    let equal = unsafe { _mm_cmpeq_epi8(vector, wanted) };
    // SAFETY: as above.
    (unsafe { _mm_movemask_epi8(equal) }) as u32
}

/// The number before `ms`, which is followed by a space and the line's last word, both within its last bytes.
fn duration(line: &[u8]) -> Option<u32> {
    let tail = line.last_chunk::<TAIL>()?;
    let mut at = TAIL - 1;
    while tail[at] != b' ' {
        at = at.checked_sub(1)?;
    }
    at = at.checked_sub(2)?;
    if tail[at..at + 2] != *b"ms" {
        return None;
    }
    let (mut value, mut scale) = (0_u32, 1_u32);
    loop {
        at = at.checked_sub(1)?;
        match tail[at] {
            byte @ b'0'..=b'9' => value = value.wrapping_add(u32::from(byte - b'0').wrapping_mul(scale)),
            b' ' => return (scale > 1).then_some(value),
            _ => return None,
        }
        scale = scale.wrapping_mul(10);
    }
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
