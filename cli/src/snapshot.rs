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
    let artifact = snapshot.to_artifact(&key, content.0).map_err(refused)?;
    compile::write(&output, &artifact)?;
    print(&format!("{}: {} bytes\n", output.display(), artifact.len()))?;
    Ok(ExitCode::SUCCESS)
}
