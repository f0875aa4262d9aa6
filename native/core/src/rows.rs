//! Keys, or keys and values, in one compact buffer: how many rows travel in one argument of an SQL statement.
//!
//! A buffer lives as long as the statement that takes it and never reaches the database. Yet anybody may write
//! an SQL statement, so the reader trusts nothing in it.
//!
//! ```text
//! buffer := 01 key*                            keys only
//!         | 02 (key value)*
//! key    := 01 i64                             integer
//!         | 02 length text                     UTF-8
//!         | 03 length bytes
//! value  := length bytes
//! ```
//!
//! `i64` and `length` (u32) are little-endian.

use std::fmt;
use std::ops::Range;

const KEYS: u8 = 1;
const PAIRS: u8 = 2;

const INT: u8 = 1;
const TEXT: u8 = 2;
const BLOB: u8 = 3;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// A key or value of 4 GiB or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a key or value has at most 4294967295 bytes, not {}", self.0)
    }
}

impl std::error::Error for TooLong {}

/// Begins a buffer, of keys and values or of keys only.
pub fn begin(out: &mut Vec<u8>, values: bool) {
    out.push(if values { PAIRS } else { KEYS });
}

/// Appends a key.
#[inline]
pub fn write_key(out: &mut Vec<u8>, key: Key<'_>) -> Result<(), TooLong> {
    let (kind, bytes) = match key {
        Key::Int(number) => {
            out.push(INT);
            out.extend_from_slice(&number.to_le_bytes());
            return Ok(());
        }
        Key::Text(text) => (TEXT, text.as_bytes()),
        Key::Blob(bytes) => (BLOB, bytes),
    };
    let length = length(bytes.len())?;
    out.push(kind);
    out.extend_from_slice(&length);
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends the value that `write` appends.
#[inline]
pub fn write_value<E: From<TooLong>>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let written = length(out.len().saturating_sub(start + 4))?;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&written);
    }
    Ok(())
}

#[inline]
fn length(bytes: usize) -> Result<[u8; 4], TooLong> {
    u32::try_from(bytes).map(u32::to_le_bytes).map_err(|_| TooLong(bytes))
}

/// Where a buffer is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The offset of the row, or 0 for the head.
    pub at: usize,
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not a buffer of rows: byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Malformed {}

/// A key, or where its bytes stand in the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAt {
    Int(i64),
    /// Valid UTF-8.
    Text(Range<usize>),
    Blob(Range<usize>),
}

/// Where a row stands in the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: KeyAt,
    pub value: Option<Range<usize>>,
}

/// A buffer, read row by row.
#[derive(Debug)]
pub struct Rows<B> {
    buffer: B,
    at: usize,
    values: bool,
}

impl<B: AsRef<[u8]>> Rows<B> {
    pub fn new(buffer: B) -> Result<Self, Malformed> {
        match buffer.as_ref().first() {
            Some(&kind @ (KEYS | PAIRS)) => Ok(Self { buffer, at: 1, values: kind == PAIRS }),
            Some(_) => Err(Malformed { at: 0, what: "unknown kind of buffer" }),
            None => Err(Malformed { at: 0, what: "it is empty" }),
        }
    }

    /// Reads the next row; `None` behind the last one.
    #[inline]
    pub fn read(&mut self) -> Result<Option<Row>, Malformed> {
        let buffer = self.buffer.as_ref();
        if self.at >= buffer.len() {
            return Ok(None);
        }
        let mut input = Input { buffer, at: self.at };
        match row(&mut input, self.values) {
            Ok(row) => {
                self.at = input.at;
                Ok(Some(row))
            }
            Err(what) => Err(Malformed { at: self.at, what }),
        }
    }

    /// All bytes.
    pub fn buffer(&self) -> &[u8] {
        self.buffer.as_ref()
    }

    /// The bytes in a place that a row named.
    #[inline]
    pub fn bytes(&self, place: &Range<usize>) -> &[u8] {
        self.buffer.as_ref().get(place.clone()).unwrap_or_default()
    }
}

const TRUNCATED: &str = "it ends too early";

struct Input<'a> {
    buffer: &'a [u8],
    at: usize,
}

impl Input<'_> {
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let array = *self.buffer.get(self.at..).and_then(<[u8]>::first_chunk::<N>).ok_or(TRUNCATED)?;
        self.at += N;
        Ok(array)
    }

    /// The place of a length and as many bytes.
    #[inline]
    fn counted(&mut self) -> Result<Range<usize>, &'static str> {
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| TRUNCATED)?;
        if length > self.buffer.len() - self.at {
            return Err(TRUNCATED);
        }
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }
}

/// The key at the beginning of some bytes, as `write_key` writes it.
#[must_use]
pub fn read_key(bytes: &[u8]) -> Option<Key<'_>> {
    Some(match key(&mut Input { buffer: bytes, at: 0 }).ok()? {
        KeyAt::Int(number) => Key::Int(number),
        KeyAt::Text(place) => Key::Text(str::from_utf8(bytes.get(place)?).ok()?),
        KeyAt::Blob(place) => Key::Blob(bytes.get(place)?),
    })
}

#[inline]
fn key(input: &mut Input<'_>) -> Result<KeyAt, &'static str> {
    let [kind] = input.array()?;
    Ok(match kind {
        INT => KeyAt::Int(i64::from_le_bytes(input.array()?)),
        TEXT => {
            let place = input.counted()?;
            match input.buffer.get(place.clone()).map(str::from_utf8) {
                Some(Ok(_)) => KeyAt::Text(place),
                _ => return Err("a text that is not UTF-8"),
            }
        }
        BLOB => KeyAt::Blob(input.counted()?),
        _ => return Err("unknown kind of key"),
    })
}

#[inline]
fn row(input: &mut Input<'_>, values: bool) -> Result<Row, &'static str> {
    let key = key(input)?;
    let value = if values { Some(input.counted()?) } else { None };
    Ok(Row { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const KEYS_OF_EACH_KIND: [Key<'static>; 8] = [
        Key::Int(0),
        Key::Int(i64::MIN),
        Key::Int(i64::MAX),
        Key::Text(""),
        Key::Text("naïve \0 ☃"),
        Key::Blob(b""),
        Key::Blob(b"\xff\0"),
        Key::Text("key"),
    ];

    fn written(rows: &[(Key<'_>, Option<&[u8]>)], values: bool) -> Vec<u8> {
        let mut out = Vec::new();
        begin(&mut out, values);
        for (key, value) in rows {
            write_key(&mut out, *key).unwrap();
            if let Some(value) = value {
                write_value(&mut out, |out| {
                    out.extend_from_slice(value);
                    Ok::<_, TooLong>(())
                })
                .unwrap();
            }
        }
        out
    }

    /// The rows as they were written, and the offsets where one ends.
    #[allow(clippy::type_complexity)]
    fn all(buffer: &[u8]) -> Result<(Vec<(Key<'_>, Option<&[u8]>)>, Vec<usize>), Malformed> {
        let mut reader = Rows::new(buffer)?;
        let (mut rows, mut ends) = (Vec::new(), vec![reader.at]);
        while let Some(row) = reader.read()? {
            let key = match row.key {
                KeyAt::Int(number) => Key::Int(number),
                KeyAt::Text(place) => Key::Text(str::from_utf8(&buffer[place]).unwrap()),
                KeyAt::Blob(place) => Key::Blob(&buffer[place]),
            };
            rows.push((key, row.value.map(|place| &buffer[place])));
            ends.push(reader.at);
        }
        Ok((rows, ends))
    }

    #[test]
    fn rows_come_back_as_they_were_written() {
        let keys: Vec<_> = KEYS_OF_EACH_KIND.iter().map(|key| (*key, None)).collect();
        assert_eq!(all(&written(&keys, false)).unwrap().0, keys);
        let pairs: Vec<_> = KEYS_OF_EACH_KIND
            .iter()
            .zip([&b"\0value"[..], b""].iter().cycle())
            .map(|(k, v)| (*k, Some(*v)))
            .collect();
        assert_eq!(all(&written(&pairs, true)).unwrap().0, pairs);
        for values in [false, true] {
            assert_eq!(all(&written(&[], values)).unwrap().0, []);
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let pairs: [(Key<'_>, Option<&[u8]>); 3] =
            [(Key::Int(-2), Some(b"v")), (Key::Text("ab"), Some(b"")), (Key::Blob(b"\xff"), Some(b"\0\0"))];
        let expected = [
            &b"\x02"[..],
            b"\x01\xfe\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0v",
            b"\x02\x02\0\0\0ab\0\0\0\0",
            b"\x03\x01\0\0\0\xff\x02\0\0\0\0\0",
        ];
        assert_eq!(written(&pairs, true), expected.concat());
    }

    #[test]
    fn a_truncated_buffer_has_only_its_whole_rows() {
        for values in [false, true] {
            let rows: Vec<_> =
                KEYS_OF_EACH_KIND.iter().map(|key| (*key, values.then_some(&b"value"[..]))).collect();
            let buffer = written(&rows, values);
            let (_, ends) = all(&buffer).unwrap();
            for length in 0..buffer.len() {
                let (count, result) = (ends.iter().position(|end| *end == length), all(&buffer[..length]));
                match (count, result) {
                    (Some(count), Ok((read, _))) => assert_eq!(read, rows[..count]),
                    (None, Err(error)) => {
                        let row = ends.iter().rev().find(|end| **end < length).copied().unwrap_or(0);
                        assert_eq!(error.at, row);
                    }
                    (count, result) => panic!("{length} bytes: {count:?} {result:?}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_buffer_is_said_to_be_none() {
        for (buffer, at, what) in [
            (&b""[..], 0, "it is empty"),
            (b"\0", 0, "unknown kind of buffer"),
            (b"\x03", 0, "unknown kind of buffer"),
            (b"\x01\0", 1, "unknown kind of key"),
            (b"\x01\x04", 1, "unknown kind of key"),
            (b"\x01\x02\xff\xff\xff\xffab", 1, TRUNCATED),
            (b"\x01\x03\x01\0\0\0", 1, TRUNCATED),
            (b"\x01\x02\x01\0\0\0\xff", 1, "a text that is not UTF-8"),
            (b"\x01\x02\x03\0\0\0\xed\xa0\x80", 1, "a text that is not UTF-8"),
            (b"\x02\x03\0\0\0\0\xff\xff\xff\xff", 1, TRUNCATED),
            (b"\x02\x03\0\0\0\0\0\0\0\0\x09", 10, "unknown kind of key"),
        ] {
            let error = all(buffer).unwrap_err();
            assert_eq!((error.at, error.what), (at, what), "{buffer:?}");
        }
    }

    #[test]
    fn a_key_is_read_by_itself() {
        for key in KEYS_OF_EACH_KIND {
            let mut out = Vec::new();
            write_key(&mut out, key).unwrap();
            assert_eq!(read_key(&out), Some(key));
            assert_eq!(read_key(&out[..out.len() - 1]), None);
        }
    }

    #[test]
    fn a_value_that_fails_half_way_is_an_error() {
        let mut out = Vec::new();
        let failed = write_value(&mut out, |out| {
            out.push(1);
            Err(TooLong(1))
        });
        assert_eq!(failed, Err(TooLong(1)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_rows_or_an_error(mut bytes in vec(any::<u8>(), 0..64), kind in 1_u8..3) {
            let _ = all(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok((rows, _)) = all(&bytes) {
                // Nothing in a valid buffer is passed over.
                prop_assert_eq!(written(&rows, kind == PAIRS), bytes.clone());
            }
        }
    }
}
