//! Host functions: closures that read the guest's memory through [`Caller`], keep state in the
//! store, return results and refuse with errors of their own.
//!
//!     cargo run --package aura-examples --bin host-functions

use std::fmt;

use aura_runtime::{Caller, Config, Engine, Error, Extern, Linker, Module, Store};

/// Speaks three lines; the host refuses the last one.
const GUEST: &str = r#"(module
    (import "host" "say" (func $say (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "the quick brown fox")
    (func (export "run") (result i32)
        (drop (call $say (i32.const 4) (i32.const 5)))
        (drop (call $say (i32.const 16) (i32.const 3)))
        (call $say (i32.const 65000) (i32.const 1000))))"#;

/// The state of the host that belongs to one guest.
#[derive(Default)]
struct Host {
    heard: Vec<String>,
}

/// The guest named memory that it has not.
#[derive(Debug)]
struct OutsideMemory {
    address: u32,
    length: u32,
}

impl fmt::Display for OutsideMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the text of {} bytes at {} is outside of the memory", self.length, self.address)
    }
}

impl std::error::Error for OutsideMemory {}

fn main() -> Result<(), Error> {
    let engine = Engine::new(&Config::new())?;
    let module = Module::new(&engine, GUEST)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "say", say)?;
    let mut store = Store::new(&engine, Host::default());
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;

    let error = run.call(&mut store, ()).expect_err("the last text is outside of the memory");
    println!("heard: {:?}", store.data().heard);
    match error.downcast_ref::<OutsideMemory>() {
        Some(refusal) => println!("then the host refused: {refusal}"),
        None => return Err(error),
    }
    Ok(())
}

/// Hears a text of the guest and answers how many it has heard.
fn say(mut caller: Caller<'_, Host>, address: u32, length: u32) -> Result<u32, Error> {
    let text = text_of(&mut caller, address, length)?;
    let heard = &mut caller.data_mut().heard;
    heard.push(text);
    Ok(heard.len() as u32)
}

/// Copies a text out of the guest's memory. Nothing the guest says about it is believed.
fn text_of(caller: &mut Caller<'_, Host>, address: u32, length: u32) -> Result<String, Error> {
    let refused = || Error::host(OutsideMemory { address, length });
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(refused());
    };
    let range = address as usize..(address as usize).saturating_add(length as usize);
    let bytes = memory.data(&*caller).get(range).ok_or_else(refused)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}
