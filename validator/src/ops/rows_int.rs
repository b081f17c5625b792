//! Rows of the integer operators, of comparisons, and of what only moves the bits of floats.
//!
//! Numeric rows are total; trapping rows evaluate to `Result<_, TrapCode>` and emit their checks
//! with `trap_if`, so that the instruction after them cannot fault.

/// Calls `$mac! { $extra rows }` with all numeric rows: scalar and vector operators that neither
/// trap nor compute a NaN.
#[macro_export]
macro_rules! for_each_numeric_row {
    ($mac:ident $($extra:tt)*) => {
        $crate::__vector_numeric_rows! { $mac $($extra)*
            I32Eqz (a: i32) -> i32 { i32::from(a == 0) } clif |e| { eqz(e, a) };
            I32Eq (a: i32, b: i32) -> i32 { i32::from(a == b) } clif |e| { icmp(e, IntCC::Equal, a, b) };
            I32Ne (a: i32, b: i32) -> i32 { i32::from(a != b) } clif |e| { icmp(e, IntCC::NotEqual, a, b) };
            I32LtS (a: i32, b: i32) -> i32 { i32::from(a < b) } clif |e| { icmp(e, IntCC::SignedLessThan, a, b) };
            I32LtU (a: i32, b: i32) -> i32 { i32::from((a as u32) < b as u32) } clif |e| { icmp(e, IntCC::UnsignedLessThan, a, b) };
            I32GtS (a: i32, b: i32) -> i32 { i32::from(a > b) } clif |e| { icmp(e, IntCC::SignedGreaterThan, a, b) };
            I32GtU (a: i32, b: i32) -> i32 { i32::from(a as u32 > b as u32) } clif |e| { icmp(e, IntCC::UnsignedGreaterThan, a, b) };
            I32LeS (a: i32, b: i32) -> i32 { i32::from(a <= b) } clif |e| { icmp(e, IntCC::SignedLessThanOrEqual, a, b) };
            I32LeU (a: i32, b: i32) -> i32 { i32::from(a as u32 <= b as u32) } clif |e| { icmp(e, IntCC::UnsignedLessThanOrEqual, a, b) };
            I32GeS (a: i32, b: i32) -> i32 { i32::from(a >= b) } clif |e| { icmp(e, IntCC::SignedGreaterThanOrEqual, a, b) };
            I32GeU (a: i32, b: i32) -> i32 { i32::from(a as u32 >= b as u32) } clif |e| { icmp(e, IntCC::UnsignedGreaterThanOrEqual, a, b) };
            I64Eqz (a: i64) -> i32 { i32::from(a == 0) } clif |e| { eqz(e, a) };
            I64Eq (a: i64, b: i64) -> i32 { i32::from(a == b) } clif |e| { icmp(e, IntCC::Equal, a, b) };
            I64Ne (a: i64, b: i64) -> i32 { i32::from(a != b) } clif |e| { icmp(e, IntCC::NotEqual, a, b) };
            I64LtS (a: i64, b: i64) -> i32 { i32::from(a < b) } clif |e| { icmp(e, IntCC::SignedLessThan, a, b) };
            I64LtU (a: i64, b: i64) -> i32 { i32::from((a as u64) < b as u64) } clif |e| { icmp(e, IntCC::UnsignedLessThan, a, b) };
            I64GtS (a: i64, b: i64) -> i32 { i32::from(a > b) } clif |e| { icmp(e, IntCC::SignedGreaterThan, a, b) };
            I64GtU (a: i64, b: i64) -> i32 { i32::from(a as u64 > b as u64) } clif |e| { icmp(e, IntCC::UnsignedGreaterThan, a, b) };
            I64LeS (a: i64, b: i64) -> i32 { i32::from(a <= b) } clif |e| { icmp(e, IntCC::SignedLessThanOrEqual, a, b) };
            I64LeU (a: i64, b: i64) -> i32 { i32::from(a as u64 <= b as u64) } clif |e| { icmp(e, IntCC::UnsignedLessThanOrEqual, a, b) };
            I64GeS (a: i64, b: i64) -> i32 { i32::from(a >= b) } clif |e| { icmp(e, IntCC::SignedGreaterThanOrEqual, a, b) };
            I64GeU (a: i64, b: i64) -> i32 { i32::from(a as u64 >= b as u64) } clif |e| { icmp(e, IntCC::UnsignedGreaterThanOrEqual, a, b) };
            F32Eq (a: f32, b: f32) -> i32 { i32::from(a == b) } clif |e| { fcmp(e, FloatCC::Equal, a, b) };
            F32Ne (a: f32, b: f32) -> i32 { i32::from(a != b) } clif |e| { fcmp(e, FloatCC::NotEqual, a, b) };
            F32Lt (a: f32, b: f32) -> i32 { i32::from(a < b) } clif |e| { fcmp(e, FloatCC::LessThan, a, b) };
            F32Gt (a: f32, b: f32) -> i32 { i32::from(a > b) } clif |e| { fcmp(e, FloatCC::GreaterThan, a, b) };
            F32Le (a: f32, b: f32) -> i32 { i32::from(a <= b) } clif |e| { fcmp(e, FloatCC::LessThanOrEqual, a, b) };
            F32Ge (a: f32, b: f32) -> i32 { i32::from(a >= b) } clif |e| { fcmp(e, FloatCC::GreaterThanOrEqual, a, b) };
            F64Eq (a: f64, b: f64) -> i32 { i32::from(a == b) } clif |e| { fcmp(e, FloatCC::Equal, a, b) };
            F64Ne (a: f64, b: f64) -> i32 { i32::from(a != b) } clif |e| { fcmp(e, FloatCC::NotEqual, a, b) };
            F64Lt (a: f64, b: f64) -> i32 { i32::from(a < b) } clif |e| { fcmp(e, FloatCC::LessThan, a, b) };
            F64Gt (a: f64, b: f64) -> i32 { i32::from(a > b) } clif |e| { fcmp(e, FloatCC::GreaterThan, a, b) };
            F64Le (a: f64, b: f64) -> i32 { i32::from(a <= b) } clif |e| { fcmp(e, FloatCC::LessThanOrEqual, a, b) };
            F64Ge (a: f64, b: f64) -> i32 { i32::from(a >= b) } clif |e| { fcmp(e, FloatCC::GreaterThanOrEqual, a, b) };

            I32Clz (a: i32) -> i32 { a.leading_zeros() as i32 } clif |e| { e.ins().clz(a) };
            I32Ctz (a: i32) -> i32 { a.trailing_zeros() as i32 } clif |e| { e.ins().ctz(a) };
            I32Popcnt (a: i32) -> i32 { a.count_ones() as i32 } clif |e| { e.ins().popcnt(a) };
            I32Add (a: i32, b: i32) -> i32 { a.wrapping_add(b) } clif |e| { e.ins().iadd(a, b) };
            I32Sub (a: i32, b: i32) -> i32 { a.wrapping_sub(b) } clif |e| { e.ins().isub(a, b) };
            I32Mul (a: i32, b: i32) -> i32 { a.wrapping_mul(b) } clif |e| { e.ins().imul(a, b) };
            I32And (a: i32, b: i32) -> i32 { a & b } clif |e| { e.ins().band(a, b) };
            I32Or (a: i32, b: i32) -> i32 { a | b } clif |e| { e.ins().bor(a, b) };
            I32Xor (a: i32, b: i32) -> i32 { a ^ b } clif |e| { e.ins().bxor(a, b) };
            I32Shl (a: i32, b: i32) -> i32 { a.wrapping_shl(b as u32) } clif |e| { e.ins().ishl(a, b) };
            I32ShrS (a: i32, b: i32) -> i32 { a.wrapping_shr(b as u32) } clif |e| { e.ins().sshr(a, b) };
            I32ShrU (a: i32, b: i32) -> i32 { (a as u32).wrapping_shr(b as u32) as i32 } clif |e| { e.ins().ushr(a, b) };
            I32Rotl (a: i32, b: i32) -> i32 { a.rotate_left(b as u32 & 31) } clif |e| { e.ins().rotl(a, b) };
            I32Rotr (a: i32, b: i32) -> i32 { a.rotate_right(b as u32 & 31) } clif |e| { e.ins().rotr(a, b) };
            I64Clz (a: i64) -> i64 { i64::from(a.leading_zeros()) } clif |e| { e.ins().clz(a) };
            I64Ctz (a: i64) -> i64 { i64::from(a.trailing_zeros()) } clif |e| { e.ins().ctz(a) };
            I64Popcnt (a: i64) -> i64 { i64::from(a.count_ones()) } clif |e| { e.ins().popcnt(a) };
            I64Add (a: i64, b: i64) -> i64 { a.wrapping_add(b) } clif |e| { e.ins().iadd(a, b) };
            I64Sub (a: i64, b: i64) -> i64 { a.wrapping_sub(b) } clif |e| { e.ins().isub(a, b) };
            I64Mul (a: i64, b: i64) -> i64 { a.wrapping_mul(b) } clif |e| { e.ins().imul(a, b) };
            I64And (a: i64, b: i64) -> i64 { a & b } clif |e| { e.ins().band(a, b) };
            I64Or (a: i64, b: i64) -> i64 { a | b } clif |e| { e.ins().bor(a, b) };
            I64Xor (a: i64, b: i64) -> i64 { a ^ b } clif |e| { e.ins().bxor(a, b) };
            I64Shl (a: i64, b: i64) -> i64 { a.wrapping_shl(b as u32) } clif |e| { e.ins().ishl(a, b) };
            I64ShrS (a: i64, b: i64) -> i64 { a.wrapping_shr(b as u32) } clif |e| { e.ins().sshr(a, b) };
            I64ShrU (a: i64, b: i64) -> i64 { (a as u64).wrapping_shr(b as u32) as i64 } clif |e| { e.ins().ushr(a, b) };
            I64Rotl (a: i64, b: i64) -> i64 { a.rotate_left(b as u32 & 63) } clif |e| { e.ins().rotl(a, b) };
            I64Rotr (a: i64, b: i64) -> i64 { a.rotate_right(b as u32 & 63) } clif |e| { e.ins().rotr(a, b) };

            I32WrapI64 (a: i64) -> i32 { a as i32 } clif |e| { e.ins().ireduce(types::I32, a) };
            I64ExtendI32S (a: i32) -> i64 { i64::from(a) } clif |e| { e.ins().sextend(types::I64, a) };
            I64ExtendI32U (a: i32) -> i64 { i64::from(a as u32) } clif |e| { e.ins().uextend(types::I64, a) };
            I32Extend8S (a: i32) -> i32 { i32::from(a as i8) } clif |e| { extend_from(e, types::I8, a) };
            I32Extend16S (a: i32) -> i32 { i32::from(a as i16) } clif |e| { extend_from(e, types::I16, a) };
            I64Extend8S (a: i64) -> i64 { i64::from(a as i8) } clif |e| { extend_from(e, types::I8, a) };
            I64Extend16S (a: i64) -> i64 { i64::from(a as i16) } clif |e| { extend_from(e, types::I16, a) };
            I64Extend32S (a: i64) -> i64 { i64::from(a as i32) } clif |e| { extend_from(e, types::I32, a) };

            I32TruncSatF32S (a: f32) -> i32 { a as i32 } clif |e| { e.ins().fcvt_to_sint_sat(types::I32, a) };
            I32TruncSatF32U (a: f32) -> i32 { a as u32 as i32 } clif |e| { e.ins().fcvt_to_uint_sat(types::I32, a) };
            I32TruncSatF64S (a: f64) -> i32 { a as i32 } clif |e| { e.ins().fcvt_to_sint_sat(types::I32, a) };
            I32TruncSatF64U (a: f64) -> i32 { a as u32 as i32 } clif |e| { e.ins().fcvt_to_uint_sat(types::I32, a) };
            I64TruncSatF32S (a: f32) -> i64 { a as i64 } clif |e| { e.ins().fcvt_to_sint_sat(types::I64, a) };
            I64TruncSatF32U (a: f32) -> i64 { a as u64 as i64 } clif |e| { e.ins().fcvt_to_uint_sat(types::I64, a) };
            I64TruncSatF64S (a: f64) -> i64 { a as i64 } clif |e| { e.ins().fcvt_to_sint_sat(types::I64, a) };
            I64TruncSatF64U (a: f64) -> i64 { a as u64 as i64 } clif |e| { e.ins().fcvt_to_uint_sat(types::I64, a) };

            F32ConvertI32S (a: i32) -> f32 { a as f32 } clif |e| { e.ins().fcvt_from_sint(types::F32, a) };
            F32ConvertI32U (a: i32) -> f32 { a as u32 as f32 } clif |e| { e.ins().fcvt_from_uint(types::F32, a) };
            F32ConvertI64S (a: i64) -> f32 { a as f32 } clif |e| { e.ins().fcvt_from_sint(types::F32, a) };
            F32ConvertI64U (a: i64) -> f32 { a as u64 as f32 } clif |e| { e.ins().fcvt_from_uint(types::F32, a) };
            F64ConvertI32S (a: i32) -> f64 { f64::from(a) } clif |e| { e.ins().fcvt_from_sint(types::F64, a) };
            F64ConvertI32U (a: i32) -> f64 { f64::from(a as u32) } clif |e| { e.ins().fcvt_from_uint(types::F64, a) };
            F64ConvertI64S (a: i64) -> f64 { a as f64 } clif |e| { e.ins().fcvt_from_sint(types::F64, a) };
            F64ConvertI64U (a: i64) -> f64 { a as u64 as f64 } clif |e| { e.ins().fcvt_from_uint(types::F64, a) };
            I32ReinterpretF32 (a: f32) -> i32 { a.to_bits() as i32 } clif |e| { cast(e, types::I32, a) };
            I64ReinterpretF64 (a: f64) -> i64 { a.to_bits() as i64 } clif |e| { cast(e, types::I64, a) };
            F32ReinterpretI32 (a: i32) -> f32 { f32::from_bits(a as u32) } clif |e| { cast(e, types::F32, a) };
            F64ReinterpretI64 (a: i64) -> f64 { f64::from_bits(a as u64) } clif |e| { cast(e, types::F64, a) };

            F32Abs (a: f32) -> f32 { a.abs() } clif |e| { e.ins().fabs(a) };
            F32Neg (a: f32) -> f32 { -a } clif |e| { e.ins().fneg(a) };
            F32Copysign (a: f32, b: f32) -> f32 { a.copysign(b) } clif |e| { e.ins().fcopysign(a, b) };
            F64Abs (a: f64) -> f64 { a.abs() } clif |e| { e.ins().fabs(a) };
            F64Neg (a: f64) -> f64 { -a } clif |e| { e.ins().fneg(a) };
            F64Copysign (a: f64, b: f64) -> f64 { a.copysign(b) } clif |e| { e.ins().fcopysign(a, b) };
        }
    };
}

/// Calls `$mac! { $extra rows }` with all rows of 128 bits in two halves: `i64` operands, low half first, to two `i64` results.
#[macro_export]
macro_rules! for_each_wide_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I64Add128 (a, b, c, d) { $crate::ops::sem::add128([a, b], [c, d]) } clif |e| { wide(e, [a, b], [c, d], |i, x, y| i.iadd(x, y)) };
            I64Sub128 (a, b, c, d) { $crate::ops::sem::sub128([a, b], [c, d]) } clif |e| { wide(e, [a, b], [c, d], |i, x, y| i.isub(x, y)) };
            I64MulWideS (a, b) { $crate::ops::sem::mul_wide_s(a, b) } clif |e| { [e.ins().imul(a, b), e.ins().smulhi(a, b)] };
            I64MulWideU (a, b) { $crate::ops::sem::mul_wide_u(a, b) } clif |e| { [e.ins().imul(a, b), e.ins().umulhi(a, b)] };
        }
    };
}

/// Calls `$mac! { $extra rows }` with all trapping rows.
#[macro_export]
macro_rules! for_each_trapping_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I32DivS (a: i32, b: i32) -> i32 { $crate::ops::sem::i32_div_s(a, b) } clif |e| { div_s(e, a, b) };
            I32DivU (a: i32, b: i32) -> i32 { $crate::ops::sem::i32_div_u(a, b) } clif |e| { trap_if_zero(e, b); e.ins().udiv(a, b) };
            I32RemS (a: i32, b: i32) -> i32 { $crate::ops::sem::i32_rem_s(a, b) } clif |e| { rem_s(e, a, b) };
            I32RemU (a: i32, b: i32) -> i32 { $crate::ops::sem::i32_rem_u(a, b) } clif |e| { trap_if_zero(e, b); e.ins().urem(a, b) };
            I64DivS (a: i64, b: i64) -> i64 { $crate::ops::sem::i64_div_s(a, b) } clif |e| { div_s(e, a, b) };
            I64DivU (a: i64, b: i64) -> i64 { $crate::ops::sem::i64_div_u(a, b) } clif |e| { trap_if_zero(e, b); e.ins().udiv(a, b) };
            I64RemS (a: i64, b: i64) -> i64 { $crate::ops::sem::i64_rem_s(a, b) } clif |e| { rem_s(e, a, b) };
            I64RemU (a: i64, b: i64) -> i64 { $crate::ops::sem::i64_rem_u(a, b) } clif |e| { trap_if_zero(e, b); e.ins().urem(a, b) };
            I32TruncF32S (a: f32) -> i32 { $crate::ops::sem::i32_trunc_f32_s(a) } clif |e| { trap_unless_f32_fits(e, a, trunc_bounds::F32_I32); e.ins().fcvt_to_sint_sat(types::I32, a) };
            I32TruncF32U (a: f32) -> i32 { $crate::ops::sem::i32_trunc_f32_u(a) } clif |e| { trap_unless_f32_fits(e, a, trunc_bounds::F32_U32); e.ins().fcvt_to_uint_sat(types::I32, a) };
            I32TruncF64S (a: f64) -> i32 { $crate::ops::sem::i32_trunc_f64_s(a) } clif |e| { trap_unless_f64_fits(e, a, trunc_bounds::F64_I32); e.ins().fcvt_to_sint_sat(types::I32, a) };
            I32TruncF64U (a: f64) -> i32 { $crate::ops::sem::i32_trunc_f64_u(a) } clif |e| { trap_unless_f64_fits(e, a, trunc_bounds::F64_U32); e.ins().fcvt_to_uint_sat(types::I32, a) };
            I64TruncF32S (a: f32) -> i64 { $crate::ops::sem::i64_trunc_f32_s(a) } clif |e| { trap_unless_f32_fits(e, a, trunc_bounds::F32_I64); e.ins().fcvt_to_sint_sat(types::I64, a) };
            I64TruncF32U (a: f32) -> i64 { $crate::ops::sem::i64_trunc_f32_u(a) } clif |e| { trap_unless_f32_fits(e, a, trunc_bounds::F32_U64); e.ins().fcvt_to_uint_sat(types::I64, a) };
            I64TruncF64S (a: f64) -> i64 { $crate::ops::sem::i64_trunc_f64_s(a) } clif |e| { trap_unless_f64_fits(e, a, trunc_bounds::F64_I64); e.ins().fcvt_to_sint_sat(types::I64, a) };
            I64TruncF64U (a: f64) -> i64 { $crate::ops::sem::i64_trunc_f64_u(a) } clif |e| { trap_unless_f64_fits(e, a, trunc_bounds::F64_U64); e.ins().fcvt_to_uint_sat(types::I64, a) };
        }
    };
}
