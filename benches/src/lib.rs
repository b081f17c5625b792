//! What the benches compare: Aura's engines and their rivals behind one pair of traits.
//!
//! A [`Contender`] is an engine with one configuration. It loads a module, and what it loaded times
//! its own inner loop, so that no indirection of the comparison stands in a figure. Every contender
//! gets the same bytes and the same host: `host.next`, which adds one, and traps for all else.

mod aura;
pub mod machine;
mod measured;
mod wasmi;
mod wasmtime;

use std::time::Duration;

/// The result of a step that cannot fail in a sound bench.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// An engine with one configuration.
pub trait Contender {
    /// Unique among [`contenders`].
    fn name(&self) -> &'static str;

    /// From bytes to the result of `function(argument)`, all in between included.
    ///
    /// # Errors
    /// If the module cannot be loaded or the call fails.
    fn first_result(&self, wasm: &[u8], function: &str, argument: i32) -> Outcome<i32>;

    /// From bytes to an instance that was not called, and back to nothing.
    ///
    /// # Errors
    /// If the module cannot be loaded or linked.
    fn first_instance(&self, wasm: &[u8]) -> Outcome<()>;

    /// Makes a module ready, once.
    ///
    /// # Errors
    /// If the module cannot be loaded.
    fn load(&self, wasm: &[u8]) -> Outcome<Box<dyn Loaded>>;
}

/// A module that is ready to be instantiated.
pub trait Loaded {
    /// Makes a store and an instance in it, and drops both, `iterations` times.
    ///
    /// # Errors
    /// If the module cannot be instantiated.
    fn time_instantiations(&self, iterations: u64) -> Outcome<Duration>;

    /// Calls `function(argument)` on one instance `iterations` times, after one call that is not timed.
    ///
    /// # Errors
    /// If there is no such function or a call fails.
    fn time_calls(&self, function: &str, argument: i32, iterations: u64) -> Outcome<Duration>;
}

/// All contenders, ours first.
///
/// # Panics
/// If an engine cannot be made on this machine.
#[must_use]
pub fn contenders() -> Vec<Box<dyn Contender>> {
    let made = aura::contenders().and_then(|mut all| {
        all.extend(wasmtime::contenders()?);
        all.extend(wasmi::contenders());
        Ok(all)
    });
    made.unwrap_or_else(|error| panic!("an engine cannot be made: {error}"))
}

/// The contenders that have collected objects: each engine with its default memory, since these programs use none.
///
/// # Panics
/// As [`contenders`].
#[must_use]
pub fn collecting_contenders() -> Vec<Box<dyn Contender>> {
    let names = ["aura interpreter, guard", "aura jit, guard", "wasmtime"];
    contenders().into_iter().filter(|contender| names.contains(&contender.name())).collect()
}

/// The contenders in programs that run long: Wasmtime, our JIT, and our tiers together.
///
/// # Panics
/// As [`contenders`].
#[must_use]
pub fn long_running_contenders() -> Vec<Box<dyn Contender>> {
    let auto = aura::all_tiers().unwrap_or_else(|error| panic!("an engine cannot be made: {error}"));
    let mut all = contenders();
    all.retain(|contender| ["aura jit, guard", "wasmtime"].contains(&contender.name()));
    all.reverse();
    all.push(auto);
    all
}

/// The middle one of measurements, which sorts them.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The modules that are run.
pub mod guests {
    use std::fs;
    use std::path::Path;

    /// One function without memory, data or import: `add_one`.
    pub const TINY: &str = r#"(module (func (export "add_one") (param i32) (result i32)
        (i32.add (local.get 0) (i32.const 1))))"#;

    /// `calls(n)` calls the host `n` times in a loop.
    pub const CALLER: &str = r#"(module
        (import "host" "next" (func $next (param i32) (result i32)))
        (func (export "calls") (param $left i32) (result i32) (local $value i32)
            (loop $again
                (local.set $value (call $next (local.get $value)))
                (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
            (local.get $value)))"#;

    /// The bytes of a module written as text.
    ///
    /// # Panics
    /// If the text is wrong.
    #[must_use]
    pub fn of_text(text: &str) -> Vec<u8> {
        ::wat::parse_str(text).expect("the benches write correct modules")
    }

    /// The bytes of a guest of `benches/guests`, which is text.
    ///
    /// # Panics
    /// If it is not there or wrong.
    #[must_use]
    pub fn written(name: &str) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(name);
        ::wat::parse_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The bytes of a guest of `benches/guests` that was compiled from its source there.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn compiled(name: &str) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The bytes of a prebuilt guest of `examples/guests`.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn prebuilt(name: &str) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/guests").join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
