//! What vector rows compute: lane-wise application and the few operators that cross lanes.
//!
//! Invariant: lane `i` of a shape with lanes of `n` bytes is bytes `i * n ..` of the vector, little
//! endian, whatever the host is (specification 4.3.4).

use super::sem::{Raw, v128};

/// A type of lanes.
pub trait Lane: Raw {
    /// How many lanes of the type a vector has.
    const COUNT: usize;

    /// Lane `index` of `vector`.
    fn get(vector: v128, index: usize) -> Self;

    /// Sets lane `index` of `vector`.
    fn set(self, vector: &mut v128, index: usize);
}

macro_rules! lanes {
    ($($ty:ident)*) => {
        $(impl Lane for $ty {
            const COUNT: usize = 16 / size_of::<$ty>();

            #[inline(always)]
            fn get(vector: v128, index: usize) -> Self {
                let mut bytes = [0; size_of::<$ty>()];
                bytes.copy_from_slice(&vector.0[index * size_of::<$ty>()..][..size_of::<$ty>()]);
                Self::from_le_bytes(bytes)
            }

            #[inline(always)]
            fn set(self, vector: &mut v128, index: usize) {
                vector.0[index * size_of::<$ty>()..][..size_of::<$ty>()].copy_from_slice(&self.to_le_bytes());
            }
        })*
    };
}

lanes! { i8 u8 i16 u16 i32 u32 i64 u64 f32 f64 }

impl v128 {
    /// The vector with lane `i` equal to `lane(i)`.
    #[inline(always)]
    pub fn from_lanes<L: Lane>(lane: impl Fn(usize) -> L) -> Self {
        let mut vector = Self::default();
        for i in 0..L::COUNT {
            lane(i).set(&mut vector, i);
        }
        vector
    }

    /// Bitwise combination of two vectors.
    #[inline(always)]
    #[must_use]
    pub fn bits(self, other: Self, f: impl Fn(u128, u128) -> u128) -> Self {
        Self(f(u128::from_le_bytes(self.0), u128::from_le_bytes(other.0)).to_le_bytes())
    }
}

/// Every lane is `x`.
#[inline(always)]
#[must_use]
pub fn splat<L: Lane>(x: L) -> v128 {
    v128::from_lanes(|_| x)
}

/// Lane 0 is `x`, all other bits are zero.
#[inline(always)]
#[must_use]
pub fn zero_above<L: Lane>(x: L) -> v128 {
    let mut vector = v128::default();
    x.set(&mut vector, 0);
    vector
}

/// Lane `lane` of `v`.
///
/// # Panics
/// If there is no such lane; validation has seen to it that there is.
#[inline(always)]
#[must_use]
pub fn extract<L: Lane>(v: v128, lane: u8) -> L {
    L::get(v, usize::from(lane))
}

/// `v` with lane `lane` replaced by `x`.
///
/// # Panics
/// If there is no such lane; validation has seen to it that there is.
#[inline(always)]
#[must_use]
pub fn replace<L: Lane>(mut v: v128, lane: u8, x: L) -> v128 {
    x.set(&mut v, usize::from(lane));
    v
}

/// Applies `f` to each lane.
#[inline(always)]
pub fn map1<A: Lane, R: Lane>(a: v128, f: impl Fn(A) -> R) -> v128 {
    const { assert!(A::COUNT == R::COUNT) };
    v128::from_lanes(|i| f(A::get(a, i)))
}

/// Applies `f` to each pair of lanes.
#[inline(always)]
pub fn map2<A: Lane, R: Lane>(a: v128, b: v128, f: impl Fn(A, A) -> R) -> v128 {
    const { assert!(A::COUNT == R::COUNT) };
    v128::from_lanes(|i| f(A::get(a, i), A::get(b, i)))
}

/// Applies `f` to each triple of lanes.
#[inline(always)]
pub fn map3<A: Lane, R: Lane>(a: v128, b: v128, c: v128, f: impl Fn(A, A, A) -> R) -> v128 {
    const { assert!(A::COUNT == R::COUNT) };
    v128::from_lanes(|i| f(A::get(a, i), A::get(b, i), A::get(c, i)))
}

/// All bits of each lane say whether `f` holds of the pair.
#[inline(always)]
pub fn compare<L: Lane>(a: v128, b: v128, f: impl Fn(L, L) -> bool) -> v128 {
    let mut mask = v128::default();
    for i in 0..L::COUNT {
        let byte = if f(L::get(a, i), L::get(b, i)) { 0xff } else { 0 };
        mask.0[i * L::SIZE..][..L::SIZE].fill(byte);
    }
    mask
}

/// Shifts each lane by `by` modulo the lane's width.
#[inline(always)]
pub fn shift<L: Lane>(a: v128, by: i32, f: impl Fn(L, u32) -> L) -> v128 {
    let by = by as u32 % (L::SIZE as u32 * 8);
    v128::from_lanes(|i| f(L::get(a, i), by))
}

/// `bitselect`: bits of `a` where `mask` is one, of `b` where it is zero.
#[inline(always)]
#[must_use]
pub fn bitselect(a: v128, b: v128, mask: v128) -> v128 {
    a.bits(mask, |a, m| a & m).bits(b.bits(mask, |b, m| b & !m), |x, y| x | y)
}

/// Whether `f` holds of every lane.
#[inline(always)]
pub fn all<L: Lane>(a: v128, f: impl Fn(L) -> bool) -> i32 {
    i32::from((0..L::COUNT).all(|i| f(L::get(a, i))))
}

/// Bit `i` says whether `f` holds of lane `i`.
#[inline(always)]
pub fn bitmask<L: Lane>(a: v128, f: impl Fn(L) -> bool) -> i32 {
    (0..L::COUNT).fold(0, |mask, i| mask | i32::from(f(L::get(a, i))) << i)
}

/// Widens the lower half of the lanes.
#[inline(always)]
pub fn widen_low<A: Lane, R: Lane>(a: v128, f: impl Fn(A) -> R) -> v128 {
    const { assert!(A::COUNT == 2 * R::COUNT) };
    v128::from_lanes(|i| f(A::get(a, i)))
}

/// Widens the upper half of the lanes.
#[inline(always)]
pub fn widen_high<A: Lane, R: Lane>(a: v128, f: impl Fn(A) -> R) -> v128 {
    const { assert!(A::COUNT == 2 * R::COUNT) };
    v128::from_lanes(|i| f(A::get(a, i + R::COUNT)))
}

/// Combines the lower halves of the lanes of two vectors into wider lanes.
#[inline(always)]
pub fn widen_low2<A: Lane, R: Lane>(a: v128, b: v128, f: impl Fn(A, A) -> R) -> v128 {
    const { assert!(A::COUNT == 2 * R::COUNT) };
    v128::from_lanes(|i| f(A::get(a, i), A::get(b, i)))
}

/// Combines the upper halves of the lanes of two vectors into wider lanes.
#[inline(always)]
pub fn widen_high2<A: Lane, R: Lane>(a: v128, b: v128, f: impl Fn(A, A) -> R) -> v128 {
    const { assert!(A::COUNT == 2 * R::COUNT) };
    v128::from_lanes(|i| f(A::get(a, i + R::COUNT), A::get(b, i + R::COUNT)))
}

/// Combines adjacent lanes into one wider lane.
#[inline(always)]
pub fn pairwise<A: Lane, R: Lane>(a: v128, f: impl Fn(A, A) -> R) -> v128 {
    const { assert!(A::COUNT == 2 * R::COUNT) };
    v128::from_lanes(|i| f(A::get(a, 2 * i), A::get(a, 2 * i + 1)))
}

/// Narrows the lanes of `a`, then those of `b`.
#[inline(always)]
pub fn narrow<A: Lane, R: Lane>(a: v128, b: v128, f: impl Fn(A) -> R) -> v128 {
    const { assert!(2 * A::COUNT == R::COUNT) };
    v128::from_lanes(|i| f(if i < A::COUNT { A::get(a, i) } else { A::get(b, i - A::COUNT) }))
}

/// Narrows the lanes of `a`; the upper half is zero.
#[inline(always)]
pub fn narrow_zero<A: Lane, R: Lane + Default>(a: v128, f: impl Fn(A) -> R) -> v128 {
    const { assert!(2 * A::COUNT == R::COUNT) };
    v128::from_lanes(|i| if i < A::COUNT { f(A::get(a, i)) } else { R::default() })
}

/// `i8x16.swizzle`: the bytes of `a` that `b` names; zero where it names none.
#[inline(always)]
#[must_use]
pub fn swizzle(a: v128, b: v128) -> v128 {
    v128::from_lanes(|i| a.0.get(usize::from(b.0[i])).copied().unwrap_or(0))
}

/// `i8x16.shuffle`: the bytes of `a` and `b` together that `lanes` name.
///
/// # Panics
/// If a lane is 32 or more; validation has seen to it that none is.
#[inline(always)]
#[must_use]
pub fn shuffle(a: v128, b: v128, lanes: [u8; 16]) -> v128 {
    v128::from_lanes(|i| match lanes[i] {
        lane @ 0..16 => a.0[usize::from(lane)],
        lane => b.0[usize::from(lane - 16)],
    })
}

/// `i16x8.q15mulr_sat_s` of one pair of lanes.
#[inline(always)]
#[must_use]
pub fn q15mulr_sat(a: i16, b: i16) -> i16 {
    let rounded = (i32::from(a) * i32::from(b) + 0x4000) >> 15;
    rounded.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// `i32x4.dot_i16x8_s`.
#[inline(always)]
#[must_use]
pub fn dot(a: v128, b: v128) -> v128 {
    v128::from_lanes(|i| {
        let product = |k| i32::from(i16::get(a, k)) * i32::from(i16::get(b, k));
        product(2 * i).wrapping_add(product(2 * i + 1))
    })
}

/// `i16x8.relaxed_dot_i8x16_i7x16_s` of the deterministic profile: both operands signed, the sum saturating.
#[inline(always)]
#[must_use]
pub fn relaxed_dot(a: v128, b: v128) -> v128 {
    v128::from_lanes(|i| {
        let product = |k| i16::from(i8::get(a, k)) * i16::from(i8::get(b, k));
        product(2 * i).saturating_add(product(2 * i + 1))
    })
}

/// `i32x4.relaxed_dot_i8x16_i7x16_add_s` of the deterministic profile.
#[inline(always)]
#[must_use]
pub fn relaxed_dot_add(a: v128, b: v128, c: v128) -> v128 {
    let sums = pairwise(relaxed_dot(a, b), |x: i16, y| i32::from(x) + i32::from(y));
    map2(sums, c, i32::wrapping_add)
}
