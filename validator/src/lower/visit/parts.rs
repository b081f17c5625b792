//! What several operators share: constants, operands in lists, the types that tables and memories decide.

use aura_host_abi::{SlotType, ValType};
use wasmparser::MemArg;

use crate::code::{Inst, Operands, Slot};
use crate::lower::Lowering;
use crate::ops::Op;

impl Lowering<'_> {
    /// As [`Self::begin`] for an operator that opens a block.
    pub(super) fn begin_block(&mut self, op: Op) -> bool {
        if let Some(nested) = &mut self.dead {
            *nested += 1;
        }
        self.begin(op)
    }

    pub(super) fn wait(&mut self, op: Op, ty: SlotType, memarg: &MemArg) {
        if self.begin(op) {
            let mem = self.memarg(memarg);
            let [addr, expected, timeout] = self.pop3();
            let dst = self.stack.push(SlotType::I32);
            self.emit_movable(Inst::AtomicWait { ty, dst, addr, expected, timeout, mem });
        }
    }

    pub(super) fn const32(&mut self, op: Op, ty: SlotType, bits: u32) {
        if self.begin(op) {
            let dst = self.stack.push(ty);
            self.emit_movable(Inst::Const32 { ty, dst, bits });
        }
    }

    pub(super) fn const64(&mut self, op: Op, ty: SlotType, bits: u64) {
        if self.begin(op) {
            let dst = self.stack.push(ty);
            self.emit_movable(Inst::Const64 { ty, dst, low: bits as u32, high: (bits >> 32) as u32 });
        }
    }

    /// Pops operands: where they are, as a list.
    pub(super) fn pop_list(&mut self, count: usize) -> Operands {
        let list = self.list_top(count);
        for _ in 0..count {
            self.stack.pop();
        }
        list
    }

    pub(super) fn pop3(&mut self) -> [Slot; 3] {
        let c = self.pop();
        let b = self.pop();
        [self.pop(), b, c]
    }

    pub(super) fn element_type(&self, table: u32) -> SlotType {
        ValType::Ref(self.module.tables[table as usize].ty.element).slot_type()
    }

    pub(super) fn table_index_type(&self, table: u32) -> SlotType {
        if self.module.tables[table as usize].ty.table64 { SlotType::I64 } else { SlotType::I32 }
    }

    pub(super) fn memory_index_type(&self, memory: u32) -> SlotType {
        if self.module.memories[memory as usize].memory64 { SlotType::I64 } else { SlotType::I32 }
    }
}
