//! The table of sets by engines: how many directives passed, as the README shows it.
//!
//! A set is the folder of a script's name. A directive counts for an engine if it passed in every
//! bounds mode the engine was run in.

use std::fmt::Write as _;

use aura_runtime::Strategy;

use crate::report::{DirectiveOutcome, FileOutcome};
use crate::suite::Mode;

/// Where a document has the table.
const BEGIN: &str = "<!-- conformance: begin -->\n";
const END: &str = "<!-- conformance: end -->";

/// Passed and failed directives of one set on one engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cell {
    passed: usize,
    directives: usize,
}

/// What a run came to, by sets and engines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conformance {
    engines: Vec<Strategy>,
    /// A set, its files, and a cell for each engine.
    rows: Vec<(String, usize, Vec<Cell>)>,
}

impl Conformance {
    /// Sums up the outcomes of some scripts in several modes; each mode has all scripts, in the same order.
    #[must_use]
    pub fn new(modes: &[(Mode, Vec<FileOutcome>)]) -> Self {
        let mut engines: Vec<Strategy> = Vec::new();
        for (mode, _) in modes {
            if !engines.contains(&mode.strategy) {
                engines.push(mode.strategy);
            }
        }
        let mut table = Self { engines, rows: Vec::new() };
        let scripts = modes.first().map_or(0, |(_, outcomes)| outcomes.len());
        for script in 0..scripts {
            table.add(script, modes);
        }
        table
    }

    fn add(&mut self, script: usize, modes: &[(Mode, Vec<FileOutcome>)]) {
        let set = set_of(&modes[0].1[script].name);
        if self.rows.last().is_none_or(|(last, ..)| last != set) {
            self.rows.push((set.to_owned(), 0, vec![Cell::default(); self.engines.len()]));
        }
        let (_, files, cells) = self.rows.last_mut().expect("a row was just made sure of");
        *files += 1;
        for (engine, cell) in self.engines.iter().zip(cells) {
            let runs: Vec<_> = modes
                .iter()
                .filter(|(mode, _)| mode.strategy == *engine)
                .map(|(_, outcomes)| &outcomes[script])
                .collect();
            let directives = runs.iter().map(|run| run.directives.len()).max().unwrap_or(0);
            let passes =
                |index: &usize| runs.iter().all(|run| run.directives.get(*index).is_some_and(DirectiveOutcome::passed));
            cell.directives += directives;
            cell.passed += (0..directives).filter(passes).count();
        }
    }

    /// The names of the sets, in order.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|(set, ..)| set.as_str())
    }

    /// The table in Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::from("| set | files |");
        self.engines.iter().for_each(|engine| text.push_str(&format!(" {} |", engine_name(*engine))));
        text.push_str("\n|---|--:|");
        self.engines.iter().for_each(|_| text.push_str("--:|"));
        text.push('\n');
        for (set, files, cells) in &self.rows {
            let _ = write!(text, "| {set} | {files} |");
            for cell in cells {
                let _ = match cell.passed == cell.directives {
                    true => write!(text, " {} |", cell.passed),
                    false => write!(text, " {} of {} |", cell.passed, cell.directives),
                };
            }
            text.push('\n');
        }
        text
    }
}

const fn engine_name(engine: Strategy) -> &'static str {
    match engine {
        Strategy::Interpreter => "interpreter",
        Strategy::Jit => "JIT",
        Strategy::Auto => "auto",
    }
}

fn set_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The document with `table` between its markers.
///
/// # Errors
/// If the document has no markers.
pub fn insert(document: &str, table: &str) -> Result<String, String> {
    let (before, after) = split(document)?;
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

/// The sets that a document's table has rows of, with the numbers in each.
///
/// # Errors
/// If the document has no markers.
pub fn rows(document: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let (before, after) = split(document)?;
    let table = &document[before.len()..document.len() - after.len()];
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(2);
    Ok(lines.map(cells).map(|mut row| (row.remove(0), row)).collect())
}

/// What stands before and after the markers.
fn split(document: &str) -> Result<(&str, &str), String> {
    let missing = || format!("the document has no lines `{}` and `{END}`", BEGIN.trim_end());
    let (before, rest) = document.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok((before, after))
}

#[cfg(test)]
mod tests {
    use aura_runtime::Bounds;

    use super::*;
    use crate::report::DirectiveOutcome;

    fn outcome(name: &str, passed: &[bool]) -> FileOutcome {
        let directive = |passed: &bool| DirectiveOutcome {
            line: 1,
            kind: "module",
            failure: (!passed).then(|| "no".to_owned()),
            gated: false,
        };
        FileOutcome { name: name.into(), edition: "2.0".into(), directives: passed.iter().map(directive).collect() }
    }

    #[test]
    fn a_directive_counts_if_it_passed_in_every_bounds_mode() {
        let run = |strategy, bounds, first: &[bool]| {
            (Mode::new(strategy, bounds), vec![outcome("a/x.wast", first), outcome("b/y.wast", &[true])])
        };
        let table = Conformance::new(&[
            run(Strategy::Interpreter, Bounds::Guard, &[true, true, true]),
            run(Strategy::Jit, Bounds::Guard, &[true, false, true]),
            run(Strategy::Jit, Bounds::Explicit, &[true, true, false]),
        ]);
        let text =
            "| set | files | interpreter | JIT |\n|---|--:|--:|--:|\n| a | 1 | 3 | 1 of 3 |\n| b | 1 | 1 | 1 |\n";
        assert_eq!(table.to_markdown(), text);
        assert_eq!(table.sets().collect::<Vec<_>>(), ["a", "b"]);

        let document = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let renewed = insert(&document, &table.to_markdown()).expect("it has markers");
        assert!(renewed.starts_with("before\n") && renewed.ends_with("\nafter\n") && !renewed.contains("old"));
        let numbers = |numbers: &[&str]| numbers.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            rows(&renewed).expect("it has markers"),
            [("a".to_owned(), numbers(&["1", "3", "1 of 3"])), ("b".to_owned(), numbers(&["1", "1", "1"]))]
        );
        assert!(insert("nothing", "").is_err());
    }
}
