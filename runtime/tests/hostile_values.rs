//! Wrong values that other compilers computed: vectors, constants, operands that are one value. Each
//! engine against the same model where one is written here, else against the interpreter, bit for bit.

mod common;
#[path = "common/outcome.rs"]
mod outcome;

use std::fmt::Write as _;

use aura_runtime::{Caller, Features, Linker, Module, Store, TrapCode, Val, ValType};
use common::{engines, everywhere, instantiate};
use outcome::{Outcome, outcome, value};

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 27
    }

    /// A vector: lanes at random, or of the values at which operators change what they do.
    fn vector(&mut self) -> u128 {
        let edges =
            [0, u64::MAX, 1 << 63, i64::MAX as u64, 0x8080_8080_8080_8080, 0x7f80_0000_ff80_0001, f64::NAN.to_bits()];
        let lane = |numbers: &mut Self| match numbers.next() % 3 {
            0 => edges[(numbers.next() % edges.len() as u64) as usize],
            _ => numbers.next(),
        };
        u128::from(lane(self)) << 64 | u128::from(lane(self))
    }
}

fn run(store: &mut Store<()>, instance: aura_runtime::Instance, export: &str, args: &[Val]) -> Outcome {
    let func = instance.get_func(&*store, export).unwrap_or_else(|| panic!("{export} is exported"));
    outcome(store, func, args)
}

fn one(bits: u128) -> Outcome {
    Ok(vec![bits])
}

/// What every engine computes for the calls, each of which is an export and its arguments.
fn agree(wat: &str, calls: &[(String, Vec<Val>)]) {
    let mut expected: Option<Vec<Outcome>> = None;
    for (name, engine) in engines(|config| {
        config.canonicalize_nans(true);
    }) {
        let (mut store, instance) = instantiate(&engine, wat);
        let got: Vec<Outcome> = calls.iter().map(|(export, args)| run(&mut store, instance, export, args)).collect();
        let expected = expected.get_or_insert_with(|| got.clone());
        for (((export, args), got), expected) in calls.iter().zip(&got).zip(expected.iter()) {
            assert_eq!(got, expected, "{name} {export} {args:x?}");
        }
    }
}

fn bytes_of(vector: u128) -> [u8; 16] {
    vector.to_le_bytes()
}

#[test]
fn v1_swizzle_and_select_of_vectors() {
    let wat = r#"(module
        (func (export "swizzle") (param v128 v128) (result v128) (i8x16.swizzle (local.get 0) (local.get 1)))
        (func (export "constant") (param v128) (result v128)
            (i8x16.swizzle (local.get 0) (v128.const i8x16 15 16 255 0 128 7 127 1 14 17 31 32 3 3 200 2)))
        (func (export "select") (param v128 v128 i32) (result v128)
            (select (local.get 0) (local.get 1) (local.get 2)))
        (func (export "typed") (param v128 v128 i32) (result v128)
            (select (result v128) (local.get 0) (local.get 1) (i32.eqz (local.get 2)))))"#;
    let swizzle = |of: u128, by: u128| {
        let of = bytes_of(of);
        u128::from_le_bytes(bytes_of(by).map(|lane| of.get(lane as usize).copied().unwrap_or(0)))
    };
    let constant = u128::from_le_bytes([15, 16, 255, 0, 128, 7, 127, 1, 14, 17, 31, 32, 3, 3, 200, 2]);
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, wat);
        let mut numbers = Numbers(1);
        for turn in 0..400 {
            let a = numbers.vector();
            // Half of the turns with indices near 16.
            let b = numbers.vector() & if turn % 2 == 0 { u128::MAX } else { u128::from_le_bytes([0x1f; 16]) };
            let both = [Val::V128(a), Val::V128(b)];
            assert_eq!(run(&mut store, instance, "swizzle", &both), one(swizzle(a, b)), "{name} {a:x} {b:x}");
            assert_eq!(run(&mut store, instance, "constant", &both[..1]), one(swizzle(a, constant)), "{name} {a:x}");
            let condition = [0, 1, -1, i32::MIN, 256][turn % 5];
            let args = [both[0], both[1], Val::I32(condition)];
            let (chosen, other) = if condition != 0 { (a, b) } else { (b, a) };
            assert_eq!(run(&mut store, instance, "select", &args), one(chosen), "{name} {condition}");
            assert_eq!(run(&mut store, instance, "typed", &args), one(other), "{name} {condition}");
        }
    });
}

/// The vector operators of two operands.
fn binary_vector_ops() -> Vec<String> {
    let mut ops: Vec<String> = Vec::new();
    let mut add = |shape: &str, names: &[&str]| ops.extend(names.iter().map(|name| format!("{shape}.{name}")));
    let compare = ["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"];
    for shape in ["i8x16", "i16x8", "i32x4"] {
        add(shape, &compare);
        add(shape, &["add", "sub", "min_s", "min_u", "max_s", "max_u"]);
    }
    for shape in ["i8x16", "i16x8"] {
        add(shape, &["add_sat_s", "add_sat_u", "sub_sat_s", "sub_sat_u", "avgr_u"]);
    }
    add("i8x16", &["swizzle", "narrow_i16x8_s", "narrow_i16x8_u"]);
    add(
        "i16x8",
        &["mul", "q15mulr_sat_s", "narrow_i32x4_s", "narrow_i32x4_u", "extmul_low_i8x16_s", "extmul_high_i8x16_u"],
    );
    add("i32x4", &["mul", "dot_i16x8_s", "extmul_low_i16x8_u", "extmul_high_i16x8_s"]);
    add(
        "i64x2",
        &["add", "sub", "mul", "eq", "ne", "lt_s", "gt_s", "le_s", "ge_s", "extmul_low_i32x4_s", "extmul_high_i32x4_u"],
    );
    for shape in ["f32x4", "f64x2"] {
        add(shape, &["add", "sub", "mul", "div", "min", "max", "pmin", "pmax", "eq", "ne", "lt", "gt", "le", "ge"]);
    }
    add("v128", &["and", "or", "xor", "andnot"]);
    ops
}

fn unary_vector_ops() -> Vec<String> {
    let mut ops: Vec<String> = vec!["v128.not".to_owned(), "i8x16.popcnt".to_owned()];
    let mut add = |shape: &str, names: &[&str]| ops.extend(names.iter().map(|name| format!("{shape}.{name}")));
    ["i8x16", "i16x8", "i32x4", "i64x2"].into_iter().for_each(|shape| add(shape, &["abs", "neg"]));
    ["f32x4", "f64x2"]
        .into_iter()
        .for_each(|shape| add(shape, &["abs", "neg", "sqrt", "ceil", "floor", "trunc", "nearest"]));
    add("i16x8", &["extend_low_i8x16_s", "extend_high_i8x16_u", "extadd_pairwise_i8x16_s", "extadd_pairwise_i8x16_u"]);
    add("i32x4", &["extend_low_i16x8_u", "extend_high_i16x8_s", "extadd_pairwise_i16x8_s", "extadd_pairwise_i16x8_u"]);
    add("i32x4", &["trunc_sat_f32x4_s", "trunc_sat_f32x4_u", "trunc_sat_f64x2_s_zero", "trunc_sat_f64x2_u_zero"]);
    add("i64x2", &["extend_low_i32x4_s", "extend_high_i32x4_u"]);
    add("f32x4", &["convert_i32x4_s", "convert_i32x4_u", "demote_f64x2_zero"]);
    add("f64x2", &["convert_low_i32x4_s", "convert_low_i32x4_u", "promote_low_f32x4"]);
    ops
}

/// One operator per function, lanes at random, every engine against the interpreter.
#[test]
fn v1_vector_operators_agree_on_every_engine() {
    let mut wat = String::from("(module\n");
    let (binary, unary) = (binary_vector_ops(), unary_vector_ops());
    for op in &binary {
        let _ = writeln!(
            wat,
            "(func (export \"{op}\") (param v128 v128) (result v128) ({op} (local.get 0) (local.get 1)))"
        );
    }
    for op in &unary {
        let _ = writeln!(wat, "(func (export \"{op}\") (param v128) (result v128) ({op} (local.get 0)))");
    }
    wat.push(')');
    let mut numbers = Numbers(2);
    let mut calls = Vec::new();
    for _ in 0..60 {
        let (a, b) = (Val::V128(numbers.vector()), Val::V128(numbers.vector()));
        calls.extend(binary.iter().map(|op| (op.clone(), vec![a, b])));
        calls.extend(unary.iter().map(|op| (op.clone(), vec![a])));
    }
    agree(&wat, &calls);
}

/// Division and remainder by constants of every class, against Rust's.
#[test]
fn v2_division_by_constants_of_every_class() {
    let mut divisors =
        vec![0_i64, 1, -1, 3, -3, 5, 7, -7, 10, 641, 1_000_003, i32::MIN.into(), i32::MAX.into(), i64::MIN, i64::MAX];
    divisors.extend((1..63).step_by(3).flat_map(|k| [1 << k, -(1 << k), (1 << k) + 1, (1 << k) - 1]));
    divisors.sort_unstable();
    divisors.dedup();
    let mut dividends =
        vec![0_i64, 1, -1, 2, 100, -100, i32::MIN.into(), i32::MAX.into(), i64::MIN, i64::MAX, u32::MAX.into()];
    let mut numbers = Numbers(3);
    dividends.extend((0..12).map(|turn| numbers.next() as i64 >> (turn * 5)));
    let mut wat = String::from("(module\n");
    for (ty, bits) in [("i32", 32), ("i64", 64)] {
        for d in &divisors {
            let constant = if bits == 32 { i64::from(*d as i32) } else { *d };
            for op in ["div_s", "div_u", "rem_s", "rem_u"] {
                let _ = writeln!(
                    wat,
                    "(func (export \"{ty}.{op} {d}\") (param {ty}) (result {ty}) ({ty}.{op} (local.get 0) ({ty}.const {constant})))"
                );
            }
        }
    }
    wat.push(')');
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        for d in &divisors {
            for x in &dividends {
                for bits in [32, 64] {
                    for (op, expected) in model_divisions(*x, *d, bits) {
                        let (ty, arg) = if bits == 32 { ("i32", Val::I32(*x as i32)) } else { ("i64", Val::I64(*x)) };
                        let got = run(&mut store, instance, &format!("{ty}.{op} {d}"), &[arg]);
                        assert_eq!(got, expected, "{name} {ty}.{op} {x} by {d}");
                    }
                }
            }
        }
    });
}

fn model_divisions(x: i64, d: i64, bits: u32) -> [(&'static str, Outcome); 4] {
    let wide = |v: i64| if bits == 32 { i128::from(v as i32) } else { i128::from(v) };
    let mask = (1_u128 << bits) - 1;
    let (sx, sd) = (wide(x), wide(d));
    let (ux, ud) = (sx as u128 & mask, sd as u128 & mask);
    let cut = |v: i128| one(v as u128 & mask);
    if sd == 0 {
        return ["div_s", "div_u", "rem_s", "rem_u"].map(|op| (op, Err(TrapCode::IntegerDivideByZero)));
    }
    let overflows = sd == -1 && sx == -(1 << (bits - 1));
    let quotient = if overflows { Err(TrapCode::IntegerOverflow) } else { cut(sx / sd) };
    [("div_s", quotient), ("div_u", one(ux / ud)), ("rem_s", cut(sx % sd)), ("rem_u", one(ux % ud))]
}

/// Shuffles and selections whose inputs are one value, and every operator with both operands the same.
#[test]
fn v3_operators_whose_operands_are_one_value() {
    let mut numbers = Numbers(4);
    let mut masks: Vec<[u8; 16]> =
        vec![[0; 16], [31; 16], std::array::from_fn(|i| i as u8), std::array::from_fn(|i| 31 - i as u8)];
    masks.extend((0..40).map(|_| std::array::from_fn(|_| (numbers.next() >> 20) as u8 % 32)));
    let mut wat = String::from("(module\n");
    for (index, mask) in masks.iter().enumerate() {
        let lanes = mask.map(|lane| lane.to_string()).join(" ");
        let _ = writeln!(
            wat,
            "(func (export \"two {index}\") (param v128 v128) (result v128) (i8x16.shuffle {lanes} (local.get 0) (local.get 1)))
             (func (export \"same {index}\") (param v128 v128) (result v128) (i8x16.shuffle {lanes} (local.get 0) (local.get 0)))"
        );
    }
    wat.push_str(
        "(func (export \"bitselect\") (param v128 v128) (result v128) (v128.bitselect (local.get 0) (local.get 0) (local.get 1)))
         (func (export \"masked\") (param v128 v128) (result v128) (v128.bitselect (local.get 0) (local.get 1) (local.get 0)))
         (func (export \"select\") (param v128 v128) (result v128) (select (local.get 0) (local.get 0) (i32x4.extract_lane 0 (local.get 1)))))",
    );
    let shuffle = |mask: &[u8; 16], a: u128, b: u128| {
        let both = [bytes_of(a), bytes_of(b)].concat();
        u128::from_le_bytes(mask.map(|lane| both[lane as usize]))
    };
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        let mut numbers = Numbers(5);
        for _ in 0..10 {
            let (a, b) = (numbers.vector(), numbers.vector());
            let args = [Val::V128(a), Val::V128(b)];
            for (index, mask) in masks.iter().enumerate() {
                let two = run(&mut store, instance, &format!("two {index}"), &args);
                assert_eq!(two, one(shuffle(mask, a, b)), "{name} {mask:?} {a:x} {b:x}");
                let same = run(&mut store, instance, &format!("same {index}"), &args);
                assert_eq!(same, one(shuffle(mask, a, a)), "{name} {mask:?} {a:x}");
            }
            assert_eq!(run(&mut store, instance, "bitselect", &args), one(a), "{name}");
            assert_eq!(run(&mut store, instance, "masked", &args), one(a | (b & !a)), "{name}");
            assert_eq!(run(&mut store, instance, "select", &args), one(a), "{name}");
        }
    });
    let mut wat = String::from("(module\n");
    let mut calls = Vec::new();
    for op in binary_vector_ops() {
        let _ = writeln!(wat, "(func (export \"{op}\") (param v128) (result v128) ({op} (local.get 0) (local.get 0)))");
        calls.extend((0..20).map(|_| (op.clone(), vec![Val::V128(numbers.vector())])));
    }
    for (ty, ops) in SCALAR_BINARY {
        for op in ops.split(' ') {
            let result = if ["eq", "ne", "lt", "gt", "le", "ge"].contains(&op) || op.contains("t_") || op.contains("e_")
            {
                "i32"
            } else {
                ty
            };
            let _ = writeln!(
                wat,
                "(func (export \"{ty}.{op}\") (param {ty}) (result {result}) ({ty}.{op} (local.get 0) (local.get 0)))"
            );
            let of = [("i32", ValType::I32), ("i64", ValType::I64), ("f32", ValType::F32), ("f64", ValType::F64)];
            let ty_of = of.into_iter().find(|(name, _)| *name == ty).expect("listed").1;
            calls.extend((0..20).map(|_| (format!("{ty}.{op}"), vec![value(ty_of, numbers.vector())])));
        }
    }
    wat.push(')');
    agree(&wat, &calls);
}

const SCALAR_BINARY: [(&str, &str); 4] = [
    ("i32", "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr eq ne lt_s lt_u gt_s ge_u"),
    ("i64", "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr eq ne lt_s lt_u gt_s ge_u"),
    ("f32", "add sub mul div min max copysign eq ne lt gt le ge"),
    ("f64", "add sub mul div min max copysign eq ne lt gt le ge"),
];

/// Shifts by every constant and by the same amount at run time, against the definition.
#[test]
fn v4_vector_shifts_by_every_amount() {
    let shapes = [("i8x16", 8_u32), ("i16x8", 16), ("i32x4", 32), ("i64x2", 64)];
    let mut wat = String::from("(module\n");
    for (shape, _) in shapes {
        for op in ["shl", "shr_s", "shr_u"] {
            let _ = writeln!(
                wat,
                "(func (export \"{shape}.{op}\") (param v128 i32) (result v128) ({shape}.{op} (local.get 0) (local.get 1)))"
            );
            for amount in 0..128 {
                let _ = writeln!(
                    wat,
                    "(func (export \"{shape}.{op} {amount}\") (param v128) (result v128) ({shape}.{op} (local.get 0) (i32.const {amount})))"
                );
            }
        }
    }
    wat.push(')');
    let model = |op: &str, width: u32, vector: u128, amount: u32| {
        let amount = amount % width;
        let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        (0..128 / width).fold(0_u128, |result, lane| {
            let x = (vector >> (lane * width)) as u64 & mask;
            let signed = ((x << (64 - width)) as i64) >> (64 - width);
            let shifted = match op {
                "shl" => x << amount,
                "shr_s" => (signed >> amount) as u64,
                _ => x >> amount,
            };
            result | u128::from(shifted & mask) << (lane * width)
        })
    };
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        let mut numbers = Numbers(6);
        for (shape, width) in shapes {
            for op in ["shl", "shr_s", "shr_u"] {
                for amount in (0..128).chain([255, 256, 1 << 31, u32::MAX]) {
                    let vector = numbers.vector();
                    let expected = one(model(op, width, vector, amount));
                    let args = [Val::V128(vector), Val::I32(amount as i32)];
                    let got = run(&mut store, instance, &format!("{shape}.{op}"), &args);
                    assert_eq!(got, expected, "{name} {shape}.{op} {vector:x} by {amount}");
                    if amount < 128 {
                        let got = run(&mut store, instance, &format!("{shape}.{op} {amount}"), &args[..1]);
                        assert_eq!(got, expected, "{name} {shape}.{op} {vector:x} by the constant {amount}");
                    }
                }
            }
        }
    });
}

/// Operators on the sign bit keep the payload of every NaN; moves keep every bit; min and max of a NaN are
/// a NaN, and of zeros have the sign that is defined.
#[test]
fn v5_floats_are_exact_to_the_bit() {
    let wat = r#"(module (memory 1) (global $g (mut f32) (f32.const 0))
        (func (export "f32.abs") (param f32 f32) (result f32) (f32.abs (local.get 0)))
        (func (export "f32.neg") (param f32 f32) (result f32) (f32.neg (local.get 0)))
        (func (export "f32.copysign") (param f32 f32) (result f32) (f32.copysign (local.get 0) (local.get 1)))
        (func (export "f64.abs") (param f64 f64) (result f64) (f64.abs (local.get 0)))
        (func (export "f64.neg") (param f64 f64) (result f64) (f64.neg (local.get 0)))
        (func (export "f64.copysign") (param f64 f64) (result f64) (f64.copysign (local.get 0) (local.get 1)))
        (func (export "f32.moved") (param f32 f32) (result f32) (local f32)
            (global.set $g (local.get 0)) (f32.store (i32.const 8) (global.get $g))
            (local.set 2 (select (f32.load (i32.const 8)) (local.get 1) (i32.const 1)))
            (f32.reinterpret_i32 (i32.reinterpret_f32 (block (result f32) (br 0 (local.get 2))))))
        (func (export "f64.moved") (param f64 f64) (result f64) (local f64)
            (f64.store (i32.const 8) (local.get 0))
            (local.set 2 (f64.load (i32.const 8)))
            (local.set 0 (local.get 1)) (local.set 1 (local.get 2))
            (if (result f64) (i32.const 1) (then (local.get 1)) (else (local.get 0))))
        (func (export "f32.min") (param f32 f32) (result f32) (f32.min (local.get 0) (local.get 1)))
        (func (export "f32.max") (param f32 f32) (result f32) (f32.max (local.get 0) (local.get 1)))
        (func (export "f64.min") (param f64 f64) (result f64) (f64.min (local.get 0) (local.get 1)))
        (func (export "f64.max") (param f64 f64) (result f64) (f64.max (local.get 0) (local.get 1))))"#;
    let singles: [u32; 12] = [
        0,
        1 << 31,
        1,
        0x8000_0001,
        0x3f80_0000,
        0x7f7f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0xffc0_0000,
        0x7fa0_1234,
        0xff80_0001,
    ];
    let doubles = singles.map(|bits| {
        let (sign, rest) = (u64::from(bits >> 31) << 63, u64::from(bits & 0x7fff_ffff));
        let exponent = match rest >> 23 {
            0xff => 0x7ff,
            0 => 0,
            e => e + 896,
        };
        sign | exponent << 52 | (rest & 0x7f_ffff) << 29
    });
    for canonical in [false, true] {
        for (name, engine) in engines(|config| {
            config.canonicalize_nans(canonical);
        }) {
            let (mut store, instance) = instantiate(&engine, wat);
            for index in 0..144 {
                let (a, b) = (index / 12, index % 12);
                let rows = [
                    (ValType::F32, u64::from(singles[a]), u64::from(singles[b]), 31),
                    (ValType::F64, doubles[a], doubles[b], 63),
                ];
                for (ty, a, b, sign) in rows {
                    let args = [value(ty, a.into()), value(ty, b.into())];
                    let top = 1_u64 << sign;
                    let exact = [("abs", a & !top), ("neg", a ^ top), ("copysign", a & !top | b & top), ("moved", a)];
                    for (op, expected) in exact {
                        let got = run(&mut store, instance, &format!("{ty}.{op}"), &args);
                        assert_eq!(got, one(expected.into()), "{name} {ty}.{op} {a:#x} {b:#x}");
                    }
                    for op in ["min", "max"] {
                        let got = run(&mut store, instance, &format!("{ty}.{op}"), &args).expect("no trap")[0] as u64;
                        check_extremum(&format!("{name} {ty}.{op} {a:#x} {b:#x}"), op, sign, (a, b), got, canonical);
                    }
                }
            }
        }
    }
}

fn check_extremum(what: &str, op: &str, sign: u32, (a, b): (u64, u64), got: u64, canonical: bool) {
    let infinity = if sign == 31 { 0x7f80_0000 } else { 0x7ff << 52 };
    let quiet = if sign == 31 { 1 << 22 } else { 1 << 51 };
    let magnitude = |x: u64| x & !(1 << sign);
    if magnitude(a) > infinity || magnitude(b) > infinity {
        assert!(magnitude(got) > infinity && got & quiet != 0, "{what}: {got:#x} is not a quiet NaN");
        assert!(!canonical || magnitude(got) == infinity | quiet, "{what}: {got:#x} is not canonical");
        return;
    }
    // Bits in the order of the numbers, -0 before 0.
    let order = |x: u64| if x >> sign == 1 { -1 - i128::from(magnitude(x)) } else { i128::from(x) };
    let (least, most) = if order(a) <= order(b) { (a, b) } else { (b, a) };
    assert_eq!(got, if op == "min" { least } else { most }, "{what}");
}

/// A chain of calls, one of them a tail call through two more functions, ends in a host function whose failure carries the whole chain.
#[test]
fn v6_backtraces_are_taken_below_a_host_function() {
    let tail_calls = Features::default().with("tail-call", true).expect("implemented");
    for (name, engine) in engines(|config| {
        config.features(tail_calls);
    }) {
        let (name, engine) = (name.as_str(), &engine);
        let wat = r#"(module (import "h" "fail" (func $fail)) (func $c (call $fail)) (func $b (call $over))
            (func $over (return_call $gone)) (func $gone (return_call $c))
            (func $a (export "a") (call $b)))"#;
        let module = Module::new(engine, wat).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker
            .func_wrap("h", "fail", |_: Caller<'_, ()>| -> aura_runtime::Result<()> {
                Err(aura_runtime::Error::trap_code(TrapCode::Unreachable))
            })
            .expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let func = instance.get_func(&store, "a").expect(name);
        for _ in 0..4 {
            let error = func.call(&mut store, &[], &mut []).expect_err(name);
            let trap = error.trap().expect("a trap");
            assert_eq!(trap.code(), TrapCode::Unreachable, "{name}: {error}");
            let names: Vec<_> = trap.frames().iter().map(|frame| frame.func_name.as_deref().unwrap_or("?")).collect();
            assert_eq!(names, ["c", "b", "a"], "{name}: {error}");
        }
    }
}
