//! The slot that a grant is.
//!
//! A grant is a point with three coordinates: *subject* (a store or an instance, kept by the
//! runtime), [`Action`](crate::Action) and [`Resource`](crate::Resource). Granting makes a
//! [`Capability`]; every use re-reads its state, so revoking is one store that covers function
//! references the guest kept, tables it filled, handles opened through it, and what was narrowed
//! from it for others. [`crate::flight`] has the protocol by which no use slips through.
//!
//! Invariant: rights only shrink. A capability is used by the subject that it was made for alone, so
//! that its counters are plain words; another subject gets a capability derived from it, which
//! charges the quotas of all it came from and ends with them.

use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, compiler_fence};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::action::Usage;
use crate::flight::{Flight, Outcome, barrier};
use crate::spec::{GrantSpec, GrantSpecError};

/// Bounds on what is done through a grant. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How often it may be used.
    pub calls: Option<u64>,
    /// How many bytes may be moved through it.
    pub bytes: Option<u64>,
    /// When it is taken back.
    pub until: Option<Instant>,
}

impl Terms {
    /// The tighter of both in each respect.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            a.into_iter().chain(b).min()
        }
        Self {
            calls: least(self.calls, other.calls),
            bytes: least(self.bytes, other.bytes),
            until: least(self.until, other.until),
        }
    }

    fn is_quota(&self) -> bool {
        self.calls.is_some() || self.bytes.is_some()
    }
}

/// What is left of a quota; shared with everything derived from the grant that has it.
#[derive(Debug)]
struct Quota {
    calls_left: AtomicU64,
    bytes_left: AtomicU64,
}

impl Quota {
    fn new(terms: &Terms) -> Self {
        Self {
            calls_left: AtomicU64::new(terms.calls.unwrap_or(u64::MAX)),
            bytes_left: AtomicU64::new(terms.bytes.unwrap_or(u64::MAX)),
        }
    }

    /// Takes one call; false if none is left, or no byte.
    fn take_call(&self) -> bool {
        let take = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        self.bytes_left.load(Relaxed) > 0 && self.calls_left.fetch_update(AcqRel, Relaxed, take).is_ok()
    }

    fn take_bytes(&self, bytes: u64) {
        let take = |left: u64| (left != u64::MAX).then(|| left.saturating_sub(bytes));
        let _ = self.bytes_left.fetch_update(AcqRel, Relaxed, take);
    }
}

/// A grant stands.
const LIVE: u32 = 1;
/// It stands, and there is no more to a use than its count: the use is calling a function, no quota is charged, and nobody is
/// told of each.
const PLAIN: u32 = 5;
/// It was taken back.
const REVOKED: u32 = 2;
/// Its time is over.
const EXPIRED: u32 = 3;
/// Its quota is used up.
const SPENT: u32 = 4;

fn stands(state: u32) -> bool {
    matches!(state, LIVE | PLAIN)
}

/// A call in flight through a capability that there is no more to than its count. It ends when this is dropped, also by
/// a panic; [`PlainCall::end`] counts it.
#[derive(Debug)]
#[must_use = "a call that began must end"]
pub struct PlainCall<'a> {
    capability: &'a Capability,
    number: u64,
}

impl PlainCall<'_> {
    /// Ends and counts the call; what it did if that was more than to pass, to be counted by the caller.
    #[inline]
    #[must_use]
    pub fn end(self) -> Option<Outcome> {
        let Self { capability, number } = *std::mem::ManuallyDrop::new(self);
        let outcome = capability.flight.end_plain(number);
        if outcome.is_none() {
            // Plain words: one thread writes them.
            capability.uses.store(capability.uses.load(Relaxed) + 1, Relaxed);
        }
        outcome
    }
}

impl Drop for PlainCall<'_> {
    fn drop(&mut self) {
        self.capability.flight.end_outermost();
    }
}

/// A lone call in flight; see [`crate::flight`]. It ends when this is dropped, also by a panic; [`LoneCall::end`] counts it.
#[derive(Debug)]
#[must_use = "a call that began must end"]
pub struct LoneCall<'a> {
    capability: &'a Capability,
    /// [`Capability::lone`] before it.
    before: u64,
}

impl LoneCall<'_> {
    /// Ends and counts the call.
    #[inline]
    pub fn end(self) {
        let Self { capability, before } = *std::mem::ManuallyDrop::new(self);
        capability.lone.store(before + 2, Release);
    }
}

impl Drop for LoneCall<'_> {
    #[cold]
    fn drop(&mut self) {
        // Never the same number twice, so that whoever waits for this call never takes the next for it.
        let uncounted = &self.capability.lone_uncounted;
        uncounted.store(uncounted.load(Relaxed) + 1, Relaxed);
        self.capability.lone.store(self.before + 2, Release);
    }
}

/// Whether a grant stands, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    Live,
    Revoked,
    Expired,
    Spent,
}

/// How long [`Capability::revoke`] waits before it asks calls in flight to end.
const PATIENCE: Duration = Duration::from_micros(20);
/// How long it waits until guest code that stands inside such a call is interrupted.
const INTERRUPT_AFTER: Duration = Duration::from_millis(20);
/// The slot of a capability that no store keeps.
const NO_SLOT: u32 = u32::MAX - 1;

/// The slot of one grant. Shared by the grant's handle, the import vector and everything derived from it.
#[derive(Debug)]
pub struct Capability {
    state: AtomicU32,
    slot: u32,
    /// Calling a function that it opens is the use.
    direct: bool,
    /// The number of the call that used it last; see [`crate::flight`].
    mark: AtomicU64,
    /// Twice the number of lone calls that ended; odd while one is in flight.
    lone: AtomicU64,
    /// Lone calls that ended and were no use.
    lone_uncounted: AtomicU64,
    /// Uses besides lone calls.
    uses: AtomicU64,
    denials: AtomicU64,
    bytes: AtomicU64,
    flight: Arc<Flight>,
    /// Its own quota and those of what it was derived from; mostly none.
    quotas: Box<[Arc<Quota>]>,
    spec: GrantSpec,
    terms: Terms,
    parent: Option<Arc<Self>>,
    derived: Mutex<Vec<Weak<Self>>>,
    /// What is taken away by hand when the grant ends.
    held: Mutex<Vec<Weak<dyn Withdraw>>>,
}

/// Something that a grant gave and that no check at its use takes away: it has to be taken away by hand, such as a mapping.
pub trait Withdraw: fmt::Debug + Send + Sync {
    /// Takes it away. On any thread, before whoever ends the grant goes on; to be called more than once.
    fn withdraw(&self);
}

impl Capability {
    /// A live capability of no store. Those of a guest are made by its store, which alone can tell
    /// whether a call through them is in flight.
    #[must_use]
    pub fn new(spec: GrantSpec) -> Self {
        Self::make(spec, Terms::default(), Arc::default(), NO_SLOT, None)
    }

    /// A live capability for the subject whose calls `flight` knows.
    #[must_use]
    pub fn for_subject(spec: GrantSpec, terms: Terms, flight: Arc<Flight>, slot: u32) -> Self {
        Self::make(spec, terms, flight, slot, None)
    }

    fn make(spec: GrantSpec, terms: Terms, flight: Arc<Flight>, slot: u32, parent: Option<Arc<Self>>) -> Self {
        let inherited = parent.iter().flat_map(|parent| parent.quotas.iter().cloned());
        let own = terms.is_quota().then(|| Arc::new(Quota::new(&terms)));
        let direct = spec.action.usage() == Usage::Direct;
        let quotas: Box<[_]> = own.into_iter().chain(inherited).collect();
        Self {
            state: AtomicU32::new(if direct && quotas.is_empty() && !flight.tells_each() { PLAIN } else { LIVE }),
            slot,
            direct,
            mark: AtomicU64::new(0),
            lone: AtomicU64::new(0),
            lone_uncounted: AtomicU64::new(0),
            uses: AtomicU64::new(0),
            denials: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            flight,
            quotas,
            spec,
            terms,
            parent,
            derived: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// Derives a capability of no store with fewer rights, or tighter terms, which [`Capability::derive_for`] gives a subject.
    ///
    /// # Errors
    /// If `spec` is not within this one, or this one does not stand.
    pub fn narrow(self: &Arc<Self>, spec: &GrantSpec, terms: Terms) -> Result<Arc<Self>, GrantSpecError> {
        let spec = self.spec.narrowed(spec)?;
        Ok(self.derive(spec, terms, Arc::default(), NO_SLOT))
    }

    /// Derives a capability with the same rights for another subject.
    #[must_use]
    pub fn derive_for(self: &Arc<Self>, flight: Arc<Flight>, slot: u32) -> Arc<Self> {
        self.derive(self.spec.clone(), Terms::default(), flight, slot)
    }

    /// What is derived from a grant that was taken back is taken back.
    fn derive(self: &Arc<Self>, spec: GrantSpec, terms: Terms, flight: Arc<Flight>, slot: u32) -> Arc<Self> {
        // What only the clock bounds needs no words of its own; quotas are those of the chain.
        let inherited = Terms { until: self.terms.until, ..Terms::default() };
        let made = Arc::new(Self::make(spec, terms.tighter(inherited), flight, slot, Some(self.clone())));
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: whoever revokes stores the state first and then looks at the list.
        let state = self.state.load(Acquire);
        if !stands(state) {
            made.state.store(state, Release);
        }
        derived.retain(|known| known.strong_count() > 0);
        derived.push(Arc::downgrade(&made));
        drop(derived);
        made
    }

    /// What was granted.
    #[must_use]
    pub fn spec(&self) -> &GrantSpec {
        &self.spec
    }

    /// The bounds it was granted with.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Its index among the grants of its store, if a store keeps it.
    #[must_use]
    pub fn slot(&self) -> Option<u32> {
        (self.slot != NO_SLOT).then_some(self.slot)
    }

    /// What it was narrowed from.
    #[must_use]
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Whether the grant stands, for lookers-on; a use asks [`Capability::is_live`].
    #[must_use]
    pub fn state(&self) -> GrantState {
        match self.state.load(Acquire) {
            LIVE | PLAIN => GrantState::Live,
            EXPIRED => GrantState::Expired,
            SPENT => GrantState::Spent,
            _ => GrantState::Revoked,
        }
    }

    /// Marks the capability as in use by the running call and re-reads whether it stands. For the
    /// thread that runs the subject's guests only; whoever revokes waits for the call to end.
    #[inline]
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.flight.mark(&self.mark);
        stands(self.state.load(Acquire))
    }

    /// Begins a call of a function that this opens, where there is no more to it than mark, state and count, and the
    /// grant stands. `None` if it takes the long way.
    #[inline]
    #[must_use]
    pub fn begin_plain_call(&self) -> Option<PlainCall<'_>> {
        let number = self.flight.begin_plain(&self.mark)?;
        // From here on the call ends, whatever comes.
        let call = PlainCall { capability: self, number };
        (self.state.load(Acquire) == PLAIN).then_some(call)
    }

    /// As [`Capability::begin_plain_call`], for a call that nothing leads from to the store of the subject or to a
    /// capability.
    #[inline]
    #[must_use]
    pub fn begin_lone_call(&self) -> Option<LoneCall<'_>> {
        let before = self.lone.load(Relaxed);
        self.lone.store(before + 1, Relaxed);
        // As `Flight::mark`. Where callers pay for the barrier, no state is plain.
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        let call = LoneCall { capability: self, before };
        (self.state.load(Acquire) == PLAIN).then_some(call)
    }

    /// Says whether each use is told to somebody, as the subject's [`Flight::tell_each`] was told.
    pub fn tell_each(&self) {
        let (from, to) = if self.flight.tells_each() { (PLAIN, LIVE) } else { (LIVE, PLAIN) };
        if self.direct && self.quotas.is_empty() {
            let _ = self.state.compare_exchange(from, to, AcqRel, Relaxed);
        }
    }

    /// As [`Capability::is_live`]; from here on the running call counts as a use of this capability
    /// rather than of the one that let it in, and its quota is charged. False, too, if that is used up.
    #[must_use]
    pub fn act(&self) -> bool {
        if !self.is_live() {
            self.flight.act_on(self.slot);
            return false;
        }
        !self.flight.act_on(self.slot) || self.charge_call()
    }

    /// Whether calling a function that it opens is the use, rather than what the function's body acts on.
    #[inline]
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Takes a call of the quotas; where one is used up, the grant is spent.
    #[inline]
    #[must_use]
    pub fn charge_call(&self) -> bool {
        self.quotas.is_empty() || self.charge_quotas()
    }

    #[cold]
    fn charge_quotas(&self) -> bool {
        let charged = self.quotas.iter().all(|quota| quota.take_call());
        if !charged {
            let _ = self.state.compare_exchange(LIVE, SPENT, AcqRel, Relaxed);
        }
        let left = self.quotas.iter().map(|quota| quota.bytes_left.load(Relaxed)).min();
        self.flight.set_bytes_left(left.unwrap_or(u64::MAX));
        charged
    }

    /// Counts what a call through this capability did.
    #[inline]
    pub fn count(&self, denied: bool, bytes: u64) {
        let counter = if denied { &self.denials } else { &self.uses };
        // Plain words: one thread writes them.
        counter.store(counter.load(Relaxed) + 1, Relaxed);
        if bytes > 0 {
            self.bytes.store(self.bytes.load(Relaxed) + bytes, Relaxed);
            self.quotas.iter().for_each(|quota| quota.take_bytes(bytes));
        }
    }

    /// Takes the grant back, with all that was narrowed from it. After this returns no further use
    /// succeeds: calls that were in flight through it on other threads have ended. Blocking host
    /// calls are asked to end; a host function that does neither end nor ask
    /// ([`crate::HostCall::is_cancelled`]) holds this up: see [`Capability::revoke_within`].
    pub fn revoke(&self) {
        self.end(REVOKED, None);
    }

    /// As [`Capability::revoke`], but waits no longer than this for calls in flight; false if one did not end.
    #[must_use]
    pub fn revoke_within(&self, limit: Duration) -> bool {
        self.end(REVOKED, Instant::now().checked_add(limit))
    }

    /// Takes the grant back because its time is over, without waiting for calls in flight, which are asked to end.
    pub fn expire(&self) {
        self.end(EXPIRED, Some(Instant::now()));
    }

    fn end(&self, state: u32, limit: Option<Instant>) -> bool {
        let mut ended = Vec::new();
        self.set_state(state, &mut ended);
        ended.iter().for_each(|derived| derived.withdraw_held());
        self.withdraw_held();
        barrier::all_threads();
        let derived = ended.iter().all(|derived: &Arc<Self>| derived.settle(limit));
        self.settle(limit) && derived
    }

    /// Has something withdrawn when the grant ends, for as long as somebody else keeps it. Look at the state
    /// afterwards: a grant that ended before withdraws nothing any more.
    pub fn hold(&self, held: Weak<dyn Withdraw>) {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(held);
    }

    fn withdraw_held(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        held.iter().filter_map(Weak::upgrade).for_each(|held| held.withdraw());
    }

    /// Stores the state here and in everything derived. O(subjects that were given a part), not handles.
    fn set_state(&self, state: u32, ended: &mut Vec<Arc<Self>>) {
        self.state.store(state, Release);
        let derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        for derived in derived.iter().filter_map(Weak::upgrade) {
            derived.set_state(state, ended);
            ended.push(derived);
        }
    }

    /// Waits until no call that may have seen the grant stand is in flight.
    fn settle(&self, limit: Option<Instant>) -> bool {
        let (mark, lone) = (self.mark.load(Relaxed), self.lone.load(Acquire));
        let has_ended = || !self.flight.has_in_flight(mark) && !self.has_lone_in_flight(lone);
        self.flight.is_here() || has_ended() || self.wait(mark, limit, has_ended)
    }

    /// Whether the lone call that made the word this number may still be in flight, as another thread sees it.
    fn has_lone_in_flight(&self, lone: u64) -> bool {
        lone % 2 == 1 && self.lone.load(Acquire) == lone
    }

    #[cold]
    fn wait(&self, mark: u64, limit: Option<Instant>, has_ended: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        let mut interrupted = false;
        while !has_ended() {
            let waited = start.elapsed();
            if waited > PATIENCE {
                self.flight.cancel(mark);
            }
            if limit.is_some_and(|limit| Instant::now() >= limit) {
                self.flight.cancel(mark);
                return false;
            }
            // No guest code stands inside a lone call.
            if waited > INTERRUPT_AFTER && !interrupted && self.flight.has_in_flight(mark) {
                self.flight.interrupt();
                interrupted = true;
            }
            if waited > PATIENCE { std::thread::sleep(PATIENCE) } else { std::hint::spin_loop() }
        }
        true
    }

    /// How often the capability was used.
    #[must_use]
    pub fn uses(&self) -> u64 {
        let lone = (self.lone.load(Relaxed) / 2).saturating_sub(self.lone_uncounted.load(Relaxed));
        self.uses.load(Relaxed) + lone
    }

    /// How often its use was denied: after it was taken back or spent, or because it does not reach so far.
    #[must_use]
    pub fn denials(&self) -> u64 {
        self.denials.load(Relaxed)
    }

    /// Bytes moved through it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;

    fn capability(text: &str, terms: Terms) -> Arc<Capability> {
        Arc::new(Capability::for_subject(text.parse().expect(text), terms, Arc::default(), 0))
    }

    #[test]
    fn a_revoked_capability_stays_revoked() {
        let capability = Capability::new(GrantSpec::of(Action::Clock));
        assert!(capability.is_live() && capability.act());
        capability.revoke();
        assert!(!capability.is_live() && !capability.act());
        assert_eq!(capability.state(), GrantState::Revoked);
    }

    #[test]
    fn what_is_derived_ends_with_what_it_came_from() {
        let root = capability("fs.write=/a", Terms::default());
        let narrow = root.narrow(&"fs.read=/a/b".parse().expect("a grant"), Terms::default()).expect("within");
        let given = narrow.derive_for(Arc::default(), 3);
        assert!(root.narrow(&"fs.read=/".parse().expect("a grant"), Terms::default()).is_err());
        assert!(narrow.narrow(&"fs.write=/a/b".parse().expect("a grant"), Terms::default()).is_err());
        narrow.revoke();
        assert!(root.is_live() && !narrow.is_live() && !given.is_live());
        assert!(!narrow.derive_for(Arc::default(), 4).is_live(), "what is derived too late is born dead");
        root.revoke();
        assert!(!root.is_live());
    }

    #[test]
    fn quotas_are_exact_and_shared_with_what_is_derived() {
        let root = capability("call:f", Terms { calls: Some(3), ..Terms::default() });
        let child = root.narrow(root.spec(), Terms { calls: Some(2), ..Terms::default() }).expect("within");
        let given = child.derive_for(Arc::default(), 0);
        let other = root.derive_for(Arc::default(), 0);
        assert!(given.charge_call() && given.charge_call() && !given.charge_call());
        assert_eq!((given.state(), root.state()), (GrantState::Spent, GrantState::Live));
        assert!(!given.is_live());
        // One call of three is left, for whoever comes first; the third try of `given` took none of its own.
        assert!(!(other.charge_call() && root.charge_call()));
    }

    #[test]
    fn bytes_end_a_grant_too() {
        let root = capability("random", Terms { bytes: Some(10), ..Terms::default() });
        assert!(root.charge_call());
        assert_eq!(root.flight.bytes_left(), 10);
        root.count(false, 10);
        assert!(!root.charge_call() && root.state() == GrantState::Spent);
        assert_eq!((root.uses(), root.bytes()), (1, 10));
    }

    #[test]
    fn terms_only_tighten() {
        let now = Instant::now();
        let a = Terms { calls: Some(3), bytes: None, until: Some(now) };
        let b = Terms { calls: Some(5), bytes: Some(1), until: None };
        assert_eq!(a.tighter(b), Terms { calls: Some(3), bytes: Some(1), until: Some(now) });
    }

    #[test]
    fn lone_calls_count_themselves() {
        let capability = capability("call:f", Terms::default());
        for _ in 0..3 {
            capability.begin_lone_call().expect("it stands").end();
        }
        drop(capability.begin_lone_call().expect("it stands"));
        assert_eq!(capability.uses(), 3, "what ended by a panic is no use");
        capability.flight.tell_each(true);
        capability.tell_each();
        assert!(capability.begin_lone_call().is_none() && capability.is_live(), "somebody is told of each use");
        capability.flight.tell_each(false);
        capability.tell_each();
        assert!(capability.begin_lone_call().is_some());
        capability.revoke();
        capability.tell_each();
        assert!(capability.begin_lone_call().is_none());
        assert_eq!(capability.uses(), 3);
    }

    #[test]
    fn revoking_waits_for_a_lone_call_in_flight() {
        let held = capability("call:f", Terms::default());
        let (began, done) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (held, ended) = (held.clone(), ended.clone());
            move || {
                let call = held.begin_lone_call().expect("it stands");
                began.0.send(()).expect("the test listens");
                done.1.recv().expect("the test answers");
                ended.store(true, std::sync::atomic::Ordering::SeqCst);
                call.end();
                // Later ones are never taken for it, though each makes the word odd.
                (0..1000).filter(|_| held.begin_lone_call().is_some()).count()
            }
        });
        began.1.recv().expect("the call begins");
        assert!(!held.revoke_within(Duration::from_millis(1)), "the call does not end yet");
        done.0.send(()).expect("the call listens");
        held.revoke();
        assert!(ended.load(std::sync::atomic::Ordering::SeqCst));
        assert_eq!((thread.join().expect("no panic"), held.uses()), (0, 1));
    }

    #[test]
    fn revoking_waits_for_a_call_in_flight_and_not_for_others() {
        let held = capability("random", Terms::default());
        let free =
            Arc::new(Capability::for_subject(GrantSpec::of(Action::Args), Terms::default(), held.flight.clone(), 1));
        let (began, done) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (held, ended) = (held.clone(), ended.clone());
            move || {
                held.flight.runs_here();
                let call = held.flight.begin();
                assert!(held.is_live());
                began.0.send(()).expect("the test listens");
                done.1.recv().expect("the test answers");
                while !held.flight.is_cancelled(call.number) {
                    std::thread::yield_now();
                }
                ended.store(true, std::sync::atomic::Ordering::SeqCst);
                held.flight.end(&call);
            }
        });
        began.1.recv().expect("the call begins");
        free.revoke();
        assert!(!held.revoke_within(Duration::from_millis(1)), "the call does not end yet");
        done.0.send(()).expect("the call listens");
        held.revoke();
        assert!(ended.load(std::sync::atomic::Ordering::SeqCst));
        thread.join().expect("no panic");
    }
}
