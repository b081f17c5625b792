//! Bytes that are no modules, modules that were damaged, imports that are missing or of other types, and wrong arguments:
//! each is an error that says what is wrong, and nothing panics.

mod common;

use std::time::Duration;

use aura_runtime::{
    Engine, Error, ErrorKind, Extern, ExternType, Func, Global, GlobalType, Limits64, Linker, Memory, MemoryType,
    Module, RefType, Store, StoreLimits, Table, TableType, Val, ValType,
};
use common::{engines, everywhere, instantiate};
use proptest::prelude::*;

/// A module with something in each section.
const SEED: &str = r#"(module $seed
    (type $t (func (param i32 i64) (result i32)))
    (import "h" "f" (func $f (param i32) (result i32)))
    (table (export "t") 8 20 funcref) (memory (export "m") 1 4)
    (global $g (export "g") (mut i32) (i32.const 7))
    (func $a (export "a") (type $t) (local f64 v128)
        (block $b (loop $l (br_if $b (i32.eqz (local.get 0)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br $l)))
        (i32.store offset=4 (local.get 0) (call $f (i32.wrap_i64 (local.get 1))))
        (if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.load8_s (i32.const 5)))))
    (func $b (export "b") (param f64) (result v128) (f64x2.splat (f64.sqrt (local.get 0))))
    (func $s (global.set $g (i32.add (global.get $g) (i32.const 1))))
    (start $s)
    (elem (i32.const 1) func $a $b) (elem funcref (ref.null func) (ref.func $s))
    (data (i32.const 16) "hello") (data "passive"))"#;

fn seed() -> Vec<u8> {
    wat::parse_str(SEED).expect("the seed is valid")
}

/// All engines, made once: a case of a property test is run on each.
fn all() -> &'static [(String, Engine)] {
    static ALL: std::sync::OnceLock<Vec<(String, Engine)>> = std::sync::OnceLock::new();
    ALL.get_or_init(|| engines(|_| {}))
}

/// Makes a module of the bytes, and runs whatever it exports: every engine agrees on whether it is one.
fn digest(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut kinds = Vec::new();
    for (name, engine) in all() {
        let module = match Module::new(engine, bytes) {
            Ok(module) => module,
            Err(error) => {
                let refusals = [ErrorKind::Malformed, ErrorKind::Invalid, ErrorKind::Unsupported, ErrorKind::Limit];
                prop_assert!(refusals.contains(&error.kind()), "{name}: {error}");
                prop_assert!(!error.to_string().is_empty());
                kinds.push(Some(error.kind()));
                continue;
            }
        };
        kinds.push(None);
        run(engine, &module);
    }
    prop_assert!(kinds.windows(2).all(|pair| pair[0] == pair[1]), "{kinds:?}");
    Ok(())
}

fn run(engine: &Engine, module: &Module) {
    let mut store = Store::new(engine, ());
    store.set_limits(StoreLimits { memory_bytes: 64 << 20, table_elements: 100_000, ..StoreLimits::default() });
    store.set_deadline(Duration::from_millis(20));
    let mut linker = Linker::new(engine);
    linker.define_unknown_imports_as_default_values(module).expect("defines");
    let Ok(instance) = linker.instantiate(&mut store, module) else { return };
    for (_, export) in instance.exports(&store) {
        if let Extern::Func(func) = export {
            let ty = func.ty(&store);
            let args: Vec<Val> = ty.params().iter().map(|ty| Val::default_for(*ty)).collect();
            let mut results: Vec<Val> = ty.results().iter().map(|ty| Val::default_for(*ty)).collect();
            // Whether it traps does not matter here.
            let _outcome = func.call(&mut store, &args, &mut results);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused_or_run(tail in prop::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        let mut bytes = if magic { b"\0asm\x01\0\0\0".to_vec() } else { Vec::new() };
        bytes.extend(tail);
        digest(&bytes)?;
    }

    #[test]
    fn random_text_is_refused_or_run(text in "(\\(module ?)?[(module)funcparmi3264 $\"loctablery.\\\\\u{1f980}]{0,80}") {
        digest(text.as_bytes())?;
    }

    #[test]
    fn mutated_modules_are_refused_or_run(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6)
    ) {
        let mut bytes = seed();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        digest(&bytes)?;
    }

    #[test]
    fn spliced_modules_are_refused_or_run(
        from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), len in 1..60usize
    ) {
        let bytes = seed();
        let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
        let piece = &bytes[from..(from + len).min(bytes.len())];
        let spliced: Vec<u8> = bytes[..to].iter().chain(piece).chain(&bytes[to..]).copied().collect();
        digest(&spliced)?;
    }
}

#[test]
fn the_seed_is_a_module_that_runs() {
    for (name, engine) in all() {
        let module = Module::new(engine, seed()).expect(name);
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        linker.func_wrap("h", "f", |x: i32| x + 1).expect(name);
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let a = instance.get_typed_func::<(i32, i64), i32>(&store, "a").expect(name);
        assert_eq!(a.call(&mut store, (3, 0x1ff)).expect(name), 2, "{name}");
    }
}

#[test]
fn truncated_modules_are_refused_at_every_length() {
    let bytes = seed();
    let (name, engine) = &all()[0];
    for len in 0..bytes.len() {
        // A cut at the end of a section can leave a smaller module: then it must run.
        match Module::from_binary(engine, &bytes[..len]) {
            Ok(module) => {
                assert!(Module::validate(engine, &bytes[..len]).is_ok(), "{name} {len}");
                run(engine, &module);
            }
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Invalid), "{len}: {error}"),
        }
    }
    let whole = (0..bytes.len()).filter(|len| Module::from_binary(engine, &bytes[..*len]).is_ok()).count();
    assert!(whole < 14, "{whole} prefixes are modules: more than there are sections");
}

#[track_caller]
fn assert_says(error: &Error, kind: ErrorKind, words: &[&str], name: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{name}: {text}");
    for word in words {
        assert!(text.contains(word), "{name}: {text:?} does not say {word:?}");
    }
}

#[test]
fn missing_imports_are_named() {
    everywhere(|name, engine| {
        for import in ["(func)", "(memory 1)", "(table 1 funcref)", "(global i32)"] {
            let module = Module::new(engine, format!(r#"(module (import "door" "bell" {import}))"#)).expect(name);
            let mut store = Store::new(engine, ());
            let error = Linker::new(engine).instantiate(&mut store, &module).expect_err(import);
            assert_says(&error, ErrorKind::Link, &["door", "bell"], name);
            let error = aura_runtime::Instance::new(&mut store, &module, &[]).expect_err(import);
            assert_says(&error, ErrorKind::Link, &["0 imports given", "has 1"], name);
        }
    });
}

/// One thing of each kind, and texts of imports that want it and that want another.
fn externs(store: &mut Store<()>) -> Vec<(Extern, &'static str, Vec<&'static str>)> {
    let limits = |min, max| Limits64 { min, max };
    let memory = MemoryType { limits: limits(2, Some(4)), memory64: false, shared: false, page_size_log2: 16 };
    let table = TableType { element: RefType::FUNCREF, limits: limits(5, None), table64: false };
    let global = |mutable| GlobalType { content: ValType::I32, mutable };
    vec![
        (
            Extern::Func(Func::wrap(&mut *store, |x: i32| i64::from(x))),
            "(func (param i32) (result i64))",
            vec![
                "(func)",
                "(func (param i64) (result i64))",
                "(func (param i32))",
                "(func (param i32 i32) (result i64))",
            ],
        ),
        (
            Extern::Memory(Memory::new(&mut *store, memory).expect("a memory")),
            "(memory 2 5)",
            vec!["(memory 3)", "(memory 2 3)"],
        ),
        (
            Extern::Table(Table::new(&mut *store, table, Val::FuncRef(None)).expect("a table")),
            "(table 5 funcref)",
            vec!["(table 6 funcref)", "(table 5 10 funcref)", "(table 5 externref)"],
        ),
        (
            Extern::Global(Global::new(&mut *store, global(false), Val::I32(1)).expect("a global")),
            "(global i32)",
            vec!["(global (mut i32))", "(global i64)", "(global f32)"],
        ),
        (
            Extern::Global(Global::new(&mut *store, global(true), Val::I32(1)).expect("a global")),
            "(global (mut i32))",
            vec!["(global i32)", "(global (mut f32))"],
        ),
    ]
}

#[test]
fn imports_of_another_type_are_refused_in_every_pair_of_kinds() {
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        let externs = externs(&mut store);
        for (given, (value, _, others)) in externs.iter().enumerate() {
            let mut linker = Linker::new(engine);
            linker.define(&store, "door", "bell", value.clone()).expect(name);
            let kinds = externs.iter().enumerate().map(|(wanted, (_, text, _))| (*text, wanted == given));
            for (text, fits) in kinds.chain(others.iter().map(|text| (*text, false))) {
                let module = Module::new(engine, format!(r#"(module (import "door" "bell" {text}))"#)).expect(text);
                match linker.instantiate(&mut store, &module) {
                    Ok(_) => assert!(fits, "{name}: {value:?} as {text}"),
                    Err(error) => {
                        assert!(!fits, "{name}: {error}");
                        assert_says(&error, ErrorKind::Link, &["incompatible import type", "door", "bell"], name);
                    }
                }
            }
        }
    });
}

#[test]
fn wrong_arguments_are_told_by_number_and_type() {
    everywhere(|name, engine| {
        let wat = r#"(module (func (export "f") (param i32 f64) (result i64) (i64.const 1)) (global (export "g") i32 (i32.const 1))
            (func (export "r") (param funcref externref)))"#;
        let (mut store, instance) = instantiate(engine, wat);
        let f = instance.get_func(&store, "f").expect(name);
        let mut one = [Val::I64(0)];
        let usage = |error: Result<(), Error>, words: &[&str]| {
            assert_says(&error.expect_err(name), ErrorKind::Usage, words, name);
        };
        let good = [Val::I32(1), Val::F64(0)];
        f.call(&mut store, &good, &mut one).expect(name);
        usage(f.call(&mut store, &[], &mut one), &["0 arguments", "has 2"]);
        usage(f.call(&mut store, &[Val::I32(1); 3], &mut one), &["3 arguments", "has 2"]);
        usage(f.call(&mut store, &[Val::I32(1); 2000], &mut one), &["2000 arguments"]);
        usage(f.call(&mut store, &good, &mut []), &["0 places", "has 1"]);
        usage(f.call(&mut store, &good, &mut [Val::I32(0); 2]), &["2 places"]);
        for wrong in [Val::I64(1), Val::F32(1), Val::V128(1), Val::FuncRef(None), Val::ExternRef(None)] {
            usage(f.call(&mut store, &[wrong, Val::F64(0)], &mut one), &["i32"]);
        }
        usage(f.call(&mut store, &[Val::F64(0), Val::I32(1)], &mut one), &["f64", "i32"]);
        let r = instance.get_func(&store, "r").expect(name);
        usage(r.call(&mut store, &[Val::ExternRef(None), Val::FuncRef(None)], &mut []), &["funcref"]);
        usage(instance.get_typed_func::<i32, i64>(&store, "f").map(drop), &["i32", "f64"]);
        usage(instance.get_typed_func::<(i32, f64), i32>(&store, "f").map(drop), &["i64"]);
        for absent in ["", "g", "nothing", "f\0"] {
            let error = instance.get_typed_func::<(), ()>(&store, absent).expect_err(name);
            assert!(error.to_string().contains(absent), "{name}: {error}");
        }
        let mut elsewhere = Store::new(engine, ());
        usage(f.call(&mut elsewhere, &good, &mut one), &["another store"]);
        let foreign = Func::wrap(&mut elsewhere, || ());
        usage(r.call(&mut store, &[Val::FuncRef(Some(foreign)), Val::ExternRef(None)], &mut []), &["another store"]);
        f.call(&mut store, &good, &mut one).expect("after all that");
    });
}

#[test]
fn exports_and_imports_keep_their_types() {
    for (name, engine) in all() {
        let module = Module::new(engine, SEED).expect(name);
        let import = module.imports().next().expect(name);
        assert_eq!((import.module(), import.name()), ("h", "f"));
        assert!(matches!(import.ty(), ExternType::Func(ty) if ty.params() == [ValType::I32]), "{name}");
        assert_eq!(module.exports().count(), 5, "{name}");
    }
}
