//! What the engine keeps of a thread, in one place, so that entering guest code looks for it once.
//!
//! # Safety
//! The signal handler reads this: it is initialised without code and has no destructor.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use aura_host_abi::vm::VmStore;

use crate::slot::Lists;
use crate::stack;

/// A thread as the engine knows it.
#[derive(Debug)]
pub(crate) struct ThisThread {
    /// The store whose guest code this thread runs, or null.
    running: Cell<*mut VmStore>,
    /// The lowest address to which guest code may use this thread's stack; the maximum as long as nobody asked.
    lowest: Cell<usize>,
    /// Slots that wait; null until there are some.
    lists: Cell<*mut Lists>,
    /// Numbers of stores that are this thread's to give: the next, and the end.
    ids: Cell<(u64, u64)>,
    /// A number that no other thread has or had; 0 as long as nobody asked.
    number: Cell<u64>,
}

thread_local! {
    static HERE: ThisThread = const {
        ThisThread {
            running: Cell::new(std::ptr::null_mut()),
            lowest: Cell::new(usize::MAX),
            lists: Cell::new(std::ptr::null_mut()),
            ids: Cell::new((0, 0)),
            number: Cell::new(0),
        }
    };
}

/// The store whose guest code this thread runs, or null.
#[inline]
pub(crate) fn running() -> *mut VmStore {
    HERE.with(|here| here.running.get())
}

/// This thread.
#[inline(always)]
pub(crate) fn here() -> &'static ThisThread {
    let here = HERE.with(std::ptr::from_ref);
    // SAFETY: a value without a destructor stays where it is until its thread is gone, and a reference to cells cannot
    // leave the thread.
    unsafe { &*here }
}

impl ThisThread {
    /// A number that no other thread of the process has or had; 0 as long as nobody asked [`ThisThread::number`].
    #[inline(always)]
    pub(crate) fn known_number(&self) -> u64 {
        self.number.get()
    }

    /// A number that no other thread of the process has or had.
    pub(crate) fn number(&self) -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        if self.number.get() == 0 {
            self.number.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        }
        self.number.get()
    }

    /// The lowest address to which guest code may use this thread's stack.
    pub(crate) fn lowest_usable(&self) -> usize {
        if self.lowest.get() == usize::MAX {
            self.lowest.set(stack::find_lowest_usable());
        }
        self.lowest.get()
    }

    /// Where this thread's slots wait.
    #[inline(always)]
    pub(crate) fn lists(&self) -> &Cell<*mut Lists> {
        &self.lists
    }

    /// The numbers of stores that this thread gives next.
    #[inline(always)]
    pub(crate) fn ids(&self) -> &Cell<(u64, u64)> {
        &self.ids
    }

    /// Whether no guest code runs on this thread, not even of another store.
    #[inline(always)]
    pub(crate) fn is_idle(&self) -> bool {
        self.running.get().is_null()
    }

    /// As [`ThisThread::run`] where the thread is idle. What is put back afterwards is no word that was read before: calls in a
    /// row need not wait for each other's.
    #[inline(always)]
    pub(crate) fn run_first<R>(&self, store: *mut VmStore, body: impl FnOnce() -> R) -> R {
        debug_assert!(self.is_idle());
        self.running.set(store);
        let _running = Running { before: std::ptr::null_mut(), on: self };
        body()
    }

    /// Runs `body` as guest code of a store.
    #[inline(always)]
    pub(crate) fn run<R>(&self, store: *mut VmStore, body: impl FnOnce() -> R) -> R {
        let _running = Running { before: self.running.replace(store), on: self };
        body()
    }
}

/// Guest code of a store that runs on this thread, until dropped.
struct Running<'a> {
    before: *mut VmStore,
    on: &'a ThisThread,
}

impl Drop for Running<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.on.running.set(self.before);
    }
}
