//! Snapshots: what an instance has become, as where others begin.
//!
//! What lies in a store is named so that another store can have it: bytes of memories, numbers, and functions by
//! their place in the instance. What cannot be named so is refused: objects, values of the host, functions of other
//! instances, and what the host's data holds open.
//!
//! # Safety
//! Trusts: memories and tables lie in boxes that their store keeps. Gives: nothing runs while an instance is captured or
//! brought to a state.

use std::sync::Arc;

use aura_host_abi::SlotType;
use aura_host_abi::gc::{host_index, is_object};

use crate::error::{Error, Result};
use crate::image::{FuncPlace, Image, ImageConfig, ImageInstance};
use crate::store::{AsContext, StoreData};
use crate::vm::instance::InstanceData;
use crate::vm::reset::MemoryImage;

/// An instance's state, independent of stores.
#[derive(Debug)]
pub(crate) struct Snapshot {
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
    /// If the instance has what cannot be captured: objects or values of the host, a shared memory, buffers lent to it, functions of other instances; if `config` finds something open in the host's data
    /// ([`ImageConfig::open_handles`]).
    pub fn snapshot(&self, image: &Image<T>, config: &ImageConfig<T>) -> Result<Image<T>> {
        if !image.module().same(self.instance_data().module()) {
            return Err(Error::usage("the instance is not one of this image"));
        }
        if let Some(open) = config.open_handles_of(self.data()) {
            return Err(refused(&format!("{open} open in the host's data")));
        }
        let snapshot = Snapshot::of(&self.as_context().0.data)?;
        Image::begin_at(image.imports().to_vec(), image.module(), config, Some(snapshot))
    }
}

fn refused(what: &str) -> Error {
    Error::usage(format!("the instance cannot be captured: it has {what}"))
}

impl Snapshot {
    fn of(store: &StoreData) -> Result<Self> {
        let instance = &store.instances[0];
        if !store.heap.is_untouched() || !store.externs.is_untouched() {
            return Err(refused("objects, or values of the host that guests refer to"));
        }
        if store.instances.len() != 1 || !store.shared_memories.is_empty() || !store.globals.is_empty() {
            return Err(refused("a shared memory, or things that the host made in its store"));
        }
        if store.memories.iter().any(|memory| memory.lending().is_some()) {
            return Err(refused("buffers of the host lent to it"));
        }
        let image = |memory: &Box<_>| MemoryImage::of(memory).map(Arc::new);
        let memories = store.memories.iter().map(image).collect::<Result<_, _>>();
        let memories = memories.map_err(|error| Error::resource(format!("copying a memory: {error}")))?;
        let table = |table: &crate::vm::table::TableData| {
            let class = aura_host_abi::ValType::Ref(table.ty().element).slot_type();
            table.elements().iter().map(|&bits| saved(instance, class, [bits, 0])).collect::<Result<Vec<_>>>()
        };
        let global = |(class, bits)| saved(instance, class, bits);
        Ok(Self {
            memories,
            tables: store.tables.iter().map(|data| table(data)).collect::<Result<_>>()?,
            globals: instance.own_globals().map(global).collect::<Result<_>>()?,
            dropped_data: instance.dropped_data.clone(),
            dropped_elements: instance.elements.iter().map(Option::is_none).collect(),
        })
    }

    pub(crate) fn memories(&self) -> &[Arc<MemoryImage>] {
        &self.memories
    }

    /// Brings a linked instance, which has run no segment, to this state; all but the contents of its memories.
    pub(crate) fn apply(&self, store: &mut StoreData) -> Result<()> {
        for (index, image) in self.memories.iter().enumerate() {
            // SAFETY: the memory lives in a box of the store's, and its growth changes no list of it.
            let memory = unsafe { &*std::ptr::from_ref(&*store.memories[index]) };
            let pages = (image.length() - memory.byte_len()) >> memory.ty().page_size_log2;
            memory
                .grow(pages, |old, new| store.allow_memory_growth(old, new))
                .ok_or_else(|| Error::resource("the snapshot's memory passes a limit"))?;
        }
        for (index, elements) in self.tables.iter().enumerate() {
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
        for (own, global) in (0..).zip(&self.globals) {
            instance.set_own_global(own, global.in_instance(instance));
        }
        instance.dropped_data.clone_from(&self.dropped_data);
        for (elements, _) in instance.elements.iter_mut().zip(&self.dropped_elements).filter(|(_, dropped)| **dropped) {
            *elements = None;
        }
        Ok(())
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
