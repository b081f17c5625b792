//! Why bytes were refused.
//!
//! wasmparser reports decoding and validation alike. [`classify`] tells them apart the way the
//! specification does: what cannot be decoded is malformed, what decodes but does not validate is
//! invalid, what would be fine under a proposal that is off is unsupported.

use std::fmt;

use wasmparser::{Validator, WasmFeatures};

use super::decode;
use crate::limits::PROPOSALS;

/// Why a module was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    offset: u64,
}

/// The kind of refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes are not the binary form of any module.
    Malformed,
    /// The module decodes but does not validate.
    Invalid,
    /// The module needs a proposal that is switched off or not implemented.
    Unsupported { proposal: &'static str },
    /// The module is bigger than a limit allows.
    Limit { name: &'static str, value: u64, bound: u64 },
    /// Bytes that were validated before are not what they were, or cannot be had.
    Changed,
}

impl Error {
    /// What kind of refusal this is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The reason, without the offset.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The offset in the module's bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn malformed(message: impl Into<String>, offset: u64) -> Self {
        Self { kind: ErrorKind::Malformed, message: message.into(), offset }
    }

    pub(crate) fn invalid(message: impl Into<String>, offset: u64) -> Self {
        Self { kind: ErrorKind::Invalid, message: message.into(), offset }
    }

    pub(crate) fn changed(message: impl Into<String>, offset: u64) -> Self {
        Self { kind: ErrorKind::Changed, message: message.into(), offset }
    }

    /// The same error, unless it calls invalid what does not even decode.
    pub(super) fn or_malformed(self, bytes: &[u8], features: WasmFeatures) -> Self {
        if self.kind != ErrorKind::Invalid {
            return self;
        }
        match decode::check(bytes, features) {
            Ok(()) => self,
            Err(decoding) => Self::malformed(decoding.message, decoding.offset),
        }
    }

    pub(crate) fn unsupported(proposal: &'static str, message: impl Into<String>, offset: u64) -> Self {
        Self { kind: ErrorKind::Unsupported { proposal }, message: message.into(), offset }
    }

    pub(crate) fn limit(name: &'static str, value: u64, bound: u64, offset: u64) -> Self {
        let message = format!("{value} is above the limit `{name}` of {bound}");
        Self { kind: ErrorKind::Limit { name, value, bound }, message, offset }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Malformed => f.write_str("malformed module: ")?,
            ErrorKind::Invalid => f.write_str("invalid module: ")?,
            ErrorKind::Unsupported { .. } => f.write_str("unsupported module: ")?,
            ErrorKind::Limit { .. } => f.write_str("module too big: ")?,
            ErrorKind::Changed => f.write_str("module changed: ")?,
        }
        write!(f, "{} (at offset 0x{:x})", self.message, self.offset)
    }
}

impl std::error::Error for Error {}

/// What stopped the one pass over a module.
pub(super) enum Stop {
    Refused(Error),
    Wasmparser(wasmparser::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<wasmparser::Error> for Stop {
    fn from(error: wasmparser::Error) -> Self {
        Self::Wasmparser(error)
    }
}

/// Says what kind of refusal an error of wasmparser is. Reads the module again, at most a few times.
pub(super) fn classify(bytes: &[u8], features: WasmFeatures, error: &wasmparser::Error) -> Error {
    if let Some(proposal) = error.missing_wasm_feature().and_then(name_of) {
        return unsupported(proposal, error.message(), error.offset());
    }
    if let Some(proposal) = missing_proposal(bytes, features) {
        return unsupported(proposal, error.message(), error.offset());
    }
    match decode::check(bytes, features) {
        Ok(()) => Error { kind: ErrorKind::Invalid, message: error.message().to_owned(), offset: error.offset() },
        Err(decoding) => match decoding.feature.and_then(name_of).or_else(|| missing_grammar(bytes, features)) {
            Some(proposal) => unsupported(proposal, &decoding.message, decoding.offset),
            None => Error::malformed(decoding.message, decoding.offset),
        },
    }
}

fn unsupported(proposal: &'static str, reason: &str, offset: u64) -> Error {
    Error::unsupported(proposal, format!("needs the proposal `{proposal}`, which is not enabled: {reason}"), offset)
}

fn name_of(flag: WasmFeatures) -> Option<&'static str> {
    PROPOSALS
        .iter()
        .find(|p| p.flag == flag)
        .or_else(|| PROPOSALS.iter().find(|p| p.flag.intersects(flag)))
        .map(|p| p.name)
}

/// Above this size the missing proposal is not searched for: each candidate costs a validation.
const MAX_BYTES_TO_NAME: usize = 1 << 20;

/// The first proposal without which a module fails that validates with all of them.
fn missing_proposal(bytes: &[u8], features: WasmFeatures) -> Option<&'static str> {
    missing(bytes, features, |set| Validator::new_with_features(set).validate_all(bytes).is_ok())
}

/// The first proposal without which bytes do not decode that decode with all of them.
fn missing_grammar(bytes: &[u8], features: WasmFeatures) -> Option<&'static str> {
    missing(bytes, features, |set| decode::check(bytes, set).is_ok())
}

fn missing(bytes: &[u8], features: WasmFeatures, passes: impl Fn(WasmFeatures) -> bool) -> Option<&'static str> {
    let all = PROPOSALS.iter().fold(features, |all, p| all | p.flag);
    if !passes(all) {
        return None;
    }
    if bytes.len() > MAX_BYTES_TO_NAME {
        return Some("of a later version");
    }
    PROPOSALS.iter().find(|p| !features.contains(p.flag) && !passes(all - p.flag)).map(|p| p.name)
}
