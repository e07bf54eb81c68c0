//! What bytes look like: whether a packet can begin with them, as far as they are there, and how sure that is.
//!
//! A header alone is little evidence; contents that agree with it are. No field is read here but to judge.

use super::handshake;
use super::packet::{
    self, EOF, ERR, HEADER, LOCAL_INFILE, OK, PAYLOAD_MAX, PROGRESS, command, command_name, header,
};
use crate::protocol::cursor::Cursor;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Client, Side::Server];
}

/// What bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A whole packet of so many bytes; `strong`: its contents do not come by chance.
    Whole { length: usize, seq: u8, strong: bool },
    /// The beginning of a packet of so many bytes; its contents are as they should be so far. `strong`: no others are.
    Begun { length: u64, strong: bool },
    /// Too few bytes to say.
    Short,
    /// No packet.
    No,
}

/// How much text is looked at.
const TEXT: usize = 256;

/// Words with which statements begin.
const WORDS: [&[u8]; 57] = [
    b"SELECT",
    b"INSERT",
    b"UPDATE",
    b"DELETE",
    b"REPLACE",
    b"SET",
    b"SHOW",
    b"CREATE",
    b"DROP",
    b"ALTER",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK",
    b"START",
    b"USE",
    b"CALL",
    b"EXPLAIN",
    b"DESCRIBE",
    b"DESC",
    b"WITH",
    b"LOAD",
    b"LOCK",
    b"UNLOCK",
    b"TRUNCATE",
    b"RENAME",
    b"GRANT",
    b"REVOKE",
    b"FLUSH",
    b"ANALYZE",
    b"CHECK",
    b"OPTIMIZE",
    b"REPAIR",
    b"KILL",
    b"DO",
    b"HANDLER",
    b"PREPARE",
    b"EXECUTE",
    b"DEALLOCATE",
    b"SAVEPOINT",
    b"RELEASE",
    b"XA",
    b"PURGE",
    b"RESET",
    b"CHANGE",
    b"STOP",
    b"INSTALL",
    b"UNINSTALL",
    b"BINLOG",
    b"CACHE",
    b"HELP",
    b"SIGNAL",
    b"RESIGNAL",
    b"TABLE",
    b"VALUES",
    b"CHECKSUM",
    b"SHUTDOWN",
    b"KILL",
];

/// Judges the packet at the front of `data`.
pub fn shape(side: Side, data: &[u8]) -> Shape {
    let Some((length, seq)) = header(data) else {
        return Shape::Short;
    };
    if length == 0 {
        return Shape::No;
    }
    let there = data.len() - HEADER;
    let contents = &data[HEADER..HEADER + (there as u64).min(length) as usize];
    if contents.is_empty() {
        return Shape::Short;
    }
    let whole = contents.len() as u64 == length;
    let judged = match side {
        Side::Client if seq == 0 => client(contents, length, whole),
        Side::Client if seq == 1 && length > handshake::SSL_REQUEST => login(contents),
        Side::Client => None,
        Side::Server => server(contents, length, seq, whole),
    };
    match judged {
        Some(strong) if whole => Shape::Whole { length: HEADER + length as usize, seq, strong },
        Some(strong) => Shape::Begun { length: HEADER as u64 + length, strong },
        None => Shape::No,
    }
}

fn login(contents: &[u8]) -> Option<bool> {
    (handshake::begins_login(contents)? && contents.get(32..)?.contains(&0)).then_some(true)
}

/// Whether a command can look so, and whether that is strong evidence.
fn client(contents: &[u8], length: u64, whole: bool) -> Option<bool> {
    let code = contents[0];
    command_name(code)?;
    let body = &contents[1..];
    let exactly = |expected: u64| (length == expected).then_some(false);
    match code {
        command::QUIT | command::STATISTICS | command::PROCESS_INFO | command::DEBUG | command::PING => {
            exactly(1)
        }
        command::RESET_CONNECTION => exactly(1),
        command::STMT_CLOSE | command::STMT_RESET | command::PROCESS_KILL => exactly(5),
        command::SET_OPTION => (length == 3 && matches!(body, [] | [0 | 1] | [0 | 1, 0])).then_some(false),
        command::REFRESH => exactly(2),
        command::STMT_FETCH => exactly(9),
        command::QUERY | command::STMT_PREPARE => {
            let text = if let [0, 1, rest @ ..] = body { rest } else { body };
            // Attributes stand before the text: their number, one set, which are NULL, that types follow.
            if let [count @ 1..=250, 1, rest @ ..] = body {
                return rest
                    .get(usize::from(*count).div_ceil(8))
                    .is_some_and(|&flag| flag == 1)
                    .then_some(false);
            }
            is_text(text).then(|| is_statement(text))
        }
        command::INIT_DB | command::CREATE_DB | command::DROP_DB => {
            ((2..=257).contains(&length) && is_text(body)).then_some(false)
        }
        command::FIELD_LIST => {
            let name = body.split(|&byte| byte == 0).next().unwrap_or_default();
            let has_end = name.len() < body.len() || !whole;
            (has_end && !name.is_empty() && name.len() <= 256 && is_text(name)).then_some(false)
        }
        command::STMT_EXECUTE => {
            let iterations = body.get(5..body.len().min(9)).unwrap_or_default();
            let flags = body.get(4).copied().unwrap_or(0);
            (length >= 10 && flags < 16 && [1, 0, 0, 0].starts_with(iterations))
                .then_some(iterations.len() == 4)
        }
        command::STMT_BULK_EXECUTE => {
            let flags = Cursor::new(body.get(4..).unwrap_or_default()).u16_le().unwrap_or(0);
            (length >= 7 && flags & !0xc0 == 0).then_some(false)
        }
        command::STMT_SEND_LONG_DATA => (length >= 7).then_some(false),
        command::CHANGE_USER => {
            let user = body.split(|&byte| byte == 0).next().unwrap_or_default();
            (length >= 4 && user.len() < 256 && (user.len() < body.len() || !whole) && is_text(user))
                .then_some(false)
        }
        _ => None,
    }
}

/// Text of any kind: no control characters at its beginning but white space.
fn is_text(text: &[u8]) -> bool {
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    !text.iter().take(TEXT).any(is_control)
}

/// Whether text begins as a statement does.
fn is_statement(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    if text.starts_with(b"/*") || text.starts_with(b"-- ") {
        return true;
    }
    let text = text.strip_prefix(b"(").unwrap_or(text);
    let end = text.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
    WORDS.iter().any(|word| text[..end].eq_ignore_ascii_case(word))
}

fn server(contents: &[u8], length: u64, seq: u8, whole: bool) -> Option<bool> {
    match contents[0] {
        9 | 10 if seq == 0 => {
            let greeting = handshake::greeting(contents);
            let is_greeting = greeting.is_some_and(|greeting| greeting.is_plausible());
            (is_greeting && length > 16).then_some(true)
        }
        ERR => is_error(contents, length, whole).then_some(whole && length > 9),
        _ if seq == 0 => Some(false).filter(|_| length > 1 && is_row(contents, whole)),
        EOF if length == 5 => (!whole || has_status(&contents[3..])).then_some(false),
        EOF if (7..PAYLOAD_MAX).contains(&length) => is_okay(contents, whole).then_some(false),
        OK if is_okay(contents, whole) => Some(length == 7),
        // A binary row, or a prepared statement.
        OK => (length > 2).then_some(false),
        LOCAL_INFILE if length > 1 && is_text(&contents[1..]) => Some(false),
        _ if length == 1 => Some(false),
        3 if contents.starts_with(&b"\x03def"[..contents.len().min(4)]) && length > 16 => {
            Some(contents.len() >= 4)
        }
        _ => is_row(contents, whole).then_some(length > 32 && whole),
    }
}

/// An ERR packet: a number, mostly a state, and text to the end.
fn is_error(contents: &[u8], length: u64, whole: bool) -> bool {
    let mut cursor = Cursor::new(&contents[1..]);
    let Some(code) = cursor.u16_le() else { return !whole && length < 1024 };
    if code == PROGRESS {
        return true;
    }
    (1000..=20_000).contains(&code) && length < 2048 && length > 3 && is_text(cursor.rest())
}

/// An OK packet, or one in place of an EOF packet.
pub fn is_okay(contents: &[u8], whole: bool) -> bool {
    let mut cursor = Cursor::new(&contents[1..]);
    let (Some(_), Some(_)) = (packet::integer(&mut cursor), packet::integer(&mut cursor)) else {
        return !whole;
    };
    match cursor.rest() {
        rest if rest.len() < 4 => !whole,
        rest => has_status(rest),
    }
}

/// Whether status flags can be so: one that is reserved is never set, and a transaction or autocommit is the rule.
fn has_status(rest: &[u8]) -> bool {
    Cursor::new(rest).u16_le().is_some_and(|status| status & 4 == 0 && status & 3 != 0)
}

/// How many values of a row are looked at.
const VALUES: usize = 64;

/// A row of text: length-encoded strings that fill it.
fn is_row(contents: &[u8], whole: bool) -> bool {
    let mut cursor = Cursor::new(contents);
    for _ in 0..VALUES {
        match cursor.rest().first() {
            None => return true,
            Some(&LOCAL_INFILE) => {
                let _ = cursor.u8();
                continue;
            }
            Some(&ERR) => return false,
            Some(_) => {}
        }
        let Some(length) = packet::integer(&mut cursor) else { return !whole };
        if length > cursor.len() as u64 {
            return !whole;
        }
        let _ = cursor.skip(length as usize);
    }
    true
}

/// The header of the compressed protocol: the length of what is compressed, a sequence number, and the length that it
/// has without; 0 where it is not compressed.
const COMPRESSED_HEADER: usize = 7;

/// Whether a connection that was open before speaks the compressed protocol: a packet of it that is sent as it is holds
/// exactly one packet, and one that is compressed begins as zlib's or zstd's data does.
pub fn is_compressed(data: &[u8]) -> bool {
    let mut cursor = Cursor::new(data);
    let (Some(length), Some(seq), Some(plain)) = (cursor.u24_le(), cursor.u8(), cursor.u24_le()) else {
        return false;
    };
    let length = length as usize;
    if seq > 1 || length < HEADER + 1 || data.len() != COMPRESSED_HEADER + length {
        return false;
    }
    let contents = cursor.rest();
    if plain == 0 {
        let Some((inner, inner_seq)) = header(contents) else { return false };
        let side = if inner_seq == 0 { Side::Client } else { Side::Server };
        let judged = matches!(shape(side, contents), Shape::Whole { .. });
        return judged && inner as usize + HEADER == length && inner_seq <= 1;
    }
    let is_zlib = matches!(contents, [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..]);
    (is_zlib || contents.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])) && plain as usize > length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(side: Side, data: &[u8], expected: Option<bool>) {
        let found = match shape(side, data) {
            Shape::Whole { strong, .. } => Some(strong),
            _ => None,
        };
        assert_eq!(found, expected, "{data:?}");
    }

    #[test]
    fn packets_are_known_by_their_contents() {
        check(Side::Client, b"\x01\0\0\0\x0e", Some(false));
        check(Side::Client, b"\x02\0\0\0\x0e\0", None);
        check(Side::Client, b"\x09\0\0\0\x03SELECT 1", Some(true));
        check(Side::Client, b"\x0b\0\0\0\x03\0\x01SELECT 1", Some(true));
        check(Side::Client, b"\x09\0\0\x01\x03SELECT 1", None);
        check(Side::Client, b"\x09\0\0\0\x03SEL\0CT 1", None);
        check(Side::Client, b"\x05\0\0\0\x2aabcd", None);
        check(Side::Server, b"\x07\0\0\x01\0\0\0\x02\0\0\0", Some(true));
        check(Side::Server, b"\x07\0\0\x01\0\0\0\x04\0\0\0", Some(false));
        check(Side::Server, b"\x05\0\0\x05\xfe\0\0\x02\0", Some(false));
        check(Side::Server, b"\x05\0\0\x05\xfe\0\0\x04\0", None);
        check(Side::Server, b"\x0e\0\0\x01\xff\x28\x04#42000oh no", Some(true));
        check(Side::Server, b"\x03\0\0\x07\x01a\xfb", Some(false));
        check(Side::Server, b"\x03\0\0\x07\x02a\xfb", Some(false));
        check(Side::Server, b"\x03\0\0\x07\x05a\xfb", None);
        let begun = |strong| Shape::Begun { length: 13, strong };
        assert_eq!(shape(Side::Client, b"\x09\0\0\0\x03SEL"), begun(false));
        assert_eq!(shape(Side::Client, b"\x09\0\0\0\x03SELECT "), begun(true));
        assert_eq!(shape(Side::Client, b"\x09\0\0"), Shape::Short);
    }

    #[test]
    fn the_compressed_protocol_is_known_by_what_it_holds() {
        assert!(is_compressed(b"\x0d\0\0\0\0\0\0\x09\0\0\0\x03SELECT 1"));
        assert!(is_compressed(b"\x0b\0\0\x01\0\0\0\x07\0\0\x01\0\0\0\x02\0\0\0"));
        assert!(is_compressed(b"\x06\0\0\x01\xff\0\0\x78\x9c1234"));
        assert!(!is_compressed(b"\x0c\0\0\0\0\0\0\x09\0\0\0\x03SELECT "));
        assert!(!is_compressed(b"\x09\0\0\0\x03SELECT 1"));
    }
}
