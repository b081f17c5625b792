//! Runs `examples/guests/workers.wasm` on several OS threads: each has a store and an instance of its
//! own; what they share is the memory, on which the guest synchronises by atomics, waits and notifications.

use std::thread;
use std::time::Duration;

use aura_runtime::{Engine, Error, Instance, Limits64, Linker, MemoryType, Module, Result, SharedMemory, Store, Val};

const GUEST: &[u8] = include_bytes!("../../guests/workers.wasm");

/// What the threads found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primes {
    /// The sum of all primes, as each thread saw it at the end.
    pub sums: Vec<i64>,
    /// How many primes there are, by their last digit.
    pub by_last_digit: Vec<i32>,
}

/// Counts primes on as many threads. The engine needs the feature `threads`.
///
/// # Errors
/// If the engine refuses the module or the memory, or a worker traps.
pub fn run(engine: &Engine, threads: i32) -> Result<Primes> {
    let module = Module::new(engine, GUEST)?;
    let limits = Limits64 { min: 16, max: Some(16) };
    let memory = SharedMemory::new(engine, MemoryType { limits, memory64: false, shared: true, page_size_log2: 16 })?;
    let work = |number| {
        let (module, memory) = (&module, memory.clone());
        move || Worker::new(engine, module, memory, number)?.work(threads)
    };
    let sums: Result<Vec<_>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(work(number))).collect();
        running.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
    });
    // One store more reads what the others left.
    let mut reader = Worker::new(engine, &module, memory.clone(), threads)?;
    let by_last_digit: Result<Vec<_>> = (0..10).map(|digit| reader.count(digit)).collect();
    Ok(Primes { sums: sums?, by_last_digit: by_last_digit? })
}

/// A thread's own store, with an instance on the memory that all have.
struct Worker {
    store: Store<()>,
    instance: Instance,
}

impl Worker {
    fn new(engine: &Engine, module: &Module, memory: SharedMemory, number: i32) -> Result<Self> {
        let mut store = Store::new(engine, ());
        // Ends a wait of the guest too.
        store.set_deadline(Duration::from_secs(60));
        let mut linker = Linker::new(engine);
        linker.define(&store, "env", "memory", memory)?;
        let instance = linker.instantiate(&mut store, module)?;
        let stack = instance.get_typed_func::<i32, i32>(&store, "stack_end")?.call(&mut store, number)?;
        let pointer = instance.get_global(&store, "__stack_pointer");
        pointer.ok_or_else(|| Error::host("the guest exports no stack pointer"))?.set(&mut store, Val::I32(stack))?;
        Ok(Self { store, instance })
    }

    fn work(&mut self, threads: i32) -> Result<i64> {
        let work = self.instance.get_typed_func::<i32, i64>(&self.store, "work")?;
        work.call(&mut self.store, threads)
    }

    fn count(&mut self, last_digit: i32) -> Result<i32> {
        let count = self.instance.get_typed_func::<i32, i32>(&self.store, "count")?;
        count.call(&mut self.store, last_digit)
    }
}
