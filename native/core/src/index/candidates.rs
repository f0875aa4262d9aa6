//! The rows that may be among the k nearest, by bounds of their distances.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Candidates kept before the list is looked through for those that have dropped out.
const ROOM: usize = 1024;

/// A row that may be among the nearest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The row is not nearer than this.
    pub lower: f32,
    pub id: i64,
}

/// Every row whose lower bound is not above the k-th smallest upper bound.
///
/// If the bounds hold, the k nearest rows are among them.
#[derive(Clone, Debug)]
pub struct Candidates {
    k: usize,
    uppers: BinaryHeap<Upper>,
    limit: f32,
    list: Vec<Candidate>,
    look_at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Upper(f32);

impl Eq for Upper {}

impl Ord for Upper {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Upper {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Candidates {
    #[must_use]
    pub fn new(k: usize) -> Self {
        let limit = if k == 0 { f32::NEG_INFINITY } else { f32::INFINITY };
        Self { k, uppers: BinaryHeap::new(), limit, list: Vec::new(), look_at: ROOM }
    }

    /// A row whose lower bound is above this is no candidate.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> f32 {
        self.limit
    }

    /// Keeps a row if it may be among the nearest. Bounds that are NaN bound nothing.
    pub fn offer(&mut self, lower: f32, upper: f32, id: i64) {
        if lower > self.limit || self.k == 0 {
            return;
        }
        let lower = if lower.is_nan() { f32::NEG_INFINITY } else { lower };
        let upper = if upper.is_nan() { f32::INFINITY } else { upper };
        self.list.push(Candidate { lower, id });
        self.bound(upper);
        if self.list.len() >= self.look_at {
            self.drop_out();
            self.look_at = (self.list.len() * 2).max(ROOM);
        }
    }

    /// Tells of a row, not one of the candidates, that is at this distance or nearer.
    pub fn bound(&mut self, upper: f32) {
        if self.uppers.len() < self.k {
            self.uppers.push(Upper(upper));
            if self.uppers.len() < self.k {
                return;
            }
        } else if let Some(mut most) = self.uppers.peek_mut()
            && upper < most.0
        {
            *most = Upper(upper);
        } else {
            return;
        }
        if let Some(most) = self.uppers.peek() {
            self.limit = most.0;
        }
    }

    /// How many rows there are; some of them may have dropped out since they were offered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The candidates, those with the smallest lower bound first.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Candidate> {
        self.drop_out();
        self.list.sort_unstable_by(|a, b| a.lower.total_cmp(&b.lower).then(a.id.cmp(&b.id)));
        self.list
    }

    fn drop_out(&mut self) {
        let limit = self.limit;
        self.list.retain(|candidate| candidate.lower <= limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_nearest_are_among_them(
            rows in proptest::collection::vec((0u8..50, 0u8..5, 0u8..5), 0..3000),
            k in 0usize..40,
        ) {
            let mut candidates = Candidates::new(k);
            for (id, &(distance, below, above)) in rows.iter().enumerate() {
                let (lower, upper) = (i16::from(distance) - i16::from(below), i16::from(distance) + i16::from(above));
                candidates.offer(f32::from(lower), f32::from(upper), i64::try_from(id).unwrap());
            }
            let found = candidates.into_sorted();
            prop_assert!(found.is_sorted_by(|a, b| a.lower <= b.lower));
            let mut distances: Vec<u8> = rows.iter().map(|row| row.0).collect();
            distances.sort_unstable();
            if let Some(&farthest) = distances.get(..k.min(rows.len())).and_then(<[u8]>::last) {
                for (id, row) in rows.iter().enumerate() {
                    let id = i64::try_from(id).unwrap();
                    prop_assert!(row.0 > farthest || found.iter().any(|candidate| candidate.id == id));
                }
            } else {
                prop_assert!(found.is_empty());
            }
        }
    }

    #[test]
    fn bounds_that_are_no_numbers_exclude_nothing() {
        let mut candidates = Candidates::new(1);
        candidates.offer(1.0, 2.0, 1);
        candidates.offer(f32::NAN, f32::NAN, 2);
        candidates.offer(3.0, 4.0, 3);
        let ids: Vec<i64> = candidates.into_sorted().iter().map(|candidate| candidate.id).collect();
        assert_eq!(ids, [2, 1]);
    }
}
