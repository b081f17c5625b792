//! Exceptions: throws, calls that may throw, and where what they throw lands.
//!
//! Each region of handlers has one landing, a block that gets the exception, compares tags in order and
//! writes what a handler carries to its label's slots. A call inside a region is a `try_call` whose
//! only handler leads to the landing of the innermost region around it; a landing in which nothing
//! fits jumps to that of the region further out, or throws on. Tags are compared here, because
//! which tag an index names is known to the instance alone.
//!
//! Invariant: the landing of a region is emitted where the region ends, before any label that stands
//! there, so that every branch to it has been translated and none from it comes late.

use std::cmp::Reverse;
use std::mem::offset_of;

use aura_host_abi::services::Service;
use aura_host_abi::vm::VmStore;
use aura_host_abi::{SlotType, StructType, TrapCode};
use aura_validator::Code;
use aura_validator::code::{Handler, Inst, Operands};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, ExceptionTableData, ExceptionTableItem, InstBuilder, MemFlagsData, SigRef, Value, types,
};

use super::Body;
use crate::emit::{constant, offset, plain};
use crate::signature::clif_type;

/// The landings of a body.
#[derive(Default)]
pub(super) struct Landings {
    /// By region, the block that something leads to.
    blocks: Vec<Option<Block>>,
    /// The regions in the order of their ends, inner ones first.
    by_end: Vec<u32>,
    /// How many of those the pass has left.
    left: usize,
}

impl Landings {
    pub(super) fn of(code: &Code) -> Self {
        let mut by_end: Vec<u32> = (0..code.regions.len() as u32).collect();
        by_end.sort_by_key(|&index| (code.regions[index as usize].end, Reverse(index)));
        Self { blocks: vec![None; by_end.len()], by_end, left: 0 }
    }
}

impl Body<'_> {
    /// Calls; what the callee throws goes to the handlers around the instruction.
    pub(super) fn call_or_land(&mut self, sig: SigRef, callee: Value, args: &[Value]) -> Vec<Value> {
        let Some(region) = self.code.region_at(self.pc) else {
            let call = self.emit.ins().call_indirect(sig, callee, args);
            return self.emit.builder.inst_results(call).to_vec();
        };
        let landing = self.landing(region);
        let builder = &mut self.emit.builder;
        let (next, pad) = (builder.create_block(), builder.create_block());
        builder.set_cold_block(pad);
        let results: Vec<_> = builder.func.dfg.signatures[sig].returns.iter().map(|value| value.value_type).collect();
        let results: Vec<_> = results.into_iter().map(|ty| builder.append_block_param(next, ty)).collect();
        let exn = builder.append_block_param(pad, types::I64);
        let returned: Vec<_> = (0..results.len() as u32).map(BlockArg::TryCallRet).collect();
        let normal = builder.func.dfg.block_call(next, &returned);
        let thrown = builder.func.dfg.block_call(pad, &[BlockArg::TryCallExn(0)]);
        let table = ExceptionTableData::new(sig, normal, [ExceptionTableItem::Default(thrown)]);
        let table = builder.func.dfg.exception_tables.push(table);
        builder.ins().try_call_indirect(callee, args, table);
        self.emit.begin(pad);
        let exn = self.emit.ins().ireduce(types::I32, exn);
        self.emit.ins().jump(landing, &[exn.into()]);
        self.emit.begin(next);
        results
    }

    /// The landing of a region that has not ended.
    fn landing(&mut self, region: u32) -> Block {
        let builder = &mut self.emit.builder;
        *self.landings.blocks[region as usize].get_or_insert_with(|| {
            let block = builder.create_block();
            builder.set_cold_block(block);
            let exn = builder.append_block_param(block, types::I32);
            builder.declare_value_needs_stack_map(exn);
            block
        })
    }

    pub(super) fn throw(&mut self, inst: &Inst) {
        let exn = match *inst {
            Inst::Throw { tag, args } => self.new_exception(tag, args),
            Inst::ThrowRef { exn } => {
                let exn = self.get(SlotType::Ref, exn);
                let is_null = self.is_zero(exn);
                self.trap_if(is_null, TrapCode::NullReference);
                exn
            }
            ref inst => unreachable!("{inst:?} is not a throw"),
        };
        self.throw_to(self.code.region_at(self.pc), exn);
        self.end_block();
    }

    /// Ends the block: an exception goes to a region, or out of the function.
    fn throw_to(&mut self, region: Option<u32>, exn: Value) {
        if let Some(region) = region {
            let landing = self.landing(region);
            self.emit.ins().jump(landing, &[exn.into()]);
            return;
        }
        let store = self.emit.store();
        self.emit.ins().store(plain(), exn, store, offset(offset_of!(VmStore, exception)));
        self.emit.call_never(Service::throw, &[]);
    }

    fn new_exception(&mut self, tag: u32, args: Operands) -> Value {
        let index = self.emit.iconst64(tag.into());
        let made = self.emit.call_object(Service::exception_new, &[index]);
        // Operands are taken after the allocation, which may have moved what they refer to.
        let object = self.exception_address(made);
        let layout = self.exception_type(tag);
        for (field, arg) in (1..).zip(self.code.operands(args)) {
            let value = self.get(arg.ty, arg.slot);
            self.emit.ins().store(FIELD, value, object, offset(layout.offset(field) as usize));
        }
        made
    }

    fn exception_type(&self, tag: u32) -> StructType {
        let module = self.target.module;
        StructType::of_exception(module.func_type_at(module.tags()[tag as usize]))
    }

    fn exception_address(&mut self, exn: Value) -> Value {
        let store = self.emit.store();
        let heap = self.emit.ins().load(types::I64, constant(), store, offset(offset_of!(VmStore, heap)));
        let at = self.emit.ins().uextend(types::I64, exn);
        self.emit.ins().iadd(heap, at)
    }

    /// Emits the landings of the regions that end before the instruction `pc`.
    pub(super) fn end_regions(&mut self, pc: u32) {
        let ends_here = |body: &Self| {
            let region = *body.landings.by_end.get(body.landings.left)?;
            (body.code.regions[region as usize].end == pc).then_some(region)
        };
        if ends_here(self).is_none() {
            return;
        }
        let next = self.leave_block(pc);
        while let Some(region) = ends_here(self) {
            self.landings.left += 1;
            self.land(region);
        }
        if let Some(next) = next {
            self.resume_block(next);
        }
    }

    fn land(&mut self, region: u32) {
        let code = self.code;
        let index = region as usize;
        let region = &code.regions[index];
        let Some(landing) = self.landings.blocks[index] else {
            // Nothing in the region throws; its branches were counted all the same, if it is translated at all.
            if self.reentry.as_ref().is_some_and(|plan| !plan.is_region_reached(index)) {
                return;
            }
            region.handlers.iter().for_each(|handler| self.skip_branch(handler.target));
            return;
        };
        self.emit.begin(landing);
        let exn = self.emit.builder.block_params(landing)[0];
        let was_cold = self.emit.set_cold(true);
        if let Some(&Inst::Enter { saved, cost }) = code.insts.first() {
            // The frames that the exception left no longer cost anything.
            let before = self.get(SlotType::I64, saved);
            let cost = self.emit.iconst64(cost.into());
            let left = self.emit.ins().isub(before, cost);
            self.emit.restore_depth(left);
        }
        if region.cost > 0 {
            self.emit.charge(region.cost);
        }
        self.emit.check_interrupt();
        let mut handlers = region.handlers.iter();
        for handler in handlers.by_ref() {
            let last = handler.tag.is_none();
            self.handle(handler, exn);
            if last {
                break;
            }
        }
        let takes_all = region.handlers.iter().any(|handler| handler.tag.is_none());
        if !takes_all {
            self.throw_to(region.outer, exn);
        }
        handlers.for_each(|handler| self.skip_branch(handler.target));
        self.emit.set_cold(was_cold);
    }

    /// Branches to a handler's label if it takes the exception; else goes on.
    fn handle(&mut self, handler: &Handler, exn: Value) {
        let object = self.exception_address(exn);
        let next = handler.tag.map(|tag| {
            let found = self.emit.ins().load(types::I64, plain(), object, offset(TAG_AT));
            let own = self.emit.load_constant(self.emit.vmctx, self.layout.tags(tag));
            let fits = self.emit.ins().icmp(IntCC::Equal, found, own);
            let (take, next) = (self.emit.builder.create_block(), self.emit.builder.create_block());
            self.emit.builder.set_cold_block(take);
            self.emit.builder.set_cold_block(next);
            self.emit.ins().brif(fits, take, &[], next, &[]);
            self.emit.begin(take);
            self.take_payload(tag, handler.payload, object);
            next
        });
        if let Some(slot) = handler.exn {
            self.set(SlotType::Ref, slot, exn);
        }
        self.branch(handler.target);
        if let Some(next) = next {
            self.emit.begin(next);
        }
    }

    fn take_payload(&mut self, tag: u32, payload: Operands, object: Value) {
        let layout = self.exception_type(tag);
        for (field, operand) in (1..).zip(self.code.operands(payload)) {
            let at = offset(layout.offset(field) as usize);
            let value = self.emit.ins().load(clif_type(operand.ty), FIELD, object, at);
            self.set(operand.ty, operand.slot, value);
        }
    }
}

/// Flags of an access to what an exception carries: vectors are aligned to 8 bytes only.
const FIELD: MemFlagsData = MemFlagsData::new().with_notrap();

/// Where an exception has its tag.
const TAG_AT: usize = aura_host_abi::composite::OBJECT_HEADER as usize;
