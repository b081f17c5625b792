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

#[cfg(test)]
mod tests {
    use super::*;

    fn trap(code: TrapCode, expected: &str) -> bool {
        check_trap(&Error::trap_code(code), expected).is_ok()
    }

    #[test]
    fn trap_messages_match_by_their_beginning() {
        assert!(trap(TrapCode::MemoryOutOfBounds, "out of bounds memory access"));
        assert!(trap(TrapCode::MemoryOutOfBounds, "out of bounds"));
        assert!(trap(TrapCode::UninitializedElement, "uninitialized element 7"));
        assert!(!trap(TrapCode::UninitializedElement, "uninitialized element seven"));
        assert!(!trap(TrapCode::MemoryOutOfBounds, "out of bounds table access"));
        assert!(!trap(TrapCode::Unreachable, "integer overflow"));
        assert!(check_trap(&Error::new(ErrorKind::Link, "unreachable"), "unreachable").is_err());
    }

    #[test]
    fn only_a_full_stack_is_exhaustion() {
        let exhausted = |code| check_exhaustion(&Error::trap_code(code), "call stack exhausted").is_ok();
        assert!(exhausted(TrapCode::StackOverflow));
        assert!(!exhausted(TrapCode::OutOfFuel) && !exhausted(TrapCode::Unreachable));
    }

    #[test]
    fn the_wrong_kind_of_refusal_does_not_count() {
        let right = |refusal: Refusal, kind| refusal.check(&Error::new(kind, "any wording"), "other words").is_ok();
        assert!(right(Refusal::Malformed, ErrorKind::Malformed) && !right(Refusal::Malformed, ErrorKind::Invalid));
        assert!(right(Refusal::Invalid, ErrorKind::Invalid) && !right(Refusal::Invalid, ErrorKind::Malformed));
        assert!(right(Refusal::Unlinkable, ErrorKind::Link) && !right(Refusal::Unlinkable, ErrorKind::Trap));
        for kind in [ErrorKind::Limit, ErrorKind::Resource, ErrorKind::Host] {
            assert!(!right(Refusal::Invalid, kind) && !right(Refusal::Unlinkable, kind));
        }
    }
}
