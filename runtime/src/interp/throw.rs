//! Exceptions in interpreted frames.
//!
//! A throw, or a call that comes back with an exception, looks through the frames of this `run` from
//! the inside out; what no frame handles leaves the `run` as a status.
//!
//! # Safety
//! Trusts: as [`super::machine`]; every frame but the running one has its position saved.

use aura_host_abi::trap::Status;
use aura_host_abi::{SlotType, StructType, TrapCode};
use aura_validator::code::{Handler, Inst, Operands, Slot};
use aura_validator::ops::v128;

use super::machine::{Cursor, Machine};
use super::slots::Regs;
use crate::vm::access;
use crate::{exception, services};

impl Machine {
    /// `throw`.
    ///
    /// # Safety
    /// `cursor` is behind such an instruction of the running code with these operands.
    pub(super) unsafe fn throw(&mut self, cursor: Cursor, tag: u32, args: Operands) -> Result<Cursor, Status> {
        self.save(cursor);
        // SAFETY: the instance is live and linked; the position is saved, and references are in slots.
        let exn = unsafe { services::exception_new(self.vmctx, tag.into()) } as u32;
        if exn == 0 {
            return Err(Status::Trap);
        }
        let ty = self.instance().module.exception_type(tag);
        for (field, arg) in (1..).zip(self.code().operands(args)) {
            let place = exception::field(self.store, exn, ty.offset(field));
            // SAFETY: the slot is the running code's; the exception has the layout of the tag's type.
            unsafe { store_field(cursor.regs, arg.ty, arg.slot, place) };
        }
        self.land(exn)
    }

    /// `throw_ref`.
    ///
    /// # Safety
    /// As [`Machine::throw`].
    pub(super) unsafe fn throw_ref(&mut self, cursor: Cursor, exn: Slot) -> Result<Cursor, Status> {
        // SAFETY: the slot is one of the running code.
        let exn = unsafe { cursor.regs.get::<u32>(exn) };
        if exn == 0 {
            return Err(self.trap(cursor, TrapCode::NullReference));
        }
        self.save(cursor);
        self.land(exn)
    }

    /// What a call that did not return means: an exception goes to the nearest handler.
    pub(super) fn recover(&mut self, status: Status) -> Result<Cursor, Status> {
        if status != Status::Exception {
            return Err(status);
        }
        let exn = exception::take_pending(self.store);
        assert_ne!(exn, 0, "a call that ended by an exception left it in the store");
        self.land(exn)
    }

    /// Goes on at the nearest handler of this run for an exception; the running frame's position is saved.
    /// Nothing is allocated on the way, so that the reference stays what it is.
    fn land(&mut self, exn: u32) -> Result<Cursor, Status> {
        loop {
            let frame = *self.state().current();
            let cursor = self.resume(&frame);
            if let Some(handler) = self.handler(cursor, frame.inst(), exn)? {
                self.forget_depth(cursor.regs);
                // SAFETY: the handler is the running code's, and takes the exception's tag.
                unsafe { self.deliver(cursor.regs, handler, exn) };
                return Ok(Cursor { next: self.target(handler.target), ..cursor });
            }
            if frame.run() != 0 {
                exception::set_pending(self.store, exn);
                return Err(Status::Exception);
            }
            self.state().pop();
        }
    }

    /// The frames that an exception left on its way to the running one no longer cost anything.
    fn forget_depth(&mut self, regs: Regs) {
        if let Some(&Inst::Enter { saved, cost }) = self.code().insts.first() {
            // SAFETY: the slot is the running code's, written when the frame was entered.
            let before = unsafe { regs.get::<i64>(saved) };
            self.restore_depth(before.saturating_sub(cost.into()));
        }
    }

    /// The handler of the running frame, which stands at `pc`, for an exception.
    fn handler(&mut self, cursor: Cursor, pc: u32, exn: u32) -> Result<Option<Handler>, Status> {
        let code = self.code();
        // SAFETY: the reference is to an exception.
        let tag = unsafe { exception::tag_of(self.store, exn) };
        let mut region = code.region_at(pc).map(|index| &code.regions[index as usize]);
        while let Some(here) = region {
            if here.cost > 0 && !self.charge(here.cost) {
                return Err(self.trap(cursor, TrapCode::OutOfFuel));
            }
            if self.is_interrupted() {
                // SAFETY: the cursor is in the running code.
                unsafe { self.interrupt(cursor) }?;
            }
            if let Some(found) = here.handlers.iter().find(|handler| self.takes(handler, tag)) {
                return Ok(Some(*found));
            }
            region = here.outer.map(|index| &code.regions[index as usize]);
        }
        Ok(None)
    }

    fn takes(&self, handler: &Handler, tag: usize) -> bool {
        handler.tag.is_none_or(|index| {
            // SAFETY: the instance is live and linked, and its data has its layout.
            let own = unsafe { access::tag(self.vmctx, &self.instance().layout, index) };
            own.addr() == tag
        })
    }

    /// Writes what a handler carries to its slots.
    ///
    /// # Safety
    /// The handler is the running code's and takes the exception's tag.
    unsafe fn deliver(&mut self, regs: Regs, handler: Handler, exn: u32) {
        if let Some(tag) = handler.tag {
            let ty: &StructType = self.instance().module.exception_type(tag);
            for (field, operand) in (1..).zip(self.code().operands(handler.payload)) {
                let place = exception::field(self.store, exn, ty.offset(field));
                // SAFETY: the slot is the running code's; the exception has the layout of the tag's type.
                unsafe { load_field(regs, operand.ty, operand.slot, place) };
            }
        }
        if let Some(slot) = handler.exn {
            // SAFETY: the slot is one of references of the running code.
            unsafe { regs.set(slot, exn) };
        }
    }
}

/// Copies a slot into a field of this class.
///
/// # Safety
/// The slot holds such a value; `place` is such a field.
unsafe fn store_field(regs: Regs, ty: SlotType, slot: Slot, place: *mut u8) {
    match ty {
        SlotType::I32 | SlotType::F32 | SlotType::Ref => {
            // SAFETY: said by the caller.
            let value = unsafe { regs.get(slot) };
            // SAFETY: said by the caller.
            unsafe { place.cast::<u32>().write(value) };
        }
        SlotType::I64 | SlotType::F64 | SlotType::Func => {
            // SAFETY: said by the caller.
            let value = unsafe { regs.get(slot) };
            // SAFETY: said by the caller.
            unsafe { place.cast::<u64>().write(value) };
        }
        SlotType::V128 => {
            // SAFETY: said by the caller.
            let v128(bytes) = unsafe { regs.get(slot) };
            // SAFETY: said by the caller; bytes need no alignment.
            unsafe { place.cast::<[u8; 16]>().write(bytes) };
        }
    }
}

/// Copies a field of this class into a slot.
///
/// # Safety
/// The slot is one for such a value; `place` is such a field.
unsafe fn load_field(regs: Regs, ty: SlotType, slot: Slot, place: *const u8) {
    match ty {
        SlotType::I32 | SlotType::F32 | SlotType::Ref => {
            // SAFETY: said by the caller.
            let value = unsafe { place.cast::<u32>().read() };
            // SAFETY: said by the caller.
            unsafe { regs.set(slot, value) };
        }
        SlotType::I64 | SlotType::F64 | SlotType::Func => {
            // SAFETY: said by the caller.
            let value = unsafe { place.cast::<u64>().read() };
            // SAFETY: said by the caller.
            unsafe { regs.set(slot, value) };
        }
        SlotType::V128 => {
            // SAFETY: said by the caller; bytes need no alignment.
            let bytes = unsafe { place.cast::<[u8; 16]>().read() };
            // SAFETY: said by the caller.
            unsafe { regs.set(slot, v128(bytes)) };
        }
    }
}
