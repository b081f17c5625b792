//! Many scripts in several modes of the engine, on all cores.
//!
//! Every script that was given gets an outcome in every mode, in the order given: what cannot be
//! read or run has failed.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aura_runtime::{Bounds, OptLevel, Strategy, Validation};

use crate::origin::Origin;
use crate::report::FileOutcome;
use crate::runner::{Options, Runner};
use crate::sets::{self, Edition};

/// A configuration of the engine that scripts run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mode {
    pub strategy: Strategy,
    pub bounds: Bounds,
    /// For [`Strategy::Auto`]: after how many entries a function is compiled, if not the default.
    pub tier_up_threshold: Option<u32>,
    /// After how many entries and passes cells of a function get machine code; never if none.
    pub baseline_threshold: Option<u32>,
    pub opt_level: OptLevel,
    /// Collect the heap before every object that is made.
    pub gc_stress: bool,
    /// When bodies are validated.
    pub validation: Validation,
    /// Where modules come from.
    pub origin: Origin,
}

impl Mode {
    /// A mode with the default threshold.
    #[must_use]
    pub const fn new(strategy: Strategy, bounds: Bounds) -> Self {
        Self {
            strategy,
            bounds,
            tier_up_threshold: None,
            baseline_threshold: None,
            opt_level: OptLevel::Speed,
            gc_stress: false,
            validation: Validation::Eager,
            origin: Origin::Bytes,
        }
    }

    /// All engines with all kinds of bounds checks.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let engines = [Strategy::Interpreter, Strategy::Jit, Strategy::Auto];
        let bounds = [Bounds::Guard, Bounds::Explicit];
        engines.into_iter().flat_map(|e| bounds.map(|b| Self::new(e, b))).collect()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = match self.strategy {
            Strategy::Interpreter => "interpreter",
            Strategy::Jit => "jit",
            Strategy::Auto => "auto",
        };
        let bounds = match self.bounds {
            Bounds::Guard => "guard",
            Bounds::Explicit => "explicit",
        };
        write!(f, "{engine}/{bounds}")?;
        if let Some(threshold) = self.baseline_threshold {
            write!(f, "/baseline {threshold}")?;
        }
        if self.opt_level == OptLevel::None {
            f.write_str("/none")?;
        }
        if self.validation == Validation::Lazy {
            f.write_str("/lazy")?;
        }
        if self.origin == Origin::Artifact {
            f.write_str("/artifact")?;
        }
        f.write_str(if self.gc_stress { "/stress" } else { "" })
    }
}

/// A script to run: its text, or why it cannot be read.
#[derive(Clone, Debug)]
pub struct ScriptSource {
    pub name: String,
    pub text: Result<String, String>,
    pub edition: Edition,
}

impl ScriptSource {
    /// Reads a script; without an edition its path chooses one.
    #[must_use]
    pub fn read(path: &Path, edition: Option<Edition>) -> Self {
        let text = fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"));
        let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let edition = edition.unwrap_or_else(|| sets::for_path(&whole));
        Self { name: path.display().to_string(), text, edition }
    }
}

/// The scripts below `path`: itself if it is a file, else every `.wast` file in it and its folders, sorted.
///
/// # Errors
/// If `path` or a folder below it cannot be read.
pub fn scripts_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "wast") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Scripts to run.
#[derive(Clone, Debug)]
pub struct Suite {
    scripts: Vec<ScriptSource>,
    time_limit: Duration,
}

impl Suite {
    /// A suite of these scripts, each with the default time limit.
    #[must_use]
    pub fn new(scripts: Vec<ScriptSource>) -> Self {
        Self { scripts, time_limit: Options::TIME_LIMIT }
    }

    /// Sets how long one script may take.
    pub fn time_limit(&mut self, limit: Duration) -> &mut Self {
        self.time_limit = limit;
        self
    }

    /// The scripts in order.
    #[must_use]
    pub fn scripts(&self) -> &[ScriptSource] {
        &self.scripts
    }

    /// Runs all scripts in one mode; `done` sees each outcome as soon as it is known.
    ///
    /// # Panics
    /// If `done` panics.
    #[must_use]
    pub fn run(&self, mode: Mode, done: impl Fn(&FileOutcome) + Sync) -> Vec<FileOutcome> {
        let runners = Runners { mode, time_limit: self.time_limit, made: Mutex::new(HashMap::new()) };
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::with_capacity(self.scripts.len()));
        let workers = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some((index, script)) = self.next(&next) {
                        let outcome = runners.run(script);
                        done(&outcome);
                        outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
                    }
                });
            }
        });
        let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn next(&self, next: &AtomicUsize) -> Option<(usize, &ScriptSource)> {
        let index = next.fetch_add(1, Ordering::Relaxed);
        self.scripts.get(index).map(|script| (index, script))
    }
}

/// One runner for each edition, made at first need.
struct Runners {
    mode: Mode,
    time_limit: Duration,
    made: Mutex<HashMap<Edition, Result<Runner, String>>>,
}

impl Runners {
    /// Runs a script with its edition; with a later one if it turns out to use more.
    fn run(&self, script: &ScriptSource) -> FileOutcome {
        let outcome = self.run_as(script, script.edition);
        match script.edition.later() {
            Some(later) if outcome.is_gated() => self.run_as(script, later),
            _ => outcome,
        }
    }

    fn run_as(&self, script: &ScriptSource, edition: Edition) -> FileOutcome {
        let unreadable = |reason| FileOutcome::unreadable(&script.name, edition.to_string(), 1, reason);
        match (&script.text, self.runner(edition)) {
            (Ok(text), Ok(runner)) => runner.run(&script.name, text),
            (Err(reason), _) => unreadable(reason.clone()),
            (_, Err(reason)) => unreadable(reason),
        }
    }

    fn runner(&self, edition: Edition) -> Result<Runner, String> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let mut options = Options::new(self.mode.strategy, self.mode.bounds, edition);
            options.tier_up_threshold = self.mode.tier_up_threshold;
            options.baseline_threshold = self.mode.baseline_threshold;
            options.opt_level = self.mode.opt_level;
            options.gc_stress = self.mode.gc_stress;
            options.validation = self.mode.validation;
            options.origin = self.mode.origin;
            options.time_limit = self.time_limit;
            Runner::new(options)
        };
        made.entry(edition).or_insert_with(make).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_named_after_engine_and_bounds() {
        let names: Vec<_> = Mode::all().iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["interpreter/guard", "interpreter/explicit", "jit/guard", "jit/explicit", "auto/guard", "auto/explicit"]
        );
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        assert!(scripts_below(Path::new("no/such/folder")).is_err());
        assert!(ScriptSource::read(Path::new("no/such.wast"), None).text.is_err());
    }
}
