//! What packed values have at a path, for connections that call Python for their SQL functions.

use std::cell::RefCell;

use kohakuvault_core::packing::path::{Node, Part, Path};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::errors::invalid;

thread_local! {
    // A statement asks for one path again and again.
    static LAST: RefCell<Option<(String, Path)>> = const { RefCell::new(None) };
}

/// What a value has at a path, given to `take`. What is no bytes has nothing.
fn at<T>(
    value: &Bound<'_, PyAny>,
    path: Option<&Bound<'_, PyString>>,
    take: impl FnOnce(&[u8], &Path) -> Option<T>,
) -> PyResult<Option<T>> {
    let Ok(value) = value.cast::<PyBytes>() else { return Ok(None) };
    let Some(path) = path else { return Ok(take(value.as_bytes(), &Path::ROOT)) };
    let (py, text) = (path.py(), path.to_str()?);
    // Taken out, as an error is made by Python code.
    let known = LAST.take().filter(|(known, _)| known == text);
    let (text, path) = match known {
        Some(known) => known,
        None => match Path::parse(text.as_bytes()) {
            Ok(path) => (text.to_owned(), path),
            Err(problem) => return Err(invalid(py, problem.to_string())),
        },
    };
    let taken = take(value.as_bytes(), &path);
    LAST.set(Some((text, path)));
    Ok(taken)
}

#[inline]
fn find<T>(
    value: &Bound<'_, PyAny>,
    path: Option<&Bound<'_, PyString>>,
    read: impl FnOnce(&Node<'_>) -> Option<T>,
) -> PyResult<Option<T>> {
    if path.is_none() {
        return Ok(None);
    }
    at(value, path, |packed, path| read(&path.find(packed)?))
}

/// The str that a packed value has at a path.
#[pyfunction]
#[pyo3(signature = (value, path))]
pub(crate) fn packed_text(
    value: &Bound<'_, PyAny>,
    path: Option<&Bound<'_, PyString>>,
) -> PyResult<Option<String>> {
    find(value, path, |node| node.text().filter(|text| !text.contains('\0')).map(str::to_owned))
}

/// The int of 64 bits that a packed value has at a path.
#[pyfunction]
#[pyo3(signature = (value, path))]
pub(crate) fn packed_integer(
    value: &Bound<'_, PyAny>,
    path: Option<&Bound<'_, PyString>>,
) -> PyResult<Option<i64>> {
    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is of nodes of one lifetime only"
    )]
    find(value, path, |node| node.integer())
}

/// The float, or int of 64 bits, that a packed value has at a path.
#[pyfunction]
#[pyo3(signature = (value, path))]
pub(crate) fn packed_real(
    value: &Bound<'_, PyAny>,
    path: Option<&Bound<'_, PyString>>,
) -> PyResult<Option<f64>> {
    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is of nodes of one lifetime only"
    )]
    find(value, path, |node| node.real())
}

/// The bool that a packed value has at a path.
#[pyfunction]
#[pyo3(signature = (value, path))]
pub(crate) fn packed_boolean(
    value: &Bound<'_, PyAny>,
    path: Option<&Bound<'_, PyString>>,
) -> PyResult<Option<bool>> {
    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is of nodes of one lifetime only"
    )]
    find(value, path, |node| node.boolean())
}

/// Whether a packed value contains another, at a path.
#[pyfunction]
#[pyo3(signature = (value, part, path=None))]
pub(crate) fn packed_contains(
    value: &Bound<'_, PyAny>,
    part: &Bound<'_, PyAny>,
    path: Option<&Bound<'_, PyString>>,
) -> PyResult<Option<bool>> {
    let Some(part) = part.cast::<PyBytes>().ok().and_then(|part| Part::read(part.as_bytes())) else {
        return Ok(None);
    };
    at(value, path, |packed, path| part.is_in(packed, path))
}
