//! wasmi.

use std::any::Any;

use ::wasmi::{CompilationMode, Config, Engine, Error, Extern, Linker, Module, Store};
use aura_benches::Outcome;
use wasmi_wasi::{WasiCtx, WasiCtxBuilder};

use super::{ColdEngine, Data, Running, embedding, stubs};

pub(super) struct Mode {
    pub(super) name: &'static str,
    mode: &'static str,
    compilation: CompilationMode,
}

pub(super) const MODES: &[Mode] = &[
    Mode {
        name: "wasmi lazy",
        mode: "validates and translates a function at its first call",
        compilation: CompilationMode::Lazy,
    },
    Mode {
        name: "wasmi",
        mode: "validates all, translates a function at its first call: its default",
        compilation: CompilationMode::LazyTranslation,
    },
    Mode { name: "wasmi eager", mode: "validates and translates all", compilation: CompilationMode::Eager },
];

pub(super) struct Wasmi {
    mode: &'static Mode,
    engine: Engine,
}

embedding!(
    wasmi,
    memory: |caller| {
        let memory = caller.get_export("memory").and_then(Extern::into_memory);
        memory.map_or(Data(&mut []), |memory| Data(memory.data_mut(&mut caller)))
    },
    exit: Error::new(stubs::EXIT),
    instantiate: instantiate_and_start
);

impl Wasmi {
    pub(super) fn new(mode: &'static Mode) -> Self {
        let mut config = Config::default();
        config.compilation_mode(mode.compilation);
        Self { mode, engine: Engine::new(&config) }
    }
}

impl ColdEngine for Wasmi {
    fn name(&self) -> &'static str {
        self.mode.name
    }

    fn mode(&self) -> &'static str {
        self.mode.mode
    }

    fn ready(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Any>> {
        Ok(Box::new(Module::new(&self.engine, &wasm[..])?))
    }

    fn load(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Running>> {
        instance(&self.engine, &Module::new(&self.engine, &wasm[..])?)
    }

    fn run_program(&self, wasm: &mut Vec<u8>, args: &[String]) -> Outcome<()> {
        let wasi = WasiCtxBuilder::new().inherit_stdio().args(args)?.build();
        let mut store = Store::new(&self.engine, wasi);
        let mut linker = Linker::new(&self.engine);
        wasmi_wasi::add_to_linker(&mut linker, |wasi: &mut WasiCtx| wasi)?;
        let instance = linker.instantiate_and_start(&mut store, &Module::new(&self.engine, &wasm[..])?)?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        match start.call(&mut store, ()) {
            Err(error) if error.i32_exit_status() != Some(0) => Err(error.to_string().into()),
            _ => Ok(()),
        }
    }
}
