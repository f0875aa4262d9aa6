//! Classes and functions of Python modules, imported when they are first needed.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();

macro_rules! imported {
    ($(#[$about:meta])* $visibility:vis struct $name:ident {
        $(classes { $($class:ident = $class_module:literal . $class_name:literal,)* })?
        $(objects { $($object:ident = $object_module:literal . $object_name:literal,)* })?
    }) => {
        $(#[$about])*
        $visibility struct $name {
            $($(pub(crate) $class: Py<PyType>,)*)?
            $($(pub(crate) $object: Py<PyAny>,)*)?
        }

        impl $name {
            fn import(py: Python<'_>) -> PyResult<Self> {
                Ok(Self {
                    $($($class: py.import($class_module)?.getattr($class_name)?.cast_into::<PyType>()?.unbind(),)*)?
                    $($($object: py.import($object_module)?.getattr($object_name)?.unbind(),)*)?
                })
            }
        }
    };
}

imported! {
    /// What packing needs of Python beyond the built-in types.
    pub(crate) struct Classes {
        classes {
            unsupported = "kohakuvault.errors"."UnsupportedType",
            invalid = "kohakuvault.errors"."InvalidArgument",
            corrupt = "kohakuvault.errors"."CorruptValue",
            as_msgpack = "kohakuvault.packing"."MsgPack",
            as_cbor = "kohakuvault.packing"."Cbor",
            as_json = "kohakuvault.packing"."Json",
            as_pickle = "kohakuvault.packing"."Pickle",
            chunked = "kohakuvault.packing"."ChunkedBytes",
            decimal = "decimal"."Decimal",
            fraction = "fractions"."Fraction",
            uuid = "uuid"."UUID",
            timezone = "datetime"."timezone",
            zone_info = "zoneinfo"."ZoneInfo",
            ndarray = "numpy"."ndarray",
            masked_array = "numpy.ma"."MaskedArray",
            generic = "numpy"."generic",
        }
        objects {
            array_parts = "kohakuvault.array_payload"."parts",
            array_of = "kohakuvault.array_payload"."array_of",
            numpy_dtype = "numpy"."dtype",
            asarray = "numpy"."asarray",
            frombuffer = "numpy"."frombuffer",
            compiled_schema = "kohakuvault.json_schema"."compiled",
            json_loads = "json"."loads",
            cbor_tag = "kohakuvault.cbor_tags"."tag_of",
            cbor_untag = "kohakuvault.cbor_tags"."value_of",
            pickle_dumps = "pickle"."dumps",
            pickle_loads = "pickle"."loads",
        }
    }
}

/// The classes; imported at the first call.
pub(crate) fn classes(py: Python<'_>) -> PyResult<&'static Classes> {
    CLASSES.get_or_try_init(py, || Classes::import(py))
}
