//! wasmi as a contender: an interpreter to compare ours with.

use wasmi::{Caller, Engine, Error, ExternType, Instance, Linker, Module, Store, Val};

use crate::measured::measured;
use crate::{Contender, Outcome};

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

measured!(Wasmi, |_| "wasmi");
