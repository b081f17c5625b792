//! Values as the host sees them, and as slots hold them.
//!
//! # Safety
//! Trusts: function references in slots were put there by the engine for the same store. Gives: a host value is followed
//! only through its own store, while that is borrowed.

use std::any::Any;

use aura_host_abi::gc::{NULL, host_index, host_value};
use aura_host_abi::vm::VmFuncRef;
use aura_host_abi::{HeapType, RefType, ValType};

use crate::error::{Error, Result};
use crate::exception::ExnRef;
use crate::externs::Func;
use crate::gc::{self, HostValue, Root};
use crate::refs::{AnyRef, ArrayRef, EqRef, I31Ref, Rooted, StructRef, heap_type};
use crate::store::{AsContext, AsContextMut, StoreData, StoreId};

/// A WebAssembly value. Floats are bits, so that every NaN keeps its payload.
#[derive(Clone, Copy, Debug)]
pub enum Val {
    I32(i32),
    I64(i64),
    /// The bits of an `f32`.
    F32(u32),
    /// The bits of an `f64`.
    F64(u64),
    /// The 16 bytes of a vector as a little-endian number.
    V128(u128),
    FuncRef(Option<Func>),
    ExternRef(Option<ExternRef>),
    AnyRef(Option<Rooted<AnyRef>>),
    ExnRef(Option<ExnRef>),
}

impl Val {
    /// The value's type; references are of the nullable type.
    #[must_use]
    pub fn ty(&self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
            Self::V128(_) => ValType::V128,
            Self::FuncRef(_) => ValType::FUNCREF,
            Self::ExternRef(_) => ValType::EXTERNREF,
            Self::AnyRef(_) => ValType::ANYREF,
            Self::ExnRef(_) => ValType::Ref(RefType::EXNREF),
        }
    }

    /// Zero, or null, of a type.
    #[must_use]
    pub fn default_for(ty: ValType) -> Self {
        match ty {
            ValType::I32 => Self::I32(0),
            ValType::I64 => Self::I64(0),
            ValType::F32 => Self::F32(0),
            ValType::F64 => Self::F64(0),
            ValType::V128 => Self::V128(0),
            ValType::Ref(ty) => match ty.heap.top() {
                HeapType::Func => Self::FuncRef(None),
                HeapType::Extern => Self::ExternRef(None),
                HeapType::Exn => Self::ExnRef(None),
                _ => Self::AnyRef(None),
            },
        }
    }

    /// Whether the value may stand where `ty` is expected.
    ///
    /// # Errors
    /// If the value belongs to another store, or the type to another engine.
    pub fn matches_ty(&self, store: impl AsContext, ty: ValType) -> Result<bool> {
        let data = &store.as_context().0.data;
        data.engine.types().check(ty)?;
        self.fits(ty, data)
    }

    /// As [`Val::matches_ty`], for a type of the store's engine.
    pub(crate) fn fits(&self, ty: ValType, store: &StoreData) -> Result<bool> {
        let types = store.engine.types();
        let bottom = |heap| ValType::Ref(RefType { nullable: true, heap });
        let is = match self {
            Self::FuncRef(None) => bottom(HeapType::NoFunc),
            Self::FuncRef(Some(func)) => {
                store.check(func.store, "the function")?;
                ValType::Ref(types.reference(func.type_id()))
            }
            Self::ExternRef(None) => bottom(HeapType::NoExtern),
            Self::ExternRef(Some(_)) => ValType::Ref(RefType { nullable: false, heap: HeapType::Extern }),
            Self::AnyRef(None) => bottom(HeapType::None),
            Self::AnyRef(Some(value)) => {
                ValType::Ref(RefType { nullable: false, heap: heap_type(store, value.root.get(store)?) })
            }
            Self::ExnRef(None) => bottom(HeapType::NoExn),
            Self::ExnRef(Some(_)) => ValType::Ref(RefType { nullable: false, heap: HeapType::Exn }),
            number => number.ty(),
        };
        Ok(types.matches(is, ty))
    }

    /// The value's slots, low first; the second is zero but for vectors.
    pub(crate) fn to_bits(self, store: &StoreData) -> Result<[u64; 2]> {
        Ok(match self {
            Self::I32(x) => [u64::from(x as u32), 0],
            Self::I64(x) => [x as u64, 0],
            Self::F32(bits) => [bits.into(), 0],
            Self::F64(bits) => [bits, 0],
            Self::V128(bits) => [bits as u64, (bits >> 64) as u64],
            Self::FuncRef(None) | Self::ExternRef(None) | Self::AnyRef(None) | Self::ExnRef(None) => [0, 0],
            Self::FuncRef(Some(func)) => [func.to_slot(store.id)?, 0],
            Self::ExternRef(Some(value)) => [value.0.get(store)?.into(), 0],
            Self::AnyRef(Some(value)) => [value.root.get(store)?.into(), 0],
            Self::ExnRef(Some(value)) => [value.0.get(store)?.into(), 0],
        })
    }

    /// The value of a type that slots hold.
    pub(crate) fn from_bits(bits: [u64; 2], ty: ValType, store: &StoreData) -> Self {
        match ty {
            ValType::I32 => Self::I32(bits[0] as i32),
            ValType::I64 => Self::I64(bits[0] as i64),
            ValType::F32 => Self::F32(bits[0] as u32),
            ValType::F64 => Self::F64(bits[0]),
            ValType::V128 => Self::V128(u128::from(bits[0]) | u128::from(bits[1]) << 64),
            ValType::Ref(ty) => match ty.heap.top() {
                HeapType::Func => Self::FuncRef(Func::from_slot(store.id, bits[0])),
                HeapType::Extern => Self::ExternRef(ExternRef::from_slot(store, bits[0])),
                HeapType::Exn => Self::ExnRef(ExnRef::from_slot(store, bits[0])),
                _ => Self::AnyRef(Rooted::from_slot(store, bits[0])),
            },
        }
    }
}

macro_rules! val_from {
    ($($ty:ty => $variant:ident($value:ident) $to:expr;)*) => {
        $(impl From<$ty> for Val {
            fn from($value: $ty) -> Self {
                Self::$variant($to)
            }
        })*
    };
}

val_from! {
    i32 => I32(x) x;
    i64 => I64(x) x;
    u32 => I32(x) x as i32;
    u64 => I64(x) x as i64;
    f32 => F32(x) x.to_bits();
    f64 => F64(x) x.to_bits();
    u128 => V128(x) x;
    Option<Func> => FuncRef(x) x;
    Func => FuncRef(x) Some(x);
    Option<ExternRef> => ExternRef(x) x;
    ExternRef => ExternRef(x) Some(x);
    Option<Rooted<AnyRef>> => AnyRef(x) x;
    Rooted<AnyRef> => AnyRef(x) Some(x);
    Rooted<StructRef> => AnyRef(x) Some(x.to_any());
    Rooted<ArrayRef> => AnyRef(x) Some(x.to_any());
    Rooted<EqRef> => AnyRef(x) Some(x.to_any());
    Rooted<I31Ref> => AnyRef(x) Some(x.to_any());
    Option<ExnRef> => ExnRef(x) x;
    ExnRef => ExnRef(x) Some(x);
}

/// A reference to a value of the host, or to an object that the guest converted. A guest sees an opaque number that means
/// nothing to it.
///
/// It may be used until the scope ends in which it was made or received: a [`crate::RootScope`] or a call of a host
/// function. The value itself lives as long as guests, or references in open scopes, refer to it; outside all scopes, as
/// long as its store.
#[derive(Clone, Copy, Debug)]
pub struct ExternRef(pub(crate) Root);

impl ExternRef {
    /// Puts a value into the store and makes a reference to it.
    ///
    /// # Errors
    /// If the store holds as many as its limit allows, and all of them are in use.
    pub fn new(mut store: impl AsContextMut, value: impl Any + Send + Sync) -> Result<Self> {
        let data = &mut store.as_context_mut().0.data;
        let limit = data.limits.extern_refs;
        let index = data.externs.add(Box::new(value), limit).or_else(|value| {
            let _ = gc::collect(data);
            data.externs.add(value, limit)
        });
        let index = index.map_err(|_| {
            Error::resource(format!("the store holds {limit} host values; raise StoreLimits::extern_refs"))
        })?;
        Ok(Self(Root::new(data, host_value(index))))
    }

    /// The value.
    ///
    /// # Errors
    /// If the reference belongs to another store, its scope has ended, or it is to an object of the guest.
    pub fn data<'a, C: AsContext>(&self, store: &'a C) -> Result<&'a (dyn Any + Send + Sync)> {
        let data = &store.as_context().0.data;
        let value = host_index(self.0.get(data)?).and_then(|index| data.externs.get(index));
        let value: *const HostValue =
            value.ok_or_else(|| Error::usage("the reference is to an object of the guest"))?;
        // SAFETY: values are boxed, and removed only by who borrows the store exclusively; `store` is borrowed for `'a`.
        Ok(unsafe { &*value })
    }

    fn from_slot(store: &StoreData, bits: u64) -> Option<Self> {
        let reference = bits as u32;
        (reference != NULL).then(|| Self(Root::new(store, reference)))
    }
}

impl Func {
    pub(crate) fn from_slot(store: StoreId, bits: u64) -> Option<Self> {
        let func = std::ptr::with_exposed_provenance::<VmFuncRef>(bits as usize);
        (!func.is_null()).then(|| Self::new_raw(store, func))
    }

    pub(crate) fn to_slot(self, store: StoreId) -> Result<u64> {
        if self.store == store {
            Ok(self.raw().expose_provenance() as u64)
        } else {
            Err(Error::wrong_store("the function"))
        }
    }
}

/// Reads values of these types from slots.
pub(crate) fn read_slots(slots: &[u64], types: &[ValType], store: &StoreData) -> Vec<Val> {
    let mut at = 0;
    let read = |ty: &ValType| {
        let bits = [slots[at], *slots.get(at + 1).unwrap_or(&0)];
        at += ty.slot_type().slots() as usize;
        Val::from_bits(bits, *ty, store)
    };
    types.iter().map(read).collect()
}

/// Writes values into slots; errs if one is not of its type or of another store.
pub(crate) fn write_slots(slots: &mut [u64], values: &[Val], types: &[ValType], store: &StoreData) -> Result<()> {
    let mut at = 0;
    for (index, (value, ty)) in values.iter().zip(types).enumerate() {
        if !value.fits(*ty, store)? {
            let expected = store.engine.types().show(*ty);
            return Err(Error::usage(format!("value {index} is of type {}, expected {expected}", value.ty())));
        }
        let bits = value.to_bits(store)?;
        let count = ty.slot_type().slots() as usize;
        slots[at..at + count].copy_from_slice(&bits[..count]);
        at += count;
    }
    Ok(())
}
