//! Summaries of blocks of numbers: what lies in a block, without its elements.
//!
//! ```text
//! integers, bool:   min i64 | max i64 | sum i128            (u64: min u64 | max u64)
//! floats:           min f64 | max f64 | sum f64 | number of NaN u64
//! ```
//!
//! All numbers are little-endian. NaN is left out of `min`, `max` and `sum`; where there is nothing else, `min` and
//! `max` are NaN. Summaries come from files that anyone may have written, so what is impossible is refused.

use crate::block::{Block, Corrupt, Layout};
use crate::dtype::Scalar;
use crate::reduce::{Reduced, Sum, reduce};
use crate::vector;

/// Bytes of a summary.
pub const SIZE: usize = 32;

/// What is known of some elements, at least one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Summary {
    /// Bools are 0 and 1.
    Integers {
        min: i128,
        max: i128,
        sum: i128,
    },
    Floats {
        min: f64,
        max: f64,
        sum: f64,
        nans: u64,
    },
}

/// A range of numbers, both ends included. Without numbers in it where `low` is above `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    Integers { low: i128, high: i128 },
    Floats { low: f64, high: f64 },
}

impl Summary {
    /// The summary of a block. `None`: it has no elements.
    pub fn of(scalar: Scalar, block: &[u8], count: usize) -> Result<Option<Self>, Corrupt> {
        Block::new(Layout::Fixed(scalar.size()), block, count)?;
        if count == 0 {
            return Ok(None);
        }
        Ok(Some(match reduce(scalar, block) {
            Reduced::Integers { max, .. } if scalar == Scalar::Bool && max > 1 => {
                return Err(Corrupt(vector::check_bools(block).err().unwrap_or_default()));
            }
            Reduced::Integers { min, max, sum } => Self::Integers { min, max, sum },
            Reduced::Floats { min, max, sum, nans } if min <= max => Self::Floats { min, max, sum, nans },
            Reduced::Floats { nans, .. } => Self::Floats { min: f64::NAN, max: f64::NAN, sum: 0.0, nans },
        }))
    }

    #[must_use]
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let (min, max, rest) = match self {
            Self::Integers { min, max, sum } => (low_half(*min), low_half(*max), sum.to_le_bytes()),
            Self::Floats { min, max, sum, nans } => {
                let rest = u128::from(sum.to_bits()) | u128::from(*nans) << 64;
                (min.to_le_bytes(), max.to_le_bytes(), rest.to_le_bytes())
            }
        };
        let mut bytes = [0; SIZE];
        let parts = min.into_iter().chain(max).chain(rest);
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    pub fn from_bytes(scalar: Scalar, bytes: &[u8]) -> Result<Self, Corrupt> {
        let parts = || {
            let (min, rest) = bytes.split_first_chunk::<8>()?;
            let (max, rest) = rest.split_first_chunk::<8>()?;
            Some((*min, *max, <[u8; 16]>::try_from(rest).ok()?))
        };
        let Some((min, max, rest)) = parts() else {
            return Err(Corrupt(format!("a summary of {} bytes; expected {SIZE}", bytes.len())));
        };
        if scalar.is_float() {
            let (min, max) = (f64::from_le_bytes(min), f64::from_le_bytes(max));
            if !(min <= max || min.is_nan() && max.is_nan()) {
                return Err(backwards(min, max));
            }
            let rest = u128::from_le_bytes(rest);
            #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
            let (sum, nans) = (f64::from_bits(rest as u64), (rest >> 64) as u64);
            return Ok(Self::Floats { min, max, sum, nans });
        }
        let read = |bytes| match scalar {
            Scalar::U64 => i128::from(u64::from_le_bytes(bytes)),
            _ => i128::from(i64::from_le_bytes(bytes)),
        };
        let (min, max) = (read(min), read(max));
        if min > max {
            return Err(backwards(min, max));
        }
        let (least, greatest) = scalar.integer_range().unwrap_or((0, 1));
        if min < least || max > greatest {
            return Err(Corrupt(format!("a summary of {scalar} with elements from {min} to {max}")));
        }
        Ok(Self::Integers { min, max, sum: i128::from_le_bytes(rest) })
    }

    /// Refuses what no `count` elements can have.
    fn check_count(&self, count: usize) -> Result<(), Corrupt> {
        let possible = match *self {
            _ if count == 0 => false,
            Self::Integers { min, max, sum } => {
                let count = count as i128;
                min.saturating_mul(count) <= sum && sum <= max.saturating_mul(count)
            }
            Self::Floats { min, nans, .. } => {
                let count = count as u64;
                nans <= count && (nans == count) == min.is_nan()
            }
        };
        if possible { Ok(()) } else { Err(Corrupt(format!("{self:?} is not a summary of {count} elements"))) }
    }

    /// Whether an element may lie in `range`.
    #[must_use]
    pub fn overlaps(&self, range: Range) -> bool {
        match (*self, range) {
            (Self::Integers { min, max, .. }, Range::Integers { low, high }) => {
                low <= high && min <= high && low <= max
            }
            // NaN is not in any range.
            (Self::Floats { min, max, .. }, Range::Floats { low, high }) => {
                low <= high && min <= high && low <= max
            }
            _ => false,
        }
    }
}

/// The low 64 bits, which are all that count: a minimum or maximum fits either `i64` or `u64`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as explained")]
fn low_half(number: i128) -> [u8; 8] {
    (number as u64).to_le_bytes()
}

#[cold]
fn backwards(min: impl std::fmt::Display, max: impl std::fmt::Display) -> Corrupt {
    Corrupt(format!("a summary with elements from {min} to {max}"))
}

/// The summaries of blocks, put together one by one.
#[derive(Clone, Copy, Debug)]
pub struct Combined {
    scalar: Scalar,
    summary: Option<Summary>,
    /// The sum of floats.
    sum: Sum,
}

impl Combined {
    #[must_use]
    pub fn new(scalar: Scalar) -> Self {
        Self { scalar, summary: None, sum: Sum::default() }
    }

    /// Adds the summary of a block of `count` elements.
    pub fn add(&mut self, count: usize, summary: &[u8]) -> Result<(), Corrupt> {
        let next = Summary::from_bytes(self.scalar, summary)?;
        next.check_count(count)?;
        self.summary = Some(match (self.summary, next) {
            (
                Some(Summary::Integers { min, max, sum }),
                Summary::Integers { min: next_min, max: next_max, sum: next_sum },
            ) => Summary::Integers {
                min: min.min(next_min),
                max: max.max(next_max),
                sum: sum.checked_add(next_sum).ok_or_else(|| Corrupt("sums above 2^127".to_owned()))?,
            },
            (
                Some(Summary::Floats { min, max, nans, .. }),
                Summary::Floats { min: next_min, max: next_max, sum: next_sum, nans: next_nans },
            ) => {
                self.sum.add(next_sum);
                let nans = nans.checked_add(next_nans).ok_or_else(|| Corrupt("2^64 NaN".to_owned()))?;
                // Of NaN and a number, both functions take the number.
                Summary::Floats {
                    min: min.min(next_min),
                    max: max.max(next_max),
                    sum: self.sum.total(),
                    nans,
                }
            }
            (_, next) => {
                if let Summary::Floats { sum, .. } = next {
                    self.sum.add(sum);
                }
                next
            }
        });
        Ok(())
    }

    /// The summary of all elements. `None`: there are none.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scalar() -> impl Strategy<Value = Scalar> {
        proptest::sample::select(&Scalar::ALL[..])
    }

    /// Some numbers as bytes: any at all, and often NaN.
    fn data(scalar: Scalar) -> impl Strategy<Value = (Scalar, Vec<u8>)> {
        let byte = if scalar == Scalar::Bool { (0_u8..2).boxed() } else { any::<u8>().boxed() };
        let item = proptest::collection::vec(byte, scalar.size());
        let item =
            prop_oneof![4 => item, 1 => Just(vec![u8::from(scalar != Scalar::Bool) * 255; scalar.size()])];
        proptest::collection::vec(item, 1..40).prop_map(move |items| (scalar, items.concat()))
    }

    fn summary(scalar: Scalar, data: &[u8]) -> Summary {
        Summary::of(scalar, data, data.len() / scalar.size()).unwrap().unwrap()
    }

    /// Equal, NaN too; sums of floats nearly, if they are finite.
    fn agree(a: Summary, b: Summary) -> bool {
        match (a, b) {
            (Summary::Floats { sum: a_sum, .. }, Summary::Floats { sum: b_sum, .. }) => {
                let without_sum = |summary: Summary| match summary {
                    Summary::Floats { min, max, nans, .. } => format!("{} {} {nans}", min + 0.0, max + 0.0),
                    other @ Summary::Integers { .. } => format!("{other:?}"),
                };
                let near = (a_sum - b_sum).abs() <= 1e-12 * a_sum.abs();
                without_sum(a) == without_sum(b) && (near || !a_sum.is_finite() || !b_sum.is_finite())
            }
            (a, b) => a == b,
        }
    }

    proptest! {
        #[test]
        fn bytes_are_the_summary((scalar, data) in scalar().prop_flat_map(data)) {
            let summary = summary(scalar, &data);
            let again = Summary::from_bytes(scalar, &summary.to_bytes()).unwrap();
            prop_assert_eq!(format!("{summary:?}"), format!("{again:?}"));
        }

        #[test]
        fn summaries_of_parts_make_the_summary_of_all(
            (scalar, data) in scalar().prop_flat_map(data), at in 0_usize..40,
        ) {
            let size = scalar.size();
            let (head, tail) = data.split_at((at * size).min(data.len()));
            let mut combined = Combined::new(scalar);
            for part in [head, tail].into_iter().filter(|part| !part.is_empty()) {
                combined.add(part.len() / size, &summary(scalar, part).to_bytes()).unwrap();
            }
            let (whole, parts) = (summary(scalar, &data), combined.summary().unwrap());
            prop_assert!(agree(whole, parts), "{:?} {:?}", whole, parts);
        }

        #[test]
        fn any_bytes_are_harmless(
            scalar in scalar(), bytes in proptest::collection::vec(any::<u8>(), 0..40), count in any::<usize>(),
        ) {
            let mut combined = Combined::new(scalar);
            for _ in 0..3 {
                let _ = combined.add(count, &bytes);
            }
            if let Ok(summary) = Summary::from_bytes(scalar, &bytes) {
                prop_assert_eq!(bytes.len(), SIZE);
                prop_assert_eq!(summary.to_bytes().to_vec(), bytes.clone());
            }
        }
    }

    #[test]
    fn nan_is_counted_and_left_out() {
        let floats = |numbers: &[f64]| {
            let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            summary(Scalar::F64, &data)
        };
        assert_eq!(
            floats(&[2.0, f64::NAN, -1.0]),
            Summary::Floats { min: -1.0, max: 2.0, sum: 1.0, nans: 1 }
        );
        let Summary::Floats { min, max, sum, nans } = floats(&[f64::NAN; 3]) else { panic!() };
        assert!(min.is_nan() && max.is_nan());
        assert_eq!((sum, nans), (0.0, 3));
        assert_eq!(Summary::of(Scalar::F64, &[], 0), Ok(None));
    }

    #[test]
    fn what_cannot_be_is_corrupt() {
        let bytes = |min, max, sum| Summary::Integers { min, max, sum }.to_bytes();
        let add = |scalar, count, bytes: &[u8]| {
            Combined::new(scalar).add(count, bytes).map_err(|error| error.to_string())
        };
        assert_eq!(add(Scalar::I8, 2, &bytes(-3, 4, 1)), Ok(()));
        assert_eq!(
            add(Scalar::I8, 2, &[0; 31]),
            Err("corrupt block: a summary of 31 bytes; expected 32".to_owned())
        );
        for (scalar, count, min, max, sum) in [
            (Scalar::I8, 2, 4, -3, 1),
            (Scalar::I8, 2, -3, 400, 1),
            (Scalar::Bool, 2, 0, 2, 1),
            (Scalar::I64, 2, -3, 4, 9),
            (Scalar::I64, 0, 0, 0, 0),
        ] {
            assert!(add(scalar, count, &bytes(min, max, sum)).is_err(), "{scalar} {min} {max} {sum}");
        }
        let floats = |min, max, nans| Summary::Floats { min, max, sum: 0.0, nans }.to_bytes();
        assert_eq!(add(Scalar::F32, 3, &floats(0.0, 1.0, 2)), Ok(()));
        for (min, max, nans) in
            [(0.0, 1.0, 3), (0.0, 1.0, 4), (1.0, 0.0, 0), (f64::NAN, f64::NAN, 2), (f64::NAN, 1.0, 2)]
        {
            assert!(add(Scalar::F32, 3, &floats(min, max, nans)).is_err(), "{min} {max} {nans}");
        }
        let error = Summary::of(Scalar::Bool, &[1, 7], 2).unwrap_err().to_string();
        assert_eq!(error, "corrupt block: bool byte 0x07; expected 0x00 or 0x01");
    }
}
