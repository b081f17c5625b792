//! Which instructions carry out which rows.

use aura_validator::ops::Op;

use super::asm::{Condition, Digit, Opcode};

/// How a numeric row of one or two operands is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// An instruction on a register and an operand, the same with an immediate, and whether operands may be exchanged.
    Alu(Opcode, Digit, bool),
    Multiply,
    Shift(Digit),
    Compare(Condition),
    /// A comparison with zero.
    IsZero,
    /// A division: of signed numbers or not; whether what is left is the result.
    Divide {
        signed: bool,
        remainder: bool,
    },
    /// The operand goes through an instruction of its own.
    Through(Opcode),
    /// An instruction on floats.
    Float(Opcode),
    /// Floats: the condition, and whether operands are exchanged.
    CompareFloats {
        condition: Condition,
        exchanged: bool,
    },
    /// Floats are equal, or they are not; with a NaN they are not.
    EqualFloats {
        equal: bool,
    },
    /// A float becomes an integer, of 64 bits if so, or a trap or the nearest integer, which is left to the handler.
    Truncate {
        to_wide: bool,
        signed: bool,
    },
    /// How many zeros there are in front of a one, or behind it.
    Zeros {
        leading: bool,
    },
    /// A float's bits become an integer.
    Bits,
    /// An integer becomes the bits of a float.
    OfBits,
    /// An instruction on the sign of a float; see [`super::asm::BIT`].
    Sign(Digit),
    /// An integer, of 64 bits if so, becomes a float.
    Convert {
        wide: bool,
        zero_extended: bool,
    },
}

/// How a row is carried out, and whether on 64 bits.
pub(super) fn numeric(op: Op) -> Option<(How, bool)> {
    use How::{
        Alu, Bits, Compare, CompareFloats, Convert, Divide, EqualFloats, Float, IsZero, Multiply, OfBits, Shift, Sign,
        Through, Truncate, Zeros,
    };
    macro_rules! pairs {
        ($(($narrow:ident, $wide:ident) => $how:expr,)* ; $($single:ident, $is_wide:literal => $one:expr,)*) => {
            match op {
                $(Op::$narrow => Some(($how, false)), Op::$wide => Some(($how, true)),)*
                $(Op::$single => Some(($one, $is_wide)),)*
                _ => None,
            }
        };
    }
    const fn alu(byte: u8, digit: u8, commutes: bool) -> How {
        Alu(Opcode::new(byte), Digit(digit), commutes)
    }
    const fn floats(condition: u8, exchanged: bool) -> How {
        CompareFloats { condition: Condition(condition), exchanged }
    }
    pairs! {
        (I32Add, I64Add) => alu(0x03, 0, true),
        (I32Or, I64Or) => alu(0x0b, 1, true),
        (I32And, I64And) => alu(0x23, 4, true),
        (I32Sub, I64Sub) => alu(0x2b, 5, false),
        (I32Xor, I64Xor) => alu(0x33, 6, true),
        (I32Mul, I64Mul) => Multiply,
        (I32Rotl, I64Rotl) => Shift(Digit(0)),
        (I32Rotr, I64Rotr) => Shift(Digit(1)),
        (I32Shl, I64Shl) => Shift(Digit(4)),
        (I32ShrU, I64ShrU) => Shift(Digit(5)),
        (I32ShrS, I64ShrS) => Shift(Digit(7)),
        (I32Eqz, I64Eqz) => IsZero,
        (I32LtU, I64LtU) => Compare(Condition(2)),
        (I32GeU, I64GeU) => Compare(Condition(3)),
        (I32Eq, I64Eq) => Compare(Condition(4)),
        (I32Ne, I64Ne) => Compare(Condition(5)),
        (I32LeU, I64LeU) => Compare(Condition(6)),
        (I32GtU, I64GtU) => Compare(Condition(7)),
        (I32LtS, I64LtS) => Compare(Condition(12)),
        (I32GeS, I64GeS) => Compare(Condition(13)),
        (I32LeS, I64LeS) => Compare(Condition(14)),
        (I32GtS, I64GtS) => Compare(Condition(15)),
        (I32DivS, I64DivS) => Divide { signed: true, remainder: false },
        (I32DivU, I64DivU) => Divide { signed: false, remainder: false },
        (I32RemS, I64RemS) => Divide { signed: true, remainder: true },
        (I32RemU, I64RemU) => Divide { signed: false, remainder: true },
        (F32Add, F64Add) => Float(Opcode::two(0x58)),
        (F32Sub, F64Sub) => Float(Opcode::two(0x5c)),
        (F32Mul, F64Mul) => Float(Opcode::two(0x59)),
        (F32Div, F64Div) => Float(Opcode::two(0x5e)),
        (F32Lt, F64Lt) => floats(7, true),
        (F32Gt, F64Gt) => floats(7, false),
        (F32Le, F64Le) => floats(3, true),
        (F32Ge, F64Ge) => floats(3, false),
        (F32Eq, F64Eq) => EqualFloats { equal: true },
        (F32Ne, F64Ne) => EqualFloats { equal: false },
        (I32TruncF32S, I32TruncF64S) => Truncate { to_wide: false, signed: true },
        (I32TruncF32U, I32TruncF64U) => Truncate { to_wide: false, signed: false },
        (I64TruncF32S, I64TruncF64S) => Truncate { to_wide: true, signed: true },
        (I64TruncF32U, I64TruncF64U) => Truncate { to_wide: true, signed: false },
        (I32TruncSatF32S, I32TruncSatF64S) => Truncate { to_wide: false, signed: true },
        (I32TruncSatF32U, I32TruncSatF64U) => Truncate { to_wide: false, signed: false },
        (I64TruncSatF32S, I64TruncSatF64S) => Truncate { to_wide: true, signed: true },
        (I64TruncSatF32U, I64TruncSatF64U) => Truncate { to_wide: true, signed: false },
        (I32Clz, I64Clz) => Zeros { leading: true },
        (I32Ctz, I64Ctz) => Zeros { leading: false },
        (I32ReinterpretF32, I64ReinterpretF64) => Bits,
        (F32ReinterpretI32, F64ReinterpretI64) => OfBits,
        (F32Neg, F64Neg) => Sign(Digit(7)),
        (F32Abs, F64Abs) => Sign(Digit(6)),
        (F32ConvertI32S, F64ConvertI32S) => Convert { wide: false, zero_extended: false },
        (F32ConvertI32U, F64ConvertI32U) => Convert { wide: true, zero_extended: true },
        (F32ConvertI64S, F64ConvertI64S) => Convert { wide: true, zero_extended: false },
        ;
        I32WrapI64, false => Through(Opcode::new(0x8b)),
        I64ExtendI32U, true => Through(Opcode::new(0x8b)),
        I64ExtendI32S, true => Through(Opcode::new(0x63).wide(true)),
        I64Extend32S, true => Through(Opcode::new(0x63).wide(true)),
        I32Extend8S, false => Through(Opcode::two(0xbe)),
        I32Extend16S, false => Through(Opcode::two(0xbf)),
        I64Extend8S, true => Through(Opcode::two(0xbe).wide(true)),
        I64Extend16S, true => Through(Opcode::two(0xbf).wide(true)),
    }
}

/// What a load does: the instruction, and the bytes that it reads. Floats have none: their bits go through a register of integers.
pub(super) fn load(op: Op) -> Option<(Opcode, i32)> {
    let word = Opcode::new(0x8b);
    Some(match op {
        Op::I32Load | Op::I64Load32U | Op::F32Load => (word, 4),
        Op::I64Load | Op::F64Load => (word.wide(true), 8),
        Op::I32Load8U | Op::I64Load8U => (Opcode::two(0xb6), 1),
        Op::I32Load8S => (Opcode::two(0xbe), 1),
        Op::I64Load8S => (Opcode::two(0xbe).wide(true), 1),
        Op::I32Load16U | Op::I64Load16U => (Opcode::two(0xb7), 2),
        Op::I32Load16S => (Opcode::two(0xbf), 2),
        Op::I64Load16S => (Opcode::two(0xbf).wide(true), 2),
        Op::I64Load32S => (Opcode::new(0x63).wide(true), 4),
        _ => return None,
    })
}

/// What a store does: the instruction, and the bytes that it writes.
pub(super) fn store(op: Op) -> Option<(Opcode, i32)> {
    let word = Opcode::new(0x89);
    Some(match op {
        Op::I32Store | Op::I64Store32 | Op::F32Store => (word, 4),
        Op::I64Store | Op::F64Store => (word.wide(true), 8),
        Op::I32Store8 | Op::I64Store8 => (Opcode::new(0x88), 1),
        Op::I32Store16 | Op::I64Store16 => (word.after(0x66), 2),
        _ => return None,
    })
}
