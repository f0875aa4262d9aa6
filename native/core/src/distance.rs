//! Distances between a query vector and rows of little-endian `f32`.

use std::fmt;
use std::str::FromStr;

use crate::kernels::{self, Kernel, Kernels};

/// How far apart two vectors are; smaller is nearer for every metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// `1 - a·b / (|a| |b|)`, in `[0, 2]`; not a number where a norm is zero.
    Cosine,
    /// Euclidean distance (with the square root).
    L2,
    /// Sum of absolute differences.
    L1,
    /// Number of dimensions in which exactly one of the two is greater than zero.
    Hamming,
}

impl Metric {
    pub const ALL: [Self; 4] = [Self::Cosine, Self::L2, Self::L1, Self::Hamming];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::L2 => "l2",
            Self::L1 => "l1",
            Self::Hamming => "hamming",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The name is not one of [`Metric::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMetric(pub String);

impl fmt::Display for UnknownMetric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "unknown metric {:?}; expected one of cosine, l2, l1, hamming",
            crate::text::shorten(&self.0)
        )
    }
}

impl std::error::Error for UnknownMetric {}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        Self::ALL
            .into_iter()
            .find(|metric| metric.name() == name)
            .ok_or_else(|| UnknownMetric(name.to_owned()))
    }
}

/// Why two vectors cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistanceError {
    /// A vector has no dimensions.
    Empty,
    /// A vector's bytes are not a whole number of `f32`.
    Ragged { bytes: usize },
    /// The row has another number of dimensions than the query.
    Length { query: usize, row: usize },
}

impl fmt::Display for DistanceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("the vector is empty; expected at least one dimension"),
            Self::Ragged { bytes } => write!(
                formatter,
                "the vector has {bytes} bytes; expected little-endian f32, a multiple of 4 bytes"
            ),
            Self::Length { query, row } => {
                write!(formatter, "the vector has {row} dimensions; the query has {query}")
            }
        }
    }
}

impl std::error::Error for DistanceError {}

/// Reads little-endian `f32`.
pub fn floats_from_bytes(bytes: &[u8]) -> Result<Vec<f32>, DistanceError> {
    let (cells, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(DistanceError::Ragged { bytes: bytes.len() });
    }
    Ok(cells.iter().map(|&cell| f32::from_le_bytes(cell)).collect())
}

/// Writes little-endian `f32`.
#[must_use]
pub fn floats_to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Sums at or above this are far from the subnormal numbers that their terms may have lost.
const SMALLEST_TRUSTED_SUM: f64 = 1e-30;

/// A prepared query: everything about it that does not change from row to row.
#[derive(Clone, Debug)]
pub struct Query {
    metric: Metric,
    values: Vec<f32>,
    row_bytes: usize,
    /// Squared norm, computed by the same kernel as the rows' so that equal vectors are at distance 0.
    norm: f64,
    kernel: Kernel,
}

impl Query {
    /// # Errors
    /// [`DistanceError::Empty`] for a vector without dimensions.
    pub fn new(metric: Metric, values: Vec<f32>) -> Result<Self, DistanceError> {
        Self::with_kernels(metric, values, Kernels::detect())
    }

    /// As [`Query::new`], from the bytes of a row.
    pub fn from_bytes(metric: Metric, bytes: &[u8]) -> Result<Self, DistanceError> {
        Self::new(metric, floats_from_bytes(bytes)?)
    }

    fn with_kernels(metric: Metric, values: Vec<f32>, kernels: Kernels) -> Result<Self, DistanceError> {
        if values.is_empty() {
            return Err(DistanceError::Empty);
        }
        let norm = match metric {
            Metric::Cosine => (kernels.cosine)(&values, &floats_to_bytes(&values)).row_norm,
            _ => 0.0,
        };
        let kernel = match metric {
            Metric::Cosine => kernels.cosine,
            Metric::L2 => kernels.l2,
            Metric::L1 => kernels.l1,
            Metric::Hamming => kernels.hamming,
        };
        Ok(Self { metric, row_bytes: values.len() * 4, values, norm, kernel })
    }

    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.values.len()
    }

    /// Whether every dimension is a finite number. Distances to a query that is not are NaN or infinite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// The distance to one row of little-endian `f32`, which may be unaligned.
    #[inline]
    pub fn distance(&self, row: &[u8]) -> Result<f64, DistanceError> {
        if row.len() != self.row_bytes {
            return Err(self.mismatch(row.len()));
        }
        let sums = (self.kernel)(&self.values, row);
        Ok(match self.metric {
            Metric::Cosine => {
                if trusted(sums.row_norm) && trusted(self.norm) {
                    cosine_distance(sums.main, self.norm, sums.row_norm)
                } else {
                    let (dot, query_norm, row_norm) = kernels::cosine_wide(&self.values, row);
                    cosine_distance(dot, query_norm, row_norm)
                }
            }
            Metric::L2 if trusted(sums.main) => sums.main.sqrt(),
            Metric::L2 => kernels::squared_l2_wide(&self.values, row).sqrt(),
            Metric::L1 if trusted(sums.main) => sums.main,
            Metric::L1 => kernels::l1_wide(&self.values, row),
            Metric::Hamming => sums.main,
        })
    }

    #[cold]
    fn mismatch(&self, bytes: usize) -> DistanceError {
        if bytes.is_multiple_of(4) {
            DistanceError::Length { query: self.values.len(), row: bytes / 4 }
        } else {
            DistanceError::Ragged { bytes }
        }
    }
}

/// Whether a sum of `f32` terms neither overflowed nor may have lost its terms to underflow.
#[inline]
fn trusted(sum: f64) -> bool {
    (SMALLEST_TRUSTED_SUM..f64::INFINITY).contains(&sum)
}

#[inline]
fn cosine_distance(dot: f64, query_norm: f64, row_norm: f64) -> f64 {
    // One square root of the product, not two: equal vectors then divide a number by itself. The squares of
    // f32 values stay below 1e77 each, so the product of two sums of them cannot overflow.
    let norm = (query_norm * row_norm).sqrt();
    if norm > 0.0 { (1.0 - dot / norm).clamp(0.0, 2.0) } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        match metric {
            Metric::Cosine => {
                let dot: f64 = pairs().map(|(a, b)| a * b).sum();
                let norms: f64 = pairs().map(|(a, _)| a * a).sum::<f64>().sqrt()
                    * pairs().map(|(_, b)| b * b).sum::<f64>().sqrt();
                1.0 - dot / norms
            }
            Metric::L2 => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
            Metric::L1 => pairs().map(|(a, b)| (a - b).abs()).sum(),
            #[allow(clippy::cast_precision_loss)]
            Metric::Hamming => pairs().filter(|(a, b)| (*a > 0.0) != (*b > 0.0)).count() as f64,
        }
    }

    fn close(a: f64, b: f64, scale: f64) -> bool {
        (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(scale)
    }

    fn both_kernels(metric: Metric, a: &[f32], b: &[f32]) -> [f64; 2] {
        // One leading byte makes the row unaligned, as in a database page.
        let mut row = vec![0xAA];
        row.extend(floats_to_bytes(b));
        [Kernels::detect(), Kernels::portable()].map(|kernels| {
            Query::with_kernels(metric, a.to_vec(), kernels).unwrap().distance(&row[1..]).unwrap()
        })
    }

    proptest! {
        #[test]
        fn agrees_with_double_precision(
            pairs in proptest::collection::vec((-100.0f32..100.0, -100.0f32..100.0), 1..1200),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            for metric in Metric::ALL {
                let expected = reference(metric, &a, &b);
                // Cosine subtracts from 1, so its error is absolute near 0.
                let scale = if metric == Metric::Cosine { 1.0 } else { 1e-300 };
                for got in both_kernels(metric, &a, &b) {
                    prop_assert!(close(got, expected, scale), "{metric}: {got} != {expected}");
                }
            }
        }
    }

    #[test]
    fn long_vectors_stay_precise() {
        #[allow(clippy::cast_precision_loss)]
        let a: Vec<f32> = (0..4096).map(|i| 1.0 + (i % 17) as f32 / 7.0).collect();
        #[allow(clippy::cast_precision_loss)]
        let b: Vec<f32> = (0..4096).map(|i| 0.3 + (i % 29) as f32 / 3.0).collect();
        for metric in Metric::ALL {
            for got in both_kernels(metric, &a, &b) {
                assert!(close(got, reference(metric, &a, &b), 0.0), "{metric}");
            }
        }
    }

    #[test]
    fn equal_vectors_are_at_distance_zero() {
        #[allow(clippy::cast_precision_loss)]
        let a: Vec<f32> = (1..300).map(|i| (i as f32).sin()).collect();
        for metric in Metric::ALL {
            assert_eq!(both_kernels(metric, &a, &a), [0.0, 0.0], "{metric}");
        }
    }

    #[test]
    fn zero_norm_has_no_cosine() {
        assert!(both_kernels(Metric::Cosine, &[0.0, 0.0], &[1.0, 2.0]).iter().all(|d| d.is_nan()));
        assert!(both_kernels(Metric::Cosine, &[1.0, 2.0], &[0.0, 0.0]).iter().all(|d| d.is_nan()));
    }

    #[test]
    fn extreme_magnitudes_neither_overflow_nor_vanish() {
        for magnitude in [1e-38f32, 1e-25, 1e25, 3e38] {
            let a = vec![magnitude, 0.0, magnitude];
            let b = vec![0.0, magnitude, magnitude];
            for metric in Metric::ALL {
                for got in both_kernels(metric, &a, &b) {
                    assert!(close(got, reference(metric, &a, &b), 0.0), "{metric} {magnitude} {got}");
                }
            }
        }
    }

    #[test]
    fn lengths_must_agree() {
        let query = Query::new(Metric::L2, vec![1.0, 2.0]).unwrap();
        assert_eq!(query.distance(&[0; 12]), Err(DistanceError::Length { query: 2, row: 3 }));
        assert_eq!(query.distance(&[0; 7]), Err(DistanceError::Ragged { bytes: 7 }));
        assert_eq!(Query::new(Metric::L2, vec![]).unwrap_err(), DistanceError::Empty);
    }

    #[test]
    fn names_round_trip() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        let error = "cos".parse::<Metric>().unwrap_err();
        assert_eq!(error.to_string(), r#"unknown metric "cos"; expected one of cosine, l2, l1, hamming"#);
    }
}
