//! Constant expressions (specification 3.0, section 4.5.3): initial values, offsets and elements.
//!
//! They may make objects, and so may collect: operands lie on a stack of the store's that the
//! collector knows, and whoever evaluates several keeps each result in such a place before the next. One pass over
//! a flat list, whatever it nests.
//!
//! # Safety
//! Trusts: the instance is linked as far as validation lets the expression look, and the store runs on this thread.

use aura_host_abi::composite::OBJECT_HEADER;
use aura_host_abi::gc::{self, ObjectKind};
use aura_host_abi::trap::Status;
use aura_host_abi::vm::VmCtx;
use aura_host_abi::{ArrayType, StructType, ValType};
use aura_validator::module::{ConstExpr, ConstOp};
use aura_validator::ops::{self, Value, v128};

use crate::error::Result;
use crate::store::StoreData;
use crate::vm::instance::InstanceData;
use crate::vm::object;
use crate::{services, trap};

/// A value as slots hold it, with its type.
pub(crate) type Typed = ([u64; 2], ValType);

/// Evaluates a constant expression of an instance. Validation made sure of its types.
///
/// # Errors
/// If an object that it makes passes a limit.
///
/// # Safety
/// `vmctx` is an instance of the store that runs on this thread; its imports are linked, and so is what the
/// expression names. Nothing of the store is borrowed.
pub(crate) unsafe fn evaluate(vmctx: *mut VmCtx, expr: &ConstExpr) -> Result<[u64; 2]> {
    let machine = Evaluation { vmctx };
    machine.stack().clear();
    for op in expr.ops() {
        // SAFETY: said by the caller.
        let pushed = unsafe { machine.step(*op) };
        let Ok(pushed) = pushed else {
            // SAFETY: said by the caller.
            return Err(trap::take(unsafe { &mut *StoreData::of(vmctx) }));
        };
        machine.stack().push(pushed);
    }
    Ok(machine.pop().0)
}

struct Evaluation {
    vmctx: *mut VmCtx,
}

impl Evaluation {
    #[allow(clippy::mut_from_ref, reason = "one such reference at a time, never over a step")]
    fn stack(&self) -> &mut Vec<Typed> {
        // SAFETY: the store is live and nothing else of it is borrowed.
        unsafe { &mut (*StoreData::of(self.vmctx)).constants }
    }

    fn pop(&self) -> Typed {
        self.stack().pop().expect("validated: an operand")
    }

    fn instance<'a>(&self) -> &'a InstanceData {
        // SAFETY: the instance is live; nobody changes its data meanwhile but the collector, its segments.
        unsafe { &*InstanceData::from_vmctx(self.vmctx) }
    }

    /// What a step pushes; an error leaves the trap in the store.
    ///
    /// # Safety
    /// As for [`evaluate`].
    unsafe fn step(&self, op: ConstOp) -> Result<Typed, Status> {
        Ok(match op {
            ConstOp::I32(x) => ([u64::from(x as u32), 0], ValType::I32),
            ConstOp::I64(x) => ([x as u64, 0], ValType::I64),
            ConstOp::F32(bits) => ([bits.into(), 0], ValType::F32),
            ConstOp::F64(bits) => ([bits, 0], ValType::F64),
            ConstOp::V128(bytes) => from_value(Value::V128(v128(bytes))),
            ConstOp::RefNull(ty) => ([0, 0], ValType::Ref(ty)),
            ConstOp::RefFunc(func) => {
                ([self.instance().func_ref(func).expose_provenance() as u64, 0], ValType::FUNCREF)
            }
            ConstOp::GlobalGet(index) => {
                // SAFETY: validation allows globals that are set before only.
                let cell = unsafe { &(*self.instance().global(index)).bits };
                // SAFETY: nothing runs that could write it.
                (unsafe { *cell.get() }, self.instance().module.validated().globals()[index as usize].content)
            }
            ConstOp::Binary(op) => {
                let (b, a) = (self.pop(), self.pop());
                let args = [to_value(a), to_value(b)];
                from_value(ops::eval(op, &args).expect("constant operators do not trap"))
            }
            ConstOp::RefI31 => ([gc::i31(self.pop().0[0] as u32).into(), 0], ValType::ANYREF),
            // SAFETY: said by the caller.
            made => (unsafe { self.make(made) }?, ValType::ANYREF),
        })
    }

    /// Makes an object, then gives it the operands.
    ///
    /// # Safety
    /// As for [`evaluate`].
    unsafe fn make(&self, op: ConstOp) -> Result<[u64; 2], Status> {
        let vmctx = self.vmctx;
        let id = |ty| self.instance().module.type_id(ty);
        let made = match op {
            ConstOp::StructNew(ty) | ConstOp::StructNewDefault(ty) => {
                let tag = gc::tag(ObjectKind::Struct, id(ty));
                // SAFETY: said by the caller; operands are on the store's stack.
                unsafe { services::heap_alloc(vmctx, tag.into(), 0, self.struct_type(ty).size().into()) }
            }
            ConstOp::ArrayNew(ty) | ConstOp::ArrayNewDefault(ty) => {
                let length = self.pop().0[0] as u32;
                // SAFETY: as above.
                unsafe { services::array_new(vmctx, ty.into(), length.into()) }
            }
            ConstOp::ArrayNewFixed { type_index, len } => {
                let (tag, size) = (gc::tag(ObjectKind::Array, id(type_index)), self.array_type(type_index).size(len));
                // SAFETY: as above.
                unsafe { services::heap_alloc(vmctx, tag.into(), len.into(), size) }
            }
            other => unreachable!("{other:?} makes no object"),
        };
        if made == 0 {
            return Err(Status::Trap);
        }
        // SAFETY: said by the caller.
        unsafe { self.initialize(op, made as u32) }?;
        Ok([made, 0])
    }

    /// # Safety
    /// As for [`evaluate`].
    unsafe fn initialize(&self, op: ConstOp, made: u32) -> Result<(), Status> {
        // SAFETY: the store is live; the reference ends before anything else of it is used.
        let heap = || unsafe { &(*StoreData::of(self.vmctx)).heap };
        match op {
            ConstOp::StructNew(ty) => {
                let ty = self.struct_type(ty);
                for field in (0..ty.fields().len() as u32).rev() {
                    let (bits, storage) = (self.pop().0, ty.fields()[field as usize].storage);
                    object::write(heap(), made, ty.offset(field).into(), storage, bits);
                }
            }
            ConstOp::ArrayNew(ty) => {
                let [low, high] = self.pop().0;
                let length = heap().header(made).length;
                // SAFETY: said by the caller; filling makes no object.
                let status =
                    unsafe { services::array_fill(self.vmctx, ty.into(), made.into(), 0, low, high, length.into()) };
                return if status == Status::Ok { Ok(()) } else { Err(status) };
            }
            ConstOp::ArrayNewFixed { type_index, len } => {
                let storage = self.array_type(type_index).element.storage;
                for index in (0..u64::from(len)).rev() {
                    let at = u64::from(OBJECT_HEADER) + index * u64::from(storage.size());
                    let bits = self.pop().0;
                    object::write(heap(), made, at, storage, bits);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn struct_type<'a>(&self, ty: u32) -> &'a StructType {
        let ty = &self.instance().module.validated().types()[ty as usize];
        ty.composite.as_struct().expect("validated: a structure type")
    }

    fn array_type<'a>(&self, ty: u32) -> &'a ArrayType {
        let ty = &self.instance().module.validated().types()[ty as usize];
        ty.composite.as_array().expect("validated: an array type")
    }
}

fn to_value((bits, ty): Typed) -> Value {
    match ty {
        ValType::I32 => Value::I32(bits[0] as i32),
        ValType::I64 => Value::I64(bits[0] as i64),
        ValType::F32 => Value::F32(f32::from_bits(bits[0] as u32)),
        ValType::F64 => Value::F64(f64::from_bits(bits[0])),
        ValType::V128 | ValType::Ref(_) => {
            Value::V128(v128((u128::from(bits[0]) | u128::from(bits[1]) << 64).to_le_bytes()))
        }
    }
}

fn from_value(value: Value) -> Typed {
    match value {
        Value::I32(x) => ([u64::from(x as u32), 0], ValType::I32),
        Value::I64(x) => ([x as u64, 0], ValType::I64),
        Value::F32(x) => ([x.to_bits().into(), 0], ValType::F32),
        Value::F64(x) => ([x.to_bits(), 0], ValType::F64),
        Value::V128(x) => {
            let bits = u128::from_le_bytes(x.0);
            ([bits as u64, (bits >> 64) as u64], ValType::V128)
        }
    }
}
