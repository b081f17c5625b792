//! Calls: direct, of imports, and through tables.
//!
//! Each call loads the callee's entry word as it is now: an atomic load, since tiering and grants
//! change what it holds. Invariant: the pair (vmctx, entry) that a callee gets belongs together,
//! because it comes from this instance or from one immutable `VmFuncRef`.

use std::mem::offset_of;

use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmFuncRef};
use aura_host_abi::{SlotType, TrapCode};
use aura_validator::code::{CallId, Inst, Operands, Slot};
use cranelift_codegen::ir::{InstBuilder, SigRef, Value, types};

use super::Body;
use crate::emit::{offset, plain};
use crate::signature;

/// Signatures that were imported, by type index.
pub(super) struct Signatures(Vec<Option<SigRef>>);

impl Signatures {
    pub(super) fn new(types: usize) -> Self {
        Self(vec![None; types])
    }
}

/// Whether an instruction calls a function that checks the stack.
pub(super) fn is_call(inst: &Inst) -> bool {
    matches!(
        inst,
        Inst::Call { .. }
            | Inst::CallIndirect { .. }
            | Inst::CallRef { .. }
            | Inst::ReturnCall { .. }
            | Inst::ReturnCallIndirect { .. }
            | Inst::ReturnCallRef { .. }
    )
}

impl Body<'_> {
    pub(super) fn call(&mut self, inst: &Inst) {
        match *inst {
            Inst::Call { func, call } => {
                let (vmctx, entry) = self.callee(func);
                self.call_entry(self.target.module.func_type_index(func), vmctx, entry, call);
            }
            Inst::CallIndirect { table, type_index, index, call } => {
                let (vmctx, entry) = self.indirect_callee(table, type_index, index);
                self.call_entry(type_index, vmctx, entry, call);
            }
            Inst::CallRef { type_index, func, call } => {
                let (vmctx, entry) = self.referred(func);
                self.call_entry(type_index, vmctx, entry, call);
            }
            ref inst => unreachable!("{inst:?} is not a call"),
        }
    }

    pub(super) fn tail_call(&mut self, inst: &Inst) {
        match *inst {
            Inst::ReturnCall { func, args } => {
                let (vmctx, entry) = self.callee(func);
                self.tail_call_entry(self.target.module.func_type_index(func), vmctx, entry, args);
            }
            Inst::ReturnCallIndirect { table, type_index, index, args } => {
                let (vmctx, entry) = self.indirect_callee(table, type_index, index);
                self.tail_call_entry(type_index, vmctx, entry, args);
            }
            Inst::ReturnCallRef { type_index, func, args } => {
                let (vmctx, entry) = self.referred(func);
                self.tail_call_entry(type_index, vmctx, entry, args);
            }
            ref inst => unreachable!("{inst:?} is not a tail call"),
        }
        self.end_block();
    }

    /// Instance and entry of a function of this module.
    fn callee(&mut self, func: u32) -> (Value, Value) {
        let imported = self.target.module.num_imported_funcs();
        let vmctx = self.emit.vmctx;
        let Some(own) = func.checked_sub(imported) else {
            let cell = self.layout.imports(func) as usize;
            let func_ref = self.emit.load_atomic(vmctx, cell);
            return self.func_ref_parts(func_ref);
        };
        let entries = self.emit.load_constant(vmctx, offset(offset_of!(VmCtx, entries)));
        (vmctx, self.emit.field_address(entries, own as usize * size_of::<VmFuncEntry>()))
    }

    /// Instance and entry of what a table holds at an index, after all checks.
    fn indirect_callee(&mut self, table: u32, type_index: u32, index: Slot) -> (Value, Value) {
        let at = self.element_address(table, index, TrapCode::UndefinedElement);
        let func_ref = self.emit.ins().load(types::I64, plain(), at, 0);
        let is_null = self.is_zero(func_ref);
        self.trap_if(is_null, TrapCode::UninitializedElement);
        let at = offset(offset_of!(VmFuncRef, type_id));
        let found = self.emit.ins().load(types::I32, plain().with_readonly(), func_ref, at);
        let differs = self.is_not_subtype(found, type_index);
        self.trap_if(differs, TrapCode::IndirectCallTypeMismatch);
        self.func_ref_parts(func_ref)
    }

    /// Instance and entry of what a reference refers to.
    fn referred(&mut self, func: Slot) -> (Value, Value) {
        let func_ref = self.get(SlotType::Func, func);
        let is_null = self.is_zero(func_ref);
        self.trap_if(is_null, TrapCode::NullFunction);
        self.func_ref_parts(func_ref)
    }

    /// Not movable loads: a reference may be null until it was checked.
    fn func_ref_parts(&mut self, func_ref: Value) -> (Value, Value) {
        let flags = plain().with_readonly();
        let at = |bytes| offset(bytes);
        let vmctx = self.emit.ins().load(types::I64, flags, func_ref, at(offset_of!(VmFuncRef, vmctx)));
        let entry = self.emit.ins().load(types::I64, flags, func_ref, at(offset_of!(VmFuncRef, entry)));
        (vmctx, entry)
    }

    fn call_entry(&mut self, type_index: u32, vmctx: Value, entry: Value, call: CallId) {
        let code = self.code;
        let (args, results) = code.call(call);
        let mut values = vec![vmctx, entry];
        values.extend(args.iter().map(|arg| self.get(arg.ty, arg.slot)));
        let callee = self.emit.load_atomic(entry, offset_of!(VmFuncEntry, regs_entry));
        let sig = self.signature(type_index);
        let returned = self.call_or_land(sig, callee, &values);
        for (result, value) in results.iter().zip(returned) {
            self.set(result.ty, result.slot, value);
        }
    }

    fn tail_call_entry(&mut self, type_index: u32, vmctx: Value, entry: Value, args: Operands) {
        let args = self.code.operands(args);
        let mut values = vec![vmctx, entry];
        values.extend(args.iter().map(|arg| self.get(arg.ty, arg.slot)));
        let callee = self.emit.load_atomic(entry, offset_of!(VmFuncEntry, regs_entry));
        let sig = self.signature(type_index);
        self.emit.ins().return_call_indirect(sig, callee, &values);
    }

    fn signature(&mut self, type_index: u32) -> SigRef {
        let cell = &mut self.signatures.0[type_index as usize];
        *cell.get_or_insert_with(|| {
            let ty = self.target.module.func_type_at(type_index);
            self.emit.builder.import_signature(signature::registers(ty))
        })
    }
}
