//! Instances for unit tests whose functions are called with raw slots, on any tier.
//!
//! # Safety
//! Test support: worlds are torn down after the last call, and instances of a world outlive the references to them.

use aura_host_abi::SlotType;

use crate::store::StoreData;
use crate::{AsContextMut, Bounds, Config, Engine, Extern, Func, Instance, Module, Store, Strategy, TrapCode};

/// A store with instances in it. The store's data is a function for host functions to call.
pub(crate) struct World {
    pub(crate) store: Store<Option<Func>>,
    engine: Engine,
    instances: Vec<Instance>,
}

impl World {
    pub(crate) fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new();
        config.strategy(Strategy::Interpreter);
        configure(&mut config);
        let engine = Engine::new(&config).expect("engine");
        Self { store: Store::new(&engine, None), engine, instances: Vec::new() }
    }

    /// One world for each tier and way of checking accesses.
    pub(crate) fn each() -> impl Iterator<Item = Self> {
        let kinds = [
            (Strategy::Interpreter, Bounds::Guard),
            (Strategy::Interpreter, Bounds::Explicit),
            (Strategy::Jit, Bounds::Guard),
            (Strategy::Jit, Bounds::Explicit),
        ];
        kinds.into_iter().map(|(strategy, bounds)| {
            Self::new(|config| {
                config.strategy(strategy).bounds(bounds);
            })
        })
    }

    /// Instantiates a module; the number is for [`World::call`].
    pub(crate) fn instantiate(&mut self, wat: &str, imports: &[Extern]) -> usize {
        let module = Module::new(&self.engine, wat).expect("module");
        self.instances.push(Instance::new(&mut self.store, &module, imports).expect("instance"));
        self.instances.len() - 1
    }

    pub(crate) fn func(&self, instance: usize, export: &str) -> Func {
        self.instances[instance].get_func(&self.store, export).expect("an exported function")
    }

    /// Calls an export with raw argument slots; its first result slots, narrow values cleared above, or the error.
    pub(crate) fn try_call(&mut self, instance: usize, export: &str, args: &[u64]) -> crate::Result<[u64; 4]> {
        let func = self.func(instance, export);
        let mut slots = [0; 16];
        slots[..args.len()].copy_from_slice(args);
        let data = std::ptr::from_mut(self.data());
        // SAFETY: the function is the store's, which is not used otherwise during the call; no function
        // of these tests has more than 16 slots.
        unsafe { crate::call::invoke(data, func.raw(), slots.as_mut_ptr()) }?;
        let mut at = 0;
        for result in func.ty(&self.store).results() {
            // The upper half of a narrow value's slot is anything.
            if matches!(result.slot_type(), SlotType::I32 | SlotType::F32 | SlotType::Ref) {
                slots[at] &= u64::from(u32::MAX);
            }
            at += result.slot_type().slots() as usize;
        }
        Ok([slots[0], slots[1], slots[2], slots[3]])
    }

    /// As [`World::try_call`], with the trap's code.
    pub(crate) fn call(&mut self, instance: usize, export: &str, args: &[u64]) -> Result<[u64; 4], TrapCode> {
        self.try_call(instance, export, args).map_err(|error| error.trap().expect("a trap").code())
    }

    pub(crate) fn data(&mut self) -> &mut StoreData {
        &mut self.store.as_context_mut().0.data
    }

    /// The first result alone.
    pub(crate) fn one(&mut self, instance: usize, export: &str, args: &[u64]) -> Result<u64, TrapCode> {
        self.call(instance, export, args).map(|results| results[0])
    }
}
