//! Runs every guest of `examples/guests` on each engine with each kind of bounds check.
//!
//! `*.expected` holds a command, what it prints and its exit code; `exports.calls` holds calls of
//! exported functions with their results. Both are read here, so that adding a case is adding a
//! file or a line.

use std::fs;
use std::path::{Path, PathBuf};

use aura_examples::run_command;
use aura_runtime::{
    Bounds, Caller, Config, Engine, GrantSpec, Instance, Linker, Module, Store, Strategy, Subject, Val, ValType,
};
use aura_wasi::WasiCtx;

/// The guests name their data from the root of the repository.
fn enter_root() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root).expect("the root of the repository");
}

/// Each engine with each kind of bounds check, under its name.
fn engines() -> Vec<(String, Engine)> {
    let mut engines = Vec::new();
    for strategy in [Strategy::Interpreter, Strategy::Jit, Strategy::Auto] {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let mut config = Config::new();
            config.strategy(strategy).bounds(bounds).wasm_memory64(true).wasm_multi_memory(true).wasm_threads(true);
            let engine = Engine::new(&config).expect("an engine");
            engines.push((format!("{strategy:?}, {bounds:?}"), engine));
        }
    }
    engines
}

fn files_ending(suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("examples/guests").expect("the guests");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(suffix));
    files.sort();
    assert!(!files.is_empty(), "no file ends with {suffix}");
    files
}

/// `$ aura run [--grant G]... FILE [ARGS...]`, what it prints, and `exit N`.
struct Case {
    name: String,
    grants: Vec<GrantSpec>,
    /// The program's file first.
    args: Vec<String>,
    stdout: String,
    exit_code: i32,
}

impl Case {
    fn read(path: &Path) -> Self {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).expect(&name);
        let (command, mut stdout) = text.split_once('\n').expect(&name);
        let mut exit_code = 0;
        if let Some((before, code)) = stdout.trim_end().rsplit_once("exit ").filter(|(before, _)| ends_line(before)) {
            exit_code = code.parse().expect(&name);
            stdout = before;
        }
        let mut words = command.strip_prefix("$ aura run").expect(&name).split_whitespace().peekable();
        let mut grants = Vec::new();
        while words.next_if_eq(&"--grant").is_some() {
            grants.push(words.next().expect(&name).parse().expect(&name));
        }
        let args = words.map(str::to_owned).collect();
        Self { name, grants, args, stdout: stdout.to_owned(), exit_code }
    }
}

fn ends_line(text: &str) -> bool {
    text.is_empty() || text.ends_with('\n')
}

#[test]
fn commands_print_what_is_expected() {
    enter_root();
    let cases: Vec<Case> = files_ending(".expected").iter().map(|path| Case::read(path)).collect();
    for (engine_name, engine) in engines() {
        for case in &cases {
            let module = Module::from_file(&engine, &case.args[0]).expect(&case.name);
            let outcome = run_command(&engine, &module, &case.grants, &case.args);
            let outcome = outcome.unwrap_or_else(|error| panic!("{} on {engine_name}: {error}", case.name));
            assert_eq!(outcome.stdout, case.stdout, "{} on {engine_name}: {}", case.name, outcome.stderr);
            assert_eq!(outcome.exit_code, case.exit_code, "{} on {engine_name}", case.name);
        }
    }
}

/// `MODULE FUNCTION(ARGUMENTS) = RESULT`
struct Call<'a> {
    module: &'a str,
    function: &'a str,
    argument: Option<i32>,
    result: &'a str,
}

impl<'a> Call<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (call, result) = line.split_once('=')?;
        let (module, call) = call.trim().split_once(' ')?;
        let (function, argument) = call.strip_suffix(')')?.split_once('(')?;
        let argument = if argument.is_empty() { None } else { Some(argument.parse().ok()?) };
        Some(Self { module, function, argument, result: result.trim() })
    }
}

#[test]
fn exports_return_what_is_expected() {
    enter_root();
    let text = fs::read_to_string("examples/guests/exports.calls").expect("the calls");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let calls: Vec<Call<'_>> = lines.map(|line| Call::parse(line).expect(line)).collect();
    for (engine_name, engine) in engines() {
        for of_module in calls.chunk_by(|a, b| a.module == b.module) {
            let name = of_module[0].module;
            let module = Module::from_file(&engine, format!("examples/guests/{name}")).expect(name);
            let mut store = Store::new(&engine, ());
            let instance = Linker::new(&engine).instantiate(&mut store, &module).expect(name);
            for call in of_module {
                let result = called(&mut store, instance, call);
                assert_eq!(result, call.result, "{name} {} on {engine_name}", call.function);
            }
        }
    }
}

/// Calls the function and writes its result as the file does.
fn called(store: &mut Store<()>, instance: Instance, call: &Call<'_>) -> String {
    let func = instance.get_func(&mut *store, call.function).expect(call.function);
    let args: Vec<Val> = call.argument.map(Val::I32).into_iter().collect();
    let mut results: Vec<Val> = func.ty(&*store).results().iter().map(|ty| zero(*ty)).collect();
    func.call(&mut *store, &args, &mut results).expect(call.function);
    match results.first() {
        None => String::new(),
        Some(Val::I32(value)) => value.cast_unsigned().to_string(),
        Some(Val::I64(value)) => value.to_string(),
        Some(Val::F32(bits)) => f32::from_bits(*bits).to_string(),
        Some(Val::F64(bits)) => f64::from_bits(*bits).to_string(),
        Some(other) => panic!("{}: {other:?}", call.function),
    }
}

fn zero(ty: ValType) -> Val {
    match ty {
        ValType::I32 => Val::I32(0),
        ValType::I64 => Val::I64(0),
        ValType::F32 => Val::F32(0),
        ValType::F64 => Val::F64(0),
        other => panic!("the guests return no {other:?}"),
    }
}

#[test]
fn wordcount_reads_what_the_host_wrote() {
    enter_root();
    let text = fs::read("examples/data/skill.md").expect("the data");
    for (engine_name, engine) in engines() {
        let module = Module::from_file(&engine, "examples/guests/wordcount.wasm").expect("the module");
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module).expect("an instance");
        let input = instance.get_typed_func::<(), u32>(&mut store, "input").expect("input");
        let address = input.call(&mut store, ()).expect("an address");
        let memory = instance.get_memory(&mut store, "memory").expect("memory");
        memory.write(&mut store, address as usize, &text).expect("it fits");
        for (name, expected) in [("words", 80), ("lines", 24), ("longest", 52)] {
            let count = instance.get_typed_func::<u32, u32>(&mut store, name).expect(name);
            assert_eq!(count.call(&mut store, text.len() as u32).expect(name), expected, "{name} on {engine_name}");
        }
        let words = instance.get_typed_func::<u32, u32>(&mut store, "words").expect("words");
        let error = words.call(&mut store, u32::MAX).expect_err("more than the buffer holds");
        assert!(error.trap().is_some(), "{engine_name}: {error}");
    }
}

/// A program of a compiler for collected objects. It prints through one function of the host, a UTF-16 unit at a time.
#[test]
fn collected_prints_what_is_expected() {
    enter_root();
    let expected = fs::read_to_string("examples/guests/collected.printed").expect("what it prints");
    for (engine_name, engine) in engines() {
        let module = Module::from_file(&engine, "examples/guests/collected.wasm").expect("the module");
        let mut linker = Linker::new(&engine);
        let print = |mut caller: Caller<'_, Vec<u16>>, unit: u32| caller.data_mut().push(unit as u16);
        linker.func_wrap("spectest", "print_char", print).expect("the function");
        let mut store = Store::new(&engine, Vec::new());
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("the start");
        start.call(&mut store, ()).expect("it ends");
        assert_eq!(String::from_utf16_lossy(store.data()), expected, "on {engine_name}");
    }
}

#[test]
fn workers_on_four_threads_find_the_primes_of_one() {
    for (engine_name, engine) in engines() {
        for threads in [1, 4] {
            let primes = aura_examples::workers::run(&engine, threads).expect(&engine_name);
            assert_eq!(primes.sums, vec![1_709_600_813; threads as usize], "{engine_name}");
            assert_eq!(primes.by_last_digit, [0, 4478, 1, 4517, 0, 1, 0, 4503, 0, 4484], "{engine_name}");
        }
    }
}

/// What WASI preview 1 answers without a grant.
mod blind {
    pub const SUCCESS: u32 = 0;
    pub const BADF: u32 = 8;
    pub const NOTCAPABLE: u32 = 76;

    /// Functions that say "there is nothing", so that start-up code goes on.
    pub const QUIET: [&str; 4] = ["args_get", "args_sizes_get", "environ_get", "environ_sizes_get"];
}

#[test]
fn a_blind_guest_learns_nothing_from_any_function() {
    enter_root();
    for (engine_name, engine) in engines() {
        let module = Module::from_file(&engine, "examples/guests/probe.wat").expect("the probe");
        let names: Vec<String> = module.imports().map(|import| import.name().to_owned()).collect();
        assert_eq!(names.len(), 46);
        let mut linker = Linker::new(&engine);
        linker.host_functions(aura_wasi::FUNCTIONS, |ctx: &mut WasiCtx| ctx).expect("WASI");
        let mut ctx = WasiCtx::new();
        ctx.set_args(vec!["probe".into(), "a secret".into()]).expect("arguments");
        let mut store = Store::new(&engine, ctx);
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let run = instance.get_typed_func::<(), u32>(&mut store, "run").expect("run");
        assert_eq!(run.call(&mut store, ()).expect("it ends"), 0, "functions disclosed something on {engine_name}");
        let errno = instance.get_typed_func::<u32, u32>(&mut store, "errno").expect("errno");
        for (index, name) in (0..).zip(names.iter().take(45)) {
            let expected = match name.as_str() {
                name if blind::QUIET.contains(&name) => blind::SUCCESS,
                "fd_prestat_get" => blind::BADF,
                _ => blind::NOTCAPABLE,
            };
            assert_eq!(errno.call(&mut store, index).expect(name), expected, "{name} on {engine_name}");
        }
    }
}

#[test]
fn a_granted_guest_learns_only_what_was_granted() {
    enter_root();
    for (engine_name, engine) in engines() {
        let module = Module::from_file(&engine, "examples/guests/probe.wat").expect("the probe");
        let disclosed = |grants: &[&str]| disclosed_with(&engine, &module, grants);
        assert_eq!(disclosed(&["clock"]), ["clock_res_get", "clock_time_get", "poll_oneoff"], "{engine_name}");
        assert_eq!(disclosed(&["random"]), ["random_get"], "{engine_name}");
        assert_eq!(disclosed(&["args"]), ["args_sizes_get", "args_get"], "{engine_name}");
        assert_eq!(disclosed(&["env=A=b"]), ["environ_sizes_get", "environ_get"], "{engine_name}");
    }
}

/// The functions that disclosed something to the probe that was given `grants`.
fn disclosed_with(engine: &Engine, module: &Module, grants: &[&str]) -> Vec<String> {
    let mut ctx = WasiCtx::new();
    ctx.set_args(vec!["probe".into(), "a secret".into()]).expect("arguments");
    let mut store = Store::new(engine, ctx);
    for text in grants {
        let grant = store.grant(Subject::Store, text.parse().expect(text)).expect(text);
        store.data_mut().attach(grant.capability().clone()).expect(text);
    }
    let mut linker = Linker::new(engine);
    linker.host_functions(aura_wasi::FUNCTIONS, |ctx: &mut WasiCtx| ctx).expect("WASI");
    let instance = linker.instantiate(&mut store, module).expect("an instance");
    instance.get_typed_func::<(), u32>(&mut store, "run").expect("run").call(&mut store, ()).expect("it ends");
    let disclosed = instance.get_typed_func::<u32, u32>(&mut store, "disclosed").expect("disclosed");
    let names = module.imports().map(|import| import.name().to_owned()).take(45);
    (0..)
        .zip(names)
        .filter(|(index, name)| disclosed.call(&mut store, *index).expect(name) != 0)
        .map(|(_, name)| name)
        .collect()
}

#[test]
fn guests_export_what_the_readme_says() {
    enter_root();
    let readme = fs::read_to_string("examples/guests/README.md").expect("the table");
    let (_, engine) = engines().remove(0);
    for path in files_ending(".wasm") {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let module = Module::from_file(&engine, &path).expect(&name);
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{name}`"))).expect(&name);
        let bytes = fs::metadata(&path).expect(&name).len().to_string();
        assert!(row.replace(',', "").contains(&format!("| {bytes} |")), "{name} has {bytes} bytes: {row}");
        assert_eq!(module.imports().count() == 0, row.contains("no import"), "{row}");
    }
}
