//! `WriteBuffer`: `kohakuvault_core::waiting` of Python's keys and values.
//!
//! No Python code runs under the mutex, nor is anything made there that could set off a garbage collection, which
//! might write to the same buffer: values are packed before, tuples and lists made after.

use std::cell::Cell;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kohakuvault_core::rows::{self, Key};
use kohakuvault_core::waiting::{Row, Waiting};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList, PyString};

use super::face::pack_to;
use super::kv_key;
use super::rows::Failed;

/// What an entry counts beside its row: its place in the tables, and room for rows that were replaced.
const OVERHEAD: usize = 200;

/// Larger rows are given back when they are taken.
const KEPT: usize = 1 << 16;

thread_local! {
    static ROW: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Default)]
struct State {
    waiting: Waiting,
    /// `put` takes what keeps the size within this.
    limit: usize,
}

#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct WriteBuffer {
    state: Mutex<State>,
}

/// An entry with the value packed: what `put_stored` takes.
type Entry<'py> = (Bound<'py, PyAny>, Bound<'py, PyBytes>, Option<f64>);

/// Where the next page begins, rows of one, or entries.
type Page<'py> = (usize, Option<Bound<'py, PyBytes>>, Option<Bound<'py, PyList>>);

#[pymethods]
impl WriteBuffer {
    #[new]
    fn new() -> Self {
        Self { state: Mutex::default() }
    }

    /// Says how large `put` may make it.
    #[pyo3(signature = (limit, /))]
    fn admit(&self, py: Python<'_>, limit: usize) {
        self.lock(py).limit = limit;
    }

    /// Packs a value and lets it wait, if something waits already and the limit allows; whether it does.
    #[pyo3(signature = (key, value, expires_at, allow_pickle, /))]
    fn put(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        expires_at: Option<f64>,
        allow_pickle: bool,
    ) -> PyResult<bool> {
        let (row, length) = row_of(key, |out| pack_to(out, value, allow_pickle))?;
        let hash = hash_of(key)?;
        let taken = {
            let mut state = self.lock(key.py());
            let limit = state.limit;
            !state.waiting.is_empty() && state.set(hash, Row { bytes: &row, key: length, expires_at }, limit)
        };
        give_back(row);
        Ok(taken)
    }

    /// Lets a packed value wait if the size stays within `limit`; whether it does.
    #[pyo3(signature = (key, packed, expires_at, limit, /))]
    fn insert(
        &self,
        key: &Bound<'_, PyAny>,
        packed: &Bound<'_, PyBytes>,
        expires_at: Option<f64>,
        limit: usize,
    ) -> PyResult<bool> {
        let (row, length) = row_of(key, |out| {
            out.extend_from_slice(packed.as_bytes());
            Ok(())
        })?;
        let hash = hash_of(key)?;
        let taken = self.lock(key.py()).set(hash, Row { bytes: &row, key: length, expires_at }, limit);
        give_back(row);
        Ok(taken)
    }

    /// The packed value of a key, and when it expires.
    #[pyo3(signature = (key, /))]
    fn get<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<(Bound<'py, PyBytes>, Option<f64>)>> {
        let py = key.py();
        let Ok(read) = kv_key::read(key) else { return Ok(None) };
        let mut encoded = ROW.take();
        encoded.clear();
        if rows::write_key(&mut encoded, read).is_err() {
            return Ok(None);
        }
        let hash = hash_of(key)?;
        let found = {
            let state = self.lock(py);
            let row = state.waiting.get(hash, &encoded);
            row.map(|row| (PyBytes::new(py, row.value()), row.expires_at))
        };
        give_back(encoded);
        Ok(found)
    }

    /// The entries from a number on, of about `size` bytes.
    #[pyo3(signature = (start, size, as_rows, /))]
    fn page<'py>(&self, py: Python<'py>, start: usize, size: usize, as_rows: bool) -> PyResult<Page<'py>> {
        let mut some: Vec<(Vec<u8>, usize, Option<f64>)> = Vec::new();
        let mut next = start;
        {
            let state = self.lock(py);
            let waiting = &state.waiting;
            if as_rows {
                let (end, bytes) = waiting.lasting(start, size);
                if end > start {
                    return Ok((end, Some(rows_between(py, waiting, start..end, bytes)?), None));
                }
            }
            let mut bytes = 0;
            while let Some(row) = waiting.row(next)
                && bytes < size
                && (next == start || !as_rows || row.expires_at.is_some())
            {
                bytes += row.bytes.len();
                some.push((row.bytes.to_vec(), row.key, row.expires_at));
                next += 1;
            }
        }
        if some.is_empty() {
            return Ok((next, None, None));
        }
        let entries: PyResult<Vec<Entry<'_>>> = some
            .iter()
            .map(|(bytes, key, expires_at)| {
                let row = Row { bytes, key: *key, expires_at: *expires_at };
                Ok((key_of(py, row)?, PyBytes::new(py, row.value()), *expires_at))
            })
            .collect();
        Ok((next, None, Some(PyList::new(py, entries?)?)))
    }

    /// Forgets every entry; how many there were.
    fn clear(&self, py: Python<'_>) -> usize {
        let mut state = self.lock(py);
        let count = state.waiting.len();
        state.waiting.clear();
        count
    }

    #[getter]
    fn entries(&self, py: Python<'_>) -> usize {
        self.lock(py).waiting.len()
    }

    /// Memory that the entries take, about.
    #[getter]
    fn bytes(&self, py: Python<'_>) -> usize {
        self.lock(py).size()
    }
}

impl State {
    fn size(&self) -> usize {
        self.waiting.bytes() + self.waiting.len() * OVERHEAD
    }

    #[inline]
    fn set(&mut self, hash: u64, row: Row<'_>, limit: usize) -> bool {
        let fits = self.size() + row.bytes.len() + OVERHEAD <= limit;
        if fits {
            self.waiting.set(hash, row);
        }
        fits
    }
}

impl WriteBuffer {
    #[inline]
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row, and the length of its key. Packing may run Python code that comes here again: that finds another buffer.
#[inline]
fn row_of(
    key: &Bound<'_, PyAny>,
    write: impl FnOnce(&mut Vec<u8>) -> PyResult<()>,
) -> PyResult<(Vec<u8>, usize)> {
    let read = kv_key::read(key)?;
    let mut row = ROW.take();
    row.clear();
    rows::write_key(&mut row, read).map_err(|error| Failed::from(error).0)?;
    let length = row.len();
    rows::write_value(&mut row, |out| write(out).map_err(Failed)).map_err(|Failed(error)| error)?;
    Ok((row, length))
}

#[inline]
fn give_back(row: Vec<u8>) {
    if row.capacity() <= KEPT {
        ROW.set(row);
    }
}

/// The hash of a key, which is exactly `str`, `bytes` or `int`: none of their hashes runs code of the user's.
#[inline]
fn hash_of(key: &Bound<'_, PyAny>) -> PyResult<u64> {
    key.hash().map(|hash| hash.cast_unsigned() as u64)
}

fn rows_between<'py>(
    py: Python<'py>,
    waiting: &Waiting,
    numbers: Range<usize>,
    bytes: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut head = Vec::new();
    rows::begin(&mut head, true);
    PyBytes::new_with(py, head.len() + bytes, |out| {
        let parts = numbers.filter_map(|number| waiting.row(number)).map(|row| row.bytes);
        let mut rest = out;
        for part in std::iter::once(&head[..]).chain(parts) {
            // The lengths add up to that of the whole.
            let Some((to, after)) = rest.split_at_mut_checked(part.len()) else { break };
            to.copy_from_slice(part);
            rest = after;
        }
        Ok(())
    })
}

fn key_of<'py>(py: Python<'py>, row: Row<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match rows::read_key(row.bytes) {
        Some(Key::Int(number)) => number.into_pyobject(py)?.into_any(),
        Some(Key::Text(text)) => PyString::new(py, text).into_any(),
        Some(Key::Blob(bytes)) => PyBytes::new(py, bytes).into_any(),
        None => return Err(PyRuntimeError::new_err("a row was not written")),
    })
}
