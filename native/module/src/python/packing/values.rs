//! Values in the formats that dtypes name: appended to bytes, and read from a part of them. No pickles.

use std::ops::Range;

use kohakuvault_core::dtype::Format;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::as_corrupt;
use super::face::collect;
use super::msgpack_reader::bytes_follow;
use super::walk::walk_within;
use super::{cbor_reader, cbor_writer, json, json_writer, msgpack_reader, msgpack_writer};

/// Appends a value that is nested at most so deep, JSON at most 100 deep. After an error the end is undefined.
#[inline]
pub(crate) fn append(
    format: Format,
    value: &Bound<'_, PyAny>,
    max_depth: usize,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    match format {
        Format::MsgPack => {
            walk_within(&mut msgpack_writer::Writer { out, allow_pickle: false }, value, max_depth)
        }
        Format::Cbor => walk_within(&mut cbor_writer::Writer { out }, value, max_depth),
        Format::Json => json_writer::append(out, value),
    }
}

/// A value as new bytes.
pub(crate) fn pack<'py>(
    format: Format,
    value: &Bound<'py, PyAny>,
    max_depth: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    collect(value.py(), |out| append(format, value, max_depth, out))
}

/// Reads the value that takes all of a part of `source`.
#[inline]
pub(crate) fn read<'py>(
    format: Format,
    source: &Bound<'py, PyBytes>,
    place: Range<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let end = place.end;
    match read_first(format, source, place)? {
        (value, stop) if stop == end => Ok(value),
        (_, stop) => Err(as_corrupt(source.py(), format.name(), bytes_follow(end - stop))),
    }
}

/// Reads the value that a part of `source` begins with; also where it ends. JSON takes all of it.
#[inline]
pub(crate) fn read_first<'py>(
    format: Format,
    source: &Bound<'py, PyBytes>,
    place: Range<usize>,
) -> PyResult<(Bound<'py, PyAny>, usize)> {
    match format {
        Format::MsgPack => msgpack_reader::read_first(source, place, false),
        Format::Cbor => cbor_reader::read_first(source, place),
        Format::Json => {
            let end = place.end;
            let payload = source.as_bytes().get(place).unwrap_or_default();
            Ok((json::loads(source.py(), payload)?, end))
        }
    }
}
