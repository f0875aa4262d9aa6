//! What must be known of a JSON text before a recursive parser may have it.

/// How deep brackets are nested. Text that is no JSON has a depth too; its parser goes no deeper than that.
#[must_use]
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut in_string = false;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(depth(b"1"), 0);
        assert_eq!(depth(br#"{"a": [1, {"b": []}], "c": {}}"#), 4);
        assert_eq!(depth(br#"["[[[", "\"[[[", "\\", []]"#), 2);
        assert_eq!(depth(b"]]][["), 2);
    }
}
