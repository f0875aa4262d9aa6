//! The inner loops of the distances: one portable body each, compiled once per instruction set.
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

/// Lanes of one running sum: four 256-bit registers, enough to hide the latency of a fused multiply-add.
const LANES: usize = 32;
type Lanes = [f32; LANES];
/// Dimensions summed in `f32` before the lanes are widened to `f64`.
const RUN: usize = 256;
const _: () = assert!(LANES.is_power_of_two() && RUN.is_multiple_of(LANES));

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

/// The four kernels of one instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    pub cosine: Kernel,
    pub l2: Kernel,
    pub l1: Kernel,
    pub hamming: Kernel,
}

impl Kernels {
    /// The fastest kernels this machine can run. Detection is cached by the standard library; callers keep
    /// the function pointer for a whole query all the same, so no row pays for the decision.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return avx2::KERNELS;
        }
        Self::portable()
    }

    /// The kernels for the baseline of the compilation target (SSE2 on x86-64, NEON on aarch64).
    #[must_use]
    pub fn portable() -> Self {
        Self {
            cosine: |query, row| cosine::<BASELINE_FMA>(query, row),
            l2: |query, row| squared_l2::<BASELINE_FMA>(query, row),
            l1,
            hamming,
        }
    }
}

/// Without hardware support `mul_add` is a library call, so it is used only where it is an instruction.
const BASELINE_FMA: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

#[inline(always)]
fn multiply_add<const FMA: bool>(a: f32, b: f32, sum: f32) -> f32 {
    if FMA { a.mul_add(b, sum) } else { a * b + sum }
}

/// Calls `step(sums, query, row)` for every block of dimensions, with the `N` sums kept apart per lane, and
/// returns their totals.
#[inline(always)]
fn run<const N: usize>(
    query: &[f32],
    row: &[u8],
    step: impl Fn(&mut [Lanes; N], &Lanes, &Lanes),
) -> [f64; N] {
    let mut wide = [[0.0f64; LANES]; N];
    for (query, row) in query.chunks(RUN).zip(row.chunks(RUN * 4)) {
        let mut lanes: [Lanes; N] = [[0.0; LANES]; N];
        let (query_blocks, query_rest) = query.as_chunks::<LANES>();
        let (row_cells, _) = row.as_chunks::<4>();
        let (row_blocks, row_rest) = row_cells.as_chunks::<LANES>();
        for (query, row) in query_blocks.iter().zip(row_blocks) {
            step(&mut lanes, query, &row.map(f32::from_le_bytes));
        }
        if !query_rest.is_empty() {
            // Zeros on both sides add nothing to any of the sums.
            let (mut query, mut row) = ([0.0; LANES], [[0; 4]; LANES]);
            query.iter_mut().zip(query_rest).for_each(|(to, from)| *to = *from);
            row.iter_mut().zip(row_rest).for_each(|(to, from)| *to = *from);
            step(&mut lanes, &query, &row.map(f32::from_le_bytes));
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
fn cosine<const FMA: bool>(query: &[f32], row: &[u8]) -> Sums {
    let [main, row_norm] = run::<2>(query, row, |[dot, norm], query, row| {
        for lane in 0..LANES {
            dot[lane] = multiply_add::<FMA>(query[lane], row[lane], dot[lane]);
            norm[lane] = multiply_add::<FMA>(row[lane], row[lane], norm[lane]);
        }
    });
    Sums { main, row_norm }
}

#[inline(always)]
fn squared_l2<const FMA: bool>(query: &[f32], row: &[u8]) -> Sums {
    let [main] = run::<1>(query, row, |[sum], query, row| {
        for lane in 0..LANES {
            let difference = query[lane] - row[lane];
            sum[lane] = multiply_add::<FMA>(difference, difference, sum[lane]);
        }
    });
    Sums { main, row_norm: 0.0 }
}

#[inline(always)]
fn l1(query: &[f32], row: &[u8]) -> Sums {
    let [main] = run::<1>(query, row, |[sum], query, row| {
        for lane in 0..LANES {
            sum[lane] += (query[lane] - row[lane]).abs();
        }
    });
    Sums { main, row_norm: 0.0 }
}

#[inline(always)]
fn hamming(query: &[f32], row: &[u8]) -> Sums {
    let [main] = run::<1>(query, row, |[sum], query, row| {
        for lane in 0..LANES {
            sum[lane] += if (query[lane] > 0.0) == (row[lane] > 0.0) { 0.0 } else { 1.0 };
        }
    });
    Sums { main, row_norm: 0.0 }
}

/// The same sums in `f64` throughout, for rows whose squares leave the range of `f32`.
#[must_use]
pub fn cosine_wide(query: &[f32], row: &[u8]) -> (f64, f64, f64) {
    wide(query, row).fold((0.0, 0.0, 0.0), |(dot, query_norm, row_norm), (a, b)| {
        (dot + a * b, query_norm + a * a, row_norm + b * b)
    })
}

/// See [`cosine_wide`].
#[must_use]
pub fn squared_l2_wide(query: &[f32], row: &[u8]) -> f64 {
    wide(query, row).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// See [`cosine_wide`].
#[must_use]
pub fn l1_wide(query: &[f32], row: &[u8]) -> f64 {
    wide(query, row).map(|(a, b)| (a - b).abs()).sum()
}

fn wide<'a>(query: &'a [f32], row: &'a [u8]) -> impl Iterator<Item = (f64, f64)> + 'a {
    let (row, _) = row.as_chunks::<4>();
    query.iter().zip(row).map(|(&a, &b)| (f64::from(a), f64::from(f32::from_le_bytes(b))))
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! The portable bodies compiled for AVX2 with fused multiply-add.
    #![allow(unsafe_code)]

    use super::{Kernels, Sums};

    macro_rules! compiled_for_avx2 {
        ($($name:ident => $body:expr;)*) => {$(
            fn $name(query: &[f32], row: &[u8]) -> Sums {
                #[target_feature(enable = "avx2,fma")]
                fn compiled(query: &[f32], row: &[u8]) -> Sums {
                    $body(query, row)
                }
                // SAFETY: `KERNELS` leaves this module only through `Kernels::detect`, after it has found both
                // features on the running processor.
                unsafe { compiled(query, row) }
            }
        )*};
    }

    compiled_for_avx2! {
        cosine => super::cosine::<true>;
        squared_l2 => super::squared_l2::<true>;
        l1 => super::l1;
        hamming => super::hamming;
    }

    pub(super) const KERNELS: Kernels = Kernels { cosine, l2: squared_l2, l1, hamming };
}
