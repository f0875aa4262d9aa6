//! The text encodings that a column may use.

use std::borrow::Cow;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
    Latin1,
    Ascii,
}

impl Encoding {
    pub const ALL: [Self; 5] = [Self::Utf8, Self::Utf16Le, Self::Utf16Be, Self::Latin1, Self::Ascii];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Utf16Le => "utf16le",
            Self::Utf16Be => "utf16be",
            Self::Latin1 => "latin1",
            Self::Ascii => "ascii",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    /// Bytes of the smallest unit; every encoded text is a multiple of it long.
    #[must_use]
    pub fn unit(self) -> usize {
        match self {
            Self::Utf16Le | Self::Utf16Be => 2,
            Self::Utf8 | Self::Latin1 | Self::Ascii => 1,
        }
    }

    /// # Errors
    /// [`Unencodable`] names the first character that Latin-1 or ASCII lacks.
    pub fn encode(self, text: &str) -> Result<Cow<'_, [u8]>, Unencodable> {
        let limit = match self {
            Self::Utf8 => return Ok(Cow::Borrowed(text.as_bytes())),
            Self::Utf16Le => {
                return Ok(Cow::Owned(text.encode_utf16().flat_map(u16::to_le_bytes).collect()));
            }
            Self::Utf16Be => {
                return Ok(Cow::Owned(text.encode_utf16().flat_map(u16::to_be_bytes).collect()));
            }
            Self::Latin1 | Self::Ascii if text.is_ascii() => return Ok(Cow::Borrowed(text.as_bytes())),
            Self::Latin1 => 0xFF,
            Self::Ascii => 0x7F,
        };
        text.chars()
            .map(|character| match u8::try_from(u32::from(character)) {
                Ok(byte) if byte <= limit => Ok(byte),
                _ => Err(Unencodable { character, encoding: self }),
            })
            .collect::<Result<Vec<u8>, _>>()
            .map(Cow::Owned)
    }

    /// # Errors
    /// [`Undecodable`] for bytes that [`Encoding::encode`] never yields.
    pub fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, Undecodable> {
        let undecodable = Undecodable { encoding: self };
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| undecodable),
            Self::Ascii | Self::Latin1 if bytes.is_ascii() => {
                std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| undecodable)
            }
            Self::Ascii => Err(undecodable),
            Self::Latin1 => Ok(Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect())),
            Self::Utf16Le => decode_utf16(bytes, u16::from_le_bytes).ok_or(undecodable).map(Cow::Owned),
            Self::Utf16Be => decode_utf16(bytes, u16::from_be_bytes).ok_or(undecodable).map(Cow::Owned),
        }
    }

    /// The text without the NUL characters that pad it on the right.
    #[must_use]
    pub fn strip_padding(self, bytes: &[u8]) -> &[u8] {
        let unit = self.unit();
        let mut rest = bytes;
        while let Some((head, tail)) = rest.split_last_chunk_of(unit)
            && tail.iter().all(|&byte| byte == 0)
        {
            rest = head;
        }
        rest
    }
}

trait SplitLast {
    fn split_last_chunk_of(&self, size: usize) -> Option<(&[u8], &[u8])>;
}

impl SplitLast for [u8] {
    fn split_last_chunk_of(&self, size: usize) -> Option<(&[u8], &[u8])> {
        self.split_at_checked(self.len().checked_sub(size)?)
    }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    char::decode_utf16(units.iter().map(|&bytes| unit(bytes))).collect::<Result<_, _>>().ok()
}

/// A character that the encoding has no bytes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unencodable {
    pub character: char,
    pub encoding: Encoding,
}

impl fmt::Display for Unencodable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.encoding {
            Encoding::Ascii => "non-ASCII character",
            Encoding::Latin1 => "character outside Latin1 range",
            Encoding::Utf8 | Encoding::Utf16Le | Encoding::Utf16Be => "character",
        };
        write!(formatter, "{what} {:?} cannot be encoded as {}", self.character, self.encoding.name())
    }
}

impl std::error::Error for Unencodable {}

/// Bytes that are not text in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable {
    pub encoding: Encoding,
}

impl fmt::Display for Undecodable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the bytes are not valid {}", self.encoding.name())
    }
}

impl std::error::Error for Undecodable {}

/// At most 60 characters of a text, for error messages.
#[must_use]
pub fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(text: String) {
            for encoding in Encoding::ALL {
                if let Ok(bytes) = encoding.encode(&text) {
                    prop_assert_eq!(encoding.decode(&bytes).unwrap(), text.as_str());
                }
            }
        }

        #[test]
        fn decoding_anything_is_harmless(bytes: Vec<u8>) {
            for encoding in Encoding::ALL {
                if let Ok(text) = encoding.decode(&bytes) {
                    let again = encoding.encode(&text).unwrap();
                    prop_assert_eq!(again.as_ref(), bytes.as_slice());
                }
                let stripped = encoding.strip_padding(&bytes);
                prop_assert!(bytes[stripped.len()..].iter().all(|&byte| byte == 0));
            }
        }
    }

    #[test]
    fn padding_is_stripped_by_whole_units() {
        assert_eq!(Encoding::Utf16Le.strip_padding(b"a\0\0\0\0\0"), b"a\0");
        assert_eq!(Encoding::Utf16Be.strip_padding(b"\0a\0\0"), b"\0a");
        assert_eq!(Encoding::Utf8.strip_padding(b"a\0b\0"), b"a\0b");
    }

    #[test]
    fn missing_characters_are_named() {
        assert_eq!(Encoding::Latin1.encode("aé").unwrap().as_ref(), b"a\xE9");
        assert_eq!(
            Encoding::Latin1.encode("a€").unwrap_err().to_string(),
            "character outside Latin1 range '€' cannot be encoded as latin1"
        );
        assert!(Encoding::Ascii.encode("é").is_err());
        assert!(Encoding::Ascii.decode(b"\xE9").is_err());
    }

    #[test]
    fn shortened_by_characters() {
        assert_eq!(shorten("abc"), "abc");
        assert_eq!(shorten(&"é".repeat(61)).chars().count(), 61);
    }
}
