//! Vector indexes: short codes of vectors, kept in blocks, that bound or estimate the distance to a query.
//!
//! A block is a sequence of entries of one size, so that entries are added, taken out and moved as bytes:
//!
//! ```text
//! entry = id i64 | factors f32 × n | code        (all little-endian)
//! ```
//!
//! | code | factors | bounds |
//! |---|---|---|
//! | [`one_bit`] | offset, scale, error | of an unbiased estimate: they hold with a known probability |
//! | [`eight_bit`] | scale, error | certain |
//! | [`signs`] | none | equal: the distance itself |
//!
//! Nothing here decides what is nearest: candidates are compared by the vectors themselves.

pub mod candidates;
mod dispatch;
pub mod eight_bit;
pub mod form;
pub mod one_bit;
pub mod rotation;
pub mod signs;
#[cfg(test)]
mod tests;

pub use candidates::Candidates;
pub use form::{Code, Form, FormError, MOST_DIMENSIONS, Scan};

/// Bytes of an entry's id, which it begins with.
pub const ID_BYTES: usize = 8;

/// The id of an entry.
#[inline]
#[must_use]
pub fn id_of(entry: &[u8]) -> i64 {
    entry.first_chunk::<ID_BYTES>().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// Factor `N` of what is before an entry's code.
#[inline]
fn factor<const N: usize>(header: &[u8]) -> f32 {
    header
        .get(ID_BYTES + 4 * N..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map_or(f32::NAN, |bytes| f32::from_le_bytes(*bytes))
}

/// `number` as the nearest `f32` that is not less.
#[allow(clippy::cast_possible_truncation, reason = "rounded up below")]
fn rounded_up(number: f64) -> f32 {
    let rounded = number as f32;
    if f64::from(rounded) < number { rounded.next_up() } else { rounded }
}

/// `number` as the nearest `f32` that is not greater.
fn rounded_down(number: f64) -> f32 {
    -rounded_up(-number)
}
