//! Frames of blocks, for Python (`kohakuvault_core::frame`).

use std::borrow::Cow;

use kohakuvault_core::frame::{self, Framed, LEVELS};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::Bytes;
use super::codec::DETACH_ABOVE;
use super::errors::{corrupt, value_error};

/// A block as it is stored.
#[pyfunction]
#[pyo3(name = "frame", signature = (block, compress, checksum))]
pub(crate) fn frame_block<'py>(
    block: &Bound<'py, PyAny>,
    compress: Option<i32>,
    checksum: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = block.py();
    if let Some(level) = compress.filter(|level| !LEVELS.contains(level)) {
        return Err(value_error(format!(
            "compression level {level}; expected {} to {}",
            LEVELS.start(),
            LEVELS.end()
        )));
    }
    let bytes = Bytes::of(block)?;
    let slice = bytes.as_slice();
    let work = || frame::frame(slice, compress, checksum);
    let stored = if slice.len() > DETACH_ABOVE { py.detach(work) } else { work() };
    match (stored.map_err(|error| PyRuntimeError::new_err(error.to_string()))?, &bytes) {
        (Cow::Borrowed(_), Bytes::Borrowed(same)) => Ok(same.clone()),
        (stored, _) => Ok(PyBytes::new(py, &stored)),
    }
}

/// The block that is stored.
#[pyfunction]
#[pyo3(signature = (stored, most_bytes, compressed, checksummed))]
pub(crate) fn unframe<'py>(
    stored: &Bound<'py, PyAny>,
    most_bytes: usize,
    compressed: bool,
    checksummed: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = stored.py();
    let bytes = Bytes::of(stored)?;
    let slice = bytes.as_slice();
    let work = || Framed::new(slice, most_bytes, compressed, checksummed);
    let framed = if slice.len() > DETACH_ABOVE { py.detach(work) } else { work() };
    let framed = framed.map_err(|error| corrupt(&error))?;
    match (framed.plain(), &bytes) {
        (Some(_), Bytes::Borrowed(same)) if !checksummed => Ok(same.clone()),
        (Some(plain), _) => Ok(PyBytes::new(py, plain)),
        (None, _) => PyBytes::new_with(py, framed.size(), |block| {
            let mut work = || framed.write_to(block);
            let written = if framed.size() > DETACH_ABOVE { py.detach(work) } else { work() };
            written.map_err(|error| corrupt(&error))
        }),
    }
}
