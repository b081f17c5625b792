//! Exceptions between tiers, instances and the host: who throws, who catches, and who is in between.

mod common;

use aura_runtime::{Config, Engine, ErrorKind, Features, Instance, Linker, Module, Store, TrapCode};
use common::everywhere_with as everywhere;

fn features(config: &mut Config) {
    let on = |features: Features, name| features.with(name, true).expect("implemented");
    config.features(["exception-handling", "tail-call"].into_iter().fold(Features::default(), on));
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

#[test]
fn what_nobody_catches_is_an_error_of_the_call() {
    let wat = r#"(module (tag $e (param i32)) (func $f (param i32) (throw $e (local.get 0)))
        (func (export "go") (param i32) (call $f (local.get 0))))"#;
    everywhere(features, |name, engine| {
        let (mut store, instance) = instance(engine, wat);
        let go = instance.get_typed_func::<i32, ()>(&store, "go").expect(name);
        for n in 0..6 {
            assert_eq!(go.call(&mut store, n).expect_err(name).kind(), ErrorKind::Exception, "{name}");
        }
    });
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
