//! `Runner`: one script in, one outcome per directive out, within a time limit.
//!
//! A script runs on a thread of its own with its own store. Every directive gets an outcome even if
//! the thread is late, stuck or panics: the list of directives is known before the first one runs,
//! and what was not reported has failed.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use aura_runtime::{Bounds, Config, Engine, OptLevel, Strategy, Validation};
use wast::Wast;
use wast::parser::{self, ParseBuffer};

use crate::legacy::unfold;
use crate::origin::Origin;
use crate::report::{DirectiveOutcome, FileOutcome};
use crate::script::{Reason, Script, kind_of, line_of};
use crate::sets::Edition;

/// How scripts are run.
#[derive(Clone, Debug)]
pub struct Options {
    pub strategy: Strategy,
    pub bounds: Bounds,
    pub edition: Edition,
    /// For [`Strategy::Auto`]: after how many entries a function is compiled, if not the default.
    pub tier_up_threshold: Option<u32>,
    /// After how many entries and passes cells of a function get machine code; never if none. With some, the interpreter jumps.
    pub baseline_threshold: Option<u32>,
    pub opt_level: OptLevel,
    /// Collect the heap before every object that is made.
    pub gc_stress: bool,
    pub validation: Validation,
    pub origin: Origin,
    /// How long one script may take.
    pub time_limit: Duration,
}

impl Options {
    /// The time limit of a script unless another is chosen.
    pub const TIME_LIMIT: Duration = Duration::from_secs(120);

    /// Options with the default time limit and threshold.
    #[must_use]
    pub fn new(strategy: Strategy, bounds: Bounds, edition: Edition) -> Self {
        Self {
            strategy,
            bounds,
            edition,
            tier_up_threshold: None,
            baseline_threshold: None,
            opt_level: OptLevel::default(),
            gc_stress: false,
            validation: Validation::Eager,
            origin: Origin::Bytes,
            time_limit: Self::TIME_LIMIT,
        }
    }
}

/// Native stack of a script's thread: room for the engine's own frames beside the guest's.
const STACK_BYTES: usize = 32 << 20;

/// How long after the time limit a thread that does not answer is given up.
const GRACE: Duration = Duration::from_secs(5);

/// Runs scripts with one configuration of the engine.
#[derive(Clone, Debug)]
pub struct Runner {
    engine: Engine,
    options: Options,
}

/// What the script's thread tells.
enum Message {
    /// The directives, before any runs.
    Parsed(Vec<(usize, &'static str)>),
    /// The outcome of the next directive.
    Outcome(Result<(), Reason>),
    /// The script cannot be read: line and reason.
    Unreadable(usize, String),
}

impl Runner {
    /// Makes a runner.
    ///
    /// # Errors
    /// If the engine does not implement the edition or refuses the configuration.
    pub fn new(options: Options) -> Result<Self, String> {
        let mut config = Config::new();
        config.strategy(options.strategy).bounds(options.bounds).features(options.edition.features()?);
        // The interpreter checks accesses itself in either mode of bounds: with each, it is run another way.
        config.interpreter_jumps(options.bounds == Bounds::Guard || options.baseline_threshold.is_some());
        config.baseline(options.baseline_threshold.is_some());
        if let Some(threshold) = options.baseline_threshold {
            config.baseline_threshold(threshold);
        }
        config.segments_checked_first(options.edition.checks_segments_first());
        config.opt_level(options.opt_level).gc_stress(options.gc_stress).validation(options.validation);
        if let Some(threshold) = options.tier_up_threshold {
            config.tier_up_threshold(threshold).compile_threads(0);
        }
        let engine = Engine::new(&config).map_err(|e| e.to_string())?;
        Ok(Self { engine, options })
    }

    /// Runs a script. `name` is only for the report.
    #[must_use]
    pub fn run(&self, name: &str, text: &str) -> FileOutcome {
        let (sender, receiver) = mpsc::channel();
        let deadline = Instant::now() + self.options.time_limit;
        let (engine, origin, text) = (self.engine.clone(), self.options.origin, unfold(text).into_owned());
        let spawned = thread::Builder::new()
            .name("script".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run_script((&engine, origin), &text, deadline, &sender));
        let edition = self.options.edition.to_string();
        match spawned {
            Ok(_) => self.collect(name, edition, &receiver, deadline),
            Err(error) => FileOutcome::unreadable(name, edition, 1, format!("no thread for the script: {error}")),
        }
    }

    fn collect(&self, name: &str, edition: String, messages: &Receiver<Message>, deadline: Instant) -> FileOutcome {
        let limit = self.options.time_limit;
        let mut directives: Vec<(usize, &'static str)> = Vec::new();
        let mut outcomes = Vec::new();
        let missing = loop {
            let wait = (deadline + GRACE).saturating_duration_since(Instant::now());
            match messages.recv_timeout(wait) {
                Ok(Message::Parsed(list)) if list.is_empty() => {
                    return FileOutcome::unreadable(name, edition, 1, "the script has no directive".to_owned());
                }
                Ok(Message::Parsed(list)) => directives = list,
                Ok(Message::Outcome(outcome)) => outcomes.push(outcome.err()),
                Ok(Message::Unreadable(line, reason)) => {
                    return FileOutcome::unreadable(name, edition, line, reason);
                }
                Err(RecvTimeoutError::Timeout) => break format!("did not end within {limit:?}"),
                Err(RecvTimeoutError::Disconnected) => break "the runner's thread panicked here".to_owned(),
            }
            if !directives.is_empty() && outcomes.len() == directives.len() {
                break String::new();
            }
        };
        if directives.is_empty() {
            return FileOutcome::unreadable(name, edition, 1, missing);
        }
        let done = outcomes.len();
        let not_run = format!("not run, because the directive at line {} {missing}", line_at(&directives, done));
        let not_run = std::iter::once(missing).chain(std::iter::repeat(not_run)).map(|why| Some(Reason::from(why)));
        let directives = directives
            .into_iter()
            .zip(outcomes.into_iter().chain(not_run))
            .map(|((line, kind), failure)| {
                let gated = failure.as_ref().is_some_and(|reason| reason.gated);
                DirectiveOutcome { line, kind, failure: failure.map(|reason| reason.text), gated }
            })
            .collect();
        FileOutcome { name: name.to_owned(), edition, directives }
    }
}

fn line_at(directives: &[(usize, &'static str)], index: usize) -> usize {
    directives.get(index).map_or(0, |(line, _)| *line)
}

/// The body of a script's thread. A receiver that is gone has stopped waiting: nothing is left to do then.
fn run_script(made: (&Engine, Origin), text: &str, deadline: Instant, sender: &Sender<Message>) {
    let unreadable = |error: &wast::Error| {
        let line = error.span().linecol_in(text).0 + 1;
        Message::Unreadable(line, format!("not a script: {}", error.message()))
    };
    let mut lexer = wast::lexer::Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = match ParseBuffer::new_with_lexer(lexer) {
        Ok(buffer) => buffer,
        Err(error) => return drop(sender.send(unreadable(&error))),
    };
    let wast = match parser::parse::<Wast<'_>>(&buffer) {
        Ok(wast) => wast,
        Err(error) => return drop(sender.send(unreadable(&error))),
    };
    let list = wast.directives.iter().map(|d| (line_of(d, text), kind_of(d))).collect();
    if sender.send(Message::Parsed(list)).is_err() {
        return;
    }
    thread::scope(|scope| {
        let mut script = match Script::new(made, text, deadline, scope) {
            Ok(script) => script,
            Err(error) => return drop(sender.send(Message::Unreadable(1, format!("the host module: {error}")))),
        };
        let mut directives = wast.directives.into_iter().peekable();
        while let Some(directive) = directives.next() {
            let mut outcome = script.run(directive);
            if directives.peek().is_none() {
                outcome = outcome.and(script.finish());
            }
            if sender.send(Message::Outcome(outcome)).is_err() {
                return;
            }
        }
    });
}
