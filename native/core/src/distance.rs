//! Distances between a query vector and stored rows of the same element type.

use std::fmt;

use crate::element::{Element, Unstorable};
use crate::kernels::{self, BitKernel, Kernel, Kernels};
pub use crate::metric::{Metric, UnknownMetric};

/// Why two vectors cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DistanceError {
    /// A vector has no dimensions.
    Empty,
    /// A vector's bytes are not a whole number of elements.
    Ragged { bytes: usize, element: Element },
    /// The row has another number of dimensions than the query.
    Length { query: usize, row: usize },
    /// As `Length`, of bits, whose dimensions only the column knows.
    Bytes { query: usize, row: usize },
    /// Vectors of this type have no such distance.
    Metric { metric: Metric, element: Element },
    /// A number of the query is none of the element type.
    Unstorable(Unstorable),
}

impl fmt::Display for DistanceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("the vector is empty; expected at least one dimension"),
            Self::Ragged { bytes, element } => write!(
                formatter,
                "the vector has {bytes} bytes; expected little-endian {element}, a multiple of {} bytes",
                element.cell_bytes()
            ),
            Self::Length { query, row } => {
                write!(formatter, "the vector has {row} dimensions; the query has {query}")
            }
            Self::Bytes { query, row } => {
                write!(formatter, "the vector has {row} bytes of bits; the query has {query}")
            }
            Self::Metric { metric, element } => {
                write!(
                    formatter,
                    "vectors of {element} have no distance by {metric}; expected metric hamming"
                )
            }
            Self::Unstorable(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for DistanceError {}

/// Reads little-endian `f32`.
pub fn floats_from_bytes(bytes: &[u8]) -> Result<Vec<f32>, DistanceError> {
    check_length(Element::F32, bytes).map(|()| Element::F32.decode(bytes))
}

/// Writes little-endian `f32`.
#[must_use]
pub fn floats_to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn check_length(element: Element, bytes: &[u8]) -> Result<(), DistanceError> {
    match element.dimensions(bytes.len()) {
        Some(_) => Ok(()),
        None => Err(DistanceError::Ragged { bytes: bytes.len(), element }),
    }
}

/// Sums at or above this are far from the subnormal numbers that their terms may have lost.
const SMALLEST_TRUSTED_SUM: f64 = 1e-30;

/// A prepared query: everything about it that does not change from row to row.
#[derive(Clone, Debug)]
pub struct Query {
    metric: Metric,
    element: Element,
    /// The dimensions as numbers; those of bits are 0 and 1.
    values: Vec<f32>,
    row_bytes: usize,
    measure: Measure,
}

/// How rows of the query's element type are compared with it.
#[derive(Clone, Debug)]
enum Measure {
    /// `norm` is squared, and computed by the same kernel as the rows' so that equal vectors are at distance 0.
    Numbers {
        norm: f64,
        kernel: Kernel,
    },
    Bits {
        packed: Vec<u8>,
        kernel: BitKernel,
    },
}

impl Query {
    /// For rows of little-endian `f32`.
    ///
    /// # Errors
    /// [`DistanceError::Empty`] for a vector without dimensions.
    pub fn new(metric: Metric, values: Vec<f32>) -> Result<Self, DistanceError> {
        let packed = floats_to_bytes(&values);
        Self::with_kernels(metric, Element::F32, values, &packed, Kernels::detect::<4>())
    }

    /// Rounds the query to the rows' element type, as a stored vector would be, so that it is at distance 0 of the
    /// row with the same numbers.
    ///
    /// # Errors
    /// [`DistanceError::Unstorable`] for a number that rows cannot have, and those of [`Query::from_bytes`].
    pub fn from_values(metric: Metric, element: Element, values: &[f32]) -> Result<Self, DistanceError> {
        let packed =
            element.encode(values.iter().copied().map(f64::from)).map_err(DistanceError::Unstorable)?;
        Self::from_bytes(metric, element, &packed)
    }

    /// From a vector packed as the rows are.
    ///
    /// # Errors
    /// [`DistanceError::Empty`] for a vector without dimensions, [`DistanceError::Ragged`] for part of an element,
    /// [`DistanceError::Metric`] for a metric that the element type does not have.
    pub fn from_bytes(metric: Metric, element: Element, bytes: &[u8]) -> Result<Self, DistanceError> {
        check_length(element, bytes)?;
        let kernels = match element {
            Element::F32 | Element::Bit => Kernels::detect::<4>(),
            Element::F16 => Kernels::detect::<2>(),
            Element::I8 => Kernels::detect::<1>(),
        };
        Self::with_kernels(metric, element, element.decode(bytes), bytes, kernels)
    }

    fn with_kernels(
        metric: Metric,
        element: Element,
        values: Vec<f32>,
        packed: &[u8],
        kernels: Kernels,
    ) -> Result<Self, DistanceError> {
        if values.is_empty() {
            return Err(DistanceError::Empty);
        }
        if !element.has(metric) {
            return Err(DistanceError::Metric { metric, element });
        }
        let numbers = |kernel| Measure::Numbers { norm: 0.0, kernel };
        let measure = match metric {
            _ if element == Element::Bit => Measure::Bits { packed: packed.to_vec(), kernel: kernels.bits },
            Metric::Cosine => {
                Measure::Numbers { norm: (kernels.cosine)(&values, packed).row_norm, kernel: kernels.cosine }
            }
            Metric::L2 => numbers(kernels.l2),
            Metric::L1 => numbers(kernels.l1),
            Metric::Hamming => numbers(kernels.hamming),
            Metric::Ip => numbers(kernels.dot),
        };
        Ok(Self { metric, element, values, row_bytes: packed.len(), measure })
    }

    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    #[must_use]
    pub fn element(&self) -> Element {
        self.element
    }

    /// Of bits, a multiple of eight.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.values.len()
    }

    /// Bytes of a row that the query can be compared with.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The query as numbers, rounded to the element type; bits are 0 and 1.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether every dimension is a finite number. Distances to a query that is not are NaN or infinite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// The distance to one packed row of the same element type, which may be unaligned.
    #[inline]
    pub fn distance(&self, row: &[u8]) -> Result<f64, DistanceError> {
        if row.len() != self.row_bytes {
            return Err(self.mismatch(row.len()));
        }
        let (norm, sums) = match &self.measure {
            Measure::Numbers { norm, kernel } => (*norm, kernel(&self.values, row)),
            #[allow(clippy::cast_precision_loss, reason = "no vector has 2^53 bits")]
            Measure::Bits { packed, kernel } => return Ok(kernel(packed, row) as f64),
        };
        Ok(match self.metric {
            Metric::Cosine => {
                if self.trusts(sums.row_norm) && self.trusts(norm) {
                    cosine_distance(sums.main, norm, sums.row_norm)
                } else {
                    let (dot, query_norm, row_norm) = kernels::cosine_wide(&self.values, row);
                    cosine_distance(dot, query_norm, row_norm)
                }
            }
            Metric::L2 if self.trusts(sums.main) => sums.main.sqrt(),
            Metric::L2 => kernels::squared_l2_wide(&self.values, row).sqrt(),
            Metric::L1 if self.trusts(sums.main) => sums.main,
            Metric::L1 => kernels::l1_wide(&self.values, row),
            Metric::Hamming => sums.main,
            // From zero, so that no inner product is -0.0.
            Metric::Ip if self.trusts(sums.main.abs()) => 0.0 - sums.main,
            Metric::Ip => 0.0 - kernels::dot_wide(&self.values, row),
        })
    }

    /// Whether a sum of `f32` terms neither overflowed nor may have lost its terms to underflow. Products of two
    /// `f16` or `i8` do neither.
    #[inline]
    fn trusts(&self, sum: f64) -> bool {
        (SMALLEST_TRUSTED_SUM..f64::INFINITY).contains(&sum) || self.element != Element::F32
    }

    #[cold]
    fn mismatch(&self, bytes: usize) -> DistanceError {
        match self.element.dimensions(bytes) {
            _ if self.element == Element::Bit => DistanceError::Bytes { query: self.row_bytes, row: bytes },
            Some(row) => DistanceError::Length { query: self.values.len(), row },
            None => DistanceError::Ragged { bytes, element: self.element },
        }
    }
}

#[inline]
fn cosine_distance(dot: f64, query_norm: f64, row_norm: f64) -> f64 {
    // One square root of the product, not two: equal vectors then divide a number by itself. The squares of
    // f32 values stay below 1e77 each, so the product of two sums of them cannot overflow.
    let norm = (query_norm * row_norm).sqrt();
    if norm > 0.0 { (1.0 - dot / norm).clamp(0.0, 2.0) } else { f64::NAN }
}

#[cfg(test)]
mod tests;
