//! The engine services that guest code calls: one body for each row of the service table.
//!
//! Both tiers call the functions generated at the end of this file; compiled code through
//! [`aura_host_abi::services::VmServices`]. The bodies are safe methods of [`Guest`]. All arithmetic
//! on guest numbers is checked: every operand may be any 64-bit number. Bytes of shared memories are
//! moved by the atomic copies of [`raced`]. Bulk operations check their
//! bounds, then charge fuel by length, then work in pieces between which they look at the interrupt
//! word; an operation that is interrupted ends the call, so that nobody sees the rest of it done later.
//!
//! # Safety
//! Trusts: the `vmctx` a service is called with is a live, linked instance of the running store, on
//! the store's thread. Gives: guest memory and tables are touched inside their lengths only.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aura_host_abi::services::FAILED;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmStore};
use aura_host_abi::{TrapCode, raced};
use aura_validator::fuel::{BULK_BYTES_PER_FUEL, BULK_ELEMENTS_PER_FUEL};

use crate::exception;
use crate::gc;
use crate::store::StoreData;
use crate::vm::access;
use crate::vm::instance::InstanceData;
use crate::vm::memory::LinearMemory;
use crate::vm::parking::Stopped;
use crate::vm::table::{TableData, TableOutOfBounds};

mod arrays;

/// How much a bulk operation moves between two looks at the interrupt word.
const PIECE_BYTES: u64 = 1 << 20;
/// The same where what is lent lies, which goes through room on the host's side.
const PIECE_CAREFUL: usize = 4 << 10;
const PIECE_ELEMENTS: u64 = PIECE_BYTES / 8;

/// What a service answers if it could not grow something: -1.
const NOT_GROWN: u64 = u64::MAX;

/// The instance that calls a service.
struct Guest {
    vmctx: *mut VmCtx,
}

/// The order in which an operation goes through its range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Records a trap at the place where guest code stands now.
///
/// # Safety
/// `vmctx` is a live instance (or a host function's context) of the running store; interpreted
/// frames have their positions saved.
#[cold]
pub(crate) unsafe fn trap(vmctx: *mut VmCtx, code: TrapCode) -> Status {
    let guest = Guest { vmctx };
    crate::trap::record(guest.store_data(), code);
    Status::Trap
}

impl Guest {
    fn memory_grow(&mut self, memory: u64, delta_pages: u64) -> u64 {
        let memory = self.memory(memory);
        let store = self.store_data();
        memory.grow(delta_pages, |old, new| store.allow_memory_growth(old, new)).unwrap_or(NOT_GROWN)
    }

    fn memory_copy(&mut self, dst_memory: u64, src_memory: u64, dst: u64, src: u64, len: u64) -> Result<(), TrapCode> {
        let (to, from) = (self.memory(dst_memory), self.memory(src_memory));
        let is_raced = to.sharing().is_some() || from.sharing().is_some();
        let is_careful = is_lent(to, dst, len) || is_lent(from, src, len);
        let (to_memory, from_memory) = (to, from);
        let to = bytes(to, dst, len)?;
        let from = bytes(from, src, len)?;
        self.charge(len / BULK_BYTES_PER_FUEL)?;
        // Pieces that overlap must be read before they are written, as in one move of the whole.
        let direction = if to.addr() <= from.addr() { Direction::Up } else { Direction::Down };
        if is_careful {
            return self.in_careful_pieces(len, direction, |start, piece| {
                // SAFETY: `bytes` put both ranges inside their memories, which never shrink or move.
                unsafe { from_memory.read_any(from.wrapping_add(start), piece) }?;
                // SAFETY: as above.
                unsafe { to_memory.write_any(to.wrapping_add(start), piece) }
            });
        }
        self.in_pieces(len, PIECE_BYTES, direction, |start, len| {
            let (to, from) = (to.wrapping_add(start), from.wrapping_add(start));
            match is_raced {
                // SAFETY: `bytes` put both ranges inside their memories, which never shrink or move.
                false => unsafe { std::ptr::copy(from, to, len) },
                // SAFETY: as above.
                true => unsafe { raced::copy(from, to, len) },
            }
        })
    }

    fn memory_fill(&mut self, memory: u64, dst: u64, byte: u64, len: u64) -> Result<(), TrapCode> {
        let memory = self.memory(memory);
        let to = bytes(memory, dst, len)?;
        self.charge(len / BULK_BYTES_PER_FUEL)?;
        if is_lent(memory, dst, len) {
            return self.in_careful_pieces(len, Direction::Up, |start, piece| {
                piece.fill(byte as u8);
                // SAFETY: `bytes` put the range inside the memory, which never shrinks or moves.
                unsafe { memory.write_any(to.wrapping_add(start), piece) }
            });
        }
        self.in_pieces(len, PIECE_BYTES, Direction::Up, |start, len| {
            let to = to.wrapping_add(start);
            match memory.sharing() {
                // SAFETY: `bytes` put the range inside the memory, which never shrinks or moves.
                None => unsafe { std::ptr::write_bytes(to, byte as u8, len) },
                // SAFETY: as above.
                Some(_) => unsafe { raced::fill(to, byte as u8, len) },
            }
        })
    }

    fn memory_init(&mut self, memory: u64, segment: u64, dst: u64, src: u64, len: u64) -> Result<(), TrapCode> {
        let memory = self.memory(memory);
        let to = bytes(memory, dst, len)?;
        let from = part(self.data_segment(segment), src, len).ok_or(TrapCode::MemoryOutOfBounds)?;
        self.charge(len / BULK_BYTES_PER_FUEL)?;
        if is_lent(memory, dst, len) {
            return self.in_careful_pieces(len, Direction::Up, |start, piece| {
                // SAFETY: `bytes` put the range inside the memory, which never shrinks or moves.
                unsafe { memory.write_any(to.wrapping_add(start), &from[start..start + piece.len()]) }
            });
        }
        self.in_pieces(len, PIECE_BYTES, Direction::Up, |start, len| {
            let (to, from) = (to.wrapping_add(start), &from[start..start + len]);
            match memory.sharing() {
                // SAFETY: `bytes` put the range inside the memory; the module's bytes are not guest memory.
                None => unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, len) },
                // SAFETY: as above.
                Some(_) => unsafe { raced::copy_in(to, from) },
            }
        })
    }

    fn data_segment<'a>(&self, segment: u64) -> &'a [u8] {
        let instance = self.instance();
        match instance.dropped_data[segment as usize] {
            true => &[],
            false => instance.module.validated().data_bytes(segment as u32),
        }
    }

    fn data_drop(&mut self, segment: u64) -> u64 {
        self.instance_mut().dropped_data[segment as usize] = true;
        0
    }

    fn memory_atomic_wait32(
        &mut self,
        memory: u64,
        index: u64,
        offset: u64,
        expected: u64,
        timeout_ns: u64,
    ) -> Result<u64, TrapCode> {
        let memory = self.memory(memory);
        let at = memory.atomic_word(index, offset, 4)?;
        // SAFETY: an aligned word inside the memory, which never shrinks or moves.
        let cell = unsafe { AtomicU32::from_ptr(at.cast()) };
        let is_equal = || u32::from_le(cell.load(Ordering::SeqCst)) == expected as u32;
        self.wait(memory, index + offset, timeout_ns, is_equal)
    }

    fn memory_atomic_wait64(
        &mut self,
        memory: u64,
        index: u64,
        offset: u64,
        expected: u64,
        timeout_ns: u64,
    ) -> Result<u64, TrapCode> {
        let memory = self.memory(memory);
        let at = memory.atomic_word(index, offset, 8)?;
        // SAFETY: an aligned word inside the memory, which never shrinks or moves.
        let cell = unsafe { AtomicU64::from_ptr(at.cast()) };
        let is_equal = || u64::from_le(cell.load(Ordering::SeqCst)) == expected;
        self.wait(memory, index + offset, timeout_ns, is_equal)
    }

    /// Waits at an address that was checked. A timeout that is negative as a signed number means for ever.
    fn wait(
        &self,
        memory: &LinearMemory,
        address: u64,
        timeout_ns: u64,
        is_equal: impl FnOnce() -> bool,
    ) -> Result<u64, TrapCode> {
        let sharing = memory.sharing().ok_or(TrapCode::ExpectedSharedMemory)?;
        let timeout = u64::try_from(timeout_ns.cast_signed()).ok().map(Duration::from_nanos);
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let shared = self.store_data().shared.clone();
        let ended = shared.asleep(|| {
            let is_stopped = || shared.interrupted().load(Ordering::SeqCst);
            sharing.parking.wait(address, until, is_equal, is_stopped)
        });
        ended.map(|how| how as u64).map_err(|Stopped| TrapCode::Interrupted)
    }

    fn memory_atomic_notify(&mut self, memory: u64, index: u64, offset: u64, count: u64) -> Result<u64, TrapCode> {
        let memory = self.memory(memory);
        memory.atomic_word(index, offset, 4)?;
        let woken = memory.sharing().map(|sharing| sharing.parking.notify(index + offset, count as u32));
        Ok(woken.unwrap_or(0).into())
    }

    fn table_grow(&mut self, table: u64, init: u64, delta: u64) -> u64 {
        let table = self.table(table);
        let store = self.store_data();
        let Some(old) = table.grow(delta, init, |old, new| store.allow_table_growth(old, new)) else {
            return NOT_GROWN;
        };
        // Growth cannot trap: a balance that falls below zero here ends the next basic block.
        let _ = self.charge(delta / BULK_ELEMENTS_PER_FUEL);
        old
    }

    fn table_fill(&mut self, table: u64, dst: u64, init: u64, len: u64) -> Result<(), TrapCode> {
        let table = self.table(table);
        table.check(dst, len).map_err(table_trap)?;
        self.charge(len / BULK_ELEMENTS_PER_FUEL)?;
        self.in_table_pieces(len, Direction::Up, |start, len| table.fill(dst + start, init, len))
    }

    fn table_copy(&mut self, dst_table: u64, src_table: u64, dst: u64, src: u64, len: u64) -> Result<(), TrapCode> {
        let (to, from) = (self.table(dst_table), self.table(src_table));
        to.check(dst, len).map_err(table_trap)?;
        from.check(src, len).map_err(table_trap)?;
        self.charge(len / BULK_ELEMENTS_PER_FUEL)?;
        let direction = if dst <= src { Direction::Up } else { Direction::Down };
        self.in_table_pieces(len, direction, |start, len| to.copy_from(dst + start, from, src + start, len))
    }

    fn table_init(&mut self, table: u64, segment: u64, dst: u64, src: u64, len: u64) -> Result<(), TrapCode> {
        let table = self.table(table);
        let elements = self.instance().elements[segment as usize].as_deref().unwrap_or_default();
        table.check(dst, len).map_err(table_trap)?;
        part(elements, src, len).ok_or(TrapCode::TableOutOfBounds)?;
        self.charge(len / BULK_ELEMENTS_PER_FUEL)?;
        self.in_table_pieces(len, Direction::Up, |start, len| table.init(dst + start, elements, src + start, len))
    }

    fn elem_drop(&mut self, segment: u64) -> u64 {
        self.instance_mut().elements[segment as usize] = None;
        0
    }

    fn ref_func(&mut self, function: u64) -> u64 {
        self.instance().func_ref(function as u32).addr() as u64
    }

    fn heap_alloc(&mut self, tag: u64, length: u64, size: u64) -> Result<u32, TrapCode> {
        gc::allocate(self.store_data(), tag as u32, length as u32, size)
    }

    fn exception_new(&mut self, tag: u64) -> Result<u32, TrapCode> {
        let instance = self.instance();
        // SAFETY: the instance is live and linked, and its data has its layout.
        let vm = unsafe { access::tag(self.vmctx, &instance.layout, tag as u32) };
        // SAFETY: linked tags live as long as their store, and never change.
        exception::make(self.store_data(), unsafe { &*vm }, instance.module.exception_type(tag as u32))
    }

    fn stack_check_failed(&mut self) -> Result<(), TrapCode> {
        let limit = self.vm_store().stack_limit.load(Ordering::Relaxed);
        let here = 0_u8;
        match limit {
            usize::MAX => Err(TrapCode::Interrupted),
            // The word was the maximum when the caller looked, and no longer is.
            limit if (&raw const here).addr() > limit => Ok(()),
            _ => Err(TrapCode::StackOverflow),
        }
    }

    /// Takes fuel for work that depends on a length, if the engine consumes fuel.
    fn charge(&self, units: u64) -> Result<(), TrapCode> {
        if !self.store_data().consume_fuel {
            return Ok(());
        }
        let balance = self.vm_store().fuel.get();
        // SAFETY: the store's thread runs this code; no reference to the word exists.
        let left = unsafe { *balance }.saturating_sub_unsigned(units);
        // SAFETY: as above.
        unsafe { *balance = left };
        if left < 0 { Err(TrapCode::OutOfFuel) } else { Ok(()) }
    }

    /// Calls `work(start, len)` for each piece of `0..len`, and looks at the interrupt word before each but the first.
    fn in_pieces(
        &self,
        len: u64,
        piece: u64,
        direction: Direction,
        mut work: impl FnMut(usize, usize),
    ) -> Result<(), TrapCode> {
        let mut done = 0;
        while done < len {
            if done > 0 && self.vm_store().stack_limit.load(Ordering::Relaxed) == usize::MAX {
                return Err(TrapCode::Interrupted);
            }
            let now = piece.min(len - done);
            let start = if direction == Direction::Up { done } else { len - done - now };
            work(start as usize, now as usize);
            done += now;
        }
        Ok(())
    }

    /// As [`Guest::in_pieces`], for bytes that may fault: calls `work(start, piece)` with a piece's room on the host's side.
    #[cold]
    fn in_careful_pieces(
        &self,
        len: u64,
        direction: Direction,
        mut work: impl FnMut(usize, &mut [u8]) -> Result<(), TrapCode>,
    ) -> Result<(), TrapCode> {
        let (mut room, mut done) = ([0; PIECE_CAREFUL], Ok(()));
        self.in_pieces(len, PIECE_CAREFUL as u64, direction, |start, len| {
            if done.is_ok() {
                done = work(start, &mut room[..len]);
            }
        })?;
        done
    }

    /// As [`Guest::in_pieces`], for elements of tables whose ranges were checked.
    fn in_table_pieces(
        &self,
        len: u64,
        direction: Direction,
        mut work: impl FnMut(u64, u64) -> Result<(), TableOutOfBounds>,
    ) -> Result<(), TrapCode> {
        self.in_pieces(len, PIECE_ELEMENTS, direction, |start, len| {
            work(start as u64, len as u64).expect("the whole range was checked");
        })
    }

    fn vm_store(&self) -> &VmStore {
        // SAFETY: the instance is live, and so is the store it points to.
        let store = unsafe { (*self.vmctx).store };
        // SAFETY: as above; what changes in a `VmStore` is atomic or in cells.
        unsafe { &*store }
    }

    #[allow(clippy::mut_from_ref, reason = "the store's thread uses one such reference at a time")]
    fn store_data(&self) -> &mut StoreData {
        let data = StoreData::from_vm(std::ptr::from_ref(self.vm_store()).cast_mut());
        // SAFETY: the store's data is live; this thread runs its guest, and the functions of this file
        // keep no other reference to it while they use this one.
        unsafe { &mut *data }
    }

    fn instance<'a>(&self) -> &'a InstanceData {
        // SAFETY: the instance is live during the call; only `instance_mut` changes it, between uses.
        unsafe { &*InstanceData::from_vmctx(self.vmctx) }
    }

    fn instance_mut(&mut self) -> &mut InstanceData {
        // SAFETY: as in `instance`; the callers of this hold no other reference.
        unsafe { &mut *InstanceData::from_vmctx(self.vmctx) }
    }

    fn memory<'a>(&self, index: u64) -> &'a LinearMemory {
        // SAFETY: the instance is live and linked, and its data has its layout.
        let vm = unsafe { access::memory(self.vmctx, &self.instance().layout, index as u32) };
        // SAFETY: linked memories are those of live `LinearMemory` records.
        unsafe { LinearMemory::from_vm(vm) }
    }

    fn table<'a>(&self, index: u64) -> &'a TableData {
        // SAFETY: the instance is live and linked, and its data has its layout.
        let vm = unsafe { access::table(self.vmctx, &self.instance().layout, index as u32) };
        // SAFETY: linked tables are those of live `TableData` records.
        unsafe { TableData::from_vm(vm) }
    }
}

/// The host address of a range, if it is inside the memory.
fn bytes(memory: &LinearMemory, start: u64, len: u64) -> Result<*mut u8, TrapCode> {
    let end = start.checked_add(len).ok_or(TrapCode::MemoryOutOfBounds)?;
    if end > memory.byte_len() {
        return Err(TrapCode::MemoryOutOfBounds);
    }
    Ok(memory.base().wrapping_add(start as usize))
}

/// Whether a range inside a memory reaches to where what is lent may lie.
fn is_lent(memory: &LinearMemory, start: u64, len: u64) -> bool {
    memory.lending().is_some() && start.saturating_add(len) > memory.plain_len()
}

/// `len` items from `start`, if they are inside.
fn part<T>(items: &[T], start: u64, len: u64) -> Option<&[T]> {
    let end = usize::try_from(start.checked_add(len)?).ok()?;
    items.get(usize::try_from(start).ok()?..end)
}

fn table_trap(_: TableOutOfBounds) -> TrapCode {
    TrapCode::TableOutOfBounds
}

macro_rules! service {
    ($(#[$doc:meta])* $name:ident($($param:ident: $ty:ty),*) -> value) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `vmctx` is a live, linked instance of the store that runs on this thread.
        pub(crate) unsafe fn $name(vmctx: *mut VmCtx $(, $param: $ty)*) -> u64 {
            Guest { vmctx }.$name($($param),*)
        }
    };
    ($(#[$doc:meta])* $name:ident($($param:ident: $ty:ty),*) -> result) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `vmctx` is a live, linked instance of the store that runs on this thread.
        pub(crate) unsafe fn $name(vmctx: *mut VmCtx $(, $param: $ty)*) -> u64 {
            match (Guest { vmctx }).$name($($param),*) {
                Ok(result) => result,
                Err(code) => {
                    // SAFETY: as for this function; interpreted callers save their positions before they call.
                    unsafe { trap(vmctx, code) };
                    FAILED
                }
            }
        }
    };
    ($(#[$doc:meta])* $name:ident($($param:ident: $ty:ty),*) -> status) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `vmctx` is a live, linked instance of the store that runs on this thread.
        pub(crate) unsafe fn $name(vmctx: *mut VmCtx $(, $param: $ty)*) -> Status {
            match (Guest { vmctx }).$name($($param),*) {
                Ok(()) => Status::Ok,
                // SAFETY: as for this function; interpreted callers save their positions before they call.
                Err(code) => unsafe { trap(vmctx, code) },
            }
        }
    };
    ($(#[$doc:meta])* $name:ident($($param:ident: $ty:ty),*) -> object) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `vmctx` is a live, linked instance of the store that runs on this thread. Every reference that is used
        /// afterwards is in a place the collector knows.
        pub(crate) unsafe fn $name(vmctx: *mut VmCtx $(, $param: $ty)*) -> u64 {
            match (Guest { vmctx }).$name($($param),*) {
                Ok(reference) => reference.into(),
                Err(code) => {
                    // SAFETY: as for this function; interpreted callers save their positions before they call.
                    unsafe { trap(vmctx, code) };
                    0
                }
            }
        }
    };
    // Ways out of compiled code are written where entry and exit are.
    ($(#[$doc:meta])* $name:ident($($param:ident: $ty:ty),*) -> never) => {};
}

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident($($param:ident: $ty:ty),*) -> $class:ident;)*) => {
        $(service! { $(#[$doc])* $name($($param: $ty),*) -> $class })*
    };
}

aura_host_abi::for_each_service!(services);

#[cfg(test)]
mod tests;
