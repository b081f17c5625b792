//! The interpreter: threaded code, made per function from [`Code`](aura_validator::Code).
//!
//! [`run`] enters a function for whoever holds its arguments in a slot array: the host, compiled
//! code, or a host function that calls back. From there interpreted functions call each other on
//! the explicit stack of [`InterpState`], across instances too, without native recursion; whatever
//! is not interpreted is called through its entry word. Every memory access is checked in software.
//!
//! | file | what it does |
//! |---|---|
//! | [`form`] | a function as it is run: cells of a handler's address and its operands |
//! | [`translate`] | makes it from `Code` |
//! | [`dispatch`] | how one cell leads to the next |
//! | [`scalars`] | the scalar operators of the operator table as one list |
//! | [`numeric`] | handlers of scalar operators, expanded from the operator table |
//! | [`address`] | loads and stores: a guest address becomes a host address |
//! | [`flow`] | handlers of branches, copies, constants, globals |
//! | [`call`] | calls and returns |
//! | [`fuse`] | cells that one handler carries out, one after the other |
//! | [`baseline`] | machine code for cells |
//! | [`frame`] | the stack of frames, backtraces |
//! | [`stacks`] | stacks that are kept for the next interpreter |
//! | [`slots`] | reads and writes of frame slots |
//! | [`machine`] | the function that runs now; positions, traps |
//! | [`general`] | all other instructions, as `Code` says them |
//! | [`rows`] | operators of vectors and lanes, expanded from the operator table |
//! | [`atomic`] | atomic accesses, waiting and waking |
//! | [`in_loop`] | a loop in mid-flight moves into compiled code |
//! | [`object`] | structures, arrays, i31, casts |
//! | [`bulk`] | globals, references, tables, bulk memory: instructions that services carry out |
//! | [`throw`] | exceptions |
//!
//! Invariant: before anything is called that may look at the stack of this thread's guest (a trap, a
//! service, another function), the position of the running function is stored in its frame.

mod address;
mod atomic;
pub(crate) mod baseline;
mod bulk;
mod call;
mod dispatch;
mod flow;
mod form;
mod frame;
mod fuse;
mod general;
mod in_loop;
mod machine;
mod numeric;
mod object;
mod rows;
mod scalars;
mod slots;
mod stacks;
mod throw;
mod translate;

pub(crate) use call::run;
pub(crate) use dispatch::{HAS_JUMPS, by_loop};
pub(crate) use form::{Form, FormBox};
pub(crate) use frame::InterpState;
pub(crate) use translate::{FormOptions, Source};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
