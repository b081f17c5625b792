//! Structures, arrays and i31: made and accessed inline, bulk operations by services.
//!
//! Invariant: an instruction that makes an object makes it first and reads its operands then, because making one
//! may move all others.

use aura_host_abi::composite::OBJECT_HEADER;
use aura_host_abi::gc::{I31_TAG, ObjectKind, YOUNG_SIZE_MAX, tag};
use aura_host_abi::services::Service;
use aura_host_abi::{ArrayType, SlotType, StorageType, StructType, TrapCode};
use aura_validator::code::{Inst, Operands, Slot};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

use super::Body;
use crate::heap::Place;

impl Body<'_> {
    pub(super) fn reference_test(&mut self, inst: &Inst) {
        match *inst {
            Inst::RefTest { ty, dst, src, target } => {
                let value = self.get(ty, src);
                let is_of = self.is_of_type(value, self.code.ref_types[target as usize]);
                self.set_flag(dst, is_of);
            }
            Inst::RefCast { ty, src, target } => {
                let value = self.get(ty, src);
                let is_of = self.is_of_type(value, self.code.ref_types[target as usize]);
                let is_not = self.is_zero(is_of);
                self.trap_if(is_not, TrapCode::CastFailure);
            }
            Inst::RefEq { dst, a, b } => {
                let (a, b) = (self.get(SlotType::Ref, a), self.get(SlotType::Ref, b));
                let equal = self.emit.ins().icmp(IntCC::Equal, a, b);
                self.set_flag(dst, equal);
            }
            Inst::RefI31 { dst, src } => {
                let value = self.get_i32(src);
                let shifted = self.emit.ins().iadd(value, value);
                let bit = self.emit.ins().iconst(types::I32, i64::from(I31_TAG));
                let value = self.emit.ins().bor(shifted, bit);
                self.set(SlotType::Ref, dst, value);
            }
            Inst::I31Get { signed, dst, src } => {
                let value = self.get(SlotType::Ref, src);
                let is_null = self.is_zero(value);
                self.trap_if(is_null, TrapCode::NullI31);
                let one = self.emit.ins().iconst(types::I32, 1);
                let value = match signed {
                    true => self.emit.ins().sshr(value, one),
                    false => self.emit.ins().ushr(value, one),
                };
                self.set(SlotType::I32, dst, value);
            }
            ref inst => unreachable!("{inst:?} is not a test of references"),
        }
    }

    pub(super) fn structure(&mut self, inst: &Inst) {
        match *inst {
            Inst::StructNew { type_index, dst, fields } => self.struct_new(type_index, dst, fields),
            Inst::StructNewDefault { type_index, dst } => {
                let size = self.struct_type(type_index).size();
                let tag = self.tag(ObjectKind::Struct, type_index);
                let object = self.emit.new_object(tag, 0, size);
                self.set(SlotType::Ref, dst, object);
            }
            Inst::StructGet { type_index, field, signed, dst, object } => {
                let (place, storage) = self.field(type_index, field, object);
                let value = self.emit.load_field(place, storage, signed);
                self.set(storage.unpacked().slot_type(), dst, value);
            }
            Inst::StructSet { type_index, field, object, value } => {
                let (place, storage) = self.field(type_index, field, object);
                let value = self.get(storage.unpacked().slot_type(), value);
                self.emit.store_field(place, storage, value, false);
            }
            ref inst => unreachable!("{inst:?} is not of structures"),
        }
    }

    fn struct_new(&mut self, type_index: u32, dst: Slot, fields: Operands) {
        let ty = self.struct_type(type_index).clone();
        let tag = self.tag(ObjectKind::Struct, type_index);
        let object = self.emit.new_object(tag, 0, ty.size());
        let start = self.emit.place(object, 0);
        let code = self.code;
        for (index, operand) in (0..).zip(code.operands(fields)) {
            let storage = ty.fields()[index as usize].storage;
            self.initialize(start.plus(ty.offset(index)), storage, operand.slot, ty.size());
        }
        self.set(SlotType::Ref, dst, object);
    }

    /// Stores into an object of this size that was made just now.
    fn initialize(&mut self, place: Place, storage: StorageType, value: Slot, size: u32) {
        let value = self.get(storage.unpacked().slot_type(), value);
        self.emit.store_field(place, storage, value, size <= YOUNG_SIZE_MAX);
    }

    pub(super) fn array(&mut self, inst: &Inst) {
        match *inst {
            Inst::ArrayNew { type_index, dst, init, len } => self.array_new(type_index, dst, init, len),
            Inst::ArrayNewDefault { type_index, dst, len } => {
                let (ty, len) = (self.emit.iconst64(type_index.into()), self.get_u32(len));
                let array = self.emit.call_object(Service::array_new, &[ty, len]);
                self.set(SlotType::Ref, dst, array);
            }
            Inst::ArrayNewFixed { type_index, dst, elements } => self.array_new_fixed(type_index, dst, elements),
            Inst::ArrayNewData { type_index, segment, dst, src, len } => {
                self.array_from(Service::array_new_data, type_index, segment, dst, [src, len]);
            }
            Inst::ArrayNewElem { type_index, segment, dst, src, len } => {
                self.array_from(Service::array_new_elem, type_index, segment, dst, [src, len]);
            }
            Inst::ArrayGet { type_index, signed, dst, array, index } => {
                let (place, storage) = self.element_of(type_index, array, index);
                let value = self.emit.load_field(place, storage, signed);
                self.set(storage.unpacked().slot_type(), dst, value);
            }
            Inst::ArraySet { type_index, array, index, value } => {
                let (place, storage) = self.element_of(type_index, array, index);
                let value = self.get(storage.unpacked().slot_type(), value);
                self.emit.store_field(place, storage, value, false);
            }
            Inst::ArrayLen { dst, array } => {
                let array = self.object(array, 0, TrapCode::NullArray);
                let length = self.emit.array_length(array);
                self.set(SlotType::I32, dst, length);
            }
            _ => self.array_bulk(inst),
        }
    }

    fn array_bulk(&mut self, inst: &Inst) {
        let code = self.code;
        match *inst {
            Inst::ArrayFill { type_index, array, index, value, len } => {
                let class = self.array_type(type_index).element.storage.unpacked().slot_type();
                let value = self.get(class, value);
                let [low, high] = self.emit.bits(class, value);
                let (ty, array) = (self.emit.iconst64(type_index.into()), self.get_ref(array));
                let (index, len) = (self.get_u32(index), self.get_u32(len));
                self.emit.call_status(Service::array_fill, &[ty, array, index, low, high, len]);
            }
            Inst::ArrayCopy { type_index, operands } => {
                let mut args = vec![self.emit.iconst64(type_index.into())];
                args.extend(code.operands(operands).iter().map(|operand| self.get_word(operand.ty, operand.slot)));
                self.emit.call_status(Service::array_copy, &args);
            }
            Inst::ArrayInitData { type_index, segment, operands } => {
                self.array_init(Service::array_init_data, type_index, segment, operands);
            }
            Inst::ArrayInitElem { type_index, segment, operands } => {
                self.array_init(Service::array_init_elem, type_index, segment, operands);
            }
            ref inst => unreachable!("{inst:?} is not of arrays"),
        }
    }

    fn array_new(&mut self, type_index: u32, dst: Slot, init: Slot, len: Slot) {
        let (ty, len) = (self.emit.iconst64(type_index.into()), self.get_u32(len));
        let array = self.emit.call_object(Service::array_new, &[ty, len]);
        let class = self.array_type(type_index).element.storage.unpacked().slot_type();
        // Read behind the call, which may move what it refers to; the next one moves nothing.
        let init = self.get(class, init);
        let [low, high] = self.emit.bits(class, init);
        let zero = self.emit.iconst64(0);
        let reference = self.emit.ins().uextend(types::I64, array);
        self.set(SlotType::Ref, dst, array);
        self.emit.call_status(Service::array_fill, &[ty, reference, zero, low, high, len]);
    }

    fn array_new_fixed(&mut self, type_index: u32, dst: Slot, elements: Operands) {
        let ty = *self.array_type(type_index);
        let storage = ty.element.storage;
        let size = u32::try_from(ty.size(elements.len)).expect("limits of bodies keep lists of operands short");
        let tag = self.tag(ObjectKind::Array, type_index);
        let array = self.emit.new_object(tag, elements.len, size);
        let first = self.emit.place(array, OBJECT_HEADER);
        let code = self.code;
        for (index, operand) in (0..).zip(code.operands(elements)) {
            self.initialize(first.plus(index * storage.size()), storage, operand.slot, size);
        }
        self.set(SlotType::Ref, dst, array);
    }

    fn array_from(&mut self, service: Service, type_index: u32, segment: u32, dst: Slot, [src, len]: [Slot; 2]) {
        let (ty, segment) = (self.emit.iconst64(type_index.into()), self.emit.iconst64(segment.into()));
        let (src, len) = (self.get_u32(src), self.get_u32(len));
        let array = self.emit.call_object(service, &[ty, segment, src, len]);
        self.set(SlotType::Ref, dst, array);
    }

    fn array_init(&mut self, service: Service, type_index: u32, segment: u32, operands: Operands) {
        let mut args = vec![self.emit.iconst64(type_index.into()), self.emit.iconst64(segment.into())];
        let code = self.code;
        args.extend(code.operands(operands).iter().map(|operand| self.get_word(operand.ty, operand.slot)));
        self.emit.call_status(service, &args);
    }

    /// The place of a field. Leaves if the reference is null.
    fn field(&mut self, type_index: u32, field: u16, object: Slot) -> (Place, StorageType) {
        let ty = self.struct_type(type_index);
        let (storage, at) = (ty.fields()[usize::from(field)].storage, ty.offset(field.into()));
        (self.object(object, at, TrapCode::NullStructure), storage)
    }

    /// The place of an element. Leaves if the reference is null or the index out of bounds.
    fn element_of(&mut self, type_index: u32, array: Slot, index: Slot) -> (Place, StorageType) {
        let storage = self.array_type(type_index).element.storage;
        let array = self.object(array, 0, TrapCode::NullArray);
        let (length, index) = (self.emit.array_length(array), self.get_i32(index));
        let is_out = self.emit.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, length);
        self.trap_if(is_out, TrapCode::ArrayOutOfBounds);
        (self.emit.element_place(array, index, storage.size(), is_out), storage)
    }

    /// The place `bytes` behind the beginning of an object. Leaves with `code` if the reference is null.
    fn object(&mut self, object: Slot, bytes: u32, code: TrapCode) -> Place {
        let reference = self.get(SlotType::Ref, object);
        let is_null = self.is_zero(reference);
        self.trap_if(is_null, code);
        self.emit.place(reference, bytes)
    }

    /// A reference as services take it.
    fn get_ref(&mut self, slot: Slot) -> Value {
        let reference = self.get(SlotType::Ref, slot);
        self.emit.ins().uextend(types::I64, reference)
    }

    /// A reference or an `i32` as services take it.
    fn get_word(&mut self, ty: SlotType, slot: Slot) -> Value {
        if ty == SlotType::Ref { self.get_ref(slot) } else { self.get_u32(slot) }
    }

    /// The first word of objects of a type.
    pub(super) fn tag(&mut self, kind: ObjectKind, type_index: u32) -> Value {
        let id = self.type_id(type_index);
        self.emit.ins().bor_imm_u(id, i64::from(tag(kind, 0)))
    }

    fn struct_type(&self, type_index: u32) -> &'_ StructType {
        self.target.module.types()[type_index as usize].composite.as_struct().expect("validated: a structure type")
    }

    fn array_type(&self, type_index: u32) -> &'_ ArrayType {
        self.target.module.types()[type_index as usize].composite.as_array().expect("validated: an array type")
    }
}
