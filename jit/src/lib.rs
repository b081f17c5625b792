//! `Code` in, machine code out: the compiled tier.
//!
//! A [`Compiler`] turns one lowered function (or one stub between the two calling conventions) into
//! a [`CompiledFunction`]: position-independent bytes with tables that say where they may trap and
//! which operator they came from. [`ModuleCode`] makes such bytes executable, and [`registry`] finds
//! them again by program counter, from a signal handler too.
//!
//! The crate knows instances only through `aura_host_abi`: every offset it uses comes from those
//! structures, every engine service it calls stands in their table. It relocates nothing and looks
//! no symbol up.
//!
//! Reading order: [`compiler`], `signature`, [`budget`], `emit`, `rows`, `body`, `address`, `heap`, `stubs`,
//! `finish`, `kept`, `code_memory`, `nearby`, [`registry`], `disassemble`.
//!
//! # Conventions
//! - A compiled function has Cranelift's `tail` convention with the hidden parameters `(vmctx, entry)`.
//!   A normal return means that nothing trapped: traps reset the stack in `raise` and `propagate`.
//! - Frames keep the frame pointer chain. The frame of a function is at most [`MAX_FRAME`] bytes. It
//!   looks at the stack limit when the frame is there, and not at all if it calls no function; so the
//!   stack below the limit holds two such frames, a stub's (as large as its type's values) and what
//!   services need.
//! - Before a service is called nothing is recorded: whoever fills [`VmServices`] wraps each service so that
//!   it notes the frame pointer and the return address, which lie in the compiled function.
//!   [`Compiler::compile_regs_to_slots`] notes both itself, in the same sense.
//!
//! [`VmServices`]: aura_host_abi::services::VmServices

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod address;
mod body;
pub mod budget;
mod code_memory;
pub mod compiler;
pub mod disassemble;
mod emit;
mod finish;
mod heap;
mod kept;
mod nearby;
pub mod registry;
mod rows;
mod signature;
mod stubs;

pub use code_memory::{KeptCode, KeptFunction, ModuleCode, ModuleCodeError};
pub use compiler::{Bounds, CompileError, Compiler, CompilerConfig, Cpu, MAX_FRAME, OptLevel};
pub use disassemble::disassemble;
pub use finish::{CallHandler, CompiledFunction, StackMaps};
pub use kept::KeptTables;
pub use registry::{CodeKind, CodeLocation};
