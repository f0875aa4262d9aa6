//! The `SQLite` face: SQL functions and a virtual table that run inside the host's connection.
//!
//! Callbacks run without the GIL, on whatever thread steps the statement, so nothing here touches Python.

mod api;
mod callback;
mod checksum;
mod collect;
mod connection;
mod distance;
mod entry;
mod gather;
mod id_set;
mod knn;
mod nearest;
mod packed;
mod rows;
mod slots;
mod table_function;
mod vector_index;
pub(crate) mod wal_index;
