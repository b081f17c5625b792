//! Outgoing connections and name look-up: what WASI preview 1 has no functions for.
//!
//! The module `aura_net` has two functions. Both answer an error number of WASI; without a grant,
//! NOTCAPABLE. No interface, address or route of the host can be listed by either.
//!
//! ```text
//! connect(host: ptr, host_len: i32, port: i32, fd_out: ptr) -> errno
//!     Opens a TCP connection to a host (a name, or an IPv4 or IPv6 address, in UTF-8) and writes its
//!     descriptor as u32. Needs net.connect=HOST:PORT. The descriptor is one of WASI's: fd_read,
//!     fd_write, sock_recv, sock_send, sock_shutdown, poll_oneoff and fd_close work on it, for as
//!     long as the grant stands.
//! resolve(host: ptr, host_len: i32, out: ptr, out_len: i32, count_out: ptr) -> errno
//!     Looks up a name. Writes as many addresses as fit, 20 bytes each: a u32 that is 4 or 6, then 4
//!     or 16 bytes of the address in network order, zeros behind 4; and how many there are as u32.
//!     Needs net.resolve=HOST.
//! ```
//!
//! Invariant: nothing blocks past the call's deadline or the grant's end. A look-up, which the system
//! does not let end, runs on a thread of its own, of which there are few. A grant of a pattern (`*`,
//! `*.SUFFIX`) reaches addresses of the wide net only: a name that somebody else controls never leads
//! to this host or its own network, unless a grant names that very host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use aura_host_abi::ValType::I32;
use aura_host_abi::{Action, Capability, Denial, GuestPtr, HostCall, HostFn, HostPattern, Resource};
use rustix::event::PollFlags;
use rustix::io::Errno as HostErrno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::ctx::WasiCtx;
use crate::errno::{Errno, Fail, Outcome};
use crate::functions::enter;
use crate::stream::{SLICE, Waiter, check_interrupt};
use crate::table::{Entry, Socket, SocketKind};

/// The module name under which guests import [`NET_FUNCTIONS`].
pub const NET_MODULE: &str = "aura_net";

/// Longest host name a guest may pass, in bytes; that of the domain name system.
const HOST_LEN_MAX: usize = 253;
/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;
/// Look-ups of the whole process that may run at a time, abandoned ones included.
const LOOKUPS_MAX: usize = 16;
/// Bytes of an address in guest memory.
const ADDRESS_LEN: u32 = 20;

const CONNECT: &[Action] = &[Action::NetConnect];
const RESOLVE: &[Action] = &[Action::NetResolve];
const DENIED: Denial = Denial::Code(Errno::NOTCAPABLE as u32);

/// The functions of `aura_net`, for the runtime to map in like those of WASI.
pub static NET_FUNCTIONS: &[HostFn<WasiCtx>] = &[
    HostFn {
        module: NET_MODULE,
        name: "connect",
        params: &[I32, I32, I32, I32],
        results: &[I32],
        actions: CONNECT,
        denial: DENIED,
        call: |ctx, call| enter(ctx, call, "connect", CONNECT, DENIED, connect),
    },
    HostFn {
        module: NET_MODULE,
        name: "resolve",
        params: &[I32, I32, I32, I32, I32],
        results: &[I32],
        actions: RESOLVE,
        denial: DENIED,
        call: |ctx, call| enter(ctx, call, "resolve", RESOLVE, DENIED, resolve),
    },
];

/// `connect(host, host_len, port, fd_out)`
fn connect(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let host = read_host(call)?;
    let port = u16::try_from(call.u32(2)).ok().filter(|&port| port != 0).ok_or(Errno::INVAL)?;
    let out = GuestPtr::<u32>::new(call.u32(3).into());
    out.read(&call.memory)?;
    let max = ctx.limits.handles_max;
    if !ctx.fds.has_room(max) {
        return Err(Errno::MFILE.into());
    }
    let (grant, pattern) = ctx.net_grant(Action::NetConnect, &host, Some(port))?;
    let mut last = Errno::NOENT;
    for address in addresses(call, &grant, &host, port)? {
        if !pattern.reaches(address.ip()) {
            last = Errno::NOTCAPABLE;
            continue;
        }
        match open(call, &grant, address) {
            Ok(fd) => {
                let socket = Socket { fd, kind: SocketKind::Stream };
                let number = ctx.fds.insert(Entry::connected(socket, grant), max)?;
                return Ok(out.write(&mut call.memory, number)?);
            }
            Err(Fail::Errno(errno)) if errno != Errno::NOTCAPABLE => last = errno,
            Err(fail) => return Err(fail),
        }
    }
    if last == Errno::NOTCAPABLE {
        let asked = format!("connect to {host:?}, an address of this host or its own network");
        ctx.denied.add(asked, format!("net.connect={}:{port}", bracketed(&host)));
    }
    Err(last.into())
}

/// `resolve(host, host_len, out, out_len, count_out)`
fn resolve(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let host = read_host(call)?;
    let room = call.u32(3) / ADDRESS_LEN;
    let out = GuestPtr::<[u8; ADDRESS_LEN as usize]>::new(call.u32(2).into()).slice(room);
    let count_out = GuestPtr::<u32>::new(call.u32(4).into());
    out.check(&call.memory)?;
    count_out.read(&call.memory)?;
    let (grant, _) = ctx.net_grant(Action::NetResolve, &host, None)?;
    let found: Vec<_> = addresses(call, &grant, &host, 0)?.into_iter().map(|address| in_guest(address.ip())).collect();
    let fitting = &found[..found.len().min(room as usize)];
    out.write(&mut call.memory, fitting)?;
    call.moved(fitting.len() as u64 * u64::from(ADDRESS_LEN));
    Ok(count_out.write(&mut call.memory, found.len() as u32)?)
}

fn read_host(call: &HostCall<'_>) -> Result<String, Fail> {
    let bytes = GuestPtr::<u8>::new(call.u32(0).into()).slice(call.u32(1));
    if bytes.len() > HOST_LEN_MAX as u64 {
        return Err(Errno::NAMETOOLONG.into());
    }
    let host = String::from_utf8(bytes.read_bytes(&call.memory, HOST_LEN_MAX)?).map_err(|_| Errno::ILSEQ)?;
    // What a grant could name, and nothing else, reaches the system's resolver.
    let named = HostPattern::new(&bracketed(&host)).is_some() && !host.contains('*');
    if named { Ok(host) } else { Err(Errno::INVAL.into()) }
}

/// An IPv6 address as grants are written.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn in_guest(address: IpAddr) -> [u8; ADDRESS_LEN as usize] {
    let mut bytes = [0; ADDRESS_LEN as usize];
    match address {
        IpAddr::V4(address) => {
            bytes[0] = 4;
            bytes[4..8].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            bytes[0] = 6;
            bytes[4..].copy_from_slice(&address.octets());
        }
    }
    bytes
}

/// What a grant reaches: the host it names, or whatever fits its pattern out in the wide net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Named,
    Wide,
}

impl Reach {
    fn reaches(self, address: IpAddr) -> bool {
        self == Self::Named || is_wide(address)
    }
}

/// Whether an address is neither this host's, nor its own network's, nor no host's at all.
fn is_wide(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            let special = a == 0 || a >= 240 || (a == 192 && b == 0) || (a == 198 && b & 0xfe == 18);
            !(address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_multicast()
                || address == Ipv4Addr::BROADCAST
                || shared
                || special)
        }
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            // Global unicast, without the ranges that carry IPv4 addresses.
            first & 0xe000 == 0x2000 && first != 0x2002 && address.segments()[..2] != [0x2001, 0]
        }
    }
}

impl WasiCtx {
    /// The grant that reaches furthest of those that name a host (and port); the call then acts on it.
    fn net_grant(&mut self, action: Action, host: &str, port: Option<u16>) -> Result<(Arc<Capability>, Reach), Errno> {
        let fits = |grant: &Arc<Capability>| match &grant.spec().resource {
            Resource::Endpoint { host: pattern, port: ports } if grant.spec().action == action => {
                (pattern.matches(host) && port.is_some_and(|port| ports.matches(port))).then(|| reach(pattern))
            }
            Resource::Host(pattern) if grant.spec().action == action => pattern.matches(host).then(|| reach(pattern)),
            _ => None,
        };
        let fitting = || self.net_grants().filter_map(|grant| Some((grant.clone(), fits(grant)?)));
        let named = fitting().find(|(grant, reach)| *reach == Reach::Named && grant.act());
        if let Some(found) = named.or_else(|| fitting().find(|(grant, _)| grant.act())) {
            return Ok(found);
        }
        let host = bracketed(host);
        let (asked, grant) = match port {
            Some(port) => (format!("connect to {host}:{port}"), format!("net.connect={host}:{port}")),
            None => (format!("resolve of {host}"), format!("net.resolve={host}")),
        };
        self.denied.add(asked, grant);
        Err(Errno::NOTCAPABLE)
    }
}

fn reach(pattern: &HostPattern) -> Reach {
    if pattern.as_str().starts_with('*') { Reach::Wide } else { Reach::Named }
}

/// A place among the look-ups that may run; given back when it is dropped.
struct Lookup;

impl Lookup {
    fn begin() -> Result<Self, Errno> {
        let more = |running: usize| (running < LOOKUPS_MAX).then_some(running + 1);
        LOOKUPS.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).map(|_| Self).map_err(|_| Errno::AGAIN)
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        LOOKUPS.fetch_sub(1, Ordering::AcqRel);
    }
}

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// The addresses of a host. A name is looked up on another thread, which this one waits for in slices.
fn addresses(call: &HostCall<'_>, grant: &Capability, host: &str, port: u16) -> Result<Vec<SocketAddr>, Fail> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = look_up(host.to_owned(), port)?;
    loop {
        match found.recv_timeout(SLICE) {
            Ok(Some(addresses)) if !grant.is_live() => {
                drop(addresses);
                return Err(Errno::NOTCAPABLE.into());
            }
            Ok(Some(addresses)) => return Ok(addresses),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return Err(Errno::NOENT.into()),
            Err(RecvTimeoutError::Timeout) => check_interrupt(call)?,
        }
        if !grant.is_live() {
            return Err(Errno::NOTCAPABLE.into());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the name was granted")]
fn look_up(host: String, port: u16) -> Result<Receiver<Option<Vec<SocketAddr>>>, Errno> {
    let place = Lookup::begin()?;
    let (send, receive) = channel();
    let look = move || {
        let found = (host.as_str(), port).to_socket_addrs();
        let mut addresses: Vec<SocketAddr> = found.map(|found| found.take(ADDRESSES_MAX).collect()).unwrap_or_default();
        addresses.dedup();
        // Nobody listens if the call was ended meanwhile.
        let _ = send.send((!addresses.is_empty()).then_some(addresses));
        drop(place);
    };
    let thread = std::thread::Builder::new().name("aura-lookup".to_owned()).spawn(look);
    thread.map(|_| receive).map_err(|_| Errno::AGAIN)
}

/// Opens a connection, waiting until it stands or is refused.
#[expect(clippy::disallowed_methods, reason = "host and port were granted")]
fn open(call: &HostCall<'_>, grant: &Capability, address: SocketAddr) -> Result<OwnedFd, Fail> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&fd, &address) {
        Ok(()) => return Ok(fd),
        Err(HostErrno::INPROGRESS | HostErrno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let waiter = Waiter { call, grant, nonblock: false };
    waiter.when_ready(fd.as_fd(), PollFlags::OUT, || sockopt::socket_error(&fd)?)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_reach_the_wide_net_only() {
        for near in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            let address = near.parse().expect(near);
            assert!(!Reach::Wide.reaches(address) && Reach::Named.reaches(address), "{near}");
        }
        for wide in ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(Reach::Wide.reaches(wide.parse().expect(wide)), "{wide}");
        }
    }

    #[test]
    fn look_ups_are_few() {
        let places: Vec<_> = (0..LOOKUPS_MAX).map_while(|_| Lookup::begin().ok()).collect();
        assert!(Lookup::begin().is_err());
        drop(places);
        assert!(Lookup::begin().is_ok());
    }
}
