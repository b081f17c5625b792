//! Evaluation of a row by operator and values, for constant expressions and tests.
//!
//! An interpreter expands the rows itself; this is the form for those who do not mind a look-up.

use aura_host_abi::{SlotType, TrapCode};

use super::Op;
use super::sem::{Raw, v128};

/// A value of a class that rows compute with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
    V128(v128),
}

impl Value {
    /// The class of the value.
    #[must_use]
    pub const fn slot_type(self) -> SlotType {
        match self {
            Self::I32(_) => SlotType::I32,
            Self::I64(_) => SlotType::I64,
            Self::F32(_) => SlotType::F32,
            Self::F64(_) => SlotType::F64,
            Self::V128(_) => SlotType::V128,
        }
    }
}

macro_rules! conversions {
    ($($ty:ident = $variant:ident;)*) => {
        $(
            impl From<$ty> for Value {
                fn from(x: $ty) -> Self {
                    Self::$variant(x)
                }
            }

            impl From<Value> for $ty {
                /// # Panics
                /// If the value is of another class.
                fn from(value: Value) -> Self {
                    match value {
                        Value::$variant(x) => x,
                        other => panic!("operand is {other:?} where the row has {}", stringify!($ty)),
                    }
                }
            }
        )*
    };
}

conversions! { i32 = I32; i64 = I64; f32 = F32; f64 = F64; v128 = V128; }

/// Computes the numeric, float or trapping row of `op`.
///
/// # Errors
/// The row traps on these operands.
///
/// # Panics
/// If `op` has no such row, or `args` are not its operands.
pub fn eval(op: Op, args: &[Value]) -> Result<Value, TrapCode> {
    if let Some(value) = numeric(op, args).or_else(|| float(op, args)) {
        return Ok(value);
    }
    trapping(op, args).unwrap_or_else(|| panic!("{} has no row to evaluate", op.name()))
}

/// Computes the load row of `op` from the bytes of its access.
///
/// # Panics
/// If `op` has no load row, or `bytes` is shorter than its access.
#[must_use]
pub fn load(op: Op, bytes: &[u8]) -> Value {
    load_row(op, bytes).unwrap_or_else(|| panic!("{} has no load row", op.name()))
}

/// Computes the store row of `op` into the first bytes of `bytes`.
///
/// # Panics
/// If `op` has no store row, `value` is not its operand, or `bytes` is shorter than its access.
pub fn store(op: Op, value: Value, bytes: &mut [u8]) {
    store_row(op, value, bytes).unwrap_or_else(|| panic!("{} has no store row", op.name()));
}

macro_rules! wide_rows {
    ($($op:ident ($($p:ident),*) $eval:block clif |$e:ident| $clif:block;)*) => {
        /// Computes the wide row of `op`: the two halves, the low one first.
        ///
        /// # Panics
        /// If `op` has no such row, or `args` are not its operands.
        #[must_use]
        pub fn eval_wide(op: Op, args: &[i64]) -> [i64; 2] {
            match (op, args) {
                $((Op::$op, &[$($p),*]) => $eval,)*
                _ => panic!("{} has no wide row of {} operands", op.name(), args.len()),
            }
        }
    };
}

crate::for_each_wide_row!(wide_rows);

/// What the read-modify-write row of `op` leaves in memory, from what was there and its operand; both
/// are cut off to the size of the access, and the rest of the result is zero.
///
/// # Panics
/// If `op` has no such row.
#[must_use]
pub fn read_modify_write(op: Op, old: u64, operand: u64) -> u64 {
    macro_rules! rows {
        ($($op:ident [$raw:ident] ($old:pat, $x:ident: $t:ident) $eval:block clif $rmw:ident;)*) => {
            match op {
                $(Op::$op => {
                    let ($old, $x) = (old as $raw, operand as $raw);
                    u64::from($eval)
                })*
                _ => panic!("{} has no read-modify-write row", op.name()),
            }
        };
    }
    crate::for_each_atomic_rmw_row!(rows)
}

macro_rules! eval_rows {
    ($name:ident -> $result:ty, |$x:ident| $wrap:expr; $($op:ident ($($p:ident: $t:ident),*) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
        fn $name(op: Op, args: &[Value]) -> Option<$result> {
            match (op, args) {
                $((Op::$op, &[$($p),*]) => {
                    $(let $p = <$t>::from($p);)*
                    let $x = $eval;
                    Some($wrap)
                })*
                _ => None,
            }
        }
    };
}

crate::for_each_numeric_row!(eval_rows numeric -> Value, |x| Value::from(x););
crate::for_each_float_row!(eval_rows float -> Value, |x| Value::from(x););
crate::for_each_trapping_row!(eval_rows trapping -> Result<Value, TrapCode>, |x| x.map(Value::from););

macro_rules! load_rows {
    ($($op:ident [$raw:ident] ($x:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
        fn load_row(op: Op, bytes: &[u8]) -> Option<Value> {
            match op {
                $(Op::$op => {
                    let $x = <$raw>::from_memory(read(bytes));
                    Some(Value::from($eval))
                })*
                _ => None,
            }
        }
    };
}

macro_rules! store_rows {
    ($($op:ident ($x:ident: $t:ident) [$raw:ident] $eval:block clif |$e:ident| $clif:block;)*) => {
        fn store_row(op: Op, value: Value, bytes: &mut [u8]) -> Option<()> {
            match op {
                $(Op::$op => {
                    let $x = <$t>::from(value);
                    let raw: $raw = $eval;
                    bytes[..<$raw>::SIZE].copy_from_slice(&raw.to_memory());
                })*
                _ => return None,
            }
            Some(())
        }
    };
}

crate::for_each_load_row!(load_rows);
crate::for_each_store_row!(store_rows);

fn read<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}
