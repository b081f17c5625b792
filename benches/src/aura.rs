//! Aura as a contender: each engine with each kind of bounds check.

use aura_runtime::{Bounds, Config, Engine, Instance, Linker, Module, Store, Strategy};

use crate::measured::measured;
use crate::{Contender, Outcome};

struct Aura {
    name: &'static str,
    engine: Engine,
}

/// All tiers together, as by default: what is hot is compiled while it runs.
pub(crate) fn all_tiers() -> Outcome<Box<dyn Contender>> {
    Ok(Box::new(Aura { name: "aura auto, guard", engine: Engine::new(&Config::new())? }))
}

/// The interpreter and the JIT, with the guard and with explicit checks.
pub(crate) fn contenders() -> Outcome<Vec<Box<dyn Contender>>> {
    let configurations = [
        ("aura interpreter, guard", Strategy::Interpreter, Bounds::Guard),
        ("aura interpreter, explicit", Strategy::Interpreter, Bounds::Explicit),
        ("aura jit, guard", Strategy::Jit, Bounds::Guard),
        ("aura jit, explicit", Strategy::Jit, Bounds::Explicit),
    ];
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    for (name, strategy, bounds) in configurations {
        let mut config = Config::new();
        config.strategy(strategy).bounds(bounds);
        contenders.push(Box::new(Aura { name, engine: Engine::new(&config)? }));
    }
    Ok(contenders)
}

struct Ready {
    module: Module,
    linker: Linker<()>,
}

impl Ready {
    fn new(engine: &Engine, wasm: &[u8]) -> Outcome<Self> {
        let module = Module::from_binary(engine, wasm)?;
        let mut linker = Linker::new(engine);
        linker.func_wrap("host", "next", |value: i32| value.wrapping_add(1))?;
        linker.define_unknown_imports_as_traps(&module)?;
        Ok(Self { module, linker })
    }

    fn instance(&self) -> Outcome<(Store<()>, Instance)> {
        let mut store = Store::new(self.module.engine(), ());
        let instance = self.linker.instantiate(&mut store, &self.module)?;
        Ok((store, instance))
    }
}

measured!(Aura, |this| this.name);
