//! Calls between host and guest, traps, and limits, on every tier and bounds mode.

mod common;

use std::time::Duration;

use aura_runtime::{Caller, ErrorKind, GrantSpec, Linker, Module, Store, Subject, TrapCode, Val};
use common::{engines, everywhere, instantiate};

#[test]
fn recursion_and_loops_compute() {
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(
            engine,
            r#"(module
                (func $fac (export "fac") (param i64) (result i64)
                    (if (result i64) (i64.eqz (local.get 0)) (then (i64.const 1))
                        (else (i64.mul (local.get 0) (call $fac (i64.sub (local.get 0) (i64.const 1)))))))
                (func (export "sum") (param i32) (result i32) (local i32)
                    (loop $l
                        (local.set 1 (i32.add (local.get 1) (local.get 0)))
                        (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                    (local.get 1)))"#,
        );
        let fac = instance.get_typed_func::<i64, i64>(&store, "fac").expect(name);
        for _ in 0..4 {
            assert_eq!(fac.call(&mut store, 20).expect(name), 2_432_902_008_176_640_000, "{name}");
        }
        let sum = instance.get_typed_func::<i32, i32>(&store, "sum").expect(name);
        assert_eq!(sum.call(&mut store, 1000).expect(name), 500_500, "{name}");
    });
}

#[test]
fn an_access_out_of_bounds_is_a_trap_with_place_and_names() {
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(
            engine,
            r#"(module $m (memory 1)
                (func $load (param i32) (result i32) (i32.load offset=3 (local.get 0)))
                (func $outer (export "load") (param i32) (result i32) (call $load (local.get 0))))"#,
        );
        let load = instance.get_typed_func::<u32, i32>(&store, "load").expect(name);
        assert_eq!(load.call(&mut store, 65536 - 7).expect(name), 0, "{name}");
        for address in [65536 - 6, 65536, u32::MAX, 1 << 31] {
            let error = load.call(&mut store, address).expect_err(name);
            let trap = error.trap().expect("a trap");
            assert_eq!(trap.code(), TrapCode::MemoryOutOfBounds, "{name}: {error}");
            let names: Vec<_> = trap.frames().iter().map(|f| f.func_name.as_deref().unwrap_or("?")).collect();
            assert_eq!(names, ["load", "outer"], "{name}: {error}");
            assert!(trap.frames().iter().all(|f| f.module_offset.is_some()), "{name}: {error}");
        }
    });
}

#[test]
fn host_functions_see_their_caller_and_fail_cleanly() {
    everywhere(|name, engine| {
        let module = Module::new(
            engine,
            r#"(module (import "h" "f" (func $f (param i32 f64 i64) (result f64))) (memory (export "memory") 1)
                (func (export "go") (param i32) (result f64)
                    (call $f (local.get 0) (f64.const 1.5) (i64.const -7))))"#,
        )
        .expect(name);
        let mut linker: Linker<Vec<i32>> = Linker::new(engine);
        linker
            .func_wrap("h", "f", |mut caller: Caller<'_, Vec<i32>>, a: i32, b: f64, c: i64| {
                assert!(caller.get_export("memory").is_some());
                caller.data_mut().push(a);
                match a {
                    0 => Err(aura_runtime::Error::host("no zero")),
                    1 => panic!("one"),
                    _ => Ok(f64::from(a) + b + c as f64),
                }
            })
            .expect(name);
        let mut store = Store::new(engine, Vec::new());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let go = instance.get_typed_func::<i32, f64>(&store, "go").expect(name);
        assert_eq!(go.call(&mut store, 10).expect(name), 4.5, "{name}");
        let error = go.call(&mut store, 0).expect_err(name);
        assert_eq!((error.kind(), error.to_string().contains("no zero")), (ErrorKind::Host, true), "{name}: {error}");
        assert_eq!(go.call(&mut store, 20).expect(name), 14.5, "{name}");
        let error = go.call(&mut store, 1).expect_err(name);
        assert!(error.to_string().contains("panicked: one"), "{name}: {error}");
        let poisoned = go.call(&mut store, 10).expect_err(name);
        assert_eq!(poisoned.trap().expect("a trap").code(), TrapCode::Poisoned, "{name}");
        assert_eq!(store.data(), &[10, 0, 20, 1], "{name}");
    });
}

#[test]
fn a_grant_opens_and_its_revocation_closes_also_a_kept_reference() {
    everywhere(|name, engine| {
        let module = Module::new(
            engine,
            r#"(module (import "h" "now" (func $now (result i32))) (table 1 funcref) (elem declare func $now)
                (type $t (func (result i32)))
                (func (export "call") (result i32) (call $now))
                (func (export "keep") (table.set (i32.const 0) (ref.func $now)))
                (func (export "kept") (result i32) (call_indirect (type $t) (i32.const 0))))"#,
        )
        .expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker.capability("h", "now", || 42).expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let call = instance.get_typed_func::<(), i32>(&store, "call").expect(name);
        let kept = instance.get_typed_func::<(), i32>(&store, "kept").expect(name);
        let denied = |error: aura_runtime::Error| {
            assert_eq!(error.trap().expect("a trap").code(), TrapCode::CapabilityDenied, "{name}: {error}");
        };
        for _ in 0..3 {
            denied(call.call(&mut store, ()).expect_err(name));
        }
        let grant = store.grant(Subject::Instance(instance), GrantSpec::call("now")).expect(name);
        instance.get_typed_func::<(), ()>(&store, "keep").expect(name).call(&mut store, ()).expect(name);
        for _ in 0..3 {
            assert_eq!(call.call(&mut store, ()).expect(name), 42);
            assert_eq!(kept.call(&mut store, ()).expect(name), 42);
        }
        assert_eq!(grant.capability().uses(), 6);
        std::thread::scope(|scope| scope.spawn(|| grant.revoke()).join().expect("revokes"));
        denied(call.call(&mut store, ()).expect_err(name));
        denied(kept.call(&mut store, ()).expect_err(name));
        assert_eq!((grant.capability().uses(), grant.capability().denials()), (6, 2), "{name}");
        assert_eq!(store.denials().len(), 1, "{name}");
    });
}

const ENDLESS: &str = r#"(module (memory 1000)
    (func (export "loop") (loop $l (br $l)))
    (func $a (export "calls") (loop $l (call $b) (br $l)))
    (func $b (nop))
    (func (export "bulk") (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536000)) (br $l))))"#;

#[test]
fn endless_guests_end_by_deadline() {
    everywhere(|name, engine| {
        for export in ["loop", "calls", "bulk"] {
            let (mut store, instance) = instantiate(engine, ENDLESS);
            store.set_deadline(Duration::from_millis(20));
            let func = instance.get_typed_func::<(), ()>(&store, export).expect(name);
            let error = func.call(&mut store, ()).expect_err(name);
            assert_eq!(error.trap().expect("a trap").code(), TrapCode::Interrupted, "{name} {export}: {error}");
        }
    });
}

#[test]
fn endless_guests_end_by_fuel_at_the_same_number() {
    for export in ["loop", "calls", "bulk"] {
        let mut left = Vec::new();
        for (name, engine) in engines(|config| {
            config.consume_fuel(true);
        }) {
            let (mut store, instance) = instantiate(&engine, ENDLESS);
            store.set_fuel(10_000_000).expect(&name);
            let func = instance.get_typed_func::<(), ()>(&store, export).expect(&name);
            let error = func.call(&mut store, ()).expect_err(&name);
            assert_eq!(error.trap().expect("a trap").code(), TrapCode::OutOfFuel, "{name} {export}: {error}");
            left.push(store.get_fuel().expect(&name));
        }
        assert!(left.windows(2).all(|pair| pair[0] == pair[1]), "{export}: {left:?}");
    }
}

#[test]
fn endless_recursion_is_a_trap_also_through_the_host() {
    everywhere(|name, engine| {
        let module = Module::new(
            engine,
            r#"(module (import "h" "again" (func $again)) 
                (func $deep (export "deep") (param i64 i64) (result i64)
                    (i64.add (local.get 0) (call $deep (local.get 1) (local.get 0))))
                (func (export "turns") (call $again)))"#,
        )
        .expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker
            .func_wrap("h", "again", |mut caller: Caller<'_, ()>| {
                let turns = caller.get_export("turns").and_then(aura_runtime::Extern::into_func).expect("exported");
                turns.call(&mut caller, &[], &mut [])
            })
            .expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        for _ in 0..2 {
            let deep = instance.get_func(&store, "deep").expect(name);
            let error = deep.call(&mut store, &[Val::I64(1), Val::I64(2)], &mut [Val::I64(0)]).expect_err(name);
            assert_eq!(error.trap().expect("a trap").code(), TrapCode::StackOverflow, "{name}: {error}");
            let turns = instance.get_typed_func::<(), ()>(&store, "turns").expect(name);
            let error = turns.call(&mut store, ()).expect_err(name);
            assert_eq!(error.trap().expect("a trap").code(), TrapCode::StackOverflow, "{name}: {error}");
        }
    });
}

#[test]
fn memory_grows_to_its_maximum_and_to_the_limit_and_no_further() {
    everywhere(|name, engine| {
        let wat = r#"(module (memory (export "m") 1 3) (func (export "grow") (param i32) (result i32)
            (memory.grow (local.get 0))))"#;
        let (mut store, instance) = instantiate(engine, wat);
        let grow = instance.get_typed_func::<i32, i32>(&store, "grow").expect(name);
        let results: Vec<i32> = [1, 2, 1, 1, 0].iter().map(|n| grow.call(&mut store, *n).expect(name)).collect();
        assert_eq!(results, [1, -1, 2, -1, 3], "{name}");
        let (mut store, instance) = instantiate(engine, wat);
        store.set_limits(aura_runtime::StoreLimits { memory_bytes: 2 << 16, ..Default::default() });
        let grow = instance.get_typed_func::<i32, i32>(&store, "grow").expect(name);
        assert_eq!(grow.call(&mut store, 1).expect(name), 1, "{name}");
        assert_eq!(grow.call(&mut store, 1).expect(name), -1, "{name}");
    });
}
