//! Walking over `MessagePack`.

use super::node::{Cursor, Items, Node, int_of};
use super::{extension, other_extension};
use crate::packing::msgpack::{Reader, Token};

#[derive(Clone, Copy)]
pub(super) struct MsgPack<'a>(pub(super) Reader<'a>);

impl<'a> Cursor<'a> for MsgPack<'a> {
    #[inline]
    fn node(&mut self) -> Option<Node<'a>> {
        Some(match self.0.next_token().ok()? {
            Token::Nil => Node::Null,
            Token::Bool(value) => Node::Bool(value),
            Token::Int(number) => Node::Int(number.into()),
            Token::UInt(number) => Node::Int(number.into()),
            Token::Float(number) => Node::Float(number),
            Token::Text(text) => Node::Text(text.into()),
            Token::Bytes(bytes) => Node::Bytes(bytes.into()),
            Token::Map(count) => Node::Map(Items::Count(count)),
            Token::Array(count) => match if count > 0 { self.0.mark() } else { None } {
                None => Node::List(Items::Count(count)),
                Some(extension::TUPLE) => Node::List(Items::Count(count - 1)),
                Some(_) => Node::Set(Items::Count(count - 1)),
            },
            Token::Extension(kind, payload) => {
                let number = if kind == extension::INT { int_of(payload) } else { None };
                number.map_or(Node::Other(other_extension(kind), payload), Node::Int)
            }
        })
    }

    #[inline]
    fn skip(&mut self) -> Option<()> {
        let mut pending = 1_usize;
        while pending > 0 {
            pending -= 1;
            let inside = match self.0.next_token().ok()? {
                Token::Array(count) => count,
                Token::Map(count) => count.checked_mul(2)?,
                _ => continue,
            };
            pending = pending.checked_add(inside)?;
        }
        Some(())
    }

    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn rest(&self) -> &'a [u8] {
        self.0.rest()
    }
}
