//! Writes what criterion measured as Markdown: the machine, the versions, and a table of medians
//! for each group of a bench.
//!
//!     cargo run --release -p aura-benches --bin record -- first [NOTE] > benches/record/DATE-first.md

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

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
    machine(&mut out, &root)?;
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

/// Three digits and a unit.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// Where and with what it was measured.
fn machine(out: &mut String, root: &Path) -> Result<(), Box<dyn Error>> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let memory = fs::read_to_string("/proc/meminfo")?;
    let rows = [
        ("date", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("revision", output("git", &["-C", &root.display().to_string(), "describe", "--always", "--dirty"])),
        ("processor", model.trim_start_matches([' ', '\t', ':']).to_owned()),
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("memory", memory.lines().next().unwrap_or_default().replace("MemTotal:", "").trim().to_owned()),
        ("kernel", output("uname", &["-sr"])),
        ("load when recorded", fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" ")),
        ("compiler", output("rustc", &["--version"])),
        ("crates", versions(root)?),
    ];
    out.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(out, "| {name} | {value} |");
    }
    Ok(())
}

/// What a command prints on its first line, or that it is unknown.
fn output(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

/// The versions of the engines and of criterion, from the lock file.
fn versions(root: &Path) -> Result<String, Box<dyn Error>> {
    let lock = fs::read_to_string(root.join("Cargo.lock"))?;
    let mut found = Vec::new();
    for name in ["aura-runtime", "cranelift-codegen", "wasmtime", "wasmi", "criterion"] {
        let entry = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1);
        let version = entry.and_then(|rest| rest.split('"').next()).unwrap_or("unknown");
        found.push(format!("{name} {version}"));
    }
    Ok(found.join(", "))
}
