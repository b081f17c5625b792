//! wasmi as a contender: an interpreter to compare ours with.

use std::hint::black_box;
use std::time::{Duration, Instant};

use wasmi::{Caller, Engine, Error, ExternType, Instance, Linker, Module, Store, Val};

use crate::{Contender, Loaded, Outcome};

struct Wasmi {
    engine: Engine,
}

/// The engine as it comes.
pub(crate) fn contenders() -> Vec<Box<dyn Contender>> {
    vec![Box::new(Wasmi { engine: Engine::default() })]
}

struct Ready {
    module: Module,
    linker: Linker<()>,
}

impl Ready {
    fn new(engine: &Engine, wasm: &[u8]) -> Outcome<Self> {
        let module = Module::new(engine, wasm)?;
        let mut linker = Linker::new(engine);
        linker.func_wrap("host", "next", |value: i32| value.wrapping_add(1))?;
        for import in module.imports() {
            if let (ExternType::Func(ty), false) = (import.ty(), import.module() == "host") {
                let trap = |_: Caller<'_, ()>, _: &[Val], _: &mut [Val]| Err(Error::new("unknown import"));
                linker.func_new(import.module(), import.name(), ty.clone(), trap)?;
            }
        }
        Ok(Self { module, linker })
    }

    fn instance(&self) -> Outcome<(Store<()>, Instance)> {
        let mut store = Store::new(self.module.engine(), ());
        let instance = self.linker.instantiate_and_start(&mut store, &self.module)?;
        Ok((store, instance))
    }
}

impl Contender for Wasmi {
    fn name(&self) -> &'static str {
        "wasmi"
    }

    fn first_result(&self, wasm: &[u8], function: &str, argument: i32) -> Outcome<i32> {
        let (mut store, instance) = Ready::new(&self.engine, wasm)?.instance()?;
        let function = instance.get_typed_func::<i32, i32>(&mut store, function)?;
        Ok(function.call(&mut store, argument)?)
    }

    fn first_instance(&self, wasm: &[u8]) -> Outcome<()> {
        Ready::new(&self.engine, wasm)?.instance()?;
        Ok(())
    }

    fn load(&self, wasm: &[u8]) -> Outcome<Box<dyn Loaded>> {
        Ok(Box::new(Ready::new(&self.engine, wasm)?))
    }
}

impl Loaded for Ready {
    fn time_instantiations(&self, iterations: u64) -> Outcome<Duration> {
        let start = Instant::now();
        for _ in 0..iterations {
            black_box(self.instance()?);
        }
        Ok(start.elapsed())
    }

    fn time_calls(&self, function: &str, argument: i32, iterations: u64) -> Outcome<Duration> {
        let (mut store, instance) = self.instance()?;
        let function = instance.get_typed_func::<i32, i32>(&mut store, function)?;
        function.call(&mut store, argument)?;
        let start = Instant::now();
        for _ in 0..iterations {
            black_box(function.call(&mut store, black_box(argument))?);
        }
        Ok(start.elapsed())
    }
}
