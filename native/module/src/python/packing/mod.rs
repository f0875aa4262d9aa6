//! Packed values: Python values of any kind as tagged bytes, equal and of the same type when they are read.
//!
//! ```text
//! face ── walk ── msgpack_writer, cbor_writer ── time, number, array     (packing)
//! face ── msgpack_reader, cbor_reader ── build ── time, number, array    (unpacking)
//! ```
//!
//! Neither direction recurses over a value, so its depth costs no stack. `docs/format.md` has the bytes.

mod array;
mod build;
mod cbor_reader;
mod cbor_writer;
mod classes;
mod errors;
pub(crate) mod face;
mod keys;
mod msgpack_reader;
mod msgpack_writer;
mod number;
mod pickle;
mod time;
mod walk;
