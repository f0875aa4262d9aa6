//! Packed values: one tag byte and its payload. `docs/format.md` specifies every number in here; they are part
//! of the file format and never change their meaning.
//!
//! Readers give one token at a time and never recurse, so that no input can exhaust the stack; they check every
//! declared length against the bytes that remain, so that none makes a caller allocate more than the input has.

pub mod cbor;
pub mod chunked;
pub mod json;
pub mod msgpack;
pub mod path;

use std::borrow::Cow;
use std::fmt;

/// Containers inside containers, when packing and when unpacking. Also what ends a container that contains
/// itself. Nothing recurses over it, so the limit is one of sanity: what reads values elsewhere (repr, json,
/// a debugger) does recurse, and Python's own limit is 1000 frames.
pub const MAX_DEPTH: usize = 512;

/// The first byte of a packed value.
pub mod tag {
    pub const BYTES: u8 = 0x00;
    pub const TEXT: u8 = 0x01;
    pub const NONE: u8 = 0x02;
    pub const FALSE: u8 = 0x03;
    pub const TRUE: u8 = 0x04;
    pub const INT: u8 = 0x05;
    pub const FLOAT: u8 = 0x06;
    pub const MSGPACK: u8 = 0x07;
    pub const CBOR: u8 = 0x08;
    pub const JSON: u8 = 0x09;
    pub const ARRAY: u8 = 0x0A;
    pub const PICKLE: u8 = 0x0B;
    pub const SCALAR: u8 = 0x0C;
    pub const CHUNKED: u8 = 0x0D;
}

/// `MessagePack` extension types: what `MessagePack` itself would lose.
pub mod extension {
    /// Marks: empty, as the first element of an array whose other elements are the container's.
    pub const TUPLE: i8 = 1;
    pub const SET: i8 = 5;
    pub const FROZENSET: i8 = 6;

    pub const INT: i8 = 2;
    pub const ARRAY: i8 = 3;
    pub const SCALAR: i8 = 4;
    pub const COMPLEX: i8 = 7;
    pub const DECIMAL: i8 = 8;
    pub const FRACTION: i8 = 9;
    pub const UUID: i8 = 10;
    pub const DATE: i8 = 11;
    pub const TIME: i8 = 12;
    pub const DATETIME: i8 = 13;
    pub const TIMEDELTA: i8 = 14;
    pub const ZONE: i8 = 15;
    pub const BYTEARRAY: i8 = 16;
    pub const MEMORYVIEW: i8 = 17;
    pub const PICKLE: i8 = 18;
    /// The `MessagePack` specification's own; read, never written.
    pub const TIMESTAMP: i8 = -1;
}

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub Cow<'static, str>);

impl Malformed {
    const TRUNCATED: Self = Self(Cow::Borrowed("it ends too early"));
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// A text, byte string or container that has more items than 32 bits can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MessagePack holds at most 4294967295 bytes or items in one place, not {}", self.0)
    }
}

impl std::error::Error for TooLong {}

/// The bytes that have not been read yet.
#[derive(Clone, Copy, Debug)]
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed::TRUNCATED)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (&array, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::TRUNCATED)?;
        self.rest = rest;
        Ok(array)
    }

    /// `count` items of at least `size` bytes each are to follow.
    #[inline]
    fn expect(&self, count: u64, size: usize) -> Result<usize, Malformed> {
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() / size => Ok(count),
            _ => Err(Malformed::TRUNCATED),
        }
    }
}
