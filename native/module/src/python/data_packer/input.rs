//! Whatever holds many values, as an array of numbers or a list.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::super::arrow;
use super::super::buffer::{Array, is_buffer};
use super::super::errors::ours;
use super::super::sequence::{as_array, not_a_sequence, to_list};
use super::layout::Layout;

pub(super) enum Input<'py> {
    Array(Array<'py>),
    List(Bound<'py, PyList>),
}

impl<'py> Input<'py> {
    /// Runs an iterator to its end; what it raises is passed on.
    pub(super) fn of(layout: &Layout, values: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(list) = values.cast_exact::<PyList>() {
            return Ok(Self::List(list.clone()));
        }
        // One text is more likely meant as one value than as many characters.
        if values.is_instance_of::<PyString>() {
            return Err(not_a_sequence(values));
        }
        if layout.numbers().is_some()
            && let Some(array) = array_of(values).map_err(|error| ours(values.py(), error))?
        {
            return Ok(Self::Array(array));
        }
        if (arrow::is_arrow(values) || arrow::is_stream(values))
            && values.hasattr(intern!(values.py(), "to_pylist"))?
        {
            return to_list(&values.call_method0(intern!(values.py(), "to_pylist"))?).map(Self::List);
        }
        to_list(values).map(Self::List)
    }
}

/// The numbers of an object that has them in one piece; `None` for any other.
pub(super) fn array_of<'py>(values: &Bound<'py, PyAny>) -> PyResult<Option<Array<'py>>> {
    if is_buffer(values) {
        let array = Array::of(values)?;
        return Ok((!array.holds_objects()).then_some(array));
    }
    if arrow::is_arrow(values) {
        return arrow::numbers(values);
    }
    // Series and tensors of other packages.
    match as_array(values)? {
        Some(array) => array_of(&array),
        None => Ok(None),
    }
}
