//! Code memory: where compiled bytes become executable.
//!
//! One reservation per module ([`crate::nearby`]), in which nothing is accessible until it is used. A batch of functions
//! takes fresh pages: writable while they are copied in, then executable once and for all.
//! Invariants: no page is ever writable and executable, or writable again after it was executable;
//! addresses only ascend; no code refers to a symbol, and a look-up of one would find nothing of
//! the process.
//!
//! # Safety
//! Protection changes are confined to pages of the provider's own reservation that no one else has
//! seen yet. Freeing is the owner's promise: a [`ModuleCode`] is dropped only when none of its code
//! runs and no entry word points into it.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use cranelift_codegen::ir::Signature;
use cranelift_jit::{BranchProtection, JITBuilder, JITMemoryKind, JITMemoryProvider, JITModule};
use cranelift_module::{FuncId, Module, ModuleError, ModuleResult, default_libcall_names};
use region::Protection;

use crate::compiler::Compiler;
use crate::finish::CompiledFunction;
use crate::kept::KeptTables;
use crate::nearby::Reservation;
use crate::registry::{CodeInfo, CodeKind, CodeTable, Decoded, Registration, Tables};

/// Code could not be made executable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleCodeError {
    /// No address space for the reservation.
    #[error("cannot reserve {bytes} bytes for code: {source}")]
    Reserve { bytes: usize, source: io::Error },
    /// The reservation is used up or the system refused a protection change.
    #[error("cannot publish code: {0}")]
    Publish(#[from] Box<ModuleError>),
}

/// The executable code of one module. Dropping it frees the memory.
pub struct ModuleCode {
    /// Dropped first: addresses are forgotten before another mapping can have them.
    registration: Registration,
    module: Mutex<JITModule>,
    range: Range<usize>,
}

impl std::fmt::Debug for ModuleCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModuleCode").field("range", &self.range).finish_non_exhaustive()
    }
}

impl ModuleCode {
    /// Reserves address space for a module's code, at most 2 GiB. `token` is what
    /// [`crate::registry::lookup`] will say of its functions.
    ///
    /// # Errors
    /// If there is no such address space.
    ///
    /// # Panics
    /// If `reservation` is more than 2 GiB or zero.
    pub fn new(compiler: &Compiler, token: u64, reservation: usize) -> Result<Self, ModuleCodeError> {
        assert!((1..=1 << 31).contains(&reservation), "code lies within 2 GiB");
        let memory =
            CodeMemory::new(reservation).map_err(|source| ModuleCodeError::Reserve { bytes: reservation, source })?;
        let range = memory.reservation.range();
        let mut builder = JITBuilder::with_isa(compiler.owned_isa(), default_libcall_names());
        // Asked before the process's own symbols, and has an answer for each name: none of them.
        builder.symbol_lookup_fn(Box::new(|_| Some(std::ptr::null())));
        builder.memory_provider(Box::new(memory));
        Ok(Self {
            module: Mutex::new(JITModule::new(builder)),
            registration: Registration::new(range.clone(), CodeTable::new(token)),
            range,
        })
    }

    /// Makes functions executable, all or none, and registers them. Returns their addresses in order.
    ///
    /// # Errors
    /// If the reservation is used up or the system refused a protection change. Space that a failed
    /// batch took is not used again.
    pub fn publish(&self, batch: &[(CodeKind, &CompiledFunction)]) -> Result<Vec<NonNull<()>>, ModuleCodeError> {
        let mut module = self.module.lock().unwrap_or_else(PoisonError::into_inner);
        let placed = define(&mut module, batch)?;
        let mut addresses = Vec::with_capacity(batch.len());
        for (&(id, lead), &(kind, function)) in placed.iter().zip(batch) {
            let address = module.get_finalized_function(id).wrapping_add(lead);
            let start = address.addr();
            self.registration.table().push(CodeInfo {
                kind,
                range: start..start + function.bytes.len(),
                tables: Tables::Made(Decoded {
                    traps: function.traps.clone(),
                    srclocs: function.srclocs.clone(),
                    stack_maps: function.stack_maps.clone(),
                    handlers: function.handlers.clone(),
                }),
            });
            addresses.push(NonNull::new(address.cast_mut().cast()).expect("code has an address"));
        }
        Ok(addresses)
    }

    /// The addresses that belong to this module's code.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

/// Defines functions; returns each one's number, and how many bytes are in front of it.
fn define(
    module: &mut JITModule,
    batch: &[(CodeKind, &CompiledFunction)],
) -> Result<Vec<(FuncId, usize)>, Box<ModuleError>> {
    let native = Signature::new(module.isa().default_call_conv());
    let mut placed = Vec::with_capacity(batch.len());
    for (_, function) in batch {
        // Nothing calls by this signature: entry words hold addresses, callers know the type.
        let id = module.declare_anonymous_function(&native)?;
        let lead = function.start_behind(0);
        let bytes = match lead {
            0 => Cow::Borrowed(&*function.bytes),
            _ => Cow::Owned([&vec![0; lead], &*function.bytes].concat()),
        };
        module.define_function_bytes(id, function.boundary(), &bytes, &[])?;
        placed.push((id, lead));
    }
    module.finalize_definitions()?;
    Ok(placed)
}

/// The provider of memory behind a module. Dropping it unmaps the reservation.
struct CodeMemory {
    reservation: Reservation,
    /// Offset of the first byte not handed out.
    next: usize,
    /// Start of the pages that are not executable yet. They are writable up to `writable_end`.
    batch_start: usize,
    writable_end: usize,
}

impl CodeMemory {
    fn new(bytes: usize) -> io::Result<Self> {
        Ok(Self { reservation: Reservation::new(bytes)?, next: 0, batch_start: 0, writable_end: 0 })
    }

    /// Changes the protection of pages of the current batch.
    fn protect(&mut self, range: Range<usize>, protection: Protection) -> io::Result<()> {
        assert!(self.batch_start <= range.start && range.end <= self.reservation.len(), "pages of the batch");
        if range.is_empty() {
            return Ok(());
        }
        let start = self.reservation.start().wrapping_add(range.start);
        // SAFETY: the range lies in our own reservation (asserted), from the batch's first page on:
        // nothing runs there, and nobody holds a reference into it.
        unsafe { region::protect(start, range.len(), protection) }.map_err(region::Error::into_io_error)
    }
}

impl JITMemoryProvider for CodeMemory {
    fn allocate(&mut self, size: usize, align: u64, kind: JITMemoryKind) -> io::Result<*mut u8> {
        if !matches!(kind, JITMemoryKind::Executable) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "compiled code has no data"));
        }
        let align = usize::try_from(align).map_err(io::Error::other)?;
        assert!(align <= region::page::size(), "alignment up to a page");
        let start = self.next.next_multiple_of(align);
        let end = start.checked_add(size).filter(|&end| end <= self.reservation.len());
        let end = end.ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, "the code reservation is used up"))?;
        if end > self.writable_end {
            let pages = self.writable_end..end.next_multiple_of(region::page::size());
            self.protect(pages.clone(), Protection::READ_WRITE)?;
            self.writable_end = pages.end;
        }
        self.next = end;
        Ok(self.reservation.start().wrapping_add(start))
    }

    unsafe fn free_memory(&mut self) {
        // Dropping the provider frees it.
    }

    fn finalize(&mut self, _: BranchProtection) -> ModuleResult<()> {
        let batch = self.batch_start..self.writable_end;
        let start = self.reservation.start().wrapping_add(batch.start);
        synchronize_instructions(start, batch.len());
        self.protect(batch.clone(), Protection::READ_EXECUTE).map_err(|err| ModuleError::Allocation { err })?;
        self.batch_start = batch.end;
        self.next = batch.end;
        Ok(())
    }
}

/// Bytes that become writable ahead of their use at most.
const AHEAD_MAX: usize = 256 << 10;

/// A function in pages of code that was compiled before.
#[derive(Debug)]
pub struct KeptFunction {
    pub kind: CodeKind,
    /// Where it is in the pages. Functions follow one another.
    pub range: Range<usize>,
    pub tables: KeptTables,
}

/// The executable code of one module that was compiled before, or that is not the compiler's: pages at a time, each filled
/// once. Dropping it frees the memory, with the same promise as [`ModuleCode`].
pub struct KeptCode {
    /// Dropped first: addresses are forgotten before another mapping can have them.
    registration: Registration,
    pages: Mutex<KeptPages>,
}

/// Pages that were never executable from `next` on, and writable up to `writable_end`.
struct KeptPages {
    memory: Reservation,
    next: usize,
    writable_end: usize,
}

impl KeptPages {
    /// Makes the pages up to `end` writable and has the system give them: as many again as are in use, so that it is asked seldom.
    fn open(&mut self, end: usize) -> Option<()> {
        let start = self.writable_end;
        if end > start {
            let ahead = (end + self.next.min(AHEAD_MAX)).min(self.memory.len());
            let (base, bytes) = (self.memory.start().wrapping_add(start), ahead - start);
            // SAFETY: the range lies in our own reservation and was never executable; nobody refers to it.
            unsafe { region::protect(base, bytes, Protection::READ_WRITE) }.ok()?;
            self.writable_end = ahead;
            populate(base, bytes);
        }
        Some(())
    }
}

impl std::fmt::Debug for KeptCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptCode").finish_non_exhaustive()
    }
}

impl KeptCode {
    /// Reserves address space for so many bytes of code, pages rounded up. `token` is what [`crate::registry::lookup`] will say of its functions.
    ///
    /// # Errors
    /// If there is no such address space.
    pub fn new(token: u64, bytes: usize) -> Result<Self, ModuleCodeError> {
        let memory = Reservation::new(bytes.max(1)).map_err(|source| ModuleCodeError::Reserve { bytes, source })?;
        let registration = Registration::new(memory.range(), CodeTable::new(token));
        Ok(Self { registration, pages: Mutex::new(KeptPages { memory, next: 0, writable_end: 0 }) })
    }

    /// Has `fill` write code into so many fresh bytes, makes them executable and registers the functions in them. Returns their
    /// addresses in order; nothing if there is no room or the system refuses.
    ///
    /// # Errors
    /// Those of `fill`: what it wrote is never executable.
    ///
    /// # Panics
    /// If a function lies outside, or they do not follow one another.
    pub fn publish<E>(
        &self,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<Vec<KeptFunction>, E>,
    ) -> Result<Option<Vec<NonNull<()>>>, E> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let start = pages.next;
        let end = start.saturating_add(bytes.next_multiple_of(region::page::size()));
        if end > pages.memory.len() {
            return Ok(None);
        }
        let base = pages.memory.start().wrapping_add(start);
        if pages.open(end).is_none() {
            return Ok(None);
        }
        // SAFETY: the range is writable, lies in our own reservation and was never executable; the lock is held, and nobody else
        // refers to it.
        let code = unsafe { std::slice::from_raw_parts_mut(base, bytes) };
        // The next code may be shorter, and its last page is executable to its end.
        let functions = fill(code).inspect_err(|_| code.fill(0))?;
        let mut next = 0;
        for function in &functions {
            assert!(next <= function.range.start && function.range.end <= bytes, "functions follow one another");
            next = function.range.end;
        }
        synchronize_instructions(base, bytes);
        // SAFETY: as above; from here on nobody writes the pages.
        if unsafe { region::protect(base, end - start, Protection::READ_EXECUTE) }.is_err() {
            return Ok(None);
        }
        pages.next = end;
        let register = |KeptFunction { kind, range, tables }: KeptFunction| {
            let code = base.wrapping_add(range.start);
            let range = code.addr()..code.addr() + range.len();
            self.registration.table().push(CodeInfo { kind, range, tables: Tables::Kept(tables) });
            NonNull::new(code.cast()).expect("code has an address")
        };
        Ok(Some(functions.into_iter().map(register).collect()))
    }
}

/// Has the system give fresh pages at once, instead of a fault for each. Where it does not know how, they fault.
fn populate(start: *mut u8, bytes: usize) {
    // SAFETY: the pages are the caller's, writable, and their bytes stay what they are.
    let _ = unsafe { rustix::mm::madvise(start.cast(), bytes, rustix::mm::Advice::LinuxPopulateWrite) };
}

/// x86-64 keeps instruction fetches coherent, and nobody has fetched from a fresh page.
#[cfg(target_arch = "x86_64")]
fn synchronize_instructions(_: *const u8, _: usize) {}

/// Writes new code back to where instruction fetches see it.
#[cfg(not(target_arch = "x86_64"))]
fn synchronize_instructions(start: *const u8, len: usize) {
    unsafe extern "C" {
        fn __clear_cache(start: *const u8, end: *const u8);
    }
    // SAFETY: the compiler's runtime function takes any mapped range; these pages are writable now.
    unsafe { __clear_cache(start, start.wrapping_add(len)) };
}
