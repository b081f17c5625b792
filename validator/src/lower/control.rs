//! Control: blocks, branches and what they carry.

use std::collections::HashMap;

use aura_host_abi::{SlotType, ValType};
use wasmparser::{BlockType, BrTable, TryTable};

use super::stack::Height;
use super::{LabelId, Lowering, Slot};
use crate::code::Inst;

/// Types a block takes or gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Types<'m> {
    None,
    One(SlotType),
    List(&'m [ValType]),
}

impl Types<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::List(list) => list.len(),
        }
    }

    fn get(self, index: usize) -> SlotType {
        match self {
            Self::List(list) => list[index].slot_type(),
            Self::One(ty) => ty,
            Self::None => unreachable!("no types, no index"),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = SlotType> {
        (0..self.len()).map(move |index| self.get(index))
    }
}

/// What a control frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Function,
    Block,
    Loop,
    /// A `try_table`, whose body is a region.
    Try {
        region: u32,
    },
    /// The body of a legacy `try`.
    LegacyTry {
        region: u32,
    },
    /// A legacy `catch` or `catch_all`; the exception is the first operand, which the guest does not see.
    LegacyCatch {
        region: u32,
    },
    /// The first arm of an `if`; the label stands at its `else`, or at its end if it has none.
    If {
        otherwise: LabelId,
    },
    Else,
}

/// An open block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control<'m> {
    kind: Kind,
    params: Types<'m>,
    pub(super) results: Types<'m>,
    /// Operands below the block's parameters.
    len: usize,
    /// Slots below the block's parameters: what a branch carries starts here.
    pub(super) base: Height,
    /// Where branches go: a loop's header or, once something branches there, the block's end.
    label: Option<LabelId>,
    /// The innermost region inside the block.
    pub(super) region: Option<u32>,
    /// Which locals were written where the block was entered, and where every branch to its end was.
    entered: u64,
    branched: u64,
}

impl<'m> Control<'m> {
    pub(super) fn function(results: &'m [ValType], base: Height) -> Self {
        let (params, results) = (Types::None, Types::List(results));
        let (entered, branched) = (0, u64::MAX);
        Self { kind: Kind::Function, params, results, len: 0, base, label: None, region: None, entered, branched }
    }

    /// Whether this is the function's own block: branches to it return.
    pub(super) fn is_function(&self) -> bool {
        self.kind == Kind::Function
    }

    /// What a branch to the block carries.
    pub(super) fn carried(&self) -> Types<'m> {
        if self.kind == Kind::Loop { self.params } else { self.results }
    }
}

impl<'m> Lowering<'m> {
    fn block_types(&self, ty: BlockType) -> (Types<'m>, Types<'m>) {
        match ty {
            BlockType::Empty => (Types::None, Types::None),
            BlockType::Type(ty) => {
                let ty = self.module.kinds().val_type(ty).expect("the body validated");
                (Types::None, Types::One(ty.slot_type()))
            }
            BlockType::FuncType(index) => {
                let ty = self.module.func_type_at(index);
                (Types::List(ty.params()), Types::List(ty.results()))
            }
        }
    }

    fn open(&mut self, kind: Kind, ty: BlockType, label: Option<LabelId>) {
        let (params, results) = self.block_types(ty);
        let len = self.stack.len() - params.len();
        let base = self.height_below(params.len());
        let region = match kind {
            Kind::Try { region } | Kind::LegacyTry { region } => Some(region),
            _ => self.controls.last().expect("a function has a block").region,
        };
        let (entered, branched) = (self.assigned.here, u64::MAX);
        self.controls.push(Control { kind, params, results, len, base, label, region, entered, branched });
    }

    /// The slots in use below the top `count` operands.
    fn height_below(&self, count: usize) -> Height {
        let mut height = self.stack.height();
        for entry in self.stack.top(count) {
            if entry.ty == SlotType::Ref {
                height.refs -= 1;
            } else {
                height.values -= entry.ty.slots();
            }
        }
        height
    }

    pub(super) fn open_block(&mut self, ty: BlockType) {
        self.settle_all();
        self.open(Kind::Block, ty, None);
    }

    /// `try_table`: what its handlers carry goes to the slots of the labels they name, which are those outside of it.
    pub(super) fn open_try_table(&mut self, table: &TryTable) {
        let handlers = table.catches.iter().map(|catch| self.handler(catch)).collect();
        self.settle_all();
        let region = self.open_region(handlers);
        self.open(Kind::Try { region }, table.ty, None);
    }

    pub(super) fn open_loop(&mut self, ty: BlockType) {
        self.settle_all();
        let label = self.new_label(true);
        self.bind(label);
        self.emit(Inst::LoopHeader { label });
        self.open(Kind::Loop, ty, Some(label));
    }

    pub(super) fn open_if(&mut self, ty: BlockType) {
        let cond = self.pop();
        self.settle_all();
        let otherwise = self.new_label(false);
        self.emit(Inst::BrIfZero { cond, target: otherwise });
        self.end_basic_block();
        self.open(Kind::If { otherwise }, ty, None);
    }

    /// Ends one part of a block before another; false if the whole block is dead.
    fn end_part(&mut self) -> bool {
        if self.dead.is_none() {
            self.branch(0);
            self.dead = Some(0);
        }
        self.dead == Some(0)
    }

    /// `try` of the legacy proposal.
    pub(super) fn open_legacy_try(&mut self, ty: BlockType) {
        self.settle_all();
        let region = self.open_region(Vec::new());
        self.open(Kind::LegacyTry { region }, ty, None);
    }

    /// `catch` and `catch_all`: ends the body or the clause before, and begins a clause.
    pub(super) fn open_legacy_catch(&mut self, tag: Option<u32>) {
        if !self.end_part() {
            return;
        }
        let control = *self.control(0);
        let region = match control.kind {
            Kind::LegacyTry { region } => {
                self.close_region(region);
                region
            }
            Kind::LegacyCatch { region } => region,
            _ => unreachable!("`catch` stands in a `try`"),
        };
        self.legacy_handler(region, tag, control.base);
        let outer = self.code.regions[region as usize].outer;
        let open = self.controls.last_mut().expect("`catch` stands in a `try`");
        (open.kind, open.region) = (Kind::LegacyCatch { region }, outer);
        self.revive(&control, Types::One(SlotType::Ref), control.entered);
        if let Some(tag) = tag {
            for ty in self.module.func_type_at(self.module.tags[tag as usize]).params() {
                self.stack.push(ty.slot_type());
            }
        }
    }

    /// `delegate`: ends a `try` whose exceptions go on as if the block `depth` levels out had thrown them.
    pub(super) fn close_legacy_delegate(&mut self, depth: u32) {
        if let Some(nested @ 1..) = &mut self.dead {
            *nested -= 1;
            return;
        }
        let control = self.controls.pop().expect("`delegate` closes a block");
        let Kind::LegacyTry { region } = control.kind else { unreachable!("`delegate` closes a `try`") };
        self.close_region(region);
        self.code.regions[region as usize].outer = self.control(depth).region;
        self.close_at(&control, None);
    }

    /// `rethrow`: throws what the `catch` `depth` levels out caught.
    pub(super) fn legacy_rethrow(&mut self, depth: u32) {
        let control = self.control(depth);
        assert!(matches!(control.kind, Kind::LegacyCatch { .. }), "validated: `rethrow` names a `catch`");
        let exn = { control.base }.take(SlotType::Ref);
        self.emit(Inst::ThrowRef { exn });
        self.die();
    }

    /// `else`: ends the first arm of an `if` and begins the second.
    pub(super) fn open_else(&mut self) {
        if !self.end_part() {
            return;
        }
        let control = self.controls.last_mut().expect("`else` stands in an `if`");
        let Kind::If { otherwise } = control.kind else { unreachable!("`else` stands in an `if`") };
        control.kind = Kind::Else;
        let control = *control;
        self.bind(otherwise);
        self.revive(&control, control.params, control.entered);
    }

    /// `end` of a block or of the function.
    pub(super) fn close(&mut self) {
        if let Some(nested @ 1..) = &mut self.dead {
            *nested -= 1;
            return;
        }
        if matches!(self.control(0).kind, Kind::LegacyCatch { .. }) {
            // The results lie above the exception.
            self.end_part();
        }
        let control = self.controls.pop().expect("`end` closes a block");
        match control.kind {
            Kind::Function => {
                if self.dead.is_none() {
                    let values = self.list_top(control.results.len());
                    self.emit(Inst::Return { values });
                }
                self.emit_return_pad(&control);
            }
            // Nothing branches to the end of a loop: what is on the stack stays as it is.
            Kind::Loop => {}
            Kind::If { otherwise } => self.close_at(&control, Some(otherwise)),
            Kind::Try { region } | Kind::LegacyTry { region } => {
                self.close_region(region);
                self.close_at(&control, None);
            }
            Kind::Block | Kind::Else | Kind::LegacyCatch { .. } => self.close_at(&control, None),
        }
    }

    /// Binds the labels at a block's end. Without any, what is on the stack stays as it is.
    fn close_at(&mut self, control: &Control<'m>, otherwise: Option<LabelId>) {
        if control.label.is_none() && otherwise.is_none() {
            return;
        }
        let mut assigned = control.branched;
        if self.dead.is_none() {
            self.settle_all();
            assigned &= self.assigned.here;
        }
        if otherwise.is_some() {
            assigned &= control.entered;
        }
        for label in control.label.into_iter().chain(otherwise) {
            self.bind(label);
        }
        self.revive(control, control.results, assigned);
    }

    /// Goes on at a label, with `types` above what is below the block, and these locals written.
    pub(super) fn revive(&mut self, control: &Control<'m>, types: Types<'m>, assigned: u64) {
        self.dead = None;
        self.assigned.here = assigned;
        self.stack.truncate(control.len, control.base);
        for ty in types.iter() {
            self.stack.push(ty);
        }
    }

    /// Code after this is dead until the block ends.
    pub(super) fn die(&mut self) {
        self.dead = Some(0);
        self.end_basic_block();
    }

    /// Branches to the block `depth` levels out. Code goes on only if the caller lets it.
    pub(super) fn branch(&mut self, depth: u32) {
        let control = *self.control(depth);
        let carried = control.carried();
        if control.kind == Kind::Function {
            let values = self.list_top(carried.len());
            self.emit(Inst::Return { values });
            return;
        }
        let mut height = control.base;
        for index in 0..carried.len() {
            let entry = self.stack.top(carried.len())[index];
            let slot = height.take(entry.ty);
            self.copy(entry, slot);
        }
        let target = self.target(depth);
        self.emit(Inst::Br { target });
    }

    /// `br_if`.
    pub(super) fn branch_if(&mut self, depth: u32) {
        let cond = self.pop();
        self.branch_on(cond, true, depth);
    }

    /// Branches if `cond` is not zero, or if it is: over what a taken branch has to do first, if there is anything.
    pub(super) fn branch_on(&mut self, cond: Slot, if_not_zero: bool, depth: u32) {
        let branch = |not_zero, target| match not_zero {
            true => Inst::BrIf { cond, target },
            false => Inst::BrIfZero { cond, target },
        };
        if self.is_plain(depth) {
            let target = self.target(depth);
            self.emit(branch(if_not_zero, target));
        } else {
            let skip = self.new_label(false);
            self.emit(branch(!if_not_zero, skip));
            self.branch(depth);
            self.bind(skip);
        }
        self.end_basic_block();
    }

    /// `br_table`: targets that need something done first are reached through landing pads behind it.
    pub(super) fn branch_table(&mut self, table: &BrTable<'_>) {
        let index = self.pop();
        let mut labels = HashMap::new();
        let mut pads = Vec::new();
        let start = self.code.targets.len() as u32;
        let depths = table.targets().map(|depth| depth.expect("the body validated"));
        for depth in depths.chain([table.default()]) {
            let label = *labels.entry(depth).or_insert_with(|| {
                if self.is_plain(depth) {
                    return self.target(depth);
                }
                let pad = self.new_label(false);
                pads.push((pad, depth));
                pad
            });
            self.code.targets.push(label);
        }
        self.emit(Inst::BrTable { index, start, len: table.len() + 1 });
        for (pad, depth) in pads {
            self.bind(pad);
            self.branch(depth);
        }
    }

    pub(super) fn control(&self, depth: u32) -> &Control<'m> {
        &self.controls[self.controls.len() - 1 - depth as usize]
    }

    /// The label of the block `depth` levels out, for a branch from here.
    pub(super) fn target(&mut self, depth: u32) -> LabelId {
        let index = self.controls.len() - 1 - depth as usize;
        self.controls[index].branched &= self.assigned.here;
        if let Some(label) = self.controls[index].label {
            return label;
        }
        let label = self.new_label(false);
        self.controls[index].label = Some(label);
        label
    }

    /// Whether a branch to the block is a jump and nothing else: no return, and what it carries is in place.
    fn is_plain(&self, depth: u32) -> bool {
        let control = self.control(depth);
        let mut height = control.base;
        control.kind != Kind::Function
            && self.stack.top(control.carried().len()).iter().all(|entry| entry.place == height.take(entry.ty))
    }
}
