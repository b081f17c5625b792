//! Sockets: what the host passed in, and connections that came over those.
//!
//! A guest cannot open a socket, only use one. Invariant: no operation blocks in the host, whatever the
//! mode of the socket that the host's side of it shares: each is asked not to wait, and waiting is done
//! in slices by [`Waiter`]. No signal is raised for a peer that is gone, and no address is told.

use std::os::fd::{AsFd, OwnedFd};

use aura_host_abi::HostCall;
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::io::Errno as HostErrno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};

use crate::ctx::WasiCtx;
use crate::errno::{Errno, Fail, Outcome};
use crate::fd::{At, write_pieces};
use crate::stream::{Waiter, check_interrupt};
use crate::table::{Entry, Object, Socket, SocketKind};
use crate::transfer::Pieces;
use crate::types::{FdFlags, FileType, ReceiveFlags, Rights, ShutdownFlags, flags16};

/// Takes a socket over from the host; anything else is refused.
pub(crate) fn adopt(fd: OwnedFd) -> Result<Socket, HostErrno> {
    let kind = if sockopt::socket_acceptconn(&fd)? { SocketKind::Listener } else { talks_in(&fd)? };
    if kind == SocketKind::Listener {
        // Another process may take the connection that `poll` announced.
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    }
    Ok(Socket { fd, kind })
}

/// Whether a socket carries a stream or messages.
fn talks_in(fd: &OwnedFd) -> Result<SocketKind, HostErrno> {
    match sockopt::socket_type(fd)? {
        SocketType::STREAM => Ok(SocketKind::Stream),
        SocketType::DGRAM | SocketType::SEQPACKET => Ok(SocketKind::Datagram),
        _ => Err(HostErrno::OPNOTSUPP),
    }
}

/// The type that a guest is told.
pub(crate) fn file_type(socket: &Socket) -> FileType {
    match socket.kind {
        SocketKind::Datagram => FileType::SocketDatagram,
        SocketKind::Listener | SocketKind::Stream => FileType::SocketStream,
    }
}

/// What one call of the host received.
pub(crate) struct Received {
    pub(crate) len: usize,
    /// The message was longer, and its rest is lost.
    truncated: bool,
}

/// Receives what is there, waiting for the first byte unless told not to; 0 is the end.
pub(crate) fn receive(
    waiter: &Waiter<'_, '_>,
    socket: &Socket,
    into: &mut [u8],
    mut flags: RecvFlags,
) -> Result<Received, Fail> {
    flags |= RecvFlags::DONTWAIT;
    // On a stream this flag would throw the bytes away.
    flags.set(RecvFlags::TRUNC, socket.kind == SocketKind::Datagram);
    let (len, whole) =
        waiter.when_ready(socket.fd.as_fd(), PollFlags::IN, || rustix::net::recv(&socket.fd, &mut *into, flags))?;
    Ok(Received { len, truncated: whole > len })
}

/// Sends some of `bytes`, or all of a message, waiting until that is possible unless told not to.
pub(crate) fn transmit(waiter: &Waiter<'_, '_>, socket: &Socket, bytes: &[u8]) -> Result<usize, Fail> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    waiter.when_ready(socket.fd.as_fd(), PollFlags::OUT, || rustix::net::send(&socket.fd, bytes, flags))
}

/// `sock_accept(fd, flags, out)`
pub(crate) fn accept(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (fd, out) = (call.u32(0), u64::from(call.u32(2)));
    let flags = FdFlags::parse(flags16(call.u32(1))?)?;
    if !FdFlags::NONBLOCK.contains(flags) {
        return Err(Errno::INVAL.into());
    }
    call.memory.check(out, 4)?;
    let max = ctx.limits.handles_max;
    ctx.socket(fd, Rights::SOCK_ACCEPT)?;
    if !ctx.fds.has_room(max) {
        return Err(Errno::MFILE.into());
    }
    let entry = ctx.fds.peek(fd)?;
    let Object::Socket(listener) = &entry.object else { return Err(Errno::NOTSOCK.into()) };
    let accepted = entry.waiter(call).when_ready(listener.fd.as_fd(), PollFlags::IN, || {
        rustix::net::accept_with(&listener.fd, SocketFlags::CLOEXEC)
    })?;
    let kind = talks_in(&accepted)?;
    let socket = Socket { fd: accepted, kind };
    let number = ctx.fds.insert(Entry::accepted(socket, flags, entry.hands_down()), max)?;
    call.memory.write_u32(out, number)?;
    Ok(())
}

/// `sock_recv(fd, pieces, count, flags, len_out, flags_out)`
pub(crate) fn recv(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (fd, len_out, flags_out) = (call.u32(0), call.u32(4).into(), call.u32(5).into());
    let flags = ReceiveFlags::parse(flags16(call.u32(3))?)?;
    call.memory.check(len_out, 4)?;
    call.memory.check(flags_out, 2)?;
    ctx.socket(fd, Rights::FD_READ)?;
    let mut pieces = Pieces::read(call, call.u32(1), call.u32(2), &ctx.limits)?;
    let (moved, truncated) = recv_pieces(ctx, call, fd, flags, &mut pieces)?;
    call.memory.write_u32(len_out, moved)?;
    call.memory.write(flags_out, &u16::from(truncated).to_le_bytes())?;
    Ok(())
}

/// Receives into the guest's pieces: once, or again until they are full if the guest asked for that.
fn recv_pieces(
    ctx: &WasiCtx,
    call: &mut HostCall<'_>,
    fd: u32,
    flags: ReceiveFlags,
    pieces: &mut Pieces,
) -> Result<(u32, bool), Fail> {
    let host = if flags.contains(ReceiveFlags::PEEK) { RecvFlags::PEEK } else { RecvFlags::empty() };
    let mut buffer = pieces.buffer();
    let (mut moved, mut truncated, mut again) = (0, false, true);
    while again && pieces.left() > 0 {
        check_interrupt(call)?;
        let want = buffer.len().min(pieces.left() as usize);
        let entry = ctx.fds.peek(fd)?;
        let Object::Socket(socket) = &entry.object else { return Err(Errno::NOTSOCK.into()) };
        let received = match receive(&entry.waiter(call), socket, &mut buffer[..want], host) {
            Err(_) if moved > 0 => break,
            received => received?,
        };
        again = flags == ReceiveFlags::WAITALL && socket.kind == SocketKind::Stream && received.len > 0;
        pieces.put(call, &buffer[..received.len])?;
        moved += received.len as u32;
        truncated = received.truncated;
    }
    Ok((moved, truncated))
}

/// `sock_send(fd, pieces, count, flags, out)`: there are no flags.
pub(crate) fn send(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    if call.u32(3) != 0 {
        return Err(Errno::INVAL.into());
    }
    let fd = call.u32(0);
    ctx.socket(fd, Rights::FD_WRITE)?;
    write_pieces(ctx, call, fd, At::Cursor, call.u32(4))
}

/// `sock_shutdown(fd, how)`
pub(crate) fn shutdown(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let how = ShutdownFlags::parse(flags16(call.u32(1))?)?;
    let socket = ctx.socket(call.u32(0), Rights::SOCK_SHUTDOWN)?;
    let how = match (how.contains(ShutdownFlags::READ), how.contains(ShutdownFlags::WRITE)) {
        (true, true) => Shutdown::Both,
        (true, false) => Shutdown::Read,
        (false, true) => Shutdown::Write,
        (false, false) => return Err(Errno::INVAL.into()),
    };
    Ok(rustix::net::shutdown(&socket.fd, how)?)
}
