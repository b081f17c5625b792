//! Templates: the machine code of one cell, by what the cell says.
//!
//! Code of a cell runs with the handlers' registers, but for the position, which nobody keeps. It falls through into that of the cell
//! behind. What a template does not do itself (a trap, a call that is not as most are) it leaves to the cell's handler, before it has
//! changed anything: there the position is the cell's, and the handler goes on in the cell behind.
//!
//! ```text
//! position DI   frame SI   machine DX   integers CX   memory R8, its length R9   floats X0, X1     free: AX R10 R11 X2 X3
//! ```
//!
//! # Safety
//! Trusts: a cell has the operands that its kind says, as [`super::super::translate`] wrote them. Gives: code does to slots, accumulators, the
//! machine and the memory what the cell's handler does, or nothing.

use std::mem::offset_of;

use aura_validator::code::LabelId;

use super::asm::{AX, Asm, DI, Digit, Gap};
use super::values::field;
use crate::interp::address;
use crate::interp::dispatch::Handler;
use crate::interp::form::Word;
use crate::interp::frame::InterpState;
use crate::interp::fuse::{Kind, What};
use crate::interp::numeric::From;

/// So many bytes of code are kept room for.
const ROOM_MAX: usize = 256 << 10;

/// Where an operand is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Held,
    Slot(i32),
    Bits(u64),
}

/// The operands of a cell, behind its handler.
#[derive(Clone, Copy, Debug)]
pub(in crate::interp) struct Cell<'a>(pub(in crate::interp) &'a [Word]);

impl Cell<'_> {
    pub(super) fn word(self, n: usize) -> u64 {
        // SAFETY: words of operands are numbers.
        unsafe { self.0[n].bits }
    }

    pub(super) fn operand(self, n: usize) -> i32 {
        (self.word(1 + n / 2) >> (32 * (n % 2))) as i32
    }

    pub(super) fn source(self, from: From, operand: usize, word: usize) -> Source {
        match from {
            From::Slot => Source::Slot(self.operand(operand)),
            From::Accumulator => Source::Held,
            From::Constant => Source::Bits(self.word(word)),
        }
    }

    /// The operands of a row of two.
    pub(super) fn two(self, a: From, b: From) -> [Source; 2] {
        [self.source(a, 1, 2), self.source(b, if a == From::Constant { 1 } else { 2 }, 2)]
    }
}

/// A distance to an instruction's code.
pub(super) struct ToLabel {
    pub(super) gap: Gap,
    pub(super) label: LabelId,
    /// Where the distance is counted from.
    pub(super) from: u32,
}

/// A way out of a template, to the handler of its cell.
pub(super) struct Out {
    pub(super) gap: Gap,
    pub(super) cell: Open,
    /// A count that was taken is given back first.
    pub(super) is_header: bool,
}

/// What code of a module depends on besides its forms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EmitOptions {
    /// Whether every NaN that is computed becomes the canonical one, which no template does.
    pub(crate) canonical_nans: bool,
    /// Whether an access that does not lie inside the memory reads nothing under misprediction either. Where a memory has guards, all
    /// that an address and an offset can name lies between them.
    pub(crate) masked: bool,
}

/// Writes functions, one behind the other, as long as none of them is published.
#[derive(Default)]
pub(crate) struct Emitter {
    pub(super) asm: Asm,
    /// The cells of all functions that get another handler.
    pub(super) cells: Vec<Placed>,
    /// Jumps and calls out of the code, and where to.
    pub(super) jumps: Vec<(Gap, usize)>,
    pub(super) options: EmitOptions,
    /// The first cell of the running function.
    first: usize,
    /// For each of its instructions, where its code begins.
    insts: Vec<u32>,
    pub(super) labels: Vec<ToLabel>,
    pub(super) outs: Vec<Out>,
    /// Its last cell, if that has no code yet.
    open: Option<Open>,
}

/// A cell that gets another handler.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    /// Its address.
    pub(super) cell: usize,
    pub(super) to: Place,
}

/// Where it leads.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// To code.
    Code(u32),
    /// To the handler of this cell alone: those behind it have code.
    Alone(Handler),
}

/// A cell, with its number, that is being written.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub(super) cell: u32,
    pub(super) handler: Handler,
}

impl Emitter {
    pub(in crate::interp) fn new(options: EmitOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// A function begins, whose cells lie from here on.
    pub(in crate::interp) fn enter(&mut self, first: *const Word) {
        self.first = first.expose_provenance();
    }

    /// An instruction begins.
    pub(in crate::interp) fn start(&mut self) {
        self.leave_open();
        self.insts.push(self.asm.here());
    }

    /// The last instruction has no cells: they are those of the one before.
    pub(in crate::interp) fn start_again(&mut self) {
        self.insts.push(*self.insts.last().expect("there is one before"));
    }

    /// A cell begins, which this handler carries out.
    pub(in crate::interp) fn begin(&mut self, cell: u32, handler: Handler) {
        self.leave_open();
        self.open = Some(Open { cell, handler });
    }

    pub(super) fn address_of(&self, cell: u32) -> usize {
        self.first + cell as usize * size_of::<Word>()
    }

    /// A cell without a template: its handler carries it out.
    fn leave_open(&mut self) {
        if let Some(open) = self.open.take() {
            self.leave(open);
        }
    }

    fn leave(&mut self, Open { cell, handler }: Open) {
        self.asm.constant(DI, self.address_of(cell) as u64);
        let gap = self.asm.jump();
        self.jumps.push((gap, (handler as *const ()).expose_provenance()));
    }

    /// Says what the last cell is.
    pub(in crate::interp) fn tell(&mut self, kind: Kind, cell: Cell<'_>, targets: &[LabelId]) {
        let Open { cell: number, handler } = self.running();
        let (start, place) = (self.asm.here(), self.address_of(number));
        let written = (self.labels.len(), self.outs.len(), self.jumps.len());
        if self.template(kind, cell, targets).is_some() {
            self.open = None;
            return self.cells.push(Placed { cell: place, to: Place::Code(start) });
        }
        self.asm.bytes.truncate(start as usize);
        self.labels.truncate(written.0);
        self.outs.truncate(written.1);
        self.jumps.truncate(written.2);
        self.cells.push(Placed { cell: place, to: Place::Alone(handler) });
    }

    /// The cell that is being written.
    pub(super) fn running(&self) -> Open {
        self.open.expect("a cell has begun")
    }

    fn template(&mut self, Kind(what, a, b, to): Kind, cell: Cell<'_>, targets: &[LabelId]) -> Option<()> {
        match what {
            What::Row(op) => return self.row(op, a, b, to, cell),
            What::Sum(op) => {
                return match address::loaded(op) {
                    Some(class) => self.load(op, class, a, true, to, cell),
                    None => self.store(op, a, true, b, cell),
                };
            }
            What::RowBranch(op, if_not_zero, _) => self.row_branch(op, a, b, if_not_zero, targets[0], cell)?,
            What::BranchOn(if_not_zero, _) => self.branch_on(cell.source(a, 1, 2), if_not_zero, targets[0]),
            What::Branch(_) => self.branch(targets[0]),
            What::BranchTable => self.branch_table(cell.source(a, 1, 2), targets),
            What::GlobalGet(class, is_own) => self.global_get(class, is_own, to, cell),
            What::GlobalSet(class, is_own) => self.global_set(class, is_own, cell.source(a, 1, 2), cell),
            What::Copy => self.copy(cell.operand(0), cell.operand(1)),
            What::Keep(class) => self.keep(class, cell.operand(0)),
            What::Constant => self.constant(cell.operand(0), cell.word(2)),
            What::Zero => self.zero(cell.operand(0), cell.operand(1))?,
            What::Select(class, from) => self.select(class, a, from, to, cell),
            What::Header(is_counted) => self.header(is_counted),
            What::Fuel => self.fuel(cell.operand(0)),
            What::Return(class) => self.return_one(class, a, cell),
            What::ReturnNothing => self.return_nothing(cell),
            What::Call(args, is_counted) => self.call(args, is_counted, false, cell)?,
            What::CallElement(args, is_counted) => self.call(args, is_counted, true, cell)?,
        }
        Some(())
    }

    /// Ends the function, whose labels are at these instructions.
    pub(in crate::interp) fn leave_function(&mut self, pc_of: impl Fn(LabelId) -> u32) {
        self.leave_open();
        self.write_outs();
        for ToLabel { gap, label, from } in self.labels.drain(..) {
            let to = self.insts[pc_of(label) as usize];
            self.asm.fill(gap, to.wrapping_sub(from).cast_signed());
        }
        self.insts.clear();
    }

    /// Ways out are written behind the function: hardly any is ever gone.
    fn write_outs(&mut self) {
        let mut last = None;
        let mut outs = std::mem::take(&mut self.outs);
        for Out { gap, cell, is_header } in outs.drain(..) {
            let place = match last {
                Some((known, place)) if known == (cell.cell, is_header) => place,
                _ => {
                    let here = self.asm.here();
                    if is_header {
                        self.asm.put_imm(Digit(0), false, field(AX, offset_of!(InterpState, passes_left)), 1);
                    }
                    self.leave(cell);
                    here
                }
            };
            last = Some(((cell.cell, is_header), place));
            self.asm.close(gap, place);
        }
        self.outs = outs;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.asm.bytes
    }

    /// How many cells got code.
    pub(super) fn with_code(&self) -> usize {
        self.cells.iter().filter(|placed| matches!(placed.to, Place::Code(_))).count()
    }

    /// How many bytes were written.
    pub(super) fn len(&self) -> usize {
        self.asm.bytes.len()
    }

    /// Forgets all functions, and the room that a large one took.
    pub(super) fn clear(&mut self) {
        if self.asm.bytes.capacity() > ROOM_MAX {
            *self = Self::new(self.options);
        }
        self.asm.bytes.clear();
        self.cells.clear();
        self.jumps.clear();
    }
}
