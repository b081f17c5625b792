//! `wasi_unstable`: the interface before preview 1, for old binaries.

use std::fs;

use aura_wasi::{Errno, UNSTABLE_FUNCTIONS};

use crate::guest::*;

fn call(guest: &mut Guest, name: &str, args: &[u64]) -> Errno {
    let function = UNSTABLE_FUNCTIONS.iter().find(|f| f.name == name).expect("in the table");
    guest.call_of(function, args).expect("an answer")
}

#[test]
fn files_are_told_in_the_old_layout() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a"), b"abcdef").expect("file");
    let mut guest = Guest::in_dir("fs.read", dir.path());
    let fd = guest.open(DIR, "a", 0, RIGHT_READ).expect("opened");
    guest.ok("fd_filestat_get", &[fd.into(), OUT.into()]);
    let (device, inode, modified) = (guest.long(OUT), guest.long(OUT + 8), guest.long(OUT + 48));
    let [at, len] = guest.path("a");
    for (name, args) in [
        ("fd_filestat_get", vec![fd.into(), OUT.into()]),
        ("path_filestat_get", vec![DIR.into(), 1, at, len, OUT.into()]),
    ] {
        guest.memory[OUT as usize..OUT as usize + 64].fill(0xa5);
        assert_eq!(call(&mut guest, name, &args), Errno::SUCCESS);
        assert_eq!((guest.long(OUT), guest.long(OUT + 8)), (device, inode), "{name}");
        assert_eq!((guest.word(OUT + 16), guest.word(OUT + 20)), (4, 1), "type and links of {name}");
        assert_eq!((guest.long(OUT + 24), guest.long(OUT + 40)), (6, modified), "{name}");
        assert!(guest.bytes(OUT + 56, 8).iter().all(|&byte| byte == 0xa5), "{name} writes 56 bytes");
    }
}

#[test]
fn seeks_number_their_origins_in_the_old_way() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a"), b"abcdef").expect("file");
    let mut guest = Guest::in_dir("fs.read", dir.path());
    let fd = u64::from(guest.open(DIR, "a", 0, RIGHT_READ).expect("opened"));
    for (offset, whence, position) in [(4u64, 2u64, 4u64), (1, 0, 5), (1u64.wrapping_neg(), 1, 5)] {
        assert_eq!(call(&mut guest, "fd_seek", &[fd, offset, whence, OUT.into()]), Errno::SUCCESS);
        assert_eq!(guest.long(OUT), position, "{whence}");
    }
    assert_eq!(call(&mut guest, "fd_seek", &[fd, 0, 3, OUT.into()]), Errno::INVAL);
}

#[test]
fn subscriptions_have_the_old_length() {
    const EVENTS: u32 = 0x6000;
    let mut guest = Guest::with(&["clock"]);
    let mut rows = [[0u8; 56]; 2];
    for (row, (userdata, nanoseconds)) in rows.iter_mut().zip([(7u64, 1u64), (8, 1 << 60)]) {
        row[..8].copy_from_slice(&userdata.to_le_bytes());
        row[16..24].fill(0xff); // An identifier that says nothing.
        row[24] = 1;
        row[32..40].copy_from_slice(&nanoseconds.to_le_bytes());
    }
    guest.put(BUFFER, rows.as_flattened());
    assert_eq!(call(&mut guest, "poll_oneoff", &[BUFFER.into(), EVENTS.into(), 2, OUT.into()]), Errno::SUCCESS);
    assert_eq!((guest.word(OUT), guest.long(EVENTS)), (1, 7));
    // HOSTILE 1b, GHSA-j366: the fault was in this interface.
    for count in [1 << 20, u32::MAX / 56 + 1, u32::MAX] {
        let args = [BUFFER.into(), EVENTS.into(), count.into(), OUT.into()];
        assert_eq!(call(&mut guest, "poll_oneoff", &args), Errno::INVAL);
    }
    let end = guest.memory.len() as u64;
    assert_eq!(call(&mut guest, "poll_oneoff", &[end - 55, EVENTS.into(), 1, OUT.into()]), Errno::FAULT);
}

#[test]
fn a_blind_guest_learns_nothing_here_either() {
    for function in UNSTABLE_FUNCTIONS.iter().filter(|f| f.name != "proc_exit") {
        let mut guest = Guest::blind();
        guest.memory.fill(0xa5);
        let errno = guest.call_of(function, &vec![u64::from(BUFFER); function.params.len()]).expect("an answer");
        let quiet = function.name.starts_with("args_") || function.name.starts_with("environ_");
        let expected = match function.name {
            "fd_prestat_get" => Errno::BADF,
            _ if quiet => Errno::SUCCESS,
            _ => Errno::NOTCAPABLE,
        };
        assert_eq!(errno, expected, "{}", function.name);
        assert!(guest.memory.iter().all(|&byte| byte == 0xa5 || byte == 0), "{}", function.name);
    }
}
