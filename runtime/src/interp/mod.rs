//! The interpreter: a loop over [`Code`](aura_validator::Code).
//!
//! [`run`] enters a function for whoever holds its arguments in a slot array: the host, compiled
//! code, or a host function that calls back. From there interpreted functions call each other on
//! the explicit stack of [`InterpState`], across instances too, without native recursion; whatever
//! is not interpreted is called through its entry word. Every memory access is checked in software.
//!
//! | file | what it does |
//! |---|---|
//! | [`frame`] | the value stack, frames, backtraces |
//! | [`slots`] | reads and writes of frame slots |
//! | [`machine`] | the function that runs now; positions, traps |
//! | [`execute`] | the loop: one arm per instruction |
//! | [`rows`] | numeric and lane operators, expanded from the operator table |
//! | [`address`] | loads and stores: a guest address becomes a host address |
//! | [`atomic`] | atomic accesses, waiting and waking |
//! | [`call`] | calls and returns |
//! | [`in_loop`] | a loop in mid-flight moves into compiled code |
//! | [`object`] | structures, arrays, i31, casts |
//! | [`bulk`] | globals, references, tables, bulk memory: instructions that services carry out |
//!
//! Invariant: before anything is called that may look at the stack of this thread's guest (a trap, a
//! service, another function), the position of the running function is stored in its frame.

mod address;
mod atomic;
mod bulk;
mod call;
mod execute;
mod frame;
mod in_loop;
mod machine;
mod object;
mod rows;
mod slots;
mod throw;

pub(crate) use call::run;
pub(crate) use frame::InterpState;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
