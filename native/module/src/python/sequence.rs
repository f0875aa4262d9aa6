//! Sequences of values as lists.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyDict, PyIterator, PyList, PyMemoryView, PySequence, PyString, PyTuple,
};

use super::arrow;
use super::buffer::is_buffer;
use super::errors::{describe, type_name};
use super::packing::classes::classes;
use super::packing::errors::unsupported;

/// How many items ahead of the one that is being read.
const AHEAD: usize = 24;

/// Asks for the memory of an item that will be read soon. The items of a list may lie anywhere: waiting for each of
/// them takes as long as packing it.
#[inline]
pub(crate) fn prefetch(list: &Bound<'_, PyList>, index: usize) {
    #[cfg(all(target_arch = "x86_64", not(Py_GIL_DISABLED)))]
    if index + AHEAD < list.len() {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the list has such an item, and nobody changes it meanwhile, as we hold the GIL. Asking for memory
        // reads nothing, whatever the address.
        unsafe {
            let item = pyo3::ffi::PyList_GET_ITEM(list.as_ptr(), (index + AHEAD).cast_signed());
            _mm_prefetch::<_MM_HINT_T0>(item.cast());
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(Py_GIL_DISABLED))))]
    let _ = (list, index);
}

/// The values to be packed as a list: itself, or a new one. What an iterator raises is passed on.
pub(crate) fn to_list<'py>(values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    if let Ok(list) = values.cast::<PyList>() {
        return Ok(list.clone());
    }
    // One object of bytes is more likely meant as one value than as many small numbers.
    if values.is_instance_of::<PyBytes>()
        || values.is_instance_of::<PyByteArray>()
        || values.is_instance_of::<PyMemoryView>()
        || values.is_instance_of::<PyDict>()
    {
        return Err(not_a_sequence(values));
    }
    match values.try_iter() {
        Ok(items) => drain(&items),
        Err(error) if error.is_instance_of::<PyTypeError>(values.py()) => Err(not_a_sequence(values)),
        Err(error) => Err(error),
    }
}

fn collect<'py>(values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    drain(&values.try_iter()?)
}

fn drain<'py>(items: &Bound<'py, PyIterator>) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(items.py());
    for item in items {
        list.append(item?)?;
    }
    Ok(list)
}

#[cold]
pub(crate) fn not_a_sequence(values: &Bound<'_, PyAny>) -> PyErr {
    unsupported(values.py(), format!("{} given; expected a sequence of values", describe(values)))
}

/// One level of a nested sequence; `None` if the value is not a sequence.
pub(crate) fn nested<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyList>>> {
    if let Ok(list) = value.cast::<PyList>() {
        return Ok(Some(list.clone()));
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return Ok(Some(tuple.to_list()));
    }
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
        return Ok(None);
    }
    // NumPy arrays are no `Sequence`; those of numbers have been read as buffers before.
    if value.is_instance_of::<PySequence>() || is_buffer(value) && value.len().is_ok() {
        return collect(value).map(Some);
    }
    match as_array(value)? {
        Some(array) if array.len().is_ok() => collect(&array).map(Some),
        _ => Ok(None),
    }
}

/// The `numpy` array that an object without a buffer makes of itself, if it does.
pub(crate) fn as_array<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    // Of what is Arrow's the array would have NaN where there is nothing.
    if is_buffer(value)
        || !value.hasattr(intern!(py, "__array__"))?
        || arrow::is_arrow(value)
        || arrow::is_stream(value)
    {
        return Ok(None);
    }
    classes(py)?.asarray.bind(py).call1((value,)).map(Some)
}

/// Code that runs while we read a list (`__index__`, say) may have shortened it.
#[cold]
pub(crate) fn changed(list: &Bound<'_, PyList>) -> PyErr {
    PyRuntimeError::new_err(format!("{} changed size while it was packed", type_name(list.as_any())))
}
