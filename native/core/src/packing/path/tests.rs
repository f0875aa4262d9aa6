use proptest::prelude::*;

use super::{Node, Part, Path};
use crate::packing::{cbor, msgpack};

fn path(text: &str) -> Path {
    Path::parse(text.as_bytes()).unwrap()
}

/// `{"a": [10, 20, {"b": "x"}], 7: true, (1, 2): null, "z": 1.5}` in each encoding that has it.
fn samples() -> Vec<Vec<u8>> {
    let msgpack = b"\x07\x84\xA1a\x93\x0A\x14\x81\xA1b\xA1x\x07\xC3\x93\xC7\x00\x01\x01\x02\xC0\xA1z\xCB\x3F\xF8\0\0\0\0\0\0";
    let cbor = b"\x08\xA4\x61a\x83\x0A\x14\xA1\x61b\x61x\x07\xF5\x82\x01\x02\xF6\x61z\xF9\x3E\x00";
    let indefinite = b"\x08\xBF\x61a\x9F\x0A\x14\xBF\x61b\x7F\x61x\xFF\xFF\xFF\x07\xF5\x9F\x01\x02\xFF\xF6\x61z\xFA\x3F\xC0\0\0\xFF";
    vec![msgpack.to_vec(), cbor.to_vec(), indefinite.to_vec()]
}

#[test]
fn the_same_is_found_in_each_encoding() {
    let json = b"\x09 {\"a\" : [10, 20,{\"b\":\"\\u0078\"} ], \"\\u007a\":1.5 }".to_vec();
    for sample in samples().iter().chain([&json]) {
        let find = |at: &str| path(at).find(sample);
        assert_eq!(find(r#"["a", 1]"#).unwrap().integer(), Some(20));
        assert_eq!(find(r#"["a",-3]"#).unwrap().integer(), Some(10));
        assert_eq!(find(r#"["a",2,"b"]"#).unwrap().text(), Some("x"));
        assert_eq!(find(r#"["z"]"#).unwrap().real(), Some(1.5));
        assert!(matches!(find("[]"), Some(Node::Map(_))));
        for missing in
            [r#"["b"]"#, r#"["a",3]"#, r#"["a",-4]"#, r#"["a","b"]"#, r#"["z",0]"#, "[1]", r#"["a",0,0]"#]
        {
            assert_eq!(find(missing), None, "{missing}");
        }
    }
    for sample in samples() {
        assert_eq!(path("[7]").find(&sample).unwrap().boolean(), Some(true));
        assert_eq!(path(r#"["7"]"#).find(&sample), None);
    }
}

#[test]
fn values_without_a_container_are_at_the_root() {
    for (packed, expected) in [
        (&b"\x01caf\xC3\xA9"[..], Node::Text("café".as_bytes().into())),
        (b"\x02", Node::Null),
        (b"\x03", Node::Bool(false)),
        (b"\x04", Node::Bool(true)),
        (b"\x05\xFF", Node::Int(-1)),
        (b"\x05\0\0\0\0\0\0\0\0\x01", Node::Int(1 << 64)),
        (b"\x06\0\0\0\0\0\0\xF8\x3F", Node::Float(1.5)),
        (b"\x00ab", Node::Bytes(b"ab"[..].into())),
    ] {
        assert_eq!(Path::ROOT.find(packed), Some(expected));
        assert_eq!(path("[0]").find(packed), None);
    }
    for damaged in [&b""[..], b"\x02x", b"\x05", b"\x06\0", b"\x0E", b"\xFF"] {
        assert_eq!(Path::ROOT.find(damaged), None, "{damaged:02x?}");
    }
}

#[test]
fn what_is_no_path_is_refused() {
    for text in [
        "",
        "a",
        "{}",
        "[",
        "[1,]",
        "[1.5]",
        "[null]",
        "[[1]]",
        "[9223372036854775808]",
        "[1] x",
        "[\"\\ud800\"]",
    ] {
        assert!(Path::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(Path::parse(format!("[{}0]", "0,".repeat(512)).as_bytes()).is_err());
    assert!(Path::parse(format!("[{}0]", "0,".repeat(511)).as_bytes()).is_ok());
}

#[test]
fn numbers_of_json_are_those_of_its_grammar() {
    let number = |text: &str| Path::ROOT.find([b"\x09", text.as_bytes()].concat().leak());
    assert_eq!(number("-0"), Some(Node::Int(0)));
    assert_eq!(number("12e0"), Some(Node::Float(12.0)));
    assert_eq!(number(" 9223372036854775808 ").unwrap().integer(), None);
    assert!(matches!(number("1e400"), Some(Node::Other(..))));
    for text in ["01", "-", "1.", ".5", "1e", "+1", "0x1", "NaN", "Infinity", "nul"] {
        assert_eq!(number(text), None, "{text}");
    }
}

#[test]
fn texts_of_json_are_unescaped() {
    let text = |text: &str| Path::ROOT.find([b"\x09\"", text.as_bytes(), b"\""].concat().leak()).unwrap();
    assert_eq!(
        text(r#"\"\\\/\b\f\n\r\t\u00e9\uD83d\ude00"#).text(),
        Some("\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1F600}")
    );
    for wrong in [r"\ud800", r"\ud800\u0041", r"\udc00", r"\x", r"\u12g4", "\u{1}"] {
        assert_eq!(text(wrong).text(), None, "{wrong}");
    }
}

#[test]
fn skipping_goes_over_uncounted_containers_in_counted_ones() {
    // [[_ [1, [_ ], 2], {_ 1: [_ 3]}], 1([_ ]), 5]
    let cbor = b"\x08\x83\x9F\x83\x01\x9F\xFF\x02\xBF\x01\x9F\x03\xFF\xFF\xFF\xC1\x9F\xFF\x05";
    assert_eq!(path("[2]").find(cbor).unwrap().integer(), Some(5));
    assert_eq!(path("[0,1,1,0]").find(cbor).unwrap().integer(), Some(3));
    assert_eq!(path("[0,0,2]").find(cbor).unwrap().integer(), Some(2));
    // A break where none can be.
    assert_eq!(path("[1]").find(b"\x08\x82\x82\x01\xFF\x05"), None);
}

#[test]
fn deep_values_take_no_stack() {
    for (tag, open) in
        [(7_u8, &b"\x91"[..]), (8, b"\x81"), (8, b"\x9F"), (8, b"\xC1"), (9, b"["), (9, b"{\"a\":")]
    {
        let mut bomb = vec![tag];
        bomb.extend(open.repeat(300_000));
        assert_eq!(path("[1]").find(&bomb), None);
        assert_eq!(path("[-2]").find(&bomb), None);
        assert_eq!(Part::read(&bomb), None);
        let part = Part::read(b"\x07\x91\x91\x01").unwrap();
        assert!(part.is_in(&bomb, &Path::ROOT) != Some(true));
    }
}

fn contains(value: &[u8], part: &[u8]) -> Option<bool> {
    Part::read(part).unwrap().is_in(value, &Path::ROOT)
}

#[test]
fn containment_is_that_of_jsonb() {
    let json = |text: &str| [b"\x09", text.as_bytes()].concat();
    for (value, part, expected) in [
        ("[1, 2, [1, 3]]", "[1, 3]", false),
        ("[1, 2, [1, 3]]", "[[1, 3]]", true),
        ("[1, 2, [1, 3]]", "[[3]]", true),
        ("[1,2]", "[2,2,1]", true),
        ("[1]", "[]", true),
        ("1", "[1]", false),
        ("1", "[]", false),
        ("[1,\"x\"]", "\"x\"", true),
        ("[[1]]", "1", false),
        ("[{\"a\":1}]", "{\"a\":1}", false),
        ("{\"a\":[1]}", "{\"a\":1}", false),
        ("{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"c\":2.0}}", true),
        ("{\"a\":1}", "{\"a\":true}", false),
        ("{\"a\":null}", "{}", true),
        ("{\"a\":null}", "{\"b\":null}", false),
        ("{\"a\":null}", "[]", false),
    ] {
        assert_eq!(contains(&json(value), &json(part)), Some(expected), "{value} @> {part}");
    }
}

#[test]
fn encodings_may_differ_and_types_count() {
    assert_eq!(contains(b"\x08\xA1\x61a\xF9\x3C\x00", b"\x07\x81\xA1a\x01"), Some(true));
    assert_eq!(contains(b"\x09{\"1\": 2}", b"\x07\x81\x01\x02"), Some(false));
    // An extension is that type only; a set is looked into as a list is.
    assert_eq!(contains(b"\x07\x91\xC7\x02\x10ab", b"\x07\xC4\x02ab"), Some(false));
    assert_eq!(contains(b"\x07\x91\xC7\x02\x10ab", b"\x07\xC7\x02\x10ab"), Some(true));
    assert_eq!(contains(b"\x07\x93\xC7\x00\x05\x01\x02", b"\x07\x91\x02"), Some(true));
    // The key (1, 2).
    let pair = b"\x07\x81\x93\xC7\x00\x01\x01\x02\xC0";
    assert_eq!(contains(&samples()[0], pair), Some(true));
    assert_eq!(contains(pair, b"\x07\x81\x93\xC7\x00\x01\x01\x03\xC0"), Some(false));
    // NaN, and 2^53 + 1, which is no float.
    assert_eq!(contains(b"\x07\xCB\x7F\xF8\0\0\0\0\0\0", b"\x06\0\0\0\0\0\0\xF8\xFF"), Some(true));
    assert_eq!(contains(b"\x07\xCF\0\x20\0\0\0\0\0\x01", b"\x07\xCB\x43\x40\0\0\0\0\0\0"), Some(false));
    assert_eq!(Part::read(b"\x07\x92\x01"), None);
    assert_eq!(Part::read(b"\x01x").unwrap().is_in(b"\x07\x92\xA1y", &Path::ROOT), None);
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(tag in 0..16_u8, bytes: Vec<u8>, other: Vec<u8>) {
        let packed = [&[tag][..], &bytes].concat();
        let other = [&[tag][..], &other].concat();
        for at in ["[]", "[0]", "[-1]", r#"["a"]"#, r#"[0,"a",-2]"#] {
            let path = path(at);
            let _ = path.find(&packed);
            if let Some(part) = Part::read(&other) {
                let _ = part.is_in(&packed, &path);
            }
        }
    }

    #[test]
    fn damaged_samples_are_harmless(which in 0..3_usize, place: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut sample = samples()[which].clone();
        let place = place.index(sample.len());
        sample[place] = byte;
        sample.truncate(1 + cut.index(sample.len()));
        for at in ["[]", "[7]", r#"["a",-1,"b"]"#, r#"["z"]"#] {
            let _ = path(at).find(&sample);
        }
        if let Some(part) = Part::read(&sample) {
            prop_assert!(part.is_in(&sample, &Path::ROOT).is_some());
        }
    }

    #[test]
    fn positions_are_those_of_a_list(numbers in prop::collection::vec(any::<i64>(), 0..40), position in -45..45_i64) {
        let (mut packed, mut tagged) = (vec![7], vec![8]);
        msgpack::write_array(&mut packed, numbers.len()).unwrap();
        cbor::write_head(&mut tagged, cbor::Major::Array, numbers.len() as u64);
        for &number in &numbers {
            msgpack::write_int(&mut packed, number);
            cbor::write_int(&mut tagged, number);
        }
        let text = [&[9][..], format!("{numbers:?}").as_bytes()].concat();
        let length = i64::try_from(numbers.len()).unwrap();
        let place = if position < 0 { position + length } else { position };
        let expected = usize::try_from(place).ok().and_then(|place| numbers.get(place)).copied();
        for packed in [&packed, &tagged, &text] {
            let found = path(&format!("[{position}]")).find(packed);
            prop_assert_eq!(found.as_ref().and_then(Node::integer), expected);
            prop_assert_eq!(found.is_some(), expected.is_some());
        }
    }
}
