//! What the examples and their tests share: running a WASI program with grants, and no more.
//!
//! This is the shortest complete way to run a command: a [`Store`] that holds a [`WasiCtx`], grants
//! made in the store and attached to the context, the functions of WASI linked as a table, and
//! `_start` called. The programs in `src/bin` each show one thing.

pub mod workers;

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};

use aura_runtime::{Engine, Error, GrantSpec, Linker, Module, Store, Subject};
use aura_wasi::{Output, WasiCtx};

/// How a program ended and what it printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub exit_code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the `_start` of a WASI program that was given `grants` and nothing else.
///
/// # Errors
/// If a grant cannot be made, the module cannot be linked, or the program traps.
pub fn run_command(
    engine: &Engine,
    module: &Module,
    grants: &[GrantSpec],
    args: &[String],
) -> Result<Outcome, Box<dyn StdError + Send + Sync>> {
    let (stdout, stderr) = (Captured::default(), Captured::default());
    let mut store = Store::new(engine, WasiCtx::new());
    store.data_mut().set_args(args.to_vec())?;
    store.data_mut().set_stdout(stdout.output());
    store.data_mut().set_stderr(stderr.output());
    for spec in grants {
        let grant = store.grant(Subject::Store, spec.clone())?;
        store.data_mut().attach(Arc::clone(grant.capability()))?;
    }
    let mut linker = Linker::new(engine);
    linker.host_functions(aura_wasi::FUNCTIONS, |ctx: &mut WasiCtx| ctx)?;
    let instance = linker.instantiate(&mut store, module)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    let exit_code = exit_code_of(start.call(&mut store, ()))?;
    Ok(Outcome { exit_code, stdout: stdout.text(), stderr: stderr.text() })
}

/// A program that returns from `_start` ends with 0, one that calls `proc_exit` with its code.
fn exit_code_of(result: Result<(), Error>) -> Result<i32, Error> {
    match result {
        Ok(()) => Ok(0),
        Err(error) => error.exit_code().ok_or(error),
    }
}

/// A stream whose bytes are kept.
#[derive(Clone, Debug, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn output(&self) -> Output {
        Output::Capture(Arc::clone(&self.0))
    }

    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
