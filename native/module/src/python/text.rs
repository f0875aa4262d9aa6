//! One `bytes` or `str` value as packed bytes.

use std::borrow::Cow;

use kohakuvault_core::dtype::Dtype;
use kohakuvault_core::text::Encoding;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::buffer::{Array, is_bytes_like};
use super::errors::{Place, describe};

/// Calls `consume` with the bytes of a value, padded if the dtype has a size.
pub(crate) fn with_bytes<R>(
    dtype: &Dtype,
    value: &Bound<'_, PyAny>,
    place: Place,
    consume: impl FnOnce(&[u8]) -> PyResult<R>,
) -> PyResult<R> {
    match *dtype {
        Dtype::Str(encoding, size) => {
            let text = match value.cast_exact::<PyString>() {
                Ok(text) => text,
                Err(_) => value.cast::<PyString>().map_err(|_| unsuitable(value, "str", dtype, place))?,
            };
            let text = text.to_str()?;
            let encoded =
                encoding.encode(text).map_err(|error| PyValueError::new_err(format!("{place}{error}")))?;
            match size {
                None => consume(&encoded),
                Some(size) => {
                    check_text(&encoded, encoding, size, dtype, value, place)?;
                    consume(&pad(&encoded, size))
                }
            }
        }
        Dtype::Bytes(size) => {
            let copied;
            let bytes = if let Ok(bytes) = value.cast::<PyBytes>() {
                bytes.as_bytes()
            } else if is_bytes_like(value) {
                copied = Array::of(value)?.bytes().to_vec();
                &copied
            } else {
                return Err(unsuitable(value, "bytes, bytearray or memoryview", dtype, place));
            };
            match size {
                None => consume(bytes),
                Some(size) => {
                    check_length(bytes, size, dtype, value, place)?;
                    consume(&pad(bytes, size))
                }
            }
        }
        _ => Err(unsuitable(value, "a value", dtype, place)),
    }
}

fn check_text(
    encoded: &[u8],
    encoding: Encoding,
    size: usize,
    dtype: &Dtype,
    value: &Bound<'_, PyAny>,
    place: Place,
) -> PyResult<()> {
    check_length(encoded, size, dtype, value, place)?;
    if encoding.strip_padding(encoded).len() == encoded.len() {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{place}{} ends with NUL, which dtype {dtype} pads with and would not give back; use str:{}",
        describe(value),
        encoding.name()
    )))
}

fn check_length(
    bytes: &[u8],
    size: usize,
    dtype: &Dtype,
    value: &Bound<'_, PyAny>,
    place: Place,
) -> PyResult<()> {
    if bytes.len() <= size {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{place}Data too long: {} > {size} bytes of dtype {dtype}; {} given",
        bytes.len(),
        describe(value)
    )))
}

fn pad(bytes: &[u8], size: usize) -> Cow<'_, [u8]> {
    if bytes.len() == size {
        return Cow::Borrowed(bytes);
    }
    let mut padded = bytes.to_vec();
    padded.resize(size, 0);
    Cow::Owned(padded)
}

#[cold]
fn unsuitable(value: &Bound<'_, PyAny>, expected: &str, dtype: &Dtype, place: Place) -> PyErr {
    PyTypeError::new_err(format!("{place}{} given; expected {expected} for dtype {dtype}", describe(value)))
}
