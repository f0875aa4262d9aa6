//! Values as CBOR: those that its readers give back as they were.

use kohakuvault_core::packing::cbor::{self, Major};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet, PyInt, PySet, PyTuple};

use super::classes::classes;
use super::errors::{kind, short, unsupported};
use super::stand_in::stand_in;
use super::walk::{Encoding, Written};

pub(super) const POSITIVE_BIG_INT: u64 = 2;
pub(super) const NEGATIVE_BIG_INT: u64 = 3;
/// <https://github.com/input-output-hk/cbor-sets-spec/blob/master/CBOR_SETS.md>
pub(super) const SET: u64 = 258;

/// Appends CBOR to some bytes.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
}

impl Encoding for Writer<'_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    fn none(&mut self) {
        cbor::write_null(self.out);
    }

    fn bool(&mut self, value: bool) {
        cbor::write_bool(self.out, value);
    }

    fn int(&mut self, value: i64) {
        cbor::write_int(self.out, value);
    }

    fn big_int(&mut self, value: &Bound<'_, PyInt>) -> PyResult<()> {
        let py = value.py();
        let negative = value.lt(0)?;
        // -1 - n for negative numbers.
        let number =
            if negative { value.call_method0(intern!(py, "__invert__"))? } else { value.clone().into_any() };
        if let Ok(number) = number.extract() {
            cbor::write_head(self.out, if negative { Major::Negative } else { Major::UInt }, number);
            return Ok(());
        }
        let bits: usize = number.call_method0(intern!(py, "bit_length"))?.extract()?;
        let bytes = number
            .call_method1(intern!(py, "to_bytes"), (bits.div_ceil(8), intern!(py, "big")))?
            .cast_into::<PyBytes>()?;
        cbor::write_head(self.out, Major::Tag, if negative { NEGATIVE_BIG_INT } else { POSITIVE_BIG_INT });
        cbor::write_bytes(self.out, bytes.as_bytes());
        Ok(())
    }

    fn float(&mut self, value: f64) {
        cbor::write_float(self.out, value);
    }

    fn text(&mut self, value: &str, _: Python<'_>) -> PyResult<()> {
        cbor::write_text(self.out, value);
        Ok(())
    }

    fn bytes(&mut self, value: &Bound<'_, PyBytes>) -> PyResult<()> {
        cbor::write_bytes(self.out, value.as_bytes());
        Ok(())
    }

    fn list(&mut self, count: usize, _: Python<'_>) -> PyResult<()> {
        cbor::write_head(self.out, Major::Array, count as u64);
        Ok(())
    }

    fn dict(&mut self, count: usize, _: Python<'_>) -> PyResult<()> {
        cbor::write_head(self.out, Major::Map, count as u64);
        Ok(())
    }

    /// An array that has to be hashable is read as a tuple, any other as a list.
    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>, hashable: bool) -> PyResult<()> {
        if !hashable {
            return Err(refuse(tuple));
        }
        self.list(tuple.len(), tuple.py())
    }

    fn other<'py>(&mut self, value: &Bound<'py, PyAny>, hashable: bool) -> PyResult<Written<'py>> {
        let py = value.py();
        let is_set = value.is_exact_instance_of::<PySet>();
        if is_set || hashable && value.is_exact_instance_of::<PyFrozenSet>() {
            let elements = py.get_type::<PyTuple>().call1((value,))?.cast_into::<PyTuple>()?;
            cbor::write_head(self.out, Major::Tag, SET);
            cbor::write_head(self.out, Major::Array, elements.len() as u64);
            return Ok(Written::Set(elements));
        }
        let tagged = classes(py)?.cbor_tag.bind(py).call1((value,))?;
        if tagged.is_none() {
            let Some(plain) = stand_in(value)? else { return Err(refuse(value)) };
            return Ok(Written::Head { items: PyTuple::new(py, [plain])?, hashable });
        }
        let (tag, content): (u64, Bound<'py, PyAny>) = tagged.extract()?;
        cbor::write_head(self.out, Major::Tag, tag);
        Ok(Written::Head { items: PyTuple::new(py, [content])?, hashable })
    }
}

#[cold]
fn refuse(value: &Bound<'_, PyAny>) -> PyErr {
    unsupported(
        value.py(),
        format!(
            "cannot store {} of type {} as CBOR, which would change it: bytes, str, bool, int, float, None, complex, \
             dict, list, set, Decimal, Fraction, UUID, date and datetime with a fixed offset are taken. Convert it \
             first, or use MessagePack",
            short(value),
            kind(value)
        ),
    )
}
