//! Audit logs: a whole one is proved, and no change to one goes unnoticed.

use std::io::Write;
use std::sync::{Arc, Mutex};

use aura_policy::{AuditLog, digest, verify};
use aura_runtime::{Caller, Engine, GrantSpec, Linker, Module, Store, Subject};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[derive(Clone, Debug, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Text {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

/// A log of four uses, two of them denied, of a grant and of none.
fn log() -> String {
    let text = Text::default();
    fill(&AuditLog::begin(text.clone(), "a\"b.wasm", &digest(b"module")).expect("writes"), &text);
    text.text()
}

/// Four uses, two of them denied; the log is whole, and ends in what `finish` said.
fn fill(log: &AuditLog, text: &Text) {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "h" "f" (func $f)) (import "h" "g" (func $g))
            (func (export "f") (call $f)) (func (export "g") (call $g)))"#,
    )
    .expect("valid");
    let mut linker: Linker<()> = Linker::new(&engine);
    linker.capability("h", "f", |caller: Caller<'_, ()>| caller.moved(3)).expect("new");
    linker.capability("h", "g", || ()).expect("new");
    let mut store = Store::new(&engine, ());
    store.set_audit(Some(log.sink()));
    let grant = store.grant(Subject::Store, GrantSpec::call("f")).expect("grants");
    let instance = linker.instantiate(&mut store, &module).expect("links");
    let mut call = |name: &str| {
        let func = instance.get_typed_func::<(), ()>(&store, name).expect(name);
        let _ = func.call(&mut store, ());
    };
    call("f");
    call("f");
    call("g");
    grant.revoke();
    call("f");
    let head = log.finish(&store).expect("writes");
    assert_eq!(verify(&text.text()).expect("whole").head, head);
}

/// Keeps the messages of the audit's events, one a line.
struct Collector(Text);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        assert_eq!(field.name(), "message");
        writeln!(self, "{value:?}").expect("memory");
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == AuditLog::TRACING_TARGET
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.0.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_log_that_goes_through_tracing_is_proved_like_one_in_a_file() {
    let text = Text::default();
    tracing::subscriber::with_default(Collector(text.clone()), || {
        fill(&AuditLog::traced("a\"b.wasm", &digest(b"module")).expect("no file"), &text);
    });
    assert_eq!(verify(&text.text()).expect("whole").events, 4);
}

#[test]
fn a_whole_log_is_proved_and_says_what_happened() {
    let text = log();
    let summary = verify(&text).expect("whole");
    assert_eq!((summary.module.as_str(), summary.events, summary.denials), ("a\"b.wasm", 4, 2));
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert_eq!(lines.len(), 6);
    let used = &lines[1];
    assert_eq!((used["action"].as_str(), used["resource"].as_str()), (Some("call"), Some("f")));
    assert_eq!(
        (used["outcome"].as_str(), used["bytes"].as_u64(), used["slot"].as_u64()),
        (Some("allowed"), Some(3), Some(0))
    );
    assert_eq!((lines[3]["outcome"].as_str(), lines[3]["slot"].as_u64()), (Some("denied"), None));
    assert_eq!(lines[5]["slots"][0]["bytes"].as_u64(), Some(6));
}

#[test]
fn audit_1a_no_line_can_be_removed_added_or_moved() {
    let text = log();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for index in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(index);
        assert!(verify(&without.concat()).is_err(), "without line {index}");
        let mut twice = lines.clone();
        twice.insert(index, lines[index]);
        assert!(verify(&twice.concat()).is_err(), "line {index} twice");
        let mut swapped = lines.clone();
        swapped.swap(index, (index + 1) % lines.len());
        assert!(verify(&swapped.concat()).is_err(), "line {index} moved");
        assert!(verify(&lines[..index].concat()).is_err(), "cut before line {index}");
    }
    assert!(verify("").is_err());
}

#[test]
fn audit_1a_no_byte_can_be_changed() {
    let text = log();
    for index in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[index] = if bytes[index] == b'1' { b'2' } else { b'1' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        let hex = changed.eq_ignore_ascii_case(&text);
        assert!(hex || verify(&changed).is_err(), "byte {index}");
    }
}
