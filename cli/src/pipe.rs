//! `aura pipe`: standard input through a program to standard output, in constant memory and without a copy.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use aura_policy::Limits;
use aura_runtime::{Access, Engine, Error, GrantSpec, Instance, Linker, Module, Ring, Store, Subject, TypedFunc};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::PipeArgs;
use crate::load::Source;
use crate::report::Failure;

/// The function that takes the stream: `(in, in_len, last, out, out_len) -> consumed + produced * 2^32`.
const STREAM: &str = "aura_stream";
type Step = TypedFunc<(u32, u32, u32, u32, u32), i64>;

/// Streams standard input through a program.
///
/// # Errors
/// If it is no such program, traps, or refuses; if a stream cannot be read or written.
pub(crate) fn pipe(args: &PipeArgs) -> Result<ExitCode, Failure> {
    let source = Source::read(&args.file)?;
    let limits = Limits { memory: args.max_memory, timeout: args.timeout, ..Limits::default() };
    let mut config = args.machine.config();
    limits.configure(&mut config);
    let engine = Engine::new(&config).map_err(|e| Failure::new(format!("no engine: {e}")))?;
    let module = source.module(&engine)?;
    let mut store = Store::new(&engine, ());
    limits.apply(&mut store).map_err(|error| failed(&args.file, &error))?;
    limits.start(&mut store);
    Pipe::new(args, &mut store, &module)?.run(&mut store, &args.file)
}

struct Pipe {
    step: Step,
    input: Ring,
    output: Ring,
    progress: ProgressBar,
}

impl Pipe {
    fn new(args: &PipeArgs, store: &mut Store<()>, module: &Module) -> Result<Self, Failure> {
        let path = &args.file;
        let not_a_pipe = |why: String| {
            Failure::new(format!("cannot stream through: {}: {why}", path.display()))
                .help("guest/README.md has the interface of such programs")
        };
        let engine = module.engine().clone();
        let instance: Instance = Linker::new(&engine).instantiate(&mut *store, module).map_err(|error| {
            let failure = failed(path, &error);
            if module.imports().len() > 0 { failure.help("a program of `aura pipe` has no imports") } else { failure }
        })?;
        let step = instance.get_typed_func(&*store, STREAM).map_err(|error| not_a_pipe(error.to_string()))?;
        let memory = instance.get_memory(&*store, "memory");
        let memory = memory.ok_or_else(|| not_a_pipe("the module exports no memory `memory`".to_owned()))?;
        let room = |error: Error| not_a_pipe(error.to_string());
        let window = memory.add_window(&mut *store, 4 * args.window).map_err(room)?;
        let mut ring = |at, spec, access| {
            let grant = store.grant(Subject::Store, spec)?;
            Ring::new(&mut *store, &window, &grant, at, args.window, access)
        };
        let input = ring(0, GrantSpec::map_read("standard input"), Access::Read).map_err(room)?;
        let output = ring(2 * args.window, GrantSpec::map_write("standard output"), Access::Write).map_err(room)?;
        Ok(Self { step, input, output, progress: progress() })
    }

    fn run(mut self, store: &mut Store<()>, path: &Path) -> Result<ExitCode, Failure> {
        let (mut stdin, mut stdout) = (std::io::stdin(), std::io::stdout());
        let mut last = false;
        loop {
            if !last {
                let full = self.input.free().1 == 0;
                let count = self.input.fill_from(&mut stdin);
                let count = count.map_err(|error| Failure::new(format!("cannot read: standard input: {error}")))?;
                last = count == 0 && !full;
                self.progress.inc(count);
            }
            let (consumed, produced) = self.call(store, last, path)?;
            let written = self.output.drain_to(&mut stdout);
            written.map_err(|error| Failure::new(format!("cannot write: standard output: {error}")))?;
            let idle = consumed == 0 && produced == 0;
            if idle && !last && self.input.free().1 == 0 {
                return Err(Failure::new(format!(
                    "the program is stuck: {}: it has no room for more input and does nothing with what there is",
                    path.display()
                ))
                .help("--window makes more room"));
            }
            if idle && last {
                self.progress.finish_and_clear();
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    /// Lets the program work on what is pending; how much it consumed and produced.
    fn call(&mut self, store: &mut Store<()>, last: bool, path: &Path) -> Result<(u64, u64), Failure> {
        let (input, output) = (self.input.pending(), self.output.free());
        // The window lies in a 32-bit memory, or the function would have another type.
        let args = (input.0 as u32, input.1 as u32, last.into(), output.0 as u32, output.1 as u32);
        let result = self.step.call(&mut *store, args).map_err(|error| failed(path, &error))?;
        let Ok(result) = u64::try_from(result) else {
            return Err(Failure::new(format!("the program gave up: {}: its error {}", path.display(), -1 - result)));
        };
        let (consumed, produced) = (result & u64::from(u32::MAX), result >> 32);
        let claims = self.input.consume(consumed).and_then(|()| self.output.produce(produced));
        claims.map_err(|error| Failure::new(format!("the program is wrong: {}: {error}", path.display())))?;
        Ok((consumed, produced))
    }
}

fn failed(path: &Path, error: &Error) -> Failure {
    match error.trap() {
        Some(_) => Failure::trap(path, error),
        None => Failure::new(format!("the program failed: {}: {error}", path.display())),
    }
}

/// Shows how much went through, on a terminal that nothing is printed on.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() || std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bytes} at {bytes_per_sec}, {elapsed}").expect("a template");
    ProgressBar::new_spinner().with_style(style)
}
