//! `aura leakcheck`: proves of one module that its instances leave nothing behind in the slots they used.

use std::fs;
use std::ops::Range;
use std::process::ExitCode;

use aura_runtime::leakcheck::{self, Place, Scanned};
use aura_runtime::{Config, Engine, Image, ImageConfig, ImageInstance, Linker, Val};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::LeakcheckArgs;
use crate::load::Source;
use crate::report::{Failure, print};

/// Fuel of each call of an export: enough to do harm, too little to take long.
const FUEL: u64 = 10_000;
/// Rounds between two looks at the process's map of memory.
const MAPS_EVERY: u64 = 1000;

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
    let mut total = Scanned::default();
    for round in 0..args.rounds {
        let mut instance = match image.instantiate(()) {
            Ok(instance) => instance,
            // A start function may trap; what it left is looked for in the next round.
            Err(error) if error.trap().is_some() => continue,
            Err(error) => return Err(failed("cannot instantiate", &error)),
        };
        let found =
            if module.validated().start().is_some() { Ok(Scanned::default()) } else { leakcheck::compare(&instance) };
        let found = found.and_then(|scanned| match round % MAPS_EVERY {
            0 => check_maps(&leakcheck::places(&instance)).map(|()| scanned),
            _ => Ok(scanned),
        });
        match found {
            Ok(scanned) => add(&mut total, scanned),
            Err(what) => {
                bar.finish_and_clear();
                print(&format!("leak in round {round}: {what}\n"))?;
                return Ok(ExitCode::FAILURE);
            }
        }
        spoil(&mut instance, round);
        bar.inc(1);
    }
    bar.finish_and_clear();
    print(&format!(
        "{} rounds, no leak: compared {} bytes of memory, {} table elements, {} bytes of instances; memory maps every {MAPS_EVERY} rounds\n",
        args.rounds, total.memory_bytes, total.table_elements, total.block_bytes
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn add(total: &mut Scanned, scanned: Scanned) {
    total.memory_bytes += scanned.memory_bytes;
    total.table_elements += scanned.table_elements;
    total.block_bytes += scanned.block_bytes;
}

/// Calls an export with canaries, and writes canaries past it.
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
    leakcheck::spoil(instance, round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
}

/// Checks that exactly what guests may access of their memories is accessible in the process.
fn check_maps(places: &[Place]) -> Result<(), String> {
    let maps =
        fs::read_to_string("/proc/self/maps").map_err(|error| format!("cannot read /proc/self/maps: {error}"))?;
    for place in places {
        let mut readable = 0;
        for line in maps.lines() {
            let Some((range, access)) = parse(line) else { return Err(format!("cannot read the line `{line}`")) };
            let inside = range.start.max(place.reservation.start)..range.end.min(place.reservation.end);
            if inside.start >= inside.end || access.starts_with("---") {
                continue;
            }
            if inside.start < place.accessible.start || inside.end > place.accessible.end {
                return Err(format!("accessible beyond the memory: {line}"));
            }
            readable += inside.end - inside.start;
        }
        if readable != place.accessible.len() {
            return Err(format!("{readable} bytes of a memory of {} are accessible", place.accessible.len()));
        }
    }
    Ok(())
}

fn parse(line: &str) -> Option<(Range<usize>, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(start)?..address(end)?, rest.get(..4)?))
}
