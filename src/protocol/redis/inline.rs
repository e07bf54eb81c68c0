//! Splitting of an inline command into its arguments, as a server does it (`sdssplitargs` in sds.c of Redis).

use std::borrow::Cow;

/// The arguments of one line, in order; empty for a blank line. Refused are the lines that a server
/// refuses: with unbalanced quotes, or with text right behind a closing quote.
pub fn split(line: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, &'static str> {
    let mut arguments = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let plain = rest.iter().position(|byte| byte.is_ascii_whitespace()).unwrap_or(rest.len());
        if rest[..plain].iter().all(|byte| !matches!(byte, b'"' | b'\'')) {
            arguments.push(Cow::Borrowed(&rest[..plain]));
            rest = rest[plain..].trim_ascii_start();
        } else {
            let (argument, length) = quoted(rest)?;
            arguments.push(Cow::Owned(argument));
            rest = rest[length..].trim_ascii_start();
        }
    }
    Ok(arguments)
}

/// An argument with quotes somewhere in it, and how many bytes of the line it took.
fn quoted(line: &[u8]) -> Result<(Vec<u8>, usize), &'static str> {
    const UNBALANCED: &str = "unbalanced quotes in an inline command";
    let mut argument = Vec::new();
    let mut at = 0;
    let mut quote = None;
    while let Some(&byte) = line.get(at) {
        let rest = &line[at + 1..];
        let mut length = 1;
        match (quote, byte) {
            (Some(open), close) if open == close => {
                let done = rest.first().is_none_or(u8::is_ascii_whitespace);
                return if done { Ok((argument, at + 1)) } else { Err(UNBALANCED) };
            }
            (Some(b'"'), b'\\') => {
                let (byte, used) = escape(rest);
                argument.push(byte);
                length += used;
            }
            (Some(b'\''), b'\\') if rest.first() == Some(&b'\'') => {
                argument.push(b'\'');
                length += 1;
            }
            (Some(_), byte) => argument.push(byte),
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, byte) if byte.is_ascii_whitespace() => return Ok((argument, at)),
            (None, byte) => argument.push(byte),
        }
        at += length;
    }
    if quote.is_some() { Err(UNBALANCED) } else { Ok((argument, at)) }
}

/// The byte that a backslash inside double quotes stands for, given what follows the backslash, and how much
/// of it belongs to the escape. A backslash at the end of the line stands for itself.
fn escape(rest: &[u8]) -> (u8, usize) {
    let hex = |byte: u8| (byte as char).to_digit(16);
    match *rest {
        [b'x', high, low, ..] => match (hex(high), hex(low)) {
            (Some(high), Some(low)) => ((high << 4 | low) as u8, 3),
            _ => (b'x', 1),
        },
        [b'n', ..] => (b'\n', 1),
        [b'r', ..] => (b'\r', 1),
        [b't', ..] => (b'\t', 1),
        [b'b', ..] => (8, 1),
        [b'a', ..] => (7, 1),
        [byte, ..] => (byte, 1),
        [] => (b'\\', 0),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    fn check(line: &str, expected: &[&str]) {
        let arguments = split(line.as_bytes()).unwrap();
        let texts: Vec<_> = arguments.iter().map(|argument| String::from_utf8_lossy(argument)).collect();
        assert_eq!(texts, expected, "{line}");
    }

    #[test]
    fn arguments_are_split_as_by_a_server() {
        check("", &[]);
        check("  \t ", &[]);
        check("PING", &["PING"]);
        check(" set  k\tv ", &["set", "k", "v"]);
        check(r#"set "a b" 'c d'"#, &["set", "a b", "c d"]);
        check(r#"set k "\x41\n\"\xzz""#, &["set", "k", "A\n\"xzz"]);
        check(r"set k 'it\'s' ''", &["set", "k", "it's", ""]);
        check(r#"se"t" k"#, &["set", "k"]);
    }

    #[test]
    fn lines_that_a_server_refuses_are_refused() {
        for line in [r#"set "k"#, "set 'k", r#"set "k"v"#, r#"set "k\""#] {
            assert!(split(line.as_bytes()).is_err(), "{line}");
        }
    }
}
