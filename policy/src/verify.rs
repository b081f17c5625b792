//! Proof that an audit log is whole: the chain holds and the lines add up to the counters.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::audit::{AFTER_HASH, BEFORE_HASH};
use crate::hash::{Digest, chain};

/// What a whole log says in sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSummary {
    /// The module whose calls were logged, and the digest of its content.
    pub module: String,
    pub sha256: String,
    /// Uses of grants, and those of them that were denied.
    pub events: u64,
    pub denials: u64,
    /// The digest of the last line.
    pub head: Digest,
}

/// Why a log proves nothing, and the line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFault {
    pub line: usize,
    pub message: String,
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for AuditFault {}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Begin { seq: u64, version: u64, module: String, sha256: String },
    Use { seq: u64, slot: Option<u32>, outcome: String, bytes: u64 },
    End { seq: u64, slots: Vec<Slot>, denials_without_slot: u64 },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Slot {
    slot: u32,
    uses: u64,
    denials: u64,
    bytes: u64,
}

/// What was added up of the lines.
#[derive(Default)]
struct Sum {
    head: Digest,
    begin: Option<(String, String)>,
    slots: BTreeMap<u32, Slot>,
    denials_without_slot: u64,
    events: u64,
    denials: u64,
    ended: bool,
}

/// Checks a log, given its text.
///
/// # Errors
/// If a line was changed, removed, added or moved, the log does not end as it should, or its lines do not add up to
/// the counters in its last one.
pub fn verify(text: &str) -> Result<AuditSummary, AuditFault> {
    let mut sum = Sum::default();
    let mut lines = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        lines = index + 1;
        sum.add(index as u64, line).map_err(|message| AuditFault { line: lines, message })?;
    }
    let fault = |message: &str| AuditFault { line: lines.max(1), message: message.to_owned() };
    if !sum.ended {
        return Err(fault(
            "the log does not end with the counters: it was cut off, or the program that wrote it was killed",
        ));
    }
    let (module, sha256) = sum.begin.ok_or_else(|| fault("the log does not name its module"))?;
    Ok(AuditSummary { module, sha256, events: sum.events, denials: sum.denials, head: sum.head })
}

impl Sum {
    fn add(&mut self, index: u64, line: &str) -> Result<(), String> {
        if self.ended {
            return Err("there is something after the end of the log".to_owned());
        }
        let line = line.strip_suffix('\n').ok_or("the line is cut off")?;
        let cut = line.strip_suffix(AFTER_HASH).and_then(|line| line.rsplit_once(BEFORE_HASH));
        let (content, hash) = cut.ok_or("the line does not end with its hash")?;
        let hash: Digest = hash.parse().map_err(str::to_owned)?;
        if chain(&[&self.head.0, content.as_bytes()]) != hash {
            return Err(
                "the hash does not fit: this line was changed, or one before it removed, added or moved".to_owned()
            );
        }
        self.head = hash;
        let parsed: Line = serde_json::from_str(line).map_err(|error| format!("no line of an audit log: {error}"))?;
        self.count(index, parsed)
    }

    fn count(&mut self, index: u64, line: Line) -> Result<(), String> {
        let (Line::Begin { seq, .. } | Line::Use { seq, .. } | Line::End { seq, .. }) = &line;
        if *seq != index {
            return Err(format!("the line has number {seq} and should have {index}"));
        }
        match line {
            Line::Begin { version: 1, module, sha256, .. } if index == 0 => self.begin = Some((module, sha256)),
            Line::Begin { version, .. } => return Err(format!("a log of version {version} does not begin here")),
            _ if index == 0 => return Err("the log does not begin with its module".to_owned()),
            Line::Use { slot, outcome, bytes, .. } => self.count_use(slot, &outcome, bytes)?,
            Line::End { slots, denials_without_slot, .. } => self.end(&slots, denials_without_slot)?,
        }
        Ok(())
    }

    fn count_use(&mut self, slot: Option<u32>, outcome: &str, bytes: u64) -> Result<(), String> {
        let denied = match outcome {
            "denied" => true,
            "allowed" | "failed" => false,
            other => return Err(format!("`{other}` is no outcome")),
        };
        self.events += 1;
        self.denials += u64::from(denied);
        match slot {
            Some(index) => {
                let slot = self.slots.entry(index).or_insert(Slot { slot: index, ..Slot::default() });
                slot.uses += u64::from(!denied);
                slot.denials += u64::from(denied);
                slot.bytes = slot.bytes.saturating_add(bytes);
            }
            None if denied => self.denials_without_slot += 1,
            None => return Err("a use without a grant is no use".to_owned()),
        }
        Ok(())
    }

    fn end(&mut self, slots: &[Slot], denials_without_slot: u64) -> Result<(), String> {
        for counted in slots {
            let logged = self.slots.remove(&counted.slot).unwrap_or(Slot { slot: counted.slot, ..Slot::default() });
            if logged != *counted {
                return Err(format!("slot {}: the log has {logged:?}, its counters say {counted:?}", counted.slot));
            }
        }
        if let Some(slot) = self.slots.keys().next() {
            return Err(format!("slot {slot} was used and has no counters"));
        }
        if denials_without_slot != self.denials_without_slot {
            let logged = self.denials_without_slot;
            return Err(format!("{logged} denials without a grant are logged, {denials_without_slot} were counted"));
        }
        self.ended = true;
        Ok(())
    }
}
