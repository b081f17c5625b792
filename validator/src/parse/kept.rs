//! Validators that finished a module, kept for the next ones on the same thread.
//!
//! A validator begins by making tables of types and ends by freeing them, which takes longer than the validation of a small
//! module. wasmparser's can validate one module after the other: types that it has seen before it knows again, and nothing
//! else of a module stays.
//!
//! Invariants: a validator that is kept has validated its last module to the end. What it has seen is bounded: so many
//! modules, each short.

use std::cell::Cell;

use wasmparser::{FuncValidatorAllocations, Validator, WasmFeatures};

/// Modules that one validator validates. Every one with new types makes each later one a little slower.
const MODULES_MAX: u32 = 16;
/// The longest module, in bytes, whose validator is kept.
const BYTES_MAX: usize = 64 << 10;

/// A validator, and how many modules it has begun.
pub(super) struct Kept {
    pub(super) validator: Validator,
    /// What bodies are validated in.
    pub(super) allocations: FuncValidatorAllocations,
    modules: u32,
}

thread_local! {
    static KEPT: Cell<Option<Box<Kept>>> = const { Cell::new(None) };
}

/// A validator that stands at the beginning of a module.
pub(super) fn take(features: WasmFeatures) -> Box<Kept> {
    // A thread that ends keeps nothing.
    let kept = KEPT.try_with(Cell::take).ok().flatten();
    match kept.filter(|kept| *kept.validator.features() == features && kept.modules < MODULES_MAX) {
        Some(mut kept) => {
            kept.validator.reset();
            kept.modules += 1;
            kept
        }
        None => {
            let (validator, allocations) =
                (Validator::new_with_features(features), FuncValidatorAllocations::default());
            Box::new(Kept { validator, allocations, modules: 1 })
        }
    }
}

/// Keeps a validator that has validated a module of so many bytes to its end.
pub(super) fn give(kept: Box<Kept>, bytes: usize) {
    if bytes <= BYTES_MAX {
        let _ = KEPT.try_with(|place| place.set(Some(kept)));
    }
}

#[cfg(test)]
mod tests {
    use crate::{Features, Limits, Module};

    fn reads(text: &str) -> Result<usize, String> {
        let bytes = wat::parse_str(text).expect("text");
        let module = Module::new(bytes, &Features::NEWEST, &Limits::default());
        module.map(|module| module.types().len()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_module_is_judged_alone_whatever_was_read_before() {
        for round in 0..40 {
            assert_eq!(reads("(module (type (struct (field i32))) (type (func)) (func (type 1)))"), Ok(2), "{round}");
            // Types of the module before are none of this one's.
            let error = reads("(module (func (type 0)))").expect_err("no type 0");
            assert!(error.contains("unknown type"), "{error}");
            let other = format!("(module (type (func (param{}))) (func (type 0) unreachable))", " i64".repeat(round));
            assert_eq!(reads(&other), Ok(1), "{round}");
            let error = reads("(module (func (result i32)))").expect_err("no result");
            assert!(error.contains("type mismatch"), "{error}");
            assert_eq!(reads("(module)"), Ok(0));
        }
    }

    #[test]
    fn features_are_those_asked_for() {
        let bytes = wat::parse_str("(module (memory i64 1))").expect("text");
        let without = Features::NEWEST.with("memory64", false).expect("known");
        for _ in 0..3 {
            assert!(Module::new(bytes.clone(), &Features::NEWEST, &Limits::default()).is_ok());
            assert!(Module::new(bytes.clone(), &without, &Limits::default()).is_err());
        }
    }
}
