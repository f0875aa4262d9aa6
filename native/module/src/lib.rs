//! The shared library of `KohakuVault`, with two faces: the Python module `kohakuvault._native` and a `SQLite`
//! extension. Both are thin layers over `kohakuvault_core`; being one file, they share its code and statics.

mod gathering;
mod python;
mod scan;
mod sqlite;
mod tokens;

/// The Python module.
// Every class is frozen and keeps what changes behind a mutex, so free-threaded builds need no GIL.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::python::codec::ElementCodec;
    #[pymodule_export]
    use crate::python::column_buffer::{ColumnBuffer, ColumnSlot};
    #[pymodule_export]
    use crate::python::data_packer::face::DataPacker;
    #[pymodule_export]
    use crate::python::distance::{
        VectorQuery, cosine_distance, distance, hamming_distance, ip_distance, l1_distance, l2_distance,
    };
    #[pymodule_export]
    use crate::python::errors::CorruptBlock;
    #[pymodule_export]
    use crate::python::frame::{frame_block, unframe};
    #[pymodule_export]
    use crate::python::gather::Gather;
    #[pymodule_export]
    use crate::python::index_form::IndexForm;
    #[pymodule_export]
    use crate::python::nearest::NearestAggregate;
    #[pymodule_export]
    use crate::python::ordered::csb_tree::CSBTree;
    #[pymodule_export]
    use crate::python::ordered::map::OrderedMap;
    #[pymodule_export]
    use crate::python::ordered::skip_list::SkipList;
    #[pymodule_export]
    use crate::python::packed_vector::{pack_vector, vector_from_text, vector_text};
    #[pymodule_export]
    use crate::python::packing::face::{pack, pack_cbor, pack_msgpack, unpack, unpack_cbor, unpack_msgpack};
    #[pymodule_export]
    use crate::python::packing::kv_key::check_key;
    #[pymodule_export]
    use crate::python::packing::path::{
        packed_boolean, packed_contains, packed_integer, packed_real, packed_text,
    };
    #[pymodule_export]
    use crate::python::packing::rows::{pack_keys, pack_rows};
    #[pymodule_export]
    use crate::python::packing::scan::PageScan;
    #[pymodule_export]
    use crate::python::packing::write_buffer::WriteBuffer;
    #[pymodule_export]
    use crate::python::read_cache::ReadCache;
    #[pymodule_export]
    use crate::python::run_cache::{ColumnRuns, RunCache};
    #[pymodule_export]
    use crate::python::watch::Watch;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::python::interpreter::claim(module.py())?;
        crate::python::watch::watch_forks(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
