//! What is lent to a linear memory: windows for sharing, and the loans in them.
//!
//! ```text
//! 0 .............. plain_length ............ window .............. window ........ length
//!    ordinary bytes              │ nothing │ a loan │ nothing │ bytes grown later │
//! ```
//!
//! A window is a range inside the memory's length, added by growth of the host's, in which nothing is mapped
//! but loans: an access to the rest of it faults. A loan maps pages of a [`SharedBuffer`] there, for reading or for
//! writing, until it ends; then there is nothing again. Guests reach windows by plain accesses: compiled code
//! traps by the fault, Rust code goes through [`careful`](crate::arch::careful) for all that lies beyond `plain_length`.
//!
//! Invariants: windows never overlap what is ordinary; loans lie in windows, on whole pages, and do not overlap.
//! Bytes before and behind what is lent that share a page with it are never mapped: such pages are copies.
//! The lock is held while pages are mapped, so that after [`Lending::end`] nothing of the loan is there, whichever
//! thread ended it; nobody waits for a guest under it.
//!
//! A slot's memory keeps what it had when [`Lending::keep`] was called: a window, and what the image lends in it. All
//! that a life adds goes at its end ([`Lending::go_back`]), which costs nothing where there is nothing.
//!
//! # Safety
//! Trusts: the reservation stays until [`Lending::close`]. Gives: pages are mapped inside windows only, and only
//! those of a live loan are accessible.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aura_host_abi::TrapCode;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use crate::arch::careful::Faulted;
use crate::buffer::{Access, SharedBuffer};

/// The windows and loans of one memory.
pub(crate) struct Lending {
    inner: Mutex<Inner>,
    next: AtomicU64,
    /// Something was added, or failed, since [`Lending::keep`]. Set under the lock, by the memory's own thread.
    has_changed: AtomicBool,
}

struct Inner {
    /// The address of guest address 0; `None` once the memory is gone.
    base: Option<usize>,
    windows: Vec<Range<u64>>,
    loans: Vec<Lent>,
    /// The access that failed last, until somebody asks.
    failed: Option<Failed>,
    /// How many windows stay, and below which number loans do.
    kept: (usize, u64),
}

/// One loan, on whole pages.
struct Lent {
    id: u64,
    pages: Range<u64>,
    name: Arc<str>,
    access: Access,
    /// Keeps what is mapped.
    _buffer: SharedBuffer,
}

/// An access that what is lent does not allow.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) code: TrapCode,
    /// The address in the memory.
    pub(crate) address: u64,
    /// The name of the loan.
    pub(crate) loan: Option<Arc<str>>,
}

/// What is to be lent where.
#[derive(Clone, Debug)]
pub(crate) struct Offer<'a> {
    pub(crate) buffer: &'a SharedBuffer,
    /// The part of the buffer.
    pub(crate) bytes: Range<u64>,
    pub(crate) access: Access,
    pub(crate) name: Arc<str>,
    /// Where the page with the first byte goes.
    pub(crate) at: u64,
}

/// Bytes of a page of the host.
pub(crate) fn page_size() -> u64 {
    region::page::size() as u64
}

impl fmt::Debug for Lending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Lending").field("windows", &inner.windows).field("loans", &inner.loans.len()).finish()
    }
}

impl Lending {
    /// For a memory whose address 0 is at `base`.
    pub(crate) fn new(base: *mut u8) -> Self {
        let inner =
            Inner { base: Some(base.addr()), windows: Vec::new(), loans: Vec::new(), failed: None, kept: (0, 0) };
        Self { inner: Mutex::new(inner), next: AtomicU64::new(1), has_changed: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a window; the memory just grew by it.
    pub(crate) fn add_window(&self, range: Range<u64>) {
        let mut inner = self.lock();
        inner.windows.push(range);
        self.has_changed.store(true, Ordering::Relaxed);
    }

    /// Whether there is a window.
    pub(crate) fn has_windows(&self) -> bool {
        !self.lock().windows.is_empty()
    }

    /// Where the last window ends.
    pub(crate) fn windows_end(&self) -> Option<u64> {
        self.lock().windows.iter().map(|window| window.end).max()
    }

    /// Whether something is lent that does not stay.
    pub(crate) fn lends(&self) -> bool {
        let inner = self.lock();
        inner.loans.iter().any(|lent| lent.id >= inner.kept.1)
    }

    /// From now on what there is stays when the memory goes back.
    pub(crate) fn keep(&self) {
        let mut inner = self.lock();
        inner.kept = (inner.windows.len(), self.next.load(Ordering::Relaxed));
        self.has_changed.store(false, Ordering::Relaxed);
    }

    /// Ends what was lent since [`Lending::keep`], and forgets the windows that were added: nothing of it is mapped any
    /// more when this returns.
    #[inline]
    pub(crate) fn go_back(&self) {
        if self.has_changed.load(Ordering::Relaxed) {
            self.end_added();
        }
    }

    #[cold]
    fn end_added(&self) {
        let mut inner = self.lock();
        let Inner { base, windows, loans, failed, kept } = &mut *inner;
        loans.retain(|lent| {
            let stays = lent.id < kept.1;
            if let Some(base) = base.filter(|_| !stays) {
                clear(base, &lent.pages);
            }
            stays
        });
        windows.truncate(kept.0);
        *failed = None;
        self.has_changed.store(false, Ordering::Relaxed);
    }

    /// The pages of what is lent, as addresses of the memory.
    pub(crate) fn lent_pages(&self) -> Vec<Range<u64>> {
        self.lock().loans.iter().map(|lent| lent.pages.clone()).collect()
    }

    /// A number for a loan to be.
    pub(crate) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Maps a part of a buffer; the guest address of its first byte.
    ///
    /// # Errors
    /// What stands in the way, as a text to be read after "cannot lend".
    pub(crate) fn lend(&self, id: u64, offer: &Offer<'_>) -> Result<u64, String> {
        let page = page_size();
        let Range { start, end } = offer.bytes;
        if start >= end || end > offer.buffer.len() {
            return Err(format!("bytes {start}..{end} of a buffer of {}", offer.buffer.len()));
        }
        if !offer.at.is_multiple_of(page) {
            return Err(format!("address {:#x} is no multiple of the page size, {page}", offer.at));
        }
        let first = start - start % page;
        let pages = offer.at..offer.at.checked_add(end.next_multiple_of(page) - first).ok_or("the address wraps")?;
        let mut inner = self.lock();
        let base = inner.base.ok_or("the memory is gone")?;
        if !inner.windows.iter().any(|window| window.start <= pages.start && pages.end <= window.end) {
            return Err(format!("{:#x}..{:#x} is not inside a window", pages.start, pages.end));
        }
        if let Some(other) =
            inner.loans.iter().find(|lent| lent.pages.start < pages.end && pages.start < lent.pages.end)
        {
            return Err(format!("`{}` is lent there already", other.name));
        }
        if let Err(error) = map(base, &pages, first, offer) {
            clear(base, &pages);
            return Err(error);
        }
        let (name, access) = (offer.name.clone(), offer.access);
        inner.loans.push(Lent { id, pages, name, access, _buffer: offer.buffer.clone() });
        self.has_changed.store(true, Ordering::Relaxed);
        Ok(offer.at + start - first)
    }

    /// Ends a loan, if it has not ended: when this returns, no access to it succeeds any more.
    pub(crate) fn end(&self, id: u64) {
        let mut inner = self.lock();
        let Some(index) = inner.loans.iter().position(|lent| lent.id == id) else { return };
        if let Some(base) = inner.base {
            clear(base, &inner.loans[index].pages);
        }
        inner.loans.swap_remove(index);
    }

    /// Whether a loan has not ended.
    pub(crate) fn is_live(&self, id: u64) -> bool {
        self.lock().loans.iter().any(|lent| lent.id == id)
    }

    /// The memory goes: its reservation is unmapped with all that is in it.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.base = None;
        inner.loans.clear();
    }

    /// Why an access that faulted at a guest address failed, if that is in a window.
    pub(crate) fn explain(&self, address: u64, is_cut_off: bool) -> Option<Failed> {
        let inner = self.lock();
        if !inner.windows.iter().any(|window| window.contains(&address)) {
            return None;
        }
        let lent = inner.loans.iter().find(|lent| lent.pages.contains(&address));
        let code = match lent {
            None => TrapCode::NothingLent,
            Some(_) if is_cut_off => TrapCode::LoanTruncated,
            Some(lent) if lent.access == Access::Read => TrapCode::WriteToReadOnlyLoan,
            // Lent again since the access failed.
            Some(_) => TrapCode::NothingLent,
        };
        Some(Failed { code, address, loan: lent.map(|lent| lent.name.clone()) })
    }

    /// Notes why an access of Rust code failed; the trap it is.
    pub(crate) fn note(&self, fault: Faulted) -> TrapCode {
        let base = self.lock().base.unwrap_or(0);
        let address = (fault.address as u64).wrapping_sub(base as u64);
        let failed = self.explain(address, fault.is_cut_off);
        let code = failed.as_ref().map_or(TrapCode::MemoryOutOfBounds, |failed| failed.code);
        self.lock().failed = failed;
        self.has_changed.store(true, Ordering::Relaxed);
        code
    }

    /// Takes what [`Lending::note`] noted last.
    pub(crate) fn take_failed(&self) -> Option<Failed> {
        self.lock().failed.take()
    }
}

/// Maps `pages` of the memory at `base` from the byte `first` of a buffer on, which is the first of a page.
fn map(base: usize, pages: &Range<u64>, first: u64, offer: &Offer<'_>) -> Result<(), String> {
    let page = page_size();
    let Range { start, end } = offer.bytes;
    // A page that holds anything but what is lent is not the buffer's own but a copy.
    let head = if start == first { 0 } else { page };
    let is_whole_tail = end.is_multiple_of(page) || (end == offer.buffer.len() && offer.buffer.owns_tail(offer.access));
    let tail = if is_whole_tail { 0 } else { page };
    let len = pages.end - pages.start;
    let (head, tail) = if len <= page && head + tail > 0 { (len, 0) } else { (head, tail) };
    if head + tail > 0 && offer.access == Access::Write {
        return Err(format!("bytes {start}..{end} are not whole pages, and pages are what can be written"));
    }
    let system = |error: rustix::io::Errno| error.to_string();
    if head > 0 {
        copy_page(base, pages.start, first, offer).map_err(system)?;
    }
    if tail > 0 {
        copy_page(base, pages.end - page, first + len - page, offer).map_err(system)?;
    }
    if len > head + tail {
        let (flags, prot) = offer.buffer.mapping(offer.access);
        let place = (base + (pages.start + head) as usize) as *mut std::ffi::c_void;
        let length = (len - head - tail) as usize;
        let flags = flags | MapFlags::FIXED;
        // SAFETY: the range is inside a window of a reservation that stays while the lock is held, and no loan
        // is there; no Rust reference to its bytes exists, as they are inaccessible.
        let mapped = unsafe { rustix::mm::mmap(place, length, prot, flags, offer.buffer.file(), first + head) };
        mapped.map_err(system)?;
    }
    Ok(())
}

/// Puts a copy of what is lent of one page of a buffer into the page at `at`; the rest of it is zero.
fn copy_page(base: usize, at: u64, from: u64, offer: &Offer<'_>) -> rustix::io::Result<()> {
    let page = page_size();
    let place = (base + at as usize) as *mut u8;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: as in `map`.
    unsafe { rustix::mm::mmap_anonymous(place.cast(), page as usize, prot, flags) }?;
    let lent = offer.bytes.start.max(from)..offer.bytes.end.min(from + page);
    let mut bytes = vec![0; (lent.end - lent.start) as usize];
    offer.buffer.read(lent.start, &mut bytes).map_err(|_| rustix::io::Errno::IO)?;
    let to = place.wrapping_add((lent.start - from) as usize);
    // SAFETY: inside the page, which was mapped above; a guest that runs meanwhile races by its own fault, and
    // no reference to the bytes is made.
    unsafe { aura_host_abi::raced::copy_in(to, &bytes) };
    if offer.access == Access::Read {
        // SAFETY: the page mapped above.
        unsafe { rustix::mm::mprotect(place.cast(), page as usize, MprotectFlags::READ) }?;
    }
    Ok(())
}

/// Puts nothing in place of what is mapped, as it was when the memory was reserved.
fn clear(base: usize, pages: &Range<u64>) {
    let place = (base + pages.start as usize) as *mut std::ffi::c_void;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    let len = (pages.end - pages.start) as usize;
    // SAFETY: the range is inside a window of a reservation that stays while the lock is held; whoever still
    // accesses it faults, which all of them are ready for.
    let cleared = unsafe { rustix::mm::mmap_anonymous(place, len, ProtFlags::empty(), flags) };
    cleared.expect("replacing a mapping by an inaccessible one needs no memory");
}
