//! Globals, references, tables and bulk memory: instructions that are look-ups, or that the engine
//! services carry out.
//!
//! # Safety
//! Trusts: as [`super::machine`]. Operands that are addresses, indices or lengths are 32 or 64 bits
//! wide by the type of the memory or table; services take them zero-extended.

use aura_host_abi::trap::Status;
use aura_host_abi::{SlotType, TrapCode};
use aura_validator::code::{Inst, Slot};

use super::machine::{Cursor, Machine, address_mask};
use super::slots::Regs;
use crate::services;
use crate::vm::access;
use crate::vm::memory::LinearMemory;
use crate::vm::table::TableData;

/// How wide the numbers of an instruction are.
#[derive(Clone, Copy)]
struct Width(u64);

impl Machine {
    /// `global.get`.
    ///
    /// # Safety
    /// The slot and the index are those of the running code.
    #[inline]
    pub(super) unsafe fn global_get(&self, regs: Regs, ty: SlotType, dst: Slot, global: u32) {
        // SAFETY: the instance is live and linked, and its data has its layout.
        let place = unsafe { access::global(self.vmctx, &self.instance().layout, global) };
        let operand = aura_validator::code::Operand { slot: dst, ty };
        // SAFETY: a global holds a value of its class in the form of a slot.
        unsafe { regs.take_array(&[operand], place) };
    }

    /// `global.set`.
    ///
    /// # Safety
    /// As for [`Machine::global_get`].
    #[inline]
    pub(super) unsafe fn global_set(&self, regs: Regs, ty: SlotType, global: u32, src: Slot) {
        // SAFETY: the instance is live and linked, and its data has its layout.
        let place = unsafe { access::global(self.vmctx, &self.instance().layout, global) };
        let operand = aura_validator::code::Operand { slot: src, ty };
        // SAFETY: a global has room for a value of its class.
        unsafe { regs.to_array(&[operand], place) };
    }

    /// Runs an instruction that the loop has no arm for.
    ///
    /// # Safety
    /// `cursor` is behind the instruction, which is one of the running code.
    #[inline(never)]
    pub(super) unsafe fn bulk(&mut self, cursor: Cursor, inst: &Inst) -> Result<(), Status> {
        self.save(cursor);
        match inst {
            Inst::RefNull { .. } | Inst::RefIsNull { .. } | Inst::RefFunc { .. } => {
                // SAFETY: said by the caller.
                unsafe { self.reference(cursor.regs, inst) };
                Ok(())
            }
            Inst::MemorySize { .. }
            | Inst::MemoryGrow { .. }
            | Inst::MemoryFill { .. }
            | Inst::MemoryCopy { .. }
            | Inst::MemoryInit { .. }
            // SAFETY: said by the caller.
            | Inst::DataDrop { .. } => unsafe { self.memory_bulk(cursor.regs, inst) },
            Inst::TableGet { .. }
            | Inst::TableSet { .. }
            | Inst::TableSize { .. }
            | Inst::TableGrow { .. }
            | Inst::TableFill { .. }
            | Inst::TableCopy { .. }
            | Inst::TableInit { .. }
            // SAFETY: said by the caller.
            | Inst::ElemDrop { .. } => unsafe { self.table_bulk(cursor, inst) },
            // SAFETY: said by the caller.
            Inst::AtomicWait { .. } | Inst::AtomicNotify { .. } => unsafe { self.waiting(cursor.regs, inst) },
            // SAFETY: said by the caller.
            _ => unsafe { self.object(cursor, inst) },
        }
    }

    /// # Safety
    /// The instruction is one of the running code.
    unsafe fn reference(&mut self, regs: Regs, inst: &Inst) {
        let (dst, value) = match *inst {
            Inst::RefNull { dst, .. } => (dst, 0),
            Inst::RefIsNull { ty, dst, src } => {
                // SAFETY: said by the caller.
                let reference = unsafe { regs.get::<u64>(src) } & Width::of(ty).0;
                (dst, u64::from(reference == 0))
            }
            // SAFETY: the instance is live and linked.
            Inst::RefFunc { dst, func } => (dst, unsafe { services::ref_func(self.vmctx, func.into()) }),
            other => not_bulk(&other),
        };
        // SAFETY: said by the caller.
        unsafe { regs.set(dst, value) };
    }

    /// # Safety
    /// The instruction is one of the running code; the position is saved.
    unsafe fn memory_bulk(&mut self, regs: Regs, inst: &Inst) -> Result<(), Status> {
        let vmctx = self.vmctx;
        // SAFETY: said by the caller.
        let get = |slot: Slot, width: Width| unsafe { regs.get::<u64>(slot) } & width.0;
        let status = match *inst {
            Inst::MemorySize { dst, memory } => {
                let pages = self.linear_memory(memory).size_pages();
                // SAFETY: said by the caller.
                unsafe { regs.set(dst, pages) };
                Status::Ok
            }
            Inst::MemoryGrow { dst, memory, delta } => {
                let delta = get(delta, self.memory_width(memory));
                // SAFETY: the instance is live and linked.
                let old = unsafe { services::memory_grow(vmctx, memory.into(), delta) };
                // SAFETY: said by the caller.
                unsafe { regs.set(dst, old) };
                Status::Ok
            }
            Inst::MemoryFill { memory, dst, byte, len } => {
                let width = self.memory_width(memory);
                let (dst, byte, len) = (get(dst, width), get(byte, Width(0xff)), get(len, width));
                // SAFETY: the instance is live and linked.
                unsafe { services::memory_fill(vmctx, memory.into(), dst, byte, len) }
            }
            Inst::MemoryCopy { dst_memory, src_memory, dst, src, len } => {
                let (to, from) = (self.memory_width(dst_memory), self.memory_width(src_memory));
                let (dst, src, len) = (get(dst, to), get(src, from), get(len, to.min(from)));
                // SAFETY: the instance is live and linked.
                unsafe { services::memory_copy(vmctx, dst_memory.into(), src_memory.into(), dst, src, len) }
            }
            Inst::MemoryInit { memory, segment, dst, src, len } => {
                let dst = get(dst, self.memory_width(memory));
                let (src, len) = (get(src, Width::BITS_32), get(len, Width::BITS_32));
                // SAFETY: the instance is live and linked.
                unsafe { services::memory_init(vmctx, memory.into(), segment.into(), dst, src, len) }
            }
            Inst::DataDrop { segment } => {
                // SAFETY: the instance is live and linked.
                unsafe { services::data_drop(vmctx, segment.into()) };
                Status::Ok
            }
            other => not_bulk(&other),
        };
        self.check(status)
    }

    /// # Safety
    /// The instruction is one of the running code; the position is saved.
    unsafe fn table_bulk(&mut self, cursor: Cursor, inst: &Inst) -> Result<(), Status> {
        let (vmctx, regs) = (self.vmctx, cursor.regs);
        // SAFETY: said by the caller.
        let get = |slot: Slot, width: Width| unsafe { regs.get::<u64>(slot) } & width.0;
        let status = match *inst {
            // SAFETY: said by the caller.
            Inst::TableGet { .. } | Inst::TableSet { .. } => return unsafe { self.table_access(cursor, inst) },
            Inst::TableSize { dst, table } => {
                let len = self.table(table).len();
                // SAFETY: said by the caller.
                unsafe { regs.set(dst, len) };
                Status::Ok
            }
            Inst::TableGrow { ty, dst, table, init, delta } => {
                let (init, delta) = (get(init, Width::of(ty)), get(delta, self.table_width(table)));
                // SAFETY: the instance is live and linked.
                let old = unsafe { services::table_grow(vmctx, table.into(), init, delta) };
                // SAFETY: said by the caller.
                unsafe { regs.set(dst, old) };
                Status::Ok
            }
            Inst::TableFill { ty, table, at, value, len } => {
                let width = self.table_width(table);
                let (at, value, len) = (get(at, width), get(value, Width::of(ty)), get(len, width));
                // SAFETY: the instance is live and linked.
                unsafe { services::table_fill(vmctx, table.into(), at, value, len) }
            }
            Inst::TableCopy { dst_table, src_table, dst, src, len } => {
                let (to, from) = (self.table_width(dst_table), self.table_width(src_table));
                let (dst, src, len) = (get(dst, to), get(src, from), get(len, to.min(from)));
                // SAFETY: the instance is live and linked.
                unsafe { services::table_copy(vmctx, dst_table.into(), src_table.into(), dst, src, len) }
            }
            Inst::TableInit { table, segment, dst, src, len } => {
                let dst = get(dst, self.table_width(table));
                let (src, len) = (get(src, Width::BITS_32), get(len, Width::BITS_32));
                // SAFETY: the instance is live and linked.
                unsafe { services::table_init(vmctx, table.into(), segment.into(), dst, src, len) }
            }
            Inst::ElemDrop { segment } => {
                // SAFETY: the instance is live and linked.
                unsafe { services::elem_drop(vmctx, segment.into()) };
                Status::Ok
            }
            other => not_bulk(&other),
        };
        self.check(status)
    }

    /// # Safety
    /// The instruction is one of the running code.
    unsafe fn table_access(&mut self, cursor: Cursor, inst: &Inst) -> Result<(), Status> {
        let regs = cursor.regs;
        // SAFETY: said by the caller.
        let get = |slot: Slot, width: Width| unsafe { regs.get::<u64>(slot) } & width.0;
        let inside = match *inst {
            Inst::TableGet { ty: _, dst, table, index } => {
                let element = self.table(table).get(get(index, self.table_width(table)));
                // SAFETY: said by the caller.
                element.map(|element| unsafe { regs.set(dst, element) }).is_some()
            }
            Inst::TableSet { ty, table, index, value } => {
                let (index, value) = (get(index, self.table_width(table)), get(value, Width::of(ty)));
                self.table(table).set(index, value).is_ok()
            }
            other => not_bulk(&other),
        };
        if inside { Ok(()) } else { Err(self.trap(cursor, TrapCode::TableOutOfBounds)) }
    }

    fn linear_memory<'a>(&self, index: u32) -> &'a LinearMemory {
        // SAFETY: the instance is live and linked, and its data has its layout.
        let vm = unsafe { access::memory(self.vmctx, &self.instance().layout, index) };
        // SAFETY: linked memories are those of live `LinearMemory` records.
        unsafe { LinearMemory::from_vm(vm) }
    }

    /// A table of the running instance.
    pub(super) fn table<'a>(&self, index: u32) -> &'a TableData {
        // SAFETY: the instance is live and linked, and its data has its layout.
        let vm = unsafe { access::table(self.vmctx, &self.instance().layout, index) };
        // SAFETY: linked tables are those of live `TableData` records.
        unsafe { TableData::from_vm(vm) }
    }

    /// An address operand of a memory, without what else is in its slot.
    pub(super) fn memory_index(&self, memory: u32, bits: u64) -> u64 {
        bits & self.memory_width(memory).0
    }

    fn memory_width(&self, memory: u32) -> Width {
        Width(address_mask(self.linear_memory(memory).ty().memory64))
    }

    fn table_width(&self, table: u32) -> Width {
        Width(address_mask(self.table(table).ty().table64))
    }
}

impl Width {
    const BITS_32: Self = Self(u32::MAX as u64);

    /// How much of its slot a reference takes; whoever wrote it may have left anything in the rest.
    fn of(reference: SlotType) -> Self {
        Self(address_mask(reference == SlotType::Func))
    }

    /// The smaller of two widths, as lengths between two memories have it.
    fn min(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

#[cold]
pub(super) fn not_bulk(inst: &Inst) -> ! {
    unreachable!("an arm of the loop runs {inst:?}")
}
