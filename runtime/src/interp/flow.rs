//! Handlers of branches, copies, constants, selections and globals; and the cells that functions
//! outside of the handlers carry out.
//!
//! # Safety
//! As [`super::dispatch`].

use std::marker::PhantomData;

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_validator::code::Inst;

use super::dispatch::{At, Handler, Place, Step, handler};
use super::fuse::{End, Part, alone, last};
use super::machine::{Cursor, Machine};
use super::numeric::{
    Class, From, FromAccumulator, FromCell, FromSlot, Scalar, Sink, Source, To, ToAccumulator, ToSlot,
};

/// Words of a loop header's cell.
pub(super) const HEADER_WORDS: usize = 2;

/// Which way a branch goes.
pub(super) trait Direction {
    /// Goes to the cell at a distance in bytes.
    fn take(at: At, bytes: i32) -> u32;
}

/// To any label.
#[derive(Debug)]
pub(super) struct Plain;

/// Back to a loop's header, whose work it does in passing: the header itself runs only if there is
/// something to be done.
#[derive(Debug)]
pub(super) struct Back;

impl Direction for Plain {
    #[inline(always)]
    fn take(at: At, bytes: i32) -> u32 {
        at.jump(bytes)
    }
}

impl Direction for Back {
    #[inline(always)]
    fn take(mut at: At, bytes: i32) -> u32 {
        at.ip = at.ip.wrapping_byte_offset(bytes as isize);
        if at.machine().is_interrupted() { at.go() } else { at.next(HEADER_WORDS) }
    }
}

/// Goes the distance in the cell's first operand if so, else behind the cell.
#[inline(always)]
pub(super) fn branch_if<D: Direction>(at: At, taken: bool, words: usize) -> u32 {
    if taken { D::take(at, at.operand(0)) } else { at.next(words) }
}

/// A branch: distance
pub(super) struct Branch<D>(PhantomData<D>);

impl<D: Direction> End for Branch<D> {
    #[inline(always)]
    fn run(at: At) -> u32 {
        D::take(at, at.operand(0))
    }
}

/// The handler of a branch.
pub(super) fn branch<D: Direction>() -> Handler {
    last::<Branch<D>>
}

/// A branch on a value: distance, condition
pub(super) struct BranchOn<A, D, const IF: bool>(PhantomData<(A, D)>);

impl<A: Source, D: Direction, const IF: bool> End for BranchOn<A, D, IF> {
    #[inline(always)]
    fn run(at: At) -> u32 {
        let condition: u32 = A::get(&at, 1, 2);
        branch_if::<D>(at, (condition != 0) == IF, 2)
    }
}

/// A branch on a value.
pub(super) fn conditional<D: Direction>(condition: From, if_not_zero: bool) -> Handler {
    match (condition, if_not_zero) {
        (From::Accumulator, true) => last::<BranchOn<FromAccumulator, D, true>>,
        (From::Accumulator, false) => last::<BranchOn<FromAccumulator, D, false>>,
        (_, true) => last::<BranchOn<FromSlot, D, true>>,
        (_, false) => last::<BranchOn<FromSlot, D, false>>,
    }
}

handler! {
    /// count, index │ distances, two to a word; the last is the default's
    fn branch_table[A: Source](at) {
        let index: u32 = A::get(&at, 1, 2);
        let last = at.operand(0).cast_unsigned() - 1;
        at.jump(at.operand(2 + index.min(last) as usize))
    }
}

handler! {
    /// (nothing)
    fn loop_header[](at) {
        if at.machine().is_interrupted() {
            return at.outside::<Interrupt>();
        }
        at.next(HEADER_WORDS)
    }
}

handler! {
    /// (nothing); counts
    fn counted_header[](at) {
        if at.machine().is_interrupted() {
            return at.outside::<Interrupt>();
        }
        if at.machine().is_loop_due() {
            return at.outside::<Due>();
        }
        at.next(HEADER_WORDS)
    }
}

handler! {
    /// cost
    fn fuel[](at) {
        if !at.machine().charge(at.operand(0).cast_unsigned()) {
            return at.trap(TrapCode::OutOfFuel);
        }
        at.next(2)
    }
}

handler! {
    /// code of a trap
    fn end[](at) {
        let code = TrapCode::from_u8(at.operand(0) as u8).expect("the code of an instruction");
        at.trap(code)
    }
}

/// A copy: dst, src
pub(super) struct Copy;

impl Part for Copy {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        at.set(at.place(0), at.get::<u64>(at.place(1)));
        at.pass(2);
        Ok(())
    }
}

/// An accumulator's value: dst
pub(super) struct Keep<T>(PhantomData<T>);

impl<T: Scalar> Part for Keep<T> {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        at.set(at.place(0), T::from_accumulator(at));
        at.pass(2);
        Ok(())
    }
}

/// A constant: dst │ bits
pub(super) struct Constant;

impl Part for Constant {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        at.set(at.place(0), at.word(2));
        at.pass(3);
        Ok(())
    }
}

handler! {
    /// first slot, how many
    fn zero[const N: usize](at) {
        let count = if N == 0 { at.operand(1) } else { N as i32 };
        for n in 0..count {
            let Place(first) = at.place(0);
            let place = at.regs.at_byte(first + 8 * n);
            // SAFETY: the slots are locals of the frame. A volatile write is not made a call of `memset`.
            unsafe { place.write_volatile(0) };
        }
        at.next(2)
    }
}

/// Makes consecutive slots zero.
pub(super) fn zeroing(count: u32) -> Handler {
    match count {
        1 => zero::<1>,
        2 => zero::<2>,
        3 => zero::<3>,
        4 => zero::<4>,
        _ => zero::<0>,
    }
}

/// Writes an accumulator to a slot. Of a float of 32 bits, the upper half of the slot is zero.
pub(super) fn keeping(class: Class) -> Handler {
    match class {
        Class::Int => alone::<Keep<u64>>,
        Class::Single => alone::<Keep<f32>>,
        Class::Double => alone::<Keep<f64>>,
    }
}

/// A choice: dst, condition │ a, b
pub(super) struct Select<T, C, A, B, O>(PhantomData<(T, C, A, B, O)>);

impl<T: Scalar, C: Source, A: Choice, B: Choice, O: Sink> Part for Select<T, C, A, B, O> {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        let condition: u32 = C::get(at, 1, 2);
        let (a, b): (T, T) = (A::get(at, 2), B::get(at, 3));
        O::put(at, 0, if condition != 0 { a } else { b });
        at.pass(3);
        Ok(())
    }
}

/// One of two values to choose from: an operand's slot, or its bits where they fit 32.
pub(super) trait Choice {
    fn get<T: Scalar>(at: &At, n: usize) -> T;
}

impl Choice for FromSlot {
    #[inline(always)]
    fn get<T: Scalar>(at: &At, n: usize) -> T {
        at.get(at.place(n))
    }
}

impl Choice for FromCell {
    #[inline(always)]
    fn get<T: Scalar>(at: &At, n: usize) -> T {
        T::from_bits(at.operand(n).cast_unsigned().into())
    }
}

/// A choice between two scalars, by where the condition is and where they are.
pub(super) fn selecting(class: Class, condition: From, from: [From; 2], to: To) -> Handler {
    fn of<T: Scalar, A: Choice, B: Choice>(condition: From, to: To) -> Handler {
        match (condition, to) {
            (From::Accumulator, To::Slot) => alone::<Select<T, FromAccumulator, A, B, ToSlot>>,
            (From::Accumulator, To::Accumulator) => alone::<Select<T, FromAccumulator, A, B, ToAccumulator>>,
            (_, To::Slot) => alone::<Select<T, FromSlot, A, B, ToSlot>>,
            (_, To::Accumulator) => alone::<Select<T, FromSlot, A, B, ToAccumulator>>,
        }
    }
    match (class, from) {
        (Class::Int, [From::Constant, From::Constant]) => of::<u64, FromCell, FromCell>(condition, to),
        (Class::Int, [From::Constant, _]) => of::<u64, FromCell, FromSlot>(condition, to),
        (Class::Int, [_, From::Constant]) => of::<u64, FromSlot, FromCell>(condition, to),
        (Class::Int, _) => of::<u64, FromSlot, FromSlot>(condition, to),
        (Class::Single, _) => of::<f32, FromSlot, FromSlot>(condition, to),
        (Class::Double, _) => of::<f64, FromSlot, FromSlot>(condition, to),
    }
}

/// Where a global is.
pub(super) trait Whose {
    const IS_OWN: bool;
}

#[derive(Debug)]
pub(super) struct Own;
#[derive(Debug)]
pub(super) struct Imported;

impl Whose for Own {
    const IS_OWN: bool = true;
}

impl Whose for Imported {
    const IS_OWN: bool = false;
}

/// `global.get`: dst, place in the instance
pub(super) struct GlobalGet<T, W, O>(PhantomData<(T, W, O)>);

impl<T: Scalar, W: Whose, O: Sink> Part for GlobalGet<T, W, O> {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        let place = at.machine().global_at(at.operand(1), W::IS_OWN);
        // SAFETY: a global holds a value of its class in the form of a slot.
        let value = unsafe { T::read(place) };
        O::put(at, 0, value);
        at.pass(2);
        Ok(())
    }
}

/// `global.set`: place in the instance, src
pub(super) struct GlobalSet<T, W, A>(PhantomData<(T, W, A)>);

impl<T: Scalar, W: Whose, A: Source> Part for GlobalSet<T, W, A> {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        let value: T = A::get(at, 1, 2);
        let place = at.machine().global_at(at.operand(0), W::IS_OWN);
        // SAFETY: a global has room for a value of its class.
        unsafe { value.write(place) };
        at.pass(2);
        Ok(())
    }
}

/// `global.get` of a scalar.
pub(super) fn getting(class: Class, is_own: bool, to: To) -> Handler {
    fn of<T: Scalar>(is_own: bool, to: To) -> Handler {
        match (is_own, to) {
            (true, To::Slot) => alone::<GlobalGet<T, Own, ToSlot>>,
            (true, To::Accumulator) => alone::<GlobalGet<T, Own, ToAccumulator>>,
            (false, To::Slot) => alone::<GlobalGet<T, Imported, ToSlot>>,
            (false, To::Accumulator) => alone::<GlobalGet<T, Imported, ToAccumulator>>,
        }
    }
    match class {
        Class::Int => of::<u64>(is_own, to),
        Class::Single => of::<f32>(is_own, to),
        Class::Double => of::<f64>(is_own, to),
    }
}

/// `global.set` of a scalar.
pub(super) fn setting(class: Class, is_own: bool, from: From) -> Handler {
    fn of<T: Scalar>(is_own: bool, from: From) -> Handler {
        match (is_own, from) {
            (true, From::Accumulator) => alone::<GlobalSet<T, Own, FromAccumulator>>,
            (true, _) => alone::<GlobalSet<T, Own, FromSlot>>,
            (false, From::Accumulator) => alone::<GlobalSet<T, Imported, FromAccumulator>>,
            (false, _) => alone::<GlobalSet<T, Imported, FromSlot>>,
        }
    }
    match class {
        Class::Int => of::<u64>(is_own, from),
        Class::Single => of::<f32>(is_own, from),
        Class::Double => of::<f64>(is_own, from),
    }
}

handler! {
    /// (a word) the instruction
    fn general[const WORDS: usize](at) {
        at.outside::<General<WORDS>>()
    }
}

/// The instruction in word [`INST_WORD`] of a cell of `WORDS`, carried out by [`Machine::general`].
#[derive(Debug)]
pub(super) struct General<const WORDS: usize>;

/// The word of a cell that holds its instruction, where it is carried out outside of the handlers.
pub(super) const INST_WORD: usize = 1;

impl<const WORDS: usize> Step for General<WORDS> {
    unsafe fn run(machine: &mut Machine, at: At) -> Result<Cursor, Status> {
        let inst: *const Inst = std::ptr::with_exposed_provenance(at.word(INST_WORD) as usize);
        // SAFETY: such a cell holds an instruction of the running code, which lives as long as its module.
        let inst = unsafe { &*inst };
        // SAFETY: as above.
        unsafe { machine.general(at.behind(WORDS), inst) }
    }
}

/// A loop header at which there is an interrupt.
#[derive(Debug)]
pub(super) struct Interrupt;

impl Step for Interrupt {
    unsafe fn run(machine: &mut Machine, at: At) -> Result<Cursor, Status> {
        // SAFETY: the cursor is in the running code.
        unsafe { machine.interrupt(at.behind(HEADER_WORDS)) }
    }
}

/// A loop header at which compiled code is asked for.
#[derive(Debug)]
pub(super) struct Due;

impl Step for Due {
    unsafe fn run(machine: &mut Machine, at: At) -> Result<Cursor, Status> {
        // SAFETY: the cursor is behind a loop header of the running code.
        unsafe { machine.at_loop(at.behind(HEADER_WORDS)) }
    }
}
