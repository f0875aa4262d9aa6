//! The functions that Python calls.

use std::cell::Cell;

use kohakuvault_core::packing::chunked::Chunked;
use kohakuvault_core::packing::{json, tag};
use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::super::buffer::{Array, is_bytes_like};
use super::array::{Parts, array_of};
use super::classes::classes;
use super::errors::{as_corrupt, corrupt, invalid, kind, refuse, short, surrogates, unsupported};
use super::msgpack_writer::is_numpy_scalar;
use super::walk::walk;
use super::{cbor_reader, cbor_writer, msgpack_reader, msgpack_writer, number, pickle};

/// JSON is parsed by Python's `json`, which recurses: 100 levels fit on every stack.
const MAX_JSON_DEPTH: usize = 100;

/// Larger buffers are given back when a value is packed.
const KEPT: usize = 1 << 16;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What is appended to the buffer, as bytes. Packing may run Python code that packs again: that finds another buffer.
fn collect(py: Python<'_>, write: impl FnOnce(&mut Vec<u8>) -> PyResult<()>) -> PyResult<Bound<'_, PyBytes>> {
    let mut buffer = BUFFER.take();
    buffer.clear();
    let bytes = write(&mut buffer).map(|()| PyBytes::new(py, &buffer));
    if buffer.capacity() <= KEPT {
        BUFFER.set(buffer);
    }
    bytes
}

/// How a value is to be encoded.
#[derive(Clone, Copy)]
enum Form {
    MessagePack,
    Cbor,
    Json,
    Pickle,
}

/// A value as one tag byte and its payload.
#[pyfunction]
#[pyo3(signature = (value, allow_pickle = false, encoding = None))]
pub(crate) fn pack<'py>(
    value: &Bound<'py, PyAny>,
    allow_pickle: bool,
    encoding: Option<&str>,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    if let Some(encoding) = encoding {
        let form = match encoding {
            "msgpack" => Form::MessagePack,
            "cbor" => Form::Cbor,
            "json" => Form::Json,
            "pickle" => Form::Pickle,
            _ => {
                return Err(invalid(
                    py,
                    format!("{encoding:?} is no encoding: None, 'msgpack', 'cbor', 'json' and 'pickle' are"),
                ));
            }
        };
        return match wrapped(value)? {
            Some((form, value)) => in_form(&value, form, allow_pickle),
            None => in_form(value, form, allow_pickle),
        };
    }
    if value.is_exact_instance_of::<PyDict>()
        || value.is_exact_instance_of::<PyList>()
        || value.is_exact_instance_of::<PyTuple>()
    {
        in_form(value, Form::MessagePack, allow_pickle)
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        tagged(py, tag::BYTES, bytes.as_bytes())
    } else if let Ok(text) = value.cast_exact::<PyString>() {
        tagged(py, tag::TEXT, text.to_str().map_err(|error| surrogates(py, &error))?.as_bytes())
    } else if let Ok(value) = value.cast_exact::<PyInt>() {
        pack_int(value)
    } else if let Ok(value) = value.cast_exact::<PyFloat>() {
        tagged(py, tag::FLOAT, &value.value().to_le_bytes())
    } else if value.is_none() {
        tagged(py, tag::NONE, &[])
    } else if let Ok(value) = value.cast_exact::<PyBool>() {
        tagged(py, if value.is_true() { tag::TRUE } else { tag::FALSE }, &[])
    } else {
        pack_other(value, allow_pickle)
    }
}

fn tagged<'py>(py: Python<'py>, tag: u8, payload: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, 1 + payload.len(), |out| {
        if let Some((first, rest)) = out.split_first_mut() {
            *first = tag;
            rest.copy_from_slice(payload);
        }
        Ok(())
    })
}

fn pack_int<'py>(value: &Bound<'py, PyInt>) -> PyResult<Bound<'py, PyBytes>> {
    match value.extract() {
        Ok(number) => collect(value.py(), |out| {
            out.push(tag::INT);
            number::write_small_int(out, number);
            Ok(())
        }),
        Err(_) => tagged(value.py(), tag::INT, number::int_payload(value)?.as_bytes()),
    }
}

fn pack_other<'py>(value: &Bound<'py, PyAny>, allow_pickle: bool) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    if let Some((form, value)) = wrapped(value)? {
        return in_form(&value, form, allow_pickle);
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
            Some(parts) => parts.tagged(py, if is_array { tag::ARRAY } else { tag::SCALAR }),
            None => in_form(value, Form::Pickle, true),
        };
    }
    let mut is_known = true;
    let packed = collect(py, |out| {
        out.push(tag::MSGPACK);
        // A first look, at what `walk` would write as a pickle inside of MessagePack.
        let mut writer = msgpack_writer::Writer { out, allow_pickle: false };
        if is_container(value) {
            writer.allow_pickle = allow_pickle;
            return walk(&mut writer, value);
        }
        is_known = writer.known(value)?.is_some();
        Ok(())
    })?;
    match (is_known, allow_pickle) {
        (true, _) => Ok(packed),
        (false, true) => in_form(value, Form::Pickle, true),
        (false, false) => Err(refuse(value)),
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

fn in_form<'py>(value: &Bound<'py, PyAny>, form: Form, allow_pickle: bool) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    match form {
        Form::MessagePack => collect(py, |out| {
            out.push(tag::MSGPACK);
            walk(&mut msgpack_writer::Writer { out, allow_pickle }, value)
        }),
        Form::Cbor => collect(py, |out| {
            out.push(tag::CBOR);
            walk(&mut cbor_writer::Writer { out }, value)
        }),
        Form::Json => {
            let text = classes(py)?.json_dumps.bind(py).call1((value, MAX_JSON_DEPTH))?;
            tagged(py, tag::JSON, text.cast::<PyBytes>()?.as_bytes())
        }
        Form::Pickle if allow_pickle => tagged(py, tag::PICKLE, pickle::dumps(value)?.as_bytes()),
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
        tag::TEXT => text(py, payload).map(Bound::into_any),
        tag::NONE if payload.is_empty() => Ok(py.None().into_bound(py)),
        tag::FALSE if payload.is_empty() => Ok(PyBool::new(py, false).to_owned().into_any()),
        tag::TRUE if payload.is_empty() => Ok(PyBool::new(py, true).to_owned().into_any()),
        tag::INT if !payload.is_empty() => number::int_of(py, payload),
        tag::FLOAT => match <[u8; 8]>::try_from(payload) {
            Ok(bytes) => Ok(PyFloat::new(py, f64::from_le_bytes(bytes)).into_any()),
            Err(_) => Err(wrong_length(py, first, payload)),
        },
        tag::CBOR => cbor_reader::read(source, 1),
        tag::JSON => {
            if json::depth(payload) > MAX_JSON_DEPTH {
                return Err(corrupt(
                    py,
                    format!("stored JSON is nested deeper than {MAX_JSON_DEPTH} levels"),
                ));
            }
            let loads = classes(py)?.json_loads.bind(py);
            text(py, payload)
                .and_then(|text| loads.call1((text,)))
                .map_err(|error| as_corrupt(py, "JSON", error))
        }
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

fn text<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, payload).map_err(|error| {
        if error.is_instance_of::<PyUnicodeDecodeError>(py) { as_corrupt(py, "UTF-8", error) } else { error }
    })
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
