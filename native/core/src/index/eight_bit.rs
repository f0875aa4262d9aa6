//! Eight bits per dimension and the length of what they leave out, which bounds the distance with certainty.
//!
//! A vector `x` is `scale * code + e`, code a whole number from -127 to 127 in each dimension. Then:
//!
//! ```text
//! ip       <x, q>   is within |e| |q| of scale * <code, q>            (Cauchy-Schwarz); error = |e|
//! cosine   the same, of x and q scaled to length 1
//! l2       |x - q|  is within |e| of |scale * code - q|               (triangle inequality); error = |e|
//! l1       |x - q|₁ is within |e|₁ of |scale * code - q|₁             (the same); error = |e|₁
//! ```
//!
//! Scores are the distances, squared for l2. Bounds leave room for the rounding of `f32` sums. For dot products the
//! query is in whole numbers too, of as many bits as sums of 32 bits have room for, and its rest widens the bounds.

#![allow(
    clippy::inline_always,
    reason = "a body takes on the instruction set of its caller only when inlined"
)]

use std::hint::black_box;

use super::dispatch::dispatched;
use super::{ID_BYTES, factor, rounded_down, rounded_up};
use crate::kernels::multiply_add;

/// Where the code begins: behind the id, scale and error.
const CODE: usize = ID_BYTES + 8;

/// Lanes of a running sum: registers enough to hide the latency of a fused multiply-add.
const LANES: usize = 32;

/// Relative error of a distance as it is compared in the end, and of vectors that were scaled to length 1.
const ROUNDED: f64 = 4e-7;

/// Bytes of an entry.
pub(super) fn entry_bytes(dimensions: usize) -> usize {
    CODE + dimensions
}

/// How a code is compared with the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Product,
    /// As [`Compared::Product`], of vectors of length 1.
    Cosine,
    Squares,
    Differences,
}

/// Appends the factors and the code of `vector`.
#[allow(clippy::cast_possible_truncation, reason = "the code of a dimension is a whole number up to 127")]
pub(super) fn encode(vector: &[f32], compared: Compared, into: &mut Vec<u8>) {
    let largest = vector.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    // A scale that is too small to be divided by leaves everything to the error.
    let scale = Some(largest / 127.0).filter(|scale| scale.is_normal()).unwrap_or(0.0);
    let level = |value: f32| if scale > 0.0 { (value / scale).round().clamp(-127.0, 127.0) } else { 0.0 };
    let left_out = vector.iter().map(|&value| f64::from(value) - f64::from(scale) * f64::from(level(value)));
    let error = match compared {
        Compared::Differences => left_out.map(f64::abs).sum::<f64>(),
        _ => left_out.map(|rest| rest * rest).sum::<f64>().sqrt(),
    };
    into.extend(scale.to_le_bytes());
    into.extend(rounded_up(error).to_le_bytes());
    into.extend(vector.iter().map(|&value| (level(value) as i8).cast_unsigned()));
}

/// A query, made ready to be compared with codes.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    query: Vec<f32>,
    /// About the query in units of `step`.
    levels: Vec<i16>,
    step: f32,
    norm: f32,
    /// The length of the longest code: one that is 127 everywhere.
    longest: f32,
    /// What a dot product is off by for a code of scale 1, at most.
    rest: f32,
    /// Relative error of a sum.
    rounding: f32,
    compared: Compared,
}

impl Prepared {
    /// For cosine, `query` has length 1.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "bounded, or of an error"
    )]
    pub(super) fn new(query: Vec<f32>, compared: Compared) -> Self {
        let dimensions = query.len() as f32;
        let squares: f64 = query.iter().map(|&value| f64::from(value).powi(2)).sum();
        let rounding = (dimensions / LANES as f32 + 24.0) * f32::EPSILON;
        let top = (i32::MAX as f32 / (128.0 * dimensions)).clamp(1.0, 32767.0).floor();
        let largest = query.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let step = (largest / top).max(f32::MIN_POSITIVE);
        let levels: Vec<i16> =
            query.iter().map(|value| (value / step).round().clamp(-top, top) as i16).collect();
        let left_out = query
            .iter()
            .zip(&levels)
            .map(|(&value, &level)| f64::from(value) - f64::from(step) * f64::from(level));
        let left_out = left_out.map(|rest| rest * rest).sum::<f64>().sqrt();
        let longest = 127.0 * f64::from(dimensions).sqrt();
        let norm = squares.sqrt();
        let rest = rounded_up(longest * (left_out + f64::from(f32::EPSILON) * 4.0 * norm));
        Self {
            norm: rounded_up(norm),
            longest: rounded_up(longest),
            query,
            levels,
            step,
            rest,
            rounding,
            compared,
        }
    }
}

dispatched! {
    /// Writes the lower and upper bound of every entry's score.
    pub(super) fn bounds(query: &Prepared, block: &[u8], entry: usize, into: &mut [[f32; 2]]) => bounds_of
}

#[inline(always)]
fn bounds_of<const FMA: bool, const WIDE: bool>(
    query: &Prepared,
    block: &[u8],
    entry: usize,
    into: &mut [[f32; 2]],
) {
    // A loop, as iterators' closures are compiled for the baseline.
    for (entry, bounds) in block.chunks_exact(entry).zip(into) {
        *bounds = match query.compared {
            Compared::Product => product(query, entry, 0.0),
            Compared::Cosine => product(query, entry, 1.0),
            Compared::Squares => squares::<FMA>(query, entry),
            Compared::Differences => differences::<FMA>(query, entry),
        };
    }
}

#[inline(always)]
fn product(query: &Prepared, entry: &[u8], offset: f64) -> [f32; 2] {
    let (scale, error) = (f64::from(factor::<0>(entry)), f64::from(factor::<1>(entry)));
    let mut dot = 0i32;
    for (&level, &code) in query.levels.iter().zip(entry.get(CODE..).unwrap_or(&[])) {
        dot = dot.wrapping_add(i32::from(level).wrapping_mul(i32::from(code.cast_signed())));
    }
    // Factors may be so small or large that `f32` has no room for their product.
    let score = offset - scale * f64::from(query.step) * f64::from(dot);
    // Vectors of length 1 are rounded, and so is what is compared in the end.
    let width =
        error * f64::from(query.norm) + scale * f64::from(query.rest) + ROUNDED * (offset + score.abs());
    [rounded_down(score - width), rounded_up(score + width)]
}

#[inline(always)]
fn squares<const FMA: bool>(query: &Prepared, entry: &[u8]) -> [f32; 2] {
    let (scale, error) = (factor::<0>(entry), factor::<1>(entry));
    let sum = sum(query, entry, |value, code, sum| {
        let difference = multiply_add::<FMA>(-scale, code, value);
        multiply_add::<FMA>(difference, difference, sum)
    });
    // A difference of large numbers has their rounding.
    let rounding = f32::EPSILON * (scale * query.longest + query.norm);
    let [lower, upper] = widened(sum.sqrt(), query.rounding, error + rounding);
    // Squares of small differences are lost below what `f32` has room for.
    [
        lower * lower * (1.0 - 2.0 * f32::EPSILON) - f32::MIN_POSITIVE,
        upper * upper * (1.0 + 4.0 * f32::EPSILON) + f32::MIN_POSITIVE,
    ]
}

#[inline(always)]
fn differences<const FMA: bool>(query: &Prepared, entry: &[u8]) -> [f32; 2] {
    let (scale, error) = (factor::<0>(entry), factor::<1>(entry));
    let sum = sum(query, entry, |value, code, sum| multiply_add::<FMA>(-scale, code, value).abs() + sum);
    // As in `squares`; the sum of a code is at most its length times that of ones.
    let rounding = f32::EPSILON * scale * query.longest * query.longest / 127.0;
    widened(sum, query.rounding, error + rounding)
}

/// A distance give or take what it may be off by, never below zero. Sums that left the range of `f32` bound nothing.
#[inline(always)]
fn widened(distance: f32, relative: f32, error: f32) -> [f32; 2] {
    if !distance.is_finite() {
        return [0.0, f32::INFINITY];
    }
    let width = error * (1.0 + 4.0 * f32::EPSILON) + distance * relative + f32::MIN_POSITIVE;
    [(distance - width).max(0.0), distance + width]
}

/// Sums `step` over the dimensions, in lanes.
#[inline(always)]
#[allow(clippy::indexing_slicing, reason = "arrays of LANES indexed below LANES: no check remains")]
fn sum(query: &Prepared, entry: &[u8], step: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let code = entry.get(CODE..).unwrap_or(&[]);
    let (values, values_rest) = query.query.as_chunks::<LANES>();
    let (codes, codes_rest) = code.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (values, codes) in values.iter().zip(codes) {
        for lane in 0..LANES {
            lanes[lane] = step(values[lane], f32::from(codes[lane].cast_signed()), lanes[lane]);
        }
    }
    // Opaque, or LLVM fits the loop above to the narrow registers that it chooses for this one.
    let mut lanes = black_box(lanes);
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    values_rest
        .iter()
        .zip(codes_rest)
        .fold(lanes[0], |sum, (&value, &code)| step(value, f32::from(code.cast_signed()), sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn large(dimensions: usize) -> impl Strategy<Value = Vec<f32>> {
        (
            proptest::collection::vec(-1.0f32..1.0, dimensions),
            -3i32..4,
            prop_oneof![Just(0.0f32), -1e3f32..1e3],
        )
            .prop_map(|(values, exponent, offset)| {
                values.into_iter().map(|value| value * 10f32.powi(exponent) + offset).collect()
            })
    }

    proptest! {
        #[test]
        fn processors_without_fused_multiply_add_have_bounds_too(
            (row, query) in (1usize..1500).prop_flat_map(|dimensions| (large(dimensions), large(dimensions))),
        ) {
            for compared in [Compared::Product, Compared::Squares, Compared::Differences] {
                let mut entry = vec![0; ID_BYTES];
                encode(&row, compared, &mut entry);
                let prepared = Prepared::new(query.clone(), compared);
                let pairs = row.iter().zip(&query).map(|(&a, &b)| (f64::from(a), f64::from(b)));
                let score: f64 = match compared {
                    Compared::Squares => pairs.map(|(a, b)| (a - b).powi(2)).sum(),
                    Compared::Differences => pairs.map(|(a, b)| (a - b).abs()).sum(),
                    _ => -pairs.map(|(a, b)| a * b).sum::<f64>(),
                };
                let [mut with, mut without] = [[[0.0; 2]], [[0.0; 2]]];
                bounds_of::<true, false>(&prepared, &entry, entry.len(), &mut with);
                bounds_of::<false, false>(&prepared, &entry, entry.len(), &mut without);
                for [lower, upper] in [with[0], without[0]] {
                    prop_assert!(f64::from(lower) <= score && score <= f64::from(upper), "{lower} {score} {upper}");
                }
            }
        }
    }
}
