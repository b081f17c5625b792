//! The interpreter by what it computes; what holds on every tier is tried on each.

use std::time::Duration;

use super::testing::World;
use crate::{Caller, Config, Extern, Func, TrapCode};

/// Calls `export` of one module on each tier and returns its first result, which must agree.
fn one(wat: &str, export: &str, args: &[u64]) -> Result<u64, TrapCode> {
    let results: Vec<_> = World::each()
        .map(|mut world| {
            let instance = world.instantiate(wat, &[]);
            world.one(instance, export, args)
        })
        .collect();
    assert!(results.iter().all(|result| *result == results[0]), "{export}: {results:x?}");
    results[0]
}

const FAC: &str = r#"(module
    (func $fac (export "rec") (param i64) (result i64)
        (if (result i64) (i64.eqz (local.get 0))
            (then (i64.const 1))
            (else (i64.mul (local.get 0) (call $fac (i64.sub (local.get 0) (i64.const 1)))))))
    (func (export "loop") (param $n i64) (result i64) (local $x i64)
        (local.set $x (i64.const 1))
        (block $done (loop $again
            (br_if $done (i64.eqz (local.get $n)))
            (local.set $x (i64.mul (local.get $x) (local.get $n)))
            (local.set $n (i64.sub (local.get $n) (i64.const 1)))
            (br $again)))
        (local.get $x)))"#;

#[test]
fn factorials_by_recursion_and_loop() {
    for export in ["rec", "loop"] {
        assert_eq!(one(FAC, export, &[20]), Ok(2_432_902_008_176_640_000));
        assert_eq!(one(FAC, export, &[0]), Ok(1));
    }
}

#[test]
fn endless_recursion_exhausts_the_stack_and_leaves_it_clean() {
    let wat = r#"(module
        (func $f (export "f") (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1)))
        (func $g (export "g") (call $g))
        (func (export "two") (result i32 i64) (i32.const 2) (i64.const 3)))"#;
    for mut world in World::each() {
        let instance = world.instantiate(wat, &[]);
        for _ in 0..3 {
            assert_eq!(world.call(instance, "f", &[1]), Err(TrapCode::StackOverflow));
            assert_eq!(world.call(instance, "g", &[]), Err(TrapCode::StackOverflow));
            assert_eq!(world.data().interp.depth(), 0);
            assert_eq!(world.call(instance, "two", &[]).map(|r| (r[0] as u32, r[1])), Ok((2, 3)));
        }
    }
}

#[test]
fn c12_memory_accesses_are_checked_whatever_the_address() {
    let wat = r#"(module (memory 1 2)
        (func (export "load") (param i32) (result i64) (i64.load offset=8 (local.get 0)))
        (func (export "far") (param i32) (result i32) (i32.load8_u offset=0xffffffff (local.get 0)))
        (func (export "store") (param i32 i32) (i32.store16 (local.get 0) (local.get 1)))
        (func (export "vector") (param i32) (result v128) (v128.load (local.get 0)))
        (func (export "lane") (param i32) (v128.store32_lane 1 (local.get 0) (v128.const i32x4 1 2 3 4)))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "size") (result i32) (memory.size)))"#;
    let outside = Err(TrapCode::MemoryOutOfBounds);
    for mut world in World::each() {
        let i = world.instantiate(wat, &[]);
        // Whatever a caller leaves in the upper half of an i32's slot is not part of the address.
        for dirt in [0, 0xdead_beef_0000_0000] {
            assert_eq!(world.one(i, "load", &[dirt | (65536 - 16)]), Ok(0));
            for address in [65536 - 15, 65536, 1 << 31, u64::from(u32::MAX)] {
                assert_eq!(world.one(i, "load", &[dirt | address]), outside);
            }
            for address in [0, 1, u64::from(u32::MAX)] {
                assert_eq!(world.one(i, "far", &[dirt | address]), outside);
            }
        }
        assert_eq!(world.one(i, "store", &[65535, 7]), outside);
        world.call(i, "store", &[65534, 0x1_2345]).expect("inside");
        assert_eq!(world.call(i, "vector", &[65520]).map(|r| r[1]), Ok(0x2345_0000_0000_0000));
        assert_eq!(world.one(i, "vector", &[65521]), outside);
        assert_eq!(world.one(i, "lane", &[65533]), outside);
        world.call(i, "lane", &[65520]).expect("inside");
        assert_eq!(world.one(i, "vector", &[65520]), Ok(0x2));
        assert_eq!(world.one(i, "grow", &[2]).map(|r| r as u32), Ok(u32::MAX));
        assert_eq!(world.one(i, "grow", &[1]).map(|r| r as u32), Ok(1));
        assert_eq!(world.one(i, "size", &[]).map(|r| r as u32), Ok(2));
        assert_eq!(world.one(i, "load", &[65536]), Ok(0));
    }
}

#[test]
fn a_module_without_memory_runs() {
    assert_eq!(one(r#"(module (func (export "f") (result i32) (i32.const 7)))"#, "f", &[]), Ok(7));
}

#[test]
fn indirect_calls_check_index_null_and_type() {
    let wat = r#"(module
        (type $bin (func (param i32 i32) (result i32)))
        (table 4 funcref)
        (elem (i32.const 0) $add $sub $other)
        (func $add (type $bin) (i32.add (local.get 0) (local.get 1)))
        (func $sub (type $bin) (i32.sub (local.get 0) (local.get 1)))
        (func $other)
        (func (export "call") (param i32) (result i32)
            (call_indirect (type $bin) (i32.const 7) (i32.const 3) (local.get 0))))"#;
    for (index, expected) in [
        (0, Ok(10)),
        (1, Ok(4)),
        (2, Err(TrapCode::IndirectCallTypeMismatch)),
        (3, Err(TrapCode::UninitializedElement)),
        (4, Err(TrapCode::UndefinedElement)),
        (u64::from(u32::MAX), Err(TrapCode::UndefinedElement)),
    ] {
        assert_eq!(one(wat, "call", &[index]), expected, "{index}");
    }
}

#[test]
fn instances_call_each_other_on_one_stack() {
    let callee = r#"(module (memory 1) (global $n (mut i32) (i32.const 5))
        (func (export "next") (param i32 externref v128) (result v128 externref i32)
            (global.set $n (i32.add (global.get $n) (local.get 0)))
            (i32.store8 (i32.const 0) (global.get $n))
            (local.get 2) (local.get 1) (i32.load8_u (i32.const 0))))"#;
    let caller = r#"(module (import "a" "next" (func $next (param i32 externref v128) (result v128 externref i32)))
        (memory 2) (data "\09")
        (func (export "f") (param i32 externref) (result i64 externref i32 i32)
            (local $v v128) (local $r externref) (local $i i32)
            (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1))
            (call $next (local.get 0) (local.get 1) (v128.const i64x2 11 22))
            (local.set $i) (local.set $r) (local.set $v)
            (i64x2.extract_lane 1 (local.get $v)) (local.get $r) (local.get $i)
            (i32.load8_u (i32.const 0))))"#;
    for mut world in World::each() {
        let first = world.instantiate(callee, &[]);
        let next = world.func(first, "next");
        let second = world.instantiate(caller, &[Extern::Func(next)]);
        assert_eq!(world.call(second, "f", &[3, 77]), Ok([22, 77, 8, 9]));
        assert_eq!(world.call(second, "f", &[1, 0]), Ok([22, 0, 9, 9]));
    }
}

#[test]
fn what_is_not_interpreted_is_called_through_its_entry_word() {
    let wat = r#"(module (import "h" "double" (func $double (param i64) (result i64)))
        (func (export "f") (param i64) (result i64)
            (i64.add (call $double (local.get 0)) (call $double (i64.const 100)))))"#;
    for mut world in World::each() {
        let double = Func::wrap(&mut world.store, |x: i64| x * 2);
        let instance = world.instantiate(wat, &[Extern::Func(double)]);
        assert_eq!(world.one(instance, "f", &[21]), Ok(242));
    }
}

/// A host function that calls the function in the store's data.
fn call_back(mut caller: Caller<'_, Option<Func>>, x: i64) -> crate::Result<i64> {
    let func = caller.data().expect("a function to call");
    func.typed::<i64, i64>(&caller)?.call(&mut caller, x)
}

const CALLS_BACK: &str = r#"(module (import "h" "back" (func $back (param i64) (result i64)))
    (func $sum (export "sum") (param i64) (result i64) (local $keep i64)
        (if (i64.eqz (local.get 0)) (then (return (i64.const 0))))
        (local.set $keep (i64.mul (local.get 0) (i64.const 10)))
        (i64.add (call $back (i64.sub (local.get 0) (i64.const 1))) (local.get $keep)))
    (func $fail (export "fail") (param i64) (result i64)
        (if (i64.eqz (local.get 0)) (then unreachable))
        (call $back (i64.sub (local.get 0) (i64.const 1)))))"#;

#[test]
fn host_functions_may_call_back() {
    for mut world in World::each() {
        let back = Func::wrap(&mut world.store, call_back);
        let instance = world.instantiate(CALLS_BACK, &[Extern::Func(back)]);
        *world.store.data_mut() = Some(world.func(instance, "sum"));
        assert_eq!(world.one(instance, "sum", &[4]), Ok(100));
    }
}

#[test]
fn backtraces_reach_through_host_functions() {
    for mut world in World::each() {
        let back = Func::wrap(&mut world.store, call_back);
        let instance = world.instantiate(CALLS_BACK, &[Extern::Func(back)]);
        *world.store.data_mut() = Some(world.func(instance, "fail"));
        let error = world.try_call(instance, "fail", &[3]).expect_err("unreachable");
        let frames = error.trap().expect("a trap").frames();
        assert_eq!(frames.iter().map(|frame| frame.func_index).collect::<Vec<_>>(), [2; 4], "{error}");
        let offsets: Vec<_> = frames.iter().map(|frame| frame.module_offset.expect("a place")).collect();
        assert!(offsets[0] < offsets[1] && offsets[1..] == [offsets[1]; 3], "{error}");
        assert_eq!(world.data().interp.depth(), 0);
    }
}

#[test]
fn d12_interrupts_end_loops_and_calls() {
    let wat = r#"(module
        (func (export "spin") (loop (br 0)))
        (func $call (export "calls") (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
            (i32.or (call $call (i32.sub (local.get 0) (i32.const 1)))
                (call $call (i32.sub (local.get 0) (i32.const 1))))))"#;
    for mut world in World::each() {
        let instance = world.instantiate(wat, &[]);
        for (export, arg) in [("spin", None), ("calls", Some(60))] {
            let handle = world.store.interrupt_handle();
            let stopper = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                handle.interrupt();
            });
            assert_eq!(world.one(instance, export, arg.as_slice()), Err(TrapCode::Interrupted));
            stopper.join().expect("stopper");
        }
        assert_eq!(world.one(instance, "calls", &[0]), Ok(0), "an interrupt ends one call");
    }
}

#[test]
fn fuel_ends_loops_at_the_same_count_on_every_tier() {
    let wat = r#"(module (func (export "spin") (loop (br 0)))
        (func (export "count") (param i32)
            (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
    let left: Vec<_> = [crate::Strategy::Interpreter, crate::Strategy::Jit]
        .into_iter()
        .map(|strategy| {
            let mut world = World::new(|config| {
                config.strategy(strategy).consume_fuel(true);
            });
            let instance = world.instantiate(wat, &[]);
            world.store.set_fuel(1000).expect("fuel");
            world.call(instance, "count", &[10]).expect("enough");
            let left = world.store.get_fuel().expect("fuel");
            assert_eq!(world.one(instance, "spin", &[]), Err(TrapCode::OutOfFuel));
            left
        })
        .collect();
    assert!(left[0] < 1000 && left[0] == left[1], "{left:?}");
}

#[test]
fn tables_and_references() {
    let wat = r#"(module (table $t 2 5 externref) (table $f 1 funcref) (elem declare func $g)
        (func $g (export "g") (result i32) (i32.const 42))
        (func (export "set") (param i32 externref) (table.set $t (local.get 0) (local.get 1)))
        (func (export "get") (param i32) (result externref) (table.get $t (local.get 0)))
        (func (export "null") (param externref) (result i32) (ref.is_null (local.get 0)))
        (func (export "grow") (param i32 externref) (result i32 i32)
            (table.grow $t (local.get 1) (local.get 0)) (table.size $t))
        (func (export "fresh") (result externref) (local externref) (local.get 0))
        (func (export "func") (result i32)
            (table.set $f (i32.const 0) (ref.func $g)) (call_indirect $f (result i32) (i32.const 0))))"#;
    let outside = Err(TrapCode::TableOutOfBounds);
    for mut world in World::each() {
        let i = world.instantiate(wat, &[]);
        world.call(i, "set", &[1, 9]).expect("inside");
        assert_eq!(world.one(i, "set", &[2, 9]), outside);
        assert_eq!(world.one(i, "get", &[1]).map(|r| r as u32), Ok(9));
        assert_eq!(world.one(i, "get", &[u64::from(u32::MAX)]), outside);
        // Only 32 bits of the slot are the reference.
        assert_eq!(world.one(i, "null", &[0xdead << 32]).map(|r| r as u32), Ok(1));
        assert_eq!(world.one(i, "null", &[5]).map(|r| r as u32), Ok(0));
        assert_eq!(world.call(i, "grow", &[2, 6]).map(|r| (r[0] as u32, r[1] as u32)), Ok((2, 4)));
        assert_eq!(world.call(i, "grow", &[2, 6]).map(|r| (r[0] as u32, r[1] as u32)), Ok((u32::MAX, 4)));
        assert_eq!(world.one(i, "get", &[3]).map(|r| r as u32), Ok(6));
        assert_eq!(world.one(i, "func", &[]).map(|r| r as u32), Ok(42));
        assert_eq!(world.one(i, "fresh", &[]).map(|r| r as u32), Ok(0));
    }
}

#[test]
fn numeric_traps_and_branches() {
    let wat = r#"(module
        (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
        (func (export "trunc") (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
        (func (export "table") (param i32) (result i32)
            (block (block (block (br_table 0 1 2 (local.get 0))) (return (i32.const 10))) (return (i32.const 11)))
            (i32.const 12))
        (func (export "select") (param i32) (result v128)
            (select (v128.const i64x2 1 2) (v128.const i64x2 3 4) (local.get 0)))
        (func (export "shuffle") (result v128)
            (i8x16.shuffle 16 1 2 3 4 5 6 7 0 0 0 0 0 0 0 31
                (v128.const i64x2 0x0706050403020100 0) (v128.const i64x2 0xaa 0xbb00000000000000))))"#;
    assert_eq!(one(wat, "div", &[7, 0]), Err(TrapCode::IntegerDivideByZero));
    assert_eq!(one(wat, "div", &[1 << 31, u64::from(u32::MAX)]), Err(TrapCode::IntegerOverflow));
    assert_eq!(one(wat, "div", &[u64::from(u32::MAX - 6), 2]).map(|r| r as i32), Ok(-3));
    assert_eq!(one(wat, "trunc", &[f64::NAN.to_bits()]), Err(TrapCode::InvalidConversionToInteger));
    assert_eq!(one(wat, "trunc", &[(-1.5_f64).to_bits()]).map(|r| r as i32), Ok(-1));
    for (index, result) in [(0, 10), (1, 11), (2, 12), (3, 12), (u64::from(u32::MAX), 12)] {
        assert_eq!(one(wat, "table", &[index]), Ok(result), "{index}");
    }
    assert_eq!(one(wat, "select", &[0]), Ok(3));
    assert_eq!(one(wat, "select", &[1]), Ok(1));
    assert_eq!(one(wat, "shuffle", &[]), Ok(0x0706_0504_0302_01aa));
}

#[test]
fn nans_are_canonical_on_request() {
    let wat = r#"(module
        (func (export "add") (param f32 f32) (result f32) (f32.add (local.get 0) (local.get 1)))
        (func (export "lanes") (param f64) (result v128)
            (f64x2.mul (f64x2.splat (local.get 0)) (v128.const f64x2 1 2)))
        (func (export "neg") (param f64) (result f64) (f64.neg (local.get 0))))"#;
    let (odd, odd64) = (0xffc0_1234, 0xfff8_0000_0000_1234);
    for strategy in [crate::Strategy::Interpreter, crate::Strategy::Jit] {
        let mut world = World::new(|config: &mut Config| {
            config.strategy(strategy).canonicalize_nans(true);
        });
        let i = world.instantiate(wat, &[]);
        assert_eq!(world.one(i, "add", &[odd, 0]).map(|r| r as u32), Ok(0x7fc0_0000));
        let lanes = world.call(i, "lanes", &[odd64]).expect("total");
        assert_eq!(lanes[..2], [0x7ff8_0000_0000_0000; 2]);
        assert_eq!(world.one(i, "neg", &[0x7ff8_0000_0000_0001]), Ok(0xfff8_0000_0000_0001));
    }
    let mut world = World::new(|_| ());
    let i = world.instantiate(wat, &[]);
    assert_eq!(world.one(i, "add", &[odd, 0]), Ok(odd), "the payload of the one NaN survives");
}

#[test]
fn an_access_adds_up_its_own_address() {
    let wat = r#"(module (memory 1) (data (i32.const 96) "\01\02\03\04\05\06\07\08\09\0a\0b\0c")
        (func (export "load") (param i32 i32) (result i32) (i32.load8_u offset=4 (i32.add (local.get 0) (local.get 1))))
        (func (export "wide") (param i32 i32) (result i64) (i64.load (i32.add (local.get 0) (local.get 1))))
        ;; A summand that is in an accumulator alone, on either side.
        (func (export "held") (param i64 i32) (result i32)
            (i32.sub (i32.load8_u (i32.add (i32.wrap_i64 (local.get 0)) (local.get 1)))
                (i32.load8_u offset=1 (i32.add (local.get 1) (i32.wrap_i64 (local.get 0))))))
        ;; The address of a store is summed before its value is computed, from a local that the value's computation changes.
        (func (export "changed") (param i32 i32) (result i32)
            (i32.store8 (i32.add (local.get 0) (local.get 1))
                (local.tee 0 (i32.load8_u offset=1 (i32.add (local.get 0) (local.get 1)))))
            (i32.load16_u (i32.add (i32.const 96) (local.get 1))))
        (func (export "store") (param i32 i32) (result i32)
            (i32.store16 offset=2 (i32.add (local.get 0) (local.get 1)) (i32.const 0x2211))
            (i32.store8 (i32.add (local.get 0) (local.get 1))
                (i32.add (i32.load8_u (i32.add (local.get 1) (local.get 0))) (i32.const 100)))
            (i32.load (i32.add (local.get 0) (local.get 1))))
        (func (export "mark") (param i64 i32) (result i32)
            (i32.store8 (i32.add (local.get 1) (i32.wrap_i64 (local.get 0))) (i32.const 77))
            (i32.load (i32.const 96)))
        ;; The sum is an address twice, and a value besides.
        (func (export "kept") (param i32 i32) (result i32) (local i32)
            (i32.load8_u (local.tee 2 (i32.add (local.get 0) (local.get 1))))
            (i32.load8_u offset=1 (local.get 2)) (i32.add) (local.get 2) (i32.add))
        (func (export "same") (param i32) (result i32) (i32.load8_u (i32.add (local.get 0) (local.get 0)))))"#;
    let outside = Err(TrapCode::MemoryOutOfBounds);
    let narrow = |result: Result<u64, TrapCode>| result.map(|bits| bits as u32);
    let dirt = 0xdead_beef_0000_0000;
    assert_eq!(narrow(one(wat, "load", &[dirt | 90, dirt | 6])), Ok(5));
    assert_eq!(narrow(one(wat, "load", &[u64::from(u32::MAX), 99])), Ok(7), "the sum wraps before the offset is added");
    assert_eq!(narrow(one(wat, "load", &[65531, 0])), Ok(0));
    assert_eq!(one(wat, "load", &[65531, 1]), outside);
    assert_eq!(one(wat, "load", &[1 << 31, (1 << 31) - 4]), outside);
    assert_eq!(one(wat, "wide", &[96, 4]), Ok(0x0c0b_0a09_0807_0605));
    assert_eq!(one(wat, "wide", &[65528, 1]), outside);
    assert_eq!(narrow(one(wat, "held", &[dirt | 90, 8])), Ok(u32::MAX));
    assert_eq!(narrow(one(wat, "changed", &[96, 0])), Ok(0x0202));
    assert_eq!(narrow(one(wat, "store", &[50, 50])), Ok(0x2211_0669));
    assert_eq!(one(wat, "store", &[65530, 3]), outside);
    assert_eq!(narrow(one(wat, "mark", &[dirt | 90, 7])), Ok(0x0403_4d01));
    assert_eq!(narrow(one(wat, "kept", &[90, 8])), Ok(3 + 4 + 98));
    assert_eq!(narrow(one(wat, "same", &[50])), Ok(5));
}

#[test]
fn cells_that_share_a_handler_trap_and_are_reached_each_alone() {
    let wat = r#"(module (memory 1) (global $sp (mut i32) (i32.const 64))
        (func $f (export "f") (param $a i32) (param $b i32) (param $c i32) (param $d i32) (result i32) (local $fp i32)
            (global.set $sp (local.tee $fp (i32.sub (global.get $sp) (i32.const 16))))
            (i32.store (local.get $a) (local.get $d))
            (i32.store (local.get $b) (i32.load (local.get $c)))
            (i32.store (local.get $fp) (i32.add (i32.load (local.get $a)) (i32.const 1)))
            (global.set $sp (i32.add (local.get $fp) (i32.const 16)))
            (i32.load (local.get $fp)))
        ;; A branch leads to the second of two stores.
        (func (export "twice") (param $a i32) (param $d i32) (result i32) (local $n i32)
            (i32.store (local.get $a) (local.get $d))
            (loop $again
                (i32.store offset=4 (local.get $a) (local.get $n))
                (local.set $n (i32.add (local.get $n) (i32.const 3)))
                (br_if $again (i32.lt_u (local.get $n) (local.get $d))))
            (i32.add (i32.mul (i32.load (local.get $a)) (i32.const 1000)) (i32.load offset=4 (local.get $a))))
        (func (export "pick") (param i32) (result i32)
            (select (i32.const -7) (i32.const 9) (i32.eqz (local.get 0))))
        (func (export "many") (param i32) (result i32) (local i32 i32 i32 i32 i32 i32)
            (local.set 3 (call $f (i32.const 8) (i32.const 16) (i32.const 8) (local.get 0)))
            (i32.add (i32.add (local.get 1) (local.get 3)) (i32.add (local.get 5) (local.get 6))))
        (func (export "at") (param i32) (result i32) (i32.load (local.get 0))))"#;
    let outside = 65533;
    for mut world in World::each() {
        let i = world.instantiate(wat, &[]);
        let at = |world: &mut World, address| world.one(i, "at", &[address]).expect("inside");
        assert_eq!(world.one(i, "f", &[0, 4, 0, 11]), Ok(12));
        assert_eq!([at(&mut world, 0), at(&mut world, 4), at(&mut world, 48)], [11, 11, 12]);
        assert_eq!(world.one(i, "f", &[outside, 4, 0, 22]), Err(TrapCode::MemoryOutOfBounds));
        assert_eq!([at(&mut world, 0), at(&mut world, 4)], [11, 11], "the first store failed");
        // What failed did not put the stack pointer back.
        assert_eq!(world.one(i, "f", &[0, 4, outside, 33]), Err(TrapCode::MemoryOutOfBounds));
        assert_eq!([at(&mut world, 0), at(&mut world, 4)], [33, 11], "the load failed");
        assert_eq!(world.one(i, "f", &[0, outside, 0, 44]), Err(TrapCode::MemoryOutOfBounds));
        assert_eq!([at(&mut world, 0), at(&mut world, 4)], [44, 11], "the second store failed");
        assert_eq!(world.one(i, "f", &[0, 4, 0, 55]), Ok(56));
        assert_eq!([at(&mut world, 0), at(&mut world, 4)], [56, 55], "its frame is at 0 by now");
        assert_eq!(world.one(i, "twice", &[8, 7]), Ok(7006));
        assert_eq!([world.one(i, "pick", &[0]), world.one(i, "pick", &[5])], [Ok(u64::from(-7_i32 as u32)), Ok(9)]);
        // Frames of the calls before lie where its locals are.
        assert_eq!(world.one(i, "many", &[70]), Ok(71));
    }
}
