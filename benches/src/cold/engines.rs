//! The engines of the comparison, each in each mode in which it can begin.
//!
//! # Safety
//! Wasmtime believes its own files: what is loaded here was written by this process, or one that it started, into a folder of its own.

use std::path::Path;

use aura_benches::Outcome;

use super::stubs::{self, Answer};

/// An engine in one mode.
pub(crate) trait ColdEngine {
    /// Unique among [`all`].
    fn name(&self) -> &'static str;

    /// What the mode means, for the report.
    fn mode(&self) -> &'static str;

    /// Bytes to an instance. May keep the bytes: they are the engine's own.
    fn load(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Running>>;

    /// Leaves what the engine can know of a module in a file; `None` if it has no such form.
    fn precompile(&self, _wasm: &[u8], _to: &Path) -> Outcome<Option<()>> {
        Ok(None)
    }

    /// A file of [`ColdEngine::precompile`] to an instance.
    fn load_known(&self, _file: &Path) -> Outcome<Box<dyn Running>> {
        Err("the engine keeps nothing of a module".into())
    }
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
    names().into_iter().map(named).collect()
}

fn names() -> Vec<&'static str> {
    let aura = aura::MODES.iter().map(|mode| mode.name);
    let wasmtime = wasmtime_modes::MODES.iter().map(|mode| mode.name);
    aura.chain(wasmtime).chain(wasmi_modes::MODES.iter().map(|mode| mode.name)).collect()
}

/// The engine with this name.
pub(crate) fn named(name: &str) -> Outcome<Box<dyn ColdEngine>> {
    if let Some(mode) = aura::MODES.iter().find(|mode| mode.name == name) {
        return Ok(Box::new(aura::Aura::new(mode)?));
    }
    if let Some(mode) = wasmtime_modes::MODES.iter().find(|mode| mode.name == name) {
        return Ok(Box::new(wasmtime_modes::Wasmtime::new(mode)?));
    }
    let mode = wasmi_modes::MODES.iter().find(|mode| mode.name == name).ok_or_else(|| format!("no engine {name}"))?;
    Ok(Box::new(wasmi_modes::Wasmi::new(mode)))
}

mod aura {
    use aura_runtime::{
        Artifact, ArtifactKey, Caller, Config, Engine, Error, Instance, Linker, Module, Store, Strategy, Val,
        Validation,
    };

    use super::*;

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

    struct Ready {
        store: Store<()>,
        instance: Instance,
    }

    impl Aura {
        pub(super) fn new(mode: &'static Mode) -> Outcome<Self> {
            let mut config = Config::new();
            config.strategy(mode.strategy).validation(mode.validation);
            Ok(Self { mode, engine: Engine::new(&config)? })
        }

        fn instance(&self, module: &Module) -> Outcome<Box<dyn Running>> {
            let mut store = Store::new(&self.engine, ());
            let instance = match module.imports().len() {
                0 => Instance::new(&mut store, module, &[])?,
                _ => linker(&self.engine, module)?.instantiate(&mut store, module)?,
            };
            Ok(Box::new(Ready { store, instance }))
        }
    }

    fn linker(engine: &Engine, module: &Module) -> Outcome<Linker<()>> {
        let mut linker = Linker::new(engine);
        for import in module.imports() {
            let aura_runtime::ExternType::Func(ty) = import.ty() else { continue };
            let name = import.name().to_owned();
            let answer = move |mut caller: Caller<'_, ()>, args: &[Val], results: &mut [Val]| {
                let args: Vec<u64> = args.iter().map(number).collect();
                match stubs::answer(&name, &args, &mut caller.memory()) {
                    Answer::Errno(errno) => {
                        results.iter_mut().for_each(|result| *result = Val::I32(errno));
                        Ok(())
                    }
                    Answer::Exit => Err(Error::host(stubs::Exit)),
                }
            };
            linker.func_new(import.module(), import.name(), ty.clone(), answer)?;
        }
        Ok(linker)
    }

    fn number(value: &Val) -> u64 {
        match value {
            Val::I32(value) => u64::from(*value as u32),
            Val::I64(value) => *value as u64,
            _ => 0,
        }
    }

    impl stubs::Bytes for aura_runtime::GuestMemory<'_> {
        fn read_u32(&self, at: u64) -> u32 {
            aura_runtime::GuestMemory::read_u32(self, at).unwrap_or(0)
        }

        fn write(&mut self, at: u64, bytes: &[u8]) {
            // A program that passes a wrong address gets nothing written, on every engine.
            let _ = aura_runtime::GuestMemory::write(self, at, bytes);
        }
    }

    impl ColdEngine for Aura {
        fn name(&self) -> &'static str {
            self.mode.name
        }

        fn mode(&self) -> &'static str {
            self.mode.mode
        }

        fn load(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Running>> {
            self.instance(&Module::from_owned(&self.engine, std::mem::take(wasm))?)
        }

        fn precompile(&self, wasm: &[u8], to: &Path) -> Outcome<Option<()>> {
            if self.mode.validation == Validation::Lazy {
                return Ok(None);
            }
            let module = Module::from_binary(&self.engine, wasm)?;
            Ok(Some(std::fs::write(to, module.to_artifact(&KEY, [0; 32])?)?))
        }

        fn load_known(&self, file: &Path) -> Outcome<Box<dyn Running>> {
            self.instance(&Artifact::open(file, &KEY)?.load(&self.engine)?)
        }
    }

    impl Running for Ready {
        fn call(&mut self, export: &str, argument: i32) -> Outcome<i32> {
            let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, export)?;
            Ok(function.call(&mut self.store, argument)?)
        }

        fn start(&mut self, export: &str) -> Outcome<()> {
            let function = self.instance.get_typed_func::<(), ()>(&mut self.store, export)?;
            stubs::ended(function.call(&mut self.store, ()))
        }
    }
}

mod wasmtime_modes {
    use wasmtime::{Caller, Config, Engine, Error, Extern, Instance, Linker, Module, Store, Val};

    use super::*;

    pub(super) struct Mode {
        pub(super) name: &'static str,
        mode: &'static str,
        parallel: bool,
    }

    pub(super) const MODES: &[Mode] = &[
        Mode { name: "wasmtime", mode: "compiles all with Cranelift, on all cores; no cache", parallel: true },
        Mode { name: "wasmtime serial", mode: "the same on one core: the better for small modules", parallel: false },
    ];

    pub(super) struct Wasmtime {
        mode: &'static Mode,
        engine: Engine,
    }

    struct Ready {
        store: Store<()>,
        instance: Instance,
    }

    impl Wasmtime {
        pub(super) fn new(mode: &'static Mode) -> Outcome<Self> {
            let mut config = Config::new();
            config.parallel_compilation(mode.parallel).wasm_function_references(true).wasm_gc(true);
            Ok(Self { mode, engine: Engine::new(&config)? })
        }

        fn instance(&self, module: &Module) -> Outcome<Box<dyn Running>> {
            let mut store = Store::new(&self.engine, ());
            let instance = match module.imports().len() {
                0 => Instance::new(&mut store, module, &[])?,
                _ => linker(&self.engine, module)?.instantiate(&mut store, module)?,
            };
            Ok(Box::new(Ready { store, instance }))
        }
    }

    fn linker(engine: &Engine, module: &Module) -> Outcome<Linker<()>> {
        let mut linker = Linker::new(engine);
        for import in module.imports() {
            let wasmtime::ExternType::Func(ty) = import.ty() else { continue };
            let name = import.name().to_owned();
            let answer = move |mut caller: Caller<'_, ()>, args: &[Val], results: &mut [Val]| {
                let args: Vec<u64> = args.iter().map(number).collect();
                let memory = caller.get_export("memory").and_then(Extern::into_memory);
                let mut memory = memory.map_or(Data(&mut []), |memory| Data(memory.data_mut(&mut caller)));
                match stubs::answer(&name, &args, &mut memory) {
                    Answer::Errno(errno) => {
                        results.iter_mut().for_each(|result| *result = Val::I32(errno));
                        Ok(())
                    }
                    Answer::Exit => Err(Error::from(stubs::Exit)),
                }
            };
            linker.func_new(import.module(), import.name(), ty, answer)?;
        }
        Ok(linker)
    }

    fn number(value: &Val) -> u64 {
        match value {
            Val::I32(value) => u64::from(*value as u32),
            Val::I64(value) => *value as u64,
            _ => 0,
        }
    }

    impl ColdEngine for Wasmtime {
        fn name(&self) -> &'static str {
            self.mode.name
        }

        fn mode(&self) -> &'static str {
            self.mode.mode
        }

        fn load(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Running>> {
            self.instance(&Module::from_binary(&self.engine, &wasm[..])?)
        }

        fn precompile(&self, wasm: &[u8], to: &Path) -> Outcome<Option<()>> {
            Ok(Some(std::fs::write(to, self.engine.precompile_module(wasm)?)?))
        }

        fn load_known(&self, file: &Path) -> Outcome<Box<dyn Running>> {
            // SAFETY: `precompile` of the same engine wrote the file into a folder of this process's own.
            let module = unsafe { Module::deserialize_file(&self.engine, file) }?;
            self.instance(&module)
        }
    }

    impl Running for Ready {
        fn call(&mut self, export: &str, argument: i32) -> Outcome<i32> {
            let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, export)?;
            Ok(function.call(&mut self.store, argument)?)
        }

        fn start(&mut self, export: &str) -> Outcome<()> {
            let function = self.instance.get_typed_func::<(), ()>(&mut self.store, export)?;
            stubs::ended(function.call(&mut self.store, ()).map_err(|error| format!("{error:?}")))
        }
    }
}

mod wasmi_modes {
    use wasmi::{Caller, CompilationMode, Config, Engine, Error, Extern, Instance, Linker, Module, Store, Val};

    use super::*;

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

    struct Ready {
        store: Store<()>,
        instance: Instance,
    }

    impl Wasmi {
        pub(super) fn new(mode: &'static Mode) -> Self {
            let mut config = Config::default();
            config.compilation_mode(mode.compilation);
            Self { mode, engine: Engine::new(&config) }
        }
    }

    fn linker(engine: &Engine, module: &Module) -> Outcome<Linker<()>> {
        let mut linker = Linker::new(engine);
        for import in module.imports() {
            let wasmi::ExternType::Func(ty) = import.ty() else { continue };
            let name = import.name().to_owned();
            let answer = move |mut caller: Caller<'_, ()>, args: &[Val], results: &mut [Val]| {
                let args: Vec<u64> = args.iter().map(number).collect();
                let memory = caller.get_export("memory").and_then(Extern::into_memory);
                let mut memory = memory.map_or(Data(&mut []), |memory| Data(memory.data_mut(&mut caller)));
                match stubs::answer(&name, &args, &mut memory) {
                    Answer::Errno(errno) => {
                        results.iter_mut().for_each(|result| *result = Val::I32(errno));
                        Ok(())
                    }
                    Answer::Exit => Err(Error::new(stubs::EXIT)),
                }
            };
            linker.func_new(import.module(), import.name(), ty.clone(), answer)?;
        }
        Ok(linker)
    }

    fn number(value: &Val) -> u64 {
        match value {
            Val::I32(value) => u64::from(*value as u32),
            Val::I64(value) => *value as u64,
            _ => 0,
        }
    }

    impl ColdEngine for Wasmi {
        fn name(&self) -> &'static str {
            self.mode.name
        }

        fn mode(&self) -> &'static str {
            self.mode.mode
        }

        fn load(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Running>> {
            let module = Module::new(&self.engine, &wasm[..])?;
            let mut store = Store::new(&self.engine, ());
            let instance = match module.imports().len() {
                0 => Instance::new(&mut store, &module, &[])?,
                _ => linker(&self.engine, &module)?.instantiate_and_start(&mut store, &module)?,
            };
            Ok(Box::new(Ready { store, instance }))
        }
    }

    impl Running for Ready {
        fn call(&mut self, export: &str, argument: i32) -> Outcome<i32> {
            let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, export)?;
            Ok(function.call(&mut self.store, argument)?)
        }

        fn start(&mut self, export: &str) -> Outcome<()> {
            let function = self.instance.get_typed_func::<(), ()>(&mut self.store, export)?;
            stubs::ended(function.call(&mut self.store, ()))
        }
    }
}

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
