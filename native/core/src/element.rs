//! What the elements of a stored vector are.
//!
//! ```text
//! f32  4 bytes each, little-endian
//! f16  2 bytes each, little-endian
//! i8   1 byte each
//! bit  element j is bit j mod 8, counted from the most significant, of byte j / 8; unused bits are 0
//! ```

use std::fmt;
use std::str::FromStr;

use crate::half;
use crate::kernels::Cell;
use crate::metric::Metric;

/// The type of a vector's elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Element {
    #[default]
    F32,
    F16,
    I8,
    Bit,
}

impl Element {
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::I8, Self::Bit];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
            Self::Bit => "bit",
        }
    }

    /// Bytes of a vector.
    #[must_use]
    pub fn row_bytes(self, dimensions: usize) -> usize {
        match self {
            Self::Bit => dimensions.div_ceil(8),
            _ => dimensions * self.cell_bytes(),
        }
    }

    /// Bytes that cannot be divided: of one number, or of eight bits.
    #[must_use]
    pub fn cell_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::I8 | Self::Bit => 1,
        }
    }

    /// The dimensions of a vector of so many bytes, if there is one; of bits, all that the bytes have room for.
    #[must_use]
    pub fn dimensions(self, bytes: usize) -> Option<usize> {
        match self {
            Self::Bit => Some(bytes * 8),
            _ => bytes.is_multiple_of(self.cell_bytes()).then(|| bytes / self.cell_bytes()),
        }
    }

    /// Whether vectors of this type can be compared by the metric: bits only by hamming.
    #[must_use]
    pub fn has(self, metric: Metric) -> bool {
        self != Self::Bit || metric == Metric::Hamming
    }

    /// Reads a packed vector into `values`, whose old content goes; a bit is 0 or 1. Bytes behind the last whole
    /// element are left out.
    pub fn decode_into(self, bytes: &[u8], values: &mut Vec<f32>) {
        fn cells<const BYTES: usize>(bytes: &[u8], values: &mut Vec<f32>)
        where
            [u8; BYTES]: Cell,
        {
            values.extend(bytes.as_chunks::<BYTES>().0.iter().map(|cell| cell.value()));
        }
        values.clear();
        match self {
            Self::F32 => cells::<4>(bytes, values),
            Self::F16 => cells::<2>(bytes, values),
            Self::I8 => cells::<1>(bytes, values),
            Self::Bit => values.extend(
                bytes.iter().flat_map(|byte| (0..8).map(move |bit| f32::from((byte >> (7 - bit)) & 1))),
            ),
        }
    }

    /// As [`Element::decode_into`], in a vector of its own.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.dimensions(bytes.len()).unwrap_or_default());
        self.decode_into(bytes, &mut values);
        values
    }

    /// Packs numbers. Floats are rounded to the nearest of the type; nothing else changes its value.
    pub fn encode(self, values: impl IntoIterator<Item = f64>) -> Result<Vec<u8>, Unstorable> {
        let mut bytes = Vec::new();
        for (dimension, value) in values.into_iter().enumerate() {
            let fits = match self {
                Self::F32 => push(&mut bytes, to_f32(value).map(f32::to_le_bytes)),
                Self::F16 => push(&mut bytes, to_f16(value).map(u16::to_le_bytes)),
                Self::I8 => push(&mut bytes, to_i8(value).map(i8::to_le_bytes)),
                Self::Bit => push_bit(&mut bytes, dimension, value),
            };
            fits.ok_or(Unstorable { dimension, value, element: self })?;
        }
        Ok(bytes)
    }
}

fn push<const BYTES: usize>(bytes: &mut Vec<u8>, cell: Option<[u8; BYTES]>) -> Option<()> {
    bytes.extend(cell?);
    Some(())
}

fn push_bit(bytes: &mut Vec<u8>, dimension: usize, value: f64) -> Option<()> {
    let bit = to_i8(value).filter(|bit| matches!(bit, 0 | 1))?.unsigned_abs() << (7 - dimension % 8);
    match bytes.last_mut() {
        Some(last) if !dimension.is_multiple_of(8) => *last |= bit,
        _ => bytes.push(bit),
    }
    Some(())
}

#[allow(clippy::cast_possible_truncation, reason = "rounding is meant; what is too large is refused")]
fn to_f32(value: f64) -> Option<f32> {
    Some(value as f32).filter(|float| float.is_finite())
}

fn to_f16(value: f64) -> Option<u16> {
    Some(half::from_f64(value)).filter(|bits| bits & 0x7C00 != 0x7C00)
}

#[allow(clippy::cast_possible_truncation, clippy::float_cmp, reason = "what the cast changed is refused")]
fn to_i8(value: f64) -> Option<i8> {
    Some(value as i8).filter(|&int| f64::from(int) == value)
}

impl fmt::Display for Element {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The name is not one of [`Element::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownElement(pub String);

impl fmt::Display for UnknownElement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "unknown element type {:?}; expected one of f32, f16, i8, bit",
            crate::text::shorten(&self.0)
        )
    }
}

impl std::error::Error for UnknownElement {}

impl FromStr for Element {
    type Err = UnknownElement;

    fn from_str(name: &str) -> Result<Self, UnknownElement> {
        Self::ALL
            .into_iter()
            .find(|element| element.name() == name)
            .ok_or_else(|| UnknownElement(name.to_owned()))
    }
}

/// A number that an element type cannot hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unstorable {
    pub dimension: usize,
    pub value: f64,
    pub element: Element,
}

impl fmt::Display for Unstorable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = match self.element {
            _ if !self.value.is_finite() && self.element != Element::Bit => "finite numbers",
            Element::F32 => "numbers that float32 can hold",
            Element::F16 => "numbers that float16 can hold, -65504 to 65504",
            Element::I8 => "integers from -128 to 127",
            Element::Bit => "0 or 1",
        };
        write!(formatter, "dimension {} is {:?}; expected {expected}", self.dimension, self.value)
    }
}

impl std::error::Error for Unstorable {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_round_trip() {
        for element in Element::ALL {
            assert_eq!(element.name().parse(), Ok(element));
        }
        let error = "f8".parse::<Element>().unwrap_err();
        assert_eq!(error.to_string(), r#"unknown element type "f8"; expected one of f32, f16, i8, bit"#);
    }

    #[test]
    fn known_bytes() {
        let packed = |element: Element, values: &[f64]| element.encode(values.iter().copied()).unwrap();
        assert_eq!(packed(Element::F32, &[1.0, -2.0]), [0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0]);
        assert_eq!(packed(Element::F16, &[1.0, -2.0]), [0, 0x3C, 0, 0xC0]);
        assert_eq!(packed(Element::I8, &[1.0, -2.0, 127.0, -128.0]), [1, 0xFE, 0x7F, 0x80]);
        assert_eq!(packed(Element::Bit, &[1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]), [0xA1, 0x80]);
    }

    proptest! {
        #[test]
        fn what_an_element_holds_comes_back(values in proptest::collection::vec(-128i8..=127, 0..70)) {
            let values: Vec<f32> = values.into_iter().map(f32::from).collect();
            for element in [Element::F32, Element::F16, Element::I8] {
                let packed = element.encode(values.iter().copied().map(f64::from)).unwrap();
                prop_assert_eq!(packed.len(), element.row_bytes(values.len()));
                prop_assert_eq!(element.dimensions(packed.len()), Some(values.len()));
                prop_assert_eq!(element.decode(&packed), values.clone());
            }
        }

        #[test]
        fn bits_come_back_before_zeros(bits in proptest::collection::vec(any::<bool>(), 0..70)) {
            let packed = Element::Bit.encode(bits.iter().map(|&bit| f64::from(u8::from(bit)))).unwrap();
            prop_assert_eq!(packed.len(), Element::Bit.row_bytes(bits.len()));
            let values = Element::Bit.decode(&packed);
            let expected = bits.iter().copied().chain(std::iter::repeat(false));
            prop_assert!(values.iter().zip(expected).all(|(&value, bit)| value == f32::from(u8::from(bit))));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (element, value, expected) in [
            (Element::F32, 1e39, "dimension 1 is 1e39; expected numbers that float32 can hold"),
            (
                Element::F16,
                -65520.0,
                "dimension 1 is -65520.0; expected numbers that float16 can hold, -65504 to 65504",
            ),
            (Element::F16, f64::NAN, "dimension 1 is NaN; expected finite numbers"),
            (Element::I8, 128.0, "dimension 1 is 128.0; expected integers from -128 to 127"),
            (Element::I8, 0.5, "dimension 1 is 0.5; expected integers from -128 to 127"),
            (Element::I8, f64::INFINITY, "dimension 1 is inf; expected finite numbers"),
            (Element::Bit, -1.0, "dimension 1 is -1.0; expected 0 or 1"),
            (Element::Bit, 2.0, "dimension 1 is 2.0; expected 0 or 1"),
            (Element::Bit, f64::NAN, "dimension 1 is NaN; expected 0 or 1"),
        ] {
            assert_eq!(element.encode([0.0, value]).unwrap_err().to_string(), expected);
        }
    }
}
