//! Blocks of packed elements.
//!
//! ```text
//! elements of one size:    element × count
//! elements of any size:    end u32 × count | heap            (element i = heap[end(i-1)..end(i)])
//! ```
//!
//! All numbers are little-endian; `end(-1)` is 0 and the last end is the length of the heap. The count is
//! stored elsewhere. Blocks come from files that anyone may have written, so every function checks what it
//! reads and allocates no more than the input's size justifies.

use std::fmt;
use std::ops::Range;

use crate::dtype::{Dtype, MAX_ITEM_SIZE};
use crate::vector;

/// Bytes that one element adds to the table of ends.
pub const END_SIZE: usize = 4;

/// Blocks of elements of any size never grow beyond this, so that ends fit in 32 bits.
pub const MAX_BLOCK: usize = MAX_ITEM_SIZE;

/// What is wrong with a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt(pub String);

impl fmt::Display for Corrupt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "corrupt block: {}", self.0)
    }
}

impl std::error::Error for Corrupt {}

/// Why elements could not be taken from a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockError {
    Corrupt(Corrupt),
    /// The caller asked for elements that the block does not have.
    Range {
        start: usize,
        stop: usize,
        count: usize,
    },
    /// The parts to be joined have more elements than can be counted, or an element too large for a block.
    TooLarge,
}

impl From<Corrupt> for BlockError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(corrupt) => corrupt.fmt(formatter),
            Self::Range { start, stop, count } => {
                write!(formatter, "elements {start}..{stop} of a block of {count}")
            }
            Self::TooLarge => write!(formatter, "an element exceeds {MAX_BLOCK} bytes"),
        }
    }
}

impl std::error::Error for BlockError {}

/// How the elements of a block are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Every element has this many bytes (at least one).
    Fixed(usize),
    Variable,
}

impl From<&Dtype> for Layout {
    fn from(dtype: &Dtype) -> Self {
        dtype.item_size().map_or(Self::Variable, Self::Fixed)
    }
}

/// A validated view of a block, from which elements can be read.
#[derive(Clone, Copy, Debug)]
pub enum Block<'a> {
    Fixed { data: &'a [u8], size: usize, count: usize },
    Variable { ends: &'a [[u8; END_SIZE]], heap: &'a [u8] },
}

impl<'a> Block<'a> {
    /// Checks the sizes. The ends in between are checked as elements are read.
    pub fn new(layout: Layout, block: &'a [u8], count: usize) -> Result<Self, Corrupt> {
        match layout {
            Layout::Fixed(size) => match size.checked_mul(count) {
                Some(expected) if expected == block.len() => Ok(Self::Fixed { data: block, size, count }),
                _ => {
                    Err(Corrupt(format!("{} bytes; expected {count} elements of {size} bytes", block.len())))
                }
            },
            Layout::Variable => {
                let table = count.checked_mul(END_SIZE);
                let Some((ends, heap)) = table.and_then(|table| block.split_at_checked(table)) else {
                    return Err(Corrupt(format!(
                        "{} bytes cannot hold the ends of {count} elements",
                        block.len()
                    )));
                };
                let (ends, _) = ends.as_chunks::<END_SIZE>();
                let last = ends.last().map_or(0, |&end| decode_end(end));
                if last == heap.len() {
                    Ok(Self::Variable { ends, heap })
                } else {
                    Err(Corrupt(format!("the elements end at {last}; the heap has {} bytes", heap.len())))
                }
            }
        }
    }

    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Fixed { count, .. } => *count,
            Self::Variable { ends, .. } => ends.len(),
        }
    }

    /// The bytes of one element.
    pub fn get(&self, index: usize) -> Result<&'a [u8], BlockError> {
        let missing =
            || BlockError::Range { start: index, stop: index.saturating_add(1), count: self.count() };
        match self {
            Self::Fixed { data, size, .. } => index
                .checked_mul(*size)
                .and_then(|start| data.get(start..start.checked_add(*size)?))
                .ok_or_else(missing),
            Self::Variable { ends, heap } => {
                let end = decode_end(*ends.get(index).ok_or_else(missing)?);
                let start = match index.checked_sub(1).and_then(|before| ends.get(before)) {
                    Some(&before) => decode_end(before),
                    None => 0,
                };
                Ok(heap.get(start..end).ok_or_else(|| bad_end(index, start, end, heap.len()))?)
            }
        }
    }

    /// Where the element lies in the block's bytes.
    pub fn span(&self, index: usize) -> Result<Range<usize>, BlockError> {
        let length = self.get(index)?.len();
        let start = match self {
            Self::Fixed { size, .. } => index * size,
            Self::Variable { ends, .. } => {
                let before = index.checked_sub(1).and_then(|before| ends.get(before));
                ends.len() * END_SIZE + before.map_or(0, |&end| decode_end(end))
            }
        };
        Ok(start..start + length)
    }

    /// The elements `start..stop`, in order.
    pub fn elements(&self, start: usize, stop: usize) -> Result<Elements<'a>, BlockError> {
        self.check_range(start, stop)?;
        Ok(Elements { block: *self, next: start, stop })
    }

    fn check_range(&self, start: usize, stop: usize) -> Result<(), BlockError> {
        let count = self.count();
        if start <= stop && stop <= count { Ok(()) } else { Err(BlockError::Range { start, stop, count }) }
    }

    /// The bytes of the elements `start..stop` of one size, back to back; `None` for elements of any size.
    pub fn contiguous(&self, start: usize, stop: usize) -> Result<Option<&'a [u8]>, BlockError> {
        self.check_range(start, stop)?;
        match self {
            // In range: both products are at most the length of `data`.
            Self::Fixed { data, size, .. } => Ok(data.get(start * size..stop * size)),
            Self::Variable { .. } => Ok(None),
        }
    }
}

/// Iterator over the elements of a block. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    block: Block<'a>,
    next: usize,
    stop: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a [u8], Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.stop {
            return None;
        }
        let element = self.block.get(self.next).map_err(|error| match error {
            BlockError::Corrupt(corrupt) => corrupt,
            // Not reached: the range was checked when the iterator was made.
            other => Corrupt(other.to_string()),
        });
        self.next = if element.is_ok() { self.next + 1 } else { self.stop };
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.stop - self.next;
        (left.min(1), Some(left))
    }
}

fn decode_end(bytes: [u8; END_SIZE]) -> usize {
    // On targets of fewer than 32 bits the saturated end lies outside every heap.
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

fn bad_end(index: usize, start: usize, end: usize, heap: usize) -> Corrupt {
    Corrupt(format!("element {index} lies at {start}..{end} of a heap of {heap} bytes"))
}

/// Checks every element of a block.
pub fn check(dtype: &Dtype, block: &[u8], count: usize) -> Result<(), Corrupt> {
    let block = Block::new(Layout::from(dtype), block, count)?;
    if let Dtype::Scalar(scalar) | Dtype::FixedVector(scalar, _) = dtype {
        return match (scalar, &block) {
            (crate::dtype::Scalar::Bool, Block::Fixed { data, .. }) => {
                vector::check_bools(data).map_err(Corrupt)
            }
            _ => Ok(()),
        };
    }
    let elements = Elements { block, next: 0, stop: count };
    for (index, element) in elements.enumerate() {
        check_element(dtype, element?).map_err(|problem| Corrupt(format!("element {index}: {problem}")))?;
    }
    Ok(())
}

fn check_element(dtype: &Dtype, element: &[u8]) -> Result<(), String> {
    match dtype {
        // Of a value of a format only reading it tells: whoever can read it checks it.
        Dtype::Scalar(_) | Dtype::FixedVector(..) | Dtype::Bytes(_) | Dtype::Value(_) => Ok(()),
        Dtype::Str(encoding, size) => {
            let text = if size.is_some() { encoding.strip_padding(element) } else { element };
            encoding.decode(text).map(drop).map_err(|error| error.to_string())
        }
        Dtype::AnyVector(scalar) => vector::parse(*scalar, element).map(drop),
    }
}

/// A block of the elements `start..stop` of a block.
pub fn slice(
    layout: Layout,
    block: &[u8],
    count: usize,
    start: usize,
    stop: usize,
) -> Result<Vec<u8>, BlockError> {
    let block = Block::new(layout, block, count)?;
    if let Some(bytes) = block.contiguous(start, stop)? {
        return Ok(bytes.to_vec());
    }
    let mut builder = Builder::new(MAX_BLOCK);
    for element in block.elements(start, stop)? {
        builder.push(element?)?;
    }
    Ok(builder.finish().1)
}

/// Joins blocks (with their counts) and cuts them again into blocks of at most `block_bytes` bytes, ends
/// included, but at least one element.
pub fn join(
    layout: Layout,
    parts: &[(usize, &[u8])],
    block_bytes: usize,
) -> Result<Vec<(usize, Vec<u8>)>, BlockError> {
    match layout {
        Layout::Fixed(size) => join_fixed(size, parts, block_bytes),
        Layout::Variable => join_variable(parts, block_bytes),
    }
}

fn join_fixed(
    size: usize,
    parts: &[(usize, &[u8])],
    block_bytes: usize,
) -> Result<Vec<(usize, Vec<u8>)>, BlockError> {
    // The bytes of all parts are in memory, so neither sum can overflow.
    let mut left: usize = 0;
    for &(count, part) in parts {
        Block::new(Layout::Fixed(size), part, count)?;
        left += part.len();
    }
    let full = (block_bytes / size).max(1) * size;
    let mut blocks = Vec::new();
    let mut block = Vec::with_capacity(full.min(left));
    for (_, mut part) in parts.iter().copied() {
        while !part.is_empty() {
            let (head, rest) = part.split_at(part.len().min(full - block.len()));
            block.extend_from_slice(head);
            part = rest;
            left -= head.len();
            if block.len() == full {
                let next = Vec::with_capacity(full.min(left));
                blocks.push((full / size, std::mem::replace(&mut block, next)));
            }
        }
    }
    if !block.is_empty() {
        blocks.push((block.len() / size, block));
    }
    Ok(blocks)
}

fn join_variable(parts: &[(usize, &[u8])], block_bytes: usize) -> Result<Vec<(usize, Vec<u8>)>, BlockError> {
    let mut blocks = Vec::new();
    let mut builder = Builder::new(block_bytes);
    for &(count, part) in parts {
        for element in Block::new(Layout::Variable, part, count)?.elements(0, count)? {
            let element = element?;
            if !builder.has_room_for(element.len()) {
                blocks.push(builder.finish());
            }
            builder.push(element)?;
        }
    }
    if !builder.is_empty() {
        blocks.push(builder.finish());
    }
    Ok(blocks)
}

/// Grows one block of elements of any size.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    ends: Vec<u8>,
    heap: Vec<u8>,
    block_bytes: usize,
}

impl Builder {
    #[must_use]
    pub fn new(block_bytes: usize) -> Self {
        Self { block_bytes: block_bytes.min(MAX_BLOCK), ..Self::default() }
    }

    /// Sets the size that [`Builder::has_room_for`] measures against.
    pub fn set_block_bytes(&mut self, block_bytes: usize) {
        self.block_bytes = block_bytes.min(MAX_BLOCK);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Elements pushed since the last [`Builder::finish`].
    #[must_use]
    pub fn count(&self) -> usize {
        self.ends.len() / END_SIZE
    }

    /// Bytes of the block so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.ends.len() + self.heap.len()
    }

    /// Whether an element of `size` bytes may still go into this block. The first always may.
    #[must_use]
    pub fn has_room_for(&self, size: usize) -> bool {
        self.is_empty() || self.holds(size)
    }

    /// As [`Builder::has_room_for`], without the exception for the first element.
    #[must_use]
    pub fn holds(&self, size: usize) -> bool {
        size.saturating_add(END_SIZE + self.size()) <= self.block_bytes
    }

    /// Adds an element, full or not.
    pub fn push(&mut self, element: &[u8]) -> Result<(), BlockError> {
        let end = self.heap.len().checked_add(element.len()).and_then(|end| u32::try_from(end).ok());
        let end = end.ok_or(BlockError::TooLarge)?;
        self.heap.extend_from_slice(element);
        self.ends.extend_from_slice(&end.to_le_bytes());
        Ok(())
    }

    /// The two halves of the block: ends, heap.
    #[must_use]
    pub fn halves(&self) -> (&[u8], &[u8]) {
        (&self.ends, &self.heap)
    }

    /// Forgets the elements and keeps the memory.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.heap.clear();
    }

    /// The count and bytes of the block; the builder is empty afterwards.
    pub fn finish(&mut self) -> (usize, Vec<u8>) {
        let count = self.count();
        let mut block = std::mem::take(&mut self.ends);
        block.append(&mut self.heap);
        (count, block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Scalar;
    use proptest::prelude::*;

    type Elements = Vec<Vec<u8>>;

    fn build(layout: Layout, elements: &[Vec<u8>]) -> Vec<u8> {
        match layout {
            Layout::Fixed(_) => elements.concat(),
            Layout::Variable => {
                let mut builder = Builder::new(MAX_BLOCK);
                for element in elements {
                    builder.push(element).unwrap();
                }
                builder.finish().1
            }
        }
    }

    fn read(layout: Layout, block: &[u8], count: usize) -> Elements {
        let block = Block::new(layout, block, count).unwrap();
        block.elements(0, count).unwrap().map(|element| element.unwrap().to_vec()).collect()
    }

    fn layout_and_parts() -> impl Strategy<Value = (Layout, Vec<Elements>)> {
        let variable = proptest::collection::vec(any::<u8>(), 0..9);
        let parts = |element| proptest::collection::vec(proptest::collection::vec(element, 0..12), 0..5);
        prop_oneof![
            parts(variable.boxed()).prop_map(|parts| (Layout::Variable, parts)),
            (1usize..9).prop_flat_map(move |size| {
                parts(proptest::collection::vec(any::<u8>(), size).boxed())
                    .prop_map(move |parts| (Layout::Fixed(size), parts))
            }),
        ]
    }

    proptest! {
        #[test]
        fn join_keeps_the_elements_and_the_bound((layout, parts) in layout_and_parts(), block_bytes in 0usize..80) {
            let blocks: Vec<_> = parts.iter().map(|part| (part.len(), build(layout, part))).collect();
            let borrowed: Vec<_> = blocks.iter().map(|(count, block)| (*count, block.as_slice())).collect();
            let joined = join(layout, &borrowed, block_bytes).unwrap();
            let elements: Elements =
                joined.iter().flat_map(|(count, block)| read(layout, block, *count)).collect();
            prop_assert_eq!(elements, parts.concat());
            for (count, block) in &joined {
                prop_assert!(*count == 1 || *count > 1 && block.len() <= block_bytes);
            }
        }

        #[test]
        fn slice_is_a_slice((layout, parts) in layout_and_parts(), a in 0usize..50, b in 0usize..50) {
            let elements = parts.concat();
            let block = build(layout, &elements);
            let got = slice(layout, &block, elements.len(), a, b);
            if let Some(expected) = elements.get(a..b) {
                prop_assert_eq!(read(layout, &got.unwrap(), b - a), expected);
                let view = Block::new(layout, &block, elements.len()).unwrap();
                for index in a..b {
                    prop_assert_eq!(&block[view.span(index).unwrap()], &elements[index]);
                }
                prop_assert!(view.span(elements.len()).is_err());
            } else {
                let outside = BlockError::Range { start: a, stop: b, count: elements.len() };
                prop_assert_eq!(got, Err(outside));
            }
        }

        #[test]
        fn damaged_blocks_are_harmless(
            (layout, parts) in layout_and_parts(), extra in any::<u8>(), wrong_count in any::<usize>(),
        ) {
            let elements = parts.concat();
            let good = build(layout, &elements);
            let count = elements.len();
            for length in 0..good.len() {
                prop_assert!(slice(layout, &good[..length], count, 0, count).is_err());
            }
            for position in 0..good.len() {
                let mut bad = good.clone();
                bad[position] ^= extra;
                use_everything(layout, &bad, count);
            }
            use_everything(layout, &good, wrong_count);
            use_everything(layout, &good, count + 1);
        }
    }

    fn use_everything(layout: Layout, block: &[u8], count: usize) {
        let _ = slice(layout, block, count, 0, count);
        let _ = slice(layout, block, count, count / 2, count);
        let _ = join(layout, &[(count, block), (count, block)], 16);
        if let Ok(view) = Block::new(layout, block, count) {
            let _ = (view.get(0), view.get(count), view.get(usize::MAX));
            view.elements(0, count).unwrap().for_each(drop);
        }
        for dtype in ["bool", "bytes", "str:utf8", "str:utf16le", "str:4:utf8", "vec:f32", "vec:bool:2"] {
            let _ = check(&dtype.parse().unwrap(), block, count);
        }
    }

    #[test]
    fn check_reads_every_element() {
        let bools = Dtype::Scalar(Scalar::Bool);
        assert_eq!(check(&bools, &[0, 1, 1], 3), Ok(()));
        assert!(check(&bools, &[0, 2], 2).unwrap_err().to_string().contains("bool byte 0x02"));
        let text: Dtype = "str:utf8".parse().unwrap();
        let block = build(Layout::Variable, &[b"ok".to_vec(), b"\xFF".to_vec()]);
        let error = check(&text, &block, 2).unwrap_err().to_string();
        assert_eq!(error, "corrupt block: element 1: the bytes are not valid utf8");
    }

    #[test]
    fn ends_must_ascend() {
        let block = [5u32.to_le_bytes(), 3u32.to_le_bytes()].concat();
        let block = [block, b"abc".to_vec()].concat();
        let error = slice(Layout::Variable, &block, 2, 0, 2).unwrap_err().to_string();
        assert_eq!(error, "corrupt block: element 0 lies at 0..5 of a heap of 3 bytes");
    }
}
