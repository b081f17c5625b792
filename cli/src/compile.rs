//! `aura compile`: a module as an artifact, which starts without being validated again.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aura_policy::digest;
use aura_runtime::{Config, Engine, Error, Module, Native};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::CompileArgs;
use crate::cache;
use crate::load::Source;
use crate::report::{Failure, print};

/// Writes the artifact of a module.
///
/// # Errors
/// If the module is refused, there is no key, or the artifact cannot be written.
pub(crate) fn compile(args: &CompileArgs) -> Result<ExitCode, Failure> {
    let source = Source::read(&args.file)?;
    let mut config = Config::new();
    args.features.apply(&mut config);
    config.bounds(args.bounds.into()).deterministic(args.deterministic).consume_fuel(args.with_fuel);
    let engine = Engine::new(&config).map_err(|error| Failure::new(format!("no engine: {error}")))?;
    let module = source.module(&engine)?;
    let key = cache::key(args.key.as_deref())?;
    let output = args.output.clone().unwrap_or_else(|| args.file.with_extension("aura"));
    let label = digest(&source.wasm).0;
    let native = args.native.then(|| native(&module, &source.path)).transpose()?;
    let artifact = match &native {
        Some(native) => module.to_native_artifact(&key, label, native),
        None => module.to_artifact(&key, label),
    };
    let artifact = artifact.map_err(|error| cannot(&source.path, &error))?;
    write(&output, &artifact)?;
    let code = native.map(|native| about(&native)).unwrap_or_default();
    let (all, module) = (artifact.len(), source.wasm.len());
    print(&format!("{}: {all} bytes, {module} of them the module's{code}\n", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn cannot(path: &Path, error: &Error) -> Failure {
    Failure::new(format!("cannot compile: {}: {error}", path.display()))
}

/// Compiles a module to machine code, on all cores.
///
/// # Errors
/// If this machine has no compiler.
pub(crate) fn native(module: &Module, path: &Path) -> Result<Native, Failure> {
    let bar = ProgressBar::new(module.validated().num_own_funcs().into());
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} functions {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix("compiling");
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let native = module.compile_native(threads, &|done| bar.set_position(done.into()));
    bar.finish_and_clear();
    native.map_err(|error| cannot(path, &error))
}

/// What became of a module's functions, in words.
pub(crate) fn about(native: &Native) -> String {
    let (compiled, code) = (native.compiled(), native.len());
    match native.left() {
        0 => format!(", {code} machine code of all {compiled} functions"),
        left => format!(", {code} machine code of {compiled} functions; {left} are too large and stay interpreted"),
    }
}

/// Writes a file that appears whole or not at all.
///
/// # Errors
/// If the system refuses.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut begun = path.as_os_str().to_owned();
    begun.push(format!(".{}", std::process::id()));
    let begun = PathBuf::from(begun);
    let made = fs::write(&begun, bytes).and_then(|()| fs::rename(&begun, path));
    made.map_err(|error| {
        let _ = fs::remove_file(&begun);
        Failure::io("write artifact", path, &error)
    })
}
