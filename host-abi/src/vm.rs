//! How an instance lies in memory while guest code runs.
//!
//! Plain `repr(C)` structures: compiled code takes their offsets with `offset_of!`, the
//! interpreter uses the fields. Only types that machine code reads or writes carry the prefix `Vm`.
//!
//! ```text
//! VmCtx   one per instance          VmStore  one per store           VmFuncEntry  one per function
//! +0   store ────────────────────▶  +0  stack_limit  (atomic)        +0  regs_entry   (atomic)
//! +8   entries ─▶ [VmFuncEntry]     +8  fuel                         +8  slots_entry  (atomic)
//! +16  host (engine's own data)     +16 services ─▶ VmServices       ...
//! +24  type_ids ─▶ [u32]            ... heap, and where in it the next object goes
//! then, at offsets from VmCtxLayout:
//!      imports  [*VmFuncRef]   the import vector: one pointer per imported function
//!      memories [VmMemoryRef]  imported ones first, as everywhere
//!      tables   [*VmTable]
//!      globals  [*VmGlobal]    imported ones only
//!      tags     [*VmTag]
//!      own      [VmMemory] [VmTable] [VmGlobal] [VmTag]   what the instance defines itself
//! ```
//!
//! Words that other threads change are atomic: the interrupt word, the entry words, the import cells.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::services::VmServices;

/// Address space kept for a 32-bit memory under guard pages, from its base: every 32-bit index.
pub const MEMORY_RESERVATION: u64 = 1 << 32;

/// Address space without access on both sides of that reservation. Compiled code omits the bounds
/// check of an access only if `offset + size` of it is at most this.
pub const MEMORY_GUARD: u64 = 1 << 31;

/// Compiled code that finds an access out of bounds turns its address into null, so that it faults below this address.
pub const NULL_PAGE: usize = 4096;

/// State that all instances of a store share.
#[repr(C)]
#[derive(Debug)]
pub struct VmStore {
    /// The lowest address the native stack may reach. Compiled code compares its stack pointer with it at function
    /// entries. `usize::MAX` therefore interrupts at the next check.
    pub stack_limit: AtomicUsize,
    /// Fuel left. Charged per basic block, tested at entries, loop headers and before host calls;
    /// negative means exhausted. Meaningless unless the engine consumes fuel.
    pub fuel: UnsafeCell<i64>,
    /// The engine services that guest code calls.
    pub services: *const VmServices,
    /// A page that compiled code reads at loop headers; an interrupt makes it unreadable. Set before compiled code of the store
    /// first runs, and the same from then on.
    pub poll: AtomicPtr<u8>,
    /// How much the frames of guest functions may still cost together. Counted only by code that was lowered for it.
    pub depth_left: UnsafeCell<i64>,
    /// The innermost activation of compiled code; see [`VmActivation`]. Null, or `outermost`, if no other is in progress.
    pub activation: UnsafeCell<*mut VmActivation>,
    /// Code of the pending trap ([`crate::TrapCode`] as a number), 0 if none.
    pub trap: UnsafeCell<u32>,
    pub padding: u32,
    /// For a memory fault, the host address that faulted.
    pub fault_address: UnsafeCell<usize>,
    /// The tail call that is on its way out of the interpreter; see [`crate::trap::Status::TailCall`].
    pub tail: UnsafeCell<VmTail>,
    /// The store's own data, for the engine only.
    pub host: UnsafeCell<*mut ()>,
    /// The base of the heap, set before the first instance is linked; see [`crate::gc`].
    pub heap: AtomicPtr<u8>,
    /// Offset in the heap of the next young object. From here to `heap_limit` all bytes are zero.
    pub heap_next: UnsafeCell<u64>,
    /// Where the bytes for young objects end that may be taken without asking the engine.
    pub heap_limit: UnsafeCell<u64>,
    /// The exception on its way to a handler, 0 if none: a place the collector knows.
    pub exception: UnsafeCell<u32>,
    pub padding2: u32,
    /// The engine's types: number `n` is in chunk `n / TYPES_PER_CHUNK`. Only numbers that the engine gave are looked up.
    pub types: *const AtomicPtr<VmTypeChunk>,
    /// The activation of calls that the host makes the short way while nothing of the store runs: it is made once. Between such
    /// calls, and until compiled code leaves for Rust, its `exit_pc` is that of an earlier one.
    pub outermost: UnsafeCell<VmActivation>,
}

/// A tail call that the interpreter leaves to whoever called it: whom to call, with what.
#[repr(C)]
#[derive(Debug)]
pub struct VmTail {
    pub vmctx: *mut VmCtx,
    pub entry: *const VmFuncEntry,
    /// The entry's `tail_entry`, for callers that are compiled code.
    pub code: *const (),
    /// The arguments in slots; null until the first such call.
    pub args: *mut u64,
}

/// As many types with consecutive canonical numbers, null where there is none yet.
pub type VmTypeChunk = [AtomicPtr<VmType>; TYPES_PER_CHUNK];

/// A power of two.
pub const TYPES_PER_CHUNK: usize = 1 << 10;

/// A defined type as casts and checked calls look at it. Immutable once published.
#[repr(C)]
#[derive(Debug)]
pub struct VmType {
    /// Canonical numbers of its supertypes, the top one first, and at `depth` its own; at least
    /// [`DISPLAY_MIN`] numbers, filled up with [`NO_TYPE`].
    pub ancestors: *const u32,
    /// How many supertypes it has.
    pub depth: u32,
    pub padding: u32,
}

/// Length of the shortest [`VmType::ancestors`]: what lies below this depth is compared without a look at the depth.
pub const DISPLAY_MIN: usize = 8;

/// The canonical number of no type.
pub const NO_TYPE: u32 = u32::MAX;

/// One entry from Rust into compiled code, on the native stack, chained to the one before it.
#[repr(C)]
#[derive(Debug)]
pub struct VmActivation {
    pub previous: *mut VmActivation,
    /// Where to go on when compiled code traps, and with which stack pointer. Frames of the activation lie below it: that is where a
    /// walk over them ends.
    pub entry_pc: usize,
    pub entry_sp: usize,
    /// Frame pointer and program counter of compiled code when it last left for Rust; no program counter if it has not left.
    pub exit_fp: usize,
    pub exit_pc: usize,
    /// Where the exception that was thrown last lands: program counter, stack pointer and frame pointer.
    pub landing_pc: usize,
    pub landing_sp: usize,
    pub landing_fp: usize,
}

impl VmActivation {
    /// An activation that has not begun.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            previous: std::ptr::null_mut(),
            entry_pc: 0,
            entry_sp: 0,
            exit_fp: 0,
            exit_pc: 0,
            landing_pc: 0,
            landing_sp: 0,
            landing_fp: 0,
        }
    }
}

impl Default for VmActivation {
    fn default() -> Self {
        Self::new()
    }
}

/// The fixed head of an instance. Variable parts follow at the offsets of [`VmCtxLayout`].
#[repr(C, align(16))]
#[derive(Debug)]
pub struct VmCtx {
    pub store: *mut VmStore,
    /// Entry words of the module's own (not imported) functions, by definition order.
    pub entries: *const VmFuncEntry,
    /// The instance's data in the engine.
    pub host: *mut (),
    /// The engine's canonical number of each of the module's types: what machine code of any engine looks up here.
    pub type_ids: *const u32,
    /// A host function that the instance imports panicked: nothing of it is called again.
    pub poisoned: Cell<bool>,
    pub padding: [u8; 7],
}

/// What a reference to a function points to: immutable once published.
///
/// Capability calls, host functions and guest functions of any instance look alike: whoever calls
/// loads `entry`, then its entry word, and passes `vmctx` and `entry` as hidden parameters.
#[repr(C)]
#[derive(Debug)]
pub struct VmFuncRef {
    pub entry: *const VmFuncEntry,
    /// The callee's instance; for a host function, a [`VmHostFunc`].
    pub vmctx: *mut VmCtx,
    /// Canonical index of the function's type in its engine.
    pub type_id: u32,
    pub padding: u32,
}

/// The context of one host function as imported by one instance. Its head is that of [`VmCtx`],
/// so that services reach the store the same way.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct VmHostFunc {
    pub store: *mut VmStore,
    pub entries: *const VmFuncEntry,
    /// The instance that imports it, null if called by the host itself.
    pub home: *mut VmCtx,
}

/// The entry words of a function, shared by all instances of its module.
///
/// `slots_entry`: `extern "C" fn(*mut VmCtx, *const VmFuncEntry, *mut u64) -> Status`, arguments and
/// results in the slot array. `regs_entry`: Cranelift's `tail` convention with the hidden parameters
/// `(vmctx, entry)` before the arguments, results in registers; reached from compiled code only.
/// Both words always hold something callable once the entry is made. A module makes those of its functions one by one, each
/// before code is compiled that calls the function, or a reference to it exists; until then it is all zero, so that the
/// interpreter, which calls by a function's place, finds no form.
#[repr(C)]
#[derive(Debug, Default)]
pub struct VmFuncEntry {
    pub regs_entry: AtomicPtr<()>,
    pub slots_entry: AtomicPtr<()>,
    /// Null until first needed. Then as `regs_entry` without arguments: it takes those from [`VmTail::args`], and is to be tail-called.
    pub tail_entry: AtomicPtr<()>,
    owner: AtomicPtr<()>,
    index: AtomicU32,
    type_id: AtomicU32,
    /// What the interpreter made of the function; null before its first interpreted call.
    pub form: AtomicPtr<()>,
    /// Whether `regs_entry` holds the function's own code for good, so that the host may call it without a look at the tier.
    pub direct: AtomicBool,
    /// How often the interpreter entered the function or one of its loops.
    pub heat: AtomicU32,
    /// The heat at which the engine is asked to compile the function: 0 before the first entry, the largest number once
    /// it was asked.
    pub limit: AtomicU32,
}

impl VmFuncEntry {
    /// Makes the entry, unless that was done before. Whoever does this for one entry at the same time passes the same.
    pub fn make(&self, [regs, slots]: [*mut (); 2], owner: *const (), index: u32, type_id: u32) {
        self.owner.store(owner.cast_mut(), Ordering::Relaxed);
        self.index.store(index, Ordering::Relaxed);
        self.type_id.store(type_id, Ordering::Relaxed);
        // Another thread may have made the entry, and put compiled code into the words since. The last word says that all is there.
        for (word, first) in [(&self.regs_entry, regs), (&self.slots_entry, slots)] {
            let _ = word.compare_exchange(std::ptr::null_mut(), first, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// Replaces the words by compiled code. Whoever sees one of them sees those before it.
    pub fn publish(&self, regs: *mut (), slots: *mut ()) {
        self.regs_entry.store(regs, Ordering::Release);
        self.slots_entry.store(slots, Ordering::Release);
        self.direct.store(true, Ordering::Release);
    }

    /// Whether the entry is made.
    #[inline]
    pub fn is_made(&self) -> bool {
        !self.slots_entry.load(Ordering::Acquire).is_null()
    }

    /// What the engine knows of the function's module; for host functions, the engine's own data.
    #[inline]
    pub fn owner(&self) -> *const () {
        self.owner.load(Ordering::Relaxed)
    }

    /// Index among the module's own functions; the largest number for host functions.
    #[inline]
    pub fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed)
    }

    /// Canonical index of the function's type in its engine.
    #[inline]
    pub fn type_id(&self) -> u32 {
        self.type_id.load(Ordering::Relaxed)
    }

    /// Makes the function hotter and returns its heat, which stays below the largest number. Counts of other threads at
    /// the same time may be lost.
    #[inline]
    pub fn heat_by(&self, amount: u32) -> u32 {
        let heat = self.heat.load(Ordering::Relaxed).saturating_add(amount).min(u32::MAX - 1);
        self.heat.store(heat, Ordering::Relaxed);
        heat
    }
}

/// A memory as an instance sees it: the base never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VmMemoryRef {
    pub base: *mut u8,
    pub memory: *mut VmMemory,
}

/// A linear memory. The reservation never moves; only the length grows.
#[repr(C)]
#[derive(Debug)]
pub struct VmMemory {
    pub base: *mut u8,
    /// Length in bytes that the guest may access.
    pub length: AtomicU64,
    /// How far from the base Rust code may read and write by plain accesses. It is `length`, but at most the
    /// beginning of the first window for sharing, where what is lent may be read-only, absent, or withdrawn by another
    /// thread at any moment, so that an access may fault; and 0 in a shared memory, whose bytes are raced.
    /// What lies beyond goes another way: see `runtime/src/vm/lending.rs`. Compiled code does not look at it.
    pub plain_length: AtomicU64,
    /// The engine's record of the memory.
    pub host: *mut (),
}

/// A table. Elements are 64 bits each: [`crate::SlotType::Func`] or [`crate::SlotType::Ref`] values.
#[repr(C)]
#[derive(Debug)]
pub struct VmTable {
    pub base: UnsafeCell<*mut u64>,
    /// In elements.
    pub length: UnsafeCell<u64>,
    /// The engine's record of the table.
    pub host: *mut (),
}

/// A global: 16 bytes for any type.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct VmGlobal {
    pub bits: UnsafeCell<[u64; 2]>,
}

/// A tag of exceptions. Its address is its identity.
#[repr(C)]
#[derive(Debug)]
pub struct VmTag {
    /// Canonical index of its function type in its engine: the parameters are what exceptions carry.
    pub type_id: u32,
    pub padding: u32,
}

/// How many of each thing a module has. Imported ones come first in every index space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmCounts {
    pub imported_funcs: u32,
    pub memories: u32,
    pub imported_memories: u32,
    pub tables: u32,
    pub imported_tables: u32,
    pub globals: u32,
    pub imported_globals: u32,
    pub tags: u32,
    pub imported_tags: u32,
}

/// Offsets in bytes of the variable parts behind a [`VmCtx`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmCtxLayout {
    counts: VmCounts,
    imports: u32,
    memories: u32,
    tables: u32,
    globals: u32,
    tags: u32,
    own_memories: u32,
    own_tables: u32,
    own_globals: u32,
    own_tags: u32,
    size: u32,
}

macro_rules! array_offset {
    ($name:ident, $elem:ty, $count:ident $(- $less:ident)?) => {
        #[doc = concat!("Offset of element `index` of the part `", stringify!($name), "` ([`", stringify!($elem), "`]).")]
        ///
        /// # Panics
        /// If the module has no such element.
        #[must_use]
        pub fn $name(&self, index: u32) -> i32 {
            assert!(index < self.counts.$count $(- self.counts.$less)?, concat!(stringify!($name), " index in range"));
            (self.$name as usize + index as usize * size_of::<$elem>()).try_into().expect("layout fits 31 bits")
        }
    };
}

impl VmCtxLayout {
    /// Lays out an instance.
    ///
    /// # Panics
    /// If the block would pass 2 GiB; the validator's limits keep modules far below.
    #[must_use]
    pub fn new(counts: VmCounts) -> Self {
        let mut end = size_of::<VmCtx>();
        let mut part = |elem: usize, count: u32| {
            let start = end.next_multiple_of(16);
            end = start + elem * count as usize;
            u32::try_from(start).expect("layout fits 32 bits")
        };
        let imports = part(size_of::<AtomicPtr<VmFuncRef>>(), counts.imported_funcs);
        let memories = part(size_of::<VmMemoryRef>(), counts.memories);
        let tables = part(size_of::<*mut VmTable>(), counts.tables);
        let globals = part(size_of::<*mut VmGlobal>(), counts.imported_globals);
        let tags = part(size_of::<*mut VmTag>(), counts.tags);
        let own_memories = part(size_of::<VmMemory>(), counts.memories - counts.imported_memories);
        let own_tables = part(size_of::<VmTable>(), counts.tables - counts.imported_tables);
        let own_globals = part(size_of::<VmGlobal>(), counts.globals - counts.imported_globals);
        let own_tags = part(size_of::<VmTag>(), counts.tags - counts.imported_tags);
        let size = part(16, 0);
        assert!(size <= i32::MAX as u32, "instance layout stays below 2 GiB");
        Self { counts, imports, memories, tables, globals, tags, own_memories, own_tables, own_globals, own_tags, size }
    }

    /// What was laid out.
    #[must_use]
    pub fn counts(&self) -> &VmCounts {
        &self.counts
    }

    /// Size of the whole block in bytes, a multiple of 16.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size as usize
    }

    array_offset!(imports, AtomicPtr<VmFuncRef>, imported_funcs);
    array_offset!(memories, VmMemoryRef, memories);
    array_offset!(tables, *mut VmTable, tables);
    array_offset!(globals, *mut VmGlobal, imported_globals);
    array_offset!(tags, *mut VmTag, tags);
    array_offset!(own_memories, VmMemory, memories - imported_memories);
    array_offset!(own_tables, VmTable, tables - imported_tables);
    array_offset!(own_globals, VmGlobal, globals - imported_globals);
    array_offset!(own_tags, VmTag, tags - imported_tags);
}
