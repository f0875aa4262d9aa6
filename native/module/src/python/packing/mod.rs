//! Packed values: Python values of any kind as tagged bytes, equal and of the same type when they are read.
//!
//! ```text
//! face ── walk ── msgpack_writer, cbor_writer ── time, number, array     (packing)
//! face ── json_writer
//! face ── msgpack_reader, cbor_reader ── build ── time, number, array    (unpacking)
//! face ── json
//! ```
//!
//! `values` is the face for columns and `DataPacker`, whose dtypes name the format.
//! `rows` and `kv_key` put keys and packed values into one buffer, for the SQL table `kv_rows`.
//!
//! Neither direction recurses over a value, so its depth costs no stack. `docs/format.md` has the bytes.

mod array;
mod build;
mod cbor_reader;
mod cbor_writer;
pub(crate) mod classes;
pub(crate) mod errors;
pub(crate) mod face;
pub(crate) mod json;
mod json_writer;
mod keys;
pub(crate) mod kv_key;
mod msgpack_reader;
mod msgpack_writer;
mod number;
pub(crate) mod path;
mod pickle;
pub(crate) mod rows;
pub(crate) mod scan;
mod stand_in;
mod time;
pub(crate) mod values;
mod walk;
pub(crate) mod write_buffer;
