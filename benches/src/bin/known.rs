//! `known`: from the artifact of a module to the first result of a function, for modules of very different sizes.
//!
//! ```text
//! cargo run --release -p aura-benches --bin known -- [--rounds N] [--lowered]
//! ```
//!
//! The modules differ in how many functions they define, of which the same two are called. Beside each load stand, in the
//! same round, what cannot be saved: opening and mapping the file, and making a memory where the module has one; and, for modules
//! that are not too long to compile for a bench, the same from an artifact with machine code and from what Wasmtime compiled before.
//! `--lowered` leaves those two out, so that nothing of them is in the process. Dropping is outside the clock. Figures are medians; Markdown.
//!
//! # Safety
//! What is mapped is never read.

use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use aura_benches::{Outcome, machine, median};
use aura_runtime::{Artifact, ArtifactKey, Config, Engine, Instance, Memory, MemoryType, Module, Store, Strategy};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Artifacts of the comparison are believed by nobody else.
const KEY: ArtifactKey = ArtifactKey::new([0x5a; ArtifactKey::LEN]);

/// Bytes of the modules.
const SIZES: [usize; 6] = [0, 10 << 10, 100 << 10, 1 << 20, 10 << 20, 25 << 20];

/// Larger modules are not compiled to machine code here: Wasmtime and Aura take a quarter of a minute for each 10 MiB.
const NATIVE_MAX: usize = 10 << 20;

/// Runs of one way in one round, of which the median counts.
const REPEATS: usize = 9;

/// A section: its number, its length, its contents.
fn section(wasm: &mut Vec<u8>, number: u8, contents: &[u8]) {
    wasm.push(number);
    leb(wasm, contents.len());
    wasm.extend_from_slice(contents);
}

fn leb(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn body(out: &mut Vec<u8>, code: &[u8]) {
    leb(out, code.len() + 1);
    out.push(0);
    out.extend_from_slice(code);
}

/// A module of about so many bytes. `run` calls the function before it, which stands behind all others; the others compute
/// and are never called.
fn made(bytes: usize, memory: bool) -> Vec<u8> {
    // local.get 0, then additions of constants and comparisons with zero, as many as make some 300 bytes of body.
    let filler: Vec<u8> =
        [vec![0x20, 0]].into_iter().chain((0..80).map(|n| vec![0x41, n % 64, 0x6a, 0x45])).flatten().collect();
    let filler = [filler, vec![0x0b]].concat();
    let fillers = bytes / (filler.len() + 3);
    let (mut functions, mut code) = (Vec::new(), Vec::new());
    leb(&mut functions, fillers + 2);
    leb(&mut code, fillers + 2);
    functions.resize(functions.len() + fillers + 2, 0);
    for _ in 0..fillers {
        body(&mut code, &filler);
    }
    // (i32.add (local.get 0) (i32.const 1)), and a call of it; a store and a load where there is a memory.
    let store: &[u8] = if memory { &[0x41, 8, 0x20, 0, 0x36, 2, 0, 0x41, 8, 0x28, 2, 0] } else { &[0x20, 0] };
    body(&mut code, &[store, &[0x41, 1, 0x6a, 0x0b]].concat());
    let mut call = vec![0x20, 0, 0x10];
    leb(&mut call, fillers);
    body(&mut code, &[call, vec![0x0b]].concat());
    let mut export = b"\x01\x03run\x00".to_vec();
    leb(&mut export, fillers + 1);
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    section(&mut wasm, 1, &[1, 0x60, 1, 0x7f, 1, 0x7f]);
    section(&mut wasm, 3, &functions);
    if memory {
        section(&mut wasm, 5, &[1, 0, 1]);
    }
    section(&mut wasm, 7, &export);
    section(&mut wasm, 10, &code);
    wasm
}

/// A file, mapped for reading.
struct Mapped(*mut std::ffi::c_void, usize);

impl Mapped {
    fn new(file: &File, bytes: usize) -> Outcome<Self> {
        // SAFETY: a new mapping at a place of the system's choice, which nobody reads.
        let at = unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::PRIVATE, file, 0) }?;
        Ok(Self(at, bytes))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: `new` mapped so many bytes here, and nobody else has the address.
        let _ = unsafe { munmap(self.0, self.1) };
    }
}

struct Case {
    name: String,
    bytes: usize,
    artifact_bytes: usize,
    artifact: PathBuf,
    /// With machine code, and what Wasmtime made.
    compiled: Option<[PathBuf; 2]>,
    memory: bool,
}

impl Case {
    fn new(engines: &Engines, bytes: usize, memory: bool, work: &Path) -> Outcome<Self> {
        let wasm = made(bytes, memory);
        let artifact = work.join(format!("{bytes}-{memory}.aura"));
        let module = Module::from_binary(&engines.aura, &wasm)?;
        let made = module.to_artifact(&KEY, [0; 32])?;
        std::fs::write(&artifact, &made)?;
        let compiled = if engines.lowered || bytes > NATIVE_MAX || (memory && bytes == NATIVE_MAX) {
            None
        } else {
            let files = ["native", "cwasm"].map(|ending| work.join(format!("{bytes}-{memory}.{ending}")));
            let native = module.compile_native(2, &|_| {})?;
            std::fs::write(&files[0], module.to_native_artifact(&KEY, [0; 32], &native)?)?;
            std::fs::write(&files[1], engines.wasmtime.precompile_module(&wasm)?)?;
            Some(files)
        };
        let size = if bytes == 0 { "two functions".to_owned() } else { format!("{} KiB", bytes >> 10) };
        let name = if memory { format!("{size}, one page") } else { size };
        Ok(Self { name, bytes: wasm.len(), artifact_bytes: made.len(), artifact, compiled, memory })
    }

    /// From the file to the result.
    fn load(engine: &Engine, artifact: &Path) -> Outcome<(Store<()>, i32)> {
        let module = Artifact::open(artifact, &KEY)?.load(engine)?;
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let run = instance.get_typed_func::<i32, i32>(&store, "run")?;
        let result = run.call(&mut store, black_box(41))?;
        Ok((store, result))
    }

    /// As [`Case::load`], by Wasmtime.
    fn load_precompiled(engine: &wasmtime::Engine, file: &Path) -> Outcome<(wasmtime::Store<()>, i32)> {
        // SAFETY: the engine wrote the file into a folder of this process's own.
        let module = unsafe { wasmtime::Module::deserialize_file(engine, file) }?;
        let mut store = wasmtime::Store::new(engine, ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[])?;
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
        let result = run.call(&mut store, black_box(41))?;
        Ok((store, result))
    }

    /// Nanoseconds of a load, of opening and mapping alone, of a memory alone, of a load with machine code, and of Wasmtime's.
    fn round(&self, Engines { aura: engine, wasmtime, .. }: &Engines) -> Outcome<[f64; 5]> {
        let mut taken = [Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..REPEATS {
            let begin = Instant::now();
            let loaded = Self::load(engine, &self.artifact)?;
            taken[0].push(begin.elapsed().as_nanos() as f64);
            if loaded.1 != 42 {
                return Err(format!("the result is {}", loaded.1).into());
            }
            drop(loaded);
            let begin = Instant::now();
            let file = File::open(&self.artifact)?;
            let mapped = Mapped::new(&file, self.artifact_bytes)?;
            taken[1].push(begin.elapsed().as_nanos() as f64);
            drop(mapped);
            let mut store = Store::new(engine, ());
            let begin = Instant::now();
            if self.memory {
                let limits = aura_runtime::Limits64 { min: 1, max: None };
                let ty = MemoryType { limits, memory64: false, shared: false, page_size_log2: 16 };
                black_box(Memory::new(&mut store, ty)?);
            }
            taken[2].push(begin.elapsed().as_nanos() as f64);
            drop(store);
        }
        if let Some([native, precompiled]) = &self.compiled {
            // One after the other, so that none finds what another left in the caches.
            for _ in 0..REPEATS {
                let begin = Instant::now();
                let loaded = black_box(Self::load(engine, native)?);
                taken[3].push(begin.elapsed().as_nanos() as f64);
                drop(loaded);
            }
            for _ in 0..REPEATS {
                let begin = Instant::now();
                let loaded = black_box(Self::load_precompiled(wasmtime, precompiled)?);
                taken[4].push(begin.elapsed().as_nanos() as f64);
                drop(loaded);
            }
        }
        Ok(taken.map(|mut samples| if samples.is_empty() { f64::NAN } else { median(&mut samples) }))
    }
}

/// Aura, and what it is compared with.
struct Engines {
    aura: Engine,
    wasmtime: wasmtime::Engine,
    /// Only artifacts of lowered code are measured.
    lowered: bool,
}

fn main() -> Outcome<()> {
    let (mut rounds, mut lowered) = (41, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => rounds = args.next().ok_or("--rounds: a value is missing")?.parse::<usize>()?.max(1),
            "--lowered" => lowered = true,
            other => return Err(format!("no such option: {other}").into()),
        }
    }
    let mut config = Config::new();
    let engine = Engine::new(config.strategy(Strategy::Auto))?;
    let engines = Engines { aura: engine, wasmtime: wasmtime::Engine::default(), lowered };
    let work = tempfile::tempdir()?;
    let mut cases = Vec::new();
    for memory in [false, true] {
        for bytes in SIZES {
            cases.push(Case::new(&engines, bytes, memory, work.path())?);
        }
    }
    let mut taken: Vec<[Vec<f64>; 5]> = cases.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for (case, taken) in cases.iter().zip(&mut taken) {
            for (samples, sample) in taken.iter_mut().zip(case.round(&engines)?) {
                samples.push(sample);
            }
        }
    }
    let mut out = String::from("# Bench `known`\n\n");
    machine::describe(&mut out)?;
    println!("{out}\nMedians of {rounds} interleaved rounds.\n");
    println!(
        "| module | bytes | artifact to first result | open, map | a memory | above both | with machine code | above both | Wasmtime, precompiled |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for (case, mut taken) in cases.iter().zip(taken) {
        let [load, map, memory, native, precompiled] = [0, 1, 2, 3, 4].map(|way| median(&mut taken[way]));
        let above = load - map - memory;
        let shown = [load, map, memory, above, native, native - map - memory, precompiled];
        let shown = shown.map(|ns| if ns.is_nan() { String::from("-") } else { machine::time(ns) });
        println!("| {} | {} | {} |", case.name, case.bytes, shown.join(" | "));
    }
    Ok(())
}
