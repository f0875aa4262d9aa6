//! Vectors packed as they are stored, from whatever holds numbers.

use std::fmt::Write as _;

use kohakuvault_core::distance::DistanceError;
use kohakuvault_core::dtype::Scalar;
use kohakuvault_core::element::Element;
use kohakuvault_core::kernels::Cell;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::buffer::{Array, Item, is_buffer, is_bytes_like, to_little_endian};
use super::errors::{Place, describe, type_name, value_error};
use super::number::{Bool, Number, read};
use super::sequence::{changed, nested};
use super::vector::{append, append_array, normalise_bools};

/// A vector as bytes of its element type.
pub(crate) struct PackedVector {
    pub(crate) bytes: Vec<u8>,
    /// Unknown of bits that were packed already, and whose number nobody named.
    pub(crate) dimensions: Option<usize>,
}

/// Packs the numbers of a one-dimensional array or sequence, or takes packed bytes as they are.
///
/// `dimensions` is how many are expected. It is not checked, but tells packed bits from numbers.
pub(crate) fn to_packed(
    value: &Bound<'_, PyAny>,
    element: Element,
    dimensions: Option<usize>,
) -> PyResult<PackedVector> {
    let packed = if is_buffer(value) {
        let array = Array::of(value)?;
        if is_packed(value, &array, element, dimensions) {
            return from_packed(array.bytes().to_vec(), element, dimensions);
        }
        match *array.shape() {
            [length] => from_array(value, &array, length, element),
            ref shape => {
                return Err(PyValueError::new_err(format!(
                    "an array of shape {shape:?} given; expected one dimension"
                )));
            }
        }
    } else if let Some(list) = nested(value)? {
        from_list(&list, element)
    } else {
        return Err(PyTypeError::new_err(format!(
            "{} given; expected an array or sequence of numbers, or bytes of {}",
            describe(value),
            if element == Element::Bit {
                "packed bits".to_owned()
            } else {
                format!("little-endian {element}")
            }
        )));
    };
    packed.map_err(|error| {
        // A number that is too large is a bad vector like one with an infinity in it.
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            value_error(error.value(value.py()))
        } else {
            error
        }
    })
}

/// Raw bytes are packed; so is an array of as many bytes as packed bits have, if it is not one of numbers.
fn is_packed(
    value: &Bound<'_, PyAny>,
    array: &Array<'_>,
    element: Element,
    dimensions: Option<usize>,
) -> bool {
    let packed_bits = || match (dimensions, array.shape()) {
        (Some(dimensions), [bytes]) if element == Element::Bit => {
            *bytes != dimensions && *bytes == element.row_bytes(dimensions)
        }
        _ => false,
    };
    array.item() == Some(Item::Scalar(Scalar::U8)) && (is_bytes_like(value) || packed_bits())
}

fn from_packed(bytes: Vec<u8>, element: Element, dimensions: Option<usize>) -> PyResult<PackedVector> {
    let found = match element.dimensions(bytes.len()) {
        None => return Err(value_error(DistanceError::Ragged { bytes: bytes.len(), element })),
        Some(room) if element == Element::Bit => match dimensions {
            Some(dimensions) if bytes.len() == element.row_bytes(dimensions) => {
                check_unused_bits(&bytes, dimensions)?;
                Some(dimensions)
            }
            // Named for the error message only.
            Some(_) => Some(room),
            None => None,
        },
        found => found,
    };
    Ok(PackedVector { bytes, dimensions: found })
}

fn check_unused_bits(bytes: &[u8], dimensions: usize) -> PyResult<()> {
    let unused = bytes.len() * 8 - dimensions;
    match bytes.last() {
        Some(last) if unused > 0 && last.trailing_zeros() < u32::try_from(unused).unwrap_or(8) => {
            Err(value_error(format!(
                "the last of {} bytes is {last:#010b}; expected {unused} zeros behind dimension {}",
                bytes.len(),
                dimensions - 1
            )))
        }
        _ => Ok(()),
    }
}

fn from_array(
    value: &Bound<'_, PyAny>,
    array: &Array<'_>,
    length: usize,
    element: Element,
) -> PyResult<PackedVector> {
    if array.holds_objects() {
        return match nested(value)? {
            Some(list) => from_list(&list, element),
            None => Err(PyTypeError::new_err(format!("{} given; expected numbers", type_name(value)))),
        };
    }
    let is_native = match element {
        Element::F32 => array.item() == Some(Item::Scalar(Scalar::F32)),
        Element::F16 => array.item() == Some(Item::Half),
        Element::I8 => array.item() == Some(Item::Scalar(Scalar::I8)),
        Element::Bit => false,
    };
    if is_native {
        let mut bytes = array.bytes().to_vec();
        to_little_endian(&mut bytes, element.cell_bytes());
        return Ok(PackedVector { bytes, dimensions: Some(length) });
    }
    if element == Element::Bit && array.item() == Some(Item::Scalar(Scalar::Bool)) {
        let mut bools = array.bytes().to_vec();
        normalise_bools(&mut bools);
        return encode(bools.into_iter().map(f64::from), length, element);
    }
    let mut numbers = Vec::new();
    append_array(numbers_of(element), &[length], value, array, Place::Only, &mut numbers)?;
    encode_appended(numbers, length, element)
}

fn from_list(list: &Bound<'_, PyList>, element: Element) -> PyResult<PackedVector> {
    let length = list.len();
    if element == Element::Bit {
        let mut bits = Vec::with_capacity(length);
        for index in 0..length {
            bits.push(read_bit(&list.get_item(index).map_err(|_| changed(list))?)?);
        }
        return encode(bits, length, element);
    }
    let mut numbers = Vec::new();
    append(numbers_of(element), &[length], list.as_any(), Place::Only, &mut numbers)?;
    encode_appended(numbers, length, element)
}

/// A number or a bool.
fn read_bit(item: &Bound<'_, PyAny>) -> PyResult<f64> {
    match Bool::fast(item) {
        Some(Bool(bit)) => Ok(u8::from(bit).into()),
        None => read::<f64>(item, Place::Only).or_else(|error| match Bool::slow(item, Place::Only) {
            Ok(Bool(bit)) => Ok(u8::from(bit).into()),
            Err(_) => Err(error),
        }),
    }
}

/// The type that numbers are read as: f32 by the rules for columns of it, others from what loses nothing before the
/// rounding.
fn numbers_of(element: Element) -> Scalar {
    if element == Element::F32 { Scalar::F32 } else { Scalar::F64 }
}

fn encode_appended(numbers: Vec<u8>, length: usize, element: Element) -> PyResult<PackedVector> {
    if element == Element::F32 {
        return Ok(PackedVector { bytes: numbers, dimensions: Some(length) });
    }
    let (cells, _) = numbers.as_chunks::<8>();
    encode(cells.iter().map(|&cell| f64::from_le_bytes(cell)), length, element)
}

fn encode(numbers: impl IntoIterator<Item = f64>, length: usize, element: Element) -> PyResult<PackedVector> {
    let bytes = element.encode(numbers).map_err(value_error)?;
    Ok(PackedVector { bytes, dimensions: Some(length) })
}

/// Refuses numbers that have no distance to others.
pub(crate) fn check_finite(element: Element, bytes: &[u8]) -> PyResult<()> {
    fn first<const BYTES: usize>(bytes: &[u8]) -> Option<(usize, f32)>
    where
        [u8; BYTES]: Cell,
    {
        let (cells, _) = bytes.as_chunks::<BYTES>();
        cells.iter().map(|cell| cell.value()).enumerate().find(|(_, value)| !value.is_finite())
    }
    let bad = match element {
        Element::F32 => first::<4>(bytes),
        Element::F16 => first::<2>(bytes),
        Element::I8 | Element::Bit => None,
    };
    match bad {
        None => Ok(()),
        Some((index, value)) => {
            Err(value_error(format!("dimension {index} is {value}; expected finite numbers")))
        }
    }
}

pub(crate) fn parse_element(name: &str) -> PyResult<Element> {
    name.parse().map_err(value_error)
}

/// The packed bytes of a vector of finite numbers.
#[pyfunction]
#[pyo3(signature = (value, dimensions, elem="f32"))]
pub(crate) fn pack_vector<'py>(
    value: &Bound<'py, PyAny>,
    dimensions: Option<usize>,
    elem: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let packed = checked(value, parse_element(elem)?, dimensions)?;
    Ok(PyBytes::new(value.py(), &packed.bytes))
}

/// A vector of finite numbers as text that reads as the same elements.
#[pyfunction]
#[pyo3(signature = (value, dimensions, elem="f32"))]
pub(crate) fn vector_text(
    value: &Bound<'_, PyAny>,
    dimensions: Option<usize>,
    elem: &str,
) -> PyResult<String> {
    let element = parse_element(elem)?;
    let packed = checked(value, element, dimensions)?;
    match element {
        Element::F32 => Ok(numbers_text::<4>(&packed.bytes)),
        Element::F16 => Ok(numbers_text::<2>(&packed.bytes)),
        Element::I8 => Ok(listed(packed.bytes.iter().map(|&byte| byte.cast_signed()))),
        Element::Bit => {
            let length = dimensions.or(packed.dimensions).unwrap_or(packed.bytes.len() * 8);
            let bits = packed.bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
            Ok(bits.take(length).map(|bit| if bit == 0 { '0' } else { '1' }).collect())
        }
    }
}

/// The float32 numbers of pgvector's text of a vector, packed.
#[pyfunction]
pub(crate) fn vector_from_text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyBytes>> {
    let numbers = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let numbers = numbers.ok_or_else(|| value_error("a vector's text begins with '[' and ends with ']'"))?;
    let mut packed = Vec::with_capacity(numbers.len() / 2);
    for number in numbers.split(',') {
        let number: f32 = number.parse().map_err(|_| value_error(format!("{number:?} is no number")))?;
        packed.extend_from_slice(&number.to_le_bytes());
    }
    Ok(PyBytes::new(py, &packed))
}

fn numbers_text<const BYTES: usize>(bytes: &[u8]) -> String
where
    [u8; BYTES]: Cell,
{
    let (cells, _) = bytes.as_chunks::<BYTES>();
    listed(cells.iter().map(|cell| cell.value()))
}

/// Rust's text of a float is the shortest that reads as the same.
fn listed(numbers: impl Iterator<Item = impl std::fmt::Debug>) -> String {
    let mut text = String::from("[");
    for (index, number) in numbers.enumerate() {
        if index > 0 {
            text.push(',');
        }
        // Never fails: memory grows, or the process ends.
        let _ = write!(text, "{number:?}");
    }
    text.push(']');
    text
}

fn checked(value: &Bound<'_, PyAny>, element: Element, dimensions: Option<usize>) -> PyResult<PackedVector> {
    let packed = to_packed(value, element, dimensions)?;
    if packed.bytes.is_empty() {
        return Err(value_error("an empty vector given; expected at least one dimension"));
    }
    if let (Some(expected), Some(given)) = (dimensions, packed.dimensions)
        && expected != given
    {
        return Err(value_error(format!("{given} dimensions given; expected {expected}")));
    }
    check_finite(element, &packed.bytes)?;
    Ok(packed)
}
