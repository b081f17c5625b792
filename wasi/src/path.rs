//! Operations on paths below an open directory.
//!
//! Invariant: a path is resolved by [`beneath`] only, and whatever may change the host asks the
//! directory for a right that only a grant of `fs.write` gives, before anything is looked up.

use std::os::fd::{AsFd, OwnedFd};

use aura_host_abi::HostCall;
use rustix::fs::{AtFlags, FileType as HostFileType, Mode, OFlags, Timestamps};

use crate::beneath::{self, Place};
use crate::ctx::WasiCtx;
use crate::errno::{Errno, Fail, Outcome};
use crate::table::{Entry, File, WISH_TO_WRITE};
use crate::types::{FdFlags, FileStat, LookupFlags, OpenFlags, Rights, flags16};

/// What a guest asks of `path_open`.
#[derive(Debug)]
struct Wanted {
    open: OpenFlags,
    rights: Rights,
    flags: FdFlags,
    follow: bool,
}

impl Wanted {
    fn read(call: &HostCall<'_>) -> Result<Self, Errno> {
        Ok(Self {
            follow: follows(call.u32(1))?,
            open: OpenFlags::parse(flags16(call.u32(4))?)?,
            rights: Rights(call.u64(5)),
            flags: FdFlags::parse(flags16(call.u32(7))?)?,
        })
    }

    /// The rights that the directory must have.
    fn needs(&self, only_adds: bool) -> Rights {
        let mut needs = Rights::PATH_OPEN;
        if self.open.contains(OpenFlags::CREATE) {
            needs = needs.with(Rights::PATH_CREATE_FILE);
        }
        // What is new cannot be changed by being written.
        if only_adds && self.open.contains(OpenFlags::CREATE) {
            return needs;
        }
        if self.open.contains(OpenFlags::TRUNCATE) || self.flags.contains(FdFlags::APPEND) || self.writes() {
            needs = needs.with(Rights::PATH_FILESTAT_SET_SIZE);
        }
        needs
    }

    /// Whether the file is to be written; a directory never is.
    fn writes(&self) -> bool {
        self.rights.intersects(WISH_TO_WRITE) && !self.open.contains(OpenFlags::DIRECTORY)
    }

    /// Whether a directory is asked for that is to be written like a file. Programs that ask for all
    /// rights there are want the directory's own.
    fn writes_directory(&self) -> bool {
        let of_directories = Rights::FD_READDIR.with(Rights::PATH_OPEN);
        let asks_to_write = self.rights.intersects(Rights::FD_WRITE) && !self.rights.intersects(of_directories);
        self.open.contains(OpenFlags::DIRECTORY) && asks_to_write
    }

    /// Opens the path. Where nothing that is there may be changed, what is opened for writing is new.
    fn open_below(&self, dir: impl AsFd, path: &str, only_adds: bool) -> Result<OwnedFd, Errno> {
        let flags = self.host_flags()?;
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        if !only_adds || !flags.contains(OFlags::CREATE) {
            return beneath::open(dir, path, flags, mode);
        }
        match beneath::open(&dir, path, flags | OFlags::EXCL, mode) {
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => {
                let changes = self.writes() || flags.intersects(OFlags::TRUNC | OFlags::APPEND);
                if changes {
                    Err(Errno::NOTCAPABLE)
                } else {
                    beneath::open(dir, path, flags - OFlags::CREATE, Mode::empty())
                }
            }
            opened => opened,
        }
    }

    fn host_flags(&self) -> Result<OFlags, Errno> {
        if self.writes_directory() {
            return Err(Errno::ISDIR);
        }
        if self.open.contains(OpenFlags::CREATE.with(OpenFlags::DIRECTORY)) {
            return Err(Errno::INVAL);
        }
        let writes = self.rights.intersects(Rights::FD_WRITE) && self.writes();
        let mut host = match (self.rights.intersects(Rights::FD_READ), writes) {
            (_, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (true, true) => OFlags::RDWR,
        };
        // Opening must neither wait nor make a terminal the host's own.
        host |= OFlags::NONBLOCK | OFlags::NOCTTY;
        host.set(OFlags::NOFOLLOW, !self.follow);
        host.set(OFlags::CREATE, self.open.contains(OpenFlags::CREATE));
        host.set(OFlags::EXCL, self.open.contains(OpenFlags::EXCLUSIVE));
        host.set(OFlags::DIRECTORY, self.open.contains(OpenFlags::DIRECTORY));
        host.set(OFlags::TRUNC, self.open.contains(OpenFlags::TRUNCATE));
        host.set(OFlags::APPEND, self.flags.contains(FdFlags::APPEND));
        // The host's SYNC contains its DSYNC: only ever add to it.
        if self.flags.contains(FdFlags::DSYNC) {
            host |= OFlags::DSYNC;
        }
        if self.flags.intersects(FdFlags::SYNC.with(FdFlags::RSYNC)) {
            host |= OFlags::SYNC;
        }
        Ok(host)
    }
}

fn follows(flags: u32) -> Result<bool, Errno> {
    Ok(LookupFlags::parse(flags)?.contains(LookupFlags::SYMLINK_FOLLOW))
}

/// `path_open(dir, lookup, path, len, open, rights, inheriting, flags, out)`
pub(crate) fn open(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let wanted = Wanted::read(call)?;
    let out = u64::from(call.u32(8));
    call.memory.check(out, 4)?;
    let path = beneath::read_path(&call.memory, call.u32(2), call.u32(3))?;
    let max = ctx.limits.handles_max;
    if !ctx.fds.has_room(max) {
        return Err(Errno::MFILE.into());
    }
    let only_adds = ctx.fds.record(call.u32(0)).is_some_and(Entry::only_adds);
    let (dir, handed) = ctx.dir(call.u32(0), wanted.needs(only_adds), &path)?;
    if wanted.writes() && !handed.writing() {
        return Err(Errno::NOTCAPABLE.into());
    }
    let opened = wanted.open_below(&dir.fd, &path, only_adds);
    let fd = opened.map_err(|errno| ctx.note_escape(errno, &path))?;
    let entry = match HostFileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
        HostFileType::Directory => Entry::opened_dir(fd, handed),
        kind => {
            let file = File { fd, regular: kind == HostFileType::RegularFile };
            Entry::file(file, wanted.rights, wanted.flags, handed)
        }
    };
    let number = ctx.fds.insert(entry, max)?;
    call.memory.write_u32(out, number)?;
    Ok(())
}

/// Opens what a path names without reading it: for looking at it.
fn look(ctx: &mut WasiCtx, fd: u32, needed: Rights, path: &str, follow: bool) -> Result<OwnedFd, Fail> {
    let mut flags = OFlags::PATH;
    flags.set(OFlags::NOFOLLOW, !follow);
    let opened = beneath::open(&ctx.dir(fd, needed, path)?.0.fd, path, flags, Mode::empty());
    opened.map_err(|errno| ctx.note_escape(errno, path))
}

/// Finds the place of a name below a directory.
fn place<'a>(ctx: &mut WasiCtx, fd: u32, needed: Rights, path: &'a str) -> Result<Place<'a>, Fail> {
    let place = beneath::place(&ctx.dir(fd, needed, path)?.0.fd, path);
    place.map_err(|errno| ctx.note_escape(errno, path))
}

/// `path_filestat_get(dir, lookup, path, len, out)`
pub(crate) fn filestat_get(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let follow = follows(call.u32(1))?;
    let path = beneath::read_path(&call.memory, call.u32(2), call.u32(3))?;
    let found = look(ctx, call.u32(0), Rights::PATH_FILESTAT_GET, &path, follow)?;
    let stat = FileStat::from(&rustix::fs::fstat(&found)?);
    call.memory.write(call.u32(4).into(), &ctx.layout.filestat(&stat))?;
    Ok(())
}

/// `path_filestat_set_times(dir, lookup, path, len, access, modification, flags)`
pub(crate) fn filestat_set_times(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let follow = follows(call.u32(1))?;
    let times = crate::fd::timestamps(call.u64(4), call.u64(5), call.u32(6))?;
    let path = beneath::read_path(&call.memory, call.u32(2), call.u32(3))?;
    let found = look(ctx, call.u32(0), Rights::PATH_FILESTAT_SET_TIMES, &path, follow)?;
    Ok(set_times(&found, &times)?)
}

/// Sets the times of what a lookup-only handle names, itself and not through a link.
pub(crate) fn set_times(found: impl AsFd, times: &Timestamps) -> Result<(), Errno> {
    Ok(rustix::fs::utimensat(found, "", times, AtFlags::EMPTY_PATH)?)
}

/// `path_readlink(dir, path, len, buffer, buffer_len, out)`: an absolute target is not told.
pub(crate) fn readlink(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (buffer, len, out) = (call.u32(3).into(), call.u32(4), call.u32(5).into());
    call.memory.check(out, 4)?;
    let path = beneath::read_path(&call.memory, call.u32(1), call.u32(2))?;
    let found = look(ctx, call.u32(0), Rights::PATH_READLINK, &path, false)?;
    if HostFileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != HostFileType::Symlink {
        return Err(Errno::INVAL.into());
    }
    let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
    let target = target.as_bytes();
    if target.starts_with(b"/") {
        return Err(ctx.note_escape(Errno::NOTCAPABLE, &path));
    }
    let count = target.len().min(len as usize);
    call.memory.write(buffer, &target[..count])?;
    call.memory.write_u32(out, count as u32)?;
    Ok(())
}

/// `path_create_directory(dir, path, len)`
pub(crate) fn create_directory(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let path = beneath::read_path(&call.memory, call.u32(1), call.u32(2))?;
    let place = place(ctx, call.u32(0), Rights::PATH_CREATE_DIRECTORY, &path).map_err(|fail| match fail {
        // `.` and `..`, found below the directory, are there already.
        Fail::Errno(Errno::INVAL) => Fail::Errno(Errno::EXIST),
        fail => fail,
    })?;
    Ok(rustix::fs::mkdirat(&place.parent, place.name, Mode::from_raw_mode(0o777))?)
}

/// `path_remove_directory(dir, path, len)`
pub(crate) fn remove_directory(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let path = beneath::read_path(&call.memory, call.u32(1), call.u32(2))?;
    let place = place(ctx, call.u32(0), Rights::PATH_REMOVE_DIRECTORY, &path)?;
    Ok(rustix::fs::unlinkat(&place.parent, place.name, AtFlags::REMOVEDIR)?)
}

/// `path_unlink_file(dir, path, len)`
pub(crate) fn unlink_file(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let path = beneath::read_path(&call.memory, call.u32(1), call.u32(2))?;
    let place = place(ctx, call.u32(0), Rights::PATH_UNLINK_FILE, &path)?;
    if place.directory {
        let errno = if is_directory(&place)? { Errno::ISDIR } else { Errno::NOTDIR };
        return Err(errno.into());
    }
    Ok(rustix::fs::unlinkat(&place.parent, place.name, AtFlags::empty())?)
}

/// `path_rename(dir, path, len, new_dir, new_path, new_len)`: both directories must be writable.
pub(crate) fn rename(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let from = beneath::read_path(&call.memory, call.u32(1), call.u32(2))?;
    let to = beneath::read_path(&call.memory, call.u32(4), call.u32(5))?;
    let from = place(ctx, call.u32(0), Rights::PATH_RENAME_SOURCE, &from)?;
    let to = place(ctx, call.u32(3), Rights::PATH_RENAME_TARGET, &to)?;
    if (from.directory || to.directory) && !is_directory(&from)? {
        return Err(Errno::NOTDIR.into());
    }
    Ok(rustix::fs::renameat(&from.parent, from.name, &to.parent, to.name)?)
}

/// `path_link(dir, lookup, path, len, new_dir, new_path, new_len)`: both directories must be writable,
/// since what is written through one name changes under the other. A link as last component is not followed.
pub(crate) fn link(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    if follows(call.u32(1))? {
        return Err(Errno::INVAL.into());
    }
    let from = beneath::read_path(&call.memory, call.u32(2), call.u32(3))?;
    let to = beneath::read_path(&call.memory, call.u32(5), call.u32(6))?;
    let from = place(ctx, call.u32(0), Rights::PATH_LINK_SOURCE, &from)?;
    let to = place(ctx, call.u32(4), Rights::PATH_LINK_TARGET, &to)?;
    if from.directory && !is_directory(&from)? {
        return Err(Errno::NOTDIR.into());
    }
    check_new(&to)?;
    Ok(rustix::fs::linkat(&from.parent, from.name, &to.parent, to.name, AtFlags::empty())?)
}

/// `path_symlink(target, target_len, dir, path, len)`: the target is text, which nothing but a later
/// lookup resolves, and that stays beneath its own directory. An absolute one names host paths and is refused.
pub(crate) fn symlink(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let target = beneath::read_path(&call.memory, call.u32(0), call.u32(1))?;
    let path = beneath::read_path(&call.memory, call.u32(3), call.u32(4))?;
    let place = place(ctx, call.u32(2), Rights::PATH_SYMLINK, &path)?;
    if target.starts_with('/') {
        return Err(ctx.note_escape(Errno::NOTCAPABLE, &target));
    }
    check_new(&place)?;
    Ok(rustix::fs::symlinkat(target, &place.parent, place.name)?)
}

/// Refuses a name with a trailing slash for what is no directory, with the host's own reasons.
fn check_new(place: &Place<'_>) -> Result<(), Errno> {
    match place.directory {
        false => Ok(()),
        true if is_directory(place)? => Err(Errno::EXIST),
        true => Err(Errno::NOTDIR),
    }
}

/// Whether a name is a directory itself, not by a symbolic link.
fn is_directory(place: &Place<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(&place.parent, place.name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(HostFileType::from_raw_mode(stat.st_mode) == HostFileType::Directory)
}
