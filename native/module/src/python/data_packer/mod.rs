//! `DataPacker`: values of one dtype as bytes without a block around them.
//!
//! ```text
//! face ── input ── write        values to bytes
//! face ── source ── read        bytes to values
//! face ── arrays                views of bytes as arrays, of arrays as bytes
//! ```
//!
//! The layouts are those of columns, but that a vector of fixed shape begins with its type, as in `KohakuVault` 1.1.

mod arrays;
pub(crate) mod face;
mod input;
mod layout;
mod read;
mod schema;
mod source;
mod write;
