//! Sockets that the host passed in.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aura_host_abi::{Capability, HostError, TrapCode};
use aura_wasi::{AttachError, Errno, WasiCtx};

use crate::guest::*;

const GRANT: &str = "net.listen=127.0.0.1:1";
const FLAGS_OUT: u32 = OUT + 16;

fn capability() -> Arc<Capability> {
    Arc::new(Capability::new(GRANT.parse().expect("a grant")))
}

/// A guest with a listener, and the address at which it listens.
fn listening() -> (Guest, u32, std::net::SocketAddr, Arc<Capability>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (mut guest, grant) = (Guest::blind(), capability());
    let fd = guest.ctx.attach_socket(Arc::clone(&grant), listener).expect("a socket");
    (guest, fd, address, grant)
}

fn accept(guest: &mut Guest, fd: u32, flags: u64) -> Result<u32, Errno> {
    match guest.call("sock_accept", &[fd.into(), flags, OUT.into()]) {
        Errno::SUCCESS => Ok(guest.word(OUT)),
        errno => Err(errno),
    }
}

fn recv(guest: &mut Guest, fd: u32, pieces: &[(u32, u32)], flags: u64) -> Result<Vec<u8>, Errno> {
    let [list, count] = guest.pieces(pieces);
    match guest.call("sock_recv", &[fd.into(), list, count, flags, OUT.into(), FLAGS_OUT.into()]) {
        Errno::SUCCESS => Ok(guest.bytes(BUFFER, guest.word(OUT)).to_vec()),
        errno => Err(errno),
    }
}

fn send(guest: &mut Guest, fd: u32, bytes: &[u8]) -> Result<u32, Errno> {
    guest.put(BUFFER, bytes);
    let [list, count] = guest.pieces(&[(BUFFER, bytes.len() as u32)]);
    match guest.call("sock_send", &[fd.into(), list, count, 0, OUT.into()]) {
        Errno::SUCCESS => Ok(guest.word(OUT)),
        errno => Err(errno),
    }
}

#[test]
fn connections_are_accepted_and_talk() {
    let (mut guest, listener, address, _) = listening();
    assert_eq!(guest.call("fd_fdstat_set_flags", &[listener.into(), 4]), Errno::SUCCESS);
    assert_eq!(accept(&mut guest, listener, 0), Err(Errno::AGAIN));
    let mut peer = TcpStream::connect(address).expect("connected");
    guest.ok("fd_fdstat_set_flags", &[listener.into(), 0]);
    let fd = accept(&mut guest, listener, 4).expect("accepted");
    assert_eq!(guest.fdstat(fd).expect("fdstat").0, 6);
    assert_eq!(guest.bytes(OUT + 2, 2), [4, 0], "not blocking, as asked");
    assert_eq!(recv(&mut guest, fd, &[(BUFFER, 8)], 0), Err(Errno::AGAIN));
    guest.ok("fd_fdstat_set_flags", &[fd.into(), 0]);
    peer.write_all(b"hello").expect("written");
    assert_eq!(recv(&mut guest, fd, &[(BUFFER, 2)], 1).expect("peeked"), b"he");
    assert_eq!(recv(&mut guest, fd, &[(BUFFER, 2), (BUFFER + 2, 100)], 0).expect("received"), b"hello");
    assert_eq!(guest.bytes(FLAGS_OUT, 2), [0, 0]);
    assert_eq!(send(&mut guest, fd, b"world"), Ok(5));
    let mut answer = [0; 5];
    peer.read_exact(&mut answer).expect("read");
    assert_eq!(&answer, b"world");
    // The functions of files do the same.
    peer.write_all(b"more").expect("written");
    assert_eq!(guest.read(fd, 10).expect("read"), b"more");
    assert_eq!(guest.write(fd, b"less"), Ok(4));
    guest.ok("sock_shutdown", &[fd.into(), 2]);
    assert_eq!(peer.read_to_end(&mut Vec::new()).expect("the end"), 4);
    assert_eq!(send(&mut guest, fd, b"x"), Err(Errno::PIPE));
    peer.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(recv(&mut guest, fd, &[(BUFFER, 9)], 0).expect("the end"), b"");
    guest.ok("fd_close", &[fd.into()]);
    assert_eq!(send(&mut guest, fd, b"x"), Err(Errno::BADF));
}

#[test]
fn all_that_was_asked_for_is_waited_for() {
    let (mut guest, listener, address, _) = listening();
    let mut peer = TcpStream::connect(address).expect("connected");
    let fd = accept(&mut guest, listener, 0).expect("accepted");
    let writer = std::thread::spawn(move || {
        for piece in [&b"ab"[..], b"cd", b"ef"] {
            std::thread::sleep(Duration::from_millis(3));
            peer.write_all(piece).expect("written");
        }
        peer
    });
    assert_eq!(recv(&mut guest, fd, &[(BUFFER, 5)], 2).expect("received"), b"abcde");
    drop(writer.join().expect("a peer"));
    assert_eq!(recv(&mut guest, fd, &[(BUFFER, 5)], 2).expect("received"), b"f");
}

#[test]
fn messages_stay_whole() {
    let (mut guest, grant) = (Guest::blind(), capability());
    let (ours, theirs) = UnixDatagram::pair().expect("a pair");
    let fd = guest.ctx.attach_socket(grant, ours).expect("a socket");
    assert_eq!(guest.fdstat(fd).expect("fdstat").0, 5);
    theirs.send(b"a long message").expect("sent");
    assert_eq!(recv(&mut guest, fd, &[(BUFFER, 6)], 2).expect("received"), b"a long");
    assert_eq!(guest.bytes(FLAGS_OUT, 2), [1, 0], "the rest is lost");
    assert_eq!(send(&mut guest, fd, b"whole"), Ok(5));
    let [list, count] = guest.pieces(&[(BUFFER, 40_000), (BUFFER, 40_000)]);
    assert_eq!(guest.call("sock_send", &[fd.into(), list, count, 0, OUT.into()]), Errno::MSGSIZE);
    let mut bytes = [0; 100];
    assert_eq!(theirs.recv(&mut bytes).expect("received"), 5);
    theirs.set_nonblocking(true).expect("set");
    assert!(theirs.recv(&mut bytes).is_err(), "nothing of what was refused went out");
}

/// A connection carries what its listener does: messages, where that is a listener for those.
#[test]
fn accepted_connections_are_of_the_listeners_kind() {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, send, socket_with,
    };
    let dir = tempfile::tempdir().expect("a directory");
    let address = SocketAddrUnix::new(dir.path().join("socket")).expect("a name");
    let open =
        || socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a socket");
    let listener = open();
    bind(&listener, &address).expect("bound");
    listen(&listener, 1).expect("listening");
    let mut guest = Guest::blind();
    let fd = guest.ctx.attach_socket(capability(), listener).expect("a socket");
    let peer = open();
    connect(&peer, &address).expect("connected");
    let fd = accept(&mut guest, fd, 0).expect("accepted");
    send(&peer, b"a long message", rustix::net::SendFlags::empty()).expect("sent");
    assert_eq!(recv(&mut guest, fd, &[(BUFFER, 6)], 2).expect("received"), b"a long");
    assert_eq!(guest.bytes(FLAGS_OUT, 2), [1, 0]);
}

#[test]
fn what_is_no_socket_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    guest.grant("stdio");
    let file = guest.open(DIR, "file", CREATE, RIGHTS_ALL).expect("file");
    for (fd, errno) in [(0, Errno::NOTSOCK), (DIR, Errno::NOTSOCK), (file, Errno::NOTSOCK), (99, Errno::BADF)] {
        assert_eq!(accept(&mut guest, fd, 0), Err(errno));
        assert_eq!(recv(&mut guest, fd, &[(BUFFER, 1)], 0), Err(errno));
        assert_eq!(send(&mut guest, fd, b"x"), Err(errno));
        assert_eq!(guest.call("sock_shutdown", &[fd.into(), 3]), errno);
    }
    let socket = guest.ctx.attach_socket(capability(), UnixStream::pair().expect("a pair").0).expect("a socket");
    assert_eq!(accept(&mut guest, socket, 0), Err(Errno::NOTCAPABLE), "a connection accepts none");
    for how in [0, 4, 7, u64::from(u32::MAX)] {
        assert_eq!(guest.call("sock_shutdown", &[socket.into(), how]), Errno::INVAL, "{how}");
    }
    assert_eq!(recv(&mut guest, socket, &[(BUFFER, 1)], 4), Err(Errno::INVAL));
    let [list, count] = guest.pieces(&[(BUFFER, 1)]);
    assert_eq!(guest.call("sock_send", &[socket.into(), list, count, 1, OUT.into()]), Errno::INVAL);
    for (name, args) in [
        ("fd_seek", vec![socket.into(), 0, 0, OUT.into()]),
        ("fd_tell", vec![socket.into(), OUT.into()]),
        ("fd_pread", vec![socket.into(), list, count, 0, OUT.into()]),
        ("fd_pwrite", vec![socket.into(), list, count, 0, OUT.into()]),
    ] {
        assert_eq!(guest.call(name, &args), Errno::SPIPE, "{name}");
    }
    guest.ok("fd_filestat_get", &[socket.into(), OUT.into()]);
    assert_eq!((guest.long(OUT), guest.long(OUT + 8), guest.word(OUT + 16)), (0, 0, 6), "no number of the host's");
}

#[test]
fn only_sockets_and_only_by_their_grant_are_passed_in() {
    let file = std::fs::File::open("/dev/null").expect("a file");
    let error = WasiCtx::new().attach_socket(capability(), file).expect_err("no socket");
    assert!(matches!(error, AttachError::Socket { .. }), "{error}");
    let clock = Arc::new(Capability::new("clock".parse().expect("a grant")));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let error = WasiCtx::new().attach_socket(clock, socket).expect_err("another grant");
    assert_eq!(error.to_string(), "`clock` is not a grant that WASI serves");
}

#[test]
fn the_grant_listens_by_itself() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut guest = Guest::with(&[&format!("net.listen={free}")]);
    let _peer = TcpStream::connect(free).expect("connected");
    assert_eq!(accept(&mut guest, 3, 0), Ok(4));
    let again = Arc::new(Capability::new(format!("net.listen={free}").parse().expect("a grant")));
    let error = WasiCtx::new().attach(again).expect_err("in use").to_string();
    assert!(error.starts_with(&format!("cannot listen at {free}: ")), "{error}");
}

#[test]
fn waits_end_with_the_deadline_and_with_the_grant() {
    let (mut guest, listener, address, grant) = listening();
    let _peer = TcpStream::connect(address).expect("connected");
    let fd = accept(&mut guest, listener, 0).expect("accepted");
    let [list, count] = guest.pieces(&[(BUFFER, 4)]);
    let accept_args = vec![listener.into(), 0, OUT.into()];
    let recv_args = vec![fd.into(), list, count, 0, OUT.into(), FLAGS_OUT.into()];
    for (name, args) in [("sock_accept", &accept_args), ("sock_recv", &recv_args)] {
        let start = Instant::now();
        guest.deadline = Some(start + Duration::from_millis(20));
        let result = guest.try_call(name, args);
        assert!(matches!(result, Err(HostError::Trap(TrapCode::Interrupted))), "{name}");
        assert!(start.elapsed() < Duration::from_secs(2), "{name}");
    }
    guest.deadline = None;
    for (name, args) in [("sock_accept", &accept_args), ("sock_recv", &recv_args)] {
        let (mut guest, grant) = if name == "sock_accept" {
            let (guest, _, _, grant) = listening();
            (guest, grant)
        } else {
            (std::mem::replace(&mut guest, Guest::blind()), Arc::clone(&grant))
        };
        let revoker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            grant.revoke();
        });
        assert_eq!(guest.call(name, args), Errno::NOTCAPABLE, "{name}");
        revoker.join().expect("revoked");
        assert_eq!(guest.call(name, args), Errno::NOTCAPABLE, "{name}");
    }
}

#[test]
fn sockets_are_polled() {
    const EVENTS: u32 = 0x6000;
    let (mut guest, listener, address, _) = listening();
    guest.grant("clock");
    let mut rows = [[0u8; 48]; 2];
    rows[0][24..32].copy_from_slice(&5_000_000u64.to_le_bytes());
    (rows[1][0], rows[1][8], rows[1][16]) = (9, 1, listener as u8);
    guest.put(BUFFER, rows.as_flattened());
    let poll = |guest: &mut Guest| {
        guest.ok("poll_oneoff", &[BUFFER.into(), EVENTS.into(), 2, OUT.into()]);
        (guest.word(OUT), guest.long(EVENTS))
    };
    assert_eq!(poll(&mut guest), (1, 0), "the time comes first");
    let _peer = TcpStream::connect(address).expect("connected");
    assert_eq!(poll(&mut guest), (1, 9));
}

#[test]
fn what_a_listener_hands_down_can_be_narrowed() {
    let (mut guest, listener, address, _) = listening();
    let (_, base, inheriting) = guest.fdstat(listener).expect("fdstat");
    guest.ok("fd_fdstat_set_rights", &[listener.into(), base, inheriting & !RIGHT_WRITE]);
    let mut peer = TcpStream::connect(address).expect("connected");
    let fd = accept(&mut guest, listener, 0).expect("accepted");
    peer.write_all(b"in").expect("written");
    assert_eq!(recv(&mut guest, fd, &[(BUFFER, 2)], 0).expect("received"), b"in");
    assert_eq!(send(&mut guest, fd, b"out"), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.write(fd, b"out"), Err(Errno::NOTCAPABLE));
}

#[test]
fn accepted_connections_count_as_handles() {
    let (mut guest, listener, address, _) = listening();
    guest.ctx.set_limits(aura_wasi::WasiLimits { handles_max: 2, ..aura_wasi::WasiLimits::default() });
    let _peers = [TcpStream::connect(address).expect("connected"), TcpStream::connect(address).expect("connected")];
    let fd = accept(&mut guest, listener, 0).expect("accepted");
    assert_eq!(accept(&mut guest, listener, 0), Err(Errno::MFILE));
    guest.ok("fd_close", &[fd.into()]);
    assert!(accept(&mut guest, listener, 0).is_ok());
}
