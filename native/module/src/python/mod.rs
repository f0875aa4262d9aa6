//! The Python face: packing of columns and values, vector distances, the Python twins of the SQL functions.

pub(crate) mod arrow;
pub(crate) mod buffer;
pub(crate) mod codec;
pub(crate) mod column_buffer;
pub(crate) mod data_packer;
pub(crate) mod distance;
pub(crate) mod errors;
pub(crate) mod frame;
pub(crate) mod gather;
pub(crate) mod index_form;
pub(crate) mod interpreter;
pub(crate) mod nearest;
pub(crate) mod number;
pub(crate) mod ordered;
pub(crate) mod pack;
pub(crate) mod packed_vector;
pub(crate) mod packing;
pub(crate) mod read_cache;
pub(crate) mod run_cache;
pub(crate) mod sequence;
pub(crate) mod stream;
pub(crate) mod summary;
pub(crate) mod text;
pub(crate) mod unpack;
pub(crate) mod vector;
pub(crate) mod watch;
