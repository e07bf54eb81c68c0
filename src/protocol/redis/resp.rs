//! RESP2 and RESP3 framing: reads one top-level element as its bytes arrive, in any cuts.
//!
//! A small stack machine. What it has taken it never looks at again, whatever the size of the element, and
//! it allocates nothing but one stack entry per open aggregate. What the element holds goes into an
//! [`Element`]; who sent it, and which reply answers which command, is decided elsewhere.
//!
//! Source: the RESP specification (redis.io, "Redis serialization protocol specification"), the RESP3
//! specification (github.com/redis/redis-specifications, protocol/RESP3.md) and, for what a server accepts
//! as a request, `processMultibulkBuffer` and `processInlineBuffer` in networking.c of Redis.

use super::element::{Element, Kind};
use memchr::{memchr, memchr2};

/// Aggregates nested deeper than this are refused. The deepest reply of Redis itself (COMMAND) has 6 levels;
/// only a script can build more.
pub const MAX_DEPTH: usize = 64;
/// Longest bulk string of a request: the default of `proto-max-bulk-len`.
pub const MAX_REQUEST_BULK: u64 = 512 << 20;
/// Most arguments of a request: Redis up to 6.2 refuses more than 1024 * 1024, since 7.0 more than INT_MAX.
pub const MAX_ARGUMENTS: u64 = i32::MAX as u64;
/// Longest bulk string, and most elements of an aggregate, in a reply. Nothing is allocated for either, the
/// bound is there to know garbage when it is seen.
pub const MAX_REPLY_LENGTH: u64 = u32::MAX as u64;
/// Longest line that holds a length, a number or a boolean, with its type byte and CRLF.
pub const MAX_HEADER: usize = 64;
/// Longest simple string, simple error or big number. The specification has no bound; a line that goes on
/// for longer is not one.
pub const MAX_TEXT: u64 = 1 << 20;
/// Longest inline request (`PROTO_INLINE_MAX_SIZE`).
pub const MAX_INLINE: usize = 64 << 10;

/// Which of the two sides of the protocol is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// What a client sends: arrays of bulk strings, and inline commands.
    Request,
    /// What a server sends: every type.
    Reply,
}

/// How far [`Reader::read`] came.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// All that can be taken was taken; says what is missing.
    Need(&'static str),
    /// The element is whole.
    Whole,
    /// The next `length` bytes do not follow the grammar.
    Malformed {
        /// Bytes up to and including the one that proves it.
        length: usize,
        /// What is wrong.
        reason: String,
    },
}

/// What [`Reader::skip`] made of missing bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// They are not part of known length alone; nothing has changed.
    No,
    /// The element goes on behind them.
    Inside,
    /// They were the last of the element, which is complete but for them.
    Whole,
}

/// An aggregate whose elements are being read.
#[derive(Clone, Copy, Debug)]
struct Level {
    kind: Kind,
    /// Elements still to come; `None`: streamed, ended by `.`.
    left: Option<u64>,
}

/// The part of the element that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A type byte and its line.
    Header,
    /// The content of a bulk string; `streamed` if more chunks follow.
    Bulk { left: u64, streamed: bool },
    /// The CRLF behind the content.
    BulkEnd { streamed: bool },
    /// The `;length` line of a streamed string's next chunk.
    Chunk,
    /// The rest of a simple string, error or big number, `length` bytes so far.
    Text { length: u64, kind: Kind },
}

/// Reads top-level elements of one direction.
#[derive(Debug)]
pub struct Reader {
    grammar: Grammar,
    stack: Vec<Level>,
    part: Part,
    /// The attribute of the top-level element was read, the element itself comes next.
    attributed: bool,
    /// Bytes of an unfinished inline line that are known to hold no line end.
    scanned: usize,
}

impl Reader {
    /// A reader at the start of an element.
    pub fn new(grammar: Grammar) -> Reader {
        Reader { grammar, stack: Vec::new(), part: Part::Header, attributed: false, scanned: 0 }
    }

    /// Forgets an unfinished element.
    pub fn reset(&mut self) {
        *self = Reader { stack: std::mem::take(&mut self.stack), ..Reader::new(self.grammar) };
        self.stack.clear();
    }

    /// True where the next byte begins an element.
    pub fn at_start(&self) -> bool {
        self.stack.is_empty() && self.part == Part::Header && !self.attributed
    }

    /// Takes bytes from the front of `data` until the element is whole or the data is used up. Returns how
    /// many were taken.
    pub fn read(&mut self, data: &[u8], element: &mut Element) -> (usize, Step) {
        let mut taken = 0;
        loop {
            let (length, step) = self.part(&data[taken..], element);
            taken += length;
            match step {
                None if self.at_start() => return (taken, Step::Whole),
                None => {}
                Some(step) => return (taken, step),
            }
        }
    }

    /// Carries the element over `length` missing bytes, `unread` bytes of the part having been offered
    /// before them.
    pub fn skip(&mut self, unread: u64, length: u64, element: &mut Element) -> Carried {
        let (left, streamed) = match self.part {
            Part::Bulk { left, streamed } => (left, streamed),
            Part::BulkEnd { streamed } => (0, streamed),
            _ => return Carried::No,
        };
        let missing = unread + length;
        if missing <= left {
            element.lose(missing);
            self.part = Part::Bulk { left: left - missing, streamed };
            return Carried::Inside;
        }
        if missing != left + 2 {
            return Carried::No;
        }
        element.lose(left);
        if streamed {
            self.part = Part::Chunk;
        } else {
            element.end();
            self.value_done(element);
        }
        if self.at_start() { Carried::Whole } else { Carried::Inside }
    }

    /// One part, or as much of it as `data` holds. `None`: go on with the next.
    fn part(&mut self, data: &[u8], element: &mut Element) -> (usize, Option<Step>) {
        match self.part {
            Part::Header => self.header(data, element),
            Part::Chunk => self.chunk(data, element),
            Part::Bulk { left, streamed } => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                element.bytes(&data[..length]);
                let left = left - length as u64;
                if left > 0 {
                    self.part = Part::Bulk { left, streamed };
                    return (length, Some(Step::Need("the rest of a bulk string")));
                }
                self.part = Part::BulkEnd { streamed };
                (length, None)
            }
            Part::BulkEnd { streamed } => match data {
                [b'\r', b'\n', ..] if streamed => {
                    self.part = Part::Chunk;
                    (2, None)
                }
                [b'\r', b'\n', ..] => {
                    element.end();
                    self.value_done(element);
                    (2, None)
                }
                [] | [b'\r'] => (0, Some(Step::Need("the line end of a bulk string"))),
                [b'\r', ..] => (0, malformed(2, "a bulk string longer than its length")),
                _ => (0, malformed(1, "a bulk string longer than its length")),
            },
            Part::Text { length, kind } => self.text(length, kind, data, element),
        }
    }

    /// A type byte and what belongs to its line.
    fn header(&mut self, data: &[u8], element: &mut Element) -> (usize, Option<Step>) {
        let Some(&first) = data.first() else {
            return (
                0,
                Some(Step::Need(if self.stack.is_empty() { "an element" } else { "the next element" })),
            );
        };
        match (self.grammar, self.stack.len(), first) {
            (Grammar::Request, 0, b'*') | (Grammar::Request, 1, b'$') => {}
            (Grammar::Request, 0, _) => return self.inline(data, element),
            (Grammar::Request, ..) => return (0, malformed(1, "an argument that is no bulk string")),
            (Grammar::Reply, ..) => {}
        }
        let Some(kind) = Kind::of(first) else {
            return self.special(first, data, element);
        };
        if let Kind::SimpleString | Kind::Error | Kind::BigNumber = kind {
            element.begin(kind, None);
            self.part = Part::Text { length: 0, kind };
            return (1, None);
        }
        match line(data) {
            Line::Whole(text, length) => match self.typed(kind, text, element) {
                Ok(()) => (length, None),
                Err(reason) => (0, malformed(length, reason)),
            },
            Line::Partial => (0, Some(Step::Need("the rest of a line"))),
            Line::Broken(length) => (0, malformed(length, "a line that does not end")),
        }
    }

    /// The end of a streamed aggregate, or nothing known.
    fn special(&mut self, first: u8, data: &[u8], element: &mut Element) -> (usize, Option<Step>) {
        let streamed = matches!(self.stack.last(), Some(Level { left: None, .. }));
        if first != b'.' || !streamed {
            return (0, malformed(1, "no type byte"));
        }
        match data {
            [_, b'\r', b'\n', ..] => {
                self.close(element);
                (3, None)
            }
            [_] | [_, b'\r'] => (0, Some(Step::Need("the end of a streamed aggregate"))),
            _ => (0, malformed(2, "no type byte")),
        }
    }

    /// A header line of `kind` with what stands behind its type byte.
    fn typed(&mut self, kind: Kind, text: &[u8], element: &mut Element) -> Result<(), &'static str> {
        match kind {
            Kind::Bulk | Kind::BulkError | Kind::Verbatim => self.bulk(kind, text, element),
            Kind::Array | Kind::Map | Kind::Set | Kind::Push | Kind::Attribute => {
                self.aggregate(kind, text, element)
            }
            _ => {
                let valid = match kind {
                    Kind::Null => text.is_empty(),
                    Kind::Boolean => matches!(text, b"t" | b"f"),
                    Kind::Double => is_double(text),
                    _ => integer(text).is_some(),
                };
                if !valid {
                    return Err("a value that is not of its type");
                }
                element.begin(kind, Some(text.len() as u64));
                element.bytes(text);
                element.end();
                self.value_done(element);
                Ok(())
            }
        }
    }

    fn bulk(&mut self, kind: Kind, text: &[u8], element: &mut Element) -> Result<(), &'static str> {
        if text == b"?" && self.grammar == Grammar::Reply {
            element.begin(kind, None);
            self.part = Part::Chunk;
            return Ok(());
        }
        if text == b"-1" && kind == Kind::Bulk && self.grammar == Grammar::Reply {
            element.null(kind);
            self.value_done(element);
            return Ok(());
        }
        let bound = if self.grammar == Grammar::Request { MAX_REQUEST_BULK } else { MAX_REPLY_LENGTH };
        let length = length(text).filter(|&length| length <= bound).ok_or("an impossible bulk length")?;
        element.begin(kind, Some(length));
        self.part = Part::Bulk { left: length, streamed: false };
        Ok(())
    }

    fn aggregate(&mut self, kind: Kind, text: &[u8], element: &mut Element) -> Result<(), &'static str> {
        if self.stack.len() >= MAX_DEPTH {
            return Err("aggregates nested too deep");
        }
        let request = self.grammar == Grammar::Request;
        if text == b"?" && !request {
            element.open(kind, None);
            self.stack.push(Level { kind, left: None });
            return Ok(());
        }
        if text == b"-1" && kind == Kind::Array && !request {
            element.null(kind);
            self.value_done(element);
            return Ok(());
        }
        // A server ignores a request with a negative count as it does an empty one.
        let count = match integer(text) {
            Some(count) if request && count < 0 => 0,
            _ => length(text).ok_or("an impossible element count")?,
        };
        let count = if matches!(kind, Kind::Map | Kind::Attribute) { count.saturating_mul(2) } else { count };
        if count > if request { MAX_ARGUMENTS } else { MAX_REPLY_LENGTH } {
            return Err("an impossible element count");
        }
        element.open(kind, Some(count));
        self.stack.push(Level { kind, left: Some(count) });
        if count == 0 {
            self.close(element);
        }
        Ok(())
    }

    /// The `;length` line of a streamed string; length 0 ends it.
    fn chunk(&mut self, data: &[u8], element: &mut Element) -> (usize, Option<Step>) {
        if data.first().is_some_and(|&first| first != b';') {
            return (0, malformed(1, "no chunk of a streamed string"));
        }
        match line(data) {
            Line::Whole(text, taken) => match length(text).filter(|&length| length <= MAX_REPLY_LENGTH) {
                Some(0) => {
                    element.end();
                    self.value_done(element);
                    (taken, None)
                }
                Some(left) => {
                    self.part = Part::Bulk { left, streamed: true };
                    (taken, None)
                }
                None => (0, malformed(taken, "an impossible chunk length")),
            },
            Line::Partial => (0, Some(Step::Need("the next chunk of a streamed string"))),
            Line::Broken(length) => (0, malformed(length, "a line that does not end")),
        }
    }

    /// Text up to CRLF, taken as it comes.
    fn text(&mut self, before: u64, kind: Kind, data: &[u8], element: &mut Element) -> (usize, Option<Step>) {
        let end = memchr2(b'\r', b'\n', data);
        let text = &data[..end.unwrap_or(data.len())];
        if kind == Kind::BigNumber
            && let Some(at) = text.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-'))
        {
            return (0, malformed(at + 1, "a big number that is none"));
        }
        let length = before + text.len() as u64;
        if length > MAX_TEXT {
            return (0, malformed(text.len(), "a line that does not end"));
        }
        match data[text.len()..] {
            [b'\r', b'\n', ..] => {
                element.bytes(text);
                element.end();
                self.value_done(element);
                (text.len() + 2, None)
            }
            [] | [b'\r'] => {
                element.bytes(text);
                self.part = Part::Text { length, kind };
                (text.len(), Some(Step::Need("the rest of a line")))
            }
            [b'\n', ..] => (0, malformed(text.len() + 1, "a line end without carriage return")),
            [..] => (0, malformed(text.len() + 2, "a carriage return inside a line")),
        }
    }

    /// A request in the form of a plain line. Its bytes are left where they are until the line is whole:
    /// quotes can only be read then, and a line is short.
    fn inline(&mut self, data: &[u8], element: &mut Element) -> (usize, Option<Step>) {
        let limit = data.len().min(MAX_INLINE);
        let scanned = self.scanned.min(limit);
        let Some(at) = memchr(b'\n', &data[scanned..limit]).map(|at| at + scanned) else {
            self.scanned = limit;
            return if limit == MAX_INLINE {
                (0, malformed(limit, "an inline command that does not end"))
            } else {
                (0, Some(Step::Need("the end of an inline command")))
            };
        };
        self.scanned = 0;
        let text = data[..at].strip_suffix(b"\r").unwrap_or(&data[..at]);
        match super::inline::split(text) {
            Ok(arguments) => {
                element.inline(&arguments);
                (at + 1, None)
            }
            Err(reason) => (0, malformed(at + 1, reason)),
        }
    }

    /// A value is complete: counts it in the aggregate around it, and closes those that it completes.
    fn value_done(&mut self, element: &mut Element) {
        self.part = Part::Header;
        self.attributed &= !self.stack.is_empty();
        if let Some(Level { left: Some(left), .. }) = self.stack.last_mut() {
            // An entry stays on the stack only while elements are missing, so `left` is at least 1.
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.close(element);
            }
        }
    }

    /// The innermost aggregate is complete. An attribute is no value: what it describes is still to come.
    fn close(&mut self, element: &mut Element) {
        let Some(level) = self.stack.pop() else { return };
        element.close();
        if level.kind != Kind::Attribute {
            self.value_done(element);
        } else if self.stack.is_empty() {
            self.attributed = true;
        }
    }
}

fn malformed(length: usize, reason: &str) -> Option<Step> {
    Some(Step::Malformed { length, reason: reason.to_owned() })
}

/// A short line at the front of some bytes.
enum Line<'a> {
    /// What stands between its first byte and its CRLF, and its length with both.
    Whole(&'a [u8], usize),
    /// More bytes are needed.
    Partial,
    /// It has no proper end, proven by this many bytes.
    Broken(usize),
}

fn line(data: &[u8]) -> Line<'_> {
    let limit = data.len().min(MAX_HEADER);
    match memchr2(b'\r', b'\n', &data[..limit]) {
        Some(at) => match data[at..] {
            [b'\r', b'\n', ..] => Line::Whole(&data[1..at], at + 2),
            [b'\r'] => Line::Partial,
            [b'\r', ..] => Line::Broken(at + 2),
            _ => Line::Broken(at + 1),
        },
        None if limit == MAX_HEADER => Line::Broken(limit),
        None => Line::Partial,
    }
}

/// A decimal number with optional sign.
fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A length: digits only.
fn length(text: &[u8]) -> Option<u64> {
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_double(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok())
}
