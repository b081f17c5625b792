//! Without a grant nothing is observable.

use aura_host_abi::{Denial, GuestMemory, HostCall, HostError};
use aura_wasi::{Errno, FUNCTIONS};

use crate::guest::{BUFFER, CREATE, DIR, Guest, OUT, RIGHTS_ALL};

const QUIET: [&str; 4] = ["args_get", "args_sizes_get", "environ_get", "environ_sizes_get"];

fn expected(name: &str) -> Errno {
    match name {
        _ if QUIET.contains(&name) => Errno::SUCCESS,
        "fd_prestat_get" => Errno::BADF,
        _ => Errno::NOTCAPABLE,
    }
}

/// Each function, with arguments that would be served if anything was granted, answers the same
/// code whatever the arguments, and leaves memory as it was, but for the counts of 0.
#[test]
fn a_blind_guest_learns_nothing_from_any_function() {
    for function in FUNCTIONS.iter().filter(|f| f.name != "proc_exit") {
        for argument in [0, 1, 3, u64::from(BUFFER), u64::MAX] {
            let mut guest = Guest::blind();
            guest.ctx.set_args(vec!["secret".into()]).expect("arguments");
            guest.memory.fill(0xa5);
            let errno = guest.call(function.name, &vec![argument; function.params.len()]);
            let sizes = function.name.ends_with("_sizes_get");
            if sizes && argument == u64::MAX {
                assert_eq!(errno, Errno::FAULT);
            } else {
                assert_eq!(errno, expected(function.name), "{}", function.name);
            }
            let changed: Vec<_> = guest.memory.iter().filter(|&&byte| byte != 0xa5).collect();
            assert!(changed.iter().all(|&&byte| byte == 0), "{}", function.name);
            assert_eq!(changed.len(), if sizes && argument != u64::MAX { 4 } else { 0 }, "{}", function.name);
        }
    }
}

/// What the runtime serves in place of an absent function is what the function itself answers.
#[test]
fn denial_stubs_and_blind_bodies_agree() {
    for function in FUNCTIONS.iter().filter(|f| f.name != "proc_exit") {
        let expected = expected(function.name);
        match function.denial {
            Denial::Code(code) => assert_eq!(code, expected as u32),
            Denial::Trap => panic!("{} traps", function.name),
            Denial::Quiet(answer) => {
                let mut slots = vec![0; function.params.len()];
                let mut call = HostCall::new(GuestMemory::empty(), &mut slots, None, None);
                answer(&mut call).expect("an answer");
                let errno = if function.name.ends_with("_sizes_get") { Errno::FAULT } else { expected };
                assert_eq!(slots[0], errno as u64, "{}", function.name);
            }
        }
    }
}

#[test]
fn exit_needs_no_grant() {
    let result = Guest::blind().try_call("proc_exit", &[u64::from(u32::MAX)]);
    assert!(matches!(result, Err(HostError::Exit(-1))));
}

/// HOSTILE 1b, GHSA-4mq4-7rw3-vm5j: no file without a granted directory.
#[test]
fn ghsa_4mq4_blind_guest_cannot_create() {
    let name = format!("blind-guest-{}", std::process::id());
    for mut guest in [Guest::blind(), Guest::with(&["stdio", "args", "clock", "random"])] {
        for fd in 0..8 {
            assert!(guest.open(fd, &name, CREATE, RIGHTS_ALL).is_err());
        }
        assert!(!std::path::Path::new(&name).exists());
    }
}

/// One grant shows its own functions only.
#[test]
fn grants_do_not_spill_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = format!("fs.write={}::/d", dir.path().display());
    for grant in ["stdio", "args", "env=A=b", "clock", "random", &files] {
        let mut guest = Guest::with(&[grant]);
        let action = grant.split('=').next().expect("an action");
        for function in FUNCTIONS.iter().filter(|f| f.name != "proc_exit") {
            if function.actions.iter().any(|granted| granted.name() == action) {
                continue;
            }
            let errno = guest.call(function.name, &vec![u64::from(OUT); function.params.len()]);
            assert_eq!(errno, expected(function.name), "{grant}: {}", function.name);
        }
    }
}

/// What a program prints to an ungranted stream must not land in a file that it opened.
#[test]
fn standard_descriptors_stay_free_without_stdio() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    assert_eq!(guest.open(DIR, "a", CREATE, RIGHTS_ALL), Ok(4));
    for fd in 0..3 {
        assert_eq!(guest.write(fd, b"x"), Err(Errno::BADF));
    }
    let denials: Vec<_> = guest.ctx.denials().iter().map(ToString::to_string).collect();
    assert_eq!(denials[1], "fd_write on standard descriptor 1: needs stdio");
}
