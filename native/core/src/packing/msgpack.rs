//! `MessagePack`, as <https://github.com/msgpack/msgpack/blob/master/spec.md> specifies it.

use super::{Input, Malformed, TooLong, extension};

/// What stands next. Containers are followed by their items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    UInt(u64),
    Float(f64),
    /// Meant to be UTF-8; not checked.
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Array(usize),
    /// So many keys with their values.
    Map(usize),
    Extension(i8, &'a [u8]),
}

/// Reads tokens.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    input: Input<'a>,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self { input: Input { rest: data } }
    }

    /// Bytes that have not been read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.input.rest.len()
    }

    /// The bytes that have not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.input.rest
    }

    /// Takes the mark of a tuple, set or frozenset if it stands next.
    #[inline]
    pub fn mark(&mut self) -> Option<i8> {
        let [0xC7, 0, kind, rest @ ..] = self.input.rest else { return None };
        let kind = kind.cast_signed();
        if !matches!(kind, extension::TUPLE | extension::SET | extension::FROZENSET) {
            return None;
        }
        self.input.rest = rest;
        Some(kind)
    }

    #[inline]
    pub fn next_token(&mut self) -> Result<Token<'a>, Malformed> {
        let input = &mut self.input;
        let first = input.byte()?;
        Ok(match first {
            0x00..=0x7F => Token::Int(first.into()),
            0x80..=0x8F => Token::Map(input.expect((first & 0x0F).into(), 2)?),
            0x90..=0x9F => Token::Array(input.expect((first & 0x0F).into(), 1)?),
            0xA0..=0xBF => Token::Text(input.take((first & 0x1F).into())?),
            0xC0 => Token::Nil,
            0xC1 => return Err(Malformed("byte c1 begins nothing".into())),
            0xC2 => Token::Bool(false),
            0xC3 => Token::Bool(true),
            0xC4..=0xC6 => Token::Bytes(sized(input, first - 0xC4)?),
            0xC7..=0xC9 => {
                let length = length(input, first - 0xC7)?;
                extension(input, length)?
            }
            0xCA => Token::Float(f32::from_be_bytes(input.array()?).into()),
            0xCB => Token::Float(f64::from_be_bytes(input.array()?)),
            0xCC => Token::Int(u8::from_be_bytes(input.array()?).into()),
            0xCD => Token::Int(u16::from_be_bytes(input.array()?).into()),
            0xCE => Token::Int(u32::from_be_bytes(input.array()?).into()),
            0xCF => {
                let number = u64::from_be_bytes(input.array()?);
                i64::try_from(number).map_or(Token::UInt(number), Token::Int)
            }
            0xD0 => Token::Int(i8::from_be_bytes(input.array()?).into()),
            0xD1 => Token::Int(i16::from_be_bytes(input.array()?).into()),
            0xD2 => Token::Int(i32::from_be_bytes(input.array()?).into()),
            0xD3 => Token::Int(i64::from_be_bytes(input.array()?)),
            0xD4..=0xD8 => extension(input, 1 << (first - 0xD4))?,
            0xD9..=0xDB => Token::Text(sized(input, first - 0xD9)?),
            0xDC | 0xDD => {
                let count = length(input, first - 0xDC + 1)?;
                Token::Array(input.expect(count, 1)?)
            }
            0xDE | 0xDF => {
                let count = length(input, first - 0xDE + 1)?;
                Token::Map(input.expect(count, 2)?)
            }
            0xE0..=0xFF => Token::Int(first.cast_signed().into()),
        })
    }
}

/// A length of 1, 2 or 4 bytes.
fn length(input: &mut Input<'_>, log: u8) -> Result<u64, Malformed> {
    Ok(match log {
        0 => u8::from_be_bytes(input.array()?).into(),
        1 => u16::from_be_bytes(input.array()?).into(),
        _ => u32::from_be_bytes(input.array()?).into(),
    })
}

fn sized<'a>(input: &mut Input<'a>, log: u8) -> Result<&'a [u8], Malformed> {
    let count = length(input, log)?;
    let count = input.expect(count, 1)?;
    input.take(count)
}

fn extension<'a>(input: &mut Input<'a>, length: u64) -> Result<Token<'a>, Malformed> {
    let kind = input.byte()?.cast_signed();
    let length = input.expect(length, 1)?;
    Ok(Token::Extension(kind, input.take(length)?))
}

/// In the shortest form.
#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the patterns say what fits")]
pub fn write_int(out: &mut Vec<u8>, number: i64) {
    match number {
        -32..=0x7F => out.push(number as u8),
        0x80..=0xFF => out.extend_from_slice(&[0xCC, number as u8]),
        0x100..=0xFFFF => head(out, 0xCD, (number as u16).to_be_bytes()),
        0x1_0000..=0xFFFF_FFFF => head(out, 0xCE, (number as u32).to_be_bytes()),
        0x1_0000_0000.. => head(out, 0xCF, number.to_be_bytes()),
        -0x80..=-33 => out.extend_from_slice(&[0xD0, number as u8]),
        -0x8000..=-0x81 => head(out, 0xD1, (number as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => head(out, 0xD2, (number as i32).to_be_bytes()),
        _ => head(out, 0xD3, number.to_be_bytes()),
    }
}

/// For numbers above `i64::MAX`.
pub fn write_uint(out: &mut Vec<u8>, number: u64) {
    head(out, 0xCF, number.to_be_bytes());
}

pub fn write_nil(out: &mut Vec<u8>) {
    out.push(0xC0);
}

pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(0xC2 + u8::from(value));
}

#[inline]
pub fn write_float(out: &mut Vec<u8>, number: f64) {
    head(out, 0xCB, number.to_be_bytes());
}

#[inline]
pub fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), TooLong> {
    match u8::try_from(text.len()) {
        Ok(length @ 0..=31) => out.push(0xA0 | length),
        Ok(length) => out.extend_from_slice(&[0xD9, length]),
        Err(_) => write_length(out, text.len(), 0xDA)?,
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooLong> {
    match u8::try_from(bytes.len()) {
        Ok(length) => out.extend_from_slice(&[0xC4, length]),
        Err(_) => write_length(out, bytes.len(), 0xC5)?,
    }
    out.extend_from_slice(bytes);
    Ok(())
}

#[inline]
pub fn write_array(out: &mut Vec<u8>, count: usize) -> Result<(), TooLong> {
    match u8::try_from(count) {
        Ok(count @ 0..=15) => out.push(0x90 | count),
        _ => write_length(out, count, 0xDC)?,
    }
    Ok(())
}

#[inline]
pub fn write_map(out: &mut Vec<u8>, count: usize) -> Result<(), TooLong> {
    match u8::try_from(count) {
        Ok(count @ 0..=15) => out.push(0x80 | count),
        _ => write_length(out, count, 0xDE)?,
    }
    Ok(())
}

/// The head of an extension; its data is for the caller to append.
pub fn write_extension(out: &mut Vec<u8>, kind: i8, length: usize) -> Result<(), TooLong> {
    match u8::try_from(length) {
        Ok(length @ (1 | 2 | 4 | 8 | 16)) => {
            #[allow(clippy::cast_possible_truncation, reason = "at most 4")]
            out.push(0xD4 + length.trailing_zeros() as u8);
        }
        Ok(length) => out.extend_from_slice(&[0xC7, length]),
        Err(_) => write_length(out, length, 0xC8)?,
    }
    out.push(kind.cast_unsigned());
    Ok(())
}

/// The mark that makes an array a tuple, set or frozenset.
pub fn write_mark(out: &mut Vec<u8>, kind: i8) {
    out.extend_from_slice(&[0xC7, 0, kind.cast_unsigned()]);
}

/// `first` is the byte before a length of 16 bits; the next one stands before 32 bits.
fn write_length(out: &mut Vec<u8>, length: usize, first: u8) -> Result<(), TooLong> {
    if let Ok(length) = u16::try_from(length) {
        head(out, first, length.to_be_bytes());
    } else {
        let length = u32::try_from(length).map_err(|_| TooLong(length))?;
        head(out, first + 1, length.to_be_bytes());
    }
    Ok(())
}

#[inline]
fn head<const N: usize>(out: &mut Vec<u8>, first: u8, rest: [u8; N]) {
    out.push(first);
    out.extend_from_slice(&rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(data: &[u8]) -> Token<'_> {
        let mut reader = Reader::new(data);
        let token = reader.next_token().unwrap();
        assert_eq!(reader.remaining(), 0);
        token
    }

    proptest! {
        #[test]
        fn leaves_round_trip(int: i64, shift in 0..63_u32, uint in (1_u64 << 63).., float: f64, text: String, bytes: Vec<u8>) {
            for number in [int, int >> shift] {
                let mut out = Vec::new();
                write_int(&mut out, number);
                prop_assert_eq!(only(&out), Token::Int(number));
            }
            let mut out = Vec::new();
            write_uint(&mut out, uint);
            prop_assert_eq!(only(&out), Token::UInt(uint));
            let mut out = Vec::new();
            write_float(&mut out, float);
            let Token::Float(read) = only(&out) else { panic!() };
            prop_assert_eq!(read.to_bits(), float.to_bits());
            let mut out = Vec::new();
            write_text(&mut out, &text).unwrap();
            prop_assert_eq!(only(&out), Token::Text(text.as_bytes()));
            let mut out = Vec::new();
            write_bytes(&mut out, &bytes).unwrap();
            prop_assert_eq!(only(&out), Token::Bytes(&bytes));
        }

        #[test]
        fn heads_round_trip(count in 0..100_000_usize, kind: i8) {
            let mut out = Vec::new();
            write_array(&mut out, count).unwrap();
            let head = out.len();
            out.resize(head + count, 0xC0);
            prop_assert_eq!(Reader::new(&out).next_token().unwrap(), Token::Array(count));
            out.truncate(head + count.saturating_sub(1));
            prop_assert_eq!(Reader::new(&out).next_token().is_ok(), count == 0);

            let mut out = Vec::new();
            write_map(&mut out, count).unwrap();
            out.resize(out.len() + 2 * count, 0xC0);
            prop_assert_eq!(Reader::new(&out).next_token().unwrap(), Token::Map(count));

            let mut out = Vec::new();
            write_extension(&mut out, kind, count).unwrap();
            let data = vec![7; count];
            out.extend_from_slice(&data);
            prop_assert_eq!(only(&out), Token::Extension(kind, &data));
        }

        #[test]
        fn reading_anything_is_harmless(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            let mut before = usize::MAX;
            while reader.remaining() > 0 {
                prop_assert!(reader.remaining() < before);
                before = reader.remaining();
                if reader.mark().is_none() && reader.next_token().is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn the_shortest_form_is_written() {
        for (number, length) in [
            (127, 1),
            (-32, 1),
            (128, 2),
            (-33, 2),
            (256, 3),
            (-129, 3),
            (65536, 5),
            (-32769, 5),
            (1 << 32, 9),
        ] {
            let mut out = Vec::new();
            write_int(&mut out, number);
            assert_eq!(out.len(), length, "{number}");
        }
    }

    #[test]
    fn a_declared_length_is_checked_before_anything_is_allocated() {
        for bomb in
            [&b"\xDD\xFF\xFF\xFF\xFF\x01"[..], b"\xDF\xFF\xFF\xFF\xFF\x01", b"\xC6\xFF\xFF\xFF\xFF", b"\x91"]
        {
            assert_eq!(Reader::new(bomb).next_token(), Err(Malformed::TRUNCATED));
        }
    }
}
