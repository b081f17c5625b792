//! `InstanceData`: what the engine knows of an instance, beside the block that machine code reads.
//!
//! # Safety
//! The block is as long as the layout says and aligned to 16 bytes; it is written while it is linked,
//! afterwards only import cells, globals and what they point to change.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use aura_host_abi::SlotType;
use aura_host_abi::vm::{VmCtx, VmCtxLayout, VmFuncRef, VmGlobal, VmHostFunc, VmMemory, VmMemoryRef, VmTable, VmTag};
use aura_validator::module::ExternIndex;

use crate::externs::{Extern, Func, Global, Memory, Table, Tag};
use crate::image::FuncPlace;
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

/// An instance as it was, to come back to.
#[derive(Debug)]
pub(crate) struct Template {
    block: Box<[u128]>,
    dropped_data: Vec<bool>,
    elements: Vec<Option<Box<[u64]>>>,
}

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
        let entries = module.inner().entries();
        let head = VmCtx {
            store,
            entries: entries.as_ptr(),
            host: (&raw mut *made).cast(),
            type_ids: module.type_ids().as_ptr(),
            poisoned: Cell::new(false),
            padding: [0; 7],
        };
        // SAFETY: the block begins with the head and has at least its size and alignment.
        unsafe { vmctx.write(head) };
        let to_ref = |&own: &u32| {
            let entry = module.inner().escaping_entry(own);
            VmFuncRef { entry, vmctx, type_id: entry.type_id(), padding: 0 }
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

    pub(crate) fn module(&self) -> &Module {
        &self.module
    }

    /// Where the reference to a function of the module's function space is found.
    pub(crate) fn func_place(&self, func: u32) -> FuncPlace {
        let imported = self.layout.counts().imported_funcs;
        match func.checked_sub(imported) {
            None => FuncPlace::Import(func),
            Some(own) => {
                let place = self.module.validated().escaping().binary_search(&own);
                FuncPlace::Own(place.expect("only escaping functions are referred to"))
            }
        }
    }

    /// The reference that is found at a place.
    #[inline]
    pub(crate) fn func_at(&self, place: FuncPlace) -> *const VmFuncRef {
        match place {
            FuncPlace::Own(place) => &raw const self.func_refs[place],
            // SAFETY: the instance is linked and laid out by its own layout.
            FuncPlace::Import(import) => unsafe { access::import(self.vmctx(), &self.layout, import) },
        }
    }

    /// The place of a reference, if it is one of this instance's.
    pub(crate) fn place_of(&self, func: *const VmFuncRef) -> Option<FuncPlace> {
        let own = (func.addr().wrapping_sub(self.func_refs.as_ptr().addr())) / size_of::<VmFuncRef>();
        if self.func_refs.get(own).is_some_and(|at| std::ptr::eq(at, func)) {
            return Some(FuncPlace::Own(own));
        }
        let is_it = |&import: &u32| std::ptr::eq(self.func_at(FuncPlace::Import(import)), func);
        (0..self.layout.counts().imported_funcs).find(is_it).map(FuncPlace::Import)
    }

    /// Class and bits of each global that the module defines.
    pub(crate) fn own_globals(&self) -> impl Iterator<Item = (SlotType, [u64; 2])> + '_ {
        let imported = self.layout.counts().imported_globals;
        (imported..).zip(&self.module.validated().globals()[imported as usize..]).map(|(index, ty)| {
            // SAFETY: the instance is linked, and nothing of it runs.
            (ty.content.slot_type(), unsafe { self.global(index).cast::<[u64; 2]>().read() })
        })
    }

    /// Sets a global that the module defines.
    pub(crate) fn set_own_global(&self, own: u32, bits: [u64; 2]) {
        // SAFETY: as in `own_globals`.
        unsafe { self.global(self.layout.counts().imported_globals + own).cast::<[u64; 2]>().write(bits) };
    }

    /// How the instance is now, to come back to; its tables' and memories' contents apart.
    pub(crate) fn template(&self) -> Template {
        Template { block: self.block.clone(), dropped_data: self.dropped_data.clone(), elements: self.elements.clone() }
    }

    /// What differs from a template that was made of the instance, or how many bytes were compared.
    pub(crate) fn differs_from(&self, template: &Template) -> Result<u64, &'static str> {
        if self.block != template.block {
            return Err("globals, lengths or imports");
        }
        if self.dropped_data != template.dropped_data || self.elements != template.elements {
            return Err("segments");
        }
        Ok(size_of_val(&*self.block) as u64)
    }

    /// A table that the module defines has moved.
    #[cold]
    pub(crate) fn note_table(&self, own: u32, template: &mut Template) {
        let (from, to) = (self.own_table(own), self.layout.own_tables(own) as usize);
        let to = template.block.as_mut_ptr().cast::<u8>().wrapping_add(to).cast::<VmTable>();
        // SAFETY: the layout put a table at the offset, in both blocks; nothing of the instance runs.
        unsafe { from.as_ptr().copy_to_nonoverlapping(to, 1) };
    }

    /// Takes the instance back to a template that was made of it.
    #[inline]
    pub(crate) fn restore(&mut self, template: &Template) {
        let (to, from) = (self.vmctx().cast::<u128>(), &template.block);
        assert!(from.len() == self.block.len(), "the template is of this instance");
        // SAFETY: both have the length; nothing of the instance runs, and nobody has a reference into the block.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        if self.dropped_data != template.dropped_data {
            self.dropped_data.clone_from(&template.dropped_data);
        }
        for (now, then) in self.elements.iter_mut().zip(&template.elements) {
            if now.is_none() && then.is_some() {
                now.clone_from(then);
            }
        }
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
