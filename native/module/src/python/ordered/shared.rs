//! An ordered map that threads may share, whatever its keys and values do.
//!
//! Everything that is looked at or changed is so under one lock, and no code of the user's runs meanwhile: objects are
//! compared while nobody holds it, and a version tells whether the entries are still where they were; values that are
//! not kept are dropped afterwards. Nothing is allocated under the lock that could start the garbage collector, which
//! runs code of the user's too.

use std::ops::Deref;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kohakuvault_core::ordered::Place;
use pyo3::PyTraverseError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::RwLockExt;

use super::arguments::{Functions, error, pairs_of, two_of};
use super::entries::{Entries, Family, Pair};
use super::interface::{Live, Map, Walk};
use super::keys::{Given, Object};
use super::map::OrderedMap;

/// How often a search begins again because somebody changed the map meanwhile.
const ATTEMPTS: usize = 1000;

struct State<F: Family> {
    entries: Entries<F>,
    /// Of keys and their places; not of values.
    version: u64,
    functions: Functions,
}

/// An ordered map that threads may share.
pub(super) struct Shared<F: Family> {
    family: F,
    state: RwLock<State<F>>,
    is_keyed: bool,
}

impl<F: Family> Shared<F> {
    pub(super) fn new(family: F, functions: Functions) -> Self {
        let is_keyed = functions.by.is_some();
        let state = State { entries: Entries::new(&family), version: 0, functions };
        Self { family, state: RwLock::new(state), is_keyed }
    }

    fn read(&self, py: Python<'_>) -> RwLockReadGuard<'_, State<F>> {
        self.state.read_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, py: Python<'_>) -> RwLockWriteGuard<'_, State<F>> {
        self.state.write_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn given<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
        let py = key.py();
        if self.is_keyed {
            let by = self.read(py).functions.by.as_ref().map(|by| by.share(py));
            if let Some(function) = by {
                return Ok(Given::keyed(key, function.bind(py).call1((key,))?));
            }
        }
        Given::new(key).ok_or_else(|| {
            error(py, "InvalidArgument", "NaN cannot be a key: it is neither less than another nor equal")
        })
    }

    fn restless() -> PyErr {
        PyRuntimeError::new_err(format!("the {} is changed whenever keys of it are compared", F::NAME))
    }

    /// Find where a key is, or belongs, and do something there, all under one lock.
    #[inline]
    fn at<S: Deref<Target = State<F>>, R>(
        &self,
        given: &Given<'_>,
        lock: impl Fn() -> S,
        mut act: impl FnMut(S, Place, bool) -> R,
    ) -> PyResult<R> {
        for _ in 0..ATTEMPTS {
            let state = lock();
            if let Some((place, found)) = state.entries.locate(&given.key, given.by.py()) {
                return Ok(act(state, place, found));
            }
            drop(state);
            let (place, found, version) = self.search(&given.by)?;
            let state = lock();
            if state.version == version {
                return Ok(act(state, place, found));
            }
        }
        Err(Self::restless())
    }

    /// Find where a key is, or belongs, by Python's `<`.
    fn search(&self, key: &Bound<'_, PyAny>) -> PyResult<(Place, bool, u64)> {
        let py = key.py();
        'again: for _ in 0..ATTEMPTS {
            let (mut search, mut probe, version) = {
                let state = self.read(py);
                let search = state.entries.begin();
                (search, state.entries.probe(&search, py), state.version)
            };
            while let Some(there) = probe {
                let is_below = {
                    let there = there.into_bound(py);
                    !there.is(key) && there.lt(key)?
                };
                let state = self.read(py);
                if state.version != version {
                    continue 'again;
                }
                state.entries.turn(&mut search, is_below);
                probe = state.entries.probe(&search, py);
            }
            let place = search.place();
            let there = {
                let state = self.read(py);
                if state.version != version {
                    continue 'again;
                }
                state.entries.compared(place, py)
            };
            let found = match there {
                None => false,
                Some(there) => {
                    let there = there.into_bound(py);
                    there.is(key) || !key.lt(&there)?
                }
            };
            return Ok((place, found, version));
        }
        Err(Self::restless())
    }
}

impl<F: Family> Map for Shared<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    // -- reading -------------------------------------------------------------------------------

    fn get(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        self.at(
            &self.given(key)?,
            || self.read(py),
            |state, place, found| if found { state.entries.value(place, py) } else { None },
        )
    }

    fn contains(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.at(&self.given(key)?, || self.read(key.py()), |_, _, found| found)
    }

    fn len(&self, py: Python<'_>) -> usize {
        self.read(py).entries.len()
    }

    fn keys(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.read(py).entries.keys(py)
    }

    fn values(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.read(py).entries.values(py)
    }

    fn pairs(&self, py: Python<'_>) -> Vec<Pair> {
        let state = self.read(py);
        state.entries.pairs(state.entries.start(), state.entries.end(), py)
    }

    fn between(
        &self,
        py: Python<'_>,
        low: Option<&Bound<'_, PyAny>>,
        high: Option<&Bound<'_, PyAny>>,
        inclusive: (bool, bool),
    ) -> PyResult<Vec<Pair>> {
        let low = low.map(|key| self.given(key)).transpose()?;
        let high = high.map(|key| self.given(key)).transpose()?;
        if let (Some(low), Some(high)) = (&low, &high)
            && !low.is_below(high)?
        {
            // Of one key, or of none.
            if high.is_below(low)? || inclusive != (true, true) {
                return Ok(Vec::new());
            }
            let entry = self.at(
                low,
                || self.read(py),
                |state, place, found| if found { state.entries.pair(place, py) } else { None },
            )?;
            return Ok(entry.into_iter().collect());
        }
        for _ in 0..ATTEMPTS {
            let version = self.read(py).version;
            let place_of = |given: &Given<'_>, is_behind: bool| {
                self.at(
                    given,
                    || self.read(py),
                    |state, place, found| if found && is_behind { state.entries.after(place) } else { place },
                )
            };
            let from = low.as_ref().map(|low| place_of(low, !inclusive.0)).transpose()?;
            let to = high.as_ref().map(|high| place_of(high, inclusive.1)).transpose()?;
            let state = self.read(py);
            if state.version == version {
                let entries = &state.entries;
                let (from, to) =
                    (from.unwrap_or_else(|| entries.start()), to.unwrap_or_else(|| entries.end()));
                return Ok(entries.pairs(from, to, py));
            }
        }
        Err(Self::restless())
    }

    fn beside(&self, key: &Bound<'_, PyAny>, before: bool, or_equal: bool) -> PyResult<Option<Pair>> {
        let py = key.py();
        self.at(
            &self.given(key)?,
            || self.read(py),
            |state, place, found| {
                let entries = &state.entries;
                let place = match (found && or_equal, before) {
                    (true, _) => Some(place),
                    (false, true) => entries.before(place),
                    (false, false) => Some(if found { entries.after(place) } else { place }),
                };
                entries.pair(place?, py)
            },
        )
    }

    fn outermost(&self, py: Python<'_>, last: bool) -> Option<Pair> {
        let state = self.read(py);
        let entries = &state.entries;
        let place = if last { entries.before(entries.end())? } else { entries.start() };
        entries.pair(place, py)
    }

    // -- changing ------------------------------------------------------------------------------

    fn put(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        replaces: bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        let given = self.given(key)?;
        self.at(
            &given,
            || self.write(py),
            |mut state, place, found| {
                if found && !replaces {
                    return state.entries.value(place, py);
                }
                let value = Object(value.clone().unbind());
                if found {
                    return state.entries.replace(place, value).map(|value| value.0);
                }
                state.version += 1;
                state.entries.insert(&self.family, place, given.key.clone(), value, py);
                None
            },
        )
    }

    fn put_all(&self, pairs: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = pairs.py();
        let mut rows = Vec::with_capacity(pairs.len().unwrap_or(0));
        for pair in pairs_of(pairs)? {
            let (key, value) = two_of(&pair?)?;
            rows.push((self.given(&key)?.key, Object(value.unbind())));
        }
        let rows = {
            let mut state = self.write(py);
            match state.entries.extend(&self.family, rows, py) {
                Ok(added) => {
                    state.version += 1;
                    drop(state);
                    drop(added.displaced);
                    return Ok(added.count);
                }
                Err(rows) => rows,
            }
        };
        let mut added = 0;
        for (key, value) in rows {
            let by = key.compared(py).into_bound(py);
            let displaced = self.at(
                &Given { key: key.clone(), by },
                || self.write(py),
                |mut state, place, found| {
                    if found {
                        return state.entries.replace(place, value.clone());
                    }
                    state.version += 1;
                    state.entries.insert(&self.family, place, key.clone(), value.clone(), py);
                    None
                },
            )?;
            added += usize::from(displaced.is_none());
        }
        Ok(added)
    }

    fn remove(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        let removed = self.at(
            &self.given(key)?,
            || self.write(py),
            |mut state, place, found| {
                if !found {
                    return None;
                }
                state.version += 1;
                state.entries.remove(place)
            },
        )?;
        Ok(removed.map(|removed| removed.value.0))
    }

    fn remove_outermost(&self, py: Python<'_>, last: bool) -> Option<Pair> {
        let mut state = self.write(py);
        let entries = &mut state.entries;
        let place = if last { entries.before(entries.end())? } else { entries.start() };
        let removed = entries.remove(place);
        state.version += 1;
        drop(state);
        removed.map(|removed| (removed.key.object(py), removed.value.0))
    }

    fn clear(&self, py: Python<'_>) {
        let mut state = self.write(py);
        let old = std::mem::replace(&mut state.entries, Entries::new(&self.family));
        state.version += 1;
        drop(state);
        drop(old);
    }

    // -- iterating -----------------------------------------------------------------------------

    fn walk(&self, py: Python<'_>, is_reversed: bool) -> Walk {
        let state = self.read(py);
        let entries = &state.entries;
        if let Some(kept) = entries.snapshot() {
            return Walk::Kept(kept);
        }
        let at = if is_reversed { entries.end() } else { entries.start() };
        Walk::Live(Live { at, version: state.version })
    }

    fn step(&self, py: Python<'_>, live: &mut Live, is_reversed: bool) -> PyResult<Option<Pair>> {
        let state = self.read(py);
        if state.version != live.version {
            return Err(PyRuntimeError::new_err(format!("{} changed during iteration", F::NAME)));
        }
        let entries = &state.entries;
        if !is_reversed {
            let pair = entries.pair(live.at, py);
            live.at = entries.after(live.at);
            return Ok(pair);
        }
        let Some(place) = entries.before(live.at) else { return Ok(None) };
        live.at = place;
        Ok(entries.pair(place, py))
    }

    // -- as a whole ----------------------------------------------------------------------------

    fn copy(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let state = self.read(py);
        let functions =
            Functions { by: state.functions.by.clone(), comparator: state.functions.comparator.clone() };
        let entries = state.entries.copy(&self.family);
        drop(state);
        let copied = Self {
            family: self.family.clone(),
            state: RwLock::new(State { entries, version: 0, functions }),
            is_keyed: self.is_keyed,
        };
        F::face(py, OrderedMap::new(Box::new(copied)))
    }

    fn functions(&self, py: Python<'_>) -> Vec<(&'static str, Py<PyAny>)> {
        self.read(py).functions.given(py)
    }

    fn options(&self) -> Vec<(&'static str, usize)> {
        self.family.options()
    }

    fn check(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let (mut problems, keys) = {
            let state = self.read(py);
            (state.entries.check(), state.entries.all_compared(py))
        };
        for pair in keys.windows(2) {
            let [left, right] = pair else { continue };
            let (left, right) = (left.bind(py), right.bind(py));
            if !left.lt(right)? {
                problems.push(format!("{} is before {}", left.repr()?, right.repr()?));
            }
        }
        Ok(problems)
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever changes it now is at work with it: it is alive then.
        let Ok(state) = self.state.try_read() else { return Ok(()) };
        for function in [&state.functions.by, &state.functions.comparator].into_iter().flatten() {
            visit.call(&function.0)?;
        }
        state.entries.traverse(visit)
    }

    fn release(&self) {
        let Ok(mut state) = self.state.try_write() else { return };
        let old = std::mem::replace(&mut state.entries, Entries::new(&self.family));
        let functions = (state.functions.by.take(), state.functions.comparator.take());
        state.version += 1;
        drop(state);
        drop((old, functions));
    }
}
