//! Which features a script runs with: the version and the proposals that its set asserts.
//!
//! Older sets assert that newer features are invalid, so each set needs its own. By its path, a
//! script below `proposals/NAME/` (or `legacy/`) gets that proposal on the version the proposal was
//! made for ([`Edition::later`] if it uses more), and any other script the newest version the engine
//! implements. This table is the only place that knows; a row of it says what the files of a set assert.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use aura_runtime::Features;

/// A version of the WebAssembly specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    V1,
    V2,
    V3,
}

impl Version {
    /// The newest version.
    pub const NEWEST: Self = Self::V3;

    /// The number, as `--spec` takes it.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
            Self::V3 => "3.0",
        }
    }

    /// The engine's features for this version.
    const fn features(self) -> Features {
        match self {
            Self::V1 => Features::V1,
            Self::V2 => Features::V2,
            Self::V3 => Features::V3,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::V1, Self::V2, Self::V3];
        all.into_iter().find(|v| v.number() == text).ok_or_else(|| format!("`{text}` is none of 1.0, 2.0, 3.0"))
    }
}

/// A set of scripts in a folder of its own.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// The folder's name.
    pub folder: &'static str,
    /// The version the proposal was made for.
    pub base: Version,
    /// The version that merged it.
    pub merged: Option<Version>,
    /// The engine's names of the proposals the set's modules use.
    switches: &'static [&'static str],
}

use Version::{V1, V2, V3};

const fn row(
    folder: &'static str,
    base: Version,
    merged: Option<Version>,
    switches: &'static [&'static str],
) -> Proposal {
    Proposal { folder, base, merged, switches }
}

/// All sets that are known, by the version that merged them.
pub static PROPOSALS: &[Proposal] = &[
    row("mutable-global", V1, Some(V2), &["mutable-global"]),
    row("sign-extension-ops", V1, Some(V2), &["sign-extension"]),
    row("nontrapping-float-to-int-conversions", V1, Some(V2), &["saturating-float-to-int"]),
    row("multi-value", V1, Some(V2), &["multi-value"]),
    // Each of the two uses the other's instructions, and `reference-types` block types with several values.
    row("bulk-memory", V1, Some(V2), &["bulk-memory", "reference-types"]),
    row("bulk-memory-operations", V1, Some(V2), &["bulk-memory", "reference-types"]),
    row("reference-types", V1, Some(V2), &["bulk-memory", "reference-types", "multi-value"]),
    row("simd", V1, Some(V2), &["simd"]),
    row("extended-const", V2, Some(V3), &["extended-const"]),
    row("tail-call", V2, Some(V3), &["tail-call"]),
    row("multi-memory", V2, Some(V3), &["multi-memory"]),
    row("memory64", V2, Some(V3), &["memory64"]),
    row("relaxed-simd", V2, Some(V3), &["relaxed-simd"]),
    row("exceptions", V2, Some(V3), &["exception-handling", "tail-call", "function-references"]),
    row("exception-handling", V2, Some(V3), &["exception-handling", "tail-call", "function-references"]),
    row("function-references", V2, Some(V3), &["function-references", "tail-call"]),
    row("gc", V2, Some(V3), &["gc", "function-references", "tail-call"]),
    row("annotations", V2, Some(V3), &[]),
    // The files of the set that come from the core are those from before several tables.
    row(
        "threads",
        V1,
        None,
        &["threads", "mutable-global", "sign-extension", "saturating-float-to-int", "multi-value"],
    ),
    row("legacy", V3, None, &["legacy-exceptions"]),
    row("custom-page-sizes", V3, None, &["custom-page-sizes"]),
    row("wide-arithmetic", V3, None, &["wide-arithmetic"]),
    row("custom-descriptors", V3, None, &["custom-descriptors"]),
];

/// What a script runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edition {
    /// A version as it is.
    Version(Version),
    /// A version with a set's proposals on top.
    Proposal(&'static Proposal, Version),
    /// All that the engine implements.
    Implemented,
}

impl Edition {
    /// The edition of the set in this folder.
    #[must_use]
    pub fn of_proposal(folder: &str) -> Option<Self> {
        let proposal = PROPOSALS.iter().find(|p| p.folder == folder)?;
        Some(Self::Proposal(proposal, proposal.base))
    }

    /// The edition for a script of the same set that uses what this edition has not.
    ///
    /// The set of a proposal grows on while other proposals are merged: some of its scripts were written for
    /// a later version than the set was begun for. What such a script says of later features is what the
    /// newest version says.
    #[must_use]
    pub fn later(self) -> Option<Self> {
        match self {
            Self::Proposal(_, V3) | Self::Version(_) | Self::Implemented => None,
            Self::Proposal(proposal, _) => Some(Self::Proposal(proposal, V3)),
        }
    }

    /// The engine's features for this edition.
    ///
    /// # Errors
    /// If the engine does not implement a proposal; the message names it.
    pub fn features(self) -> Result<Features, String> {
        match self {
            Self::Version(version) => Ok(version.features()),
            Self::Proposal(proposal, version) => proposal
                .switches
                .iter()
                .try_fold(version.features(), |features, name| features.with(name, true).map_err(|e| e.to_string())),
            Self::Implemented => Ok(Features::IMPLEMENTED),
        }
    }

    /// Whether active segments are all checked before any is written, and a misfit is a link error.
    ///
    /// Version 1.0 was published with this rule; bulk memory replaced it, and the 1.0 set was
    /// rewritten to match. The set of `mutable-global` is older than that.
    #[must_use]
    pub fn checks_segments_first(self) -> bool {
        matches!(self, Self::Proposal(Proposal { folder: "mutable-global", .. }, V1))
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "{version}"),
            Self::Proposal(proposal, version) => write!(f, "{version} with {}", proposal.folder),
            Self::Implemented => f.write_str("all that is implemented"),
        }
    }
}

/// The edition for a script at `path`, unless one was chosen.
///
/// The folder next below `proposals` chooses, the last one if there are several; `legacy` anywhere
/// in the path goes before it. A folder that no row names gets the newest version; so does any other path.
#[must_use]
pub fn for_path(path: &Path) -> Edition {
    let parts: Vec<_> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let folders = &parts[..parts.len().saturating_sub(1)];
    let below_proposals = folders.windows(2).rev().filter(|pair| pair[0] == "proposals").map(|pair| pair[1]);
    let legacy = folders.contains(&"legacy").then_some("legacy");
    legacy
        .into_iter()
        .chain(below_proposals)
        .find_map(Edition::of_proposal)
        .unwrap_or(Edition::Version(Version::NEWEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition(path: &str) -> String {
        for_path(Path::new(path)).to_string()
    }

    #[test]
    fn the_path_chooses_the_edition() {
        let newest = Version::NEWEST.number();
        assert_eq!(edition("test/core/i32.wast"), newest);
        assert_eq!(edition("i32.wast"), newest);
        assert_eq!(edition("/a/proposals/simd/simd_lane.wast"), "1.0 with simd");
        assert_eq!(edition("proposals/threads/atomic.wast"), "1.0 with threads");
        assert_eq!(edition("test/legacy/exceptions/try_catch.wast"), "3.0 with legacy");
        assert_eq!(edition("proposals/nobody-knows/x.wast"), newest);
        assert_eq!(edition("proposals/simd.wast"), newest);
        assert_eq!(edition(""), newest);
    }

    #[test]
    fn every_version_is_implemented() {
        assert_eq!(Edition::Version(V1).features(), Ok(Features::V1));
        assert_eq!(Edition::Version(V2).features(), Ok(Features::V2));
        assert_eq!(Edition::Version(V3).features(), Ok(Features::V3));
        for proposal in PROPOSALS.iter().filter(|p| p.merged.is_some()) {
            let edition = Edition::of_proposal(proposal.folder).expect("a row of the table");
            assert!(edition.features().is_ok(), "{edition}");
        }
    }

    #[test]
    fn versions_parse_as_they_print() {
        for version in [V1, V2, V3] {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!("2".parse::<Version>().expect_err("no version").contains("1.0, 2.0, 3.0"));
    }
}
