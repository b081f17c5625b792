//! `aura wast`, `aura inspect` and `aura dump`.

mod common;

use std::process::Command;

use common::{Folder, run_wat};

const GOOD: &str = r#"(module (func (export "f") (result i32) (i32.const 1)))
(assert_return (invoke "f") (i32.const 1))
(assert_invalid (module (func (result i32))) "type mismatch")
"#;

const BAD: &str = r#"(module (func (export "f") (result i32) (i32.const 1)))
(assert_return (invoke "f") (i32.const 2))
(assert_malformed (module quote "(func (i32.const))") "unexpected token")
(assert_return (invoke "f") (i32.const 3))
(assert_malformed (module binary "\00asm\01\00\00\00\01\04\01\60\00\00") "nothing is wrong")
"#;

#[test]
fn scripts_that_pass_are_counted_per_engine_and_bounds() {
    let folder = Folder::new();
    folder.write("good.wast", GOOD);
    folder.aura(&["wast", "--bounds", "all", "."]).prints(
        "interpreter/guard: 3 passed, 0 failed\ninterpreter/explicit: 3 passed, 0 failed\n\
         jit/guard: 3 passed, 0 failed\njit/explicit: 3 passed, 0 failed\n\
         auto/guard: 3 passed, 0 failed\nauto/explicit: 3 passed, 0 failed\n",
    );
}

#[test]
fn a_script_that_fails_gets_a_line_with_its_lines_and_reasons() {
    let folder = Folder::new();
    folder.write("a/good.wast", GOOD).write("b/bad.wast", BAD).write("b/ignored.txt", "x");
    let ran = folder.aura(&["wast", "--engine", "jit", "a", "b"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    for part in ["jit/guard: b/bad.wast (", "): 2 passed, 3 failed: line 2: assert_return: ", "line 4: ", "line 5: "] {
        assert!(lines[0].contains(part), "no {part:?} in {ran:?}");
    }
    assert_eq!(lines[1], "jit/guard: 5 passed, 3 failed");
}

#[test]
fn a_table_goes_between_the_marks_of_a_document() {
    let folder = Folder::new();
    let marks = |table: &str| format!("# Title\n<!-- conformance: begin -->\n{table}<!-- conformance: end -->\nend\n");
    folder.write("good/a.wast", GOOD).write("good/b.wast", GOOD).write("table.md", marks("old\n"));
    let ran = folder.aura(&["wast", "--engine", "all", "--bounds", "all", "--table", "table.md", "good"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let table = "\n| set | files | interpreter | JIT | auto |\n|---|--:|--:|--:|--:|\n| good | 2 | 6 | 6 | 6 |\n\n";
    let written = std::fs::read_to_string(folder.path().join("table.md")).expect("the document");
    assert_eq!(written, marks(table));
    folder.write("plain.md", "no marks");
    let ran = folder.aura(&["wast", "--engine", "jit", "--table", "plain.md", "good"]);
    assert!(ran.code != 0 && ran.stderr.contains("conformance: begin"), "{ran:?}");
}

#[test]
fn json_has_every_directive() {
    let folder = Folder::new();
    folder.write("bad.wast", BAD);
    let ran = folder.aura(&["wast", "--engine", "interpreter", "--json", "out.json", "bad.wast"]);
    assert_eq!(ran.code, 1);
    let text = std::fs::read_to_string(folder.path().join("out.json")).expect("the report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mode = &report["modes"][0];
    assert_eq!((&mode["mode"], &mode["passed"], &mode["failed"]), (&"interpreter/guard".into(), &2.into(), &3.into()));
    let directives = mode["files"][0]["directives"].as_array().expect("a list");
    assert_eq!(directives.len(), 5);
    assert_eq!((&directives[1]["line"], &directives[1]["kind"]), (&2.into(), &"assert_return".into()));
    assert!(directives[1]["failure"].is_string() && directives[0]["failure"].is_null());
}

#[test]
fn older_versions_refuse_what_newer_ones_have() {
    let folder = Folder::new();
    let simd = "(module (func (export \"f\") (result v128) (v128.const i64x2 1 2)))\n";
    let gated = "(assert_invalid (module (func (result i32 i32) (i32.const 1) (i32.const 2))) \"arity\")\n";
    folder.write("new.wast", simd).write("proposals/simd/s.wast", simd).write("old.wast", gated);
    assert_eq!(folder.aura(&["wast", "--engine", "jit", "new.wast"]).code, 0);
    assert_eq!(folder.aura(&["wast", "--engine", "jit", "proposals"]).code, 0);
    let ran = folder.aura(&["wast", "--engine", "jit", "--spec", "1.0", "new.wast"]);
    assert!(ran.code == 1 && ran.stdout.contains("simd"), "{ran:?}");
    assert_eq!(folder.aura(&["wast", "--engine", "jit", "--spec", "1.0", "old.wast"]).code, 0);
    assert_eq!(folder.aura(&["wast", "--engine", "jit", "--spec", "2.0", "old.wast"]).code, 1);
}

#[test]
fn a_script_that_cannot_be_read_or_does_not_end_has_failed() {
    let folder = Folder::new();
    folder.write("no.wast", "(assert_return").write("empty.wast", "");
    folder.write(
        "long.wast",
        "(module (func (export \"f\") (loop br 0)))\n(assert_return (invoke \"f\"))\n(assert_return (invoke \"f\"))\n",
    );
    let ran = folder.aura(&["wast", "--engine", "jit", "--timeout", "300ms", "."]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for part in ["no.wast", "not a script", "empty.wast", "long.wast (3.0): 1 passed, 2 failed", "time is over"] {
        assert!(ran.stdout.contains(part), "no {part:?} in {ran:?}");
    }
}

#[test]
fn inspect_names_the_grant_of_each_import() {
    let folder = Folder::new();
    folder.write(
        "m.wat",
        r#"(module $tool
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
            (import "env" "other" (func))
            (memory (export "memory") 1 4) (table 2 funcref) (data (i32.const 0) "abc")
            (func (export "_start")))"#,
    );
    let ran = folder.aura(&["inspect", "m.wat"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in [
        "a command",
        "tool",
        "imports: 3",
        "stdio",
        "random",
        "not provided by this command",
        "grants the module may ask for: ",
        "exports: 2",
        "function [] -> []",
        "64 KiB at the start, at most 256 KiB",
        "2 or more elements of funcref",
        "code",
    ] {
        assert!(ran.stdout.contains(part), "no {part:?} in {}", ran.stdout);
    }
    let none = run_wat("(module)", &["inspect"], &[]);
    assert!(none.stdout.contains("the module asks for nothing"), "{none:?}");
}

#[test]
fn every_stage_can_be_dumped() {
    let folder = Folder::new();
    folder.write(
        "m.wat",
        r#"(module (import "env" "host" (func)) (memory 1)
            (func $double (export "twice") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
            (func $other (result i32) (i32.const 5)))"#,
    );
    for stage in ["sections", "code", "clif", "asm", "vmctx"] {
        let ran = folder.aura(&["dump", "--stage", stage, "m.wat"]);
        assert!(ran.code == 0 && ran.stdout.lines().count() > 3, "{stage}: {ran:?}");
    }
    let one = |func: &str| folder.aura(&["dump", "--stage", "code", "--func", func, "m.wat"]);
    let by_index = one("1");
    assert_eq!(by_index.code, 0, "{by_index:?}");
    assert_eq!((by_index.stdout.clone(), by_index.stdout.clone()), (one("twice").stdout, one("double").stdout));
    assert_ne!(by_index.stdout, one("other").stdout);
    one("0").fails(2, &["function 0 is imported and has no body", "help: "]);
    one("9").fails(2, &["function 9 does not exist"]);
    one("none").fails(2, &["no such function: m.wat: `none`"]);
    folder.aura(&["dump", "--stage", "vmctx", "--func", "1", "m.wat"]).fails(2, &["--func is for"]);
}

#[test]
fn leakcheck_scans_instances_and_says_what_it_scanned() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("skill.wat");
    let text = r#"(module (import "host" "f" (func (result i32))) (memory 2 4) (table 4 9 funcref) (global (mut i64) (i64.const 3))
        (data (i32.const 9) "text") (data (i32.const 20000) "{}") (data "passive") (elem (i32.const 0) func $go)
        (func $go (export "go") (param i32) (i32.store (i32.const 70000) (i32.const 7)) (drop (memory.grow (i32.const 1))))
        (func (export "spin") (loop $l (br $l))) (func (export "trap") unreachable))"#;
    // A segment that costs more fuel to copy than a call may take: linking is charged to no instance.
    std::fs::write(&file, text.replace("{}", &"x".repeat(100_000))).expect("written");
    for engine in ["interpreter", "jit"] {
        let out = Command::new(env!("CARGO_BIN_EXE_aura"))
            .args(["leakcheck", "--rounds", "3000", "--engine", engine])
            .arg(&file)
            .output()
            .expect("aura runs");
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(
            out.status.success() && said.contains("3000 rounds, no leak: compared 393216000 bytes"),
            "{engine}: {said}"
        );
    }
}

/// L4: what the command writes about a module has no byte that depends on what memory held before: the system's allocator
/// fills memory with other bytes in each run, and the output is the same.
#[test]
fn l4_what_is_written_has_no_stale_memory() {
    let folder = Folder::new();
    let text = r#"(module (import "host" "f" (func (param v128) (result i32))) (memory 2 4) (table 4 9 funcref)
        (global (mut i64) (i64.const 3)) (data (i32.const 9) "text") (data "passive") (elem (i32.const 1) func 0 1)
        (tag (param i64)) (func (export "go") (param i32 f64) (result i32) (local i32 v128 i64)
            (if (result i32) (local.get 0) (then (call 0 (local.get 3))) (else (i32.load8_u (local.get 0)))))
        (func (param i32) (loop (br_if 0 (local.get 0)) (br_table 0 1 0 (local.get 0)))))"#;
    folder.write("m.wat", text);
    let stages: &[&[&str]] = &[
        &["dump", "--stage", "sections", "m.wat"],
        &["dump", "--stage", "code", "m.wat"],
        &["dump", "--stage", "clif", "m.wat"],
        &["dump", "--stage", "asm", "m.wat"],
        &["dump", "--stage", "vmctx", "m.wat"],
        &["inspect", "m.wat"],
        &["compile", "m.wat", "-o", "m.aura"],
    ];
    let run = |args: &[&str], fill: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_aura"))
            .args(args)
            .current_dir(folder.path())
            .env("MALLOC_PERTURB_", fill)
            .env("XDG_CACHE_HOME", folder.path().join(format!(".cache{fill}")))
            .output()
            .expect("aura runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        (output.stdout, std::fs::read(folder.path().join("m.aura")).ok())
    };
    for args in stages {
        let first = run(args, "85");
        for fill in ["170", "255"] {
            assert!(run(args, fill) == first, "{args:?} depends on what memory held");
        }
    }
}
