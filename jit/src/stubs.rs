//! Stubs between the two calling conventions, one pair per function type.
//!
//! ```text
//! Rust ── slots_entry: slots_to_regs ──▶ regs_entry: compiled body
//! compiled body ── regs_entry: regs_to_slots ──▶ slots_entry: interpreter, host function
//!                  regs_to_slots ◀── status TailCall ── interpreter
//!                  regs_to_slots ── tail_entry: tail_entry ──▶ regs_entry, both by tail calls
//! ```
//!
//! [`slots_to_loop`] takes the place of an interpreted frame by code that goes on in it.
//!
//! The others take the callee's entry as a hidden parameter and load the other word from it at the call,
//! so one stub serves all functions of a type whatever tier they are in.

use std::mem::offset_of;

use aura_host_abi::services::Service;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmActivation, VmCtx, VmFuncEntry, VmStore, VmTail};
use aura_host_abi::{FuncType, ValType};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Function, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value, types};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilderContext;

use crate::emit::{Emit, offset, plain};
use crate::signature;

/// `extern "C" fn(vmctx, entry, slots) -> Status`: arguments from slots, results into them. Always returns `Ok`.
pub(crate) fn slots_to_regs(
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    isa: &dyn TargetIsa,
    ty: &FuncType,
) {
    let (mut emit, params) = Emit::start(function, context, isa, signature::slots(isa.default_call_conv()));
    let (entry, slots) = (params[1], params[2]);
    let callee = emit.load_atomic(entry, offset_of!(VmFuncEntry, regs_entry));
    let mut args = vec![emit.vmctx, entry];
    args.extend(load_slots(&mut emit, slots, ty.params()));
    let sig = emit.builder.import_signature(signature::registers(ty));
    let call = emit.ins().call_indirect(sig, callee, &args);
    let results = emit.builder.inst_results(call).to_vec();
    store_slots(&mut emit, slots, ty.results(), &results);
    let ok = emit.ins().iconst(types::I32, 0);
    emit.ins().return_(&[ok]);
    emit.builder.finalize(isa.frontend_config());
}

/// `extern "C" fn(vmctx, entry, slots) -> Status`: goes on in a frame. The first slot is the code, the second the address
/// of the frame; the results go into the slots. Always returns `Ok`.
pub(crate) fn slots_to_loop(
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    isa: &dyn TargetIsa,
    ty: &FuncType,
) {
    let (mut emit, params) = Emit::start(function, context, isa, signature::slots(isa.default_call_conv()));
    let (entry, slots) = (params[1], params[2]);
    let flags = MemFlagsData::new().with_notrap();
    let [code, frame] = [0, 1].map(|at| emit.ins().load(types::I64, flags, slots, slot_offset(at)));
    let sig = emit.builder.import_signature(signature::frame(ty));
    let args = [emit.vmctx, entry, frame];
    let call = emit.ins().call_indirect(sig, code, &args);
    let results = emit.builder.inst_results(call).to_vec();
    store_slots(&mut emit, slots, ty.results(), &results);
    let ok = emit.ins().iconst(types::I32, 0);
    emit.ins().return_(&[ok]);
    emit.builder.finalize(isa.frontend_config());
}

/// The register entry of a function that takes its arguments in slots.
pub(crate) fn regs_to_slots(
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    isa: &dyn TargetIsa,
    ty: &FuncType,
) {
    let (mut emit, params) = Emit::start(function, context, isa, signature::registers(ty));
    let entry = params[1];
    let size = u32::try_from(ty.call_slots() * size_of::<u64>()).expect("limits of types keep slots small");
    let array = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4);
    let array = emit.builder.create_sized_stack_slot(array);
    let slots = emit.ins().stack_addr(types::I64, array, 0);
    store_slots(&mut emit, slots, ty.params(), &params[2..]);
    note_exit(&mut emit);
    let callee = emit.load_atomic(entry, offset_of!(VmFuncEntry, slots_entry));
    let native = emit.native();
    let sig = emit.builder.import_signature(signature::slots(native));
    let vmctx = emit.vmctx;
    let call = emit.ins().call_indirect(sig, callee, &[vmctx, entry, slots]);
    let status = emit.builder.inst_results(call)[0];
    emit.cold_if(status, |emit| leave(emit, status, ty));
    let results: Vec<_> = load_slots(&mut emit, slots, ty.results());
    emit.ins().return_(&results);
    emit.builder.finalize(isa.frontend_config());
}

/// What a status other than `Ok` asks for.
fn leave(emit: &mut Emit<'_>, status: Value, ty: &FuncType) {
    let is_tail_call = emit.ins().icmp_imm_u(IntCC::Equal, status, i64::from(Status::TailCall as u32));
    emit.cold_if(is_tail_call, |emit| {
        let store = emit.store();
        let at = |field| offset(offset_of!(VmStore, tail) + field);
        let mut load = |field| emit.ins().load(types::I64, plain(), store, at(field));
        let vmctx = load(offset_of!(VmTail, vmctx));
        let entry = load(offset_of!(VmTail, entry));
        let code = load(offset_of!(VmTail, code));
        // The callee's type may be another one, but its results are those of this type.
        let sig = emit.builder.import_signature(signature::tail(ty));
        emit.ins().return_call_indirect(sig, code, &[vmctx, entry]);
    });
    let is_exception = emit.ins().icmp_imm_u(IntCC::Equal, status, i64::from(Status::Exception as u32));
    emit.cold_if(is_exception, |emit| emit.call_never(Service::throw, &[]));
    emit.propagate();
}

/// The tail entry of functions of a type: takes the arguments of a tail call that left the interpreter.
pub(crate) fn tail_entry(
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    isa: &dyn TargetIsa,
    ty: &FuncType,
) {
    let (mut emit, params) = Emit::start(function, context, isa, signature::tail(ty));
    let entry = params[1];
    let store = emit.store();
    let at = offset(offset_of!(VmStore, tail) + offset_of!(VmTail, args));
    let slots = emit.ins().load(types::I64, plain(), store, at);
    let mut args = vec![emit.vmctx, entry];
    args.extend(load_slots(&mut emit, slots, ty.params()));
    let callee = emit.load_atomic(entry, offset_of!(VmFuncEntry, regs_entry));
    let sig = emit.builder.import_signature(signature::registers(ty));
    emit.ins().return_call_indirect(sig, callee, &args);
    emit.builder.finalize(isa.frontend_config());
}

/// Notes in the current activation where compiled code was left: the return address out of the stub
/// lies in the caller, and the frame pointer that goes with it is the one the stub's frame saved.
fn note_exit(emit: &mut Emit<'_>) {
    let vmctx = emit.vmctx;
    let store = emit.ins().load(types::I64, plain(), vmctx, offset(offset_of!(VmCtx, store)));
    let activation = emit.ins().load(types::I64, plain(), store, offset(offset_of!(VmStore, activation)));
    let frame = emit.ins().get_frame_pointer(types::I64);
    let caller_frame = emit.ins().load(types::I64, plain(), frame, 0);
    let pc = emit.ins().get_return_address(types::I64);
    emit.ins().store(plain(), caller_frame, activation, offset(offset_of!(VmActivation, exit_fp)));
    emit.ins().store(plain(), pc, activation, offset(offset_of!(VmActivation, exit_pc)));
}

fn load_slots(emit: &mut Emit<'_>, slots: Value, types: &[ValType]) -> Vec<Value> {
    // Slots are aligned to 8 bytes only, which is less than a vector's size.
    let flags = MemFlagsData::new().with_notrap();
    signature::slot_offsets(types)
        .map(|(class, at)| emit.ins().load(signature::clif_type(class), flags, slots, slot_offset(at)))
        .collect()
}

fn store_slots(emit: &mut Emit<'_>, slots: Value, types: &[ValType], values: &[Value]) {
    let flags = MemFlagsData::new().with_notrap();
    for ((_, at), &value) in signature::slot_offsets(types).zip(values) {
        emit.ins().store(flags, value, slots, slot_offset(at));
    }
}

fn slot_offset(slot: u32) -> i32 {
    offset(slot as usize * size_of::<u64>())
}
