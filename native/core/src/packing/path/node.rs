//! What a walk over the encodings meets, whichever of them it is.

use std::borrow::Cow;

/// The value that stands next. What is in containers follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Meant to be UTF-8; not checked.
    Text(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
    /// A list or tuple.
    List(Items),
    /// A set or frozenset, whose items have no positions.
    Set(Items),
    Map(Items),
    /// Any other type: which one, and its bytes.
    Other(u16, &'a [u8]),
}

/// Items that are still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    /// Items, or pairs of a map.
    Count(usize),
    /// Until something says that it was the last.
    Until { end: u8, is_first: bool },
}

impl Node<'_> {
    /// The text, if this is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// The number, if this is an int of 64 bits.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Self::Int(number) => number.try_into().ok(),
            _ => None,
        }
    }

    /// The number, if this is a float other than NaN, or an int of 64 bits.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "the nearest float is meant")]
    pub fn real(&self) -> Option<f64> {
        match *self {
            Self::Float(number) => (!number.is_nan()).then_some(number),
            _ => self.integer().map(|number| number as f64),
        }
    }

    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// What is to come of a container.
    pub(super) fn items(&self) -> Option<(Items, bool)> {
        match *self {
            Self::List(items) | Self::Set(items) => Some((items, false)),
            Self::Map(items) => Some((items, true)),
            _ => None,
        }
    }
}

/// A place in encoded bytes. `None` stands for bytes that are not what they should be; after it the place is
/// undefined. No method recurses or takes more memory than the bytes have.
pub(super) trait Cursor<'a>: Copy {
    /// Reads the value that stands next, or the head of a container.
    fn node(&mut self) -> Option<Node<'a>>;

    /// Whether another item, or pair, follows; it stands next then. Otherwise the end of the container is behind.
    fn more(&mut self, items: &mut Items) -> Option<bool> {
        match items {
            Items::Count(left) => {
                let follows = *left > 0;
                *left = left.saturating_sub(1);
                Some(follows)
            }
            Items::Until { .. } => None,
        }
    }

    /// Goes from behind a key to its value.
    fn to_value(&mut self) -> Option<()> {
        Some(())
    }

    /// Goes behind the value that stands next.
    fn skip(&mut self) -> Option<()>;

    /// How many bytes have not been read.
    fn remaining(&self) -> usize;

    /// The bytes that have not been read.
    fn rest(&self) -> &'a [u8];

    /// The bytes of the value that stands next; goes behind it.
    fn raw(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        self.skip()?;
        rest.get(..rest.len().checked_sub(self.remaining())?)
    }
}

/// Two's complement, little-endian, if it fits.
pub(super) fn int_of(payload: &[u8]) -> Option<i128> {
    let negative = payload.last()? & 0x80 != 0;
    let mut bytes = [if negative { 0xFF } else { 0 }; 16];
    bytes.get_mut(..payload.len())?.copy_from_slice(payload);
    Some(i128::from_le_bytes(bytes))
}
