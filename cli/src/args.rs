//! What can be asked of the command: flags, their values and their help.
//!
//! `run` is the default: a first word that names no subcommand is a file to run, or a flag of `run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use aura_runtime::{Bounds, Config, Features, GrantSpec, Strategy};
use aura_spec_tests::Version;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::units::{parse_bytes, parse_duration};

const EXAMPLES: &str = "\
Examples:
  aura --grant stdio hello.wasm                           run a program that may print
  aura --grant stdio --grant args \\
       --grant fs.read=./data::/data tool.wasm /data/x    one that may also read one directory
  aura --invoke add math.wat 2 40                         call an exported function
  aura inspect tool.wasm                                  see what a program would ask for
  aura wast --engine all --bounds all tests/              run WebAssembly test scripts

A program sees nothing that was not granted. The grants are:
  stdio                    standard input, output and error
  args                     the arguments after FILE
  env=NAME[=VALUE]         one environment variable
  clock                    the clocks, and waiting
  random                   random bytes
  fs.read=HOST[::GUEST]    read below one directory, under the name GUEST
  fs.write=HOST[::GUEST]   read and change below one directory
  net.listen=HOST:PORT     accept connections at one address";

/// Runs WebAssembly programs that see nothing until it is granted.
#[derive(Debug, Parser)]
#[command(name = "aura", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program (the default: `aura FILE` is `aura run FILE`)
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),
    /// Run WebAssembly test scripts
    Wast(WastArgs),
    /// Show what a module is and what it would ask for
    Inspect(InspectArgs),
    /// Show a stage of a module's life as text
    Dump(DumpArgs),
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

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// What runs the code
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) engine: EngineArg,
    /// How accesses to memory are kept in bounds
    #[arg(long, value_enum, default_value = "guard")]
    pub(crate) bounds: BoundsArg,
    #[command(flatten)]
    pub(crate) features: FeatureArgs,
    /// Grant the program a right; may be repeated
    #[arg(long = "grant", value_name = "ACTION[=RESOURCE]")]
    pub(crate) grants: Vec<GrantSpec>,
    /// Short for a grant of fs.write on the directory
    #[arg(long = "dir", value_name = "HOST[::GUEST]", value_parser = directory)]
    pub(crate) dirs: Vec<GrantSpec>,
    /// Short for --grant env=NAME[=VALUE]
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = variable)]
    pub(crate) env: Vec<GrantSpec>,
    /// Call this exported function with ARGS instead of starting the program
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
    /// What becomes of imports that nothing provides
    #[arg(long, value_enum, default_value = "refuse")]
    pub(crate) unknown_imports: UnknownImports,
    /// A module (.wasm or .wat), then the program's arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["FILE", "ARGS"])]
    pub(crate) program: Vec<OsString>,
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

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) features: FeatureArgs,
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
            Command::Run(args) => args,
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
        let mut config = Config::new();
        args.features.apply(&mut config);
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
        assert_eq!(args.grants[0].to_string(), "stdio");
    }
}
