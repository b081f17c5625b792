//! Rows of the operator table: emitted by the shape of the row, whatever the operator is.

use aura_host_abi::SlotType;

use super::{Lowering, Slot};
use crate::code::{Inst, MemArgId};
use crate::ops::{Op, Row, RowKind};

impl Lowering<'_> {
    /// An operator without immediates: one to three operands to a result, or a wide row.
    pub(super) fn row(&mut self, op: Op) {
        if !self.begin(op) {
            return;
        }
        let row = row_of(op);
        if row.kind == RowKind::Wide {
            return self.row_wide(op, row.params.len());
        }
        let mut operands = [Slot(0); 3];
        for operand in operands[..row.params.len()].iter_mut().rev() {
            *operand = self.pop();
        }
        let dst = self.push_result(&row);
        let [a, b, c] = operands;
        self.emit_movable(match row.params.len() {
            1 => Inst::Unary { op, dst, a },
            2 => Inst::Binary { op, dst, a, b },
            3 => Inst::Ternary { op, dst, a, b, c },
            n => unreachable!("no row has {n} operands"),
        });
    }

    /// Two or four operands to two results, which stand in neighbouring slots as any two values on the stack do.
    fn row_wide(&mut self, op: Op, params: usize) {
        let last = self.pop();
        let mut args = [last; 4];
        for arg in args[..params - 1].iter_mut().rev() {
            *arg = self.pop();
        }
        let dst = self.stack.push(SlotType::I64);
        self.stack.push(SlotType::I64);
        self.emit(Inst::Wide { op, dst, args });
    }

    /// An operator with a lane: extract or replace.
    pub(super) fn row_lane(&mut self, op: Op, lane: u8) {
        if !self.begin(op) {
            return;
        }
        let row = row_of(op);
        if row.params.len() == 1 {
            let a = self.pop();
            let dst = self.push_result(&row);
            self.emit_movable(Inst::ExtractLane { op, lane, dst, a });
        } else {
            let b = self.pop();
            let a = self.pop();
            let dst = self.push_result(&row);
            self.emit_movable(Inst::ReplaceLane { op, lane, dst, a, b });
        }
    }

    /// `i8x16.shuffle`.
    pub(super) fn row_lanes(&mut self, op: Op, lanes: [u8; 16]) {
        if !self.begin(op) {
            return;
        }
        let lanes = self.v128(lanes);
        let b = self.pop();
        let a = self.pop();
        let dst = self.stack.push(SlotType::V128);
        self.emit_movable(Inst::Shuffle { dst, a, b, lanes });
    }

    /// A load or a store, or an atomic access.
    pub(super) fn row_memory(&mut self, op: Op, memarg: &wasmparser::MemArg) {
        if !self.begin(op) {
            return;
        }
        let mem = self.memarg(memarg);
        let row = row_of(op);
        let mut operands = [Slot(0); 2];
        for operand in operands[..row.params.len()].iter_mut().rev() {
            *operand = self.pop();
        }
        let [value, replacement] = operands;
        let addr = self.pop();
        let dst = row.result.map(|ty| self.stack.push(ty));
        match (row.kind, dst) {
            (RowKind::Load, Some(dst)) => self.emit_movable(Inst::Load { op, dst, addr, mem }),
            (RowKind::Store, None) => self.emit(Inst::Store { op, addr, value, mem }),
            (RowKind::AtomicLoad, Some(dst)) => self.emit_movable(Inst::AtomicLoad { op, dst, addr, mem }),
            (RowKind::AtomicStore, None) => self.emit(Inst::AtomicStore { op, addr, value, mem }),
            (RowKind::AtomicRmw, Some(dst)) => self.emit_movable(Inst::AtomicRmw { op, dst, addr, value, mem }),
            (RowKind::AtomicCmpxchg, Some(dst)) => {
                self.emit_movable(Inst::AtomicCmpxchg { op, dst, addr, expected: value, replacement, mem });
            }
            (kind, _) => unreachable!("{} is an access, but its row is {kind:?}", op.name()),
        }
    }

    /// A load or a store of one lane.
    pub(super) fn row_memory_lane(&mut self, op: Op, memarg: &wasmparser::MemArg, lane: u8) {
        if !self.begin(op) {
            return;
        }
        let mem: MemArgId = self.memarg(memarg);
        let row = row_of(op);
        let vector = self.pop();
        let addr = self.pop();
        if row.result.is_some() {
            let dst = self.push_result(&row);
            self.emit_movable(Inst::LoadLane { op, lane, dst, addr, vector, mem });
        } else {
            self.emit(Inst::StoreLane { op, lane, addr, vector, mem });
        }
    }

    fn push_result(&mut self, row: &Row) -> Slot {
        self.stack.push(row.result.expect("the row has a result"))
    }
}

fn row_of(op: Op) -> Row {
    op.row().expect("validation admits only operators that have a row or an arm of their own")
}
