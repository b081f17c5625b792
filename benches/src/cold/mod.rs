//! `cold-start`: from bytes to the first result, to the program's end, and on to full speed.
//!
//! Every round gives every engine its turn on every guest, so that what disturbs the machine disturbs all. A figure is
//! the median of the rounds. Nothing is left out of a table: an engine that cannot run a guest says why.

mod curve;
mod engines;
mod goals;
mod guests;
mod html;
mod measure;
mod process;
mod report;
mod stubs;

use std::path::PathBuf;

use aura_benches::Outcome;

pub(crate) use process::{CHILD, child};

use guests::Guest;

/// What was asked for.
pub(crate) struct Options {
    rounds: usize,
    seconds: f64,
    only: Vec<String>,
    out: PathBuf,
    /// Where the real programs are.
    programs: PathBuf,
    files: Vec<PathBuf>,
}

impl Options {
    fn parse(args: &[String]) -> Outcome<Self> {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let (out, programs) = (here.join("record"), here.join("../third_party/packages"));
        let mut options = Self { rounds: 15, seconds: 1.0, only: Vec::new(), out, programs, files: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg}: a value is missing"));
            match arg.as_str() {
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--seconds" => options.seconds = value()?.parse()?,
                "--only" => options.only.push(value()?.clone()),
                "--out" => options.out = value()?.into(),
                "--programs" => options.programs = value()?.into(),
                flag if flag.starts_with('-') => {
                    return Err(format!("no such option: {flag}; --help lists them").into());
                }
                file => options.files.push(file.into()),
            }
        }
        Ok(options)
    }

    fn wants(&self, guest: &Guest) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| guest.name.contains(word.as_str()))
    }
}

/// Runs the comparison and writes its report.
pub(crate) fn compare(args: &[String]) -> Outcome<()> {
    let options = Options::parse(args)?;
    let mut guests = guests::own();
    for file in &options.files {
        guests.push(Guest::of_file(file)?);
    }
    guests.retain(|guest| options.wants(guest));
    let mut programs = guests::real(&options.programs)?;
    programs.retain(|program| options.wants(program));
    if guests.is_empty() && programs.is_empty() {
        return Err("no guest has a name that contains what --only asks for".into());
    }
    let engines = engines::all()?;
    let work = tempfile::tempdir()?;
    let mut tables = vec![measure::ready(guests.iter().chain(&programs), options.rounds)?];
    if !guests.is_empty() {
        tables.extend(measure::rounds(&engines, &guests, options.rounds, work.path())?);
        tables.extend(process::rounds(&engines, &guests, options.rounds, work.path())?);
    }
    if !programs.is_empty() {
        tables.extend(process::programs(&programs, options.rounds, work.path())?);
    }
    guests.extend(programs);
    let curves = curve::draw(&engines, options.seconds)?;
    report::write(&options, &engines, &guests, &tables, &curves)
}
