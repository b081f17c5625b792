//! Calls and returns.
//!
//! A callee whose entry word is the interpreter's own gets a frame and the loop goes on in it; any
//! other callee is entered through its word, with its arguments in an array above the frames.
//!
//! # Safety
//! Trusts: as [`super::machine`]; a `VmFuncRef` names a live function with the type its caller was
//! validated or checked for, so that operand lists of both sides agree.

use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmFuncRef, VmTable};
use aura_host_abi::{SlotType, TrapCode};
use aura_validator::code::{CallId, Inst, Operand, Operands, Slot};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::dispatch::{At, Handler, Step, execute, handler};
use super::flow::General;
use super::form::{Form, Word};
use super::frame::{Frame, Mark};
use super::fuse::{End, last};
use super::machine::{Cursor, Machine, address_mask};
use super::numeric::{Class, From, FromAccumulator, FromSlot, Scalar, Source};
use super::slots::Regs;
use super::translate::{address_of, bytes, pair};
use crate::vm::access;
use crate::{heat, services, tail, tier};

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
    let state = machine.state();
    state.reset(mark);
    state.rest();
    status
}

/// What is called: a function and its instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callee {
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
        let form = self.form_of(callee)?;
        let regs = match self.state().push(form, callee.vmctx, native) {
            Ok(regs) => regs,
            // SAFETY: the instance is live; the frames below have their positions saved.
            Err(code) => return Err(unsafe { services::trap(self.vmctx, code) }),
        };
        let frame = self.frame();
        // SAFETY: the slot array holds the parameters of the function; the frame is fresh.
        unsafe { regs.take_array(&frame.code().frame.params, self.results) };
        Ok(Some(self.resume(&frame)))
    }

    /// `call`.
    ///
    /// # Safety
    /// `cursor` is behind a call instruction of the running code with these operands.
    pub(super) unsafe fn call(&mut self, cursor: Cursor, func: u32, call: CallId) -> Result<Cursor, Status> {
        let callee = self.callee(func)?;
        // SAFETY: the callee is live and validated to have the type of the operands.
        unsafe { self.enter(cursor, callee, call) }
    }

    /// `return_call`.
    ///
    /// # Safety
    /// As [`Machine::call`].
    pub(super) unsafe fn return_call(&mut self, cursor: Cursor, func: u32, args: Operands) -> Result<Cursor, Status> {
        let callee = self.callee(func)?;
        // SAFETY: the callee is live and validated to have the type of the operands.
        unsafe { self.replace(cursor, callee, args) }
    }

    /// A function of the running instance.
    fn callee(&self, func: u32) -> Result<Callee, Status> {
        let layout = &self.instance().layout;
        let Some(own) = func.checked_sub(layout.counts().imported_funcs) else {
            // SAFETY: the instance is live and linked; `layout` is its own.
            let func = unsafe { access::import(self.vmctx, layout, func) };
            // SAFETY: import cells of linked instances hold live references.
            return Ok(unsafe { Callee::of(func) });
        };
        let module = self.instance().module.inner();
        // SAFETY: the instance is live, and of the module.
        let entry = unsafe { tier::entry_of(self.vmctx, module, own) }?;
        Ok(Callee { entry, vmctx: self.vmctx })
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
        let form = self.form_of(callee)?;
        let regs = match self.state().push(form, callee.vmctx, 0) {
            Ok(regs) => regs,
            Err(code) => return Err(self.trap(cursor, code)),
        };
        let (frame, (args, _)) = (self.frame(), code.call(call));
        // SAFETY: the frames are different ones; the types agree.
        unsafe { regs.take_from(&frame.code().frame.params, cursor.regs, args) };
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
        let form = self.form_of(callee)?;
        let regs = match self.state().replace(form, callee.vmctx) {
            Ok(regs) => regs,
            Err(code) => return Err(self.trap(cursor, code)),
        };
        let frame = self.frame();
        // SAFETY: the buffer holds the arguments; the frame is fresh.
        unsafe { regs.take_array(&frame.code().frame.params, buffer) };
        Ok(self.resume(&frame))
    }

    /// Ends the running frame by a call of a function that is not interpreted.
    ///
    /// # Safety
    /// As for [`Machine::replace`]; the first `slots` slots of the buffer are the arguments.
    unsafe fn replace_out(&mut self, callee: Callee, slots: usize) -> Result<Cursor, Status> {
        if self.frame().run() != 0 {
            // SAFETY: the callee is live.
            return Err(unsafe { tail::leave(self.store, callee.vmctx, callee.entry) });
        }
        let (_, caller) = self.state().pop();
        let cursor = self.resume(&caller);
        let (_, results) = self.code().call(awaited(cursor.next));
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
            unsafe { self.take_results(cursor, results, array) };
        }
        self.state().reset(mark);
        if status == Status::Ok { Ok(cursor) } else { self.recover(status) }
    }

    /// Puts the results of a call from an array where they go, and the first where the handlers find it.
    ///
    /// # Safety
    /// `results` are operands of the running code; the array holds such values.
    pub(super) unsafe fn take_results(&mut self, cursor: Cursor, results: &[Operand], array: *const u64) {
        // SAFETY: said by the caller.
        unsafe { cursor.regs.take_array(results, array) };
        // SAFETY: the array begins with the first result, if there is one.
        self.result = if results.is_empty() { 0 } else { unsafe { array.read() } };
    }

    /// Returns from the running function; `Err(Status::Ok)` if it was the outermost one.
    ///
    /// # Safety
    /// `values` are operands of the running code.
    pub(super) unsafe fn leave(&mut self, regs: Regs, values: Operands) -> Result<Cursor, Status> {
        let values = self.code().operands(values);
        if self.frame().run() != 0 {
            // SAFETY: the slot array of this run has room for the results.
            unsafe { regs.to_array(values, self.results) };
            return Err(Status::Ok);
        }
        let (_, caller) = self.state().pop();
        let cursor = self.resume(&caller);
        let (_, results) = self.code().call(awaited(cursor.next));
        // SAFETY: the callee's slots are above the caller's and nothing was pushed since; the types agree.
        unsafe { cursor.regs.take_from(results, regs, values) };
        // SAFETY: the slot is the callee's, and holds the value.
        self.result = values.first().map_or(0, |value| unsafe { regs.get(value.slot) });
        Ok(cursor)
    }

    /// Counts an entry, if tiers may change; whether the function is compiled now.
    fn heat(&mut self, callee: Callee) -> bool {
        // SAFETY: the entry of a callee is live.
        self.state().auto_tier && unsafe { heat::count_entry(callee.entry) }
    }

    /// What the interpreter runs of a callee. Without it, because the function turns out to be invalid, the call fails.
    fn form_of(&self, callee: Callee) -> Result<*const Form, Status> {
        // SAFETY: a callee's entry and instance are live, and the function is one of a module.
        unsafe { tier::form_of(callee.vmctx, callee.entry) }
    }
}

/// The call that a frame waits for which goes on at `next`: the last word of its cell says it.
pub(super) fn awaited(next: *const Word) -> CallId {
    CallId(last_operand(next) & !(ResultShape::MASK << ResultShape::SHIFT))
}

/// The last operand of the call's cell before `next`: what [`CallCell::put`] wrote there.
#[inline(always)]
fn last_operand(next: *const Word) -> u32 {
    // SAFETY: the cell before is a call's, which ends with such an operand.
    unsafe { next.cast::<u32>().wrapping_sub(1).read() }
}

/// What a call returns, as the upper bits of its cell's last operand say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResultShape {
    Nothing,
    /// A word that goes to the slot in the cell.
    Scalar,
    Other,
}

impl ResultShape {
    const SHIFT: u32 = 30;
    const MASK: u32 = 3;

    fn of(results: &[Operand]) -> Self {
        match results {
            [] => Self::Nothing,
            [one] if !matches!(one.ty, SlotType::V128 | SlotType::Ref) => Self::Scalar,
            _ => Self::Other,
        }
    }

    /// With the number of a call, of which there are fewer than a body may have bytes.
    fn with(self, call: CallId) -> u32 {
        assert!(call.0 >> Self::SHIFT == 0, "limits keep calls of a function below 2^30");
        call.0 | (self as u32) << Self::SHIFT
    }

    /// That of the call whose cell ends at `next`.
    #[inline(always)]
    fn before(next: *const Word) -> Self {
        match last_operand(next) >> Self::SHIFT {
            0 => Self::Nothing,
            1 => Self::Scalar,
            _ => Self::Other,
        }
    }
}

/// Number of slots that values take in an array.
fn slots_of(operands: &[Operand]) -> usize {
    operands.iter().map(|operand| operand.ty.slots() as usize).sum()
}

/// A call as its cell has it. In its last word: where the one scalar result goes, the call, and in that one's upper bits what it returns.
///
/// ```text
/// own function:   entry (a word)       │ top, arguments ...
/// element:        table, type          │ top, index, arguments ...
/// any other:      instruction (a word)
/// ```
///
/// `top` is where the frame's value slots end; the table is a place in the instance, the type a canonical one. Arguments are
/// slots, each of a scalar; if there are more than handlers are made for, their number stands before them.
#[derive(Debug)]
pub(super) struct CallCell<'a> {
    pub(super) callee: CalleeCell<'a>,
    pub(super) top: i32,
    pub(super) args: &'a [Operand],
    pub(super) results: &'a [Operand],
    pub(super) call: CallId,
}

/// Who is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum CalleeCell<'a> {
    Own(*const VmFuncEntry),
    Element { table: i32, type_id: u32, index: Slot },
    Other(&'a Inst),
}

/// The operand of a call's cell that says where the frame ends; others follow.
pub(super) const TOP: usize = 2;

/// For handlers: the number of arguments is in the cell.
const MANY: usize = usize::MAX;

/// Up to how many arguments there are handlers for, of calls that are counted and of others.
const ARGS_MAX: [usize; 2] = [2, 4];

/// The operand of a call's cell that is the first argument; in front of them are so many after [`TOP`].
pub(super) fn first_argument(operands: usize, args: usize, counted: bool) -> usize {
    TOP + 1 + operands + usize::from(args > ARGS_MAX[usize::from(!counted)])
}

impl CallCell<'_> {
    pub(super) fn put(&self, counted: bool, cells: &mut Vec<Word>) {
        let ((handler, max), who) = match self.callee {
            CalleeCell::Own(entry) => (calling::<Own>(counted, self.args.len()), entry.expose_provenance() as u64),
            CalleeCell::Element { table, type_id, .. } => {
                (calling::<Element>(counted, self.args.len()), pair(table, type_id.cast_signed()))
            }
            CalleeCell::Other(inst) => ((slow_call as Handler, usize::MAX), address_of(inst)),
        };
        cells.extend([Word { handler }, Word { bits: who }]);
        let operands: &mut dyn Iterator<Item = i32> = match self.callee {
            CalleeCell::Own(_) => &mut [self.top].into_iter(),
            CalleeCell::Element { index, .. } => &mut [self.top, bytes(index)].into_iter(),
            CalleeCell::Other(_) => &mut std::iter::empty(),
        };
        let many = (self.args.len() > max).then_some(self.args.len() as i32);
        let mut operands = operands.chain(many).chain(self.args.iter().map(|arg| bytes(arg.slot)));
        while let Some(first) = operands.next() {
            cells.push(Word { bits: pair(first, operands.next().unwrap_or_default()) });
        }
        let result = if let [result] = self.results { bytes(result.slot) } else { 0 };
        let call = ResultShape::of(self.results).with(self.call);
        cells.push(Word { bits: pair(result, call.cast_signed()) });
    }
}

/// Where handlers find who is called.
pub(super) trait Called {
    /// Operands between the frame's end and the arguments.
    const OPERANDS: usize;

    /// The callee's entry, if it is one of the running instance's own functions and has the right type.
    fn entry(at: &At) -> Option<*const VmFuncEntry>;

    /// The callee, for a call that is not as calls mostly are.
    ///
    /// # Safety
    /// `cursor` is behind the cell, which is a call's of the running code.
    unsafe fn callee(machine: &mut Machine, at: At, cursor: Cursor) -> Result<Callee, Status>;
}

/// A function of the module.
#[derive(Debug)]
pub(super) struct Own;

/// An element of a table.
#[derive(Debug)]
struct Element;

impl Called for Own {
    const OPERANDS: usize = 0;

    #[inline(always)]
    fn entry(at: &At) -> Option<*const VmFuncEntry> {
        Some(std::ptr::with_exposed_provenance(at.word(1) as usize))
    }

    unsafe fn callee(machine: &mut Machine, at: At, _: Cursor) -> Result<Callee, Status> {
        let module = machine.instance().module.inner();
        let entry: *const VmFuncEntry = std::ptr::with_exposed_provenance(at.word(1) as usize);
        // It is perhaps not made.
        let own = (entry.addr() - module.entries().as_ptr().addr()) / size_of::<VmFuncEntry>();
        // SAFETY: the instance is live, and of the module.
        let entry = unsafe { tier::entry_of(machine.vmctx, module, own as u32) }?;
        Ok(Callee { entry, vmctx: machine.vmctx })
    }
}

impl Called for Element {
    const OPERANDS: usize = 1;

    #[inline(always)]
    fn entry(at: &At) -> Option<*const VmFuncEntry> {
        let func = element(at)?;
        let is_own = std::ptr::eq(func.vmctx, at.machine().vmctx);
        is_own.then_some(func.entry)
    }

    unsafe fn callee(machine: &mut Machine, at: At, cursor: Cursor) -> Result<Callee, Status> {
        if let Some(func) = element(&at) {
            // SAFETY: it is a live reference.
            return Ok(unsafe { Callee::of(func) });
        }
        let inst = machine.frame().form().inst_before(cursor.next);
        match machine.code().insts[inst as usize] {
            Inst::CallIndirect { table, type_index, index, .. } => {
                // SAFETY: the slot is one of the running code.
                unsafe { machine.element(cursor, table, type_index, index) }
            }
            other => unreachable!("the cell of a call of an element was made of {other:?}"),
        }
    }
}

/// What the cell of a call finds in its table, if it is there and has the very type of the cell.
#[inline(always)]
fn element<'a>(at: &At) -> Option<&'a VmFuncRef> {
    let place = at.machine().vmctx.wrapping_byte_offset(at.operand(0) as isize).cast::<*mut VmTable>();
    // SAFETY: the instance is live and linked; its layout has a table's pointer there.
    let table = unsafe { *place };
    // SAFETY: a linked instance's tables are live.
    let table = unsafe { &*table };
    let index: u32 = at.get(at.place(TOP + 1));
    // SAFETY: the cell belongs to this thread's store.
    let length = unsafe { *table.length.get() };
    if u64::from(index) >= length {
        return None;
    }
    // SAFETY: as above.
    let elements = unsafe { *table.base.get() };
    // SAFETY: the index is below the table's length.
    let element = unsafe { elements.wrapping_add(index as usize).read() };
    // SAFETY: elements of function tables that are not null are live references.
    let func = unsafe { std::ptr::with_exposed_provenance::<VmFuncRef>(element as usize).as_ref() }?;
    (func.type_id == at.operand(1).cast_unsigned()).then_some(func)
}

/// Where the arguments of a call begin in its cell, and how many there are.
#[inline(always)]
fn args<C: Called, const N: usize>(at: &At) -> (usize, usize) {
    let behind = TOP + 1 + C::OPERANDS;
    if N == MANY { (behind + 1, at.operand(behind) as usize) } else { (behind, N) }
}

/// How many words the cell of a call has.
#[inline(always)]
fn words<C: Called, const N: usize>(at: &At) -> usize {
    let (first, count) = args::<C, N>(at);
    1 + (first + count).div_ceil(2) + 1
}

/// A call: as [`CallCell`] says, with `N` arguments, or any number of them.
pub(super) struct CallEnd<C, const COUNTED: bool, const N: usize>(PhantomData<C>);

impl<C: Called, const COUNTED: bool, const N: usize> End for CallEnd<C, COUNTED, N> {
    #[inline(always)]
    fn run(at: At) -> u32 {
        let Some(form) = C::entry(&at).and_then(|entry| enterable::<COUNTED>(&at, entry)) else {
            return at.hand_over(call_compiled::<C, COUNTED, N>);
        };
        // SAFETY: a published form is complete and lives as long as its module, which the running instance keeps.
        if unsafe { (*form).refs } != 0 {
            return at.hand_over(call_large::<C, false, N>);
        }
        let regs = open::<C, N>(&at, form);
        enter::<C, N>(at, form, regs)
    }
}

handler! {
    /// As [`CallEnd`], for what is compiled, or a call that is not as calls mostly are.
    #[inline(never)]
    fn call_compiled[C: Called, const COUNTED: bool, const N: usize](at) {
        let status = enter_compiled::<C, N>(at.ip, at.regs, at.machine);
        if status == Status::Ok as u32 {
            let m = at.machine();
            (at.int, at.length) = (m.result, m.writable);
            (at.single, at.double) = (f32::from_bits(m.result as u32), f64::from_bits(m.result));
            let words = words::<C, N>(&at);
            return at.next(words);
        }
        if status != NOT_SO {
            return at.outside::<Recover>();
        }
        at.hand_over(call_large::<C, COUNTED, N>)
    }
}

/// What [`enter_compiled`] returns where it did nothing.
const NOT_SO: u32 = u32::MAX;

/// Calls an own function that is compiled, with scalars; the result is in the slot then, and with the status in the machine.
#[inline(never)]
fn enter_compiled<C: Called, const N: usize>(ip: *const Word, regs: Regs, machine: *mut Machine) -> u32 {
    let at = At { ip, regs, machine, int: 0, base: std::ptr::null_mut(), length: 0, single: 0.0, double: 0.0 };
    let next = ip.wrapping_add(words::<C, N>(&at));
    let shape = ResultShape::before(next);
    let Some((entry, code)) = compiled::<C>(&at).filter(|_| shape != ResultShape::Other) else { return NOT_SO };
    let array = regs.at_byte(at.operand(TOP));
    let (first, count) = args::<C, N>(&at);
    let end = array.wrapping_add(count.max(1));
    if end.addr() > at.machine().limit.addr() {
        return NOT_SO;
    }
    for n in 0..count {
        let value: u64 = at.get(at.place(first + n));
        // SAFETY: the array lies inside the stack, above the running frame.
        unsafe { array.wrapping_add(n).write(value) };
    }
    let state = at.machine().state();
    state.current().ip = next;
    state.raise(end);
    // SAFETY: the function is one of the running instance; the array holds its arguments, and has room for its result.
    let status = unsafe { tier::enter(code, at.machine().vmctx, entry, array) };
    let m = at.machine();
    m.writable = m.memory.plain_length();
    (m.outcome, m.result) = (status, 0);
    if status == Status::Ok && shape == ResultShape::Scalar {
        // SAFETY: the callee left its result in the array.
        m.result = unsafe { array.read() };
        // SAFETY: the cell says where it goes: a slot of its class.
        unsafe { result_place(next, regs).write(m.result) };
    }
    status as u32
}

/// An own function that is called, with the code that takes its arguments in slots, if it is compiled.
#[inline(always)]
fn compiled<C: Called>(at: &At) -> Option<(*const VmFuncEntry, NonNull<()>)> {
    let entry = C::entry(at)?;
    // SAFETY: the entry of a callee is live.
    let code = NonNull::new(unsafe { &(*entry).slots_entry }.load(Ordering::Acquire))?;
    // The words of an entry that is not made are null.
    (code.as_ptr() != tier::interp_entry as *mut ()).then_some((entry, code))
}

/// Where the one scalar result of the call goes whose cell ends at `next`.
#[inline(always)]
fn result_place(next: *const Word, regs: Regs) -> *mut u64 {
    // SAFETY: the cell before is a call's, whose last word says so.
    regs.at_byte(unsafe { next.cast::<i32>().wrapping_sub(2).read() })
}

/// A call of a compiled function that did not return.
#[derive(Debug)]
struct Recover;

impl Step for Recover {
    unsafe fn run(machine: &mut Machine, _: At) -> Result<Cursor, Status> {
        let status = machine.outcome;
        machine.recover(status)
    }
}

handler! {
    /// As [`CallEnd`], for functions with references, or a call that is not as calls mostly are.
    #[cold]
    #[inline(never)]
    fn call_large[C: Called, const COUNTED: bool, const N: usize](at) {
        let Some(form) = C::entry(&at).and_then(|entry| enterable::<COUNTED>(&at, entry)) else {
            return at.outside::<SlowCall<C, N>>();
        };
        let regs = open::<C, N>(&at, form);
        // SAFETY: as in `CallEnd`.
        let form_ref = unsafe { &*form };
        // SAFETY: the frame was opened just now.
        unsafe { form_ref.clear_refs(regs) };
        enter::<C, N>(at, form, regs)
    }
}

/// Goes on in a callee whose frame was opened.
#[inline(always)]
fn enter<C: Called, const N: usize>(mut at: At, form: *const Form, regs: Regs) -> u32 {
    let (first, count) = args::<C, N>(&at);
    for n in 0..count {
        let value: u64 = at.get(at.place(first + n));
        // SAFETY: scalar parameters are the first slots of the new frame.
        unsafe { regs.set(Slot(n as i32), value) };
    }
    (at.ip, at.regs) = (Form::first(form), regs);
    // Nobody reads it, so that its register was free.
    at.int = 0;
    at.go()
}

/// The form of a callee, if all is as it mostly is: the interpreter runs it, it was called before, it is not hot,
/// nothing interrupts, and there is room for its frame.
#[inline(always)]
fn enterable<const COUNTED: bool>(at: &At, entry: *const VmFuncEntry) -> Option<*const Form> {
    let m = at.machine();
    // SAFETY: the entry of a callee is live.
    let entry = unsafe { &*entry };
    let form: *const Form = entry.form.load(Ordering::Acquire).cast();
    // SAFETY: a published form is complete and lives as long as its module, which the running instance keeps.
    let frame_bytes = unsafe { form.as_ref() }?.frame_bytes;
    // Where nothing is counted, nothing is compiled.
    let is_interpreted = || std::ptr::eq(entry.slots_entry.load(Ordering::Acquire), tier::interp_entry as *const ());
    if (COUNTED && !is_interpreted()) || m.is_interrupted() {
        return None;
    }
    let place = at.regs.at_byte(at.operand(TOP));
    if place.addr() + frame_bytes as usize > m.limit.addr() {
        return None;
    }
    // What is hot is looked at by the slow call, which counts it once more.
    if COUNTED && entry.heat_by(1) >= entry.limit.load(Ordering::Relaxed) {
        return None;
    }
    Some(form)
}

/// Opens a frame of the running instance above the running one, which goes on behind the cell of the call.
#[inline(always)]
fn open<C: Called, const N: usize>(at: &At, form: *const Form) -> Regs {
    let m = at.machine();
    let place: *mut Frame = at.regs.at_byte(at.operand(TOP)).cast();
    // SAFETY: as in `CallEnd`.
    let base_bytes = unsafe { (*form).base_bytes };
    let regs = Regs::new(place.wrapping_byte_add(base_bytes as usize).cast());
    // SAFETY: the state of the store is live; handlers hold no other reference to it.
    let state = unsafe { &mut *m.state };
    let caller = state.current;
    // SAFETY: the running function's frame is open.
    unsafe { (*caller).ip = at.ip.wrapping_add(words::<C, N>(at)) };
    // Its position is stored before anything looks at it.
    let frame = Frame { caller, ip: std::ptr::null(), form, regs, vmctx: m.vmctx, special: 0 };
    // SAFETY: the frame lies inside the stack, above the running one.
    unsafe { place.write(frame) };
    state.current = place;
    regs
}

/// A call that is not as calls mostly are.
#[derive(Debug)]
struct SlowCall<C, const N: usize>(PhantomData<C>);

impl<C: Called, const N: usize> Step for SlowCall<C, N> {
    unsafe fn run(machine: &mut Machine, at: At) -> Result<Cursor, Status> {
        let words = words::<C, N>(&at);
        let cursor = at.behind(words);
        // SAFETY: the cursor is behind a call's cell.
        let callee = unsafe { C::callee(machine, at, cursor) }?;
        // SAFETY: the callee is live and has the type of the operands.
        unsafe { machine.enter(cursor, callee, awaited(cursor.next)) }
    }
}

/// Chooses among handlers by whether calls are counted and by the number of arguments; `$of` makes one of both. As [`ARGS_MAX`] says.
macro_rules! by_arguments {
    ($counted:expr, $args:expr, $of:ident) => {
        match ($counted, $args) {
            (true, 0) => $of!(true, 0),
            (true, 1) => $of!(true, 1),
            (true, 2) => $of!(true, 2),
            (true, _) => $of!(true, MANY),
            (_, 0) => $of!(false, 0),
            (_, 1) => $of!(false, 1),
            (_, 2) => $of!(false, 2),
            (_, 3) => $of!(false, 3),
            (_, 4) => $of!(false, 4),
            _ => $of!(false, MANY),
        }
    };
}

/// The handler of calls that code of cells does not carry out itself.
pub(super) fn calling_out(is_element: bool, counted: bool, args: usize) -> Handler {
    fn of<C: Called>(counted: bool, args: usize) -> Handler {
        macro_rules! compiled {
            ($counted:literal, $args:expr) => {
                call_compiled::<C, $counted, { $args }>
            };
        }
        by_arguments!(counted, args, compiled)
    }
    if is_element { of::<Element>(counted, args) } else { of::<Own>(counted, args) }
}

/// The handler of calls of functions whose parameters are so many scalars, and up to how many there are handlers for.
fn calling<C: Called>(counted: bool, args: usize) -> (Handler, usize) {
    macro_rules! end {
        ($counted:literal, $args:expr) => {
            last::<CallEnd<C, $counted, { $args }>>
        };
    }
    (by_arguments!(counted, args, end), ARGS_MAX[usize::from(!counted)])
}

handler! {
    /// As [`CallCell`]: its instruction says everything.
    fn slow_call[](at) {
        at.outside::<General<3>>()
    }
}

/// A return of a scalar: from the frame's base back to its head, src │ the instruction
pub(super) struct ReturnOne<T, A>(PhantomData<(T, A)>);

impl<T: Scalar, A: Source> End for ReturnOne<T, A> {
    #[inline(always)]
    fn run(mut at: At) -> u32 {
        let frame = head(&at);
        if frame.special != 0 {
            return at.outside::<SlowReturn>();
        }
        let value: T = A::get(&at, 1, 0);
        leave_to_caller(&mut at, frame);
        // SAFETY: it is a slot of the caller's frame, of the result's class.
        unsafe { value.write(result_place(at.ip, at.regs)) };
        value.to_accumulator(&mut at);
        at.go()
    }
}

/// A return of nothing: from the frame's base back to its head, - │ the instruction
pub(super) struct ReturnNothing;

impl End for ReturnNothing {
    #[inline(always)]
    fn run(mut at: At) -> u32 {
        let frame = head(&at);
        if frame.special != 0 {
            return at.outside::<SlowReturn>();
        }
        leave_to_caller(&mut at, frame);
        at.go()
    }
}

/// The head of the running frame.
#[inline(always)]
fn head<'a>(at: &At) -> &'a Frame {
    // SAFETY: a return's cell says how far the frame's base is from its head.
    unsafe { &*at.regs.at_byte(-at.operand(0)).cast() }
}

#[inline(always)]
fn leave_to_caller(at: &mut At, frame: &Frame) {
    // SAFETY: the caller's frame is open: only the first frame of a run may have none, and it is special.
    let caller = unsafe { &*frame.caller };
    (at.ip, at.regs) = (caller.ip, caller.regs);
    // SAFETY: the state of the store is live; handlers hold no other reference to it.
    unsafe { (*at.machine().state).current = frame.caller };
}

handler! {
    /// -, - │ the instruction
    fn slow_return[](at) {
        at.outside::<SlowReturn>()
    }
}

/// A return from the first frame of a run, to another instance, or of several values.
#[derive(Debug)]
struct SlowReturn;

impl Step for SlowReturn {
    unsafe fn run(machine: &mut Machine, at: At) -> Result<Cursor, Status> {
        let inst: *const Inst = std::ptr::with_exposed_provenance(at.word(2) as usize);
        // SAFETY: such a cell holds a return of the running code, which lives as long as its module.
        match unsafe { *inst } {
            // SAFETY: as above.
            Inst::Return { values } => unsafe { machine.leave(at.regs, values) },
            other => unreachable!("lowering made {other:?} of a return"),
        }
    }
}

/// The handler of a return of nothing, of one scalar, or of anything else.
pub(super) fn returning(values: &[Operand], class: Option<(Class, From)>) -> Handler {
    match (values, class) {
        ([], _) => last::<ReturnNothing>,
        ([_], Some((Class::Int, From::Accumulator))) => last::<ReturnOne<u64, FromAccumulator>>,
        ([_], Some((Class::Single, From::Accumulator))) => last::<ReturnOne<f32, FromAccumulator>>,
        ([_], Some((Class::Double, From::Accumulator))) => last::<ReturnOne<f64, FromAccumulator>>,
        ([_], Some((Class::Int, _))) => last::<ReturnOne<u64, FromSlot>>,
        ([_], Some((Class::Single, _))) => last::<ReturnOne<f32, FromSlot>>,
        ([_], Some((Class::Double, _))) => last::<ReturnOne<f64, FromSlot>>,
        _ => slow_return,
    }
}
