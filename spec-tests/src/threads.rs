//! Threads of a script: each runs its directives on an OS thread, in a store of its own.
//!
//! A thread sees nothing of the script but the shared memories that the module it names exports.
//! What failed in it is the outcome of the directive that waits for it; a thread that nobody waits
//! for is waited for at the end of the script, so that no failure is lost.

use std::collections::HashMap;
use std::thread::{Scope, ScopedJoinHandle};

use aura_runtime::SharedMemory;
use wast::WastThread;

use crate::script::{Outcome, Reason, Script, kind_of, line_of};

/// The shared memories of a module of another thread, by the names of its exports.
pub(crate) type Shared = Vec<(String, SharedMemory)>;

/// The threads of a script that run, by name.
pub(crate) struct Threads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    running: HashMap<String, ScopedJoinHandle<'scope, Outcome>>,
}

impl<'scope, 'env> Threads<'scope, 'env> {
    pub(crate) fn new(scope: &'scope Scope<'scope, 'env>) -> Self {
        Self { scope, running: HashMap::new() }
    }

    pub(crate) fn scope(&self) -> &'scope Scope<'scope, 'env> {
        self.scope
    }

    /// Starts a thread that runs `script`, which knows nothing yet but what was shared with it.
    pub(crate) fn start(
        &mut self,
        thread: WastThread<'env>,
        make_script: impl FnOnce() -> Result<Script<'scope, 'env>, String> + Send + 'scope,
    ) -> Outcome {
        let name = thread.name.name().to_owned();
        if self.running.contains_key(&name) {
            return Err(format!("there is a thread ${name} already").into());
        }
        let handle = self.scope.spawn(move || run(thread, make_script()?));
        self.running.insert(name, handle);
        Ok(())
    }

    /// Waits for a thread, and says how it went.
    pub(crate) fn wait(&mut self, name: &str) -> Outcome {
        let handle = self.running.remove(name).ok_or_else(|| format!("no thread ${name}"))?;
        let outcome = handle.join().unwrap_or_else(|_| Err("it panicked".into()));
        outcome.map_err(|reason| Reason { text: format!("in thread ${name}: {}", reason.text), ..reason })
    }

    /// Waits for all threads that nobody waited for.
    pub(crate) fn wait_for_all(&mut self) -> Outcome {
        let mut names: Vec<_> = self.running.keys().cloned().collect();
        names.sort();
        let failures: Vec<_> = names.iter().filter_map(|name| self.wait(name).err()).collect();
        together(failures)
    }
}

/// Nothing failed, or one reason for all that did.
fn together(failures: Vec<Reason>) -> Outcome {
    if failures.is_empty() {
        return Ok(());
    }
    let texts: Vec<_> = failures.iter().map(|reason| reason.text.as_str()).collect();
    Err(Reason { text: texts.join("; "), gated: failures.iter().all(|reason| reason.gated) })
}

fn run<'env>(thread: WastThread<'env>, mut script: Script<'_, 'env>) -> Outcome {
    let mut failures = Vec::new();
    for directive in thread.directives {
        let place = format!("line {}: {}", line_of(&directive, script.text()), kind_of(&directive));
        if let Err(reason) = script.run(directive) {
            failures.push(Reason { text: format!("{place}: {}", reason.text), ..reason });
        }
    }
    failures.extend(script.finish().err());
    together(failures)
}
