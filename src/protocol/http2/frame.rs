//! Frames of HTTP/2 (RFC 9113, sections 4 and 6): headers, flags, payloads that are not the business of a stream.

use crate::protocol::cursor::Cursor;
use crate::record::Value;
use std::borrow::Cow;

/// What the client sends first (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length of a frame's header.
pub(super) const HEADER: usize = 9;

/// The longest frame that may be sent before the peer allows more (RFC 9113, section 6.5.2).
pub(super) const DEFAULT_LENGTH: u32 = 1 << 14;

/// How many settings of one frame are listed. There are less than ten kinds.
const SETTINGS_MAX: usize = 64;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PUSH_PROMISE: u8 = 0x5;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;
/// RFC 9218, section 7.1.
pub(super) const PRIORITY_UPDATE: u8 = 0x10;

/// END_STREAM of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 0x1;
/// ACK of SETTINGS and PING.
pub(super) const ACK: u8 = 0x1;
/// END_HEADERS of HEADERS, PUSH_PROMISE and CONTINUATION.
pub(super) const END_HEADERS: u8 = 0x4;
/// PADDED of DATA, HEADERS and PUSH_PROMISE.
pub(super) const PADDED: u8 = 0x8;
/// PRIORITY of HEADERS.
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// 0 for the connection as a whole.
    pub(super) stream: u32,
}

impl Header {
    /// Reads the header at the front of `data`.
    pub(super) fn read(data: &[u8]) -> Option<Header> {
        let mut cursor = Cursor::new(data);
        let (length, kind, flags) = (cursor.u24()?, cursor.u8()?, cursor.u8()?);
        // The highest bit is reserved.
        let stream = cursor.u32()? & 0x7fff_ffff;
        Some(Header { length, kind, flags, stream })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Why no peer that keeps to RFC 9113 sends this; what it says of its length is not believed then.
    pub(super) fn fault(self) -> Option<&'static str> {
        let length = match self.kind {
            PRIORITY => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            PING => self.length == 8,
            SETTINGS => self.length.is_multiple_of(6) && (self.length == 0 || !self.has(ACK)),
            GOAWAY => self.length >= 8,
            // Extensions (RFC 9113, section 5.5).
            10.. => self.length <= DEFAULT_LENGTH,
            _ => true,
        };
        let stream = match self.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION => self.stream != 0,
            SETTINGS | PING | GOAWAY => self.stream == 0,
            _ => true,
        };
        match (length, stream) {
            (false, _) => Some("a frame of a length that its type does not have"),
            (_, false) => Some("a frame of a type that does not belong on its stream"),
            _ => None,
        }
    }

    /// True where this looks like a frame even to one who does not know that one begins here: no flag that its type
    /// does not have, no length that few use.
    pub(super) fn is_plausible(self) -> bool {
        let flags = match self.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
            SETTINGS | PING => ACK,
            PUSH_PROMISE => END_HEADERS | PADDED,
            CONTINUATION => END_HEADERS,
            PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
            _ => return false,
        };
        let is_used = match self.kind {
            DATA => self.length > 0 || self.has(END_STREAM),
            SETTINGS | CONTINUATION => true,
            _ => self.length > 0,
        };
        self.fault().is_none() && self.flags & !flags == 0 && is_used && self.length <= DEFAULT_LENGTH
    }
}

/// `DATA`, `frame of type 0x1f`.
pub(super) fn type_name(kind: u8) -> Cow<'static, str> {
    let name = match kind {
        DATA => "DATA",
        HEADERS => "HEADERS",
        PRIORITY => "PRIORITY",
        RST_STREAM => "RST_STREAM",
        SETTINGS => "SETTINGS",
        PUSH_PROMISE => "PUSH_PROMISE",
        PING => "PING",
        GOAWAY => "GOAWAY",
        WINDOW_UPDATE => "WINDOW_UPDATE",
        CONTINUATION => "CONTINUATION",
        0xa => "ALTSVC",
        0xc => "ORIGIN",
        PRIORITY_UPDATE => "PRIORITY_UPDATE",
        _ => return format!("frame of type {kind:#04x}").into(),
    };
    name.into()
}

/// Name of an error code (RFC 9113, section 7).
pub(super) fn error_name(code: u32) -> Cow<'static, str> {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    match NAMES.get(code as usize) {
        Some(name) => (*name).into(),
        None => format!("{code:#x}").into(),
    }
}

/// The settings of a payload, by name (RFC 9113, section 6.5.2; RFC 8441; RFC 9218), and whether there are more than
/// are listed.
pub(super) fn settings(payload: &[u8]) -> (Vec<(Value, Value)>, bool) {
    let pairs = payload.chunks_exact(6);
    let is_more = pairs.len() > SETTINGS_MAX;
    let listed = pairs.take(SETTINGS_MAX).map(|pair| {
        let id = u16::from_be_bytes([pair[0], pair[1]]);
        let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
        (Value::Text(setting_name(id)), Value::Number(value.into()))
    });
    (listed.collect(), is_more)
}

fn setting_name(id: u16) -> Cow<'static, str> {
    let name = match id {
        1 => "HEADER_TABLE_SIZE",
        2 => "ENABLE_PUSH",
        3 => "MAX_CONCURRENT_STREAMS",
        4 => "INITIAL_WINDOW_SIZE",
        5 => "MAX_FRAME_SIZE",
        6 => "MAX_HEADER_LIST_SIZE",
        8 => "ENABLE_CONNECT_PROTOCOL",
        9 => "NO_RFC7540_PRIORITIES",
        _ => return format!("{id:#06x}").into(),
    };
    name.into()
}

/// Why a payload of SETTINGS can't be one (RFC 9113, section 6.5.2), where values have bounds.
pub(super) fn settings_fault(payload: &[u8]) -> Option<&'static str> {
    let is_bad = |pair: &[u8]| {
        let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
        match u16::from_be_bytes([pair[0], pair[1]]) {
            2 | 8 | 9 => value > 1,
            4 => value > 0x7fff_ffff,
            5 => !(1 << 14..1 << 24).contains(&value),
            _ => false,
        }
    };
    payload.chunks_exact(6).any(is_bad).then_some("a setting of a value that it can't have")
}

/// The payload without its padding (RFC 9113, section 6.1). `payload` may lack its end: then what is there of it.
///
/// # Errors
/// The padding does not fit.
pub(super) fn unpadded(header: Header, payload: &[u8]) -> Result<&[u8], String> {
    if !header.has(PADDED) {
        return Ok(payload);
    }
    let Some((&pad, rest)) = payload.split_first() else {
        return Err("a padded frame without a length of its padding".to_owned());
    };
    match (header.length as usize - 1).checked_sub(usize::from(pad)) {
        Some(length) => Ok(&rest[..length.min(rest.len())]),
        None => Err("padding that is longer than its frame".to_owned()),
    }
}
