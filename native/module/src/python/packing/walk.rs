//! A value and everything in it, visited one after the other without recursion.

use kohakuvault_core::packing::MAX_DEPTH;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::errors::{changed, surrogates, too_deep};

/// What writes the values that are visited.
pub(super) trait Encoding {
    /// All that is written.
    fn buffer(&mut self) -> &mut Vec<u8>;
    fn none(&mut self);
    fn bool(&mut self, value: bool);
    fn int(&mut self, value: i64);
    fn big_int(&mut self, value: &Bound<'_, PyInt>) -> PyResult<()>;
    fn float(&mut self, value: f64);
    fn text(&mut self, value: &str, py: Python<'_>) -> PyResult<()>;
    fn bytes(&mut self, value: &Bound<'_, PyBytes>) -> PyResult<()>;
    /// The head of a list; its items follow.
    fn list(&mut self, count: usize, py: Python<'_>) -> PyResult<()>;
    /// The head of a dict; its keys and values follow.
    fn dict(&mut self, count: usize, py: Python<'_>) -> PyResult<()>;
    /// The head of a tuple; its items follow. `hashable`: it is, or is in, a dict key or an element of a set.
    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>, hashable: bool) -> PyResult<()>;
    /// A value of any other type, or its head.
    fn other<'py>(&mut self, value: &Bound<'py, PyAny>, hashable: bool) -> PyResult<Written<'py>>;
}

/// What there is to do after a value of another type.
pub(super) enum Written<'py> {
    Whole,
    /// Only its head; these items are to follow.
    Head {
        items: Bound<'py, PyTuple>,
        hashable: bool,
    },
    /// The head of a set; its elements are to follow, in the order of their bytes.
    Set(Bound<'py, PyTuple>),
}

/// Writes a value.
#[inline]
pub(super) fn walk<E: Encoding>(out: &mut E, value: &Bound<'_, PyAny>) -> PyResult<()> {
    walk_within(out, value, MAX_DEPTH)
}

/// Writes a value that is nested at most so deep.
pub(super) fn walk_within<E: Encoding>(
    out: &mut E,
    value: &Bound<'_, PyAny>,
    max_depth: usize,
) -> PyResult<()> {
    let Some(outermost) = Frame::of(begin(out, value, false)?, value) else { return Ok(()) };
    let mut frames = Vec::with_capacity(4);
    frames.push(outermost);
    while let Some(frame) = frames.last_mut() {
        match frame.advance(out)? {
            None => {
                frames.pop();
            }
            Some(_) if frames.len() >= max_depth => return Err(too_deep(value.py(), max_depth)),
            Some(inner) => frames.push(inner),
        }
    }
    Ok(())
}

/// How far a value is written. Small, because it is returned for every leaf.
enum Begun<'py> {
    Whole,
    List(usize),
    Dict(usize),
    Tuple { hashable: bool },
    Other(Bound<'py, PyTuple>, bool),
    Set(Bound<'py, PyTuple>),
}

/// Writes a value, or the head of a container that has items.
#[inline]
fn begin<'py, E: Encoding>(out: &mut E, value: &Bound<'py, PyAny>, hashable: bool) -> PyResult<Begun<'py>> {
    let py = value.py();
    if let Ok(text) = value.cast_exact::<PyString>() {
        out.text(text.to_str().map_err(|error| surrogates(py, &error))?, py)?;
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        match number.extract() {
            Ok(number) => out.int(number),
            Err(_) => out.big_int(number)?,
        }
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        out.float(number.value());
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        let count = dict.len();
        out.dict(count, py)?;
        if count > 0 {
            return Ok(Begun::Dict(count));
        }
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        let count = list.len();
        out.list(count, py)?;
        if count > 0 {
            return Ok(Begun::List(count));
        }
    } else if value.is_none() {
        out.none();
    } else if let Ok(value) = value.cast_exact::<PyBool>() {
        out.bool(value.is_true());
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        out.bytes(bytes)?;
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        out.tuple(tuple, hashable)?;
        if !tuple.is_empty() {
            return Ok(Begun::Tuple { hashable });
        }
    } else {
        return Ok(match out.other(value, hashable)? {
            Written::Head { items, hashable } if !items.is_empty() => Begun::Other(items, hashable),
            Written::Set(items) if !items.is_empty() => Begun::Set(items),
            Written::Head { .. } | Written::Set(_) | Written::Whole => Begun::Whole,
        });
    }
    Ok(Begun::Whole)
}

/// A container whose head is written, and some of its items.
enum Frame<'py> {
    List {
        list: Bound<'py, PyList>,
        next: usize,
        count: usize,
    },
    Tuple {
        items: Bound<'py, PyTuple>,
        next: usize,
        hashable: bool,
    },
    /// Equal sets become equal bytes, whatever order Python has their elements in.
    Set {
        items: Bound<'py, PyTuple>,
        starts: Vec<usize>,
    },
    Dict {
        dict: Bound<'py, PyDict>,
        entries: Entries,
        value: Option<Bound<'py, PyAny>>,
    },
}

impl<'py> Frame<'py> {
    /// The frame of a container that is begun; `None` for what is whole.
    #[inline]
    fn of(begun: Begun<'py>, value: &Bound<'py, PyAny>) -> Option<Self> {
        Some(match begun {
            Begun::Whole => return None,
            Begun::List(count) => Self::List { list: value.cast::<PyList>().ok()?.clone(), next: 0, count },
            Begun::Dict(count) => Self::Dict {
                dict: value.cast::<PyDict>().ok()?.clone(),
                entries: Entries::new(count),
                value: None,
            },
            Begun::Tuple { hashable } => {
                Self::Tuple { items: value.cast::<PyTuple>().ok()?.clone(), next: 0, hashable }
            }
            Begun::Other(items, hashable) => Self::Tuple { items, next: 0, hashable },
            Begun::Set(items) => {
                let starts = Vec::with_capacity(items.len());
                Self::Set { items, starts }
            }
        })
    }

    /// Writes the items up to the next container, which is begun and returned; `None` at the end.
    #[inline]
    fn advance<E: Encoding>(&mut self, out: &mut E) -> PyResult<Option<Self>> {
        match self {
            Self::List { list, next, count } => {
                while *next < *count {
                    // Code that runs meanwhile (pickling, other threads) may shorten the list.
                    let item = list.get_item(*next).map_err(|_| changed(list))?;
                    *next += 1;
                    match begin(out, &item, false)? {
                        Begun::Whole => {}
                        begun => return Ok(Self::of(begun, &item)),
                    }
                }
            }
            Self::Tuple { items, next, hashable } => {
                while let Ok(item) = items.get_borrowed_item(*next) {
                    *next += 1;
                    match begin(out, &item, *hashable)? {
                        Begun::Whole => {}
                        begun => return Ok(Self::of(begun, &item)),
                    }
                }
            }
            Self::Set { items, starts } => {
                while let Ok(item) = items.get_borrowed_item(starts.len()) {
                    starts.push(out.buffer().len());
                    match begin(out, &item, true)? {
                        Begun::Whole => {}
                        begun => return Ok(Self::of(begun, &item)),
                    }
                }
                sort(out.buffer(), starts);
            }
            Self::Dict { dict, entries, value } => {
                if let Some(value) = value.take() {
                    match begin(out, &value, false)? {
                        Begun::Whole => {}
                        begun => return Ok(Self::of(begun, &value)),
                    }
                }
                while let Some((key, item)) = entries.next(dict)? {
                    match begin(out, &key, true)? {
                        Begun::Whole => {}
                        begun => {
                            *value = Some(item);
                            return Ok(Self::of(begun, &key));
                        }
                    }
                    match begin(out, &item, false)? {
                        Begun::Whole => {}
                        begun => return Ok(Self::of(begun, &item)),
                    }
                }
            }
        }
        Ok(None)
    }
}

/// Sorts what was written from the given places on, each of which begins an item.
fn sort(out: &mut Vec<u8>, starts: &[usize]) {
    let (Some(&first), true) = (starts.first(), starts.len() > 1) else { return };
    let end = out.len();
    let written = out.split_off(first);
    let ends = starts.iter().skip(1).copied().chain([end]);
    let mut items: Vec<&[u8]> = starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| written.get(start - first..end - first).unwrap_or_default())
        .collect();
    items.sort_unstable();
    for item in items {
        out.extend_from_slice(item);
    }
}

/// The entries of a dict, as many as its head says. (`PyO3`'s iterator panics where the dict is changed.)
pub(super) struct Entries {
    position: ffi::Py_ssize_t,
    left: usize,
    count: usize,
}

impl Entries {
    pub(super) fn new(count: usize) -> Self {
        Self { position: 0, left: count, count }
    }

    #[inline]
    pub(super) fn next<'py>(
        &mut self,
        dict: &Bound<'py, PyDict>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let entry = with_critical_section(dict.as_any(), || {
            if dict.len() != self.count {
                return None;
            }
            let mut key = std::ptr::null_mut();
            let mut value = std::ptr::null_mut();
            // SAFETY: a live dict that no other thread changes within the critical section, and places for the
            // results. Any position is allowed: Python checks it against the entries that there are.
            unsafe {
                if ffi::PyDict_Next(dict.as_ptr(), &raw mut self.position, &raw mut key, &raw mut value) == 0
                {
                    return None;
                }
            }
            // SAFETY: `PyDict_Next` has set both to objects that the dict owns; they are ours as well before
            // anything can change it.
            unsafe {
                Some((Bound::from_borrowed_ptr(dict.py(), key), Bound::from_borrowed_ptr(dict.py(), value)))
            }
        });
        self.left -= 1;
        match entry {
            Some(entry) => Ok(Some(entry)),
            None => Err(changed(dict)),
        }
    }
}
