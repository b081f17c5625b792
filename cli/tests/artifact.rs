//! `aura compile`, artifacts in `aura run`, and `aura cache`.

mod common;

use std::fs;

use common::Folder;

const PROGRAM: &str =
    r#"(module (func (export "twice") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))"#;

#[test]
fn an_artifact_runs_and_is_refused_once_it_was_changed() {
    let folder = Folder::new();
    folder.write("p.wat", PROGRAM);
    let made = folder.aura(&["compile", "p.wat"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stdout.starts_with("p.aura: "), "{made:?}");
    folder.aura(&["--invoke", "twice", "p.aura", "21"]).prints("42\n");
    let path = folder.path().join("p.aura");
    let bytes = fs::read(&path).expect("the artifact");
    for at in [8, 40, 120, 400] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("a changed artifact");
        folder.aura(&["--invoke", "twice", "p.aura", "21"]).fails(1, &["artifact", "p.aura", "changed"]);
    }
    fs::write(&path, &bytes[..100]).expect("a short artifact");
    folder.aura(&["--invoke", "twice", "p.aura", "21"]).fails(1, &["it is cut off", "aura compile"]);
}

#[test]
fn an_artifact_is_for_who_has_the_key() {
    let folder = Folder::new();
    folder.write("p.wat", PROGRAM);
    assert_eq!(
        folder.aura(&["compile", "--key", "mine.key", "-o", "x/../p.art", "p.wat"]).code,
        1,
        "there is no folder x"
    );
    assert_eq!(folder.aura(&["compile", "--key", "mine.key", "-o", "p.art", "p.wat"]).code, 0);
    folder.aura(&["--key", "mine.key", "--invoke", "twice", "p.art", "4"]).prints("8\n");
    folder.aura(&["--invoke", "twice", "p.art", "4"]).fails(1, &["not of this key"]);
    folder
        .aura(&["--key", "mine.key", "-W", "-simd", "--invoke", "twice", "p.art", "4"])
        .fails(1, &["other proposals"]);
}

#[test]
fn an_artifact_with_machine_code_runs_everywhere_and_says_where_the_code_is_left_aside() {
    let folder = Folder::new();
    folder.write("p.wat", PROGRAM);
    let made = folder.aura(&["compile", "--native", "p.wat"]);
    assert!(made.code == 0 && made.stdout.contains("machine code of all 1 functions"), "{made:?}");
    let run = |options: &[&str]| folder.aura(&[options, &["--invoke", "twice", "p.aura", "21"]].concat());
    for engine in ["auto", "jit", "interpreter"] {
        run(&["--engine", engine]).prints("42\n");
    }
    for options in [&["--fuel", "1000"][..], &["--bounds", "explicit"], &["--deterministic"]] {
        let ran = run(options);
        assert!(ran.stdout == "42\n" && ran.stderr.contains("other options"), "{options:?}: {ran:?}");
    }
    let made = folder.aura(&["compile", "--native", "--with-fuel", "--bounds", "explicit", "p.wat"]);
    assert_eq!(made.code, 0, "{made:?}");
    run(&["--fuel", "1000", "--bounds", "explicit"]).prints("42\n");
    assert!(run(&["--fuel", "1", "--bounds", "explicit"]).stderr.contains("fuel"));
    folder.aura(&["compile", "--bounds", "explicit", "p.wat"]).fails(2, &["--native"]);
    let path = folder.path().join("p.aura");
    let bytes = fs::read(&path).expect("the artifact");
    let mut changed = bytes.clone();
    // In the code of the only function, whose pieces are the last ones.
    changed[bytes.len() - 2 * (8192 + 16) + 20] ^= 1;
    fs::write(&path, changed).expect("a changed artifact");
    run(&["--fuel", "1000", "--bounds", "explicit"]).fails(134, &["artifact was changed"]);
}

#[test]
fn a_second_run_begins_with_what_was_hot() {
    let folder = Folder::new();
    let filler = "(drop (i64.mul (i64.const 123456789012345) (i64.const 3)))".repeat(6000);
    let program = format!(
        r#"(module (func $unused {filler})
            (func $step (param i32) (result i32) (i32.add (i32.mul (local.get 0) (i32.const 3)) (i32.const 1)))
            (func (export "run") (param i32) (result i32) (local i32)
                (loop (local.set 1 (call $step (local.get 1)))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1)))"#
    );
    folder.write("p.wat", program);
    let entries = || folder.aura(&["cache", "list"]).stdout.lines().filter(|line| line.contains(".aura ")).count();
    let run = || folder.aura(&["--invoke", "run", "p.wat", "30000000"]);
    let first = run();
    assert_eq!((first.code, entries()), (0, 2), "the module, and its machine code: {first:?}");
    (0..2).for_each(|_| run().prints(&first.stdout));
    folder.aura(&["--engine", "interpreter", "--invoke", "run", "p.wat", "30000000"]).prints(&first.stdout);
    assert_eq!(entries(), 2);
    folder.aura(&["--bounds", "explicit", "--invoke", "run", "p.wat", "30000000"]).prints(&first.stdout);
    assert_eq!(entries(), 3, "machine code with other bounds");
}

/// A program large enough to be kept.
fn large() -> String {
    let filler = "(drop (i64.mul (i64.const 123456789012345) (i64.const 3)))".repeat(6000);
    format!(r#"(module (func $unused {filler}) (func (export "one") (result i32) (i32.const 1)))"#)
}

#[test]
fn a_second_run_finds_the_module_in_the_cache() {
    let folder = Folder::new();
    folder.write("p.wat", large()).write("small.wat", PROGRAM);
    let count = |text: &str| text.lines().filter(|line| line.contains(".aura ")).count();
    folder.aura(&["--no-cache", "--invoke", "one", "p.wat"]).prints("1\n");
    folder.aura(&["--invoke", "twice", "small.wat", "1"]).prints("2\n");
    assert_eq!(count(&folder.aura(&["cache", "list"]).stdout), 0);
    for _ in 0..2 {
        folder.aura(&["--invoke", "one", "p.wat"]).prints("1\n");
        assert_eq!(count(&folder.aura(&["cache", "list"]).stdout), 1);
    }
    folder.aura(&["-W", "-simd", "--invoke", "one", "p.wat"]).prints("1\n");
    assert_eq!(count(&folder.aura(&["cache", "list"]).stdout), 2, "other options, another entry");
    // An entry that somebody spoilt is not believed, and made anew.
    let entries = folder.path().join(".cache/aura/artifacts");
    for entry in fs::read_dir(&entries).expect("the cache") {
        fs::write(entry.expect("an entry").path(), b"spoilt").expect("a spoilt entry");
    }
    folder.aura(&["--invoke", "one", "p.wat"]).prints("1\n");
    let whole = |entry: &fs::DirEntry| entry.metadata().expect("an entry").len() > 1000;
    assert_eq!(fs::read_dir(&entries).expect("the cache").flatten().filter(whole).count(), 1);
    assert!(folder.aura(&["cache", "clear"]).stdout.starts_with("removed 2 artifacts"));
    assert_eq!(count(&folder.aura(&["cache", "list"]).stdout), 0);
}

#[test]
fn a_run_may_validate_lazily() {
    let folder = Folder::new();
    folder.write(
        "p.wat",
        r#"(module (func (export "good") (result i32) (i32.const 1)) (func (export "bad") (result i32)))"#,
    );
    folder.aura(&["--invoke", "good", "p.wat"]).fails(1, &["invalid module"]);
    folder.aura(&["--lazy", "--invoke", "good", "p.wat"]).prints("1\n");
    let bad = folder.aura(&["--lazy", "--invoke", "bad", "p.wat"]);
    assert!(bad.code != 0 && bad.stderr.contains("type mismatch"), "{bad:?}");
}

#[test]
fn hostile_shapes_stay_within_their_limits() {
    let ran = Folder::new().aura(&["hostile", "--engine", "interpreter", "locals", "long-table", "broken"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in ["locals-everywhere", "long-table", "broken-names", "beyond: 0"] {
        assert!(ran.stdout.contains(part), "no {part:?} in {ran:?}");
    }
}

/// Shapes that once took the compiler many seconds.
#[test]
fn loops_in_loops_are_not_compiled_for_long() {
    let ran = Folder::new().aura(&["hostile", "--engine", "jit", "branches", "deep-loops"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// A program that counts its starts, in a global, in memory and in a table.
const STARTED: &str = r#"(module (memory (export "memory") 2) (global $count (mut i32) (i32.const 0)) (table 2 funcref)
    (elem declare func $seven)
    (func $seven (result i32) (i32.const 7))
    (func (export "init") (param i32)
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store (i32.const 100000) (local.get 0))
        (table.set (i32.const 1) (ref.func $seven)))
    (func (export "get") (result i32 i32 i32)
        (global.get $count) (i32.load (i32.const 100000)) (call_indirect (result i32) (i32.const 1))))"#;

#[test]
fn a_program_begins_where_it_was_captured() {
    let folder = Folder::new();
    folder.write("p.wat", STARTED);
    let made = folder.aura(&["snapshot", "--invoke", "init", "-o", "s.aura", "p.wat", "41"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stdout.starts_with("s.aura: "), "{made:?}");
    for engine in ["interpreter", "jit"] {
        folder.aura(&["--engine", engine, "--invoke", "get", "s.aura"]).prints("1\n41\n7\n");
    }
    folder.aura(&["--invoke", "get", "p.wat"]).fails(134, &["uninitialized element"]);
    // A snapshot of a snapshot.
    assert_eq!(folder.aura(&["snapshot", "--invoke", "init", "-o", "t.aura", "s.aura", "5"]).code, 0);
    // Options may follow the file; what follows `--` is the program's.
    assert_eq!(folder.aura(&["snapshot", "p.wat", "--invoke", "init", "-o", "u.aura", "--", "-5"]).code, 0);
    folder.aura(&["--invoke", "get", "t.aura"]).prints("2\n5\n7\n");
    folder.aura(&["snapshot", "p.wat"]).fails(2, &["--invoke"]);
    let path = folder.path().join("s.aura");
    let bytes = fs::read(&path).expect("the artifact");
    for at in [400, bytes.len() - 1, bytes.len() / 2] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("a changed artifact");
        folder.aura(&["--invoke", "get", "s.aura"]).fails(1, &["s.aura", "changed"]);
    }
}

/// A program that opens a file and keeps it open.
const OPENS: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 0) "p.wat")
    (func (export "init") (result i32)
        (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 0) (i64.const 2) (i64.const 0)
            (i32.const 0) (i32.const 16)))
    (func (export "nothing")))"#;

#[test]
fn what_cannot_be_captured_is_named() {
    let folder = Folder::new();
    folder.write("p.wat", OPENS);
    folder
        .aura(&["snapshot", "--grant", "fs.read=.", "--invoke", "init", "p.wat"])
        .fails(1, &["cannot capture: p.wat", "handle 4 (file) open"]);
    assert_eq!(folder.aura(&["snapshot", "--grant", "fs.read=.", "--invoke", "nothing", "p.wat"]).code, 0);
    folder.write(
        "q.wat",
        r#"(module (global $kept (mut anyref) (ref.null any)) (type $s (struct))
            (func (export "init") (global.set $kept (struct.new $s))))"#,
    );
    folder.aura(&["snapshot", "--invoke", "init", "q.wat"]).fails(1, &["q.wat", "objects"]);
}

#[test]
fn inspect_shows_what_an_artifact_holds_and_refuses_changed_ones() {
    let folder = Folder::new();
    folder.write("p.wat", PROGRAM);
    assert_eq!(folder.aura(&["compile", "p.wat"]).code, 0);
    let plain = folder.aura(&["inspect", "p.aura"]);
    let says = |ran: &common::Ran, what: &str| assert!(ran.code == 0 && ran.stdout.contains(what), "{what}: {ran:?}");
    for what in [
        "an artifact of a module",
        env!("CARGO_PKG_VERSION"),
        "1, 1 lowered\n",
        "charges nothing",
        "function [i32] -> [i32]",
        "proposals",
        "tail_call",
        "nesting: 10000",
    ] {
        says(&plain, what);
    }
    assert!(!plain.stdout.contains("machine code"), "{plain:?}");
    assert_eq!(folder.aura(&["compile", "--native", "--with-fuel", "--key", "mine.key", "p.wat"]).code, 0);
    let native = folder.aura(&["inspect", "--key", "mine.key", "p.aura"]);
    for what in ["1, 1 lowered, 1 with machine code", "charges fuel", "not as `aura run` has them", "processor"] {
        says(&native, what);
    }
    says(&folder.aura(&["inspect", "--key", "mine.key", "-W", "-simd", "p.aura"]), "other proposals");
    folder.aura(&["inspect", "p.aura"]).fails(1, &["not of this key", "--key"]);
    let path = folder.path().join("p.aura");
    let bytes = fs::read(&path).expect("the artifact");
    for at in [9, 500, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("a changed artifact");
        folder.aura(&["inspect", "--key", "mine.key", "p.aura"]).fails(1, &["p.aura", "changed"]);
    }
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("a short artifact");
    folder.aura(&["inspect", "--key", "mine.key", "p.aura"]).fails(1, &["cut off"]);
}
