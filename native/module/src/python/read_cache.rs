//! `ReadCache`: packed values in memory, for as long as the database stands as it stood when they were read.
//!
//! Every look at the entries happens under one mutex, and no Python code runs meanwhile: keys are exactly `str`,
//! `bytes` or `int`, which hash and compare without any.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kohakuvault_core::second_chance::SecondChance;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBool, PyBoolMethods, PyBytes, PyInt, PyString};

use super::watch::{Marks, Watch};
use crate::sqlite::wal_index;

/// What an entry takes beside its bytes: the headers of two Python objects, a slot, and cells of the table.
const OVERHEAD: usize = 208;

/// A value that takes more than one part of so many of the capacity would drive out too many others.
const LARGEST: usize = 4;

/// What is known of a key.
enum Known {
    Absent,
    /// It has a value, which is not kept.
    Present,
    Value(Py<PyBytes>),
}

struct Entry {
    known: Known,
    /// Seconds since 1970; infinite where the value does not expire.
    expires_at: f64,
}

struct State {
    /// Of the state in which the entries were read.
    marks: Marks,
    entries: SecondChance<Py<PyAny>, Entry>,
    hits: u64,
    misses: u64,
}

/// Packed values by key, valid while nothing is committed.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct ReadCache {
    forks: u32,
    capacity: usize,
    state: Mutex<State>,
}

#[pymethods]
impl ReadCache {
    #[new]
    fn new(py: Python<'_>, capacity: usize, watch: &Watch) -> Self {
        let marks = watch.marks(py);
        let state = State { marks, entries: SecondChance::new(capacity), hits: 0, misses: 0 };
        Self { forks: wal_index::forks(), capacity, state: Mutex::new(state) }
    }

    /// The packed value; empty bytes if there is certainly none; None if it is not known.
    #[pyo3(signature = (key, /))]
    fn get<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let py = key.py();
        self.look(key, |known| match known {
            Known::Value(data) => Some(data.bind(py).clone()),
            Known::Absent => Some(PyBytes::new(py, &[])),
            Known::Present => None,
        })
    }

    /// Whether there is such a key; None if it is not known.
    #[pyo3(signature = (key, /))]
    fn contains(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
        self.look(key, |known| Some(!matches!(known, Known::Absent)))
    }

    /// A mark to be made before the database is read, and given to `put`; 0 if nothing can be kept.
    fn mark(&self, py: Python<'_>) -> u64 {
        let mut outdated = None;
        self.current(py, &mut outdated).map_or(0, |state| state.marks.mark())
    }

    /// Keeps what was read after `mark`, unless anything has been committed since.
    #[pyo3(signature = (key, data, expires_at, mark, /))]
    fn put(
        &self,
        key: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        expires_at: &Bound<'_, PyAny>,
        mark: u64,
    ) -> PyResult<()> {
        let py = key.py();
        let Some((hash, size)) = measure(key)? else { return Ok(()) };
        let (known, size) = if let Ok(data) = data.cast_exact::<PyBytes>() {
            match data.as_bytes().len().saturating_add(size).saturating_add(OVERHEAD) {
                _ if data.as_bytes().is_empty() => return Ok(()),
                large if large > self.capacity / LARGEST => (Known::Present, size.saturating_add(OVERHEAD)),
                size => (Known::Value(data.clone().unbind()), size),
            }
        } else if data.is_none() {
            (Known::Absent, size.saturating_add(OVERHEAD))
        } else if data.cast_exact::<PyBool>().is_ok_and(PyBoolMethods::is_true) {
            (Known::Present, size.saturating_add(OVERHEAD))
        } else {
            return Ok(());
        };
        if size > self.capacity / LARGEST {
            return Ok(());
        }
        let expires_at = if expires_at.is_none() {
            f64::INFINITY
        } else if let Ok(time) = expires_at.extract() {
            time
        } else {
            return Ok(());
        };
        // Declared first, hence dropped last: not while the lock is held.
        let mut outdated = None;
        let mut _gone = Vec::new();
        let Some(mut state) = self.current(py, &mut outdated) else { return Ok(()) };
        if mark != state.marks.mark() {
            return Ok(());
        }
        let same = |other: &Py<PyAny>| is_same(other, key);
        // Who only asked whether there is a value must not displace it.
        let displaces = matches!(known, Known::Present)
            && matches!(state.entries.get(hash, same), Some(Entry { known: Known::Value(_), .. }));
        if !displaces {
            _gone = state.entries.insert(hash, key.clone().unbind(), Entry { known, expires_at }, size, same);
        }
        Ok(())
    }

    /// Forgets every entry.
    fn clear(&self, py: Python<'_>) {
        let outdated = self.lock(py).map(|mut state| state.forget());
        drop(outdated);
    }

    /// Forgets everything and lets the connection go. Nothing is kept any more. Closing twice is harmless.
    fn close(&self, py: Python<'_>) {
        let kept = self.lock(py).map(|mut state| (state.marks.take(), state.forget()));
        let (index, outdated) = kept.unzip();
        drop(outdated);
        // The last connection of a database writes the WAL into it when it closes.
        py.detach(move || drop(index));
    }

    /// Reads that were answered.
    #[getter]
    fn hits(&self, py: Python<'_>) -> u64 {
        self.lock(py).map_or(0, |state| state.hits)
    }

    /// Reads that were not.
    #[getter]
    fn misses(&self, py: Python<'_>) -> u64 {
        self.lock(py).map_or(0, |state| state.misses)
    }

    /// Memory that the entries take, about.
    #[getter]
    fn bytes(&self, py: Python<'_>) -> usize {
        self.lock(py).map_or(0, |state| state.entries.cost())
    }

    #[getter]
    fn entries(&self, py: Python<'_>) -> usize {
        self.lock(py).map_or(0, |state| state.entries.len())
    }
}

impl ReadCache {
    /// None in a forked child: the entries are the parent's, and another thread may have held the lock.
    #[inline]
    fn lock(&self, py: Python<'_>) -> Option<MutexGuard<'_, State>> {
        let mine = self.forks == wal_index::forks();
        mine.then(|| self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }

    /// The entries, after those that something was committed since were moved into `outdated`; None if closed.
    #[inline]
    fn current(&self, py: Python<'_>, outdated: &mut Option<Entries>) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock(py)?;
        if state.marks.look()? {
            *outdated = Some(state.forget());
        }
        Some(state)
    }

    #[inline]
    fn look<R>(
        &self,
        key: &Bound<'_, PyAny>,
        answer: impl FnOnce(&Known) -> Option<R>,
    ) -> PyResult<Option<R>> {
        let Some(hash) = hash_of(key)? else { return Ok(None) };
        let mut outdated = None;
        let Some(mut guard) = self.current(key.py(), &mut outdated) else { return Ok(None) };
        let state = &mut *guard;
        let found = state
            .entries
            .get(hash, |other| is_same(other, key))
            .filter(|entry| entry.expires_at.is_infinite() || now() < entry.expires_at)
            .and_then(|entry| answer(&entry.known));
        if found.is_some() {
            state.hits += 1;
        } else {
            state.misses += 1;
        }
        Ok(found)
    }
}

type Entries = SecondChance<Py<PyAny>, Entry>;

impl State {
    fn forget(&mut self) -> Entries {
        let empty = SecondChance::new(self.entries.capacity());
        std::mem::replace(&mut self.entries, empty)
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The hash of a key that may be kept. Other types are not: `True` and `1.0` equal `1`.
#[inline]
fn hash_of(key: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    let is_key = key.is_exact_instance_of::<PyString>()
        || key.is_exact_instance_of::<PyBytes>()
        || key.is_exact_instance_of::<PyInt>();
    if is_key { key.hash().map(|hash| Some(hash.cast_unsigned() as u64)) } else { Ok(None) }
}

/// The hash of a key that may be kept, and how many bytes it takes.
fn measure(key: &Bound<'_, PyAny>) -> PyResult<Option<(u64, usize)>> {
    let Some(hash) = hash_of(key)? else { return Ok(None) };
    let size = if let Ok(text) = key.cast_exact::<PyString>() {
        text.to_str().map_or(0, str::len)
    } else if let Ok(bytes) = key.cast_exact::<PyBytes>() {
        bytes.as_bytes().len()
    } else {
        0
    };
    Ok(Some((hash, size)))
}

#[inline]
fn is_same(kept: &Py<PyAny>, key: &Bound<'_, PyAny>) -> bool {
    let kept = kept.bind(key.py());
    // "a" and b"a" have one hash, and comparing them may warn.
    kept.is(key) || (kept.get_type_ptr() == key.get_type_ptr() && kept.eq(key).unwrap_or(false))
}
