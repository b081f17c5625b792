//! Regions and handlers of exceptions.
//!
//! A handler writes what it carries straight to the slots of its label: whatever lies there or above
//! is dead once an exception arrives. Labels of handlers are those of enclosing blocks, at whose
//! entry all operands below were moved to their own slots, so that at the label all is in place.

use aura_host_abi::SlotType;
use wasmparser::Catch;

use super::control::Control;
use super::stack::Height;
use super::{LabelId, Lowering};
use crate::code::{Handler, Inst, Operand, Operands, Region};
use crate::fuel;

/// The end of a region that is still open.
const OPEN: u32 = u32::MAX;

impl<'m> Lowering<'m> {
    /// The handler for a clause of a `try_table` that is about to open.
    pub(super) fn handler(&mut self, catch: &Catch) -> Handler {
        let (tag, with_ref, label) = match *catch {
            Catch::One { tag, label } => (Some(tag), false, label),
            Catch::OneRef { tag, label } => (Some(tag), true, label),
            Catch::All { label } => (None, false, label),
            Catch::AllRef { label } => (None, true, label),
        };
        let mut height = self.control(label).base;
        let payload = self.payload(tag, &mut height);
        let exn = with_ref.then(|| height.take(SlotType::Ref));
        let target = if self.control(label).is_function() { self.return_pad() } else { self.target(label) };
        Handler { tag, payload, exn, target }
    }

    /// A handler at the next instruction for a clause of a legacy `try`. The exception goes below what it carries.
    pub(super) fn legacy_handler(&mut self, region: u32, tag: Option<u32>, mut height: Height) {
        let exn = Some(height.take(SlotType::Ref));
        let payload = self.payload(tag, &mut height);
        let target = self.new_label(false);
        self.bind(target);
        let region = &mut self.code.regions[region as usize];
        region.handlers.push(Handler { tag, payload, exn, target });
        region.cost += u32::from(self.options.fuel);
    }

    /// Slots for what exceptions of a tag carry.
    pub(super) fn payload(&mut self, tag: Option<u32>, height: &mut Height) -> Operands {
        let start = self.code.operands.len() as u32;
        let module = self.module;
        if let Some(tag) = tag {
            for ty in module.func_type_at(module.tags[tag as usize]).params() {
                let ty = ty.slot_type();
                self.code.operands.push(Operand { slot: height.take(ty), ty });
            }
        }
        Operands { start, len: self.code.operands.len() as u32 - start }
    }

    /// Opens a region at the next instruction; its index.
    pub(super) fn open_region(&mut self, handlers: Vec<Handler>) -> u32 {
        let start = self.code.insts.len() as u32;
        let parent = self.controls.last().expect("a function has a block").region;
        self.code.regions.push(Region { start, end: OPEN, parent, outer: parent, cost: 0, handlers });
        self.code.regions.len() as u32 - 1
    }

    /// Ends a region before the next instruction.
    pub(super) fn close_region(&mut self, index: u32) {
        let region = &mut self.code.regions[index as usize];
        region.end = self.code.insts.len() as u32;
        region.cost = if self.options.fuel { fuel::HANDLERS + region.handlers.len() as u32 } else { 0 };
    }

    /// The label where handlers go that name the function's own block.
    fn return_pad(&mut self) -> LabelId {
        if let Some(label) = self.return_pad {
            return label;
        }
        let label = self.new_label(false);
        self.return_pad = Some(label);
        label
    }

    /// Puts the pad, if there is one, behind the body's last instruction.
    pub(super) fn emit_return_pad(&mut self, function: &Control<'m>) {
        let Some(label) = self.return_pad else { return };
        self.bind(label);
        self.revive(function, function.results, 0);
        let values = self.list_top(function.results.iter().count());
        self.emit(Inst::Return { values });
    }
}
