//! A skip list of blocks, with snapshots.
//!
//! W. Pugh, "Skip lists: a probabilistic alternative to balanced trees", CACM 33 (1990). A node has not one entry but a
//! block of them, so that a search looks at few nodes and at neighbours in memory; D. Golovin, "The B-skip-list"
//! (2010), goes further. Nothing in a block is below the lowest key of its node, and nothing in the blocks before
//! is above it. The first node has no lowest key, and its block alone may be empty.
//!
//! A block belongs to everybody who holds it: a snapshot holds those of one state, and whoever changes a block that
//! another holds makes a copy first.
#![allow(
    clippy::indexing_slicing,
    reason = "numbers of nodes and positions are the list's own; check() tests them"
)]

use std::sync::Arc;

use super::arena::{Arena, NONE};
use super::{Place, Search, Sorted, size};

/// Entries of a full block.
const FULL: usize = 64;
/// Below this a block is joined with a neighbour, if both fit into one that is not full at once.
const SMALL: usize = FULL / 4;
const JOINED: usize = FULL * 3 / 4;
/// One node of so many goes up to the next level.
const RARITY: u64 = 4;
const LEVELS: usize = 12;
const FIRST: u32 = 0;

#[derive(Clone)]
struct Block<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

struct Node<K, V> {
    lowest: Option<K>,
    block: Arc<Block<K, V>>,
    previous: u32,
    /// The next node at each level that this one reaches.
    next: Vec<u32>,
}

impl<K, V> Default for Block<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self { lowest: None, block: Arc::default(), previous: NONE, next: Vec::new() }
    }
}

/// A skip list.
pub struct SkipList<K, V> {
    nodes: Arena<Node<K, V>>,
    last: u32,
    length: usize,
    /// Levels that some node reaches.
    levels: usize,
    random: u64,
    discarded: Vec<K>,
}

/// The entries of a [`SkipList`] at one moment.
pub struct Snapshot<K, V> {
    blocks: Vec<Arc<Block<K, V>>>,
    /// The entries that are still to come, of the blocks that are.
    from: Place,
    to: Place,
}

impl<K: Clone, V: Clone> Default for SkipList<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone, V: Clone> SkipList<K, V> {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        let mut nodes = Arena::new();
        let last = nodes.add(Node { next: vec![NONE; LEVELS], ..Node::default() });
        Self { nodes, last, length: 0, levels: 1, random: 0x9E37_79B9_7F4A_7C15, discarded: Vec::new() }
    }

    /// The same list, with every key made another; their order has to stay.
    #[must_use]
    pub fn convert<L>(self, mut change: impl FnMut(&K) -> L) -> SkipList<L, V> {
        let nodes = self.nodes.convert(|node| Node {
            lowest: node.lowest.as_ref().map(&mut change),
            block: Arc::new(Block {
                keys: node.block.keys.iter().map(&mut change).collect(),
                values: node.block.values.clone(),
            }),
            previous: node.previous,
            next: node.next,
        });
        SkipList {
            nodes,
            last: self.last,
            length: self.length,
            levels: self.levels,
            random: self.random,
            discarded: Vec::new(),
        }
    }

    /// All entries as they are now, whatever is changed afterwards.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<K, V> {
        let mut blocks = Vec::with_capacity(self.nodes.count());
        let mut node = Some(FIRST);
        while let Some(number) = node {
            blocks.push(Arc::clone(&self.nodes[number].block));
            node = self.next_node(number);
        }
        let last = blocks.last().map_or(0, |block| size(&block.keys));
        let to = Place { node: size(&blocks).saturating_sub(1), index: last };
        Snapshot { blocks, from: Place { node: 0, index: 0 }, to }
    }

    fn block_mut(&mut self, node: u32) -> &mut Block<K, V> {
        Arc::make_mut(&mut self.nodes[node].block)
    }

    /// How many levels a new node reaches.
    fn height(&mut self) -> usize {
        // xorshift64: G. Marsaglia, "Xorshift RNGs", 2003.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let mut drawn = self.random >> 16;
        let mut height = 1;
        while drawn.is_multiple_of(RARITY) && height < LEVELS {
            drawn /= RARITY;
            height += 1;
        }
        height
    }

    /// The nearest node before one, or itself, that reaches a level.
    fn reaching(&self, node: u32, level: usize) -> u32 {
        let mut node = node;
        while self.nodes[node].next.len() <= level {
            node = self.nodes[node].previous;
        }
        node
    }

    /// Move a part of a full block to a node of its own; return where an entry belongs now that was to go to `index`.
    fn split(&mut self, node: u32, index: usize, key: &K) -> (u32, usize) {
        // Keys that come in order fill their blocks: only the new one goes on.
        let at = if node == self.last && index == FULL { FULL } else { FULL / 2 };
        let left = self.block_mut(node);
        let block = Block { keys: left.keys.split_off(at), values: left.values.split_off(at) };
        let lowest = Some(block.keys.first().unwrap_or(key).clone());
        let height = self.height();
        self.levels = self.levels.max(height);
        let after = self.next_node(node);
        let new = self.nodes.add(Node { lowest, block: Arc::new(block), previous: node, next: Vec::new() });
        let mut before = node;
        let mut next = Vec::with_capacity(height);
        for level in 0..height {
            before = self.reaching(before, level);
            next.push(std::mem::replace(&mut self.nodes[before].next[level], new));
        }
        self.nodes[new].next = next;
        match after {
            Some(after) => self.nodes[after].previous = new,
            None => self.last = new,
        }
        if index > at || at == FULL { (new, index - at) } else { (node, index) }
    }

    /// Take a node out of the list, with what is in its block.
    fn unlink(&mut self, node: u32) -> Arc<Block<K, V>> {
        let mut gone = self.nodes.take(node);
        self.discarded.extend(gone.lowest.take());
        let mut before = gone.previous;
        for (level, next) in gone.next.iter().enumerate() {
            before = self.reaching(before, level);
            self.nodes[before].next[level] = *next;
        }
        match self.next_node(gone.previous) {
            Some(after) => self.nodes[after].previous = gone.previous,
            None => self.last = gone.previous,
        }
        gone.block
    }

    /// Join a small block with one beside it, if there is space.
    fn mend(&mut self, node: u32) {
        let count = self.nodes[node].block.keys.len();
        let fits = |other: &u32| self.nodes[*other].block.keys.len() + count <= JOINED;
        let (left, right) = if let Some(next) = self.next_node(node).filter(fits) {
            (node, next)
        } else if let Some(previous) = self.previous_node(node).filter(fits) {
            (previous, node)
        } else {
            return;
        };
        let block = Arc::unwrap_or_clone(self.unlink(right));
        let into = self.block_mut(left);
        into.keys.extend(block.keys);
        into.values.extend(block.values);
    }

    /// What is wrong with one level of links.
    fn check_level(&self, level: usize, order: &[u32], problems: &mut Vec<String>) {
        let linked = std::iter::successors(Some(FIRST), |node| {
            self.nodes[*node].next.get(level).copied().filter(|next| *next != NONE)
        });
        let linked: Vec<u32> = linked.take(order.len() + 1).collect();
        let expected: Vec<u32> =
            order.iter().copied().filter(|node| self.nodes[*node].next.len() > level).collect();
        if linked != expected {
            problems.push(format!("the links of level {level} are not in the order of the list"));
        }
    }
}

impl<K: Clone, V: Clone> Sorted<K, V> for SkipList<K, V> {
    fn len(&self) -> usize {
        self.length
    }

    #[inline]
    fn lower_bound(&self, count_below: impl Fn(&[K]) -> usize) -> Place {
        let mut number = FIRST;
        let mut node = &self.nodes[FIRST];
        for level in (0..self.levels).rev() {
            loop {
                let next = node.next[level];
                if next == NONE {
                    break;
                }
                let following = &self.nodes[next];
                if count_below(following.lowest.as_slice()) == 0 {
                    break;
                }
                number = next;
                node = following;
            }
        }
        let index = count_below(&node.block.keys);
        Place { node: number, index: u32::try_from(index).unwrap_or(NONE) }
    }

    fn begin(&self) -> Search {
        let mut search = Search { node: FIRST, level: self.levels, low: 0, high: 0 };
        self.go_down(&mut search);
        search
    }

    fn probe(&self, search: &Search) -> Option<&K> {
        let node = &self.nodes[search.node];
        if search.level > 0 {
            return self.nodes[node.next[search.level - 1]].lowest.as_ref();
        }
        (search.low < search.high).then(|| &node.block.keys[search.middle()])
    }

    fn turn(&self, search: &mut Search, is_below: bool) {
        if search.level == 0 {
            search.halve(is_below);
            return;
        }
        if is_below {
            search.node = self.nodes[search.node].next[search.level - 1];
        } else {
            search.level -= 1;
        }
        self.go_down(search);
    }

    fn start(&self) -> Place {
        Place { node: FIRST, index: 0 }
    }

    fn end(&self) -> Place {
        Place { node: self.last, index: size(&self.nodes[self.last].block.keys) }
    }

    fn next_node(&self, node: u32) -> Option<u32> {
        self.nodes[node].next.first().copied().filter(|next| *next != NONE)
    }

    fn previous_node(&self, node: u32) -> Option<u32> {
        Some(self.nodes[node].previous).filter(|previous| *previous != NONE)
    }

    fn run(&self, from: Place) -> (&[K], &[V]) {
        let block = &self.nodes[from.node].block;
        let index = from.index as usize;
        (block.keys.get(index..).unwrap_or(&[]), block.values.get(index..).unwrap_or(&[]))
    }

    fn insert(&mut self, at: Place, key: K, value: V) {
        self.length += 1;
        let (mut node, mut index) = (at.node, at.index as usize);
        if self.nodes[node].block.keys.len() >= FULL {
            (node, index) = self.split(node, index, &key);
        }
        let block = self.block_mut(node);
        block.keys.insert(index, key);
        block.values.insert(index, value);
    }

    fn replace(&mut self, at: Place, value: V) -> Option<V> {
        let at = self.settle(at)?;
        Some(std::mem::replace(&mut self.block_mut(at.node).values[at.index as usize], value))
    }

    fn remove(&mut self, at: Place) -> Option<(K, V)> {
        let at = self.settle(at)?;
        let block = self.block_mut(at.node);
        let entry = (block.keys.remove(at.index as usize), block.values.remove(at.index as usize));
        let count = block.keys.len();
        self.length -= 1;
        if count == 0 && at.node != FIRST {
            self.unlink(at.node);
        } else if count < SMALL {
            self.mend(at.node);
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
        for node in self.nodes.iter() {
            node.lowest.iter().try_for_each(&mut of_key)?;
            node.block.keys.iter().try_for_each(&mut of_key)?;
            node.block.values.iter().try_for_each(&mut of_value)?;
        }
        Ok(())
    }

    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let order: Vec<u32> = std::iter::successors(Some(FIRST), |node| self.next_node(*node))
            .take(self.nodes.count() + 1)
            .collect();
        if order.len() != self.nodes.count() {
            problems.push(format!("{} nodes are linked, and there are {}", order.len(), self.nodes.count()));
        }
        for pair in order.windows(2) {
            if self.nodes[pair[1]].previous != pair[0] {
                problems.push(format!("node {} does not know the node before it", pair[1]));
            }
        }
        if order.last() != Some(&self.last) {
            problems.push("the last node is not the one that is kept as such".to_owned());
        }
        for level in 0..LEVELS {
            self.check_level(level, &order, &mut problems);
        }
        let mut counted = 0;
        for &number in &order {
            let node = &self.nodes[number];
            let count = node.block.keys.len();
            counted += count;
            if count != node.block.values.len() || count > FULL {
                problems
                    .push(format!("node {number} has {count} keys and {} values", node.block.values.len()));
            }
            if (count == 0 || node.lowest.is_none()) != (number == FIRST) && (number != FIRST || count == 0) {
                problems.push(format!("node {number} is empty, or has no lowest key"));
            }
        }
        if counted != self.length {
            problems.push(format!("the blocks have {counted} entries, and the length is {}", self.length));
        }
        problems
    }
}

impl<K: Clone, V: Clone> SkipList<K, V> {
    /// Leave levels at which there is no next node, and at the last one turn to the block.
    fn go_down(&self, search: &mut Search) {
        let node = &self.nodes[search.node];
        while search.level > 0 && node.next[search.level - 1] == NONE {
            search.level -= 1;
        }
        if search.level == 0 {
            search.low = 0;
            search.high = node.block.keys.len();
        }
    }
}

impl<K, V> Snapshot<K, V> {
    /// The next entry in order.
    pub fn next_entry(&mut self) -> Option<(&K, &V)> {
        while self.from != self.to {
            let count = size(&self.blocks[self.from.node as usize].keys);
            if self.from.index < count {
                let at = self.from;
                self.from.index += 1;
                return self.entry(at);
            }
            if self.from.node >= self.to.node {
                return None;
            }
            self.from = Place { node: self.from.node + 1, index: 0 };
        }
        None
    }

    /// The last of the entries that are still to come.
    pub fn previous_entry(&mut self) -> Option<(&K, &V)> {
        while self.from != self.to {
            if self.to.index > 0 {
                self.to.index -= 1;
                return self.entry(self.to);
            }
            if self.to.node == 0 {
                return None;
            }
            let node = self.to.node - 1;
            self.to = Place { node, index: size(&self.blocks[node as usize].keys) };
        }
        None
    }

    fn entry(&self, at: Place) -> Option<(&K, &V)> {
        let block = self.blocks.get(at.node as usize)?;
        Some((block.keys.get(at.index as usize)?, block.values.get(at.index as usize)?))
    }

    /// Keys and values of the blocks that nobody else holds.
    pub fn visit<E>(
        &self,
        mut of_key: impl FnMut(&K) -> Result<(), E>,
        mut of_value: impl FnMut(&V) -> Result<(), E>,
    ) -> Result<(), E> {
        for block in self.blocks.iter().filter(|block| Arc::strong_count(block) == 1) {
            block.keys.iter().try_for_each(&mut of_key)?;
            block.values.iter().try_for_each(&mut of_value)?;
        }
        Ok(())
    }
}
