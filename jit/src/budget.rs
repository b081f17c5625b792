//! The budget: what a function may cost, estimated before Cranelift sees it.
//!
//! Compilation cannot be cancelled, and Cranelift packs value numbers into 24 bits. So the work is
//! bounded from the shape of `Code` alone: a function over the budget stays interpreted, and no
//! input makes compilation a denial of service.

use aura_validator::Code;
use aura_validator::code::{Inst, LabelId};
use aura_validator::ops::{Op, RowKind};

use crate::compiler::CompileError;

/// Most instructions of `Code` a function may have: Cranelift takes time and memory for each.
pub const MAX_INSTRUCTIONS: u64 = 1 << 19;
/// Most SSA values a function may come to, block parameters included.
pub const MAX_VALUES: u64 = 1 << 22;
/// Most arguments its branches may carry.
pub const MAX_BRANCH_ARGUMENTS: u64 = 1 << 21;
/// Most cells in the table (variable, block) that SSA construction keeps.
pub const MAX_DEFINITIONS: u64 = 1 << 26;
/// Most that loops may cost: the sum over loops of depth times the square of the values that the loop
/// carries. The register allocator's time follows it, far beyond linear in the body.
pub const MAX_LOOP_COST: u64 = 1 << 26;

/// Most that loops in loops may repeat: the sum over loops of the instructions inside, so that each counts as often as loops stand
/// around it. Optimisation takes time for each; 43 million of 160,000 instructions in 400 loops took 17 s.
pub const MAX_LOOPED: u64 = 1 << 20;
/// Most loops: the register allocator walks over enclosing blocks again and again. 9,000 empty ones in each other took 1.4 s.
pub const MAX_LOOPS: u64 = 1 << 11;

/// SSA values that most instructions come to, apart from calls and block parameters; generous on average.
const VALUES_PER_INST: u64 = 4;

/// What a function is estimated to cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    pub instructions: u64,
    pub values: u64,
    pub branch_arguments: u64,
    pub definitions: u64,
    pub loops: u64,
    pub looped: u64,
}

impl Estimate {
    /// Estimates a function.
    #[must_use]
    pub fn of(code: &Code) -> Self {
        let frame = &code.frame;
        let variables = u64::from(frame.value_slots) + u64::from(frame.ref_slots);
        let mut edges = 0;
        let mut blocks = 1 + code.labels.len() as u64;
        for inst in &code.insts {
            let (more_edges, more_blocks) = branches(inst);
            edges += more_edges;
            blocks += more_blocks;
        }
        for region in &code.regions {
            edges += region.handlers.len() as u64;
            blocks += 8 + 2 * region.handlers.len() as u64;
        }
        if !code.regions.is_empty() {
            // A call that handlers stand around has a block behind it and one for what it throws.
            blocks += 2 * code.calls.len() as u64;
        }
        let instructions = code.insts.len() as u64;
        let values = code.insts.iter().map(values).sum::<u64>() + code.operands.len() as u64;
        Self {
            instructions,
            values: values.saturating_add(variables.saturating_mul(code.labels.len() as u64)),
            branch_arguments: variables.saturating_mul(edges),
            definitions: variables.saturating_mul(blocks),
            loops: code.labels.iter().filter(|label| label.is_loop).count() as u64,
            looped: looped(code),
        }
    }

    /// Refuses what is over the budget.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`] if a bound is exceeded.
    pub fn check(&self) -> Result<(), CompileError> {
        let bounds = [
            ("instructions", self.instructions, MAX_INSTRUCTIONS),
            ("values", self.values, MAX_VALUES),
            ("branch arguments", self.branch_arguments, MAX_BRANCH_ARGUMENTS),
            ("definitions", self.definitions, MAX_DEFINITIONS),
            ("loops", self.loops, MAX_LOOPS),
            ("instructions in loops", self.looped, MAX_LOOPED),
        ];
        match bounds.into_iter().find(|(_, estimate, limit)| estimate > limit) {
            Some((what, estimate, limit)) => Err(CompileError::TooLarge { what, estimate, limit }),
            None => Ok(()),
        }
    }
}

/// The instructions of a function, each as often as loops stand around it. A loop ends at the last branch to its header.
fn looped(code: &Code) -> u64 {
    let mut ends = vec![0_u64; code.labels.len()];
    let mut meet = |pc: usize, target: LabelId| ends[target.0 as usize] = ends[target.0 as usize].max(pc as u64);
    for (pc, inst) in code.insts.iter().enumerate() {
        match *inst {
            Inst::Br { target } | Inst::BrIf { target, .. } | Inst::BrIfZero { target, .. } => meet(pc, target),
            Inst::BrTable { start, len, .. } => {
                code.targets[start as usize..][..len as usize].iter().for_each(|target| meet(pc, *target));
            }
            _ => {}
        }
    }
    let loops = code.labels.iter().zip(ends).filter(|(label, _)| label.is_loop);
    loops.map(|(label, end)| end.saturating_sub(label.pc.into())).sum()
}

/// Refuses a body whose loops are over the budget. Known only once it is CLIF, before it is compiled.
pub(crate) fn check_loops(cost: u64) -> Result<(), CompileError> {
    if cost > MAX_LOOP_COST {
        return Err(CompileError::TooLarge { what: "loop cost", estimate: cost, limit: MAX_LOOP_COST });
    }
    Ok(())
}

/// SSA values that an instruction comes to, apart from calls and block parameters.
fn values(inst: &Inst) -> u64 {
    match *inst {
        Inst::CallIndirect { .. } | Inst::ReturnCallIndirect { .. } => 64,
        Inst::CallRef { .. } | Inst::ReturnCallRef { .. } => 16,
        Inst::RefTest { .. } | Inst::RefCast { .. } => 72,
        Inst::StructGet { .. } | Inst::StructSet { .. } | Inst::ArrayLen { .. } | Inst::I31Get { .. } => 32,
        Inst::ArrayGet { .. } | Inst::ArraySet { .. } => 48,
        Inst::StructNew { fields: list, .. } | Inst::ArrayNewFixed { elements: list, .. } => {
            // Each value may need a card.
            48 + 12 * u64::from(list.len)
        }
        Inst::StructNewDefault { .. } | Inst::ArrayNew { .. } => 48,
        Inst::ArrayNewDefault { .. } | Inst::ArrayNewData { .. } | Inst::ArrayNewElem { .. } => 24,
        Inst::ArrayFill { .. } | Inst::ArrayCopy { .. } => 24,
        Inst::ArrayInitData { .. } | Inst::ArrayInitElem { .. } => 24,
        _ => VALUES_PER_INST,
    }
}

/// Edges to labels and blocks beyond labels that an instruction makes.
fn branches(inst: &Inst) -> (u64, u64) {
    match *inst {
        Inst::Br { .. } => (1, 0),
        Inst::BrIf { .. } | Inst::BrIfZero { .. } => (1, 1),
        Inst::BrTable { len, .. } => (u64::from(len), u64::from(len)),
        // Three checks, and the look at the supertypes.
        Inst::CallIndirect { .. } | Inst::ReturnCallIndirect { .. } => (0, 8),
        Inst::CallRef { .. } | Inst::ReturnCallRef { .. } | Inst::TrapIfNull { .. } => (0, 2),
        Inst::Throw { .. } | Inst::ThrowRef { .. } => (1, 2),
        Inst::RefTest { .. } | Inst::RefCast { .. } => (0, 8),
        Inst::I31Get { .. } | Inst::StructGet { .. } | Inst::StructSet { .. } | Inst::ArrayLen { .. } => (0, 2),
        Inst::ArrayGet { .. } | Inst::ArraySet { .. } => (0, 4),
        Inst::StructNew { .. } | Inst::StructNewDefault { .. } | Inst::ArrayNewFixed { .. } => (0, 5),
        Inst::ArrayNew { .. } => (0, 4),
        Inst::ArrayNewDefault { .. } | Inst::ArrayNewData { .. } | Inst::ArrayNewElem { .. } => (0, 2),
        Inst::ArrayFill { .. } | Inst::ArrayCopy { .. } => (0, 2),
        Inst::ArrayInitData { .. } | Inst::ArrayInitElem { .. } => (0, 2),
        Inst::Fuel { .. } | Inst::Enter { .. } | Inst::LoopHeader { .. } => (0, 2),
        // A row may check its operands twice: division, for zero and for overflow.
        Inst::Unary { op, .. } | Inst::Binary { op, .. } if is_trapping(op) => (0, 4),
        Inst::TableGet { .. } | Inst::TableSet { .. } | Inst::TableFill { .. } => (0, 2),
        Inst::TableCopy { .. } | Inst::TableInit { .. } | Inst::MemoryInit { .. } => (0, 2),
        Inst::MemoryFill { .. } | Inst::MemoryCopy { .. } => (0, 2),
        Inst::AtomicLoad { .. } | Inst::AtomicStore { .. } => (0, 2),
        Inst::AtomicRmw { .. } | Inst::AtomicCmpxchg { .. } => (0, 2),
        Inst::AtomicWait { .. } | Inst::AtomicNotify { .. } => (0, 2),
        _ => (0, 0),
    }
}

fn is_trapping(op: Op) -> bool {
    op.row().is_some_and(|row| row.kind == RowKind::Trapping)
}
