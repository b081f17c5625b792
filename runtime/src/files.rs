//! The one place where the runtime reads and makes files of the host.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Reads a whole file.
#[expect(clippy::disallowed_methods, reason = "the embedder names a file to read")]
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Opens a file for reading.
#[expect(clippy::disallowed_methods, reason = "the embedder names a file to read")]
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// A file in memory, without a name.
pub(crate) fn in_memory(what: &str) -> io::Result<File> {
    Ok(rustix::fs::memfd_create(what, rustix::fs::MemfdFlags::CLOEXEC)?.into())
}

/// Reads a file that its owner keeps for itself; `None` if there is none.
///
/// # Errors
/// Also if others than the owner have any right on it.
#[expect(clippy::disallowed_methods, reason = "the embedder names a file to read")]
pub(crate) fn read_private(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mode = file.metadata()?.mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "its mode is {:o}; take all rights from others: chmod 600",
            mode & 0o777
        )));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Makes a file that only its owner may read and write, and folders for it where there are none. It appears whole: others find all
/// of it or nothing.
///
/// # Errors
/// Also if there is such a file.
#[expect(clippy::disallowed_methods, reason = "the embedder names a file to make")]
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut begun = path.as_os_str().to_owned();
    begun.push(format!(".{}", std::process::id()));
    let begun = Path::new(&begun);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(begun)?;
    let made = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::hard_link(begun, path));
    let _ = std::fs::remove_file(begun);
    made
}
