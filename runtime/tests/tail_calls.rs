//! Tail calls: constant stack on every tier and across tiers, instances and imports, with what
//! arguments and results they carry; limits, traps and host calls inside a chain.

mod common;

use std::time::Duration;

use aura_runtime::{
    Caller, Config, Engine, Features, GrantSpec, Instance, Linker, Module, Store, Subject, TrapCode, Val,
};
use common::{engines, everywhere_with as everywhere};

/// V6: as many calls as would need gigabytes of stack.
const MANY: i32 = 10_000_000;

fn features(config: &mut Config) {
    config.features(Features::default().with("tail-call", true).expect("implemented"));
}

fn link(linker: &mut Linker<()>, store: &mut Store<()>, engine: &Engine, name: &str, wat: &str) -> Instance {
    let module = Module::new(engine, wat).unwrap_or_else(|error| panic!("{error}"));
    let instance = linker.instantiate(&mut *store, &module).expect("links");
    linker.instance(&mut *store, name, instance).expect("names are free");
    instance
}

fn instance(engine: &Engine, wat: &str) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    let instance = link(&mut Linker::new(engine), &mut store, engine, "", wat);
    (store, instance)
}

const EVEN_ODD: &str = r#"(module
    (type $t (func (param i32) (result i32))) (table funcref (elem $even $odd))
    (func $even (export "even") (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
        (return_call $odd (i32.sub (local.get 0) (i32.const 1))))
    (func $odd (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
        (return_call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))"#;

#[test]
fn v6_ten_million_mutual_tail_calls() {
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, EVEN_ODD);
        let even = instance.get_typed_func::<i32, i32>(&store, "even").expect(name);
        assert_eq!(even.call(&mut store, MANY).expect(name), 1, "{name}");
        assert_eq!(even.call(&mut store, 7).expect(name), 0, "{name}");
    });
}

/// The functions become hot one after the other, in the middle of the chain; more arguments than
/// registers, of both register classes, in frames of different sizes, and results beyond registers.
#[test]
fn v6_tail_calls_carry_more_than_registers_hold() {
    let params = "(param i32 i64 f32 f64 v128 i64 i64 i64 i64 i64 i64 f64 f64 f64 f64 f64 f64 f64 f64 externref)";
    let results = format!("(result {} f64 v128 externref)", "i64 ".repeat(12));
    let rest = (2..20).map(|n| format!("(local.get {n})")).collect::<String>();
    let returned = [5, 6, 7, 8, 9, 10, 1, 1, 5, 6, 7, 8, 18, 4, 19].map(|n| format!("(local.get {n})")).concat();
    let hop = |name: &str, next: &str, locals: &str| {
        format!(
            "(func ${name} (export \"{name}\") {params} {results} {locals}
                (if (i32.eqz (local.get 0)) (then {returned} return))
                (return_call ${next} (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.const 1)) {rest}))"
        )
    };
    let short = format!(
        "(func $short (param i32 i64) {results}
            (return_call $a (local.get 0) (local.get 1) (f32.const 2) (f64.const 3) (v128.const i32x4 1 2 3 4)
                (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9) (i64.const 10) (f64.const 11)
                (f64.const 12) (f64.const 13) (f64.const 14) (f64.const 15) (f64.const 16) (f64.const 17)
                (f64.const 18) (ref.null extern)))
         (func (export \"go\") (param i32) {results} (return_call $short (local.get 0) (i64.const 0)))"
    );
    let wat = format!(
        "(module {} {} {} {short})",
        hop("a", "b", ""),
        hop("b", "c", "(local v128 externref f32)"),
        hop("c", "a", "(local i32)")
    );
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, &wat);
        let go = instance.get_func(&store, "go").expect(name);
        for count in [0, 1, 100_000] {
            let mut found = vec![Val::I32(0); 15];
            go.call(&mut store, &[Val::I32(count)], &mut found).expect(name);
            let longs = [5, 6, 7, 8, 9, 10, i64::from(count), i64::from(count), 5, 6, 7, 8].map(Val::I64);
            assert_eq!(format!("{:?}", &found[..12]), format!("{longs:?}"), "{name} {count}");
            let vector = 1 | 2 << 32 | 3 << 64 | 4 << 96;
            let rest = [Val::F64(18f64.to_bits()), Val::V128(vector), Val::ExternRef(None)];
            assert_eq!(format!("{:?}", &found[12..]), format!("{rest:?}"), "{name} {count}");
        }
    });
}

/// Two instances of two modules call each other through imports and a shared table.
#[test]
fn v6_tail_calls_across_instances() {
    everywhere(features, |name, engine| {
        let (mut linker, mut store) = (Linker::new(engine), Store::new(engine, ()));
        let table = r#"(module (table (export "t") 1 funcref))"#;
        link(&mut linker, &mut store, engine, "table", table);
        let ping = r#"(module (type $t (func (param i32) (result i32))) (import "table" "t" (table 1 funcref))
            (global $n (mut i32) (i32.const 0))
            (func (export "ping") (param i32) (result i32)
                (global.set $n (i32.add (global.get $n) (i32.const 1)))
                (if (i32.eqz (local.get 0)) (then (return (global.get $n))))
                (return_call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))"#;
        link(&mut linker, &mut store, engine, "ping", ping);
        let pong = r#"(module (import "ping" "ping" (func $ping (param i32) (result i32))) (import "table" "t" (table 1 funcref))
            (global $n (mut i32) (i32.const 0)) (elem (i32.const 0) $pong)
            (func $pong (export "pong") (param i32) (result i32)
                (global.set $n (i32.sub (global.get $n) (i32.const 1)))
                (if (i32.eqz (local.get 0)) (then (return (global.get $n))))
                (return_call $ping (i32.sub (local.get 0) (i32.const 1)))))"#;
        let pong = link(&mut linker, &mut store, engine, "pong", pong);
        let pong = pong.get_typed_func::<i32, i32>(&store, "pong").expect(name);
        assert_eq!(pong.call(&mut store, MANY / 10).expect(name), -(MANY / 20) - 1, "{name}");
        assert_eq!(pong.call(&mut store, 1).expect(name), MANY / 20 + 1, "{name}");
    });
}

/// The chain is not the outermost frame of its `run`, and goes to a host function and a denied import.
#[test]
fn tail_calls_reach_the_host() {
    let wat = r#"(module (import "h" "f" (func $f (param i32 i64) (result i64))) (import "h" "fail" (func $fail (param i32) (result i32)))
        (func $down (param i32 i64) (result i64)
            (if (i32.eqz (local.get 0)) (then (return_call $f (i32.const 5) (local.get 1))))
            (return_call $down (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.const 2))))
        (func (export "outer") (param i32) (result i64) (return_call $down (local.get 0) (i64.const 0)))
        (func (export "inner") (param i32) (result i64) (i64.add (call $down (local.get 0) (i64.const 0)) (i64.const 1)))
        (func $failing (param i32) (result i32) (return_call $fail (local.get 0)))
        (func (export "fail") (param i32) (result i32) (i32.add (i32.const 1) (call $failing (local.get 0)))))"#;
    everywhere(features, |name, engine| {
        let mut linker: Linker<()> = Linker::new(engine);
        linker.func_wrap("h", "f", |_: Caller<'_, ()>, a: i32, b: i64| i64::from(a) * 1_000_000 + b).expect(name);
        linker.capability("h", "fail", |_: Caller<'_, ()>, a: i32| a + 1).expect(name);
        let mut store = Store::new(engine, ());
        let instance = link(&mut linker, &mut store, engine, "", wat);
        for export in ["outer", "inner"] {
            let func = instance.get_typed_func::<i32, i64>(&store, export).expect(name);
            for count in [0, 3, 1000] {
                let expected = 5_000_000 + 2 * i64::from(count) + i64::from(export == "inner");
                assert_eq!(func.call(&mut store, count).expect(name), expected, "{name} {export}");
            }
        }
        let fail = instance.get_typed_func::<i32, i32>(&store, "fail").expect(name);
        for _ in 0..4 {
            let error = fail.call(&mut store, 1).expect_err(name);
            assert_eq!(error.trap().expect(name).code(), TrapCode::CapabilityDenied, "{name}: {error}");
        }
        store.grant(Subject::Instance(instance), GrantSpec::call("fail")).expect(name);
        assert_eq!(fail.call(&mut store, 1).expect(name), 3, "{name}");
    });
}

/// A trap at the end of a chain names the function that trapped and the frames that still stand.
#[test]
fn v6_a_trap_in_a_chain_shows_the_frames_that_stand() {
    let wat = r#"(module
        (func $end (param i32) (drop (i32.div_u (i32.const 1) (local.get 0))))
        (func $hop (param i32 i32) (if (local.get 0)
            (then (return_call $hop (i32.sub (local.get 0) (i32.const 1)) (local.get 1)))) (return_call $end (local.get 1)))
        (func $outer (export "go") (param i32 i32) (call $hop (local.get 0) (local.get 1)) (nop)))"#;
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, wat);
        let go = instance.get_typed_func::<(i32, i32), ()>(&store, "go").expect(name);
        for hops in [0, 1, 5, 1000] {
            go.call(&mut store, (hops, 1)).expect(name);
            let error = go.call(&mut store, (hops, 0)).expect_err(name);
            let trap = error.trap().expect(name);
            assert_eq!(trap.code(), TrapCode::IntegerDivideByZero, "{name}: {error}");
            let names: Vec<_> = trap.frames().iter().map(|f| f.func_name.as_deref().unwrap_or("?")).collect();
            assert_eq!(names, ["end", "outer"], "{name}: {error}");
        }
    });
}

const ENDLESS: &str = r#"(module (type $t (func (param i32))) (table funcref (elem $a))
    (func $a (export "go") (param i32) (return_call $b (local.get 0)))
    (func $b (param i32) (return_call_indirect (type $t) (local.get 0) (i32.const 0))))"#;

/// D12: nothing but calls in tail position, for ever.
#[test]
fn d12_endless_tail_calls_end_by_fuel() {
    let mut spent = Vec::new();
    for (name, engine) in engines(|config| {
        features(config);
        config.consume_fuel(true);
    }) {
        let (mut store, instance) = instance(&engine, ENDLESS);
        let go = instance.get_typed_func::<i32, ()>(&store, "go").expect(&name);
        store.set_fuel(1_000_000).expect(&name);
        let error = go.call(&mut store, 0).expect_err(&name);
        assert_eq!(error.trap().expect(&name).code(), TrapCode::OutOfFuel, "{name}: {error}");
        let (mut store, instance) = self::instance(&engine, EVEN_ODD);
        store.set_fuel(1_000_000).expect(&name);
        let even = instance.get_typed_func::<i32, i32>(&store, "even").expect(&name);
        even.call(&mut store, 1000).expect(&name);
        spent.push(store.get_fuel().expect(&name));
    }
    assert!(spent.windows(2).all(|pair| pair[0] == pair[1]), "{spent:?}");
}

#[test]
fn d12_endless_tail_calls_end_by_deadline() {
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, ENDLESS);
        let go = instance.get_typed_func::<i32, ()>(&store, "go").expect(name);
        store.set_deadline(Duration::from_millis(20));
        let error = go.call(&mut store, 0).expect_err(name);
        assert_eq!(error.trap().expect(name).code(), TrapCode::Interrupted, "{name}: {error}");
    });
}

/// Each function of a long ring becomes hot in the same round: no crossing may stay on the native stack.
#[test]
fn v6_a_ring_of_functions_that_all_become_hot() {
    let count = 3000;
    let mut wat = "(module (type $t (func (param i32)))".to_owned();
    for n in 0..count {
        let next = (n + 1) % count;
        wat += &format!(
            "(func $f{n} (param i32) (if (local.get 0) (then (return_call $f{next} (i32.sub (local.get 0) (i32.const 1))))))"
        );
    }
    wat += "(export \"go\" (func $f0)))";
    for (name, engine) in engines(|config| {
        features(config);
        config.max_wasm_stack(128 << 10);
    }) {
        let (mut store, instance) = instance(&engine, &wat);
        let go = instance.get_typed_func::<i32, ()>(&store, "go").expect(&name);
        go.call(&mut store, 8 * count).expect(&name);
    }
}

/// A callee whose frame does not fit is an overflow; the chain before it is not.
#[test]
fn a_tail_callee_with_a_large_frame_overflows_cleanly() {
    let locals = "(local ".to_owned() + &"i64 ".repeat(40_000) + ")";
    let wat = format!(
        r#"(module (func $large (param i32) (result i32) {locals} (local.set 5 (i64.const 1))
                (if (local.get 0) (then (return_call $small (i32.sub (local.get 0) (i32.const 1))))) (i32.const 9))
            (func $small (export "go") (param i32) (result i32) (return_call $large (local.get 0)))
            (func (export "deep") (param i32) (result i32) (i32.add (i32.const 1) (call $small (local.get 0)))))"#
    );
    for (stack, fits) in [(64 << 10, false), (512 << 10, true)] {
        for (name, engine) in engines(|config| {
            features(config);
            config.max_wasm_stack(stack);
        }) {
            let (mut store, instance) = instance(&engine, &wat);
            for (export, value) in [("go", 9), ("deep", 10)] {
                let go = instance.get_typed_func::<i32, i32>(&store, export).expect(&name);
                match go.call(&mut store, 1000) {
                    Ok(found) => assert_eq!(found, value, "{name}"),
                    Err(error) => {
                        assert!(!fits, "{name}: {error}");
                        assert_eq!(error.trap().expect(&name).code(), TrapCode::StackOverflow, "{name}: {error}");
                    }
                }
            }
        }
    }
}
