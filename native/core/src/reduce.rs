//! The inner loops of summaries: least, greatest and sum of packed numbers, in one pass over them.
//!
//! Portable bodies, compiled once per instruction set. Integers are reduced as LLVM likes it; floats in lanes, as
//! LLVM does not change the order of their additions.

#![allow(
    clippy::inline_always,
    reason = "a body takes on the instruction set of its caller only when inlined into it"
)]
#![allow(clippy::indexing_slicing, reason = "arrays of LANES indexed below LANES: no check remains")]

use crate::dtype::Scalar;

/// What one pass yields. Of no elements at all, `min` is above `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduced {
    Integers {
        min: i128,
        max: i128,
        sum: i128,
    },
    /// Of all that are numbers, and how many are not.
    Floats {
        min: f64,
        max: f64,
        sum: f64,
        nans: u64,
    },
}

/// Reduces little-endian numbers. Bytes of bools count as numbers, whatever they are.
#[must_use]
pub fn reduce(scalar: Scalar, data: &[u8]) -> Reduced {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        return avx2::reduce(scalar, data);
    }
    portable(scalar, data)
}

#[inline(always)]
fn portable(scalar: Scalar, data: &[u8]) -> Reduced {
    match scalar {
        Scalar::I8 => i8s(data),
        Scalar::I16 => i16s(data),
        Scalar::I32 => i32s(data),
        Scalar::I64 => i64s(data),
        Scalar::U8 | Scalar::Bool => u8s(data),
        Scalar::U16 => u16s(data),
        Scalar::U32 => u32s(data),
        Scalar::U64 => u64s(data),
        Scalar::F32 => floats(data, |item| f64::from(f32::from_le_bytes(item))),
        Scalar::F64 => floats(data, f64::from_le_bytes),
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    #![allow(unsafe_code)]

    use super::{Reduced, Scalar, portable};

    pub(super) fn reduce(scalar: Scalar, data: &[u8]) -> Reduced {
        #[target_feature(enable = "avx2")]
        fn compiled(scalar: Scalar, data: &[u8]) -> Reduced {
            portable(scalar, data)
        }
        // SAFETY: `super::reduce` has found the feature on the running processor.
        unsafe { compiled(scalar, data) }
    }
}

/// Numbers that are summed before the sum is widened: none of the sums below can overflow.
const RUN: usize = 4096;

/// `$split` gives what is added to two sums, the second of which counts 2^32-fold; `$offset` is what it adds too much.
macro_rules! integers {
    ($($name:ident: $number:ty, $sum:ty, $split:expr, $offset:expr;)*) => {$(
        #[inline(always)]
        fn $name(data: &[u8]) -> Reduced {
            let (items, _) = data.as_chunks::<{ size_of::<$number>() }>();
            let (mut min, mut max, mut total) = (<$number>::MAX, <$number>::MIN, 0_i128);
            for run in items.chunks(RUN) {
                let (mut low, mut high): ($sum, $sum) = (0, 0);
                for &item in run {
                    let item = <$number>::from_le_bytes(item);
                    min = min.min(item);
                    max = max.max(item);
                    let parts: ($sum, $sum) = $split(item);
                    low = low.wrapping_add(parts.0);
                    high = high.wrapping_add(parts.1);
                }
                total += i128::from(low) + (i128::from(high) << 32);
            }
            let sum = total - $offset * items.len() as i128;
            Reduced::Integers { min: min.into(), max: max.into(), sum }
        }
    )*};
}

integers! {
    i8s: i8, i32, |item| (i32::from(item), 0), 0;
    i16s: i16, i32, |item| (i32::from(item), 0), 0;
    i32s: i32, i64, |item| (i64::from(item), 0), 0;
    u8s: u8, u32, |item| (u32::from(item), 0), 0;
    u16s: u16, u32, |item| (u32::from(item), 0), 0;
    u32s: u32, u64, |item| (u64::from(item), 0), 0;
    // Counted from the least of them, as there is no vector instruction to shift 64 bits with their sign.
    i64s: i64, u64, |item: i64| halves(item.cast_unsigned() ^ (1 << 63)), (1_i128 << 63);
    u64s: u64, u64, halves, 0;
}

#[inline(always)]
fn halves(number: u64) -> (u64, u64) {
    (number & 0xFFFF_FFFF, number >> 32)
}

/// Lanes of floats: four 256-bit registers, to hide the latency of the additions.
const LANES: usize = 16;

#[inline(always)]
fn floats<const SIZE: usize>(data: &[u8], read: impl Fn([u8; SIZE]) -> f64) -> Reduced {
    let (items, _) = data.as_chunks::<SIZE>();
    let (blocks, rest) = items.as_chunks::<LANES>();
    let mut lanes = Lanes::default();
    for block in blocks {
        for (lane, &item) in block.iter().enumerate() {
            lanes.add(lane, read(item));
        }
    }
    for (lane, &item) in rest.iter().enumerate() {
        lanes.add(lane, read(item));
    }
    lanes.reduced()
}

struct Lanes {
    min: [f64; LANES],
    max: [f64; LANES],
    sum: [f64; LANES],
    /// What rounding took from the sums.
    lost: [f64; LANES],
    nans: [u64; LANES],
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            min: [f64::INFINITY; LANES],
            max: [f64::NEG_INFINITY; LANES],
            sum: [0.0; LANES],
            lost: [0.0; LANES],
            nans: [0; LANES],
        }
    }
}

impl Lanes {
    #[inline(always)]
    fn add(&mut self, lane: usize, number: f64) {
        let nan = number.is_nan();
        self.nans[lane] = self.nans[lane].wrapping_add(u64::from(nan));
        // NaN is neither below nor above.
        self.min[lane] = if number < self.min[lane] { number } else { self.min[lane] };
        self.max[lane] = if number > self.max[lane] { number } else { self.max[lane] };
        let (sum, lost) = two_sum(self.sum[lane], if nan { 0.0 } else { number });
        self.sum[lane] = sum;
        self.lost[lane] += lost;
    }

    fn reduced(&self) -> Reduced {
        let mut sum = Sum::default();
        self.sum.iter().for_each(|&part| sum.add(part));
        sum.lost += self.lost.iter().sum::<f64>();
        Reduced::Floats {
            min: self.min.iter().copied().fold(f64::INFINITY, f64::min),
            max: self.max.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            sum: sum.total(),
            nans: self.nans.iter().sum(),
        }
    }
}

/// A sum that remembers what rounding took from it, as Neumaier's does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub fn add(&mut self, number: f64) {
        let (sum, lost) = two_sum(self.sum, number);
        self.sum = sum;
        self.lost += lost;
    }

    #[must_use]
    pub fn total(&self) -> f64 {
        // Infinities lose nothing; what was computed for them is no number.
        if self.lost.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

/// The rounded sum, and what rounding took from it. (Knuth's, which need not know the larger of the two.)
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let a_part = sum - b_part;
    (sum, (a - a_part) + (b - b_part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any length: whole lanes and a rest, or several runs.
    fn many<T: Strategy>(number: T) -> impl Strategy<Value = Vec<T::Value>>
    where
        T::Value: Copy,
    {
        let times = prop_oneof![3 => Just(1_usize), 1 => Just(RUN / 20)];
        (proptest::collection::vec(number, 1..70), times).prop_map(|(numbers, times)| numbers.repeat(times))
    }

    macro_rules! agree_with_wide_integers {
        ($($name:ident: $number:ty, $scalar:ident;)*) => {
            proptest! {$(
                #[test]
                fn $name(numbers in many(prop_oneof![any::<$number>(), Just(<$number>::MIN), Just(<$number>::MAX)])) {
                    let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                    let wide: Vec<i128> = numbers.iter().map(|&number| number.into()).collect();
                    let expected = Reduced::Integers {
                        min: *wide.iter().min().unwrap(), max: *wide.iter().max().unwrap(), sum: wide.iter().sum(),
                    };
                    prop_assert_eq!(reduce(Scalar::$scalar, &data), expected);
                    prop_assert_eq!(portable(Scalar::$scalar, &data), expected);
                }
            )*}
        };
    }

    agree_with_wide_integers! {
        i8_agrees: i8, I8; i16_agrees: i16, I16; i32_agrees: i32, I32; i64_agrees: i64, I64;
        u8_agrees: u8, U8; u16_agrees: u16, U16; u32_agrees: u32, U32; u64_agrees: u64, U64;
    }

    fn same(a: f64, b: f64) -> bool {
        a == b || a.is_nan() && b.is_nan()
    }

    proptest! {
        #[test]
        fn floats_agree_with_one_by_one(numbers in many(any::<f64>())) {
            let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            for reduced in [reduce(Scalar::F64, &data), portable(Scalar::F64, &data)] {
                let Reduced::Floats { min, max, sum, nans } = reduced else { panic!("{reduced:?}") };
                let real = || numbers.iter().copied().filter(|number| !number.is_nan());
                prop_assert_eq!(min, real().fold(f64::INFINITY, f64::min));
                prop_assert_eq!(max, real().fold(f64::NEG_INFINITY, f64::max));
                prop_assert_eq!(nans, (numbers.len() - real().count()) as u64);
                if real().any(f64::is_infinite) {
                    prop_assert!(same(sum, real().filter(|number| number.is_infinite()).sum()));
                }
            }
        }

        #[test]
        fn float_sums_are_as_if_exact_and_rounded_once(
            numbers in many((-(1_i64 << 52)..1 << 52, 0_i32..40)), extra in -(1_i64 << 52)..1 << 52,
        ) {
            // Integers, so that the exact sum is known.
            #[allow(clippy::cast_precision_loss)]
            let floats = numbers.iter().map(|&(number, shift)| number as f64 * 2_f64.powi(shift));
            #[allow(clippy::cast_precision_loss)]
            let data: Vec<u8> = floats.chain([extra as f64]).flat_map(f64::to_le_bytes).collect();
            let exact: i128 = numbers.iter().map(|&(number, shift)| i128::from(number) << shift).sum::<i128>() + i128::from(extra);
            let Reduced::Floats { sum, .. } = reduce(Scalar::F64, &data) else { panic!() };
            #[allow(clippy::cast_possible_truncation)]
            let off = (sum as i128 - exact).unsigned_abs();
            // Half a unit in the last place of the sum, and the rounding of what was lost.
            let magnitude: u128 = numbers.iter().map(|&(number, shift)| u128::from(number.unsigned_abs()) << shift).sum();
            prop_assert!(off <= (exact.unsigned_abs() >> 52) + (magnitude >> 90) + 1, "{} off", off);
        }

        #[test]
        fn narrow_floats_are_summed_as_wide_ones(numbers in many(any::<f32>())) {
            let narrow: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let wide: Vec<u8> = numbers.iter().flat_map(|&number| f64::from(number).to_le_bytes()).collect();
            prop_assert_eq!(
                format!("{:?}", reduce(Scalar::F32, &narrow)), format!("{:?}", reduce(Scalar::F64, &wide))
            );
        }
    }

    #[test]
    fn infinities_stay_infinite() {
        let sum = |numbers: &[f64]| {
            let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let Reduced::Floats { sum, .. } = reduce(Scalar::F64, &data) else { panic!() };
            sum
        };
        assert_eq!(sum(&[1.0, f64::INFINITY, 2.0]), f64::INFINITY);
        assert_eq!(sum(&[f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NAN]), f64::NEG_INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(sum(&[1e308; 40]), f64::INFINITY);
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
    }
}
