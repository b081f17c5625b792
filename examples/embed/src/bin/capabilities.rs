//! Blind until granted: a host function that exists for a guest only while a grant stands.
//!
//!     cargo run --package aura-examples --bin capabilities

use aura_runtime::{Config, Engine, Error, GrantSpec, Linker, Module, Store, Subject, TrapCode, TypedFunc};

const GUEST: &str = r#"(module
    (import "bank" "balance" (func $balance (param i32) (result i64)))
    (func (export "ask") (param i32) (result i64) (call $balance (local.get 0))))"#;

/// What the guests of this host may learn of, once it is granted.
struct Bank {
    balances: Vec<i64>,
}

fn main() -> Result<(), Error> {
    let engine = Engine::new(&Config::new())?;
    let module = Module::new(&engine, GUEST)?;
    let mut linker = Linker::new(&engine);
    linker.capability("bank", "balance", |caller: aura_runtime::Caller<'_, Bank>, account: u32| -> i64 {
        caller.data().balances.get(account as usize).copied().unwrap_or(0)
    })?;
    let mut store = Store::new(&engine, Bank { balances: vec![120, 4500] });
    let instance = linker.instantiate(&mut store, &module)?;
    let ask = instance.get_typed_func::<u32, i64>(&mut store, "ask")?;

    show("nothing granted", &mut store, &ask)?;
    let grant = store.grant(Subject::Instance(instance), GrantSpec::call("balance"))?;
    show("granted", &mut store, &ask)?;
    grant.revoke();
    show("revoked", &mut store, &ask)?;
    let capability = grant.capability();
    println!(
        "the grant `{}` was used {} times, refused {} times",
        capability.spec(),
        capability.uses(),
        capability.denials()
    );
    for denial in store.denials() {
        println!("denied: {}.{}", denial.module, denial.name);
    }
    Ok(())
}

/// Asks for the balance of account 1 and prints the answer or the denial.
fn show(when: &str, store: &mut Store<Bank>, ask: &TypedFunc<u32, i64>) -> Result<(), Error> {
    match ask.call(store, 1) {
        Ok(balance) => println!("{when}: the balance is {balance}"),
        Err(error) if error.trap().is_some_and(|trap| trap.code() == TrapCode::CapabilityDenied) => {
            println!("{when}: denied");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
