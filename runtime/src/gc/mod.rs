//! The garbage-collected heap of a store.
//!
//! # The rule about references
//! A collection moves objects, and [`allocate`] may collect. A reference in a Rust variable is
//! therefore worth nothing after anything that may allocate: whoever needs it later leaves it in a
//! place that the collector knows (a frame's slot, an object, a global, a table, a rooted handle) and reads it again.
//! Service bodies allocate first and take their operands afterwards. Between the moment when arguments or results are
//! put into a slot array and the moment when the other side takes them out, nothing allocates.
//!
//! # Young and old
//! Objects are made young, in a small part of the heap that fills up; compiled code does so by itself. A
//! minor collection copies the young objects in use into the old part, so that afterwards none is
//! young; it finds them from the roots and from the dirty [`cards`]. Old objects are
//! collected by copying all that are in use into the other half. Both walk objects in the order of their addresses
//! behind the copied ones (Cheney's scan), so that no structure of the guest can make them recurse.
//!
//! | file | what it does |
//! |---|---|
//! | [`space`] | the address space: where an offset becomes an address |
//! | [`shape`] | how large objects are, where references lie in them |
//! | [`cards`] | where old objects may refer to young ones |
//! | [`collect`] | minor and full collections |
//! | [`roots`] | where references lie outside the heap |
//! | [`handles`], [`hosts`] | references that the host holds; values of the host that guests hold |

mod cards;
mod collect;
mod handles;
mod hosts;
mod roots;
mod shape;
mod space;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use aura_host_abi::composite::OBJECT_HEADER;
use aura_host_abi::gc::{HEAP_MAX, HEAP_START, ObjectKind, VmObject, YOUNG_SIZE_MAX, kind_of, type_of};
use aura_host_abi::{CompositeType, StructType, TrapCode};

pub(crate) use self::handles::{Root, RootsCell, ScopeStart};
pub(crate) use self::hosts::{HostValue, HostValues};
pub(crate) use self::shape::{Shape, Shapes};
use self::space::Space;
use crate::engine::Engine;
use crate::interrupt::StoreShared;
use crate::store::StoreData;

/// The most that [`crate::StoreLimits::gc_heap_bytes`] may ask for: objects can be copied then.
pub const GC_HEAP_MAX: u64 = (HEAP_MAX / 2) - (16 << 20);

/// The least.
const LIMIT_MIN: u64 = 64 << 10;
/// Room for young objects: between these, a quarter of the limit.
const YOUNG_MIN: u64 = 32 << 10;
const YOUNG_MAX: u64 = 2 << 20;
/// So much of the young part is made zero at once.
const ZEROED: u64 = 32 << 10;
/// Old objects that may be made before the first full collection, and what may be added beyond what was in use at the last one.
const FULL_AFTER: u64 = 16 << 20;

const _: () = assert!(YOUNG_MIN >= 8 * YOUNG_SIZE_MAX as u64);

/// The heap of a store.
#[derive(Debug)]
pub(crate) struct Heap {
    shared: Arc<StoreShared>,
    engine: Engine,
    /// Made with the first object: most stores have none.
    shapes: OnceCell<Rc<Shapes>>,
    limit: u64,
    /// Collect before every object that is made.
    stress: bool,
    /// What exists once something needs it.
    parts: Option<Parts>,
    /// The system had no address space: compiled code that is linked relies on there never being any.
    failed: bool,
    /// How often it was collected.
    pub(crate) collections: Collections,
}

/// How often a heap was collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collections {
    /// Collections of young objects alone.
    pub minor: u64,
    /// Collections of all objects.
    pub full: u64,
}

/// A heap's address space and how it is used.
#[derive(Debug)]
struct Parts {
    space: Space,
    young: Range<u64>,
    /// The halves for old objects.
    halves: [Half; 2],
    /// Which of them has the objects.
    current: usize,
    /// Bytes of old objects from which on a full collection is worth its while.
    full_from: u64,
}

/// Room for old objects.
#[derive(Clone, Debug)]
struct Half {
    start: u64,
    /// Where the next object goes.
    top: u64,
    /// From here on all bytes are zero.
    clean: u64,
    end: u64,
}

impl Half {
    fn new(range: Range<u64>) -> Self {
        Self { start: range.start, top: range.start, clean: range.start, end: range.end }
    }

    fn used(&self) -> u64 {
        self.top - self.start
    }
}

/// Makes an object. Its bytes behind the header are zero. It is young if its size is at most [`YOUNG_SIZE_MAX`]; else
/// storing a reference into it needs its card from the first on.
///
/// # Errors
/// If the heap's limit is reached by objects in use, or the system has no memory.
pub(crate) fn allocate(store: &mut StoreData, tag: u32, length: u32, size: u64) -> Result<u32, TrapCode> {
    if !store.heap.stress
        && let Some(object) = store.heap.make(tag, length, size, false)
    {
        return Ok(object);
    }
    collect::make_room(store, size).ok_or(TrapCode::HeapExhausted)?;
    store.heap.make(tag, length, size, true).ok_or(TrapCode::HeapExhausted)
}

/// Collects all objects that are not in use, and values of the host that no reference names.
///
/// # Errors
/// If the system has no memory to do it in; nothing changes then.
pub(crate) fn collect(store: &mut StoreData) -> Result<(), TrapCode> {
    store.heap.reserve();
    collect::full(store).ok_or(TrapCode::HeapExhausted)
}

impl Heap {
    pub(crate) fn new(shared: &Arc<StoreShared>, engine: &Engine, limit: u64) -> Self {
        let mut heap = Self {
            shared: shared.clone(),
            engine: engine.clone(),
            shapes: OnceCell::new(),
            limit: 0,
            stress: engine.config().gc_stress,
            parts: None,
            failed: false,
            collections: Collections::default(),
        };
        heap.set_limit(limit);
        heap
    }

    /// What is known of the types of objects.
    fn shapes(&self) -> &Rc<Shapes> {
        self.shapes.get_or_init(|| {
            let types = self.engine.clone();
            Rc::new(Shapes::new(move |tag| describe(&types, tag)))
        })
    }

    pub(crate) fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes.clamp(LIMIT_MIN, GC_HEAP_MAX);
    }

    /// Reserves the address space, once: before compiled code that knows references is linked.
    /// Without address space the heap has room for no object.
    pub(crate) fn reserve(&mut self) {
        if self.parts.is_some() || self.failed {
            return;
        }
        let page = region::page::size() as u64;
        let young = (self.limit / 4).clamp(YOUNG_MIN, YOUNG_MAX).next_multiple_of(page);
        let start = u64::from(HEAP_START);
        let young = start..start + young;
        let half = (HEAP_MAX - young.end) / 2 / page * page;
        let middle = young.end + half;
        let Some(space) = Space::new([young.start, young.end, middle]) else {
            self.failed = true;
            return;
        };
        self.shared.set_heap(space.base());
        self.shared.set_young_room(young.start, young.start);
        let halves = [Half::new(young.end..middle), Half::new(middle..middle + half)];
        self.parts = Some(Parts { space, young, halves, current: 0, full_from: FULL_AFTER });
    }

    /// Whether no object was ever made.
    #[inline]
    pub(crate) fn is_untouched(&self) -> bool {
        self.collections == Collections::default() && self.used() == 0
    }

    /// Bytes of objects, dead ones that were not collected yet included.
    pub(crate) fn used(&self) -> u64 {
        self.parts.as_ref().map_or(0, |parts| parts.old().used() + self.young_used(parts))
    }

    fn young_used(&self, parts: &Parts) -> u64 {
        self.shared.young_room().0 - parts.young.start
    }

    /// Makes an object where there is room; `after` says that a collection was just made.
    fn make(&mut self, tag: u32, length: u32, size: u64, after: bool) -> Option<u32> {
        assert!(size >= 8 && size.is_multiple_of(8), "sizes of objects are multiples of 8");
        debug_assert_eq!(size, self.shapes().of(tag).size(length), "the size is that of the type");
        self.reserve();
        let object = if size <= self.parts.as_ref()?.young_size_max() {
            self.take_young(size)?
        } else {
            self.take_old(size, after)?
        };
        self.parts.as_ref()?.space.set_header(object, VmObject { tag, length });
        Some(object)
    }

    fn take_young(&mut self, size: u64) -> Option<u32> {
        let parts = self.parts.as_mut()?;
        let (next, limit) = self.shared.young_room();
        let end = next + size;
        if end > parts.young.end {
            return None;
        }
        if end > limit {
            let zeroed = if self.stress { end } else { end.max(limit + ZEROED).min(parts.young.end) };
            parts.space.open(0, parts.young.end, parts.young.end).then_some(())?;
            parts.space.zero(limit, zeroed - limit);
            self.shared.set_young_room(end, zeroed);
        } else {
            self.shared.set_young_room(end, limit);
        }
        Some(next as u32)
    }

    fn take_old(&mut self, size: u64, after: bool) -> Option<u32> {
        let limit = self.limit;
        let parts = self.parts.as_mut()?;
        let most = parts.old_limit(limit);
        let most = if after { most } else { most.min(parts.full_from) };
        let (part, half) = (1 + parts.current, &mut parts.halves[parts.current]);
        let end = half.top.checked_add(size).filter(|end| end - half.start <= most)?;
        parts.space.open(part, end, half.end).then_some(())?;
        let object = half.top;
        if object < half.clean {
            parts.space.zero(object, half.clean.min(end) - object);
        }
        half.top = end;
        half.clean = half.clean.max(end);
        parts.space.note_object(object..end);
        Some(object as u32)
    }

    /// Says that references were stored into an object, from `at` for `len` bytes: the barrier of the host and of the
    /// interpreter.
    #[inline]
    pub(crate) fn note_stores(&self, object: u32, at: u64, len: u64) {
        let parts = self.parts.as_ref().expect("an object lies in a heap");
        let start = u64::from(object) + at;
        parts.space.set_range_dirty(start..start + len);
    }

    /// The header of an object.
    pub(crate) fn header(&self, object: u32) -> VmObject {
        self.parts.as_ref().expect("an object lies in a heap").space.header(object)
    }

    /// What an object has in `bytes` bytes, 16 at most, from `at` on: little-endian, zero-extended.
    ///
    /// # Panics
    /// If they are not inside the heap.
    pub(crate) fn read(&self, object: u32, at: u64, bytes: u32) -> [u64; 2] {
        let mut value = [0_u8; 16];
        let from = self.address(object, at, bytes.into());
        // SAFETY: `address` checked the range; the value has room for 16 bytes, which the slice asserts.
        unsafe { std::ptr::copy_nonoverlapping(from, value[..bytes as usize].as_mut_ptr(), bytes as usize) };
        let bits = u128::from_le_bytes(value);
        [bits as u64, (bits >> 64) as u64]
    }

    /// Stores the lower `bytes` bytes of a value in an object. What stores a reference also calls [`Heap::note_stores`].
    ///
    /// # Panics
    /// If they are not inside the heap.
    pub(crate) fn write(&self, object: u32, at: u64, bytes: u32, value: [u64; 2]) {
        let value = (u128::from(value[0]) | u128::from(value[1]) << 64).to_le_bytes();
        let to = self.address(object, at, bytes.into());
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(value[..bytes as usize].as_ptr(), to, bytes as usize) };
    }

    /// The address of `len` bytes of an object, from `at` on.
    ///
    /// # Panics
    /// If they are not inside the heap.
    #[inline]
    pub(crate) fn address(&self, object: u32, at: u64, len: u64) -> *mut u8 {
        self.parts.as_ref().expect("an object lies in a heap").space.at(u64::from(object) + at, len)
    }
}

impl Parts {
    fn old(&self) -> &Half {
        &self.halves[self.current]
    }

    /// What old objects may take, so that with a full young part the limit is kept.
    fn old_limit(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.young.end - self.young.start).min(self.old().end - self.old().start)
    }

    /// The largest object that is made young.
    fn young_size_max(&self) -> u64 {
        (self.young.end - self.young.start) / 8
    }
}

/// How the objects with a tag lie.
fn describe(engine: &Engine, tag: u32) -> Shape {
    let fields = |ty: &StructType| Shape::Fields { size: ty.size(), refs: ty.heap_refs().into() };
    let types = engine.types();
    let ty = &types.record(type_of(tag)).ty.composite;
    match (kind_of(tag), ty) {
        (Some(ObjectKind::Struct), CompositeType::Struct(ty)) => fields(ty),
        (Some(ObjectKind::Exception), CompositeType::Func(ty)) => fields(&StructType::of_exception(ty)),
        (Some(ObjectKind::Array), CompositeType::Array(ty)) => {
            let storage = ty.element.storage;
            Shape::Array { first: OBJECT_HEADER, element: storage.size(), refs: storage.is_heap_ref() }
        }
        _ => panic!("an object begins with a tag of its type, found {tag:#x}"),
    }
}
