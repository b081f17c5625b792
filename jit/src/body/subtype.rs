//! Types at run time: what a reference is a reference to.
//!
//! Equal numbers are the common case and are compared inline. Where the type may have subtypes, the rest
//! is a look into the list of the found type's supertypes, out of line.

use std::mem::offset_of;

use aura_host_abi::gc::{HOST_TAG, I31_TAG, OBJECT_ALIGN, ObjectKind, TYPE_BITS, TYPE_MASK};
use aura_host_abi::vm::{DISPLAY_MIN, TYPES_PER_CHUNK, VmCtx, VmFuncRef, VmStore, VmType};
use aura_host_abi::{CompositeKind, ConcreteType, HeapType, RefType, TypeIndex};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

use super::Body;
use crate::emit::{constant, offset, plain};

impl Body<'_> {
    /// Whether a reference is of a type, as a flag.
    pub(super) fn is_of_type(&mut self, value: Value, target: RefType) -> Value {
        let is_null = self.is_zero(value);
        let heap = target.heap;
        if heap.is_bottom() {
            return if target.nullable { is_null } else { self.flag(false) };
        }
        if heap == heap.top() {
            return if target.nullable { self.flag(true) } else { self.not(is_null) };
        }
        match heap {
            HeapType::I31 => {
                let is_i31 = self.emit.ins().band_imm_u(value, i64::from(I31_TAG));
                let is_i31 = self.emit.ins().ireduce(types::I8, is_i31);
                if target.nullable { self.emit.ins().bor(is_i31, is_null) } else { is_i31 }
            }
            HeapType::Eq => {
                let low = self.emit.ins().band_imm_u(value, 3);
                let is_guests = self.emit.ins().icmp_imm_u(IntCC::NotEqual, low, i64::from(HOST_TAG));
                let is_not_null = self.not(is_null);
                if target.nullable { is_guests } else { self.emit.ins().band(is_guests, is_not_null) }
            }
            _ => self.looks_like(value, is_null, target),
        }
    }

    /// As [`Self::is_of_type`], for types whose references say only through what they refer to what they are.
    fn looks_like(&mut self, value: Value, is_null: Value, target: RefType) -> Value {
        let done = self.emit.builder.create_block();
        let answer = self.emit.builder.append_block_param(done, types::I8);
        let next = self.emit.builder.create_block();
        let for_null = self.flag(target.nullable);
        self.emit.ins().brif(is_null, done, &[for_null.into()], next, &[]);
        self.emit.begin(next);
        let is_of = match target.heap {
            HeapType::Concrete(ConcreteType { kind: CompositeKind::Func, index }) => {
                let at = offset(offset_of!(VmFuncRef, type_id));
                let found = self.emit.ins().load(types::I32, plain().with_readonly(), value, at);
                let differs = self.is_not_subtype(found, module_index(index));
                self.not(differs)
            }
            heap => {
                let low = self.emit.ins().band_imm_u(value, i64::from(OBJECT_ALIGN) - 1);
                let object = self.emit.builder.create_block();
                let no = self.flag(false);
                self.emit.ins().brif(low, done, &[no.into()], object, &[]);
                self.emit.begin(object);
                self.is_object_of(value, heap)
            }
        };
        self.emit.ins().jump(done, &[is_of.into()]);
        self.emit.begin(done);
        answer
    }

    /// Whether an object is of a type.
    fn is_object_of(&mut self, object: Value, heap: HeapType) -> Value {
        let found = self.emit.object_tag(object);
        let kind = match heap {
            HeapType::Struct | HeapType::Concrete(ConcreteType { kind: CompositeKind::Struct, .. }) => {
                ObjectKind::Struct
            }
            _ => ObjectKind::Array,
        };
        let HeapType::Concrete(ConcreteType { index, .. }) = heap else {
            let found = self.emit.ins().ushr_imm_u(found, i64::from(TYPE_BITS));
            return self.emit.ins().icmp_imm_u(IntCC::Equal, found, i64::from(kind as u8));
        };
        let index = module_index(index);
        if self.target.module.types()[index as usize].is_final {
            let wanted = self.tag(kind, index);
            return self.emit.ins().icmp(IntCC::Equal, found, wanted);
        }
        // Subtypes of structures are structures, and of arrays arrays.
        let found = self.emit.ins().band_imm_u(found, i64::from(TYPE_MASK));
        let differs = self.is_not_subtype(found, index);
        self.not(differs)
    }

    fn flag(&mut self, value: bool) -> Value {
        self.emit.ins().iconst(types::I8, i64::from(value))
    }

    fn not(&mut self, flag: Value) -> Value {
        self.emit.ins().bxor_imm_u(flag, 1)
    }

    /// Whether the type with the canonical number `found` is no subtype of a type of the module, as a flag.
    pub(super) fn is_not_subtype(&mut self, found: Value, type_index: u32) -> Value {
        let wanted = self.type_id(type_index);
        let differs = self.emit.ins().icmp(IntCC::NotEqual, found, wanted);
        if self.target.module.types()[type_index as usize].is_final {
            return differs;
        }
        let done = self.emit.builder.create_block();
        let answer = self.emit.builder.append_block_param(done, types::I8);
        let look = self.emit.builder.create_block();
        self.emit.builder.set_cold_block(look);
        self.emit.ins().brif(differs, look, &[], done, &[differs.into()]);
        self.emit.begin(look);
        let differs = self.differs_at_depth(found, wanted, self.depth(type_index));
        self.emit.ins().jump(done, &[differs.into()]);
        self.emit.begin(done);
        answer
    }

    /// Whether the supertype at `depth` of the type `found` is another than `wanted`, or there is none.
    fn differs_at_depth(&mut self, found: Value, wanted: Value, depth: u32) -> Value {
        // What a type is never changes; the loads stay here, behind the compare.
        let flags = constant();
        let store = self.emit.store();
        let table = self.emit.ins().load(types::I64, flags, store, offset(offset_of!(VmStore, types)));
        let index = self.emit.ins().uextend(types::I64, found);
        let chunk = self.emit.ins().ushr_imm_u(index, i64::from(TYPES_PER_CHUNK.trailing_zeros()));
        let place = self.emit.ins().band_imm_u(index, TYPES_PER_CHUNK as i64 - 1);
        let chunk = self.word_at(table, chunk);
        let record = self.word_at(chunk, place);
        let ancestors = self.emit.ins().load(types::I64, flags, record, offset(offset_of!(VmType, ancestors)));
        let place = offset(depth as usize * size_of::<u32>());
        if (depth as usize) < DISPLAY_MIN {
            let ancestor = self.emit.ins().load(types::I32, flags, ancestors, place);
            return self.emit.ins().icmp(IntCC::NotEqual, ancestor, wanted);
        }
        let found_depth = self.emit.ins().load(types::I32, flags, record, offset(offset_of!(VmType, depth)));
        let is_higher = self.emit.ins().icmp_imm_u(IntCC::UnsignedLessThan, found_depth, i64::from(depth));
        // A list that is too short is read where it begins, and the answer is overruled.
        let (zero, at) = (self.emit.iconst64(0), self.emit.iconst64(place as u64));
        let at = self.emit.ins().select(is_higher, zero, at);
        let at = self.emit.ins().iadd(ancestors, at);
        let ancestor = self.emit.ins().load(types::I32, flags.with_readonly(), at, 0);
        let differs = self.emit.ins().icmp(IntCC::NotEqual, ancestor, wanted);
        self.emit.ins().bor(is_higher, differs)
    }

    /// The word with this index in an array of words that other threads fill.
    fn word_at(&mut self, array: Value, index: Value) -> Value {
        let bytes = self.emit.ins().ishl_imm_u(index, i64::from(size_of::<usize>().trailing_zeros()));
        let at = self.emit.ins().iadd(array, bytes);
        self.emit.load_atomic(at, 0)
    }

    /// The engine's number of a type of the module. Code has none of them in it, so that it serves every engine.
    pub(super) fn type_id(&mut self, type_index: u32) -> Value {
        let ids = self.emit.load_constant(self.emit.vmctx, offset(offset_of!(VmCtx, type_ids)));
        self.emit.ins().load(types::I32, constant(), ids, offset(type_index as usize * size_of::<u32>()))
    }

    /// How many supertypes a type of the module has.
    fn depth(&self, type_index: u32) -> u32 {
        let types = self.target.module.types();
        let above = |index: &u32| types[*index as usize].supertype.map(module_index);
        std::iter::successors(Some(type_index), above).count() as u32 - 1
    }
}

/// The index of a type of the module.
fn module_index(index: TypeIndex) -> u32 {
    match index {
        TypeIndex::Module(index) => index,
        other => unreachable!("{other:?} stands in a module"),
    }
}
