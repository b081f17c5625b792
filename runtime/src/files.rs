//! The one place where the runtime reads a file of the host.

use std::io;
use std::path::Path;

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}
