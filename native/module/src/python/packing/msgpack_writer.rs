//! Values as `MessagePack`.

use kohakuvault_core::packing::{TooLong, extension, msgpack};
use pyo3::exceptions::PyUnicodeEncodeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyComplex, PyFrozenSet, PyInt, PyMemoryView, PySet, PyTuple, PyType,
};

use super::super::buffer::{Array, Item};
use super::array::Parts;
use super::classes::classes;
use super::errors::{invalid, refuse, surrogates, unsupported};
use super::stand_in::stand_in;
use super::walk::{Encoding, Written};
use super::{number, pickle, time};
use kohakuvault_core::dtype::Scalar;

/// Appends `MessagePack` to some bytes.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) allow_pickle: bool,
}

#[cold]
fn too_long(py: Python<'_>, error: TooLong) -> PyErr {
    invalid(py, format!("cannot pack: {error}"))
}

impl Encoding for Writer<'_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    fn none(&mut self) {
        msgpack::write_nil(self.out);
    }

    fn bool(&mut self, value: bool) {
        msgpack::write_bool(self.out, value);
    }

    #[inline]
    fn int(&mut self, value: i64) {
        msgpack::write_int(self.out, value);
    }

    fn big_int(&mut self, value: &Bound<'_, PyInt>) -> PyResult<()> {
        if let Ok(value) = value.extract() {
            msgpack::write_uint(self.out, value);
            return Ok(());
        }
        let payload = number::int_payload(value)?;
        self.extension(extension::INT, payload.as_bytes(), value.py())
    }

    fn float(&mut self, value: f64) {
        msgpack::write_float(self.out, value);
    }

    #[inline]
    fn text(&mut self, value: &str, py: Python<'_>) -> PyResult<()> {
        msgpack::write_text(self.out, value).map_err(|error| too_long(py, error))
    }

    fn bytes(&mut self, value: &Bound<'_, PyBytes>) -> PyResult<()> {
        msgpack::write_bytes(self.out, value.as_bytes()).map_err(|error| too_long(value.py(), error))
    }

    #[inline]
    fn list(&mut self, count: usize, py: Python<'_>) -> PyResult<()> {
        msgpack::write_array(self.out, count).map_err(|error| too_long(py, error))
    }

    #[inline]
    fn dict(&mut self, count: usize, py: Python<'_>) -> PyResult<()> {
        msgpack::write_map(self.out, count).map_err(|error| too_long(py, error))
    }

    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>, _: bool) -> PyResult<()> {
        self.marked(extension::TUPLE, tuple.len(), tuple.py())
    }

    fn other<'py>(&mut self, value: &Bound<'py, PyAny>, _: bool) -> PyResult<Written<'py>> {
        if let Some(written) = self.known(value)? {
            return Ok(written);
        }
        match stand_in(value)? {
            Some(plain) => Ok(Written::Head { items: PyTuple::new(value.py(), [plain])?, hashable: false }),
            None if self.allow_pickle => {
                self.extension(extension::PICKLE, pickle::dumps(value)?.as_bytes(), value.py())?;
                Ok(Written::Whole)
            }
            None => Err(refuse(value)),
        }
    }
}

impl Writer<'_> {
    /// Writes a value of a type that has an extension type; `None` for any other.
    pub(super) fn known<'py>(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Written<'py>>> {
        let py = value.py();
        let classes = classes(py)?;
        let class = value.get_type();
        if value.is_exact_instance_of::<PySet>() || value.is_exact_instance_of::<PyFrozenSet>() {
            // All at once, so that the set cannot change while its elements are written.
            let items = py.get_type::<PyTuple>().call1((value,))?.cast_into::<PyTuple>()?;
            let mutable = value.is_exact_instance_of::<PySet>();
            let mark = if mutable { extension::SET } else { extension::FROZENSET };
            self.marked(mark, items.len(), py)?;
            return Ok(Some(Written::Set(items)));
        }
        if class.is(&classes.ndarray) || is_numpy_scalar(&class)? {
            return self.array(value, class.is(&classes.ndarray));
        }
        let (kind, payload) = if class.is(&classes.uuid) {
            (extension::UUID, number::uuid_payload(value)?.to_vec())
        } else if class.is(&classes.decimal) {
            (extension::DECIMAL, number::decimal_payload(value)?)
        } else if class.is(&classes.fraction) {
            (extension::FRACTION, number::fraction_payload(value)?)
        } else if let Ok(value) = value.cast_exact::<PyComplex>() {
            (extension::COMPLEX, number::complex_payload(value).to_vec())
        } else if let Ok(value) = value.cast_exact::<PyByteArray>() {
            (extension::BYTEARRAY, value.to_vec())
        } else if value.is_exact_instance_of::<PyMemoryView>() {
            (extension::MEMORYVIEW, view(value)?)
        } else {
            match time::payload(value) {
                Ok(Some(written)) => written,
                Ok(None) => return Ok(None),
                // The name of a zone.
                Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(py) => {
                    return Err(surrogates(py, &error));
                }
                Err(error) => return Err(error),
            }
        };
        self.extension(kind, &payload, py)?;
        Ok(Some(Written::Whole))
    }

    fn array<'py>(&mut self, value: &Bound<'py, PyAny>, is_array: bool) -> PyResult<Option<Written<'py>>> {
        let py = value.py();
        let Some(parts) = Parts::of(value, self.allow_pickle)? else { return Ok(None) };
        let kind = if is_array { extension::ARRAY } else { extension::SCALAR };
        msgpack::write_extension(self.out, kind, parts.len()).map_err(|error| too_long(py, error))?;
        parts.write(self.out);
        Ok(Some(Written::Whole))
    }

    fn extension(&mut self, kind: i8, payload: &[u8], py: Python<'_>) -> PyResult<()> {
        msgpack::write_extension(self.out, kind, payload.len()).map_err(|error| too_long(py, error))?;
        self.out.extend_from_slice(payload);
        Ok(())
    }

    /// The head of a container that is an array with a mark.
    fn marked(&mut self, mark: i8, count: usize, py: Python<'_>) -> PyResult<()> {
        msgpack::write_array(self.out, count + 1).map_err(|error| too_long(py, error))?;
        msgpack::write_mark(self.out, mark);
        Ok(())
    }
}

pub(super) fn is_numpy_scalar(class: &Bound<'_, PyType>) -> PyResult<bool> {
    class.is_subclass(classes(class.py())?.generic.bind(class.py()))
}

/// The bytes of a memoryview of bytes.
fn view(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    match Array::of(value) {
        Ok(array) if array.shape().len() == 1 && array.item() == Some(Item::Scalar(Scalar::U8)) => {
            Ok(array.bytes().to_vec())
        }
        Ok(array) => Err(unsupported(
            value.py(),
            format!(
                "cannot store a memoryview of {} dimensions and items of {}: of one dimension and bytes is what \
                 comes back. Convert it with cast('B'), bytes() or numpy.asarray()",
                array.shape().len(),
                array.format()
            ),
        )),
        Err(error) => {
            Err(unsupported(value.py(), format!("cannot store a memoryview: {}", error.value(value.py()))))
        }
    }
}
