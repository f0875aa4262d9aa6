//! Values as JSON: those that its readers give back equal and of the same type. Written like `json.dumps` with
//! `ensure_ascii=False` and without spaces.

use std::io::Write;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};

use super::errors::{changed, clipped, invalid, kind, short, surrogates, unsupported};
use super::json::MAX_DEPTH;
use super::stand_in::stand_in;
use super::walk::Entries;

/// Appends a value. After an error the end is undefined.
pub(super) fn append(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(outermost) = begin(out, value)? else { return Ok(()) };
    let mut frames = vec![outermost];
    while let Some(frame) = frames.last_mut() {
        match frame.advance(out)? {
            None => {
                frames.pop();
            }
            Some(_) if frames.len() >= MAX_DEPTH => return Err(too_deep(value.py())),
            Some(inner) => frames.push(inner),
        }
    }
    Ok(())
}

/// A container that is begun.
enum Frame<'py> {
    List { list: Bound<'py, PyList>, next: usize, count: usize },
    Dict { dict: Bound<'py, PyDict>, entries: Entries, is_first: bool },
}

impl Frame<'_> {
    /// Writes the items up to the next container, which is begun and returned; `None` at the end.
    fn advance(&mut self, out: &mut Vec<u8>) -> PyResult<Option<Self>> {
        match self {
            Self::List { list, next, count } => {
                while *next < *count {
                    // Other threads may shorten the list.
                    let item = list.get_item(*next).map_err(|_| changed(list))?;
                    if *next > 0 {
                        out.push(b',');
                    }
                    *next += 1;
                    if let Some(inner) = begin(out, &item)? {
                        return Ok(Some(inner));
                    }
                }
                out.push(b']');
            }
            Self::Dict { dict, entries, is_first } => {
                while let Some((key, item)) = entries.next(dict)? {
                    if !std::mem::take(is_first) {
                        out.push(b',');
                    }
                    let text = key.cast_exact::<PyString>().map_err(|_| other_key(&key))?;
                    append_text(out, text)?;
                    out.push(b':');
                    if let Some(inner) = begin(out, &item)? {
                        return Ok(Some(inner));
                    }
                }
                out.push(b'}');
            }
        }
        Ok(None)
    }
}

/// Writes a value, or the bracket of a container, which is returned.
#[inline]
fn begin<'py>(out: &mut Vec<u8>, value: &Bound<'py, PyAny>) -> PyResult<Option<Frame<'py>>> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        append_text(out, text)?;
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        append_int(out, number)?;
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        if !number.value().is_finite() {
            return Err(not_finite(value));
        }
        // The shortest text that reads as the same number, as Python writes it.
        out.extend_from_slice(value.repr()?.to_str()?.as_bytes());
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        out.push(b'{');
        let entries = Entries::new(dict.len());
        return Ok(Some(Frame::Dict { dict: dict.clone(), entries, is_first: true }));
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        out.push(b'[');
        return Ok(Some(Frame::List { list: list.clone(), next: 0, count: list.len() }));
    } else if value.is_none() {
        out.extend_from_slice(b"null");
    } else if let Ok(value) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if value.is_true() { b"true" } else { b"false" });
    } else {
        return match stand_in(value)? {
            Some(plain) => begin(out, &plain),
            None => Err(other_type(value)),
        };
    }
    Ok(None)
}

fn append_int(out: &mut Vec<u8>, number: &Bound<'_, PyInt>) -> PyResult<()> {
    if let Ok(number) = number.extract::<i64>() {
        // Never fails: memory grows, or the process ends.
        let _ = write!(out, "{number}");
        return Ok(());
    }
    // An int may have more digits than Python converts.
    let text = number.repr().map_err(|error| {
        let py = number.py();
        let invalid = invalid(py, format!("cannot pack as JSON: {}", error.value(py)));
        invalid.set_cause(py, Some(error));
        invalid
    })?;
    out.extend_from_slice(text.to_str()?.as_bytes());
    Ok(())
}

fn append_text(out: &mut Vec<u8>, text: &Bound<'_, PyString>) -> PyResult<()> {
    let mut rest = text.to_str().map_err(|error| surrogates(text.py(), &error))?.as_bytes();
    out.push(b'"');
    // What needs no escape is copied at once.
    while let Some(place) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, behind) = rest.split_at(place);
        out.extend_from_slice(plain);
        let Some((&byte, behind)) = behind.split_first() else { break };
        append_escape(out, byte);
        rest = behind;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
    Ok(())
}

fn append_escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        _ => {
            let _ = write!(out, "\\u{byte:04x}");
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cold]
fn too_deep(py: Python<'_>) -> PyErr {
    invalid(
        py,
        format!(
            "cannot pack as JSON: nested deeper than {MAX_DEPTH} levels, or a container that contains itself"
        ),
    )
}

#[cold]
fn not_finite(value: &Bound<'_, PyAny>) -> PyErr {
    unsupported(
        value.py(),
        format!("cannot store {} as JSON, which has finite numbers only; use MessagePack", short(value)),
    )
}

#[cold]
fn other_type(value: &Bound<'_, PyAny>) -> PyErr {
    unsupported(
        value.py(),
        format!(
            "cannot store a value of type {} as JSON, which would change it: str, bool, int, finite float, None, list \
             and dict with str keys are taken. Convert it first, or use MessagePack",
            kind(value)
        ),
    )
}

#[cold]
fn other_key(key: &Bound<'_, PyAny>) -> PyErr {
    unsupported(
        key.py(),
        format!(
            "cannot store a dict with the key {} as JSON, whose keys are str; use MessagePack",
            clipped(key)
        ),
    )
}
