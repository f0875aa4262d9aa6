//! Arrays of numbers through Arrow's C data interface: <https://arrow.apache.org/docs/format/CDataInterface.html>.

use std::ffi::{CStr, c_char, c_void};
use std::slice;

use kohakuvault_core::dtype::Scalar;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyTuple};

use super::buffer::{Array, Item};
use super::errors::type_name;

/// Nested lists of fixed size that are followed: as many as a vector has dimensions.
const MAX_NESTED: usize = kohakuvault_core::dtype::MAX_DIMENSIONS;

#[repr(C)]
struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

#[repr(C)]
struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

/// Whether an object offers an Arrow array.
pub(crate) fn is_arrow(value: &Bound<'_, PyAny>) -> bool {
    value.hasattr(intern!(value.py(), "__arrow_c_array__")).unwrap_or(false)
}

/// Whether an object offers several Arrow arrays, one after the other.
pub(crate) fn is_stream(value: &Bound<'_, PyAny>) -> bool {
    value.hasattr(intern!(value.py(), "__arrow_c_stream__")).unwrap_or(false)
}

/// The numbers, or vectors of one size, of an Arrow array, copied; `None` for any other type.
pub(crate) fn numbers<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Array<'py>>> {
    let py = value.py();
    let pair = value.call_method0(intern!(py, "__arrow_c_array__"))?;
    let pair = pair.cast::<PyTuple>()?;
    let (schema, array) = (pair.get_item(0)?, pair.get_item(1)?);
    let schema = schema.cast::<PyCapsule>()?.pointer_checked(Some(c"arrow_schema"))?;
    let array = array.cast::<PyCapsule>()?.pointer_checked(Some(c"arrow_array"))?;
    // SAFETY: capsules of these names hold these structures, which live as long as the capsules, that is to the end
    // of this function; nobody else writes to them.
    let (schema, array) =
        unsafe { (schema.cast::<ArrowSchema>().as_ref(), array.cast::<ArrowArray>().as_ref()) };
    if schema.release.is_none() || array.release.is_none() {
        return Err(PyValueError::new_err(format!(
            "{} given, whose Arrow data is released",
            type_name(value)
        )));
    }
    // SAFETY: not released, hence as the interface says.
    unsafe { read(py, schema, array) }
}

/// # Safety
/// Both are valid and describe one array.
unsafe fn read<'py>(
    py: Python<'py>,
    mut schema: &ArrowSchema,
    mut array: &ArrowArray,
) -> PyResult<Option<Array<'py>>> {
    let mut shape = vec![size(array.length)?];
    let (mut start, mut count) = (size(array.offset)?, size(array.length)?);
    loop {
        if !schema.dictionary.is_null() {
            return Ok(None);
        }
        // SAFETY: a valid schema has a format, and a valid array a bitmap (or none) of at least `start + count` bits.
        let format = unsafe {
            refuse_nulls(array, start, count)?;
            CStr::from_ptr(schema.format).to_bytes()
        };
        let Some(width) = format.strip_prefix(b"+w:") else {
            let Some(item) = item(format) else { return Ok(None) };
            // SAFETY: an array of this format has `start + count` items in its second buffer.
            let copy = unsafe { copy(py, array, item, start, count)? };
            return Ok(Some(Array::from_copy(shape, item, copy)));
        };
        let width: usize = std::str::from_utf8(width)
            .ok()
            .and_then(|width| width.parse().ok())
            .ok_or_else(|| PyValueError::new_err("an Arrow list of no size given"))?;
        if shape.len() > MAX_NESTED {
            return Ok(None);
        }
        shape.push(width);
        // SAFETY: a list has one child, of both the schema and the array.
        unsafe {
            schema = &**schema.children;
            array = &**array.children;
        }
        let too_large = || PyValueError::new_err("an Arrow array of more items than there can be");
        start = start
            .checked_mul(width)
            .and_then(|start| start.checked_add(size(array.offset).ok()?))
            .ok_or_else(too_large)?;
        count = count.checked_mul(width).ok_or_else(too_large)?;
    }
}

fn size(number: i64) -> PyResult<usize> {
    usize::try_from(number).map_err(|_| PyValueError::new_err("an Arrow array of a negative size given"))
}

fn item(format: &[u8]) -> Option<Item> {
    Some(match format {
        b"c" => Item::Scalar(Scalar::I8),
        b"C" => Item::Scalar(Scalar::U8),
        b"s" => Item::Scalar(Scalar::I16),
        b"S" => Item::Scalar(Scalar::U16),
        b"i" => Item::Scalar(Scalar::I32),
        b"I" => Item::Scalar(Scalar::U32),
        b"l" => Item::Scalar(Scalar::I64),
        b"L" => Item::Scalar(Scalar::U64),
        b"e" => Item::Half,
        b"f" => Item::Scalar(Scalar::F32),
        b"g" => Item::Scalar(Scalar::F64),
        b"b" => Item::Scalar(Scalar::Bool),
        _ => return None,
    })
}

/// # Safety
/// The array is valid, and its bitmap, if it has one, has at least `start + count` bits.
unsafe fn refuse_nulls(array: &ArrowArray, start: usize, count: usize) -> PyResult<()> {
    if array.null_count == 0 || array.n_buffers == 0 || count == 0 {
        return Ok(());
    }
    // SAFETY: there is a first buffer, the bitmap.
    let bitmap = unsafe { (*array.buffers).cast::<u8>() };
    if bitmap.is_null() {
        return Ok(());
    }
    // SAFETY: so many bits are there, as the caller says.
    let bitmap = unsafe { slice::from_raw_parts(bitmap, (start + count).div_ceil(8)) };
    match (start..start + count).find(|&index| !bit(bitmap, index)) {
        None => Ok(()),
        Some(index) => Err(PyTypeError::new_err(format!(
            "element {}: null given; packed numbers have no null: fill it with fill_null(), or drop it with drop_null()",
            index - start
        ))),
    }
}

fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// # Safety
/// The second buffer of the array has at least `start + count` items.
unsafe fn copy<'py>(
    py: Python<'py>,
    array: &ArrowArray,
    item: Item,
    start: usize,
    count: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    if count == 0 {
        return Ok(PyBytes::new(py, b""));
    }
    // SAFETY: arrays of numbers have two buffers.
    let data = unsafe { (*array.buffers.add(1)).cast::<u8>() };
    if data.is_null() {
        return Err(PyValueError::new_err("an Arrow array without data given"));
    }
    if item == Item::Scalar(Scalar::Bool) {
        // SAFETY: bools are bits, of which there are so many.
        let bitmap = unsafe { slice::from_raw_parts(data, (start + count).div_ceil(8)) };
        return PyBytes::new_with(py, count, |out| {
            for (index, byte) in (start..).zip(out) {
                *byte = u8::from(bit(bitmap, index));
            }
            Ok(())
        });
    }
    // SAFETY: so many items of this size are there, in native byte order.
    Ok(PyBytes::new(py, unsafe { slice::from_raw_parts(data.add(start * item.size()), count * item.size()) }))
}
