//! Emitting: instructions, labels, operand lists, moves and fuel.

use super::stack::Entry;
use super::{LabelId, Lowering, Operand, Slot};
use crate::code::{CallId, CallOperands, Inst, Label, MemArg, MemArgId, Operands};

impl Lowering<'_> {
    /// Appends an instruction.
    pub(super) fn emit(&mut self, inst: Inst) {
        if let Some(saved) = self.saved_depth.filter(|_| inst.ends_frame()) {
            self.push_inst(Inst::Leave { saved });
        }
        self.push_inst(inst);
    }

    fn push_inst(&mut self, inst: Inst) {
        self.code.insts.push(inst);
        self.code.offsets.push(self.offset);
    }

    /// Appends an instruction whose result, on top of the stack now, a `local.set` may put elsewhere.
    pub(super) fn emit_movable(&mut self, inst: Inst) {
        self.emit(inst);
        self.movable = Some(self.code.insts.len());
    }

    /// Adds to the cost of the current basic block.
    pub(super) fn charge(&mut self, cost: u32) {
        if cost == 0 || !self.options.fuel {
            return;
        }
        match self.fuel.map(|index| &mut self.code.insts[index]) {
            Some(Inst::Fuel { cost: sum }) => *sum = sum.saturating_add(cost),
            _ => {
                self.fuel = Some(self.code.insts.len());
                self.emit(Inst::Fuel { cost });
            }
        }
    }

    /// Ends the current basic block.
    pub(super) fn end_basic_block(&mut self) {
        self.fuel = None;
        self.movable = None;
    }

    /// A label that is not bound yet.
    pub(super) fn new_label(&mut self, is_loop: bool) -> LabelId {
        self.code.labels.push(Label { pc: u32::MAX, is_loop });
        LabelId(self.code.labels.len() as u32 - 1)
    }

    /// Makes a label stand at the next instruction.
    pub(super) fn bind(&mut self, label: LabelId) {
        self.code.labels[label.0 as usize].pc = self.code.insts.len() as u32;
        self.end_basic_block();
    }

    /// Copies an operand's value, if it is elsewhere, to a slot.
    pub(super) fn copy(&mut self, entry: Entry, dst: Slot) {
        if entry.place != dst {
            self.emit(Inst::Copy { ty: entry.ty, dst, src: entry.place });
        }
    }

    /// Moves all operands to their own slots.
    pub(super) fn settle_all(&mut self) {
        while let Some(entry) = self.stack.settle_any() {
            self.copy(entry, entry.own);
        }
    }

    /// Moves the operands that are still in a local to their own slots, because the local is about to change.
    pub(super) fn settle_local(&mut self, local: Slot) {
        while let Some(entry) = self.stack.settle_alias_of(local) {
            self.copy(entry, entry.own);
        }
    }

    /// Pops an operand: where its value is.
    pub(super) fn pop(&mut self) -> Slot {
        self.stack.pop().place
    }

    /// Pushes an operand that was just popped.
    pub(super) fn push_again(&mut self, value: Entry) {
        if value.place == value.own {
            self.stack.push(value.ty);
        } else {
            self.push_local(value.operand());
        }
    }

    /// Pushes an operand that is an alias of a local.
    pub(super) fn push_local(&mut self, local: Operand) {
        if let Some(entry) = self.stack.push_alias(local) {
            self.copy(entry, entry.own);
        }
    }

    /// Writes a local from the operand that was just popped. Whether the value is in the local alone.
    pub(super) fn write_local(&mut self, local: Operand, value: Entry) -> bool {
        if value.place == local.slot {
            return false;
        }
        let made_last = self.movable == Some(self.code.insts.len());
        self.settle_local(local.slot);
        if made_last
            && self.movable == Some(self.code.insts.len())
            && let Some(dst) = self.last_result().filter(|dst| **dst == value.place)
        {
            *dst = local.slot;
            self.movable = None;
            return true;
        }
        self.copy(value, local.slot);
        false
    }

    /// Where the one result of the last instruction goes.
    fn last_result(&mut self) -> Option<&mut Slot> {
        match self.code.insts.last_mut()? {
            Inst::Call { call, .. } | Inst::CallIndirect { call, .. } | Inst::CallRef { call, .. } => {
                let Operands { start, len } = self.code.calls[call.0 as usize].results;
                (len == 1).then(|| &mut self.code.operands[start as usize].slot)
            }
            inst => inst.dst_mut(),
        }
    }

    /// The top `count` operands where they are now, as a list.
    pub(super) fn list_top(&mut self, count: usize) -> Operands {
        let start = self.code.operands.len() as u32;
        self.code.operands.extend(self.stack.top(count).iter().map(Entry::operand));
        Operands { start, len: count as u32 }
    }

    /// The operands of a call: pops the arguments, pushes the results.
    pub(super) fn call_operands(&mut self, type_index: u32) -> CallId {
        let ty = self.module.func_type_at(type_index);
        let args = self.list_top(ty.params().len());
        for _ in ty.params() {
            self.stack.pop();
        }
        let start = self.code.operands.len() as u32;
        for result in ty.results() {
            let ty = result.slot_type();
            let slot = self.stack.push(ty);
            self.code.operands.push(Operand { slot, ty });
        }
        let results = Operands { start, len: ty.results().len() as u32 };
        self.code.calls.push(CallOperands { args, results });
        CallId(self.code.calls.len() as u32 - 1)
    }

    /// The arguments of a tail call or a throw. Code is dead behind it, so that they need not be popped.
    pub(super) fn tail_operands(&mut self, type_index: u32) -> Operands {
        let count = self.module.func_type_at(type_index).params().len();
        self.list_top(count)
    }

    /// The id of a memory access's static part.
    pub(super) fn memarg(&mut self, memarg: &wasmparser::MemArg) -> MemArgId {
        let wasmparser::MemArgTarget::Memory(memory) = memarg.target else {
            unreachable!("validation admits no access to an array");
        };
        let memarg = MemArg { memory, offset: memarg.offset };
        if self.code.memargs.last() != Some(&memarg) {
            self.code.memargs.push(memarg);
        }
        MemArgId(self.code.memargs.len() as u32 - 1)
    }

    /// The id of a vector constant.
    pub(super) fn v128(&mut self, bytes: [u8; 16]) -> u32 {
        self.code.v128s.push(bytes);
        self.code.v128s.len() as u32 - 1
    }
}
