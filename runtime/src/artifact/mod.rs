//! Artifacts: files from which a validated module is loaded, with its lowered bodies, at a cost that does not grow with it.
//!
//! ```text
//! header   magic, who made it, digests of options and content, where the sections are, tag
//! pieces   a tag, then 8 KiB of the content, and again; the first is what a first call needs, if that is less
//! content  head: what is known of the module as a whole, rows of what is called first
//!          code: lowered bodies        rows: type and places of each function        options: in words
//!          module: its bytes           state, pages: of a snapshot
//!          native: machine code, if it was asked for ([`native`])
//! ```
//!
//! An artifact says that a module was validated, and what its bodies were lowered to. It is believed only if the header's tag
//! was made with the user's key, and then piece by piece: a key that depends on the header, and so on the content, tags each
//! piece with its number. What is read goes into private memory, is compared there, and used from there, so that the file may
//! change or go away at any time: what was not compared is refused when it is needed. Nothing of the file is mapped.
//!
//! Rows and lowered bodies are read when a function is first called. Where the code was lowered with other options than the
//! engine's, or a body's was not kept, it is lowered from the module's bytes.

mod about;
mod format;
mod key;
mod native;
mod pieces;

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aura_validator::code::Inst;
use aura_validator::module::{ExternIndex, Row};
use aura_validator::{Bytes, Code, LowerOptions};

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::module::Module;
use crate::snapshot::Snapshot;

pub use about::{ArtifactInfo, ArtifactKind};
pub use key::ArtifactKey;
pub use native::Native;

pub(crate) use native::{KeptNative, target_digest, target_text};

use format::{Contents, Header, Section};
use pieces::{Content, ModuleBytes};

/// The first bytes of every artifact.
pub const ARTIFACT_MAGIC: &[u8; 8] = b"\x7faura\r\n\x1a";

/// Functions whose rows stand in the head, and whose code begins the code, at most: exported ones, and those that they call.
const HOT_MAX: usize = 32;

/// An artifact whose header was made with the key, and whose file is open.
pub struct Artifact {
    path: PathBuf,
    content: Arc<Content>,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The lowered bodies in an artifact.
#[derive(Clone)]
pub(crate) struct KeptCode(Arc<Content>);

impl KeptCode {
    /// The code of a function, if it was kept.
    ///
    /// # Errors
    /// If it was changed.
    pub(crate) fn code(&self, row: &Row) -> Result<Option<Code>> {
        if row.code.is_empty() {
            return Ok(None);
        }
        let changed = |why: String| Error::new(ErrorKind::Artifact, why);
        let bytes = self.0.code(row).map_err(changed)?;
        Code::decode(&bytes)
            .map(Some)
            .ok_or_else(|| changed("a lowered body of an artifact does not decode".to_owned()))
    }
}

impl Artifact {
    /// Opens an artifact. What lies behind its header is looked at when it is loaded.
    ///
    /// # Errors
    /// If the file cannot be read, is no artifact, is one of another key or another build of Aura, or its header was changed.
    pub fn open(path: impl AsRef<Path>, key: &ArtifactKey) -> Result<Self> {
        let path = path.as_ref();
        let io = |error| Error::new(ErrorKind::Io, format!("cannot read {}: {error}", path.display()));
        let file = files::open(path).map_err(io)?;
        let (header, first) = read_header(&file, path, key)?;
        Ok(Self { path: path.to_owned(), content: Arc::new(Content::new(file, header, first)) })
    }

    /// As [`Artifact::open`], of bytes that are in memory.
    ///
    /// # Errors
    /// If the system has no memory, or as there.
    pub fn from_bytes(bytes: &[u8], key: &ArtifactKey) -> Result<Self> {
        let failed = |error: std::io::Error| Error::resource(format!("no memory for an artifact: {error}"));
        let mut file = files::in_memory("aura-artifact").map_err(failed)?;
        std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
        let path = PathBuf::from("in memory");
        let (header, first) = read_header(&file, &path, key)?;
        Ok(Self { path, content: Arc::new(Content::new(file, header, first)) })
    }

    /// What [`Module::to_artifact`] was given to say of the module.
    #[must_use]
    pub fn label(&self) -> [u8; 32] {
        self.content.header().label
    }

    /// Loads the module. Only what is needed is read, and before each use compared with what the key vouches for; the file
    /// stays open while the module lives.
    ///
    /// # Errors
    /// If the artifact was made under other proposals or limits than the engine's, or was changed. A change of what is not
    /// needed yet is found when it is: calling a function whose bytes were changed fails with [`ErrorKind::Artifact`].
    pub fn load(self, engine: &Engine) -> Result<Module> {
        let code = self.content.clone();
        self.load_code(engine, code)
    }

    /// As [`Artifact::load`], with machine code from another artifact ([`Native::to_artifact`]) instead of its own.
    ///
    /// # Errors
    /// As there; if the labels differ.
    pub fn load_with_code(self, engine: &Engine, code: Self) -> Result<Module> {
        if code.label() != self.label() {
            return Err(refused(&code.path, "its machine code is of another module"));
        }
        self.load_code(engine, code.content)
    }

    fn load_code(self, engine: &Engine, code: Arc<Content>) -> Result<Module> {
        let content = self.content.clone();
        let header = content.header();
        if header.options != engine.validity_digest() {
            return Err(self.other_options(engine));
        }
        let head = content.section(Section::Head).map_err(|why| refused(&self.path, &why))?;
        let bytes = Bytes::in_pieces(Arc::new(ModuleBytes(content.clone())));
        let features = &engine.config().features;
        let validated = aura_validator::Module::from_head(bytes, &head, content.clone(), features)
            .ok_or_else(|| refused(&self.path, "its head does not decode"))?;
        let kept = (header.flags == flags(engine.lowering())).then(|| KeptCode(content.clone()));
        let is_for = native::is_for(&code, engine).map_err(|why| refused(&self.path, &why))?;
        let native = is_for.then(|| KeptNative::new(code));
        Module::from_validated(engine, validated, kept, native)
    }

    /// Whether the artifact is of a snapshot: instances begin where one was, and not as the module says.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        !self.content.header().section(Section::State).is_empty()
    }

    /// Whether the artifact has machine code, for whatever processor and options.
    #[must_use]
    pub fn has_native(&self) -> bool {
        self.content.header().native != [0; 32]
    }

    /// Loads a snapshot: the module, and where its instances begin. All of its pages are read and compared now.
    ///
    /// # Errors
    /// As [`Artifact::load`]; if the artifact is of a module alone.
    pub fn load_snapshot(self, engine: &Engine) -> Result<Snapshot> {
        if !self.is_snapshot() {
            return Err(Error::usage(format!("{} is an artifact of a module, not of a snapshot", self.path.display())));
        }
        let (content, path) = (self.content.clone(), self.path.clone());
        let module = self.load(engine)?;
        let state = content.section(Section::State).map_err(|why| refused(&path, &why))?;
        let pages = content.header().section(Section::Pages).start;
        let read = |at: u64, bytes: &mut [u8]| content.read_into(pages + at, bytes).map_err(|why| refused(&path, &why));
        Snapshot::decode(&module, &state, read)?.ok_or_else(|| refused(&path, "its state does not decode"))
    }

    /// Says which options differ.
    fn other_options(&self, engine: &Engine) -> Error {
        let there = match self.content.section(Section::Options) {
            Ok(there) => String::from_utf8_lossy(&there).into_owned(),
            Err(why) => return refused(&self.path, &why),
        };
        let here = engine.validity();
        let differ = |(there, here): &(&str, &str)| there != here;
        let words = |text: &str| text.replace(['{', '}'], ",");
        let (there, here) = (words(&there), words(&here));
        let pairs = there.split(", ").map(str::trim).zip(here.split(", ").map(str::trim)).filter(differ);
        let named: Vec<String> = pairs.take(3).map(|(there, here)| format!("`{there}` there, `{here}` here")).collect();
        let why =
            format!("it was made under other proposals or limits ({}); compile the module again", named.join("; "));
        refused(&self.path, &why)
    }
}

/// Reads the header and what comes next.
fn read_header(file: &File, path: &Path, key: &ArtifactKey) -> Result<(Header, Vec<u8>)> {
    let mut first = vec![0; pieces::FIRST_READ];
    let read = pieces::read_at(file, &mut first, 0)
        .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {}: {error}", path.display())))?;
    first.truncate(read);
    let header = Header::read(&first, key).map_err(|why| refused(path, &why))?;
    Ok((header, first))
}

/// Which lowered bodies an artifact has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lowered {
    All,
    /// Those that were lowered so far.
    SoFar,
}

/// Lowered bodies one after the other.
struct Bodies {
    code: Vec<u8>,
    /// Where those of each function are, among others.
    rows: Vec<Row>,
    /// Functions that are called before others, and how many bytes their bodies take, which come first.
    hot: Vec<u32>,
    called_first: usize,
}

impl Module {
    /// Writes down what is known of the module: the bytes of an artifact, which [`Artifact::load`] loads in an engine of
    /// this build of Aura with the same proposals and limits. All bodies are lowered for it, with this engine's options.
    /// `label` is the caller's to say what the module is.
    ///
    /// # Errors
    /// If bodies of the module are validated lazily, or it was itself loaded from an artifact that changed since.
    pub fn to_artifact(&self, key: &ArtifactKey, label: [u8; 32]) -> Result<Vec<u8>> {
        self.artifact((key, label), Lowered::All, None, None)
    }

    /// As [`Module::to_artifact`], with machine code of the module's ([`Module::compile_native`]): engines that compile for the
    /// same processor with the same options take it instead of compiling; others leave it aside.
    ///
    /// # Errors
    /// As [`Module::to_artifact`].
    pub fn to_native_artifact(&self, key: &ArtifactKey, label: [u8; 32], native: &Native) -> Result<Vec<u8>> {
        self.artifact((key, label), Lowered::All, None, Some(native))
    }

    /// As [`Module::to_artifact`], with the lowered bodies of those functions only that were called or compiled so far: others
    /// are lowered when they are called.
    ///
    /// # Errors
    /// As there.
    pub fn to_artifact_as_used(&self, key: &ArtifactKey, label: [u8; 32]) -> Result<Vec<u8>> {
        self.artifact((key, label), Lowered::SoFar, None, None)
    }

    fn artifact(
        &self,
        (key, label): (&ArtifactKey, [u8; 32]),
        lowered: Lowered,
        snapshot: Option<&Snapshot>,
        native: Option<&Native>,
    ) -> Result<Vec<u8>> {
        let validated = self.validated();
        let changed = |why: String| Error::new(ErrorKind::Artifact, why);
        if !validated.is_validated() {
            return Err(Error::usage("an artifact is of a module that was validated whole"));
        }
        validated.know_all_functions()?;
        let Bodies { code, mut rows, hot, called_first } = self.lowered(lowered)?;
        let hot: Vec<(u32, Row)> = hot.into_iter().map(|own| (own, rows[own as usize].clone())).collect();
        let head = validated.head(&hot);
        let moved = (format::later_code(head.len(), called_first) - called_first) as u64;
        for row in rows.iter_mut().filter(|row| row.code.start >= called_first as u64 && !row.code.is_empty()) {
            row.code = row.code.start + moved..row.code.end + moved;
        }
        let (state, pages) = snapshot.map(Snapshot::encode).unwrap_or_default();
        let contents = Contents {
            flags: flags(self.engine().lowering()),
            options: &self.engine().validity(),
            label,
            head,
            code,
            called_first,
            rows: rows.iter().flat_map(Row::to_bytes).collect(),
            module: validated.bytes().get(0..validated.bytes().len()).map_err(changed)?,
            state,
            pages,
            native: native.map(|native| native.sections.clone()).unwrap_or_default(),
        };
        Ok(contents.write(key))
    }

    /// The lowered bodies of functions.
    fn lowered(&self, lowered: Lowered) -> Result<Bodies> {
        let validated = self.validated();
        let own = 0..validated.num_own_funcs();
        let mut rows =
            own.clone().map(|own| Ok(Row { code: 0..0, ..validated.row(own)? })).collect::<Result<Vec<_>>>()?;
        let mut out = Vec::new();
        let (mut hot, mut next) = (called_first(validated), 0);
        while let Some(&own) = hot.get(next) {
            if let Some(code) = self.append_code(&mut out, &mut rows, own, lowered)? {
                add_callees(&mut hot, validated.num_imported_funcs(), &code);
            }
            next += 1;
        }
        let called_first = out.len();
        for own in own.filter(|own| !hot.contains(own)) {
            self.append_code(&mut out, &mut rows, own, lowered)?;
        }
        Ok(Bodies { code: out, rows, hot, called_first })
    }

    /// Appends the lowered body of a function, if it is to be kept.
    fn append_code<'m>(
        &'m self,
        out: &mut Vec<u8>,
        rows: &mut [Row],
        own: u32,
        lowered: Lowered,
    ) -> Result<Option<Cow<'m, Code>>> {
        let code = match (self.inner().known_code(own), lowered) {
            (Some(code), _) => Cow::Borrowed(code),
            (None, Lowered::All) => Cow::Owned(self.inner().make_code(own)?),
            (None, Lowered::SoFar) => return Ok(None),
        };
        let start = out.len() as u64;
        out.extend_from_slice(&code.encode());
        rows[own as usize].code = start..out.len() as u64;
        Ok(Some(code))
    }
}

impl Snapshot {
    /// Writes the snapshot down, with its module as [`Module::to_artifact`] does: [`Artifact::load_snapshot`] loads it.
    ///
    /// # Errors
    /// As [`Module::to_artifact`].
    pub fn to_artifact(&self, key: &ArtifactKey, label: [u8; 32]) -> Result<Vec<u8>> {
        self.module().artifact((key, label), Lowered::All, Some(self), None)
    }

    /// As [`Snapshot::to_artifact`], with machine code of its module's, as [`Module::to_native_artifact`].
    ///
    /// # Errors
    /// As there.
    pub fn to_native_artifact(&self, key: &ArtifactKey, label: [u8; 32], native: &Native) -> Result<Vec<u8>> {
        self.module().artifact((key, label), Lowered::All, Some(self), Some(native))
    }
}

/// Functions that are called before others: the one that starts, and exported ones.
fn called_first(module: &aura_validator::Module) -> Vec<u32> {
    let exported = module.exports().iter().filter_map(|export| match export.index {
        ExternIndex::Func(func) => Some(func),
        _ => None,
    });
    let mut hot = Vec::new();
    for func in module.start().into_iter().chain(exported) {
        add(&mut hot, func.checked_sub(module.num_imported_funcs()));
    }
    hot
}

/// Adds the functions that code calls directly.
fn add_callees(hot: &mut Vec<u32>, imported: u32, code: &Code) {
    for inst in &code.insts {
        if let Inst::Call { func, .. } | Inst::ReturnCall { func, .. } = *inst {
            add(hot, func.checked_sub(imported));
        }
    }
}

fn add(hot: &mut Vec<u32>, own: Option<u32>) {
    hot.extend(own.filter(|own| hot.len() < HOT_MAX && !hot.contains(own)));
}

fn refused(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Artifact, format!("the artifact {} is refused: {why}", path.display()))
}

/// The number by which artifacts know what lowering added to their code.
fn flags(options: LowerOptions) -> u32 {
    u32::from(options.fuel) | u32::from(options.depth) << 1
}
