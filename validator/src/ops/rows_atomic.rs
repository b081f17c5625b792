//! Rows of atomic accesses: loads, stores, read-modify-write and compare-exchange.
//!
//! The type in brackets is that of the bytes in memory, an unsigned integer whose size is the size of
//! the access and the alignment it must have. A value of the operator's class is cut off to it on the
//! way to memory and zero-extended on the way back. Every access is sequentially consistent. The
//! evaluating half of a read-modify-write row says what the memory holds after it, from what it held
//! and the operand; the operator's result is what it held. Address, alignment, bounds and traps are
//! not the table's business.

/// Calls `$mac! { $extra rows }` with all rows of atomic loads.
#[macro_export]
macro_rules! for_each_atomic_load_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I32AtomicLoad [u32] -> i32;
            I64AtomicLoad [u64] -> i64;
            I32AtomicLoad8U [u8] -> i32;
            I32AtomicLoad16U [u16] -> i32;
            I64AtomicLoad8U [u8] -> i64;
            I64AtomicLoad16U [u16] -> i64;
            I64AtomicLoad32U [u32] -> i64;
        }
    };
}

/// Calls `$mac! { $extra rows }` with all rows of atomic stores.
#[macro_export]
macro_rules! for_each_atomic_store_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I32AtomicStore (i32) [u32];
            I64AtomicStore (i64) [u64];
            I32AtomicStore8 (i32) [u8];
            I32AtomicStore16 (i32) [u16];
            I64AtomicStore8 (i64) [u8];
            I64AtomicStore16 (i64) [u16];
            I64AtomicStore32 (i64) [u32];
        }
    };
}

/// Calls `$mac! { $extra rows }` with all rows of atomic read-modify-writes.
#[macro_export]
macro_rules! for_each_atomic_rmw_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I32AtomicRmwAdd [u32] (old, x: i32) { old.wrapping_add(x) } clif Add;
            I64AtomicRmwAdd [u64] (old, x: i64) { old.wrapping_add(x) } clif Add;
            I32AtomicRmw8AddU [u8] (old, x: i32) { old.wrapping_add(x) } clif Add;
            I32AtomicRmw16AddU [u16] (old, x: i32) { old.wrapping_add(x) } clif Add;
            I64AtomicRmw8AddU [u8] (old, x: i64) { old.wrapping_add(x) } clif Add;
            I64AtomicRmw16AddU [u16] (old, x: i64) { old.wrapping_add(x) } clif Add;
            I64AtomicRmw32AddU [u32] (old, x: i64) { old.wrapping_add(x) } clif Add;
            I32AtomicRmwSub [u32] (old, x: i32) { old.wrapping_sub(x) } clif Sub;
            I64AtomicRmwSub [u64] (old, x: i64) { old.wrapping_sub(x) } clif Sub;
            I32AtomicRmw8SubU [u8] (old, x: i32) { old.wrapping_sub(x) } clif Sub;
            I32AtomicRmw16SubU [u16] (old, x: i32) { old.wrapping_sub(x) } clif Sub;
            I64AtomicRmw8SubU [u8] (old, x: i64) { old.wrapping_sub(x) } clif Sub;
            I64AtomicRmw16SubU [u16] (old, x: i64) { old.wrapping_sub(x) } clif Sub;
            I64AtomicRmw32SubU [u32] (old, x: i64) { old.wrapping_sub(x) } clif Sub;
            I32AtomicRmwAnd [u32] (old, x: i32) { old & x } clif And;
            I64AtomicRmwAnd [u64] (old, x: i64) { old & x } clif And;
            I32AtomicRmw8AndU [u8] (old, x: i32) { old & x } clif And;
            I32AtomicRmw16AndU [u16] (old, x: i32) { old & x } clif And;
            I64AtomicRmw8AndU [u8] (old, x: i64) { old & x } clif And;
            I64AtomicRmw16AndU [u16] (old, x: i64) { old & x } clif And;
            I64AtomicRmw32AndU [u32] (old, x: i64) { old & x } clif And;
            I32AtomicRmwOr [u32] (old, x: i32) { old | x } clif Or;
            I64AtomicRmwOr [u64] (old, x: i64) { old | x } clif Or;
            I32AtomicRmw8OrU [u8] (old, x: i32) { old | x } clif Or;
            I32AtomicRmw16OrU [u16] (old, x: i32) { old | x } clif Or;
            I64AtomicRmw8OrU [u8] (old, x: i64) { old | x } clif Or;
            I64AtomicRmw16OrU [u16] (old, x: i64) { old | x } clif Or;
            I64AtomicRmw32OrU [u32] (old, x: i64) { old | x } clif Or;
            I32AtomicRmwXor [u32] (old, x: i32) { old ^ x } clif Xor;
            I64AtomicRmwXor [u64] (old, x: i64) { old ^ x } clif Xor;
            I32AtomicRmw8XorU [u8] (old, x: i32) { old ^ x } clif Xor;
            I32AtomicRmw16XorU [u16] (old, x: i32) { old ^ x } clif Xor;
            I64AtomicRmw8XorU [u8] (old, x: i64) { old ^ x } clif Xor;
            I64AtomicRmw16XorU [u16] (old, x: i64) { old ^ x } clif Xor;
            I64AtomicRmw32XorU [u32] (old, x: i64) { old ^ x } clif Xor;
            I32AtomicRmwXchg [u32] (_, x: i32) { x } clif Xchg;
            I64AtomicRmwXchg [u64] (_, x: i64) { x } clif Xchg;
            I32AtomicRmw8XchgU [u8] (_, x: i32) { x } clif Xchg;
            I32AtomicRmw16XchgU [u16] (_, x: i32) { x } clif Xchg;
            I64AtomicRmw8XchgU [u8] (_, x: i64) { x } clif Xchg;
            I64AtomicRmw16XchgU [u16] (_, x: i64) { x } clif Xchg;
            I64AtomicRmw32XchgU [u32] (_, x: i64) { x } clif Xchg;
        }
    };
}

/// Calls `$mac! { $extra rows }` with all rows of atomic compare-exchanges.
#[macro_export]
macro_rules! for_each_atomic_cmpxchg_row {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
            I32AtomicRmwCmpxchg [u32] (i32);
            I64AtomicRmwCmpxchg [u64] (i64);
            I32AtomicRmw8CmpxchgU [u8] (i32);
            I32AtomicRmw16CmpxchgU [u16] (i32);
            I64AtomicRmw8CmpxchgU [u8] (i64);
            I64AtomicRmw16CmpxchgU [u16] (i64);
            I64AtomicRmw32CmpxchgU [u32] (i64);
        }
    };
}
