//! Values as bytes, one behind the other.

use kohakuvault_core::dtype::{Dtype, Scalar};
use kohakuvault_core::vector::type_code;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::super::buffer::{Array, Item, is_bytes_like, to_little_endian};
use super::super::errors::{Place, at, type_name, value_error};
use super::super::number::{Number, by_scalar, read};
use super::super::pack;
use super::super::packing::values;
use super::super::sequence::changed;
use super::super::text::with_bytes;
use super::super::vector::{append, append_array, fill, normalise_bools, pack_any};
use super::input::Input;
use super::layout::{Layout, TYPE_SIZE};

/// Elements of more bytes in all are not made room for before the first of them is known to be good.
const TRUSTED: usize = 1 << 20;

/// One value.
pub(super) fn one<'py>(layout: &Layout, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    match &layout.dtype {
        Dtype::FixedVector(scalar, shape) => {
            let mut element = vec![type_code(*scalar)];
            append(*scalar, shape, value, Place::Only, &mut element)?;
            Ok(PyBytes::new(value.py(), &element))
        }
        Dtype::Value(format) => values::pack(*format, value, layout.max_depth),
        dtype => pack::pack_one(dtype, value),
    }
}

/// All values.
pub(super) fn many<'py>(
    layout: &Layout,
    values: &Bound<'py, PyAny>,
    input: &Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    match (input, layout.numbers()) {
        (Input::Array(array), Some((scalar, shape))) => from_array(layout, scalar, shape, values, array),
        (Input::List(list), Some((scalar, []))) => by_scalar!(scalar, T => numbers::<T>(list)),
        (Input::List(list), Some((scalar, shape))) => vectors(scalar, shape, list),
        (Input::List(list), None) => {
            let mut out = Vec::new();
            for index in 0..list.len() {
                append_element(layout, list, index, &mut out)?;
            }
            Ok(PyBytes::new(list.py(), &out))
        }
        // Arrays are only made of input for numbers.
        (Input::Array(_), None) => Err(value_error(format!("an array given for dtype {}", layout.dtype))),
    }
}

/// All values, which differ in size, and where each begins.
pub(super) fn with_offsets<'py>(
    layout: &Layout,
    list: &Bound<'py, PyList>,
) -> PyResult<(Bound<'py, PyBytes>, Vec<usize>)> {
    let mut out = Vec::new();
    let mut offsets = Vec::new();
    for index in 0..list.len() {
        offsets.push(out.len());
        append_element(layout, list, index, &mut out)?;
    }
    Ok((PyBytes::new(list.py(), &out), offsets))
}

#[inline]
fn append_element(
    layout: &Layout,
    list: &Bound<'_, PyList>,
    index: usize,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    // Code that runs meanwhile may shorten the list.
    let item = list.get_item(index).map_err(|_| changed(list))?;
    let place = Place::Element(index);
    match &layout.dtype {
        Dtype::Value(format) => {
            values::append(*format, &item, layout.max_depth, out).map_err(|error| at(list.py(), place, error))
        }
        Dtype::AnyVector(scalar) => {
            out.extend_from_slice(&pack_any(*scalar, &item, place)?);
            Ok(())
        }
        dtype => with_bytes(dtype, &item, place, |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        }),
    }
}

fn numbers<'py, T: Number>(list: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyBytes>> {
    let size = T::SCALAR.size();
    let mut items = list.iter();
    let mut index = 0;
    PyBytes::new_with(list.py(), list.len() * size, |out| {
        for cell in out.chunks_exact_mut(size) {
            let item = items.next().ok_or_else(|| changed(list))?;
            cell.copy_from_slice(read::<T>(&item, Place::Element(index))?.to_bytes().as_ref());
            index += 1;
        }
        Ok(())
    })
}

fn vectors<'py>(scalar: Scalar, shape: &[usize], list: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyBytes>> {
    let size = shape.iter().product::<usize>() * scalar.size() + TYPE_SIZE;
    let count = list.len();
    let total = count.checked_mul(size).ok_or_else(|| value_error("more bytes than there can be"))?;
    let mut scratch = Vec::new();
    if total > TRUSTED {
        let first = list.get_item(0).map_err(|_| changed(list))?;
        append(scalar, shape, &first, Place::Element(0), &mut scratch)?;
    }
    PyBytes::new_with(list.py(), total, |out| {
        for (index, element) in out.chunks_exact_mut(size).enumerate() {
            let item = list.get_item(index).map_err(|_| changed(list))?;
            if let Some((first, data)) = element.split_first_mut() {
                *first = type_code(scalar);
                fill(scalar, shape, &item, Place::Element(index), data, &mut scratch)?;
            }
        }
        Ok(())
    })
}

/// The elements of an array, converted where no value changes by it.
pub(super) fn from_array<'py>(
    layout: &Layout,
    scalar: Scalar,
    shape: &[usize],
    values: &Bound<'py, PyAny>,
    array: &Array<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let is_u8 = array.item() == Some(Item::Scalar(Scalar::U8));
    if array.item().is_none() || scalar != Scalar::U8 && is_u8 && is_bytes_like(values) {
        return Err(PyTypeError::new_err(format!(
            "{} of {} given; expected numbers for dtype {}",
            type_name(values),
            array.format(),
            layout.dtype
        )));
    }
    if !matches!(array.shape(), [_, inner @ ..] if inner == shape) {
        let dims: Vec<String> =
            std::iter::once("n".to_owned()).chain(shape.iter().map(usize::to_string)).collect();
        return Err(PyValueError::new_err(format!(
            "an array of shape {:?} given; expected [{}] for dtype {}",
            array.shape(),
            dims.join(", "),
            layout.dtype
        )));
    }
    let mut converted = Vec::new();
    let exact = array.item() == Some(Item::Scalar(scalar));
    if !exact {
        append_array(scalar, array.shape(), values, array, Place::Only, &mut converted)?;
    }
    let data = if exact { array.bytes() } else { &converted };
    let head = if shape.is_empty() { 0 } else { TYPE_SIZE };
    // Dimensions are at least 1, so no element is empty.
    let size = shape.iter().product::<usize>() * scalar.size();
    let count = data.len() / size;
    PyBytes::new_with(values.py(), data.len() + count * head, |out| {
        let normalise = |cells: &mut [u8]| {
            if exact {
                to_little_endian(cells, scalar.size());
            }
            if scalar == Scalar::Bool {
                normalise_bools(cells);
            }
        };
        if head == 0 {
            out.copy_from_slice(data);
            normalise(out);
            return Ok(());
        }
        for (element, cells) in out.chunks_exact_mut(size + head).zip(data.chunks_exact(size)) {
            if let Some((first, place)) = element.split_first_mut() {
                *first = type_code(scalar);
                place.copy_from_slice(cells);
                normalise(place);
            }
        }
        Ok(())
    })
}
