//! Whether a refusal is of the kind that a script asserts.
//!
//! The wording of a refusal is the engine's own business; its kind is not. A module that a feature
//! gate refuses does not exist in the version of the specification that the script is written for;
//! whether that version calls it malformed or invalid depends on details of its grammar, so a
//! refusal by feature gate is right for either.

use aura_runtime::{Error, ErrorKind, TrapCode};

/// What a script says of a module that must not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    Invalid,
    Unlinkable,
}

impl Refusal {
    const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::Unlinkable => "unlinkable",
        }
    }

    const fn admits(self, kind: ErrorKind) -> bool {
        match self {
            Self::Malformed => matches!(kind, ErrorKind::Malformed | ErrorKind::Unsupported),
            Self::Invalid => matches!(kind, ErrorKind::Invalid | ErrorKind::Unsupported),
            Self::Unlinkable => matches!(kind, ErrorKind::Link),
        }
    }

    /// Checks that `error` is this refusal.
    ///
    /// # Errors
    /// What was refused instead, and why.
    pub fn check(self, error: &Error, expected: &str) -> Result<(), String> {
        if self.admits(error.kind()) {
            return Ok(());
        }
        let (word, kind) = (self.word(), error.kind());
        Err(format!("expected a module that is {word} ({expected}), but it was refused as {kind:?}: {error}"))
    }

    /// The failure of an assertion whose module was accepted.
    #[must_use]
    pub fn accepted(self, expected: &str) -> String {
        format!("expected a module that is {} ({expected}), but it was accepted", self.word())
    }
}

/// Checks that `error` is a trap with the message a script expects.
///
/// As in the reference interpreter, the expected message may be a beginning of the engine's. It may
/// also name the number of an element, which the engine does not report.
///
/// # Errors
/// What happened instead.
pub fn check_trap(error: &Error, expected: &str) -> Result<(), String> {
    let Some(trap) = error.trap() else {
        return Err(format!("expected the trap `{expected}`, got {:?}: {error}", error.kind()));
    };
    let message = trap.code().message();
    let begins = |message: &str| message.starts_with(expected);
    let numbered = |message: &str| {
        let rest = expected.strip_prefix(message).and_then(|rest| rest.strip_prefix(' '));
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    if begins(message) || numbered(message) {
        return Ok(());
    }
    Err(format!("expected the trap `{expected}`, got the trap `{message}`"))
}

/// Checks that `error` is the exhaustion of the call stack.
///
/// # Errors
/// What happened instead.
pub fn check_exhaustion(error: &Error, expected: &str) -> Result<(), String> {
    match error.trap() {
        Some(trap) if trap.code() == TrapCode::StackOverflow => check_trap(error, expected),
        _ => Err(format!("expected `{expected}`, got {error}")),
    }
}
