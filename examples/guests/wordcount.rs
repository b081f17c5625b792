//! Counts words without WASI and without an allocator: the host writes text into the module's
//! memory at `input()` and calls `words`, `lines` or `longest` with its length.

#![no_std]

use core::cell::UnsafeCell;

const CAPACITY_BYTES: usize = 1 << 18;

struct Input(UnsafeCell<[u8; CAPACITY_BYTES]>);

// SAFETY: the module is built without threads.
unsafe impl Sync for Input {}

static INPUT: Input = Input(UnsafeCell::new([0; CAPACITY_BYTES]));

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Where the host writes the text.
#[unsafe(no_mangle)]
pub extern "C" fn input() -> *mut u8 {
    INPUT.0.get().cast()
}

/// How many bytes fit.
#[unsafe(no_mangle)]
pub extern "C" fn capacity() -> usize {
    CAPACITY_BYTES
}

/// The number of words, which are separated by ASCII white space.
#[unsafe(no_mangle)]
pub extern "C" fn words(length: usize) -> usize {
    text(length).split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count()
}

/// The number of line ends.
#[unsafe(no_mangle)]
pub extern "C" fn lines(length: usize) -> usize {
    text(length).iter().filter(|&&byte| byte == b'\n').count()
}

/// The length of the longest word.
#[unsafe(no_mangle)]
pub extern "C" fn longest(length: usize) -> usize {
    text(length).split(u8::is_ascii_whitespace).map(<[u8]>::len).max().unwrap_or(0)
}

/// The first `length` bytes of the input. Traps if the host claims more than fit.
fn text(length: usize) -> &'static [u8] {
    // SAFETY: the host writes only between calls, and the module has no other writer.
    let input = unsafe { &*INPUT.0.get() };
    &input[..length]
}
