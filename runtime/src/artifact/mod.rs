//! Artifacts: files from which a validated module is loaded without reading it whole.
//!
//! ```text
//! header   magic, format, digests of build and options, lengths, digests of head and nodes, tag
//! head     sections but code, custom sections, where each body lies
//! nodes    a digest for each group of leaves
//! leaves   a digest for each piece
//! module   the module's bytes, in pieces
//! ```
//!
//! An artifact says that a module was validated. It is believed only if the header's tag was made with the user's key, and
//! then piece by piece: the header vouches for head and nodes, a node for a group of leaves, a leaf for a piece. Each is
//! read into private memory, compared there, and used from there, so that the file may change or go away at any time:
//! what was not compared is refused when it is needed. Nothing of the file is mapped, nothing of it is executed.
//!
//! Bodies are lowered from the module's bytes when they are called. The lowered form is ten times as long, and comparing it
//! with its digest takes longer than making it.

mod format;
mod key;
mod pieces;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aura_validator::{Bytes, Parts};

use crate::engine::{Config, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::module::Module;

pub use key::ArtifactKey;

use format::{HEADER_LEN, Header, Tree, digest};
use pieces::FilePieces;

/// The first bytes of every artifact.
pub const ARTIFACT_MAGIC: &[u8; 8] = b"\x7faura\r\n\x1a";

/// Head and nodes of one artifact are at most so long: what is read before anything of it is believed but its tag.
const HEAD_MAX: u64 = 256 << 20;

/// An artifact whose header was made with the key, and whose file is open.
#[derive(Debug)]
pub struct Artifact {
    path: PathBuf,
    file: File,
    header: Header,
    /// The beginning of the file.
    first: Vec<u8>,
}

impl Artifact {
    /// Opens an artifact. What lies behind its header is looked at when it is loaded.
    ///
    /// # Errors
    /// If the file cannot be read, is no artifact, is one of another key or another version of Aura, or its header was changed.
    pub fn open(path: impl AsRef<Path>, key: &ArtifactKey) -> Result<Self> {
        let path = path.as_ref();
        let io = |error| Error::new(ErrorKind::Io, format!("cannot read {}: {error}", path.display()));
        let file = files::open(path).map_err(io)?;
        let mut first = vec![0; pieces::FIRST_READ];
        let read = pieces::read_at(&file, &mut first, 0).map_err(io)?;
        first.truncate(read);
        let header = Header::read(&first, key).map_err(|why| refused(path, why))?;
        Ok(Self { path: path.to_owned(), file, header, first })
    }

    /// What [`Module::to_artifact`] was given to say of the module.
    #[must_use]
    pub fn label(&self) -> [u8; 32] {
        self.header.label
    }

    /// Loads the module. Only what is needed is read, and before each use compared with what the key vouches for; the file
    /// stays open while the module lives.
    ///
    /// # Errors
    /// If the artifact was made under other proposals or limits than the engine's, or was changed. A change of what is not
    /// needed yet is found when it is: calling a function whose bytes were changed fails with [`ErrorKind::Artifact`].
    pub fn load(self, engine: &Engine) -> Result<Module> {
        if self.header.options != options_digest(engine) {
            return Err(refused(&self.path, "it was made under other proposals or limits; compile the module again"));
        }
        let tree = Tree::new(&self.header).map_err(|why| refused(&self.path, why))?;
        let top = self.top(tree.top_len)?;
        let (head, nodes) = top.split_at(self.header.head_len as usize);
        let parts = Parts::decode(head).ok_or_else(|| refused(&self.path, "its head does not decode"))?;
        let bytes = Bytes::in_pieces(Arc::new(FilePieces::new(self.file, tree, nodes)?));
        let Config { features, limits, .. } = engine.config();
        let validated = aura_validator::Module::from_parts(bytes, &parts, features, limits)
            .map_err(|error| refused(&self.path, error.message()))?;
        Module::from_validated(engine, validated)
    }

    /// Head and nodes.
    fn top(&self, len: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(len).ok().filter(|_| len <= HEAD_MAX);
        let len = len.ok_or_else(|| refused(&self.path, "its head is too long"))?;
        let begun = self.first.get(HEADER_LEN..).unwrap_or_default();
        let mut top = begun[..begun.len().min(len)].to_vec();
        let have = top.len();
        top.resize(len, 0);
        let read = pieces::read_at(&self.file, &mut top[have..], (HEADER_LEN + have) as u64)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {}: {error}", self.path.display())))?;
        if read < len - have {
            return Err(refused(&self.path, "it is cut off"));
        }
        match digest(&top) == self.header.top {
            true => Ok(top),
            false => Err(refused(&self.path, "its head was changed")),
        }
    }
}

impl Module {
    /// Writes down that the module was validated: the bytes of an artifact, which [`Artifact::load`] loads in an engine of
    /// this version of Aura with the same proposals and limits. `label` is the caller's to say what the module is.
    ///
    /// # Errors
    /// If bodies of the module are validated lazily, or it was itself loaded from an artifact that changed since.
    pub fn to_artifact(&self, key: &ArtifactKey, label: [u8; 32]) -> Result<Vec<u8>> {
        let validated = self.validated();
        let changed = |why: String| Error::new(ErrorKind::Artifact, why);
        let bytes = validated.bytes().get(0..validated.bytes().len()).map_err(changed)?;
        let parts =
            validated.parts().ok_or_else(|| Error::usage("an artifact is of a module that was validated whole"))?;
        Ok(format::write(bytes, &parts.encode(), (options_digest(self.engine()), label), key))
    }
}

fn refused(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Artifact, format!("the artifact {} is refused: {why}", path.display()))
}

/// What of an engine's options decides whether a module is valid.
fn options_digest(engine: &Engine) -> [u8; 32] {
    digest(engine.validity().as_bytes())
}
