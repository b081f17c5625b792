//! `aura inspect` of an artifact: what it is of, who made it and what for, and whether anything in it was changed.

use std::process::ExitCode;

use aura_policy::Digest;
use aura_policy::units::show_bytes;
use aura_runtime::{Artifact, ArtifactInfo, ArtifactKind, Config, Engine, Error};

use crate::args::InspectArgs;
use crate::cache;
use crate::inspect::{exports, imports, row};
use crate::layout::{columns, printable};
use crate::report::{Failure, print};

/// Shows an artifact.
///
/// # Errors
/// If there is no key, the artifact is not one of it, or it was changed anywhere.
pub(crate) fn inspect(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let key = cache::key(args.key.as_deref())?;
    let refused = |error: Error| {
        Failure::new(error.to_string())
            .help("make it again from the module, by `aura compile`; --key FILE names the key that it was made with")
    };
    let mut config = Config::new();
    args.features.apply(&mut config);
    let engine = Engine::new(&config).map_err(|e| Failure::new(format!("no engine: {e}")))?;
    let artifact = Artifact::open(&args.file, &key).map_err(refused)?;
    let info = artifact.about().map_err(refused)?;
    let name = printable(&args.file.display().to_string());
    let overview = columns(&overview(&info, &artifact.label(), &engine));
    let mut parts = vec![format!("{name}\n{overview}"), sections(&info)];
    if info.kind != ArtifactKind::MachineCode {
        match artifact.load(&engine) {
            Ok(module) => parts.extend([imports(&module), exports(&module)]),
            Err(error) => parts.push(format!("imports and exports: not shown: {error}\n")),
        }
    }
    print(&parts.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn overview(info: &ArtifactInfo, label: &[u8; 32], engine: &Engine) -> Vec<Vec<String>> {
    let kind = match info.kind {
        ArtifactKind::Module => "an artifact of a module: `aura FILE` runs it",
        ArtifactKind::Snapshot => "an artifact of a snapshot: `aura FILE` goes on where it was captured",
        _ => "machine code of a module that is elsewhere, as the cache keeps it",
    };
    let made_by: Vec<String> = info.made_by.iter().map(|(what, who)| format!("{what} {who}")).collect();
    let [fuel, depth] = [(info.fuel, "charges fuel"), (info.depth, "counts the depth of calls")];
    let charges: Vec<&str> = [fuel, depth].into_iter().filter(|(does, _)| *does).map(|(_, what)| what).collect();
    let mut rows = vec![
        row(&["kind", kind]),
        row(&["made", &made_by.join(", ")]),
        row(&["authentic", &format!("header and all {} pieces are as the owner of the key made them", info.pieces)]),
        row(&["module", &format!("sha256 {}", Digest(*label))]),
        row(&["functions", &functions(info)]),
    ];
    if info.lowered > 0 {
        let charges = if charges.is_empty() { "charges nothing".to_owned() } else { charges.join(", ") };
        rows.push(row(&["lowered code", &charges]));
    }
    if let Some((options, processor)) = &info.native_for {
        let here = engine.code_target().unwrap_or_default();
        let serves = here.split_once('\n').is_some_and(|(ours, features)| {
            ours == options && processor.iter().all(|wanted| features.split(' ').any(|has| has == wanted))
        });
        let serves = if serves { "as `aura run` has them by default" } else { "not as `aura run` has them by default" };
        rows.push(row(&["machine code", &format!("{options}: {serves}")]));
        rows.push(row(&["processor", &processor.join(" ")]));
    }
    // As the engine writes them down.
    if let Some((proposals, limits)) = info.options.split_once(" Limits ") {
        let proposals = proposals.trim_start_matches("Features(WasmFeatures(").trim_end_matches(')');
        rows.push(row(&["proposals", &proposals.replace(" | ", ", ").to_lowercase()]));
        rows.push(row(&["limits", limits.trim_matches(['{', '}', ' '])]));
    }
    rows
}

fn functions(info: &ArtifactInfo) -> String {
    let compiled =
        if info.native_for.is_some() { format!(", {} with machine code", info.compiled) } else { String::new() };
    format!("{}, {} lowered{compiled}", info.functions, info.lowered)
}

fn sections(info: &ArtifactInfo) -> String {
    let rows: Vec<_> = info.sections.iter().map(|(name, bytes)| row(&[name, &show_bytes(*bytes)])).collect();
    format!("sections: {}\n{}", rows.len(), columns(&rows))
}
