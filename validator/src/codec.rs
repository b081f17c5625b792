//! Values to bytes and back: how lowered bodies and what is known of a module stand in artifacts.
//!
//! Numbers are short if they are small, lists stand behind their length, an alternative behind its number. The form is of one
//! build: whoever keeps it sees to it that no other reads it, and that nobody changes it. Bytes that are no such form decode
//! to nothing; they are never a panic.

use std::ops::Range;

use aura_host_abi::{
    ArrayType, CompositeKind, CompositeType, ConcreteType, FieldType, FuncType, GlobalType, HeapType, Limits64,
    MemoryType, RefType, SlotType, StorageType, StructType, SubType, TableType, TrapCode, TypeIndex, ValType,
};

use crate::ops::Op;

/// A value that has a form in bytes.
pub trait Coded: Sized {
    /// Appends the form.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes a value from the front of the bytes; `None` if there is none.
    fn take(bytes: &mut &[u8]) -> Option<Self>;
}

/// The value of these bytes, all of them.
#[must_use]
pub fn decode<T: Coded>(mut bytes: &[u8]) -> Option<T> {
    let value = T::take(&mut bytes)?;
    bytes.is_empty().then_some(value)
}

/// A list of numbers of 32 bits, each in four bytes: for those that are long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<u32>);

/// A value's form is those of its fields.
macro_rules! coded_struct {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl $crate::codec::Coded for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::codec::Coded::put($field, out);)*
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: $crate::codec::Coded::take(bytes)?),* })
            }
        }
    )*};
}

/// A value's form is the number of its alternative, then what that carries.
macro_rules! coded_enum {
    ($($name:ident { $($variant:ident $(($($item:ident),*))? $({ $($field:ident),* })?),* $(,)? })*) => {$(
        impl $crate::codec::Coded for $name {
            fn put(&self, out: &mut Vec<u8>) {
                #[repr(u8)]
                enum Number { $($variant),* }
                match self {
                    $(Self::$variant $(($($item),*))? $({ $($field),* })? => {
                        out.push(Number::$variant as u8);
                        $($($crate::codec::Coded::put($item, out);)*)?
                        $($($crate::codec::Coded::put($field, out);)*)?
                    })*
                }
            }

            #[allow(unused_assignments, reason = "nobody asks for the number behind the last")]
            fn take(bytes: &mut &[u8]) -> Option<Self> {
                #[repr(u8)]
                enum Number { $($variant),* }
                let number: u8 = $crate::codec::Coded::take(bytes)?;
                $(if number == Number::$variant as u8 {
                    $($(let $item = $crate::codec::Coded::take(bytes)?;)*)?
                    $($(let $field = $crate::codec::Coded::take(bytes)?;)*)?
                    return Some(Self::$variant $(($($item),*))? $({ $($field),* })?);
                })*
                None
            }
        }
    )*};
}

/// Defines an enum, and its form as [`coded_enum`] does.
macro_rules! define_coded {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$about:meta])* $variant:ident $({ $($(#[$of:meta])* $field:ident: $ty:ty),* $(,)? })?),* $(,)?
        }
    ) => {
        $(#[$meta])*
        pub enum $name {
            $($(#[$about])* $variant $({ $($(#[$of])* $field: $ty),* })?),*
        }

        $crate::codec::coded_enum!($name { $($variant $({ $($field),* })?),* });
    };
}

pub(crate) use {coded_enum, coded_struct, define_coded};

impl Coded for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    #[inline]
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = bytes.split_first()?;
            *bytes = rest;
            number |= Self::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

impl Coded for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    #[inline]
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        u64::take(bytes)?.try_into().ok()
    }
}

impl Coded for u16 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    #[inline]
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        u64::take(bytes)?.try_into().ok()
    }
}

impl Coded for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    #[inline]
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(byte)
    }
}

impl Coded for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        match u8::take(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// Small numbers of either sign are short.
impl Coded for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        ((self << 1) ^ (self >> 63)).cast_unsigned().put(out);
    }

    #[inline]
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let number = u64::take(bytes)?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }
}

impl Coded for i32 {
    fn put(&self, out: &mut Vec<u8>) {
        i64::from(*self).put(out);
    }

    #[inline]
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        i64::take(bytes)?.try_into().ok()
    }
}

impl<T: Coded, const N: usize> Coded for [T; N] {
    fn put(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|item| item.put(out));
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let items: [Option<T>; N] = std::array::from_fn(|_| T::take(bytes));
        items.iter().all(Option::is_some).then(|| items.map(|item| item.expect("all are there")))
    }
}

impl<T: Coded> Coded for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        match bool::take(bytes)? {
            true => Some(Some(T::take(bytes)?)),
            false => Some(None),
        }
    }
}

/// Each item takes a byte at least: a length that the bytes cannot hold is none, and makes no room.
pub(crate) fn take_len(bytes: &mut &[u8]) -> Option<usize> {
    let len = usize::try_from(u64::take(bytes)?).ok()?;
    (len <= bytes.len()).then_some(len)
}

impl<T: Coded> Coded for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let len = take_len(bytes)?;
        let mut items = Self::with_capacity(len);
        for _ in 0..len {
            items.push(T::take(bytes)?);
        }
        Some(items)
    }
}

impl<T: Coded> Coded for Box<[T]> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Vec::take(bytes).map(Into::into)
    }
}

impl Coded for Words {
    fn put(&self, out: &mut Vec<u8>) {
        (4 * self.0.len() as u64).put(out);
        self.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let len = take_len(bytes)?;
        let (words, rest) = bytes.split_at(len);
        *bytes = rest;
        let (words, odd) = words.as_chunks();
        odd.is_empty().then(|| Self(words.iter().map(|word| u32::from_le_bytes(*word)).collect()))
    }
}

impl Coded for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let len = take_len(bytes)?;
        let (text, rest) = bytes.split_at(len);
        *bytes = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }
}

impl<A: Coded, B: Coded> Coded for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::take(bytes)?, B::take(bytes)?))
    }
}

impl<T: Coded> Coded for Range<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.start.put(out);
        self.end.put(out);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(T::take(bytes)?..T::take(bytes)?)
    }
}

impl Coded for Op {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u16).put(out);
    }

    #[inline]
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Self::ALL.get(usize::from(u16::take(bytes)?)).copied()
    }
}

impl Coded for TrapCode {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_u8(u8::take(bytes)?)
    }
}

coded_struct! {
    ConcreteType { kind, index }
    RefType { nullable, heap }
    FieldType { storage, mutable }
    ArrayType { element }
    SubType { is_final, supertype, composite }
    Limits64 { min, max }
    MemoryType { limits, memory64, shared, page_size_log2 }
    TableType { element, limits, table64 }
    GlobalType { content, mutable }
}

coded_enum! {
    SlotType { I32, I64, F32, F64, V128, Func, Ref }
    CompositeKind { Func, Struct, Array }
    TypeIndex { Module(index), Group(index), Engine { engine, id } }
    HeapType {
        Func, NoFunc, Extern, NoExtern, Any, Eq, I31, Struct, Array, None, Exn, NoExn, Concrete(ty)
    }
    ValType { I32, I64, F32, F64, V128, Ref(ty) }
    StorageType { I8, I16, Val(ty) }
    CompositeType { Func(ty), Struct(ty), Array(ty) }
}

impl Coded for FuncType {
    fn put(&self, out: &mut Vec<u8>) {
        self.params().to_vec().put(out);
        self.results().to_vec().put(out);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (params, results): (Vec<_>, Vec<_>) = (Coded::take(bytes)?, Coded::take(bytes)?);
        Some(Self::new(params, results))
    }
}

impl Coded for StructType {
    fn put(&self, out: &mut Vec<u8>) {
        self.fields().to_vec().put(out);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let fields: Vec<FieldType> = Coded::take(bytes)?;
        // More would not have been valid.
        (fields.len() <= 1 << 20).then(|| Self::new(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: Coded + PartialEq + std::fmt::Debug>(value: T) {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        assert_eq!(decode::<T>(&bytes).as_ref(), Some(&value));
        (0..bytes.len()).for_each(|len| assert_eq!(decode::<T>(&bytes[..len]), None, "{len} of {bytes:?}"));
    }

    #[test]
    fn values_come_back_and_parts_of_them_do_not() {
        [0, 1, 127, 128, 1 << 32, u64::MAX].into_iter().for_each(round);
        [0, 1, -1, 63, -64, 64, i32::MIN, i32::MAX].into_iter().for_each(round);
        round(vec!["one".to_owned(), String::new()]);
        round(Words(vec![0, 7, u32::MAX]));
        round(vec![Some(3_u32..9), None]);
        round(ValType::Ref(RefType {
            nullable: false,
            heap: HeapType::Concrete(ConcreteType { kind: CompositeKind::Array, index: TypeIndex::Module(300) }),
        }));
        Op::ALL.iter().copied().for_each(round);
        TrapCode::ALL.iter().copied().for_each(round);
    }

    #[test]
    fn lengths_beyond_the_bytes_are_none() {
        assert_eq!(decode::<Vec<u32>>(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]), None);
        assert_eq!(decode::<String>(&[5, b'a']), None);
        assert_eq!(decode::<u64>(&[0xff; 11]), None);
        assert_eq!(decode::<bool>(&[2]), None);
        assert_eq!(decode::<Words>(&[3, 1, 2, 3]), None);
    }
}
