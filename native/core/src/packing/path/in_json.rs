//! Walking over JSON text.

use std::borrow::Cow;

use super::OTHER_JSON;
use super::node::{Cursor, Items, Node};

#[derive(Clone, Copy)]
pub(super) struct Json<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> for Json<'a> {
    fn node(&mut self) -> Option<Node<'a>> {
        self.space();
        Some(match *self.0.first()? {
            b'{' => {
                self.forward(1)?;
                Node::Map(Items::Until { end: b'}', is_first: true })
            }
            b'[' => {
                self.forward(1)?;
                Node::List(Items::Until { end: b']', is_first: true })
            }
            b'"' => {
                let raw = self.string()?;
                match unescaped(raw) {
                    Some(text) => Node::Text(text),
                    // A lone surrogate, say: some text in Python, and none that can be compared.
                    None => Node::Other(OTHER_JSON, raw),
                }
            }
            _ => match self.word() {
                b"null" => Node::Null,
                b"true" => Node::Bool(true),
                b"false" => Node::Bool(false),
                word => number(word)?,
            },
        })
    }

    fn more(&mut self, items: &mut Items) -> Option<bool> {
        let Items::Until { end, is_first } = items else { return None };
        self.space();
        let byte = *self.0.first()?;
        if byte == *end {
            self.forward(1)?;
            return Some(false);
        }
        if !std::mem::take(is_first) {
            if byte != b',' {
                return None;
            }
            self.forward(1)?;
        }
        Some(true)
    }

    fn to_value(&mut self) -> Option<()> {
        self.space();
        if *self.0.first()? != b':' {
            return None;
        }
        self.forward(1)
    }

    fn skip(&mut self) -> Option<()> {
        self.space();
        let mut depth = 0_usize;
        loop {
            match *self.0.first()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.forward(1)?;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.forward(1)?;
                }
                _ if depth == 0 => {
                    if self.word().is_empty() {
                        return None;
                    }
                }
                _ => self.forward(1)?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Json<'a> {
    /// Goes to what is no white space.
    pub(super) fn space(&mut self) {
        let spaces = self.0.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.0 = self.0.get(spaces..).unwrap_or_default();
    }

    fn forward(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    /// What stands between the quotation marks of the string that stands next.
    fn string(&mut self) -> Option<&'a [u8]> {
        let rest = self.0.get(1..)?;
        let mut place = 0;
        loop {
            match *rest.get(place)? {
                b'"' => break,
                b'\\' => place += 2,
                _ => place += 1,
            }
        }
        self.0 = rest.get(place + 1..)?;
        rest.get(..place)
    }

    /// A number or the name of a value.
    fn word(&mut self) -> &'a [u8] {
        let length = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
            .count();
        let (word, rest) = self.0.split_at_checked(length).unwrap_or_default();
        self.0 = rest;
        word
    }
}

/// A number as the grammar of JSON has it.
fn number(word: &[u8]) -> Option<Node<'_>> {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unsigned = word.strip_prefix(b"-").unwrap_or(word);
    let whole = digits(unsigned);
    if whole == 0 || (whole > 1 && unsigned.first() == Some(&b'0')) {
        return None;
    }
    let mut rest = unsigned.get(whole..)?;
    let text = str::from_utf8(word).ok()?;
    if rest.is_empty() {
        return Some(text.parse().map_or(Node::Other(OTHER_JSON, word), Node::Int));
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return None;
        }
        rest = fraction.get(count..)?;
    }
    if let Some((b'e' | b'E', exponent)) = rest.split_first() {
        let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        if exponent.is_empty() {
            return None;
        }
        rest = exponent.get(digits(exponent)..)?;
    }
    if !rest.is_empty() {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // What is too large is infinite in Python, and out of range in PostgreSQL.
    Some(if number.is_finite() { Node::Float(number) } else { Node::Other(OTHER_JSON, word) })
}

/// The text that some JSON between quotation marks means; `None` if it is none that UTF-8 can say.
fn unescaped(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(first) = raw.iter().position(|&byte| byte == b'\\' || byte < 0x20) else {
        return Some(raw.into());
    };
    let (plain, mut rest) = raw.split_at(first);
    let mut text = plain.to_vec();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte < 0x20 {
            return None;
        }
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        let (&letter, behind) = rest.split_first()?;
        rest = behind;
        text.push(match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code = hexadecimal(&mut rest)?;
                if let 0xD800..=0xDBFF = code {
                    rest = rest.strip_prefix(b"\\u")?;
                    let low = hexadecimal(&mut rest)?.checked_sub(0xDC00)?;
                    if low >= 0x400 {
                        return None;
                    }
                    code = 0x1_0000 + ((code - 0xD800) << 10) + low;
                }
                let character = char::from_u32(code)?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        });
    }
    Some(text.into())
}

fn hexadecimal(rest: &mut &[u8]) -> Option<u32> {
    let (digits, behind) = rest.split_at_checked(4)?;
    *rest = behind;
    digits.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
}
