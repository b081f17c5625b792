//! `aura audit`: whether a log of the uses of grants is whole.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use aura_policy::{Digest, verify};

use crate::args::AuditCommand;
use crate::report::{Failure, print};

/// Runs a subcommand of `audit`.
///
/// # Errors
/// If the log is not whole.
pub(crate) fn audit(command: &AuditCommand) -> Result<ExitCode, Failure> {
    match command {
        AuditCommand::Verify { file, head } => check(file, head.as_ref()),
    }
}

fn check(file: &Path, head: Option<&Digest>) -> Result<ExitCode, Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::io("read audit log", file, &error))?;
    let path = file.display();
    let summary = verify(&text).map_err(|fault| {
        Failure::new(format!("the audit log is not whole: {path}: {fault}"))
            .help("lines before that one are as they were written; those from it on prove nothing")
    })?;
    if head.is_some_and(|head| *head != summary.head) {
        return Err(Failure::new(format!("the audit log is another one: {path}: its digest is {}", summary.head)));
    }
    print(&format!(
        "{path}: whole: {} uses of grants by {}, {} of them denied; they add up to the counters\ndigest: {}\n",
        summary.events, summary.module, summary.denials, summary.head
    ))?;
    Ok(ExitCode::SUCCESS)
}
