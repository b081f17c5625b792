//! What a guest asked for and was not given, for people who decide what to grant.
//!
//! The runtime reports functions that no grant maps in; this list has the finer cases inside a
//! granted function. Invariant: bounded and without duplicates, whatever the guest does.

use std::fmt;

use crate::limits::{DENIAL_LEN_MAX, DENIALS_MAX};

/// One operation that was denied, and the grant that would allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedOp {
    /// What was asked for; guest text in it is escaped.
    pub asked: String,
    /// The grant that would allow it, in the grammar of `--grant`.
    pub grant: String,
}

impl fmt::Display for DeniedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: needs {}", self.asked, self.grant)
    }
}

/// The bounded list.
#[derive(Debug, Default)]
pub(crate) struct Denied(Vec<DeniedOp>);

impl Denied {
    /// Adds a denial unless it is known or the list is full; what is too long is cut off.
    pub(crate) fn add(&mut self, mut asked: String, grant: String) {
        if let Some((end, _)) = asked.char_indices().nth(DENIAL_LEN_MAX) {
            asked.replace_range(end.., "...");
            asked.shrink_to_fit();
        }
        let op = DeniedOp { asked, grant };
        if self.0.len() < DENIALS_MAX && !self.0.contains(&op) {
            self.0.push(op);
        }
    }

    pub(crate) fn as_slice(&self) -> &[DeniedOp] {
        &self.0
    }
}
