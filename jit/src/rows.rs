//! What a row of the operator table becomes in CLIF: the emitting halves expand here, and only here.
//!
//! Invariants: outside a row every vector is an `I8X16`; no instruction emitted here can fault or
//! call (each trap is an explicit [`RowCx::trap_if`], after which the builder stands in a new
//! block); the lowerings need SSSE3 and SSE4.1 on x86-64 and nothing more. The table's semantics
//! and this file are compared, row by row, by the tests below it.

use aura_host_abi::TrapCode;
use aura_validator::ops::Op;
use aura_validator::ops::sem::trunc_bounds;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{
    AtomicRmwOp, ConstantData, Endianness, InstBuilder, InstBuilderBase, MemFlagsData, Type, Value, types,
};
use cranelift_frontend::FuncInstBuilder;

/// Where rows are emitted: a function being built.
pub(crate) trait RowCx<'f> {
    /// Appends an instruction at the current position.
    fn ins(&mut self) -> FuncInstBuilder<'_, 'f>;

    /// Traps with `code` if the integer `cond` is not zero, and goes on in a block of its own otherwise.
    fn trap_if(&mut self, cond: Value, code: TrapCode);

    /// Whether the results of float rows have their NaNs made canonical (deterministic mode).
    fn canonical_nans(&self) -> bool;
}

/// Emits the numeric, float or trapping row of `op`.
///
/// # Panics
/// If `op` has no such row or `args` are not its operands: both hold for lowered code.
pub(crate) fn emit_numeric<'f>(e: &mut impl RowCx<'f>, op: Op, args: &[Value]) -> Value {
    numeric(e, op, args)
        .or_else(|| float(e, op, args))
        .or_else(|| trapping(e, op, args))
        .unwrap_or_else(|| panic!("{} has no row of {} values", op.name(), args.len()))
}

macro_rules! value_rows {
    ($name:ident, |$cx:ident, $result:ident, $value:ident| $finish:expr; $($op:ident ($($p:ident: $t:ident),*) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
        fn $name<'f>(e: &mut impl RowCx<'f>, op: Op, args: &[Value]) -> Option<Value> {
            match (op, args) {
                $((Op::$op, &[$($p),*]) => {
                    let $e = &mut *e;
                    let $value = $clif;
                    let $cx = e;
                    #[allow(unused_variables, reason = "only float rows look at the shape")]
                    let $result = shape::$r;
                    Some($finish)
                })*
                _ => None,
            }
        }
    };
}

/// The type of each result that rows name.
#[allow(non_upper_case_globals, unused, reason = "the names are the table's")]
mod shape {
    use super::{Type, types};

    pub(super) const i32: Type = types::I32;
    pub(super) const i64: Type = types::I64;
    pub(super) const f32: Type = types::F32;
    pub(super) const f64: Type = types::F64;
    pub(super) const v128: Type = types::I8X16;
    pub(super) const f32x4: Type = types::F32X4;
    pub(super) const f64x2: Type = types::F64X2;
}

aura_validator::for_each_numeric_row!(value_rows numeric, |_e, _shape, value| value;);
aura_validator::for_each_trapping_row!(value_rows trapping, |_e, _shape, value| value;);
aura_validator::for_each_float_row!(
    value_rows float, |e, shape, value| if e.canonical_nans() { canonical_nan(e, shape, value) } else { value };
);

/// Emits the wide row of `op`: the two halves, the low one first. Operands beyond the row's are not used.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_wide<'f>(e: &mut impl RowCx<'f>, op: Op, args: [Value; 4]) -> [Value; 2] {
    macro_rules! rows {
        ($($op:ident ($($p:ident),*) $eval:block clif |$e:ident| $clif:block;)*) => {
            match op {
                $(Op::$op => {
                    let ($e, [$($p,)* ..]) = (e, args);
                    $clif
                })*
                _ => panic!("{} has no wide row", op.name()),
            }
        };
    }
    aura_validator::for_each_wide_row!(rows)
}

/// Emits the extract row of `op` for lane `lane` of the vector `vector`.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_extract<'f>(e: &mut impl RowCx<'f>, op: Op, lane: u8, vector: Value) -> Value {
    macro_rules! rows {
        ($($op:ident lanes $lanes:literal ($a:ident: v128; $lane:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
            match op {
                $(Op::$op => {
                    let ($e, $a, $lane) = (e, vector, lane);
                    $clif
                })*
                _ => panic!("{} has no extract row", op.name()),
            }
        };
    }
    aura_validator::for_each_extract_row!(rows)
}

/// Emits the replace row of `op`: lane `lane` of `vector` becomes `scalar`.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_replace<'f>(e: &mut impl RowCx<'f>, op: Op, lane: u8, vector: Value, scalar: Value) -> Value {
    macro_rules! rows {
        ($($op:ident lanes $lanes:literal ($a:ident: v128, $b:ident: $t:ident; $lane:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
            match op {
                $(Op::$op => {
                    let ($e, $a, $b, $lane) = (e, vector, scalar, lane);
                    $clif
                })*
                _ => panic!("{} has no replace row", op.name()),
            }
        };
    }
    aura_validator::for_each_replace_row!(rows)
}

/// Emits `i8x16.shuffle`.
pub(crate) fn emit_shuffle<'f>(e: &mut impl RowCx<'f>, lanes: [u8; 16], a: Value, b: Value) -> Value {
    let mut ins = e.ins();
    let mask = ins.data_flow_graph_mut().immediates.push(ConstantData::from(lanes.as_slice()));
    ins.shuffle(a, b, mask)
}

/// The type of what a memory row reads or writes.
#[allow(non_upper_case_globals, reason = "the names are the table's")]
mod raw {
    use super::{Type, types};

    pub(super) const i8: Type = types::I8;
    pub(super) const u8: Type = types::I8;
    pub(super) const i16: Type = types::I16;
    pub(super) const u16: Type = types::I16;
    pub(super) const i32: Type = types::I32;
    pub(super) const u32: Type = types::I32;
    pub(super) const i64: Type = types::I64;
    pub(super) const u64: Type = types::I64;
    pub(super) const f32: Type = types::F32;
    pub(super) const f64: Type = types::F64;
    pub(super) const v128: Type = types::I8X16;
}

/// What a load row reads. Integers that are narrower than the result are extended by the load itself: Cranelift
/// would make an instruction of its own of an extension that follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    raw: Type,
    is_signed: bool,
    result: Type,
}

impl Loaded {
    /// The access.
    pub(crate) fn emit<'f>(self, ins: impl InstBuilder<'f>, flags: MemFlagsData, base: Value, offset: i32) -> Value {
        let Self { raw, is_signed, result } = self;
        match (raw, is_signed) {
            _ if !result.is_int() || raw == result => ins.load(raw, flags, base, offset),
            (types::I8, false) => ins.uload8(result, flags, base, offset),
            (types::I8, true) => ins.sload8(result, flags, base, offset),
            (types::I16, false) => ins.uload16(result, flags, base, offset),
            (types::I16, true) => ins.sload16(result, flags, base, offset),
            (types::I32, false) => ins.uload32(flags, base, offset),
            (types::I32, true) => ins.sload32(flags, base, offset),
            _ => unreachable!("no load extends {raw} to {result}"),
        }
    }
}

/// Emits the load row of `op`; `load` makes the checked access that it is told.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_load<'f, E: RowCx<'f>>(e: &mut E, op: Op, load: impl FnOnce(&mut E, Loaded) -> Value) -> Value {
    macro_rules! rows {
        ($($op:ident [$raw:ident] ($x:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
            match op {
                $(Op::$op => {
                    // The names of raw types are those of Rust's.
                    let is_signed = stringify!($raw).starts_with('i');
                    let $x = load(e, Loaded { raw: raw::$raw, is_signed, result: raw::$r });
                    #[allow(unused_variables, reason = "some rows emit nothing")]
                    let $e = e;
                    $clif
                })*
                _ => panic!("{} has no load row", op.name()),
            }
        };
    }
    aura_validator::for_each_load_row!(rows)
}

/// Emits the store row of `op` up to the access: the value that goes to memory.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_store<'f>(e: &mut impl RowCx<'f>, op: Op, value: Value) -> Value {
    macro_rules! rows {
        ($($op:ident ($x:ident: $t:ident) [$raw:ident] $eval:block clif |$e:ident| $clif:block;)*) => {
            match op {
                $(Op::$op => {
                    #[allow(unused_variables, reason = "some rows emit nothing")]
                    let ($e, $x) = (e, value);
                    $clif
                })*
                _ => panic!("{} has no store row", op.name()),
            }
        };
    }
    aura_validator::for_each_store_row!(rows)
}

/// Emits the load-lane row of `op`: `vector` with lane `lane` loaded by `load`.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_load_lane<'f, E: RowCx<'f>>(
    e: &mut E,
    op: Op,
    lane: u8,
    vector: Value,
    load: impl FnOnce(&mut E, Type) -> Value,
) -> Value {
    macro_rules! rows {
        ($($op:ident [$raw:ident] lanes $lanes:literal;)*) => {
            match op {
                $(Op::$op => {
                    let x = load(e, raw::$raw);
                    replace(e, vector_of(raw::$raw), lane, vector, x)
                })*
                _ => panic!("{} has no load-lane row", op.name()),
            }
        };
    }
    aura_validator::for_each_load_lane_row!(rows)
}

/// Emits the store-lane row of `op` up to the access: the lane that goes to memory.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_store_lane<'f>(e: &mut impl RowCx<'f>, op: Op, lane: u8, vector: Value) -> Value {
    macro_rules! rows {
        ($($op:ident [$raw:ident] lanes $lanes:literal;)*) => {
            match op {
                $(Op::$op => extract(e, vector_of(raw::$raw), lane, vector),)*
                _ => panic!("{} has no store-lane row", op.name()),
            }
        };
    }
    aura_validator::for_each_store_lane_row!(rows)
}

/// Emits the atomic load row of `op`; `load` makes the checked access of the type it is given.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_atomic_load<'f, E: RowCx<'f>>(e: &mut E, op: Op, load: impl FnOnce(&mut E, Type) -> Value) -> Value {
    macro_rules! rows {
        ($($op:ident [$raw:ident] -> $t:ident;)*) => {
            match op {
                $(Op::$op => {
                    let x = load(e, raw::$raw);
                    widen(e, shape::$t, x)
                })*
                _ => panic!("{} has no atomic load row", op.name()),
            }
        };
    }
    aura_validator::for_each_atomic_load_row!(rows)
}

/// Emits the atomic store row of `op` up to the access: the value that goes to memory.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_atomic_store<'f>(e: &mut impl RowCx<'f>, op: Op, value: Value) -> Value {
    macro_rules! rows {
        ($($op:ident ($t:ident) [$raw:ident];)*) => {
            match op {
                $(Op::$op => narrow(e, raw::$raw, value),)*
                _ => panic!("{} has no atomic store row", op.name()),
            }
        };
    }
    aura_validator::for_each_atomic_store_row!(rows)
}

/// Emits the read-modify-write row of `op`; `access` makes the checked access.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_atomic_rmw<'f, E: RowCx<'f>>(
    e: &mut E,
    op: Op,
    operand: Value,
    access: impl FnOnce(&mut E, Type, AtomicRmwOp, Value) -> Value,
) -> Value {
    macro_rules! rows {
        ($($op:ident [$raw:ident] ($old:pat, $x:ident: $t:ident) $eval:block clif $rmw:ident;)*) => {
            match op {
                $(Op::$op => {
                    let x = narrow(e, raw::$raw, operand);
                    let old = access(e, raw::$raw, AtomicRmwOp::$rmw, x);
                    widen(e, shape::$t, old)
                })*
                _ => panic!("{} has no read-modify-write row", op.name()),
            }
        };
    }
    aura_validator::for_each_atomic_rmw_row!(rows)
}

/// Emits the compare-exchange row of `op` with the expected value and its replacement; `access` makes
/// the checked access.
///
/// # Panics
/// If `op` has no such row.
pub(crate) fn emit_atomic_cmpxchg<'f, E: RowCx<'f>>(
    e: &mut E,
    op: Op,
    values: [Value; 2],
    access: impl FnOnce(&mut E, [Value; 2]) -> Value,
) -> Value {
    macro_rules! rows {
        ($($op:ident [$raw:ident] ($t:ident);)*) => {
            match op {
                $(Op::$op => {
                    let values = values.map(|value| narrow(e, raw::$raw, value));
                    let old = access(e, values);
                    widen(e, shape::$t, old)
                })*
                _ => panic!("{} has no compare-exchange row", op.name()),
            }
        };
    }
    aura_validator::for_each_atomic_cmpxchg_row!(rows)
}

// ---- Words of the emitting halves: scalars ----

/// The low bits of an integer that have type `ty`.
fn narrow<'f>(e: &mut impl RowCx<'f>, ty: Type, x: Value) -> Value {
    if type_of(e, x) == ty { x } else { e.ins().ireduce(ty, x) }
}

/// An integer zero-extended to `ty`.
fn widen<'f>(e: &mut impl RowCx<'f>, ty: Type, x: Value) -> Value {
    if type_of(e, x) == ty { x } else { e.ins().uextend(ty, x) }
}

fn type_of<'f>(e: &mut impl RowCx<'f>, x: Value) -> Type {
    e.ins().data_flow_graph().value_type(x)
}

/// The same bits as another type; vectors lie little endian whatever the machine is.
fn cast<'f>(e: &mut impl RowCx<'f>, ty: Type, x: Value) -> Value {
    if type_of(e, x) == ty {
        return x;
    }
    e.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), x)
}

fn bool_to_i32<'f>(e: &mut impl RowCx<'f>, condition: Value) -> Value {
    e.ins().uextend(types::I32, condition)
}

fn eqz<'f>(e: &mut impl RowCx<'f>, a: Value) -> Value {
    let c = e.ins().icmp_imm_s(IntCC::Equal, a, 0);
    bool_to_i32(e, c)
}

fn icmp<'f>(e: &mut impl RowCx<'f>, cc: IntCC, a: Value, b: Value) -> Value {
    let c = e.ins().icmp(cc, a, b);
    bool_to_i32(e, c)
}

fn fcmp<'f>(e: &mut impl RowCx<'f>, cc: FloatCC, a: Value, b: Value) -> Value {
    let c = e.ins().fcmp(cc, a, b);
    bool_to_i32(e, c)
}

/// Sign-extends the low bits of `a` that have type `narrow`.
fn extend_from<'f>(e: &mut impl RowCx<'f>, narrow: Type, a: Value) -> Value {
    let ty = type_of(e, a);
    let low = e.ins().ireduce(narrow, a);
    e.ins().sextend(ty, low)
}

/// One instruction on two numbers of 128 bits in halves, the low one first.
fn wide<'f>(
    e: &mut impl RowCx<'f>,
    [a, b]: [Value; 2],
    [c, d]: [Value; 2],
    f: impl FnOnce(FuncInstBuilder<'_, 'f>, Value, Value) -> Value,
) -> [Value; 2] {
    let (x, y) = (e.ins().iconcat(a, b), e.ins().iconcat(c, d));
    let z = f(e.ins(), x, y);
    let (low, high) = e.ins().isplit(z);
    [low, high]
}

fn trap_if_zero<'f>(e: &mut impl RowCx<'f>, divisor: Value) {
    let c = e.ins().icmp_imm_s(IntCC::Equal, divisor, 0);
    e.trap_if(c, TrapCode::IntegerDivideByZero);
}

fn div_s<'f>(e: &mut impl RowCx<'f>, a: Value, b: Value) -> Value {
    trap_if_zero(e, b);
    let min = i64::MIN >> (64 - type_of(e, a).bits());
    let is_min = e.ins().icmp_imm_s(IntCC::Equal, a, min);
    let is_minus_one = e.ins().icmp_imm_s(IntCC::Equal, b, -1);
    let overflows = e.ins().band(is_min, is_minus_one);
    e.trap_if(overflows, TrapCode::IntegerOverflow);
    e.ins().sdiv(a, b)
}

/// The remainder by 1 stands for that by -1, which is 0 too: no division can overflow.
fn rem_s<'f>(e: &mut impl RowCx<'f>, a: Value, b: Value) -> Value {
    trap_if_zero(e, b);
    let ty = type_of(e, b);
    let is_minus_one = e.ins().icmp_imm_s(IntCC::Equal, b, -1);
    let one = e.ins().iconst(ty, 1);
    let divisor = e.ins().select(is_minus_one, one, b);
    e.ins().srem(a, divisor)
}

fn trap_unless_f32_fits<'f>(e: &mut impl RowCx<'f>, a: Value, (above, below): (f32, f32)) {
    let above = e.ins().f32const(Ieee32::with_bits(above.to_bits()));
    let below = e.ins().f32const(Ieee32::with_bits(below.to_bits()));
    trap_unless_between(e, a, above, below);
}

fn trap_unless_f64_fits<'f>(e: &mut impl RowCx<'f>, a: Value, (above, below): (f64, f64)) {
    let above = e.ins().f64const(Ieee64::with_bits(above.to_bits()));
    let below = e.ins().f64const(Ieee64::with_bits(below.to_bits()));
    trap_unless_between(e, a, above, below);
}

fn trap_unless_between<'f>(e: &mut impl RowCx<'f>, a: Value, above: Value, below: Value) {
    let is_nan = e.ins().fcmp(FloatCC::Unordered, a, a);
    e.trap_if(is_nan, TrapCode::InvalidConversionToInteger);
    let too_low = e.ins().fcmp(FloatCC::LessThanOrEqual, a, above);
    let too_high = e.ins().fcmp(FloatCC::GreaterThanOrEqual, a, below);
    let overflows = e.ins().bor(too_low, too_high);
    e.trap_if(overflows, TrapCode::IntegerOverflow);
}

/// `x`, of shape `ty` outside a row, with the positive canonical NaN in place of every NaN.
fn canonical_nan<'f>(e: &mut impl RowCx<'f>, ty: Type, x: Value) -> Value {
    const NAN32: u32 = 0x7fc0_0000;
    const NAN64: u64 = 0x7ff8_0000_0000_0000;
    let v = cast(e, ty, x);
    let is_nan = e.ins().fcmp(FloatCC::Unordered, v, v);
    let nan = match ty.lane_type() {
        types::F32 => e.ins().f32const(Ieee32::with_bits(NAN32)),
        _ => e.ins().f64const(Ieee64::with_bits(NAN64)),
    };
    if !ty.is_vector() {
        return e.ins().select(is_nan, nan, v);
    }
    let (mask, nans) = (cast(e, types::I8X16, is_nan), splat(e, ty, nan));
    e.ins().bitselect(mask, nans, x)
}

// ---- Words of the emitting halves: vectors ----

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Signed,
    Unsigned,
}

/// The shape whose lanes are `lane`.
fn vector_of(lane: Type) -> Type {
    lane.by(128 / lane.bits()).expect("lanes of 8 to 64 bits have a vector type")
}

/// The vector as it is held outside rows.
fn done<'f>(e: &mut impl RowCx<'f>, v: Value) -> Value {
    cast(e, types::I8X16, v)
}

/// One instruction on one vector of shape `ty`.
fn v1<'f>(
    e: &mut impl RowCx<'f>,
    ty: Type,
    a: Value,
    f: impl FnOnce(FuncInstBuilder<'_, 'f>, Value) -> Value,
) -> Value {
    let a = cast(e, ty, a);
    let v = f(e.ins(), a);
    done(e, v)
}

/// One instruction on two vectors of shape `ty`.
fn v2<'f>(
    e: &mut impl RowCx<'f>,
    ty: Type,
    a: Value,
    b: Value,
    f: impl FnOnce(FuncInstBuilder<'_, 'f>, Value, Value) -> Value,
) -> Value {
    let (a, b) = (cast(e, ty, a), cast(e, ty, b));
    let v = f(e.ins(), a, b);
    done(e, v)
}

/// One instruction on a vector of shape `ty` and an `i32`.
fn vshift<'f>(
    e: &mut impl RowCx<'f>,
    ty: Type,
    a: Value,
    by: Value,
    f: impl FnOnce(FuncInstBuilder<'_, 'f>, Value, Value) -> Value,
) -> Value {
    v1(e, ty, a, |ins, a| f(ins, a, by))
}

fn vicmp<'f>(e: &mut impl RowCx<'f>, ty: Type, cc: IntCC, a: Value, b: Value) -> Value {
    v2(e, ty, a, b, |i, a, b| i.icmp(cc, a, b))
}

fn vfcmp<'f>(e: &mut impl RowCx<'f>, ty: Type, cc: FloatCC, a: Value, b: Value) -> Value {
    v2(e, ty, a, b, |i, a, b| i.fcmp(cc, a, b))
}

fn and_not<'f>(e: &mut impl RowCx<'f>, a: Value, b: Value) -> Value {
    let b = e.ins().bnot(b);
    e.ins().band(a, b)
}

fn splat<'f>(e: &mut impl RowCx<'f>, ty: Type, x: Value) -> Value {
    let v = e.ins().splat(ty, x);
    done(e, v)
}

fn zero_above<'f>(e: &mut impl RowCx<'f>, ty: Type, x: Value) -> Value {
    let v = e.ins().scalar_to_vector(ty, x);
    done(e, v)
}

/// Widens the 64 bits `x`, lanes of the shape `ty`.
fn load_wide<'f>(
    e: &mut impl RowCx<'f>,
    ty: Type,
    x: Value,
    f: impl FnOnce(FuncInstBuilder<'_, 'f>, Value) -> Value,
) -> Value {
    let v = e.ins().scalar_to_vector(types::I64X2, x);
    v1(e, ty, v, f)
}

fn extract<'f>(e: &mut impl RowCx<'f>, ty: Type, lane: u8, a: Value) -> Value {
    let a = cast(e, ty, a);
    e.ins().extractlane(a, lane)
}

fn replace<'f>(e: &mut impl RowCx<'f>, ty: Type, lane: u8, a: Value, x: Value) -> Value {
    v1(e, ty, a, |i, a| i.insertlane(a, x, lane))
}

fn any_true<'f>(e: &mut impl RowCx<'f>, a: Value) -> Value {
    let c = e.ins().vany_true(a);
    bool_to_i32(e, c)
}

fn all_true<'f>(e: &mut impl RowCx<'f>, ty: Type, a: Value) -> Value {
    let a = cast(e, ty, a);
    let c = e.ins().vall_true(a);
    bool_to_i32(e, c)
}

fn bitmask<'f>(e: &mut impl RowCx<'f>, ty: Type, a: Value) -> Value {
    let a = cast(e, ty, a);
    e.ins().vhigh_bits(types::I32, a)
}

/// The product of the halves that `widen` makes of two vectors of shape `ty`.
fn ext_mul<'f>(
    e: &mut impl RowCx<'f>,
    ty: Type,
    a: Value,
    b: Value,
    widen: impl Fn(FuncInstBuilder<'_, 'f>, Value) -> Value,
) -> Value {
    let (a, b) = (cast(e, ty, a), cast(e, ty, b));
    let a = widen(e.ins(), a);
    let b = widen(e.ins(), b);
    let v = e.ins().imul(a, b);
    done(e, v)
}

/// Sums of adjacent lanes of shape `ty`, in lanes twice as wide.
fn ext_add_pairwise<'f>(e: &mut impl RowCx<'f>, ty: Type, sign: Sign, a: Value) -> Value {
    let a = cast(e, ty, a);
    let (low, high) = match sign {
        Sign::Signed => (e.ins().swiden_low(a), e.ins().swiden_high(a)),
        Sign::Unsigned => (e.ins().uwiden_low(a), e.ins().uwiden_high(a)),
    };
    let v = e.ins().iadd_pairwise(low, high);
    done(e, v)
}

fn dot<'f>(e: &mut impl RowCx<'f>, a: Value, b: Value) -> Value {
    let low = ext_mul(e, types::I16X8, a, b, |i, v| i.swiden_low(v));
    let high = ext_mul(e, types::I16X8, a, b, |i, v| i.swiden_high(v));
    v2(e, types::I32X4, low, high, |i, low, high| i.iadd_pairwise(low, high))
}

/// Products of two signed bytes fit an `i16`; only their sum saturates, which the narrowing does.
fn relaxed_dot<'f>(e: &mut impl RowCx<'f>, a: Value, b: Value) -> Value {
    let low = ext_mul(e, types::I8X16, a, b, |i, v| i.swiden_low(v));
    let high = ext_mul(e, types::I8X16, a, b, |i, v| i.swiden_high(v));
    let low = ext_add_pairwise(e, types::I16X8, Sign::Signed, low);
    let high = ext_add_pairwise(e, types::I16X8, Sign::Signed, high);
    v2(e, types::I32X4, low, high, |i, low, high| i.snarrow(low, high))
}

fn relaxed_dot_add<'f>(e: &mut impl RowCx<'f>, a: Value, b: Value, c: Value) -> Value {
    let sums = relaxed_dot(e, a, b);
    let sums = ext_add_pairwise(e, types::I16X8, Sign::Signed, sums);
    v2(e, types::I32X4, sums, c, |i, sums, c| i.iadd(sums, c))
}

/// `if b < a { b } else { a }`: zeros and NaNs are as that says, not as in `min`.
fn pseudo_min<'f>(e: &mut impl RowCx<'f>, ty: Type, a: Value, b: Value) -> Value {
    let less = vfcmp(e, ty, FloatCC::LessThan, b, a);
    e.ins().bitselect(less, b, a)
}

/// `if a < b { b } else { a }`.
fn pseudo_max<'f>(e: &mut impl RowCx<'f>, ty: Type, a: Value, b: Value) -> Value {
    let less = vfcmp(e, ty, FloatCC::LessThan, a, b);
    e.ins().bitselect(less, b, a)
}

/// `a * b + c` with two roundings, as the deterministic profile has it.
fn multiply_add<'f>(e: &mut impl RowCx<'f>, ty: Type, a: Value, b: Value, c: Value) -> Value {
    let product = v2(e, ty, a, b, |i, a, b| i.fmul(a, b));
    v2(e, ty, product, c, |i, product, c| i.fadd(product, c))
}

fn negated_multiply_add<'f>(e: &mut impl RowCx<'f>, ty: Type, a: Value, b: Value, c: Value) -> Value {
    let a = v1(e, ty, a, |i, a| i.fneg(a));
    multiply_add(e, ty, a, b, c)
}

/// The lowering knows this sum of three instructions, and 64-bit lanes only in it.
fn trunc_sat_f64x2_zero<'f>(e: &mut impl RowCx<'f>, sign: Sign, a: Value) -> Value {
    let a = cast(e, types::F64X2, a);
    let mut ins = e.ins();
    let zeros = ins.data_flow_graph_mut().constants.insert(ConstantData::from([0; 16].as_slice()));
    let zeros = ins.vconst(types::I64X2, zeros);
    let v = match sign {
        Sign::Signed => {
            let wide = e.ins().fcvt_to_sint_sat(types::I64X2, a);
            e.ins().snarrow(wide, zeros)
        }
        Sign::Unsigned => {
            let wide = e.ins().fcvt_to_uint_sat(types::I64X2, a);
            e.ins().uunarrow(wide, zeros)
        }
    };
    done(e, v)
}

/// Like [`trunc_sat_f64x2_zero`], a pair that the lowering knows.
fn convert_low<'f>(e: &mut impl RowCx<'f>, sign: Sign, a: Value) -> Value {
    let a = cast(e, types::I32X4, a);
    let v = match sign {
        Sign::Signed => {
            let wide = e.ins().swiden_low(a);
            e.ins().fcvt_from_sint(types::F64X2, wide)
        }
        Sign::Unsigned => {
            let wide = e.ins().uwiden_low(a);
            e.ins().fcvt_from_uint(types::F64X2, wide)
        }
    };
    done(e, v)
}

#[cfg(test)]
mod tests;
