//! Defined types at run time: whether a number that an object or a function carries is of a subtype.
//!
//! Equal numbers are the common case and are compared inline. Where the type may have subtypes, the rest
//! is a look into the list of the found type's supertypes, out of line.

use std::mem::offset_of;

use aura_host_abi::TypeIndex;
use aura_host_abi::vm::{DISPLAY_MIN, TYPES_PER_CHUNK, VmStore, VmType};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

use super::Body;
use crate::emit::{constant, offset};

impl Body<'_> {
    /// Whether the type with the canonical number `found` is no subtype of a type of the module, as a flag.
    pub(super) fn is_not_subtype(&mut self, found: Value, type_index: u32) -> Value {
        let wanted = i64::from(self.target.type_ids[type_index as usize]);
        let wanted = self.emit.ins().iconst(types::I32, wanted);
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

    /// How many supertypes a type of the module has.
    fn depth(&self, type_index: u32) -> u32 {
        let types = self.target.module.types();
        let above = |index: &u32| match types[*index as usize].supertype {
            Some(TypeIndex::Module(index)) => Some(index),
            _ => None,
        };
        std::iter::successors(Some(type_index), above).count() as u32 - 1
    }
}
