//! The thread that keeps deadlines: one for the process, started with the first deadline.
//!
//! Guest code never reads a clock; it sees its interrupt word change.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, Once, Weak};
use std::time::Instant;

use aura_host_abi::Capability;

use crate::interrupt::StoreShared;

struct Watch {
    deadline: Instant,
    what: Watched,
}

/// What happens when a time has come.
enum Watched {
    /// A store is interrupted, if it still has the deadline of this number.
    Store { number: u64, store: Weak<StoreShared> },
    /// A grant ends.
    Grant(Weak<Capability>),
}

impl PartialEq for Watch {
    fn eq(&self, other: &Self) -> bool {
        self.deadline == other.deadline
    }
}

impl Eq for Watch {}

impl PartialOrd for Watch {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Watch {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.deadline.cmp(&other.deadline)
    }
}

static WATCHES: Mutex<BinaryHeap<Reverse<Watch>>> = Mutex::new(BinaryHeap::new());
static CHANGED: Condvar = Condvar::new();
static STARTED: Once = Once::new();

/// Ends a grant at `until`.
pub(crate) fn watch_grant(until: Instant, grant: &Arc<Capability>) {
    add(Watch { deadline: until, what: Watched::Grant(Arc::downgrade(grant)) });
}

/// Interrupts the store at `deadline`, unless it gets another deadline or is dropped before.
pub(crate) fn watch(deadline: Instant, store: &Arc<StoreShared>) {
    add(Watch { deadline, what: Watched::Store { number: store.next_watch(), store: Arc::downgrade(store) } });
}

fn add(watch: Watch) {
    STARTED.call_once(|| {
        let thread = std::thread::Builder::new().name("aura-watchdog".to_owned());
        thread.spawn(keep_watch).expect("the system can start one thread more");
    });
    WATCHES.lock().expect("the watchdog does not panic").push(Reverse(watch));
    CHANGED.notify_one();
}

impl Watched {
    /// Waits for nobody: other times may have come, too.
    fn happen(self) {
        match self {
            Self::Store { number, store } => {
                if let Some(store) = store.upgrade() {
                    store.deadline_passed(number);
                }
            }
            Self::Grant(grant) => {
                if let Some(grant) = grant.upgrade() {
                    grant.expire();
                }
            }
        }
    }
}

fn keep_watch() {
    let mut watches = WATCHES.lock().expect("nobody panics with this lock held");
    loop {
        let now = Instant::now();
        while let Some(Reverse(first)) = watches.peek()
            && first.deadline <= now
        {
            let Reverse(passed) = watches.pop().expect("just seen");
            passed.what.happen();
        }
        watches = match watches.peek() {
            Some(Reverse(first)) => {
                let wait = first.deadline.saturating_duration_since(now);
                CHANGED.wait_timeout(watches, wait).expect("nobody panics with this lock held").0
            }
            None => CHANGED.wait(watches).expect("nobody panics with this lock held"),
        };
    }
}
