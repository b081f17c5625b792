//! Outgoing connections and look-ups, against servers of the test's own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aura_host_abi::{HostError, TrapCode};
use aura_wasi::Errno;

use crate::guest::*;

/// A server that answers one connection with what it is sent, in capitals, and then waits for its end.
fn server() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let thread = std::thread::spawn(move || {
        let Ok((mut peer, _)) = listener.accept() else { return };
        let mut bytes = [0; 64];
        while let Ok(count) = peer.read(&mut bytes)
            && count > 0
        {
            if peer.write_all(&bytes[..count].to_ascii_uppercase()).is_err() {
                return;
            }
        }
    });
    (port, thread)
}

fn connect(guest: &mut Guest, host: &str, port: u32) -> Result<u32, Errno> {
    let [at, len] = guest.path(host);
    match guest.call("connect", &[at, len, port.into(), OUT.into()]) {
        Errno::SUCCESS => Ok(guest.word(OUT)),
        errno => Err(errno),
    }
}

#[test]
fn a_granted_connection_talks_and_others_are_denied() {
    let (port, thread) = server();
    let mut guest = Guest::with(&[&format!("net.connect=127.0.0.1:{port}")]);
    for (host, other) in [("127.0.0.1", u32::from(port) ^ 1), ("127.0.0.2", port.into()), ("localhost", port.into())] {
        assert_eq!(connect(&mut guest, host, other), Err(Errno::NOTCAPABLE), "{host}:{other}");
    }
    let denied = guest.ctx.denials()[0].to_string();
    assert_eq!(denied, format!("connect to 127.0.0.1:{}: needs net.connect=127.0.0.1:{}", port ^ 1, port ^ 1));
    let fd = connect(&mut guest, "127.0.0.1", port.into()).expect("connected");
    assert_eq!(guest.write(fd, b"hello"), Ok(5));
    assert_eq!(guest.read(fd, 5), Ok(b"HELLO".to_vec()));
    guest.ok("fd_close", &[fd.into()]);
    thread.join().expect("the server ends");
}

#[test]
fn ssrf_a_pattern_reaches_no_address_of_this_host_or_its_network() {
    let (port, _thread) = server();
    for pattern in ["*:*".to_owned(), format!("*:{port}")] {
        let mut guest = Guest::with(&[&format!("net.connect={pattern}")]);
        for host in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254"] {
            assert_eq!(connect(&mut guest, host, port.into()), Err(Errno::NOTCAPABLE), "{pattern} {host}");
        }
        // The same host, named, is reached: the narrower grant is the stronger one.
        guest.grant(&format!("net.connect=127.0.0.1:{port}"));
    }
}

#[test]
fn net_1a_a_connection_ends_with_its_grant_and_a_wait_with_its_deadline() {
    let (port, thread) = server();
    let mut guest = Guest::blind();
    let grant = guest.grant(&format!("net.connect=127.0.0.1:{port}"));
    let fd = connect(&mut guest, "127.0.0.1", port.into()).expect("connected");
    guest.deadline = Some(Instant::now() + Duration::from_millis(30));
    let [list, count] = guest.pieces(&[(BUFFER, 5)]);
    let start = Instant::now();
    let ended = guest.try_call("fd_read", &[fd.into(), list, count, OUT.into()]);
    assert!(matches!(ended, Err(HostError::Trap(TrapCode::Interrupted))), "{ended:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    guest.deadline = None;
    let revoker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        grant.revoke();
    });
    assert_eq!(guest.read(fd, 5), Err(Errno::NOTCAPABLE), "a blocked read ends when its grant is taken back");
    revoker.join().expect("no panic");
    assert_eq!(guest.write(fd, b"late"), Err(Errno::NOTCAPABLE));
    assert_eq!(connect(&mut guest, "127.0.0.1", port.into()), Err(Errno::NOTCAPABLE));
    drop(guest);
    thread.join().expect("the server ends");
}

#[test]
fn hostile_arguments_are_errors() {
    let mut guest = Guest::with(&["net.connect=127.0.0.1:9", "net.resolve=*"]);
    for (host, errno) in [
        ("", Errno::INVAL),
        ("a b", Errno::INVAL),
        ("*", Errno::INVAL),
        ("127.0.0.1\0.example.org", Errno::INVAL),
        ("[127.0.0.1]", Errno::INVAL),
        ("../x", Errno::INVAL),
    ] {
        assert_eq!(connect(&mut guest, host, 9), Err(errno), "{host:?}");
    }
    let long = "a".repeat(254);
    assert_eq!(connect(&mut guest, &long, 9), Err(Errno::NAMETOOLONG));
    for port in [0, 65536, u32::MAX] {
        assert_eq!(connect(&mut guest, "127.0.0.1", port), Err(Errno::INVAL), "{port}");
    }
    let outside = MEMORY_LEN as u64 - 3;
    assert_eq!(guest.call("connect", &[outside, 9, 9, OUT.into()]), Errno::FAULT);
    let [at, len] = guest.path("127.0.0.1");
    assert_eq!(guest.call("connect", &[at, len, 9, outside]), Errno::FAULT);
    assert_eq!(guest.call("resolve", &[at, len, outside, 20, OUT.into()]), Errno::FAULT);
    assert_eq!(guest.call("resolve", &[at, len, BUFFER.into(), u32::MAX.into(), OUT.into()]), Errno::FAULT);
    assert_eq!(guest.call("resolve", &[at, len, BUFFER.into(), 20, outside]), Errno::FAULT);
}

#[test]
fn names_are_looked_up_where_granted() {
    let mut guest = Guest::with(&["net.resolve=127.0.0.1"]);
    let [at, len] = guest.path("127.0.0.1");
    guest.ok("resolve", &[at, len, BUFFER.into(), 40, OUT.into()]);
    assert_eq!(guest.word(OUT), 1);
    assert_eq!(guest.bytes(BUFFER, 20), [&[4, 0, 0, 0, 127, 0, 0, 1][..], &[0; 12]].concat());
    guest.ok("resolve", &[at, len, BUFFER.into(), 0, OUT.into()]);
    assert_eq!(guest.word(OUT), 1, "how many there are, not how many fit");
    let [at, len] = guest.path("example.org");
    assert_eq!(guest.call("resolve", &[at, len, BUFFER.into(), 40, OUT.into()]), Errno::NOTCAPABLE);
    let mut blind = Guest::blind();
    let [at, len] = blind.path("127.0.0.1");
    assert_eq!(blind.call("resolve", &[at, len, BUFFER.into(), 40, OUT.into()]), Errno::NOTCAPABLE);
    assert_eq!(connect(&mut blind, "127.0.0.1", 80), Err(Errno::NOTCAPABLE));
}
