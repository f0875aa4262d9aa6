//! Bytes as values.

use std::ops::Range;

use kohakuvault_core::dtype::{Dtype, Scalar};
use kohakuvault_core::vector::{self, check_bools, type_code};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyTuple};

use super::super::errors::{Place, at};
use super::super::packing::classes::classes;
use super::super::packing::errors::{corrupt, invalid};
use super::super::packing::values;
use super::super::unpack;
use super::layout::{Layout, TYPE_SIZE};
use super::source::{Source, not_enough};

/// The element that the part of the source begins with, or that takes all of it; and where it ends.
pub(super) fn first<'py>(
    layout: &Layout,
    source: &Bound<'py, PyBytes>,
    part: Range<usize>,
) -> PyResult<(Bound<'py, PyAny>, usize)> {
    let py = source.py();
    let end = part.end;
    let bytes = source.as_bytes().get(part.clone()).unwrap_or_default();
    match &layout.dtype {
        Dtype::Value(format) => values::read_first(*format, source, part),
        Dtype::AnyVector(scalar) => {
            let (vector, rest) =
                vector::parse_first(*scalar, bytes).map_err(|problem| damaged(py, &problem))?;
            let array = array(layout, py, &vector.shape, &PyByteArray::new(py, vector.data))?;
            Ok((array, end - rest.len()))
        }
        Dtype::FixedVector(scalar, shape) => {
            let data = data_of(py, *scalar, bytes)?;
            Ok((array(layout, py, shape, &PyByteArray::new(py, data))?, end))
        }
        dtype => unpack::element(py, dtype, bytes).map(|value| (value, end)),
    }
}

/// The element that is the part of the source.
fn whole<'py>(
    layout: &Layout,
    source: &Bound<'py, PyBytes>,
    part: Range<usize>,
    index: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let py = source.py();
    let (length, end) = (part.len(), part.end);
    let read = match layout.size {
        Some(size) if length < size => Err(not_enough(py, size, length)),
        Some(size) if length > size => Err(damaged(py, &format!("{length} bytes; expected {size}"))),
        _ => first(layout, source, part),
    };
    match read {
        Ok((value, stop)) if stop == end => Ok(value),
        Ok((_, stop)) => {
            Err(at(py, Place::Element(index), damaged(py, &format!("{} bytes follow the value", end - stop))))
        }
        Err(error) => Err(at(py, Place::Element(index), error)),
    }
}

/// Elements of one size that stand back to back.
pub(super) fn fixed<'py>(layout: &Layout, source: &Source<'py>, size: usize) -> PyResult<Bound<'py, PyList>> {
    let py = source.bytes.py();
    match layout.numbers() {
        Some((scalar, [])) => unpack::numbers(py, scalar, source.slice()),
        Some((scalar, shape)) => vectors(layout, scalar, shape, source, size),
        None => {
            let elements = source.slice().chunks_exact(size);
            let mut list = Vec::with_capacity(elements.len());
            for (index, element) in elements.enumerate() {
                let value = unpack::element(py, &layout.dtype, element);
                list.push(value.map_err(|error| at(py, Place::Element(index), error))?);
            }
            PyList::new(py, list)
        }
    }
}

/// Elements that the offsets delimit.
pub(super) fn delimited<'py>(
    layout: &Layout,
    source: &Source<'py>,
    ends: &[usize],
) -> PyResult<Bound<'py, PyList>> {
    let mut list = Vec::with_capacity(ends.len().saturating_sub(1));
    for (index, pair) in ends.windows(2).enumerate() {
        if let &[start, end] = pair {
            let part = source.part.start + start..source.part.start + end;
            list.push(whole(layout, &source.bytes, part, index)?);
        }
    }
    PyList::new(source.bytes.py(), list)
}

/// Elements that say themselves where they end: so many, or all that there are.
pub(super) fn self_delimited<'py>(
    layout: &Layout,
    source: &Source<'py>,
    count: Option<usize>,
) -> PyResult<Bound<'py, PyList>> {
    let py = source.bytes.py();
    let Range { mut start, end } = source.part;
    let mut list = Vec::new();
    while count.map_or(start < end, |count| list.len() < count) {
        let place = Place::Element(list.len());
        if start == end {
            return Err(at(py, place, corrupt(py, "Not enough data: the elements before it take all of it")));
        }
        let (value, stop) = first(layout, &source.bytes, start..end).map_err(|error| at(py, place, error))?;
        list.push(value);
        start = stop;
    }
    PyList::new(py, list)
}

/// All vectors in one array, of which each is a row.
fn vectors<'py>(
    layout: &Layout,
    scalar: Scalar,
    shape: &[usize],
    source: &Source<'py>,
    size: usize,
) -> PyResult<Bound<'py, PyList>> {
    let py = source.bytes.py();
    let elements = source.slice().chunks_exact(size);
    let count = elements.len();
    let width = size - TYPE_SIZE;
    let memory = PyByteArray::new_with(py, count * width, |out| {
        for ((index, element), row) in elements.enumerate().zip(out.chunks_exact_mut(width)) {
            let data = data_of(py, scalar, element).map_err(|error| at(py, Place::Element(index), error))?;
            row.copy_from_slice(data);
        }
        Ok(())
    })?;
    let all: Vec<usize> = std::iter::once(count).chain(shape.iter().copied()).collect();
    let rows = array(layout, py, &all, &memory)?;
    Ok(py.get_type::<PyList>().call1((rows,))?.cast_into::<PyList>()?)
}

/// What follows the type of a vector of fixed shape.
fn data_of<'a>(py: Python<'_>, scalar: Scalar, element: &'a [u8]) -> PyResult<&'a [u8]> {
    match element.split_first() {
        Some((&code, data)) if code == type_code(scalar) => {
            if scalar == Scalar::Bool {
                check_bools(data).map_err(|problem| damaged(py, &problem))?;
            }
            Ok(data)
        }
        Some((code, _)) => {
            let expected = type_code(scalar);
            Err(damaged(py, &format!("vector type {code:#04x}; expected {expected:#04x} ({scalar})")))
        }
        None => Err(not_enough(py, TYPE_SIZE, 0)),
    }
}

/// A new array over memory of its own.
fn array<'py>(
    layout: &Layout,
    py: Python<'py>,
    shape: &[usize],
    memory: &Bound<'py, PyByteArray>,
) -> PyResult<Bound<'py, PyAny>> {
    classes(py)?.ndarray.bind(py).call1((PyTuple::new(py, shape)?, layout.numpy(py), memory))
}

#[cold]
pub(super) fn damaged(py: Python<'_>, problem: &str) -> PyErr {
    corrupt(py, format!("packed data is damaged, or of another dtype: {problem}"))
}

#[cold]
pub(super) fn needs_offsets(py: Python<'_>, dtype: &Dtype) -> PyErr {
    invalid(
        py,
        format!(
            "elements of dtype {dtype} require offsets, for they do not say where they end; pack_with_offsets() \
             returns them"
        ),
    )
}
