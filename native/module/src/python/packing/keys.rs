//! Keys of dicts that were seen before: most dicts have the same few.

use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::types::PyString;

/// Longer keys seldom come again.
const LONGEST: usize = 32;
const SLOTS: usize = 1024;

struct Slot {
    length: usize,
    bytes: [u8; LONGEST],
    text: Py<PyString>,
}

thread_local! {
    // A key has one slot that it can be in; the last one that came for a slot has it.
    static CACHE: RefCell<Vec<Option<Slot>>> = const { RefCell::new(Vec::new()) };
}

/// The text of a key.
#[inline]
pub(super) fn key<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    if bytes.len() > LONGEST {
        return PyString::from_bytes(py, bytes);
    }
    let slot = slot_of(bytes);
    let cached = CACHE.with(|cache| {
        let cache = cache.try_borrow().ok()?;
        let slot = cache.get(slot)?.as_ref()?;
        (slot.bytes.get(..slot.length)? == bytes).then(|| slot.text.bind(py).clone())
    });
    match cached {
        Some(text) => Ok(text),
        None => remember(py, bytes, slot),
    }
}

#[cold]
fn remember<'py>(py: Python<'py>, key: &[u8], slot: usize) -> PyResult<Bound<'py, PyString>> {
    let text = PyString::from_bytes(py, key)?;
    let mut bytes = [0; LONGEST];
    for (to, from) in bytes.iter_mut().zip(key) {
        *to = *from;
    }
    let entry = Slot { length: key.len(), bytes, text: text.clone().unbind() };
    let displaced = CACHE.with(|cache| {
        let mut cache = cache.try_borrow_mut().ok()?;
        if cache.is_empty() {
            cache.resize_with(SLOTS, || None);
        }
        cache.get_mut(slot)?.replace(entry)
    });
    drop(displaced);
    Ok(text)
}

/// FNV-1a. Whoever makes keys collide makes them as fast as without a cache.
#[inline]
fn slot_of(bytes: &[u8]) -> usize {
    let mut hash = 0x811C_9DC5_u32;
    for byte in bytes {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    (hash ^ (hash >> 16)) as usize % SLOTS
}
