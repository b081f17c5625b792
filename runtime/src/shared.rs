//! `SharedMemory`: a linear memory that instances of several stores use, on several threads.
//!
//! # Safety
//! Trusts: the record of the memory is made for sharing ([`LinearMemory`] says what that means). Gives:
//! a store keeps each shared memory that an instance of it can reach, so that the memory outlives the
//! instances. Bytes are copied in and out; no method hands out a reference to them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use aura_host_abi::vm::VmMemory;
use aura_host_abi::{GuestMemory, MemoryType, TrapCode};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::vm::memory::LinearMemory;
use crate::vm::parking::Wait;

/// A linear memory that instances of several stores of one engine use, on any threads.
///
/// Cheap to clone; the memory lives as long as a clone or a store that uses it. All methods may be
/// called while guests run: what they read may be half of what a guest is writing, unless guest and
/// host agree on an order by atomic operations.
///
/// ```
/// # use aura_runtime::*;
/// # fn main() -> Result<()> {
/// let engine = Engine::new(Config::new().features(Features::default().with("threads", true).expect("known")))?;
/// let limits = Limits64 { min: 1, max: Some(4) };
/// let memory =
///     SharedMemory::new(&engine, MemoryType { limits, memory64: false, shared: true, page_size_log2: 16 })?;
/// let module = Module::new(&engine, r#"(module (import "" "" (memory 1 4 shared))
///     (func (export "add") (result i32) (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))"#)?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             let mut store = Store::new(&engine, ());
///             let instance = Instance::new(&mut store, &module, &[memory.clone().into()])?;
///             instance.get_typed_func::<(), i32>(&store, "add")?.call(&mut store, ())
///         });
///     }
/// });
/// let mut count = [0; 4];
/// memory.read(0, &mut count)?;
/// assert_eq!(u32::from_le_bytes(count), 4);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SharedMemory {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    memory: Box<LinearMemory>,
}

/// How a wait of the host on a shared memory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// A notification woke it.
    Ok,
    /// The value was not the expected one.
    Mismatch,
    /// Nobody woke it in time.
    TimedOut,
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedMemory").field(&self.inner.memory).finish()
    }
}

impl SharedMemory {
    /// Makes a memory. The address space of its maximum is reserved at once; pages become resident when they are touched.
    ///
    /// # Errors
    /// If the type is not that of a shared memory with a maximum, the engine's features have no
    /// threads, or the system has no room.
    pub fn new(engine: &Engine, ty: MemoryType) -> Result<Self> {
        Self::make(engine, ty, u64::MAX)
    }

    /// As [`SharedMemory::new`], bounded at the start by a store's limit.
    pub(crate) fn make(engine: &Engine, ty: MemoryType, limit_bytes: u64) -> Result<Self> {
        if !engine.config().features.has("threads") {
            return Err(Error::usage("shared memories are off; switch the feature `threads` on"));
        }
        if !ty.shared || ty.limits.max.is_none() || !matches!(ty.page_size_log2, 0 | 16) {
            return Err(Error::usage(
                "a shared memory needs a type that is shared, has a maximum, and pages of 1 or 65536 bytes",
            ));
        }
        let memory = LinearMemory::new(engine.reservations(), ty, limit_bytes)
            .map_err(|error| Error::resource(error.to_string()))?;
        Ok(Self { inner: Arc::new(Inner { engine: engine.clone(), memory }) })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn record(&self) -> &LinearMemory {
        &self.inner.memory
    }

    pub(crate) fn vm(&self) -> *mut VmMemory {
        self.inner.memory.vm()
    }

    /// Whether both are the same memory.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The type; its minimum is the size now.
    #[must_use]
    pub fn ty(&self) -> MemoryType {
        let mut ty = *self.inner.memory.ty();
        ty.limits.min = self.size();
        ty
    }

    /// The size in pages now; it never falls.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.memory.size_pages()
    }

    /// The size in bytes now; it never falls.
    #[must_use]
    pub fn data_size(&self) -> usize {
        self.inner.memory.byte_len() as usize
    }

    /// Grows the memory and returns the old size in pages. No store's limits are asked.
    ///
    /// # Errors
    /// If the maximum or the system forbids it.
    pub fn grow(&self, delta_pages: u64) -> Result<u64> {
        let grown = self.inner.memory.grow(delta_pages, |_, _| true);
        grown.ok_or_else(|| Error::resource(format!("the memory cannot grow by {delta_pages} pages")))
    }

    /// Copies bytes out, each of them atomically.
    ///
    /// # Errors
    /// If the range is out of bounds.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.view().read(offset as u64, into).map_err(|error| Error::usage(error.to_string()))
    }

    /// Copies bytes in, each of them atomically.
    ///
    /// # Errors
    /// If the range is out of bounds.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        self.view().write(offset as u64, from).map_err(|error| Error::usage(error.to_string()))
    }

    /// `memory.atomic.notify`: wakes at most `count` threads that wait at an address, and says how many.
    ///
    /// # Errors
    /// If the address is out of bounds or no multiple of four.
    pub fn atomic_notify(&self, address: u64, count: u32) -> Result<u32> {
        self.word(address, 4)?;
        Ok(self.inner.memory.sharing().map_or(0, |sharing| sharing.parking.notify(address, count)))
    }

    /// `memory.atomic.wait32`: waits to be notified if the value at an address is `expected`, at most
    /// for `timeout`. No deadline or interrupt of a store ends it.
    ///
    /// # Errors
    /// If the address is out of bounds or no multiple of four.
    pub fn atomic_wait32(&self, address: u64, expected: u32, timeout: Option<Duration>) -> Result<WaitResult> {
        let at = self.word(address, 4)?;
        // SAFETY: `word` put an aligned word inside the memory, which lives as long as `self` and never shrinks.
        let cell = unsafe { AtomicU32::from_ptr(at.cast()) };
        Ok(self.wait(address, timeout, || u32::from_le(cell.load(SeqCst)) == expected))
    }

    /// `memory.atomic.wait64`; see [`SharedMemory::atomic_wait32`].
    ///
    /// # Errors
    /// If the address is out of bounds or no multiple of eight.
    pub fn atomic_wait64(&self, address: u64, expected: u64, timeout: Option<Duration>) -> Result<WaitResult> {
        let at = self.word(address, 8)?;
        // SAFETY: as in `atomic_wait32`.
        let cell = unsafe { AtomicU64::from_ptr(at.cast()) };
        Ok(self.wait(address, timeout, || u64::from_le(cell.load(SeqCst)) == expected))
    }

    fn wait(&self, address: u64, timeout: Option<Duration>, is_equal: impl FnOnce() -> bool) -> WaitResult {
        let sharing = self.inner.memory.sharing().expect("the memory was made for sharing");
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        match sharing.parking.wait(address, until, is_equal, || false).expect("nothing stops this wait") {
            Wait::Woken => WaitResult::Ok,
            Wait::NotEqual => WaitResult::Mismatch,
            Wait::TimedOut => WaitResult::TimedOut,
        }
    }

    fn word(&self, address: u64, size: u64) -> Result<*mut u8> {
        self.inner.memory.atomic_word(address, 0, size).map_err(|code| match code {
            TrapCode::UnalignedAtomic => Error::usage(format!("{address:#x} is no multiple of {size}")),
            _ => Error::usage(format!("{address:#x} is outside the memory")),
        })
    }

    fn view(&self) -> GuestMemory<'_> {
        self.inner.memory.view()
    }
}
