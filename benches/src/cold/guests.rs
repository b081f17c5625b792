//! The modules of the comparison: made here by rules, from the repository, or any file.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use aura_benches::Outcome;
use aura_benches::guests::{of_text, prebuilt};

/// A module and what is called of it.
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) wasm: Vec<u8>,
    pub(crate) call: Call,
}

/// The first call of a guest.
#[derive(Clone)]
pub(crate) enum Call {
    /// An export from `i32` to `i32`, and the result that it has to have if that is known.
    Function { export: String, argument: i32, expected: Option<i32> },
    /// The program's `_start`, with the stubs for a host.
    Program,
    /// The program's `_start`, with the engine's own WASI.
    Command {
        args: Vec<String>,
        /// What stands in its output.
        says: &'static str,
    },
}

/// A real program that nobody here wrote: where `examples/real-programs/run.sh` puts it, what it is asked, what it answers.
struct Program {
    name: &'static str,
    file: &'static str,
    args: &'static [&'static str],
    says: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "python",
        file: "runno/package/dist/langs/python-3.11.3.wasm",
        args: &["-B", "-c", "print('started')"],
        says: "started",
    },
    Program {
        name: "ruby",
        file: "runno/package/dist/langs/ruby-3.2.0.wasm",
        args: &["-e", "puts 'started'"],
        says: "started",
    },
    Program { name: "php", file: "runno/package/dist/langs/php-cgi-8.2.0.wasm", args: &["-v"], says: "PHP 8.2.0" },
    Program { name: "esbuild", file: "esbuild/package/esbuild.wasm", args: &["--version"], says: "0.27" },
];

/// The real programs that are in this folder, each printing a line or two.
pub(crate) fn real(packages: &Path) -> Outcome<Vec<Guest>> {
    let mut found = Vec::new();
    for Program { name, file, args, says } in PROGRAMS {
        let file = packages.join(file);
        if file.exists() {
            let args = [*name].iter().chain(*args).map(|arg| (*arg).to_owned()).collect();
            found.push(Guest { name: (*name).to_owned(), wasm: fs::read(file)?, call: Call::Command { args, says } });
        }
    }
    Ok(found)
}

const ONE_FUNCTION: &str = r#"(module
    (func (export "run") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))"#;

const ONE_FUNCTION_AND_A_PAGE: &str = r#"(module (memory 1)
    (func (export "run") (param i32) (result i32)
        (i32.store (i32.const 8) (local.get 0))
        (i32.add (i32.load (i32.const 8)) (i32.const 1))))"#;

/// The guests that the comparison brings along.
pub(crate) fn own() -> Vec<Guest> {
    let plus_one = |name: &str, wasm| Guest::calling(name, wasm, "run", 41, Some(42));
    let mut all = vec![
        plus_one("one-function", of_text(ONE_FUNCTION)),
        plus_one("one-function-one-page", of_text(ONE_FUNCTION_AND_A_PAGE)),
    ];
    for kib in [1, 10, 100, 1024] {
        let wasm = made(kib << 10);
        all.push(Guest::calling(&format!("made-{kib}k"), wasm, "run", 5, None));
    }
    all.push(Guest::calling("compute-fib20", prebuilt("compute.wasm"), "fib", 20, Some(6765)));
    for program in ["sha256sum", "markdown", "loglens"] {
        let wasm = prebuilt(&format!("{program}.wasm"));
        all.push(Guest { name: program.to_owned(), wasm, call: Call::Program });
    }
    all
}

impl Guest {
    fn calling(name: &str, wasm: Vec<u8>, export: &str, argument: i32, expected: Option<i32>) -> Self {
        let call = Call::Function { export: export.to_owned(), argument, expected };
        Self { name: name.to_owned(), wasm, call }
    }

    /// A file: a program, if it exports `_start`, else a module of which `run` is called with 1.
    pub(crate) fn of_file(path: &Path) -> Outcome<Self> {
        let read = |error| format!("cannot read {}: {error}", path.display());
        let wasm = ::wat::parse_bytes(&fs::read(path).map_err(read)?)?.into_owned();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // The name of an export stands in the bytes as it is.
        let call = match wasm.windows(6).any(|window| window == b"_start") {
            true => Call::Program,
            false => Call::Function { export: "run".to_owned(), argument: 1, expected: None },
        };
        Ok(Self { name, wasm, call })
    }
}

/// A module of about so many bytes: functions as compilers make them, with branches, loops, loads, stores and calls. `run`
/// calls a dozen of them; most functions of a program are never called.
fn made(bytes: usize) -> Vec<u8> {
    // What a function of `body` takes, as measured.
    let count = (bytes / 148).max(2);
    let mut text = String::from("(module (memory 1) (table 8 funcref) (elem (i32.const 0) $f0 $f1)\n");
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for index in 0..count {
        body(&mut text, index, count, &mut random);
    }
    text.push_str("(func (export \"run\") (param $n i32) (result i32) (local $sum i32)\n");
    for step in 0..12 {
        let callee = step * count / 12;
        let _ = writeln!(
            text,
            "(local.set $sum (i32.add (local.get $sum) (call $f{callee} (local.get $n) (i32.const 0))))"
        );
    }
    text.push_str("(local.get $sum)))");
    of_text(&text)
}

fn body(text: &mut String, index: usize, count: usize, random: &mut Random) {
    let (a, b, at) = (random.below(1 << 20), random.below(1 << 10), 4 * random.below(8192));
    let callee = (index + 1 + random.below(count as u64) as usize) % count;
    let _ = writeln!(
        text,
        "(func $f{index} (param $n i32) (param $depth i32) (result i32) (local $sum i32) (local $i i32) (local $wide i64)
        (block $done (br_if $done (i32.gt_u (local.get $depth) (i32.const 2)))
            (loop $again
                (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const {a})) (i32.load offset={at} (i32.const 0))))
                (i32.store offset={at} (i32.const 0) (i32.xor (local.get $sum) (local.get $i)))
                (local.set $wide (i64.add (local.get $wide) (i64.extend_i32_u (local.get $sum))))
                (if (i32.and (local.get $sum) (i32.const 1))
                    (then (local.set $sum (i32.shr_u (local.get $sum) (i32.const 3))))
                    (else (local.set $sum (i32.add (local.get $sum) (i32.const {b})))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
            (local.set $sum (i32.add (local.get $sum)
                (call $f{callee} (local.get $n) (i32.add (local.get $depth) (i32.const 1))))))
        (i32.xor (local.get $sum) (i32.wrap_i64 (local.get $wide))))"
    );
}

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
