//! WebAssembly bytes in, validated [`Module`] out; and, per function at first need, [`Code`].
//!
//! [`Module::new`] is the way to a module: what it returns was parsed and validated whole by
//! wasmparser, under the features and [`Limits`] the caller chose; [`Module::from_head`] brings one back
//! that was. [`Module::lower`] turns one function body into [`Code`], the flat form both tiers run; [`codec`] has a
//! form in bytes for both. [`ops`] holds the table of numeric,
//! lane and memory operators from which evaluation and compilation expand.
//!
//! Reading order: [`limits`], [`module`], [`parse`], [`code`], [`ops`], [`lower`].

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod bytes;
pub mod code;
mod code_text;
pub mod codec;
pub mod fuel;
pub mod limits;
pub mod lower;
pub mod module;
pub mod ops;
pub mod parse;

pub use bytes::{Bytes, Pieces};
pub use code::Code;
pub use limits::{Features, Limits};
pub use lower::LowerOptions;
pub use module::Module;
pub use parse::{Error, ErrorKind, Validation};
