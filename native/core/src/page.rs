//! A page: keys and values of some rows of a table, collected in one piece of memory.

use std::ops::Range;

/// What a row has in a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    Null,
    Int(i64),
    Float(f64),
    /// Not necessarily UTF-8: databases do not check that.
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

#[derive(Clone, Debug)]
enum Stored {
    Null,
    Int(i64),
    Float(f64),
    Text(Range<usize>),
    Blob(Range<usize>),
}

/// Rows, in the order in which they came.
#[derive(Debug, Default)]
pub struct Page {
    bytes: Vec<u8>,
    rows: Vec<(Stored, Stored)>,
}

impl Page {
    /// Appends a row. Without memory for it, the page stays as it is.
    #[inline]
    pub fn push(&mut self, key: Cell<'_>, value: Cell<'_>) -> Result<(), OutOfMemory> {
        self.bytes.try_reserve(size(key) + size(value)).map_err(|_| OutOfMemory)?;
        self.rows.try_reserve(1).map_err(|_| OutOfMemory)?;
        let row = (self.store(key), self.store(value));
        self.rows.push(row);
        Ok(())
    }

    #[inline]
    fn store(&mut self, cell: Cell<'_>) -> Stored {
        let mut copy = |bytes| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            start..self.bytes.len()
        };
        match cell {
            Cell::Null => Stored::Null,
            Cell::Int(number) => Stored::Int(number),
            Cell::Float(number) => Stored::Float(number),
            Cell::Text(text) => Stored::Text(copy(text)),
            Cell::Blob(blob) => Stored::Blob(copy(blob)),
        }
    }

    /// The key and value of a row.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(Cell<'_>, Cell<'_>)> {
        let (key, value) = self.rows.get(index)?;
        Some((self.cell(key), self.cell(value)))
    }

    #[inline]
    fn cell(&self, stored: &Stored) -> Cell<'_> {
        let bytes = |place: &Range<usize>| self.bytes.get(place.clone()).unwrap_or_default();
        match stored {
            Stored::Null => Cell::Null,
            Stored::Int(number) => Cell::Int(*number),
            Stored::Float(number) => Cell::Float(*number),
            Stored::Text(place) => Cell::Text(bytes(place)),
            Stored::Blob(place) => Cell::Blob(bytes(place)),
        }
    }

    /// The number of rows.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The bytes of all texts and blobs.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all rows and keeps the memory, unless that is more than `most` bytes.
    pub fn clear(&mut self, most: usize) {
        self.rows.clear();
        self.bytes.clear();
        if self.bytes.capacity() > most {
            self.bytes = Vec::new();
        }
    }
}

#[inline]
fn size(cell: Cell<'_>) -> usize {
    match cell {
        Cell::Text(bytes) | Cell::Blob(bytes) => bytes.len(),
        _ => 0,
    }
}

/// There is no memory for another row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn cells() -> impl Strategy<Value = (u8, i64, Vec<u8>)> {
        (0_u8..5, any::<i64>(), vec(any::<u8>(), 0..20))
    }

    #[allow(clippy::cast_precision_loss)]
    fn cell((kind, number, bytes): &(u8, i64, Vec<u8>)) -> Cell<'_> {
        match kind {
            0 => Cell::Null,
            1 => Cell::Int(*number),
            2 => Cell::Float(*number as f64),
            3 => Cell::Text(bytes),
            _ => Cell::Blob(bytes),
        }
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_went_in(pages in vec(vec((cells(), cells()), 0..20), 1..4), most in 0_usize..300) {
            let mut page = Page::default();
            for rows in &pages {
                let mut bytes = 0;
                for (key, value) in rows {
                    page.push(cell(key), cell(value)).unwrap();
                    bytes += size(cell(key)) + size(cell(value));
                }
                prop_assert_eq!((page.len(), page.size(), page.is_empty()), (rows.len(), bytes, rows.is_empty()));
                for (index, (key, value)) in rows.iter().enumerate() {
                    prop_assert_eq!(page.get(index), Some((cell(key), cell(value))));
                }
                prop_assert_eq!(page.get(rows.len()), None);
                page.clear(most);
                prop_assert!(page.is_empty() && page.get(0).is_none() && page.bytes.capacity() <= most);
            }
        }
    }
}
