//! `Bytes`: the bytes of a module, immutable, owned by everything that uses them.
//!
//! Invariant: a slice that was handed out never changes. Bytes in pieces are handed out only where their owner vouches for them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Immutable bytes. Cheap to clone; made without copying of what is owned.
#[derive(Clone)]
pub struct Bytes(Kind);

#[derive(Clone)]
enum Kind {
    Whole(Arc<dyn AsRef<[u8]> + Send + Sync>),
    Pieces(Arc<dyn Pieces>),
}

/// Bytes that come into memory, and are found to be what they should be, piece by piece as they are needed.
pub trait Pieces: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a range.
    ///
    /// # Errors
    /// If there is no such range, or some of it is not what it should be: the reason in words.
    fn get(&self, range: Range<usize>) -> Result<&[u8], String>;
}

impl Bytes {
    /// Bytes that come in pieces.
    pub fn in_pieces(pieces: Arc<dyn Pieces>) -> Self {
        Self(Kind::Pieces(pieces))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Whole(bytes) => (**bytes).as_ref().len(),
            Kind::Pieces(pieces) => pieces.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a range.
    ///
    /// # Errors
    /// If there is no such range, or a piece of it is not what it should be: the reason in words.
    pub fn get(&self, range: Range<usize>) -> Result<&[u8], String> {
        match &self.0 {
            Kind::Whole(bytes) => (**bytes).as_ref().get(range).ok_or_else(|| "there are no such bytes".to_owned()),
            Kind::Pieces(pieces) => pieces.get(range),
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Whole(Arc::new(bytes)))
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self(Kind::Whole(Arc::new(bytes)))
    }
}
