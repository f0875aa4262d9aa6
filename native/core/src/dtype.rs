//! The grammar of dtype strings.
//!
//! ```text
//! dtype    = scalar | format | "bytes" [":" N] | "str" [":" N] [":" encoding] | "vec:" scalar (":" dim)*
//! format   = msgpack cbor json
//! scalar   = i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 bool
//! encoding = utf8 utf16le utf16be latin1 ascii
//! ```

use std::fmt;
use std::str::FromStr;

use crate::text::{Encoding, shorten};

/// The largest fixed-size element. `SQLite` cannot store a value above 10^9 bytes by default, so nothing
/// larger could be written; the bound keeps a hostile dtype string from asking for all memory.
pub const MAX_ITEM_SIZE: usize = 1 << 30;

/// The most dimensions a vector may have: what every supported `NumPy` can hold.
pub const MAX_DIMENSIONS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Bool,
}

impl Scalar {
    pub const ALL: [Self; 11] = [
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::F32,
        Self::F64,
        Self::Bool,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bool => "bool",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.name() == name)
    }

    /// Bytes of one value.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Smallest and greatest value of an integer type.
    #[must_use]
    pub fn integer_range(self) -> Option<(i128, i128)> {
        Some(match self {
            Self::I8 => (i8::MIN.into(), i8::MAX.into()),
            Self::I16 => (i16::MIN.into(), i16::MAX.into()),
            Self::I32 => (i32::MIN.into(), i32::MAX.into()),
            Self::I64 => (i64::MIN.into(), i64::MAX.into()),
            Self::U8 => (0, u8::MAX.into()),
            Self::U16 => (0, u16::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            Self::U64 => (0, u64::MAX.into()),
            Self::F32 | Self::F64 | Self::Bool => return None,
        })
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A serialisation format for values of many types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    MsgPack,
    Cbor,
    Json,
}

impl Format {
    pub const ALL: [Self; 3] = [Self::MsgPack, Self::Cbor, Self::Json];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MsgPack => "msgpack",
            Self::Cbor => "cbor",
            Self::Json => "json",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// A parsed dtype. `Display` gives its canonical string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    Scalar(Scalar),
    /// With a size: padded with NUL to it, padding kept on read.
    Bytes(Option<usize>),
    /// With a size in bytes: padded with NUL to it, padding stripped on read.
    Str(Encoding, Option<usize>),
    /// A vector of one fixed shape: bare data in C order.
    FixedVector(Scalar, Box<[usize]>),
    /// Vectors of any shape, each with its own header (see [`crate::vector`]).
    AnyVector(Scalar),
    /// Values of many types, each serialised by itself.
    Value(Format),
}

impl Dtype {
    /// Bytes of an element, where all elements have the same size.
    #[must_use]
    pub fn item_size(&self) -> Option<usize> {
        match self {
            Self::Scalar(scalar) => Some(scalar.size()),
            Self::Bytes(size) | Self::Str(_, size) => *size,
            // The parser has bounded the product.
            Self::FixedVector(scalar, shape) => Some(shape.iter().product::<usize>() * scalar.size()),
            Self::AnyVector(_) | Self::Value(_) => None,
        }
    }

    /// `"i64"`, `"f32"` (for vectors too), `"bytes"`, `"str"` or the name of the format.
    #[must_use]
    pub fn element(&self) -> &'static str {
        match self {
            Self::Scalar(scalar) | Self::FixedVector(scalar, _) | Self::AnyVector(scalar) => scalar.name(),
            Self::Bytes(_) => "bytes",
            Self::Str(..) => "str",
            Self::Value(format) => format.name(),
        }
    }

    #[must_use]
    pub fn is_vector(&self) -> bool {
        matches!(self, Self::FixedVector(..) | Self::AnyVector(_))
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => write!(formatter, "{scalar}"),
            Self::Bytes(None) => write!(formatter, "bytes"),
            Self::Bytes(Some(size)) => write!(formatter, "bytes:{size}"),
            Self::Str(encoding, None) => write!(formatter, "str:{}", encoding.name()),
            Self::Str(encoding, Some(size)) => write!(formatter, "str:{size}:{}", encoding.name()),
            Self::AnyVector(scalar) => write!(formatter, "vec:{scalar}"),
            Self::Value(format) => formatter.write_str(format.name()),
            Self::FixedVector(scalar, shape) => {
                write!(formatter, "vec:{scalar}")?;
                shape.iter().try_for_each(|dimension| write!(formatter, ":{dimension}"))
            }
        }
    }
}

/// What is wrong with a dtype string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtypeError(String);

impl fmt::Display for DtypeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for DtypeError {}

const SCALARS: &str = "i8, i16, i32, i64, u8, u16, u32, u64, f32, f64, bool";
const ENCODINGS: &str = "utf8, utf16le, utf16be, latin1, ascii";

impl FromStr for Dtype {
    type Err = DtypeError;

    fn from_str(given: &str) -> Result<Self, DtypeError> {
        let wrong = |problem: String| DtypeError(format!("dtype {:?}: {problem}", shorten(given)));
        let mut parts = given.split(':');
        let head = parts.next().unwrap_or_default();
        let parameters: Vec<&str> = parts.collect();
        let plain =
            Scalar::from_name(head).map(Self::Scalar).or_else(|| Format::from_name(head).map(Self::Value));
        if let Some(dtype) = plain {
            return if parameters.is_empty() {
                Ok(dtype)
            } else {
                Err(wrong(format!("{head} takes no parameters")))
            };
        }
        match (head, parameters.as_slice()) {
            ("bytes", []) => Ok(Self::Bytes(None)),
            ("bytes", [size]) => Ok(Self::Bytes(Some(parse_size(size).map_err(wrong)?))),
            ("bytes", _) => Err(wrong("expected bytes or bytes:N".to_owned())),
            ("str", parameters) => parse_text(parameters).map_err(wrong),
            ("vec", [element, dimensions @ ..]) => parse_vector(element, dimensions).map_err(wrong),
            _ => Err(DtypeError(format!(
                "Unknown dtype: {:?}; expected one of {SCALARS}, bytes, bytes:N, str:<encoding>, \
                 str:N:<encoding>, vec:<scalar>, vec:<scalar>:<dimensions…>, msgpack, cbor, json",
                shorten(given)
            ))),
        }
    }
}

fn parse_text(parameters: &[&str]) -> Result<Dtype, String> {
    let encoding = |name: &str| {
        Encoding::from_name(name)
            .ok_or_else(|| format!("unknown encoding {:?}; expected one of {ENCODINGS}", shorten(name)))
    };
    let (size, encoding) = match parameters {
        [] => (None, Encoding::Utf8),
        [size] if size.starts_with(|first: char| first.is_ascii_digit()) => {
            (Some(parse_size(size)?), Encoding::Utf8)
        }
        [name] => (None, encoding(name)?),
        [size, name] => (Some(parse_size(size)?), encoding(name)?),
        _ => return Err("expected str:<encoding> or str:N:<encoding>".to_owned()),
    };
    match size {
        Some(size) if !size.is_multiple_of(encoding.unit()) => {
            Err(format!("{} needs an even number of bytes; {size} was given", encoding.name()))
        }
        _ => Ok(Dtype::Str(encoding, size)),
    }
}

fn parse_vector(element: &str, dimensions: &[&str]) -> Result<Dtype, String> {
    let scalar = Scalar::from_name(element)
        .ok_or_else(|| format!("unknown vector element {:?}; expected one of {SCALARS}", shorten(element)))?;
    if dimensions.is_empty() {
        return Ok(Dtype::AnyVector(scalar));
    }
    if dimensions.len() > MAX_DIMENSIONS {
        return Err(format!("{} dimensions; expected at most {MAX_DIMENSIONS}", dimensions.len()));
    }
    let shape = dimensions.iter().map(|text| parse_size(text)).collect::<Result<Box<[usize]>, _>>()?;
    shape
        .iter()
        .try_fold(scalar.size(), |bytes, &dimension| bytes.checked_mul(dimension))
        .filter(|&bytes| bytes <= MAX_ITEM_SIZE)
        .ok_or_else(|| format!("one element would exceed {MAX_ITEM_SIZE} bytes"))?;
    Ok(Dtype::FixedVector(scalar, shape))
}

/// A size or dimension: decimal digits only, so that no two spellings mean the same dtype.
fn parse_size(text: &str) -> Result<usize, String> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse::<usize>() {
        Ok(size) if canonical && (1..=MAX_ITEM_SIZE).contains(&size) => Ok(size),
        _ => Err(format!(
            "{:?} is not a size; expected a whole number from 1 to {MAX_ITEM_SIZE}",
            shorten(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Dtype, String> {
        text.parse().map_err(|error: DtypeError| error.to_string())
    }

    #[test]
    fn canonical_forms() {
        for (given, canonical, size) in [
            ("i64", "i64", Some(8)),
            ("bool", "bool", Some(1)),
            ("bytes", "bytes", None),
            ("bytes:16", "bytes:16", Some(16)),
            ("str", "str:utf8", None),
            ("str:latin1", "str:latin1", None),
            ("str:32", "str:32:utf8", Some(32)),
            ("str:32:utf16le", "str:32:utf16le", Some(32)),
            ("vec:f32:384", "vec:f32:384", Some(1536)),
            ("vec:u8:2:3:4", "vec:u8:2:3:4", Some(24)),
            ("vec:i16", "vec:i16", None),
            ("msgpack", "msgpack", None),
            ("cbor", "cbor", None),
            ("json", "json", None),
        ] {
            let dtype = parse(given).unwrap();
            assert_eq!(dtype.to_string(), canonical);
            assert_eq!(dtype.item_size(), size, "{given}");
            assert_eq!(parse(canonical).unwrap(), dtype);
        }
    }

    #[test]
    fn errors_say_what_was_expected() {
        for (given, expected) in [
            ("i63", r#"Unknown dtype: "i63"; expected one of i8"#),
            ("", "Unknown dtype"),
            ("vec", "Unknown dtype"),
            ("i64:3", "takes no parameters"),
            ("msgpack:10", "takes no parameters"),
            ("bytes:0", "not a size"),
            ("bytes:+1", "not a size"),
            ("bytes:01", "not a size"),
            ("bytes:99999999999999999999", "not a size"),
            ("bytes:1:2", "expected bytes or bytes:N"),
            ("str:utf7", "unknown encoding"),
            ("str:3:utf16le", "even number"),
            ("str:1:utf8:2", "expected str"),
            ("vec:str", "unknown vector element"),
            ("vec:f32:0", "not a size"),
            ("vec:f64:65536:65536", "exceed"),
        ] {
            let error = parse(given).unwrap_err();
            assert!(error.contains(expected), "{given}: {error}");
        }
        assert!(parse(&format!("vec:u8{}", ":1".repeat(33))).unwrap_err().contains("at most 32"));
    }

    proptest! {
        #[test]
        fn parsing_anything_is_harmless(text in "(vec|str|bytes|i8|json)?(:[a-z0-9]{0,12}){0,6}|.*") {
            if let Ok(dtype) = parse(&text) {
                prop_assert_eq!(parse(&dtype.to_string()).unwrap(), dtype);
            }
        }
    }
}
