//! The audit log: one line of JSON for each use of a grant, chained by hashes.
//!
//! Each line ends with the SHA-256 of the line before it (its digest) and of its own text up to that
//! place. The first line names the module, the last one has the counters of all slots. Lines are
//! written one by one as the calls happen: what is not in the file did not happen, or the process ended first.
//!
//! A host that already collects events of [`tracing`] takes the lines there: [`AuditLog::traced`].

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aura_runtime::{AuditEvent, AuditSink, SlotReport, Store};
use serde_json::{Value, json};

use crate::hash::{Digest, chain};

/// Writes an audit log; [`AuditLog::sink`] is what a store tells.
#[derive(Clone, Debug)]
pub struct AuditLog {
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug)]
struct Lines {
    out: Box<dyn Out>,
    sequence: u64,
    last: Digest,
}

trait Out: Write + Send + std::fmt::Debug {}
impl<W: Write + Send + std::fmt::Debug> Out for W {}

/// Hands each line on as an event of `tracing`.
#[derive(Debug)]
struct Traced;

impl Write for Traced {
    /// Takes one line, as [`Lines::put`] writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        tracing::info!(target: AuditLog::TRACING_TARGET, "{}", text.trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What precedes the digest in a line.
pub(crate) const BEFORE_HASH: &str = ",\"hash\":\"";
/// What follows it.
pub(crate) const AFTER_HASH: &str = "\"}";

impl Lines {
    /// Appends an object as a line. `fields` is never empty.
    #[expect(clippy::disallowed_methods, reason = "the log has the time")]
    fn put(&mut self, kind: &str, fields: &Value) -> io::Result<()> {
        let micros = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let fields = fields.to_string();
        let fields =
            fields.strip_prefix('{').and_then(|text| text.strip_suffix('}')).expect("an object prints in braces");
        let text = format!(r#"{{"seq":{},"time_us":{micros},"kind":"{kind}",{fields}"#, self.sequence);
        let hash = chain(&[&self.last.0, text.as_bytes()]);
        self.out.write_all(format!("{text}{BEFORE_HASH}{hash}{AFTER_HASH}\n").as_bytes())?;
        self.sequence += 1;
        self.last = hash;
        Ok(())
    }
}

impl AuditLog {
    /// The target of the events that [`AuditLog::traced`] makes; a filter such as `aura::audit=info` chooses them.
    pub const TRACING_TARGET: &str = "aura::audit";

    /// Begins a log whose lines are events of `tracing`: level `INFO`, target [`AuditLog::TRACING_TARGET`], the
    /// message is the line. Whoever writes the messages one below the other has a log that [`crate::verify`] proves;
    /// a subscriber that drops some has one that it refuses.
    ///
    /// # Errors
    /// None: what the subscriber does with an event is not told.
    pub fn traced(module: &str, content: &Digest) -> io::Result<Self> {
        Self::begin(Traced, module, content)
    }

    /// Begins a log in a file that does not exist yet, for a module of this name and content.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    #[allow(clippy::disallowed_methods, reason = "writing the log is what the embedder asks for")]
    pub fn create(path: &Path, module: &str, content: &Digest) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).open(path)?;
        Self::begin(file, module, content)
    }

    /// Begins a log in a writer.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(
        out: impl Write + Send + std::fmt::Debug + 'static,
        module: &str,
        content: &Digest,
    ) -> io::Result<Self> {
        let mut lines = Lines { out: Box::new(out), sequence: 0, last: Digest::default() };
        lines.put("begin", &json!({ "version": 1, "module": module, "sha256": content.to_string() }))?;
        Ok(Self { lines: Arc::new(Mutex::new(lines)) })
    }

    /// What a store tells of each use: `store.set_audit(Some(log.sink()))`.
    #[must_use]
    pub fn sink(&self) -> Box<dyn AuditSink> {
        Box::new(self.clone())
    }

    /// Ends the log with the counters of the store; returns the digest of the last line, which stands for the whole
    /// log: whoever keeps it elsewhere notices a log that was replaced.
    ///
    /// # Errors
    /// If the last line cannot be written.
    pub fn finish<T>(&self, store: &Store<T>) -> io::Result<Digest> {
        let slots: Vec<_> = store.slots().iter().map(slot).collect();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.put("end", &json!({ "slots": slots, "denials_without_slot": store.denials_without_slot() }))?;
        lines.out.flush()?;
        Ok(lines.last)
    }
}

fn slot(slot: &SlotReport) -> Value {
    json!({
        "slot": slot.slot,
        "grant": slot.spec.to_string(),
        "state": format!("{:?}", slot.state).to_lowercase(),
        "uses": slot.uses,
        "denials": slot.denials,
        "bytes": slot.bytes,
    })
}

impl AuditSink for AuditLog {
    fn record(&mut self, event: &AuditEvent<'_>) -> io::Result<()> {
        let actions: Vec<_> = event.actions.iter().map(|action| action.name()).collect();
        let (action, resource) = match event.spec {
            Some(spec) => (spec.action.name().to_owned(), spec.resource.to_string()),
            None => (actions.join("|"), String::new()),
        };
        let fields = json!({
            "instance": event.instance,
            "slot": event.slot,
            "action": action,
            "resource": resource.trim_start_matches(['=', ':']),
            "function": format!("{}.{}", event.function.0, event.function.1),
            "outcome": event.outcome.name(),
            "bytes": event.bytes,
        });
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).put("use", &fields)
    }
}
