//! The report: a table in the terminal, a record in Markdown, a page in HTML.

use std::fmt::Write as _;
use std::fs;

use aura_benches::Outcome;
use aura_benches::machine;

use super::Options;
use super::curve::{self, Curve};
use super::engines::ColdEngine;
use super::goals;
use super::guests::Guest;
use super::html;
use super::measure::{Cell, Table, Unit};

/// What the comparison holds itself to.
pub(crate) const RULES: &[&str] = &[
    "Every engine gets the same bytes and the same host, in one run, built with one profile.",
    "Rounds are interleaved: each engine has its turn in each round. A figure is the median; quartiles stand beside it in the page.",
    "The mode of each engine is stated. No engine has a cache, except where a table says that the module is known.",
    "Making the engine is outside the clock, and so is dropping; linking is inside. Whole processes have everything inside.",
    "The rival is shown in its best mode for the case too: Wasmtime serial for small modules, precompiled for known ones, wasmi lazy.",
    "Real programs run with each engine's own WASI. A validator alone, wasmparser's, stands beside those that have a module without compiling it.",
    "RUST_BACKTRACE is unset. Fuel, epochs and deadlines are off everywhere.",
    "Ratios are to be read within one run; figures of different machines and days are not comparable.",
];

/// Prints the tables and writes the record and the page.
pub(crate) fn write(
    options: &Options,
    engines: &[Box<dyn ColdEngine>],
    guests: &[Guest],
    tables: &[Table],
    curves: &[Curve],
) -> Outcome<()> {
    let text = markdown(engines, guests, tables, curves)?;
    println!("{text}");
    let date = machine::output("date", &["-u", "+%Y-%m-%d"]);
    fs::create_dir_all(&options.out)?;
    let (record, page) =
        (options.out.join(format!("{date}-cold-start.md")), options.out.join(format!("{date}-cold-start.html")));
    fs::write(&record, &text)?;
    fs::write(&page, html::page(engines, guests, tables, curves)?)?;
    println!("written: {} and {}", record.display(), page.display());
    Ok(())
}

fn markdown(engines: &[Box<dyn ColdEngine>], guests: &[Guest], tables: &[Table], curves: &[Curve]) -> Outcome<String> {
    let mut out = String::from("# Comparison `cold-start`\n\n");
    machine::describe(&mut out)?;
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let _ = writeln!(out, "| command | `cargo run --release -p aura-benches -- {}` |", asked.join(" "));
    out.push_str("\n## Rules\n\n");
    RULES.iter().for_each(|rule| out.push_str(&format!("- {rule}\n")));
    out.push_str("\n## Engines\n\n| engine | mode |\n|---|---|\n");
    for engine in engines {
        let _ = writeln!(out, "| {} | {} |", engine.name(), engine.mode());
    }
    out.push_str("\n## Guests\n\n| guest | bytes |\n|---|---:|\n");
    for guest in guests {
        let _ = writeln!(out, "| {} | {} |", guest.name, guest.wasm.len());
    }
    for table in tables {
        add_table(&mut out, table);
    }
    goals::lines(&mut out, guests, tables);
    add_curves(&mut out, curves);
    Ok(out)
}

fn add_table(out: &mut String, table: &Table) {
    let _ = writeln!(out, "\n## {}\n\n{}\n", table.title, table.what);
    let _ = writeln!(out, "| | {} |", table.guests.join(" | "));
    let _ = writeln!(out, "|---|{}", "---:|".repeat(table.guests.len()));
    for (engine, cells) in &table.rows {
        let cells: Vec<_> = cells.iter().map(|cell| show(cell, table.unit)).collect();
        let _ = writeln!(out, "| {engine} | {} |", cells.join(" | "));
    }
    for (engine, cells) in &table.rows {
        for (guest, cell) in table.guests.iter().zip(cells) {
            if let Cell::Not(why) = cell
                && why != KEEPS_NOTHING
            {
                let _ = writeln!(out, "\n{engine}, {guest}: {why}");
            }
        }
    }
}

const KEEPS_NOTHING: &str = "keeps nothing";

fn show(cell: &Cell, unit: Unit) -> String {
    match cell {
        Cell::Measured(summary) => quantity(summary.median, unit),
        Cell::Not(_) => "-".to_owned(),
    }
}

/// A figure with its unit.
pub(crate) fn quantity(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds => machine::time(value),
        Unit::Bytes => format!("{:.1} MiB", value / (1 << 20) as f64),
    }
}

/// Work after these times.
const MOMENTS: &[(&str, f64)] = &[("1 ms", 1e-3), ("10 ms", 1e-2), ("100 ms", 0.1), ("the end", f64::INFINITY)];

fn add_curves(out: &mut String, curves: &[Curve]) {
    let _ = writeln!(
        out,
        "\n## work done over time\n\nUnits of work done since the bytes were there; a unit is {}.\n",
        curve::WORK
    );
    let heads: Vec<_> = MOMENTS.iter().map(|(name, _)| *name).collect();
    let _ = writeln!(out, "| | {} |\n|---|{}", heads.join(" | "), "---:|".repeat(heads.len()));
    for curve in curves {
        let done = |until: f64| curve.points.iter().take_while(|point| point.0 <= until).last().map_or(0.0, |p| p.1);
        let cells: Vec<_> = MOMENTS.iter().map(|(_, until)| done(*until).to_string()).collect();
        let _ = writeln!(out, "| {} | {} |", curve.engine, cells.join(" | "));
    }
}
