//! SQL as text: on one line, in part, and without the passwords that some statements hold.
use crate::protocol::MASK;

/// How many characters of a statement a summary shows.
const LINE_MAX: usize = 200;

/// A statement on one line: runs of white space become one blank, a long one is cut.
pub fn line(query: &[u8]) -> String {
    let text = String::from_utf8_lossy(&query[..query.len().min(8 * LINE_MAX)]);
    let mut line = String::new();
    let mut count = 0;
    for (index, word) in text.split_whitespace().enumerate() {
        let blank = (index > 0).then_some(' ');
        for character in blank.into_iter().chain(word.chars()) {
            if count >= LINE_MAX {
                line.push('\u{2026}');
                return line;
            }
            line.push(character);
            count += 1;
        }
    }
    if query.len() > 8 * LINE_MAX {
        line.push('\u{2026}');
    }
    line
}

/// A statement with the passwords masked that it sets or connects with. Also where the text ends inside one.
///
/// Literals are secrets behind `IDENTIFIED BY` and `IDENTIFIED WITH plugin BY`, `AS` or `USING` (CREATE and ALTER USER,
/// GRANT), behind `REPLACE` and `PASSWORD` in the same, in `SET PASSWORD`, in `PASSWORD(...)` and `OLD_PASSWORD(...)`, and
/// behind the names that end with `PASSWORD` in CHANGE MASTER, CHANGE REPLICATION SOURCE, START REPLICA, CREATE SERVER
/// and CLONE.
pub fn masked(query: &[u8]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(query.len());
    let mut seen = Seen::default();
    let mut at = 0;
    while at < query.len() {
        let end = token_end(query, at);
        let token = &query[at..end];
        let is_literal = matches!(token[0], b'\'' | b'"');
        let name = token.strip_prefix(b"`").and_then(|name| name.strip_suffix(b"`"));
        let name = name.filter(|name| !name.is_empty()).unwrap_or(token);
        if is_literal && seen.expects_secret() {
            let closed = token.len() > 1 && token.last() == token.first();
            masked.push(token[0]);
            masked.extend_from_slice(MASK.as_bytes());
            masked.extend(closed.then_some(token[0]));
        } else if is_literal && holds_statement(token) {
            masked.extend_from_slice(&masked_within(token));
        } else {
            masked.extend_from_slice(token);
        }
        seen.pass(name, is_literal);
        at = end;
    }
    masked
}

/// The text of an error; behind `near '` it quotes the statement from where it is wrong.
pub fn masked_error(message: &[u8]) -> Vec<u8> {
    const NEAR: &[u8] = b"near '";
    match memchr::memmem::find(message, NEAR) {
        Some(at) => {
            let quote = at + NEAR.len();
            [&message[..quote], &masked(&message[quote..])].concat()
        }
        None => message.to_vec(),
    }
}

/// Whether a literal is likely to be a statement that sets a password, as PREPARE has them.
fn holds_statement(literal: &[u8]) -> bool {
    let lower = literal.to_ascii_lowercase();
    [&b"identified"[..], b"password"].iter().any(|word| memchr::memmem::find(&lower, word).is_some())
}

/// A literal, masked as the statement that it holds.
fn masked_within(literal: &[u8]) -> Vec<u8> {
    let quote = literal[0];
    let is_closed = literal.len() > 1 && literal.last() == Some(&quote);
    let text = &literal[1..literal.len() - usize::from(is_closed)];
    let (mut plain, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = text.get(at) {
        // A quotation mark inside stands behind another, or behind a backslash.
        let is_pair = (byte == quote || byte == b'\\') && text.get(at + 1) == Some(&quote);
        at += usize::from(is_pair);
        plain.push(text[at]);
        at += 1;
    }
    let masked = masked(&plain);
    if masked == plain {
        return literal.to_vec();
    }
    let mut shown = vec![quote];
    for byte in masked {
        shown.extend((byte == quote).then_some(quote));
        shown.push(byte);
    }
    shown.extend(is_closed.then_some(quote));
    shown
}

/// What stands before a literal.
#[derive(Debug, Default)]
struct Seen {
    /// `IDENTIFIED` came, in this account's clause.
    identified: bool,
    /// The statement begins with `SET PASSWORD`.
    sets_password: bool,
    first: Vec<u8>,
    /// The last word, in capitals, and whether only `=`, `(`, `:=` or blanks came behind it.
    last: Vec<u8>,
    adjacent: bool,
}

impl Seen {
    fn expects_secret(&self) -> bool {
        if !self.adjacent {
            return false;
        }
        let last = self.last.as_slice();
        last.ends_with(b"PASSWORD")
            || last == b"ENCRYPT"
            || self.identified && matches!(last, b"BY" | b"AS" | b"USING" | b"REPLACE")
            || self.sets_password && matches!(last, b"REPLACE" | b"PASSWORD")
    }

    fn pass(&mut self, token: &[u8], is_literal: bool) {
        let is_word = !is_literal && token[0].is_ascii_alphabetic();
        if is_word {
            let word = token[..token.len().min(64)].to_ascii_uppercase();
            if self.first.is_empty() {
                self.first.clone_from(&word);
            }
            self.sets_password |= word == b"PASSWORD" && self.first == b"SET" && self.last == b"SET";
            self.identified |= word == b"IDENTIFIED";
            (self.last, self.adjacent) = (word, true);
            return;
        }
        match token[0] {
            _ if token[0].is_ascii_whitespace() => {}
            b'=' | b'(' | b':' => {
                // `SET PASSWORD FOR 'a'@'b' = 'secret'`: the words between do not matter.
                if self.sets_password && token[0] == b'=' {
                    (self.last, self.adjacent) = (b"PASSWORD".to_vec(), true);
                }
            }
            b'/' | b'#' if token.len() > 1 => {}
            b';' => *self = Seen::default(),
            _ => self.adjacent = false,
        }
    }
}

/// The end of what begins at `at`: a literal, a quoted name, a word, a comment, or one other byte.
fn token_end(query: &[u8], at: usize) -> usize {
    let rest = &query[at..];
    let until =
        |end: &[u8]| memchr::memmem::find(&rest[2..], end).map_or(rest.len(), |to| 2 + to + end.len());
    let length = match rest {
        [quote @ (b'\'' | b'"' | b'`'), ..] => quoted(rest, *quote),
        [b'/', b'*', b'!' | b'M', ..] => 2, // its contents are executed
        [b'/', b'*', ..] => until(b"*/"),
        [b'#', ..] => memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
        [b'-', b'-', blank, ..] if blank.is_ascii_whitespace() => until(b"\n"),
        [first, ..] if first.is_ascii_alphabetic() || *first == b'_' => {
            let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
            rest.iter().take_while(|byte| inside(byte)).count()
        }
        _ => 1,
    };
    at + length.clamp(1, rest.len())
}

/// The length of what is quoted; a doubled or escaped quote does not end it.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match (byte, text.get(at + 1)) {
            (b'\\', Some(_)) if quote != b'`' => at += 2,
            (byte, Some(next)) if byte == quote && *next == quote => at += 2,
            (byte, _) if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(query: &str, expected: &str) {
        assert_eq!(String::from_utf8(masked(query.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn passwords_are_masked_wherever_a_statement_holds_them() {
        for (query, expected) in [
            ("CREATE USER a@b IDENTIFIED BY 'se''c\\'ret'", "CREATE USER a@b IDENTIFIED BY '***'"),
            (
                "create user a identified by 'x', c identified by \"y\"",
                "create user a identified by '***', c identified by \"***\"",
            ),
            (
                "ALTER USER 'a'@'%' IDENTIFIED WITH caching_sha2_password BY 'x' REPLACE 'old'",
                "ALTER USER 'a'@'%' IDENTIFIED WITH caching_sha2_password BY '***' REPLACE '***'",
            ),
            (
                "CREATE USER a IDENTIFIED VIA ed25519 USING PASSWORD('x')",
                "CREATE USER a IDENTIFIED VIA ed25519 USING PASSWORD('***')",
            ),
            ("CREATE USER a IDENTIFIED WITH 'p' AS '*HASH'", "CREATE USER a IDENTIFIED WITH 'p' AS '***'"),
            (
                "GRANT ALL ON *.* TO a IDENTIFIED BY PASSWORD '*HASH'",
                "GRANT ALL ON *.* TO a IDENTIFIED BY PASSWORD '***'",
            ),
            ("SET PASSWORD = 'x'", "SET PASSWORD = '***'"),
            ("SET PASSWORD FOR 'a'@'h' = PASSWORD('x')", "SET PASSWORD FOR 'a'@'h' = PASSWORD('***')"),
            ("SET PASSWORD FOR 'a'@'h' = 'x' REPLACE 'y'", "SET PASSWORD FOR 'a'@'h' = '***' REPLACE '***'"),
            (
                "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD = 'x'",
                "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD = '***'",
            ),
            (
                "CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD='x'",
                "CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD='***'",
            ),
            (
                "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (USER 'u', PASSWORD 'x')",
                "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (USER 'u', PASSWORD '***')",
            ),
            ("SELECT encrypt('x', 'salt')", "SELECT encrypt('***', 'salt')"),
            (
                "PREPARE s FROM 'ALTER USER a IDENTIFIED BY ''x'' '",
                "PREPARE s FROM 'ALTER USER a IDENTIFIED BY ''***'' '",
            ),
            (r"PREPARE s FROM 'SET PASSWORD = \'x\''", "PREPARE s FROM 'SET PASSWORD = ''***'''"),
            ("SET @s = \"SET PASSWORD = 'x'\"", "SET @s = \"SET PASSWORD = '***'\""),
            ("PREPARE s FROM 'SET PASSWORD = ''cut", "PREPARE s FROM 'SET PASSWORD = ''***"),
            ("SELECT old_password('x')", "SELECT old_password('***')"),
            ("CREATE USER a IDENTIFIED BY /* why */ 'x'", "CREATE USER a IDENTIFIED BY /* why */ '***'"),
            ("/*!50003 CREATE USER a IDENTIFIED BY 'x' */", "/*!50003 CREATE USER a IDENTIFIED BY '***' */"),
            ("CREATE USER a IDENTIFIED BY 'cut he", "CREATE USER a IDENTIFIED BY '***"),
            ("UPDATE mysql.user SET `password`='x'", "UPDATE mysql.user SET `password`='***'"),
        ] {
            check(query, expected);
        }
    }

    #[test]
    fn an_error_quotes_no_password() {
        let error = |text: &str| String::from_utf8(masked_error(text.as_bytes())).unwrap();
        assert_eq!(
            error("syntax to use near 'IDENTIFIED BY 'x' NOSUCH' at line 1"),
            "syntax to use near 'IDENTIFIED BY '***' NOSUCH' at line 1"
        );
        let other = "Access denied for user 'a'@'h' (using password: YES)";
        assert_eq!(error(other), other);
    }

    #[test]
    fn what_is_no_password_stays() {
        for query in [
            "SELECT password FROM accounts WHERE username = 'test'",
            "SELECT 'password', 'x'",
            "SELECT a AS 'x', REPLACE('a', 'b', 'c')",
            "SET NAMES 'utf8mb4'; SELECT 'IDENTIFIED BY', 'x'",
            "INSERT INTO t (password, name) VALUES ('a', 'b')",
            "SELECT 'the password is lost', 'it''s not identified'",
            "SELECT 'never ending",
            "SELECT `` FROM `",
            "",
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

    proptest! {
        #[test]
        fn any_text_can_be_masked(text in prop::collection::vec(any::<u8>(), 0..200)) {
            masked(&text);
            line(&text);
        }
    }
}
