//! `aura hostile`: modules that are made to cost, and what they cost.
//!
//! Each shape runs in a process of its own, once for each engine, so that one's memory is not counted for another. A shape
//! may be refused, run or trap; what counts is that time and memory stay proportional to its bytes.

mod encode;
mod shapes;

use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use aura_runtime::{Config, Engine, Error, Linker, Module, Store, Val};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{EngineArg, HostileArgs};
use crate::report::Failure;
use shapes::{SHAPES, Shape};

/// What any module may take besides what its bytes allow: the process itself, an engine, a thread's stacks.
const TIME_BASE: Duration = Duration::from_millis(400);
const MEMORY_BASE: u64 = 48 << 20;
/// What each byte of a module may take.
const TIME_PER_BYTE: Duration = Duration::from_nanos(2_000);
/// What compiling takes besides, which only functions that are called are.
const COMPILE_TIME_PER_BYTE: Duration = Duration::from_nanos(18_000);
const MEMORY_PER_BYTE: u64 = 120;
/// How long the guest itself may run; a shape's call ends by this at the latest.
const RUN_LIMIT: Duration = Duration::from_millis(300);
/// What a store of the command lets its guests have.
const GUEST_MEMORY: u64 = 16 << 20;

/// What one shape did on one engine.
struct Outcome {
    compiles: bool,
    bytes: u64,
    taken: Duration,
    peak: u64,
    how: String,
}

impl Outcome {
    fn time_allowed(&self) -> Duration {
        let per_byte = if self.compiles { TIME_PER_BYTE + COMPILE_TIME_PER_BYTE } else { TIME_PER_BYTE };
        TIME_BASE + RUN_LIMIT + per_byte * self.bytes as u32
    }

    fn memory_allowed(&self) -> u64 {
        MEMORY_BASE + GUEST_MEMORY + MEMORY_PER_BYTE * self.bytes
    }

    fn is_within(&self) -> bool {
        self.taken <= self.time_allowed() && self.peak <= self.memory_allowed()
    }
}

/// Runs the shapes and prints what they cost.
///
/// # Errors
/// If a process cannot be started.
pub(crate) fn hostile(args: &HostileArgs) -> Result<ExitCode, Failure> {
    if let Some(name) = &args.one {
        return one(name, args.engine.unwrap_or(EngineArg::Interpreter));
    }
    let engines = args.engine.map_or(vec![EngineArg::Interpreter, EngineArg::Jit], |engine| vec![engine]);
    let wanted =
        |shape: &&Shape| args.shapes.is_empty() || args.shapes.iter().any(|word| shape.name.contains(word.as_str()));
    let shapes: Vec<&Shape> = SHAPES.iter().filter(wanted).collect();
    let bar = ProgressBar::new((shapes.len() * engines.len()) as u64)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {wide_msg}").expect("a template"));
    let mut beyond = 0;
    let mut lines = Vec::new();
    for shape in shapes {
        for engine in &engines {
            bar.set_message(format!("{}, {engine:?}", shape.name));
            let outcome = measure(shape, *engine)?;
            beyond += usize::from(!outcome.is_within());
            lines.push(line(shape, *engine, &outcome));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    println!(
        "{:<22} {:<12} {:>10} {:>10} {:>10} {:>10} {:>9}  outcome",
        "shape", "engine", "bytes", "ms", "ns/byte", "peak MiB", "B/byte"
    );
    lines.iter().for_each(|line| println!("{line}"));
    println!(
        "limits: {} ms + {} ns per byte, {} where functions are compiled; {} MiB + {MEMORY_PER_BYTE} bytes per byte; beyond: {beyond}",
        (TIME_BASE + RUN_LIMIT).as_millis(),
        TIME_PER_BYTE.as_nanos(),
        (TIME_PER_BYTE + COMPILE_TIME_PER_BYTE).as_nanos(),
        (MEMORY_BASE + GUEST_MEMORY) >> 20
    );
    Ok(ExitCode::from(u8::from(beyond > 0)))
}

fn line(shape: &Shape, engine: EngineArg, outcome: &Outcome) -> String {
    let Outcome { bytes, taken, peak, how, .. } = outcome;
    let per_byte = |value: u64| value as f64 / *bytes as f64;
    let mark = if outcome.is_within() { "" } else { "  BEYOND" };
    format!(
        "{:<22} {:<12} {bytes:>10} {:>10.1} {:>10.1} {:>10.1} {:>9.1}  {how}{mark}",
        shape.name,
        format!("{engine:?}").to_lowercase(),
        taken.as_secs_f64() * 1e3,
        per_byte(taken.as_nanos() as u64),
        *peak as f64 / f64::from(1 << 20),
        per_byte(*peak)
    )
}

/// Runs one shape in a process of its own.
fn measure(shape: &Shape, engine: EngineArg) -> Result<Outcome, Failure> {
    let compiles = engine != EngineArg::Interpreter;
    let failed = |what: &str| Failure::new(format!("cannot run a process for {}: {what}", shape.name));
    let program = std::env::current_exe().map_err(|error| failed(&error.to_string()))?;
    let output = Command::new(program)
        .args(["hostile", "--engine", &format!("{engine:?}").to_lowercase(), "--one", shape.name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| failed(&error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let number = |key: &str| said(key).and_then(|text| text.parse::<u64>().ok());
    let (Some(bytes), Some(taken), Some(peak), Some(how)) =
        (number("bytes"), number("ns"), number("peak"), said("how"))
    else {
        // A process that dies is what must not be: it is beyond every limit.
        let how = format!("DIED: {}", output.status);
        return Ok(Outcome { compiles, bytes: (shape.make)().len() as u64, taken: Duration::MAX, peak: 0, how });
    };
    Ok(Outcome { compiles, bytes, taken: Duration::from_nanos(taken), peak, how: how.to_owned() })
}

/// What such a process does: makes the shape, loads it, calls it, says what that took.
fn one(name: &str, engine: EngineArg) -> Result<ExitCode, Failure> {
    let shape = SHAPES.iter().find(|shape| shape.name == name);
    let shape = shape.ok_or_else(|| Failure::usage(format!("no such shape: {name}")))?;
    let wasm = (shape.make)();
    let bytes = wasm.len() as u64;
    let mut config = Config::new();
    config.strategy(engine.into());
    let limits =
        aura_runtime::StoreLimits { memory_bytes: GUEST_MEMORY, table_elements: 1_000_000, ..Default::default() };
    config.store_limits(limits);
    let engine = Engine::new(&config).map_err(|error| Failure::new(error.to_string()))?;
    // The shape's own bytes are the caller's, whatever is made of them.
    let before = peak().saturating_sub(bytes);
    let begin = Instant::now();
    let how = match run(&engine, wasm) {
        Ok(()) => "ran".to_owned(),
        Err(error) => error.to_string().lines().next().unwrap_or_default().chars().take(70).collect(),
    };
    println!("bytes {bytes}\nns {}\npeak {}\nhow {how}", begin.elapsed().as_nanos(), peak().saturating_sub(before));
    Ok(ExitCode::SUCCESS)
}

fn run(engine: &Engine, wasm: Vec<u8>) -> Result<(), Error> {
    let module = Module::from_owned(engine, wasm)?;
    let mut store = Store::new(engine, ());
    store.set_deadline(RUN_LIMIT);
    let mut linker = Linker::new(engine);
    linker.define_unknown_imports_as_traps(&module)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let Some(func) = instance.get_func(&store, "run") else { return Ok(()) };
    let mut results = vec![Val::I32(0); func.ty(&store).results().len()];
    func.call(&mut store, &[], &mut results)
}

/// The most memory that this process had resident, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse().ok());
    1024 * kib.unwrap_or(0_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_names_of_their_own_and_are_modules() {
        let mut names: Vec<_> = SHAPES.iter().map(|shape| shape.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SHAPES.len());
        for shape in SHAPES {
            assert!((shape.make)().starts_with(b"\0asm\x01\0\0\0"), "{}", shape.name);
        }
    }
}
