//! Snapshots: what an instance has become, as where others begin.
//!
//! What lies in a store is named so that another store can have it: bytes of memories, numbers, and functions by
//! their place in the instance. What cannot be named so is refused: objects, values of the host, functions of other
//! instances, and what the host's data holds open. In an artifact a snapshot stands as its state, and the pages of its
//! memories that are not zero.
//!
//! # Safety
//! Trusts: memories and tables lie in boxes that their store keeps. Gives: nothing runs while an instance is captured or
//! brought to a state.

use std::sync::Arc;

use aura_host_abi::SlotType;
use aura_host_abi::gc::{host_index, is_object};
use aura_validator::codec::{Coded, Words};

use crate::error::{Error, Result};
use crate::image::{FuncPlace, Image, ImageConfig, ImageInstance};
use crate::instance::{Beginning, Instance, link};
use crate::linker::Linker;
use crate::module::Module;
use crate::store::{AsContext, AsContextMut, StoreData};
use crate::vm::content::{MemoryImage, PAGE};
use crate::vm::instance::InstanceData;

/// What an instance has become: its memories, tables, globals and dropped segments, independent of stores. Instances that
/// begin there are made by [`Snapshot::instantiate`] and [`Image::of_snapshot`]; [`Snapshot::to_artifact`] writes it down.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    module: Module,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    memories: Vec<Arc<MemoryImage>>,
    tables: Vec<Vec<Saved>>,
    globals: Vec<Saved>,
    dropped_data: Vec<bool>,
    dropped_elements: Vec<bool>,
}

/// A value.
#[derive(Clone, Copy, Debug)]
enum Saved {
    Bits([u64; 2]),
    Func(FuncPlace),
}

impl<T: 'static> ImageInstance<T> {
    /// An image whose instances begin where this one is now: its memories, tables, globals and dropped segments. The
    /// host's data is not part of it; each instance gets its own, and its fuel and its grants anew, as `config` says.
    ///
    /// # Errors
    /// If the instance has what cannot be captured: objects or values of the host, a shared memory, buffers lent to it (but by the image), memory grown behind a window, functions of other instances; if `config` finds something open in the host's data
    /// ([`ImageConfig::open_handles`]).
    pub fn snapshot(&self, image: &Image<T>, config: &ImageConfig<T>) -> Result<Image<T>> {
        if !image.module().same(self.instance_data().module()) {
            return Err(Error::usage("the instance is not one of this image"));
        }
        if let Some(open) = config.open_handles_of(self.data()) {
            return Err(refused(&format!("{open} open in the host's data")));
        }
        let snapshot = Snapshot::of_data(&self.as_context().0.data)?;
        Image::begin_at(image.imports().to_vec(), image.module(), config, Some(snapshot))
    }
}

impl<T: 'static> Image<T> {
    /// An image whose instances begin at a snapshot. Their imports are the linker's.
    ///
    /// # Errors
    /// As [`Image::new`].
    pub fn of_snapshot(linker: &Linker<T>, snapshot: &Snapshot, config: &ImageConfig<T>) -> Result<Self> {
        let module = snapshot.module();
        Self::begin_at(linker.functions(module)?, module, config, Some(snapshot.clone()))
    }
}

fn refused(what: &str) -> Error {
    Error::usage(format!("the instance cannot be captured: it has {what}"))
}

impl Snapshot {
    /// Captures the one instance of a store as it is now. The host's data, and what is open in it, is not part of it: the
    /// caller looks whether the instance can do without.
    ///
    /// # Errors
    /// If the store has other instances or things, or the instance has what cannot be captured: objects or values of the host, a
    /// shared memory, buffers lent to it, functions of other instances.
    pub fn of(store: impl AsContext) -> Result<Self> {
        let data = &store.as_context().0.data;
        match data.instances.is_empty() {
            true => Err(Error::usage("there is no instance in the store to capture")),
            false => Self::of_data(data),
        }
    }

    fn of_data(store: &StoreData) -> Result<Self> {
        let instance = &store.instances[0];
        if !store.heap.is_untouched() || !store.externs.is_untouched() {
            return Err(refused("objects, or values of the host that guests refer to"));
        }
        if store.instances.len() != 1 || !store.shared_memories.is_empty() || !store.globals.is_empty() {
            return Err(refused("a shared memory, or things that the host made in its store"));
        }
        if store.memories.iter().any(|memory| memory.lending().is_some_and(|lending| lending.lends())) {
            return Err(refused("buffers of the host lent to it"));
        }
        if store.memories.iter().any(|memory| memory.has_more_behind_windows()) {
            return Err(refused("memory that it grew behind a window for sharing"));
        }
        let image = |memory: &Box<_>| MemoryImage::of(memory).map(Arc::new);
        let memories = store.memories.iter().map(image).collect::<Result<_, _>>();
        let memories = memories.map_err(|error| Error::resource(format!("copying a memory: {error}")))?;
        let table = |table: &crate::vm::table::TableData| {
            let class = aura_host_abi::ValType::Ref(table.ty().element).slot_type();
            table.elements().iter().map(|&bits| saved(instance, class, [bits, 0])).collect::<Result<Vec<_>>>()
        };
        let global = |(class, bits)| saved(instance, class, bits);
        let state = State {
            memories,
            tables: store.tables.iter().map(|data| table(data)).collect::<Result<_>>()?,
            globals: instance.own_globals().map(global).collect::<Result<_>>()?,
            dropped_data: instance.dropped_data.clone(),
            dropped_elements: instance.elements.iter().map(Option::is_none).collect(),
        };
        Ok(Self { module: instance.module.clone(), state: Arc::new(state) })
    }

    /// The module of the instance.
    #[must_use]
    pub fn module(&self) -> &Module {
        &self.module
    }

    pub(crate) fn memories(&self) -> &[Arc<MemoryImage>] {
        &self.state.memories
    }

    /// Makes an instance that begins here, with the names it imports. The store is to have nothing in it yet.
    ///
    /// # Errors
    /// If the store is not new, or as [`Linker::instantiate`].
    pub fn instantiate<T: 'static>(
        &self,
        linker: &Linker<T>,
        mut store: impl AsContextMut<Data = T>,
    ) -> Result<Instance> {
        let data: *mut StoreData = &raw mut store.as_context_mut().0.data;
        // SAFETY: the store is borrowed by this call and used through `data` alone; each borrow ends within its line.
        let borrowed = || unsafe { &mut *data };
        if !borrowed().instances.is_empty() || !borrowed().memories.is_empty() || !borrowed().tables.is_empty() {
            return Err(Error::usage("a snapshot begins in a store of its own, and this one has something in it"));
        }
        let imports = linker.functions(&self.module)?;
        // SAFETY: as above.
        let instance = unsafe { link(data, &self.module, imports, Beginning::Bare) }?;
        self.apply(borrowed())?;
        for (memory, image) in borrowed().memories.iter().zip(self.memories()) {
            image.fill(memory).map_err(|error| Error::resource(format!("filling a memory: {error}")))?;
        }
        Ok(instance)
    }

    /// Brings a linked instance, which has run no segment, to this state; all but the contents of its memories.
    pub(crate) fn apply(&self, store: &mut StoreData) -> Result<()> {
        for (index, image) in self.state.memories.iter().enumerate() {
            // SAFETY: the memory lives in a box of the store's, and its growth changes no list of it.
            let memory = unsafe { &*std::ptr::from_ref(&*store.memories[index]) };
            let pages = (image.length() - memory.byte_len()) >> memory.ty().page_size_log2;
            memory
                .grow(pages, |old, new| store.allow_memory_growth(old, new))
                .ok_or_else(|| Error::resource("the snapshot's memory passes a limit"))?;
        }
        for (index, elements) in self.state.tables.iter().enumerate() {
            // SAFETY: as above.
            let table = unsafe { &*std::ptr::from_ref(&*store.tables[index]) };
            table
                .grow(elements.len() as u64 - table.len(), 0, |old, new| store.allow_table_growth(old, new))
                .ok_or_else(|| Error::resource("the snapshot's table passes a limit"))?;
            for (at, element) in (0..).zip(elements) {
                let bits = element.in_instance(&store.instances[0]);
                table.set(at, bits[0]).expect("the table has the snapshot's length");
            }
        }
        let instance = &mut store.instances[0];
        for (own, global) in (0..).zip(&self.state.globals) {
            instance.set_own_global(own, global.in_instance(instance));
        }
        instance.dropped_data.clone_from(&self.state.dropped_data);
        let dropped = instance.elements.iter_mut().zip(&self.state.dropped_elements);
        for (elements, _) in dropped.filter(|(_, dropped)| **dropped) {
            *elements = None;
        }
        Ok(())
    }

    /// The state but for bytes of memories, and the pages of those that are not zero, one after the other.
    pub(crate) fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let State { memories, tables, globals, dropped_data, dropped_elements } = &*self.state;
        let (mut state, mut pages) = (Vec::new(), Vec::new());
        for memory in memories {
            memory.length().put(&mut state);
            let kept: Vec<u32> = memory.kept_pages().collect();
            kept.iter().for_each(|&page| pages.extend_from_slice(memory.bytes_of(page)));
            Words(kept).put(&mut state);
        }
        tables.iter().for_each(|elements| elements.put(&mut state));
        globals.iter().for_each(|global| global.put(&mut state));
        dropped_data.put(&mut state);
        dropped_elements.put(&mut state);
        (state, pages)
    }

    /// A snapshot of a module from its state; `read` gives bytes of the pages from a place on, in the order
    /// of [`Snapshot::encode`]. `None` if the state is not one of the module's.
    pub(crate) fn decode(
        module: &Module,
        mut state: &[u8],
        read: impl Fn(u64, &mut [u8]) -> Result<()> + Sync,
    ) -> Result<Option<Self>> {
        let counts = module.validated().counts();
        let Some(parts) = Parts::take(&mut state, counts).filter(|_| state.is_empty()) else { return Ok(None) };
        let (mut memories, mut next) = (Vec::new(), 0);
        for (length, kept) in parts.memories {
            let image = MemoryImage::from_pages(length, &kept, |at, run| read((next + at as u64) * PAGE as u64, run))?;
            next += kept.len() as u64;
            let Some(image) = image else { return Ok(None) };
            memories.push(Arc::new(image));
        }
        let Parts { tables, globals, dropped_data, dropped_elements, .. } = parts;
        let state = State { memories, tables, globals, dropped_data, dropped_elements };
        Ok(Some(Self { module: module.clone(), state: Arc::new(state) }))
    }
}

/// What the state says in bytes.
struct Parts {
    /// Length in bytes, and which pages are kept.
    memories: Vec<(u64, Vec<u32>)>,
    tables: Vec<Vec<Saved>>,
    globals: Vec<Saved>,
    dropped_data: Vec<bool>,
    dropped_elements: Vec<bool>,
}

impl Parts {
    fn take(bytes: &mut &[u8], counts: aura_host_abi::vm::VmCounts) -> Option<Self> {
        let memory = |bytes: &mut &[u8]| Some((u64::take(bytes)?, Words::take(bytes)?.0));
        Some(Self {
            memories: (counts.imported_memories..counts.memories).map(|_| memory(bytes)).collect::<Option<_>>()?,
            tables: (counts.imported_tables..counts.tables).map(|_| Coded::take(bytes)).collect::<Option<_>>()?,
            globals: (counts.imported_globals..counts.globals).map(|_| Coded::take(bytes)).collect::<Option<_>>()?,
            dropped_data: Coded::take(bytes)?,
            dropped_elements: Coded::take(bytes)?,
        })
    }
}

impl Coded for Saved {
    fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Bits([low, 0]) => (0_u8, low).put(out),
            Self::Bits(bits) => (1_u8, bits).put(out),
            Self::Func(FuncPlace::Import(import)) => (2_u8, import).put(out),
            Self::Func(FuncPlace::Own(own)) => (3_u8, own as u64).put(out),
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(match u8::take(bytes)? {
            0 => Self::Bits([Coded::take(bytes)?, 0]),
            1 => Self::Bits(Coded::take(bytes)?),
            2 => Self::Func(FuncPlace::Import(Coded::take(bytes)?)),
            3 => Self::Func(FuncPlace::Own(u64::take(bytes)?.try_into().ok()?)),
            _ => return None,
        })
    }
}

/// A value of an instance, named without it.
fn saved(instance: &InstanceData, class: SlotType, bits: [u64; 2]) -> Result<Saved> {
    match class {
        SlotType::Func if bits[0] != 0 => {
            let place = instance.place_of(std::ptr::with_exposed_provenance(bits[0] as usize));
            place.map(Saved::Func).ok_or_else(|| refused("a function of another instance, or of an earlier grant"))
        }
        SlotType::Ref if is_object(bits[0] as u32) || host_index(bits[0] as u32).is_some() => {
            Err(refused("a reference to an object or a value of the host"))
        }
        _ => Ok(Saved::Bits(bits)),
    }
}

impl Saved {
    fn in_instance(self, instance: &InstanceData) -> [u64; 2] {
        match self {
            Self::Bits(bits) => bits,
            Self::Func(place) => [instance.func_at(place).expose_provenance() as u64, 0],
        }
    }
}
