//! The official suite: every directive of every version and of the proposals, on every engine and in
//! every bounds mode. There is no list of exceptions.

use aura_runtime::{Bounds, Strategy, Validation};
use aura_spec_tests::bundled::{self, Group};
use aura_spec_tests::{FileOutcome, Mode, Origin, Suite, Tally, Version};

/// In the mixed modes each script runs once for each of these: compiled at the first entry, at the second entry or the first
/// pass of a loop, which goes on in compiled code, and at the third or second.
const MIXED_THRESHOLDS: [u32; 3] = [0, 1, 2];

fn modes(strategy: Strategy, bounds: Bounds) -> Vec<Mode> {
    let mode = Mode::new(strategy, bounds);
    if strategy != Strategy::Auto {
        return vec![mode];
    }
    MIXED_THRESHOLDS.map(|threshold| Mode { tier_up_threshold: Some(threshold), ..mode }).into()
}

/// Modes in which cells get machine code at the first entry, at the second entry or the first pass of a loop, and between
/// cells as they are and what the compiler makes.
fn baseline_modes(bounds: Bounds) -> [Mode; 3] {
    let with = |strategy, baseline, tier_up| Mode {
        baseline_threshold: Some(baseline),
        tier_up_threshold: tier_up,
        ..Mode::new(strategy, bounds)
    };
    [with(Strategy::Interpreter, 0, None), with(Strategy::Interpreter, 1, None), with(Strategy::Auto, 1, Some(2))]
}

fn tally(outcomes: &[FileOutcome]) -> Tally {
    let mut sum = Tally::default();
    outcomes.iter().for_each(|outcome| sum.add(outcome.tally()));
    sum
}

fn failures(outcomes: &[FileOutcome]) -> Vec<String> {
    let of_file = |file: &FileOutcome| {
        let name = file.name.clone();
        file.failures().map(move |d| (name.clone(), d.line, d.kind, d.failure.clone())).collect::<Vec<_>>()
    };
    let all = outcomes.iter().flat_map(of_file);
    all.map(|(name, line, kind, why)| format!("{name}:{line}: {kind}: {}", why.unwrap_or_default())).collect()
}

/// How many directives the scripts of a group have.
const fn directives(group: Group) -> usize {
    match group {
        Group::V1 => 19_245,
        Group::V2 => 28_012,
        Group::V3 => 21_228,
        Group::Latest => 21_233,
        Group::Merged(Version::V2) => 45_433,
        Group::Merged(_) => 6_378,
        Group::Beside => 935,
    }
}

fn check(group: Group, strategy: Strategy, bounds: Bounds) {
    modes(strategy, bounds).into_iter().for_each(|mode| check_mode(group, mode));
}

fn check_mode(group: Group, mode: Mode) {
    let sets = bundled::sets().into_iter().filter(|set| set.group() == group);
    let outcomes = Suite::new(sets.flat_map(|set| set.scripts()).collect()).run(mode, |_| {});
    let tally = tally(&outcomes);
    println!("{group:?} on {mode}: {tally}");
    let failures = failures(&outcomes);
    assert!(failures.is_empty(), "{group:?} on {mode}: {tally}\n{}", failures.join("\n"));
    assert_eq!(tally.passed, directives(group), "{group:?} has all its directives");
}

macro_rules! official {
    ($($group:expr => $guard:ident, $explicit:ident, $strategy:ident;)*) => {
        $(
            #[test]
            fn $guard() {
                check($group, Strategy::$strategy, Bounds::Guard);
            }

            #[test]
            fn $explicit() {
                check($group, Strategy::$strategy, Bounds::Explicit);
            }
        )*
    };
}

official! {
    Group::V1 => v1_interpreter_guard, v1_interpreter_explicit, Interpreter;
    Group::V1 => v1_jit_guard, v1_jit_explicit, Jit;
    Group::V1 => v1_mixed_guard, v1_mixed_explicit, Auto;
    Group::V2 => v2_interpreter_guard, v2_interpreter_explicit, Interpreter;
    Group::V2 => v2_jit_guard, v2_jit_explicit, Jit;
    Group::V2 => v2_mixed_guard, v2_mixed_explicit, Auto;
    Group::V3 => v3_interpreter_guard, v3_interpreter_explicit, Interpreter;
    Group::V3 => v3_jit_guard, v3_jit_explicit, Jit;
    Group::V3 => v3_mixed_guard, v3_mixed_explicit, Auto;
    Group::Latest => latest_interpreter_guard, latest_interpreter_explicit, Interpreter;
    Group::Latest => latest_jit_guard, latest_jit_explicit, Jit;
    Group::Latest => latest_mixed_guard, latest_mixed_explicit, Auto;
    Group::Merged(Version::V2) => merged2_interpreter_guard, merged2_interpreter_explicit, Interpreter;
    Group::Merged(Version::V2) => merged2_jit_guard, merged2_jit_explicit, Jit;
    Group::Merged(Version::V2) => merged2_mixed_guard, merged2_mixed_explicit, Auto;
    Group::Merged(Version::V3) => merged3_interpreter_guard, merged3_interpreter_explicit, Interpreter;
    Group::Merged(Version::V3) => merged3_jit_guard, merged3_jit_explicit, Jit;
    Group::Merged(Version::V3) => merged3_mixed_guard, merged3_mixed_explicit, Auto;
    Group::Beside => beside_interpreter_guard, beside_interpreter_explicit, Interpreter;
    Group::Beside => beside_jit_guard, beside_jit_explicit, Jit;
    Group::Beside => beside_mixed_guard, beside_mixed_explicit, Auto;
}

macro_rules! with_baseline {
    ($($group:expr => $guard:ident, $explicit:ident;)*) => {
        $(
            #[test]
            fn $guard() {
                baseline_modes(Bounds::Guard).into_iter().for_each(|mode| check_mode($group, mode));
            }

            #[test]
            fn $explicit() {
                baseline_modes(Bounds::Explicit).into_iter().for_each(|mode| check_mode($group, mode));
            }
        )*
    };
}

with_baseline! {
    Group::V1 => v1_baseline_guard, v1_baseline_explicit;
    Group::V2 => v2_baseline_guard, v2_baseline_explicit;
    Group::V3 => v3_baseline_guard, v3_baseline_explicit;
    Group::Latest => latest_baseline_guard, latest_baseline_explicit;
    Group::Merged(Version::V2) => merged2_baseline_guard, merged2_baseline_explicit;
    Group::Merged(Version::V3) => merged3_baseline_guard, merged3_baseline_explicit;
    Group::Beside => beside_baseline_guard, beside_baseline_explicit;
}

/// Machine code that another engine compiled, from an artifact, is as good as code of the engine's own.
macro_rules! from_artifacts {
    ($($group:expr => $guard:ident, $explicit:ident;)*) => {
        $(
            #[test]
            fn $guard() {
                check_mode($group, Mode { origin: Origin::Artifact, ..Mode::new(Strategy::Auto, Bounds::Guard) });
            }

            #[test]
            fn $explicit() {
                check_mode($group, Mode { origin: Origin::Artifact, ..Mode::new(Strategy::Jit, Bounds::Explicit) });
            }
        )*
    };
}

from_artifacts! {
    Group::V1 => v1_artifact_guard, v1_artifact_explicit;
    Group::V2 => v2_artifact_guard, v2_artifact_explicit;
    Group::V3 => v3_artifact_guard, v3_artifact_explicit;
    Group::Latest => latest_artifact_guard, latest_artifact_explicit;
    Group::Merged(Version::V2) => merged2_artifact_guard, merged2_artifact_explicit;
    Group::Merged(Version::V3) => merged3_artifact_guard, merged3_artifact_explicit;
    Group::Beside => beside_artifact_guard, beside_artifact_explicit;
}

/// With bodies validated at their first call, all is as ever but what is invalid: it is refused later, or never if nobody
/// calls it, as the specification allows.
#[test]
fn lazy_validation_changes_nothing_for_valid_modules() {
    for strategy in [Strategy::Interpreter, Strategy::Auto] {
        let mode = Mode { validation: Validation::Lazy, ..Mode::new(strategy, Bounds::Guard) };
        let outcomes = Suite::new(
            bundled::sets().into_iter().filter(|set| set.group() == Group::V3).flat_map(|set| set.scripts()).collect(),
        )
        .run(mode, |_| {});
        let wrong = failures(&outcomes);
        let wrong: Vec<_> = wrong
            .iter()
            .filter(|text| !text.contains(": assert_invalid: ") && !text.contains(": assert_malformed: "))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(tally(&outcomes).passed > directives(Group::V3) / 2, "most directives are about valid modules");
    }
}
