//! What a run of scripts found out: one outcome per directive, nothing summed away.
//!
//! Invariant: an outcome is a pass or a failure with a reason. The serialised form is what
//! `aura wast --json` writes.

use std::fmt;

use serde::Serialize;

/// How one directive of a script ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DirectiveOutcome {
    /// Line of the script, from 1.
    pub line: usize,
    /// The directive's keyword, such as `assert_return`.
    pub kind: &'static str,
    /// Why it failed; absent if it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Whether it failed because a module that the script needs uses a feature that is off.
    #[serde(skip)]
    pub gated: bool,
}

impl DirectiveOutcome {
    /// Whether the directive passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// How one script ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileOutcome {
    /// The script's name: a path, or `SET/FILE` for a bundled one.
    pub name: String,
    /// The features it ran with, in words.
    pub edition: String,
    pub directives: Vec<DirectiveOutcome>,
}

impl FileOutcome {
    /// An outcome for a script of which no directive could be run.
    #[must_use]
    pub fn unreadable(name: &str, edition: String, line: usize, reason: String) -> Self {
        let directives = vec![DirectiveOutcome { line, kind: "script", failure: Some(reason), gated: false }];
        Self { name: name.to_owned(), edition, directives }
    }

    /// How many directives passed and failed.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let passed = self.directives.iter().filter(|d| d.passed()).count();
        Tally { passed, failed: self.directives.len() - passed }
    }

    /// Whether a module that the script needs uses a feature that is off.
    #[must_use]
    pub fn is_gated(&self) -> bool {
        self.directives.iter().any(|d| d.gated)
    }

    /// The directives that failed, in order.
    pub fn failures(&self) -> impl Iterator<Item = &DirectiveOutcome> {
        self.directives.iter().filter(|d| !d.passed())
    }
}

/// Counts of directives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
}

impl Tally {
    /// Adds the counts of another tally.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_counts_every_directive() {
        let directive = |failure: Option<&str>| DirectiveOutcome {
            line: 1,
            kind: "assert_return",
            failure: failure.map(str::to_owned),
            gated: false,
        };
        let file = FileOutcome {
            name: "a.wast".into(),
            edition: "2.0".into(),
            directives: vec![directive(None), directive(Some("no")), directive(None)],
        };
        assert_eq!(file.tally(), Tally { passed: 2, failed: 1 });
        assert_eq!(file.tally().to_string(), "2 passed, 1 failed");
        assert_eq!(file.failures().count(), 1);
        let json = serde_json::to_value(&file).expect("outcomes serialise");
        assert_eq!(json["directives"][0].get("failure"), None);
        assert_eq!(json["directives"][1]["failure"], "no");
    }
}
