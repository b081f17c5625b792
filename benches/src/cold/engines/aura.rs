//! Aura.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use aura_benches::Outcome;
use aura_runtime::{
    Artifact, ArtifactKey, Config, Engine, Error, GrantSpec, Linker, Module, Store, Strategy, Subject, Validation,
};
use aura_wasi::WasiCtx;

use super::{ColdEngine, Running, embedding, stubs};

pub(super) struct Mode {
    pub(super) name: &'static str,
    mode: &'static str,
    strategy: Strategy,
    validation: Validation,
}

pub(super) const MODES: &[Mode] = &[
    Mode {
        name: "aura auto",
        mode: "validates all, on all cores above 256 KiB; interprets, compiles what is hot: its default",
        strategy: Strategy::Auto,
        validation: Validation::Eager,
    },
    Mode {
        name: "aura auto lazy",
        mode: "validates a function at its first call; else the same",
        strategy: Strategy::Auto,
        validation: Validation::Lazy,
    },
    Mode {
        name: "aura interpreter",
        mode: "validates all; interprets",
        strategy: Strategy::Interpreter,
        validation: Validation::Eager,
    },
    Mode {
        name: "aura interpreter lazy",
        mode: "validates a function at its first call; interprets",
        strategy: Strategy::Interpreter,
        validation: Validation::Lazy,
    },
    Mode {
        name: "aura jit",
        mode: "validates all; compiles a function at its first call",
        strategy: Strategy::Jit,
        validation: Validation::Eager,
    },
];

/// Artifacts of the comparison are believed by nobody else.
const KEY: ArtifactKey = ArtifactKey::new([0x5a; ArtifactKey::LEN]);

pub(super) struct Aura {
    mode: &'static Mode,
    engine: Engine,
}

embedding!(aura_runtime, memory: |caller| caller.memory(), exit: Error::host(stubs::Exit), instantiate: instantiate);

impl stubs::Bytes for aura_runtime::GuestMemory<'_> {
    fn read_u32(&self, at: u64) -> u32 {
        aura_runtime::GuestMemory::read_u32(self, at).unwrap_or(0)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        // A program that passes a wrong address gets nothing written, on every engine.
        let _ = aura_runtime::GuestMemory::write(self, at, bytes);
    }
}

impl Aura {
    pub(super) fn new(mode: &'static Mode) -> Outcome<Self> {
        let mut config = Config::new();
        config.strategy(mode.strategy).validation(mode.validation);
        Ok(Self { mode, engine: Engine::new(&config)? })
    }

    fn module(&self, wasm: &mut Vec<u8>) -> Outcome<Module> {
        Ok(Module::from_owned(&self.engine, std::mem::take(wasm))?)
    }
}

impl ColdEngine for Aura {
    fn name(&self) -> &'static str {
        self.mode.name
    }

    fn mode(&self) -> &'static str {
        self.mode.mode
    }

    fn ready(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Any>> {
        Ok(Box::new(self.module(wasm)?))
    }

    fn load(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Running>> {
        instance(&self.engine, &self.module(wasm)?)
    }

    fn precompile(&self, wasm: &[u8], to: &Path) -> Outcome<Option<()>> {
        if self.mode.validation == Validation::Lazy {
            return Ok(None);
        }
        let module = Module::from_binary(&self.engine, wasm)?;
        Ok(Some(std::fs::write(to, module.to_artifact(&KEY, [0; 32])?)?))
    }

    fn load_known(&self, file: &Path) -> Outcome<Box<dyn Running>> {
        instance(&self.engine, &Artifact::open(file, &KEY)?.load(&self.engine)?)
    }

    fn run_program(&self, wasm: &mut Vec<u8>, args: &[String]) -> Outcome<()> {
        let mut store = Store::new(&self.engine, WasiCtx::new());
        store.data_mut().set_args(args.to_vec())?;
        for grant in ["stdio", "args", "clock", "random"] {
            let grant = store.grant(Subject::Store, grant.parse::<GrantSpec>()?)?;
            store.data_mut().attach(Arc::clone(grant.capability()))?;
        }
        let mut linker = Linker::new(&self.engine);
        linker.host_functions(aura_wasi::FUNCTIONS, |wasi: &mut WasiCtx| wasi)?;
        let instance = linker.instantiate(&mut store, &self.module(wasm)?)?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        match start.call(&mut store, ()) {
            Err(error) if error.exit_code() != Some(0) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
