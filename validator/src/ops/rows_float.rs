//! Rows of the operators that compute floats and may so make a NaN.
//!
//! A consumer that promises determinism passes their results through `canonicalize_nan`; no other
//! row needs it.

/// Calls `$mac! { $extra rows }` with all float rows: scalar and vector operators that may compute a NaN.
#[macro_export]
macro_rules! for_each_float_row {
    ($mac:ident $($extra:tt)*) => {
        $crate::__vector_float_rows! { $mac $($extra)*
            F32Ceil (a: f32) -> f32 { $crate::ops::sem::Float::ceil(a) } clif |e| { e.ins().ceil(a) };
            F32Floor (a: f32) -> f32 { $crate::ops::sem::Float::floor(a) } clif |e| { e.ins().floor(a) };
            F32Trunc (a: f32) -> f32 { $crate::ops::sem::Float::trunc(a) } clif |e| { e.ins().trunc(a) };
            F32Nearest (a: f32) -> f32 { $crate::ops::sem::Float::nearest(a) } clif |e| { e.ins().nearest(a) };
            F32Sqrt (a: f32) -> f32 { a.sqrt() } clif |e| { e.ins().sqrt(a) };
            F32Add (a: f32, b: f32) -> f32 { a + b } clif |e| { e.ins().fadd(a, b) };
            F32Sub (a: f32, b: f32) -> f32 { a - b } clif |e| { e.ins().fsub(a, b) };
            F32Mul (a: f32, b: f32) -> f32 { a * b } clif |e| { e.ins().fmul(a, b) };
            F32Div (a: f32, b: f32) -> f32 { a / b } clif |e| { e.ins().fdiv(a, b) };
            F32Min (a: f32, b: f32) -> f32 { $crate::ops::sem::Float::minimum(a, b) } clif |e| { e.ins().fmin(a, b) };
            F32Max (a: f32, b: f32) -> f32 { $crate::ops::sem::Float::maximum(a, b) } clif |e| { e.ins().fmax(a, b) };
            F64Ceil (a: f64) -> f64 { $crate::ops::sem::Float::ceil(a) } clif |e| { e.ins().ceil(a) };
            F64Floor (a: f64) -> f64 { $crate::ops::sem::Float::floor(a) } clif |e| { e.ins().floor(a) };
            F64Trunc (a: f64) -> f64 { $crate::ops::sem::Float::trunc(a) } clif |e| { e.ins().trunc(a) };
            F64Nearest (a: f64) -> f64 { $crate::ops::sem::Float::nearest(a) } clif |e| { e.ins().nearest(a) };
            F64Sqrt (a: f64) -> f64 { a.sqrt() } clif |e| { e.ins().sqrt(a) };
            F64Add (a: f64, b: f64) -> f64 { a + b } clif |e| { e.ins().fadd(a, b) };
            F64Sub (a: f64, b: f64) -> f64 { a - b } clif |e| { e.ins().fsub(a, b) };
            F64Mul (a: f64, b: f64) -> f64 { a * b } clif |e| { e.ins().fmul(a, b) };
            F64Div (a: f64, b: f64) -> f64 { a / b } clif |e| { e.ins().fdiv(a, b) };
            F64Min (a: f64, b: f64) -> f64 { $crate::ops::sem::Float::minimum(a, b) } clif |e| { e.ins().fmin(a, b) };
            F64Max (a: f64, b: f64) -> f64 { $crate::ops::sem::Float::maximum(a, b) } clif |e| { e.ins().fmax(a, b) };
            F32DemoteF64 (a: f64) -> f32 { $crate::ops::sem::demote(a) } clif |e| { e.ins().fdemote(types::F32, a) };
            F64PromoteF32 (a: f32) -> f64 { $crate::ops::sem::promote(a) } clif |e| { e.ins().fpromote(types::F64, a) };
        }
    };
}
