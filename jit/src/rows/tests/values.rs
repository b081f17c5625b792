//! Operands that find mistakes, and when two results are the same.

use aura_host_abi::SlotType;
use aura_validator::ops::sem::Lane;
use aura_validator::ops::{Value, v128};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use super::compile::Form;

/// The value as it lies in memory, zero above.
pub(super) fn bytes(value: Value) -> [u8; 16] {
    let bits = match value {
        Value::I32(x) => u128::from(x as u32),
        Value::I64(x) => u128::from(x as u64),
        Value::F32(x) => u128::from(x.to_bits()),
        Value::F64(x) => u128::from(x.to_bits()),
        Value::V128(v) => return v.0,
    };
    bits.to_le_bytes()
}

/// The shapes of NaNs that a result may have, named as the results of float rows.
#[allow(non_camel_case_types, reason = "the names are the table's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NanClass {
    exact,
    f32,
    f64,
    f32x4,
    f64x2,
}

/// Whether two results are the same: bit for bit, but for NaNs of the classes that the specification
/// allows (4.3.3): arithmetic, and canonical if all NaNs among the operands are.
pub(super) fn same(class: NanClass, args: &[Value], a: [u8; 16], b: [u8; 16]) -> bool {
    let width = match class {
        NanClass::exact => return a == b,
        NanClass::f32 | NanClass::f32x4 => 4,
        NanClass::f64 | NanClass::f64x2 => 8,
    };
    let must_be_canonical = args.iter().all(|&arg| has_only_canonical_nans(arg));
    a.chunks(width).zip(b.chunks(width)).all(|(a, b)| {
        a == b && !is_nan(a)
            || [a, b].iter().all(|x| is_nan(x) && is_quiet(x) && (!must_be_canonical || is_canonical(x)))
    })
}

fn has_only_canonical_nans(arg: Value) -> bool {
    let bytes = bytes(arg);
    let ok = |width| bytes.chunks(width).all(|x| !is_nan(x) || is_canonical(x));
    match arg {
        Value::F32(_) => ok(4),
        Value::F64(_) => ok(8),
        // The lanes' type is not known: both readings must hold.
        Value::V128(_) => ok(4) && ok(8),
        Value::I32(_) | Value::I64(_) => true,
    }
}

/// Bits of a float of four or eight bytes without its sign, and those of the canonical NaN.
fn magnitude(x: &[u8]) -> (u64, u64, u64) {
    match *x {
        [a, b, c, d] => (u64::from(u32::from_le_bytes([a, b, c, d]) & i32::MAX as u32), 0x7fc0_0000, 0x7f80_0000),
        _ => {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(x);
            (u64::from_le_bytes(bytes) & i64::MAX as u64, 0x7ff8_0000_0000_0000, 0x7ff0_0000_0000_0000)
        }
    }
}

fn is_nan(x: &[u8]) -> bool {
    let (bits, _, infinity) = magnitude(x);
    bits > infinity
}

fn is_quiet(x: &[u8]) -> bool {
    let (bits, canonical, _) = magnitude(x);
    bits & canonical == canonical
}

fn is_canonical(x: &[u8]) -> bool {
    let (bits, canonical, _) = magnitude(x);
    bits == canonical
}

/// Integers at which something changes: small ones, powers of two and their neighbours, both signs.
fn integer_edges(bits: u32) -> Vec<i64> {
    let mut edges = vec![0, 1, -1, 2, -2, 3, 5, 7, -7, 10, 100, 641, -1000];
    for shift in [3, 7, 8, 15, 16, 24, 31, 32, 33, 52, 53, 62, 63].into_iter().filter(|&shift| shift < bits) {
        let power = 1i64 << shift;
        edges.extend([power, power.wrapping_sub(1), power.wrapping_neg(), power.wrapping_add(1)]);
    }
    edges.extend([0x0123_4567_89ab_cdef, 0x5555_5555_5555_5555, -0x5555_5555_5555_5556]);
    edges
}

fn f32_edges() -> Vec<f32> {
    let mut edges = vec![0.0, 0.5, 1.0, 1.5, 2.5, 0.1, 3.5, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, 8_388_607.5];
    edges.extend([1, 0x0001_2345, 0x007f_ffff].map(f32::from_bits));
    for power in [2.0f32.powi(15), 2.0f32.powi(16), 2.0f32.powi(23), 2.0f32.powi(31), 2.0f32.powi(32)] {
        edges.extend([power, power.next_down(), power.next_up()]);
    }
    for power in [2.0f32.powi(63), 2.0f32.powi(64)] {
        edges.extend([power, power.next_down(), power.next_up()]);
    }
    edges.extend([0x7fc0_0000, 0x7fc1_2345, 0x7f80_0001, 0x7fa1_2345, 0x7fff_ffff].map(f32::from_bits));
    edges.iter().flat_map(|&x| [x, -x]).collect()
}

fn f64_edges() -> Vec<f64> {
    let mut edges = vec![0.0, 0.5, 1.0, 1.5, 2.5, 0.1, 3.5, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY];
    edges.extend([1, 0x000f_ffff_ffff_ffff, 0x0000_1234_5678_9abc].map(f64::from_bits));
    // Where `demote` rounds to the largest float, to infinity, to the least float and to zero.
    edges.extend([
        f64::from(f32::MAX),
        3.402_823_567_797_336_6e38,
        1.401_298_464_324_817e-45,
        7.006_492_321_624_085e-46,
    ]);
    for power in [31, 32, 52, 53, 63, 64].map(|n| 2.0f64.powi(n)) {
        edges.extend([power, power.next_down(), power.next_up(), power - 0.5, power - 1.0, power + 1.0]);
    }
    edges.extend(
        [0x7ff8_0000_0000_0000, 0x7ff8_0001_2345_6789, 0x7ff0_0000_0000_0001, 0x7ff4_0000_1234_5678, i64::MAX as u64]
            .map(f64::from_bits),
    );
    edges.iter().flat_map(|&x| [x, -x]).collect()
}

fn vector<L: Lane + 'static>(lanes: Vec<L>) -> BoxedStrategy<Value> {
    let lane = prop::sample::select((0..lanes.len()).collect::<Vec<_>>());
    let vector = move |chosen: Vec<usize>| Value::V128(v128::from_lanes(|i| lanes[chosen[i]]));
    prop::collection::vec(lane, L::COUNT).prop_map(vector).boxed()
}

fn vectors() -> BoxedStrategy<Value> {
    let bytes = vec![0u8, 1, 2, 15, 16, 17, 0x70, 0x7f, 0x80, 0x81, 0xfe, 0xff];
    let halves = [0u16, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0x8001, 0xff7f, 0xff80, 0xffff];
    prop_oneof![
        any::<[u8; 16]>().prop_map(|bytes| Value::V128(v128(bytes))),
        vector(bytes),
        vector(halves.to_vec()),
        vector(integer_edges(32).into_iter().map(|x| x as i32).collect()),
        vector(integer_edges(64)),
        vector(f32_edges()),
        vector(f64_edges()),
        prop::sample::select(edges(SlotType::V128)),
    ]
    .boxed()
}

/// The edge values of a class.
pub(super) fn edges(slot: SlotType) -> Vec<Value> {
    match slot {
        SlotType::I32 => integer_edges(32).into_iter().map(|x| Value::I32(x as i32)).collect(),
        SlotType::I64 => integer_edges(64).into_iter().map(Value::I64).collect(),
        SlotType::F32 => f32_edges().into_iter().map(Value::F32).collect(),
        SlotType::F64 => f64_edges().into_iter().map(Value::F64).collect(),
        SlotType::V128 => {
            // The extremes of each shape's lanes in all lanes at once: sums of products overflow only then.
            let mut bits = vec![0, u128::MAX, 1 << 127, u128::MAX >> 1];
            for width in [8, 16, 32, 64] {
                let ones = u128::MAX / ((1 << width) - 1);
                bits.extend([ones, ones << (width - 1), ones * ((1 << (width - 1)) - 1)]);
            }
            bits.into_iter().map(|bits: u128| Value::V128(v128(bits.to_le_bytes()))).collect()
        }
        SlotType::Func | SlotType::Ref => unreachable!("rows have no references"),
    }
}

fn strategy(slot: SlotType) -> BoxedStrategy<Value> {
    let random = match slot {
        SlotType::I32 => any::<i32>().prop_map(Value::I32).boxed(),
        SlotType::I64 => any::<i64>().prop_map(Value::I64).boxed(),
        SlotType::F32 => any::<u32>().prop_map(|bits| Value::F32(f32::from_bits(bits))).boxed(),
        SlotType::F64 => any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))).boxed(),
        _ => return vectors(),
    };
    prop_oneof![random, prop::sample::select(edges(slot))].boxed()
}

/// What the form makes of operands chosen without it.
fn formed(mut args: Vec<Value>, form: Form) -> Vec<Value> {
    if form.aliased {
        let first = args[0];
        args.fill(first);
    }
    if let (Some(constant), Some(second)) = (form.constant, args.get_mut(1)) {
        *second = constant;
    }
    args
}

/// Random operands of these classes.
pub(super) fn arguments(params: &[SlotType], form: Form) -> impl Strategy<Value = Vec<Value>> + use<> {
    let operands: Vec<_> = params.iter().map(|&slot| strategy(slot)).collect();
    operands.prop_map(move |args| formed(args, form))
}

/// Every combination of edge operands of these classes.
pub(super) fn cases(params: &[SlotType], form: Form) -> Vec<Vec<Value>> {
    let free = if form.aliased || form.constant.is_some() { 1 } else { params.len() };
    let mut cases = vec![Vec::new()];
    for (i, &slot) in params.iter().enumerate() {
        let values = if i < free { edges(slot) } else { edges(slot)[..1].to_vec() };
        cases = cases.iter().flat_map(|case| values.iter().map(move |&v| [&case[..], &[v]].concat())).collect();
    }
    cases.into_iter().map(|case| formed(case, form)).collect()
}
