//! What was derived from a grant ends with it.

use std::fs;
use std::sync::{Arc, Mutex};

use aura_wasi::{Errno, Output};

use crate::guest::*;

#[test]
fn files_die_with_their_directory_and_others_live() {
    let (a, b) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fs::create_dir(a.path().join("sub")).expect("directory");
    let mut guest = Guest::blind();
    let grant = guest.grant(&format!("fs.write={}::/a", a.path().display()));
    guest.grant(&format!("fs.write={}::/b", b.path().display()));
    let sub = guest.open(DIR, "sub", DIRECTORY, RIGHTS_ALL).expect("directory");
    let file = guest.open(sub, "file", CREATE, RIGHTS_ALL).expect("file");
    let other = guest.open(DIR + 1, "file", CREATE, RIGHTS_ALL).expect("file");
    assert_eq!(guest.write(file, b"before"), Ok(6));
    grant.revoke();
    assert_eq!(guest.write(file, b"after"), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.read(file, 1), Err(Errno::NOTCAPABLE));
    for name in ["fd_tell", "fd_filestat_get", "fd_fdstat_get"] {
        for fd in [file, sub, DIR] {
            assert_eq!(guest.call(name, &[fd.into(), OUT.into()]), Errno::NOTCAPABLE, "{name}");
        }
    }
    assert_eq!(guest.call("fd_seek", &[file.into(), 0, 0, OUT.into()]), Errno::NOTCAPABLE);
    assert_eq!(guest.call("fd_renumber", &[file.into(), other.into()]), Errno::NOTCAPABLE);
    assert_eq!(guest.call("fd_renumber", &[other.into(), file.into()]), Errno::NOTCAPABLE);
    assert_eq!(guest.list(sub, 1000), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.open(sub, "file", 0, RIGHT_READ), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.rename(DIR + 1, "file", DIR, "x"), Errno::NOTCAPABLE);
    assert_eq!(guest.call("fd_prestat_get", &[DIR.into(), OUT.into()]), Errno::BADF);
    assert_eq!(guest.write(other, b"still"), Ok(5));
    guest.ok("fd_close", &[file.into()]);
    assert_eq!(fs::read(a.path().join("sub/file")).expect("file"), b"before");
    let revoked = guest.ctx.denials()[0].to_string();
    assert!(revoked.starts_with("fd_write on descriptor 6, whose grant was revoked"), "{revoked}");
}

#[test]
fn revoking_the_last_grant_of_a_function_ends_it() {
    for (grant, name, args) in [
        ("clock", "clock_time_get", vec![0, 0, OUT.into()]),
        ("random", "random_get", vec![OUT.into(), 8]),
        ("stdio", "fd_fdstat_get", vec![1, OUT.into()]),
    ] {
        let mut guest = Guest::blind();
        let first = guest.grant(grant);
        let second = guest.grant(grant);
        guest.ok(name, &args);
        first.revoke();
        if grant != "stdio" {
            guest.ok(name, &args);
        }
        second.revoke();
        guest.memory.fill(0x5a);
        assert_eq!(guest.call(name, &args), Errno::NOTCAPABLE);
        assert!(guest.memory.iter().all(|&byte| byte == 0x5a));
    }
}

#[test]
fn streams_die_with_theirs_and_under_a_moved_number_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = Arc::new(Mutex::new(Vec::new()));
    let mut guest = Guest::in_dir("fs.write", dir.path());
    guest.ctx.set_stdout(Output::Capture(Arc::clone(&out)));
    let grant = guest.grant("stdio");
    let file = guest.open(DIR, "file", CREATE, RIGHTS_ALL).expect("file");
    guest.ok("fd_renumber", &[1, file.into()]);
    assert_eq!(guest.write(file, b"kept"), Ok(4));
    grant.revoke();
    assert_eq!(guest.write(file, b"lost"), Err(Errno::NOTCAPABLE));
    assert_eq!(out.lock().expect("out")[..], b"kept"[..]);
}
