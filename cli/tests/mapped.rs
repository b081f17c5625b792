//! Files that lie in a program's memory, and streams through it.

mod common;

use std::fmt::Write as _;
use std::fs::File;
use std::process::{Command, Stdio};

use common::Folder;

const ENGINES: [&str; 3] = ["interpreter", "jit", "auto"];

/// Sums the bytes of a range; adds to each byte of one.
const SKILL: &str = r#"(module (memory (export "memory") 1)
    (func (export "sum") (param $at i32) (param $len i32) (param $start i64) (result i64)
        (loop $l
            (local.set $start (i64.add (local.get $start) (i64.load8_u (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $l (local.tee $len (i32.sub (local.get $len) (i32.const 1)))))
        (local.get $start))
    (func (export "add") (param $at i32) (param $len i32)
        (loop $l
            (i32.store8 (local.get $at) (i32.add (i32.load8_u (local.get $at)) (i32.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $l (local.tee $len (i32.sub (local.get $len) (i32.const 1))))))
    (func (export "beyond") (param $at i32) (param $len i32) (result i32)
        (i32.load8_u (i32.add (local.get $at) (i32.const 65536))))
    (func (export "both") (param i32 i32 i32 i32) (result i32)
        (i32.add (i32.load8_u (local.get 0)) (i32.load8_u (local.get 2)))))"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("s.wat", SKILL).write("f", "abcd".repeat(5000)).write("g", "AB");
    folder
}

#[test]
fn a_mapped_file_is_read_and_changed_in_place() {
    for engine in ENGINES {
        for bounds in ["guard", "explicit"] {
            let folder = folder();
            let run = |grants: &[&str], name, rest: &[&str]| {
                let grants = grants.iter().flat_map(|grant| ["--grant", grant]);
                let args = ["run", "--engine", engine, "--bounds", bounds].into_iter().chain(grants);
                let args: Vec<_> = args.chain(["--invoke", name, "s.wat"]).chain(rest.iter().copied()).collect();
                folder.aura(&args)
            };
            run(&["map.read=f"], "sum", &["1000"]).prints("1971000\n");
            run(&["map.write=g"], "add", &[]).prints("");
            assert_eq!(std::fs::read(folder.path().join("g")).expect("a file"), b"BC");
            run(&["map.read=f", "map.read=g"], "both", &[]).prints("163\n");
            run(&["map.read=g"], "add", &[]).fails(134, &["write to a read-only loan at address", "of `g`"]);
            assert_eq!(std::fs::read(folder.path().join("g")).expect("a file"), b"BC");
            run(&["map.read=g"], "beyond", &[]).fails(134, &["memory"]);
        }
    }
}

#[test]
fn what_cannot_be_mapped_is_told() {
    let folder = folder();
    folder
        .write("empty", "")
        .write("n.wat", "(module (func (export \"_start\")) (func (export \"f\") (param i32 i32)))");
    let fails = |args: &[&str], code, parts: &[&str]| folder.aura(args).fails(code, parts);
    fails(&["--grant", "map.read=none", "--invoke", "sum", "s.wat", "1"], 1, &["cannot open for mapping: none"]);
    fails(&["--grant", "map.read=empty", "--invoke", "sum", "s.wat", "1"], 1, &["cannot map: empty", "without bytes"]);
    fails(&["--grant", "map.read=.", "--invoke", "sum", "s.wat", "1"], 1, &["cannot map: .", "regular file"]);
    fails(&["--grant", "map.read=f", "--invoke", "sum", "s.wat"], 2, &["3 expected, 2 given"]);
    fails(&["--grant", "map.read=f", "n.wat"], 2, &["need --invoke"]);
    fails(&["--grant", "map.read=f", "--invoke", "f", "n.wat"], 1, &["exports no memory"]);
    fails(
        &["--max-memory", "64KiB", "--grant", "map.read=f", "--invoke", "sum", "s.wat", "1"],
        1,
        &["not enough room"],
    );
}

/// Runs `aura pipe` with a file as standard input.
fn pipe(folder: &Folder, input: &[u8], args: &[&str]) -> (i32, String, String) {
    folder.write("input", input);
    let output = Command::new(env!("CARGO_BIN_EXE_aura"))
        .arg("pipe")
        .args(args)
        .current_dir(folder.path())
        .stdin(Stdio::from(File::open(folder.path().join("input")).expect("just written")))
        .output()
        .expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

fn log() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/access.log")).expect("the example's log")
}

/// What `logscan` is to find, computed another way.
fn expected(log: &str) -> String {
    let (mut counts, mut slowest) = ([0; 3], Vec::new());
    for (number, line) in (1..).zip(log.lines()) {
        let words: Vec<_> = line.split(' ').collect();
        let severity = line.as_bytes().get(25).and_then(|byte| b"IWE".iter().position(|known| known == byte));
        let Some(severity) = severity else { continue };
        counts[severity] += 1;
        let duration = words.iter().rev().nth(1).and_then(|word| word.strip_suffix("ms")?.parse::<u32>().ok());
        slowest.extend(duration.map(|duration| (duration, number)));
    }
    slowest.sort_by_key(|(duration, number): &(u32, u64)| (std::cmp::Reverse(*duration), *number));
    let mut text = format!("lines {}\n", log.lines().count());
    for (name, count) in ["info", "warn", "error"].iter().zip(counts) {
        let _ = writeln!(text, "{name} {count}");
    }
    for (duration, number) in slowest.iter().take(5) {
        let _ = writeln!(text, "{duration}ms line {number}");
    }
    text
}

#[test]
fn a_log_of_many_windows_goes_through_a_skill() {
    let skill = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/guests/logscan.wasm");
    let (folder, log) = (Folder::new(), log());
    let report = expected(&String::from_utf8_lossy(&log));
    for engine in ENGINES {
        assert_eq!(
            pipe(&folder, &log, &["--engine", engine, "--window", "64KiB", skill]),
            (0, report.clone(), String::new())
        );
    }
    let (code, out, _) = pipe(&folder, &log.repeat(20), &["--bounds", "explicit", "--window", "64KiB", skill]);
    assert_eq!((code, out.lines().next()), (0, Some(format!("lines {}", 20 * report_lines(&report)).as_str())));
    let (code, out, _) = pipe(&folder, b"", &[skill]);
    assert_eq!((code, out.as_str()), (0, "lines 0\ninfo 0\nwarn 0\nerror 0\n"));
    let linecount = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/guests/linecount.wasm");
    assert_eq!(pipe(&folder, &log, &[linecount]).1, format!("{}\n", report_lines(&report)));
}

fn report_lines(report: &str) -> u64 {
    report.lines().next().and_then(|line| line.strip_prefix("lines ")?.parse().ok()).expect("a number")
}

/// Copies its input to its output, as far as there is room.
const COPY: &str = r#"(module (memory (export "memory") 1)
    (func (export "aura_stream") (param $in i32) (param $len i32) (param i32) (param $out i32) (param $room i32) (result i64)
        (if (i32.gt_u (local.get $len) (local.get $room)) (then (local.set $len (local.get $room))))
        (memory.copy (local.get $out) (local.get $in) (local.get $len))
        (i64.or (i64.extend_i32_u (local.get $len)) (i64.shl (i64.extend_i32_u (local.get $len)) (i64.const 32)))))"#;

#[test]
fn a_stream_comes_out_as_it_went_in() {
    let (folder, input) = (Folder::new(), log().repeat(10));
    folder.write("copy.wat", COPY);
    for engine in ENGINES {
        let (code, out, err) = pipe(&folder, &input, &["--engine", engine, "--window", "64KiB", "copy.wat"]);
        assert!(out.as_bytes() == input, "{engine}: {} of {} bytes came out", out.len(), input.len());
        assert_eq!((code, err.as_str()), (0, ""));
    }
}

/// The C header: a program over it is loud.
#[test]
fn a_program_in_c_takes_a_stream() {
    let skill = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/guests/shout.wasm");
    let (folder, log) = (Folder::new(), log());
    let (code, out, err) = pipe(&folder, &log, &["--window", "64KiB", skill]);
    assert!(out.as_bytes() == log.to_ascii_uppercase(), "{} of {} bytes came out", out.len(), log.len());
    assert_eq!((code, err.as_str()), (0, ""));
    folder.write("g", "AB").write("out", [0; 8]);
    let args = ["--grant", "map.read=g", "--grant", "map.write=out", "--invoke", "sum", skill];
    folder.aura(&args).prints("8\n");
    assert_eq!(std::fs::read(folder.path().join("out")).expect("a file"), 131_u64.to_le_bytes());
}

#[test]
fn programs_that_are_no_pipes_are_told_why() {
    let folder = Folder::new();
    let stream = |body: &str| {
        format!(
            r#"(module (memory (export "memory") 1) (func (export "aura_stream") (param i32 i32 i32 i32 i32) (result i64) {body}))"#
        )
    };
    for (text, code, part) in [
        ("(module)".to_owned(), 1, "cannot stream through: m.wat"),
        (r#"(module (func (export "aura_stream") (param i32 i32 i32 i32 i32) (result i64) (i64.const 0)))"#.to_owned(), 1, "exports no memory"),
        (r#"(module (memory (export "memory") 1 1) (func (export "aura_stream") (param i32 i32 i32 i32 i32) (result i64) (i64.const 0)))"#.to_owned(), 1, "maximum"),
        (r#"(module (import "a" "b" (func)))"#.to_owned(), 1, "has no imports"),
        (stream("(i64.const 0)"), 1, "the program is stuck"),
        (stream("(i64.const -8)"), 1, "its error 7"),
        (stream("(i64.const 0x7fffffff)"), 1, "the program is wrong"),
        (stream("(i64.const 0x7fffffff00000000)"), 1, "the program is wrong"),
        (stream("(i32.store (local.get 0) (i32.const 1)) (i64.const 0)"), 134, "of `standard input`"),
        (stream("(loop $l (br $l)) (unreachable)"), 134, "interrupted"),
    ] {
        folder.write("m.wat", &text);
        let (exit, _, err) = pipe(&folder, &log(), &["--window", "64KiB", "--timeout", "2s", "m.wat"]);
        assert!(exit == code && err.contains(part), "{text}: {exit} {err}");
    }
}
