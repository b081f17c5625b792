//! `aura run`: exit codes, traps, limits, grants and denials.

mod common;

use std::time::{Duration, Instant};

use common::{Folder, run_wat};

const ENGINES: [&str; 3] = ["interpreter", "jit", "auto"];

/// Writes `hello` and a line feed to standard output, exits with the error it was answered.
const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 8) "\10\00\00\00\06\00\00\00hello\0a")
    (func (export "_start")
        (call $exit (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"#;

/// WASI's error `notcapable`.
const NOTCAPABLE: i32 = 76;

#[test]
fn a_granted_program_prints_and_an_ungranted_one_is_told_the_grant() {
    for engine in ENGINES {
        let granted = run_wat(HELLO, &["--engine", engine, "--grant", "stdio"], &[]);
        granted.prints("hello\n");
        assert_eq!(granted.stderr, "");
        let blind = run_wat(HELLO, &["--engine", engine], &[]);
        blind.fails(NOTCAPABLE, &["denied: wasi_snapshot_preview1.fd_write: allowed by --grant stdio"]);
        assert_eq!((blind.stdout.as_str(), blind.stderr.lines().count()), ("", 1));
    }
}

#[test]
fn the_exit_code_is_the_programs() {
    for code in [0, 1, 7, 255] {
        let text = format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1)
                (func (export "_start") (call $exit (i32.const {code}))))"#
        );
        run_wat(&text, &[], &[]).fails(code, &[]);
    }
    run_wat("(module (func (export \"_start\")))", &[], &[]).prints("");
}

#[test]
fn a_trap_is_134_with_names_and_offsets() {
    let text = r#"(module
        (memory 1)
        (func $inner (param i32) (result i32) (i32.load (local.get 0)))
        (func $outer (export "_start") (drop (call $inner (i32.const 65536)))))"#;
    for engine in ENGINES {
        for bounds in ["guard", "explicit"] {
            let ran = run_wat(text, &["--engine", engine, "--bounds", bounds], &[]);
            ran.fails(134, &["error: trap: m.wat: out of bounds memory access", "inner", "outer"]);
        }
    }
}

/// The compiler folds the first load into the address of the second, for which it makes a new operator.
#[test]
fn a_load_that_was_folded_away_has_a_place() {
    let text = r#"(module (memory 1) (func (export "_start")
        (drop (v128.load16x4_s (i32.load8_u (i32.const -1868799178))))))"#;
    for engine in ["interpreter", "jit"] {
        run_wat(text, &["--engine", engine], &[]).fails(134, &["out of bounds memory access", " 0x"]);
    }
}

#[test]
fn a_trap_at_instantiation_is_134() {
    run_wat("(module (start $go) (func $go unreachable) (func (export \"_start\")))", &[], &[])
        .fails(134, &["error: trap: m.wat: unreachable", "go"]);
}

#[test]
fn recursion_without_end_is_134() {
    for engine in ENGINES {
        run_wat("(module (func $f (export \"_start\") (call $f)))", &["--engine", engine], &[])
            .fails(134, &["call stack exhausted"]);
    }
}

#[test]
fn invoked_functions_print_one_result_per_line() {
    let text = r#"(module
        (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "all") (param i64 f32 f64 externref) (result f64 f32 i64 externref)
            (local.get 2) (local.get 1) (local.get 0) (local.get 3)))"#;
    for engine in ENGINES {
        run_wat(text, &["--engine", engine, "--invoke", "add"], &["-2", "0x2a"]).prints("40\n");
        run_wat(text, &["--engine", engine, "--invoke", "all"], &["-1", "1.5", "-0", "null"])
            .prints("-0\n1.5\n-1\nnull\n");
    }
}

#[test]
fn a_reactor_is_initialized_before_a_call() {
    let text = r#"(module (global $g (mut i32) (i32.const 1))
        (func (export "_initialize") (global.set $g (i32.const 2)))
        (func (export "get") (result i32) (global.get $g)))"#;
    run_wat(text, &["--invoke", "get"], &[]).prints("2\n");
}

#[test]
fn an_endless_loop_ends_by_timeout_and_by_fuel() {
    for text in [
        "(module (func (export \"_start\") (loop br 0)))",
        "(module (func $f) (func (export \"_start\") (loop (call $f) br 0)))",
    ] {
        for engine in ENGINES {
            let started = Instant::now();
            let late = run_wat(text, &["--engine", engine, "--timeout", "200ms"], &[]);
            late.fails(134, &["error: trap: m.wat: interrupted", "help: the limit was set by --timeout"]);
            assert!(started.elapsed() < Duration::from_secs(20), "the deadline holds");
            let spent = run_wat(text, &["--engine", engine, "--fuel", "100000"], &[]);
            spent.fails(134, &["error: trap: m.wat: all fuel consumed", "help: the limit was set by --fuel"]);
        }
    }
}

#[test]
fn memory_grows_up_to_the_limit_and_no_further() {
    let text = r#"(module (memory 1) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    let flags = ["--max-memory", "1MiB", "--invoke", "grow"];
    run_wat(text, &flags, &["15"]).prints("1\n");
    run_wat(text, &flags, &["16"]).prints("-1\n");
    let large = "(module (memory 100) (func (export \"_start\")))";
    run_wat(large, &["--max-memory", "1MiB"], &[]).fails(1, &["m.wat", "help: --max-memory"]);
}

#[test]
fn arguments_that_the_program_may_not_see_are_mentioned() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "args_get" (func (param i32 i32) (result i32)))
        (memory (export "memory") 1) (func (export "_start")))"#;
    run_wat(text, &[], &["x"]).fails(0, &["denied: the arguments after FILE: allowed by --grant args"]);
    assert_eq!(run_wat(text, &["--grant", "args"], &["x"]).stderr, "");
    assert_eq!(run_wat(text, &[], &[]).stderr, "");
}

/// C programs look for directories when they start, and stop quietly where there is none.
#[test]
fn a_program_that_found_no_directory_and_failed_is_told_the_grant() {
    let ends_with = |code: u32| {
        format!(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_prestat_get" (func $look (param i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1)
                (func (export "_start") (drop (call $look (i32.const 3) (i32.const 0))) (call $exit (i32.const {code}))))"#
        )
    };
    let line = "denied: directories, which the program looked for: allowed by --grant fs.read=HOST[::GUEST] \
                or --grant fs.write=HOST[::GUEST]\n";
    for engine in ENGINES {
        let failed = run_wat(&ends_with(1), &["--engine", engine], &[]);
        assert_eq!((failed.code, failed.stderr.as_str()), (1, line), "{engine}");
        assert_eq!(run_wat(&ends_with(0), &["--engine", engine], &[]).stderr, "");
        assert_eq!(run_wat(&ends_with(1), &["--engine", engine, "--grant", "fs.read=."], &[]).stderr, "");
    }
}

#[test]
fn help_has_examples_and_version_has_a_number() {
    let folder = Folder::new();
    for args in [&["--help"][..], &["run", "--help"]] {
        let help = folder.aura(args);
        assert_eq!(help.code, 0);
        for part in ["Examples:", "aura --grant stdio", "fs.read=HOST[::GUEST]", "env=NAME[=VALUE]"] {
            assert!(help.stdout.contains(part), "no {part:?} in {}", help.stdout);
        }
    }
    assert!(folder.aura(&["--version"]).stdout.starts_with("aura 0."));
    assert!(folder.aura(&["completions", "bash"]).stdout.contains("aura"));
}

/// A port that is free now, the server of the WASI guests, and a client that tries until it listens.
#[test]
fn a_server_accepts_connections_at_the_granted_address() {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec-tests/wasi/guests/sockets.wasm");
    let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let grant = format!("net.listen={address}");
        Folder::new().aura(&["run", "--timeout", "20s", "--grant", &grant, "--grant", "stdio", guest])
    });
    let end = Instant::now() + Duration::from_secs(15);
    let mut peer = loop {
        match TcpStream::connect(address) {
            Ok(peer) => break peer,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    peer.write_all(b"first\nsecond\n").expect("sent");
    peer.shutdown(Shutdown::Write).expect("shut down");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "FIRST\nSECOND\n");
    server.join().expect("the server").prints("");
}

#[test]
fn proposals_are_switched_by_name() {
    let text = r#"(module (memory 3 (pagesize 1)) (func (export "f") (result i32) (memory.size)))"#;
    let flags = |feature: &'static str| ["--feature", feature, "--invoke", "f"];
    run_wat(text, &flags("custom-page-sizes"), &[]).prints("3\n");
    run_wat(text, &flags("custom-page-sizes=y"), &[]).prints("3\n");
    run_wat(text, &flags("-custom-page-sizes"), &[])
        .fails(1, &["error: unsupported module", "custom-page-sizes", "--feature NAME"]);
    run_wat(text, &flags("nothing"), &[]).fails(2, &["no proposal is named `nothing`", "custom-page-sizes"]);
    let vector = "(module (func (export \"f\") (param v128)))";
    run_wat(vector, &flags("-simd"), &[]).fails(1, &["unsupported module", "simd"]);
}

#[test]
fn a_deterministic_run_ends_where_every_engine_ends() {
    let text = r#"(module (global $depth (mut i32) (i32.const 0)) (memory 1)
        (func $down (global.set $depth (i32.add (global.get $depth) (i32.const 1))) (call $down))
        (func (export "f") (result f32) (f32.div (f32.const -0) (f32.const 0)))
        (func (export "g") (call $down)))"#;
    let values = ENGINES.map(|engine| {
        let ran = run_wat(text, &["--engine", engine, "--deterministic", "--invoke", "f"], &[]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        run_wat(text, &["--engine", engine, "--deterministic", "--invoke", "g"], &[])
            .fails(134, &["call stack exhausted"]);
        ran.stdout
    });
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
}
