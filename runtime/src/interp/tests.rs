use std::sync::atomic::Ordering;

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmFuncEntry};

use crate::testing::World;
use crate::tier;

/// Calls `export` of one module and returns its first result.
fn one(wat: &str, export: &str, args: &[u64]) -> Result<u64, TrapCode> {
    let mut world = World::new();
    let instance = world.instantiate(wat, &[]);
    world.call(instance, export, args).map(|results| results[0])
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
    let mut world = World::new();
    let wat = r#"(module
        (func $f (export "f") (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1)))
        (func $g (export "g") (call $g))
        (func (export "two") (result i32 i64) (i32.const 2) (i64.const 3)))"#;
    let instance = world.instantiate(wat, &[]);
    for _ in 0..3 {
        assert_eq!(world.call(instance, "f", &[1]), Err(TrapCode::StackOverflow));
        assert_eq!(world.call(instance, "g", &[]), Err(TrapCode::StackOverflow));
        assert_eq!(world.data.interp.depth(), 0);
        assert_eq!(world.call(instance, "two", &[]).map(|r| (r[0] as u32, r[1])), Ok((2, 3)));
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
    let mut world = World::new();
    let i = world.instantiate(wat, &[]);
    let outside = Err(TrapCode::MemoryOutOfBounds);
    // Whatever a caller leaves in the upper half of an i32's slot is not part of the address.
    for dirt in [0, 0xdead_beef_0000_0000] {
        assert!(world.call(i, "load", &[dirt | (65536 - 16)]).is_ok());
        for address in [65536 - 15, 65536, 1 << 31, u64::from(u32::MAX)] {
            assert_eq!(world.call(i, "load", &[dirt | address]), outside);
        }
        for address in [0, 1, u64::from(u32::MAX)] {
            assert_eq!(world.call(i, "far", &[dirt | address]), outside);
        }
    }
    assert_eq!(world.call(i, "store", &[65535, 7]), outside);
    assert!(world.call(i, "store", &[65534, 0x1_2345]).is_ok());
    assert_eq!(world.call(i, "vector", &[65520]).map(|r| r[1]), Ok(0x2345_0000_0000_0000));
    assert_eq!(world.call(i, "vector", &[65521]), outside);
    assert_eq!(world.call(i, "lane", &[65533]), outside);
    assert!(world.call(i, "lane", &[65520]).is_ok());
    assert_eq!(world.call(i, "vector", &[65520]).map(|r| r[0]), Ok(2));
    assert_eq!(world.call(i, "grow", &[2]).map(|r| r[0] as u32), Ok(u32::MAX));
    assert_eq!(world.call(i, "grow", &[1]).map(|r| r[0] as u32), Ok(1));
    assert_eq!(world.call(i, "size", &[]).map(|r| r[0] as u32), Ok(2));
    assert!(world.call(i, "load", &[65536]).is_ok());
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
    let mut world = World::new();
    let first = world.instantiate(
        r#"(module (memory 1) (global $n (mut i32) (i32.const 5))
            (func (export "next") (param i32 externref v128) (result v128 externref i32)
                (global.set $n (i32.add (global.get $n) (local.get 0)))
                (i32.store8 (i32.const 0) (global.get $n))
                (local.get 2) (local.get 1) (i32.load8_u (i32.const 0))))"#,
        &[],
    );
    let next = world.func(first, "next");
    let second = world.instantiate(
        r#"(module (import "a" "next" (func $next (param i32 externref v128) (result v128 externref i32)))
            (memory 2) (data "\09")
            (func (export "f") (param i32 externref) (result i64 externref i32 i32)
                (local $v v128) (local $r externref) (local $i i32)
                (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1))
                (call $next (local.get 0) (local.get 1) (v128.const i64x2 11 22))
                (local.set $i) (local.set $r) (local.set $v)
                (i64x2.extract_lane 1 (local.get $v)) (local.get $r) (local.get $i)
                (i32.load8_u (i32.const 0))))"#,
        &[next],
    );
    assert_eq!(world.call(second, "f", &[3, 77]), Ok([22, 77, 8, 9]));
    assert_eq!(world.call(second, "f", &[1, 0]), Ok([22, 0, 9, 9]));
}

extern "C" fn double(_: *mut VmCtx, _: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: the slot array has one parameter and one result.
    unsafe { *slots *= 2 };
    Status::Ok
}

#[test]
fn what_is_not_interpreted_is_called_through_its_entry_word() {
    let mut world = World::new();
    let host = world.host(double);
    let wat = r#"(module (import "h" "double" (func $double (param i64) (result i64)))
        (func (export "f") (param i64) (result i64)
            (i64.add (call $double (local.get 0)) (call $double (i64.const 100)))))"#;
    let instance = world.instantiate(wat, &[host]);
    assert_eq!(world.call(instance, "f", &[21]).map(|r| r[0]), Ok(242));
}

thread_local! {
    static CALLBACK: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

extern "C" fn call_back(_: *mut VmCtx, _: *const VmFuncEntry, slots: *mut u64) -> Status {
    let func = std::ptr::with_exposed_provenance::<aura_host_abi::vm::VmFuncRef>(CALLBACK.get());
    // SAFETY: the test put a live function there.
    let (entry, vmctx) = unsafe { ((*func).entry, (*func).vmctx) };
    // SAFETY: it takes and gives one value.
    unsafe { tier::call_slots(vmctx, entry, slots) }
}

#[test]
fn host_functions_may_call_back() {
    let mut world = World::new();
    let host = world.host(call_back);
    let wat = r#"(module (import "h" "back" (func $back (param i64) (result i64)))
        (func (export "sum") (param i64) (result i64) (local $keep i64)
            (if (i64.eqz (local.get 0)) (then (return (i64.const 0))))
            (local.set $keep (i64.mul (local.get 0) (i64.const 10)))
            (i64.add (call $back (i64.sub (local.get 0) (i64.const 1))) (local.get $keep)))
        (func (export "fail") (param i64) (result i64)
            (if (i64.eqz (local.get 0)) (then unreachable))
            (call $back (i64.sub (local.get 0) (i64.const 1)))))"#;
    let instance = world.instantiate(wat, &[host]);
    CALLBACK.set(world.func(instance, "sum").expose_provenance());
    assert_eq!(world.call(instance, "sum", &[4]).map(|r| r[0]), Ok(100));
    CALLBACK.set(world.func(instance, "fail").expose_provenance());
    assert_eq!(world.call(instance, "fail", &[3]), Err(TrapCode::Unreachable));
    assert_eq!(world.data.frames.iter().map(|frame| frame.0).collect::<Vec<_>>(), [2, 2, 2, 2]);
    let offsets: Vec<_> = world.data.frames.iter().map(|frame| frame.1).collect();
    assert!(offsets[0] != offsets[1] && offsets[1] == offsets[2], "{offsets:?}");
    assert_eq!(world.data.interp.depth(), 0);
}

#[test]
fn interrupts_end_loops_calls_and_entries() {
    let mut world = World::new();
    let wat = r#"(module
        (func (export "spin") (loop (br 0)))
        (func $f (export "entry") (nop)))"#;
    let instance = world.instantiate(wat, &[]);
    world.store.stack_limit.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(world.call(instance, "entry", &[]), Err(TrapCode::Interrupted));
    world.store.stack_limit.store(0, Ordering::Relaxed);
    assert!(world.call(instance, "entry", &[]).is_ok());
    let limit = std::ptr::from_ref(&world.store.stack_limit).expose_provenance();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        // SAFETY: the world outlives this thread, which is joined below.
        unsafe { &*std::ptr::with_exposed_provenance::<std::sync::atomic::AtomicUsize>(limit) }
            .store(usize::MAX, Ordering::Relaxed);
    });
    assert_eq!(world.call(instance, "spin", &[]), Err(TrapCode::Interrupted));
    stopper.join().expect("stopper");
}

#[test]
fn fuel_is_charged_by_blocks_and_ends_loops() {
    let mut world = World::new();
    world.fuel = true;
    let instance = world.instantiate(r#"(module (func (export "spin") (loop (br 0))) (func (export "f") (nop)))"#, &[]);
    *world.store.fuel.get_mut() = 1000;
    assert_eq!(world.call(instance, "spin", &[]), Err(TrapCode::OutOfFuel));
    assert!(*world.store.fuel.get_mut() < 0);
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
        (func (export "fill") (param i32 externref i32) (table.fill $t (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy") (param i32 i32 i32) (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)))
        (func (export "fresh") (result externref) (local externref) (local.get 0))
        (func (export "func") (result i32)
            (table.set $f (i32.const 0) (ref.func $g)) (call_indirect $f (result i32) (i32.const 0))))"#;
    let mut world = World::new();
    let i = world.instantiate(wat, &[]);
    let outside = Err(TrapCode::TableOutOfBounds);
    assert!(world.call(i, "set", &[1, 9]).is_ok());
    assert_eq!(world.call(i, "set", &[2, 9]), outside);
    assert_eq!(world.call(i, "get", &[1]).map(|r| r[0]), Ok(9));
    assert_eq!(world.call(i, "get", &[u64::from(u32::MAX)]), outside);
    assert_eq!(world.call(i, "null", &[0xdead << 32]).map(|r| r[0]), Ok(1));
    assert_eq!(world.call(i, "null", &[5]).map(|r| r[0]), Ok(0));
    assert_eq!(world.call(i, "grow", &[2, 6]).map(|r| (r[0] as u32, r[1] as u32)), Ok((2, 4)));
    assert_eq!(world.call(i, "grow", &[2, 6]).map(|r| (r[0] as u32, r[1] as u32)), Ok((u32::MAX, 4)));
    assert!(world.call(i, "fill", &[1, 3, 2]).is_ok());
    assert!(world.call(i, "copy", &[0, 1, 3]).is_ok());
    let all: Vec<_> = (0..4).map(|n| world.call(i, "get", &[n]).expect("inside")[0]).collect();
    assert_eq!(all, [3, 3, 6, 6]);
    assert_eq!(world.call(i, "fill", &[4, 3, 1]), outside);
    assert_eq!(world.call(i, "func", &[]).map(|r| r[0]), Ok(42));
    assert_eq!(world.call(i, "fresh", &[]).map(|r| r[0]), Ok(0));
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
        (func (export "neg") (param f64) (result f64) (f64.neg (local.get 0))))"#;
    let odd = 0xffc0_1234;
    for (canonical, expected) in [(true, 0x7fc0_0000), (false, odd)] {
        let mut world = World::new();
        world.data.interp.canonical_nans = canonical;
        let i = world.instantiate(wat, &[]);
        assert_eq!(world.call(i, "add", &[odd, 0]).map(|r| r[0]), Ok(expected));
        assert_eq!(world.call(i, "neg", &[0x7ff8_0000_0000_0001]).map(|r| r[0]), Ok(0xfff8_0000_0000_0001));
    }
}
