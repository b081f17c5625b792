//! The comparisons that are programs of their own.
//!
//!     cargo run --release -p aura-benches -- cold-start [--rounds N] [--seconds S] [--out FOLDER] [FILES...]

mod cold;

use std::process::ExitCode;

const HELP: &str = "\
Compares Aura with Wasmtime and wasmi on the same bytes in one run.

Usage: aura-benches cold-start [OPTIONS] [FILES...]

FILES are modules or WASI programs to compare on besides those that the comparison brings along.

Options:
  --rounds N      rounds in which every engine has its turn (default 15)
  --seconds S     how long each engine works for the curve of work over time (default 1)
  --only WORD     measure only guests whose name contains WORD; may be repeated
  --programs FOLDER
                  where examples/real-programs/run.sh put its packages (default third_party/packages); those that are there
                  are run to their first line
  --out FOLDER    where the report goes (default benches/record)

Examples:
  cargo run --release -p aura-benches -- cold-start
  cargo run --release -p aura-benches -- cold-start --rounds 5 --only one-function --out /tmp
  cargo run --release -p aura-benches -- cold-start php.wasm";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wants_help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    let result = match args.split_first() {
        _ if wants_help => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some((first, rest)) if first == "cold-start" => cold::compare(rest),
        Some((first, rest)) if first == cold::CHILD => cold::child(rest),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aura-benches: {error}");
            ExitCode::FAILURE
        }
    }
}
