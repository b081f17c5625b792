//! Bytes of a memory that a test knows, and what loads from them yield.

use aura_runtime::TrapCode;

use crate::outcome::Outcome;

/// Bytes no two neighbours of which are alike; the same place always has the same byte.
pub fn pattern(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// What a load of `size` bytes at `index + offset` yields, in a memory of these bytes.
pub fn model_load(bytes: &[u8], index: impl Into<u128>, offset: impl Into<u128>, size: usize) -> Outcome {
    let at = index.into() + offset.into();
    if at + size as u128 > bytes.len() as u128 {
        return Err(TrapCode::MemoryOutOfBounds);
    }
    let mut value = [0; 16];
    value[..size].copy_from_slice(&bytes[at as usize..at as usize + size]);
    Ok(vec![u128::from_le_bytes(value)])
}
