//! What is refused, of which kind, and where: headers, proposals, limits, and random bytes.

use aura_validator::{Error, ErrorKind, Features, Limits, LowerOptions, Module};
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Result<Module, Error> {
    Module::new(bytes, &Features::V2, &Limits::default())
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn headers_say_what_the_bytes_are() {
    for (bytes, expected) in [
        (&b""[..], "the input is empty"),
        (b"\0as", "it begins with 00 61 73"),
        (b"\x7fELF\x02", "it begins with 7f 45 4c 46 02"),
        (b"(module)", "it looks like text"),
        (b"\0asm", "unexpected end of the version"),
        (b"\0asm\x02\0\0\0", "unknown binary version: bytes 02 00 00 00"),
    ] {
        let error = read(bytes).expect_err(expected);
        assert_eq!(error.kind(), &ErrorKind::Malformed);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn components_are_named() {
    let error = read(b"\0asm\x0d\0\x01\0").expect_err("a component");
    assert_eq!(error.kind(), &ErrorKind::Unsupported { proposal: "component-model" });
    assert!(error.message().contains("core module"), "{error}");
}

/// H15: a proposal that is off is refused under its name.
#[test]
fn h15_proposals_that_are_off_are_named() {
    for (proposal, module) in [
        ("simd", "(module (func (param v128)))"),
        ("sign-extension", "(module (func (param i32) (result i32) local.get 0 i32.extend8_s))"),
        ("saturating-float-to-int", "(module (func (param f32) (result i32) local.get 0 i32.trunc_sat_f32_s))"),
        ("multi-value", "(module (func (result i32 i32) i32.const 1 i32.const 2))"),
        ("bulk-memory", "(module (memory 1) (func (param i32) local.get 0 local.get 0 local.get 0 memory.fill))"),
        ("reference-types", "(module (func (param externref)))"),
        ("tail-call", "(module (func $f return_call $f))"),
        ("exception-handling", "(module (tag))"),
        ("legacy-exceptions", "(module (func try catch_all end))"),
    ] {
        refused_as(proposal, module, Features::V1);
        let on = Features::V1.with(proposal, true).expect("implemented");
        Module::new(text(module), &on, &Limits::default()).unwrap_or_else(|error| panic!("{proposal}: {error}"));
    }
    for (proposal, module) in [
        ("extended-const", "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))"),
        ("relaxed-simd", "(module (func (param v128) (result v128) local.get 0 local.get 0 i8x16.relaxed_swizzle))"),
        ("multi-memory", "(module (memory 1) (memory 1))"),
        ("memory64", "(module (memory i64 1))"),
        ("function-references", "(module (type $t (func)) (func (param (ref null $t))))"),
        ("gc", "(module (type (struct)))"),
        ("gc", "(module (func (param i31ref)))"),
        ("threads", "(module (memory 1 2 shared))"),
        ("threads", "(module (memory 1) (func i32.const 0 i32.atomic.load drop))"),
        ("custom-page-sizes", "(module (memory 1 (pagesize 1)))"),
        ("wide-arithmetic", "(module (func (param i64) (result i64 i64) local.get 0 local.get 0 i64.mul_wide_s))"),
        ("stack-switching", "(module (type $f (func)) (type (cont $f)))"),
    ] {
        refused_as(proposal, module, Features::V2);
    }
}

fn refused_as(proposal: &'static str, module: &str, features: Features) {
    let error = Module::new(text(module), &features, &Limits::default()).expect_err(proposal);
    assert_eq!(error.kind(), &ErrorKind::Unsupported { proposal }, "{module}: {error}");
    assert!(error.message().contains(proposal), "{error}");
}

#[test]
fn proposals_that_are_not_implemented_cannot_be_switched_on() {
    for name in ["memory-control", "stack-switching", "custom-descriptors"] {
        let error = Features::V2.with(name, true).expect_err(name);
        assert_eq!(error.to_string(), format!("the proposal `{name}` is not implemented"));
        assert_eq!(Features::V2.with(name, false), Ok(Features::V2));
    }
    assert_eq!(Features::V2.with("x", true).expect_err("x").to_string(), "no proposal is named `x`");
    assert!(Features::V2.has("simd") && !Features::V2.with("simd", false).expect("known").has("simd"));
}

#[test]
fn kinds_tell_decoding_from_validation() {
    let invalid = read(&text("(module (func (result i32)))")).expect_err("no result");
    assert_eq!(invalid.kind(), &ErrorKind::Invalid);
    assert_eq!(
        invalid.to_string(),
        "invalid module: type mismatch: expected i32 but nothing on stack (at offset 0x18)"
    );
    // A module that ends in the middle of its code section.
    let whole = text("(module (func i32.const 1 drop))");
    let cut = read(&whole[..whole.len() - 1]).expect_err("cut");
    assert_eq!(cut.kind(), &ErrorKind::Malformed, "{cut}");
    // H12: a section's size lies.
    let mut lie = whole.clone();
    lie[9] += 1;
    assert_eq!(read(&lie).expect_err("lie").kind(), &ErrorKind::Malformed);
}

/// Each limit: as much as it allows passes, one more is refused under its name.
#[test]
fn limits_are_exact_and_named() {
    check_limit("types", |l| &mut l.types, 3, &|n| format!("(module {})", "(type (func))".repeat(n)));
    check_limit("functions", |l| &mut l.functions, 3, &|n| {
        format!("(module (import \"m\" \"f\" (func)) {})", "(func)".repeat(n - 1))
    });
    check_limit("functions", |l| &mut l.functions, 3, &|n| {
        format!("(module {})", "(import \"\" \"\" (func))".repeat(n))
    });
    check_limit("imports", |l| &mut l.imports, 3, &|n| format!("(module {})", "(import \"\" \"\" (func))".repeat(n)));
    check_limit("exports", |l| &mut l.exports, 3, &|n| {
        format!("(module (func $f) {})", (0..n).map(|i| format!("(export \"{i}\" (func $f))")).collect::<String>())
    });
    check_limit("globals", |l| &mut l.globals, 3, &|n| format!("(module {})", "(global i32 (i32.const 0))".repeat(n)));
    check_limit("tables", |l| &mut l.tables, 3, &|n| format!("(module {})", "(table 0 funcref)".repeat(n)));
    check_limit("memories", |l| &mut l.memories, 0, &|n| format!("(module {})", "(memory 0)".repeat(n)));
    check_limit("table_elements", |l| &mut l.table_elements, 3, &|n| format!("(module (table {n} funcref))"));
    check_limit("element_segments", |l| &mut l.element_segments, 3, &|n| {
        format!("(module {})", "(elem funcref)".repeat(n))
    });
    check_limit("segment_elements", |l| &mut l.segment_elements, 3, &|n| {
        format!("(module (func $f) (elem funcref {}))", "(ref.func $f)".repeat(n))
    });
    check_limit("data_segments", |l| &mut l.data_segments, 3, &|n| format!("(module {})", "(data \"\")".repeat(n)));
    check_limit("name_bytes", |l| &mut l.name_bytes, 3, &|n| format!("(module (func (export \"{}\")))", "x".repeat(n)));
    check_limit("params", |l| &mut l.params, 3, &|n| format!("(module (type (func (param {}))))", "i32 ".repeat(n)));
    check_limit("results", |l| &mut l.results, 3, &|n| format!("(module (type (func (result {}))))", "i32 ".repeat(n)));
}

/// H2, H3, H4, H5: the limits on one body.
#[test]
fn h2_h3_h4_h5_limits_of_bodies_are_exact_and_named() {
    check_limit("body_bytes", |l| &mut l.body_bytes, 12, &|n| format!("(module (func {}))", "nop ".repeat(n - 2)));
    check_limit("locals", |l| &mut l.locals, 3, &|n| format!("(module (func (local {})))", "i32 ".repeat(n)));
    check_limit("nesting", |l| &mut l.nesting, 3, &|n| {
        format!("(module (func {} {}))", "block ".repeat(n), "end ".repeat(n))
    });
    check_limit("br_table_targets", |l| &mut l.br_table_targets, 3, &|n| {
        format!("(module (func i32.const 0 br_table {} 0))", "0 ".repeat(n))
    });
}

fn check_limit(name: &str, field: fn(&mut Limits) -> &mut u32, bound: u32, module: &dyn Fn(usize) -> String) {
    let mut limits = Limits::default();
    *field(&mut limits) = bound;
    let with = |count: u32| Module::new(text(&module(count as usize)), &Features::V2, &limits);
    if let Err(error) = with(bound) {
        panic!("{name}: {error}");
    }
    let error = with(bound + 1).expect_err(name);
    let ErrorKind::Limit { name: found, value, bound: at } = *error.kind() else { panic!("{name}: {error}") };
    assert_eq!((found, value, at), (name, u64::from(bound) + 1, u64::from(bound)));
    assert!(error.to_string().contains(&format!("above the limit `{name}` of {bound} (at offset 0x")), "{error}");
}

/// H10: constant expressions are bounded, and long ones neither recurse nor take long.
#[test]
fn h10_constant_expressions_are_bounded() {
    let module = |operators: usize| {
        let sums = "i32.const 1 i32.add ".repeat(operators / 2);
        text(&format!("(module (global (export \"g\") i32 i32.const 0 {sums}))"))
    };
    let features = Features::V2.with("extended-const", true).expect("implemented");
    let bound = Limits::default().const_expr_operators as usize;
    Module::new(module(bound - 1), &features, &Limits::default()).expect("within the limit");
    let error = Module::new(module(bound + 1), &features, &Limits::default()).expect_err("past the limit");
    assert!(matches!(error.kind(), ErrorKind::Limit { name: "const_expr_operators", .. }), "{error}");
}

/// H3: a depth far past the limit neither recurses nor is accepted.
#[test]
fn h3_a_hundred_thousand_blocks_are_refused() {
    for opcode in [0x02, 0x03] {
        let mut body = vec![0];
        body.extend([opcode, 0x40].repeat(100_000));
        body.extend([0x0b].repeat(100_001));
        let error = read(&module_of(&body)).expect_err("too deep");
        assert!(matches!(error.kind(), ErrorKind::Limit { name: "nesting", .. }), "{error}");
    }
}

/// H5: two bytes that stand for a thousand values each do not multiply the code.
#[test]
fn h5_calls_of_many_values_are_bounded() {
    let types = "i64 ".repeat(1000);
    let calls = "call $f ".repeat(10_000);
    let module = format!(
        "(module (func $f (param {types}) (result {types}) unreachable) (func unreachable {calls} unreachable))"
    );
    let error = read(&text(&module)).expect_err("too many values");
    assert!(matches!(error.kind(), ErrorKind::Limit { name: "carried_values", .. }), "{error}");
}

/// H4: a count that the bytes cannot hold is malformed, whatever the limit.
#[test]
fn h4_a_br_table_of_nothing_is_malformed() {
    let error = read(&module_of(&[0, 0x41, 0, 0x0e, 0xff, 0xff, 0xff, 0x7f, 0x0b])).expect_err("no targets");
    assert_eq!(error.kind(), &ErrorKind::Malformed, "{error}");
}

/// A module with one function of type `[] -> []`.
fn module_of(body: &[u8]) -> Vec<u8> {
    let mut code = wasm_encoder::CodeSection::new();
    code.raw(body);
    let mut module = wasm_encoder::Module::new();
    let mut types = wasm_encoder::TypeSection::new();
    types.ty().function([], []);
    let mut funcs = wasm_encoder::FunctionSection::new();
    funcs.function(0);
    module.section(&types).section(&funcs).section(&code);
    module.finish()
}

fn lower_all(module: &Module) {
    for own in 0..module.num_own_funcs() {
        let _ = module.lower(own, &LowerOptions { fuel: true, depth: true }).to_string();
        let _ = module.func_name(own);
    }
    let _ = module.name();
}

const SAMPLE: &str = r#"(module $sample
    (import "m" "f" (func $f (param i32) (result i32)))
    (table 3 funcref) (memory 1 2) (global $g (mut i64) (i64.const 7))
    (elem (i32.const 0) $f $h) (data (i32.const 4) "hello")
    (func $h (export "h") (param i32 f64) (result i32) (local v128 externref)
        block $out (result i32)
            loop $again
                local.get 0 i32.load offset=3 call $f local.tee 0 br_if $again
            end
            local.get 0 local.get 0 br_table $out $out 1
        end))"#;

proptest! {
    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn random_sections_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend(bytes);
        if let Ok(module) = read(&module) {
            lower_all(&module);
        }
    }

    #[test]
    fn cut_modules_are_malformed(at in any::<prop::sample::Index>()) {
        let bytes = text(SAMPLE);
        match read(&bytes[..at.index(bytes.len())]) {
            // Cut between sections: what is left is a module without code or names.
            Ok(module) => lower_all(&module),
            Err(error) => prop_assert_eq!(error.kind(), &ErrorKind::Malformed),
        }
    }

    #[test]
    fn mutated_modules_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let mut bytes = text(SAMPLE);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(module) = read(&bytes) {
            lower_all(&module);
        }
    }
}

/// An opcode of a proposal that is off does not exist, also where no operator but constants may stand.
#[test]
fn an_operator_of_a_proposal_that_is_off_is_no_operator() {
    let constant_ref_eq = b"\0asm\x01\0\0\0\x04\x04\x01\x70\0\0\x09\x07\x01\x05\x70\x01\xd3\0\x0b";
    let error = read(constant_ref_eq).expect_err("ref.eq is not of version 2.0");
    assert_eq!(error.kind(), &ErrorKind::Unsupported { proposal: "gc" }, "{error}");
}

/// An offset of more than 32 bits is the grammar of 64-bit memories.
#[test]
fn a_grammar_that_is_off_is_named() {
    let text = "(module (memory 1) (func (drop (i32.load offset=4294967296 (i32.const 0)))))";
    refused_as("memory64", text, Features::V2);
}

/// Before version 2.0, all labels of a `br_table` have the same types, also in unreachable code.
#[test]
fn labels_of_br_table_differ_only_since_version_2() {
    let module = |first: &str, second: &str| {
        text(&format!(
            "(module (func (block (result {second}) (block (result {first})
                unreachable (br_table 0 1 1 (i32.const 1))) drop ({second}.const 0)) drop))"
        ))
    };
    let check = |bytes: &[u8], features| Module::new(bytes, &features, &Limits::default()).map(drop);
    let differing = module("f32", "f64");
    assert_eq!(check(&differing, Features::V2), Ok(()));
    let error = check(&differing, Features::V1).expect_err("version 1.0 refuses it");
    assert_eq!(error.kind(), &ErrorKind::Invalid, "{error}");
    assert_eq!(check(&module("f64", "f64"), Features::V1), Ok(()));
}
