//! What can be asked of the command: flags, their values and their help.
//!
//! `run` is the default: a first word that names no subcommand is a file to run, or a flag of `run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use aura_policy::units::{parse_bytes, parse_duration};
use aura_runtime::{Action, Bounds, Config, Features, GrantSpec, Strategy};
use aura_spec_tests::Version;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  aura --grant stdio hello.wasm                           run a program that may print
  aura --grant stdio --grant args \\
       --grant fs.read=./data::/data tool.wasm /data/x    one that may also read one directory
  aura --invoke add math.wat 2 40                         call an exported function
  aura inspect tool.wasm                                  see what a program would ask for
  aura --policy tool.toml tool.wasm /data/x               the same, with the grants in a file
  aura policy diff old.toml new.toml                      see what a new policy adds and removes
  aura wast --engine all --bounds all tests/              run WebAssembly test scripts";

const PIPE_EXAMPLES: &str = "\
Examples:
  aura pipe examples/guests/logscan.wasm < access.log     a report on a log of any size
  zcat logs.gz | aura pipe --window 4MiB skill.wasm       with more room for one record

The program exports its memory and a function `aura_stream`; guest/README.md has the interface. It gets no grant:
the stream lies in its memory, for as long as it runs.";

const COMPILE_EXAMPLES: &str = "\
Examples:
  aura compile tool.wasm                    write tool.aura
  aura compile tool.wasm -o /opt/tool.aura  write it there
  aura --grant stdio tool.aura              run it; refused if anybody changed it
  aura compile --native tool.wasm           with machine code, which runs take from their first call on
  aura compile --native --with-fuel tool.wasm    for runs with --fuel, or under a policy that limits fuel

An artifact is for this build of the command and for whoever has the key: artifact.key in the
configuration directory, made at first use, readable by its owner only.

Machine code is for processors that can do what this one can, and for runs with the same --bounds, --deterministic
and fuel. Other runs interpret and compile as they would without it, and say so; other processors refuse the artifact.
Functions that are too large to be compiled are interpreted; the command says how many.";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  aura snapshot --invoke init tool.wasm         write tool.aura: tool.wasm once `init` has returned
  aura snapshot dict.wasm --invoke load -o en.aura -- -v en     what follows `--` is the program's
  aura --invoke answer tool.aura 42             begins there: `init` is not called again

A program that only has `_start` runs to its end, and leaves nothing to begin from. What a snapshot cannot have is refused:
open files, directories and sockets beside what was granted, references to objects and to values of the host. The runs that
begin there get grants, arguments and environment of their own: grant them what the program was granted when it was
captured, in the same order.";

const INSPECT_EXAMPLES: &str = "\
Examples:
  aura inspect tool.wasm               what the module is, and which grants its imports need
  aura inspect tool.aura               who made the artifact and what for, what it holds, whether anything was changed
  aura inspect --key ci.key tool.aura  the same for an artifact of another key

All of an artifact is read and compared with its tags; the exit code is 1 if anything differs.";

const HOSTILE_EXAMPLES: &str = "\
Examples:
  aura hostile                          all shapes on the interpreter and on the compiler
  aura hostile --engine jit deep loops  those with one of these words in their names";

/// The examples, and the grants as the table of actions has them.
fn examples() -> String {
    format!(
        "{EXAMPLES}\n\nA program sees nothing that was not granted. The grants are:\n{}  none  nothing at all, explicitly",
        Action::table()
    )
}

/// Runs WebAssembly programs that see nothing until it is granted.
#[derive(Debug, Parser)]
#[command(name = "aura", version, after_help = examples(), disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program (the default: `aura FILE` is `aura run FILE`)
    #[command(after_help = examples())]
    Run(Box<RunArgs>),
    /// Stream standard input through a program to standard output
    #[command(after_help = PIPE_EXAMPLES)]
    Pipe(PipeArgs),
    /// Run WebAssembly test scripts
    Wast(WastArgs),
    /// Show what a module or an artifact is and what it would ask for
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Show a stage of a module's life as text
    Dump(DumpArgs),
    /// Prove that instances of a module leave nothing behind in the slots they used
    #[command(after_help = LEAKCHECK_EXAMPLES)]
    Leakcheck(LeakcheckArgs),
    /// Check policies and compare their reach
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Prove that an audit log is whole
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Write a module down as validated, so that it starts without being validated again
    #[command(after_help = COMPILE_EXAMPLES)]
    Compile(CompileArgs),
    /// Start a program, and write down what it has become: runs of that begin there
    #[command(after_help = SNAPSHOT_EXAMPLES, mut_arg("program", |program| program.trailing_var_arg(false)))]
    Snapshot(Box<SnapshotArgs>),
    /// Show or empty the cache of what `run` validated and compiled
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Run modules that are made to cost, and show what they cost; exit code 1 if one passes the limits
    #[command(after_help = HOSTILE_EXAMPLES)]
    Hostile(HostileArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Puts `run` before a first word that is no subcommand and asks for neither help nor version.
pub(crate) fn with_default_command(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<_> = args.collect();
    let Some(first) = args.get(1) else {
        return args;
    };
    let own = ["-h", "--help", "-V", "--version"];
    let known = Cli::command().get_subcommands().any(|c| first == c.get_name()) || own.iter().any(|f| first == f);
    if !known {
        args.insert(1, "run".into());
    }
    args
}

/// The tiers to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    Interpreter,
    Jit,
    Auto,
}

impl From<EngineArg> for Strategy {
    fn from(arg: EngineArg) -> Self {
        match arg {
            EngineArg::Interpreter => Self::Interpreter,
            EngineArg::Jit => Self::Jit,
            EngineArg::Auto => Self::Auto,
        }
    }
}

/// How accesses to memory are kept in bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BoundsArg {
    /// Protected pages around the memory
    Guard,
    /// A comparison before each access
    Explicit,
}

impl From<BoundsArg> for Bounds {
    fn from(arg: BoundsArg) -> Self {
        match arg {
            BoundsArg::Guard => Self::Guard,
            BoundsArg::Explicit => Self::Explicit,
        }
    }
}

/// What becomes of imports that nothing provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnknownImports {
    /// The program is not started
    Refuse,
    /// Calling one is a trap
    Trap,
    /// Each function returns zeros
    Default,
}

/// Which proposals modules may use.
#[derive(Args, Debug)]
pub(crate) struct FeatureArgs {
    /// Let modules use a proposal, or forbid it by a `-` before its name; may be repeated
    #[arg(short = 'W', long = "feature", value_name = "[-]NAME", value_parser = feature, allow_hyphen_values = true,
          value_delimiter = ',', long_help = features_help())]
    features: Vec<Switch>,
}

impl FeatureArgs {
    /// Switches the proposals in a configuration, the last switch of one counting.
    pub(crate) fn apply(&self, config: &mut Config) {
        let switched = self.features.iter().fold(Features::default(), |features, switch| {
            features.with(switch.name, switch.on).expect("the command line was parsed")
        });
        config.features(switched);
    }
}

/// A proposal to switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Switch {
    name: &'static str,
    on: bool,
}

/// `NAME`, `-NAME`, or `NAME=y` and `NAME=n`.
fn feature(text: &str) -> Result<Switch, String> {
    let (name, on) = match (text.strip_prefix('-'), text.rsplit_once('=')) {
        (Some(name), _) => (name, false),
        (None, Some((name, "y" | "yes" | "true"))) => (name, true),
        (None, Some((name, "n" | "no" | "false"))) => (name, false),
        _ => (text, true),
    };
    let known = Features::known().find(|(known, _)| *known == name.replace('_', "-"));
    let Some((name, _)) = known else {
        let refused = Features::default().with(name, true).expect_err("the name is not among those known");
        let names: Vec<_> = Features::known().map(|(name, _)| name).collect();
        return Err(format!("{refused}; known are {}", names.join(", ")));
    };
    Ok(Switch { name, on })
}

fn features_help() -> String {
    let mut help = String::from("Let modules use a proposal, or forbid it by a `-` before its name; may be repeated");
    for (name, what) in Features::known() {
        let default = if Features::default().has(name) { "on" } else { "off" };
        help.push_str(&format!("\n  {name:<24} {what} Default: {default}"));
    }
    help
}

/// What a program runs on.
#[derive(Args, Debug)]
pub(crate) struct MachineArgs {
    /// What runs the code
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) engine: EngineArg,
    /// How accesses to memory are kept in bounds
    #[arg(long, value_enum, default_value = "guard")]
    pub(crate) bounds: BoundsArg,
    /// Make no machine code for what is warm in the interpreter, before the compiler is asked (with `--engine auto`)
    #[arg(long)]
    pub(crate) no_baseline: bool,
    #[command(flatten)]
    pub(crate) features: FeatureArgs,
}

impl MachineArgs {
    /// The configuration that says the same.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new();
        config.strategy(self.engine.into()).bounds(self.bounds.into());
        if self.no_baseline {
            config.baseline(false);
        }
        self.features.apply(&mut config);
        config
    }
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Let the program do the same on every engine and machine: the same bits, traps and fuel
    #[arg(long)]
    pub(crate) deterministic: bool,
    /// Grant the program a right; may be repeated; `none` says that there is to be none
    #[arg(long = "grant", value_name = "ACTION[=RESOURCE]", value_parser = grant)]
    pub(crate) grants: Vec<GrantArg>,
    /// Take grants and limits from this file; those on the command line come on top, the tighter limit counts
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Write each use of a grant to this file, which must not exist; `aura audit verify` proves it whole
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,
    /// Short for a grant of fs.write on the directory
    #[arg(long = "dir", value_name = "HOST[::GUEST]", value_parser = directory)]
    pub(crate) dirs: Vec<GrantSpec>,
    /// Short for --grant env=NAME[=VALUE]
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = variable)]
    pub(crate) env: Vec<GrantSpec>,
    /// Call this exported function with ARGS instead of starting the program. Each file of a grant of map.read or
    /// map.write, in order, adds an address and a length before ARGS
    #[arg(long, value_name = "NAME")]
    pub(crate) invoke: Option<String>,
    /// End the program after about this many operators
    #[arg(long, value_name = "N")]
    pub(crate) fuel: Option<u64>,
    /// End the program after this time, such as 2s or 500ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Let the program's memories grow to this size together, such as 64MiB
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_memory: Option<u64>,
    /// Let the program's tables have this many elements together
    #[arg(long, value_name = "N")]
    pub(crate) max_tables: Option<u64>,
    /// Give the program this much stack, 64KiB to 1GiB
    #[arg(long, value_name = "BYTES", value_parser = parse_stack)]
    pub(crate) max_stack: Option<u64>,
    /// Let the program have this many descriptors open at a time
    #[arg(long, value_name = "N")]
    pub(crate) max_handles: Option<u64>,
    /// Move no more than this in one call of a function
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_call_bytes: Option<u64>,
    /// Let the program write no more than this to standard output and standard error together
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_output: Option<u64>,
    /// What becomes of imports that nothing provides
    #[arg(long, value_enum, default_value = "refuse")]
    pub(crate) unknown_imports: UnknownImports,
    /// Neither look for the module and its machine code in the cache nor put them there
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Validate each function when it is first called, not all before the program starts
    #[arg(long)]
    pub(crate) lazy: bool,
    /// Believe artifacts made with the key in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A module (.wasm or .wat) or an artifact (.aura), then the program's arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["FILE", "ARGS"])]
    pub(crate) program: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct PipeArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// How much of the stream lies in the program's memory at a time, and as much of its output
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_window)]
    pub(crate) window: u64,
    /// End the program after this time, such as 2s or 500ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Let the program's memories grow to this size together, such as 64MiB
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_memory: Option<u64>,
    /// A module (.wasm or .wat)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

fn parse_window(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    let fits = (64 << 10..=256 << 20).contains(&bytes) && bytes.is_multiple_of(64 << 10);
    if fits { Ok(bytes) } else { Err(format!("`{text}`: a window is 64KiB to 256MiB, in steps of 64KiB")) }
}

/// What one `--grant` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GrantArg {
    /// The program is to have no right at all.
    None,
    Some(GrantSpec),
}

fn grant(text: &str) -> Result<GrantArg, String> {
    let parsed = GrantSpec::parse_or_none(text).map_err(|error| error.to_string())?;
    Ok(parsed.map_or(GrantArg::None, GrantArg::Some))
}

impl RunArgs {
    /// The grants of the command line.
    ///
    /// # Errors
    /// If `none` does not stand alone.
    pub(crate) fn all_grants(&self) -> Result<Vec<GrantSpec>, &'static str> {
        let named = self.grants.iter().filter_map(|grant| match grant {
            GrantArg::None => None,
            GrantArg::Some(spec) => Some(spec),
        });
        let all: Vec<_> = named.chain(&self.dirs).chain(&self.env).cloned().collect();
        let none = self.grants.contains(&GrantArg::None);
        if none && !all.is_empty() { Err("`--grant none` stands alone: another grant contradicts it") } else { Ok(all) }
    }

    /// The limits of the command line.
    pub(crate) fn limits(&self) -> aura_policy::Limits {
        aura_policy::Limits {
            memory: self.max_memory,
            tables: self.max_tables,
            instances: None,
            stack: self.max_stack,
            fuel: self.fuel,
            timeout: self.timeout,
            handles: self.max_handles,
            call_bytes: self.max_call_bytes,
            output: self.max_output,
        }
    }
}

fn parse_stack(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    if (64 << 10..=1 << 30).contains(&bytes) { Ok(bytes) } else { Err(format!("`{text}`: a stack is 64KiB to 1GiB")) }
}

fn directory(text: &str) -> Result<GrantSpec, String> {
    format!("fs.write={text}").parse().map_err(|e: aura_runtime::GrantSpecError| e.to_string())
}

fn variable(text: &str) -> Result<GrantSpec, String> {
    format!("env={text}").parse().map_err(|e: aura_runtime::GrantSpecError| e.to_string())
}

/// An engine, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnginesArg {
    Interpreter,
    Jit,
    Auto,
    All,
}

/// A kind of bounds checks, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BoundsModesArg {
    Guard,
    Explicit,
    All,
}

#[derive(Args, Debug)]
pub(crate) struct WastArgs {
    /// The engines to test
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) engine: EnginesArg,
    /// The kinds of bounds checks to test
    #[arg(long, value_enum, default_value = "guard")]
    pub(crate) bounds: BoundsModesArg,
    /// The version of WebAssembly the scripts are for; without it, a script's path decides:
    /// below `proposals/NAME/` or `legacy/` that proposal, else the newest version
    #[arg(long, value_name = "1.0|2.0|3.0")]
    pub(crate) spec: Option<Version>,
    /// Write the outcome of every directive to this file (`-` for standard output)
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a table of sets by engines into this Markdown file, between its marks (`-` for standard output)
    #[arg(long, value_name = "FILE")]
    pub(crate) table: Option<PathBuf>,
    /// How long one script may take
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Run the official scripts that the command carries: every version, and the proposals
    #[arg(long, conflicts_with_all = ["paths", "spec"])]
    pub(crate) bundled: bool,
    /// Scripts (.wast), and folders that are searched for them
    #[arg(value_name = "PATH", required_unless_present = "bundled")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say what a policy allows, and what is odd about it; exit code 0 if it is a policy
    Check {
        /// A policy in TOML, or an Extism manifest
        file: PathBuf,
    },
    /// Print what NEW allows that OLD does not (+) and the reverse (-); exit code 0 if nothing, 1 if something
    Diff {
        /// The policy that stands
        old: PathBuf,
        /// The policy to come
        new: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that nothing in a log is missing or changed, and that it adds up to the counters of the grants
    Verify {
        /// A log that `aura run --audit` wrote
        file: PathBuf,
        /// The digest that the run printed; with it, a log that was replaced as a whole is found, too
        #[arg(long, value_name = "HEX")]
        head: Option<aura_policy::Digest>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) features: FeatureArgs,
    /// Read an artifact by the key in this file, not by the one in the configuration directory
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A module (.wasm or .wat), or an artifact (.aura)
    pub(crate) file: PathBuf,
}

const LEAKCHECK_EXAMPLES: &str = "Examples:
  aura leakcheck skill.wasm                    fill instances with canaries, drop them, compare the next ones
  aura leakcheck --rounds 100000 --engine jit skill.wasm

Imports are defined as functions that return zeros. The exit code is 1 if a byte differs.";

#[derive(Args, Debug)]
pub(crate) struct LeakcheckArgs {
    #[command(flatten)]
    pub(crate) features: FeatureArgs,
    /// How many instances to make
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) rounds: u64,
    /// The tiers to run on
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    pub(crate) engine: EngineArg,
    /// A module (.wasm or .wat)
    pub(crate) file: PathBuf,
}

/// A stage of a module's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// What the binary consists of
    Sections,
    /// The form both tiers run
    Code,
    /// What the compiler is given
    Clif,
    /// Machine code
    Asm,
    /// How an instance lies in memory
    Vmctx,
}

#[derive(Args, Debug)]
pub(crate) struct DumpArgs {
    /// The stage to show
    #[arg(long, value_enum)]
    pub(crate) stage: Stage,
    /// Only this function: its export, its name, or its index; for code, clif and asm
    #[arg(long, value_name = "NAME|INDEX")]
    pub(crate) func: Option<String>,
    #[command(flatten)]
    pub(crate) features: FeatureArgs,
    /// A module (.wasm or .wat)
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct CompileArgs {
    /// Where the artifact goes; without it, beside the module, with the ending .aura
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Make it with the key in this file, which is made if there is none
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Compile to machine code too, all functions
    #[arg(long)]
    pub(crate) native: bool,
    /// How accesses to memory are kept in bounds in runs of it, for its machine code
    #[arg(long, value_enum, default_value = "guard", requires = "native")]
    pub(crate) bounds: BoundsArg,
    /// Make it for runs that do the same on every engine and machine
    #[arg(long)]
    pub(crate) deterministic: bool,
    /// Make it for runs whose fuel is limited
    #[arg(long)]
    pub(crate) with_fuel: bool,
    #[command(flatten)]
    pub(crate) features: FeatureArgs,
    /// A module (.wasm or .wat)
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct SnapshotArgs {
    /// Where the artifact goes; without it, beside the module, with the ending .aura
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Compile the module to machine code too, for runs with the same --bounds and --deterministic, and with or without fuel
    /// as here
    #[arg(long)]
    pub(crate) native: bool,
    /// How the program is started: --invoke names the function that initialises it
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show what is kept, what was used last first
    List,
    /// Remove all of it
    Clear,
}

#[derive(Args, Debug)]
pub(crate) struct HostileArgs {
    /// Only this engine
    #[arg(long, value_enum)]
    pub(crate) engine: Option<EngineArg>,
    /// Run one shape in this process and say what it took
    #[arg(long, value_name = "SHAPE", hide = true)]
    pub(crate) one: Option<String>,
    /// Words of which one is in the names of the shapes to run; all without any
    #[arg(value_name = "WORD")]
    pub(crate) shapes: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn run_args(line: &str) -> RunArgs {
        match Cli::try_parse_from(with_default_command(words(line).into_iter())).expect(line).command {
            Command::Run(args) => *args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_default() {
        assert_eq!(with_default_command(words("aura a.wasm").into_iter()), words("aura run a.wasm"));
        assert_eq!(with_default_command(words("aura --fuel 1 a").into_iter()), words("aura run --fuel 1 a"));
        for line in ["aura inspect a", "aura --help", "aura -V", "aura run a"] {
            assert_eq!(with_default_command(words(line).into_iter()), words(line), "{line}");
        }
        assert_eq!(with_default_command(words("aura").into_iter()), words("aura"));
    }

    #[test]
    fn what_follows_the_file_is_the_programs() {
        let args = run_args("aura --fuel 5 p.wasm --fuel 9 -- -x --help");
        assert_eq!(args.fuel, Some(5));
        assert_eq!(args.program, words("p.wasm --fuel 9 -- -x --help"));
        assert_eq!(run_args("aura --invoke f p.wat -1").program, words("p.wat -1"));
    }

    #[test]
    fn features_are_switched_in_order() {
        let args = run_args("aura -W multi-memory,-simd --feature memory64=y --feature -memory64 p.wasm");
        let config = args.machine.config();
        let has = ["multi-memory", "simd", "memory64", "bulk-memory"].map(|name| config.get_features().has(name));
        assert_eq!(has, [true, false, false, true]);
        let unknown = Cli::try_parse_from(words("aura run --feature nothing p.wasm")).expect_err("unknown").to_string();
        assert!(unknown.contains("no proposal is named `nothing`") && unknown.contains("multi-memory"), "{unknown}");
    }

    #[test]
    fn short_forms_are_grants() {
        let args = run_args("aura --dir a::b --env K=v --env L --grant stdio p.wasm");
        assert_eq!(args.dirs[0].to_string(), "fs.write=a::b");
        assert_eq!(args.env.iter().map(ToString::to_string).collect::<Vec<_>>(), ["env=K=v", "env=L"]);
        let grants: Vec<_> = args.all_grants().expect("no contradiction").iter().map(ToString::to_string).collect();
        assert_eq!(grants, ["stdio", "fs.write=a::b", "env=K=v", "env=L"]);
    }

    #[test]
    fn none_is_a_grant_of_nothing_and_stands_alone() {
        assert_eq!(run_args("aura --grant none p.wasm").all_grants(), Ok(Vec::new()));
        assert!(run_args("aura --grant none --grant stdio p.wasm").all_grants().is_err());
        assert!(run_args("aura --grant none --dir . p.wasm").all_grants().is_err());
    }

    #[test]
    fn help_has_every_action() {
        assert!(Action::ALL.iter().all(|action| examples().contains(action.hint())));
    }
}
