//! Knows MongoDB by its content, and where in a damaged stream the next message begins.

use super::bson::Document;
use super::message::{self, HEADER, Header, OP_COMPRESSED, OP_MSG, OP_QUERY, OP_REPLY};
use crate::protocol::cursor::Cursor;
use crate::protocol::{Resync, Sample, Verdict};

/// How many bytes of one message are looked at to judge it.
const WINDOW: usize = 64 << 10;

/// Length of an OP_REPLY without documents.
const EMPTY_REPLY: usize = 36;

/// What some bytes are, taken for the beginning of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// No message.
    No(&'static str),
    /// Too few bytes to say more.
    Short,
    /// The beginning of a message, proven as far as it came.
    Begun,
    /// A whole message, every element of it right.
    Whole,
    /// A whole message of an operation that is not known, with a document where messages have one.
    Unknown,
}

/// Looks at the message at the front of `data`.
pub fn look(data: &[u8]) -> Look {
    if !Header::is_possible(data) {
        return Look::No("no header of a message");
    }
    let Some(header) = Header::read(data) else { return Look::Short };
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    let end = length.min(data.len()).min(WINDOW);
    let (bytes, is_cut) = (&data[HEADER..end], end < length);
    if message::name(header.op_code).is_none() {
        return unknown(bytes, is_cut);
    }
    if header.op_code == OP_COMPRESSED {
        return compressed(bytes, is_cut);
    }
    let body = match message::body(header.op_code, bytes, is_cut) {
        Ok(body) => body,
        Err(reason) => return Look::No(reason),
    };
    let documents = body.sequences.iter().flat_map(|sequence| sequence.documents());
    let mut looked_at = 0;
    for document in body.document.into_iter().chain(body.update).chain(documents) {
        if let Err(reason) = document.check() {
            return Look::No(reason);
        }
        looked_at += usize::from(document.first().is_some_and(|member| is_name(member.name)));
    }
    let names = body.namespace.is_none_or(is_name);
    let is_plausible = match header.op_code {
        // Half of the required bits and the kind of a section are zero: its document has to say more.
        OP_MSG | OP_REPLY => looked_at > 0 || body.number == Some(0) && length == EMPTY_REPLY,
        OP_QUERY => body.namespace.is_some_and(|name| memchr::memchr(b'.', name).is_some()),
        _ => looked_at > 0 || body.namespace.is_some() || body.cursor.is_some(),
    };
    let flags = match header.op_code {
        OP_QUERY => body.flags & 1 == 0 && body.flags < 0x100,
        OP_REPLY => body.flags < 0x10,
        OP_MSG => body.flags >> 17 == 0,
        _ => body.flags < 0x10,
    };
    match (is_plausible && names && flags, is_cut) {
        (true, true) => Look::Begun,
        (true, false) => Look::Whole,
        (false, true) if bytes.len() < 64 => Look::Short,
        (false, _) => Look::No("no operation of MongoDB behind the header"),
    }
}

/// Names of members and collections are text.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && std::str::from_utf8(name).is_ok_and(|name| !name.contains(char::is_control))
}

/// Looks at what an operation that is not known says: messages have a document, at their beginning or behind flags.
fn unknown(bytes: &[u8], is_cut: bool) -> Look {
    if is_cut {
        return if bytes.len() < WINDOW - HEADER {
            Look::Short
        } else {
            Look::No("an operation that is not known")
        };
    }
    let has_document = |at: usize| {
        let document = bytes.get(at..).map(|bytes| Document::take(&mut Cursor::new(bytes)));
        let Some(Ok(document)) = document else { return false };
        !document.is_cut && !document.is_empty() && document.check().is_ok()
    };
    if [0, 4, 5].into_iter().any(has_document) {
        Look::Unknown
    } else {
        Look::No("an operation that is not known")
    }
}

fn compressed(bytes: &[u8], is_cut: bool) -> Look {
    let mut cursor = Cursor::new(bytes);
    let (op_code, size, id) = (cursor.i32_le(), cursor.u32_le(), cursor.u8());
    let (Some(op_code), Some(size), Some(id)) = (op_code, size, id) else {
        return if is_cut { Look::Short } else { Look::No("OP_COMPRESSED without its message") };
    };
    let known = message::name(op_code).is_some() && op_code != OP_COMPRESSED;
    let is_sane = known && (5..=48_000_000).contains(&size) && id <= 3;
    match (is_sane, is_cut) {
        (false, _) => Look::No("OP_COMPRESSED of no operation"),
        (true, true) => Look::Begun,
        (true, false) => match super::compressed::inflate(bytes, false, true) {
            Ok(_) => Look::Whole,
            Err(_) => Look::No("OP_COMPRESSED of what can't be undone"),
        },
    }
}

/// Looks for the next message. At the beginning of a call or packet the beginning of one is enough; elsewhere it takes
/// a whole one, or the beginning of one whose document is right as far as it came.
pub fn boundary(data: &[u8], at_event: bool) -> Resync {
    let mut at = 0;
    while at < data.len() {
        let rest = &data[at..];
        if Header::is_possible(rest) {
            match look(rest) {
                Look::Whole | Look::Begun => return Resync::Found(at),
                Look::Unknown if at == 0 && at_event => return Resync::Found(at),
                // The rest comes, or tells that it is none.
                Look::Short => return Resync::Skip(at),
                Look::Unknown | Look::No(_) => {}
            }
        }
        at += 1;
    }
    Resync::Skip(data.len())
}

/// Judges a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    let [one, other] = [0, 1].map(|index| verdict(sample.data[index], sample.from_start[index]));
    one.or_better(other)
}

fn verdict(data: &[u8], from_start: bool) -> Verdict {
    if data.is_empty() {
        return Verdict::No("nothing was sent");
    }
    let at = match from_start {
        true => 0,
        false => match boundary(&data[..data.len().min(WINDOW)], true) {
            Resync::Found(at) => at,
            Resync::Skip(at) if at < data.len() && at > 0 => return Verdict::No("no message is whole"),
            Resync::Skip(at) if at > 0 => return Verdict::No("no message begins here"),
            Resync::Skip(_) => 0,
        },
    };
    match look(&data[at..]) {
        Look::Whole => Verdict::Match(100),
        Look::Begun => Verdict::Match(90),
        Look::Unknown => Verdict::Match(60),
        Look::Short => Verdict::Maybe("more of a message"),
        Look::No(reason) => Verdict::No(reason),
    }
}
