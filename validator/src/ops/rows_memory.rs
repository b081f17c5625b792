//! Rows of loads and stores: what an access reads or writes, and how a value comes from or goes to it.
//!
//! The type in brackets is that of the bytes in memory; its size is the size of the access. The
//! address, its checks and its traps are not the table's business.

/// Calls `$mac! { $extra rows }` with all load rows.
#[macro_export]
macro_rules! for_each_load_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I32Load [i32] (x) -> i32 { x } clif |e| { x };
            I64Load [i64] (x) -> i64 { x } clif |e| { x };
            F32Load [f32] (x) -> f32 { x } clif |e| { x };
            F64Load [f64] (x) -> f64 { x } clif |e| { x };
            I32Load8S [i8] (x) -> i32 { i32::from(x) } clif |e| { x };
            I32Load8U [u8] (x) -> i32 { i32::from(x) } clif |e| { x };
            I32Load16S [i16] (x) -> i32 { i32::from(x) } clif |e| { x };
            I32Load16U [u16] (x) -> i32 { i32::from(x) } clif |e| { x };
            I64Load8S [i8] (x) -> i64 { i64::from(x) } clif |e| { x };
            I64Load8U [u8] (x) -> i64 { i64::from(x) } clif |e| { x };
            I64Load16S [i16] (x) -> i64 { i64::from(x) } clif |e| { x };
            I64Load16U [u16] (x) -> i64 { i64::from(x) } clif |e| { x };
            I64Load32S [i32] (x) -> i64 { i64::from(x) } clif |e| { x };
            I64Load32U [u32] (x) -> i64 { i64::from(x) } clif |e| { x };
            V128Load [v128] (x) -> v128 { x } clif |e| { x };
            V128Load8x8S [u64] (x) -> v128 { $crate::ops::sem::widen_low($crate::ops::sem::zero_above(x), |l: i8| i16::from(l)) } clif |e| { load_wide(e, types::I8X16, x, |i, v| i.swiden_low(v)) };
            V128Load8x8U [u64] (x) -> v128 { $crate::ops::sem::widen_low($crate::ops::sem::zero_above(x), |l: u8| u16::from(l)) } clif |e| { load_wide(e, types::I8X16, x, |i, v| i.uwiden_low(v)) };
            V128Load16x4S [u64] (x) -> v128 { $crate::ops::sem::widen_low($crate::ops::sem::zero_above(x), |l: i16| i32::from(l)) } clif |e| { load_wide(e, types::I16X8, x, |i, v| i.swiden_low(v)) };
            V128Load16x4U [u64] (x) -> v128 { $crate::ops::sem::widen_low($crate::ops::sem::zero_above(x), |l: u16| u32::from(l)) } clif |e| { load_wide(e, types::I16X8, x, |i, v| i.uwiden_low(v)) };
            V128Load32x2S [u64] (x) -> v128 { $crate::ops::sem::widen_low($crate::ops::sem::zero_above(x), |l: i32| i64::from(l)) } clif |e| { load_wide(e, types::I32X4, x, |i, v| i.swiden_low(v)) };
            V128Load32x2U [u64] (x) -> v128 { $crate::ops::sem::widen_low($crate::ops::sem::zero_above(x), |l: u32| u64::from(l)) } clif |e| { load_wide(e, types::I32X4, x, |i, v| i.uwiden_low(v)) };
            V128Load8Splat [u8] (x) -> v128 { $crate::ops::sem::splat(x) } clif |e| { splat(e, types::I8X16, x) };
            V128Load16Splat [u16] (x) -> v128 { $crate::ops::sem::splat(x) } clif |e| { splat(e, types::I16X8, x) };
            V128Load32Splat [u32] (x) -> v128 { $crate::ops::sem::splat(x) } clif |e| { splat(e, types::I32X4, x) };
            V128Load64Splat [u64] (x) -> v128 { $crate::ops::sem::splat(x) } clif |e| { splat(e, types::I64X2, x) };
            V128Load32Zero [u32] (x) -> v128 { $crate::ops::sem::zero_above(x) } clif |e| { zero_above(e, types::I32X4, x) };
            V128Load64Zero [u64] (x) -> v128 { $crate::ops::sem::zero_above(x) } clif |e| { zero_above(e, types::I64X2, x) };
        }
    };
}

/// Calls `$mac! { $extra rows }` with all store rows.
#[macro_export]
macro_rules! for_each_store_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I32Store (x: i32) [i32] { x } clif |e| { x };
            I64Store (x: i64) [i64] { x } clif |e| { x };
            F32Store (x: f32) [f32] { x } clif |e| { x };
            F64Store (x: f64) [f64] { x } clif |e| { x };
            I32Store8 (x: i32) [u8] { x as u8 } clif |e| { e.ins().ireduce(types::I8, x) };
            I32Store16 (x: i32) [u16] { x as u16 } clif |e| { e.ins().ireduce(types::I16, x) };
            I64Store8 (x: i64) [u8] { x as u8 } clif |e| { e.ins().ireduce(types::I8, x) };
            I64Store16 (x: i64) [u16] { x as u16 } clif |e| { e.ins().ireduce(types::I16, x) };
            I64Store32 (x: i64) [u32] { x as u32 } clif |e| { e.ins().ireduce(types::I32, x) };
            V128Store (x: v128) [v128] { x } clif |e| { x };
        }
    };
}

/// Calls `$mac! { $extra rows }` with all rows that load one lane of a vector.
#[macro_export]
macro_rules! for_each_load_lane_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            V128Load8Lane [u8] lanes 16;
            V128Load16Lane [u16] lanes 8;
            V128Load32Lane [u32] lanes 4;
            V128Load64Lane [u64] lanes 2;
        }
    };
}

/// Calls `$mac! { $extra rows }` with all rows that store one lane of a vector.
#[macro_export]
macro_rules! for_each_store_lane_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            V128Store8Lane [u8] lanes 16;
            V128Store16Lane [u16] lanes 8;
            V128Store32Lane [u32] lanes 4;
            V128Store64Lane [u64] lanes 2;
        }
    };
}
