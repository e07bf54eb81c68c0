//! The notation of strace's arguments: strings, numbers, lists, comments. Pure, and linear in its input.

/// The position behind the string whose opening quote is at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The position behind the decoration whose `<` is at `at`: what -y, -yy and -Y add to a number.
fn decoration_end(text: &[u8], at: usize) -> Option<usize> {
    let (mut at, mut depth) = (at + 1, 1);
    while depth > 0 {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'\\' => at += 1,
            b'<' => depth += 1,
            // An arrow between two addresses. strace escapes a `>` that is part of a path.
            b'-' if text.get(at + 1) == Some(&b'>') => at += 1,
            b'>' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

/// Calls `visit` with each byte at the top level of `text`, behind `at`, until it gives true: that position. Steps
/// over strings, comments, decorations and whatever is in brackets.
fn scan(text: &[u8], mut at: usize, mut visit: impl FnMut(u8) -> bool) -> Option<usize> {
    let mut depth = 0u32;
    loop {
        let &byte = text.get(at)?;
        match byte {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'/' if text.get(at + 1) == Some(&b'*') => {
                at = at + 4 + memchr::memmem::find(text.get(at + 2..)?, b"*/")?;
                continue;
            }
            b'<' if decorates(text, at) => {
                at = decoration_end(text, at)?;
                continue;
            }
            _ => {}
        }
        if depth == 0 && visit(byte) {
            return Some(at);
        }
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
}

/// True where the `<` at `at` begins a decoration, and is not part of `1<<2` or of a `<unfinished ...>`.
fn decorates(text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let after = text.get(at + 1);
    before.is_some_and(u8::is_ascii_alphanumeric)
        && !after.is_none_or(|next| matches!(next, b'<' | b' ' | b'=' | b'.'))
}

/// The position of the bracket that closes the list whose first item is at `at`.
pub(super) fn closing(text: &[u8], at: usize) -> Option<usize> {
    scan(text, at, |byte| matches!(byte, b')' | b']' | b'}'))
}

/// The items of a list, without the blanks around them. What can't be split is one item.
pub(super) fn items(list: &[u8]) -> Vec<&[u8]> {
    let (mut items, mut start) = (Vec::new(), 0);
    while let Some(comma) = scan(list, start, |byte| byte == b',') {
        items.push(list[start..comma].trim_ascii());
        start = comma + 1;
    }
    let last = list[start..].trim_ascii();
    if !last.is_empty() {
        items.push(last);
    }
    items
}

/// The inside of `[...]` or `{...}`.
pub(super) fn inside(item: &[u8]) -> Option<&[u8]> {
    let (&open, rest) = item.split_first()?;
    let end = matches!(open, b'[' | b'{').then(|| closing(rest, 0)).flatten()?;
    Some(&rest[..end])
}

/// The value of `name=` among the items of a structure.
pub(super) fn field<'a>(items: &[&'a [u8]], name: &str) -> Option<&'a [u8]> {
    items.iter().find_map(|item| item.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// What a function's notation holds: `127` of `htons(127)`.
pub(super) fn argument<'a>(item: &'a [u8], function: &str) -> Option<&'a [u8]> {
    let rest = item.strip_prefix(function.as_bytes())?.strip_prefix(b"(")?;
    Some(&rest[..closing(rest, 0)?])
}

/// A string as strace shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// More bytes followed: strace's -s left them out.
    pub(super) cut: bool,
}

/// Decodes `"..."`, with `...` behind it where it is cut.
pub(super) fn text(item: &[u8]) -> Option<Text> {
    if item.first() != Some(&b'"') {
        return None;
    }
    let end = string_end(item, 0)?;
    Some(Text { bytes: unescape(&item[1..end - 1]), cut: item[end..].starts_with(b"...") })
}

/// Undoes strace's escapes: those of C, octal or hexadecimal.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / if text.starts_with(b"\\x") { 4 } else { 1 });
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        bytes.extend_from_slice(&rest[..at]);
        let (byte, length) = escape(&rest[at + 1..]);
        bytes.push(byte);
        rest = &rest[at + 1 + length..];
    }
    bytes.extend_from_slice(rest);
    bytes
}

/// The byte that an escape stands for, and how many bytes follow its backslash.
fn escape(text: &[u8]) -> (u8, usize) {
    let plain = match text.first() {
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'r') => b'\r',
        Some(b'v') => 0x0b,
        Some(b'f') => 0x0c,
        Some(b'a') => 0x07,
        Some(b'b') => 0x08,
        Some(b'x') => {
            let digits = digits(&text[1..], 2, u8::is_ascii_hexdigit);
            return (number_of(digits, 16) as u8, 1 + digits.len());
        }
        Some(b'0'..=b'7') => {
            let digits = digits(text, 3, |byte| matches!(byte, b'0'..=b'7'));
            return (number_of(digits, 8) as u8, digits.len());
        }
        Some(&other) => other,
        None => return (b'\\', 0),
    };
    (plain, 1)
}

fn digits(text: &[u8], most: usize, is_digit: impl Fn(&u8) -> bool) -> &[u8] {
    let count = text.iter().take(most).take_while(|byte| is_digit(byte)).count();
    &text[..count]
}

fn number_of(digits: &[u8], radix: u32) -> u64 {
    let digit = |byte: &u8| (*byte as char).to_digit(radix).unwrap_or(0);
    digits
        .iter()
        .fold(0u64, |sum, byte| sum.wrapping_mul(u64::from(radix)).wrapping_add(u64::from(digit(byte))))
}

/// The number that an item begins with, and the rest: decimal, `0x` hexadecimal, or `0` octal.
pub(super) fn number(item: &[u8]) -> Option<(i64, &[u8])> {
    let (negative, rest) = match item.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, item),
    };
    let (digits, radix) = match rest {
        [b'0', b'x', hex @ ..] => (digits(hex, 16, u8::is_ascii_hexdigit), 16),
        [b'0', octal @ ..] if octal.first().is_some_and(u8::is_ascii_digit) => {
            (digits(octal, 21, u8::is_ascii_digit), 8)
        }
        _ => (digits(rest, 18, u8::is_ascii_digit), 10),
    };
    if digits.is_empty() {
        return None;
    }
    let length = digits.as_ptr() as usize - item.as_ptr() as usize + digits.len();
    let value = number_of(digits, radix) as i64;
    Some((if negative { value.wrapping_neg() } else { value }, &item[length..]))
}

/// The number that an item is or begins with.
pub(super) fn value(item: &[u8]) -> Option<i64> {
    Some(number(item)?.0)
}

/// True where a flag is set in an item like `MSG_PEEK|0x40`, with or without names and comments.
pub(super) fn has_flag(item: &[u8], name: &str, bit: u64) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let named = memchr::memmem::find_iter(item, name).any(|at| {
        let before = at.checked_sub(1).and_then(|before| item.get(before));
        !before.is_some_and(is_word) && !item.get(at + name.len()).is_some_and(is_word)
    });
    let bits = |part: &[u8]| number(part.trim_ascii()).map_or(0, |(value, _)| value as u64);
    named || item.split(|&byte| byte == b'|').any(|part| bits(part) & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_in_every_notation() {
        let check = |item: &str, bytes: &[u8], cut| {
            assert_eq!(text(item.as_bytes()), Some(Text { bytes: bytes.to_vec(), cut }), "{item}");
        };
        check(r#""hello\0\"\\ \3771\00123""#, b"hello\0\"\\ \xff1\x0123", false);
        check(r#""\x68\x00\xff"..."#, b"h\0\xff", true);
        check(r#""a\n\t\r\v\f""#, b"a\n\t\r\x0b\x0c", false);
        check(r#""""#, b"", false);
        assert_eq!(text(b"0x7ffd"), None);
        assert_eq!(text(b"\"open"), None);
    }

    #[test]
    fn lists_are_split_at_their_own_commas() {
        let list =
            br#"4<TCP:[127.0.0.1:1->127.0.0.1:2]>, "a,)\"", [{x=1, y="]"}, 2 /* a, b */], 3</a\76,b>, 1<<2"#;
        let expected: [&[u8]; 5] = [
            b"4<TCP:[127.0.0.1:1->127.0.0.1:2]>",
            br#""a,)\"""#,
            br#"[{x=1, y="]"}, 2 /* a, b */]"#,
            br"3</a\76,b>",
            b"1<<2",
        ];
        assert_eq!(items(list), expected);
        assert_eq!(items(inside(b"[4, 5]").unwrap()), [b"4", b"5"]);
        assert_eq!(closing(br#"3, ")") = 1"#, 0), Some(6));
    }

    #[test]
    fn numbers_and_flags() {
        assert_eq!(
            [&b"-1 E"[..], b"0x2f", b"017", b"5</x>", b"0"].map(|item| value(item).unwrap()),
            [-1, 47, 15, 5, 0]
        );
        assert_eq!(value(b"NULL"), None);
        assert!(has_flag(b"MSG_PEEK|MSG_DONTWAIT", "MSG_PEEK", 2));
        assert!(
            has_flag(b"0x42", "MSG_PEEK", 2) && has_flag(b"0x40 /* X */|0x2 /* MSG_PEEK */", "MSG_PEEK", 2)
        );
        assert!(!has_flag(b"MSG_PEEKED", "MSG_PEEK", 2) && !has_flag(b"0x40", "MSG_PEEK", 2));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for item in items(&bytes) {
                let (_, _, _) = (inside(item), text(item), number(item));
            }
            prop_assert!(unescape(&bytes).len() <= bytes.len());
        }

        #[test]
        fn octal_and_hexadecimal_escapes_are_undone(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let hex: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            prop_assert_eq!(unescape(hex.as_bytes()), bytes.clone());
            prop_assert_eq!(unescape(octal.as_bytes()), bytes);
        }
    }
}
