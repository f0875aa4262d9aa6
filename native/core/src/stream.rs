//! Streams: elements so that more can be appended to the bytes without a look at them.
//!
//! ```text
//! elements of one size:    element × count
//! elements of any size:    (length u32 | element) × count
//! ```
//!
//! All numbers are little-endian. A stream of elements of any size and the block of the same elements have the
//! same number of bytes, as an end is as large as a length.

use std::borrow::Cow;

use crate::block::{Block, Corrupt, END_SIZE, Layout, MAX_BLOCK};

/// The stream of a block's elements.
pub fn from_block(layout: Layout, block: &[u8], count: usize) -> Result<Cow<'_, [u8]>, Corrupt> {
    let Block::Variable { ends, heap } = Block::new(layout, block, count)? else {
        return Ok(Cow::Borrowed(block));
    };
    let mut stream = Vec::with_capacity(block.len());
    let mut start = 0;
    for (index, &bytes) in ends.iter().enumerate() {
        let end = u32::from_le_bytes(bytes);
        let (Some(length), Some(element)) = (end.checked_sub(start), part(heap, start, end)) else {
            return Err(Corrupt(format!(
                "element {index} lies at {start}..{end} of a heap of {} bytes",
                heap.len()
            )));
        };
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(element);
        start = end;
    }
    Ok(Cow::Owned(stream))
}

fn part(heap: &[u8], start: u32, end: u32) -> Option<&[u8]> {
    heap.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// The count and block of a stream's elements.
pub fn to_block(layout: Layout, stream: &[u8]) -> Result<(usize, Cow<'_, [u8]>), Corrupt> {
    match layout {
        Layout::Fixed(size) if stream.len().is_multiple_of(size) => {
            Ok((stream.len() / size, Cow::Borrowed(stream)))
        }
        Layout::Fixed(size) => {
            Err(Corrupt(format!("a stream of {} bytes; expected elements of {size} bytes", stream.len())))
        }
        Layout::Variable => variable_block(stream).map(|(count, block)| (count, Cow::Owned(block))),
    }
}

fn variable_block(stream: &[u8]) -> Result<(usize, Vec<u8>), Corrupt> {
    if stream.len() > MAX_BLOCK {
        return Err(Corrupt(format!("a stream of {} bytes; a block has at most {MAX_BLOCK}", stream.len())));
    }
    let mut block = Vec::with_capacity(stream.len());
    let mut end = 0;
    let mut rest = stream;
    while !rest.is_empty() {
        let (element, after) = split(rest).ok_or_else(|| cut(&block, stream, rest))?;
        end += element.len();
        // Not above the stream's length, which fits.
        block.extend_from_slice(&u32::try_from(end).unwrap_or(u32::MAX).to_le_bytes());
        rest = after;
    }
    let count = block.len() / END_SIZE;
    rest = stream;
    while let Some((element, after)) = split(rest) {
        block.extend_from_slice(element);
        rest = after;
    }
    Ok((count, block))
}

/// The first element, and what follows it. `None`: not all of it is there.
#[inline]
fn split(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = stream.split_first_chunk::<END_SIZE>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cold]
fn cut(ends: &[u8], stream: &[u8], rest: &[u8]) -> Corrupt {
    let (index, at) = (ends.len() / END_SIZE, stream.len() - rest.len());
    Corrupt(format!("the stream of {} bytes ends inside element {index}, which starts at {at}", stream.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Builder, check};
    use proptest::prelude::*;

    fn block_of(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = Builder::new(MAX_BLOCK);
        for element in elements {
            builder.push(element).unwrap();
        }
        builder.finish().1
    }

    fn stream_of(elements: &[Vec<u8>]) -> Vec<u8> {
        elements
            .iter()
            .flat_map(|element| {
                [&u32::try_from(element.len()).unwrap().to_le_bytes(), element.as_slice()].concat()
            })
            .collect()
    }

    fn elements() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..12)
    }

    proptest! {
        #[test]
        fn a_block_is_a_stream_and_back(elements in elements()) {
            let (block, stream) = (block_of(&elements), stream_of(&elements));
            let made = from_block(Layout::Variable, &block, elements.len()).unwrap();
            prop_assert_eq!(made.as_ref(), stream.as_slice());
            prop_assert_eq!(to_block(Layout::Variable, &stream), Ok((elements.len(), Cow::Owned(block))));
        }

        #[test]
        fn streams_can_be_joined(first in elements(), second in elements()) {
            let joined = [stream_of(&first), stream_of(&second)].concat();
            prop_assert_eq!(joined, stream_of(&[first, second].concat()));
        }

        #[test]
        fn elements_of_one_size_are_their_own_stream(data in proptest::collection::vec(any::<u8>(), 0..40), size in 1usize..9) {
            let layout = Layout::Fixed(size);
            let count = data.len() / size;
            if data.len().is_multiple_of(size) {
                prop_assert_eq!(from_block(layout, &data, count), Ok(Cow::Borrowed(data.as_slice())));
                prop_assert_eq!(to_block(layout, &data), Ok((count, Cow::Borrowed(data.as_slice()))));
            } else {
                prop_assert!(from_block(layout, &data, count).is_err());
                prop_assert!(to_block(layout, &data).is_err());
            }
        }

        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(0u8..6, 0..60), count in 0usize..9) {
            if let Ok((count, block)) = to_block(Layout::Variable, &data) {
                prop_assert_eq!(check(&"bytes".parse().unwrap(), &block, count), Ok(()));
                let stream = from_block(Layout::Variable, &block, count).unwrap();
                prop_assert_eq!(stream.as_ref(), data.as_slice());
            }
            if let Ok(stream) = from_block(Layout::Variable, &data, count) {
                prop_assert_eq!(to_block(Layout::Variable, &stream), Ok((count, Cow::Borrowed(data.as_slice()))));
            }
        }
    }

    #[test]
    fn a_stream_that_is_cut_says_where() {
        let stream = stream_of(&[b"ab".to_vec(), b"cde".to_vec()]);
        for length in (1..stream.len()).filter(|&length| length != 6) {
            let error = to_block(Layout::Variable, &stream[..length]).unwrap_err().to_string();
            let (index, at) = if length < 6 { (0, 0) } else { (1, 6) };
            assert_eq!(
                error,
                format!(
                    "corrupt block: the stream of {length} bytes ends inside element {index}, which starts at {at}"
                )
            );
        }
    }
}
