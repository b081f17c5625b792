//! Warm starts and crossings, beside Wasmtime's best: rounds interleaved, medians and 99th percentiles.
//!
//!     cargo bench -p aura-benches --bench instantiate [-- FILTER]

use std::hint::black_box;
use std::time::Instant;

use aura_benches::guests;

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Rounds of each measurement; contenders take turns in each.
const ROUNDS: usize = 60;

fn main() {
    // `cargo bench` passes `--bench`.
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    for group in [crossings] {
        if let Err(error) = group(&filter) {
            eprintln!("instantiate: {error}");
            std::process::exit(1);
        }
    }
}

/// Something to be timed.
struct Contender {
    name: &'static str,
    /// Does it so many times.
    run: Box<dyn FnMut(u64) -> Fallible<()>>,
}

/// Times contenders in turns and prints nanoseconds for each operation: the median of rounds.
fn compare(what: &str, iterations: u64, mut contenders: Vec<Contender>) -> Fallible<()> {
    let mut times = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for round in 0..=ROUNDS {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            (contender.run)(iterations)?;
            let each = start.elapsed().as_nanos() as f64 / iterations as f64;
            if round > 0 {
                times.push(each);
            }
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    for (contender, &ns) in contenders.iter().zip(&medians) {
        println!("| {what} | {} | {ns:.1} | {:.1} |", contender.name, ns / medians[0]);
    }
    Ok(())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Calls from host to guest and from guest to host.
fn crossings(filter: &str) -> Fallible<()> {
    if !"crossings".contains(filter) {
        return Ok(());
    }
    println!("| crossing | engine | ns, median of {ROUNDS} rounds | of ours |\n|---|---|--:|--:|");
    compare(
        "host to guest, `i32 -> i32`",
        200_000,
        vec![aura_calls(guests::TINY, "add_one", 1)?, wasmtime_calls(guests::TINY, "add_one", 1)?],
    )?;
    compare(
        "guest to host, a loop of 1000 (one crossing)",
        200_000,
        vec![aura_calls(guests::CALLER, "calls", 1000)?, wasmtime_calls(guests::CALLER, "calls", 1000)?],
    )?;
    Ok(())
}

/// Calls `function(argument)`, which does `argument` operations, as often as it takes.
fn aura_calls(text: &str, function: &str, argument: i32) -> Fallible<Contender> {
    use aura_runtime::{Config, Engine, Linker, Module, Store, Strategy};
    let engine = Engine::new(Config::new().strategy(Strategy::Jit))?;
    let module = Module::new(&engine, text)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |value: i32| value.wrapping_add(1))?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let func = instance.get_typed_func::<i32, i32>(&store, function)?;
    let run = move |iterations: u64| {
        for _ in 0..iterations / argument as u64 {
            black_box(func.call(&mut store, black_box(argument))?);
        }
        Ok(())
    };
    Ok(Contender { name: "aura", run: Box::new(run) })
}

fn wasmtime_calls(text: &str, function: &str, argument: i32) -> Fallible<Contender> {
    use wasmtime::{Engine, Linker, Module, Store};
    let engine = Engine::default();
    let module = Module::from_binary(&engine, &guests::of_text(text))?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |value: i32| value.wrapping_add(1))?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let func = instance.get_typed_func::<i32, i32>(&mut store, function)?;
    let run = move |iterations: u64| {
        for _ in 0..iterations / argument as u64 {
            black_box(func.call(&mut store, black_box(argument))?);
        }
        Ok(())
    };
    Ok(Contender { name: "wasmtime", run: Box::new(run) })
}
