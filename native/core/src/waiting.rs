//! Rows that wait to be written: a hash map of keys into one buffer of rows, in the order in which keys came first.
//!
//! Rows stand in the buffer as `crate::rows` has them, so that many are written by copying bytes. Hashing keys is left
//! to the caller, who may have a hash at hand.

use std::ops::Range;

/// What replaced rows may take before the others move together.
const DEAD: usize = 1 << 16;

/// What is kept of an empty buffer for the next rows.
const KEPT: usize = 1 << 20;

/// A row of key and value, and when it expires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// The key and the value's length, then the value, as in a buffer of rows.
    pub bytes: &'a [u8],
    /// Bytes of the key, as `crate::rows::write_key` writes it.
    pub key: usize,
    pub expires_at: Option<f64>,
}

impl<'a> Row<'a> {
    /// The value's bytes.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        self.bytes.get(self.key + LENGTH..).unwrap_or_default()
    }

    fn key(&self) -> &'a [u8] {
        self.bytes.get(..self.key).unwrap_or_default()
    }
}

/// Bytes of the length before a value.
const LENGTH: usize = 4;

struct Entry {
    hash: u64,
    place: Range<usize>,
    key: usize,
    expires_at: Option<f64>,
}

/// Rows by key.
#[derive(Default)]
pub struct Waiting {
    rows: Vec<u8>,
    /// Bytes of `rows` that belong to no entry any more.
    dead: usize,
    entries: Vec<Entry>,
    /// Open addressing with linear probing: one more than the number of an entry, 0 where there is none. At most half
    /// full.
    table: Vec<usize>,
}

impl Waiting {
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.len() - self.dead
    }

    /// The row with a number, from 0 on in the order of first insertion.
    #[must_use]
    pub fn row(&self, number: usize) -> Option<Row<'_>> {
        let entry = self.entries.get(number)?;
        let bytes = self.rows.get(entry.place.clone())?;
        Some(Row { bytes, key: entry.key, expires_at: entry.expires_at })
    }

    /// The row of a key, which is given as `crate::rows::write_key` writes it.
    #[must_use]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<Row<'_>> {
        self.row(self.find(hash, key)?)
    }

    /// Adds a row, or puts it in the place of the one with its key.
    pub fn set(&mut self, hash: u64, row: Row<'_>) {
        if let Some(number) = self.find(hash, row.key()) {
            self.replace(number, row);
            return;
        }
        if (self.entries.len() + 1) * 2 > self.table.len() {
            self.grow();
        }
        let place = self.append(row.bytes);
        self.entries.push(Entry { hash, place, key: row.key, expires_at: row.expires_at });
        self.enter(hash, self.entries.len());
    }

    /// Forgets every row.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.rows.shrink_to(KEPT);
        self.dead = 0;
        self.entries.clear();
        self.table.clear();
        if self.entries.capacity() > KEPT / size_of::<Entry>() {
            self.entries = Vec::new();
            self.table = Vec::new();
        }
    }

    /// The rows from a number on that do not expire, as many as take `size` bytes together: the number behind them,
    /// and their bytes.
    #[must_use]
    pub fn lasting(&self, from: usize, size: usize) -> (usize, usize) {
        let (mut next, mut bytes) = (from, 0);
        while let Some(entry) = self.entries.get(next)
            && entry.expires_at.is_none()
            && entry.place.len() <= size - bytes
        {
            bytes += entry.place.len();
            next += 1;
        }
        (next, bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.rows.len();
        self.rows.extend_from_slice(bytes);
        start..self.rows.len()
    }

    fn replace(&mut self, number: usize, row: Row<'_>) {
        let Some(entry) = self.entries.get_mut(number) else { return };
        entry.expires_at = row.expires_at;
        if let Some(place) = self.rows.get_mut(entry.place.clone())
            && place.len() == row.bytes.len()
        {
            place.copy_from_slice(row.bytes);
            return;
        }
        self.dead += entry.place.len();
        entry.place = self.rows.len()..self.rows.len() + row.bytes.len();
        self.rows.extend_from_slice(row.bytes);
        if self.dead > DEAD && self.dead > self.bytes() {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let mut rows = Vec::with_capacity(self.bytes());
        for entry in &mut self.entries {
            let start = rows.len();
            rows.extend_from_slice(self.rows.get(entry.place.clone()).unwrap_or_default());
            entry.place = start..rows.len();
        }
        self.rows = rows;
        self.dead = 0;
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let mut cell = self.home(hash);
        loop {
            // An empty table has no cell at all.
            let number = self.table.get(cell)?.checked_sub(1)?;
            let entry = self.entries.get(number)?;
            if entry.hash == hash
                && entry.key == key.len()
                && self.rows.get(entry.place.start..entry.place.start + entry.key) == Some(key)
            {
                return Some(number);
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

    #[inline]
    fn enter(&mut self, hash: u64, number: usize) {
        let mut cell = self.home(hash);
        while self.table.get(cell).is_some_and(|&taken| taken != 0) {
            cell = self.next(cell);
        }
        if let Some(place) = self.table.get_mut(cell) {
            *place = number;
        }
    }

    fn grow(&mut self) {
        let length = (self.table.len() * 2).max(64);
        self.table.clear();
        self.table.resize(length, 0);
        for number in 0..self.entries.len() {
            if let Some(hash) = self.entries.get(number).map(|entry| entry.hash) {
                self.enter(hash, number + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{self, Key, TooLong};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn written(key: i64, value: &[u8]) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        rows::write_key(&mut out, Key::Int(key)).unwrap();
        let length = out.len();
        rows::write_value(&mut out, |out| {
            out.extend_from_slice(value);
            Ok::<_, TooLong>(())
        })
        .unwrap();
        (out, length)
    }

    fn set(waiting: &mut Waiting, hash: u64, key: i64, value: &[u8], expires_at: Option<f64>) {
        let (bytes, key) = written(key, value);
        waiting.set(hash, Row { bytes: &bytes, key, expires_at });
    }

    #[test]
    fn replaced_rows_do_not_take_memory_for_ever() {
        let mut waiting = Waiting::default();
        for round in 0..2_000 {
            for key in 0..3 {
                set(&mut waiting, 7, key, &vec![1; 100 + round % 2], None);
            }
            assert!(waiting.rows.len() <= waiting.bytes() + DEAD + 200);
        }
        assert_eq!(waiting.len(), 3);
        waiting.clear();
        assert_eq!((waiting.len(), waiting.bytes(), waiting.dead), (0, 0, 0));
    }

    #[test]
    fn lasting_rows_end_before_one_that_expires_or_is_too_large() {
        let mut waiting = Waiting::default();
        for (key, length, expires_at) in [(0, 9, None), (1, 9, None), (2, 9, Some(1.0)), (3, 90, None)] {
            set(&mut waiting, 0, key, &vec![0; length], expires_at);
        }
        let row = 9 + LENGTH + 9;
        assert_eq!(waiting.lasting(0, 50), (2, 2 * row));
        assert_eq!(waiting.lasting(0, row), (1, row));
        assert_eq!(waiting.lasting(2, 50), (2, 0));
        assert_eq!(waiting.lasting(3, 50), (3, 0));
        assert_eq!(waiting.lasting(4, 50), (4, 0));
    }

    proptest! {
        #[test]
        fn it_is_a_map_that_keeps_the_order(
            steps in vec((0_i64..40, (any::<u8>(), 0_usize..3000), any::<bool>(), 0_u8..200), 0..200),
            hashes in 1_u64..50,
        ) {
            let mut waiting = Waiting::default();
            let mut model: Vec<(i64, Vec<u8>, Option<f64>)> = Vec::new();
            for (key, (byte, length), expires, clears) in steps {
                let value = vec![byte; length];
                if clears == 0 {
                    waiting.clear();
                    model.clear();
                }
                let expires_at = expires.then_some(1.5);
                set(&mut waiting, key.unsigned_abs() % hashes, key, &value, expires_at);
                match model.iter_mut().find(|entry| entry.0 == key) {
                    Some(entry) => *entry = (key, value, expires_at),
                    None => model.push((key, value, expires_at)),
                }
                let bytes: usize = model.iter().map(|entry| 9 + LENGTH + entry.1.len()).sum();
                prop_assert_eq!((waiting.len(), waiting.bytes()), (model.len(), bytes));
            }
            for (number, (key, value, expires_at)) in model.iter().enumerate() {
                let (bytes, length) = written(*key, value);
                let row = waiting.get(key.unsigned_abs() % hashes, &bytes[..length]).unwrap();
                prop_assert_eq!(row, Row { bytes: &bytes, key: length, expires_at: *expires_at });
                prop_assert_eq!(waiting.row(number), Some(row));
                prop_assert_eq!(row.value(), &value[..]);
            }
            prop_assert!(waiting.get(0, &written(40, b"").0[..9]).is_none());
            prop_assert!(waiting.row(model.len()).is_none());
        }
    }
}
