//! Waiting and waking by address: what `memory.atomic.wait` and `memory.atomic.notify` are made of.
//!
//! A shared memory has one table of queues, in which the threads of all stores that use it stand.
//! Invariants: the table's lock is held to compare, queue up and leave the queue, never while
//! asleep, so that nothing that ends a store waits for a sleeper. A waiter that a notification
//! counted returns [`Wait::Woken`], whatever else happened meanwhile; one that leaves by itself is
//! counted by none. The first to come is the first to be woken.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::Instant;

/// How a wait ended. The numbers are the operator's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Woken = 0,
    NotEqual = 1,
    TimedOut = 2,
}

/// The waiter's own store was asked to stop.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

#[derive(Debug)]
struct Waiter {
    woken: AtomicBool,
    thread: Thread,
}

type Queues = HashMap<u64, VecDeque<Arc<Waiter>>>;

/// The waiters of one memory, by guest address.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    queues: Mutex<Queues>,
}

impl Parking {
    /// Waits to be woken at `address` if `is_equal` says so now; at most until `until`.
    ///
    /// Whoever makes `is_stopped` true has to unpark this thread.
    pub(crate) fn wait(
        &self,
        address: u64,
        until: Option<Instant>,
        is_equal: impl FnOnce() -> bool,
        is_stopped: impl Fn() -> bool,
    ) -> Result<Wait, Stopped> {
        let Some(waiter) = self.enqueue(address, is_equal) else { return Ok(Wait::NotEqual) };
        loop {
            if waiter.woken.load(Ordering::Acquire) {
                return Ok(Wait::Woken);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let (is_late, is_stopped) = (left.is_some_and(|left| left.is_zero()), is_stopped());
            if is_late || is_stopped {
                return match self.leave(address, &waiter) {
                    false => Ok(Wait::Woken),
                    true if is_stopped => Err(Stopped),
                    true => Ok(Wait::TimedOut),
                };
            }
            match left {
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
    }

    /// Wakes at most `count` waiters of an address, and says how many.
    pub(crate) fn notify(&self, address: u64, count: u32) -> u32 {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(&address) else { return 0 };
        let count = queue.len().min(count as usize);
        for waiter in queue.drain(..count) {
            waiter.woken.store(true, Ordering::Release);
            waiter.thread.unpark();
        }
        if queue.is_empty() {
            queues.remove(&address);
        }
        count as u32
    }

    /// Compares and queues up in one step, which no notification comes between.
    fn enqueue(&self, address: u64, is_equal: impl FnOnce() -> bool) -> Option<Arc<Waiter>> {
        let mut queues = self.lock();
        if !is_equal() {
            return None;
        }
        let waiter = Arc::new(Waiter { woken: AtomicBool::new(false), thread: thread::current() });
        queues.entry(address).or_default().push_back(waiter.clone());
        Some(waiter)
    }

    /// Takes a waiter out of its queue; false if a notification was first.
    fn leave(&self, address: u64, waiter: &Arc<Waiter>) -> bool {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(&address) else { return false };
        let Some(place) = queue.iter().position(|other| Arc::ptr_eq(other, waiter)) else { return false };
        queue.remove(place);
        if queue.is_empty() {
            queues.remove(&address);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().expect("holders of this lock do not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn waiting(parking: &Parking, address: u64) -> usize {
        parking.lock().get(&address).map_or(0, VecDeque::len)
    }

    #[test]
    fn what_is_not_equal_does_not_wait() {
        let parking = Parking::default();
        assert_eq!(parking.wait(0, None, || false, || false), Ok(Wait::NotEqual));
        assert!(parking.lock().is_empty());
    }

    #[test]
    fn a_timeout_ends_a_wait_and_leaves_no_trace() {
        let parking = Parking::default();
        for timeout in [Duration::ZERO, Duration::from_millis(20)] {
            let begun = Instant::now();
            assert_eq!(parking.wait(8, Some(begun + timeout), || true, || false), Ok(Wait::TimedOut));
            assert!(begun.elapsed() >= timeout);
            assert!(parking.lock().is_empty());
        }
        assert_eq!(parking.notify(8, u32::MAX), 0);
    }

    #[test]
    fn the_first_to_come_are_the_first_to_be_woken() {
        let parking = Parking::default();
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for number in 0..4 {
                let (parking, order) = (&parking, &order);
                scope.spawn(move || {
                    assert_eq!(parking.wait(4, None, || true, || false), Ok(Wait::Woken));
                    order.lock().expect("no panic").push(number);
                });
                while waiting(parking, 4) <= number {
                    thread::yield_now();
                }
            }
            assert_eq!(parking.notify(0, u32::MAX), 0);
            for woken in 1..4 {
                assert_eq!(parking.notify(4, 1), 1);
                while order.lock().expect("no panic").len() < woken {
                    thread::yield_now();
                }
            }
            assert_eq!(parking.notify(4, u32::MAX), 1);
        });
        assert_eq!(order.into_inner().expect("no panic"), [0, 1, 2, 3]);
    }

    #[test]
    fn a_stop_ends_a_wait() {
        let (parking, stop) = (Parking::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| parking.wait(4, None, || true, || stop.load(Ordering::SeqCst)));
            while waiting(&parking, 4) == 0 {
                thread::yield_now();
            }
            stop.store(true, Ordering::SeqCst);
            waiter.thread().unpark();
            assert_eq!(waiter.join().expect("no panic"), Err(Stopped));
        });
        assert!(parking.lock().is_empty());
    }
}
