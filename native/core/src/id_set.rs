//! Sets of row ids as one blob: the condition of a search, evaluated before it.
//!
//! ```text
//! 0 | id i64 × n                       ascending, without repetition
//! 1 | n u64 | first i64 | bits …        bit i (of byte i / 8, from the least significant) is id first + i
//! ```
//! (all little-endian)

use std::fmt;

const LIST: u8 = 0;
const BITS: u8 = 1;

/// A map of bits is written where it takes no more room than the list of ids.
const BITS_PER_ID: i128 = 64;

/// The blob is no set of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASet;

impl fmt::Display for NotASet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("expected a set of ids that kv_idset made")
    }
}

impl std::error::Error for NotASet {}

/// Writes a set; the ids may come in any order, and more than once.
#[must_use]
pub fn to_bytes(mut ids: Vec<i64>) -> Vec<u8> {
    if !ids.is_sorted() {
        ids.sort_unstable();
    }
    ids.dedup();
    let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else { return vec![LIST] };
    let span = i128::from(last) - i128::from(first) + 1;
    #[allow(clippy::cast_possible_wrap, reason = "fewer ids than bytes of memory")]
    if span > BITS_PER_ID * ids.len() as i128 {
        let mut bytes = Vec::with_capacity(1 + 8 * ids.len());
        bytes.push(LIST);
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        return bytes;
    }
    let mut bytes = vec![BITS];
    bytes.extend((ids.len() as u64).to_le_bytes());
    bytes.extend(first.to_le_bytes());
    let start = bytes.len();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "64 times the number of ids")]
    bytes.resize(start + (span as usize).div_ceil(8), 0);
    for id in ids {
        let bit = id.abs_diff(first);
        #[allow(clippy::cast_possible_truncation, reason = "within the span")]
        if let Some(byte) = bytes.get_mut(start + (bit / 8) as usize) {
            *byte |= 1 << (bit % 8);
        }
    }
    bytes
}

/// A set, read from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct IdSet<'a> {
    count: usize,
    ids: Ids<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Ids<'a> {
    List(&'a [[u8; 8]]),
    Bits { first: i64, bits: &'a [u8] },
}

impl<'a> IdSet<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, NotASet> {
        match bytes {
            [LIST, ids @ ..] => {
                let (ids, []) = ids.as_chunks::<8>() else { return Err(NotASet) };
                if !ids.is_sorted_by(|a, b| i64::from_le_bytes(*a) < i64::from_le_bytes(*b)) {
                    return Err(NotASet);
                }
                Ok(Self { count: ids.len(), ids: Ids::List(ids) })
            }
            [BITS, rest @ ..] => {
                let (count, rest) = rest.split_first_chunk::<8>().ok_or(NotASet)?;
                let (first, bits) = rest.split_first_chunk::<8>().ok_or(NotASet)?;
                let set = bits.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
                let first = i64::from_le_bytes(*first);
                let last = i128::from(first) + 8 * bits.len() as i128;
                if set != u64::from_le_bytes(*count) || last > i128::from(i64::MAX) + 8 {
                    return Err(NotASet);
                }
                let count = usize::try_from(set).map_err(|_| NotASet)?;
                Ok(Self { count, ids: Ids::Bits { first, bits } })
            }
            _ => Err(NotASet),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    #[must_use]
    pub fn contains(&self, id: i64) -> bool {
        match self.ids {
            Ids::List(ids) => ids.binary_search_by(|other| i64::from_le_bytes(*other).cmp(&id)).is_ok(),
            Ids::Bits { first, bits } => {
                let place = id.wrapping_sub(first);
                #[allow(
                    clippy::cast_sign_loss,
                    reason = "an id before the first becomes a place behind the last"
                )]
                let place = place as u64;
                usize::try_from(place / 8)
                    .ok()
                    .filter(|_| id >= first)
                    .and_then(|byte| bits.get(byte))
                    .is_some_and(|byte| byte >> (place % 8) & 1 == 1)
            }
        }
    }

    /// The ids, ascending.
    #[must_use]
    pub fn ids(&self) -> Box<dyn Iterator<Item = i64> + 'a> {
        match self.ids {
            Ids::List(ids) => Box::new(ids.iter().map(|id| i64::from_le_bytes(*id))),
            Ids::Bits { first, bits } => Box::new(bits.iter().enumerate().flat_map(move |(place, &byte)| {
                (0..8u8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| {
                    #[allow(clippy::cast_possible_wrap, reason = "checked when the set was read")]
                    first.wrapping_add(place as i64 * 8 + i64::from(bit))
                })
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn has_what_was_put_in(
            ids in prop_oneof![
                proptest::collection::vec(any::<i64>(), 0..50),
                proptest::collection::vec(-100i64..200, 0..200),
                proptest::collection::vec(i64::MAX - 70..=i64::MAX, 0..50),
            ],
            others in proptest::collection::vec(any::<i64>(), 0..50),
        ) {
            let bytes = to_bytes(ids.clone());
            let set = IdSet::new(&bytes).unwrap();
            let mut expected = ids.clone();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(set.ids().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(set.len(), expected.len());
            for id in ids.into_iter().chain(others).chain([i64::MIN, i64::MAX, 0, -101, 200]) {
                prop_assert_eq!(set.contains(id), expected.contains(&id));
            }
        }

        #[test]
        fn reading_anything_is_harmless(bytes: Vec<u8>, tag in 0u8..3) {
            let bytes = [vec![tag], bytes].concat();
            if let Ok(set) = IdSet::new(&bytes) {
                prop_assert_eq!(set.ids().filter(|&id| set.contains(id)).count(), set.len());
            }
        }
    }
}
