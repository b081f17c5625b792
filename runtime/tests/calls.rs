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
fn host_functions_that_see_no_caller_fail_with_the_guests_stack() {
    everywhere(|name, engine| {
        let module = Module::new(
            engine,
            r#"(module $m (import "h" "bare" (func $bare (param i32 f64) (result f64)))
                (import "h" "granted" (func $granted (param i32 f64) (result f64)))
                (func $inner (param i32) (result f64) (call $bare (local.get 0) (f64.const 1.5)))
                (func $outer (export "bare") (param i32) (result f64) (f64.add (call $inner (local.get 0)) (f64.const 1)))
                (func $only (export "granted") (param i32) (result f64)
                    (f64.add (call $granted (local.get 0) (f64.const 1.5)) (f64.const 1))))"#,
        )
        .expect(name);
        let body = |a: i32, b: f64| match a {
            0 => Err(aura_runtime::Error::host("no zero")),
            1 => panic!("one"),
            _ => Ok(f64::from(a) + b),
        };
        let mut linker: Linker<()> = Linker::new(engine);
        linker.func_wrap("h", "bare", body).expect(name);
        linker.capability("h", "granted", body).expect(name);
        let mut store = Store::new(engine, ());
        let grant = store.grant(Subject::Store, GrantSpec::call("granted")).expect(name);
        let instance = linker.instantiate(&mut store, &module).expect(name);
        for (export, functions) in [("bare", &["inner", "outer"][..]), ("granted", &["only"])] {
            let func = instance.get_typed_func::<i32, f64>(&store, export).expect(name);
            for _ in 0..3 {
                assert_eq!(func.call(&mut store, 10).expect(name), 12.5, "{name} {export}");
                let error = func.call(&mut store, 0).expect_err(name);
                assert_eq!(error.kind(), ErrorKind::Host, "{name} {export}: {error}");
                assert!(error.to_string().contains("no zero"), "{name} {export}: {error}");
                let frames = error.trap().expect("the place is known").frames();
                let names: Vec<_> = frames.iter().map(|f| f.func_name.as_deref().unwrap_or("?")).collect();
                assert_eq!(names, functions, "{name} {export}: {error}");
            }
        }
        assert_eq!((grant.capability().uses(), grant.capability().denials()), (6, 0), "{name}");
        let func = instance.get_typed_func::<i32, f64>(&store, "granted").expect(name);
        let error = func.call(&mut store, 1).expect_err(name);
        assert!(error.to_string().contains("panicked: one"), "{name}: {error}");
        let poisoned = func.call(&mut store, 10).expect_err(name);
        assert_eq!(poisoned.trap().expect("a trap").code(), TrapCode::Poisoned, "{name}");
        assert_eq!(grant.capability().uses(), 6, "{name}");
        grant.revoke();
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

#[test]
fn arguments_of_every_kind_arrive_in_registers_and_in_slots() {
    // Four integers and eight floats fit registers; one more of either does not, and a vector never does.
    let text = r#"(module
        (import "host" "mix" (func $mix (param i32 f32 i64 f64 i64 f32 i32 f64 f64 f64 f64 f64) (result f64)))
        (import "host" "wide" (func $wide (param i32 i32 i32 i32 i32) (result i64)))
        (import "host" "vector" (func $vector (param v128 i32) (result v128)))
        (import "host" "narrow" (func $narrow (param f32) (result f32)))
        (import "host" "none" (func $none))
        (func (export "mix") (param i32 f32 i64 f64 i64 f32 i32 f64 f64 f64 f64 f64) (result f64)
            (call $mix (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
                (local.get 6) (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11)))
        (func (export "wide") (param i32 i32 i32 i32 i32) (result i64)
            (call $wide (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
        (func (export "vector") (param v128 i32) (result v128) (call $vector (local.get 0) (local.get 1)))
        (func (export "narrow") (param f32) (result f32) (call $none) (call $narrow (local.get 0))))"#;
    everywhere(|name, engine| {
        let module = Module::new(engine, text).expect("valid");
        let mut linker = Linker::new(engine);
        linker
            .func_wrap(
                "host",
                "mix",
                |a: i32, b: f32, c: i64, d: f64, e: u64, f: f32, g: u32, h: f64, i: f64, j: f64, k: f64, l: f64| {
                    assert_eq!((a, c, e, g), (-1, i64::MIN, u64::MAX, 7));
                    f64::from(b) + d + f64::from(f) + h + i + j + k + l
                },
            )
            .and_then(|l| {
                l.func_wrap("host", "wide", |a: i32, b: i32, c: i32, d: i32, e: i32| {
                    i64::from(a) + 10 * i64::from(b) + 100 * i64::from(c) + 1000 * i64::from(d) + 10_000 * i64::from(e)
                })
            })
            .and_then(|l| l.func_wrap("host", "vector", |v: u128, n: i32| v + n as u128))
            .and_then(|l| l.func_wrap("host", "narrow", |x: f32| -x))
            .and_then(|l| l.func_wrap("host", "none", |mut caller: Caller<'_, u32>| *caller.data_mut() += 1))
            .expect("fresh names");
        let mut store = Store::new(engine, 0_u32);
        let instance = linker.instantiate(&mut store, &module).expect(name);
        type Mix = (i32, f32, i64, f64, u64, f32, u32, f64, f64, f64, f64, f64);
        let mix = instance.get_typed_func::<Mix, f64>(&store, "mix").expect(name);
        let wide = instance.get_typed_func::<(i32, i32, i32, i32, i32), i64>(&store, "wide").expect(name);
        let vector = instance.get_typed_func::<(u128, i32), u128>(&store, "vector").expect(name);
        let narrow = instance.get_typed_func::<f32, f32>(&store, "narrow").expect(name);
        for _ in 0..5 {
            let sum = mix.call(&mut store, (-1, 0.5, i64::MIN, 1.0, u64::MAX, 2.0, 7, 4.0, 8.0, 16.0, 32.0, 64.0));
            assert_eq!(sum.expect(name), 127.5, "{name}");
            assert_eq!(wide.call(&mut store, (1, 2, 3, 4, 5)).expect(name), 54_321, "{name}");
            assert_eq!(vector.call(&mut store, (1 << 100, 3)).expect(name), (1 << 100) + 3, "{name}");
            assert_eq!(narrow.call(&mut store, 0.25).expect(name), -0.25, "{name}");
        }
        assert_eq!(*store.data(), 5, "{name}");
    });
}

#[test]
fn calls_in_registers_end_by_traps_errors_and_panics_and_begin_again() {
    let text = r#"(module
        (import "host" "call" (func $call (param i32) (result i32)))
        (func (export "call") (param i32) (result i32) (call $call (local.get 0)))
        (func (export "fine") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func $deep (export "deep") (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0)))))"#;
    everywhere(|name, engine| {
        let module = Module::new(engine, text).expect("valid");
        let mut linker = Linker::<()>::new(engine);
        linker
            .func_wrap("host", "call", |mut caller: Caller<'_, ()>, what: i32| -> aura_runtime::Result<i32> {
                match what {
                    0 => Err(aura_runtime::Error::host("refused")),
                    1 => panic!("the host's own fault"),
                    2 => {
                        let fine = caller.get_export("fine").and_then(aura_runtime::Extern::into_func).expect("export");
                        fine.typed::<i32, i32>(&caller)?.call(&mut caller, 41)
                    }
                    3 => {
                        let deep = caller.get_export("deep").and_then(aura_runtime::Extern::into_func).expect("export");
                        deep.typed::<i32, i32>(&caller)?.call(&mut caller, 0)
                    }
                    n => Ok(n),
                }
            })
            .expect("a fresh name");
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let call = instance.get_typed_func::<i32, i32>(&store, "call").expect(name);
        let fine = instance.get_typed_func::<i32, i32>(&store, "fine").expect(name);
        let deep = instance.get_typed_func::<i32, i32>(&store, "deep").expect(name);
        for _ in 0..4 {
            assert_eq!(call.call(&mut store, 9).expect(name), 9, "{name}");
            assert_eq!(call.call(&mut store, 2).expect(name), 42, "{name}");
            assert_eq!(call.call(&mut store, 0).expect_err(name).kind(), ErrorKind::Host, "{name}");
            let error = deep.call(&mut store, 1).expect_err(name);
            assert_eq!(error.trap().map(aura_runtime::Trap::code), Some(TrapCode::StackOverflow), "{name}: {error}");
            let error = call.call(&mut store, 3).expect_err(name);
            assert_eq!(error.trap().map(aura_runtime::Trap::code), Some(TrapCode::StackOverflow), "{name}: {error}");
            assert_eq!(fine.call(&mut store, 1).expect(name), 2, "{name}");
        }
        // Another place on the stack, then another thread: the limits are those of there.
        fn far(depth: u32, body: &mut dyn FnMut()) {
            let room = std::hint::black_box([depth; 4096]);
            if depth == 0 {
                body();
            } else {
                far(depth - 1, body);
            }
            assert_eq!(std::hint::black_box(room)[1], depth);
        }
        far(8, &mut || assert_eq!(fine.call(&mut store, 1).expect(name), 2, "{name}"));
        let mut store = std::thread::scope(|scope| {
            let moved = scope.spawn(move || {
                assert_eq!(fine.call(&mut store, 1).expect("on a thread"), 2);
                assert!(deep.call(&mut store, 1).is_err());
                store
            });
            moved.join().expect("no panic")
        });
        assert_eq!(fine.call(&mut store, 1).expect(name), 2, "{name}");
        store.interrupt_handle().interrupt();
        let error = deep.call(&mut store, 1).expect_err(name);
        assert_eq!(error.trap().map(aura_runtime::Trap::code), Some(TrapCode::Interrupted), "{name}: {error}");
        assert_eq!(fine.call(&mut store, 1).expect(name), 2, "{name}");
        let error = call.call(&mut store, 1).expect_err(name);
        assert!(error.to_string().contains("poisoned"), "{name}: {error}");
        let error = fine.call(&mut store, 1).expect_err(name);
        assert_eq!(error.trap().map(aura_runtime::Trap::code), Some(TrapCode::Poisoned), "{name}: {error}");
    });
}

/// Faults are found to be the guest's of the store that runs, on the way in and on the way back.
#[test]
fn host_functions_call_guests_of_other_stores() {
    let inner = r#"(module (memory 1) (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))"#;
    let outer = r#"(module
        (import "host" "load" (func $load (param i32) (result i32)))
        (memory 2)
        (func (export "load") (param i32) (result i32)
            (i32.add (call $load (local.get 0)) (i32.load (i32.mul (local.get 0) (i32.const 2))))))"#;
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, inner);
        let load = instance.get_typed_func::<i32, i32>(&store, "load").expect(name);
        // More than once before and after, so that calls are made every way.
        let at_home =
            |store: &mut Store<()>| (0..4).for_each(|_| assert_eq!(load.call(&mut *store, 0).expect(name), 0));
        at_home(&mut store);
        let store = std::sync::Arc::new(std::sync::Mutex::new(store));
        let theirs = store.clone();
        let mut linker = Linker::<()>::new(engine);
        linker
            .func_wrap("host", "load", move |at: i32| match load.call(&mut *theirs.lock().expect("no panic"), at) {
                Ok(value) => value,
                Err(error) => {
                    assert_eq!(error.trap().map(aura_runtime::Trap::code), Some(TrapCode::MemoryOutOfBounds));
                    1000
                }
            })
            .expect("a fresh name");
        let mut outer_store = Store::new(engine, ());
        let module = Module::new(engine, outer).expect("valid");
        let instance = linker.instantiate(&mut outer_store, &module).expect(name);
        let outer = instance.get_typed_func::<i32, i32>(&outer_store, "load").expect(name);
        for _ in 0..5 {
            assert_eq!(outer.call(&mut outer_store, 8).expect(name), 0, "{name}");
            // Theirs has one page, and ours two for twice the address: from 0xfffd on only theirs ends, from 0xffff on both do.
            assert_eq!(outer.call(&mut outer_store, 0xfffd).expect(name), 1000, "{name}");
            let error = outer.call(&mut outer_store, 0xffff).expect_err(name);
            assert_eq!(
                error.trap().map(aura_runtime::Trap::code),
                Some(TrapCode::MemoryOutOfBounds),
                "{name}: {error}"
            );
        }
        at_home(&mut store.lock().expect("no panic"));
    });
}
