//! JSON schemas that values are held to when they are packed.

use kohakuvault_core::dtype::Dtype;
use pyo3::prelude::*;

use super::super::packing::classes::classes;
use super::super::packing::errors::unsupported;
use super::super::packing::json;
use super::layout::Layout;

/// A compiled schema.
pub(super) struct Schema {
    /// The schema as JSON with sorted keys: equal schemas have equal text.
    pub(super) text: String,
    check: Py<PyAny>,
}

impl Schema {
    /// Compiles what is a dict, a bool or JSON text. Values are checked by recursion, hence not nested deeper than
    /// JSON may be.
    pub(super) fn of(schema: &Bound<'_, PyAny>, layout: &mut Layout) -> PyResult<Self> {
        let py = schema.py();
        if !matches!(layout.dtype, Dtype::Value(_)) {
            return Err(unsupported(
                py,
                format!(
                    "a JSON schema given for dtype {}; it can judge msgpack, cbor and json",
                    layout.dtype
                ),
            ));
        }
        let (text, check) = classes(py)?.compiled_schema.bind(py).call1((schema,))?.extract()?;
        layout.max_depth = layout.max_depth.min(json::MAX_DEPTH);
        Ok(Self { text, check })
    }

    /// Raises for a value, which has been packed, that the schema does not allow.
    pub(super) fn check(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check.bind(value.py()).call1((value,)).map(drop)
    }
}
