//! The header of a frame (RFC 6455, section 5.2).

use super::super::cursor::Cursor;

/// The longest payload of a control frame (section 5.5).
pub(super) const CONTROL_MAX: u64 = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    /// `None`: reserved.
    fn from_number(number: u8) -> Option<Opcode> {
        Some(match number {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return None,
        })
    }

    /// The name of section 5.2, as one word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Opcode::Continuation => "continuation",
            Opcode::Text => "text",
            Opcode::Binary => "binary",
            Opcode::Close => "close",
            Opcode::Ping => "ping",
            Opcode::Pong => "pong",
        }
    }

    /// True for frames that may come between the fragments of a message.
    pub(super) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The last frame of its message.
    pub(super) fin: bool,
    /// RSV1, which permessage-deflate uses (RFC 7692, section 6).
    pub(super) rsv1: bool,
    /// RSV2 or RSV3, which no registered extension uses.
    pub(super) rsv23: bool,
    pub(super) opcode: Opcode,
    /// The masking key, of a client's frame.
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of the header.
    pub(super) size: usize,
    /// Bytes of the payload.
    pub(super) length: u64,
}

/// What the bytes at the beginning of a frame are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Header(Header),
    /// A header so far.
    Begun,
    /// No header, as these first bytes prove.
    Bad(usize, &'static str),
}

/// Reads the header at the front of `data`.
pub(super) fn read(data: &[u8]) -> Read {
    let [first, rest @ ..] = data else { return Read::Begun };
    let Some(opcode) = Opcode::from_number(first & 0x0f) else {
        return Read::Bad(1, "a reserved opcode");
    };
    let fin = first & 0x80 != 0;
    if opcode.is_control() && !fin {
        return Read::Bad(1, "a fragmented control frame");
    }
    let [second, rest @ ..] = rest else { return Read::Begun };
    if opcode.is_control() && u64::from(second & 0x7f) > CONTROL_MAX {
        return Read::Bad(2, "a control frame of more than 125 bytes");
    }
    let mut cursor = Cursor::new(rest);
    let length = match second & 0x7f {
        126 => cursor.u16().map(u64::from),
        127 => cursor.u64(),
        short => Some(u64::from(short)),
    };
    let Some(length) = length else { return Read::Begun };
    let known = data.len() - cursor.len();
    match second & 0x7f {
        126 if length < 126 => return Read::Bad(known, "a length in more bytes than it needs"),
        127 if length <= u64::from(u16::MAX) => {
            return Read::Bad(known, "a length in more bytes than it needs");
        }
        127 if length >> 63 != 0 => return Read::Bad(known, "a length with its highest bit set"),
        _ => {}
    }
    let mask = if second & 0x80 == 0 {
        None
    } else {
        let Some(key) = cursor.array() else { return Read::Begun };
        Some(key)
    };
    Read::Header(Header {
        fin,
        rsv1: first & 0x40 != 0,
        rsv23: first & 0x30 != 0,
        opcode,
        mask,
        size: data.len() - cursor.len(),
        length,
    })
}

/// Takes the mask off `payload`, or puts it on (section 5.3); `at` is where in the frame's payload it begins.
pub(super) fn unmask(payload: &mut [u8], key: Option<[u8; 4]>, at: u64) {
    let Some(key) = key else { return };
    let shift = (at % 4) as usize;
    payload.iter_mut().enumerate().for_each(|(index, byte)| *byte ^= key[(index + shift) % 4]);
}
