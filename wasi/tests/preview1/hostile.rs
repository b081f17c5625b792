//! Rows of the list of past faults that concern descriptors, structures and amounts.

use std::fs;
use std::os::fd::AsFd;

use aura_wasi::Errno;
use rustix::fs::{Timespec, Timestamps};

use crate::guest::*;

fn host_handles() -> usize {
    fs::read_dir("/proc/self/fd").expect("listing").count()
}

/// HOSTILE 1b, CVE-2025-53901 and GHSA-3p27: renumbering never panics and leaks no host handle.
#[test]
fn cve_2025_53901_renumber() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a"), b"aaaa").expect("file");
    fs::write(dir.path().join("b"), b"bb").expect("file");
    let mut guest = Guest::in_dir("fs.read", dir.path());
    let a = guest.open(DIR, "a", 0, RIGHT_READ).expect("opened");
    let b = guest.open(DIR, "b", 0, RIGHT_READ).expect("opened");
    let renumber = |guest: &mut Guest, from: u32, to: u32| guest.call("fd_renumber", &[from.into(), to.into()]);
    assert_eq!(renumber(&mut guest, a, a), Errno::SUCCESS);
    for (from, to) in [(a, 99), (99, a), (a, u32::MAX), (u32::MAX, a), (a, 0), (0, 0)] {
        assert_eq!(renumber(&mut guest, from, to), Errno::BADF, "{from} {to}");
    }
    assert_eq!(renumber(&mut guest, DIR, DIR), Errno::SUCCESS);
    assert_eq!(renumber(&mut guest, a, b), Errno::SUCCESS);
    assert_eq!(guest.read(b, 9).expect("read"), b"aaaa");
    assert_eq!(guest.read(a, 9), Err(Errno::BADF));
    // Over a granted directory, and a granted directory over something: both may be given away.
    let sub = guest.open(DIR, ".", DIRECTORY, RIGHT_READ).expect("opened");
    assert_eq!(renumber(&mut guest, sub, DIR), Errno::SUCCESS);
    assert_eq!(guest.call("fd_prestat_get", &[DIR.into(), OUT.into()]), Errno::BADF);
    assert!(guest.open(DIR, "a", 0, RIGHT_READ).is_ok());
    let fd = guest.grant_fd(&format!("fs.read={}::/e", dir.path().display()));
    assert_eq!(renumber(&mut guest, fd, b), Errno::SUCCESS);
    guest.ok("fd_prestat_get", &[b.into(), OUT.into()]);
    assert_eq!(renumber(&mut guest, b, fd), Errno::BADF);
}

/// The other half: handles on the host, counted in a process of its own so that no other test's count.
#[test]
fn ghsa_3p27_renumber_closes_what_it_replaces() {
    const MARK: &str = "AURA_WASI_COUNT_HANDLES";
    if std::env::var_os(MARK).is_none() {
        let status = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "hostile::ghsa_3p27_renumber_closes_what_it_replaces", "--test-threads=1"])
            .env(MARK, "1")
            .status()
            .expect("a process");
        assert!(status.success());
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a"), b"").expect("file");
    let mut guest = Guest::in_dir("fs.read", dir.path());
    let first = guest.open(DIR, "a", 0, RIGHT_READ).expect("opened");
    let before = host_handles();
    for _ in 0..2000 {
        let fd = guest.open(DIR, "a", 0, RIGHT_READ).expect("opened");
        guest.ok("fd_renumber", &[fd.into(), first.into()]);
        guest.list(DIR, 4096).expect("listing");
    }
    assert_eq!(host_handles(), before + 1, "one for the listing");
    drop(guest);
    assert_eq!(host_handles(), before - 2);
}

/// HOSTILE 1b, GHSA-96f6-r43r-8c24: no byte of a structure is anything but its fields and zeros.
#[test]
fn l3_ghsa_96f6_structures_have_no_stale_padding() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("name"), b"").expect("file");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    guest.grant("stdio");
    guest.ctx.set_stdin(aura_wasi::Input::Null);
    guest.memory.fill(0xa5);
    let zero = |guest: &Guest, at: u32, len: u32| assert!(guest.bytes(at, len).iter().all(|&byte| byte == 0));
    guest.ok("fd_prestat_get", &[DIR.into(), OUT.into()]);
    zero(&guest, OUT, 4);
    guest.ok("fd_fdstat_get", &[DIR.into(), OUT.into()]);
    zero(&guest, OUT + 1, 7);
    assert_eq!(guest.stat(DIR, "name", true), Errno::SUCCESS);
    zero(&guest, OUT + 17, 7);
    guest.ok("fd_filestat_get", &[0, OUT.into()]);
    zero(&guest, OUT + 17, 7);
    guest.ok("fd_readdir", &[DIR.into(), BUFFER.into(), 4096, 0, OUT.into()]);
    let (used, mut at) = (guest.word(OUT), 0);
    while at < used {
        zero(&guest, BUFFER + at + 21, 3);
        at += 24 + guest.word(BUFFER + at + 16);
    }
    assert_eq!(at, used);
    assert!(guest.bytes(BUFFER + used, 4096 - used).iter().all(|&byte| byte == 0xa5));
    let mut subscription = [0; 48];
    subscription[8] = 1;
    guest.put(IOVS, &subscription);
    guest.ok("poll_oneoff", &[IOVS.into(), BUFFER.into(), 1, OUT.into()]);
    zero(&guest, BUFFER + 11, 5);
    zero(&guest, BUFFER + 26, 6);
}

/// HOSTILE 1b, GHSA-mr2v: times that a guest cannot express are clamped.
#[test]
fn ghsa_mr2v_times_before_1970() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = fs::File::create(dir.path().join("a")).expect("file");
    let mut guest = Guest::in_dir("fs.read", dir.path());
    for seconds in [-1, i64::MIN, i64::MAX, i64::from(i32::MIN)] {
        let time = Timespec { tv_sec: seconds, tv_nsec: 5 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(file.as_fd(), &times).expect("times");
        assert_eq!(guest.stat(DIR, "a", true), Errno::SUCCESS);
        let modification = guest.long(OUT + 48);
        assert!(if seconds < 0 { modification == 0 } else { modification > 0 }, "{seconds} {modification}");
    }
}

/// HOSTILE 1b, CVE-2026-27204 and its kin: no length makes the host allocate it.
#[test]
fn cve_2026_27204_huge_lengths_are_refused_or_served_short() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a"), b"abc").expect("file");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    guest.grant("random");
    let fd: u64 = guest.open(DIR, "a", 0, RIGHTS_ALL).expect("opened").into();
    let huge = u64::from(u32::MAX);
    let [list, _] = guest.pieces(&[(BUFFER, u32::MAX)]);
    for (name, args, errno) in [
        ("fd_read", vec![fd, list, 1, OUT.into()], Errno::FAULT),
        ("fd_write", vec![fd, list, 1, OUT.into()], Errno::FAULT),
        ("fd_read", vec![fd, list, huge, OUT.into()], Errno::INVAL),
        ("fd_pwrite", vec![fd, list, huge, 0, OUT.into()], Errno::INVAL),
        ("fd_readdir", vec![DIR.into(), BUFFER.into(), huge, 0, OUT.into()], Errno::FAULT),
        ("fd_readdir", vec![DIR.into(), BUFFER.into(), 64, u64::MAX, OUT.into()], Errno::INVAL),
        ("random_get", vec![BUFFER.into(), huge], Errno::FAULT),
        ("path_unlink_file", vec![DIR.into(), PATH.into(), huge], Errno::NAMETOOLONG),
        ("fd_filestat_set_size", vec![fd, u64::MAX], Errno::INVAL),
        ("fd_allocate", vec![fd, u64::MAX, u64::MAX], Errno::INVAL),
        ("fd_seek", vec![fd, u64::MAX, 0, OUT.into()], Errno::INVAL),
    ] {
        assert_eq!(guest.call(name, &args), errno, "{name}{args:?}");
    }
    // A list of many pieces that overlap asks for far more than the memory has: served short.
    let pieces = vec![(BUFFER, 100_000); 1000];
    let [list, count] = [0x20000, 1000];
    for (index, (at, len)) in pieces.iter().enumerate() {
        guest.put(0x20000 + 8 * index as u32, &u32::to_le_bytes(*at));
        guest.put(0x20004 + 8 * index as u32, &u32::to_le_bytes(*len));
    }
    guest.ok("fd_pwrite", &[fd, list, count, 0, OUT.into()]);
    assert_eq!(guest.word(OUT), 1 << 20);
}
