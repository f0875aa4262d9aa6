//! Python exceptions for what can go wrong, and short descriptions of the values at fault.

use std::fmt;

use kohakuvault_core::block::{BlockError, Corrupt};
use kohakuvault_core::text::shorten;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;

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
