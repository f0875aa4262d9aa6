//! `PageScan`: the keys and values that the SQL function `kv_collect` collected, as Python objects.

use std::sync::{Arc, Mutex, PoisonError};

use kohakuvault_core::packing::tag;
use kohakuvault_core::page::{Cell, Page};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyList, PyString, PyTuple};

use super::errors::{corrupt, invalid, short};
use super::{face, number};
use crate::scan::Scan;

/// Memory that is kept for the next page, as a multiple of the size of one.
const KEPT: usize = 4;

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Keys,
    Values,
    Items,
}

/// What Python reads now.
#[derive(Default)]
struct Reading {
    page: Page,
    next: usize,
}

#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct PageScan {
    scan: Arc<Scan>,
    form: Form,
    size: usize,
    reading: Mutex<Reading>,
}

/// Entries, and a key and a stored value that are left to Python.
type Entries<'py> = (Bound<'py, PyList>, Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>);

enum Entry<'py> {
    Read(Bound<'py, PyAny>),
    Left(Bound<'py, PyAny>, Bound<'py, PyAny>),
}

#[pymethods]
impl PageScan {
    #[new]
    #[pyo3(signature = (form, rows, most, size))]
    fn new(py: Python<'_>, form: &str, rows: usize, most: usize, size: usize) -> PyResult<Self> {
        let form = match form {
            "keys" => Form::Keys,
            "values" => Form::Values,
            "items" => Form::Items,
            _ => return Err(invalid(py, format!("{form:?}: expected 'keys', 'values' or 'items'"))),
        };
        Ok(Self { scan: Scan::new(rows.max(1), most.max(1), size), form, size, reading: Mutex::default() })
    }

    #[getter]
    fn token(&self) -> i64 {
        self.scan.token
    }

    /// Take the next entries.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Entries<'py>>> {
        // Taken out, as no Python code may run while the mutex is held, and making objects may run some.
        let mut reading = std::mem::take(&mut *self.locked(py));
        if reading.next >= reading.page.len() {
            reading.page.clear(self.size.saturating_mul(KEPT));
            reading.next = 0;
            self.scan.take(&mut reading.page);
        }
        if reading.page.is_empty() {
            return Ok(None);
        }
        let entries = self.read(py, &mut reading);
        *self.locked(py) = reading;
        entries.map(Some)
    }
}

impl PageScan {
    fn locked(&self, py: Python<'_>) -> std::sync::MutexGuard<'_, Reading> {
        self.reading.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn read<'py>(&self, py: Python<'py>, reading: &mut Reading) -> PyResult<Entries<'py>> {
        let mut entries = Vec::with_capacity(reading.page.len() - reading.next);
        let mut left = None;
        while let Some((key, value)) = reading.page.get(reading.next)
            && left.is_none()
        {
            match self.entry(py, key, value) {
                Ok(Entry::Read(entry)) => entries.push(entry),
                Ok(Entry::Left(key, value)) => left = Some((key, value)),
                // What was read so far comes first; then this row is read again.
                Err(error) if !entries.is_empty() && error.is_instance_of::<PyException>(py) => break,
                Err(error) => {
                    reading.next += 1;
                    return Err(error);
                }
            }
            reading.next += 1;
        }
        Ok((PyList::new(py, entries)?, left))
    }

    #[inline]
    fn entry<'py>(&self, py: Python<'py>, key: Cell<'_>, value: Cell<'_>) -> PyResult<Entry<'py>> {
        if let Cell::Null | Cell::Float(_) = key {
            return Err(corrupt(
                py,
                format!(
                    "the key {} of a row is of a type that no key has: something else wrote it. check() finds all such \
                     rows",
                    short(&object(py, key, "key")?)
                ),
            ));
        }
        if self.form == Form::Keys {
            return object(py, key, "key").map(Entry::Read);
        }
        let unpacked = match value {
            Cell::Blob(packed) => unpack(py, packed)?,
            _ => None,
        };
        Ok(match unpacked {
            None => Entry::Left(object(py, key, "key")?, object(py, value, "value")?),
            Some(value) if self.form == Form::Values => {
                if let Cell::Text(text) = key {
                    utf8(py, text, "key")?;
                }
                Entry::Read(value)
            }
            Some(value) => Entry::Read(PyTuple::new(py, [object(py, key, "key")?, value])?.into_any()),
        })
    }
}

/// What the driver would make of it.
#[inline]
fn object<'py>(py: Python<'py>, cell: Cell<'_>, what: &str) -> PyResult<Bound<'py, PyAny>> {
    Ok(match cell {
        Cell::Null => py.None().into_bound(py),
        Cell::Int(number) => number.into_pyobject(py)?.into_any(),
        Cell::Float(number) => PyFloat::new(py, number).into_any(),
        Cell::Text(text) => PyString::new(py, utf8(py, text, what)?).into_any(),
        Cell::Blob(blob) => PyBytes::new(py, blob).into_any(),
    })
}

#[inline]
fn utf8<'text>(py: Python<'_>, text: &'text [u8], what: &str) -> PyResult<&'text str> {
    str::from_utf8(text).map_err(|error| {
        let text = short(&PyBytes::new(py, text));
        corrupt(py, format!("stored {what} {text} is a text that is not valid UTF-8: {error}"))
    })
}

/// The value that `pack` made some bytes from. `None` where it is not a plain value, or none at all.
#[inline]
fn unpack<'py>(py: Python<'py>, packed: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some((&first, payload)) = packed.split_first() else { return Ok(None) };
    Ok(Some(match first {
        tag::BYTES => PyBytes::new(py, payload).into_any(),
        tag::TEXT => match str::from_utf8(payload) {
            Ok(text) => PyString::new(py, text).into_any(),
            Err(_) => return Ok(None),
        },
        tag::NONE if payload.is_empty() => py.None().into_bound(py),
        tag::FALSE if payload.is_empty() => PyBool::new(py, false).to_owned().into_any(),
        tag::TRUE if payload.is_empty() => PyBool::new(py, true).to_owned().into_any(),
        tag::INT if !payload.is_empty() => number::int_of(py, payload)?,
        tag::FLOAT => match <[u8; 8]>::try_from(payload) {
            Ok(bytes) => PyFloat::new(py, f64::from_le_bytes(bytes)).into_any(),
            Err(_) => return Ok(None),
        },
        tag::MSGPACK | tag::CBOR | tag::JSON | tag::ARRAY | tag::SCALAR => {
            match face::unpack(PyBytes::new(py, packed).as_any(), false) {
                Ok(value) => value,
                // Damaged, or with a pickle in it.
                Err(error) if error.is_instance_of::<PyException>(py) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        // What may run code, what is not a value by itself, and what is unknown.
        _ => return Ok(None),
    }))
}
