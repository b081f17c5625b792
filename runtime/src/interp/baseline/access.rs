//! Templates of accesses to the first memory: where machine code of cells turns a guest address into a host address.
//!
//! Invariant: as in [`crate::interp::address`], every access is compared with the memory's plain length, in 64 bits, without wrapping, in
//! either bounds mode: an address of 32 bits, or the sum of two that wraps at 32, and an offset below 2^31 cannot overflow.
//! What does not lie inside is left to the cell's handler, and so is an access with a larger offset.

use aura_validator::ops::Op;

use super::asm::{ADD, AX, CMOV_ABOVE, CMOV_BELOW, CMP, CX, Condition, Digit, LEA, Opcode, R8, R9, R10, R11, Rm};
use super::emit::{Cell, Emitter, Source};
use super::table;
use super::values::slot;
use crate::interp::numeric::{Class, From, To};

impl Emitter {
    /// Where an access is, once it was compared with the memory's length.
    fn place(&mut self, source: From, is_sum: bool, operand: usize, size: i32, cell: Cell<'_>) -> Option<Rm> {
        let rest = cell.word(2);
        let offset = i32::try_from(if is_sum { rest & 0xffff_ffff } else { rest }).ok()?;
        let end = offset.checked_add(size)?;
        if source == From::Constant {
            self.clear_mask();
            self.asm.put_imm(Digit(7), true, Rm::Reg(R9), end);
            return Some(self.inside(Rm::At(R8, offset), CMOV_BELOW, Condition::BELOW));
        }
        self.load_to(AX, cell.source(source, operand, 2), false);
        if is_sum {
            self.asm.put(ADD, AX, slot((rest >> 32) as i32));
        }
        self.asm.put(LEA, R10, Rm::At(AX, end));
        self.clear_mask();
        self.asm.put(CMP.wide(true), R10, Rm::Reg(R9));
        Some(self.inside(Rm::Sum(R8, AX, offset), CMOV_ABOVE, Condition::ABOVE))
    }

    fn clear_mask(&mut self) {
        if self.options.masked {
            self.asm.constant(R11, 0);
        }
    }

    /// The place, after a comparison that says whether it lies outside: then the cell is left to its handler, and what is mispredicted
    /// meanwhile finds no address.
    fn inside(&mut self, place: Rm, take_if_outside: Opcode, outside: Condition) -> Rm {
        if !self.options.masked {
            self.out_if(outside);
            return place;
        }
        self.asm.put(LEA, AX, place);
        self.asm.put(take_if_outside.wide(true), AX, Rm::Reg(R11));
        self.out_if(outside);
        Rm::At(AX, 0)
    }

    pub(super) fn load(&mut self, op: Op, class: Class, a: From, is_sum: bool, to: To, cell: Cell<'_>) -> Option<()> {
        let (opcode, size) = table::load(op)?;
        let place = self.place(a, is_sum, 1, size, cell)?;
        if class == Class::Int {
            self.asm.put(opcode, CX, place);
            self.done(to, cell);
        } else {
            self.asm.put(opcode, AX, place);
            self.held_from(class, AX, to, cell);
        }
        Some(())
    }

    pub(super) fn store(&mut self, op: Op, a: From, is_sum: bool, value: From, cell: Cell<'_>) -> Option<()> {
        let (opcode, size) = table::store(op)?;
        let place = self.place(a, is_sum, 0, size, cell)?;
        let class = match op {
            Op::F32Store => Class::Single,
            Op::F64Store => Class::Double,
            _ => Class::Int,
        };
        let value = cell.source(value, 1, 3);
        match (class, value) {
            (Class::Int, Source::Held) => self.asm.put(opcode, CX, place),
            (class, value) => {
                self.take(class, value);
                self.asm.put(opcode, R10, place);
            }
        }
        Some(())
    }
}
