//! `Gather`: a buffer into which the SQL function `kv_gather` copies the elements of blocks.

use std::sync::Arc;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;

use super::errors::{type_error, type_name, value_error};
use crate::gathering::Gathering;

#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct Gather {
    gathering: Arc<Gathering>,
    /// Keeps the memory where it is.
    _buffer: PyUntypedBuffer,
}

#[pymethods]
impl Gather {
    #[new]
    #[pyo3(signature = (buffer, item_size, start))]
    fn new(buffer: &Bound<'_, PyAny>, item_size: usize, start: i64) -> PyResult<Self> {
        let exported = PyUntypedBuffer::get(buffer).map_err(|error| {
            type_error(format!("a buffer is needed; {} given: {error}", type_name(buffer)))
        })?;
        if exported.readonly() || !exported.is_c_contiguous() {
            return Err(PyBufferError::new_err("the buffer cannot be written to, or has gaps"));
        }
        let size = exported.len_bytes();
        if item_size == 0 || !size.is_multiple_of(item_size) {
            return Err(value_error(format!(
                "a buffer of {size} bytes; expected a multiple of the item size, {item_size}"
            )));
        }
        if start < 0 {
            return Err(value_error(format!("start {start}; expected the index of an element")));
        }
        // SAFETY: the buffer is exported, writable and contiguous, and released by `drop` after `close`.
        let gathering = unsafe { Gathering::new(exported.buf_ptr().cast(), size, item_size, start) };
        let gathering = gathering
            .ok_or_else(|| value_error(format!("start {start}; the last index would exceed 2^63 - 1")))?;
        Ok(Self { gathering, _buffer: exported })
    }

    #[getter]
    fn token(&self) -> i64 {
        self.gathering.token
    }

    fn has_once(&self, start: i64, stop: i64) -> bool {
        self.gathering.has_once(&(start..stop))
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        // A copy takes microseconds, and whoever makes it waits for nothing.
        self.gathering.close();
    }
}
