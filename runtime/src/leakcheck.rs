//! What `aura leakcheck` does to instances of images: fills them with canaries, and compares them with their image.
//!
//! # Safety
//! Trusts: nothing of the instance runs while it is borrowed. Gives: only what the instance owns is written, and a table
//! or global of references holds none but null or what it held.

use std::ops::Range;

use aura_host_abi::SlotType;

use crate::image::ImageInstance;
use crate::store::{AsContext, AsContextMut};

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Elements of tables.
    pub table_elements: u64,
    /// Bytes of instances' blocks: globals, lengths, the import vector.
    pub block_bytes: u64,
}

/// Where a memory lies in the process.
#[derive(Clone, Debug)]
pub struct Place {
    /// What the guest may access.
    pub accessible: Range<usize>,
    /// All that is kept for the memory.
    pub reservation: Range<usize>,
}

/// Writes canaries into memories, tables, globals, and drops segments; `seed` says where, and whether memories grow.
pub fn spoil<T>(instance: &mut ImageInstance<T>, seed: u64) {
    let mut state = seed | 1;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below.max(1)
    };
    let canary = [0xc5_u8; 64];
    let data = &mut instance.as_context_mut().0.data;
    let store = std::ptr::from_mut(data);
    for memory in &data.memories {
        if next(4) == 0 {
            // SAFETY: growth asks the store's counters, and changes no list of the store.
            memory.grow(1, |old, new| unsafe { &mut *store }.allow_memory_growth(old, new));
        }
        let writes = if next(16) == 0 { 200 } else { next(6) };
        for _ in 0..writes {
            let at = next(memory.byte_len());
            let len = (memory.byte_len() - at).min(canary.len() as u64);
            memory.make_writable(at, len);
            let _ = memory.view().write(at, &canary[..len as usize]);
        }
    }
    for table in &data.tables {
        for _ in 0..next(4) {
            let _ = table.set(next(table.len()), 0);
        }
        if next(8) == 0 {
            // SAFETY: as above.
            table.grow(1, 0, |old, new| unsafe { &mut *store }.allow_table_growth(old, new));
        }
    }
    let instance = &mut data.instances[0];
    let classes: Vec<_> = instance.own_globals().map(|(class, _)| class).collect();
    for (own, class) in (0..).zip(classes) {
        if !matches!(class, SlotType::Func | SlotType::Ref) {
            instance.set_own_global(own, [0xc5c5_c5c5_c5c5_c5c5; 2]);
        }
    }
    if next(2) == 0 {
        instance.dropped_data.fill(true);
        instance.elements.fill(None);
    }
}

/// Compares an instance that nothing of was called with its image: the first difference in words, or what was compared.
///
/// # Errors
/// If a byte differs.
///
/// # Panics
/// If the instance's store was exchanged for one that is no image's.
pub fn compare<T>(instance: &ImageInstance<T>) -> Result<Scanned, String> {
    let data = &instance.as_context().0.data;
    let slot = data.slot.as_ref().expect("the store of an image's instance");
    let mut scanned = Scanned::default();
    for (index, memory) in data.memories.iter().enumerate() {
        let Some(tracking) = memory.tracking() else { continue };
        if let Some(at) = tracking.difference(memory) {
            return Err(format!("memory {index} differs at {at:#x}"));
        }
        scanned.memory_bytes += memory.byte_len();
    }
    for (index, (table, elements)) in data.tables.iter().zip(&slot.tables).enumerate() {
        if table.elements() != *elements {
            return Err(format!("table {index} differs"));
        }
        scanned.table_elements += table.len();
    }
    let block =
        data.instances[0].differs_from(&slot.template).map_err(|what| format!("the instance's {what} differ"))?;
    scanned.block_bytes += block;
    Ok(scanned)
}

/// Where the memories of an instance lie.
#[must_use]
pub fn places<T>(instance: &ImageInstance<T>) -> Vec<Place> {
    let data = &instance.as_context().0.data;
    let place = |memory: &crate::vm::memory::LinearMemory| {
        let start = memory.base().addr();
        let end = start + (memory.byte_len() as usize).next_multiple_of(region::page::size());
        Place { accessible: start..end, reservation: memory.reservation() }
    };
    data.memories.iter().map(|memory| place(memory)).collect()
}
