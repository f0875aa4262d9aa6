//! The library's own exceptions, from `kohakuvault.errors`.

use std::fmt;

use kohakuvault_core::text::shorten;
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::classes::{Classes, classes};

#[cold]
fn raise(
    py: Python<'_>,
    class: impl FnOnce(&'static Classes) -> &'static Py<PyType>,
    message: String,
) -> PyErr {
    match classes(py) {
        Ok(classes) => PyErr::from_type(class(classes).bind(py).clone(), message),
        Err(error) => error,
    }
}

#[cold]
pub(crate) fn unsupported(py: Python<'_>, message: String) -> PyErr {
    raise(py, |classes| &classes.unsupported, message)
}

#[cold]
pub(crate) fn invalid(py: Python<'_>, message: String) -> PyErr {
    raise(py, |classes| &classes.invalid, message)
}

#[cold]
pub(crate) fn corrupt(py: Python<'_>, message: impl fmt::Display) -> PyErr {
    raise(py, |classes| &classes.corrupt, message.to_string())
}

/// Turns whatever went wrong while `what` was read into a `CorruptValue`.
#[cold]
pub(super) fn as_corrupt(py: Python<'_>, what: &str, error: PyErr) -> PyErr {
    let known = match classes(py) {
        Ok(classes) => error.is_instance(py, classes.corrupt.bind(py)),
        Err(error) => return error,
    };
    if known || !error.is_instance_of::<PyException>(py) || error.is_instance_of::<PyMemoryError>(py) {
        return error;
    }
    let text = match error.value(py).str() {
        Ok(text) => shorten(&text.to_string_lossy()).into_owned(),
        Err(_) => String::new(),
    };
    let text = if text.is_empty() { kind_of(error.get_type(py).as_any()) } else { text };
    let corrupt = corrupt(py, format!("stored value is not valid {what}: {text}"));
    corrupt.set_cause(py, Some(error));
    corrupt
}

#[cold]
pub(super) fn too_deep(py: Python<'_>, max_depth: usize) -> PyErr {
    invalid(
        py,
        format!("cannot pack: nested deeper than {max_depth} levels, or a container that contains itself"),
    )
}

#[cold]
pub(super) fn changed(value: &Bound<'_, PyAny>) -> PyErr {
    invalid(
        value.py(),
        format!("a {} was changed while it was packed; pack a copy, or hold a lock", kind(value)),
    )
}

/// Text that is not Unicode.
#[cold]
pub(super) fn surrogates(py: Python<'_>, error: &PyErr) -> PyErr {
    let invalid = invalid(
        py,
        format!(
            "text with lone surrogates cannot be stored: {}; encode it to bytes with 'surrogatepass'",
            error.value(py)
        ),
    );
    invalid.set_cause(py, Some(error.clone_ref(py)));
    invalid
}

/// `module.qualname` of a value's type.
#[cold]
pub(super) fn kind(value: &Bound<'_, PyAny>) -> String {
    kind_of(value.get_type().as_any())
}

#[cold]
fn kind_of(class: &Bound<'_, PyAny>) -> String {
    let name = |attribute| class.getattr(attribute).map_or_else(|_| "?".to_owned(), |name| name.to_string());
    format!("{}.{}", name("__module__"), name("__qualname__"))
}

/// The beginning of a value's repr.
#[cold]
pub(super) fn short(value: &Bound<'_, PyAny>) -> String {
    match value.repr() {
        Ok(repr) => shorten(&repr.to_string_lossy()).into_owned(),
        Err(_) => format!("<{}>", kind(value)),
    }
}

/// The first 60 characters of a value's repr.
#[cold]
pub(super) fn clipped(value: &Bound<'_, PyAny>) -> String {
    match value.repr() {
        Ok(repr) => repr.to_string_lossy().chars().take(60).collect(),
        Err(_) => format!("<{}>", kind(value)),
    }
}

#[cold]
pub(super) fn refuse(value: &Bound<'_, PyAny>) -> PyErr {
    unsupported(
        value.py(),
        format!(
            "cannot store {} of type {}: a stored value comes back as the same type, so only the built-in types, \
             those of datetime, uuid, decimal and fractions, and numpy arrays and scalars are taken, and no \
             subclasses. Convert it first, for instance with dict(...) or kohakuvault.packing.as_dict(...), or \
             allow pickle with pickle=True",
            short(value),
            kind(value)
        ),
    )
}
