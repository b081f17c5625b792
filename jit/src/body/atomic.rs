//! Atomic accesses: rows of the operator table; waiting and waking by services.

use aura_host_abi::SlotType;
use aura_host_abi::services::Service;
use aura_validator::code::{Inst, MemArgId, Slot};
use aura_validator::ops::Op;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};

use super::Body;
use super::row::row_of;
use crate::rows;

impl Body<'_> {
    pub(super) fn atomic(&mut self, inst: &Inst) {
        match *inst {
            Inst::AtomicLoad { op, dst, addr, mem } => {
                let (at, flags) = self.atomic_access(op, addr, mem);
                let value = rows::emit_atomic_load(&mut self.emit, op, |e, ty| e.ins().atomic_load(ty, flags, at));
                self.set_result(op, dst, value);
            }
            Inst::AtomicStore { op, addr, value, mem } => {
                let value = self.get(row_of(op).params[0], value);
                let (at, flags) = self.atomic_access(op, addr, mem);
                let value = rows::emit_atomic_store(&mut self.emit, op, value);
                self.emit.ins().atomic_store(flags, value, at);
            }
            Inst::AtomicRmw { op, dst, addr, value, mem } => {
                let value = self.get(row_of(op).params[0], value);
                let (at, flags) = self.atomic_access(op, addr, mem);
                let old = rows::emit_atomic_rmw(&mut self.emit, op, value, |e, ty, rmw, value| {
                    e.ins().atomic_rmw(ty, flags, rmw, at, value)
                });
                self.set_result(op, dst, old);
            }
            Inst::AtomicCmpxchg { op, dst, addr, expected, replacement, mem } => {
                let [ty, _] = row_of(op).params[..] else { unreachable!("a row of two values") };
                let values = [self.get(ty, expected), self.get(ty, replacement)];
                let (at, flags) = self.atomic_access(op, addr, mem);
                let old = rows::emit_atomic_cmpxchg(&mut self.emit, op, values, |e, [expected, replacement]| {
                    e.ins().atomic_cas(flags, at, expected, replacement)
                });
                self.set_result(op, dst, old);
            }
            Inst::AtomicWait { ty, dst, addr, expected, timeout, mem } => {
                let timeout = self.get(SlotType::I64, timeout);
                let (service, expected) = match ty {
                    SlotType::I32 => (Service::memory_atomic_wait32, self.get_u32(expected)),
                    _ => (Service::memory_atomic_wait64, self.get(ty, expected)),
                };
                let [memory, index, offset] = self.service_address(addr, mem);
                let outcome = self.emit.call_result(service, &[memory, index, offset, expected, timeout]);
                self.set_index(false, dst, outcome);
            }
            Inst::AtomicNotify { dst, addr, count, mem } => {
                let count = self.get_u32(count);
                let [memory, index, offset] = self.service_address(addr, mem);
                let woken = self.emit.call_result(Service::memory_atomic_notify, &[memory, index, offset, count]);
                self.set_index(false, dst, woken);
            }
            Inst::AtomicFence => {
                self.emit.ins().fence();
            }
            ref inst => unreachable!("{inst:?} is not atomic"),
        }
    }

    fn atomic_access(&mut self, op: Op, addr: Slot, mem: MemArgId) -> (Value, MemFlagsData) {
        self.atomic_address(self.code.memarg(mem), addr, u32::from(row_of(op).access_bytes))
    }

    /// An address as services take it: memory, index, static offset.
    fn service_address(&mut self, addr: Slot, mem: MemArgId) -> [Value; 3] {
        let arg = self.code.memarg(mem);
        let index = self.get_index(self.is_memory64(arg.memory), addr);
        let memory = self.emit.iconst64(u64::from(arg.memory));
        let offset = self.emit.iconst64(arg.offset);
        debug_assert_eq!(self.emit.builder.func.dfg.value_type(index), types::I64, "indices were extended");
        [memory, index, offset]
    }
}
