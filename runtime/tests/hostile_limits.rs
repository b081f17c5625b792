//! What guests and odd configurations ask for ends in a value, a trap or an error: never in a panic or a dead process. The ids name rows of the list of past findings in other runtimes.

mod common;

use aura_runtime::{
    AsContextMut, Bounds, Caller, Config, Engine, Error, ErrorKind, Extern, Func, Global, GlobalType, Limits, Limits64,
    Linker, Memory, MemoryType, Module, OptLevel, RefType, Store, StoreLimits, Strategy, Table, TableType, TrapCode,
    Val, ValType,
};
use common::{engines, everywhere, instantiate};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;

#[track_caller]
fn assert_trap(error: &Error, code: TrapCode, name: &str) {
    assert_eq!(error.trap().map(aura_runtime::Trap::code), Some(code), "{name}: {error}");
}

#[test]
fn d1_bulk_operations_on_dropped_segments() {
    let segments = [
        ("p", "(elem $p funcref (ref.func $f))"),
        ("d", "(elem $p declare func $f)"),
        ("x", "(elem $p externref (ref.null extern))"),
    ];
    everywhere(|name, engine| {
        for (kind, segment) in segments {
            let table = if kind == "x" { "externref" } else { "funcref" };
            let active = r#"(data $a (i32.const 0) "a") (data $q "qq")"#;
            let wat = format!(
                r#"(module (memory 1) (table $t 4 {table}) (func $f) {segment} {active}
                    (func (export "table.drop") (elem.drop $p)) (func (export "data.drop") (data.drop $q))
                    (func (export "table") (param i32 i32 i32)
                        (table.init $t $p (local.get 0) (local.get 1) (local.get 2)))
                    (func (export "data") (param i32 i32 i32)
                        (memory.init $q (local.get 0) (local.get 1) (local.get 2)))
                    (func (export "active") (param i32 i32 i32)
                        (memory.init $a (local.get 0) (local.get 1) (local.get 2))))"#
            );
            let (mut store, instance) = instantiate(engine, &wat);
            for drop in ["table.drop", "table.drop", "data.drop", "data.drop"] {
                instance.get_typed_func::<(), ()>(&store, drop).expect(name).call(&mut store, ()).expect(name);
            }
            for (export, size, code) in [
                ("table", 4, TrapCode::TableOutOfBounds),
                ("data", 65536, TrapCode::MemoryOutOfBounds),
                ("active", 65536, TrapCode::MemoryOutOfBounds),
            ] {
                let init = instance.get_typed_func::<(u32, u32, u32), ()>(&store, export).expect(name);
                for to in [0, size] {
                    init.call(&mut store, (to, 0, 0)).expect(name);
                }
                for args in [(0, 0, 1), (0, 1, 0), (size + 1, 0, 0), (0, 0, u32::MAX), (u32::MAX, u32::MAX, u32::MAX)] {
                    assert_trap(&init.call(&mut store, args).expect_err(name), code, name);
                }
            }
        }
    });
}

/// Imported index spaces come first: each operation on index 1 must be on the own thing, on index 0 on the imported.
const MIXED: &str = r#"(module
    (import "h" "f" (func $f0 (result i32))) (import "h" "t" (table $t0 3 10 funcref))
    (import "h" "m" (memory 1 4)) (import "h" "g" (global $g0 (mut i32)))
    (table $t1 (export "t1") 5 20 funcref) (global $g1 (export "g1") (mut i32) (i32.const 100))
    (elem $e0 (table $t1) (i32.const 0) func $f1) (elem $e1 funcref (ref.func $f1) (ref.func $f0))
    (data $d0 (i32.const 0) "ab") (data $d1 "xyz")
    (type $r (func (result i32)))
    (func $f1 (export "f1") (result i32) (i32.const 11))
    (func (export "calls") (result i32) (i32.add (i32.mul (call $f0) (i32.const 1000)) (call $f1)))
    (func (export "globals") (param i32) (result i32)
        (global.set $g1 (i32.add (global.get $g0) (local.get 0))) (global.set $g0 (i32.const 5)) (global.get $g1))
    (func (export "sizes") (result i32 i32) (table.size $t0) (table.size $t1))
    (func (export "grow0") (result i32) (table.grow $t0 (ref.func $f0) (i32.const 1)))
    (func (export "grow1") (result i32) (table.grow $t1 (ref.func $f1) (i32.const 2)))
    (func (export "fill0") (param i32 i32) (table.fill $t0 (local.get 0) (ref.func $f0) (local.get 1)))
    (func (export "fill1") (param i32 i32) (table.fill $t1 (local.get 0) (ref.func $f1) (local.get 1)))
    (func (export "set0") (param i32) (table.set $t0 (local.get 0) (ref.func $f1)))
    (func (export "null1") (param i32) (result i32) (ref.is_null (table.get $t1 (local.get 0))))
    (func (export "null0") (param i32) (result i32) (ref.is_null (table.get $t0 (local.get 0))))
    (func (export "copy") (param i32 i32 i32) (table.copy $t0 $t1 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init1") (param i32 i32 i32) (table.init $t1 $e1 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "via0") (param i32) (result i32) (call_indirect $t0 (type $r) (local.get 0)))
    (func (export "via1") (param i32) (result i32) (call_indirect $t1 (type $r) (local.get 0)))
    (func (export "minit") (result i32)
        (memory.init $d1 (i32.const 8) (i32.const 0) (i32.const 3)) (data.drop $d1)
        (memory.grow (i32.const 1)) (i32.const 1000) (i32.mul) (i32.load8_u (i32.const 10)) (i32.add)))"#;

#[test]
fn d2_imported_and_defined_index_spaces_do_not_shift() {
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        let module = Module::new(engine, MIXED).expect(name);
        let limits = |min, max| Limits64 { min, max: Some(max) };
        let table = TableType { element: RefType::FUNCREF, limits: limits(3, 10), table64: false };
        let table = Table::new(&mut store, table, Val::FuncRef(None)).expect(name);
        let memory = MemoryType { limits: limits(1, 4), memory64: false, shared: false, page_size_log2: 16 };
        let memory = Memory::new(&mut store, memory).expect(name);
        let global = GlobalType { content: ValType::I32, mutable: true };
        let global = Global::new(&mut store, global, Val::I32(42)).expect(name);
        let host = Func::wrap(&mut store, || 7);
        let mut linker: Linker<()> = Linker::new(engine);
        let externs = [
            ("f", Extern::Func(host)),
            ("t", Extern::Table(table)),
            ("m", Extern::Memory(memory)),
            ("g", Extern::Global(global)),
        ];
        for (import, value) in externs {
            linker.define(&mut store, "h", import, value).expect(name);
        }
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let mut call = |export: &str, args: &[i32]| -> Result<Vec<i32>, Error> {
            let func = instance.get_func(&store, export).expect(export);
            let mut results = vec![Val::I32(0); func.ty(&store).results().len()];
            let args: Vec<Val> = args.iter().map(|x| Val::I32(*x)).collect();
            func.call(&mut store, &args, &mut results)?;
            Ok(results.iter().map(|x| if let Val::I32(x) = x { *x } else { panic!("{x:?}") }).collect())
        };
        let mut expect = |export: &str, args: &[i32], wanted: &[i32]| {
            assert_eq!(call(export, args).expect(name), wanted, "{name} {export} {args:?}");
        };
        expect("calls", &[], &[7011]);
        expect("globals", &[3], &[45]);
        expect("sizes", &[], &[3, 5]);
        expect("grow0", &[], &[3]);
        expect("grow1", &[], &[5]);
        expect("sizes", &[], &[4, 7]);
        expect("via0", &[3], &[7]);
        expect("via1", &[0], &[11]);
        expect("via1", &[6], &[11]);
        expect("null1", &[1], &[1]);
        expect("fill1", &[1, 6], &[]);
        expect("via1", &[1], &[11]);
        expect("null0", &[1], &[1]);
        expect("fill0", &[0, 4], &[]);
        expect("via0", &[1], &[7]);
        expect("set0", &[2], &[]);
        expect("via0", &[2], &[11]);
        expect("copy", &[0, 5, 2], &[]);
        expect("via0", &[0], &[11]);
        expect("via0", &[3], &[7]);
        expect("init1", &[5, 0, 2], &[]);
        expect("via1", &[6], &[7]);
        expect("minit", &[], &[1000 + i32::from(b'z')]);
        for (export, args) in [
            ("fill0", &[0, 5][..]),
            ("fill1", &[1, 7]),
            ("via0", &[4]),
            ("via1", &[7]),
            ("copy", &[3, 0, 2]),
            ("copy", &[0, 6, 2]),
            ("init1", &[6, 0, 2]),
        ] {
            assert!(call(export, args).is_err(), "{name} {export} {args:?}");
        }
        assert!(matches!(global.get(&store), Val::I32(5)), "{name}");
        assert!(matches!(instance.get_global(&store, "g1").expect(name).get(&store), Val::I32(45)), "{name}");
        assert_eq!((table.size(&store), memory.size(&store)), (4, 2), "{name}");
        assert_eq!(&memory.data(&store)[..11], b"ab\0\0\0\0\0\0xyz", "{name}");
    });
}

#[test]
fn d3_huge_minimums_are_clean_errors() {
    let texts = [
        "(module (memory 65537))",
        "(module (memory 4294967295))",
        "(module (memory i64 0x1000000000000))",
        "(module (table 4294967295 funcref))",
        "(module (table 10000001 externref))",
        "(module (table i64 0x2000000000000000 funcref))",
        "(module (table 10000000 funcref) (table 10000000 funcref))",
    ];
    let refused =
        [ErrorKind::Invalid, ErrorKind::Malformed, ErrorKind::Limit, ErrorKind::Unsupported, ErrorKind::Resource];
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        for text in texts {
            let linker = Linker::new(engine);
            let made = Module::new(engine, text).and_then(|module| linker.instantiate(&mut store, &module));
            let kind = made.expect_err(text).kind();
            assert!(refused.contains(&kind), "{name} {text}: {kind:?}");
        }
        // What a failed instantiation made stays in its store.
        let mut store = Store::new(engine, ());
        store.set_limits(StoreLimits { memory_bytes: 10 << 16, table_elements: 1000, ..StoreLimits::default() });
        for text in ["(module (memory 11))", "(module (memory 65536))", "(module (table 1001 funcref))"] {
            let module = Module::new(engine, text).expect(text);
            let error = Linker::new(engine).instantiate(&mut store, &module).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Resource, "{name} {text}: {error}");
        }
        let module = Module::new(engine, "(module (memory 10) (table 1000 funcref))").expect(name);
        Linker::new(engine).instantiate(&mut store, &module).expect("what is as big as the limit is allowed");
    });
}

#[test]
fn d3_huge_minimums_from_the_host_are_clean_errors() {
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        for min in [65537, 1 << 32, 1 << 48, 1 << 61, u64::MAX] {
            for (memory64, page_size_log2) in [(false, 16), (true, 16), (true, 0)] {
                let limits = Limits64 { min, max: None };
                let small = memory64
                    && min
                        .checked_shl(page_size_log2.into())
                        .is_some_and(|bytes| bytes >> page_size_log2 == min && bytes <= 1 << 40);
                let ty = MemoryType { limits, memory64, shared: false, page_size_log2 };
                if !small {
                    assert!(Memory::new(&mut store, ty).is_err(), "{name}: memory of {min}, 64: {memory64}");
                }
            }
            for table64 in [false, true] {
                let ty = TableType { element: RefType::FUNCREF, limits: Limits64 { min, max: None }, table64 };
                let made = Table::new(&mut store, ty, Val::FuncRef(None));
                assert!(made.is_err() || min == 65537, "{name}: table of {min}, 64: {table64}");
            }
        }
    });
}

#[test]
fn d6_host_functions_called_by_the_host_itself() {
    everywhere(|name, engine| {
        let mut store = Store::new(engine, 0);
        let func = Func::wrap(&mut store, |mut caller: Caller<'_, i32>, a: i32| {
            let found = i32::from(caller.get_export("memory").is_some());
            *caller.data_mut() += a;
            match a {
                2 => Err(Error::host("two")),
                3 => panic!("three"),
                _ => Ok(found),
            }
        });
        let typed = func.typed::<i32, i32>(&store).expect(name);
        assert_eq!(typed.call(&mut store, 1).expect(name), 0, "{name}");
        assert_eq!(typed.call(&mut store, 2).expect_err(name).kind(), ErrorKind::Host, "{name}");
        assert!(typed.call(&mut store, 3).expect_err(name).to_string().contains("panicked: three"), "{name}");
        assert_eq!(typed.call(&mut store, 4).expect(name), 0, "{name}");
        assert_eq!(*store.data(), 10, "{name}");
    });
}

/// Counts by loop, by calls and through a memory; the answers do not depend on the configuration.
const SMALL: &str = r#"(module (memory (export "m") 1 30) (table 2 funcref) (elem (i32.const 0) $work)
    (type $t (func (param i32) (result i32)))
    (func $work (export "work") (param i32) (result i32) (local i32)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
        (local.set 1 (i32.const 10))
        (loop $l (i32.store (i32.const 65532) (i32.add (i32.load (i32.const 65532)) (local.get 1)))
            (br_if $l (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
        (i32.add (i32.const 3)
            (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))
    (func (export "deep") (param i32) (result i32) (i32.add (i32.const 1) (call 1 (local.get 0))))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0))))"#;

fn odd_size() -> impl proptest::strategy::Strategy<Value = usize> {
    prop_oneof![
        Just(0usize),
        Just(1),
        Just(usize::MAX),
        Just((64 << 10) - 1),
        Just(64 << 10),
        Just((64 << 10) + 1),
        Just(1 << 30),
        Just((1 << 30) + 1),
        (64usize << 10)..(2 << 20),
    ]
}

fn run_small(engine: &Engine, limit: u64) -> Result<(), TestCaseError> {
    let Ok(module) = Module::new(engine, SMALL) else { return Ok(()) };
    let mut store = Store::new(engine, ());
    store.set_limits(StoreLimits { memory_bytes: limit, ..StoreLimits::default() });
    let Ok(instance) = Linker::new(engine).instantiate(&mut store, &module) else {
        prop_assert!(limit < 65536);
        return Ok(());
    };
    prop_assert!(limit >= 65536);
    let work = instance.get_typed_func::<i32, i32>(&store, "work").expect("work");
    for n in [0, 1, 20, 20] {
        prop_assert_eq!(work.call(&mut store, n).expect("fits any stack"), 3 * n);
    }
    prop_assert_eq!(&instance.get_memory(&store, "m").expect("m").data(&store)[65532..], &(41u32 * 55).to_le_bytes());
    let deep = instance.get_typed_func::<i32, i32>(&store, "deep").expect("deep");
    let error = deep.call(&mut store, 1).expect_err("endless");
    prop_assert_eq!(error.trap().map(aura_runtime::Trap::code), Some(TrapCode::StackOverflow));
    let grow = instance.get_typed_func::<i32, i32>(&store, "grow").expect("grow");
    let load = instance.get_typed_func::<u32, i32>(&store, "load").expect("load");
    let mut pages = 1u32;
    while grow.call(&mut store, 1).expect("no trap") != -1 {
        pages += 1;
        prop_assert_eq!(load.call(&mut store, pages * 65536 - 1).expect("inside"), 0);
        prop_assert!(load.call(&mut store, pages * 65536).is_err());
        prop_assert_eq!(load.call(&mut store, 65532).expect("kept"), (41 * 55) & 255);
    }
    prop_assert_eq!(u64::from(pages), (limit / 65536).min(30));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn d8_odd_configurations_are_refused_or_work(
        (strategy, bounds, level) in (0..3usize, 0..2usize, 0..2usize),
        (stack, threshold) in (odd_size(), prop_oneof![Just(0u32), Just(1), Just(2), Just(u32::MAX), any::<u32>()]),
        limit in prop_oneof![Just(0u64), Just(65535), Just(65536), Just(65537), Just(100_000), Just(u64::MAX), 60_000..2_500_000u64],
        (fuel, nans, first) in (any::<bool>(), any::<bool>(), any::<bool>()),
        few in prop_oneof![Just(None), (0..8u32).prop_map(Some)],
    ) {
        let mut config = Config::new();
        config
            .strategy([Strategy::Interpreter, Strategy::Jit, Strategy::Auto][strategy])
            .bounds([Bounds::Guard, Bounds::Explicit][bounds])
            .opt_level([OptLevel::None, OptLevel::Speed][level])
            .max_wasm_stack(stack)
            .tier_up_threshold(threshold)
            .compile_threads(0)
            .canonicalize_nans(nans)
            .segments_checked_first(first);
        if let Some(few) = few {
            let limits = Limits { functions: few, nesting: few, locals: few, types: few, ..Limits::default() };
            config.limits(limits);
        }
        match Engine::new(&config) {
            Ok(engine) => run_small(&engine, limit)?,
            Err(error) => {
                prop_assert!(!(64 << 10..=1 << 30).contains(&stack), "{error}");
                prop_assert!(error.to_string().contains("max_wasm_stack"), "{error}");
            }
        }
        if fuel {
            // An engine of the same kind without any fuel: the first call ends.
            config.consume_fuel(true).max_wasm_stack(256 << 10).limits(Limits::default());
            let engine = Engine::new(&config).expect("valid");
            let (mut store, instance) = instantiate(&engine, SMALL);
            store.set_fuel(0).expect("consumes fuel");
            let error = instance.get_typed_func::<i32, i32>(&store, "work").expect("work").call(&mut store, 5);
            prop_assert_eq!(error.expect_err("no fuel").trap().map(aura_runtime::Trap::code), Some(TrapCode::OutOfFuel));
        }
    }
}

#[test]
fn d10_a_panic_in_a_host_function_stays_in_its_instance() {
    everywhere(|name, engine| {
        let wat = r#"(module (import "h" "f" (func $f (param i32) (result i32))) (table 1 funcref) (elem (i32.const 0) $f)
            (type $t (func (param i32) (result i32))) (memory (export "m") 1)
            (func $in (param i32) (result i32) (i32.store (i32.const 0) (i32.const 9)) (call $f (local.get 0)))
            (func (export "call") (param i32) (result i32) (call $in (local.get 0)))
            (func (export "indirect") (param i32) (result i32) (call_indirect (type $t) (local.get 0) (i32.const 0))))"#;
        let module = Module::new(engine, wat).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker.func_wrap("h", "f", |x: i32| if x == 13 { panic!("thirteen") } else { x * 2 }).expect(name);
        for export in ["call", "indirect"] {
            let mut store = Store::new(engine, ());
            let bystander = linker.instantiate(&mut store, &module).expect(name);
            let instance = linker.instantiate(&mut store, &module).expect(name);
            let func = instance.get_typed_func::<i32, i32>(&store, export).expect(name);
            for _ in 0..4 {
                assert_eq!(func.call(&mut store, 4).expect(name), 8, "{name}");
            }
            let error = func.call(&mut store, 13).expect_err(name);
            assert!(error.to_string().contains("panicked: thirteen"), "{name} {export}: {error}");
            assert_trap(&func.call(&mut store, 4).expect_err(name), TrapCode::Poisoned, name);
            let other = bystander.get_typed_func::<i32, i32>(&store, export).expect(name);
            assert_eq!(other.call(&mut store, 4).expect(name), 8, "{name} {export}: another instance");
            assert_eq!(instance.get_memory(&store, "m").expect(name).data_size(&store), 65536, "{name}");
        }
    });
}

/// A host function that wants stack: 64 KiB, of which it writes a byte in each page.
fn hungry(seed: i32) -> i32 {
    let mut bytes = [0u8; 64 << 10];
    for byte in bytes.iter_mut().step_by(4096) {
        *byte = seed as u8;
    }
    std::hint::black_box(&mut bytes).iter().step_by(4096).map(|byte| i32::from(*byte)).sum()
}

const TO_THE_LIMIT: &str = r#"(module (import "h" "hungry" (func $hungry (param i32) (result i32)))
    (import "h" "again" (func $again (param i32) (result i32)))
    (global $n (export "n") (mut i32) (i32.const 0))
    (func $down (export "down") (param i32) (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (drop (call $hungry (local.get 0)))
        (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
    (func (export "turns") (param i32) (result i32) (call $again (local.get 0))))"#;

fn descend(name: &str, engine: &Engine) {
    let module = Module::new(engine, TO_THE_LIMIT).expect(name);
    let mut linker: Linker<()> = Linker::new(engine);
    linker.func_wrap("h", "hungry", hungry).expect(name);
    linker
        .func_wrap("h", "again", |mut caller: Caller<'_, ()>, n: i32| {
            let turns = caller.get_export("turns").and_then(Extern::into_func).expect("exported");
            let mut result = [Val::I32(0)];
            hungry(n);
            turns.call(caller.as_context_mut(), &[Val::I32(n + 1)], &mut result).map(|()| 0)
        })
        .expect(name);
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &module).expect(name);
    for export in ["down", "turns", "down"] {
        let func = instance.get_typed_func::<i32, i32>(&store, export).expect(name);
        assert_trap(&func.call(&mut store, 0).expect_err(name), TrapCode::StackOverflow, name);
    }
}

#[test]
fn d11_a_host_function_has_stack_at_the_limit_of_recursion() {
    for stack in [64 << 10, 512 << 10, 4 << 20] {
        for (name, engine) in engines(|config| {
            config.max_wasm_stack(stack);
        }) {
            descend(&name, &engine);
        }
    }
}

#[test]
fn d11_the_same_on_threads_with_small_stacks() {
    for (name, engine) in engines(|_| {}) {
        for stack in [256 << 10, 512 << 10, 1 << 20] {
            let (name, engine) = (name.clone(), engine.clone());
            let thread = std::thread::Builder::new().stack_size(stack);
            thread.spawn(move || descend(&name, &engine)).expect("spawns").join().expect("no panic");
        }
    }
}

#[test]
fn d3_what_could_not_be_made_takes_nothing_of_the_limits() {
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        store.set_limits(StoreLimits { memory_bytes: 4 << 16, table_elements: 4, ..StoreLimits::default() });
        let memory = |min, max| {
            let limits = Limits64 { min, max: Some(max) };
            MemoryType { limits, memory64: false, shared: false, page_size_log2: 16 }
        };
        let table = |min, max| TableType {
            element: RefType::FUNCREF,
            limits: Limits64 { min, max: Some(max) },
            table64: false,
        };
        for _ in 0..3 {
            assert!(Memory::new(&mut store, memory(3, 2)).is_err(), "{name}: a minimum above the maximum");
            assert!(Memory::new(&mut store, memory(5, 5)).is_err(), "{name}: above the store's limit");
            assert!(Table::new(&mut store, table(3, 2), Val::FuncRef(None)).is_err(), "{name}");
            assert!(Table::new(&mut store, table(5, 5), Val::FuncRef(None)).is_err(), "{name}");
        }
        Memory::new(&mut store, memory(4, 4)).expect(name);
        Table::new(&mut store, table(4, 4), Val::FuncRef(None)).expect(name);
    });
}
