//! `CSBTree`: an ordered map as a B+tree.
//!
//! Everything that is looked at or changed is so under one mutex, and no code of the user's runs meanwhile: objects are
//! compared while nobody holds it, and a version tells whether the tree is still what it was; values that are not kept
//! are dropped afterwards.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kohakuvault_core::ordered::tree::{Place, Tree};
use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyInt, PyIterator, PyList, PyMapping, PyTuple, PyType};
use pyo3::{PyTraverseError, intern};

use super::keys::{Key, Kind, Object, classify, compare, count_below};

/// Keys of a full node: what is more is slower to insert into, what is less to search.
const ORDER: usize = 96;
/// How often a search begins again because somebody changed the tree meanwhile.
const ATTEMPTS: usize = 1000;

struct State {
    tree: Tree<Key, Object>,
    kind: Kind,
    /// Of keys and their places; not of values.
    version: u64,
    /// The function of a key that it is compared by, and the comparator that it may have been made of.
    by: Option<Object>,
    comparator: Option<Object>,
}

impl State {
    fn locate(&self, py: Python<'_>, key: &Key) -> (Place, bool) {
        let kind = self.kind;
        let place = self.tree.lower_bound(
            |keys| count_below(py, kind, keys, key, true),
            |keys| count_below(py, kind, keys, key, false),
        );
        let found = self.tree.at(&place).is_some_and(|(there, _)| compare(py, kind, there, key).is_eq());
        (place, found)
    }

    fn insert(&mut self, py: Python<'_>, place: &Place, kind: Kind, key: Key, value: Object) {
        if self.kind == Kind::Empty {
            self.kind = kind;
        } else if self.kind != kind {
            self.kind = Kind::Object;
            self.tree.map_keys(|key| key.promote(py));
        }
        let mut key = key;
        if self.kind == Kind::Object {
            key.promote(py);
        }
        self.version += 1;
        self.tree.insert_at(place, key, value);
    }

    fn remove(&mut self, place: &Place) -> Option<(Key, Object)> {
        let removed = self.tree.remove_at(place);
        self.version += 1;
        if self.tree.is_empty() {
            self.kind = Kind::Empty;
        }
        removed
    }
}

/// A key as a method got it.
struct Given<'py> {
    kind: Kind,
    key: Key,
    /// What it is compared by.
    by: Bound<'py, PyAny>,
}

type Pair = (Py<PyAny>, Py<PyAny>);

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
/// ``TypeError``, and NaN is an ``InvalidArgument``. What ``<``, ``key`` or a value's ``__del__`` does may use the tree, and fail.
///
/// Each method is atomic but ``update`` and ``insert_many`` of keys that Python compares; threads may share a tree. An
/// iterator raises ``RuntimeError`` once a key was added or removed.
///
/// >>> from kohakuvault import CSBTree
/// >>> tree = CSBTree({"b": 2, "a": 1, "c": 3})
/// >>> tree.range("a", "c"), tree.floor("bb"), tree.last()
/// ([('a', 1), ('b', 2)], ('b', 2), ('c', 3))
#[pyclass(frozen, weakref, module = "kohakuvault")]
pub(crate) struct CSBTree {
    state: Mutex<State>,
    is_keyed: bool,
}

impl CSBTree {
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn given<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
        let py = key.py();
        if self.is_keyed {
            let by = self.lock(py).by.as_ref().map(|by| by.share(py));
            if let Some(function) = by {
                let by = function.bind(py).call1((key,))?;
                let pair = Key::Keyed(Box::new((Object(key.clone().unbind()), Object(by.clone().unbind()))));
                return Ok(Given { kind: Kind::Object, key: pair, by });
            }
        }
        match classify(key) {
            Some((kind, given)) => Ok(Given { kind, key: given, by: key.clone() }),
            None => Err(error(
                py,
                "InvalidArgument",
                "NaN cannot be a key: it is neither less than another nor equal",
            )),
        }
    }

    /// Find where a key is, or belongs, and do something there, all under one lock.
    fn at<R>(&self, given: &Given<'_>, mut act: impl FnMut(&mut State, &Place, bool) -> R) -> PyResult<R> {
        let py = given.by.py();
        for _ in 0..ATTEMPTS {
            let version;
            let place;
            let found;
            {
                let mut state = self.lock(py);
                if state.kind == Kind::Empty {
                    let end = state.tree.end();
                    return Ok(act(&mut state, &end, false));
                }
                if state.kind == given.kind && given.kind != Kind::Object {
                    let (place, found) = state.locate(py, &given.key);
                    return Ok(act(&mut state, &place, found));
                }
            }
            (place, found, version) = self.search(&given.by)?;
            let mut state = self.lock(py);
            if state.version == version {
                return Ok(act(&mut state, &place, found));
            }
        }
        Err(PyRuntimeError::new_err("the CSBTree is changed whenever keys of it are compared"))
    }

    /// Find where a key is, or belongs, by Python's `<`.
    fn search(&self, key: &Bound<'_, PyAny>) -> PyResult<(Place, bool, u64)> {
        let py = key.py();
        'again: for _ in 0..ATTEMPTS {
            let (mut place, version) = {
                let state = self.lock(py);
                (state.tree.start(), state.version)
            };
            // Under the lock, what `look` makes of the tree; None if it is another by now.
            macro_rules! unless_changed {
                ($state:ident => $look:expr) => {{
                    let $state = self.lock(py);
                    if $state.version != version {
                        continue 'again;
                    }
                    $look
                }};
            }
            loop {
                let (count, is_leaf) = unless_changed!(state => {
                    let (keys, is_leaf) = state.tree.node_keys(&place);
                    (keys.len(), is_leaf)
                });
                let (mut low, mut high) = (0, count);
                while low < high {
                    let middle = usize::midpoint(low, high);
                    let there = unless_changed!(state => {
                        state.tree.node_keys(&place).0.get(middle).map(|key| key.compared(py))
                    });
                    let Some(there) = there else { continue 'again };
                    let there = there.into_bound(py);
                    let is_below = match (there.is(key), is_leaf) {
                        (true, is_leaf) => !is_leaf,
                        (false, true) => there.lt(key)?,
                        (false, false) => !key.lt(&there)?,
                    };
                    if is_below {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                unless_changed!(state => state.tree.descend(&mut place, low));
                if is_leaf {
                    break;
                }
            }
            let there = unless_changed!(state => state.tree.at(&place).map(|(key, _)| key.compared(py)));
            let found = match there {
                None => false,
                Some(there) => {
                    let there = there.into_bound(py);
                    there.is(key) || !key.lt(&there)?
                }
            };
            return Ok((place, found, version));
        }
        Err(PyRuntimeError::new_err("the CSBTree is changed whenever keys of it are compared"))
    }

    fn missing(key: &Bound<'_, PyAny>) -> PyErr {
        let shown = key
            .repr()
            .map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().chars().take(60).collect());
        error(key.py(), "NotFound", &format!("no key {shown} in the CSBTree"))
    }

    fn value(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        self.at(&self.given(key)?, |state, place, found| {
            if found { state.tree.at(place).map(|(_, value)| value.share(py)) } else { None }
        })
    }

    fn put(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        replaces: bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        let given = self.given(key)?;
        let displaced = self.at(&given, |state, place, found| {
            if !found {
                state.insert(py, place, given.kind, given.key.clone(), Object(value.clone().unbind()));
                None
            } else if replaces {
                state.tree.replace_at(place, Object(value.clone().unbind()))
            } else {
                state.tree.at(place).map(|(_, value)| Object(value.share(py)))
            }
        })?;
        Ok(displaced.map(|value| value.0))
    }

    fn take(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let removed =
            self.at(&self.given(key)?, |state, place, found| if found { state.remove(place) } else { None })?;
        Ok(removed.map(|(_, value)| value.0))
    }

    fn pairs(&self, py: Python<'_>) -> Vec<Pair> {
        let state = self.lock(py);
        let (start, _) = state.tree.ends();
        state.tree.forward(&start).map(|(key, value)| (key.object(py), value.share(py))).collect()
    }

    fn functions(&self, py: Python<'_>) -> (Option<Py<PyAny>>, Option<Py<PyAny>>) {
        let state = self.lock(py);
        let comparator = state.comparator.as_ref().map(|function| function.share(py));
        let by =
            if comparator.is_some() { None } else { state.by.as_ref().map(|function| function.share(py)) };
        (by, comparator)
    }

    /// Add pairs; return how many keys are new.
    fn add_all(&self, py: Python<'_>, pairs: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut rows = Vec::new();
        let mut kind = None;
        let mut is_one = true;
        for pair in pairs_of(pairs)? {
            let pair = pair?;
            let (key, value) = two_of(&pair)?;
            let given = self.given(&key)?;
            is_one &= *kind.get_or_insert(given.kind) == given.kind;
            rows.push((given, Object(value.unbind())));
        }
        let Some(kind) = kind else { return Ok(0) };
        let mut displaced = Vec::new();
        let mut added = 0;
        let mut rows = rows.into_iter();
        if is_one && kind != Kind::Object {
            let mut state = self.lock(py);
            if state.kind == Kind::Empty || state.kind == kind {
                for (given, value) in rows.by_ref() {
                    let is_last =
                        state.tree.last().is_none_or(|(last, _)| compare(py, kind, last, &given.key).is_lt());
                    let (place, found) =
                        if is_last { (state.tree.end(), false) } else { state.locate(py, &given.key) };
                    if found {
                        displaced.extend(state.tree.replace_at(&place, value));
                    } else {
                        state.insert(py, &place, kind, given.key, value);
                        added += 1;
                    }
                }
            }
        }
        for (given, value) in rows {
            let mut value = Some(value);
            let (old, is_new) = self.at(&given, |state, place, found| {
                let Some(value) = value.take() else { return (None, false) };
                if found {
                    return (state.tree.replace_at(place, value), false);
                }
                state.insert(py, place, given.kind, given.key.clone(), value);
                (None, true)
            })?;
            displaced.extend(old);
            added += usize::from(is_new);
        }
        Ok(added)
    }

    /// Entries between two bounds, of which None is open.
    fn between(
        &self,
        py: Python<'_>,
        low: Option<&Bound<'_, PyAny>>,
        high: Option<&Bound<'_, PyAny>>,
        inclusive: (bool, bool),
    ) -> PyResult<Vec<Pair>> {
        let low = low.map(|key| self.given(key)).transpose()?;
        let high = high.map(|key| self.given(key)).transpose()?;
        if let (Some(low), Some(high)) = (&low, &high) {
            if high.by.lt(&low.by)? {
                return Ok(Vec::new());
            }
            if !low.by.lt(&high.by)? {
                let entry = self.at(low, |state, place, found| {
                    let entry = if found { state.tree.at(place) } else { None };
                    entry.map(|(key, value)| (key.object(py), value.share(py)))
                })?;
                return Ok(entry.into_iter().filter(|_| inclusive == (true, true)).collect());
            }
        }
        for _ in 0..ATTEMPTS {
            let version = self.lock(py).version;
            let start = match &low {
                None => None,
                Some(given) => Some(self.at(given, |state, place, found| {
                    if found && !inclusive.0 { state.tree.after(place) } else { *place }
                })?),
            };
            let end = match &high {
                None => None,
                Some(given) => Some(self.at(given, |state, place, found| {
                    if found && inclusive.1 { state.tree.after(place) } else { *place }
                })?),
            };
            let state = self.lock(py);
            if state.version != version {
                continue;
            }
            let start = start.unwrap_or_else(|| state.tree.ends().0);
            let end = end.and_then(|end| state.tree.position(&end));
            let mut entries = state.tree.forward(&start);
            let mut found = Vec::new();
            loop {
                let at = entries.place().and_then(|place| state.tree.position(&place));
                if at == end {
                    return Ok(found);
                }
                let Some((key, value)) = entries.next() else { return Ok(found) };
                found.push((key.object(py), value.share(py)));
            }
        }
        Err(PyRuntimeError::new_err("the CSBTree is changed whenever keys of it are compared"))
    }

    fn beside(&self, key: &Bound<'_, PyAny>, before: bool, or_equal: bool) -> PyResult<Option<Pair>> {
        let py = key.py();
        self.at(&self.given(key)?, |state, place, found| {
            let entry = match (found && or_equal, before, found) {
                (true, _, _) | (false, false, false) => state.tree.at(place),
                (false, true, _) => state.tree.before(place),
                (false, false, true) => state.tree.at(&state.tree.after(place)),
            };
            entry.map(|(key, value)| (key.object(py), value.share(py)))
        })
    }
}

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
    ) -> PyResult<Self> {
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
            (Some(key), None) => Some(Object(key)),
            (None, Some(comparator)) => {
                let made = py.import("functools")?.getattr("cmp_to_key")?.call1((comparator,))?;
                Some(Object(made.unbind()))
            }
            (None, None) => None,
        };
        let is_keyed = by.is_some();
        let comparator = comparator.map(Object);
        let state = State { tree: Tree::new(order), kind: Kind::Empty, version: 0, by, comparator };
        let tree = Self { state: Mutex::new(state), is_keyed };
        if let Some(items) = items {
            tree.add_all(py, &items)?;
        }
        Ok(tree)
    }

    #[classmethod]
    fn __class_getitem__(class: &Bound<'_, PyType>, item: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let alias = class.py().import("types")?.getattr("GenericAlias")?;
        Ok(alias.call1((class, item))?.unbind())
    }

    // -- writing -------------------------------------------------------------------------------

    /// Set the value of a key; return the one that it had.
    fn insert(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        self.put(key, value, true)
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.put(key, value, true).map(drop)
    }

    /// Set the values of many keys; return how many of them are new. Fastest where they come in order.
    fn insert_many(&self, py: Python<'_>, items: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.add_all(py, items)
    }

    /// Set the values of many keys.
    #[pyo3(signature = (other = None, /, **keywords))]
    fn update(
        &self,
        py: Python<'_>,
        other: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        if let Some(other) = other {
            self.add_all(py, other)?;
        }
        if let Some(keywords) = keywords {
            self.add_all(py, keywords.as_any())?;
        }
        Ok(())
    }

    /// Return the value of a key, which is set to ``default`` if there is none.
    #[pyo3(signature = (key, default = None))]
    fn setdefault(&self, key: &Bound<'_, PyAny>, default: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let py = key.py();
        let none = py.None().into_bound(py);
        let default = default.unwrap_or(&none);
        Ok(self.put(key, default, false)?.unwrap_or_else(|| default.clone().unbind()))
    }

    /// Remove a key and return its value; None if there is no such key.
    fn remove(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        self.take(key)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.take(key)?.map(drop).ok_or_else(|| Self::missing(key))
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
        match (self.take(key)?, default.get_item(0)) {
            (Some(value), _) => Ok(value),
            (None, Ok(default)) => Ok(default.unbind()),
            (None, Err(_)) => Err(Self::missing(key)),
        }
    }

    /// Remove the last or first key and return it with its value; ``NotFound`` if there is none.
    #[pyo3(signature = (last = true))]
    fn popitem(&self, py: Python<'_>, last: bool) -> PyResult<Pair> {
        for _ in 0..ATTEMPTS {
            let (entry, version) = {
                let state = self.lock(py);
                let entry = if last { state.tree.last() } else { state.tree.first() };
                let Some((key, _)) = entry else {
                    drop(state);
                    return Err(error(py, "NotFound", "the CSBTree is empty"));
                };
                (key.compared(py), state.version)
            };
            // Its place, with the way to it.
            let removed = {
                let mut state = self.lock(py);
                if state.version != version {
                    continue;
                }
                let place = if last { state.tree.last_entry() } else { state.tree.first_entry() };
                state.remove(&place)
            };
            drop(entry);
            if let Some((key, value)) = removed {
                return Ok((key.object(py), value.0));
            }
        }
        Err(PyRuntimeError::new_err("the CSBTree is changed whenever it is looked at"))
    }

    /// Remove every key.
    fn clear(&self, py: Python<'_>) {
        let mut state = self.lock(py);
        let order = state.tree.order();
        let old = std::mem::replace(&mut state.tree, Tree::new(order));
        state.kind = Kind::Empty;
        state.version += 1;
        drop(state);
        drop(old);
    }

    // -- reading -------------------------------------------------------------------------------

    /// Return the value of a key; ``default`` if there is none.
    #[pyo3(signature = (key, default = None))]
    fn get(&self, key: &Bound<'_, PyAny>, default: Option<Py<PyAny>>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.value(key)?.or(default))
    }

    /// Return the value of a key; ``default`` if there is none.
    fn get_default(&self, key: &Bound<'_, PyAny>, default: Py<PyAny>) -> PyResult<Py<PyAny>> {
        Ok(self.value(key)?.unwrap_or(default))
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.value(key)?.ok_or_else(|| Self::missing(key))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.at(&self.given(key)?, |_, _, found| found)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.lock(py).tree.len()
    }

    /// Whether there is no key.
    fn is_empty(&self, py: Python<'_>) -> bool {
        self.lock(py).tree.is_empty()
    }

    /// Return the keys as a list, in their order.
    fn keys(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let state = self.lock(py);
        let (start, _) = state.tree.ends();
        state.tree.forward(&start).map(|(key, _)| key.object(py)).collect()
    }

    /// Return the values as a list, in the order of their keys.
    fn values(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let state = self.lock(py);
        let (start, _) = state.tree.ends();
        state.tree.forward(&start).map(|(_, value)| value.share(py)).collect()
    }

    /// Return the pairs of key and value as a list, in the order of keys.
    fn items(&self, py: Python<'_>) -> Vec<Pair> {
        self.pairs(py)
    }

    /// Return the entries from ``lo`` to ``hi``; None is no bound. ``inclusive`` is whether they are part of it.
    #[pyo3(signature = (lo = None, hi = None, *, inclusive = (true, false), reverse = false))]
    fn range(
        &self,
        py: Python<'_>,
        lo: Option<&Bound<'_, PyAny>>,
        hi: Option<&Bound<'_, PyAny>>,
        inclusive: (bool, bool),
        reverse: bool,
    ) -> PyResult<Vec<Pair>> {
        let mut found = self.between(py, lo, hi, inclusive)?;
        if reverse {
            found.reverse();
        }
        Ok(found)
    }

    /// Return the entry of the greatest key that is not above ``key``; None if there is none.
    fn floor(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Pair>> {
        self.beside(key, true, true)
    }

    /// Return the entry of the least key that is not below ``key``; None if there is none.
    fn ceiling(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Pair>> {
        self.beside(key, false, true)
    }

    /// Return the entry of the greatest key below ``key``; None if there is none.
    fn lower(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Pair>> {
        self.beside(key, true, false)
    }

    /// Return the entry of the least key above ``key``; None if there is none.
    fn higher(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Pair>> {
        self.beside(key, false, false)
    }

    /// Return the entry of the least key; None if there is none.
    fn first(&self, py: Python<'_>) -> Option<Pair> {
        self.lock(py).tree.first().map(|(key, value)| (key.object(py), value.share(py)))
    }

    /// Return the entry of the greatest key; None if there is none.
    fn last(&self, py: Python<'_>) -> Option<Pair> {
        self.lock(py).tree.last().map(|(key, value)| (key.object(py), value.share(py)))
    }

    fn __iter__(slf: &Bound<'_, Self>) -> CSBTreeIterator {
        CSBTreeIterator::new(slf, false)
    }

    fn __reversed__(slf: &Bound<'_, Self>) -> CSBTreeIterator {
        CSBTreeIterator::new(slf, true)
    }

    // -- as a whole ----------------------------------------------------------------------------

    /// Return another tree of the same keys and values, in the same order.
    fn copy(&self, py: Python<'_>) -> Self {
        let state = self.lock(py);
        let mut tree = Tree::new(state.tree.order());
        let (start, _) = state.tree.ends();
        for (key, value) in state.tree.forward(&start) {
            let end = tree.end();
            tree.insert_at(&end, key.clone(), Object(value.share(py)));
        }
        let (by, comparator) = (state.by.clone(), state.comparator.clone());
        let copied = State { tree, kind: state.kind, version: 0, by, comparator };
        Self { state: Mutex::new(copied), is_keyed: self.is_keyed }
    }

    fn __copy__(&self, py: Python<'_>) -> Self {
        self.copy(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let (by, comparator) = slf.get().functions(py);
        let made_with = PyDict::new(py);
        made_with.set_item("order", slf.get().lock(py).tree.order())?;
        made_with.set_item("key", by)?;
        made_with.set_item("comparator", comparator)?;
        let maker = py.import("functools")?.getattr("partial")?.call((slf.get_type(),), Some(&made_with))?;
        let pairs = PyList::new(py, slf.get().pairs(py))?.try_iter()?;
        (maker, PyTuple::empty(py), py.None(), py.None(), pairs).into_pyobject(py)
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if slf.is(other) {
            return Ok(true.into_pyobject(py)?.to_owned().into_any().unbind());
        }
        let is_tree = other.is_instance_of::<Self>();
        if !is_tree && other.cast::<PyMapping>().is_err() {
            return Ok(py.NotImplemented());
        }
        let equal = slf.get().__len__(py) == other.len()? && slf.get().has_all(py, other)?;
        Ok(equal.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    #[classattr]
    #[allow(non_upper_case_globals, reason = "the name is Python's")]
    const __hash__: Option<Py<PyAny>> = None;

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let Some(_shown) = Shown::enter(slf.as_ptr() as usize) else { return Ok("CSBTree(...)".to_owned()) };
        let pairs = slf.get().pairs(py);
        let (by, comparator) = slf.get().functions(py);
        let mut text = String::from("CSBTree(");
        if !pairs.is_empty() {
            text.push_str(&PyList::new(py, pairs)?.repr()?.to_string_lossy());
        }
        for (name, function) in [("key", by), ("comparator", comparator)] {
            if let Some(function) = function {
                let before = if text.ends_with('(') { "" } else { ", " };
                text.push_str(before);
                text.push_str(name);
                text.push('=');
                text.push_str(&function.bind(py).repr()?.to_string_lossy());
            }
        }
        text.push(')');
        Ok(text)
    }

    /// Return what is wrong with the tree, an empty list if nothing is.
    fn check(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let (mut problems, kind, keys) = {
            let state = self.lock(py);
            let (start, _) = state.tree.ends();
            let keys: Vec<Key> = state.tree.forward(&start).map(|(key, _)| key.clone()).collect();
            (state.tree.check(), state.kind, keys)
        };
        for pair in keys.windows(2) {
            let [left, right] = pair else { continue };
            let is_less = if kind == Kind::Object {
                left.compared(py).bind(py).lt(right.compared(py))?
            } else {
                compare(py, kind, left, right).is_lt()
            };
            if !is_less {
                let (left, right) = (left.object(py).into_bound(py), right.object(py).into_bound(py));
                problems.push(format!("{} is before {}", left.repr()?, right.repr()?));
            }
        }
        Ok(problems)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever has the lock now is at work with the tree, which is alive then.
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        for function in [&state.by, &state.comparator].into_iter().flatten() {
            visit.call(&function.0)?;
        }
        state.tree.visit(|key| key.traverse(&visit), |value| visit.call(&value.0))
    }

    fn __clear__(&self) {
        let Ok(mut state) = self.state.try_lock() else { return };
        let order = state.tree.order();
        let old = std::mem::replace(&mut state.tree, Tree::new(order));
        let functions = (state.by.take(), state.comparator.take());
        state.kind = Kind::Empty;
        state.version += 1;
        drop(state);
        drop((old, functions));
    }
}

impl CSBTree {
    fn has_all(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        for (key, value) in self.pairs(py) {
            let theirs = match other.get_item(&key) {
                Ok(theirs) => theirs,
                Err(failed)
                    if failed.is_instance_of::<PyKeyError>(py)
                        || failed.is_instance_of::<PyTypeError>(py) =>
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
}

/// The entries of a tree, one by one.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct CSBTreeIterator {
    tree: Mutex<Option<Py<CSBTree>>>,
    at: Mutex<(Place, u64)>,
    is_reversed: bool,
}

impl CSBTreeIterator {
    fn new(tree: &Bound<'_, CSBTree>, is_reversed: bool) -> Self {
        let at = {
            let state = tree.get().lock(tree.py());
            let (start, end) = state.tree.ends();
            (if is_reversed { end } else { start }, state.version)
        };
        Self { tree: Mutex::new(Some(tree.clone().unbind())), at: Mutex::new(at), is_reversed }
    }
}

#[pymethods]
impl CSBTreeIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Pair>> {
        let tree = self.tree.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let Some(tree) = tree.as_ref().map(|tree| tree.clone_ref(py)) else { return Ok(None) };
        let mut at = self.at.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let state = tree.get().lock(py);
        if state.version != at.1 {
            return Err(PyRuntimeError::new_err("CSBTree changed during iteration"));
        }
        macro_rules! step {
            ($entries:expr) => {{
                let mut entries = $entries;
                let entry = entries.next().map(|(key, value)| (key.object(py), value.share(py)));
                if let Some(place) = entries.place() {
                    at.0 = place;
                }
                entry
            }};
        }
        Ok(if self.is_reversed {
            step!(state.tree.backward(&at.0))
        } else {
            step!(state.tree.forward(&at.0))
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.tree.try_lock() {
            Ok(tree) => tree.as_ref().map_or(Ok(()), |tree| visit.call(tree)),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        if let Ok(mut tree) = self.tree.try_lock() {
            let tree = tree.take();
            drop(tree);
        }
    }
}

thread_local! {
    static SHOWN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// That a tree is being shown in this thread, so that one that is in itself is shown once.
struct Shown;

impl Shown {
    fn enter(tree: usize) -> Option<Self> {
        SHOWN.with_borrow_mut(|shown| {
            if shown.contains(&tree) {
                return None;
            }
            shown.push(tree);
            Some(Self)
        })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        SHOWN.with_borrow_mut(Vec::pop);
    }
}

fn error(py: Python<'_>, class: &str, message: &str) -> PyErr {
    match py
        .import("kohakuvault.errors")
        .and_then(|module| module.getattr(class))
        .and_then(|class| class.call1((message,)))
    {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// The pairs of a mapping, or of an iterable of them.
fn pairs_of<'py>(items: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyIterator>> {
    if items.is_instance_of::<CSBTree>() || !items.hasattr(intern!(items.py(), "keys"))? {
        return items.try_iter();
    }
    items.call_method0(intern!(items.py(), "items"))?.try_iter()
}

fn two_of<'py>(pair: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
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
    let shown: String =
        pair.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().chars().take(60).collect());
    Err(PyTypeError::new_err(format!("items are pairs of a key and a value, not {shown}")))
}
