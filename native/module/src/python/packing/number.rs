//! Numbers that are more than one machine word: ints of any size, `complex`, `Decimal`, `Fraction`, `UUID`.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyComplex, PyComplexMethods, PyDict, PyInt, PyString};

use super::classes::classes;

/// An int as little-endian two's complement, of `bit_length // 8 + 1` bytes.
pub(super) fn int_payload<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    let bits: usize = value.call_method0(intern!(py, "bit_length"))?.extract()?;
    Ok(value
        .call_method(intern!(py, "to_bytes"), (bits / 8 + 1, intern!(py, "little")), Some(&signed(py)?))?
        .cast_into::<PyBytes>()?)
}

/// Appends what [`int_payload`] returns for a number of 64 bits.
pub(super) fn write_small_int(out: &mut Vec<u8>, number: i64) {
    let bits = u64::BITS - number.unsigned_abs().leading_zeros();
    let bytes = i128::from(number).to_le_bytes();
    out.extend(bytes.iter().take(bits as usize / 8 + 1));
}

pub(super) fn int_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if let (Some(last), 1..=8) = (payload.last(), payload.len()) {
        let mut bytes = [if last & 0x80 == 0 { 0 } else { 0xFF }; 8];
        for (to, from) in bytes.iter_mut().zip(payload) {
            *to = *from;
        }
        return Ok(i64::from_le_bytes(bytes).into_pyobject(py)?.into_any());
    }
    big_int(py, payload, intern!(py, "little"), true)
}

/// A big-endian number `n`, or `-1 - n`.
pub(super) fn unsigned_of<'py>(
    py: Python<'py>,
    payload: &[u8],
    negative: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let number = big_int(py, payload, intern!(py, "big"), false)?;
    if negative { number.call_method0(intern!(py, "__invert__")) } else { Ok(number) }
}

fn big_int<'py>(
    py: Python<'py>,
    payload: &[u8],
    order: &Bound<'py, PyString>,
    is_signed: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let options = if is_signed { Some(signed(py)?) } else { None };
    let arguments = (PyBytes::new(py, payload), order);
    py.get_type::<PyInt>().call_method(intern!(py, "from_bytes"), arguments, options.as_ref())
}

fn signed(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let options = PyDict::new(py);
    options.set_item(intern!(py, "signed"), true)?;
    Ok(options)
}

pub(super) fn complex_payload(value: &Bound<'_, PyComplex>) -> [u8; 16] {
    let (real, imaginary) = (value.real().to_le_bytes(), value.imag().to_le_bytes());
    let mut payload = [0; 16];
    for (to, from) in payload.iter_mut().zip(real.into_iter().chain(imaginary)) {
        *to = from;
    }
    payload
}

pub(super) fn complex_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match payload.as_chunks::<8>() {
        ([real, imaginary], []) => {
            let (real, imaginary) = (f64::from_le_bytes(*real), f64::from_le_bytes(*imaginary));
            Ok(PyComplex::from_doubles(py, real, imaginary).into_any())
        }
        _ => Err(wrong("complex")),
    }
}

/// What `str` writes, which says everything about a Decimal. (Contexts differ in how they write the E.)
pub(super) fn decimal_payload(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut text = value.str()?.to_str()?.as_bytes().to_vec();
    for letter in &mut text {
        if *letter == b'e' {
            *letter = b'E';
        }
    }
    Ok(text)
}

pub(super) fn decimal_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let text = PyString::from_bytes(py, payload)?;
    let value = classes(py)?.decimal.bind(py).call1((&text,))?;
    // A context may say that what is no number becomes NaN.
    if value.str()?.to_str()?.as_bytes().eq_ignore_ascii_case(payload) {
        Ok(value)
    } else {
        Err(wrong("Decimal"))
    }
}

/// The length of the numerator in 4 bytes, the numerator, the denominator.
pub(super) fn fraction_payload(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let py = value.py();
    let numerator = int_payload(&value.getattr(intern!(py, "numerator"))?)?;
    let denominator = int_payload(&value.getattr(intern!(py, "denominator"))?)?;
    let (numerator, denominator) = (numerator.as_bytes(), denominator.as_bytes());
    let length =
        u32::try_from(numerator.len()).map_err(|_| PyValueError::new_err("the numerator is too large"))?;
    Ok([&length.to_le_bytes(), numerator, denominator].concat())
}

pub(super) fn fraction_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (length, rest) = payload.split_first_chunk::<4>().ok_or_else(|| wrong("Fraction"))?;
    let length = usize::try_from(u32::from_le_bytes(*length))?;
    let (numerator, denominator) = rest.split_at_checked(length).ok_or_else(|| wrong("Fraction"))?;
    classes(py)?.fraction.bind(py).call1((int_of(py, numerator)?, int_of(py, denominator)?))
}

pub(super) fn uuid_payload(value: &Bound<'_, PyAny>) -> PyResult<[u8; 16]> {
    Ok(value.getattr(intern!(value.py(), "int"))?.extract::<u128>()?.to_be_bytes())
}

pub(super) fn uuid_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let number = u128::from_be_bytes(payload.try_into().map_err(|_| wrong("UUID"))?);
    let options = PyDict::new(py);
    options.set_item(intern!(py, "int"), number)?;
    classes(py)?.uuid.bind(py).call((), Some(&options))
}

#[cold]
pub(super) fn wrong(what: &str) -> PyErr {
    PyValueError::new_err(format!("the bytes of a {what} are not what they should be"))
}
