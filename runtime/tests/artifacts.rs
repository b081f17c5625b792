//! Artifacts: what was made with the key is loaded, whatever was changed is refused, when it is loaded or when it is needed.

use std::fs;
use std::path::PathBuf;

use aura_runtime::{
    Artifact, ArtifactKey, Config, Engine, Error, ErrorKind, Image, ImageConfig, Instance, Limits, Linker, Module,
    Snapshot, Store, Strategy, Validation,
};

const KEY: ArtifactKey = ArtifactKey::new([7; ArtifactKey::LEN]);
const LABEL: [u8; 32] = [9; 32];

/// Functions whose bodies fill several pieces, data, a table, globals, names, a start function.
fn text() -> String {
    let filler = "(drop (i64.mul (i64.const 123456789012345) (i64.const 3)))".repeat(300);
    let funcs: String = (0..6).map(|n| format!("(func $f{n} (result i32) {filler} (i32.const {n}))")).collect();
    format!(
        r#"(module $named (memory (export "memory") 1) (global $g (mut i32) (i32.const 40)) (table 2 funcref)
            (elem (i32.const 0) $f0 $f1) (data (i32.const 8) "{}")
            {funcs}
            (func $start (global.set $g (i32.add (global.get $g) (i32.const 2))))
            (func (export "run") (param i32) (result i32)
                (i32.add (i32.add (global.get $g) (i32.load8_u (i32.add (i32.const 8) (local.get 0))))
                    (i32.add (call $f1) (call_indirect (result i32) (i32.const 1)))))
            (start $start))"#,
        "abc".repeat(3000)
    )
}

/// Folder, engine and the bytes of an artifact.
struct Made {
    folder: tempfile::TempDir,
    engine: Engine,
    artifact: Vec<u8>,
}

impl Made {
    fn new() -> Self {
        let engine = Engine::default();
        let module = Module::new(&engine, text()).expect("a module");
        let artifact = module.to_artifact(&KEY, LABEL).expect("an artifact");
        Self { folder: tempfile::tempdir().expect("a folder"), engine, artifact }
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("it.aura");
        fs::write(&path, bytes).expect("a file");
        path
    }

    fn load(&self, bytes: &[u8]) -> Result<Module, Error> {
        Artifact::open(self.file(bytes), &KEY)?.load(&self.engine)
    }
}

fn run(module: &Module, argument: i32) -> Result<i32, Error> {
    let mut store = Store::new(module.engine(), ());
    let instance = Instance::new(&mut store, module, &[])?;
    instance.get_typed_func::<i32, i32>(&store, "run")?.call(&mut store, argument)
}

/// What `run` gives for 1: the global, `b`, and twice what `f1` gives.
const EXPECTED: i32 = 42 + 98 + 2;

#[test]
fn a_module_comes_back_as_it_was() {
    let made = Made::new();
    let module = made.load(&made.artifact).expect("an artifact of this key");
    assert_eq!(run(&module, 1).expect("a result"), EXPECTED);
    assert_eq!(module.name().as_deref(), Some("named"));
    let names: Vec<_> = module.exports().map(|export| export.name().to_owned()).collect();
    assert_eq!(names, ["memory", "run"]);
    assert_eq!(Artifact::open(made.file(&made.artifact), &KEY).expect("open").label(), LABEL);
    let again = module.to_artifact(&KEY, LABEL).expect("an artifact of an artifact");
    assert_eq!(again, made.artifact, "artifacts depend on module, options, key and label alone");
    for strategy in [Strategy::Interpreter, Strategy::Jit] {
        let mut config = Config::new();
        let engine = Engine::new(config.strategy(strategy)).expect("an engine");
        let artifact = Artifact::open(made.file(&made.artifact), &KEY).expect("open");
        let module = artifact.load(&engine).expect("tiers share artifacts");
        assert_eq!(run(&module, 1).expect("a result"), EXPECTED);
    }
}

/// Whatever byte is changed: an artifact that is used whole is refused, at once or at the piece.
#[test]
fn a_change_of_any_byte_is_found_by_whoever_uses_all() {
    let made = Made::new();
    let mut unused = 0;
    for at in (0..1000).chain((1000..made.artifact.len()).step_by(61)) {
        let mut bytes = made.artifact.clone();
        bytes[at] ^= 1 << (at % 8);
        let used = made.load(&bytes).and_then(|module| {
            run(&module, 1)?;
            module.to_artifact(&KEY, LABEL)
        });
        match used {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Artifact, "byte {at}: {error}"),
            // A piece with nothing in it but options in words, which are read only if others are asked for.
            Ok(again) => {
                assert_eq!(again, made.artifact, "byte {at}");
                unused += 1;
            }
        }
    }
    assert!(unused < 10, "{unused} bytes are of no use");
}

/// Whatever byte is changed: refused at once, or when it is needed, or never needed.
#[test]
fn no_changed_byte_is_ever_used() {
    let made = Made::new();
    let mut refused = [0_usize; 2];
    for at in (0..600).chain((600..made.artifact.len()).step_by(97)) {
        let mut bytes = made.artifact.clone();
        bytes[at] ^= 1 << (at % 8);
        let error = match made.load(&bytes) {
            Err(error) => {
                refused[0] += 1;
                error
            }
            Ok(module) => match run(&module, 1) {
                Err(error) => {
                    refused[1] += 1;
                    error
                }
                // The byte is of a function that was not called, or a name.
                Ok(result) => {
                    assert_eq!(result, EXPECTED, "byte {at}");
                    continue;
                }
            },
        };
        assert_eq!(error.kind(), ErrorKind::Artifact, "byte {at}: {error}");
    }
    assert!(refused[0] > 300 && refused[1] > 10, "both happen: {refused:?}");
}

#[test]
fn a_cut_off_file_is_refused() {
    let made = Made::new();
    for len in (0..300).chain((300..made.artifact.len()).step_by(1009)) {
        let cut = made.load(&made.artifact[..len]).and_then(|module| run(&module, 1));
        assert_eq!(cut.expect_err("cut off").kind(), ErrorKind::Artifact, "{len} bytes");
    }
}

/// The file may change under a loaded module: what was looked at stays, what was not is refused, whatever runs it.
#[test]
fn changes_after_loading_are_found_or_harmless() {
    for strategy in [Strategy::Auto, Strategy::Jit, Strategy::Interpreter] {
        let made = Made::new();
        let mut config = Config::new();
        let engine = Engine::new(config.strategy(strategy)).expect("an engine");
        let load = || Artifact::open(made.file(&made.artifact), &KEY).and_then(|artifact| artifact.load(&engine));
        let (early, late) = (load().expect("load"), load().expect("load"));
        assert_eq!(run(&early, 1).expect("a result"), EXPECTED);
        let mut file = fs::OpenOptions::new().write(true).open(made.folder.path().join("it.aura")).expect("open");
        std::io::Write::write_all(&mut file, &vec![0xff; made.artifact.len()]).expect("overwrite");
        assert_eq!(run(&early, 1).expect("it was looked at before"), EXPECTED, "{strategy:?}");
        assert_eq!(run(&late, 1).expect_err("it was not").kind(), ErrorKind::Artifact, "{strategy:?}");
        file.set_len(0).expect("truncate");
        assert_eq!(run(&early, 1).expect("as before"), EXPECTED, "{strategy:?}");
        assert_eq!(run(&late, 1).expect_err("as before").kind(), ErrorKind::Artifact, "{strategy:?}");
    }
}

/// A function that ran before calls one whose row or code was changed since: an error, on every tier.
#[test]
fn callees_that_were_changed_are_refused_at_the_call() {
    // A chain longer than what stands in the head, of functions so long that few are in one piece.
    let filler = "(drop (i64.mul (i64.const 123456789012345) (i64.const 3)))".repeat(100);
    let link = |n: u32| {
        let next = if n < 79 {
            format!("call $f{} (i32.sub (local.get 0) (i32.const 1))", n + 1)
        } else {
            "i32.const 0".to_owned()
        };
        format!(
            "(func $f{n} (param i32) (result i32) {filler}
            (if (result i32) (local.get 0) (then ({next})) (else (i32.const {n}))))"
        )
    };
    let chain: String = (0..80).map(link).collect();
    let text = format!(r#"(module {chain} (func (export "run") (param i32) (result i32) (call $f0 (local.get 0))))"#);
    for strategy in [Strategy::Auto, Strategy::Jit, Strategy::Interpreter] {
        let made = Made::new();
        let mut config = Config::new();
        let engine = Engine::new(config.strategy(strategy)).expect("an engine");
        let artifact = Module::new(&engine, &text).expect("a module").to_artifact(&KEY, LABEL).expect("an artifact");
        let path = made.file(&artifact);
        let module = Artifact::open(&path, &KEY).expect("open").load(&engine).expect("load");
        assert_eq!(run(&module, 50).expect("a result"), 50, "{strategy:?}");
        fs::write(&path, vec![0xff; artifact.len()]).expect("a changed file");
        assert_eq!(run(&module, 50).expect("all of it was looked at"), 50, "{strategy:?}");
        assert_eq!(run(&module, 75).expect_err("this was not").kind(), ErrorKind::Artifact, "{strategy:?}");
    }
}

#[test]
fn another_key_or_other_options_are_refused() {
    let made = Made::new();
    let path = made.file(&made.artifact);
    let error = Artifact::open(&path, &ArtifactKey::new([8; ArtifactKey::LEN])).expect_err("another key");
    assert!(error.to_string().contains("key"), "{error}");
    let mut strict = Config::new();
    strict.limits(Limits::strict());
    let mut plain = Config::new();
    plain.wasm_simd(false);
    for config in [strict, plain] {
        let engine = Engine::new(&config).expect("an engine");
        let error = Artifact::open(&path, &KEY).expect("open").load(&engine).expect_err("other options");
        assert!(error.to_string().contains("other proposals or limits (`"), "{error}");
    }
    let error = Artifact::open(made.file(b"\0asm\x01\0\0\0"), &KEY).expect_err("a module");
    assert!(error.to_string().contains("it is no artifact"), "{error}");
    assert_eq!(Artifact::open("/nowhere/at/all", &KEY).expect_err("no file").kind(), ErrorKind::Io);
}

/// Code that was lowered with other options is not run: the body is lowered anew.
#[test]
fn engines_with_fuel_take_artifacts_without() {
    let made = Made::new();
    let mut config = Config::new();
    let engine = Engine::new(config.consume_fuel(true)).expect("an engine");
    let module = Artifact::open(made.file(&made.artifact), &KEY).expect("open").load(&engine).expect("load");
    let fuel = |module: &Module| {
        let mut store = Store::new(module.engine(), ());
        store.set_fuel(1_000_000).expect("fuel");
        let instance = Instance::new(&mut store, module, &[]).expect("an instance");
        let run = instance.get_typed_func::<i32, i32>(&store, "run").expect("an export");
        assert_eq!(run.call(&mut store, 1).expect("a result"), EXPECTED);
        store.get_fuel().expect("fuel")
    };
    let plain = Module::new(&engine, text()).expect("a module");
    assert!(fuel(&module) < 1_000_000, "it costs some");
    assert_eq!(fuel(&module), fuel(&plain));
    let again = plain.to_artifact(&KEY, LABEL).expect("an artifact");
    let again = Artifact::open(made.file(&again), &KEY).expect("open").load(&engine).expect("load");
    assert_eq!(fuel(&again), fuel(&plain), "from code that was lowered with fuel");
}

#[test]
fn code_of_what_was_called_is_kept() {
    let made = Made::new();
    let module = Module::new(&made.engine, text()).expect("a module");
    let unused = module.to_artifact_as_used(&KEY, LABEL).expect("an artifact");
    run(&module, 1).expect("a result");
    let used = module.to_artifact_as_used(&KEY, LABEL).expect("an artifact");
    assert!(unused.len() < used.len() && used.len() < made.artifact.len());
    for artifact in [unused, used] {
        assert_eq!(run(&made.load(&artifact).expect("load"), 1).expect("a result"), EXPECTED);
    }
}

/// What the head says comes back whatever kinds of things a module has.
#[test]
fn modules_with_everything_come_back() {
    let text = r#"(module
        (rec (type $list (sub (struct (field (mut i32)) (field (ref null $list))))) (type $longer (sub $list (struct (field (mut i32)) (field (ref null $list)) (field f64)))))
        (type $add (func (param i32 i32) (result i32)))
        (import "a" "f" (func $f (type $add))) (import "a" "m" (memory 1 3)) (import "a" "t" (table 2 funcref))
        (import "a" "g" (global $g i64)) (import "a" "e" (tag (param i32)))
        (tag $own (param i32 f64))
        (table $u 3 (ref null $list)) (table 2 2 funcref)
        (global (mut (ref null $list)) (struct.new $longer (i32.const 1) (ref.null $list) (f64.const 2.5)))
        (global v128 (v128.const i32x4 1 2 3 4)) (global i64 (i64.add (global.get $g) (i64.const 1)))
        (elem (table $u) (i32.const 0) (ref null $list) (ref.null $list)) (elem funcref (ref.func $h) (ref.null func))
        (elem declare func $h) (data "passive") (data (i32.const 4) "active")
        (func $h (export "h") (type $add)
            (try_table (catch $own 0 ) (throw $own (i32.const 1) (f64.const 2)))
            (return_call $f (local.get 0) (local.get 1)))
        (func (export "v") (param v128) (result v128) (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31 (local.get 0) (local.get 0)))
        (func (export "s") (result i32) (struct.get $list 0 (struct.new $list (i32.const 9) (ref.null $list))))
        (export "memory" (memory 0)))"#
        .replace("(catch $own 0 )", "");
    let made = Made::new();
    let module = Module::new(&made.engine, text).expect("a module");
    let back = made.load(&module.to_artifact(&KEY, LABEL).expect("an artifact")).expect("load");
    let show = |module: &Module| {
        let imports: Vec<_> = module.imports().map(|i| format!("{} {} {:?}", i.module(), i.name(), i.ty())).collect();
        let exports: Vec<_> = module.exports().map(|e| format!("{} {:?}", e.name(), e.ty())).collect();
        let v = module.validated();
        let segments = format!("{:?} {:?} {:?}", v.elements(), v.data(), v.global_inits());
        let types = format!("{:?} {:?} {:?} {:?}", v.types(), v.type_groups(), v.tables(), v.tags());
        let codes: Vec<_> =
            (0..v.num_own_funcs()).map(|own| aura_runtime::inspect::code_text(module, own).expect("code")).collect();
        (imports, exports, segments, types, codes, v.counts(), v.escaping().to_vec())
    };
    assert_eq!(show(&back), show(&module));
}

#[test]
fn what_is_not_validated_yet_is_no_artifact() {
    let mut config = Config::new();
    let engine = Engine::new(config.validation(Validation::Lazy)).expect("an engine");
    let module = Module::new(&engine, text()).expect("a module");
    assert!(module.to_artifact(&KEY, LABEL).is_err());
}

#[test]
fn a_key_is_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("aura/artifact.key");
    let key = ArtifactKey::read_or_make(&path).expect("a new key");
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let made = Made::new();
    let module = made.load(&made.artifact).expect("load");
    let file = made.file(&module.to_artifact(&key, LABEL).expect("an artifact"));
    Artifact::open(&file, &ArtifactKey::read_or_make(&path).expect("the same key")).expect("of this key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    let error = ArtifactKey::read_or_make(&path).expect_err("a key that others may read");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::write(&path, b"short").expect("a short key");
    assert!(ArtifactKey::read_or_make(&path).expect_err("a short key").to_string().contains("5 bytes"));
}

#[test]
fn threads_load_pieces_together() {
    let made = Made::new();
    for _ in 0..20 {
        let module = made.load(&made.artifact).expect("load");
        std::thread::scope(|scope| {
            (0..4).for_each(|n| {
                drop(scope.spawn({
                    let module = &module;
                    move || assert_eq!(run(module, 1).expect("a result"), EXPECTED, "{n}")
                }));
            });
        });
    }
}

/// Few pages, far apart, and so many neighbours that they are read in several goes.
const GROWS: &str = r#"(module (memory (export "memory") 1) (global $g (mut i64) (i64.const 1)) (table $t 1 funcref)
    (func $three (result i32) (i32.const 3)) (elem declare func $three)
    (func (export "init")
        (drop (memory.grow (i32.const 40)))
        (memory.fill (i32.const 70000) (i32.const 7) (i32.const 400000))
        (i32.store (i32.const 2600000) (i32.const 9))
        (global.set $g (i64.const -2))
        (drop (table.grow $t (ref.func $three) (i32.const 5))))
    (func (export "state") (param i32) (result i64)
        (i64.add (global.get $g) (i64.extend_i32_u (i32.add
            (i32.add (memory.size) (call_indirect $t (result i32) (i32.const 4)))
            (i32.add (i32.load8_u (local.get 0)) (i32.load8_u (i32.const 2600000))))))))"#;

/// For a place that was filled: pages, the function, the two bytes, the global.
const STATE: i64 = 41 + 3 + 7 + 9 - 2;

#[test]
fn a_snapshot_comes_back_and_no_change_of_it_does() {
    let made = Made::new();
    let module = Module::new(&made.engine, GROWS).expect("a module");
    let linker = Linker::<()>::new(&made.engine);
    let mut store = Store::new(&made.engine, ());
    assert!(Snapshot::of(&store).is_err(), "there is no instance");
    let instance = linker.instantiate(&mut store, &module).expect("an instance");
    instance.get_typed_func::<(), ()>(&store, "init").expect("init").call(&mut store, ()).expect("init");
    let artifact = Snapshot::of(&store).expect("captured").to_artifact(&KEY, LABEL).expect("an artifact");
    let state = |snapshot: &Snapshot| {
        let mut store = Store::new(&made.engine, ());
        let instance = snapshot.instantiate(&linker, &mut store)?;
        let state = instance.get_typed_func::<i32, i64>(&store, "state")?;
        state.call(&mut store, 469_999)
    };
    let load = |bytes: &[u8]| Artifact::open(made.file(bytes), &KEY)?.load_snapshot(&made.engine);
    let snapshot = load(&artifact).expect("load");
    (0..3).for_each(|_| assert_eq!(state(&snapshot).expect("a state"), STATE));
    let image = Image::of_snapshot(&linker, &snapshot, &ImageConfig::new()).expect("an image");
    let func = image.typed_func::<i32, i64>("state").expect("state");
    for _ in 0..3 {
        assert_eq!(image.instantiate(()).expect("an instance").call(&func, 70_000).expect("a state"), STATE);
    }
    let again = snapshot.instantiate(&linker, &mut store).expect_err("the store has an instance");
    assert!(again.to_string().contains("a store of its own"), "{again}");
    let mut unused = 0;
    for at in (0..artifact.len()).step_by(311) {
        let mut bytes = artifact.clone();
        bytes[at] ^= 1 << (at % 8);
        match load(&bytes).and_then(|snapshot| state(&snapshot)) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Artifact, "byte {at}: {error}"),
            Ok(found) => {
                assert_eq!(found, STATE, "byte {at}");
                unused += 1;
            }
        }
    }
    assert!(unused < 20, "{unused} bytes that need not be read: the module's own");
    let plain = Artifact::open(made.file(&made.artifact), &KEY).expect("open").load_snapshot(&made.engine);
    assert!(plain.expect_err("a module's").to_string().contains("not of a snapshot"));
}
