//! One vector as packed bytes: from an array, from nested sequences, or from sequences of arrays.

use kohakuvault_core::dtype::{MAX_DIMENSIONS, Scalar};
use kohakuvault_core::half;
use kohakuvault_core::vector::{data_size, header};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::{Array, Item, is_buffer, is_bytes_like, to_little_endian};
use super::errors::{Place, at, describe, value_error};
use super::number::{Number, by_scalar, narrow, read};
use super::sequence::{changed, nested};

/// The bytes of an element of `vec:<scalar>`, header and all.
pub(crate) fn pack_any(scalar: Scalar, value: &Bound<'_, PyAny>, place: Place) -> PyResult<Vec<u8>> {
    let shape = discover(scalar, value, place)?;
    let size = data_size(scalar, &shape).map_err(|error| value_error(format!("{place}{error}")))?;
    let mut element = header(scalar, &shape);
    let start = element.len();
    // A list may hold itself many times over and so promise far more than it has: grow with the data.
    element.reserve(size.min(1 << 16));
    append(scalar, &shape, value, place, &mut element)?;
    debug_assert_eq!(element.len() - start, size);
    Ok(element)
}

/// Appends the data of a vector of a known shape.
pub(crate) fn append(
    scalar: Scalar,
    shape: &[usize],
    value: &Bound<'_, PyAny>,
    place: Place,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    let [length, inner @ ..] = shape else {
        return append_number(scalar, value, place, out);
    };
    if is_buffer(value) {
        let array = Array::of(value).map_err(|error| at(value.py(), place, error))?;
        if !array.holds_objects() {
            return append_array(scalar, shape, value, &array, place, out);
        }
    }
    let Some(list) = nested(value)? else {
        return Err(PyTypeError::new_err(format!(
            "{place}{} given; expected an array or nested sequences of {scalar} of shape {shape:?}",
            describe(value)
        )));
    };
    if list.len() != *length {
        return Err(PyValueError::new_err(format!(
            "{place}a sequence of {} values given; expected shape {shape:?} of {scalar}",
            list.len()
        )));
    }
    if inner.is_empty() {
        return by_scalar!(scalar, T => {
            for index in 0..*length {
                let item = list.get_item(index).map_err(|_| changed(&list))?;
                out.extend_from_slice(read::<T>(&item, place)?.to_bytes().as_ref());
            }
            Ok(())
        });
    }
    for index in 0..*length {
        let item = list.get_item(index).map_err(|_| changed(&list))?;
        append(scalar, inner, &item, place, out)?;
    }
    Ok(())
}

fn append_number(scalar: Scalar, value: &Bound<'_, PyAny>, place: Place, out: &mut Vec<u8>) -> PyResult<()> {
    by_scalar!(scalar, T => {
        out.extend_from_slice(read::<T>(value, place)?.to_bytes().as_ref());
        Ok(())
    })
}

/// As [`append`], from an array that has been opened already.
pub(crate) fn append_array(
    scalar: Scalar,
    shape: &[usize],
    value: &Bound<'_, PyAny>,
    array: &Array<'_>,
    place: Place,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    let Some(item) = array.item().filter(|_| scalar == Scalar::U8 || !is_bytes_like_of_u8(value, array))
    else {
        return Err(PyTypeError::new_err(format!(
            "{place}{} of {} given; expected {scalar}, shape {shape:?}",
            super::errors::type_name(value),
            array.format()
        )));
    };
    if array.shape() != shape {
        return Err(PyValueError::new_err(format!(
            "{place}an array of shape {:?} given; expected {shape:?} of {scalar}",
            array.shape()
        )));
    }
    let start = out.len();
    if item == Item::Scalar(scalar) {
        out.extend_from_slice(array.bytes());
        let copied = out.get_mut(start..).unwrap_or_default();
        to_little_endian(copied, scalar.size());
        if scalar == Scalar::Bool {
            normalise_bools(copied);
        }
        return Ok(());
    }
    convert(item, scalar, array.bytes(), place, out)
}

/// Writes the data of a vector of a known shape to where it belongs: memory of exactly its size.
pub(crate) fn fill(
    scalar: Scalar,
    shape: &[usize],
    value: &Bound<'_, PyAny>,
    place: Place,
    out: &mut [u8],
    scratch: &mut Vec<u8>,
) -> PyResult<()> {
    if is_buffer(value) {
        let array = Array::of(value).map_err(|error| at(value.py(), place, error))?;
        let bytes = array.bytes();
        if array.item() == Some(Item::Scalar(scalar)) && array.shape() == shape && bytes.len() == out.len() {
            out.copy_from_slice(bytes);
            to_little_endian(out, scalar.size());
            if scalar == Scalar::Bool {
                normalise_bools(out);
            }
            return Ok(());
        }
    }
    scratch.clear();
    append(scalar, shape, value, place, scratch)?;
    debug_assert_eq!(scratch.len(), out.len());
    for (to, from) in out.iter_mut().zip(scratch) {
        *to = *from;
    }
    Ok(())
}

/// A bool in a foreign array is any byte that is not zero.
pub(crate) fn normalise_bools(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = u8::from(*byte != 0);
    }
}

/// Raw bytes are a vector of u8 at most: they do not say of which numbers.
fn is_bytes_like_of_u8(value: &Bound<'_, PyAny>, array: &Array<'_>) -> bool {
    array.item() == Some(Item::Scalar(Scalar::U8)) && is_bytes_like(value)
}

/// A number on its way from one type to another. Every integer type fits the first, every float the second.
#[derive(Clone, Copy)]
enum Wide {
    Int(i128),
    Float(f64),
}

fn convert(item: Item, scalar: Scalar, items: &[u8], place: Place, out: &mut Vec<u8>) -> PyResult<()> {
    let impossible = matches!(item, Item::Scalar(Scalar::Bool)) || scalar == Scalar::Bool;
    let from_float = matches!(item, Item::Half | Item::Scalar(Scalar::F32 | Scalar::F64));
    if impossible || from_float && !scalar.is_float() {
        return Err(PyTypeError::new_err(format!("{place}an array of {item} given; expected {scalar}")));
    }
    items.chunks_exact(item.size()).try_for_each(|bytes| {
        let number = widen(item, bytes);
        number.and_then(|number| write(number, scalar, out)).ok_or_else(|| {
            let given = match number {
                Some(Wide::Int(number)) => number.to_string(),
                Some(Wide::Float(number)) => format!("{number:?}"),
                None => "a value".to_owned(),
            };
            PyOverflowError::new_err(format!("{place}{given} ({item}) cannot be held by dtype {scalar}"))
        })
    })
}

/// Reads one native-endian item.
fn widen(item: Item, bytes: &[u8]) -> Option<Wide> {
    macro_rules! native {
        ($kind:ty) => {{
            let mut bytes: [u8; size_of::<$kind>()] = bytes.try_into().ok()?;
            to_little_endian(&mut bytes, size_of::<$kind>());
            <$kind>::from_le_bytes(bytes)
        }};
    }
    Some(match item {
        Item::Half => Wide::Float(half::to_f32(native!(u16)).into()),
        Item::Scalar(scalar) => match scalar {
            Scalar::I8 => Wide::Int(native!(i8).into()),
            Scalar::I16 => Wide::Int(native!(i16).into()),
            Scalar::I32 => Wide::Int(native!(i32).into()),
            Scalar::I64 => Wide::Int(native!(i64).into()),
            Scalar::U8 | Scalar::Bool => Wide::Int(native!(u8).into()),
            Scalar::U16 => Wide::Int(native!(u16).into()),
            Scalar::U32 => Wide::Int(native!(u32).into()),
            Scalar::U64 => Wide::Int(native!(u64).into()),
            Scalar::F32 => Wide::Float(native!(f32).into()),
            Scalar::F64 => Wide::Float(native!(f64)),
        },
    })
}

/// Appends one number; `None` if it does not fit. Floats may be rounded, integers may not.
fn write(number: Wide, scalar: Scalar, out: &mut Vec<u8>) -> Option<()> {
    macro_rules! integer {
        ($kind:ty) => {
            match number {
                Wide::Int(number) => out.extend(<$kind>::try_from(number).ok()?.to_le_bytes()),
                Wide::Float(_) => return None,
            }
        };
    }
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "what is lost is refused"
    )]
    let float = || match number {
        Wide::Int(number) => {
            let float = number as f64;
            let exact = float as i128 == number
                && (scalar == Scalar::F64 || f64::from(float as f32).to_bits() == float.to_bits());
            exact.then_some(float)
        }
        Wide::Float(number) => Some(number),
    };
    match scalar {
        Scalar::I8 => integer!(i8),
        Scalar::I16 => integer!(i16),
        Scalar::I32 => integer!(i32),
        Scalar::I64 => integer!(i64),
        Scalar::U8 => integer!(u8),
        Scalar::U16 => integer!(u16),
        Scalar::U32 => integer!(u32),
        Scalar::U64 => integer!(u64),
        Scalar::F32 => out.extend(narrow(float()?)?.to_le_bytes()),
        Scalar::F64 => out.extend(float()?.to_le_bytes()),
        Scalar::Bool => return None,
    }
    Some(())
}

/// The shape of a vector, read along its first items; [`append`] then holds all others to it.
fn discover(scalar: Scalar, value: &Bound<'_, PyAny>, place: Place) -> PyResult<Vec<usize>> {
    let mut shape = Vec::new();
    let mut value = value.clone();
    loop {
        if is_buffer(&value) {
            let array = Array::of(&value).map_err(|error| at(value.py(), place, error))?;
            if !array.holds_objects() {
                shape.extend_from_slice(array.shape());
                return Ok(shape);
            }
        }
        let Some(list) = nested(&value)? else { break };
        shape.push(list.len());
        // Bounds lists that hold themselves.
        if shape.len() > MAX_DIMENSIONS {
            return Err(value_error(format!("{place}nested deeper than {MAX_DIMENSIONS} sequences")));
        }
        match list.get_item(0) {
            Ok(first) => value = first,
            Err(_) => break,
        }
    }
    if shape.is_empty() && (value.is_instance_of::<PyBytes>() || !is_scalar(scalar, &value)) {
        return Err(PyTypeError::new_err(format!(
            "{place}{} given; expected an array or nested sequences of {scalar}",
            describe(&value)
        )));
    }
    Ok(shape)
}

fn is_scalar(scalar: Scalar, value: &Bound<'_, PyAny>) -> bool {
    by_scalar!(scalar, T => read::<T>(value, Place::Only).is_ok())
}
