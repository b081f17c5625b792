//! Encodings, as another reads them; and when code is published.

use super::asm::*;
use super::{Area, BATCH_BYTES, EmitOptions};

/// What another reads of the instructions, as one line.
fn said(write: impl FnOnce(&mut Asm)) -> String {
    let mut asm = Asm::default();
    write(&mut asm);
    let lines = aura_jit::disassemble::instructions(&asm.bytes);
    let lines = lines.iter().map(|(_, line)| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("; ")
}

const INTS: [(Reg, &str, &str, &str); 9] = [
    (AX, "rax", "eax", "al"),
    (CX, "rcx", "ecx", "cl"),
    (DX, "rdx", "edx", "dl"),
    (SI, "rsi", "esi", "sil"),
    (DI, "rdi", "edi", "dil"),
    (R8, "r8", "r8d", "r8b"),
    (R9, "r9", "r9d", "r9b"),
    (R10, "r10", "r10d", "r10b"),
    (R11, "r11", "r11d", "r11b"),
];
const FLOATS: [(Reg, &str); 4] = [(X0, "xmm0"), (X1, "xmm1"), (X2, "xmm2"), (X3, "xmm3")];

fn number(value: i32) -> String {
    let hex = format!("{:X}", value.unsigned_abs());
    let lead = if hex.starts_with(|c: char| c.is_ascii_alphabetic()) { "0" } else { "" };
    if value.unsigned_abs() < 10 { hex } else { format!("{lead}{hex}h") }
}

fn distance(value: i32) -> String {
    match value {
        0 => String::new(),
        _ => format!("{}{}", if value < 0 { "-" } else { "+" }, number(value)),
    }
}

/// Places in memory, as the disassembler writes them.
fn places() -> Vec<(Rm, String)> {
    let mut all = Vec::new();
    for disp in [0, 8, 127, -128, 128, -129, 0x1234_5678, i32::MAX] {
        for (base, name, ..) in INTS {
            all.push((Rm::At(base, disp), format!("[{name}{}]", distance(disp))));
        }
        for (base, index) in [(R8, 0), (R10, 0), (SI, 7), (AX, 1), (R8, 8)] {
            let name = |reg: Reg| INTS.iter().find(|(known, ..)| *known == reg).expect("known").1;
            let (index, index_name, ..) = INTS[index];
            let text = format!("[{}+{index_name}{}]", name(base), distance(disp));
            all.push((Rm::Sum(base, index, disp), text));
        }
    }
    all
}

#[test]
fn integer_instructions_are_what_they_are_called() {
    let names = [
        (MOV, "mov"),
        (CMP, "cmp"),
        (XOR, "xor"),
        (ADD, "add"),
        (SUB, "sub"),
        (AND, "and"),
        (OR, "or"),
        (IMUL, "imul"),
        (FIRST_ONE, "bsf"),
        (LAST_ONE, "bsr"),
        (CMOV_ABOVE, "cmova"),
        (CMOV_BELOW, "cmovb"),
        (CMOV_EQUAL.wide(false), "cmove"),
    ];
    for (op, name) in names {
        for (a, a64, a32, _) in INTS {
            for (b, b64, b32, _) in INTS {
                assert_eq!(said(|asm| asm.put(op, a, Rm::Reg(b))), format!("{name} {a32}, {b32}"));
                assert_eq!(said(|asm| asm.put(op.wide(true), a, Rm::Reg(b))), format!("{name} {a64}, {b64}"));
            }
            for (place, text) in places() {
                assert_eq!(said(|asm| asm.put(op, a, place)), format!("{name} {a32}, {text}"));
                assert_eq!(said(|asm| asm.put(op.wide(true), a, place)), format!("{name} {a64}, {text}"));
            }
        }
    }
}

#[test]
fn instructions_that_write_to_places_are_what_they_are_called() {
    for (a, a64, a32, _) in INTS {
        for (place, text) in places() {
            for (op, name) in [(MOV_TO, "mov"), (CMP_TO, "cmp")] {
                assert_eq!(said(|asm| asm.put(op, a, place)), format!("{name} {text}, {a32}"));
                assert_eq!(said(|asm| asm.put(op.wide(true), a, place)), format!("{name} {text}, {a64}"));
            }
            assert_eq!(said(|asm| asm.put(LEA, a, place)), format!("lea {a64}, {text}"));
            assert_eq!(said(|asm| asm.put(MOVSXD, a, place)), format!("movsxd {a64}, {text}"));
            assert_eq!(said(|asm| asm.put(MOVZX8, a, place)), format!("movzx {a32}, byte {text}"));
        }
        assert_eq!(said(|asm| asm.put(TEST, a, Rm::Reg(a))), format!("test {a32}, {a32}"));
        assert_eq!(said(|asm| asm.put(MOVZX8, a, Rm::Reg(AX))), format!("movzx {a32}, al"));
        assert_eq!(said(|asm| asm.put(GROUP5, JUMP, Rm::Reg(a))), format!("jmp {a64}"));
        assert_eq!(said(|asm| asm.put(GROUP5, JUMP, Rm::At(a, 0))), format!("jmp qword [{a64}]"));
    }
}

#[test]
fn loads_and_stores_have_their_sizes() {
    use super::table;
    use aura_validator::ops::Op;
    let place = Rm::Sum(R8, AX, 16);
    let loads = [
        (Op::I32Load, "mov ecx, [r8+rax+10h]"),
        (Op::I64Load, "mov rcx, [r8+rax+10h]"),
        (Op::F32Load, "mov ecx, [r8+rax+10h]"),
        (Op::F64Load, "mov rcx, [r8+rax+10h]"),
        (Op::I32Load8S, "movsx ecx, byte [r8+rax+10h]"),
        (Op::I32Load8U, "movzx ecx, byte [r8+rax+10h]"),
        (Op::I32Load16S, "movsx ecx, word [r8+rax+10h]"),
        (Op::I32Load16U, "movzx ecx, word [r8+rax+10h]"),
        (Op::I64Load8S, "movsx rcx, byte [r8+rax+10h]"),
        (Op::I64Load8U, "movzx ecx, byte [r8+rax+10h]"),
        (Op::I64Load16S, "movsx rcx, word [r8+rax+10h]"),
        (Op::I64Load16U, "movzx ecx, word [r8+rax+10h]"),
        (Op::I64Load32S, "movsxd rcx, [r8+rax+10h]"),
        (Op::I64Load32U, "mov ecx, [r8+rax+10h]"),
    ];
    for (op, text) in loads {
        let (opcode, _) = table::load(op).expect("it has a template");
        assert_eq!(said(|asm| asm.put(opcode, CX, place)), text, "{op:?}");
    }
    let stores = [
        (Op::I32Store, "mov [r8+rax+10h], ecx", "mov [r8+rax+10h], r10d", 4),
        (Op::I64Store, "mov [r8+rax+10h], rcx", "mov [r8+rax+10h], r10", 8),
        (Op::F32Store, "mov [r8+rax+10h], ecx", "mov [r8+rax+10h], r10d", 4),
        (Op::F64Store, "mov [r8+rax+10h], rcx", "mov [r8+rax+10h], r10", 8),
        (Op::I32Store8, "mov [r8+rax+10h], cl", "mov [r8+rax+10h], r10b", 1),
        (Op::I64Store8, "mov [r8+rax+10h], cl", "mov [r8+rax+10h], r10b", 1),
        (Op::I32Store16, "mov [r8+rax+10h], cx", "mov [r8+rax+10h], r10w", 2),
        (Op::I64Store16, "mov [r8+rax+10h], cx", "mov [r8+rax+10h], r10w", 2),
        (Op::I64Store32, "mov [r8+rax+10h], ecx", "mov [r8+rax+10h], r10d", 4),
    ];
    for (op, low, high, bytes) in stores {
        let (opcode, size) = table::store(op).expect("it has a template");
        assert_eq!((said(|asm| asm.put(opcode, CX, place)).as_str(), size), (low, bytes), "{op:?}");
        assert_eq!(said(|asm| asm.put(opcode, R10, place)), high, "{op:?}");
    }
}

#[test]
fn immediates_are_what_they_are() {
    let digits = [(0, "add"), (1, "or"), (4, "and"), (5, "sub"), (6, "xor"), (7, "cmp")];
    let values = [0, 1, 127, -128, 128, -129, 0x7654_3210, i32::MIN, i32::MAX, -1];
    for value in values {
        // The disassembler writes what the processor computes with.
        let unsigned = |wide: bool| match (value < 0, wide) {
            (false, _) => number(value),
            (true, true) => format!("0{:X}h", i64::from(value)),
            (true, false) => {
                let hex = format!("{value:X}h");
                if hex.starts_with(|c: char| c.is_ascii_alphabetic()) { format!("0{hex}") } else { hex }
            }
        };
        let either =
            |text: &str, wide: bool| [format!("{text}, {}", unsigned(wide)), format!("{text}, -{}", number(value))];
        for (digit, name) in digits {
            for (reg, r64, r32, _) in INTS {
                let wide = said(|asm| asm.put_imm(Digit(digit), true, Rm::Reg(reg), value));
                assert!(either(&format!("{name} {r64}"), true).contains(&wide), "{wide}, {value}");
                let narrow = said(|asm| asm.put_imm(Digit(digit), false, Rm::Reg(reg), value));
                assert!(either(&format!("{name} {r32}"), false).contains(&narrow), "{narrow}, {value}");
            }
            let place = said(|asm| asm.put_imm(Digit(digit), true, Rm::At(SI, 0x80), value));
            assert!(place.starts_with(&format!("{name} qword [rsi+80h], ")), "{place}");
            let place = said(|asm| asm.put_imm(Digit(digit), false, Rm::At(SI, 0x80), value));
            assert!(place.starts_with(&format!("{name} dword [rsi+80h], ")), "{place}");
        }
    }
    let shift = |wide: bool, digit| {
        move |asm: &mut Asm| {
            asm.put(SHIFT_BY.wide(wide), Reg(digit), Rm::Reg(CX));
            asm.bytes.push(17);
            asm.put(SHIFT.wide(wide), Reg(digit), Rm::Reg(AX));
        }
    };
    for (digit, name) in [(0, "rol"), (1, "ror"), (4, "shl"), (5, "shr"), (7, "sar")] {
        assert_eq!(said(shift(true, digit)), format!("{name} rcx, 11h; {name} rax, cl"));
        assert_eq!(said(shift(false, digit)), format!("{name} ecx, 11h; {name} eax, cl"));
    }
    for (digit, name) in [(6, "btr"), (7, "btc")] {
        let bit = said(|asm| {
            asm.put(BIT.wide(true), Reg(digit), Rm::Reg(R10));
            asm.bytes.push(63);
        });
        assert_eq!(bit, format!("{name} r10, 3Fh"));
    }
    for (digit, name) in [(6, "div"), (7, "idiv")] {
        assert_eq!(said(|asm| asm.put(UNARY.wide(true), Reg(digit), Rm::Reg(R10))), format!("{name} r10"));
        assert_eq!(said(|asm| asm.put(UNARY, Reg(digit), Rm::Reg(R10))), format!("{name} r10d"));
    }
    let product = said(|asm| {
        asm.put(IMUL_BY.wide(true), CX, Rm::At(SI, 8));
        asm.imm32(1000);
    });
    assert_eq!(product, "imul rcx, [rsi+8], 3E8h");
}

#[test]
fn constants_are_what_they_are() {
    for (reg, r64, r32, _) in INTS {
        assert_eq!(said(|asm| asm.constant(reg, 0)), format!("xor {r32}, {r32}"));
        assert_eq!(said(|asm| asm.constant(reg, 0x1234_5678)), format!("mov {r32}, 12345678h"));
        assert_eq!(said(|asm| asm.constant(reg, u64::from(u32::MAX))), format!("mov {r32}, 0FFFFFFFFh"));
        assert_eq!(said(|asm| asm.constant(reg, 0x1234_5678_9abc_def0)), format!("mov {r64}, 123456789ABCDEF0h"));
        assert_eq!(said(|asm| asm.constant(reg, 1 << 63)), format!("mov {r64}, 8000000000000000h"));
        let low = said(|asm| asm.constant(reg, -5_i64 as u64));
        assert!(low == format!("mov {r64}, 0FFFFFFFFFFFFFFFBh") || low == format!("mov {r64}, -5"), "{low}");
    }
}

#[test]
fn float_instructions_are_what_they_are_called() {
    let arithmetic = [(0x58, "add"), (0x5c, "sub"), (0x59, "mul"), (0x5e, "div")];
    for (a, a_name) in FLOATS {
        for (b, b_name) in FLOATS {
            for (byte, name) in arithmetic {
                let op = Opcode::two(byte);
                assert_eq!(said(|asm| asm.put(op.after(0xf3), a, Rm::Reg(b))), format!("{name}ss {a_name}, {b_name}"));
                assert_eq!(said(|asm| asm.put(op.after(0xf2), a, Rm::Reg(b))), format!("{name}sd {a_name}, {b_name}"));
            }
            assert_eq!(said(|asm| asm.put(COMPARE_FLOATS, a, Rm::Reg(b))), format!("ucomiss {a_name}, {b_name}"));
            let double = COMPARE_FLOATS.after(0x66);
            assert_eq!(said(|asm| asm.put(double, a, Rm::Reg(b))), format!("ucomisd {a_name}, {b_name}"));
            assert_eq!(said(|asm| asm.put(MOVAPS, a, Rm::Reg(b))), format!("movaps {a_name}, {b_name}"));
            assert_eq!(said(|asm| asm.put(XORPS, a, Rm::Reg(b))), format!("xorps {a_name}, {b_name}"));
        }
        for (r, r64, r32, _) in INTS {
            assert_eq!(said(|asm| asm.put(INT_TO_XMM, a, Rm::Reg(r))), format!("movd {a_name}, {r32}"));
            assert_eq!(said(|asm| asm.put(INT_TO_XMM.wide(true), a, Rm::Reg(r))), format!("movq {a_name}, {r64}"));
            assert_eq!(said(|asm| asm.put(XMM_TO_INT, a, Rm::Reg(r))), format!("movd {r32}, {a_name}"));
            assert_eq!(said(|asm| asm.put(XMM_TO_INT.wide(true), a, Rm::Reg(r))), format!("movq {r64}, {a_name}"));
            for (prefix, kind) in [(0xf3, "ss"), (0xf2, "sd")] {
                let convert = CONVERT.after(prefix);
                assert_eq!(said(|asm| asm.put(convert, a, Rm::Reg(r))), format!("cvtsi2{kind} {a_name}, {r32}"));
                let wide = convert.wide(true);
                assert_eq!(said(|asm| asm.put(wide, a, Rm::Reg(r))), format!("cvtsi2{kind} {a_name}, {r64}"));
                let truncate = TRUNCATE.after(prefix);
                assert_eq!(said(|asm| asm.put(truncate, r, Rm::Reg(a))), format!("cvtt{kind}2si {r32}, {a_name}"));
                let wide = truncate.wide(true);
                assert_eq!(said(|asm| asm.put(wide, r, Rm::Reg(a))), format!("cvtt{kind}2si {r64}, {a_name}"));
            }
        }
        assert_eq!(said(|asm| asm.put(LOAD_FLOAT.after(0xf3), a, Rm::At(SI, 8))), format!("movss {a_name}, [rsi+8]"));
        assert_eq!(said(|asm| asm.put(LOAD_FLOAT.after(0xf2), a, Rm::At(SI, 8))), format!("movsd {a_name}, [rsi+8]"));
        assert_eq!(said(|asm| asm.put(STORE_FLOAT.after(0xf2), a, Rm::At(SI, 8))), format!("movsd [rsi+8], {a_name}"));
    }
}

#[test]
fn jumps_and_conditions_are_what_they_are() {
    let conditions = [
        (Condition::BELOW, "b"),
        (Condition(3), "ae"),
        (Condition::EQUAL, "e"),
        (Condition::NOT_EQUAL, "ne"),
        (Condition(6), "be"),
        (Condition::ABOVE, "a"),
        (Condition::NEGATIVE, "s"),
        (Condition::OVERFLOW, "o"),
        (Condition::UNORDERED, "p"),
        (Condition::UNORDERED.not(), "np"),
        (Condition(12), "l"),
        (Condition(13), "ge"),
        (Condition(14), "le"),
        (Condition(15), "g"),
    ];
    for (condition, name) in conditions {
        assert_eq!(said(|asm| asm.set_if(condition, AX)), format!("set{name} al"));
        assert_eq!(said(|asm| asm.set_if(condition, CX)), format!("set{name} cl"));
        let jump = said(|asm| {
            let gap = asm.jump_if(condition);
            asm.close(gap, 0x100);
        });
        assert_eq!(jump.split(' ').next(), Some(format!("j{name}").as_str()));
        assert!(jump.ends_with("100h"), "{jump}");
    }
    let ahead = |write: fn(&mut Asm) -> Gap| {
        said(|asm| {
            let gap = write(asm);
            asm.close(gap, 0x100);
        })
    };
    assert!(ahead(Asm::jump).starts_with("jmp ") && ahead(Asm::jump).ends_with("100h"), "{}", ahead(Asm::jump));
    assert!(ahead(Asm::call).starts_with("call ") && ahead(Asm::call).ends_with("100h"), "{}", ahead(Asm::call));
    assert_eq!(ahead(|asm| asm.address_of(R10)), "lea r10, [rel 100h]");
}

fn add(area: &Area, own_func: u32, at_once: bool, bytes: usize) -> bool {
    area.add(own_func, at_once, |emitter| emitter.asm.bytes.resize(emitter.asm.bytes.len() + bytes, 0xcc))
}

#[test]
fn code_waits_for_more_or_for_a_second_time() {
    let area = Area::new(0, 1 << 20, EmitOptions::default()).expect("address space");
    assert!(add(&area, 1, false, 100) && add(&area, 2, false, 100));
    assert_eq!((area.cells_with_code(1), area.cells_with_code(2)), (None, None));
    assert!(!add(&area, 1, false, 100), "it was warm before: both are published");
    assert!(area.cells_with_code(1).is_some() && area.cells_with_code(2).is_some());
    assert!(!add(&area, 1, false, 100), "it has code");
    assert!(add(&area, 3, false, 100));
    assert!(!add(&area, 4, false, BATCH_BYTES), "there is enough");
    assert!(area.cells_with_code(3).is_some());
    assert!(!add(&area, 5, true, 1) && area.cells_with_code(5).is_some());
}

#[test]
fn code_ends_where_there_is_no_room() {
    let area = Area::new(0, 3 * BATCH_BYTES, EmitOptions::default()).expect("address space");
    for own_func in 0..3 {
        assert!(!add(&area, own_func, false, BATCH_BYTES) && area.cells_with_code(own_func).is_some());
    }
    assert!(!add(&area, 3, false, BATCH_BYTES) && area.cells_with_code(3).is_none(), "there is no more room");
    assert!(!add(&area, 4, true, 1) && area.cells_with_code(4).is_none(), "nor for less");
    assert!(area.cells_with_code(2).is_some());
    let area = Area::new(0, 1 << 20, EmitOptions::default()).expect("address space");
    assert!(!add(&area, 0, true, 2 << 20) && area.cells_with_code(0).is_none(), "one that is too large");
    let batch = area.batch.lock().expect("nobody panicked");
    assert!(batch.emitter.len() == 0, "and nothing of it is kept");
}
