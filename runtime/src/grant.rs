//! Grants: from an empty privilege matrix to single points in it, and back.
//!
//! The import vector of a fresh instance holds denial stubs for all that needs a grant.
//! [`Store::grant`] makes a capability and patches the entries it opens: each is a pointer to an
//! immutable record, replaced as a whole, so that no call ever sees half a change. Revoking is a store to the
//! capability's state, which every call through it reads.
//!
//! # Safety
//! Trusts: import cells hold live references of their own store. Gives: a cell is replaced by one store of a pointer to
//! a complete record, and records stay until the store is dropped.

use std::sync::Arc;

use aura_host_abi::{Action, Capability, GrantSpec};

use crate::error::Result;
use crate::host::{HostFunc, HostRecord};
use crate::instance::Instance;
use crate::store::{AsContextMut, Caller, Store, StoreData};

/// Whom a grant is for.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// All instances of the store, those to come included.
    Store,
    /// One instance.
    Instance(Instance),
}

/// A grant that was made: the handle by which it is taken back, from any thread.
#[derive(Clone, Debug)]
pub struct Grant {
    capability: Arc<Capability>,
}

impl Grant {
    /// Takes the grant back. A use that begins after this returns is denied, whatever reference it
    /// goes through, and so is every use of what was derived from the grant.
    pub fn revoke(&self) {
        self.capability.revoke();
    }

    /// Whether the grant still stands.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.capability.is_live()
    }

    /// The slot: its counters, and what families of host functions derive their objects from.
    #[must_use]
    pub fn capability(&self) -> &Arc<Capability> {
        &self.capability
    }
}

/// A grant as its store keeps it, for instances to come.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Index of the one instance it is for.
    instance: Option<usize>,
    capability: Arc<Capability>,
}

/// An import that a guest called without a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedImport {
    /// The first of the import's two names.
    pub module: String,
    /// The second.
    pub name: String,
    /// Any one of these would have allowed it.
    pub actions: &'static [Action],
}

impl DeniedImport {
    pub(crate) fn note(denied: &mut Vec<Self>, func: &HostFunc, actions: &'static [Action]) {
        let is_known = denied.iter().any(|known| known.module == func.module && known.name == func.name);
        // Bounded by the imports that exist; each is noted once.
        if !is_known {
            denied.push(Self { module: func.module.clone(), name: func.name.clone(), actions });
        }
    }
}

impl<T: 'static> Store<T> {
    /// Grants an action on a resource: maps the host functions it opens into the subject.
    ///
    /// Families of host functions that keep objects of their own (WASI, say) are told of the grant by
    /// the host: `store.data_mut().wasi.attach(grant.capability().clone())`.
    ///
    /// # Errors
    /// If the subject is an instance of another store.
    pub fn grant(&mut self, subject: Subject, spec: GrantSpec) -> Result<Grant> {
        grant(&mut self.as_context_mut().0.data, subject, spec)
    }
}

impl<T: 'static> Caller<'_, T> {
    /// As [`Store::grant`], while guest code runs: the very next call goes through the grant.
    ///
    /// # Errors
    /// As [`Store::grant`].
    pub fn grant(&mut self, subject: Subject, spec: GrantSpec) -> Result<Grant> {
        grant(&mut self.as_context_mut().0.data, subject, spec)
    }
}

fn grant(store: &mut StoreData, subject: Subject, spec: GrantSpec) -> Result<Grant> {
    let instance = match subject {
        Subject::Store => None,
        Subject::Instance(instance) => {
            store.check(instance.store, "the instance")?;
            Some(instance.index as usize)
        }
    };
    let capability = Arc::new(Capability::new(spec));
    store.grants.push(Standing { instance, capability: capability.clone() });
    for index in instance.map_or(0..store.instances.len(), |index| index..index + 1) {
        map_in(store, index, &capability);
    }
    Ok(Grant { capability })
}

/// Patches the entries of an instance's import vector that a capability opens.
fn map_in(store: &mut StoreData, instance: usize, capability: &Arc<Capability>) {
    let imports = store.instances[instance].layout.counts().imported_funcs;
    for import in 0..imports {
        let current = store.instances[instance].func_ref(import);
        // SAFETY: import cells hold live references of this store.
        let Some(record) = (unsafe { HostRecord::of(current) }) else { continue };
        if !record.func.opened_by(capability.spec()) || record.home() != store.instances[instance].vmctx() {
            continue;
        }
        let mut capabilities: Vec<_> = record.capabilities().iter().filter(|held| held.is_live()).cloned().collect();
        capabilities.push(capability.clone());
        let opened = HostRecord::add(store, record.func.clone(), record.home(), capabilities);
        store.instances[instance].patch_import(import, opened);
    }
}

/// Applies the grants that stand to a new instance.
pub(crate) fn map_in_standing(store: &mut StoreData, instance: usize) {
    let standing: Vec<_> = store
        .grants
        .iter()
        .filter(|grant| grant.instance.is_none_or(|index| index == instance) && grant.capability.is_live())
        .map(|grant| grant.capability.clone())
        .collect();
    for capability in standing {
        map_in(store, instance, &capability);
    }
}
