//! Fields of objects, for the engine's own code: where a reference becomes a host address in the interpreter.
//!
//! # Safety
//! Trusts: nothing of the caller but that the object is of the type, which validation and the collector see to.
//! [`Heap::address`] checks that every address lies in the heap.

use aura_host_abi::StorageType;

use crate::gc::Heap;

/// Reads a field `at` bytes behind the beginning of an object, as slots hold it: the second word is
/// zero but for vectors. A packed field is extended as `signed` says.
pub(crate) fn read(heap: &Heap, object: u32, at: u64, storage: StorageType, signed: bool) -> [u64; 2] {
    let size = storage.size() as usize;
    let mut bytes = [0; 16];
    let from = heap.address(object, at, size as u64);
    // SAFETY: the address is of `size` bytes, 16 at most.
    unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), size) };
    let bits = u128::from_le_bytes(bytes);
    match (storage, signed) {
        (StorageType::I8, true) => [u64::from(i32::from(bits as i8) as u32), 0],
        (StorageType::I16, true) => [u64::from(i32::from(bits as i16) as u32), 0],
        _ => [bits as u64, (bits >> 64) as u64],
    }
}

/// Writes a field `at` bytes behind the beginning of an object, and notes the store of a reference.
pub(crate) fn write(heap: &Heap, object: u32, at: u64, storage: StorageType, [low, high]: [u64; 2]) {
    let size = storage.size() as usize;
    let bytes = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
    let to = heap.address(object, at, size as u64);
    // SAFETY: the address is of `size` bytes, 16 at most.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, size) };
    if storage.is_heap_ref() {
        heap.note_stores(object, at, size as u64);
    }
}
