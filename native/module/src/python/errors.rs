//! Python exceptions for what can go wrong, and short descriptions of the values at fault.

use std::fmt;

use kohakuvault_core::block::{BlockError, Corrupt};
use kohakuvault_core::text::shorten;
use pyo3::exceptions::{PyIndexError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::packing::classes::classes;
use super::packing::errors as packing;

pyo3::create_exception!(
    kohakuvault._native,
    CorruptBlock,
    PyValueError,
    "The bytes of a block are not what its dtype and count say."
);

#[cold]
pub(crate) fn corrupt(error: &Corrupt) -> PyErr {
    CorruptBlock::new_err(error.to_string())
}

#[cold]
pub(crate) fn block_error(error: &BlockError) -> PyErr {
    match error {
        BlockError::Corrupt(error) => corrupt(error),
        BlockError::Range { .. } => PyIndexError::new_err(error.to_string()),
        BlockError::TooLarge => PyValueError::new_err(error.to_string()),
    }
}

#[cold]
pub(crate) fn value_error(error: impl fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

#[cold]
pub(crate) fn type_error(error: impl fmt::Display) -> PyErr {
    PyTypeError::new_err(error.to_string())
}

/// An error of the library's own classes, as every public function raises them, for one that the codec found.
#[cold]
pub(crate) fn ours(py: Python<'_>, error: PyErr) -> PyErr {
    let Ok(classes) = classes(py) else { return error };
    let is = |class: &Py<PyType>| error.is_instance(py, class.bind(py));
    if is(&classes.invalid) || is(&classes.unsupported) || is(&classes.corrupt) {
        return error;
    }
    let text = error.value(py).to_string();
    let own = if error.is_instance_of::<CorruptBlock>(py) {
        packing::corrupt(py, text)
    } else if error.is_instance_of::<PyTypeError>(py) {
        packing::unsupported(py, text)
    } else if error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyOverflowError>(py) {
        packing::invalid(py, text)
    } else {
        return error;
    };
    own.set_cause(py, Some(error));
    own
}

/// Puts the place of a value in front of what is wrong with it.
#[cold]
pub(crate) fn at(py: Python<'_>, place: Place, error: PyErr) -> PyErr {
    let (Place::Element(_), Ok(classes)) = (place, classes(py)) else { return error };
    let text = format!("{place}{}", error.value(py));
    let class = error.get_type(py);
    let placed = if class.is(&classes.invalid) {
        packing::invalid(py, text)
    } else if class.is(&classes.unsupported) {
        packing::unsupported(py, text)
    } else if class.is(&classes.corrupt) {
        packing::corrupt(py, text)
    } else {
        return error;
    };
    placed.set_cause(py, error.cause(py));
    placed
}

/// `300 (int)`: the start of a value's repr and its type.
#[cold]
pub(crate) fn describe(value: &Bound<'_, PyAny>) -> String {
    let kind = type_name(value);
    match value.repr() {
        Ok(repr) => format!("{} ({kind})", shorten(&repr.to_string_lossy())),
        // A huge int refuses to be printed.
        Err(_) => kind,
    }
}

#[cold]
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().qualname().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

/// Where in the input a value stands, for error messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Element of the sequence that is packed.
    Element(usize),
    /// The value is all there is.
    Only,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(index) => write!(formatter, "element {index}: "),
            Self::Only => Ok(()),
        }
    }
}
