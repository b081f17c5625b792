//! Loads and stores: the one place where the interpreter turns a guest address into a host address.
//!
//! Invariant: every access is compared with the memory's length, in 64 bits, without wrapping, in
//! either bounds mode; nothing here relies on guards.
//!
//! # Safety
//! Trusts: `base..base + length` of a [`VmMemory`] is mapped readable and writable, and the length
//! never falls. Guest bytes may be shared with other mappings, so that no reference to them is made.
//! Those of a shared memory may be written by other threads meanwhile: they are accessed through
//! [`raced`] and, where the operator is atomic, in [`super::atomic`].

use std::sync::atomic::{AtomicU64, Ordering};

use aura_host_abi::vm::VmMemory;
use aura_host_abi::{TrapCode, raced};
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
    /// Where plain accesses look: the memory itself, but [`NOTHING`] for a shared one. So they need not ask
    /// whether it is shared until the address is found outside.
    plain: *const VmMemory,
    vm: *const VmMemory,
    /// The bits of a slot that are an address: 32 or all.
    mask: u64,
}

impl View {
    /// The view of an instance without memories.
    pub(super) const NONE: Self = Self { plain: &raw const NOTHING.0, vm: std::ptr::null(), mask: 0 };

    /// The view of a memory whose addresses are the bits `mask` of a slot.
    pub(super) fn new(vm: *const VmMemory, mask: u64, is_shared: bool) -> Self {
        Self { plain: if is_shared { &raw const NOTHING.0 } else { vm }, vm, mask }
    }

    pub(super) fn is_none(self) -> bool {
        self.vm.is_null()
    }

    fn is_shared(self) -> bool {
        !std::ptr::eq(self.plain, self.vm)
    }

    /// The host address of `size` bytes, if they are inside.
    ///
    /// # Safety
    /// `vm` is live, and one of this view's two.
    #[inline(always)]
    unsafe fn address(self, vm: *const VmMemory, addr: u64, offset: u64, size: usize) -> Option<*mut u8> {
        // SAFETY: said by the caller.
        let length = unsafe { (*vm).length.load(Ordering::Acquire) };
        // SAFETY: as above; the base never changes.
        let base = unsafe { (*vm).base };
        let start = (addr & self.mask).checked_add(offset)?;
        let last = length.checked_sub(size as u64)?;
        if start <= last { Some(base.wrapping_add(start as usize)) } else { None }
    }
}

/// A memory without bytes.
struct NoMemory(VmMemory);

// SAFETY: nothing changes it, and nothing is behind its pointers.
unsafe impl Sync for NoMemory {}

static NOTHING: NoMemory =
    NoMemory(VmMemory { base: std::ptr::null_mut(), length: AtomicU64::new(0), host: std::ptr::null_mut() });

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
        let at = unsafe { self.memory.address(self.memory.vm, addr, self.offset, T::SIZE) };
        at.ok_or(TrapCode::MemoryOutOfBounds)
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
        let Some(at) = (unsafe { self.memory.address(self.memory.plain, addr, self.offset, T::SIZE) }) else {
            let mut bytes = T::Bytes::default();
            // SAFETY: said by the caller.
            unsafe { self.read_raced(addr, bytes.as_mut()) }?;
            return Ok(T::from_memory(bytes));
        };
        // SAFETY: `address` put the bytes inside the memory; `Bytes` is an array of bytes of that size.
        Ok(T::from_memory(unsafe { at.cast::<T::Bytes>().read_unaligned() }))
    }

    /// Reads from a shared memory; from any other, the address is known to be outside.
    ///
    /// # Safety
    /// As for [`Access::read`].
    #[cold]
    #[inline(never)]
    unsafe fn read_raced(self, addr: u64, into: &mut [u8]) -> Result<(), TrapCode> {
        // SAFETY: said by the caller.
        let at = unsafe { self.raced_address(addr, into.len()) }?;
        // SAFETY: `raced_address` put the bytes inside the memory.
        unsafe { raced::copy_out(at, into) };
        Ok(())
    }

    /// As [`Access::read_raced`], for writes.
    ///
    /// # Safety
    /// As for [`Access::read`].
    #[cold]
    #[inline(never)]
    unsafe fn write_raced(self, addr: u64, from: &[u8]) -> Result<(), TrapCode> {
        // SAFETY: said by the caller.
        let at = unsafe { self.raced_address(addr, from.len()) }?;
        // SAFETY: `raced_address` put the bytes inside the memory.
        unsafe { raced::copy_in(at, from) };
        Ok(())
    }

    /// # Safety
    /// As for [`Access::read`].
    unsafe fn raced_address(self, addr: u64, size: usize) -> Result<*mut u8, TrapCode> {
        if !self.memory.is_shared() {
            return Err(TrapCode::MemoryOutOfBounds);
        }
        // SAFETY: said by the caller.
        let at = unsafe { self.memory.address(self.memory.vm, addr, self.offset, size) };
        at.ok_or(TrapCode::MemoryOutOfBounds)
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
        let Some(at) = (unsafe { self.memory.address(self.memory.plain, addr, self.offset, T::SIZE) }) else {
            // SAFETY: said by the caller.
            return unsafe { self.write_raced(addr, value.to_memory().as_ref()) };
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
