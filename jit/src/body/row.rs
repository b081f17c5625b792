//! Rows: numeric, lane and memory operators, expanded from the operator table.

use aura_host_abi::SlotType;
use aura_validator::code::{Inst, MemArgId, Slot};
use aura_validator::ops::{Op, Row};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::Body;
use crate::address::HostAddress;
use crate::rows;

impl Body<'_> {
    pub(super) fn row(&mut self, inst: &Inst) {
        match *inst {
            Inst::Unary { op, dst, a } => self.numeric(op, dst, &[a]),
            Inst::Binary { op, dst, a, b } => self.numeric(op, dst, &[a, b]),
            Inst::Ternary { op, dst, a, b, c } => self.numeric(op, dst, &[a, b, c]),
            Inst::Wide { op, dst, args } => {
                let args = args.map(|arg| self.get(SlotType::I64, arg));
                let [low, high] = rows::emit_wide(&mut self.emit, op, args);
                self.set(SlotType::I64, dst, low);
                self.set(SlotType::I64, Slot(dst.0 + 1), high);
            }
            Inst::ExtractLane { op, lane, dst, a } => {
                let vector = self.get(SlotType::V128, a);
                let value = rows::emit_extract(&mut self.emit, op, lane, vector);
                self.set_result(op, dst, value);
            }
            Inst::ReplaceLane { op, lane, dst, a, b } => {
                let (vector, scalar) = (self.get(SlotType::V128, a), self.get(row_of(op).params[1], b));
                let value = rows::emit_replace(&mut self.emit, op, lane, vector, scalar);
                self.set_result(op, dst, value);
            }
            Inst::Shuffle { dst, a, b, lanes } => {
                let (a, b) = (self.get(SlotType::V128, a), self.get(SlotType::V128, b));
                let value = rows::emit_shuffle(&mut self.emit, self.code.v128s[lanes as usize], a, b);
                self.set(SlotType::V128, dst, value);
            }
            ref inst => unreachable!("{inst:?} is not a row"),
        }
    }

    pub(super) fn access(&mut self, inst: &Inst) {
        match *inst {
            Inst::Load { op, dst, addr, mem } => {
                let at = self.access_address(op, addr, mem);
                let value =
                    rows::emit_load(&mut self.emit, op, |e, loaded| loaded.emit(e.ins(), at.flags, at.base, at.offset));
                self.set_result(op, dst, value);
            }
            Inst::Store { op, addr, value, mem } => {
                let value = self.get(row_of(op).params[0], value);
                let value = rows::emit_store(&mut self.emit, op, value);
                self.store_at(op, addr, mem, value);
            }
            Inst::LoadLane { op, lane, dst, addr, vector, mem } => {
                let vector = self.get(SlotType::V128, vector);
                let at = self.access_address(op, addr, mem);
                let load = |e: &mut crate::emit::Emit<'_>, ty| e.ins().load(ty, at.flags, at.base, at.offset);
                let value = rows::emit_load_lane(&mut self.emit, op, lane, vector, load);
                self.set_result(op, dst, value);
            }
            Inst::StoreLane { op, lane, addr, vector, mem } => {
                let vector = self.get(SlotType::V128, vector);
                let value = rows::emit_store_lane(&mut self.emit, op, lane, vector);
                self.store_at(op, addr, mem, value);
            }
            ref inst => unreachable!("{inst:?} is not an access"),
        }
    }

    fn numeric(&mut self, op: Op, dst: Slot, operands: &[Slot]) {
        let mut values = [self.emit.vmctx; 3];
        for ((value, &slot), &ty) in values.iter_mut().zip(operands).zip(row_of(op).params) {
            *value = self.get(ty, slot);
        }
        let value = rows::emit_numeric(&mut self.emit, op, &values[..operands.len()]);
        self.set_result(op, dst, value);
    }

    fn store_at(&mut self, op: Op, addr: Slot, mem: MemArgId, value: Value) {
        let at = self.access_address(op, addr, mem);
        self.emit.ins().store(at.flags, value, at.base, at.offset);
    }

    fn access_address(&mut self, op: Op, addr: Slot, mem: MemArgId) -> HostAddress {
        self.host_address(self.code.memarg(mem), addr, u32::from(row_of(op).access_bytes))
    }

    pub(super) fn set_result(&mut self, op: Op, dst: Slot, value: Value) {
        let ty = row_of(op).result.expect("the row has a result");
        self.set(ty, dst, value);
    }
}

pub(super) fn row_of(op: Op) -> Row {
    op.row().unwrap_or_else(|| panic!("{} has no row", op.name()))
}
