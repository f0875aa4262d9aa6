//! The signs of a vector, which are all that the hamming distance depends on.

#![allow(
    clippy::inline_always,
    reason = "a body takes on the instruction set of its caller only when inlined"
)]

use super::ID_BYTES;
use super::dispatch::dispatched;

/// Bytes of an entry: whole words.
pub(super) fn entry_bytes(dimensions: usize) -> usize {
    ID_BYTES + dimensions.max(1).div_ceil(64) * 8
}

/// Appends the code of `vector`: bit `i` (of byte `i / 8`, from the least significant) is whether dimension `i` is
/// greater than zero.
pub(super) fn encode(vector: &[f32], into: &mut Vec<u8>) {
    let start = into.len();
    into.resize(start + vector.len().max(1).div_ceil(64) * 8, 0);
    for (place, &value) in vector.iter().enumerate() {
        if value > 0.0
            && let Some(byte) = into.get_mut(start + place / 8)
        {
            *byte |= 1 << (place % 8);
        }
    }
}

dispatched! {
    /// Writes every entry's distance to `query`, a code, as both of its bounds.
    pub(super) fn bounds(query: &[u8], block: &[u8], entry: usize, into: &mut [[f32; 2]]) => bounds_of
}

#[inline(always)]
fn bounds_of<const FMA: bool, const WIDE: bool>(
    query: &[u8],
    block: &[u8],
    entry: usize,
    into: &mut [[f32; 2]],
) {
    let (query, _) = query.as_chunks::<8>();
    // A loop, as iterators' closures are compiled for the baseline.
    for (entry, bounds) in block.chunks_exact(entry).zip(into) {
        let (words, _) = entry.get(ID_BYTES..).unwrap_or(&[]).as_chunks::<8>();
        let mut differing = 0u32;
        for (a, b) in words.iter().zip(query) {
            differing =
                differing.wrapping_add((u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).count_ones());
        }
        #[allow(clippy::cast_precision_loss, reason = "at most the number of dimensions")]
        let distance = differing as f32;
        *bounds = [distance; 2];
    }
}
