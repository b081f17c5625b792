//! `restore`: a language interpreter that starts by itself, beside one that begins where another was after its start.
//!
//! ```text
//! cargo run --release -p aura-benches --bin restore -- [--rounds N] [--only WORD] FILE...
//! ```
//!
//! FILE is a module with exported functions to set an interpreter up and to evaluate text: `quickjs.wasm` of the npm package
//! `quickjs-wasi`, or `ruby+stdlib.wasm` of `@ruby/3.4-wasm-wasi`; which it is, its exports say. Each round has every way one
//! (of those with WORD in their names) after the other: from nothing to the result of the same text. The first two ways run
//! code that is compiled by then; the others load a module anew, of which nothing is. Figures are medians; Markdown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aura_benches::{Outcome, machine, median};
use aura_runtime::{
    Artifact, ArtifactKey, AsContextMut, Capability, Config, Engine, Error, Image, ImageConfig, Instance, Linker,
    Module, Store, Subject, Terms, Val,
};
use aura_wasi::WasiCtx;

/// Artifacts of the comparison are believed by nobody else.
const KEY: ArtifactKey = ArtifactKey::new([0x5a; ArtifactKey::LEN]);

/// An instance in its store.
struct Guest<'s> {
    store: &'s mut Store<WasiCtx>,
    instance: Instance,
}

impl Guest<'_> {
    /// Calls an export with numbers of 32 bits; its result as bits, 0 if there is none.
    fn call(&mut self, export: &str, args: &[u32]) -> Outcome<u64> {
        let func = self.instance.get_func(&*self.store, export).ok_or_else(|| format!("no export {export}"))?;
        let args: Vec<Val> = args.iter().map(|arg| Val::I32(arg.cast_signed())).collect();
        let mut results = vec![Val::I32(0); func.ty(&*self.store).results().len()];
        func.call(&mut *self.store, &args, &mut results)?;
        Ok(match results.first() {
            Some(Val::I32(value)) => u64::from(value.cast_unsigned()),
            Some(Val::F64(bits)) => *bits,
            Some(Val::I64(value)) => value.cast_unsigned(),
            _ => 0,
        })
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Outcome<()> {
        let memory = self.instance.get_memory(&*self.store, "memory").ok_or("no memory")?;
        Ok(memory.write(self.store.as_context_mut(), at as usize, bytes)?)
    }

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Outcome<()> {
        let memory = self.instance.get_memory(&*self.store, "memory").ok_or("no memory")?;
        Ok(memory.read(&*self.store, at as usize, bytes)?)
    }

    fn read_u32(&mut self, at: u32) -> Outcome<u32> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

/// How an interpreter is used.
struct Language {
    name: &'static str,
    /// The export by which it is known.
    export: &'static str,
    set_up: fn(&mut Guest<'_>) -> Outcome<()>,
    evaluate: fn(&mut Guest<'_>, &str) -> Outcome<String>,
    text: &'static str,
    result: &'static str,
}

const LANGUAGES: [Language; 2] = [
    Language {
        name: "QuickJS",
        export: "qjs_init",
        set_up: |guest| {
            guest.call("_initialize", &[])?;
            guest.call("qjs_init", &[]).map(drop)
        },
        evaluate: javascript,
        text: "[1, 2, 3, 4].map(x => x * x).reduce((a, b) => a + b)",
        result: "30",
    },
    Language {
        name: "Ruby",
        export: "ruby-init: func(args: list<string>) -> ()",
        set_up: ruby_set_up,
        evaluate: ruby,
        text: "[1, 2, 3, 4].map { |x| x * x }.sum.to_s",
        result: "30",
    },
];

fn javascript(guest: &mut Guest<'_>, text: &str) -> Outcome<String> {
    let at = guest.call("wasm_malloc", &[text.len() as u32 + 6])? as u32;
    guest.write(at, format!("{text}\0eval\0").as_bytes())?;
    let file = at + text.len() as u32 + 1;
    let value = guest.call("qjs_eval", &[at, text.len() as u32, file, 0])? as u32;
    Ok(f64::from_bits(guest.call("qjs_get_float64", &[value])?).to_string())
}

/// Puts text into the guest's memory.
fn ruby_string(guest: &mut Guest<'_>, text: &str) -> Outcome<[u32; 2]> {
    let len = text.len() as u32;
    let at = guest.call("cabi_realloc", &[0, 0, 1, len])? as u32;
    guest.write(at, text.as_bytes())?;
    Ok([at, len])
}

fn ruby_set_up(guest: &mut Guest<'_>) -> Outcome<()> {
    guest.call("_initialize", &[])?;
    let arguments = ["ruby.wasm\0", "-EUTF-8\0", "-e_=0\0"];
    let list = guest.call("cabi_realloc", &[0, 0, 4, 8 * arguments.len() as u32])? as u32;
    for (index, argument) in (0..).zip(arguments) {
        let [at, len] = ruby_string(guest, argument)?;
        guest.write(list + 8 * index, [at.to_le_bytes(), len.to_le_bytes()].as_flattened())?;
    }
    guest.call("ruby-init: func(args: list<string>) -> ()", &[list, arguments.len() as u32]).map(drop)
}

fn ruby(guest: &mut Guest<'_>, text: &str) -> Outcome<String> {
    let [at, len] = ruby_string(guest, text)?;
    let evaluated = "rb-eval-string-protect: func(str: string) -> tuple<handle<rb-abi-value>, s32>";
    let pair = guest.call(evaluated, &[at, len])? as u32;
    let (value, state) = (guest.read_u32(pair)?, guest.read_u32(pair + 4)?);
    if state != 0 {
        return Err(format!("Ruby raised an exception: state {state}").into());
    }
    let string = guest.call("rstring-ptr: func(value: handle<rb-abi-value>) -> string", &[value])? as u32;
    let (at, len) = (guest.read_u32(string)?, guest.read_u32(string + 4)?);
    let mut bytes = vec![0; len as usize];
    guest.read(at, &mut bytes)?;
    Ok(String::from_utf8(bytes)?)
}

fn linker(engine: &Engine, module: &Module) -> Outcome<Linker<WasiCtx>> {
    let mut linker = Linker::new(engine);
    linker.host_functions(aura_wasi::FUNCTIONS, |wasi| wasi)?;
    // Values of Ruby are known to the host by the numbers that Ruby gives them.
    linker.func_wrap("canonical_abi", "resource_new_rb-abi-value", |value: i32| value)?;
    linker.func_wrap("canonical_abi", "resource_get_rb-abi-value", |value: i32| value)?;
    linker.define_unknown_imports_as_default_values(module)?;
    Ok(linker)
}

/// Interpreters ask for the time when they are set up.
fn attach(wasi: &mut WasiCtx, grant: &Arc<Capability>) -> Result<(), Error> {
    wasi.attach(grant.clone()).map_err(Error::host)
}

/// How long each way is run before the rounds.
const WARM_UP: Duration = Duration::from_secs(3);

/// The ways to the first result.
const WAYS: [&str; 4] = [
    "its own start: store, instance, set up, evaluate",
    "an image of a snapshot: instance, evaluate",
    "its own start from an artifact of the module: open, load, set up, evaluate",
    "an artifact of a snapshot: open, load, instance, evaluate",
];

struct Case {
    language: &'static Language,
    engine: Engine,
    module: Module,
    linker: Linker<WasiCtx>,
    image: Image<WasiCtx>,
    files: [PathBuf; 2],
}

impl Case {
    fn new(path: &Path, work: &Path) -> Outcome<Self> {
        let engine = Engine::new(&Config::new())?;
        let module = Module::from_file(&engine, path)?;
        let has = |language: &&Language| module.exports().any(|export| export.name() == language.export);
        let language = LANGUAGES.iter().find(has).ok_or("no interpreter that is known here")?;
        let linker = linker(&engine, &module)?;
        let mut config = ImageConfig::new();
        config.open_handles(WasiCtx::open_handles).on_grant(attach).grant("clock".parse()?, Terms::default());
        let plain = Image::new(&linker, &module, &config)?;
        let mut started = plain.instantiate(WasiCtx::new())?;
        let instance = started.instance();
        (language.set_up)(&mut Guest { store: &mut started, instance })?;
        let snapshot = aura_runtime::Snapshot::of(&*started)?;
        let image = Image::of_snapshot(&linker, &snapshot, &config)?;
        let files = ["module.aura", "snapshot.aura"].map(|name| work.join(name));
        std::fs::write(&files[0], module.to_artifact(&KEY, [0; 32])?)?;
        std::fs::write(&files[1], snapshot.to_artifact(&KEY, [0; 32])?)?;
        Ok(Self { language, engine, module, linker, image, files })
    }

    /// Whatever the way, the result has to be right.
    fn evaluate(&self, store: &mut Store<WasiCtx>, instance: Instance) -> Outcome<()> {
        let result = (self.language.evaluate)(&mut Guest { store, instance }, self.language.text)?;
        match result == self.language.result {
            true => Ok(()),
            false => Err(format!("{} gave {result}", self.language.name).into()),
        }
    }

    fn store(&self) -> Outcome<Store<WasiCtx>> {
        let mut store = Store::new(&self.engine, WasiCtx::new());
        store.on_grant(attach);
        store.grant(Subject::Store, "clock".parse()?)?;
        Ok(store)
    }

    fn start(&self, module: &Module) -> Outcome<()> {
        let mut store = self.store()?;
        let instance = self.linker.instantiate(&mut store, module)?;
        (self.language.set_up)(&mut Guest { store: &mut store, instance })?;
        self.evaluate(&mut store, instance)
    }

    /// Has what a way makes hot compiled, as far as that goes within some seconds.
    fn warm_up(&self, way: usize) -> Outcome<()> {
        let begin = Instant::now();
        while begin.elapsed() < WARM_UP {
            self.run(way)?;
        }
        Ok(())
    }

    fn run(&self, way: usize) -> Outcome<Duration> {
        // What another way made hot is not compiled on this one's time.
        self.engine.wait_for_compilation();
        let begin = Instant::now();
        match way {
            0 => self.start(&self.module)?,
            1 => {
                let mut instance = self.image.instantiate(WasiCtx::new())?;
                let handle = instance.instance();
                self.evaluate(&mut instance, handle)?;
            }
            2 => self.start(&Artifact::open(&self.files[0], &KEY)?.load(&self.engine)?)?,
            _ => {
                let snapshot = Artifact::open(&self.files[1], &KEY)?.load_snapshot(&self.engine)?;
                let mut store = self.store()?;
                let instance = snapshot.instantiate(&self.linker, &mut store)?;
                self.evaluate(&mut store, instance)?;
            }
        }
        Ok(begin.elapsed())
    }
}

fn main() -> Outcome<()> {
    let (mut rounds, mut only, mut files) = (15, String::new(), Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => rounds = args.next().ok_or("--rounds: a value is missing")?.parse::<usize>()?.max(1),
            "--only" => only = args.next().ok_or("--only: a value is missing")?,
            _ => files.push(PathBuf::from(arg)),
        }
    }
    let mut out = String::from("# Bench `restore`\n\n");
    machine::describe(&mut out)?;
    print!("{out}\nMedians of {rounds} interleaved rounds, each from nothing to the result of the same text.\n");
    for file in &files {
        let work = tempfile::tempdir()?;
        let case = Case::new(file, work.path())?;
        let is_asked = |way: &usize| WAYS[*way].contains(&only);
        (0..WAYS.len()).filter(is_asked).try_for_each(|way| case.warm_up(way))?;
        let mut taken = WAYS.map(|_| Vec::new());
        for _ in 0..rounds {
            for way in (0..WAYS.len()).filter(is_asked) {
                taken[way].push(case.run(way)?.as_nanos() as f64);
            }
        }
        // Ways that were not asked for have no samples.
        let medians = taken.map(|mut samples| if samples.is_empty() { f64::NAN } else { median(&mut samples) });
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |about| about.len());
        println!(
            "\n## {}\n\n`{}`, {} bytes; the artifact of its module has {} bytes, that of its snapshot {}. The text: `{}`.\n",
            case.language.name,
            file.file_name().unwrap_or_default().to_string_lossy(),
            bytes(file),
            bytes(&case.files[0]),
            bytes(&case.files[1]),
            case.language.text
        );
        println!(
            "| way | time | of its own start, all compiled | of its own start from an artifact |\n|---|--:|--:|--:|"
        );
        for (name, time) in WAYS.iter().zip(medians) {
            let share = |of: f64| if of < time { format!("{:.1}", time / of) } else { format!("1/{:.0}", of / time) };
            println!("| {name} | {} | {} | {} |", machine::time(time), share(medians[0]), share(medians[2]));
        }
    }
    Ok(())
}
