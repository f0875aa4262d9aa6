//! Nodes that know each other by their number.
#![allow(clippy::indexing_slicing, reason = "numbers are those that add() has returned; check() tests them")]

use std::mem;
use std::ops::{Index, IndexMut};

/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// Nodes by their number; numbers of those that are gone are given again.
pub(super) struct Arena<T> {
    nodes: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Arena<T> {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), free: Vec::new() }
    }

    pub(super) fn add(&mut self, node: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.nodes[number as usize] = node;
            return number;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
    }

    pub(super) fn take(&mut self, number: u32) -> T {
        self.free.push(number);
        mem::take(&mut self.nodes[number as usize])
    }

    /// The same nodes by the same numbers, each made another.
    pub(super) fn convert<U>(self, change: impl FnMut(T) -> U) -> Arena<U> {
        Arena { nodes: self.nodes.into_iter().map(change).collect(), free: self.free }
    }

    /// All nodes; of those that are gone, empty ones.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.nodes.iter()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.nodes[number as usize]
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.nodes[number as usize]
    }
}
