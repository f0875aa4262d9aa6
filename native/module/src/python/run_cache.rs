//! `RunCache`: runs of a column's elements as arrays, for as long as the database stands as it stood.
//!
//! A run is `per_run` elements from a multiple of `per_run` on; only the last of a column has fewer. Arrays are
//! read-only, so what is given are views of them. Views are made after the mutex was unlocked: making any object may
//! run Python code, which might come here again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kohakuvault_core::second_chance::SecondChance;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PySlice;

use super::watch::{Marks, Watch};
use crate::sqlite::wal_index;

/// What a run takes beside its bytes: the headers of some Python objects, a slot, and cells of the table.
const OVERHEAD: usize = 400;

/// Column and number.
type Key = (i64, i64);

enum Run {
    /// It was asked for once, which is no reason to keep it.
    Noticed,
    /// An array, and how many elements it has.
    Kept(Py<PyAny>, i64),
}

type Runs = SecondChance<Key, Run>;

struct State {
    marks: Marks,
    runs: Runs,
    lengths: HashMap<i64, i64>,
    hits: u64,
    misses: u64,
}

/// Runs of the elements of columns, valid while nothing is committed.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct RunCache {
    forks: u32,
    state: Mutex<State>,
}

#[pymethods]
impl RunCache {
    #[new]
    fn new(py: Python<'_>, capacity: usize, watch: &Watch) -> Self {
        let marks = watch.marks(py);
        let runs = SecondChance::new(capacity);
        let state = State { marks, runs, lengths: HashMap::new(), hits: 0, misses: 0 };
        Self { forks: wal_index::forks(), state: Mutex::new(state) }
    }

    /// The runs of one column.
    #[pyo3(signature = (column, per_run, /))]
    fn of(slf: &Bound<'_, Self>, column: i64, per_run: i64) -> ColumnRuns {
        ColumnRuns { cache: slf.clone().unbind(), column, per_run: per_run.max(1) }
    }

    /// A mark to be made before the database is read; 0 if nothing can be kept.
    fn mark(&self, py: Python<'_>) -> u64 {
        let mut outdated = None;
        self.current(py, &mut outdated).map_or(0, |state| state.marks.mark())
    }

    /// Forgets every run.
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

    /// Memory that the runs take, about.
    #[getter]
    fn bytes(&self, py: Python<'_>) -> usize {
        self.lock(py).map_or(0, |state| state.runs.cost())
    }

    #[getter]
    fn entries(&self, py: Python<'_>) -> usize {
        self.lock(py).map_or(0, |state| state.runs.len())
    }
}

impl RunCache {
    /// None in a forked child, where another thread may have held the lock.
    #[inline]
    fn lock(&self, py: Python<'_>) -> Option<MutexGuard<'_, State>> {
        let mine = self.forks == wal_index::forks();
        mine.then(|| self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }

    /// The runs, after those that something was committed since were moved into `outdated`; None if closed.
    #[inline]
    fn current(&self, py: Python<'_>, outdated: &mut Option<Runs>) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock(py)?;
        if state.marks.look()? {
            *outdated = Some(state.forget());
        }
        Some(state)
    }
}

impl State {
    fn forget(&mut self) -> Runs {
        self.lengths.clear();
        let empty = SecondChance::new(self.runs.capacity());
        std::mem::replace(&mut self.runs, empty)
    }

    #[inline]
    fn run(&mut self, key: Key) -> Option<&Run> {
        self.runs.get(hash_of(key), |&other| other == key)
    }

    /// Counts a read, and whether it was answered.
    #[inline]
    fn count<T>(&mut self, found: Option<T>) -> Option<T> {
        if found.is_some() {
            self.hits += 1;
        } else {
            self.misses += 1;
        }
        found
    }
}

#[inline]
fn hash_of((column, number): Key) -> u64 {
    column.cast_unsigned().rotate_left(40) ^ number.cast_unsigned()
}

/// The runs of one column.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct ColumnRuns {
    cache: Py<RunCache>,
    column: i64,
    per_run: i64,
}

#[pymethods]
impl ColumnRuns {
    #[getter]
    fn per_run(&self) -> i64 {
        self.per_run
    }

    /// A read-only array of the elements `start..stop`, as a slice has them, if one run that is kept has all of them.
    /// None for what is no index of a slice, too.
    #[pyo3(signature = (start = None, stop = None, /))]
    fn view<'py>(
        &self,
        py: Python<'py>,
        start: Option<&Bound<'py, PyAny>>,
        stop: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let start = start.map_or(Ok(0), PyAnyMethods::extract::<i64>);
        let (Ok(start), Ok(stop)) = (start, stop.map(PyAnyMethods::extract::<i64>).transpose()) else {
            return Ok(None);
        };
        let Some((array, from, to)) = self.find(py, |state| self.span(state, start, stop)) else {
            return Ok(None);
        };
        let (from, to) = (isize::try_from(from)?, isize::try_from(to)?);
        array.get_item(PySlice::new(py, from, to, 1)).map(Some)
    }

    /// One element as a Python value, of an array of one dimension.
    #[pyo3(signature = (index, /))]
    fn item<'py>(&self, py: Python<'py>, index: i64) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((array, from, to)) = self.find(py, |state| self.span(state, index, next_to(index))) else {
            return Ok(None);
        };
        if to == from { Ok(None) } else { array.call_method1(intern!(py, "item"), (from,)).map(Some) }
    }

    /// A mark to be made before the database is read; 0 if nothing can be kept.
    fn mark(&self, py: Python<'_>) -> u64 {
        self.cache.get().mark(py)
    }

    /// The number of elements, if it is known.
    fn length(&self, py: Python<'_>) -> Option<i64> {
        let mut outdated = None;
        let state = self.cache.get().current(py, &mut outdated)?;
        state.lengths.get(&self.column).copied()
    }

    /// Keeps the number of elements, which was read after `mark`, unless anything has been committed since.
    #[pyo3(signature = (length, mark, /))]
    fn put_length(&self, py: Python<'_>, length: i64, mark: u64) {
        let mut outdated = None;
        if let Some(mut state) = self.cache.get().current(py, &mut outdated)
            && state.marks.mark() == mark
        {
            state.lengths.insert(self.column, length);
        }
    }

    /// The array of a run that is kept.
    #[pyo3(signature = (number, /))]
    fn run<'py>(&self, py: Python<'py>, number: i64) -> Option<Bound<'py, PyAny>> {
        let mut outdated = None;
        let mut state = self.cache.get().current(py, &mut outdated)?;
        match state.run((self.column, number))? {
            Run::Kept(array, _) => Some(array.bind(py).clone()),
            Run::Noticed => None,
        }
    }

    /// Remembers that a run was asked for; whether it was before, so that keeping it is worth reading all of it.
    #[pyo3(signature = (number, /))]
    fn notice(&self, py: Python<'_>, number: i64) -> bool {
        // Declared first, hence dropped last: not while the lock is held.
        let mut outdated = None;
        let mut _gone = Vec::new();
        let Some(mut state) = self.cache.get().current(py, &mut outdated) else { return false };
        let key = (self.column, number);
        let before = state.run(key).is_some();
        if !before {
            _gone = state.runs.insert(hash_of(key), key, Run::Noticed, OVERHEAD, |&other| other == key);
        }
        before
    }

    /// Keeps the array of a run, which was read after `mark`, unless anything has been committed since; whether it is
    /// of the state of the mark.
    #[pyo3(signature = (number, array, mark, /))]
    fn put(&self, number: i64, array: &Bound<'_, PyAny>, mark: u64) -> PyResult<bool> {
        let py = array.py();
        let size: usize = array.getattr(intern!(py, "nbytes"))?.extract()?;
        let count = i64::try_from(array.len()?)?;
        // Declared first, hence dropped last: not while the lock is held.
        let mut outdated = None;
        let _gone;
        let Some(mut state) = self.cache.get().current(py, &mut outdated) else { return Ok(false) };
        if state.marks.mark() != mark {
            return Ok(false);
        }
        let key = (self.column, number);
        let run = Run::Kept(array.clone().unbind(), count);
        _gone =
            state.runs.insert(hash_of(key), key, run, size.saturating_add(OVERHEAD), |&other| other == key);
        Ok(true)
    }
}

impl ColumnRuns {
    /// The array of a run, and which of its elements are meant.
    #[inline]
    fn find<'py>(
        &self,
        py: Python<'py>,
        span: impl FnOnce(&State) -> Option<(i64, i64)>,
    ) -> Option<(Bound<'py, PyAny>, i64, i64)> {
        // Declared first, hence dropped last: not while the lock is held.
        let mut outdated = None;
        let mut state = self.cache.get().current(py, &mut outdated)?;
        let found = span(&state).and_then(|(start, stop)| {
            let number = start / self.per_run;
            let Some(Run::Kept(array, count)) = state.run((self.column, number)) else { return None };
            let first = number * self.per_run;
            // Only the last run has fewer: the column ends with it.
            let end = if *count < self.per_run { stop.min(first + count) } else { stop };
            let from = start.min(first + count) - first;
            (end <= first + count).then(|| (array.bind(py).clone(), from, (end - first).max(from)))
        });
        state.count(found)
    }

    /// The elements that a slice means; None if the length has to be known for that and is not.
    #[inline]
    fn span(&self, state: &State, start: i64, stop: Option<i64>) -> Option<(i64, i64)> {
        if let Some(stop) = stop
            && start >= 0
            && stop >= 0
        {
            return Some((start, stop.max(start)));
        }
        let length = *state.lengths.get(&self.column)?;
        let place =
            |index: i64| if index < 0 { index.saturating_add(length).max(0) } else { index.min(length) };
        let start = place(start);
        Some((start, stop.map_or(length, place).max(start)))
    }
}

/// The `stop` of a slice of one element.
fn next_to(index: i64) -> Option<i64> {
    if index == -1 { None } else { Some(index.saturating_add(1)) }
}
