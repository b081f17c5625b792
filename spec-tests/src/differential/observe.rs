//! Everything a host can see of a module's run, as lines of text.
//!
//! Instantiation, a call of every exported function, what the host's functions were given, fuel
//! left, and at the end memories, tables and globals. Two runs are the same if their lines are.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use aura_runtime::{
    Caller, Engine, Error, Extern, ExternType, Frame, Func, Instance, Linker, Module, Store, StoreLimits, TrapCode,
    Val, ValType,
};

use super::case::Random;
use super::edges::near_edge;
use crate::Origin;

/// The fuel each call may use: enough for loops to get hot, little enough for a run to be short.
const FUEL: u64 = 20_000;

/// What a module may take: a mutated one may ask for much more than a generated one.
const LIMITS: StoreLimits = StoreLimits {
    memory_bytes: 64 << 20,
    table_elements: 100_000,
    instances: 10,
    extern_refs: 1000,
    gc_heap_bytes: 64 << 20,
};

/// How many calls and instantiations ended in which way: by returning, by which trap, by which error.
pub type Ends = BTreeMap<String, u64>;

/// What was seen of a run.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    pub lines: Vec<String>,
    pub ends: Ends,
}

/// What the host's functions were given.
#[derive(Debug, Default)]
struct Host {
    calls: u64,
    given: DefaultHasher,
}

impl Host {
    fn note(&mut self, values: impl Hash) {
        self.calls += 1;
        values.hash(&mut self.given);
    }

    fn show(&self) -> String {
        format!("{} host calls given {:016x}", self.calls, self.given.finish())
    }
}

/// Runs a module and writes down what happens. Arguments are drawn from `seed`.
#[must_use]
pub fn observe((engine, origin): (&Engine, Origin), wasm: &[u8], seed: u64) -> Observation {
    let mut run = Run { store: Store::new(engine, Host::default()), seen: Observation::default() };
    run.store.set_limits(LIMITS);
    match run.start((engine, origin), wasm) {
        Ok(Some((module, instance))) => run.finish(&module, instance, seed),
        Ok(None) => {}
        Err(error) => run.seen.lines.push(format!("refused: {error}")),
    }
    run.seen
}

struct Run {
    store: Store<Host>,
    seen: Observation,
}

impl Run {
    fn start(&mut self, (engine, origin): (&Engine, Origin), wasm: &[u8]) -> Result<Option<(Module, Instance)>, Error> {
        let module = origin.module(engine, wasm)?;
        let linker = host_functions(engine)?;
        self.store.set_fuel(FUEL)?;
        match linker.instantiate(&mut self.store, &module) {
            Ok(instance) => {
                self.note("instantiate", "done".to_owned());
                Ok(Some((module, instance)))
            }
            Err(error) => {
                self.note_error("instantiate", &error);
                Ok(None)
            }
        }
    }

    fn finish(&mut self, module: &Module, instance: Instance, seed: u64) {
        let mut random = Random::new(seed ^ 0x5eed);
        for export in module.exports() {
            if let ExternType::Func(_) = export.ty()
                && let Some(Extern::Func(func)) = instance.get_export(&mut self.store, export.name())
            {
                // Twice, so that the second call may run in another tier.
                for _ in 0..2 {
                    self.call(export.name(), func, &mut random);
                }
            }
        }
        for export in module.exports() {
            if let Some(item) = instance.get_export(&mut self.store, export.name()) {
                let state = self.state(&item);
                self.note(export.name(), state);
            }
        }
    }

    fn call(&mut self, name: &str, func: Func, random: &mut Random) {
        let ty = func.ty(&self.store);
        // The host has no value of a reference type without null.
        if ty.params().iter().any(|ty| !ty.is_defaultable()) {
            return;
        }
        let args: Vec<_> = ty.params().iter().map(|ty| argument(*ty, random)).collect();
        let mut results = vec![Val::I32(0); ty.results().len()];
        if let Err(error) = self.store.set_fuel(FUEL) {
            return self.note_error(name, &error);
        }
        match func.call(&mut self.store, &args, &mut results) {
            Ok(()) => {
                self.count("returned");
                let shown: Vec<_> = results.iter().map(show).collect();
                self.note(name, format!("returned [{}]", shown.join(", ")));
            }
            Err(error) => self.note_error(name, &error),
        }
    }

    fn count(&mut self, end: &str) {
        *self.seen.ends.entry(end.to_owned()).or_default() += 1;
    }

    fn note_error(&mut self, what: &str, error: &Error) {
        match error.trap() {
            Some(trap) => self.count(&format!("trap: {}", trap.code())),
            None => self.count(&format!("{:?}", error.kind())),
        }
        let shown = match error.trap() {
            Some(trap) => {
                // Cranelift may fold a load into the operator that uses its result: compiled code then knows a
                // fault by that operator's place.
                let exact = trap.code() != TrapCode::MemoryOutOfBounds;
                let place = |frame: &Frame| match frame.module_offset.filter(|_| exact) {
                    Some(offset) => format!(" in function {} at {offset:#x}", frame.func_index),
                    None => format!(" in function {}", frame.func_index),
                };
                let innermost = trap.frames().first().map(place);
                format!("trap: {}{}", trap.code(), innermost.unwrap_or_default())
            }
            // The words may name types by an engine's own numbers.
            None => format!("{:?}", error.kind()),
        };
        self.note(what, shown);
    }

    fn note(&mut self, what: &str, happened: String) {
        let fuel = self.store.get_fuel().map_or_else(|e| e.to_string(), |fuel| fuel.to_string());
        let host = self.store.data().show();
        self.seen.lines.push(format!("{what}: {happened}; fuel {fuel}; {host}"));
    }

    fn state(&mut self, item: &Extern) -> String {
        match item {
            Extern::Func(_) => "function".to_owned(),
            Extern::Tag(_) => "tag".to_owned(),
            Extern::Global(global) => show(&global.get(&mut self.store)),
            Extern::Memory(memory) => {
                let bytes = memory.data(&self.store);
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                format!("memory of {} bytes, {:016x}", bytes.len(), hasher.finish())
            }
            Extern::SharedMemory(memory) => {
                let mut bytes = vec![0; memory.data_size()];
                memory.read(0, &mut bytes).expect("a memory never shrinks");
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                format!("shared memory of {} bytes, {:016x}", bytes.len(), hasher.finish())
            }
            Extern::Table(table) => {
                let size = table.size(&self.store);
                let items = (0..size).map(|index| table.get(&mut self.store, index));
                let shown: Vec<_> = items.map(|item| item.map_or("gone".to_owned(), |v| show(&v))).collect();
                format!("table [{}]", shown.join(", "))
            }
        }
    }
}

fn host_functions(engine: &Engine) -> Result<Linker<Host>, Error> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "mix", |mut caller: Caller<'_, Host>, a: i32, b: i64| {
        caller.data_mut().note((a, b));
        b.rotate_left(7) ^ i64::from(a)
    })?;
    linker.func_wrap("host", "float", |mut caller: Caller<'_, Host>, a: f32, b: f64| {
        caller.data_mut().note((a.to_bits(), b.to_bits()));
        f64::from_bits(b.to_bits() ^ u64::from(a.to_bits()))
    })?;
    linker.func_wrap(
        "host",
        "many",
        |mut caller: Caller<'_, Host>, a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32| {
            caller.data_mut().note([a, b, c, d, e, f, g, h]);
            a.wrapping_sub(b).wrapping_add(c ^ d).wrapping_sub(e | f).wrapping_add(g & h)
        },
    )?;
    linker.func_wrap("host", "tick", |mut caller: Caller<'_, Host>| caller.data_mut().note(()))?;
    Ok(linker)
}

/// An argument: often an edge value, else any.
fn argument(ty: ValType, random: &mut Random) -> Val {
    const EDGES: [u64; 8] = [0, 1, u64::MAX, 1 << 31, 1 << 63, 0x7fff_ffff, i64::MAX as u64, 1 << 32];
    const F32_EDGES: [u32; 8] = [0, 1 << 31, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 1, 0x3f80_0000, 0x4f00_0000];
    const F64_EDGES: [u64; 8] = [0, 1 << 63, 0x7ff0 << 48, 0xfff0 << 48, 0x7ff8 << 48, 1, 0x3ff0 << 48, 0x43e0 << 48];
    let edge = (random.below(2) == 0).then(|| random.below(8) as usize);
    let any = random.number();
    let integer = match edge {
        Some(edge) if random.below(2) == 0 => EDGES[edge],
        Some(_) => near_edge(random, 16),
        None => any,
    };
    match ty {
        ValType::I32 => Val::I32(integer as i32),
        ValType::I64 => Val::I64(integer as i64),
        ValType::F32 => Val::F32(edge.map_or(any as u32, |edge| F32_EDGES[edge])),
        ValType::F64 => Val::F64(edge.map_or(any, |edge| F64_EDGES[edge])),
        ValType::V128 => Val::V128(u128::from(integer) << 64 | u128::from(random.number())),
        reference => Val::default_for(reference),
    }
}

fn show(value: &Val) -> String {
    match value {
        Val::I32(v) => format!("{v:#x}"),
        Val::I64(v) => format!("{v:#x}"),
        Val::F32(bits) => format!("f32:{bits:#x}"),
        Val::F64(bits) => format!("f64:{bits:#x}"),
        Val::V128(bits) => format!("v128:{bits:#x}"),
        Val::FuncRef(func) => if func.is_some() { "func" } else { "null" }.to_owned(),
        Val::ExternRef(item) => if item.is_some() { "host" } else { "null" }.to_owned(),
        Val::AnyRef(item) => if item.is_some() { "any" } else { "null" }.to_owned(),
        Val::ExnRef(item) => if item.is_some() { "exception" } else { "null" }.to_owned(),
    }
}
