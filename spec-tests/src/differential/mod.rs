//! Random modules on eight engines: nothing observable may differ.
//!
//! The engines are the interpreter, the same with machine code for cells, the JIT without and with optimisation, one that changes tier at
//! every call, two that change it in the first and the second pass of loops, and one that has all three kinds of code; the bounds mode changes from module to module. [`case`] makes a module, and smaller ones;
//! [`edges`] makes those with accesses at edges; [`mod@observe`] runs a module and writes down
//! everything a host can see of the run; this file compares what the engines wrote. Numbers are
//! compared bit for bit: the engines are deterministic.

pub mod case;
pub mod edges;
pub mod observe;

use std::fmt;

use aura_runtime::{Bounds, Config, Engine, Error, Features, OptLevel, Strategy};

use self::case::Case;
pub use self::observe::Ends;
use self::observe::{Observation, observe};

use crate::Origin;

/// What runs modules: a name, a tier, and how hard the compiler tries.
const ENGINES: [(&str, Strategy, OptLevel); 8] = [
    ("interpreter", Strategy::Interpreter, OptLevel::None),
    (BASELINE, Strategy::Interpreter, OptLevel::None),
    ("jit without optimisation", Strategy::Jit, OptLevel::None),
    ("jit", Strategy::Jit, OptLevel::Speed),
    (CHANGING, Strategy::Auto, OptLevel::Speed),
    ("moving in first passes", Strategy::Auto, OptLevel::Speed),
    (SECOND_PASSES, Strategy::Auto, OptLevel::None),
    (ALL_TIERS, Strategy::Auto, OptLevel::Speed),
];

/// A function of even index is compiled when it is entered the second time, one of odd index never: calls between
/// them go both ways.
const CHANGING: &str = "changing tiers";
const SECOND_PASSES: &str = "moving in second passes";
/// Cells have machine code from the first entry on.
const BASELINE: &str = "machine code for cells";
/// They have it from the second one on, and the compiler's code comes after that.
const ALL_TIERS: &str = "all tiers";

/// The engines to compare, in each bounds mode; they stay for all cases.
#[derive(Debug)]
pub struct Differential {
    guard: Vec<Engine>,
    explicit: Vec<Engine>,
}

/// Two engines that observed different things.
#[derive(Clone, Debug)]
pub struct Difference {
    pub engines: (&'static str, &'static str),
    /// How memories were bounded.
    pub bounds: Bounds,
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
        writeln!(f, "  {}: {}", self.engines.0, self.observed.0.as_deref().unwrap_or(over))?;
        writeln!(f, "  {}: {}", self.engines.1, self.observed.1.as_deref().unwrap_or(over))?;
        write!(f, "  bounds: {:?}", self.bounds)
    }
}

/// How one case ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// All observed the same; how the calls ended.
    Same(Ends),
    /// The bytes make no module.
    NoModule,
    Differs(Box<Difference>),
}

/// Guest stack: little enough that some recursions exhaust it before the fuel, at the same call on every engine.
pub const STACK_BYTES: usize = 512 << 10;

impl Differential {
    /// Makes the engines.
    ///
    /// # Errors
    /// If an engine refuses its configuration.
    pub fn new() -> Result<Self, Error> {
        let with = |bounds| ENGINES.map(|row| engine(row, bounds)).into_iter().collect::<Result<Vec<_>, _>>();
        Ok(Self { guard: with(Bounds::Guard)?, explicit: with(Bounds::Explicit)? })
    }

    /// Runs a case on every engine and compares each with the first, the interpreter.
    #[must_use]
    pub fn check(&self, case: &Case) -> Verdict {
        let Some(wasm) = case.module() else {
            return Verdict::NoModule;
        };
        match self.check_module(&wasm, case.seed()) {
            Ok(ends) => Verdict::Same(ends),
            Err(difference) => Verdict::Differs(difference),
        }
    }

    /// Runs a module on every engine; arguments and the bounds mode are drawn from `seed`.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_module(&self, wasm: &[u8], seed: u64) -> Result<Ends, Box<Difference>> {
        let (engines, bounds) = if (seed / 4).is_multiple_of(2) {
            (&self.guard, Bounds::Guard)
        } else {
            (&self.explicit, Bounds::Explicit)
        };
        let reference = observe((&engines[0], Origin::Bytes), wasm, seed);
        for (engine, (name, ..)) in engines.iter().zip(&ENGINES).skip(1) {
            // Code of functions of even index is from an artifact, others are interpreted.
            let origin = if *name == CHANGING { Origin::Artifact } else { Origin::Bytes };
            let observed = observe((engine, origin), wasm, seed);
            if let Some(difference) = compare((ENGINES[0].0, &reference), (name, &observed), bounds) {
                return Err(Box::new(difference));
            }
        }
        Ok(reference.ends)
    }
}

fn engine((name, strategy, opt_level): (&str, Strategy, OptLevel), bounds: Bounds) -> Result<Engine, Error> {
    let mut config = Config::new();
    config.strategy(strategy).bounds(bounds).opt_level(opt_level).features(Features::IMPLEMENTED);
    config.consume_fuel(true).deterministic(true).max_wasm_stack(STACK_BYTES);
    // One engine collects at every allocation, so that a reference that no root holds shows.
    config.gc_stress(opt_level == OptLevel::None && strategy == Strategy::Jit);
    config.tier_up_threshold(if name == SECOND_PASSES || name == ALL_TIERS { 2 } else { 1 }).compile_threads(0);
    config.odd_functions_interpreted(name == CHANGING);
    // The interpreter is run one way with each mode of bounds, as in the official suite.
    let has_baseline = name == BASELINE || name == ALL_TIERS;
    config.interpreter_jumps(bounds == Bounds::Guard || has_baseline);
    config.baseline(has_baseline).baseline_threshold(u32::from(name == ALL_TIERS));
    Engine::new(&config)
}

fn compare(a: (&'static str, &Observation), b: (&'static str, &Observation), bounds: Bounds) -> Option<Difference> {
    let (left, right) = (&a.1.lines, &b.1.lines);
    let same = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    let (l, r) = (left.get(same), right.get(same));
    if l == r {
        return None;
    }
    let before = left[..same].iter().rev().take(5).rev().cloned().collect();
    Some(Difference { engines: (a.0, b.0), bounds, before, observed: (l.cloned(), r.cloned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(lines: &[&str]) -> Observation {
        Observation { lines: lines.iter().map(|&line| line.to_owned()).collect(), ends: Ends::new() }
    }

    fn differ(a: &Observation, b: &Observation) -> Option<Difference> {
        compare(("a", a), ("b", b), Bounds::Guard)
    }

    #[test]
    fn the_first_line_that_differs_is_reported() {
        let a = observation(&["x", "y", "z"]);
        assert!(differ(&a, &a).is_none());
        let difference = differ(&a, &observation(&["x", "other"])).expect("they differ");
        assert_eq!(difference.before, ["x"]);
        assert_eq!(difference.observed, (Some("y".to_owned()), Some("other".to_owned())));
        assert!(difference.to_string().contains("b: other"), "{difference}");
        let shorter = differ(&a, &observation(&["x", "y"])).expect("they differ");
        assert_eq!(shorter.observed, (Some("z".to_owned()), None));
    }
}
