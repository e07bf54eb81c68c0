//! Envelopes: the header that begins every message, and what stands in front of a body
//! (native_protocol_v3.spec, v4.spec and v5.spec of Apache Cassandra, sections 2 and 2.2;
//! <https://cassandra.apache.org/doc/latest/cassandra/reference/native-protocol.html>).

use super::read;
use crate::protocol::cursor::Cursor;

/// Length of the header.
pub const HEADER: usize = 9;

/// The longest body (section 2.5: 256 MiB).
const BODY_MAX: u32 = 256 << 20;

pub const COMPRESSED: u8 = 0x01;
const TRACING: u8 = 0x02;
const CUSTOM_PAYLOAD: u8 = 0x04;
const WARNING: u8 = 0x08;
const USE_BETA: u8 = 0x10;

/// What a message is for (section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Error,
    Startup,
    Ready,
    Authenticate,
    Options,
    Supported,
    Query,
    Result,
    Prepare,
    Execute,
    Register,
    Event,
    Batch,
    AuthChallenge,
    AuthResponse,
    AuthSuccess,
}

/// Number, name, and whether the client sends it.
const OPCODES: [(Opcode, u8, &str, bool); 16] = [
    (Opcode::Error, 0x00, "ERROR", false),
    (Opcode::Startup, 0x01, "STARTUP", true),
    (Opcode::Ready, 0x02, "READY", false),
    (Opcode::Authenticate, 0x03, "AUTHENTICATE", false),
    (Opcode::Options, 0x05, "OPTIONS", true),
    (Opcode::Supported, 0x06, "SUPPORTED", false),
    (Opcode::Query, 0x07, "QUERY", true),
    (Opcode::Result, 0x08, "RESULT", false),
    (Opcode::Prepare, 0x09, "PREPARE", true),
    (Opcode::Execute, 0x0a, "EXECUTE", true),
    (Opcode::Register, 0x0b, "REGISTER", true),
    (Opcode::Event, 0x0c, "EVENT", false),
    (Opcode::Batch, 0x0d, "BATCH", true),
    (Opcode::AuthChallenge, 0x0e, "AUTH_CHALLENGE", false),
    (Opcode::AuthResponse, 0x0f, "AUTH_RESPONSE", true),
    (Opcode::AuthSuccess, 0x10, "AUTH_SUCCESS", false),
];

impl Opcode {
    fn of(number: u8, from_client: bool) -> Option<Opcode> {
        let row = OPCODES.iter().find(|row| row.1 == number && row.3 == from_client);
        row.map(|row| row.0)
    }

    pub fn name(self) -> &'static str {
        OPCODES.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: u8,
    /// The direction bit of the version is not set: a request.
    pub from_client: bool,
    pub flags: u8,
    pub stream: i16,
    pub opcode: Opcode,
    /// Length of the body, as it is sent.
    pub length: u32,
}

impl Header {
    /// Reads it. None where bytes are missing or nothing begins like this: [`Header::is_possible`].
    pub fn read(data: &[u8]) -> Option<Header> {
        let mut cursor = Cursor::new(data);
        let version = cursor.u8()?;
        let from_client = version & 0x80 == 0;
        let (flags, stream) = (cursor.u8()?, cursor.i16()?);
        let opcode = Opcode::of(cursor.u8()?, from_client)?;
        let length = cursor.u32()?;
        let header = Header { version: version & 0x7f, from_client, flags, stream, opcode, length };
        header.is_sane().then_some(header)
    }

    fn is_sane(&self) -> bool {
        let stream = if self.opcode == Opcode::Event { self.stream == -1 } else { self.stream >= 0 };
        let empty = matches!(self.opcode, Opcode::Options | Opcode::Ready);
        let is_empty = self.length == 0 && self.flags & (TRACING | WARNING | CUSTOM_PAYLOAD) == 0;
        let flags = self.flags & !(COMPRESSED | TRACING | CUSTOM_PAYLOAD | WARNING | USE_BETA) == 0;
        let version = (3..=5).contains(&self.version);
        // What agrees on a compression can't be compressed, and in v5 segments are compressed instead.
        let first = matches!(self.opcode, Opcode::Startup | Opcode::Options | Opcode::Supported);
        let compressed = !self.is_compressed() || self.version < 5 && !first;
        // A body of an OPTIONS or READY is empty; a proxy may add what stands in front of one.
        version
            && flags
            && compressed
            && stream
            && self.length <= BODY_MAX
            && (!empty || is_empty || self.flags & !USE_BETA != 0)
    }

    /// Whether a message can begin like this, so far as bytes are there.
    pub fn is_possible(data: &[u8]) -> bool {
        if data.len() >= HEADER {
            return Header::read(data).is_some();
        }
        let Some((&version, rest)) = data.split_first() else { return true };
        let flags = rest.first().copied().unwrap_or(0);
        let stream = rest.get(1).copied().unwrap_or(0);
        let from_client = version & 0x80 == 0;
        let opcode = rest.get(3).is_none_or(|&number| Opcode::of(number, from_client).is_some());
        let length = rest.get(4).is_none_or(|&high| high <= 0x10);
        let event = !from_client && stream == 0xff;
        (3..=5).contains(&(version & 0x7f))
            && flags & 0xe0 == 0
            && (stream < 0x80 || event)
            && opcode
            && length
    }

    /// Bytes of the whole message.
    pub fn whole(&self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }

    pub fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED != 0
    }

    /// The names of its flags.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> {
        let known = [
            (COMPRESSED, "COMPRESSION"),
            (TRACING, "TRACING"),
            (CUSTOM_PAYLOAD, "CUSTOM_PAYLOAD"),
            (WARNING, "WARNING"),
            (USE_BETA, "USE_BETA"),
        ];
        known.into_iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, name)| name)
    }
}

/// What stands in front of a body, by the header's flags.
#[derive(Clone, Debug, Default)]
pub struct Front<'a> {
    pub tracing_id: Option<[u8; 16]>,
    pub warnings: Vec<&'a [u8]>,
    pub payload: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

impl<'a> Front<'a> {
    /// Takes it. None where bytes are missing.
    pub fn take(header: &Header, cursor: &mut Cursor<'a>) -> Option<Front<'a>> {
        let mut front = Front::default();
        let is_answer = !header.from_client;
        if is_answer && header.flags & TRACING != 0 {
            front.tracing_id = Some(cursor.array()?);
        }
        if is_answer && header.flags & WARNING != 0 {
            front.warnings = read::string_list(cursor)?;
        }
        if header.flags & CUSTOM_PAYLOAD != 0 {
            for _ in 0..cursor.u16()? {
                front.payload.push((read::string(cursor)?, read::bytes(cursor)?));
            }
        }
        Some(front)
    }
}
