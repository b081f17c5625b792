//! Exceptions: how they lie in the heap, how a throw in compiled code finds its handler, and how the host sees them.
//!
//! While an exception is on its way its reference is in [`VmStore::exception`], a place the collector
//! knows. Every crossing returns [`aura_host_abi::trap::Status::Exception`] to the tier that called, which looks
//! through its own frames: the interpreter in `interp/throw.rs`; for compiled code [`find_landing`],
//! along the frame pointers of the innermost activation. No Rust frame is skipped.
//!
//! # Safety
//! Trusts: an exception was made by [`make`] with the layout of its tag's type; compiled code keeps the
//! chain of frame pointers, and notes where it left. Gives: what a landing gets is the frame of a
//! call that is registered with that landing.

use std::sync::atomic::Ordering;

use aura_host_abi::gc::{ObjectKind, YOUNG_SIZE_MAX};
use aura_host_abi::vm::{VmActivation, VmStore, VmTag};
use aura_host_abi::{SlotType, StructType, TrapCode, gc as layout};
use aura_jit::registry;

use crate::error::{Error, Result};
use crate::externs::Tag;
use crate::gc::Root;
use crate::store::{AsContext, AsContextMut, StoreData};
use crate::value::Val;
use crate::{arch, gc};

/// Makes an exception whose payload is zero. The payload may be written before anything else is allocated.
///
/// # Errors
/// If the heap is exhausted.
pub(crate) fn make(store: &mut StoreData, tag: &VmTag, ty: &StructType) -> Result<u32, TrapCode> {
    let exn = gc::allocate(store, layout::tag(ObjectKind::Exception, tag.type_id), 0, ty.size().into())?;
    let place = field(store.vm(), exn, ty.offset(0)).cast::<usize>();
    // SAFETY: the object is as long as its layout says, and its first field is a word.
    unsafe { place.write(std::ptr::from_ref(tag).expose_provenance()) };
    if ty.size() > YOUNG_SIZE_MAX && !ty.heap_refs().is_empty() {
        store.heap.note_stores(exn, 0, ty.size().into());
    }
    Ok(exn)
}

fn heap(store: *mut VmStore) -> *mut u8 {
    // SAFETY: callers pass the store of a running guest.
    unsafe { &(*store).heap }.load(Ordering::Relaxed)
}

/// The address of a field of an exception.
pub(crate) fn field(store: *mut VmStore, exn: u32, offset: u32) -> *mut u8 {
    heap(store).wrapping_add(exn as usize + offset as usize)
}

/// The identity of an exception's tag.
///
/// # Safety
/// `exn` is an exception of the store.
pub(crate) unsafe fn tag_of(store: *mut VmStore, exn: u32) -> usize {
    let place = field(store, exn, aura_host_abi::composite::OBJECT_HEADER).cast::<usize>();
    // SAFETY: an exception's first field is its tag's address.
    unsafe { place.read() }
}

/// Puts an exception on its way.
pub(crate) fn set_pending(store: *mut VmStore, exn: u32) {
    // SAFETY: callers pass the store of a running guest, on its thread.
    let cell = unsafe { (*store).exception.get() };
    // SAFETY: the cell belongs to this thread.
    unsafe { cell.write(exn) };
}

/// Takes the exception that is on its way; 0 if there is none.
pub(crate) fn take_pending(store: *mut VmStore) -> u32 {
    // SAFETY: as in `set_pending`.
    let cell = unsafe { (*store).exception.get() };
    // SAFETY: as in `set_pending`.
    unsafe { cell.replace(0) }
}

/// Finds where the exception of the store lands in the innermost activation, and notes it there: 0 if nowhere.
pub(crate) extern "C" fn find_landing(store: *mut VmStore) -> u32 {
    // SAFETY: the thunks pass the store of the running guest, whose activation is live.
    let cell = unsafe { (*store).activation.get() };
    // SAFETY: the cell belongs to this thread.
    let activation = unsafe { *cell };
    // SAFETY: as the first; nobody else uses it meanwhile.
    u32::from(land(unsafe { &mut *activation }))
}

fn land(activation: &mut VmActivation) -> bool {
    let (mut pc, mut fp) = (activation.exit_pc, activation.exit_fp);
    while fp < activation.entry_sp {
        if let Some(landing) = registry::landing_of(pc) {
            activation.landing_pc = landing.pc;
            activation.landing_sp = fp - landing.frame_size;
            activation.landing_fp = fp;
            return true;
        }
        // SAFETY: compiled code keeps frame pointers, and `fp` is below the entry's frame.
        (pc, fp) = unsafe { arch::caller_frame(fp) };
    }
    false
}

/// A reference to an exception. It may be used until the scope ends in which it was made or received.
#[derive(Clone, Copy, Debug)]
pub struct ExnRef(pub(crate) Root);

impl ExnRef {
    /// Makes an exception of a tag with what it carries.
    ///
    /// # Errors
    /// If number or types of the values are not the tag's, something belongs to another store, or the heap is exhausted.
    pub fn new(mut store: impl AsContextMut, tag: &Tag, values: &[Val]) -> Result<Self> {
        let data = &mut store.as_context_mut().0.data;
        data.check(tag.store, "the tag")?;
        let ty = tag.ty_in(data);
        if ty.params().len() != values.len() {
            let (given, wanted) = (values.len(), ty.params().len());
            return Err(Error::usage(format!("{given} values given, exceptions of the tag carry {wanted}")));
        }
        for (index, (value, ty)) in values.iter().zip(ty.params()).enumerate() {
            if !value.fits(*ty, data)? {
                let expected = data.engine.types().show(*ty);
                return Err(Error::usage(format!("value {index} is of type {}, expected {expected}", value.ty())));
            }
        }
        let layout = StructType::of_exception(&ty);
        // SAFETY: the tag is of this store, which keeps it.
        let made = make(data, unsafe { &*tag.raw() }, &layout).map_err(Error::trap_code)?;
        for (field, (value, ty)) in (1..).zip(values.iter().zip(ty.params())) {
            let bits = value.to_bits(data)?;
            // SAFETY: the exception has this layout; nothing was allocated since it was made.
            unsafe { write_field(self::field(data.vm(), made, layout.offset(field)), ty.slot_type(), bits) };
        }
        Ok(Self(Root::new(data, made)))
    }

    pub(crate) fn from_slot(data: &StoreData, bits: u64) -> Option<Self> {
        let exn = bits as u32;
        (exn != layout::NULL).then(|| Self(Root::new(data, exn)))
    }

    /// The exception's tag.
    ///
    /// # Errors
    /// If the exception belongs to another store, or its scope has ended.
    pub fn tag(&self, store: impl AsContext) -> Result<Tag> {
        let data = &store.as_context().0.data;
        self.tag_in(data)
    }

    fn tag_in(self, data: &StoreData) -> Result<Tag> {
        let exn = self.0.get(data)?;
        // SAFETY: the root is to an exception of this store.
        let tag = unsafe { tag_of(data.vm(), exn) };
        Ok(Tag::new_raw(data.id, std::ptr::with_exposed_provenance(tag)))
    }

    /// What the exception carries.
    ///
    /// # Errors
    /// As [`ExnRef::tag`].
    pub fn fields(&self, store: impl AsContext) -> Result<Vec<Val>> {
        let data = &store.as_context().0.data;
        let ty = self.tag_in(data)?.ty_in(data);
        let layout = StructType::of_exception(&ty);
        let exn = self.0.get(data)?;
        let read = |(field, ty): (u32, &aura_host_abi::ValType)| {
            // SAFETY: the exception has the layout of its tag's type.
            let bits = unsafe { read_field(self::field(data.vm(), exn, layout.offset(field)), ty.slot_type()) };
            Val::from_bits(bits, *ty, data)
        };
        Ok((1..).zip(ty.params()).map(read).collect())
    }

    /// Throws the exception: the error is to be returned from a host function, whose caller may catch it.
    #[must_use]
    pub fn throw(self, mut store: impl AsContextMut) -> Error {
        let data = &mut store.as_context_mut().0.data;
        match self.0.get(data) {
            Ok(exn) => {
                data.pending_exception = exn;
                Error::exception()
            }
            Err(error) => error,
        }
    }

    pub(crate) fn take_pending(data: &mut StoreData) -> Option<Self> {
        let exn = std::mem::take(&mut data.pending_exception);
        (exn != layout::NULL).then(|| Self(Root::new(data, exn)))
    }
}

/// # Safety
/// `place` is a field of this class.
unsafe fn write_field(place: *mut u8, ty: SlotType, bits: [u64; 2]) {
    match ty {
        // SAFETY: said by the caller.
        SlotType::I32 | SlotType::F32 | SlotType::Ref => unsafe { place.cast::<u32>().write(bits[0] as u32) },
        // SAFETY: said by the caller.
        SlotType::I64 | SlotType::F64 | SlotType::Func => unsafe { place.cast::<u64>().write(bits[0]) },
        // SAFETY: said by the caller; fields are aligned to 8 bytes.
        SlotType::V128 => unsafe { place.cast::<[u64; 2]>().write(bits) },
    }
}

/// # Safety
/// `place` is a field of this class.
unsafe fn read_field(place: *const u8, ty: SlotType) -> [u64; 2] {
    match ty {
        // SAFETY: said by the caller.
        SlotType::I32 | SlotType::F32 | SlotType::Ref => [unsafe { place.cast::<u32>().read() }.into(), 0],
        // SAFETY: said by the caller.
        SlotType::I64 | SlotType::F64 | SlotType::Func => [unsafe { place.cast::<u64>().read() }, 0],
        // SAFETY: said by the caller; fields are aligned to 8 bytes.
        SlotType::V128 => unsafe { place.cast::<[u64; 2]>().read() },
    }
}
