//! Collected objects: allocation, pointers to chase, and old objects that change, for every contender in one run.
//!
//!     cargo bench -p aura-benches --bench collect
//!     cargo run --release -p aura-benches --bin record -- collect
//!
//! The programs are text in `benches/guests`; each is called again and again on one instance, so that
//! what one call leaves behind is collected during a later one.

use std::time::Duration;

use aura_benches::collecting_contenders;
use aura_benches::guests::written;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// A program, what it is called with, and what it returns then.
const PROGRAMS: [(&str, i32, i32); 3] =
    [("binary_trees", 12, 658_095), ("boxed_map", 100_000, 1_562_738_617), ("splay", 4_000, -871_846_040)];

fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("collect/run");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5)).sample_size(20);
    for (program, argument, expected) in PROGRAMS {
        let wasm = written(&format!("{program}.wat"));
        for contender in collecting_contenders() {
            let result = contender.first_result(&wasm, "run", argument).expect("a result");
            assert_eq!(result, expected, "{program} on {}", contender.name());
            let loaded = contender.load(&wasm).expect("a module");
            group.bench_function(BenchmarkId::new(contender.name(), program), |bencher| {
                bencher.iter_custom(|iterations| loaded.time_calls("run", argument, iterations).expect("calls"));
            });
        }
    }
    group.finish();
}

criterion_group!(collect, run);
criterion_main!(collect);
