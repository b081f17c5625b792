//! Policies and audit logs on the command line, and what a program sees without either.

mod common;

use common::Folder;

/// Prints through standard output, 3 bytes a call, six times, and draws a random byte between.
const PRINTS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\03\00\00\00") (data (i32.const 16) "hi\n")
    (func (export "_start") (local i32)
        (loop $l
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (drop (call $random (i32.const 64) (i32.const 1)))
            (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 6))))))"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("p.wat", PRINTS);
    folder
}

#[test]
fn a_policy_grants_and_bounds() {
    let folder = folder();
    folder.write("all.toml", "subject = \"p\"\ngrants = [\"stdio.out\", \"random\"]");
    folder.aura(&["--policy", "all.toml", "p.wat"]).prints(&"hi\n".repeat(6));
    folder.write("few.toml", "grants = [\"random\"]\n[[grant]]\nallow = \"stdio.out\"\ncalls = 2");
    let few = folder.aura(&["--policy", "few.toml", "p.wat"]);
    assert_eq!((few.code, few.stdout.as_str()), (0, "hi\nhi\n"), "{few:#?}");
    folder.write("short.toml", "grants = [\"random\", \"stdio\"]\n[limits]\noutput = 7");
    let short = folder.aura(&["--policy", "short.toml", "p.wat"]);
    assert_eq!((short.code, short.stdout.as_str()), (0, "hi\nhi\nh"), "{short:#?}");
    folder.write("bytes.toml", "grants = [\"random\"]\n[[grant]]\nallow = \"stdio\"\nbytes = 4");
    let bytes = folder.aura(&["--policy", "bytes.toml", "p.wat"]);
    assert_eq!((bytes.code, bytes.stdout.as_str()), (0, "hi\nh"), "{bytes:#?}");
    folder.write("other.toml", "subject = \"other.wasm\"\ngrants = [\"stdio\"]");
    folder.aura(&["--policy", "other.toml", "p.wat"]).fails(1, &["the policy is for another module", "sha256:"]);
    folder.write("fuel.toml", "[limits]\nfuel = 5");
    folder.aura(&["--policy", "fuel.toml", "--fuel", "1000000", "p.wat"]).fails(134, &["all fuel consumed"]);
}

#[test]
fn directories_of_a_policy_are_relative_to_it() {
    let folder = folder();
    folder
        .write("policies/data/f", "x")
        .write("policies/p.toml", "grants = [\"fs.read=data::/data\", \"stdio\", \"random\"]");
    folder.aura(&["--policy", "policies/p.toml", "p.wat"]).prints(&"hi\n".repeat(6));
    folder.write("policies/q.toml", "grants = [\"fs.read=nowhere\"]");
    folder.aura(&["--policy", "policies/q.toml", "p.wat"]).fails(2, &["cannot grant", "policies/nowhere"]);
}

#[test]
fn wrong_policies_are_refused_with_the_place() {
    let folder = folder();
    folder.write("p.toml", "grants = [\"stdio\"]\nalow = 1\n");
    for args in
        [&["--policy", "p.toml", "p.wat"][..], &["policy", "check", "p.toml"], &["policy", "diff", "p.toml", "p.toml"]]
    {
        folder.aura(args).fails(2, &["p.toml: line 2, column 1: unknown field `alow`", "2 | alow = 1", "help:"]);
    }
    folder.aura(&["policy", "check", "none.toml"]).fails(2, &["none.toml: cannot read the policy"]);
}

#[test]
fn check_says_what_a_policy_allows_and_what_is_odd() {
    let folder = folder();
    folder.write("p.toml", "grants = [\"stdio\", \"stdio.out\", \"fs.read=nowhere\"]\n[limits]\nmemory = \"1MiB\"");
    let check = folder.aura(&["policy", "check", "p.toml"]);
    assert_eq!(check.code, 0, "{check:#?}");
    for part in ["grants: 3", "may read standard input", "limits: 1", "memory"] {
        assert!(check.stdout.contains(part), "{part}: {check:#?}");
    }
    check.fails(0, &["stdio.out: stdio allows it already", "fs.read=nowhere: there is no such directory"]);
}

#[test]
fn diff_prints_reach_and_its_exit_code_says_whether_there_is_any() {
    let folder = folder();
    folder.write("a.toml", "grants = [\"stdio\", \"clock\"]").write("b.toml", "grants = [\"stdio\", \"random\"]");
    folder.aura(&["policy", "diff", "a.toml", "a.toml"]).prints("");
    let differs = folder.aura(&["policy", "diff", "a.toml", "b.toml"]);
    assert_eq!((differs.code, differs.stdout.as_str()), (1, "- clock\n+ random\n"));
}

#[test]
fn an_audit_is_whole_and_a_change_is_found() {
    let folder = folder();
    let ran = folder.aura(&["--grant", "stdio", "--audit", "log.jsonl", "p.wat"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hi\n".repeat(6).as_str()), "{ran:#?}");
    let head = ran.stderr.lines().find_map(|line| line.strip_prefix("audit: digest ")).expect("a digest").to_owned();
    let whole = folder.aura(&["audit", "verify", "log.jsonl", "--head", &head]);
    assert_eq!(whole.code, 0, "{whole:#?}");
    assert!(whole.stdout.contains("12 uses of grants by p.wat, 6 of them denied"), "{whole:#?}");
    folder.aura(&["--grant", "stdio", "--audit", "log.jsonl", "p.wat"]).fails(1, &["begin audit log", "log.jsonl"]);
    let text = std::fs::read_to_string(folder.path().join("log.jsonl")).expect("the log");
    folder.write("changed.jsonl", text.replacen("allowed", "denied", 1));
    folder.aura(&["audit", "verify", "changed.jsonl"]).fails(1, &["not whole", "line 2", "hash does not fit"]);
    let cut = text.lines().count() - 1;
    folder.write("cut.jsonl", text.split_inclusive('\n').take(cut).collect::<String>());
    folder.aura(&["audit", "verify", "cut.jsonl"]).fails(1, &["cut off"]);
    let other = folder.aura(&["--audit", "other.jsonl", "p.wat"]);
    assert_eq!(other.code, 0, "{other:#?}");
    folder.aura(&["audit", "verify", "other.jsonl", "--head", &head]).fails(1, &["another one"]);
}

/// The transcript of a program that tries all there is: nothing that depends on the host.
#[test]
fn ghsa_4mq4_a_blind_program_shows_nothing_but_its_end() {
    let folder = Folder::new();
    let probe = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/guests/probe.wat");
    let transcript = |grants: &[&str]| {
        let args: Vec<_> = grants.iter().flat_map(|grant| ["--grant", grant]).chain([probe, "secret"]).collect();
        folder.aura(&args)
    };
    let blind = transcript(&["none"]);
    assert_eq!((blind.code, blind.stdout.as_str()), (0, ""), "{blind:#?}");
    assert!(blind.stderr.lines().all(|line| line.starts_with("denied: ")), "{blind:#?}");
    assert!(!blind.stderr.contains(&folder.path().display().to_string()), "{blind:#?}");
    assert_eq!(blind.stderr, transcript(&["none"]).stderr, "nothing differs from run to run");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "nothing was made");
    assert!(transcript(&["args", "random", "clock"]).code > 0, "the probe sees what is granted");
    transcript(&["none", "random"]).fails(2, &["`--grant none` stands alone"]);
}

/// Reads a clock by its number and exits with the error code.
fn clock_reader(id: u32) -> String {
    format!(
        r#"(module (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (call $time (i32.const {id}) (i64.const 0) (i32.const 8)))))"#
    )
}

#[test]
fn narrower_clocks_show_one_clock_each() {
    let folder = Folder::new();
    const NOTCAPABLE: i32 = 76;
    for (grant, allowed) in [("clock", vec![0, 1, 2, 3]), ("clock.realtime", vec![0]), ("clock.monotonic", vec![1])] {
        for id in 0..4 {
            folder.write("clock.wat", clock_reader(id));
            let ran = folder.aura(&["--grant", grant, "clock.wat"]);
            assert_eq!(ran.code, if allowed.contains(&id) { 0 } else { NOTCAPABLE }, "{grant} {id}: {ran:#?}");
        }
    }
    folder.write("clock.wat", clock_reader(0));
    folder.aura(&["--grant", "clock.monotonic", "clock.wat"]).fails(NOTCAPABLE, &["allowed by --grant clock.realtime"]);
}

#[test]
fn the_example_policies_are_policies_and_one_runs_its_program() {
    let folder = Folder::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    for policy in std::fs::read_dir(format!("{examples}/policies")).expect("the folder") {
        let path = policy.expect("an entry").path();
        let check = folder.aura(&["policy", "check", path.to_str().expect("Unicode")]);
        assert_eq!(check.code, 0, "{check:#?}");
        // Programs by package name are there only after `examples/real-programs/run.sh` fetched them.
        let fetched = |line: &str| line.contains("/third_party/") && line.ends_with("there is no such directory here");
        assert!(check.stderr.lines().all(fetched), "{check:#?}");
    }
    let policy = format!("{examples}/policies/loglens.toml");
    let program = format!("{examples}/guests/loglens.wasm");
    let expected = std::fs::read_to_string(format!("{examples}/guests/loglens.expected")).expect("what it prints");
    let ran = folder.aura(&["--policy", &policy, "--audit", "log", &program, "/data/access.log"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let (shown, expected) = (ran.stdout.lines().next_back(), expected.lines().next_back());
    assert_eq!(shown, expected, "{ran:#?}");
    assert_eq!(folder.aura(&["audit", "verify", "log"]).code, 0);
}
