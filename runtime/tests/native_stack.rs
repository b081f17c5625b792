//! Interpreted code takes no native stack, however long it runs and however its functions call each other.

use aura_runtime::{Config, Engine, Instance, Module, Store, Strategy, TrapCode};

/// What a thread needs to enter and leave the engine; one frame of a handler per cell would pass it in no time.
const STACK_BYTES: usize = 256 << 10;

const GUEST: &str = r#"(module (memory 1) (global $g (mut i32) (i32.const 0)) (table 2 funcref) (elem (i32.const 0) $one $two)
    (type $t (func (param i32) (result i32)))
    (func $one (param i32) (result i32) (i32.add (local.get 0) (i32.const 3)))
    (func $two (param i32) (result i32) (i32.div_u (i32.mul (local.get 0) (i32.const 5)) (i32.const 3)))
    (func (export "loop") (param $n i32) (result i32) (local $x i32) (local $f f64)
        (loop $l
            (local.set $x (call_indirect (type $t) (local.get $x) (i32.and (local.get $n) (i32.const 1))))
            (i32.store offset=8 (i32.and (local.get $x) (i32.const 0xfff0)) (call $one (local.get $x)))
            (global.set $g (i32.add (global.get $g) (i32.load8_u (i32.and (local.get $n) (i32.const 0xffff)))))
            (local.set $f (f64.add (local.get $f) (f64.convert_i32_u (local.get $x))))
            (if (i32.lt_s (local.get $x) (i32.const 0)) (then (local.set $x (i32.trunc_sat_f64_s (local.get $f)))))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (i32.xor (local.get $x) (global.get $g)))
    (func $deep (export "deep") (param $n i32) (result i32)
        (if (result i32) (i32.eqz (local.get $n))
            (then (i32.const 0))
            (else (i32.add (call $deep (i32.sub (local.get $n) (i32.const 1))) (i32.const 1)))))
    (func $count (export "count") (param $n i32) (result i32)
        (if (i32.eqz (local.get $n)) (then (return (i32.const 7))))
        (return_call $count (i32.sub (local.get $n) (i32.const 1))))
    (func (export "trap") (param i32) (result i32) (i32.load offset=65536 (local.get 0))))"#;

/// Runs the guest on a thread with little stack; what its functions return.
fn run(jumps: bool, baseline: bool, turns: u32) -> Vec<Result<u32, Option<TrapCode>>> {
    let work = move || {
        let mut config = Config::new();
        config.strategy(Strategy::Interpreter).interpreter_jumps(jumps).max_wasm_stack(64 << 10);
        config.baseline(baseline).baseline_threshold(0);
        let engine = Engine::new(&config).expect("engine");
        let module = Module::new(&engine, GUEST).expect("module");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("instance");
        let calls = [("loop", turns), ("deep", 500), ("deep", u32::MAX), ("count", turns), ("trap", 0)];
        calls
            .into_iter()
            .map(|(name, argument)| {
                let func = instance.get_typed_func::<u32, u32>(&mut store, name).expect("an export");
                func.call(&mut store, argument).map_err(|error| error.trap().map(aura_runtime::Trap::code))
            })
            .collect()
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).expect("a thread").join().expect("no panic")
}

#[test]
fn interpreted_code_takes_no_native_stack() {
    // A turn of the loop is some fifty instructions, so that these are 100 million.
    let turns = 2_000_000;
    let results = run(true, false, turns);
    assert!(results[0].is_ok());
    assert_eq!(
        results[1..],
        [Ok(500), Err(Some(TrapCode::StackOverflow)), Ok(7), Err(Some(TrapCode::MemoryOutOfBounds))]
    );
    assert_eq!(results, run(false, false, turns), "the other way of the interpreter");
    assert_eq!(results, run(true, true, turns), "with machine code for cells");
}

/// The suite tries both ways with this profile: if it no longer had both, half of it would test nothing.
#[test]
fn tests_have_both_ways_of_the_interpreter() {
    assert_eq!(aura_runtime::inspect::INTERPRETER_JUMPS, cfg!(any(target_arch = "x86_64", target_arch = "aarch64")));
}
