//! The entries of an ordered map, one by one.

use std::sync::{Mutex, PoisonError};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use super::entries::Pair;
use super::interface::Walk;
use super::map::OrderedMap;

/// The entries of an ordered map, one by one.
#[pyclass(frozen, module = "kohakuvault.ordered")]
pub(crate) struct OrderedMapIterator {
    /// None once all were given. An iterator of kept entries holds the map too: the garbage collector counts on it that
    /// the map, which shares them, lives as long.
    under_way: Mutex<Option<(Py<OrderedMap>, Walk)>>,
    is_reversed: bool,
}

impl OrderedMapIterator {
    pub(super) fn new(map: &Bound<'_, OrderedMap>, is_reversed: bool) -> Self {
        let walk = map.get().map().walk(map.py(), is_reversed);
        Self { under_way: Mutex::new(Some((map.clone().unbind(), walk))), is_reversed }
    }
}

#[pymethods]
impl OrderedMapIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Pair>> {
        let mut under_way = self.under_way.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let Some((map, walk)) = under_way.as_mut() else { return Ok(None) };
        let pair = match walk {
            Walk::Live(live) => map.get().map().step(py, live, self.is_reversed)?,
            Walk::Kept(kept) => kept.next(py, self.is_reversed),
        };
        // What has been given is dropped while nobody holds the iterator.
        let ended = if pair.is_none() { under_way.take() } else { None };
        drop(under_way);
        drop(ended);
        Ok(pair)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(under_way) = self.under_way.try_lock() else { return Ok(()) };
        let Some((map, walk)) = under_way.as_ref() else { return Ok(()) };
        visit.call(map)?;
        match walk {
            Walk::Live(_) => Ok(()),
            Walk::Kept(kept) => kept.traverse(&visit),
        }
    }

    fn __clear__(&self) {
        if let Ok(mut under_way) = self.under_way.try_lock() {
            let ended = under_way.take();
            drop(under_way);
            drop(ended);
        }
    }
}
