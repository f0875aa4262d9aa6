//! The class that Python sees.

use std::hash::{DefaultHasher, Hash, Hasher};

use kohakuvault_core::dtype::{Dtype, Format};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::super::errors::{Place, at, describe, ours};
use super::super::packing::errors::unsupported;
use super::arrays;
use super::input::Input;
use super::layout::Layout;
use super::read;
use super::schema::Schema;
use super::source::{Source, size_of, spans};
use super::write;

/// Packs values of one dtype into bytes, and reads them: immutable, safe in threads, can be pickled.
///
/// Parameters
/// ----------
/// dtype
///     ``i8`` to ``i64``, ``u8`` to ``u64``, ``f32``, ``f64``, ``bool``, ``bytes``, ``bytes:N``, ``str:<encoding>``,
///     ``str:N:<encoding>``, ``msgpack``, ``cbor``, ``json``, ``vec:<scalar>:<dimensions>`` or ``vec:<scalar>``.
/// json_schema
///     A JSON schema (dict, bool or JSON text) that values of ``msgpack``, ``cbor`` or ``json`` are held to.
///
/// Raises
/// ------
/// InvalidArgument
///     (a ``ValueError``) from the constructor for an unknown dtype, from packing for a value that the dtype cannot
///     hold: out of range, too long, of another shape, not allowed by the schema.
/// UnsupportedType
///     (a ``TypeError``) for a value of another type.
/// CorruptValue
///     (a ``ValueError``) from unpacking, for data that is damaged, too short or of another dtype.
///
/// Examples
/// --------
/// >>> from kohakuvault import DataPacker
/// >>> packer = DataPacker("i64")
/// >>> packer.pack(42)
/// b'*\x00\x00\x00\x00\x00\x00\x00'
/// >>> packer.unpack_many(packer.pack_many(range(5)))
/// [0, 1, 2, 3, 4]
/// >>> DataPacker("msgpack").unpack(DataPacker("msgpack").pack({"key": (1, 2)}))
/// {'key': (1, 2)}
#[allow(clippy::doc_markdown, reason = "it is a docstring of Python's")]
#[pyclass(frozen, module = "kohakuvault")]
pub(crate) struct DataPacker {
    layout: Layout,
    schema: Option<Schema>,
}

#[pymethods]
impl DataPacker {
    #[new]
    #[pyo3(signature = (dtype, json_schema = None))]
    fn new(dtype: &Bound<'_, PyAny>, json_schema: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let py = dtype.py();
        let Ok(name) = dtype.extract::<&str>() else {
            return Err(unsupported(
                py,
                format!("{} given as dtype; expected text such as 'i64' or 'vec:f32:384'", describe(dtype)),
            ));
        };
        let mut layout = Layout::of(py, name).map_err(|error| ours(py, error))?;
        let schema = json_schema.map(|schema| Schema::of(schema, &mut layout)).transpose()?;
        Ok(Self { layout, schema })
    }

    /// The canonical dtype string.
    #[getter]
    fn dtype(&self) -> String {
        self.layout.dtype.to_string()
    }

    /// Bytes of a packed element; 0 if elements differ in size.
    #[getter]
    fn elem_size(&self) -> usize {
        self.layout.size.unwrap_or(0)
    }

    /// Whether elements differ in size.
    #[getter]
    fn is_varsize(&self) -> bool {
        self.layout.size.is_none()
    }

    /// The JSON schema that values are held to, as JSON text; None without one.
    #[getter]
    fn json_schema(&self) -> Option<&str> {
        self.schema.as_ref().map(|schema| schema.text.as_str())
    }

    /// The bytes of one value.
    #[pyo3(signature = (value, /))]
    fn pack<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let packed = write::one(&self.layout, value).map_err(|error| ours(value.py(), error))?;
        if let Some(schema) = &self.schema {
            schema.check(value)?;
        }
        Ok(packed)
    }

    /// The bytes of many values, one behind the other.
    #[pyo3(signature = (values, /))]
    fn pack_many<'py>(&self, values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let input = Input::of(&self.layout, values)?;
        let packed = write::many(&self.layout, values, &input).map_err(|error| ours(values.py(), error))?;
        self.check(&input)?;
        Ok(packed)
    }

    /// The bytes of many values, one behind the other, and where each begins.
    #[pyo3(signature = (values, /))]
    fn pack_with_offsets<'py>(
        &self,
        values: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyList>)> {
        let py = values.py();
        let input = Input::of(&self.layout, values)?;
        let (packed, offsets) = match (&input, self.layout.size) {
            (Input::List(list), None) => write::with_offsets(&self.layout, list),
            (_, size) => write::many(&self.layout, values, &input).map(|packed| {
                let offsets = (0..packed.as_bytes().len()).step_by(size.unwrap_or(1)).collect();
                (packed, offsets)
            }),
        }
        .map_err(|error| ours(py, error))?;
        self.check(&input)?;
        Ok((packed, PyList::new(py, offsets)?))
    }

    /// The value whose bytes begin at an offset.
    #[pyo3(signature = (data, offset = None))]
    fn unpack<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        offset: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let read = || {
            let offset = offset.map_or(Ok(0), |offset| size_of("offset", offset))?;
            let Source { bytes, part } = Source::of(data, offset, self.layout.size)?;
            read::first(&self.layout, &bytes, part).map(|(value, _)| value)
        };
        read().map_err(|error| ours(data.py(), error))
    }

    /// The values of many elements.
    #[pyo3(signature = (data, count = None, offsets = None))]
    fn unpack_many<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        count: Option<&Bound<'py, PyAny>>,
        offsets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = data.py();
        let read = || {
            let count = count.map(|count| size_of("count", count)).transpose()?;
            let mut source = Source::of(data, 0, None)?;
            if let Some(offsets) = offsets {
                let ends = spans(py, offsets, count, source.part.len())?;
                return read::delimited(&self.layout, &source, &ends);
            }
            match (self.layout.size, &self.layout.dtype) {
                (Some(size), _) => {
                    let count = arrays::whole_count(py, source.part.len(), size, count)?;
                    source.part.end = source.part.start + count * size;
                    read::fixed(&self.layout, &source, size)
                }
                (None, Dtype::AnyVector(_) | Dtype::Value(Format::MsgPack | Format::Cbor)) => {
                    read::self_delimited(&self.layout, &source, count)
                }
                (None, dtype) => Err(read::needs_offsets(py, dtype)),
            }
        };
        read().map_err(|error| ours(py, error))
    }

    /// A view of packed numbers as an array.
    #[pyo3(signature = (data, count = None))]
    fn to_array<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        count: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let view = || {
            let count = count.map(|count| size_of("count", count)).transpose()?;
            arrays::to_array(&self.layout, data, count)
        };
        view().map_err(|error| ours(data.py(), error))
    }

    /// The packed elements of an array, as a memoryview.
    #[allow(clippy::wrong_self_convention, reason = "Python's name, as array.fromlist")]
    #[pyo3(signature = (array, /))]
    fn from_array<'py>(&self, array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        arrays::from_array(&self.layout, array).map_err(|error| ours(array.py(), error))
    }

    #[classattr]
    fn with_json_schema() -> WithJsonSchema {
        WithJsonSchema { dtype: None }
    }

    fn __repr__(&self) -> String {
        match &self.schema {
            None => format!("DataPacker('{}')", self.layout.dtype),
            Some(schema) => format!("DataPacker('{}', json_schema={:?})", self.layout.dtype, schema.text),
        }
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.identity().hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, (String, Option<&str>)) {
        (py.get_type::<Self>().into_any(), (self.dtype(), self.json_schema()))
    }
}

impl DataPacker {
    fn identity(&self) -> (&Dtype, Option<&str>) {
        (&self.layout.dtype, self.json_schema())
    }

    /// Holds each of many values to the schema.
    fn check(&self, input: &Input<'_>) -> PyResult<()> {
        let (Some(schema), Input::List(list)) = (&self.schema, input) else { return Ok(()) };
        for (index, item) in list.iter().enumerate() {
            schema.check(&item).map_err(|error| at(list.py(), Place::Element(index), error))?;
        }
        Ok(())
    }
}

/// `with_json_schema`: called on the class it makes a packer of `msgpack`, on a packer one of the same dtype.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct WithJsonSchema {
    dtype: Option<String>,
}

#[pymethods]
impl WithJsonSchema {
    #[allow(clippy::unused_self, reason = "Python's signature")]
    fn __get__(&self, instance: Option<&Bound<'_, PyAny>>, _owner: Option<&Bound<'_, PyAny>>) -> Self {
        let packer = instance.and_then(|instance| instance.cast::<DataPacker>().ok());
        Self { dtype: packer.map(|packer| packer.get().dtype()) }
    }

    #[pyo3(signature = (schema, /))]
    fn __call__(&self, schema: &Bound<'_, PyAny>) -> PyResult<DataPacker> {
        let mut layout = Layout::of(schema.py(), self.dtype.as_deref().unwrap_or(Format::MsgPack.name()))?;
        let schema = Some(Schema::of(schema, &mut layout)?);
        Ok(DataPacker { layout, schema })
    }
}
