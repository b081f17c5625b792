//! Lowering against wasmparser's validator, step by step, and the code it makes against [`verify`].

mod verify;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use wasmparser::{FuncValidatorAllocations, Operator, OperatorsReader, Parser, ValidPayload, Validator};

use super::{LowerOptions, Lowering};
use crate::{Features, Limits, Module};

/// Lowers every function twice: beside wasmparser's validator with the heights of both operand
/// stacks compared at each operator, and with fuel, whose result must be the same but for charges.
fn check(bytes: &[u8]) {
    let features = features();
    let module = match Module::new(bytes, &features, &Limits::default()) {
        Ok(module) => module,
        Err(error) => panic!("{error}"),
    };
    let mut validator = Validator::new_with_features(features.wasmparser());
    let mut own = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let ValidPayload::Func(func, body) = validator.payload(&payload.expect("valid")).expect("valid") else {
            continue;
        };
        let mut validator = func.into_validator(FuncValidatorAllocations::default());
        validator.read_locals(&mut body.get_binary_reader()).expect("valid");
        step_by_step(&module, own, &mut validator);
        verify::verify(&module, own, &module.lower(own, &LowerOptions { fuel: false, depth: true }));
        verify::verify(&module, own, &module.lower(own, &LowerOptions { fuel: true, depth: false }));
        own += 1;
    }
    assert_eq!(own, module.num_own_funcs());
}

fn step_by_step<R: wasmparser::WasmModuleResources>(
    module: &Module,
    own: u32,
    validator: &mut wasmparser::FuncValidator<R>,
) {
    let (mut lowering, mut reader) = Lowering::start(&module.inner, own, LowerOptions::default());
    while !reader.eof() {
        let offset = reader.original_position();
        let operator = peek(&reader);
        validator.op(offset, &operator).expect("valid");
        lowering.offset = offset as u32;
        reader.visit_operator(&mut lowering).expect("valid");
        let closed = lowering.controls.is_empty();
        if lowering.dead.is_none() && !closed {
            assert_eq!(
                lowering.stack.len() as u32,
                validator.operand_stack_height(),
                "after {operator:?} at {offset:#x}"
            );
        }
    }
    lowering.finish();
}

fn peek<'a>(reader: &OperatorsReader<'a>) -> Operator<'a> {
    reader.clone().read().expect("valid")
}

/// Version 2.0 with the proposals on top of it whose modules [`smith`] makes.
fn features() -> Features {
    let proposals = [
        "extended-const",
        "relaxed-simd",
        "tail-call",
        "function-references",
        "gc",
        "exception-handling",
        "multi-memory",
        "memory64",
        "custom-page-sizes",
        "wide-arithmetic",
    ];
    proposals.iter().fold(Features::V2, |features, name| features.with(name, true).expect("implemented"))
}

/// A random module of [`features`].
fn smith(seed: u64, bytes: usize) -> Result<Vec<u8>, TestCaseError> {
    let config = wasm_smith::Config {
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        simd_enabled: true,
        multi_value_enabled: true,
        sign_extension_ops_enabled: true,
        saturating_float_to_int_enabled: true,
        relaxed_simd_enabled: true,
        exceptions_enabled: true,
        gc_enabled: true,
        memory64_enabled: true,
        threads_enabled: false,
        tail_call_enabled: true,
        extended_const_enabled: true,
        custom_page_sizes_enabled: true,
        wide_arithmetic_enabled: true,
        custom_descriptors_enabled: false,
        shared_everything_threads_enabled: false,
        compact_imports_enabled: false,
        max_memories: 3,
        max_tables: 5,
        min_funcs: 3,
        max_instructions: 1000,
        ..wasm_smith::Config::default()
    };
    let bytes = random_bytes(seed, bytes);
    let mut source = arbitrary::Unstructured::new(&bytes);
    let module = wasm_smith::Module::new(config, &mut source).map_err(|e| TestCaseError::reject(e.to_string()))?;
    Ok(module.to_bytes())
}

/// The generator splitmix64.
fn random_bytes(mut seed: u64, len: usize) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) as u8
    };
    (0..len).map(|_| next()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn random_modules_lower_with_the_validators_heights(seed: u64, bytes in 1000_usize..60_000) {
        check(&smith(seed, bytes)?);
    }

    #[test]
    fn mutated_modules_are_refused_or_lower(
        seed: u64,
        bytes in 500_usize..10_000,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = smith(seed, bytes)?;
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if Module::new(bytes.as_slice(), &features(), &Limits::default()).is_ok() {
            check(&bytes);
        }
    }
}

#[test]
fn the_golden_inputs_verify() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/code");
    for entry in std::fs::read_dir(folder).expect("the folder of goldens") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "wat") {
            check(&wat::parse_file(&path).expect("module text"));
        }
    }
}

/// H3: blocks as deep as the limit allows lower without recursion; H5: what is carried is bounded.
#[test]
fn deep_nesting_lowers() {
    for (open, close) in
        [("block ", "end "), ("loop ", "end "), ("local.get 0 if ", "end "), ("i32.const 1 if ", "else end ")]
    {
        let depth = 10_000;
        let body = format!("{}{}", open.repeat(depth), close.repeat(depth));
        check(&wat::parse_str(format!("(module (func (param i32) {body}))")).expect("module text"));
    }
}

/// A local that is written while many operands wait for its old value.
#[test]
fn many_aliases_of_many_locals_lower_in_linear_time() {
    let gets: String = (0..1000).map(|i| format!("local.get {} ", i % 100)).collect();
    let sets: String = (0..100).map(|i| format!("i32.const 1 local.set {i} ")).collect();
    let drops = "drop ".repeat(1000);
    let locals = "i32 ".repeat(100);
    check(&wat::parse_str(format!("(module (func (local {locals}) {gets} {sets} {drops}))")).expect("module text"));
}
