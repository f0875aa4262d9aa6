//! Ordered maps of Python objects.

pub(crate) mod csb_tree;
mod keys;
