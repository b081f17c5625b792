//! Type sections as most modules have them: functions on numbers, vectors and nullable references to anything, one after the other.
//!
//! The section is valid. wasmparser would make its own form of each type once more, to be taken apart; this reads the
//! bytes into ours (specification, sections 5.3.1 to 5.3.9). Any other section is converted type by type.

use aura_host_abi::{CompositeType, FuncType, SubType, ValType};

use super::numbers::number;
use crate::limits::Limits;

const FUNC: u8 = 0x60;

/// The types of a section, its number of them before, if all are as said above and within the limits.
pub(super) fn functions(section: &[u8], limits: &Limits) -> Option<Vec<SubType>> {
    let mut at = 0;
    let count = number(section, &mut at)? as usize;
    let mut types = Vec::with_capacity(count.min(section.len()));
    for _ in 0..count {
        types.push(SubType::simple(CompositeType::Func(function(section, &mut at, limits)?)));
    }
    (at == section.len()).then_some(types)
}

fn function(section: &[u8], at: &mut usize, limits: &Limits) -> Option<FuncType> {
    if *section.get(*at)? != FUNC {
        return None;
    }
    *at += 1;
    let params = list(section, at, limits.params)?;
    let results = list(section, at, limits.results)?;
    // Collected at once, into one piece.
    let types = params.iter().chain(results).map(|byte| val_type(*byte).expect("looked at before")).collect();
    Some(FuncType::of_list(types, params.len()))
}

/// The types of a list, of a byte each.
fn list<'a>(section: &'a [u8], at: &mut usize, len_max: u32) -> Option<&'a [u8]> {
    let len = number(section, at)?;
    let list = section.get(*at..)?.get(..len as usize)?;
    *at += list.len();
    (len <= len_max && list.iter().all(|byte| val_type(*byte).is_some())).then_some(list)
}

const fn val_type(byte: u8) -> Option<ValType> {
    Some(match byte {
        0x7f => ValType::I32,
        0x7e => ValType::I64,
        0x7d => ValType::F32,
        0x7c => ValType::F64,
        0x7b => ValType::V128,
        0x70 => ValType::FUNCREF,
        0x6f => ValType::EXTERNREF,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Features, Module};

    /// The same types, read both ways: an empty recursion group makes a section one that is converted.
    #[test]
    fn types_are_the_same_either_way() {
        let all = ["i32", "i64", "f32", "f64", "v128", "funcref", "externref"];
        let mut text = String::from("(type (func))");
        for (n, one) in all.iter().enumerate() {
            text += &format!("(type (func (param {one} {}) (result {})))", all[(n + 3) % 7], all[..n].join(" "));
        }
        text += &format!("(type (func (param{}) (result i64)))", " f64".repeat(300));
        let read = |text: String| {
            let bytes = wat::parse_str(text).expect("text");
            let section = bytes[8..].to_vec();
            (section, Module::new(bytes, &Features::NEWEST, &Limits::default()).expect("valid"))
        };
        let (section, plain) = read(format!("(module {text})"));
        let (other, general) = read(format!("(module {text} (rec))"));
        let contents = |section: &[u8]| {
            let mut at = 1;
            number(section, &mut at).expect("a length");
            section[at..].to_vec()
        };
        assert_eq!(functions(&contents(&section), &Limits::default()).expect("plain").len(), 9);
        assert!(functions(&contents(&other), &Limits::default()).is_none());
        assert_eq!(plain.types(), general.types());
        assert_eq!(plain.type_groups(), &general.type_groups()[..9]);
        assert_eq!(
            plain.types()[8].composite.as_func().map(|ty| (ty.params().len(), ty.results().len())),
            Some((300, 1))
        );
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_general_way() {
        let limits = Limits { params: 2, results: 1, ..Limits::default() };
        let reads = |bytes: &[u8]| functions(bytes, &limits).is_some();
        assert!(reads(&[0]) && reads(&[1, 0x60, 2, 0x7f, 0x70, 1, 0x7b]) && reads(&[0x81, 0, 0x60, 0x80, 0, 0]));
        for bytes in [
            // More than the limits allow, a type of no kind, another form, too few and too many bytes.
            &[1, 0x60, 3, 0x7f, 0x7f, 0x7f, 0][..],
            &[1, 0x60, 0, 2, 0x7f, 0x7f],
            &[1, 0x60, 1, 0x7a, 0],
            &[1, 0x60, 1, 0x6e, 0],
            &[1, 0x60, 2, 0x64, 0x70, 0],
            &[1, 0x5f, 0],
            &[1, 0x50, 0, 0x60, 0, 0],
            &[1, 0x4e, 1, 0x60, 0, 0],
            &[1, 0x60, 1],
            &[1, 0x60, 1, 0x7f],
            &[2, 0x60, 0, 0],
            &[1, 0x60, 0, 0, 0],
            &[],
        ] {
            assert!(!reads(bytes), "{bytes:x?}");
        }
    }
}
