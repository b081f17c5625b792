//! The contract that host, engine and compiled code agree on.
//!
//! Every other crate of the workspace imports this one; it imports none of them. It says what a
//! value is, what a trap is, how an instance lies in memory while machine code reads it, which
//! services of the engine guest code may call, what a capability is, and what a host function
//! sees. One fact, one place: compiled code takes every offset from these structures with
//! [`core::mem::offset_of`], the interpreter uses the structures themselves.
//!
//! Reading order: [`types`], [`composite`], [`gc`], [`trap`], [`vm`], [`services`], [`action`], [`spec`],
//! [`capability`], [`flight`], [`host`], [`memory`], [`guest`].

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod action;
pub mod capability;
pub mod composite;
pub mod flight;
pub mod gc;
pub mod guest;
pub mod host;
pub mod memory;
pub mod raced;
pub mod services;
pub mod spec;
pub mod trap;
pub mod types;
pub mod vm;

pub use action::Action;
pub use capability::{Capability, GrantState, Terms, Withdraw};
pub use composite::{ArrayType, CompositeType, FieldType, StorageType, StructType, SubType};
pub use guest::{GuestPtr, GuestSlice, GuestType};
pub use host::{Denial, HostCall, HostError, HostFn};
pub use memory::{CarefulCopy, GuestMemory, OutOfBounds};
pub use spec::{GrantSpec, GrantSpecError, HostPattern, PortPattern, Resource};
pub use trap::TrapCode;
pub use types::{
    CompositeKind, ConcreteType, FuncType, GlobalType, HeapType, Limits64, MemoryType, RefType, SlotType, TableType,
    TypeIndex, ValType,
};
