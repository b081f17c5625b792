//! One tenant's bytes never reach another: memories, tables, globals, locals and stacks are fresh after an instance
//! full of canaries is gone. The ids name rows of the list of past findings in other runtimes.

mod common;

use aura_runtime::{Caller, Engine, Instance, Linker, Module, Store, StoreLimits, TrapCode, Val};
use common::{everywhere, instantiate};

const CANARY: u8 = 0xc5;

/// A tenant that fills all it has; with `active` segments, and without.
fn tenant(active: &str) -> String {
    format!(
        r#"(module (memory (export "m") 2 40) (table (export "t") 64 funcref) (table (export "e") 16 externref)
            (global (export "g") (mut i64) (i64.const 0)) (global (export "v") (mut v128) (v128.const i64x2 0 0))
            (global (export "r") (mut externref) (ref.null extern))
            {active} (elem declare func $fill)
            (func $fill (export "fill") (param externref)
                (drop (memory.grow (i32.const 10)))
                (memory.fill (i32.const 0) (i32.const 0xc5) (i32.mul (memory.size) (i32.const 65536)))
                (table.fill 0 (i32.const 0) (ref.func $fill) (i32.const 64))
                (table.fill 1 (i32.const 0) (local.get 0) (i32.const 16))
                (drop (table.grow 0 (ref.func $fill) (i32.const 100)))
                (global.set 0 (i64.const -1)) (global.set 1 (v128.const i64x2 -1 -1)) (global.set 2 (local.get 0)))
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
            (func (export "more") (result i32) (table.grow 0 (ref.null func) (i32.const 200))))"#
    )
}

fn fill(engine: &Engine, wat: &str) {
    let (mut store, instance) = instantiate(engine, wat);
    let secret = aura_runtime::ExternRef::new(&mut store, "secret").expect("a reference");
    let fill = instance.get_func(&store, "fill").expect("fill");
    fill.call(&mut store, &[Val::ExternRef(Some(secret))], &mut []).expect("fills");
    let memory = instance.get_memory(&store, "m").expect("m");
    assert!(memory.data(&store).iter().all(|byte| *byte == CANARY));
}

fn assert_fresh(name: &str, mut store: Store<()>, instance: Instance) {
    let is_null = |value: Option<Val>| matches!(value, Some(Val::FuncRef(None) | Val::ExternRef(None)));
    let grow = instance.get_typed_func::<i32, i32>(&store, "grow").expect(name);
    let memory = instance.get_memory(&store, "m").expect(name);
    let stale = |store: &Store<()>| memory.data(store).iter().filter(|byte| **byte == CANARY).count();
    assert_eq!(stale(&store), 0, "{name}: before growing");
    assert_eq!(grow.call(&mut store, 20).expect(name), 2, "{name}");
    assert_eq!((stale(&store), memory.data_size(&store)), (0, 22 << 16), "{name}: after growing");
    assert_eq!(instance.get_typed_func::<(), i32>(&store, "more").expect(name).call(&mut store, ()).expect(name), 64);
    let table = instance.get_table(&store, "t").expect(name);
    assert!((0..264).all(|index| is_null(table.get(&store, index))), "{name}: funcrefs");
    let table = instance.get_table(&store, "e").expect(name);
    assert!((0..16).all(|index| is_null(table.get(&store, index))), "{name}: externrefs");
    let global = |of: &str| instance.get_global(&store, of).expect(name).get(&store);
    assert!(matches!(global("g"), Val::I64(0)), "{name}");
    assert!(matches!(global("v"), Val::V128(0)), "{name}");
    assert!(is_null(Some(global("r"))), "{name}");
}

#[test]
fn l1_l5_an_instance_is_fresh_after_a_full_one_is_gone() {
    let with = tenant(r#"(data (i32.const 100) "image") (data (i32.const 131000) "more") (elem (i32.const 3) func)"#);
    let without = tenant("");
    everywhere(|name, engine| {
        for round in 0..4 {
            fill(engine, if round % 2 == 0 { &with } else { &without });
            let (store, instance) = instantiate(engine, if round < 2 { &with } else { &without });
            assert_fresh(name, store, instance);
        }
    });
}

#[test]
fn l1_a_failed_instantiation_leaves_no_bytes_behind() {
    let failing = r#"(module (memory (export "m") 2 40) (table 64 funcref) (elem (table 0) (i32.const 0) func $f)
        (func $f (memory.fill (i32.const 0) (i32.const 0xc5) (i32.const 131072)) unreachable) (start $f))"#;
    everywhere(|name, engine| {
        let (failing, fresh) =
            (Module::new(engine, failing).expect(name), Module::new(engine, tenant("")).expect(name));
        let linker: Linker<()> = Linker::new(engine);
        for _ in 0..3 {
            // In one store, and across stores.
            let mut store = Store::new(engine, ());
            let error = linker.instantiate(&mut store, &failing).expect_err(name);
            assert_eq!(error.trap().expect("a trap").code(), TrapCode::Unreachable, "{name}");
            let instance = linker.instantiate(&mut store, &fresh).expect(name);
            assert_fresh(name, store, instance);
        }
    });
}

#[test]
fn l2_a_smaller_memory_ends_where_it_ends_after_a_bigger_one_is_gone() {
    everywhere(|name, engine| {
        for _ in 0..3 {
            fill(engine, &tenant(""));
            let wat = tenant("").replace("2 40)", "1 1)");
            let (mut store, instance) = instantiate(engine, &wat);
            let load = instance.get_typed_func::<u32, i32>(&store, "load").expect(name);
            assert_eq!(load.call(&mut store, 65535).expect(name), 0, "{name}");
            for address in [65536, 65537, 131_071, 131_072, 12 << 16, u32::MAX] {
                let error = load.call(&mut store, address).expect_err(name);
                assert_eq!(error.trap().expect("a trap").code(), TrapCode::MemoryOutOfBounds, "{name} {address}");
            }
            let grow = instance.get_typed_func::<i32, i32>(&store, "grow").expect(name);
            assert_eq!(grow.call(&mut store, 1).expect(name), -1, "{name}");
            assert!(load.call(&mut store, 65536).is_err(), "{name}: after growing failed");
        }
    });
}

#[test]
fn l2_a_neighbour_that_grows_opens_nothing_to_others_of_the_store() {
    everywhere(|name, engine| {
        let big = Module::new(engine, tenant("")).expect(name);
        let small = Module::new(engine, tenant("").replace("2 40)", "0 3)")).expect(name);
        let linker: Linker<()> = Linker::new(engine);
        let mut store = Store::new(engine, ());
        let a = linker.instantiate(&mut store, &big).expect(name);
        let b = linker.instantiate(&mut store, &small).expect(name);
        a.get_func(&store, "fill").expect(name).call(&mut store, &[Val::ExternRef(None)], &mut []).expect(name);
        let load = b.get_typed_func::<u32, i32>(&store, "load").expect(name);
        for address in [0, 1, 65535, 131_071, 3 << 16] {
            assert!(load.call(&mut store, address).is_err(), "{name} {address}");
        }
        let grow = b.get_typed_func::<i32, i32>(&store, "grow").expect(name);
        assert_eq!(grow.call(&mut store, 1).expect(name), 0, "{name}");
        assert_eq!(load.call(&mut store, 65535).expect(name), 0, "{name}");
        assert!(load.call(&mut store, 65536).is_err(), "{name}");
    });
}

/// `$dirty` leaves canaries in as many places as it can; `clean` adds up locals that nobody has set.
fn frames() -> String {
    let or = (1..41).fold(String::from("(i64.const 0)"), |sum, l| format!("(i64.or {sum} (local.get {l}))"));
    let sets: String = (1..41).map(|l| format!("(local.set {l} (i64.sub (i64.const -1) (local.get 0)))")).collect();
    let locals = "i64 ".repeat(40);
    format!(
        r#"(module (import "h" "peek" (func $peek (param i64) (result i64)))
            (func $dirty (export "dirty") (param i64) (result i64) (local {locals}) {sets}
                (if (result i64) (i64.eqz (local.get 0)) (then {or})
                    (else (i64.or (call $dirty (i64.sub (local.get 0) (i64.const 1))) {or}))))
            (func $clean (export "clean") (param i64) (result i64) (local {locals}) (local v128 externref funcref)
                (if (i64.ne (local.get 0) (i64.const 0)) (then
                    (local.set 1 (call $clean (i64.sub (local.get 0) (i64.const 1))))))
                (local.set 2 (i64.extend_i32_u (v128.any_true (local.get 41))))
                (local.set 3 (i64.extend_i32_u (i32.eqz (ref.is_null (local.get 42)))))
                (local.set 4 (i64.extend_i32_u (i32.eqz (ref.is_null (local.get 43)))))
                (call $peek {or})))"#
    )
}

#[test]
fn l5_locals_and_stacks_are_zero_after_a_tenant_that_used_them() {
    everywhere(|name, engine| {
        let module = Module::new(engine, frames()).expect(name);
        let mut linker: Linker<Vec<i64>> = Linker::new(engine);
        linker
            .func_wrap("h", "peek", |mut caller: Caller<'_, Vec<i64>>, seen: i64| {
                caller.data_mut().push(seen);
                seen
            })
            .expect(name);
        for _ in 0..3 {
            let mut store = Store::new(engine, Vec::new());
            let dirty = linker.instantiate(&mut store, &module).expect(name);
            let dirty = dirty.get_typed_func::<i64, i64>(&store, "dirty").expect(name);
            assert_eq!(dirty.call(&mut store, 40).expect(name), -1, "{name}");
            // The same store's stack, and the same thread's.
            let clean = linker.instantiate(&mut store, &module).expect(name);
            let clean = clean.get_typed_func::<i64, i64>(&store, "clean").expect(name);
            assert_eq!(clean.call(&mut store, 40).expect(name), 0, "{name}");
            assert_eq!(store.data(), &[0; 41], "{name}");
            drop(store);
            let mut store = Store::new(engine, Vec::new());
            let clean = linker.instantiate(&mut store, &module).expect(name);
            let clean = clean.get_typed_func::<i64, i64>(&store, "clean").expect(name);
            assert_eq!(clean.call(&mut store, 40).expect(name), 0, "{name}");
        }
    });
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: u64 = statm.split(' ').nth(1).expect("second field").parse().expect("a number");
    pages * 4096
}

/// The least that `work` adds to the process in one of several rounds: a leak adds to each, a neighbour's noise not.
fn least_growth(rounds: usize, mut work: impl FnMut()) -> u64 {
    work();
    let mut least = u64::MAX;
    for _ in 0..rounds {
        let before = resident();
        work();
        least = least.min(resident().saturating_sub(before));
    }
    least
}

#[test]
fn d9_a_hundred_thousand_calls_leave_memory_flat() {
    everywhere(|name, engine| {
        let module = Module::new(
            engine,
            r#"(module (import "h" "f" (func $f (param i32) (result i32)))
                (func (export "call") (param i32) (result i32) (call $f (local.get 0)))
                (func (export "trap") (unreachable)))"#,
        )
        .expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker.func_wrap("h", "f", |x: i32| x + 1).expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let call = instance.get_func(&store, "call").expect(name);
        let trap = instance.get_func(&store, "trap").expect(name);
        let growth = least_growth(4, || {
            for n in 0..20_000 {
                let mut result = [Val::I32(0)];
                call.call(&mut store, &[Val::I32(n)], &mut result).expect(name);
                assert!(matches!(result, [Val::I32(x)] if x == n + 1), "{name}");
                if n % 20 == 0 {
                    assert!(trap.call(&mut store, &[], &mut []).is_err(), "{name}");
                }
            }
        });
        assert!(growth < 512 << 10, "{name}: {growth} bytes in 20,000 calls");
    });
}

#[test]
fn d9_stores_that_come_and_go_leave_memory_flat() {
    everywhere(|name, engine| {
        let module = Module::new(engine, tenant(r#"(data (i32.const 0) "image")"#)).expect(name);
        let linker: Linker<()> = Linker::new(engine);
        let growth = least_growth(5, || {
            for _ in 0..100 {
                let mut store = Store::new(engine, ());
                store.set_limits(StoreLimits { instances: 2, ..StoreLimits::default() });
                linker.instantiate(&mut store, &module).expect(name);
            }
        });
        assert!(growth < 400 << 10, "{name}: {growth} bytes in 100 stores");
    });
}
