//! The interpreter's stack: values in one block that never moves, frames beside it.
//!
//! ```text
//! value stack:  ...caller's slots │ ref slots ◀─ base ─▶ value slots │ top ...   limit
//! ```
//!
//! Invariants: the frames' slot ranges are disjoint and ascend; `top` is the end of the innermost
//! one, or of the argument array of a call that is on its way out of the interpreter. Frames of an
//! earlier `run` stay below those of a later one, so that host functions may call back.
//!
//! # Safety
//! Trusts: frames name live instances and `Code` that lives as long as they do. Gives: the slots of a
//! pushed frame lie inside the block.

use aura_host_abi::TrapCode;
use aura_host_abi::vm::{VmCtx, VmFuncEntry};
use aura_validator::Code;
use aura_validator::code::{Operands, Slot};

use super::slots::Regs;
use crate::vm::instance::InstanceData;

/// Bytes of value stack for each frame that may be open at once: bounds functions without slots.
const BYTES_PER_FRAME: usize = 64;

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
    /// Allocated at the first call; its length then never changes.
    stack: Vec<u64>,
    stack_slots: usize,
    /// Index of the first free slot of the stack.
    top: usize,
    frames: Vec<Frame>,
    frames_max: usize,
}

/// An interpreted function that was entered and has not returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) code: *const Code,
    pub(super) regs: Regs,
    pub(super) vmctx: *mut VmCtx,
    pub(super) entry: *const VmFuncEntry,
    /// Index of the instruction after the current one.
    pub(super) pc: u32,
    /// Where the results of the call this frame waits for go.
    pub(super) results: Operands,
    /// For the first frame of a `run`, an address in the native frame of that `run`; else 0.
    pub(super) run: usize,
}

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
    /// An interpreter whose value stack takes `stack_bytes` once it is used.
    pub(crate) fn new(stack_bytes: usize) -> Self {
        Self {
            auto_tier: false,
            passes: u32::MAX,
            passes_left: 0,
            canonical_nans: false,
            stack: Vec::new(),
            stack_slots: stack_bytes / 8,
            top: 0,
            frames: Vec::new(),
            frames_max: (stack_bytes / BYTES_PER_FRAME).max(1),
        }
    }

    /// How many frames are open.
    pub(crate) fn depth(&self) -> usize {
        self.frames.len()
    }

    /// The frames above `from_depth`, innermost first.
    pub(crate) fn frames_for_backtrace(&self, from_depth: usize) -> impl Iterator<Item = BacktraceFrame> + '_ {
        let mut run = 0;
        (from_depth..self.frames.len()).rev().map(move |index| {
            let frame = &self.frames[index];
            if run == 0 {
                run = self.run_of(index);
            }
            let found = frame.for_backtrace(run);
            if frame.run != 0 {
                run = 0;
            }
            found
        })
    }

    /// The native address of the `run` that frame `index` belongs to.
    fn run_of(&self, index: usize) -> usize {
        let first = self.frames[..=index].iter().rfind(|frame| frame.run != 0);
        first.expect("a run starts with a marked frame").run
    }

    /// Passes every reference in open frames through `renew`.
    pub(crate) fn each_reference(&mut self, renew: &mut dyn FnMut(u32) -> u32) {
        for frame in &self.frames {
            // SAFETY: a frame's code lives as long as its module.
            let refs = unsafe { &(*frame.code).frame }.ref_slots as i32;
            for slot in (-refs..0).map(Slot) {
                // SAFETY: the slot is one of the frame's references, null or written since it was opened.
                let old: u32 = unsafe { frame.regs.get(slot) };
                // SAFETY: as above.
                unsafe { frame.regs.set(slot, renew(old)) };
            }
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { top: self.top, depth: self.frames.len() }
    }

    /// Drops everything above a mark.
    pub(super) fn reset(&mut self, mark: Mark) {
        self.top = mark.top;
        self.frames.truncate(mark.depth);
    }

    /// Reserves a slot array above the frames; undone by [`InterpState::reset`].
    pub(super) fn push_array(&mut self, slots: usize) -> Result<*mut u64, TrapCode> {
        let at = self.advance(slots)?;
        Ok(self.stack.as_mut_ptr().wrapping_add(at))
    }

    /// Opens a frame: references null, locals zero, parameters not yet in place.
    pub(super) fn push(
        &mut self,
        code: *const Code,
        vmctx: *mut VmCtx,
        entry: *const VmFuncEntry,
        run: usize,
    ) -> Result<Regs, TrapCode> {
        // SAFETY: the caller got `code` from the tier, which keeps it for as long as the module lives.
        let layout = unsafe { &(*code).frame };
        let (refs, values) = (layout.ref_slots as usize, layout.value_slots as usize);
        if self.frames.len() == self.frames_max {
            return Err(TrapCode::StackOverflow);
        }
        let at = self.advance(refs + values)?;
        self.stack[at..at + refs + layout.local_slots as usize].fill(0);
        let regs = Regs::new(self.stack.as_mut_ptr().wrapping_add(at + refs));
        self.frames.push(Frame { code, regs, vmctx, entry, pc: 0, results: Operands::default(), run });
        Ok(regs)
    }

    /// Gives the innermost frame to another function, as [`InterpState::push`] opens one. On an error the frame stands as it was.
    pub(super) fn replace(
        &mut self,
        code: *const Code,
        vmctx: *mut VmCtx,
        entry: *const VmFuncEntry,
    ) -> Result<Regs, TrapCode> {
        let Frame { code: before, run, .. } = *self.current();
        let base = self.top - Self::slots_of(before);
        if Self::slots_of(code) > self.stack.len() - base {
            return Err(TrapCode::StackOverflow);
        }
        self.frames.pop();
        self.top = base;
        self.push(code, vmctx, entry, run)
    }

    /// How many slots a frame of this code takes.
    fn slots_of(code: *const Code) -> usize {
        // SAFETY: frames' code, and code that a frame is about to get, lives as long as its module.
        let layout = unsafe { &(*code).frame };
        (layout.ref_slots + layout.value_slots) as usize
    }

    /// Closes the innermost frame and returns it with the one below.
    pub(super) fn pop(&mut self) -> (Frame, Frame) {
        let frame = self.frames.pop().expect("a function that returns has a frame");
        self.top -= Self::slots_of(frame.code);
        (frame, *self.current())
    }

    /// Takes the innermost frame off the list but leaves its slots, and what lies above them, where they are. Also returns
    /// the height to come back to.
    pub(super) fn retire(&mut self) -> (Frame, Mark) {
        let frame = self.frames.pop().expect("a function that runs has a frame");
        // SAFETY: a frame's code lives as long as its module.
        let refs = unsafe { &(*frame.code).frame }.ref_slots as usize;
        let base = (frame.regs.base().addr() - self.stack.as_ptr().addr()) / size_of::<u64>();
        (frame, Mark { top: base - refs, depth: self.frames.len() })
    }

    pub(super) fn current(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a function that runs has a frame")
    }

    /// Moves `top` up by `slots` and returns where it was.
    fn advance(&mut self, slots: usize) -> Result<usize, TrapCode> {
        if self.stack.is_empty() {
            self.stack = vec![0; self.stack_slots];
        }
        let at = self.top;
        if slots > self.stack.len() - at {
            return Err(TrapCode::StackOverflow);
        }
        self.top = at + slots;
        Ok(at)
    }
}

/// A height of the interpreter's stack to come back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    top: usize,
    pub(super) depth: usize,
}

impl Frame {
    fn for_backtrace(&self, run: usize) -> BacktraceFrame {
        // SAFETY: a frame's instance is live while the frame is open.
        let instance = unsafe { &*InstanceData::from_vmctx(self.vmctx) };
        // SAFETY: a frame's entry is live while the frame is open.
        let own_index = unsafe { (*self.entry).index };
        // SAFETY: a frame's code lives as long as its module.
        let offsets = unsafe { &(*self.code).offsets };
        let current = (self.pc as usize).saturating_sub(1);
        BacktraceFrame {
            vmctx: self.vmctx,
            func_index: instance.layout.counts().imported_funcs + own_index,
            module_offset: offsets.get(current).copied().unwrap_or_default(),
            run,
        }
    }
}
