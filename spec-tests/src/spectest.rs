//! The host module `spectest` that scripts import from: its newest form, complete.
//!
//! What it prints goes nowhere: scripts assert results, not output.

use aura_runtime::{
    Error, Extern, Global, GlobalType, Limits64, Linker, Memory, MemoryType, RefType, SharedMemory, Store, Table,
    TableType, Val, ValType,
};

const NAME: &str = "spectest";

/// Defines `spectest` in a linker.
///
/// Tables and memories of kinds the engine does not implement (64-bit, shared) are left out, so that
/// a script which imports one fails at linking.
///
/// # Errors
/// If the store's limits are too small for its table and memory.
pub fn define(linker: &mut Linker<()>, store: &mut Store<()>) -> Result<(), Error> {
    define_functions(linker)?;
    let globals = [
        ("global_i32", ValType::I32, Val::I32(666)),
        ("global_i64", ValType::I64, Val::I64(666)),
        ("global_f32", ValType::F32, Val::F32(666.6_f32.to_bits())),
        ("global_f64", ValType::F64, Val::F64(666.6_f64.to_bits())),
    ];
    for (name, content, value) in globals {
        let global = Global::new(&mut *store, GlobalType { content, mutable: false }, value)?;
        linker.define(&*store, NAME, name, global)?;
    }
    let limits = Limits64 { min: 10, max: Some(20) };
    for (name, table64) in [("table", false), ("table64", true)] {
        let ty = TableType { element: RefType::FUNCREF, limits, table64 };
        let table = Table::new(&mut *store, ty, Val::FuncRef(None)).map(Extern::from);
        define_if_supported(linker, store, name, table, table64)?;
    }
    let limits = Limits64 { min: 1, max: Some(2) };
    for (name, memory64, shared) in
        [("memory", false, false), ("memory64", true, false), ("shared_memory", false, true)]
    {
        let ty = MemoryType { limits, memory64, shared, page_size_log2: 16 };
        let memory = match shared {
            false => Memory::new(&mut *store, ty).map(Extern::from),
            true => SharedMemory::new(store.engine(), ty).map(Extern::from),
        };
        define_if_supported(linker, store, name, memory, memory64 || shared)?;
    }
    Ok(())
}

fn define_functions(linker: &mut Linker<()>) -> Result<(), Error> {
    linker.func_wrap(NAME, "print", || {})?;
    linker.func_wrap(NAME, "print_i32", |_: i32| {})?;
    linker.func_wrap(NAME, "print_i64", |_: i64| {})?;
    linker.func_wrap(NAME, "print_f32", |_: f32| {})?;
    linker.func_wrap(NAME, "print_f64", |_: f64| {})?;
    linker.func_wrap(NAME, "print_i32_f32", |_: i32, _: f32| {})?;
    linker.func_wrap(NAME, "print_f64_f64", |_: f64, _: f64| {})?;
    Ok(())
}

fn define_if_supported(
    linker: &mut Linker<()>,
    store: &Store<()>,
    name: &str,
    made: Result<Extern, Error>,
    newer: bool,
) -> Result<(), Error> {
    match made {
        Ok(item) => linker.define(store, NAME, name, item).map(|_| ()),
        Err(_) if newer => Ok(()),
        Err(error) => Err(error),
    }
}
