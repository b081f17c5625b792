//! Scripts whose values are references, with a collection before every object that is made: whatever is not where the
//! collector looks is found out. On every engine, with and without optimisation.

use aura_runtime::{Bounds, OptLevel, Strategy};
use aura_spec_tests::bundled;
use aura_spec_tests::{Mode, ScriptSource, Suite};

/// All scripts that make objects, move references, or throw.
fn scripts() -> Vec<ScriptSource> {
    const NAMES: [&str; 14] = [
        "gc",
        "array",
        "struct",
        "i31",
        "ref_",
        "br_on",
        "extern",
        "throw",
        "try_",
        "exception",
        "table",
        "elem",
        "global",
        "return_call_ref",
    ];
    let all = bundled::sets().into_iter().flat_map(|set| set.scripts());
    all.filter(|script| NAMES.iter().any(|name| script.name.contains(name))).collect()
}

fn check(strategy: Strategy, opt_level: OptLevel) {
    let mut mode = Mode { opt_level, gc_stress: true, ..Mode::new(strategy, Bounds::Guard) };
    mode.tier_up_threshold = (strategy == Strategy::Auto).then_some(2);
    check_mode(mode);
    if strategy != Strategy::Jit {
        check_mode(Mode { baseline_threshold: Some(0), ..mode });
    }
}

fn check_mode(mode: Mode) {
    let outcomes = Suite::new(scripts()).run(mode, |_| {});
    let failed: Vec<_> = outcomes
        .iter()
        .flat_map(|file| file.failures().map(move |f| format!("{}:{}: {}: {:?}", file.name, f.line, f.kind, f.failure)))
        .collect();
    let passed: usize = outcomes.iter().map(|file| file.tally().passed).sum();
    println!("{mode}: {passed} passed in {} scripts", outcomes.len());
    assert!(failed.is_empty(), "{mode}: {} failed\n{}", failed.len(), failed.join("\n"));
    assert!(passed > 5_000, "{passed} directives");
}

#[test]
fn interpreter() {
    check(Strategy::Interpreter, OptLevel::Speed);
}

#[test]
fn jit_without_optimisation() {
    check(Strategy::Jit, OptLevel::None);
}

#[test]
fn jit() {
    check(Strategy::Jit, OptLevel::Speed);
}

#[test]
fn auto() {
    check(Strategy::Auto, OptLevel::Speed);
}
