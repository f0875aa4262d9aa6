//! Containers that are put together from their items, without recursion.

use kohakuvault_core::packing::MAX_DEPTH;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyTuple};

use super::classes::classes;

/// What is put together.
pub(super) enum Kind<'py> {
    List,
    Tuple,
    Set,
    FrozenSet,
    Dict {
        dict: Bound<'py, PyDict>,
        /// The key whose value comes next.
        key: Option<Bound<'py, PyAny>>,
    },
    /// A CBOR tag, whose content comes next.
    Tag(u64),
}

struct Frame<'py> {
    kind: Kind<'py>,
    /// Items, or pairs of a dict, that are still to come; `None` until the container is closed.
    left: Option<usize>,
    /// Where its items begin among the values.
    first: usize,
    /// Whether the container has to be hashable.
    hashable: bool,
}

/// Containers that wait for items, and the items that they have.
pub(super) struct Builder<'py> {
    py: Python<'py>,
    frames: Vec<Frame<'py>>,
    values: Vec<Bound<'py, PyAny>>,
}

impl<'py> Builder<'py> {
    pub(super) fn new(py: Python<'py>) -> Self {
        Self { py, frames: Vec::new(), values: Vec::new() }
    }

    /// Whether the next value is a key of a dict.
    #[inline]
    pub(super) fn wants_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { kind: Kind::Dict { key: None, .. }, .. }))
    }

    /// Whether the next value has to be hashable.
    pub(super) fn wants_hashable(&self) -> bool {
        self.frames.last().is_some_and(|frame| match frame.kind {
            Kind::Set | Kind::FrozenSet | Kind::Dict { key: None, .. } => true,
            Kind::Dict { .. } => false,
            Kind::List | Kind::Tuple | Kind::Tag(_) => frame.hashable,
        })
    }

    /// Begins a container of `left` items, or pairs; the next values are its items. Returns the value that is
    /// complete already if there are none to come.
    #[inline]
    pub(super) fn open(
        &mut self,
        kind: Kind<'py>,
        left: Option<usize>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let frame = Frame { hashable: self.wants_hashable(), kind, left, first: self.values.len() };
        if left == Some(0) {
            return self.finish(frame).map(Some);
        }
        if self.frames.len() >= MAX_DEPTH {
            return Err(PyValueError::new_err(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.frames.push(frame);
        Ok(None)
    }

    /// Adds a value to the innermost container. Returns the outermost value when it is complete.
    #[inline]
    pub(super) fn add(&mut self, mut value: Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(Some(value)) };
            match &mut frame.kind {
                Kind::Dict { dict, key } => match key.take() {
                    None => {
                        *key = Some(value);
                        return Ok(None);
                    }
                    Some(key) => dict.set_item(key, value)?,
                },
                _ => self.values.push(value),
            }
            match &mut frame.left {
                None => return Ok(None),
                Some(left) => {
                    *left -= 1;
                    if *left > 0 {
                        return Ok(None);
                    }
                }
            }
            let Some(frame) = self.frames.pop() else { return Ok(None) };
            value = self.finish(frame)?;
        }
    }

    /// Ends the innermost container, which must be one whose items were not counted.
    pub(super) fn close(&mut self) -> PyResult<Bound<'py, PyAny>> {
        match self.frames.pop() {
            // A key without a value.
            Some(Frame { kind: Kind::Dict { key: Some(_), .. }, .. }) | None => Err(misplaced_end()),
            Some(frame @ Frame { left: None, .. }) => self.finish(frame),
            Some(_) => Err(misplaced_end()),
        }
    }

    fn finish(&mut self, frame: Frame<'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let items = self.values.drain(frame.first..);
        Ok(match frame.kind {
            Kind::Dict { dict, .. } => dict.into_any(),
            Kind::List => PyList::new(py, items)?.into_any(),
            Kind::Tuple => PyTuple::new(py, items)?.into_any(),
            Kind::Set => PySet::new(py, items)?.into_any(),
            Kind::FrozenSet => PyFrozenSet::new(py, items)?.into_any(),
            Kind::Tag(tag) => {
                let content = PyTuple::new(py, items)?.get_item(0)?;
                classes(py)?.cbor_untag.bind(py).call1((tag, content))?
            }
        })
    }
}

#[cold]
fn misplaced_end() -> PyErr {
    PyValueError::new_err("a container is ended where none can end")
}
