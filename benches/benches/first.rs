//! The first bench: from bytes to a result, instantiating, calls in and out, and plain computing,
//! for every contender in one run.
//!
//!     cargo bench -p aura-benches --bench first
//!     cargo run --release -p aura-benches --bin record -- first
//!
//! A group is a question and a line of it a contender. A new question is a new function below.

use std::hint::black_box;
use std::time::Duration;

use aura_benches::guests::{CALLER, TINY, of_text, prebuilt};
use aura_benches::{Contender, contenders};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Calls of the host in one call of the guest.
const HOST_CALLS: i32 = 1000;

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(format!("first/{name}"));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);
    group
}

/// What a skill costs whose bytes have just arrived: the engine exists, nothing else.
fn bytes_to_first_result(criterion: &mut Criterion) {
    let guests = [("tiny", of_text(TINY), "add_one", 41, 42), ("compute", prebuilt("compute.wasm"), "fib", 10, 55)];
    let mut group = group(criterion, "bytes-to-first-result");
    for (guest, wasm, function, argument, expected) in &guests {
        for contender in contenders() {
            let first = || contender.first_result(black_box(wasm), function, *argument).expect("a result");
            assert_eq!(first(), *expected, "{}", contender.name());
            group.bench_function(BenchmarkId::new(contender.name(), guest), |bencher| bencher.iter(first));
        }
    }
    group.finish();
}

/// The same up to the instance, for a program with a standard library: what eager work costs.
fn bytes_to_instance(criterion: &mut Criterion) {
    let wasm = prebuilt("loglens.wasm");
    let mut group = group(criterion, "bytes-to-instance");
    for contender in contenders() {
        group.bench_function(BenchmarkId::new(contender.name(), "loglens"), |bencher| {
            bencher.iter(|| contender.first_instance(black_box(&wasm)).expect("an instance"));
        });
    }
    group.finish();
}

/// A store and an instance of a module that is ready, made and dropped.
fn instantiate(criterion: &mut Criterion) {
    let guests =
        [("tiny", of_text(TINY)), ("compute", prebuilt("compute.wasm")), ("loglens", prebuilt("loglens.wasm"))];
    let mut group = group(criterion, "instantiate");
    for (guest, wasm) in &guests {
        for contender in contenders() {
            let loaded = contender.load(wasm).expect("a module");
            group.bench_function(BenchmarkId::new(contender.name(), guest), |bencher| {
                bencher.iter_custom(|iterations| loaded.time_instantiations(iterations).expect("instances"));
            });
        }
    }
    group.finish();
}

/// Calls `function(argument)` of one instance, again and again.
fn calls(group: &mut BenchmarkGroup<'_, WallTime>, wasm: &[u8], guest: &str, function: &str, argument: i32) {
    for contender in contenders() {
        calls_of(group, &*contender, wasm, guest, function, argument);
    }
}

fn calls_of(
    group: &mut BenchmarkGroup<'_, WallTime>,
    contender: &dyn Contender,
    wasm: &[u8],
    guest: &str,
    function: &str,
    argument: i32,
) {
    let loaded = contender.load(wasm).expect("a module");
    group.bench_function(BenchmarkId::new(contender.name(), guest), |bencher| {
        bencher.iter_custom(|iterations| loaded.time_calls(function, argument, iterations).expect("calls"));
    });
}

/// A typed call of a function that adds one.
fn host_to_guest(criterion: &mut Criterion) {
    let mut group = group(criterion, "host-to-guest");
    calls(&mut group, &of_text(TINY), "add_one", "add_one", 1);
    group.finish();
}

/// A loop in the guest that calls a closure of the host; the figure is for one call.
fn guest_to_host(criterion: &mut Criterion) {
    let mut group = group(criterion, "guest-to-host");
    group.throughput(Throughput::Elements(HOST_CALLS as u64));
    calls(&mut group, &of_text(CALLER), "next", "calls", HOST_CALLS);
    group.finish();
}

/// Computing without a host, for scale: what the engines make of ordinary code.
fn compute(criterion: &mut Criterion) {
    let wasm = prebuilt("compute.wasm");
    let mut group = group(criterion, "compute");
    for (function, argument) in [("fib", 20), ("crc32", 1), ("fannkuch", 7), ("mandelbrot", 64), ("dispatch", 10_000)] {
        calls(&mut group, &wasm, function, function, argument);
    }
    group.finish();
}

criterion_group!(first, bytes_to_first_result, bytes_to_instance, instantiate, host_to_guest, guest_to_host, compute);
criterion_main!(first);
