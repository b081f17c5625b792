//! Rows of the operators that take a lane number as immediate.

/// Calls `$mac! { $extra rows }` with all rows that extract a lane.
#[macro_export]
macro_rules! for_each_extract_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I8x16ExtractLaneS lanes 16 (a: v128; lane) -> i32 { i32::from($crate::ops::sem::extract::<i8>(a, lane)) } clif |e| { let x = extract(e, types::I8X16, lane, a); e.ins().sextend(types::I32, x) };
            I8x16ExtractLaneU lanes 16 (a: v128; lane) -> i32 { i32::from($crate::ops::sem::extract::<u8>(a, lane)) } clif |e| { let x = extract(e, types::I8X16, lane, a); e.ins().uextend(types::I32, x) };
            I16x8ExtractLaneS lanes 8 (a: v128; lane) -> i32 { i32::from($crate::ops::sem::extract::<i16>(a, lane)) } clif |e| { let x = extract(e, types::I16X8, lane, a); e.ins().sextend(types::I32, x) };
            I16x8ExtractLaneU lanes 8 (a: v128; lane) -> i32 { i32::from($crate::ops::sem::extract::<u16>(a, lane)) } clif |e| { let x = extract(e, types::I16X8, lane, a); e.ins().uextend(types::I32, x) };
            I32x4ExtractLane lanes 4 (a: v128; lane) -> i32 { $crate::ops::sem::extract::<i32>(a, lane) } clif |e| { extract(e, types::I32X4, lane, a) };
            I64x2ExtractLane lanes 2 (a: v128; lane) -> i64 { $crate::ops::sem::extract::<i64>(a, lane) } clif |e| { extract(e, types::I64X2, lane, a) };
            F32x4ExtractLane lanes 4 (a: v128; lane) -> f32 { $crate::ops::sem::extract::<f32>(a, lane) } clif |e| { extract(e, types::F32X4, lane, a) };
            F64x2ExtractLane lanes 2 (a: v128; lane) -> f64 { $crate::ops::sem::extract::<f64>(a, lane) } clif |e| { extract(e, types::F64X2, lane, a) };
        }
    };
}

/// Calls `$mac! { $extra rows }` with all rows that replace a lane.
#[macro_export]
macro_rules! for_each_replace_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I8x16ReplaceLane lanes 16 (a: v128, b: i32; lane) -> v128 { $crate::ops::sem::replace(a, lane, b as u8) } clif |e| { let x = e.ins().ireduce(types::I8, b); replace(e, types::I8X16, lane, a, x) };
            I16x8ReplaceLane lanes 8 (a: v128, b: i32; lane) -> v128 { $crate::ops::sem::replace(a, lane, b as u16) } clif |e| { let x = e.ins().ireduce(types::I16, b); replace(e, types::I16X8, lane, a, x) };
            I32x4ReplaceLane lanes 4 (a: v128, b: i32; lane) -> v128 { $crate::ops::sem::replace(a, lane, b) } clif |e| { replace(e, types::I32X4, lane, a, b) };
            I64x2ReplaceLane lanes 2 (a: v128, b: i64; lane) -> v128 { $crate::ops::sem::replace(a, lane, b) } clif |e| { replace(e, types::I64X2, lane, a, b) };
            F32x4ReplaceLane lanes 4 (a: v128, b: f32; lane) -> v128 { $crate::ops::sem::replace(a, lane, b) } clif |e| { replace(e, types::F32X4, lane, a, b) };
            F64x2ReplaceLane lanes 2 (a: v128, b: f64; lane) -> v128 { $crate::ops::sem::replace(a, lane, b) } clif |e| { replace(e, types::F64X2, lane, a, b) };
        }
    };
}
