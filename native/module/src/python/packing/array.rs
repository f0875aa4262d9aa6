//! `numpy` arrays and scalars, whose bytes Python's side describes (`kohakuvault.array_payload`).

use std::ops::Range;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::buffer::Array;
use super::classes::classes;

/// The payload of an array or scalar: dtype and shape, and the items in C order.
pub(super) struct Parts<'py> {
    header: Bound<'py, PyBytes>,
    items: Array<'py>,
}

impl<'py> Parts<'py> {
    /// `None` for a dtype that only pickle can store, if it may.
    pub(super) fn of(value: &Bound<'py, PyAny>, allow_pickle: bool) -> PyResult<Option<Self>> {
        let parts = classes(value.py())?.array_parts.bind(value.py()).call1((value, allow_pickle))?;
        let parts: Option<(Bound<'py, PyBytes>, Bound<'py, PyAny>)> = parts.extract()?;
        let Some((header, items)) = parts else { return Ok(None) };
        Ok(Some(Self { header, items: Array::of(&items)? }))
    }

    pub(super) fn len(&self) -> usize {
        self.header.as_bytes().len() + self.items.bytes().len()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.header.as_bytes());
        out.extend_from_slice(self.items.bytes());
    }

    /// The payload in two parts.
    pub(super) fn payload(&self) -> [&[u8]; 2] {
        [self.header.as_bytes(), self.items.bytes()]
    }
}

/// The array, or the scalar, whose payload is a part of some bytes.
pub(super) fn array_of<'py>(
    source: &Bound<'py, PyBytes>,
    place: Range<usize>,
    scalar: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = source.py();
    classes(py)?.array_of.bind(py).call1((source, place.start, place.end, scalar))
}
