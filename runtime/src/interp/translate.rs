//! `Code` to [`Form`]: one pass over the instructions, each looked at once or twice.
//!
//! On the way it knows what the accumulators hold, and which constants were not written to their
//! slots because whoever reads them may have them in its cell. A result that the next instruction
//! takes off the operand stack stays in its accumulator alone. That is right because of what lowering
//! gives: an operand's slot (one that is no local's) is read once, by what takes it off the stack, but for
//! copies; and at a label everything is in its slot.
//!
//! Comparisons and the branches on them are one cell, and so are a sum and the access whose address it is. What else is fused
//! stays cells of its own: see [`super::fuse`].
//!
//! # Safety
//! Trusts: `Code` is what lowering made of a validated body. Gives: each cell has the operands that its
//! handler reads, of the slots and classes that the instruction has; handlers rely on it.

use std::cell;
use std::mem;

use aura_host_abi::vm::{VmCtxLayout, VmFuncEntry};
use aura_host_abi::{SlotType, TrapCode};
use aura_validator::code::{CallId, Inst, LabelId, MemArg, MemArgId, Operands, Slot};
use aura_validator::ops::Op;
use aura_validator::{Code, Module};

use super::address;
use super::baseline::{Cell, Emitter};
use super::call::{CallCell, CalleeCell, returning};
use super::dispatch::Handler;
use super::flow::{self, Back, Plain};
use super::form::{Form, FormBox, Word};
use super::fuse::{Chain, Kind, What, alone};
use super::numeric::{self, Class, From, To};

/// What forms of a module depend on besides its code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormOptions {
    /// Whether NaNs that are computed are canonical.
    pub(crate) canonical_nans: bool,
    /// Whether calls and loops count for the tiers.
    pub(crate) counted: bool,
}

/// Constants that wait for their reader, at most.
const PENDING_MAX: usize = 8;

/// How many instructions may lie between a sum and the access whose address it is.
const SUM_DISTANCE: usize = 6;

/// What may lie between them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    /// What changes no accumulator.
    Constants,
    Scalars,
}

/// A sum that no cell computes: the access whose address it is does.
#[derive(Clone, Copy)]
struct AddressSum {
    dst: Slot,
    /// The first summand, and where it is.
    a: Slot,
    from: From,
    /// The second, in its slot.
    b: Slot,
}

/// What a form is made from: a lowered function of a module, whose types have these numbers in the engine. The module's own
/// functions have these entries; the function is the one with that number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) module: &'a Module,
    pub(crate) type_ids: &'a [u32],
    pub(crate) entries: &'a [VmFuncEntry],
    pub(crate) own_func: u32,
    pub(crate) code: &'a Code,
    pub(crate) options: FormOptions,
}

impl Source<'_> {
    /// Makes the form.
    pub(crate) fn form(&self) -> FormBox {
        let form = Form::measured(self.code, &raw const self.entries[self.own_func as usize]);
        self.translate(None, |starts, cells| FormBox::new(form, starts, cells))
    }

    /// Writes machine code of cells of a form that was made of the same.
    pub(crate) fn emit(&self, form: &FormBox, emitter: &mut Emitter) {
        emitter.enter(Form::first(form.form()));
        self.translate(Some(emitter), |_, cells| assert_eq!(cells.len(), form.len(), "a form of the same cells"));
        emitter.leave_function(|label| self.code.label(label).pc);
    }

    fn translate<R>(&self, emitter: Option<&mut Emitter>, finish: impl FnOnce(&[u32], &[Word]) -> R) -> R {
        let &Self { module, type_ids, entries, code, options, .. } = self;
        let is_plain = module.memories().first().is_some_and(|memory| !memory.memory64 && !memory.shared);
        let mut scratch = SCRATCH.try_with(cell::Cell::take).unwrap_or_default();
        scratch.is_target.resize(code.insts.len() + 1, false);
        for label in code.labels.iter().filter(|label| label.pc != u32::MAX) {
            scratch.is_target[label.pc as usize] = true;
        }
        FormBox::head_room(&mut scratch.cells);
        let Scratch { is_target, pending, sums, distances, cells, starts } = scratch;
        let layout = &code.frame;
        let mut translation = Translation {
            module,
            layout: module.layout(),
            type_ids,
            entries,
            code,
            options,
            is_plain,
            is_target,
            at: 0,
            cells,
            starts,
            accumulators: [None; 3],
            pending,
            sums,
            last_cell: 0,
            chain: Chain::default(),
            emitter,
            distances,
            top: 8 * layout.value_slots,
            head: Form::base_bytes(code),
        };
        translation.all();
        let made = finish(&translation.starts, &translation.cells);
        translation.end();
        made
    }
}

/// What a translation fills and empties: kept for the next function on the thread, since to get all of it takes as long as to
/// translate a short one.
#[derive(Default)]
struct Scratch {
    is_target: Vec<bool>,
    pending: Vec<(Slot, u64)>,
    sums: Vec<AddressSum>,
    distances: Vec<Distance>,
    cells: Vec<Word>,
    starts: Vec<u32>,
}

impl Scratch {
    const EMPTY: Self = Self {
        is_target: Vec::new(),
        pending: Vec::new(),
        sums: Vec::new(),
        distances: Vec::new(),
        cells: Vec::new(),
        starts: Vec::new(),
    };
    /// Instructions of the longest function whose scratch is kept.
    const INSTS_MAX: usize = 16 << 10;
}

thread_local! {
    static SCRATCH: cell::Cell<Scratch> = const { cell::Cell::new(Scratch::EMPTY) };
}

struct Translation<'a> {
    module: &'a Module,
    layout: VmCtxLayout,
    type_ids: &'a [u32],
    entries: &'a [VmFuncEntry],
    code: &'a Code,
    options: FormOptions,
    /// Whether the first memory is one that handlers access.
    is_plain: bool,
    /// For each instruction, whether a label stands at it.
    is_target: Vec<bool>,
    /// Index of the instruction being translated.
    at: usize,
    cells: Vec<Word>,
    starts: Vec<u32>,
    /// The slot whose value each accumulator holds.
    accumulators: [Option<Slot>; 3],
    /// Operands that are constants and were not written to their slots.
    pending: Vec<(Slot, u64)>,
    /// Operands that are sums left to whoever reads them.
    sums: Vec<AddressSum>,
    /// Where the last cell begins, and what it may be fused with.
    last_cell: usize,
    chain: Chain,
    /// Writes machine code of cells, if the form is to have some.
    emitter: Option<&'a mut Emitter>,
    /// Distances to labels, to be written at the end.
    distances: Vec<Distance>,
    /// Bytes from a frame's base to its end, and from its beginning to its base.
    top: u32,
    head: u32,
}

/// A distance in a cell: 32 bits.
struct Distance {
    /// The word where the cell begins.
    cell: u32,
    /// The operand.
    operand: u32,
    target: LabelId,
}

pub(super) fn bytes(slot: Slot) -> i32 {
    slot.0 * 8
}

pub(super) fn pair(low: i32, high: i32) -> u64 {
    u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32
}

/// The accumulator for values of a class, if one holds them.
fn class_of(ty: SlotType) -> Option<Class> {
    match ty {
        SlotType::I32 | SlotType::I64 => Some(Class::Int),
        SlotType::F32 => Some(Class::Single),
        SlotType::F64 => Some(Class::Double),
        SlotType::V128 | SlotType::Ref | SlotType::Func => None,
    }
}

impl Translation<'_> {
    /// Keeps what was filled, empty.
    fn end(self) {
        if self.code.insts.len() > Scratch::INSTS_MAX {
            return;
        }
        let Self { mut is_target, mut pending, mut sums, mut distances, mut cells, mut starts, .. } = self;
        is_target.clear();
        pending.clear();
        sums.clear();
        distances.clear();
        cells.clear();
        starts.clear();
        // A thread that ends keeps nothing.
        let _ = SCRATCH.try_with(|place| place.set(Scratch { is_target, pending, sums, distances, cells, starts }));
    }

    fn all(&mut self) {
        self.zeros();
        while let Some(inst) = self.code.insts.get(self.at) {
            if self.is_target[self.at] {
                self.settle();
                self.accumulators = [None; 3];
            }
            self.start();
            self.one(inst);
            self.at += 1;
        }
        let mut distances = mem::take(&mut self.distances);
        for Distance { cell, operand, target } in distances.drain(..) {
            let to = self.starts[self.code.label(target).pc as usize];
            let distance = (i64::from(to) - i64::from(cell)) * size_of::<Word>() as i64;
            let distance = i32::try_from(distance).expect("limits keep a function's form below 2 GiB");
            let word = FormBox::place(cell + 1 + operand / 2);
            // SAFETY: words of operands are numbers.
            let before = unsafe { self.cells[word].bits };
            let (low, high) = (before as i32, (before >> 32) as i32);
            self.cells[word].bits = if operand % 2 == 0 { pair(distance, high) } else { pair(low, distance) };
        }
        self.distances = distances;
    }

    /// Cells before the first instruction's: locals that are to be zero.
    fn zeros(&mut self) {
        for run in &self.code.frame.zeroed {
            let count = run.count * run.ty.slots();
            self.cell(flow::zeroing(count), &[pair(bytes(run.first), count.cast_signed())]);
            self.tell(Kind::of(What::Zero));
        }
    }

    /// Notes that the instruction begins here.
    fn start(&mut self) {
        self.starts.push(FormBox::number(self.cells.len()));
        if let Some(emitter) = &mut self.emitter {
            emitter.start();
        }
    }

    fn cell(&mut self, handler: Handler, words: &[u64]) {
        let start = self.cells.len();
        self.cells.push(Word { handler });
        self.cells.extend(words.iter().map(|&bits| Word { bits }));
        self.written_from(start);
    }

    /// A cell was written that begins there.
    fn written_from(&mut self, start: usize) {
        self.last_cell = start;
        if let Some(emitter) = &mut self.emitter {
            // SAFETY: every cell begins with its handler.
            emitter.begin(FormBox::number(start), unsafe { self.cells[start].handler });
        }
    }

    /// Says what the last cell is: it is then perhaps fused with those before it, or gets machine code.
    fn tell(&mut self, kind: Kind) {
        self.tell_with(kind, &[]);
    }

    /// As [`Translation::tell`], for a cell that leads to labels.
    fn tell_with(&mut self, kind: Kind, targets: &[LabelId]) {
        match &mut self.emitter {
            Some(emitter) => emitter.tell(kind, Cell(&self.cells[self.last_cell..]), targets),
            None => self.chain.add(&mut self.cells, self.last_cell, kind),
        }
    }

    /// Notes that an operand of the cell that comes next is the distance to a label.
    fn distance(&mut self, operand: u32, target: LabelId) {
        self.distances.push(Distance { cell: FormBox::number(self.cells.len()), operand, target });
    }

    /// Writes the constants that wait to their slots.
    fn settle(&mut self) {
        let mut pending = mem::take(&mut self.pending);
        for (slot, bits) in pending.drain(..) {
            self.write_constant(slot, bits);
        }
        self.pending = pending;
    }

    fn settle_one(&mut self, slot: Slot) {
        if let Some(index) = self.pending.iter().position(|(pending, _)| *pending == slot) {
            let (slot, bits) = self.pending.swap_remove(index);
            self.write_constant(slot, bits);
        }
    }

    fn write_constant(&mut self, slot: Slot, bits: u64) {
        self.cell(alone::<flow::Constant>, &[pair(bytes(slot), 0), bits]);
        self.tell(Kind::of(What::Constant));
        self.forget(slot);
    }

    /// A slot gets a value that no accumulator has.
    fn forget(&mut self, slot: Slot) {
        for held in &mut self.accumulators {
            if *held == Some(slot) {
                *held = None;
            }
        }
    }

    /// A slot gets a value that its accumulator has too.
    fn made(&mut self, slot: Slot, class: Class) {
        self.pending.retain(|(pending, _)| *pending != slot);
        self.forget(slot);
        self.accumulators[class as usize] = Some(slot);
    }

    /// A slot gets a value by other means.
    fn written(&mut self, slot: Slot) {
        self.pending.retain(|(pending, _)| *pending != slot);
        self.forget(slot);
    }

    fn is_held(&self, slot: Slot) -> bool {
        self.accumulators.contains(&Some(slot))
    }

    /// Where an operand is that may not be a constant.
    fn variable(&mut self, slot: Slot) -> From {
        self.settle_one(slot);
        if self.is_held(slot) { From::Accumulator } else { From::Slot }
    }

    /// Where an operand is; if it is a constant, its bits.
    fn operand(&mut self, slot: Slot) -> (From, u64) {
        match self.pending.iter().find(|(pending, _)| *pending == slot) {
            Some(&(_, bits)) => (From::Constant, bits),
            None => (self.variable(slot), 0),
        }
    }

    /// The operand was taken off the stack.
    fn consumed(&mut self, slot: Slot) {
        self.pending.retain(|(pending, _)| *pending != slot);
    }

    fn is_local(&self, slot: Slot) -> bool {
        slot.0 < self.code.frame.local_slots as i32
    }

    /// The next instruction, if no label stands at it.
    fn next(&self) -> Option<&Inst> {
        if self.is_target[self.at + 1] { None } else { self.code.insts.get(self.at + 1) }
    }

    /// Whether a result need not be written, because what comes next, constants aside, takes it off the stack and its accumulator.
    fn sink(&self, slot: Slot) -> To {
        let taken = !self.is_local(slot) && self.after_constants().is_some_and(|next| self.takes(next, slot));
        if taken { To::Accumulator } else { To::Slot }
    }

    /// The next instruction that is no constant, if no label stands before it. Constants change no accumulator.
    fn after_constants(&self) -> Option<&Inst> {
        let mut at = self.at + 1;
        loop {
            let inst = self.code.insts.get(at).filter(|_| !self.is_target[at])?;
            if !matches!(inst, Inst::Const32 { .. } | Inst::Const64 { .. }) {
                return Some(inst);
            }
            at += 1;
        }
    }

    /// Whether an instruction has a cell that reads this operand from an accumulator.
    fn takes(&self, inst: &Inst, slot: Slot) -> bool {
        match *inst {
            Inst::Unary { op, a, .. } => a == slot && numeric::shape(op).is_some(),
            Inst::Binary { op, a, b, .. } => (a == slot) != (b == slot) && numeric::shape(op).is_some(),
            Inst::Load { op, addr, mem, .. } => addr == slot && self.is_handled(mem) && address::loaded(op).is_some(),
            Inst::Store { op, addr, value, mem } => {
                (addr == slot) != (value == slot) && self.is_handled(mem) && address::is_scalar_store(op)
            }
            Inst::BrIf { cond, .. } | Inst::BrIfZero { cond, .. } => cond == slot,
            Inst::Select { ty, cond, a, b, .. } => cond == slot && a != slot && b != slot && class_of(ty).is_some(),
            Inst::GlobalSet { ty, src, .. } => src == slot && class_of(ty).is_some(),
            _ => false,
        }
    }

    fn is_handled(&self, mem: MemArgId) -> bool {
        let MemArg { memory, offset } = self.code.memarg(mem);
        self.is_plain && memory == 0 && offset <= u64::from(u32::MAX)
    }

    fn one(&mut self, inst: &Inst) {
        match *inst {
            Inst::Unary { op, dst, a } => self.unary(inst, op, dst, a),
            Inst::Binary { op, dst, a, b } => self.binary(inst, op, dst, [a, b]),
            Inst::Load { op, dst, addr, mem } => self.load(inst, op, dst, addr, mem),
            Inst::Store { op, addr, value, mem } => self.store(inst, op, [addr, value], mem),
            Inst::Const32 { dst, bits, .. } => self.constant(dst, bits.into()),
            Inst::Const64 { dst, low, high, .. } => self.constant(dst, u64::from(high) << 32 | u64::from(low)),
            Inst::Copy { ty, dst, src } => self.copy(inst, ty, dst, src),
            Inst::Select { ty, dst, cond, a, b } => self.select(inst, ty, dst, cond, [a, b]),
            Inst::GlobalGet { ty, dst, global } => self.global_get(inst, ty, dst, global),
            Inst::GlobalSet { ty, global, src } => self.global_set(inst, ty, global, src),
            Inst::Br { target } => self.branch(target),
            Inst::BrIf { cond, target } => self.branch_if(cond, target, true),
            Inst::BrIfZero { cond, target } => self.branch_if(cond, target, false),
            Inst::BrTable { index, start, len } => self.branch_table(index, start, len),
            Inst::LoopHeader { .. } => {
                let is_counted = self.options.counted;
                self.cell(if is_counted { flow::counted_header } else { flow::loop_header }, &[0]);
                self.tell(Kind::of(What::Header(is_counted)));
            }
            Inst::Fuel { cost } => {
                self.cell(flow::fuel, &[pair(cost.cast_signed(), 0)]);
                self.tell(Kind::of(What::Fuel));
            }
            Inst::Trap { code } => self.trap(code),
            Inst::Call { func, call } => self.call(inst, func, call),
            Inst::CallIndirect { table, type_index, index, call } => {
                self.call_indirect(inst, table, type_index, index, call);
            }
            Inst::CallRef { call, .. } => self.call_cell(CalleeCell::Other(inst), call),
            Inst::Return { values } => self.return_values(inst, values),
            _ => self.general(inst),
        }
    }

    /// An instruction that is carried out as it is, with every operand in its slot.
    fn general(&mut self, inst: &Inst) {
        self.settle();
        self.accumulators = [None; 3];
        self.cell(flow::general::<2>, &[address_of(inst)]);
    }

    fn unary(&mut self, inst: &Inst, op: Op, dst: Slot, a: Slot) {
        let Some(shape) = numeric::shape(op) else { return self.general(inst) };
        let from = self.variable(a);
        if let Some((target, if_not_zero)) = self.decided(shape, dst) {
            self.settle();
            let from = if from == From::Accumulator && !self.is_held(a) { From::Slot } else { from };
            let handler = if self.goes_back(target) {
                numeric::branch1::<Back>(op, from, if_not_zero)
            } else {
                numeric::branch1::<Plain>(op, from, if_not_zero)
            };
            self.fused_branch(handler.expect("a row that decides"), target, &[pair(0, bytes(a))]);
            let what = What::RowBranch(op, if_not_zero, self.goes_back(target));
            return self.tell_with(Kind(what, from, From::Slot, To::Slot), &[target]);
        }
        let to = self.sink(dst);
        let handler = numeric::unary(op, from, to, self.options.canonical_nans).expect("a scalar row of one operand");
        self.cell(handler, &[pair(bytes(dst), bytes(a))]);
        self.tell(Kind(What::Row(op), from, From::Slot, to));
        self.made(dst, shape.result);
    }

    /// Leaves a sum of 32 bits to the access whose address it is, if that comes soon and finds both summands.
    fn leaves_sum(&mut self, op: Op, dst: Slot, [a, b]: [Slot; 2]) -> bool {
        if op != Op::I32Add || self.is_local(dst) {
            return false;
        }
        let is_constant = |slot: Slot| self.pending.iter().any(|&(pending, _)| pending == slot);
        let are_locals = self.is_local(a) && self.is_local(b) && !is_constant(a) && !is_constant(b);
        let sum = if are_locals && self.is_addressed(dst, [a, b], Between::Scalars) {
            AddressSum { dst, a, from: From::Slot, b }
        } else if self.is_addressed(dst, [a, b], Between::Constants) && !is_constant(a) && !is_constant(b) {
            // What is held is perhaps in its accumulator alone.
            match (self.is_held(a), self.is_held(b)) {
                (true, false) => AddressSum { dst, a, from: From::Accumulator, b },
                (false, true) => AddressSum { dst, a: b, from: From::Accumulator, b: a },
                (false, false) => AddressSum { dst, a, from: From::Slot, b },
                (true, true) => return false,
            }
        } else {
            return false;
        };
        self.sums.push(sum);
        true
    }

    /// Whether an operand is the address of an access that comes soon, after instructions that leave two slots as they are.
    fn is_addressed(&self, operand: Slot, kept: [Slot; 2], between: Between) -> bool {
        for at in self.at + 1..=self.at + 1 + SUM_DISTANCE {
            if self.is_target[at] {
                return false;
            }
            let dst = match *self.code.insts.get(at).expect("a body ends with a terminator") {
                Inst::Load { op, addr, mem, .. } if addr == operand => {
                    return self.is_handled(mem) && address::loaded(op).is_some();
                }
                Inst::Store { op, addr, value, mem } => {
                    let is_handled = self.is_handled(mem) && address::is_scalar_store(op);
                    return addr == operand && value != operand && is_handled;
                }
                Inst::Const32 { dst, .. } | Inst::Const64 { dst, .. } => dst,
                _ if between == Between::Constants => return false,
                Inst::Load { dst, .. } => dst,
                Inst::Unary { dst, a, .. } if a != operand => dst,
                Inst::Binary { dst, a, b, .. } if a != operand && b != operand => dst,
                _ => return false,
            };
            if dst == operand || kept.contains(&dst) {
                return false;
            }
        }
        false
    }

    /// Where the address of an access is: how the cell gets it, its operand, and what the cell has beside its offset.
    fn address(&mut self, addr: Slot, offset: u64) -> (address::AddressFrom, Slot, u64) {
        if let Some(index) = self.sums.iter().position(|sum| sum.dst == addr) {
            let AddressSum { a, from, b, .. } = self.sums.swap_remove(index);
            let offset = u32::try_from(offset).expect("a handled access has an offset of 32 bits");
            return (address::AddressFrom::Sum(from), a, pair(offset.cast_signed(), bytes(b)));
        }
        let (from, bits) = self.operand(addr);
        self.consumed(addr);
        (address::AddressFrom::Operand(from), addr, offset + u64::from(bits as u32))
    }

    fn binary(&mut self, inst: &Inst, op: Op, dst: Slot, [a, b]: [Slot; 2]) {
        let Some(shape) = numeric::shape(op) else { return self.general(inst) };
        if self.leaves_sum(op, dst, [a, b]) {
            return self.written(dst);
        }
        let decided = self.decided(shape, dst);
        let (mut from_b, bits_b) = self.operand(b);
        let (mut from_a, bits_a) =
            if decided.is_some() || from_b == From::Constant { (self.variable(a), 0) } else { self.operand(a) };
        // One cell reads one accumulator.
        if from_a == From::Accumulator && from_b == From::Accumulator {
            debug_assert_eq!(a, b, "operands of a class in its one accumulator");
            from_b = From::Slot;
        }
        self.consumed(a);
        self.consumed(b);
        if let Some((target, if_not_zero)) = decided {
            self.settle();
            from_a = self.still(from_a, a);
            from_b = self.still(from_b, b);
            let handler = if self.goes_back(target) {
                numeric::branch2::<Back>(op, from_a, from_b, if_not_zero)
            } else {
                numeric::branch2::<Plain>(op, from_a, from_b, if_not_zero)
            };
            let last = if from_b == From::Constant { bits_b } else { pair(bytes(b), 0) };
            self.fused_branch(handler.expect("a row that decides"), target, &[pair(0, bytes(a)), last]);
            let what = What::RowBranch(op, if_not_zero, self.goes_back(target));
            return self.tell_with(Kind(what, from_a, from_b, To::Slot), &[target]);
        }
        let to = self.sink(dst);
        let handler = numeric::binary(op, from_a, from_b, to, self.options.canonical_nans);
        let (first, last) = match (from_a, from_b) {
            (From::Constant, _) => (b, bits_a),
            (_, From::Constant) => (a, bits_b),
            _ => (a, pair(bytes(b), 0)),
        };
        self.cell(handler.expect("a scalar row of two operands"), &[pair(bytes(dst), bytes(first)), last]);
        self.tell(Kind(What::Row(op), from_a, from_b, to));
        self.made(dst, shape.result);
    }

    /// Where an operand is after constants were written, which touches no accumulator but what it says of their slots.
    fn still(&self, from: From, slot: Slot) -> From {
        if from == From::Accumulator && !self.is_held(slot) { From::Slot } else { from }
    }

    /// The branch that comes next and is on this result alone.
    fn decided(&self, shape: numeric::Shape, dst: Slot) -> Option<(LabelId, bool)> {
        if !shape.decides || self.is_local(dst) {
            return None;
        }
        match *self.next()? {
            Inst::BrIf { cond, target } if cond == dst => Some((target, true)),
            Inst::BrIfZero { cond, target } if cond == dst => Some((target, false)),
            _ => None,
        }
    }

    /// Whether a branch to a label does the work of a loop header in passing.
    fn goes_back(&self, target: LabelId) -> bool {
        self.code.label(target).is_loop && !self.options.counted
    }

    /// A comparison and the branch on it, which is the next instruction.
    fn fused_branch(&mut self, handler: Handler, target: LabelId, words: &[u64]) {
        self.distance(0, target);
        self.cell(handler, words);
        self.at += 1;
        // The branch begins where the comparison does.
        let start = *self.starts.last().expect("the comparison has begun");
        self.starts.push(start);
        if let Some(emitter) = &mut self.emitter {
            emitter.start_again();
        }
    }

    fn load(&mut self, inst: &Inst, op: Op, dst: Slot, addr: Slot, mem: MemArgId) {
        let Some(class) = address::loaded(op).filter(|_| self.is_handled(mem)) else { return self.general(inst) };
        let (from, addr, rest) = self.address(addr, self.code.memarg(mem).offset);
        let to = self.sink(dst);
        let handler = address::loading(op, from, to).expect("a load of a scalar");
        self.cell(handler, &[pair(bytes(dst), bytes(addr)), rest]);
        let (what, from) = access(op, from);
        self.tell(Kind(what, from, From::Slot, to));
        self.made(dst, class);
    }

    fn store(&mut self, inst: &Inst, op: Op, [addr, value]: [Slot; 2], mem: MemArgId) {
        if !address::is_scalar_store(op) || !self.is_handled(mem) {
            return self.general(inst);
        }
        let (from, addr, rest) = self.address(addr, self.code.memarg(mem).offset);
        let (from_value, constant) = self.operand(value);
        self.consumed(value);
        let words = [pair(bytes(addr), bytes(value)), rest, constant];
        let count = address::store_words(from_value == From::Constant) - 1;
        let handler = address::storing(op, from, from_value).expect("a store of a scalar");
        self.cell(handler, &words[..count]);
        let (what, from) = access(op, from);
        self.tell(Kind(what, from, from_value, To::Slot));
    }

    fn constant(&mut self, dst: Slot, bits: u64) {
        self.written(dst);
        if self.is_local(dst) {
            return self.write_constant(dst, bits);
        }
        if self.pending.len() == PENDING_MAX {
            let (slot, bits) = self.pending.remove(0);
            self.write_constant(slot, bits);
        }
        self.pending.push((dst, bits));
    }

    fn copy(&mut self, inst: &Inst, ty: SlotType, dst: Slot, src: Slot) {
        if ty == SlotType::V128 {
            return self.general(inst);
        }
        match (self.operand(src), class_of(ty)) {
            ((From::Constant, bits), _) => {
                self.written(dst);
                self.write_constant(dst, bits);
            }
            ((From::Accumulator, _), Some(class)) => {
                self.cell(flow::keeping(class), &[pair(bytes(dst), 0)]);
                self.tell(Kind::of(What::Keep(class)));
                self.made(dst, class);
            }
            _ => {
                self.cell(alone::<flow::Copy>, &[pair(bytes(dst), bytes(src))]);
                self.tell(Kind::of(What::Copy));
                self.written(dst);
            }
        }
    }

    fn select(&mut self, inst: &Inst, ty: SlotType, dst: Slot, cond: Slot, [a, b]: [Slot; 2]) {
        let Some(class) = class_of(ty) else { return self.general(inst) };
        let (from_a, a) = self.choice(class, a);
        let (from_b, b) = self.choice(class, b);
        let from = self.variable(cond);
        let to = self.sink(dst);
        let handler = flow::selecting(class, from, [from_a, from_b], to);
        self.cell(handler, &[pair(bytes(dst), bytes(cond)), pair(a, b)]);
        self.tell(Kind(What::Select(class, [from_a, from_b]), from, From::Slot, to));
        self.made(dst, class);
    }

    /// Where a value to choose from is: its bits, or its slot.
    fn choice(&mut self, class: Class, slot: Slot) -> (From, i32) {
        let constant = self.pending.iter().find(|(pending, _)| *pending == slot);
        if class == Class::Int
            && let Some(bits) = constant.and_then(|&(_, bits)| u32::try_from(bits).ok())
        {
            self.consumed(slot);
            return (From::Constant, bits.cast_signed());
        }
        self.settle_one(slot);
        (From::Slot, bytes(slot))
    }

    /// Where a global is in the instance, and whether it is the module's own.
    fn global(&self, global: u32) -> (i32, bool) {
        match global.checked_sub(self.layout.counts().imported_globals) {
            Some(own) => (self.layout.own_globals(own), true),
            None => (self.layout.globals(global), false),
        }
    }

    fn global_get(&mut self, inst: &Inst, ty: SlotType, dst: Slot, global: u32) {
        let Some(class) = class_of(ty) else { return self.general(inst) };
        let (place, is_own) = self.global(global);
        let to = self.sink(dst);
        self.cell(flow::getting(class, is_own, to), &[pair(bytes(dst), place)]);
        self.tell(Kind(What::GlobalGet(class, is_own), From::Slot, From::Slot, to));
        self.made(dst, class);
    }

    fn global_set(&mut self, inst: &Inst, ty: SlotType, global: u32, src: Slot) {
        let Some(class) = class_of(ty) else { return self.general(inst) };
        let (place, is_own) = self.global(global);
        let from = self.variable(src);
        self.cell(flow::setting(class, is_own, from), &[pair(place, bytes(src))]);
        self.tell(Kind(What::GlobalSet(class, is_own), from, From::Slot, To::Slot));
    }

    fn branch(&mut self, target: LabelId) {
        self.settle();
        self.distance(0, target);
        let back = self.goes_back(target);
        let handler = if back { flow::branch::<Back>() } else { flow::branch::<Plain>() };
        self.cell(handler, &[0]);
        self.tell_with(Kind::of(What::Branch(back)), &[target]);
    }

    fn branch_if(&mut self, cond: Slot, target: LabelId, if_not_zero: bool) {
        self.settle();
        let from = self.variable(cond);
        let handler = if self.goes_back(target) {
            flow::conditional::<Back>(from, if_not_zero)
        } else {
            flow::conditional::<Plain>(from, if_not_zero)
        };
        self.distance(0, target);
        self.cell(handler, &[pair(0, bytes(cond))]);
        let what = What::BranchOn(if_not_zero, self.goes_back(target));
        self.tell_with(Kind(what, from, From::Slot, To::Slot), &[target]);
    }

    fn branch_table(&mut self, index: Slot, start: u32, len: u32) {
        self.settle();
        let from = self.variable(index);
        let handler = match from {
            From::Accumulator => flow::branch_table::<numeric::FromAccumulator>,
            _ => flow::branch_table::<numeric::FromSlot>,
        };
        let targets = &self.code.targets[start as usize..][..len as usize];
        for (operand, &target) in (2..).zip(targets) {
            self.distance(operand, target);
        }
        let mut words = vec![0; 1 + (len as usize).div_ceil(2)];
        words[0] = pair(len.cast_signed(), bytes(index));
        self.cell(handler, &words);
        self.tell_with(Kind(What::BranchTable, from, From::Slot, To::Slot), targets);
    }

    fn trap(&mut self, code: TrapCode) {
        self.cell(flow::end, &[pair(i32::from(code as u8), 0)]);
    }

    fn call(&mut self, inst: &Inst, func: u32, call: CallId) {
        let own = func.checked_sub(self.module.num_imported_funcs());
        match own.filter(|_| self.has_scalar_args(call)) {
            Some(own) => self.call_cell(CalleeCell::Own(&raw const self.entries[own as usize]), call),
            None => self.call_cell(CalleeCell::Other(inst), call),
        }
    }

    fn call_indirect(&mut self, inst: &Inst, table: u32, type_index: u32, index: Slot, call: CallId) {
        if self.module.tables()[table as usize].ty.table64 || !self.has_scalar_args(call) {
            return self.call_cell(CalleeCell::Other(inst), call);
        }
        let (table, type_id) = (self.layout.tables(table), self.type_ids[type_index as usize]);
        self.call_cell(CalleeCell::Element { table, type_id, index }, call);
    }

    /// Whether each argument of a call is one scalar.
    fn has_scalar_args(&self, call: CallId) -> bool {
        let (args, _) = self.code.call(call);
        args.iter().all(|arg| !matches!(arg.ty, SlotType::V128 | SlotType::Ref))
    }

    fn call_cell(&mut self, callee: CalleeCell<'_>, call: CallId) {
        self.settle();
        let (args, results) = self.code.call(call);
        let args = if matches!(callee, CalleeCell::Other(_)) { &[] } else { args };
        let cell = CallCell { callee, top: self.top.cast_signed(), args, results, call };
        let start = self.cells.len();
        cell.put(self.options.counted, &mut self.cells);
        self.written_from(start);
        match callee {
            CalleeCell::Own(_) => self.tell(Kind::of(What::Call(args.len(), self.options.counted))),
            CalleeCell::Element { .. } => self.tell(Kind::of(What::CallElement(args.len(), self.options.counted))),
            CalleeCell::Other(_) => {}
        }
        self.accumulators = [None; 3];
        if let [result] = results
            && let Some(class) = class_of(result.ty)
        {
            self.made(result.slot, class);
        }
    }

    fn return_values(&mut self, inst: &Inst, values: Operands) {
        self.settle();
        let values = self.code.operands(values);
        let (mut src, mut class) = (Slot(0), None);
        if let [value] = values {
            src = value.slot;
            let from = self.variable(src);
            // A function reference is a word like any other; references lie elsewhere and are shorter.
            let of = if value.ty == SlotType::Func { Some(Class::Int) } else { class_of(value.ty) };
            class = of.map(|class| (class, from));
        }
        self.cell(returning(values, class), &[pair(self.head.cast_signed(), bytes(src)), address_of(inst)]);
        match (values, class) {
            ([], _) => self.tell(Kind::of(What::ReturnNothing)),
            ([_], Some((class, from))) => self.tell(Kind(What::Return(class), from, From::Slot, To::Slot)),
            _ => {}
        }
    }
}

/// What the cell of an access is, and where its address, or the first summand of it, is.
fn access(op: Op, from: address::AddressFrom) -> (What, From) {
    match from {
        address::AddressFrom::Operand(from) => (What::Row(op), from),
        address::AddressFrom::Sum(from) => (What::Sum(op), from),
    }
}

/// An instruction as a cell has it.
pub(super) fn address_of(inst: &Inst) -> u64 {
    std::ptr::from_ref(inst).expose_provenance() as u64
}
