//! Atomic accesses, expanded from the operator table; waiting and waking, which services carry out.
//!
//! # Safety
//! Trusts: an address that [`Access::atomic_address`] gave is inside its memory, which never shrinks,
//! and a multiple of the size of the access. Where what is lent lies, the access is careful instead of a cell's
//! ([`Place`]). Whoever else touches these bytes, on any thread, does it
//! atomically, or races by the guest's own fault and through no Rust reference.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};

use aura_host_abi::services::FAILED;
use aura_host_abi::trap::Status;
use aura_host_abi::{SlotType, TrapCode};
use aura_validator::code::{Inst, MemArgId, Slot};
use aura_validator::ops::Op;

use super::address::Access;
use super::bulk::not_bulk;
use super::machine::Machine;
use super::slots::Regs;
use crate::services;
use crate::vm::memory::LinearMemory;

/// The atomic cells of the sizes that rows name.
#[allow(non_camel_case_types, reason = "the names are the table's")]
mod cell {
    pub(super) type u8 = super::AtomicU8;
    pub(super) type u16 = super::AtomicU16;
    pub(super) type u32 = super::AtomicU32;
    pub(super) type u64 = super::AtomicU64;
}

/// Where an atomic access goes.
enum Place<'a, C> {
    Cell(&'a C),
    /// To bytes that may fault: the memory, and where in it.
    Lent(&'a LinearMemory, *mut u8),
}

macro_rules! places {
    ($($raw:ident in $cell:ident;)*) => {$(
        impl Place<'_, $cell> {
            fn load(&self) -> Result<$raw, TrapCode> {
                let (memory, at) = match self {
                    Self::Cell(cell) => return Ok(cell.load(SeqCst)),
                    Self::Lent(memory, at) => (memory, *at),
                };
                let mut bytes = [0; size_of::<$raw>()];
                // SAFETY: the word is inside the memory.
                unsafe { memory.read_any(at, &mut bytes) }?;
                Ok($raw::from_ne_bytes(bytes))
            }

            fn compare_exchange(&self, old: $raw, new: $raw) -> Result<$raw, TrapCode> {
                match self {
                    Self::Cell(cell) => Ok(cell.compare_exchange(old, new, SeqCst, SeqCst).unwrap_or_else(|old| old)),
                    Self::Lent(memory, at) => {
                        // SAFETY: the word is inside the memory, and aligned.
                        let found = unsafe { memory.exchange_any(*at, size_of::<$raw>(), old.into(), new.into()) };
                        found.map(|found| found as $raw)
                    }
                }
            }

            fn update(&self, modify: impl Fn($raw) -> $raw) -> Result<$raw, TrapCode> {
                if let Self::Cell(cell) = self {
                    return Ok(cell.update(SeqCst, SeqCst, modify));
                }
                let mut old = self.load()?;
                loop {
                    match self.compare_exchange(old, modify(old))? {
                        found if found == old => return Ok(old),
                        found => old = found,
                    }
                }
            }

            fn store(&self, new: $raw) -> Result<(), TrapCode> {
                match self {
                    Self::Cell(cell) => cell.store(new, SeqCst),
                    Self::Lent(..) => drop(self.update(|_| new)?),
                }
                Ok(())
            }
        }
    )*};
}

places! {
    u8 in AtomicU8;
    u16 in AtomicU16;
    u32 in AtomicU32;
    u64 in AtomicU64;
}

/// The place of an access, or leaves with the trap.
macro_rules! place {
    ($access:ident, $regs:ident, $raw:ident) => {{
        // SAFETY: said by the caller.
        let at = unsafe { $access.atomic_address::<$raw>($regs) }?;
        // SAFETY: said by the caller.
        match unsafe { $access.lent_at(at) } {
            Some(memory) => Place::Lent(memory, at),
            // SAFETY: the bytes are inside the memory and aligned; see the head of the file.
            None => Place::Cell(unsafe { cell::$raw::from_ptr(at.cast()) }),
        }
    }};
}

/// The operand in a slot, cut off to the size of the access.
macro_rules! operand {
    ($regs:ident, $slot:ident, $raw:ident) => {{
        // SAFETY: said by the caller.
        let bits = unsafe { $regs.get::<u64>($slot) };
        bits as $raw
    }};
}

/// Puts what was in memory into the result's slot.
macro_rules! result {
    ($regs:ident, $dst:ident, $raw:ident, $value:expr) => {{
        let value = u64::from(<$raw>::from_le($value));
        // SAFETY: said by the caller.
        unsafe { $regs.set($dst, value) };
    }};
}

macro_rules! load_rows {
    ($($op:ident [$raw:ident] -> $t:ident;)*) => {
        /// Runs an atomic load row.
        ///
        /// # Safety
        /// `regs` are those of the running function, the slots are its code's, the memory is live.
        #[inline(never)]
        pub(super) unsafe fn load(regs: Regs, op: Op, dst: Slot, access: Access) -> Result<(), TrapCode> {
            match op {
                $(Op::$op => result!(regs, dst, $raw, place!(access, regs, $raw).load()?),)*
                _ => super::rows::not_a_row(op),
            }
            Ok(())
        }
    };
}

macro_rules! store_rows {
    ($($op:ident ($t:ident) [$raw:ident];)*) => {
        /// Runs an atomic store row.
        ///
        /// # Safety
        /// `regs` are those of the running function, the slots are its code's, the memory is live.
        #[inline(never)]
        pub(super) unsafe fn store(regs: Regs, op: Op, value: Slot, access: Access) -> Result<(), TrapCode> {
            match op {
                $(Op::$op => place!(access, regs, $raw).store(operand!(regs, value, $raw).to_le())?,)*
                _ => super::rows::not_a_row(op),
            }
            Ok(())
        }
    };
}

macro_rules! rmw_rows {
    ($($op:ident [$raw:ident] ($old:pat, $x:ident: $t:ident) $eval:block clif $rmw:ident;)*) => {
        /// Runs a read-modify-write row.
        ///
        /// # Safety
        /// `regs` are those of the running function, the slots are its code's, the memory is live.
        #[inline(never)]
        pub(super) unsafe fn rmw(
            regs: Regs, op: Op, dst: Slot, value: Slot, access: Access,
        ) -> Result<(), TrapCode> {
            match op {
                $(Op::$op => {
                    let $x = operand!(regs, value, $raw);
                    let modify = |found: $raw| {
                        let $old = <$raw>::from_le(found);
                        let new: $raw = $eval;
                        new.to_le()
                    };
                    result!(regs, dst, $raw, place!(access, regs, $raw).update(modify)?);
                })*
                _ => super::rows::not_a_row(op),
            }
            Ok(())
        }
    };
}

macro_rules! cmpxchg_rows {
    ($($op:ident [$raw:ident] ($t:ident);)*) => {
        /// Runs a compare-exchange row: `expected`, then its replacement.
        ///
        /// # Safety
        /// `regs` are those of the running function, the slots are its code's, the memory is live.
        #[inline(never)]
        pub(super) unsafe fn cmpxchg(
            regs: Regs, op: Op, dst: Slot, [expected, replacement]: [Slot; 2], access: Access,
        ) -> Result<(), TrapCode> {
            match op {
                $(Op::$op => {
                    let expected = operand!(regs, expected, $raw).to_le();
                    let replacement = operand!(regs, replacement, $raw).to_le();
                    let old = place!(access, regs, $raw).compare_exchange(expected, replacement)?;
                    result!(regs, dst, $raw, old);
                })*
                _ => super::rows::not_a_row(op),
            }
            Ok(())
        }
    };
}

aura_validator::for_each_atomic_load_row!(load_rows);
aura_validator::for_each_atomic_store_row!(store_rows);
aura_validator::for_each_atomic_rmw_row!(rmw_rows);
aura_validator::for_each_atomic_cmpxchg_row!(cmpxchg_rows);

impl Machine {
    /// `memory.atomic.wait32`, `wait64` and `notify`.
    ///
    /// # Safety
    /// The instruction is one of the running code; the position is saved.
    pub(super) unsafe fn waiting(&mut self, regs: Regs, inst: &Inst) -> Result<(), Status> {
        let vmctx = self.vmctx;
        // SAFETY: said by the caller.
        let get = |slot: Slot| unsafe { regs.get::<u64>(slot) };
        let (dst, result) = match *inst {
            Inst::AtomicWait { ty, dst, addr, expected, timeout, mem } => {
                let [memory, index, offset] = self.service_address(get(addr), mem);
                let (expected, timeout) = (get(expected), get(timeout));
                let result = match ty {
                    // SAFETY: the instance is live and linked.
                    SlotType::I32 => unsafe {
                        services::memory_atomic_wait32(vmctx, memory, index, offset, expected, timeout)
                    },
                    // SAFETY: the instance is live and linked.
                    _ => unsafe { services::memory_atomic_wait64(vmctx, memory, index, offset, expected, timeout) },
                };
                (dst, result)
            }
            Inst::AtomicNotify { dst, addr, count, mem } => {
                let [memory, index, offset] = self.service_address(get(addr), mem);
                let count = u64::from(get(count) as u32);
                // SAFETY: the instance is live and linked.
                (dst, unsafe { services::memory_atomic_notify(vmctx, memory, index, offset, count) })
            }
            other => not_bulk(&other),
        };
        if result == FAILED {
            return Err(Status::Trap);
        }
        // SAFETY: said by the caller.
        unsafe { regs.set(dst, result) };
        Ok(())
    }

    /// An address as services take it: memory, index, static offset.
    fn service_address(&self, index: u64, mem: MemArgId) -> [u64; 3] {
        let arg = self.code().memarg(mem);
        [arg.memory.into(), self.memory_index(arg.memory, index), arg.offset]
    }
}
