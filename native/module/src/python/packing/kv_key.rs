//! What can be the key of a dict entry: `str`, `bytes` or an `int` of 64 bits.

use kohakuvault_core::rows::Key;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};

use super::errors::{clipped, invalid, kind, unsupported};

/// The key itself if it can be one; otherwise the error that says why not.
#[pyfunction]
#[pyo3(signature = (key, /))]
pub(crate) fn check_key(key: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    read(&key)?;
    Ok(key)
}

#[inline]
pub(super) fn read<'key>(key: &'key Bound<'_, PyAny>) -> PyResult<Key<'key>> {
    if let Ok(text) = key.cast_exact::<PyString>() {
        // Python keeps the UTF-8, which the driver asks for next; that of ASCII is the text itself.
        text.to_str().map(Key::Text).map_err(|error| surrogates(text, error))
    } else if let Ok(number) = key.cast_exact::<PyInt>() {
        number.extract().map(Key::Int).map_err(|_| beyond(number))
    } else if let Ok(bytes) = key.cast_exact::<PyBytes>() {
        Ok(Key::Blob(bytes.as_bytes()))
    } else {
        Err(unsuitable(key))
    }
}

#[cold]
fn surrogates(text: &Bound<'_, PyString>, error: PyErr) -> PyErr {
    let py = text.py();
    let repr = match text.repr() {
        Ok(repr) => repr.to_string_lossy().into_owned(),
        Err(error) => return error,
    };
    let invalid = invalid(
        py,
        format!(
            "key {repr} has a lone surrogate, which no database stores as text; use its bytes as the key"
        ),
    );
    invalid.set_cause(py, Some(error));
    invalid
}

#[cold]
fn beyond(number: &Bound<'_, PyInt>) -> PyErr {
    let py = number.py();
    // Python refuses to print the largest.
    let digits = number.str().map_or_else(|_| "of thousands of digits".to_owned(), |text| text.to_string());
    invalid(
        py,
        format!(
            "key {digits} is beyond 64 bits; integer keys are -2**63 to 2**63-1. Use str(key) as the key"
        ),
    )
}

#[cold]
fn unsuitable(key: &Bound<'_, PyAny>) -> PyErr {
    let name = key.get_type().name().map_or_else(|_| kind(key), |name| name.to_string());
    unsupported(
        key.py(),
        format!(
            "a key is str, bytes or int, not {name}: {}. Convert it, for instance with str() or int()",
            clipped(key)
        ),
    )
}
