//! The parts of `KohakuVault` that know neither Python nor `SQLite`: vector distances, the k nearest
//! rows, the dtype grammar, the layout of packed blocks, the encodings of packed values and buffers of rows.
//!
//! Both faces of the shared library (Python module, `SQLite` extension) are thin layers over this crate, so
//! a distance or an ordering is the same whichever way it was asked for.

#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::float_cmp
    )
)]

pub mod block;
pub mod distance;
pub mod dtype;
pub mod element;
pub mod frame;
pub mod half;
pub mod id_set;
pub mod index;
pub mod kernels;
pub mod metric;
pub mod ordered;
pub mod packing;
pub mod page;
pub mod pending;
pub mod ranking;
pub mod reduce;
pub mod rows;
pub mod second_chance;
pub mod stream;
pub mod summary;
pub mod text;
pub mod topk;
pub mod vector;
pub mod waiting;
