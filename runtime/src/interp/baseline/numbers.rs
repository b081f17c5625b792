//! Templates of numeric rows.

use aura_validator::ops::Op;

use super::asm::{
    AND, AX, BIT, CMOV_EQUAL, CMP, CMP_TO, COMPARE_FLOATS, CONVERT, CX, Condition, DX, Digit, FIRST_ONE, IMUL, IMUL_BY,
    LAST_ONE, MOV, MOVAPS, MOVZX8, OR, Opcode, R10, R11, Reg, Rm, SHIFT, SHIFT_BY, TEST, TRUNCATE, UNARY, X2, X3,
    XORPS,
};
use super::emit::{Cell, Emitter, Source};
use super::table::{self, How};
use super::values::{float, float_class, imm, slot};
use crate::interp::address;
use crate::interp::numeric::{From, To};

impl Cell<'_> {
    /// The operands of a comparison; the one of a comparison with zero is both.
    pub(super) fn compared(self, op: Op, a: From, b: From) -> [Source; 2] {
        match table::numeric(op) {
            Some((How::IsZero, _)) => [self.source(a, 1, 2); 2],
            _ => self.two(a, b),
        }
    }
}

impl Emitter {
    pub(super) fn row(&mut self, op: Op, a: From, b: From, to: To, cell: Cell<'_>) -> Option<()> {
        let Some((how, wide)) = table::numeric(op) else {
            return match address::loaded(op) {
                Some(class) => self.load(op, class, a, false, to, cell),
                None if address::is_scalar_store(op) => self.store(op, a, false, b, cell),
                None => None,
            };
        };
        let one = cell.source(a, 1, 2);
        match how {
            How::Alu(opcode, digit, commutes) => self.alu(opcode, digit, commutes, wide, cell.two(a, b)),
            How::Multiply => self.multiply(wide, cell.two(a, b)),
            How::Shift(digit) => self.shift(digit, wide, cell.two(a, b)),
            How::Divide { signed, remainder } => self.divide(signed, remainder, wide, cell.two(a, b)),
            How::Through(opcode) => {
                let rm = self.rm(one, true);
                self.asm.put(opcode, CX, rm);
            }
            How::Compare(_) | How::IsZero | How::CompareFloats { .. } => {
                let condition = self.condition(op, cell.compared(op, a, b))?;
                self.asm.set_if(condition, AX);
                self.asm.put(MOVZX8, CX, Rm::Reg(AX));
            }
            How::EqualFloats { equal } => self.equal_floats(equal, wide, cell.two(a, b)),
            How::Truncate { to_wide, signed } => self.truncate(to_wide, signed, wide, one),
            How::Zeros { leading } => self.zeros(leading, wide, one),
            How::Bits => {
                self.take(float_class(wide), one);
                self.asm.put(MOV.wide(true), CX, Rm::Reg(R10));
            }
            How::OfBits | How::Sign(_) => {
                match how {
                    How::Sign(digit) => {
                        self.take(float_class(wide), one);
                        self.asm.put(BIT.wide(true), Reg(digit.0), Rm::Reg(R10));
                        self.asm.bytes.push(if wide { 63 } else { 31 });
                    }
                    _ => self.load_to(R10, one, wide),
                }
                self.held_from(float_class(wide), R10, to, cell);
                return Some(());
            }
            How::Float(_) if self.options.canonical_nans => return None,
            How::Float(opcode) => {
                self.float_op(opcode, wide, cell.two(a, b));
                self.done_float(wide, to, cell);
                return Some(());
            }
            How::Convert { wide: from_wide, zero_extended } => {
                self.convert(wide, from_wide, zero_extended, one);
                self.done_float(wide, to, cell);
                return Some(());
            }
        }
        self.done(to, cell);
        Some(())
    }

    fn alu(&mut self, opcode: Opcode, digit: Digit, commutes: bool, wide: bool, [a, b]: [Source; 2]) {
        let b = match (a, b) {
            (Source::Held, b) => b,
            (a, Source::Held) if commutes => a,
            (a, Source::Held) => {
                self.asm.put(MOV.wide(wide), AX, Rm::Reg(CX));
                self.load_to(CX, a, wide);
                return self.asm.put(opcode.wide(wide), CX, Rm::Reg(AX));
            }
            (a, b) => {
                self.load_to(CX, a, wide);
                b
            }
        };
        if let Source::Bits(bits) = b
            && let Some(value) = imm(bits, wide)
        {
            return self.asm.put_imm(digit, wide, Rm::Reg(CX), value);
        }
        let rm = self.rm(b, wide);
        self.asm.put(opcode.wide(wide), CX, rm);
    }

    fn multiply(&mut self, wide: bool, [a, b]: [Source; 2]) {
        let (a, b) = if matches!(a, Source::Bits(_)) { (b, a) } else { (a, b) };
        if let Source::Bits(bits) = b
            && let Some(value) = imm(bits, wide)
        {
            let rm = self.rm(a, wide);
            self.asm.put(IMUL_BY.wide(wide), CX, rm);
            return self.asm.imm32(value);
        }
        self.alu(IMUL, Digit(0), true, wide, [a, b]);
    }

    fn shift(&mut self, digit: Digit, wide: bool, [a, b]: [Source; 2]) {
        if let Source::Bits(bits) = b {
            self.load_to(CX, a, wide);
            self.asm.put(SHIFT_BY.wide(wide), Reg(digit.0), Rm::Reg(CX));
            return self.asm.bytes.push(bits as u8 & if wide { 63 } else { 31 });
        }
        self.load_to(AX, a, wide);
        self.load_to(CX, b, false);
        self.asm.put(SHIFT.wide(wide), Reg(digit.0), Rm::Reg(AX));
        self.asm.put(MOV.wide(wide), CX, Rm::Reg(AX));
    }

    /// What traps is left to the handler, and so is a division by -1.
    fn divide(&mut self, signed: bool, remainder: bool, wide: bool, [a, b]: [Source; 2]) {
        self.load_to(AX, a, wide);
        self.load_to(R10, b, wide);
        self.asm.put(TEST.wide(wide), R10, Rm::Reg(R10));
        self.out_if(Condition::EQUAL);
        if signed {
            self.asm.put_imm(Digit(7), wide, Rm::Reg(R10), -1);
            self.out_if(Condition::EQUAL);
        }
        self.asm.put(MOV.wide(true), R11, Rm::Reg(DX));
        match (signed, wide) {
            (true, true) => self.asm.bytes.extend_from_slice(&[0x48, 0x99]),
            (true, false) => self.asm.bytes.push(0x99),
            (false, _) => self.asm.constant(DX, 0),
        }
        self.asm.put(UNARY.wide(wide), Reg(if signed { 7 } else { 6 }), Rm::Reg(R10));
        self.asm.put(MOV.wide(wide), CX, Rm::Reg(if remainder { DX } else { AX }));
        self.asm.put(MOV.wide(true), DX, Rm::Reg(R11));
    }

    /// Compares as a row says; returns when it holds.
    pub(super) fn condition(&mut self, op: Op, [a, b]: [Source; 2]) -> Option<Condition> {
        let (how, wide) = table::numeric(op)?;
        match how {
            How::IsZero => {
                self.test(a, wide);
                Some(Condition::EQUAL)
            }
            How::Compare(condition) => {
                self.compare(wide, a, b);
                Some(condition)
            }
            How::CompareFloats { condition, exchanged } => {
                self.compare_floats(wide, if exchanged { [b, a] } else { [a, b] });
                Some(condition)
            }
            _ => None,
        }
    }

    pub(super) fn compare_floats(&mut self, wide: bool, [a, b]: [Source; 2]) {
        let first = self.float_in(a, wide, X2);
        let second = self.float_rm(b, wide, X3);
        self.asm.put(COMPARE_FLOATS.after(if wide { 0x66 } else { 0 }), first, second);
    }

    /// Whether floats are equal, which two flags say.
    fn equal_floats(&mut self, equal: bool, wide: bool, sources: [Source; 2]) {
        self.compare_floats(wide, sources);
        let (ordered, same) = (Condition::UNORDERED.not(), Condition::EQUAL);
        if equal {
            self.asm.set_if(ordered, AX);
            self.asm.set_if(same, CX);
            self.asm.put(AND, CX, Rm::Reg(AX));
        } else {
            self.asm.set_if(ordered.not(), AX);
            self.asm.set_if(same.not(), CX);
            self.asm.put(OR, CX, Rm::Reg(AX));
        }
        self.asm.put(MOVZX8, CX, Rm::Reg(CX));
    }

    /// Where the instruction has no answer it gives the lowest number: that, and what is no unsigned one, is left to the handler.
    fn truncate(&mut self, to_wide: bool, signed: bool, wide: bool, a: Source) {
        let rm = self.float_rm(a, wide, X2);
        let is_64 = to_wide || !signed;
        self.asm.put(TRUNCATE.after(float(wide).1).wide(is_64), AX, rm);
        match (to_wide, signed) {
            (false, true) => {
                self.asm.put_imm(Digit(7), false, Rm::Reg(AX), i32::MIN);
                self.out_if(Condition::EQUAL);
            }
            (true, true) => {
                self.asm.constant(R10, 1 << 63);
                self.asm.put(CMP.wide(true), AX, Rm::Reg(R10));
                self.out_if(Condition::EQUAL);
            }
            (false, false) => {
                self.asm.put(MOV, R10, Rm::Reg(AX));
                self.asm.put(CMP.wide(true), AX, Rm::Reg(R10));
                self.out_if(Condition::NOT_EQUAL);
            }
            (true, false) => {
                self.asm.put(TEST.wide(true), AX, Rm::Reg(AX));
                self.out_if(Condition::NEGATIVE);
            }
        }
        self.asm.put(MOV.wide(is_64), CX, Rm::Reg(AX));
    }

    /// Looks for a one; if there is none the flag says so, and the number of bits is the answer.
    fn zeros(&mut self, leading: bool, wide: bool, a: Source) {
        let (bits, rm) = (if wide { 64 } else { 32 }, self.rm(a, wide));
        self.asm.constant(AX, if leading { 2 * bits - 1 } else { bits });
        self.asm.put(if leading { LAST_ONE } else { FIRST_ONE }.wide(wide), CX, rm);
        self.asm.put(CMOV_EQUAL, CX, Rm::Reg(AX));
        if leading {
            // Counted from the other end.
            self.asm.put_imm(Digit(6), wide, Rm::Reg(CX), bits as i32 - 1);
        }
    }

    /// Compares an integer with zero.
    pub(super) fn test(&mut self, source: Source, wide: bool) {
        match source {
            Source::Held => self.asm.put(TEST.wide(wide), CX, Rm::Reg(CX)),
            Source::Slot(at) => self.asm.put_imm(Digit(7), wide, slot(at), 0),
            Source::Bits(_) => {
                self.load_to(R10, source, wide);
                self.asm.put(TEST.wide(wide), R10, Rm::Reg(R10));
            }
        }
    }

    fn compare(&mut self, wide: bool, a: Source, b: Source) {
        match (a, b) {
            (Source::Held | Source::Slot(_), Source::Bits(bits)) if imm(bits, wide).is_some() => {
                let rm = self.rm(a, wide);
                self.asm.put_imm(Digit(7), wide, rm, bits as i32);
            }
            (Source::Slot(at), Source::Held) => self.asm.put(CMP_TO.wide(wide), CX, slot(at)),
            (Source::Held, b) => {
                let rm = self.rm(b, wide);
                self.asm.put(CMP.wide(wide), CX, rm);
            }
            (a, b) => {
                self.load_to(AX, a, wide);
                let rm = self.rm(b, wide);
                self.asm.put(CMP.wide(wide), AX, rm);
            }
        }
    }

    fn float_op(&mut self, opcode: Opcode, wide: bool, [a, b]: [Source; 2]) {
        let (held, prefix) = float(wide);
        let b = match (a, b) {
            (Source::Held, b) => self.float_rm(b, wide, X2),
            (a, Source::Held) => {
                self.asm.put(MOVAPS, X2, Rm::Reg(held));
                self.float_to(held, a, wide);
                Rm::Reg(X2)
            }
            (a, b) => {
                self.float_to(held, a, wide);
                self.float_rm(b, wide, X2)
            }
        };
        self.asm.put(opcode.after(prefix), held, b);
    }

    fn convert(&mut self, wide: bool, from_wide: bool, zero_extended: bool, a: Source) {
        let (held, prefix) = float(wide);
        let rm = if zero_extended {
            self.load_to(AX, a, false);
            Rm::Reg(AX)
        } else {
            self.rm(a, from_wide)
        };
        self.asm.put(XORPS, held, Rm::Reg(held));
        self.asm.put(CONVERT.after(prefix).wide(from_wide), held, rm);
    }
}
