//! The `aura` command.
//!
//! [`args`] says what can be asked; each subcommand is a file of its own: [`run`], [`wast`],
//! [`pipe`], [`inspect`], [`dump`], [`policy`], [`audit`], [`compile`], [`snapshot`], [`cache`], [`hostile`]. [`load`] turns a path into a module,
//! [`mapped`] lends files to a program, [`facts`] reads what a module says of
//! itself, [`report`] is the one style of every message. Exit codes: the program's own, 134 for a
//! trap, 2 for a wrong command line, 1 for anything else.

#![forbid(unsafe_code)]

mod args;
mod audit;
mod cache;
mod compile;
mod denials;
mod dump;
mod facts;
mod hostile;
mod inspect;
mod inspect_artifact;
mod layout;
mod leakcheck;
mod load;
mod mapped;
mod pipe;
mod policy;
mod report;
mod run;
mod snapshot;
mod values;
mod wast;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse_from(args::with_default_command(std::env::args_os()));
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Pipe(args) => pipe::pipe(&args),
        Command::Wast(args) => wast::wast(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Dump(args) => dump::dump(&args),
        Command::Leakcheck(args) => leakcheck::leakcheck(&args),
        Command::Policy(command) => policy::policy(&command),
        Command::Audit(command) => audit::audit(&command),
        Command::Compile(args) => compile::compile(&args),
        Command::Snapshot(args) => snapshot::snapshot(&args),
        Command::Cache(command) => cache::cache(&command),
        Command::Hostile(args) => hostile::hostile(&args),
        Command::Completions(args) => {
            clap_complete::generate(args.shell, &mut Cli::command(), "aura", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(report::Failure::report)
}
