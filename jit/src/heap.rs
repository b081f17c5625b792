//! Objects of the heap: where a reference becomes a host address, and how objects are made and stored into.
//!
//! Invariants: an address made here is used before the next call, since calls may move objects; what
//! stands for a reference across calls is a value that stack maps name. The heap's base never changes
//! while a function runs. A reference of 32 bits, whatever it is, has an address inside the heap's reservation.

use std::mem::offset_of;

use aura_host_abi::composite::OBJECT_HEADER;
use aura_host_abi::gc::{CARD_BYTES, CARD_DIRTY, CARD_SHIFT, VmObject, YOUNG_SIZE_MAX};
use aura_host_abi::services::Service;
use aura_host_abi::vm::VmStore;
use aura_host_abi::{SlotType, StorageType};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AliasRegion, Endianness, InstBuilder, MemFlagsData, Value, types};

use crate::emit::{Emit, constant, offset, plain};
use crate::signature::clif_type;

/// A place in an object.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The offset in the heap, 64 bits, of what `bytes` counts from.
    at: Value,
    /// Its host address.
    address: Value,
    bytes: u32,
}

impl Place {
    /// The place `bytes` behind this one.
    pub(crate) fn plus(self, bytes: u32) -> Self {
        Self { bytes: self.bytes + bytes, ..self }
    }
}

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

    /// The place `bytes` behind the beginning of an object.
    pub(crate) fn place(&mut self, reference: Value, bytes: u32) -> Place {
        let (heap, at) = (self.heap(), self.ins().uextend(types::I64, reference));
        Place { at, address: self.ins().iadd(heap, at), bytes }
    }

    /// The place of an array's element of `size` bytes at an index, an `i32`. The flag `is_out` says that there is none: the
    /// place is then harmless, should the processor run ahead of the check.
    pub(crate) fn element_place(&mut self, array: Place, index: Value, size: u32, is_out: Value) -> Place {
        let index = self.ins().uextend(types::I64, index);
        let size = self.iconst64(size.into());
        let distance = self.ins().imul(index, size);
        let at = self.ins().iadd(array.at, distance);
        let address = self.ins().iadd(array.address, distance);
        let address = self.ins().select_spectre_guard(is_out, array.address, address);
        Place { at, address, bytes: OBJECT_HEADER }
    }

    /// The first word of an object's header.
    pub(crate) fn object_tag(&mut self, reference: Value) -> Value {
        let address = self.object_address(reference);
        self.ins().load(types::I32, object(), address, offset(offset_of!(VmObject, tag)))
    }

    /// The number of elements of an array.
    pub(crate) fn array_length(&mut self, array: Place) -> Value {
        self.ins().load(types::I32, object(), array.address, offset(offset_of!(VmObject, length)))
    }

    /// Reads a field as the value it is on the operand stack; a packed one is extended as `signed` says.
    pub(crate) fn load_field(&mut self, place: Place, storage: StorageType, signed: bool) -> Value {
        let (address, at, flags) = (place.address, offset(place.bytes as usize), object());
        match (storage, signed) {
            (StorageType::I8, true) => self.ins().sload8(types::I32, flags, address, at),
            (StorageType::I8, false) => self.ins().uload8(types::I32, flags, address, at),
            (StorageType::I16, true) => self.ins().sload16(types::I32, flags, address, at),
            (StorageType::I16, false) => self.ins().uload16(types::I32, flags, address, at),
            (StorageType::Val(ty), _) => self.ins().load(clif_type(ty.slot_type()), flags, address, at),
        }
    }

    /// Writes a field. `is_fresh` says that the object is small and nothing was made since it was.
    pub(crate) fn store_field(&mut self, place: Place, storage: StorageType, value: Value, is_fresh: bool) {
        let (address, at, flags) = (place.address, offset(place.bytes as usize), object());
        match storage {
            StorageType::I8 => self.ins().istore8(flags, value, address, at),
            StorageType::I16 => self.ins().istore16(flags, value, address, at),
            StorageType::Val(_) => self.ins().store(flags, value, address, at),
        };
        if storage.is_heap_ref() && !is_fresh {
            self.note_store(place.at, place.bytes);
        }
    }

    /// The bits of a value as services take them: 64 and, of a vector, 64 more.
    pub(crate) fn bits(&mut self, ty: SlotType, value: Value) -> [Value; 2] {
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        let low = match ty {
            SlotType::I64 | SlotType::Func => value,
            SlotType::I32 | SlotType::Ref => self.ins().uextend(types::I64, value),
            SlotType::F32 => {
                let bits = self.ins().bitcast(types::I32, flags, value);
                self.ins().uextend(types::I64, bits)
            }
            SlotType::F64 => self.ins().bitcast(types::I64, flags, value),
            SlotType::V128 => {
                let lanes = self.ins().bitcast(types::I64X2, flags, value);
                let low = self.ins().extractlane(lanes, 0);
                return [low, self.ins().extractlane(lanes, 1)];
            }
        };
        [low, self.iconst64(0)]
    }

    /// Makes an object of a size that is known, a multiple of 8; its fields are zero. Every object may move.
    ///
    /// `tag` is the first word of its header, `length` the number of elements of an array.
    pub(crate) fn new_object(&mut self, tag: Value, length: u32, size: u32) -> Value {
        let length = self.iconst64(length.into());
        let size_value = self.iconst64(size.into());
        let tag = self.ins().uextend(types::I64, tag);
        match size <= YOUNG_SIZE_MAX {
            true => self.new_object_inline(tag, length, size_value),
            false => self.new_object_by_service(tag, length, size_value),
        }
    }

    /// Takes the bytes behind the last young object, if so many are left there.
    fn new_object_inline(&mut self, tag: Value, length: Value, size: Value) -> Value {
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

    fn store_header(&mut self, place: Value, tag: Value, length: Value) {
        debug_assert!(offset_of!(VmObject, tag) == 0 && offset_of!(VmObject, length) == 4, "one word of 64 bits");
        let thirty_two = self.iconst64(32);
        let upper = self.ins().ishl(length, thirty_two);
        let header = self.ins().bor(upper, tag);
        self.ins().store(object(), header, place, 0);
    }

    fn new_object_by_service(&mut self, tag: Value, length: Value, size: Value) -> Value {
        self.call_object(Service::heap_alloc, &[tag, length, size])
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
