//! The module's bytes of an artifact: read into private memory, compared, handed out.
//!
//! # Safety
//! `memory` is as long as the module and never moves. A piece whose bit in `ready` is set was read whole, was found to be what its
//! leaf says, and never changes again; slices are made of such pieces only. A piece whose bit is not set is written by
//! the holder of the lock alone.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use region::{Allocation, Protection};

use super::format::{DIGEST, LEAVES_PER_NODE, PIECE, Tree, digest};
use crate::error::{Error, Result};

/// What is read of a file at first: header, head and nodes of most modules.
pub(super) const FIRST_READ: usize = 4096;

/// Reads at an offset until the buffer is full or the file ends; how much was read.
pub(super) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match rustix::io::pread(file, &mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(read)
}

/// The bytes of a module in an artifact's file.
pub(super) struct FilePieces {
    file: File,
    tree: Tree,
    memory: Allocation,
    /// A bit for each piece.
    ready: Box<[AtomicU64]>,
    loading: Mutex<Loading>,
}

/// What it takes to load pieces.
struct Loading {
    nodes: Box<[u8]>,
    /// The group of leaves that was compared last, with its number.
    leaves: Option<(usize, Vec<u8>)>,
}

// SAFETY: the value owns its memory, which has no thread.
unsafe impl Send for FilePieces {}
// SAFETY: pieces that are ready never change; the others are the lock's.
unsafe impl Sync for FilePieces {}

const BITS: usize = u64::BITS as usize;

impl FilePieces {
    pub(super) fn new(file: File, tree: Tree, nodes: &[u8]) -> Result<Self> {
        let memory = region::alloc(tree.module_len.max(1), Protection::READ_WRITE)
            .map_err(|error| Error::resource(format!("no memory for an artifact's module: {error}")))?;
        let words = tree.module_len.div_ceil(PIECE).div_ceil(BITS);
        let ready = (0..words).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { file, tree, memory, ready, loading: Mutex::new(Loading { nodes: nodes.into(), leaves: None }) })
    }

    fn is_ready(&self, piece: usize) -> bool {
        self.ready[piece / BITS].load(Ordering::Acquire) >> (piece % BITS) & 1 == 1
    }

    fn range_of(&self, piece: usize) -> Range<usize> {
        piece * PIECE..self.tree.module_len.min((piece + 1) * PIECE)
    }

    /// Reads and compares a run of pieces that is not ready.
    fn load(&self, pieces: Range<usize>) -> Result<(), String> {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in pieces {
            if self.is_ready(piece) {
                continue;
            }
            let leaf = loading.leaf(self, piece)?;
            let range = self.range_of(piece);
            let place = self.memory.as_ptr::<u8>().cast_mut().wrapping_add(range.start);
            // SAFETY: the range lies in the memory; the piece is not ready, so that no other slice of it exists, and the lock is held.
            let buffer = unsafe { std::slice::from_raw_parts_mut(place, range.len()) };
            let read = read_at(&self.file, buffer, self.tree.pieces_at + range.start as u64);
            if read.map_err(|error| format!("cannot read an artifact: {error}"))? < buffer.len() {
                return Err("an artifact is cut off".to_owned());
            }
            if digest(buffer) != leaf {
                return Err(format!("an artifact was changed, in the module's bytes from {:#x} on", range.start));
            }
            self.ready[piece / BITS].fetch_or(1 << (piece % BITS), Ordering::Release);
        }
        Ok(())
    }
}

impl Loading {
    /// What a piece's digest is to be.
    fn leaf(&mut self, pieces: &FilePieces, piece: usize) -> Result<[u8; DIGEST], String> {
        let group = piece / LEAVES_PER_NODE;
        if self.leaves.as_ref().is_none_or(|(known, _)| *known != group) {
            self.leaves = Some((group, self.group(pieces, group)?));
        }
        let (_, leaves) = self.leaves.as_ref().expect("just read");
        let at = piece % LEAVES_PER_NODE * DIGEST;
        Ok(leaves[at..at + DIGEST].try_into().expect("a digest's length"))
    }

    /// Reads and compares a group of leaves.
    fn group(&self, pieces: &FilePieces, group: usize) -> Result<Vec<u8>, String> {
        let all = pieces.tree.module_len.div_ceil(PIECE);
        let count = LEAVES_PER_NODE.min(all - group * LEAVES_PER_NODE);
        let mut leaves = vec![0; count * DIGEST];
        let at = pieces.tree.leaves_at + (group * LEAVES_PER_NODE * DIGEST) as u64;
        let read =
            read_at(&pieces.file, &mut leaves, at).map_err(|error| format!("cannot read an artifact: {error}"))?;
        if read < leaves.len() || digest(&leaves) != self.nodes[group * DIGEST..][..DIGEST] {
            return Err("an artifact was changed, in its digests".to_owned());
        }
        Ok(leaves)
    }
}

impl aura_validator::Pieces for FilePieces {
    fn len(&self) -> usize {
        self.tree.module_len
    }

    fn get(&self, range: Range<usize>) -> Result<&[u8], String> {
        if range.start > range.end || range.end > self.tree.module_len {
            return Err("there are no such bytes in the module".to_owned());
        }
        let pieces = range.start / PIECE..range.end.div_ceil(PIECE);
        if !pieces.clone().all(|piece| self.is_ready(piece)) {
            self.load(pieces)?;
        }
        let start = self.memory.as_ptr::<u8>().wrapping_add(range.start);
        // SAFETY: the range lies in the memory, in pieces that are ready; those never change while `self` lives.
        Ok(unsafe { std::slice::from_raw_parts(start, range.len()) })
    }
}
