//! IEEE 754 binary16, which vectors may arrive in.

/// Widens the bits of a binary16 number; exact for every value.
#[must_use]
pub fn to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from((bits >> 10) & 0x1F);
    let fraction = u32::from(bits & 0x3FF);
    let magnitude = match exponent {
        // Subnormal: the fraction counts steps of 2^-24.
        #[allow(clippy::cast_precision_loss, reason = "ten bits fit")]
        0 => (fraction as f32 / 16_777_216.0).to_bits(),
        31 => 0x7F80_0000 | (fraction << 13),
        // Rebias from 15 to 127.
        _ => ((exponent + 112) << 23) | (fraction << 13),
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::to_f32;

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
        assert!(to_f32(0x8000).is_sign_negative());
    }
}
