//! What a call did, in a form that can be compared bit for bit: its results, or the trap's code.

use aura_runtime::{AsContextMut, Func, TrapCode, Val, ValType};

/// The bits of the results, or why the call trapped. Every NaN differs from every other, and -0 from 0.
pub type Outcome = Result<Vec<u128>, TrapCode>;

/// Calls a function.
///
/// # Panics
/// If the call fails in another way than by a trap.
pub fn outcome(mut store: impl AsContextMut, func: Func, args: &[Val]) -> Outcome {
    let mut results: Vec<Val> = func.ty(&store).results().iter().map(|ty| Val::default_for(*ty)).collect();
    match func.call(&mut store, args, &mut results) {
        Ok(()) => Ok(results.iter().map(bits).collect()),
        Err(error) => Err(error.trap().unwrap_or_else(|| panic!("expected a trap: {error}")).code()),
    }
}

/// The bits of a value; of a reference, whether it is one.
pub fn bits(value: &Val) -> u128 {
    match *value {
        Val::I32(x) => u128::from(x as u32),
        Val::I64(x) => u128::from(x as u64),
        Val::F32(x) => x.into(),
        Val::F64(x) => x.into(),
        Val::V128(x) => x,
        Val::FuncRef(func) => func.is_some().into(),
        Val::ExternRef(value) => value.is_some().into(),
        Val::AnyRef(value) => value.is_some().into(),
        Val::ExnRef(value) => value.is_some().into(),
    }
}

/// The value of a type with these bits; references are null.
#[allow(dead_code, reason = "not every test file makes values")]
pub fn value(ty: ValType, bits: u128) -> Val {
    match Val::default_for(ty) {
        Val::I32(_) => Val::I32(bits as i32),
        Val::I64(_) => Val::I64(bits as i64),
        Val::F32(_) => Val::F32(bits as u32),
        Val::F64(_) => Val::F64(bits as u64),
        Val::V128(_) => Val::V128(bits),
        null => null,
    }
}
