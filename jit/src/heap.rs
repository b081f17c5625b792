//! Objects of the heap: where a reference becomes a host address, and how objects are made and stored into.
//!
//! Invariants: an address made here is used before the next call, since calls may move objects; what
//! stands for a reference across calls is a value that stack maps name. The heap's base never changes
//! while a function runs. A reference of 32 bits, whatever it is, has an address inside the heap's reservation.

use std::mem::offset_of;

use aura_host_abi::gc::{CARD_BYTES, CARD_DIRTY, CARD_SHIFT, VmObject, YOUNG_SIZE_MAX};
use aura_host_abi::services::Service;
use aura_host_abi::vm::VmStore;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AliasRegion, Endianness, InstBuilder, MemFlagsData, Value, types};

use crate::emit::{Emit, constant, offset, plain};

/// Flags of an access to a field or element: vectors are aligned to 8 bytes only.
pub(crate) fn object() -> MemFlagsData {
    MemFlagsData::new()
        .with_notrap()
        .with_endianness(Endianness::Little)
        .with_alias_region(Some(AliasRegion::from_u32(2)))
}

impl Emit<'_> {
    /// The base of the store's heap.
    fn heap(&mut self) -> Value {
        let store = self.store();
        self.ins().load(types::I64, constant(), store, offset(offset_of!(VmStore, heap)))
    }

    /// The address of an object.
    pub(crate) fn object_address(&mut self, reference: Value) -> Value {
        let (heap, at) = (self.heap(), self.ins().uextend(types::I64, reference));
        self.ins().iadd(heap, at)
    }

    /// Makes an object of a size that is known, a multiple of 8; its fields are zero. Every object may move.
    ///
    /// `length` is the number of elements of an array.
    pub(crate) fn new_object(&mut self, tag: u32, length: u32, size: u32) -> Value {
        let length = self.iconst64(length.into());
        let size_value = self.iconst64(size.into());
        match size <= YOUNG_SIZE_MAX {
            true => self.new_object_inline(tag, length, size_value),
            false => self.new_object_by_service(tag, length, size_value),
        }
    }

    /// As [`Emit::new_object`], with a length and a size of 64 bits that come from the guest.
    pub(crate) fn new_array(&mut self, tag: u32, length: Value, size: Value) -> Value {
        self.new_object_inline(tag, length, size)
    }

    /// Takes the bytes behind the last young object, if so many are left there.
    fn new_object_inline(&mut self, tag: u32, length: Value, size: Value) -> Value {
        let (fast, slow, done) =
            (self.builder.create_block(), self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(slow);
        self.builder.append_block_param(done, types::I32);
        let store = self.store();
        let at = offset(offset_of!(VmStore, heap_next));
        let next = self.ins().load(types::I64, plain(), store, at);
        let limit = self.ins().load(types::I64, plain(), store, offset(offset_of!(VmStore, heap_limit)));
        let end = self.ins().iadd(next, size);
        let is_full = self.ins().icmp(IntCC::UnsignedGreaterThan, end, limit);
        self.ins().brif(is_full, slow, &[], fast, &[]);
        self.begin(fast);
        self.ins().store(plain(), end, store, at);
        let heap = self.heap();
        let place = self.ins().iadd(heap, next);
        self.store_header(place, tag, length);
        let reference = self.ins().ireduce(types::I32, next);
        self.ins().jump(done, &[reference.into()]);
        self.begin(slow);
        let reference = self.new_object_by_service(tag, length, size);
        self.ins().jump(done, &[reference.into()]);
        self.begin(done);
        let reference = self.builder.block_params(done)[0];
        self.builder.declare_value_needs_stack_map(reference);
        reference
    }

    fn store_header(&mut self, place: Value, tag: u32, length: Value) {
        debug_assert!(offset_of!(VmObject, tag) == 0 && offset_of!(VmObject, length) == 4, "one word of 64 bits");
        let thirty_two = self.iconst64(32);
        let (upper, tag) = (self.ins().ishl(length, thirty_two), self.iconst64(tag.into()));
        let header = self.ins().bor(upper, tag);
        self.ins().store(object(), header, place, 0);
    }

    fn new_object_by_service(&mut self, tag: u32, length: Value, size: Value) -> Value {
        let tag = self.iconst64(tag.into());
        let reference = self.call_service(Service::heap_alloc, &[tag, length, size]);
        let zero = self.iconst64(0);
        let failed = self.ins().icmp(IntCC::Equal, reference, zero);
        self.propagate_if(failed);
        let reference = self.ins().ireduce(types::I32, reference);
        self.builder.declare_value_needs_stack_map(reference);
        reference
    }

    /// Says that a reference was stored in an object, `bytes` behind the 64-bit offset `at`: every such store needs it,
    /// except into an object of at most [`YOUNG_SIZE_MAX`] bytes before anything else can be made.
    pub(crate) fn note_store(&mut self, at: Value, bytes: u32) {
        let place = self.field_address(at, bytes as usize);
        let shift = self.iconst64(CARD_SHIFT.into());
        let card = self.ins().ushr(place, shift);
        let heap = self.heap();
        let card = self.ins().iadd(heap, card);
        let dirty = self.ins().iconst(types::I8, i64::from(CARD_DIRTY));
        self.ins().store(plain(), dirty, card, -offset(CARD_BYTES));
    }
}
