//! `aura policy`: what a policy allows, and what a new one would change.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use aura_policy::{Policy, PolicyGrant, diff};
use aura_runtime::{Action, Resource};

use crate::args::PolicyCommand;
use crate::layout::columns;
use crate::report::{Failure, print, say};

/// Runs a subcommand of `policy`.
///
/// # Errors
/// If a file is no policy.
pub(crate) fn policy(command: &PolicyCommand) -> Result<ExitCode, Failure> {
    match command {
        PolicyCommand::Check { file } => check(file),
        PolicyCommand::Diff { old, new } => compare(old, new),
    }
}

/// Reads a policy file.
///
/// # Errors
/// If it is none; the message has the place. As in `diff`, the exit code is then 2.
pub(crate) fn read(path: &Path) -> Result<Policy, Failure> {
    Policy::read(path).map_err(|error| {
        Failure::usage(format!("not a policy: {error}"))
            .help("a policy is TOML with the keys subject, grants, [[grant]] and [limits], or an Extism manifest; the README has one")
    })
}

fn check(file: &Path) -> Result<ExitCode, Failure> {
    let policy = read(file)?;
    let mut text = format!("{}: a policy\n", file.display());
    if !policy.subjects.is_empty() {
        let subjects: Vec<_> = policy.subjects.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "for modules: {}", subjects.join(", "));
    }
    if policy.grants.is_empty() {
        text += "grants: none; the program sees nothing\n";
    } else {
        let row = |grant: &PolicyGrant| vec![grant.to_string(), format!("may {}", grant.spec.action.describe())];
        let rows: Vec<_> = policy.grants.iter().map(row).collect();
        let _ = write!(text, "grants: {}\n{}", rows.len(), columns(&rows));
    }
    let limits = policy.limits.set();
    if limits.is_empty() {
        text += "limits: those of the command\n";
    } else {
        let rows: Vec<_> = limits.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        let _ = write!(text, "limits: {}\n{}", rows.len(), columns(&rows));
    }
    print(&text)?;
    for oddity in oddities(&policy) {
        say("warning", oddity);
    }
    Ok(ExitCode::SUCCESS)
}

/// What a policy says that can hardly be meant.
fn oddities(policy: &Policy) -> Vec<String> {
    let mut odd = Vec::new();
    for (index, grant) in policy.grants.iter().enumerate() {
        if let Resource::Directory { host, .. } = &grant.spec.resource
            && !host.is_dir()
        {
            odd.push(format!("{}: there is no such directory here", grant.spec));
        }
        if let Resource::File(file) = &grant.spec.resource
            && !file.is_file()
        {
            odd.push(format!("{}: there is no such file here", grant.spec));
        }
        if let Resource::Variable { name, value: None } = &grant.spec.resource
            && std::env::var_os(name).is_none()
        {
            odd.push(format!("{}: the variable is not set here", grant.spec));
        }
        if let Err(why) = grant.terms() {
            odd.push(format!("{}: {why}", grant.spec));
        }
        if grant.spec.action == Action::Call {
            odd.push(format!("{}: only programs that embed Aura have functions to call", grant.spec));
        }
        let wider = policy.grants.iter().enumerate().find(|(other, wide)| *other != index && wide.covers(grant));
        if let Some((_, wide)) = wider {
            odd.push(format!("{}: {} allows it already", grant.spec, wide.spec));
        }
    }
    odd
}

fn compare(old: &Path, new: &Path) -> Result<ExitCode, Failure> {
    let (old, new) = (read(old)?, read(new)?);
    let changes = diff(&old, &new);
    print(&changes.iter().map(|change| format!("{change}\n")).collect::<String>())?;
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
