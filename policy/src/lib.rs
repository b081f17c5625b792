//! Policies and audit logs: who may do what, and who did.
//!
//! A [`Policy`] is a file that says what a program may do: grants with their bounds, limits, and for
//! which modules. [`Policy::parse`] reads it, every fault with its line and column; [`diff`] compares
//! the reach of two; its limits are applied to a store before a byte of a guest runs. An
//! [`AuditLog`] writes down each use of a grant, chained by hashes; [`verify`] proves that nothing is
//! missing, changed or added, and that the log adds up to the counters of the store.
//!
//! # The file
//!
//! TOML. Every key is optional, and a key that is not listed here is an error.
//!
//! | key | what it says |
//! |---|---|
//! | `subject` | the module that this policy is for: the name of its file, or `sha256:HEX` of its content |
//! | `grants` | grants without bounds, as after `--grant`: `["stdio", "fs.read=data::/data"]` |
//! | `[[grant]]` `allow` | one grant, as after `--grant` |
//! | `[[grant]]` `calls` | how often it may be used |
//! | `[[grant]]` `bytes` | how many bytes it may move, a number or a size such as `"10MiB"` |
//! | `[[grant]]` `until` | when it ends: a time such as `2026-12-31T23:59:59Z`, or a duration from the start such as `"30s"` |
//! | `[[grant]]` `subject` | the module that this grant is for, if the policy serves several |
//! | `[limits]` | see [`Limits`]: `memory`, `tables`, `instances`, `stack`, `fuel`, `timeout`, `handles`, `call_bytes`, `output` |
//!
//! Host directories are relative to the policy's own folder. An Extism manifest, TOML or JSON, is a
//! policy, too: `allowed_paths`, `allowed_hosts`, `timeout_ms`, `memory.max_pages` and `config` say
//! what they say there (`config` becomes environment variables); `wasm` may name the hash of the module.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod audit;
mod diff;
mod extism;
mod hash;
mod policy;
mod schema;
pub mod units;
mod verify;

pub use audit::AuditLog;
pub use diff::{Change, diff};
pub use hash::{Digest, digest};
pub use policy::{Limits, Policy, PolicyGrant, Subject, Until};
pub use schema::PolicyError;
pub use verify::{AuditFault, AuditSummary, verify};
