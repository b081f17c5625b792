//! `aura inspect`: what a module is and what it would ask for; of artifacts, see [`crate::inspect_artifact`].
//!
//! Which grant an import needs comes from the table of WASI functions, the same one that decides
//! when the program runs.

use std::collections::BTreeSet;
use std::process::ExitCode;

use aura_policy::units::show_bytes;
use aura_runtime::{Action, Config, Engine, ExternType, HostFn, Limits64, Module};
use aura_wasi::WasiCtx;

use crate::args::InspectArgs;
use crate::facts::Facts;
use crate::inspect_artifact;
use crate::layout::{columns, printable};
use crate::load::{Source, is_artifact};
use crate::report::{Failure, print};

/// Shows a module.
///
/// # Errors
/// If the file is no valid module.
pub(crate) fn inspect(args: &InspectArgs) -> Result<ExitCode, Failure> {
    if is_artifact(&args.file) {
        return inspect_artifact::inspect(args);
    }
    let source = Source::read(&args.file)?;
    let mut config = Config::new();
    args.features.apply(&mut config);
    let engine = Engine::new(&config).map_err(|e| Failure::new(format!("no engine: {e}")))?;
    let module = source.module(&engine)?;
    let facts = Facts::read(&source.wasm)
        .map_err(|e| Failure::new(format!("cannot inspect: {}: {e}", source.path.display())))?;
    let parts =
        [overview(&source, &module, &facts), imports(&module), exports(&module), storage(&facts), sections(&facts)];
    print(&parts.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The row of a WASI function, if the import names one.
pub(crate) fn wasi_function(module: &str, name: &str) -> Option<&'static HostFn<WasiCtx>> {
    aura_wasi::find(module, name)
}

/// The grants of which any one allows an action, as they are written.
pub(crate) fn hints(actions: &[Action]) -> String {
    Action::hints(actions).join(" or ")
}

pub(crate) fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn overview(source: &Source, module: &Module, facts: &Facts) -> String {
    let exports = |name: &str| module.exports().any(|e| e.name() == name);
    let kind = if exports("_start") {
        "a command: `aura FILE` runs it"
    } else if exports("_initialize") {
        "a reactor: `aura --invoke NAME FILE` calls its functions"
    } else {
        "a library: `aura --invoke NAME FILE` calls its functions"
    };
    let mut rows = vec![row(&["kind", kind]), row(&["size", &show_bytes(source.wasm.len() as u64)])];
    if let Some(name) = &facts.module_name {
        rows.push(row(&["name", name]));
    }
    if !facts.producers.is_empty() {
        rows.push(row(&["made by", &facts.producers.join(", ")]));
    }
    let functions = format!(
        "{} in {}, the largest {}",
        facts.functions,
        show_bytes(facts.code_bytes),
        show_bytes(facts.largest_function_bytes)
    );
    rows.push(row(&["functions", &functions]));
    rows.push(row(&["globals", &facts.globals.to_string()]));
    rows.push(row(&["data", &format!("{} in {} segments", show_bytes(facts.data_bytes), facts.data_segments)]));
    if let Some(start) = facts.start {
        let name = facts.function_names.get(&start).cloned().unwrap_or_else(|| format!("function {start}"));
        rows.push(row(&["start", &format!("{name}, at instantiation")]));
    }
    format!("{}\n{}", printable(&source.path.display().to_string()), columns(&rows))
}

pub(crate) fn imports(module: &Module) -> String {
    let mut asked = BTreeSet::new();
    let mut rows = Vec::new();
    for import in module.imports() {
        let needs = match wasi_function(import.module(), import.name()) {
            Some(function) if function.actions.is_empty() => "nothing".to_owned(),
            Some(function) => {
                asked.extend(Action::hints(function.actions));
                hints(function.actions)
            }
            None => "not provided by this command".to_owned(),
        };
        rows.push(vec![import.module().to_owned(), import.name().to_owned(), extern_text(import.ty()), needs]);
    }
    if rows.is_empty() {
        return "imports: none; the module asks for nothing\n".to_owned();
    }
    rows.insert(0, row(&["module", "name", "type", "grant it needs"]));
    let asked: Vec<_> = asked.into_iter().collect();
    let asked = if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") };
    format!("imports: {}\n{}grants the module may ask for: {asked}\n", rows.len() - 1, columns(&rows))
}

pub(crate) fn exports(module: &Module) -> String {
    let rows: Vec<_> = module.exports().map(|e| vec![e.name().to_owned(), extern_text(e.ty())]).collect();
    if rows.is_empty() {
        return "exports: none\n".to_owned();
    }
    format!("exports: {}\n{}", rows.len(), columns(&rows))
}

/// A type of something imported or exported, in words.
pub(crate) fn extern_text(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => format!("function {ty}"),
        ExternType::Table(ty) => {
            let index = index_text(ty.table64);
            format!("table of {} elements of {}{index}", limits_text(ty.limits), ty.element)
        }
        ExternType::Memory(ty) => {
            let pages = if ty.page_size_log2 == 0 { "bytes" } else { "pages" };
            let shared = if ty.shared { ", shared" } else { "" };
            format!("memory of {} {pages}{}{shared}", limits_text(ty.limits), index_text(ty.memory64))
        }
        ExternType::Tag(ty) => format!("tag {ty}"),
        ExternType::Global(ty) if ty.mutable => format!("global (mut {})", ty.content),
        ExternType::Global(ty) => format!("global {}", ty.content),
    }
}

/// What is said of indices that are not the usual ones.
fn index_text(is_64: bool) -> &'static str {
    if is_64 { ", 64-bit indices" } else { "" }
}

fn limits_text(limits: Limits64) -> String {
    match limits.max {
        Some(max) if max == limits.min => max.to_string(),
        Some(max) => format!("{} to {max}", limits.min),
        None => format!("{} or more", limits.min),
    }
}

fn storage(facts: &Facts) -> String {
    let list = |what: &str, items: &[String]| {
        if items.is_empty() {
            return format!("{what}: none of its own\n");
        }
        let rows: Vec<_> = items.iter().map(|item| vec![item.clone()]).collect();
        format!("{what}: {}\n{}", items.len(), columns(&rows))
    };
    list("memories", &facts.memories) + &list("tables", &facts.tables)
}

fn sections(facts: &Facts) -> String {
    let mut rows = vec![row(&["section", "offset", "size", "entries"])];
    for section in &facts.sections {
        rows.push(vec![
            section.name.clone(),
            format!("{:#x}", section.bytes.start),
            show_bytes(section.bytes.end - section.bytes.start),
            section.entries.map_or_else(String::new, |entries| entries.to_string()),
        ]);
    }
    format!("sections: {}\n{}", facts.sections.len(), columns(&rows))
}
