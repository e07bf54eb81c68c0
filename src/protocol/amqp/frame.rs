//! Frames (section 4.2.3): type, channel and size, the payload, and an octet that ends it.

use crate::protocol::cursor::Cursor;

/// Bytes before a payload.
pub const HEAD: usize = 7;

/// What ends every frame.
pub const END: u8 = 0xce;

/// The largest payload that is taken for one as long as it is not known what both sides agreed on: what RabbitMQ
/// accepts at most as a whole message, unless told otherwise.
pub const SIZE_MAX: u32 = 128 << 20;

/// The protocol header of version 0-9-1, and those of 0-9 and 0-8, whose clients servers still accept.
pub const HEADERS: [&[u8; 8]; 3] =
    [b"AMQP\x00\x00\x09\x01", b"AMQP\x01\x01\x00\x09", b"AMQP\x01\x01\x08\x00"];

/// Types of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Method,
    Header,
    Body,
    Heartbeat,
}

impl Type {
    pub fn name(self) -> &'static str {
        match self {
            Type::Method => "method",
            Type::Header => "header",
            Type::Body => "body",
            Type::Heartbeat => "heartbeat",
        }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Type,
    pub channel: u16,
    /// Of the payload.
    pub size: u32,
}

impl Frame {
    /// All of the frame.
    pub fn length(self) -> u64 {
        HEAD as u64 + u64::from(self.size) + 1
    }
}

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Not {
    /// There are too few.
    Yet,
    /// They can't be, as so many of them tell.
    Ever(usize, &'static str),
}

/// Reads the head of a frame whose payload is `limit` bytes long at most.
pub fn head(data: &[u8], limit: u32) -> Result<Frame, Not> {
    let kind = match data.first() {
        None => return Err(Not::Yet),
        Some(1) => Type::Method,
        Some(2) => Type::Header,
        Some(3) => Type::Body,
        Some(8) => Type::Heartbeat,
        Some(_) => return Err(Not::Ever(1, "no type of frame")),
    };
    let mut cursor = Cursor::new(data.get(1..HEAD).ok_or(Not::Yet)?);
    let (channel, size) = (cursor.u16().ok_or(Not::Yet)?, cursor.u32().ok_or(Not::Yet)?);
    let fits = match kind {
        // Class and method; class, weight, size of the body and flags.
        Type::Method => size >= 4,
        Type::Header => size >= 14 && channel != 0,
        Type::Body => channel != 0,
        Type::Heartbeat => size == 0 && channel == 0,
    };
    if !fits {
        return Err(Not::Ever(HEAD, "a size or channel that this type of frame can't have"));
    }
    if size > limit {
        return Err(Not::Ever(HEAD, "a frame that is larger than agreed"));
    }
    Ok(Frame { kind, channel, size })
}
