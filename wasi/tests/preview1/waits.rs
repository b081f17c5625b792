//! Waiting: for times, for descriptors, and never past the deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aura_host_abi::flight::Flight;
use aura_host_abi::{Capability, GrantState, HostError, Terms, TrapCode};
use aura_wasi::{Errno, Input, Output};

use crate::guest::*;

const EVENTS: u32 = 0x6000;

fn clock(userdata: u64, id: u32, timeout: u64, absolute: bool) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&userdata.to_le_bytes());
    bytes[16..20].copy_from_slice(&id.to_le_bytes());
    bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
    bytes[40] = absolute.into();
    bytes
}

fn descriptor(userdata: u64, tag: u8, fd: u32) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&userdata.to_le_bytes());
    bytes[8] = tag;
    bytes[16..20].copy_from_slice(&fd.to_le_bytes());
    bytes
}

/// Polls and gives `(userdata, errno, tag)` of each event.
fn poll(guest: &mut Guest, subscriptions: &[[u8; 48]]) -> Result<Vec<(u64, u8, u8)>, Errno> {
    for (index, bytes) in subscriptions.iter().enumerate() {
        guest.put(BUFFER + 48 * index as u32, bytes);
    }
    guest.memory[EVENTS as usize..EVENTS as usize + 32 * subscriptions.len()].fill(0xee);
    match guest.call("poll_oneoff", &[BUFFER.into(), EVENTS.into(), subscriptions.len() as u64, OUT.into()]) {
        Errno::SUCCESS => Ok((0..guest.word(OUT))
            .map(|index| EVENTS + 32 * index)
            .map(|at| (guest.long(at), guest.bytes(at + 8, 1)[0], guest.bytes(at + 10, 1)[0]))
            .collect()),
        errno => Err(errno),
    }
}

#[test]
fn times_come_in_order() {
    let mut guest = Guest::with(&["clock"]);
    let start = Instant::now();
    let events = poll(&mut guest, &[clock(1, 1, 12_000_000, false), clock(2, 0, u64::MAX, false)]);
    assert_eq!(events, Ok(vec![(1, 0, 0)]));
    assert!(start.elapsed() >= Duration::from_millis(12));
    assert_eq!(poll(&mut guest, &[clock(3, 0, 1, true)]), Ok(vec![(3, 0, 0)]));
    assert_eq!(poll(&mut guest, &[clock(4, 3, 1, false), clock(5, 9, 1, false)]), Ok(vec![(4, 58, 0), (5, 28, 0)]));
}

#[test]
fn descriptors_and_times_mix() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    guest.grant("stdio");
    guest.grant("clock");
    guest.ctx.set_stdin(Input::Null);
    guest.ctx.set_stdout(Output::Null);
    let file = guest.open(DIR, "file", CREATE, RIGHTS_ALL).expect("file");
    let subscriptions = [
        descriptor(1, 1, 0),
        descriptor(2, 2, 1),
        descriptor(3, 1, file),
        descriptor(4, 1, 99),
        descriptor(5, 1, DIR),
        descriptor(6, 1, 1),
        clock(7, 1, 1 << 60, false),
    ];
    let expected = vec![(1, 0, 1), (2, 0, 2), (3, 0, 1), (4, 8, 1), (5, 76, 1), (6, 76, 1)];
    assert_eq!(poll(&mut guest, &subscriptions), Ok(expected));
}

#[test]
fn waiting_for_a_time_needs_the_clock() {
    let mut guest = Guest::with(&["stdio"]);
    assert_eq!(poll(&mut guest, &[clock(1, 0, 0, false)]), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.ctx.denials()[0].to_string(), "poll_oneoff for a time: needs clock");
}

/// A pipe that nobody writes to holds neither `path_open`, nor `fd_read`, nor `poll_oneoff`.
#[test]
fn named_pipes_and_endless_waits_end_with_the_deadline() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).expect("pipe");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    guest.grant("clock");
    assert_eq!(guest.open(DIR, "pipe", 0, RIGHT_WRITE), Err(Errno::NXIO));
    let fd = guest.open(DIR, "pipe", 0, RIGHT_READ).expect("opened");
    let interrupted = |guest: &mut Guest, name: &str, args: &[u64]| {
        let start = Instant::now();
        guest.deadline = Some(start + Duration::from_millis(30));
        let result = guest.try_call(name, args);
        assert!(matches!(result, Err(HostError::Trap(TrapCode::Interrupted))), "{name}");
        assert!(start.elapsed() < Duration::from_secs(5), "{name}");
        guest.deadline = None;
    };
    let [list, count] = guest.pieces(&[(BUFFER, 10)]);
    interrupted(&mut guest, "fd_read", &[fd.into(), list, count, OUT.into()]);
    guest.put(BUFFER, &descriptor(1, 1, fd));
    interrupted(&mut guest, "poll_oneoff", &[BUFFER.into(), EVENTS.into(), 1, OUT.into()]);
    guest.put(BUFFER, &clock(1, 0, u64::MAX, false));
    interrupted(&mut guest, "poll_oneoff", &[BUFFER.into(), EVENTS.into(), 1, OUT.into()]);
    guest.ok("fd_fdstat_set_flags", &[fd.into(), 4]);
    assert_eq!(guest.read(fd, 10), Err(Errno::AGAIN));
    let writer = guest.open(DIR, "pipe", 0, RIGHT_WRITE).expect("writer");
    assert_eq!(guest.write(writer, b"hi"), Ok(2));
    guest.put(BUFFER, &descriptor(9, 1, fd));
    guest.ok("poll_oneoff", &[BUFFER.into(), EVENTS.into(), 1, OUT.into()]);
    assert_eq!((guest.long(EVENTS), guest.long(EVENTS + 16)), (9, 2));
    assert_eq!(guest.read(fd, 10).expect("read"), b"hi");
}

/// HOSTILE 1b, CVE-2026-54914 and GHSA-j366: counts whose product wraps, and counts that are work.
#[test]
fn cve_2026_54914_ghsa_j366_poll_counts_are_bounded() {
    let mut guest = Guest::with(&["clock", "stdio"]);
    for count in [0, 1025, 1 << 20, u32::MAX / 48 + 1, u32::MAX / 32 + 1, u32::MAX] {
        let args = [BUFFER.into(), EVENTS.into(), count.into(), OUT.into()];
        assert_eq!(guest.call("poll_oneoff", &args), Errno::INVAL, "{count}");
    }
    let end = guest.memory.len() as u64;
    for (list, events) in [(end - 47, u64::from(EVENTS)), (BUFFER.into(), end - 31)] {
        assert_eq!(guest.call("poll_oneoff", &[list, events, 1, OUT.into()]), Errno::FAULT);
    }
}

/// A deadline ends a wait within 10 ms. The best of some tries counts: others may have the processor.
#[test]
fn deadlines_hold_within_10_ms() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).expect("pipe");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    guest.grant("clock");
    let fd = guest.open(DIR, "pipe", 0, RIGHT_READ).expect("opened");
    let writer = guest.open(DIR, "pipe", 0, RIGHT_WRITE).expect("opened");
    // A full pipe, so that writing waits too.
    guest.ok("fd_fdstat_set_flags", &[writer.into(), 4]);
    while guest.write(writer, &[0; 4096]).is_ok() {}
    guest.ok("fd_fdstat_set_flags", &[writer.into(), 0]);
    let empty = dir.path().join("empty");
    rustix::fs::mkfifoat(rustix::fs::CWD, &empty, rustix::fs::Mode::from_raw_mode(0o600)).expect("pipe");
    let nothing = guest.open(DIR, "empty", 0, RIGHT_READ).expect("opened");
    let [list, count] = guest.pieces(&[(BUFFER, 10)]);
    guest.put(BUFFER, &clock(1, 1, 1 << 50, false));
    guest.put(BUFFER + 48, &descriptor(2, 1, nothing));
    for (name, args) in [
        ("fd_read", vec![nothing.into(), list, count, OUT.into()]),
        ("fd_write", vec![writer.into(), list, count, OUT.into()]),
        ("poll_oneoff", vec![BUFFER.into(), EVENTS.into(), 2, OUT.into()]),
    ] {
        let late = (0..10).map(|_| {
            let deadline = Instant::now() + Duration::from_millis(7);
            guest.deadline = Some(deadline);
            let result = guest.try_call(name, &args);
            assert!(matches!(result, Err(HostError::Trap(TrapCode::Interrupted))), "{name}");
            Instant::now().saturating_duration_since(deadline)
        });
        let best = late.min().expect("tries");
        assert!(best <= Duration::from_millis(10), "{name}: {best:?} late");
    }
    let _ = fd;
}

/// What is refused, an event that is an error, and looking again and again cost no quota: one grant is used once by a call.
#[test]
fn a_poll_charges_each_grant_once_and_failures_nothing() {
    let flight = Arc::new(Flight::default());
    let mut guest = Guest::blind();
    let grant = |guest: &mut Guest, spec: &str, slot| {
        let terms = Terms { calls: Some(2), ..Terms::default() };
        let spec = spec.parse().expect("a grant");
        let capability = Arc::new(Capability::for_subject(spec, terms, flight.clone(), slot));
        guest.ctx.attach(capability.clone()).expect("attaches");
        capability
    };
    let monotonic = grant(&mut guest, "clock.monotonic", 0);
    let out = grant(&mut guest, "stdio.out", 1);
    let call = |guest: &mut Guest, subscriptions: &[[u8; 48]]| {
        let call = flight.begin();
        let polled = poll(guest, subscriptions);
        flight.end(&call);
        polled
    };
    for _ in 0..4 {
        // The other clock was not granted: the call is refused as a whole.
        let refused = call(&mut guest, &[descriptor(1, 2, 1), clock(2, 1, 0, false), clock(3, 0, 0, false)]);
        assert_eq!(refused, Err(Errno::NOTCAPABLE));
        // Standard output cannot be read, and nothing is open at 9.
        let errors = call(&mut guest, &[descriptor(1, 1, 1), descriptor(2, 1, 9)]);
        assert_eq!(errors, Ok(vec![(1, Errno::NOTCAPABLE as u8, 1), (2, Errno::BADF as u8, 1)]));
    }
    assert_eq!((monotonic.state(), out.state()), (GrantState::Live, GrantState::Live));
    // Slices of waiting for two subscriptions: one use.
    let waits = [clock(1, 1, 55_000_000, false), clock(2, 1, u64::MAX, false)];
    assert_eq!(call(&mut guest, &waits), Ok(vec![(1, 0, 0)]));
    assert_eq!(call(&mut guest, &[clock(1, 1, 0, false)]), Ok(vec![(1, 0, 0)]));
    assert_eq!(call(&mut guest, &[clock(1, 1, 0, false)]), Err(Errno::NOTCAPABLE), "two uses were granted");
    assert_eq!((monotonic.state(), out.state()), (GrantState::Spent, GrantState::Live));
}
