//! `ElementCodec`: everything about the bytes of one dtype.

use kohakuvault_core::block::{self, Layout};
use kohakuvault_core::dtype::Dtype;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::buffer::Bytes;
use super::errors::{block_error, corrupt, value_error};
use super::pack::{self, Limits, Packed};
use super::{stream, summary, unpack};

/// Work on fewer bytes than this takes less time than letting other threads run.
pub(crate) const DETACH_ABOVE: usize = 64 * 1024;

/// Packs values of one dtype into blocks of bytes, and reads, slices, joins and checks such blocks.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct ElementCodec {
    dtype: Dtype,
    layout: Layout,
}

#[pymethods]
impl ElementCodec {
    #[new]
    fn new(dtype: &str) -> PyResult<Self> {
        let dtype: Dtype = dtype.parse().map_err(value_error)?;
        Ok(Self { layout: Layout::from(&dtype), dtype })
    }

    /// The canonical dtype string.
    #[getter]
    fn dtype(&self) -> String {
        self.dtype.to_string()
    }

    /// The scalar dtype (of vectors too), `"bytes"`, `"str"` or the name of the format.
    #[getter]
    fn element(&self) -> &'static str {
        self.dtype.element()
    }

    /// Bytes of one element; None if elements differ in size.
    #[getter]
    fn item_size(&self) -> Option<usize> {
        self.dtype.item_size()
    }

    /// The dimensions of a vector of fixed shape; `()` for what is not a vector; None for any shape.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        match &self.dtype {
            Dtype::FixedVector(_, shape) => PyTuple::new(py, shape.iter()).map(Some),
            Dtype::AnyVector(_) => Ok(None),
            _ => Ok(Some(PyTuple::empty(py))),
        }
    }

    #[getter]
    fn is_vector(&self) -> bool {
        self.dtype.is_vector()
    }

    /// Pack a sequence or array of values into blocks; a list of (count, bytes).
    #[pyo3(signature = (values, block_bytes, room = 0))]
    fn pack<'py>(
        &self,
        values: &Bound<'py, PyAny>,
        block_bytes: usize,
        room: usize,
    ) -> PyResult<Vec<Packed<'py>>> {
        pack::pack(&self.dtype, values, Limits { block_bytes, room })
    }

    /// The packed bytes of one element.
    fn pack_one<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        pack::pack_one(&self.dtype, value)
    }

    /// The values of the elements `start..stop` of a block.
    #[pyo3(signature = (data, count, start = 0, stop = None))]
    fn unpack<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        count: usize,
        start: usize,
        stop: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (py, bytes, stop) = (data.py(), Bytes::of(data)?, stop.unwrap_or(count));
        match self.dtype {
            Dtype::Value(format) => unpack::unpack_values(format, &bytes.into_python(py), count, start, stop),
            _ => unpack::unpack(py, &self.dtype, bytes.as_slice(), count, start, stop),
        }
    }

    /// The value of one element of a block.
    fn unpack_one<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        count: usize,
        index: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, bytes) = (data.py(), Bytes::of(data)?);
        match self.dtype {
            Dtype::Value(format) => unpack::unpack_value(format, &bytes.into_python(py), count, index),
            _ => unpack::unpack_one(py, &self.dtype, bytes.as_slice(), count, index),
        }
    }

    /// A block of the elements `start..stop` of a block.
    fn slice<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        count: usize,
        start: usize,
        stop: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = Bytes::of(data)?;
        let block = block::slice(self.layout, bytes.as_slice(), count, start, stop)
            .map_err(|error| block_error(&error))?;
        Ok(PyBytes::new(data.py(), &block))
    }

    /// Join blocks, given as (count, bytes), and cut them again into blocks of at most `block_bytes`.
    fn join<'py>(
        &self,
        py: Python<'py>,
        parts: Vec<(usize, Bound<'py, PyAny>)>,
        block_bytes: usize,
    ) -> PyResult<Vec<Packed<'py>>> {
        let parts: Vec<(usize, Bytes<'py>)> =
            parts.into_iter().map(|(count, data)| Ok((count, Bytes::of(&data)?))).collect::<PyResult<_>>()?;
        let slices: Vec<(usize, &[u8])> =
            parts.iter().map(|(count, bytes)| (*count, bytes.as_slice())).collect();
        let layout = self.layout;
        let total: usize = slices.iter().map(|(_, bytes)| bytes.len()).sum();
        let join = || block::join(layout, &slices, block_bytes);
        let joined = if total > DETACH_ABOVE { py.detach(join) } else { join() };
        let blocks = joined.map_err(|error| block_error(&error))?;
        Ok(blocks.into_iter().map(|(count, block)| (count, PyBytes::new(py, &block))).collect())
    }

    /// Validate a block completely.
    fn check(&self, data: &Bound<'_, PyAny>, count: usize) -> PyResult<()> {
        let bytes = Bytes::of(data)?;
        block::check(&self.dtype, bytes.as_slice(), count).map_err(|error| corrupt(&error))?;
        if let Dtype::Value(format) = self.dtype {
            let source = bytes.into_python(data.py());
            for index in 0..count {
                unpack::unpack_value(format, &source, count, index)?;
            }
        }
        Ok(())
    }

    /// The stream of a block's elements.
    fn stream<'py>(&self, data: &Bound<'py, PyAny>, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        stream::from_block(self.layout, data, count)
    }

    /// The (count, bytes) of a stream.
    #[pyo3(name = "from_stream")]
    fn block_of_stream<'py>(&self, stream: &Bound<'py, PyAny>) -> PyResult<Packed<'py>> {
        stream::to_block(self.layout, stream)
    }

    /// The summary of a block; None if the dtype has none, or the block no elements.
    fn summary<'py>(&self, data: &Bound<'py, PyAny>, count: usize) -> PyResult<Option<Bound<'py, PyBytes>>> {
        summary::of_block(&self.dtype, data, count)
    }

    /// The (min, max, sum, NaN) of all blocks, given as (count, summary); None for none.
    fn summarize<'py>(&self, summaries: &Bound<'py, PyAny>) -> PyResult<Option<summary::Numbers<'py>>> {
        summary::combine(summaries.py(), &self.dtype, summaries)
    }

    /// Whether a block may have elements from `low` to `high`.
    #[pyo3(signature = (summary, low, high))]
    fn may_contain(
        &self,
        summary: &Bound<'_, PyAny>,
        low: Option<&Bound<'_, PyAny>>,
        high: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        summary::may_contain(&self.dtype, summary, low, high)
    }

    fn __repr__(&self) -> String {
        format!("ElementCodec('{}')", self.dtype)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, (String,)) {
        (py.get_type::<Self>().into_any(), (self.dtype.to_string(),))
    }
}
