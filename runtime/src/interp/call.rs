//! Calls and returns.
//!
//! A callee whose entry word is the interpreter's own gets a frame and the loop goes on in it; any
//! other callee is entered through its word, with its arguments in an array above the frames.
//!
//! # Safety
//! Trusts: as [`super::machine`]; a `VmFuncRef` names a live function with the type its caller was
//! validated or checked for, so that operand lists of both sides agree.

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmFuncRef};
use aura_validator::Code;
use aura_validator::code::{CallId, Operand, Operands, Slot};
use std::sync::atomic::Ordering;

use super::execute::execute;
use super::frame::Mark;
use super::machine::{Cursor, Machine, address_mask};
use super::slots::Regs;
use crate::vm::access;
use crate::{services, tail, tier};

/// Runs an interpreted function for a caller outside the interpreter.
///
/// Parameters are taken from `slots` and results put there, both from index 0.
///
/// # Safety
/// `vmctx` is a live, linked instance of the store that runs on this thread, `entry` a function of its
/// module, and `slots` has room for the function's parameters and results.
pub(crate) unsafe fn run(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> Status {
    // SAFETY: said by the caller.
    let mut machine = unsafe { Machine::new(vmctx, slots) };
    // SAFETY: said by the caller.
    let status = match unsafe { machine.start(entry) } {
        // SAFETY: `start` entered the function.
        Ok(Some(cursor)) => unsafe { execute(&mut machine, cursor) },
        // SAFETY: said by the caller; the function was compiled just now.
        Ok(None) => unsafe { tail::restart(vmctx, entry, slots) },
        Err(status) => status,
    };
    let mark = machine.mark;
    machine.state().reset(mark);
    status
}

/// What is called: a function and its instance.
#[derive(Clone, Copy, Debug)]
struct Callee {
    entry: *const VmFuncEntry,
    vmctx: *mut VmCtx,
}

impl Callee {
    /// # Safety
    /// `func` is a live function reference.
    unsafe fn of(func: *const VmFuncRef) -> Self {
        // SAFETY: said by the caller; references are immutable once published.
        let func = unsafe { &*func };
        Self { entry: func.entry, vmctx: func.vmctx }
    }

    /// Whether the interpreter itself runs the function.
    fn is_interpreted(self) -> bool {
        // SAFETY: the entry of a callee is live.
        let word = unsafe { &(*self.entry).slots_entry };
        std::ptr::eq(word.load(Ordering::Acquire), tier::interp_entry as *const ())
    }
}

impl Machine {
    /// Enters the outermost function of a `run`; `None` if it is to be called as a compiled one.
    ///
    /// # Safety
    /// As for [`run`].
    unsafe fn start(&mut self, entry: *const VmFuncEntry) -> Result<Option<Cursor>, Status> {
        let callee = Callee { entry, vmctx: self.vmctx };
        let here = 0_u8;
        let native = (&raw const here).addr();
        // SAFETY: the store is live.
        let limit = unsafe { &(*self.store).stack_limit };
        if native < limit.load(Ordering::Relaxed) {
            // SAFETY: the instance is live and linked; no frame of this run is open yet.
            self.check(unsafe { services::stack_check_failed(self.vmctx) })?;
        }
        if self.heat(callee) {
            return Ok(None);
        }
        let code = self.code_of(callee)?;
        let regs = match self.state().push(code, callee.vmctx, entry, native) {
            Ok(regs) => regs,
            // SAFETY: the instance is live; the frames below have their positions saved.
            Err(code) => return Err(unsafe { services::trap(self.vmctx, code) }),
        };
        // SAFETY: code of an interpreted function lives as long as its module.
        let params = unsafe { &(*code).frame.params };
        // SAFETY: the slot array holds the parameters of the function; the frame is fresh.
        unsafe { regs.take_array(params, self.results) };
        let frame = *self.state().current();
        Ok(Some(self.resume(&frame)))
    }

    /// `call`.
    ///
    /// # Safety
    /// `cursor` is behind a call instruction of the running code with these operands.
    pub(super) unsafe fn call(&mut self, cursor: Cursor, func: u32, call: CallId) -> Result<Cursor, Status> {
        let callee = self.callee(func);
        // SAFETY: the callee is live and validated to have the type of the operands.
        unsafe { self.enter(cursor, callee, call) }
    }

    /// `return_call`.
    ///
    /// # Safety
    /// As [`Machine::call`].
    pub(super) unsafe fn return_call(&mut self, cursor: Cursor, func: u32, args: Operands) -> Result<Cursor, Status> {
        let callee = self.callee(func);
        // SAFETY: the callee is live and validated to have the type of the operands.
        unsafe { self.replace(cursor, callee, args) }
    }

    /// A function of the running instance.
    fn callee(&self, func: u32) -> Callee {
        let layout = &self.instance().layout;
        let Some(own) = func.checked_sub(layout.counts().imported_funcs) else {
            // SAFETY: the instance is live and linked; `layout` is its own.
            let func = unsafe { access::import(self.vmctx, layout, func) };
            // SAFETY: import cells of linked instances hold live references.
            return unsafe { Callee::of(func) };
        };
        // SAFETY: the instance is live; its entries cover the module's own functions.
        let entries = unsafe { (*self.vmctx).entries };
        Callee { entry: entries.wrapping_add(own as usize), vmctx: self.vmctx }
    }

    /// `call_indirect`.
    ///
    /// # Safety
    /// `cursor` is behind such an instruction of the running code with these operands.
    pub(super) unsafe fn call_indirect(
        &mut self,
        cursor: Cursor,
        table: u32,
        type_index: u32,
        index: Slot,
        call: CallId,
    ) -> Result<Cursor, Status> {
        // SAFETY: as for this function.
        let callee = unsafe { self.element(cursor, table, type_index, index) }?;
        // SAFETY: the callee is live and was checked to have the type of the operands.
        unsafe { self.enter(cursor, callee, call) }
    }

    /// `return_call_indirect`.
    ///
    /// # Safety
    /// As [`Machine::call_indirect`].
    pub(super) unsafe fn return_call_indirect(
        &mut self,
        cursor: Cursor,
        table: u32,
        type_index: u32,
        index: Slot,
        args: Operands,
    ) -> Result<Cursor, Status> {
        // SAFETY: as for this function.
        let callee = unsafe { self.element(cursor, table, type_index, index) }?;
        // SAFETY: the callee is live and was checked to have the type of the operands.
        unsafe { self.replace(cursor, callee, args) }
    }

    /// `call_ref`.
    ///
    /// # Safety
    /// `cursor` is behind such an instruction of the running code with these operands.
    pub(super) unsafe fn call_ref(&mut self, cursor: Cursor, func: Slot, call: CallId) -> Result<Cursor, Status> {
        // SAFETY: as for this function.
        let callee = unsafe { self.referred(cursor, func) }?;
        // SAFETY: the callee is live and validated to have the type of the operands.
        unsafe { self.enter(cursor, callee, call) }
    }

    /// `return_call_ref`.
    ///
    /// # Safety
    /// As [`Machine::call_ref`].
    pub(super) unsafe fn return_call_ref(
        &mut self,
        cursor: Cursor,
        func: Slot,
        args: Operands,
    ) -> Result<Cursor, Status> {
        // SAFETY: as for this function.
        let callee = unsafe { self.referred(cursor, func) }?;
        // SAFETY: the callee is live and validated to have the type of the operands.
        unsafe { self.replace(cursor, callee, args) }
    }

    /// What a reference refers to.
    ///
    /// # Safety
    /// `func` is a slot of the running code and holds a function reference.
    unsafe fn referred(&mut self, cursor: Cursor, func: Slot) -> Result<Callee, Status> {
        // SAFETY: said by the caller.
        let func = unsafe { cursor.regs.get::<u64>(func) };
        if func == 0 {
            return Err(self.trap(cursor, TrapCode::NullFunction));
        }
        // SAFETY: function references that are not null are live.
        Ok(unsafe { Callee::of(std::ptr::with_exposed_provenance(func as usize)) })
    }

    /// The function of a type that a table holds at an index.
    ///
    /// # Safety
    /// `index` is a slot of the running code.
    unsafe fn element(&mut self, cursor: Cursor, table: u32, type_index: u32, index: Slot) -> Result<Callee, Status> {
        // SAFETY: the slot is one of the running code.
        let index = unsafe { cursor.regs.get::<u64>(index) };
        let elements = self.table(table);
        let func = match elements.get(index & address_mask(elements.ty().table64)) {
            None => return Err(self.trap(cursor, TrapCode::UndefinedElement)),
            Some(0) => return Err(self.trap(cursor, TrapCode::UninitializedElement)),
            Some(func) => std::ptr::with_exposed_provenance::<VmFuncRef>(func as usize),
        };
        // SAFETY: elements of function tables that are not null are live references.
        let type_id = unsafe { (*func).type_id };
        if !self.is_subtype(type_id, type_index) {
            return Err(self.trap(cursor, TrapCode::IndirectCallTypeMismatch));
        }
        // SAFETY: as above.
        Ok(unsafe { Callee::of(func) })
    }

    /// Whether the type with a canonical number is a subtype of a type of the running module.
    #[inline]
    pub(super) fn is_subtype(&self, type_id: u32, of: u32) -> bool {
        let module = &self.instance().module;
        let of = module.type_id(of);
        type_id == of || module.engine().types().is_subtype(type_id, of)
    }

    /// Calls with operands of the running frame.
    ///
    /// # Safety
    /// The callee is live and has the type of the operands.
    unsafe fn enter(&mut self, cursor: Cursor, callee: Callee, call: CallId) -> Result<Cursor, Status> {
        self.save(cursor);
        let code = self.code();
        if !callee.is_interpreted() || self.heat(callee) {
            let (args, results) = code.call(call);
            // SAFETY: said by the caller.
            return unsafe { self.call_out(cursor, callee, args, results) };
        }
        if self.is_interrupted() {
            // SAFETY: said by the caller.
            unsafe { self.interrupt(cursor) }?;
        }
        let callee_code = self.code_of(callee)?;
        let operands = &code.calls[call.0 as usize];
        self.state().current().results = operands.results;
        let regs = match self.state().push(callee_code, callee.vmctx, callee.entry, 0) {
            Ok(regs) => regs,
            Err(code) => return Err(self.trap(cursor, code)),
        };
        // SAFETY: code of an interpreted function lives as long as its module.
        let params = unsafe { &(*callee_code).frame.params };
        // SAFETY: the frames are different ones; the types agree.
        unsafe { regs.take_from(params, cursor.regs, code.operands(operands.args)) };
        let frame = *self.state().current();
        Ok(self.resume(&frame))
    }

    /// Calls with operands of the running frame, in its place.
    ///
    /// # Safety
    /// The callee is live and has the type of the operands, and the results of the running function.
    unsafe fn replace(&mut self, cursor: Cursor, callee: Callee, args: Operands) -> Result<Cursor, Status> {
        self.save(cursor);
        if self.is_interrupted() {
            // SAFETY: said by the caller.
            unsafe { self.interrupt(cursor) }?;
        }
        let args = self.code().operands(args);
        // SAFETY: the store is live and runs on this thread.
        let buffer = unsafe { tail::args(self.store) };
        // SAFETY: the operands are the running code's; the buffer has room for any function's arguments.
        unsafe { cursor.regs.to_array(args, buffer) };
        if !callee.is_interpreted() || self.heat(callee) {
            // SAFETY: said by the caller; the arguments are in the buffer.
            return unsafe { self.replace_out(callee, slots_of(args)) };
        }
        let code = self.code_of(callee)?;
        let regs = match self.state().replace(code, callee.vmctx, callee.entry) {
            Ok(regs) => regs,
            Err(code) => return Err(self.trap(cursor, code)),
        };
        // SAFETY: code of an interpreted function lives as long as its module.
        let params = unsafe { &(*code).frame.params };
        // SAFETY: the buffer holds the arguments; the frame is fresh.
        unsafe { regs.take_array(params, buffer) };
        let frame = *self.state().current();
        Ok(self.resume(&frame))
    }

    /// Ends the running frame by a call of a function that is not interpreted.
    ///
    /// # Safety
    /// As for [`Machine::replace`]; the first `slots` slots of the buffer are the arguments.
    unsafe fn replace_out(&mut self, callee: Callee, slots: usize) -> Result<Cursor, Status> {
        if self.state().depth() == self.mark.depth + 1 {
            // SAFETY: the callee is live.
            return Err(unsafe { tail::leave(self.store, callee.vmctx, callee.entry) });
        }
        let (_, caller) = self.state().pop();
        let cursor = self.resume(&caller);
        let results = self.code().operands(caller.results);
        let mark = self.state().mark();
        let array = match self.state().push_array(slots.max(slots_of(results))) {
            Ok(array) => array,
            Err(code) => return Err(self.trap(cursor, code)),
        };
        // SAFETY: the store is live and runs on this thread.
        let buffer = unsafe { tail::args(self.store) };
        // SAFETY: the arguments are in the buffer; the array has room for them.
        unsafe { std::ptr::copy_nonoverlapping(buffer, array, slots) };
        // SAFETY: the callee is live; its results are those that the caller waits for.
        unsafe { self.call_array(cursor, callee, array, results, mark) }
    }

    /// Calls a function that is not interpreted.
    ///
    /// # Safety
    /// As for [`Machine::enter`]; the position is saved.
    unsafe fn call_out(
        &mut self,
        cursor: Cursor,
        callee: Callee,
        args: &[Operand],
        results: &[Operand],
    ) -> Result<Cursor, Status> {
        let mark = self.state().mark();
        let array = match self.state().push_array(slots_of(args).max(slots_of(results))) {
            Ok(array) => array,
            Err(code) => return Err(self.trap(cursor, code)),
        };
        // SAFETY: the operands are the running code's; the array has room for them.
        unsafe { cursor.regs.to_array(args, array) };
        // SAFETY: the callee is live and has the type of the operands; the array is its slot array.
        unsafe { self.call_array(cursor, callee, array, results, mark) }
    }

    /// Calls a function that is not interpreted, with its arguments in an array above `mark`.
    ///
    /// # Safety
    /// `results` are operands of the running code, of the types of the callee's results; the array has room for these.
    unsafe fn call_array(
        &mut self,
        cursor: Cursor,
        callee: Callee,
        array: *mut u64,
        results: &[Operand],
        mark: Mark,
    ) -> Result<Cursor, Status> {
        // SAFETY: said by the caller.
        let status = unsafe { tier::call_slots(callee.vmctx, callee.entry, array) };
        if status == Status::Ok {
            // SAFETY: the callee put its results into the array.
            unsafe { cursor.regs.take_array(results, array) };
        }
        self.state().reset(mark);
        if status == Status::Ok { Ok(cursor) } else { self.recover(status) }
    }

    /// Returns from the running function; `None` if it was the outermost one.
    ///
    /// # Safety
    /// `values` are operands of the running code.
    pub(super) unsafe fn leave(&mut self, regs: Regs, values: Operands) -> Option<Cursor> {
        let values = self.code().operands(values);
        if self.state().depth() == self.mark.depth + 1 {
            // SAFETY: the slot array of this run has room for the results.
            unsafe { regs.to_array(values, self.results) };
            return None;
        }
        let (_, caller) = self.state().pop();
        let cursor = self.resume(&caller);
        // SAFETY: the callee's slots are above the caller's and nothing was pushed since; the types agree.
        unsafe { cursor.regs.take_from(self.code().operands(caller.results), regs, values) };
        Some(cursor)
    }

    /// Counts an entry, if tiers may change; whether the function is compiled now.
    fn heat(&mut self, callee: Callee) -> bool {
        // SAFETY: the entry of a callee is live.
        self.state().auto_tier && unsafe { tier::heat(callee.entry) }
    }

    fn code_of(&self, callee: Callee) -> Result<*const Code, Status> {
        // SAFETY: the entry of a callee is live, and the function is one of a module.
        unsafe { tier::code_of(callee.entry) }
    }
}

/// Number of slots that values take in an array.
fn slots_of(operands: &[Operand]) -> usize {
    operands.iter().map(|operand| operand.ty.slots() as usize).sum()
}
