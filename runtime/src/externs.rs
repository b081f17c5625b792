//! Handles to what instances import and export: functions, memories, tables, globals, tags.
//!
//! # Safety
//! A handle is a pointer into its store with the store's name. Every use compares the name first, so
//! that the pointer is followed only while its store is borrowed; what it points to lives as long as the store.

use std::sync::Arc;

use aura_host_abi::vm::{VmFuncRef, VmGlobal, VmMemory, VmTable, VmTag};
use aura_host_abi::{FuncType, GlobalType, GuestMemory, GuestType, MemoryType, TableType, ValType};
use aura_validator::module::ExternType;

use crate::error::{Error, Result};
use crate::loan::{View, Window};
use crate::shared::SharedMemory;
use crate::signals;
use crate::store::{AsContext, AsContextMut, StoreContext, StoreData, StoreId};
use crate::value::Val;
use crate::vm::lending::Lending;
use crate::vm::memory::{LinearMemory, MemoryError};
use crate::vm::table::TableData;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident($ptr:ty $(, $field:ident: $ty:ty)?);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            pub(crate) store: StoreId,
            ptr: *const $ptr,
            $($field: $ty,)?
        }

        // SAFETY: the pointer is followed only while the store it belongs to is borrowed.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {}

        impl $name {
            #[inline]
            pub(crate) fn new_raw(store: StoreId, ptr: *const $ptr $(, $field: $ty)?) -> Self {
                Self { store, ptr $(, $field)? }
            }

            #[inline]
            pub(crate) fn raw(&self) -> *mut $ptr {
                self.ptr.cast_mut()
            }
        }
    )*};
}

handles! {
    /// A function: the host's own, or of an instance.
    Func(VmFuncRef);
    /// A linear memory.
    Memory(VmMemory);
    /// A table of references.
    Table(VmTable);
    /// A global.
    Global(VmGlobal, ty: GlobalType);
    /// A tag of exceptions. Two tags are the same if they are the same object, whatever their types.
    Tag(VmTag);
}

/// Something an instance imports or exports.
#[derive(Clone, Debug)]
pub enum Extern {
    Func(Func),
    Table(Table),
    Memory(Memory),
    /// A memory that other stores may use too. It is of no store.
    SharedMemory(SharedMemory),
    Global(Global),
    Tag(Tag),
}

/// A global that the host made.
#[derive(Debug)]
pub(crate) struct GlobalRecord {
    vm: VmGlobal,
    ty: GlobalType,
}

impl GlobalRecord {
    pub(crate) fn ty(&self) -> GlobalType {
        self.ty
    }

    /// Passes the reference in the global through `renew`.
    pub(crate) fn renew(&self, renew: &mut dyn FnMut(u32) -> u32) {
        let bits = self.vm.bits.get();
        // SAFETY: the store's thread calls this, and no reference to the cell exists.
        let old = unsafe { (*bits)[0] } as u32;
        // SAFETY: as above.
        unsafe { (*bits)[0] = renew(old).into() };
    }
}

macro_rules! extern_conversions {
    ($($kind:ident, $get:ident;)*) => {
        $(impl From<$kind> for Extern {
            fn from(value: $kind) -> Self {
                Self::$kind(value)
            }
        })*

        impl Extern {
            $(#[doc = concat!("The `", stringify!($kind), "`, if it is one.")]
            #[must_use]
            pub fn $get(self) -> Option<$kind> {
                match self {
                    Self::$kind(value) => Some(value),
                    _ => None,
                }
            })*

        }
    };
}

extern_conversions! {
    Func, into_func;
    Table, into_table;
    Memory, into_memory;
    SharedMemory, into_shared_memory;
    Global, into_global;
    Tag, into_tag;
}

impl Extern {
    /// The type; limits of memories and tables are those of now.
    ///
    /// # Errors
    /// If it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> Result<ExternType> {
        let data = &store.as_context().0.data;
        self.ty_in(data)
    }

    /// The engine's number of a function's or tag's type.
    pub(crate) fn type_id(&self) -> Option<u32> {
        match self {
            Self::Func(func) => Some(func.type_id()),
            Self::Tag(tag) => Some(tag.type_id()),
            _ => None,
        }
    }

    /// Errs if it belongs to another store, or a shared memory to another engine.
    fn check(&self, data: &StoreData) -> Result<()> {
        let store = match self {
            Self::Func(func) => func.store,
            Self::Table(table) => table.store,
            Self::Memory(memory) => memory.store,
            Self::Global(global) => global.store,
            Self::Tag(tag) => tag.store,
            Self::SharedMemory(memory) if memory.engine().same(&data.engine) => return Ok(()),
            Self::SharedMemory(_) => return Err(Error::usage("the shared memory was made for another engine")),
        };
        data.check(store, "the import")
    }

    pub(crate) fn ty_in(&self, data: &StoreData) -> Result<ExternType> {
        self.check(data)?;
        Ok(match self {
            Self::Func(func) => ExternType::Func(func.ty_in(data)),
            Self::Table(table) => ExternType::Table(table.ty_in()),
            Self::Memory(memory) => ExternType::Memory(memory.ty_in()),
            Self::SharedMemory(memory) => ExternType::Memory(memory.ty()),
            Self::Global(global) => ExternType::Global(global.ty),
            Self::Tag(tag) => ExternType::Tag(tag.ty_in(data)),
        })
    }
}

impl Func {
    /// The function's type.
    ///
    /// # Panics
    /// If the function belongs to another store.
    #[must_use]
    pub fn ty(&self, store: impl AsContext) -> FuncType {
        let context = store.as_context();
        let data = &context.0.data;
        data.check(self.store, "the function").expect("Func::ty");
        self.ty_in(data)
    }

    pub(crate) fn ty_in(&self, data: &StoreData) -> FuncType {
        data.engine.types().func(self.type_id()).clone()
    }

    pub(crate) fn type_id(&self) -> u32 {
        // SAFETY: callers checked the store.
        unsafe { (*self.raw()).type_id }
    }
}

impl Memory {
    /// Makes a memory.
    ///
    /// # Errors
    /// If no module can have a memory of the type, it passes the store's limits, the system has no room, or the
    /// type is that of a [`SharedMemory`].
    pub fn new(mut store: impl AsContextMut, ty: MemoryType) -> Result<Self> {
        if ty.shared {
            return Err(Error::usage("a memory of a shared type is made by SharedMemory::new"));
        }
        if !matches!(ty.page_size_log2, 0 | 16) {
            let log2 = ty.page_size_log2;
            return Err(Error::usage(format!("pages of 2^{log2} bytes; a page has 1 byte or 65536 (2^16)")));
        }
        Self::make(&mut store.as_context_mut().0.data, ty)
    }

    pub(crate) fn make(data: &mut StoreData, ty: MemoryType) -> Result<Self> {
        let initial = ty.limits.min.saturating_mul(ty.page_size());
        let limit = data.memory_bytes_left();
        let made = LinearMemory::new(data.engine.reservations(), ty, limit);
        let memory = made.map_err(|error| resource(&error))?;
        // Counted when it exists, so that a memory that could not be made takes nothing of the limit.
        if !data.allow_memory_growth(0, initial) {
            return Err(resource(&MemoryError::Limit { bytes: initial, limit }));
        }
        let handle = Self::new_raw(data.id, memory.vm());
        data.memories.push(memory);
        Ok(handle)
    }

    fn data_of(&self, store: &StoreData) -> Result<&LinearMemory> {
        store.check(self.store, "the memory")?;
        // SAFETY: the store is the memory's own and is borrowed.
        Ok(unsafe { LinearMemory::from_vm(self.raw()) })
    }

    fn ty_in(&self) -> MemoryType {
        // SAFETY: callers checked the store.
        let memory = unsafe { LinearMemory::from_vm(self.raw()) };
        let mut ty = *memory.ty();
        ty.limits.min = memory.size_pages();
        ty
    }

    /// The memory's type; its minimum is the size now.
    ///
    /// # Panics
    /// If the memory belongs to another store.
    #[must_use]
    pub fn ty(&self, store: impl AsContext) -> MemoryType {
        self.data_of(&store.as_context().0.data).expect("Memory::ty");
        self.ty_in()
    }

    /// The size in pages.
    ///
    /// # Panics
    /// If the memory belongs to another store.
    #[must_use]
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.data_of(&store.as_context().0.data).expect("Memory::size").size_pages()
    }

    /// The size in bytes.
    ///
    /// # Panics
    /// If the memory belongs to another store.
    #[must_use]
    pub fn data_size(&self, store: impl AsContext) -> usize {
        self.data_of(&store.as_context().0.data).expect("Memory::data_size").byte_len() as usize
    }

    /// Grows the memory and returns the old size in pages.
    ///
    /// # Errors
    /// If the maximum or a limit forbids it, or the memory belongs to another store.
    pub fn grow(&self, mut store: impl AsContextMut, delta_pages: u64) -> Result<u64> {
        let data = &mut store.as_context_mut().0.data;
        data.check(self.store, "the memory")?;
        // SAFETY: the store is the memory's own and is borrowed; the record is outside of `data`'s fields.
        let memory = unsafe { LinearMemory::from_vm(self.raw()) };
        let grown = memory.grow(delta_pages, |old, new| data.allow_memory_growth(old, new));
        grown.ok_or_else(|| Error::resource(format!("the memory cannot grow by {delta_pages} pages")))
    }

    /// The memory's bytes, up to the first window for sharing if it has any. No guest runs while they are borrowed.
    ///
    /// # Panics
    /// If the memory belongs to another store.
    pub fn data<'a, T: 'static>(&self, store: impl Into<StoreContext<'a, T>>) -> &'a [u8] {
        let memory = self.data_of(&store.into().0.data).expect("Memory::data");
        let (base, len) = (memory.base(), memory.plain_len() as usize);
        // SAFETY: the bytes stay mapped while the store lives, and nobody writes while it is borrowed.
        unsafe { std::slice::from_raw_parts(base, len) }
    }

    /// As [`Memory::data`], to write. No guest runs while they are borrowed.
    ///
    /// # Panics
    /// If the memory belongs to another store.
    pub fn data_mut<'a, T: 'static>(&self, store: impl Into<crate::store::StoreContextMut<'a, T>>) -> &'a mut [u8] {
        let memory = self.data_of(&store.into().0.data).expect("Memory::data_mut");
        let (base, len) = (memory.base(), memory.plain_len() as usize);
        memory.make_writable(0, len as u64);
        // SAFETY: as in `data`; the store is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(base, len) }
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// If the range is out of bounds or the memory belongs to another store.
    pub fn read(&self, store: impl AsContext, offset: usize, into: &mut [u8]) -> Result<()> {
        let context = store.as_context();
        let view = self.data_of(&context.0.data)?.view();
        view.read(offset as u64, into).map_err(|error| Error::usage(error.to_string()))
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// If the range is out of bounds or the memory belongs to another store.
    pub fn write(&self, mut store: impl AsContextMut, offset: usize, from: &[u8]) -> Result<()> {
        let context = store.as_context_mut();
        let memory = self.data_of(&context.0.data)?;
        memory.make_writable(offset as u64, from.len() as u64);
        let mut view = memory.view();
        view.write(offset as u64, from).map_err(|error| Error::usage(error.to_string()))
    }

    /// Adds a window for sharing of at least `bytes` bytes behind the memory's end: a range in which there is nothing but
    /// what [`Window::lend`] lends. Do so once the guest is initialised, and once for all: what the guest grows its
    /// memory by later lies behind it, where the interpreter's accesses take longer.
    ///
    /// # Errors
    /// If the memory's maximum or the store's limits forbid it, or it is of a kind that has no windows: shared, or
    /// with pages of one byte.
    pub fn add_window(&self, mut store: impl AsContextMut, bytes: u64) -> Result<Window> {
        self.add_window_in(&mut store.as_context_mut().0.data, bytes)
    }

    pub(crate) fn add_window_in(&self, data: &mut StoreData, bytes: u64) -> Result<Window> {
        signals::install()?;
        data.check(self.store, "the memory")?;
        // SAFETY: the store is the memory's own and is borrowed; the record is outside of `data`'s fields.
        let memory = unsafe { LinearMemory::from_vm(self.raw()) };
        let start = memory.add_window(bytes, |old, new| data.allow_memory_growth(old, new));
        let start = start.map_err(|error| resource(&error))?;
        Ok(Window::new(*self, start, memory.byte_len() - start))
    }

    /// `count` values at an address, to be looked at where they lie while no guest of the store runs.
    ///
    /// # Errors
    /// If they are not inside the memory, or it belongs to another store.
    pub fn view<'a, V: GuestType, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
        address: u64,
        count: u64,
    ) -> Result<View<'a, V>> {
        View::new(self, store.into(), address, count)
    }

    pub(crate) fn view_and_bytes<'a, T: 'static>(
        &self,
        store: StoreContext<'a, T>,
    ) -> Result<(GuestMemory<'a>, &'a [u8])> {
        // SAFETY: the record lives as long as the store that is borrowed for `'a`.
        let memory: &'a LinearMemory = unsafe { &*std::ptr::from_ref(self.data_of(&store.0.data)?) };
        Ok((memory.view(), self.data(store)))
    }

    /// The windows and loans of the memory.
    pub(crate) fn lending(&self, store: &StoreData) -> Result<Arc<Lending>> {
        let lending = self.data_of(store)?.lending().cloned();
        lending.ok_or_else(|| Error::usage("the memory has no window"))
    }
}

fn resource(error: &dyn std::fmt::Display) -> Error {
    Error::resource(error.to_string())
}

impl Table {
    /// Makes a table whose elements are all `init`.
    ///
    /// # Errors
    /// If `init` is of another type or store, or the table passes the store's limits.
    pub fn new(mut store: impl AsContextMut, ty: TableType, init: Val) -> Result<Self> {
        let data = &mut store.as_context_mut().0.data;
        data.engine.types().check(ValType::Ref(ty.element))?;
        let init = element_bits(init, &ty, data)?;
        Self::make(data, ty, init)
    }

    pub(crate) fn make(data: &mut StoreData, ty: TableType, init: u64) -> Result<Self> {
        let (min, limit) = (ty.limits.min, data.limits.table_elements);
        let refused = || Error::resource(format!("a table of {min} elements passes the store's limit of {limit}"));
        if min > data.table_elements_left() {
            return Err(refused());
        }
        let table = TableData::new(ty, init, limit).map_err(|error| resource(&error))?;
        // Counted when it exists, so that a table that could not be made takes nothing of the limit.
        if !data.allow_table_growth(0, min) {
            return Err(refused());
        }
        let handle = Self::new_raw(data.id, table.vm());
        data.tables.push(table);
        Ok(handle)
    }

    fn data_of(&self, store: &StoreData) -> Result<&TableData> {
        store.check(self.store, "the table")?;
        // SAFETY: the store is the table's own and is borrowed.
        Ok(unsafe { TableData::from_vm(self.raw()) })
    }

    fn ty_in(&self) -> TableType {
        // SAFETY: callers checked the store.
        let table = unsafe { TableData::from_vm(self.raw()) };
        let mut ty = *table.ty();
        ty.limits.min = table.len();
        ty
    }

    /// The table's type; its minimum is the size now.
    ///
    /// # Panics
    /// If the table belongs to another store.
    #[must_use]
    pub fn ty(&self, store: impl AsContext) -> TableType {
        self.data_of(&store.as_context().0.data).expect("Table::ty");
        self.ty_in()
    }

    /// The number of elements.
    ///
    /// # Panics
    /// If the table belongs to another store.
    #[must_use]
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.data_of(&store.as_context().0.data).expect("Table::size").len()
    }

    /// An element; `None` past the end.
    ///
    /// # Panics
    /// If the table belongs to another store.
    #[must_use]
    pub fn get(&self, store: impl AsContext, index: u64) -> Option<Val> {
        let context = store.as_context();
        let data = &context.0.data;
        let table = self.data_of(data).expect("Table::get");
        Some(Val::from_bits([table.get(index)?, 0], ValType::Ref(table.ty().element), data))
    }

    /// Sets an element.
    ///
    /// # Errors
    /// If the index is past the end, or the value is of another type or store.
    pub fn set(&self, mut store: impl AsContextMut, index: u64, value: Val) -> Result<()> {
        let data = &store.as_context_mut().0.data;
        let table = self.data_of(data)?;
        let bits = element_bits(value, table.ty(), data)?;
        table.set(index, bits).map_err(|_| Error::usage(format!("the table has no element {index}")))
    }

    /// Grows the table and returns the old size.
    ///
    /// # Errors
    /// If the maximum or a limit forbids it, or the value is of another type or store.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64, init: Val) -> Result<u64> {
        let data = &mut store.as_context_mut().0.data;
        data.check(self.store, "the table")?;
        // SAFETY: the store is the table's own and is borrowed; the record is outside of `data`'s fields.
        let table = unsafe { TableData::from_vm(self.raw()) };
        let bits = element_bits(init, table.ty(), data)?;
        let grown = table.grow(delta, bits, |old, new| data.allow_table_growth(old, new));
        grown.ok_or_else(|| Error::resource(format!("the table cannot grow by {delta} elements")))
    }
}

fn element_bits(value: Val, ty: &TableType, store: &StoreData) -> Result<u64> {
    let element = ValType::Ref(ty.element);
    if !value.fits(element, store)? {
        let expected = store.engine.types().show(element);
        return Err(Error::usage(format!("an element is of type {}, expected {expected}", value.ty())));
    }
    Ok(value.to_bits(store)?[0])
}

impl Global {
    /// Makes a global.
    ///
    /// # Errors
    /// If the value is of another type or store.
    pub fn new(mut store: impl AsContextMut, ty: GlobalType, value: Val) -> Result<Self> {
        let data = &mut store.as_context_mut().0.data;
        data.engine.types().check(ty.content)?;
        let bits = global_bits(value, ty, data)?;
        data.globals.push(Box::new(GlobalRecord { vm: VmGlobal { bits: bits.into() }, ty }));
        let record = data.globals.last().expect("just pushed");
        Ok(Self::new_raw(data.id, &raw const record.vm, ty))
    }

    /// The global's type.
    #[must_use]
    pub fn ty(&self, _store: impl AsContext) -> GlobalType {
        self.ty
    }

    /// The value.
    ///
    /// # Panics
    /// If the global belongs to another store.
    #[must_use]
    pub fn get(&self, store: impl AsContext) -> Val {
        let context = store.as_context();
        let data = &context.0.data;
        data.check(self.store, "the global").expect("Global::get");
        // SAFETY: the store is the global's own and is borrowed.
        let cell = unsafe { &(*self.raw()).bits };
        // SAFETY: guest code is not running, so nobody writes the cell.
        Val::from_bits(unsafe { *cell.get() }, self.ty.content, data)
    }

    /// Sets the value.
    ///
    /// # Errors
    /// If the global is immutable, or the value is of another type or store.
    pub fn set(&self, mut store: impl AsContextMut, value: Val) -> Result<()> {
        let data = &store.as_context_mut().0.data;
        data.check(self.store, "the global")?;
        if !self.ty.mutable {
            return Err(Error::usage("the global is immutable"));
        }
        let bits = global_bits(value, self.ty, data)?;
        // SAFETY: the store is the global's own and is borrowed.
        let cell = unsafe { &(*self.raw()).bits };
        // SAFETY: guest code is not running, so nobody else uses the cell.
        unsafe { *cell.get() = bits };
        Ok(())
    }
}

impl Tag {
    /// Makes a tag whose exceptions carry the parameters of a type.
    ///
    /// # Errors
    /// If the type has results, or names defined types of another engine.
    pub fn new(mut store: impl AsContextMut, ty: &FuncType) -> Result<Self> {
        let data = &mut store.as_context_mut().0.data;
        if !ty.results().is_empty() {
            return Err(Error::usage(format!("a tag's type has no results, {ty} has")));
        }
        let type_id = data.engine.types().intern(ty)?;
        data.tags.push(Box::new(VmTag { type_id, padding: 0 }));
        let record = data.tags.last().expect("just pushed");
        Ok(Self::new_raw(data.id, &raw const **record))
    }

    /// The tag's type: the parameters are what its exceptions carry.
    ///
    /// # Panics
    /// If the tag belongs to another store.
    #[must_use]
    pub fn ty(&self, store: impl AsContext) -> FuncType {
        let context = store.as_context();
        let data = &context.0.data;
        data.check(self.store, "the tag").expect("Tag::ty");
        self.ty_in(data)
    }

    /// Whether both are the same tag.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.store == other.store && std::ptr::eq(self.raw(), other.raw())
    }

    pub(crate) fn ty_in(&self, data: &StoreData) -> FuncType {
        data.engine.types().func(self.type_id()).clone()
    }

    pub(crate) fn type_id(&self) -> u32 {
        // SAFETY: callers checked the store.
        unsafe { (*self.raw()).type_id }
    }
}

fn global_bits(value: Val, ty: GlobalType, store: &StoreData) -> Result<[u64; 2]> {
    if !value.fits(ty.content, store)? {
        let expected = store.engine.types().show(ty.content);
        return Err(Error::usage(format!("the value is of type {}, the global holds {expected}", value.ty())));
    }
    value.to_bits(store)
}
