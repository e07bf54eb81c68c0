//! Makes bytes and names from outside safe to show: no control sequence of a peer reaches a terminal.
//!
//! Knows nothing of events. Every other part of [`crate::output`] uses it for what it did not choose.

use std::fmt::{self, Write as _};

/// Shows `bytes` on one line. Valid UTF-8 stays readable; control characters, characters that change
/// the order or width of others, and bytes that are not UTF-8 become `\n`, `\x1b` or `\u{202e}`. A
/// backslash is doubled, so that two inputs never look the same.
pub fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped { bytes }
}

/// What [`escape`] returns: formats itself without allocation.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.bytes.utf8_chunks() {
            write_text(f, chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut plain = 0;
    for (at, character) in text.char_indices().filter(|&(_, c)| c == '\\' || is_harmful(c)) {
        f.write_str(&text[plain..at])?;
        plain = at + character.len_utf8();
        match character {
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\0'..='\x7f' => write!(f, "\\x{:02x}", u32::from(character))?,
            _ => write!(f, "\\u{{{:x}}}", u32::from(character))?,
        }
    }
    f.write_str(&text[plain..])
}

/// True for characters that a terminal obeys instead of showing: C0 and C1 controls, line separators,
/// bidirectional controls (Unicode TR 36, section 2.11), and ones without width.
pub fn is_harmful(character: char) -> bool {
    match character {
        ' '..='~' => false,
        _ if character.is_control() => true,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// Appends what [`escape`] shows of `bytes` to `text`.
pub fn push(text: &mut String, bytes: &[u8]) {
    // Writing to a String does not fail.
    let _ = write!(text, "{}", escape(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &[u8], expected: &str) {
        assert_eq!(escape(input).to_string(), expected);
    }

    #[test]
    fn readable_text_stays() {
        check(b"GET /a?b=1", "GET /a?b=1");
        check("größe 東京".as_bytes(), "größe 東京");
        check(b"", "");
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelt_out() {
        check(b"\x1b]0;title\x07", "\\x1b]0;title\\x07");
        check(b"a\r\nb\tc\0d\x7f", "a\\r\\nb\\tc\\x00d\\x7f");
        check("\u{9b}2J".as_bytes(), "\\u{9b}2J");
        check("abc\u{202e}fed".as_bytes(), "abc\\u{202e}fed");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_spelt_out() {
        check(b"a\xffb\xc3", "a\\xffb\\xc3");
    }

    proptest! {
        #[test]
        fn no_input_yields_a_control_and_different_inputs_differ(
            a in proptest::collection::vec(any::<u8>(), 0..40),
            b in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let (shown, other) = (escape(&a).to_string(), escape(&b).to_string());
            prop_assert!(!shown.chars().any(is_harmful));
            prop_assert_eq!(a == b, shown == other);
        }
    }
}
