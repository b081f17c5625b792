//! What scalar rows compute, where Rust's own operator does not say it.
//!
//! Invariant: every function here is the specification's (core 2.0, section 4.3), bit for bit except
//! for the payloads of NaNs, which are arithmetic (quiet) whenever the row computes and untouched
//! whenever it only moves bits. [`canonical`] removes that last freedom.

use aura_host_abi::{SlotType, TrapCode};

pub use super::sem_simd::*;

/// A vector of 128 bits, lane 0 in the first bytes.
#[allow(non_camel_case_types, reason = "named as the value type, as i32 and f64 are")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct v128(pub [u8; 16]);

/// The result of a float row: a vector of four floats that may be NaNs.
#[allow(non_camel_case_types, reason = "named as the shape of the specification")]
pub type f32x4 = v128;

/// The result of a float row: a vector of two floats that may be NaNs.
#[allow(non_camel_case_types, reason = "named as the shape of the specification")]
pub type f64x2 = v128;

/// A Rust type that stands for a value type in a row.
pub trait RowType: Copy {
    /// The class of storage a value of the type takes.
    const SLOT: SlotType;
}

macro_rules! row_types {
    ($($ty:ty = $slot:ident;)*) => {
        $(impl RowType for $ty { const SLOT: SlotType = SlotType::$slot; })*
    };
}

row_types! { i32 = I32; i64 = I64; f32 = F32; f64 = F64; v128 = V128; }

/// A Rust type that stands for what a row reads from or writes to memory.
pub trait Raw: Copy {
    /// The bytes of one access, in memory order.
    type Bytes: Copy + Default + AsRef<[u8]> + AsMut<[u8]> + for<'a> TryFrom<&'a [u8]>;

    /// The size of an access in bytes.
    const SIZE: usize;

    /// The value these bytes of memory are.
    fn from_memory(bytes: Self::Bytes) -> Self;

    /// The bytes this value is in memory.
    fn to_memory(self) -> Self::Bytes;
}

macro_rules! raw_types {
    ($($ty:ident)*) => {
        $(impl Raw for $ty {
            type Bytes = [u8; size_of::<$ty>()];

            const SIZE: usize = size_of::<$ty>();

            #[inline(always)]
            fn from_memory(bytes: Self::Bytes) -> Self {
                Self::from_le_bytes(bytes)
            }

            #[inline(always)]
            fn to_memory(self) -> Self::Bytes {
                self.to_le_bytes()
            }
        })*
    };
}

raw_types! { i8 u8 i16 u16 i32 u32 i64 u64 f32 f64 }

impl Raw for v128 {
    type Bytes = [u8; 16];

    const SIZE: usize = 16;

    #[inline(always)]
    fn from_memory(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[inline(always)]
    fn to_memory(self) -> [u8; 16] {
        self.0
    }
}

/// For each result type of a float row, the function that puts the positive canonical NaN in place
/// of every NaN (the specification's deterministic profile): `canonical::$result(x)`.
pub mod canonical {
    use super::{Lane, v128};

    // NaNs are told by their bits: of `if x.is_nan() { NAN } else { x }` for the lanes of a square root, LLVM keeps `x`, since to
    // it one NaN is as good as another.

    /// A canonical `f32`.
    #[inline(always)]
    #[must_use]
    pub fn f32(x: f32) -> f32 {
        let bits = x.to_bits();
        let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
        f32::from_bits(if is_nan { 0x7fc0_0000 } else { bits })
    }

    /// A canonical `f64`.
    #[inline(always)]
    #[must_use]
    pub fn f64(x: f64) -> f64 {
        let bits = x.to_bits();
        let is_nan = bits & 0x7fff_ffff_ffff_ffff > 0x7ff0_0000_0000_0000;
        f64::from_bits(if is_nan { 0x7ff8_0000_0000_0000 } else { bits })
    }

    /// Four canonical `f32` lanes.
    #[inline(always)]
    #[must_use]
    pub fn f32x4(v: v128) -> v128 {
        v128::from_lanes(|i| f32(Lane::get(v, i)))
    }

    /// Two canonical `f64` lanes.
    #[inline(always)]
    #[must_use]
    pub fn f64x2(v: v128) -> v128 {
        v128::from_lanes(|i| f64(Lane::get(v, i)))
    }
}

/// The operations of one float width.
pub trait Float: Copy + PartialOrd {
    /// Whether the value is a NaN.
    fn is_nan(self) -> bool;
    /// The same NaN with the quiet bit set.
    #[must_use]
    fn quiet(self) -> Self;
    /// `fmin` (4.3.3): any NaN wins, -0 is less than +0.
    #[must_use]
    fn minimum(self, other: Self) -> Self;
    /// `fmax` (4.3.3): any NaN wins, +0 is greater than -0.
    #[must_use]
    fn maximum(self, other: Self) -> Self;
    #[must_use]
    fn ceil(self) -> Self;
    #[must_use]
    fn floor(self) -> Self;
    #[must_use]
    fn trunc(self) -> Self;
    /// Rounds to the nearest integer, ties to even.
    #[must_use]
    fn nearest(self) -> Self;
}

macro_rules! float {
    ($ty:ident, quiet $quiet:literal) => {
        impl Float for $ty {
            #[inline(always)]
            fn is_nan(self) -> bool {
                self != self
            }

            #[inline(always)]
            fn quiet(self) -> Self {
                Self::from_bits(self.to_bits() | $quiet)
            }

            #[inline(always)]
            fn minimum(self, other: Self) -> Self {
                if self < other {
                    self
                } else if other < self {
                    other
                } else if self == other {
                    // Equal bits, or zeros of either sign.
                    Self::from_bits(self.to_bits() | other.to_bits())
                } else {
                    nan_of(self, other)
                }
            }

            #[inline(always)]
            fn maximum(self, other: Self) -> Self {
                if self > other {
                    self
                } else if other > self {
                    other
                } else if self == other {
                    Self::from_bits(self.to_bits() & other.to_bits())
                } else {
                    nan_of(self, other)
                }
            }

            #[inline(always)]
            fn ceil(self) -> Self {
                if Float::is_nan(self) { self.quiet() } else { <$ty>::ceil(self) }
            }

            #[inline(always)]
            fn floor(self) -> Self {
                if Float::is_nan(self) { self.quiet() } else { <$ty>::floor(self) }
            }

            #[inline(always)]
            fn trunc(self) -> Self {
                if Float::is_nan(self) { self.quiet() } else { <$ty>::trunc(self) }
            }

            #[inline(always)]
            fn nearest(self) -> Self {
                if Float::is_nan(self) { self.quiet() } else { self.round_ties_even() }
            }
        }
    };
}

float!(f32, quiet 0x0040_0000);
float!(f64, quiet 0x0008_0000_0000_0000);

fn nan_of<F: Float>(a: F, b: F) -> F {
    if a.is_nan() { a.quiet() } else { b.quiet() }
}

/// `f32.demote_f64`: the specification's `demote`, NaNs made quiet.
#[inline(always)]
#[must_use]
pub fn demote(x: f64) -> f32 {
    if x.is_nan() {
        // The sign and the top of the payload survive, as in hardware.
        let sign = (x.to_bits() >> 32) as u32 & 0x8000_0000;
        f32::from_bits(sign | 0x7fc0_0000 | ((x.to_bits() >> 29) as u32 & 0x003f_ffff))
    } else {
        x as f32
    }
}

/// `f64.promote_f32`: the specification's `promote`, NaNs made quiet.
#[inline(always)]
#[must_use]
pub fn promote(x: f32) -> f64 {
    if x.is_nan() {
        let sign = u64::from(x.to_bits() & 0x8000_0000) << 32;
        f64::from_bits(sign | 0x7ff8_0000_0000_0000 | (u64::from(x.to_bits() & 0x003f_ffff) << 29))
    } else {
        f64::from(x)
    }
}

/// A number of 128 bits from its halves, the low one first.
const fn joined([low, high]: [i64; 2]) -> u128 {
    (high as u64 as u128) << 64 | low as u64 as u128
}

/// The halves of a number of 128 bits, the low one first.
const fn halves(x: u128) -> [i64; 2] {
    [x as i64, (x >> 64) as i64]
}

/// The sum of two numbers of 128 bits.
#[must_use]
#[inline(always)]
pub const fn add128(a: [i64; 2], b: [i64; 2]) -> [i64; 2] {
    halves(joined(a).wrapping_add(joined(b)))
}

/// The difference of two numbers of 128 bits.
#[must_use]
#[inline(always)]
pub const fn sub128(a: [i64; 2], b: [i64; 2]) -> [i64; 2] {
    halves(joined(a).wrapping_sub(joined(b)))
}

/// The whole signed product.
#[must_use]
#[inline(always)]
pub const fn mul_wide_s(a: i64, b: i64) -> [i64; 2] {
    halves((a as i128 * b as i128) as u128)
}

/// The whole unsigned product.
#[must_use]
#[inline(always)]
pub const fn mul_wide_u(a: i64, b: i64) -> [i64; 2] {
    halves(a as u64 as u128 * b as u64 as u128)
}

macro_rules! divisions {
    ($ty:ident, $unsigned:ident: $div_s:ident, $div_u:ident, $rem_s:ident, $rem_u:ident) => {
        /// Signed division, truncating.
        ///
        /// # Errors
        /// The divisor is zero, or the quotient is not representable.
        #[inline(always)]
        pub fn $div_s(a: $ty, b: $ty) -> Result<$ty, TrapCode> {
            if b == 0 {
                return Err(TrapCode::IntegerDivideByZero);
            }
            a.checked_div(b).ok_or(TrapCode::IntegerOverflow)
        }

        /// Unsigned division.
        ///
        /// # Errors
        /// The divisor is zero.
        #[inline(always)]
        pub fn $div_u(a: $ty, b: $ty) -> Result<$ty, TrapCode> {
            let quotient = (a as $unsigned).checked_div(b as $unsigned);
            quotient.map(|q| q as $ty).ok_or(TrapCode::IntegerDivideByZero)
        }

        /// Signed remainder, with the sign of the dividend.
        ///
        /// # Errors
        /// The divisor is zero.
        #[inline(always)]
        pub fn $rem_s(a: $ty, b: $ty) -> Result<$ty, TrapCode> {
            if b == 0 { Err(TrapCode::IntegerDivideByZero) } else { Ok(a.wrapping_rem(b)) }
        }

        /// Unsigned remainder.
        ///
        /// # Errors
        /// The divisor is zero.
        #[inline(always)]
        pub fn $rem_u(a: $ty, b: $ty) -> Result<$ty, TrapCode> {
            let remainder = (a as $unsigned).checked_rem(b as $unsigned);
            remainder.map(|r| r as $ty).ok_or(TrapCode::IntegerDivideByZero)
        }
    };
}

divisions!(i32, u32: i32_div_s, i32_div_u, i32_rem_s, i32_rem_u);
divisions!(i64, u64: i64_div_s, i64_div_u, i64_rem_s, i64_rem_u);

macro_rules! truncations {
    ($($name:ident: $float:ident -> $int:ident as $result:ident, above $above:expr, below $below:expr;)*) => {
        $(
            /// Truncation to an integer, towards zero.
            ///
            /// # Errors
            /// The value is a NaN, or does not fit.
            #[inline(always)]
            pub fn $name(x: $float) -> Result<$result, TrapCode> {
                if x > $above && x < $below {
                    Ok(x as $int as $result)
                } else if x.is_nan() {
                    Err(TrapCode::InvalidConversionToInteger)
                } else {
                    Err(TrapCode::IntegerOverflow)
                }
            }
        )*
    };
}

// Both bounds are exclusive. Where `MIN - 1` is not a float, the next float below `MIN` is named.
truncations! {
    i32_trunc_f32_s: f32 -> i32 as i32, above trunc_bounds::F32_I32.0, below trunc_bounds::F32_I32.1;
    i32_trunc_f32_u: f32 -> u32 as i32, above trunc_bounds::F32_U32.0, below trunc_bounds::F32_U32.1;
    i32_trunc_f64_s: f64 -> i32 as i32, above trunc_bounds::F64_I32.0, below trunc_bounds::F64_I32.1;
    i32_trunc_f64_u: f64 -> u32 as i32, above trunc_bounds::F64_U32.0, below trunc_bounds::F64_U32.1;
    i64_trunc_f32_s: f32 -> i64 as i64, above trunc_bounds::F32_I64.0, below trunc_bounds::F32_I64.1;
    i64_trunc_f32_u: f32 -> u64 as i64, above trunc_bounds::F32_U64.0, below trunc_bounds::F32_U64.1;
    i64_trunc_f64_s: f64 -> i64 as i64, above trunc_bounds::F64_I64.0, below trunc_bounds::F64_I64.1;
    i64_trunc_f64_u: f64 -> u64 as i64, above trunc_bounds::F64_U64.0, below trunc_bounds::F64_U64.1;
}

/// The open intervals of floats that truncate to a value of an integer type.
pub mod trunc_bounds {
    const P31: f64 = 2_147_483_648.0;
    const P32: f64 = 4_294_967_296.0;
    const P63: f64 = 9_223_372_036_854_775_808.0;
    const P64: f64 = 18_446_744_073_709_551_616.0;

    pub const F32_I32: (f32, f32) = ((-P31 as f32).next_down(), P31 as f32);
    pub const F32_U32: (f32, f32) = (-1.0, P32 as f32);
    pub const F64_I32: (f64, f64) = (-P31 - 1.0, P31);
    pub const F64_U32: (f64, f64) = (-1.0, P32);
    pub const F32_I64: (f32, f32) = ((-P63 as f32).next_down(), P63 as f32);
    pub const F32_U64: (f32, f32) = (-1.0, P64 as f32);
    pub const F64_I64: (f64, f64) = ((-P63).next_down(), P63);
    pub const F64_U64: (f64, f64) = (-1.0, P64);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an exact integer is a value of a type with these bounds.
    fn expected(x: f64, min: i128, max: i128) -> Result<i128, TrapCode> {
        if x.is_nan() {
            return Err(TrapCode::InvalidConversionToInteger);
        }
        let exact = x.trunc() as i128;
        if (min..=max).contains(&exact) { Ok(exact) } else { Err(TrapCode::IntegerOverflow) }
    }

    fn edges() -> Vec<f64> {
        let mut edges = vec![0.0, 0.5, 0.99, 1.0, 1.5, f64::INFINITY, f64::NAN, f64::MAX, f64::MIN_POSITIVE];
        for power in [31, 32, 63, 64].map(|n| 2.0f64.powi(n)) {
            edges.extend([
                power,
                power - 1.0,
                power + 1.0,
                power - 0.5,
                power + 0.5,
                power.next_up(),
                power.next_down(),
            ]);
            let single = power as f32;
            edges.extend([single.next_up(), single.next_down()].map(f64::from));
        }
        edges.iter().flat_map(|&x| [x, -x]).collect()
    }

    #[test]
    fn truncations_trap_exactly_outside_their_range() {
        let (i32s, u32s) = ((i32::MIN.into(), i32::MAX.into()), (0, u32::MAX.into()));
        let (i64s, u64s) = ((i64::MIN.into(), i64::MAX.into()), (0, u64::MAX.into()));
        for x in edges() {
            let check = |(min, max), got: Result<i128, TrapCode>| assert_eq!(got, expected(x, min, max), "{x:e}");
            check(i32s, i32_trunc_f64_s(x).map(i128::from));
            check(u32s, i32_trunc_f64_u(x).map(|n| i128::from(n as u32)));
            check(i64s, i64_trunc_f64_s(x).map(i128::from));
            check(u64s, i64_trunc_f64_u(x).map(|n| i128::from(n as u64)));
            let single = x as f32;
            let x = f64::from(single);
            let check = |(min, max), got: Result<i128, TrapCode>| assert_eq!(got, expected(x, min, max), "{x:e}");
            check(i32s, i32_trunc_f32_s(single).map(i128::from));
            check(u32s, i32_trunc_f32_u(single).map(|n| i128::from(n as u32)));
            check(i64s, i64_trunc_f32_s(single).map(i128::from));
            check(u64s, i64_trunc_f32_u(single).map(|n| i128::from(n as u64)));
        }
    }

    #[test]
    fn vectors_are_little_endian_and_choose_as_the_specification_says() {
        let ramp = v128(std::array::from_fn(|i| i as u8));
        assert_eq!(extract::<u32>(ramp, 1), 0x0706_0504);
        assert_eq!(replace(ramp, 15, 0xffu8).0[15], 0xff);
        assert_eq!(bitselect(splat(0xccu8), splat(0xaau8), splat(0xf0u8)), splat(0xcau8));
        assert_eq!(swizzle(ramp, splat(16u8)), v128::default());
        assert_eq!(shuffle(ramp, splat(0xeeu8), [31; 16]), splat(0xeeu8));
        assert_eq!(relaxed_dot(splat(i8::MIN), splat(i8::MIN)), splat(i16::MAX));
        assert_eq!(q15mulr_sat(i16::MIN, i16::MIN), i16::MAX);
        assert_eq!(bitmask(splat(-1i16), |x: i16| x < 0), 0xff);
    }

    #[test]
    fn nans_are_quiet_and_zeros_have_signs() {
        let signalling = f32::from_bits(0xff80_0001);
        assert_eq!(Float::minimum(signalling, 1.0).to_bits(), 0xffc0_0001);
        assert_eq!(Float::maximum(1.0, signalling).to_bits(), 0xffc0_0001);
        assert_eq!(Float::nearest(signalling).to_bits(), 0xffc0_0001);
        assert_eq!(promote(signalling).to_bits(), 0xfff8_0000_2000_0000);
        assert_eq!(demote(promote(signalling)).to_bits(), 0xffc0_0001);
        assert_eq!(canonical::f32(signalling).to_bits(), 0x7fc0_0000);
        assert_eq!(Float::minimum(0.0f64, -0.0).to_bits(), (-0.0f64).to_bits());
        assert_eq!(Float::maximum(-0.0f64, 0.0).to_bits(), 0);
        assert_eq!((Float::nearest(2.5f64), Float::nearest(-0.5f32).to_bits()), (2.0, (-0.0f32).to_bits()));
    }
}
