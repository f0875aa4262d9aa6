//! The `SQLite` face: SQL functions that run inside the host's connection.
//!
//! Callbacks run without the GIL, on whatever thread steps the statement, so nothing here touches Python.

mod api;
mod callback;
mod connection;
mod distance;
mod entry;
mod nearest;
mod slots;
pub(crate) mod wal_index;
