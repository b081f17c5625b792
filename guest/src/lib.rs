//! Input and output of a skill as slices, without an allocator: the interface of `guest/README.md` in Rust.
//!
//! ```
//! aura_guest::skill!(count, |input: &[u8], output: &mut [u8]| {
//!     let lines = input.iter().filter(|byte| **byte == b'\n').count() as u64;
//!     aura_guest::put(output, &lines.to_le_bytes())
//! });
//! ```
//!
//! # Safety
//! The exported functions trust the host that the ranges it passes are lent for the time of the call, the input for
//! reading and the output for writing, and that nobody else writes them meanwhile.

#![no_std]

/// The number of an error of the skill's own, which the host gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub u32);

/// The output has no room.
pub const NO_ROOM: Failed = Failed(u32::MAX);

/// What one step of a stream did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes of input that need not be seen again.
    pub consumed: usize,
    /// Bytes of output that were written.
    pub produced: usize,
}

/// Puts bytes at the beginning of the output; how many.
///
/// # Errors
/// If they do not fit.
pub fn put(output: &mut [u8], bytes: &[u8]) -> Result<usize, Failed> {
    output.get_mut(..bytes.len()).ok_or(NO_ROOM)?.copy_from_slice(bytes);
    Ok(bytes.len())
}

/// The result of a skill as the host takes it.
#[doc(hidden)]
pub fn to_host(result: Result<usize, Failed>) -> i64 {
    match result {
        Ok(count) => count as i64,
        Err(Failed(number)) => -1 - i64::from(number),
    }
}

/// The result of a step as the host takes it.
#[doc(hidden)]
pub fn step_to_host(result: Result<Step, Failed>) -> i64 {
    to_host(result.map(|step| step.consumed)) + (result.map_or(0, |step| step.produced as i64) << 32)
}

/// The input of a call.
///
/// # Safety
/// See the head of the file.
#[doc(hidden)]
pub unsafe fn input<'a>(at: *const u8, len: usize) -> &'a [u8] {
    // SAFETY: said by the caller.
    if len == 0 { &[] } else { unsafe { core::slice::from_raw_parts(at, len) } }
}

/// The output of a call.
///
/// # Safety
/// See the head of the file.
#[doc(hidden)]
pub unsafe fn output<'a>(at: *mut u8, len: usize) -> &'a mut [u8] {
    // SAFETY: said by the caller.
    if len == 0 { &mut [] } else { unsafe { core::slice::from_raw_parts_mut(at, len) } }
}

/// Exports a function that works on one input: `skill!(NAME, |input, output| ...)`, where the body is a
/// `fn(&[u8], &mut [u8]) -> Result<usize, Failed>`.
#[macro_export]
macro_rules! skill {
    ($name:ident, $body:expr) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(input: *const u8, in_len: usize, output: *mut u8, out_len: usize) -> i64 {
            let body: fn(&[u8], &mut [u8]) -> Result<usize, $crate::Failed> = $body;
            // SAFETY: the host lends both for the time of the call.
            let (input, output) = unsafe { ($crate::input(input, in_len), $crate::output(output, out_len)) };
            $crate::to_host(body(input, output))
        }
    };
}

/// Exports `aura_stream`: `stream!(|input, last, output| ...)`, where the body is a
/// `fn(&[u8], bool, &mut [u8]) -> Result<Step, Failed>`.
#[macro_export]
macro_rules! stream {
    ($body:expr) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn aura_stream(
            input: *const u8,
            in_len: usize,
            last: u32,
            output: *mut u8,
            out_len: usize,
        ) -> i64 {
            let body: fn(&[u8], bool, &mut [u8]) -> Result<$crate::Step, $crate::Failed> = $body;
            // SAFETY: the host lends both for the time of the call.
            let (input, output) = unsafe { ($crate::input(input, in_len), $crate::output(output, out_len)) };
            $crate::step_to_host(body(input, last != 0, output))
        }
    };
}
