//! Grants: from an empty privilege matrix to single points in it, and back.
//!
//! The import vector of a fresh instance holds denial stubs for all that needs a grant.
//! [`Store::grant`] makes a capability and patches the entries it opens: each is a pointer to an
//! immutable record, replaced as a whole, so that no call ever sees half a change. Revoking is a store to the
//! capability's state, which every call through it reads; `aura_host_abi::flight` has the protocol.
//! Other threads grant through a [`Granter`]: what they grant waits in a queue that the store's thread
//! empties before the next call that needs a grant.
//!
//! # Safety
//! Trusts: import cells hold live references of their own store. Gives: a cell is replaced by one store of a pointer to
//! a complete record; records, and the capabilities in the store's list, stay until the store is dropped.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aura_host_abi::flight::Flight;
use aura_host_abi::vm::VmCtx;
use aura_host_abi::{Action, Capability, GrantSpec, GrantState, Terms};

use crate::error::{Error, Result};
use crate::host::{HostFunc, HostRecord};
use crate::instance::Instance;
use crate::store::{AsContext, AsContextMut, Caller, Store, StoreData, StoreId, StoreInner};
use crate::watchdog;

/// Whom a grant is for.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// All instances of the store, those to come included.
    Store,
    /// One instance.
    Instance(Instance),
}

impl Subject {
    fn instance(self, store: StoreId) -> Result<Option<usize>> {
        match self {
            Self::Store => Ok(None),
            Self::Instance(instance) if instance.store == store => Ok(Some(instance.index as usize)),
            Self::Instance(_) => Err(Error::wrong_store("the instance")),
        }
    }
}

/// A grant that was made: the handle by which it is narrowed, handed on and taken back, from any thread.
#[derive(Clone, Debug)]
pub struct Grant {
    capability: Arc<Capability>,
}

impl Grant {
    /// Takes the grant back, with all that was narrowed from it. After this returns no further use succeeds,
    /// whatever it goes through: a function reference that was kept, an entry of a table, another instance, a
    /// handle that was opened before. A call in flight on another thread has ended by then: those that block
    /// are asked to end, and guest code that stands inside such a call is interrupted.
    ///
    /// From inside a host function of the same store it does not wait for that very call.
    pub fn revoke(&self) {
        self.capability.revoke();
    }

    /// As [`Grant::revoke`], but waits no longer than `limit` for calls in flight; false if one did not end.
    #[must_use]
    pub fn revoke_within(&self, limit: Duration) -> bool {
        self.capability.revoke_within(limit)
    }

    /// A grant of a part of this one, for [`Store::accept`] to give to another subject: fewer rights, a smaller
    /// resource, tighter terms. Its uses are charged to the terms of both, and it ends with this one.
    ///
    /// # Errors
    /// If `spec` is not within this grant.
    pub fn narrow(&self, spec: &GrantSpec, terms: Terms) -> Result<Self> {
        let capability = self.capability.narrow(spec, terms).map_err(|error| Error::usage(error.to_string()))?;
        watch(&capability);
        Ok(Self { capability })
    }

    /// Whether the grant still stands.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state() == GrantState::Live
    }

    /// Whether the grant stands, and why not.
    #[must_use]
    pub fn state(&self) -> GrantState {
        self.capability.state()
    }

    /// What was granted.
    #[must_use]
    pub fn spec(&self) -> &GrantSpec {
        self.capability.spec()
    }

    /// The slot: its counters, and what families of host functions derive their objects from.
    #[must_use]
    pub fn capability(&self) -> &Arc<Capability> {
        &self.capability
    }
}

/// A grant as its store keeps it, at the index that is its slot.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Index of the one instance it is for.
    instance: Option<usize>,
    pub(crate) capability: Arc<Capability>,
}

/// What a grant was used for so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReport {
    /// Its index among the grants of the store.
    pub slot: u32,
    /// What was granted.
    pub spec: GrantSpec,
    /// Whether it stands.
    pub state: GrantState,
    /// Calls through it that were let through, failed ones included.
    pub uses: u64,
    /// Calls through it that were denied.
    pub denials: u64,
    /// Bytes moved through it.
    pub bytes: u64,
}

/// Tells the host's data, which lies behind the store's own, of a grant.
type AttachBody = dyn Fn(*mut StoreData, &Arc<Capability>) -> Result<()> + Send + Sync;

/// What tells the host's data of a grant.
pub(crate) struct Attach(Box<AttachBody>);

impl fmt::Debug for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attach")
    }
}

/// Grants made by other threads, until the store's thread takes them in.
#[derive(Debug)]
pub(crate) struct Injections {
    flight: Arc<Flight>,
    next_slot: AtomicU32,
    queue: Mutex<Vec<Standing>>,
}

impl Injections {
    pub(crate) fn new(flight: Arc<Flight>) -> Self {
        Self { flight, next_slot: AtomicU32::new(0), queue: Mutex::default() }
    }

    fn make(&self, spec: GrantSpec, terms: Terms) -> Arc<Capability> {
        let slot = self.next_slot.fetch_add(1, Relaxed);
        let capability = Arc::new(Capability::for_subject(spec, terms, self.flight.clone(), slot));
        watch(&capability);
        capability
    }

    fn derive(&self, grant: &Grant) -> Arc<Capability> {
        let slot = self.next_slot.fetch_add(1, Relaxed);
        grant.capability.derive_for(self.flight.clone(), slot)
    }

    fn push(&self, instance: Option<usize>, capability: &Arc<Capability>) -> Grant {
        let standing = Standing { instance, capability: capability.clone() };
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(standing);
        self.flight.call_attention();
        Grant { capability: capability.clone() }
    }
}

/// Grants into a store from any thread, while its guests run: the next call of the store that needs a grant finds it.
#[derive(Clone, Debug)]
pub struct Granter {
    injections: Arc<Injections>,
    store: StoreId,
}

impl Granter {
    /// As [`Store::grant_with`]. What the host's data refuses ([`Store::on_grant`]) is found revoked.
    ///
    /// # Errors
    /// If the subject is an instance of another store.
    pub fn grant(&self, subject: Subject, spec: GrantSpec, terms: Terms) -> Result<Grant> {
        let instance = subject.instance(self.store)?;
        Ok(self.injections.push(instance, &self.injections.make(spec, terms)))
    }

    /// As [`Store::accept`].
    ///
    /// # Errors
    /// As [`Granter::grant`].
    pub fn accept(&self, subject: Subject, grant: &Grant) -> Result<Grant> {
        let instance = subject.instance(self.store)?;
        Ok(self.injections.push(instance, &self.injections.derive(grant)))
    }
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

macro_rules! granting {
    ($($head:tt)*) => {
        $($head)* {
            /// Grants an action on a resource: maps the host functions it opens into the subject.
            ///
            /// Families of host functions that keep objects of their own (WASI, say) are told of the grant by
            /// [`Store::on_grant`], or by the host: `store.data_mut().wasi.attach(grant.capability().clone())`.
            ///
            /// # Errors
            /// If the subject is an instance of another store, or the host's data refuses the grant.
            pub fn grant(&mut self, subject: Subject, spec: GrantSpec) -> Result<Grant> {
                self.grant_with(subject, spec, Terms::default())
            }

            /// As `grant`, with bounds on what is done through it.
            ///
            /// # Errors
            /// As `grant`.
            pub fn grant_with(&mut self, subject: Subject, spec: GrantSpec, terms: Terms) -> Result<Grant> {
                let store = &mut self.as_context_mut().0.data;
                let instance = subject.instance(store.id)?;
                let capability = store.injections.make(spec, terms);
                take_in(store, instance, capability)
            }

            /// Gives a subject of this store the rights of a grant that was made elsewhere, mostly by
            /// [`Grant::narrow`]: a grant of its own, which ends with the one it came from.
            ///
            /// # Errors
            /// As `grant`.
            pub fn accept(&mut self, subject: Subject, grant: &Grant) -> Result<Grant> {
                let store = &mut self.as_context_mut().0.data;
                let instance = subject.instance(store.id)?;
                let capability = store.injections.derive(grant);
                take_in(store, instance, capability)
            }
        }
    };
}

granting! { impl<T: 'static> Store<T> }
granting! { impl<T: 'static> Caller<'_, T> }

/// Says how the host's data of a store of `T` is told of each grant.
pub(crate) fn set_attach<T: 'static>(store: &mut StoreData, attach: fn(&mut T, &Arc<Capability>) -> Result<()>) {
    let erased = move |store: *mut StoreData, capability: &Arc<Capability>| {
        // SAFETY: the store is one of `T`, since it was set there, and runs on this thread; its data and the host's
        // are disjoint fields, and nobody borrows the latter while a grant is made.
        let user = unsafe { &mut (*store.cast::<StoreInner<T>>()).user };
        attach(user, capability)
    };
    store.attach = Some(Attach(Box::new(erased)));
}

/// Ends all grants of a store and forgets them. What is derived from them, and handles to them, find them expired.
#[cold]
pub(crate) fn forget(store: &mut StoreData) {
    for standing in store.grants.drain(..).flatten() {
        standing.capability.expire();
    }
    store.injections.next_slot.store(0, Relaxed);
}

impl<T: 'static> Store<T> {
    /// Says how the host's data is told of each grant; one that it refuses is not made.
    pub fn on_grant(&mut self, attach: fn(&mut T, &Arc<Capability>) -> Result<()>) {
        let data = &mut self.as_context_mut().0.data;
        data.expose();
        set_attach(data, attach);
    }

    /// A handle by which other threads grant into this store.
    #[must_use]
    pub fn granter(&self) -> Granter {
        let data = &self.as_context().0.data;
        data.expose();
        Granter { injections: data.injections.clone(), store: data.id }
    }
}

fn watch(capability: &Arc<Capability>) {
    if let Some(until) = capability.terms().until {
        watchdog::watch_grant(until, capability);
    }
}

/// Puts a grant on the store's list and maps in what it opens.
fn take_in(store: &mut StoreData, instance: Option<usize>, capability: Arc<Capability>) -> Result<Grant> {
    let vm = StoreData::from_vm(store.vm());
    if let Some(attach) = &store.attach
        && let Err(error) = (attach.0)(vm, &capability)
    {
        capability.expire();
        return Err(error);
    }
    for index in instance.map_or(0..store.instances.len(), |index| index..index + 1) {
        map_in(store, index, &capability);
    }
    // It may have been made on another thread while an audit began or ended.
    capability.tell_each();
    let slot = capability.slot().expect("the store gave it a slot") as usize;
    if store.grants.len() <= slot {
        store.grants.resize_with(slot + 1, || None);
    }
    store.grants[slot] = Some(Standing { instance, capability: capability.clone() });
    Ok(Grant { capability })
}

/// Takes in what other threads granted. One that the host's data refuses has ended.
#[cold]
pub(crate) fn take_in_injections(store: &mut StoreData) {
    let queue = std::mem::take(&mut *store.injections.queue.lock().unwrap_or_else(PoisonError::into_inner));
    for standing in queue {
        // `take_in` ends what is refused, which is how the thread that granted learns of it.
        let _ = take_in(store, standing.instance, standing.capability);
    }
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
        let stands = |held: &&Arc<Capability>| held.state() == GrantState::Live;
        let mut capabilities: Vec<_> = record.capabilities().iter().filter(stands).cloned().collect();
        capabilities.push(capability.clone());
        let opened = HostRecord::add(store, record.func.clone(), record.home(), capabilities);
        store.instances[instance].patch_import(import, opened);
    }
}

/// Applies the grants that stand to a new instance.
pub(crate) fn map_in_standing(store: &mut StoreData, instance: usize) {
    if store.flight.take_attention() {
        take_in_injections(store);
    }
    let for_it = |grant: &&Standing| grant.instance.is_none_or(|index| index == instance);
    let standing: Vec<_> = store.grants.iter().flatten().filter(for_it).map(|grant| grant.capability.clone()).collect();
    for capability in standing {
        map_in(store, instance, &capability);
    }
}

/// A grant that stands and opens a function for an instance, for calls through a reference that is older than it.
#[cold]
pub(crate) fn find_standing<'a>(
    store: &'a StoreData,
    func: &HostFunc,
    home: *mut VmCtx,
) -> Option<&'a Arc<Capability>> {
    let instance = store.instances.iter().position(|instance| instance.vmctx() == home)?;
    let opens = |grant: &&Standing| {
        grant.instance.is_none_or(|index| index == instance)
            && func.opened_by(grant.capability.spec())
            && grant.capability.is_live()
    };
    store.grants.iter().flatten().find(opens).map(|grant| &grant.capability)
}

/// What the grants of a store were used for.
pub(crate) fn reports(store: &StoreData) -> Vec<SlotReport> {
    let report = |capability: &Arc<Capability>| SlotReport {
        slot: capability.slot().expect("the store gave it a slot"),
        spec: capability.spec().clone(),
        state: capability.state(),
        uses: capability.uses(),
        denials: capability.denials(),
        bytes: capability.bytes(),
    };
    store.grants.iter().flatten().map(|grant| report(&grant.capability)).collect()
}
