//! `aura wast`: test scripts on the engines that were chosen.
//!
//! Results go to standard output, progress to standard error if it is a terminal. Every directive
//! has passed or failed; the exit code is 1 if one failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aura_runtime::{Bounds, Strategy};
use aura_spec_tests::bundled::{self, BundledSet};
use aura_spec_tests::conformance::{self, Conformance};
use aura_spec_tests::suite::scripts_below;
use aura_spec_tests::{Edition, FileOutcome, Mode, ScriptSource, Suite, Tally};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::{BoundsModesArg, EnginesArg, WastArgs};
use crate::layout::printable;
use crate::report::{Failure, print};

/// How many different reasons are shown for a file that fails; `--json` has all.
const REASONS_MAX: usize = 10;
/// How many lines are shown for a reason.
const LINES_MAX: usize = 20;
/// How much is shown of a reason.
const REASON_CHARS_MAX: usize = 400;

/// What `--json` writes.
#[derive(Serialize)]
struct Report {
    modes: Vec<ModeReport>,
}

#[derive(Serialize)]
struct ModeReport {
    /// The engine and the kind of bounds checks, such as `jit/guard`.
    mode: String,
    #[serde(flatten)]
    tally: Tally,
    files: Vec<FileOutcome>,
}

impl ModeReport {
    fn new((mode, files): (Mode, Vec<FileOutcome>)) -> Self {
        let mut tally = Tally::default();
        files.iter().for_each(|file| tally.add(file.tally()));
        Self { mode: mode.to_string(), tally, files }
    }
}

/// Runs scripts.
///
/// # Errors
/// If a path cannot be read, nothing is to run, or the report cannot be written.
pub(crate) fn wast(args: &WastArgs) -> Result<ExitCode, Failure> {
    let mut suite = Suite::new(scripts(args)?);
    suite.time_limit(args.timeout);
    let modes = modes(args);
    let bar = progress(suite.scripts().len() * modes.len());
    let mut outcomes = Vec::new();
    for mode in modes {
        bar.set_prefix(mode.to_string());
        outcomes.push((mode, suite.run(mode, |_| bar.inc(1))));
    }
    bar.finish_and_clear();
    if let Some(path) = &args.table {
        write_table(path, &Conformance::new(&outcomes))?;
    }
    let report = Report { modes: outcomes.into_iter().map(ModeReport::new).collect() };
    // Standard output is for the JSON text or the table alone if that goes there.
    let to_output = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if !to_output(&args.json) && !to_output(&args.table) {
        print(&summary(&report))?;
    }
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    let failed = report.modes.iter().any(|mode| mode.tally.failed > 0);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn scripts(args: &WastArgs) -> Result<Vec<ScriptSource>, Failure> {
    if args.bundled {
        return Ok(bundled::sets().iter().flat_map(BundledSet::scripts).collect());
    }
    let edition = args.spec.map(Edition::Version);
    let mut scripts = Vec::new();
    for path in &args.paths {
        let found = scripts_below(path).map_err(|e| {
            Failure::io("read scripts", path, &e).help("PATH is a .wast file, or a folder with such files")
        })?;
        if found.is_empty() {
            return Err(Failure::new(format!("no scripts: {}: no .wast file is in it", path.display()))
                .help("PATH is a .wast file, or a folder with such files"));
        }
        scripts.extend(found.iter().map(|path| ScriptSource::read(path, edition)));
    }
    Ok(scripts)
}

fn modes(args: &WastArgs) -> Vec<Mode> {
    let engines: &[Strategy] = match args.engine {
        EnginesArg::Interpreter => &[Strategy::Interpreter],
        EnginesArg::Jit => &[Strategy::Jit],
        EnginesArg::Auto => &[Strategy::Auto],
        EnginesArg::All => &[Strategy::Interpreter, Strategy::Jit, Strategy::Auto],
    };
    let bounds: &[Bounds] = match args.bounds {
        BoundsModesArg::Guard => &[Bounds::Guard],
        BoundsModesArg::Explicit => &[Bounds::Explicit],
        BoundsModesArg::All => &[Bounds::Guard, Bounds::Explicit],
    };
    engines.iter().flat_map(|e| bounds.iter().map(|b| Mode::new(*e, *b))).collect()
}

/// A progress bar on standard error; it draws nothing unless that is a terminal.
fn progress(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    let style = ProgressStyle::with_template("{prefix:>20} {wide_bar} {pos}/{len} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn summary(report: &Report) -> String {
    let mut text = String::new();
    for mode in &report.modes {
        for file in mode.files.iter().filter(|file| file.tally().failed > 0) {
            text.push_str(&format!("{}: {}\n", mode.mode, file_line(file)));
        }
    }
    for mode in &report.modes {
        text.push_str(&format!("{}: {}\n", mode.mode, mode.tally));
    }
    text
}

/// A file that fails on one line: the lines of its directives, grouped by reason.
fn file_line(file: &FileOutcome) -> String {
    let mut reasons: Vec<(String, Vec<usize>)> = Vec::new();
    for directive in file.failures() {
        let reason = format!("{}: {}", directive.kind, directive.failure.as_deref().unwrap_or_default());
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, lines)) => lines.push(directive.line),
            None => reasons.push((reason, vec![directive.line])),
        }
    }
    let shown = reasons.iter().take(REASONS_MAX).map(|(reason, lines)| {
        let reason: String = reason.lines().collect::<Vec<_>>().join(" ").chars().take(REASON_CHARS_MAX).collect();
        format!("{}: {}", lines_text(lines), printable(&reason))
    });
    let mut parts: Vec<_> = shown.collect();
    if reasons.len() > REASONS_MAX {
        parts.push(format!("and {} more reasons (--json has all)", reasons.len() - REASONS_MAX));
    }
    format!("{} ({}): {}: {}", file.name, file.edition, file.tally(), parts.join("; "))
}

fn lines_text(lines: &[usize]) -> String {
    let shown: Vec<_> = lines.iter().take(LINES_MAX).map(ToString::to_string).collect();
    let word = if lines.len() == 1 { "line" } else { "lines" };
    let more = lines.len().saturating_sub(LINES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{word} {}{more}", shown.join(", "))
}

fn write_json(path: &Path, report: &Report) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(report).map_err(|e| Failure::new(format!("cannot make the report: {e}")))?;
    if path == Path::new("-") {
        return print(&(text + "\n"));
    }
    fs::write(path, text + "\n").map_err(|e| Failure::io("write report", path, &e))
}

fn write_table(path: &Path, table: &Conformance) -> Result<(), Failure> {
    let table = table.to_markdown();
    if path == Path::new("-") {
        return print(&table);
    }
    let document = fs::read_to_string(path).map_err(|e| Failure::io("read document", path, &e))?;
    let document = conformance::insert(&document, &table)
        .map_err(|e| Failure::new(format!("cannot write table: {}: {e}", path.display())))?;
    fs::write(path, document).map_err(|e| Failure::io("write table", path, &e))
}

#[cfg(test)]
mod tests {
    use aura_spec_tests::DirectiveOutcome;

    use super::*;

    #[test]
    fn failures_are_grouped_by_reason_on_one_line() {
        let directive = |line, failure: &str| DirectiveOutcome {
            line,
            kind: "assert_return",
            failure: (!failure.is_empty()).then(|| failure.to_owned()),
            gated: false,
        };
        let file = FileOutcome {
            name: "a.wast".into(),
            edition: "2.0".into(),
            directives: vec![directive(1, ""), directive(2, "no\nway"), directive(3, "other"), directive(5, "no\nway")],
        };
        assert_eq!(
            file_line(&file),
            "a.wast (2.0): 1 passed, 3 failed: lines 2, 5: assert_return: no way; line 3: assert_return: other"
        );
    }
}
