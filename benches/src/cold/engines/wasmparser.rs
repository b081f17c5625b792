//! wasmparser alone, which validates and runs nothing: what validation costs at least.

use std::any::Any;

use ::wasmparser::{Validator, WasmFeatures};
use aura_benches::Outcome;

use super::{ColdEngine, Running};

pub(super) const NAME: &str = "wasmparser alone";

const RUNS_NOTHING: &str = "it runs nothing";

pub(super) struct Wasmparser;

impl ColdEngine for Wasmparser {
    fn name(&self) -> &'static str {
        NAME
    }

    fn mode(&self) -> &'static str {
        "validates all on one core, and nothing else: what the validators of all others are made of"
    }

    fn ready(&self, wasm: &mut Vec<u8>) -> Outcome<Box<dyn Any>> {
        Ok(Box::new(Validator::new_with_features(WasmFeatures::all()).validate_all(wasm)?))
    }

    fn load(&self, _wasm: &mut Vec<u8>) -> Outcome<Box<dyn Running>> {
        Err(RUNS_NOTHING.into())
    }

    fn run_program(&self, _wasm: &mut Vec<u8>, _args: &[String]) -> Outcome<()> {
        Err(RUNS_NOTHING.into())
    }
}
