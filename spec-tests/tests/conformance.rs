//! Holds the README's table to the suite: a row for each set, and in each the numbers of its scripts and directives.
//!
//! `cargo run --release -- wast --bundled --engine all --bounds all --table README.md` makes the table from a run.

use std::fs;
use std::path::Path;

use aura_spec_tests::bundled::{self, BundledSet};
use aura_spec_tests::conformance;
use wast::Wast;
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};

fn directives(text: &str) -> usize {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).expect("bundled scripts are text");
    parser::parse::<Wast<'_>>(&buffer).expect("bundled scripts parse").directives.len()
}

/// What the table says of a set of which everything passed on all three engines.
fn full_row(set: &BundledSet) -> (String, Vec<String>) {
    let scripts = set.scripts();
    let all: usize = scripts.iter().map(|script| directives(script.text.as_ref().expect("bundled"))).sum();
    let mut numbers = vec![scripts.len().to_string()];
    numbers.extend(std::iter::repeat_n(all.to_string(), 3));
    (set.name(), numbers)
}

#[test]
fn the_readme_has_every_set_with_every_directive_passed() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("the README");
    let shown = conformance::rows(&readme).expect("the README has the marks of the table");
    let full: Vec<_> = bundled::sets().iter().map(full_row).collect();
    assert_eq!(shown, full, "cargo run --release -- wast --bundled --engine all --bounds all --table README.md");
}
