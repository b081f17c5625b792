//! `Code`: the one form of a function body that both tiers run.
//!
//! Flat instructions on numbered, typed frame slots, and labels. Dead code, stack polymorphism and
//! branch shuffles are gone: each operand has a place, each branch goes to an instruction, values a
//! branch carries were moved by [`Inst::Copy`] before it. The interpreter is a loop over it; the
//! JIT is a loop over it in which a (slot, class) is a variable.
//!
//! ```text
//! frame:   ref slots, downwards ◀── frame base ──▶ value slots, upwards
//!          ... -3 -2 -1                 0 1 2 ...
//! ```
//!
//! Parameters come first in each range, in order, then the other locals, then operands. A value of
//! class `V128` takes slots `n` and `n + 1`. At entry the parameters are in place, and every reference
//! slot and every other local that is read before it is written is zero. At a label all values live in their own slots: locals
//! and operands are the whole state.

use std::ops::{Deref, DerefMut};

use aura_host_abi::{RefType, SlotType, TrapCode};

use crate::codec::{Coded, coded_struct, decode, define_coded, take_len};
use crate::ops::Op;

/// A place in a frame: 64 bits at `frame base + 8 * slot`. Negative slots hold collected references, and only those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub i32);

/// A slot and the class of the value in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    pub slot: Slot,
    pub ty: SlotType,
}

/// Index into [`Code::labels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelId(pub u32);

/// A place to branch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Index of the instruction that runs next.
    pub pc: u32,
    /// A loop's head: branches to it go back, and `insts[pc]` is its [`Inst::LoopHeader`].
    pub is_loop: bool,
}

/// A range of [`Code::operands`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operands {
    pub start: u32,
    pub len: u32,
}

/// Index into [`Code::calls`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId(pub u32);

/// Arguments and results of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOperands {
    pub args: Operands,
    /// Where the results go.
    pub results: Operands,
}

/// Index into [`Code::memargs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemArgId(pub u32);

/// The static part of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemArg {
    pub memory: u32,
    pub offset: u64,
}

define_coded! {
    /// One instruction. Slots are read before any is written, unless said otherwise.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Inst {
        /// A numeric row with one operand.
        Unary {
            op: Op,
            dst: Slot,
            a: Slot,
        },
        /// A numeric row with two operands.
        Binary {
            op: Op,
            dst: Slot,
            a: Slot,
            b: Slot,
        },
        /// A numeric row with three operands (`v128.bitselect` and its like).
        Ternary {
            op: Op,
            dst: Slot,
            a: Slot,
            b: Slot,
            c: Slot,
        },
        /// A wide row: its two results go to `dst` and the slot behind it. Operands beyond the row's repeat the last one.
        Wide {
            op: Op,
            dst: Slot,
            args: [Slot; 4],
        },
        /// A lane row with one operand: extract.
        ExtractLane {
            op: Op,
            lane: u8,
            dst: Slot,
            a: Slot,
        },
        /// A lane row with two operands: replace lane of `a` by `b`.
        ReplaceLane {
            op: Op,
            lane: u8,
            dst: Slot,
            a: Slot,
            b: Slot,
        },
        /// `i8x16.shuffle`; `lanes` is an index into [`Code::v128s`].
        Shuffle {
            dst: Slot,
            a: Slot,
            b: Slot,
            lanes: u32,
        },
        /// A load row.
        Load {
            op: Op,
            dst: Slot,
            addr: Slot,
            mem: MemArgId,
        },
        /// A store row.
        Store {
            op: Op,
            addr: Slot,
            value: Slot,
            mem: MemArgId,
        },
        /// A load-lane row: `dst` is `vector` with one lane loaded.
        LoadLane {
            op: Op,
            lane: u8,
            dst: Slot,
            addr: Slot,
            vector: Slot,
            mem: MemArgId,
        },
        /// A store-lane row.
        StoreLane {
            op: Op,
            lane: u8,
            addr: Slot,
            vector: Slot,
            mem: MemArgId,
        },
        /// An atomic load row. Atomic accesses trap with [`TrapCode::UnalignedAtomic`] if their address is
        /// not a multiple of their size, whether it is in bounds or not, and are sequentially consistent.
        AtomicLoad {
            op: Op,
            dst: Slot,
            addr: Slot,
            mem: MemArgId,
        },
        /// An atomic store row.
        AtomicStore {
            op: Op,
            addr: Slot,
            value: Slot,
            mem: MemArgId,
        },
        /// A read-modify-write row: `dst` is what was in memory.
        AtomicRmw {
            op: Op,
            dst: Slot,
            addr: Slot,
            value: Slot,
            mem: MemArgId,
        },
        /// A compare-exchange row: `dst` is what was in memory.
        AtomicCmpxchg {
            op: Op,
            dst: Slot,
            addr: Slot,
            expected: Slot,
            replacement: Slot,
            mem: MemArgId,
        },
        /// `memory.atomic.wait32` or `wait64`, by the class of `expected`.
        AtomicWait {
            ty: SlotType,
            dst: Slot,
            addr: Slot,
            expected: Slot,
            timeout: Slot,
            mem: MemArgId,
        },
        AtomicNotify {
            dst: Slot,
            addr: Slot,
            count: Slot,
            mem: MemArgId,
        },
        AtomicFence,
        /// A constant of a 32-bit class.
        Const32 {
            ty: SlotType,
            dst: Slot,
            bits: u32,
        },
        /// A constant of a 64-bit class, low and high word.
        Const64 {
            ty: SlotType,
            dst: Slot,
            low: u32,
            high: u32,
        },
        /// A vector constant; `index` into [`Code::v128s`].
        ConstV128 {
            dst: Slot,
            index: u32,
        },
        Copy {
            ty: SlotType,
            dst: Slot,
            src: Slot,
        },
        /// `dst = if cond != 0 { a } else { b }`.
        Select {
            ty: SlotType,
            dst: Slot,
            cond: Slot,
            a: Slot,
            b: Slot,
        },
        GlobalGet {
            ty: SlotType,
            dst: Slot,
            global: u32,
        },
        GlobalSet {
            ty: SlotType,
            global: u32,
            src: Slot,
        },

        RefNull {
            ty: SlotType,
            dst: Slot,
        },
        RefIsNull {
            ty: SlotType,
            dst: Slot,
            src: Slot,
        },
        RefFunc {
            dst: Slot,
            func: u32,
        },
        /// Ends with a trap if the reference is null.
        TrapIfNull {
            ty: SlotType,
            src: Slot,
            code: TrapCode,
        },

        /// Whether a reference is of the type `target`, an index into [`Code::ref_types`].
        RefTest {
            ty: SlotType,
            dst: Slot,
            src: Slot,
            target: u32,
        },
        /// Ends with a trap if a reference is not of the type `target`, an index into [`Code::ref_types`].
        RefCast {
            ty: SlotType,
            src: Slot,
            target: u32,
        },
        RefEq {
            dst: Slot,
            a: Slot,
            b: Slot,
        },
        RefI31 {
            dst: Slot,
            src: Slot,
        },
        I31Get {
            signed: bool,
            dst: Slot,
            src: Slot,
        },

        /// The operands of this and the other instructions that make objects are read after the object was made.
        StructNew {
            type_index: u32,
            dst: Slot,
            fields: Operands,
        },
        StructNewDefault {
            type_index: u32,
            dst: Slot,
        },
        /// Packed fields are extended as `signed` says.
        StructGet {
            type_index: u32,
            field: u16,
            signed: bool,
            dst: Slot,
            object: Slot,
        },
        StructSet {
            type_index: u32,
            field: u16,
            object: Slot,
            value: Slot,
        },
        ArrayNew {
            type_index: u32,
            dst: Slot,
            init: Slot,
            len: Slot,
        },
        ArrayNewDefault {
            type_index: u32,
            dst: Slot,
            len: Slot,
        },
        ArrayNewFixed {
            type_index: u32,
            dst: Slot,
            elements: Operands,
        },
        ArrayNewData {
            type_index: u32,
            segment: u32,
            dst: Slot,
            src: Slot,
            len: Slot,
        },
        ArrayNewElem {
            type_index: u32,
            segment: u32,
            dst: Slot,
            src: Slot,
            len: Slot,
        },
        /// Packed elements are extended as `signed` says.
        ArrayGet {
            type_index: u32,
            signed: bool,
            dst: Slot,
            array: Slot,
            index: Slot,
        },
        ArraySet {
            type_index: u32,
            array: Slot,
            index: Slot,
            value: Slot,
        },
        ArrayLen {
            dst: Slot,
            array: Slot,
        },
        ArrayFill {
            type_index: u32,
            array: Slot,
            index: Slot,
            value: Slot,
            len: Slot,
        },
        /// Operands: array, index, array to copy from, index there, length.
        ArrayCopy {
            type_index: u32,
            operands: Operands,
        },
        /// Operands: array, index, offset in the segment, length.
        ArrayInitData {
            type_index: u32,
            segment: u32,
            operands: Operands,
        },
        /// Operands: array, index, index in the segment, length.
        ArrayInitElem {
            type_index: u32,
            segment: u32,
            operands: Operands,
        },

        TableGet {
            ty: SlotType,
            dst: Slot,
            table: u32,
            index: Slot,
        },
        TableSet {
            ty: SlotType,
            table: u32,
            index: Slot,
            value: Slot,
        },
        TableSize {
            dst: Slot,
            table: u32,
        },
        TableGrow {
            ty: SlotType,
            dst: Slot,
            table: u32,
            init: Slot,
            delta: Slot,
        },
        TableFill {
            ty: SlotType,
            table: u32,
            at: Slot,
            value: Slot,
            len: Slot,
        },
        TableCopy {
            dst_table: u32,
            src_table: u32,
            dst: Slot,
            src: Slot,
            len: Slot,
        },
        TableInit {
            table: u32,
            segment: u32,
            dst: Slot,
            src: Slot,
            len: Slot,
        },
        ElemDrop {
            segment: u32,
        },

        MemorySize {
            dst: Slot,
            memory: u32,
        },
        MemoryGrow {
            dst: Slot,
            memory: u32,
            delta: Slot,
        },
        MemoryFill {
            memory: u32,
            dst: Slot,
            byte: Slot,
            len: Slot,
        },
        MemoryCopy {
            dst_memory: u32,
            src_memory: u32,
            dst: Slot,
            src: Slot,
            len: Slot,
        },
        MemoryInit {
            memory: u32,
            segment: u32,
            dst: Slot,
            src: Slot,
            len: Slot,
        },
        DataDrop {
            segment: u32,
        },

        /// First instruction of a loop: the place where interrupts are noticed and tiers change.
        LoopHeader {
            label: LabelId,
        },
        /// Charges a basic block: the balance falls by `cost`, and if it is then negative the trap is
        /// [`TrapCode::OutOfFuel`]. Present only if [`crate::LowerOptions::fuel`] is on.
        Fuel {
            cost: u32,
        },
        /// First instruction of a function, if [`crate::LowerOptions::depth`] is on: what the store's frames may still
        /// cost goes to `saved` and falls by `cost`; if it is then negative the trap is [`TrapCode::StackOverflow`].
        Enter {
            saved: Slot,
            cost: u32,
        },
        /// Stands before each instruction that ends the frame: puts back what the store's frames could cost before it.
        Leave {
            saved: Slot,
        },
        Br {
            target: LabelId,
        },
        /// Branches if the `i32` is not zero.
        BrIf {
            cond: Slot,
            target: LabelId,
        },
        /// Branches if the `i32` is zero.
        BrIfZero {
            cond: Slot,
            target: LabelId,
        },
        /// Branches by the unsigned `i32` index into `targets` (a range of [`Code::targets`]); the last one is the default.
        BrTable {
            index: Slot,
            start: u32,
            len: u32,
        },
        /// Calls by index in the module's function space.
        Call {
            func: u32,
            call: CallId,
        },
        CallIndirect {
            table: u32,
            type_index: u32,
            index: Slot,
            call: CallId,
        },
        /// Calls in place of the running function: its frame is over when the callee's begins.
        ReturnCall {
            func: u32,
            args: Operands,
        },
        ReturnCallIndirect {
            table: u32,
            type_index: u32,
            index: Slot,
            args: Operands,
        },
        /// Calls what a reference of a function type refers to; a trap if it is null.
        CallRef {
            type_index: u32,
            func: Slot,
            call: CallId,
        },
        ReturnCallRef {
            type_index: u32,
            func: Slot,
            args: Operands,
        },
        /// Makes an exception of a tag and throws it.
        Throw {
            tag: u32,
            args: Operands,
        },
        /// Throws an exception; traps on null.
        ThrowRef {
            exn: Slot,
        },
        Return {
            values: Operands,
        },
        /// Ends with a trap.
        Trap {
            code: TrapCode,
        },
    }
}

// Code is held per function for as long as a module lives.
const _: () = assert!(size_of::<Inst>() <= 24, "an instruction stays small");

impl Inst {
    /// The slot that gets the instruction's one result; `None` for calls, whose results are in their
    /// operands, for wide rows, which have two, and for instructions without a result.
    #[must_use]
    pub fn dst(&self) -> Option<Slot> {
        { *self }.dst_mut().copied()
    }

    /// Whether the instruction ends the frame, other than by a trap.
    pub(crate) fn ends_frame(&self) -> bool {
        matches!(
            self,
            Self::Return { .. }
                | Self::ReturnCall { .. }
                | Self::ReturnCallIndirect { .. }
                | Self::ReturnCallRef { .. }
        )
    }

    /// As [`Self::dst`], to give the result another place.
    pub(crate) fn dst_mut(&mut self) -> Option<&mut Slot> {
        match self {
            Self::Unary { dst, .. }
            | Self::Binary { dst, .. }
            | Self::Ternary { dst, .. }
            | Self::ExtractLane { dst, .. }
            | Self::ReplaceLane { dst, .. }
            | Self::Shuffle { dst, .. }
            | Self::Load { dst, .. }
            | Self::LoadLane { dst, .. }
            | Self::AtomicLoad { dst, .. }
            | Self::AtomicRmw { dst, .. }
            | Self::AtomicCmpxchg { dst, .. }
            | Self::AtomicWait { dst, .. }
            | Self::AtomicNotify { dst, .. }
            | Self::Const32 { dst, .. }
            | Self::Const64 { dst, .. }
            | Self::ConstV128 { dst, .. }
            | Self::Copy { dst, .. }
            | Self::Select { dst, .. }
            | Self::GlobalGet { dst, .. }
            | Self::RefNull { dst, .. }
            | Self::RefIsNull { dst, .. }
            | Self::RefFunc { dst, .. }
            | Self::RefTest { dst, .. }
            | Self::RefEq { dst, .. }
            | Self::RefI31 { dst, .. }
            | Self::I31Get { dst, .. }
            | Self::StructNew { dst, .. }
            | Self::StructNewDefault { dst, .. }
            | Self::StructGet { dst, .. }
            | Self::ArrayNew { dst, .. }
            | Self::ArrayNewDefault { dst, .. }
            | Self::ArrayNewFixed { dst, .. }
            | Self::ArrayNewData { dst, .. }
            | Self::ArrayNewElem { dst, .. }
            | Self::ArrayGet { dst, .. }
            | Self::ArrayLen { dst, .. }
            | Self::TableGet { dst, .. }
            | Self::TableSize { dst, .. }
            | Self::TableGrow { dst, .. }
            | Self::MemorySize { dst, .. }
            | Self::MemoryGrow { dst, .. } => Some(dst),
            _ => None,
        }
    }
}

/// Instructions around which handlers of exceptions stand.
///
/// An exception that a call or throw in `start..end` raises, and no region inside handles, goes
/// to the first of `handlers` that takes its tag; if none does, to the region `outer`.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    pub start: u32,
    pub end: u32,
    /// Index of the region that these instructions stand in; it comes before this one.
    pub parent: Option<u32>,
    /// Where exceptions go on that no handler takes: `parent`, or one further out.
    pub outer: Option<u32>,
    /// What it costs that an exception comes here, charged as by [`Inst::Fuel`] before handlers are looked at; 0 without fuel.
    pub cost: u32,
    pub handlers: Vec<Handler>,
}

/// A handler: writes what the exception carries and branches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Handler {
    /// The tag, an index of the module; `None` takes every exception.
    pub tag: Option<u32>,
    /// Where the tag's values go.
    pub payload: Operands,
    /// Where a reference to the exception goes.
    pub exn: Option<Slot>,
    pub target: LabelId,
}

/// A run of locals of one class in consecutive slots (descending for references).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRun {
    pub ty: SlotType,
    pub first: Slot,
    pub count: u32,
}

impl LocalRun {
    /// The slots of the run, one per local.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        let step = if self.first.0 < 0 { -1 } else { self.ty.slots() as i32 };
        (0..self.count as i32).map(move |i| Slot(self.first.0 + i * step))
    }
}

/// The shape of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameLayout {
    /// Where each parameter is at entry.
    pub params: Box<[Operand]>,
    /// The other locals, zero at entry.
    pub locals: Box<[LocalRun]>,
    /// Those of them, references aside, that may be read before they are written: nobody can tell what the others hold at entry.
    pub zeroed: Box<[LocalRun]>,
    /// Value slots that are locals (parameters included): operands start here.
    pub local_slots: u32,
    /// All value slots.
    pub value_slots: u32,
    /// All reference slots.
    pub ref_slots: u32,
}

/// Where the operators are that instructions came from, offsets in the module's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets(pub Vec<u32>);

impl Deref for Offsets {
    type Target = Vec<u32>;

    fn deref(&self) -> &Vec<u32> {
        &self.0
    }
}

impl DerefMut for Offsets {
    fn deref_mut(&mut self) -> &mut Vec<u32> {
        &mut self.0
    }
}

/// A lowered function body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Code {
    pub frame: FrameLayout,
    pub insts: Vec<Inst>,
    /// For each instruction, the offset in the module's bytes of the operator it came from.
    pub offsets: Offsets,
    pub labels: Vec<Label>,
    pub targets: Vec<LabelId>,
    pub operands: Vec<Operand>,
    pub calls: Vec<CallOperands>,
    pub memargs: Vec<MemArg>,
    pub v128s: Vec<[u8; 16]>,
    /// In the order of their starts, outer ones before inner ones.
    pub regions: Vec<Region>,
    /// Types that references are tested for.
    pub ref_types: Vec<RefType>,
}

coded_struct! {
    Operand { slot, ty }
    Label { pc, is_loop }
    Operands { start, len }
    CallOperands { args, results }
    MemArg { memory, offset }
    Region { start, end, parent, outer, cost, handlers }
    Handler { tag, payload, exn, target }
    LocalRun { ty, first, count }
    FrameLayout { params, locals, zeroed, local_slots, value_slots, ref_slots }
    Code { frame, insts, offsets, labels, targets, operands, calls, memargs, v128s, regions, ref_types }
}

macro_rules! coded_number {
    ($($name:ident)*) => {$(
        impl Coded for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                Coded::take(bytes).map(Self)
            }
        }
    )*};
}

coded_number!(Slot LabelId CallId MemArgId);

/// Neighbours differ little.
impl Coded for Offsets {
    fn put(&self, out: &mut Vec<u8>) {
        (self.0.len() as u64).put(out);
        let mut before = 0;
        for &offset in &self.0 {
            (i64::from(offset) - before).put(out);
            before = offset.into();
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let len = take_len(bytes)?;
        let mut before = 0_i64;
        let mut next = || {
            before = before.checked_add(Coded::take(bytes)?)?;
            u32::try_from(before).ok()
        };
        (0..len).map(|_| next()).collect::<Option<_>>().map(Self)
    }
}

impl Code {
    /// The code as bytes, for [`Code::decode`] of the same build.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        bytes
    }

    /// The code of these bytes; `None` if they are no code's. What runs it believes it: the bytes must be what
    /// [`Code::encode`] gave.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        decode(bytes)
    }

    /// The operands of a range.
    #[must_use]
    pub fn operands(&self, range: Operands) -> &[Operand] {
        &self.operands[range.start as usize..][..range.len as usize]
    }

    /// The operands of a call.
    #[must_use]
    pub fn call(&self, id: CallId) -> (&[Operand], &[Operand]) {
        let call = &self.calls[id.0 as usize];
        (self.operands(call.args), self.operands(call.results))
    }

    /// The innermost region around an instruction.
    #[must_use]
    pub fn region_at(&self, pc: u32) -> Option<u32> {
        let before = self.regions.partition_point(|region| region.start <= pc);
        let mut found = before.checked_sub(1)? as u32;
        while self.regions[found as usize].end <= pc {
            found = self.regions[found as usize].parent?;
        }
        Some(found)
    }

    /// The labels an instruction branches to; those of a table once for each entry.
    pub fn targets_of(&self, inst: &Inst) -> impl Iterator<Item = LabelId> + '_ {
        let (one, many) = match *inst {
            Inst::Br { target } | Inst::BrIf { target, .. } | Inst::BrIfZero { target, .. } => (Some(target), &[][..]),
            Inst::BrTable { start, len, .. } => (None, &self.targets[start as usize..][..len as usize]),
            _ => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().copied())
    }

    /// By label, the last instruction that branches to it; 0 if none does.
    fn last_branches(&self) -> Vec<u32> {
        let mut last = vec![0; self.labels.len()];
        for (at, inst) in (0..).zip(&self.insts) {
            self.targets_of(inst).for_each(|label| last[label.0 as usize] = at);
        }
        for region in &self.regions {
            for handler in &region.handlers {
                let last = &mut last[handler.target.0 as usize];
                *last = region.end.max(*last);
            }
        }
        last
    }

    /// The headers of the loops around the instruction `pc`, the outermost first, without itself.
    #[must_use]
    pub fn loops_around(&self, pc: u32) -> Vec<u32> {
        // A loop goes on to the last branch back to its header.
        let ends = self.last_branches();
        let is_around = |(label, end): &(&Label, u32)| label.is_loop && label.pc < pc && pc <= *end;
        let mut headers: Vec<u32> = self.labels.iter().zip(ends).filter(is_around).map(|(label, _)| label.pc).collect();
        headers.sort_unstable();
        headers
    }

    /// The instruction behind the last branch back to the loop header at `pc`; behind the header itself if there is none.
    #[must_use]
    pub fn loop_end(&self, pc: u32) -> u32 {
        let Some(label) = self.labels.iter().position(|label| label.is_loop && label.pc == pc) else { return pc + 1 };
        let label = LabelId(label as u32);
        // From the end, so that only what lies behind the loop is looked at.
        let by_branch = self.insts.iter().rposition(|inst| self.targets_of(inst).any(|target| target == label));
        let leads_here = |region: &&Region| region.handlers.iter().any(|handler| handler.target == label);
        let by_handler = self.regions.iter().filter(leads_here).map(|region| region.end).max();
        let last = by_branch.map_or(0, |at| at as u32).max(by_handler.unwrap_or(0));
        last.max(pc) + 1
    }

    /// The static part of a memory access.
    #[must_use]
    pub fn memarg(&self, id: MemArgId) -> MemArg {
        self.memargs[id.0 as usize]
    }

    /// The instruction a label stands at.
    #[must_use]
    pub fn label(&self, id: LabelId) -> Label {
        self.labels[id.0 as usize]
    }
}
