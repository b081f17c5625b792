//! Machine code in artifacts: taken at the first call, by engines it is for alone, and never once it was changed.

use aura_runtime::{
    Artifact, ArtifactKey, Bounds, Config, Engine, Error, ErrorKind, Instance, Linker, Module, Snapshot, Store,
    Strategy, TrapCode,
};

const KEY: ArtifactKey = ArtifactKey::new([7; ArtifactKey::LEN]);
const LABEL: [u8; 32] = [9; 32];

/// Types of its own, an import, traps in compiled code, objects kept over collections, exceptions, a table, a tail call, and
/// functions for several groups.
fn text() -> String {
    let filler =
        "(local.set 0 (i64.add (i64.mul (local.get 0) (i64.const 123456789012345)) (i64.const 7)))".repeat(150);
    let many: String = (0..200)
        .map(|n| format!("(func $m{n} (param i64) (result i64) {filler} (i64.add (local.get 0) (i64.const {n})))"))
        .collect();
    format!(
        r#"(module
            (type $node (struct (field $next (mut (ref null $node))) (field $value i32)))
            (type $binary (func (param i32 i32) (result i32)))
            (import "host" "add" (func $add (type $binary)))
            (tag $odd (param i32))
            (memory (export "memory") 1)
            (table $t funcref (elem $add $sub))
            (func $sub (type $binary) (i32.sub (local.get 0) (local.get 1)))
            (func $list (param $n i32) (result (ref null $node)) (local $head (ref null $node))
                (loop $more
                    (local.set $head (struct.new $node (local.get $head) (local.get $n)))
                    (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (local.get $head))
            (func (export "sum") (param $n i32) (result i32) (local $at (ref null $node)) (local $sum i32)
                (local.set $at (call $list (local.get $n)))
                (drop (call $list (local.get $n)))
                (block $done (loop $more
                    (br_if $done (ref.is_null (local.get $at)))
                    (local.set $sum (call $add (local.get $sum) (struct.get $node $value (local.get $at))))
                    (local.set $at (struct.get $node $next (local.get $at)))
                    (br $more)))
                (local.get $sum))
            (func $check (param i32) (if (i32.and (local.get 0) (i32.const 1)) (then (throw $odd (local.get 0)))))
            (func (export "caught") (param i32) (result i32)
                (block $odd (result i32)
                    (try_table (catch $odd $odd) (call $check (local.get 0)))
                    (return (i32.const -1))))
            (func (export "table") (param i32) (result i32)
                (call_indirect $t (type $binary) (i32.const 50) (i32.const 8) (local.get 0)))
            (func (export "tail") (param i32) (result i32) (return_call $sub (local.get 0) (i32.const 1)))
            (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
            (func $forever (export "deep") (param i32) (result i32) (i32.add (i32.const 1) (call $forever (local.get 0))))
            {many}
            (func (export "far") (param i32) (result i32)
                (i32.wrap_i64 (i64.add (call $m3 (i64.const 1)) (call $m190 (i64.const 2))))))"#
    )
}

fn engine(set: impl FnOnce(&mut Config)) -> Engine {
    let mut config = Config::new();
    set(&mut config);
    Engine::new(&config).expect("an engine")
}

fn artifact(engine: &Engine) -> Vec<u8> {
    let module = Module::new(engine, text()).expect("a module");
    let native = module.compile_native(2, &|_| {}).expect("machine code");
    assert_eq!((native.compiled(), native.left()), (module.validated().num_own_funcs(), 0));
    module.to_native_artifact(&KEY, LABEL, &native).expect("an artifact")
}

/// Bytes of a piece and of its tag.
const PIECE: usize = 8192 + 16;

/// How many pieces machine code takes.
fn code_pieces(engine: &Engine) -> usize {
    let module = Module::new(engine, text()).expect("a module");
    let native = module.compile_native(2, &|_| {}).expect("machine code");
    usize::try_from(native.len()).expect("it is short") / 8192
}

fn load(engine: &Engine, bytes: &[u8]) -> Result<Module, Error> {
    Artifact::from_bytes(bytes, &KEY)?.load(engine)
}

struct Program {
    store: Store<()>,
    instance: Instance,
}

impl Program {
    fn new(module: &Module) -> Result<Self, Error> {
        let mut linker = Linker::<()>::new(module.engine());
        linker.func_wrap("host", "add", |a: i32, b: i32| a.wrapping_add(b))?;
        let mut store = Store::new(module.engine(), ());
        let instance = linker.instantiate(&mut store, module)?;
        Ok(Self { store, instance })
    }

    fn call(&mut self, name: &str, argument: i32) -> Result<i32, Error> {
        self.instance.get_typed_func::<i32, i32>(&self.store, name)?.call(&mut self.store, argument)
    }
}

/// What all functions but those that trap give.
fn results(program: &mut Program) -> Result<Vec<i32>, Error> {
    let calls =
        [("sum", 300), ("caught", 3), ("caught", 4), ("table", 0), ("table", 1), ("tail", 9), ("far", 0), ("load", 8)];
    calls.into_iter().map(|(name, argument)| program.call(name, argument)).collect()
}

fn expected() -> Vec<i32> {
    let interpreter = engine(|config| {
        config.strategy(Strategy::Interpreter);
    });
    let module = Module::new(&interpreter, text()).expect("a module");
    results(&mut Program::new(&module).expect("an instance")).expect("results")
}

fn code(error: &Error) -> Option<TrapCode> {
    error.trap().map(aura_runtime::Trap::code)
}

/// Whether the frames of an error are compiled ones.
fn is_compiled(error: &Error) -> bool {
    let frames = error.trap().expect("a trap").frames();
    !frames.is_empty() && frames.iter().all(|frame| frame.compiled)
}

#[test]
fn the_first_call_enters_machine_code() {
    let artifact = artifact(&engine(|_| {}));
    for strategy in [Strategy::Auto, Strategy::Jit] {
        let engine = engine(|config| {
            config.strategy(strategy).gc_stress(true);
        });
        // Types of this engine are numbered otherwise than those of the one that compiled.
        Module::new(&engine, "(module (type (struct (field f64))) (type (func (param f64) (result f64))))")
            .expect("types");
        let module = load(&engine, &artifact).expect("load");
        assert!(module.has_native());
        let mut program = Program::new(&module).expect("an instance");
        let trap = program.call("load", -1).expect_err("out of bounds");
        assert!(code(&trap) == Some(TrapCode::MemoryOutOfBounds) && is_compiled(&trap), "{strategy:?}: {trap}");
        let place = |error: &Error| error.trap().expect("a trap").frames()[0].module_offset;
        let own = Module::new(&engine, text()).expect("a module");
        let interpreted = Program::new(&own).expect("an instance").call("load", -1).expect_err("out of bounds");
        assert_eq!(place(&trap), place(&interpreted));
        let trap = program.call("deep", 0).expect_err("no end");
        assert!(code(&trap) == Some(TrapCode::StackOverflow) && is_compiled(&trap), "{strategy:?}: {trap}");
        assert_eq!(results(&mut program).expect("results"), expected());
        assert_eq!(results(&mut program).expect("again"), expected());
    }
}

#[test]
fn calls_of_the_interpreter_come_to_it_too() {
    let artifact = artifact(&engine(|_| {}));
    let engine = engine(|config| {
        config.odd_functions_interpreted(true).tier_up_threshold(0).compile_threads(0);
    });
    let mut program = Program::new(&load(&engine, &artifact).expect("load")).expect("an instance");
    assert_eq!(results(&mut program).expect("results"), expected());
}

#[test]
fn it_is_left_aside_where_it_means_something_else() {
    let made = engine(|_| {});
    let artifact = artifact(&made);
    let others: [fn(&mut Config); 5] = [
        |config| _ = config.bounds(Bounds::Explicit),
        |config| _ = config.consume_fuel(true),
        |config| _ = config.canonicalize_nans(true),
        |config| _ = config.deterministic(true),
        |config| _ = config.strategy(Strategy::Interpreter),
    ];
    for set in others {
        let engine = engine(set);
        let module = load(&engine, &artifact).expect("the module is good for all");
        assert!(!module.has_native(), "{engine:?}");
        let mut program = Program::new(&module).expect("an instance");
        // An error where the engine has no fuel.
        let _ = program.store.set_fuel(1 << 30);
        assert_eq!(results(&mut program).expect("results"), expected(), "{engine:?}");
    }
}

/// With fuel, code from an artifact charges what code of the process does.
#[test]
fn it_charges_the_same_fuel_and_is_interrupted_as_ever() {
    let metered = engine(|config| {
        config.consume_fuel(true);
    });
    let artifact = artifact(&metered);
    let left = |module: &Module| {
        let mut program = Program::new(module).expect("an instance");
        program.store.set_fuel(1 << 20).expect("fuel");
        assert_eq!(results(&mut program).expect("results"), expected());
        let left = program.store.get_fuel().expect("fuel");
        program.store.set_fuel(10).expect("fuel");
        let ended = program.call("sum", 100_000).expect_err("it needs more");
        assert_eq!(code(&ended), Some(TrapCode::OutOfFuel));
        left
    };
    let kept = load(&metered, &artifact).expect("load");
    assert!(kept.has_native());
    assert_eq!(left(&kept), left(&Module::new(&metered, text()).expect("a module")));
}

/// Whatever byte is changed: refused at once, or when it is needed, or never needed.
#[test]
fn no_changed_byte_is_ever_used() {
    let engine = engine(|_| {});
    let artifact = artifact(&engine);
    let expected = expected();
    let mut seen = [0_usize; 3];
    // The first pieces of machine code, which stands at the end: those of functions that are called.
    let dense = artifact.len() - code_pieces(&engine) * PIECE..artifact.len() - (code_pieces(&engine) - 8) * PIECE;
    for at in (0..900).step_by(3).chain((900..artifact.len()).step_by(1499)).chain(dense.step_by(97)) {
        let mut bytes = artifact.clone();
        bytes[at] ^= 1 << (at % 8);
        let used =
            load(&engine, &bytes).map(|module| Program::new(&module).and_then(|mut program| results(&mut program)));
        let (kind, error) = match used {
            Err(error) => (0, error),
            Ok(Err(error)) => (1, error),
            Ok(Ok(results)) => {
                assert_eq!(results, expected, "byte {at}");
                seen[2] += 1;
                continue;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Artifact, "byte {at}: {error}");
        seen[kind] += 1;
    }
    assert!(seen.iter().all(|&count| count > 30), "at the load, at the piece, never: {seen:?}");
}

/// A group that was changed is refused again and again, whoever calls, and never interpreted instead.
#[test]
fn a_changed_group_stays_refused() {
    let engine = engine(|_| {});
    let mut artifact = artifact(&engine);
    let len = artifact.len();
    // Machine code stands at the end; the last piece is of tables of its last group.
    for at in (0..200).map(|piece| len - 1 - piece * 4112) {
        artifact[at] ^= 1;
    }
    let module = load(&engine, &artifact).expect("load");
    let mut program = Program::new(&module).expect("an instance");
    for name in ["far", "far", "sum", "tail", "far"] {
        let error = program.call(name, 1).expect_err("changed");
        assert!(error.kind() == ErrorKind::Artifact && error.to_string().contains("changed"), "{name}: {error}");
    }
}

#[test]
fn threads_take_it_together() {
    let engine = engine(|_| {});
    let artifact = artifact(&engine);
    let expected = expected();
    for _ in 0..10 {
        let module = load(&engine, &artifact).expect("load");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(results(&mut Program::new(&module).expect("an instance")).expect("results"), expected);
                });
            }
        });
    }
}

#[test]
fn artifacts_depend_on_module_options_and_key_alone() {
    let (one, two) = (engine(|_| {}), engine(|_| {}));
    Module::new(&two, "(module (type (struct)))").expect("another module");
    assert_eq!(artifact(&one), artifact(&two));
}

/// What was hot in a run is kept, and added to in the next.
#[test]
fn what_was_compiled_so_far_is_kept() {
    let engine = engine(|config| {
        config.keep_compiled(true).tier_up_threshold(0).compile_threads(0);
    });
    let module = Module::new(&engine, text()).expect("a module");
    assert!(module.native_so_far().expect("no artifact").is_none(), "nothing ran");
    let mut program = Program::new(&module).expect("an instance");
    program.call("tail", 9).expect("a result");
    let native = module.native_so_far().expect("no artifact").expect("it was hot");
    assert!((1..5).contains(&native.compiled()) && module.native_bytes().1 == 0, "{native:?}");
    let (plain, code) =
        (module.to_artifact_as_used(&KEY, LABEL).expect("an artifact"), native.to_artifact(&KEY, LABEL));
    let open = |bytes: &[u8]| Artifact::from_bytes(bytes, &KEY).expect("open");
    let again = || open(&plain).load_with_code(&engine, open(&code)).expect("load");
    let module = again();
    assert!(module.native_bytes().0 == 0 && module.native_bytes().1 > 0);
    let mut program = Program::new(&module).expect("an instance");
    program.call("tail", 9).expect("a result");
    assert!(module.native_so_far().expect("as made").is_none(), "all that ran was there");
    assert_eq!(results(&mut program).expect("results"), expected());
    let more = module.native_so_far().expect("as made").expect("more was hot");
    assert!(more.compiled() > native.compiled() + 5, "{more:?} of {native:?}");
    let module = open(&plain).load_with_code(&engine, open(&more.to_artifact(&KEY, LABEL))).expect("load");
    assert_eq!(results(&mut Program::new(&module).expect("an instance")).expect("results"), expected());
    assert_eq!(module.native_bytes().0, 0, "nothing is compiled any more");
    let other = native.to_artifact(&KEY, [1; 32]);
    let refused = open(&plain).load_with_code(&engine, open(&other)).expect_err("of another module");
    assert!(refused.to_string().contains("another module"), "{refused}");
    assert!(open(&code).load(&engine).is_err(), "there is no module in it");
}

#[test]
fn snapshots_have_it_too() {
    let text = r#"(module (memory 1) (global $g (mut i32) (i32.const 1))
        (func (export "init") (global.set $g (i32.const 7)))
        (func (export "get") (param i32) (result i32) (i32.add (global.get $g) (i32.load (local.get 0)))))"#;
    let engine = engine(|_| {});
    let module = Module::new(&engine, text).expect("a module");
    let linker = Linker::<()>::new(&engine);
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).expect("an instance");
    instance.get_typed_func::<(), ()>(&store, "init").expect("init").call(&mut store, ()).expect("init");
    let native = module.compile_native(1, &|_| {}).expect("machine code");
    let snapshot = Snapshot::of(&store).expect("captured");
    let artifact = snapshot.to_native_artifact(&KEY, LABEL, &native).expect("an artifact");
    let snapshot = Artifact::from_bytes(&artifact, &KEY).expect("open").load_snapshot(&engine).expect("load");
    assert!(snapshot.module().has_native());
    let mut store = Store::new(&engine, ());
    let instance = snapshot.instantiate(&linker, &mut store).expect("an instance");
    let get = instance.get_typed_func::<i32, i32>(&store, "get").expect("get");
    assert_eq!(get.call(&mut store, 4).expect("a value"), 7);
    assert!(is_compiled(&get.call(&mut store, -1).expect_err("out of bounds")));
}

#[test]
fn engines_without_a_compiler_make_none() {
    let engine = engine(|config| {
        config.strategy(Strategy::Interpreter);
    });
    let module = Module::new(&engine, "(module)").expect("a module");
    assert!(module.compile_native(1, &|_| {}).expect_err("no compiler").to_string().contains("compiler"));
}
