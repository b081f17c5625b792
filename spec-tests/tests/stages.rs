//! The life of a module, step by step: what each step makes of one small module, as one golden.
//!
//! ARCHITECTURE.md draws the steps; `stages/life.txt` shows them. `BLESS=1` writes it anew. The module is
//! compiled for the machine it runs on, but CLIF before optimisation is the same on each.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use aura_runtime::{Bounds, Config, Engine, Linker, Module, OptLevel, Store, Strategy, inspect};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stages").join(name)
}

/// An engine with every setting said that changes an artefact.
fn engine(strategy: Strategy) -> Engine {
    let mut config = Config::new();
    config.strategy(strategy).bounds(Bounds::Explicit).opt_level(OptLevel::None).consume_fuel(true);
    Engine::new(&config).expect("an engine")
}

fn section(text: &mut String, step: &str, artefact: &str) {
    let _ = write!(text, "=== {step}\n\n{}\n\n", artefact.trim_end());
}

/// Bytes in rows of sixteen.
fn hex(bytes: &[u8]) -> String {
    let row = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(row).collect::<Vec<_>>().join("\n")
}

fn imports_and_exports(module: &Module) -> String {
    let imports = module.imports().map(|i| format!("import {}.{}: {:?}\n", i.module(), i.name(), i.ty()));
    let exports = module.exports().map(|e| format!("export {}: {:?}\n", e.name(), e.ty()));
    imports.chain(exports).collect()
}

/// Links, calls, and says what came of it: results, fuel, a trap.
fn run(engine: &Engine, module: &Module) -> String {
    let mut linker: Linker<Vec<i32>> = Linker::new(engine);
    linker
        .func_wrap("host", "scale", |mut caller: aura_runtime::Caller<'_, Vec<i32>>, x: i32| {
            caller.data_mut().push(x);
            x * 100
        })
        .expect("a host function");
    let mut store = Store::new(engine, Vec::new());
    store.set_fuel(10_000).expect("fuel is on");
    let instance = linker.instantiate(&mut store, module).expect("it links");
    let memory = instance.get_memory(&store, "memory").expect("a memory");
    let mut text = format!("memory {} bytes, at 8: {}\n", memory.data(&store).len(), hex(&memory.data(&store)[8..12]));
    let sum = instance.get_typed_func::<(i32, i32), i32>(&store, "sum").expect("the export");
    for (from, count) in [(8, 4), (65_534, 4)] {
        let outcome = match sum.call(&mut store, (from, count)) {
            Ok(result) => format!("value {result}"),
            Err(error) => format!("error {error}"),
        };
        let left = store.get_fuel().expect("fuel is on");
        let _ = writeln!(text, "sum({from}, {count}) = {outcome}; host was given {:?}; fuel left {left}", store.data());
    }
    text
}

fn life() -> String {
    let text = fs::read_to_string(file("life.wat")).expect("the module's text");
    let bytes = wat::parse_str(&text).expect("the module's text is well formed");
    let jit = engine(Strategy::Jit);
    let module = Module::from_binary(&jit, &bytes).expect("the module is valid");
    let mut life = String::new();
    section(&mut life, "bytes", &hex(&bytes));
    section(&mut life, "bytes -> Module: sections", &inspect::sections(&module));
    section(&mut life, "bytes -> Module: imports and exports", &imports_and_exports(&module));
    section(&mut life, "body -> Code", &inspect::code_text(&module, 0).expect("the function lowers"));
    section(&mut life, "Code -> CLIF", &inspect::clif_text(&module, 0).expect("the function compiles"));
    section(&mut life, "Module -> instance layout", &inspect::vmctx_text(&module));
    for strategy in [Strategy::Interpreter, Strategy::Jit] {
        let engine = engine(strategy);
        let module = Module::from_binary(&engine, &bytes).expect("the module is valid");
        section(&mut life, &format!("link, call -> values or Trap: {strategy:?}"), &run(&engine, &module));
    }
    life
}

#[test]
fn every_step_makes_what_it_made() {
    let made = life();
    let golden = file("life.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &made).expect("the golden is written");
    }
    let expected = fs::read_to_string(&golden).expect("the golden; BLESS=1 makes it");
    for (number, (made, expected)) in made.lines().zip(expected.lines()).enumerate() {
        assert_eq!(made, expected, "line {} of stages/life.txt; BLESS=1 renews it", number + 1);
    }
    assert_eq!(made.lines().count(), expected.lines().count(), "lines of stages/life.txt; BLESS=1 renews it");
}

/// The two tiers ran the same: what they printed after the instance's layout is equal.
#[test]
fn both_tiers_come_to_the_same() {
    // A backtrace says which tier a frame was in.
    let made = life().replace("(compiled)", "").replace("(interpreted)", "");
    let mut runs = made.split("=== link, call").skip(1).map(|run| run.split_once('\n').expect("a heading").1);
    assert_eq!(runs.next(), runs.next());
}
