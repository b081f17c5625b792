//! The user's key, by which artifacts are known to be the user's own.

use std::fmt;
use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::files;

/// A secret that artifacts are made and believed with.
#[derive(Clone)]
pub struct ArtifactKey([u8; ArtifactKey::LEN]);

impl fmt::Debug for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArtifactKey")
    }
}

impl ArtifactKey {
    /// Bytes of a key.
    pub const LEN: usize = 32;

    /// A key of these bytes, which nobody else may know.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Reads a key from a file; makes one at random, readable by its owner only, if there is no such file.
    ///
    /// # Errors
    /// If the file or its folder cannot be read or made, others than its owner may read or write it, or it is not as long as a key.
    pub fn read_or_make(path: &Path) -> Result<Self> {
        let failed = |what: &str, error: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot {what} the key {}: {error}", path.display()))
        };
        if let Some(bytes) = files::read_private(path).map_err(|e| failed("read", e))? {
            return Self::of_file(path, &bytes);
        }
        let mut key = [0; Self::LEN];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| failed("make", e.into()))?;
        match files::create_private(path, &key) {
            Ok(()) => Ok(Self(key)),
            // Another process was faster: its key counts.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let bytes = files::read_private(path).map_err(|e| failed("read", e))?;
                Self::of_file(path, &bytes.unwrap_or_default())
            }
            Err(error) => Err(failed("make", error)),
        }
    }

    fn of_file(path: &Path, bytes: &[u8]) -> Result<Self> {
        let wrong = || {
            Error::new(
                ErrorKind::Io,
                format!("the key {} has {} bytes, not {}", path.display(), bytes.len(), Self::LEN),
            )
        };
        Ok(Self(bytes.try_into().map_err(|_| wrong())?))
    }

    /// The tag of a message.
    pub(super) fn tag(&self, message: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, message)
    }
}
