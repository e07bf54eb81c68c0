//! SQL as text: on one line, in part, and without the passwords that some statements hold.

use crate::protocol::MASK;
use memchr::memmem;

/// How many characters of a statement a summary shows.
const LINE_MAX: usize = 200;

/// A statement on one line: runs of white space become one blank, a long one is cut.
pub fn line(query: &[u8]) -> String {
    let text = String::from_utf8_lossy(query);
    let mut line = String::new();
    let mut blank = false;
    let mut count = 0;
    for character in text.trim().chars() {
        if character.is_whitespace() {
            blank = true;
            continue;
        }
        if count >= LINE_MAX {
            line.push('\u{2026}');
            break;
        }
        if std::mem::take(&mut blank) {
            line.push(' ');
            count += 1;
        }
        line.push(character);
        count += 1;
    }
    line
}

/// A statement with the passwords masked that it sets or connects with: `PASSWORD '...'` of CREATE ROLE, ALTER USER
/// and the options of a user mapping; `password=...` in a connection string. Also where the text ends inside one.
pub fn masked(query: &[u8]) -> Vec<u8> {
    let lower = query.to_ascii_lowercase();
    let mut masked = Vec::with_capacity(query.len());
    let mut at = 0;
    for found in memmem::find_iter(&lower, b"password") {
        let behind = found + "password".len();
        if found < at {
            continue;
        }
        if let Some((from, to)) = secret(query, behind) {
            masked.extend_from_slice(&query[at..from]);
            masked.extend_from_slice(MASK.as_bytes());
            at = to;
        }
    }
    masked.extend_from_slice(&query[at..]);
    masked
}

/// Where the secret lies that stands behind the word `password`, if one does.
fn secret(query: &[u8], behind: usize) -> Option<(usize, usize)> {
    let space = |from: usize| {
        let rest = &query[from.min(query.len())..];
        from + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    };
    // `options(password 'x')` can name the option in quotes.
    let at = space(behind + usize::from(query.get(behind) == Some(&b'"')));
    match query.get(at)? {
        b'=' => {
            let from = space(at + 1);
            match &query[from.min(query.len())..] {
                // A quoted value in a connection string, whose quotes are doubled where it is itself a literal.
                [b'\'', b'\'', ..] => Some((from + 2, until(query, from + 2, b"''"))),
                [b'\'', ..] => literal(query, from),
                _ => Some((from, unquoted(query, from))),
            }
        }
        b'\'' => literal(query, at),
        b'e' | b'E' | b'u' | b'U' if query.get(at + 1) == Some(&b'\'') => literal(query, at + 1),
        b'$' => dollar(query, at),
        _ => None,
    }
}

/// Inside a literal whose quote is at `quote`; a doubled or escaped quote does not end it.
fn literal(query: &[u8], quote: usize) -> Option<(usize, usize)> {
    let mut at = quote + 1;
    while let Some(&byte) = query.get(at) {
        match (byte, query.get(at + 1)) {
            (b'\\', Some(_)) | (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => break,
            _ => at += 1,
        }
    }
    Some((quote + 1, at.min(query.len())))
}

/// Inside `$tag$...$tag$`. A parameter (`$1`) is none.
fn dollar(query: &[u8], from: usize) -> Option<(usize, usize)> {
    let tag = memchr::memchr(b'$', &query[from + 1..])? + 2;
    let is_tag =
        query[from + 1..from + tag - 1].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let begin = from + tag;
    is_tag.then(|| (begin, until(query, begin, &query[from..begin])))
}

fn until(query: &[u8], from: usize, end: &[u8]) -> usize {
    memmem::find(&query[from..], end).map_or(query.len(), |at| from + at)
}

fn unquoted(query: &[u8], from: usize) -> usize {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"'\"&;)".contains(byte);
    query[from.min(query.len())..].iter().position(ends).map_or(query.len(), |at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &str) {
        assert_eq!(String::from_utf8(masked(query.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn passwords_are_masked_wherever_a_statement_holds_them() {
        check("ALTER USER a PASSWORD 'se''cret' LOGIN", "ALTER USER a PASSWORD '***' LOGIN");
        check("create role a password E'x\\'y' login", "create role a password E'***' login");
        check("CREATE ROLE a PASSWORD $x$secret$x$;", "CREATE ROLE a PASSWORD $x$***$x$;");
        check("OPTIONS (user 'u', password 'pw')", "OPTIONS (user 'u', password '***')");
        check("OPTIONS (\"password\" 'pw')", "OPTIONS (\"password\" '***')");
        check("CONNECTION 'host=h password=pw dbname=d'", "CONNECTION 'host=h password=*** dbname=d'");
        check("CONNECTION 'password = ''p w'' x=1'", "CONNECTION 'password = ''***'' x=1'");
        check("ALTER USER a PASSWORD 'cut he", "ALTER USER a PASSWORD '***");
        check("ALTER USER a PASSWORD '", "ALTER USER a PASSWORD '***");
    }

    #[test]
    fn what_is_no_password_stays() {
        for query in [
            "SELECT password FROM accounts WHERE username = 'test'",
            "ALTER USER a PASSWORD NULL",
            "SELECT password, $1",
            "UPDATE t SET password",
            "ALTER USER a PASSWORD $1",
        ] {
            check(query, query);
        }
    }

    #[test]
    fn a_statement_is_one_line() {
        assert_eq!(line(b"  SELECT 1,\n\t 2 \n"), "SELECT 1, 2");
        let long = line(&[b'x'; 300]);
        assert_eq!((long.chars().count(), long.ends_with('\u{2026}')), (LINE_MAX + 1, true));
    }
}
