//! Any arguments, any memory: an answer, and the host outside the grant unchanged.

use std::fs;

use aura_host_abi::{HostError, TrapCode};
use aura_wasi::{FUNCTIONS, Input, Output};
use proptest::prelude::*;
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
        proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>()], 0..16),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_are_answered(
        calls in proptest::collection::vec((0..FUNCTIONS.len(), proptest::collection::vec(argument(), 9), text()), 1..64),
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
        guest.ctx.set_stdin(Input::Null);
        guest.ctx.set_stdout(Output::Null);
        guest.ctx.set_stderr(Output::Null);
        for (index, byte) in guest.memory.iter_mut().enumerate() {
            *byte = seed[index % seed.len()];
        }
        for (index, args, path) in calls {
            let function = &FUNCTIONS[index];
            if function.name == "fd_allocate" {
                continue; // It may well reserve what the host has.
            }
            guest.put(PATH, &path);
            guest.deadline = Some(Instant::now() + Duration::from_millis(20));
            match guest.try_call(function.name, &args[..function.params.len()]) {
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
