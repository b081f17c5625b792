//! `native`: real programs from what was compiled before, whole processes: Aura from an artifact without and with machine code, and
//! Wasmtime from its own.
//!
//! ```text
//! cargo run --release -p aura-benches --bin native -- --work DIR --prepare FOLDER   once: compiles the programs there
//! cargo run --release -p aura-benches --bin native -- --work DIR [--rounds N]
//! ```
//!
//! FOLDER is where `examples/real-programs/run.sh` puts programs. Each process opens the file, makes the engine, runs the program
//! with its WASI to its end. Rounds are interleaved; figures are medians; Markdown.
//!
//! # Safety
//! Wasmtime's files are read where `--prepare` wrote them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use aura_benches::{Outcome, machine, median};
use aura_runtime::{Artifact, ArtifactKey, Engine, GrantSpec, Linker, Module, Store, Subject};
use aura_wasi::WasiCtx;
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

/// Artifacts of the comparison are believed by nobody else.
const KEY: ArtifactKey = ArtifactKey::new([0x5a; ArtifactKey::LEN]);

/// Name, file, arguments, and what stands in the output.
const PROGRAMS: [(&str, &str, &[&str], &str); 4] = [
    ("python", "runno/package/dist/langs/python-3.11.3.wasm", &["-B", "-c", "print('started')"], "started"),
    ("ruby", "runno/package/dist/langs/ruby-3.2.0.wasm", &["-e", "puts 'started'"], "started"),
    ("php", "runno/package/dist/langs/php-cgi-8.2.0.wasm", &["-v"], "PHP 8.2.0"),
    ("esbuild", "esbuild/package/esbuild.wasm", &["--version"], "0.27"),
];

/// Ways to run a program, with the ending of the file that each begins with.
const WAYS: [(&str, &str); 3] =
    [("Aura, artifact", "aura"), ("Aura, with machine code", "native"), ("Wasmtime, precompiled", "cwasm")];

fn run_aura(file: &Path, args: &[String]) -> Outcome<()> {
    let engine = Engine::default();
    let module = Artifact::open(file, &KEY)?.load(&engine)?;
    let mut store = Store::new(&engine, WasiCtx::new());
    store.data_mut().set_args(args.to_vec())?;
    for grant in ["stdio", "args", "clock", "random"] {
        let grant = store.grant(Subject::Store, grant.parse::<GrantSpec>()?)?;
        store.data_mut().attach(Arc::clone(grant.capability()))?;
    }
    let mut linker = Linker::new(&engine);
    linker.host_functions(aura_wasi::FUNCTIONS, |wasi: &mut WasiCtx| wasi)?;
    let instance = linker.instantiate(&mut store, &module)?;
    match instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ()) {
        Err(error) if error.exit_code() != Some(0) => Err(error.into()),
        _ => Ok(()),
    }
}

fn run_wasmtime(file: &Path, args: &[String]) -> Outcome<()> {
    let engine = wasmtime::Engine::default();
    // SAFETY: `--prepare` of this program wrote the file.
    let module = unsafe { wasmtime::Module::deserialize_file(&engine, file) }?;
    let wasi = WasiCtxBuilder::new().inherit_stdio().args(args).build_p1();
    let mut store = wasmtime::Store::new(&engine, wasi);
    let mut linker = wasmtime::Linker::new(&engine);
    add_to_linker_sync(&mut linker, |wasi: &mut WasiP1Ctx| wasi)?;
    let instance = linker.instantiate(&mut store, &module)?;
    match instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ()) {
        Err(error) if error.downcast_ref::<I32Exit>().is_none_or(|exit| exit.0 != 0) => {
            Err(format!("{error:?}").into())
        }
        _ => Ok(()),
    }
}

fn prepare(folder: &Path, work: &Path) -> Outcome<()> {
    std::fs::create_dir_all(work)?;
    let (aura, wasmtime) = (Engine::default(), wasmtime::Engine::default());
    for (name, file, ..) in PROGRAMS {
        let Ok(wasm) = std::fs::read(folder.join(file)) else {
            println!("{name}: not there");
            continue;
        };
        let module = Module::from_binary(&aura, &wasm)?;
        std::fs::write(work.join(format!("{name}.aura")), module.to_artifact(&KEY, [0; 32])?)?;
        let begin = Instant::now();
        let native = module.compile_native(2, &|_| {})?;
        let took = begin.elapsed();
        let artifact = module.to_native_artifact(&KEY, [0; 32], &native)?;
        println!(
            "{name}: {} bytes of module, {} functions compiled, {} left, {took:.1?}; artifact {} bytes",
            wasm.len(),
            native.compiled(),
            native.left(),
            artifact.len()
        );
        std::fs::write(work.join(format!("{name}.native")), artifact)?;
        let begin = Instant::now();
        let compiled = wasmtime.precompile_module(&wasm)?;
        println!("{name}: wasmtime {:.1?}, {} bytes", begin.elapsed(), compiled.len());
        std::fs::write(work.join(format!("{name}.cwasm")), compiled)?;
    }
    Ok(())
}

/// Nanoseconds of a process.
fn process(file: &Path, args: &[&str], says: &str) -> Outcome<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(file).args(args).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
    let begin = Instant::now();
    let output = command.output()?;
    let ns = begin.elapsed().as_nanos() as f64;
    if !output.status.success() || !String::from_utf8_lossy(&output.stdout).contains(says) {
        return Err(format!("{}: {}", file.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(ns)
}

fn measure(work: &Path, rounds: usize) -> Outcome<()> {
    let known: Vec<_> = PROGRAMS.iter().filter(|(name, ..)| work.join(format!("{name}.cwasm")).exists()).collect();
    let mut taken: Vec<[Vec<f64>; 3]> = known.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for ((name, _, args, says), taken) in known.iter().zip(&mut taken) {
            for ((_, ending), samples) in WAYS.iter().zip(taken) {
                samples.push(process(&work.join(format!("{name}.{ending}")), args, says)?);
            }
        }
    }
    let mut out = String::from("# Bench `native`\n\n");
    machine::describe(&mut out)?;
    println!("{out}\nMedians of {rounds} interleaved rounds; whole processes.\n");
    println!("| program | {} |\n|---|--:|--:|--:|", WAYS.map(|way| way.0).join(" | "));
    for ((name, ..), taken) in known.iter().zip(taken) {
        println!("| {name} | {} |", taken.map(|mut samples| machine::time(median(&mut samples))).join(" | "));
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let (mut work, mut rounds) = (PathBuf::from("native"), 9);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg}: a value is missing"));
        match arg.as_str() {
            "--child" => {
                let file = PathBuf::from(value()?);
                let args: Vec<String> = [file.display().to_string()].into_iter().chain(args).collect();
                return match file.extension().is_some_and(|ending| ending == "cwasm") {
                    true => run_wasmtime(&file, &args),
                    false => run_aura(&file, &args),
                };
            }
            "--work" => work = value()?.into(),
            "--rounds" => rounds = value()?.parse::<usize>()?.max(1),
            "--prepare" => return prepare(Path::new(&value()?), &work),
            other => return Err(format!("no such option: {other}").into()),
        }
    }
    measure(&work, rounds)
}
