//! Loads and stores: the one place where the interpreter turns a guest address into a host address.
//!
//! Invariant: every access is compared with the memory's length, in 64 bits, without wrapping, in
//! either bounds mode; nothing here relies on guards.
//!
//! Accesses of 32-bit addresses to the first memory, unless it is shared, have handlers of their own, which
//! know its base and length. Nothing changes the length but what is outside of the handlers, and
//! that leads back to them by way of `Machine::at_cursor`, which looks anew. All other accesses go through [`Access`].
//!
//! # Safety
//! Trusts: `base..base + plain_length` of a [`VmMemory`] is mapped readable and writable, and the length
//! never falls. Guest bytes may be shared with other mappings, so that no reference to them is made.
//! What lies between `plain_length` and `length` may fault or be written by other threads meanwhile (a shared
//! memory, whose plain length is 0; what is lent): it is accessed through [`LinearMemory::read_any`] and
//! [`LinearMemory::write_any`] and, where the operator is atomic, in [`super::atomic`]. Plain accesses compare with
//! `plain_length` alone, so that what is not plain costs them nothing.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use aura_host_abi::TrapCode;
use aura_host_abi::vm::VmMemory;
use aura_validator::code::Slot;
use aura_validator::ops::sem::{Raw, extract, replace};
use aura_validator::ops::{Op, v128};

use super::dispatch::{At, Handler, handler};
use super::fuse::{Part, alone};
use super::machine::Machine;
use super::numeric::{
    Class, From, FromAccumulator, FromCell, FromSlot, Scalar, Sink, Source, To, ToAccumulator, ToSlot,
};
use super::slots::Regs;
use crate::vm::memory::LinearMemory;

/// A memory access after its address is known: the operands an access instruction has in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// The memory, with the width of its addresses.
    pub(super) memory: View,
    /// The static offset.
    pub(super) offset: u64,
    /// The slot of the dynamic address.
    pub(super) addr: Slot,
}

/// A memory of the running instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    vm: *const VmMemory,
    /// The bits of a slot that are an address: 32 or all.
    mask: u64,
}

impl View {
    /// The view of an instance without memories.
    pub(super) const NONE: Self = Self { vm: std::ptr::null(), mask: 0 };

    /// The view of a memory whose addresses are the bits `mask` of a slot.
    pub(super) fn new(vm: *const VmMemory, mask: u64) -> Self {
        Self { vm, mask }
    }

    pub(super) fn is_none(self) -> bool {
        self.vm.is_null()
    }

    /// How many bytes plain accesses may touch now.
    pub(super) fn plain_length(self) -> u64 {
        // SAFETY: a view's memory is live, or there is none.
        unsafe { self.vm.as_ref() }.map_or(0, |memory| memory.plain_length.load(Ordering::Acquire))
    }

    /// Where they begin.
    pub(super) fn base(self) -> *mut u8 {
        // SAFETY: as above; the base never changes.
        unsafe { self.vm.as_ref() }.map_or(std::ptr::null_mut(), |memory| memory.base)
    }

    /// The host address of `size` bytes, if they are inside the plain length.
    ///
    /// # Safety
    /// The memory is live.
    #[inline(always)]
    unsafe fn plain_address(self, addr: u64, offset: u64, size: usize) -> Option<*mut u8> {
        // SAFETY: said by the caller.
        let length = unsafe { (*self.vm).plain_length.load(Ordering::Acquire) };
        // SAFETY: said by the caller.
        unsafe { self.address_below(length, addr, offset, size) }
    }

    /// The host address of `size` bytes, if they are inside the memory; what is there may not allow the access.
    ///
    /// # Safety
    /// The memory is live.
    unsafe fn any_address(self, addr: u64, offset: u64, size: usize) -> Option<*mut u8> {
        // SAFETY: said by the caller.
        let length = unsafe { (*self.vm).length.load(Ordering::Acquire) };
        // SAFETY: said by the caller.
        unsafe { self.address_below(length, addr, offset, size) }
    }

    /// # Safety
    /// The memory is live.
    #[inline(always)]
    unsafe fn address_below(self, length: u64, addr: u64, offset: u64, size: usize) -> Option<*mut u8> {
        // SAFETY: said by the caller; the base never changes.
        let base = unsafe { (*self.vm).base };
        let start = (addr & self.mask).checked_add(offset)?;
        let last = length.checked_sub(size as u64)?;
        if start <= last { Some(base.wrapping_add(start as usize)) } else { None }
    }
}

impl Access {
    /// The host address of an atomic access. It is checked to be a multiple of the size before it is
    /// compared with the length.
    ///
    /// # Safety
    /// As for [`Access::read`].
    pub(super) unsafe fn atomic_address<T: Raw>(self, regs: Regs) -> Result<*mut u8, TrapCode> {
        // SAFETY: said by the caller.
        let addr = unsafe { regs.get::<u64>(self.addr) };
        // What overflows 64 bits here is out of bounds besides; the low bits are right.
        let start = (addr & self.memory.mask).wrapping_add(self.offset);
        if !start.is_multiple_of(T::SIZE as u64) {
            return Err(TrapCode::UnalignedAtomic);
        }
        // SAFETY: said by the caller.
        let at = unsafe { self.memory.any_address(addr, self.offset, T::SIZE) };
        at.ok_or(TrapCode::MemoryOutOfBounds)
    }

    /// The memory, if an atomic access to this host address may fault.
    ///
    /// # Safety
    /// As for [`Access::read`]; the address is one that [`Access::atomic_address`] gave.
    pub(super) unsafe fn lent_at<'a>(self, at: *mut u8) -> Option<&'a LinearMemory> {
        // SAFETY: said by the caller.
        let memory = unsafe { LinearMemory::from_vm(self.memory.vm) };
        let offset = (at.addr() - memory.base().addr()) as u64;
        (memory.sharing().is_none() && offset >= memory.plain_len()).then_some(memory)
    }

    /// Reads the bytes of one access.
    ///
    /// # Safety
    /// The memory is live, and `addr` is an address slot of `regs`.
    #[inline(always)]
    unsafe fn read<T: Raw>(self, regs: Regs) -> Result<T, TrapCode> {
        // SAFETY: said by the caller.
        let addr = unsafe { regs.get::<u64>(self.addr) };
        // SAFETY: said by the caller.
        let Some(at) = (unsafe { self.memory.plain_address(addr, self.offset, T::SIZE) }) else {
            let mut bytes = T::Bytes::default();
            // SAFETY: said by the caller.
            unsafe { self.read_beyond(addr, bytes.as_mut()) }?;
            return Ok(T::from_memory(bytes));
        };
        // SAFETY: `address` put the bytes inside the memory; `Bytes` is an array of bytes of that size.
        Ok(T::from_memory(unsafe { at.cast::<T::Bytes>().read_unaligned() }))
    }

    /// Reads what does not lie inside the plain length.
    ///
    /// # Safety
    /// As for [`Access::read`].
    #[cold]
    #[inline(never)]
    unsafe fn read_beyond(self, addr: u64, into: &mut [u8]) -> Result<(), TrapCode> {
        // SAFETY: said by the caller.
        let at = unsafe { self.memory.any_address(addr, self.offset, into.len()) };
        let at = at.ok_or(TrapCode::MemoryOutOfBounds)?;
        // SAFETY: said by the caller.
        let memory = unsafe { LinearMemory::from_vm(self.memory.vm) };
        // SAFETY: `any_address` put the bytes inside the memory.
        unsafe { memory.read_any(at, into) }
    }

    /// As [`Access::read_beyond`], for writes.
    ///
    /// # Safety
    /// As for [`Access::read`].
    #[cold]
    #[inline(never)]
    unsafe fn write_beyond(self, addr: u64, from: &[u8]) -> Result<(), TrapCode> {
        // SAFETY: said by the caller.
        let at = unsafe { self.memory.any_address(addr, self.offset, from.len()) };
        let at = at.ok_or(TrapCode::MemoryOutOfBounds)?;
        // SAFETY: said by the caller.
        let memory = unsafe { LinearMemory::from_vm(self.memory.vm) };
        // SAFETY: `any_address` put the bytes inside the memory.
        unsafe { memory.write_any(at, from) }
    }

    /// Writes the bytes of one access.
    ///
    /// # Safety
    /// As for [`Access::read`].
    #[inline(always)]
    unsafe fn write<T: Raw>(self, regs: Regs, value: T) -> Result<(), TrapCode> {
        // SAFETY: said by the caller.
        let addr = unsafe { regs.get::<u64>(self.addr) };
        // SAFETY: said by the caller.
        let Some(at) = (unsafe { self.memory.plain_address(addr, self.offset, T::SIZE) }) else {
            // SAFETY: said by the caller.
            return unsafe { self.write_beyond(addr, value.to_memory().as_ref()) };
        };
        // SAFETY: `address` put the bytes inside the memory; `Bytes` is an array of bytes of that size.
        unsafe { at.cast::<T::Bytes>().write_unaligned(value.to_memory()) };
        Ok(())
    }
}

macro_rules! load_rows {
    ($($op:ident [$raw:ident] ($x:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
        /// Runs a load row.
        ///
        /// # Safety
        /// `regs` are those of the running function, the slots are its code's, the memory is live.
        #[cfg_attr(not(debug_assertions), inline(always))]
        pub(super) unsafe fn load(regs: Regs, op: Op, dst: Slot, access: Access) -> Result<(), TrapCode> {
            match op {
                $(Op::$op => {
                    // SAFETY: said by the caller.
                    let $x = unsafe { access.read::<$raw>(regs) }?;
                    let value: $r = $eval;
                    // SAFETY: said by the caller.
                    unsafe { regs.set(dst, value) };
                })*
                _ => super::rows::not_a_row(op),
            }
            Ok(())
        }
    };
}

macro_rules! store_rows {
    ($($op:ident ($x:ident: $t:ident) [$raw:ident] $eval:block clif |$e:ident| $clif:block;)*) => {
        /// Runs a store row.
        ///
        /// # Safety
        /// `regs` are those of the running function, the slots are its code's, the memory is live.
        #[cfg_attr(not(debug_assertions), inline(always))]
        pub(super) unsafe fn store(regs: Regs, op: Op, value: Slot, access: Access) -> Result<(), TrapCode> {
            match op {
                $(Op::$op => {
                    // SAFETY: said by the caller.
                    let $x = unsafe { regs.get::<$t>(value) };
                    let raw: $raw = $eval;
                    // SAFETY: said by the caller.
                    unsafe { access.write(regs, raw) }
                })*
                _ => super::rows::not_a_row(op),
            }
        }
    };
}

macro_rules! load_lane_rows {
    ($($op:ident [$raw:ident] lanes $lanes:literal;)*) => {
        /// Runs a load-lane row.
        ///
        /// # Safety
        /// `regs` are those of the running function, the slots are its code's, the memory is live.
        #[inline(never)]
        pub(super) unsafe fn load_lane(
            regs: Regs, op: Op, lane: u8, dst: Slot, vector: Slot, access: Access,
        ) -> Result<(), TrapCode> {
            // SAFETY: said by the caller.
            let vector = unsafe { regs.get::<v128>(vector) };
            let value = match op {
                // SAFETY: said by the caller.
                $(Op::$op => replace(vector, lane, unsafe { access.read::<$raw>(regs) }?),)*
                _ => super::rows::not_a_row(op),
            };
            // SAFETY: said by the caller.
            unsafe { regs.set(dst, value) };
            Ok(())
        }
    };
}

macro_rules! store_lane_rows {
    ($($op:ident [$raw:ident] lanes $lanes:literal;)*) => {
        /// Runs a store-lane row.
        ///
        /// # Safety
        /// `regs` are those of the running function, the slots are its code's, the memory is live.
        #[inline(never)]
        pub(super) unsafe fn store_lane(
            regs: Regs, op: Op, lane: u8, vector: Slot, access: Access,
        ) -> Result<(), TrapCode> {
            // SAFETY: said by the caller.
            let vector = unsafe { regs.get::<v128>(vector) };
            match op {
                // SAFETY: said by the caller.
                $(Op::$op => unsafe { access.write::<$raw>(regs, extract(vector, lane)) },)*
                _ => super::rows::not_a_row(op),
            }
        }
    };
}

aura_validator::for_each_load_row!(load_rows);
aura_validator::for_each_store_row!(store_rows);
aura_validator::for_each_load_lane_row!(load_lane_rows);
aura_validator::for_each_store_lane_row!(store_lane_rows);

/// A load row of scalars.
pub(super) trait LoadRow {
    type Raw: Raw;
    type R: Scalar;

    fn eval(raw: Self::Raw) -> Self::R;
}

/// A store row of scalars.
pub(super) trait StoreRow {
    type Raw: Raw;
    type A: Scalar;

    fn eval(value: Self::A) -> Self::Raw;
}

/// Where the address of an access to the first memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressFrom {
    /// It is an operand.
    Operand(From),
    /// It is the sum of two, the second of them in a slot. The first may not be a constant.
    Sum(From),
}

/// Where an access to the first memory begins.
pub(super) trait Address {
    /// Operand `n` of the cell is the address; word 2 has the rest. Never above 2^33.
    fn start(at: &At, n: usize) -> u64;
}

/// An address that is an operand: word 2 is the offset, and has a constant address added to it.
pub(super) struct Operand<S>(PhantomData<S>);

impl<S: Source> Address for Operand<S> {
    #[inline(always)]
    fn start(at: &At, n: usize) -> u64 {
        let offset = at.word(2);
        if S::IS_CONSTANT { offset } else { offset + u64::from(S::get::<u32>(at, n, 0)) }
    }
}

/// An address that is a sum: word 2 is the offset and the slot of the second summand.
pub(super) struct Sum<S>(PhantomData<S>);

impl<S: Source> Address for Sum<S> {
    #[inline(always)]
    fn start(at: &At, n: usize) -> u64 {
        let sum = S::get::<u32>(at, n, 0).wrapping_add(at.get(at.place(3)));
        u64::from(at.word(2) as u32) + u64::from(sum)
    }
}

/// Whether an access that begins at `start`, never above 2^33, ends behind `length`, never above 2^33 either. A difference takes one
/// register less than a sum.
#[inline(always)]
fn is_beyond(start: u64, size: usize, length: u64) -> bool {
    length.wrapping_sub(start).cast_signed() < size as i64
}

/// A load: dst, address │ offset, second summand
pub(super) struct LoadPart<R, A, O>(PhantomData<(R, A, O)>);

impl<R: LoadRow, A: Address, O: Sink> Part for LoadPart<R, A, O> {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        let start = A::start(at, 1);
        if is_beyond(start, R::Raw::SIZE, at.length) {
            at.length = start;
            return Err(load_beyond::<R, O>);
        }
        let place = at.base.wrapping_add(start as usize).cast::<<R::Raw as Raw>::Bytes>();
        // SAFETY: the bytes are inside the plain length; `Bytes` is an array of bytes of that size.
        let bytes = unsafe { place.read() };
        O::put(at, 0, R::eval(R::Raw::from_memory(bytes)));
        at.pass(3);
        Ok(())
    }
}

/// A store: address, value │ offset, second summand │ constant value
pub(super) struct StorePart<R, A, V>(PhantomData<(R, A, V)>);

impl<R: StoreRow, A: Address, V: Source> Part for StorePart<R, A, V> {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        let bytes = R::eval(V::get(at, 1, 3)).to_memory();
        let start = A::start(at, 0);
        if is_beyond(start, R::Raw::SIZE, at.machine().writable) {
            let scratch = at.machine().scratch.as_mut_ptr().cast::<<R::Raw as Raw>::Bytes>();
            // SAFETY: 16 bytes have room for any scalar.
            unsafe { scratch.write(bytes) };
            at.length = start;
            return Err(store_beyond::<R, V>);
        }
        let place = at.base.wrapping_add(start as usize).cast::<<R::Raw as Raw>::Bytes>();
        // SAFETY: as in `LoadPart`.
        unsafe { place.write(bytes) };
        at.pass(store_words(V::IS_CONSTANT));
        Ok(())
    }
}

handler! {
    /// A load that is not inside the plain length; where it begins is in the register of the length, which gets its own again.
    #[cold]
    fn load_beyond[R: LoadRow, O: Sink](at) {
        let failed = read_beyond(at.machine(), at.length, R::Raw::SIZE);
        at.length = at.machine().writable;
        if failed != 0 {
            at.int = failed.into();
            return at.trap_of_number();
        }
        let scratch = at.machine().scratch.as_ptr().cast::<<R::Raw as Raw>::Bytes>();
        // SAFETY: the bytes were put there.
        let bytes = unsafe { scratch.read() };
        O::put(&mut at, 0, R::eval(R::Raw::from_memory(bytes)));
        at.next(3)
    }
}

handler! {
    /// As [`load_beyond`], for a store, whose bytes are the first of the scratch.
    #[cold]
    fn store_beyond[R: StoreRow, V: Source](at) {
        let failed = write_beyond(at.machine(), at.length, R::Raw::SIZE);
        at.length = at.machine().writable;
        if failed != 0 {
            at.int = failed.into();
            return at.trap_of_number();
        }
        at.next(store_words(V::IS_CONSTANT))
    }
}

/// Reads bytes of the first memory into the scratch. Returns the number of the trap, or 0.
#[inline(never)]
fn read_beyond(m: &mut Machine, start: u64, size: usize) -> u8 {
    let access = Access { memory: m.memory, offset: start, addr: Slot(0) };
    // SAFETY: the machine's memory is live.
    unsafe { access.read_beyond(0, &mut m.scratch[..size]) }.map_or_else(|code| code as u8, |()| 0)
}

/// Writes the first bytes of the scratch to the first memory. Returns as [`read_beyond`].
#[inline(never)]
fn write_beyond(m: &mut Machine, start: u64, size: usize) -> u8 {
    let access = Access { memory: m.memory, offset: start, addr: Slot(0) };
    // SAFETY: the machine's memory is live.
    unsafe { access.write_beyond(0, &m.scratch[..size]) }.map_or_else(|code| code as u8, |()| 0)
}

/// How many words a store's cell has.
pub(super) const fn store_words(of_constant: bool) -> usize {
    if of_constant { 4 } else { 3 }
}

/// A sum whose first summand is a constant.
#[cold]
fn not_a_sum() -> ! {
    unreachable!("a sum of a constant is no address of a cell")
}

fn pick_load<R: LoadRow>(address: AddressFrom, to: To) -> Handler {
    match address {
        AddressFrom::Operand(From::Slot) => pick_load_at::<R, Operand<FromSlot>>(to),
        AddressFrom::Operand(From::Accumulator) => pick_load_at::<R, Operand<FromAccumulator>>(to),
        AddressFrom::Operand(From::Constant) => pick_load_at::<R, Operand<FromCell>>(to),
        AddressFrom::Sum(From::Slot) => pick_load_at::<R, Sum<FromSlot>>(to),
        AddressFrom::Sum(From::Accumulator) => pick_load_at::<R, Sum<FromAccumulator>>(to),
        AddressFrom::Sum(From::Constant) => not_a_sum(),
    }
}

fn pick_load_at<R: LoadRow, A: Address>(to: To) -> Handler {
    match to {
        To::Slot => alone::<LoadPart<R, A, ToSlot>>,
        To::Accumulator => alone::<LoadPart<R, A, ToAccumulator>>,
    }
}

fn pick_store<R: StoreRow>(address: AddressFrom, value: From) -> Handler {
    match address {
        AddressFrom::Operand(From::Slot) => pick_store_at::<R, Operand<FromSlot>>(value),
        AddressFrom::Operand(From::Accumulator) => pick_store_at::<R, Operand<FromAccumulator>>(value),
        AddressFrom::Operand(From::Constant) => pick_store_at::<R, Operand<FromCell>>(value),
        AddressFrom::Sum(From::Slot) => pick_store_at::<R, Sum<FromSlot>>(value),
        AddressFrom::Sum(From::Accumulator) => pick_store_at::<R, Sum<FromAccumulator>>(value),
        AddressFrom::Sum(From::Constant) => not_a_sum(),
    }
}

fn pick_store_at<R: StoreRow, A: Address>(value: From) -> Handler {
    match value {
        From::Slot => alone::<StorePart<R, A, FromSlot>>,
        From::Accumulator => alone::<StorePart<R, A, FromAccumulator>>,
        From::Constant => alone::<StorePart<R, A, FromCell>>,
    }
}

macro_rules! load_type {
    ($op:ident $raw:ident $x:ident v128 $eval:block) => {};
    ($op:ident $raw:ident $x:ident $r:ident $eval:block) => {
        pub(in super::super) struct $op;

        impl LoadRow for $op {
            type Raw = $raw;
            type R = $r;

            #[inline(always)]
            fn eval($x: $raw) -> $r {
                $eval
            }
        }
    };
}

macro_rules! store_type {
    ($op:ident $x:ident v128 $raw:ident $eval:block) => {};
    ($op:ident $x:ident $t:ident $raw:ident $eval:block) => {
        pub(in super::super) struct $op;

        impl StoreRow for $op {
            type Raw = $raw;
            type A = $t;

            #[inline(always)]
            fn eval($x: $t) -> $raw {
                $eval
            }
        }
    };
}

/// What is made of a row, unless it is one of vectors.
macro_rules! scalar {
    (v128, $what:expr) => {
        None
    };
    ($t:ident, $what:expr) => {
        Some($what)
    };
}

macro_rules! load_handlers {
    ($($op:ident [$raw:ident] ($x:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
        /// A type for each load row of scalars.
        pub(super) mod load_row_types {
            use super::LoadRow;

            $(load_type!($op $raw $x $r $eval);)*
        }

        /// The class of what a load row of scalars loads.
        pub(super) const fn loaded(op: Op) -> Option<Class> {
            match op {
                $(Op::$op => scalar!($r, <$r as Scalar>::CLASS),)*
                _ => None,
            }
        }

        /// The handler of a load row of scalars.
        pub(super) fn loading(op: Op, address: AddressFrom, to: To) -> Option<Handler> {
            match op {
                $(Op::$op => scalar!($r, pick_load::<load_row_types::$op>(address, to)),)*
                _ => None,
            }
        }
    };
}

macro_rules! store_handlers {
    ($($op:ident ($x:ident: $t:ident) [$raw:ident] $eval:block clif |$e:ident| $clif:block;)*) => {
        /// A type for each store row of scalars.
        pub(super) mod store_row_types {
            use super::StoreRow;

            $(store_type!($op $x $t $raw $eval);)*
        }

        /// Whether a store row is one of scalars.
        pub(super) const fn is_scalar_store(op: Op) -> bool {
            match op {
                $(Op::$op => { let is: Option<()> = scalar!($t, ()); is.is_some() })*
                _ => false,
            }
        }

        /// The handler of a store row of scalars.
        pub(super) fn storing(op: Op, address: AddressFrom, value: From) -> Option<Handler> {
            match op {
                $(Op::$op => scalar!($t, pick_store::<store_row_types::$op>(address, value)),)*
                _ => None,
            }
        }
    };
}

aura_validator::for_each_load_row!(load_handlers);
aura_validator::for_each_store_row!(store_handlers);
