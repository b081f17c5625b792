//! Runs the WASI guests of `wasi/guests` on each engine with each kind of bounds check.
//!
//! A guest checks what it is answered and ends with 0; it prints the place of the check that failed.
//! Each run has a fresh directory, so that what one leaves behind is nothing to the next.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use aura_runtime::{Bounds, Config, Engine, Linker, Module, Store, Strategy, Subject, TrapCode};
use aura_wasi::{FUNCTIONS, Input, Output, UNSTABLE_FUNCTIONS, WasiCtx};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("wasi")
}

fn engines() -> Vec<(String, Engine)> {
    let mut engines = Vec::new();
    for strategy in [Strategy::Interpreter, Strategy::Jit, Strategy::Auto] {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let mut config = Config::new();
            config.strategy(strategy).bounds(bounds);
            engines.push((format!("{strategy:?}, {bounds:?}"), Engine::new(&config).expect("an engine")));
        }
    }
    engines
}

/// A store with captured streams, in which grants are made.
struct Run {
    store: Store<WasiCtx>,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Run {
    fn new(engine: &Engine, args: &[&str], grants: &[String]) -> Self {
        let mut run = Self { store: Store::new(engine, WasiCtx::new()), output: Arc::default() };
        let ctx = run.store.data_mut();
        ctx.set_args(args.iter().map(ToString::to_string).collect()).expect("arguments");
        ctx.set_stdin(Input::Null);
        ctx.set_stdout(Output::Capture(Arc::clone(&run.output)));
        ctx.set_stderr(Output::Capture(Arc::clone(&run.output)));
        for text in grants {
            let grant = run.store.grant(Subject::Store, text.parse().expect(text)).expect(text);
            run.store.data_mut().attach(grant.capability().clone()).expect(text);
        }
        run
    }

    /// Passes a listener in; gives its address.
    fn listen(&mut self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let spec = format!("net.listen={address}").parse().expect("a grant");
        let grant = self.store.grant(Subject::Store, spec).expect("granted");
        self.store.data_mut().attach_socket(grant.capability().clone(), listener).expect("a socket");
        address
    }

    /// Runs `_start`; gives the exit code.
    fn start(&mut self, module: &Module) -> Result<i32, aura_runtime::Error> {
        let mut linker = Linker::new(module.engine());
        linker.host_functions(FUNCTIONS, |ctx: &mut WasiCtx| ctx)?;
        linker.host_functions(UNSTABLE_FUNCTIONS, |ctx: &mut WasiCtx| ctx)?;
        let instance = linker.instantiate(&mut self.store, module)?;
        let start = instance.get_typed_func::<(), ()>(&mut self.store, "_start")?;
        match start.call(&mut self.store, ()) {
            Ok(()) => Ok(0),
            Err(error) => error.exit_code().ok_or(error),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().expect("a lock")).into_owned()
    }
}

fn module(engine: &Engine, guest: &str) -> Module {
    Module::from_file(engine, folder().join("guests").join(guest)).expect(guest)
}

/// Runs a guest with these grants and a directory as `/data` on every engine; it must end with `code`.
fn passes(guest: &str, args: &[&str], grants: &[&str], code: i32) {
    for (name, engine) in engines() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut grants: Vec<String> = grants.iter().map(ToString::to_string).collect();
        grants.push(format!("fs.write={}::/data", dir.path().display()));
        let mut run = Run::new(&engine, args, &grants);
        let ended = run.start(&module(&engine, guest)).unwrap_or_else(|error| panic!("{guest} on {name}: {error}"));
        assert_eq!(ended, code, "{guest} on {name}: {}", run.text());
    }
}

#[test]
fn arguments_environment_clocks_random_and_ends() {
    let grants = ["stdio", "args", "env=A=b=c", "env=EMPTY=", "clock", "random"];
    passes("program.wasm", &["program", "exit", "ü"], &grants, 7);
    passes("program.wasm", &["program", "raise", "ü"], &grants, 128 + 6);
    passes("program.wasm", &["program", "return", "ü"], &grants, 0);
}

#[test]
fn open_files_and_directories() {
    passes("files.wasm", &[], &["stdio"], 0);
}

#[test]
fn paths() {
    passes("paths.wasm", &[], &["stdio"], 0);
}

#[test]
fn waits() {
    passes("waits.wasm", &[], &["stdio", "clock"], 0);
}

#[test]
fn the_standard_library_of_rust() {
    passes("std.wasm", &["std"], &["stdio", "args", "clock", "random"], 0);
}

#[test]
fn old_binaries() {
    passes("unstable.wat", &[], &["stdio", "clock"], 0);
}

/// Talks to the server: all that comes back, the last of it after both sides have shut down.
fn talk(address: SocketAddr) -> String {
    let mut peer = TcpStream::connect(address).expect("connected");
    peer.write_all(b"first\n").expect("sent");
    let mut first = [0; 6];
    peer.read_exact(&mut first).expect("received");
    peer.write_all("x".repeat(5000).as_bytes()).expect("sent");
    peer.shutdown(Shutdown::Write).expect("shut down");
    let mut rest = String::new();
    peer.read_to_string(&mut rest).expect("received");
    format!("{}{rest}", String::from_utf8_lossy(&first))
}

#[test]
fn sockets() {
    for (name, engine) in engines() {
        let mut run = Run::new(&engine, &[], &["stdio".into()]);
        let address = run.listen();
        let client = thread::spawn(move || talk(address));
        let ended = run.start(&module(&engine, "sockets.wasm")).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(ended, 0, "{name}: {}", run.text());
        assert_eq!(client.join().expect("a client"), format!("FIRST\n{}", "X".repeat(5000)), "{name}");
    }
}

/// The guests above import, and so call, every function there is.
#[test]
fn every_function_is_called_by_a_guest() {
    let engine = Engine::new(&Config::new()).expect("an engine");
    let mut called = BTreeSet::new();
    for guest in ["program.wasm", "files.wasm", "paths.wasm", "waits.wasm", "sockets.wasm"] {
        called.extend(module(&engine, guest).imports().map(|import| import.name().to_owned()));
    }
    assert_eq!(called, FUNCTIONS.iter().map(|function| function.name.to_owned()).collect());
    assert_eq!(called.len(), 46);
}

/// HOSTILE 1b, GHSA-j366: polling cannot do more work than the fuel that calling it costs allows for: too many
/// subscriptions are refused before they are looked at, and as many as are allowed do not outlive their fuel.
#[test]
fn ghsa_j366_polling_ends_with_the_fuel() {
    let source = |module: &str, count: u32| {
        format!(
            r#"(module
                (import "{module}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 4)
                (func (export "_start") (loop $again
                    (drop (call $poll (i32.const 0) (i32.const 0x20000) (i32.const {count}) (i32.const 0x3fff8)))
                    (br $again))))"#
        )
    };
    for strategy in [Strategy::Interpreter, Strategy::Jit] {
        let mut config = Config::new();
        let engine = Engine::new(config.strategy(strategy).consume_fuel(true)).expect("an engine");
        for interface in ["wasi_snapshot_preview1", "wasi_unstable"] {
            for count in [1024, 1 << 20] {
                let module = Module::new(&engine, source(interface, count)).expect("a module");
                let mut run = Run::new(&engine, &[], &["clock".into()]);
                run.store.set_fuel(20_000).expect("fuel");
                let error = run.start(&module).expect_err("it ends");
                assert_eq!(
                    error.trap().map(aura_runtime::Trap::code),
                    Some(TrapCode::OutOfFuel),
                    "{interface} {count}"
                );
            }
        }
    }
}

/// The adapter speaks as the official runner wants. It needs Python, as that runner does; where there is
/// none, this says so and checks nothing.
#[test]
fn the_adapter_builds_command_lines() {
    let script = r#"
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("adapter", sys.argv[1])
adapter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(adapter)
print(adapter.get_name(), *adapter.get_wasi_versions(), *adapter.get_wasi_worlds())
for root in [None, "/r", pathlib.Path("/r"), [(pathlib.Path("/a"), "b")]]:
    arguments = ("t.wasm", (["x", "--y"], {"N": "v=w"}, root), [], "wasi:cli/command", "wasm32-wasip1")
    print(*adapter.compute_argv(*arguments))
"#;
    let adapter = folder().join("adapter.py");
    let ran =
        Command::new("python3").args(["-B", "-c", script]).arg(&adapter).env("AURA", "/bin/aura --engine jit").output();
    let Ok(ran) = ran else {
        eprintln!("python3 is not installed: the adapter was not checked");
        return;
    };
    let start = "/bin/aura run --engine jit --grant stdio --grant args --grant clock --grant random --grant env=N=v=w";
    let expected = format!(
        "aura wasm32-wasip1 wasi:cli/command\n{start} t.wasm x --y\n{start} --grant fs.write=/r::/ t.wasm x --y\n\
         {start} --grant fs.write=/r::/ t.wasm x --y\n{start} --grant fs.write=/a::b t.wasm x --y\n"
    );
    assert_eq!(String::from_utf8_lossy(&ran.stdout), expected, "{}", String::from_utf8_lossy(&ran.stderr));
    let bare = Command::new("python3").args(["-B"]).arg(&adapter).arg("--version").output().expect("python3");
    assert!(bare.status.success() && bare.stdout.is_empty() && bare.stderr.is_empty(), "it prints nothing by itself");
}

/// The sources that were compiled are those in the folder: each guest has one, and the other way round.
#[test]
fn every_guest_has_its_source() {
    let names = |suffix: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(folder().join("guests")).expect("the guests");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect()
    };
    let mut sources = names(".rs");
    assert!(sources.remove("preview1"), "what they share");
    assert_eq!(names(".wasm"), sources);
}
