//! The official suite: every directive of versions 1.0 and 2.0 and of the proposals 2.0 merged, on
//! every engine and in every bounds mode. There is no list of exceptions.

use aura_runtime::{Bounds, Strategy};
use aura_spec_tests::bundled::{self, BundledSet};
use aura_spec_tests::sets::{Edition, Version};
use aura_spec_tests::{FileOutcome, Mode, Suite, Tally};

/// Low, so that in the mixed mode functions change tiers within most scripts.
const MIXED_THRESHOLD: u32 = 3;

fn mode(strategy: Strategy, bounds: Bounds) -> Mode {
    let threshold = (strategy == Strategy::Auto).then_some(MIXED_THRESHOLD);
    Mode { tier_up_threshold: threshold, ..Mode::new(strategy, bounds) }
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

fn check(set: BundledSet, strategy: Strategy, bounds: Bounds) {
    let mode = mode(strategy, bounds);
    let outcomes = Suite::new(bundled::scripts(set)).run(mode, |_| {});
    let tally = tally(&outcomes);
    println!("{set:?} on {mode}: {tally}");
    let failures = failures(&outcomes);
    assert!(failures.is_empty(), "{set:?} on {mode}: {tally}\n{}", failures.join("\n"));
    let expected = match set {
        BundledSet::V1 => 19_245,
        BundledSet::V2 => 28_012,
        BundledSet::Merged2 => 44_637,
    };
    assert_eq!(tally.passed, expected, "{set:?} has all its directives");
}

macro_rules! official {
    ($($name:ident: $set:ident, $strategy:ident, $bounds:ident;)*) => {
        $(
            #[test]
            fn $name() {
                check(BundledSet::$set, Strategy::$strategy, Bounds::$bounds);
            }
        )*
    };
}

official! {
    v1_interpreter_guard: V1, Interpreter, Guard;
    v1_interpreter_explicit: V1, Interpreter, Explicit;
    v1_jit_guard: V1, Jit, Guard;
    v1_jit_explicit: V1, Jit, Explicit;
    v1_mixed_guard: V1, Auto, Guard;
    v1_mixed_explicit: V1, Auto, Explicit;
    v2_interpreter_guard: V2, Interpreter, Guard;
    v2_interpreter_explicit: V2, Interpreter, Explicit;
    v2_jit_guard: V2, Jit, Guard;
    v2_jit_explicit: V2, Jit, Explicit;
    v2_mixed_guard: V2, Auto, Guard;
    v2_mixed_explicit: V2, Auto, Explicit;
    merged2_interpreter_guard: Merged2, Interpreter, Guard;
    merged2_interpreter_explicit: Merged2, Interpreter, Explicit;
    merged2_jit_guard: Merged2, Jit, Guard;
    merged2_jit_explicit: Merged2, Jit, Explicit;
    merged2_mixed_guard: Merged2, Auto, Guard;
    merged2_mixed_explicit: Merged2, Auto, Explicit;
}

/// Holds the list of files that belong to a later version to what it claims: with version 2.0 each
/// runs, and what fails is a module that the named proposal's gate refuses, or a use of that module.
#[test]
fn files_of_a_later_version_fail_only_by_the_gate_of_their_proposal() {
    let mut scripts = bundled::later_scripts();
    for script in &mut scripts {
        script.edition = Edition::version(Version::V2);
    }
    let outcomes = Suite::new(scripts).run(mode(Strategy::Jit, Bounds::Guard), |_| {});
    for (outcome, later) in bundled::LATER.iter().map(|l| (outcomes.iter().find(|o| o.name == l.name), l)) {
        let outcome = outcome.expect("the file was run");
        let reasons: Vec<_> = outcome.failures().map(|d| d.failure.clone().unwrap_or_default()).collect();
        assert!(!reasons.is_empty(), "{} needs no later proposal", later.name);
        assert!(reasons[0].contains(later.needs), "{}: {}", later.name, reasons[0]);
        for reason in reasons {
            let gated = reason.contains(later.needs) || reason == "there is no current instance";
            assert!(gated, "{}: {reason}", later.name);
        }
    }
}
