//! `Config::deterministic`: every tier gives the same bits, ends at the same call and takes the same fuel.

mod common;
#[path = "common/outcome.rs"]
mod outcome;

use std::fmt::Write as _;

use aura_runtime::{AsContextMut, Caller, Engine, Extern, Instance, Linker, Module, Store, TrapCode, Val};
use common::engines;
use outcome::{Outcome, outcome};

/// Runs `observe` on every engine in deterministic mode; all must see the same.
fn agree<T: PartialEq + std::fmt::Debug>(observe: impl Fn(&Engine) -> T) -> T {
    let mut first: Option<T> = None;
    for (name, engine) in engines(|config| {
        config.deterministic(true).consume_fuel(true).wasm_relaxed_simd(true).wasm_exceptions(true);
    }) {
        let seen = observe(&engine);
        match &first {
            None => first = Some(seen),
            Some(first) => assert_eq!(*first, seen, "{name}"),
        }
    }
    first.expect("there are engines")
}

fn call(store: &mut Store<()>, instance: Instance, export: &str, args: &[Val]) -> Outcome {
    let func = instance.get_func(&*store, export).unwrap_or_else(|| panic!("{export} is exported"));
    outcome(store, func, args)
}

fn depth(store: &Store<()>, instance: Instance) -> i32 {
    match instance.get_global(store, "depth").expect("exported").get(store) {
        Val::I32(depth) => depth,
        other => panic!("{other:?}"),
    }
}

/// Functions of small and large frames that call themselves and each other without end, and count how often.
fn endless() -> String {
    let many = " i64".repeat(300);
    let mut sum = String::from("(i64.const 0)");
    let mut sets = String::new();
    for local in 1..=300 {
        let _ = write!(sets, "(local.set {local} (i64.add (i64.extend_i32_u (local.get 0)) (i64.const {local})))");
        sum = format!("(i64.add {sum} (local.get {local}))");
    }
    let deeper = "(global.set $depth (i32.add (global.get $depth) (i32.const 1)))";
    format!(
        r#"(module (import "h" "again" (func $again (param i32))) (global $depth (export "depth") (mut i32) (i32.const 0))
        (table 2 funcref) (elem (i32.const 0) $even $odd) (type $t (func (param i32) (result i32)))
        (func $direct (export "direct") (param i32) (result i32) {deeper}
            (i32.add (call $direct (local.get 0)) (i32.const 1)))
        (func $even (export "even") (param i32) (result i32) {deeper}
            (i32.add (call_indirect (type $t) (local.get 0) (i32.const 1)) (i32.const 2)))
        (func $odd (param i32) (result i32) (local v128 v128 v128) {deeper}
            (i32.add (call_indirect (type $t) (local.get 0) (i32.const 0)) (i32.const 3)))
        (func $large (export "large") (param i32) (result i64) (local{many}) {deeper} {sets}
            (i64.add (call $large (i32.add (local.get 0) (i32.const 1))) {sum}))
        (func $void (export "void") (param i32) {deeper} (call $void (local.get 0)))
        (func $deep (param i32)
            (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))) (else (call $again (local.get 0)))))
        (func $turns (export "turns") (param i32) {deeper} (call $deep (i32.const 20)))
        (func $bounded (export "bounded") (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
                (else (i32.add (i32.const 1) (call $bounded (i32.sub (local.get 0) (i32.const 1))))))))"#
    )
}

fn endless_in(engine: &Engine, wat: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine, wat).expect("the test's module is valid");
    let mut linker: Linker<()> = Linker::new(engine);
    let again = |mut caller: Caller<'_, ()>, n: i32| {
        let turns = caller.get_export("turns").and_then(Extern::into_func).expect("exported");
        turns.call(caller.as_context_mut(), &[Val::I32(n)], &mut [])
    };
    linker.func_wrap("h", "again", again).expect("a function");
    let mut store = Store::new(engine, ());
    store.set_fuel(1 << 40).expect("fuel is on");
    let instance = linker.instantiate(&mut store, &module).expect("the test's module links");
    (store, instance)
}

#[test]
fn the_stack_is_exhausted_at_the_same_call() {
    let wat = endless();
    let seen = agree(|engine| {
        let (mut store, instance) = endless_in(engine, &wat);
        let mut seen = Vec::new();
        // Later turns run in other tiers, and begin with a whole stack again.
        for export in ["direct", "even", "large", "void", "turns", "direct", "large", "even", "turns", "void", "direct"]
        {
            let before = (depth(&store, instance), store.get_fuel().expect("fuel is on"));
            let ended = call(&mut store, instance, export, &[Val::I32(1)]);
            assert_eq!(ended, Err(TrapCode::StackOverflow), "{export}");
            let fuel = before.1 - store.get_fuel().expect("fuel is on");
            seen.push((export, depth(&store, instance) - before.0, fuel));
        }
        seen
    });
    for (export, depth, fuel) in &seen {
        let first = seen.iter().find(|(other, ..)| other == export).expect("itself");
        assert_eq!((first.1, first.2), (*depth, *fuel), "{export} each time");
        assert!(*depth > if *export == "turns" { 10 } else { 100 }, "{export}: {depth}");
    }
}

#[test]
fn what_fits_runs_however_often_and_leaves_the_stack_as_it_was() {
    let wat = endless();
    let most = agree(|engine| {
        let (mut store, instance) = endless_in(engine, &wat);
        let fits = |store: &mut Store<()>, n: i32| match call(store, instance, "bounded", &[Val::I32(n)]) {
            Ok(values) => values == [n as u128],
            Err(code) => {
                assert_eq!(code, TrapCode::StackOverflow);
                false
            }
        };
        let (mut low, mut high) = (0, 1 << 20);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if fits(&mut store, middle) { low = middle } else { high = middle }
        }
        for _ in 0..50 {
            assert!(fits(&mut store, low) && !fits(&mut store, low + 1));
        }
        low
    });
    assert!(most > 1000, "{most}");
}

#[test]
fn the_limit_follows_the_configuration() {
    let wat = endless();
    let depths = [128 << 10, 256 << 10, 512 << 10].map(|bytes| {
        let mut depths = Vec::new();
        for (_, engine) in engines(|config| {
            config.deterministic(true).consume_fuel(true).max_wasm_stack(bytes);
        }) {
            let (mut store, instance) = endless_in(&engine, &wat);
            assert_eq!(call(&mut store, instance, "direct", &[Val::I32(1)]), Err(TrapCode::StackOverflow));
            depths.push(depth(&store, instance));
        }
        depths.dedup();
        assert_eq!(depths.len(), 1, "the same everywhere");
        depths[0]
    });
    assert!(depths[1].abs_diff(2 * depths[0]) <= 2 && depths[2].abs_diff(2 * depths[1]) <= 2, "{depths:?}");
}

/// An exception takes the cost of the frames that it ends back, in whatever tier they ran and wherever it arrives.
#[test]
fn frames_that_an_exception_ends_cost_nothing_any_more() {
    let wat = r#"(module (tag $t (param i32)) (global $depth (export "depth") (mut i32) (i32.const 0))
        (func $throw (param i32)
            (if (local.get 0) (then (call $throw (i32.sub (local.get 0) (i32.const 1)))) (else (throw $t (i32.const 5)))))
        (func $once (param i32) (result i32)
            (block $caught (result i32)
                (try_table (catch $t $caught) (call $throw (local.get 0)))
                (i32.const 0)))
        (func $returns (param i32) (result i32)
            (try_table (result i32) (catch $t 0) (call $throw (local.get 0)) (i32.const 0)))
        (func (export "often") (param i32) (result i32) (local $sum i32)
            (loop $again
                (local.set $sum (i32.add (local.get $sum) (call $once (i32.const 30))))
                (local.set $sum (i32.add (local.get $sum) (call $returns (i32.const 7))))
                (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (local.get $sum))
        (func (export "in a loop") (param i32) (result i32) (local $turns i32)
            (block $done
                (loop $again
                    (br_if $done (i32.ge_u (local.get $turns) (local.get 0)))
                    (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
                    (try_table (catch_all $again) (call $throw (i32.const 50)))))
            (local.get $turns))
        (func $down (export "down") (result i32)
            (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
            (drop (call $once (i32.const 0)))
            (i32.add (call $down) (i32.const 1))))"#;
    let depths = agree(|engine| {
        let (mut store, instance) = common::instantiate(engine, wat);
        store.set_fuel(1 << 40).expect("fuel is on");
        let mut depths = Vec::new();
        for turns in [3_000, 5_000] {
            let often = call(&mut store, instance, "often", &[Val::I32(turns)]);
            assert_eq!(often, Ok(vec![10 * turns as u128]));
            assert_eq!(call(&mut store, instance, "in a loop", &[Val::I32(turns)]), Ok(vec![turns as u128]));
            let before = depth(&store, instance);
            assert_eq!(call(&mut store, instance, "down", &[]), Err(TrapCode::StackOverflow));
            depths.push(depth(&store, instance) - before);
        }
        depths
    });
    assert!(depths[0] == depths[1] && depths[0] > 500, "{depths:?}");
}

/// Every NaN that is computed is the canonical one, and relaxed operators give what the deterministic profile says.
#[test]
fn values_are_the_same_bits() {
    let wat = r#"(module
        (func (export "div") (param f32 f32) (result f32) (f32.div (local.get 0) (local.get 1)))
        (func (export "add") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
        (func (export "min") (param f32 f32) (result f32) (f32.min (local.get 0) (local.get 1)))
        (func (export "sqrt") (param f64) (result f64) (f64.sqrt (local.get 0)))
        (func (export "sqrt of four") (param v128) (result v128) (f32x4.sqrt (local.get 0)))
        (func (export "sqrt of two") (param v128) (result v128) (f64x2.sqrt (local.get 0)))
        (func (export "madd") (param v128 v128 v128) (result v128)
            (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))
        (func (export "nmadd") (param v128 v128 v128) (result v128)
            (f64x2.relaxed_nmadd (local.get 0) (local.get 1) (local.get 2)))
        (func (export "rmin") (param v128 v128) (result v128) (f32x4.relaxed_min (local.get 0) (local.get 1)))
        (func (export "rmax") (param v128 v128) (result v128) (f64x2.relaxed_max (local.get 0) (local.get 1)))
        (func (export "swizzle") (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))
        (func (export "select") (param v128 v128 v128) (result v128)
            (i8x16.relaxed_laneselect (local.get 0) (local.get 1) (local.get 2)))
        (func (export "trunc") (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_u (local.get 0)))
        (func (export "trunc zero") (param v128) (result v128) (i32x4.relaxed_trunc_f64x2_s_zero (local.get 0)))
        (func (export "q15") (param v128 v128) (result v128) (i16x8.relaxed_q15mulr_s (local.get 0) (local.get 1)))
        (func (export "dot") (param v128 v128) (result v128)
            (i16x8.relaxed_dot_i8x16_i7x16_s (local.get 0) (local.get 1)))
        (func (export "dot add") (param v128 v128 v128) (result v128)
            (i32x4.relaxed_dot_i8x16_i7x16_add_s (local.get 0) (local.get 1) (local.get 2))))"#;
    let f32s =
        [0.0_f32, -0.0, 1.5, -1e30, f32::INFINITY, f32::from_bits(0x7fa1_2345), f32::from_bits(0xffc0_0001), 3e9];
    let f64s = f32s.map(f64::from);
    let mut vectors: Vec<u128> =
        vec![0, u128::MAX, 1 << 127, u128::from_le_bytes([0x80; 16]), u128::from_le_bytes([17; 16])];
    vectors.extend(f32s.map(|x| u128::from_le_bytes([x.to_le_bytes(); 4].concat().try_into().expect("sixteen bytes"))));
    vectors.extend(f64s.map(|x| u128::from_le_bytes([x.to_le_bytes(); 2].concat().try_into().expect("sixteen bytes"))));
    let values = agree(|engine| {
        let (mut store, instance) = common::instantiate(engine, wat);
        store.set_fuel(1 << 40).expect("fuel is on");
        let mut seen = Vec::new();
        for export in module_exports(engine, wat) {
            let ty = instance.get_func(&store, &export).expect("exported").ty(&store);
            for first in 0..vectors.len() {
                for second in 0..vectors.len() {
                    let choose = |at: usize| (first + second * at) % vectors.len();
                    let args = ty.params().iter().enumerate().map(|(at, ty)| match ty {
                        aura_runtime::ValType::F32 => Val::F32(f32s[choose(at) % f32s.len()].to_bits()),
                        aura_runtime::ValType::F64 => Val::F64(f64s[choose(at) % f64s.len()].to_bits()),
                        _ => Val::V128(vectors[choose(at)]),
                    });
                    let args: Vec<Val> = args.collect();
                    seen.push(call(&mut store, instance, &export, &args));
                }
            }
        }
        seen
    });
    assert!(values.contains(&Ok(vec![0x7fc0_0000])) && values.contains(&Ok(vec![0x7ff8_0000_0000_0000])));
    assert!(!values.contains(&Ok(vec![0xffc0_0000])), "a NaN that was computed is positive");
}

fn module_exports(engine: &Engine, wat: &str) -> Vec<String> {
    let module = Module::new(engine, wat).expect("valid");
    module.exports().map(|export| export.name().to_owned()).collect()
}
