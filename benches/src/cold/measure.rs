//! Interleaved rounds inside this process: bytes to the first result, and known module to the first result.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aura_benches::Outcome;
use indicatif::{ProgressBar, ProgressStyle};

use super::engines::{self, ColdEngine, Running};
use super::guests::{Call, Guest};

/// What a table's figures are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
}

/// One question, put to every engine about every guest.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    pub(crate) guests: Vec<String>,
    /// An engine's name, and a cell for each guest.
    pub(crate) rows: Vec<(&'static str, Vec<Cell>)>,
}

/// What an engine did with a guest.
#[derive(Clone)]
pub(crate) enum Cell {
    Measured(Summary),
    Not(String),
}

/// The median of the rounds, with the quartiles.
#[derive(Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Summary {
    pub(crate) fn of(samples: &mut [f64]) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples.get(((samples.len().max(1) - 1) as f64 * share).round() as usize).copied();
        Some(Self { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
    }
}

/// The samples of one engine and one guest as they come in.
#[derive(Default)]
pub(crate) struct Samples {
    taken: Vec<f64>,
    failed: Option<String>,
}

impl Samples {
    pub(crate) fn add(&mut self, sample: Outcome<f64>) {
        match sample {
            Ok(sample) => self.taken.push(sample),
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    fn cell(mut self) -> Cell {
        match (self.failed, Summary::of(&mut self.taken)) {
            (Some(why), _) => Cell::Not(why),
            (None, Some(summary)) => Cell::Measured(summary),
            (None, None) => Cell::Not("not measured".to_owned()),
        }
    }
}

/// A table from samples by engine and guest.
pub(crate) fn table(
    (title, what, unit): (&'static str, &'static str, Unit),
    guests: &[&Guest],
    engines: &[Box<dyn ColdEngine>],
    samples: Vec<Vec<Samples>>,
) -> Table {
    let cells = samples.into_iter().map(|row| row.into_iter().map(Samples::cell).collect());
    let rows = engines.iter().map(|engine| engine.name()).zip(cells).collect();
    Table { title, what, unit, guests: guests.iter().map(|guest| guest.name.clone()).collect(), rows }
}

/// A bar that shows how far the rounds are; nothing if standard error is no terminal.
pub(crate) fn progress(title: &str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:26} {bar:40} {pos}/{len} {wide_msg}").expect("a template");
    ProgressBar::new(steps as u64).with_style(style).with_prefix(title.to_owned())
}

/// Bytes to a module that is ready.
pub(crate) fn ready<'g>(guests: impl Iterator<Item = &'g Guest>, rounds: usize) -> Outcome<Table> {
    let (engines, guests) = (engines::validating()?, guests.collect::<Vec<_>>());
    let samples = each(&engines, &guests, rounds, "bytes to ready", |engine, _, guest| {
        repeat(|| {
            let mut wasm = guest.wasm.clone();
            let begin = Instant::now();
            let module = black_box(engine.ready(&mut wasm))?;
            let taken = begin.elapsed();
            drop(module);
            Ok(taken)
        })
    });
    let asked = (
        "bytes to ready",
        "Bytes in memory to a module; validated whole, but where the engine is lazy. Nothing runs.",
        Unit::Nanoseconds,
    );
    Ok(table(asked, &guests, &engines, samples))
}

/// Both questions on all guests that need no host.
pub(crate) fn rounds(
    engines: &[Box<dyn ColdEngine>],
    guests: &[Guest],
    rounds: usize,
    work: &Path,
) -> Outcome<Vec<Table>> {
    let guests: Vec<&Guest> = guests.iter().filter(|guest| matches!(guest.call, Call::Function { .. })).collect();
    if guests.is_empty() {
        return Ok(Vec::new());
    }
    let raw = each(engines, &guests, rounds, "raw bytes", |engine, _, guest| {
        repeat(|| {
            let mut wasm = guest.wasm.clone();
            timed(|| engine.load(&mut wasm), &guest.call)
        })
    });
    let files = |engine: usize, guest: usize| work.join(format!("known-{engine}-{guest}"));
    let mut known_by = Vec::new();
    for (e, engine) in engines.iter().enumerate() {
        for (g, guest) in guests.iter().enumerate() {
            known_by.push(engine.precompile(&guest.wasm, &files(e, g)).map(|made| made.map(|()| files(e, g))));
        }
    }
    let file = |engine: usize, guest: usize| -> Outcome<&PathBuf> {
        match &known_by[engine * guests.len() + guest] {
            Ok(Some(file)) => Ok(file),
            Ok(None) => Err("keeps nothing".into()),
            Err(error) => Err(error.to_string().into()),
        }
    };
    let known = each(engines, &guests, rounds, "known module", |engine, (e, g), guest| {
        let file = file(e, g)?;
        repeat(|| timed(|| engine.load_known(file), &guest.call))
    });
    let asked_raw = (
        "raw bytes to first result",
        "Bytes in memory, an engine that exists; module, store, instance, the export by name and its first call are inside.",
        Unit::Nanoseconds,
    );
    let asked_known = (
        "known module to first result",
        "The same from a file that the engine made of the module before and that lies in the page cache; opening it is inside.",
        Unit::Nanoseconds,
    );
    Ok(vec![table(asked_raw, &guests, engines, raw), table(asked_known, &guests, engines, known)])
}

/// Asks every engine about every guest, round by round.
pub(crate) fn each(
    engines: &[Box<dyn ColdEngine>],
    guests: &[&Guest],
    rounds: usize,
    title: &str,
    mut ask: impl FnMut(&dyn ColdEngine, (usize, usize), &Guest) -> Outcome<f64>,
) -> Vec<Vec<Samples>> {
    let mut samples: Vec<Vec<Samples>> =
        engines.iter().map(|_| guests.iter().map(|_| Samples::default()).collect()).collect();
    let bar = progress(title, rounds * guests.len() * engines.len());
    for _ in 0..rounds {
        for (g, guest) in guests.iter().enumerate() {
            for (e, engine) in engines.iter().enumerate() {
                bar.set_message(format!("{}, {}", guest.name, engine.name()));
                if !samples[e][g].has_failed() {
                    samples[e][g].add(ask(&**engine, (e, g), guest));
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    samples
}

/// Up to so many runs make one sample, if they are short.
const REPEATS: usize = 25;
const SHORT: Duration = Duration::from_millis(5);

/// The median of some runs in nanoseconds: of one if it takes long.
fn repeat(mut once: impl FnMut() -> Outcome<Duration>) -> Outcome<f64> {
    let begin = Instant::now();
    let mut taken = Vec::new();
    while taken.len() < REPEATS && (taken.is_empty() || begin.elapsed() < SHORT) {
        taken.push(once()?.as_nanos() as f64);
    }
    Ok(Summary::of(&mut taken).ok_or("nothing was measured")?.median)
}

/// Loads and calls; only dropping is outside the clock.
fn timed(load: impl FnOnce() -> Outcome<Box<dyn Running>>, call: &Call) -> Outcome<Duration> {
    let Call::Function { export, argument, expected } = call else { return Err("a program".into()) };
    let begin = Instant::now();
    let mut running = load()?;
    let result = black_box(running.call(export, *argument))?;
    let taken = begin.elapsed();
    match expected {
        Some(expected) if *expected != result => Err(format!("{export} gave {result}, not {expected}").into()),
        _ => Ok(taken),
    }
}
