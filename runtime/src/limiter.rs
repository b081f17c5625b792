//! Limits that reach beyond one store: the host's own say, and tenants of several stores.
//!
//! # Safety
//! Trusts: what is registered with a store of `T` is called with that store, on the thread that runs it, while nobody
//! borrows the host's data.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::store::{AsContextMut, Store, StoreData, StoreInner};

/// Decides about growth beside the fixed limits; asked after they allow it.
pub trait ResourceLimiter {
    /// Whether the linear memories of the store may grow by this many bytes to that many.
    fn memory_growing(&mut self, grow_by: u64, desired: u64) -> bool;
    /// Whether the tables of the store may grow by this many elements to that many.
    fn table_growing(&mut self, grow_by: u64, desired: u64) -> bool;
    /// Whether the store may have this many instances.
    fn instance_making(&mut self, desired: u64) -> bool {
        let _ = desired;
        true
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limited {
    Memory,
    Table,
    Instances,
}

/// Finds the host's limiter in the host's data and asks it.
pub(crate) struct Ask(Box<dyn Fn(*mut StoreData, Limited, u64, u64) -> bool + Send + Sync>);

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

impl Ask {
    pub(crate) fn allows(&self, store: *mut StoreData, what: Limited, grow_by: u64, desired: u64) -> bool {
        (self.0)(store, what, grow_by, desired)
    }
}

/// What stores that belong together take, and may take, together.
#[derive(Debug)]
pub struct Tenant {
    memory_bytes: Share,
    table_elements: Share,
    instances: Share,
}

/// Bounds and counters of one resource.
#[derive(Debug)]
struct Share {
    used: AtomicU64,
    limit: u64,
}

/// Amounts of what a store or tenant takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Table elements.
    pub table_elements: u64,
    /// Instances.
    pub instances: u64,
}

impl Share {
    fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }

    fn take(&self, amount: u64) -> bool {
        let after = |used: u64| used.checked_add(amount).filter(|&after| after <= self.limit);
        self.used.fetch_update(AcqRel, Relaxed, after).is_ok()
    }

    fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, AcqRel);
    }
}

impl Tenant {
    /// A tenant whose stores together may take this much.
    #[must_use]
    pub fn new(limits: Usage) -> Arc<Self> {
        Arc::new(Self {
            memory_bytes: Share::new(limits.memory_bytes),
            table_elements: Share::new(limits.table_elements),
            instances: Share::new(limits.instances),
        })
    }

    /// What its stores take now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            memory_bytes: self.memory_bytes.used.load(Relaxed),
            table_elements: self.table_elements.used.load(Relaxed),
            instances: self.instances.used.load(Relaxed),
        }
    }

    fn share(&self, what: Limited) -> &Share {
        match what {
            Limited::Memory => &self.memory_bytes,
            Limited::Table => &self.table_elements,
            Limited::Instances => &self.instances,
        }
    }

    pub(crate) fn take(&self, what: Limited, amount: u64) -> bool {
        self.share(what).take(amount)
    }

    pub(crate) fn give_back(&self, usage: Usage) {
        self.memory_bytes.give_back(usage.memory_bytes);
        self.table_elements.give_back(usage.table_elements);
        self.instances.give_back(usage.instances);
    }
}

impl<T: 'static> Store<T> {
    /// Asks a limiter in the host's data about all growth from now on.
    pub fn limiter(&mut self, find: fn(&mut T) -> &mut dyn ResourceLimiter) {
        let ask = move |store: *mut StoreData, what, grow_by, desired| {
            // SAFETY: the store is one of `T`, since this was set there, and runs on this thread; its data and the
            // host's are disjoint fields, and nobody borrows the latter while something grows.
            let user = unsafe { &mut (*store.cast::<StoreInner<T>>()).user };
            match what {
                Limited::Memory => find(user).memory_growing(grow_by, desired),
                Limited::Table => find(user).table_growing(grow_by, desired),
                Limited::Instances => find(user).instance_making(desired),
            }
        };
        self.as_context_mut().0.data.limiter = Some(Ask(Box::new(ask)));
    }
}
