//! The inner loops of the distances: one portable body each, compiled once per instruction set and type of cell.
//!
//! Sums run in 32 `f32` lanes, which LLVM turns into vector registers, and are widened to `f64` every
//! 256 dimensions: each lane then adds at most 8 terms in single precision, which keeps the relative
//! error near 1e-7 for any number of dimensions.

#![allow(
    clippy::inline_always,
    reason = "a body takes on the instruction set of its caller only when inlined into it"
)]
#![allow(clippy::indexing_slicing, reason = "arrays of LANES indexed below LANES: no check remains")]

use std::hint::black_box;

use crate::half;

/// Lanes of one running sum: four 256-bit registers, enough to hide the latency of a fused multiply-add.
const LANES: usize = 32;
type Lanes = [f32; LANES];
/// Dimensions summed in `f32` before the lanes are widened to `f64`.
const RUN: usize = 256;
const _: () = assert!(LANES.is_power_of_two() && RUN.is_multiple_of(LANES));

/// A number of a stored row, which its size tells the type of: `f32` in 4 bytes, `f16` in 2, `i8` in 1.
pub trait Cell: Copy {
    const ZERO: Self;
    fn value(self) -> f32;
}

impl Cell for [u8; 4] {
    const ZERO: Self = [0; 4];

    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_le_bytes(self)
    }
}

impl Cell for [u8; 2] {
    const ZERO: Self = [0; 2];

    #[inline(always)]
    fn value(self) -> f32 {
        half::to_f32(u16::from_le_bytes(self))
    }
}

impl Cell for [u8; 1] {
    const ZERO: Self = [0; 1];

    #[inline(always)]
    fn value(self) -> f32 {
        i8::from_le_bytes(self).into()
    }
}

/// What one pass over a row yields. Only cosine needs the second number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Dot product, sum of squared or absolute differences, or number of differing signs.
    pub main: f64,
    /// Squared norm of the row (cosine only).
    pub row_norm: f64,
}

/// A kernel reads as many dimensions as the shorter of its two arguments has.
pub type Kernel = fn(&[f32], &[u8]) -> Sums;

/// How many bits differ; reads as many bytes as the shorter of its two arguments has.
pub type BitKernel = fn(&[u8], &[u8]) -> u64;

/// The kernels of one instruction set, for rows of one type of cell.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    pub cosine: Kernel,
    pub l2: Kernel,
    pub l1: Kernel,
    pub hamming: Kernel,
    pub dot: Kernel,
    /// The same for every type of cell.
    pub bits: BitKernel,
}

impl Kernels {
    /// The fastest kernels this machine can run, for cells of so many bytes. Detection is cached by the standard
    /// library; callers keep the function pointer for a whole query all the same, so no row pays for the decision.
    #[must_use]
    pub fn detect<const BYTES: usize>() -> Self
    where
        [u8; BYTES]: Cell,
    {
        Self::usable::<BYTES>().next().unwrap_or_else(Self::portable::<BYTES>)
    }

    /// All kernels this machine can run, the fastest first.
    pub fn usable<const BYTES: usize>() -> impl Iterator<Item = Self>
    where
        [u8; BYTES]: Cell,
    {
        #[cfg(target_arch = "x86_64")]
        let special = [avx512::kernels::<BYTES>(), avx2::kernels::<BYTES>()];
        #[cfg(not(target_arch = "x86_64"))]
        let special = [];
        special.into_iter().flatten().chain([Self::portable::<BYTES>()])
    }

    /// The kernels for the baseline of the compilation target (SSE2 on x86-64, NEON on aarch64).
    #[must_use]
    pub fn portable<const BYTES: usize>() -> Self
    where
        [u8; BYTES]: Cell,
    {
        Self {
            cosine: cosine::<BYTES, BASELINE_FMA>,
            l2: squared_l2::<BYTES, BASELINE_FMA>,
            l1: l1::<BYTES>,
            hamming: hamming::<BYTES>,
            dot: dot::<BYTES, BASELINE_FMA>,
            bits: differing_bits,
        }
    }
}

/// Without hardware support `mul_add` is a library call, so it is used only where it is an instruction.
pub(crate) const BASELINE_FMA: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

#[inline(always)]
pub(crate) fn multiply_add<const FMA: bool>(a: f32, b: f32, sum: f32) -> f32 {
    if FMA { a.mul_add(b, sum) } else { a * b + sum }
}

/// Calls `step(sums, query, row)` for every block of dimensions, with the `N` sums kept apart per lane, and
/// returns their totals.
#[inline(always)]
fn run<const BYTES: usize, const N: usize>(
    query: &[f32],
    row: &[u8],
    step: impl Fn(&mut [Lanes; N], &Lanes, &Lanes),
) -> [f64; N]
where
    [u8; BYTES]: Cell,
{
    let mut wide = [[0.0f64; LANES]; N];
    for (query, row) in query.chunks(RUN).zip(row.chunks(RUN * BYTES)) {
        let mut lanes: [Lanes; N] = [[0.0; LANES]; N];
        let (query_blocks, query_rest) = query.as_chunks::<LANES>();
        let (row_cells, _) = row.as_chunks::<BYTES>();
        let (row_blocks, row_rest) = row_cells.as_chunks::<LANES>();
        for (query, row) in query_blocks.iter().zip(row_blocks) {
            step(&mut lanes, query, &row.map(Cell::value));
        }
        if !query_rest.is_empty() {
            // Zeros on both sides add nothing to any of the sums.
            let (mut query, mut row) = ([0.0; LANES], [Cell::ZERO; LANES]);
            query.iter_mut().zip(query_rest).for_each(|(to, from)| *to = *from);
            row.iter_mut().zip(row_rest).for_each(|(to, from)| *to = *from);
            step(&mut lanes, &query, &row.map(Cell::value));
        }
        // Opaque, or LLVM fits the loop above to the half as wide registers that it chooses for this one.
        for (wide, lanes) in wide.iter_mut().zip(&black_box(lanes)) {
            for lane in 0..LANES {
                wide[lane] += f64::from(lanes[lane]);
            }
        }
    }
    wide.map(total)
}

/// Adds halves to halves: neighbours in registers stay neighbours, where adding one by one would be a chain of
/// 32 dependent additions.
#[inline(always)]
fn total(mut wide: [f64; LANES]) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        let (left, right) = wide.split_at_mut(width);
        left.iter_mut().zip(right).for_each(|(left, right)| *left += *right);
        width /= 2;
    }
    wide[0]
}

#[inline(always)]
fn cosine<const BYTES: usize, const FMA: bool>(query: &[f32], row: &[u8]) -> Sums
where
    [u8; BYTES]: Cell,
{
    let [main, row_norm] = run::<BYTES, 2>(query, row, |[dot, norm], query, row| {
        for lane in 0..LANES {
            dot[lane] = multiply_add::<FMA>(query[lane], row[lane], dot[lane]);
            norm[lane] = multiply_add::<FMA>(row[lane], row[lane], norm[lane]);
        }
    });
    Sums { main, row_norm }
}

#[inline(always)]
fn squared_l2<const BYTES: usize, const FMA: bool>(query: &[f32], row: &[u8]) -> Sums
where
    [u8; BYTES]: Cell,
{
    let [main] = run::<BYTES, 1>(query, row, |[sum], query, row| {
        for lane in 0..LANES {
            let difference = query[lane] - row[lane];
            sum[lane] = multiply_add::<FMA>(difference, difference, sum[lane]);
        }
    });
    Sums { main, row_norm: 0.0 }
}

#[inline(always)]
fn l1<const BYTES: usize>(query: &[f32], row: &[u8]) -> Sums
where
    [u8; BYTES]: Cell,
{
    let [main] = run::<BYTES, 1>(query, row, |[sum], query, row| {
        for lane in 0..LANES {
            sum[lane] += (query[lane] - row[lane]).abs();
        }
    });
    Sums { main, row_norm: 0.0 }
}

#[inline(always)]
fn hamming<const BYTES: usize>(query: &[f32], row: &[u8]) -> Sums
where
    [u8; BYTES]: Cell,
{
    let [main] = run::<BYTES, 1>(query, row, |[sum], query, row| {
        for lane in 0..LANES {
            sum[lane] += if (query[lane] > 0.0) == (row[lane] > 0.0) { 0.0 } else { 1.0 };
        }
    });
    Sums { main, row_norm: 0.0 }
}

#[inline(always)]
fn dot<const BYTES: usize, const FMA: bool>(query: &[f32], row: &[u8]) -> Sums
where
    [u8; BYTES]: Cell,
{
    let [main] = run::<BYTES, 1>(query, row, |[sum], query, row| {
        for lane in 0..LANES {
            sum[lane] = multiply_add::<FMA>(query[lane], row[lane], sum[lane]);
        }
    });
    Sums { main, row_norm: 0.0 }
}

#[inline(always)]
fn differing_bits(query: &[u8], row: &[u8]) -> u64 {
    let (query_words, query_rest) = query.as_chunks::<8>();
    let (row_words, row_rest) = row.as_chunks::<8>();
    let words = query_words.iter().zip(row_words);
    let rest = query_rest.iter().zip(row_rest);
    // As little-endian words, which every machine can count alike.
    words.map(|(a, b)| u64::from((u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).count_ones())).sum::<u64>()
        + rest.map(|(a, b)| u64::from((a ^ b).count_ones())).sum::<u64>()
}

/// The same sums in `f64` throughout, for rows of `f32` whose products leave its range.
#[must_use]
pub fn cosine_wide(query: &[f32], row: &[u8]) -> (f64, f64, f64) {
    let query_norm = query.iter().map(|&a| f64::from(a) * f64::from(a)).sum();
    (dot_wide(query, row), query_norm, sum_wide(query, row, |_, b| b * b))
}

/// See [`cosine_wide`].
#[must_use]
pub fn dot_wide(query: &[f32], row: &[u8]) -> f64 {
    sum_wide(query, row, |a, b| a * b)
}

/// See [`cosine_wide`].
#[must_use]
pub fn squared_l2_wide(query: &[f32], row: &[u8]) -> f64 {
    sum_wide(query, row, |a, b| (a - b) * (a - b))
}

/// See [`cosine_wide`].
#[must_use]
pub fn l1_wide(query: &[f32], row: &[u8]) -> f64 {
    sum_wide(query, row, |a, b| (a - b).abs())
}

fn sum_wide(query: &[f32], row: &[u8], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    let (row, _) = row.as_chunks::<4>();
    for (query, row) in query.chunks(lanes.len()).zip(row.chunks(lanes.len())) {
        for ((sum, &a), &b) in lanes.iter_mut().zip(query).zip(row) {
            *sum += term(a.into(), f32::from_le_bytes(b).into());
        }
    }
    lanes.iter().sum()
}

/// The portable bodies compiled for an instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! compiled_for {
    ($set:ident: $($feature:tt)*) => {
        mod $set {
            #![allow(unsafe_code)]

            use super::{Cell, Kernels, Sums};

            macro_rules! compiled {
                ($name:ident => $body:path) => {
                    fn $name<const BYTES: usize>(query: &[f32], row: &[u8]) -> Sums
                    where
                        [u8; BYTES]: Cell,
                    {
                        #[target_feature($(enable = $feature),*)]
                        fn compiled<const BYTES: usize>(query: &[f32], row: &[u8]) -> Sums
                        where
                            [u8; BYTES]: Cell,
                        {
                            $body(query, row)
                        }
                        // SAFETY: leaves this module only through `kernels`, which has found every feature on the
                        // running processor.
                        unsafe { compiled::<BYTES>(query, row) }
                    }
                };
            }

            compiled!(cosine => super::cosine::<BYTES, true>);
            compiled!(squared_l2 => super::squared_l2::<BYTES, true>);
            compiled!(l1 => super::l1::<BYTES>);
            compiled!(hamming => super::hamming::<BYTES>);
            compiled!(dot => super::dot::<BYTES, true>);

            fn differing_bits(query: &[u8], row: &[u8]) -> u64 {
                #[target_feature($(enable = $feature),*)]
                fn compiled(query: &[u8], row: &[u8]) -> u64 {
                    super::differing_bits(query, row)
                }
                // SAFETY: as above.
                unsafe { compiled(query, row) }
            }

            /// `None` where the running processor lacks a feature.
            pub(super) fn kernels<const BYTES: usize>() -> Option<Kernels>
            where
                [u8; BYTES]: Cell,
            {
                ($(is_x86_feature_detected!($feature))&&*).then_some(Kernels {
                    cosine: cosine::<BYTES>,
                    l2: squared_l2::<BYTES>,
                    l1: l1::<BYTES>,
                    hamming: hamming::<BYTES>,
                    dot: dot::<BYTES>,
                    bits: differing_bits,
                })
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
compiled_for! { avx2: "avx2" "fma" "popcnt" }
// Processors that count bits in vectors, unlike the first ones with AVX-512, do not slow down for wide registers.
#[cfg(target_arch = "x86_64")]
compiled_for! { avx512: "avx2" "fma" "popcnt" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vpopcntdq" }
