//! Stand-in: a module in the engine.
use std::sync::{Arc, OnceLock};

use aura_validator::Code;

#[derive(Clone, Debug)]
pub(crate) struct Module(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) validated: aura_validator::Module,
    pub(crate) fuel: bool,
    pub(crate) codes: Vec<OnceLock<Code>>,
}

impl Module {
    pub(crate) fn validated(&self) -> &aura_validator::Module {
        &self.0.validated
    }

    pub(crate) fn type_id(&self, type_index: u32) -> u32 {
        let types = self.0.validated.types();
        types.iter().position(|t| t == &types[type_index as usize]).expect("found") as u32
    }
}
