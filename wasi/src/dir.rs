//! Granted directories as programs find them, and listings.
//!
//! Invariant: a listing needs host memory of constant size, whatever buffer the guest has. Cookies
//! are the host's positions in the directory, 0 being its start.

use std::os::fd::OwnedFd;

use aura_host_abi::HostCall;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};

use crate::beneath;
use crate::ctx::WasiCtx;
use crate::errno::{Errno, Fail, Outcome};
use crate::stream::check_interrupt;
use crate::table::{Dir, Object};
use crate::types::{DIRENT_LEN, FileType, Rights, dirent, prestat};

/// Bytes of host entries fetched at a time.
const LISTING_LEN: usize = 32 << 10;

/// The name of a granted directory; anything else, a revoked one included, is BADF.
fn preopen(ctx: &WasiCtx, fd: u32) -> Result<&str, Errno> {
    match &ctx.fds.peek(fd).map_err(|_| Errno::BADF)?.object {
        Object::Dir(Dir { preopen: Some(name), .. }) => Ok(name),
        _ => Err(Errno::BADF),
    }
}

/// `fd_prestat_get(fd, out)`
pub(crate) fn prestat_get(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let len = u32::try_from(preopen(ctx, call.u32(0))?.len()).map_err(|_| Errno::NAMETOOLONG)?;
    call.memory.write(call.u32(1).into(), &prestat(len))?;
    Ok(())
}

/// `fd_prestat_dir_name(fd, buffer, len)`
pub(crate) fn prestat_dir_name(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let name = preopen(ctx, call.u32(0))?;
    if (call.u32(2) as usize) < name.len() {
        return Err(Errno::NAMETOOLONG.into());
    }
    call.memory.write(call.u32(1).into(), name.as_bytes())?;
    Ok(())
}

/// The guest's buffer of a listing.
struct Listing {
    at: u64,
    len: u64,
    used: u64,
}

impl Listing {
    /// Appends bytes as far as they fit; says whether the buffer is full.
    fn put(&mut self, call: &mut HostCall<'_>, bytes: &[u8]) -> Result<bool, Fail> {
        let count = (bytes.len() as u64).min(self.len - self.used);
        call.memory.write(self.at + self.used, &bytes[..count as usize])?;
        call.moved(count);
        self.used += count;
        Ok(self.used == self.len)
    }
}

/// `fd_readdir(fd, buffer, len, cookie, out)`: fills the buffer; less than full is the end.
pub(crate) fn read(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (fd, cookie, out) = (call.u32(0), call.u64(3), call.u32(4).into());
    let mut listing = Listing { at: call.u32(1).into(), len: call.u32(2).into(), used: 0 };
    call.memory.check(listing.at, listing.len)?;
    call.memory.check(out, 4)?;
    let dir = ctx.dir(fd, Rights::FD_READDIR, ".")?.0;
    let own_inode = rustix::fs::fstat(&dir.fd)?.st_ino;
    let reader = reader_at(dir, cookie)?;
    if listing.len > 0 {
        fill(call, reader, own_inode, &mut listing)?;
    }
    call.memory.write_u32(out, listing.used as u32)?;
    Ok(())
}

/// The cursor of a directory, moved to a cookie.
fn reader_at(dir: &mut Dir, cookie: u64) -> Result<&OwnedFd, Errno> {
    let position = i64::try_from(cookie).map_err(|_| Errno::INVAL)?.cast_unsigned();
    let opened = match dir.reader.take() {
        Some(opened) => opened,
        None => beneath::open(&dir.fd, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?,
    };
    let reader = dir.reader.insert(opened);
    rustix::fs::seek(&*reader, SeekFrom::Start(position))?;
    Ok(reader)
}

fn fill(call: &mut HostCall<'_>, reader: &OwnedFd, own_inode: u64, listing: &mut Listing) -> Outcome {
    let mut space = Vec::with_capacity(LISTING_LEN);
    let mut entries = RawDir::new(reader, space.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        check_interrupt(call)?;
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let inode = if name == b".." { own_inode } else { entry.ino() };
        let len = u32::try_from(name.len()).map_err(|_| Errno::OVERFLOW)?;
        let head: [u8; DIRENT_LEN] = dirent(entry.next_entry_cookie(), inode, len, FileType::from(entry.file_type()));
        if listing.put(call, &head)? || listing.put(call, name)? {
            return Ok(());
        }
    }
    Ok(())
}
