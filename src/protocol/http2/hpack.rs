//! Header compression of HTTP/2 (RFC 7541): from a header block to its fields.
//!
//! The decoder of a connection that is watched from its first byte knows the dynamic table. One that begins in the
//! middle, or lost a block, does not: what it then learns is right all the same, for indices count from the newest
//! entry, and what it can't know is [`Known::No`] and not an error. It knows the table again once no older entry fits
//! into it.

use super::huffman;
use std::collections::VecDeque;

/// What the dynamic table may hold before anything else is said (RFC 9113, section 6.5.2).
const DEFAULT_SIZE: usize = 4096;

/// The most that is kept of a dynamic table. Clients and servers use 4 to 64 KiB. Older entries are unknown.
const TABLE_MAX: usize = 64 << 10;

/// The most bytes of names and values of one block. Servers stop at 8 to 64 KiB.
pub(super) const LIST_MAX: usize = 64 << 10;

/// The most fields of one block. Servers stop at 100 or so.
pub(super) const FIELDS_MAX: usize = 1024;

/// What an entry counts beside its name and value (RFC 7541, section 4.1).
const OVERHEAD: usize = 32;

/// Something that a block refers to, which may have been said before the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// This.
    Yes(Vec<u8>),
    /// It was said before the trace, or in what is lost.
    No,
}

impl Known {
    /// The bytes, if they are known.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Known::Yes(bytes) => Some(bytes),
            Known::No => None,
        }
    }

    fn len(&self) -> usize {
        self.bytes().map_or(0, <[u8]>::len)
    }
}

/// A field line: its name and its value.
pub(super) type Line = (Known, Known);

/// What came out of a block.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The fields, in order.
    pub(super) lines: Vec<Line>,
    /// How many are left out, beyond [`LIST_MAX`] or [`FIELDS_MAX`].
    pub(super) left_out: usize,
    /// Bytes of the block are missing: fields may be.
    pub(super) cut: bool,
    /// Why the block could not be read to its end.
    pub(super) fault: Option<&'static str>,
}

/// The decoder of one direction.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Newest first.
    entries: VecDeque<Line>,
    size: usize,
    /// How much the encoder may keep; absent where that was said before the trace.
    max_size: Option<usize>,
    /// Entries older than `entries` may be there.
    older: bool,
}

impl Default for Decoder {
    /// At the beginning of a connection.
    fn default() -> Decoder {
        Decoder { entries: VecDeque::new(), size: 0, max_size: Some(DEFAULT_SIZE), older: false }
    }
}

impl Decoder {
    /// What was in the table is not known from here on: the trace begins here, or blocks are lost.
    pub(super) fn forget(&mut self) {
        *self = Decoder { entries: VecDeque::new(), size: 0, max_size: None, older: true };
    }

    /// Decodes a whole header block. Where that fails, what came before the fault is given, and the table is
    /// unknown from then on.
    pub(super) fn decode(&mut self, data: &[u8]) -> Block {
        let mut block = Block::default();
        let mut room = LIST_MAX;
        let mut rest = data;
        while !rest.is_empty() {
            match self.line(&mut rest) {
                Ok(None) => {}
                Ok(Some(line)) => {
                    let size = line.0.len() + line.1.len();
                    if block.lines.len() < FIELDS_MAX && size <= room && block.left_out == 0 {
                        room -= size;
                        block.lines.push(line);
                    } else {
                        block.left_out += 1;
                    }
                }
                Err(fault) => {
                    self.forget();
                    block.fault = Some(fault);
                    break;
                }
            }
        }
        block
    }

    /// One representation (RFC 7541, section 6). None: a change of the table's size.
    fn line(&mut self, rest: &mut &[u8]) -> Result<Option<Line>, &'static str> {
        let Some(&first) = rest.first() else { return Ok(None) };
        match first {
            0x80.. => {
                let index = integer(rest, 7)?;
                self.entry(index).map(Some)
            }
            0x40..0x80 => {
                let line = self.literal(rest, 6)?;
                self.insert(line.clone());
                Ok(Some(line))
            }
            0x20..0x40 => {
                let size = integer(rest, 5)?;
                self.resize(size);
                Ok(None)
            }
            // Without indexing, or never indexed.
            0x00..0x20 => self.literal(rest, 4).map(Some),
        }
    }

    fn literal(&self, rest: &mut &[u8], prefix: u32) -> Result<Line, &'static str> {
        let name = match integer(rest, prefix)? {
            0 => Known::Yes(string(rest)?),
            index => self.entry(index)?.0,
        };
        Ok((name, Known::Yes(string(rest)?)))
    }

    fn entry(&self, index: usize) -> Result<Line, &'static str> {
        let Some(at) = index.checked_sub(1) else { return Err("a header field of index 0") };
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((Known::Yes(name.as_bytes().to_vec()), Known::Yes(value.as_bytes().to_vec())));
        }
        match self.entries.get(at - STATIC.len()) {
            Some(line) => Ok(line.clone()),
            None if self.older => Ok((Known::No, Known::No)),
            None => Err("a header field of an index that is not in the table"),
        }
    }

    fn insert(&mut self, line: Line) {
        self.size += size(&line);
        self.entries.push_front(line);
        self.evict();
    }

    /// A dynamic table size update (RFC 7541, section 6.3).
    fn resize(&mut self, max_size: usize) {
        self.max_size = Some(max_size);
        self.evict();
    }

    fn evict(&mut self) {
        let limit = self.max_size.unwrap_or(usize::MAX);
        while self.size > limit.min(TABLE_MAX)
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= size(&oldest);
            self.older |= self.size + size(&oldest) <= limit;
        }
        // The smallest entry there is has no name and no value.
        if self.size.saturating_add(OVERHEAD) > limit {
            self.older = false;
        }
    }
}

/// What an entry counts. One whose name is not known counts at least this.
fn size((name, value): &Line) -> usize {
    name.len() + value.len() + OVERHEAD
}

/// An integer with a prefix of so many bits (RFC 7541, section 5.1).
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, &'static str> {
    let (&first, mut more) = rest.split_first().ok_or("an integer is cut off")?;
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(first & mask);
    if value == usize::from(mask) {
        let mut shift = 0;
        loop {
            let (&byte, after) = more.split_first().ok_or("an integer is cut off")?;
            more = after;
            if shift > 28 {
                return Err("an integer of more than 32 bits");
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = more;
    Ok(value)
}

/// A string literal (RFC 7541, section 5.2).
fn string(rest: &mut &[u8]) -> Result<Vec<u8>, &'static str> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (data, after) = rest.split_at_checked(length).ok_or("a string is cut off")?;
    *rest = after;
    if coded { huffman::decode(data) } else { Ok(data.to_vec()) }
}

/// The static table (RFC 7541, appendix A).
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];
