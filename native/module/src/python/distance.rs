//! Distances of vectors, prepared or not.

use kohakuvault_core::distance::{DistanceError, Metric, Query};
use kohakuvault_core::dtype::Scalar;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::buffer::{Array, Item, is_bytes_like, to_little_endian};
use super::codec::DETACH_ABOVE;
use super::errors::{type_name, value_error};
use super::floats::{check_finite, to_float_bytes, to_floats};

/// A metric and a query vector, prepared for many distances.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct VectorQuery(Query);

#[pymethods]
impl VectorQuery {
    #[new]
    fn new(metric: &str, query: &Bound<'_, PyAny>) -> PyResult<Self> {
        let values = to_floats(query)?;
        check_finite(values.iter().copied())?;
        Ok(Self(Query::new(parse_metric(metric)?, values).map_err(value_error)?))
    }

    #[getter]
    fn metric(&self) -> &'static str {
        self.0.metric().name()
    }

    #[getter]
    fn dimensions(&self) -> usize {
        self.0.dimensions()
    }

    /// The distance to one vector.
    fn distance(&self, vector: &Bound<'_, PyAny>) -> PyResult<f64> {
        with_row(vector, |row| self.0.distance(row))
    }

    /// The distances to every row of a matrix of f32, or of raw little-endian f32.
    fn distances(&self, matrix: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
        let array = Array::of(matrix)?;
        let row_bytes = self.0.dimensions() * 4;
        self.check_matrix(matrix, &array)?;
        let swapped;
        let bytes = if cfg!(target_endian = "big") && !is_raw(matrix, &array) {
            let mut copy = array.bytes().to_vec();
            to_little_endian(&mut copy, 4);
            swapped = copy;
            &swapped
        } else {
            array.bytes()
        };
        let compute =
            || bytes.chunks_exact(row_bytes).map(|row| self.0.distance(row)).collect::<Result<Vec<_>, _>>();
        let distances = if bytes.len() > DETACH_ABOVE { matrix.py().detach(compute) } else { compute() };
        distances.map_err(value_error)
    }

    fn __repr__(&self) -> String {
        format!("VectorQuery('{}', <{} dimensions>)", self.0.metric(), self.0.dimensions())
    }
}

impl VectorQuery {
    fn check_matrix(&self, matrix: &Bound<'_, PyAny>, array: &Array<'_>) -> PyResult<()> {
        let dimensions = self.0.dimensions();
        if is_raw(matrix, array) {
            return match array.bytes().len() % (dimensions * 4) {
                0 => Ok(()),
                _ => Err(PyValueError::new_err(format!(
                    "{} bytes given; expected rows of {dimensions} f32, {} bytes each",
                    array.bytes().len(),
                    dimensions * 4
                ))),
            };
        }
        if array.item() != Some(Item::Scalar(Scalar::F32)) {
            return Err(PyTypeError::new_err(format!(
                "{} of {} given; expected f32",
                type_name(matrix),
                array.format()
            )));
        }
        match array.shape() {
            [_, columns] if *columns == dimensions => Ok(()),
            shape => Err(PyValueError::new_err(format!(
                "a matrix of shape {shape:?} given; expected [n, {dimensions}]"
            ))),
        }
    }
}

fn is_raw(matrix: &Bound<'_, PyAny>, array: &Array<'_>) -> bool {
    array.item() == Some(Item::Scalar(Scalar::U8)) && is_bytes_like(matrix)
}

pub(crate) fn parse_metric(metric: &str) -> PyResult<Metric> {
    metric.parse().map_err(value_error)
}

/// Calls `compute` with the little-endian `f32` of a vector.
fn with_row(
    vector: &Bound<'_, PyAny>,
    compute: impl FnOnce(&[u8]) -> Result<f64, DistanceError>,
) -> PyResult<f64> {
    match vector.cast::<pyo3::types::PyBytes>() {
        Ok(bytes) => compute(bytes.as_bytes()),
        Err(_) => compute(&to_float_bytes(vector)?),
    }
    .map_err(value_error)
}

/// The distance of two vectors; NaN for the cosine of a vector without a norm.
#[pyfunction]
pub(crate) fn distance(metric: &str, a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<f64> {
    let query = Query::new(parse_metric(metric)?, to_floats(a)?).map_err(value_error)?;
    with_row(b, |row| query.distance(row))
}

/// NULL in, NULL out, as in SQL; so is a distance that is not a number.
fn sql_distance(
    metric: Metric,
    a: Option<&Bound<'_, PyAny>>,
    b: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<f64>> {
    let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
    let query = Query::new(metric, to_floats(b)?).map_err(value_error)?;
    let distance = with_row(a, |row| query.distance(row))?;
    Ok((!distance.is_nan()).then_some(distance))
}

macro_rules! sql_distances {
    ($($name:ident => $metric:ident;)*) => {$(
        /// The distance of two vectors of little-endian f32, for `sqlite3.Connection.create_function`.
        #[pyfunction]
        #[pyo3(signature = (a, b, /))]
        pub(crate) fn $name(
            a: Option<&Bound<'_, PyAny>>,
            b: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Option<f64>> {
            sql_distance(Metric::$metric, a, b)
        }
    )*};
}

sql_distances! {
    cosine_distance => Cosine;
    l2_distance => L2;
    l1_distance => L1;
    hamming_distance => Hamming;
}
