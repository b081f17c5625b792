//! `aura snapshot`: a program that was started, as an artifact from which runs begin where it is.

use std::path::Path;
use std::process::ExitCode;

use crate::args::SnapshotArgs;
use crate::report::{Failure, print};
use crate::{cache, compile, run};

/// Starts a program and writes down what it has become.
///
/// # Errors
/// If it cannot be started or does not return, has what cannot be captured, there is no key, or the artifact cannot be written.
pub(crate) fn snapshot(args: &SnapshotArgs) -> Result<ExitCode, Failure> {
    let file = Path::new(args.run.program.first().expect("the command line requires FILE"));
    let output = args.output.clone().unwrap_or_else(|| file.with_extension("aura"));
    let key = cache::key(args.run.key.as_deref())?;
    let (snapshot, content) = run::capture(&args.run)?;
    let refused = |error| Failure::new(format!("cannot write a snapshot: {}: {error}", file.display()));
    let native = args.native.then(|| compile::native(snapshot.module(), file)).transpose()?;
    let artifact = match &native {
        Some(native) => snapshot.to_native_artifact(&key, content.0, native),
        None => snapshot.to_artifact(&key, content.0),
    };
    let artifact = artifact.map_err(refused)?;
    compile::write(&output, &artifact)?;
    let code = native.map(|native| compile::about(&native)).unwrap_or_default();
    print(&format!("{}: {} bytes{code}\n", output.display(), artifact.len()))?;
    Ok(ExitCode::SUCCESS)
}
