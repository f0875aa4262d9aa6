//! What methods of ordered maps are given, and errors that name it.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};

use super::keys::Object;
use super::map::OrderedMap;

/// An error of the package.
pub(super) fn error(py: Python<'_>, class: &str, message: &str) -> PyErr {
    match py
        .import("kohakuvault.errors")
        .and_then(|module| module.getattr(class))
        .and_then(|class| class.call1((message,)))
    {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// That there is no such key.
pub(super) fn missing(key: &Bound<'_, PyAny>, container: &str) -> PyErr {
    error(key.py(), "NotFound", &format!("no key {} in the {container}", shown(key)))
}

fn shown(object: &Bound<'_, PyAny>) -> String {
    object.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().chars().take(60).collect())
}

/// The functions that order keys, of which one may be given.
pub(super) struct Functions {
    /// Of a key, which is compared by what it returns.
    pub(super) by: Option<Object>,
    /// Of two keys; `by` is made of it.
    pub(super) comparator: Option<Object>,
}

impl Functions {
    pub(super) fn new(
        py: Python<'_>,
        key: Option<Py<PyAny>>,
        comparator: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        if key.as_ref().or(comparator.as_ref()).is_some_and(|function| !function.bind(py).is_callable()) {
            return Err(PyTypeError::new_err("key= and comparator= are functions"));
        }
        let by = match (key, &comparator) {
            (Some(_), Some(_)) => {
                return Err(error(
                    py,
                    "InvalidArgument",
                    "key= and comparator= are both given: one of them orders the keys",
                ));
            }
            (None, Some(comparator)) => {
                Some(py.import("functools")?.getattr("cmp_to_key")?.call1((comparator,))?.unbind())
            }
            (key, None) => key,
        };
        Ok(Self { by: by.map(Object), comparator: comparator.map(Object) })
    }

    /// Those that were given, by their names.
    pub(super) fn given(&self, py: Python<'_>) -> Vec<(&'static str, Py<PyAny>)> {
        match (&self.comparator, &self.by) {
            (Some(comparator), _) => vec![("comparator", comparator.share(py))],
            (None, Some(by)) => vec![("key", by.share(py))],
            (None, None) => Vec::new(),
        }
    }
}

/// The pairs of a mapping, or of an iterable of them.
pub(super) fn pairs_of<'py>(items: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyIterator>> {
    if items.is_instance_of::<OrderedMap>() || !items.hasattr(intern!(items.py(), "keys"))? {
        return items.try_iter();
    }
    items.call_method0(intern!(items.py(), "items"))?.try_iter()
}

/// Whether the two ends of a range are part of it.
pub(super) fn both_ends(inclusive: &Bound<'_, PyAny>) -> PyResult<(bool, bool)> {
    inclusive.extract().map_err(|_| {
        PyTypeError::new_err(format!(
            "inclusive is a pair of bools, whether the first and the last key are part of the range, such as \
             (True, False), not {}",
            shown(inclusive)
        ))
    })
}

/// A key and its value.
pub(super) fn two_of<'py>(pair: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    if let Ok(pair) = pair.cast_exact::<PyTuple>()
        && pair.len() == 2
    {
        return Ok((pair.get_item(0)?, pair.get_item(1)?));
    }
    // As dict does it: of whatever gives two things.
    if let Ok(parts) = pair.try_iter() {
        let parts: Vec<_> = parts.take(3).collect::<PyResult<_>>()?;
        if let Ok([key, value]) = <[_; 2]>::try_from(parts) {
            return Ok((key, value));
        }
    }
    Err(PyTypeError::new_err(format!("items are pairs of a key and a value, not {}", shown(pair))))
}
