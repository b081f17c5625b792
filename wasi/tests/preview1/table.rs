//! The table is what the specification and the crate's documentation say.

use std::collections::BTreeSet;

use aura_host_abi::{Denial, HostFn, ValType};
use aura_wasi::{Errno, FUNCTIONS, MODULE, UNSTABLE_FUNCTIONS, UNSTABLE_MODULE, WasiCtx};

use crate::guest::Guest;

/// Every name of preview 1 with its parameters: `i` for 32 bits, `I` for 64.
const SPECIFIED: &str = "
    args_get ii; args_sizes_get ii; environ_get ii; environ_sizes_get ii; clock_res_get ii; clock_time_get iIi;
    fd_advise iIIi; fd_allocate iII; fd_close i; fd_datasync i; fd_fdstat_get ii; fd_fdstat_set_flags ii;
    fd_fdstat_set_rights iII; fd_filestat_get ii; fd_filestat_set_size iI; fd_filestat_set_times iIIi;
    fd_pread iiiIi; fd_prestat_get ii; fd_prestat_dir_name iii; fd_pwrite iiiIi; fd_read iiii; fd_readdir iiiIi;
    fd_renumber ii; fd_seek iIii; fd_sync i; fd_tell ii; fd_write iiii; path_create_directory iii;
    path_filestat_get iiiii; path_filestat_set_times iiiiIIi; path_link iiiiiii; path_open iiiiiIIii;
    path_readlink iiiiii; path_remove_directory iii; path_rename iiiiii; path_symlink iiiii; path_unlink_file iii;
    poll_oneoff iiii; proc_exit i; proc_raise i; sched_yield ; random_get ii; sock_accept iii; sock_recv iiiiii;
    sock_send iiiii; sock_shutdown ii";

#[test]
fn names_and_types_are_those_of_preview_1() {
    let specified: BTreeSet<(String, String)> = SPECIFIED
        .split(';')
        .map(|row| row.trim().split_once(' ').unwrap_or((row.trim(), "")))
        .map(|(name, params)| (name.to_owned(), params.to_owned()))
        .collect();
    let params = |types: &[ValType]| types.iter().map(|t| if *t == ValType::I64 { 'I' } else { 'i' }).collect();
    let table: BTreeSet<(String, String)> = FUNCTIONS.iter().map(|f| (f.name.to_owned(), params(f.params))).collect();
    assert_eq!(table, specified);
    assert_eq!(FUNCTIONS.len(), 46);
    for function in FUNCTIONS {
        assert_eq!(function.module, MODULE);
        let results: &[ValType] = if function.name == "proc_exit" { &[] } else { &[ValType::I32] };
        assert_eq!(function.results, results, "{}", function.name);
    }
}

#[test]
fn a_context_moves_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<WasiCtx>();
}

#[test]
fn denials_are_quiet_only_where_start_up_code_asks() {
    let quiet = ["args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "fd_prestat_get"];
    for function in FUNCTIONS {
        match function.denial {
            Denial::Quiet(_) => assert!(quiet.contains(&function.name), "{}", function.name),
            Denial::Code(code) => assert_eq!(code, Errno::NOTCAPABLE as u32, "{}", function.name),
            Denial::Trap => assert_eq!(function.name, "proc_exit"),
        }
        assert_eq!(function.actions.is_empty(), function.name == "proc_exit", "{}", function.name);
    }
}

#[test]
fn nothing_is_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let grants = ["stdio", "args", "clock", "random", &format!("fs.write={}::/d", dir.path().display())];
    for function in FUNCTIONS.iter().chain(UNSTABLE_FUNCTIONS).filter(|f| f.name != "proc_exit") {
        let mut guest = Guest::with(&grants);
        guest.ctx.set_stdin(aura_wasi::Input::Null);
        let errno = guest.call_of(function, &vec![0; function.params.len()]).expect("an answer");
        assert_ne!(errno, Errno::NOSYS, "{}.{}", function.module, function.name);
    }
}

/// What old binaries import: preview 1 as it was before `sock_accept`.
#[test]
fn the_unstable_interface_has_the_same_types() {
    let row = |f: &HostFn<WasiCtx>| (f.name, f.params, f.results, f.actions);
    let old: Vec<_> = UNSTABLE_FUNCTIONS.iter().map(row).collect();
    let new: Vec<_> = FUNCTIONS.iter().map(row).filter(|row| row.0 != "sock_accept").collect();
    assert_eq!(old, new);
    assert!(UNSTABLE_FUNCTIONS.iter().all(|f| f.module == UNSTABLE_MODULE));
}
