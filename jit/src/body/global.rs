//! Globals and references.

use aura_host_abi::SlotType;
use aura_host_abi::services::Service;
use aura_validator::code::Inst;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::Body;
use crate::emit::plain;
use crate::signature::clif_type;

impl Body<'_> {
    pub(super) fn global(&mut self, inst: &Inst) {
        match *inst {
            Inst::GlobalGet { ty, dst, global } => {
                let (base, at) = self.global_place(global);
                let value = self.emit.ins().load(clif_type(ty), plain(), base, at);
                self.set(ty, dst, value);
            }
            Inst::GlobalSet { ty, global, src } => {
                let value = self.get(ty, src);
                let (base, at) = self.global_place(global);
                self.emit.ins().store(plain(), value, base, at);
            }
            ref inst => unreachable!("{inst:?} is not of globals"),
        }
    }

    /// Own globals lie in the instance, imported ones behind a pointer.
    fn global_place(&mut self, global: u32) -> (Value, i32) {
        let vmctx = self.emit.vmctx;
        match global.checked_sub(self.layout.counts().imported_globals) {
            Some(own) => (vmctx, self.layout.own_globals(own)),
            None => (self.emit.load_constant(vmctx, self.layout.globals(global)), 0),
        }
    }

    pub(super) fn reference(&mut self, inst: &Inst) {
        match *inst {
            Inst::RefNull { ty, dst } => {
                let null = self.emit.zero(clif_type(ty));
                self.set(ty, dst, null);
            }
            Inst::RefIsNull { ty, dst, src } => {
                let value = self.get(ty, src);
                let is_null = self.is_zero(value);
                self.set_flag(dst, is_null);
            }
            Inst::RefFunc { dst, func } => {
                let func = self.emit.iconst64(u64::from(func));
                let value = self.emit.call_service(Service::ref_func, &[func]);
                self.set(SlotType::Func, dst, value);
            }
            Inst::TrapIfNull { ty, src, code } => {
                let value = self.get(ty, src);
                let is_null = self.is_zero(value);
                self.trap_if(is_null, code);
            }
            ref inst => unreachable!("{inst:?} is not of references"),
        }
    }
}
