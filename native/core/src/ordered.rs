//! Ordered maps in memory of which the order of keys is somebody else's: whoever searches them compares.
//!
//! Searching is apart from changing, and can be done one comparison at a time ([`Sorted::begin`], [`Search`]), so that a
//! comparison may take its time, or fail, while nobody holds the map.

mod arena;
pub mod skip_list;
#[cfg(test)]
mod tests;
pub mod tree;

use arena::NONE;

/// An entry, or the gap before one, by its node and position there. It is good until a key is added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    node: u32,
    index: u32,
}

/// A search that is under way. It is good until a key is added or removed.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    node: u32,
    /// How many levels are still below.
    level: usize,
    /// Between which keys of the node the one is that is searched for.
    low: usize,
    high: usize,
}

/// Entries in the order of their keys.
pub trait Sorted<K, V> {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // -- searching -----------------------------------------------------------------------------

    /// The place of the first key that is not below what is searched for; `count_below` counts those that are, of some in
    /// their order.
    fn lower_bound(&self, count_below: impl Fn(&[K]) -> usize) -> Place;

    /// Begin a search that is told by [`Sorted::turn`] how each key compares that [`Sorted::probe`] names.
    fn begin(&self) -> Search;

    /// The key to compare with next; None where the search is at its end.
    fn probe(&self, search: &Search) -> Option<&K>;

    /// Go on, knowing whether the key of [`Sorted::probe`] is below what is searched for.
    fn turn(&self, search: &mut Search, is_below: bool);

    // -- places --------------------------------------------------------------------------------

    /// Before the first entry.
    fn start(&self) -> Place;

    /// Behind the last entry.
    fn end(&self) -> Place;

    /// The node behind one.
    fn next_node(&self, node: u32) -> Option<u32>;

    /// The node before one.
    fn previous_node(&self, node: u32) -> Option<u32>;

    /// Keys and values of a node, from a place on.
    fn run(&self, from: Place) -> (&[K], &[V]);

    /// The place of the entry that is at or behind a place; None at the end.
    fn settle(&self, place: Place) -> Option<Place> {
        let mut place = place;
        while self.run(place).0.is_empty() {
            place = Place { node: self.next_node(place.node)?, index: 0 };
        }
        Some(place)
    }

    /// The entry at a place, or the next one.
    fn entry(&self, place: Place) -> Option<(&K, &V)> {
        let (keys, values) = self.run(place);
        if let (Some(key), Some(value)) = (keys.first(), values.first()) {
            return Some((key, value));
        }
        let (keys, values) = self.run(self.settle(place)?);
        Some((keys.first()?, values.first()?))
    }

    /// The place behind the entry at one.
    fn after(&self, place: Place) -> Place {
        self.settle(place).map_or(place, |place| Place { node: place.node, index: place.index + 1 })
    }

    /// The place of the entry before one.
    fn before(&self, place: Place) -> Option<Place> {
        let mut place = place;
        while place.index == 0 {
            let node = self.previous_node(place.node)?;
            place = Place { node, index: size(self.run(Place { node, index: 0 }).0) };
        }
        Some(Place { node: place.node, index: place.index - 1 })
    }

    fn first(&self) -> Option<(&K, &V)> {
        self.entry(self.start())
    }

    fn last(&self) -> Option<(&K, &V)> {
        self.entry(self.before(self.end())?)
    }

    /// Do something with the entries between two places, some at a time.
    fn runs<'a>(&'a self, from: Place, to: Place, mut act: impl FnMut(&'a [K], &'a [V]))
    where
        K: 'a,
        V: 'a,
    {
        let mut from = from;
        while from.node != to.node {
            let (keys, values) = self.run(from);
            act(keys, values);
            let Some(node) = self.next_node(from.node) else { return };
            from = Place { node, index: 0 };
        }
        let (keys, values) = self.run(from);
        let count = (to.index.saturating_sub(from.index) as usize).min(keys.len());
        act(keys.get(..count).unwrap_or(&[]), values.get(..count).unwrap_or(&[]));
    }

    /// Do something with every entry between two places.
    fn each<'a>(&'a self, from: Place, to: Place, mut act: impl FnMut(&'a K, &'a V))
    where
        K: 'a,
        V: 'a,
    {
        self.runs(from, to, |keys, values| {
            for (key, value) in keys.iter().zip(values) {
                act(key, value);
            }
        });
    }

    /// How many entries there are between two places.
    fn count(&self, from: Place, to: Place) -> usize {
        let mut count = 0;
        self.runs(from, to, |keys, _| count += keys.len());
        count
    }

    // -- changing ------------------------------------------------------------------------------

    /// Insert an entry at the place that a search for its key has found.
    fn insert(&mut self, at: Place, key: K, value: V);

    /// Put another value into the entry at a place; return the one that was there.
    fn replace(&mut self, at: Place, value: V) -> Option<V>;

    /// Remove the entry at a place.
    fn remove(&mut self, at: Place) -> Option<(K, V)>;

    /// Keys that led to others and do so no longer, for whoever may not drop them while the map is held.
    fn discarded(&mut self) -> Vec<K>;

    // -- as a whole ----------------------------------------------------------------------------

    /// Every key, also those that only lead to others, and every value that is held by nobody else.
    fn visit<E>(
        &self,
        of_key: impl FnMut(&K) -> Result<(), E>,
        of_value: impl FnMut(&V) -> Result<(), E>,
    ) -> Result<(), E>;

    /// What is wrong with the structure; the order of keys is for [`Sorted::each`] to see.
    fn check(&self) -> Vec<String>;
}

impl Search {
    /// Where the search has ended.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { node: self.node, index: u32::try_from(self.low).unwrap_or(NONE) }
    }

    fn middle(&self) -> usize {
        usize::midpoint(self.low, self.high)
    }

    fn halve(&mut self, is_below: bool) {
        if is_below {
            self.low = self.middle() + 1;
        } else {
            self.high = self.middle();
        }
    }
}

/// How many items there are, as positions are counted.
fn size<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(NONE)
}

/// How many of items in the order of a number of theirs are below one.
///
/// A binary search waits for memory once for each of its steps. Here one item of each few is looked at, which the
/// processor does all at once, and then those few.
pub fn count_below<T, N: Copy + PartialOrd>(items: &[T], number_of: impl Fn(&T) -> N, number: N) -> usize {
    const FEW: usize = 8;
    const MANY: usize = 16 * FEW;
    if items.len() > MANY {
        return items.partition_point(|each| number_of(each) < number);
    }
    let (groups, rest) = items.as_chunks::<FEW>();
    let below = groups.iter().filter(|group| number_of(&group[FEW - 1]) < number).count();
    let group = groups.get(below).map_or(rest, |group| group);
    below * FEW + group.iter().filter(|each| number_of(each) < number).count()
}
