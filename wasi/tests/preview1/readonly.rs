//! A grant to read changes nothing on the host.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use aura_wasi::Errno;

use crate::guest::*;

fn state(path: &Path) -> (u64, SystemTime, Vec<u8>) {
    let meta = fs::metadata(path).expect("metadata");
    (meta.len(), meta.modified().expect("mtime"), fs::read(path).expect("content"))
}

/// HOSTILE 1b, CVE-2026-47261: every flag and right that changes something, on a grant to read.
#[test]
fn cve_2026_47261_mutating_flags_on_a_read_only_grant() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, b"content").expect("file");
    let before = state(&file);
    let mut guest = Guest::in_dir("fs.read", dir.path());
    for open_flags in 0..16 {
        for flags in 0..32 {
            for rights in [0, RIGHT_READ, RIGHT_WRITE, RIGHT_READ | RIGHT_WRITE, 1, 1 << 8, 1 << 22, RIGHTS_ALL, !0] {
                for name in ["file", "new"] {
                    let opened = guest.open_with(DIR, name, 1, open_flags, rights, flags);
                    let writes = rights & (1 | RIGHT_WRITE | 1 << 8) != 0 && open_flags & DIRECTORY == 0;
                    if open_flags & (CREATE | TRUNCATE) != 0 || flags & 1 != 0 || writes {
                        assert_eq!(opened, Err(Errno::NOTCAPABLE), "{open_flags} {flags} {rights:#x}");
                    }
                    if let Ok(fd) = opened {
                        assert_eq!(guest.write(fd, b"x"), Err(Errno::NOTCAPABLE));
                        assert_eq!(guest.call("fd_filestat_set_size", &[fd.into(), 0]), Errno::NOTCAPABLE);
                        guest.ok("fd_close", &[fd.into()]);
                    }
                }
            }
        }
    }
    assert_eq!(state(&file), before);
    assert_eq!(fs::read_dir(dir.path()).expect("listing").count(), 1);
    let expected = format!("path_open of \"file\": needs fs.write={}::/d", dir.path().display());
    assert!(guest.ctx.denials().iter().any(|denial| denial.to_string() == expected));
}

/// Go asks to read with every right that it does not know to be about writing, `FD_FILESTAT_SET_SIZE` (22) among them.
#[test]
fn go_reads_below_a_grant_to_read() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), b"content").expect("file");
    let mut guest = Guest::in_dir("fs.read", dir.path());
    let rights = u64::from(u32::MAX) & !(1 | RIGHT_WRITE | 1 << 8 | 1 << 19);
    let fd = guest.open(DIR, "file", 0, rights).expect("opened");
    assert_eq!(guest.call("fd_filestat_set_size", &[fd.into(), 0]), Errno::NOTCAPABLE);
    assert!(guest.open(DIR, ".", 0, rights).is_ok());
}

/// The same handle and path functions beside a second directory that may be changed, so that they
/// are mapped in.
#[test]
fn a_writable_directory_lends_nothing_to_a_read_only_one() {
    let (read, write) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let file = read.path().join("file");
    fs::write(&file, b"content").expect("file");
    fs::create_dir(read.path().join("sub")).expect("directory");
    let before = state(&file);
    let mut guest = Guest::in_dir("fs.read", read.path());
    guest.grant(&format!("fs.write={}::/w", write.path().display()));
    let fd = guest.open(DIR, "file", 0, RIGHT_READ).expect("opened");
    for (name, args) in [
        ("fd_filestat_set_size", vec![fd.into(), 0]),
        ("fd_filestat_set_times", vec![fd.into(), 0, 0, 5]),
        ("fd_filestat_set_times", vec![DIR.into(), 0, 0, 5]),
        ("fd_allocate", vec![fd.into(), 0, 100]),
    ] {
        assert_eq!(guest.call(name, &args), Errno::NOTCAPABLE, "{name}");
    }
    let sub = guest.open(DIR, "sub", DIRECTORY, RIGHTS_ALL).expect("directory");
    for dir in [DIR, sub] {
        assert_eq!(guest.at_path("path_create_directory", dir, "new"), Errno::NOTCAPABLE);
        assert_eq!(guest.open(dir, "new", CREATE, RIGHT_WRITE), Err(Errno::NOTCAPABLE));
    }
    assert_eq!(guest.at_path("path_remove_directory", DIR, "sub"), Errno::NOTCAPABLE);
    assert_eq!(guest.at_path("path_unlink_file", DIR, "file"), Errno::NOTCAPABLE);
    let [at, len] = guest.path("file");
    assert_eq!(guest.call("path_filestat_set_times", &[DIR.into(), 0, at, len, 0, 0, 5]), Errno::NOTCAPABLE);
    assert_eq!(state(&file), before);
}

/// HOSTILE 1b, CVE-2026-58494 and GHSA-4ch3: both sides of a rename or a link must be writable.
#[test]
fn cve_2026_58494_ghsa_4ch3_rename_and_link_between_read_only_and_writable() {
    let (read, write) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fs::write(read.path().join("r"), b"r").expect("file");
    fs::write(write.path().join("w"), b"w").expect("file");
    let mut guest = Guest::in_dir("fs.read", read.path());
    guest.grant(&format!("fs.write={}::/w", write.path().display()));
    let writable = DIR + 1;
    assert_eq!(guest.rename(DIR, "r", writable, "stolen"), Errno::NOTCAPABLE);
    assert_eq!(guest.rename(writable, "w", DIR, "planted"), Errno::NOTCAPABLE);
    assert_eq!(guest.rename(writable, "w", DIR, "r"), Errno::NOTCAPABLE);
    assert_eq!(guest.rename(DIR, "r", DIR, "r2"), Errno::NOTCAPABLE);
    assert_eq!(guest.link(DIR, "r", writable, "stolen"), Errno::NOTCAPABLE);
    assert_eq!(guest.link(writable, "w", DIR, "planted"), Errno::NOTCAPABLE);
    assert_eq!(guest.link(DIR, "r", DIR, "r2"), Errno::NOTCAPABLE);
    assert_eq!(guest.symlink("r", DIR, "planted"), Errno::NOTCAPABLE);
    assert_eq!(guest.rename(writable, "w", writable, "w2"), Errno::SUCCESS);
    assert_eq!(guest.link(writable, "w2", writable, "w3"), Errno::SUCCESS);
    assert_eq!(fs::read_dir(read.path()).expect("listing").count(), 1);
    assert_eq!(fs::read_dir(write.path()).expect("listing").count(), 2);
    assert_eq!(fs::read(read.path().join("r")).expect("file"), b"r");
}

/// Each right that is not held is refused, alone and with those that are; what is given up is gone.
fn assert_narrows_only(guest: &mut Guest, fd: u32, base: u64, inheriting: u64) {
    let set = |guest: &mut Guest, base, inheriting| guest.call("fd_fdstat_set_rights", &[fd.into(), base, inheriting]);
    for right in (0..64).map(|bit| 1 << bit) {
        if base & right == 0 {
            assert_eq!(set(guest, right, 0), Errno::NOTCAPABLE, "{right:#x}");
            assert_eq!(set(guest, base | right, inheriting), Errno::NOTCAPABLE, "{right:#x}");
        }
        if inheriting & right == 0 {
            assert_eq!(set(guest, 0, right), Errno::NOTCAPABLE, "{right:#x}");
        }
    }
    assert_eq!(guest.fdstat(fd).map(|stat| (stat.1, stat.2)), Ok((base, inheriting)));
    assert_eq!(set(guest, base, inheriting), Errno::SUCCESS);
    let half = base & 0x5555_5555;
    assert_eq!(set(guest, half, 0), Errno::SUCCESS);
    assert_eq!(guest.fdstat(fd).map(|stat| (stat.1, stat.2)), Ok((half, 0)));
    assert_eq!(set(guest, base, inheriting) == Errno::SUCCESS, half == base && inheriting == 0);
}

/// A grant to add leaves what was there as it was, its times included; what is new may be written.
#[test]
fn a_grant_to_create_changes_nothing_that_was_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, b"content").expect("file");
    let before = state(&file);
    let mut guest = Guest::in_dir("fs.create", dir.path());
    let unchanging =
        [("fd_filestat_set_times", vec![7, 7, 5]), ("fd_filestat_set_size", vec![0]), ("fd_allocate", vec![0, 99])];
    for (open_flags, rights) in [(0, RIGHT_READ), (0, 0), (CREATE, RIGHT_READ), (CREATE, 0), (0, 1 << 23)] {
        let fd = guest.open(DIR, "file", open_flags, rights).expect("opened");
        for (name, args) in &unchanging {
            let args = [&[u64::from(fd)][..], &args[..]].concat();
            assert_eq!(guest.call(name, &args), Errno::NOTCAPABLE, "{name} {open_flags} {rights}");
        }
        assert_eq!(guest.write(fd, b"x"), Err(Errno::NOTCAPABLE));
    }
    assert_eq!(guest.call("fd_filestat_set_times", &[DIR.into(), 7, 7, 5]), Errno::NOTCAPABLE);
    let fd = guest.open(DIR, "new", CREATE, RIGHT_WRITE).expect("created");
    assert_eq!(guest.write(fd, b"new"), Ok(3));
    guest.ok("fd_filestat_set_times", &[fd.into(), 7, 7, 5]);
    assert_eq!(state(&file), before);
}

/// What a guest gave up of what its directory hands down is missing from all that is opened through it,
/// at any depth; what it gave up of the directory's own is refused there.
#[test]
fn rights_that_were_given_up_stay_away() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), b"content").expect("file");
    fs::create_dir(dir.path().join("sub")).expect("directory");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    let (_, base, inheriting) = guest.fdstat(DIR).expect("fdstat");
    let path_filestat_set_size = 1 << 19;
    let kept = [DIR.into(), base & !path_filestat_set_size, inheriting & !RIGHT_WRITE];
    guest.ok("fd_fdstat_set_rights", &kept);
    assert_eq!(guest.open(DIR, "file", TRUNCATE, 0), Err(Errno::NOTCAPABLE));
    let sub = guest.open(DIR, "sub", DIRECTORY, RIGHTS_ALL).expect("directory");
    for (from, name) in [(DIR, "file"), (sub, "new")] {
        assert_eq!(guest.open(from, name, CREATE, RIGHT_WRITE), Err(Errno::NOTCAPABLE), "{name}");
        let fd = guest.open(from, name, CREATE, RIGHT_READ).expect("opened");
        assert_eq!(guest.write(fd, b"x"), Err(Errno::NOTCAPABLE), "{name}");
        assert_eq!(guest.fdstat(fd).expect("fdstat").1 & RIGHT_WRITE, 0);
    }
    assert_eq!(fs::read(dir.path().join("file")).expect("file"), b"content");
}

/// Rights told of a handle never pass those that its directory hands down, and none can be added.
#[test]
fn rights_never_grow() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), b"").expect("file");
    fs::create_dir(dir.path().join("sub")).expect("directory");
    for action in ["fs.read", "fs.write"] {
        let mut guest = Guest::in_dir(action, dir.path());
        let (_, _, handed_down) = guest.fdstat(DIR).expect("fdstat");
        for bit in 0..64 {
            for (name, open_flags) in [("file", 0), ("sub", DIRECTORY)] {
                let Ok(fd) = guest.open(DIR, name, open_flags, 1 << bit | RIGHT_READ) else { continue };
                let (_, base, inheriting) = guest.fdstat(fd).expect("fdstat");
                assert_eq!((base | inheriting) & !handed_down, 0, "{action} {name} bit {bit}");
                assert_narrows_only(&mut guest, fd, base, inheriting);
                guest.ok("fd_close", &[fd.into()]);
            }
        }
    }
}
