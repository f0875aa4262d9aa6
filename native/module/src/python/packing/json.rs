//! JSON as values, by Python's own module.

use kohakuvault_core::packing::json;
use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::classes::classes;
use super::errors::{as_corrupt, corrupt};

/// Python's `json` recurses when it reads: 100 levels fit on every stack.
pub(crate) const MAX_DEPTH: usize = 100;

/// The value of some JSON.
pub(super) fn loads<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if json::depth(payload) > MAX_DEPTH {
        return Err(corrupt(py, format!("stored JSON is nested deeper than {MAX_DEPTH} levels")));
    }
    let loads = classes(py)?.json_loads.bind(py);
    text(py, payload).and_then(|text| loads.call1((text,))).map_err(|error| as_corrupt(py, "JSON", error))
}

/// Text in UTF-8.
pub(super) fn text<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, payload).map_err(|error| {
        if error.is_instance_of::<PyUnicodeDecodeError>(py) { as_corrupt(py, "UTF-8", error) } else { error }
    })
}
