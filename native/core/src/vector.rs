//! An element of `vec:<scalar>`: a vector that carries its shape.
//!
//! ```text
//! type u8 | ndim u8 | dimension u32 × ndim | data, C order        (all little-endian)
//! ```

use std::fmt;

use crate::dtype::{MAX_DIMENSIONS, MAX_ITEM_SIZE, Scalar};

/// The byte that names a scalar in stored vectors. Never renumber: files depend on it.
#[must_use]
pub fn type_code(scalar: Scalar) -> u8 {
    match scalar {
        Scalar::F32 => 0x01,
        Scalar::F64 => 0x02,
        Scalar::I32 => 0x03,
        Scalar::I64 => 0x04,
        Scalar::U8 => 0x05,
        Scalar::U16 => 0x06,
        Scalar::U32 => 0x07,
        Scalar::U64 => 0x08,
        Scalar::I8 => 0x09,
        Scalar::I16 => 0x0A,
        Scalar::Bool => 0x0B,
    }
}

/// Why a shape cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeError {
    TooManyDimensions(usize),
    TooLarge,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyDimensions(given) => {
                write!(formatter, "{given} dimensions; expected at most {MAX_DIMENSIONS}")
            }
            Self::TooLarge => write!(formatter, "the vector would exceed {MAX_ITEM_SIZE} bytes"),
        }
    }
}

impl std::error::Error for ShapeError {}

/// Bytes of data of a vector, if it is small enough to be stored.
pub fn data_size(scalar: Scalar, shape: &[usize]) -> Result<usize, ShapeError> {
    if shape.len() > MAX_DIMENSIONS {
        return Err(ShapeError::TooManyDimensions(shape.len()));
    }
    if shape.contains(&0) {
        // The other dimensions are stored too, so each has to fit by itself.
        return if shape.iter().all(|&dimension| dimension <= MAX_ITEM_SIZE) {
            Ok(0)
        } else {
            Err(ShapeError::TooLarge)
        };
    }
    shape
        .iter()
        .try_fold(scalar.size(), |bytes, &dimension| bytes.checked_mul(dimension))
        .filter(|&bytes| bytes <= MAX_ITEM_SIZE)
        .ok_or(ShapeError::TooLarge)
}

/// The bytes before the data. Call [`data_size`] first: it bounds what is truncated here.
#[must_use]
pub fn header(scalar: Scalar, shape: &[usize]) -> Vec<u8> {
    let mut header = Vec::with_capacity(2 + shape.len() * 4);
    header.push(type_code(scalar));
    header.push(u8::try_from(shape.len()).unwrap_or(u8::MAX));
    for &dimension in shape {
        header.extend(u32::try_from(dimension).unwrap_or(u32::MAX).to_le_bytes());
    }
    header
}

/// A stored vector, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector<'a> {
    pub shape: Vec<usize>,
    pub data: &'a [u8],
}

/// Takes an element of `vec:<scalar>` apart; `Err` says what is wrong with it.
pub fn parse(scalar: Scalar, element: &[u8]) -> Result<Vector<'_>, String> {
    match parse_first(scalar, element)? {
        (vector, []) => Ok(vector),
        (vector, rest) => {
            let (shape, expected) = (vector.shape, vector.data.len());
            let bytes = expected + rest.len();
            Err(format!("vector {shape:?} of {scalar} has {bytes} bytes; expected {expected}"))
        }
    }
}

/// As [`parse`], of the element that the bytes begin with; also the bytes behind it.
pub fn parse_first(scalar: Scalar, element: &[u8]) -> Result<(Vector<'_>, &[u8]), String> {
    let [code, ndim, rest @ ..] = element else {
        return Err(format!("a vector of {} bytes has no header", element.len()));
    };
    if *code != type_code(scalar) {
        return Err(format!("vector type {code:#04x}; expected {:#04x} ({scalar})", type_code(scalar)));
    }
    let Some((dimensions, data)) = rest.split_at_checked(usize::from(*ndim) * 4) else {
        return Err(format!("a vector of {ndim} dimensions ends inside its header"));
    };
    let (dimensions, _) = dimensions.as_chunks::<4>();
    let shape = dimensions
        .iter()
        .map(|&bytes| usize::try_from(u32::from_le_bytes(bytes)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let expected = data_size(scalar, &shape).map_err(|error| error.to_string())?;
    let Some((data, rest)) = data.split_at_checked(expected) else {
        return Err(format!("vector {shape:?} of {scalar} has {} bytes; expected {expected}", data.len()));
    };
    if scalar == Scalar::Bool {
        check_bools(data)?;
    }
    Ok((Vector { shape, data }, rest))
}

/// A bool is one byte, 0 or 1.
pub fn check_bools(data: &[u8]) -> Result<(), String> {
    match data.iter().find(|&&byte| byte > 1) {
        Some(byte) => Err(format!("bool byte {byte:#04x}; expected 0x00 or 0x01")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn round_trips() {
        for shape in [vec![], vec![3], vec![2, 0, 5], vec![2, 3]] {
            let size = data_size(Scalar::I16, &shape).unwrap();
            let mut element = header(Scalar::I16, &shape);
            element.resize(element.len() + size, 7);
            let vector = parse(Scalar::I16, &element).unwrap();
            assert_eq!((vector.shape, vector.data.len()), (shape, size));
            assert!(parse(Scalar::F32, &element).unwrap_err().contains("expected 0x01 (f32)"));
            for length in 0..element.len() {
                assert!(parse(Scalar::I16, &element[..length]).is_err());
            }
            element.push(9);
            assert!(parse(Scalar::I16, &element).unwrap_err().contains("bytes; expected"));
            assert_eq!(parse_first(Scalar::I16, &element).unwrap().1, [9]);
        }
    }

    #[test]
    fn shapes_are_bounded() {
        assert_eq!(data_size(Scalar::U8, &[1; 33]), Err(ShapeError::TooManyDimensions(33)));
        assert_eq!(data_size(Scalar::F64, &[usize::MAX, 2]), Err(ShapeError::TooLarge));
        assert_eq!(data_size(Scalar::F64, &[usize::MAX, 0]), Err(ShapeError::TooLarge));
    }

    proptest! {
        #[test]
        fn parsing_anything_is_harmless(bytes: Vec<u8>, code in 0u8..13, ndim in 0u8..5) {
            let element = [vec![code, ndim], bytes].concat();
            for scalar in Scalar::ALL {
                let _ = parse(scalar, &element);
            }
        }
    }
}
