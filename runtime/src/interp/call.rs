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
use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmFuncRef, VmTable};
use aura_validator::code::{CallId, Inst, Operand, Operands, Slot};
use std::sync::atomic::Ordering;

use super::dispatch::{At, Handler, Step, execute, handler};
use super::flow::INST_WORD;
use super::form::{Form, Word};
use super::frame::{CLEARED_AT_ONCE, Frame, Mark};
use super::machine::{Cursor, Machine, address_mask};
use super::numeric::{Class, From, FromAccumulator, FromSlot, Scalar, Source};
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
    let state = machine.state();
    state.reset(mark);
    state.rest();
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
        let form = self.form_of(callee)?;
        let regs = match self.state().push(form, callee.vmctx, entry, native) {
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
        let regs = match self.state().push(form, callee.vmctx, callee.entry, 0) {
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
        let regs = match self.state().replace(form, callee.vmctx, callee.entry) {
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
        if self.frame().run != 0 {
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
        if self.frame().run != 0 {
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
        self.state().auto_tier && unsafe { tier::heat(callee.entry) }
    }

    /// What the interpreter runs of a callee. Without it, because the function turns out to be invalid, the call fails.
    fn form_of(&self, callee: Callee) -> Result<*const Form, Status> {
        // SAFETY: a callee's entry and instance are live, and the function is one of a module.
        unsafe { tier::form_of(callee.vmctx, callee.entry) }
    }
}

/// The call that a frame waits for which goes on at `next`: the last word of its cell says it.
pub(super) fn awaited(next: *const Word) -> CallId {
    // SAFETY: the cell before is a call's, which ends with such a word.
    CallId(unsafe { next.cast::<u32>().wrapping_sub(1).read() })
}

/// Number of slots that values take in an array.
fn slots_of(operands: &[Operand]) -> usize {
    operands.iter().map(|operand| operand.ty.slots() as usize).sum()
}

/// Operands of a call's cell: see [`CallCell`].
mod operand {
    pub(super) const WORDS: usize = 2;
    pub(super) const TOP: usize = 3;
    pub(super) const CALLEE: usize = 4;
    pub(super) const TABLE: usize = 5;
    pub(super) const TYPE_ID: usize = 6;
    pub(super) const ARGS_LEN: usize = 7;
    pub(super) const ARGS: usize = 8;
}

/// What a call's cell says, in order: the instruction (a word); how many words the cell has; where the
/// frame's value slots end; the callee, as the place of its entry in the module's or as the slot with its index
/// in a table; the place of the table in the instance and the canonical type, if it is one of a table; the
/// slots of the arguments, if these are scalars all of them; in the last word, where the one scalar result goes, and the call.
#[derive(Clone, Debug, Default)]
pub(super) struct CallCell {
    pub(super) top: i32,
    pub(super) callee: i32,
    pub(super) table: i32,
    pub(super) type_id: u32,
    pub(super) args: Vec<i32>,
    pub(super) result: i32,
    pub(super) call: u32,
}

impl CallCell {
    /// Words of the cell.
    pub(super) fn words(&self) -> usize {
        1 + operand::ARGS / 2 + self.args.len().div_ceil(2) + 1
    }

    /// The operands behind the instruction's word, without those of the last word.
    pub(super) fn operands(&self) -> impl Iterator<Item = i32> + '_ {
        let (words, len) = (self.words() as i32, self.args.len() as i32);
        let head = [words, self.top, self.callee, self.table, self.type_id.cast_signed(), len];
        head.into_iter().chain(self.args.iter().copied()).chain((len % 2 == 1).then_some(0))
    }
}

/// Who is called.
pub(super) trait Called {
    /// The callee's entry, if it is one of the running instance's own functions and has the right type.
    fn entry(at: &At) -> Option<*const VmFuncEntry>;
}

/// A function of the module.
#[derive(Debug)]
struct Direct;

/// An element of a table.
#[derive(Debug)]
struct Element;

impl Called for Direct {
    #[inline(always)]
    fn entry(at: &At) -> Option<*const VmFuncEntry> {
        // SAFETY: the instance is live; its entries cover the module's own functions.
        let entries = unsafe { (*at.machine().vmctx).entries };
        Some(entries.wrapping_byte_add(at.operand(operand::CALLEE).cast_unsigned() as usize))
    }
}

impl Called for Element {
    #[inline(always)]
    fn entry(at: &At) -> Option<*const VmFuncEntry> {
        let vmctx = at.machine().vmctx;
        let place = vmctx.wrapping_byte_offset(at.operand(operand::TABLE) as isize).cast::<*mut VmTable>();
        // SAFETY: the instance is live and linked; its layout has a table's pointer there.
        let table = unsafe { *place };
        // SAFETY: a linked instance's tables are live.
        let table = unsafe { &*table };
        let index: u32 = at.get(at.place(operand::CALLEE));
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
        let is_own = func.vmctx == vmctx && func.type_id == at.operand(operand::TYPE_ID).cast_unsigned();
        is_own.then_some(func.entry)
    }
}

handler! {
    /// As [`CallCell`] says, with `N` arguments, or any number of them.
    fn call_row[C: Called, const COUNTED: bool, const N: usize](at) {
        let Some((entry, form)) = C::entry(&at).and_then(|entry| enterable::<COUNTED>(&at, entry)) else {
            return at.outside::<SlowCall>();
        };
        if form.refs != 0 || form.zero_slots > CLEARED_AT_ONCE {
            return at.hand_over(call_large::<C, COUNTED>);
        }
        let regs = at.machine().open(&at, entry, form);
        // SAFETY: the frame was opened just now.
        unsafe { form.clear_few(regs) };
        enter::<N>(at, form, regs)
    }
}

handler! {
    /// As [`call_row`], for functions with references or many locals.
    fn call_large[C: Called, const COUNTED: bool](at) {
        let Some((entry, form)) = C::entry(&at).and_then(|entry| enterable::<false>(&at, entry)) else {
            return at.outside::<SlowCall>();
        };
        let regs = at.machine().open(&at, entry, form);
        // SAFETY: the frame was opened just now.
        unsafe { form.clear(regs) };
        enter::<MANY>(at, form, regs)
    }
}

/// Goes on in a callee whose frame was opened.
#[inline(always)]
fn enter<const N: usize>(mut at: At, form: &Form, regs: Regs) -> u32 {
    let count = if N == MANY { at.operand(operand::ARGS_LEN) as usize } else { N };
    for n in 0..count {
        let value: u64 = at.get(at.place(operand::ARGS + n));
        // SAFETY: scalar parameters are the first slots of the new frame.
        unsafe { regs.set(Slot(n as i32), value) };
    }
    (at.ip, at.regs) = (form.first(), regs);
    at.go()
}

/// For [`call_row`]: the number of arguments is in the cell.
const MANY: usize = usize::MAX;

/// A callee and its form, if all is as it mostly is: the interpreter runs it, it was called before, it is not hot,
/// nothing interrupts, and there is room for its frame.
#[inline(always)]
fn enterable<'a, const COUNTED: bool>(at: &At, entry: *const VmFuncEntry) -> Option<(&'a VmFuncEntry, &'a Form)> {
    let m = at.machine();
    // SAFETY: the entry of a callee is live.
    let entry = unsafe { &*entry };
    // SAFETY: a published form is complete and lives as long as its module, which the running instance keeps.
    let form = unsafe { entry.form.load(Ordering::Acquire).cast::<Form>().as_ref() }?;
    if !std::ptr::eq(entry.slots_entry.load(Ordering::Acquire), tier::interp_entry as *const ()) || m.is_interrupted() {
        return None;
    }
    let place = at.regs.at_byte(at.operand(operand::TOP));
    if place.addr() + form.frame_bytes as usize > m.limit.addr() {
        return None;
    }
    // What is hot is looked at by the slow call, which counts it once more.
    if COUNTED && entry.heat_by(1) >= entry.limit.load(Ordering::Relaxed) {
        return None;
    }
    Some((entry, form))
}

impl Machine {
    /// Opens a frame of the running instance above the running one, which goes on behind the cell of the call.
    #[inline(always)]
    fn open(&mut self, at: &At, entry: &VmFuncEntry, form: &Form) -> Regs {
        let place: *mut Frame = at.regs.at_byte(at.operand(operand::TOP)).cast();
        let regs = Regs::new(place.wrapping_byte_add(form.base_bytes as usize).cast());
        // SAFETY: the state of the store is live; handlers hold no other reference to it.
        let state = unsafe { &mut *self.state };
        let caller = state.current;
        let back = at.ip.wrapping_add(at.operand(operand::WORDS) as usize);
        // SAFETY: the running function's frame is open.
        unsafe { (*caller).ip = back };
        let vmctx = self.vmctx;
        let ip = form.first();
        let frame = Frame { caller, ip, form, regs, vmctx, entry, run: 0, is_special: false };
        // SAFETY: the frame lies inside the stack, above the running one.
        unsafe { place.write(frame) };
        state.current = place;
        regs
    }
}

/// A call that is not as calls mostly are.
#[derive(Debug)]
struct SlowCall;

impl Step for SlowCall {
    unsafe fn run(machine: &mut Machine, at: At) -> Result<Cursor, Status> {
        let inst: *const Inst = std::ptr::with_exposed_provenance(at.word(INST_WORD) as usize);
        let cursor = at.behind(at.operand(operand::WORDS) as usize);
        // SAFETY: such a cell holds an instruction of the running code, which lives as long as its module.
        let inst = unsafe { &*inst };
        // SAFETY: as above.
        unsafe { machine.general(cursor, inst) }
    }
}

/// The handler of a direct call or one through a table, of functions whose parameters are scalars.
pub(super) fn calling(is_direct: bool, counted: bool, args: usize) -> Handler {
    fn of<C: Called>(counted: bool, args: usize) -> Handler {
        match (counted, args) {
            (true, 0) => call_row::<C, true, 0>,
            (true, 1) => call_row::<C, true, 1>,
            (true, 2) => call_row::<C, true, 2>,
            (true, _) => call_row::<C, true, MANY>,
            (_, 0) => call_row::<C, false, 0>,
            (_, 1) => call_row::<C, false, 1>,
            (_, 2) => call_row::<C, false, 2>,
            (_, 3) => call_row::<C, false, 3>,
            (_, 4) => call_row::<C, false, 4>,
            _ => call_row::<C, false, MANY>,
        }
    }
    if is_direct { of::<Direct>(counted, args) } else { of::<Element>(counted, args) }
}

/// The handler of any other call: its cell is as long, and its instruction says everything.
pub(super) fn calling_slowly() -> Handler {
    slow_call
}

handler! {
    /// As [`CallCell`].
    fn slow_call[](at) {
        at.outside::<SlowCall>()
    }
}

handler! {
    /// from the frame's base back to its head, src │ the instruction
    fn return_row[T: Scalar, A: Source](at) {
        let frame = head(&at);
        if frame.is_special {
            return at.outside::<SlowReturn>();
        }
        let value: T = A::get(&at, 1, 0);
        leave_to_caller(&mut at, frame);
        // SAFETY: the cell before is a call's, whose last word says where the result goes.
        let place = unsafe { at.ip.cast::<i32>().wrapping_sub(2).read() };
        // SAFETY: it is a slot of the caller's frame, of the result's class.
        unsafe { value.write(at.regs.at_byte(place)) };
        value.to_accumulator(&mut at);
        at.go()
    }
}

handler! {
    /// from the frame's base back to its head, - │ the instruction
    fn return_nothing[](at) {
        let frame = head(&at);
        if frame.is_special {
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
        ([], _) => return_nothing,
        ([_], Some((Class::Int, From::Accumulator))) => return_row::<u64, FromAccumulator>,
        ([_], Some((Class::Single, From::Accumulator))) => return_row::<f32, FromAccumulator>,
        ([_], Some((Class::Double, From::Accumulator))) => return_row::<f64, FromAccumulator>,
        ([_], Some((Class::Int, _))) => return_row::<u64, FromSlot>,
        ([_], Some((Class::Single, _))) => return_row::<f32, FromSlot>,
        ([_], Some((Class::Double, _))) => return_row::<f64, FromSlot>,
        _ => slow_return,
    }
}
