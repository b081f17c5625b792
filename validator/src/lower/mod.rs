//! A validated body into [`Code`]: one pass, no recursion, memory proportional to the body.
//!
//! The visitor keeps its own typed operand stack (`stack.rs`) and control frames (`control.rs`); dead
//! code is skipped. `visit.rs` has an arm for each operator that is not a row of the operator table;
//! rows are emitted by their shape alone (`rows.rs`). Rules:
//!
//! - `local.get` emits nothing: the operand is an alias until the local is written or a label comes.
//! - At block, loop and if entries all operands move to their own slots; so they are at every label.
//! - `local.set` right after the instruction that made the value gives that instruction the local as its place.
//! - A branch moves what it carries to the label's slots first, lowest operand first: an operand's
//!   slot is never below the slot it moves to, so no move overwrites the source of a later one.

mod control;
mod emit;
mod handlers;
mod locals;
mod objects;
mod rows;
mod stack;
#[cfg(test)]
mod tests;
mod visit;

use aura_host_abi::SlotType;
use wasmparser::{BinaryReader, OperatorsReader};

use crate::code::{Code, FrameLayout, Inst, LabelId, Operand, Slot};
use crate::module::{Module, ModuleInner};
use crate::ops::Op;
use control::Control;
use locals::{Assigned, Locals};
use stack::Stack;

/// What lowering adds to the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LowerOptions {
    /// Charge fuel at the head of each basic block: function entry, every label, and after every branch.
    pub fuel: bool,
    /// Count what open frames cost together, so that the call stack is exhausted at the same call on every tier.
    pub depth: bool,
}

impl Module {
    /// Lowers the body of an own function (by definition order).
    ///
    /// # Panics
    /// If the module defines no such function, or its body is not valid and [`Module::validate_body`] was to say so.
    #[must_use]
    pub fn lower(&self, own_func: u32, options: &LowerOptions) -> Code {
        let (mut lowering, mut reader) = Lowering::start(&self.inner, own_func, *options);
        while !reader.eof() {
            lowering.offset = reader.original_position() as u32;
            reader.visit_operator(&mut lowering).expect("the body validated");
        }
        lowering.finish()
    }
}

/// A body on its way to [`Code`].
struct Lowering<'m> {
    module: &'m ModuleInner,
    options: LowerOptions,
    code: Code,
    locals: Locals,
    assigned: Assigned,
    stack: Stack,
    controls: Vec<Control<'m>>,
    /// While code is dead, how many blocks opened in it; `None` while it is live.
    dead: Option<u32>,
    /// Index of the current basic block's fuel instruction.
    fuel: Option<usize>,
    /// Number of instructions just after the last one whose result may still get another place.
    movable: Option<usize>,
    /// A label at the function's end that returns what handlers carried to the function's results.
    return_pad: Option<LabelId>,
    /// Where the function keeps what frames could cost before its own, if that is counted.
    saved_depth: Option<Slot>,
    /// Offset of the current operator.
    offset: u32,
}

impl<'m> Lowering<'m> {
    /// Inlined: a lowering is long to move.
    #[inline]
    fn start(module: &'m ModuleInner, own_func: u32, options: LowerOptions) -> (Self, OperatorsReader<'m>) {
        let func = module.counts.imported_funcs + own_func;
        let ty = module.func_type_at(module.func_type_index(func));
        let body = module.body(own_func);
        let bytes = module.bytes.get(body.start as usize..body.end as usize).expect("`validate_body` found the bytes");
        let mut reader = BinaryReader::new_features(bytes, body.start.into(), module.features.wasmparser());
        let mut locals = Locals::read(ty, module.kinds(), &mut reader).expect("the body validated");
        let saved_depth = options.depth.then(|| locals.height.take(SlotType::I64));
        let stack = Stack::new(locals.height);
        let mut lowering = Self {
            module,
            options,
            code: Code::default(),
            controls: vec![Control::function(ty.results(), stack.height())],
            stack,
            locals,
            assigned: Assigned::default(),
            dead: None,
            fuel: None,
            movable: None,
            return_pad: None,
            saved_depth,
            offset: body.start,
        };
        if let Some(saved) = saved_depth {
            // What it costs is known when all slots are.
            lowering.emit(Inst::Enter { saved, cost: 0 });
        }
        (lowering, OperatorsReader::new(reader))
    }

    #[inline]
    fn finish(mut self) -> Code {
        assert!(self.controls.is_empty(), "a validated body closes its blocks");
        let highest = self.stack.highest();
        if let Some(Inst::Enter { cost, .. }) = self.code.insts.first_mut() {
            *cost = crate::fuel::frame_cost(highest.values + highest.refs);
        }
        self.code.frame = FrameLayout {
            zeroed: self.locals.zeroed(self.assigned),
            params: self.locals.params,
            locals: self.locals.runs,
            local_slots: self.locals.height.values,
            value_slots: highest.values,
            ref_slots: highest.refs,
        };
        self.code
    }

    /// Whether code is live; if so, charges the operator.
    fn begin(&mut self, op: Op) -> bool {
        if self.dead.is_some() {
            return false;
        }
        self.charge(crate::fuel::fuel_cost(op));
        true
    }
}
