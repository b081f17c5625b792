//! Handlers of scalar numeric operators, expanded from the operator table.
//!
//! Each scalar row becomes a type with what it computes. The handlers are generic over it, over where
//! its operands come from ([`Source`]) and over where its result goes ([`Sink`]); [`unary`], [`binary`]
//! and their like pick one. Rows of vectors have no such handler: [`super::rows`] carries them out.
//!
//! ```text
//! unary:    dst, a              binary:  dst, a │ b or constant
//! branch:   distance, a         branch:  distance, a │ b or constant
//! ```
//!
//! # Safety
//! As [`super::dispatch`]; everything computed here is safe code of the table.

use std::marker::PhantomData;

use aura_host_abi::TrapCode;
use aura_validator::ops::Op;
use aura_validator::ops::sem::canonical;

use super::dispatch::{At, Handler};
use super::flow::{Direction, branch_if};
use super::fuse::{End, Part, alone, last};
use super::scalars::for_each_scalar_row;
use super::slots::SlotValue;

/// A scalar value, which an accumulator can hold.
pub(super) trait Scalar: SlotValue + Copy {
    const CLASS: Class;

    fn from_accumulator(at: &At) -> Self;
    fn to_accumulator(self, at: &mut At);
    /// The value with these bits, as a cell has them.
    fn from_bits(bits: u64) -> Self;
}

/// Which accumulator holds values of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Int,
    Single,
    Double,
}

macro_rules! scalars {
    ($($t:ty: $class:ident, $field:ident, |$acc:ident| $from:expr, |$x:ident| $to:expr, |$bits:ident| $of:expr;)*) => {
        $(impl Scalar for $t {
            const CLASS: Class = Class::$class;

            #[inline(always)]
            fn from_accumulator(at: &At) -> Self {
                let $acc = at.$field;
                $from
            }

            #[inline(always)]
            fn to_accumulator(self, at: &mut At) {
                let $x = self;
                at.$field = $to;
            }

            #[inline(always)]
            fn from_bits($bits: u64) -> Self {
                $of
            }
        })*
    };
}

scalars! {
    i32: Int, int, |acc| acc as Self, |x| u64::from(x.cast_unsigned()), |bits| bits as Self;
    u32: Int, int, |acc| acc as Self, |x| u64::from(x), |bits| bits as Self;
    i64: Int, int, |acc| acc as Self, |x| x.cast_unsigned(), |bits| bits as Self;
    u64: Int, int, |acc| acc, |x| x, |bits| bits;
    f32: Single, single, |acc| acc, |x| x, |bits| Self::from_bits(bits as u32);
    f64: Double, double, |acc| acc, |x| x, |bits| Self::from_bits(bits);
}

/// Where a handler's operand comes from.
pub(super) trait Source {
    const IS_CONSTANT: bool = false;

    /// The operand whose slot is the cell's operand `n`, or whose bits are its word `word`.
    fn get<T: Scalar>(at: &At, n: usize, word: usize) -> T;
}

#[derive(Debug)]
pub(super) struct FromSlot;
#[derive(Debug)]
pub(super) struct FromAccumulator;
#[derive(Debug)]
pub(super) struct FromCell;

impl Source for FromSlot {
    #[inline(always)]
    fn get<T: Scalar>(at: &At, n: usize, _: usize) -> T {
        at.get(at.place(n))
    }
}

impl Source for FromAccumulator {
    #[inline(always)]
    fn get<T: Scalar>(at: &At, _: usize, _: usize) -> T {
        T::from_accumulator(at)
    }
}

impl Source for FromCell {
    const IS_CONSTANT: bool = true;

    #[inline(always)]
    fn get<T: Scalar>(at: &At, _: usize, word: usize) -> T {
        T::from_bits(at.word(word))
    }
}

/// Where a handler's result goes: to the accumulator of its class, and perhaps to its slot.
pub(super) trait Sink {
    fn put<T: Scalar>(at: &mut At, n: usize, value: T);
}

#[derive(Debug)]
pub(super) struct ToSlot;
#[derive(Debug)]
pub(super) struct ToAccumulator;

impl Sink for ToSlot {
    #[inline(always)]
    fn put<T: Scalar>(at: &mut At, n: usize, value: T) {
        at.set(at.place(n), value);
        value.to_accumulator(at);
    }
}

impl Sink for ToAccumulator {
    #[inline(always)]
    fn put<T: Scalar>(at: &mut At, _: usize, value: T) {
        value.to_accumulator(at);
    }
}

/// Where the translation found an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Slot,
    Accumulator,
    Constant,
}

/// Whether a result's slot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Slot,
    Accumulator,
}

/// A row with one scalar operand and a scalar result.
pub(super) trait Row1 {
    type A: Scalar;
    type R: Scalar;

    fn eval(a: Self::A) -> Result<Self::R, TrapCode>;
}

/// A row with two scalar operands and a scalar result.
pub(super) trait Row2 {
    type A: Scalar;
    type B: Scalar;
    type R: Scalar;

    fn eval(a: Self::A, b: Self::B) -> Result<Self::R, TrapCode>;
}

/// What the translation has to know of a scalar row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) operands: u8,
    pub(super) result: Class,
    /// A branch on its result is one cell with it.
    pub(super) decides: bool,
}

/// A row of scalars that computes NaNs, as the deterministic profile has it.
#[derive(Debug)]
struct Canonical<R>(PhantomData<R>);

/// A row of one operand: dst, a
pub(super) struct OnePart<R, A, O>(PhantomData<(R, A, O)>);

impl<R: Row1, A: Source, O: Sink> Part for OnePart<R, A, O> {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        match R::eval(A::get(at, 1, 2)) {
            Ok(value) => {
                O::put(at, 0, value);
                at.pass(2);
                Ok(())
            }
            Err(code) => Err(at.trapping(code)),
        }
    }
}

/// A row of two operands: dst, a │ b or constant
pub(super) struct TwoPart<R, A, B, O>(PhantomData<(R, A, B, O)>);

impl<R: Row2, A: Source, B: Source, O: Sink> Part for TwoPart<R, A, B, O> {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        let a = A::get(at, 1, 2);
        let b = B::get(at, if A::IS_CONSTANT { 1 } else { 2 }, 2);
        match R::eval(a, b) {
            Ok(value) => {
                O::put(at, 0, value);
                at.pass(3);
                Ok(())
            }
            Err(code) => Err(at.trapping(code)),
        }
    }
}

/// A branch on a row of one operand: distance, a
pub(super) struct OneBranch<R, A, D, const IF: bool>(PhantomData<(R, A, D)>);

impl<R: Row1<R = i32>, A: Source, D: Direction, const IF: bool> End for OneBranch<R, A, D, IF> {
    #[inline(always)]
    fn run(at: At) -> u32 {
        match R::eval(A::get(&at, 1, 2)) {
            Ok(value) => branch_if::<D>(at, (value != 0) == IF, 2),
            Err(code) => at.trap(code),
        }
    }
}

/// A branch on a row of two operands: distance, a │ b or constant
pub(super) struct TwoBranch<R, A, B, D, const IF: bool>(PhantomData<(R, A, B, D)>);

impl<R: Row2<R = i32>, A: Source, B: Source, D: Direction, const IF: bool> End for TwoBranch<R, A, B, D, IF> {
    #[inline(always)]
    fn run(at: At) -> u32 {
        match R::eval(A::get(&at, 1, 2), B::get(&at, 2, 2)) {
            Ok(value) => branch_if::<D>(at, (value != 0) == IF, 3),
            Err(code) => at.trap(code),
        }
    }
}

fn pick_one<R: Row1>(a: From, to: To) -> Handler {
    match (a, to) {
        (From::Slot, To::Slot) => alone::<OnePart<R, FromSlot, ToSlot>>,
        (From::Slot, To::Accumulator) => alone::<OnePart<R, FromSlot, ToAccumulator>>,
        (_, To::Slot) => alone::<OnePart<R, FromAccumulator, ToSlot>>,
        (_, To::Accumulator) => alone::<OnePart<R, FromAccumulator, ToAccumulator>>,
    }
}

fn pick_two<R: Row2>(a: From, b: From, to: To) -> Handler {
    match to {
        To::Slot => pick_two_to::<R, ToSlot>(a, b),
        To::Accumulator => pick_two_to::<R, ToAccumulator>(a, b),
    }
}

fn pick_two_to<R: Row2, O: Sink>(a: From, b: From) -> Handler {
    match (a, b) {
        (From::Slot, From::Slot) => alone::<TwoPart<R, FromSlot, FromSlot, O>>,
        (From::Slot, From::Accumulator) => alone::<TwoPart<R, FromSlot, FromAccumulator, O>>,
        (From::Slot, From::Constant) => alone::<TwoPart<R, FromSlot, FromCell, O>>,
        (From::Accumulator, From::Constant) => alone::<TwoPart<R, FromAccumulator, FromCell, O>>,
        (From::Accumulator, _) => alone::<TwoPart<R, FromAccumulator, FromSlot, O>>,
        (From::Constant, From::Accumulator) => alone::<TwoPart<R, FromCell, FromAccumulator, O>>,
        (From::Constant, _) => alone::<TwoPart<R, FromCell, FromSlot, O>>,
    }
}

fn pick_one_branch<R: Row1<R = i32>, D: Direction>(a: From, if_not_zero: bool) -> Handler {
    match (a, if_not_zero) {
        (From::Accumulator, true) => last::<OneBranch<R, FromAccumulator, D, true>>,
        (From::Accumulator, false) => last::<OneBranch<R, FromAccumulator, D, false>>,
        (_, true) => last::<OneBranch<R, FromSlot, D, true>>,
        (_, false) => last::<OneBranch<R, FromSlot, D, false>>,
    }
}

fn pick_two_branch<R: Row2<R = i32>, D: Direction>(a: From, b: From, if_not_zero: bool) -> Handler {
    if if_not_zero { pick_two_branch_if::<R, D, true>(a, b) } else { pick_two_branch_if::<R, D, false>(a, b) }
}

fn pick_two_branch_if<R: Row2<R = i32>, D: Direction, const IF: bool>(a: From, b: From) -> Handler {
    match (a, b) {
        (From::Accumulator, From::Constant) => last::<TwoBranch<R, FromAccumulator, FromCell, D, IF>>,
        (From::Accumulator, _) => last::<TwoBranch<R, FromAccumulator, FromSlot, D, IF>>,
        (_, From::Accumulator) => last::<TwoBranch<R, FromSlot, FromAccumulator, D, IF>>,
        (_, From::Constant) => last::<TwoBranch<R, FromSlot, FromCell, D, IF>>,
        _ => last::<TwoBranch<R, FromSlot, FromSlot, D, IF>>,
    }
}

/// A row's type, if it is one of scalars.
macro_rules! row_type {
    ($g:ident $op:ident ($p:ident: v128 $(, $q:ident: $u:ident)*) $r:ident $eval:block) => {};
    ($g:ident $op:ident ($p:ident: $t:ident) v128 $eval:block) => {};
    ($g:ident $op:ident ($p:ident: $t:ident) $r:ident $eval:block) => {
        pub(in super::super) struct $op;

        impl Row1 for $op {
            type A = $t;
            type R = $r;

            #[inline(always)]
            fn eval($p: $t) -> Result<$r, TrapCode> {
                row_type!(@result $g $eval)
            }
        }

        row_type!(@canonical $g $op Row1 ($p: A) $r);
    };
    ($g:ident $op:ident ($p:ident: $t:ident, $q:ident: $u:ident) $r:ident $eval:block) => {
        pub(in super::super) struct $op;

        impl Row2 for $op {
            type A = $t;
            type B = $u;
            type R = $r;

            #[inline(always)]
            fn eval($p: $t, $q: $u) -> Result<$r, TrapCode> {
                row_type!(@result $g $eval)
            }
        }

        row_type!(@canonical $g $op Row2 ($p: A, $q: B) $r);
    };
    (@result trapping $eval:block) => { $eval };
    (@result $g:ident $eval:block) => { Ok($eval) };
    (@canonical float $op:ident $row:ident ($($p:ident: $class:ident),*) $r:ident) => {
        impl $row for Canonical<$op> {
            $(type $class = <$op as $row>::$class;)*
            type R = $r;

            #[inline(always)]
            fn eval($($p: Self::$class),*) -> Result<$r, TrapCode> {
                <$op as $row>::eval($($p),*).map(canonical::$r)
            }
        }
    };
    (@canonical $g:ident $op:ident $row:ident ($($p:ident: $class:ident),*) $r:ident) => {};
}

/// Whether a row's name is that of a comparison: its result is what branches ask for.
const fn decides(name: &str) -> bool {
    const ENDS: &[&str] =
        &["Eqz", "Eq", "Ne", "LtS", "LtU", "GtS", "GtU", "LeS", "LeU", "GeS", "GeU", "Lt", "Gt", "Le", "Ge"];
    let (name, mut i) = (name.as_bytes(), 0);
    while i < ENDS.len() {
        let (end, mut j) = (ENDS[i].as_bytes(), 0);
        // Names are a class of three letters and what it does.
        while j < end.len() && name.len() == 3 + end.len() && name[3 + j] == end[j] {
            j += 1;
        }
        if j == end.len() && name.len() == 3 + end.len() {
            return true;
        }
        i += 1;
    }
    false
}

/// An arm of a function over rows of one shape; `None` for the others.
macro_rules! arm {
    ($shape:ident $g:ident $op:ident ($p:ident: v128 $(, $q:ident: $u:ident)*) $r:ident $args:tt) => { None };
    ($shape:ident $g:ident $op:ident ($p:ident: $t:ident) v128 $args:tt) => { None };
    (shape $g:ident $op:ident ($($p:ident: $t:ident),*) $r:ident ()) => {
        Some(Shape {
            operands: const { [$(stringify!($p)),*].len() as u8 },
            result: <$r as Scalar>::CLASS,
            decides: const { decides(stringify!($op)) },
        })
    };
    (unary float $op:ident ($p:ident: $t:ident) $r:ident ($a:ident $to:ident $canonical:ident)) => {
        Some(if $canonical { pick_one::<Canonical<row::$op>>($a, $to) } else { pick_one::<row::$op>($a, $to) })
    };
    (unary $g:ident $op:ident ($p:ident: $t:ident) $r:ident ($a:ident $to:ident $canonical:ident)) => {
        Some(pick_one::<row::$op>($a, $to))
    };
    (binary float $op:ident ($p:ident: $t:ident, $q:ident: $u:ident) $r:ident ($a:ident $b:ident $to:ident $canonical:ident)) => {
        Some(if $canonical {
            pick_two::<Canonical<row::$op>>($a, $b, $to)
        } else {
            pick_two::<row::$op>($a, $b, $to)
        })
    };
    (binary $g:ident $op:ident ($p:ident: $t:ident, $q:ident: $u:ident) $r:ident ($a:ident $b:ident $to:ident $canonical:ident)) => {
        Some(pick_two::<row::$op>($a, $b, $to))
    };
    (branch1 numeric $op:ident ($p:ident: $t:ident) i32 ($d:ident $a:ident $if:ident)) => {
        if const { decides(stringify!($op)) } { Some(pick_one_branch::<row::$op, $d>($a, $if)) } else { None }
    };
    (branch2 numeric $op:ident ($p:ident: $t:ident, $q:ident: $u:ident) i32 ($d:ident $a:ident $b:ident $if:ident)) => {
        if const { decides(stringify!($op)) } { Some(pick_two_branch::<row::$op, $d>($a, $b, $if)) } else { None }
    };
    ($shape:ident $g:ident $op:ident $params:tt $r:ident $args:tt) => { None };
}

macro_rules! functions {
    (
        { $($nop:ident $nparams:tt -> $nr:ident $neval:block clif |$ne:ident| $nclif:block;)* }
        { $($fop:ident $fparams:tt -> $fr:ident $feval:block clif |$fe:ident| $fclif:block;)* }
        $($top:ident $tparams:tt -> $tr:ident $teval:block clif |$te:ident| $tclif:block;)*
    ) => {
        /// A type for each scalar row.
        pub(super) mod row {
            use super::{Canonical, Row1, Row2, TrapCode, canonical};

            $(row_type!(numeric $nop $nparams $nr $neval);)*
            $(row_type!(float $fop $fparams $fr $feval);)*
            $(row_type!(trapping $top $tparams $tr $teval);)*
        }

        /// What a scalar row is like; `None` for operators that are none.
        pub(super) const fn shape(op: Op) -> Option<Shape> {
            match op {
                $(Op::$nop => arm!(shape numeric $nop $nparams $nr ()),)*
                $(Op::$fop => arm!(shape float $fop $fparams $fr ()),)*
                $(Op::$top => arm!(shape trapping $top $tparams $tr ()),)*
                _ => None,
            }
        }

        /// The handler of a scalar row with one operand.
        pub(super) fn unary(op: Op, a: From, to: To, canonical: bool) -> Option<Handler> {
            match op {
                $(Op::$nop => arm!(unary numeric $nop $nparams $nr (a to canonical)),)*
                $(Op::$fop => arm!(unary float $fop $fparams $fr (a to canonical)),)*
                $(Op::$top => arm!(unary trapping $top $tparams $tr (a to canonical)),)*
                _ => None,
            }
        }

        /// The handler of a scalar row with two operands, of which one at most is a constant.
        pub(super) fn binary(op: Op, a: From, b: From, to: To, canonical: bool) -> Option<Handler> {
            match op {
                $(Op::$nop => arm!(binary numeric $nop $nparams $nr (a b to canonical)),)*
                $(Op::$fop => arm!(binary float $fop $fparams $fr (a b to canonical)),)*
                $(Op::$top => arm!(binary trapping $top $tparams $tr (a b to canonical)),)*
                _ => None,
            }
        }

        /// The handler of a branch on a row with one operand.
        pub(super) fn branch1<D: Direction>(op: Op, a: From, if_not_zero: bool) -> Option<Handler> {
            match op {
                $(Op::$nop => arm!(branch1 numeric $nop $nparams $nr (D a if_not_zero)),)*
                _ => None,
            }
        }

        /// The handler of a branch on a row with two operands, of which only the second may be a constant.
        pub(super) fn branch2<D: Direction>(op: Op, a: From, b: From, if_not_zero: bool) -> Option<Handler> {
            match op {
                $(Op::$nop => arm!(branch2 numeric $nop $nparams $nr (D a b if_not_zero)),)*
                _ => None,
            }
        }
    };
}

for_each_scalar_row!(functions);
