//! Confusion of types, uses after the end, and lifetimes: handles where they do not belong, instances
//! that failed half way, stacks after traps. Each test is one row of the list of hostile inputs.

mod common;
#[path = "common/outcome.rs"]
mod outcome;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aura_runtime::{
    Caller, Config, Engine, ErrorKind, Extern, ExternRef, Features, Func, FuncType, Global, GlobalType, GrantSpec,
    Instance, Limits64, Linker, Memory, MemoryType, Module, RefType, Store, StoreLimits, Subject, Table, TableType,
    TrapCode, Val, ValType,
};
use common::{engines, everywhere, everywhere_with, instantiate};
use outcome::{Outcome, bits, outcome, value};

fn call(store: &mut Store<()>, instance: Instance, export: &str, args: &[Val]) -> Outcome {
    let func = instance.get_func(&*store, export).unwrap_or_else(|| panic!("{export} is exported"));
    outcome(store, func, args)
}

fn numbers(values: impl IntoIterator<Item = u128>) -> Outcome {
    Ok(values.into_iter().collect())
}

/// Checks that a module is refused by an engine without these proposals, which the refusal names.
fn refused(proposals: &[&str], wat: &str) {
    let configure = |config: &mut Config| {
        let off = |features: Features, name: &&str| features.with(name, false).expect("a proposal");
        config.features(proposals.iter().fold(Features::V3, off));
    };
    everywhere_with(configure, |name, engine| {
        let error = Module::new(engine, wat).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name} {wat}: {error}");
        assert!(proposals.iter().any(|proposal| error.to_string().contains(proposal)), "{name} {wat}: {error}");
    });
}

#[test]
fn t1_gc_is_refused_where_it_is_off() {
    refused(&["gc"], "(module (type (struct (field i32))))");
    refused(&["gc"], "(module (type (array i8)))");
    refused(&["gc"], "(module (func (param anyref)))");
    refused(&["gc"], "(module (func (result i32) (ref.eq (ref.null none) (ref.null none))))");
    refused(&["function-references", "gc"], "(module (type $t (func)) (func (param (ref $t))))");
}

/// References to host values come back as the same value, from wherever the guest kept them.
#[test]
fn t1_externrefs_keep_their_values() {
    let wat = r#"(module (import "h" "id" (func $id (param externref) (result externref)))
        (table $t 4 externref) (global $g (mut externref) (ref.null extern))
        (func (export "through") (param externref i32) (result externref) (local externref)
            (table.set $t (local.get 1) (local.get 0))
            (global.set $g (table.get $t (local.get 1)))
            (drop (table.grow $t (ref.null extern) (i32.const 100)))
            (local.set 2 (call $id (global.get $g)))
            (select (result externref) (local.get 2) (ref.null extern) (ref.is_null (table.get $t (i32.const 3))))))"#;
    everywhere(|name, engine| {
        let module = Module::new(engine, wat).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker
            .func_wrap("h", "id", |mut caller: Caller<'_, ()>, x: Option<ExternRef>| {
                // New values while the guest holds old ones.
                (0..50).try_for_each(|n| ExternRef::new(&mut caller, n).map(drop))?;
                Ok::<_, aura_runtime::Error>(x)
            })
            .expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        let through = instance.get_func(&store, "through").expect(name);
        for number in 0..40_u64 {
            let given = ExternRef::new(&mut store, format!("value {number}")).expect(name);
            let mut results = [Val::ExternRef(None)];
            let args = [Val::ExternRef(Some(given)), Val::I32((number % 3) as i32)];
            through.call(&mut store, &args, &mut results).expect(name);
            let [Val::ExternRef(Some(back))] = results else { panic!("{name}: {results:?}") };
            let text = back.data(&store).expect(name).downcast_ref::<String>().expect(name);
            assert_eq!(*text, format!("value {number}"), "{name}");
        }
    });
}

fn fails_cleanly<R>(what: &str, run: impl FnOnce() -> aura_runtime::Result<R>) {
    let error = run().err().unwrap_or_else(|| panic!("{what} was accepted"));
    assert_eq!(error.kind(), ErrorKind::Usage, "{what}: {error}");
}

fn panics<R>(what: &str, run: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "{what} was accepted");
}

const ALL_KINDS: &str = r#"(module (memory (export "m") 1) (table (export "t") 2 funcref)
    (global (export "g") (mut funcref) (ref.null func)) (func (export "f") (param funcref) (result i32) (i32.const 1)))"#;

/// Every handle in a store of the same engine, and of another engine, that is not its own.
#[test]
fn t2_handles_of_another_store_are_refused() {
    everywhere(|name, engine| {
        let other_engine = Engine::default();
        for foreign_engine in [engine, &other_engine] {
            let (own, instance) = instantiate(engine, ALL_KINDS);
            let (mut foreign, _) = instantiate(foreign_engine, ALL_KINDS);
            let func = instance.get_func(&own, "f").expect(name);
            let memory = instance.get_memory(&own, "m").expect(name);
            let table = instance.get_table(&own, "t").expect(name);
            let global = instance.get_global(&own, "g").expect(name);
            let typed = func.typed::<Option<Func>, i32>(&own).expect(name);

            let null = Val::FuncRef(None);
            fails_cleanly("call", || func.call(&mut foreign, &[null], &mut [Val::I32(0)]));
            fails_cleanly("typed", || func.typed::<Option<Func>, i32>(&foreign));
            fails_cleanly("typed call", || typed.call(&mut foreign, None));
            fails_cleanly("read", || memory.read(&foreign, 0, &mut [0]));
            fails_cleanly("write", || memory.write(&mut foreign, 0, &[0]));
            fails_cleanly("memory.grow", || memory.grow(&mut foreign, 1));
            fails_cleanly("table.set", || table.set(&mut foreign, 0, null));
            fails_cleanly("table.grow", || table.grow(&mut foreign, 1, null));
            fails_cleanly("global.set", || global.set(&mut foreign, null));
            fails_cleanly("extern type", || Extern::from(func).ty(&foreign));
            fails_cleanly("grant", || foreign.grant(Subject::Instance(instance), GrantSpec::call("now")));
            panics("Func::ty", || func.ty(&foreign));
            panics("Memory::data", || memory.data(&foreign).len());
            panics("Memory::data_mut", || memory.data_mut(&mut foreign).len());
            panics("Memory::size", || memory.size(&foreign));
            panics("Memory::ty", || memory.ty(&foreign));
            panics("Table::get", || table.get(&foreign, 0).is_some());
            panics("Table::size", || table.size(&foreign));
            panics("Global::get", || bits(&global.get(&foreign)));
            panics("get_export", || instance.get_export(&foreign, "f").is_some());
            panics("exports", || instance.exports(&foreign).len());
            panics("module", || instance.module(&foreign).name());
        }
    });
}

/// Every value that names a store, where another store takes values.
#[test]
fn t2_references_of_another_store_are_refused() {
    everywhere(|name, engine| {
        let (mut own, instance) = instantiate(engine, ALL_KINDS);
        let (mut foreign, other) = instantiate(engine, ALL_KINDS);
        let func = instance.get_func(&own, "f").expect(name);
        let reference = Val::FuncRef(Some(func));
        let object = ExternRef::new(&mut own, 1_u32).expect(name);
        fails_cleanly("object", || object.data(&foreign));
        let takes = other.get_func(&foreign, "f").expect(name);
        fails_cleanly("argument", || takes.call(&mut foreign, &[reference], &mut [Val::I32(0)]));
        let typed = takes.typed::<Option<Func>, i32>(&foreign).expect(name);
        fails_cleanly("typed argument", || typed.call(&mut foreign, Some(func)));
        let table = other.get_table(&foreign, "t").expect(name);
        fails_cleanly("element", || table.set(&mut foreign, 0, reference));
        fails_cleanly("grown element", || table.grow(&mut foreign, 1, reference));
        let global = other.get_global(&foreign, "g").expect(name);
        fails_cleanly("global", || global.set(&mut foreign, reference));
        let ty = GlobalType { content: ValType::EXTERNREF, mutable: true };
        fails_cleanly("new global", || Global::new(&mut foreign, ty, Val::ExternRef(Some(object))));
        let limits = Limits64 { min: 1, max: None };
        let ty = TableType { element: RefType::EXTERNREF, limits, table64: false };
        fails_cleanly("new table", || Table::new(&mut foreign, ty, Val::ExternRef(Some(object))));
        // A host function that answers with a reference of another store.
        let ty = FuncType::new([], [ValType::FUNCREF]);
        let lying = Func::new(&mut foreign, ty, move |_, _, results| {
            results[0] = reference;
            Ok(())
        });
        fails_cleanly("result", || lying.call(&mut foreign, &[], &mut [Val::FuncRef(None)]));
        // A host value of the wrong kind where a function is wanted.
        fails_cleanly("kind", || takes.call(&mut foreign, &[Val::ExternRef(None)], &mut [Val::I32(0)]));
    });
}

#[test]
fn t2_modules_and_imports_of_another_engine_or_store_are_refused() {
    everywhere(|name, engine| {
        let other = Engine::default();
        let wants = "(module (import \"a\" \"f\" (func (param funcref) (result i32))))";
        let module = Module::new(engine, wants).expect(name);
        let (own, instance) = instantiate(engine, ALL_KINDS);
        let func = instance.get_func(&own, "f").expect(name);
        let mut foreign = Store::new(engine, ());
        fails_cleanly("import", || Instance::new(&mut foreign, &module, &[func.into()]));
        let mut linker: Linker<()> = Linker::new(engine);
        linker.define(&own, "a", "f", func).expect(name);
        fails_cleanly("defined import", || linker.instantiate(&mut foreign, &module));
        let mut of_other = Store::new(&other, ());
        fails_cleanly("store", || linker.instantiate(&mut of_other, &module));
        fails_cleanly("module", || Instance::new(&mut of_other, &module, &[]));
        fails_cleanly("linker", || Linker::new(&other).instantiate(&mut foreign, &module));
    });
}

/// Threads that make and drop modules of equal and of different types: an indirect call finds its type or traps.
#[test]
fn t3_types_registered_by_many_threads_stay_distinct() {
    let types = [("i32", 0x7b_u128), ("i64", 0x7b), ("f32", 0x42f6_0000), ("f64", 0x405e_c000_0000_0000)];
    everywhere(|name, engine| {
        std::thread::scope(|scope| {
            for thread in 0..16_usize {
                scope.spawn(move || {
                    for turn in 0..8 {
                        let (own, number) = types[(thread + turn) % 4];
                        let (other, _) = types[(thread + turn + 1) % 4];
                        let arity = "i32 ".repeat(turn % 3 + thread % 5);
                        let wat = format!(
                            "(module (type $a (func (param {arity} {own}) (result {own}))) (type $b (func (param {arity} {other}) (result {other})))
                            (table 1 funcref) (elem (i32.const 0) $f)
                            (func $f (type $a) (local.get {last}))
                            (func (export \"right\") (result {own}) {zeros} ({own}.const 123) (call_indirect (type $a) (i32.const 0)))
                            (func (export \"wrong\") (result {other}) {zeros} ({other}.const 123) (call_indirect (type $b) (i32.const 0))))",
                            last = turn % 3 + thread % 5,
                            zeros = "(i32.const 0)".repeat(turn % 3 + thread % 5),
                        );
                        let (mut store, instance) = instantiate(engine, &wat);
                        assert_eq!(call(&mut store, instance, "right", &[]), numbers([number]), "{name}");
                        let mismatch = Err(TrapCode::IndirectCallTypeMismatch);
                        assert_eq!(call(&mut store, instance, "wrong", &[]), mismatch, "{name}");
                    }
                });
            }
        });
    });
}

/// No API gives a Rust slice of memory that another thread may write: shared memories are refused by default, and
/// are no `Memory` if they are not.
#[test]
fn t7_shared_memories_are_refused() {
    refused(&["threads"], "(module (memory 1 1 shared))");
    refused(&["threads"], "(module (import \"a\" \"m\" (memory 1 1 shared)))");
    refused(&["threads"], "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))");
    everywhere(|name, engine| {
        let module = Module::new(engine, "(module (import \"a\" \"m\" (memory 1 1)))").expect(name);
        let mut store = Store::new(engine, ());
        let limits = Limits64 { min: 1, max: Some(1) };
        for (memory64, shared, page_size_log2) in [(false, true, 16), (true, false, 16), (false, false, 0)] {
            let ty = MemoryType { limits, memory64, shared, page_size_log2 };
            // Either refused when made, or never a guest's.
            if let Ok(memory) = Memory::new(&mut store, ty) {
                let error = Instance::new(&mut store, &module, &[memory.into()]).expect_err(name);
                assert_eq!(error.kind(), ErrorKind::Link, "{name}");
            }
        }
    });
}

/// A linker's copies work whatever is dropped before them.
#[test]
fn t8_linker_copies_outlive_what_they_were_made_of() {
    let engine_of = |engine: &Engine| {
        let mut linker: Linker<()> = Linker::new(engine);
        let (module, name) = (String::from("mod"), String::from("name"));
        linker.func_wrap(&module, &name, || 7).expect("defined once");
        linker.alias_module(&module, "again").expect("defined once");
        linker.clone()
    };
    everywhere(|name, engine| {
        let linker = engine_of(engine);
        let copies: Vec<_> = (0..8).map(|_| linker.clone()).collect();
        drop(linker);
        let mut store = Store::new(engine, ());
        for copy in copies {
            let instance = {
                let wat = r#"(module (import "again" "name" (func $f (result i32)))
                    (func (export "go") (result i32) (call $f)))"#;
                let module = Module::new(engine, wat).expect(name);
                copy.instantiate(&mut store, &module).expect(name)
            };
            drop(copy);
            assert_eq!(call(&mut store, instance, "go", &[]), numbers([7]), "{name}");
        }
    });
}

/// A host function grows memory and table under its caller, and may give the caller a new instance besides.
#[test]
fn t9_growth_below_a_caller_moves_nothing_it_holds() {
    let wat = r#"(module (import "h" "grow" (func $grow)) (memory (export "m") 1 400) (table (export "t") 1 400 funcref)
        (func (export "go") (param i32) (result i32) (local $old i32)
            (i32.store (i32.const 16) (i32.const 1111))
            (local.set $old (memory.size))
            (loop $again
                (i32.store offset=4 (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1)))
                (call $grow)
                (i32.store (i32.const 16) (i32.load offset=4 (i32.const 16)))
                (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 5))
                (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (i32.add (i32.load (i32.const 16))
                (i32.add (i32.mul (table.size) (i32.const 1000000)) (i32.mul (i32.sub (memory.size) (local.get $old)) (i32.const 10000))))))"#;
    everywhere(|name, engine| {
        let module = Module::new(engine, wat).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker
            .func_wrap("h", "grow", |mut caller: Caller<'_, ()>| {
                let memory = caller.get_export("m").and_then(Extern::into_memory).expect("exported");
                memory.grow(&mut caller, 1)?;
                let table = caller.get_export("t").and_then(Extern::into_table).expect("exported");
                table.grow(&mut caller, 1, Val::FuncRef(None))?;
                let limits = Limits64 { min: 1, max: None };
                let ty = MemoryType { limits, memory64: false, shared: false, page_size_log2: 16 };
                Memory::new(&mut caller, ty).map(drop)
            })
            .expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        for turn in 0..4_u128 {
            let expected = 1111 + 20 + (1 + 20 * (turn + 1)) * 1_000_000 + 20 * 10_000;
            assert_eq!(call(&mut store, instance, "go", &[Val::I32(20)]), numbers([expected]), "{name}");
        }
    });
}

/// The counts of arguments and results around every width that has been a limit somewhere.
const COUNTS: [usize; 22] = [0, 1, 2, 3, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 127, 128, 129, 255, 256, 257, 999, 1000];

fn mixed_types(count: usize) -> Vec<ValType> {
    let of = [ValType::I32, ValType::F64, ValType::I64, ValType::V128, ValType::F32, ValType::FUNCREF];
    (0..count).map(|i| of[(i * 7 + i / 6) % 6]).collect()
}

fn mixed_values(types: &[ValType]) -> Vec<Val> {
    let number = |i: usize| (i as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    types.iter().enumerate().map(|(i, ty)| value(*ty, number(i))).collect()
}

/// Guests and hosts pass each other up to 1000 values of mixed types, and no slot goes astray.
#[test]
fn t10_calls_of_up_to_a_thousand_values_in_both_directions() {
    everywhere(|name, engine| {
        // One class of values alone, around the number of registers that hold results of that class.
        let uniform = [ValType::I32, ValType::I64, ValType::F32, ValType::V128].into_iter();
        let uniform = uniform.flat_map(|ty| (7..=10).map(move |count| vec![ty; count]));
        for types in COUNTS.into_iter().map(mixed_types).chain(uniform) {
            let count = types.len();
            let ty = FuncType::new(types.clone(), types.iter().rev().copied());
            let list = |types: &mut dyn Iterator<Item = &ValType>| {
                types.fold(String::new(), |mut text, ty| {
                    let _ = write!(text, " {ty}");
                    text
                })
            };
            let signature = format!("(param{}) (result{})", list(&mut types.iter()), list(&mut types.iter().rev()));
            let gets = |order: &mut dyn Iterator<Item = usize>| {
                order.fold(String::new(), |mut text, i| {
                    let _ = write!(text, " local.get {i}");
                    text
                })
            };
            let wat = format!(
                "(module (type $t (func {signature})) (import \"h\" \"reverse\" (func $host (type $t)))
                (table funcref (elem $host $own))
                (func $own (export \"own\") (type $t) {backward})
                (func (export \"host\") (type $t) {forward} call $host)
                (func (export \"inner\") (type $t) {forward} call $own)
                (func (export \"indirect\") (type $t) {forward} i32.const 0 call_indirect (type $t)))",
                backward = gets(&mut (0..count).rev()),
                forward = gets(&mut (0..count)),
            );
            let module = Module::new(engine, &wat).unwrap_or_else(|error| panic!("{name} {count}: {error}"));
            let mut linker: Linker<()> = Linker::new(engine);
            linker
                .func_new("h", "reverse", ty.clone(), |_, args, results| {
                    results.iter_mut().zip(args.iter().rev()).for_each(|(result, arg)| *result = *arg);
                    Ok(())
                })
                .expect(name);
            let mut store = Store::new(engine, ());
            let instance = linker.instantiate(&mut store, &module).expect(name);
            let args = mixed_values(&types);
            let expected: Vec<u128> = args.iter().rev().map(bits).collect();
            for export in ["own", "host", "inner", "indirect"] {
                for _ in 0..3 {
                    let got = call(&mut store, instance, export, &args);
                    assert_eq!(got, Ok(expected.clone()), "{name} {export} {count}");
                }
            }
            let direct = Func::new(&mut store, ty, |_, args, results| {
                results.iter_mut().zip(args.iter().rev()).for_each(|(result, arg)| *result = *arg);
                Ok(())
            });
            assert_eq!(outcome(&mut store, direct, &args), Ok(expected), "{name} host to host {count}");
            if count > 0 {
                let short = direct.call(&mut store, &args[1..], &mut []).expect_err(name);
                assert_eq!(short.kind(), ErrorKind::Usage, "{name}");
            }
        }
        let many = "(module (type (func (param PARAMS))))".replace("PARAMS", &"i32 ".repeat(1001));
        let error = Module::new(engine, many).expect_err(name);
        assert!(error.to_string().contains("params"), "{name}: {error}");
    });
}

/// Fuel that ends inside or around bulk operations leaves a prefix at most, and the store goes on.
#[test]
fn t11_interrupted_bulk_operations_leave_a_whole_prefix() {
    let wat = r#"(module (memory (export "m") 4) (table (export "t") 300 funcref) (func $f) (elem declare func $f)
        (func (export "go")
            (table.fill (i32.const 0) (ref.func $f) (i32.const 300))
            (memory.fill (i32.const 0) (i32.const 7) (i32.const 200000))
            (memory.copy (i32.const 200000) (i32.const 0) (i32.const 50000))))"#;
    for (name, engine) in engines(|config| {
        config.consume_fuel(true);
    }) {
        let (mut store, instance) = instantiate(&engine, wat);
        let memory = instance.get_memory(&store, "m").expect(&name);
        let table = instance.get_table(&store, "t").expect(&name);
        store.set_fuel(1 << 40).expect(&name);
        assert_eq!(call(&mut store, instance, "go", &[]), Ok(vec![]), "{name}");
        let whole = (1 << 40) - store.get_fuel().expect(&name);
        let steps = (0..20).chain((1..40).map(|part| whole * part / 40)).chain(whole.saturating_sub(5)..whole);
        for fuel in steps {
            memory.data_mut(&mut store).fill(0);
            for index in 0..300 {
                table.set(&mut store, index, Val::FuncRef(None)).expect(&name);
            }
            store.set_fuel(fuel).expect(&name);
            assert_eq!(call(&mut store, instance, "go", &[]), Err(TrapCode::OutOfFuel), "{name} {fuel} of {whole}");
            let bytes = memory.data(&store);
            let prefix = bytes.iter().take_while(|byte| **byte == 7).count();
            assert!(bytes[prefix..].iter().all(|byte| *byte == 0), "{name} {fuel}: bytes with a hole");
            let set = |index| bits(&table.get(&store, index).expect("in bounds"));
            let filled = (0..300).take_while(|index| set(*index) == 1).count() as u64;
            assert!((filled..300).all(|index| set(index) == 0), "{name} {fuel}: elements with a hole");
            assert!(prefix == 0 || filled == 300, "{name} {fuel}: in the program's order");
        }
        store.set_fuel(whole).expect(&name);
        assert_eq!(call(&mut store, instance, "go", &[]), Ok(vec![]), "{name}");
        assert!(memory.data(&store)[..250_000].iter().all(|byte| *byte == 7), "{name}");
    }
}

/// A host function that answers with values of other types than it said is an error of the host.
#[test]
fn t12_host_functions_that_lie_about_their_results_are_errors() {
    everywhere(|name, engine| {
        let types = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128, ValType::FUNCREF];
        for said in types {
            for given in types.into_iter().filter(|given| *given != said) {
                let wat = format!(
                    "(module (import \"h\" \"f\" (func $f (result {said}))) (func (export \"go\") (result {said}) (call $f)))"
                );
                let module = Module::new(engine, wat).expect(name);
                let mut linker: Linker<()> = Linker::new(engine);
                linker
                    .func_new("h", "f", FuncType::new([], [said]), move |_, _, results| {
                        results[0] = value(given, 0);
                        Ok(())
                    })
                    .expect(name);
                let mut store = Store::new(engine, ());
                let instance = linker.instantiate(&mut store, &module).expect(name);
                let go = instance.get_func(&store, "go").expect(name);
                let error = go.call(&mut store, &[], &mut [value(said, 0)]).expect_err(name);
                assert!(error.to_string().contains("expected"), "{name} {said} {given}: {error}");
            }
        }
    });
}

/// Every kind of import against every kind of what is given, and near misses of each kind.
#[test]
fn t13_imports_match_in_kind_and_type() {
    let kinds = [
        ("func", "(func)"),
        ("func with a result", "(func (result i32))"),
        ("memory", "(memory 1 2)"),
        ("larger memory", "(memory 2 2)"),
        ("memory without end", "(memory 1)"),
        ("table", "(table 1 2 funcref)"),
        ("externref table", "(table 1 2 externref)"),
        ("longer table", "(table 2 2 funcref)"),
        ("table without end", "(table 1 funcref)"),
        ("global", "(global i32)"),
        ("mutable global", "(global (mut i32))"),
        ("i64 global", "(global i64)"),
        ("funcref global", "(global funcref)"),
        ("externref global", "(global externref)"),
    ];
    let also = [
        ("larger memory", "memory"),
        ("memory", "memory without end"),
        ("larger memory", "memory without end"),
        ("longer table", "table"),
        ("table", "table without end"),
        ("longer table", "table without end"),
    ];
    let definition = |text: &str| match text {
        "(func (result i32))" => "(func (export \"x\") (result i32) (i32.const 1))".to_owned(),
        "(global i32)" => "(global (export \"x\") i32 (i32.const 1))".to_owned(),
        "(global (mut i32))" => "(global (export \"x\") (mut i32) (i32.const 1))".to_owned(),
        "(global i64)" => "(global (export \"x\") i64 (i64.const 1))".to_owned(),
        "(global funcref)" => "(global (export \"x\") funcref (ref.null func))".to_owned(),
        "(global externref)" => "(global (export \"x\") externref (ref.null extern))".to_owned(),
        other => other.replacen(' ', " (export \"x\") ", 1).replace("(func)", "(func (export \"x\"))"),
    };
    everywhere(|name, engine| {
        for (given, given_text) in kinds {
            let (mut store, instance) = instantiate(engine, &format!("(module {})", definition(given_text)));
            let item = instance.get_export(&store, "x").expect(name);
            for (wanted, wanted_text) in kinds {
                let importer = format!("(module (import \"a\" \"x\" {wanted_text}))");
                let module = Module::new(engine, importer).expect(name);
                let linked = Instance::new(&mut store, &module, std::slice::from_ref(&item));
                let fits = given == wanted || also.contains(&(given, wanted));
                assert_eq!(linked.is_ok(), fits, "{name}: {given} for {wanted}");
                if let Err(error) = linked {
                    assert_eq!(error.kind(), ErrorKind::Link, "{name}: {given} for {wanted}: {error}");
                }
            }
        }
    });
}

/// References that nobody set are null, and never the first function.
#[test]
fn t14_references_nobody_set_are_null() {
    let wat = r#"(module (func $zero (export "zero")) (table $f 3 funcref) (table $x 3 externref)
        (global $gf (mut funcref) (ref.null func)) (global $gx (mut externref) (ref.null extern))
        (elem $e funcref (ref.null func) (ref.func $zero)) (type $t (func))
        (func (export "locals") (result i32) (local funcref externref)
            (i32.add (ref.is_null (local.get 0)) (ref.is_null (local.get 1))))
        (func (export "tables") (result i32)
            (drop (table.grow $f (ref.null func) (i32.const 5)))
            (i32.add (ref.is_null (table.get $f (i32.const 7))) (ref.is_null (table.get $x (i32.const 2)))))
        (func (export "globals") (result i32) (i32.add (ref.is_null (global.get $gf)) (ref.is_null (global.get $gx))))
        (func (export "segment") (result i32)
            (table.init $f $e (i32.const 0) (i32.const 0) (i32.const 2))
            (i32.add (ref.is_null (table.get $f (i32.const 0))) (i32.eqz (ref.is_null (table.get $f (i32.const 1))))))
        (func (export "call") (call_indirect $f (type $t) (i32.const 2)))
        (func (export "default") (result funcref externref) (local funcref externref) (local.get 0) (local.get 1)))"#;
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, wat);
        for _ in 0..3 {
            for export in ["locals", "globals", "tables", "segment"] {
                assert_eq!(call(&mut store, instance, export, &[]), numbers([2]), "{name} {export}");
            }
            let null = Err(TrapCode::UninitializedElement);
            assert_eq!(call(&mut store, instance, "call", &[]), null, "{name}");
            assert_eq!(call(&mut store, instance, "default", &[]), numbers([0, 0]), "{name}");
        }
    });
}

/// Branches out of blocks with operands left over drop those and keep the block's own; a host call
/// leaves its caller's operands as they were.
#[test]
fn t15_branches_and_host_calls_keep_the_height_of_the_stack() {
    let wat = r#"(module (import "h" "f" (func $h (param i32 i32) (result i32 i32 i32)))
        (func (export "branch") (param i32) (result i32 i64)
            (i32.const 1000)
            (block $b (result i32 i64)
                (i32.const 5) (i32.const 6) (i64.const 7)
                (block $c (param i32 i32 i64) (result i32 i64)
                    (i32.const 9) (i64.const 8) (br_table $b $c (local.get 0)))
                (br $b))
            (drop) (i32.add) (i64.const 3))
        (func (export "return") (param i32) (result i32)
            (i32.const 1) (i32.const 2) (loop (result i32)
                (i32.const 3) (i32.const 4) (return (local.get 0)))
            (drop) (drop))
        (func (export "host") (result i32)
            (i32.const 100) (i32.const 20) (i32.const 3) (i32.const 4) (call $h)
            (i32.add) (i32.add) (i32.add) (i32.add))
        (func (export "fall") (param i32) (result i32)
            (i32.const 50) (if (param i32) (result i32) (local.get 0) (then (i32.const 1) (i32.add)) (else (drop) (i32.const 9)))))"#;
    everywhere(|name, engine| {
        let module = Module::new(engine, wat).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker.func_wrap("h", "f", |a: i32, b: i32| (a * 10, b * 100, 5000)).expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        for _ in 0..4 {
            for arg in [0, 1, 2] {
                assert_eq!(call(&mut store, instance, "branch", &[Val::I32(arg)]), numbers([1009, 3]), "{name} {arg}");
            }
            assert_eq!(call(&mut store, instance, "return", &[Val::I32(77)]), numbers([77]), "{name}");
            assert_eq!(call(&mut store, instance, "host", &[]), numbers([100 + 20 + 30 + 400 + 5000]), "{name}");
            assert_eq!(call(&mut store, instance, "fall", &[Val::I32(1)]), numbers([51]), "{name}");
            assert_eq!(call(&mut store, instance, "fall", &[Val::I32(0)]), numbers([9]), "{name}");
        }
    });
}

/// A trap at every depth, with operands on the stack, and then a call that must not see any of it.
#[test]
fn t16_calls_after_a_trap_at_any_depth_start_clean() {
    let wat = r#"(module (import "h" "again" (func $again (param i32)))
        (func $deep (export "deep") (param i32 i64) (result i64)
            (i64.const 0x5555) (i64.const 0x6666)
            (if (result i64) (i32.eqz (local.get 0))
                (then (i64.div_s (local.get 1) (i64.const 0)))
                (else (call $deep (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.const 1)))))
            (i64.add) (i64.add))
        (func (export "through") (param i32) (call $again (local.get 0)))
        (func (export "clean") (param i32) (result i32 i64 f64 i32) (local i64 f64 i32)
            (local.get 0) (local.get 1) (local.get 2) (local.get 3)))"#;
    everywhere(|name, engine| {
        let module = Module::new(engine, wat).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker
            .func_wrap("h", "again", |mut caller: Caller<'_, ()>, depth: i32| {
                let deep = caller.get_export("deep").and_then(Extern::into_func).expect("exported");
                let result = deep.call(&mut caller, &[Val::I32(depth), Val::I64(1)], &mut [Val::I64(0)]);
                // Every other time the host swallows the guest's trap, and its own caller goes on.
                if depth % 2 == 0 { Ok(()) } else { result }
            })
            .expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        for depth in (0..60).chain([200, 500]) {
            let clean = |store: &mut Store<()>| {
                assert_eq!(
                    call(store, instance, "clean", &[Val::I32(depth)]),
                    numbers([depth as u128, 0, 0, 0]),
                    "{name} {depth}"
                );
            };
            let by_zero = Err(TrapCode::IntegerDivideByZero);
            let args = [Val::I32(depth), Val::I64(i64::MIN)];
            assert_eq!(call(&mut store, instance, "deep", &args), by_zero, "{name} {depth}");
            clean(&mut store);
            let expected = if depth % 2 == 0 { Ok(vec![]) } else { by_zero };
            assert_eq!(call(&mut store, instance, "through", &[Val::I32(depth)]), expected, "{name} {depth}");
            clean(&mut store);
        }
    });
}

/// Traps of every mechanism on many threads at once, with stores dropped in every order and on other threads.
#[test]
fn t17_threads_trap_and_drop_in_any_order() {
    let wat = r#"(module (memory 1)
        (func (export "load") (result i32) (i32.load (i32.const -4)))
        (func (export "store") (result i32) (i32.store (i32.const 65536) (i32.const 1)) (i32.const 0))
        (func (export "divide") (param) (result i32) (i32.div_s (i32.const 1) (i32.load (i32.const 0))))
        (func (export "unreachable") (result i32) (unreachable))
        (func $r (export "recurse") (result i32) (i32.add (call $r) (call $r)))
        (func (export "fine") (result i32) (i32.const 11)))"#;
    let rows = [
        ("load", Err(TrapCode::MemoryOutOfBounds)),
        ("store", Err(TrapCode::MemoryOutOfBounds)),
        ("divide", Err(TrapCode::IntegerDivideByZero)),
        ("unreachable", Err(TrapCode::Unreachable)),
        ("recurse", Err(TrapCode::StackOverflow)),
        ("fine", numbers([11])),
    ];
    everywhere(|name, engine| {
        let module = Module::new(engine, wat).expect(name);
        let (module, rows) = (&module, &rows);
        let stores = std::thread::scope(|scope| {
            let run = |thread: usize| {
                let mut kept = Vec::new();
                for turn in 0..12 {
                    let mut store = Store::new(engine, ());
                    let instance = Instance::new(&mut store, module, &[]).expect("links");
                    for step in 0..rows.len() {
                        let (export, expected) = &rows[(step + thread + turn) % rows.len()];
                        assert_eq!(call(&mut store, instance, export, &[]), *expected, "{name} {export}");
                    }
                    kept.push((store, instance));
                    if turn % 3 == 2 {
                        drop(kept.remove(turn % kept.len()));
                    }
                }
                kept
            };
            let threads: Vec<_> = (0..12).map(|thread| scope.spawn(move || run(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        // Their threads are gone; the stores run here, and are dropped on yet another thread.
        for (mut store, instance) in stores {
            for (export, expected) in rows {
                assert_eq!(call(&mut store, instance, export, &[]), *expected, "{name} {export}");
            }
            std::thread::scope(|scope| scope.spawn(move || drop(store)).join().expect("drops"));
        }
    });
}

/// Constant expressions of every kind yield what they say; ill-typed and half ones are refused.
#[test]
fn t18_t19_constant_expressions_are_checked_and_evaluated() {
    let imports = "(import \"a\" \"i\" (global $i i32)) (import \"a\" \"f\" (global $f funcref))";
    let right = [
        ("i32", "(i32.const -5)", u128::from(-5_i32 as u32)),
        ("i32", "(global.get $i)", 77),
        ("i64", "(i64.const -5)", u128::from(-5_i64 as u64)),
        ("f32", "(f32.const nan:0x200001)", 0x7fa0_0001),
        ("f64", "(f64.const -0)", 1 << 63),
        ("v128", "(v128.const i64x2 1 2)", 2 << 64 | 1),
        ("funcref", "(ref.func 0)", 1),
        ("funcref", "(ref.null func)", 0),
        ("funcref", "(global.get $f)", 0),
        ("externref", "(ref.null extern)", 0),
    ];
    let wrong = [
        ("i32", "(i64.const 1)"),
        ("i32", ""),
        ("i32", "(i32.const 1) (i32.const 2)"),
        ("i32", "(global.get 9)"),
        ("i32", "(global.get $f)"),
        ("i32", "(i32.load (i32.const 0))"),
        ("i32", "(call 0)"),
        ("i32", "(block (result i32) (i32.const 1))"),
        ("i32", "(unreachable)"),
        ("i32", "(i32.const 1) (drop) (i32.const 1)"),
        ("funcref", "(ref.func 5)"),
        ("funcref", "(ref.null extern)"),
        ("v128", "(i32.const 0)"),
    ];
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        let of = |content| GlobalType { content, mutable: false };
        let number = Global::new(&mut store, of(ValType::I32), Val::I32(77)).expect(name);
        let func = Global::new(&mut store, of(ValType::FUNCREF), Val::FuncRef(None)).expect(name);
        for (ty, expr, expected) in right {
            let wat = format!("(module {imports} (func) (global (export \"g\") {ty} {expr}))");
            let module = Module::new(engine, wat).expect(name);
            let instance = Instance::new(&mut store, &module, &[number.into(), func.into()]).expect(name);
            let global = instance.get_global(&store, "g").expect(name);
            assert_eq!(bits(&global.get(&store)), expected, "{name} {expr}");
        }
        for (ty, expr) in wrong {
            let wat = format!("(module {imports} (memory 1) (func) (global (export \"g\") {ty} {expr}))");
            let error = Module::new(engine, wat).expect_err(expr);
            let kinds = [ErrorKind::Invalid, ErrorKind::Malformed];
            assert!(kinds.contains(&error.kind()), "{name} {expr}: {error:?}");
        }
    });
}

/// Every byte of a module changed to every value of a set: it is refused, or links and runs or fails cleanly.
#[test]
fn t18_t19_changed_bytes_are_refused_or_harmless() {
    let wat = r#"(module (memory 1) (table 4 funcref) (global $g i32 (i32.const 3)) (global (mut f64) (f64.const 1))
        (type $t (func (param i32) (result i32)))
        (func $f (export "f") (type $t) (local i64 f32)
            (block (result i32) (br_if 0 (i32.const 5) (local.get 0)) (i32.load offset=4) (call_indirect (type $t) (i32.const 1))))
        (elem (i32.const 1) $f) (data (i32.const 8) "abc") (data "passive"))"#;
    let binary = wat::parse_str(wat).expect("text is right");
    for (name, engine) in engines(|_| {}).into_iter().filter(|(name, _)| name.contains("Guard")) {
        let (mut accepted, mut refused) = (0, 0);
        for at in 8..binary.len() {
            for to in [0, 1, 2, 0x0b, 0x20, 0x3f, 0x40, 0x41, 0x7b, 0x7f, 0x80, 0xff, binary[at] ^ 1] {
                let mut bytes = binary.clone();
                bytes[at] = to;
                let Ok(module) = Module::from_binary(&engine, &bytes) else {
                    refused += 1;
                    continue;
                };
                accepted += 1;
                let mut store = Store::new(&engine, ());
                store.set_limits(StoreLimits {
                    memory_bytes: 1 << 24,
                    table_elements: 1 << 16,
                    ..StoreLimits::default()
                });
                store.set_deadline(std::time::Duration::from_millis(200));
                let Ok(instance) = Instance::new(&mut store, &module, &[]) else { continue };
                let Some(func) = instance.get_func(&store, "f") else { continue };
                let ty = func.ty(&store);
                let args: Vec<Val> = ty.params().iter().map(|ty| Val::default_for(*ty)).collect();
                // Whatever it computes, it ends by results or by a trap.
                let _ = outcome(&mut store, func, &args);
            }
        }
        assert!(accepted > 100 && refused > 100, "{name}: {accepted} accepted, {refused} refused");
    }
}
