//! One exact k-nearest-neighbour search in progress, and its answer as JSON.
//!
//! The SQL aggregate `kv_nearest` and its Python twin both drive a [`Ranking`], so they cannot disagree.

use std::fmt::{self, Write};

use crate::distance::{DistanceError, Query};
use crate::topk::Nearest;

/// What identifies a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Int(i64),
    Text(String),
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(key) => write!(formatter, "{key}"),
            Self::Text(key) => write!(formatter, "{:?}", crate::text::shorten(key)),
        }
    }
}

/// The rows nearest to one query so far.
#[derive(Clone, Debug)]
pub struct Ranking {
    query: Query,
    nearest: Nearest<Key>,
}

impl Ranking {
    #[must_use]
    pub fn new(query: Query, k: usize) -> Self {
        Self { query, nearest: Nearest::new(k) }
    }

    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The distance of a row, to be passed on to [`Ranking::offer`] if [`Ranking::wants`] it.
    #[inline]
    pub fn distance(&self, row: &[u8]) -> Result<f64, DistanceError> {
        self.query.distance(row)
    }

    /// See [`Nearest::wants`].
    #[inline]
    #[must_use]
    pub fn wants(&self, distance: f64) -> bool {
        self.nearest.wants(distance)
    }

    /// See [`Nearest::offer`].
    pub fn offer<E>(&mut self, distance: f64, key: impl FnOnce() -> Result<Key, E>) -> Result<(), E> {
        self.nearest.offer(distance, key)
    }

    /// `[[key, distance], …]`, nearest first. Distances are the shortest decimals that read back as the same
    /// number; infinity is `9e999`, which JSON readers take for it, and NaN is `null`.
    #[must_use]
    pub fn into_json(self) -> String {
        let mut json = String::from("[");
        for (position, (distance, key)) in self.nearest.into_sorted().into_iter().enumerate() {
            json.push_str(if position == 0 { "[" } else { ",[" });
            match key {
                Key::Int(key) => json.push_str(&key.to_string()),
                Key::Text(key) => push_string(&mut json, &key),
            }
            json.push(',');
            push_number(&mut json, distance);
            json.push(']');
        }
        json.push(']');
        json
    }
}

/// The answer of a search over no rows.
pub const NO_ROWS: &str = "[]";

fn push_number(json: &mut String, number: f64) {
    if number.is_nan() {
        json.push_str("null");
    } else if number.is_infinite() {
        json.push_str(if number > 0.0 { "9e999" } else { "-9e999" });
    } else {
        // Writing to a String cannot fail. `Debug` keeps the ".0" that makes Python read a float, and writes exponents for huge numbers.
        let _ = write!(json, "{number:?}");
    }
}

fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::{Metric, floats_to_bytes};

    #[test]
    fn json_of_every_kind_of_key_and_distance() {
        let mut ranking = Ranking::new(Query::new(Metric::L2, vec![0.0]).unwrap(), 9);
        let rows = [
            (0.5, Key::Int(-7)),
            (1.0, Key::Text("a\"\\\n\u{7f}é".to_owned())),
            (1e30, Key::Int(i64::MAX)),
            (f32::INFINITY, Key::Int(2)),
            (f32::NAN, Key::Int(3)),
        ];
        for (value, key) in rows {
            let distance = ranking.distance(&floats_to_bytes(&[value])).unwrap();
            ranking.offer(distance, || Ok::<_, ()>(key)).unwrap();
        }
        assert_eq!(
            ranking.into_json(),
            "[[-7,0.5],[\"a\\\"\\\\\\u000a\u{7f}é\",1.0],[9223372036854775807,1.0000000150474662e30],\
             [2,9e999],[3,null]]"
        );
    }

    #[test]
    fn no_rows() {
        let ranking = Ranking::new(Query::new(Metric::L1, vec![1.0]).unwrap(), 3);
        assert_eq!(ranking.into_json(), NO_ROWS);
    }
}
