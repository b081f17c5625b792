//! The function that runs now: its instance, code and position, and how they are looked up.
//!
//! # Safety
//! Trusts: the running instance, its store and the code are live, and the code belongs to the
//! instance's module, so that every index in an instruction is valid. Gives: indices into `Code`'s own
//! lists are checked by slices; the position is the one raw pointer into the form.

use std::sync::atomic::Ordering;

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmStore};
use aura_validator::Code;
use aura_validator::code::{LabelId, MemArgId, Slot};

use super::address::{Access, View};
use super::dispatch::At;
use super::form::{Form, Word};
use super::frame::{Frame, InterpState, Mark};
use super::rows::Nans;
use super::slots::Regs;
use crate::services;
use crate::store::StoreData;
use crate::vm::access;
use crate::vm::instance::InstanceData;
use crate::vm::memory::LinearMemory;

/// Where the running function is, for whoever is not a handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// The next cell: behind the one that is carried out, or, for a trap, anywhere inside that one.
    pub(super) next: *const Word,
    pub(super) regs: Regs,
}

/// What one `run` works with.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) vmctx: *mut VmCtx,
    pub(super) store: *mut VmStore,
    pub(super) state: *mut InterpState,
    /// How much of the first memory may be written.
    pub(super) writable: u64,
    /// The end of the interpreter's stack.
    pub(super) limit: *mut u64,
    /// Whether handlers return to the loop.
    pub(super) by_loop: bool,
    /// The state that a handler left for the loop, or for the handler that called a step.
    pub(super) at: Option<At>,
    /// Bytes on their way to or from what is no plain memory.
    pub(super) scratch: [u8; 16],
    /// The first memory of the instance, looked up once per entry.
    pub(super) memory: View,
    pub(super) data: *mut StoreData,
    pub(super) nans: Nans,
    /// The first result of the last call, where it was not left in an accumulator.
    pub(super) result: u64,
    /// What came of the last call of compiled code that was made without operand lists.
    pub(super) outcome: Status,
    /// The interpreter's stack as this `run` found it.
    pub(super) mark: Mark,
    /// Where the values of the outermost function go.
    pub(super) results: *mut u64,
}

impl Machine {
    /// A machine for the guest of an instance, not yet in a function.
    ///
    /// # Safety
    /// `vmctx` is a live instance of the store that runs on this thread; `results` is the caller's slot array.
    pub(super) unsafe fn new(vmctx: *mut VmCtx, results: *mut u64) -> Self {
        // SAFETY: said by the caller.
        let store = unsafe { (*vmctx).store };
        let data = StoreData::from_vm(store);
        // SAFETY: the store's data is live; no exclusive reference to it is used while guest code runs.
        let state = unsafe { &mut (*data).interp };
        let nans = if state.canonical_nans { Nans::Canonical } else { Nans::Any };
        let (limit, by_loop) = (state.limit(), state.by_loop);
        let mark = state.mark();
        Self {
            vmctx,
            store,
            state,
            writable: 0,
            limit,
            by_loop,
            at: None,
            scratch: [0; 16],
            memory: View::NONE,
            data,
            nans,
            result: 0,
            outcome: Status::Ok,
            mark,
            results,
        }
    }

    /// The interpreter's stack. The reference must end before anything else may look at the store.
    pub(super) fn state(&mut self) -> &mut InterpState {
        // SAFETY: the store's data is live and this thread runs its guest.
        unsafe { &mut *self.state }
    }

    /// The head of the running function's frame.
    pub(super) fn frame(&self) -> Frame {
        // SAFETY: the store's state is live.
        let current = unsafe { (*self.state).current };
        // SAFETY: a function that runs has a frame, which is open.
        unsafe { *current }
    }

    pub(super) fn code<'a>(&self) -> &'a Code {
        self.frame().code()
    }

    /// The state that was left for the loop.
    pub(super) fn left(&mut self) -> At {
        self.at.take().expect("a handler that returned to the loop left its state")
    }

    /// The state at a cell, where only frame and memory hold what the guest knows. If a call just returned,
    /// its first result is in the accumulators too.
    pub(super) fn at_cursor(&mut self, cursor: Cursor) -> At {
        self.writable = self.memory.plain_length();
        At {
            ip: cursor.next,
            regs: cursor.regs,
            machine: self,
            int: self.result,
            base: self.memory.base(),
            length: self.writable,
            single: f32::from_bits(self.result as u32),
            double: f64::from_bits(self.result),
        }
    }

    pub(super) fn instance<'a>(&self) -> &'a InstanceData {
        // SAFETY: the instance is live; only services change its data, and no reference is kept across them.
        unsafe { &*InstanceData::from_vmctx(self.vmctx) }
    }

    /// Makes a frame the running one.
    pub(super) fn resume(&mut self, frame: &Frame) -> Cursor {
        if frame.vmctx != self.vmctx || self.memory.is_none() {
            self.vmctx = frame.vmctx;
            self.memory = self.first_memory();
        }
        Cursor { next: frame.ip, regs: frame.regs }
    }

    /// Stores the position in the frame.
    pub(super) fn save(&mut self, cursor: Cursor) {
        let state = self.state();
        state.current().ip = cursor.next;
        state.settle();
    }

    /// Ends the run with a trap at the current instruction.
    #[cold]
    #[inline(never)]
    pub(super) fn trap(&mut self, cursor: Cursor, code: TrapCode) -> Status {
        self.save(cursor);
        // SAFETY: the instance is live; the position is saved.
        unsafe { services::trap(self.vmctx, code) }
    }

    /// Whether the running guest was asked to stop, or the native stack's limit was never set.
    #[inline(always)]
    pub(super) fn is_interrupted(&self) -> bool {
        // SAFETY: the store is live.
        let limit = unsafe { &(*self.store).stack_limit };
        limit.load(Ordering::Relaxed) == usize::MAX
    }

    /// What to do about an interrupt; goes on where it was if the interrupt was withdrawn.
    ///
    /// # Safety
    /// `cursor` is in the running code.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn interrupt(&mut self, cursor: Cursor) -> Result<Cursor, Status> {
        self.save(cursor);
        // SAFETY: the instance is live and linked; the position is saved.
        self.check(unsafe { services::stack_check_failed(self.vmctx) })?;
        Ok(cursor)
    }

    pub(super) fn check(&self, status: Status) -> Result<(), Status> {
        if status == Status::Ok { Ok(()) } else { Err(status) }
    }

    /// Charges a basic block; false if the balance is then negative.
    #[inline(always)]
    pub(super) fn charge(&mut self, cost: u32) -> bool {
        // SAFETY: the store is live; this thread runs its guest.
        let balance = unsafe { (*self.store).fuel.get() };
        // SAFETY: as above.
        let left = unsafe { *balance }.saturating_sub(i64::from(cost));
        // SAFETY: as above.
        unsafe { *balance = left };
        left >= 0
    }

    /// Takes the cost of a frame from what is left; returns what was left before.
    #[inline(never)]
    pub(super) fn take_depth(&mut self, cost: u32) -> i64 {
        // SAFETY: the store is live; this thread runs its guest.
        let left = unsafe { (*self.store).depth_left.get() };
        // SAFETY: as above.
        let before = unsafe { *left };
        // SAFETY: as above.
        unsafe { *left = before.saturating_sub(cost.into()) };
        before
    }

    /// Puts back what was left before the running frame.
    #[inline(never)]
    pub(super) fn restore_depth(&mut self, before: i64) {
        // SAFETY: the store is live; this thread runs its guest.
        let left = unsafe { (*self.store).depth_left.get() };
        // SAFETY: as above.
        unsafe { *left = before };
    }

    /// The cell at a label of the running code.
    pub(super) fn target(&self, label: LabelId) -> *const Word {
        Form::cell(self.frame().form, self.code().label(label).pc)
    }

    /// A global of the running instance, by its place in the instance's block or that of the pointer to it.
    #[inline(always)]
    pub(super) fn global_at(&self, offset: i32, is_own: bool) -> *mut u64 {
        let place = self.vmctx.wrapping_byte_offset(offset as isize);
        if is_own {
            return place.cast();
        }
        // SAFETY: the instance is live and linked; its layout has an imported global's pointer there.
        unsafe { *place.cast::<*mut u64>() }
    }

    /// What a memory instruction accesses.
    #[inline(always)]
    pub(super) fn access(&self, mem: MemArgId, addr: Slot) -> Access {
        let mem = self.code().memarg(mem);
        let memory = if mem.memory == 0 { self.memory } else { self.view(mem.memory) };
        Access { memory, offset: mem.offset, addr }
    }

    /// A memory of the running instance.
    #[cold]
    fn view(&self, index: u32) -> View {
        // SAFETY: the instance is live and linked, and its data has its layout.
        let vm = unsafe { access::memory(self.vmctx, &self.instance().layout, index) };
        // SAFETY: linked memories are those of live `LinearMemory` records.
        let ty = unsafe { LinearMemory::from_vm(vm) }.ty();
        View::new(vm, address_mask(ty.memory64))
    }

    fn first_memory(&self) -> View {
        if self.instance().layout.counts().memories == 0 { View::NONE } else { self.view(0) }
    }
}

/// The bits of a slot that are an address or an index.
pub(super) fn address_mask(is_64: bool) -> u64 {
    if is_64 { u64::MAX } else { u64::from(u32::MAX) }
}
