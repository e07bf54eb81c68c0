//! Messages by their type: names, lengths, and whether bytes look like one of them.
//!
//! Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol", section "Message Formats"
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>). A message is a type byte, a length that
//! counts itself but not the type, and its contents. What a client sends first has no type byte: see
//! [`super::startup`].
//!
//! Both sides use the same letters for different messages, so every question is asked of a [`Side`].

use crate::protocol::cursor::Cursor;

/// Type byte and length.
pub const HEADER: usize = 5;

/// How much of a message is looked at to judge whether it is one.
const LOOK: usize = 4096;

/// The longest message that a client may send (`MaxAllocSize` of the server), and a sane bound for the server's.
const LENGTH_MAX: u32 = 0x3fff_ffff;

/// The most columns of a result (`MaxTupleAttributeNumber`).
const COLUMNS_MAX: u16 = 1664;

/// The longest cancellation key (protocol 3.2).
const KEY_MAX: u32 = 256;

/// Who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Frontend.
    Client,
    /// Backend.
    Server,
}

impl Side {
    /// Both.
    pub const BOTH: [Side; 2] = [Side::Client, Side::Server];
}

/// The name of a message, as the documentation has it. `None`: no such message.
pub fn name(side: Side, kind: u8) -> Option<&'static str> {
    Some(match (side, kind) {
        (Side::Client, b'B') => "Bind",
        (Side::Client, b'C') => "Close",
        (Side::Client, b'D') => "Describe",
        (Side::Client, b'E') => "Execute",
        (Side::Client, b'F') => "FunctionCall",
        (Side::Client, b'H') => "Flush",
        (Side::Client, b'P') => "Parse",
        (Side::Client, b'Q') => "Query",
        (Side::Client, b'S') => "Sync",
        (Side::Client, b'X') => "Terminate",
        (Side::Client, b'f') => "CopyFail",
        (Side::Client, b'p') => "PasswordMessage",
        (Side::Server, b'1') => "ParseComplete",
        (Side::Server, b'2') => "BindComplete",
        (Side::Server, b'3') => "CloseComplete",
        (Side::Server, b'A') => "NotificationResponse",
        (Side::Server, b'C') => "CommandComplete",
        (Side::Server, b'D') => "DataRow",
        (Side::Server, b'E') => "ErrorResponse",
        (Side::Server, b'G') => "CopyInResponse",
        (Side::Server, b'H') => "CopyOutResponse",
        (Side::Server, b'I') => "EmptyQueryResponse",
        (Side::Server, b'K') => "BackendKeyData",
        (Side::Server, b'N') => "NoticeResponse",
        (Side::Server, b'R') => "Authentication",
        (Side::Server, b'S') => "ParameterStatus",
        (Side::Server, b'T') => "RowDescription",
        (Side::Server, b'V') => "FunctionCallResponse",
        (Side::Server, b'W') => "CopyBothResponse",
        (Side::Server, b'Z') => "ReadyForQuery",
        (Side::Server, b'n') => "NoData",
        (Side::Server, b's') => "PortalSuspended",
        (Side::Server, b't') => "ParameterDescription",
        (Side::Server, b'v') => "NegotiateProtocolVersion",
        (_, b'c') => "CopyDone",
        (_, b'd') => "CopyData",
        _ => return None,
    })
}

/// Whether a message of this type can say to be `length` long.
fn length_fits(side: Side, kind: u8, length: u32) -> bool {
    let (least, most) = match (side, kind) {
        (Side::Client, b'H' | b'S' | b'X') | (_, b'c') => (4, 4),
        (Side::Server, b'1' | b'2' | b'3' | b'I' | b'n' | b's') => (4, 4),
        (Side::Server, b'Z') => (5, 5),
        (Side::Server, b'K') => (9, 8 + KEY_MAX),
        (Side::Server, b'R') => (8, LENGTH_MAX),
        (Side::Client, b'C' | b'D') | (Side::Server, b'D' | b'T' | b't') => (6, LENGTH_MAX),
        (Side::Client, b'E') => (9, LENGTH_MAX),
        (Side::Client, b'P') => (8, LENGTH_MAX),
        (Side::Client, b'B') => (12, LENGTH_MAX),
        (Side::Client, b'F') => (14, LENGTH_MAX),
        (Side::Server, b'V') => (8, LENGTH_MAX),
        (Side::Server, b'G' | b'H' | b'W') => (7, LENGTH_MAX),
        (Side::Server, b'v') => (12, LENGTH_MAX),
        (_, b'd' | b'p') => (4, LENGTH_MAX),
        _ => (5, LENGTH_MAX),
    };
    (least..=most).contains(&length)
}

/// Reads a header: how many bytes the message has in all. `Ok(None)` where it is not whole yet.
///
/// # Errors
/// What is wrong, and how many bytes prove it.
pub fn length(side: Side, data: &[u8]) -> Result<Option<u64>, (usize, String)> {
    let Some(&kind) = data.first() else { return Ok(None) };
    if name(side, kind).is_none() {
        let who = if side == Side::Client { "a client" } else { "a server" };
        return Err((1, format!("no message of {who} has type {:?}", char::from(kind))));
    }
    let Some(length) = Cursor::new(&data[1..]).u32() else { return Ok(None) };
    if !length_fits(side, kind, length) {
        return Err((HEADER, format!("a {} of length {length}", name(side, kind).unwrap_or_default())));
    }
    Ok(Some(u64::from(length) + 1))
}

/// What bytes look like as a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It is none.
    No,
    /// So far it can be one, and its type and length are there: bytes that it has in all.
    Begun(u64),
    /// Too few bytes to say.
    Short,
    /// A whole one: its bytes, and whether contents that no other bytes have by chance say so.
    Whole(usize, bool),
}

/// Judges the beginning of `data`.
pub fn shape(side: Side, data: &[u8]) -> Shape {
    let length = match length(side, data) {
        Ok(Some(length)) => length,
        Ok(None) if data.len() > 1 && data[1] > 0x3f => return Shape::No,
        Ok(None) => return Shape::Short,
        Err(_) => return Shape::No,
    };
    let whole = usize::try_from(length).ok().filter(|&length| length <= data.len());
    let body = &data[HEADER..whole.unwrap_or(data.len())];
    // Of a long message only the beginning is looked at; that is as good as one that has not come whole.
    let (body, all) = if body.len() > LOOK { (&body[..LOOK], false) } else { (body, whole.is_some()) };
    match (contents(side, data[0], Contents { cursor: Cursor::new(body), all }), whole) {
        (None, _) => Shape::No,
        (Some(strong), Some(length)) => Shape::Whole(length, strong),
        (Some(_), None) => Shape::Begun(length),
    }
}

/// The contents of a message, as far as they are there.
struct Contents<'a> {
    cursor: Cursor<'a>,
    /// They are all there.
    all: bool,
}

/// A part of the contents that was read, or why not.
enum Part<T> {
    Is(T),
    /// It is not there yet.
    Missing,
    /// It is not what it should be.
    Wrong,
}

/// Reads a part; returns from the function where it is wrong, or missing, which is fine so far.
macro_rules! part {
    ($part:expr) => {
        match $part {
            Part::Is(value) => value,
            Part::Missing => return Some(true),
            Part::Wrong => return None,
        }
    };
}

impl<'a> Contents<'a> {
    fn part<T>(&self, value: Option<T>) -> Part<T> {
        match value {
            Some(value) => Part::Is(value),
            None if self.all => Part::Wrong,
            None => Part::Missing,
        }
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut Cursor<'a>) -> Option<T>) -> Part<T> {
        let value = read(&mut self.cursor);
        self.part(value)
    }

    /// Text that ends with a zero byte.
    fn text(&mut self) -> Part<&'a [u8]> {
        let before = self.cursor.rest();
        match self.cursor.until(0) {
            Some(text) if is_text(text) => Part::Is(text),
            None if is_text(before) => self.part(None),
            _ => Part::Wrong,
        }
    }

    fn u16_below(&mut self, most: u16) -> Part<u16> {
        let value = self.cursor.u16();
        if value.is_some_and(|value| value > most) { Part::Wrong } else { self.part(value) }
    }

    /// So many format codes: 0 (text) or 1 (binary).
    fn formats(&mut self) -> Part<u16> {
        let Some(count) = self.cursor.u16() else { return self.part(None) };
        for _ in 0..count {
            match self.u16_below(1) {
                Part::Is(_) => {}
                Part::Missing => return Part::Missing,
                Part::Wrong => return Part::Wrong,
            }
        }
        Part::Is(count)
    }

    /// So many values, each with its length, -1 for NULL.
    fn values(&mut self, most: u16) -> Part<u16> {
        let count = match self.u16_below(most) {
            Part::Is(count) => count,
            other => return other,
        };
        for _ in 0..count {
            let Some(length) = self.cursor.i32() else { return self.part(None) };
            let Ok(length) = usize::try_from(length) else {
                if length == -1 {
                    continue;
                }
                return Part::Wrong;
            };
            if self.cursor.skip(length).is_none() {
                return if length > LENGTH_MAX as usize { Part::Wrong } else { self.part(None) };
            }
        }
        Part::Is(count)
    }

    /// The end, behind all that was read.
    fn end(&self, strong: bool) -> Option<bool> {
        (!self.all || self.cursor.is_empty()).then_some(strong)
    }
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte >= 0x20 && byte != 0x7f || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c))
}

/// `None`: these are no contents of such a message. Else whether they are too special to come by chance.
fn contents(side: Side, kind: u8, mut body: Contents<'_>) -> Option<bool> {
    match (side, kind) {
        (Side::Client, b'Q') => {
            let query = part!(body.text());
            body.end(query.len() > 1)
        }
        (Side::Client, b'P') => {
            part!(body.text());
            part!(body.text());
            let types = part!(body.u16_below(u16::MAX));
            part!(body.read(|cursor| cursor.skip(4 * usize::from(types))));
            body.end(true)
        }
        (Side::Client, b'B') => {
            part!(body.text());
            part!(body.text());
            part!(body.formats());
            part!(body.values(u16::MAX));
            part!(body.formats());
            body.end(true)
        }
        (Side::Client, b'C' | b'D') => {
            let what = part!(body.read(Cursor::u8));
            if !matches!(what, b'S' | b'P') {
                return None;
            }
            part!(body.text());
            body.end(true)
        }
        (Side::Client, b'E') => {
            part!(body.text());
            part!(body.read(Cursor::u32));
            body.end(true)
        }
        (Side::Client, b'F') => {
            part!(body.read(Cursor::u32));
            part!(body.formats());
            part!(body.values(u16::MAX));
            part!(body.u16_below(1));
            body.end(false)
        }
        (Side::Client, b'f') => {
            let reason = part!(body.text());
            body.end(reason.len() > 1)
        }
        (Side::Server, _) => server_contents(kind, body),
        _ => Some(false),
    }
}

fn server_contents(kind: u8, mut body: Contents<'_>) -> Option<bool> {
    match kind {
        b'R' => authentication(&body),
        b'S' => {
            let name = part!(body.text());
            if name.is_empty() {
                return None;
            }
            part!(body.text());
            body.end(true)
        }
        b'A' => {
            part!(body.read(Cursor::u32));
            part!(body.text());
            part!(body.text());
            body.end(true)
        }
        b'Z' => {
            let status = part!(body.read(Cursor::u8));
            matches!(status, b'I' | b'T' | b'E').then_some(true)
        }
        b'C' => {
            let tag = part!(body.text());
            let is_tag = tag.first().is_some_and(u8::is_ascii_uppercase)
                && tag
                    .iter()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" _".contains(byte));
            is_tag.then_some(())?;
            body.end(true)
        }
        b'E' | b'N' => report(&mut body),
        b'T' => row_description(&mut body),
        b'D' => {
            let columns = part!(body.values(COLUMNS_MAX));
            body.end(columns > 0)
        }
        b't' => {
            let count = part!(body.u16_below(u16::MAX));
            if body.all && body.cursor.len() != 4 * usize::from(count) {
                return None;
            }
            Some(count > 0)
        }
        b'G' | b'H' | b'W' => {
            let format = part!(body.read(Cursor::u8));
            if format > 1 {
                return None;
            }
            part!(body.formats());
            body.end(true)
        }
        b'V' => {
            let length = part!(body.read(Cursor::i32));
            let rest = i64::try_from(body.cursor.len()).unwrap_or(i64::MAX);
            (!body.all || rest == i64::from(length.max(0))).then_some(false)
        }
        b'v' => {
            let _newest = part!(body.read(Cursor::u32));
            let count = part!(body.read(Cursor::u32));
            for _ in 0..count.min(LENGTH_MAX) {
                part!(body.text());
            }
            body.end(false)
        }
        _ => Some(false),
    }
}

/// The requests of authentication that there are: AuthenticationKerberosV5 and SCMCredential are history.
fn authentication(body: &Contents<'_>) -> Option<bool> {
    let mut cursor = body.cursor;
    let code = part!(body.part(cursor.u32()));
    let fits = match code {
        0 | 2 | 3 | 6 | 7 | 9 => cursor.is_empty(),
        5 => !body.all || cursor.len() == 4,
        8 | 11 | 12 => true,
        10 => !body.all || cursor.rest().ends_with(&[0, 0]),
        _ => false,
    };
    fits.then_some(true)
}

/// ErrorResponse and NoticeResponse: fields with a code letter each. Severity, SQLSTATE and message are always there.
fn report(body: &mut Contents<'_>) -> Option<bool> {
    let (mut severity, mut sqlstate, mut message) = (false, false, false);
    loop {
        let code = part!(body.read(Cursor::u8));
        match code {
            0 => break,
            b'S' => severity = true,
            b'C' => sqlstate = true,
            b'M' => message = true,
            code if code.is_ascii_alphabetic() => {}
            _ => return None,
        }
        let text = part!(body.text());
        let is_state = text.len() == 5 && text.iter().all(u8::is_ascii_alphanumeric);
        if code == b'C' && !is_state {
            return None;
        }
    }
    if severity && sqlstate && message { body.end(true) } else { None }
}

fn row_description(body: &mut Contents<'_>) -> Option<bool> {
    let columns = part!(body.u16_below(COLUMNS_MAX));
    for _ in 0..columns {
        part!(body.text());
        // Table, attribute, type, its length, its modifier.
        part!(body.read(|cursor| cursor.skip(16)));
        part!(body.u16_below(1));
    }
    body.end(columns > 0)
}
