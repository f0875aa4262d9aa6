//! Walking over CBOR.

use super::OTHER_CBOR;
use super::node::{Cursor, Items, Node};
use crate::packing::MAX_DEPTH;
use crate::packing::cbor::{Reader, Token};

const POSITIVE_BIG_INT: u64 = 2;
const NEGATIVE_BIG_INT: u64 = 3;
const SET: u64 = 258;
const SELF_DESCRIBED: u64 = 55799;
const BREAK: u8 = 0xFF;

#[derive(Clone, Copy)]
pub(super) struct Cbor<'a>(pub(super) Reader<'a>);

impl<'a> Cursor<'a> for Cbor<'a> {
    fn node(&mut self) -> Option<Node<'a>> {
        loop {
            let before = *self;
            let rest = self.0.rest();
            return Some(match self.0.next_token().ok()? {
                Token::Null => Node::Null,
                Token::Bool(value) => Node::Bool(value),
                Token::UInt(number) => Node::Int(number.into()),
                Token::Negative(number) => Node::Int(-1 - i128::from(number)),
                Token::Float(number) => Node::Float(number),
                Token::Text(text) => Node::Text(text),
                Token::Bytes(bytes) => Node::Bytes(bytes),
                Token::Array(count) => Node::List(items(count)),
                Token::Map(count) => Node::Map(items(count)),
                Token::Tag(SELF_DESCRIBED) => continue,
                Token::Tag(SET) => match self.0.next_token().ok()? {
                    Token::Array(count) => Node::Set(items(count)),
                    _ => return None,
                },
                Token::Tag(tag) => {
                    if let POSITIVE_BIG_INT | NEGATIVE_BIG_INT = tag
                        && let Ok(Token::Bytes(bytes)) = self.0.next_token()
                        && let Some(number) = big_int(&bytes)
                    {
                        return Some(Node::Int(if tag == NEGATIVE_BIG_INT { -1 - number } else { number }));
                    }
                    *self = before;
                    self.skip()?;
                    Node::Other(OTHER_CBOR, rest.get(..rest.len() - self.remaining())?)
                }
                Token::Break => return None,
            });
        }
    }

    fn more(&mut self, items: &mut Items) -> Option<bool> {
        match items {
            Items::Count(left) => {
                let follows = *left > 0;
                *left = left.saturating_sub(1);
                Some(follows)
            }
            Items::Until { .. } => {
                let ends = *self.0.rest().first()? == BREAK;
                if ends {
                    self.0.next_token().ok()?;
                }
                Some(!ends)
            }
        }
    }

    fn skip(&mut self) -> Option<()> {
        // Of the containers that are begun: those whose items were not counted end each a group of counted ones.
        let mut outer: Vec<usize> = Vec::new();
        let mut pending = Some(1_usize);
        loop {
            if let Some(left) = &mut pending {
                if *left == 0 {
                    if outer.is_empty() {
                        return Some(());
                    }
                    // Behind the last counted item inside of one that is not.
                    pending = None;
                    continue;
                }
                *left -= 1;
            }
            let inside = match self.0.next_token().ok()? {
                Token::Array(Some(count)) => count,
                Token::Map(Some(count)) => count.checked_mul(2)?,
                Token::Tag(_) => 1,
                Token::Array(None) | Token::Map(None) => {
                    if outer.len() >= MAX_DEPTH {
                        return None;
                    }
                    // None: directly inside of one that was not counted either.
                    outer.push(pending.map_or(0, |left| left.saturating_add(1)));
                    pending = None;
                    continue;
                }
                Token::Break if pending.is_none() => {
                    pending = match outer.pop()? {
                        0 => None,
                        left => Some(left - 1),
                    };
                    continue;
                }
                Token::Break => return None,
                _ => continue,
            };
            if inside > 0 {
                pending = match pending {
                    Some(left) => Some(left.checked_add(inside)?),
                    None => Some(inside),
                };
            }
        }
    }

    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn rest(&self) -> &'a [u8] {
        self.0.rest()
    }
}

fn items(count: Option<usize>) -> Items {
    count.map_or(Items::Until { end: BREAK, is_first: true }, Items::Count)
}

/// Big-endian, without a sign, if it fits.
fn big_int(bytes: &[u8]) -> Option<i128> {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    let bytes = bytes.get(zeros..)?;
    if bytes.len() >= 16 {
        return None;
    }
    Some(bytes.iter().fold(0, |number, &byte| number << 8 | i128::from(byte)))
}
