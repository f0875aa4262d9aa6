//! Elements that wait to be appended to columns: one stream of each column, and how large all may become together.

use std::collections::HashMap;

use crate::block::{END_SIZE, MAX_BLOCK};

/// What is kept of an empty stream for the next elements.
const KEPT: usize = 1 << 20;

/// Streams of elements by column.
#[derive(Debug, Default)]
pub struct Pending {
    columns: Vec<Column>,
    places: HashMap<i64, usize>,
    bytes: usize,
    count: usize,
    /// For columns without a limit of their own.
    limit: usize,
    own_limits: HashMap<i64, usize>,
}

#[derive(Debug)]
struct Column {
    id: i64,
    stream: Vec<u8>,
    count: usize,
    limit: usize,
}

impl Pending {
    /// Where a column is, from now on.
    pub fn place(&mut self, id: i64) -> usize {
        let limit = self.own_limits.get(&id).copied().unwrap_or(self.limit);
        *self.places.entry(id).or_insert_with(|| {
            self.columns.push(Column { id, stream: Vec::new(), count: 0, limit });
            self.columns.len() - 1
        })
    }

    /// Says how large all streams may become together by an element of a column: by default, and of some.
    pub fn admit(&mut self, limit: usize, own: impl IntoIterator<Item = (i64, usize)>) {
        self.limit = limit;
        self.own_limits = own.into_iter().collect();
        for column in &mut self.columns {
            column.limit = self.own_limits.get(&column.id).copied().unwrap_or(limit);
        }
    }

    /// Adds elements that are given as a stream, in parts, if no more than `limit` bytes wait then, or what was
    /// admitted without one; whether it did. A stream never grows beyond what a block can hold.
    #[inline]
    pub fn push<const N: usize>(
        &mut self,
        place: usize,
        count: usize,
        parts: [&[u8]; N],
        limit: Option<usize>,
    ) -> bool {
        let Some(column) = self.columns.get_mut(place) else { return false };
        let size: usize = parts.iter().map(|part| part.len()).sum();
        let fits = self.bytes.saturating_add(size) <= limit.unwrap_or(column.limit)
            && column.stream.len().saturating_add(size) <= MAX_BLOCK;
        if fits {
            for part in parts {
                column.stream.extend_from_slice(part);
            }
            column.count += count;
            self.count += count;
            self.bytes += size;
        }
        fits
    }

    /// Adds an element of any size.
    pub fn push_sized(&mut self, place: usize, element: &[u8], limit: Option<usize>) -> bool {
        let Ok(length) = u32::try_from(element.len()) else { return false };
        let length: [u8; END_SIZE] = length.to_le_bytes();
        self.push(place, 1, [&length, element], limit)
    }

    /// Columns for which something waits: id, count, stream.
    pub fn streams(&self) -> impl Iterator<Item = (i64, usize, &[u8])> {
        self.columns
            .iter()
            .filter(|column| column.count > 0)
            .map(|column| (column.id, column.count, column.stream.as_slice()))
    }

    /// Bytes that wait for one column.
    #[must_use]
    pub fn bytes_of(&self, place: usize) -> usize {
        self.columns.get(place).map_or(0, |column| column.stream.len())
    }

    /// Bytes of all streams.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Elements of all streams.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Forgets every element; how many bytes they had.
    pub fn clear(&mut self) -> usize {
        for column in &mut self.columns {
            column.stream.clear();
            column.stream.shrink_to(KEPT);
            column.count = 0;
        }
        self.count = 0;
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_of_some_columns_take_the_place_of_the_default() {
        let mut pending = Pending::default();
        let [first, second] = [7, 8].map(|id| pending.place(id));
        assert_eq!((pending.place(7), pending.place(8)), (first, second));
        assert!(!pending.push(first, 1, [b"12345678"], None));
        pending.admit(16, [(8, 4)]);
        assert!(pending.push(first, 1, [b"12345678"], None));
        assert!(!pending.push(second, 1, [b"1"], None));
        assert!(pending.push(second, 1, [b"1"], Some(9)));
        let third = pending.place(9);
        assert!(pending.push(third, 2, [b"123", b"4567"], None));
        assert!(!pending.push(third, 1, [b"8"], None));
        pending.admit(0, []);
        assert!(!pending.push(second, 1, [b"1"], None));
        assert_eq!(
            pending.streams().collect::<Vec<_>>(),
            [(7, 1, b"12345678".as_slice()), (8, 1, b"1".as_slice()), (9, 2, b"1234567".as_slice()),]
        );
        assert_eq!((pending.clear(), pending.bytes(), pending.count()), (16, 0, 0));
        assert_eq!(pending.streams().count(), 0);
    }

    proptest! {
        #[test]
        fn each_column_has_its_elements_in_their_order(steps in vec((0_i64..5, vec(any::<u8>(), 0..9)), 0..60)) {
            let mut pending = Pending::default();
            let mut model: HashMap<i64, Vec<u8>> = HashMap::new();
            for (id, element) in &steps {
                let place = pending.place(*id);
                prop_assert!(pending.push_sized(place, element, Some(usize::MAX)));
                let stream = model.entry(*id).or_default();
                stream.extend(u32::try_from(element.len()).unwrap().to_le_bytes());
                stream.extend(element);
                prop_assert_eq!(pending.bytes_of(place), stream.len());
            }
            prop_assert_eq!(pending.count(), steps.len());
            prop_assert_eq!(pending.bytes(), model.values().map(Vec::len).sum::<usize>());
            let streams: HashMap<i64, Vec<u8>> =
                pending.streams().map(|(id, _, stream)| (id, stream.to_vec())).collect();
            prop_assert_eq!(streams, model);
        }
    }
}
