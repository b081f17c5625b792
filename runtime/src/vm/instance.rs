//! `InstanceData`: what the engine knows of an instance, beside the block that machine code reads.
//!
//! # Safety
//! The block is as long as the layout says and aligned to 16 bytes; it is written while it is linked,
//! afterwards only import cells, globals and what they point to change.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use aura_host_abi::vm::{VmCtx, VmCtxLayout, VmFuncRef, VmGlobal, VmHostFunc, VmMemory, VmMemoryRef, VmTable, VmTag};
use aura_validator::module::ExternIndex;

use crate::externs::{Extern, Func, Global, Memory, Table, Tag};
use crate::module::Module;
use crate::shared::SharedMemory;
use crate::store::StoreId;
use crate::vm::access;

/// An instance.
#[derive(Debug)]
pub(crate) struct InstanceData {
    pub(crate) module: Module,
    pub(crate) layout: VmCtxLayout,
    block: Box<[u128]>,
    /// References to own functions that may be referred to, in the order of `Module::escaping`.
    func_refs: Box<[VmFuncRef]>,
    pub(crate) dropped_data: Vec<bool>,
    /// Evaluated element segments; `None` once dropped.
    pub(crate) elements: Vec<Option<Box<[u64]>>>,
    exported_memory: Option<u32>,
    /// The memories that are shared, by index.
    shared_memories: Vec<(u32, SharedMemory)>,
}

const _: () = assert!(std::mem::offset_of!(VmHostFunc, store) == std::mem::offset_of!(VmCtx, store));

impl InstanceData {
    /// Makes an instance whose parts are not linked yet.
    pub(crate) fn new(module: &Module, store: *mut aura_host_abi::vm::VmStore) -> Box<Self> {
        let validated = module.validated();
        let layout = validated.layout();
        let block = vec![0_u128; layout.size() / size_of::<u128>()].into_boxed_slice();
        let exported_memory = validated.export("memory").and_then(|export| match export.index {
            ExternIndex::Memory(index) => Some(index),
            _ => None,
        });
        let mut made = Box::new(Self {
            layout,
            block,
            func_refs: Box::default(),
            dropped_data: vec![false; validated.data().len()],
            elements: Vec::new(),
            exported_memory,
            shared_memories: Vec::new(),
            module: module.clone(),
        });
        let vmctx = made.vmctx();
        let entries = module.entries();
        let head = VmCtx {
            store,
            entries: entries.as_ptr(),
            host: (&raw mut *made).cast(),
            poisoned: Cell::new(false),
            padding: [0; 7],
        };
        // SAFETY: the block begins with the head and has at least its size and alignment.
        unsafe { vmctx.write(head) };
        let to_ref = |&own: &u32| {
            let entry = &entries[own as usize];
            VmFuncRef { entry, vmctx, type_id: entry.type_id, padding: 0 }
        };
        made.func_refs = module.validated().escaping().iter().map(to_ref).collect();
        made
    }

    /// The data of an instance.
    pub(crate) fn from_vmctx(vmctx: *mut VmCtx) -> *mut Self {
        // SAFETY: callers hold a live instance.
        unsafe { (*vmctx).host.cast() }
    }

    pub(crate) fn vmctx(&self) -> *mut VmCtx {
        self.block.as_ptr().cast_mut().cast()
    }

    /// Whether a host function that the instance imports panicked.
    pub(crate) fn is_poisoned(&self) -> bool {
        // SAFETY: the block begins with the head, which lives as long as this.
        unsafe { &(*self.vmctx()).poisoned }.get()
    }

    fn at<T>(&self, offset: i32) -> *mut T {
        self.vmctx().cast::<u8>().wrapping_offset(offset as isize).cast()
    }

    /// The reference to a function of the module's function space.
    ///
    /// # Panics
    /// If it is an own function that validation says nobody refers to.
    pub(crate) fn func_ref(&self, func: u32) -> *const VmFuncRef {
        let imported = self.layout.counts().imported_funcs;
        if func < imported {
            // SAFETY: the instance is linked and laid out by its own layout.
            return unsafe { access::import(self.vmctx(), &self.layout, func) };
        }
        let place = self.module.validated().escaping().binary_search(&(func - imported));
        &raw const self.func_refs[place.expect("only escaping functions are referred to")]
    }

    /// Puts another reference into the import vector.
    pub(crate) fn patch_import(&self, import: u32, func: *const VmFuncRef) {
        let cell = self.at::<AtomicPtr<VmFuncRef>>(self.layout.imports(import));
        // SAFETY: the layout put an import cell there.
        unsafe { &*cell }.store(func.cast_mut(), Ordering::Release);
    }

    pub(crate) fn set_memory(&self, index: u32, memory: *mut VmMemory) {
        // SAFETY: callers pass a live memory of the store.
        let base = unsafe { (*memory).base };
        let place = self.at::<VmMemoryRef>(self.layout.memories(index));
        // SAFETY: the layout put a memory's reference there.
        unsafe { place.write(VmMemoryRef { base, memory }) };
    }

    pub(crate) fn set_shared_memory(&mut self, index: u32, memory: SharedMemory) {
        self.set_memory(index, memory.vm());
        self.shared_memories.push((index, memory));
    }

    pub(crate) fn set_table(&self, index: u32, table: *mut VmTable) {
        let place = self.at::<*mut VmTable>(self.layout.tables(index));
        // SAFETY: the layout put a table's pointer there.
        unsafe { place.write(table) };
    }

    /// Where a memory that the module defines lies in the block.
    pub(crate) fn own_memory(&self, own: u32) -> NonNull<VmMemory> {
        NonNull::new(self.at(self.layout.own_memories(own))).expect("a place in the block")
    }

    /// Where a table that the module defines lies in the block.
    pub(crate) fn own_table(&self, own: u32) -> NonNull<VmTable> {
        NonNull::new(self.at(self.layout.own_tables(own))).expect("a place in the block")
    }

    pub(crate) fn set_imported_global(&self, index: u32, global: *mut VmGlobal) {
        let place = self.at::<*mut VmGlobal>(self.layout.globals(index));
        // SAFETY: the layout put an imported global's pointer there.
        unsafe { place.write(global) };
    }

    pub(crate) fn set_tag(&self, index: u32, tag: *const VmTag) {
        let place = self.at::<*const VmTag>(self.layout.tags(index));
        // SAFETY: the layout put a tag's pointer there.
        unsafe { place.write(tag) };
    }

    /// Makes a tag that the module defines.
    pub(crate) fn make_tag(&self, own: u32, type_id: u32) {
        let place = self.at::<VmTag>(self.layout.own_tags(own));
        // SAFETY: the layout put a tag there, which nobody refers to yet.
        unsafe { place.write(VmTag { type_id, padding: 0 }) };
        self.set_tag(self.layout.counts().imported_tags + own, place);
    }

    pub(crate) fn tag(&self, index: u32) -> *const VmTag {
        // SAFETY: as in `memory`.
        unsafe { access::tag(self.vmctx(), &self.layout, index) }
    }

    pub(crate) fn memory(&self, index: u32) -> *mut VmMemory {
        // SAFETY: the instance is linked and laid out by its own layout.
        unsafe { access::memory(self.vmctx(), &self.layout, index) }
    }

    pub(crate) fn table(&self, index: u32) -> *mut VmTable {
        // SAFETY: as in `memory`.
        unsafe { access::table(self.vmctx(), &self.layout, index) }
    }

    pub(crate) fn global(&self, index: u32) -> *mut VmGlobal {
        // SAFETY: as in `memory`.
        unsafe { access::global(self.vmctx(), &self.layout, index) }.cast()
    }

    /// The memory that the module exports as `memory`.
    pub(crate) fn exported_memory(&self) -> Option<*mut VmMemory> {
        self.exported_memory.map(|index| self.memory(index))
    }

    /// What an export is, as a handle.
    pub(crate) fn export(&self, store: StoreId, name: &str) -> Option<Extern> {
        Some(self.handle(store, self.module.validated().export(name)?.index))
    }

    /// A handle to something of the instance.
    pub(crate) fn handle(&self, store: StoreId, index: ExternIndex) -> Extern {
        match index {
            ExternIndex::Func(i) => Extern::Func(Func::new_raw(store, self.func_ref(i))),
            ExternIndex::Table(i) => Extern::Table(Table::new_raw(store, self.table(i))),
            ExternIndex::Memory(i) => match self.shared_memories.iter().find(|(index, _)| *index == i) {
                Some((_, memory)) => Extern::SharedMemory(memory.clone()),
                None => Extern::Memory(Memory::new_raw(store, self.memory(i))),
            },
            ExternIndex::Global(i) => {
                let mut ty = self.module.validated().globals()[i as usize];
                ty.content = ty.content.map_index(|index| self.module.engine_index(index));
                Extern::Global(Global::new_raw(store, self.global(i), ty))
            }
            ExternIndex::Tag(i) => Extern::Tag(Tag::new_raw(store, self.tag(i))),
        }
    }
}
