//! `IndexForm`: the entries of a vector index (`kohakuvault_core::index`), for Python.

use kohakuvault_core::distance::floats_from_bytes;
use kohakuvault_core::element::Element;
use kohakuvault_core::index::{Form, FormError, MOST_DIMENSIONS};
use kohakuvault_core::metric::Metric;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::errors::value_error;

/// How the vectors of an index are encoded.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct IndexForm {
    form: Form,
    element: Element,
    row_bytes: usize,
}

#[pymethods]
impl IndexForm {
    /// `mean` is `dimensions` little-endian f32, those of the mean of all vectors; of one-bit codes only.
    #[new]
    #[pyo3(signature = (code, metric, element, dimensions, seed=0, mean=None))]
    fn new(
        code: &str,
        metric: &str,
        element: &str,
        dimensions: usize,
        seed: u64,
        mean: Option<&[u8]>,
    ) -> PyResult<Self> {
        let code = code.parse().map_err(|error: FormError| value_error(error))?;
        let metric: Metric = metric.parse().map_err(value_error)?;
        let element: Element = element.parse().map_err(value_error)?;
        if dimensions > MOST_DIMENSIONS {
            return Err(value_error(format!(
                "at most {MOST_DIMENSIONS} dimensions expected; {dimensions} given"
            )));
        }
        let row_bytes = element.row_bytes(dimensions);
        // Of bits, as many as the bytes have room for.
        let dimensions = element.dimensions(row_bytes).unwrap_or(dimensions);
        let mean = match mean {
            Some(mean) => floats_from_bytes(mean).map_err(value_error)?,
            None => vec![0.0; dimensions],
        };
        let form = Form::new(code, metric, dimensions, seed, &mean).map_err(value_error)?;
        Ok(Self { form, element, row_bytes })
    }

    /// Bytes of an entry.
    #[getter]
    fn entry_bytes(&self) -> usize {
        self.form.entry_bytes()
    }

    /// The entries of `[(id, packed vector), …]`, one behind the other.
    #[allow(clippy::needless_pass_by_value, reason = "PyO3 extracts lists by value")]
    fn encode<'py>(&self, py: Python<'py>, rows: Vec<(i64, PyBackedBytes)>) -> PyResult<Bound<'py, PyBytes>> {
        let entries = py.detach(|| -> Result<Vec<u8>, String> {
            let mut entries = Vec::with_capacity(rows.len() * self.form.entry_bytes());
            for (id, packed) in &rows {
                if packed.len() != self.row_bytes {
                    let (given, expected) = (packed.len(), self.row_bytes);
                    return Err(format!("row {id}: a vector of {given} bytes; expected {expected}"));
                }
                let vector = self.element.decode(packed);
                self.form.encode(*id, vector, &mut entries).map_err(|error| error.to_string())?;
            }
            Ok(entries)
        });
        Ok(PyBytes::new(py, &entries.map_err(value_error)?))
    }
}
