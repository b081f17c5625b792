//! Arguments and results of an invoked function as text.

use aura_runtime::{Val, ValType};

/// Parses an argument as a value of a parameter's type.
///
/// # Errors
/// If it is none; the message says what to write.
pub(crate) fn parse(text: &str, ty: ValType) -> Result<Val, String> {
    let value = match ty {
        ValType::I32 => integer(text, 32).map(|bits| Val::I32(bits as u32 as i32)),
        ValType::I64 => integer(text, 64).map(|bits| Val::I64(bits as u64 as i64)),
        ValType::F32 => text.parse().ok().map(|value: f32| Val::F32(value.to_bits())),
        ValType::F64 => text.parse().ok().map(|value: f64| Val::F64(value.to_bits())),
        ValType::V128 => {
            text.strip_prefix("0x").and_then(|digits| u128::from_str_radix(digits, 16).ok()).map(Val::V128)
        }
        ty if ty == ValType::FUNCREF => (text == "null").then_some(Val::FuncRef(None)),
        _ => (text == "null").then_some(Val::ExternRef(None)),
    };
    value.ok_or_else(|| format!("`{text}` is no {ty}; write {}", example(ty)))
}

/// Bits of an integer: decimal or hexadecimal, signed or unsigned, if it fits.
fn integer(text: &str, width: u32) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None => (digits, 10),
    };
    // `from_str_radix` would take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -magnitude } else { magnitude };
    (-(1_i128 << (width - 1))..1_i128 << width).contains(&value).then_some(value)
}

fn example(ty: ValType) -> &'static str {
    match ty {
        ValType::I32 | ValType::I64 => "a whole number that fits, such as -7 or 0x2a",
        ValType::F32 | ValType::F64 => "a number, such as 1.5, -2e10, inf or nan",
        ValType::V128 => "its 128 bits, such as 0x0f",
        ValType::Ref(_) => "null, the only reference that can be written",
    }
}

/// A result as a line of text.
pub(crate) fn show(value: &Val) -> String {
    match value {
        Val::I32(v) => v.to_string(),
        Val::I64(v) => v.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(bits) => format!("{bits:#034x}"),
        Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None) => "null".to_owned(),
        Val::FuncRef(Some(_)) => "funcref".to_owned(),
        Val::ExternRef(Some(_)) => "externref".to_owned(),
        Val::AnyRef(Some(_)) => "anyref".to_owned(),
        Val::ExnRef(Some(_)) => "exnref".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str, ty: ValType) -> Option<String> {
        parse(text, ty).ok().map(|value| show(&value))
    }

    #[test]
    fn values_parse_by_their_type() {
        for (text, ty, expected) in [
            ("5", ValType::I32, Some("5")),
            ("-1", ValType::I32, Some("-1")),
            ("0xffffffff", ValType::I32, Some("-1")),
            ("4294967295", ValType::I32, Some("-1")),
            ("4294967296", ValType::I32, None),
            ("-2147483649", ValType::I32, None),
            ("1.5", ValType::I32, None),
            ("", ValType::I32, None),
            ("--1", ValType::I32, None),
            ("0x-1", ValType::I64, None),
            ("18446744073709551615", ValType::I64, Some("-1")),
            ("1.5", ValType::F32, Some("1.5")),
            ("nan", ValType::F64, Some("NaN")),
            ("-inf", ValType::F64, Some("-inf")),
            ("x", ValType::F64, None),
            ("0x10", ValType::V128, Some("0x00000000000000000000000000000010")),
            ("null", ValType::FUNCREF, Some("null")),
            ("null", ValType::EXTERNREF, Some("null")),
            ("1", ValType::EXTERNREF, None),
        ] {
            assert_eq!(round(text, ty).as_deref(), expected, "{text} as {ty}");
        }
    }
}
