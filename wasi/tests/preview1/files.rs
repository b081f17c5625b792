//! Files below a granted directory.

use std::fs;
use std::os::unix::fs::symlink;

use aura_host_abi::Capability;
use aura_wasi::{AttachError, Errno, WasiCtx, WasiLimits};
use tempfile::TempDir;

use crate::guest::*;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn granted_directories_are_found_from_3_on() {
    let (a, b) = (dir(), dir());
    let mut guest = Guest::with(&[
        &format!("fs.read={}::/first", a.path().display()),
        &format!("fs.write={}::second", b.path().display()),
    ]);
    for (fd, name) in [(3, "/first"), (4, "second")] {
        guest.ok("fd_prestat_get", &[fd, OUT.into()]);
        assert_eq!((guest.word(OUT), guest.word(OUT + 4)), (0, name.len() as u32));
        assert_eq!(guest.call("fd_prestat_dir_name", &[fd, BUFFER.into(), name.len() as u64 - 1]), Errno::NAMETOOLONG);
        guest.ok("fd_prestat_dir_name", &[fd, BUFFER.into(), name.len() as u64]);
        assert_eq!(guest.bytes(BUFFER, name.len() as u32), name.as_bytes());
    }
    assert_eq!(guest.call("fd_prestat_get", &[5, OUT.into()]), Errno::BADF);
}

#[test]
fn what_is_written_is_read() {
    let dir = dir();
    let mut guest = Guest::in_dir("fs.write", dir.path());
    let fd = guest.open(DIR, "a.txt", CREATE | EXCLUSIVE, RIGHTS_ALL).expect("created");
    assert_eq!(guest.write(fd, b"hello world"), Ok(11));
    guest.ok("fd_tell", &[fd.into(), OUT.into()]);
    assert_eq!(guest.long(OUT), 11);
    guest.ok("fd_seek", &[fd.into(), (-5i64).cast_unsigned(), 2, OUT.into()]);
    assert_eq!(guest.long(OUT), 6);
    assert_eq!(guest.read(fd, 100).expect("read"), b"world");
    let [list, count] = guest.pieces(&[(BUFFER, 3), (BUFFER + 100, 2)]);
    guest.ok("fd_pread", &[fd.into(), list, count, 1, OUT.into()]);
    assert_eq!((guest.bytes(BUFFER, 3), guest.bytes(BUFFER + 100, 2)), (&b"ell"[..], &b"o "[..]));
    guest.put(BUFFER, b"J");
    let [list, count] = guest.pieces(&[(BUFFER, 1)]);
    guest.ok("fd_pwrite", &[fd.into(), list, count, 0, OUT.into()]);
    guest.ok("fd_filestat_set_size", &[fd.into(), 5]);
    guest.ok("fd_allocate", &[fd.into(), 0, 8]);
    for name in ["fd_sync", "fd_datasync"] {
        guest.ok(name, &[fd.into()]);
    }
    guest.ok("fd_advise", &[fd.into(), 0, 0, 3]);
    guest.ok("fd_close", &[fd.into()]);
    assert_eq!(guest.call("fd_close", &[fd.into()]), Errno::BADF);
    assert_eq!(fs::read(dir.path().join("a.txt")).expect("file"), b"Jello\0\0\0");
    assert_eq!(guest.open(DIR, "a.txt", CREATE | EXCLUSIVE, RIGHTS_ALL), Err(Errno::EXIST));
}

#[test]
fn large_transfers_are_whole_up_to_the_limit() {
    let dir = dir();
    let content: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    fs::write(dir.path().join("a"), &content).expect("file");
    let mut guest = Guest::in_dir("fs.read", dir.path());
    let fd = guest.open(DIR, "a", 0, RIGHT_READ).expect("opened");
    assert_eq!(guest.read(fd, 200_000).expect("read"), content);
    guest.ctx.set_limits(WasiLimits { call_bytes_max: 70_000, ..WasiLimits::default() });
    guest.ok("fd_seek", &[fd.into(), 0, 0, OUT.into()]);
    assert_eq!(guest.read(fd, 200_000).expect("read"), content[..70_000]);
}

#[test]
fn flags_and_rights_are_told_as_they_are() {
    let dir = dir();
    let mut guest = Guest::in_dir("fs.write", dir.path());
    let fd = guest.open_with(DIR, "a", 1, CREATE, RIGHT_WRITE, 1).expect("append");
    assert_eq!((guest.write(fd, b"ab"), guest.write(fd, b"cd")), (Ok(2), Ok(2)));
    let (kind, base, _) = guest.fdstat(fd).expect("fdstat");
    assert_eq!((kind, base & RIGHT_READ, base & RIGHT_WRITE), (4, 0, RIGHT_WRITE));
    assert_eq!(guest.bytes(OUT + 2, 2), [1, 0]);
    assert_eq!(guest.read(fd, 1), Err(Errno::NOTCAPABLE));
    guest.ok("fd_fdstat_set_flags", &[fd.into(), 4]);
    guest.ok("fd_seek", &[fd.into(), 0, 0, OUT.into()]);
    assert_eq!(guest.write(fd, b"X"), Ok(1));
    assert_eq!(fs::read(dir.path().join("a")).expect("file"), b"Xbcd");
    assert_eq!(guest.call("fd_fdstat_set_flags", &[fd.into(), 16]), Errno::NOTSUP);
    assert_eq!(guest.call("fd_fdstat_set_flags", &[fd.into(), 32]), Errno::INVAL);
    let read_only = guest.open(DIR, "a", 0, RIGHT_READ).expect("reading");
    assert_eq!(guest.write(read_only, b"x"), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.read(DIR, 1), Err(Errno::ISDIR));
    assert_eq!(guest.open(DIR, ".", DIRECTORY, RIGHT_READ | RIGHT_WRITE), Err(Errno::ISDIR));
    assert_eq!(guest.open(DIR, ".", 0, RIGHT_READ | RIGHT_WRITE), Err(Errno::ISDIR));
    let (_, base, inheriting) = guest.fdstat(DIR).expect("fdstat");
    assert!(guest.open_with(DIR, ".", 0, DIRECTORY, base, 0).is_ok() && base & inheriting == base);
}

#[test]
fn directories_are_made_listed_moved_and_removed() {
    let dir = dir();
    let mut guest = Guest::in_dir("fs.write", dir.path());
    assert_eq!(guest.at_path("path_create_directory", DIR, "sub/"), Errno::SUCCESS);
    assert_eq!(guest.at_path("path_create_directory", DIR, "sub"), Errno::EXIST);
    assert_eq!(guest.at_path("path_create_directory", DIR, "."), Errno::EXIST);
    let sub = guest.open(DIR, "sub", DIRECTORY, RIGHTS_ALL).expect("directory");
    for index in 0..300 {
        let fd = guest.open(sub, &format!("file-{index:03}"), CREATE, RIGHT_WRITE).expect("created");
        guest.ok("fd_close", &[fd.into()]);
    }
    for buffer_len in [64, 100, 1000, 32_000] {
        let mut names: Vec<_> = guest.list(sub, buffer_len).expect("listing").into_iter().map(|row| row.0).collect();
        names.sort();
        assert_eq!(names.len(), 302, "buffer of {buffer_len}");
        assert_eq!((&names[0][..], &names[1][..], &names[301][..]), (".", "..", "file-299"));
    }
    assert_eq!(guest.at_path("path_remove_directory", DIR, "sub"), Errno::NOTEMPTY);
    assert_eq!(guest.rename(sub, "file-000", DIR, "moved"), Errno::SUCCESS);
    assert_eq!(guest.at_path("path_unlink_file", DIR, "moved"), Errno::SUCCESS);
    assert_eq!(guest.at_path("path_unlink_file", DIR, "sub"), Errno::ISDIR);
    assert_eq!(guest.rename(DIR, "sub/", DIR, "new/"), Errno::SUCCESS);
    for index in 1..300 {
        assert_eq!(guest.at_path("path_unlink_file", DIR, &format!("new/file-{index:03}")), Errno::SUCCESS);
    }
    assert_eq!(guest.at_path("path_remove_directory", DIR, "new/"), Errno::SUCCESS);
    assert_eq!(fs::read_dir(dir.path()).expect("directory").count(), 0);
}

/// Cookies stay good while the directory changes: what stays is told once, wherever reading goes on.
#[test]
fn cookies_survive_changes_of_the_directory() {
    let dir = dir();
    let name = |index: usize| format!("file-{index:03}");
    for index in 0..200 {
        fs::write(dir.path().join(name(index)), b"").expect("file");
    }
    let mut guest = Guest::in_dir("fs.write", dir.path());
    let mut page = |cookie: u64| {
        guest.ok("fd_readdir", &[DIR.into(), BUFFER.into(), 40, cookie, OUT.into()]);
        let (used, len) = (guest.word(OUT), guest.word(BUFFER + 16));
        let entry = (guest.long(BUFFER), String::from_utf8(guest.bytes(BUFFER + 24, len.min(16)).to_vec()));
        (used > 24).then_some(entry)
    };
    let (mut seen, mut cookies, mut cookie) = (Vec::new(), Vec::new(), 0);
    while let Some((next, entry)) = page(cookie) {
        let entry = entry.expect("UTF-8");
        if let Some(index) = entry.strip_prefix("file-").and_then(|index| index.parse::<usize>().ok()) {
            // Each that was told goes, and so does every fourth that was not.
            fs::remove_file(dir.path().join(&entry)).expect("removed");
            let other = dir.path().join(name(index ^ 2));
            if index % 4 == 0 && other.exists() {
                fs::remove_file(other).expect("removed");
            }
            fs::write(dir.path().join(format!("new-{index}")), b"").expect("file");
            seen.push(index);
        }
        cookies.push(cookie);
        cookie = next;
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), seen.len(), "none is told twice");
    assert!(once.iter().filter(|index| *index % 2 == 1).count() == 100, "none of those that stayed is missed");
    for cookie in cookies {
        let _ = page(cookie);
    }
    assert!(page(0).is_some(), "the start again");
}

#[test]
fn links_inside_are_followed_and_read() {
    let dir = dir();
    fs::write(dir.path().join("file"), b"x").expect("file");
    symlink("file", dir.path().join("link")).expect("link");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    assert_eq!(guest.readlink(DIR, "link").expect("target"), b"file");
    assert_eq!(guest.readlink(DIR, "file"), Err(Errno::INVAL));
    assert!(guest.open(DIR, "link", 0, RIGHT_READ).is_ok());
    assert_eq!(guest.open_with(DIR, "link", 0, 0, RIGHT_READ, 0), Err(Errno::LOOP));
    assert_eq!(guest.stat(DIR, "link", false), Errno::SUCCESS);
    assert_eq!(guest.bytes(OUT + 16, 1), [7]);
    assert_eq!(guest.stat(DIR, "link", true), Errno::SUCCESS);
    assert_eq!((guest.bytes(OUT + 16, 1), guest.long(OUT + 32)), (&[4][..], 1));
    assert_eq!(guest.at_path("path_unlink_file", DIR, "link"), Errno::SUCCESS);
    assert!(dir.path().join("file").exists());
}

#[test]
fn times_are_set_and_told() {
    let dir = dir();
    fs::write(dir.path().join("a"), b"").expect("file");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    let fd = guest.open(DIR, "a", 0, RIGHT_READ).expect("opened");
    guest.ok("fd_filestat_set_times", &[fd.into(), 7, 1_000_000_009, 1 | 4]);
    guest.ok("fd_filestat_get", &[fd.into(), OUT.into()]);
    assert_eq!((guest.long(OUT + 40), guest.long(OUT + 48)), (7, 1_000_000_009));
    let [at, len] = guest.path("a");
    guest.ok("path_filestat_set_times", &[DIR.into(), 0, at, len, 5, 11, 4]);
    guest.ok("fd_filestat_get", &[fd.into(), OUT.into()]);
    assert_eq!((guest.long(OUT + 40), guest.long(OUT + 48)), (7, 11));
    guest.ok("fd_filestat_set_times", &[DIR.into(), 1, 2, 1 | 4]);
    assert_eq!(guest.call("fd_filestat_set_times", &[fd.into(), 0, 0, 3]), Errno::INVAL);
}

/// What a host may have in a directory that a guest could not have put there.
#[test]
fn odd_names_and_kinds_on_the_host_are_listed_and_refused() {
    use std::os::unix::ffi::OsStrExt;
    let dir = dir();
    let name = |bytes: &[u8]| dir.path().join(std::ffi::OsStr::from_bytes(bytes));
    fs::write(name(b"\xff\xfe"), b"").expect("file");
    fs::write(name(&[b'n'; 255]), b"").expect("file");
    fs::write(name(b"a\nb"), b"").expect("file");
    let _socket = std::os::unix::net::UnixListener::bind(name(b"socket")).expect("socket");
    rustix::fs::mkfifoat(rustix::fs::CWD, name(b"pipe"), rustix::fs::Mode::from_raw_mode(0o600)).expect("pipe");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    guest.ok("fd_readdir", &[DIR.into(), BUFFER.into(), 4096, 0, OUT.into()]);
    let (used, mut at, mut names) = (guest.word(OUT), 0, Vec::new());
    while at < used {
        let len = guest.word(BUFFER + at + 16);
        names.push((guest.bytes(BUFFER + at + 24, len).to_vec(), guest.bytes(BUFFER + at + 20, 1)[0]));
        at += 24 + len;
    }
    names.sort();
    let expected: [(&[u8], u8); 7] =
        [(b".", 3), (b"..", 3), (b"a\nb", 4), (&[b'n'; 255], 4), (b"pipe", 0), (b"socket", 6), (b"\xff\xfe", 4)];
    assert_eq!(names, expected.map(|(name, kind)| (name.to_vec(), kind)));
    assert_eq!(guest.open(DIR, "socket", 0, RIGHT_READ), Err(Errno::NXIO));
    assert!(guest.open(DIR, "a\nb", 0, RIGHT_READ).is_ok());
    guest.put(PATH, b"\xff\xfe");
    assert_eq!(guest.call("path_filestat_get", &[DIR.into(), 0, PATH.into(), 2, OUT.into()]), Errno::ILSEQ);
    assert_eq!(guest.open(DIR, &"n".repeat(256), CREATE, RIGHT_WRITE), Err(Errno::NAMETOOLONG));
}

#[test]
fn handles_have_a_limit() {
    let dir = dir();
    fs::write(dir.path().join("a"), b"").expect("file");
    let mut guest = Guest::in_dir("fs.read", dir.path());
    guest.ctx.set_limits(WasiLimits { handles_max: 3, ..WasiLimits::default() });
    let open = |guest: &mut Guest| guest.open(DIR, "a", 0, RIGHT_READ);
    assert_eq!((open(&mut guest), open(&mut guest)), (Ok(4), Ok(5)));
    assert_eq!(open(&mut guest), Err(Errno::MFILE));
    guest.ok("fd_close", &[4]);
    assert_eq!(open(&mut guest), Ok(4));
}

#[test]
fn a_grant_of_what_is_no_directory_says_what_to_do() {
    let dir = dir();
    let file = dir.path().join("file");
    fs::write(&file, b"").expect("file");
    let attach =
        |grant: String| WasiCtx::new().attach(std::sync::Arc::new(Capability::new(grant.parse().expect("a grant"))));
    let error = attach(format!("fs.read={}::/x", file.display())).expect_err("a file");
    assert!(error.to_string().contains(&format!("`fs.read={}`", dir.path().display())), "{error}");
    let error = attach(format!("fs.write={}::/x", dir.path().join("none").display())).expect_err("nothing");
    assert!(matches!(&error, AttachError::Directory { path, .. } if path.ends_with("none")), "{error}");
}
