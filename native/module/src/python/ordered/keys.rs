//! Keys of ordered maps: of one of four types they are compared here, of any other by Python.

use std::cmp::Ordering;

use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyString};
use pyo3::{IntoPyObjectExt, PyTraverseError};

/// An object that can be cloned wherever there is an interpreter.
pub(crate) struct Object(pub(crate) Py<PyAny>);

impl Clone for Object {
    fn clone(&self) -> Self {
        Python::attach(|py| Self(self.0.clone_ref(py)))
    }
}

impl Object {
    pub(super) fn share(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.clone_ref(py)
    }
}

/// A key as a tree has it.
#[derive(Clone)]
pub(super) enum Key {
    Int(i64),
    Float(f64),
    /// A `str`, `bytes` or any object.
    Object(Object),
    /// A key, and what a function of the user's made of it to compare by; apart, lest every key were larger.
    Keyed(Box<(Object, Object)>),
}

/// Which keys a container has: all of one type, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    Int,
    Float,
    Text,
    Bytes,
    Object,
}

impl Key {
    /// The key as it was given.
    pub(super) fn object(&self, py: Python<'_>) -> Py<PyAny> {
        match self {
            Self::Int(number) => number.into_py_any(py).unwrap_or_else(|_| py.None()),
            Self::Float(number) => PyFloat::new(py, *number).into_any().unbind(),
            Self::Object(key) => key.share(py),
            Self::Keyed(pair) => pair.0.share(py),
        }
    }

    /// What it is compared by.
    pub(super) fn compared(&self, py: Python<'_>) -> Py<PyAny> {
        match self {
            Self::Keyed(pair) => pair.1.share(py),
            _ => self.object(py),
        }
    }

    /// Make it an object.
    pub(super) fn promote(&mut self, py: Python<'_>) {
        if matches!(self, Self::Int(_) | Self::Float(_)) {
            *self = Self::Object(Object(self.object(py)));
        }
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Int(_) | Self::Float(_) => Ok(()),
            Self::Object(key) => visit.call(&key.0),
            Self::Keyed(pair) => {
                visit.call(&pair.0.0)?;
                visit.call(&pair.1.0)
            }
        }
    }

    fn text<'a>(&'a self, py: Python<'a>) -> &'a str {
        match self {
            Self::Object(key) => {
                key.0.bind(py).cast::<PyString>().ok().and_then(|text| text.to_str().ok()).unwrap_or("")
            }
            _ => "",
        }
    }

    fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Self::Object(key) => key.0.bind(py).cast::<PyBytes>().map_or(b"", PyBytesMethods::as_bytes),
            _ => b"",
        }
    }
}

/// What the type of a key is, and the key as a tree has it. None for NaN, which has no place in any order.
pub(super) fn classify(key: &Bound<'_, PyAny>) -> Option<(Kind, Key)> {
    if let Ok(number) = key.cast_exact::<PyInt>() {
        if let Ok(number) = number.extract::<i64>() {
            return Some((Kind::Int, Key::Int(number)));
        }
    } else if let Ok(text) = key.cast_exact::<PyString>() {
        // One with a lone surrogate is no text for Rust.
        if text.to_str().is_ok() {
            return Some((Kind::Text, Key::Object(Object(key.clone().unbind()))));
        }
    } else if let Ok(number) = key.cast_exact::<PyFloat>() {
        let number = number.value();
        return (!number.is_nan()).then_some((Kind::Float, Key::Float(number)));
    } else if key.is_exact_instance_of::<PyBytes>() {
        return Some((Kind::Bytes, Key::Object(Object(key.clone().unbind()))));
    }
    Some((Kind::Object, Key::Object(Object(key.clone().unbind()))))
}

/// The order of two keys of a kind that is compared here.
pub(super) fn compare(py: Python<'_>, kind: Kind, left: &Key, right: &Key) -> Ordering {
    match (kind, left, right) {
        (_, Key::Int(left), Key::Int(right)) => left.cmp(right),
        (_, Key::Float(left), Key::Float(right)) => left.partial_cmp(right).unwrap_or(Ordering::Equal),
        (Kind::Text, _, _) => left.text(py).cmp(right.text(py)),
        _ => left.bytes(py).cmp(right.bytes(py)),
    }
}

/// How many of sorted `keys` are below `key`, or with `or_equal` not above it.
pub(super) fn count_below(py: Python<'_>, kind: Kind, keys: &[Key], key: &Key, or_equal: bool) -> usize {
    match (kind, key) {
        (Kind::Int, Key::Int(number)) => {
            let number = *number;
            keys.partition_point(
                |each| matches!(each, Key::Int(each) if if or_equal { *each <= number } else { *each < number }),
            )
        }
        (Kind::Float, Key::Float(number)) => {
            let number = *number;
            keys.partition_point(
                |each| matches!(each, Key::Float(each) if if or_equal { *each <= number } else { *each < number }),
            )
        }
        (Kind::Text, _) => {
            let text = key.text(py);
            keys.partition_point(|each| below(each.text(py).cmp(text), or_equal))
        }
        _ => {
            let bytes = key.bytes(py);
            keys.partition_point(|each| below(each.bytes(py).cmp(bytes), or_equal))
        }
    }
}

fn below(order: Ordering, or_equal: bool) -> bool {
    order == Ordering::Less || or_equal && order == Ordering::Equal
}
