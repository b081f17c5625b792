//! Host functions as tables: what a family of capabilities (WASI, say) gives the runtime.
//!
//! A [`HostFn`] is a row: name, type, the actions of which any one maps it into an instance, what a
//! caller is answered without them, and the body. The body sees the family's context and a
//! [`HostCall`]: its arguments and a bounds-checked view of the caller's memory, never a pointer.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::action::Action;
use crate::flight::Flight;
use crate::memory::{GuestMemory, OutOfBounds};
use crate::trap::TrapCode;
use crate::types::ValType;

/// A host function that exists for a guest only while one of its actions is granted.
#[derive(Debug)]
pub struct HostFn<C: 'static> {
    pub module: &'static str,
    pub name: &'static str,
    pub params: &'static [ValType],
    pub results: &'static [ValType],
    /// Any one of these maps the function in; empty means it reveals nothing and is always there.
    pub actions: &'static [Action],
    /// What the function answers while none of its actions is granted.
    pub denial: Denial,
    pub call: fn(&mut C, &mut HostCall<'_>) -> Result<(), HostError>,
}

/// What stands in the import vector where nothing was granted.
#[derive(Clone, Copy, Debug)]
pub enum Denial {
    /// The first result is this number (an error code); the denial is reported.
    Code(u32),
    /// An answer that every program's start-up code asks for and that tells it nothing, such as "no
    /// arguments"; not reported as a denial.
    Quiet(fn(&mut HostCall<'_>) -> Result<(), HostError>),
    /// The call traps with [`TrapCode::CapabilityDenied`].
    Trap,
}

/// One call of a host function.
#[derive(Debug)]
pub struct HostCall<'a> {
    /// The caller's memory: its export `memory`, or the empty view.
    pub memory: GuestMemory<'a>,
    slots: &'a mut [u64],
    deadline: Option<Instant>,
    interrupted: Option<&'a AtomicBool>,
    /// The calls of the subject, and the number of this one.
    flight: Option<(&'a Flight, u64)>,
}

impl<'a> HostCall<'a> {
    /// Makes a call over its slot array (parameters in, results out).
    #[must_use]
    pub fn new(
        memory: GuestMemory<'a>,
        slots: &'a mut [u64],
        deadline: Option<Instant>,
        interrupted: Option<&'a AtomicBool>,
    ) -> Self {
        Self { memory, slots, deadline, interrupted, flight: None }
    }

    /// Says among which calls in flight this one is.
    #[must_use]
    pub fn in_flight(self, flight: &'a Flight, number: u64) -> Self {
        Self { flight: Some((flight, number)), ..self }
    }

    /// Argument slot `index` as 32 bits.
    #[must_use]
    pub fn u32(&self, index: usize) -> u32 {
        self.slots[index] as u32
    }

    /// Argument slot `index` as 64 bits.
    #[must_use]
    pub fn u64(&self, index: usize) -> u64 {
        self.slots[index]
    }

    /// Sets the first result.
    pub fn set_result(&mut self, value: u64) {
        self.slots[0] = value;
    }

    /// When the call must be over; blocking calls must not wait past it.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the host asked the guest to stop; blocking calls look at it at least every few milliseconds.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.is_some_and(|flag| flag.load(Ordering::Relaxed))
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether this call is to end because a grant that it goes through was taken back; blocking calls look
    /// at it as at [`HostCall::is_interrupted`] and answer as if the grant had never been.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.flight.is_some_and(|(flight, number)| flight.is_cancelled(number))
    }

    /// Counts bytes that this call moved between host and guest for the grant it acts on.
    pub fn moved(&self, bytes: u64) {
        if let Some((flight, _)) = self.flight {
            flight.moved(bytes);
        }
    }

    /// Bytes that this call may still move before a quota is used up.
    #[must_use]
    pub fn bytes_left(&self) -> u64 {
        self.flight.map_or(u64::MAX, |(flight, _)| flight.bytes_left())
    }

    /// Counts this call as denied: it asked for more than the grant it acts on allows.
    pub fn deny(&self) {
        if let Some((flight, _)) = self.flight {
            flight.deny();
        }
    }
}

/// Why a host function did not return to its caller.
#[derive(Debug)]
pub enum HostError {
    /// The program asked to end with this exit code.
    Exit(i32),
    /// The call traps.
    Trap(TrapCode),
    /// The host function failed; the error reaches the embedder.
    Failed(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit with code {code}"),
            Self::Trap(code) => code.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for HostError {}

impl From<OutOfBounds> for HostError {
    fn from(_: OutOfBounds) -> Self {
        Self::Trap(TrapCode::MemoryOutOfBounds)
    }
}
