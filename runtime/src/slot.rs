//! Slots: stores with one linked instance that go back to how they were, and wait for their next life.
//!
//! A slot is a whole store, so that an instance of an image is an ordinary one in every respect. Its life
//! begins when it gets the host's data and a new name ([`StoreId`]: handles of the last life fit no more), and ends when its
//! [`Store`] is dropped: [`end_life`] puts everything back that guests and hosts may have changed, and the slot onto the
//! list of the thread. Whatever is not put back makes the slot unfit ([`is_plain`]), and it is dropped as any store is.
//!
//! | what | how it goes back |
//! |---|---|
//! | memory | pages that were written, from the image; growth is taken back ([`crate::vm::reset`]) |
//! | globals, lengths, import cells, poison | one copy of the instance's block |
//! | windows, and what is lent in them | ended and forgotten, but what the image gives every instance ([`crate::vm::lending`]) |
//! | tables | a copy of their elements; growth is taken back |
//! | dropped segments | copied where one was dropped |
//! | grants | expired and forgotten, with their records, denials and counters |
//! | fuel, deadline, interrupt, pending trap and exception, rooted handles | set as in a new store |
//! | the host's data | dropped |
//! | objects, host values, things that the host made in the store, handles that other threads hold | make it unfit |
//!
//! # Safety
//! Trusts: a store's data lies at the start of its allocation, which [`Slot::free`] frees. Gives: a store on a list has no
//! host data, runs nothing, and nobody else refers to it.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::loan::SlotWindow;
use crate::store::{StoreData, StoreId};
use crate::thread;
use crate::vm::instance::Template;

/// What a store is as a slot.
pub(crate) struct Slot {
    pub(crate) shelf: Arc<Shelf>,
    /// Frees a store whose host data is gone.
    pub(crate) free: unsafe fn(*mut StoreData),
    pub(crate) template: Template,
    /// Elements of the tables that the instance defines.
    pub(crate) tables: Box<[Box<[u64]>]>,
    pub(crate) memories: usize,
    pub(crate) host_records: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) table_elements: u64,
    /// Nothing brings it back, such as a memory that other threads use.
    pub(crate) single_use: bool,
    /// The window for sharing that it keeps.
    pub(crate) window: Option<SlotWindow>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

/// How many slots an image may have, and what happens beyond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) slots: usize,
    /// How long to wait for one to come back; `None` for an error at once.
    pub(crate) wait: Option<Duration>,
}

/// Where the slots of one image wait.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// Dense in the process, and given again when the shelf is gone.
    index: usize,
    /// No image of it exists any more.
    closed: AtomicBool,
    /// Slots that exist.
    slots: AtomicUsize,
    /// Slots that a thread keeps waiting.
    idle_max: usize,
    bound: Option<Bound>,
    /// Where slots wait if their number is bounded: whoever wants one must find it.
    waiting: Mutex<Vec<Waiting>>,
    came_back: Condvar,
    /// Pages that slots were seen to write, of each memory.
    pub(crate) expected: Mutex<Vec<Vec<u32>>>,
}

/// A store on a list.
#[derive(Debug)]
struct Waiting(*mut StoreData);

// SAFETY: a store that waits has no host data and is the list's alone; stores may move between threads.
unsafe impl Send for Waiting {}

/// How many shelves were closed: threads look through their lists when it has changed.
static CLOSED: AtomicU64 = AtomicU64::new(0);

static FREE_INDICES: Mutex<(usize, Vec<usize>)> = Mutex::new((0, Vec::new()));

impl Shelf {
    pub(crate) fn new(idle_max: usize, bound: Option<Bound>) -> Self {
        let mut free = lock(&FREE_INDICES);
        let index = free.1.pop().unwrap_or_else(|| {
            free.0 += 1;
            free.0 - 1
        });
        Self {
            index,
            closed: AtomicBool::new(false),
            slots: AtomicUsize::new(0),
            idle_max,
            bound,
            waiting: Mutex::default(),
            came_back: Condvar::new(),
            expected: Mutex::default(),
        }
    }

    /// A store that waits, if one does on this thread.
    #[inline]
    pub(crate) fn take(&self) -> Option<*mut StoreData> {
        let lists = thread::here().lists().get();
        if self.bound.is_some() || lists.is_null() {
            return None;
        }
        // SAFETY: a thread's lists live until its end, and only this function and `put` borrow them, for a moment.
        let lists = unsafe { &mut *lists };
        lists.by_shelf.get_mut(self.index)?.pop().map(|waiting| waiting.0)
    }

    /// Takes a place for one more slot, or a store that waits elsewhere.
    ///
    /// # Errors
    /// If there are as many as there may be, and none comes back in time.
    pub(crate) fn take_or_count(&self) -> Result<Option<*mut StoreData>> {
        let Some(Bound { slots, wait }) = self.bound else {
            self.slots.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        };
        let until = wait.and_then(|wait| Instant::now().checked_add(wait));
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(found) = waiting.pop() {
                return Ok(Some(found.0));
            }
            if self.slots.load(Ordering::Relaxed) < slots {
                self.slots.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match left {
                Some(left) if !left.is_zero() => {
                    waiting = self.came_back.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                _ => {
                    return Err(Error::resource(format!(
                        "all {slots} slots of the image are in use; drop an instance, raise ImageConfig::slots_max, or wait longer"
                    )));
                }
            }
        }
    }

    /// A slot is gone, or could not be made.
    pub(crate) fn uncount(&self) {
        let waiting = lock(&self.waiting);
        self.slots.fetch_sub(1, Ordering::Relaxed);
        drop(waiting);
        self.came_back.notify_one();
    }

    /// Slots that exist, in use or waiting.
    pub(crate) fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed)
    }

    /// Puts a store that was reset where it waits; gives it back if it is not wanted.
    #[inline]
    fn put(&self, store: *mut StoreData) -> Result<(), *mut StoreData> {
        if self.bound.is_some() || self.closed.load(Ordering::Relaxed) {
            return self.put_for_all(store);
        }
        let place = thread::here().lists();
        if place.get().is_null() {
            Lists::begin(place);
        }
        let lists = place.get();
        if lists.is_null() {
            return Err(store);
        }
        // SAFETY: as in `take`.
        let lists = unsafe { &mut *lists };
        if lists.by_shelf.len() <= self.index {
            lists.by_shelf.resize_with(self.index + 1, Vec::new);
        }
        let list = &mut lists.by_shelf[self.index];
        if list.len() >= self.idle_max {
            return Err(store);
        }
        list.push(Waiting(store));
        if lists.seen_closed != CLOSED.load(Ordering::Relaxed) {
            sweep(place);
        }
        Ok(())
    }

    #[cold]
    fn put_for_all(&self, store: *mut StoreData) -> Result<(), *mut StoreData> {
        let mut waiting = lock(&self.waiting);
        if self.closed.load(Ordering::SeqCst) {
            return Err(store);
        }
        waiting.push(Waiting(store));
        drop(waiting);
        self.came_back.notify_one();
        Ok(())
    }

    /// Its image is gone: frees what waits on this thread or for all; other threads free theirs when they next put one back,
    /// or end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        CLOSED.fetch_add(1, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().for_each(|waiting| free(waiting.0));
        sweep(thread::here().lists());
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        lock(&FREE_INDICES).1.push(self.index);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stores that wait on a thread, by the index of their shelf.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    by_shelf: Vec<Vec<Waiting>>,
    seen_closed: u64,
}

impl Lists {
    /// Makes a thread's lists, if it is not ending, and sees to it that they end with it.
    #[cold]
    fn begin(place: &Cell<*mut Self>) {
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                let lists = thread::here().lists().replace(std::ptr::null_mut());
                if !lists.is_null() {
                    // SAFETY: `begin` leaked the box, and nobody else has its address any more.
                    let lists = unsafe { Box::from_raw(lists) };
                    lists.by_shelf.into_iter().flatten().for_each(|waiting| free(waiting.0));
                }
            }
        }
        thread_local!(static END: End = const { End });
        if END.try_with(|_| ()).is_ok() {
            place.set(Box::into_raw(Box::default()));
        }
    }
}

/// Frees the stores on a thread's lists whose image is gone.
#[cold]
#[inline(never)]
fn sweep(place: &Cell<*mut Lists>) {
    if place.get().is_null() {
        return;
    }
    // SAFETY: as in `Shelf::take`; freeing happens after the borrow.
    let lists = unsafe { &mut *place.get() };
    lists.seen_closed = CLOSED.load(Ordering::SeqCst);
    let mut closed = Vec::new();
    for list in &mut lists.by_shelf {
        let is_closed = |waiting: &Waiting| {
            // SAFETY: a store on a list is live and a slot.
            let slot = unsafe { (*waiting.0).slot.as_ref() };
            slot.is_some_and(|slot| slot.shelf.closed.load(Ordering::SeqCst))
        };
        if list.first().is_some_and(is_closed) {
            closed.append(list);
        }
    }
    closed.into_iter().for_each(|waiting| free(waiting.0));
}

/// Frees a store without host data.
fn free(store: *mut StoreData) {
    // SAFETY: callers own the store, which is a slot.
    let slot = unsafe { (*store).slot.as_ref() }.expect("a store on a list is a slot");
    let (free, shelf) = (slot.free, slot.shelf.clone());
    // SAFETY: as above; its host data is gone.
    unsafe { free(store) };
    shelf.uncount();
}

/// Ends the life of a store that is a slot, after its host data is gone: puts it back, or frees it.
///
/// # Safety
/// The store is live, a slot, and nobody uses it any more.
#[inline]
pub(crate) unsafe fn end_life(store: *mut StoreData) {
    // SAFETY: said by the caller.
    let data = unsafe { &mut *store };
    let slot = std::ptr::from_mut(&mut **data.slot.as_mut().expect("a store that is a slot"));
    // SAFETY: the slot lies in a box of its own, which is not touched through `data`.
    let slot = unsafe { &mut *slot };
    if !reset(data, slot) || slot.shelf.put(store).is_err() {
        free(store);
    }
}

/// Whether a store has nothing that [`reset`] does not put back.
fn is_plain(data: &StoreData, slot: &Slot) -> bool {
    !slot.single_use
        && !data.is_exposed()
        && !data.armed.is_in_call()
        && (data.instances.len(), data.memories.len(), data.tables.len()) == (1, slot.memories, slot.tables.len())
        && data.shared_memories.is_empty()
        && data.globals.is_empty()
        && data.heap.is_untouched()
        && data.externs.is_untouched()
}

/// Takes a store back to how it was; false if that is not possible.
#[inline]
fn reset(data: &mut StoreData, slot: &mut Slot) -> bool {
    if !is_plain(data, slot) {
        return false;
    }
    data.end_pending();
    if !data.memories.iter().all(|memory| memory.tracking().is_some_and(|tracking| tracking.reset(memory))) {
        return false;
    }
    for (own, (table, elements)) in (0..).zip(data.tables.iter().zip(&slot.tables)) {
        if table.restore(elements) {
            data.instances[0].note_table(own, &mut slot.template);
        }
    }
    data.instances[0].restore(&slot.template);
    if data.host_records.len() > slot.host_records {
        data.host_records.truncate(slot.host_records);
    }
    data.set_usage(slot.memory_bytes, slot.table_elements);
    true
}

/// Gives a store that waits, or a new slot, its new name.
#[inline]
pub(crate) fn begin_life(data: &mut StoreData, fuel: i64) -> StoreId {
    let id = StoreId::next();
    data.id = id;
    data.shared.set_fuel(fuel);
    id
}
