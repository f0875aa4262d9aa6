//! Packed numbers as arrays, and arrays as packed numbers, without copies where the layout is the same.

use kohakuvault_core::dtype::Scalar;
use kohakuvault_core::vector::type_code;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyTuple};

use super::super::buffer::{Array, Item, is_bytes_like};
use super::super::errors::{describe, type_name};
use super::super::packing::classes::classes;
use super::super::packing::errors::{corrupt, unsupported};
use super::super::sequence::as_array;
use super::input::array_of;
use super::layout::{Layout, TYPE_SIZE};
use super::read::damaged;
use super::source::not_enough;
use super::write;

/// A view of the elements: read-only where the data is.
pub(super) fn to_array<'py>(
    layout: &Layout,
    data: &Bound<'py, PyAny>,
    count: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    let (Some((scalar, shape)), Some(size)) = (layout.numbers(), layout.size) else {
        return Err(no_numbers(py, layout));
    };
    let source = Array::memory(data)?;
    if !source.is_view() {
        return Err(unsupported(
            py,
            format!("{} given, whose memory is not in one piece; pass bytes() of it", type_name(data)),
        ));
    }
    let bytes = source.bytes();
    let count = whole_count(py, bytes.len(), size, count)?;
    let elements = bytes.get(..count * size).unwrap_or_default();
    check(py, layout, scalar, elements, size)?;
    let classes = classes(py)?;
    if count == 0 {
        let all: Vec<usize> = std::iter::once(0).chain(shape.iter().copied()).collect();
        return classes.ndarray.bind(py).call1((PyTuple::new(py, all)?, layout.numpy(py)));
    }
    let flat = PyMemoryView::from(data)?;
    if shape.is_empty() {
        return classes.frombuffer.bind(py).call1((flat, layout.numpy(py), count));
    }
    let all: Vec<usize> = std::iter::once(count).chain(shape.iter().copied()).collect();
    // From the last dimension to the first; elements are as far apart as they are large.
    let mut strides = vec![scalar.size()];
    for dimension in shape.iter().skip(1).rev() {
        strides.push(strides.last().copied().unwrap_or(1) * dimension);
    }
    strides.push(size);
    strides.reverse();
    classes.ndarray.bind(py).call1((
        PyTuple::new(py, all)?,
        layout.numpy(py),
        flat,
        TYPE_SIZE,
        PyTuple::new(py, strides)?,
    ))
}

/// How many elements there are, or that there are as many as were asked for.
pub(super) fn whole_count(
    py: Python<'_>,
    total: usize,
    size: usize,
    count: Option<usize>,
) -> PyResult<usize> {
    match count {
        None if total.is_multiple_of(size) => Ok(total / size),
        None => Err(corrupt(
            py,
            format!("Not enough data: {total} bytes are no whole number of elements of {size} bytes"),
        )),
        Some(count) => match count.checked_mul(size) {
            Some(needed) if needed <= total => Ok(count),
            needed => Err(not_enough(py, needed.unwrap_or(usize::MAX), total)),
        },
    }
}

fn check(py: Python<'_>, layout: &Layout, scalar: Scalar, elements: &[u8], size: usize) -> PyResult<()> {
    if let Some(expected) = layout.type_code()
        && let Some((index, code)) =
            elements.iter().step_by(size).enumerate().find(|&(_, &code)| code != expected)
    {
        return Err(damaged(
            py,
            &format!("element {index}: vector type {code:#04x}; expected {expected:#04x} ({scalar})"),
        ));
    }
    // The type of a vector of bools is no bool, and has been checked.
    let is_bool = |byte: u8| byte <= 1 || byte == type_code(Scalar::Bool) && size > 1;
    if scalar == Scalar::Bool && !elements.iter().all(|&byte| is_bool(byte)) {
        return Err(damaged(py, "bytes of bool other than 0x00 and 0x01"));
    }
    Ok(())
}

/// The elements of an array: its own memory where that has the layout, else a copy.
pub(super) fn from_array<'py>(layout: &Layout, values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = values.py();
    let Some((scalar, shape)) = layout.numbers() else { return Err(no_numbers(py, layout)) };
    let own = as_array(values)?;
    let values = own.as_ref().unwrap_or(values);
    let Some(array) = array_of(values)? else {
        return Err(unsupported(
            py,
            format!("{} given; expected an array of numbers. pack_many() takes lists", describe(values)),
        ));
    };
    let same = shape.is_empty()
        && array.is_view()
        && array.item() == Some(Item::Scalar(scalar))
        && array.shape().len() == 1
        && !array.bytes().is_empty()
        && (cfg!(target_endian = "little") || scalar.size() == 1)
        && (scalar != Scalar::Bool || array.bytes().iter().all(|&byte| byte <= 1))
        && !is_bytes_like(values);
    if same
        && let Ok(view) = PyMemoryView::from(values)?.call_method1(intern!(py, "cast"), (intern!(py, "B"),))
    {
        return Ok(view);
    }
    let copy: Bound<'py, PyBytes> = write::from_array(layout, scalar, shape, values, &array)?;
    Ok(PyMemoryView::from(copy.as_any())?.into_any())
}

#[cold]
fn no_numbers(py: Python<'_>, layout: &Layout) -> PyErr {
    unsupported(
        py,
        format!(
            "elements of dtype {} are no array: numbers, bool and vectors of one shape are. Use pack_many() and \
             unpack_many()",
            layout.dtype
        ),
    )
}
