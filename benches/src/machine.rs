//! The machine that a comparison runs on, and the versions of what it compares: every record begins with them.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A table of [`facts`] in Markdown.
///
/// # Errors
/// As there.
pub fn describe(out: &mut String) -> Result<(), Box<dyn Error + Send + Sync>> {
    out.push_str("| | |\n|---|---|\n");
    for (name, value) in facts()? {
        let _ = writeln!(out, "| {name} | {value} |");
    }
    Ok(())
}

/// Where and with what it is measured.
///
/// # Errors
/// If the system does not say what it runs on, or there is no lock file.
pub fn facts() -> Result<Vec<(&'static str, String)>, Box<dyn Error + Send + Sync>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let memory = fs::read_to_string("/proc/meminfo")?;
    Ok(vec![
        ("date", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("revision", output("git", &["-C", &root.display().to_string(), "describe", "--always", "--dirty"])),
        ("processor", model.trim_start_matches([' ', '\t', ':']).to_owned()),
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("memory", memory.lines().next().unwrap_or_default().replace("MemTotal:", "").trim().to_owned()),
        ("kernel", output("uname", &["-sr"])),
        ("load when recorded", fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" ")),
        ("compiler", output("rustc", &["--version"])),
        ("crates", versions(&root)?),
    ])
}

/// Three digits and a unit.
#[must_use]
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// What a command prints on its first line, or that it is unknown.
#[must_use]
pub fn output(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

/// The versions of the engines and of criterion, from the lock file.
fn versions(root: &Path) -> Result<String, Box<dyn Error + Send + Sync>> {
    let lock = fs::read_to_string(root.join("Cargo.lock"))?;
    let mut found = Vec::new();
    for name in ["aura-runtime", "cranelift-codegen", "wasmtime", "wasmi", "criterion"] {
        let entry = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1);
        let version = entry.and_then(|rest| rest.split('"').next()).unwrap_or("unknown");
        found.push(format!("{name} {version}"));
    }
    Ok(found.join(", "))
}
