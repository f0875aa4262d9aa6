//! A random rotation in `O(n log n)`: rounds of random signs, Walsh-Hadamard transforms and Kac's walk, as in the
//! `RaBitQ` library (`FhtKacRotator`). Every step is orthogonal, so lengths and angles stay.

/// Rounds: after four of them every output depends on every input in many ways.
const ROUNDS: usize = 4;

/// Dimensions are padded with zeros to a multiple of this, the bits of a word.
pub const WORD: usize = 64;

/// A rotation of vectors of [`Rotation::padded`] dimensions, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Rotation {
    padded: usize,
    /// ±1 per round and dimension.
    signs: Vec<f32>,
}

impl Rotation {
    /// For vectors of `dimensions`.
    #[must_use]
    pub fn new(dimensions: usize, seed: u64) -> Self {
        let padded = dimensions.max(1).next_multiple_of(WORD);
        let mut random = SplitMix(seed);
        let mut signs = Vec::with_capacity(ROUNDS * padded);
        for _ in 0..ROUNDS * padded / WORD {
            let bits = random.next();
            signs.extend((0..WORD).map(|bit| if bits >> bit & 1 == 0 { 1.0 } else { -1.0 }));
        }
        Self { padded, signs }
    }

    /// Dimensions of rotated vectors.
    #[must_use]
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// Rotates `vector`, which is padded with zeros, or cut, to the right length.
    pub fn rotate(&self, vector: &mut Vec<f32>) {
        vector.resize(self.padded, 0.0);
        let largest = 1 << self.padded.ilog2();
        for (round, signs) in self.signs.chunks_exact(self.padded).enumerate() {
            vector.iter_mut().zip(signs).for_each(|(value, sign)| *value *= sign);
            let start = if round % 2 == 0 { 0 } else { self.padded - largest };
            if let Some(part) = vector.get_mut(start..start + largest) {
                hadamard(part);
            }
            if largest != self.padded {
                walk(vector);
            }
        }
    }
}

/// The normalised Walsh-Hadamard transform; the length is a power of two.
fn hadamard(values: &mut [f32]) {
    let length = values.len();
    let mut half = 1;
    while half < length {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    #[allow(clippy::cast_precision_loss, reason = "a power of two")]
    let scale = 1.0 / (length as f32).sqrt();
    for value in values {
        *value *= scale;
    }
}

/// Mixes each value of the first half with that of the second: a rotation by 45 degrees, mirrored.
fn walk(values: &mut [f32]) {
    let (left, right) = values.split_at_mut(values.len() / 2);
    for (a, b) in left.iter_mut().zip(right) {
        let scale = std::f32::consts::FRAC_1_SQRT_2;
        (*a, *b) = ((*a + *b) * scale, (*a - *b) * scale);
    }
}

/// Steele, Lea & Flood (2014), "Fast splittable pseudorandom number generators".
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }

    proptest! {
        #[test]
        fn keeps_dot_products(
            pairs in proptest::collection::vec((-10.0f32..10.0, -10.0f32..10.0), 1..400),
            seed: u64,
        ) {
            let (mut a, mut b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let (before, scale) = (dot(&a, &b), (dot(&a, &a) * dot(&b, &b)).sqrt());
            let rotation = Rotation::new(a.len(), seed);
            rotation.rotate(&mut a);
            rotation.rotate(&mut b);
            prop_assert_eq!(a.len() % WORD, 0);
            prop_assert!((dot(&a, &b) - before).abs() <= 1e-5 * scale + 1e-6);
        }
    }

    #[test]
    fn spreads_a_single_dimension() {
        for dimensions in [64, 96, 384, 768, 1000] {
            let rotation = Rotation::new(dimensions, 7);
            let mut vector = vec![0.0; dimensions];
            vector[dimensions / 3] = 1.0;
            rotation.rotate(&mut vector);
            let largest = vector.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            #[allow(clippy::cast_precision_loss)]
            let even = 1.0 / (rotation.padded() as f32).sqrt();
            assert!(largest < 6.0 * even, "{dimensions}: {largest}");
        }
    }

    #[test]
    fn the_first_words_never_change() {
        // Files depend on them. Of the reference implementation, seed 1234567.
        let mut random = SplitMix(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }
}
