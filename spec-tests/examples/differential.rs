//! Compares the tiers on random modules: `differential [SEED [COUNT]]`.
//!
//! On a difference it prints the seed, the smallest module found that still differs, and what each
//! mode observed.

use std::process::ExitCode;

use aura_spec_tests::differential::case::Case;
use aura_spec_tests::differential::{Difference, Differential, Verdict};

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Ok(seed), Ok(count)) = (numbers.next().unwrap_or(Ok(0)), numbers.next().unwrap_or(Ok(1000))) else {
        eprintln!("error: arguments are numbers: differential [SEED [COUNT]]");
        return ExitCode::from(2);
    };
    let differential = match Differential::new() {
        Ok(differential) => differential,
        Err(error) => {
            eprintln!("error: no engine: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut differing = 0;
    for seed in seed..seed.saturating_add(count) {
        if let Verdict::Differs(difference) = differential.check(&Case::new(seed)) {
            differing += 1;
            report(&differential, seed, &difference);
        }
    }
    println!("{count} modules, {differing} differ");
    if differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(differential: &Differential, seed: u64, difference: &Difference) {
    println!("seed {seed} differs:\n{difference}");
    let differs = |case: &Case| match differential.check(case) {
        Verdict::Differs(difference) => Some(difference),
        Verdict::Same | Verdict::NoModule => None,
    };
    let reduced = Case::new(seed).reduce(|case| differs(case).is_some());
    if let (Some(wasm), Some(difference)) = (reduced.module(), differs(&reduced)) {
        let text = wasmprinter::print_bytes(&wasm).unwrap_or_else(|e| format!("cannot be printed: {e}"));
        println!("reduced, still differs:\n{difference}\n{text}");
    }
}
