//! Entry in mid-loop: a body that begins at the header of a loop.
//!
//! At a loop header the slots of the frame are the whole state. So a function can be compiled once more for
//! one of its headers, with a frame of slots as its argument: the first block loads what is read later, and
//! only what can be reached from the header is translated.
//!
//! Were the loops around the header entered in their middle, they would have two ways in, and what has
//! two ways in is no loop to the optimiser. So the outermost of them is entered at its header, with a
//! variable that says "resume": each header tests it and goes on to the header of the next loop in. It costs
//! one test per round of an enclosing loop, and nothing in the loop that is entered. Each such loop has a
//! block in front of its header where both ways meet, so that what the loop leaves alone is no parameter of it.
//!
//! ```text
//! entry: load slots ─▶ before L1 ─▶ L1: resume? ──yes──▶ before L2 ─▶ L2 = the header
//!                                       └─no─▶ ... ─────────▲
//! ```

use aura_host_abi::SlotType;
use aura_validator::Code;
use aura_validator::code::{Inst, Slot};
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::Variable;

use super::Body;

/// Where a body begins that does not begin at its function's start.
pub(super) struct Reentry {
    /// By instruction, whether it can be reached.
    reached: Vec<bool>,
    /// By region, whether something in it that can be reached may throw to its handlers.
    regions: Vec<bool>,
    /// Instructions of the headers of the loops to go through, the outermost first, the one to begin at last.
    headers: Vec<u32>,
    /// How many of them the pass has reached.
    passed: usize,
    /// The block in front of the next of them.
    before: Option<Block>,
    resume: Option<Variable>,
}

impl Reentry {
    /// What is to be translated of `code` to begin at the loop header `header`.
    pub(super) fn of(code: &Code, header: u32) -> Self {
        let mut plan = Self {
            reached: vec![false; code.insts.len()],
            regions: vec![false; code.regions.len()],
            headers: Vec::new(),
            passed: 0,
            before: None,
            resume: None,
        };
        plan.reach(code, header);
        plan.headers = code.loops_around(header);
        plan.headers.retain(|&pc| plan.reached[pc as usize]);
        plan.headers.push(header);
        plan
    }

    pub(super) fn is_reached(&self, pc: u32) -> bool {
        self.reached[pc as usize]
    }

    pub(super) fn is_region_reached(&self, region: usize) -> bool {
        self.regions[region]
    }

    pub(super) fn headers(&self) -> &[u32] {
        &self.headers
    }

    /// Marks what can be reached from an instruction.
    fn reach(&mut self, code: &Code, from: u32) {
        let mut open = vec![from];
        while let Some(mut pc) = open.pop() {
            while !std::mem::replace(&mut self.reached[pc as usize], true) {
                let inst = &code.insts[pc as usize];
                open.extend(code.targets_of(inst).map(|label| code.label(label).pc));
                if may_throw(inst) {
                    self.reach_handlers(code, pc, &mut open);
                }
                if ends_block(inst) {
                    break;
                }
                pc += 1;
            }
        }
    }

    fn reach_handlers(&mut self, code: &Code, pc: u32, open: &mut Vec<u32>) {
        let mut region = code.region_at(pc);
        while let Some(index) = region {
            if std::mem::replace(&mut self.regions[index as usize], true) {
                return;
            }
            let here = &code.regions[index as usize];
            open.extend(here.handlers.iter().map(|handler| code.label(handler.target).pc));
            region = here.outer;
        }
    }
}

fn may_throw(inst: &Inst) -> bool {
    super::call::is_call(inst) || matches!(inst, Inst::Throw { .. } | Inst::ThrowRef { .. })
}

/// Whether control never goes on to the next instruction.
fn ends_block(inst: &Inst) -> bool {
    matches!(
        inst,
        Inst::Br { .. }
            | Inst::BrTable { .. }
            | Inst::Return { .. }
            | Inst::ReturnCall { .. }
            | Inst::ReturnCallIndirect { .. }
            | Inst::ReturnCallRef { .. }
            | Inst::Throw { .. }
            | Inst::ThrowRef { .. }
            | Inst::Trap { .. }
    )
}

impl Body<'_> {
    /// Begins at the first header: returns the block behind the entry, whose one predecessor, the entry, is filled by
    /// [`Self::fill_entry`] once it is known what is read of the frame.
    pub(super) fn begin_in_loop(&mut self) -> Block {
        let builder = &mut self.emit.builder;
        let entry = builder.current_block().expect("the entry is the current block");
        // The entry stands first, though it is filled last.
        builder.func.layout.append_block(entry);
        let start = builder.create_block();
        builder.switch_to_block(start);
        let resume = builder.declare_var(types::I8);
        let yes = builder.ins().iconst(types::I8, 1);
        builder.def_var(resume, yes);
        let before = builder.create_block();
        builder.ins().jump(before, &[]);
        let plan = self.reentry.as_mut().expect("the body begins in a loop");
        (plan.before, plan.resume) = (Some(before), Some(resume));
        self.end_block();
        start
    }

    /// Loads all variables from the frame, in the entry block.
    pub(super) fn fill_entry(&mut self, entry: Block, start: Block, frame: Value) {
        self.emit.builder.switch_to_block(entry);
        // Slots are aligned to 8 bytes only, which is less than a vector's size.
        let flags = MemFlagsData::new().with_notrap();
        let declared: Vec<(SlotType, Slot, Variable)> = self.variables.declared().collect();
        for (ty, slot, variable) in declared {
            let at = i32::try_from(i64::from(slot.0) * 8).expect("limits keep frames small");
            let value = self.emit.ins().load(crate::signature::clif_type(ty), flags, frame, at);
            self.emit.builder.def_var(variable, value);
        }
        self.emit.ins().jump(start, &[]);
        self.emit.builder.seal_block(start);
    }

    /// The block in front of the loop header at `pc`, if the body goes through that.
    pub(super) fn before_header(&mut self, pc: u32) -> Option<Block> {
        let plan = self.reentry.as_mut()?;
        if plan.headers.get(plan.passed) != Some(&pc) {
            return None;
        }
        plan.before.take()
    }

    /// At the start of a header that the body goes through: on to the next one, if that is what is to be resumed.
    pub(super) fn pass_header(&mut self) {
        let plan = self.reentry.as_mut().expect("the body begins in a loop");
        plan.passed += 1;
        let resume = plan.resume.expect("declared at the beginning");
        if plan.passed < plan.headers.len() {
            self.go_onward(resume);
        }
        // From here on rounds of the loops around are ordinary ones.
        let no = self.emit.ins().iconst(types::I8, 0);
        self.emit.builder.def_var(resume, no);
    }

    /// Branches to the block in front of the next header if that is to be resumed; else goes on.
    fn go_onward(&mut self, resume: Variable) {
        let plan = self.reentry.as_mut().expect("the body begins in a loop");
        let builder = &mut self.emit.builder;
        let (onward, round, before) = (builder.create_block(), builder.create_block(), builder.create_block());
        plan.before = Some(before);
        builder.set_cold_block(onward);
        let resumes = builder.use_var(resume);
        builder.ins().brif(resumes, onward, &[], round, &[]);
        self.emit.begin(onward);
        let yes = self.emit.ins().iconst(types::I8, 1);
        self.emit.builder.def_var(resume, yes);
        self.emit.ins().jump(before, &[]);
        self.emit.begin(round);
    }
}
