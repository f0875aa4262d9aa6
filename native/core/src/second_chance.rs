//! A hash map that never costs more than its capacity: what has not been used lately makes room for what is new.
//!
//! Entries stand in a queue. The one at the front is evicted, unless it was used since it got there: then it goes
//! to the end once more (the "second chance" or CLOCK policy, F. J. Corbató 1968). Unlike in an LRU list, a hit
//! moves nothing. Hashing and comparing keys is left to the caller, who may have a hash at hand.

use std::collections::VecDeque;

/// A map from `K` to `V` with a capacity; every entry has a cost.
pub struct SecondChance<K, V> {
    /// Open addressing with linear probing: the number of a slot, 0 where there is none. At most half full.
    table: Vec<u64>,
    slots: VecDeque<Slot<K, V>>,
    /// The number of the first slot; the others follow.
    first: u64,
    cost: usize,
    capacity: usize,
}

struct Slot<K, V> {
    hash: u64,
    cost: usize,
    used: bool,
    key: K,
    value: V,
}

impl<K, V> SecondChance<K, V> {
    /// An empty map whose entries may cost `capacity` together. It allocates nothing yet.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { table: Vec::new(), slots: VecDeque::new(), first: 1, cost: 0, capacity }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What all entries cost together.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.cost
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The value of the key that has this hash and is the `same`. It counts as used.
    #[inline]
    pub fn get(&mut self, hash: u64, same: impl Fn(&K) -> bool) -> Option<&V> {
        let slot = self.find(hash, same)?;
        let slot = self.slots.get_mut(slot)?;
        slot.used = true;
        Some(&slot.value)
    }

    /// Sets the value of a key, after what has to make room for it was evicted. An entry that costs more than the
    /// capacity is not kept, and what its key had before is gone.
    ///
    /// Returns what is gone, so that it can be dropped where that may run any code.
    pub fn insert(
        &mut self,
        hash: u64,
        key: K,
        value: V,
        cost: usize,
        same: impl Fn(&K) -> bool,
    ) -> Vec<(K, V)> {
        let mut gone = Vec::new();
        if let Some(number) = self.find(hash, same).map(|slot| self.first + slot as u64) {
            gone.extend(self.remove(number));
        }
        if cost > self.capacity {
            gone.push((key, value));
            return gone;
        }
        while self.cost > self.capacity - cost {
            gone.extend(self.evict());
        }
        if (self.slots.len() + 1) * 2 > self.table.len() {
            self.grow();
        }
        let number = self.end();
        self.slots.push_back(Slot { hash, cost, used: false, key, value });
        self.cost += cost;
        self.enter(hash, number);
        gone
    }

    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn slot(&self, number: u64) -> Option<&Slot<K, V>> {
        self.slots.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    #[inline]
    fn find(&self, hash: u64, same: impl Fn(&K) -> bool) -> Option<usize> {
        let mut cell = self.home(hash);
        loop {
            // An empty table has no cell at all.
            let number = *self.table.get(cell)?;
            if number == 0 {
                return None;
            }
            let place = usize::try_from(number - self.first).ok()?;
            let slot = self.slots.get(place)?;
            if slot.hash == hash && same(&slot.key) {
                return Some(place);
            }
            cell = self.next(cell);
        }
    }

    /// Where a hash is looked for first. Hashes of integers are those integers: multiplying spreads them.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        // 2^64 divided by the golden ratio (Knuth, TAOCP 6.4).
        let spread = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        #[allow(clippy::cast_possible_truncation, reason = "as many bits as the table's length has")]
        let home = (spread >> (64 - self.table.len().max(2).trailing_zeros())) as usize;
        home
    }

    #[inline]
    fn next(&self, cell: usize) -> usize {
        (cell + 1) & self.table.len().wrapping_sub(1)
    }

    /// Writes the number of a slot into the first free cell for its hash.
    fn enter(&mut self, hash: u64, number: u64) {
        let mut cell = self.home(hash);
        while self.table.get(cell).is_some_and(|&taken| taken != 0) {
            cell = self.next(cell);
        }
        self.write(cell, number);
    }

    fn write(&mut self, cell: usize, number: u64) {
        if let Some(place) = self.table.get_mut(cell) {
            *place = number;
        }
    }

    fn grow(&mut self) {
        let length = (self.table.len() * 2).max(8);
        self.table.clear();
        self.table.resize(length, 0);
        let hashes: Vec<u64> = self.slots.iter().map(|slot| slot.hash).collect();
        for (number, hash) in (self.first..).zip(hashes) {
            self.enter(hash, number);
        }
    }

    /// The cell in which the number of a slot stands.
    fn cell_of(&self, number: u64) -> Option<usize> {
        let mut cell = self.home(self.slot(number)?.hash);
        while *self.table.get(cell)? != number {
            cell = self.next(cell);
        }
        Some(cell)
    }

    /// Removes the first entry, or gives it its second chance.
    fn evict(&mut self) -> Option<(K, V)> {
        let number = self.first;
        let cell = self.cell_of(number)?;
        if self.slots.front().is_some_and(|slot| slot.used) {
            let mut slot = self.slots.pop_front()?;
            slot.used = false;
            self.first += 1;
            let number = self.end();
            self.slots.push_back(slot);
            self.write(cell, number);
            return None;
        }
        self.vacate(cell);
        let slot = self.slots.pop_front()?;
        self.first += 1;
        self.cost -= slot.cost;
        Some((slot.key, slot.value))
    }

    /// Removes any entry: it changes places with the first one, which keeps the numbers without a gap.
    fn remove(&mut self, number: u64) -> Option<(K, V)> {
        if number != self.first {
            let (one, other) = (self.cell_of(number)?, self.cell_of(self.first)?);
            let place = usize::try_from(number - self.first).ok()?;
            self.slots.swap(0, place);
            self.write(one, self.first);
            self.write(other, number);
        }
        if let Some(slot) = self.slots.front_mut() {
            slot.used = false;
        }
        self.evict()
    }

    /// Empties a cell, and moves those behind it that are not found across a gap (Knuth, TAOCP 6.4, algorithm R).
    fn vacate(&mut self, mut gap: usize) {
        let mask = self.table.len().wrapping_sub(1);
        let mut cell = gap;
        loop {
            cell = self.next(cell);
            let number = self.table.get(cell).copied().unwrap_or(0);
            let Some(hash) = self.slot(number).map(|slot| slot.hash) else { break };
            let way = cell.wrapping_sub(self.home(hash)) & mask;
            if way >= cell.wrapping_sub(gap) & mask {
                self.write(gap, number);
                gap = cell;
            }
        }
        self.write(gap, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::SecondChance;

    fn put(map: &mut SecondChance<u64, u64>, key: u64, value: u64, cost: usize) {
        map.insert(key, key, value, cost, |&other| other == key);
    }

    fn get(map: &mut SecondChance<u64, u64>, key: u64) -> Option<u64> {
        map.get(key, |&other| other == key).copied()
    }

    #[test]
    fn what_was_used_stays_and_what_was_not_goes() {
        let mut map = SecondChance::new(3);
        for key in 0..3 {
            put(&mut map, key, key, 1);
        }
        assert_eq!(get(&mut map, 0), Some(0));
        put(&mut map, 3, 3, 1);
        assert_eq!((get(&mut map, 0), get(&mut map, 1)), (Some(0), None));
        assert_eq!((map.len(), map.cost()), (3, 3));
    }

    #[test]
    fn what_costs_more_than_everything_is_not_kept() {
        let mut map = SecondChance::new(3);
        put(&mut map, 1, 1, 1);
        put(&mut map, 1, 2, 4);
        assert_eq!((get(&mut map, 1), map.is_empty(), map.cost()), (None, true, 0));
    }

    #[test]
    fn an_empty_map_has_nothing() {
        assert_eq!(get(&mut SecondChance::new(0), 1), None);
    }

    proptest! {
        /// Few keys and few hashes: every probe sequence is crowded.
        #[test]
        fn a_hit_is_what_was_set_last_and_without_need_nothing_is_evicted(
            steps in prop::collection::vec((0_u64..40, 0_u64..100, 1_usize..6, any::<bool>()), 1..400),
            capacity in 1_usize..120,
            hashes in 1_u64..64,
        ) {
            let mut map = SecondChance::new(capacity);
            let mut model: HashMap<u64, (u64, usize)> = HashMap::new();
            let (mut set, mut gone) = (0, 0);
            let mut evicted = false;
            for (key, value, cost, write) in steps {
                let hash = key % hashes;
                if write {
                    model.remove(&key);
                    evicted |= cost + model.values().map(|entry| entry.1).sum::<usize>() > capacity;
                    model.insert(key, (value, cost));
                    gone += map.insert(hash, key, value, cost, |&other| other == key).len();
                    set += 1;
                }
                prop_assert_eq!(set, gone + map.len());
                let found = map.get(hash, |&other| other == key).copied();
                let expected = model.get(&key).map(|entry| entry.0);
                prop_assert!(found == expected || (found.is_none() && evicted));
                prop_assert!(map.cost() <= capacity);
                let alive = (0..40).filter(|&key| map.find(key % hashes, |&other| other == key).is_some());
                prop_assert_eq!(alive.count(), map.len());
                prop_assert_eq!(map.slots.iter().map(|slot| slot.cost).sum::<usize>(), map.cost());
                prop_assert_eq!(map.table.iter().filter(|&&number| number != 0).count(), map.len());
            }
        }
    }
}
