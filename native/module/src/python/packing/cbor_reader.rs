//! CBOR as values.

use std::ops::Range;

use kohakuvault_core::packing::cbor::{Reader, Token};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyString};

use super::build::{Builder, Kind};
use super::cbor_writer::{NEGATIVE_BIG_INT, POSITIVE_BIG_INT, SET};
use super::errors::as_corrupt;
use super::msgpack_reader::{bytes_follow, malformed};
use super::{keys, number};

/// Reads the value that begins at `start` and takes all the rest of `source`.
pub(super) fn read<'py>(source: &Bound<'py, PyBytes>, start: usize) -> PyResult<Bound<'py, PyAny>> {
    let end = source.as_bytes().len();
    match read_first(source, start..end)? {
        (value, stop) if stop == end => Ok(value),
        (_, stop) => Err(as_corrupt(source.py(), "CBOR", bytes_follow(end - stop))),
    }
}

/// Reads the value that a part of `source` begins with; also where it ends.
pub(super) fn read_first<'py>(
    source: &Bound<'py, PyBytes>,
    place: Range<usize>,
) -> PyResult<(Bound<'py, PyAny>, usize)> {
    read_value(source, place).map_err(|error| as_corrupt(source.py(), "CBOR", error))
}

fn read_value<'py>(
    source: &Bound<'py, PyBytes>,
    place: Range<usize>,
) -> PyResult<(Bound<'py, PyAny>, usize)> {
    let py = source.py();
    let stop = place.end;
    let mut reader = Reader::new(source.as_bytes().get(place).unwrap_or_default());
    let mut builder = Builder::new(py);
    loop {
        let complete = match reader.next_token().map_err(malformed)? {
            Token::Text(bytes) if builder.wants_key() => Some(keys::key(py, &bytes)?.into_any()),
            Token::Text(bytes) => Some(PyString::from_bytes(py, &bytes)?.into_any()),
            Token::Bytes(bytes) => Some(PyBytes::new(py, &bytes).into_any()),
            Token::UInt(number) => Some(number.into_pyobject(py)?.into_any()),
            Token::Negative(number) => Some((-1 - i128::from(number)).into_bound_py_any(py)?),
            Token::Float(number) => Some(PyFloat::new(py, number).into_any()),
            Token::Null => Some(py.None().into_bound(py)),
            Token::Bool(value) => Some(PyBool::new(py, value).to_owned().into_any()),
            Token::Map(count) => builder.open(Kind::Dict { dict: PyDict::new(py), key: None }, count)?,
            // As cbor2 does: what has to be hashable is a tuple.
            Token::Array(count) if builder.wants_hashable() => builder.open(Kind::Tuple, count)?,
            Token::Array(count) => builder.open(Kind::List, count)?,
            Token::Tag(tag @ (POSITIVE_BIG_INT | NEGATIVE_BIG_INT)) => {
                let Token::Bytes(bytes) = reader.next_token().map_err(malformed)? else {
                    return Err(PyValueError::new_err("a big int is not bytes"));
                };
                Some(number::unsigned_of(py, &bytes, tag == NEGATIVE_BIG_INT)?)
            }
            Token::Tag(SET) => {
                let Token::Array(count) = reader.next_token().map_err(malformed)? else {
                    return Err(PyValueError::new_err("a set is not an array"));
                };
                builder.open(if builder.wants_hashable() { Kind::FrozenSet } else { Kind::Set }, count)?
            }
            Token::Tag(tag) => builder.open(Kind::Tag(tag), Some(1))?,
            Token::Break => Some(builder.close()?),
        };
        if let Some(value) = complete
            && let Some(outermost) = builder.add(value)?
        {
            return Ok((outermost, stop - reader.remaining()));
        }
    }
}
