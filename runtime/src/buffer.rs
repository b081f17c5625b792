//! `SharedBuffer`: memory that the host fills and guests read or write where it lies.
//!
//! | made by | what it is | when another process shortens the file |
//! |---|---|---|
//! | [`SharedBuffer::new`] | pages of its own, which nobody else can reach | there is none |
//! | [`SharedBuffer::copy_file`] | a copy that never changes again | nothing |
//! | [`SharedBuffer::map_file`] | the file's pages, for reading | accesses of guests trap, those of the host fail |
//! | [`SharedBuffer::map_file_to_write`] | the file's pages | as above |
//!
//! Others may write the bytes at any moment: guests that they are lent to for writing, and of a mapped file every
//! process that may write it. So nothing here gives a reference to them but [`SharedBuffer::as_slice`], which does only
//! once nobody can write any more, by a seal of the system's. What is read twice may differ: read once.
//!
//! # Safety
//! Trusts: a memfd that is sealed against shrinking keeps its pages; one that is sealed against writing, and has
//! no mapping that could write, never changes. The mapping of a buffer stays as long as the buffer.

use std::ffi::c_void;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::arch::careful;
use crate::error::{Error, Result};
use crate::signals;

/// What a guest may do with what is lent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read; a write is a trap.
    Read,
    /// Read and write; the buffer changes.
    Write,
    /// Read and write; what is written is the guest's own, goes with the loan, and never reaches the buffer.
    Private,
}

/// Memory that host and guests share; clones are the same memory.
#[derive(Clone)]
pub struct SharedBuffer {
    inner: Arc<Inner>,
}

struct Inner {
    file: OwnedFd,
    len: u64,
    kind: Kind,
    /// Where the host has it mapped.
    base: *mut u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Pages of its own.
    Own,
    /// Pages of its own that never change again.
    Frozen,
    /// A file, to read.
    File,
    /// A file, to read and write.
    FileToWrite,
}

// SAFETY: the mapping is accessed by machine code that races with nobody's reference; see the head of the file.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        unmap(self.base, self.len);
    }
}

impl fmt::Debug for SharedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuffer").field("len", &self.inner.len).field("kind", &self.inner.kind).finish()
    }
}

fn system(what: &str) -> impl Fn(rustix::io::Errno) -> Error {
    move |error| Error::resource(format!("cannot {what}: {error}"))
}

fn unmap(base: *mut u8, len: u64) {
    // SAFETY: the mapping that `map` made, by its only owner.
    unsafe { rustix::mm::munmap(base.cast(), len as usize) }.expect("a mapping can be unmapped");
}

/// Maps a whole file for the host.
fn map(file: BorrowedFd<'_>, len: u64, prot: ProtFlags) -> Result<*mut u8> {
    let place = std::ptr::null_mut::<c_void>();
    let flags = if prot.contains(ProtFlags::WRITE) { MapFlags::SHARED } else { MapFlags::PRIVATE };
    let length = usize::try_from(len).map_err(|_| Error::resource(format!("a buffer of {len} bytes")))?;
    // SAFETY: a new mapping at a place of the system's choice.
    let mapped = unsafe { rustix::mm::mmap(place, length, prot, flags, file, 0) };
    Ok(mapped.map_err(system("map a shared buffer"))?.cast())
}

impl SharedBuffer {
    /// Makes a buffer of `len` bytes, all zero.
    ///
    /// # Errors
    /// If `len` is 0, or the system has no room.
    pub fn new(len: u64) -> Result<Self> {
        if len == 0 {
            return Err(Error::usage("a shared buffer of no bytes"));
        }
        signals::install()?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("aura-buffer", flags).map_err(system("make a shared buffer"))?;
        rustix::fs::ftruncate(&file, len).map_err(system("make a shared buffer"))?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)
            .map_err(system("seal a shared buffer"))?;
        let base = map(file.as_fd(), len, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self { inner: Arc::new(Inner { file, len, kind: Kind::Own, base }) })
    }

    /// Makes a buffer of these bytes.
    ///
    /// # Errors
    /// As [`SharedBuffer::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let buffer = Self::new(bytes.len() as u64)?;
        buffer.write(0, bytes)?;
        Ok(buffer)
    }

    /// Makes a buffer with a copy of a file from its beginning, as it is now; the buffer never changes again.
    ///
    /// # Errors
    /// If the file cannot be read, has no bytes or ends early, or the system has no room.
    pub fn copy_file(mut file: &File) -> Result<Self> {
        let len = length(file)?;
        let buffer = Self::new(len)?;
        rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0)).map_err(system("read a file from its beginning"))?;
        let mut at = 0;
        while at < len {
            match buffer.fill_from(&mut file, at..len)? {
                0 => return Err(Error::resource(format!("the file ended at byte {at} of {len}"))),
                count => at += count,
            }
        }
        buffer.freeze()
    }

    /// Makes a buffer of a file's own pages, for reading. Other processes may change or shorten the file: the
    /// buffer then changes, and accesses to what is gone fail.
    ///
    /// # Errors
    /// If the file has no bytes, or cannot be mapped.
    pub fn map_file(file: &File) -> Result<Self> {
        Self::over_file(file, Kind::File, ProtFlags::READ)
    }

    /// As [`SharedBuffer::map_file`], for reading and writing: what is written reaches the file.
    ///
    /// # Errors
    /// As there; the file must be open for reading and writing.
    pub fn map_file_to_write(file: &File) -> Result<Self> {
        Self::over_file(file, Kind::FileToWrite, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn over_file(file: &File, kind: Kind, prot: ProtFlags) -> Result<Self> {
        signals::install()?;
        let len = length(file)?;
        let file = rustix::io::fcntl_dupfd_cloexec(file, 0).map_err(system("keep a file"))?;
        let base = map(file.as_fd(), len, prot)?;
        Ok(Self { inner: Arc::new(Inner { file, len, kind, base }) })
    }

    /// Makes the buffer one that never changes again; from then on [`SharedBuffer::as_slice`] gives its bytes.
    ///
    /// # Errors
    /// If the buffer is a mapped file, has clones, or is lent.
    pub fn freeze(self) -> Result<Self> {
        if self.inner.kind == Kind::Frozen {
            return Ok(self);
        }
        if self.inner.kind != Kind::Own {
            return Err(Error::usage("a mapped file cannot be frozen; SharedBuffer::copy_file makes a copy that is"));
        }
        let inner = Arc::try_unwrap(self.inner);
        let inner = inner.map_err(|_| Error::usage("a buffer is frozen while it has no clones and is not lent"))?;
        let file = rustix::io::fcntl_dupfd_cloexec(&inner.file, 0).map_err(system("keep a shared buffer"))?;
        let len = inner.len;
        // Unmaps it: the system refuses the seal while there is a mapping that could write.
        drop(inner);
        rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).map_err(system("seal a shared buffer"))?;
        let base = map(file.as_fd(), len, ProtFlags::READ)?;
        Ok(Self { inner: Arc::new(Inner { file, len, kind: Kind::Frozen, base }) })
    }

    /// Bytes in it; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no buffer is empty")]
    pub fn len(&self) -> u64 {
        self.inner.len
    }

    /// The bytes, if they never change again: see [`SharedBuffer::freeze`].
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        if self.inner.kind != Kind::Frozen {
            return None;
        }
        // SAFETY: the mapping has that length and stays while the buffer is borrowed; the seal keeps the bytes.
        Some(unsafe { std::slice::from_raw_parts(self.inner.base, self.inner.len as usize) })
    }

    /// Where bytes are in the host's mapping.
    fn place(&self, offset: u64, len: usize) -> Result<*mut u8> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.inner.len => Ok(self.inner.base.wrapping_add(offset as usize)),
            _ => Err(Error::usage(format!("{len} bytes at {offset} of a buffer of {}", self.inner.len))),
        }
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// If they are not inside, or the file was truncated.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let from = self.place(offset, into.len())?;
        // SAFETY: `place` put the range inside the mapping; `into` is host memory.
        unsafe { careful::copy(into.as_mut_ptr(), from, into.len()) }.map_err(|_| truncated())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// If they are not inside, the buffer is for reading only, or the file was truncated.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.check_writable()?;
        let to = self.place(offset, from.len())?;
        // SAFETY: as in `read`.
        unsafe { careful::copy(to, from.as_ptr(), from.len()) }.map_err(|_| truncated())
    }

    /// Fills a part of the buffer by one read, without a copy in between; how many bytes were read.
    ///
    /// # Errors
    /// If the part is not inside, the buffer is for reading only, or reading fails.
    pub fn fill_from(&self, source: &mut (impl Read + AsFd), part: std::ops::Range<u64>) -> Result<u64> {
        self.check_writable()?;
        let len = part.end.saturating_sub(part.start) as usize;
        let to = self.place(part.start, len)?;
        loop {
            // SAFETY: the system writes at most `len` bytes inside the mapping, and no reference to them exists.
            let count = unsafe { libc::read(source.as_fd().as_raw_fd(), to.cast(), len) };
            if count >= 0 {
                return Ok(count as u64);
            }
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(Error::host(error));
            }
        }
    }

    /// Writes a part of the buffer by one write, without a copy in between; how many bytes were written.
    ///
    /// # Errors
    /// If the part is not inside, or writing fails.
    pub fn drain_to(&self, sink: &mut (impl Write + AsFd), part: std::ops::Range<u64>) -> Result<u64> {
        let len = part.end.saturating_sub(part.start) as usize;
        let from = self.place(part.start, len)?;
        loop {
            // SAFETY: the system reads `len` bytes inside the mapping, and makes no reference to them.
            let count = unsafe { libc::write(sink.as_fd().as_raw_fd(), from.cast(), len) };
            if count >= 0 {
                return Ok(count as u64);
            }
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(Error::host(error));
            }
        }
    }

    fn check_writable(&self) -> Result<()> {
        match self.inner.kind {
            Kind::Own | Kind::FileToWrite => Ok(()),
            Kind::Frozen | Kind::File => Err(Error::usage("the buffer is for reading only")),
        }
    }

    /// Whether a guest can be given this access.
    pub(crate) fn allows(&self, access: Access) -> bool {
        access != Access::Write || self.check_writable().is_ok()
    }

    /// Whether the bytes between the end and the end of its page may be seen with the rest: they are the buffer's own,
    /// or of a file that is lent for writing as a whole (zeros, until the file grows there).
    pub(crate) fn owns_tail(&self, access: Access) -> bool {
        match self.inner.kind {
            Kind::Own | Kind::Frozen => true,
            Kind::File => false,
            Kind::FileToWrite => access == Access::Write,
        }
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.inner.file.as_fd()
    }

    /// How pages of it are mapped for a guest.
    pub(crate) fn mapping(&self, access: Access) -> (MapFlags, ProtFlags) {
        let is_shared = matches!(self.inner.kind, Kind::Own | Kind::FileToWrite);
        match access {
            Access::Read if is_shared => (MapFlags::SHARED, ProtFlags::READ),
            Access::Read => (MapFlags::PRIVATE, ProtFlags::READ),
            Access::Write => (MapFlags::SHARED, ProtFlags::READ | ProtFlags::WRITE),
            Access::Private => (MapFlags::PRIVATE, ProtFlags::READ | ProtFlags::WRITE),
        }
    }
}

fn truncated() -> Error {
    Error::resource("the file behind the buffer was truncated")
}

fn length(file: &File) -> Result<u64> {
    let stat = rustix::fs::fstat(file).map_err(system("look at a file"))?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(Error::usage("only a regular file can be a shared buffer"));
    }
    match u64::try_from(stat.st_size) {
        Ok(len) if len > 0 => Ok(len),
        _ => Err(Error::usage("a file without bytes cannot be a shared buffer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_ranges_are_checked() {
        let buffer = SharedBuffer::from_bytes(b"0123456789").expect("a buffer");
        let mut into = [0; 4];
        buffer.read(3, &mut into).expect("inside");
        assert_eq!(&into, b"3456");
        for offset in [7, 10, u64::MAX] {
            assert!(buffer.read(offset, &mut into).is_err() && buffer.write(offset, &into).is_err(), "{offset}");
        }
        assert!(buffer.as_slice().is_none(), "it may change");
        assert!(SharedBuffer::new(0).is_err());
    }

    #[test]
    fn what_is_frozen_never_changes() {
        let buffer = SharedBuffer::from_bytes(b"still").expect("a buffer");
        let clone = buffer.clone();
        assert!(buffer.freeze().is_err(), "there is a clone that could write");
        let frozen = clone.freeze().expect("alone now");
        assert_eq!(frozen.as_slice(), Some(&b"still"[..]));
        assert!(frozen.write(0, b"x").is_err());
        assert!(frozen.allows(Access::Read) && frozen.allows(Access::Private) && !frozen.allows(Access::Write));
        let base = map(frozen.file(), 5, ProtFlags::READ | ProtFlags::WRITE);
        assert!(base.is_err(), "the system refuses a mapping that could write");
    }
}
