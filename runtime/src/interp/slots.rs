//! Frame slots as typed registers.
//!
//! # Safety
//! Trusts: `Code` is what lowering made of a validated body, so that its slots lie inside the frame
//! the layout asks for and every slot is written before it is read. Slots are raw memory: no
//! reference to one is ever made.

use aura_host_abi::SlotType;
use aura_validator::code::{Operand, Slot};
use aura_validator::ops::v128;

/// The slots of a frame, by their base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Regs(*mut u64);

/// A value as it lies in a slot.
pub(super) trait SlotValue: Sized {
    /// Reads the value at `at`.
    ///
    /// # Safety
    /// `at` is a slot (two for a vector) that holds such a value.
    unsafe fn read(at: *const u64) -> Self;

    /// Writes the value at `at`.
    ///
    /// # Safety
    /// `at` is a slot (two for a vector) of this thread's interpreter.
    unsafe fn write(self, at: *mut u64);
}

impl Regs {
    pub(super) fn new(base: *mut u64) -> Self {
        Self(base)
    }

    /// The address of slot 0.
    pub(super) fn base(self) -> *mut u64 {
        self.0
    }

    /// The address of a slot.
    #[inline(always)]
    pub(super) fn at(self, slot: Slot) -> *mut u64 {
        self.0.wrapping_offset(slot.0 as isize)
    }

    /// The address of a slot, by its distance from the base in bytes.
    #[inline(always)]
    pub(super) fn at_byte(self, bytes: i32) -> *mut u64 {
        self.0.wrapping_byte_offset(bytes as isize)
    }

    /// Reads a slot.
    ///
    /// # Safety
    /// `slot` is one of the code that these registers were made for, and holds a `T`.
    #[inline(always)]
    pub(super) unsafe fn get<T: SlotValue>(self, slot: Slot) -> T {
        // SAFETY: said by the caller.
        unsafe { T::read(self.at(slot)) }
    }

    /// Writes a slot.
    ///
    /// # Safety
    /// `slot` is one of the code that these registers were made for, and of `T`'s class.
    #[inline(always)]
    pub(super) unsafe fn set<T: SlotValue>(self, slot: Slot, value: T) {
        // SAFETY: said by the caller.
        unsafe { value.write(self.at(slot)) };
    }

    /// Moves one value of class `ty` between slots.
    ///
    /// # Safety
    /// As for [`Regs::get`] and [`Regs::set`].
    #[inline(always)]
    pub(super) unsafe fn copy(self, ty: SlotType, dst: Slot, src: Slot) {
        // SAFETY: said by the caller.
        unsafe { copy_value(ty, self.at(dst), self.at(src)) };
    }

    /// Writes the values of `operands` to consecutive slots from `array` on.
    ///
    /// # Safety
    /// As for [`Regs::get`]; `array` has room for them and is not part of the frame.
    pub(super) unsafe fn to_array(self, operands: &[Operand], mut array: *mut u64) {
        for operand in operands {
            // SAFETY: said by the caller.
            unsafe { copy_value(operand.ty, array, self.at(operand.slot)) };
            array = array.wrapping_add(operand.ty.slots() as usize);
        }
    }

    /// Reads consecutive slots from `array` on into `operands`.
    ///
    /// # Safety
    /// As for [`Regs::set`]; `array` holds such values and is not part of the frame.
    pub(super) unsafe fn take_array(self, operands: &[Operand], mut array: *const u64) {
        for operand in operands {
            // SAFETY: said by the caller.
            unsafe { copy_value(operand.ty, self.at(operand.slot), array) };
            array = array.wrapping_add(operand.ty.slots() as usize);
        }
    }

    /// Moves values from another frame, pair by pair.
    ///
    /// # Safety
    /// As for [`Regs::get`] and [`Regs::set`]; the frames are different ones.
    #[inline]
    pub(super) unsafe fn take_from(self, to: &[Operand], other: Self, from: &[Operand]) {
        for (to, from) in to.iter().zip(from) {
            // SAFETY: said by the caller; validation made the classes equal.
            unsafe { copy_value(to.ty, self.at(to.slot), other.at(from.slot)) };
        }
    }
}

/// Copies one value of class `ty`.
///
/// # Safety
/// `src` holds such a value, `dst` has room for it. They may be the same place.
#[inline(always)]
unsafe fn copy_value(ty: SlotType, dst: *mut u64, src: *const u64) {
    if ty == SlotType::V128 {
        // SAFETY: said by the caller.
        let value = unsafe { v128::read(src) };
        // SAFETY: said by the caller.
        unsafe { value.write(dst) };
    } else {
        // SAFETY: said by the caller.
        let value = unsafe { src.read() };
        // SAFETY: said by the caller.
        unsafe { dst.write(value) };
    }
}

macro_rules! slot_values {
    ($($ty:ty: |$bits:ident| $from:expr, |$value:ident| $to:expr;)*) => {
        $(impl SlotValue for $ty {
            #[inline(always)]
            unsafe fn read(at: *const u64) -> Self {
                // SAFETY: said by the caller.
                let $bits = unsafe { at.read() };
                $from
            }

            #[inline(always)]
            unsafe fn write(self, at: *mut u64) {
                let $value = self;
                // SAFETY: said by the caller.
                unsafe { at.write($to) };
            }
        })*
    };
}

slot_values! {
    u32: |bits| bits as u32, |x| u64::from(x);
    i32: |bits| bits as i32, |x| u64::from(x as u32);
    u64: |bits| bits, |x| x;
    i64: |bits| bits as i64, |x| x as u64;
    f32: |bits| f32::from_bits(bits as u32), |x| u64::from(x.to_bits());
    f64: |bits| f64::from_bits(bits), |x| x.to_bits();
}

impl SlotValue for v128 {
    #[inline(always)]
    unsafe fn read(at: *const u64) -> Self {
        // SAFETY: a vector has two slots; any bytes are a vector.
        Self(unsafe { at.cast::<[u8; 16]>().read() })
    }

    #[inline(always)]
    unsafe fn write(self, at: *mut u64) {
        // SAFETY: a vector has two slots.
        unsafe { at.cast::<[u8; 16]>().write(self.0) };
    }
}
