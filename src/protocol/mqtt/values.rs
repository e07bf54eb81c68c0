//! Reads data of the types that packets are made of (MQTT 5.0, section 1.5); what is kept of them has a bound.

use crate::protocol::cursor::Cursor;
use crate::record::Value;

/// How many bytes of one text are kept.
const TEXT_MAX: usize = 4096;

/// How much of all values of one packet is kept, in bytes, each counted with [`VALUE_COST`] besides.
const KEEP_MAX: usize = 64 << 10;

/// What a value costs by itself.
const VALUE_COST: usize = 64;

/// A variable byte integer, or what is there of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The number, up to 268,435,455, and of how many bytes it was read.
    Is(u32, usize),
    /// Bytes are missing.
    Begun,
    /// It goes on behind the bytes that it can have, which are so many.
    No(usize),
}

/// Reads the variable byte integer at the front.
pub fn length(data: &[u8]) -> Length {
    let mut number = 0;
    for (index, byte) in data.iter().take(4).enumerate() {
        number |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Length::Is(number, index + 1);
        }
    }
    if data.len() < 4 { Length::Begun } else { Length::No(4) }
}

/// Why a packet could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ends before.
    End,
    /// It does not follow the standard.
    Bad(&'static str),
}

/// What reading gives.
pub type Read<T> = Result<T, Stop>;

/// Reads one packet.
pub struct Reader<'a> {
    cursor: Cursor<'a>,
    room: usize,
    /// Something is shown shorter than it is.
    pub is_cut: bool,
    /// Nothing that was read is something that no peer would send.
    pub is_plausible: bool,
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Reader<'a> {
        Reader { cursor: Cursor::new(data), room: KEEP_MAX, is_cut: false, is_plausible: true }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.cursor.rest()
    }

    pub fn is_empty(&self) -> bool {
        self.cursor.is_empty()
    }

    pub fn u8(&mut self) -> Read<u8> {
        self.cursor.u8().ok_or(Stop::End)
    }

    pub fn u16(&mut self) -> Read<u16> {
        self.cursor.u16().ok_or(Stop::End)
    }

    pub fn u32(&mut self) -> Read<u32> {
        self.cursor.u32().ok_or(Stop::End)
    }

    /// A variable byte integer, in no more bytes than it takes.
    pub fn length(&mut self) -> Read<u32> {
        match length(self.rest()) {
            Length::Is(number, bytes) if bytes == 1 || number >> (7 * (bytes - 1)) != 0 => {
                self.cursor.skip(bytes).ok_or(Stop::End)?;
                Ok(number)
            }
            Length::Is(..) => Err(Stop::Bad("a variable byte integer in more bytes than it takes")),
            Length::Begun => Err(Stop::End),
            Length::No(_) => Err(Stop::Bad("a variable byte integer that never ends")),
        }
    }

    /// A packet identifier, which is never 0.
    pub fn identifier(&mut self) -> Read<u16> {
        let identifier = self.u16()?;
        self.is_plausible &= identifier != 0;
        Ok(identifier)
    }

    /// Binary data: two bytes of length, and so many bytes.
    pub fn binary(&mut self) -> Read<&'a [u8]> {
        // Nothing is taken where not all is there.
        let mut cursor = self.cursor;
        let length = cursor.u16().ok_or(Stop::End)?;
        let bytes = cursor.bytes(length.into()).ok_or(Stop::End)?;
        self.cursor = cursor;
        Ok(bytes)
    }

    /// A text, which is UTF-8 without U+0000; of one that is not, all bytes are given.
    pub fn text(&mut self) -> Read<&'a [u8]> {
        let text = self.binary()?;
        self.is_plausible &= is_text(text);
        Ok(text)
    }

    /// So many bytes as a part of their own; `None` where they are not all there, and then none is taken.
    pub fn part(&mut self, count: u32) -> Option<&'a [u8]> {
        self.cursor.bytes(usize::try_from(count).ok()?)
    }

    /// Goes on with a part of the packet; the bounds are those of all of it.
    pub fn within<T>(&mut self, part: &'a [u8], read: impl FnOnce(&mut Reader<'a>) -> Read<T>) -> Read<T> {
        let behind = std::mem::replace(&mut self.cursor, Cursor::new(part));
        let result = read(self);
        self.cursor = behind;
        result
    }

    /// Makes room for a value; false where there is none.
    pub fn has_room(&mut self) -> bool {
        match self.room.checked_sub(VALUE_COST) {
            Some(room) => {
                self.room = room;
                true
            }
            None => {
                self.is_cut = true;
                false
            }
        }
    }

    /// What is kept of bytes.
    pub fn keep(&mut self, bytes: &[u8]) -> Value {
        let kept = bytes.len().min(TEXT_MAX).min(self.room);
        self.room -= kept;
        self.is_cut |= kept < bytes.len();
        Value::Bytes(bytes[..kept].to_vec())
    }

    /// What is kept of a body: as much as is wanted of bodies.
    pub fn keep_body(&mut self, bytes: &[u8], length: u64, max_field: usize) -> Value {
        let kept = bytes.len().min(max_field);
        self.is_cut |= (kept as u64) < length;
        Value::Bytes(bytes[..kept].to_vec())
    }
}

/// UTF-8 that a person could have chosen for a name.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}
