//! The k nearest of a stream of rows.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A bounded max-heap of the `k` smallest distances with their keys.
///
/// NaN counts as farther than every number. Of equal distances the one offered first stays. Memory grows
/// with the rows kept, not with `k`, which may be any number.
#[derive(Clone, Debug)]
pub struct Nearest<K> {
    heap: BinaryHeap<Entry<K>>,
    k: usize,
    offered: u64,
    /// The greatest distance kept, once `k` are kept; NaN before, because no comparison with it rejects.
    limit: f64,
}

#[derive(Clone, Debug)]
struct Entry<K> {
    distance: f64,
    order: u64,
    key: K,
}

impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.distance, other.distance).then(self.order.cmp(&other.order))
    }
}

impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K> Eq for Entry<K> {}

/// Numbers in their order (`-0.0` equal to `0.0`), then NaN.
fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

impl<K> Nearest<K> {
    #[must_use]
    pub fn new(k: usize) -> Self {
        let limit = if k == 0 { f64::NEG_INFINITY } else { f64::NAN };
        Self { heap: BinaryHeap::new(), k, offered: 0, limit }
    }

    /// Whether a row at this distance may enter. One comparison: `false` is certain, `true` is not.
    #[inline]
    #[must_use]
    #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "true for NaN on either side is the point")]
    pub fn wants(&self, distance: f64) -> bool {
        !(distance >= self.limit)
    }

    /// Keeps the row if it is among the `k` nearest so far. `key` is called only then.
    pub fn offer<E>(&mut self, distance: f64, key: impl FnOnce() -> Result<K, E>) -> Result<(), E> {
        if !self.wants(distance) || self.k == 0 {
            return Ok(());
        }
        if self.heap.len() < self.k {
            let entry = Entry { distance, order: self.offered, key: key()? };
            self.heap.push(entry);
        } else if let Some(mut farthest) = self.heap.peek_mut() {
            if compare(distance, farthest.distance) != Ordering::Less {
                return Ok(());
            }
            *farthest = Entry { distance, order: self.offered, key: key()? };
        }
        self.offered += 1;
        if self.heap.len() == self.k
            && let Some(farthest) = self.heap.peek()
        {
            self.limit = farthest.distance;
        }
        Ok(())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Nearest first.
    #[must_use]
    pub fn into_sorted(self) -> Vec<(f64, K)> {
        self.heap.into_sorted_vec().into_iter().map(|entry| (entry.distance, entry.key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn nearest(k: usize, distances: &[f64]) -> Vec<(f64, usize)> {
        let mut nearest = Nearest::new(k);
        for (key, &distance) in distances.iter().enumerate() {
            nearest.offer(distance, || Ok::<_, Infallible>(key)).unwrap();
        }
        nearest.into_sorted()
    }

    proptest! {
        #[test]
        fn equals_a_stable_sort(
            distances in proptest::collection::vec(
                prop_oneof![
                    (0u8..6).prop_map(f64::from),
                    Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), any::<f64>(),
                ],
                0..60,
            ),
            k in prop_oneof![0usize..70, Just(usize::MAX), Just(1 << 62)],
        ) {
            let mut expected: Vec<(f64, usize)> =
                distances.iter().copied().enumerate().map(|(key, d)| (d, key)).collect();
            expected.sort_by(|a, b| compare(a.0, b.0));
            expected.truncate(k);
            let keys = |rows: &[(f64, usize)]| rows.iter().map(|row| row.1).collect::<Vec<_>>();
            prop_assert_eq!(keys(&nearest(k, &distances)), keys(&expected));
        }
    }

    #[test]
    fn nan_is_last_and_replaced_by_numbers() {
        let rows = nearest(2, &[f64::NAN, f64::NAN, f64::INFINITY, 1.0]);
        assert_eq!(rows, [(1.0, 3), (f64::INFINITY, 2)]);
    }

    #[test]
    fn ties_keep_the_first_seen() {
        assert_eq!(nearest(2, &[1.0, 1.0, 1.0]), [(1.0, 0), (1.0, 1)]);
    }

    #[test]
    fn a_failing_key_is_reported_and_not_kept() {
        let mut nearest = Nearest::<u8>::new(1);
        assert_eq!(nearest.offer(1.0, || Err("no")), Err("no"));
        assert!(nearest.is_empty());
    }
}
