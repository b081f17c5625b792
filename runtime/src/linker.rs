//! `Linker`: names for what modules import.
//!
//! # Safety
//! Trusts: a linker of `T` instantiates in stores of `T` only, which its signatures hold; so a body may take the store
//! it is called with as one of `T`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use aura_host_abi::host::{Denial, HostFn};
use aura_host_abi::{Action, FuncType, TrapCode};
use aura_validator::module::ExternType;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::externs::{Extern, Func};
use crate::host::{self, Body, Gate, HostBody, HostFunc, HostRecord};
use crate::instance::{Instance, Resolved, describe, instantiate};
use crate::module::Module;
use crate::store::{AsContext, AsContextMut, Caller, StoreData, StoreInner};
use crate::typed::{IntoFunc, untyped};
use crate::value::Val;

/// Names what modules may import, and instantiates them.
///
/// Functions defined with [`Linker::func_wrap`] are given to every instance: defining one is the
/// authorisation. Functions defined with [`Linker::capability`] or [`Linker::host_functions`] do not
/// exist for an instance until they are granted.
pub struct Linker<T: 'static> {
    engine: Engine,
    names: HashMap<(Arc<str>, Arc<str>), Resolved>,
    allow_shadowing: bool,
    data: PhantomData<fn() -> T>,
}

impl<T> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            names: self.names.clone(),
            allow_shadowing: self.allow_shadowing,
            data: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linker").field("names", &self.names.keys()).finish_non_exhaustive()
    }
}

impl<T: 'static> Linker<T> {
    /// An empty linker.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        Self { engine: engine.clone(), names: HashMap::new(), allow_shadowing: false, data: PhantomData }
    }

    /// Whether a name may be defined again; the last definition counts.
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Self {
        self.allow_shadowing = allow;
        self
    }

    fn insert(&mut self, module: &str, name: &str, item: Resolved) -> Result<&mut Self> {
        match self.names.entry((module.into(), name.into())) {
            Entry::Occupied(_) if !self.allow_shadowing => {
                return Err(Error::usage(format!("`{module}.{name}` is defined already")));
            }
            Entry::Occupied(mut slot) => drop(slot.insert(item)),
            Entry::Vacant(slot) => drop(slot.insert(item)),
        }
        Ok(self)
    }

    fn insert_host(
        &mut self,
        module: &str,
        name: &str,
        (ty, body): (FuncType, HostBody),
        gate: Option<Gate>,
    ) -> Result<&mut Self> {
        let func = HostFunc { module: module.to_owned(), name: name.to_owned(), ty, gate, body };
        self.insert(module, name, Resolved::Host(Arc::new(func)))
    }

    /// Defines a host function that every instance may call.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn func_wrap<P, R>(&mut self, module: &str, name: &str, func: impl IntoFunc<T, P, R>) -> Result<&mut Self> {
        self.insert_host(module, name, func.into_func(), None)
    }

    /// Defines a host function over values of types known at run time only.
    ///
    /// # Errors
    /// If the name is taken, or the type names defined types of another engine.
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        ty.params().iter().chain(ty.results()).try_for_each(|ty| self.engine.types().check(*ty))?;
        let body = untyped(&ty, func);
        self.insert_host(module, name, (ty, body.into()), None)
    }

    /// Defines a host function that an instance may call only while `call:NAME` is granted; without
    /// the grant a call traps with [`TrapCode::CapabilityDenied`].
    ///
    /// # Errors
    /// If the name is taken.
    pub fn capability<P, R>(&mut self, module: &str, name: &str, func: impl IntoFunc<T, P, R>) -> Result<&mut Self> {
        let gate = Gate { actions: &[Action::Call], denial: Denial::Trap };
        self.insert_host(module, name, func.into_func(), Some(gate))
    }

    /// As [`Linker::capability`], but while it is not granted a call is answered with this error code as its first result.
    ///
    /// # Errors
    /// If the name is taken, or the function's first result is no 32-bit integer.
    pub fn capability_with_code<P, R>(
        &mut self,
        module: &str,
        name: &str,
        code: u32,
        func: impl IntoFunc<T, P, R>,
    ) -> Result<&mut Self> {
        let (ty, body) = func.into_func();
        if ty.results().first() != Some(&aura_host_abi::ValType::I32) {
            return Err(Error::usage(format!("`{module}.{name}` has no i32 as its first result to answer with")));
        }
        let gate = Gate { actions: &[Action::Call], denial: Denial::Code(code) };
        self.insert_host(module, name, (ty, body), Some(gate))
    }

    /// Defines a family of host functions, each behind the grants that its row names. `context` finds
    /// the family's state in the host's data.
    ///
    /// # Errors
    /// If a name is taken.
    pub fn host_functions<C: 'static>(
        &mut self,
        functions: &'static [HostFn<C>],
        context: fn(&mut T) -> &mut C,
    ) -> Result<&mut Self> {
        for row in functions {
            let ty = FuncType::new(row.params.iter().copied(), row.results.iter().copied());
            let body: Box<Body> = Box::new(move |at, slots| {
                // SAFETY: this linker serves stores of `T` only; the store runs on this thread, and the
                // engine holds no borrow of its host data during a host call.
                let user = unsafe { &mut (*at.store.cast::<StoreInner<T>>()).user };
                host::with_call(at, slots, |call| (row.call)(context(user), call)).map_err(Error::from)
            });
            let gate = (!row.actions.is_empty()).then_some(Gate { actions: row.actions, denial: row.denial });
            self.insert_host(row.module, row.name, (ty, body.into()), gate)?;
        }
        Ok(self)
    }

    /// Defines a name as something of a store; modules can then be instantiated in that store only.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn define(
        &mut self,
        _store: impl AsContext<Data = T>,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Self> {
        self.insert(module, name, Resolved::Extern(item.into()))
    }

    /// Defines all exports of an instance under a module name.
    ///
    /// # Errors
    /// If a name is taken.
    pub fn instance(&mut self, store: impl AsContext<Data = T>, module: &str, instance: Instance) -> Result<&mut Self> {
        for (name, item) in instance.exports(store) {
            self.insert(module, &name, Resolved::Extern(item))?;
        }
        Ok(self)
    }

    /// Gives everything defined under one module name a second one.
    ///
    /// # Errors
    /// If a name is taken.
    pub fn alias_module(&mut self, from: &str, to: &str) -> Result<&mut Self> {
        let found: Vec<_> = self.names.iter().filter(|((module, _), _)| &**module == from).collect();
        let found: Vec<_> = found.into_iter().map(|((_, name), item)| (name.clone(), item.clone())).collect();
        for (name, item) in found {
            self.insert(to, &name, item)?;
        }
        Ok(self)
    }

    /// What a name is, in a store. Host functions behind a gate come as their denial.
    #[must_use]
    pub fn get(&self, mut store: impl AsContextMut<Data = T>, module: &str, name: &str) -> Option<Extern> {
        let item = self.names.get(&(module.into(), name.into()))?;
        let data = &mut store.as_context_mut().0.data;
        Some(match item {
            Resolved::Extern(item) => item.clone(),
            Resolved::Host(func) => {
                let func = HostRecord::add(data, func.clone(), std::ptr::null_mut(), Vec::new());
                Func::new_raw(data.id, func).into()
            }
        })
    }

    /// Defines every function that the module imports and nobody defined as one that traps.
    ///
    /// # Errors
    /// If an undefined import is not a function.
    pub fn define_unknown_imports_as_traps(&mut self, module: &Module) -> Result<&mut Self> {
        self.define_unknown(module, |_| Err(Error::trap_code(TrapCode::CapabilityDenied)))
    }

    /// Defines every function that the module imports and nobody defined as one that returns zeros and nulls.
    ///
    /// # Errors
    /// If an undefined import is not a function.
    pub fn define_unknown_imports_as_default_values(&mut self, module: &Module) -> Result<&mut Self> {
        self.define_unknown(module, |slots| {
            slots.fill(0);
            Ok(())
        })
    }

    fn define_unknown(&mut self, module: &Module, answer: fn(&mut [u64]) -> Result<()>) -> Result<&mut Self> {
        for import in module.imports() {
            if self.names.contains_key(&(import.module().into(), import.name().into())) {
                continue;
            }
            let ExternType::Func(ty) = import.ty() else {
                return Err(unknown(import.module(), import.name(), import.ty()));
            };
            let body: Box<Body> = Box::new(move |_, slots| answer(slots));
            self.insert_host(import.module(), import.name(), (ty.clone(), body.into()), None)?;
        }
        Ok(self)
    }

    /// What a module imports, if all of it is functions of no store.
    pub(crate) fn functions(&self, module: &Module) -> Result<Vec<Resolved>> {
        let imports = self.resolve(module)?;
        match imports.iter().zip(module.imports()).find(|(item, _)| matches!(item, Resolved::Extern(_))) {
            None => Ok(imports),
            Some((_, import)) => Err(Error::usage(format!(
                "`{}.{}` is something of a store; an image imports functions of the linker's own",
                import.module(),
                import.name()
            ))),
        }
    }

    fn resolve(&self, module: &Module) -> Result<Vec<Resolved>> {
        if !self.engine.same(module.engine()) {
            return Err(Error::usage("the module was made for another engine than the linker"));
        }
        let resolve = |import: crate::module::ImportType<'_>| {
            let found = self.names.get(&(import.module().into(), import.name().into()));
            found.cloned().ok_or_else(|| unknown(import.module(), import.name(), import.ty()))
        };
        module.imports().map(resolve).collect()
    }

    /// Instantiates a module with the names it imports.
    ///
    /// # Errors
    /// If a name is not defined or of another type, or as [`Instance::new`].
    pub fn instantiate(&self, mut store: impl AsContextMut<Data = T>, module: &Module) -> Result<Instance> {
        let data: *mut StoreData = &raw mut store.as_context_mut().0.data;
        let imports = self.resolve(module)?;
        // SAFETY: the store is borrowed by this call and used through `data` alone.
        unsafe { instantiate(data, module, imports) }
    }
}

fn unknown(module: &str, name: &str, ty: &ExternType) -> Error {
    Error::link(format!("unknown import `{module}.{name}`: the module wants {}", describe(ty)))
}
