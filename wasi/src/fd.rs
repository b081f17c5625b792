//! Operations on open descriptors.
//!
//! Invariant: each looks its descriptor up by [`WasiCtx::entry`] or [`WasiCtx::file`] with the
//! rights it needs before anything else happens, and checks where its result goes before it acts.

use std::num::NonZeroU64;
use std::os::fd::AsFd;

use aura_host_abi::HostCall;
use rustix::fs::{Advice, FallocateFlags, OFlags, SeekFrom, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno as HostErrno;
use rustix::net::RecvFlags;

use crate::ctx::WasiCtx;
use crate::errno::{Errno, Fail, Outcome};
use crate::socket;
use crate::stream::check_interrupt;
use crate::table::{Entry, Object, SocketKind};
use crate::transfer::Pieces;
use crate::types::{FdFlags, FileStat, FileType, Rights, TimeFlags, Whence, fdstat, flags16};

/// Where a transfer begins.
#[derive(Clone, Copy)]
pub(crate) enum At {
    Cursor,
    Offset(u64),
}

/// `fd_read(fd, pieces, count, out)`
pub(crate) fn read(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (fd, out) = (call.u32(0), call.u32(3));
    read_pieces(ctx, call, fd, At::Cursor, out)
}

/// `fd_pread(fd, pieces, count, offset, out)`
pub(crate) fn pread(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (fd, offset, out) = (call.u32(0), call.u64(3), call.u32(4));
    ctx.file(fd, Rights::FD_READ.with(Rights::FD_SEEK))?;
    read_pieces(ctx, call, fd, At::Offset(offset), out)
}

/// `fd_write(fd, pieces, count, out)`
pub(crate) fn write(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (fd, out) = (call.u32(0), call.u32(3));
    write_pieces(ctx, call, fd, At::Cursor, out)
}

/// `fd_pwrite(fd, pieces, count, offset, out)`
pub(crate) fn pwrite(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (fd, offset, out) = (call.u32(0), call.u64(3), call.u32(4));
    ctx.file(fd, Rights::FD_WRITE.with(Rights::FD_SEEK))?;
    write_pieces(ctx, call, fd, At::Offset(offset), out)
}

fn read_pieces(ctx: &mut WasiCtx, call: &mut HostCall<'_>, fd: u32, at: At, out: u32) -> Outcome {
    check_not_dir(ctx.entry(fd, Rights::NONE)?)?;
    ctx.entry(fd, Rights::FD_READ)?;
    call.memory.check(out.into(), 4)?;
    let mut pieces = Pieces::read(call, call.u32(1), call.u32(2), &ctx.limits)?;
    let mut buffer = pieces.buffer();
    let mut moved = 0u32;
    while pieces.left() > 0 {
        let want = buffer.len().min(pieces.left() as usize);
        let count = match read_once(ctx, call, fd, at, moved, &mut buffer[..want]) {
            Ok(count) => count,
            Err(_) if moved > 0 => break,
            Err(fail) => return Err(fail),
        };
        pieces.put(call, &buffer[..count])?;
        moved += count as u32;
        if count < want || !is_regular(ctx, fd) {
            break;
        }
    }
    call.memory.write_u32(out.into(), moved)?;
    Ok(())
}

/// Writes the guest's pieces; a message goes out whole or not at all.
pub(crate) fn write_pieces(ctx: &mut WasiCtx, call: &mut HostCall<'_>, fd: u32, at: At, out: u32) -> Outcome {
    check_not_dir(ctx.entry(fd, Rights::NONE)?)?;
    ctx.entry(fd, Rights::FD_WRITE)?;
    call.memory.check(out.into(), 4)?;
    let mut pieces = Pieces::read(call, call.u32(1), call.u32(2), &ctx.limits)?;
    let mut buffer = pieces.buffer();
    if is_datagram(ctx, fd) && pieces.asked() > buffer.len() as u64 {
        return Err(Errno::MSGSIZE.into());
    }
    let mut moved = 0u32;
    while pieces.left() > 0 {
        let filled = pieces.take(call, &mut buffer)?;
        let mut rest = &buffer[..filled];
        while !rest.is_empty() {
            match write_once(ctx, call, fd, at, moved, rest) {
                Ok(count) if count > 0 => {
                    moved += count as u32;
                    rest = &rest[count..];
                }
                Err(fail) if moved == 0 => return Err(fail),
                Ok(_) | Err(_) => {
                    call.memory.write_u32(out.into(), moved)?;
                    return Ok(());
                }
            }
        }
    }
    call.memory.write_u32(out.into(), moved)?;
    Ok(())
}

fn check_not_dir(entry: &Entry) -> Result<(), Errno> {
    if matches!(entry.object, Object::Dir(_)) { Err(Errno::ISDIR) } else { Ok(()) }
}

fn is_regular(ctx: &WasiCtx, fd: u32) -> bool {
    ctx.fds.record(fd).is_some_and(|entry| matches!(&entry.object, Object::File(file) if file.regular))
}

fn is_datagram(ctx: &WasiCtx, fd: u32) -> bool {
    let object = ctx.fds.record(fd).map(|entry| &entry.object);
    matches!(object, Some(Object::Socket(socket)) if socket.kind == SocketKind::Datagram)
}

/// Reads once, re-reading the grant first.
fn read_once(
    ctx: &mut WasiCtx,
    call: &HostCall<'_>,
    fd: u32,
    at: At,
    moved: u32,
    into: &mut [u8],
) -> Result<usize, Fail> {
    check_interrupt(call)?;
    let WasiCtx { fds, streams, .. } = ctx;
    let entry = fds.peek(fd)?;
    match (&entry.object, at) {
        (Object::Dir(_), _) => Err(Errno::ISDIR.into()),
        (Object::Stream(_) | Object::Socket(_), At::Offset(_)) => Err(Errno::SPIPE.into()),
        (Object::Stream(_), At::Cursor) => streams.read(&entry.waiter(call), into),
        (Object::Socket(socket), At::Cursor) => {
            socket::receive(&entry.waiter(call), socket, into, RecvFlags::empty()).map(|received| received.len)
        }
        (Object::File(file), At::Offset(start)) => {
            let offset = start.checked_add(moved.into()).ok_or(Errno::INVAL)?;
            Ok(retry(|| rustix::io::pread(&file.fd, &mut *into, offset))?)
        }
        (Object::File(file), At::Cursor) if file.regular => Ok(retry(|| rustix::io::read(&file.fd, &mut *into))?),
        (Object::File(file), At::Cursor) => entry.waiter(call).read(file.fd.as_fd(), into),
    }
}

/// Writes once, re-reading the grant first.
fn write_once(
    ctx: &mut WasiCtx,
    call: &HostCall<'_>,
    fd: u32,
    at: At,
    moved: u32,
    bytes: &[u8],
) -> Result<usize, Fail> {
    check_interrupt(call)?;
    let WasiCtx { fds, streams, limits, .. } = ctx;
    let entry = fds.peek(fd)?;
    match (&entry.object, at) {
        (Object::Dir(_), _) => Err(Errno::ISDIR.into()),
        (Object::Stream(_) | Object::Socket(_), At::Offset(_)) => Err(Errno::SPIPE.into()),
        (Object::Stream(stream), At::Cursor) => streams.write(&entry.waiter(call), *stream, bytes, limits),
        (Object::Socket(socket), At::Cursor) => socket::transmit(&entry.waiter(call), socket, bytes),
        (Object::File(file), At::Offset(start)) => {
            let offset = start.checked_add(moved.into()).ok_or(Errno::INVAL)?;
            Ok(retry(|| rustix::io::pwrite(&file.fd, bytes, offset))?)
        }
        (Object::File(file), At::Cursor) if file.regular => Ok(retry(|| rustix::io::write(&file.fd, bytes))?),
        (Object::File(file), At::Cursor) => entry.waiter(call).write(file.fd.as_fd(), bytes),
    }
}

fn retry<T>(mut operation: impl FnMut() -> Result<T, HostErrno>) -> Result<T, HostErrno> {
    loop {
        match operation() {
            Err(HostErrno::INTR) => {}
            result => return result,
        }
    }
}

/// `fd_seek(fd, offset, whence, out)`
pub(crate) fn seek(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let offset = call.u64(1).cast_signed();
    let from = match ctx.layout.whence(call.u32(2))? {
        Whence::Start => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::INVAL)?),
        Whence::Position => SeekFrom::Current(offset),
        Whence::End => SeekFrom::End(offset),
    };
    let out = call.u32(3).into();
    call.memory.check(out, 8)?;
    let position = rustix::fs::seek(&ctx.file(call.u32(0), Rights::FD_SEEK)?.fd, from)?;
    call.memory.write_u64(out, position)?;
    Ok(())
}

/// `fd_tell(fd, out)`
pub(crate) fn tell(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let position = rustix::fs::tell(&ctx.file(call.u32(0), Rights::FD_TELL)?.fd)?;
    call.memory.write_u64(call.u32(1).into(), position)?;
    Ok(())
}

/// `fd_close(fd)`
pub(crate) fn close(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    Ok(ctx.fds.close(call.u32(0))?)
}

/// `fd_renumber(from, to)`
pub(crate) fn renumber(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    Ok(ctx.fds.renumber(call.u32(0), call.u32(1))?)
}

/// `fd_fdstat_get(fd, out)`
pub(crate) fn fdstat_get(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let fd = call.u32(0);
    ctx.entry(fd, Rights::NONE)?;
    let entry = ctx.fds.peek(fd)?;
    let kind = match &entry.object {
        Object::Stream(stream) => ctx.streams.kind(*stream),
        Object::Dir(_) => FileType::Directory,
        Object::File(file) if file.regular => FileType::RegularFile,
        Object::File(file) => FileStat::from(&rustix::fs::fstat(&file.fd)?).kind,
        Object::Socket(socket) => socket::file_type(socket),
    };
    let bytes = fdstat(kind, entry.flags, entry.rights, entry.inheriting);
    call.memory.write(call.u32(1).into(), &bytes)?;
    Ok(())
}

/// `fd_fdstat_set_flags(fd, flags)`: only APPEND and NONBLOCK change after opening, as on the host.
pub(crate) fn fdstat_set_flags(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    const CHANGEABLE: FdFlags = FdFlags::APPEND.with(FdFlags::NONBLOCK);
    let flags = FdFlags::parse(flags16(call.u32(1))?)?;
    let entry = ctx.entry(call.u32(0), Rights::FD_FDSTAT_SET_FLAGS)?;
    if (flags.0 ^ entry.flags.0) & !CHANGEABLE.0 != 0 {
        return Err(Errno::NOTSUP.into());
    }
    if let Object::File(file) = &entry.object {
        let mut host = rustix::fs::fcntl_getfl(&file.fd)?;
        host.set(OFlags::APPEND, flags.contains(FdFlags::APPEND));
        rustix::fs::fcntl_setfl(&file.fd, host)?;
    }
    entry.flags = flags;
    Ok(())
}

/// `fd_fdstat_set_rights(fd, rights, inheriting)`: gives rights up.
pub(crate) fn fdstat_set_rights(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let entry = ctx.entry(call.u32(0), Rights::NONE)?;
    Ok(entry.narrow(Rights(call.u64(1)), Rights(call.u64(2)))?)
}

/// `fd_filestat_get(fd, out)`: of a stream or a socket, nothing but the type.
pub(crate) fn filestat_get(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let stat = match &ctx.entry(call.u32(0), Rights::FD_FILESTAT_GET)?.object {
        Object::Stream(stream) => {
            let stream = *stream;
            FileStat::stream(ctx.streams.kind(stream))
        }
        Object::Dir(dir) => FileStat::from(&rustix::fs::fstat(&dir.fd)?),
        Object::File(file) => FileStat::from(&rustix::fs::fstat(&file.fd)?),
        Object::Socket(socket) => FileStat::stream(socket::file_type(socket)),
    };
    call.memory.write(call.u32(1).into(), &ctx.layout.filestat(&stat))?;
    Ok(())
}

/// `fd_filestat_set_size(fd, size)`
pub(crate) fn filestat_set_size(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let size = checked_size(call.u64(1))?;
    let file = ctx.file(call.u32(0), Rights::FD_FILESTAT_SET_SIZE)?;
    Ok(retry(|| rustix::fs::ftruncate(&file.fd, size))?)
}

/// A size or offset that the host's signed type can hold.
fn checked_size(size: u64) -> Result<u64, Errno> {
    i64::try_from(size).map(|_| size).map_err(|_| Errno::INVAL)
}

/// `fd_filestat_set_times(fd, access, modification, flags)`
pub(crate) fn filestat_set_times(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let times = timestamps(call.u64(1), call.u64(2), call.u32(3))?;
    let entry = ctx.entry(call.u32(0), Rights::FD_FILESTAT_SET_TIMES)?;
    match &entry.object {
        Object::Stream(_) | Object::Socket(_) => Err(Errno::NOTSUP.into()),
        // Granted directories are handles for lookups only, on which the host sets times by path.
        Object::Dir(dir) => Ok(crate::path::set_times(&dir.fd, &times)?),
        Object::File(file) => Ok(rustix::fs::futimens(&file.fd, &times)?),
    }
}

/// The times that a guest asks to set.
pub(crate) fn timestamps(access: u64, modification: u64, flags: u32) -> Result<Timestamps, Errno> {
    let flags = TimeFlags::parse(flags16(flags)?)?;
    let one = |time: u64, given: TimeFlags, now: TimeFlags| match (flags.contains(given), flags.contains(now)) {
        (true, true) => Err(Errno::INVAL),
        (true, false) => Ok(Timespec {
            tv_sec: i64::try_from(time / 1_000_000_000).map_err(|_| Errno::INVAL)?,
            tv_nsec: (time % 1_000_000_000).try_into().map_err(|_| Errno::INVAL)?,
        }),
        (false, true) => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }),
        (false, false) => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }),
    };
    Ok(Timestamps {
        last_access: one(access, TimeFlags::ACCESS, TimeFlags::ACCESS_NOW)?,
        last_modification: one(modification, TimeFlags::MODIFICATION, TimeFlags::MODIFICATION_NOW)?,
    })
}

/// `fd_sync(fd)`
pub(crate) fn sync(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    sync_with(ctx, call, Rights::FD_SYNC, |fd| rustix::fs::fsync(fd))
}

/// `fd_datasync(fd)`
pub(crate) fn datasync(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    sync_with(ctx, call, Rights::FD_DATASYNC, |fd| rustix::fs::fdatasync(fd))
}

fn sync_with(
    ctx: &mut WasiCtx,
    call: &HostCall<'_>,
    needed: Rights,
    operation: fn(std::os::fd::BorrowedFd<'_>) -> Result<(), HostErrno>,
) -> Outcome {
    let fd = call.u32(0);
    match &ctx.entry(fd, Rights::NONE)?.object {
        Object::Stream(_) | Object::Socket(_) => Err(Errno::INVAL.into()),
        Object::Dir(dir) => {
            // The handle is for lookups only; what is synchronised is the directory it names.
            let opened =
                crate::beneath::open(&dir.fd, ".", OFlags::RDONLY | OFlags::DIRECTORY, rustix::fs::Mode::empty())?;
            Ok(operation(opened.as_fd())?)
        }
        Object::File(_) => Ok(operation(ctx.file(fd, needed)?.fd.as_fd())?),
    }
}

/// `fd_advise(fd, offset, len, advice)`
pub(crate) fn advise(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let advice = match call.u32(3) {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::INVAL.into()),
    };
    let (offset, len) = (checked_size(call.u64(1))?, checked_size(call.u64(2))?);
    let file = ctx.file(call.u32(0), Rights::FD_ADVISE)?;
    Ok(rustix::fs::fadvise(&file.fd, offset, NonZeroU64::new(len), advice)?)
}

/// `fd_allocate(fd, offset, len)`
pub(crate) fn allocate(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (offset, len) = (checked_size(call.u64(1))?, checked_size(call.u64(2))?);
    let file = ctx.file(call.u32(0), Rights::FD_ALLOCATE)?;
    Ok(retry(|| rustix::fs::fallocate(&file.fd, FallocateFlags::empty(), offset, len))?)
}
