//! Shared memories: several stores, each on an OS thread of its own, use one memory, on every engine and
//! in every bounds mode.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aura_runtime::{
    Config, Engine, ErrorKind, Extern, Features, Instance, Limits64, Linker, Memory, MemoryType, Module, SharedMemory,
    Store, TrapCode, Val, WaitResult, WasmParams, WasmResults,
};
use common::engines;

/// Runs `test` on every engine with threads switched on.
fn everywhere(test: impl Fn(&str, &Engine)) {
    for (name, engine) in engines(with_threads) {
        test(&name, &engine);
    }
}

fn with_threads(config: &mut Config) {
    config.features(Features::default().with("threads", true).expect("known and implemented"));
}

fn ty(min: u64, max: u64) -> MemoryType {
    MemoryType { limits: Limits64 { min, max: Some(max) }, memory64: false, shared: true, page_size_log2: 16 }
}

fn shared(engine: &Engine, min: u64, max: u64) -> SharedMemory {
    SharedMemory::new(engine, ty(min, max)).expect("a shared memory")
}

/// A store of its own with an instance whose one import is the memory.
fn instance(engine: &Engine, module: &Module, memory: &SharedMemory) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, module, &[memory.clone().into()]).expect("an instance");
    (store, instance)
}

fn call<P: WasmParams, R: WasmResults>(store: &mut Store<()>, instance: Instance, name: &str, args: P) -> R {
    let func = instance.get_typed_func::<P, R>(&*store, name).expect(name);
    func.call(store, args).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn trap<P: WasmParams, R: WasmResults>(store: &mut Store<()>, instance: Instance, name: &str, args: P) -> TrapCode {
    let func = instance.get_typed_func::<P, R>(&*store, name).expect(name);
    match func.call(store, args) {
        Ok(_) => panic!("{name} returned"),
        Err(error) => error.trap().expect("a trap").code(),
    }
}

/// Calls an export of a fresh instance on each of `count` threads at once; its argument is the thread's number.
fn on_threads<R: WasmResults + Send>(
    engine: &Engine,
    module: &Module,
    memory: &SharedMemory,
    count: i32,
    name: &str,
) -> Vec<R> {
    thread::scope(|scope| {
        let start = |number| {
            scope.spawn(move || {
                let (mut store, instance) = instance(engine, module, memory);
                // What hangs is a failure, not a hanging test.
                store.set_deadline(Duration::from_secs(60));
                call::<(i32,), R>(&mut store, instance, name, (number,))
            })
        };
        let threads: Vec<_> = (0..count).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn u32_at(memory: &SharedMemory, at: usize) -> u32 {
    let mut bytes = [0; 4];
    memory.read(at, &mut bytes).expect("inside");
    u32::from_le_bytes(bytes)
}

const COUNTER: &str = r#"(module (memory (import "" "") 1 1 shared)
    (func (export "run") (param i32) (local $left i32)
        (local.set $left (i32.const 2000))
        (loop $again
            (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
            (drop (i64.atomic.rmw.sub (i32.const 8) (i64.const 3)))
            (drop (i32.atomic.rmw8.add_u (i32.const 17) (i32.const 1)))
            (drop (i64.atomic.rmw16.xor_u (i32.const 20) (i64.const 0x5555)))
            (call $increment)
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $again (local.get $left))))
    (func $increment (local $old i32) (local $found i32)
        (local.set $old (i32.atomic.load (i32.const 24)))
        (block $done (loop $again
            (local.set $found (i32.atomic.rmw.cmpxchg
                (i32.const 24) (local.get $old) (i32.add (local.get $old) (i32.const 1))))
            (br_if $done (i32.eq (local.get $found) (local.get $old)))
            (local.set $old (local.get $found))
            (br $again)))))"#;

#[test]
fn counters_lose_no_step() {
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, COUNTER).expect(name), shared(engine, 1, 1));
        on_threads::<()>(engine, &module, &memory, 4, "run");
        let words: Vec<_> = (0..8).map(|word| u32_at(&memory, 4 * word)).collect();
        let minus = (-24_000_i64).cast_unsigned();
        let bytes = (8000 % 256) << 8;
        assert_eq!(words, [8000, 0, minus as u32, (minus >> 32) as u32, bytes, 0, 8000, 0], "{name}");
    });
}

/// The mutex of three states: free, held, held with waiters. It protects plain accesses.
const MUTEX: &str = r#"(module (memory (import "" "") 1 1 shared)
    (func $lock (local $state i32)
        (local.set $state (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1)))
        (if (local.get $state) (then
            (loop $again
                (if (i32.eq (local.get $state) (i32.const 2))
                    (then (drop (memory.atomic.wait32 (i32.const 0) (i32.const 2) (i64.const -1))))
                    (else (if (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 1) (i32.const 2))
                        (then (drop (memory.atomic.wait32 (i32.const 0) (i32.const 2) (i64.const -1)))))))
                (local.set $state (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 2)))
                (br_if $again (local.get $state))))))
    (func $unlock
        (if (i32.ne (i32.atomic.rmw.sub (i32.const 0) (i32.const 1)) (i32.const 1)) (then
            (i32.atomic.store (i32.const 0) (i32.const 0))
            (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))))
    (func (export "run") (param i32) (local $left i32)
        (local.set $left (i32.const 500))
        (loop $again
            (call $lock)
            (i64.store (i32.const 64) (i64.add (i64.load (i32.const 64)) (i64.const 1)))
            (i32.store (i32.const 129) (i32.add (i32.load (i32.const 129)) (i32.const 2)))
            (call $unlock)
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $again (local.get $left)))))"#;

#[test]
fn a_mutex_of_waits_protects_plain_data() {
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, MUTEX).expect(name), shared(engine, 1, 1));
        on_threads::<()>(engine, &module, &memory, 4, "run");
        let seen = [0, 64, 68, 129].map(|at| u32_at(&memory, at));
        assert_eq!(seen, [0, 2000, 0, 4000], "{name}");
    });
}

/// How many rounds a litmus test has, each in cells of its own.
const ROUNDS: i32 = 40_000;

/// Thread 0 writes the first cell and reads the second, thread 1 the other way round.
const STORE_BUFFERING: &str = r#"(module (memory (import "" "") 20 20 shared)
    (func (export "run") (param $thread i32) (local $at i32) (local $mine i32) (local $other i32)
        (local.set $mine (i32.shl (local.get $thread) (i32.const 3)))
        (local.set $other (i32.xor (local.get $mine) (i32.const 8)))
        (local.set $at (i32.const 32))
        (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
        (loop $both_there (br_if $both_there (i32.lt_u (i32.atomic.load (i32.const 0)) (i32.const 2))))
        (loop $again
            (i32.atomic.store (i32.add (local.get $at) (local.get $mine)) (i32.const 1))
            (i32.store offset=4 (i32.add (local.get $at) (local.get $mine))
                (i32.atomic.load (i32.add (local.get $at) (local.get $other))))
            (local.set $at (i32.add (local.get $at) (i32.const 32)))
            (br_if $again (i32.lt_u (local.get $at) (i32.const 1280032))))))"#;

#[test]
fn store_buffering_is_never_seen() {
    everywhere(|name, engine| {
        let module = Module::new(engine, STORE_BUFFERING).expect(name);
        let memory = shared(engine, 20, 20);
        on_threads::<()>(engine, &module, &memory, 2, "run");
        let mut seen = [0; 4];
        for round in 1..=ROUNDS as usize {
            let read = [4, 12].map(|at| u32_at(&memory, 32 * round + at));
            seen[(read[0] * 2 + read[1]) as usize] += 1;
        }
        assert_eq!(seen[0], 0, "{name}: both threads missed the other's store: {seen:?}");
        assert_eq!(seen.iter().sum::<i32>(), ROUNDS, "{name}");
    });
}

/// Thread 0 writes plain data and then an atomic flag; thread 1 waits for the flag and reads the data.
const MESSAGE_PASSING: &str = r#"(module (memory (import "" "") 20 20 shared)
    (func (export "run") (param $thread i32) (result i32) (local $at i32) (local $missed i32)
        (local.set $at (i32.const 32))
        (loop $again
            (if (local.get $thread)
                (then
                    (loop $spin (br_if $spin (i32.eqz (i32.atomic.load (local.get $at)))))
                    (local.set $missed (i32.add (local.get $missed)
                        (i64.ne (i64.load offset=9 (local.get $at)) (i64.const 0x0123456789abcdef)))))
                (else
                    (i64.store offset=9 (local.get $at) (i64.const 0x0123456789abcdef))
                    (i32.atomic.store (local.get $at) (i32.const 1))))
            (local.set $at (i32.add (local.get $at) (i32.const 32)))
            (br_if $again (i32.lt_u (local.get $at) (i32.const 1280032))))
        (local.get $missed)))"#;

#[test]
fn what_was_written_before_a_flag_is_seen_after_it() {
    everywhere(|name, engine| {
        let module = Module::new(engine, MESSAGE_PASSING).expect(name);
        let memory = shared(engine, 20, 20);
        assert_eq!(on_threads::<i32>(engine, &module, &memory, 2, "run"), [0, 0], "{name}");
    });
}

const GROWING: &str = r#"(module (memory (import "" "") 1 200 shared)
    (func (export "run") (param $thread i32) (result i32) (local $size i32) (local $last i32)
        (loop $again
            (local.set $size (memory.size))
            (if (i32.lt_u (local.get $size) (local.get $last)) (then (unreachable)))
            (local.set $last (local.get $size))
            (local.set $size (i32.sub (i32.shl (local.get $size) (i32.const 16)) (i32.const 8)))
            (i64.store (local.get $size) (i64.add (i64.load (local.get $size)) (i64.const 1)))
            (drop (i64.atomic.rmw.add (local.get $size) (i64.const 1)))
            (memory.fill (i32.sub (local.get $size) (i32.const 32)) (i32.const 7) (i32.const 32))
            (if (i32.eqz (local.get $thread)) (then (drop (memory.grow (i32.const 1)))))
            (br_if $again (i32.lt_u (local.get $last) (i32.const 200))))
        (i32.add (memory.grow (i32.const 1)) (memory.size))))"#;

#[test]
fn memories_grow_under_their_users() {
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, GROWING).expect(name), shared(engine, 1, 200));
        assert_eq!(on_threads::<i32>(engine, &module, &memory, 3, "run"), [199; 3], "{name}");
        assert_eq!((memory.size(), memory.data_size()), (200, 200 << 16), "{name}");
        let mut end = [0; 8];
        memory.read((200 << 16) - 40, &mut end).expect("inside");
        assert_eq!(end, [7; 8], "{name}");
        assert!(memory.read((200 << 16) - 7, &mut end).is_err() && memory.grow(1).is_err(), "{name}");
    });
}

#[test]
fn growth_by_many_threads_is_counted_once_each() {
    let wat = r#"(module (memory (import "" "") 1 1000 shared) (func (export "run") (param i32) (result i32)
        (local $left i32) (local $sum i32)
        (local.set $left (i32.const 100))
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (memory.grow (i32.const 1))))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $again (local.get $left)))
        (local.get $sum)))"#;
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, wat).expect(name), shared(engine, 1, 1000));
        let sums = on_threads::<i32>(engine, &module, &memory, 4, "run");
        // Each old size from 1 to 400 was answered to one thread.
        assert_eq!((memory.size(), sums.iter().sum::<i32>()), (401, 400 * 401 / 2), "{name}");
    });
}

const WAITS: &str = r#"(module (memory (import "" "") 1 1 shared)
    (func (export "wait32") (param i32 i32 i64) (result i32)
        (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait64") (param i32 i64 i64) (result i32)
        (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "far") (param i32 i32 i64) (result i32)
        (memory.atomic.wait32 offset=0xfffffffc (local.get 0) (local.get 1) (local.get 2)))
    (func (export "notify") (param i32 i32) (result i32) (memory.atomic.notify (local.get 0) (local.get 1)))
    (func (export "again") (result i32)
        (loop (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 1000000))) (br 0)) (unreachable)))"#;

#[test]
fn h16_waits_end_by_value_and_by_timeout() {
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, WAITS).expect(name), shared(engine, 1, 1));
        memory.write(8, &0x1_0000_0002_u64.to_le_bytes()).expect("inside");
        let (mut store, i) = instance(engine, &module, &memory);
        let store = &mut store;
        for timeout in [-1, 0, i64::MAX, i64::MIN] {
            assert_eq!(call::<_, i32>(store, i, "wait32", (8, 3, timeout)), 1, "{name}");
            assert_eq!(call::<_, i32>(store, i, "wait64", (8, 2_i64, timeout)), 1, "{name}");
        }
        assert_eq!(call::<_, i32>(store, i, "wait32", (8, 2, 0_i64)), 2, "{name}");
        let begun = Instant::now();
        assert_eq!(call::<_, i32>(store, i, "wait64", (8, 0x1_0000_0002_i64, 30_000_000_i64)), 2, "{name}");
        assert!(begun.elapsed() >= Duration::from_millis(30), "{name}: {:?}", begun.elapsed());
        assert_eq!(call::<_, i32>(store, i, "notify", (8, -1)), 0, "{name}");
    });
}

#[test]
fn h16_waits_and_notifications_that_are_wrong_trap() {
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, WAITS).expect(name), shared(engine, 1, 1));
        let (mut store, i) = instance(engine, &module, &memory);
        let store = &mut store;
        for at in [1, 2, 3, 65533, -1] {
            assert_eq!(trap::<_, i32>(store, i, "wait32", (at, 0, 0_i64)), TrapCode::UnalignedAtomic, "{name}");
            assert_eq!(trap::<_, i32>(store, i, "notify", (at, 0)), TrapCode::UnalignedAtomic, "{name}");
        }
        assert_eq!(trap::<_, i32>(store, i, "wait64", (4, 0_i64, 0_i64)), TrapCode::UnalignedAtomic, "{name}");
        for at in [65536, -4, i32::MIN] {
            assert_eq!(trap::<_, i32>(store, i, "wait32", (at, 0, 0_i64)), TrapCode::MemoryOutOfBounds, "{name}");
            assert_eq!(trap::<_, i32>(store, i, "notify", (at, 0)), TrapCode::MemoryOutOfBounds, "{name}");
        }
        assert_eq!(trap::<_, i32>(store, i, "wait64", (-8, 0_i64, 0_i64)), TrapCode::MemoryOutOfBounds, "{name}");
        for at in [4, 0, 8] {
            assert_eq!(trap::<_, i32>(store, i, "far", (at, 0, 0_i64)), TrapCode::MemoryOutOfBounds, "{name}");
        }
    });
}

/// On a memory that no other thread can have, a wait could only be for ever.
#[test]
fn h16_waits_on_unshared_memories_trap() {
    let wat = r#"(module (memory 1 1)
        (func (export "wait") (param i32) (result i32)
            (memory.atomic.wait32 (local.get 0) (i32.const 1) (i64.const -1)))
        (func (export "wait64") (param i32) (result i32)
            (memory.atomic.wait64 (local.get 0) (i64.const 0) (i64.const -1)))
        (func (export "notify") (param i32) (result i32) (memory.atomic.notify (local.get 0) (i32.const -1))))"#;
    everywhere(|name, engine| {
        let (mut store, i) = common::instantiate(engine, wat);
        let store = &mut store;
        for export in ["wait", "wait64"] {
            assert_eq!(trap::<_, i32>(store, i, export, (0,)), TrapCode::ExpectedSharedMemory, "{name}");
            assert_eq!(trap::<_, i32>(store, i, export, (2,)), TrapCode::UnalignedAtomic, "{name}");
            assert_eq!(trap::<_, i32>(store, i, export, (65536,)), TrapCode::MemoryOutOfBounds, "{name}");
        }
        assert_eq!(call::<_, i32>(store, i, "notify", (0,)), 0, "{name}");
        assert_eq!(trap::<_, i32>(store, i, "notify", (2,)), TrapCode::UnalignedAtomic, "{name}");
        assert_eq!(trap::<_, i32>(store, i, "notify", (65536,)), TrapCode::MemoryOutOfBounds, "{name}");
    });
}

#[test]
fn h16_a_notification_wakes_as_many_as_it_says() {
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, WAITS).expect(name), shared(engine, 1, 1));
        thread::scope(|scope| {
            let waiter = |at: i32| {
                let (module, memory) = (&module, &memory);
                move || {
                    let (mut store, i) = instance(engine, module, memory);
                    store.set_deadline(Duration::from_secs(60));
                    call::<_, i32>(&mut store, i, "wait32", (at, 0, -1_i64))
                }
            };
            let mut waiters: Vec<_> = (0..5).map(|_| scope.spawn(waiter(64))).collect();
            waiters.push(scope.spawn(waiter(128)));
            let (mut store, i) = instance(engine, &module, &memory);
            let mut notify = |at: i32, count: i32| call::<_, i32>(&mut store, i, "notify", (at, count));
            let mut woken = 0;
            while woken < 2 {
                woken += notify(64, 1);
            }
            while woken < 5 {
                woken += notify(64, -1);
            }
            assert_eq!((woken, notify(64, -1), notify(68, -1)), (5, 0, 0), "{name}");
            while notify(128, i32::MIN) == 0 {
                thread::yield_now();
            }
            for waiter in waiters {
                assert_eq!(waiter.join().expect("no panic"), 0, "{name}");
            }
        });
    });
}

#[test]
fn d12_waits_end_at_the_deadline_and_by_an_interrupt() {
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, WAITS).expect(name), shared(engine, 1, 1));
        let (mut store, i) = instance(engine, &module, &memory);
        let begun = Instant::now();
        store.set_deadline(Duration::from_millis(20));
        assert_eq!(trap::<_, i32>(&mut store, i, "wait32", (0, 0, -1_i64)), TrapCode::Interrupted, "{name}");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(20) && took < Duration::from_secs(5), "{name}: {took:?}");
        // The deadline has passed: the next wait does not even begin to sleep.
        assert_eq!(trap::<_, i32>(&mut store, i, "wait64", (0, 0_i64, -1_i64)), TrapCode::Interrupted, "{name}");
        store.clear_deadline();
        let handle = store.interrupt_handle();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| trap::<_, i32>(&mut store, i, "again", ()));
            thread::sleep(Duration::from_millis(20));
            handle.interrupt();
            assert_eq!(waiting.join().expect("no panic"), TrapCode::Interrupted, "{name}");
        });
        // Nobody stands in the queue any more.
        assert_eq!(memory.atomic_notify(0, u32::MAX).expect("aligned"), 0, "{name}");
    });
}

/// Stores, modules and handles go while others wait; what waits is not disturbed and holds nothing up.
#[test]
fn d12_stores_are_dropped_while_others_wait() {
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, WAITS).expect(name), shared(engine, 1, 1));
        let (mut first, i) = instance(engine, &module, &memory);
        let (mut second, j) = instance(engine, &module, &memory);
        let handle = first.interrupt_handle();
        let first = thread::spawn(move || {
            let code = trap::<_, i32>(&mut first, i, "wait32", (0, 0, -1_i64));
            drop(first);
            code
        });
        let second = thread::spawn(move || call::<_, i32>(&mut second, j, "wait32", (0, 0, -1_i64)));
        drop(module);
        for _ in 0..20 {
            let module = Module::new(engine, WAITS).expect(name);
            let (mut store, k) = instance(engine, &module, &memory);
            assert_eq!(call::<_, i32>(&mut store, k, "wait32", (4, 0, 1000_i64)), 2, "{name}");
        }
        handle.interrupt();
        assert_eq!(first.join().expect("no panic"), TrapCode::Interrupted, "{name}");
        while memory.atomic_notify(0, 1).expect("aligned") == 0 {
            thread::yield_now();
        }
        drop(memory);
        assert_eq!(second.join().expect("no panic"), 0, "{name}");
    });
}

#[test]
fn the_host_waits_and_notifies_too() {
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, WAITS).expect(name), shared(engine, 1, 1));
        assert_eq!(memory.atomic_wait32(0, 1, None).expect("aligned"), WaitResult::Mismatch, "{name}");
        let short = Some(Duration::from_millis(1));
        assert_eq!(memory.atomic_wait64(8, 0, short).expect("aligned"), WaitResult::TimedOut, "{name}");
        for at in [1, 65536, u64::MAX, u64::MAX - 3] {
            assert!(memory.atomic_wait32(at, 0, short).is_err() && memory.atomic_notify(at, 1).is_err(), "{name}");
        }
        thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.atomic_wait32(16, 0, None).expect("aligned"));
            let (mut store, i) = instance(engine, &module, &memory);
            while call::<_, i32>(&mut store, i, "notify", (16, 1)) == 0 {
                thread::yield_now();
            }
            assert_eq!(waiting.join().expect("no panic"), WaitResult::Ok, "{name}");
        });
    });
}

#[test]
fn a_memory_outlives_the_store_that_defined_it() {
    let wat = r#"(module (memory (export "m") 1 3 shared) (data (i32.const 5) "seed")
        (func (export "size") (result i32) (memory.size))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "get") (param i32) (result i32) (i32.load (local.get 0)))
        (func (export "add") (param i32 i32) (result i32) (i32.atomic.rmw.add (local.get 0) (local.get 1))))"#;
    let user = r#"(module (memory (import "a" "m") 1 3 shared)
        (func (export "size") (result i32) (memory.size))
        (func (export "get") (param i32) (result i32) (i32.load (local.get 0))))"#;
    everywhere(|name, engine| {
        let (mut first, i) = common::instantiate(engine, wat);
        let memory = i.get_shared_memory(&first, "m").expect("a shared memory");
        assert!(i.get_memory(&first, "m").is_none(), "{name}: no handle that gives slices");
        assert_eq!(call::<_, i32>(&mut first, i, "grow", (1,)), 1, "{name}");
        assert_eq!(call::<_, i32>(&mut first, i, "add", (12, 77)), u32_at(&memory, 12) as i32 - 77, "{name}");
        let module = Module::new(engine, user).expect(name);
        let mut linker = Linker::new(engine);
        let mut second = Store::new(engine, ());
        linker.define(&second, "a", "m", memory.clone()).expect(name);
        let j = linker.instantiate(&mut second, &module).expect(name);
        assert_eq!(call::<_, i32>(&mut first, i, "size", ()), 2, "{name}");
        assert_eq!(trap::<_, i32>(&mut first, i, "get", (0x20000,)), TrapCode::MemoryOutOfBounds, "{name}");
        drop(first);
        assert_eq!(call::<_, i32>(&mut second, j, "size", ()), 2, "{name}");
        assert_eq!(call::<_, i32>(&mut second, j, "get", (5,)).to_le_bytes(), *b"seed", "{name}");
        assert_eq!(memory.grow(1).expect(name), 2, "{name}");
        assert_eq!(call::<_, i32>(&mut second, j, "get", (0x2fffc,)), 0, "{name}");
        drop((memory, linker));
        assert_eq!(call::<_, i32>(&mut second, j, "size", ()), 3, "{name}");
        assert_eq!(trap::<_, i32>(&mut second, j, "get", (0x2fffd,)), TrapCode::MemoryOutOfBounds, "{name}");
    });
}

#[test]
fn growth_of_a_shared_memory_asks_the_limits_of_the_store_that_grows_it() {
    let wat = r#"(module (memory (import "" "") 1 100 shared)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, wat).expect(name), shared(engine, 1, 100));
        let (mut poor, i) = instance(engine, &module, &memory);
        let (mut rich, j) = instance(engine, &module, &memory);
        poor.set_limits(aura_runtime::StoreLimits { memory_bytes: 3 << 16, ..Default::default() });
        let grow = |store: &mut Store<()>, i, pages: i32| call::<_, i32>(store, i, "grow", (pages,));
        assert_eq!([grow(&mut poor, i, 4), grow(&mut poor, i, 3), grow(&mut poor, i, 1)], [-1, 1, -1], "{name}");
        assert_eq!([grow(&mut rich, j, 90), grow(&mut rich, j, 7), grow(&mut rich, j, 0)], [4, -1, 94], "{name}");
        // What a module defines is of its store's share.
        let own = Module::new(engine, "(module (memory 4 4 shared))").expect(name);
        let error = Instance::new(&mut poor, &own, &[]).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Resource, "{name}: {error}");
    });
}

#[test]
fn wrong_memories_are_refused() {
    everywhere(|name, engine| {
        let wanted = Module::new(engine, r#"(module (memory (import "" "") 2 4 shared))"#).expect(name);
        let unshared = Module::new(engine, r#"(module (memory (import "" "") 1 4))"#).expect(name);
        let mut store = Store::new(engine, ());
        let mut refused = |module: &Module, item: Extern| {
            let error = Instance::new(&mut store, module, &[item]).expect_err(name);
            error.kind()
        };
        assert_eq!(refused(&wanted, shared(engine, 1, 4).into()), ErrorKind::Link, "{name}: too small");
        assert_eq!(refused(&wanted, shared(engine, 2, 5).into()), ErrorKind::Link, "{name}: may grow too big");
        assert_eq!(refused(&unshared, shared(engine, 2, 4).into()), ErrorKind::Link, "{name}: shared for unshared");
        let other = Engine::new(engine.config()).expect(name);
        assert_eq!(refused(&wanted, shared(&other, 2, 4).into()), ErrorKind::Usage, "{name}: of another engine");
        let mut store = Store::new(engine, ());
        let mine = MemoryType { shared: false, ..ty(2, 4) };
        let memory = Memory::new(&mut store, mine).expect(name);
        let error = Instance::new(&mut store, &wanted, &[memory.into()]).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Link, "{name}: unshared for shared");
        assert!(Memory::new(&mut store, ty(1, 1)).is_err(), "{name}: no `Memory` is shared");
        assert!(SharedMemory::new(engine, mine).is_err(), "{name}: no `SharedMemory` is unshared");
        let endless = MemoryType { limits: Limits64 { min: 1, max: None }, ..ty(1, 1) };
        assert!(SharedMemory::new(engine, endless).is_err(), "{name}: without a maximum");
        assert!(SharedMemory::new(engine, ty(5, 4)).is_err(), "{name}: more at the start than at most");
    });
    assert!(SharedMemory::new(&Engine::default(), ty(1, 1)).is_err(), "threads are off by default");
}

/// Everything that is not atomic gives on a shared memory what it gives on any other.
#[test]
fn plain_accesses_are_the_same_on_shared_memories() {
    let body = r#"
        (data $d "\01\82\03\84\05\86\07\88\09\8a\0b\8c\0d\8e\0f\90")
        (func (export "run") (param $at i32) (result i64) (local $x i64)
            (memory.init $d (local.get $at) (i32.const 0) (i32.const 16))
            (local.set $x (i64.load8_s (local.get $at)))
            (local.set $x (i64.add (i64.rotl (local.get $x) (i64.const 7)) (i64.load16_s offset=1 (local.get $at))))
            (local.set $x (i64.add (i64.rotl (local.get $x) (i64.const 7)) (i64.load32_s offset=3 (local.get $at))))
            (local.set $x (i64.add (i64.rotl (local.get $x) (i64.const 7)) (i64.load offset=5 (local.get $at))))
            (i32.store8 offset=2 (local.get $at) (i32.const 0xa5))
            (i32.store16 offset=3 (local.get $at) (i32.const 0xb6c7))
            (f32.store offset=6 (local.get $at) (f32.const 1.5))
            (f64.store offset=8 (local.get $at) (f64.const -2.25))
            (memory.copy (i32.add (local.get $at) (i32.const 3)) (local.get $at) (i32.const 700))
            (memory.copy (local.get $at) (i32.add (local.get $at) (i32.const 1)) (i32.const 900))
            (memory.fill (i32.add (local.get $at) (i32.const 40)) (i32.const 0x5a) (i32.const 13))
            (v128.store offset=20 (local.get $at) (i8x16.add
                (v128.load offset=1 (local.get $at)) (v128.load8_splat offset=44 (local.get $at))))
            (v128.store16_lane offset=9 3 (local.get $at) (v128.load offset=20 (local.get $at)))
            (local.set $x (i64.add (i64.rotl (local.get $x) (i64.const 7)) (i64.load offset=8 (local.get $at))))
            (i64.add (local.get $x) (i64.load offset=27 (local.get $at))))
        (func (export "edge") (param $at i32) (drop (i64.load (local.get $at))))
        (func (export "write") (param $at i32) (v128.store (local.get $at) (v128.const i64x2 1 2)))"#;
    everywhere(|name, engine| {
        let make = |memory: &str| {
            let wat = format!("(module (memory (export \"m\") {memory}) {body})");
            common::instantiate(engine, &wat)
        };
        let (mut plain, i) = make("1 1");
        let (mut raced, j) = make("1 1 shared");
        for at in (0..20).chain([4090, 60_000]) {
            let a: i64 = call(&mut plain, i, "run", (at,));
            assert_eq!(call::<_, i64>(&mut raced, j, "run", (at,)), a, "{name} at {at}");
        }
        let memory = j.get_shared_memory(&raced, "m").expect(name);
        let mut bytes = vec![0; 65536];
        memory.read(0, &mut bytes).expect(name);
        assert!(bytes == i.get_memory(&plain, "m").expect(name).data(&plain), "{name}: the same bytes");
        for (at, end) in [(65_529, "edge"), (-1, "edge"), (65_521, "write"), (i32::MIN, "write")] {
            assert_eq!(trap::<_, ()>(&mut raced, j, end, (at,)), TrapCode::MemoryOutOfBounds, "{name} {end} {at}");
        }
        let mut after = vec![0; 65536];
        memory.read(0, &mut after).expect(name);
        assert!(bytes == after, "{name}: a write that is partly outside writes nothing");
    });
}

/// Every atomic operator: address classes, widths.
#[test]
fn c12_atomic_accesses_are_inside_and_aligned_or_trap() {
    let accesses = [
        ("i32.atomic.load8_u", 1, ""),
        ("i32.atomic.load16_u", 2, ""),
        ("i32.atomic.load", 4, ""),
        ("i64.atomic.load32_u", 4, ""),
        ("i64.atomic.load", 8, ""),
        ("i32.atomic.store8", 1, "(i32.const 1)"),
        ("i64.atomic.store16", 2, "(i64.const 1)"),
        ("i32.atomic.store", 4, "(i32.const 1)"),
        ("i64.atomic.store", 8, "(i64.const 1)"),
        ("i32.atomic.rmw8.add_u", 1, "(i32.const 1)"),
        ("i32.atomic.rmw16.xchg_u", 2, "(i32.const 1)"),
        ("i32.atomic.rmw.or", 4, "(i32.const 1)"),
        ("i64.atomic.rmw32.and_u", 4, "(i64.const 1)"),
        ("i64.atomic.rmw.xor", 8, "(i64.const 1)"),
        ("i32.atomic.rmw8.cmpxchg_u", 1, "(i32.const 1) (i32.const 1)"),
        ("i64.atomic.rmw.cmpxchg", 8, "(i64.const 1) (i64.const 1)"),
    ];
    let offsets = [0_u32, 1, 4, 8, 0x7fff_fff8, 0xffff_fff8, 0xffff_ffff];
    for memory in ["1 2", "1 2 shared"] {
        let mut wat = format!("(module (memory {memory})");
        for (op, _, operands) in accesses {
            for offset in offsets {
                let inst = format!("({op} offset={offset} (local.get 0) {operands})");
                let inst = if op.contains("store") { inst } else { format!("(drop {inst})") };
                wat += &format!("(func (export \"{op}+{offset}\") (param i32) {inst})");
            }
        }
        wat += ")";
        everywhere(|name, engine| {
            let (mut store, instance) = common::instantiate(engine, &wat);
            let size = 65536_u64;
            for (op, bytes, _) in accesses {
                for offset in offsets {
                    let export = format!("{op}+{offset}");
                    let func = instance.get_typed_func::<i32, ()>(&store, &export).expect(&export);
                    for at in [
                        0,
                        1,
                        2,
                        4,
                        7,
                        8,
                        0xfff4,
                        0xfff8,
                        0xfffc,
                        0xffff,
                        0x10000,
                        0x7fff_fffc,
                        0xffff_fff8,
                        0xffff_ffff_u32,
                    ] {
                        let start = u64::from(at) + u64::from(offset);
                        let expected = if start % bytes != 0 {
                            Some(TrapCode::UnalignedAtomic)
                        } else if start + bytes > size {
                            Some(TrapCode::MemoryOutOfBounds)
                        } else {
                            None
                        };
                        let seen = func.call(&mut store, at.cast_signed()).err();
                        let seen = seen.map(|error| error.trap().expect("a trap").clone());
                        assert_eq!(seen.as_ref().map(aura_runtime::Trap::code), expected, "{name} {export} {at:#x}");
                        if let Some(trap) = seen {
                            assert_eq!(trap.frames().len(), 1, "{name} {export}: a precise place");
                            assert!(trap.frames()[0].module_offset.is_some(), "{name} {export}: a precise place");
                        }
                    }
                }
            }
        });
    }
}

/// No API gives a Rust slice of bytes that another thread may write; those there are may be called while guests write.
#[test]
fn t7_the_host_reads_while_guests_write() {
    let wat = r#"(module (memory (import "" "") 1 1 shared)
        (func (export "run") (param i32) (local $i i32)
            (loop $again
                (memory.fill (i32.const 1024) (local.get $i) (i32.const 64))
                (v128.store (i32.const 1088) (i8x16.splat (local.get $i)))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $i) (i32.const 3000))))))"#;
    everywhere(|name, engine| {
        let (module, memory) = (Module::new(engine, wat).expect(name), shared(engine, 1, 1));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut turns, mut bytes) = (0, [0; 80]);
                while !done.load(Ordering::SeqCst) || turns == 0 {
                    memory.read(1023, &mut bytes).expect("inside");
                    memory.write(2000, &bytes).expect("inside");
                    turns += 1;
                }
                turns
            });
            on_threads::<()>(engine, &module, &memory, 2, "run");
            done.store(true, Ordering::SeqCst);
            assert!(reader.join().expect("no panic") > 0, "{name}");
        });
        let mut last = [0; 80];
        memory.read(1024, &mut last).expect("inside");
        assert_eq!(last, [(2999 % 256) as u8; 80], "{name}");
    });
}

/// Modules with equal types come and go on many threads, while others call through a shared table of numbers.
#[test]
fn t3_modules_with_equal_types_come_and_go_on_64_threads() {
    let wat = |number: usize| {
        format!(
            r#"(module (type $a (func (param i32) (result i32))) (type $b (func (param i64) (result i64)))
            (type $own (func {} (result i32)))
            (table 3 funcref) (elem (i32.const 0) $x $y $z)
            (func $x (type $a) (i32.add (local.get 0) (i32.const {number})))
            (func $y (type $b) (i64.add (local.get 0) (i64.const 1)))
            (func $z (type $own) (i32.const {number}))
            (func (export "right") (param i32) (result i32) (call_indirect (type $a) (local.get 0) (i32.const 0)))
            (func (export "wrong") (param i32) (result i32) (call_indirect (type $a) (local.get 0) (i32.const 1)))
            (func (export "other") (param i32) (result i32) (call_indirect (type $a) (local.get 0) (i32.const 2))))"#,
            "(param f32)".repeat(number % 7)
        )
    };
    everywhere(|name, engine| {
        thread::scope(|scope| {
            for number in 0..64_usize {
                scope.spawn(move || {
                    for turn in 0..3 {
                        let module = Module::new(engine, wat(number + turn)).expect(name);
                        let mut store = Store::new(engine, ());
                        let i = Instance::new(&mut store, &module, &[]).expect(name);
                        let expected = 5 + (number + turn) as i32;
                        assert_eq!(call::<_, i32>(&mut store, i, "right", (5,)), expected, "{name}");
                        for export in ["wrong", "other"] {
                            let code = trap::<_, i32>(&mut store, i, export, (5,));
                            assert_eq!(code, TrapCode::IndirectCallTypeMismatch, "{name}");
                        }
                    }
                });
            }
        });
    });
}

/// One module and its machine code serve many stores at once, from the first call on.
#[test]
fn one_module_is_compiled_and_run_by_many_threads() {
    let mut wat = String::from(r#"(module (memory (import "" "") 1 1 shared)"#);
    for f in 0..20 {
        wat +=
            &format!("(func $f{f} (param i32) (result i32) (i32.atomic.rmw.add (i32.const {}) (local.get 0)))", 4 * f);
    }
    wat += "(func (export \"run\") (param i32) (result i32) (local $n i32) (local $s i32) (loop $l";
    for f in 0..20 {
        wat += &format!("(local.set $s (i32.add (local.get $s) (call $f{f} (i32.const 1))))");
    }
    wat += "(local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $l (i32.lt_u (local.get $n) (i32.const 50)))) (local.get $s)))";
    everywhere(|name, engine| {
        for _ in 0..8 {
            let (module, memory) = (Module::new(engine, &wat).expect(name), shared(engine, 1, 1));
            let sums = on_threads::<i32>(engine, &module, &memory, 8, "run");
            // Every old value from 0 to 399 of each of the 20 counters was seen once.
            assert_eq!(sums.iter().sum::<i32>(), 20 * (399 * 400 / 2), "{name}");
            assert!((0..20).all(|f| u32_at(&memory, 4 * f) == 400), "{name}");
        }
    });
}

/// Atomic operators cost the same on every engine.
#[test]
fn atomics_cost_the_same_fuel_everywhere() {
    let mut left = Vec::new();
    for (name, engine) in engines(|config| {
        with_threads(config);
        config.consume_fuel(true);
    }) {
        let (module, memory) = (Module::new(&engine, COUNTER).expect(&name), shared(&engine, 1, 1));
        let (mut store, i) = instance(&engine, &module, &memory);
        store.set_fuel(1_000_000).expect(&name);
        call::<_, ()>(&mut store, i, "run", (0,));
        let waits = Module::new(&engine, WAITS).expect(&name);
        let j = Instance::new(&mut store, &waits, &[memory.into()]).expect(&name);
        call::<_, i32>(&mut store, j, "wait32", (32, 0, 10_i64));
        call::<_, i32>(&mut store, j, "notify", (32, 1));
        left.push(store.get_fuel().expect(&name));
        let func = j.get_func(&store, "again").expect(&name);
        store.set_fuel(2000).expect(&name);
        let error = func.call(&mut store, &[], &mut [Val::I32(0)]).expect_err(&name);
        assert_eq!(error.trap().expect("a trap").code(), TrapCode::OutOfFuel, "{name}: waits in a loop are charged");
    }
    assert!(left[0] < 1_000_000 && left.windows(2).all(|pair| pair[0] == pair[1]), "{left:?}");
}

/// With 64-bit addresses, index and offset may pass 2^64 together; pages of one byte end anywhere.
#[test]
fn c12_atomic_accesses_to_wide_and_small_memories_never_wrap() {
    let body = |offset: u64| {
        format!(
            r#"(func (export "load+{offset}") (param i64) (drop (i64.atomic.load offset={offset} (local.get 0))))
            (func (export "add+{offset}") (param i64)
                (drop (i64.atomic.rmw.add offset={offset} (local.get 0) (i64.const 1))))
            (func (export "swap+{offset}") (param i64)
                (drop (i64.atomic.rmw.cmpxchg offset={offset} (local.get 0) (i64.const 1) (i64.const 2))))
            (func (export "wait+{offset}") (param i64)
                (drop (memory.atomic.wait64 offset={offset} (local.get 0) (i64.const -1) (i64.const 0))))"#
        )
    };
    let offsets = [0, 8, 1 << 32, u64::MAX - 7];
    let bodies: String = offsets.into_iter().map(body).collect();
    for (memory, size) in [("i64 1 2 shared", 65536), ("i64 21 30 shared (pagesize 1)", 21)] {
        let wat = format!("(module (memory {memory}) {bodies})");
        let configure = |config: &mut Config| {
            let mut features = Features::default();
            for name in ["threads", "memory64", "custom-page-sizes"] {
                features = features.with(name, true).expect("known and implemented");
            }
            config.features(features);
        };
        for (name, engine) in engines(configure) {
            let (mut store, instance) = common::instantiate(&engine, &wat);
            for op in ["load", "add", "swap", "wait"] {
                for offset in offsets {
                    for at in [0, 8, 12, 16, 0xfff8, 0x10000, 1 << 32, u64::MAX - 15, u64::MAX - 7, u64::MAX] {
                        let start = u128::from(at) + u128::from(offset);
                        let expected = if start % 8 != 0 {
                            Err(TrapCode::UnalignedAtomic)
                        } else if start + 8 > size {
                            Err(TrapCode::MemoryOutOfBounds)
                        } else {
                            Ok(())
                        };
                        let func = instance.get_typed_func::<u64, ()>(&store, &format!("{op}+{offset}")).expect(op);
                        let seen = func.call(&mut store, at).map_err(|error| error.trap().expect("a trap").code());
                        assert_eq!(seen, expected, "{name} {memory}: {op} at {at:#x} + {offset:#x}");
                    }
                }
            }
        }
    }
}
