//! Templates of what leads elsewhere: branches, loop headers, fuel, calls and returns.

use std::mem::offset_of;

use aura_host_abi::vm::VmStore;
use aura_validator::code::LabelId;
use aura_validator::ops::Op;

use super::asm::{
    ADD, AX, CMOV_ABOVE, CMP, CX, Condition, DI, Digit, GROUP5, Gap, JUMP, LEA, MOV, MOV_TO, MOVSXD, R10, R11, Reg, Rm,
    SHIFT_BY, SI, SUB, TEST, XMM_TO_INT,
};
use super::emit::{Cell, Emitter, Open, Out, Source, ToLabel};
use super::open;
use super::table::{self, How};
use super::values::{field, float, machine, slot};
use crate::interp::call;
use crate::interp::frame::{Frame, InterpState};
use crate::interp::machine::Machine;
use crate::interp::numeric::{Class, From};

impl Emitter {
    pub(super) fn branch(&mut self, label: LabelId) {
        let gap = self.asm.jump();
        self.lead_to(gap, label);
    }

    /// A branch on a value that is not zero, or is.
    pub(super) fn branch_on(&mut self, source: Source, if_not_zero: bool, label: LabelId) {
        self.test(source, false);
        self.branch_if(if if_not_zero { Condition::NOT_EQUAL } else { Condition::EQUAL }, label);
    }

    /// A branch on a comparison.
    pub(super) fn row_branch(
        &mut self,
        op: Op,
        a: From,
        b: From,
        if_so: bool,
        label: LabelId,
        cell: Cell<'_>,
    ) -> Option<()> {
        if let Some((How::EqualFloats { equal }, wide)) = table::numeric(op) {
            self.compare_floats(wide, cell.two(a, b));
            self.branch_if_equal(equal == if_so, label);
            return Some(());
        }
        let condition = self.condition(op, cell.compared(op, a, b))?;
        self.branch_if(if if_so { condition } else { condition.not() }, label);
        Some(())
    }

    fn lead_to(&mut self, gap: Gap, label: LabelId) {
        self.labels.push(ToLabel { gap, label, from: gap.0 + 4 });
    }

    fn branch_if(&mut self, condition: Condition, label: LabelId) {
        let gap = self.asm.jump_if(condition);
        self.lead_to(gap, label);
    }

    /// Branches if the floats that were compared are equal, or if they are not.
    fn branch_if_equal(&mut self, equal: bool, label: LabelId) {
        if !equal {
            self.branch_if(Condition::UNORDERED, label);
            return self.branch_if(Condition::NOT_EQUAL, label);
        }
        let past = self.asm.jump_if(Condition::UNORDERED);
        self.branch_if(Condition::EQUAL, label);
        let here = self.asm.here();
        self.asm.close(past, here);
    }

    /// Leaves the cell to its handler, if so.
    pub(super) fn out_if(&mut self, condition: Condition) {
        let gap = self.asm.jump_if(condition);
        let cell = self.running();
        self.outs.push(Out { gap, cell, is_header: false });
    }

    pub(super) fn branch_table(&mut self, index: Source, targets: &[LabelId]) {
        let last = targets.len() as u64 - 1;
        self.load_to(AX, index, false);
        self.asm.constant(R10, last);
        self.asm.put(CMP, AX, Rm::Reg(R10));
        self.asm.put(CMOV_ABOVE, AX, Rm::Reg(R10));
        self.asm.put(SHIFT_BY, Reg(4), Rm::Reg(AX));
        self.asm.bytes.push(2);
        let table = self.asm.address_of(R10);
        self.asm.put(MOVSXD, AX, Rm::Sum(R10, AX, 0));
        self.asm.put(ADD.wide(true), AX, Rm::Reg(R10));
        self.asm.put(GROUP5, JUMP, Rm::Reg(AX));
        let from = self.asm.here();
        self.asm.close(table, from);
        for &label in targets {
            let gap = self.asm.gap();
            self.labels.push(ToLabel { gap, label, from });
        }
    }

    /// Goes out if there is an interrupt.
    fn poll(&mut self) {
        self.asm.put(MOV.wide(true), AX, machine(offset_of!(Machine, store)));
        self.asm.put_imm(Digit(7), true, field(AX, offset_of!(VmStore, stack_limit)), -1);
        self.out_if(Condition::EQUAL);
    }

    pub(super) fn header(&mut self, is_counted: bool) {
        self.poll();
        if is_counted {
            self.asm.put(MOV.wide(true), AX, machine(offset_of!(Machine, state)));
            self.asm.put_imm(Digit(5), false, field(AX, offset_of!(InterpState, passes_left)), 1);
            let gap = self.asm.jump_if(Condition::EQUAL);
            let cell = self.running();
            self.outs.push(Out { gap, cell, is_header: true });
        }
    }

    pub(super) fn fuel(&mut self, cost: i32) {
        self.asm.put(MOV.wide(true), AX, machine(offset_of!(Machine, store)));
        self.asm.put(MOV.wide(true), R10, field(AX, offset_of!(VmStore, fuel)));
        self.asm.constant(R11, u64::from(cost.cast_unsigned()));
        self.asm.put(SUB.wide(true), R10, Rm::Reg(R11));
        self.out_if(Condition::OVERFLOW);
        self.asm.put(TEST.wide(true), R10, Rm::Reg(R10));
        self.out_if(Condition::NEGATIVE);
        self.asm.put(MOV_TO.wide(true), R10, field(AX, offset_of!(VmStore, fuel)));
    }

    /// A call: as [`call::CallCell`] says.
    pub(super) fn call(&mut self, args: usize, is_counted: bool, is_element: bool, cell: Cell<'_>) -> Option<()> {
        const MAX: usize = 16;
        if args > MAX || !is_counted {
            return None;
        }
        let behind = self.running().cell + cell.0.len() as u32;
        self.asm.constant(DI, self.address_of(behind) as u64);
        self.asm.put(LEA, R10, slot(cell.operand(call::TOP)));
        if is_element {
            self.asm.put(MOV, CX, slot(cell.operand(call::TOP + 1)));
            self.asm.put(MOV.wide(true), R11, machine(offset_of!(Machine, vmctx)));
            self.asm.put(MOV.wide(true), R11, Rm::At(R11, cell.operand(0)));
            self.asm.constant(AX, u64::from(cell.operand(1).cast_unsigned()));
        } else {
            self.asm.constant(AX, cell.word(1));
        }
        let gap = self.asm.call();
        self.jumps.push((gap, open::opening(is_element)));
        let gap = self.asm.jump_if(Condition::BELOW);
        let cell_out = Open { handler: call::calling_out(is_element, is_counted, args), ..self.running() };
        self.outs.push(Out { gap, cell: cell_out, is_header: false });
        let first = call::first_argument(usize::from(is_element), args, is_counted);
        for n in 0..args {
            self.asm.put(MOV.wide(true), AX, slot(cell.operand(first + n)));
            self.asm.put(MOV_TO.wide(true), AX, Rm::At(R10, 8 * n as i32));
        }
        self.asm.put(MOV.wide(true), SI, Rm::Reg(R10));
        self.asm.put(GROUP5, JUMP, Rm::At(DI, 0));
        Some(())
    }

    /// Leaves the running frame: the position is the caller's then.
    fn leave_frame(&mut self, cell: Cell<'_>) {
        let head = |offset: usize| Rm::At(SI, offset as i32 - cell.operand(0));
        self.asm.put_imm(Digit(7), true, head(offset_of!(Frame, special)), 0);
        self.out_if(Condition::NOT_EQUAL);
        self.asm.put(MOV.wide(true), R10, head(offset_of!(Frame, caller)));
        self.asm.put(MOV.wide(true), R11, machine(offset_of!(Machine, state)));
    }

    fn resume_caller(&mut self) {
        self.asm.put(MOV.wide(true), DI, field(R10, offset_of!(Frame, ip)));
        self.asm.put(MOV.wide(true), SI, field(R10, offset_of!(Frame, regs)));
        self.asm.put(MOV_TO.wide(true), R10, field(R11, offset_of!(InterpState, current)));
    }

    pub(super) fn return_nothing(&mut self, cell: Cell<'_>) {
        self.leave_frame(cell);
        self.resume_caller();
        self.asm.put(GROUP5, JUMP, Rm::At(DI, 0));
    }

    pub(super) fn return_one(&mut self, class: Class, a: From, cell: Cell<'_>) {
        self.leave_frame(cell);
        let source = cell.source(a, 1, 0);
        match class {
            Class::Int => self.load_to(CX, source, true),
            _ => {
                let wide = class == Class::Double;
                let held = float(wide).0;
                if let Source::Slot(_) = source {
                    self.float_in(source, wide, held);
                }
                self.asm.put(XMM_TO_INT.wide(wide), held, Rm::Reg(AX));
            }
        }
        self.resume_caller();
        self.asm.put(MOVSXD, R10, Rm::At(DI, -8));
        let value = if class == Class::Int { CX } else { AX };
        self.asm.put(MOV_TO.wide(true), value, Rm::Sum(SI, R10, 0));
        self.asm.put(GROUP5, JUMP, Rm::At(DI, 0));
    }
}
