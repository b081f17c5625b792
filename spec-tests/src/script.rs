//! The state of a running script, and what each directive does to it.
//!
//! All instances of a script live in one store; its threads have stores of their own. Invariant: after a module that failed there is no
//! current instance, so that no later directive passes on an older one by accident.

use std::collections::HashMap;
use std::thread::Scope;
use std::time::Instant;

use aura_runtime::{Engine, Error, ErrorKind, Extern, Instance, Linker, Module, Store, TrapCode, Val};
use wast::token::Id;
use wast::{QuoteWat, QuoteWatTest, WastDirective, WastExecute, WastInvoke, WastThread, Wat, parser};

use crate::custom::{self, CustomFault};
use crate::origin::Origin;
use crate::refusal::{Refusal, check_exhaustion, check_trap};
use crate::spectest;
use crate::threads::{Shared, Threads};
use crate::values::{argument, check_results};

/// What a directive came to: passed, or the reason why not.
pub(crate) type Outcome = Result<(), Reason>;

/// Why a directive failed.
#[derive(Debug)]
pub(crate) struct Reason {
    pub(crate) text: String,
    /// Whether a module that the script needs was refused for a feature that is off.
    pub(crate) gated: bool,
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self { text, gated: false }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Why an action of a script gave no values.
enum Failure {
    /// The engine ended it.
    Engine(Error),
    /// The script cannot be run so.
    Script(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Script(reason)
    }
}

/// A running script.
pub(crate) struct Script<'scope, 'env> {
    engine: Engine,
    origin: Origin,
    /// The whole script, for line numbers.
    text: &'env str,
    store: Store<()>,
    linker: Linker<()>,
    deadline: Instant,
    current: Option<Instance>,
    instances: HashMap<String, Instance>,
    last_definition: Option<Module>,
    definitions: HashMap<String, Module>,
    /// Modules of the thread that started this one.
    shared: HashMap<String, Shared>,
    threads: Threads<'scope, 'env>,
}

impl<'scope, 'env> Script<'scope, 'env> {
    /// A script in which nothing ran yet.
    pub(crate) fn new(
        (engine, origin): (&Engine, Origin),
        text: &'env str,
        deadline: Instant,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<Self, Error> {
        let mut store = Store::new(engine, ());
        store.set_deadline(deadline.saturating_duration_since(Instant::now()));
        let mut linker = Linker::new(engine);
        linker.allow_shadowing(true);
        spectest::define(&mut linker, &mut store)?;
        Ok(Self {
            engine: engine.clone(),
            origin,
            text,
            store,
            linker,
            deadline,
            current: None,
            instances: HashMap::new(),
            last_definition: None,
            definitions: HashMap::new(),
            shared: HashMap::new(),
            threads: Threads::new(scope),
        })
    }

    /// Runs one directive.
    pub(crate) fn run(&mut self, directive: WastDirective<'env>) -> Outcome {
        if Instant::now() >= self.deadline {
            return Err("not run: the script's time is over".into());
        }
        match directive {
            WastDirective::Module(mut module) => self.module(&mut module),
            WastDirective::ModuleDefinition(mut module) => self.define(&mut module),
            WastDirective::ModuleInstance { instance, module, .. } => self.instantiate_definition(instance, module),
            WastDirective::Register { name, module, .. } => self.register(name, module),
            WastDirective::Invoke(invoke) => self.invoke(&invoke).map(|_| ()).map_err(unexpected),
            WastDirective::AssertReturn { exec, results, .. } => {
                let values = self.execute(exec).map_err(unexpected)?;
                Ok(check_results(&self.store, &values, &results)?)
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                let result = self.execute(exec);
                expect_error(result, message, |error| check_trap(error, message))
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let result = self.invoke(&call);
                expect_error(result, message, |error| check_exhaustion(error, message))
            }
            WastDirective::AssertMalformed { mut module, message, .. } => {
                self.refused(&mut module, Refusal::Malformed, message)
            }
            WastDirective::AssertInvalid { mut module, message, .. } => {
                self.refused(&mut module, Refusal::Invalid, message)
            }
            WastDirective::AssertUnlinkable { module, message, .. } => self.unlinkable(module, message),
            WastDirective::AssertMalformedCustom { mut module, message, .. } => {
                self.refused_custom(&mut module, Refusal::Malformed, message)
            }
            WastDirective::AssertInvalidCustom { mut module, message, .. } => {
                self.refused_custom(&mut module, Refusal::Invalid, message)
            }
            WastDirective::AssertException { exec, .. } => {
                let result = self.execute(exec);
                expect_error(result, "an exception", check_exception)
            }
            WastDirective::AssertSuspension { .. } => Err("needs stack switching".into()),
            WastDirective::Thread(thread) => self.thread(thread),
            WastDirective::Wait { thread, .. } => self.threads.wait(thread.name()),
        }
    }

    /// Ends the script: waits for the threads that still run.
    pub(crate) fn finish(&mut self) -> Outcome {
        self.threads.wait_for_all()
    }

    pub(crate) fn text(&self) -> &'env str {
        self.text
    }

    /// Starts a thread with the shared memories of the module it names.
    fn thread(&mut self, thread: WastThread<'env>) -> Outcome {
        let shared = match thread.shared_module {
            Some(id) => HashMap::from([(id.name().to_owned(), self.shared_of(id)?)]),
            None => HashMap::new(),
        };
        let (engine, origin, text, deadline) = (self.engine.clone(), self.origin, self.text, self.deadline);
        let scope = self.threads.scope();
        self.threads.start(thread, move || {
            let mut script =
                Script::new((&engine, origin), text, deadline, scope).map_err(|e| format!("the host module: {e}"))?;
            script.shared = shared;
            Ok(script)
        })
    }

    fn shared_of(&mut self, id: Id<'_>) -> Result<Shared, String> {
        if let Some(shared) = self.shared.get(id.name()) {
            return Ok(shared.clone());
        }
        let exports = self.instance(Some(id))?.exports(&self.store).into_iter();
        Ok(exports.filter_map(|(name, item)| Some((name, item.into_shared_memory()?))).collect())
    }

    fn module(&mut self, module: &mut QuoteWat<'_>) -> Outcome {
        self.current = None;
        let (id, bytes) = encode(module).map_err(|e| format!("the text of the module: {e}"))?;
        let module = self.origin.module(&self.engine, &bytes).map_err(|e| refusal_report(&e))?;
        let instance = self.instantiate(&module).map_err(|e| refusal_report(&e))?;
        self.set_current(id, instance);
        Ok(())
    }

    fn define(&mut self, module: &mut QuoteWat<'_>) -> Outcome {
        self.last_definition = None;
        let (id, bytes) = encode(module).map_err(|e| format!("the text of the module: {e}"))?;
        let module = self.origin.module(&self.engine, &bytes).map_err(|e| refusal_report(&e))?;
        if let Some(id) = id {
            self.definitions.insert(id, module.clone());
        }
        self.last_definition = Some(module);
        Ok(())
    }

    fn instantiate_definition(&mut self, instance: Option<Id<'_>>, module: Option<Id<'_>>) -> Outcome {
        self.current = None;
        let module = match module {
            Some(id) => self.definitions.get(id.name()),
            None => self.last_definition.as_ref(),
        };
        let module = module.cloned().ok_or("no such module definition")?;
        let made = self.instantiate(&module).map_err(|e| refusal_report(&e))?;
        self.set_current(instance.map(|id| id.name().to_owned()), made);
        Ok(())
    }

    fn instantiate(&mut self, module: &Module) -> Result<Instance, Error> {
        self.linker.instantiate(&mut self.store, module)
    }

    fn set_current(&mut self, id: Option<String>, instance: Instance) {
        if let Some(id) = id {
            self.instances.insert(id, instance);
        }
        self.current = Some(instance);
    }

    fn register(&mut self, name: &str, module: Option<Id<'_>>) -> Outcome {
        if let Some(shared) = module.and_then(|id| self.shared.get(id.name())) {
            for (field, memory) in shared {
                let defined = self.linker.define(&self.store, name, field, memory.clone());
                defined.map_err(|e| e.to_string())?;
            }
            return Ok(());
        }
        let instance = self.instance(module)?;
        self.linker.instance(&mut self.store, name, instance).map(|_| ()).map_err(|e| e.to_string().into())
    }

    fn instance(&self, id: Option<Id<'_>>) -> Result<Instance, String> {
        match id {
            Some(id) => self.instances.get(id.name()).copied().ok_or_else(|| format!("no instance ${}", id.name())),
            None => self.current.ok_or_else(|| "there is no current instance".to_owned()),
        }
    }

    fn execute(&mut self, exec: WastExecute<'_>) -> Result<Vec<Val>, Failure> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Get { module, global, .. } => {
                let instance = self.instance(module)?;
                let found = instance.get_global(&mut self.store, global);
                let global = found.ok_or_else(|| format!("no global is exported as `{global}`"))?;
                Ok(vec![global.get(&mut self.store)])
            }
            WastExecute::Wat(mut module) => {
                let bytes = module.encode().map_err(|e| format!("the text of the module: {}", e.message()))?;
                let module = self.origin.module(&self.engine, &bytes)?;
                self.instantiate(&module)?;
                Ok(Vec::new())
            }
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Vec<Val>, Failure> {
        let instance = self.instance(invoke.module)?;
        let func = match instance.get_export(&mut self.store, invoke.name) {
            Some(Extern::Func(func)) => func,
            Some(_) => return Err(format!("the export `{}` is no function", invoke.name).into()),
            None => return Err(format!("nothing is exported as `{}`", invoke.name).into()),
        };
        let args: Result<Vec<_>, _> = invoke.args.iter().map(|arg| argument(&mut self.store, arg)).collect();
        let mut results = vec![Val::I32(0); func.ty(&self.store).results().len()];
        func.call(&mut self.store, &args?, &mut results)?;
        Ok(results)
    }

    fn refused(&mut self, module: &mut QuoteWat<'_>, refusal: Refusal, message: &str) -> Outcome {
        let quoted = matches!(module, QuoteWat::QuoteModule(..));
        let bytes = match encode(module) {
            Ok((_, bytes)) => bytes,
            // Text that does not parse is malformed in the text format, which only a quotation can be.
            Err(_) if quoted && refusal == Refusal::Malformed => return Ok(()),
            Err(error) => return Err(format!("the text of the module: {error}").into()),
        };
        match Module::from_binary(&self.engine, &bytes) {
            Err(error) => Ok(refusal.check(&error, message)?),
            Ok(_) => Err(refusal.accepted(message).into()),
        }
    }

    /// A module that is valid, but a custom section of it is not what its name says.
    ///
    /// The engine must accept the module: custom sections have no part in the semantics (specification 2.5).
    fn refused_custom(&mut self, module: &mut QuoteWat<'_>, refusal: Refusal, message: &str) -> Outcome {
        let quoted = matches!(module, QuoteWat::QuoteModule(..));
        let bytes = match encode(module) {
            Ok((_, bytes)) => bytes,
            // An annotation in the text that is not well formed.
            Err(_) if quoted && refusal == Refusal::Malformed => return Ok(()),
            Err(error) => return Err(format!("the text of the module: {error}").into()),
        };
        Module::from_binary(&self.engine, &bytes).map_err(|e| refusal_report(&e))?;
        match (custom::check(&bytes), refusal) {
            (Err(CustomFault::Malformed(_)), Refusal::Malformed) | (Err(CustomFault::Invalid(_)), Refusal::Invalid) => {
                Ok(())
            }
            (Err(fault), _) => Err(format!("expected `{message}`, found {fault}").into()),
            (Ok(()), _) => Err(format!("expected `{message}`, but every custom section is right").into()),
        }
    }

    fn unlinkable(&mut self, mut module: Wat<'_>, message: &str) -> Outcome {
        let bytes = module.encode().map_err(|e| format!("the text of the module: {}", e.message()))?;
        let module = self.origin.module(&self.engine, &bytes).map_err(|e| refusal_report(&e))?;
        match self.instantiate(&module) {
            Err(error) => Ok(Refusal::Unlinkable.check(&error, message)?),
            Ok(_) => Err(Refusal::Unlinkable.accepted(message).into()),
        }
    }
}

/// The name a script gives a module, and the module's bytes. A name inside a quotation counts too.
fn encode(module: &mut QuoteWat<'_>) -> Result<(Option<String>, Vec<u8>), String> {
    let id = module.name().map(|id| id.name().to_owned());
    match module.to_test().map_err(|e| e.message())? {
        QuoteWatTest::Binary(bytes) => Ok((id, bytes)),
        QuoteWatTest::Text(text) => {
            let text = std::str::from_utf8(&text).map_err(|_| "not UTF-8")?;
            let mut lexer = wast::lexer::Lexer::new(text);
            lexer.allow_confusing_unicode(true);
            let buffer = parser::ParseBuffer::new_with_lexer(lexer).map_err(|e| e.message())?;
            let mut wat = parser::parse::<Wat<'_>>(&buffer).map_err(|e| e.message())?;
            let id = match &wat {
                Wat::Module(module) => module.id.map(|id| id.name().to_owned()),
                Wat::Component(_) => return Err("a component, not a module".to_owned()),
            };
            Ok((id, wat.encode().map_err(|e| e.message())?))
        }
    }
}

/// Why a module that a script needs could not be had.
fn refusal_report(error: &Error) -> Reason {
    let text = match error.kind() {
        ErrorKind::Trap => format!("the module trapped while it was instantiated: {error}"),
        kind => format!("the module was refused as {kind:?}: {error}"),
    };
    Reason { text, gated: error.kind() == ErrorKind::Unsupported }
}

fn unexpected(failure: Failure) -> Reason {
    match failure {
        Failure::Script(reason) => reason.into(),
        Failure::Engine(error) if error.kind() == ErrorKind::Unsupported => refusal_report(&error),
        Failure::Engine(error) => match error.trap().map(aura_runtime::Trap::code) {
            Some(TrapCode::Interrupted) => "the script's time is over".into(),
            Some(code) => format!("expected values, got the trap `{code}`").into(),
            None => format!("expected values, got {:?}: {error}", error.kind()).into(),
        },
    }
}

fn expect_error(
    result: Result<Vec<Val>, Failure>,
    message: &str,
    check: impl FnOnce(&Error) -> Result<(), String>,
) -> Outcome {
    match result {
        Ok(_) => Err(format!("expected `{message}`, but it returned").into()),
        Err(Failure::Engine(error)) if error.kind() == ErrorKind::Unsupported => Err(refusal_report(&error)),
        Err(Failure::Engine(error)) => Ok(check(&error)?),
        Err(Failure::Script(reason)) => Err(reason.into()),
    }
}

fn check_exception(error: &Error) -> Result<(), String> {
    match error.kind() {
        ErrorKind::Exception => Ok(()),
        kind => Err(format!("expected an exception, got {kind:?}: {error}")),
    }
}

/// The line of a directive, from 1.
pub(crate) fn line_of(directive: &WastDirective<'_>, text: &str) -> usize {
    directive.span().linecol_in(text).0 + 1
}

/// The keyword of a directive.
pub(crate) fn kind_of(directive: &WastDirective<'_>) -> &'static str {
    match directive {
        WastDirective::Module(_) => "module",
        WastDirective::ModuleDefinition(_) => "module definition",
        WastDirective::ModuleInstance { .. } => "module instance",
        WastDirective::AssertMalformed { .. } => "assert_malformed",
        WastDirective::AssertInvalid { .. } => "assert_invalid",
        WastDirective::AssertInvalidCustom { .. } => "assert_invalid_custom",
        WastDirective::AssertMalformedCustom { .. } => "assert_malformed_custom",
        WastDirective::Register { .. } => "register",
        WastDirective::Invoke(_) => "invoke",
        WastDirective::AssertTrap { .. } => "assert_trap",
        WastDirective::AssertReturn { .. } => "assert_return",
        WastDirective::AssertExhaustion { .. } => "assert_exhaustion",
        WastDirective::AssertUnlinkable { .. } => "assert_unlinkable",
        WastDirective::AssertException { .. } => "assert_exception",
        WastDirective::AssertSuspension { .. } => "assert_suspension",
        WastDirective::Thread(_) => "thread",
        WastDirective::Wait { .. } => "wait",
    }
}
