//! Linear memories: one reservation each, which never moves and grows by a change of protection.
//!
//! ```text
//! guard mode      MEMORY_GUARD │ 4 GiB, accessible up to `length` │ MEMORY_GUARD
//! explicit mode                │ the most the memory may reach    │ one host page
//! slices                       │ the most the memory may reach    │ the next memory   ([`super::slices`])
//! ```
//!
//! Invariants: the bytes `base..base + length` are readable and writable, but those in windows for sharing, which
//! are what is lent ([`super::lending`]); from the end of `length`'s host page on, the reservation is inaccessible,
//! but in slices, where it reads as zeros. `length` only grows, and never past the declared
//! maximum, the specification's, or the reservation. After creation only `length` changes, so that
//! every method takes a shared reference. A memory made for sharing grows under a lock of its own, and
//! its length is published after the pages behind it are accessible: whatever thread reads a length
//! may access all below it.
//!
//! # Safety
//! Trusts: the kernel's `mmap` and `mprotect` through `region` and `rustix`. Gives: [`VmMemory`]s
//! whose base and length may be read by compiled code for as long as the [`LinearMemory`] lives.
//! Rust references to guest bytes are never made here.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aura_host_abi::vm::{MEMORY_GUARD, VmMemory};
use aura_host_abi::{GuestMemory, MemoryType, TrapCode, raced};
use region::Protection;

use crate::Bounds;
use crate::arch::careful;
use crate::vm::lending::{Failed, Lending};
use crate::vm::pages;
use crate::vm::parking::Parking;
use crate::vm::placed::Placed;
use crate::vm::reservation::{Reservation, Reservations, Shape};
use crate::vm::reset::Tracking;

const GIB: u64 = 1 << 30;

/// The size of the address space of a memory with 32-bit addresses.
const SPACE_32: u64 = aura_host_abi::vm::MEMORY_RESERVATION;

/// What a memory with 64-bit addresses can grow to unless the configuration says otherwise.
pub(crate) const CEILING_64: u64 = 64 * GIB;

/// Asks for the pages of a range of a memory, as [`pages::populate`]. What lies outside its ordinary bytes is left aside.
pub(crate) fn populate(memory: &VmMemory, range: Range<u64>) {
    let page = rustix::param::page_size() as u64;
    let (start, end) = (range.start / page * page, range.end.min(memory.plain_length.load(Ordering::Relaxed)));
    if start < end {
        pages::populate(memory.base.wrapping_add(start as usize), (end - start) as usize);
    }
}

/// A linear memory. Made by [`LinearMemory::new`]; dropping it gives its reservation back to the engine, or unmaps it.
pub struct LinearMemory {
    vm: Placed<VmMemory>,
    base: *mut u8,
    /// None once it was given back.
    reservation: Option<Reservation>,
    reservations: Arc<Reservations>,
    /// From `base`, how far `length` may ever grow.
    capacity: u64,
    /// The length as it was set last, windows apart: what is known when the block that `vm` may lie in is gone.
    opened: AtomicU64,
    ty: MemoryType,
    bounds: Bounds,
    sharing: Option<Sharing>,
    /// Windows and loans, once there is a window.
    lending: OnceLock<Arc<Lending>>,
    /// How it goes back to what it was, if it is a slot's.
    tracking: OnceCell<Tracking>,
    /// An image's file was mapped into it.
    has_mapping: Cell<bool>,
}

/// What a memory has that instances of several stores use.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    growth: Mutex<()>,
    /// Who waits for its words to change.
    pub(crate) parking: Parking,
}

/// A memory could not be made, or host memory not mapped into it.
#[derive(Debug)]
pub enum MemoryError {
    /// The memory is bigger at the start than a limit, or than a memory of its type can be.
    Limit { bytes: u64, limit: u64 },
    /// The system refused the address space or the memory.
    System { bytes: u64, source: region::Error },
    /// A window for sharing cannot be added.
    Window(String),
    /// The memory is bigger at the start than the slices that the engine's memories have.
    NotInSlice { bytes: u64, slice: u64 },
    /// All slices are in use.
    NoSlice { count: usize },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { bytes, limit } => {
                write!(f, "a memory of {bytes} bytes at the start passes the limit of {limit} bytes")
            }
            Self::System { bytes, source } => write!(f, "reserving {bytes} bytes for a memory: {source}"),
            Self::Window(reason) => write!(f, "adding a window for sharing to a memory: {reason}"),
            Self::NotInSlice { bytes, slice } => write!(
                f,
                "a memory of {bytes} bytes at the start, where the engine's memories have slices of {slice}; give Config::memory_slices more bytes"
            ),
            Self::NoSlice { count } => write!(
                f,
                "all {count} slices for memories are in use; drop an instance, or give Config::memory_slices a greater count"
            ),
        }
    }
}

impl std::error::Error for MemoryError {}

impl LinearMemory {
    /// Reserves a memory and makes its first `limits.min` pages accessible. It reads as zeros.
    ///
    /// Guard mode serves memories of 32-bit addresses and 64 KiB pages; others get explicit bounds
    /// whatever the engine's bounds are. `limit_bytes` is the store's limit at
    /// creation; in explicit mode it also bounds the reservation, and so all later growth.
    /// The engine's ceiling bounds a memory of 64-bit addresses in the same way.
    ///
    /// # Errors
    /// If the limit or the type's own maximum forbids the initial size, or the system has no room.
    pub(crate) fn new(
        reservations: &Arc<Reservations>,
        ty: MemoryType,
        limit_bytes: u64,
    ) -> Result<Box<Self>, MemoryError> {
        let initial = ty.limits.min.saturating_mul(ty.page_size());
        if initial > limit_bytes {
            return Err(MemoryError::Limit { bytes: initial, limit: limit_bytes });
        }
        let bounds = effective_bounds(&ty, reservations.bounds);
        let declared = max_bytes(&ty, reservations.ceiling_64);
        if initial > declared {
            return Err(MemoryError::Limit { bytes: initial, limit: declared });
        }
        let shape = match bounds {
            Bounds::Guard => Shape { before: MEMORY_GUARD, capacity: SPACE_32, after: MEMORY_GUARD },
            Bounds::Explicit => Shape {
                before: 0,
                capacity: reservations.bound(declared.min(limit_bytes)),
                after: region::page::size() as u64,
            },
        };
        let reservation = reservations.take(shape, initial)?;
        let base = reservation.base();
        let capacity = shape.capacity.min(declared);
        let mut memory = Box::<Self>::new_uninit();
        let length = AtomicU64::new(initial);
        let plain_length = AtomicU64::new(if ty.shared { 0 } else { initial });
        let vm = VmMemory { base, length, plain_length, host: memory.as_mut_ptr().cast() };
        let sharing = ty.shared.then(Sharing::default);
        let (vm, lending, tracking) = (Placed::new(vm), OnceLock::new(), OnceCell::new());
        let has_mapping = Cell::new(false);
        let (reservation, reservations) = (Some(reservation), reservations.clone());
        let opened = AtomicU64::new(initial);
        let made = Self {
            vm,
            base,
            reservation,
            reservations,
            capacity,
            opened,
            ty,
            bounds,
            sharing,
            lending,
            tracking,
            has_mapping,
        };
        Ok(Box::write(memory, made))
    }

    /// The record behind a [`VmMemory`].
    ///
    /// # Safety
    /// `vm` points to the [`VmMemory`] of a [`LinearMemory`] that lives for `'a`.
    pub unsafe fn from_vm<'a>(vm: *const VmMemory) -> &'a Self {
        // SAFETY: the caller says that `vm` is live.
        let host = unsafe { (*vm).host };
        // SAFETY: `new` set `host` to the boxed record that owns `vm`; nobody has it exclusively, because
        // every method takes a shared reference.
        unsafe { &*host.cast::<Self>().cast_const() }
    }

    /// What compiled code and the interpreter see; stable while the memory lives.
    #[must_use]
    pub fn vm(&self) -> *mut VmMemory {
        self.vm.as_ptr()
    }

    /// Moves what compiled code sees into the block of the instance that defines the memory.
    ///
    /// # Safety
    /// - `place` is the memory's in the block, which stays valid as long as the memory is used.
    /// - Nobody uses an address that [`LinearMemory::vm`] gave before.
    pub(crate) unsafe fn place_at(&mut self, place: NonNull<VmMemory>) {
        // SAFETY: said by the caller.
        unsafe { self.vm.move_to(place) };
    }

    /// The host address of guest address 0. Never changes.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// The length in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.vm.length.load(Ordering::SeqCst)
    }

    /// The length in pages of the memory's own page size.
    #[must_use]
    pub fn size_pages(&self) -> u64 {
        self.byte_len() >> self.ty.page_size_log2
    }

    /// The type it was made with; its minimum is the size at the start.
    #[must_use]
    pub fn ty(&self) -> &MemoryType {
        &self.ty
    }

    /// What it has for instances of several stores, if it was made for them.
    pub(crate) fn sharing(&self) -> Option<&Sharing> {
        self.sharing.as_ref()
    }

    /// The view that host functions get of it, as long as it is now.
    pub(crate) fn view(&self) -> GuestMemory<'_> {
        match self.sharing {
            None if self.lending.get().is_some() => {
                let copy = careful::copy_or_fail;
                // SAFETY: the bytes below the plain length stay mapped readable and writable while the memory lives;
                // the copy is for what may fault, and a window needs the handler of faults to be there.
                unsafe { GuestMemory::from_raw_lent(self.base, self.byte_len(), self.plain_len(), copy) }
            }
            // SAFETY: the bytes below the length stay mapped readable and writable while the memory lives.
            None => unsafe { GuestMemory::from_raw(self.base, self.byte_len()) },
            // SAFETY: as above.
            Some(_) => unsafe { GuestMemory::from_raw_shared(self.base, self.byte_len()) },
        }
    }

    /// How far its bytes are ordinary ones: readable, writable and nobody else's.
    pub(crate) fn plain_len(&self) -> u64 {
        self.vm.plain_length.load(Ordering::SeqCst)
    }

    /// Whether ordinary bytes lie behind a window.
    pub(crate) fn has_more_behind_windows(&self) -> bool {
        self.lending.get().is_some_and(|lending| lending.windows_end().is_some_and(|end| end < self.byte_len()))
    }

    /// Windows and loans, if there is a window.
    pub(crate) fn lending(&self) -> Option<&Arc<Lending>> {
        self.lending.get()
    }

    /// Why an access at a host address failed, if something lent is the reason.
    pub(crate) fn explain(&self, host: usize, is_cut_off: bool) -> Option<Failed> {
        self.lending.get()?.explain((host as u64).wrapping_sub(self.base.addr() as u64), is_cut_off)
    }

    /// Copies out bytes inside the length, whatever is there: the way of all Rust code beyond the plain length.
    ///
    /// # Errors
    /// The trap, if what is lent does not allow it.
    ///
    /// # Safety
    /// The range is inside the memory.
    pub(crate) unsafe fn read_any(&self, at: *const u8, into: &mut [u8]) -> Result<(), TrapCode> {
        if self.sharing.is_some() {
            // SAFETY: said by the caller.
            unsafe { raced::copy_out(at, into) };
            return Ok(());
        }
        let size = into.len();
        let copied = if matches!(size, 1 | 2 | 4 | 8) {
            // SAFETY: said by the caller; windows need the handler of faults to be there.
            let word = unsafe { careful::load(at, size) };
            word.map(|word| into.copy_from_slice(&word.to_ne_bytes()[..size]))
        } else {
            // SAFETY: as above.
            unsafe { careful::copy(into.as_mut_ptr(), at, size) }
        };
        copied.map_err(|fault| self.failed(fault))
    }

    /// Copies in bytes inside the length, whatever is there.
    ///
    /// # Errors
    /// As for [`LinearMemory::read_any`]; an unknown part is then written.
    ///
    /// # Safety
    /// As for [`LinearMemory::read_any`].
    pub(crate) unsafe fn write_any(&self, at: *mut u8, from: &[u8]) -> Result<(), TrapCode> {
        if self.sharing.is_some() {
            // SAFETY: said by the caller.
            unsafe { raced::copy_in(at, from) };
            return Ok(());
        }
        // SAFETY: as in `read_any`.
        unsafe { careful::copy(at, from.as_ptr(), from.len()) }.map_err(|fault| self.failed(fault))
    }

    /// Exchanges an aligned word inside the length if it is `old`; what it was. Not for shared memories.
    ///
    /// # Errors
    /// As for [`LinearMemory::read_any`].
    ///
    /// # Safety
    /// As for [`LinearMemory::read_any`].
    pub(crate) unsafe fn exchange_any(&self, at: *mut u8, size: usize, old: u64, new: u64) -> Result<u64, TrapCode> {
        // SAFETY: as in `read_any`.
        unsafe { careful::exchange(at, size, old, new) }.map_err(|fault| self.failed(fault))
    }

    /// The trap for an access of Rust code that faulted.
    #[cold]
    fn failed(&self, fault: careful::Faulted) -> TrapCode {
        self.lending.get().map_or(TrapCode::MemoryOutOfBounds, |lending| lending.note(fault))
    }

    /// Grows by `bytes`, rounded up to whole pages of the memory, in which there is nothing until something is lent;
    /// returns where they begin.
    ///
    /// # Errors
    /// If the memory's type, its maximum or the limits of its store forbid it.
    pub(crate) fn add_window(&self, bytes: u64, allow: impl FnOnce(u64, u64) -> bool) -> Result<u64, MemoryError> {
        let wrong = |reason: String| Err(MemoryError::Window(reason));
        if self.sharing.is_some() {
            return wrong("several stores use the memory, and a loan is for one".to_owned());
        }
        if self.is_slice() {
            return wrong("the engine's memories are slices of one mapping (Config::memory_slices)".to_owned());
        }
        let page = self.ty.page_size();
        if !page.is_multiple_of(region::page::size() as u64) {
            return wrong("the memory has pages of its own size; windows need pages of 64 KiB".to_owned());
        }
        let start = self.byte_len();
        let end = bytes.checked_next_multiple_of(page).and_then(|bytes| start.checked_add(bytes));
        match end {
            Some(end) if bytes > 0 && end <= self.capacity => {
                if !allow(start, end) {
                    return wrong(format!("{bytes} bytes pass the limits of its store"));
                }
                let lending = self.lending.get_or_init(|| Arc::new(Lending::new(self.base)));
                lending.add_window(start..end);
                // `plain_length` stays where it is, as long as there is a window.
                self.vm.length.store(end, Ordering::SeqCst);
                Ok(start)
            }
            _ => wrong(format!("{bytes} bytes behind {start} pass its maximum of {}", self.capacity)),
        }
    }

    /// The host address of an atomic access of `size` bytes at `index + offset`.
    pub(crate) fn atomic_word(&self, index: u64, offset: u64, size: u64) -> Result<*mut u8, TrapCode> {
        if !index.wrapping_add(offset).is_multiple_of(size) {
            return Err(TrapCode::UnalignedAtomic);
        }
        let start = index.checked_add(offset).ok_or(TrapCode::MemoryOutOfBounds)?;
        match start.checked_add(size) {
            Some(end) if end <= self.byte_len() => Ok(self.base.wrapping_add(start as usize)),
            _ => Err(TrapCode::MemoryOutOfBounds),
        }
    }

    /// Whether it is a slice of a mapping that memories share: all of it is accessible to the process, always.
    pub(crate) fn is_slice(&self) -> bool {
        self.reservation.as_ref().is_some_and(Reservation::is_slice)
    }

    /// All addresses that are kept for it, guards included.
    pub(crate) fn reservation(&self) -> Range<usize> {
        self.reservation.as_ref().map_or(0..0, Reservation::range)
    }

    /// Whether a host address lies in the reservation, guards included.
    #[must_use]
    pub fn contains_address(&self, address: usize) -> bool {
        self.reservation().contains(&address)
    }

    /// Grows by `delta_pages` and returns the old size in pages, or `None` if the declared maximum,
    /// the reservation, `allow(old_bytes, new_bytes)` or the system forbids it; nothing changes then.
    pub fn grow(&self, delta_pages: u64, allow: impl FnOnce(u64, u64) -> bool) -> Option<u64> {
        // The lock guards nothing that a limiter of the host that panics could leave half done.
        let _alone = self.sharing.as_ref().map(|s| s.growth.lock().unwrap_or_else(PoisonError::into_inner));
        let old = self.byte_len();
        let new = delta_pages.checked_mul(self.ty.page_size())?.checked_add(old)?;
        if new > self.capacity || (new != old && !allow(old, new)) {
            return None;
        }
        self.set_length(new).ok()?;
        Some(old >> self.ty.page_size_log2)
    }

    /// Takes its shape back to `length` bytes, of which the first `plain` are ordinary and the rest is a window that
    /// stays: ends what was lent since, and whatever lies behind `length` is zero, and inaccessible as far as whole pages
    /// go. False if the system refuses.
    #[inline]
    pub(crate) fn go_back(&self, plain: u64, length: u64) -> bool {
        if let Some(lending) = self.lending.get() {
            lending.go_back();
        }
        (self.byte_len() == length && self.plain_len() == plain) || self.shrink(plain, length)
    }

    #[cold]
    fn shrink(&self, plain: u64, length: u64) -> bool {
        let page = region::page::size() as u64;
        let (from, to) = (length.next_multiple_of(page), self.byte_len().next_multiple_of(page));
        self.vm.length.store(length, Ordering::SeqCst);
        self.vm.plain_length.store(plain, Ordering::SeqCst);
        self.opened.store(length, Ordering::SeqCst);
        if from >= to {
            return true;
        }
        let (at, bytes) = (self.base().wrapping_add(from as usize).cast(), (to - from) as usize);
        if self.is_slice() {
            // SAFETY: the slice's own pages; nobody refers to them, since no guest runs.
            return unsafe { rustix::mm::madvise(at, bytes, rustix::mm::Advice::LinuxDontNeed) }.is_ok();
        }
        let flags = rustix::mm::MapFlags::PRIVATE | rustix::mm::MapFlags::FIXED;
        // As it was reserved, so that the system joins it with what is around it.
        // SAFETY: the range lies inside the reservation; nobody refers to it, since no guest runs.
        unsafe { rustix::mm::mmap_anonymous(at, bytes, rustix::mm::ProtFlags::empty(), flags) }.is_ok()
    }

    /// Begins to track which pages are written.
    pub(crate) fn track(&self, tracking: Tracking) {
        assert!(self.sharing.is_none(), "a memory that other threads use cannot go back");
        assert!(self.tracking.set(tracking).is_ok(), "a memory is tracked once");
    }

    /// Notes that an image's file was mapped into the memory: its reservation does not come back for others.
    pub(crate) fn note_mapping(&self) {
        self.has_mapping.set(true);
    }

    pub(crate) fn tracking(&self) -> Option<&Tracking> {
        self.tracking.get()
    }

    /// Makes a range writable for a writer outside of guest code and its host functions. All else faults, and goes on.
    pub(crate) fn make_writable(&self, offset: u64, len: u64) {
        if let Some(tracking) = self.tracking.get() {
            tracking.make_writable(self, offset, len);
        }
    }

    /// A write to this host address faulted; says whether it may go on now. The signal handler calls this.
    pub(crate) fn fault(&self, address: usize) -> bool {
        let offset = address.wrapping_sub(self.base.addr());
        self.tracking.get().is_some_and(|tracking| tracking.fault(self, offset))
    }

    /// Makes bytes up to `new` accessible and publishes the length.
    fn set_length(&self, new: u64) -> region::Result<()> {
        let page = region::page::size() as u64;
        let accessible = self.byte_len().next_multiple_of(page);
        let wanted = new.next_multiple_of(page);
        if wanted > accessible && !self.is_slice() {
            let from = self.base().wrapping_add(accessible as usize);
            // SAFETY: `new` is at most `capacity`, so that the range lies in the reservation; it is
            // inaccessible so far and nothing refers to it.
            unsafe { region::protect(from, (wanted - accessible) as usize, Protection::READ_WRITE) }?;
        }
        self.vm.length.store(new, Ordering::SeqCst);
        self.opened.store(new, Ordering::SeqCst);
        if self.sharing.is_none() && !self.lending.get().is_some_and(|lending| lending.has_windows()) {
            self.vm.plain_length.store(new, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl Drop for LinearMemory {
    fn drop(&mut self) {
        if let Some(lending) = self.lending.get() {
            lending.close();
        }
        let is_ordinary = self.lending.get().is_none() && self.tracking.get().is_none() && !self.has_mapping.get();
        if let Some(reservation) = self.reservation.take_if(|_| is_ordinary) {
            let first = self.ty.limits.min.saturating_mul(self.ty.page_size());
            // SAFETY: the memory is gone, and with it everybody who may use its addresses. Files and buffers are mapped
            // only into memories with windows, into those of slots, which are tracked, and where that was noted.
            unsafe { self.reservations.give(reservation, *self.opened.get_mut(), first) };
        }
    }
}

impl fmt::Debug for LinearMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinearMemory")
            .field("base", &self.base())
            .field("byte_len", &self.byte_len())
            .field("capacity", &self.capacity)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

// SAFETY: the record owns its reservation; all that changes after creation is an atomic word.
unsafe impl Send for LinearMemory {}
// SAFETY: as above; the growth of one memory from several threads is serialised by its store, or by its own lock.
unsafe impl Sync for LinearMemory {}

/// The mode a memory of this type can have.
fn effective_bounds(ty: &MemoryType, wanted: Bounds) -> Bounds {
    if ty.memory64 || ty.page_size_log2 != 16 { Bounds::Explicit } else { wanted }
}

/// The most bytes the type allows: of 32-bit addresses, as many pages as a number of 32 bits can count.
fn max_bytes(ty: &MemoryType, ceiling_64: u64) -> u64 {
    let space = if ty.memory64 { ceiling_64 } else { SPACE_32.min(u64::from(u32::MAX) << ty.page_size_log2) };
    let declared = ty.limits.max.map_or(u64::MAX, |max| max.saturating_mul(ty.page_size()));
    // Whole pages only, so that growth to the maximum succeeds.
    declared.min(space) & !(ty.page_size() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use aura_host_abi::Limits64;

    const PAGE: u64 = 65536;

    fn ty(min: u64, max: Option<u64>) -> MemoryType {
        MemoryType { limits: Limits64 { min, max }, memory64: false, shared: false, page_size_log2: 16 }
    }

    fn space(bounds: Bounds, ceiling_64: u64) -> Arc<Reservations> {
        Arc::new(Reservations::new(Config::new().bounds(bounds).memory64_ceiling(ceiling_64)))
    }

    fn made(ty: MemoryType, bounds: Bounds) -> Box<LinearMemory> {
        LinearMemory::new(&space(bounds, CEILING_64), ty, u64::MAX).expect("memory")
    }

    fn byte(memory: &LinearMemory, at: u64) -> u8 {
        assert!(at < memory.byte_len());
        // SAFETY: inside the length.
        unsafe { memory.base().wrapping_add(at as usize).read_volatile() }
    }

    fn set_byte(memory: &LinearMemory, at: u64, value: u8) {
        assert!(at < memory.byte_len());
        // SAFETY: inside the length.
        unsafe { memory.base().wrapping_add(at as usize).write_volatile(value) }
    }

    #[test]
    fn grows_in_place_up_to_its_maximum() {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let memory = made(ty(1, Some(3)), bounds);
            let base = memory.base();
            set_byte(&memory, PAGE - 1, 7);
            assert_eq!(memory.grow(1, |old, new| (old, new) == (PAGE, 2 * PAGE)), Some(1));
            assert_eq!((memory.base(), memory.size_pages()), (base, 2));
            assert_eq!((byte(&memory, PAGE - 1), byte(&memory, 2 * PAGE - 1)), (7, 0));
            assert_eq!(memory.grow(2, |_, _| true), None);
            assert_eq!(memory.grow(u64::MAX, |_, _| true), None);
            assert_eq!(memory.grow(1 << 48, |_, _| true), None);
            assert_eq!(memory.grow(1, |_, _| false), None);
            assert_eq!(memory.grow(0, |_, _| false), Some(2));
            assert_eq!(memory.grow(1, |_, _| true), Some(2));
            assert_eq!(memory.byte_len(), 3 * PAGE);
        }
    }

    #[test]
    fn c9_memories_of_no_pages_have_no_bytes() {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let memory = made(ty(0, Some(0)), bounds);
            assert_eq!(memory.byte_len(), 0);
            assert_eq!(memory.grow(0, |_, _| true), Some(0));
            assert_eq!(memory.grow(1, |_, _| true), None);
            let growing = made(ty(0, None), bounds);
            assert_eq!(growing.grow(1, |_, _| true), Some(0));
            assert_eq!(byte(&growing, PAGE - 1), 0);
        }
    }

    #[test]
    fn explicit_memories_end_at_an_inaccessible_page() {
        let memory = made(ty(1, Some(1)), Bounds::Explicit);
        let end = memory.base() as usize + PAGE as usize;
        assert!(memory.contains_address(end) && !memory.contains_address(end + region::page::size()));
        let last = region::query(end as *const u8).expect("query");
        assert_eq!(last.protection(), Protection::NONE);
    }

    #[test]
    fn guards_lie_on_both_sides() {
        let memory = made(ty(1, None), Bounds::Guard);
        let base = memory.base() as usize;
        for (address, inside) in [
            (base - MEMORY_GUARD as usize, true),
            (base - MEMORY_GUARD as usize - 1, false),
            (base + (SPACE_32 + MEMORY_GUARD) as usize - 1, true),
            (base + (SPACE_32 + MEMORY_GUARD) as usize, false),
        ] {
            assert_eq!(memory.contains_address(address), inside, "{address:#x}");
        }
        assert_eq!(region::query((base - 1) as *const u8).expect("query").protection(), Protection::NONE);
    }

    #[test]
    fn small_pages_and_64_bit_addresses_are_explicit() {
        let small = MemoryType { page_size_log2: 0, ..ty(5, Some(70_000)) };
        let memory = made(small, Bounds::Guard);
        assert_eq!((memory.bounds, memory.byte_len(), memory.size_pages()), (Bounds::Explicit, 5, 5));
        assert_eq!(memory.grow(69_995, |_, _| true), Some(5));
        assert_eq!(memory.grow(1, |_, _| true), None);
        assert_eq!(byte(&memory, 69_999), 0);
        let wide = made(MemoryType { memory64: true, ..ty(1, Some(1 << 48)) }, Bounds::Guard);
        assert_eq!(wide.bounds, Bounds::Explicit);
        assert_eq!(wide.grow(1 << 47, |_, _| true), None);
        assert_eq!(wide.grow(1, |_, _| true), Some(1));
    }

    #[test]
    fn memories_of_32_bit_addresses_have_fewer_than_2_to_the_32_pages() {
        let memory = made(MemoryType { page_size_log2: 0, ..ty(1, None) }, Bounds::Explicit);
        assert_eq!(memory.capacity, u64::from(u32::MAX));
        assert_eq!(made(ty(1, None), Bounds::Explicit).capacity, SPACE_32);
    }

    #[test]
    fn the_ceiling_bounds_memories_of_64_bit_addresses() {
        let wide = |min| MemoryType { memory64: true, ..ty(min, None) };
        for (ceiling, pages) in [(3 * PAGE, 3), (3 * PAGE + 1, 3), (4 * PAGE - 1, 3), (2 * PAGE, 2)] {
            let memory = LinearMemory::new(&space(Bounds::Explicit, ceiling), wide(1), u64::MAX).expect("memory");
            assert_eq!(memory.grow(pages, |_, _| true), None, "{ceiling}");
            assert_eq!(memory.grow(pages - 1, |_, _| true), Some(1), "{ceiling}");
        }
        for ceiling in [0, 1, PAGE, 2 * PAGE - 1] {
            assert!(LinearMemory::new(&space(Bounds::Explicit, ceiling), wide(2), u64::MAX).is_err(), "{ceiling}");
        }
    }

    #[test]
    fn limits_hold_at_creation() {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let space = space(bounds, CEILING_64);
            let error = LinearMemory::new(&space, ty(2, None), PAGE).expect_err("limit");
            assert!(error.to_string().contains("limit of 65536 bytes"), "{error}");
            let huge = MemoryType { memory64: true, ..ty(u64::MAX, None) };
            assert!(LinearMemory::new(&space, huge, 1 << 40).is_err());
        }
    }

    #[test]
    fn the_record_is_found_from_what_compiled_code_sees() {
        let memory = made(ty(1, None), Bounds::Guard);
        // SAFETY: `memory` lives.
        let found = unsafe { LinearMemory::from_vm(memory.vm()) };
        assert!(std::ptr::eq(found, &*memory));
    }
}
