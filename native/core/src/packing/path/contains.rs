//! Whether a packed value contains another, as the operator `@>` of `PostgreSQL` for `jsonb` means it.
//!
//! A dict contains a dict if it has all its keys, with values that contain the others. A list, tuple or set contains one
//! of these if each item of the other is contained in some item, in whatever order and however often. Everything else
//! contains what is equal to it: numbers by their value, other types by their bytes. Only at the top a list
//! also contains what is an item of it.

use super::in_cbor::Cbor;
use super::in_json::Json;
use super::in_msgpack::MsgPack;
use super::node::{Cursor, Items, Node};
use super::{Path, locate, plain};
use crate::packing::{cbor, msgpack, tag};

/// Containers inside containers of what is looked for: it is compared by recursion, on any stack.
const MAX_DEPTH: usize = 100;

/// What is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Part(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Null,
    Bool(bool),
    Int(i128),
    /// Bits of one that is no whole number of 64 bits.
    Float(u64),
    Text(Box<[u8]>),
    Bytes(Box<[u8]>),
    Other(u16, Box<[u8]>),
    List(Vec<Form>),
    Map(Vec<(Form, Form)>),
    /// A container that is the key of a dict: the bytes.
    Key(Box<[u8]>),
}

impl Part {
    /// Reads a packed value; `None` if it is none, or is nested deeper than 100 levels.
    #[must_use]
    pub fn read(packed: &[u8]) -> Option<Self> {
        let (&first, payload) = packed.split_first()?;
        let form = match first {
            tag::MSGPACK => form(&mut MsgPack(msgpack::Reader::new(payload)), 0),
            tag::CBOR => form(&mut Cbor(cbor::Reader::new(payload)), 0),
            tag::JSON => form(&mut Json(payload), 0),
            _ => scalar(&plain(first, payload)?),
        };
        form.map(Self)
    }

    /// Whether what a packed value has at `path` contains this; `None` if it has nothing there.
    #[must_use]
    pub fn is_in(&self, packed: &[u8], path: &Path) -> Option<bool> {
        let (&first, payload) = packed.split_first()?;
        match first {
            tag::MSGPACK => self.is_at(MsgPack(msgpack::Reader::new(payload)), path),
            tag::CBOR => self.is_at(Cbor(cbor::Reader::new(payload)), path),
            tag::JSON => self.is_at(Json(payload), path),
            _ if path.0.is_empty() => Some(scalar(&plain(first, payload)?)? == self.0),
            _ => None,
        }
    }

    fn is_at<'a, C: Cursor<'a>>(&self, mut cursor: C, path: &Path) -> Option<bool> {
        let node = locate(&mut cursor, &path.0)?;
        if let (Node::List(items) | Node::Set(items), Form::List(_)) = (&node, &self.0) {
            return contains(cursor, &Node::List(*items), &self.0);
        }
        if let Node::List(items) | Node::Set(items) = node {
            return match self.0 {
                Form::Map(_) => Some(false),
                _ => any(cursor, items, &self.0),
            };
        }
        contains(cursor, &node, &self.0)
    }
}

fn form<'a, C: Cursor<'a>>(cursor: &mut C, depth: usize) -> Option<Form> {
    let node = cursor.node()?;
    let Some((mut items, is_map)) = node.items() else { return scalar(&node) };
    if depth >= MAX_DEPTH {
        return None;
    }
    if is_map {
        let mut pairs = Vec::new();
        while cursor.more(&mut items)? {
            let key = key(cursor)?;
            cursor.to_value()?;
            pairs.push((key, form(cursor, depth + 1)?));
        }
        return Some(Form::Map(pairs));
    }
    let mut list = Vec::new();
    while cursor.more(&mut items)? {
        list.push(form(cursor, depth + 1)?);
    }
    Some(Form::List(list))
}

/// What stands next as the key of a dict.
fn key<'a, C: Cursor<'a>>(cursor: &mut C) -> Option<Form> {
    let mut behind = *cursor;
    let node = behind.node()?;
    if node.items().is_some() {
        return Some(Form::Key(cursor.raw()?.into()));
    }
    *cursor = behind;
    scalar(&node)
}

fn scalar(node: &Node<'_>) -> Option<Form> {
    Some(match node {
        Node::Null => Form::Null,
        Node::Bool(value) => Form::Bool(*value),
        Node::Int(number) => Form::Int(*number),
        Node::Float(number) => number_of(*number),
        Node::Text(text) => Form::Text(text.as_ref().into()),
        Node::Bytes(bytes) => Form::Bytes(bytes.as_ref().into()),
        Node::Other(kind, bytes) => Form::Other(*kind, (*bytes).into()),
        Node::List(_) | Node::Set(_) | Node::Map(_) => return None,
    })
}

/// A float that is a whole number is equal to that int.
#[allow(clippy::cast_possible_truncation, reason = "it was compared with the limits")]
fn number_of(number: f64) -> Form {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if number.trunc().to_bits() == number.to_bits() && (-LIMIT..LIMIT).contains(&number) {
        return Form::Int(i128::from(number as i64));
    }
    Form::Float(if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() })
}

fn equal(node: &Node<'_>, part: &Form) -> bool {
    match (node, part) {
        (Node::Null, Form::Null) => true,
        (Node::Bool(value), Form::Bool(other)) => value == other,
        (Node::Int(number), Form::Int(other)) => number == other,
        (Node::Float(number), _) => number_of(*number) == *part,
        (Node::Text(text), Form::Text(other)) => **text == **other,
        (Node::Bytes(bytes), Form::Bytes(other)) => **bytes == **other,
        (Node::Other(kind, bytes), Form::Other(other_kind, other)) => {
            kind == other_kind && *bytes == &**other
        }
        _ => false,
    }
}

/// Whether `node`, whose items stand next, contains the part.
fn contains<'a, C: Cursor<'a>>(cursor: C, node: &Node<'a>, part: &Form) -> Option<bool> {
    match (node, part) {
        (Node::Map(items), Form::Map(pairs)) => {
            for (key, value) in pairs {
                if !has_pair(cursor, *items, key, value)? {
                    return Some(false);
                }
            }
            Some(true)
        }
        (Node::List(items) | Node::Set(items), Form::List(parts)) => {
            for part in parts {
                if !any(cursor, *items, part)? {
                    return Some(false);
                }
            }
            Some(true)
        }
        _ => Some(equal(node, part)),
    }
}

fn has_pair<'a, C: Cursor<'a>>(mut cursor: C, mut items: Items, key: &Form, value: &Form) -> Option<bool> {
    while cursor.more(&mut items)? {
        let mut behind = cursor;
        let node = behind.node()?;
        let found = if node.items().is_some() {
            behind = cursor;
            matches!(key, Form::Key(bytes) if *behind.raw()? == **bytes) || {
                behind = cursor;
                behind.skip()?;
                false
            }
        } else {
            equal(&node, key)
        };
        cursor = behind;
        cursor.to_value()?;
        if found {
            let mut inside = cursor;
            let node = inside.node()?;
            return contains(inside, &node, value);
        }
        cursor.skip()?;
    }
    Some(false)
}

/// Whether an item contains the part.
fn any<'a, C: Cursor<'a>>(mut cursor: C, mut items: Items, part: &Form) -> Option<bool> {
    while cursor.more(&mut items)? {
        let mut inside = cursor;
        let node = inside.node()?;
        if contains(inside, &node, part)? {
            return Some(true);
        }
        cursor.skip()?;
    }
    Some(false)
}
