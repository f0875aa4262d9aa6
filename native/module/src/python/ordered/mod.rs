//! Ordered maps of Python objects.

mod arguments;
pub(crate) mod csb_tree;
mod entries;
mod interface;
pub(crate) mod iterator;
mod keys;
pub(crate) mod map;
mod shared;
pub(crate) mod skip_list;
