//! Blocks as lists of Python values.

use kohakuvault_core::block::{Block, BlockError, Corrupt, Layout};
use kohakuvault_core::dtype::{Dtype, Scalar};
use kohakuvault_core::text::Encoding;
use kohakuvault_core::vector;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyList, PyString, PyTuple};

use super::errors::{block_error, corrupt};
use super::number::{Bool, Number};

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

fn value<'py>(py: Python<'py>, dtype: &Dtype, element: &[u8]) -> Result<Bound<'py, PyAny>, Problem> {
    match dtype {
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
    let text = encoding.decode(bytes).map_err(|error| Problem::Corrupt(error.to_string()))?;
    Ok(PyString::new(py, &text).into_any())
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

fn numbers<'py>(py: Python<'py>, scalar: Scalar, bytes: &[u8]) -> PyResult<Bound<'py, PyList>> {
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
