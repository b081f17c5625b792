//! Control flow: labels, branches, returns.
//!
//! Invariant: a block is sealed as soon as all branches to it were translated: a label without
//! branches back when it is reached, a loop after the last branch to it.

use aura_host_abi::TrapCode;
use aura_validator::Code;
use aura_validator::code::{Inst, Label, LabelId, Slot};
use cranelift_codegen::ir::{Block, BlockCall, InstBuilder, JumpTableData};
use cranelift_frontend::FunctionBuilder;

use super::Body;
use super::reentry::Reentry;

/// A place that something branches to. Labels of one instruction share it.
struct Target {
    pc: u32,
    block: Block,
    /// Branches not translated yet.
    pending: u32,
    is_bound: bool,
    /// For a loop, how many loops it is in, itself included; else 0.
    depth: u32,
}

/// The labels of a body.
#[derive(Default)]
pub(super) struct Labels {
    /// In the order of their instructions.
    targets: Vec<Target>,
    /// Index into `targets` by label; labels that nothing branches to have none.
    by_label: Vec<Option<u32>>,
    /// By target, the block through which the current table of branches goes to it; empty between tables.
    steps: Vec<Option<Block>>,
    /// How many targets the pass has reached.
    bound: usize,
    /// How many loops the pass is in.
    depth: u32,
    /// The last block was ended, and no label followed yet.
    dead: bool,
}

impl Labels {
    /// Makes a block for each label that something branches to.
    pub(super) fn of(code: &Code, reentry: Option<&Reentry>, builder: &mut FunctionBuilder<'_>) -> Self {
        let branches = count_branches(code, reentry);
        let headers = reentry.map_or(&[][..], Reentry::headers);
        let is_header = |label: &Label| label.is_loop && headers.binary_search(&label.pc).is_ok();
        let is_used = |label: &usize| branches[*label] > 0 || is_header(&code.labels[*label]);
        let mut used: Vec<_> = (0..code.labels.len()).filter(is_used).collect();
        used.sort_by_key(|&label| code.labels[label].pc);
        let mut labels = Self { by_label: vec![None; code.labels.len()], ..Self::default() };
        for label in used {
            let pc = code.labels[label].pc;
            if labels.targets.last().is_none_or(|last| last.pc != pc) {
                labels.targets.push(Target {
                    pc,
                    block: builder.create_block(),
                    pending: 0,
                    is_bound: false,
                    depth: 0,
                });
            }
            let index = labels.targets.len() - 1;
            labels.targets[index].pending += branches[label];
            labels.by_label[label] = Some(index as u32);
        }
        labels.steps = vec![None; labels.targets.len()];
        labels
    }

    /// Whether the current instruction cannot be reached.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// The block of the label at `pc`, if it is the next one.
    fn next_at(&self, pc: u32) -> Option<Block> {
        self.targets.get(self.bound).filter(|target| target.pc == pc).map(|target| target.block)
    }

    /// Counts a branch; returns its block, and whether it is to be sealed behind the branch.
    fn branch(&mut self, label: LabelId) -> (Block, bool) {
        let index = self.by_label[label.0 as usize].expect("the branch was counted");
        let target = &mut self.targets[index as usize];
        target.pending -= 1;
        let is_last = target.pending == 0 && target.is_bound;
        self.depth -= u32::from(is_last);
        (target.block, is_last)
    }
}

/// How many branches lead to each label, of those that are translated.
fn count_branches(code: &Code, reentry: Option<&Reentry>) -> Vec<u32> {
    let mut branches = vec![0u32; code.labels.len()];
    for (pc, inst) in (0..).zip(&code.insts) {
        if reentry.is_none_or(|plan| plan.is_reached(pc)) {
            code.targets_of(inst).for_each(|label| branches[label.0 as usize] += 1);
        }
    }
    for (index, region) in code.regions.iter().enumerate() {
        if reentry.is_none_or(|plan| plan.is_region_reached(index)) {
            region.handlers.iter().for_each(|handler| branches[handler.target.0 as usize] += 1);
        }
    }
    branches
}

impl Body<'_> {
    /// What the loops of the finished body cost; see [`crate::budget::MAX_LOOP_COST`].
    pub(super) fn loop_cost(&self) -> u64 {
        let cost = |target: &Target| {
            let carried = self.emit.builder.block_params(target.block).len() as u64;
            carried.saturating_mul(carried).saturating_mul(target.depth.into())
        };
        self.labels.targets.iter().map(cost).fold(0, u64::saturating_add)
    }

    /// Goes to the block of the label at `pc`, if there is one.
    pub(super) fn bind_labels(&mut self, pc: u32) {
        let Some(block) = self.labels.next_at(pc) else { return };
        let before = self.before_header(pc);
        if !self.labels.dead {
            self.emit.ins().jump(before.unwrap_or(block), &[]);
        }
        if let Some(before) = before {
            self.emit.begin(before);
            self.emit.ins().jump(block, &[]);
        }
        self.labels.dead = false;
        self.emit.builder.switch_to_block(block);
        let target = &mut self.labels.targets[self.labels.bound];
        target.is_bound = true;
        if target.pending == 0 {
            self.emit.builder.seal_block(block);
        } else {
            self.labels.depth += 1;
            target.depth = self.labels.depth;
        }
        self.labels.bound += 1;
        if before.is_some() {
            self.pass_header();
        }
    }

    pub(super) fn control(&mut self, pc: u32, inst: &Inst) {
        match *inst {
            Inst::Br { target } => {
                self.branch(target);
                self.labels.dead = true;
            }
            Inst::BrIf { cond, target } => self.branch_if(pc, cond, target, false),
            Inst::BrIfZero { cond, target } => self.branch_if(pc, cond, target, true),
            Inst::BrTable { index, start, len } => self.branch_table(index, start, len),
            Inst::Return { values } => {
                let code = self.code;
                let values: Vec<_> = code.operands(values).iter().map(|value| self.get(value.ty, value.slot)).collect();
                self.emit.ins().return_(&values);
                self.labels.dead = true;
            }
            Inst::Trap { code } => self.trap(code),
            ref inst => unreachable!("{inst:?} is not a terminator"),
        }
    }

    /// Jumps to a label.
    pub(super) fn branch(&mut self, target: LabelId) {
        let (block, seal) = self.labels.branch(target);
        self.emit.ins().jump(block, &[]);
        self.seal_if(seal, block);
    }

    /// Counts a branch that is not to be made.
    pub(super) fn skip_branch(&mut self, target: LabelId) {
        let (block, seal) = self.labels.branch(target);
        self.seal_if(seal, block);
    }

    /// Ends the current block, if it is live, so that blocks beside it can be filled; where to go on at `pc` afterwards,
    /// unless a label stands there.
    pub(super) fn leave_block(&mut self, pc: u32) -> Option<Block> {
        if self.labels.dead {
            return None;
        }
        let label = self.labels.next_at(pc);
        let next = label.unwrap_or_else(|| self.emit.builder.create_block());
        self.emit.ins().jump(next, &[]);
        self.labels.dead = true;
        label.is_none().then_some(next)
    }

    /// Goes on after [`Self::leave_block`].
    pub(super) fn resume_block(&mut self, next: Block) {
        self.emit.begin(next);
        self.labels.dead = false;
    }

    /// Says that the last instruction ended its block.
    pub(super) fn end_block(&mut self) {
        self.labels.dead = true;
    }

    fn trap(&mut self, code: TrapCode) {
        self.emit.raise(code);
        self.labels.dead = true;
    }

    fn branch_if(&mut self, pc: u32, cond: Slot, target: LabelId, if_zero: bool) {
        let cond = self.get_i32(cond);
        let (block, seal) = self.labels.branch(target);
        let next = self.labels.next_at(pc + 1);
        let other = next.unwrap_or_else(|| self.emit.builder.create_block());
        let (then, otherwise) = if if_zero { (other, block) } else { (block, other) };
        self.emit.ins().brif(cond, then, &[], otherwise, &[]);
        self.seal_if(seal, block);
        if next.is_some() {
            self.labels.dead = true;
        } else {
            self.emit.begin(other);
        }
    }

    /// A table goes through one block per distinct target, so that its entries carry no arguments.
    fn branch_table(&mut self, index: Slot, start: u32, len: u32) {
        let index = self.get_i32(index);
        let code = self.code;
        let labels = &code.targets[start as usize..][..len as usize];
        let mut steps = Vec::new();
        let mut calls = Vec::with_capacity(labels.len());
        for &label in labels {
            let target = self.labels.by_label[label.0 as usize].expect("the branch was counted") as usize;
            let step = *self.labels.steps[target].get_or_insert_with(|| {
                let step = self.emit.builder.create_block();
                steps.push((step, target));
                step
            });
            calls.push(self.block_call(step));
        }
        let default = calls.pop().expect("a table has a default");
        let table = self.emit.builder.create_jump_table(JumpTableData::new(default, &calls));
        self.emit.ins().br_table(index, table);
        for (step, target) in steps {
            self.labels.steps[target] = None;
            self.emit.begin(step);
            let block = self.labels.targets[target].block;
            self.emit.ins().jump(block, &[]);
        }
        for &label in labels {
            let (block, seal) = self.labels.branch(label);
            self.seal_if(seal, block);
        }
        self.labels.dead = true;
    }

    fn block_call(&mut self, block: Block) -> BlockCall {
        self.emit.builder.func.dfg.block_call(block, &[])
    }

    fn seal_if(&mut self, seal: bool, block: Block) {
        if seal {
            self.emit.builder.seal_block(block);
        }
    }
}
