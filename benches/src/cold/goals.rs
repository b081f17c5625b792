//! What the comparison is to show: ratios within one run, each with its bound.

use std::fmt::Write as _;

use super::guests::Guest;
use super::measure::{Cell, Table};

/// The time of one engine as a share of another's, for some guests of a table.
struct Goal {
    table: &'static str,
    /// Whether it is for this guest.
    is_for: fn(&Guest) -> bool,
    ours: &'static str,
    theirs: &'static str,
    at_most: f64,
    /// Why it may not be reached, as far as is known.
    cause: &'static str,
}

const LARGE: usize = 500_000;
const PARALLEL: usize = 256 << 10;

const GOALS: &[Goal] = &[
    Goal {
        table: "raw bytes to first result",
        is_for: |guest| guest.name.starts_with("one-function"),
        ours: "aura auto",
        theirs: "wasmi lazy",
        at_most: 1.0,
        cause: "",
    },
    Goal {
        table: "raw bytes to first result",
        is_for: |guest| guest.name == "one-function",
        ours: "aura auto",
        theirs: "wasmtime serial",
        at_most: 1.0 / 60.0,
        cause: "",
    },
    Goal {
        table: "raw bytes to first result",
        is_for: |guest| guest.name == "one-function",
        ours: "aura auto",
        theirs: "wasmtime",
        at_most: 1.0 / 150.0,
        cause: "more than half of our time is wasmparser's own reading and validation, and Wasmtime's time by default differs by a \
                factor of two between runs, with how fast the system wakes threads",
    },
    Goal {
        table: "bytes to ready",
        is_for: |guest| guest.wasm.len() < PARALLEL,
        ours: "aura auto",
        theirs: "wasmparser alone",
        at_most: 1.25,
        cause: "most sections of a module are read twice, by the validator and into our own form",
    },
    Goal {
        table: "bytes to ready",
        is_for: |guest| guest.wasm.len() >= PARALLEL,
        ours: "aura auto",
        theirs: "wasmparser alone",
        at_most: 1.0,
        cause: "the second core was not free, or there is none",
    },
    Goal { table: "bytes to ready", is_for: |_| true, ours: "aura auto", theirs: "wasmi", at_most: 1.0, cause: "" },
    Goal {
        table: "bytes to ready",
        is_for: |guest| guest.wasm.len() >= LARGE,
        ours: "aura auto lazy",
        theirs: "wasmi lazy",
        at_most: 0.25,
        cause: "all but bodies is validated before: the type of each function is looked up, and small functions weigh more",
    },
    Goal {
        table: "real programs, total time",
        is_for: |_| true,
        ours: "aura auto",
        theirs: "wasmtime",
        at_most: 0.05,
        cause: "the program computes for most of its time, in the interpreter until what is hot is compiled: neither module nor \
                memory take long",
    },
    Goal {
        table: "real programs, total time",
        is_for: |_| true,
        ours: "aura auto",
        theirs: "wasmi",
        at_most: 1.0,
        cause: "interpreted code takes as long on both, and functions that are hot are compiled in vain when the program ends so soon, \
                on a core that the program may need",
    },
];

/// The goals as lines of Markdown: what was reached, and why not where it was not.
pub(crate) fn lines(out: &mut String, guests: &[Guest], tables: &[Table]) {
    let (mut rows, mut causes) = (String::new(), Vec::new());
    for goal in GOALS {
        let Some(table) = tables.iter().find(|table| table.title == goal.table) else { continue };
        for (index, name) in table.guests.iter().enumerate() {
            if !guests.iter().any(|guest| guest.name == *name && (goal.is_for)(guest)) {
                continue;
            }
            let Some(share) = share(table, index, goal) else { continue };
            let met = share <= goal.at_most;
            if !met && !goal.cause.is_empty() && !causes.contains(&goal.cause) {
                causes.push(goal.cause);
            }
            let Goal { table: title, ours, theirs, at_most, .. } = goal;
            let said = if met { "met" } else { "falls short" };
            let _ = writeln!(rows, "| {title}: {ours} / {theirs} | {name} | {share:.4} | {at_most:.4} | {said} |");
        }
    }
    if rows.is_empty() {
        return;
    }
    out.push_str("\n## what is to show\n\nOur time as a share of another's, in this run.\n\n");
    out.push_str("| figure | guest | share | at most | |\n|---|---|---:|---:|---|\n");
    out.push_str(&rows);
    if !causes.is_empty() {
        out.push_str("\nWhere it falls short, what is known of the cause:\n\n");
        causes.iter().for_each(|cause| out.push_str(&format!("- {cause}\n")));
    }
}

fn share(table: &Table, guest: usize, goal: &Goal) -> Option<f64> {
    let median = |engine: &str| {
        let (_, cells) = table.rows.iter().find(|(name, _)| *name == engine)?;
        match &cells[guest] {
            Cell::Measured(summary) => Some(summary.median),
            Cell::Not(_) => None,
        }
    };
    Some(median(goal.ours)? / median(goal.theirs)?)
}
