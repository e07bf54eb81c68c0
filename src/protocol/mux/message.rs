//! Messages of Mux, taken apart (the documentation of `com.twitter.finagle.mux`, package.scala of finagle-mux,
//! <https://github.com/twitter/finagle/blob/develop/finagle-mux/src/main/scala/com/twitter/finagle/mux/package.scala>).

use crate::protocol::cursor::Cursor;

/// Length of size, type and tag.
pub const HEADER: usize = 8;

/// What `size` counts of the header: type and tag.
const COUNTED: u32 = 4;

/// The largest size: readers keep it in a signed number of 32 bits.
const SIZE_MAX: u32 = i32::MAX as u32;

/// The bit of a tag that tells that more fragments follow.
const FRAGMENT: u32 = 1 << 23;

/// How many contexts, delegations or headers of one message are looked at.
pub const PAIRS_MAX: usize = 1024;

/// What Finagle sends in an Rerr to find out whether its peer knows Tinit (`Handshake.scala`).
pub const CAN_TINIT: &[u8] = b"tinit check";

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Treq,
    Rreq,
    Tdispatch,
    Rdispatch,
    Tdrain,
    Rdrain,
    Tping,
    Rping,
    Tdiscarded,
    Rdiscarded,
    Tlease,
    Tinit,
    Rinit,
    Rerr,
}

/// Kinds by number; two had other numbers once, which are still sent.
const KINDS: [(Kind, i8, &str); 16] = [
    (Kind::Treq, 1, "Treq"),
    (Kind::Rreq, -1, "Rreq"),
    (Kind::Tdispatch, 2, "Tdispatch"),
    (Kind::Rdispatch, -2, "Rdispatch"),
    (Kind::Tdrain, 64, "Tdrain"),
    (Kind::Rdrain, -64, "Rdrain"),
    (Kind::Tping, 65, "Tping"),
    (Kind::Rping, -65, "Rping"),
    (Kind::Tdiscarded, 66, "Tdiscarded"),
    (Kind::Rdiscarded, -66, "Rdiscarded"),
    (Kind::Tlease, 67, "Tlease"),
    (Kind::Tinit, 68, "Tinit"),
    (Kind::Rinit, -68, "Rinit"),
    (Kind::Rerr, -128, "Rerr"),
    (Kind::Tdiscarded, -62, "Tdiscarded"),
    (Kind::Rerr, 127, "Rerr"),
];

impl Kind {
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }

    /// True where it begins an exchange or needs no answer.
    pub fn is_t(self) -> bool {
        matches!(
            self,
            Kind::Treq
                | Kind::Tdispatch
                | Kind::Tdrain
                | Kind::Tping
                | Kind::Tdiscarded
                | Kind::Tlease
                | Kind::Tinit
        )
    }

    /// Whether the client sends it; None for those that both sides send.
    pub fn is_of_client(self) -> Option<bool> {
        match self {
            Kind::Treq | Kind::Tdispatch | Kind::Tdiscarded | Kind::Tinit | Kind::Rdrain => Some(true),
            Kind::Rreq | Kind::Rdispatch | Kind::Rdiscarded | Kind::Rinit | Kind::Tdrain | Kind::Tlease => {
                Some(false)
            }
            Kind::Tping | Kind::Rping | Kind::Rerr => None,
        }
    }
}

/// The header that begins every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole message, the size itself included.
    pub whole: u64,
    pub kind: Kind,
    /// Without the bit for fragments.
    pub tag: u32,
    /// More fragments of the message follow.
    pub is_fragment: bool,
}

impl Header {
    /// Reads it. None where bytes are missing or nothing begins like this: [`Header::is_possible`].
    pub fn read(data: &[u8]) -> Option<Header> {
        let mut cursor = Cursor::new(data);
        let (size, number, tag) = (cursor.u32()?, cursor.i8()?, cursor.u24()?);
        let kind = KINDS.iter().find(|row| row.1 == number)?.0;
        let header = Header {
            whole: u64::from(size) + 4,
            kind,
            tag: tag & !FRAGMENT,
            is_fragment: tag & FRAGMENT != 0,
        };
        let body = size.checked_sub(COUNTED)?;
        let is_marker = matches!(kind, Kind::Tlease | Kind::Tdiscarded);
        let is_sane = match kind {
            // These have no body, so nothing to fragment.
            Kind::Tping | Kind::Rping | Kind::Tdrain | Kind::Rdrain | Kind::Rdiscarded => {
                body == 0 && !header.is_fragment
            }
            Kind::Tlease => body == 9,
            Kind::Tdiscarded => body >= 3 || header.is_fragment,
            Kind::Rerr => true,
            _ => body >= 1 || header.is_fragment,
        };
        // Tag 0 is for messages without an answer.
        (size <= SIZE_MAX && is_sane && is_marker == (header.tag == 0)).then_some(header)
    }

    /// Whether a message can begin like this, so far as bytes are there.
    pub fn is_possible(data: &[u8]) -> bool {
        if data.len() >= HEADER {
            return Header::read(data).is_some();
        }
        let size = data.first().is_none_or(|&high| high < 0x80);
        let kind = data.get(4).is_none_or(|&number| KINDS.iter().any(|row| row.1 == number.cast_signed()));
        size && kind
    }
}

/// Names with values.
pub type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// What follows the header.
#[derive(Clone, Debug, Default)]
pub struct Body<'a> {
    /// Contexts of Tdispatch and Rdispatch.
    pub contexts: Pairs<'a>,
    /// Headers of Tinit and Rinit.
    pub headers: Pairs<'a>,
    /// Metadata of Treq.
    pub keys: Vec<(u8, &'a [u8])>,
    /// Destination of Tdispatch.
    pub dst: Option<&'a [u8]>,
    /// Rules that rewrite names: prefix and destination.
    pub dtab: Pairs<'a>,
    /// Status of Rreq and Rdispatch.
    pub status: Option<u8>,
    /// Version of Tinit and Rinit.
    pub version: Option<u16>,
    /// What Tdiscarded discards.
    pub which: Option<u32>,
    /// Unit of Tlease (0: milliseconds), and how long it is.
    pub lease: Option<(u8, i64)>,
    /// The rest: what is asked or answered, or why.
    pub rest: &'a [u8],
    /// Pairs that were not looked at.
    pub is_limited: bool,
}

/// Reads a body. The second is false where bytes of it are missing.
pub fn body<'a>(kind: Kind, bytes: &'a [u8]) -> (Body<'a>, bool) {
    let mut body = Body::default();
    let mut cursor = Cursor::new(bytes);
    let is_whole = read(kind, &mut body, &mut cursor).is_some();
    if is_whole {
        body.rest = cursor.rest();
    }
    (body, is_whole)
}

fn read<'a>(kind: Kind, body: &mut Body<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
    match kind {
        Kind::Treq => {
            for _ in 0..cursor.u8()? {
                let key = cursor.u8()?;
                let length = cursor.u8()?;
                body.keys.push((key, cursor.bytes(length.into())?));
            }
        }
        Kind::Rreq => body.status = Some(cursor.u8()?),
        Kind::Tdispatch => {
            pairs(cursor, &mut body.contexts, &mut body.is_limited)?;
            body.dst = Some(string(cursor)?);
            pairs(cursor, &mut body.dtab, &mut body.is_limited)?;
        }
        Kind::Rdispatch => {
            body.status = Some(cursor.u8()?);
            pairs(cursor, &mut body.contexts, &mut body.is_limited)?;
        }
        Kind::Tdiscarded => body.which = Some(cursor.u24()?),
        Kind::Tlease => body.lease = Some((cursor.u8()?, cursor.i64()?)),
        Kind::Tinit | Kind::Rinit => {
            body.version = Some(cursor.u16()?);
            while !cursor.is_empty() {
                let pair = (long(cursor)?, long(cursor)?);
                match body.headers.len() < PAIRS_MAX {
                    true => body.headers.push(pair),
                    false => body.is_limited = true,
                }
            }
        }
        _ => {}
    }
    Some(())
}

/// `key~2 value~2`, as many as the number in front of them says.
fn pairs<'a>(cursor: &mut Cursor<'a>, list: &mut Pairs<'a>, is_limited: &mut bool) -> Option<()> {
    for _ in 0..cursor.u16()? {
        let pair = (string(cursor)?, string(cursor)?);
        match list.len() < PAIRS_MAX {
            true => list.push(pair),
            false => *is_limited = true,
        }
    }
    Some(())
}

fn string<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = cursor.u16()?;
    cursor.bytes(length.into())
}

fn long<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = cursor.u32()?;
    cursor.bytes(usize::try_from(length).ok()?)
}
