//! `OrderedMap`: what the ordered maps have in common in Python.

use std::cell::RefCell;

use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyTuple};
use pyo3::{IntoPyObjectExt, PyTraverseError};

use super::arguments::{both_ends, error, missing};
use super::entries::Pair;
use super::interface::Map;
use super::iterator::OrderedMapIterator;

/// What ``CSBTree`` and ``SkipList`` have in common.
#[pyclass(frozen, subclass, weakref, generic, module = "kohakuvault.ordered")]
pub(crate) struct OrderedMap {
    map: Box<dyn Map>,
}

impl OrderedMap {
    pub(super) fn new(map: Box<dyn Map>) -> Self {
        Self { map }
    }

    pub(super) fn map(&self) -> &dyn Map {
        &*self.map
    }
}

#[pymethods]
impl OrderedMap {
    // -- writing -------------------------------------------------------------------------------

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.map.put(key, value, true).map(drop)
    }

    /// Set the values of many keys; return how many of them are new. Fastest where they come in order.
    fn insert_many(&self, items: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.map.put_all(items)
    }

    /// Set the values of many keys.
    #[pyo3(signature = (other = None, /, **keywords))]
    fn update(&self, other: Option<&Bound<'_, PyAny>>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        if let Some(other) = other {
            self.map.put_all(other)?;
        }
        if let Some(keywords) = keywords {
            self.map.put_all(keywords.as_any())?;
        }
        Ok(())
    }

    /// Return the value of a key, which is set to ``default`` if there is none.
    #[pyo3(signature = (key, default = None))]
    fn setdefault(&self, key: &Bound<'_, PyAny>, default: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let none = key.py().None().into_bound(key.py());
        let default = default.unwrap_or(&none);
        Ok(self.map.put(key, default, false)?.unwrap_or_else(|| default.clone().unbind()))
    }

    /// Remove a key and return its value; None if there is no such key.
    fn remove(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        self.map.remove(key)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.map.remove(key)?.map(drop).ok_or_else(|| missing(key, self.map.name()))
    }

    /// Remove a key and return its value; without such a key ``default``, or raise ``NotFound``.
    #[pyo3(signature = (key, *default))]
    fn pop(&self, key: &Bound<'_, PyAny>, default: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        if default.len() > 1 {
            return Err(PyTypeError::new_err(format!(
                "pop() takes a key and a default, not {}",
                default.len() + 1
            )));
        }
        match (self.map.remove(key)?, default.get_item(0)) {
            (Some(value), _) => Ok(value),
            (None, Ok(default)) => Ok(default.unbind()),
            (None, Err(_)) => Err(missing(key, self.map.name())),
        }
    }

    /// Remove the last or first key and return it with its value; ``NotFound`` if there is none.
    #[pyo3(signature = (last = true))]
    fn popitem(&self, py: Python<'_>, last: bool) -> PyResult<Pair> {
        self.map
            .remove_outermost(py, last)
            .ok_or_else(|| error(py, "NotFound", &format!("the {} is empty", self.map.name())))
    }

    /// Remove every key.
    fn clear(&self, py: Python<'_>) {
        self.map.clear(py);
    }

    // -- reading -------------------------------------------------------------------------------

    /// Return the value of a key; ``default`` if there is none.
    #[pyo3(signature = (key, default = None))]
    fn get(&self, key: &Bound<'_, PyAny>, default: Option<Py<PyAny>>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.map.get(key)?.or(default))
    }

    /// Return the value of a key; ``default`` if there is none.
    fn get_default(&self, key: &Bound<'_, PyAny>, default: Py<PyAny>) -> PyResult<Py<PyAny>> {
        Ok(self.map.get(key)?.unwrap_or(default))
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.map.get(key)?.ok_or_else(|| missing(key, self.map.name()))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.map.contains(key)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.map.len(py)
    }

    /// Whether there is no key.
    fn is_empty(&self, py: Python<'_>) -> bool {
        self.map.len(py) == 0
    }

    /// Return the keys as a list, in their order.
    fn keys(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.map.keys(py)
    }

    /// Return the values as a list, in the order of their keys.
    fn values(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.map.values(py)
    }

    /// Return the pairs of key and value as a list, in the order of keys.
    fn items(&self, py: Python<'_>) -> Vec<Pair> {
        self.map.pairs(py)
    }

    /// Return the entries from ``lo`` to ``hi``; None is no bound. ``inclusive`` is whether they are part of it.
    #[pyo3(signature = (lo = None, hi = None, *, inclusive = (true, false), reverse = false))]
    fn range(
        &self,
        py: Python<'_>,
        lo: Option<&Bound<'_, PyAny>>,
        hi: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = both_ends)] inclusive: (bool, bool),
        reverse: bool,
    ) -> PyResult<Vec<Pair>> {
        let mut found = self.map.between(py, lo, hi, inclusive)?;
        if reverse {
            found.reverse();
        }
        Ok(found)
    }

    /// Return the entry of the greatest key that is not above ``key``; None if there is none.
    fn floor(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Pair>> {
        self.map.beside(key, true, true)
    }

    /// Return the entry of the least key that is not below ``key``; None if there is none.
    fn ceiling(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Pair>> {
        self.map.beside(key, false, true)
    }

    /// Return the entry of the greatest key below ``key``; None if there is none.
    fn lower(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Pair>> {
        self.map.beside(key, true, false)
    }

    /// Return the entry of the least key above ``key``; None if there is none.
    fn higher(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Pair>> {
        self.map.beside(key, false, false)
    }

    /// Return the entry of the least key; None if there is none.
    fn first(&self, py: Python<'_>) -> Option<Pair> {
        self.map.outermost(py, false)
    }

    /// Return the entry of the greatest key; None if there is none.
    fn last(&self, py: Python<'_>) -> Option<Pair> {
        self.map.outermost(py, true)
    }

    fn __iter__(slf: &Bound<'_, Self>) -> OrderedMapIterator {
        OrderedMapIterator::new(slf, false)
    }

    fn __reversed__(slf: &Bound<'_, Self>) -> OrderedMapIterator {
        OrderedMapIterator::new(slf, true)
    }

    // -- as a whole ----------------------------------------------------------------------------

    /// Return another map of the same keys and values, in the same order.
    fn copy(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.map.copy(py)
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.map.copy(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let map = slf.get().map();
        let made_with = PyDict::new(py);
        for (name, number) in map.options() {
            made_with.set_item(name, number)?;
        }
        for (name, function) in map.functions(py) {
            made_with.set_item(name, function)?;
        }
        let maker = py.import("functools")?.getattr("partial")?.call((slf.get_type(),), Some(&made_with))?;
        let pairs = PyList::new(py, map.pairs(py))?.try_iter()?;
        (maker, PyTuple::empty(py), py.None(), py.None(), pairs).into_pyobject(py)
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if slf.is(other) {
            return true.into_py_any(py);
        }
        if !other.is_instance_of::<Self>() && other.cast::<PyMapping>().is_err() {
            return Ok(py.NotImplemented());
        }
        let map = slf.get().map();
        (map.len(py) == other.len()? && has_all(other, map.pairs(py))?).into_py_any(py)
    }

    #[classattr]
    #[allow(non_upper_case_globals, reason = "the name is Python's")]
    const __hash__: Option<Py<PyAny>> = None;

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let map = slf.get().map();
        let mut text = slf.get_type().name()?.to_string();
        let Some(_shown) = Shown::enter(slf.as_ptr() as usize) else { return Ok(text + "(...)") };
        text.push('(');
        let pairs = map.pairs(py);
        if !pairs.is_empty() {
            text.push_str(&PyList::new(py, pairs)?.repr()?.to_string_lossy());
        }
        for (name, function) in map.functions(py) {
            let before = if text.ends_with('(') { "" } else { ", " };
            text.push_str(before);
            text.push_str(name);
            text.push('=');
            text.push_str(&function.bind(py).repr()?.to_string_lossy());
        }
        text.push(')');
        Ok(text)
    }

    /// Return what is wrong with the map, an empty list if nothing is.
    fn check(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.map.check(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.map.traverse(&visit)
    }

    fn __clear__(&self) {
        self.map.release();
    }
}

/// Whether a map or mapping, of as many keys, has the same values.
fn has_all(other: &Bound<'_, PyAny>, pairs: Vec<Pair>) -> PyResult<bool> {
    let py = other.py();
    for (key, value) in pairs {
        let theirs = match other.get_item(&key) {
            Ok(theirs) => theirs,
            // Not there, or a key that cannot be there.
            Err(failed)
                if failed.is_instance_of::<PyKeyError>(py) || failed.is_instance_of::<PyTypeError>(py) =>
            {
                return Ok(false);
            }
            Err(failed) => return Err(failed),
        };
        if !theirs.is(&value) && !theirs.eq(value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

thread_local! {
    static SHOWN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// That a map is being shown in this thread, so that one that is in itself is shown once.
struct Shown;

impl Shown {
    fn enter(map: usize) -> Option<Self> {
        SHOWN.with_borrow_mut(|shown| {
            if shown.contains(&map) {
                return None;
            }
            shown.push(map);
            Some(Self)
        })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        SHOWN.with_borrow_mut(Vec::pop);
    }
}
