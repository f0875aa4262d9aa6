//! What a Python object has of its map, whatever the structure of that is.

use kohakuvault_core::ordered::Place;
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use super::entries::{Kept, Pair};

/// Where an iteration is that goes on only while no key is added or removed.
pub(super) struct Live {
    pub(super) at: Place,
    pub(super) version: u64,
}

/// An iteration that begins.
pub(super) enum Walk {
    Live(Live),
    Kept(Box<dyn Kept>),
}

/// What a Python object has of its map, whatever its structure.
pub(super) trait Map: Send + Sync {
    fn name(&self) -> &'static str;

    fn get(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>>;
    fn contains(&self, key: &Bound<'_, PyAny>) -> PyResult<bool>;
    fn len(&self, py: Python<'_>) -> usize;
    fn keys(&self, py: Python<'_>) -> Vec<Py<PyAny>>;
    fn values(&self, py: Python<'_>) -> Vec<Py<PyAny>>;
    fn pairs(&self, py: Python<'_>) -> Vec<Pair>;

    /// The entries between two bounds, of which None is open, with those that are `inclusive`.
    fn between(
        &self,
        py: Python<'_>,
        low: Option<&Bound<'_, PyAny>>,
        high: Option<&Bound<'_, PyAny>>,
        inclusive: (bool, bool),
    ) -> PyResult<Vec<Pair>>;

    /// The entry of a key if `or_equal`, else the one before or behind it.
    fn beside(&self, key: &Bound<'_, PyAny>, before: bool, or_equal: bool) -> PyResult<Option<Pair>>;

    /// The first or last entry.
    fn outermost(&self, py: Python<'_>, last: bool) -> Option<Pair>;

    /// Set a value, unless the key is there and nothing `replaces` its value; return the one that was there.
    fn put(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        replaces: bool,
    ) -> PyResult<Option<Py<PyAny>>>;

    /// Add pairs; return how many keys are new.
    fn put_all(&self, pairs: &Bound<'_, PyAny>) -> PyResult<usize>;

    fn remove(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>>;
    fn remove_outermost(&self, py: Python<'_>, last: bool) -> Option<Pair>;
    fn clear(&self, py: Python<'_>);

    fn walk(&self, py: Python<'_>, is_reversed: bool) -> Walk;
    fn step(&self, py: Python<'_>, live: &mut Live, is_reversed: bool) -> PyResult<Option<Pair>>;

    fn copy(&self, py: Python<'_>) -> PyResult<Py<PyAny>>;
    fn functions(&self, py: Python<'_>) -> Vec<(&'static str, Py<PyAny>)>;
    fn options(&self) -> Vec<(&'static str, usize)>;
    fn check(&self, py: Python<'_>) -> PyResult<Vec<String>>;

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;
    /// Let go of everything, for the garbage collector.
    fn release(&self);
}
