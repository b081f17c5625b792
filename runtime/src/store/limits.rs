//! What a store may take: fixed limits, the host's own say, and a tenant's share.

use crate::limiter::{Limited, Usage};
use crate::store::StoreData;
use crate::vm::table::TABLE_ELEMENTS_LIMIT;

/// Bounds on what the instances of a store may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Table elements.
    pub table_elements: u64,
    /// Instances.
    pub instances: usize,
    /// Host values that guests hold references to.
    pub extern_refs: usize,
    /// Bytes of objects in the garbage-collected heap, at most [`crate::GC_HEAP_MAX`]; less than 64 KiB counts as that.
    /// While objects are moved, the system may have to give as much again.
    pub gc_heap_bytes: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 40,
            table_elements: TABLE_ELEMENTS_LIMIT,
            instances: 10_000,
            extern_refs: 1_000_000,
            gc_heap_bytes: 1 << 30,
        }
    }
}

impl StoreData {
    /// Asks the limits whether linear memories may grow, and counts the growth.
    pub(crate) fn allow_memory_growth(&mut self, old_bytes: u64, new_bytes: u64) -> bool {
        let limit = self.limits.memory_bytes;
        let Some(after) = grown_within(self.memory_bytes, old_bytes, new_bytes, limit) else { return false };
        let allowed = self.others_allow(Limited::Memory, after - self.memory_bytes, after);
        if allowed {
            self.memory_bytes = after;
        }
        allowed
    }

    /// Asks the limits whether tables may grow, and counts the growth.
    pub(crate) fn allow_table_growth(&mut self, old: u64, new: u64) -> bool {
        let limit = self.limits.table_elements;
        let Some(after) = grown_within(self.table_elements, old, new, limit) else { return false };
        let allowed = self.others_allow(Limited::Table, after - self.table_elements, after);
        if allowed {
            self.table_elements = after;
        }
        allowed
    }

    /// Asks whether the store may have one instance more.
    pub(crate) fn allow_instance(&mut self) -> bool {
        self.others_allow(Limited::Instances, 1, self.instances.len() as u64 + 1)
    }

    /// Asks the host's limiter and takes from the tenant's share.
    fn others_allow(&self, what: Limited, grow_by: u64, desired: u64) -> bool {
        let store = Self::from_vm(self.vm());
        self.limiter.as_ref().is_none_or(|ask| ask.allows(store, what, grow_by, desired))
            && self.tenant.as_ref().is_none_or(|tenant| tenant.take(what, grow_by))
    }

    pub(super) fn leave_tenant(&mut self) {
        if let Some(tenant) = self.tenant.take() {
            tenant.give_back(self.usage());
        }
    }

    pub(crate) fn limit(&mut self, limits: StoreLimits) {
        self.limits = limits;
        self.heap.set_limit(limits.gc_heap_bytes);
    }

    /// Bytes of memories and elements of tables that count.
    pub(crate) fn usage_now(&self) -> (u64, u64) {
        (self.memory_bytes, self.table_elements)
    }

    #[inline]
    pub(crate) fn set_usage(&mut self, memory_bytes: u64, table_elements: u64) {
        (self.memory_bytes, self.table_elements) = (memory_bytes, table_elements);
    }

    pub(super) fn usage(&self) -> Usage {
        let instances = self.instances.len() as u64;
        Usage { memory_bytes: self.memory_bytes, table_elements: self.table_elements, instances }
    }

    pub(crate) fn memory_bytes_left(&self) -> u64 {
        self.limits.memory_bytes.saturating_sub(self.memory_bytes)
    }

    pub(crate) fn table_elements_left(&self) -> u64 {
        self.limits.table_elements.saturating_sub(self.table_elements)
    }
}

/// What is used after growth, if it is within the limit.
fn grown_within(used: u64, old: u64, new: u64, limit: u64) -> Option<u64> {
    used.checked_add(new.saturating_sub(old)).filter(|&after| after <= limit)
}
