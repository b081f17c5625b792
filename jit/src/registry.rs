//! The registry: from a program counter to what is known of the code there.
//!
//! Process-wide, and made for signal handlers: [`trap_at`] takes no lock, allocates nothing and answers for any address
//! whatever; the others may decode what an artifact kept of the code. Each code memory has one record here; records are
//! never freed, but used again, and say in a version word when they change.
//!
//! Invariant: a table is freed only after its record stopped naming it and every reader that had
//! announced itself at the record has left.
//!
//! # Safety
//! Two operations are unsafe: following the list of records, which are never freed, and using a
//! record's table, which is sound by the invariant.

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aura_host_abi::TrapCode;

use crate::finish::{CallHandler, StackMaps};
use crate::kept::KeptTables;

/// What a piece of code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeKind {
    /// An own function of the module, by definition order.
    Function(u32),
    /// A stub between the calling conventions.
    Stub,
}

/// Where a program counter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLocation {
    /// The token that the module's code was registered with.
    pub module: u64,
    pub kind: CodeKind,
    /// Address of the code's first byte.
    pub start: usize,
    /// Offset in the module's bytes of the operator the instruction came from.
    pub module_offset: Option<u32>,
}

/// What is known of one piece of code.
#[derive(Debug)]
pub(crate) struct CodeInfo {
    pub(crate) kind: CodeKind,
    pub(crate) range: Range<usize>,
    pub(crate) tables: Tables,
}

/// The tables of a piece of code.
#[derive(Debug)]
pub(crate) enum Tables {
    Made(Decoded),
    /// In bytes, as an artifact has them; decoded when they are needed.
    Kept(KeptTables),
}

#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) traps: Box<[(u32, TrapCode)]>,
    pub(crate) srclocs: Box<[(u32, u32)]>,
    pub(crate) stack_maps: StackMaps,
    pub(crate) handlers: Box<[CallHandler]>,
}

impl Tables {
    /// The tables, which may have to be decoded first: not for signal handlers.
    fn get(&self) -> &Decoded {
        match self {
            Self::Made(tables) => tables,
            Self::Kept(tables) => tables.get(),
        }
    }

    /// What a fault at an offset means. For signal handlers too.
    fn trap(&self, offset: u32) -> Option<TrapCode> {
        match self {
            Self::Made(Decoded { traps, .. }) => {
                traps.binary_search_by_key(&offset, |trap| trap.0).ok().map(|at| traps[at].1)
            }
            Self::Kept(tables) => tables.trap(offset),
        }
    }
}

/// Finds the code at a program counter. For a return address, ask for the byte before it.
#[must_use]
pub fn lookup(pc: usize) -> Option<CodeLocation> {
    find(pc, |table, info| {
        let offset = (pc - info.range.start) as u32;
        let srclocs = &info.tables.get().srclocs;
        let next = srclocs.partition_point(|entry| entry.0 <= offset);
        let module_offset = next.checked_sub(1).map(|i| srclocs[i].1);
        Some(CodeLocation { module: table.module, kind: info.kind, start: info.range.start, module_offset })
    })
}

/// Where an exception lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landing {
    pub pc: usize,
    /// How far below the frame pointer the stack pointer is there.
    pub frame_size: usize,
}

/// Where the exceptions of the call with this return address land, if its function handles any.
#[must_use]
pub fn landing_of(return_pc: usize) -> Option<Landing> {
    // A return address may be the first byte after a call that ends its function.
    find(return_pc - 1, |_, info| {
        let offset = (return_pc - info.range.start) as u32;
        let handlers = &info.tables.get().handlers;
        let at = handlers.binary_search_by_key(&offset, |handler| handler.return_at).ok()?;
        let CallHandler { land_at, frame_size, .. } = handlers[at];
        Some(Landing { pc: info.range.start + land_at as usize, frame_size: frame_size as usize })
    })
}

/// The meaning of a fault at exactly this instruction, if it is one that compiled code may cause.
#[must_use]
pub fn trap_at(pc: usize) -> Option<TrapCode> {
    find(pc, |_, info| {
        let offset = (pc - info.range.start) as u32;
        info.tables.trap(offset)
    })
}

/// Calls `visit` for each reference to an object that the frame of a function keeps while it waits for a call to
/// return to exactly `return_pc`: how many bytes below the frame pointer its 32 bits lie.
pub fn stack_map(return_pc: usize, visit: impl FnMut(u32)) {
    let visit = std::cell::RefCell::new(visit);
    find(return_pc - 1, |_, info| {
        let offset = (return_pc - info.range.start) as u32;
        info.tables.get().stack_maps.at(offset).iter().for_each(|&below| visit.borrow_mut()(below));
        Some(())
    });
}

/// The pieces of code of one code memory, in the order of their addresses. Grows only at the end.
#[derive(Debug)]
pub(crate) struct CodeTable {
    module: u64,
    len: AtomicUsize,
    /// Chunk `i` holds `FIRST_CHUNK << i` entries.
    chunks: [OnceLock<Box<[OnceLock<CodeInfo>]>>; CHUNKS],
}

const FIRST_CHUNK: usize = 64;
const CHUNKS: usize = 24;

impl CodeTable {
    pub(crate) fn new(module: u64) -> Self {
        Self { module, len: AtomicUsize::new(0), chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// Adds an entry. Only one thread may add at a time, in the order of addresses.
    pub(crate) fn push(&self, info: CodeInfo) {
        let index = self.len.load(SeqCst);
        debug_assert!(index.checked_sub(1).is_none_or(|last| self.get(last).range.end <= info.range.start));
        let (chunk, at) = Self::place(index);
        let entries = self.chunks[chunk].get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| OnceLock::new()).collect());
        entries[at].set(info).expect("entries are written once");
        self.len.store(index + 1, SeqCst);
    }

    fn place(index: usize) -> (usize, usize) {
        let chunk = (index / FIRST_CHUNK + 1).ilog2() as usize;
        (chunk, index - FIRST_CHUNK * ((1 << chunk) - 1))
    }

    fn get(&self, index: usize) -> &CodeInfo {
        let (chunk, at) = Self::place(index);
        let entry = self.chunks[chunk].get().and_then(|entries| entries[at].get());
        entry.expect("entries below the length are written")
    }

    fn find(&self, pc: usize) -> Option<&CodeInfo> {
        let (mut low, mut high) = (0, self.len.load(SeqCst));
        while low < high {
            let middle = low.midpoint(high);
            let info = self.get(middle);
            if pc < info.range.start {
                high = middle;
            } else if pc >= info.range.end {
                low = middle + 1;
            } else {
                return Some(info);
            }
        }
        None
    }
}

/// A record: which addresses a table is for. Lives for ever.
#[derive(Debug)]
struct Record {
    /// Odd while the record changes.
    version: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    table: AtomicPtr<CodeTable>,
    readers: AtomicU32,
    next: AtomicPtr<Record>,
}

static RECORDS: AtomicPtr<Record> = AtomicPtr::new(ptr::null_mut());
/// Records that name no table. Registering and unregistering happens under this lock.
static FREE: Mutex<Vec<&'static Record>> = Mutex::new(Vec::new());

impl Record {
    /// Answers from this record's table if it is for `pc`.
    fn find<T>(&self, pc: usize, answer: &impl Fn(&CodeTable, &CodeInfo) -> Option<T>) -> Option<T> {
        let version = self.version.load(SeqCst);
        let is_here = version.is_multiple_of(2) && (self.start.load(SeqCst)..self.end.load(SeqCst)).contains(&pc);
        if !is_here {
            return None;
        }
        self.readers.fetch_add(1, SeqCst);
        let mut found = None;
        if self.version.load(SeqCst) == version {
            let table = self.table.load(SeqCst);
            // SAFETY: the version was even and unchanged after this reader announced itself, so the
            // record named this table then, and `unregister` waits for the reader before it frees it.
            let table = unsafe { &*table };
            found = table.find(pc).and_then(|info| answer(table, info));
        }
        self.readers.fetch_sub(1, SeqCst);
        found
    }

    fn change(&self, range: Range<usize>, table: *mut CodeTable) {
        self.version.fetch_add(1, SeqCst);
        self.start.store(range.start, SeqCst);
        self.end.store(range.end, SeqCst);
        self.table.store(table, SeqCst);
        self.version.fetch_add(1, SeqCst);
    }
}

fn records() -> impl Iterator<Item = &'static Record> {
    let static_ref = |record: &AtomicPtr<Record>| {
        // SAFETY: the list holds null and records that were leaked before they were linked.
        unsafe { record.load(SeqCst).as_ref() }
    };
    std::iter::successors(static_ref(&RECORDS), move |record| static_ref(&record.next))
}

fn find<T>(pc: usize, answer: impl Fn(&CodeTable, &CodeInfo) -> Option<T>) -> Option<T> {
    records().find_map(|record| record.find(pc, &answer))
}

/// A table as long as the registry knows it.
#[derive(Debug)]
pub(crate) struct Registration {
    record: &'static Record,
    table: Arc<CodeTable>,
}

impl Registration {
    /// Makes the table known as the one for these addresses.
    pub(crate) fn new(range: Range<usize>, table: CodeTable) -> Self {
        let table = Arc::new(table);
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let record = free.pop().unwrap_or_else(link_record);
        record.change(range, Arc::as_ptr(&table).cast_mut());
        Self { record, table }
    }

    pub(crate) fn table(&self) -> &CodeTable {
        &self.table
    }
}

/// Appends a record that names nothing. Called under the lock.
fn link_record() -> &'static Record {
    let record: &'static Record = Box::leak(Box::new(Record {
        version: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        table: AtomicPtr::default(),
        readers: AtomicU32::new(0),
        next: AtomicPtr::new(RECORDS.load(SeqCst)),
    }));
    RECORDS.store(ptr::from_ref(record).cast_mut(), SeqCst);
    record
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        self.record.change(0..0, ptr::null_mut());
        while self.record.readers.load(SeqCst) != 0 {
            std::hint::spin_loop();
        }
        free.push(self.record);
    }
}
