//! Whole processes: from the start of a program that embeds an engine to its end, and its peak memory.
//!
//! The process is this one again: it reads the file, makes the engine, loads and runs, and says how much memory it took at most.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use aura_benches::Outcome;

use super::engines::{self, ColdEngine, Running};
use super::guests::{Call, Guest};
use super::measure::{Samples, Table, Unit, each, table};
use super::stubs;

/// The word by which this program is told to be such a process.
pub(crate) const CHILD: &str = "--one-process";

/// What it is to do: begin with the module, with what the engine kept of it, or with the module and the engine's own WASI.
const RAW: &str = "raw";
const KNOWN: &str = "known";
const COMMAND: &str = "command";

/// Runs one guest on one engine: `ENGINE KIND FILE [EXPORT ARGUMENT]`.
pub(crate) fn child(args: &[String]) -> Outcome<()> {
    let [engine, kind, file, call @ ..] = args else { return Err("an engine, a kind and a file are missing".into()) };
    let engine = engines::named(engine)?;
    let start = |mut running: Box<dyn Running>| match call {
        [export, argument] => {
            println!("result {}", running.call(export, argument.parse()?)?);
            Ok(())
        }
        _ => running.start("_start"),
    };
    match kind.as_str() {
        COMMAND => engine.run_program(&mut fs::read(file)?, call)?,
        KNOWN => start(engine.load_known(Path::new(file))?)?,
        _ => start(engine.load(&mut fs::read(file)?)?)?,
    }
    println!("written {}", stubs::bytes_written());
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    println!("peak {}", peak.trim().trim_end_matches(" kB"));
    Ok(())
}

/// What one process took.
struct Whole {
    ns: f64,
    peak_bytes: f64,
}

fn run(engine: &str, kind: &str, file: &Path, call: &Call) -> Outcome<Whole> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([CHILD, engine, kind]).arg(file).env_remove("RUST_BACKTRACE");
    match call {
        Call::Function { export, argument, .. } => drop(command.arg(export).arg(argument.to_string())),
        Call::Command { args, .. } => drop(command.args(args).stdin(Stdio::null())),
        Call::Program => {}
    }
    let begin = Instant::now();
    let output = command.output()?;
    let ns = begin.elapsed().as_nanos() as f64;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it failed").to_owned();
        return Err(text.into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Call::Command { says, .. } = call
        && !text.contains(says)
    {
        return Err(format!("it did not say `{says}`").into());
    }
    let said = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<f64>().ok());
    if let (Call::Function { expected: Some(expected), .. }, Some(result)) = (call, said("result"))
        && f64::from(*expected) != result
    {
        return Err(format!("it gave {result}, not {expected}").into());
    }
    Ok(Whole { ns, peak_bytes: 1024.0 * said("peak").ok_or("it did not say its peak")? })
}

/// Runs of whole processes, each some milliseconds at least: fewer rounds than inside.
fn fewer(rounds: usize) -> usize {
    rounds.div_ceil(2)
}

/// The guests' modules as files.
fn written(guests: &[&Guest], work: &Path) -> Outcome<Vec<PathBuf>> {
    let write = |guest: &&Guest| {
        let file = work.join(format!("{}.wasm", guest.name));
        fs::write(&file, &guest.wasm)?;
        Ok(file)
    };
    guests.iter().map(write).collect()
}

/// Real programs from the start of the process to its end, on engines with their own WASI.
pub(crate) fn programs(programs: &[Guest], rounds: usize, work: &Path) -> Outcome<Vec<Table>> {
    let (engines, programs) = (engines::for_programs()?, programs.iter().collect::<Vec<_>>());
    let files = written(&programs, work)?;
    let mut peaks: Vec<Vec<Samples>> =
        engines.iter().map(|_| programs.iter().map(|_| Samples::default()).collect()).collect();
    // Some rivals take ten seconds for a program.
    let times = each(&engines, &programs, rounds.div_ceil(5), "real programs", |engine, (e, p), program| {
        let whole = run(engine.name(), COMMAND, &files[p], &program.call)?;
        peaks[e][p].add(Ok(whole.peak_bytes));
        Ok(whole.ns)
    });
    let what = "From starting the process to its end: the program, of 13 to 25 MB, prints a line or two. Every engine has its own WASI, and no cache.";
    Ok(vec![
        table(("real programs, total time", what, Unit::Nanoseconds), &programs, &engines, times),
        table(("real programs, peak memory", "The same runs.", Unit::Bytes), &programs, &engines, peaks),
    ])
}

/// All guests on all engines, from the module and from what engines keep of it.
pub(crate) fn rounds(
    engines: &[Box<dyn ColdEngine>],
    guests: &[Guest],
    rounds: usize,
    work: &Path,
) -> Outcome<Vec<Table>> {
    let guests: Vec<&Guest> = guests.iter().collect();
    let files = written(&guests, work)?;
    let peaks = || engines.iter().map(|_| guests.iter().map(|_| Samples::default()).collect()).collect();
    let mut raw_peaks: Vec<Vec<Samples>> = peaks();
    let raw = each(engines, &guests, fewer(rounds), "whole processes", |engine, (e, g), guest| {
        let whole = run(engine.name(), RAW, &files[g], &guest.call)?;
        raw_peaks[e][g].add(Ok(whole.peak_bytes));
        Ok(whole.ns)
    });
    let known = each(engines, &guests, fewer(rounds), "whole, known module", |engine, (e, g), guest| {
        let file = work.join(format!("whole-{e}-{g}"));
        if !file.exists() {
            engine.precompile(&guest.wasm, &file)?.ok_or("keeps nothing")?;
        }
        Ok(run(engine.name(), KNOWN, &file, &guest.call)?.ns)
    });
    let ask = |title, what, unit, samples| table((title, what, unit), &guests, engines, samples);
    Ok(vec![
        ask(
            "total time of a process",
            "From starting a program that embeds the engine to its end: process, engine, file, module, run.",
            Unit::Nanoseconds,
            raw,
        ),
        ask("total time, known module", "The same from what the engine kept of the module.", Unit::Nanoseconds, known),
        ask("peak memory", "The most memory that the process had resident (VmHWM).", Unit::Bytes, raw_peaks),
    ])
}
