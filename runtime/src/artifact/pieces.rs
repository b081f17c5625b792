//! The content of an artifact: read piece by piece, compared, handed out.
//!
//! # Safety
//! The module's memory is as long as its section and never moves. A piece whose bit in `ready` is set was read whole, was
//! found to be what its tag says, and never changes again; slices are made of such pieces only. A piece whose bit is not
//! set is written by the holder of the lock alone.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aura_validator::module::{Functions, Row};
use region::{Allocation, Protection};

use super::format::{HEADER_LEN, Header, PIECE, Section, TAG, piece_tag};
use crate::vm::pages;

/// What is read of a file at first, a piece with the header: all of small artifacts, and what the first call of most others needs.
pub(super) const FIRST_READ: usize = HEADER_LEN + TAG + PIECE;

/// Pieces read later that are kept: rows and lowered bodies of neighbours lie in one.
const RECENT: usize = 32;

/// Pieces that are read with one call.
const BATCH: usize = 32;

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

/// The content of an artifact's file.
pub(super) struct Content {
    file: File,
    header: Header,
    /// The beginning of the file.
    first: Vec<u8>,
    /// Whether the piece in `first` was compared.
    compared: AtomicBool,
    recent: Mutex<Recent>,
    module: OnceLock<ModuleMemory>,
}

/// Pieces that were read last, as they stand in the file, with their numbers.
#[derive(Default)]
struct Recent {
    pieces: Vec<(u64, Box<[u8]>)>,
    next: usize,
}

/// The module's bytes.
struct ModuleMemory {
    memory: Allocation,
    /// A bit for each piece.
    ready: Box<[AtomicU64]>,
    loading: Mutex<()>,
}

// SAFETY: the value owns its memory, which has no thread.
unsafe impl Send for ModuleMemory {}
// SAFETY: pieces that are ready never change; the others are the lock's.
unsafe impl Sync for ModuleMemory {}

const BITS: usize = u64::BITS as usize;

fn cut_off() -> String {
    "an artifact is cut off".to_owned()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Content {
    pub(super) fn new(file: File, header: Header, first: Vec<u8>) -> Self {
        Self {
            file,
            header,
            first,
            compared: AtomicBool::new(false),
            recent: Mutex::default(),
            module: OnceLock::new(),
        }
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// A section, whole.
    ///
    /// # Errors
    /// As [`Content::read`].
    pub(super) fn section(&self, section: Section) -> Result<Cow<'_, [u8]>, String> {
        self.read(self.header.section(section))
    }

    /// The lowered body that a row names.
    ///
    /// # Errors
    /// As [`Content::read`].
    pub(super) fn code(&self, row: &Row) -> Result<Cow<'_, [u8]>, String> {
        self.part(Section::Code, row.code.clone())
    }

    /// A part of a section.
    ///
    /// # Errors
    /// As [`Content::read`].
    pub(super) fn part(&self, section: Section, part: Range<u64>) -> Result<Cow<'_, [u8]>, String> {
        let section = self.header.section(section);
        let (start, end) = (section.start.checked_add(part.start), section.start.checked_add(part.end));
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= section.end => self.read(start..end),
            _ => Err("a part of an artifact lies outside it".to_owned()),
        }
    }

    /// Bytes of the content.
    ///
    /// # Errors
    /// If they cannot be read, or were changed.
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, String> {
        if range.end <= PIECE as u64 && range.start < range.end {
            let part = self.first_piece()?.get(range.start as usize..range.end as usize);
            return part.map(Cow::Borrowed).ok_or_else(cut_off);
        }
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        self.read_into(range.start, &mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    /// Fills a buffer with the bytes of the content from a place on: whole pieces go there at once.
    ///
    /// # Errors
    /// If they cannot be read, or were changed.
    pub(super) fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<(), String> {
        let (piece, begin) = (at / PIECE as u64, (at % PIECE as u64) as usize);
        let lead = if begin > 0 || piece == 0 { bytes.len().min(PIECE - begin) } else { 0 };
        let (lead, rest) = bytes.split_at_mut(lead);
        self.copy_part(piece, begin, lead)?;
        let next = piece + u64::from(!lead.is_empty());
        let (whole, rest) = rest.split_at_mut(rest.len() / PIECE * PIECE);
        self.read_pieces(next, whole)?;
        self.copy_part(next + (whole.len() / PIECE) as u64, 0, rest)
    }

    /// Copies a part of a piece.
    fn copy_part(&self, piece: u64, begin: usize, to: &mut [u8]) -> Result<(), String> {
        if to.is_empty() {
            return Ok(());
        }
        let part = begin..begin + to.len();
        if piece == 0 {
            to.copy_from_slice(self.first_piece()?.get(part).ok_or_else(cut_off)?);
        } else {
            to.copy_from_slice(locked(&self.recent).piece(self, piece)?.get(part).ok_or_else(cut_off)?);
        }
        Ok(())
    }

    /// The piece that was read at first.
    fn first_piece(&self) -> Result<&[u8], String> {
        let stored = self.first.get(HEADER_LEN..HEADER_LEN + TAG + self.header.len_of(0)).ok_or_else(cut_off)?;
        if !self.compared.load(Ordering::Acquire) {
            let (tag, bytes) = stored.split_first_chunk::<TAG>().ok_or_else(cut_off)?;
            self.compare(0, *tag, bytes)?;
            self.compared.store(true, Ordering::Release);
        }
        Ok(&stored[TAG..])
    }

    /// Compares a piece with its tag.
    fn compare(&self, piece: u64, tag: [u8; TAG], bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Err(cut_off());
        }
        let expected = piece_tag(&self.header.piece_key, piece, bytes);
        // Whoever can write the file could time it; all of it is looked at.
        let differs = expected.iter().zip(tag).fold(0, |differs, (a, b)| differs | (a ^ b));
        match differs == 0 {
            true => Ok(()),
            false => Err(format!("an artifact was changed, in its piece {piece}")),
        }
    }

    /// Reads and compares everything: so many pieces.
    ///
    /// # Errors
    /// If it cannot be read, or was changed anywhere.
    pub(super) fn compare_all(&self, pieces: u64) -> Result<(), String> {
        let mut bytes = vec![0; BATCH * PIECE];
        for first in (0..pieces).step_by(BATCH) {
            let batch = first..pieces.min(first + BATCH as u64);
            let rest = &mut bytes[..];
            let buffers = batch.scan(rest, |rest, piece| {
                let (buffer, behind) = std::mem::take(rest).split_at_mut(self.header.len_of(piece));
                *rest = behind;
                Some(buffer)
            });
            self.read_batches(first, buffers)?;
        }
        Ok(())
    }

    /// Reads whole pieces, of which the last may be the short one, and compares them.
    pub(super) fn read_pieces(&self, first: u64, bytes: &mut [u8]) -> Result<(), String> {
        self.read_batches(first, bytes.chunks_mut(PIECE))
    }

    /// As [`Content::read_pieces`], some into one buffer and those behind into another.
    pub(super) fn read_both(&self, first: u64, bytes: &mut [u8], behind: &mut [u8]) -> Result<(), String> {
        debug_assert!(bytes.len().is_multiple_of(PIECE));
        self.read_batches(first, bytes.chunks_mut(PIECE).chain(behind.chunks_mut(PIECE)))
    }

    fn read_batches<'b>(&self, first: u64, mut pieces: impl Iterator<Item = &'b mut [u8]>) -> Result<(), String> {
        let mut next = first;
        loop {
            let mut batch: Vec<&mut [u8]> = pieces.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.read_batch(next, &mut batch)?;
            next += batch.len() as u64;
        }
    }

    /// Reads pieces that follow one another with one call, and compares them.
    fn read_batch(&self, first: u64, pieces: &mut [&mut [u8]]) -> Result<(), String> {
        let (mut tags, wanted) = ([[0; TAG]; BATCH], pieces.iter().map(|piece| TAG + piece.len()).sum());
        let pairs = tags.iter_mut().zip(pieces.iter_mut());
        let mut buffers: Vec<_> =
            pairs.flat_map(|(tag, piece)| [io::IoSliceMut::new(tag), io::IoSliceMut::new(piece)]).collect();
        let read = loop {
            match rustix::io::preadv(&self.file, &mut buffers, self.header.place_of(first)) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(|error| format!("cannot read an artifact: {error}"))?,
            }
        };
        // A regular file gives all that it has.
        if read < wanted {
            return Err(cut_off());
        }
        (first..).zip(tags).zip(pieces).try_for_each(|((number, tag), piece)| self.compare(number, tag, piece))
    }

    /// The module's bytes of a range, which lie in its memory from then on.
    fn module(&self, range: Range<usize>) -> Result<&[u8], String> {
        let section = self.header.section(Section::Module);
        let len = (section.end - section.start) as usize;
        if range.start > range.end || range.end > len {
            return Err("there are no such bytes in the module".to_owned());
        }
        let module = self.module_memory(len)?;
        let pieces = range.start / PIECE..range.end.div_ceil(PIECE);
        if !pieces.clone().all(|piece| module.is_ready(piece)) {
            module.load(self, section.start / PIECE as u64, pieces)?;
        }
        let start = module.memory.as_ptr::<u8>().wrapping_add(range.start);
        // SAFETY: the range lies in the memory, in pieces that are ready; those never change while `self` lives.
        Ok(unsafe { std::slice::from_raw_parts(start, range.len()) })
    }

    fn module_memory(&self, len: usize) -> Result<&ModuleMemory, String> {
        if let Some(module) = self.module.get() {
            return Ok(module);
        }
        let memory = region::alloc(len.next_multiple_of(PIECE).max(1), Protection::READ_WRITE)
            .map_err(|error| format!("no memory for an artifact's module: {error}"))?;
        let ready = (0..len.div_ceil(PIECE).div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect();
        Ok(self.module.get_or_init(|| ModuleMemory { memory, ready, loading: Mutex::new(()) }))
    }
}

impl ModuleMemory {
    fn is_ready(&self, piece: usize) -> bool {
        self.ready[piece / BITS].load(Ordering::Acquire) >> (piece % BITS) & 1 == 1
    }

    /// Reads and compares those of the module's pieces that are not ready; `first` is the number of its first one.
    fn load(&self, content: &Content, first: u64, pieces: Range<usize>) -> Result<(), String> {
        let _loading = locked(&self.loading);
        let mut piece = pieces.start;
        while piece < pieces.end {
            // Neighbours are read together.
            let end = (piece..pieces.end).find(|&piece| self.is_ready(piece)).unwrap_or(pieces.end);
            if end == piece {
                piece += 1;
                continue;
            }
            let numbers = first + piece as u64..first + end as u64;
            let bytes = numbers.clone().map(|number| content.header.len_of(number)).sum();
            let place = self.memory.as_ptr::<u8>().cast_mut().wrapping_add(piece * PIECE);
            // SAFETY: the pieces lie in the memory; none is ready, so that no other slice of them exists, and the lock is held.
            let buffer = unsafe { std::slice::from_raw_parts_mut(place, bytes) };
            populate(buffer);
            content.read_pieces(numbers.start, buffer)?;
            for piece in piece..end {
                self.ready[piece / BITS].fetch_or(1 << (piece % BITS), Ordering::Release);
            }
            piece = end;
        }
        Ok(())
    }
}

/// Bytes that huge pages are asked for, which all will be filled.
const HUGE_FROM: usize = 4 << 20;

/// Asks for many pages at once before they are filled.
fn populate(buffer: &mut [u8]) {
    let (start, bytes) = (buffer.as_mut_ptr(), buffer.len());
    if bytes >= HUGE_FROM {
        pages::prefer_huge(start, bytes);
    }
    if bytes > PIECE {
        pages::populate(start, bytes);
    }
}

impl Recent {
    /// The bytes of a piece, read and compared unless they are here.
    fn piece(&mut self, content: &Content, piece: u64) -> Result<&[u8], String> {
        if let Some(known) = self.pieces.iter().position(|(number, _)| *number == piece) {
            return Ok(&self.pieces[known].1);
        }
        let mut bytes = vec![0; content.header.len_of(piece)].into_boxed_slice();
        content.read_pieces(piece, &mut bytes)?;
        let place = self.next % RECENT;
        self.next += 1;
        match self.pieces.get_mut(place) {
            Some(old) => *old = (piece, bytes),
            None => self.pieces.push((piece, bytes)),
        }
        Ok(&self.pieces[place].1)
    }
}

impl Functions for Content {
    fn row(&self, own_func: u32) -> Result<Row, String> {
        let at = u64::from(own_func) * Row::LEN as u64;
        let bytes = self.part(Section::Rows, at..at + Row::LEN as u64)?;
        Ok(Row::from_bytes(bytes.first_chunk().expect("a row's length")))
    }

    fn rows(&self) -> Result<Box<[Row]>, String> {
        let bytes = self.section(Section::Rows)?;
        Ok(bytes.as_chunks().0.iter().map(Row::from_bytes).collect())
    }
}

/// The module's bytes as the validator asks for them.
pub(super) struct ModuleBytes(pub(super) Arc<Content>);

impl aura_validator::Pieces for ModuleBytes {
    fn len(&self) -> usize {
        let section = self.0.header.section(Section::Module);
        (section.end - section.start) as usize
    }

    fn get(&self, range: Range<usize>) -> Result<&[u8], String> {
        self.0.module(range)
    }
}
