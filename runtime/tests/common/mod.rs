//! What the runtime's tests share: every engine and bounds mode, and one-line instances.

use aura_runtime::{Bounds, Config, Engine, Instance, Linker, Module, OptLevel, Store, Strategy};

/// A name for messages, and an engine of that kind.
pub fn engines(configure: impl Fn(&mut Config)) -> Vec<(String, Engine)> {
    let mut engines = with_baseline(&configure);
    for strategy in [Strategy::Interpreter, Strategy::Jit, Strategy::Auto] {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            for level in [OptLevel::None, OptLevel::Speed] {
                if level == OptLevel::None && strategy != Strategy::Jit {
                    continue;
                }
                let mut config = Config::new();
                config.strategy(strategy).bounds(bounds).opt_level(level).tier_up_threshold(2).compile_threads(0);
                configure(&mut config);
                let engine = Engine::new(&config).expect("this machine has every tier");
                engines.push((format!("{strategy:?}/{bounds:?}/{level:?}"), engine));
            }
        }
    }
    engines
}

/// Those in which cells of the interpreter get machine code: at the first entry, or between cells as they are and what the compiler makes.
fn with_baseline(configure: impl Fn(&mut Config)) -> Vec<(String, Engine)> {
    let mut engines = Vec::new();
    for (strategy, threshold) in [(Strategy::Interpreter, 0), (Strategy::Auto, 1)] {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let mut config = Config::new();
            config.strategy(strategy).bounds(bounds).tier_up_threshold(3).compile_threads(0);
            config.interpreter_jumps(true).baseline(true).baseline_threshold(threshold);
            configure(&mut config);
            let engine = Engine::new(&config).expect("this machine has every tier");
            engines.push((format!("{strategy:?}/{bounds:?}/baseline"), engine));
        }
    }
    engines
}

/// Runs `test` on every engine and bounds mode.
#[allow(dead_code, reason = "not every test file needs the default configuration")]
pub fn everywhere(test: impl Fn(&str, &Engine)) {
    for (name, engine) in engines(|_| {}) {
        test(&name, &engine);
    }
}

/// Runs `test` on every engine and bounds mode, configured so.
#[allow(dead_code, reason = "not every test file needs another configuration")]
pub fn everywhere_with(configure: impl Fn(&mut Config), test: impl Fn(&str, &Engine)) {
    for (name, engine) in engines(configure) {
        test(&name, &engine);
    }
}

/// A store with an instance of `wat` that imports nothing.
#[allow(dead_code, reason = "not every test file needs it")]
pub fn instantiate(engine: &Engine, wat: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine, wat).expect("the test's module is valid");
    let mut store = Store::new(engine, ());
    let instance = Linker::new(engine).instantiate(&mut store, &module).expect("the test's module links");
    (store, instance)
}
