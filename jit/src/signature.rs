//! Signatures: what a function type is in CLIF.
//!
//! Invariant: caller, callee and both stubs of a type take its signature from here, so they agree.

use aura_host_abi::{FuncType, SlotType, ValType};
use cranelift_codegen::ir::{AbiParam, Signature, Type, types};
use cranelift_codegen::isa::CallConv;

/// The CLIF type of a storage class.
pub(crate) const fn clif_type(ty: SlotType) -> Type {
    match ty {
        SlotType::I32 | SlotType::Ref => types::I32,
        SlotType::I64 | SlotType::Func => types::I64,
        SlotType::F32 => types::F32,
        SlotType::F64 => types::F64,
        SlotType::V128 => types::I8X16,
    }
}

/// The signature of compiled functions of this type: `(vmctx, entry, args...) -> results`.
pub(crate) fn registers(ty: &FuncType) -> Signature {
    let value = |ty: &ValType| AbiParam::new(clif_type(ty.slot_type()));
    let mut sig = Signature::new(CallConv::Tail);
    sig.params.extend([AbiParam::new(types::I64); 2]);
    sig.params.extend(ty.params().iter().map(value));
    sig.returns.extend(ty.results().iter().map(value));
    sig
}

/// The signature of tail entries of functions of this type: `(vmctx, entry) -> results`.
pub(crate) fn tail(ty: &FuncType) -> Signature {
    let mut sig = registers(ty);
    sig.params.truncate(2);
    sig
}

/// The signature of code that goes on in a frame of a function of this type: `(vmctx, entry, frame) -> results`.
pub(crate) fn frame(ty: &FuncType) -> Signature {
    let mut sig = tail(ty);
    sig.params.push(AbiParam::new(types::I64));
    sig
}

/// The signature of every slot entry: `(vmctx, entry, slots) -> status`.
pub(crate) fn slots(native: CallConv) -> Signature {
    let mut sig = Signature::new(native);
    sig.params.extend([AbiParam::new(types::I64); 3]);
    sig.returns.push(AbiParam::new(types::I32));
    sig
}

/// The signature of a service with this many parameters after the instance.
pub(crate) fn service(native: CallConv, params: usize) -> Signature {
    let mut sig = Signature::new(native);
    sig.params.extend(std::iter::repeat_n(AbiParam::new(types::I64), params + 1));
    sig.returns.push(AbiParam::new(types::I64));
    sig
}

/// The classes of a list of values with the index of each one's first slot in a call's slot array.
pub(crate) fn slot_offsets(types: &[ValType]) -> impl Iterator<Item = (SlotType, u32)> + '_ {
    types.iter().scan(0, |next, ty| {
        let class = ty.slot_type();
        let at = *next;
        *next += class.slots();
        Some((class, at))
    })
}
