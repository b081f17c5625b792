//! Machine code as text, for people and for goldens.

use std::fmt::Write;

use crate::finish::CompiledFunction;

/// Disassembles a compiled function: one instruction per line, with a line for each change of the
/// module offset and the trap that an instruction may cause behind it.
#[must_use]
pub fn disassemble(function: &CompiledFunction) -> String {
    let mut text = String::new();
    let mut srclocs = function.srclocs.iter().peekable();
    for (offset, instruction) in instructions(&function.bytes) {
        while let Some(&&(_, at)) = srclocs.peek().filter(|(start, _)| *start <= offset) {
            srclocs.next();
            writeln!(text, "; module offset {at:#x}").expect("writing to a string");
        }
        let trap = function.traps.binary_search_by_key(&offset, |trap| trap.0);
        let trap = trap.map(|i| format!("  ; trap: {}", function.traps[i].1)).unwrap_or_default();
        writeln!(text, "{offset:6x}  {instruction}{trap}").expect("writing to a string");
    }
    text
}

/// The instructions of machine code, each with its offset.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn instructions(code: &[u8]) -> Vec<(u32, String)> {
    use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
    let mut formatter = NasmFormatter::new();
    formatter.options_mut().set_first_operand_char_index(8);
    formatter.options_mut().set_space_after_operand_separator(true);
    let decoder = Decoder::new(64, code, DecoderOptions::NONE);
    decoder
        .into_iter()
        .map(|instruction| {
            let mut text = String::new();
            formatter.format(&instruction, &mut text);
            (instruction.ip32(), text)
        })
        .collect()
}

/// Words of code, where no disassembler is built in.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn instructions(code: &[u8]) -> Vec<(u32, String)> {
    let words = code.chunks(4).map(|word| word.iter().rev().map(|byte| format!("{byte:02x}")).collect());
    words.enumerate().map(|(i, word)| (i as u32 * 4, word)).collect()
}
