//! `ColumnBuffer`: `kohakuvault_core::pending` of Python's values.
//!
//! Values are packed before the mutex is locked, and no tuple or list is made under it: either could run Python code,
//! which might write to the same buffer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kohakuvault_core::dtype::Dtype;
use kohakuvault_core::pending::Pending;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;

use super::errors::{Place, value_error};
use super::number::{Number, by_scalar, read};
use super::pack::pack_one;
use crate::sqlite::wal_index;

/// Packed elements that wait to be appended to columns.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct ColumnBuffer {
    forks: u32,
    pending: Mutex<Pending>,
}

/// A column's id, and the count and stream of what waits for it.
type Stream<'py> = (i64, usize, Bound<'py, PyBytes>);

#[pymethods]
impl ColumnBuffer {
    #[new]
    fn new() -> Self {
        Self { forks: wal_index::forks(), pending: Mutex::default() }
    }

    /// Says how large it may become by `ColumnSlot.append`: in general, and of some columns.
    #[pyo3(signature = (limit, own = Vec::new(), /))]
    fn admit(&self, py: Python<'_>, limit: usize, own: Vec<(i64, usize)>) {
        if let Some(mut pending) = self.lock(py) {
            pending.admit(limit, own);
        }
    }

    /// What takes the elements of a column.
    #[pyo3(signature = (column_id, dtype, /))]
    fn slot(slf: &Bound<'_, Self>, column_id: i64, dtype: &str) -> PyResult<ColumnSlot> {
        let dtype: Dtype = dtype.parse().map_err(value_error)?;
        let place = slf.get().lock(slf.py()).map_or(usize::MAX, |mut pending| pending.place(column_id));
        Ok(ColumnSlot { buffer: slf.clone().unbind(), dtype, place })
    }

    /// What waits for each column, in the order of their ids.
    fn streams<'py>(&self, py: Python<'py>) -> Vec<Stream<'py>> {
        let mut streams: Vec<Stream<'_>> = Vec::new();
        if let Some(pending) = self.lock(py) {
            streams
                .extend(pending.streams().map(|(id, count, stream)| (id, count, PyBytes::new(py, stream))));
        }
        streams.sort_unstable_by_key(|(id, ..)| *id);
        streams
    }

    /// Forgets every element; how many bytes they had.
    fn clear(&self, py: Python<'_>) -> usize {
        self.lock(py).map_or(0, |mut pending| pending.clear())
    }

    #[getter]
    fn entries(&self, py: Python<'_>) -> usize {
        self.lock(py).map_or(0, |pending| pending.count())
    }

    #[getter]
    fn bytes(&self, py: Python<'_>) -> usize {
        self.lock(py).map_or(0, |pending| pending.bytes())
    }
}

impl ColumnBuffer {
    /// None in a forked child, where another thread may have held the lock.
    #[inline]
    fn lock(&self, py: Python<'_>) -> Option<MutexGuard<'_, Pending>> {
        let mine = self.forks == wal_index::forks();
        mine.then(|| self.pending.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }
}

/// What takes the elements of one column.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct ColumnSlot {
    buffer: Py<ColumnBuffer>,
    dtype: Dtype,
    place: usize,
}

#[pymethods]
impl ColumnSlot {
    /// Packs an element and lets it wait, if something waits already and the limit allows; whether it does. False for
    /// what is no element too.
    #[pyo3(signature = (value, /))]
    fn append(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let taken = match self.dtype {
            Dtype::Scalar(scalar) => by_scalar!(scalar, T => read::<T>(value, Place::Only)
                .map(|number| self.push(value.py(), number.to_bytes().as_ref()))),
            _ => pack_one(&self.dtype, value).map(|packed| self.push(value.py(), packed.as_bytes())),
        };
        taken.or_else(|error| if is_refusal(value.py(), &error) { Ok(false) } else { Err(error) })
    }

    /// Lets packed elements, a stream of them, wait if the size stays within `limit`; whether it does.
    #[pyo3(signature = (count, stream, limit, /))]
    fn insert(&self, count: usize, stream: &Bound<'_, PyBytes>, limit: usize) -> bool {
        let pending = self.buffer.get().lock(stream.py());
        pending.is_some_and(|mut pending| pending.push(self.place, count, [stream.as_bytes()], Some(limit)))
    }

    /// Bytes that wait for this column.
    #[getter]
    fn bytes(&self, py: Python<'_>) -> usize {
        self.buffer.get().lock(py).map_or(0, |pending| pending.bytes_of(self.place))
    }
}

impl ColumnSlot {
    #[inline]
    fn push(&self, py: Python<'_>, element: &[u8]) -> bool {
        let Some(mut pending) = self.buffer.get().lock(py) else { return false };
        if pending.count() == 0 {
            return false;
        }
        match self.dtype.item_size() {
            Some(_) => pending.push(self.place, 1, [element], None),
            None => pending.push_sized(self.place, element, None),
        }
    }
}

/// Whether an error says that a value is not of the dtype, and not that something else happened.
fn is_refusal(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyValueError>(py)
        || error.is_instance_of::<PyOverflowError>(py)
}
