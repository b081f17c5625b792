//! Typed pointers into guest memory.
//!
//! A [`GuestPtr`] is an address that the guest chose, with the type of what the host expects there;
//! a [`GuestSlice`] has a length, too. Neither is checked when it is made and each access is: against
//! the memory as it is then. Values are copied, little-endian, and there is never a reference to guest bytes.

use std::fmt;
use std::marker::PhantomData;

use crate::memory::{GuestMemory, OutOfBounds};

/// A value that lies in guest memory as its little-endian bytes, any of which are a value.
pub trait GuestType: Copy + 'static {
    /// Bytes in guest memory.
    const SIZE: u64;
    #[doc(hidden)]
    fn load(memory: &GuestMemory<'_>, address: u64) -> Result<Self, OutOfBounds>;
    #[doc(hidden)]
    fn store(self, memory: &mut GuestMemory<'_>, address: u64) -> Result<(), OutOfBounds>;
}

macro_rules! guest_types {
    ($($ty:ty)*) => {$(
        impl GuestType for $ty {
            const SIZE: u64 = size_of::<$ty>() as u64;
            fn load(memory: &GuestMemory<'_>, address: u64) -> Result<Self, OutOfBounds> {
                let mut bytes = [0; size_of::<$ty>()];
                memory.read(address, &mut bytes)?;
                Ok(Self::from_le_bytes(bytes))
            }
            fn store(self, memory: &mut GuestMemory<'_>, address: u64) -> Result<(), OutOfBounds> {
                memory.write(address, &self.to_le_bytes())
            }
        }
    )*};
}

guest_types! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64 }

impl<T: GuestType, const N: usize> GuestType for [T; N] {
    const SIZE: u64 = T::SIZE * N as u64;
    fn load(memory: &GuestMemory<'_>, address: u64) -> Result<Self, OutOfBounds> {
        memory.check(address, Self::SIZE)?;
        let mut failed = None;
        let values = std::array::from_fn(|index| {
            T::load(memory, address + index as u64 * T::SIZE).map_err(|e| failed = Some(e))
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(values.map(|value| value.expect("none failed"))),
        }
    }
    fn store(self, memory: &mut GuestMemory<'_>, address: u64) -> Result<(), OutOfBounds> {
        memory.check(address, Self::SIZE)?;
        self.into_iter()
            .enumerate()
            .try_for_each(|(index, value)| value.store(memory, address + index as u64 * T::SIZE))
    }
}

/// The address of a `T` in guest memory, as a guest passed it: a number until it is used.
pub struct GuestPtr<T> {
    address: u64,
    ty: PhantomData<fn() -> T>,
}

/// Addresses and number of `T`s one behind the other in guest memory, as a guest passed them.
pub struct GuestSlice<T> {
    start: GuestPtr<T>,
    len: u64,
}

impl<T> Clone for GuestPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for GuestPtr<T> {}
impl<T> Clone for GuestSlice<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for GuestSlice<T> {}

impl<T> fmt::Debug for GuestPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestPtr({:#x})", self.address)
    }
}

impl<T> fmt::Debug for GuestSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestSlice({:#x}, {})", self.start.address, self.len)
    }
}

impl<T> GuestPtr<T> {
    /// A pointer to an address; any number is one.
    #[must_use]
    pub fn new(address: u64) -> Self {
        Self { address, ty: PhantomData }
    }

    /// The address.
    #[must_use]
    pub fn address(self) -> u64 {
        self.address
    }

    /// The `len` values that begin here.
    #[must_use]
    pub fn slice(self, len: impl Into<u64>) -> GuestSlice<T> {
        GuestSlice { start: self, len: len.into() }
    }
}

impl<T: GuestType> GuestPtr<T> {
    /// The pointer `count` values on; past the end of the address space it is one that no access accepts.
    #[must_use]
    pub fn offset(self, count: u64) -> Self {
        Self::new(count.checked_mul(T::SIZE).and_then(|bytes| self.address.checked_add(bytes)).unwrap_or(u64::MAX))
    }

    /// Copies the value out.
    ///
    /// # Errors
    /// If it does not lie inside the memory.
    pub fn read(self, memory: &GuestMemory<'_>) -> Result<T, OutOfBounds> {
        T::load(memory, self.address)
    }

    /// Copies a value in.
    ///
    /// # Errors
    /// If it does not lie inside the memory; nothing is then written.
    pub fn write(self, memory: &mut GuestMemory<'_>, value: T) -> Result<(), OutOfBounds> {
        value.store(memory, self.address)
    }
}

impl<T: GuestType> GuestSlice<T> {
    /// How many values.
    #[must_use]
    pub fn len(self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// A pointer to one of the values.
    ///
    /// # Errors
    /// If there is none of this index.
    pub fn at(self, index: u64) -> Result<GuestPtr<T>, OutOfBounds> {
        if index < self.len { Ok(self.start.offset(index)) } else { Err(self.out_of_bounds()) }
    }

    /// Checks that all of it lies inside the memory, without touching it.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(self, memory: &GuestMemory<'_>) -> Result<(), OutOfBounds> {
        let bytes = self.len.checked_mul(T::SIZE).ok_or_else(|| self.out_of_bounds())?;
        memory.check(self.start.address, bytes)
    }

    /// Copies all values out, if they are no more than `most`: the guest chose the number.
    ///
    /// # Errors
    /// If there are more, or they do not lie inside the memory; nothing is then allocated.
    pub fn read(self, memory: &GuestMemory<'_>, most: usize) -> Result<Vec<T>, OutOfBounds> {
        self.check(memory)?;
        if self.len > most as u64 {
            return Err(self.out_of_bounds());
        }
        (0..self.len).map(|index| self.start.offset(index).read(memory)).collect()
    }

    /// Copies values in, from the first on.
    ///
    /// # Errors
    /// If there are more than places, or the places do not lie inside the memory; nothing is then written.
    pub fn write(self, memory: &mut GuestMemory<'_>, values: &[T]) -> Result<(), OutOfBounds> {
        let places = Self { len: values.len() as u64, ..self };
        if places.len > self.len {
            return Err(self.out_of_bounds());
        }
        places.check(memory)?;
        values.iter().zip(0..).try_for_each(|(&value, index)| places.start.offset(index).write(memory, value))
    }

    fn out_of_bounds(self) -> OutOfBounds {
        OutOfBounds { address: self.start.address, len: self.len.saturating_mul(T::SIZE) }
    }
}

impl GuestSlice<u8> {
    /// Copies the bytes out as text of at most `most` bytes.
    ///
    /// # Errors
    /// If they are more, lie outside of the memory, or are not UTF-8.
    pub fn read_text(self, memory: &GuestMemory<'_>, most: usize) -> Result<String, OutOfBounds> {
        String::from_utf8(self.read_bytes(memory, most)?).map_err(|_| self.out_of_bounds())
    }

    /// As [`GuestSlice::read`], in one copy.
    ///
    /// # Errors
    /// As [`GuestSlice::read`].
    pub fn read_bytes(self, memory: &GuestMemory<'_>, most: usize) -> Result<Vec<u8>, OutOfBounds> {
        if self.len > most as u64 {
            return Err(self.out_of_bounds());
        }
        memory.read_vec(self.start.address, self.len)
    }

    /// As [`GuestSlice::write`], in one copy.
    ///
    /// # Errors
    /// As [`GuestSlice::write`].
    pub fn write_bytes(self, memory: &mut GuestMemory<'_>, bytes: &[u8]) -> Result<(), OutOfBounds> {
        if bytes.len() as u64 > self.len {
            return Err(self.out_of_bounds());
        }
        memory.write(self.start.address, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_memory(test: impl FnOnce(&mut GuestMemory<'_>)) {
        let mut bytes = [0_u8; 64];
        let mut memory = GuestMemory::over(&mut bytes);
        test(&mut memory);
    }

    #[test]
    fn values_come_back_as_they_were_put() {
        with_memory(|memory| {
            let at = GuestPtr::<u32>::new(8);
            at.write(memory, 0xdead_beef).expect("inside");
            assert_eq!(at.read(memory), Ok(0xdead_beef));
            assert_eq!(GuestPtr::<[u16; 2]>::new(8).read(memory), Ok([0xbeef, 0xdead]));
            at.slice(3_u32).write(memory, &[1, 2, 3]).expect("inside");
            assert_eq!(at.slice(3_u32).read(memory, 3), Ok(vec![1, 2, 3]));
            assert_eq!(at.slice(3_u32).at(2).and_then(|p| p.read(memory)), Ok(3));
            GuestPtr::<f64>::new(56).write(memory, 0.5).expect("the last eight bytes");
        });
    }

    #[test]
    fn every_access_is_checked() {
        with_memory(|memory| {
            for address in [61, 64, u32::MAX.into(), u64::MAX - 3, u64::MAX] {
                let at = GuestPtr::<u32>::new(address);
                assert!(at.read(memory).is_err() && at.write(memory, 7).is_err(), "{address}");
                assert!(at.slice(1_u32).read(memory, 9).is_err(), "{address}");
            }
            let at = GuestPtr::<u64>::new(0);
            assert!(at.offset(u64::MAX).read(memory).is_err() && at.offset(8).read(memory).is_err());
            assert!(at.slice(u64::MAX).read(memory, usize::MAX).is_err(), "the length in bytes wraps");
            assert!(at.slice(8_u32).read(memory, 7).is_err(), "more than the host takes");
            assert!(at.slice(2_u32).write(memory, &[0; 3]).is_err(), "more than places");
            assert!(at.slice(2_u32).at(2).is_err());
            assert!(GuestPtr::<[u32; 3]>::new(56).write(memory, [9; 3]).is_err());
            assert_eq!(GuestPtr::<u64>::new(56).read(memory), Ok(0), "nothing was written");
            assert!(GuestPtr::<u8>::new(60).slice(5_u32).read_text(memory, 9).is_err());
        });
    }
}
