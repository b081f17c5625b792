//! One memory, four threads: a C program that counts primes, with a mutex and a barrier of its own.
//!
//!     cargo run --package aura-examples --bin threads

use aura_examples::workers;
use aura_runtime::{Config, Engine, Result};

fn main() -> Result<()> {
    let engine = Engine::new(Config::new().wasm_threads(true))?;
    let primes = workers::run(&engine, 4)?;
    for (number, sum) in primes.sums.iter().enumerate() {
        println!("thread {number}: the primes below 200000 add up to {sum}");
    }
    println!("by last digit: {:?}", primes.by_last_digit);
    Ok(())
}
