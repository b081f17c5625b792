//! Wasmtime as a contender: its default allocator of instances and its pool.
//!
//! Instances are made through `InstancePre`, its fast path.

use wasmtime::{Config, Engine, Instance, InstanceAllocationStrategy, InstancePre, Linker, Module, Store};

use crate::measured::measured;
use crate::{Contender, Outcome};

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

measured!(Wasmtime, |this| this.name);
