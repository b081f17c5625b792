//! Values of the host that guests hold references to.
//!
//! A value lives until a full collection finds no reference to it, or with its store if it is pinned.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// A value of the host.
pub(crate) type HostValue = dyn Any + Send + Sync;

/// The list of a store.
#[derive(Default)]
pub(crate) struct HostValues {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

struct Entry {
    value: Box<HostValue>,
    pinned: AtomicBool,
}

impl HostValues {
    /// Adds a value and returns its index; gives it back if there are `limit` already.
    pub(crate) fn add(&mut self, value: Box<HostValue>, limit: usize) -> Result<u32, Box<HostValue>> {
        if self.len() >= limit.min(aura_host_abi::gc::HOST_VALUES_MAX) {
            return Err(value);
        }
        let entry = Some(Entry { value, pinned: AtomicBool::new(false) });
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
            return Ok(index);
        }
        self.entries.push(entry);
        Ok(self.entries.len() as u32 - 1)
    }

    /// Whether there was never one.
    #[inline]
    pub(crate) fn is_untouched(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn get(&self, index: u32) -> Option<&HostValue> {
        self.entries.get(index as usize)?.as_ref().map(|entry| &*entry.value)
    }

    /// Keeps a value until the store is dropped.
    pub(crate) fn pin(&self, index: u32) {
        if let Some(Some(entry)) = self.entries.get(index as usize) {
            entry.pinned.store(true, Ordering::Relaxed);
        }
    }

    /// Which values are in use whatever references there are, by index.
    pub(super) fn begin_marking(&self) -> Vec<bool> {
        let is_pinned = |entry: &Entry| entry.pinned.load(Ordering::Relaxed);
        self.entries.iter().map(|entry| entry.as_ref().is_some_and(is_pinned)).collect()
    }

    /// Removes the values that were not met, and returns them.
    pub(super) fn sweep(&mut self, met: &[bool]) -> Vec<Box<HostValue>> {
        let mut dropped = Vec::new();
        for ((index, entry), met) in (0..).zip(&mut self.entries).zip(met) {
            if !met && let Some(entry) = entry.take() {
                self.free.push(index);
                dropped.push(entry.value);
            }
        }
        dropped
    }
}

impl fmt::Debug for HostValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostValues").field("len", &self.len()).finish_non_exhaustive()
    }
}
