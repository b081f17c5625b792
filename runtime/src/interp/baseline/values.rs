//! Where values are, between the cells and in them: accumulators, slots, constants, globals.

use std::mem::offset_of;

use super::asm::{
    AX, CMOV_EQUAL, CX, DX, INT_TO_XMM, LOAD_FLOAT, MOV, MOV_IMM, MOV_TO, R10, R11, Reg, Rm, SI, STORE_FLOAT, X0, X1,
    XMM_TO_INT,
};
use super::emit::{Cell, Emitter, Source};
use crate::interp::machine::Machine;
use crate::interp::numeric::{Class, From, To};

pub(super) fn slot(at: i32) -> Rm {
    Rm::At(SI, at)
}

pub(super) fn machine(offset: usize) -> Rm {
    Rm::At(DX, offset as i32)
}

pub(super) fn field(base: Reg, offset: usize) -> Rm {
    Rm::At(base, offset as i32)
}

pub(super) fn imm(bits: u64, wide: bool) -> Option<i32> {
    if wide { i32::try_from(bits.cast_signed()).ok() } else { Some(bits as i32) }
}

pub(super) fn float_class(wide: bool) -> Class {
    if wide { Class::Double } else { Class::Single }
}

/// The register that holds floats, and the prefix of instructions on them.
pub(super) fn float(wide: bool) -> (Reg, u8) {
    if wide { (X1, 0xf2) } else { (X0, 0xf3) }
}

impl Emitter {
    /// An integer goes to a register.
    pub(super) fn load_to(&mut self, reg: Reg, source: Source, wide: bool) {
        match source {
            Source::Held if reg == CX => {}
            Source::Held => self.asm.put(MOV.wide(wide), reg, Rm::Reg(CX)),
            Source::Slot(at) => self.asm.put(MOV.wide(wide), reg, slot(at)),
            Source::Bits(bits) => self.asm.constant(reg, if wide { bits } else { bits & 0xffff_ffff }),
        }
    }

    /// An integer as a second operand; a constant goes to a register.
    pub(super) fn rm(&mut self, source: Source, wide: bool) -> Rm {
        match source {
            Source::Held => Rm::Reg(CX),
            Source::Slot(at) => slot(at),
            Source::Bits(_) => {
                self.load_to(R10, source, wide);
                Rm::Reg(R10)
            }
        }
    }

    /// A float as a second operand.
    pub(super) fn float_rm(&mut self, source: Source, wide: bool, scratch: Reg) -> Rm {
        match source {
            Source::Held => Rm::Reg(float(wide).0),
            Source::Slot(at) => slot(at),
            Source::Bits(bits) => {
                self.asm.constant(R10, bits);
                self.asm.put(INT_TO_XMM.wide(wide), scratch, Rm::Reg(R10));
                Rm::Reg(scratch)
            }
        }
    }

    pub(super) fn float_in(&mut self, source: Source, wide: bool, scratch: Reg) -> Reg {
        match self.float_rm(source, wide, scratch) {
            Rm::Reg(reg) => reg,
            place => {
                self.asm.put(LOAD_FLOAT.after(float(wide).1), scratch, place);
                scratch
            }
        }
    }

    pub(super) fn float_to(&mut self, reg: Reg, source: Source, wide: bool) {
        if let Rm::At(..) = self.float_rm(source, wide, reg) {
            self.float_in(source, wide, reg);
        }
    }

    /// The result in the register of integers goes to its slot too.
    pub(super) fn done(&mut self, to: To, cell: Cell<'_>) {
        if to == To::Slot {
            self.asm.put(MOV_TO.wide(true), CX, slot(cell.operand(0)));
        }
    }

    pub(super) fn done_float(&mut self, wide: bool, to: To, cell: Cell<'_>) {
        if to == To::Slot {
            self.keep(float_class(wide), cell.operand(0));
        }
    }

    /// Bits in a register become the value that is held, and go to the slot.
    pub(super) fn held_from(&mut self, class: Class, reg: Reg, to: To, cell: Cell<'_>) {
        match class {
            Class::Int => self.asm.put(MOV.wide(true), CX, Rm::Reg(reg)),
            Class::Single => self.asm.put(INT_TO_XMM, X0, Rm::Reg(reg)),
            Class::Double => self.asm.put(INT_TO_XMM.wide(true), X1, Rm::Reg(reg)),
        }
        if to == To::Slot {
            self.asm.put(MOV_TO.wide(true), reg, slot(cell.operand(0)));
        }
    }

    /// A value of a global becomes the one that is held.
    fn bring(&mut self, class: Class, place: Rm, to: To, cell: Cell<'_>) {
        if class == Class::Int {
            self.asm.put(MOV.wide(true), CX, place);
            return self.done(to, cell);
        }
        self.asm.put(MOV.wide(class == Class::Double), R10, place);
        self.held_from(class, R10, to, cell);
    }

    /// The bits of a value go to `R10`.
    pub(super) fn take(&mut self, class: Class, source: Source) {
        match (class, source) {
            (Class::Single, Source::Held) => self.asm.put(XMM_TO_INT, X0, Rm::Reg(R10)),
            (Class::Double, Source::Held) => self.asm.put(XMM_TO_INT.wide(true), X1, Rm::Reg(R10)),
            (_, source) => self.load_to(R10, source, true),
        }
    }

    pub(super) fn keep(&mut self, class: Class, at: i32) {
        match class {
            Class::Int => self.asm.put(MOV_TO.wide(true), CX, slot(at)),
            Class::Single => {
                self.asm.put(XMM_TO_INT, X0, Rm::Reg(AX));
                self.asm.put(MOV_TO.wide(true), AX, slot(at));
            }
            Class::Double => self.asm.put(STORE_FLOAT.after(0xf2), X1, slot(at)),
        }
    }

    pub(super) fn constant(&mut self, at: i32, bits: u64) {
        if let Some(value) = imm(bits, true) {
            self.asm.put(MOV_IMM.wide(true), Reg(0), slot(at));
            return self.asm.imm32(value);
        }
        self.asm.constant(AX, bits);
        self.asm.put(MOV_TO.wide(true), AX, slot(at));
    }

    pub(super) fn zero(&mut self, first: i32, count: i32) -> Option<()> {
        const MAX: i32 = 24;
        if count > MAX {
            return None;
        }
        self.asm.constant(AX, 0);
        for n in 0..count {
            self.asm.put(MOV_TO.wide(true), AX, slot(first + 8 * n));
        }
        Some(())
    }

    pub(super) fn select(&mut self, class: Class, condition: From, [a, b]: [From; 2], to: To, cell: Cell<'_>) {
        let choice = |from: From, n: usize| match from {
            From::Constant => Source::Bits(u64::from(cell.operand(n).cast_unsigned())),
            _ => Source::Slot(cell.operand(n)),
        };
        self.load_to(R10, choice(a, 2), true);
        self.load_to(R11, choice(b, 3), true);
        self.test(cell.source(condition, 1, 2), false);
        self.asm.put(CMOV_EQUAL, R10, Rm::Reg(R11));
        self.held_from(class, R10, to, cell);
    }

    pub(super) fn copy(&mut self, to: i32, from: i32) {
        self.asm.put(MOV.wide(true), AX, slot(from));
        self.asm.put(MOV_TO.wide(true), AX, slot(to));
    }

    pub(super) fn global_get(&mut self, class: Class, is_own: bool, to: To, cell: Cell<'_>) {
        let place = self.global(cell.operand(1), is_own);
        self.bring(class, place, to, cell);
    }

    pub(super) fn global_set(&mut self, class: Class, is_own: bool, source: Source, cell: Cell<'_>) {
        let place = self.global(cell.operand(0), is_own);
        self.take(class, source);
        self.asm.put(MOV_TO.wide(true), R10, place);
    }

    fn global(&mut self, offset: i32, is_own: bool) -> Rm {
        self.asm.put(MOV.wide(true), AX, machine(offset_of!(Machine, vmctx)));
        if is_own {
            return Rm::At(AX, offset);
        }
        self.asm.put(MOV.wide(true), AX, Rm::At(AX, offset));
        Rm::At(AX, 0)
    }
}
