//! Messages of MongoDB's wire protocol, taken apart
//! (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>; the operations of the time before MongoDB 5.1:
//! <https://www.mongodb.com/docs/manual/legacy-opcodes/>).

use super::bson::Document;
use crate::protocol::cursor::Cursor;

/// Length of the header that begins every message.
pub const HEADER: usize = 16;

/// The longest message (`MaxMessageSizeBytes` of the server).
const MESSAGE_MAX: u32 = 48_000_000;

/// How many document sequences of one message are told apart; commands have one or two.
const SEQUENCES_MAX: usize = 16;

/// Names of operations that the server knows or once knew, by `opCode`.
const OPERATIONS: [(i32, &str); 12] = [
    (1, "OP_REPLY"),
    (1000, "OP_MSG_OLD"),
    (2001, "OP_UPDATE"),
    (2002, "OP_INSERT"),
    (2003, "OP_GET_BY_OID"),
    (2004, "OP_QUERY"),
    (2005, "OP_GET_MORE"),
    (2006, "OP_DELETE"),
    (2007, "OP_KILL_CURSORS"),
    (2010, "OP_COMMAND"),
    (2011, "OP_COMMANDREPLY"),
    (2012, "OP_COMPRESSED"),
];

pub const OP_REPLY: i32 = 1;
pub const OP_UPDATE: i32 = 2001;
pub const OP_INSERT: i32 = 2002;
pub const OP_QUERY: i32 = 2004;
pub const OP_GET_MORE: i32 = 2005;
pub const OP_DELETE: i32 = 2006;
pub const OP_KILL_CURSORS: i32 = 2007;
pub const OP_COMMAND: i32 = 2010;
pub const OP_COMMANDREPLY: i32 = 2011;
pub const OP_COMPRESSED: i32 = 2012;
pub const OP_MSG: i32 = 2013;

/// `flagBits` of OP_MSG: a CRC-32C ends the message.
const CHECKSUM_PRESENT: u32 = 1;

/// Another message follows without being asked for; to a request with it no answer comes.
const MORE_TO_COME: u32 = 1 << 1;

/// Of the first 16 bits those that have no meaning yet: a peer that does not know one must refuse the message.
const REQUIRED_UNKNOWN: u32 = 0xfffc;

/// `flags` of OP_QUERY: the server sends all that there is.
const EXHAUST: u32 = 1 << 6;

/// The header that begins every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub length: u32,
    pub request_id: i32,
    pub response_to: i32,
    pub op_code: i32,
}

impl Header {
    /// Reads it. None where bytes are missing.
    pub fn read(data: &[u8]) -> Option<Header> {
        let mut cursor = Cursor::new(data);
        Some(Header {
            length: cursor.u32_le()?,
            request_id: cursor.i32_le()?,
            response_to: cursor.i32_le()?,
            op_code: cursor.i32_le()?,
        })
    }

    /// Whether a message can begin like this; so far as bytes are there.
    pub fn is_possible(data: &[u8]) -> bool {
        if let Some(length) = Cursor::new(data).u32_le()
            && !(HEADER as u32..=MESSAGE_MAX).contains(&length)
        {
            return false;
        }
        let op_code = data.get(12..HEADER.min(data.len())).unwrap_or_default();
        match op_code {
            [low, high, 0, 0] => is_op_code(i32::from(u16::from_le_bytes([*low, *high]))),
            [_, high, 0] | [_, high] => *high < 0x0c,
            [] | [_] => true,
            _ => false,
        }
    }
}

/// The server's operations have numbers from 2000 on, but for two. Others than today's are named as unknown.
fn is_op_code(op_code: i32) -> bool {
    matches!(op_code, 1 | 1000 | 2000..=2999)
}

/// The name of an operation.
pub fn name(op_code: i32) -> Option<&'static str> {
    if op_code == OP_MSG {
        return Some("OP_MSG");
    }
    OPERATIONS.iter().find(|(number, _)| *number == op_code).map(|(_, name)| *name)
}

/// Documents of a command that stand outside of it (section kind 1).
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// The command's member that they are.
    pub identifier: &'a [u8],
    documents: Cursor<'a>,
    /// Bytes are missing at its end.
    pub is_cut: bool,
}

impl<'a> Sequence<'a> {
    /// Its documents, up to the first that is wrong.
    pub fn documents(self) -> impl Iterator<Item = Document<'a>> {
        documents(self.documents)
    }
}

/// Documents one behind the other, up to the first that is wrong.
pub fn documents(mut cursor: Cursor<'_>) -> impl Iterator<Item = Document<'_>> {
    std::iter::from_fn(move || if cursor.is_empty() { None } else { Document::take(&mut cursor).ok() })
}

/// What follows the header.
#[derive(Clone, Debug, Default)]
pub struct Body<'a> {
    pub flags: u32,
    /// The command or its answer; the query of OP_QUERY; the selector of OP_UPDATE and OP_DELETE.
    pub document: Option<Document<'a>>,
    /// Other documents: those of section kind 1, and of operations that have several.
    pub sequences: Vec<Sequence<'a>>,
    /// `fullCollectionName`, or the database of OP_COMMAND.
    pub namespace: Option<&'a [u8]>,
    /// `commandName` of OP_COMMAND.
    pub command: Option<&'a [u8]>,
    /// `cursorID` of OP_REPLY and OP_GET_MORE.
    pub cursor: Option<i64>,
    /// `numberReturned` of OP_REPLY, `numberToReturn` of what asks for it.
    pub number: Option<i32>,
    /// `numberToSkip` of OP_QUERY, `startingFrom` of OP_REPLY.
    pub skipped: Option<i32>,
    /// `update` of OP_UPDATE.
    pub update: Option<Document<'a>>,
    /// The CRC-32C that the message ends with.
    pub checksum: Option<u32>,
    /// Sequences, or parts of them, that were not looked at.
    pub is_limited: bool,
}

impl Body<'_> {
    /// No answer comes to it, or another one follows it.
    pub fn more_to_come(&self, op_code: i32) -> bool {
        op_code == OP_MSG && self.flags & MORE_TO_COME != 0
    }

    /// The names of its flags.
    pub fn flag_names(&self, op_code: i32) -> Vec<&'static str> {
        let known: &[(u32, &str)] = match op_code {
            OP_MSG => &[
                (CHECKSUM_PRESENT, "checksumPresent"),
                (MORE_TO_COME, "moreToCome"),
                (1 << 16, "exhaustAllowed"),
            ],
            OP_QUERY => &[
                (1 << 1, "tailableCursor"),
                (1 << 2, "slaveOk"),
                (1 << 3, "oplogReplay"),
                (1 << 4, "noCursorTimeout"),
                (1 << 5, "awaitData"),
                (EXHAUST, "exhaust"),
                (1 << 7, "partial"),
            ],
            OP_REPLY => &[
                (1, "cursorNotFound"),
                (1 << 1, "queryFailure"),
                (1 << 2, "shardConfigStale"),
                (1 << 3, "awaitCapable"),
            ],
            OP_UPDATE => &[(1, "upsert"), (1 << 1, "multiUpdate")],
            OP_INSERT => &[(1, "continueOnError")],
            OP_DELETE => &[(1, "singleRemove")],
            _ => &[],
        };
        known.iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, name)| *name).collect()
    }
}

/// Reads what follows the header: all of it, or as far as it came (`is_cut`).
///
/// # Errors
/// It does not follow the protocol.
pub fn body(op_code: i32, bytes: &[u8], is_cut: bool) -> Result<Body<'_>, &'static str> {
    let mut body = Body::default();
    let mut cursor = Cursor::new(bytes);
    let read = match op_code {
        OP_MSG => return msg(bytes, is_cut),
        OP_QUERY => query(&mut body, &mut cursor)?,
        OP_REPLY => reply(&mut body, &mut cursor, is_cut)?,
        OP_UPDATE | OP_DELETE => change(op_code, &mut body, &mut cursor)?,
        OP_INSERT => insert(&mut body, &mut cursor),
        OP_GET_MORE => get_more(&mut body, &mut cursor),
        OP_KILL_CURSORS => kill_cursors(&mut body, &mut cursor),
        OP_COMMAND => command(&mut body, &mut cursor)?,
        OP_COMMANDREPLY => command_reply(&mut body, &mut cursor)?,
        _ => return Ok(body),
    };
    if read.is_none() && !is_cut {
        return Err("a message shorter than its operation");
    }
    if let Some(document) = body.document.filter(|document| document.is_cut)
        && !is_cut
    {
        let _ = document;
        return Err("a document longer than its message");
    }
    Ok(body)
}

fn msg(bytes: &[u8], is_cut: bool) -> Result<Body<'_>, &'static str> {
    let mut body = Body::default();
    let mut cursor = Cursor::new(bytes);
    let Some(flags) = cursor.u32_le() else {
        return if is_cut { Ok(body) } else { Err("OP_MSG without flags") };
    };
    body.flags = flags;
    if flags & REQUIRED_UNKNOWN != 0 {
        return Err("OP_MSG with flags that nobody knows");
    }
    if flags & CHECKSUM_PRESENT != 0 && !is_cut {
        let sections = cursor.len().checked_sub(4).ok_or("OP_MSG too short for its checksum")?;
        let rest = cursor.rest();
        body.checksum = Cursor::new(&rest[sections..]).u32_le();
        cursor = Cursor::new(&rest[..sections]);
    }
    while let Some(kind) = cursor.u8() {
        match kind {
            0 if body.document.is_some() => return Err("OP_MSG with two bodies"),
            0 => {
                let document = Document::take(&mut cursor)?;
                if document.is_cut && !is_cut {
                    return Err("a document longer than its message");
                }
                body.document = Some(document);
            }
            1 => sequence(&mut body, &mut cursor, is_cut)?,
            // Sections for the server's own use: their form is not told.
            2 => cursor = Cursor::new(&[]),
            _ => return Err("OP_MSG with a section of an unknown kind"),
        }
    }
    if body.document.is_none() && !is_cut {
        return Err("OP_MSG without a body");
    }
    Ok(body)
}

fn sequence<'a>(body: &mut Body<'a>, cursor: &mut Cursor<'a>, is_cut: bool) -> Result<(), &'static str> {
    let missing = || if is_cut { Ok(()) } else { Err("a sequence longer than its message") };
    let Some(size) = cursor.u32_le() else { return missing() };
    let size = (size as usize).checked_sub(4).ok_or("a sequence of an impossible length")?;
    let is_whole = cursor.len() >= size;
    if !is_whole && !is_cut {
        return missing();
    }
    let Some(mut part) = cursor.part(size.min(cursor.len())) else { return missing() };
    let Some(identifier) = part.until(0) else {
        return if is_whole { Err("a sequence without a name") } else { Ok(()) };
    };
    if body.sequences.len() >= SEQUENCES_MAX {
        body.is_limited = true;
        return Ok(());
    }
    body.sequences.push(Sequence { identifier, documents: part, is_cut: !is_whole });
    Ok(())
}

fn query<'a>(body: &mut Body<'a>, cursor: &mut Cursor<'a>) -> Result<Option<()>, &'static str> {
    if begin(body, cursor).is_none() {
        return Ok(None);
    }
    body.skipped = cursor.i32_le();
    body.number = cursor.i32_le();
    if body.number.is_none() {
        return Ok(None);
    }
    body.document = Some(Document::take(cursor)?);
    rest(body, cursor, b"returnFieldsSelector");
    Ok(Some(()))
}

/// Flags and a namespace.
fn begin<'a>(body: &mut Body<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
    body.flags = cursor.u32_le()?;
    body.namespace = Some(cursor.until(0)?);
    Some(())
}

/// What is left are documents.
fn rest<'a>(body: &mut Body<'a>, cursor: &mut Cursor<'a>, identifier: &'static [u8]) {
    if let Some(documents) = cursor.part(cursor.len()).filter(|rest| !rest.is_empty()) {
        body.sequences.push(Sequence { identifier, documents, is_cut: false });
    }
}

fn reply<'a>(body: &mut Body<'a>, cursor: &mut Cursor<'a>, is_cut: bool) -> Result<Option<()>, &'static str> {
    let Some(flags) = cursor.u32_le() else { return Ok(None) };
    body.flags = flags;
    body.cursor = cursor.i64_le();
    body.skipped = cursor.i32_le();
    body.number = cursor.i32_le();
    let Some(number) = body.number else { return Ok(None) };
    if number == 1 && !cursor.is_empty() {
        body.document = Some(Document::take(cursor)?);
        if !cursor.is_empty() && !is_cut {
            return Err("OP_REPLY longer than its document");
        }
        return Ok(Some(()));
    }
    rest(body, cursor, b"documents");
    Ok(Some(()))
}

fn change<'a>(
    op_code: i32,
    body: &mut Body<'a>,
    cursor: &mut Cursor<'a>,
) -> Result<Option<()>, &'static str> {
    let _zero = cursor.u32_le();
    let Some(namespace) = cursor.until(0) else { return Ok(None) };
    body.namespace = Some(namespace);
    let Some(flags) = cursor.u32_le() else { return Ok(None) };
    body.flags = flags;
    body.document = Some(Document::take(cursor)?);
    if op_code == OP_UPDATE && !cursor.is_empty() {
        body.update = Some(Document::take(cursor)?);
    }
    Ok(Some(()))
}

fn insert<'a>(body: &mut Body<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
    begin(body, cursor)?;
    rest(body, cursor, b"documents");
    Some(())
}

fn get_more<'a>(body: &mut Body<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
    let _zero = cursor.u32_le()?;
    body.namespace = Some(cursor.until(0)?);
    body.number = Some(cursor.i32_le()?);
    body.cursor = Some(cursor.i64_le()?);
    Some(())
}

fn kill_cursors(body: &mut Body<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let _zero = cursor.u32_le()?;
    body.number = Some(cursor.i32_le()?);
    body.cursor = cursor.i64_le();
    Some(())
}

fn command<'a>(body: &mut Body<'a>, cursor: &mut Cursor<'a>) -> Result<Option<()>, &'static str> {
    body.namespace = cursor.until(0);
    body.command = cursor.until(0);
    let Some(name) = body.command else { return Ok(None) };
    // The order of metadata and arguments has changed with the versions; arguments begin with the command's name.
    let first = Document::take(cursor)?;
    if cursor.is_empty() {
        body.document = Some(first);
        return Ok(Some(()));
    }
    let second = Document::take(cursor)?;
    let is_command = |document: Document<'_>| document.first().is_some_and(|member| member.name == name);
    body.document = Some(if is_command(second) && !is_command(first) { second } else { first });
    rest(body, cursor, b"inputDocs");
    Ok(Some(()))
}

fn command_reply<'a>(body: &mut Body<'a>, cursor: &mut Cursor<'a>) -> Result<Option<()>, &'static str> {
    let first = Document::take(cursor)?;
    if cursor.is_empty() {
        body.document = Some(first);
        return Ok(Some(()));
    }
    let second = Document::take(cursor)?;
    let is_answer = second.get("ok").is_some() && first.get("ok").is_none();
    body.document = Some(if is_answer { second } else { first });
    rest(body, cursor, b"outputDocs");
    Ok(Some(()))
}
