//! The host that programs get in the comparison: the same few answers of WASI preview 1 on every engine.
//!
//! Output is counted and dropped, input is empty, there are no files, the clock moves at each look. What is asked for
//! beyond that is "not there". It is enough for programs to start, say something and end, and costs no engine anything.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A guest's memory as the stubs need it. Wrong addresses read as zero and take no bytes.
pub(crate) trait Bytes {
    fn read_u32(&self, at: u64) -> u32;
    fn write(&mut self, at: u64, bytes: &[u8]);
}

/// What a stub has its guest told.
pub(crate) enum Answer {
    /// The function's result, if it has one.
    Errno(i32),
    /// The program ends.
    Exit,
}

/// The end of a program as an error of the host.
#[derive(Debug)]
pub(crate) struct Exit;

/// The text of [`Exit`], by which it is known again under each engine's own error.
pub(crate) const EXIT: &str = "the program ended";

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXIT)
    }
}

impl std::error::Error for Exit {}

/// Takes the end of a program for what it is.
pub(crate) fn ended<E: fmt::Display>(result: Result<(), E>) -> aura_benches::Outcome<()> {
    match result {
        Err(error) if !error.to_string().contains(EXIT) => Err(error.to_string().into()),
        _ => Ok(()),
    }
}

const BADF: i32 = 8;
const NOSYS: i32 = 52;
const SPIPE: i32 = 70;
/// The name of the program, its only argument.
const PROGRAM: &[u8] = b"program\0";
/// A character device, as which standard streams appear, with all rights.
const FDSTAT: [u8; 24] = {
    let mut stat = [0xff; 24];
    stat[0] = 2;
    stat[1] = 0;
    stat[2] = 0;
    stat[3] = 0;
    stat
};

static BYTES_WRITTEN: AtomicU64 = AtomicU64::new(0);
static LOOKS_AT_CLOCK: AtomicU64 = AtomicU64::new(0);

/// Bytes that programs wrote so far.
pub(crate) fn bytes_written() -> u64 {
    BYTES_WRITTEN.load(Ordering::Relaxed)
}

/// Answers a call of the imported function with this name.
pub(crate) fn answer(name: &str, args: &[u64], memory: &mut dyn Bytes) -> Answer {
    let arg = |index: usize| args.get(index).copied().unwrap_or(0);
    let standard = arg(0) < 3;
    let errno = match name {
        "proc_exit" => return Answer::Exit,
        "fd_write" if standard => {
            let lens = (0..arg(2).min(1024)).map(|iov| memory.read_u32(arg(1) + 8 * iov + 4));
            let written: u32 = lens.fold(0, u32::wrapping_add);
            BYTES_WRITTEN.fetch_add(written.into(), Ordering::Relaxed);
            memory.write(arg(3), &written.to_le_bytes());
            0
        }
        "fd_read" if standard => {
            memory.write(arg(3), &[0; 4]);
            0
        }
        "fd_fdstat_get" if standard => {
            memory.write(arg(1), &FDSTAT);
            0
        }
        "fd_seek" | "fd_tell" if standard => SPIPE,
        "args_sizes_get" => {
            memory.write(arg(0), &1_u32.to_le_bytes());
            memory.write(arg(1), &(PROGRAM.len() as u32).to_le_bytes());
            0
        }
        "args_get" => {
            memory.write(arg(0), &(arg(1) as u32).to_le_bytes());
            memory.write(arg(1), PROGRAM);
            0
        }
        "environ_sizes_get" => {
            memory.write(arg(0), &[0; 4]);
            memory.write(arg(1), &[0; 4]);
            0
        }
        "clock_time_get" | "clock_res_get" => {
            let at = if name == "clock_time_get" { arg(2) } else { arg(1) };
            let now = 1_000_000 * LOOKS_AT_CLOCK.fetch_add(1, Ordering::Relaxed) + 1_000_000;
            memory.write(at, &now.to_le_bytes());
            0
        }
        "random_get" => {
            (0..arg(1).min(1 << 16)).for_each(|i| memory.write(arg(0) + i, &[(i as u8).wrapping_mul(167)]));
            0
        }
        "environ_get" | "fd_fdstat_set_flags" | "sched_yield" | "fd_close" | "fd_sync" => 0,
        _ if name.starts_with("fd_") => BADF,
        _ => NOSYS,
    };
    Answer::Errno(errno)
}
