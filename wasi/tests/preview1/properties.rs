//! Any arguments, any memory: an answer, and the host outside the grant unchanged.

use std::fs;

use aura_host_abi::{Capability, HostError, TrapCode};
use aura_wasi::{Errno, FUNCTIONS, Input, Output, UNSTABLE_FUNCTIONS};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guest::*;

/// Numbers that are likely to mean something: descriptors, flags, places in and around memory.
fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..8u64,
        3 => Just(u64::from(PATH)),
        3 => Just(u64::from(BUFFER)),
        2 => Just(u64::from(IOVS)),
        1 => (MEMORY_LEN as u64 - 64)..(MEMORY_LEN as u64 + 64),
        1 => Just(u64::from(u32::MAX)),
        1 => Just(1 << 63),
        1 => any::<u64>(),
        1 => 0..200_000u64,
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"file".to_vec()),
        Just(b"sub/../link".to_vec()),
        Just(b"..".to_vec()),
        Just(b"sub/".to_vec()),
        Just(b"/etc/passwd".to_vec()),
        Just(b"file\0../outside".to_vec()),
        Just([b'a'; 4096].to_vec()),
        Just(b"../outside".to_vec()),
        proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>()], 0..16),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_are_answered(
        calls in proptest::collection::vec((0..FUNCTIONS.len() + UNSTABLE_FUNCTIONS.len(), proptest::collection::vec(argument(), 9), text()), 1..64),
        seed in proptest::collection::vec(any::<u8>(), 64),
    ) {
        let root = tempfile::tempdir().expect("a directory");
        let inside = root.path().join("inside");
        fs::create_dir(&inside).expect("directory");
        fs::create_dir(inside.join("sub")).expect("directory");
        fs::write(inside.join("file"), b"content").expect("file");
        fs::write(root.path().join("outside"), b"untouched").expect("file");
        std::os::unix::fs::symlink("../outside", inside.join("link")).expect("link");
        let mut guest = Guest::in_dir("fs.write", &inside);
        for grant in ["stdio", "args", "env=A=b", "clock", "random"] {
            guest.grant(grant);
        }
        let (socket, peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        for socket in [socket.into(), std::os::fd::OwnedFd::from(listener)] {
            let grant = Capability::new("net.listen=localhost:1".parse().expect("a grant"));
            guest.ctx.attach_socket(Arc::new(grant), socket).expect("a socket");
        }
        drop(peer);
        guest.ctx.set_stdin(Input::Null);
        guest.ctx.set_stdout(Output::Null);
        guest.ctx.set_stderr(Output::Null);
        for (index, byte) in guest.memory.iter_mut().enumerate() {
            *byte = seed[index % seed.len()];
        }
        for (index, mut args, path) in calls {
            let function = FUNCTIONS.iter().chain(UNSTABLE_FUNCTIONS).nth(index).expect("a row");
            if function.name == "fd_allocate" && i64::try_from(args[1]).is_ok() && i64::try_from(args[2]).is_ok() {
                // It would reserve what the host has.
                args[1] %= 1 << 20;
                args[2] %= 1 << 20;
            }
            guest.put(PATH, &path);
            guest.deadline = Some(Instant::now() + Duration::from_millis(20));
            match guest.call_of(function, &args[..function.params.len()]) {
                Ok(_) | Err(HostError::Exit(_) | HostError::Trap(TrapCode::Interrupted)) => {}
                Err(error) => prop_assert!(false, "{}: {error}", function.name),
            }
        }
        let untouched = fs::read(root.path().join("outside")).expect("file");
        prop_assert_eq!(untouched, b"untouched");
        prop_assert_eq!(fs::read_dir(root.path()).expect("listing").count(), 2);
        prop_assert!(guest.ctx.denials().len() <= 64);
    }
}

/// What a call needs of the descriptor it is made on, and its arguments after the descriptor. Each
/// succeeds, or fails for another reason than rights, on a descriptor that has them.
const NEEDS: &[(&str, u64, &[u64])] = &[
    ("fd_read", 1 << 1, &[0, 0, OUT as u64]),
    ("fd_pread", 1 << 1 | 1 << 2, &[0, 0, 0, OUT as u64]),
    ("fd_write", 1 << 6, &[0, 0, OUT as u64]),
    ("fd_pwrite", 1 << 6 | 1 << 2, &[0, 0, 0, OUT as u64]),
    ("fd_seek", 1 << 2, &[0, 1, OUT as u64]),
    ("fd_tell", 1 << 5, &[OUT as u64]),
    ("fd_fdstat_set_flags", 1 << 3, &[0]),
    ("fd_sync", 1 << 4, &[]),
    ("fd_datasync", 1, &[]),
    ("fd_advise", 1 << 7, &[0, 0, 0]),
    ("fd_allocate", 1 << 8, &[0, 1]),
    ("fd_filestat_get", 1 << 21, &[OUT as u64]),
    ("fd_filestat_set_size", 1 << 22, &[0]),
    ("fd_filestat_set_times", 1 << 23, &[0, 0, 0]),
];

#[derive(Clone, Debug)]
enum Step {
    Open { below: usize, file: bool, rights: u64 },
    Narrow { fd: usize, base: u64, inheriting: u64 },
    Call { fd: usize, call: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let few = || prop_oneof![any::<u64>(), Just(RIGHTS_ALL), (0..30u32).prop_map(|bit| RIGHTS_ALL & !(1 << bit))];
    prop_oneof![
        2 => (0..8usize, any::<bool>(), few()).prop_map(|(below, file, rights)| Step::Open { below, file, rights }),
        2 => (0..8usize, few(), few()).prop_map(|(fd, base, inheriting)| Step::Narrow { fd, base, inheriting }),
        4 => (0..8usize, 0..NEEDS.len()).prop_map(|(fd, call)| Step::Call { fd, call }),
    ]
}

/// A descriptor as the model knows it.
#[derive(Clone, Copy, Debug)]
struct Model {
    fd: u32,
    base: u64,
    inheriting: u64,
    file: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// HOSTILE 1b, Epsilon #56, #57, #58 and #65: rights against a model. They start as what was handed down,
    /// only ever shrink, by exactly what was asked, and a call without its right is refused.
    #[test]
    fn epsilon_56_57_58_65_rights_follow_the_model(
        write in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("file"), b"content").expect("file");
        fs::create_dir(dir.path().join("sub")).expect("directory");
        let mut guest = Guest::in_dir(if write { "fs.write" } else { "fs.read" }, dir.path());
        // Functions that need `fs.write` are mapped in whether this directory has it or not.
        let other = tempfile::tempdir().expect("a directory");
        guest.grant(&format!("fs.write={}::/other", other.path().display()));
        let (_, base, inheriting) = guest.fdstat(DIR).expect("fdstat");
        let mut known = vec![Model { fd: DIR, base, inheriting, file: false }];
        for step in steps {
            match step {
                Step::Open { below, file, rights } => {
                    let parent = known[below % known.len()];
                    let name = if file { "file" } else { "." };
                    let opened = guest.open(parent.fd, name, if file { 0 } else { DIRECTORY }, rights);
                    if parent.file || parent.base & 1 << 13 == 0 {
                        let refused = if parent.file { Errno::NOTDIR } else { Errno::NOTCAPABLE };
                        prop_assert!(opened == Err(refused) || opened == Err(Errno::ISDIR) || opened == Err(Errno::NOENT));
                    }
                    if let Ok(fd) = opened {
                        let (_, base, inheriting) = guest.fdstat(fd).expect("fdstat");
                        prop_assert_eq!((base | inheriting) & !parent.inheriting, 0, "{}", name);
                        prop_assert_eq!(base & !rights & (RIGHT_READ | RIGHT_WRITE), 0, "{}", name);
                        known.push(Model { fd, base, inheriting, file });
                    }
                }
                Step::Narrow { fd, base, inheriting } => {
                    let index = fd % known.len();
                    let model = &mut known[index];
                    let errno = guest.call("fd_fdstat_set_rights", &[model.fd.into(), base, inheriting]);
                    if (base & !model.base) | (inheriting & !model.inheriting) == 0 {
                        prop_assert_eq!(errno, Errno::SUCCESS);
                        (model.base, model.inheriting) = (base, inheriting);
                    } else {
                        prop_assert_eq!(errno, Errno::NOTCAPABLE);
                    }
                    let told = guest.fdstat(model.fd).map(|stat| (stat.1, stat.2));
                    prop_assert_eq!(told, Ok((model.base, model.inheriting)));
                }
                Step::Call { fd, call } => {
                    let model = known[fd % known.len()];
                    let (name, needed, rest) = NEEDS[call];
                    let args = [&[u64::from(model.fd)][..], rest].concat();
                    let errno = guest.call(name, &args);
                    if errno == Errno::SUCCESS && (model.file || name != "fd_sync" && name != "fd_datasync") {
                        prop_assert_eq!(needed & !model.base, 0, "{} without its right", name);
                    }
                    if model.file && needed & !model.base == 0 {
                        prop_assert_ne!(errno, Errno::NOTCAPABLE, "{} with its right", name);
                    }
                }
            }
        }
        if !write {
            prop_assert_eq!(fs::read(dir.path().join("file")).expect("file"), b"content");
        }
    }
}
