//! Work done over time since the bytes were there: who begins early, who ends fast.

use std::time::{Duration, Instant};

use aura_benches::Outcome;
use aura_benches::guests::prebuilt;

use super::engines::ColdEngine;
use super::measure::progress;

/// An engine's work: seconds since the start, and calls completed until then.
pub(crate) struct Curve {
    pub(crate) engine: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What one unit of work is.
pub(crate) const WORK: &str = "fib(12) of compute.wasm, some 930 calls of a function";
const EXPORT: &str = "fib";
const ARGUMENT: i32 = 12;
const EXPECTED: i32 = 144;

/// The factor between two points' times: the plot's axes are logarithmic.
const STEP: f64 = 1.08;

/// Lets every engine work for so many seconds, one after the other.
pub(crate) fn draw(engines: &[Box<dyn ColdEngine>], seconds: f64) -> Outcome<Vec<Curve>> {
    let wasm = prebuilt("compute.wasm");
    let bar = progress("work over time", engines.len());
    let mut curves = Vec::new();
    for engine in engines {
        bar.set_message(engine.name());
        curves.push(Curve { engine: engine.name(), points: work(&**engine, &wasm, Duration::from_secs_f64(seconds))? });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(curves)
}

fn work(engine: &dyn ColdEngine, wasm: &[u8], until: Duration) -> Outcome<Vec<(f64, f64)>> {
    let mut wasm = wasm.to_vec();
    let (mut points, mut done, mut next) = (Vec::new(), 0_u64, 0.0);
    let begin = Instant::now();
    let mut running = engine.load(&mut wasm)?;
    loop {
        if running.call(EXPORT, ARGUMENT)? != EXPECTED {
            return Err(format!("{}: the work gave a wrong result", engine.name()).into());
        }
        done += 1;
        let now = begin.elapsed();
        if now.as_secs_f64() >= next {
            points.push((now.as_secs_f64(), done as f64));
            next = now.as_secs_f64() * STEP;
        }
        if now >= until {
            return Ok(points);
        }
    }
}
