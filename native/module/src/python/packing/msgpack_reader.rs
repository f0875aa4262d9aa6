//! `MessagePack` as values.

use std::ops::Range;

use kohakuvault_core::packing::msgpack::{Reader, Token};
use kohakuvault_core::packing::{Malformed, extension};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyMemoryView, PyString};

use super::array::array_of;
use super::build::{Builder, Kind};
use super::errors::as_corrupt;
use super::{keys, number, pickle, time};

/// Reads the value that begins at `start` and takes all the rest of `source`.
#[inline]
pub(super) fn read<'py>(
    source: &Bound<'py, PyBytes>,
    start: usize,
    allow_pickle: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let end = source.as_bytes().len();
    match read_first(source, start..end, allow_pickle)? {
        (value, stop) if stop == end => Ok(value),
        (_, stop) => Err(as_corrupt(source.py(), "MessagePack", bytes_follow(end - stop))),
    }
}

/// Reads the value that a part of `source` begins with; also where it ends.
#[inline]
pub(super) fn read_first<'py>(
    source: &Bound<'py, PyBytes>,
    place: Range<usize>,
    allow_pickle: bool,
) -> PyResult<(Bound<'py, PyAny>, usize)> {
    read_value(source, place, allow_pickle).map_err(|error| as_corrupt(source.py(), "MessagePack", error))
}

#[cold]
pub(super) fn bytes_follow(count: usize) -> PyErr {
    PyValueError::new_err(format!("{count} bytes follow the value"))
}

#[cold]
pub(super) fn malformed(error: Malformed) -> PyErr {
    PyValueError::new_err(error.0)
}

fn read_value<'py>(
    source: &Bound<'py, PyBytes>,
    place: Range<usize>,
    allow_pickle: bool,
) -> PyResult<(Bound<'py, PyAny>, usize)> {
    let py = source.py();
    let stop = place.end;
    let mut reader = Reader::new(source.as_bytes().get(place).unwrap_or_default());
    let mut builder = Builder::new(py);
    loop {
        let complete = match reader.next_token().map_err(malformed)? {
            Token::Text(bytes) if builder.wants_key() => Some(keys::key(py, bytes)?.into_any()),
            Token::Text(bytes) => Some(PyString::from_bytes(py, bytes)?.into_any()),
            Token::Int(number) => Some(number.into_pyobject(py)?.into_any()),
            Token::Float(number) => Some(PyFloat::new(py, number).into_any()),
            Token::Nil => Some(py.None().into_bound(py)),
            Token::Bool(value) => Some(PyBool::new(py, value).to_owned().into_any()),
            Token::Map(count) => {
                builder.open(Kind::Dict { dict: PyDict::new(py), key: None }, Some(count))?
            }
            Token::Array(count) => match if count > 0 { reader.mark() } else { None } {
                None => builder.open(Kind::List, Some(count))?,
                Some(extension::SET) => builder.open(Kind::Set, Some(count - 1))?,
                Some(extension::FROZENSET) => builder.open(Kind::FrozenSet, Some(count - 1))?,
                Some(_) => builder.open(Kind::Tuple, Some(count - 1))?,
            },
            Token::Bytes(bytes) => Some(PyBytes::new(py, bytes).into_any()),
            Token::UInt(number) => Some(number.into_bound_py_any(py)?),
            Token::Extension(kind, payload) => {
                let end = stop - reader.remaining();
                match kind {
                    extension::ARRAY => Some(array_of(source, end - payload.len()..end, false)?),
                    extension::SCALAR => Some(array_of(source, end - payload.len()..end, true)?),
                    extension::PICKLE => Some(pickle::loads(py, payload, allow_pickle)?),
                    _ => Some(extension_of(py, kind, payload)?),
                }
            }
        };
        if let Some(value) = complete
            && let Some(outermost) = builder.add(value)?
        {
            return Ok((outermost, stop - reader.remaining()));
        }
    }
}

fn extension_of<'py>(py: Python<'py>, kind: i8, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match kind {
        extension::INT => number::int_of(py, payload),
        extension::COMPLEX => number::complex_of(py, payload),
        extension::DECIMAL => number::decimal_of(py, payload),
        extension::FRACTION => number::fraction_of(py, payload),
        extension::UUID => number::uuid_of(py, payload),
        extension::DATE => time::date_of(py, payload),
        extension::TIME => time::time_of(py, payload),
        extension::DATETIME => time::datetime_of(py, payload),
        extension::TIMEDELTA => time::timedelta_of(py, payload),
        extension::ZONE => time::only_zone_of(py, payload),
        extension::TIMESTAMP => time::timestamp_of(py, payload),
        extension::BYTEARRAY => Ok(PyByteArray::new(py, payload).into_any()),
        extension::MEMORYVIEW => Ok(PyMemoryView::from(PyBytes::new(py, payload).as_any())?.into_any()),
        extension::TUPLE | extension::SET | extension::FROZENSET => {
            Err(PyValueError::new_err("the mark of a container outside of an array's first place"))
        }
        _ => Err(PyValueError::new_err(format!("unknown extension type {kind}"))),
    }
}
