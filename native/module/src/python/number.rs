//! One number: from a Python object to little-endian bytes and back.

use kohakuvault_core::dtype::Scalar;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

use super::errors::{Place, describe};

/// A Rust type that stores one kind of scalar.
pub(crate) trait Number: Sized + Copy {
    const SCALAR: Scalar;
    type Bytes: for<'a> TryFrom<&'a [u8]> + AsRef<[u8]>;

    /// The value of a plain `int` or `float` that fits; anything else goes the slow way.
    fn fast(value: &Bound<'_, PyAny>) -> Option<Self>;
    /// Any value of the right kind, or the error to raise.
    fn slow(value: &Bound<'_, PyAny>, place: Place) -> PyResult<Self>;
    fn to_bytes(self) -> Self::Bytes;
    fn from_bytes(bytes: Self::Bytes) -> Self;
}

/// The number in `value`, as strictly as the dtype demands.
#[inline]
pub(crate) fn read<T: Number>(value: &Bound<'_, PyAny>, place: Place) -> PyResult<T> {
    match T::fast(value) {
        Some(number) => Ok(number),
        None => T::slow(value, place),
    }
}

macro_rules! integers {
    ($($rust:ty => $scalar:ident;)*) => {$(
        impl Number for $rust {
            const SCALAR: Scalar = Scalar::$scalar;
            type Bytes = [u8; size_of::<$rust>()];

            #[inline]
            fn fast(value: &Bound<'_, PyAny>) -> Option<Self> {
                value.cast_exact::<PyInt>().ok()?.extract().ok()
            }

            #[cold]
            fn slow(value: &Bound<'_, PyAny>, place: Place) -> PyResult<Self> {
                let int = to_int(value, Self::SCALAR, place)?;
                int.extract().map_err(|_| out_of_range(&int, Self::SCALAR, place))
            }

            #[inline]
            fn to_bytes(self) -> Self::Bytes {
                self.to_le_bytes()
            }

            #[inline]
            fn from_bytes(bytes: Self::Bytes) -> Self {
                Self::from_le_bytes(bytes)
            }
        }
    )*};
}

integers! {
    i8 => I8; i16 => I16; i32 => I32; i64 => I64;
    u8 => U8; u16 => U16; u32 => U32; u64 => U64;
}

impl Number for f64 {
    const SCALAR: Scalar = Scalar::F64;
    type Bytes = [u8; 8];

    #[inline]
    fn fast(value: &Bound<'_, PyAny>) -> Option<Self> {
        Some(value.cast_exact::<PyFloat>().ok()?.value())
    }

    #[cold]
    fn slow(value: &Bound<'_, PyAny>, place: Place) -> PyResult<Self> {
        let number = to_float(value, Self::SCALAR, place)?;
        check_exact(value, number, Self::SCALAR, place)?;
        Ok(number)
    }

    #[inline]
    fn to_bytes(self) -> Self::Bytes {
        self.to_le_bytes()
    }

    #[inline]
    fn from_bytes(bytes: Self::Bytes) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl Number for f32 {
    const SCALAR: Scalar = Scalar::F32;
    type Bytes = [u8; 4];

    #[inline]
    fn fast(value: &Bound<'_, PyAny>) -> Option<Self> {
        narrow(value.cast_exact::<PyFloat>().ok()?.value())
    }

    #[cold]
    fn slow(value: &Bound<'_, PyAny>, place: Place) -> PyResult<Self> {
        let number = to_float(value, Self::SCALAR, place)?;
        let number = narrow(number).ok_or_else(|| out_of_range(value, Self::SCALAR, place))?;
        check_exact(value, number.into(), Self::SCALAR, place)?;
        Ok(number)
    }

    #[inline]
    fn to_bytes(self) -> Self::Bytes {
        self.to_le_bytes()
    }

    #[inline]
    fn from_bytes(bytes: Self::Bytes) -> Self {
        Self::from_le_bytes(bytes)
    }
}

/// Rounds to `f32`; `None` if that makes a finite number infinite.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "rounding is what f32 means; overflow is caught")]
pub(crate) fn narrow(number: f64) -> Option<f32> {
    let narrowed = number as f32;
    (narrowed.is_finite() || !number.is_finite()).then_some(narrowed)
}

/// A bool as it is stored: one byte, 0 or 1.
#[derive(Clone, Copy)]
pub(crate) struct Bool(pub(crate) bool);

impl Number for Bool {
    const SCALAR: Scalar = Scalar::Bool;
    type Bytes = [u8; 1];

    #[inline]
    fn fast(value: &Bound<'_, PyAny>) -> Option<Self> {
        Some(Self(value.cast_exact::<PyBool>().ok()?.is_true()))
    }

    #[cold]
    fn slow(value: &Bound<'_, PyAny>, place: Place) -> PyResult<Self> {
        if is_numpy_scalar(value, "b") {
            return Ok(Self(value.is_truthy()?));
        }
        Err(unsuitable(value, "bool", Self::SCALAR, place))
    }

    #[inline]
    fn to_bytes(self) -> Self::Bytes {
        [u8::from(self.0)]
    }

    #[inline]
    fn from_bytes([byte]: Self::Bytes) -> Self {
        Self(byte != 0)
    }
}

/// Runs generic code for the Rust type of a scalar: `by_scalar!(scalar, T => pack::<T>(…))`.
macro_rules! by_scalar {
    ($scalar:expr, $number:ident => $body:expr) => {
        match $scalar {
            kohakuvault_core::dtype::Scalar::I8 => {
                type $number = i8;
                $body
            }
            kohakuvault_core::dtype::Scalar::I16 => {
                type $number = i16;
                $body
            }
            kohakuvault_core::dtype::Scalar::I32 => {
                type $number = i32;
                $body
            }
            kohakuvault_core::dtype::Scalar::I64 => {
                type $number = i64;
                $body
            }
            kohakuvault_core::dtype::Scalar::U8 => {
                type $number = u8;
                $body
            }
            kohakuvault_core::dtype::Scalar::U16 => {
                type $number = u16;
                $body
            }
            kohakuvault_core::dtype::Scalar::U32 => {
                type $number = u32;
                $body
            }
            kohakuvault_core::dtype::Scalar::U64 => {
                type $number = u64;
                $body
            }
            kohakuvault_core::dtype::Scalar::F32 => {
                type $number = f32;
                $body
            }
            kohakuvault_core::dtype::Scalar::F64 => {
                type $number = f64;
                $body
            }
            kohakuvault_core::dtype::Scalar::Bool => {
                type $number = $crate::python::number::Bool;
                $body
            }
        }
    };
}
pub(crate) use by_scalar;

/// An `int`, or what `__index__` makes one of; `bool` is refused, though Python counts it among the ints.
fn to_int<'py>(value: &Bound<'py, PyAny>, scalar: Scalar, place: Place) -> PyResult<Bound<'py, PyAny>> {
    let wrong = || unsuitable(value, "int", scalar, place);
    if value.is_instance_of::<PyBool>() || is_numpy_scalar(value, "b") {
        return Err(wrong());
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(value.clone());
    }
    if !value.hasattr("__index__")? {
        return Err(wrong());
    }
    // NumPy arrays of one item have `__index__` too, and raise the TypeError themselves where they do not mean it.
    let int = value.call_method0("__index__")?;
    if int.is_instance_of::<PyInt>() { Ok(int) } else { Err(wrong()) }
}

fn to_float(value: &Bound<'_, PyAny>, scalar: Scalar, place: Place) -> PyResult<f64> {
    if value.is_instance_of::<PyBool>() {
        return Err(unsuitable(value, "float", scalar, place));
    }
    let is_number =
        value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>() || is_numpy_scalar(value, "iuf");
    if !is_number {
        return Err(unsuitable(value, "float", scalar, place));
    }
    value.extract::<f64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            out_of_range(value, scalar, place)
        } else {
            error
        }
    })
}

/// Refuses an integer that is not what was made of it. (Floats may be rounded: that is what a narrower float means.)
fn check_exact(value: &Bound<'_, PyAny>, number: f64, scalar: Scalar, place: Place) -> PyResult<()> {
    // Python compares an int with a float exactly.
    if !value.is_instance_of::<PyInt>() || value.eq(number)? {
        return Ok(());
    }
    Err(PyOverflowError::new_err(format!(
        "{place}{} cannot be held exactly by dtype {scalar}; pass a float to have it rounded",
        describe(value)
    )))
}

/// Whether a value is a `NumPy` scalar (or array without dimensions) of one of the kinds.
fn is_numpy_scalar(value: &Bound<'_, PyAny>, kinds: &str) -> bool {
    let kind = || -> PyResult<bool> {
        if value.get_type().module()?.to_str()? != "numpy" {
            return Ok(false);
        }
        let dimensions: usize = value.getattr("ndim")?.extract()?;
        let kind = value.getattr("dtype")?.getattr("kind")?;
        Ok(dimensions == 0 && kinds.contains(kind.cast::<PyString>()?.to_str()?))
    };
    kind().unwrap_or(false)
}

#[cold]
fn unsuitable(value: &Bound<'_, PyAny>, expected: &str, scalar: Scalar, place: Place) -> PyErr {
    PyTypeError::new_err(format!("{place}{} given; expected {expected} for dtype {scalar}", describe(value)))
}

#[cold]
fn out_of_range(value: &Bound<'_, PyAny>, scalar: Scalar, place: Place) -> PyErr {
    let range = match scalar.integer_range() {
        Some((least, greatest)) => format!("{least} to {greatest}"),
        None if scalar == Scalar::F32 => format!("finite f32, at most {:e}", f32::MAX),
        None => format!("finite f64, at most {:e}", f64::MAX),
    };
    PyOverflowError::new_err(format!(
        "{place}{} is out of range for dtype {scalar}; expected {range}",
        describe(value)
    ))
}
