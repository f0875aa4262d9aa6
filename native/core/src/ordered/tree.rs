//! A B+tree.
//!
//! Keys and values stand in leaves, in parallel arrays; leaves are linked. Inner nodes hold separators: of the key
//! `keys[i]` of a node, nothing in `children[i]` is above it, and nothing in `children[i + 1]` is below it. Every node
//! knows its parent, so that a place is found without the way to it.
#![allow(
    clippy::indexing_slicing,
    reason = "numbers of nodes and positions are the tree's own; check() tests them"
)]

use super::arena::{Arena, NONE};
use super::{Place, Search, Sorted, size};

/// The least number of keys of a full node.
pub const LEAST_ORDER: usize = 8;

struct Leaf<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    parent: u32,
    previous: u32,
    next: u32,
}

struct Inner<K> {
    keys: Vec<K>,
    children: Vec<u32>,
    parent: u32,
}

impl<K, V> Default for Leaf<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new(), parent: NONE, previous: NONE, next: NONE }
    }
}

impl<K> Default for Inner<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), children: Vec::new(), parent: NONE }
    }
}

/// A B+tree.
pub struct Tree<K, V> {
    leaves: Arena<Leaf<K, V>>,
    inners: Arena<Inner<K>>,
    root: u32,
    /// Levels of inner nodes.
    height: usize,
    first: u32,
    last: u32,
    length: usize,
    order: usize,
    discarded: Vec<K>,
}

impl<K: Clone, V> Tree<K, V> {
    /// An empty tree whose nodes have at most `order` keys, and at least [`LEAST_ORDER`] where that is less.
    #[must_use]
    pub fn new(order: usize) -> Self {
        let mut leaves = Arena::new();
        let root = leaves.add(Leaf::default());
        let order = order.clamp(LEAST_ORDER, 1 << 16);
        let inners = Arena::new();
        Self {
            leaves,
            inners,
            root,
            height: 0,
            first: root,
            last: root,
            length: 0,
            order,
            discarded: Vec::new(),
        }
    }

    #[must_use]
    pub fn order(&self) -> usize {
        self.order
    }

    /// The same tree, with every key made another; their order has to stay.
    #[must_use]
    pub fn convert<L>(self, mut change: impl FnMut(K) -> L) -> Tree<L, V> {
        let mut changed = |keys: Vec<K>| keys.into_iter().map(&mut change).collect();
        let inners = self.inners.convert(|inner| Inner {
            keys: changed(inner.keys),
            children: inner.children,
            parent: inner.parent,
        });
        let leaves = self.leaves.convert(|leaf| Leaf {
            keys: changed(leaf.keys),
            values: leaf.values,
            parent: leaf.parent,
            previous: leaf.previous,
            next: leaf.next,
        });
        Tree {
            leaves,
            inners,
            root: self.root,
            height: self.height,
            first: self.first,
            last: self.last,
            length: self.length,
            order: self.order,
            discarded: Vec::new(),
        }
    }

    fn set_next(&mut self, leaf: u32, next: u32) {
        self.leaves[leaf].next = next;
        if next == NONE {
            self.last = leaf;
        } else {
            self.leaves[next].previous = leaf;
        }
    }

    /// Where a child is among the children of its parent.
    fn position(&self, parent: u32, child: u32) -> usize {
        self.inners[parent].children.iter().position(|each| *each == child).unwrap_or(0)
    }

    // -- growing -------------------------------------------------------------------------------

    /// Move a part of a full leaf to a new one; return where an entry belongs now that was to go to `index`.
    fn split(&mut self, leaf: u32, index: usize) -> (u32, usize, u32) {
        let order = self.order;
        let left = &mut self.leaves[leaf];
        let (parent, next) = (left.parent, left.next);
        // Keys that come in order fill their leaves: only the new one goes on.
        let at = if next == NONE && index == order { order } else { order / 2 };
        let (keys, values) = (left.keys.split_off(at), left.values.split_off(at));
        let new = self.leaves.add(Leaf { keys, values, parent, previous: leaf, next });
        self.set_next(new, next);
        self.set_next(leaf, new);
        if index > at || at == order { (new, index - at, new) } else { (leaf, index, new) }
    }

    /// Have `new` behind `node`, which is so many levels above the leaves.
    fn hang(&mut self, level: usize, node: u32, separator: K, new: u32) {
        let parent = self.parent(level, node);
        if parent == NONE {
            let inner = Inner { keys: vec![separator], children: vec![node, new], parent: NONE };
            self.root = self.inners.add(inner);
            self.height += 1;
            let root = self.root;
            self.set_parent(level, node, root);
            self.set_parent(level, new, root);
            return;
        }
        self.set_parent(level, new, parent);
        let child = self.position(parent, node);
        let order = self.order;
        let inner = &mut self.inners[parent];
        inner.keys.insert(child, separator);
        inner.children.insert(child + 1, new);
        if inner.keys.len() <= order {
            return;
        }
        let at = if child + 1 == inner.keys.len() { order - 1 } else { order / 2 };
        let keys = inner.keys.split_off(at + 1);
        let children = inner.children.split_off(at + 1);
        let above = inner.parent;
        let Some(middle) = inner.keys.pop() else { return };
        let right = self.inners.add(Inner { keys, children, parent: above });
        self.adopt(level, right);
        self.hang(level + 1, parent, middle, right);
    }

    fn parent(&self, level: usize, node: u32) -> u32 {
        if level == 0 { self.leaves[node].parent } else { self.inners[node].parent }
    }

    fn set_parent(&mut self, level: usize, node: u32, parent: u32) {
        if level == 0 {
            self.leaves[node].parent = parent;
        } else {
            self.inners[node].parent = parent;
        }
    }

    /// Tell the children of a node, which are so many levels above the leaves, that it is their parent.
    fn adopt(&mut self, level: usize, parent: u32) {
        for index in 0..self.inners[parent].children.len() {
            let child = self.inners[parent].children[index];
            self.set_parent(level, child, parent);
        }
    }

    // -- shrinking -----------------------------------------------------------------------------

    fn size(&self, level: usize, node: u32) -> usize {
        if level == 0 { self.leaves[node].keys.len() } else { self.inners[node].keys.len() }
    }

    /// Join a node that has become small with one beside it, or even the two out.
    fn mend(&mut self, level: usize, node: u32) {
        let parent = self.parent(level, node);
        if parent == NONE {
            // A root with a single child is none.
            if level > 0 && self.inners[node].keys.is_empty() {
                let inner = self.inners.take(node);
                self.root = inner.children[0];
                self.height -= 1;
                self.set_parent(level - 1, self.root, NONE);
            }
            return;
        }
        let child = self.position(parent, node);
        let siblings = &self.inners[parent].children;
        // Its right sibling, or else the left one.
        let at = if child + 1 < siblings.len() { child } else { child - 1 };
        let (left, right) = (siblings[at], siblings[at + 1]);
        if self.size(level, left) + self.size(level, right) >= self.order {
            self.even_out(level, parent, at);
            return;
        }
        let inner = &mut self.inners[parent];
        let separator = inner.keys.remove(at);
        inner.children.remove(at + 1);
        self.join(level, left, separator, right);
        if self.inners[parent].keys.len() < self.order / 2 {
            self.mend(level + 1, parent);
        }
    }

    fn join(&mut self, level: usize, left: u32, separator: K, right: u32) {
        if level == 0 {
            let mut of_right = self.leaves.take(right);
            let leaf = &mut self.leaves[left];
            leaf.keys.append(&mut of_right.keys);
            leaf.values.append(&mut of_right.values);
            self.set_next(left, of_right.next);
            self.discarded.push(separator);
        } else {
            let mut of_right = self.inners.take(right);
            let inner = &mut self.inners[left];
            inner.keys.push(separator);
            inner.keys.append(&mut of_right.keys);
            inner.children.append(&mut of_right.children);
            self.adopt(level - 1, left);
        }
    }

    /// Have two neighbours hold the same number of keys.
    fn even_out(&mut self, level: usize, parent: u32, at: usize) {
        let (left, right) = (self.inners[parent].children[at], self.inners[parent].children[at + 1]);
        let half = usize::midpoint(self.size(level, left), self.size(level, right));
        if level == 0 {
            let mut of_right = std::mem::take(&mut self.leaves[right].keys);
            move_over(&mut self.leaves[left].keys, &mut of_right, half);
            let separator = std::mem::replace(&mut self.inners[parent].keys[at], of_right[0].clone());
            self.discarded.push(separator);
            self.leaves[right].keys = of_right;
            let mut of_right = std::mem::take(&mut self.leaves[right].values);
            move_over(&mut self.leaves[left].values, &mut of_right, half);
            self.leaves[right].values = of_right;
            return;
        }
        // With the separator between them their keys are one row.
        let between = self.inners[parent].keys[at].clone();
        let mut of_right = std::mem::take(&mut self.inners[right]);
        let of_left = &mut self.inners[left];
        of_left.keys.push(between);
        move_over(&mut of_left.keys, &mut of_right.keys, half + 1);
        move_over(&mut of_left.children, &mut of_right.children, half + 1);
        let separator = of_left.keys.pop();
        self.inners[right] = of_right;
        if let Some(separator) = separator {
            self.inners[parent].keys[at] = separator;
        }
        self.adopt(level - 1, left);
        self.adopt(level - 1, right);
    }

    fn check_node(&self, level: usize, node: u32, leaves: &mut Vec<u32>, problems: &mut Vec<String>) {
        let size = self.size(level, node);
        if size > self.order {
            problems.push(format!("node {node} has {size} keys, and at most {} are possible", self.order));
        }
        if level == 0 {
            let leaf = &self.leaves[node];
            if size != leaf.values.len() {
                problems.push(format!("leaf {node} has {size} keys and {} values", leaf.values.len()));
            }
            if size == 0 && node != self.root {
                problems.push(format!("leaf {node} is empty"));
            }
            leaves.push(node);
            return;
        }
        let children = &self.inners[node].children;
        if children.len() != size + 1 || size == 0 {
            problems.push(format!("node {node} has {size} separators of {} children", children.len()));
        }
        for &child in children {
            if self.parent(level - 1, child) != node {
                problems.push(format!("node {child} does not know that {node} is its parent"));
            }
            self.check_node(level - 1, child, leaves, problems);
        }
    }
}

impl<K: Clone, V> Sorted<K, V> for Tree<K, V> {
    fn len(&self) -> usize {
        self.length
    }

    #[inline]
    fn lower_bound(&self, count_below: impl Fn(&[K]) -> usize) -> Place {
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node];
            node = inner.children[count_below(&inner.keys)];
        }
        let index = count_below(&self.leaves[node].keys);
        Place { node, index: u32::try_from(index).unwrap_or(NONE) }
    }

    fn begin(&self) -> Search {
        Search { node: self.root, level: self.height, low: 0, high: self.size(self.height, self.root) }
    }

    fn probe(&self, search: &Search) -> Option<&K> {
        let keys =
            if search.level == 0 { &self.leaves[search.node].keys } else { &self.inners[search.node].keys };
        (search.low < search.high).then(|| &keys[search.middle()])
    }

    fn turn(&self, search: &mut Search, is_below: bool) {
        search.halve(is_below);
        if search.low == search.high && search.level > 0 {
            search.node = self.inners[search.node].children[search.low];
            search.level -= 1;
            search.low = 0;
            search.high = self.size(search.level, search.node);
        }
    }

    fn start(&self) -> Place {
        Place { node: self.first, index: 0 }
    }

    fn end(&self) -> Place {
        Place { node: self.last, index: size(&self.leaves[self.last].keys) }
    }

    fn next_node(&self, node: u32) -> Option<u32> {
        Some(self.leaves[node].next).filter(|next| *next != NONE)
    }

    fn previous_node(&self, node: u32) -> Option<u32> {
        Some(self.leaves[node].previous).filter(|previous| *previous != NONE)
    }

    fn run(&self, from: Place) -> (&[K], &[V]) {
        let leaf = &self.leaves[from.node];
        let index = from.index as usize;
        (leaf.keys.get(index..).unwrap_or(&[]), leaf.values.get(index..).unwrap_or(&[]))
    }

    fn insert(&mut self, at: Place, key: K, value: V) {
        self.length += 1;
        let (node, index) = (at.node, at.index as usize);
        if self.leaves[node].keys.len() < self.order {
            let leaf = &mut self.leaves[node];
            leaf.keys.insert(index, key);
            leaf.values.insert(index, value);
            return;
        }
        let (leaf, index, new) = self.split(node, index);
        let leaf = &mut self.leaves[leaf];
        leaf.keys.insert(index, key);
        leaf.values.insert(index, value);
        let separator = self.leaves[new].keys[0].clone();
        self.hang(0, node, separator, new);
    }

    fn replace(&mut self, at: Place, value: V) -> Option<V> {
        let at = self.settle(at)?;
        Some(std::mem::replace(&mut self.leaves[at.node].values[at.index as usize], value))
    }

    fn remove(&mut self, at: Place) -> Option<(K, V)> {
        let at = self.settle(at)?;
        let leaf = &mut self.leaves[at.node];
        let entry = (leaf.keys.remove(at.index as usize), leaf.values.remove(at.index as usize));
        self.length -= 1;
        if self.leaves[at.node].keys.len() < self.order / 2 {
            self.mend(0, at.node);
        }
        Some(entry)
    }

    fn discarded(&mut self) -> Vec<K> {
        std::mem::take(&mut self.discarded)
    }

    fn visit<E>(
        &self,
        mut of_key: impl FnMut(&K) -> Result<(), E>,
        mut of_value: impl FnMut(&V) -> Result<(), E>,
    ) -> Result<(), E> {
        for inner in self.inners.iter() {
            inner.keys.iter().try_for_each(&mut of_key)?;
        }
        for leaf in self.leaves.iter() {
            leaf.keys.iter().try_for_each(&mut of_key)?;
            leaf.values.iter().try_for_each(&mut of_value)?;
        }
        Ok(())
    }

    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut leaves = Vec::new();
        if self.parent(self.height, self.root) != NONE {
            problems.push("the root has a parent".to_owned());
        }
        self.check_node(self.height, self.root, &mut leaves, &mut problems);
        let mut counted = 0;
        let mut previous = NONE;
        let mut at = self.first;
        let mut linked = Vec::new();
        while at != NONE && linked.len() <= leaves.len() {
            let leaf = &self.leaves[at];
            if leaf.previous != previous {
                problems.push(format!("leaf {at} does not know the leaf before it"));
            }
            counted += leaf.keys.len();
            linked.push(at);
            previous = at;
            at = leaf.next;
        }
        if linked != leaves || leaves.len() != self.leaves.count() {
            problems.push("the links between leaves are not in the order of the tree".to_owned());
        }
        if previous != self.last {
            problems.push("the last leaf is not the one that is kept as such".to_owned());
        }
        if counted != self.length {
            problems.push(format!("the leaves have {counted} entries, and the length is {}", self.length));
        }
        problems
    }
}

/// Move items between two neighbours so that the left one has `count`.
fn move_over<T>(left: &mut Vec<T>, right: &mut Vec<T>, count: usize) {
    if left.len() < count {
        left.extend(right.drain(..count - left.len()));
    } else {
        right.splice(..0, left.drain(count..));
    }
}
