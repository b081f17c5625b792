//! Exceptions between tiers, instances and the host: who throws, who catches, and who is in between.

mod common;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aura_runtime::{
    Caller, Config, Engine, Error, ErrorKind, ExnRef, Extern, ExternRef, Features, Func, FuncType, Global, GlobalType,
    Instance, Limits64, Linker, Memory, MemoryType, Module, RefType, Store, Strategy, Table, TableType, Tag, TrapCode,
    TypedFunc, Val, ValType,
};
use common::{engines, everywhere_with as everywhere};

fn features(config: &mut Config) {
    let on = |features: Features, name| features.with(name, true).expect("implemented");
    let names = ["exception-handling", "tail-call", "legacy-exceptions"];
    config.features(names.into_iter().fold(Features::default(), on));
}

/// Calls a function with 0, 1, 2 and so on: it returns these values; where there is none, it throws.
fn values_or_exceptions(store: &mut Store<()>, go: TypedFunc<i32, i32>, values: &[Option<i32>], label: &str) {
    for (n, value) in (0..).zip(values) {
        match (go.call(&mut *store, n), value) {
            (Ok(found), Some(value)) => assert_eq!(found, *value, "{label} {n}"),
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::Exception, "{label} {n}"),
            (found, _) => panic!("{label} {n}: {found:?}"),
        }
    }
}

fn instance(engine: &Engine, wat: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine, wat).unwrap_or_else(|error| panic!("{error}"));
    let mut store = Store::new(engine, ());
    let instance = Linker::new(engine).instantiate(&mut store, &module).expect("links");
    (store, instance)
}

/// Functions become hot one after the other, so that with changing tiers every pair of thrower and catcher comes up.
#[test]
fn a_throw_is_caught_whatever_tiers_its_frames_are_in() {
    let wat = r#"(module (tag $e (param i32 i64)) (tag $other)
        (func $throw (param i32) (if (i32.and (local.get 0) (i32.const 1)) (then (throw $other)))
            (throw $e (local.get 0) (i64.const 7)))
        (func $middle (param i32) (result i32) (local $n i32)
            (block $h (try_table (catch $other $h) (call $throw (local.get 0)) (return (i32.const -1))))
            (call $throw (i32.mul (local.get 0) (i32.const 2))) (i32.const -2))
        (func $warm (param i32) (result i32) (if (result i32) (local.get 0)
            (then (i32.add (i32.const 1) (call $warm (i32.sub (local.get 0) (i32.const 1))))) (else (i32.const 0))))
        (func $catch (export "go") (param i32) (result i32 i64)
            (block $h (result i32 i64)
                (try_table (catch $e $h) (drop (call $middle (local.get 0))) (drop (call $warm (i32.const 3))))
                (i32.const -3) (i64.const 0))))"#;
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, wat);
        let go = instance.get_typed_func::<i32, (i32, i64)>(&store, "go").expect(name);
        for round in 0..20 {
            let expected = if round % 2 == 0 { round } else { 2 * round };
            assert_eq!(go.call(&mut store, round).expect(name), (expected, 7), "{name}");
        }
    });
}

/// What makes a function too costly to compile, without being run: it stays interpreted.
fn ballast() -> String {
    let mut body = String::from("(if (global.get $never) (then");
    for _ in 0..2100 {
        body += "(block (br_if 0 (global.get $never)))";
    }
    body + "))"
}

/// Every role in either tier for certain: thrower, a frame in between, one that catches something else, catcher.
#[test]
fn every_pair_of_tiers_throws_and_catches() {
    let ballast = ballast();
    let locals = format!("(local {})", "i64 ".repeat(1100));
    for mask in 0..16_u32 {
        let role = |bit: u32| if mask >> bit & 1 == 1 { (locals.as_str(), ballast.as_str()) } else { ("", "") };
        let [(l0, b0), (l1, b1), (l2, b2), (l3, b3)] = [role(0), role(1), role(2), role(3)];
        let wat = format!(
            r#"(module (global $never (mut i32) (i32.const 0)) (tag $e (param i32)) (tag $other (param i64))
            (func $throw (param i32) {l0} {b0} (throw $e (local.get 0)))
            (func $between (param i32) (result i32) {l1} {b1} (call $throw (local.get 0)) (i32.const 1))
            (func $misses (param i32) (result i32) {l2} {b2}
                (block $h (result i64) (try_table (result i32) (catch $other $h) (call $between (local.get 0))) (return))
                (drop) (i32.const 2))
            (func $catch (export "go") (param i32) (result i32) {l3} {b3}
                (block $h (result i32 exnref)
                    (try_table (result i32) (catch_ref $e $h) (call $misses (local.get 0))) (ref.null exn))
                (drop) (i32.add (i32.const 100))))"#
        );
        for (name, engine) in engines(|config| {
            features(config);
            config.max_wasm_stack(2 << 20);
        }) {
            let (mut store, instance) = instance(&engine, &wat);
            let go = instance.get_typed_func::<i32, i32>(&store, "go").expect(&name);
            for n in 0..4 {
                assert_eq!(go.call(&mut store, n).expect(&name), 100 + n, "{name} {mask:04b}");
            }
        }
    }
}

#[test]
fn what_nobody_catches_is_an_error_of_the_call() {
    let wat = r#"(module (tag $e (export "e") (param i32 f64)) (func $f (param i32) (throw $e (local.get 0) (f64.const 2)))
        (func (export "go") (param i32) (call $f (local.get 0))))"#;
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, wat);
        let go = instance.get_typed_func::<i32, ()>(&store, "go").expect(name);
        let tag = instance.get_export(&store, "e").and_then(Extern::into_tag).expect(name);
        for n in 0..6 {
            assert_eq!(go.call(&mut store, n).expect_err(name).kind(), ErrorKind::Exception, "{name}");
            let exn = store.take_pending_exception().expect(name);
            assert!(exn.tag(&store).expect(name).same(&tag), "{name}");
            let fields = exn.fields(&store).expect(name);
            assert_eq!(format!("{fields:?}"), format!("{:?}", [Val::I32(n), Val::from(2.0)]), "{name}");
            assert!(store.take_pending_exception().is_none(), "{name}");
        }
    });
}

/// The host throws, catches, and lets exceptions of its inner calls pass or not.
#[test]
fn the_host_throws_catches_and_passes_on() {
    let wat = r#"(module (import "h" "tag" (tag $e (param i32))) (import "h" "throw" (func $throw (param i32)))
        (import "h" "call" (func $through (param i32) (result i32))) (tag $own (param i32))
        (func (export "inner") (param i32) (if (i32.eq (local.get 0) (i32.const 3)) (then (throw $own (i32.const 33))))
            (call $throw (local.get 0)))
        (func (export "go") (param i32) (result i32)
            (block $h (result i32) (try_table (result i32) (catch $e $h) (catch $own $h)
                (call $through (local.get 0))))))"#;
    everywhere(features, |name, engine| {
        let module = Module::new(engine, wat).expect(name);
        let mut store = Store::new(engine, None::<Tag>);
        let tag = Tag::new(&mut store, &FuncType::new([ValType::I32], [])).expect(name);
        *store.data_mut() = Some(tag);
        let mut linker: Linker<Option<Tag>> = Linker::new(engine);
        linker.define(&store, "h", "tag", tag).expect(name);
        let throw = |mut caller: Caller<'_, Option<Tag>>, n: i32| -> Result<(), Error> {
            let tag = caller.data().expect("set");
            let exn = ExnRef::new(&mut caller, &tag, &[Val::I32(n + 10)])?;
            Err(exn.throw(&mut caller))
        };
        linker.func_wrap("h", "throw", throw).expect(name);
        let call = |mut caller: Caller<'_, Option<Tag>>, n: i32| -> Result<i32, Error> {
            let inner = caller.get_export("inner").and_then(Extern::into_func).expect("exported");
            match inner.call(&mut caller, &[Val::I32(n)], &mut []) {
                Err(error) if error.kind() == ErrorKind::Exception && n == 1 => {
                    let exn = caller.take_pending_exception().expect("pending");
                    let fields = exn.fields(&caller)?;
                    let [Val::I32(carried)] = fields[..] else { panic!("{fields:?}") };
                    Ok(carried + 1000)
                }
                result => result.map(|()| -1),
            }
        };
        linker.func_wrap("h", "call", call).expect(name);
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let go = instance.get_typed_func::<i32, i32>(&store, "go").expect(name);
        for _ in 0..4 {
            let found = [0, 1, 2, 3].map(|n| go.call(&mut store, n).expect(name));
            assert_eq!(found, [10, 1011, 12, 33], "{name}");
        }
        let throw = instance.get_typed_func::<i32, ()>(&store, "inner").expect(name);
        assert_eq!(throw.call(&mut store, 5).expect_err(name).kind(), ErrorKind::Exception, "{name}");
        let exn = store.take_pending_exception().expect(name);
        assert!(exn.tag(&store).expect(name).same(&tag), "{name}");
        let wrong = ExnRef::new(&mut store, &tag, &[Val::I64(1)]).expect_err(name);
        assert_eq!(wrong.kind(), ErrorKind::Usage, "{name}");
        assert_eq!(ExnRef::new(&mut store, &tag, &[]).expect_err(name).kind(), ErrorKind::Usage, "{name}");
        let mut other = Store::new(engine, ());
        assert_eq!(ExnRef::new(&mut other, &tag, &[Val::I32(1)]).expect_err(name).kind(), ErrorKind::Usage, "{name}");
    });
}

/// A function that is given no caller can only pass on what was thrown before: it reaches no store to throw itself.
#[test]
fn a_function_without_its_caller_passes_on_what_was_thrown_before() {
    let wat = r#"(module (import "h" "tag" (tag $e (param i32))) (import "h" "pass" (func $pass (param i32) (result i32)))
        (func $between (param i32) (result i32) (i32.add (call $pass (local.get 0)) (i32.const 1)))
        (func (export "go") (param i32) (result i32) (local $kept i64)
            (local.set $kept (i64.extend_i32_s (i32.mul (local.get 0) (i32.const 3))))
            (block $h (result i32) (try_table (result i32) (catch $e $h) (call $between (local.get 0))))
            (i32.add (i32.wrap_i64 (local.get $kept)))))"#;
    everywhere(features, |name, engine| {
        let module = Module::new(engine, wat).expect(name);
        let mut store = Store::new(engine, ());
        let tag = Tag::new(&mut store, &FuncType::new([ValType::I32], [])).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker.define(&store, "h", "tag", tag).expect(name);
        let thrown = Arc::new(Mutex::new(None));
        let passed = thrown.clone();
        let pass = move |n: i32| passed.lock().expect("no panic").take().map_or(Ok(n), Err);
        linker.func_wrap("h", "pass", pass).expect(name);
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let go = instance.get_typed_func::<i32, i32>(&store, "go").expect(name);
        for n in 0..6 {
            assert_eq!(go.call(&mut store, n).expect(name), n + 1 + 3 * n, "{name}: nothing was thrown");
            let exn = ExnRef::new(&mut store, &tag, &[Val::I32(100)]).expect(name);
            *thrown.lock().expect("no panic") = Some(exn.throw(&mut store));
            assert_eq!(go.call(&mut store, n).expect(name), 100 + 3 * n, "{name}: what was thrown is caught");
        }
    });
}

/// More values than registers, of every class, through a collector that moves all at every allocation.
#[test]
fn payloads_of_every_type_arrive_unchanged() {
    let types = "i32 i64 f32 f64 v128 externref funcref i64 i64 i64 i64 i64 f64 f64 f64 f64 f64 f64 f64 v128 externref";
    let values = (1..22).map(|n| format!("(local.get {n})")).collect::<String>();
    let wat = format!(
        r#"(module (tag $e (param {types})) (tag $small (param externref))
        (func $throw (param i32 {types}) (if (local.get 0) (then
            (block $h (result externref) (try_table (catch $small $h) (throw $small (local.get 6))) (unreachable)) (drop)
            (call $throw (i32.sub (local.get 0) (i32.const 1)) {values})))
            (throw $e {values}))
        (func (export "go") (param i32 {types}) (result {types})
            (block $h (result {types}) (try_table (catch $e $h) (call $throw (local.get 0) {values})) (unreachable))))"#
    );
    for stress in [false, true] {
        everywhere(
            |config| {
                features(config);
                config.gc_stress(stress);
            },
            |name, engine| {
                let (mut store, instance) = instance(engine, &wat);
                let go = instance.get_func(&store, "go").expect(name);
                let text = ExternRef::new(&mut store, "text".to_owned()).expect(name);
                let more = ExternRef::new(&mut store, "more".to_owned()).expect(name);
                let long = |n: i64| Val::I64(-n);
                let mut args = vec![Val::I32(3), Val::I32(-1), long(2), Val::F32(3), Val::F64(4), Val::V128(5 << 100)];
                args.extend([Val::ExternRef(Some(text)), Val::FuncRef(Some(go))]);
                args.extend((8..13).map(long).chain((13..20).map(Val::F64)));
                args.extend([Val::V128(u128::MAX - 7), Val::ExternRef(Some(more))]);
                for _ in 0..4 {
                    let mut results = vec![Val::I32(0); 21];
                    go.call(&mut store, &args, &mut results).expect(name);
                    for (index, (got, given)) in results.iter().zip(&args[1..]).enumerate() {
                        match (got, given) {
                            (Val::ExternRef(Some(got)), Val::ExternRef(Some(given))) => {
                                let text =
                                    |x: &ExternRef| x.data(&store).expect(name).downcast_ref::<String>().cloned();
                                assert_eq!(text(got), text(given), "{name} {index}");
                            }
                            (Val::FuncRef(Some(got)), Val::FuncRef(Some(_))) => {
                                assert_eq!(got.ty(&store), go.ty(&store), "{name}");
                            }
                            (got, given) => assert_eq!(format!("{got:?}"), format!("{given:?}"), "{name} {index}"),
                        }
                    }
                }
            },
        );
    }
}

/// Traps are no exceptions.
#[test]
fn traps_are_not_caught() {
    let wat = r#"(module (func $f (unreachable)) (func (export "go")
        (block $h (try_table (catch_all $h) (call $f)))))"#;
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, wat);
        let go = instance.get_typed_func::<(), ()>(&store, "go").expect(name);
        for _ in 0..4 {
            let error = go.call(&mut store, ()).expect_err(name);
            assert_eq!(error.trap().expect(name).code(), TrapCode::Unreachable, "{name}: {error}");
        }
    });
}

/// Ten thousand frames, each of another tier than the next, and the same at every depth up to the end of the stack.
#[test]
fn an_exception_goes_through_ten_thousand_mixed_frames() {
    let (locals, ballast) = (format!("(local {})", "i64 ".repeat(1100)), ballast());
    let wat = format!(
        r#"(module (global $never (mut i32) (i32.const 0)) (tag $e (param i32))
        (func $a (param i32) (result i32) (if (i32.eqz (local.get 0)) (then (throw $e (i32.const 77))))
            (i32.add (i32.const 1) (call $b (i32.sub (local.get 0) (i32.const 1)))))
        (func $b (param i32) (result i32) {locals} {ballast} (if (i32.eqz (local.get 0)) (then (throw $e (i32.const 78))))
            (i32.add (i32.const 1) (call $a (i32.sub (local.get 0) (i32.const 1)))))
        (func (export "go") (param i32) (result i32)
            (block $h (result i32) (try_table (result i32) (catch $e $h) (call $a (local.get 0))))))"#
    );
    let run = move || {
        for strategy in [Strategy::Interpreter, Strategy::Jit, Strategy::Auto] {
            let mut config = Config::new();
            config.strategy(strategy).tier_up_threshold(2).compile_threads(0).max_wasm_stack(160 << 20);
            features(&mut config);
            let engine = Engine::new(&config).expect("this machine has every tier");
            let (mut store, instance) = instance(&engine, &wat);
            let go = instance.get_typed_func::<i32, i32>(&store, "go").expect("exported");
            for _ in 0..3 {
                assert_eq!(go.call(&mut store, 10_000).expect("caught"), 77, "{strategy:?}");
                assert_eq!(go.call(&mut store, 10_001).expect("caught"), 78, "{strategy:?}");
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(run).expect("a thread");
    thread.join().expect("no panic");
}

#[test]
fn a_throw_with_the_stack_nearly_full_is_caught_or_an_overflow() {
    let wat = r#"(module (tag $e (param i32))
        (func $down (param i32) (if (i32.eqz (local.get 0)) (then (throw $e (i32.const 5))))
            (call $down (i32.sub (local.get 0) (i32.const 1))) (nop))
        (func (export "go") (param i32) (result i32)
            (block $h (result i32) (try_table (catch $e $h) (call $down (local.get 0))) (i32.const 6))))"#;
    for (name, engine) in engines(|config| {
        features(config);
        config.max_wasm_stack(64 << 10);
    }) {
        let (mut store, instance) = instance(&engine, wat);
        let go = instance.get_typed_func::<i32, i32>(&store, "go").expect(&name);
        let mut overflowed = 0;
        for depth in 0..3000 {
            match go.call(&mut store, depth) {
                Ok(found) => assert_eq!(found, 5, "{name} {depth}"),
                Err(error) => {
                    assert_eq!(error.trap().expect(&name).code(), TrapCode::StackOverflow, "{name} {depth}: {error}");
                    overflowed += 1;
                }
            }
        }
        assert!(overflowed > 0, "{name}");
        assert_eq!(go.call(&mut store, 3).expect(&name), 5, "{name}");
    }
}

const THROWS: &str = r#"(module (tag $a (param i32)) (tag $b) (tag $c (param i64))
    (func $f (param i32) (if (i32.rem_u (local.get 0) (i32.const 3)) (then (throw $a (local.get 0)))) (throw $b))
    (func $g (param i32) (block $h (result i64) (try_table (catch $c $h) (call $f (local.get 0))) (unreachable)) (drop))
    (func (export "go") (param i32) (result i32) (local $sum i32)
        (loop $l
            (block $all (block $h (result i32) (try_table (catch $a $h) (catch_all $all) (call $g (local.get 0))) (unreachable))
                (local.set $sum (i32.add (local.get $sum))))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get $sum)))"#;

#[test]
fn throws_cost_the_same_on_every_tier() {
    for deterministic in [false, true] {
        let mut left = Vec::new();
        for (name, engine) in engines(|config| {
            features(config);
            config.consume_fuel(true).deterministic(deterministic);
        }) {
            let (mut store, instance) = instance(&engine, THROWS);
            store.set_fuel(1_000_000).expect(&name);
            let go = instance.get_typed_func::<i32, i32>(&store, "go").expect(&name);
            let expected: i32 = (1..=100).filter(|n| n % 3 != 0).sum();
            assert_eq!(go.call(&mut store, 100).expect(&name), expected, "{name}");
            left.push(store.get_fuel().expect(&name));
        }
        assert!(left.windows(2).all(|pair| pair[0] == pair[1]), "{left:?}");
    }
}

/// D12: nothing but exceptions, for ever.
#[test]
fn d12_endless_exceptions_end_by_fuel_and_by_deadline() {
    let wat = r#"(module (tag $e) (func $f (throw $e))
        (func (export "call") (loop $l (block $h (try_table (catch_all $h) (call $f))) (br $l)))
        (func (export "own") (loop $l (try_table (catch $e $l) (throw $e)))))"#;
    for (name, engine) in engines(|config| {
        features(config);
        config.consume_fuel(true);
    }) {
        for export in ["call", "own"] {
            let (mut store, instance) = instance(&engine, wat);
            let go = instance.get_typed_func::<(), ()>(&store, export).expect(&name);
            store.set_fuel(300_000).expect(&name);
            let error = go.call(&mut store, ()).expect_err(&name);
            assert_eq!(error.trap().expect(&name).code(), TrapCode::OutOfFuel, "{name}: {error}");
            store.set_fuel(u64::MAX).expect(&name);
            store.set_deadline(Duration::from_millis(20));
            let error = go.call(&mut store, ()).expect_err(&name);
            assert_eq!(error.trap().expect(&name).code(), TrapCode::Interrupted, "{name}: {error}");
        }
    }
}

/// In deterministic mode the frames that an exception leaves cost nothing any more.
#[test]
fn frames_that_an_exception_left_are_not_counted() {
    let wat = r#"(module (tag $e)
        (func $down (param i32) (if (i32.eqz (local.get 0)) (then (throw $e)))
            (call $down (i32.sub (local.get 0) (i32.const 1))) (nop))
        (func (export "go") (param i32 i32) (loop $l
            (block $h (try_table (catch_all $h) (call $down (local.get 0))))
            try (call $down (local.get 0)) catch $e end
            (br_if $l (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))))"#;
    everywhere(
        |config| {
            features(config);
            config.deterministic(true);
        },
        |name, engine| {
            let (mut store, instance) = instance(engine, wat);
            let go = instance.get_typed_func::<(i32, i32), ()>(&store, "go").expect(name);
            go.call(&mut store, (1000, 1000)).expect(name);
        },
    );
}

/// T13: every kind of thing against every kind of import, and tags of other types.
#[test]
fn t13_imports_are_of_their_kind_and_type() {
    everywhere(features, |name, engine| {
        let mut store = Store::new(engine, ());
        let memory =
            MemoryType { limits: Limits64 { min: 1, max: None }, memory64: false, shared: false, page_size_log2: 16 };
        let table = TableType { element: RefType::FUNCREF, limits: Limits64 { min: 1, max: None }, table64: false };
        let global = GlobalType { content: ValType::I32, mutable: false };
        let ty = FuncType::new([ValType::I32], []);
        let items: [(Extern, &str); 5] = [
            (Func::wrap(&mut store, |_: i32| {}).into(), "(func (param i32))"),
            (Table::new(&mut store, table, Val::FuncRef(None)).expect(name).into(), "(table 1 funcref)"),
            (Memory::new(&mut store, memory).expect(name).into(), "(memory 1)"),
            (Global::new(&mut store, global, Val::I32(1)).expect(name).into(), "(global i32)"),
            (Tag::new(&mut store, &ty).expect(name).into(), "(tag (param i32))"),
        ];
        for (wanted, (_, kind)) in items.iter().enumerate() {
            let module = Module::new(engine, format!("(module (import \"a\" \"b\" {kind}))")).expect(name);
            for (given, (item, _)) in items.iter().enumerate() {
                let linked = Instance::new(&mut store, &module, std::slice::from_ref(item));
                assert_eq!(linked.is_ok(), given == wanted, "{name}: {given} for {wanted}");
                if let Err(error) = linked {
                    assert_eq!(error.kind(), ErrorKind::Link, "{name}: {error}");
                }
            }
        }
        for kind in ["(tag)", "(tag (param i64))", "(tag (param i32 i32))"] {
            let module = Module::new(engine, format!("(module (import \"a\" \"b\" {kind}))")).expect(name);
            let error = Instance::new(&mut store, &module, std::slice::from_ref(&items[4].0)).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Link, "{name} {kind}: {error}");
        }
        assert!(Tag::new(&mut store, &FuncType::new([], [ValType::I32])).is_err(), "{name}");
        let mut other = Store::new(engine, ());
        let module = Module::new(engine, "(module (import \"a\" \"b\" (tag (param i32))))").expect(name);
        assert!(
            Instance::new(&mut other, &module, std::slice::from_ref(&items[4].0)).is_err(),
            "{name}: a tag of another store"
        );
    });
}

/// A module's tag is another one in each of its instances, and the same one wherever it is imported.
#[test]
fn t13_tags_are_told_apart_by_instance() {
    let maker =
        r#"(module (tag $e (export "e") (param i32)) (func (export "throw") (param i32) (throw $e (local.get 0))))"#;
    let user = r#"(module (import "a" "e" (tag $a (param i32))) (import "b" "e" (tag $b (param i32)))
        (import "a" "throw" (func $a (param i32))) (import "b" "throw" (func $b (param i32)))
        (func (export "go") (param i32) (result i32)
            (block $ha (result i32) (block $hb (result i32)
                (try_table (catch $b $hb) (catch $a $ha)
                    (if (local.get 0) (then (call $a (i32.const 1))) (else (call $b (i32.const 2)))))
                (unreachable))
                (i32.add (i32.const 20)) (return))
            (i32.add (i32.const 10))))"#;
    everywhere(features, |name, engine| {
        let (maker, user) = (Module::new(engine, maker).expect(name), Module::new(engine, user).expect(name));
        let mut store = Store::new(engine, ());
        let mut linker: Linker<()> = Linker::new(engine);
        for instance in ["a", "b"] {
            let made = linker.instantiate(&mut store, &maker).expect(name);
            linker.instance(&store, instance, made).expect(name);
        }
        let instance = linker.instantiate(&mut store, &user).expect(name);
        let go = instance.get_typed_func::<i32, i32>(&store, "go").expect(name);
        for _ in 0..4 {
            assert_eq!([1, 0].map(|which| go.call(&mut store, which).expect(name)), [11, 22], "{name}");
        }
    });
}

/// Landings of nested regions, loops as targets, the function itself as a target, and code that nothing reaches.
#[test]
fn handlers_of_every_shape() {
    let wat = r#"(module (tag $a (param i32)) (tag $b (param i64)) (tag $c)
        (func $throw (param i32)
            (block (block (block (br_table 0 1 2 (local.get 0))) (throw $a (i32.const 1))) (throw $b (i64.const 2))) (throw $c))
        (func (export "function") (param i32) (result i32)
            (try_table (result i32) (catch $a 0) (call $throw (local.get 0)) (i32.const 9)))
        (func (export "nested") (param i32) (result i32)
            (block $ha (result i32) (block $hb (result i64) (block $hc
                (try_table (catch_all $hc) (try_table (catch $b $hb) (try_table (catch $a $ha)
                    (call $throw (local.get 0)) (unreachable)) (unreachable)) (unreachable))
                (unreachable))
                (return (i32.const 30)))
                (return (i32.wrap_i64))))
        (func (export "loop") (param i32) (result i32) (local $n i32)
            (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (if (i32.lt_u (local.get $n) (i32.const 50)) (then
                    (try_table (catch_all $l) (call $throw (local.get 0)) (unreachable)))))
            (local.get $n))
        (func (export "carried") (param i32) (result i32) (local $n i32)
            (i32.const 100)
            (loop $l (param i32) (result i32) (local.set $n)
                (if (i32.eq (local.get $n) (i32.const 1)) (then (return (i32.const 40))))
                (try_table (catch $a $l) (call $throw (i32.const 0))) (unreachable)))
        (func (export "dead") (param i32) (result i32)
            (block $h (try_table (catch_all $h) (return (i32.const 5)) (call $throw (local.get 0)))) (i32.const 6))
        (func (export "again") (param i32) (result i32)
            (block $out (result i32) (block $h (result exnref) (try_table (catch_all_ref $h) (call $throw (local.get 0))) (unreachable))
                (try_table (param exnref) (catch $a $out) (throw_ref)) (unreachable)))
        (func (export "null") (param i32) (result i32) (throw_ref (ref.null exn))))"#;
    let expected: &[(&str, [Option<i32>; 3])] = &[
        ("function", [Some(1), None, None]),
        ("nested", [Some(1), Some(2), Some(30)]),
        ("loop", [Some(50); 3]),
        ("carried", [Some(40); 3]),
        ("dead", [Some(5); 3]),
        ("again", [Some(1), None, None]),
    ];
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, wat);
        for _ in 0..4 {
            for (export, values) in expected {
                let go = instance.get_typed_func::<i32, i32>(&store, export).expect(name);
                values_or_exceptions(&mut store, go, values, &format!("{name} {export}"));
            }
            let null = instance.get_typed_func::<i32, i32>(&store, "null").expect(name);
            let error = null.call(&mut store, 0).expect_err(name);
            assert_eq!(error.trap().expect(name).code(), TrapCode::NullReference, "{name}");
        }
    });
}

/// `try`, `catch`, `catch_all`, `rethrow` and `delegate` of the legacy proposal.
#[test]
fn legacy_exceptions_run_everywhere() {
    let wat = r#"(module (tag $a (param i32)) (tag $b (param i64 i32)) (tag $c)
        (func $throw (param i32)
            (block (block (block (br_table 0 1 2 (local.get 0))) (throw $a (i32.const 1))) (throw $b (i64.const 2) (i32.const 3)))
            (throw $c))
        (func (export "catch") (param i32) (result i32)
            try (result i32) local.get 0 call $throw i32.const 9
            catch $a i32.const 10 i32.add
            catch $b i32.const 20 i32.add return
            catch_all i32.const 30 end)
        (func (export "under") (param i32) (result i32)
            i32.const 1000
            try (result i32) local.get 0 call $throw i32.const 9 catch $b (drop (drop)) i32.const 2 catch_all i32.const 3 end
            i32.add)
        (func (export "rethrow") (param i32) (result i32)
            try (result i32)
                try (result i32) local.get 0 call $throw i32.const 9
                catch $a drop rethrow 0
                catch_all try rethrow 1 end i32.const 8 end
            catch $b drop drop i32.const 22
            catch_all i32.const 33 end)
        (func (export "delegate") (param i32) (result i32)
            try $outer (result i32)
                try (result i32)
                    try (result i32) local.get 0 call $throw i32.const 9 delegate $outer
                catch_all i32.const 7 end
            catch $a i32.const 40 i32.add
            catch_all i32.const 50 end)
        (func (export "caller") (param i32) (result i32)
            try (result i32) try (result i32) local.get 0 call $throw i32.const 9 delegate 1 catch_all i32.const 7 end)
        (func (export "catching") (param i32) (result i32)
            try (result i32)
                try $inner (result i32) i32.const 0 call $throw i32.const 9
                catch $a try (result i32) local.get 0 call $throw i32.const 8 delegate $inner i32.add end
            catch $b drop drop i32.const 60
            catch_all i32.const 61 end))"#;
    let expected: &[(&str, [Option<i32>; 3])] = &[
        ("catch", [Some(11), Some(23), Some(30)]),
        ("under", [Some(1003), Some(1002), Some(1003)]),
        ("delegate", [Some(41), Some(50), Some(50)]),
        ("rethrow", [Some(33), Some(22), Some(33)]),
        ("caller", [None, None, None]),
        ("catching", [Some(61), Some(60), Some(61)]),
    ];
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, wat);
        for (export, values) in expected.iter().cycle().take(24) {
            let go = instance.get_typed_func::<i32, i32>(&store, export).expect(name);
            values_or_exceptions(&mut store, go, values, &format!("{name} {export}"));
        }
    });
}

/// Regions nested as deep and as wide as limits allow: a throw is bounded by what it is charged.
#[test]
fn many_handlers_are_charged_for() {
    let mut wat = "(module (tag $e) (tag $x) (func $f (throw $e)) (func (export \"go\") (block $h ".to_owned();
    for _ in 0..500 {
        wat += "(try_table ";
        for _ in 0..20 {
            wat += "(catch $x $h)";
        }
    }
    write!(wat, "(call $f) {}))", ")".repeat(500)).expect("text");
    let mut left = Vec::new();
    for (name, engine) in engines(|config| {
        features(config);
        config.consume_fuel(true);
    }) {
        let (mut store, instance) = instance(&engine, &(wat.clone() + ")"));
        let go = instance.get_typed_func::<(), ()>(&store, "go").expect(&name);
        store.set_fuel(20_000).expect(&name);
        assert_eq!(go.call(&mut store, ()).expect_err(&name).kind(), ErrorKind::Exception, "{name}");
        left.push(store.get_fuel().expect(&name));
        store.set_fuel(5_000).expect(&name);
        let error = go.call(&mut store, ()).expect_err(&name);
        assert_eq!(error.trap().expect(&name).code(), TrapCode::OutOfFuel, "{name}: {error}");
    }
    assert!(left[0] < 10_000 && left.windows(2).all(|pair| pair[0] == pair[1]), "{left:?}");
}
