//! `steady`: programs that compute, beside Wasmtime: their speed once they are compiled, and the time from bytes to their end.
//!
//! ```text
//! cargo run --release -p aura-benches --bin steady -- [--rounds N] [--seconds S] [PROGRAM...]
//! ```
//!
//! How much a program computes is set once, so that Wasmtime takes some 20 ms for a call; in every round each engine takes
//! its turn. Steady: a call on a module whose functions are compiled. Total: from bytes to the result of a call that takes
//! Wasmtime about S seconds (1 unless said), compilation included, one round in four. Figures are medians; Markdown.

use std::time::{Duration, Instant};

use aura_benches::{Contender, Loaded, Outcome, guests, long_running_contenders, median};

const PROGRAMS: [&str; 11] =
    ["core_mix", "hash", "matrix", "bodies", "calls", "sieve", "dispatch", "pointers", "sort", "words", "mandelbrot"];

struct Options {
    rounds: usize,
    seconds: f64,
    programs: Vec<String>,
}

fn options() -> Outcome<Options> {
    let mut options = Options { rounds: 12, seconds: 1.0, programs: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg}: a value is missing"));
        match arg.as_str() {
            "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
            "--seconds" => options.seconds = value()?.parse()?,
            flag if flag.starts_with('-') => return Err(format!("no such option: {flag}").into()),
            program => options.programs.push(program.to_owned()),
        }
    }
    if options.programs.is_empty() {
        options.programs = PROGRAMS.map(str::to_owned).into();
    }
    Ok(options)
}

fn main() -> Outcome<()> {
    let options = options()?;
    let wasm = guests::compiled("steady.wasm");
    let engines = long_running_contenders();
    println!(
        "| program | wasmtime, ms | jit / wasmtime | auto / wasmtime | total wasmtime, ms | total auto / wasmtime |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    let (mut steady, mut total) = (Vec::new(), Vec::new());
    for program in &options.programs {
        let loaded: Vec<_> = engines.iter().map(|engine| engine.load(&wasm)).collect::<Outcome<_>>()?;
        let amount = amount(&*loaded[0], program)?;
        for engine in &loaded {
            warm(&**engine, program, amount)?;
        }
        let [wasmtime, jit, auto] = measure(&options, &loaded, program, amount)?;
        let [total_wasmtime, total_auto] = totals(&options, [&*engines[0], &*engines[2]], &wasm, program, amount)?;
        steady.push((jit / wasmtime, auto / wasmtime));
        total.push(total_auto / total_wasmtime);
        println!(
            "| {program} | {:.1} | {:.3} | {:.3} | {:.0} | {:.3} |",
            wasmtime * 1e3,
            jit / wasmtime,
            auto / wasmtime,
            total_wasmtime * 1e3,
            total_auto / total_wasmtime
        );
    }
    let mean = |ratios: &mut dyn Iterator<Item = f64>| {
        let logs: Vec<f64> = ratios.map(f64::ln).collect();
        (logs.iter().sum::<f64>() / logs.len() as f64).exp()
    };
    println!(
        "| geometric mean | | {:.3} | {:.3} | | {:.3} |",
        mean(&mut steady.iter().map(|ratio| ratio.0)),
        mean(&mut steady.iter().map(|ratio| ratio.1)),
        mean(&mut total.into_iter())
    );
    Ok(())
}

/// How much a program has to compute for a call of some 20 ms.
fn amount(engine: &dyn Loaded, program: &str) -> Outcome<i32> {
    let mut amount = 1;
    loop {
        let time = engine.time_calls(program, amount, 1)?;
        if time > Duration::from_millis(4) || amount > 1 << 28 {
            return Ok((f64::from(amount) * 0.02 / time.as_secs_f64()).max(1.0) as i32);
        }
        amount *= 2;
    }
}

/// Calls until what is hot is compiled.
fn warm(engine: &dyn Loaded, program: &str, amount: i32) -> Outcome<()> {
    for _ in 0..3 {
        engine.time_calls(program, amount, 1)?;
        std::thread::sleep(Duration::from_millis(30));
    }
    Ok(())
}

fn measure(options: &Options, loaded: &[Box<dyn Loaded>], program: &str, amount: i32) -> Outcome<[f64; 3]> {
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..options.rounds {
        for (engine, times) in loaded.iter().zip(&mut times) {
            times.push(engine.time_calls(program, amount, 1)?.as_secs_f64());
        }
    }
    Ok(times.map(|mut times| median(&mut times)))
}

fn totals(
    options: &Options,
    engines: [&dyn Contender; 2],
    wasm: &[u8],
    program: &str,
    amount: i32,
) -> Outcome<[f64; 2]> {
    let amount = (f64::from(amount) * options.seconds / 0.02).min(f64::from(i32::MAX)) as i32;
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..options.rounds.div_ceil(4) {
        let mut results = [0; 2];
        for ((engine, times), result) in engines.iter().zip(&mut times).zip(&mut results) {
            let start = Instant::now();
            *result = engine.first_result(wasm, program, amount)?;
            times.push(start.elapsed().as_secs_f64());
        }
        assert_eq!(results[0], results[1], "{program}: engines give one result");
    }
    Ok(times.map(|mut times| median(&mut times)))
}
