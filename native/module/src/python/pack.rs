//! Sequences and arrays of values as blocks.

use kohakuvault_core::block::{Builder, MAX_BLOCK};
use kohakuvault_core::dtype::{Dtype, Scalar};
use kohakuvault_core::packing::MAX_DEPTH;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::buffer::{Array, Item, is_buffer, is_bytes_like, to_little_endian};
use super::errors::{Place, at, block_error, type_name};
use super::number::{Number, by_scalar, read};
use super::packing::values;
use super::sequence::{changed, prefetch, to_list};
use super::text::with_bytes;
use super::vector::{append, fill, normalise_bools, pack_any};

/// A count of elements and their block.
pub(crate) type Packed<'py> = (usize, Bound<'py, PyBytes>);

/// How large blocks may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) block_bytes: usize,
    /// Bytes that the first block may have instead, if they hold an element; 0 for no such exception.
    pub(crate) room: usize,
}

impl Limits {
    /// Elements of `size` bytes in each block, the first first.
    fn counts(self, size: usize, mut total: usize) -> impl Iterator<Item = usize> {
        let full = (self.block_bytes / size).max(1);
        let mut next = match self.room / size {
            0 => full,
            fitting => fitting,
        };
        std::iter::from_fn(move || {
            let count = next.min(total);
            next = full;
            total -= count;
            (count > 0).then_some(count)
        })
    }
}

/// Packs all values.
pub(crate) fn pack<'py>(
    dtype: &Dtype,
    values: &Bound<'py, PyAny>,
    limits: Limits,
) -> PyResult<Vec<Packed<'py>>> {
    if let Dtype::Scalar(scalar) | Dtype::FixedVector(scalar, _) = dtype
        && is_buffer(values)
    {
        let array = Array::of(values)?;
        if !array.holds_objects() {
            return pack_array(dtype, *scalar, values, &array, limits);
        }
    }
    let list = to_list(values)?;
    match dtype {
        Dtype::Scalar(scalar) => by_scalar!(*scalar, T => pack_numbers::<T>(&list, limits)),
        _ => match dtype.item_size() {
            Some(size) => pack_fixed(dtype, size, &list, limits),
            None => pack_variable(dtype, &list, limits),
        },
    }
}

fn pack_numbers<'py, T: Number>(list: &Bound<'py, PyList>, limits: Limits) -> PyResult<Vec<Packed<'py>>> {
    let size = T::SCALAR.size();
    let mut items = list.iter();
    let mut index = 0;
    limits
        .counts(size, list.len())
        .map(|count| {
            let block = PyBytes::new_with(list.py(), count * size, |block| {
                for cell in block.chunks_exact_mut(size) {
                    prefetch(list, index);
                    // The iterator ends early if reading an item shortened the list.
                    let item = items.next().ok_or_else(|| changed(list))?;
                    let number = read::<T>(&item, Place::Element(index))?;
                    cell.copy_from_slice(number.to_bytes().as_ref());
                    index += 1;
                }
                Ok(())
            })?;
            Ok((count, block))
        })
        .collect()
}

fn pack_fixed<'py>(
    dtype: &Dtype,
    size: usize,
    list: &Bound<'py, PyList>,
    limits: Limits,
) -> PyResult<Vec<Packed<'py>>> {
    let mut items = list.iter();
    let mut index = 0;
    let mut scratch = Vec::new();
    limits
        .counts(size, list.len())
        .map(|count| {
            let block = PyBytes::new_with(list.py(), count * size, |block| {
                for cell in block.chunks_exact_mut(size) {
                    let item = items.next().ok_or_else(|| changed(list))?;
                    fill_fixed(dtype, &item, Place::Element(index), cell, &mut scratch)?;
                    index += 1;
                }
                Ok(())
            })?;
            Ok((count, block))
        })
        .collect()
}

/// Writes an element to its place, which has zeros.
fn fill_fixed(
    dtype: &Dtype,
    item: &Bound<'_, PyAny>,
    place: Place,
    cell: &mut [u8],
    scratch: &mut Vec<u8>,
) -> PyResult<()> {
    match dtype {
        Dtype::FixedVector(scalar, shape) => fill(*scalar, shape, item, place, cell, scratch),
        _ => with_bytes(dtype, item, place, |bytes| {
            for (to, from) in cell.iter_mut().zip(bytes) {
                *to = *from;
            }
            Ok(())
        }),
    }
}

fn pack_variable<'py>(
    dtype: &Dtype,
    list: &Bound<'py, PyList>,
    limits: Limits,
) -> PyResult<Vec<Packed<'py>>> {
    let py = list.py();
    let mut builder = Builder::new(if limits.room > 0 { limits.room } else { limits.block_bytes });
    let mut blocks = Vec::new();
    let mut add = |element: &[u8], place: Place| {
        if element.len() >= MAX_BLOCK {
            return Err(PyValueError::new_err(format!(
                "{place}{} bytes; an element holds less than {MAX_BLOCK}",
                element.len()
            )));
        }
        if builder.is_empty() && !builder.holds(element.len()) {
            // Not even the first element fits in the room: start a block of normal size.
            builder.set_block_bytes(limits.block_bytes);
        } else if !builder.has_room_for(element.len()) {
            blocks.push(finish(py, &mut builder)?);
            builder.set_block_bytes(limits.block_bytes);
        }
        builder.push(element).map_err(|error| block_error(&error))
    };
    let total = list.len();
    let mut items = list.iter();
    let mut value = Vec::new();
    for index in 0..total {
        prefetch(list, index);
        let item = items.next().ok_or_else(|| changed(list))?;
        let place = Place::Element(index);
        match dtype {
            Dtype::Value(format) => {
                value.clear();
                values::append(*format, &item, MAX_DEPTH, &mut value)
                    .map_err(|error| at(py, place, error))?;
                add(&value, place)?;
            }
            Dtype::AnyVector(scalar) => add(&pack_any(*scalar, &item, place)?, place)?,
            _ => with_bytes(dtype, &item, place, |bytes| add(bytes, place))?,
        }
    }
    if !builder.is_empty() {
        blocks.push(finish(py, &mut builder)?);
    }
    Ok(blocks)
}

fn finish<'py>(py: Python<'py>, builder: &mut Builder) -> PyResult<Packed<'py>> {
    let (ends, heap) = builder.halves();
    let block = PyBytes::new_with(py, ends.len() + heap.len(), |block| {
        // The block has exactly the length of both halves.
        if let Some((first, second)) = block.split_at_mut_checked(ends.len()) {
            first.copy_from_slice(ends);
            second.copy_from_slice(heap);
        }
        Ok(())
    })?;
    let count = builder.count();
    builder.clear();
    Ok((count, block))
}

/// Copies the memory of an array that already has the dtype's layout.
fn pack_array<'py>(
    dtype: &Dtype,
    scalar: Scalar,
    values: &Bound<'py, PyAny>,
    array: &Array<'py>,
    limits: Limits,
) -> PyResult<Vec<Packed<'py>>> {
    let inner: &[usize] = match dtype {
        Dtype::FixedVector(_, shape) => shape,
        _ => &[],
    };
    if array.item() != Some(Item::Scalar(scalar)) || scalar != Scalar::U8 && is_bytes(values, array) {
        return Err(PyTypeError::new_err(format!(
            "{} of {} given; expected items of {scalar} for dtype {dtype}",
            type_name(values),
            array.format()
        )));
    }
    let total = match array.shape() {
        [total, rest @ ..] if rest == inner => *total,
        _ => {
            let expected: Vec<String> =
                std::iter::once("n".to_owned()).chain(inner.iter().map(usize::to_string)).collect();
            return Err(PyValueError::new_err(format!(
                "an array of shape {:?} given; expected [{}] for dtype {dtype}",
                array.shape(),
                expected.join(", ")
            )));
        }
    };
    let size = dtype.item_size().unwrap_or(1);
    let mut rest = array.bytes();
    limits
        .counts(size, total)
        .map(|count| {
            let Some((head, tail)) = rest.split_at_checked(count * size) else {
                return Err(PyValueError::new_err("the array is shorter than its shape says"));
            };
            rest = tail;
            let block = PyBytes::new_with(values.py(), head.len(), |block| {
                block.copy_from_slice(head);
                to_little_endian(block, scalar.size());
                if scalar == Scalar::Bool {
                    normalise_bools(block);
                }
                Ok(())
            })?;
            Ok((count, block))
        })
        .collect()
}

fn is_bytes(values: &Bound<'_, PyAny>, array: &Array<'_>) -> bool {
    array.item() == Some(Item::Scalar(Scalar::U8)) && is_bytes_like(values)
}

/// Packs one value, without a table of ends.
pub(crate) fn pack_one<'py>(dtype: &Dtype, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    match dtype {
        Dtype::Scalar(scalar) => by_scalar!(*scalar, T => {
            read::<T>(value, Place::Only).map(|number| PyBytes::new(py, number.to_bytes().as_ref()))
        }),
        Dtype::FixedVector(scalar, shape) => {
            let mut element = Vec::new();
            append(*scalar, shape, value, Place::Only, &mut element)?;
            Ok(PyBytes::new(py, &element))
        }
        Dtype::AnyVector(scalar) => Ok(PyBytes::new(py, &pack_any(*scalar, value, Place::Only)?)),
        Dtype::Value(format) => values::pack(*format, value, MAX_DEPTH),
        Dtype::Bytes(_) | Dtype::Str(..) => {
            with_bytes(dtype, value, Place::Only, |bytes| Ok(PyBytes::new(py, bytes)))
        }
    }
}
