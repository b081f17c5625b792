//! Compares the engines on random modules: `differential [COUNT [SEED]]`.
//!
//! Seeds count up from SEED. On a difference it prints the seed, the smallest module found that still
//! differs, and what each engine observed; at the end, how the calls ended.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use aura_spec_tests::differential::case::Case;
use aura_spec_tests::differential::{Difference, Differential, Ends, STACK_BYTES, Verdict};
use indicatif::{ProgressBar, ProgressStyle};

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Ok(count), Ok(seed)) = (numbers.next().unwrap_or(Ok(1000)), numbers.next().unwrap_or(Ok(0))) else {
        eprintln!("error: arguments are numbers: differential [COUNT [SEED]]");
        return ExitCode::from(2);
    };
    match compare(seed, count) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many modules an engine is used for.
const MODULES_PER_ENGINE: u64 = 200;

/// Compares the modules of `count` seeds on all processors; how many differed.
fn compare(seed: u64, count: u64) -> Result<usize, String> {
    let fresh = || Differential::new().expect("engines as before");
    Differential::new().map_err(|error| format!("no engine: {error}"))?;
    let bar = progress(count);
    let (next, no_module) = (AtomicU64::new(seed), AtomicU64::new(0));
    let (differing, ends) = (Mutex::new(0), Mutex::new(Ends::new()));
    let end = seed.saturating_add(count);
    let work = || {
        let mut differential = fresh();
        for turn in 1_u64.. {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            // An engine keeps the types of all modules it ever had.
            if turn.is_multiple_of(MODULES_PER_ENGINE) {
                differential = fresh();
            }
            match differential.check(&Case::new(seed)) {
                Verdict::Same(ended) => {
                    let mut ends = ends.lock().expect("counting does not panic");
                    ended.into_iter().for_each(|(end, times)| *ends.entry(end).or_default() += times);
                }
                Verdict::NoModule => drop(no_module.fetch_add(1, Ordering::Relaxed)),
                Verdict::Differs(difference) => {
                    // One report at a time.
                    let mut differing = differing.lock().expect("a report does not panic");
                    *differing += 1;
                    bar.suspend(|| report(&differential, seed, &difference));
                }
            }
            bar.inc(1);
        }
    };
    thread::scope(|scope| -> Result<(), String> {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            // More stack than guests may use.
            let worker = thread::Builder::new().stack_size(STACK_BYTES + (64 << 20));
            worker.spawn_scoped(scope, work).map_err(|error| format!("no thread: {error}"))?;
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let (no_module, differing) =
        (no_module.into_inner(), differing.into_inner().unwrap_or_else(PoisonError::into_inner));
    for (end, times) in ends.into_inner().unwrap_or_else(PoisonError::into_inner) {
        println!("{times:>9}  {end}");
    }
    println!("seeds {seed} to {}: {} modules, {differing} differ", end - 1, count - no_module);
    Ok(differing)
}

/// A progress bar on standard error; it draws nothing unless that is a terminal.
fn progress(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn report(differential: &Differential, seed: u64, difference: &Difference) {
    println!("seed {seed} differs:\n{difference}");
    let differs = |case: &Case| match differential.check(case) {
        Verdict::Differs(difference) => Some(difference),
        Verdict::Same(_) | Verdict::NoModule => None,
    };
    let reduced = Case::new(seed).reduce(|case| differs(case).is_some());
    if let (Some(wasm), Some(difference)) = (reduced.module(), differs(&reduced)) {
        let text = wasmprinter::print_bytes(&wasm).unwrap_or_else(|e| format!("cannot be printed: {e}"));
        println!("reduced, still differs:\n{difference}\n{text}");
    }
}
