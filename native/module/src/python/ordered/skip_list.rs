//! `SkipList`: an ordered map whose iterators keep what they began with.

use kohakuvault_core::ordered::skip_list::{SkipList as List, Snapshot};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use super::arguments::Functions;
use super::entries::{Family, Kept, Pair};
use super::keys::{Key, Object};
use super::map::OrderedMap;
use super::shared::Shared;

/// An ordered map in memory for several threads: a skip list whose iterators keep what they began with.
///
/// Parameters
/// ----------
/// items
///     Pairs of key and value, or a mapping.
/// key
///     A function of a key; keys are in the order of what it returns, as ``sorted`` has them.
/// comparator
///     A function of two keys that returns a negative number, zero or a positive one. Not together with ``key``.
///
/// Notes
/// -----
/// It has the methods of ``CSBTree``, and keys are compared as there. ``insert`` is the exception: it leaves the value of a
/// key that is there, and returns it; ``list[key] = value`` sets it.
///
/// What is guaranteed, with the GIL and without:
///
/// - Every method sees one state and is atomic, but ``update`` and ``insert_many`` of keys that Python compares, which are
///   so for each pair.
/// - Readers do not wait for readers. Whoever writes has the list for itself, less than a microsecond for a key; nobody
///   waits while Python compares keys.
/// - An iterator, also of ``reversed``, gives the entries that there were when it began, whatever any thread changes
///   meanwhile, and it holds up nobody: what is changed under it is copied first, a block of at most 64 entries.
///
/// Choose it where threads iterate while others write, or where a loop changes the list that it goes through. ``CSBTree``
/// is faster, by half, and smaller; where one is changed, its iterators raise ``RuntimeError``.
///
/// A skip list (W. Pugh, CACM 33, 1990) whose nodes have up to 64 entries each.
///
/// >>> from kohakuvault import SkipList
/// >>> jobs = SkipList({3: "c", 1: "a", 2: "b"})
/// >>> for number, job in jobs:
/// ...     jobs[number + 10] = job
/// ...     del jobs[number]
/// >>> jobs
/// SkipList([(11, 'a'), (12, 'b'), (13, 'c')])
#[pyclass(frozen, subclass, extends = OrderedMap, module = "kohakuvault")]
pub(crate) struct SkipList;

#[pymethods]
impl SkipList {
    #[new]
    #[pyo3(signature = (items = None, /, *, key = None, comparator = None))]
    fn new(
        py: Python<'_>,
        items: Option<Bound<'_, PyAny>>,
        key: Option<Py<PyAny>>,
        comparator: Option<Py<PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let map = OrderedMap::new(Box::new(Shared::new(Lists, Functions::new(py, key, comparator)?)));
        if let Some(items) = items {
            map.map().put_all(&items)?;
        }
        Ok(PyClassInitializer::from(map).add_subclass(Self))
    }

    /// Add a key with its value, unless it is there; return the value that it had then, and keeps.
    fn insert(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Py<PyAny>>> {
        slf.as_super().get().map().put(key, value, false)
    }
}

#[derive(Clone)]
struct Lists;

impl Family for Lists {
    const NAME: &'static str = "SkipList";

    type Of<K: Key> = List<K, Object>;

    fn empty<K: Key>(&self) -> List<K, Object> {
        List::new()
    }

    fn promote<K: Key>(entries: List<K, Object>, py: Python<'_>) -> List<Object, Object> {
        entries.convert(|key| Object(key.object(py)))
    }

    fn snapshot<K: Key>(entries: &List<K, Object>) -> Option<Box<dyn Kept>> {
        Some(Box::new(entries.snapshot()))
    }

    fn options(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }

    fn face(py: Python<'_>, map: OrderedMap) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, PyClassInitializer::from(map).add_subclass(SkipList))?.into_any())
    }
}

impl<K: Key> Kept for Snapshot<K, Object> {
    fn next(&mut self, py: Python<'_>, is_reversed: bool) -> Option<Pair> {
        let entry = if is_reversed { self.previous_entry() } else { self.next_entry() };
        entry.map(|(key, value)| (key.object(py), value.share(py)))
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(|key| key.traverse(visit), |value| visit.call(&value.0))
    }
}
