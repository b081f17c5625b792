//! Refusals of what the official suite says is malformed, invalid or unlinkable: each names the rule that
//! was broken and where. The kinds are held by the suite itself.

use std::collections::HashSet;

use aura_runtime::{Config, Engine, ErrorKind, Module, Strategy};
use aura_spec_tests::bundled;
use aura_spec_tests::suite::ScriptSource;
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective};

/// Messages that would not tell anybody what to mend.
const EMPTY_WORDS: [&str; 8] =
    ["error", "invalid", "malformed", "failed", "bad module", "unknown", "unexpected", "unsupported"];

fn engine(script: &ScriptSource) -> Option<Engine> {
    let mut config = Config::new();
    config.strategy(Strategy::Interpreter).features(script.edition.features().ok()?);
    Some(Engine::new(&config).expect("an engine"))
}

/// The bytes of each module that a script says is refused; text that does not parse has none.
fn refused_modules(script: &ScriptSource) -> Vec<(usize, Vec<u8>)> {
    let text = script.text.as_ref().expect("bundled scripts are there");
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).expect("bundled scripts are text");
    let wast: Wast<'_> = parser::parse(&buffer).expect("bundled scripts parse");
    let mut modules = Vec::new();
    for directive in wast.directives {
        let line = directive.span().linecol_in(text).0 + 1;
        if let WastDirective::AssertMalformed { mut module, .. } | WastDirective::AssertInvalid { mut module, .. } =
            directive
            && let Ok(bytes) = QuoteWat::encode(&mut module)
        {
            modules.push((line, bytes));
        }
    }
    modules
}

fn check_message(place: &str, message: &str) {
    let rule = message.split_once(": ").map_or(message, |(_, rule)| rule);
    let rule = rule.split_once(" (at offset").map_or(rule, |(rule, _)| rule);
    assert!(rule.split_whitespace().count() >= 2, "{place}: {message:?} names no rule");
    assert!(!EMPTY_WORDS.contains(&rule), "{place}: {message:?} names no rule");
    assert!(message.contains("0x"), "{place}: {message:?} says not where");
    assert!(!rule.contains("Some(") && !rule.contains("None"), "{place}: {message:?} is not for people");
}

#[test]
fn every_refusal_names_the_rule_and_the_place() {
    let (mut refused, mut messages) = (0, HashSet::new());
    for set in bundled::sets() {
        for script in set.scripts() {
            let Some(engine) = engine(&script) else { continue };
            for (line, bytes) in refused_modules(&script) {
                let place = format!("{}:{line}", script.name);
                // What a script of a later version asserts is held where the script is run.
                let Err(error) = Module::from_binary(&engine, &bytes) else { continue };
                assert!(
                    matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Invalid | ErrorKind::Unsupported),
                    "{place}: {error}"
                );
                check_message(&place, &error.to_string());
                refused += 1;
                messages.insert(error.to_string());
            }
        }
    }
    assert!(refused > 5_000, "only {refused} modules were refused");
    assert!(messages.len() > 500, "only {} different messages", messages.len());
}

/// An import that is not there, or is of another type: the message names it, and both types.
#[test]
fn what_cannot_be_linked_is_named() {
    let engine = Engine::default();
    let mut store = aura_runtime::Store::new(&engine, ());
    let mut linker: aura_runtime::Linker<()> = aura_runtime::Linker::new(&engine);
    aura_spec_tests::spectest::define(&mut linker, &mut store).expect("the host module");
    for (import, words) in [
        (r#"(import "nowhere" "nothing" (func))"#, &["nowhere", "nothing"][..]),
        (r#"(import "spectest" "print_i32" (func (param i64)))"#, &["spectest", "print_i32", "i32", "i64"]),
        (r#"(import "spectest" "global_i32" (global f32))"#, &["spectest", "global_i32", "i32", "f32"]),
        (r#"(import "spectest" "memory" (memory 3))"#, &["spectest", "memory", "3"]),
        (r#"(import "spectest" "table" (table 11 funcref))"#, &["spectest", "table", "11"]),
        (r#"(import "spectest" "memory" (func))"#, &["spectest", "memory", "func"]),
    ] {
        let module = Module::new(&engine, format!("(module {import})")).expect("the module is valid");
        let error = linker.instantiate(&mut store, &module).expect_err(import);
        assert_eq!(error.kind(), ErrorKind::Link, "{import}: {error}");
        for word in words {
            assert!(error.to_string().contains(word), "{import}: {error} does not say {word}");
        }
    }
}
