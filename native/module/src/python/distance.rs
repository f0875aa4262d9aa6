//! Distances of vectors, prepared or not.

use kohakuvault_core::distance::{DistanceError, Metric, Query};
use kohakuvault_core::dtype::Scalar;
use kohakuvault_core::element::Element;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::{Array, Item, is_bytes_like, to_little_endian};
use super::codec::DETACH_ABOVE;
use super::errors::{type_name, value_error};
use super::packed_vector::{check_finite, parse_element, to_packed};

/// A metric and a query vector, prepared for many distances.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct VectorQuery(Query);

#[pymethods]
impl VectorQuery {
    #[new]
    #[pyo3(signature = (metric, query, elem="f32"))]
    fn new(metric: &str, query: &Bound<'_, PyAny>, elem: &str) -> PyResult<Self> {
        prepare(parse_metric(metric)?, parse_element(elem)?, query).map(Self)
    }

    #[getter]
    fn metric(&self) -> &'static str {
        self.0.metric().name()
    }

    #[getter]
    fn elem(&self) -> &'static str {
        self.0.element().name()
    }

    #[getter]
    fn dimensions(&self) -> usize {
        self.0.dimensions()
    }

    /// The distance to one vector.
    fn distance(&self, vector: &Bound<'_, PyAny>) -> PyResult<f64> {
        distance_to(&self.0, vector)
    }

    /// The distances to every row of a matrix of the element type, or of packed bytes.
    fn distances(&self, matrix: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
        let array = Array::of(matrix)?;
        let row_bytes = self.0.row_bytes();
        self.check_matrix(matrix, &array)?;
        let swapped;
        let bytes = if cfg!(target_endian = "big") && !is_raw(matrix, &array) {
            let mut copy = array.bytes().to_vec();
            to_little_endian(&mut copy, self.0.element().cell_bytes());
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
        let (metric, element) = (self.0.metric(), self.0.element());
        format!("VectorQuery('{metric}', <{} dimensions of {element}>)", self.0.dimensions())
    }
}

impl VectorQuery {
    fn check_matrix(&self, matrix: &Bound<'_, PyAny>, array: &Array<'_>) -> PyResult<()> {
        let (element, row_bytes) = (self.0.element(), self.0.row_bytes());
        if is_raw(matrix, array) {
            return match array.bytes().len() % row_bytes {
                0 => Ok(()),
                _ => Err(PyValueError::new_err(format!(
                    "{} bytes given; expected rows of {} {element}, {row_bytes} bytes each",
                    array.bytes().len(),
                    self.0.dimensions(),
                ))),
            };
        }
        let (item, columns) = match element {
            Element::F32 => (Item::Scalar(Scalar::F32), self.0.dimensions()),
            Element::F16 => (Item::Half, self.0.dimensions()),
            Element::I8 => (Item::Scalar(Scalar::I8), self.0.dimensions()),
            // Packed.
            Element::Bit => (Item::Scalar(Scalar::U8), row_bytes),
        };
        if array.item() != Some(item) {
            return Err(PyTypeError::new_err(format!(
                "{} of {} given; expected {item}",
                type_name(matrix),
                array.format()
            )));
        }
        match array.shape() {
            [_, given] if *given == columns => Ok(()),
            shape => Err(PyValueError::new_err(format!(
                "a matrix of shape {shape:?} given; expected [n, {columns}]"
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

/// A query of finite numbers.
pub(crate) fn prepare(metric: Metric, element: Element, query: &Bound<'_, PyAny>) -> PyResult<Query> {
    let packed = to_packed(query, element, None)?;
    check_finite(element, &packed.bytes)?;
    Query::from_bytes(metric, element, &packed.bytes).map_err(value_error)
}

fn distance_to(query: &Query, vector: &Bound<'_, PyAny>) -> PyResult<f64> {
    match vector.cast::<PyBytes>() {
        Ok(bytes) => query.distance(bytes.as_bytes()),
        Err(_) => query.distance(&to_packed(vector, query.element(), None)?.bytes),
    }
    .map_err(value_error)
}

/// The distance of two vectors; NaN for the cosine of a vector without a norm.
#[pyfunction]
#[pyo3(signature = (metric, a, b, elem="f32"))]
pub(crate) fn distance(
    metric: &str,
    a: &Bound<'_, PyAny>,
    b: &Bound<'_, PyAny>,
    elem: &str,
) -> PyResult<f64> {
    let (metric, element) = (parse_metric(metric)?, parse_element(elem)?);
    let (a, b) = (to_packed(a, element, None)?, to_packed(b, element, None)?);
    // Of bits, which may fill equally many bytes.
    if let (Some(query), Some(row)) = (a.dimensions, b.dimensions)
        && query != row
    {
        return Err(value_error(DistanceError::Length { query, row }));
    }
    let query = Query::from_bytes(metric, element, &a.bytes).map_err(value_error)?;
    query.distance(&b.bytes).map_err(value_error)
}

/// NULL in, NULL out, as in SQL; so is a distance that is not a number.
fn sql_distance(
    metric: Metric,
    a: Option<&Bound<'_, PyAny>>,
    b: Option<&Bound<'_, PyAny>>,
    element: &str,
) -> PyResult<Option<f64>> {
    let element = parse_element(element)?;
    let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
    let packed = to_packed(b, element, None)?;
    let query = Query::from_bytes(metric, element, &packed.bytes).map_err(value_error)?;
    let distance = distance_to(&query, a)?;
    Ok((!distance.is_nan()).then_some(distance))
}

macro_rules! sql_distances {
    ($($name:ident => $metric:ident;)*) => {$(
        /// The distance of two packed vectors, for `sqlite3.Connection.create_function`.
        #[pyfunction]
        #[pyo3(signature = (a, b, elem="f32", /))]
        pub(crate) fn $name(
            a: Option<&Bound<'_, PyAny>>,
            b: Option<&Bound<'_, PyAny>>,
            elem: &str,
        ) -> PyResult<Option<f64>> {
            sql_distance(Metric::$metric, a, b, elem)
        }
    )*};
}

sql_distances! {
    cosine_distance => Cosine;
    l2_distance => L2;
    l1_distance => L1;
    hamming_distance => Hamming;
    ip_distance => Ip;
}
