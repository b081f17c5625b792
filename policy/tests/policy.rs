//! Policies: what they say, where they are wrong, and how far they reach.

use std::time::Duration;

use aura_policy::{Policy, Until, diff, digest};
use proptest::prelude::*;

const WHOLE: &str = r#"
subject = "tool.wasm"
grants = ["stdio", "fs.read=data::/data"]

[[grant]]
allow = "random"
bytes = "1MiB"
calls = 10

[[grant]]
allow = "net.connect=*.example.org:443"
until = 2026-12-31T23:59:59Z

[[grant]]
allow = "clock.monotonic"
until = "30s"
subject = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

[limits]
memory = "64MiB"
timeout = "1.5s"
fuel = 1000
handles = 16
call_bytes = 4096
output = "1MB"
"#;

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_policy_says_what_is_written() {
    let policy = policy(WHOLE);
    let shown: Vec<_> = policy.grants.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "stdio".to_owned(),
            "fs.read=data::/data".to_owned(),
            "random (at most 10 calls, at most 1 MiB)".to_owned(),
            "net.connect=*.example.org:443 (until 2026-12-31T23:59:59Z)".to_owned(),
            format!("clock.monotonic (until 30s after the start, for sha256:{} only)", "0".repeat(64)),
        ]
    );
    assert_eq!(policy.grants[4].until, Some(Until::After(Duration::from_secs(30))));
    let limits: Vec<_> = policy.limits.set().into_iter().map(|(name, text)| format!("{name} {text}")).collect();
    assert_eq!(
        limits,
        ["memory 64 MiB", "fuel 1000", "timeout 1500ms", "handles 16", "call_bytes 4 KiB", "output 976.6 KiB"]
    );
}

#[test]
fn a_subject_is_a_name_or_a_content() {
    let content = digest(b"module");
    assert_eq!(policy(WHOLE).grants_for("tool.wasm", &content).map(|grants| grants.len()), Some(4));
    assert_eq!(policy(WHOLE).grants_for("other.wasm", &content), None);
    let by_content = policy(&format!("subject = \"sha256:{content}\"\ngrants = [\"args\"]"));
    assert!(by_content.grants_for("any", &content).is_some());
    assert!(by_content.grants_for("any", &digest(b"changed")).is_none());
    assert!(policy("subject = \"tool\"").grants_for("tool.wat", &content).is_some());
    assert!(policy("").grants_for("any", &content).is_some_and(|grants| grants.is_empty()));
}

#[test]
fn every_fault_has_its_place() {
    for (text, line, column, expected) in [
        ("grants = [\"stdio\", \"fs.raed=x\"]", 1, 20, "unknown action"),
        ("\n\ngrant = 1", 3, 9, "invalid type"),
        ("allow = \"stdio\"", 1, 1, "unknown field `allow`"),
        ("[[grant]]\nallow = \"stdio\"\ncals = 3", 3, 1, "unknown field `cals`"),
        ("[[grant]]\ncalls = 3", 1, 1, "missing field `allow`"),
        ("[[grant]]\nallow = \"stdio\"\ncalls = -1", 3, 9, "no number"),
        ("[[grant]]\nallow = \"stdio\"\nbytes = \"1 MB\"", 3, 9, "no size"),
        ("[[grant]]\nallow = \"stdio\"\nuntil = \"soon\"", 3, 9, "no duration"),
        ("[[grant]]\nallow = \"stdio\"\nuntil = 2026-12-31T23:59:59", 3, 9, "no time with its zone"),
        ("[[grant]]\nallow = \"none\"", 2, 9, "grants nothing"),
        ("[limits]\nmemory = \"lots\"", 2, 10, "no size"),
        ("[limits]\ntimeout = 2", 2, 11, "no duration"),
        ("[limits]\nstack = \"1KiB\"", 2, 9, "64KiB to 1GiB"),
        ("[limits]\nmemroy = 3", 2, 1, "unknown field `memroy`"),
        ("subject = \"sha256:12\"", 1, 11, "64 hexadecimal digits"),
        ("grants = [\"stdio\"", 1, 18, ""),
        ("ä = 1", 1, 1, ""),
        ("grants = []\nallowed_hosts = [\"a b\"]", 2, 1, "neither a host"),
        ("config = { A = 3 }", 1, 1, "invalid type"),
        ("{ \"allowed_path\": {} }", 1, 16, "unknown field `allowed_path`"),
        ("{\n \"allowed_hosts\": [\"*.*\"] }", 2, 2, "neither a host"),
    ] {
        let error = Policy::parse(text).expect_err(text);
        assert_eq!(error.place, Some((line, column)), "{text}\n{error}");
        assert!(error.message.contains(expected), "{text}\n{error}");
        let shown = error.to_string();
        assert!(shown.contains(&format!("line {line}, column {column}: ")) && shown.ends_with('^'), "{shown}");
    }
}

#[test]
fn an_extism_manifest_is_a_policy() {
    let hash = digest(b"plug-in");
    let json = format!(
        r#"{{ "wasm": [{{ "path": "plugin.wasm", "hash": "{hash}" }}], "allowed_paths": {{ "ro:/a": "/in", "/b": "/out" }},
        "allowed_hosts": ["*.example.org"], "timeout_ms": 500, "memory": {{ "max_pages": 16 }}, "config": {{ "K": "v" }} }}"#
    );
    let toml = format!(
        "allowed_hosts = [\"*.example.org\"]\ntimeout_ms = 500\n[[wasm]]\nhash = \"{hash}\"\n\
         [allowed_paths]\n\"ro:/a\" = \"/in\"\n\"/b\" = \"/out\"\n[memory]\nmax_pages = 16\n[config]\nK = \"v\""
    );
    for text in [json, toml] {
        let policy = policy(&text);
        let shown: Vec<_> = policy.grants.iter().map(ToString::to_string).collect();
        let expected = [
            "fs.write=/b::/out",
            "fs.read=/a::/in",
            "net.connect=*.example.org:*",
            "net.resolve=*.example.org",
            "env=K=v",
        ];
        assert_eq!(shown, expected, "{text}");
        assert_eq!(policy.limits.timeout, Some(Duration::from_millis(500)));
        assert_eq!(policy.limits.memory, Some(1 << 20));
        assert!(
            policy.grants_for("renamed.wasm", &hash).is_some()
                && policy.grants_for("plugin.wasm", &digest(b"")).is_none()
        );
    }
}

/// Lines of a difference.
fn changes(old: &str, new: &str) -> Vec<String> {
    diff(&policy(old), &policy(new)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_difference_is_one_of_reach_and_not_of_text() {
    let none: [&str; 0] = [];
    assert_eq!(changes(WHOLE, WHOLE), none);
    assert_eq!(changes("grants = [\"stdio\", \"args\"]", "grants = [\"args\", \"stdio\", \"stdio.out\"]"), none);
    assert_eq!(changes("grants = [\"clock\"]", "grants = [\"clock.monotonic\"]"), ["- clock"]);
    assert_eq!(
        changes("grants = [\"fs.read=/d\", \"args\"]", "grants = [\"fs.write=/d\", \"net.connect=h:80\"]"),
        ["- args", "+ fs.write=/d", "+ net.connect=h:80"]
    );
    let bounded = |calls: u64| format!("[[grant]]\nallow = \"random\"\ncalls = {calls}");
    assert_eq!(changes(&bounded(5), &bounded(3)), ["- random (at most 5 calls)"]);
    assert_eq!(changes(&bounded(5), "grants = [\"random\"]"), ["+ random"]);
    assert_eq!(
        changes(
            "[limits]\nmemory = \"1MiB\"\ntimeout = \"2s\"",
            "[limits]\nmemory = \"2MiB\"\nfuel = 9\ntimeout = \"2s\""
        ),
        ["+ limit of memory: 2 MiB, was 1 MiB", "- limit of fuel: 9, was no limit"]
    );
    assert_eq!(changes("subject = \"a\"", ""), ["+ for every module"]);
    assert_eq!(changes("subject = \"a\"", "subject = \"b\""), ["- for a", "+ for b"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in the file, the answer is a policy or a fault with a place in the text.
    #[test]
    fn damaged_policies_are_faults_with_a_place(at in 0..WHOLE.len(), len in 0_usize..20, with in "\\PC{0,6}") {
        let end = (at + len).min(WHOLE.len());
        let text = format!("{}{with}{}", &WHOLE[..at], &WHOLE[end..]);
        if let Err(error) = Policy::parse(&text) {
            let (line, column) = error.place.expect("a place");
            let lines: Vec<_> = text.split('\n').collect();
            prop_assert!(line >= 1 && line <= lines.len() && column >= 1, "{error}");
            prop_assert!(column <= lines[line - 1].chars().count() + 1, "{error}");
        }
    }
}
