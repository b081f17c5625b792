//! Wasmtime.
//!
//! # Safety
//! Wasmtime believes its own files: what is loaded here was written by this process, or one that it started, into a folder of its own.

use std::any::Any;
use std::path::Path;

use ::wasmtime::{Config, Engine, Error, Extern, Linker, Module, Store, Strategy};
use aura_benches::Outcome;
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use super::{ColdEngine, Data, Running, embedding, stubs};

pub(super) struct Mode {
    pub(super) name: &'static str,
    mode: &'static str,
    compiler: Strategy,
    parallel: bool,
}

pub(super) const MODES: &[Mode] = &[
    Mode {
        name: "wasmtime",
        mode: "compiles all with Cranelift, on all cores; no cache: its default",
        compiler: Strategy::Cranelift,
        parallel: true,
    },
    Mode {
        name: "wasmtime serial",
        mode: "the same on one core: the better for small modules",
        compiler: Strategy::Cranelift,
        parallel: false,
    },
    Mode {
        name: "wasmtime winch",
        mode: "compiles all with Winch, its compiler of one pass, on all cores",
        compiler: Strategy::Winch,
        parallel: true,
    },
];

pub(super) struct Wasmtime {
    mode: &'static Mode,
    engine: Engine,
}

embedding!(
    wasmtime,
    memory: |caller| {
        let memory = caller.get_export("memory").and_then(Extern::into_memory);
        memory.map_or(Data(&mut []), |memory| Data(memory.data_mut(&mut caller)))
    },
    exit: Error::from(stubs::Exit),
    instantiate: instantiate
);

impl Wasmtime {
    pub(super) fn new(mode: &'static Mode) -> Outcome<Self> {
        let mut config = Config::new();
        config.strategy(mode.compiler).parallel_compilation(mode.parallel);
        // What Winch has not got.
        if mode.compiler == Strategy::Cranelift {
            config.wasm_function_references(true).wasm_gc(true);
        }
        Ok(Self { mode, engine: Engine::new(&config)? })
    }
}

impl ColdEngine for Wasmtime {
    fn name(&self) -> &'static str {
        self.mode.name
    }

    fn mode(&self) -> &'static str {
        self.mode.mode
    }

    fn ready(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Any>> {
        Ok(Box::new(Module::from_binary(&self.engine, wasm)?))
    }

    fn load(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Running>> {
        instance(&self.engine, &Module::from_binary(&self.engine, wasm)?)
    }

    fn precompile(&self, wasm: &[u8], to: &Path) -> Outcome<Option<()>> {
        Ok(Some(std::fs::write(to, self.engine.precompile_module(wasm)?)?))
    }

    fn load_known(&self, file: &Path) -> Outcome<Box<dyn Running>> {
        // SAFETY: `precompile` of the same engine wrote the file into a folder of this process's own.
        let module = unsafe { Module::deserialize_file(&self.engine, file) }?;
        instance(&self.engine, &module)
    }

    fn run_program(&self, wasm: &mut Vec<u8>, args: &[String]) -> Outcome<()> {
        let wasi = WasiCtxBuilder::new().inherit_stdio().args(args).build_p1();
        let mut store = Store::new(&self.engine, wasi);
        let mut linker = Linker::new(&self.engine);
        add_to_linker_sync(&mut linker, |wasi: &mut WasiP1Ctx| wasi)?;
        let instance = linker.instantiate(&mut store, &Module::from_binary(&self.engine, wasm)?)?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        match start.call(&mut store, ()) {
            Err(error) if error.downcast_ref::<I32Exit>().is_none_or(|exit| exit.0 != 0) => {
                Err(format!("{error:?}").into())
            }
            _ => Ok(()),
        }
    }
}
