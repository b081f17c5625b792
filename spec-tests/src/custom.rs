//! Whether custom sections are what their names say: names, branch hints.
//!
//! For the directives that assert it; the engine itself drops such a section without a word, as the
//! specification asks.

use std::fmt;

use wasmparser::{BranchHintFunction, KnownCustom, Name, NameSectionReader, Operator, Parser, Payload, SectionLimited};

/// What is wrong with a custom section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomFault {
    /// It does not decode.
    Malformed(String),
    /// It decodes, but says something that is not so.
    Invalid(String),
}

impl fmt::Display for CustomFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "a malformed custom section: {why}"),
            Self::Invalid(why) => write!(f, "an invalid custom section: {why}"),
        }
    }
}

impl From<wasmparser::Error> for CustomFault {
    fn from(error: wasmparser::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The section of the branch hinting proposal.
const BRANCH_HINTS: &str = "metadata.code.branch_hint";

type Result<T = ()> = std::result::Result<T, CustomFault>;

fn invalid(why: impl Into<String>) -> CustomFault {
    CustomFault::Invalid(why.into())
}

/// Checks the custom sections of a module that is valid.
///
/// # Errors
/// The first section that is not as its name says.
pub fn check(module: &[u8]) -> Result {
    let mut hints = Vec::new();
    let mut imported = 0;
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::CustomSection(section) => match section.as_known() {
                KnownCustom::Name(names) => check_names(names)?,
                KnownCustom::BranchHints(section) => read_hints(section, &mut hints)?,
                KnownCustom::Unknown if section.name() == BRANCH_HINTS => {
                    return Err(CustomFault::Malformed("branch hints without a count".to_owned()));
                }
                _ => {}
            },
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let ty = import?.ty;
                    imported +=
                        u32::from(matches!(ty, wasmparser::TypeRef::Func(_) | wasmparser::TypeRef::FuncExact(_)));
                }
            }
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }
    for (func, offsets) in hints {
        let body = func.checked_sub(imported).and_then(|own| bodies.get(own as usize));
        let body = body.ok_or_else(|| invalid(format!("branch hints for function {func}, which has no body")))?;
        check_targets(body, &offsets)?;
    }
    Ok(())
}

fn check_names(names: NameSectionReader<'_>) -> Result {
    for subsection in names {
        match subsection? {
            Name::Module { .. } | Name::Unknown { .. } => {}
            Name::Local(map) | Name::Label(map) | Name::Field(map) | Name::Parameter(map) | Name::TagParameter(map) => {
                for naming in map {
                    naming?.names.into_iter().try_for_each(|name| name.map(drop))?;
                }
            }
            Name::Function(map)
            | Name::Type(map)
            | Name::Table(map)
            | Name::Memory(map)
            | Name::Global(map)
            | Name::Element(map)
            | Name::Data(map)
            | Name::Tag(map) => map.into_iter().try_for_each(|name| name.map(drop))?,
        }
    }
    Ok(())
}

/// The offsets of hints by function, in order.
fn read_hints(section: SectionLimited<'_, BranchHintFunction<'_>>, found: &mut Vec<(u32, Vec<u32>)>) -> Result {
    for function in section {
        let function = function?;
        if found.last().is_some_and(|(before, _)| *before >= function.func) {
            return Err(CustomFault::Malformed("functions with branch hints are not in order".to_owned()));
        }
        let mut offsets: Vec<u32> = Vec::new();
        for hint in function.hints {
            let hint = hint?;
            if offsets.last().is_some_and(|before| *before >= hint.func_offset) {
                return Err(CustomFault::Malformed("branch hints are not in order".to_owned()));
            }
            offsets.push(hint.func_offset);
        }
        found.push((function.func, offsets));
    }
    Ok(())
}

/// Checks that each offset, from the start of the body, is that of a branch that may be taken or not.
fn check_targets(body: &wasmparser::FunctionBody<'_>, offsets: &[u32]) -> Result {
    let start = body.range().start;
    let mut branches = Vec::new();
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let offset = reader.original_position() - start;
        if matches!(reader.read()?, Operator::If { .. } | Operator::BrIf { .. }) {
            branches.push(offset);
        }
    }
    match offsets.iter().find(|offset| !branches.contains(&u64::from(**offset))) {
        Some(offset) => Err(invalid(format!("invalid target: a branch hint at {offset:#x}, where no branch is"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<CustomFault> {
        check(&wat::parse_str(text).expect("the test's module")).err()
    }

    #[test]
    fn hints_belong_to_branches() {
        let hinted = |at: &str| {
            format!(
                "(module (import \"\" \"\" (func)) (func (param i32) local.get 0 {at} if nop end local.get 0 drop))"
            )
        };
        let hint = "(@metadata.code.branch_hint \"\\01\")";
        assert_eq!(fault(&hinted(hint)), None);
        let misplaced = format!("(module (func (param i32) {hint} local.get 0 drop))");
        assert!(matches!(fault(&misplaced), Some(CustomFault::Invalid(why)) if why.contains("invalid target")));
    }

    #[test]
    fn sections_that_do_not_decode_are_malformed() {
        let bad = |name: &str, bytes: &str| fault(&format!("(module (@custom \"{name}\" \"{bytes}\"))"));
        assert!(matches!(bad("name", "\\01\\7f"), Some(CustomFault::Malformed(_))));
        assert!(matches!(bad("metadata.code.branch_hint", "\\01"), Some(CustomFault::Malformed(_))));
        assert!(matches!(bad("metadata.code.branch_hint", "\\01\\07\\00"), Some(CustomFault::Invalid(_))));
        assert_eq!(bad("else", "anything"), None);
    }
}
