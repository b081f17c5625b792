//! The one error type of the embedding API: what went wrong, in words, and as a kind to match on.

use std::any::Any;
use std::fmt;

use aura_host_abi::{HostError, TrapCode};

use crate::trap::Trap;

/// A result with the runtime's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. One word in size; `Display` is a readable report.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    trap: Option<Trap>,
    exit_code: Option<i32>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not a module.
    Malformed,
    /// The module breaks a validation rule.
    Invalid,
    /// The module uses a proposal that is switched off.
    Unsupported,
    /// The module passes a configured limit.
    Limit,
    /// An import is missing or has another type.
    Link,
    /// Guest code trapped.
    Trap,
    /// Guest code threw an exception that nothing caught; see [`crate::Store::take_pending_exception`].
    Exception,
    /// The program asked to end; see [`Error::exit_code`].
    Exit,
    /// A host function failed or panicked.
    Host,
    /// The API was used wrongly: arguments of other types, handles of another store.
    Usage,
    /// A file could not be read.
    Io,
    /// An artifact is not the user's own, not for this engine, or was changed.
    Artifact,
    /// The system or a configured limit refused memory, instances or another resource.
    Resource,
}

impl Error {
    /// An error of a kind, with its message.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), trap: None, exit_code: None, source: None }))
    }

    /// An error of a host function; it reaches the embedder unchanged (see [`Error::downcast_ref`]).
    #[must_use]
    pub fn host(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = error.into();
        let mut made = Self::new(ErrorKind::Host, source.to_string());
        made.0.source = Some(source);
        made
    }

    /// The program's own end with an exit code.
    #[must_use]
    pub fn exit(code: i32) -> Self {
        let mut made = Self::new(ErrorKind::Exit, format!("the program ended with exit code {code}"));
        made.0.exit_code = Some(code);
        made
    }

    /// A trap that a host function asks for.
    #[must_use]
    pub fn trap_code(code: TrapCode) -> Self {
        Trap::new(code).into()
    }

    /// An exception that is pending in a store.
    pub(crate) fn exception() -> Self {
        Self::new(ErrorKind::Exception, "guest code threw an exception that nothing caught")
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    pub(crate) fn link(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Link, message)
    }

    pub(crate) fn resource(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Resource, message)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn wrong_store(what: &str) -> Self {
        Self::usage(format!("{what} belongs to another store"))
    }

    /// What a panic of a host function becomes.
    pub(crate) fn panic(name: &str, payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a message");
        Self::new(ErrorKind::Host, format!("host function `{name}` panicked: {text}; its instance is poisoned"))
    }

    /// Attaches where guest code stood when the error passed through it.
    pub(crate) fn with_trap(mut self, trap: Trap) -> Self {
        self.0.trap = Some(trap);
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The trap, if guest code was stopped: its code and backtrace.
    #[must_use]
    pub fn trap(&self) -> Option<&Trap> {
        self.0.trap.as_ref()
    }

    /// The exit code, if the program asked to end.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.0.exit_code
    }

    /// The host function's own error, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.source.as_deref()?.downcast_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.trap, self.0.kind) {
            (Some(trap), ErrorKind::Trap) => trap.fmt(f),
            (Some(trap), ErrorKind::Host) => {
                f.write_str(&self.0.message)?;
                trap.fmt_frames(f)
            }
            _ => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}

impl From<Trap> for Error {
    fn from(trap: Trap) -> Self {
        let made = Self::new(ErrorKind::Trap, trap.code().message());
        made.with_trap(trap)
    }
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Exit(code) => Self::exit(code),
            HostError::Trap(code) => Self::trap_code(code),
            HostError::Failed(error) => Self::host(error),
        }
    }
}

impl From<aura_host_abi::OutOfBounds> for Error {
    /// A guest that passed a pointer outside of its memory traps as if it had followed it itself.
    fn from(_: aura_host_abi::OutOfBounds) -> Self {
        Self::trap_code(TrapCode::MemoryOutOfBounds)
    }
}

impl From<aura_validator::Error> for Error {
    fn from(error: aura_validator::Error) -> Self {
        use aura_validator::parse::ErrorKind as From;
        let kind = match error.kind() {
            From::Malformed => ErrorKind::Malformed,
            From::Invalid => ErrorKind::Invalid,
            From::Unsupported { .. } => ErrorKind::Unsupported,
            From::Limit { .. } => ErrorKind::Limit,
            From::Changed => ErrorKind::Artifact,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
