//! Vectors as little-endian `f32`, from whatever holds numbers.

use kohakuvault_core::distance::{DistanceError, floats_from_bytes};
use kohakuvault_core::dtype::Scalar;
use kohakuvault_core::element::Element;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::{Array, Item, is_buffer, is_bytes_like};
use super::errors::{Place, describe, value_error};
use super::sequence::nested;
use super::vector::{append, append_array};

/// The numbers of a one-dimensional array or sequence as little-endian `f32`, or such bytes themselves.
pub(crate) fn to_float_bytes(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let appended = if is_buffer(value) {
        let array = Array::of(value)?;
        if array.item() == Some(Item::Scalar(Scalar::U8)) && is_bytes_like(value) {
            return whole_floats(array.bytes().to_vec());
        }
        match *array.shape() {
            [length] if array.holds_objects() => {
                append(Scalar::F32, &[length], value, Place::Only, &mut bytes)
            }
            [length] => append_array(Scalar::F32, &[length], value, &array, Place::Only, &mut bytes),
            ref shape => {
                return Err(PyValueError::new_err(format!(
                    "an array of shape {shape:?} given; expected one dimension"
                )));
            }
        }
    } else if let Some(list) = nested(value)? {
        append(Scalar::F32, &[list.len()], list.as_any(), Place::Only, &mut bytes)
    } else {
        return Err(PyTypeError::new_err(format!(
            "{} given; expected an array or sequence of numbers, or bytes of little-endian f32",
            describe(value)
        )));
    };
    appended.map_err(|error| {
        // A number that is too large is a bad vector like one with an infinity in it.
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            value_error(error.value(value.py()))
        } else {
            error
        }
    })?;
    Ok(bytes)
}

fn whole_floats(bytes: Vec<u8>) -> PyResult<Vec<u8>> {
    if bytes.len().is_multiple_of(4) {
        Ok(bytes)
    } else {
        Err(value_error(DistanceError::Ragged { bytes: bytes.len(), element: Element::F32 }))
    }
}

/// As [`to_float_bytes`], decoded.
pub(crate) fn to_floats(value: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    floats_from_bytes(&to_float_bytes(value)?).map_err(value_error)
}

/// Refuses numbers that have no distance to others.
pub(crate) fn check_finite(values: impl IntoIterator<Item = f32>) -> PyResult<()> {
    match values.into_iter().enumerate().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((index, value)) => {
            Err(value_error(format!("dimension {index} is {value}; expected finite numbers")))
        }
    }
}

/// The little-endian f32 bytes of a vector of finite numbers.
#[pyfunction]
#[pyo3(signature = (value, dimensions))]
pub(crate) fn pack_vector<'py>(
    value: &Bound<'py, PyAny>,
    dimensions: Option<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = to_float_bytes(value)?;
    let (cells, _) = bytes.as_chunks::<4>();
    if cells.is_empty() {
        return Err(value_error("an empty vector given; expected at least one dimension"));
    }
    if let Some(expected) = dimensions
        && expected != cells.len()
    {
        return Err(value_error(format!("{} dimensions given; expected {expected}", cells.len())));
    }
    check_finite(cells.iter().map(|&cell| f32::from_le_bytes(cell)))?;
    Ok(PyBytes::new(value.py(), &bytes))
}
