//! `CSBTree`: an ordered map as a B+tree.

use kohakuvault_core::ordered::tree::Tree;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::arguments::{Functions, error};
use super::entries::{Family, Kept};
use super::keys::{Key, Object};
use super::map::OrderedMap;
use super::shared::Shared;

/// Keys of a full node: what is more is slower to insert into, what is less to search.
const ORDER: usize = 64;

/// An ordered map in memory: a B+tree.
///
/// Parameters
/// ----------
/// items
///     Pairs of key and value, or a mapping. An int is taken for ``order``, as ``KohakuVault`` 1.1 had it.
/// order
///     How many keys a node has at most, at least 8.
/// key
///     A function of a key; keys are in the order of what it returns, as ``sorted`` has them.
/// comparator
///     A function of two keys that returns a negative number, zero or a positive one. Not together with ``key``.
///
/// Notes
/// -----
/// Writing: ``insert``, ``tree[key] = value``, ``insert_many``, ``update``, ``setdefault``; ``remove``, ``del tree[key]``,
/// ``pop``, ``popitem``, ``clear``.
/// Reading: ``tree[key]``, ``get``, ``key in tree``, ``len``, ``is_empty``; ``keys``, ``values``, ``items``, which are lists.
/// By order: ``range``, ``floor``, ``ceiling``, ``lower``, ``higher``, ``first``, ``last``; iteration and ``reversed``, which
/// give pairs.
/// As a whole: ``copy``, ``==``, pickling, ``check``.
///
/// While all keys are ``int`` (of 64 bits), ``float``, ``str`` or ``bytes``, and of one of these types, they are compared
/// without Python; other keys by ``<``, and a key equals another if neither is less. Keys that cannot be compared are a
/// ``TypeError``, and NaN is an ``InvalidArgument``. What ``<``, ``key`` or ``__del__`` do may use the tree, and fail.
///
/// Each method is atomic but ``update`` and ``insert_many`` of keys that Python compares; threads may share a tree. An
/// iterator raises ``RuntimeError`` once a key was added or removed.
///
/// >>> from kohakuvault import CSBTree
/// >>> tree = CSBTree({"b": 2, "a": 1, "c": 3})
/// >>> tree.range("a", "c"), tree.floor("bb"), tree.last()
/// ([('a', 1), ('b', 2)], ('b', 2), ('c', 3))
#[pyclass(frozen, subclass, extends = OrderedMap, module = "kohakuvault")]
pub(crate) struct CSBTree;

#[pymethods]
impl CSBTree {
    #[new]
    #[pyo3(signature = (items = None, /, *, order = None, key = None, comparator = None))]
    fn new(
        py: Python<'_>,
        items: Option<Bound<'_, PyAny>>,
        order: Option<usize>,
        key: Option<Py<PyAny>>,
        comparator: Option<Py<PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let mut items = items;
        let mut order = order;
        if let Some(number) = items.as_ref().filter(|given| given.is_exact_instance_of::<PyInt>()) {
            // The form of KohakuVault 1.1.
            order = Some(number.extract()?);
            items = None;
        }
        let order = order.unwrap_or(ORDER);
        if order == 0 {
            return Err(error(
                py,
                "InvalidArgument",
                "order is how many keys a node has at most, a positive int, not 0",
            ));
        }
        let map =
            OrderedMap::new(Box::new(Shared::new(Trees { order }, Functions::new(py, key, comparator)?)));
        if let Some(items) = items {
            map.map().put_all(&items)?;
        }
        Ok(PyClassInitializer::from(map).add_subclass(Self))
    }

    /// Set the value of a key; return the one that it had.
    fn insert(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Py<PyAny>>> {
        slf.as_super().get().map().put(key, value, true)
    }
}

#[derive(Clone)]
struct Trees {
    order: usize,
}

impl Family for Trees {
    const NAME: &'static str = "CSBTree";

    type Of<K: Key> = Tree<K, Object>;

    fn empty<K: Key>(&self) -> Tree<K, Object> {
        Tree::new(self.order)
    }

    fn promote<K: Key>(entries: Tree<K, Object>, py: Python<'_>) -> Tree<Object, Object> {
        entries.convert(|key| Object(key.object(py)))
    }

    fn snapshot<K: Key>(_entries: &Tree<K, Object>) -> Option<Box<dyn Kept>> {
        None
    }

    fn options(&self) -> Vec<(&'static str, usize)> {
        vec![("order", self.order)]
    }

    fn face(py: Python<'_>, map: OrderedMap) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, PyClassInitializer::from(map).add_subclass(CSBTree))?.into_any())
    }
}
