//! CBOR, as RFC 8949 specifies it.

use std::borrow::Cow;

use super::{Input, Malformed};
use crate::half;

/// What stands next. Containers and tags are followed by their items.
#[derive(Clone, Debug, PartialEq)]
pub enum Token<'a> {
    Null,
    Bool(bool),
    UInt(u64),
    /// The number `-1 - n`.
    Negative(u64),
    Float(f64),
    /// Meant to be UTF-8; not checked.
    Text(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
    /// `None`: until [`Token::Break`].
    Array(Option<usize>),
    /// So many keys with their values.
    Map(Option<usize>),
    Tag(u64),
    Break,
}

/// Reads tokens.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    input: Input<'a>,
}

const TEXT: u8 = 3;
const INDEFINITE: u8 = 31;

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

    #[inline]
    pub fn next_token(&mut self) -> Result<Token<'a>, Malformed> {
        let input = &mut self.input;
        let first = input.byte()?;
        let (major, info) = (first >> 5, first & 0x1F);
        if major == 7 {
            return simple(input, info);
        }
        if info == INDEFINITE {
            return match major {
                2 => Ok(Token::Bytes(chunks(input, major)?.into())),
                TEXT => Ok(Token::Text(chunks(input, major)?.into())),
                4 => Ok(Token::Array(None)),
                5 => Ok(Token::Map(None)),
                _ => Err(unknown(first)),
            };
        }
        let number = argument(input, first)?;
        Ok(match major {
            0 => Token::UInt(number),
            1 => Token::Negative(number),
            2 => Token::Bytes(string(input, number)?.into()),
            TEXT => Token::Text(string(input, number)?.into()),
            4 => Token::Array(Some(input.expect(number, 1)?)),
            5 => Token::Map(Some(input.expect(number, 2)?)),
            _ => Token::Tag(number),
        })
    }
}

#[cold]
fn unknown(first: u8) -> Malformed {
    Malformed(format!("byte {first:02x} begins nothing").into())
}

#[inline]
fn argument(input: &mut Input<'_>, first: u8) -> Result<u64, Malformed> {
    Ok(match first & 0x1F {
        info @ 0..=23 => info.into(),
        24 => u8::from_be_bytes(input.array()?).into(),
        25 => u16::from_be_bytes(input.array()?).into(),
        26 => u32::from_be_bytes(input.array()?).into(),
        27 => u64::from_be_bytes(input.array()?),
        _ => return Err(unknown(first)),
    })
}

fn string<'a>(input: &mut Input<'a>, length: u64) -> Result<&'a [u8], Malformed> {
    let length = input.expect(length, 1)?;
    input.take(length)
}

/// The chunks of a string of indefinite length, joined.
fn chunks(input: &mut Input<'_>, major: u8) -> Result<Vec<u8>, Malformed> {
    let mut joined = Vec::new();
    loop {
        let first = input.byte()?;
        if first == 0xFF {
            return Ok(joined);
        }
        if first >> 5 != major {
            return Err(Malformed("a string of indefinite length has a chunk of another type".into()));
        }
        let length = argument(input, first)?;
        let chunk = string(input, length)?;
        if major == TEXT && std::str::from_utf8(chunk).is_err() {
            return Err(Malformed("a chunk of text is not valid UTF-8".into()));
        }
        joined.extend_from_slice(chunk);
    }
}

fn simple<'a>(input: &mut Input<'a>, info: u8) -> Result<Token<'a>, Malformed> {
    Ok(match info {
        20 => Token::Bool(false),
        21 => Token::Bool(true),
        22 => Token::Null,
        25 => Token::Float(half::to_f32(u16::from_be_bytes(input.array()?)).into()),
        26 => Token::Float(f32::from_be_bytes(input.array()?).into()),
        27 => Token::Float(f64::from_be_bytes(input.array()?)),
        31 => Token::Break,
        23 => return Err(Malformed("'undefined' has no Python value".into())),
        _ => return Err(Malformed("a simple value has no Python value".into())),
    })
}

/// Major types of what has a number in its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Major {
    UInt = 0,
    Negative = 1,
    Bytes = 2,
    Text = 3,
    Array = 4,
    Map = 5,
    Tag = 6,
}

/// In the shortest form.
#[inline]
pub fn write_head(out: &mut Vec<u8>, major: Major, number: u64) {
    let major = (major as u8) << 5;
    if let Ok(number) = u8::try_from(number) {
        if number < 24 {
            out.push(major | number);
        } else {
            out.extend_from_slice(&[major | 0x18, number]);
        }
    } else if let Ok(number) = u16::try_from(number) {
        out.push(major | 0x19);
        out.extend_from_slice(&number.to_be_bytes());
    } else if let Ok(number) = u32::try_from(number) {
        out.push(major | 0x1A);
        out.extend_from_slice(&number.to_be_bytes());
    } else {
        out.push(major | 0x1B);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

pub fn write_int(out: &mut Vec<u8>, number: i64) {
    match u64::try_from(number) {
        Ok(number) => write_head(out, Major::UInt, number),
        // -1 - n, without overflow: the bits turned over.
        Err(_) => write_head(out, Major::Negative, (!number).cast_unsigned()),
    }
}

pub fn write_null(out: &mut Vec<u8>) {
    out.push(0xF6);
}

pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(0xF4 + u8::from(value));
}

/// In 64 bits, except for NaN and the infinities, whose shortest form every writer prefers.
pub fn write_float(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        out.push(0xFB);
        out.extend_from_slice(&number.to_be_bytes());
    } else if number.is_nan() {
        out.extend_from_slice(&[0xF9, 0x7E, 0x00]);
    } else {
        out.extend_from_slice(&[0xF9, if number > 0.0 { 0x7C } else { 0xFC }, 0x00]);
    }
}

pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, Major::Text, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, Major::Bytes, bytes.len() as u64);
    out.extend_from_slice(bytes);
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

    fn int(token: &Token<'_>) -> i128 {
        match *token {
            Token::UInt(number) => number.into(),
            Token::Negative(number) => -1 - i128::from(number),
            _ => panic!("{token:?}"),
        }
    }

    proptest! {
        #[test]
        fn leaves_round_trip(number: i64, shift in 0..63_u32, float: f64, text: String, bytes: Vec<u8>, tag: u64) {
            for number in [number, number >> shift] {
                let mut out = Vec::new();
                write_int(&mut out, number);
                prop_assert_eq!(int(&only(&out)), i128::from(number));
            }
            let mut out = Vec::new();
            write_float(&mut out, float);
            let Token::Float(read) = only(&out) else { panic!() };
            prop_assert!(read.to_bits() == float.to_bits() || float.is_nan() && read.is_nan());
            let mut out = Vec::new();
            write_text(&mut out, &text);
            prop_assert_eq!(only(&out), Token::Text(text.as_bytes().into()));
            let mut out = Vec::new();
            write_bytes(&mut out, &bytes);
            prop_assert_eq!(only(&out), Token::Bytes(bytes.into()));
            let mut out = Vec::new();
            write_head(&mut out, Major::Tag, tag);
            prop_assert_eq!(only(&out), Token::Tag(tag));
        }

        #[test]
        fn reading_anything_is_harmless(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            let mut before = usize::MAX;
            while reader.remaining() > 0 {
                prop_assert!(reader.remaining() < before);
                before = reader.remaining();
                if reader.next_token().is_err() {
                    break;
                }
            }
        }
    }

    /// Appendix A of the RFC.
    #[test]
    fn examples_of_the_specification() {
        assert_eq!(only(b"\xF9\x3C\x00"), Token::Float(1.0));
        assert_eq!(only(b"\xF9\x00\x01"), Token::Float(5.960_464_477_539_063e-8));
        assert_eq!(only(b"\xFA\x47\xC3\x50\x00"), Token::Float(100_000.0));
        assert_eq!(only(b"\x5F\x42\x01\x02\x43\x03\x04\x05\xFF"), Token::Bytes(vec![1, 2, 3, 4, 5].into()));
        assert_eq!(only(b"\x7F\x65strea\x64ming\xFF"), Token::Text(b"streaming".to_vec().into()));
        assert_eq!(int(&only(b"\x3B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")), -18_446_744_073_709_551_616);
    }

    #[test]
    fn a_declared_length_is_checked_before_anything_is_allocated() {
        for bomb in [
            &b"\x9B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"[..],
            b"\xBB\x00\x00\x00\x00\xFF\xFF\xFF\xFF\x01",
            b"\x5A\xFF\xFF\xFF\xFF",
            b"\x5F\x5A\xFF\xFF\xFF\xFF",
            b"\x81",
        ] {
            assert_eq!(Reader::new(bomb).next_token(), Err(Malformed::TRUNCATED));
        }
    }

    #[test]
    fn what_begins_nothing_is_refused() {
        for bytes in [
            &b"\x1C"[..],
            b"\x1F",
            b"\xDF",
            b"\xF7",
            b"\xF8\x20",
            b"\xFC",
            b"\x5F\x61a\xFF",
            b"\x7F\x7F\xFF\xFF",
        ] {
            assert!(Reader::new(bytes).next_token().is_err(), "{bytes:02x?}");
        }
    }
}
