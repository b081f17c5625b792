//! Rows of the vector operators that may compute a NaN, relaxed ones with the semantics of the
//! deterministic profile (specification 4.3.6, every parameter 0). They come after the scalar rows
//! of [`for_each_float_row!`](crate::for_each_float_row).

#[doc(hidden)]
#[macro_export]
macro_rules! __vector_float_rows {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            F32x4Ceil (a: v128) -> f32x4 { $crate::ops::sem::map1(a, <f32 as $crate::ops::sem::Float>::ceil) } clif |e| { v1(e, types::F32X4, a, |i, a| i.ceil(a)) };
            F32x4Floor (a: v128) -> f32x4 { $crate::ops::sem::map1(a, <f32 as $crate::ops::sem::Float>::floor) } clif |e| { v1(e, types::F32X4, a, |i, a| i.floor(a)) };
            F32x4Trunc (a: v128) -> f32x4 { $crate::ops::sem::map1(a, <f32 as $crate::ops::sem::Float>::trunc) } clif |e| { v1(e, types::F32X4, a, |i, a| i.trunc(a)) };
            F32x4Nearest (a: v128) -> f32x4 { $crate::ops::sem::map1(a, <f32 as $crate::ops::sem::Float>::nearest) } clif |e| { v1(e, types::F32X4, a, |i, a| i.nearest(a)) };
            F32x4Sqrt (a: v128) -> f32x4 { $crate::ops::sem::map1(a, f32::sqrt) } clif |e| { v1(e, types::F32X4, a, |i, a| i.sqrt(a)) };
            F32x4Add (a: v128, b: v128) -> f32x4 { $crate::ops::sem::map2(a, b, |x: f32, y| x + y) } clif |e| { v2(e, types::F32X4, a, b, |i, a, b| i.fadd(a, b)) };
            F32x4Sub (a: v128, b: v128) -> f32x4 { $crate::ops::sem::map2(a, b, |x: f32, y| x - y) } clif |e| { v2(e, types::F32X4, a, b, |i, a, b| i.fsub(a, b)) };
            F32x4Mul (a: v128, b: v128) -> f32x4 { $crate::ops::sem::map2(a, b, |x: f32, y| x * y) } clif |e| { v2(e, types::F32X4, a, b, |i, a, b| i.fmul(a, b)) };
            F32x4Div (a: v128, b: v128) -> f32x4 { $crate::ops::sem::map2(a, b, |x: f32, y| x / y) } clif |e| { v2(e, types::F32X4, a, b, |i, a, b| i.fdiv(a, b)) };
            F32x4Min (a: v128, b: v128) -> f32x4 { $crate::ops::sem::map2(a, b, <f32 as $crate::ops::sem::Float>::minimum) } clif |e| { v2(e, types::F32X4, a, b, |i, a, b| i.fmin(a, b)) };
            F32x4Max (a: v128, b: v128) -> f32x4 { $crate::ops::sem::map2(a, b, <f32 as $crate::ops::sem::Float>::maximum) } clif |e| { v2(e, types::F32X4, a, b, |i, a, b| i.fmax(a, b)) };
            F32x4RelaxedMin (a: v128, b: v128) -> f32x4 { $crate::ops::sem::map2(a, b, <f32 as $crate::ops::sem::Float>::minimum) } clif |e| { v2(e, types::F32X4, a, b, |i, a, b| i.fmin(a, b)) };
            F32x4RelaxedMax (a: v128, b: v128) -> f32x4 { $crate::ops::sem::map2(a, b, <f32 as $crate::ops::sem::Float>::maximum) } clif |e| { v2(e, types::F32X4, a, b, |i, a, b| i.fmax(a, b)) };
            F32x4RelaxedMadd (a: v128, b: v128, c: v128) -> f32x4 { $crate::ops::sem::map3(a, b, c, |x: f32, y, z| x * y + z) } clif |e| { multiply_add(e, types::F32X4, a, b, c) };
            F32x4RelaxedNmadd (a: v128, b: v128, c: v128) -> f32x4 { $crate::ops::sem::map3(a, b, c, |x: f32, y, z| -x * y + z) } clif |e| { negated_multiply_add(e, types::F32X4, a, b, c) };
            F64x2Ceil (a: v128) -> f64x2 { $crate::ops::sem::map1(a, <f64 as $crate::ops::sem::Float>::ceil) } clif |e| { v1(e, types::F64X2, a, |i, a| i.ceil(a)) };
            F64x2Floor (a: v128) -> f64x2 { $crate::ops::sem::map1(a, <f64 as $crate::ops::sem::Float>::floor) } clif |e| { v1(e, types::F64X2, a, |i, a| i.floor(a)) };
            F64x2Trunc (a: v128) -> f64x2 { $crate::ops::sem::map1(a, <f64 as $crate::ops::sem::Float>::trunc) } clif |e| { v1(e, types::F64X2, a, |i, a| i.trunc(a)) };
            F64x2Nearest (a: v128) -> f64x2 { $crate::ops::sem::map1(a, <f64 as $crate::ops::sem::Float>::nearest) } clif |e| { v1(e, types::F64X2, a, |i, a| i.nearest(a)) };
            F64x2Sqrt (a: v128) -> f64x2 { $crate::ops::sem::map1(a, f64::sqrt) } clif |e| { v1(e, types::F64X2, a, |i, a| i.sqrt(a)) };
            F64x2Add (a: v128, b: v128) -> f64x2 { $crate::ops::sem::map2(a, b, |x: f64, y| x + y) } clif |e| { v2(e, types::F64X2, a, b, |i, a, b| i.fadd(a, b)) };
            F64x2Sub (a: v128, b: v128) -> f64x2 { $crate::ops::sem::map2(a, b, |x: f64, y| x - y) } clif |e| { v2(e, types::F64X2, a, b, |i, a, b| i.fsub(a, b)) };
            F64x2Mul (a: v128, b: v128) -> f64x2 { $crate::ops::sem::map2(a, b, |x: f64, y| x * y) } clif |e| { v2(e, types::F64X2, a, b, |i, a, b| i.fmul(a, b)) };
            F64x2Div (a: v128, b: v128) -> f64x2 { $crate::ops::sem::map2(a, b, |x: f64, y| x / y) } clif |e| { v2(e, types::F64X2, a, b, |i, a, b| i.fdiv(a, b)) };
            F64x2Min (a: v128, b: v128) -> f64x2 { $crate::ops::sem::map2(a, b, <f64 as $crate::ops::sem::Float>::minimum) } clif |e| { v2(e, types::F64X2, a, b, |i, a, b| i.fmin(a, b)) };
            F64x2Max (a: v128, b: v128) -> f64x2 { $crate::ops::sem::map2(a, b, <f64 as $crate::ops::sem::Float>::maximum) } clif |e| { v2(e, types::F64X2, a, b, |i, a, b| i.fmax(a, b)) };
            F64x2RelaxedMin (a: v128, b: v128) -> f64x2 { $crate::ops::sem::map2(a, b, <f64 as $crate::ops::sem::Float>::minimum) } clif |e| { v2(e, types::F64X2, a, b, |i, a, b| i.fmin(a, b)) };
            F64x2RelaxedMax (a: v128, b: v128) -> f64x2 { $crate::ops::sem::map2(a, b, <f64 as $crate::ops::sem::Float>::maximum) } clif |e| { v2(e, types::F64X2, a, b, |i, a, b| i.fmax(a, b)) };
            F64x2RelaxedMadd (a: v128, b: v128, c: v128) -> f64x2 { $crate::ops::sem::map3(a, b, c, |x: f64, y, z| x * y + z) } clif |e| { multiply_add(e, types::F64X2, a, b, c) };
            F64x2RelaxedNmadd (a: v128, b: v128, c: v128) -> f64x2 { $crate::ops::sem::map3(a, b, c, |x: f64, y, z| -x * y + z) } clif |e| { negated_multiply_add(e, types::F64X2, a, b, c) };
            F32x4DemoteF64x2Zero (a: v128) -> f32x4 { $crate::ops::sem::narrow_zero(a, $crate::ops::sem::demote) } clif |e| { v1(e, types::F64X2, a, |i, a| i.fvdemote(a)) };
            F64x2PromoteLowF32x4 (a: v128) -> f64x2 { $crate::ops::sem::widen_low(a, $crate::ops::sem::promote) } clif |e| { v1(e, types::F32X4, a, |i, a| i.fvpromote_low(a)) };
        }
    };
}
