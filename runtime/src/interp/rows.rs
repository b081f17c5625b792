//! Operators of vectors, wide ones and those of lanes, expanded from the operator table: one function for
//! each group of rows, out of line. Scalar rows have handlers of their own in [`super::numeric`]. An arm
//! whose row has another shape than its function serves is an assertion: lowering takes the shape from
//! the same table.
//!
//! # Safety
//! Trusts: as [`super::slots`]. Everything computed here is safe code of the table.

use aura_host_abi::TrapCode;
use aura_validator::code::Slot;
use aura_validator::ops::sem::canonical;
use aura_validator::ops::{Op, f32x4, f64x2, v128};

use super::scalars::for_each_scalar_row;
use super::slots::Regs;

/// Whether computed NaNs are made canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nans {
    Any,
    Canonical,
}

/// An operator that has no row of the shape its instruction says.
#[cold]
#[inline(never)]
pub(super) fn not_a_row(op: Op) -> ! {
    unreachable!("lowering took {} for a row of another shape", op.name())
}

/// What a row computes, brought into the form of the trapping group and of the NaN mode.
macro_rules! result {
    (numeric, $op:ident, $r:ident, $nans:ident, $eval:block) => {{
        let value: $r = $eval;
        value
    }};
    (float, $op:ident, $r:ident, $nans:ident, $eval:block) => {{
        let value: $r = $eval;
        if $nans == Nans::Canonical { canonical::$r(value) } else { value }
    }};
    (trapping, $op:ident, $r:ident, $nans:ident, $eval:block) => {{
        let value: $r = $eval?;
        value
    }};
}

/// The arm of one row: read the operands, compute, write the result. Scalar rows have handlers
/// (see [`super::numeric`]), so that they are an assertion here.
macro_rules! arm {
    ($g:ident $op:ident ($p:ident: v128) $r:ident $eval:block ($nans:ident $regs:ident $dst:ident $a:ident $b:ident $c:ident)) => {
        arm!(@compute $g $nans $regs $dst $op ($a $p: v128) $r $eval)
    };
    ($g:ident $op:ident ($p:ident: $t:ident) v128 $eval:block ($nans:ident $regs:ident $dst:ident $a:ident $b:ident $c:ident)) => {
        arm!(@compute $g $nans $regs $dst $op ($a $p: $t) v128 $eval)
    };
    ($g:ident $op:ident ($p:ident: v128, $q:ident: $u:ident) $r:ident $eval:block ($nans:ident $regs:ident $dst:ident $a:ident $b:ident $c:ident)) => {
        arm!(@compute $g $nans $regs $dst $op ($a $p: v128, $b $q: $u) $r $eval)
    };
    ($g:ident $op:ident ($p:ident: v128, $q:ident: $u:ident, $s:ident: $v:ident) $r:ident $eval:block ($nans:ident $regs:ident $dst:ident $a:ident $b:ident $c:ident)) => {
        arm!(@compute $g $nans $regs $dst $op ($a $p: v128, $b $q: $u, $c $s: $v) $r $eval)
    };
    (@compute $group:ident $nans:ident $regs:ident $dst:ident $op:ident ($($slot:ident $p:ident: $t:ident),*) $r:ident $eval:block) => {{
        // SAFETY: said by the caller.
        $(let $p = unsafe { $regs.get::<$t>($slot) };)*
        let value = result!($group, $op, $r, $nans, $eval);
        // SAFETY: said by the caller.
        unsafe { $regs.set($dst, value) };
    }};
    ($g:ident $op:ident $params:tt $r:ident $eval:block $env:tt) => {
        not_a_row(Op::$op)
    };
}

macro_rules! functions {
    (
        { $($nop:ident $nparams:tt -> $nr:ident $neval:block clif |$ne:ident| $nclif:block;)* }
        { $($fop:ident $fparams:tt -> $fr:ident $feval:block clif |$fe:ident| $fclif:block;)* }
        $($top:ident $tparams:tt -> $tr:ident $teval:block clif |$te:ident| $tclif:block;)*
    ) => {
        /// Runs a row of vectors.
        ///
        /// # Safety
        /// `regs` are those of the running function, and the slots are its code's.
        #[inline(never)]
        pub(super) unsafe fn vector(
            regs: Regs, op: Op, dst: Slot, [a, b, c]: [Slot; 3], nans: Nans,
        ) -> Result<(), TrapCode> {
            match op {
                $(Op::$nop => arm!(numeric $nop $nparams $nr $neval (nans regs dst a b c)),)*
                $(Op::$fop => arm!(float $fop $fparams $fr $feval (nans regs dst a b c)),)*
                $(Op::$top => arm!(trapping $top $tparams $tr $teval (nans regs dst a b c)),)*
                _ => not_a_row(op),
            }
            Ok(())
        }
    };
}

for_each_scalar_row!(functions);

macro_rules! wide_rows {
    ($($op:ident ($($p:ident),*) $eval:block clif |$e:ident| $clif:block;)*) => {
        /// Runs a wide row.
        ///
        /// # Safety
        /// `regs` are those of the running function, and the slots are its code's.
        #[inline(never)]
        pub(super) unsafe fn wide(regs: Regs, op: Op, dst: Slot, args: [Slot; 4]) {
            // SAFETY: said by the caller; operands beyond the row's repeat one of it.
            let args = args.map(|arg| unsafe { regs.get::<i64>(arg) });
            let [low, high] = match op {
                $(Op::$op => {
                    let [$($p,)* ..] = args;
                    $eval
                })*
                _ => not_a_row(op),
            };
            // SAFETY: said by the caller.
            unsafe { regs.set(dst, low) };
            // SAFETY: said by the caller; a wide row has two results, in neighbouring slots.
            unsafe { regs.set(Slot(dst.0 + 1), high) };
        }
    };
}

aura_validator::for_each_wide_row!(wide_rows);

macro_rules! extract_rows {
    ($($op:ident lanes $lanes:literal ($p:ident: v128; $lane:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
        /// Runs a row that extracts a lane.
        ///
        /// # Safety
        /// `regs` are those of the running function, and the slots are its code's.
        #[inline(never)]
        pub(super) unsafe fn extract_lane(regs: Regs, op: Op, lane: u8, dst: Slot, a: Slot) {
            // SAFETY: said by the caller.
            let vector = unsafe { regs.get::<v128>(a) };
            match op {
                $(Op::$op => {
                    let ($p, $lane) = (vector, lane);
                    let value: $r = $eval;
                    // SAFETY: said by the caller.
                    unsafe { regs.set(dst, value) };
                })*
                _ => not_a_row(op),
            }
        }
    };
}

macro_rules! replace_rows {
    ($($op:ident lanes $lanes:literal ($p:ident: v128, $q:ident: $t:ident; $lane:ident) -> v128 $eval:block clif |$e:ident| $clif:block;)*) => {
        /// Runs a row that replaces a lane.
        ///
        /// # Safety
        /// `regs` are those of the running function, and the slots are its code's.
        #[inline(never)]
        pub(super) unsafe fn replace_lane(regs: Regs, op: Op, lane: u8, dst: Slot, [a, b]: [Slot; 2]) {
            // SAFETY: said by the caller.
            let vector = unsafe { regs.get::<v128>(a) };
            let value: v128 = match op {
                $(Op::$op => {
                    // SAFETY: said by the caller.
                    let $q = unsafe { regs.get::<$t>(b) };
                    let ($p, $lane) = (vector, lane);
                    $eval
                })*
                _ => not_a_row(op),
            };
            // SAFETY: said by the caller.
            unsafe { regs.set(dst, value) };
        }
    };
}

aura_validator::for_each_extract_row!(extract_rows);
aura_validator::for_each_replace_row!(replace_rows);
