//! Writes what criterion measured as Markdown: the machine, the versions, and a table of medians
//! for each group of a bench.
//!
//!     cargo run --release -p aura-benches --bin record -- first [NOTE] > benches/record/DATE-first.md

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use aura_benches::machine::{self, time};
use serde_json::Value;

/// One line of criterion's: what was measured and its median with the bounds of its confidence interval.
struct Measured {
    group: String,
    contender: String,
    guest: String,
    median_ns: f64,
    low_ns: f64,
    high_ns: f64,
}

fn main() -> ExitCode {
    let Some(bench) = env::args().nth(1) else {
        eprintln!("usage: record BENCH [NOTE]");
        return ExitCode::from(2);
    };
    match record(&bench, env::args().nth(2).as_deref()) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("record: {error}");
            ExitCode::FAILURE
        }
    }
}

fn record(bench: &str, note: Option<&str>) -> Result<String, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut measured = Vec::new();
    collect(&target.join("criterion"), &format!("{bench}/"), &mut measured)?;
    if measured.is_empty() {
        return Err(format!("nothing was measured; run `cargo bench -p aura-benches --bench {bench}` first").into());
    }
    let mut out = format!("# Bench `{bench}`\n\n");
    machine::describe(&mut out).map_err(|error| error.to_string())?;
    let _ = writeln!(out, "| command | `cargo bench -p aura-benches --bench {bench}` |");
    if let Some(note) = note {
        let _ = writeln!(out, "| note | {note} |");
    }
    out.push_str("\nMedians; in brackets the bounds of their 95 % confidence intervals.\n");
    let mut groups: BTreeMap<&str, Vec<&Measured>> = BTreeMap::new();
    for one in &measured {
        groups.entry(&one.group).or_default().push(one);
    }
    for (name, lines) in groups {
        table(&mut out, name, &lines);
    }
    Ok(out)
}

/// Reads every result below `folder` whose group begins with `prefix`.
fn collect(folder: &Path, prefix: &str, measured: &mut Vec<Measured>) -> Result<(), Box<dyn Error>> {
    let benchmark = folder.join("new/benchmark.json");
    if benchmark.exists() {
        measured.extend(read_result(&benchmark, &folder.join("new/estimates.json"), prefix)?);
        return Ok(());
    }
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, prefix, measured)?;
        }
    }
    Ok(())
}

fn read_result(benchmark: &Path, estimates: &Path, prefix: &str) -> Result<Option<Measured>, Box<dyn Error>> {
    let benchmark: Value = serde_json::from_str(&fs::read_to_string(benchmark)?)?;
    let text = |key: &str| benchmark[key].as_str().unwrap_or_default().to_owned();
    let Some(group) = text("group_id").strip_prefix(prefix).map(str::to_owned) else {
        return Ok(None);
    };
    let estimates: Value = serde_json::from_str(&fs::read_to_string(estimates)?)?;
    let elements = benchmark["throughput"]["Elements"].as_f64().unwrap_or(1.0);
    let median = &estimates["median"];
    let ns = |value: &Value| value.as_f64().map(|ns| ns / elements).ok_or("criterion's estimates have no median");
    Ok(Some(Measured {
        group,
        contender: text("function_id"),
        guest: text("value_str"),
        median_ns: ns(&median["point_estimate"])?,
        low_ns: ns(&median["confidence_interval"]["lower_bound"])?,
        high_ns: ns(&median["confidence_interval"]["upper_bound"])?,
    }))
}

/// A row for each contender, a column for each guest.
fn table(out: &mut String, name: &str, lines: &[&Measured]) {
    let mut guests: Vec<&str> = lines.iter().map(|line| line.guest.as_str()).collect();
    guests.sort_unstable();
    guests.dedup();
    let mut contenders: Vec<&str> = lines.iter().map(|line| line.contender.as_str()).collect();
    contenders.sort_unstable();
    contenders.dedup();
    let _ = writeln!(out, "\n## {name}\n\n| | {} |\n|---|{}", guests.join(" | "), "---:|".repeat(guests.len()));
    for contender in contenders {
        let cells = guests.iter().map(|guest| {
            let found = lines.iter().find(|line| line.contender == contender && line.guest == *guest);
            found.map_or_else(|| "-".to_owned(), |line| cell(line))
        });
        let _ = writeln!(out, "| {contender} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

fn cell(line: &Measured) -> String {
    format!("{} ({} to {})", time(line.median_ns), time(line.low_ns), time(line.high_ns))
}
