//! A path to a module: every way in which a file is no module, told apart.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use aura_runtime::{ARTIFACT_MAGIC, Engine, Error, ErrorKind, Module};

use crate::report::Failure;

const MAGIC: &[u8] = b"\0asm";
/// Where a binary says which layer of WebAssembly it is written in, and the layer of components.
const LAYER: std::ops::Range<usize> = 6..8;
const COMPONENT_LAYER: &[u8] = &[1, 0];

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// In the binary format, whatever the file was in.
    pub(crate) wasm: Vec<u8>,
}

impl Source {
    /// Reads a file in the binary or text format.
    ///
    /// # Errors
    /// If it cannot be read, is neither, or is a component.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = fs::read(path).map_err(|e| {
            Failure::io("read file", path, &e).help("FILE is a WebAssembly module in the binary or text format")
        })?;
        let wasm = if bytes.starts_with(MAGIC) { bytes } else { assemble(path, bytes)? };
        if wasm.get(LAYER) == Some(COMPONENT_LAYER) {
            return Err(component(path));
        }
        Ok(Self { path: path.to_owned(), wasm })
    }

    /// Validates the module.
    ///
    /// # Errors
    /// If it is refused; the message has the place.
    pub(crate) fn module(&self, engine: &Engine) -> Result<Module, Failure> {
        Module::from_binary(engine, &self.wasm).map_err(|e| refused(&self.path, &e))
    }

    /// As [`Source::module`], without copying the bytes.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn into_module(self, engine: &Engine) -> Result<Module, Failure> {
        Module::from_owned(engine, self.wasm).map_err(|e| refused(&self.path, &e))
    }
}

/// Whether a file begins as artifacts do. What cannot be read is none: whoever reads it next says why.
pub(crate) fn is_artifact(path: &Path) -> bool {
    let mut begin = [0; ARTIFACT_MAGIC.len()];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_ok() && begin == *ARTIFACT_MAGIC
}

fn assemble(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let Some(text) = as_text(&bytes) else {
        let head: Vec<_> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
        let found =
            if head.is_empty() { "it is empty".to_owned() } else { format!("it starts with {}", head.join(" ")) };
        return Err(Failure::new(format!("not a WebAssembly module: {}: byte 0: {found}", path.display()))
            .help("a module starts with 00 61 73 6d, a module in the text format with `(module`"));
    };
    wat::parse_str(text).map_err(|mut error| {
        error.set_path(path);
        Failure::new(format!("not a module in the text format: {}: {error}", path.display()))
            .help("correct the text at the place shown")
    })
}

/// The file as text, if it looks like the text format: it begins with a parenthesis or a comment.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.trim_start().starts_with(['(', ';']).then_some(text)
}

fn component(path: &Path) -> Failure {
    let what = "a component (WASI 0.2 or later), and Aura runs core modules";
    Failure::new(format!("not a module: {}: byte 4: the file is {what}", path.display()))
        .help("build a core module with WASI preview 1 instead, for example with the target wasm32-wasip1")
}

fn refused(path: &Path, error: &Error) -> Failure {
    let (what, help) = match error.kind() {
        ErrorKind::Malformed => ("malformed module", "the file is damaged or cut off: build or download it again"),
        ErrorKind::Invalid => ("invalid module", "whatever made the file made a mistake: no engine may run it"),
        ErrorKind::Unsupported => (
            "unsupported module",
            "switch the proposal that the message names on with --feature NAME, or build the module without it",
        ),
        ErrorKind::Limit => ("module too large", "the limit that the message names bounds what a module may cost"),
        _ => ("module refused", "see the message"),
    };
    Failure::new(format!("{what}: {}: {error}", path.display())).help(help)
}
