//! The functions that Python calls.

use std::cell::Cell;

use kohakuvault_core::packing::chunked::Chunked;
use kohakuvault_core::packing::tag;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::super::buffer::{Array, is_bytes_like};
use super::array::{Parts, array_of};
use super::classes::classes;
use super::errors::{as_corrupt, corrupt, invalid, kind, refuse, short, surrogates, unsupported};
use super::msgpack_writer::is_numpy_scalar;
use super::stand_in::stand_in;
use super::walk::walk;
use super::{cbor_reader, cbor_writer, json, json_writer, msgpack_reader, msgpack_writer, number, pickle};

/// Larger buffers are given back when a value is packed.
const KEPT: usize = 1 << 16;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Where a packed value goes.
pub(super) trait Target<'py> {
    type Packed;

    /// A tag and its payload.
    fn tagged(&mut self, tag: u8, payload: &[&[u8]]) -> PyResult<Self::Packed>;
    /// What `write` appends, unless it says that this is not the value.
    fn written(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> PyResult<bool>,
    ) -> PyResult<Option<Self::Packed>>;
}

/// New bytes. Packing may run Python code that packs again: that finds another buffer.
impl<'py> Target<'py> for Python<'py> {
    type Packed = Bound<'py, PyBytes>;

    #[inline]
    fn tagged(&mut self, tag: u8, payload: &[&[u8]]) -> PyResult<Self::Packed> {
        let length = payload.iter().map(|part| part.len()).sum::<usize>();
        PyBytes::new_with(*self, 1 + length, |out| {
            let Some((first, mut rest)) = out.split_first_mut() else { return Ok(()) };
            *first = tag;
            for part in payload {
                // The lengths add up to that of the whole.
                let Some((to, after)) = rest.split_at_mut_checked(part.len()) else { break };
                to.copy_from_slice(part);
                rest = after;
            }
            Ok(())
        })
    }

    fn written(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> PyResult<bool>,
    ) -> PyResult<Option<Self::Packed>> {
        let mut buffer = BUFFER.take();
        buffer.clear();
        let bytes = write(&mut buffer).map(|is_value| is_value.then(|| PyBytes::new(*self, &buffer)));
        if buffer.capacity() <= KEPT {
            BUFFER.set(buffer);
        }
        bytes
    }
}

/// Behind what is there already. After an error the end is undefined.
impl Target<'_> for Vec<u8> {
    type Packed = ();

    #[inline]
    fn tagged(&mut self, tag: u8, payload: &[&[u8]]) -> PyResult<()> {
        self.push(tag);
        for part in payload {
            self.extend_from_slice(part);
        }
        Ok(())
    }

    fn written(&mut self, write: impl FnOnce(&mut Vec<u8>) -> PyResult<bool>) -> PyResult<Option<()>> {
        let start = self.len();
        let is_value = write(self)?;
        if !is_value {
            self.truncate(start);
        }
        Ok(is_value.then_some(()))
    }
}

/// What is appended to the buffer, as bytes.
pub(super) fn collect(
    mut py: Python<'_>,
    write: impl FnOnce(&mut Vec<u8>) -> PyResult<()>,
) -> PyResult<Bound<'_, PyBytes>> {
    whole(&mut py, write)
}

fn whole<'py, T: Target<'py>>(
    target: &mut T,
    write: impl FnOnce(&mut Vec<u8>) -> PyResult<()>,
) -> PyResult<T::Packed> {
    let packed = target.written(|out| write(out).map(|()| true))?;
    packed.ok_or_else(|| PyRuntimeError::new_err("a value was not written"))
}

/// How a value is to be encoded.
#[derive(Clone, Copy)]
pub(super) enum Form {
    MessagePack,
    Cbor,
    Json,
    Pickle,
}

impl Form {
    /// The form that every value of no wrapper is to have.
    pub(super) fn of(py: Python<'_>, encoding: &str) -> PyResult<Self> {
        Ok(match encoding {
            "msgpack" => Self::MessagePack,
            "cbor" => Self::Cbor,
            "json" => Self::Json,
            "pickle" => Self::Pickle,
            _ => {
                return Err(invalid(
                    py,
                    format!("{encoding:?} is no encoding: None, 'msgpack', 'cbor', 'json' and 'pickle' are"),
                ));
            }
        })
    }
}

/// A value as one tag byte and its payload.
#[pyfunction]
#[pyo3(signature = (value, allow_pickle = false, encoding = None))]
pub(crate) fn pack<'py>(
    value: &Bound<'py, PyAny>,
    allow_pickle: bool,
    encoding: Option<&str>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut py = value.py();
    match encoding {
        None => pack_to(&mut py, value, allow_pickle),
        Some(encoding) => pack_as(&mut py, value, Form::of(value.py(), encoding)?, allow_pickle),
    }
}

/// Packs a value in the form that suits it.
#[inline]
pub(super) fn pack_to<'py, T: Target<'py>>(
    target: &mut T,
    value: &Bound<'py, PyAny>,
    allow_pickle: bool,
) -> PyResult<T::Packed> {
    let py = value.py();
    if value.is_exact_instance_of::<PyDict>()
        || value.is_exact_instance_of::<PyList>()
        || value.is_exact_instance_of::<PyTuple>()
    {
        in_form(target, value, Form::MessagePack, allow_pickle)
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        target.tagged(tag::BYTES, &[bytes.as_bytes()])
    } else if let Ok(text) = value.cast_exact::<PyString>() {
        target.tagged(tag::TEXT, &[text.to_str().map_err(|error| surrogates(py, &error))?.as_bytes()])
    } else if let Ok(value) = value.cast_exact::<PyInt>() {
        pack_int(target, value)
    } else if let Ok(value) = value.cast_exact::<PyFloat>() {
        target.tagged(tag::FLOAT, &[&value.value().to_le_bytes()])
    } else if value.is_none() {
        target.tagged(tag::NONE, &[])
    } else if let Ok(value) = value.cast_exact::<PyBool>() {
        target.tagged(if value.is_true() { tag::TRUE } else { tag::FALSE }, &[])
    } else {
        pack_other(target, value, allow_pickle)
    }
}

/// Packs a value in the form given, unless its wrapper says another.
pub(super) fn pack_as<'py, T: Target<'py>>(
    target: &mut T,
    value: &Bound<'py, PyAny>,
    form: Form,
    allow_pickle: bool,
) -> PyResult<T::Packed> {
    match wrapped(value)? {
        Some((form, value)) => in_form(target, &value, form, allow_pickle),
        None => in_form(target, value, form, allow_pickle),
    }
}

fn pack_int<'py, T: Target<'py>>(target: &mut T, value: &Bound<'py, PyInt>) -> PyResult<T::Packed> {
    match value.extract() {
        Ok(number) => whole(target, |out| {
            out.push(tag::INT);
            number::write_small_int(out, number);
            Ok(())
        }),
        Err(_) => target.tagged(tag::INT, &[number::int_payload(value)?.as_bytes()]),
    }
}

fn pack_other<'py, T: Target<'py>>(
    target: &mut T,
    value: &Bound<'py, PyAny>,
    allow_pickle: bool,
) -> PyResult<T::Packed> {
    let py = value.py();
    if let Some((form, value)) = wrapped(value)? {
        return in_form(target, &value, form, allow_pickle);
    }
    let classes = classes(py)?;
    let class = value.get_type();
    if class.is(&classes.chunked) {
        return Err(unsupported(
            py,
            format!(
                "cannot store {}: its chunks belong to the entry that it was read from. Copy the bytes, by \
                 KVault.open and put_file",
                short(value)
            ),
        ));
    }
    let is_array = class.is(&classes.ndarray);
    if is_array || is_numpy_scalar(&class)? {
        return match Parts::of(value, allow_pickle)? {
            Some(parts) => target.tagged(if is_array { tag::ARRAY } else { tag::SCALAR }, &parts.payload()),
            None => in_form(target, value, Form::Pickle, true),
        };
    }
    if is_container(value) {
        return in_form(target, value, Form::MessagePack, allow_pickle);
    }
    let known = target.written(|out| {
        out.push(tag::MSGPACK);
        // A first look, at what `walk` would write as a pickle inside of MessagePack.
        Ok(msgpack_writer::Writer { out, allow_pickle: false }.known(value)?.is_some())
    })?;
    if let Some(packed) = known {
        return Ok(packed);
    }
    match stand_in(value)? {
        Some(plain) => pack_to(target, &plain, allow_pickle),
        None if allow_pickle => in_form(target, value, Form::Pickle, true),
        None => Err(refuse(value)),
    }
}

/// Whether a value of no type that `pack` has looked at has items all the same.
fn is_container(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<pyo3::types::PySet>()
        || value.is_exact_instance_of::<pyo3::types::PyFrozenSet>()
}

/// The encoding that a wrapper asks for, and the value in it.
fn wrapped<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<(Form, Bound<'py, PyAny>)>> {
    let py = value.py();
    let classes = classes(py)?;
    let class = value.get_type();
    let form = if class.is(&classes.as_msgpack) {
        Form::MessagePack
    } else if class.is(&classes.as_cbor) {
        Form::Cbor
    } else if class.is(&classes.as_json) {
        Form::Json
    } else if class.is(&classes.as_pickle) {
        Form::Pickle
    } else {
        return Ok(None);
    };
    Ok(Some((form, value.getattr(intern!(py, "value"))?)))
}

fn in_form<'py, T: Target<'py>>(
    target: &mut T,
    value: &Bound<'py, PyAny>,
    form: Form,
    allow_pickle: bool,
) -> PyResult<T::Packed> {
    let py = value.py();
    match form {
        Form::MessagePack => whole(target, |out| {
            out.push(tag::MSGPACK);
            walk(&mut msgpack_writer::Writer { out, allow_pickle }, value)
        }),
        Form::Cbor => whole(target, |out| {
            out.push(tag::CBOR);
            walk(&mut cbor_writer::Writer { out }, value)
        }),
        Form::Json => whole(target, |out| {
            out.push(tag::JSON);
            json_writer::append(out, value)
        }),
        Form::Pickle if allow_pickle => {
            let plain = stand_in(value)?;
            target.tagged(tag::PICKLE, &[pickle::dumps(plain.as_ref().unwrap_or(value))?.as_bytes()])
        }
        Form::Pickle => Err(unsupported(
            py,
            format!(
                "cannot store {} of type {} as a pickle, which can run any code when it is read; allow it with \
                 pickle=True",
                short(value),
                kind(value)
            ),
        )),
    }
}

/// The value that `pack` made some bytes from.
#[pyfunction]
#[pyo3(signature = (data, allow_pickle = false))]
pub(crate) fn unpack<'py>(data: &Bound<'py, PyAny>, allow_pickle: bool) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    let source = &stored(data)?;
    let Some((&first, payload)) = source.as_bytes().split_first() else {
        return Err(corrupt(py, "stored value has no bytes, not even a tag"));
    };
    match first {
        tag::MSGPACK => msgpack_reader::read(source, 1, allow_pickle),
        tag::BYTES => Ok(PyBytes::new(py, payload).into_any()),
        tag::TEXT => json::text(py, payload).map(Bound::into_any),
        tag::NONE if payload.is_empty() => Ok(py.None().into_bound(py)),
        tag::FALSE if payload.is_empty() => Ok(PyBool::new(py, false).to_owned().into_any()),
        tag::TRUE if payload.is_empty() => Ok(PyBool::new(py, true).to_owned().into_any()),
        tag::INT if !payload.is_empty() => number::int_of(py, payload),
        tag::FLOAT => match <[u8; 8]>::try_from(payload) {
            Ok(bytes) => Ok(PyFloat::new(py, f64::from_le_bytes(bytes)).into_any()),
            Err(_) => Err(wrong_length(py, first, payload)),
        },
        tag::CBOR => cbor_reader::read(source, 1),
        tag::JSON => json::loads(py, payload),
        tag::ARRAY | tag::SCALAR => array_of(source, 1..1 + payload.len(), first == tag::SCALAR)
            .map_err(|error| as_corrupt(py, "array", error)),
        tag::PICKLE => pickle::loads(py, payload, allow_pickle),
        tag::CHUNKED => chunked(py, payload),
        tag::NONE | tag::FALSE | tag::TRUE | tag::INT => Err(wrong_length(py, first, payload)),
        _ => Err(corrupt(
            py,
            format!(
                "stored value {} does not begin with a known tag: it was written by something else, or is damaged",
                short(source)
            ),
        )),
    }
}

/// Stored bytes as `bytes`; anything else in the place of a value was not written by us.
fn stored<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    if !is_bytes_like(data) {
        return Err(corrupt(
            data.py(),
            format!(
                "stored value {} of type {} is no bytes: it was written by something else",
                short(data),
                kind(data)
            ),
        ));
    }
    Ok(PyBytes::new(data.py(), Array::of(data)?.bytes()))
}

/// A `ChunkedBytes`, which says where the bytes are.
fn chunked<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let payload = payload.try_into().map_err(|_| wrong_length(py, tag::CHUNKED, payload))?;
    match Chunked::read(payload) {
        Some(Chunked { stream, length, chunk_size }) => {
            classes(py)?.chunked.bind(py).call1((stream, length, chunk_size))
        }
        None => {
            Err(corrupt(py, format!("stored value {payload:02x?} of tag 0d cannot be that of any chunks")))
        }
    }
}

#[cold]
fn wrong_length(py: Python<'_>, tag: u8, payload: &[u8]) -> PyErr {
    corrupt(
        py,
        format!("stored value of tag {tag:02x} has {} payload bytes, which it cannot have", payload.len()),
    )
}

/// A value as `MessagePack`, without a tag.
#[pyfunction]
#[pyo3(signature = (value, allow_pickle = false))]
pub(crate) fn pack_msgpack<'py>(
    value: &Bound<'py, PyAny>,
    allow_pickle: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    collect(value.py(), |out| walk(&mut msgpack_writer::Writer { out, allow_pickle }, value))
}

/// The value of some `MessagePack`.
#[pyfunction]
#[pyo3(signature = (data, allow_pickle = false))]
pub(crate) fn unpack_msgpack<'py>(
    data: &Bound<'py, PyAny>,
    allow_pickle: bool,
) -> PyResult<Bound<'py, PyAny>> {
    msgpack_reader::read(&stored(data)?, 0, allow_pickle)
}

/// A value as CBOR, without a tag.
#[pyfunction]
pub(crate) fn pack_cbor<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    collect(value.py(), |out| walk(&mut cbor_writer::Writer { out }, value))
}

/// The value of some CBOR.
#[pyfunction]
pub(crate) fn unpack_cbor<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    cbor_reader::read(&stored(data)?, 0)
}
