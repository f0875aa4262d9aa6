//! Bytes and arrays of other objects, through Python's buffer protocol.

use std::ffi::{CStr, CString};
use std::fmt;
use std::marker::PhantomData;
use std::slice;

use kohakuvault_core::dtype::Scalar;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use super::errors::type_name;
use super::packing::classes::classes;
use super::packing::errors::unsupported;

/// The type of an array's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Scalar(Scalar),
    /// IEEE binary16: may be read, is not a dtype.
    Half,
}

impl Item {
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Scalar(scalar) => scalar.size(),
            Self::Half => 2,
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(formatter),
            Self::Half => formatter.write_str("f16"),
        }
    }
}

/// Reads a `struct` format of one item; also whether its bytes are in the order that is not native. (`PyO3`'s own
/// reader takes big-endian items for native ones.)
fn parse_format(format: &CStr, size: usize) -> Option<(Item, bool)> {
    let (letter, swapped) = match format.to_bytes() {
        [letter] | [b'@' | b'=', letter] => (*letter, false),
        [b'<', letter] => (*letter, cfg!(target_endian = "big")),
        [b'>' | b'!', letter] => (*letter, cfg!(target_endian = "little")),
        _ => return None,
    };
    // Letters differ in size between platforms ('l'), so the size is taken from the buffer.
    let item = match (letter, size) {
        (b'b', 1) => Item::Scalar(Scalar::I8),
        (b'B', 1) => Item::Scalar(Scalar::U8),
        (b'?', 1) => Item::Scalar(Scalar::Bool),
        (b'e', 2) => Item::Half,
        (b'f', 4) => Item::Scalar(Scalar::F32),
        (b'd', 8) => Item::Scalar(Scalar::F64),
        (b'h' | b'i' | b'l' | b'q' | b'n', 2) => Item::Scalar(Scalar::I16),
        (b'h' | b'i' | b'l' | b'q' | b'n', 4) => Item::Scalar(Scalar::I32),
        (b'h' | b'i' | b'l' | b'q' | b'n', 8) => Item::Scalar(Scalar::I64),
        (b'H' | b'I' | b'L' | b'Q' | b'N', 2) => Item::Scalar(Scalar::U16),
        (b'H' | b'I' | b'L' | b'Q' | b'N', 4) => Item::Scalar(Scalar::U32),
        (b'H' | b'I' | b'L' | b'Q' | b'N', 8) => Item::Scalar(Scalar::U64),
        _ => return None,
    };
    Some((item, swapped && size > 1))
}

/// Whether an object offers its memory.
pub(crate) fn is_buffer(value: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object, and the GIL (or its equivalent) is held.
    unsafe { ffi::PyObject_CheckBuffer(value.as_ptr()) == 1 }
}

/// Whether an object means bytes rather than an array of small numbers.
pub(crate) fn is_bytes_like(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyMemoryView>()
}

/// A view of another object's memory, released when dropped. (`PyO3`'s own refuses arrays without dimensions.)
struct View<'py> {
    // Boxed, because exporters may keep pointers into it.
    raw: Box<ffi::Py_buffer>,
    // Released by the thread that holds the interpreter, so the view must not leave it.
    python: PhantomData<Python<'py>>,
}

impl<'py> View<'py> {
    fn of(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut raw = Box::new(ffi::Py_buffer::new());
        // SAFETY: a live object and a place for the view.
        let status = unsafe { ffi::PyObject_GetBuffer(value.as_ptr(), &raw mut *raw, ffi::PyBUF_FULL_RO) };
        if status == 0 {
            return Ok(Self { raw, python: PhantomData });
        }
        let cause = PyErr::fetch(value.py());
        let error = PyTypeError::new_err(format!("{} given: {cause}", type_name(value)));
        error.set_cause(value.py(), Some(cause));
        Err(error)
    }

    fn format(&self) -> &CStr {
        if self.raw.format.is_null() {
            return c"B";
        }
        // SAFETY: not null, hence a string that lives as long as the view.
        unsafe { CStr::from_ptr(self.raw.format) }
    }

    fn item_size(&self) -> usize {
        usize::try_from(self.raw.itemsize).unwrap_or(0)
    }

    fn shape(&self) -> Vec<usize> {
        let ndim = usize::try_from(self.raw.ndim).unwrap_or(0);
        if ndim == 0 || self.raw.shape.is_null() {
            return Vec::new();
        }
        // SAFETY: not null, hence `ndim` numbers that live as long as the view.
        let shape = unsafe { slice::from_raw_parts(self.raw.shape, ndim) };
        shape.iter().map(|&dimension| usize::try_from(dimension).unwrap_or(0)).collect()
    }

    fn is_contiguous(&self) -> bool {
        // SAFETY: a filled-in view; 'C' is one of the orders.
        unsafe { ffi::PyBuffer_IsContiguous(&raw const *self.raw, b'C'.cast_signed()) == 1 }
    }

    /// The memory of a contiguous view.
    unsafe fn bytes(&self) -> &[u8] {
        match usize::try_from(self.raw.len) {
            Ok(length) if length > 0 && !self.raw.buf.is_null() => {
                // SAFETY: contiguous, as the caller knows, hence `len` readable bytes that live as long as the
                // view; any bytes are valid. See `Array::bytes` for writers.
                unsafe { slice::from_raw_parts(self.raw.buf.cast::<u8>(), length) }
            }
            _ => &[],
        }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // SAFETY: filled in by `PyObject_GetBuffer`, released once; the interpreter is held, see `python`.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.raw) }
    }
}

/// An array's items in C order and native byte order.
pub(crate) struct Array<'py> {
    shape: Vec<usize>,
    item: Option<Item>,
    items: Items<'py>,
    /// For error messages.
    format: CString,
}

enum Items<'py> {
    View(View<'py>),
    Copy(Bound<'py, PyBytes>),
}

impl<'py> Array<'py> {
    pub(crate) fn of(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        refuse_masked(value)?;
        let view = View::of(value)?;
        let (item, swapped) = match parse_format(view.format(), view.item_size()) {
            Some((item, swapped)) => (Some(item), swapped),
            None => (None, false),
        };
        let shape = view.shape();
        let format = if item.is_none() { view.format().to_owned() } else { CString::default() };
        let items = if view.is_contiguous() && !swapped {
            Items::View(view)
        } else {
            let copy = PyMemoryView::from(value)?.call_method0("tobytes")?.cast_into::<PyBytes>()?;
            Items::Copy(if swapped { swap(&copy, view.item_size())? } else { copy })
        };
        Ok(Self { shape, item, items, format })
    }

    /// The memory of any object that offers it, as bytes, whatever it holds.
    pub(crate) fn memory(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let view = View::of(value)?;
        let items = if view.is_contiguous() {
            Items::View(view)
        } else {
            Items::Copy(PyMemoryView::from(value)?.call_method0("tobytes")?.cast_into::<PyBytes>()?)
        };
        let mut array =
            Self { shape: vec![], item: Some(Item::Scalar(Scalar::U8)), items, format: CString::default() };
        array.shape.push(array.bytes().len());
        Ok(array)
    }

    /// Items that were copied out of something else.
    pub(crate) fn from_copy(shape: Vec<usize>, item: Item, copy: Bound<'py, PyBytes>) -> Self {
        Self { shape, item: Some(item), items: Items::Copy(copy), format: CString::default() }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// `None` for items that are no numbers.
    pub(crate) fn item(&self) -> Option<Item> {
        self.item
    }

    /// Whether the items are Python objects, which only the sequence protocol can read.
    pub(crate) fn holds_objects(&self) -> bool {
        self.format.as_c_str() == c"O"
    }

    /// The items' type for error messages.
    pub(crate) fn format(&self) -> String {
        match self.item {
            Some(item) => item.to_string(),
            None => format!("format {:?}", self.format.to_string_lossy()),
        }
    }

    /// The memory, in native byte order.
    ///
    /// The exporter cannot resize or free it while the view exists. It can still write to it: from another
    /// thread, or in a finaliser that runs while we create Python objects. Callers therefore only copy it or
    /// compute with it, where such a write spoils values of its own writer and nothing else.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.items {
            Items::Copy(copy) => copy.as_bytes(),
            // SAFETY: contiguous, or there would be a copy.
            Items::View(view) => unsafe { view.bytes() },
        }
    }

    /// Whether the items lie in the memory of the object itself as they are.
    pub(crate) fn is_view(&self) -> bool {
        matches!(self.items, Items::View(_))
    }
}

/// Items with the bytes of each in reverse.
fn swap<'py>(items: &Bound<'py, PyBytes>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
    let items_bytes = items.as_bytes();
    PyBytes::new_with(items.py(), items_bytes.len(), |out| {
        out.copy_from_slice(items_bytes);
        out.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        Ok(())
    })
}

/// A masked array offers what is under its mask like anything else.
fn refuse_masked(value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    let classes = classes(py)?;
    if value.get_type().is(&classes.ndarray) || !value.is_instance(classes.masked_array.bind(py))? {
        return Ok(());
    }
    let problem = "a masked array has no values where it is masked; fill them with filled()";
    Err(unsupported(py, problem.to_owned()))
}

/// Turns copied native-endian items into little-endian ones.
pub(crate) fn to_little_endian(items: &mut [u8], size: usize) {
    if cfg!(target_endian = "big") {
        items.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
}

/// The bytes of a block: unlike [`Array::bytes`] nobody can change them while they are parsed.
pub(crate) enum Bytes<'py> {
    Borrowed(Bound<'py, PyBytes>),
    Copied(Vec<u8>),
}

impl<'py> Bytes<'py> {
    pub(crate) fn of(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Self::Borrowed(bytes.clone()));
        }
        if !is_buffer(value) {
            return Err(PyTypeError::new_err(format!(
                "a block is bytes or a buffer; {} given",
                type_name(value)
            )));
        }
        Ok(Self::Copied(Array::memory(value)?.bytes().to_vec()))
    }

    /// As `bytes` of Python's, whatever it was.
    pub(crate) fn into_python(self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Copied(bytes) => PyBytes::new(py, &bytes),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes.as_bytes(),
            Self::Copied(bytes) => bytes,
        }
    }
}
