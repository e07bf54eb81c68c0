//! The binary protocol of memcached, which its authors have deprecated: recognised and named, not decoded.
//!
//! Source: memcached, doc/protocol-binary.txt and protocol_binary.h. A header has 24 bytes: magic, opcode, length of the
//! key, length of the extras, data type, partition or status, length of the body, opaque, CAS.

use crate::protocol::cursor::Cursor;

/// What the binary protocol is called where it is named.
pub const NAME: &str = "the binary protocol of memcached";

/// Bytes of a header.
pub const HEADER: usize = 24;

/// Longest key, and longest extras.
const KEY_MAX: u16 = 250;
const EXTRAS_MAX: u8 = 24;

/// The largest body that is believed: items have at most 1 GiB.
const BODY_MAX: u32 = 1 << 30 | 1 << 16;

/// First byte of what a client sends, and of what a server answers.
pub const MAGIC: [u8; 2] = [0x80, 0x81];

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// A server sent it.
    pub answer: bool,
    /// The command.
    pub opcode: u8,
    /// Bytes behind the header.
    pub body: u32,
    /// Copied from the request into its answer.
    pub opaque: u32,
}

/// Reads the header at the front. `None`: it is none, or not whole.
pub fn header(data: &[u8]) -> Option<Header> {
    let mut cursor = Cursor::new(data.get(..HEADER)?);
    let answer = match cursor.u8()? {
        0x80 => false,
        0x81 => true,
        _ => return None,
    };
    let (opcode, key, extras, kind) = (cursor.u8()?, cursor.u16()?, cursor.u8()?, cursor.u8()?);
    let (state, body, opaque) = (cursor.u16()?, cursor.u32()?, cursor.u32()?);
    let inside = u32::from(key) + u32::from(extras);
    // Status codes of answers; clients leave the number of the partition at 0.
    let is_known = opcode <= 0x4f && if answer { state <= 0x00ff } else { state == 0 };
    let fits = kind == 0 && key <= KEY_MAX && extras <= EXTRAS_MAX && body >= inside && body <= BODY_MAX;
    (is_known && fits).then_some(Header { answer, opcode, body, opaque })
}

/// What the front of some bytes holds of whole messages of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// None.
    No,
    /// The beginning of a header.
    Begun,
    /// A header, and perhaps more of them, to the end of the bytes or of a body that goes on.
    Headers(Header),
}

/// Reads as many messages as there are.
pub fn chain(data: &[u8], answer: bool) -> Chain {
    let (mut rest, mut first) = (data, None);
    while !rest.is_empty() {
        match header(rest) {
            Some(header) if header.answer == answer => {
                first.get_or_insert(header);
                rest = rest.get(HEADER + header.body as usize..).unwrap_or_default();
            }
            None if rest.len() < HEADER && rest[0] == MAGIC[usize::from(answer)] => break,
            _ => return Chain::No,
        }
    }
    match first {
        Some(header) => Chain::Headers(header),
        None if data.is_empty() => Chain::No,
        None => Chain::Begun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// doc/protocol-binary.txt, "Get, Get Quietly, Get Key, Get Key Quietly": a request for `Hello`.
    const GET: &[u8] = b"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00Hello";
    /// The same page: the answer that says `Not found`.
    const MISS: &[u8] = b"\x81\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x09\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00Not found";

    #[test]
    fn messages_are_recognised_by_their_headers() {
        assert_eq!(header(GET), Some(Header { answer: false, opcode: 0, body: 5, opaque: 7 }));
        assert_eq!(header(MISS), Some(Header { answer: true, opcode: 0, body: 9, opaque: 7 }));
        assert!(matches!(chain(&[GET, GET].concat(), false), Chain::Headers(_)));
        assert!(matches!(chain(&GET[..26], false), Chain::Headers(_)));
        assert_eq!(chain(&[GET, MISS].concat(), false), Chain::No);
        assert_eq!(chain(&GET[..1], false), Chain::Begun);
        assert_eq!(chain(GET, true), Chain::No);
        assert_eq!(chain(&[0x80; 24], false), Chain::No);
    }
}
