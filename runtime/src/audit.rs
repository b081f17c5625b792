//! Who sees each use of a capability: the hook of the audit.
//!
//! Counters in the capabilities are always kept. A sink, if the store has one, is told of each call
//! that needed a grant, denials included, right after it was counted: what it was told adds up to
//! the counters, slot by slot ([`crate::Store::slots`], [`crate::Store::denials_without_slot`]).

use std::fmt;

use aura_host_abi::{Action, GrantSpec};

use crate::store::StoreData;

/// One call that needed a grant.
#[derive(Clone, Debug)]
pub struct AuditEvent<'a> {
    /// Index of the calling instance in its store; `None` if the host called.
    pub instance: Option<u32>,
    /// The slot of the grant that the call acted on; `None` if there was none to act on.
    pub slot: Option<u32>,
    /// What the call needed: the grant it acted on.
    pub spec: Option<&'a GrantSpec>,
    /// The actions of which any one opens the function.
    pub actions: &'static [Action],
    /// The two names of the function.
    pub function: (&'a str, &'a str),
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Bytes moved between host and guest.
    pub bytes: u64,
}

/// How a call that needed a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was let through.
    Allowed,
    /// It was denied: there is no grant, or it does not stand, or does not reach so far.
    Denied,
    /// It was let through and ended the guest, by a trap or an error of the host.
    Failed,
}

impl AuditOutcome {
    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// Is told of every call that needed a grant.
pub trait AuditSink: Send {
    /// Takes one event, on the store's thread, after the call.
    ///
    /// # Errors
    /// If it cannot be kept; the guest's call then fails, so that nothing goes on unseen.
    fn record(&mut self, event: &AuditEvent<'_>) -> std::io::Result<()>;
}

impl fmt::Debug for dyn AuditSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditSink")
    }
}

/// What a store keeps for its audit.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) sink: Option<Box<dyn AuditSink>>,
    /// Calls that were denied and have no slot to count them in.
    pub(crate) denials_without_slot: u64,
}

/// The index of an instance, for reports.
pub(crate) fn instance_index(store: &StoreData, home: *mut aura_host_abi::vm::VmCtx) -> Option<u32> {
    let index = store.instances.iter().position(|instance| instance.vmctx() == home)?;
    u32::try_from(index).ok()
}
