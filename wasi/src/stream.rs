//! Standard input, output and error: where their bytes come from and go to.
//!
//! Invariant: no wait outlives the call. A stream of the process is polled in slices of at most
//! [`SLICE`] between looks at the call's interrupt, and is then asked for no more than it can do
//! without blocking. Readers and writers of the embedder's own block as long as they please.

use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aura_host_abi::{Capability, HostCall, HostError, TrapCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType as HostFileType, fstat};
use rustix::io::Errno as HostErrno;

use crate::errno::{Errno, Fail};
use crate::limits::WasiLimits;
use crate::types::FileType;

/// The longest time a blocking call goes without looking at its interrupt.
pub(crate) const SLICE: Duration = Duration::from_millis(5);

/// What a pipe that reports itself writable takes without blocking.
const PIPE_LEN: usize = 4096;

/// Where standard input comes from.
#[derive(Default)]
pub enum Input {
    /// The standard input of this process.
    #[default]
    Inherit,
    /// Always at its end.
    Null,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// A reader; the deadline of a call does not reach into it.
    Reader(Box<dyn Read + Send>),
}

/// Where standard output or standard error goes.
#[derive(Default)]
pub enum Output {
    /// The stream of the same name of this process.
    #[default]
    Inherit,
    /// Dropped.
    Null,
    /// Appended, up to [`crate::WasiLimits::capture_bytes_max`]; a write past it answers NOSPC.
    Capture(Arc<Mutex<Vec<u8>>>),
    /// A writer; the deadline of a call does not reach into it.
    Writer(Box<dyn Write + Send>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inherit => "Inherit",
            Self::Null => "Null",
            Self::Bytes(_) => "Bytes",
            Self::Reader(_) => "Reader",
        })
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inherit => "Inherit",
            Self::Null => "Null",
            Self::Capture(_) => "Capture",
            Self::Writer(_) => "Writer",
        })
    }
}

/// Which of the three streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    In,
    Out,
    Err,
}

impl Stream {
    /// The three, at the index of their customary descriptor.
    pub(crate) const ALL: [Self; 3] = [Self::In, Self::Out, Self::Err];
}

/// The three streams of one context.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) input: Input,
    /// How much of [`Input::Bytes`] was read.
    pub(crate) consumed: usize,
    pub(crate) output: Output,
    pub(crate) error: Output,
    /// Bytes written to both outputs.
    pub(crate) written: u64,
}

impl Streams {
    /// The type a guest is told: a terminal is a character device, anything else is not told.
    pub(crate) fn kind(&self, stream: Stream) -> FileType {
        let terminal = match (stream, &self.input, &self.output, &self.error) {
            (Stream::In, Input::Inherit, ..) => io::stdin().is_terminal(),
            (Stream::Out, _, Output::Inherit, _) => io::stdout().is_terminal(),
            (Stream::Err, _, _, Output::Inherit) => io::stderr().is_terminal(),
            _ => false,
        };
        if terminal { FileType::CharacterDevice } else { FileType::Unknown }
    }

    /// Whether waiting for this stream means asking the process's own.
    pub(crate) fn inherits(&self, stream: Stream) -> bool {
        match stream {
            Stream::In => matches!(self.input, Input::Inherit),
            Stream::Out => matches!(self.output, Output::Inherit),
            Stream::Err => matches!(self.error, Output::Inherit),
        }
    }

    /// Reads what is there, waiting for the first byte unless told not to; 0 is the end.
    pub(crate) fn read(&mut self, waiter: &Waiter<'_, '_>, into: &mut [u8]) -> Result<usize, Fail> {
        match &mut self.input {
            Input::Inherit => waiter.read(io::stdin().as_fd(), into),
            Input::Null => Ok(0),
            Input::Bytes(bytes) => {
                let rest = &bytes[self.consumed.min(bytes.len())..];
                let count = rest.len().min(into.len());
                into[..count].copy_from_slice(&rest[..count]);
                self.consumed += count;
                Ok(count)
            }
            Input::Reader(reader) => reader.read(into).map(|n| n.min(into.len())).map_err(io_error),
        }
    }

    /// Writes some of `bytes`, waiting until that is possible unless told not to.
    pub(crate) fn write(
        &mut self,
        waiter: &Waiter<'_, '_>,
        stream: Stream,
        bytes: &[u8],
        limits: &WasiLimits,
    ) -> Result<usize, Fail> {
        let left = limits.output_bytes_max.saturating_sub(self.written);
        if left == 0 && !bytes.is_empty() {
            return Err(Errno::NOSPC.into());
        }
        let bytes = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let output = match stream {
            Stream::In => return Err(Errno::BADF.into()),
            Stream::Out => &mut self.output,
            Stream::Err => &mut self.error,
        };
        let count = match output {
            Output::Inherit if stream == Stream::Out => waiter.write(io::stdout().as_fd(), bytes),
            Output::Inherit => waiter.write(io::stderr().as_fd(), bytes),
            Output::Null => Ok(bytes.len()),
            Output::Capture(sink) => capture(sink, bytes, limits.capture_bytes_max),
            Output::Writer(writer) => {
                writer.write_all(bytes).and_then(|()| writer.flush()).map_err(io_error)?;
                Ok(bytes.len())
            }
        }?;
        self.written += count as u64;
        Ok(count)
    }
}

fn capture(sink: &Mutex<Vec<u8>>, bytes: &[u8], max: usize) -> Result<usize, Fail> {
    let mut held = sink.lock().unwrap_or_else(PoisonError::into_inner);
    let count = bytes.len().min(max.saturating_sub(held.len()));
    if count == 0 && !bytes.is_empty() {
        return Err(Errno::NOSPC.into());
    }
    held.extend_from_slice(&bytes[..count]);
    Ok(count)
}

fn io_error(error: io::Error) -> Fail {
    HostErrno::from_io_error(&error).map_or(Errno::IO, Errno::from).into()
}

/// How an operation that may have to wait does so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter<'a, 'b> {
    pub(crate) call: &'a HostCall<'b>,
    /// On whose authority; a wait ends when it is taken back.
    pub(crate) grant: &'a Capability,
    /// The guest asked not to wait.
    pub(crate) nonblock: bool,
}

impl Waiter<'_, '_> {
    /// Does `operation` once the host says that `fd` is ready for it.
    pub(crate) fn when_ready<T>(
        &self,
        fd: BorrowedFd<'_>,
        events: PollFlags,
        mut operation: impl FnMut() -> Result<T, HostErrno>,
    ) -> Result<T, Fail> {
        loop {
            self.wait(fd, events)?;
            match operation() {
                Err(HostErrno::INTR) => {}
                Err(HostErrno::AGAIN) if !self.nonblock => {}
                result => return Ok(result?),
            }
        }
    }

    /// Waits until a host descriptor is ready or in error, the call is interrupted or its grant gone; or at
    /// once says AGAIN.
    fn wait(&self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<(), Fail> {
        let mut timeout = Duration::ZERO;
        loop {
            let ready = poll_slice(&mut [PollFd::from_borrowed_fd(fd, events)], timeout)? > 0;
            if !self.grant.is_live() {
                return Err(Errno::NOTCAPABLE.into());
            }
            if ready {
                return Ok(());
            }
            if self.nonblock {
                return Err(Errno::AGAIN.into());
            }
            check_interrupt(self.call)?;
            timeout = SLICE;
        }
    }

    /// Reads from a host descriptor that may block.
    pub(crate) fn read(&self, fd: BorrowedFd<'_>, into: &mut [u8]) -> Result<usize, Fail> {
        self.when_ready(fd, PollFlags::IN, || rustix::io::read(fd, &mut *into))
    }

    /// Writes to a host descriptor that may block: no more than it takes at once.
    pub(crate) fn write(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Fail> {
        let regular = fstat(fd).is_ok_and(|s| HostFileType::from_raw_mode(s.st_mode) == HostFileType::RegularFile);
        let piece = if regular { bytes } else { &bytes[..bytes.len().min(PIPE_LEN)] };
        self.when_ready(fd, PollFlags::OUT, || rustix::io::write(fd, piece))
    }
}

/// Polls once for at most `timeout`; a signal counts as nothing ready.
pub(crate) fn poll_slice(fds: &mut [PollFd<'_>], timeout: Duration) -> Result<usize, Fail> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.min(SLICE).subsec_nanos().into() };
    match poll(fds, Some(&timeout)) {
        Err(HostErrno::INTR) => Ok(0),
        result => Ok(result?),
    }
}

/// Ends the guest if the host asked for it, and the call if what it goes through was taken back.
pub(crate) fn check_interrupt(call: &HostCall<'_>) -> Result<(), Fail> {
    if call.is_interrupted() {
        return Err(HostError::Trap(TrapCode::Interrupted).into());
    }
    if call.is_cancelled() { Err(Errno::NOTCAPABLE.into()) } else { Ok(()) }
}
