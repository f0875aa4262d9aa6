//! Rows for the SQL table `kv_rows`: `kohakuvault_core::rows` of Python's keys and values.

use kohakuvault_core::rows::{self, TooLong};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::errors::{clipped, invalid, kind, unsupported};
use super::face::{Form, pack_as, pack_to};
use super::kv_key;

/// A failure while a row is written.
pub(super) struct Failed(pub(super) PyErr);

impl From<TooLong> for Failed {
    fn from(error: TooLong) -> Self {
        Self(PyValueError::new_err(error.to_string()))
    }
}

/// How values are packed.
#[derive(Clone, Copy)]
enum Packing {
    Auto,
    As(Form),
    /// They are.
    Done,
}

/// A buffer, and the pair that is too large for one.
type Filled<'py> = (Option<Bound<'py, PyBytes>>, Option<Bound<'py, PyTuple>>);

/// Keys and values from an iterable, until the buffer has `size` bytes.
///
/// The value that is larger than that by itself is not in the buffer; its pair is the second result, behind the rows
/// in the buffer.
#[pyfunction]
#[pyo3(signature = (pairs, size, allow_pickle = false, encoding = None, packed = false))]
pub(crate) fn pack_rows<'py>(
    pairs: &Bound<'py, PyAny>,
    size: usize,
    allow_pickle: bool,
    encoding: Option<&str>,
    packed: bool,
) -> PyResult<Filled<'py>> {
    let py = pairs.py();
    let packing = match (packed, encoding) {
        (true, _) => Packing::Done,
        (false, Some(encoding)) => Packing::As(Form::of(py, encoding)?),
        (false, None) => Packing::Auto,
    };
    let mut out = Vec::with_capacity(size.min(ROOM));
    rows::begin(&mut out, true);
    let head = out.len();
    for pair in pairs.try_iter()? {
        let pair = pair?;
        let start = out.len();
        let entry = entry_of(&pair)?;
        let (key, value) = (entry.get_borrowed_item(0)?, entry.get_borrowed_item(1)?);
        rows::write_key(&mut out, kv_key::read(&key)?).map_err(|error| Failed::from(error).0)?;
        rows::write_value(&mut out, |out| write(out, &value, packing, allow_pickle).map_err(Failed))
            .map_err(|Failed(error)| error)?;
        if out.len() - start > size {
            out.truncate(start);
            return Ok((bytes_of(py, &out, head), Some(entry)));
        }
        if out.len() >= size {
            break;
        }
    }
    Ok((bytes_of(py, &out, head), None))
}

/// Keys from an iterable, until the buffer has `size` bytes. `None`: there are none.
#[pyfunction]
#[pyo3(signature = (keys, size))]
pub(crate) fn pack_keys<'py>(keys: &Bound<'py, PyAny>, size: usize) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let mut out = Vec::with_capacity(size.min(ROOM));
    rows::begin(&mut out, false);
    let head = out.len();
    for key in keys.try_iter()? {
        let key = key?;
        rows::write_key(&mut out, kv_key::read(&key)?).map_err(|error| Failed::from(error).0)?;
        if out.len() >= size {
            break;
        }
    }
    Ok(bytes_of(keys.py(), &out, head))
}

/// What is set aside for a buffer at first; it grows as it is filled.
const ROOM: usize = 1 << 16;

fn bytes_of<'py>(py: Python<'py>, out: &[u8], head: usize) -> Option<Bound<'py, PyBytes>> {
    (out.len() > head).then(|| PyBytes::new(py, out))
}

#[inline]
fn write(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, packing: Packing, allow_pickle: bool) -> PyResult<()> {
    match packing {
        Packing::Auto => pack_to(out, value, allow_pickle),
        Packing::As(form) => pack_as(out, value, form, allow_pickle),
        Packing::Done => match value.cast_exact::<PyBytes>() {
            Ok(bytes) => {
                out.extend_from_slice(bytes.as_bytes());
                Ok(())
            }
            Err(_) => Err(unsupported(
                value.py(),
                format!("packed values are bytes, not {} of type {}", clipped(value), kind(value)),
            )),
        },
    }
}

/// A pair as a tuple.
#[inline]
fn entry_of<'py>(pair: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    match pair.cast_exact::<PyTuple>() {
        Ok(entry) if entry.len() == 2 => Ok(entry.clone()),
        _ => unpacked(pair),
    }
}

/// Any other iterable of two.
#[cold]
fn unpacked<'py>(pair: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    let py = pair.py();
    let items: PyResult<Vec<_>> = pair.try_iter().and_then(|items| items.take(3).collect());
    let cause = match items {
        Ok(items) if items.len() == 2 => return PyTuple::new(py, items),
        Ok(_) => None,
        Err(error) if error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyValueError>(py) => {
            Some(error)
        }
        Err(error) => return Err(error),
    };
    let invalid = invalid(py, format!("expected pairs of key and value, not {}", clipped(pair)));
    invalid.set_cause(py, cause);
    Err(invalid)
}
