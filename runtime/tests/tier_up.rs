//! Loops and functions that move into compiled code while they run: nothing but time changes.

use aura_runtime::{Bounds, Config, Engine, Instance, Module, OptLevel, Store, Strategy, TrapCode, Val};

/// Engines that move into compiled code after so many entries and passes, of which some have machine code for cells before that,
/// and one that never does.
fn engines(configure: impl Fn(&mut Config)) -> Vec<(String, Engine)> {
    let mut engines = Vec::new();
    let thresholds = [None, Some(0), Some(1), Some(2), Some(3), Some(7)];
    let with_baseline = [(None, 0), (None, 1), (None, 3), (Some(2), 1), (Some(7), 2)];
    let thresholds = thresholds.map(|threshold| (threshold, None)).into_iter();
    for (threshold, baseline) in
        thresholds.chain(with_baseline.map(|(threshold, baseline)| (threshold, Some(baseline))))
    {
        for (bounds, level) in [(Bounds::Guard, OptLevel::Speed), (Bounds::Explicit, OptLevel::None)] {
            let mut config = Config::new();
            config.bounds(bounds).opt_level(level).compile_threads(0).baseline(baseline.is_some());
            if let Some(baseline) = baseline {
                config.baseline_threshold(baseline).interpreter_jumps(true);
            }
            match threshold {
                Some(threshold) => config.strategy(Strategy::Auto).tier_up_threshold(threshold),
                None => config.strategy(Strategy::Interpreter),
            };
            configure(&mut config);
            let name = format!("{threshold:?}, {baseline:?}, {bounds:?}, {level:?}");
            engines.push((name, Engine::new(&config).expect("the configuration is sound")));
        }
    }
    engines
}

fn start(engine: &Engine, wat: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine, wat).expect("the test's module is valid");
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("it instantiates");
    (store, instance)
}

/// What a call gives: its values, or the trap's code.
fn call(store: &mut Store<()>, instance: &Instance, name: &str, args: &[Val]) -> Result<Vec<String>, TrapCode> {
    let func = instance.get_func(&mut *store, name).expect("it is exported");
    let mut results = vec![Val::I32(0); func.ty(&*store).results().len()];
    match func.call(&mut *store, args, &mut results) {
        Ok(()) => Ok(results.iter().map(|value| format!("{value:?}")).collect()),
        Err(error) => Err(error.trap().expect("it ends by a trap").code()),
    }
}

/// Calls `run` with each argument, all on one instance and each on its own, whose functions are cold; every engine gives
/// what the interpreter gives. Returns what the one instance gave.
fn same_everywhere(wat: &str, args: &[i32]) -> Vec<Result<Vec<String>, TrapCode>> {
    let mut expected = None;
    for (name, engine) in engines(|_| {}) {
        let (mut store, instance) = start(&engine, wat);
        let found: Vec<_> = args.iter().map(|&n| call(&mut store, &instance, "run", &[Val::I32(n)])).collect();
        let alone = args.iter().map(|&n| {
            let (mut store, instance) = start(&engine, wat);
            call(&mut store, &instance, "run", &[Val::I32(n)])
        });
        let found = (found, alone.collect::<Vec<_>>());
        assert_eq!(&found, expected.get_or_insert_with(|| found.clone()), "{name}");
    }
    expected.expect("there are engines").0
}

#[test]
fn nested_loops_go_on_where_they_are() {
    let wat = r#"(module (func (export "run") (param $n i32) (result i32 i64 f64)
        (local $i i32) (local $j i32) (local $k i32) (local $sum i64) (local $f f64)
        (loop $outer
            (local.set $j (i32.const 0))
            (local.set $f (f64.add (local.get $f) (f64.const 0.5)))
            (loop $middle
                (local.set $k (i32.mul (local.get $i) (local.get $j)))
                (loop $inner
                    (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (i32.xor (local.get $k) (local.get $j)))))
                    (br_if $outer (i32.eq (i32.const 777) (i32.add (local.get $k) (local.tee $i (i32.add (local.get $i) (i32.const 0))))))
                    (br_if $inner (i32.lt_s (local.tee $k (i32.add (local.get $k) (i32.const 3))) (i32.const 40))))
                (br_if $middle (i32.lt_s (local.tee $j (i32.add (local.get $j) (i32.const 1))) (local.get $n))))
            (br_if $outer (i32.lt_s (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
        (local.get $i) (local.get $sum) (local.get $f)))"#;
    let results = same_everywhere(wat, &[1, 2, 5, 9]);
    assert!(results.iter().all(Result::is_ok));
}

/// Operands below a loop and its parameters are slots too, vectors among them.
#[test]
fn operands_under_a_loop_are_kept() {
    let wat = r#"(module (func (export "run") (param $n i32) (result i32 v128 f32 i64)
        (i32.const 11) (i32x4.splat (local.get $n)) (f32.const 2.5)
        (i64.const 1)
        (loop $l (param i64) (result i64)
            (i64.mul (i64.const 3))
            (br_if $l (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 0))))))"#;
    same_everywhere(wat, &[1, 2, 3, 20]);
}

/// The way back to the outer loop stands beside code that only the outer loop leads to: entered in its middle, it would have two ways in.
#[test]
fn a_loop_with_two_ways_back_is_entered_in_its_middle() {
    let wat = r#"(module (func (export "run") (param $n i32) (result i32) (local $i i32) (local $k i32) (local $acc i32)
        (loop $outer
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (if (i32.and (local.get $i) (i32.const 1))
                (then
                    (local.set $k (i32.const 0))
                    (loop $inner
                        (local.set $acc (i32.add (i32.mul (local.get $acc) (i32.const 31)) (local.get $k)))
                        (br_if $inner (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 5))))
                    (br_if $outer (i32.lt_u (local.get $i) (i32.const 7)))))
            (local.set $acc (i32.xor (local.get $acc) (local.get $i)))
            (br_if $outer (i32.lt_u (local.get $i) (local.get $n))))
        (local.get $acc)))"#;
    same_everywhere(wat, &[1, 3, 8, 30]);
}

#[test]
fn what_follows_the_loop_returns_to_an_interpreted_caller() {
    let wat = r#"(module (memory 1)
        (func $work (param $n i32) (result i32 i64) (local $s i64)
            (loop $l
                (i32.store8 (local.get $n) (i32.wrap_i64 (local.get $s)))
                (local.set $s (i64.add (local.get $s) (i64.extend_i32_u (local.get $n))))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (i32.load8_u (i32.const 3)) (local.get $s))
        (func (export "run") (param $n i32) (result i64) (local $a i32) (local $b i64)
            (call $work (local.get $n)) (local.set $b) (local.set $a)
            (i64.add (i64.extend_i32_u (local.get $a)) (local.get $b))))"#;
    same_everywhere(wat, &[1, 2, 5, 100]);
}

#[test]
fn traps_in_and_after_a_loop_leave_the_store_as_it_was() {
    let wat = r#"(module (memory 1) (global $g (mut i32) (i32.const 0))
        (func $work (param $n i32) (result i32)
            (loop $l
                (global.set $g (i32.add (global.get $g) (i32.const 1)))
                (drop (i32.load (i32.mul (local.get $n) (i32.const 8192))))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (i32.div_u (i32.const 100) (i32.sub (global.get $g) (i32.const 4))))
        (func (export "run") (param $n i32) (result i32) (i32.add (call $work (local.get $n)) (global.get $g))))"#;
    let results = same_everywhere(wat, &[4, 3, 9, 2, 100, 1]);
    assert_eq!(results[0], Err(TrapCode::IntegerDivideByZero));
    assert_eq!(results[2], Err(TrapCode::MemoryOutOfBounds));
    assert!(results[5].is_ok());
}

/// An exception out of a loop that was moved reaches handlers of the same function, of an interpreted caller, and the host.
#[test]
fn exceptions_leave_a_loop_that_was_moved() {
    let wat = r#"(module (tag $t (param i32))
        (func $thrower (param i32) (if (i32.eqz (i32.and (local.get 0) (i32.const 3))) (then (throw $t (local.get 0)))))
        (func $inside (param $n i32) (result i32) (local $sum i32)
            (loop $l
                (block $caught (result i32)
                    (try_table (catch $t $caught) (call $thrower (local.get $n)))
                    (i32.const 100))
                (local.set $sum (i32.add (local.get $sum)))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $sum))
        (func $outside (param $n i32) (loop $l
            (call $thrower (local.get $n))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br $l)))
        (func (export "run") (param $n i32) (result i32)
            (call $inside (local.get $n))
            (block $caught (result i32) (try_table (catch $t $caught) (call $outside (local.get $n))) (unreachable))
            (i32.add)))"#;
    let results = same_everywhere(wat, &[5, 6, 7, 13]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[test]
fn a_moved_loop_ends_by_a_tail_call() {
    let wat = r#"(module (table funcref (elem $even $odd))
        (func $even (param i32) (result i32) (local $k i32)
            (loop $l (br_if $l (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 3))))
            (if (i32.eqz (local.get 0)) (then (return (local.get $k))))
            (return_call $odd (i32.sub (local.get 0) (i32.const 1))))
        (func $odd (param i32) (result i32) (local $k i32)
            (loop $l (br_if $l (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 5))))
            (if (i32.eqz (local.get 0)) (then (return (local.get $k))))
            (return_call_indirect (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))
        (func (export "run") (param i32) (result i32) (return_call $even (local.get 0))))"#;
    for odd in [false, true] {
        for (name, engine) in engines(|config| _ = config.odd_functions_interpreted(odd)) {
            let (mut store, instance) = start(&engine, wat);
            for (n, k) in [(0, 3), (1, 5), (10_000, 3), (10_001, 5)] {
                let found = call(&mut store, &instance, "run", &[Val::I32(n)]);
                assert_eq!(found, Ok(vec![format!("{:?}", Val::I32(k))]), "{name}");
            }
        }
    }
}

/// References in slots of the frame are taken over, and the frame's own are forgotten: a collection at every object finds both.
#[test]
fn references_move_with_their_loop() {
    let wat = r#"(module (type $cell (struct (field i32) (field (mut (ref null $cell)))))
        (func (export "run") (param $n i32) (result i32) (local $list (ref null $cell)) (local $sum i32) (local $dead (ref null $cell))
            (local.set $dead (struct.new $cell (i32.const 9) (ref.null $cell)))
            (loop $l
                (local.set $list (struct.new $cell (local.get $n) (local.get $list)))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (loop $l
                (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 7)) (struct.get $cell 0 (local.get $list))))
                (br_if $l (i32.eqz (ref.is_null (local.tee $list (struct.get $cell 1 (local.get $list)))))))
            (local.get $sum)))"#;
    let mut expected = None;
    for (name, engine) in engines(|config| _ = config.gc_stress(true)) {
        let (mut store, instance) = start(&engine, wat);
        let found: Vec<_> = [1, 2, 6, 17].map(|n| call(&mut store, &instance, "run", &[Val::I32(n)])).into();
        assert_eq!(&found, expected.get_or_insert_with(|| found.clone()), "{name}");
    }
}

#[test]
fn fuel_and_depth_are_the_same_wherever_a_loop_moves() {
    let wat = r#"(module
        (func $down (param i32) (result i32) (local $k i32)
            (loop $l (br_if $l (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 3))))
            (if (result i32) (i32.eqz (local.get 0)) (then (local.get $k))
                (else (i32.add (local.get $k) (call $down (i32.sub (local.get 0) (i32.const 1)))))))
        (func (export "run") (param i32) (result i32) (call $down (local.get 0))))"#;
    let mut expected = None;
    let configure = |config: &mut Config| _ = config.consume_fuel(true).deterministic(true).max_wasm_stack(64 << 10);
    for (name, engine) in engines(configure) {
        let (mut store, instance) = start(&engine, wat);
        let mut found = Vec::new();
        for n in [0, 1, 10, 100, 1_000, 100_000, 5] {
            store.set_fuel(10_000).expect("the engine counts fuel");
            let result = call(&mut store, &instance, "run", &[Val::I32(n)]);
            found.push((result, store.get_fuel().expect("the engine counts fuel")));
        }
        assert_eq!(&found, expected.get_or_insert_with(|| found.clone()), "{name}");
    }
}

/// A loop that ends when the store is interrupted, in compiled code that it entered from the interpreter.
#[test]
fn a_moved_loop_can_be_interrupted() {
    for (name, engine) in engines(|_| {}) {
        let (mut store, instance) = start(&engine, r#"(module (func (export "run") (param i32) (loop $l (br $l))))"#);
        store.set_deadline(std::time::Duration::from_millis(20));
        assert_eq!(call(&mut store, &instance, "run", &[Val::I32(0)]), Err(TrapCode::Interrupted), "{name}");
    }
}

/// A backtrace names a function once, by the frame that stands for it now.
#[test]
fn a_moved_loop_stands_in_backtraces_as_compiled() {
    let wat = r#"(module
        (func $work (param $n i32) (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (unreachable))
        (func (export "run") (param i32) (call $work (local.get 0))))"#;
    let mut config = Config::new();
    let engine = Engine::new(config.tier_up_threshold(2).compile_threads(0)).expect("the configuration is sound");
    let (mut store, instance) = start(&engine, wat);
    let func = instance.get_func(&mut store, "run").expect("it is exported");
    let error = func.call(&mut store, &[Val::I32(10)], &mut []).expect_err("it traps");
    let frames: Vec<_> = error.trap().expect("a trap").frames().iter().map(|f| (f.func_index, f.compiled)).collect();
    assert_eq!(frames, [(0, true), (1, false)]);
}

/// The threads of an engine compile what is hot, while its guests go on.
#[test]
fn threads_compile_in_the_background() {
    let wat = r#"(module (func $work (export "work") (param $n i32) (result i32) (local $s i32)
            (loop $l
                (local.set $s (i32.add (local.get $s) (local.get $n)))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $s))
        (func (export "fail") (drop (call $work (i32.const 3))) (unreachable)))"#;
    let engine =
        Engine::new(Config::new().tier_up_threshold(1).compile_threads(2)).expect("the configuration is sound");
    let (mut store, instance) = start(&engine, wat);
    for n in [1, 10, 100] {
        let found = call(&mut store, &instance, "work", &[Val::I32(n)]);
        assert_eq!(found, Ok(vec![format!("{:?}", Val::I32(n * (n + 1) / 2))]));
    }
    let fail = instance.get_func(&mut store, "fail").expect("it is exported");
    let is_compiled = |store: &mut Store<()>| {
        let error = fail.call(store, &[], &mut []).expect_err("it traps");
        error.trap().expect("a trap").frames()[0].compiled
    };
    is_compiled(&mut store);
    is_compiled(&mut store);
    engine.wait_for_compilation();
    assert!(is_compiled(&mut store), "what was entered twice is compiled");
}

/// With the thresholds of their size, loops move at an outer header if that is passed, else where they are hot.
#[test]
fn hot_loops_move_by_themselves() {
    let wat = r#"(module (func (export "run") (param $n i32) (result i64) (local $i i32) (local $j i32) (local $sum i64)
        (loop $outer
            (local.set $j (i32.const 0))
            (loop $inner
                (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 3)) (i64.extend_i32_u (local.get $j))))
                (br_if $inner (i32.lt_s (local.tee $j (i32.add (local.get $j) (i32.const 1))) (local.get $n))))
            (br_if $outer (i32.lt_s (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.div_u (i32.const 600000) (local.get $n)))))
        (local.get $sum)))"#;
    let interpreter = Engine::new(Config::new().strategy(Strategy::Interpreter)).expect("it is sound");
    for n in [3, 700, 300_000] {
        let (mut store, instance) = start(&interpreter, wat);
        let expected = call(&mut store, &instance, "run", &[Val::I32(n)]);
        for threads in 0..3 {
            let engine = Engine::new(Config::new().compile_threads(threads)).expect("it is sound");
            let (mut store, instance) = start(&engine, wat);
            assert_eq!(call(&mut store, &instance, "run", &[Val::I32(n)]), expected, "{n}, {threads} threads");
        }
    }
}

/// A function that is entered again and again is compiled as a whole first; who stays in its loop moves all the same.
#[test]
fn who_stays_in_a_function_that_is_compiled_moves_too() {
    let wat = r#"(module (func (export "run") (param $n i32)
        (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (unreachable)))"#;
    for (calls, long) in [(1, 3_000_000), (9, 3_000_000)] {
        let engine = Engine::new(Config::new().compile_threads(0)).expect("it is sound");
        let (mut store, instance) = start(&engine, wat);
        let run = instance.get_func(&mut store, "run").expect("it is exported");
        let mut is_compiled = |n| {
            let error = run.call(&mut store, &[Val::I32(n)], &mut []).expect_err("it traps");
            error.trap().expect("a trap").frames()[0].compiled
        };
        for _ in 0..calls {
            assert!(!is_compiled(2), "nothing is hot yet");
        }
        assert!(is_compiled(long), "{calls} calls");
    }
}

/// Modules and engines end while threads compile for them.
#[test]
fn a_module_is_dropped_while_it_is_compiled() {
    let body = "(local.set 1 (i32.add (i32.mul (local.get 1) (i32.const 3)) (local.get 0)))".repeat(2000);
    let wat = format!(
        r#"(module (func (export "run") (param i32) (result i32) (local i32)
            (loop $l {body} (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (local.get 1)))"#
    );
    for round in 0..8 {
        let engine =
            Engine::new(Config::new().tier_up_threshold(1).compile_threads(1 + round % 2)).expect("it is sound");
        for _ in 0..3 {
            let (mut store, instance) = start(&engine, &wat);
            call(&mut store, &instance, "run", &[Val::I32(3)]).expect("it returns");
        }
    }
}
