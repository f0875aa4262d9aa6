//! Summaries of blocks, for Python (`kohakuvault_core::summary`).

use kohakuvault_core::dtype::{Dtype, Scalar};
use kohakuvault_core::summary::{Combined, Range, Summary};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt};

use super::buffer::Bytes;
use super::codec::DETACH_ABOVE;
use super::errors::{corrupt, describe, value_error};

/// Least, greatest, sum, and how many are NaN.
pub(crate) type Numbers<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, u64);

pub(crate) fn of_block<'py>(
    dtype: &Dtype,
    data: &Bound<'py, PyAny>,
    count: usize,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let Dtype::Scalar(scalar) = *dtype else { return Ok(None) };
    let py = data.py();
    let bytes = Bytes::of(data)?;
    let slice = bytes.as_slice();
    let work = || Summary::of(scalar, slice, count);
    let summary = if slice.len() > DETACH_ABOVE { py.detach(work) } else { work() };
    let summary = summary.map_err(|error| corrupt(&error))?;
    Ok(summary.map(|summary| PyBytes::new(py, &summary.to_bytes())))
}

pub(crate) fn combine<'py>(
    py: Python<'py>,
    dtype: &Dtype,
    summaries: &Bound<'py, PyAny>,
) -> PyResult<Option<Numbers<'py>>> {
    let scalar = scalar_of(dtype)?;
    let mut combined = Combined::new(scalar);
    for pair in summaries.try_iter()? {
        let (count, summary): (usize, Bound<'py, PyAny>) = pair?.extract()?;
        combined.add(count, Bytes::of(&summary)?.as_slice()).map_err(|error| corrupt(&error))?;
    }
    Ok(match combined.summary() {
        None => None,
        Some(Summary::Integers { min, max, sum }) if scalar == Scalar::Bool => {
            let bool = |number| PyBool::new(py, number != 0).to_owned().into_any();
            Some((bool(min), bool(max), sum.into_pyobject(py)?.into_any(), 0))
        }
        Some(Summary::Integers { min, max, sum }) => {
            let int = |number: i128| number.into_pyobject(py).map(Bound::into_any);
            Some((int(min)?, int(max)?, int(sum)?, 0))
        }
        Some(Summary::Floats { min, max, sum, nans }) => {
            let float = |number| PyFloat::new(py, number).into_any();
            Some((float(min), float(max), float(sum), nans))
        }
    })
}

pub(crate) fn may_contain(
    dtype: &Dtype,
    summary: &Bound<'_, PyAny>,
    low: Option<&Bound<'_, PyAny>>,
    high: Option<&Bound<'_, PyAny>>,
) -> PyResult<bool> {
    let scalar = scalar_of(dtype)?;
    let summary =
        Summary::from_bytes(scalar, Bytes::of(summary)?.as_slice()).map_err(|error| corrupt(&error))?;
    let bound =
        |given: Option<&Bound<'_, PyAny>>, side| given.map(|given| Bounding::of(given, side)).transpose();
    let (low, high) = (bound(low, Side::Low)?, bound(high, Side::High)?);
    let range = if scalar.is_float() {
        Range::Floats {
            low: low.map_or(f64::NEG_INFINITY, |low| low.float),
            high: high.map_or(f64::INFINITY, |high| high.float),
        }
    } else {
        let is_none = |bound: &Option<Bounding>| bound.as_ref().is_some_and(|bound| bound.float.is_nan());
        if is_none(&low) || is_none(&high) {
            return Ok(false);
        }
        Range::Integers {
            low: low.map_or(i128::MIN, |low| low.integer),
            high: high.map_or(i128::MAX, |high| high.integer),
        }
    };
    Ok(summary.overlaps(range))
}

fn scalar_of(dtype: &Dtype) -> PyResult<Scalar> {
    match dtype {
        Dtype::Scalar(scalar) => Ok(*scalar),
        _ => Err(value_error(format!(
            "blocks of dtype {dtype} have no summaries; those of scalar dtypes have"
        ))),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Low,
    High,
}

/// A bound of a range, moved inwards to the next number of either kind. So no number that is of that kind gets in or
/// out of the range, where rounding to the nearest would let it.
struct Bounding {
    /// Saturated: nothing that is stored is as large.
    integer: i128,
    float: f64,
}

impl Bounding {
    fn of(given: &Bound<'_, PyAny>, side: Side) -> PyResult<Self> {
        if let Ok(float) = given.cast::<PyFloat>() {
            return Ok(Self::of_float(float.value(), side));
        }
        if let Ok(int) = given.cast::<PyInt>() {
            return Self::of_int(int, side);
        }
        let wrong =
            || PyTypeError::new_err(format!("a bound is an int or a float; {} given", describe(given)));
        // NumPy's numbers, which are no subclasses.
        if given.hasattr("__index__")? {
            let int = given.call_method0("__index__")?;
            return Self::of_int(int.cast::<PyInt>().map_err(|_| wrong())?, side);
        }
        let float: f64 = given.extract().map_err(|_| wrong())?;
        // Those of more bits than a float would be rounded.
        if float.is_nan() || given.eq(float)? { Ok(Self::of_float(float, side)) } else { Err(wrong()) }
    }

    #[allow(clippy::cast_possible_truncation, reason = "saturates, as it should")]
    fn of_float(float: f64, side: Side) -> Self {
        let inwards = if side == Side::Low { float.ceil() } else { float.floor() };
        Self { integer: inwards as i128, float }
    }

    fn of_int(int: &Bound<'_, PyInt>, side: Side) -> PyResult<Self> {
        let py = int.py();
        let (integer, is_small) = match int.extract::<i64>() {
            Ok(small) => (small.into(), small.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS),
            Err(_) => match int.extract::<i128>() {
                Ok(large) => (large, false),
                Err(_) if int.lt(0)? => (i128::MIN, false),
                Err(_) => (i128::MAX, false),
            },
        };
        let float = match int.extract::<f64>() {
            Ok(float) if is_small => float,
            // Python compares the two exactly.
            Ok(float) if side == Side::Low && int.gt(float)? => float.next_up(),
            Ok(float) if side == Side::High && int.lt(float)? => float.next_down(),
            Ok(float) => float,
            Err(error) if !error.is_instance_of::<PyOverflowError>(py) => return Err(error),
            Err(_) => match (side, int.lt(0)?) {
                (Side::Low, true) => f64::MIN,
                (Side::Low, false) => f64::INFINITY,
                (Side::High, true) => f64::NEG_INFINITY,
                (Side::High, false) => f64::MAX,
            },
        };
        Ok(Self { integer, float })
    }
}
