//! Numbers as sections have them by the thousand: the lengths of bodies, the types of functions.
//!
//! wasmparser hands out one body after the other, each as a part of the module of its own, which takes most of the time in which
//! a module of many short functions is read lazily. What is nearly always so is read here: so many bodies that fill their
//! section. Whatever is not goes the general way, whole, and is refused there if it is to be.

use std::ops::Range;

/// The bodies of a code section of `size` bytes behind their number, if so many fill it and none is longer than `bytes_max`.
/// It is at the beginning of `rest`, which is at the place `start` of the module.
pub(super) fn bodies(rest: &[u8], start: usize, (count, size): (u32, u32), bytes_max: u32) -> Option<Vec<Range<u32>>> {
    let section = rest.get(..size as usize)?;
    // Each takes a byte at least.
    if count as usize > section.len() {
        return None;
    }
    let mut bodies = Vec::with_capacity(count as usize);
    let mut at = 0;
    for _ in 0..count {
        let length = number(section, &mut at)?;
        let end = at.checked_add(length as usize).filter(|end| *end <= section.len() && length <= bytes_max)?;
        bodies.push((start + at) as u32..(start + end) as u32);
        at = end;
    }
    (at == section.len()).then_some(bodies)
}

/// Appends the indices of a function section, its number of them before.
pub(super) fn indices(section: &[u8], to: &mut Vec<u32>) -> Option<()> {
    let mut at = 0;
    let count = number(section, &mut at)? as usize;
    to.reserve_exact(count.min(section.len()));
    for _ in 0..count {
        to.push(number(section, &mut at)?);
    }
    Some(())
}

/// The number at a place of some bytes, which is behind it afterwards (specification, section 5.2.2).
#[inline]
pub(super) fn number(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 { Some(first.into()) } else { long_number(first, bytes, at) }
}

fn long_number(first: u8, bytes: &[u8], at: &mut usize) -> Option<u32> {
    let mut value = u32::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if shift == 28 && byte > 0x0f {
            return None;
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use wasmparser::BinaryReader;

    use super::*;
    use crate::{Features, Limits, Module, Validation};

    #[test]
    fn numbers_are_what_wasmparser_reads() {
        let (mut read, mut refused) = (0, 0);
        let edges = [0x00, 0x01, 0x0f, 0x10, 0x7f, 0x80, 0x8f, 0xff];
        for pick in 0..8_usize.pow(6) {
            let bytes: Vec<u8> = (0..6).map(|place| edges[pick / 8_usize.pow(place) % 8]).collect();
            for bytes in [&bytes[..], &bytes[..1 + pick % 5]] {
                let mut at = 0;
                let ours = number(bytes, &mut at);
                let mut reader = BinaryReader::new(bytes, 0);
                assert_eq!(ours, reader.read_var_u32().ok(), "{bytes:x?}");
                if ours.is_some() {
                    assert_eq!(at, reader.current_position(), "{bytes:x?}");
                    read += 1;
                } else {
                    refused += 1;
                }
            }
        }
        assert!(read > 100_000 && refused > 10_000, "{read} {refused}");
    }

    /// A module of so many functions, some of two bytes of length.
    fn many(count: usize) -> Vec<u8> {
        let body = |n: usize| "(drop (i64.const 77777777))".repeat(n % 41);
        let funcs: String =
            (0..count).map(|n| format!("(func (param{}) {})", " i32".repeat(n % 150), body(n))).collect();
        wat::parse_str(format!("(module {funcs})")).expect("text")
    }

    #[test]
    fn bodies_and_types_are_where_wasmparser_finds_them() {
        for count in [0, 1, 300] {
            let bytes = many(count);
            let module = Module::new(bytes.clone(), &Features::NEWEST, &Limits::default()).expect("valid");
            let (mut bodies, mut types) = (Vec::new(), Vec::new());
            for payload in wasmparser::Parser::new(0).parse_all(&bytes) {
                match payload.expect("valid") {
                    wasmparser::Payload::CodeSectionEntry(body) => bodies.push(body.range()),
                    wasmparser::Payload::FunctionSection(section) => types.extend(section.into_iter().flatten()),
                    _ => {}
                }
            }
            assert_eq!((bodies.len(), types.len(), module.num_own_funcs() as usize), (count, count, count));
            for (own, (body, ty)) in (0..).zip(bodies.iter().zip(types)) {
                let range = module.body_range(own);
                assert_eq!((range.start.into()..range.end.into(), module.func_type_index(own)), (body.clone(), ty));
            }
        }
    }

    #[test]
    fn a_code_section_that_is_not_full_is_refused_lazily_too() {
        let bytes = many(3);
        let place = find_code(&bytes);
        let reads = |bytes: &[u8]| {
            Module::with(bytes, &Features::NEWEST, &Limits::default(), Validation::Lazy)
                .map_err(|error| error.to_string())
        };
        assert!(reads(&bytes).is_ok());
        for (at, change, why) in [
            (place + 2, 2, "inconsistent lengths"),
            (place + 2, 4, "inconsistent lengths"),
            (place + 3, bytes[place + 3] + 1, ""),
            (place + 3, 0x7f, ""),
        ] {
            let mut changed = bytes.clone();
            changed[at] = change;
            let error = reads(&changed).expect_err("not full");
            assert!(error.starts_with("malformed") && error.contains(why), "{error}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        longer[place + 1] += 1;
        assert!(reads(&longer).expect_err("a byte more").starts_with("malformed"));
    }

    /// Where the code section begins, in a module without other sections than three.
    fn find_code(bytes: &[u8]) -> usize {
        let mut at = 8;
        while bytes[at] != 10 {
            at += 2 + bytes[at + 1] as usize;
        }
        at
    }

    #[test]
    fn a_body_above_the_limit_is_named() {
        let limits = Limits { body_bytes: 200, ..Limits::default() };
        let error = Module::new(many(41), &Features::NEWEST, &limits).expect_err("too long");
        assert!(error.to_string().contains("`body_bytes` of 200"), "{error}");
        assert!(Module::new(many(30), &Features::NEWEST, &limits).is_ok());
    }
}
