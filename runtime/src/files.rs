//! The one place where the runtime reads a file of the host.

use std::io;
use std::path::Path;

/// Reads a whole file.
#[expect(clippy::disallowed_methods, reason = "the embedder names a file to read")]
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}
