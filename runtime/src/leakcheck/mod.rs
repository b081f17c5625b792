//! What `aura leakcheck` does to instances of images: fills them with canaries, lends to them, and compares them with their
//! image; [`Stacks`] looks for what frames find of those before them.
//!
//! # Safety
//! Trusts: nothing of the instance runs while it is borrowed. Gives: only what the instance owns is written, and a table
//! or global of references holds none but null or what it held.

mod stacks;

use std::ops::Range;

use aura_host_abi::{GrantSpec, SlotType};

pub use self::stacks::Stacks;
use crate::buffer::{Access, SharedBuffer};
use crate::error::Result as Fallible;
use crate::externs::Memory;
use crate::grant::Subject;
use crate::image::ImageInstance;
use crate::loan::{Loan, Window};
use crate::store::{AsContext, AsContextMut};
use crate::vm::lending::page_size;
use crate::vm::memory::LinearMemory;

/// The byte that is left wherever one can be left.
pub const CANARY: u8 = 0xc5;

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
    /// What the guest may access, in order: ordinary bytes, and what its image lends it.
    pub accessible: Vec<Range<usize>>,
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
    let canary = [CANARY; 64];
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
            instance.set_own_global(own, [u64::from_ne_bytes([CANARY; 8]); 2]);
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
        if memory.lending().is_some_and(|lending| lending.lends()) {
            return Err(format!("memory {index} has a loan that its image did not give it"));
        }
        let Some(tracking) = memory.tracking() else { continue };
        if let Some(at) = tracking.difference(memory) {
            return Err(format!("memory {index} differs at {at:#x}"));
        }
        scanned.memory_bytes += memory.plain_len();
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
    data.memories.iter().map(|memory| place(memory)).collect()
}

fn place(memory: &LinearMemory) -> Place {
    let start = memory.base().addr();
    let ordinary = start..start + (memory.plain_len() as usize).next_multiple_of(region::page::size());
    let lent = memory.lending().map(|lending| lending.lent_pages()).unwrap_or_default();
    let lent = lent.iter().map(|pages| start + pages.start as usize..start + pages.end as usize);
    let mut accessible: Vec<_> = std::iter::once(ordinary).chain(lent).collect();
    accessible.sort_by_key(|range| range.start);
    Place { accessible, reservation: memory.reservation() }
}

/// What [`lend`] did.
#[derive(Debug)]
pub struct Lent {
    /// To be held beyond the instance's end, which is to end the loan.
    pub loan: Loan,
    /// Bytes beside what is lent, on its pages, that were looked at.
    pub beside: u64,
}

/// Bytes that a buffer for [`lend`] has at least.
pub const LENT_MIN: u64 = 3 << 16;

/// Lends a part of a buffer full of canaries that neither begins nor ends with a page, in a window that is added for it,
/// and looks at the bytes beside it. `None` if the instance has no memory that could have a window.
///
/// # Errors
/// If a byte beside it is visible, or it is refused.
pub fn lend<T: 'static>(
    instance: &mut ImageInstance<T>,
    buffer: &SharedBuffer,
    seed: u64,
) -> Result<Option<Lent>, String> {
    let Some(window) = window_of(instance) else { return Ok(None) };
    let page = page_size();
    let (start, len) = (seed % (2 * page), 1 + (seed >> 16) % (3 * page));
    let access = if seed.is_multiple_of(3) { Access::Private } else { Access::Read };
    let grant = instance.grant(Subject::Store, GrantSpec::map_read("leakcheck")).map_err(|error| error.to_string())?;
    let lent = window.lend(&mut *instance, &grant, page, buffer, start..start + len, access);
    let loan = lent.map_err(|error| error.to_string())?;
    let beside = beside(instance, &window, &loan).map_err(|error| error.to_string())?;
    let (is_lent, around) = beside;
    if !is_lent || around.iter().any(|byte| *byte != 0) {
        return Err(format!("bytes beside {len} at {start} of a buffer can be seen"));
    }
    Ok(Some(Lent { loan, beside: around.len() as u64 }))
}

fn window_of<T: 'static>(instance: &mut ImageInstance<T>) -> Option<Window> {
    let data = &instance.as_context().0.data;
    let memory = Memory::new_raw(data.id, data.memories.first()?.vm());
    memory.add_window(instance, LENT_MIN).ok()
}

/// Whether all that is lent is there, and the bytes beside it on its pages.
fn beside<T: 'static>(instance: &ImageInstance<T>, window: &Window, loan: &Loan) -> Fallible<(bool, Vec<u8>)> {
    let page = page_size();
    let (first, end) = (loan.address(), loan.address() + loan.len());
    let pages = first - first % page..end.next_multiple_of(page);
    let seen = window.memory().view::<u8, _>(instance, pages.start, pages.end - pages.start)?.to_vec()?;
    let (before, rest) = seen.split_at((first - pages.start) as usize);
    let (lent, behind) = rest.split_at(loan.len() as usize);
    Ok((lent.iter().all(|byte| *byte == CANARY), [before, behind].concat()))
}
