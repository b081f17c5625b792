//! Values of scripts: arguments made for a call, results held against patterns.
//!
//! Numbers are compared bit for bit; only `nan:canonical` and `nan:arithmetic` admit several bit
//! patterns (specification 2.2.3). A reference to a host value carries the script's number for it.

use aura_runtime::{AnyRef, AsContext, AsContextMut, EqRef, ExternRef, Rooted, Val};
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// Makes the argument of a call.
///
/// # Errors
/// If the engine has no such value.
pub fn argument(mut store: impl AsContextMut, arg: &WastArg<'_>) -> Result<Val, String> {
    let WastArg::Core(arg) = arg else {
        return Err("component values are not supported".to_owned());
    };
    Ok(match arg {
        WastArgCore::I32(value) => Val::I32(*value),
        WastArgCore::I64(value) => Val::I64(*value),
        WastArgCore::F32(value) => Val::F32(value.bits),
        WastArgCore::F64(value) => Val::F64(value.bits),
        WastArgCore::V128(value) => Val::V128(u128::from_le_bytes(value.to_le_bytes())),
        WastArgCore::RefNull(HeapType::Abstract { shared: false, ty }) => null(*ty)?,
        WastArgCore::RefExtern(number) => Val::ExternRef(Some(host_value(&mut store, *number)?)),
        WastArgCore::RefHost(number) => Val::AnyRef(Some(host_value(&mut store, *number)?.to_any())),
        other => return Err(format!("the engine has no value `{other:?}`")),
    })
}

fn host_value(store: impl AsContextMut, number: u32) -> Result<ExternRef, String> {
    ExternRef::new(store, number).map_err(|e| e.to_string())
}

/// The null of a type.
fn null(ty: AbstractHeapType) -> Result<Val, String> {
    use AbstractHeapType::{
        Any, Array, Cont, Eq, Exn, Extern, Func, I31, NoCont, NoExn, NoExtern, NoFunc, None, Struct,
    };
    Ok(match ty {
        Func | NoFunc => Val::FuncRef(Option::None),
        Extern | NoExtern => Val::ExternRef(Option::None),
        Exn | NoExn => Val::ExnRef(Option::None),
        Any | Eq | Struct | Array | I31 | None => Val::AnyRef(Option::None),
        Cont | NoCont => return Err("the engine has no continuations".to_owned()),
    })
}

/// Holds the results of a call against what the script expects.
///
/// # Errors
/// The first result that differs.
pub fn check_results(store: impl AsContext, actual: &[Val], expected: &[WastRet<'_>]) -> Result<(), String> {
    if actual.len() != expected.len() {
        return Err(format!("expected {} results, got {}", expected.len(), actual.len()));
    }
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let WastRet::Core(expected) = expected else {
            return Err("component values are not supported".to_owned());
        };
        if !matches(&store, actual, expected) {
            return Err(format!("result {index}: expected {expected:?}, got {}", show(&store, actual)));
        }
    }
    Ok(())
}

fn matches(store: &impl AsContext, actual: &Val, expected: &WastRetCore<'_>) -> bool {
    match (actual, expected) {
        (Val::I32(a), WastRetCore::I32(e)) => a == e,
        (Val::I64(a), WastRetCore::I64(e)) => a == e,
        (Val::F32(a), WastRetCore::F32(e)) => matches_f32(*a, *e),
        (Val::F64(a), WastRetCore::F64(e)) => matches_f64(*a, *e),
        (Val::V128(a), WastRetCore::V128(e)) => matches_v128(a.to_le_bytes(), e),
        (
            Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None),
            WastRetCore::RefNull(ty),
        ) => is_null_of(actual, ty.as_ref()),
        (Val::FuncRef(Some(_)), WastRetCore::RefFunc(None))
        | (Val::ExternRef(Some(_)), WastRetCore::RefExtern(None)) => true,
        (Val::ExternRef(Some(reference)), WastRetCore::RefExtern(Some(number))) => {
            host_number(store, reference) == Some(*number)
        }
        (Val::AnyRef(Some(reference)), expected) => matches_any(store, *reference, expected),
        (_, WastRetCore::Either(cases)) => cases.iter().any(|case| matches(store, actual, case)),
        _ => false,
    }
}

/// Whether a null is of the type that is expected; of a defined type, any null is.
fn is_null_of(actual: &Val, ty: Option<&HeapType<'_>>) -> bool {
    match ty {
        Some(HeapType::Abstract { ty, .. }) => null(*ty).is_ok_and(|null| null.ty() == actual.ty()),
        _ => true,
    }
}

fn matches_any(store: &impl AsContext, actual: Rooted<AnyRef>, expected: &WastRetCore<'_>) -> bool {
    match expected {
        WastRetCore::RefAny => true,
        WastRetCore::RefEq => matches!(actual.downcast::<EqRef>(store), Ok(Some(_))),
        WastRetCore::RefStruct => matches!(actual.as_struct(store), Ok(Some(_))),
        WastRetCore::RefArray => matches!(actual.as_array(store), Ok(Some(_))),
        WastRetCore::RefI31 => matches!(actual.as_i31(store), Ok(Some(_))),
        WastRetCore::RefHost(number) => host_number(store, &actual.to_extern()) == Some(*number),
        WastRetCore::Either(cases) => cases.iter().any(|case| matches_any(store, actual, case)),
        _ => false,
    }
}

fn host_number(store: &impl AsContext, reference: &ExternRef) -> Option<u32> {
    reference.data(store).ok()?.downcast_ref::<u32>().copied()
}

fn matches_f32(actual: u32, expected: NanPattern<F32>) -> bool {
    const CANONICAL: u32 = 0x7fc0_0000;
    match expected {
        NanPattern::CanonicalNan => actual & !(1 << 31) == CANONICAL,
        NanPattern::ArithmeticNan => actual & CANONICAL == CANONICAL,
        NanPattern::Value(value) => actual == value.bits,
    }
}

fn matches_f64(actual: u64, expected: NanPattern<F64>) -> bool {
    const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
    match expected {
        NanPattern::CanonicalNan => actual & !(1 << 63) == CANONICAL,
        NanPattern::ArithmeticNan => actual & CANONICAL == CANONICAL,
        NanPattern::Value(value) => actual == value.bits,
    }
}

fn matches_v128(actual: [u8; 16], expected: &V128Pattern) -> bool {
    match expected {
        V128Pattern::I8x16(lanes) => lanes.map(i8::to_le_bytes).concat() == actual,
        V128Pattern::I16x8(lanes) => lanes.map(i16::to_le_bytes).concat() == actual,
        V128Pattern::I32x4(lanes) => lanes.map(i32::to_le_bytes).concat() == actual,
        V128Pattern::I64x2(lanes) => lanes.map(i64::to_le_bytes).concat() == actual,
        V128Pattern::F32x4(lanes) => {
            actual.as_chunks().0.iter().zip(lanes).all(|(lane, e)| matches_f32(u32::from_le_bytes(*lane), *e))
        }
        V128Pattern::F64x2(lanes) => {
            actual.as_chunks().0.iter().zip(lanes).all(|(lane, e)| matches_f64(u64::from_le_bytes(*lane), *e))
        }
    }
}

/// A value as a failure report shows it.
fn show(store: &impl AsContext, value: &Val) -> String {
    match value {
        Val::I32(v) => format!("i32 {v} ({v:#x})"),
        Val::I64(v) => format!("i64 {v} ({v:#x})"),
        Val::F32(bits) => format!("f32 {} ({bits:#010x})", f32::from_bits(*bits)),
        Val::F64(bits) => format!("f64 {} ({bits:#018x})", f64::from_bits(*bits)),
        Val::V128(bits) => format!("v128 {bits:#034x}"),
        Val::FuncRef(None) => "a null function reference".to_owned(),
        Val::FuncRef(Some(_)) => "a function reference".to_owned(),
        Val::ExternRef(None) => "a null host reference".to_owned(),
        Val::ExternRef(Some(reference)) => match host_number(store, reference) {
            Some(number) => format!("host reference {number}"),
            None => "a host reference".to_owned(),
        },
        Val::AnyRef(None) => "a null reference".to_owned(),
        Val::AnyRef(Some(reference)) => match reference.ty(store) {
            Ok(ty) => format!("a reference of type {ty}"),
            Err(error) => error.to_string(),
        },
        Val::ExnRef(None) => "a null exception".to_owned(),
        Val::ExnRef(Some(_)) => "an exception".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_patterns_admit_what_the_specification_says() {
        for (bits, canonical, arithmetic) in [
            (0x7fc0_0000, true, true),
            (0xffc0_0000, true, true),
            (0x7fc0_0001, false, true),
            (0x7f80_0001, false, false),
            (0x7f80_0000, false, false),
            (0, false, false),
        ] {
            assert_eq!(matches_f32(bits, NanPattern::CanonicalNan), canonical, "{bits:#x}");
            assert_eq!(matches_f32(bits, NanPattern::ArithmeticNan), arithmetic, "{bits:#x}");
        }
        for (bits, canonical, arithmetic) in [
            (0x7ff8_0000_0000_0000, true, true),
            (0xfff8_0000_0000_0000, true, true),
            (0x7ff8_0000_0000_0001, false, true),
            (0x7ff0_0000_0000_0001, false, false),
        ] {
            assert_eq!(matches_f64(bits, NanPattern::CanonicalNan), canonical, "{bits:#x}");
            assert_eq!(matches_f64(bits, NanPattern::ArithmeticNan), arithmetic, "{bits:#x}");
        }
    }

    #[test]
    fn zeros_of_different_sign_differ() {
        assert!(!matches_f32(0x8000_0000, NanPattern::Value(F32 { bits: 0 })));
        assert!(matches_f64(1 << 63, NanPattern::Value(F64 { bits: 1 << 63 })));
    }

    #[test]
    fn lanes_are_little_endian() {
        let mut bytes = [0; 16];
        bytes[4] = 1;
        assert!(matches_v128(bytes, &V128Pattern::I32x4([0, 1, 0, 0])));
        assert!(matches_v128(bytes, &V128Pattern::I64x2([1 << 32, 0])));
        assert!(!matches_v128(bytes, &V128Pattern::I8x16([0; 16])));
        let nan = NanPattern::Value(F32 { bits: 1 });
        let zero = NanPattern::Value(F32 { bits: 0 });
        assert!(matches_v128(bytes, &V128Pattern::F32x4([zero, nan, zero, zero])));
    }
}
