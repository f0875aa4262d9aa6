//! Blocks as streams and back, for Python (`kohakuvault_core::stream`).

use std::borrow::Cow;

use kohakuvault_core::block::{Corrupt, Layout};
use kohakuvault_core::stream;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::Bytes;
use super::codec::DETACH_ABOVE;
use super::errors::corrupt;
use super::pack::Packed;

pub(crate) fn from_block<'py>(
    layout: Layout,
    block: &Bound<'py, PyAny>,
    count: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = Bytes::of(block)?;
    let made = detached(block.py(), &bytes, |block| stream::from_block(layout, block, count))?;
    Ok(as_bytes(block.py(), &bytes, made))
}

pub(crate) fn to_block<'py>(layout: Layout, stream: &Bound<'py, PyAny>) -> PyResult<Packed<'py>> {
    let bytes = Bytes::of(stream)?;
    let (count, made) = detached(stream.py(), &bytes, |stream| stream::to_block(layout, stream))?;
    Ok((count, as_bytes(stream.py(), &bytes, made)))
}

/// Lets other threads run where the work is long.
fn detached<'a, T: Send>(
    py: Python<'_>,
    bytes: &'a Bytes<'_>,
    work: impl FnOnce(&'a [u8]) -> Result<T, Corrupt> + Send,
) -> PyResult<T> {
    let slice = bytes.as_slice();
    let made = if slice.len() > DETACH_ABOVE { py.detach(|| work(slice)) } else { work(slice) };
    made.map_err(|error| corrupt(&error))
}

/// What was made, which is the object that was given if that need not be copied.
fn as_bytes<'py>(py: Python<'py>, given: &Bytes<'py>, made: Cow<'_, [u8]>) -> Bound<'py, PyBytes> {
    match (given, made) {
        (Bytes::Borrowed(same), Cow::Borrowed(_)) => same.clone(),
        (_, made) => PyBytes::new(py, &made),
    }
}
