//! Structures, arrays, i31 and casts.
//!
//! # Safety
//! Trusts: as [`super::machine`]. An instruction that makes an object makes it first and reads its
//! operands then: making one may move all others, and frames' slots are where the collector looks.

use aura_host_abi::composite::OBJECT_HEADER;
use aura_host_abi::gc::{self, NULL, ObjectKind};
use aura_host_abi::trap::Status;
use aura_host_abi::vm::VmFuncRef;
use aura_host_abi::{
    ArrayType, CompositeKind, ConcreteType, HeapType, RefType, SlotType, StorageType, StructType, TrapCode, TypeIndex,
};
use aura_validator::code::{Inst, Operand, Slot};

use super::general::is_null;
use super::machine::{Cursor, Machine};
use super::slots::Regs;
use crate::services;
use crate::vm::object;

impl Machine {
    /// Runs an instruction of references and objects.
    ///
    /// # Safety
    /// `cursor` is behind the instruction, which is one of the running code; the position is saved.
    pub(super) unsafe fn object(&mut self, cursor: Cursor, inst: &Inst) -> Result<(), Status> {
        // SAFETY: said by the caller.
        let done = match unsafe { self.reference_test(cursor.regs, inst) } {
            Some(done) => done,
            // SAFETY: said by the caller.
            None => match unsafe { self.field_access(cursor.regs, inst) } {
                Some(done) => done,
                // SAFETY: said by the caller.
                None => return unsafe { self.make(cursor.regs, inst) },
            },
        };
        done.map_err(|code| self.trap(cursor, code))
    }

    /// # Safety
    /// The instruction is one of the running code.
    unsafe fn reference_test(&mut self, regs: Regs, inst: &Inst) -> Option<Result<(), TrapCode>> {
        // SAFETY: said by the caller.
        let get = |slot: Slot| unsafe { regs.get::<u32>(slot) };
        let (dst, value) = match *inst {
            Inst::RefTest { ty, dst, src, target } => {
                let target = self.code().ref_types[target as usize];
                // SAFETY: said by the caller.
                (dst, u32::from(unsafe { self.is_of_type(regs, ty, src, target) }))
            }
            Inst::RefCast { ty, src, target } => {
                let target = self.code().ref_types[target as usize];
                // SAFETY: said by the caller.
                let is_of = unsafe { self.is_of_type(regs, ty, src, target) };
                return Some(if is_of { Ok(()) } else { Err(TrapCode::CastFailure) });
            }
            Inst::RefEq { dst, a, b } => (dst, u32::from(get(a) == get(b))),
            Inst::RefI31 { dst, src } => (dst, gc::i31(get(src))),
            Inst::I31Get { signed, dst, src } => match get(src) {
                NULL => return Some(Err(TrapCode::NullI31)),
                value if signed => (dst, gc::i31_signed(value).cast_unsigned()),
                value => (dst, gc::i31_unsigned(value)),
            },
            _ => return None,
        };
        // SAFETY: said by the caller.
        unsafe { regs.set(dst, value) };
        Some(Ok(()))
    }

    /// Whether a reference is of a type.
    ///
    /// # Safety
    /// The slot is one of the running code and holds a reference.
    unsafe fn is_of_type(&self, regs: Regs, ty: SlotType, src: Slot, target: RefType) -> bool {
        // SAFETY: said by the caller.
        if unsafe { is_null(regs, ty, src) } {
            return target.nullable;
        }
        if target.heap.is_bottom() || target.heap == target.heap.top() {
            return !target.heap.is_bottom();
        }
        if ty == SlotType::Func {
            // SAFETY: said by the caller.
            let func = unsafe { regs.get::<u64>(src) };
            let func = std::ptr::with_exposed_provenance::<VmFuncRef>(func as usize);
            // SAFETY: function references that are not null are live.
            return self.is_concrete(unsafe { (*func).type_id }, target.heap);
        }
        // SAFETY: said by the caller.
        let reference = unsafe { regs.get::<u32>(src) };
        match target.heap {
            HeapType::I31 => gc::is_i31(reference),
            HeapType::Eq => gc::host_index(reference).is_none(),
            heap => gc::is_object(reference) && self.is_object_of(reference, heap),
        }
    }

    fn is_object_of(&self, object: u32, heap: HeapType) -> bool {
        let tag = self.heap().header(object).tag;
        match heap {
            HeapType::Struct => gc::kind_of(tag) == Some(ObjectKind::Struct),
            HeapType::Array => gc::kind_of(tag) == Some(ObjectKind::Array),
            heap => self.is_concrete(gc::type_of(tag), heap),
        }
    }

    fn is_concrete(&self, type_id: u32, heap: HeapType) -> bool {
        match heap {
            HeapType::Concrete(ConcreteType { index: TypeIndex::Module(of), .. }) => self.is_subtype(type_id, of),
            other => unreachable!("{other} is decided by the reference alone"),
        }
    }

    /// # Safety
    /// The instruction is one of the running code.
    unsafe fn field_access(&mut self, regs: Regs, inst: &Inst) -> Option<Result<(), TrapCode>> {
        // SAFETY: said by the caller.
        let get = |slot: Slot| unsafe { regs.get::<u32>(slot) };
        Some(match *inst {
            Inst::StructGet { type_index, field, signed, dst, object } => match get(object) {
                NULL => Err(TrapCode::NullStructure),
                object => {
                    let (at, storage) = self.field(type_index, field);
                    // SAFETY: said by the caller.
                    unsafe { self.load(regs, dst, object, at, storage, signed) };
                    Ok(())
                }
            },
            Inst::StructSet { type_index, field, object, value } => match get(object) {
                NULL => Err(TrapCode::NullStructure),
                object => {
                    let (at, storage) = self.field(type_index, field);
                    // SAFETY: said by the caller.
                    unsafe { self.store(regs, value, object, at, storage) };
                    Ok(())
                }
            },
            Inst::ArrayGet { type_index, signed, dst, array, index } => {
                let storage = self.array_type(type_index).element.storage;
                self.element_at(get(array), get(index), storage).map(|at| {
                    // SAFETY: said by the caller.
                    unsafe { self.load(regs, dst, get(array), at, storage, signed) };
                })
            }
            Inst::ArraySet { type_index, array, index, value } => {
                let storage = self.array_type(type_index).element.storage;
                self.element_at(get(array), get(index), storage).map(|at| {
                    // SAFETY: said by the caller.
                    unsafe { self.store(regs, value, get(array), at, storage) };
                })
            }
            Inst::ArrayLen { dst, array } => match get(array) {
                NULL => Err(TrapCode::NullArray),
                array => {
                    let length = self.heap().header(array).length;
                    // SAFETY: said by the caller.
                    unsafe { regs.set(dst, length) };
                    Ok(())
                }
            },
            _ => return None,
        })
    }

    /// Where an element is, in bytes from the beginning of its array.
    fn element_at(&self, array: u32, index: u32, storage: StorageType) -> Result<u64, TrapCode> {
        if array == NULL {
            return Err(TrapCode::NullArray);
        }
        if index >= self.heap().header(array).length {
            return Err(TrapCode::ArrayOutOfBounds);
        }
        Ok(u64::from(OBJECT_HEADER) + u64::from(index) * u64::from(storage.size()))
    }

    /// # Safety
    /// `dst` is a slot of the running code for such a value.
    unsafe fn load(&self, regs: Regs, dst: Slot, object: u32, at: u64, storage: StorageType, signed: bool) {
        let bits = object::read(self.heap(), object, at, storage, signed);
        let operand = Operand { slot: dst, ty: storage.unpacked().slot_type() };
        // SAFETY: said by the caller; the two words hold any value.
        unsafe { regs.take_array(&[operand], bits.as_ptr()) };
    }

    /// # Safety
    /// `src` is a slot of the running code with such a value.
    unsafe fn store(&self, regs: Regs, src: Slot, object: u32, at: u64, storage: StorageType) {
        // SAFETY: said by the caller.
        let bits = unsafe { bits_of(regs, Operand { slot: src, ty: storage.unpacked().slot_type() }) };
        object::write(self.heap(), object, at, storage, bits);
    }

    /// Instructions that services carry out, at least in part.
    ///
    /// # Safety
    /// The instruction is one of the running code; the position is saved.
    unsafe fn make(&mut self, regs: Regs, inst: &Inst) -> Result<(), Status> {
        let vmctx = self.vmctx;
        // SAFETY: said by the caller.
        let get = |slot: Slot| u64::from(unsafe { regs.get::<u32>(slot) });
        let (dst, made) = match *inst {
            // SAFETY: said by the caller.
            Inst::StructNew { type_index, dst, .. } | Inst::StructNewDefault { type_index, dst } => {
                // SAFETY: the instance is live and linked; references are in the frame.
                (dst, unsafe { self.new_struct(type_index) })
            }
            Inst::ArrayNew { type_index, dst, len, .. } | Inst::ArrayNewDefault { type_index, dst, len } => {
                // SAFETY: as above.
                (dst, unsafe { services::array_new(vmctx, type_index.into(), get(len)) })
            }
            Inst::ArrayNewFixed { type_index, dst, elements } => {
                // SAFETY: as above.
                (dst, unsafe { self.new_array(type_index, elements.len) })
            }
            Inst::ArrayNewData { type_index, segment, dst, src, len } => {
                let (src, len) = (get(src), get(len));
                // SAFETY: as above.
                (dst, unsafe { services::array_new_data(vmctx, type_index.into(), segment.into(), src, len) })
            }
            Inst::ArrayNewElem { type_index, segment, dst, src, len } => {
                let (src, len) = (get(src), get(len));
                // SAFETY: as above.
                (dst, unsafe { services::array_new_elem(vmctx, type_index.into(), segment.into(), src, len) })
            }
            // SAFETY: said by the caller.
            _ => return unsafe { self.array_bulk(regs, inst) },
        };
        if made == 0 {
            return Err(Status::Trap);
        }
        // SAFETY: said by the caller; operands are read after the object was made.
        unsafe { self.initialize(regs, inst, made as u32) }?;
        // SAFETY: said by the caller.
        unsafe { regs.set(dst, made as u32) };
        Ok(())
    }

    /// Gives a new object its values.
    ///
    /// # Safety
    /// As for [`Machine::make`].
    unsafe fn initialize(&mut self, regs: Regs, inst: &Inst, made: u32) -> Result<(), Status> {
        match *inst {
            Inst::StructNew { type_index, fields, .. } => {
                for (field, operand) in (0..).zip(self.code().operands(fields)) {
                    let (at, storage) = self.field(type_index, field);
                    // SAFETY: said by the caller.
                    unsafe { self.store(regs, operand.slot, made, at, storage) };
                }
            }
            Inst::ArrayNewFixed { type_index, elements, .. } => {
                let storage = self.array_type(type_index).element.storage;
                for (index, operand) in (0..).zip(self.code().operands(elements)) {
                    let at = u64::from(OBJECT_HEADER) + index * u64::from(storage.size());
                    // SAFETY: said by the caller.
                    unsafe { self.store(regs, operand.slot, made, at, storage) };
                }
            }
            Inst::ArrayNew { type_index, init, len, .. } => {
                let class = self.array_type(type_index).element.storage.unpacked().slot_type();
                // SAFETY: said by the caller.
                let [low, high] = unsafe { bits_of(regs, Operand { slot: init, ty: class }) };
                // SAFETY: said by the caller.
                let len = unsafe { regs.get::<u32>(len) };
                let (ty, len) = (type_index.into(), len.into());
                // SAFETY: the instance is live and linked; filling makes no object.
                return self.check(unsafe { services::array_fill(self.vmctx, ty, made.into(), 0, low, high, len) });
            }
            _ => {}
        }
        Ok(())
    }

    /// # Safety
    /// As for [`Machine::make`].
    unsafe fn array_bulk(&mut self, regs: Regs, inst: &Inst) -> Result<(), Status> {
        let vmctx = self.vmctx;
        // SAFETY: said by the caller.
        let get = |slot: Slot| u64::from(unsafe { regs.get::<u32>(slot) });
        let all = |operands| self.code().operands(operands).iter().map(|operand| get(operand.slot)).collect::<Vec<_>>();
        let status = match *inst {
            Inst::ArrayFill { type_index, array, index, value, len } => {
                let class = self.array_type(type_index).element.storage.unpacked().slot_type();
                // SAFETY: said by the caller.
                let [low, high] = unsafe { bits_of(regs, Operand { slot: value, ty: class }) };
                let (array, index, len) = (get(array), get(index), get(len));
                // SAFETY: the instance is live and linked.
                unsafe { services::array_fill(vmctx, type_index.into(), array, index, low, high, len) }
            }
            Inst::ArrayCopy { type_index, operands } => {
                let o = all(operands);
                // SAFETY: as above.
                unsafe { services::array_copy(vmctx, type_index.into(), o[0], o[1], o[2], o[3], o[4]) }
            }
            Inst::ArrayInitData { type_index, segment, operands } => {
                let (ty, segment, o) = (type_index.into(), segment.into(), all(operands));
                // SAFETY: as above.
                unsafe { services::array_init_data(vmctx, ty, segment, o[0], o[1], o[2], o[3]) }
            }
            Inst::ArrayInitElem { type_index, segment, operands } => {
                let (ty, segment, o) = (type_index.into(), segment.into(), all(operands));
                // SAFETY: as above.
                unsafe { services::array_init_elem(vmctx, ty, segment, o[0], o[1], o[2], o[3]) }
            }
            other => unreachable!("an arm of the loop runs {other:?}"),
        };
        self.check(status)
    }

    /// # Safety
    /// As for [`Machine::make`].
    unsafe fn new_struct(&self, type_index: u32) -> u64 {
        let size = self.struct_type(type_index).size();
        let tag = gc::tag(ObjectKind::Struct, self.instance().module.type_id(type_index));
        // SAFETY: said by the caller.
        unsafe { services::heap_alloc(self.vmctx, tag.into(), 0, size.into()) }
    }

    /// # Safety
    /// As for [`Machine::make`].
    unsafe fn new_array(&self, type_index: u32, len: u32) -> u64 {
        let size = self.array_type(type_index).size(len);
        let tag = gc::tag(ObjectKind::Array, self.instance().module.type_id(type_index));
        // SAFETY: said by the caller.
        unsafe { services::heap_alloc(self.vmctx, tag.into(), len.into(), size) }
    }

    fn heap(&self) -> &crate::gc::Heap {
        // SAFETY: the store's data is live; nothing else of it is used while the reference is.
        unsafe { &(*self.data).heap }
    }

    /// Where a field is in its object, and what it holds.
    fn field(&self, type_index: u32, field: u16) -> (u64, StorageType) {
        let ty = self.struct_type(type_index);
        (ty.offset(field.into()).into(), ty.fields()[usize::from(field)].storage)
    }

    fn struct_type<'a>(&self, type_index: u32) -> &'a StructType {
        let ty = &self.instance().module.validated().types()[type_index as usize];
        debug_assert_eq!(ty.composite.kind(), CompositeKind::Struct);
        ty.composite.as_struct().expect("validated: a structure type")
    }

    fn array_type<'a>(&self, type_index: u32) -> &'a ArrayType {
        let ty = &self.instance().module.validated().types()[type_index as usize];
        ty.composite.as_array().expect("validated: an array type")
    }
}

/// The words of a value.
///
/// # Safety
/// The operand is one of the running code.
unsafe fn bits_of(regs: Regs, operand: Operand) -> [u64; 2] {
    let mut bits = [0; 2];
    // SAFETY: said by the caller; two words have room for any value.
    unsafe { regs.to_array(&[operand], bits.as_mut_ptr()) };
    bits
}
