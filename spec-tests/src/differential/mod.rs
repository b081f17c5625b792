//! Random modules on every tier and in every bounds mode: nothing observable may differ.
//!
//! [`case`] makes a module from bytes, and shrinks the bytes; [`mod@observe`] runs a module and writes
//! down everything a host can see of the run; this file compares what the modes wrote. Numbers are
//! compared bit for bit: the engines run with canonical NaNs.

pub mod case;
pub mod observe;

use std::fmt;

use aura_runtime::{Bounds, Config, Engine, Error, Strategy};

use self::case::Case;
use self::observe::{Observation, observe};
use crate::suite::Mode;

/// All modes to compare, each with an engine that stays for all cases.
#[derive(Debug)]
pub struct Differential {
    engines: Vec<(Mode, Engine)>,
}

/// Two modes that observed different things.
#[derive(Clone, Debug)]
pub struct Difference {
    pub modes: (Mode, Mode),
    /// What preceded the difference, the same in both.
    pub before: Vec<String>,
    /// What each of the two observed next; nothing if its run was over.
    pub observed: (Option<String>, Option<String>),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.before {
            writeln!(f, "  both: {line}")?;
        }
        let over = "nothing more";
        writeln!(f, "  {}: {}", self.modes.0, self.observed.0.as_deref().unwrap_or(over))?;
        write!(f, "  {}: {}", self.modes.1, self.observed.1.as_deref().unwrap_or(over))
    }
}

/// How one case ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    Same,
    /// The bytes make no module.
    NoModule,
    Differs(Box<Difference>),
}

/// Functions are compiled at their second entry in the mixed mode, so that tiers change within a run.
const MIXED_THRESHOLD: u32 = 2;

/// Guest stack: enough that fuel ends every recursion first, since tiers use different amounts of stack.
pub const STACK_BYTES: usize = 64 << 20;

impl Differential {
    /// Engines for the interpreter, the JIT and the mix of both, in both bounds modes.
    ///
    /// # Errors
    /// If the engine refuses a configuration.
    pub fn new() -> Result<Self, Error> {
        let mut engines = Vec::new();
        for mut mode in Mode::all() {
            let mut config = Config::new();
            config.strategy(mode.strategy).bounds(mode.bounds);
            config.consume_fuel(true).canonicalize_nans(true).max_wasm_stack(STACK_BYTES);
            if mode.strategy == Strategy::Auto {
                mode.tier_up_threshold = Some(MIXED_THRESHOLD);
                config.tier_up_threshold(MIXED_THRESHOLD);
            }
            engines.push((mode, Engine::new(&config)?));
        }
        debug_assert!(engines[0].0 == Mode::new(Strategy::Interpreter, Bounds::Guard));
        Ok(Self { engines })
    }

    /// Runs a case in every mode and compares each with the first, the interpreter.
    #[must_use]
    pub fn check(&self, case: &Case) -> Verdict {
        let Some(wasm) = case.module() else {
            return Verdict::NoModule;
        };
        match self.check_module(&wasm, case.seed()) {
            None => Verdict::Same,
            Some(difference) => Verdict::Differs(Box::new(difference)),
        }
    }

    /// Runs a module in every mode; arguments are drawn from `seed`.
    #[must_use]
    pub fn check_module(&self, wasm: &[u8], seed: u64) -> Option<Difference> {
        let (first, others) = self.engines.split_first()?;
        let reference = observe(&first.1, wasm, seed);
        others.iter().find_map(|(mode, engine)| {
            let observed = observe(engine, wasm, seed);
            compare((first.0, &reference), (*mode, &observed))
        })
    }
}

fn compare(a: (Mode, &Observation), b: (Mode, &Observation)) -> Option<Difference> {
    let (left, right) = (&a.1.lines, &b.1.lines);
    let same = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    let (l, r) = (left.get(same), right.get(same));
    // A stack that ran out says how deep a tier's frames are, which is no property of the module.
    if l == r || a.1.stack_overflow_at == Some(same) || b.1.stack_overflow_at == Some(same) {
        return None;
    }
    let before = left[..same].iter().rev().take(5).rev().cloned().collect();
    Some(Difference { modes: (a.0, b.0), before, observed: (l.cloned(), r.cloned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(lines: &[&str], stack_overflow_at: Option<usize>) -> Observation {
        Observation { lines: lines.iter().map(|&line| line.to_owned()).collect(), stack_overflow_at }
    }

    fn differ(a: &Observation, b: &Observation) -> Option<Difference> {
        let mode = |strategy| Mode::new(strategy, Bounds::Guard);
        compare((mode(Strategy::Interpreter), a), (mode(Strategy::Jit), b))
    }

    #[test]
    fn the_first_line_that_differs_is_reported() {
        let a = observation(&["x", "y", "z"], None);
        assert!(differ(&a, &a).is_none());
        let difference = differ(&a, &observation(&["x", "other"], None)).expect("they differ");
        assert_eq!(difference.before, ["x"]);
        assert_eq!(difference.observed, (Some("y".to_owned()), Some("other".to_owned())));
        assert!(difference.to_string().contains("jit/guard: other"), "{difference}");
        let shorter = differ(&a, &observation(&["x", "y"], None)).expect("they differ");
        assert_eq!(shorter.observed, (Some("z".to_owned()), None));
    }

    #[test]
    fn where_a_stack_ran_out_the_comparison_ends() {
        let full = observation(&["x", "stack"], Some(1));
        assert!(differ(&full, &observation(&["x", "y", "z"], None)).is_none());
        assert!(differ(&full, &observation(&["other", "y"], None)).is_some());
    }
}
