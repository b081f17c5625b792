//! `Form`: a function as the interpreter runs it, made from its [`Code`] at its first interpreted call.
//!
//! A row of cells, each the address of a handler and what the handler reads: slots as distances in
//! bytes, constants, branch distances. It holds addresses, so that it never leaves the process; it
//! belongs to its module as the code does, and holds nothing of an instance.
//!
//! ```text
//! cell:   word 0: handler    word 1: two operands of 32 bits    word 2: ...
//! ```
//!
//! Invariants: the form of a function is complete before a pointer to it is published; every path
//! through it ends with a cell that leaves the function.
//!
//! # Safety
//! Trusts: the code that a form was made from lives as long as the module that owns both. Gives: a form never
//! changes, so that threads share it.

use std::fmt;

use aura_validator::Code;

use super::dispatch::Handler;
use super::frame::Frame;

/// One word of a cell.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Word {
    pub(super) handler: Handler,
    pub(super) bits: u64,
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: both fields are 64 bits, and any is a number (on the architectures with a form).
        write!(f, "{:#x}", unsafe { self.bits })
    }
}

/// A function as the interpreter runs it.
#[derive(Debug)]
pub(crate) struct Form {
    pub(super) words: Box<[Word]>,
    /// For each instruction of the code, the word at which what it does begins. Ascends; of several with
    /// the same start, the last is the one that may trap.
    pub(super) starts: Box<[u32]>,
    /// What it was made from, which lives as long as the module.
    pub(super) code: *const Code,
    /// From the beginning of a frame to its base: the head and the reference slots.
    pub(super) base_bytes: u32,
    /// A whole frame.
    pub(super) frame_bytes: u32,
    /// Reference slots.
    pub(super) refs: u32,
    /// The value slots that are locals but no parameters: where they begin and how many there are.
    pub(super) zero_from: u32,
    pub(super) zero_slots: u32,
}

// SAFETY: a form is immutable once made, and the code it points to is too.
unsafe impl Send for Form {}
// SAFETY: as above.
unsafe impl Sync for Form {}

impl Form {
    /// A form without cells, with the measures of a frame of the code.
    pub(super) fn measured(code: &Code) -> Self {
        let layout = &code.frame;
        let params = layout.params.iter().filter(|param| param.slot.0 >= 0);
        let param_slots: u32 = params.map(|param| param.ty.slots()).sum();
        let base_bytes = size_of::<Frame>() as u32 + 8 * layout.ref_slots;
        Self {
            words: Box::default(),
            starts: Box::default(),
            code,
            base_bytes,
            frame_bytes: base_bytes + 8 * layout.value_slots,
            refs: layout.ref_slots,
            zero_from: param_slots,
            zero_slots: layout.local_slots - param_slots,
        }
    }

    /// The first cell.
    #[inline(always)]
    pub(super) fn first(&self) -> *const Word {
        self.words.as_ptr()
    }

    /// The instruction whose cell ends at `next`, or that `next` is inside of.
    pub(super) fn inst_before(&self, next: *const Word) -> u32 {
        let word = (next.addr() - self.first().addr()) / size_of::<Word>();
        let before = self.starts.partition_point(|&start| (start as usize) < word);
        before.saturating_sub(1) as u32
    }

    /// The cell at an instruction.
    pub(super) fn cell(&self, inst: u32) -> *const Word {
        self.first().wrapping_add(self.starts[inst as usize] as usize)
    }
}
