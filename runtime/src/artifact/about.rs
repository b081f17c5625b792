//! What an artifact holds, for people.

use aura_validator::module::Row;

use super::format::{BUILD, PIECE, Section};
use super::native::ROW;
use super::pieces::Content;
use super::{Artifact, refused};
use crate::error::Result;

/// What an artifact says of itself: [`Artifact::about`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtifactInfo {
    pub kind: ArtifactKind,
    /// Who made it, which is who reads it: version, machine, the form of lowered code.
    pub made_by: Vec<(&'static str, &'static str)>,
    /// Proposals and limits that the module was validated under, in words.
    pub options: String,
    /// Whether its lowered code charges fuel, and counts how deep calls nest.
    pub fuel: bool,
    pub depth: bool,
    /// Own functions of the module, those whose lowered bodies are there, and those with machine code.
    pub functions: u64,
    pub lowered: u64,
    pub compiled: u64,
    /// Options that its machine code was made for, and what of the processor that may use.
    pub native_for: Option<(String, Vec<String>)>,
    /// Bytes of each section that has some.
    pub sections: Vec<(&'static str, u64)>,
    /// How many pieces there are, each with a tag of its own. All were compared.
    pub pieces: u64,
}

/// What an artifact is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArtifactKind {
    Module,
    /// A module, and where its instances begin.
    Snapshot,
    /// Machine code of a module that is elsewhere: [`Artifact::load_with_code`].
    MachineCode,
}

const NAMES: [(Section, &str); 12] = [
    (Section::Head, "head"),
    (Section::Code, "lowered code"),
    (Section::Rows, "functions"),
    (Section::Options, "options"),
    (Section::NativeTarget, "machine code's target"),
    (Section::NativeRows, "machine code's functions"),
    (Section::NativeGroups, "machine code's groups"),
    (Section::NativeStubs, "machine code's stubs"),
    (Section::Module, "module"),
    (Section::State, "state"),
    (Section::Pages, "pages of memories"),
    (Section::NativeCode, "machine code"),
];

impl Artifact {
    /// What the artifact holds. All of it is read and compared with what the key vouches for.
    ///
    /// # Errors
    /// If it was changed anywhere, or cannot be read.
    pub fn about(&self) -> Result<ArtifactInfo> {
        about(&self.content).map_err(|why| refused(&self.path, &why))
    }
}

fn about(content: &Content) -> std::result::Result<ArtifactInfo, String> {
    let header = content.header();
    let pieces = header.content_len().div_ceil(PIECE as u64);
    content.compare_all(pieces)?;
    let sections = NAMES.map(|(section, name)| (name, header.section(section)));
    let text = |section| content.section(section).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let is_there = |section| !header.section(section).is_empty();
    let rows = content.section(Section::Rows)?;
    let lowered = rows.as_chunks().0.iter().filter(|row| !Row::from_bytes(row).code.is_empty()).count();
    let native = content.section(Section::NativeRows)?;
    let target = text(Section::NativeTarget)?;
    let (options, processor) = target.split_once('\n').unwrap_or_default();
    Ok(ArtifactInfo {
        kind: match (is_there(Section::Head), is_there(Section::State)) {
            (false, _) => ArtifactKind::MachineCode,
            (true, false) => ArtifactKind::Module,
            (true, true) => ArtifactKind::Snapshot,
        },
        made_by: BUILD.to_vec(),
        options: text(Section::Options)?,
        fuel: header.flags & 1 != 0,
        depth: header.flags & 2 != 0,
        functions: (rows.len() / Row::LEN).max(native.len() / ROW as usize) as u64,
        lowered: lowered as u64,
        compiled: native.chunks(ROW as usize).filter(|row| **row != [0; ROW as usize]).count() as u64,
        native_for: is_there(Section::NativeTarget)
            .then(|| (options.to_owned(), processor.split(' ').map(str::to_owned).collect())),
        sections: sections
            .into_iter()
            .map(|(name, at)| (name, at.end - at.start))
            .filter(|(_, len)| *len > 0)
            .collect(),
        pieces,
    })
}
