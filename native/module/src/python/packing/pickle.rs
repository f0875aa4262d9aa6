//! Pickles, which run code when they are read: only where the caller allows them.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::classes::classes;
use super::errors::{as_corrupt, corrupt, kind, short, unsupported};

const PROTOCOL: u8 = 5;

pub(super) fn dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    match classes(py)?.pickle_dumps.bind(py).call1((value, PROTOCOL)) {
        Ok(data) => Ok(data.cast_into::<PyBytes>()?),
        Err(cause) if cause.is_instance_of::<PyException>(py) => {
            let error = unsupported(
                py,
                format!(
                    "cannot store {} of type {}, which pickle refuses: {}",
                    short(value),
                    kind(value),
                    cause.value(py)
                ),
            );
            error.set_cause(py, Some(cause));
            Err(error)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn loads<'py>(py: Python<'py>, data: &[u8], allowed: bool) -> PyResult<Bound<'py, PyAny>> {
    if !allowed {
        return Err(corrupt(
            py,
            "stored value is a pickle, which can run any code when it is read; allow it with pickle=True if you trust \
             everyone who can write to this database",
        ));
    }
    let loads = classes(py)?.pickle_loads.bind(py);
    loads.call1((PyBytes::new(py, data),)).map_err(|error| as_corrupt(py, "pickle", error))
}
