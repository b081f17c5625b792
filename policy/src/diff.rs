//! What one policy allows that another does not.
//!
//! Reach, not text: a grant that another one of the same policy or of the other covers is no change.

use std::fmt;

use crate::policy::{Policy, PolicyGrant};

/// One difference between the reach of two policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The second allows it and the first does not.
    Adds(String),
    /// The first allows it and the second does not.
    Removes(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adds(what) => write!(f, "+ {what}"),
            Self::Removes(what) => write!(f, "- {what}"),
        }
    }
}

/// What `new` allows that `old` does not, and the reverse; empty if both reach equally far.
#[must_use]
pub fn diff(old: &Policy, new: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    let subjects = |policy: &Policy| -> Vec<String> { policy.subjects.iter().map(ToString::to_string).collect() };
    for (one, other, make) in both(old, new) {
        let (own, others) = (subjects(one), subjects(other));
        match (own.is_empty(), others.is_empty()) {
            (true, false) => changes.push(make("for every module".to_owned())),
            (false, false) => {
                let more = own.into_iter().filter(|subject| !others.contains(subject));
                changes.extend(more.map(|subject| make(format!("for {subject}"))));
            }
            _ => {}
        }
        changes.extend(uncovered(one, other).map(|grant| make(grant.to_string())));
    }
    for ((name, before, old_text), (_, after, new_text)) in old.limits.rows().into_iter().zip(new.limits.rows()) {
        let text = format!("limit of {name}: {new_text}, was {old_text}");
        match before.cmp(&after) {
            std::cmp::Ordering::Less => changes.push(Change::Adds(text)),
            std::cmp::Ordering::Greater => changes.push(Change::Removes(text)),
            std::cmp::Ordering::Equal => {}
        }
    }
    changes
}

type Make = fn(String) -> Change;

fn both<'a>(old: &'a Policy, new: &'a Policy) -> [(&'a Policy, &'a Policy, Make); 2] {
    [(old, new, Change::Removes), (new, old, Change::Adds)]
}

/// Grants of one policy that none of the other covers, each once.
fn uncovered<'a>(one: &'a Policy, other: &'a Policy) -> impl Iterator<Item = &'a PolicyGrant> {
    one.grants.iter().enumerate().filter_map(|(index, grant)| {
        let first = one.grants[..index].iter().all(|earlier| !earlier.covers(grant));
        (first && !other.grants.iter().any(|theirs| theirs.covers(grant))).then_some(grant)
    })
}
