//! Rust types for WebAssembly types: typed calls in both directions.
//!
//! [`WasmTy`] says how one Rust type lies in slots; tuples of such types are parameter and result
//! lists; closures over them are host functions ([`IntoFunc`]).
//!
//! # Safety
//! Trusts: closures over `T` are registered with stores and linkers of `T` only, which signatures hold; during a host
//! call the engine holds no borrow of the store. Gives: slots are as long as the checked type needs.

use std::fmt;
use std::hint;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmFuncRef};
use aura_host_abi::{FuncType, GuestPtr, RefType, ValType};

use crate::arch::{self, HostCode, Returned};
use crate::call::{self, invoke};
use crate::error::{Error, Result};
use crate::exception::ExnRef;
use crate::externs::Func;
use crate::host::{self, Body, Direct, Failure, HostBody, HostContext, HostFunc, HostRecord};
use crate::refs::{Kind, Rooted};
use crate::store::{AsContext, AsContextMut, Caller, StoreData, StoreInner};
use crate::thread::{self, ThisThread};
use crate::value::{ExternRef, Val, read_slots, write_slots};

mod sealed {
    pub trait Sealed {}
}
use sealed::Sealed;

/// A Rust type that stands for a WebAssembly type.
pub trait WasmTy: Sealed + Copy + Send + 'static {
    /// The WebAssembly type.
    const TYPE: ValType;
    #[doc(hidden)]
    fn to_slots(self, store: StoreKey<'_>, slots: &mut [u64]) -> Result<()>;
    #[doc(hidden)]
    fn from_slots(store: StoreKey<'_>, slots: &[u64]) -> Self;
}

/// Which store a value is of; opaque.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct StoreKey<'a>(&'a StoreData);

/// Arguments or a result in registers, filled and taken in order.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    pub(crate) ints: [u64; arch::INTS],
    pub(crate) floats: [u64; arch::FLOATS],
    next_int: usize,
    next_float: usize,
}

impl Registers {
    /// Those of a result, whichever its class.
    #[inline(always)]
    fn of_result(bits: u64) -> Self {
        Self { ints: [bits; arch::INTS], floats: [bits; arch::FLOATS], ..Self::default() }
    }

    #[inline(always)]
    fn next(&mut self, is_float: bool) -> &mut u64 {
        let (list, next): (&mut [u64], _) = match is_float {
            false => (&mut self.ints, &mut self.next_int),
            true => (&mut self.floats, &mut self.next_float),
        };
        *next += 1;
        &mut list[*next - 1]
    }
}

/// How many registers of each kind a list of values takes; a vector takes more than there are.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Places {
    ints: usize,
    floats: usize,
    /// Those of `ints` that are references.
    refs: usize,
}

impl Places {
    const NONE: Self = Self { ints: 0, floats: 0, refs: 0 };

    const fn of(ty: ValType) -> Self {
        match ty {
            ValType::F32 | ValType::F64 => Self { floats: 1, ..Self::NONE },
            ValType::V128 => Self { ints: 1 + arch::INTS, ..Self::NONE },
            ValType::Ref(_) => Self { ints: 1, refs: 1, ..Self::NONE },
            ValType::I32 | ValType::I64 => Self { ints: 1, ..Self::NONE },
        }
    }

    const fn and(self, other: Self) -> Self {
        Self { ints: self.ints + other.ints, floats: self.floats + other.floats, refs: self.refs + other.refs }
    }

    /// Whether parameters with these places and results with those are passed in registers.
    const fn fit(self, results: Self) -> bool {
        self.ints <= arch::INTS && self.floats <= arch::FLOATS && results.ints + results.floats <= 1
    }
}

macro_rules! wasm_ty {
    ($($ty:ty = $wasm:expr, |$x:ident| $to:expr, |$bits:ident| $from:expr;)*) => {$(
        impl Sealed for $ty {}
        impl WasmTy for $ty {
            const TYPE: ValType = $wasm;
            fn to_slots(self, _: StoreKey<'_>, slots: &mut [u64]) -> Result<()> {
                let $x = self;
                slots[0] = $to;
                Ok(())
            }
            fn from_slots(_: StoreKey<'_>, slots: &[u64]) -> Self {
                let $bits = slots[0];
                $from
            }
        }
    )*};
}

wasm_ty! {
    i32 = ValType::I32, |x| u64::from(x as u32), |bits| bits as i32;
    u32 = ValType::I32, |x| u64::from(x), |bits| bits as u32;
    i64 = ValType::I64, |x| x as u64, |bits| bits as i64;
    u64 = ValType::I64, |x| x, |bits| bits;
    f32 = ValType::F32, |x| u64::from(x.to_bits()), |bits| f32::from_bits(bits as u32);
    f64 = ValType::F64, |x| x.to_bits(), |bits| f64::from_bits(bits);
}

impl<T: 'static> Sealed for GuestPtr<T> {}
/// An address in a 32-bit memory of the caller; see [`Caller::memory`].
impl<T: 'static> WasmTy for GuestPtr<T> {
    const TYPE: ValType = ValType::I32;
    fn to_slots(self, _: StoreKey, slots: &mut [u64]) -> Result<()> {
        let address = u32::try_from(self.address());
        slots[0] = address.map_err(|_| Error::usage("the address does not fit 32 bits"))?.into();
        Ok(())
    }
    fn from_slots(_: StoreKey, slots: &[u64]) -> Self {
        Self::new(u64::from(slots[0] as u32))
    }
}

macro_rules! wasm_ty_by_val {
    ($($ty:ty = $wasm:expr, $variant:ident;)*) => {$(
        impl Sealed for $ty {}
        impl WasmTy for $ty {
            const TYPE: ValType = $wasm;
            fn to_slots(self, store: StoreKey<'_>, slots: &mut [u64]) -> Result<()> {
                let bits = Val::$variant(self).to_bits(store.0)?;
                let count = slots.len().min(2);
                slots[..count].copy_from_slice(&bits[..count]);
                Ok(())
            }
            fn from_slots(store: StoreKey<'_>, slots: &[u64]) -> Self {
                let bits = [slots[0], slots.get(1).copied().unwrap_or(0)];
                match Val::from_bits(bits, Self::TYPE, store.0) {
                    Val::$variant(value) => value,
                    _ => unreachable!("a value of this type has this variant"),
                }
            }
        }
    )*};
}

wasm_ty_by_val! {
    u128 = ValType::V128, V128;
    Option<Func> = ValType::FUNCREF, FuncRef;
    Option<ExternRef> = ValType::EXTERNREF, ExternRef;
    Option<ExnRef> = ValType::Ref(RefType::EXNREF), ExnRef;
}

impl<K: Kind> Sealed for Option<Rooted<K>> {}
impl<K: Kind> WasmTy for Option<Rooted<K>> {
    const TYPE: ValType = ValType::Ref(RefType { nullable: true, heap: K::HEAP });
    fn to_slots(self, store: StoreKey<'_>, slots: &mut [u64]) -> Result<()> {
        slots[0] = self.map_or(Ok(0), |value| value.root.get(store.0))?.into();
        Ok(())
    }
    fn from_slots(store: StoreKey<'_>, slots: &[u64]) -> Self {
        Rooted::from_slot(store.0, slots[0])
    }
}

/// A list of parameters: a [`WasmTy`], or a tuple of up to 16.
pub trait WasmParams: WasmList {}
/// A list of results: `()`, a [`WasmTy`], or a tuple of up to 16.
pub trait WasmResults: WasmList {}
impl<L: WasmList> WasmParams for L {}
impl<L: WasmList> WasmResults for L {}

/// A list of values in consecutive slots.
pub trait WasmList: Sized {
    #[doc(hidden)]
    const SLOTS: usize;
    #[doc(hidden)]
    const PLACES: Places;
    #[doc(hidden)]
    const TYPES: &'static [ValType];
    /// Puts the values into registers, if their places fit.
    #[doc(hidden)]
    fn put(self, store: StoreKey<'_>, registers: &mut Registers) -> Result<()>;
    /// Takes the values from registers, if their places fit.
    #[doc(hidden)]
    fn take(store: StoreKey<'_>, registers: &mut Registers) -> Self;
    #[doc(hidden)]
    fn write(self, store: StoreKey<'_>, slots: &mut [u64]) -> Result<()>;
    #[doc(hidden)]
    fn read(store: StoreKey<'_>, slots: &[u64]) -> Self;
}

impl<A: WasmTy> WasmList for A {
    const SLOTS: usize = A::TYPE.slot_type().slots() as usize;
    const PLACES: Places = Places::of(A::TYPE);
    const TYPES: &'static [ValType] = &[A::TYPE];
    #[inline(always)]
    fn put(self, store: StoreKey<'_>, registers: &mut Registers) -> Result<()> {
        self.to_slots(store, std::slice::from_mut(registers.next(Self::PLACES.floats == 1)))
    }
    #[inline(always)]
    fn take(store: StoreKey<'_>, registers: &mut Registers) -> Self {
        A::from_slots(store, std::slice::from_ref(registers.next(Self::PLACES.floats == 1)))
    }
    fn write(self, store: StoreKey<'_>, slots: &mut [u64]) -> Result<()> {
        self.to_slots(store, &mut slots[..Self::SLOTS])
    }
    fn read(store: StoreKey<'_>, slots: &[u64]) -> Self {
        A::from_slots(store, &slots[..Self::SLOTS])
    }
}

/// What a host function may return: results, or a [`Result`] of them.
pub trait WasmRet {
    #[doc(hidden)]
    type List: WasmList;
    #[doc(hidden)]
    fn into_list(self) -> Result<Self::List>;
}

impl<L: WasmList> WasmRet for L {
    type List = L;
    fn into_list(self) -> Result<L> {
        Ok(self)
    }
}

impl<L: WasmList, E: Into<Error>> WasmRet for std::result::Result<L, E> {
    type List = L;
    fn into_list(self) -> Result<L> {
        self.map_err(Into::into)
    }
}

/// A closure that can be a host function: up to 16 parameters, before them optionally a [`Caller`].
pub trait IntoFunc<T, Params, Results>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_func(self) -> (FuncType, HostBody);
}

macro_rules! arities {
    ($($name:ident)*) => { arities!(@next [] [$($name)*]); };
    (@next [$($done:ident)*] []) => { arity!($($done)*); };
    (@next [$($done:ident)*] [$next:ident $($rest:ident)*]) => {
        arity!($($done)*);
        arities!(@next [$($done)* $next] [$($rest)*]);
    };
}

macro_rules! arity {
    ($($name:ident)*) => {
        #[allow(non_snake_case, unused_variables, unused_assignments, unused_mut, clippy::unused_unit, reason = "names of type parameters; the empty list")]
        impl<$($name: WasmTy),*> WasmList for ($($name,)*) {
            const SLOTS: usize = 0 $(+ <$name as WasmList>::SLOTS)*;
            const PLACES: Places = Places::NONE $(.and(<$name as WasmList>::PLACES))*;
            const TYPES: &'static [ValType] = &[$($name::TYPE),*];
            #[inline(always)]
            fn put(self, store: StoreKey<'_>, registers: &mut Registers) -> Result<()> {
                let ($($name,)*) = self;
                $(WasmList::put($name, store, registers)?;)*
                Ok(())
            }
            #[inline(always)]
            fn take(store: StoreKey<'_>, registers: &mut Registers) -> Self {
                $(let $name = <$name as WasmList>::take(store, registers);)*
                ($($name,)*)
            }
            fn write(self, store: StoreKey<'_>, slots: &mut [u64]) -> Result<()> {
                let ($($name,)*) = self;
                let mut at = 0;
                $(WasmList::write($name, store, &mut slots[at..])?; at += <$name as WasmList>::SLOTS;)*
                Ok(())
            }
            fn read(store: StoreKey<'_>, slots: &[u64]) -> Self {
                let mut at = 0;
                $(let $name = <$name as WasmList>::read(store, &slots[at..]); at += <$name as WasmList>::SLOTS;)*
                ($($name,)*)
            }
        }

        #[allow(non_snake_case, reason = "names of type parameters")]
        impl<T: 'static, F, R, $($name: WasmTy),*> IntoFunc<T, ($($name,)*), R> for F
        where
            F: Fn($($name),*) -> R + Send + Sync + 'static,
            R: WasmRet,
        {
            fn into_func(self) -> (FuncType, HostBody) {
                host_func::<T, ($($name,)*), R, false>(move |_, ($($name,)*)| self($($name),*))
            }
        }

        #[allow(non_snake_case, reason = "names of type parameters")]
        impl<T: 'static, F, R, $($name: WasmTy),*> IntoFunc<T, (Caller<'_, T>, $($name,)*), R> for F
        where
            F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
            R: WasmRet,
        {
            fn into_func(self) -> (FuncType, HostBody) {
                host_func::<T, ($($name,)*), R, true>(move |caller, ($($name,)*)| self(caller, $($name),*))
            }
        }
    };
}

arities!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16);

/// Erases the types of a closure, in two forms: for arguments in slots, and in registers where they fit. `CALLER` says that the
/// closure looks at its caller.
fn host_func<T: 'static, P: WasmList, R: WasmRet, const CALLER: bool>(
    body: impl Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
) -> (FuncType, HostBody) {
    let ty = FuncType::new(P::TYPES.iter().copied(), R::List::TYPES.iter().copied());
    let body = Arc::new(body);
    let direct = direct::<T, P, R, _, CALLER>(&body);
    let slots: Box<Body> = Box::new(move |context, slots| {
        let results = call_body::<T, P, R, CALLER>(&*body, context, |store| P::read(store, slots))?;
        // SAFETY: the store runs on this thread; the borrow of the call has ended.
        results.write(StoreKey(unsafe { &*context.store }), slots)
    });
    (ty, HostBody { slots, direct })
}

/// Calls a closure with what `read` finds in its store. Only one that looks at its caller gets its number.
#[inline(always)]
fn call_body<T: 'static, P: WasmList, R: WasmRet, const CALLER: bool>(
    body: &(impl Fn(Caller<'_, T>, P) -> R + ?Sized),
    context: HostContext,
    read: impl FnOnce(StoreKey<'_>) -> P,
) -> Result<R::List> {
    // SAFETY: host functions are registered with linkers and stores of their `T` only; the store
    // runs on this thread, and the engine holds no borrow of it during a host call.
    let store = unsafe { &mut *context.store.cast::<StoreInner<T>>() };
    let args = read(StoreKey(&store.data));
    let caller = if CALLER { Caller::new(store, context.home) } else { Caller::unasked(store, context.home) };
    body(caller, args).into_list()
}

/// The closure as compiled code calls it, if its parameters and results fit registers.
fn direct<T: 'static, P: WasmList, R: WasmRet, F, const CALLER: bool>(closure: &Arc<F>) -> Option<Direct>
where
    F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
{
    if !P::PLACES.fit(R::List::PLACES) {
        return None;
    }
    let code = |code: *const ()| NonNull::new(code.cast_mut()).expect("code has an address");
    Some(Direct {
        code: code(arch::host_entry::<ClosureCode<T, P, R, F, CALLER, false>>()),
        gated: code(arch::host_entry::<ClosureCode<T, P, R, F, CALLER, true>>()),
        closure: Arc::as_ptr(closure).cast(),
    })
}

/// The code of host functions made of a closure of type `F`, without a gate or behind one.
struct ClosureCode<T, P, R, F, const CALLER: bool, const GATED: bool>(PhantomData<fn(T, P, R, F)>);

impl<T: 'static, P: WasmList, R: WasmRet, F: Fn(Caller<'_, T>, P) -> R, const CALLER: bool, const GATED: bool> HostCode
    for ClosureCode<T, P, R, F, CALLER, GATED>
{
    // Behind a gate a closure may have a capability among what it holds, and use it during the call.
    const IS_LONE: bool = !CALLER
        && P::PLACES.refs + R::List::PLACES.refs == 0
        && P::PLACES.floats < arch::FLOATS
        && (!GATED || size_of::<F>() == 0);

    #[rustfmt::skip]
    unsafe extern "C" fn run(
        vm: *mut VmCtx, _: *const VmFuncEntry, a: u64, b: u64, c: u64, d: u64,
        f0: f64, f1: f64, f2: f64, f3: f64, f4: f64, f5: f64, f6: f64, f7: f64,
    ) -> Returned {
        let floats = [f0, f1, f2, f3, f4, f5, f6, f7].map(f64::to_bits);
        let registers = Registers { ints: [a, b, c, d], floats, ..Registers::default() };
        // SAFETY: `direct` made this the code of a closure of this type.
        let (record, closure, context) = unsafe { host::called::<F>(vm) };
        match record.guarded(context.store, || Self::call(record, closure, context, registers)) {
            Ok(value) => Returned { value, status: Status::Ok as u64 },
            Err(status) => Returned { value: 0, status: status as u64 },
        }
    }

    /// No scope of rooted references is needed: there are none, and nothing that could make some.
    #[rustfmt::skip]
    unsafe extern "C" fn run_lone(
        vm: *mut VmCtx, place: *mut usize, a: u64, b: u64, c: u64, d: u64,
        f0: f64, f1: f64, f2: f64, f3: f64, f4: f64, f5: f64, f6: f64, caller: f64,
    ) -> arch::Result {
        let floats = [f0, f1, f2, f3, f4, f5, f6, 0.0].map(f64::to_bits);
        let registers = Registers { ints: [a, b, c, d], floats, ..Registers::default() };
        // SAFETY: `direct` made this the code of a closure of this type.
        let (record, closure, context) = unsafe { host::called::<F>(vm) };
        let failure = match catch_unwind(AssertUnwindSafe(|| Self::call(record, closure, context, registers))) {
            Ok(Ok(value)) => return result_in_register(value, R::List::PLACES.floats == 1),
            Ok(Err(error)) => Failure::Error(error),
            Err(panic) => Failure::Panic(panic),
        };
        // SAFETY: the arguments are passed on, and the function returns at once.
        unsafe { arch::leave_lone(vm, place, caller, || record.failed(context.store, failure)) }
    }
}

impl<T: 'static, P: WasmList, R: WasmRet, F: Fn(Caller<'_, T>, P) -> R, const CALLER: bool, const GATED: bool>
    ClosureCode<T, P, R, F, CALLER, GATED>
{
    /// Calls the closure; returns the bits of its result.
    #[inline(always)]
    fn call(record: &HostRecord, closure: &F, context: HostContext, mut registers: Registers) -> Result<u64> {
        let call = |args| call_body::<T, P, R, CALLER>(closure, context, |_| args);
        // SAFETY: the store runs on this thread; the borrow ends with the line.
        let args = P::take(StoreKey(unsafe { &*context.store }), &mut registers);
        let results = match GATED {
            false => call(args)?,
            true => match record.pass(context, Self::IS_LONE, call, args) {
                Ok(results) => results?,
                Err(args) => call_in_slots::<P, R::List>(record, context, args)?,
            },
        };
        let mut result = Registers::default();
        // SAFETY: the store runs on this thread; the borrow of the call has ended.
        results.put(StoreKey(unsafe { &*context.store }), &mut result)?;
        Ok(if R::List::PLACES.floats == 1 { result.floats[0] } else { result.ints[0] })
    }
}

/// The bits of a result in the register of its class.
#[inline(always)]
fn result_in_register(bits: u64, is_float: bool) -> arch::Result {
    match is_float {
        true => arch::Result { int: MaybeUninit::uninit(), float: MaybeUninit::new(f64::from_bits(bits)) },
        false => arch::Result { int: MaybeUninit::new(bits), float: MaybeUninit::uninit() },
    }
}

/// Calls a host function the long way. Its values fit registers, and so these slots.
#[cold]
fn call_in_slots<P: WasmList, R: WasmList>(record: &HostRecord, context: HostContext, args: P) -> Result<R> {
    let mut slots = [0; arch::INTS + arch::FLOATS];
    // SAFETY: the store runs on this thread; the borrow ends with the line.
    args.write(StoreKey(unsafe { &*context.store }), &mut slots)?;
    record.run_gated(context, &mut slots[..P::SLOTS.max(R::SLOTS)])?;
    // SAFETY: as above; the borrow of the call has ended.
    Ok(R::read(StoreKey(unsafe { &*context.store }), &slots))
}

/// Erases the type of a closure over [`Val`]s.
pub(crate) fn untyped<T: 'static>(
    ty: &FuncType,
    body: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
) -> Box<Body> {
    let ty = ty.clone();
    Box::new(move |context, slots| {
        // SAFETY: as in `host_func`.
        let store = unsafe { &mut *context.store.cast::<StoreInner<T>>() };
        let args = read_slots(slots, ty.params(), &store.data);
        let mut results: Vec<Val> = ty.results().iter().map(|ty| Val::default_for(*ty)).collect();
        body(Caller::new(store, context.home), &args, &mut results)?;
        // SAFETY: as above; the caller's borrow has ended.
        let store = unsafe { &*context.store };
        write_slots(slots, &results, ty.results(), store)
    })
}

impl Func {
    /// Makes a function of a closure.
    pub fn wrap<C: AsContextMut, P, R>(mut store: C, closure: impl IntoFunc<C::Data, P, R>) -> Self {
        let (ty, body) = closure.into_func();
        Self::from_body(&mut store.as_context_mut().0.data, ty, body)
    }

    /// Makes a function of a closure over values of types known at run time only.
    ///
    /// # Panics
    /// If the type names defined types of another engine.
    pub fn new<C: AsContextMut>(
        mut store: C,
        ty: FuncType,
        closure: impl Fn(Caller<'_, C::Data>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let body = untyped(&ty, closure);
        Self::from_body(&mut store.as_context_mut().0.data, ty, body.into())
    }

    fn from_body(store: &mut StoreData, ty: FuncType, body: HostBody) -> Self {
        let func = HostFunc { module: "host".to_owned(), name: "function".to_owned(), ty, gate: None, body };
        let func = HostRecord::add(store, func.into(), std::ptr::null_mut(), Vec::new());
        Self::new_raw(store.id, func)
    }

    /// Checks the function's type once, for calls without checks.
    ///
    /// # Errors
    /// If it has another type or belongs to another store.
    pub fn typed<P: WasmParams, R: WasmResults>(&self, store: impl AsContext) -> Result<TypedFunc<P, R>> {
        let context = store.as_context();
        let data = &context.0.data;
        data.check(self.store, "the function")?;
        let is = data.engine.types().func(self.type_id());
        let fits = |from: &[ValType], to: &[ValType]| {
            from.len() == to.len() && from.iter().zip(to).all(|(from, to)| data.engine.types().matches(*from, *to))
        };
        if !fits(P::TYPES, is.params()) || !fits(is.results(), R::TYPES) {
            let wanted = FuncType::new(P::TYPES.iter().copied(), R::TYPES.iter().copied());
            return Err(Error::usage(format!("the function has type {is}, asked for as {wanted}")));
        }
        Ok(TypedFunc { func: *self, types: PhantomData })
    }
}

/// A function whose type was checked.
pub struct TypedFunc<P, R> {
    func: Func,
    types: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for TypedFunc<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for TypedFunc<P, R> {}

impl<P, R> fmt::Debug for TypedFunc<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedFunc").field(&self.func).finish()
    }
}

/// Slots for the arguments and results of any typed call: 16 vectors each.
const TYPED_SLOTS: usize = 32;

impl<P: WasmParams, R: WasmResults> TypedFunc<P, R> {
    /// A function that is known to have this type.
    #[inline]
    pub(crate) fn of_checked(func: Func) -> Self {
        Self { func, types: PhantomData }
    }

    /// The function.
    #[must_use]
    pub fn func(&self) -> &Func {
        &self.func
    }

    /// Calls the function.
    ///
    /// # Errors
    /// If it traps, a host function fails, or a handle belongs to another store.
    #[inline(always)]
    pub fn call(&self, mut store: impl AsContextMut, params: P) -> Result<R> {
        let data = std::ptr::from_mut(&mut store.as_context_mut().0.data);
        // SAFETY: the store is borrowed by this call and used through `data` alone.
        let before = unsafe { &*data };
        before.check(self.func.store, "the function")?;
        if const { !P::PLACES.fit(R::PLACES) } {
            // SAFETY: as above.
            return unsafe { self.call_in_slots(data, params) };
        }
        let here = thread::here();
        // SAFETY: the store's check says that the function is live. Its words are read once and passed on by value: they never
        // change, and a reference to them would keep them in memory.
        let VmFuncRef { entry, vmctx, .. } = unsafe { self.func.raw().read() };
        // SAFETY: as above; the call has returned.
        let take = |bits| R::take(StoreKey(unsafe { &*data }), &mut Registers::of_result(bits));
        // SAFETY: as above.
        if unsafe { call::is_ready(data, entry, here) } {
            if here.is_idle() {
                // SAFETY: as above; the type was checked.
                return unsafe { Self::call_in_registers::<true>(data, entry, vmctx, here, params) }.map(take);
            }
            // SAFETY: as above.
            return unsafe { Self::call_inside(data, entry, vmctx, here, params) }.map(take);
        }
        hint::cold_path();
        // SAFETY: as above.
        unsafe { self.call_in_slots_for_bits(data, params) }.map(take)
    }

    /// A call by a host function that guest code of another store called.
    ///
    /// # Safety
    /// As [`call::enter`]; the places of the types fit.
    #[inline(never)]
    unsafe fn call_inside(
        store: *mut StoreData,
        entry: *const VmFuncEntry,
        vmctx: *mut VmCtx,
        here: &ThisThread,
        params: P,
    ) -> Result<u64> {
        // SAFETY: said by the caller.
        unsafe { Self::call_in_registers::<false>(store, entry, vmctx, here, params) }
    }

    /// Returns the bits of the result, which is in a register as they are. `FIRST` says that the thread is idle.
    ///
    /// # Safety
    /// As [`call::enter`]; the places of the types fit.
    #[inline(always)]
    unsafe fn call_in_registers<const FIRST: bool>(
        store: *mut StoreData,
        entry: *const VmFuncEntry,
        vmctx: *mut VmCtx,
        here: &ThisThread,
        params: P,
    ) -> Result<u64> {
        let mut registers = Registers::default();
        // SAFETY: said by the caller; the borrow ends with the line.
        params.put(StoreKey(unsafe { &*store }), &mut registers)?;
        let enter = match (P::PLACES.floats != 0, R::PLACES.floats != 0) {
            (false, false) => call::enter::<false, false, FIRST>,
            (false, true) => call::enter::<false, true, FIRST>,
            (true, false) => call::enter::<true, false, FIRST>,
            (true, true) => call::enter::<true, true, FIRST>,
        };
        // SAFETY: said by the caller.
        unsafe { enter(store, entry, vmctx, here, &registers, P::PLACES.ints) }
    }

    /// The same through slots, for a function that is not compiled or a store that is not ready.
    ///
    /// # Safety
    /// As [`invoke`]; the type was checked, and the places of its parts fit.
    #[inline(never)]
    unsafe fn call_in_slots_for_bits(&self, store: *mut StoreData, params: P) -> Result<u64> {
        let mut slots = [0; TYPED_SLOTS];
        // SAFETY: said by the caller.
        unsafe { self.invoke(store, params, &mut slots) }?;
        Ok(slots[0])
    }

    /// # Safety
    /// As [`invoke`]; the type was checked.
    #[inline(never)]
    unsafe fn call_in_slots(&self, store: *mut StoreData, params: P) -> Result<R> {
        let mut slots = [0; TYPED_SLOTS];
        // SAFETY: said by the caller.
        unsafe { self.invoke(store, params, &mut slots) }?;
        // SAFETY: said by the caller; the call has returned.
        Ok(R::read(StoreKey(unsafe { &*store }), &slots))
    }

    /// Calls the function with its arguments in slots, where its results are afterwards.
    ///
    /// # Safety
    /// As [`invoke`]; the type was checked.
    #[inline(always)]
    unsafe fn invoke(&self, store: *mut StoreData, params: P, slots: &mut [u64; TYPED_SLOTS]) -> Result<()> {
        // SAFETY: said by the caller; the borrow ends with the line.
        params.write(StoreKey(unsafe { &*store }), slots)?;
        // SAFETY: said by the caller; the type was checked, so that the slots suffice.
        unsafe { invoke(store, self.func.raw(), slots.as_mut_ptr()) }
    }
}
