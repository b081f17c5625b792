//! Places for references that the host holds.
//!
//! A handle is the number of a place here, never a reference. Places are given in the manner of a stack:
//! a scope remembers how many there were, and its end takes the ones since. The count of ended scopes
//! is part of every handle, so that one whose place was taken, and perhaps given again, is told from the present owner.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aura_host_abi::gc::{NULL, host_index, is_object};

use super::roots::Renew;
use crate::error::{Error, Result};
use crate::store::{StoreData, StoreId};

/// A reference that the host holds, of one store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root {
    pub(crate) store: StoreId,
    at: RootAt,
}

#[derive(Clone, Copy, Debug)]
enum RootAt {
    /// A reference that no collection changes or ends: null, an i31, a pinned value of the host.
    Constant(u32),
    Place(RootId),
}

impl Root {
    /// A root for a reference, until the innermost scope of the store ends.
    pub(crate) fn new(store: &StoreData, reference: u32) -> Self {
        let host = host_index(reference);
        if host.is_none() && !is_object(reference) {
            return Self { store: store.id, at: RootAt::Constant(reference) };
        }
        let mut roots = store.roots.lock();
        let at = match host {
            Some(index) if roots.depth == 0 => {
                store.externs.pin(index);
                RootAt::Constant(reference)
            }
            _ => RootAt::Place(roots.push(reference)),
        };
        Self { store: store.id, at }
    }

    /// The reference, to be used before anything is allocated.
    ///
    /// # Errors
    /// If the root is of another store, or its scope has ended.
    pub(crate) fn get(self, store: &StoreData) -> Result<u32> {
        store.check(self.store, "the reference")?;
        match self.at {
            RootAt::Constant(reference) => Ok(reference),
            RootAt::Place(id) => store.roots.lock().get(id).ok_or_else(|| {
                Error::usage("the reference was used after its scope ended; make an OwnedRooted of it to keep it")
            }),
        }
    }
}

/// The places of a store, also for those who only read the store.
#[derive(Debug, Default)]
pub(crate) struct RootsCell(Mutex<Roots>);

impl RootsCell {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Roots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut Roots {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of a store.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    places: Vec<Place>,
    /// Places kept, whatever scopes end, as long as somebody else has the second half too.
    kept: Vec<(u32, Arc<()>)>,
    /// Those that the last collection found to be nobody's, and that were not given again since.
    kept_free: Vec<usize>,
    ended: u32,
    /// Scopes that are open.
    depth: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    reference: u32,
    ended: u32,
}

/// The name of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RootId {
    index: u32,
    ended: u32,
}

/// Where a scope began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScopeStart {
    places: usize,
    depth: u32,
}

impl Roots {
    /// Forgets all places. Their names are of a store that is no more.
    #[inline]
    pub(crate) fn forget(&mut self) {
        if !self.places.is_empty() || !self.kept.is_empty() || self.depth != 0 {
            *self = Self::default();
        }
    }

    /// Gives a place to a reference until the innermost scope ends.
    fn push(&mut self, reference: u32) -> RootId {
        let index = u32::try_from(self.places.len()).expect("fewer than 2^32 handles in open scopes");
        self.places.push(Place { reference, ended: self.ended });
        RootId { index, ended: self.ended }
    }

    /// The reference in a place; `None` if the scope of the place has ended.
    fn get(&self, id: RootId) -> Option<u32> {
        let place = self.places.get(id.index as usize)?;
        (place.ended == id.ended).then_some(place.reference)
    }

    #[inline]
    pub(crate) fn begin(&mut self) -> ScopeStart {
        let start = ScopeStart { places: self.places.len(), depth: self.depth };
        self.depth += 1;
        start
    }

    /// Ends a scope, and those in it that a panic left open.
    #[inline]
    pub(crate) fn end(&mut self, start: ScopeStart) {
        self.depth = start.depth;
        if self.places.len() > start.places {
            self.places.truncate(start.places);
            self.ended = self.ended.wrapping_add(1);
        }
    }

    /// Keeps a reference as long as the second half of its name is held.
    pub(crate) fn keep(&mut self, reference: u32) -> (usize, Arc<()>) {
        let alive = Arc::new(());
        let entry = (reference, alive.clone());
        // Looking through all of them at each of them would be slow: places are given again by collections alone.
        match self.kept_free.pop() {
            Some(index) => {
                self.kept[index] = entry;
                (index, alive)
            }
            None => {
                self.kept.push(entry);
                (self.kept.len() - 1, alive)
            }
        }
    }

    /// A kept reference.
    ///
    /// # Panics
    /// If the name is not one that [`Roots::keep`] gave.
    pub(crate) fn kept(&self, index: usize, alive: &Arc<()>) -> u32 {
        let (reference, known) = &self.kept[index];
        assert!(Arc::ptr_eq(known, alive), "a place is kept while its name is held");
        *reference
    }

    pub(super) fn each(&mut self, renew: &mut Renew<'_>) {
        for place in &mut self.places {
            place.reference = renew(place.reference);
        }
        self.kept_free.clear();
        for (index, (reference, alive)) in self.kept.iter_mut().enumerate() {
            if Arc::strong_count(alive) == 1 {
                *reference = NULL;
                self.kept_free.push(index);
            }
            *reference = renew(*reference);
        }
    }
}
