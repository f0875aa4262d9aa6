//! What is known of the elements of a dtype beforehand.

use kohakuvault_core::dtype::{Dtype, Scalar};
use kohakuvault_core::packing::MAX_DEPTH;
use kohakuvault_core::vector::type_code;
use pyo3::prelude::*;

use super::super::errors::value_error;
use super::super::packing::classes::classes;

/// Where the data of a vector of fixed shape begins: behind its type.
pub(super) const TYPE_SIZE: usize = 1;

pub(super) struct Layout {
    pub(super) dtype: Dtype,
    /// Bytes of an element; `None` if elements differ in size.
    pub(super) size: Option<usize>,
    /// How deep a value may be nested.
    pub(super) max_depth: usize,
    /// `numpy`'s dtype of the numbers, for dtypes of numbers.
    numpy: Option<Py<PyAny>>,
}

impl Layout {
    pub(super) fn of(py: Python<'_>, dtype: &str) -> PyResult<Self> {
        let dtype: Dtype = dtype.parse().map_err(value_error)?;
        let size = match dtype {
            Dtype::FixedVector(..) => dtype.item_size().map(|size| size + TYPE_SIZE),
            _ => dtype.item_size(),
        };
        let numpy = match dtype {
            Dtype::Scalar(scalar) | Dtype::FixedVector(scalar, _) | Dtype::AnyVector(scalar) => {
                Some(classes(py)?.numpy_dtype.bind(py).call1((numpy_name(scalar),))?.unbind())
            }
            _ => None,
        };
        Ok(Self { dtype, size, max_depth: MAX_DEPTH, numpy })
    }

    /// The shape of every element: `None` if there is no one shape of numbers.
    pub(super) fn numbers(&self) -> Option<(Scalar, &[usize])> {
        match &self.dtype {
            Dtype::Scalar(scalar) => Some((*scalar, &[])),
            Dtype::FixedVector(scalar, shape) => Some((*scalar, shape)),
            _ => None,
        }
    }

    /// The byte that an element begins with, if it begins with one that all have.
    pub(super) fn type_code(&self) -> Option<u8> {
        match &self.dtype {
            Dtype::FixedVector(scalar, _) => Some(type_code(*scalar)),
            _ => None,
        }
    }

    pub(super) fn numpy<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match &self.numpy {
            Some(numpy) => numpy.bind(py).clone(),
            // Only asked for where there are numbers.
            None => py.None().into_bound(py),
        }
    }
}

fn numpy_name(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::I8 => "|i1",
        Scalar::I16 => "<i2",
        Scalar::I32 => "<i4",
        Scalar::I64 => "<i8",
        Scalar::U8 => "|u1",
        Scalar::U16 => "<u2",
        Scalar::U32 => "<u4",
        Scalar::U64 => "<u8",
        Scalar::F32 => "<f4",
        Scalar::F64 => "<f8",
        Scalar::Bool => "|b1",
    }
}
