//! Ordered maps in memory.

pub mod tree;
