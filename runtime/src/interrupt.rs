//! The part of a store that other threads may touch: its interrupt word and the flag behind it.
//!
//! Interrupting stores the maximum into the stack limit, which guest code compares with its stack
//! pointer anyway, and takes away the page that compiled loops read. Entering guest code stores the limit of the thread and then
//! looks at the flag; interrupting sets the flag and then stores the maximum: whichever comes first, one of the two sees the
//! other. The page is away exactly while the flag is set; both change under one lock.
//!
//! # Safety
//! The cells of the [`VmStore`] are used by the thread that runs the store's guests alone; other
//! threads use the atomic words only.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};

use aura_host_abi::vm::{VmActivation, VmStore, VmTail, VmTypeChunk};

use crate::error::Result;
use crate::thunks;
use crate::vm::poll::Page;

/// A store as machine code and other threads see it.
#[derive(Debug)]
pub(crate) struct StoreShared {
    vm: VmStore,
    interrupted: AtomicBool,
    /// Whether there was a mapping at [`VmStore::fault_address`] and nothing behind it. Only the store's thread uses it.
    cut_off: AtomicBool,
    /// Counts deadlines: a watchdog with an older number is out of date.
    watch: AtomicU64,
    reached: Mutex<Reached>,
}

/// What an interrupt reaches besides the words.
#[derive(Debug, Default)]
struct Reached {
    /// The thread that sleeps in a guest's wait, if one does: an interrupt wakes it.
    asleep: Option<Thread>,
    /// The page of [`VmStore::poll`], once there is one.
    page: Option<Page>,
}

// SAFETY: see the head of this file; cells are used by one thread at a time.
unsafe impl Send for StoreShared {}
// SAFETY: as above; what other threads reach is atomic.
unsafe impl Sync for StoreShared {}

impl StoreShared {
    pub(crate) fn new(types: *const AtomicPtr<VmTypeChunk>) -> Self {
        Self {
            vm: VmStore {
                stack_limit: AtomicUsize::new(0),
                fuel: 0.into(),
                services: thunks::services(),
                poll: std::ptr::null_mut::<u8>().into(),
                depth_left: 0.into(),
                activation: std::ptr::null_mut::<VmActivation>().into(),
                trap: 0.into(),
                padding: 0,
                fault_address: 0.into(),
                tail: VmTail {
                    vmctx: std::ptr::null_mut(),
                    entry: std::ptr::null(),
                    code: std::ptr::null(),
                    args: std::ptr::null_mut(),
                }
                .into(),
                host: std::ptr::null_mut::<()>().into(),
                heap: std::ptr::null_mut::<u8>().into(),
                heap_next: 0.into(),
                heap_limit: 0.into(),
                exception: 0.into(),
                padding2: 0,
                types,
                outermost: VmActivation::new().into(),
            },
            interrupted: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            watch: AtomicU64::new(0),
            reached: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn vm(&self) -> *mut VmStore {
        std::ptr::from_ref(&self.vm).cast_mut()
    }

    /// What the frames of guest code may still cost.
    pub(crate) fn depth_left(&self) -> i64 {
        // SAFETY: the store's thread runs this; see the head of this file.
        unsafe { *self.vm.depth_left.get() }
    }

    pub(crate) fn set_depth_left(&self, left: i64) {
        // SAFETY: as above.
        unsafe { *self.vm.depth_left.get() = left };
    }

    pub(crate) fn set_host(&self, host: *mut ()) {
        // SAFETY: called once, by the thread that makes the store.
        unsafe { *self.vm.host.get() = host };
    }

    /// Sets the stack limit for guest code that is about to run on this thread.
    pub(crate) fn arm(&self, limit: usize) {
        self.vm.stack_limit.store(limit, SeqCst);
        if self.interrupted.load(SeqCst) {
            self.vm.stack_limit.store(usize::MAX, SeqCst);
        }
    }

    pub(crate) fn stack_limit(&self) -> usize {
        self.vm.stack_limit.load(SeqCst)
    }

    /// Gives compiled loops their page, if they have none. Before compiled code of the store runs.
    #[inline]
    pub(crate) fn have_page(&self) -> Result<()> {
        if self.vm.poll.load(Relaxed).is_null() { self.take_page() } else { Ok(()) }
    }

    #[cold]
    fn take_page(&self) -> Result<()> {
        let mut reached = self.lock_reached();
        let page = Page::take()?;
        if self.interrupted.load(SeqCst) {
            page.close();
        }
        self.vm.poll.store(std::ptr::without_provenance_mut(page.address()), SeqCst);
        reached.page = Some(page);
        Ok(())
    }

    pub(crate) fn interrupt(&self) {
        self.interrupt_with(&self.lock_reached());
    }

    fn interrupt_with(&self, reached: &Reached) {
        self.interrupted.store(true, SeqCst);
        self.vm.stack_limit.store(usize::MAX, SeqCst);
        if let Some(page) = &reached.page {
            page.close();
        }
        if let Some(thread) = &reached.asleep {
            thread.unpark();
        }
    }

    /// Runs what may park this thread until [`StoreShared::interrupted`] is true: an interrupt during it unparks.
    pub(crate) fn asleep<R>(&self, sleep: impl FnOnce() -> R) -> R {
        self.lock_reached().asleep = Some(thread::current());
        let result = sleep();
        self.lock_reached().asleep = None;
        result
    }

    fn lock_reached(&self) -> MutexGuard<'_, Reached> {
        self.reached.lock().expect("holders of this lock do not panic")
    }

    /// Forgets an interrupt; the stack limit is set again at the next entry.
    pub(crate) fn withdraw_interrupt(&self) {
        if !self.interrupted.load(SeqCst) {
            return;
        }
        let reached = self.lock_reached();
        self.interrupted.store(false, SeqCst);
        if let Some(page) = &reached.page {
            page.open();
        }
    }

    pub(crate) fn interrupted(&self) -> &AtomicBool {
        &self.interrupted
    }

    /// A number for a new deadline; the ones before are out of date.
    pub(crate) fn next_watch(&self) -> u64 {
        self.watch.fetch_add(1, SeqCst) + 1
    }

    /// After this returns, no deadline set before interrupts.
    pub(crate) fn cancel_watch(&self) {
        let _reached = self.lock_reached();
        self.next_watch();
    }

    /// Interrupts if the deadline with this number still stands.
    pub(crate) fn deadline_passed(&self, watch: u64) {
        let reached = self.lock_reached();
        if self.watch.load(SeqCst) == watch {
            self.interrupt_with(&reached);
        }
    }

    /// The innermost activation of compiled code, or null.
    pub(crate) fn activation(&self) -> *mut VmActivation {
        // SAFETY: the store's thread calls this.
        unsafe { *self.vm.activation.get() }
    }

    /// Makes the outermost activation the innermost one. Before a call, while no other is in progress.
    pub(crate) fn put_outermost(&self) {
        // SAFETY: the store's thread calls this.
        unsafe { *self.vm.activation.get() = self.vm.outermost.get() };
        // SAFETY: as above, and no guest code runs.
        unsafe { (*self.vm.outermost.get()).exit_pc = 0 };
    }

    pub(crate) fn fuel(&self) -> i64 {
        // SAFETY: the store's thread calls this; guest code that uses the word is not running.
        unsafe { *self.vm.fuel.get() }
    }

    pub(crate) fn set_fuel(&self, fuel: i64) {
        // SAFETY: as in `fuel`.
        unsafe { *self.vm.fuel.get() = fuel };
    }

    pub(crate) fn set_trap(&self, code: u32) {
        // SAFETY: as in `fuel`.
        unsafe { *self.vm.trap.get() = code };
    }

    pub(crate) fn take_trap(&self) -> u32 {
        // SAFETY: as in `fuel`.
        unsafe { self.vm.trap.get().replace(0) }
    }

    pub(crate) fn set_cut_off(&self, cut_off: bool) {
        self.cut_off.store(cut_off, SeqCst);
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(SeqCst)
    }

    pub(crate) fn fault_address(&self) -> Option<usize> {
        // SAFETY: as in `fuel`.
        let address = unsafe { *self.vm.fault_address.get() };
        (address != 0).then_some(address)
    }

    /// Forgets the trap and the exception on their way.
    #[inline]
    pub(crate) fn forget_trap(&self) {
        // SAFETY: as in `fuel`.
        unsafe { *self.vm.trap.get() = 0 };
        // SAFETY: as in `fuel`.
        unsafe { *self.vm.fault_address.get() = 0 };
        // SAFETY: as in `fuel`.
        unsafe { *self.vm.exception.get() = 0 };
    }

    pub(crate) fn take_fault_address(&self) -> Option<usize> {
        // SAFETY: as in `fuel`; the signal handler that writes the word has returned.
        let address = unsafe { self.vm.fault_address.get().replace(0) };
        (address != 0).then_some(address)
    }
}

/// Where in the heap compiled code makes young objects.
impl StoreShared {
    pub(crate) fn set_heap(&self, base: *mut u8) {
        self.vm.heap.store(base, SeqCst);
    }

    /// The offset of the next young object, and where the zeroed bytes for such objects end.
    pub(crate) fn young_room(&self) -> (u64, u64) {
        // SAFETY: as in `fuel`.
        let next = unsafe { *self.vm.heap_next.get() };
        // SAFETY: as in `fuel`.
        (next, unsafe { *self.vm.heap_limit.get() })
    }

    pub(crate) fn set_young_room(&self, next: u64, limit: u64) {
        // SAFETY: as in `fuel`.
        unsafe { *self.vm.heap_next.get() = next };
        // SAFETY: as in `fuel`.
        unsafe { *self.vm.heap_limit.get() = limit };
    }
}

impl StoreShared {
    /// The word of the exception on its way.
    pub(crate) fn vm_exception(&self) -> *mut u32 {
        self.vm.exception.get()
    }
}

/// Stops the guests of a store from any thread.
#[derive(Clone, Debug)]
pub struct InterruptHandle {
    shared: Arc<StoreShared>,
}

impl InterruptHandle {
    pub(crate) fn new(shared: Arc<StoreShared>) -> Self {
        Self { shared }
    }

    /// The running call, or else the next one, traps with [`aura_host_abi::TrapCode::Interrupted`] at
    /// its next function entry, loop iteration, piece of a bulk operation, or blocking host call.
    pub fn interrupt(&self) {
        self.shared.interrupt();
    }
}
