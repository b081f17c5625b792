//! The few x86-64 instructions that templates are made of, as bytes.
//!
//! An instruction is an [`Opcode`], a register, and a register or a place in memory ([`Rm`]). What is encoded is fixed by the
//! processor's manual; tests compare with what another assembler says.

/// A register, of integers or of floats: which one is said by the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reg(pub(super) u8);

pub(super) const AX: Reg = Reg(0);
pub(super) const CX: Reg = Reg(1);
pub(super) const DX: Reg = Reg(2);
pub(super) const SI: Reg = Reg(6);
pub(super) const DI: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const R10: Reg = Reg(10);
pub(super) const R11: Reg = Reg(11);
pub(super) const X0: Reg = Reg(0);
pub(super) const X1: Reg = Reg(1);
pub(super) const X2: Reg = Reg(2);
pub(super) const X3: Reg = Reg(3);

/// The second operand of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rm {
    Reg(Reg),
    /// What lies at a register's address and a distance.
    At(Reg, i32),
    /// What lies at the sum of two registers and a distance.
    Sum(Reg, Reg, i32),
}

impl Rm {
    /// Whether no register of a place is one that means something else there: those with the numbers of the stack's and frame's
    /// pointers, and as a second one, of the stack's.
    fn is_plain(self) -> bool {
        match self {
            Self::Reg(_) => true,
            Self::At(base, _) => base.0 & 7 != 4,
            Self::Sum(base, index, _) => base.0 & 7 != 4 && index.0 != 4,
        }
    }
}

/// Which instruction: a prefix or 0, whether it is one of 64 bits, whether its byte follows an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opcode {
    prefix: u8,
    wide: bool,
    escaped: bool,
    byte: u8,
}

impl Opcode {
    pub(super) const fn new(byte: u8) -> Self {
        Self { prefix: 0, wide: false, escaped: false, byte }
    }

    /// Of the second table.
    pub(super) const fn two(byte: u8) -> Self {
        Self { escaped: true, ..Self::new(byte) }
    }

    pub(super) const fn after(self, prefix: u8) -> Self {
        Self { prefix, ..self }
    }

    /// The same on 64 bits, if so.
    pub(super) const fn wide(self, wide: bool) -> Self {
        Self { wide, ..self }
    }
}

pub(super) const MOV: Opcode = Opcode::new(0x8b);
pub(super) const MOV_TO: Opcode = Opcode::new(0x89);
pub(super) const LEA: Opcode = Opcode::new(0x8d).wide(true);
pub(super) const CMP: Opcode = Opcode::new(0x3b);
pub(super) const TEST: Opcode = Opcode::new(0x85);
pub(super) const XOR: Opcode = Opcode::new(0x33);
/// An operation with an immediate of 32 bits, which one said by the register's place; see [`Digit`].
pub(super) const IMM32: Opcode = Opcode::new(0x81);
pub(super) const IMM8: Opcode = Opcode::new(0x83);
pub(super) const SHIFT: Opcode = Opcode::new(0xd3);
pub(super) const SHIFT_BY: Opcode = Opcode::new(0xc1);
pub(super) const IMUL: Opcode = Opcode::two(0xaf);
pub(super) const IMUL_BY: Opcode = Opcode::new(0x69);
pub(super) const MOV_IMM: Opcode = Opcode::new(0xc7);
/// An operation on the bit whose number is an immediate byte: by the register's place, 6 makes it zero and 7 changes it.
pub(super) const BIT: Opcode = Opcode::two(0xba);
pub(super) const UNARY: Opcode = Opcode::new(0xf7);
/// Operations of which the register's place says which one; of them, [`JUMP`] is used.
pub(super) const GROUP5: Opcode = Opcode::new(0xff);
pub(super) const JUMP: Reg = Reg(4);
pub(super) const MOVZX8: Opcode = Opcode::two(0xb6);
pub(super) const MOVSXD: Opcode = Opcode::new(0x63).wide(true);
pub(super) const XMM_TO_INT: Opcode = Opcode::two(0x7e).after(0x66);
pub(super) const INT_TO_XMM: Opcode = Opcode::two(0x6e).after(0x66);
pub(super) const MOVAPS: Opcode = Opcode::two(0x28);
pub(super) const XORPS: Opcode = Opcode::two(0x57);

pub(super) const CMP_TO: Opcode = Opcode::new(0x39);
pub(super) const CMOV_EQUAL: Opcode = Opcode::two(0x44).wide(true);
pub(super) const CMOV_ABOVE: Opcode = Opcode::two(0x47);
pub(super) const CMOV_BELOW: Opcode = Opcode::two(0x42);
pub(super) const COMPARE_FLOATS: Opcode = Opcode::two(0x2e);
pub(super) const CONVERT: Opcode = Opcode::two(0x2a);
pub(super) const TRUNCATE: Opcode = Opcode::two(0x2c);
pub(super) const FIRST_ONE: Opcode = Opcode::two(0xbc);
pub(super) const LAST_ONE: Opcode = Opcode::two(0xbd);
pub(super) const ADD: Opcode = Opcode::new(0x03);
pub(super) const SUB: Opcode = Opcode::new(0x2b);
pub(super) const AND: Opcode = Opcode::new(0x23);
pub(super) const OR: Opcode = Opcode::new(0x0b);
pub(super) const LOAD_FLOAT: Opcode = Opcode::two(0x10);
pub(super) const STORE_FLOAT: Opcode = Opcode::two(0x11);

/// What stands in the register's place of some instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digit(pub(super) u8);

/// When a conditional instruction does what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition(pub(super) u8);

impl Condition {
    pub(super) const BELOW: Self = Self(2);
    pub(super) const EQUAL: Self = Self(4);
    pub(super) const NOT_EQUAL: Self = Self(5);
    pub(super) const ABOVE: Self = Self(7);
    pub(super) const NEGATIVE: Self = Self(8);
    pub(super) const OVERFLOW: Self = Self(0);
    /// Of floats: one of them is a NaN.
    pub(super) const UNORDERED: Self = Self(10);

    pub(super) const fn not(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// The place of a distance of 32 bits that is written later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap(pub(super) u32);

impl Gap {
    /// Where it ends.
    pub(super) fn end(self) -> i64 {
        i64::from(self.0) + 4
    }

    pub(super) fn fill(self, code: &mut [u8], value: i32) {
        code[self.0 as usize..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

/// Code as it is written.
#[derive(Debug, Default)]
pub(super) struct Asm {
    pub(super) bytes: Vec<u8>,
}

impl Asm {
    pub(super) fn here(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// An instruction on a register and a second operand.
    #[inline]
    pub(super) fn put(&mut self, op: Opcode, reg: Reg, rm: Rm) {
        let mut bytes = [0; 16];
        let mut len = 0;
        let mut push = |byte: u8| {
            bytes[len] = byte;
            len += 1;
        };
        if op.prefix != 0 {
            push(op.prefix);
        }
        debug_assert!(rm.is_plain(), "{rm:?} is written another way");
        let (base, index) = match rm {
            Rm::Reg(reg) | Rm::At(reg, _) => (reg, Reg(0)),
            Rm::Sum(base, index, _) => (base, index),
        };
        let rex = u8::from(op.wide) << 3 | reg.0 >> 3 << 2 | index.0 >> 3 << 1 | base.0 >> 3;
        if rex != 0 {
            push(0x40 | rex);
        }
        if op.escaped {
            push(0x0f);
        }
        push(op.byte);
        let reg = (reg.0 & 7) << 3;
        let (low, disp) = match rm {
            Rm::Reg(rm) => {
                push(0xc0 | reg | rm.0 & 7);
                return self.bytes.extend_from_slice(&bytes[..len]);
            }
            Rm::At(base, disp) => (base.0 & 7, disp),
            Rm::Sum(_, _, disp) => (4, disp),
        };
        let short = i8::try_from(disp);
        push(if short.is_ok() { 0x40 } else { 0x80 } | reg | low);
        if let Rm::Sum(base, index, _) = rm {
            push((index.0 & 7) << 3 | base.0 & 7);
        }
        match short {
            Ok(disp) => push(disp.cast_unsigned()),
            Err(_) => disp.to_le_bytes().into_iter().for_each(push),
        }
        self.bytes.extend_from_slice(&bytes[..len]);
    }

    pub(super) fn imm32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// An operation on a second operand and an immediate.
    pub(super) fn put_imm(&mut self, digit: Digit, wide: bool, rm: Rm, value: i32) {
        match i8::try_from(value) {
            Ok(short) => {
                self.put(IMM8.wide(wide), Reg(digit.0), rm);
                self.bytes.push(short.cast_unsigned());
            }
            Err(_) => {
                self.put(IMM32.wide(wide), Reg(digit.0), rm);
                self.imm32(value);
            }
        }
    }

    /// A register gets a number.
    pub(super) fn constant(&mut self, reg: Reg, bits: u64) {
        if bits == 0 {
            self.put(XOR, reg, Rm::Reg(reg));
        } else if let Ok(short) = u32::try_from(bits) {
            self.short_form(0xb8, false, reg);
            self.imm32(short.cast_signed());
        } else if let Ok(short) = i32::try_from(bits.cast_signed()) {
            self.put(MOV_IMM.wide(true), Reg(0), Rm::Reg(reg));
            self.imm32(short);
        } else {
            self.wide_constant(reg, bits);
        }
    }

    /// As [`Asm::constant`], always with all 64 bits, which are the last of it.
    pub(super) fn wide_constant(&mut self, reg: Reg, bits: u64) {
        self.short_form(0xb8, true, reg);
        self.bytes.extend_from_slice(&bits.to_le_bytes());
    }

    fn short_form(&mut self, byte: u8, wide: bool, reg: Reg) {
        let rex = u8::from(wide) << 3 | reg.0 >> 3;
        if rex != 0 {
            self.bytes.push(0x40 | rex);
        }
        self.bytes.push(byte | reg.0 & 7);
    }

    /// The low byte of a register becomes 1 if so, else 0. Of the registers that the templates use, [`AX`] and [`CX`] have a name for it.
    pub(super) fn set_if(&mut self, condition: Condition, reg: Reg) {
        debug_assert!(reg.0 < 4, "a register whose low byte has a name");
        self.bytes.extend_from_slice(&[0x0f, 0x90 | condition.0, 0xc0 | reg.0]);
    }

    pub(super) fn jump(&mut self) -> Gap {
        self.bytes.push(0xe9);
        self.gap()
    }

    pub(super) fn call(&mut self) -> Gap {
        self.bytes.push(0xe8);
        self.gap()
    }

    pub(super) fn jump_if(&mut self, condition: Condition) -> Gap {
        self.bytes.extend_from_slice(&[0x0f, 0x80 | condition.0]);
        self.gap()
    }

    /// The address of a place in the code goes to a register.
    pub(super) fn address_of(&mut self, reg: Reg) -> Gap {
        self.bytes.extend_from_slice(&[0x48 | reg.0 >> 3 << 2, 0x8d, (reg.0 & 7) << 3 | 5]);
        self.gap()
    }

    /// A distance to be written.
    pub(super) fn gap(&mut self) -> Gap {
        let gap = Gap(self.here());
        self.imm32(0);
        gap
    }

    /// Fills a gap with the distance from behind it to a place.
    pub(super) fn close(&mut self, gap: Gap, to: u32) {
        let distance = i64::from(to) - gap.end();
        self.fill(gap, i32::try_from(distance).expect("limits keep a function's code below 2 GiB"));
    }

    pub(super) fn fill(&mut self, gap: Gap, value: i32) {
        gap.fill(&mut self.bytes, value);
    }
}
