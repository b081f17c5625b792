//! `aura run`: a program with the rights it was granted, and nothing else.
//!
//! load -> plan (policy, command line) -> link -> grant -> instantiate -> call -> report what was denied. Whatever ends the program
//! (its own exit, a trap, a limit), the denials are reported after it.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use aura_policy::{AuditLog, Digest, Limits, Policy, PolicyGrant, digest};
use aura_runtime::{
    Action, Artifact, Engine, Error, ErrorKind, Extern, ExternType, Func, FuncType, Instance, Linker, Module, Snapshot,
    Store, Subject, TrapCode, Val, Validation,
};
use aura_wasi::WasiCtx;

use crate::args::{EngineArg, RunArgs, UnknownImports};
use crate::cache::{self, Entry};
use crate::denials::{self, Unseen};
use crate::inspect::{extern_text, wasi_function};
use crate::load::{self, Source};
use crate::mapped::{self, Mapped};
use crate::report::{Failure, print, say};
use crate::{policy, values};

/// Where WASI programs start, and where WASI libraries are set up.
const START: &str = "_start";
const INITIALIZE: &str = "_initialize";

/// Runs a program; the exit code is the program's.
///
/// # Errors
/// If it cannot be started, traps, or was called wrongly.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let (file, arguments) = args.program.split_first().expect("the command line requires FILE");
    let arguments = unicode(arguments)?;
    let path = Path::new(file);
    let (plan, Loaded { module, snapshot, entry }) = load(args, path)?;
    let mut program = Program::new(args, path, &module, &arguments, plan)?;
    program.snapshot = snapshot;
    let ended = program.run(args, &arguments);
    // Once it is known which functions a run calls, and which are hot.
    if let Some(entry) = entry {
        entry.keep(&module);
    }
    let unseen = Unseen {
        arguments: args.invoke.is_none() && !arguments.is_empty() && program.missed_arguments(),
        directories: !matches!(ended, Ok(0)) && program.missed_directories(),
    };
    denials::report(program.store.denials(), program.store.data(), unseen);
    program.finish_audit()?;
    ended.map(ExitCode::from)
}

/// Starts a program by the function that `--invoke` names, and gives what it has become with the digest of its module.
///
/// # Errors
/// If it cannot be started, does not return, or has what cannot be captured.
pub(crate) fn capture(args: &RunArgs) -> Result<(Snapshot, Digest), Failure> {
    let (file, arguments) = args.program.split_first().expect("the command line requires FILE");
    let arguments = unicode(arguments)?;
    let path = Path::new(file);
    if args.invoke.is_none() {
        return Err(Failure::usage("nothing to capture: --invoke names the function that initialises the program")
            .help("a program that starts by `_start` runs to its end, and leaves nothing to begin from"));
    }
    let (plan, Loaded { module, snapshot, .. }) = load(args, path)?;
    let content = plan.content;
    let mut program = Program::new(args, path, &module, &arguments, plan)?;
    program.snapshot = snapshot;
    let ended = program.call(args, &arguments);
    denials::report(program.store.denials(), program.store.data(), Unseen { arguments: false, directories: false });
    program.finish_audit()?;
    let cannot = |why: String| Failure::new(format!("cannot capture: {}: {why}", path.display()));
    match ended {
        Ok(()) => {}
        Err(Ended::Failure(failure)) => return Err(failure),
        Err(Ended::Engine(error)) if error.exit_code().is_some() => {
            return Err(cannot("the program ended".to_owned()));
        }
        Err(Ended::Engine(error)) => return Err(program.failure(&error)),
    }
    if let Some(open) = program.store.data().open_handles() {
        return Err(
            cannot(format!("the program has {open} open")).help("it has to close what it opened before it is captured")
        );
    }
    let snapshot = Snapshot::of(&program.store).map_err(|error| cannot(error.to_string()))?;
    Ok((snapshot, content))
}

/// What a program's file holds.
struct Loaded {
    module: Module,
    /// Where it begins, if not as the module says.
    snapshot: Option<Snapshot>,
    /// Its place in the cache.
    entry: Option<Entry>,
}

impl Loaded {
    fn module(module: Module, entry: Option<Entry>) -> Self {
        Self { module, snapshot: None, entry }
    }
}

fn load(args: &RunArgs, path: &Path) -> Result<(Plan, Loaded), Failure> {
    match load::is_artifact(path) {
        true => from_artifact(args, path),
        false => from_module(args, path),
    }
}

/// The program in a module's file: from the cache, if it was validated before; else with its place there.
fn from_module(args: &RunArgs, path: &Path) -> Result<(Plan, Loaded), Failure> {
    let source = Source::read(path)?;
    let plan = Plan::new(args, path, digest(&source.wasm))?;
    let engine = engine(args, &plan.limits)?;
    let is_cached = !args.no_cache && !args.lazy;
    let mut entry = if is_cached { Entry::of(&engine, &source.wasm, plan.content) } else { None };
    if let Some(module) = entry.as_mut().and_then(|entry| entry.load(&engine)) {
        return Ok((plan, Loaded::module(module, entry)));
    }
    Ok((plan, Loaded::module(source.into_module(&engine)?, entry)))
}

/// The program in an artifact, whose label is the digest of its module.
fn from_artifact(args: &RunArgs, path: &Path) -> Result<(Plan, Loaded), Failure> {
    let key = cache::key(args.key.as_deref())?;
    let refused = |error: Error| {
        Failure::new(error.to_string())
            .help("make it again from the module, by `aura compile`, or by `aura snapshot` if it was one")
    };
    let artifact = Artifact::open(path, &key).map_err(refused)?;
    let plan = Plan::new(args, path, Digest(artifact.label()))?;
    let engine = engine(args, &plan.limits)?;
    let has_native = artifact.has_native() && args.machine.engine != EngineArg::Interpreter;
    let leaves_aside = |module: &Module| {
        if has_native && !module.has_native() {
            say("note", format!("the machine code in {} is for other options and is left aside", path.display()));
        }
    };
    if !artifact.is_snapshot() {
        let module = artifact.load(&engine).map_err(refused)?;
        leaves_aside(&module);
        return Ok((plan, Loaded::module(module, None)));
    }
    let snapshot = artifact.load_snapshot(&engine).map_err(refused)?;
    leaves_aside(snapshot.module());
    Ok((plan, Loaded { module: snapshot.module().clone(), snapshot: Some(snapshot), entry: None }))
}

/// What the program is to have: the policy's part for it and the command line's.
struct Plan {
    /// The module's name and the digest of its content, by which policies know it.
    name: String,
    content: Digest,
    grants: Vec<PolicyGrant>,
    limits: Limits,
}

impl Plan {
    fn new(args: &RunArgs, path: &Path, content: Digest) -> Result<Self, Failure> {
        let name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let own = args.all_grants().map_err(Failure::usage)?;
        let policy = args.policy.as_deref().map(policy::read).transpose()?.unwrap_or_default();
        let granted = policy.grants_for(&name, &content).ok_or_else(|| not_its_policy(&policy, &name, &content))?;
        let grants = granted.into_iter().cloned().chain(own.into_iter().map(PolicyGrant::new)).collect();
        Ok(Self { name, content, grants, limits: policy.limits.tighter(args.limits()) })
    }
}

fn not_its_policy(policy: &Policy, name: &str, content: &Digest) -> Failure {
    let subjects: Vec<_> = policy.subjects.iter().map(ToString::to_string).collect();
    Failure::new(format!(
        "the policy is for another module: it names {}, this one is {name}, sha256:{content}",
        subjects.join(", ")
    ))
    .help("use the policy of this module, or name the module in the policy's subject")
}

fn unicode(arguments: &[OsString]) -> Result<Vec<String>, Failure> {
    let arguments = arguments.iter().map(|a| a.to_str().map(str::to_owned));
    arguments.collect::<Option<_>>().ok_or_else(|| Failure::usage("an argument of the program is not Unicode"))
}

fn engine(args: &RunArgs, limits: &Limits) -> Result<Engine, Failure> {
    let mut config = args.machine.config();
    config.deterministic(args.deterministic);
    config.validation(if args.lazy { Validation::Lazy } else { Validation::Eager });
    config.keep_compiled(!args.no_cache && !args.lazy);
    limits.configure(&mut config);
    Engine::new(&config).map_err(|e| Failure::new(format!("no engine: {e}")))
}

/// A program and what it runs in.
struct Program<'a> {
    path: &'a Path,
    module: &'a Module,
    store: Store<WasiCtx>,
    linker: Linker<WasiCtx>,
    plan: Plan,
    audit: Option<AuditLog>,
    snapshot: Option<Snapshot>,
    /// Files to lend once there is an instance.
    mapped: Vec<Mapped>,
}

impl<'a> Program<'a> {
    fn new(
        args: &RunArgs,
        path: &'a Path,
        module: &'a Module,
        arguments: &[String],
        plan: Plan,
    ) -> Result<Self, Failure> {
        let internal = |e: Error| Failure::new(format!("cannot set up the program: {}: {e}", path.display()));
        let mut store = Store::new(module.engine(), WasiCtx::new());
        let mut linker = Linker::new(module.engine());
        linker.host_functions(aura_wasi::FUNCTIONS, |wasi| wasi).map_err(internal)?;
        linker.host_functions(aura_wasi::UNSTABLE_FUNCTIONS, |wasi| wasi).map_err(internal)?;
        linker.host_functions(aura_wasi::NET_FUNCTIONS, |wasi| wasi).map_err(internal)?;
        match args.unknown_imports {
            UnknownImports::Refuse => refuse_unknown(path, module)?,
            UnknownImports::Trap => {
                linker.define_unknown_imports_as_traps(module).map_err(internal)?;
            }
            UnknownImports::Default => {
                linker.define_unknown_imports_as_default_values(module).map_err(internal)?;
            }
        }
        plan.limits.apply(&mut store).map_err(internal)?;
        store.data_mut().set_limits(plan.limits.wasi());
        store.on_grant(|wasi, grant| wasi.attach(grant.clone()).map_err(Error::host));
        let with_name = [plan.name.clone()].into_iter().chain(arguments.iter().cloned()).collect();
        store.data_mut().set_args(with_name).map_err(|e| Failure::usage(e.to_string()))?;
        let audit = args.audit.as_deref().map(|log| begin_audit(log, &plan)).transpose()?;
        store.set_audit(audit.as_ref().map(AuditLog::sink));
        let mut program = Self { path, module, store, linker, plan, audit, snapshot: None, mapped: Vec::new() };
        program.grant()?;
        program.plan.limits.start(&mut program.store);
        Ok(program)
    }

    fn grant(&mut self) -> Result<(), Failure> {
        for grant in &self.plan.grants {
            let spec = &grant.spec;
            if spec.action == Action::Call {
                return Err(Failure::usage(format!(
                    "cannot grant: `{spec}`: this command has no functions of its own"
                ))
                .help("`call:FUNCTION` is for programs that embed Aura and register host functions"));
            }
            let refused = |why: String| {
                Failure::usage(format!("cannot grant: `{spec}`: {why}"))
                    .help(format!("it allows a program to {}", spec.action.describe()))
            };
            let terms = grant.terms().map_err(refused)?;
            let grant = self.store.grant_with(Subject::Store, spec.clone(), terms);
            self.mapped.extend(Mapped::open(&grant.map_err(|e| refused(e.to_string()))?)?);
        }
        Ok(())
    }

    /// Whether the program could have asked for its arguments in vain.
    fn missed_arguments(&self) -> bool {
        let asks = self.module.imports().any(|i| i.name() == "args_get" && i.module().starts_with("wasi"));
        asks && !self.plan.grants.iter().any(|grant| grant.spec.action == Action::Args)
    }

    /// Whether the program looked for directories where none was granted.
    fn missed_directories(&self) -> bool {
        self.store.quiet_denials().iter().any(|denied| denied.name == "fd_prestat_get")
    }

    /// Ends the audit log with the counters, and says by which digest it is known.
    fn finish_audit(&self) -> Result<(), Failure> {
        let Some(log) = &self.audit else { return Ok(()) };
        let head = log.finish(&self.store).map_err(|e| Failure::new(format!("cannot write: the audit log: {e}")))?;
        say("audit", format!("digest {head}"));
        Ok(())
    }

    /// Runs the program; gives its exit code.
    fn run(&mut self, args: &RunArgs, arguments: &[String]) -> Result<u8, Failure> {
        match self.call(args, arguments) {
            Ok(()) => Ok(0),
            Err(Ended::Failure(failure)) => Err(failure),
            Err(Ended::Engine(error)) => match error.exit_code() {
                // Only the low eight bits of an exit code reach a parent process.
                Some(code) => Ok((code & 0xff) as u8),
                None => Err(self.failure(&error)),
            },
        }
    }

    fn call(&mut self, args: &RunArgs, arguments: &[String]) -> Result<(), Ended> {
        let call = match &args.invoke {
            Some(name) => Some(self.arguments_for(name, arguments)?),
            None if self.exported_function(START).is_some() => None,
            None => return Err(self.nothing_to_start().into()),
        };
        if call.is_none() && !self.mapped.is_empty() {
            return Err(Failure::usage("a mapped file has no place: map.read and map.write need --invoke")
                .help("the function gets an address and a length for each file, before its other arguments")
                .into());
        }
        let instance = match &self.snapshot {
            Some(snapshot) => snapshot.instantiate(&self.linker, &mut self.store)?,
            None => self.linker.instantiate(&mut self.store, self.module)?,
        };
        let Some((name, values)) = call else {
            return self.call_export(instance, START, &[]).map(|_| ());
        };
        if self.snapshot.is_none()
            && self.exported_function(START).is_none()
            && self.exported_function(INITIALIZE).is_some()
        {
            self.call_export(instance, INITIALIZE, &[])?;
        }
        // Once the program is initialised, so that what it allocates first lies before the window.
        let memory = instance.get_memory(&self.store, "memory");
        let loans = mapped::lend(&mut self.store, memory, &self.mapped, self.path)?;
        let params = self.exported_function(name).expect("its arguments were parsed");
        let values: Vec<_> = mapped::arguments(&loans, params.params())?.into_iter().chain(values).collect();
        let results = self.call_export(instance, name, &values)?;
        let lines: Vec<_> = results.iter().map(|value| values::show(value) + "\n").collect();
        Ok(print(&lines.concat())?)
    }

    fn exported_function(&self, name: &str) -> Option<FuncType> {
        self.module.exports().find(|e| e.name() == name).and_then(|e| match e.ty() {
            ExternType::Func(ty) => Some(ty.clone()),
            _ => None,
        })
    }

    fn arguments_for<'n>(&self, name: &'n str, arguments: &[String]) -> Result<(&'n str, Vec<Val>), Failure> {
        let path = self.path.display();
        let Some(ty) = self.exported_function(name) else {
            return Err(Failure::usage(format!("no such function: {path}: `{name}` is not exported"))
                .help(self.exported_functions_text()));
        };
        let signature = format!("`{name}` has the type {ty}");
        let of_files = 2 * self.mapped.len();
        if ty.params().len() != of_files + arguments.len() {
            let (expected, given) = (ty.params().len(), of_files + arguments.len());
            return Err(Failure::usage(format!(
                "wrong number of arguments: {path}: {expected} expected, {given} given"
            ))
            .help(signature));
        }
        let parsed = arguments.iter().zip(&ty.params()[of_files..]).enumerate().map(|(index, (text, ty))| {
            values::parse(text, *ty).map_err(|why| {
                Failure::usage(format!("wrong argument: {path}: argument {}: {why}", index + 1)).help(&signature)
            })
        });
        Ok((name, parsed.collect::<Result<_, _>>()?))
    }

    fn call_export(&mut self, instance: Instance, name: &str, values: &[Val]) -> Result<Vec<Val>, Ended> {
        let func: Func = match instance.get_export(&mut self.store, name) {
            Some(Extern::Func(func)) => func,
            _ => return Err(Failure::new(format!("the instance lost its export `{name}`")).into()),
        };
        let mut results = vec![Val::I32(0); func.ty(&self.store).results().len()];
        func.call(&mut self.store, values, &mut results)?;
        Ok(results)
    }

    fn nothing_to_start(&self) -> Failure {
        let path = self.path.display();
        Failure::new(format!("nothing to start: {path}: the module exports no function `{START}`"))
            .help(self.exported_functions_text())
    }

    fn exported_functions_text(&self) -> String {
        let functions = self.module.exports().filter_map(|e| match e.ty() {
            ExternType::Func(ty) => Some(format!("\n  {} {ty}", e.name())),
            _ => None,
        });
        let functions: Vec<_> = functions.collect();
        if functions.is_empty() {
            return "the module exports no function at all".to_owned();
        }
        format!("call an exported function with --invoke NAME:{}", functions.concat())
    }

    fn failure(&self, error: &Error) -> Failure {
        let path = self.path.display();
        if let Some(trap) = error.trap() {
            let failure = Failure::trap(self.path, error);
            return match trap.code() {
                TrapCode::OutOfFuel => failure.help("the limit was set by --fuel or the policy's fuel"),
                TrapCode::Interrupted => failure.help("the limit was set by --timeout or the policy's timeout"),
                _ => failure,
            };
        }
        match error.kind() {
            ErrorKind::Link => Failure::new(format!("cannot link: {path}: {error}")),
            ErrorKind::Resource | ErrorKind::Limit => Failure::new(format!("not enough room: {path}: {error}"))
                .help("--max-memory and the policy's memory set the limit of memories"),
            _ => Failure::new(format!("the program failed: {path}: {error}")),
        }
    }
}

fn begin_audit(log: &Path, plan: &Plan) -> Result<AuditLog, Failure> {
    AuditLog::create(log, &plan.name, &plan.content).map_err(|error| {
        Failure::io("begin audit log", log, &error)
            .help("each run has a log of its own: name a file that does not exist")
    })
}

/// Why the program ended before its entry function returned.
enum Ended {
    Engine(Error),
    Failure(Failure),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Refuses a module with imports that are missing or of another type, naming all of them.
fn refuse_unknown(path: &Path, module: &Module) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for import in module.imports() {
        let (ty, name) = (import.ty(), format!("{}.{}", import.module(), import.name()));
        match wasi_function(import.module(), import.name()) {
            None => wrong.push(format!("\n  {name}: {}: not provided", extern_text(ty))),
            Some(function) => {
                let provided =
                    ExternType::Func(FuncType::new(function.params.iter().copied(), function.results.iter().copied()));
                if *ty != provided {
                    let (asked, provided) = (extern_text(ty), extern_text(&provided));
                    wrong.push(format!("\n  {name}: {asked}: provided is a {provided}"));
                }
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("missing imports: {}:{}", path.display(), wrong.concat()))
        .help("--unknown-imports trap (or default) starts the program without what is not provided"))
}
