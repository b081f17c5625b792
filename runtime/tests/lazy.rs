//! Validation of bodies at their first call: what is valid runs, what is not is refused when it is called.

use aura_runtime::{Config, Engine, ErrorKind, Instance, Limits, Module, Store, Strategy, Val, Validation};

const TIERS: [Strategy; 3] = [Strategy::Interpreter, Strategy::Jit, Strategy::Auto];

fn engine(strategy: Strategy, limits: Limits) -> Engine {
    let mut config = Config::new();
    config.strategy(strategy).validation(Validation::Lazy).limits(limits).tier_up_threshold(1);
    Engine::new(&config).expect("an engine")
}

/// `good` is valid, `bad` leaves nothing where an `i32` is to be, `calls` calls it after it set a global.
const MODULE: &str = r#"(module
    (global $g (export "g") (mut i32) (i32.const 0))
    (func (export "good") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func $bad (export "bad") (param i32) (result i32))
    (func (export "calls") (param i32) (result i32)
        (global.set $g (i32.const 7))
        (call $bad (local.get 0))))"#;

#[test]
fn an_invalid_function_is_refused_when_it_is_called() {
    for strategy in TIERS {
        let engine = engine(strategy, Limits::default());
        let module = Module::new(&engine, MODULE).expect("all but bodies is valid");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let mut call = |name: &str| {
            let func = instance.get_typed_func::<i32, i32>(&store, name).expect(name);
            func.call(&mut store, 41)
        };
        for _ in 0..3 {
            assert_eq!(call("good").expect("valid"), 42);
            for name in ["bad", "calls"] {
                let error = call(name).expect_err(name);
                assert_eq!(error.kind(), ErrorKind::Invalid, "{strategy:?}: {name}: {error:?}");
                assert!(error.to_string().contains("type mismatch"), "{error}");
            }
        }
        let set = instance.get_global(&store, "g").expect("g").get(&store);
        assert!(matches!(set, Val::I32(7)), "{strategy:?}: what ran until the call has run");
    }
}

#[test]
fn eager_validation_refuses_the_same_module_at_once() {
    let error = Module::new(&Engine::default(), MODULE).expect_err("an invalid body");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let lazy = engine(Strategy::Auto, Limits::default());
    let wasm = wat::parse_str(MODULE).expect("text");
    assert!(Module::validate(&lazy, &wasm).is_err(), "validating is never lazy");
}

#[test]
fn limits_of_bodies_hold_when_they_are_called() {
    let module = r#"(module (func (export "deep") (param i32) (result i32)
        (block (block (block (block (block (block (nop)))))))
        (local.get 0)))"#;
    let engine = engine(Strategy::Auto, Limits { nesting: 5, ..Limits::default() });
    let module = Module::new(&engine, module).expect("a module");
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
    let deep = instance.get_typed_func::<i32, i32>(&store, "deep").expect("deep");
    let error = deep.call(&mut store, 1).expect_err("passes a limit");
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

#[test]
fn an_invalid_start_function_fails_the_instantiation() {
    for strategy in TIERS {
        let engine = engine(strategy, Limits::default());
        let module = Module::new(&engine, "(module (func $s (drop)) (start $s))").expect("all but bodies is valid");
        let error = Instance::new(&mut Store::new(&engine, ()), &module, &[]).expect_err("an invalid start function");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

/// The first invalid body is reported whichever thread finds one first.
#[test]
fn the_error_of_a_large_module_does_not_depend_on_threads() {
    let mut text = String::from("(module");
    for index in 0..3000 {
        let body = if index % 700 == 650 { "(i64.const 1)" } else { "(i32.const 1)" };
        text.push_str(&format!(
            "(func (result i32) {} {body})",
            "(drop (i64.mul (i64.const 99999999999) (i64.const 3)))".repeat(16)
        ));
    }
    let wasm = wat::parse_str(text + ")").expect("text");
    assert!(wasm.len() > 400_000, "large enough for threads: {}", wasm.len());
    let engine = Engine::default();
    let first = Module::from_binary(&engine, &wasm).expect_err("invalid").to_string();
    assert!(first.contains("type mismatch"), "{first}");
    for _ in 0..20 {
        assert_eq!(Module::from_binary(&engine, &wasm).expect_err("invalid").to_string(), first);
    }
}
