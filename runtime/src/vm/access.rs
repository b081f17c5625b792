//! From an instance's block to the things it lists: the one place where the engine's own code
//! follows a [`VmCtxLayout`].
//!
//! # Safety
//! Trusts: `vmctx` is a live instance that was laid out by `layout` and linked, so that every listed
//! pointer is set and stays valid while the store lives. The layout itself checks each index.

use std::sync::atomic::{AtomicPtr, Ordering};

use aura_host_abi::vm::{VmCtx, VmCtxLayout, VmFuncRef, VmGlobal, VmMemory, VmMemoryRef, VmTable, VmTag};

/// A memory of the instance, imported ones first.
///
/// # Safety
/// `vmctx` is a live, linked instance laid out by `layout`.
#[inline]
pub(crate) unsafe fn memory(vmctx: *mut VmCtx, layout: &VmCtxLayout, index: u32) -> *mut VmMemory {
    let place = at::<VmMemoryRef>(vmctx, layout.memories(index));
    // SAFETY: the layout put a memory's record there.
    unsafe { (*place).memory }
}

/// A table of the instance, imported ones first.
///
/// # Safety
/// `vmctx` is a live, linked instance laid out by `layout`.
#[inline]
pub(crate) unsafe fn table(vmctx: *mut VmCtx, layout: &VmCtxLayout, index: u32) -> *mut VmTable {
    let place = at::<*mut VmTable>(vmctx, layout.tables(index));
    // SAFETY: the layout put a table's pointer there.
    unsafe { *place }
}

/// The two words of a global of the instance, imported ones first.
///
/// # Safety
/// `vmctx` is a live, linked instance laid out by `layout`.
#[inline]
pub(crate) unsafe fn global(vmctx: *mut VmCtx, layout: &VmCtxLayout, index: u32) -> *mut u64 {
    let imported = layout.counts().imported_globals;
    let global = if index < imported {
        let place = at::<*mut VmGlobal>(vmctx, layout.globals(index));
        // SAFETY: the layout put an imported global's pointer there.
        unsafe { *place }
    } else {
        at::<VmGlobal>(vmctx, layout.own_globals(index - imported))
    };
    // SAFETY: the global lives as long as its store; the cell gives its address.
    unsafe { &*global }.bits.get().cast()
}

/// A tag of the instance, imported ones first.
///
/// # Safety
/// `vmctx` is a live, linked instance laid out by `layout`.
#[inline]
pub(crate) unsafe fn tag(vmctx: *mut VmCtx, layout: &VmCtxLayout, index: u32) -> *const VmTag {
    let place = at::<*const VmTag>(vmctx, layout.tags(index));
    // SAFETY: the layout put a tag's pointer there.
    unsafe { *place }
}

/// What the import vector holds for an imported function now.
///
/// # Safety
/// `vmctx` is a live, linked instance laid out by `layout`.
#[inline]
pub(crate) unsafe fn import(vmctx: *mut VmCtx, layout: &VmCtxLayout, index: u32) -> *const VmFuncRef {
    let cell = at::<AtomicPtr<VmFuncRef>>(vmctx, layout.imports(index));
    // SAFETY: the layout put an import cell there.
    unsafe { &*cell }.load(Ordering::Acquire)
}

fn at<T>(vmctx: *mut VmCtx, offset: i32) -> *mut T {
    vmctx.cast::<u8>().wrapping_offset(offset as isize).cast()
}
