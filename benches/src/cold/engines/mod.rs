//! The engines of the comparison, each in each mode in which it can begin.
//!
//! The interfaces of all three have the same names, so that what is done with them is written once, in [`embedding`].

mod aura;
mod wasmi;
mod wasmparser;
mod wasmtime;

use std::path::Path;

use aura_benches::Outcome;

use super::stubs;

/// An engine in one mode.
pub(crate) trait ColdEngine {
    /// Unique among [`all`].
    fn name(&self) -> &'static str;

    /// What the mode means, for the report.
    fn mode(&self) -> &'static str;

    /// Bytes to a module; only dropping it is left to the caller. May keep the bytes: they are the engine's own.
    fn ready(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn std::any::Any>>;

    /// Bytes to an instance. May keep the bytes.
    fn load(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Running>>;

    /// Leaves what the engine can know of a module in a file; `None` if it has no such form.
    fn precompile(&self, _wasm: &[u8], _to: &Path) -> Outcome<Option<()>> {
        Ok(None)
    }

    /// A file of [`ColdEngine::precompile`] to an instance.
    fn load_known(&self, _file: &Path) -> Outcome<Box<dyn Running>> {
        Err("the engine keeps nothing of a module".into())
    }

    /// Runs a program to its end with the engine's own WASI: standard streams of this process, a clock, random bytes, and these
    /// arguments, the program's name first.
    fn run_program(&self, wasm: &mut Vec<u8>, args: &[String]) -> Outcome<()>;
}

/// An instance.
pub(crate) trait Running {
    /// Calls an export that takes and returns an `i32`.
    fn call(&mut self, export: &str, argument: i32) -> Outcome<i32>;

    /// Calls an export without arguments and results; the end of the program is no error.
    fn start(&mut self, export: &str) -> Outcome<()>;
}

/// All engines, ours first.
pub(crate) fn all() -> Outcome<Vec<Box<dyn ColdEngine>>> {
    let aura = aura::MODES.iter().map(|mode| mode.name);
    let wasmtime = wasmtime::MODES.iter().map(|mode| mode.name);
    aura.chain(wasmtime).chain(wasmi::MODES.iter().map(|mode| mode.name)).map(named).collect()
}

/// Those that have a module without compiling it, and wasmparser.
pub(crate) fn validating() -> Outcome<Vec<Box<dyn ColdEngine>>> {
    ["aura auto", "aura auto lazy", "wasmi lazy", "wasmi", wasmparser::NAME].into_iter().map(named).collect()
}

/// Those that real programs are run on: for each engine, the modes that are good at starting.
pub(crate) fn for_programs() -> Outcome<Vec<Box<dyn ColdEngine>>> {
    let names =
        ["aura auto", "aura auto lazy", "aura interpreter", "wasmtime", "wasmtime winch", "wasmi lazy", "wasmi"];
    names.into_iter().map(named).collect()
}

/// The engine with this name.
pub(crate) fn named(name: &str) -> Outcome<Box<dyn ColdEngine>> {
    if let Some(mode) = aura::MODES.iter().find(|mode| mode.name == name) {
        return Ok(Box::new(aura::Aura::new(mode)?));
    }
    if let Some(mode) = wasmtime::MODES.iter().find(|mode| mode.name == name) {
        return Ok(Box::new(wasmtime::Wasmtime::new(mode)?));
    }
    if let Some(mode) = wasmi::MODES.iter().find(|mode| mode.name == name) {
        return Ok(Box::new(wasmi::Wasmi::new(mode)));
    }
    if name == wasmparser::NAME {
        return Ok(Box::new(wasmparser::Wasmparser));
    }
    Err(format!("no engine {name}").into())
}

/// What is done with an engine's interface, by the name of its crate: an instance that runs, and the stubs as a linker.
///
/// `memory` is the calling guest's memory as [`stubs::Bytes`]; `exit` is the engine's error that ends a program; `instantiate` is the
/// method of a linker.
macro_rules! embedding {
    ($engine:ident, memory: |$caller:ident| $memory:expr, exit: $exit:expr, instantiate: $instantiate:ident) => {
        struct Ready {
            store: $engine::Store<()>,
            instance: $engine::Instance,
        }

        impl super::Running for Ready {
            fn call(&mut self, export: &str, argument: i32) -> aura_benches::Outcome<i32> {
                let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, export)?;
                Ok(function.call(&mut self.store, argument)?)
            }

            fn start(&mut self, export: &str) -> aura_benches::Outcome<()> {
                let function = self.instance.get_typed_func::<(), ()>(&mut self.store, export)?;
                super::stubs::ended(function.call(&mut self.store, ()).map_err(|error| format!("{error:?}")))
            }
        }

        fn instance(
            engine: &$engine::Engine,
            module: &$engine::Module,
        ) -> aura_benches::Outcome<Box<dyn super::Running>> {
            let mut store = $engine::Store::new(engine, ());
            let instance = match module.imports().len() {
                0 => $engine::Instance::new(&mut store, module, &[])?,
                _ => linker(engine, module)?.$instantiate(&mut store, module)?,
            };
            Ok(Box::new(Ready { store, instance }))
        }

        fn linker(engine: &$engine::Engine, module: &$engine::Module) -> aura_benches::Outcome<$engine::Linker<()>> {
            use super::stubs::{Answer, answer};
            let mut linker = $engine::Linker::new(engine);
            for import in module.imports() {
                let $engine::ExternType::Func(ty) = import.ty() else { continue };
                let name = import.name().to_owned();
                let host =
                    move |mut $caller: $engine::Caller<'_, ()>, args: &[$engine::Val], results: &mut [$engine::Val]| {
                        let args: Vec<u64> = args.iter().map(number).collect();
                        match answer(&name, &args, &mut $memory) {
                            Answer::Errno(errno) => {
                                results.iter_mut().for_each(|result| *result = $engine::Val::I32(errno));
                                Ok(())
                            }
                            Answer::Exit => Err($exit),
                        }
                    };
                linker.func_new(import.module(), import.name(), ty.clone(), host)?;
            }
            Ok(linker)
        }

        fn number(value: &$engine::Val) -> u64 {
            match value {
                $engine::Val::I32(value) => u64::from(*value as u32),
                $engine::Val::I64(value) => *value as u64,
                _ => 0,
            }
        }
    };
}

use embedding;

/// The bytes of a memory whose engine lends them as a slice.
struct Data<'a>(&'a mut [u8]);

impl stubs::Bytes for Data<'_> {
    fn read_u32(&self, at: u64) -> u32 {
        let bytes = usize::try_from(at).ok().and_then(|at| self.0.get(at..)?.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at as usize..).and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }
}
