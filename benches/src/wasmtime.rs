//! Wasmtime as a contender: its default allocator of instances and its pool.
//!
//! Instances are made through `InstancePre`, its fast path.

use std::hint::black_box;
use std::time::{Duration, Instant};

use wasmtime::{Config, Engine, Instance, InstanceAllocationStrategy, InstancePre, Linker, Module, Store};

use crate::{Contender, Loaded, Outcome};

struct Wasmtime {
    name: &'static str,
    engine: Engine,
}

/// Cranelift with the default allocation and with the pool.
pub(crate) fn contenders() -> Outcome<Vec<Box<dyn Contender>>> {
    let configurations = [
        ("wasmtime", InstanceAllocationStrategy::OnDemand),
        ("wasmtime, pooling", InstanceAllocationStrategy::pooling()),
    ];
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    for (name, allocation) in configurations {
        let mut config = Config::new();
        config.allocation_strategy(allocation).wasm_function_references(true).wasm_gc(true);
        contenders.push(Box::new(Wasmtime { name, engine: Engine::new(&config)? }));
    }
    Ok(contenders)
}

struct Ready {
    instance: InstancePre<()>,
}

impl Ready {
    fn new(engine: &Engine, wasm: &[u8]) -> Outcome<Self> {
        let module = Module::from_binary(engine, wasm)?;
        let mut linker = Linker::new(engine);
        linker.func_wrap("host", "next", |value: i32| value.wrapping_add(1))?;
        linker.define_unknown_imports_as_traps(&module)?;
        Ok(Self { instance: linker.instantiate_pre(&module)? })
    }

    fn instance(&self) -> Outcome<(Store<()>, Instance)> {
        let mut store = Store::new(self.instance.module().engine(), ());
        let instance = self.instance.instantiate(&mut store)?;
        Ok((store, instance))
    }
}

impl Contender for Wasmtime {
    fn name(&self) -> &'static str {
        self.name
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
