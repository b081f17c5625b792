//! The header of an artifact, and the tree of digests below it. All numbers are little-endian.

use super::ARTIFACT_MAGIC;
use super::key::ArtifactKey;

/// Counts changes of the format and of what a valid module is. An artifact of another number is refused.
const FORMAT: u32 = 1;

/// Bytes of a piece of the module: of what has to be read and compared for one byte.
pub(super) const PIECE: usize = 4096;
/// Bytes of a digest.
pub(super) const DIGEST: usize = 32;
/// Leaves that one node vouches for.
pub(super) const LEAVES_PER_NODE: usize = 64;

/// Magic, format, padding, build, options, label, length of the module, length of the head, digest of head and nodes, tag.
pub(super) const HEADER_LEN: usize = 8 + 4 + 4 + 3 * DIGEST + 8 + 8 + DIGEST + DIGEST;
const TAGGED_LEN: usize = HEADER_LEN - DIGEST;

/// A digest of bytes.
pub(super) fn digest(bytes: &[u8]) -> [u8; DIGEST] {
    *blake3::hash(bytes).as_bytes()
}

/// What artifacts of this build have in common.
fn build() -> [u8; DIGEST] {
    digest(concat!("aura ", env!("CARGO_PKG_VERSION"), " artifact").as_bytes())
}

/// What a header says once its tag is found to be right.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) options: [u8; DIGEST],
    pub(super) label: [u8; DIGEST],
    pub(super) module_len: u64,
    pub(super) head_len: u64,
    /// The digest of head and nodes together.
    pub(super) top: [u8; DIGEST],
}

impl Header {
    /// Reads the header at the beginning of a file.
    ///
    /// # Errors
    /// If there is none, or not one of this key and this build.
    pub(super) fn read(bytes: &[u8], key: &ArtifactKey) -> Result<Self, &'static str> {
        if !bytes.starts_with(ARTIFACT_MAGIC) {
            return Err("it is no artifact");
        }
        let header = bytes.get(..HEADER_LEN).ok_or("it is cut off")?;
        let (said, tag) = header.split_at(TAGGED_LEN);
        // Compared in constant time.
        if key.tag(said) != blake3::Hash::from_bytes(tag.try_into().expect("a digest's length")) {
            return Err("its tag is not of this key, or its header was changed");
        }
        let mut fields = Fields(&said[ARTIFACT_MAGIC.len()..]);
        let (format, _padding) = (u32::from_le_bytes(fields.take()), fields.take::<4>());
        if format != FORMAT || fields.take::<DIGEST>() != build() {
            return Err("it was made by another version of Aura; compile the module again");
        }
        Ok(Self {
            options: fields.take(),
            label: fields.take(),
            module_len: u64::from_le_bytes(fields.take()),
            head_len: u64::from_le_bytes(fields.take()),
            top: fields.take(),
        })
    }
}

/// Fields one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("the header has all its fields");
        self.0 = rest;
        *field
    }
}

/// Where the parts of an artifact lie in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    pub(super) module_len: usize,
    /// Length of head and nodes, which follow the header.
    pub(super) top_len: u64,
    pub(super) leaves_at: u64,
    pub(super) pieces_at: u64,
}

impl Tree {
    pub(super) fn new(header: &Header) -> Result<Self, &'static str> {
        let module_len = usize::try_from(header.module_len).map_err(|_| "its module is too long")?;
        let leaves = module_len.div_ceil(PIECE);
        let nodes = leaves.div_ceil(LEAVES_PER_NODE) * DIGEST;
        let top_len = header.head_len.checked_add(nodes as u64).ok_or("its head is too long")?;
        let leaves_at = top_len.checked_add(HEADER_LEN as u64).ok_or("its head is too long")?;
        let pieces_at = leaves_at.checked_add((leaves * DIGEST) as u64).ok_or("its head is too long")?;
        Ok(Self { module_len, top_len, leaves_at, pieces_at })
    }
}

/// Writes an artifact.
pub(super) fn write(
    module: &[u8],
    head: &[u8],
    (options, label): ([u8; DIGEST], [u8; DIGEST]),
    key: &ArtifactKey,
) -> Vec<u8> {
    let leaves: Vec<u8> = module.chunks(PIECE).flat_map(digest).collect();
    let nodes: Vec<u8> = leaves.chunks(LEAVES_PER_NODE * DIGEST).flat_map(digest).collect();
    let top = [head, &nodes].concat();
    let mut out = Vec::with_capacity(HEADER_LEN + top.len() + leaves.len() + module.len());
    out.extend_from_slice(ARTIFACT_MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&build());
    out.extend_from_slice(&options);
    out.extend_from_slice(&label);
    out.extend_from_slice(&(module.len() as u64).to_le_bytes());
    out.extend_from_slice(&(head.len() as u64).to_le_bytes());
    out.extend_from_slice(&digest(&top));
    let tag = key.tag(&out);
    out.extend_from_slice(tag.as_bytes());
    for part in [&top, &leaves, module] {
        out.extend_from_slice(part);
    }
    out
}
