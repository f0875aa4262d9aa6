//! Blocks as lists of Python values.

use kohakuvault_core::block::{Block, BlockError, Corrupt, Layout};
use kohakuvault_core::dtype::{Dtype, Format, Scalar};
use kohakuvault_core::text::{Encoding, Undecodable};
use kohakuvault_core::vector;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyList, PyString, PyTuple};

use super::errors::{Place, at, block_error, corrupt};
use super::number::{Bool, Number};
use super::packing::{errors as packing, values};

/// The elements `start..stop` of a block.
pub(crate) fn unpack<'py>(
    py: Python<'py>,
    dtype: &Dtype,
    data: &[u8],
    count: usize,
    start: usize,
    stop: usize,
) -> PyResult<Bound<'py, PyList>> {
    let block = Block::new(Layout::from(dtype), data, count).map_err(|error| corrupt(&error))?;
    if let Dtype::Scalar(scalar) = dtype {
        let bytes = block.contiguous(start, stop).map_err(|error| block_error(&error))?.unwrap_or_default();
        return numbers(py, *scalar, bytes);
    }
    let elements = block.elements(start, stop).map_err(|error| block_error(&error))?;
    let mut values = Vec::with_capacity(stop - start);
    for (index, element) in (start..).zip(elements) {
        let element = element.map_err(|error| corrupt(&error))?;
        values.push(value(py, dtype, element).map_err(|problem| explain(py, index, problem))?);
    }
    PyList::new(py, values)
}

/// The values `start..stop` of a block of a format's.
pub(crate) fn unpack_values<'py>(
    format: Format,
    source: &Bound<'py, PyBytes>,
    count: usize,
    start: usize,
    stop: usize,
) -> PyResult<Bound<'py, PyList>> {
    let py = source.py();
    let block = Block::new(Layout::Variable, source.as_bytes(), count).map_err(|error| corrupt(&error))?;
    // Checks the range, so that the list is no longer than the block has elements.
    block.elements(start, stop).map_err(|error| block_error(&error))?;
    let mut list = Vec::with_capacity(stop - start);
    for index in start..stop {
        let place = block.span(index).map_err(|error| block_error(&error))?;
        let value = values::read(format, source, place);
        list.push(value.map_err(|error| at(py, Place::Element(index), error))?);
    }
    PyList::new(py, list)
}

/// One value of a block of a format's.
pub(crate) fn unpack_value<'py>(
    format: Format,
    source: &Bound<'py, PyBytes>,
    count: usize,
    index: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let block = Block::new(Layout::Variable, source.as_bytes(), count).map_err(|error| corrupt(&error))?;
    let place = block.span(index).map_err(|error| block_error(&error))?;
    values::read(format, source, place).map_err(|error| at(source.py(), Place::Element(index), error))
}

/// One element of a block.
pub(crate) fn unpack_one<'py>(
    py: Python<'py>,
    dtype: &Dtype,
    data: &[u8],
    count: usize,
    index: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let block = Block::new(Layout::from(dtype), data, count).map_err(|error| corrupt(&error))?;
    let element = block.get(index).map_err(|error| block_error(&error))?;
    value(py, dtype, element).map_err(|problem| explain(py, index, problem))
}

/// One element without a block.
pub(crate) fn element<'py>(py: Python<'py>, dtype: &Dtype, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    value(py, dtype, bytes).map_err(|problem| match problem {
        Problem::Corrupt(problem) => packing::corrupt(py, problem),
        Problem::Python(error) => error,
    })
}

/// Why an element could not become a Python value.
enum Problem {
    Corrupt(String),
    Python(PyErr),
}

impl From<PyErr> for Problem {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

#[cold]
fn explain(_: Python<'_>, index: usize, problem: Problem) -> PyErr {
    match problem {
        Problem::Corrupt(problem) => {
            block_error(&BlockError::Corrupt(Corrupt(format!("element {index}: {problem}"))))
        }
        Problem::Python(error) => error,
    }
}

/// One element. Values of a format need the bytes object that they are in: they are read by `packing::values`.
fn value<'py>(py: Python<'py>, dtype: &Dtype, element: &[u8]) -> Result<Bound<'py, PyAny>, Problem> {
    match dtype {
        Dtype::Value(format) => {
            let source = PyBytes::new(py, element);
            Ok(values::read(*format, &source, 0..element.len())?)
        }
        Dtype::Scalar(scalar) => number(py, *scalar, element),
        Dtype::Bytes(_) => Ok(PyBytes::new(py, element).into_any()),
        Dtype::Str(encoding, None) => text(py, *encoding, element),
        Dtype::Str(encoding, Some(_)) => text(py, *encoding, encoding.strip_padding(element)),
        Dtype::FixedVector(scalar, _) => {
            if *scalar == Scalar::Bool {
                vector::check_bools(element).map_err(Problem::Corrupt)?;
            }
            Ok(PyBytes::new(py, element).into_any())
        }
        Dtype::AnyVector(scalar) => {
            let vector = vector::parse(*scalar, element).map_err(Problem::Corrupt)?;
            let shape = PyTuple::new(py, vector.shape)?;
            Ok((shape, PyBytes::new(py, vector.data)).into_bound_py_any(py)?)
        }
    }
}

fn text<'py>(py: Python<'py>, encoding: Encoding, bytes: &[u8]) -> Result<Bound<'py, PyAny>, Problem> {
    if encoding == Encoding::Utf8 || bytes.is_ascii() && encoding.unit() == 1 {
        // Python checks it once more in any case, and reads ASCII fastest.
        return match PyString::from_bytes(py, bytes) {
            Ok(text) => Ok(text.into_any()),
            Err(error) if error.is_instance_of::<PyUnicodeDecodeError>(py) => {
                Err(Problem::Corrupt(Undecodable { encoding }.to_string()))
            }
            Err(error) => Err(error.into()),
        };
    }
    if encoding == Encoding::Latin1 {
        return Ok(latin1(py, bytes)?.into_any());
    }
    let text = encoding.decode(bytes).map_err(|error| Problem::Corrupt(error.to_string()))?;
    Ok(PyString::new(py, &text).into_any())
}

fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len())?;
    // SAFETY: so many readable bytes; the result is a new str, or NULL with an exception set.
    let text = unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null());
        Bound::from_owned_ptr_or_err(py, text)?
    };
    Ok(text.cast_into::<PyString>()?)
}

fn number<'py>(py: Python<'py>, scalar: Scalar, element: &[u8]) -> Result<Bound<'py, PyAny>, Problem> {
    // The block gave us an element of the scalar's size.
    macro_rules! read {
        ($number:ty) => {
            match <$number as Number>::Bytes::try_from(element) {
                Ok(bytes) => <$number as Number>::from_bytes(bytes),
                Err(_) => return Err(Problem::Corrupt(format!("{} bytes for {scalar}", element.len()))),
            }
        };
    }
    Ok(match scalar {
        Scalar::I8 => read!(i8).into_bound_py_any(py)?,
        Scalar::I16 => read!(i16).into_bound_py_any(py)?,
        Scalar::I32 => read!(i32).into_bound_py_any(py)?,
        Scalar::I64 => read!(i64).into_bound_py_any(py)?,
        Scalar::U8 => read!(u8).into_bound_py_any(py)?,
        Scalar::U16 => read!(u16).into_bound_py_any(py)?,
        Scalar::U32 => read!(u32).into_bound_py_any(py)?,
        Scalar::U64 => read!(u64).into_bound_py_any(py)?,
        Scalar::F32 => PyFloat::new(py, read!(f32).into()).into_any(),
        Scalar::F64 => PyFloat::new(py, read!(f64)).into_any(),
        Scalar::Bool => {
            vector::check_bools(element).map_err(Problem::Corrupt)?;
            PyBool::new(py, read!(Bool).0).to_owned().into_any()
        }
    })
}

/// Numbers that stand back to back.
pub(crate) fn numbers<'py>(py: Python<'py>, scalar: Scalar, bytes: &[u8]) -> PyResult<Bound<'py, PyList>> {
    macro_rules! list {
        ($size:literal, $convert:expr) => {
            PyList::new(py, bytes.as_chunks::<$size>().0.iter().copied().map($convert))
        };
    }
    match scalar {
        Scalar::I8 => list!(1, i8::from_le_bytes),
        Scalar::I16 => list!(2, i16::from_le_bytes),
        Scalar::I32 => list!(4, i32::from_le_bytes),
        Scalar::I64 => list!(8, i64::from_le_bytes),
        Scalar::U8 => list!(1, |[byte]: [u8; 1]| u16::from(byte)),
        Scalar::U16 => list!(2, u16::from_le_bytes),
        Scalar::U32 => list!(4, u32::from_le_bytes),
        Scalar::U64 => list!(8, u64::from_le_bytes),
        Scalar::F32 => list!(4, f32::from_le_bytes),
        Scalar::F64 => list!(8, f64::from_le_bytes),
        Scalar::Bool => {
            vector::check_bools(bytes).map_err(|problem| corrupt(&Corrupt(problem)))?;
            list!(1, |byte| Bool::from_bytes(byte).0)
        }
    }
}
