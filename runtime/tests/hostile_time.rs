//! Guests that would run for ever end at the deadline or with the fuel: every shape of loop, long operations, and what
//! runs while a module is instantiated. The ids name rows of the list of past findings in other runtimes.

mod common;

use std::time::{Duration, Instant};

use aura_runtime::{Caller, Error, Func, Instance, Linker, Module, Store, TrapCode, Val};
use common::{engines, everywhere, instantiate};

#[track_caller]
fn assert_trap(error: &Error, code: TrapCode, name: &str) {
    assert_eq!(error.trap().map(aura_runtime::Trap::code), Some(code), "{name}: {error}");
}

/// Each export never ends by itself.
const SHAPES: &str = r#"(module (table 1 funcref) (elem (i32.const 0) $leaf) (type $v (func)) (memory 1)
    (func $leaf)
    (func (export "br") (loop $l (br $l)))
    (func (export "br_if") (loop $l (br_if $l (i32.const 1))))
    (func (export "br_table") (param $i i32) (loop $l (block $b (br_table $l $b $l (i32.const 2)))))
    (func (export "value") (local i64) (i64.const 1) (loop $l (param i64) (i64.const 1) (i64.add) (br $l)) (unreachable))
    (func (export "nested") (loop $a (loop $b (loop $c (br_if $b (i32.const 0)) (br $a)))))
    (func (export "in_if") (local i32) (loop $l (if (local.get 0)
        (then (local.set 0 (i32.const 0)) (br $l)) (else (local.set 0 (i32.const 1)) (br $l)))))
    (func (export "out") (block $o (loop $l (br_if $o (i32.const 0)) (block (br $l)))))
    (func (export "call") (loop $l (call $leaf) (br $l)))
    (func (export "indirect") (loop $l (call_indirect (type $v) (i32.const 0)) (br $l)))
    (func (export "memory") (loop $l (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))) (br $l)))
    (func $tree (export "tree") (param i32) (if (local.get 0) (then
        (call $tree (i32.sub (local.get 0) (i32.const 1))) (call $tree (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "grow") (loop $l (drop (memory.grow (i32.const 0))) (br $l))))"#;

const SHAPE_NAMES: [&str; 12] =
    ["br", "br_if", "br_table", "value", "nested", "in_if", "out", "call", "indirect", "memory", "tree", "grow"];

#[test]
fn d12_every_shape_of_loop_ends_at_the_deadline() {
    everywhere(|name, engine| {
        for export in SHAPE_NAMES {
            let (mut store, instance) = instantiate(engine, SHAPES);
            let func = instance.get_func(&store, export).expect(export);
            let args = vec![Val::I32(60); func.ty(&store).params().len()];
            store.set_deadline(Duration::from_millis(10));
            let start = Instant::now();
            let error = func.call(&mut store, &args, &mut []).expect_err(export);
            assert_trap(&error, TrapCode::Interrupted, &format!("{name} {export}"));
            assert!(start.elapsed() < Duration::from_secs(5), "{name} {export}: {:?}", start.elapsed());
        }
    });
}

#[test]
fn d12_every_shape_of_loop_ends_with_the_fuel() {
    for export in SHAPE_NAMES {
        let mut left = Vec::new();
        for (name, engine) in engines(|config| {
            config.consume_fuel(true);
        }) {
            let (mut store, instance) = instantiate(&engine, SHAPES);
            store.set_fuel(20_000).expect(&name);
            let func = instance.get_func(&store, export).expect(export);
            let args = vec![Val::I32(60); func.ty(&store).params().len()];
            let error = func.call(&mut store, &args, &mut []).expect_err(export);
            assert_trap(&error, TrapCode::OutOfFuel, &format!("{name} {export}"));
            left.push(store.get_fuel().expect(&name));
        }
        assert!(left.windows(2).all(|pair| pair[0] == pair[1]), "{export}: {left:?}");
    }
}

/// Four gigabytes: whatever wrote all of it would have taken many times as long as the deadline is away.
#[test]
fn d12_bulk_operations_on_a_memory_of_4_gib_end_at_the_deadline() {
    let wat = r#"(module (memory (export "m") 65536)
        (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 0xffffffff)))
        (func (export "copy") (i32.store8 (i32.const 0) (i32.const 1))
            (memory.copy (i32.const 0x40000000) (i32.const 0) (i32.const 0xbfffffff))))"#;
    everywhere(|name, engine| {
        // What is written last: a copy to higher addresses that overlaps goes from the end.
        for (export, last) in [("fill", 0xffff_fffe), ("copy", 0x4000_0000)] {
            let (mut store, instance) = instantiate(engine, wat);
            store.set_deadline(Duration::from_millis(10));
            let start = Instant::now();
            let func = instance.get_typed_func::<(), ()>(&store, export).expect(name);
            let error = func.call(&mut store, ()).expect_err("interrupted on the way");
            assert_trap(&error, TrapCode::Interrupted, &format!("{name} {export}"));
            assert!(start.elapsed() < Duration::from_secs(10), "{name} {export}: {:?}", start.elapsed());
            let mut byte = [7];
            let memory = instance.get_memory(&store, "m").expect(name);
            memory.read(&store, last, &mut byte).expect(name);
            assert_eq!(byte, [0], "{name} {export}: it ended before its end");
        }
    });
}

#[test]
fn d12_bulk_operations_on_large_arrays_end_at_the_deadline() {
    let wat = r#"(module (type $a (array (mut i64))) (global $g (mut (ref null $a)) (ref.null $a))
        (func (export "make") (global.set $g (array.new_default $a (i32.const 60000000))))
        (func (export "fill") (array.fill $a (global.get $g) (i32.const 0) (i64.const 1) (i32.const 60000000)))
        (func (export "copy") (array.set $a (global.get $g) (i32.const 0) (i64.const 1))
            (array.copy $a $a (global.get $g) (i32.const 1) (global.get $g) (i32.const 0) (i32.const 59999999)))
        (func (export "get") (param i32) (result i64) (array.get $a (global.get $g) (local.get 0))))"#;
    everywhere(|name, engine| {
        for (export, last) in [("fill", 59_999_999), ("copy", 1)] {
            let (mut store, instance) = instantiate(engine, wat);
            instance.get_typed_func::<(), ()>(&store, "make").expect(name).call(&mut store, ()).expect(name);
            store.set_deadline(Duration::from_millis(10));
            let start = Instant::now();
            let func = instance.get_typed_func::<(), ()>(&store, export).expect(name);
            let error = func.call(&mut store, ()).expect_err("interrupted on the way");
            assert_trap(&error, TrapCode::Interrupted, &format!("{name} {export}"));
            assert!(start.elapsed() < Duration::from_secs(10), "{name} {export}: {:?}", start.elapsed());
            store.clear_deadline();
            let get = instance.get_typed_func::<i32, i64>(&store, "get").expect(name);
            assert_eq!(get.call(&mut store, last).expect(name), 0, "{name} {export}: it ended before its end");
        }
    });
}

#[test]
fn d13_start_functions_obey_fuel() {
    for (name, engine) in engines(|config| {
        config.consume_fuel(true);
    }) {
        let calls = r#"(module (import "h" "f" (func $f)) (memory 1) (data (i32.const 0) "x") (table 1 funcref)
            (elem (i32.const 0) $go) (func $go (loop $l (call $f) (br $l))) (start $go))"#;
        let module = Module::new(&engine, calls).expect(&name);
        let mut linker: Linker<u64> = Linker::new(&engine);
        linker.func_wrap("h", "f", |mut caller: Caller<'_, u64>| *caller.data_mut() += 1).expect(&name);
        let mut counts = Vec::new();
        for fuel in [0, 1000] {
            let mut store = Store::new(&engine, 0);
            store.set_fuel(fuel).expect(&name);
            let error = linker.instantiate(&mut store, &module).expect_err("no fuel");
            assert_trap(&error, TrapCode::OutOfFuel, &name);
            counts.push(*store.data());
        }
        assert_eq!(counts[0], 0, "{name}");
        assert!((1..=1000).contains(&counts[1]), "{name}: {counts:?}");
    }
}

#[test]
fn d13_start_functions_and_active_segments_obey_the_deadline() {
    let endless = r#"(module (func $go (loop $l (br $l))) (start $go))"#;
    let chunk = "x".repeat(60_000);
    let segments: String = (0..50).map(|n| format!(r#"(data (i32.const {n}) "{chunk}")"#)).collect();
    let segments =
        format!(r#"(module (import "h" "f" (func $f)) (memory 1) {segments} (func $go (call $f)) (start $go))"#);
    everywhere(|name, engine| {
        let mut linker: Linker<u64> = Linker::new(engine);
        linker.func_wrap("h", "f", |mut caller: Caller<'_, u64>| *caller.data_mut() += 1).expect(name);
        let mut store = Store::new(engine, 0);
        store.set_deadline(Duration::from_millis(10));
        let start = Instant::now();
        let module = Module::new(engine, endless).expect(name);
        assert_trap(&linker.instantiate(&mut store, &module).expect_err("endless"), TrapCode::Interrupted, name);
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
        let module = Module::new(engine, &segments).expect(name);
        let mut store = Store::new(engine, 0);
        store.set_deadline(Duration::ZERO);
        let error = linker.instantiate(&mut store, &module).expect_err("the deadline has passed");
        assert_trap(&error, TrapCode::Interrupted, name);
        assert_eq!(*store.data(), 0, "{name}: no guest byte ran");
        store.clear_deadline();
        linker.instantiate(&mut store, &module).expect(name);
        assert_eq!(*store.data(), 1, "{name}");
    });
}

/// A chain of functions that are each called once and never look themselves ends between two of them.
#[test]
fn d12_functions_that_are_called_once_end_at_the_interrupt() {
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        let handle = store.interrupt_handle();
        let stop = Func::wrap(&mut store, move || handle.interrupt());
        let wat = r#"(module (import "" "stop" (func $stop)) (func $leaf (local i64 i64))
            (func (export "f") (call $stop) (call $leaf)))"#;
        let module = Module::new(engine, wat).expect(name);
        let instance = Instance::new(&mut store, &module, &[stop.into()]).expect(name);
        let func = instance.get_func(&store, "f").expect(name);
        assert_trap(&func.call(&mut store, &[], &mut []).expect_err(name), TrapCode::Interrupted, name);
    });
}
