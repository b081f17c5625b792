//! Exceptions: how they lie in the heap, and how a throw in compiled code finds its handler.
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
use aura_host_abi::{StructType, TrapCode, gc as layout};
use aura_jit::registry;

use crate::store::StoreData;
use crate::{arch, gc};

/// Makes an exception whose payload is zero. The payload may be written before anything else is allocated.
///
/// # Errors
/// If the heap is exhausted.
pub(crate) fn make(store: &mut StoreData, tag: &VmTag, ty: &StructType) -> Result<u32, TrapCode> {
    let exn = gc::allocate(store, layout::tag(ObjectKind::Exception, tag.type_id), 0, ty.size().into())?;
    let place = field(store.vm(), exn, ty.offset(0)).cast::<usize>();
    // SAFETY: the object is as long as its layout says, and its first field is a word.
    unsafe { place.write(std::ptr::from_ref(tag).addr()) };
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
    while fp < activation.entry_fp {
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
