//! The interpreter alone, beside wasmi: programs that compute, in rounds that alternate between the two.
//!
//!     cargo bench -p aura-benches --bench interp -- [--rounds N] [--only NAME] [--record FILE]
//!
//! Each program is loaded once by each engine and called once before anything is timed. Then every round calls
//! it on both, in alternating order, until the call has taken some milliseconds; a figure is the median
//! of the rounds. A ratio below 1 says that Aura is faster. `--record` writes the table as Markdown.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use aura_benches::guests::prebuilt;
use aura_benches::machine::describe;
use aura_benches::median;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A program, its argument, and what it returns.
struct Program {
    module: &'static str,
    function: &'static str,
    argument: u32,
}

const fn program(module: &'static str, function: &'static str, argument: u32) -> Program {
    Program { module, function, argument }
}

/// Arguments are such that a call takes some ten milliseconds.
const PROGRAMS: &[Program] = &[
    program("compute", "nbody", 4000),
    program("compute", "fannkuch", 7),
    program("compute", "mandelbrot", 96),
    program("compute", "crc32", 8),
    program("compute", "sieve", 200_000),
    program("compute", "fib", 24),
    program("compute", "dispatch", 300_000),
    program("work", "sha256", 400),
    program("work", "sort", 20_000),
    program("work", "matrix", 10),
    program("work", "map", 100_000),
    program("work", "json", 20),
    program("work", "base64", 20),
    program("work", "machine", 20_000),
    program("work", "lists", 10),
    program("work", "copy", 100),
];

/// One engine's instance of a program: a call of it, whose result is compared as bits.
type Call = Box<dyn FnMut() -> Outcome<u64>>;

fn aura(wasm: &[u8], program: &Program) -> Outcome<Call> {
    use aura_runtime::{Config, Engine, Instance, Module, Store, Strategy};
    let mut config = Config::new();
    config.strategy(Strategy::Interpreter);
    let engine = Engine::new(&config)?;
    let module = Module::from_binary(&engine, wasm)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let argument = program.argument;
    if let Ok(function) = instance.get_typed_func::<u32, u32>(&mut store, program.function) {
        return Ok(Box::new(move || Ok(function.call(&mut store, argument)?.into())));
    }
    let function = instance.get_typed_func::<u32, f64>(&mut store, program.function)?;
    Ok(Box::new(move || Ok(function.call(&mut store, argument)?.to_bits())))
}

fn wasmi(wasm: &[u8], program: &Program) -> Outcome<Call> {
    use wasmi::{Engine, Linker, Module, Store};
    let engine = Engine::default();
    let module = Module::new(&engine, wasm)?;
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate_and_start(&mut store, &module)?;
    let argument = program.argument;
    if let Ok(function) = instance.get_typed_func::<u32, u32>(&store, program.function) {
        return Ok(Box::new(move || Ok(function.call(&mut store, argument)?.into())));
    }
    let function = instance.get_typed_func::<u32, f64>(&store, program.function)?;
    Ok(Box::new(move || Ok(function.call(&mut store, argument)?.to_bits())))
}

/// Seconds that one call takes.
fn time(call: &mut Call) -> Outcome<f64> {
    let start = Instant::now();
    black_box(call()?);
    Ok(start.elapsed().as_secs_f64())
}

/// Medians of a program's calls on both engines, in seconds.
fn measure(program: &Program, rounds: usize) -> Outcome<(f64, f64)> {
    let wasm = match program.module {
        "compute" => prebuilt("compute.wasm"),
        other => fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(other).with_extension("wasm"))?,
    };
    let (mut ours, mut theirs) = (aura(&wasm, program)?, wasmi(&wasm, program)?);
    let (first, second) = (ours()?, theirs()?);
    if first != second {
        return Err(format!("{}: the engines disagree: {first:#x} and {second:#x}", program.function).into());
    }
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            our_times.push(time(&mut ours)?);
            their_times.push(time(&mut theirs)?);
        } else {
            their_times.push(time(&mut theirs)?);
            our_times.push(time(&mut ours)?);
        }
    }
    Ok((median(&mut our_times), median(&mut their_times)))
}

struct Options {
    rounds: usize,
    only: Option<String>,
    record: Option<String>,
}

fn options() -> Outcome<Options> {
    let mut options = Options { rounds: 21, only: None, record: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => options.rounds = value()?.parse()?,
            "--only" => options.only = Some(value()?),
            "--record" => options.record = Some(value()?),
            // What cargo passes to every bench.
            "--bench" => {}
            other => return Err(format!("unknown option {other}; there are --rounds, --only, --record").into()),
        }
    }
    Ok(options)
}

fn main() -> Outcome<()> {
    let options = options()?;
    let mut table = String::from("| program | aura, ms | wasmi, ms | aura / wasmi |\n|---|---:|---:|---:|\n");
    let (mut logarithms, mut count) = (0.0, 0);
    for program in PROGRAMS {
        if options.only.as_deref().is_some_and(|only| only != program.function) {
            continue;
        }
        let (ours, theirs) = measure(program, options.rounds.max(1))?;
        let ratio = ours / theirs;
        println!("{:<12} {:>9.3} ms {:>9.3} ms   {ratio:.3}", program.function, ours * 1e3, theirs * 1e3);
        let name = format!("{}({})", program.function, program.argument);
        writeln!(table, "| {name} | {:.3} | {:.3} | {ratio:.3} |", ours * 1e3, theirs * 1e3)?;
        logarithms += f64::ln(ratio);
        count += 1;
    }
    let mean = f64::exp(logarithms / f64::from(count.max(1)));
    println!("geometric mean of {count} programs: {mean:.3}");
    if let Some(file) = options.record {
        let mut record = String::from("# Bench `interp`\n\n");
        describe(&mut record)?;
        writeln!(record, "| command | `cargo bench -p aura-benches --bench interp -- --rounds {}` |", options.rounds)?;
        writeln!(record, "\nMedians of {} rounds that alternate between the two engines.\n", options.rounds)?;
        writeln!(record, "{table}\nGeometric mean of {count} programs: **{mean:.3}**.")?;
        fs::write(file, record)?;
    }
    Ok(())
}
