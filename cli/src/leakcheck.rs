//! `aura leakcheck`: proves of one module that its instances leave nothing behind in the slots they used.

use std::fs;
use std::ops::Range;
use std::process::ExitCode;

use aura_runtime::leakcheck::{self, CANARY, LENT_MIN, Lent, Place, Scanned, Stacks};
use aura_runtime::{Config, Engine, Image, ImageConfig, ImageInstance, Linker, Module, SharedBuffer, Val};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::LeakcheckArgs;
use crate::load::Source;
use crate::report::{Failure, print};

/// Fuel of each call of an export: enough to do harm, too little to take long.
const FUEL: u64 = 10_000;
/// Rounds between two looks at the process's map of memory.
const MAPS_EVERY: u64 = 1000;
/// Rounds between two scans of stacks.
const STACKS_EVERY: u64 = 16;

/// Checks a module.
///
/// # Errors
/// If the file is no module, or cannot be an image.
pub(crate) fn leakcheck(args: &LeakcheckArgs) -> Result<ExitCode, Failure> {
    let source = Source::read(&args.file)?;
    let mut config = Config::new();
    args.features.apply(&mut config);
    config.strategy(args.engine.into()).consume_fuel(true);
    let failed =
        |what: &str, error: &dyn std::fmt::Display| Failure::new(format!("{what}: {}: {error}", args.file.display()));
    let engine = Engine::new(&config).map_err(|e| Failure::new(format!("no engine: {e}")))?;
    let module = source.module(&engine)?;
    let mut linker = Linker::<()>::new(&engine);
    linker.define_unknown_imports_as_default_values(&module).map_err(|e| failed("cannot link", &e))?;
    let image = Image::new(&linker, &module, ImageConfig::new().fuel(FUEL)).map_err(|e| failed("cannot link", &e))?;
    let bar = ProgressBar::new(args.rounds);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} rounds, {eta} left").expect("a sound template"));
    let mut check = Check::new(&engine, &module, &image).map_err(|error| failed("cannot check", &error))?;
    for round in 0..args.rounds {
        match check.round(round) {
            Ok(()) => bar.inc(1),
            Err(Stop::Leak(what)) => {
                bar.finish_and_clear();
                print(&format!("leak in round {round}: {what}\n"))?;
                return Ok(ExitCode::FAILURE);
            }
            Err(Stop::Error(error)) => return Err(failed("cannot instantiate", &error)),
        }
    }
    bar.finish_and_clear();
    print(&check.report(args.rounds))?;
    Ok(ExitCode::SUCCESS)
}

/// Why a round is the last one.
enum Stop {
    Leak(String),
    Error(aura_runtime::Error),
}

/// What is checked, and what was.
struct Check<'a> {
    image: &'a Image<()>,
    starts: bool,
    stacks: Stacks,
    /// Full of canaries, to be lent in part.
    buffer: SharedBuffer,
    /// What the process had mapped beyond the ordinary bytes of a memory at the first look.
    beyond: Option<Vec<String>>,
    total: Scanned,
    loans: u64,
    beside_bytes: u64,
    local_bytes: u64,
}

impl<'a> Check<'a> {
    fn new(engine: &Engine, module: &Module, image: &'a Image<()>) -> aura_runtime::Result<Self> {
        Ok(Self {
            image,
            starts: module.validated().start().is_some(),
            stacks: Stacks::new(engine)?,
            buffer: SharedBuffer::from_bytes(&vec![CANARY; LENT_MIN as usize])?,
            beyond: None,
            total: Scanned::default(),
            loans: 0,
            beside_bytes: 0,
            local_bytes: 0,
        })
    }

    /// Takes an instance, compares it, and leaves canaries in it and in what is lent to it.
    fn round(&mut self, round: u64) -> Result<(), Stop> {
        let mut instance = match self.image.instantiate(()) {
            Ok(instance) => instance,
            // A start function may trap; what it left is looked for in the next round.
            Err(error) if error.trap().is_some() => return Ok(()),
            Err(error) => return Err(Stop::Error(error)),
        };
        if !self.starts {
            let scanned = leakcheck::compare(&instance).map_err(Stop::Leak)?;
            self.total.memory_bytes += scanned.memory_bytes;
            self.total.table_elements += scanned.table_elements;
            self.total.block_bytes += scanned.block_bytes;
        }
        if round.is_multiple_of(MAPS_EVERY) {
            self.check_maps(&leakcheck::places(&instance)).map_err(Stop::Leak)?;
        }
        let seed = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let lent = leakcheck::lend(&mut instance, &self.buffer, seed >> 8).map_err(Stop::Leak)?;
        spoil(&mut instance, round);
        leakcheck::spoil(&mut instance, seed);
        // The loan outlives the instance, whose end is to end it.
        drop(instance);
        if let Some(Lent { loan, beside }) = lent {
            (self.loans, self.beside_bytes) = (self.loans + 1, self.beside_bytes + beside);
            if loan.is_live() {
                return Err(Stop::Leak("a loan is live after its instance is gone".to_owned()));
            }
        }
        if round.is_multiple_of(STACKS_EVERY) {
            self.local_bytes += self.stacks.scan().map_err(|error| Stop::Leak(error.to_string()))?;
        }
        Ok(())
    }

    fn check_maps(&mut self, places: &[Place]) -> Result<(), String> {
        let beyond = beyond(places)?;
        match &self.beyond {
            Some(before) if *before != beyond => {
                Err(format!("behind memories there were {before:?}, and now there are {beyond:?}"))
            }
            Some(_) => Ok(()),
            None => {
                self.beyond = Some(beyond);
                Ok(())
            }
        }
    }

    fn report(&self, rounds: u64) -> String {
        let Scanned { memory_bytes, table_elements, block_bytes, .. } = self.total;
        format!(
            "{rounds} rounds, no leak: compared {memory_bytes} bytes of memory, {table_elements} table elements, {block_bytes} bytes \
             of instances; {} loans, {} bytes beside them; {} bytes of locals; memory maps every {MAPS_EVERY} rounds\n",
            self.loans, self.beside_bytes, self.local_bytes
        )
    }
}

/// Calls an export.
fn spoil(instance: &mut ImageInstance<()>, round: u64) {
    let handle = instance.instance();
    let exports = handle.exports(&*instance);
    if !exports.is_empty()
        && let Some(func) = exports[round as usize % exports.len()].1.clone().into_func()
    {
        let ty = func.ty(&*instance);
        let args: Vec<_> = ty.params().iter().map(|ty| Val::default_for(*ty)).collect();
        let mut results: Vec<_> = ty.results().iter().map(|ty| Val::default_for(*ty)).collect();
        // Traps and ends of fuel are what this is for.
        let _ = func.call(&mut *instance, &args, &mut results);
    }
}

/// Checks that exactly what guests may access of their memories is accessible in the process; the mappings behind their
/// ordinary bytes, by their distance from the memory's beginning.
fn beyond(places: &[Place]) -> Result<Vec<String>, String> {
    let maps =
        fs::read_to_string("/proc/self/maps").map_err(|error| format!("cannot read /proc/self/maps: {error}"))?;
    let mut beyond = Vec::new();
    for Place { accessible, reservation } in places {
        let (mut readable, ordinary) = (0, &accessible[0]);
        for line in maps.lines() {
            let Some((range, access)) = parse(line) else { return Err(format!("cannot read the line `{line}`")) };
            let inside = range.start.max(reservation.start)..range.end.min(reservation.end);
            if inside.start >= inside.end {
                continue;
            }
            if inside.end > ordinary.end {
                let start = inside.start.max(ordinary.end) - ordinary.start;
                beyond.push(format!("{start:x}-{:x} {access}", inside.end - ordinary.start));
            }
            if access.starts_with("---") {
                continue;
            }
            let allowed: usize = accessible.iter().map(|part| overlap(part, &inside)).sum();
            if allowed != inside.len() {
                return Err(format!("accessible beyond what the guest may access: {line}"));
            }
            readable += allowed;
        }
        let wanted: usize = accessible.iter().map(Range::len).sum();
        if readable != wanted {
            return Err(format!("{readable} bytes of a memory are accessible, and {wanted} are to be"));
        }
    }
    Ok(beyond)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> usize {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

fn parse(line: &str) -> Option<(Range<usize>, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(start)?..address(end)?, rest.get(..4)?))
}
