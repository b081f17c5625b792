//! Runs WebAssembly that nobody trusts: blind until granted, on an interpreter and on a JIT.
//!
//! ```
//! use aura_runtime::{Engine, Instance, Module, Store};
//! # fn main() -> aura_runtime::Result<()> {
//! let engine = Engine::default();
//! let module = Module::new(&engine, r#"(module (func (export "add") (param i32 i32) (result i32)
//!     local.get 0 local.get 1 i32.add))"#)?;
//! let mut store = Store::new(&engine, ());
//! let add = Instance::new(&mut store, &module, &[])?.get_typed_func::<(i32, i32), i32>(&store, "add")?;
//! assert_eq!(add.call(&mut store, (2, 40))?, 42);
//! # Ok(()) }
//! ```
//!
//! Names and habits are those that users of Wasmtime know: an [`Engine`] has a [`Config`]; a
//! [`Module`] is made of bytes; a [`Store`] owns [`Instance`]s; a [`Linker`] resolves imports. What is
//! added: host functions that do not exist for a guest until [`Store::grant`] maps them in.
//!
//! | module | what it does |
//! |---|---|
//! | `engine`, `module`, `artifact` | configuration; a validated module with the state of its functions; modules on disk |
//! | `store`, `interrupt`, `watchdog` | what a store owns; how other threads stop its guests |
//! | `instance`, `constant`, `linker`, `externs`, `shared`, `value`, `refs`, `typed` | linking; handles; values |
//! | `host`, `grant`, `audit` | host functions, gates and capabilities; who sees their use |
//! | `buffer`, `loan`, `ring` | memory that hosts and guests share: buffers, windows, loans, streams |
//! | `limiter` | limits of the host's own, and of tenants |
//! | `call`, `tier`, `tail`, `exception`, `arch`, `thunks`, `stack` | entry, crossings between tiers, exit |
//! | `interp` | the interpreter |
//! | `services`, `vm` | engine services; memories, tables, instance data |
//! | `gc` | the heap of a store, collections |
//! | `trap`, `signals`, [`backtrace`] | why and where guest code stopped |

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod arch;
mod artifact;
mod audit;
pub mod backtrace;
mod buffer;
mod call;
mod compile;
mod constant;
mod engine;
mod entries;
mod error;
mod exception;
mod externs;
mod files;
#[allow(dead_code, reason = "the instructions that make objects follow")]
mod gc;
mod grant;
mod heat;
mod host;
mod image;
pub mod inspect;
mod instance;
mod interp;
mod interrupt;
pub mod leakcheck;
mod limiter;
mod linker;
mod loan;
mod module;
mod refs;
mod ring;
mod services;
mod shared;
mod signals;
mod slot;
mod snapshot;
mod stack;
mod store;
mod tail;
mod thread;
mod thunks;
mod tier;
mod trap;
mod typed;
mod types;
mod value;
mod vm;
mod watchdog;

pub use aura_host_abi::{
    Action, ArrayType, Capability, FieldType, FuncType, GlobalType, GrantSpec, GrantSpecError, GrantState, GuestMemory,
    GuestPtr, GuestSlice, GuestType, HeapType, HostCall, HostError, HostFn, HostPattern, Limits64, MemoryType,
    OutOfBounds, PortPattern, RefType, Resource, StorageType, StructType, TableType, Terms, TrapCode, ValType,
};
pub use aura_jit::{Bounds, OptLevel};
pub use aura_validator::module::ExternType;
pub use aura_validator::{Features, Limits, Validation};

pub use artifact::{ARTIFACT_MAGIC, Artifact, ArtifactInfo, ArtifactKey, ArtifactKind, Native};
pub use audit::{AuditEvent, AuditOutcome, AuditSink};
pub use buffer::{Access, SharedBuffer};
pub use engine::{Config, Engine, Strategy};
pub use error::{Error, ErrorKind, Result};
pub use exception::ExnRef;
pub use externs::{Extern, Func, Global, Memory, Table, Tag};
pub use gc::{Collections, GC_HEAP_MAX};
pub use grant::{DeniedImport, Grant, Granter, SlotReport, Subject};
pub use image::{Image, ImageConfig, ImageFunc, ImageInstance};
pub use instance::Instance;
pub use interrupt::InterruptHandle;
pub use limiter::{ResourceLimiter, Tenant, Usage};
pub use linker::Linker;
pub use loan::{Loan, View, Window};
pub use module::{ExportType, ImportType, Module};
pub use refs::{AnyRef, ArrayRef, EqRef, I31Ref, Kind, OwnedRooted, RootScope, Rooted, StructRef};
pub use ring::Ring;
pub use shared::{SharedMemory, WaitResult};
pub use snapshot::Snapshot;
pub use store::{AsContext, AsContextMut, Caller, Store, StoreContext, StoreContextMut, StoreLimits};
pub use trap::{Frame, Trap};
pub use typed::{IntoFunc, TypedFunc, WasmList, WasmParams, WasmResults, WasmRet, WasmTy};
pub use value::{ExternRef, Val};
