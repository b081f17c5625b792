//! Instantiations that fail half way: at an import, a memory, a table, a segment, the start function.
//! The store stays usable, nobody else's bytes change, and nothing is left behind.

mod common;
#[path = "common/outcome.rs"]
mod outcome;

use aura_runtime::{Bounds, Config, Engine, ErrorKind, Instance, Linker, Module, Store, StoreLimits, Strategy, Val};
use common::{everywhere, instantiate};
use outcome::{Outcome, bits, outcome};

fn call(store: &mut Store<()>, instance: Instance, export: &str, args: &[Val]) -> Outcome {
    let func = instance.get_func(&*store, export).unwrap_or_else(|| panic!("{export} is exported"));
    outcome(store, func, args)
}

fn numbers(values: impl IntoIterator<Item = u128>) -> Outcome {
    Ok(values.into_iter().collect())
}

/// Memory and table that failing modules are given, with something in them.
const CANARY: &str = r#"(module (memory (export "m") 1) (table (export "t") 4 funcref) (data (i32.const 100) "canary")
    (func (export "at") (param i32) (result i32) (i32.load (local.get 0))))"#;

/// A module that fails at each step, and how.
fn steps() -> [(&'static str, String, ErrorKind); 8] {
    let imports = r#"(import "c" "m" (memory 1)) (import "c" "t" (table 4 funcref))"#;
    [
        ("import", format!("(module {imports} (import \"c\" \"none\" (func)))"), ErrorKind::Link),
        ("type", "(module (import \"c\" \"m\" (table 1 funcref)))".to_owned(), ErrorKind::Link),
        ("memory", "(module (memory 65536))".to_owned(), ErrorKind::Resource),
        ("table", "(module (table 1000000 funcref))".to_owned(), ErrorKind::Resource),
        ("elements", format!("(module {imports} (func $f) (elem (i32.const 4) $f))"), ErrorKind::Trap),
        ("data", format!("(module {imports} (data (i32.const 65533) \"long\"))"), ErrorKind::Trap),
        ("start", format!("(module {imports} (start $f) (func $f unreachable))"), ErrorKind::Trap),
        (
            "own",
            "(module (memory 1) (data (i32.const 0) \"secret\") (func $f unreachable) (start $f))".to_owned(),
            ErrorKind::Trap,
        ),
    ]
}

/// Lets a module fail at each step, `turns` times, and looks at what was there before.
fn fail_at_every_step(name: &str, engine: &Engine, modules: &[Module], turns: usize) {
    let (mut store, instance) = instantiate(engine, CANARY);
    store.set_limits(StoreLimits {
        memory_bytes: 1 << 30,
        table_elements: 100_000,
        instances: 2_000,
        ..StoreLimits::default()
    });
    let mut linker: Linker<()> = Linker::new(engine);
    linker.instance(&store, "c", instance).expect(name);
    for turn in 0..turns {
        for ((step, _, kind), module) in steps().iter().zip(modules) {
            let error = linker.instantiate(&mut store, module).expect_err(step);
            assert_eq!(error.kind(), *kind, "{name} {step} {turn}: {error}");
        }
    }
    let table = instance.get_table(&store, "t").expect(name);
    assert!((0..4).all(|i| bits(&table.get(&store, i).expect(name)) == 0), "{name}: no element was written");
    let bytes = instance.get_memory(&store, "m").expect(name).data(&store);
    assert_eq!(&bytes[100..106], b"canary", "{name}");
    assert!(bytes[..100].iter().chain(&bytes[106..]).all(|byte| *byte == 0), "{name}: no other byte was written");
    let word = u32::from_le_bytes(*b"cana");
    assert_eq!(call(&mut store, instance, "at", &[Val::I32(100)]), numbers([word.into()]), "{name}");
}

fn modules(engine: &Engine) -> Vec<Module> {
    steps().iter().map(|(step, wat, _)| Module::new(engine, wat).expect(step)).collect()
}

#[test]
fn t4_failed_instantiations_leave_nothing_behind() {
    everywhere(|name, engine| fail_at_every_step(name, engine, &modules(engine), 40));
}

/// Ten thousand of them, in the mode where one costs least: no mapping is left over.
#[test]
fn t4_ten_thousand_failed_instantiations_leave_no_mapping_behind() {
    let mut config = Config::new();
    config.strategy(Strategy::Interpreter).bounds(Bounds::Explicit);
    let engine = Engine::new(&config).expect("an engine");
    let modules = modules(&engine);
    let mappings = || std::fs::read_to_string("/proc/self/maps").expect("this system's mappings").lines().count();
    fail_at_every_step("warm up", &engine, &modules, 25);
    let before = mappings();
    for store in 0..50 {
        fail_at_every_step(&format!("store {store}"), &engine, &modules, 25);
    }
    // Threads of other tests come and go.
    let after = mappings();
    assert!(after < before + 100, "{before} mappings before, {after} after ten thousand failures");
}

/// What an instance wrote before its start function trapped is what the specification says: functions
/// it left in a table of another can still be called.
#[test]
fn t4_functions_of_a_failed_instance_stay_callable() {
    everywhere(|name, engine| {
        let (mut store, owner) = instantiate(
            engine,
            r#"(module (table (export "t") 2 funcref) (type $t (func (result i32)))
            (func (export "go") (result i32) (call_indirect (type $t) (i32.const 0))))"#,
        );
        let mut linker: Linker<()> = Linker::new(engine);
        linker.instance(&store, "o", owner).expect(name);
        {
            let failing = r#"(module (import "o" "t" (table 2 funcref)) (memory 1) (data (i32.const 0) "\2a")
                (func $f (result i32) (i32.load (i32.const 0))) (elem (i32.const 0) $f)
                (func $s unreachable) (start $s))"#;
            let module = Module::new(engine, failing).expect(name);
            linker.instantiate(&mut store, &module).expect_err(name);
        }
        for _ in 0..4 {
            assert_eq!(call(&mut store, owner, "go", &[]), numbers([42]), "{name}");
        }
    });
}
