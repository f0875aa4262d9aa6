//! Objects that another is stored for: the tracked dicts, lists and sets of the ORM's side, for which plain ones are.

use pyo3::intern;
use pyo3::prelude::*;

/// What the value's class says is stored for it, by a method; `None` for any other class.
#[cold]
pub(super) fn stand_in<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    match value.get_type().getattr_opt(intern!(py, "__packed_as__"))? {
        Some(method) => Ok(Some(method.call1((value,))?)),
        None => Ok(None),
    }
}
