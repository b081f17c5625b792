//! The header of an artifact, and where in its file everything is. All numbers are little-endian.

use std::ops::Range;

use blake3::hazmat::HasherExt;

use super::ARTIFACT_MAGIC;
use super::key::ArtifactKey;

/// Counts changes of the format. An artifact of another number is refused.
const FORMAT: u32 = 4;

/// Bytes of a piece: of what has to be read and compared for one byte. Processors hash eight chunks of 1 KiB in the time of one
/// or four.
pub(crate) const PIECE: usize = 8192;
/// Bytes of a piece's tag.
pub(super) const TAG: usize = 16;
/// Bytes of a digest.
pub(super) const DIGEST: usize = 32;
/// Bytes of a name in the header.
const NAME: usize = 32;

/// The sections of an artifact's content.
#[derive(Clone, Copy, Debug)]
pub(super) enum Section {
    /// What is known of the module as a whole.
    Head,
    /// Lowered bodies, those that are called first at its beginning.
    Code,
    /// A [`Row`](aura_validator::module::Row) for each own function.
    Rows,
    /// The options that the module was validated under, in words.
    Options,
    /// What machine code is for, in words.
    NativeTarget,
    /// For each own function, which group has its machine code.
    NativeRows,
    /// Where groups are.
    NativeGroups,
    /// Stubs that machine code is entered and left by.
    NativeStubs,
    /// The module's bytes. Begins with a piece.
    Module,
    /// Where instances begin, if not as the module says.
    State,
    /// The pages of memories that are not zero, one a piece. Begins with a piece.
    Pages,
    /// Machine code in groups. Begins with a piece.
    NativeCode,
}

const SECTIONS: usize = 12;

/// Magic, format, flags, bytes of the first piece, version, machine, form, options, label, target, digest of the content, sections, tag.
pub(super) const HEADER_LEN: usize = 8 + 4 + 4 + 4 + 3 * NAME + 4 * DIGEST + 16 * SECTIONS + DIGEST;
const TAGGED_LEN: usize = HEADER_LEN - DIGEST;

/// A digest of bytes.
pub(super) fn digest(bytes: &[u8]) -> [u8; DIGEST] {
    *blake3::hash(bytes).as_bytes()
}

/// Who makes and reads artifacts: its version, its machine, and what its lowered code and its heads look like.
pub(super) const BUILD: [(&str, &str); 3] = [
    ("by version", env!("CARGO_PKG_VERSION")),
    ("for the machine", std::env::consts::ARCH),
    ("by a build with the form of lowered code", env!("AURA_FORM")),
];

fn name(text: &str) -> [u8; NAME] {
    let mut name = [0; NAME];
    let len = text.len().min(NAME);
    name[..len].copy_from_slice(&text.as_bytes()[..len]);
    name
}

/// What a header says once its tag is found to be right.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// What lowering added to the code, as [`super::lowering`] numbers it.
    pub(super) flags: u32,
    /// Bytes of the first piece.
    first: u32,
    pub(super) options: [u8; DIGEST],
    pub(super) label: [u8; DIGEST],
    /// The digest of what its machine code is for; zeros if there is none.
    pub(super) native: [u8; DIGEST],
    sections: [Range<u64>; SECTIONS],
    /// The key that pieces of this artifact are tagged with.
    pub(super) piece_key: [u8; DIGEST],
}

impl Header {
    /// Reads the header at the beginning of a file.
    ///
    /// # Errors
    /// If there is none, or not one of this key and this build.
    pub(super) fn read(bytes: &[u8], key: &ArtifactKey) -> Result<Self, String> {
        if !bytes.starts_with(ARTIFACT_MAGIC) {
            return Err("it is no artifact".to_owned());
        }
        let header = bytes.get(..HEADER_LEN).ok_or("it is cut off")?;
        let (said, tag) = header.split_at(TAGGED_LEN);
        // Compared in constant time.
        if key.tag(said) != blake3::Hash::from_bytes(tag.try_into().expect("a digest's length")) {
            return Err("its tag is not of this key, or its header was changed".to_owned());
        }
        let mut fields = Fields(&said[ARTIFACT_MAGIC.len()..]);
        if u32::from_le_bytes(fields.take()) != FORMAT {
            return Err("it was made by a version of Aura with another format; compile the module again".to_owned());
        }
        let flags = u32::from_le_bytes(fields.take());
        let first = u32::from_le_bytes(fields.take());
        for (what, here) in BUILD {
            let there: [u8; NAME] = fields.take();
            if there != name(here) {
                let there = String::from_utf8_lossy(&there);
                let there = there.trim_end_matches('\0');
                return Err(format!("it was made {what} {there}, this is {here}; compile the module again"));
            }
        }
        let (options, label, native) = (fields.take(), fields.take(), fields.take());
        let _content = fields.take::<DIGEST>();
        let sections = std::array::from_fn(|_| u64::from_le_bytes(fields.take())..u64::from_le_bytes(fields.take()));
        Ok(Self { flags, first, options, label, native, sections, piece_key: piece_key(tag, key) })
    }

    /// Where a section is in the content.
    pub(super) fn section(&self, section: Section) -> Range<u64> {
        self.sections[section as usize].clone()
    }

    /// Bytes of the content.
    pub(super) fn content_len(&self) -> u64 {
        self.sections.iter().map(|section| section.end).max().unwrap_or(0)
    }

    /// Bytes of a piece: the first and the last one may be shorter.
    pub(super) fn len_of(&self, piece: u64) -> usize {
        match piece {
            0 => self.first as usize,
            _ => self.content_len().saturating_sub(piece * PIECE as u64).min(PIECE as u64) as usize,
        }
    }

    /// Where a piece is in the file: its tag, then its bytes.
    pub(super) fn place_of(&self, piece: u64) -> u64 {
        let behind_first = |others: u64| u64::from(self.first) + TAG as u64 + others * (TAG + PIECE) as u64;
        HEADER_LEN as u64 + piece.checked_sub(1).map_or(0, behind_first)
    }
}

/// The header, and so its tag, says which content it is of: no two artifacts with different pieces have the same key for them.
fn piece_key(tag: &[u8], key: &ArtifactKey) -> [u8; DIGEST] {
    let mut message = [0; DIGEST + 6];
    message[..DIGEST].copy_from_slice(tag);
    message[DIGEST..].copy_from_slice(b"pieces");
    *key.tag(&message).as_bytes()
}

/// The tag of a piece, which is not empty: its node in the keyed tree over the whole content, where its place is part of it.
///
/// # Panics
/// If the piece is empty.
pub(super) fn piece_tag(key: &[u8; DIGEST], number: u64, bytes: &[u8]) -> [u8; TAG] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.set_input_offset(number * PIECE as u64).update(bytes);
    *hasher.finalize_non_root().first_chunk().expect("a tag is shorter than a digest")
}

/// Where code that is not called first begins in its section. If the head and the code that is fit a piece, they are the first
/// one, which ends with them: what a first call needs is compared, and no more. Places in the content are as if it were whole.
pub(super) fn later_code(head: usize, called_first: usize) -> usize {
    if (1..=PIECE).contains(&head) && head + called_first <= PIECE { PIECE - head } else { called_first }
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

/// Machine code as it stands in an artifact: what it is for, and the sections.
#[derive(Clone, Debug, Default)]
pub(super) struct Native {
    pub(super) digest: [u8; DIGEST],
    pub(super) target: String,
    pub(super) rows: Vec<u8>,
    pub(super) groups: Vec<u8>,
    pub(super) stubs: Vec<u8>,
    /// In whole pieces.
    pub(super) code: Vec<u8>,
}

/// What goes into an artifact.
#[derive(Debug, Default)]
pub(super) struct Contents<'a> {
    pub(super) flags: u32,
    pub(super) options: &'a str,
    pub(super) label: [u8; DIGEST],
    pub(super) head: Vec<u8>,
    pub(super) code: Vec<u8>,
    /// Bytes of code that is called first, at its beginning.
    pub(super) called_first: usize,
    pub(super) rows: Vec<u8>,
    pub(super) module: &'a [u8],
    pub(super) state: Vec<u8>,
    pub(super) pages: Vec<u8>,
    pub(super) native: Native,
}

impl Contents<'_> {
    /// Writes the artifact.
    pub(super) fn write(&self, key: &ArtifactKey) -> Vec<u8> {
        let (called_first, later) = self.code.split_at(self.called_first);
        let mut code = called_first.to_vec();
        code.resize(later_code(self.head.len(), called_first.len()), 0);
        let is_short = code.len() > called_first.len();
        code.extend_from_slice(later);
        let parts: [(&[u8], bool); SECTIONS] = [
            (&self.head, false),
            (&code, false),
            (&self.rows, false),
            (self.options.as_bytes(), false),
            (self.native.target.as_bytes(), false),
            (&self.native.rows, false),
            (&self.native.groups, false),
            (&self.native.stubs, false),
            (self.module, true),
            (&self.state, false),
            (&self.pages, true),
            (&self.native.code, true),
        ];
        let (mut content, mut directory) = (Vec::new(), Vec::new());
        for (part, begins_piece) in parts {
            if begins_piece {
                content.resize(content.len().next_multiple_of(PIECE), 0);
            }
            let range = [content.len() as u64, (content.len() + part.len()) as u64];
            directory.extend_from_slice(range.map(u64::to_le_bytes).as_flattened());
            content.extend_from_slice(part);
        }
        let first = if is_short { self.head.len() + called_first.len() } else { content.len().min(PIECE) };
        let mut out = self.header(first as u32, &digest(&content), &directory);
        let tag = key.tag(&out);
        let piece_key = piece_key(tag.as_bytes(), key);
        out.extend_from_slice(tag.as_bytes());
        out.reserve(content.len() + content.len().div_ceil(PIECE) * TAG);
        for (number, piece) in (0..).zip(content.chunks(PIECE)) {
            let piece = if number == 0 { &piece[..first] } else { piece };
            out.extend_from_slice(&piece_tag(&piece_key, number, piece));
            out.extend_from_slice(piece);
        }
        out
    }

    /// The header but for its tag.
    fn header(&self, first: u32, content: &[u8; DIGEST], directory: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(ARTIFACT_MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&first.to_le_bytes());
        BUILD.iter().for_each(|(_, here)| out.extend_from_slice(&name(here)));
        out.extend_from_slice(&digest(self.options.as_bytes()));
        out.extend_from_slice(&self.label);
        out.extend_from_slice(&self.native.digest);
        out.extend_from_slice(content);
        out.extend_from_slice(directory);
        debug_assert_eq!(out.len(), TAGGED_LEN);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ArtifactKey = ArtifactKey::new([3; ArtifactKey::LEN]);

    /// An artifact with other bytes in its header, under a tag that fits them.
    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut artifact = Contents { options: "none", head: vec![1, 2, 3], ..Contents::default() }.write(&KEY);
        artifact[at..at + bytes.len()].copy_from_slice(bytes);
        let tag = KEY.tag(&artifact[..TAGGED_LEN]);
        artifact[TAGGED_LEN..HEADER_LEN].copy_from_slice(tag.as_bytes());
        artifact
    }

    #[test]
    fn artifacts_of_other_builds_are_refused_by_what_differs() {
        let header = Header::read(&with(0, b""), &KEY).expect("of this build");
        assert_eq!((header.section(Section::Head), header.content_len()), (0..3, 2 * PIECE as u64));
        assert_eq!((header.len_of(0), header.len_of(1)), (3, PIECE));
        let names = ARTIFACT_MAGIC.len() + 12;
        for (index, (what, here)) in BUILD.iter().enumerate() {
            let why = Header::read(&with(names + index * NAME, b"other\0"), &KEY).expect_err("another build");
            assert!(why.contains(&format!("{what} other")) && why.contains(here), "{why}");
        }
        let why = Header::read(&with(ARTIFACT_MAGIC.len(), &9_u32.to_le_bytes()), &KEY).expect_err("another format");
        assert!(why.contains("another format"), "{why}");
    }
}
