//! WebAssembly test scripts against Aura: the runner, the official suite, the differential tests.
//!
//! A script (`.wast`) is a list of directives. [`Runner::run`] gives every directive of a script an
//! outcome: passed, or failed with a reason. There is no third outcome: what the runner cannot run
//! has failed. [`suite`] runs many scripts, each with the features of the set it belongs to
//! ([`sets`]); [`bundled`] has the official sets, [`conformance`] the table of a run; [`differential`] compares the tiers with each
//! other on random modules.
//!
//! Reading order: [`report`], [`sets`], [`runner`], [`legacy`], [`script`], [`refusal`], [`custom`], [`values`],
//! [`spectest`], `threads`, [`suite`], [`bundled`], [`conformance`], [`differential`].

#![forbid(unsafe_code)]

pub mod bundled;
pub mod conformance;
pub mod custom;
pub mod differential;
pub mod legacy;
mod origin;
pub mod refusal;
pub mod report;
pub mod runner;
pub mod script;
pub mod sets;
pub mod spectest;
pub mod suite;
mod threads;
pub mod values;

pub use origin::Origin;
pub use report::{DirectiveOutcome, FileOutcome, Tally};
pub use runner::{Options, Runner};
pub use sets::{Edition, Version};
pub use suite::{Mode, ScriptSource, Suite};
