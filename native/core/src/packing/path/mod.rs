//! What stands at a path in a packed value, found without building the value.
//!
//! A path is a list of steps, written as a JSON array. A text is the key of a dict; a number is a position in a list or
//! tuple, from the end if negative, or in a dict that int as a key. Where a dict has a key twice, which only other
//! writers make, the first counts. What follows the value is not looked at.

mod contains;
mod in_cbor;
mod in_json;
mod in_msgpack;
mod node;
#[cfg(test)]
mod tests;

use std::fmt;

pub use contains::Part;
use in_cbor::Cbor;
use in_json::Json;
use in_msgpack::MsgPack;
pub use node::Node;
use node::{Cursor, Items, int_of};

use super::{MAX_DEPTH, cbor, extension, msgpack, tag};

/// Kinds of [`Node::Other`]: the extension types of `MessagePack`, tags of CBOR, what is special in JSON, and values that
/// have a tag of their own.
const OTHER_MSGPACK: u16 = 0x0100;
const OTHER_CBOR: u16 = 0x0200;
const OTHER_JSON: u16 = 0x0300;
const OTHER_TAG: u16 = 0x0400;

/// One step into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(Box<[u8]>),
    Number(i64),
}

/// Where in a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Step>);

/// A text that is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPath;

impl fmt::Display for NoPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected a path: a JSON array of at most {MAX_DEPTH} texts and ints of 64 bits, like [\"a\", 0]"
        )
    }
}

impl std::error::Error for NoPath {}

impl Path {
    /// The value itself.
    pub const ROOT: Self = Self(Vec::new());

    /// Reads a path.
    pub fn parse(text: &[u8]) -> Result<Self, NoPath> {
        Self::read(text).ok_or(NoPath)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let mut cursor = Json(text);
        let Node::List(mut items) = cursor.node()? else { return None };
        let mut steps = Vec::new();
        while cursor.more(&mut items)? {
            steps.push(match cursor.node()? {
                Node::Text(text) if str::from_utf8(&text).is_ok() => Step::Key(text.into()),
                Node::Int(number) => Step::Number(number.try_into().ok()?),
                _ => return None,
            });
            if steps.len() > MAX_DEPTH {
                return None;
            }
        }
        cursor.space();
        (cursor.remaining() == 0).then_some(Self(steps))
    }

    /// What a packed value has at this path; `None` if it has nothing there, or is no packed value.
    #[must_use]
    #[inline]
    pub fn find<'a>(&self, packed: &'a [u8]) -> Option<Node<'a>> {
        let (&first, payload) = packed.split_first()?;
        match first {
            tag::MSGPACK => locate(&mut MsgPack(msgpack::Reader::new(payload)), &self.0),
            tag::CBOR => locate(&mut Cbor(cbor::Reader::new(payload)), &self.0),
            tag::JSON => locate(&mut Json(payload), &self.0),
            _ if self.0.is_empty() => plain(first, payload),
            _ => None,
        }
    }
}

/// A value that is in no container.
fn plain(first: u8, payload: &[u8]) -> Option<Node<'_>> {
    Some(match first {
        tag::BYTES => Node::Bytes(payload.into()),
        tag::TEXT => Node::Text(payload.into()),
        tag::NONE if payload.is_empty() => Node::Null,
        tag::FALSE if payload.is_empty() => Node::Bool(false),
        tag::TRUE if payload.is_empty() => Node::Bool(true),
        tag::INT if !payload.is_empty() => {
            int_of(payload).map_or(Node::Other(other_extension(extension::INT), payload), Node::Int)
        }
        tag::FLOAT => Node::Float(f64::from_le_bytes(payload.try_into().ok()?)),
        // The same bytes as inside of MessagePack.
        tag::ARRAY => Node::Other(other_extension(extension::ARRAY), payload),
        tag::SCALAR => Node::Other(other_extension(extension::SCALAR), payload),
        tag::PICKLE => Node::Other(other_extension(extension::PICKLE), payload),
        tag::CHUNKED => Node::Other(OTHER_TAG | u16::from(first), payload),
        _ => return None,
    })
}

fn other_extension(kind: i8) -> u16 {
    OTHER_MSGPACK | u16::from(kind.cast_unsigned())
}

#[inline]
fn locate<'a, C: Cursor<'a>>(cursor: &mut C, steps: &[Step]) -> Option<Node<'a>> {
    let mut node = cursor.node()?;
    for step in steps {
        match node {
            Node::Map(items) => to_key(cursor, items, step)?,
            Node::List(items) => {
                let Step::Number(position) = *step else { return None };
                to_position(cursor, items, position)?;
            }
            _ => return None,
        }
        node = cursor.node()?;
    }
    Some(node)
}

/// Goes to the value of a key.
#[inline]
fn to_key<'a, C: Cursor<'a>>(cursor: &mut C, mut items: Items, step: &Step) -> Option<()> {
    while cursor.more(&mut items)? {
        let mut behind = *cursor;
        let found = match (behind.node()?, step) {
            (Node::Text(text), Step::Key(key)) => *text == **key,
            (Node::Int(number), Step::Number(key)) => number == i128::from(*key),
            (node, _) => {
                if node.items().is_some() {
                    behind = *cursor;
                    behind.skip()?;
                }
                false
            }
        };
        *cursor = behind;
        cursor.to_value()?;
        if found {
            return Some(());
        }
        cursor.skip()?;
    }
    None
}

/// Goes to an item of a list.
fn to_position<'a, C: Cursor<'a>>(cursor: &mut C, mut items: Items, position: i64) -> Option<()> {
    let from_front = if position >= 0 {
        usize::try_from(position).ok()?
    } else {
        let from_end = usize::try_from(position.unsigned_abs()).ok()?;
        count(*cursor, items)?.checked_sub(from_end)?
    };
    if let Items::Count(count) = items
        && from_front >= count
    {
        return None;
    }
    for _ in 0..from_front {
        if !cursor.more(&mut items)? {
            return None;
        }
        cursor.skip()?;
    }
    cursor.more(&mut items)?.then_some(())
}

/// How many items there are.
fn count<'a, C: Cursor<'a>>(mut cursor: C, mut items: Items) -> Option<usize> {
    if let Items::Count(count) = items {
        return Some(count);
    }
    let mut count = 0;
    while cursor.more(&mut items)? {
        cursor.skip()?;
        count += 1;
    }
    Some(count)
}
