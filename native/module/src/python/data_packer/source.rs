//! The bytes that are unpacked: which of them an element has.

use std::ops::Range;

use kohakuvault_core::dtype::Scalar;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::buffer::{Array, Item, is_buffer};
use super::super::errors::{Place, describe, type_name};
use super::super::number::read;
use super::super::packing::errors::{corrupt, invalid, unsupported};
use super::super::sequence::to_list;
use super::super::vector::append_array;

/// Bytes that nobody changes while they are read, and the part that was asked for.
pub(super) struct Source<'py> {
    pub(super) bytes: Bound<'py, PyBytes>,
    pub(super) part: Range<usize>,
}

impl<'py> Source<'py> {
    /// The bytes from `offset` on, so many of them or all; other buffers than `bytes` are copied.
    pub(super) fn of(data: &Bound<'py, PyAny>, offset: usize, length: Option<usize>) -> PyResult<Self> {
        let py = data.py();
        if let Ok(bytes) = data.cast::<PyBytes>() {
            let part = part(py, bytes.as_bytes().len(), offset, length)?;
            return Ok(Self { bytes: bytes.clone(), part });
        }
        if !is_buffer(data) {
            return Err(unsupported(
                py,
                format!("{} given; expected bytes or another buffer", type_name(data)),
            ));
        }
        let array = Array::memory(data)?;
        let all = array.bytes();
        let part = part(py, all.len(), offset, length)?;
        let bytes = PyBytes::new(py, all.get(part).unwrap_or_default());
        let end = bytes.as_bytes().len();
        Ok(Self { bytes, part: 0..end })
    }

    pub(super) fn slice(&self) -> &[u8] {
        self.bytes.as_bytes().get(self.part.clone()).unwrap_or_default()
    }
}

fn part(py: Python<'_>, total: usize, offset: usize, length: Option<usize>) -> PyResult<Range<usize>> {
    if offset > total {
        return Err(invalid(py, format!("offset {offset} given; the data has {total} bytes")));
    }
    match length {
        None => Ok(offset..total),
        Some(length) if length <= total - offset => Ok(offset..offset + length),
        Some(length) => Err(not_enough(py, length, total - offset)),
    }
}

#[cold]
pub(super) fn not_enough(py: Python<'_>, expected: usize, given: usize) -> PyErr {
    corrupt(py, format!("Not enough data: {given} bytes; expected {expected}"))
}

/// A count or offset.
pub(super) fn size_of(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let py = value.py();
    match read::<i64>(value, Place::Only) {
        Ok(number) => usize::try_from(number)
            .map_err(|_| invalid(py, format!("{name} {number} given; expected 0 or more"))),
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            Err(invalid(py, format!("{name} {} given; expected an int of 64 bits", describe(value))))
        }
        Err(error) if error.is_instance_of::<PyTypeError>(py) => {
            Err(unsupported(py, format!("{name} {} given; expected an int", describe(value))))
        }
        Err(error) => Err(error),
    }
}

/// Where elements begin, and the end of the last: of `count` elements the offsets, with or without the end.
pub(super) fn spans(
    py: Python<'_>,
    offsets: &Bound<'_, PyAny>,
    count: Option<usize>,
    total: usize,
) -> PyResult<Vec<usize>> {
    let mut starts = numbers(offsets)?;
    let given = starts.len();
    let has_end = match count {
        None => false,
        Some(count) if count == given => false,
        Some(count) if count.checked_add(1) == Some(given) => true,
        Some(count) => {
            return Err(invalid(
                py,
                format!("{given} offsets given for {count} elements; expected {count}, or the end as well"),
            ));
        }
    };
    if !has_end {
        starts.push(total);
    }
    for (index, pair) in starts.windows(2).enumerate() {
        if let [start, end] = pair
            && start > end
        {
            if *start > total {
                return Err(beyond(py, index, *start, total));
            }
            return Err(invalid(py, format!("offset {index} is {start} and the next {end}; offsets ascend")));
        }
    }
    match starts.last() {
        Some(&end) if end > total => Err(beyond(py, given.saturating_sub(1), end, total)),
        _ => Ok(starts),
    }
}

#[cold]
fn beyond(py: Python<'_>, index: usize, offset: usize, total: usize) -> PyErr {
    invalid(py, format!("offset {index} is {offset}; the data has {total} bytes"))
}

fn numbers(offsets: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    if !is_buffer(offsets) {
        return to_list(offsets)?.iter().map(|item| size_of("offset", &item)).collect();
    }
    let py = offsets.py();
    let array = Array::of(offsets)?;
    let is_integer = matches!(array.item(), Some(Item::Scalar(scalar)) if scalar.integer_range().is_some());
    if array.shape().len() != 1 || !is_integer {
        return Err(unsupported(
            py,
            format!(
                "offsets of shape {:?} and type {} given; expected integers of shape [n]",
                array.shape(),
                array.format()
            ),
        ));
    }
    let mut bytes = Vec::new();
    append_array(Scalar::I64, array.shape(), offsets, &array, Place::Only, &mut bytes)?;
    let (cells, _) = bytes.as_chunks::<8>();
    cells
        .iter()
        .map(|&cell| i64::from_le_bytes(cell))
        .map(|number| {
            let negative = |_| invalid(py, format!("offset {number} given; expected 0 or more"));
            usize::try_from(number).map_err(negative)
        })
        .collect()
}
