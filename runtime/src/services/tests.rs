//! Services through guest code, on each tier.

use std::time::Duration;

use crate::interp::testing::World;
use crate::{Strategy, TrapCode};

const BULK: &str = r#"(module (memory (export "m") 1) (table $t 4 funcref) (table $e 4 externref)
    (data $d "\01\02\03\04") (elem $s func $f $f $f $f) (elem $x externref (ref.null extern))
    (func $f)
    (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init") (param i32 i32 i32) (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
    (func (export "drop") (data.drop $d) (elem.drop $s) (elem.drop $x))
    (func (export "t.fill") (param i32 i32) (table.fill $t (local.get 0) (ref.null func) (local.get 1)))
    (func (export "t.copy") (param i32 i32 i32) (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)))
    (func (export "t.init") (param i32 i32 i32) (table.init $t $s (local.get 0) (local.get 1) (local.get 2)))
    (func (export "e.init") (param i32 i32 i32) (table.init $e $x (local.get 0) (local.get 1) (local.get 2)))
    (func (export "null") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0))))
    (func (export "byte") (param i32) (result i32) (i32.load8_u (local.get 0))))"#;

/// Starts and lengths of ranges, as 32-bit numbers with dirt above them.
fn numbers(size: u64) -> impl Iterator<Item = (u64, u64)> + Clone {
    let edges = [0, 1, size - 1, size, size + 1, 1 << 31, u64::from(u32::MAX)];
    edges.into_iter().flat_map(move |start| edges.into_iter().map(move |len| (start, len)))
}

fn expected(inside: bool, code: TrapCode) -> Result<(), TrapCode> {
    if inside { Ok(()) } else { Err(code) }
}

#[test]
fn c12_memory_ranges_against_a_model() {
    const SIZE: u64 = 65536;
    for mut world in World::each() {
        let i = world.instantiate(BULK, &[]);
        for (start, len) in numbers(SIZE) {
            let inside = u128::from(start) + u128::from(len) <= u128::from(SIZE);
            let wanted = expected(inside, TrapCode::MemoryOutOfBounds);
            assert_eq!(world.call(i, "fill", &[start, 7, len]).map(drop), wanted, "fill {start:#x} {len:#x}");
            assert_eq!(world.call(i, "copy", &[start, 0, len]).map(drop), wanted, "copy to {start:#x} {len:#x}");
            assert_eq!(world.call(i, "copy", &[0, start, len]).map(drop), wanted, "copy from {start:#x} {len:#x}");
            let wanted = expected(inside && len <= 4, TrapCode::MemoryOutOfBounds);
            assert_eq!(world.call(i, "init", &[start, 0, len]).map(drop), wanted, "init {start:#x} {len:#x}");
        }
    }
}

#[test]
fn c12_table_and_segment_ranges_against_a_model() {
    for mut world in World::each() {
        let i = world.instantiate(BULK, &[]);
        for (start, len) in numbers(4) {
            let inside = u128::from(start) + u128::from(len) <= 4;
            let wanted = expected(inside, TrapCode::TableOutOfBounds);
            assert_eq!(world.call(i, "t.fill", &[start, len]).map(drop), wanted, "fill {start:#x} {len:#x}");
            assert_eq!(world.call(i, "t.copy", &[start, 0, len]).map(drop), wanted, "copy to {start:#x} {len:#x}");
            assert_eq!(world.call(i, "t.copy", &[0, start, len]).map(drop), wanted, "copy from {start:#x} {len:#x}");
            assert_eq!(world.call(i, "t.init", &[start, 0, len]).map(drop), wanted, "init {start:#x} {len:#x}");
            assert_eq!(world.call(i, "t.init", &[0, start, len]).map(drop), wanted, "init from {start:#x} {len:#x}");
            let wanted = expected(inside, TrapCode::MemoryOutOfBounds);
            assert_eq!(world.call(i, "init", &[0, start, len]).map(drop), wanted, "data from {start:#x} {len:#x}");
        }
    }
}

#[test]
fn d1_dropped_segments_are_empty() {
    for mut world in World::each() {
        let i = world.instantiate(BULK, &[]);
        world.call(i, "drop", &[]).expect("drop");
        world.call(i, "drop", &[]).expect("drop again");
        for (init, code) in [
            ("init", TrapCode::MemoryOutOfBounds),
            ("t.init", TrapCode::TableOutOfBounds),
            ("e.init", TrapCode::TableOutOfBounds),
        ] {
            assert_eq!(world.call(i, init, &[0, 0, 0]).map(drop), Ok(()), "{init} of nothing");
            assert_eq!(world.call(i, init, &[0, 0, 1]).map(drop), Err(code), "{init} of one");
            assert_eq!(world.call(i, init, &[0, 1, 0]).map(drop), Err(code), "{init} of nothing from one");
        }
    }
}

#[test]
fn active_segments_are_dropped_at_instantiation() {
    let wat = r#"(module (memory 1) (data $d (i32.const 0) "a")
        (func (export "f") (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))))"#;
    for mut world in World::each() {
        let i = world.instantiate(wat, &[]);
        assert_eq!(world.one(i, "f", &[]), Err(TrapCode::MemoryOutOfBounds));
    }
}

#[test]
fn copies_move_overlapping_bytes_as_a_whole() {
    for mut world in World::each() {
        let i = world.instantiate(BULK, &[]);
        let bytes =
            |world: &mut World| (0..6).map(|n| world.one(i, "byte", &[n]).expect("byte") as u8).collect::<Vec<_>>();
        world.call(i, "init", &[0, 0, 4]).expect("init");
        world.call(i, "copy", &[1, 0, 4]).expect("up");
        assert_eq!(bytes(&mut world), [1, 1, 2, 3, 4, 0]);
        world.call(i, "copy", &[0, 2, 4]).expect("down");
        assert_eq!(bytes(&mut world), [2, 3, 4, 0, 4, 0]);
        world.call(i, "t.init", &[1, 0, 1]).expect("init");
        world.call(i, "t.copy", &[2, 1, 2]).expect("up");
        let nulls: Vec<_> = (0..4).map(|n| world.one(i, "null", &[n]).expect("inside") as u32).collect();
        assert_eq!(nulls, [1, 0, 0, 1]);
    }
}

/// Copies across pieces, in both directions, equal what one move does.
#[test]
fn large_overlapping_copies_equal_one_move() {
    let wat = r#"(module (memory 64)
        (func (export "write") (param i32) (local $i i32)
            (loop (i32.store (local.get $i) (i32.mul (local.get $i) (i32.const 0x9e3779b1)))
                (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (local.get 0)))))
        (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
        (func (export "word") (param i32) (result i32) (i32.load (local.get 0))))"#;
    const LEN: u64 = (5 << 20) / 2;
    for (to, from) in [(0, 64 << 10), (64 << 10, 0), (1 << 20, 0), (0, 1 << 20)] {
        let mut world = World::new(|config| {
            config.strategy(Strategy::Jit);
        });
        let i = world.instantiate(wat, &[]);
        world.call(i, "write", &[from + LEN]).expect("write");
        world.call(i, "copy", &[to, from, LEN]).expect("copy");
        for at in (0..LEN).step_by(4096).chain([LEN - 4]) {
            let wanted = ((from + at) as u32).wrapping_mul(0x9e37_79b1);
            assert_eq!(world.one(i, "word", &[to + at]).map(|r| r as u32), Ok(wanted), "{to} {from} {at}");
        }
    }
}

const HUGE: &str = r#"(module (memory 65536) (table $t 4000000 funcref)
    (func (export "fill") (loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 0x40000000)) (br 0)))
    (func (export "once") (memory.fill (i32.const 0) (i32.const 0) (i32.const 0x100000)))
    (func (export "table") (loop (table.fill $t (i32.const 0) (ref.null func) (i32.const 4000000)) (br 0))))"#;

#[test]
fn d12_bulk_operations_are_interrupted_between_pieces() {
    for strategy in [Strategy::Interpreter, Strategy::Jit] {
        let mut world = World::new(|config| {
            config.strategy(strategy);
        });
        let i = world.instantiate(HUGE, &[]);
        for export in ["fill", "table"] {
            let begun = std::time::Instant::now();
            world.store.set_deadline(Duration::from_millis(20));
            assert_eq!(world.one(i, export, &[]), Err(TrapCode::Interrupted), "{export}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{export} took {:?}", begun.elapsed());
            world.store.clear_deadline();
        }
    }
}

#[test]
fn bulk_operations_are_charged_by_length() {
    for strategy in [Strategy::Interpreter, Strategy::Jit] {
        let mut world = World::new(|config| {
            config.strategy(strategy).consume_fuel(true);
        });
        let i = world.instantiate(HUGE, &[]);
        world.store.set_fuel(20_000).expect("fuel");
        world.call(i, "once", &[]).expect("enough for 1 MiB");
        let used = 20_000 - world.store.get_fuel().expect("fuel");
        assert!((16_384..16_484).contains(&used), "{used}");
        for export in ["fill", "table"] {
            world.store.set_fuel(20_000).expect("fuel");
            assert_eq!(world.one(i, export, &[]), Err(TrapCode::OutOfFuel), "{export}");
        }
    }
}

#[test]
fn growth_past_a_limit_answers_minus_one() {
    let wat = r#"(module (memory 1) (table $t 1 funcref)
        (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "table") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0))))"#;
    for mut world in World::each() {
        let limits = crate::StoreLimits { memory_bytes: 4 << 16, table_elements: 100, ..crate::StoreLimits::default() };
        world.store.set_limits(limits);
        let i = world.instantiate(wat, &[]);
        for (export, too_many, enough) in [("memory", 4, 3), ("table", 100, 99)] {
            for delta in [too_many, 1 << 31, u64::from(u32::MAX)] {
                assert_eq!(world.one(i, export, &[delta]).map(|r| r as u32), Ok(u32::MAX), "{export} {delta}");
            }
            assert_eq!(world.one(i, export, &[enough]).map(|r| r as u32), Ok(1), "{export}");
            assert_eq!(world.one(i, export, &[1]).map(|r| r as u32), Ok(u32::MAX), "{export}");
            assert_eq!(world.one(i, export, &[0]).map(|r| r as u32), Ok(enough as u32 + 1), "{export}");
        }
    }
}
