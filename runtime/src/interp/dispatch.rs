//! How one cell of a [`Form`](super::form::Form) leads to the next.
//!
//! A cell is the address of a handler and the operands it reads. Handlers have one signature, so that
//! the state of the running function stays in machine registers: position, frame, machine, three
//! accumulators, the first memory. A handler ends by calling the next one ([`At::go`]). Optimised
//! builds make that call a jump; Rust does not promise it, so there is a second way: the handler puts
//! the state into the machine and returns to [`execute`], which calls the next one. `build.rs`
//! chooses by the optimisation this crate is compiled with, whatever the embedder's profile is called:
//!
//! | build of this crate | how |
//! |---|---|
//! | optimised for speed or size, known architecture | jumps |
//! | the same with debug assertions | the loop; tests ask for jumps (`Config::interpreter_jumps`) |
//! | anything else | the loop |
//!
//! What keeps the call a jump: one signature that fits registers, no local whose address is taken, no
//! value to drop, and every slow path a tail call itself or a function that takes the machine alone.
//! `runtime/tests/native_stack.rs` runs many millions of cells on a small stack.
//!
//! # Safety
//! Trusts: an [`At`] is made for the cell it stands at, by [`execute`] or by the handler before it;
//! cells are written by [`super::translate`], whose operands are slots of the code. So a [`Place`] that
//! was read from the cell is a slot of the frame.

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;

use super::form::Word;
use super::machine::{Cursor, Machine};
use super::slots::{Regs, SlotValue};

/// What a handler returns to the loop if it has not ended the run.
const NEXT: u32 = u32::MAX;

/// Whether handlers can be left by jumps in this build.
pub(crate) const HAS_JUMPS: bool = cfg!(aura_sibling_calls);

/// Whether the loop is there.
const HAS_LOOP: bool = cfg!(any(not(aura_sibling_calls), debug_assertions));

/// Whether handlers return to the loop, where the configuration asks for jumps or does not.
pub(crate) const fn by_loop(jumps: bool) -> bool {
    !HAS_JUMPS || (HAS_LOOP && !jumps)
}

/// Defines a handler from what it does at an [`At`].
macro_rules! handler {
    ($(#[$attr:meta])* fn $name:ident [$($generics:tt)*] ($at:ident) $body:block) => {
        super::dispatch::with_abi! {
            $(#[$attr])*
            ///
            /// # Safety
            /// As [`Handler`](super::dispatch::Handler).
            #[allow(clippy::too_many_arguments, reason = "they are the registers of the interpreter")]
            #[allow(unused_mut, reason = "some handlers change no accumulator")]
            fn $name [$($generics)*] (
                ip: *const super::form::Word,
                regs: super::slots::Regs,
                machine: *mut super::machine::Machine,
                int: u64,
                base: *mut u8,
                length: u64,
                single: f32,
                double: f64
            ) {
                let mut $at = super::dispatch::At { ip, regs, machine, int, base, length, single, double };
                $body
            }
        }
    };
}
/// A function with the handlers' calling convention.
#[cfg(target_arch = "x86_64")]
macro_rules! with_abi {
    ($(#[$attr:meta])* fn $name:ident [$($generics:tt)*] ($($p:ident: $t:ty),*) $body:block) => {
        $(#[$attr])* pub(super) unsafe extern "sysv64" fn $name<$($generics)*>($($p: $t),*) -> u32 $body
    };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! with_abi {
    ($(#[$attr:meta])* fn $name:ident [$($generics:tt)*] ($($p:ident: $t:ty),*) $body:block) => {
        $(#[$attr])* pub(super) unsafe extern "C" fn $name<$($generics)*>($($p: $t),*) -> u32 $body
    };
}
pub(super) use {handler, with_abi};

/// Carries out one cell and goes on with the next. Returns a [`Status`] as a number when the run is over.
///
/// The position is at a cell with this handler; the rest is the state of the machine's running function.
#[cfg(target_arch = "x86_64")]
pub(super) type Handler =
    unsafe extern "sysv64" fn(*const Word, Regs, *mut Machine, u64, *mut u8, u64, f32, f64) -> u32;
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Handler = unsafe extern "C" fn(*const Word, Regs, *mut Machine, u64, *mut u8, u64, f32, f64) -> u32;

/// A slot of the running frame, as cells name it: its distance from the frame's base in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(pub(super) i32);

/// The state of the running function, at a cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) ip: *const Word,
    pub(super) regs: Regs,
    pub(super) machine: *mut Machine,
    /// The accumulator of integers.
    pub(super) int: u64,
    /// The first memory, where its plain accesses go.
    pub(super) base: *mut u8,
    /// How much of it may be read.
    pub(super) length: u64,
    /// The accumulators of floats.
    pub(super) single: f32,
    pub(super) double: f64,
}

impl At {
    /// The `n`-th operand of 32 bits of the cell.
    #[inline(always)]
    pub(super) fn operand(&self, n: usize) -> i32 {
        // SAFETY: the handler knows what its cell holds; see the head of the file.
        unsafe { self.ip.cast::<i32>().wrapping_add(2 + n).read() }
    }

    /// The `n`-th word of the cell; the handler's address is word 0.
    #[inline(always)]
    pub(super) fn word(&self, n: usize) -> u64 {
        // SAFETY: as for `operand`.
        unsafe { self.ip.cast::<u64>().wrapping_add(n).read() }
    }

    /// The `n`-th operand of 32 bits, which is a slot.
    #[inline(always)]
    pub(super) fn place(&self, n: usize) -> Place {
        Place(self.operand(n))
    }

    #[inline(always)]
    pub(super) fn get<T: SlotValue>(&self, place: Place) -> T {
        // SAFETY: the place was read from the cell, so that it is a slot of the frame with such a value.
        unsafe { T::read(self.regs.at_byte(place.0)) }
    }

    #[inline(always)]
    pub(super) fn set<T: SlotValue>(&self, place: Place, value: T) {
        // SAFETY: as for `get`.
        unsafe { value.write(self.regs.at_byte(place.0)) };
    }

    /// The machine. The reference must end before anything else may look at it.
    #[inline(always)]
    pub(super) fn machine<'a>(&self) -> &'a mut Machine {
        // SAFETY: the machine of a run lives as long as the run, on this thread; handlers hold no other reference.
        unsafe { &mut *self.machine }
    }

    /// Moves `words` behind.
    #[inline(always)]
    pub(super) fn pass(&mut self, words: usize) {
        self.ip = self.ip.wrapping_add(words);
    }

    /// Goes on `words` behind.
    #[inline(always)]
    pub(super) fn next(mut self, words: usize) -> u32 {
        self.pass(words);
        self.go()
    }

    /// Goes on at a distance in bytes.
    #[inline(always)]
    pub(super) fn jump(mut self, bytes: i32) -> u32 {
        self.ip = self.ip.wrapping_byte_offset(bytes as isize);
        self.go()
    }

    /// Carries out the cell.
    #[inline(always)]
    pub(super) fn go(self) -> u32 {
        if HAS_LOOP && (!HAS_JUMPS || self.machine().by_loop) {
            self.machine().at = Some(self);
            return NEXT;
        }
        self.carry_out()
    }

    #[inline(always)]
    fn carry_out(self) -> u32 {
        let Self { ip, regs, machine, int, base, length, single, double } = self;
        // SAFETY: the position is at a cell of the running function's form.
        let handler = unsafe { Word::handler(ip) };
        // SAFETY: the state is that of the running function, at this cell.
        unsafe { handler(ip, regs, machine, int, base, length, single, double) }
    }

    /// The position behind a cell of `words`; any that is inside the cell will do to say where a trap is.
    #[inline(always)]
    pub(super) fn behind(&self, words: usize) -> Cursor {
        Cursor { next: self.ip.wrapping_add(words), regs: self.regs }
    }

    /// Ends the run with a trap at this cell.
    #[inline(always)]
    pub(super) fn trap(mut self, code: TrapCode) -> u32 {
        self.int = code as u64;
        self.trap_of_number()
    }

    /// As [`At::trap`], for a part of a handler: the handler to go on in.
    #[inline(always)]
    pub(super) fn trapping(&mut self, code: TrapCode) -> Handler {
        self.int = code as u64;
        trap_here
    }

    /// As [`At::trap`], with the code's number in the accumulator.
    #[inline(always)]
    pub(super) fn trap_of_number(self) -> u32 {
        self.hand_over(trap_here)
    }

    /// Carries out the cell by a function outside of the handlers.
    #[inline(always)]
    pub(super) fn outside<S: Step>(self) -> u32 {
        self.hand_over(step::<S>)
    }

    /// Goes on in another handler for the same cell.
    #[inline(always)]
    pub(super) fn hand_over(self, handler: Handler) -> u32 {
        let Self { ip, regs, machine, int, base, length, single, double } = self;
        // SAFETY: the state is that of the running function, and the handler one for this cell.
        unsafe { handler(ip, regs, machine, int, base, length, single, double) }
    }
}

/// Something that is carried out with the state in the machine and the frame alone.
pub(super) trait Step {
    /// Carries out the cell at `at.ip`; returns where to go on. `Err(Status::Ok)` is the end of the run.
    ///
    /// # Safety
    /// `at` is at a cell of this step.
    unsafe fn run(machine: &mut Machine, at: At) -> Result<Cursor, Status>;
}

handler! {
    /// A step, from a handler and back into the next. The accumulators hold what the last slot of the cursor's cell says.
    #[inline(never)]
    fn step[S: Step](at) {
        let status = step_out::<S>(at.ip, at.regs, at.machine);
        if status != GO_ON {
            return status;
        }
        at.machine().left().go()
    }
}

/// What [`step_out`] returns if the run goes on.
const GO_ON: u32 = u32::MAX - 1;

#[inline(never)]
fn step_out<S: Step>(ip: *const Word, regs: Regs, machine: *mut Machine) -> u32 {
    // SAFETY: the machine of a run lives as long as the run; nothing else refers to it.
    let m = unsafe { &mut *machine };
    let at = At { ip, regs, ..m.at_cursor(Cursor { next: ip, regs }) };
    // SAFETY: the handler says so.
    match unsafe { S::run(m, at) } {
        Ok(cursor) => {
            m.at = Some(m.at_cursor(cursor));
            GO_ON
        }
        Err(status) => status as u32,
    }
}

handler! {
    /// Ends the run with the trap whose code is in the accumulator.
    #[cold]
    #[inline(never)]
    fn trap_here[](at) {
        let code = TrapCode::from_u8(at.int as u8).expect("handlers trap with codes of the table");
        at.machine().trap(at.behind(1), code) as u32
    }
}

/// Runs from `start` until the outermost function returns, or ends by a trap, a tail call or an exception.
///
/// # Safety
/// `start` is at a cell of the function that the machine is in.
pub(super) unsafe fn execute(m: &mut Machine, start: Cursor) -> Status {
    let mut at = m.at_cursor(start);
    loop {
        let status = at.carry_out();
        if status != NEXT {
            return status_of(status);
        }
        at = m.left();
    }
}

fn status_of(number: u32) -> Status {
    const ALL: [Status; 4] = [Status::Ok, Status::Trap, Status::TailCall, Status::Exception];
    *ALL.iter().find(|status| **status as u32 == number).expect("handlers return statuses")
}
