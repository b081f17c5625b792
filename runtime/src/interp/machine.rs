//! The function that runs now: its instance, code and position, and how they are looked up.
//!
//! # Safety
//! Trusts: the running instance, its store and the code are live, and the code belongs to the
//! instance's module, so that every index in an instruction is valid. Gives: indices into `Code`'s own
//! lists are checked by slices; the position is the one raw pointer into the code.

use std::sync::atomic::Ordering;

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmStore};
use aura_validator::Code;
use aura_validator::code::{Inst, LabelId, MemArgId, Slot};

use super::address::{Access, View};
use super::frame::{Frame, InterpState, Mark};
use super::rows::Nans;
use super::slots::Regs;
use crate::services;
use crate::store::StoreData;
use crate::vm::access;
use crate::vm::instance::InstanceData;
use crate::vm::memory::LinearMemory;

/// Where the running function is; kept in machine registers by the loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// The next instruction.
    pub(super) next: *const Inst,
    pub(super) regs: Regs,
}

/// What one `run` works with.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) vmctx: *mut VmCtx,
    pub(super) code: *const Code,
    /// The first memory of the instance, looked up once per entry.
    memory: View,
    pub(super) store: *mut VmStore,
    pub(super) data: *mut StoreData,
    pub(super) nans: Nans,
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
        let state = unsafe { &(*data).interp };
        let nans = if state.canonical_nans { Nans::Canonical } else { Nans::Any };
        let mark = state.mark();
        Self { vmctx, code: std::ptr::null(), memory: View::NONE, store, data, nans, mark, results }
    }

    /// The interpreter's stack. The reference must end before anything else may look at the store.
    pub(super) fn state(&mut self) -> &mut InterpState {
        // SAFETY: the store's data is live and this thread runs its guest.
        unsafe { &mut (*self.data).interp }
    }

    pub(super) fn code<'a>(&self) -> &'a Code {
        // SAFETY: the code of an open frame lives as long as its module.
        unsafe { &*self.code }
    }

    pub(super) fn instance<'a>(&self) -> &'a InstanceData {
        // SAFETY: the instance is live; only services change its data, and no reference is kept across them.
        unsafe { &*InstanceData::from_vmctx(self.vmctx) }
    }

    /// Makes a frame the running one.
    pub(super) fn resume(&mut self, frame: &Frame) -> Cursor {
        self.code = frame.code;
        if frame.vmctx != self.vmctx || self.memory.is_none() {
            self.vmctx = frame.vmctx;
            self.memory = self.first_memory();
        }
        Cursor { next: self.code().insts.as_ptr().wrapping_add(frame.pc as usize), regs: frame.regs }
    }

    /// Stores the position in the frame.
    pub(super) fn save(&mut self, cursor: Cursor) {
        let first = self.code().insts.as_ptr();
        let pc = (cursor.next.addr() - first.addr()) / size_of::<Inst>();
        self.state().current().pc = pc as u32;
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

    /// The instruction a label stands at.
    #[inline(always)]
    pub(super) fn target(&self, label: LabelId) -> *const Inst {
        let code = self.code();
        code.insts.as_ptr().wrapping_add(code.label(label).pc as usize)
    }

    /// The instruction a `br_table` goes to.
    ///
    /// # Safety
    /// `index` is a slot of the running code.
    pub(super) unsafe fn table_target(&self, regs: Regs, index: Slot, start: u32, len: u32) -> *const Inst {
        // SAFETY: said by the caller.
        let index = unsafe { regs.get::<u32>(index) }.min(len - 1);
        self.target(self.code().targets[(start + index) as usize])
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
