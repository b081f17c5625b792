//! Loads and stores: the one place where the interpreter turns a guest address into a host address.
//!
//! Invariant: every access is compared with the memory's length, in 64 bits, without wrapping, in
//! either bounds mode; nothing here relies on guards.
//!
//! # Safety
//! Trusts: `base..base + length` of a [`VmMemory`] is mapped readable and writable, and the length
//! never falls. Guest bytes may be shared with other mappings, so that no reference to them is made.

use std::sync::atomic::Ordering;

use aura_host_abi::TrapCode;
use aura_host_abi::vm::VmMemory;
use aura_validator::code::Slot;
use aura_validator::ops::sem::{Raw, extract, replace};
use aura_validator::ops::{Op, v128};

use super::slots::Regs;

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
    pub(super) vm: *const VmMemory,
    /// The bits of a slot that are an address: 32 or all.
    pub(super) mask: u64,
}

impl View {
    /// The view of an instance without memories.
    pub(super) const NONE: Self = Self { vm: std::ptr::null(), mask: 0 };

    /// The host address of `size` bytes, if they are inside.
    ///
    /// # Safety
    /// The memory is live.
    #[inline(always)]
    unsafe fn address(self, addr: u64, offset: u64, size: usize) -> Result<*mut u8, TrapCode> {
        // SAFETY: the caller says that the memory is live.
        let length = unsafe { (*self.vm).length.load(Ordering::Relaxed) };
        // SAFETY: as above; the base never changes.
        let base = unsafe { (*self.vm).base };
        match (addr & self.mask).checked_add(offset) {
            Some(start) if length.checked_sub(size as u64).is_some_and(|last| start <= last) => {
                Ok(base.wrapping_add(start as usize))
            }
            _ => Err(TrapCode::MemoryOutOfBounds),
        }
    }
}

impl Access {
    /// Reads the bytes of one access.
    ///
    /// # Safety
    /// The memory is live, and `addr` is an address slot of `regs`.
    #[inline(always)]
    unsafe fn read<T: Raw>(self, regs: Regs) -> Result<T, TrapCode> {
        // SAFETY: said by the caller.
        let addr = unsafe { regs.get::<u64>(self.addr) };
        // SAFETY: said by the caller.
        let at = unsafe { self.memory.address(addr, self.offset, T::SIZE) }?;
        // SAFETY: `address` put the bytes inside the memory; `Bytes` is an array of bytes of that size.
        Ok(T::from_memory(unsafe { at.cast::<T::Bytes>().read_unaligned() }))
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
        let at = unsafe { self.memory.address(addr, self.offset, T::SIZE) }?;
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
