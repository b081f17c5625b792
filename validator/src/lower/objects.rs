//! References to objects: tests, casts, fields and elements.
//!
//! What the operators of garbage collection share; `visit.rs` has an arm for each of them.

use aura_host_abi::{ArrayType, RefType, SlotType, StructType};
use wasmparser::HeapType;

use super::Lowering;
use crate::code::{Inst, Operand, Slot};
use crate::ops::Op;

impl Lowering<'_> {
    /// Whether the reference on top of the stack, which stays there, is null.
    pub(super) fn test_null(&mut self) -> Slot {
        let Operand { slot: src, ty } = self.stack.top(1)[0].operand();
        let dst = self.stack.push(SlotType::I32);
        self.emit(Inst::RefIsNull { ty, dst, src });
        self.pop()
    }

    /// The index of a type that references are tested for.
    fn ref_type(&mut self, ty: RefType) -> u32 {
        self.code.ref_types.push(ty);
        self.code.ref_types.len() as u32 - 1
    }

    /// Whether the reference on top of the stack, which stays there, is of a type.
    pub(super) fn test_type(&mut self, to: wasmparser::RefType) -> Slot {
        let to = self.module.kinds().ref_type(to).expect("the body validated");
        let target = self.ref_type(to);
        let Operand { slot: src, ty } = self.stack.top(1)[0].operand();
        let dst = self.stack.push(SlotType::I32);
        self.emit(Inst::RefTest { ty, dst, src, target });
        self.pop()
    }

    pub(super) fn ref_test(&mut self, op: Op, heap: HeapType, nullable: bool) {
        if self.begin(op) {
            let heap = self.module.kinds().heap_type(heap).expect("the body validated");
            let target = self.ref_type(RefType { nullable, heap });
            let Operand { slot: src, ty } = self.stack.pop().operand();
            let dst = self.stack.push(SlotType::I32);
            self.emit_movable(Inst::RefTest { ty, dst, src, target });
        }
    }

    pub(super) fn ref_cast(&mut self, op: Op, heap: HeapType, nullable: bool) {
        if self.begin(op) {
            let heap = self.module.kinds().heap_type(heap).expect("the body validated");
            let target = self.ref_type(RefType { nullable, heap });
            let Operand { slot: src, ty } = self.stack.top(1)[0].operand();
            self.emit(Inst::RefCast { ty, src, target });
        }
    }

    pub(super) fn i31_get(&mut self, op: Op, signed: bool) {
        if self.begin(op) {
            let src = self.pop();
            let dst = self.stack.push(SlotType::I32);
            self.emit_movable(Inst::I31Get { signed, dst, src });
        }
    }

    pub(super) fn struct_get(&mut self, op: Op, type_index: u32, field: u32, signed: bool) {
        if self.begin(op) {
            let storage = self.struct_type(type_index).fields()[field as usize].storage;
            let object = self.pop();
            let dst = self.stack.push(storage.unpacked().slot_type());
            self.emit_movable(Inst::StructGet { type_index, field: field as u16, signed, dst, object });
        }
    }

    pub(super) fn array_get(&mut self, op: Op, type_index: u32, signed: bool) {
        if self.begin(op) {
            let index = self.pop();
            let array = self.pop();
            let element = self.array_type(type_index).element;
            let dst = self.stack.push(element.storage.unpacked().slot_type());
            self.emit_movable(Inst::ArrayGet { type_index, signed, dst, array, index });
        }
    }

    pub(super) fn struct_type(&self, type_index: u32) -> &StructType {
        self.module.types[type_index as usize].composite.as_struct().expect("validated: a structure type")
    }

    pub(super) fn array_type(&self, type_index: u32) -> ArrayType {
        *self.module.types[type_index as usize].composite.as_array().expect("validated: an array type")
    }

    /// Charges for the bytes of an object whose size is known.
    pub(super) fn charge_object(&mut self, bytes: u64) {
        let cost = bytes / crate::fuel::BULK_BYTES_PER_FUEL;
        self.charge(u32::try_from(cost).unwrap_or(u32::MAX));
    }
}
