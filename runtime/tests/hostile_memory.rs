//! Accesses that have left other sandboxes: wrong extension, folded addresses, overflow of sums, wide
//! reads at the end. Each test is one row of the list of hostile inputs; what is expected is computed
//! here in integers that cannot overflow.

#[path = "common/bytes.rs"]
mod bytes;
mod common;
#[path = "common/outcome.rs"]
mod outcome;

use std::fmt::Write as _;

use aura_runtime::{Engine, ErrorKind, Instance, Linker, Memory, Module, Store, TrapCode, Val, inspect};
use bytes::{model_load, pattern};
use common::{engines, everywhere, instantiate};
use outcome::{Outcome, outcome};

const PAGE: u64 = 65536;

fn call(store: &mut Store<()>, instance: Instance, export: &str, args: &[u32]) -> Outcome {
    let func = instance.get_func(&*store, export).unwrap_or_else(|| panic!("{export} is exported"));
    let args: Vec<Val> = args.iter().map(|arg| Val::from(*arg)).collect();
    outcome(store, func, &args)
}

fn memory_of(store: &Store<()>, instance: Instance) -> Memory {
    instance.get_memory(store, "m").expect("the memory is exported")
}

/// An index that is spilled across a call and reloaded names the upper half of a memory of more than 2 GiB,
/// and not what lies below the memory.
#[test]
fn c1_spilled_index_is_zero_extended() {
    const LIVE: u32 = 40;
    let mut wat = String::from(
        "(module (memory (export \"m\") 32769) (func $clobber (param i32) (result i32) (local.get 0))
         (func (export \"f\") (param i32) (result i32) (local",
    );
    wat.push_str(&" i32".repeat(LIVE as usize));
    wat.push_str(") (local $sum i32)\n");
    for k in 0..LIVE {
        let _ = writeln!(wat, "(local.set {} (i32.add (local.get 0) (i32.const {})))", k + 1, 4 * k);
    }
    wat.push_str("(local.set $sum (call $clobber (i32.const 0)))\n");
    for k in 0..LIVE {
        let _ = writeln!(
            wat,
            "(local.set $sum (call $clobber (i32.add (i32.mul (local.get $sum) (i32.const 31)) (i32.load (local.get {})))))",
            k + 1
        );
    }
    wat.push_str("(local.get $sum)))");
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        let memory = memory_of(&store, instance);
        for base in [0, (1 << 31) - 64, 1 << 31, (1 << 31) + PAGE as u32 - 4 * LIVE] {
            let mut expected = 0_u32;
            for k in 0..LIVE {
                let word = base.rotate_left(k) ^ k.wrapping_mul(0x9e37_79b9);
                memory.write(&mut store, (base + 4 * k) as usize, &word.to_le_bytes()).expect(name);
                expected = expected.wrapping_mul(31).wrapping_add(word);
            }
            assert_eq!(call(&mut store, instance, "f", &[base]), Ok(vec![expected.into()]), "{name} {base:#x}");
        }
        for base in [(1 << 31) + PAGE as u32 - 4 * LIVE + 1, 3 << 30, u32::MAX - 4 * LIVE, u32::MAX - 3] {
            let expected = Err(TrapCode::MemoryOutOfBounds);
            assert_eq!(call(&mut store, instance, "f", &[base]), expected, "{name} {base:#x}");
        }
    });
}

/// An address computed by a shift, a product or a sum of 32 bits stays one of 32 bits however it is folded.
/// The same sweep is the one for architectures that scale registers in addresses.
#[test]
fn c2_c3_shifted_index_is_not_wider_than_32_bits() {
    let offsets = [0_u32, 1, 4, 60_000, PAGE as u32 - 4, PAGE as u32, 1 << 31, u32::MAX - 3, u32::MAX];
    let mut wat = String::from("(module (memory (export \"m\") 1)\n");
    for k in 0..=4_u32 {
        for offset in offsets {
            let forms = [
                ("shl", format!("(i32.shl (local.get 0) (i32.const {k}))")),
                ("mul", format!("(i32.mul (local.get 0) (i32.const {}))", 1 << k)),
                ("masked", format!("(i32.shl (local.get 0) (i32.const {}))", k + 32)),
                ("add", format!("(i32.add (i32.shl (local.get 0) (i32.const {k})) (local.get 0))")),
            ];
            for (form, address) in forms {
                let _ = writeln!(
                    wat,
                    "(func (export \"{form} {k} {offset}\") (param i32) (result i32) (i32.load offset={offset} {address}))"
                );
            }
        }
    }
    wat.push(')');
    let mut indices = vec![0, 1, 3, 4095, 16384, 65532, 65535, 65536];
    indices.extend((26..32).flat_map(|bit| [(1_u32 << bit) - 1, 1 << bit, (1 << bit) + 1]));
    indices.extend([u32::MAX, u32::MAX - 1, 0xffff_fffc, 0xf000_0001]);
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        let bytes = pattern(PAGE);
        memory_of(&store, instance).write(&mut store, 0, &bytes).expect(name);
        for k in 0..=4 {
            for offset in offsets {
                for x in &indices {
                    let shifted = x.wrapping_shl(k);
                    for (form, index) in
                        [("shl", shifted), ("mul", shifted), ("masked", shifted), ("add", shifted.wrapping_add(*x))]
                    {
                        let got = call(&mut store, instance, &format!("{form} {k} {offset}"), &[*x]);
                        assert_eq!(got, model_load(&bytes, index, offset, 4), "{name} {form} {x:#x} {k} {offset}");
                    }
                }
            }
        }
    });
}

/// Whatever the upper half of a register held, the index is the lower half.
#[test]
fn c4_upper_half_of_an_index_register_is_ignored() {
    let wat = r#"(module (import "h" "dirty" (func $dirty (param i64) (result i64))) (memory (export "m") 1)
        (func (export "wrap") (param i64) (result i32) (i32.load (i32.wrap_i64 (call $dirty (local.get 0)))))
        (func (export "store") (param i64) (i32.store8 (i32.wrap_i64 (call $dirty (local.get 0))) (i32.const 7)))
        (func (export "select") (param i64) (result i32)
            (i32.load (select (i32.wrap_i64 (call $dirty (local.get 0))) (i32.const 0) (i32.wrap_i64 (i64.const 1)))))
        (func (export "bulk") (param i64)
            (memory.fill (i32.wrap_i64 (call $dirty (local.get 0))) (i32.const 9) (i32.const 4)))
        (func (export "add") (param i64) (result i32)
            (i32.load (i32.add (i32.wrap_i64 (call $dirty (local.get 0))) (i32.const 4)))))"#;
    everywhere(|name, engine| {
        let module = Module::new(engine, wat).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker.func_wrap("h", "dirty", |x: i64| x).expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let memory = memory_of(&store, instance);
        for upper in [0_u64, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            for low in [0_u32, 8, 65532, 65533, 1 << 31, u32::MAX - 3, u32::MAX] {
                let bytes = pattern(PAGE);
                memory.write(&mut store, 0, &bytes).expect(name);
                let arg = [Val::I64((upper << 32 | u64::from(low)) as i64)];
                let mut run = |export: &str| {
                    let func = instance.get_func(&store, export).expect(name);
                    outcome(&mut store, func, &arg)
                };
                let what = format!("{name} {upper:#x} {low:#x}");
                assert_eq!(run("wrap"), model_load(&bytes, low, 0_u32, 4), "{what}");
                assert_eq!(run("select"), model_load(&bytes, low, 0_u32, 4), "{what}");
                assert_eq!(run("add"), model_load(&bytes, low.wrapping_add(4), 0_u32, 4), "{what}");
                assert_eq!(run("store"), model_load(&bytes, low, 0_u32, 1).map(|_| vec![]), "{what}");
                assert_eq!(run("bulk"), model_load(&bytes, low, 0_u32, 4).map(|_| vec![]), "{what}");
                if u64::from(low) + 4 <= PAGE {
                    assert_eq!(memory.data(&store)[low as usize..][..4], [9; 4], "{what}");
                }
            }
        }
    });
}

/// The -1 of a growth that failed is the address 2^32 - 1, and not one byte before the memory.
#[test]
fn c5_failure_values_of_services_are_addresses_outside() {
    let mut wat = String::from("(module (memory (export \"m\") 1 1) (table 1 1 funcref)\n");
    let fails = [
        ("table", "(table.grow (ref.null func) (i32.const 1))"),
        ("memory", "(memory.grow (i32.const 1))"),
        ("huge", "(memory.grow (i32.const -1))"),
    ];
    for (what, fail) in fails {
        for offset in 0..=16 {
            let _ = writeln!(
                wat,
                "(func (export \"load {what} {offset}\") (result i32) (i32.load8_u offset={offset} {fail}))
                 (func (export \"store {what} {offset}\") (i64.store offset={offset} {fail} (i64.const -1)))
                 (func (export \"value {what} {offset}\") (result i32) {fail})"
            );
        }
    }
    wat.push(')');
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        for (what, _) in fails {
            for offset in 0..=16 {
                for access in ["load", "store"] {
                    let got = call(&mut store, instance, &format!("{access} {what} {offset}"), &[]);
                    assert_eq!(got, Err(TrapCode::MemoryOutOfBounds), "{name} {access} {what} {offset}");
                }
                let got = call(&mut store, instance, &format!("value {what} {offset}"), &[]);
                assert_eq!(got, Ok(vec![u32::MAX.into()]), "{name} {what}");
            }
        }
        assert!(memory_of(&store, instance).data(&store).iter().all(|byte| *byte == 0), "{name}");
    });
}

fn refused(proposal: &str, wat: &str) {
    let off = |config: &mut aura_runtime::Config| {
        config.features(aura_runtime::Features::V2);
    };
    for (name, engine) in engines(off) {
        let error = Module::new(&engine, wat).expect_err(&name);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name} {wat}: {error}");
        assert!(error.to_string().contains(proposal), "{name} {wat}: {error}");
    }
}

/// Loads whose bytes end with the memory yield them and read no further; what follows can fold the load.
#[test]
fn c7_c8_folded_loads_read_no_further_than_the_memory() {
    let rows: &[(&str, usize, &str, &str)] = &[
        ("f32.add", 4, "f32", "(f32.add (f32.const 0) (f32.load A))"),
        ("f64.copysign", 8, "f64", "(f64.copysign (f64.const 1) (f64.load A))"),
        ("f32.copysign", 4, "f32", "(f32.copysign (f32.load A) (f32.const -1))"),
        ("f64.sqrt", 8, "f64", "(f64.sqrt (f64.load A))"),
        ("f64.abs", 8, "f64", "(f64.abs (f64.load A))"),
        ("f32.neg", 4, "f32", "(f32.neg (f32.load A))"),
        ("f64.promote", 4, "f64", "(f64.promote_f32 (f32.load A))"),
        ("f32.convert", 4, "f32", "(f32.convert_i32_s (i32.load A))"),
        ("f64.convert", 8, "f64", "(f64.convert_i64_s (i64.load A))"),
        ("f64x2.splat", 8, "v128", "(f64x2.splat (f64.load A))"),
        ("f32x4.splat", 4, "v128", "(f32x4.splat (f32.load A))"),
        ("i64x2.splat", 8, "v128", "(i64x2.splat (i64.load A))"),
        ("i32x4.splat", 4, "v128", "(i32x4.splat (i32.load A))"),
        ("i16x8.splat", 2, "v128", "(i16x8.splat (i32.load16_u A))"),
        ("i8x16.splat", 1, "v128", "(i8x16.splat (i32.load8_u A))"),
        ("load8_splat", 1, "v128", "(v128.load8_splat A)"),
        ("load16_splat", 2, "v128", "(v128.load16_splat A)"),
        ("load32_splat", 4, "v128", "(v128.load32_splat A)"),
        ("load64_splat", 8, "v128", "(v128.load64_splat A)"),
        ("load32_zero", 4, "v128", "(v128.load32_zero A)"),
        ("load64_zero", 8, "v128", "(v128.load64_zero A)"),
        ("load8x8_s", 8, "v128", "(v128.load8x8_s A)"),
        ("load16x4_u", 8, "v128", "(v128.load16x4_u A)"),
        ("load32x2_s", 8, "v128", "(v128.load32x2_s A)"),
        ("load8_lane", 1, "v128", "(v128.load8_lane 5 A (v128.const i64x2 1 2))"),
        ("load16_lane", 2, "v128", "(v128.load16_lane 7 A (v128.const i64x2 1 2))"),
        ("load32_lane", 4, "v128", "(v128.load32_lane 3 A (v128.const i64x2 1 2))"),
        ("load64_lane", 8, "v128", "(v128.load64_lane 1 A (v128.const i64x2 1 2))"),
        ("f64x2.replace", 8, "v128", "(f64x2.replace_lane 1 (v128.const i64x2 1 2) (f64.load A))"),
        ("f32x4.replace", 4, "v128", "(f32x4.replace_lane 1 (v128.const i64x2 1 2) (f32.load A))"),
        ("i8x16.replace", 1, "v128", "(i8x16.replace_lane 1 (v128.const i64x2 1 2) (i32.load8_u A))"),
        ("i16x8.extend", 16, "v128", "(i16x8.extend_low_i8x16_s (v128.load A))"),
        ("f64x2.promote", 16, "v128", "(f64x2.promote_low_f32x4 (v128.load A))"),
        ("i8x16.add", 16, "v128", "(i8x16.add (v128.const i64x2 1 2) (v128.load A))"),
        ("f64x2.add", 16, "v128", "(f64x2.add (v128.const i64x2 1 2) (v128.load A))"),
        ("v128.xor", 16, "v128", "(v128.xor (v128.const i64x2 1 2) (v128.load A))"),
        ("i32.add8", 1, "i32", "(i32.add (i32.const 3) (i32.load8_s A))"),
        ("i32.popcnt", 4, "i32", "(i32.popcnt (i32.load A))"),
        ("i64.add32", 4, "i64", "(i64.add (i64.const 3) (i64.load32_u A))"),
        ("i32.eq16", 2, "i32", "(i32.eq (i32.const 3) (i32.load16_u A))"),
    ];
    let mut wat = String::from("(module (memory (export \"m\") 1)\n");
    for (name, _, ty, body) in rows {
        let body = body.replace('A', "(local.get 0)");
        let _ = writeln!(wat, "(func (export \"{name}\") (param i32) (result {ty}) {body})");
    }
    wat.push(')');
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        let memory = memory_of(&store, instance);
        let bytes = pattern(PAGE);
        for (op, size, ..) in rows {
            let last = PAGE as usize - size;
            // The same bytes far from the end tell what is right there.
            memory.write(&mut store, 0, &bytes).expect(name);
            memory.write(&mut store, 64, &bytes[last..]).expect(name);
            let inside = call(&mut store, instance, op, &[64]);
            assert!(inside.is_ok(), "{name} {op}");
            assert_eq!(call(&mut store, instance, op, &[last as u32]), inside, "{name} {op}");
            for outside in [last as u32 + 1, PAGE as u32 - 1 + u32::from(*size == 1), PAGE as u32, u32::MAX] {
                let expected = Err(TrapCode::MemoryOutOfBounds);
                assert_eq!(call(&mut store, instance, op, &[outside]), expected, "{name} {op} {outside:#x}");
            }
        }
    });
}

/// A memory without pages has no byte, whatever its maximum is.
#[test]
fn c9_memory_of_no_pages_traps_at_every_access() {
    for limits in ["0", "0 0", "0 1"] {
        let wat = format!(
            r#"(module (memory (export "m") {limits}) (data $d "")
            (func (export "load8") (param i32) (drop (i32.load8_u (local.get 0))))
            (func (export "load64") (param i32) (drop (i64.load (local.get 0))))
            (func (export "v128") (param i32) (drop (v128.load (local.get 0))))
            (func (export "store8") (param i32) (i32.store8 (local.get 0) (i32.const 1)))
            (func (export "store_lane") (param i32) (v128.store8_lane 0 (local.get 0) (v128.const i64x2 0 0)))
            (func (export "far") (param i32) (drop (i32.load8_u offset=4294967295 (local.get 0))))
            (func (export "fill") (param i32 i32) (memory.fill (local.get 0) (i32.const 0) (local.get 1)))
            (func (export "copy") (param i32 i32) (memory.copy (local.get 0) (i32.const 0) (local.get 1)))
            (func (export "init") (param i32 i32) (memory.init $d (local.get 0) (i32.const 0) (local.get 1))))"#
        );
        everywhere(|name, engine| {
            let (mut store, instance) = instantiate(engine, &wat);
            let outside = Err(TrapCode::MemoryOutOfBounds);
            for address in [0, 1, 65535, 65536, 1 << 31, u32::MAX] {
                for op in ["load8", "load64", "v128", "store8", "store_lane", "far"] {
                    assert_eq!(call(&mut store, instance, op, &[address]), outside, "{name} {limits} {op} {address}");
                }
                for op in ["fill", "copy", "init"] {
                    let empty = if address == 0 { Ok(vec![]) } else { outside.clone() };
                    assert_eq!(call(&mut store, instance, op, &[address, 0]), empty, "{name} {op} {address}");
                    assert_eq!(call(&mut store, instance, op, &[address, 1]), outside, "{name} {op} {address}");
                }
            }
        });
    }
}

/// A function with more values than the compiler's budget is not compiled, and computes the same.
#[test]
fn c10_function_over_the_budget_is_interpreted() {
    const LOCALS: u32 = 20_000;
    const LOOPS: u32 = 400;
    let mut body = String::new();
    let mut expected = 1_u32;
    for turn in 0..LOOPS {
        let local = turn * (LOCALS / LOOPS);
        let _ = writeln!(
            body,
            "(loop (local.set {local} (i32.add (i32.mul (local.get 20000) (i32.const 31)) (i32.const {turn})))
             (local.set 20000 (local.get {local})) (br_if 0 (i32.eqz (i32.const 1))))"
        );
        expected = expected.wrapping_mul(31).wrapping_add(turn);
    }
    let locals = " i32".repeat(LOCALS as usize);
    let wat = format!(
        "(module (func (export \"f\") (result i32) (local{locals} i32)
            (local.set 20000 (i32.const 1)) {body} (local.get 20000)))"
    );
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        for _ in 0..3 {
            assert_eq!(call(&mut store, instance, "f", &[]), Ok(vec![expected.into()]), "{name}");
        }
        if !name.starts_with("Interpreter") {
            let refused = inspect::asm_text(&instance.module(&store), 0).expect_err(name);
            assert_eq!(refused.kind(), ErrorKind::Resource, "{name}");
            assert!(refused.to_string().contains("too large"), "{name}: {refused}");
        }
    });
}

/// Every index of a large `br_table` finds its own label.
#[test]
fn c11_large_br_tables_reach_every_label() {
    const LABELS: u32 = 1000;
    for targets in [1 << 10, 1 << 14, 1 << 16] {
        let mut wat = String::from("(module (func (export \"f\") (param i32) (result i32)\n");
        wat.push_str(&"(block ".repeat(LABELS as usize + 1));
        wat.push_str("(br_table");
        for index in 0..targets {
            let _ = write!(wat, " {}", index % LABELS);
        }
        let _ = write!(wat, " {LABELS} (local.get 0))");
        for label in 0..=LABELS {
            let _ = write!(wat, ") (return (i32.const {}))", label * 7 + 1);
        }
        wat.push_str("))");
        everywhere(|name, engine| {
            let (mut store, instance) = instantiate(engine, &wat);
            let ends = [0, targets / 2, targets - LABELS, targets - 2, targets - 1];
            let mut indices: Vec<u32> = (0..LABELS).chain((0..targets).step_by(997)).chain(ends).collect();
            indices.extend([targets, targets + 1, 1 << 31, u32::MAX]);
            for index in indices {
                let label = if index < targets { index % LABELS } else { LABELS };
                let got = call(&mut store, instance, "f", &[index]);
                assert_eq!(got, Ok(vec![(label * 7 + 1).into()]), "{name} {targets} {index}");
            }
        });
    }
    let too_many = format!("(module (func (br_table{} (i32.const 0))))", " 0".repeat((1 << 16) + 2));
    let error = Module::new(&Engine::default(), too_many).expect_err("passes the limit");
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

/// The addresses and lengths around which sums overflow.
fn edges(size: u64) -> Vec<u32> {
    let mut edges = vec![0, 1, 1 << 31, (1 << 31) - 1, u32::MAX, u32::MAX - 1];
    edges.extend([size - 1, size, size + 1].map(|x| x as u32));
    edges
}

/// Loads, stores and lanes at every edge address and offset, against integers of 128 bits.
#[test]
fn c12_index_plus_offset_plus_size_never_wraps() {
    let ops = [
        (1_usize, "i32.load8_u", "i32", "i32.store8", "(i32.const 0)"),
        (2, "i32.load16_u", "i32", "i32.store16", "(i32.const 0)"),
        (4, "i32.load", "i32", "i32.store", "(i32.const 0)"),
        (8, "i64.load", "i64", "i64.store", "(i64.const 0)"),
        (4, "f32.load", "f32", "f32.store", "(f32.const 0)"),
        (8, "f64.load", "f64", "f64.store", "(f64.const 0)"),
        (16, "v128.load", "v128", "v128.store", "(v128.const i64x2 0 0)"),
    ];
    let offsets = [0_u32, 1, 65535, 131_071, 131_072, 1 << 31, (1 << 31) - 1, u32::MAX - 15, u32::MAX];
    let mut wat = String::from("(module (memory (export \"m\") 2)\n");
    for offset in offsets {
        for (_, load, ty, store, zero) in ops {
            let _ = writeln!(
                wat,
                "(func (export \"{load} {offset}\") (param i32) (result {ty}) ({load} offset={offset} (local.get 0)))
                 (func (export \"{store} {offset}\") (param i32) ({store} offset={offset} (local.get 0) {zero}))"
            );
        }
        for bits in [8, 16, 32, 64] {
            let _ = writeln!(
                wat,
                "(func (export \"load{bits}_lane {offset}\") (param i32) (result v128)
                    (v128.load{bits}_lane offset={offset} 0 (local.get 0) (v128.const i64x2 0 0)))
                 (func (export \"store{bits}_lane {offset}\") (param i32)
                    (v128.store{bits}_lane offset={offset} 0 (local.get 0) (v128.const i64x2 0 0)))"
            );
        }
    }
    wat.push(')');
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        let memory = memory_of(&store, instance);
        let bytes = pattern(2 * PAGE);
        memory.write(&mut store, 0, &bytes).expect(name);
        let lanes = [(1, 8), (2, 16), (4, 32), (8, 64)];
        let mut rows: Vec<(usize, String, String)> =
            ops.iter().map(|(size, load, _, store, _)| (*size, (*load).to_owned(), (*store).to_owned())).collect();
        rows.extend(lanes.map(|(size, bits)| (size, format!("load{bits}_lane"), format!("store{bits}_lane"))));
        for offset in offsets {
            for (size, load, store_op) in &rows {
                let mut addresses = edges(2 * PAGE);
                addresses
                    .extend([2 * PAGE as u32 - *size as u32, (2 * PAGE as u32).wrapping_sub(offset).wrapping_sub(1)]);
                for address in addresses {
                    let what = format!("{name} {load} {address:#x} + {offset:#x}");
                    let expected = model_load(&bytes, address, offset, *size);
                    assert_eq!(call(&mut store, instance, &format!("{load} {offset}"), &[address]), expected, "{what}");
                    let stored = call(&mut store, instance, &format!("{store_op} {offset}"), &[address]);
                    assert_eq!(stored, expected.clone().map(|_| vec![]), "store of {what}");
                    if expected.is_ok() {
                        let at = (u64::from(address) + u64::from(offset)) as usize;
                        assert!(memory.data(&store)[at..at + size].iter().all(|b| *b == 0), "store of {what}");
                        memory.write(&mut store, at, &bytes[at..at + size]).expect(name);
                    }
                }
            }
        }
        assert_eq!(memory.data(&store), bytes, "{name}: a store outside changed a byte");
    });
}

/// Bulk operations at every edge of address and length, against integers of 128 bits: they trap before
/// they change anything.
#[test]
fn c12_bulk_ranges_never_wrap() {
    let wat = r#"(module (memory (export "m") 2) (table $t 10 funcref) (data $d "0123456789") (elem $e func $f $f $f $f $f)
        (func $f)
        (func (export "memory.fill") (param i32 i32 i32) (memory.fill (local.get 0) (i32.const 0) (local.get 2)))
        (func (export "memory.copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
        (func (export "memory.init") (param i32 i32 i32) (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
        (func (export "table.fill") (param i32 i32 i32) (table.fill $t (local.get 0) (ref.null func) (local.get 2)))
        (func (export "table.copy") (param i32 i32 i32) (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)))
        (func (export "table.init") (param i32 i32 i32) (table.init $t $e (local.get 0) (local.get 1) (local.get 2)))
        (func (export "table.get") (param i32 i32 i32) (drop (table.get $t (local.get 0))))
        (func (export "table.set") (param i32 i32 i32) (table.set $t (local.get 0) (ref.null func))))"#;
    let (m, t) = (2 * PAGE, 10);
    let rows = [
        ("memory.fill", m, None, TrapCode::MemoryOutOfBounds),
        ("memory.copy", m, Some(m), TrapCode::MemoryOutOfBounds),
        ("memory.init", m, Some(10), TrapCode::MemoryOutOfBounds),
        ("table.fill", t, None, TrapCode::TableOutOfBounds),
        ("table.copy", t, Some(t), TrapCode::TableOutOfBounds),
        ("table.init", t, Some(5), TrapCode::TableOutOfBounds),
    ];
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, wat);
        let memory = memory_of(&store, instance);
        let bytes = pattern(m);
        for (op, size, source, code) in rows {
            for to in edges(size) {
                for from in source.map_or(vec![0], edges) {
                    for len in [0, 1, 2, size as u32, 1 << 31, u32::MAX] {
                        let fits = |at: u32, size: u64| u128::from(at) + u128::from(len) <= u128::from(size);
                        let expected =
                            if fits(to, size) && source.is_none_or(|s| fits(from, s)) { Ok(vec![]) } else { Err(code) };
                        memory.data_mut(&mut store)[..64].copy_from_slice(&bytes[..64]);
                        let got = call(&mut store, instance, op, &[to, from, len]);
                        assert_eq!(got, expected, "{name} {op} to {to:#x} from {from:#x} length {len:#x}");
                        if got.is_err() {
                            assert_eq!(memory.data(&store)[..64], bytes[..64], "{name} {op} {to} {from} {len}");
                        }
                    }
                }
            }
        }
        for index in edges(t) {
            let expected = if u64::from(index) < t { Ok(vec![]) } else { Err(TrapCode::TableOutOfBounds) };
            for op in ["table.get", "table.set"] {
                assert_eq!(call(&mut store, instance, op, &[index, 0, 0]), expected, "{name} {op} {index:#x}");
            }
        }
    });
}

/// Proposals that bring more addresses are refused by name if they are off.
#[test]
fn h15_kinds_of_memory_that_are_off_are_refused() {
    refused("memory64", "(module (memory i64 1))");
    refused("memory64", "(module (table i64 1 funcref))");
    refused("memory64", "(module (import \"a\" \"b\" (memory i64 1)))");
    refused("memory64", "(module (import \"a\" \"b\" (table i64 1 funcref)))");
    refused("threads", "(module (memory 1 1 shared))");
    refused("threads", "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))");
    refused("multi-memory", "(module (memory 1) (memory 1))");
    refused("custom-page-sizes", "(module (memory 1 (pagesize 1)))");
}

/// Where a check is by branch, what is read behind a mispredicted one is masked by a conditional move.
#[test]
#[cfg(target_arch = "x86_64")]
fn c14_checked_addresses_are_masked_against_speculation() {
    let wat = "(module (memory 1) (table 4 16 funcref)
        (func (param i32) (result i32) (i32.load offset=8 (local.get 0)))
        (func (param i32) (i32.store (local.get 0) (i32.const 1)))
        (func (param i32) (result funcref) (table.get (local.get 0)))
        (func (param i32) (call_indirect (local.get 0))))";
    everywhere(|name, engine| {
        if name.starts_with("Interpreter") {
            return;
        }
        let module = Module::new(engine, wat).expect(name);
        let masked = |func| inspect::asm_text(&module, func).expect(name).contains("cmov");
        let explicit = name.contains("Explicit");
        assert_eq!([masked(0), masked(1)], [explicit; 2], "{name}: memory accesses");
        assert!(masked(2) && masked(3), "{name}: table accesses");
    });
}
