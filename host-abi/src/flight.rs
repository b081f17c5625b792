//! Calls in flight: how taking a grant back waits for what goes through it, at no cost to who calls.
//!
//! The thread that runs a subject's guests marks a capability with the number of the running call (a
//! plain store), a compiler fence follows, and then it reads the capability's state. Whoever revokes
//! stores the state, makes every thread of the process pass a memory barrier (`barrier`), and then
//! reads the mark: a call that read the old state before the barrier has its mark visible after it.
//! So each call either sees that the grant is gone, or is seen and waited for.
//!
//! Invariant: the plain words here are written by one thread at a time, the one that runs the
//! subject's guests; other threads read them and write `Flight::cancel` and the attention flag only.
//! Numbers grow and are odd while a call is in flight, so that one word says both which call is the newest
//! and whether one runs; "the mark is at least the number of the outermost call" never misses a call
//! that is in flight. With host calls inside host calls it may take a finished one for one in flight.
//! All other words are as they are between calls unless `unusual` says so: a call that only passes pays
//! two stores to `newest` and one to its mark.
//!
//! A *lone* call is one that nothing leads from to its store or to a capability, so that no call begins inside it and nobody asks
//! what it did. It needs no number: a word of the capability is odd while one is in flight
//! ([`Capability::begin_lone_call`](crate::Capability::begin_lone_call)).

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, compiler_fence, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What is known of the host calls of one subject (a store).
pub struct Flight {
    /// The number of the newest call; one more, and so even, once no call is in progress.
    newest: AtomicU64,
    /// The number of the outermost call in progress once there is one inside it, else 0.
    outermost: AtomicU64,
    /// What keeps calls from the short way: [`TOUCHED`], [`HEAVY`].
    unusual: AtomicU32,
    /// One more than the slot of the capability that the running call acts on, 0 if it named none.
    acting: AtomicU32,
    /// Whether the running call was denied what it asked for inside a function that was granted.
    denied: AtomicBool,
    /// Bytes that the running call moved.
    bytes: AtomicU64,
    /// Bytes that the running call may move, as far as quotas go; the maximum between calls.
    bytes_left: AtomicU64,
    /// Calls with numbers up to this are to end.
    cancelled: AtomicU64,
    /// Something waits for the subject's thread, such as a grant made by another one.
    attention: AtomicBool,
    /// What the calls around the newest one did so far, the outermost first.
    around: Mutex<Vec<Done>>,
    /// The thread that runs the subject's guests; see [`this_thread`].
    thread: AtomicUsize,
    /// Ends guest code that stands inside a host call that is to end.
    interrupt: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Any of the words of a [`Flight`] below `unusual`, or `outermost`, is not as it is between calls.
const TOUCHED: u32 = 1;
/// Even a call that only passes is more than its mark and its count: something is told of each call, or callers pay for the
/// barrier.
const HEAVY: u32 = 2;

/// A call between [`Flight::begin`] and [`Flight::end`].
#[derive(Debug)]
#[must_use = "a call that began must end"]
pub struct CallInFlight {
    /// Its number.
    pub number: u64,
}

/// What a call did so far.
#[derive(Debug)]
struct Done {
    acting: u32,
    denied: bool,
    bytes: u64,
    bytes_left: u64,
}

impl Done {
    /// What a call that begins has done.
    const NOTHING: Self = Self { acting: 0, denied: false, bytes: 0, bytes_left: u64::MAX };
}

/// What a call did, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The slot of the capability that the call acted on, if its function named one.
    pub slot: Option<u32>,
    /// Whether it was denied.
    pub denied: bool,
    /// Bytes moved between host and guest.
    pub bytes: u64,
}

impl Default for Flight {
    fn default() -> Self {
        barrier::prepare();
        Self {
            newest: AtomicU64::new(0),
            outermost: AtomicU64::new(0),
            unusual: AtomicU32::new(if barrier::callers_pay() { HEAVY } else { 0 }),
            acting: AtomicU32::new(0),
            denied: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            bytes_left: AtomicU64::new(u64::MAX),
            cancelled: AtomicU64::new(0),
            attention: AtomicBool::new(false),
            around: Mutex::default(),
            thread: AtomicUsize::new(0),
            interrupt: OnceLock::new(),
        }
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight")
            .field("newest", &self.newest)
            .field("outermost", &self.outermost)
            .finish_non_exhaustive()
    }
}

impl Flight {
    /// A call begins that there is nothing else to than passing through one capability: its number is in the mark, and
    /// returned. `None` if it is to begin by [`Flight::begin`]: a call is around it, or each is told to somebody.
    #[inline]
    pub(crate) fn begin_plain(&self, mark: &AtomicU64) -> Option<u64> {
        let newest = self.newest.load(Relaxed);
        if newest % 2 == 1 || self.unusual.load(Relaxed) != 0 {
            return None;
        }
        self.newest.store(newest + 1, Release);
        mark.store(newest + 1, Relaxed);
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        Some(newest + 1)
    }

    /// Ends such a call; what it did, if that is more than to pass.
    #[inline]
    pub(crate) fn end_plain(&self, number: u64) -> Option<Outcome> {
        if self.unusual.load(Relaxed) != 0 {
            return Some(self.end_outermost());
        }
        // Nothing began inside it, else `unusual` would say so.
        self.newest.store(number + 1, Release);
        None
    }

    /// Ends the call that no other is around.
    #[cold]
    pub(crate) fn end_outermost(&self) -> Outcome {
        let number = match self.outermost.load(Relaxed) {
            0 => self.newest.load(Relaxed),
            number => number,
        };
        self.end(&CallInFlight { number })
    }

    /// Says whether each call is told to somebody, so that none is passed over.
    pub fn tell_each(&self, told: bool) {
        self.set_unusual(HEAVY, told || barrier::callers_pay());
    }

    /// Whether there is more even to a call that only passes than its count.
    pub(crate) fn tells_each(&self) -> bool {
        self.unusual.load(Relaxed) & HEAVY != 0
    }

    fn set_unusual(&self, what: u32, holds: bool) {
        let others = self.unusual.load(Relaxed) & !what;
        self.unusual.store(if holds { others | what } else { others }, Relaxed);
    }

    /// A call begins, on the subject's thread.
    #[inline]
    pub fn begin(&self) -> CallInFlight {
        let newest = self.newest.load(Relaxed);
        let number = if newest % 2 == 1 { self.begin_inner(newest) } else { newest + 1 };
        self.newest.store(number, Release);
        CallInFlight { number }
    }

    /// Lays aside what the call around did; returns the number of the one inside it.
    #[cold]
    fn begin_inner(&self, newest: u64) -> u64 {
        if self.outermost.load(Relaxed) == 0 {
            self.outermost.store(newest, Relaxed);
        }
        self.set_unusual(TOUCHED, true);
        let around = self.exchange(&Done::NOTHING);
        self.around().push(around);
        newest + 2
    }

    fn around(&self) -> MutexGuard<'_, Vec<Done>> {
        self.around.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what the running call did; returns what it was.
    fn exchange(&self, done: &Done) -> Done {
        let before = Done {
            acting: self.acting.load(Relaxed),
            denied: self.denied.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            bytes_left: self.bytes_left.load(Relaxed),
        };
        self.acting.store(done.acting, Relaxed);
        self.denied.store(done.denied, Relaxed);
        self.bytes.store(done.bytes, Relaxed);
        self.bytes_left.store(done.bytes_left, Relaxed);
        before
    }

    /// The number of the call that began last, or one that is never cancelled if none is in progress.
    #[must_use]
    #[inline]
    pub fn running(&self) -> u64 {
        let newest = self.newest.load(Relaxed);
        if newest.is_multiple_of(2) { u64::MAX } else { newest }
    }

    /// The call ends; says what it did. What it wrote happens before whoever waited for it goes on.
    #[inline]
    pub fn end(&self, call: &CallInFlight) -> Outcome {
        if self.unusual.load(Relaxed) & TOUCHED != 0 {
            return self.end_touched(call);
        }
        // Nothing began inside it, else `unusual` would say so.
        self.newest.store(call.number + 1, Release);
        Outcome { slot: None, denied: false, bytes: 0 }
    }

    #[inline(never)]
    fn end_touched(&self, call: &CallInFlight) -> Outcome {
        let outermost = self.outermost.load(Relaxed);
        let is_inner = outermost != 0 && outermost != call.number;
        let around = if is_inner { self.around().pop() } else { None };
        let done = self.exchange(&around.unwrap_or(Done::NOTHING));
        if !is_inner {
            self.set_unusual(TOUCHED, false);
            // Whoever sees this sees all that the call wrote.
            self.outermost.store(0, Release);
            self.newest.store(self.newest.load(Relaxed) + 1, Release);
        }
        Outcome { slot: done.acting.checked_sub(1), denied: done.denied, bytes: done.bytes }
    }

    /// The running call's number marks what it uses.
    #[inline]
    pub(crate) fn mark(&self, mark: &AtomicU64) {
        mark.store(self.newest.load(Relaxed), Relaxed);
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        if barrier::callers_pay() {
            fence(std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// The running call acts on the capability in this slot; says whether that is new to it.
    pub(crate) fn act_on(&self, slot: u32) -> bool {
        let new = self.acting.load(Relaxed) != slot.wrapping_add(1);
        self.acting.store(slot.wrapping_add(1), Relaxed);
        self.set_unusual(TOUCHED, true);
        new
    }

    /// The running call was denied what it asked for.
    pub fn deny(&self) {
        self.denied.store(true, Relaxed);
        self.set_unusual(TOUCHED, true);
    }

    /// The running call moved bytes between host and guest.
    pub fn moved(&self, bytes: u64) {
        self.bytes.store(self.bytes.load(Relaxed).saturating_add(bytes), Relaxed);
        self.set_unusual(TOUCHED, true);
    }

    /// Bytes that quotas let the running call still move.
    #[must_use]
    pub fn bytes_left(&self) -> u64 {
        self.bytes_left.load(Relaxed).saturating_sub(self.bytes.load(Relaxed))
    }

    /// Sets what quotas let the running call move.
    pub fn set_bytes_left(&self, bytes: u64) {
        self.bytes_left.store(bytes, Relaxed);
        self.set_unusual(TOUCHED, true);
    }

    /// Whether the call with this number is to end because a grant that it goes through was taken back.
    #[must_use]
    pub fn is_cancelled(&self, number: u64) -> bool {
        self.cancelled.load(Relaxed) >= number
    }

    /// Names the thread that runs the subject's guests from now on.
    #[inline]
    pub fn runs_here(&self) {
        self.thread.store(this_thread(), Relaxed);
    }

    /// Says how guest code that stands inside a host call is made to end. Only the first call counts.
    pub fn set_interrupt(&self, interrupt: impl Fn() + Send + Sync + 'static) {
        let _ = self.interrupt.set(Box::new(interrupt));
    }

    /// Asks the subject's thread to look at what waits for it.
    pub fn call_attention(&self) {
        self.attention.store(true, Release);
    }

    /// Whether something waits for the subject's thread. Asking takes the question off.
    #[inline]
    pub fn take_attention(&self) -> bool {
        self.attention.load(Relaxed) && self.attention.swap(false, Acquire)
    }

    /// Whether a call with this mark may still be in flight, as another thread sees it.
    pub(crate) fn has_in_flight(&self, mark: u64) -> bool {
        let newest = self.newest.load(Acquire);
        let outermost = match self.outermost.load(Acquire) {
            0 => newest,
            outermost => outermost,
        };
        newest % 2 == 1 && mark >= outermost
    }

    /// Asks calls up to a mark to end.
    pub(crate) fn cancel(&self, mark: u64) {
        self.cancelled.fetch_max(mark, Relaxed);
    }

    /// Makes guest code inside a host call end, if its store said how.
    pub(crate) fn interrupt(&self) {
        if let Some(interrupt) = self.interrupt.get() {
            interrupt();
        }
    }

    /// Whether the subject's guests run on the calling thread, which cannot wait for itself.
    pub(crate) fn is_here(&self) -> bool {
        self.thread.load(Relaxed) == this_thread()
    }
}

/// A number that no other thread that lives has.
#[inline]
fn this_thread() -> usize {
    thread_local! {
        static PLACE: Cell<u8> = const { Cell::new(0) };
    }
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

/// Barriers on all threads of the process, paid for by the one that asks.
pub(crate) mod barrier {
    use std::sync::Once;
    use std::sync::atomic::Ordering::{Relaxed, SeqCst};
    use std::sync::atomic::{AtomicBool, fence};

    /// Set where the system has no such barrier: then each side pays a fence of its own.
    static CALLERS_PAY: AtomicBool = AtomicBool::new(true);
    static PREPARED: Once = Once::new();

    /// Registers the process. Before it returns nobody may rely on [`all_threads`] alone.
    pub(super) fn prepare() {
        PREPARED.call_once(|| {
            if register() {
                CALLERS_PAY.store(false, SeqCst);
            }
        });
    }

    #[inline]
    pub(super) fn callers_pay() -> bool {
        CALLERS_PAY.load(Relaxed)
    }

    /// After this returns, every thread has passed a full barrier since it was called.
    pub(crate) fn all_threads() {
        fence(SeqCst);
        if !callers_pay() {
            command();
        }
        fence(SeqCst);
    }

    #[cfg(target_os = "linux")]
    fn register() -> bool {
        use rustix::thread::{MembarrierCommand, MembarrierQuery, membarrier, membarrier_query};
        let wanted = MembarrierQuery::PRIVATE_EXPEDITED | MembarrierQuery::REGISTER_PRIVATE_EXPEDITED;
        membarrier_query().contains(wanted) && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
    }

    #[cfg(target_os = "linux")]
    fn command() {
        use rustix::thread::{MembarrierCommand, membarrier};
        membarrier(MembarrierCommand::PrivateExpedited).expect("a registered process may ask for barriers");
    }

    #[cfg(not(target_os = "linux"))]
    fn register() -> bool {
        false
    }

    #[cfg(not(target_os = "linux"))]
    fn command() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_nest_and_say_what_they_did() {
        let flight = Flight::default();
        let outer = flight.begin();
        assert!(flight.act_on(4) && !flight.act_on(4));
        flight.moved(10);
        let inner = flight.begin();
        assert_eq!(inner.number, outer.number + 2);
        flight.moved(1);
        flight.deny();
        assert_eq!(flight.end(&inner), Outcome { slot: None, denied: true, bytes: 1 });
        assert!(flight.has_in_flight(outer.number));
        assert_eq!(flight.end(&outer), Outcome { slot: Some(4), denied: false, bytes: 10 });
        assert!(!flight.has_in_flight(outer.number));
        let next = flight.begin();
        assert!(!flight.has_in_flight(outer.number) && flight.has_in_flight(next.number));
        assert_eq!(flight.end(&next), Outcome { slot: None, denied: false, bytes: 0 });
    }

    #[test]
    fn cancelling_reaches_calls_up_to_the_mark_only() {
        let flight = Flight::default();
        let first = flight.begin();
        flight.cancel(first.number);
        assert!(flight.is_cancelled(first.number) && flight.is_cancelled(flight.running()));
        flight.end(&first);
        assert!(!flight.is_cancelled(flight.running()), "what needs no grant is not cancelled with what did");
        let second = flight.begin();
        assert!(!flight.is_cancelled(second.number));
        flight.end(&second);
    }

    #[test]
    fn threads_are_told_apart() {
        let here = this_thread();
        assert_eq!(here, this_thread());
        assert_ne!(std::thread::spawn(this_thread).join().expect("no panic"), here);
    }
}
