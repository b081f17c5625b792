//! A loop in mid-flight moves into compiled code.
//!
//! The handler of a loop header that counts goes down by [`Machine::is_loop_due`], and if that says so
//! goes on where [`Machine::at_loop`] says. At a loop header the slots are the whole state of a frame, so that
//! code for the header can take the frame's place: the frame is taken off the list, its slots stay where they
//! are until that code has loaded them, before it does anything else, and what it returns goes where the frame's
//! results would have gone.
//!
//! # Safety
//! Trusts: as [`super::machine`]; whatever the loop keeps in registers of its own is in the slots at a header.

use std::sync::atomic::Ordering;

use aura_host_abi::trap::Status;

use super::call::awaited;
use super::machine::{Cursor, Machine};
use crate::compile::LoopCode;
use crate::heat::{self, AtLoop};
use crate::{arch, tier};

/// Native stack that has to be left for a loop to move into compiled code; with less it stays interpreted.
const NATIVE_LEFT: usize = 2 * aura_jit::MAX_FRAME as usize;

impl Machine {
    /// Counts a pass of a loop header. Says whether to ask for compiled code.
    #[inline(always)]
    pub(super) fn is_loop_due(&mut self) -> bool {
        let left = &mut self.state().passes_left;
        *left = left.wrapping_sub(1);
        *left == 0
    }

    /// Goes on in compiled code at the loop header before `cursor` if there is such code; if not, goes on at `cursor`.
    /// `Err(Status::Ok)` means that the outermost function of this run has returned.
    ///
    /// # Safety
    /// `cursor` is behind a `LoopHeader` of the running code.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn at_loop(&mut self, cursor: Cursor) -> Result<Cursor, Status> {
        self.save(cursor);
        let code = self.code();
        let state = self.state();
        state.passes_left = state.passes;
        let passes = state.passes;
        let frame = *state.current();
        // SAFETY: the running frame's entry is that of a live module's own function, and `code` is its.
        match unsafe { heat::at_loop(frame.entry(), code, frame.inst(), passes) } {
            // SAFETY: the code is for this header of the running function.
            AtLoop::Enter(compiled) => unsafe { self.go_on(cursor, compiled) },
            AtLoop::Watch => {
                self.state().passes_left = 1;
                Ok(cursor)
            }
            AtLoop::Stay => Ok(cursor),
        }
    }

    /// Replaces the running frame by compiled code that goes on in it.
    ///
    /// # Safety
    /// `compiled` is for the header of the running function at which it is.
    unsafe fn go_on(&mut self, cursor: Cursor, compiled: LoopCode) -> Result<Cursor, Status> {
        // SAFETY: the store is live.
        let limit = unsafe { &(*self.store).stack_limit }.load(Ordering::Relaxed);
        if arch::stack_pointer() < limit.saturating_add(NATIVE_LEFT) {
            return Ok(cursor);
        }
        let slots = self.result_slots();
        // Two slots say what to run and in which frame.
        let Ok(array) = self.state().push_array(slots.max(2)) else { return Ok(cursor) };
        let (frame, mark) = self.state().retire();
        // SAFETY: the array has two slots.
        unsafe { array.write(compiled.code.as_ptr().addr() as u64) };
        // SAFETY: as above.
        unsafe { array.wrapping_add(1).write(frame.regs.base().addr() as u64) };
        // SAFETY: the frame's instance and entry belong together and live; the stub is for its type, and the frame's slots
        // stand until the code has loaded them, because nothing is pushed below the array before that.
        let status = unsafe { tier::enter(compiled.stub, frame.vmctx, frame.entry(), array) };
        let is_outermost = frame.run() != 0;
        let next = match status {
            Status::Ok if is_outermost => {
                // SAFETY: the slot array of this run has room for the results, which are in the array.
                unsafe { std::ptr::copy_nonoverlapping(array, self.results, slots) };
                Err(Status::Ok)
            }
            Status::Ok => {
                let caller = *self.state().current();
                let cursor = self.resume(&caller);
                let (_, results) = caller.code().call(awaited(cursor.next));
                // SAFETY: the results that the caller waits for are in the array, which has a slot.
                unsafe { self.take_results(cursor, results, array) };
                Ok(cursor)
            }
            status => Err(status),
        };
        self.state().reset(mark);
        match next {
            Err(status) if !is_outermost && status != Status::Ok => self.recover(status),
            next => next,
        }
    }

    /// How many slots the results of the running function take.
    fn result_slots(&mut self) -> usize {
        let entry = self.state().current().entry();
        // SAFETY: the entry of an open frame is live.
        let type_id = unsafe { (*entry).type_id() };
        self.instance().module.engine().types().func(type_id).result_slots()
    }
}
