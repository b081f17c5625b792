//! Random modules on every tier and in every bounds mode: a bounded number.
//!
//! `AURA_DIFFERENTIAL=COUNT` runs more; `cargo run --release -p aura-spec-tests --example differential --
//! COUNT SEED` also reduces what differs.

use aura_spec_tests::differential::case::Case;
use aura_spec_tests::differential::{Differential, Verdict};

const DEFAULT_COUNT: u64 = 300;
const SHARDS: u64 = 4;

fn count() -> u64 {
    match std::env::var("AURA_DIFFERENTIAL") {
        Ok(text) => text.parse().expect("AURA_DIFFERENTIAL is a number"),
        Err(_) => DEFAULT_COUNT,
    }
}

fn check_shard(shard: u64) {
    let differential = Differential::new().expect("engines");
    let mut modules = 0;
    for seed in (shard..count()).step_by(SHARDS as usize) {
        match differential.check(&Case::new(seed)) {
            Verdict::Same(_) => modules += 1,
            Verdict::NoModule => {}
            Verdict::Differs(difference) => panic!("seed {seed} differs:\n{difference}"),
        }
    }
    let expected = count() / SHARDS * 9 / 10;
    assert!(modules >= expected, "only {modules} of {} seeds made a module", count() / SHARDS);
}

/// Damaged modules: each is refused with an error, or runs the same everywhere; never a panic.
#[test]
fn damaged_modules() {
    on_large_stack(|| {
        let differential = Differential::new().expect("engines");
        for seed in 0..4 * count() {
            let Some(wasm) = Case::new(seed).damaged_module() else { continue };
            if let Err(difference) = differential.check_module(&wasm, seed) {
                panic!("seed {seed}, damaged, differs:\n{difference}");
            }
        }
    });
}

/// Runs on a thread with a stack larger than what guests may use.
fn on_large_stack(work: impl FnOnce() + Send + 'static) {
    let bytes = aura_spec_tests::differential::STACK_BYTES + (64 << 20);
    let thread = std::thread::Builder::new().stack_size(bytes).spawn(work).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

macro_rules! shards {
    ($($name:ident = $shard:literal),*) => {
        $(
            #[test]
            fn $name() {
                on_large_stack(|| check_shard($shard));
            }
        )*
    };
}

shards!(shard_0 = 0, shard_1 = 1, shard_2 = 2, shard_3 = 3);
