//! Addresses: the one place of the compiled tier where a guest address becomes a host address.
//!
//! Two ways, by the compiler's [`Bounds`] and the memory's type:
//!
//! - *Guard.* `base + zero-extended index + offset`, without a compare. Sound because the index has
//!   32 bits, the memory's reservation holds [`MEMORY_RESERVATION`] bytes, nothing beyond the length
//!   is accessible in it, and [`MEMORY_GUARD`] bytes behind it are never accessible; accesses with
//!   `offset + size` beyond the guard take the other way. An access beyond the length faults there.
//! - *Explicit.* `end = index + offset + size` in 64 bits; if that overflows or is beyond the length,
//!   the address becomes null by a conditional move, so that the access faults below
//!   [`NULL_PAGE`](aura_host_abi::vm::NULL_PAGE) and nothing is loaded speculatively. The offset is
//!   added before the move: what is accessed is null itself.
//!
//! Invariant: every access carries the trap code of a memory, so that it is never moved, dropped or
//! left out of the trap table, and its index was zero-extended here, whatever the upper bits were.

use std::mem::offset_of;

use aura_host_abi::TrapCode;
use aura_host_abi::vm::{MEMORY_GUARD, MEMORY_RESERVATION, VmMemory, VmMemoryRef};
use aura_validator::code::{MemArg, Slot};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};

use crate::body::Body;
use crate::compiler::Bounds;
use crate::emit::{guest, offset, plain};

const _: () = assert!(MEMORY_RESERVATION == 1 << 32, "every 32-bit index lies in the reservation");
const _: () = assert!(MEMORY_GUARD <= i32::MAX as u64 + 1, "a guarded offset fits an instruction");

/// Where an access goes and how it is to be made.
#[derive(Clone, Copy)]
pub(crate) struct HostAddress {
    pub(crate) base: Value,
    pub(crate) offset: i32,
    pub(crate) flags: MemFlagsData,
}

impl Body<'_> {
    /// The host address of an access of `size` bytes.
    pub(crate) fn host_address(&mut self, arg: MemArg, index: Slot, size: u32) -> HostAddress {
        let index = self.get_index(self.is_memory64(arg.memory), index);
        let end = arg.offset.checked_add(u64::from(size));
        let flags = guest();
        let base = self.memory_base(arg.memory);
        match end {
            Some(end) if self.is_guarded(arg.memory) && end <= MEMORY_GUARD => {
                let base = self.emit.ins().iadd(base, index);
                let offset = i32::try_from(arg.offset).expect("a guarded offset fits an instruction");
                HostAddress { base, offset, flags }
            }
            _ => {
                let is_out = self.is_out_of_bounds(arg.memory, index, end);
                let address = self.emit.ins().iadd(base, index);
                let static_offset = self.emit.iconst64(arg.offset);
                let address = self.emit.ins().iadd(address, static_offset);
                let null = self.emit.iconst64(0);
                HostAddress { base: self.emit.ins().select_spectre_guard(is_out, null, address), offset: 0, flags }
            }
        }
    }

    /// The host address of an atomic access of `size` bytes. It is checked to be a multiple of them before
    /// it is compared with the length, in guest addresses: a memory's base is a multiple of a page.
    pub(crate) fn atomic_address(&mut self, arg: MemArg, index: Slot, size: u32) -> (Value, MemFlagsData) {
        let mask = u64::from(size) - 1;
        if mask != 0 {
            let index = self.get_index(self.is_memory64(arg.memory), index);
            // What overflows 64 bits here is out of bounds besides; the low bits are right.
            let low = self.emit.iconst64(arg.offset & mask);
            let sum = self.emit.ins().iadd(index, low);
            let mask = self.emit.iconst64(mask);
            let rest = self.emit.ins().band(sum, mask);
            self.emit.trap_if(rest, TrapCode::UnalignedAtomic);
        }
        let at = self.host_address(arg, index, size);
        (self.emit.field_address(at.base, at.offset as usize), at.flags)
    }

    /// Whether `index + end` overflows or is beyond the length; `end` is `offset + size`, `None` if that overflows.
    fn is_out_of_bounds(&mut self, memory: u32, index: Value, end: Option<u64>) -> Value {
        let Some(end) = end else {
            return self.emit.ins().iconst(types::I8, 1);
        };
        let length = self.memory_length(memory);
        let end = self.emit.iconst64(end);
        let greater = IntCC::UnsignedGreaterThan;
        if self.is_memory64(memory) {
            let (end, overflow) = self.emit.ins().uadd_overflow(index, end);
            let is_beyond = self.emit.ins().icmp(greater, end, length);
            return self.emit.ins().bor(overflow, is_beyond);
        }
        // A 32-bit index and a 32-bit offset do not overflow 64 bits.
        let end = self.emit.ins().iadd(index, end);
        self.emit.ins().icmp(greater, end, length)
    }

    fn is_guarded(&self, memory: u32) -> bool {
        let ty = &self.target.module.memories()[memory as usize];
        self.target.config.bounds == Bounds::Guard && !ty.memory64 && ty.page_size_log2 == 16
    }

    fn memory_base(&mut self, memory: u32) -> Value {
        let at = self.layout.memories(memory) + offset(offset_of!(VmMemoryRef, base));
        self.emit.load_constant(self.emit.vmctx, at)
    }

    /// The length of a memory in bytes.
    pub(crate) fn memory_length(&mut self, memory: u32) -> Value {
        let vmctx = self.emit.vmctx;
        let field = offset_of!(VmMemory, length);
        let shared = self.target.module.memories()[memory as usize].shared;
        let (base, at) = match memory.checked_sub(self.layout.counts().imported_memories) {
            // A shared memory is not in the block of the instance that defines it, which it may outlive.
            Some(own) if !shared => (vmctx, self.layout.own_memories(own) + offset(field)),
            _ => {
                let at = self.layout.memories(memory) + offset(offset_of!(VmMemoryRef, memory));
                (self.emit.load_constant(vmctx, at), offset(field))
            }
        };
        if shared {
            return self.emit.load_atomic(base, at as usize);
        }
        self.emit.ins().load(types::I64, plain(), base, at)
    }
}
