//! Warm starts and crossings, beside Wasmtime's best: rounds interleaved, medians and 99th percentiles.
//!
//!     cargo bench -p aura-benches --bench instantiate [-- FILTER]
//!
//! # Safety
//! The one unsafe call asks the system what this thread has used; it fills a value that lives across it.

use std::hint::black_box;
use std::time::Instant;

use aura_benches::{guests, median};

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Rounds of each measurement; contenders take turns in each.
const ROUNDS: usize = 60;

fn main() {
    // `cargo bench` passes `--bench`.
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    for group in [crossings, cycles, many_skills, faults, density] {
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

/// Skills whose instances are made, called once and dropped; the call stores to as many host pages as the name says.
const SKILLS: [(&str, &str); 3] = [
    (
        "without memory",
        "(module (func (export \"go\") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))",
    ),
    (
        "one wasm page, one host page written",
        "(module (memory 1) (func (export \"go\") (param i32) (result i32)
            (i32.store (i32.const 64) (local.get 0)) (i32.load (i32.const 64))))",
    ),
    (
        "one wasm page, two host pages written",
        "(module (memory 1) (func (export \"go\") (param i32) (result i32)
            (i32.store (i32.const 64) (local.get 0)) (i32.store (i32.const 8192) (local.get 0))
            (i32.load (i32.const 64))))",
    ),
];

/// Instantiate, call, drop.
fn cycles(filter: &str) -> Fallible<()> {
    if !"cycles".contains(filter) {
        return Ok(());
    }
    println!("\n| instantiate + call + drop | engine | ns, median of {ROUNDS} rounds | of ours |\n|---|---|--:|--:|");
    for (what, text) in SKILLS {
        compare(what, 20_000, vec![aura_cycle(text)?, wasmtime_cycle(text)?])?;
    }
    println!(
        "\n| one cycle at a time, the clock included | engine | median ns | p99 ns | p99.9 ns |\n|---|---|--:|--:|--:|"
    );
    for (what, text) in SKILLS {
        for mut contender in [aura_cycle(text)?, wasmtime_cycle(text)?] {
            (contender.run)(2000)?;
            let mut times = Vec::with_capacity(100_000);
            for _ in 0..100_000 {
                let start = Instant::now();
                (contender.run)(1)?;
                times.push(start.elapsed().as_nanos() as f64);
            }
            times.sort_by(f64::total_cmp);
            let at = |part: usize| times[times.len() * part / 1000];
            println!("| {what} | {} | {:.0} | {:.0} | {:.0} |", contender.name, at(500), at(990), at(999));
        }
    }
    Ok(())
}

fn aura_image(text: &str) -> Fallible<(aura_runtime::Image<()>, aura_runtime::ImageFunc<i32, i32>)> {
    use aura_runtime::{Config, Engine, Image, ImageConfig, Linker, Module, Strategy};
    let engine = Engine::new(Config::new().strategy(Strategy::Jit))?;
    let module = Module::new(&engine, text)?;
    let image = Image::new(&Linker::new(&engine), &module, &ImageConfig::new())?;
    let func = image.typed_func::<i32, i32>("go")?;
    Ok((image, func))
}

fn aura_cycle(text: &str) -> Fallible<Contender> {
    let (image, func) = aura_image(text)?;
    let run = move |iterations: u64| {
        for _ in 0..iterations {
            black_box(image.instantiate(())?.call(&func, black_box(1))?);
        }
        Ok(())
    };
    Ok(Contender { name: "aura", run: Box::new(run) })
}

/// Its best: pooled, memory kept resident, imports and the export resolved before.
fn wasmtime_cycle(text: &str) -> Fallible<Contender> {
    use wasmtime::{Config, Engine, InstanceAllocationStrategy, Linker, Module, PoolingAllocationConfig, Store};
    let mut pool = PoolingAllocationConfig::default();
    pool.linear_memory_keep_resident(64 << 10).table_keep_resident(64 << 10);
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    let module = Module::from_binary(&engine, &guests::of_text(text))?;
    let pre = Linker::<()>::new(&engine).instantiate_pre(&module)?;
    let export = module.get_export_index("go").ok_or("no export `go`")?;
    let run = move |iterations: u64| {
        for _ in 0..iterations {
            let mut store = Store::new(&engine, ());
            let instance = pre.instantiate(&mut store)?;
            let Some(wasmtime::Extern::Func(func)) = instance.get_module_export(&mut store, &export) else {
                return Err("`go` is no function".into());
            };
            let func = func.typed::<i32, i32>(&store)?;
            black_box(func.call(&mut store, black_box(1))?);
        }
        Ok(())
    };
    Ok(Contender { name: "wasmtime, pooled", run: Box::new(run) })
}

/// Skills that are called in turn, by two threads.
const MANY: usize = 1000;

/// Calls different skills in turn on two threads, each call timed.
fn many_skills(filter: &str) -> Fallible<()> {
    use aura_runtime::{Config, Engine, Image, ImageConfig, Linker, Module, Strategy};
    if !"many_skills".contains(filter) {
        return Ok(());
    }
    let engine = Engine::new(Config::new().strategy(Strategy::Jit))?;
    let mut skills = Vec::new();
    for number in 0..MANY {
        let text = format!(
            "(module (memory 1) (func (export \"go\") (param i32) (result i32)
                (i32.store (i32.const 64) (local.get 0)) (i32.add (i32.load (i32.const 64)) (i32.const {number}))))"
        );
        let image = Image::<()>::new(&Linker::new(&engine), &Module::new(&engine, text)?, &ImageConfig::new())?;
        let func = image.typed_func::<i32, i32>("go")?;
        skills.push((image, func));
    }
    let timed = || -> Fallible<Vec<f64>> {
        let mut times = Vec::with_capacity(100 * MANY);
        for round in 0..110 {
            for (image, func) in &skills {
                let start = Instant::now();
                black_box(image.instantiate(())?.call(func, 1)?);
                if round >= 10 {
                    times.push(start.elapsed().as_nanos() as f64);
                }
            }
        }
        Ok(times)
    };
    let mut times = std::thread::scope(|scope| {
        let threads = [scope.spawn(timed), scope.spawn(timed)];
        threads.map(|thread| thread.join().expect("no panic")).into_iter().collect::<Fallible<Vec<_>>>()
    })?
    .concat();
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[times.len() * part / 1000];
    println!(
        "\n{MANY} skills in turn on two threads, one host page written, the clock included: median {:.0} ns, p99 {:.0} ns, p99.9 {:.0} ns.",
        at(500),
        at(990),
        at(999)
    );
    Ok(())
}

/// Counts faults and what the system was asked for on the warm path, and how many instances a second makes.
fn faults(filter: &str) -> Fallible<()> {
    if !"faults".contains(filter) {
        return Ok(());
    }
    println!(
        "\n| a million warm cycles | page faults | of them from disk | context switches asked for | system ms | instances per second |\n|---|--:|--:|--:|--:|--:|"
    );
    for (what, text) in SKILLS {
        let (image, func) = aura_image(text)?;
        let cycles = |count: u32| -> Fallible<()> {
            for _ in 0..count {
                black_box(image.instantiate(())?.call(&func, 1)?);
            }
            Ok(())
        };
        cycles(10_000)?;
        let (before, start) = (used(), Instant::now());
        cycles(1_000_000)?;
        let (took, after) = (start.elapsed(), used());
        println!(
            "| {what} | {} | {} | {} | {} | {:.1} million |",
            after.ru_minflt - before.ru_minflt,
            after.ru_majflt - before.ru_majflt,
            after.ru_nvcsw - before.ru_nvcsw,
            (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000
                + (after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000,
            1.0 / took.as_secs_f64(),
        );
    }
    Ok(())
}

/// Instances that are alive at once.
const IDLE: u64 = 100_000;

/// What is measured of idle instances, each in a process of its own: an allocator gives back less than it took.
const IDLE_KINDS: [&str; 4] = ["image, jit", "image, interpreter", "store, jit", "store, interpreter"];

/// What very many instances take of memory that have been called and now do nothing, each with one page of which two host
/// pages are written.
fn density(filter: &str) -> Fallible<()> {
    if let Some(kind) = filter.strip_prefix("density:") {
        return idle_kind(kind);
    }
    if !"density".contains(filter) {
        return Ok(());
    }
    println!(
        "\n| {IDLE} idle instances | RSS of each | page tables | address space | mappings of all | made, called | ended |\n|---|--:|--:|--:|--:|--:|--:|"
    );
    for kind in IDLE_KINDS {
        let ended = std::process::Command::new(std::env::current_exe()?).arg(format!("density:{kind}")).status()?;
        if !ended.success() {
            return Err(format!("density of {kind}: {ended}").into());
        }
    }
    Ok(())
}

/// One line of [`density`].
fn idle_kind(kind: &str) -> Fallible<()> {
    use aura_runtime::{Config, Engine, Image, ImageConfig, Linker, Module, Store, Strategy};
    let strategy = if kind.ends_with("jit") { Strategy::Jit } else { Strategy::Interpreter };
    let engine = Engine::new(Config::new().strategy(strategy).memory_slices(IDLE as usize + 2, 65536))?;
    let (_, text) = SKILLS[2];
    let module = Module::new(&engine, text)?;
    let linker = Linker::<()>::new(&engine);
    if kind.starts_with("store") {
        return idle(kind, |all| {
            let mut store = Store::new(&engine, ());
            let instance = linker.instantiate(&mut store, &module)?;
            black_box(instance.get_typed_func::<i32, i32>(&store, "go")?.call(&mut store, 1)?);
            all.push(store);
            Ok(())
        });
    }
    let image = Image::<()>::new(&linker, &module, &ImageConfig::new())?;
    let go = image.typed_func::<i32, i32>("go")?;
    idle(kind, |all| {
        let mut instance = image.instantiate(())?;
        black_box(instance.call(&go, 1)?);
        all.push(instance);
        Ok(())
    })
}

/// Makes [`IDLE`] of something and prints what one takes.
fn idle<T>(kind: &str, mut make: impl FnMut(&mut Vec<T>) -> Fallible<()>) -> Fallible<()> {
    let mut all = Vec::with_capacity(IDLE as usize);
    make(&mut all)?;
    let fields = ["VmRSS", "VmPTE", "VmSize"];
    let before = [own_bytes(fields[0])?, own_bytes(fields[1])?, own_bytes(fields[2])?];
    let start = Instant::now();
    for _ in 1..IDLE {
        make(&mut all)?;
    }
    let made = start.elapsed();
    let mut each = [0; 3];
    for (each, (field, before)) in each.iter_mut().zip(fields.iter().zip(before)) {
        *each = own_bytes(field)?.saturating_sub(before) / (IDLE - 1);
    }
    let mappings = std::fs::read_to_string("/proc/self/maps")?.lines().count();
    let start = Instant::now();
    drop(all);
    println!(
        "| {kind} | {} B | {} B | {} B | {mappings} | {:.2} µs | {:.2} µs |",
        each[0],
        each[1],
        each[2],
        made.as_secs_f64() * 1e6 / IDLE as f64,
        start.elapsed().as_secs_f64() * 1e6 / IDLE as f64,
    );
    Ok(())
}

/// A field of the process's status, in bytes.
fn own_bytes(field: &str) -> Fallible<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or("the system tells")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// What this thread has used so far.
fn used() -> libc::rusage {
    // SAFETY: all zeros is a valid value to be filled.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the out-pointer is valid.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) }, 0, "this thread can be asked for");
    usage
}
