//! The one place where a guest's path meets the host's file system.
//!
//! Invariant: every lookup is `openat2` with [`RESOLVE`] from a directory handle of the guest's, so
//! the kernel itself refuses to leave the directory, by `..`, absolute path or symbolic link,
//! however it is spelled. There is no second way: a kernel without `openat2` gets no directories.
//! Operations that act on a name open the name's parent this way and pass on one plain component.

use std::os::fd::{AsFd, OwnedFd};

use aura_host_abi::GuestMemory;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno as HostErrno;

use crate::errno::{Errno, Fail};
use crate::limits::PATH_LEN_MAX;

/// How every path is resolved.
pub(crate) const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// How often a lookup is tried that the kernel could not prove safe because of concurrent renames.
const ATTEMPTS: usize = 64;

/// Reads a path from guest memory: at most [`PATH_LEN_MAX`] bytes of UTF-8 without NUL.
pub(crate) fn read_path(memory: &GuestMemory<'_>, address: u32, len: u32) -> Result<String, Fail> {
    if len > PATH_LEN_MAX {
        return Err(Errno::NAMETOOLONG.into());
    }
    let bytes = memory.read_vec(address.into(), len.into())?;
    let path = String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)?;
    if path.contains('\0') {
        return Err(Errno::INVAL.into());
    }
    if path.is_empty() {
        return Err(Errno::NOENT.into());
    }
    Ok(path)
}

/// Opens `path` below `dir`. NOTCAPABLE if it leads out.
#[expect(clippy::disallowed_methods, reason = "the one way below a granted directory")]
pub(crate) fn open(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    for _ in 0..ATTEMPTS {
        match openat2(dir.as_fd(), path, flags | OFlags::CLOEXEC, mode, RESOLVE) {
            Ok(fd) => return Ok(fd),
            Err(HostErrno::AGAIN | HostErrno::INTR) => {}
            Err(HostErrno::XDEV) => return Err(Errno::NOTCAPABLE),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::AGAIN)
}

/// Finds out whether the kernel has what [`open`] needs.
#[expect(clippy::disallowed_methods, reason = "asks the kernel, not for a file")]
pub(crate) fn probe(dir: impl AsFd) -> Result<(), HostErrno> {
    openat2(dir, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), RESOLVE).map(drop)
}

/// The place of a name: its parent, opened, and one component that is neither `.` nor `..`.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) parent: OwnedFd,
    pub(crate) name: &'a str,
    /// The path ended in a slash: only a directory will do.
    pub(crate) directory: bool,
}

/// Opens the parent of the last component of `path` below `dir`.
pub(crate) fn place(dir: impl AsFd, path: &str) -> Result<Place<'_>, Errno> {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return Err(Errno::NOTCAPABLE);
    }
    let (parent, name) = trimmed.rsplit_once('/').unwrap_or((".", trimmed));
    // What is left of "/name" is the empty string: an absolute path.
    if parent.is_empty() {
        return Err(Errno::NOTCAPABLE);
    }
    if matches!(name, "." | "..") {
        // Says whether that leads out before saying that it cannot be acted on.
        open(&dir, trimmed, OFlags::PATH, Mode::empty())?;
        return Err(Errno::INVAL);
    }
    let parent = open(&dir, parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    Ok(Place { parent, name, directory: trimmed.len() < path.len() })
}
