//! What a module says of itself.

use aura_host_abi::{RefType, ValType};
use aura_validator::module::{ConstOp, ElementItems, ExternIndex, ExternType, SegmentMode};
use aura_validator::{Features, Limits, Module};

fn module(text: &str) -> Module {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    Module::new(bytes, &Features::V2, &Limits::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn parts_are_what_the_text_says() {
    let module = module(
        r#"(module $name
            (import "a" "f" (func $f (param i64)))
            (import "a" "g" (global $i i32))
            (table $t 2 10 funcref) (memory 1 3)
            (global $own (mut funcref) (ref.func $h))
            (func $h (export "h") (result i32) i32.const 1)
            (func $hidden)
            (func $inner)
            (elem (table $t) (offset global.get $i) func $inner $f)
            (elem externref (ref.null extern))
            (data (i32.const 8) "xyz") (data "p")
            (export "m" (memory 0)) (export "t" (table $t)) (export "i" (global $i))
            (start $hidden)
            (@custom "extra" "abc"))"#,
    );
    assert_eq!((module.num_funcs(), module.num_imported_funcs(), module.num_own_funcs()), (4, 1, 3));
    assert_eq!(module.func_type(0).to_string(), "[i64] -> []");
    assert_eq!(module.func_type(1).to_string(), "[] -> [i32]");
    assert_eq!(module.imports()[1].name, "g");
    assert!(matches!(&module.imports()[0].ty, ExternType::Func(ty) if ty.params() == [ValType::I64]));
    assert_eq!(module.export("t").map(|e| e.index), Some(ExternIndex::Table(0)));
    assert_eq!(module.export("i").map(|e| e.index), Some(ExternIndex::Global(0)));
    assert!(module.export("none").is_none() && module.export("").is_none());
    assert_eq!(module.exports()[0].name, "h");
    assert_eq!(module.start(), Some(2));
    assert_eq!(module.tables()[0].ty.limits.max, Some(10));
    assert_eq!((module.memories()[0].limits.min, module.memories()[0].page_size()), (1, 65536));
    assert_eq!(*module.global_inits()[0].ops(), [ConstOp::RefFunc(1)]);
    assert_eq!((module.data_bytes(0), module.data_bytes(1)), (&b"xyz"[..], &b"p"[..]));
    assert!(matches!(module.data()[1].mode, SegmentMode::Passive));
    let active = &module.elements()[0];
    assert!(matches!(&active.items, ElementItems::Funcs(funcs) if **funcs == [3, 0]));
    assert!(
        matches!(&active.mode, SegmentMode::Active { target: 0, offset } if *offset.ops() == [ConstOp::GlobalGet(0)])
    );
    assert!(
        matches!(&module.elements()[1].items, ElementItems::Exprs(exprs) if *exprs[0].ops() == [ConstOp::RefNull(RefType::EXTERNREF)])
    );
    assert_eq!(module.custom_section("extra"), Some(&b"abc"[..]));
    assert_eq!(module.body_range(1).len(), 2);
    assert_eq!(module.layout().counts(), &module.counts());
    let counts = module.counts();
    assert_eq!((counts.imported_funcs, counts.globals, counts.imported_globals, counts.tables), (1, 2, 1, 1));
}

#[test]
fn escaping_functions_are_those_a_reference_may_be_made_to() {
    let module = module(
        r#"(module
            (import "a" "f" (func))
            (func $exported (export "e")) (func $hidden) (func $declared) (func $global)
            (func $takes (drop (ref.func $declared)))
            (elem declare func $declared)
            (global funcref (ref.func $global)))"#,
    );
    assert_eq!(module.escaping(), [0, 2, 3]);
    assert!(module.is_escaping(2) && !module.is_escaping(1));
}

#[test]
fn names_come_from_the_name_section_then_exports_then_imports() {
    let named =
        module(r#"(module $m (import "a" "f" (func)) (func $inner (export "outer")) (func (export "x")) (func))"#);
    assert_eq!(named.name().as_deref(), Some("m"));
    assert_eq!(named.func_name(0).as_deref(), Some("a.f"));
    assert_eq!(named.func_name(1).as_deref(), Some("inner"));
    assert_eq!(named.func_name(2).as_deref(), Some("x"));
    assert_eq!((named.func_name(3), named.func_name(99)), (None, None));
}

/// H14: a malformed name section names nothing and refuses nothing.
#[test]
fn h14_malformed_name_sections_are_ignored() {
    for section in [
        &b"\x01"[..],
        b"\x01\x05\x02\x00\x01a\x01",
        b"\x00\xff\xff\xff\xff\x0f",
        b"\x01\x04\x01\x00\x01\xff",
        b"\x01\x80",
    ] {
        let mut custom = wasm_encoder::Module::new();
        custom.section(&wasm_encoder::CustomSection { name: "name".into(), data: section.into() });
        let module = Module::new(custom.finish(), &Features::V2, &Limits::default()).expect("a module");
        let _ = (module.name(), module.func_name(0), module.func_name(u32::MAX));
    }
}

/// H14: custom sections past the limits are dropped.
#[test]
fn h14_custom_sections_past_the_limits_are_dropped() {
    let text = r#"(module (@custom "a" "1234") (@custom "b" "12") (@custom "c" "1") (@custom "d" "1"))"#;
    let limits = Limits { custom_sections_kept: 2, custom_section_bytes_kept: 3, ..Limits::default() };
    let module = Module::new(wat::parse_str(text).expect("text"), &Features::V2, &limits).expect("a module");
    let kept: Vec<_> = module.custom_sections().iter().map(|section| section.name.as_str()).collect();
    assert_eq!(kept, ["b", "c"]);
}

/// H2: fifty thousand locals are a few runs.
#[test]
fn h2_many_locals_are_few_runs() {
    let module =
        module(&format!("(module (func (param i32) (local {} i32 {})))", "i64 ".repeat(40_000), "v128 ".repeat(9_000)));
    let code = module.lower(0, &aura_validator::LowerOptions::default());
    assert_eq!(code.frame.locals.len(), 3);
    assert_eq!(code.frame.local_slots, 1 + 40_000 + 1 + 18_000);
}
