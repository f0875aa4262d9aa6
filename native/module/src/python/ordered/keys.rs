//! Keys of ordered maps: of one of four types they are compared here, of any other by Python.

use std::cmp::Ordering;
use std::marker::PhantomData;

use kohakuvault_core::ordered::count_below;
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

/// A key as a map has it.
pub(super) trait Key: Clone + Into<AnyKey> + Send + Sync + 'static {
    /// The key as it was given.
    fn object(&self, py: Python<'_>) -> Py<PyAny>;

    /// What it is compared by.
    fn compared(&self, py: Python<'_>) -> Py<PyAny> {
        self.object(py)
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;
}

/// A key that is compared here.
pub(super) trait Native: Key {
    fn order(&self, other: &Self, py: Python<'_>) -> Ordering;

    #[inline]
    fn is_below(&self, other: &Self, py: Python<'_>) -> bool {
        self.order(other, py).is_lt()
    }

    /// How many of `keys`, which are in order, are below one.
    #[inline]
    fn count_below(keys: &[Self], key: &Self, py: Python<'_>) -> usize {
        keys.partition_point(|each| each.is_below(key, py))
    }
}

impl Key for i64 {
    fn object(&self, py: Python<'_>) -> Py<PyAny> {
        self.into_py_any(py).unwrap_or_else(|_| py.None())
    }

    fn traverse(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }
}

impl Native for i64 {
    #[inline]
    fn order(&self, other: &Self, _py: Python<'_>) -> Ordering {
        self.cmp(other)
    }

    #[inline]
    fn count_below(keys: &[Self], key: &Self, _py: Python<'_>) -> usize {
        count_below(keys, |each| *each, *key)
    }
}

impl Key for f64 {
    fn object(&self, py: Python<'_>) -> Py<PyAny> {
        PyFloat::new(py, *self).into_any().unbind()
    }

    fn traverse(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }
}

impl Native for f64 {
    #[inline]
    fn order(&self, other: &Self, _py: Python<'_>) -> Ordering {
        // NaN is no key.
        self.partial_cmp(other).unwrap_or(Ordering::Equal)
    }

    #[inline]
    fn count_below(keys: &[Self], key: &Self, _py: Python<'_>) -> usize {
        count_below(keys, |each| *each, *key)
    }
}

/// A `str` or `bytes`, with the first 16 bytes of it, which tell most of them apart without a look at the object.
pub(super) struct Prefixed<T> {
    /// In two halves, as a `u128` would have 16 bytes more beside it.
    prefix: [u64; 2],
    object: Object,
    of: PhantomData<fn() -> T>,
}

pub(super) type Text = Prefixed<PyString>;
pub(super) type Bytes = Prefixed<PyBytes>;

/// A type of objects whose bytes are in the order of the objects.
pub(super) trait Content: Sized + 'static {
    fn bytes<'a>(object: &'a Bound<'_, PyAny>) -> &'a [u8];

    fn any(key: Prefixed<Self>) -> AnyKey;
}

impl Content for PyString {
    fn bytes<'a>(object: &'a Bound<'_, PyAny>) -> &'a [u8] {
        // UTF-8 is in the order of code points.
        object.cast_exact::<Self>().ok().and_then(|text| text.to_str().ok()).unwrap_or("").as_bytes()
    }

    fn any(key: Text) -> AnyKey {
        AnyKey::Text(key)
    }
}

impl Content for PyBytes {
    fn bytes<'a>(object: &'a Bound<'_, PyAny>) -> &'a [u8] {
        object.cast_exact::<Self>().map_or(b"", PyBytesMethods::as_bytes)
    }

    fn any(key: Bytes) -> AnyKey {
        AnyKey::Bytes(key)
    }
}

impl<T: Content> Prefixed<T> {
    fn new(object: Bound<'_, PyAny>) -> Self {
        let mut bytes = [0; 16];
        for (into, byte) in bytes.iter_mut().zip(T::bytes(&object)) {
            *into = *byte;
        }
        let prefix = u128::from_be_bytes(bytes);
        #[allow(clippy::cast_possible_truncation, reason = "the other half is beside it")]
        let prefix = [(prefix >> 64) as u64, prefix as u64];
        Self { prefix, object: Object(object.unbind()), of: PhantomData }
    }

    /// The first bytes as a number, which is in their order.
    #[inline]
    fn prefix(&self) -> u128 {
        let [high, low] = self.prefix;
        u128::from(high) << 64 | u128::from(low)
    }
}

impl<T> Clone for Prefixed<T> {
    fn clone(&self) -> Self {
        Self { prefix: self.prefix, object: self.object.clone(), of: PhantomData }
    }
}

impl<T: Content> Key for Prefixed<T> {
    fn object(&self, py: Python<'_>) -> Py<PyAny> {
        self.object.share(py)
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.object.0)
    }
}

impl<T: Content> Native for Prefixed<T> {
    #[inline]
    fn order(&self, other: &Self, py: Python<'_>) -> Ordering {
        self.prefix().cmp(&other.prefix()).then_with(|| {
            let (left, right) = (self.object.0.bind(py), other.object.0.bind(py));
            if left.is(right) { Ordering::Equal } else { T::bytes(left).cmp(T::bytes(right)) }
        })
    }

    #[inline]
    fn count_below(keys: &[Self], key: &Self, py: Python<'_>) -> usize {
        let below = count_below(keys, Self::prefix, key.prefix());
        let rest = keys.get(below..).unwrap_or(&[]);
        match rest.first() {
            Some(first) if first.prefix() == key.prefix() => {
                below + rest.partition_point(|each| each.is_below(key, py))
            }
            _ => below,
        }
    }
}

impl Key for Object {
    fn object(&self, py: Python<'_>) -> Py<PyAny> {
        self.share(py)
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }
}

/// A key, and what a function of the user's made of it to compare by.
#[derive(Clone)]
pub(super) struct Keyed {
    key: Object,
    by: Object,
}

impl Key for Keyed {
    fn object(&self, py: Python<'_>) -> Py<PyAny> {
        self.key.share(py)
    }

    fn compared(&self, py: Python<'_>) -> Py<PyAny> {
        self.by.share(py)
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.key.0)?;
        visit.call(&self.by.0)
    }
}

/// A key of any type.
#[derive(Clone)]
pub(super) enum AnyKey {
    Int(i64),
    Float(f64),
    Text(Text),
    Bytes(Bytes),
    Object(Object),
    Keyed(Keyed),
}

/// A key as a method was given it.
pub(super) struct Given<'py> {
    pub(super) key: AnyKey,
    /// What it is compared by.
    pub(super) by: Bound<'py, PyAny>,
}

impl<'py> Given<'py> {
    /// None for NaN, which has no place in any order.
    pub(super) fn new(object: &Bound<'py, PyAny>) -> Option<Self> {
        Some(Self { key: AnyKey::new(object)?, by: object.clone() })
    }

    pub(super) fn keyed(object: &Bound<'py, PyAny>, by: Bound<'py, PyAny>) -> Self {
        let keyed = Keyed { key: Object(object.clone().unbind()), by: Object(by.clone().unbind()) };
        Self { key: AnyKey::Keyed(keyed), by }
    }

    /// Whether it is less than another.
    pub(super) fn is_below(&self, other: &Self) -> PyResult<bool> {
        let py = self.by.py();
        match (&self.key, &other.key) {
            (AnyKey::Int(left), AnyKey::Int(right)) => Ok(left.is_below(right, py)),
            (AnyKey::Float(left), AnyKey::Float(right)) => Ok(left.is_below(right, py)),
            (AnyKey::Text(left), AnyKey::Text(right)) => Ok(left.is_below(right, py)),
            (AnyKey::Bytes(left), AnyKey::Bytes(right)) => Ok(left.is_below(right, py)),
            _ => self.by.lt(&other.by),
        }
    }
}

impl AnyKey {
    fn new(object: &Bound<'_, PyAny>) -> Option<Self> {
        if let Ok(number) = object.cast_exact::<PyInt>() {
            if let Ok(number) = number.extract::<i64>() {
                return Some(Self::Int(number));
            }
        } else if let Ok(text) = object.cast_exact::<PyString>() {
            // One with a lone surrogate is no text for Rust.
            if text.to_str().is_ok() {
                return Some(Self::Text(Text::new(object.clone())));
            }
        } else if let Ok(number) = object.cast_exact::<PyFloat>() {
            let number = number.value();
            return (!number.is_nan()).then_some(Self::Float(number));
        } else if object.is_exact_instance_of::<PyBytes>() {
            return Some(Self::Bytes(Bytes::new(object.clone())));
        }
        Some(Self::Object(Object(object.clone().unbind())))
    }

    /// The key as it was given.
    pub(super) fn object(&self, py: Python<'_>) -> Py<PyAny> {
        match self {
            Self::Int(key) => key.object(py),
            Self::Float(key) => key.object(py),
            Self::Text(key) => key.object(py),
            Self::Bytes(key) => key.object(py),
            Self::Object(key) => key.object(py),
            Self::Keyed(key) => key.object(py),
        }
    }

    /// What it is compared by.
    pub(super) fn compared(&self, py: Python<'_>) -> Py<PyAny> {
        match self {
            Self::Keyed(key) => key.compared(py),
            _ => self.object(py),
        }
    }

    pub(super) fn into_object(self, py: Python<'_>) -> Object {
        match self {
            Self::Int(key) => Object(key.object(py)),
            Self::Float(key) => Object(key.object(py)),
            Self::Text(key) => key.object,
            Self::Bytes(key) => key.object,
            Self::Object(key) => key,
            Self::Keyed(keyed) => keyed.key,
        }
    }
}

impl From<i64> for AnyKey {
    fn from(key: i64) -> Self {
        Self::Int(key)
    }
}

impl From<f64> for AnyKey {
    fn from(key: f64) -> Self {
        Self::Float(key)
    }
}

impl<T: Content> From<Prefixed<T>> for AnyKey {
    fn from(key: Prefixed<T>) -> Self {
        T::any(key)
    }
}

impl From<Object> for AnyKey {
    fn from(key: Object) -> Self {
        Self::Object(key)
    }
}

impl From<Keyed> for AnyKey {
    fn from(key: Keyed) -> Self {
        Self::Keyed(key)
    }
}
