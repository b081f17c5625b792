//! Prints the size of the trusted base as Markdown: lines of code per crate, and where unsafe code
//! stands. With a file's name, replaces what stands there between the two marks.
//!
//!     cargo run -p aura-spec-tests --example trusted_base [-- SECURITY.md]

#[path = "../tests/source/mod.rs"]
mod source;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use source::{code_lines, code_of, count_word, files, shown, without_tests};

/// The crates whose faults a guest could use.
const TRUSTED: &[&str] = &["host-abi", "validator", "jit", "runtime", "wasi"];

const BEGIN: &str = "<!-- trusted base: begin -->\n";
const END: &str = "<!-- trusted base: end -->";

fn main() -> ExitCode {
    let tables = format!("{}\n{}", crates_table(), unsafe_table());
    let Some(path) = env::args().nth(1) else {
        print!("{tables}");
        return ExitCode::SUCCESS;
    };
    match replace_in(&path, &tables) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trusted_base: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Puts the tables between the marks.
fn replace_in(path: &str, tables: &str) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let (before, rest) = text.split_once(BEGIN).ok_or_else(|| format!("no mark `{}`", BEGIN.trim()))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("no mark `{END}`"))?;
    fs::write(path, format!("{before}{BEGIN}{tables}{END}{after}")).map_err(|error| error.to_string())
}

/// The unsafe code of a text: blocks, and functions, implementations or externs that are declared so.
fn unsafe_counts(text: &str) -> (usize, usize) {
    let code = code_of(text);
    let spread = code.replace('{', " { ");
    let words: Vec<&str> = spread.split_whitespace().collect();
    let blocks = words.windows(2).filter(|pair| pair[0].ends_with("unsafe") && pair[1] == "{").count();
    let all = count_word(&code, "unsafe");
    (blocks, all - blocks)
}

/// The part of a file that is not unit tests.
fn product_of<'a>(path: &Path, text: &'a str) -> &'a str {
    let is_test = shown(path).split('/').any(|part| ["tests", "tests.rs", "testing.rs"].contains(&part));
    if is_test { "" } else { without_tests(text) }
}

fn crates_table() -> String {
    let mut table =
        "| crate | files | lines of code | lines of unit tests | unsafe blocks | unsafe items |\n".to_owned();
    table.push_str("|---|---:|---:|---:|---:|---:|\n");
    let mut totals = [0; 5];
    for name in TRUSTED {
        let mut row = [0; 5];
        for path in files(&format!("{name}/src"), &[".rs"]) {
            let text = fs::read_to_string(&path).expect("a source is text");
            let product = product_of(&path, &text);
            let (blocks, items) = unsafe_counts(product);
            let counts = [1, code_lines(product), code_lines(&text) - code_lines(product), blocks, items];
            row.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        totals.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        push_row(&mut table, &format!("`{name}`"), row);
    }
    push_row(&mut table, "together", totals);
    table
}

fn push_row(table: &mut String, name: &str, counts: [usize; 5]) {
    let cells: Vec<String> = counts.iter().map(ToString::to_string).collect();
    let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
}

fn unsafe_table() -> String {
    let mut table = "| file with unsafe code | blocks | items |\n|---|---:|---:|\n".to_owned();
    for name in TRUSTED {
        for path in files(&format!("{name}/src"), &[".rs"]) {
            let text = fs::read_to_string(&path).expect("a source is text");
            let (blocks, items) = unsafe_counts(product_of(&path, &text));
            if blocks + items > 0 {
                let _ = writeln!(table, "| `{}` | {blocks} | {items} |", shown(&path));
            }
        }
    }
    table
}
