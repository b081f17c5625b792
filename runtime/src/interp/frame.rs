//! The interpreter's stack: frames in one block that never moves.
//!
//! ```text
//! ...caller's slots │ Frame │ ref slots ◀─ base ─▶ value slots │ top ...   limit
//! ```
//!
//! Invariants: frames are disjoint and ascend, each known by the one above it; `current` is the innermost
//! one, and `top` the end of it, or of the argument array of a call that is on its way out of the
//! interpreter, whenever a position is saved. Frames of an earlier `run` stay below those of a later one,
//! so that host functions may call back.
//!
//! # Safety
//! Trusts: frames name live instances and forms that live as long as they do. Gives: the slots of an
//! opened frame lie inside the block.

use aura_host_abi::TrapCode;
use aura_host_abi::vm::{VmCtx, VmFuncEntry};
use aura_validator::Code;
use aura_validator::code::Slot;

use super::dispatch;
use super::form::{Form, Word};
use super::slots::Regs;
use super::stacks;
use crate::vm::instance::InstanceData;

/// How many times the bytes that guests' values may take the block is: frames' heads lie in it too.
const BLOCK_FACTOR: usize = 2;

/// What the interpreter of one store keeps between calls.
#[derive(Debug)]
pub(crate) struct InterpState {
    /// Whether functions that are entered often are offered to the compiler.
    pub(crate) auto_tier: bool,
    /// After how many passes of loop headers compiled code is asked for, and how many are left until then.
    pub(crate) passes: u32,
    pub(crate) passes_left: u32,
    /// Whether every NaN that is computed becomes the canonical one.
    pub(crate) canonical_nans: bool,
    /// Whether handlers return to the loop.
    pub(crate) by_loop: bool,
    /// Whether the stack goes to other stores while no function runs.
    pub(crate) lends_stack: bool,
    /// Allocated at the first call; its length then never changes. What is in it has no meaning above the frames.
    stack: Vec<u64>,
    stack_slots: usize,
    /// The innermost frame; null if none is open.
    pub(super) current: *mut Frame,
    /// The first free slot of the stack.
    top: *mut u64,
}

/// The head of an interpreted function's frame, which was entered and has not returned.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Frame {
    /// The frame below, of this `run` or an earlier one.
    pub(super) caller: *mut Self,
    /// Where it goes on: behind the cell it stands at.
    pub(super) ip: *const Word,
    pub(super) form: *const Form,
    pub(super) regs: Regs,
    pub(super) vmctx: *mut VmCtx,
    /// 0 if returning takes no more than going back to the caller's position. For the first frame of a `run`, an address in
    /// the native frame of that `run`; [`FROM_ELSEWHERE`] if the caller's instance is another one.
    pub(super) special: usize,
}

/// No address in a native frame.
const FROM_ELSEWHERE: usize = 1;

/// One interpreted function of a backtrace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BacktraceFrame {
    pub(crate) vmctx: *mut VmCtx,
    /// Index in the function space of the module.
    pub(crate) func_index: u32,
    /// Offset in the module's bytes of the operator it stands at.
    pub(crate) module_offset: u32,
    /// An address in the native frame of the `run` this frame belongs to: orders interpreted frames among compiled ones.
    pub(crate) run: usize,
}

impl InterpState {
    /// An interpreter whose value stack has room for `stack_bytes` of values once it is used.
    pub(crate) fn new(stack_bytes: usize) -> Self {
        Self {
            auto_tier: false,
            passes: u32::MAX,
            passes_left: 0,
            canonical_nans: false,
            by_loop: dispatch::by_loop(false),
            lends_stack: false,
            stack: Vec::new(),
            stack_slots: BLOCK_FACTOR * stack_bytes / size_of::<u64>(),
            current: std::ptr::null_mut(),
            top: std::ptr::null_mut(),
        }
    }

    /// How many frames are open.
    #[cfg(test)]
    pub(crate) fn depth(&self) -> usize {
        self.frames().count()
    }

    /// The open frames, innermost first.
    fn frames(&self) -> impl Iterator<Item = &Frame> {
        // SAFETY: `current` and the callers of open frames are open frames, or null; nothing changes them meanwhile.
        let first = unsafe { self.current.as_ref() };
        // SAFETY: as above.
        std::iter::successors(first, |frame| unsafe { frame.caller.as_ref() })
    }

    /// The open frames, innermost first.
    pub(crate) fn frames_for_backtrace(&self) -> impl Iterator<Item = BacktraceFrame> + '_ {
        let mut run = 0;
        self.frames().map(move |frame| {
            if run == 0 {
                let from = std::iter::successors(Some(frame), |frame| {
                    // SAFETY: as in `frames`.
                    unsafe { frame.caller.as_ref() }
                });
                run = from.map(Frame::run).find(|&run| run != 0).expect("a run starts with a marked frame");
            }
            let found = frame.for_backtrace(run);
            if frame.run() != 0 {
                run = 0;
            }
            found
        })
    }

    /// Passes every reference in open frames through `renew`.
    pub(crate) fn each_reference(&mut self, renew: &mut dyn FnMut(u32) -> u32) {
        for frame in self.frames() {
            // SAFETY: a frame's form lives as long as its module.
            let refs = unsafe { (*frame.form).refs } as i32;
            for slot in (-refs..0).map(Slot) {
                // SAFETY: the slot is one of the frame's references, null or written since it was opened.
                let old: u32 = unsafe { frame.regs.get(slot) };
                // SAFETY: as above.
                unsafe { frame.regs.set(slot, renew(old)) };
            }
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { top: self.top, current: self.current }
    }

    /// Drops everything above a mark.
    pub(super) fn reset(&mut self, mark: Mark) {
        (self.top, self.current) = (mark.top, mark.current);
    }

    /// Leaves the stack to other interpreters on the thread if it is lent and no frame is open.
    #[inline]
    pub(super) fn rest(&mut self) {
        if self.lends_stack && self.current.is_null() {
            self.top = std::ptr::null_mut();
            stacks::give(std::mem::take(&mut self.stack));
        }
    }

    /// The end of the block, which is allocated at the first need.
    pub(super) fn limit(&mut self) -> *mut u64 {
        if self.stack.is_empty() {
            self.stack = stacks::take(self.stack_slots);
            self.top = self.stack.as_mut_ptr();
        }
        self.stack.as_mut_ptr_range().end
    }

    /// Makes the innermost frame's end the top again.
    #[inline]
    pub(super) fn settle(&mut self) {
        let current = self.current;
        // SAFETY: the innermost frame is open.
        let bytes = unsafe { &*current }.form().frame_bytes;
        self.top = current.wrapping_byte_add(bytes as usize).cast();
    }

    /// Reserves a slot array above the frames; undone by [`InterpState::reset`].
    pub(super) fn push_array(&mut self, slots: usize) -> Result<*mut u64, TrapCode> {
        let (at, limit) = (self.top, self.limit());
        if slots > (limit.addr() - at.addr()) / size_of::<u64>() {
            return Err(TrapCode::StackOverflow);
        }
        self.top = at.wrapping_add(slots);
        Ok(at)
    }

    /// Keeps what lies below `top`, above the running frame, from whoever opens frames before the next position is saved.
    pub(super) fn raise(&mut self, top: *mut u64) {
        self.top = top;
    }

    /// Opens a frame at the top: references null, parameters not yet in place.
    pub(super) fn push(&mut self, form: *const Form, vmctx: *mut VmCtx, run: usize) -> Result<Regs, TrapCode> {
        let limit = self.limit();
        let at: *mut Frame = self.top.cast();
        // SAFETY: the caller got the form from the tier, which keeps it for as long as the module lives.
        let measured = unsafe { &*form };
        if measured.frame_bytes as usize > limit.addr() - at.addr() {
            return Err(TrapCode::StackOverflow);
        }
        let caller = self.current;
        // SAFETY: only the first frame of a run may have no caller, and it has a run.
        let is_elsewhere = run == 0 && vmctx != unsafe { (*caller).vmctx };
        let special = if is_elsewhere { FROM_ELSEWHERE } else { run };
        let regs = Regs::new(at.wrapping_byte_add(measured.base_bytes as usize).cast());
        // SAFETY: the frame lies inside the block, above every open one.
        unsafe { at.write(Frame { caller, ip: Form::first(form), form, regs, vmctx, special }) };
        // SAFETY: as above; the slots are the frame's.
        unsafe { measured.clear_refs(regs) };
        self.current = at;
        self.settle();
        Ok(regs)
    }

    /// Gives the innermost frame to another function, as [`InterpState::push`] opens one. On an error the frame stands as it was.
    pub(super) fn replace(&mut self, form: *const Form, vmctx: *mut VmCtx) -> Result<Regs, TrapCode> {
        let (run, caller) = (self.current().run(), self.current().caller);
        let mark = self.mark();
        self.top = self.current.cast();
        self.current = caller;
        let pushed = self.push(form, vmctx, run);
        if pushed.is_err() {
            self.reset(mark);
        }
        pushed
    }

    /// Closes the innermost frame and returns it with the one below.
    pub(super) fn pop(&mut self) -> (Frame, Frame) {
        let frame = *self.current();
        self.current = frame.caller;
        self.settle();
        (frame, *self.current())
    }

    /// Takes the innermost frame off the list but leaves its slots, and what lies above them, where they are. Also returns
    /// the height to come back to.
    pub(super) fn retire(&mut self) -> (Frame, Mark) {
        let (frame, at) = (*self.current(), self.current);
        self.current = frame.caller;
        (frame, Mark { top: at.cast(), current: frame.caller })
    }

    pub(super) fn current(&mut self) -> &mut Frame {
        // SAFETY: a function that runs has a frame, which is open.
        unsafe { &mut *self.current }
    }
}

impl Drop for InterpState {
    fn drop(&mut self) {
        stacks::give(std::mem::take(&mut self.stack));
    }
}

/// A height of the interpreter's stack to come back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    top: *mut u64,
    current: *mut Frame,
}

impl Form {
    /// Makes the references of a fresh frame null.
    ///
    /// # Safety
    /// The registers are those of a frame of this form.
    pub(super) unsafe fn clear_refs(&self, regs: Regs) {
        let first = regs.at(Slot(-(self.refs as i32)));
        // SAFETY: said by the caller: these are the reference slots.
        unsafe { first.write_bytes(0, self.refs as usize) };
    }
}

impl Frame {
    /// For the first frame of a `run`, an address in the native frame of that `run`; else 0.
    pub(super) fn run(&self) -> usize {
        if self.special == FROM_ELSEWHERE { 0 } else { self.special }
    }

    pub(super) fn entry(&self) -> *const VmFuncEntry {
        self.form().entry
    }

    pub(super) fn form<'a>(&self) -> &'a Form {
        // SAFETY: a frame's form lives as long as its module.
        unsafe { &*self.form }
    }

    pub(super) fn code<'a>(&self) -> &'a Code {
        // SAFETY: a form's code lives as long as its module.
        unsafe { &*self.form().code }
    }

    /// The instruction it stands at.
    pub(super) fn inst(&self) -> u32 {
        self.form().inst_before(self.ip)
    }

    fn for_backtrace(&self, run: usize) -> BacktraceFrame {
        // SAFETY: a frame's instance is live while the frame is open.
        let instance = unsafe { &*InstanceData::from_vmctx(self.vmctx) };
        // SAFETY: a form's entry lives as long as its module.
        let own_index = unsafe { (*self.entry()).index() };
        let offsets = &self.code().offsets;
        BacktraceFrame {
            vmctx: self.vmctx,
            func_index: instance.layout.counts().imported_funcs + own_index,
            module_offset: offsets.get(self.inst() as usize).copied().unwrap_or_default(),
            run,
        }
    }
}
