//! One bit per dimension: Gao & Long (2024), "`RaBitQ`: Quantizing High-Dimensional Vectors with a Theoretical Error
//! Bound for Approximate Nearest Neighbor Search", <https://arxiv.org/abs/2405.12497>.
//!
//! A vector `x` less the mean `c` of all, rotated at random, is `o`; its code is the signs of `o`. With `q'` the query
//! treated likewise, `<o, q'>` is estimated without bias by `f <sign(o), q'>`, `f = |o|² / |o|₁`, and the error has a
//! standard deviation of about `|o| |q'| sqrt((P |o|² / |o|₁² - 1) / (P - 1))` for `P` dimensions.
//!
//! The score that is estimated grows with the distance:
//!
//! ```text
//! l2       |x - q|²                 offset = |o|²       scale = 2 f
//! cosine   the same, of x and q scaled to length 1
//! ip       -<x, q>                  offset = -<x, c>    scale = f
//! ```
//!
//! The query is quantised to four bits per dimension, so that the estimate takes an AND and a population count
//! for each of four planes of bits.

#![allow(
    clippy::inline_always,
    reason = "a body takes on the instruction set of its caller only when inlined"
)]

use std::hint::black_box;

use super::dispatch::dispatched;
use super::rotation::{Rotation, WORD};
use super::{ID_BYTES, factor, rounded_up};

/// Where the code begins: behind the id, offset, scale and error.
const CODE: usize = ID_BYTES + 12;

/// Bits of a quantised query's dimension.
const PLANES: usize = 4;
/// The planes and all ones, in as many lanes as a register of AVX-512 has.
const LANES: usize = 8;
const _: () = assert!(PLANES < LANES);

/// Standard deviations by which an estimate may be off before a neighbour is missed. Larger finds more and compares
/// more vectors; see `benchmarks/`.
const DEVIATIONS: f32 = 2.0;

/// Bytes of an entry.
pub(super) fn entry_bytes(dimensions: usize) -> usize {
    CODE + dimensions.max(1).div_ceil(WORD) * 8
}

/// What is estimated: a squared distance, or an inner product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Estimated {
    Distance,
    Product,
}

/// Appends the factors and the code of `vector`, which is rotated and of the mean's length.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "factors are f32")]
pub(super) fn encode(vector: &[f32], mean: &[f32], estimated: Estimated, into: &mut Vec<u8>) {
    let (mut squares, mut sum, mut along_mean) = (0.0f64, 0.0f64, 0.0f64);
    let start = into.len() + 12;
    into.resize(start + vector.len() / 8, 0);
    for (place, (&value, &mean)) in vector.iter().zip(mean).enumerate() {
        let residual = f64::from(value) - f64::from(mean);
        squares += residual * residual;
        sum += residual.abs();
        along_mean += f64::from(value) * f64::from(mean);
        if residual > 0.0
            && let Some(byte) = into.get_mut(start + place / 8)
        {
            *byte |= 1 << (place % 8);
        }
    }
    let padded = vector.len() as f64;
    let scale = if sum > 0.0 { squares / sum } else { 0.0 };
    let spread = if sum > 0.0 { (padded * squares / (sum * sum) - 1.0).max(0.0) } else { 0.0 };
    let error = (squares * spread / (padded - 1.0)).sqrt();
    let factors = match estimated {
        Estimated::Distance => [squares as f32, 2.0 * scale as f32, rounded_up(2.0 * error)],
        Estimated::Product => [-along_mean as f32, scale as f32, rounded_up(error)],
    };
    for (place, factor) in factors.into_iter().enumerate() {
        if let Some(cell) = into.get_mut(start - 12 + 4 * place..start - 8 + 4 * place) {
            cell.copy_from_slice(&factor.to_le_bytes());
        }
    }
}

/// A query, made ready to be compared with codes.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// For each word of a code its planes, all ones, and zeros.
    planes: Vec<[u64; LANES]>,
    /// Of the quantisation: `q'` is about `low + step * u`.
    low: f32,
    step: f32,
    sum: f32,
    /// What every score has in common.
    offset: f32,
    /// By how much an entry's error is multiplied.
    error: f32,
}

impl Prepared {
    /// `query` is rotated and of the mean's length.
    #[allow(clippy::cast_possible_truncation, reason = "estimates are f32")]
    pub(super) fn new(query: &[f32], mean: &[f32], estimated: Estimated) -> Self {
        let residuals: Vec<f32> = query.iter().zip(mean).map(|(value, mean)| value - mean).collect();
        let low = residuals.iter().copied().fold(f32::INFINITY, f32::min);
        let high = residuals.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let top = f32::from((1u8 << PLANES) - 1);
        let step = ((high - low) / top).max(f32::MIN_POSITIVE);
        let mut planes = vec![[0; LANES]; residuals.len() / WORD];
        for (words, values) in planes.iter_mut().zip(residuals.chunks(WORD)) {
            words[PLANES] = u64::MAX;
            for (place, value) in values.iter().enumerate() {
                #[allow(clippy::cast_sign_loss, reason = "clamped; NaN becomes 0")]
                let level = ((value - low) / step).round().clamp(0.0, top) as u64;
                for (plane, word) in words.iter_mut().take(PLANES).enumerate() {
                    *word |= (level >> plane & 1) << place;
                }
            }
        }
        let squares: f64 = residuals.iter().map(|&value| f64::from(value).powi(2)).sum();
        let sum: f64 = residuals.iter().copied().map(f64::from).sum();
        let offset = match estimated {
            Estimated::Distance => squares,
            // <x, q> = <o, q'> + <x, c> + <c, q> - |c|² = <o, q'> + <x, c> + <c, q'>
            Estimated::Product => {
                -residuals.iter().zip(mean).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
            }
        };
        Self {
            planes,
            low,
            step,
            sum: sum as f32,
            offset: offset as f32,
            error: DEVIATIONS * squares.sqrt() as f32,
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
    let (twice_low, twice_step) = (2.0 * query.low, 2.0 * query.step);
    // A loop, as iterators' closures are compiled for the baseline.
    for (entry, bounds) in block.chunks_exact(entry).zip(into) {
        let Some((header, code)) = entry.split_first_chunk::<CODE>() else { continue };
        let (weight, ones) = weigh::<WIDE>(&query.planes, code);
        let dot = twice_step * weight + twice_low * ones - query.sum;
        let estimate = factor::<0>(header) + query.offset - factor::<1>(header) * dot;
        let error = factor::<2>(header) * query.error;
        *bounds = [estimate - error, estimate + error];
    }
}

/// The dot product of the code's bits with the quantised query, and the number of its bits.
#[inline(always)]
#[allow(clippy::indexing_slicing, reason = "arrays of LANES indexed below LANES: no check remains")]
#[allow(clippy::cast_precision_loss, reason = "far below 2^24")]
fn weigh<const WIDE: bool>(planes: &[[u64; LANES]], code: &[u8]) -> (f32, f32) {
    let (words, _) = code.as_chunks::<8>();
    let mut counts = [0u64; LANES];
    let lanes = if WIDE { LANES } else { PLANES + 1 };
    for (word, planes) in words.iter().zip(planes) {
        // Opaque, or LLVM takes the words side by side rather than the lanes.
        let word = black_box(u64::from_le_bytes(*word));
        for lane in 0..lanes {
            counts[lane] = counts[lane].wrapping_add(u64::from((word & planes[lane]).count_ones()));
        }
    }
    let weight = (0..PLANES).fold(0u64, |sum, plane| sum.wrapping_add(counts[plane] << plane));
    (weight as f32, counts[PLANES] as f32)
}

/// Rotates `vector` in place, for [`encode`] and [`Prepared::new`].
pub(super) fn rotated(rotation: &Rotation, vector: &[f32], scratch: &mut Vec<f32>) {
    scratch.clear();
    scratch.extend_from_slice(vector);
    rotation.rotate(scratch);
}
