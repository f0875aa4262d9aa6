//! A B+tree of which the order of keys is somebody else's: whoever searches it says where to go.
//!
//! Keys and values stand in leaves, in parallel arrays; leaves are linked. Inner nodes hold separators: of the key
//! `keys[i]` of a node, everything in `children[i]` is less, and nothing in `children[i + 1]` is. Nodes are in one
//! arena and know each other by their place in it.
//!
//! Searching is apart from changing ([`Tree::lower_bound`], [`Place`]), so that a comparison may take its time, or fail,
//! while nobody holds the tree.
#![allow(
    clippy::indexing_slicing,
    reason = "numbers of nodes and positions are the tree's own; check() tests them"
)]

use std::mem;

/// No node.
const NONE: u32 = u32::MAX;
/// Levels of inner nodes. Of the least order each has 5 children or more: 12 levels are 2.4e8 leaves, of 4 keys or more.
const MAX_DEPTH: usize = 12;
/// The least number of keys of a full node.
pub const LEAST_ORDER: usize = 8;

struct Leaf<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    previous: u32,
    next: u32,
}

struct Inner<K> {
    keys: Vec<K>,
    children: Vec<u32>,
}

enum Node<K, V> {
    Leaf(Leaf<K, V>),
    Inner(Inner<K>),
    /// The next free place.
    Free(u32),
}

/// An entry, or the gap before one, by its leaf and position there. It is good until the tree changes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    path: [(u32, u32); MAX_DEPTH],
    depth: usize,
    leaf: u32,
    index: usize,
}

/// A B+tree.
pub struct Tree<K, V> {
    nodes: Vec<Node<K, V>>,
    free: u32,
    root: u32,
    first: u32,
    last: u32,
    length: usize,
    order: usize,
}

impl<K: Clone, V> Tree<K, V> {
    /// An empty tree whose nodes have at most `order` keys, and at least [`LEAST_ORDER`] where that is less.
    #[must_use]
    pub fn new(order: usize) -> Self {
        let leaf = Leaf { keys: Vec::new(), values: Vec::new(), previous: NONE, next: NONE };
        let order = order.clamp(LEAST_ORDER, 1 << 16);
        Self { nodes: vec![Node::Leaf(leaf)], free: NONE, root: 0, first: 0, last: 0, length: 0, order }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[must_use]
    pub fn order(&self) -> usize {
        self.order
    }

    fn leaf(&self, id: u32) -> &Leaf<K, V> {
        match &self.nodes[id as usize] {
            Node::Leaf(leaf) => leaf,
            _ => unreachable!("a node of the lowest level is a leaf"),
        }
    }

    fn leaf_mut(&mut self, id: u32) -> &mut Leaf<K, V> {
        match &mut self.nodes[id as usize] {
            Node::Leaf(leaf) => leaf,
            _ => unreachable!("a node of the lowest level is a leaf"),
        }
    }

    fn inner_mut(&mut self, id: u32) -> &mut Inner<K> {
        match &mut self.nodes[id as usize] {
            Node::Inner(inner) => inner,
            _ => unreachable!("a node with children is an inner one"),
        }
    }

    fn add(&mut self, node: Node<K, V>) -> u32 {
        if self.free == NONE {
            self.nodes.push(node);
            return u32::try_from(self.nodes.len() - 1).unwrap_or(NONE);
        }
        let id = self.free;
        if let Node::Free(next) = mem::replace(&mut self.nodes[id as usize], node) {
            self.free = next;
        }
        id
    }

    fn release(&mut self, id: u32) -> Node<K, V> {
        let node = mem::replace(&mut self.nodes[id as usize], Node::Free(self.free));
        self.free = id;
        node
    }

    // -- searching -----------------------------------------------------------------------------

    /// The place of the first key that is not below what is searched for.
    ///
    /// `separators` counts those of a node that are not above it, `keys` those of a leaf that are below it.
    pub fn lower_bound(&self, separators: impl Fn(&[K]) -> usize, keys: impl Fn(&[K]) -> usize) -> Place {
        let mut place = Place { path: [(NONE, 0); MAX_DEPTH], depth: 0, leaf: self.root, index: 0 };
        loop {
            match &self.nodes[place.leaf as usize] {
                Node::Inner(inner) => {
                    let child = separators(&inner.keys);
                    place.push(child, inner.children[child]);
                }
                Node::Leaf(leaf) => {
                    place.index = keys(&leaf.keys);
                    return place;
                }
                Node::Free(_) => unreachable!("no node has a free one for a child"),
            }
        }
    }

    /// A place from which [`Tree::node_keys`] and [`Tree::descend`] lead to a leaf, one node at a time.
    #[must_use]
    pub fn start(&self) -> Place {
        Place { path: [(NONE, 0); MAX_DEPTH], depth: 0, leaf: self.root, index: 0 }
    }

    /// The keys of the node of a place, and whether it is a leaf.
    #[must_use]
    pub fn node_keys(&self, place: &Place) -> (&[K], bool) {
        match &self.nodes[place.leaf as usize] {
            Node::Inner(inner) => (&inner.keys, false),
            Node::Leaf(leaf) => (&leaf.keys, true),
            Node::Free(_) => (&[], true),
        }
    }

    /// Go to a child of an inner node, or to a position in a leaf.
    pub fn descend(&self, place: &mut Place, to: usize) {
        match &self.nodes[place.leaf as usize] {
            Node::Inner(inner) => place.push(to, inner.children[to]),
            _ => place.index = to,
        }
    }

    /// The entry at a place, or the next one if the place is behind the last of its leaf.
    #[must_use]
    pub fn at(&self, place: &Place) -> Option<(&K, &V)> {
        let leaf = self.leaf(place.leaf);
        match leaf.keys.get(place.index) {
            Some(key) => Some((key, &leaf.values[place.index])),
            None if leaf.next == NONE => None,
            None => {
                let next = self.leaf(leaf.next);
                Some((next.keys.first()?, next.values.first()?))
            }
        }
    }

    /// The entry before a place.
    #[must_use]
    pub fn before(&self, place: &Place) -> Option<(&K, &V)> {
        let mut leaf = self.leaf(place.leaf);
        let mut index = place.index;
        if index == 0 {
            if leaf.previous == NONE {
                return None;
            }
            leaf = self.leaf(leaf.previous);
            index = leaf.keys.len();
        }
        Some((leaf.keys.get(index - 1)?, leaf.values.get(index - 1)?))
    }

    #[must_use]
    pub fn first(&self) -> Option<(&K, &V)> {
        let leaf = self.leaf(self.first);
        Some((leaf.keys.first()?, leaf.values.first()?))
    }

    #[must_use]
    pub fn last(&self) -> Option<(&K, &V)> {
        let leaf = self.leaf(self.last);
        Some((leaf.keys.last()?, leaf.values.last()?))
    }

    /// The places before the first and behind the last entry; they are not for [`Tree::insert_at`].
    #[must_use]
    pub fn ends(&self) -> (Place, Place) {
        let place = |leaf, index| Place { path: [(NONE, 0); MAX_DEPTH], depth: 0, leaf, index };
        (place(self.first, 0), place(self.last, self.leaf(self.last).keys.len()))
    }

    /// Where an entry is inserted that is behind all others.
    #[must_use]
    pub fn end(&self) -> Place {
        let mut place = self.start();
        while let Node::Inner(inner) = &self.nodes[place.leaf as usize] {
            let child = inner.children.len() - 1;
            place.push(child, inner.children[child]);
        }
        place.index = self.leaf(place.leaf).keys.len();
        place
    }

    /// The place of the first entry.
    #[must_use]
    pub fn first_entry(&self) -> Place {
        let mut place = self.start();
        while let Node::Inner(inner) = &self.nodes[place.leaf as usize] {
            place.push(0, inner.children[0]);
        }
        place
    }

    /// The place of the last entry.
    #[must_use]
    pub fn last_entry(&self) -> Place {
        let mut place = self.end();
        place.index = place.index.saturating_sub(1);
        place
    }

    /// The same place, told by its entry: two places before one entry are equal then. None is behind all.
    #[must_use]
    pub fn position(&self, place: &Place) -> Option<(u32, usize)> {
        self.entry_of(place)
    }

    /// The place behind the entry at one.
    #[must_use]
    pub fn after(&self, place: &Place) -> Place {
        let mut place = *place;
        if let Some((leaf, index)) = self.entry_of(&place) {
            place.leaf = leaf;
            place.index = index + 1;
        }
        place
    }

    /// Entries from a place on, in their order.
    #[must_use]
    pub fn forward(&self, from: &Place) -> Forward<'_, K, V> {
        Forward { tree: self, leaf: from.leaf, index: from.index }
    }

    /// Entries before a place, from it to the first.
    #[must_use]
    pub fn backward(&self, from: &Place) -> Backward<'_, K, V> {
        Backward { tree: self, leaf: from.leaf, index: from.index }
    }

    // -- changing ------------------------------------------------------------------------------

    /// Put another value at the place of an entry; return the one that was there.
    pub fn replace_at(&mut self, place: &Place, value: V) -> Option<V> {
        let (leaf, index) = self.entry_of(place)?;
        Some(mem::replace(&mut self.leaf_mut(leaf).values[index], value))
    }

    fn entry_of(&self, place: &Place) -> Option<(u32, usize)> {
        let leaf = self.leaf(place.leaf);
        if place.index < leaf.keys.len() {
            return Some((place.leaf, place.index));
        }
        (leaf.next != NONE).then_some((leaf.next, 0))
    }

    /// Insert an entry where a search has ended, behind whatever is less.
    pub fn insert_at(&mut self, place: &Place, key: K, value: V) {
        self.length += 1;
        let order = self.order;
        let id = place.leaf;
        let leaf = self.leaf_mut(id);
        leaf.keys.insert(place.index, key);
        leaf.values.insert(place.index, value);
        if leaf.keys.len() <= order {
            return;
        }
        // Keys that come in order fill their leaves: only the new one goes on.
        let at =
            if leaf.next == NONE && place.index + 1 == leaf.keys.len() { order } else { leaf.keys.len() / 2 };
        let (keys, values) = (leaf.keys.split_off(at), leaf.values.split_off(at));
        let next = leaf.next;
        let separator = keys[0].clone();
        let new = self.add(Node::Leaf(Leaf { keys, values, previous: id, next }));
        self.leaf_mut(id).next = new;
        if next == NONE {
            self.last = new;
        } else {
            self.leaf_mut(next).previous = new;
        }
        self.hang(place, place.depth, separator, new);
    }

    /// Have `new` behind the node that is at `level` of a path.
    fn hang(&mut self, place: &Place, level: usize, separator: K, new: u32) {
        if level == 0 {
            let inner = Inner { keys: vec![separator], children: vec![self.root, new] };
            self.root = self.add(Node::Inner(inner));
            return;
        }
        let order = self.order;
        let (parent, child) = place.path[level - 1];
        let child = child as usize;
        let inner = self.inner_mut(parent);
        let is_last = child == inner.keys.len();
        inner.keys.insert(child, separator);
        inner.children.insert(child + 1, new);
        if inner.keys.len() <= order {
            return;
        }
        let at = if is_last { order - 1 } else { inner.keys.len() / 2 };
        let keys = inner.keys.split_off(at + 1);
        let children = inner.children.split_off(at + 1);
        let Some(middle) = inner.keys.pop() else { return };
        let right = self.add(Node::Inner(Inner { keys, children }));
        self.hang(place, level - 1, middle, right);
    }

    /// Remove the entry at a place where a search has ended, and found it in that leaf.
    pub fn remove_at(&mut self, place: &Place) -> Option<(K, V)> {
        let leaf = self.leaf_mut(place.leaf);
        if place.index >= leaf.keys.len() {
            return None;
        }
        let entry = (leaf.keys.remove(place.index), leaf.values.remove(place.index));
        self.length -= 1;
        if leaf_len(self.leaf(place.leaf)) < self.order / 2 {
            self.mend(place, place.depth, place.leaf);
        }
        Some(entry)
    }

    fn size(&self, id: u32) -> usize {
        match &self.nodes[id as usize] {
            Node::Leaf(leaf) => leaf.keys.len(),
            Node::Inner(inner) => inner.keys.len(),
            Node::Free(_) => 0,
        }
    }

    /// Join a node at `level` of a path, which has become small, with one beside it, or even the two out.
    fn mend(&mut self, place: &Place, level: usize, id: u32) {
        if level == 0 {
            // A root with a single child is none.
            if let Node::Inner(inner) = &self.nodes[id as usize]
                && inner.keys.is_empty()
            {
                self.root = inner.children[0];
                self.release(id);
            }
            return;
        }
        let (parent, child) = place.path[level - 1];
        let child = child as usize;
        let siblings = &self.inner_mut(parent).children;
        // Its right sibling, or else the left one.
        let at = if child + 1 < siblings.len() { child } else { child - 1 };
        let (left, right) = (siblings[at], siblings[at + 1]);
        if self.size(left) + self.size(right) < self.order {
            self.join(parent, at, left, right);
            if self.size(parent) < self.order / 2 {
                self.mend(place, level - 1, parent);
            }
        } else {
            self.even_out(parent, at, left, right);
        }
    }

    fn join(&mut self, parent: u32, at: usize, left: u32, right: u32) {
        let inner = self.inner_mut(parent);
        let separator = inner.keys.remove(at);
        inner.children.remove(at + 1);
        match self.release(right) {
            Node::Leaf(mut of_right) => {
                let next = of_right.next;
                let leaf = self.leaf_mut(left);
                leaf.keys.append(&mut of_right.keys);
                leaf.values.append(&mut of_right.values);
                leaf.next = next;
                if next == NONE {
                    self.last = left;
                } else {
                    self.leaf_mut(next).previous = left;
                }
            }
            Node::Inner(mut of_right) => {
                let of_left = self.inner_mut(left);
                of_left.keys.push(separator);
                of_left.keys.append(&mut of_right.keys);
                of_left.children.append(&mut of_right.children);
            }
            Node::Free(_) => {}
        }
    }

    fn even_out(&mut self, parent: u32, at: usize, left: u32, right: u32) {
        let half = usize::midpoint(self.size(left), self.size(right));
        let node = mem::replace(&mut self.nodes[right as usize], Node::Free(NONE));
        let separator = match node {
            Node::Leaf(mut of_right) => {
                let of_left = self.leaf_mut(left);
                move_over(&mut of_left.keys, &mut of_right.keys, half);
                move_over(&mut of_left.values, &mut of_right.values, half);
                let separator = of_right.keys[0].clone();
                self.nodes[right as usize] = Node::Leaf(of_right);
                separator
            }
            Node::Inner(mut of_right) => {
                let between = self.inner_mut(parent).keys[at].clone();
                let of_left = self.inner_mut(left);
                // With the separator between them their keys are one row.
                of_left.keys.push(between);
                move_over(&mut of_left.keys, &mut of_right.keys, half + 1);
                let separator = of_left.keys.pop();
                move_over(&mut of_left.children, &mut of_right.children, half + 1);
                self.nodes[right as usize] = Node::Inner(of_right);
                match separator {
                    Some(separator) => separator,
                    None => return,
                }
            }
            Node::Free(_) => return,
        };
        self.inner_mut(parent).keys[at] = separator;
    }

    /// Change every key, in place: the order has to stay.
    pub fn map_keys(&mut self, mut change: impl FnMut(&mut K)) {
        for node in &mut self.nodes {
            match node {
                Node::Leaf(leaf) => leaf.keys.iter_mut().for_each(&mut change),
                Node::Inner(inner) => inner.keys.iter_mut().for_each(&mut change),
                Node::Free(_) => {}
            }
        }
    }

    /// Every key, separators included, and every value, as they come.
    pub fn visit<E>(
        &self,
        mut of_key: impl FnMut(&K) -> Result<(), E>,
        mut of_value: impl FnMut(&V) -> Result<(), E>,
    ) -> Result<(), E> {
        for node in &self.nodes {
            match node {
                Node::Leaf(leaf) => {
                    leaf.keys.iter().try_for_each(&mut of_key)?;
                    leaf.values.iter().try_for_each(&mut of_value)?;
                }
                Node::Inner(inner) => inner.keys.iter().try_for_each(&mut of_key)?,
                Node::Free(_) => {}
            }
        }
        Ok(())
    }

    /// What is wrong with the tree itself; the order of keys is for [`Tree::forward`] to see.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut leaves = Vec::new();
        let depth = self.check_node(self.root, 0, &mut leaves, &mut problems);
        if depth > MAX_DEPTH {
            problems.push(format!("the tree has {depth} levels, and at most {MAX_DEPTH} are possible"));
        }
        let mut counted = 0;
        let mut previous = NONE;
        let mut at = self.first;
        let mut linked = Vec::new();
        while at != NONE && linked.len() <= leaves.len() {
            let leaf = self.leaf(at);
            if leaf.previous != previous {
                problems.push(format!("leaf {at} does not know the leaf before it"));
            }
            counted += leaf.keys.len();
            linked.push(at);
            previous = at;
            at = leaf.next;
        }
        if linked != leaves {
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

    fn check_node(&self, id: u32, level: usize, leaves: &mut Vec<u32>, problems: &mut Vec<String>) -> usize {
        let size = self.size(id);
        if size > self.order {
            problems.push(format!("node {id} has {size} keys, and at most {} are possible", self.order));
        }
        match &self.nodes[id as usize] {
            Node::Leaf(leaf) => {
                if leaf.keys.len() != leaf.values.len() {
                    problems.push(format!("leaf {id} has {} keys and {} values", size, leaf.values.len()));
                }
                if size == 0 && level > 0 {
                    problems.push(format!("leaf {id} is empty"));
                }
                leaves.push(id);
                level
            }
            Node::Inner(inner) => {
                if inner.children.len() != size + 1 || size == 0 {
                    problems.push(format!(
                        "node {id} has {size} separators of {} children",
                        inner.children.len()
                    ));
                }
                let depths: Vec<usize> = inner
                    .children
                    .iter()
                    .map(|&child| self.check_node(child, level + 1, leaves, problems))
                    .collect();
                if depths.windows(2).any(|pair| pair[0] != pair[1]) {
                    problems.push(format!("the leaves under node {id} are not at one level"));
                }
                depths.first().copied().unwrap_or(level)
            }
            Node::Free(_) => {
                problems.push(format!("node {id} is free, and in the tree"));
                level
            }
        }
    }
}

impl Place {
    fn push(&mut self, child: usize, to: u32) {
        self.path[self.depth] = (self.leaf, u32::try_from(child).unwrap_or(NONE));
        self.depth += 1;
        self.leaf = to;
    }
}

fn leaf_len<K, V>(leaf: &Leaf<K, V>) -> usize {
    leaf.keys.len()
}

/// Move items between two neighbours so that the left one has `count`.
fn move_over<T>(left: &mut Vec<T>, right: &mut Vec<T>, count: usize) {
    if left.len() < count {
        left.extend(right.drain(..count - left.len()));
    } else {
        right.splice(..0, left.drain(count..));
    }
}

/// Entries in their order.
pub struct Forward<'a, K, V> {
    tree: &'a Tree<K, V>,
    leaf: u32,
    index: usize,
}

impl<'a, K: Clone, V> Iterator for Forward<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.leaf == NONE {
                return None;
            }
            let leaf = self.tree.leaf(self.leaf);
            if let Some(key) = leaf.keys.get(self.index) {
                let value = &leaf.values[self.index];
                self.index += 1;
                return Some((key, value));
            }
            self.leaf = leaf.next;
            self.index = 0;
        }
    }
}

impl<K: Clone, V> Forward<'_, K, V> {
    /// Where the next entry is.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        (self.leaf != NONE).then_some(Place {
            path: [(NONE, 0); MAX_DEPTH],
            depth: 0,
            leaf: self.leaf,
            index: self.index,
        })
    }
}

/// Entries from the end.
pub struct Backward<'a, K, V> {
    tree: &'a Tree<K, V>,
    leaf: u32,
    index: usize,
}

impl<'a, K: Clone, V> Iterator for Backward<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.leaf == NONE {
                return None;
            }
            let leaf = self.tree.leaf(self.leaf);
            if self.index > 0 {
                self.index -= 1;
                return Some((&leaf.keys[self.index], &leaf.values[self.index]));
            }
            self.leaf = leaf.previous;
            if self.leaf != NONE {
                self.index = self.tree.leaf(self.leaf).keys.len();
            }
        }
    }
}

impl<K: Clone, V> Backward<'_, K, V> {
    /// Where the entries end that are still to come.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        (self.leaf != NONE).then_some(Place {
            path: [(NONE, 0); MAX_DEPTH],
            depth: 0,
            leaf: self.leaf,
            index: self.index,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn find(tree: &Tree<i32, u32>, key: i32) -> (Place, bool) {
        let place = tree.lower_bound(
            |keys| keys.partition_point(|each| *each <= key),
            |keys| keys.partition_point(|each| *each < key),
        );
        let found = tree.at(&place).is_some_and(|(there, _)| *there == key);
        (place, found)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(i32, u32),
        Remove(i32),
        Find(i32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = 0..120;
        prop::collection::vec(
            prop_oneof![
                (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
                key.clone().prop_map(Step::Remove),
                key.prop_map(Step::Find),
            ],
            0..300,
        )
    }

    fn has(tree: &Tree<i32, u32>, model: &BTreeMap<i32, u32>) {
        assert_eq!(tree.check(), Vec::<String>::new());
        assert_eq!(tree.len(), model.len());
        let (start, end) = tree.ends();
        assert!(tree.forward(&start).eq(model.iter()));
        assert!(tree.backward(&end).eq(model.iter().rev()));
        assert_eq!(tree.first(), model.first_key_value());
        assert_eq!(tree.last(), model.last_key_value());
        assert_eq!(tree.position(&tree.end()), None);
    }

    fn apply(tree: &mut Tree<i32, u32>, model: &mut BTreeMap<i32, u32>, step: &Step) {
        match *step {
            Step::Insert(key, value) => {
                let (place, found) = find(tree, key);
                if found {
                    assert_eq!(tree.replace_at(&place, value), model.insert(key, value));
                } else {
                    tree.insert_at(&place, key, value);
                    assert_eq!(model.insert(key, value), None);
                }
            }
            Step::Remove(key) => {
                let (place, found) = find(tree, key);
                assert_eq!(found, model.contains_key(&key));
                if found {
                    assert_eq!(tree.remove_at(&place).map(|(_, value)| value), model.remove(&key));
                }
            }
            Step::Find(key) => {
                let (place, _) = find(tree, key);
                assert_eq!(tree.at(&place), model.range(key..).next());
                assert_eq!(tree.before(&place), model.range(..key).next_back());
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_what_a_btree_map_is(steps in steps(), order in 1_usize..12) {
            let mut tree = Tree::new(order);
            let mut model = BTreeMap::new();
            for step in &steps {
                apply(&mut tree, &mut model, step);
                has(&tree, &model);
            }
        }
    }

    #[test]
    fn many_keys_in_order_and_back() {
        let mut tree = Tree::new(64);
        let mut model = BTreeMap::new();
        for key in 0..20_000 {
            apply(&mut tree, &mut model, &Step::Insert(key, 1));
        }
        has(&tree, &model);
        // Full leaves, as the keys came in order.
        assert!(tree.nodes.len() < 20_000 / 64 + 30);
        for key in (0..20_000).step_by(2).chain((1..20_000).step_by(2)) {
            apply(&mut tree, &mut model, &Step::Remove(key));
        }
        has(&tree, &model);
        for key in (0..5_000).rev() {
            apply(&mut tree, &mut model, &Step::Insert(key, 2));
        }
        has(&tree, &model);
    }
}
