//! The garbage-collected heap of a store.
//!
//! # The rule about references
//! A collection moves objects, and [`allocate`] may collect. A reference in a Rust variable is
//! therefore worth nothing after anything that may allocate: whoever needs it later leaves it in a
//! place that the collector knows (a frame's slot, an object, a global, a table, a rooted handle) and reads it again.
//! Service bodies allocate first and take their operands afterwards.
//!
//! | file | what it does |
//! |---|---|
//! | [`space`] | the address space: where an offset becomes an address |

mod space;

use std::sync::Arc;

use aura_host_abi::TrapCode;
use aura_host_abi::gc::{HEAP_MAX, HEAP_START, VmObject, YOUNG_SIZE_MAX};

use self::space::Space;
use crate::interrupt::StoreShared;
use crate::store::StoreData;

/// The most that [`crate::StoreLimits::gc_heap_bytes`] may ask for: half of what a reference can name, less the room for young objects.
pub const GC_HEAP_MAX: u64 = (HEAP_MAX / 2) - (16 << 20);

/// Room for young objects in a heap that may be large.
const YOUNG_BYTES: u64 = 2 << 20;

/// The heap of a store.
#[derive(Debug)]
pub(crate) struct Heap {
    shared: Arc<StoreShared>,
    space: Option<Space>,
}

/// Makes an object. Its bytes behind the header are zero.
///
/// # Errors
/// If the heap's limit is reached by objects in use, or the system has no memory.
pub(crate) fn allocate(store: &mut StoreData, tag: u32, length: u32, size: u64) -> Result<u32, TrapCode> {
    store.heap.make(tag, length, size).ok_or(TrapCode::HeapExhausted)
}

impl Heap {
    pub(crate) fn new(shared: &Arc<StoreShared>) -> Self {
        Self { shared: shared.clone(), space: None }
    }

    fn make(&mut self, tag: u32, length: u32, size: u64) -> Option<u32> {
        assert!(size >= 8 && size.is_multiple_of(8), "sizes of objects are multiples of 8");
        if self.space.is_none() {
            self.reserve()?;
        }
        let (next, _) = self.shared.young_room();
        let space = self.space.as_mut()?;
        let end = next.checked_add(size).filter(|end| *end <= HEAP_MAX)?;
        space.open(0, end, HEAP_MAX).then_some(())?;
        self.shared.set_young_room(end, end);
        space.set_header(next as u32, VmObject { tag, length });
        Some(next as u32)
    }

    /// Reserves the address space.
    pub(crate) fn reserve(&mut self) -> Option<()> {
        const { assert!(YOUNG_BYTES >= 8 * YOUNG_SIZE_MAX as u64) };
        let start = u64::from(HEAP_START);
        let space = Space::new([start, HEAP_MAX, HEAP_MAX])?;
        self.shared.set_heap(space.base());
        self.shared.set_young_room(start, start);
        self.space = Some(space);
        Some(())
    }
}
