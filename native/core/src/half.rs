//! IEEE 754 binary16, which vectors may arrive in and be stored in.

/// Where `f32` keeps its exponent.
const EXPONENT: u32 = 23;

/// Widens the bits of a binary16 number; exact for every value. No branches, so that loops over it become vector
/// instructions.
#[inline]
#[must_use]
pub fn to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7FFF) << 13;
    // Rebias from 15 to 127, of subnormal numbers too, by a product that is exact.
    let rebiased = (f32::from_bits(magnitude) * f32::from_bits(239 << EXPONENT)).to_bits();
    // Infinity and NaN, whose exponent is the greatest, keep the greatest.
    let greatest = if magnitude >= 31 << EXPONENT { 255 << EXPONENT } else { 0 };
    f32::from_bits(sign | rebiased | greatest)
}

/// The bits of the nearest binary16 number, ties to even; infinity from 65520 on.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the comparisons")]
pub fn from_f64(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = value.abs();
    let rounded = if magnitude.is_nan() {
        0x7E00
    } else if magnitude >= 65520.0 {
        0x7C00
    } else if magnitude < 6.103_515_625e-5 {
        // Subnormal: steps of 2^-24. A product with a power of two is exact.
        (magnitude * 16_777_216.0).round_ties_even() as u16
    } else {
        // Drop 42 of 52 bits of the fraction; a carry belongs into the exponent. Rebias from 1023 to 15.
        let bits = magnitude.to_bits();
        let even = (bits >> 42) & 1;
        (((bits + (1 << 41) - 1 + even) >> 42) - ((1023 - 15) << 10)) as u16
    };
    sign | rounded
}

#[cfg(test)]
mod tests {
    use super::{from_f64, to_f32};
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x7BFF, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x83FF, -6.097_555e-5),
            (0x7C00, f32::INFINITY),
            (0xFC00, f32::NEG_INFINITY),
        ] {
            assert_eq!(to_f32(bits), value, "{bits:04x}");
        }
        assert!(to_f32(0x7E00).is_nan());
        assert!(to_f32(0x7C01).is_nan());
        assert!(to_f32(0x8000).is_sign_negative());
    }

    /// By the definition of the format, with no bit of it shared.
    fn by_definition(bits: u16) -> f64 {
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        let fraction = f64::from(bits & 0x3FF) / 1024.0;
        match i32::from(bits >> 10 & 31) {
            0 => sign * fraction * 2f64.powi(-14),
            exponent => sign * (1.0 + fraction) * 2f64.powi(exponent - 15),
        }
    }

    #[test]
    fn every_finite_value_widens_exactly_and_comes_back() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7C00 != 0x7C00) {
            assert_eq!(f64::from(to_f32(bits)), by_definition(bits), "{bits:04x}");
            assert_eq!(from_f64(by_definition(bits)), bits, "{bits:04x}");
        }
    }

    proptest! {
        #[test]
        fn rounds_to_the_nearest_and_ties_to_even(
            value in prop_oneof![-7e4f64..7e4, -1e-4f64..1e-4, any::<f64>()],
        ) {
            let bits = from_f64(value);
            let (below, above) = (bits.wrapping_sub(1), bits + 1);
            if bits & 0x7FFF < 0x7C00 {
                let error = (value - by_definition(bits)).abs();
                for other in [below, above].into_iter().filter(|other| other & 0x7FFF <= 0x7C00) {
                    let distance = (value - by_definition(other)).abs();
                    prop_assert!(error < distance || error == distance && bits & 1 == 0, "{value}");
                }
            } else {
                prop_assert!(value.is_nan() || value.abs() >= 65520.0);
            }
        }
    }

    #[test]
    fn halfway_and_beyond() {
        for (value, bits) in [
            (2049.0, 0x6800), // between 2048 and 2050
            (2051.0, 0x6802), // between 2050 and 2052
            (65519.999, 0x7BFF),
            (65520.0, 0x7C00),
            (2f64.powi(-25), 0x0000),
            (1.5 * 2f64.powi(-24), 0x0002),
            (2f64.powi(-14) - 2f64.powi(-26), 0x0400),
            (-0.0, 0x8000),
            (f64::NEG_INFINITY, 0xFC00),
        ] {
            assert_eq!(from_f64(value), bits, "{value}");
        }
        assert_eq!(from_f64(f64::NAN) & 0x7FFF, 0x7E00);
    }
}
