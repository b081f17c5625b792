//! Narrower grants allow what they say and no more.

use std::fs;
use std::sync::{Arc, Mutex};

use aura_host_abi::{GrantSpec, Terms};
use aura_wasi::{Errno, Output};

use crate::guest::*;

#[test]
fn each_stream_has_a_grant_of_its_own() {
    for (grant, allowed) in [("stdio.in", 0), ("stdio.out", 1), ("stdio.err", 2)] {
        let mut guest = Guest::with(&[grant]);
        let sink = Arc::new(Mutex::new(Vec::new()));
        guest.ctx.set_stdout(Output::Capture(sink.clone()));
        guest.ctx.set_stderr(Output::Capture(sink.clone()));
        guest.ctx.set_stdin(aura_wasi::Input::Null);
        for fd in 0..3 {
            let reached = guest.call("fd_fdstat_get", &[fd, OUT.into()]);
            assert_eq!(reached == Errno::SUCCESS, fd == allowed, "{grant} {fd}");
            let wrote = guest.write(fd as u32, b"x").is_ok();
            assert_eq!(wrote, fd == allowed && fd > 0, "{grant} {fd}");
        }
        let needed: Vec<_> = guest.ctx.denials().iter().map(|denial| denial.grant.clone()).collect();
        assert!(needed.iter().all(|needed| needed.starts_with("stdio.") && needed != grant), "{grant}: {needed:?}");
    }
}

#[test]
fn fs_create_adds_and_changes_nothing_that_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("old"), "old").expect("a file");
    fs::create_dir(dir.path().join("sub")).expect("a directory");
    fs::write(dir.path().join("sub/old"), "old").expect("a file");
    let before = fs::metadata(dir.path().join("old")).expect("a file").modified().expect("a time");
    let mut guest = Guest::in_dir("fs.create", dir.path());
    let new = guest.open(DIR, "new", CREATE, RIGHTS_ALL).expect("a new file");
    assert_eq!(guest.write(new, b"new"), Ok(3));
    guest.ok("fd_close", &[new.into()]);
    assert_eq!(guest.at_path("path_create_directory", DIR, "made"), Errno::SUCCESS);
    let sub = guest.open(DIR, "sub", DIRECTORY, RIGHTS_ALL).expect("a directory");
    assert!(guest.open(sub, "added", CREATE | EXCLUSIVE, RIGHTS_ALL).is_ok());
    for dir_fd in [DIR, sub] {
        assert!(guest.open(dir_fd, "old", 0, RIGHT_READ).is_ok());
        assert!(guest.open(dir_fd, "old", CREATE, RIGHT_READ).is_ok(), "what is there is read, not made");
        for flags in [0, CREATE, CREATE | TRUNCATE, TRUNCATE] {
            let opened = guest.open(dir_fd, "old", flags, RIGHTS_ALL);
            assert_eq!(opened, Err(Errno::NOTCAPABLE), "{flags}");
        }
        assert_eq!(guest.open(dir_fd, "old", TRUNCATE, RIGHT_READ), Err(Errno::NOTCAPABLE));
        assert_eq!(guest.open_with(dir_fd, "old", 1, CREATE, RIGHT_READ, 1), Err(Errno::NOTCAPABLE), "append");
        assert_eq!(guest.at_path("path_unlink_file", dir_fd, "old"), Errno::NOTCAPABLE);
        assert_eq!(guest.rename(dir_fd, "old", dir_fd, "x"), Errno::NOTCAPABLE);
    }
    assert_eq!(guest.at_path("path_remove_directory", DIR, "made"), Errno::NOTCAPABLE);
    // A file that the guest made is there from then on.
    assert_eq!(guest.open(DIR, "new", CREATE, RIGHTS_ALL), Err(Errno::NOTCAPABLE));
    assert_eq!(fs::read(dir.path().join("old")).expect("a file"), b"old");
    assert_eq!(fs::read(dir.path().join("sub/old")).expect("a file"), b"old");
    assert_eq!(fs::metadata(dir.path().join("old")).expect("a file").modified().expect("a time"), before);
    assert_eq!(fs::read(dir.path().join("new")).expect("a file"), b"new");
}

#[test]
fn cve_2024_38358_a_narrowed_directory_is_not_widened_by_a_link() {
    let (dir, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fs::create_dir(dir.path().join("sub")).expect("a directory");
    fs::write(dir.path().join("sub/file"), "inside").expect("a file");
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).expect("a link");
    let mut guest = Guest::blind();
    let wide = guest.grant(&format!("fs.write={}::/wide", dir.path().display()));
    let mut give = |below: &str| {
        let spec: GrantSpec = format!("fs.read={}/{below}::/narrow", dir.path().display()).parse().expect("a grant");
        let narrow = wide.narrow(&spec, Terms::default()).expect("within");
        guest.ctx.attach(narrow)
    };
    assert!(give("link").is_err(), "the link leads out of what was granted");
    give("sub").expect("a directory");
    let narrow = DIR + 1;
    assert!(guest.open(narrow, "file", 0, RIGHT_READ).is_ok());
    assert_eq!(guest.open(narrow, "file", 0, RIGHTS_ALL), Err(Errno::NOTCAPABLE));
    wide.revoke();
    assert_eq!(guest.open(narrow, "file", 0, RIGHT_READ), Err(Errno::NOTCAPABLE));
}

#[test]
fn output_is_bounded_over_both_streams() {
    let mut guest = Guest::with(&["stdio"]);
    let sink = Arc::new(Mutex::new(Vec::new()));
    guest.ctx.set_stdout(Output::Capture(sink.clone()));
    guest.ctx.set_stderr(Output::Capture(sink.clone()));
    guest.ctx.set_limits(aura_wasi::WasiLimits { output_bytes_max: 5, ..Default::default() });
    assert_eq!(guest.write(1, b"abc"), Ok(3));
    assert_eq!(guest.write(2, b"def"), Ok(2));
    assert_eq!(guest.write(1, b"g"), Err(Errno::NOSPC));
    assert_eq!(*sink.lock().expect("no panic"), b"abcde");
}
