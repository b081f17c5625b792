//! `Form`: a function as the interpreter runs it, made from its [`Code`] at its first interpreted call.
//!
//! A row of cells, each the address of a handler and what the handler reads: slots as distances in
//! bytes, constants, branch distances. It holds addresses, so that it never leaves the process; it
//! belongs to its module as the code does, and holds nothing of an instance.
//!
//! ```text
//! form:   Form │ cell │ cell │ ...
//! cell:   word 0: handler    word 1: two operands of 32 bits    word 2: ...
//! ```
//!
//! Invariants: the form of a function is complete before a pointer to it is published; every path
//! through it ends with a cell that leaves the function.
//!
//! # Safety
//! Trusts: the code that a form was made from lives as long as the module that owns both. Gives: nothing of a form ever changes
//! but the handlers of its cells, each for another that does the same ([`super::baseline`]): they are read and written
//! atomically, so that threads share a form.

use std::cell::UnsafeCell;
use std::fmt;
use std::sync::atomic::{AtomicPtr, Ordering};

use aura_host_abi::vm::VmFuncEntry;
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

/// A function as the interpreter runs it, but for its cells, which stand right behind this: a call that finds it in the
/// cache finds the first of them there too.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Form {
    /// What it was made from, which lives as long as the module.
    pub(super) code: *const Code,
    /// The function's entry, which lives as long as the module.
    pub(super) entry: *const VmFuncEntry,
    /// As [`FormBox::starts`].
    starts: *const u32,
    starts_len: u32,
    /// From the beginning of a frame to its base: the head and the reference slots.
    pub(super) base_bytes: u32,
    /// A whole frame.
    pub(super) frame_bytes: u32,
    /// Reference slots.
    pub(super) refs: u32,
}

/// How many words the form takes in front of the first cell.
const HEAD_WORDS: usize = size_of::<Form>() / size_of::<Word>();

/// A form with all that belongs to it.
#[derive(Debug)]
pub(crate) struct FormBox {
    /// The form itself, then the cells.
    words: Box<[UnsafeCell<Word>]>,
    /// For each instruction of the code, the word at which what it does begins, counted from the first cell. Ascends; of
    /// several with the same start, the last is the one that may trap.
    _starts: Box<[u32]>,
}

// SAFETY: of a form that is made only handlers change, atomically, and the code and the entry it points to live longer; entries hold atomics.
unsafe impl Send for FormBox {}
// SAFETY: as above.
unsafe impl Sync for FormBox {}

impl FormBox {
    /// Leaves room for the form in front of cells.
    pub(super) fn head_room(cells: &mut Vec<Word>) {
        cells.resize(HEAD_WORDS, Word { bits: 0 });
    }

    /// The number of a word that stands in a vector which began as [`FormBox::head_room`].
    pub(super) fn number(at: usize) -> u32 {
        u32::try_from(at - HEAD_WORDS).expect("limits keep a function's form below 2^32 words")
    }

    /// The other way.
    pub(super) fn place(number: u32) -> usize {
        number as usize + HEAD_WORDS
    }

    /// Puts a form in front of its cells.
    pub(super) fn new(mut form: Form, starts: &[u32], words: &[Word]) -> Self {
        let (starts, mut words): (Box<[u32]>, Box<[Word]>) = (starts.into(), words.into());
        (form.starts, form.starts_len) = (starts.as_ptr(), starts.len() as u32);
        let room: &mut [Word] = &mut words[..HEAD_WORDS];
        // SAFETY: the room is as large as a form, and aligned as one: both are made of words.
        unsafe { room.as_mut_ptr().cast::<Form>().write(form) };
        let words: *mut [Word] = Box::into_raw(words);
        // SAFETY: the box was taken apart just now, and a cell has the layout of what is in it.
        Self { words: unsafe { Box::from_raw(words as *mut [UnsafeCell<Word>]) }, _starts: starts }
    }

    /// Words of the form and its cells.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// The form, whose cells are behind it.
    pub(crate) fn form(&self) -> *const Form {
        self.words.as_ptr().cast()
    }
}

impl Word {
    /// The handler of the cell that begins here.
    ///
    /// # Safety
    /// A cell of a live form does.
    #[inline(always)]
    pub(super) unsafe fn handler(this: *const Self) -> Handler {
        // SAFETY: said by the caller: the word is one of a form's, which may be written, and is aligned.
        let place = unsafe { AtomicPtr::<()>::from_ptr(this.cast_mut().cast()) };
        // SAFETY: every cell begins with its handler.
        unsafe { std::mem::transmute::<*mut (), Handler>(place.load(Ordering::Relaxed)) }
    }

    /// Gives the cell that begins here another handler.
    ///
    /// # Safety
    /// As [`Word::handler`]; the handler does what the cell's does.
    pub(super) unsafe fn set_handler(this: *const Self, handler: Handler) {
        // SAFETY: as above.
        let place = unsafe { AtomicPtr::<()>::from_ptr(this.cast_mut().cast()) };
        place.store(handler as *mut (), Ordering::Release);
    }
}

impl Form {
    /// What is known before there are cells: the measures of a frame of the code.
    pub(super) fn measured(code: &Code, entry: *const VmFuncEntry) -> Self {
        let (layout, base_bytes) = (&code.frame, Self::base_bytes(code));
        Self {
            code,
            entry,
            starts: std::ptr::null(),
            starts_len: 0,
            base_bytes,
            frame_bytes: base_bytes + 8 * layout.value_slots,
            refs: layout.ref_slots,
        }
    }

    /// From the beginning of a frame of the code to its base.
    pub(super) fn base_bytes(code: &Code) -> u32 {
        size_of::<Frame>() as u32 + 8 * code.frame.ref_slots
    }

    /// The first cell of a form that is in its box.
    #[inline(always)]
    pub(super) fn first(this: *const Self) -> *const Word {
        this.wrapping_add(1).cast()
    }

    /// For each instruction, where its cell begins.
    fn starts(&self) -> &[u32] {
        // SAFETY: the starts belong to the box that this form is in.
        unsafe { std::slice::from_raw_parts(self.starts, self.starts_len as usize) }
    }

    /// The instruction whose cell ends at `next`, or that `next` is inside of.
    pub(super) fn inst_before(&self, next: *const Word) -> u32 {
        let word = (next.addr() - Self::first(self).addr()) / size_of::<Word>();
        let before = self.starts().partition_point(|&start| (start as usize) < word);
        before.saturating_sub(1) as u32
    }

    /// The cell at an instruction.
    pub(super) fn cell(this: *const Self, inst: u32) -> *const Word {
        // SAFETY: a form is in its box once anybody has a pointer to it.
        let start = unsafe { &*this }.starts()[inst as usize];
        Self::first(this).wrapping_add(start as usize)
    }
}

const _: () = assert!(align_of::<Form>() == align_of::<Word>() && size_of::<Form>().is_multiple_of(size_of::<Word>()));
