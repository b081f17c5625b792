//! The smallest embedding: compile, instantiate, call.
//!
//!     cargo run --package aura-examples --bin hello

use aura_runtime::{Config, Engine, Error, Linker, Module, Store};

const ADD: &str = r#"(module
    (func (export "add") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1))))"#;

fn main() -> Result<(), Error> {
    let engine = Engine::new(&Config::new())?;
    let module = Module::new(&engine, ADD)?;
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?;
    println!("2 + 3 = {}", add.call(&mut store, (2, 3))?);
    Ok(())
}
