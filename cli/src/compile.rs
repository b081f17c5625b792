//! `aura compile`: a module as an artifact, which starts without being validated again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aura_policy::digest;
use aura_runtime::{Config, Engine};

use crate::args::CompileArgs;
use crate::cache;
use crate::load::Source;
use crate::report::{Failure, print};

/// Writes the artifact of a module.
///
/// # Errors
/// If the module is refused, there is no key, or the artifact cannot be written.
pub(crate) fn compile(args: &CompileArgs) -> Result<ExitCode, Failure> {
    if args.native {
        return Err(Failure::usage(
            "cannot compile to machine code: --native: compiled code cannot be moved to another process yet",
        )
        .help("without --native the artifact saves validating the module; functions are compiled when they are hot"));
    }
    let source = Source::read(&args.file)?;
    let mut config = Config::new();
    args.features.apply(&mut config);
    let engine = Engine::new(&config).map_err(|error| Failure::new(format!("no engine: {error}")))?;
    let module = source.module(&engine)?;
    let key = cache::key(args.key.as_deref())?;
    let output = args.output.clone().unwrap_or_else(|| args.file.with_extension("aura"));
    let artifact = module
        .to_artifact(&key, digest(&source.wasm).0)
        .map_err(|error| Failure::new(format!("cannot compile: {}: {error}", source.path.display())))?;
    write(&output, &artifact)?;
    print(&format!("{}: {} bytes, {} of them the module's\n", output.display(), artifact.len(), source.wasm.len()))?;
    Ok(ExitCode::SUCCESS)
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
