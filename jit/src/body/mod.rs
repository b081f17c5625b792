//! A function body: one pass over `Code`.
//!
//! A (slot, class) is a variable, a label that something branches to is a block, and each
//! instruction emits its CLIF where it stands. Invariant: `Code` is trusted to be what lowering
//! made of a validated body; a contradiction in it is an assertion.

mod atomic;
mod call;
mod control;
mod exception;
mod global;
mod memory;
mod object;
mod reentry;
mod row;
mod subtype;
mod table;
mod variables;

use aura_host_abi::vm::VmCtxLayout;
use aura_host_abi::{SlotType, TrapCode};
use aura_validator::code::{Inst, Slot};
use aura_validator::{Code, Module};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Function, InstBuilder, SourceLoc, Value, types};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilderContext;

use self::control::Labels;
use self::exception::Landings;
use self::reentry::Reentry;
use self::variables::Variables;
use crate::budget;
use crate::compiler::{CompileError, CompilerConfig};
use crate::emit::Emit;
use crate::signature;

/// What a body is compiled for.
pub(crate) struct Target<'a> {
    pub(crate) isa: &'a dyn TargetIsa,
    pub(crate) config: CompilerConfig,
    pub(crate) module: &'a Module,
    pub(crate) own_func: u32,
}

/// A body under construction.
pub(crate) struct Body<'a> {
    pub(crate) emit: Emit<'a>,
    pub(crate) target: &'a Target<'a>,
    pub(crate) layout: VmCtxLayout,
    code: &'a Code,
    variables: Variables,
    labels: Labels,
    landings: Landings,
    /// Index of the current instruction.
    pc: u32,
    signatures: call::Signatures,
    /// For a body that begins at a loop header, how it does.
    reentry: Option<Reentry>,
}

/// Where a body begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At its function's start, with arguments in registers.
    Function,
    /// At the loop header that is this instruction, with all slots in a frame.
    Loop(u32),
}

/// Builds the CLIF of `code` into an empty function.
///
/// # Errors
/// If its loops are over the budget.
pub(crate) fn build(
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    target: &Target<'_>,
    code: &Code,
    start: Start,
) -> Result<(), CompileError> {
    let func = target.module.num_imported_funcs() + target.own_func;
    let ty = target.module.func_type(func);
    let (sig, reentry) = match start {
        Start::Function => (signature::registers(ty), None),
        Start::Loop(header) => (signature::frame(ty), Some(Reentry::of(code, header))),
    };
    let (mut emit, params) = Emit::start(function, context, target.isa, sig);
    emit.canonical_nans = target.config.deterministic;
    let mut body = Body {
        labels: Labels::of(code, reentry.as_ref(), &mut emit.builder),
        landings: Landings::of(code),
        pc: 0,
        emit,
        target,
        layout: target.module.layout(),
        code,
        variables: Variables::new(&code.frame),
        signatures: call::Signatures::new(target.module.types().len()),
        reentry,
    };
    match start {
        Start::Function => {
            body.enter(&params[2..]);
            body.run();
        }
        Start::Loop(_) => body.run_from_loop(params[2]),
    }
    body.emit.builder.seal_all_blocks();
    let loop_cost = body.loop_cost();
    body.emit.builder.finalize(target.isa.frontend_config());
    budget::check_loops(loop_cost)
}

impl Body<'_> {
    /// Puts parameters and zeros where `Code` wants them, and checks the stack.
    fn enter(&mut self, params: &[Value]) {
        let frame = &self.code.frame;
        assert_eq!(params.len(), frame.params.len(), "parameters of the frame");
        for (operand, &value) in frame.params.iter().zip(params) {
            self.set(operand.ty, operand.slot, value);
        }
        let mut zeros = [None; 7];
        for run in &*frame.locals {
            let zero = *zeros[run.ty as usize].get_or_insert_with(|| self.emit.zero(signature::clif_type(run.ty)));
            run.slots().for_each(|slot| self.set(run.ty, slot, zero));
        }
        // A function that calls none is at most one frame below a check: the stack's reserve covers it.
        if self.code.insts.iter().any(call::is_call) {
            self.emit.builder.set_srcloc(SourceLoc::new(self.code.offsets[0]));
            self.emit.check_stack();
        }
    }

    /// Translates what can be reached from a loop header, whose state is in a frame.
    fn run_from_loop(&mut self, frame: Value) {
        let entry = self.emit.builder.current_block().expect("the entry is the current block");
        let start = self.begin_in_loop();
        self.run();
        self.fill_entry(entry, start, frame);
    }

    fn run(&mut self) {
        let code = self.code;
        for (pc, (inst, &offset)) in code.insts.iter().zip(code.offsets.iter()).enumerate() {
            let pc = pc as u32;
            self.pc = pc;
            self.end_regions(pc);
            if self.reentry.as_ref().is_some_and(|plan| !plan.is_reached(pc)) {
                continue;
            }
            self.bind_labels(pc);
            if self.labels.is_dead() {
                continue;
            }
            self.emit.builder.set_srcloc(SourceLoc::new(offset));
            self.inst(pc, inst);
        }
        self.end_regions(code.insts.len() as u32);
        assert!(self.labels.is_dead(), "a body ends with a terminator");
    }

    /// The value of a class in a slot.
    pub(crate) fn get(&mut self, ty: SlotType, slot: Slot) -> Value {
        let variable = self.variables.of(ty, slot, &mut self.emit.builder);
        self.emit.builder.use_var(variable)
    }

    /// Puts a value of a class into a slot.
    pub(crate) fn set(&mut self, ty: SlotType, slot: Slot, value: Value) {
        let variable = self.variables.of(ty, slot, &mut self.emit.builder);
        self.emit.builder.def_var(variable, value);
    }

    pub(crate) fn get_i32(&mut self, slot: Slot) -> Value {
        self.get(SlotType::I32, slot)
    }

    /// An `i32` operand, zero-extended as services take it.
    pub(crate) fn get_u32(&mut self, slot: Slot) -> Value {
        let value = self.get_i32(slot);
        self.emit.ins().uextend(types::I64, value)
    }

    /// An index of a memory or table as 64 bits: an `i64`, or an `i32` zero-extended.
    pub(crate) fn get_index(&mut self, is_64: bool, slot: Slot) -> Value {
        if is_64 { self.get(SlotType::I64, slot) } else { self.get_u32(slot) }
    }

    /// Puts a size or an index of a memory or table into a slot, as wide as its index type.
    pub(crate) fn set_index(&mut self, is_64: bool, slot: Slot, value: Value) {
        if is_64 {
            self.set(SlotType::I64, slot, value);
        } else {
            let value = self.emit.ins().ireduce(types::I32, value);
            self.set(SlotType::I32, slot, value);
        }
    }

    fn inst(&mut self, pc: u32, inst: &Inst) {
        match *inst {
            Inst::Unary { .. }
            | Inst::Binary { .. }
            | Inst::Ternary { .. }
            | Inst::Wide { .. }
            | Inst::ExtractLane { .. }
            | Inst::ReplaceLane { .. }
            | Inst::Shuffle { .. } => self.row(inst),
            Inst::Load { .. } | Inst::Store { .. } | Inst::LoadLane { .. } | Inst::StoreLane { .. } => {
                self.access(inst);
            }
            Inst::AtomicLoad { .. }
            | Inst::AtomicStore { .. }
            | Inst::AtomicRmw { .. }
            | Inst::AtomicCmpxchg { .. }
            | Inst::AtomicWait { .. }
            | Inst::AtomicNotify { .. }
            | Inst::AtomicFence => self.atomic(inst),
            Inst::Const32 { .. }
            | Inst::Const64 { .. }
            | Inst::ConstV128 { .. }
            | Inst::Copy { .. }
            | Inst::Select { .. } => self.value(inst),
            Inst::GlobalGet { .. } | Inst::GlobalSet { .. } => self.global(inst),
            Inst::RefNull { .. } | Inst::RefIsNull { .. } | Inst::RefFunc { .. } | Inst::TrapIfNull { .. } => {
                self.reference(inst);
            }
            Inst::RefTest { .. }
            | Inst::RefCast { .. }
            | Inst::RefEq { .. }
            | Inst::RefI31 { .. }
            | Inst::I31Get { .. } => self.reference_test(inst),
            Inst::StructNew { .. }
            | Inst::StructNewDefault { .. }
            | Inst::StructGet { .. }
            | Inst::StructSet { .. } => self.structure(inst),
            Inst::ArrayNew { .. }
            | Inst::ArrayNewDefault { .. }
            | Inst::ArrayNewFixed { .. }
            | Inst::ArrayNewData { .. }
            | Inst::ArrayNewElem { .. }
            | Inst::ArrayGet { .. }
            | Inst::ArraySet { .. }
            | Inst::ArrayLen { .. }
            | Inst::ArrayFill { .. }
            | Inst::ArrayCopy { .. }
            | Inst::ArrayInitData { .. }
            | Inst::ArrayInitElem { .. } => self.array(inst),
            Inst::TableGet { .. }
            | Inst::TableSet { .. }
            | Inst::TableSize { .. }
            | Inst::TableGrow { .. }
            | Inst::TableFill { .. }
            | Inst::TableCopy { .. }
            | Inst::TableInit { .. }
            | Inst::ElemDrop { .. } => self.table(inst),
            Inst::MemorySize { .. }
            | Inst::MemoryGrow { .. }
            | Inst::MemoryFill { .. }
            | Inst::MemoryCopy { .. }
            | Inst::MemoryInit { .. }
            | Inst::DataDrop { .. } => self.memory(inst),
            Inst::Call { .. } | Inst::CallIndirect { .. } | Inst::CallRef { .. } => self.call(inst),
            Inst::ReturnCall { .. } | Inst::ReturnCallIndirect { .. } | Inst::ReturnCallRef { .. } => {
                self.tail_call(inst);
            }
            Inst::Throw { .. } | Inst::ThrowRef { .. } => self.throw(inst),
            Inst::LoopHeader { .. } => self.emit.check_interrupt(),
            Inst::Fuel { cost } => self.emit.charge(cost),
            Inst::Enter { saved, cost } => {
                let before = self.emit.take_depth(cost);
                self.set(SlotType::I64, saved, before);
            }
            Inst::Leave { saved } => {
                let before = self.get(SlotType::I64, saved);
                self.emit.restore_depth(before);
            }
            Inst::Br { .. }
            | Inst::BrIf { .. }
            | Inst::BrIfZero { .. }
            | Inst::BrTable { .. }
            | Inst::Return { .. }
            | Inst::Trap { .. } => self.control(pc, inst),
        }
    }

    fn value(&mut self, inst: &Inst) {
        let (ty, dst, value) = match *inst {
            Inst::Const32 { ty, dst, bits } => (ty, dst, self.constant(ty, u64::from(bits))),
            Inst::Const64 { ty, dst, low, high } => {
                (ty, dst, self.constant(ty, u64::from(high) << 32 | u64::from(low)))
            }
            Inst::ConstV128 { dst, index } => {
                let bytes = self.code.v128s[index as usize];
                (SlotType::V128, dst, self.emit.v128(bytes))
            }
            Inst::Copy { ty, dst, src } => (ty, dst, self.get(ty, src)),
            Inst::Select { ty, dst, cond, a, b } => {
                let (cond, a, b) = (self.get_i32(cond), self.get(ty, a), self.get(ty, b));
                (ty, dst, self.emit.ins().select(cond, a, b))
            }
            ref inst => unreachable!("{inst:?} is not a move"),
        };
        self.set(ty, dst, value);
    }

    fn constant(&mut self, ty: SlotType, bits: u64) -> Value {
        use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
        match ty {
            SlotType::F32 => self.emit.ins().f32const(Ieee32::with_bits(bits as u32)),
            SlotType::F64 => self.emit.ins().f64const(Ieee64::with_bits(bits)),
            SlotType::V128 => unreachable!("vector constants have an instruction of their own"),
            _ => self.emit.ins().iconst(signature::clif_type(ty), bits.cast_signed()),
        }
    }

    /// Turns a flag into the `i32` that WebAssembly's tests return.
    pub(crate) fn set_flag(&mut self, dst: Slot, flag: Value) {
        let value = self.emit.ins().uextend(types::I32, flag);
        self.set(SlotType::I32, dst, value);
    }

    /// Whether a value is zero, as a flag.
    pub(crate) fn is_zero(&mut self, value: Value) -> Value {
        let ty = self.emit.builder.func.dfg.value_type(value);
        let zero = self.emit.ins().iconst(ty, 0);
        self.emit.ins().icmp(IntCC::Equal, value, zero)
    }

    pub(crate) fn trap_if(&mut self, condition: Value, code: TrapCode) {
        self.emit.trap_if(condition, code);
    }
}
