//! The one style of every message: `error: what: where`, and `help: next step`.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use aura_runtime::Error;

use crate::layout::printable;

/// What the command exits with for a wrong command line.
const USAGE: u8 = 2;
/// What the command exits with for a trap of the program.
const TRAP: u8 = 134;

/// Why the command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    help: Option<String>,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), help: None }
    }

    /// A failure that lies in the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(message) }
    }

    /// A file that cannot be read or written.
    pub(crate) fn io(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("cannot {what}: {}: {error}", path.display()))
    }

    /// A trap of the program, with its backtrace; or a failure of the host inside it.
    pub(crate) fn trap(path: &Path, error: &Error) -> Self {
        let report = error.to_string();
        let report = report.strip_prefix("trap: ").unwrap_or(&report);
        Self { code: TRAP, ..Self::new(format!("trap: {}: {report}", path.display())) }
    }

    /// Says what to do next.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Prints the failure; gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        say("error", &self.message);
        if let Some(help) = &self.help {
            say("help", help);
        }
        ExitCode::from(self.code)
    }
}

/// Prints one message on standard error. A standard error that is gone cannot be told so.
///
/// Names that a guest chose are part of many messages: what would steer the terminal is escaped.
pub(crate) fn say(kind: &str, message: impl Display) {
    use std::io::Write;
    let message = message.to_string();
    let lines: Vec<_> = message.lines().map(printable).collect();
    let _ = writeln!(std::io::stderr(), "{kind}: {}", lines.join("\n"));
}

/// Prints on standard output, as far as somebody reads it.
///
/// # Errors
/// If standard output cannot be written for another reason than that its reader is gone.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write: standard output: {error}")))
        }
        _ => Ok(()),
    }
}
