//! Arguments, properties and field tables (section 4.2.5, with the types that RabbitMQ really uses:
//! <https://www.rabbitmq.com/amqp-0-9-1-errata#section_3>), secrets masked.

use super::method::{Kind, PROPERTIES};
use crate::protocol::MASKED;
use crate::protocol::cursor::Cursor;
use crate::protocol::secrets::is_secret_name;
use crate::record::{Field, Value};

/// How deep tables and arrays are followed.
const DEPTH_MAX: usize = 16;

/// How much of all values of one message is kept, in bytes, each value counted with [`VALUE_COST`] besides.
const KEEP_MAX: usize = 32 << 10;

/// What a value costs by itself.
const VALUE_COST: usize = 64;

/// How many bytes of one long string are kept.
const TEXT_MAX: usize = 4096;

/// Arguments that let somebody in.
const SECRETS: [&str; 3] = ["response", "challenge", "new_secret"];

/// Reads values of one message.
pub struct Reader<'a> {
    pub cursor: Cursor<'a>,
    show_secrets: bool,
    room: usize,
    /// Something is shown shorter than it is.
    pub cut: bool,
}

impl<'a> Reader<'a> {
    pub fn new(cursor: Cursor<'a>, show_secrets: bool) -> Reader<'a> {
        Reader { cursor, show_secrets, room: KEEP_MAX, cut: false }
    }

    /// Reads arguments into `fields`. None where they are not all there, or one is not well-formed; those before it
    /// are read.
    pub fn arguments(&mut self, arguments: &[(&'static str, Kind)], fields: &mut Vec<Field>) -> Option<()> {
        let mut bits: Option<(u8, u32)> = None;
        for &(name, kind) in arguments {
            let value = if kind == Kind::Bit {
                let (octet, at) = match bits {
                    Some((octet, at)) if at < 8 => (octet, at),
                    _ => (self.cursor.u8()?, 0),
                };
                bits = Some((octet, at + 1));
                Value::Flag(octet >> at & 1 == 1)
            } else {
                bits = None;
                self.value(kind)?
            };
            if name == "response" {
                fields.extend(user(fields, &value).map(|user| Field::new("user", Value::Bytes(user))));
            }
            if !name.is_empty() {
                fields.push(Field::new(name, self.masked(SECRETS.contains(&name), value)));
            }
        }
        Some(())
    }

    /// Reads the property flags and the properties of a content header. None as in [`Reader::arguments`].
    pub fn properties(&mut self, into: &mut Vec<(Value, Value)>) -> Option<()> {
        let flags = self.cursor.u16()?;
        // The lowest bit tells that more flags follow, of which class basic has none.
        let mut more = flags & 1 == 1;
        while more {
            more = self.cursor.u16()? & 1 == 1;
        }
        for (index, &(name, kind)) in PROPERTIES.iter().enumerate() {
            if flags >> (15 - index) & 1 == 1 {
                let value = self.value(kind)?;
                into.push((Value::Text(name.into()), value));
            }
        }
        Some(())
    }

    fn masked(&self, is_secret: bool, value: Value) -> Value {
        if is_secret && !self.show_secrets { MASKED } else { value }
    }

    fn value(&mut self, kind: Kind) -> Option<Value> {
        Some(match kind {
            Kind::Bit | Kind::Octet => Value::Number(self.cursor.u8()?.into()),
            Kind::Short => Value::Number(self.cursor.u16()?.into()),
            Kind::Long => Value::Number(self.cursor.u32()?.into()),
            Kind::LongLong => unsigned(self.cursor.u64()?),
            Kind::ShortStr => {
                let length = self.cursor.u8()?;
                self.bytes(length.into())?
            }
            Kind::LongStr => {
                let length = self.cursor.u32()?;
                self.bytes(length)?
            }
            Kind::Table => self.table(0)?,
        })
    }

    fn bytes(&mut self, length: u32) -> Option<Value> {
        let bytes = self.cursor.bytes(usize::try_from(length).ok()?)?;
        let kept = bytes.len().min(TEXT_MAX).min(self.room);
        self.room -= kept;
        self.cut |= kept < bytes.len();
        Some(Value::Bytes(bytes[..kept].to_vec()))
    }

    /// Makes room for a value; false where there is none.
    fn has_room(&mut self) -> bool {
        let has_room = self.room >= VALUE_COST;
        self.room -= if has_room { VALUE_COST } else { 0 };
        self.cut |= !has_room;
        has_room
    }

    fn table(&mut self, depth: usize) -> Option<Value> {
        let mut inner = self.inner()?;
        let mut members = Vec::new();
        while !inner.cursor.is_empty() && inner.goes_on(depth) {
            let length = inner.cursor.u8()?;
            let name = inner.cursor.bytes(length.into())?;
            let value = inner.typed(depth + 1)?;
            if inner.has_room() {
                let is_secret = is_secret_name(name);
                let value = inner.masked(is_secret, value);
                inner.room = inner.room.saturating_sub(name.len());
                members.push((Value::Bytes(name.to_vec()), value));
            }
        }
        (self.room, self.cut) = (inner.room, inner.cut);
        Some(Value::Map(members))
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut inner = self.inner()?;
        let mut items = Vec::new();
        while !inner.cursor.is_empty() && inner.goes_on(depth) {
            let value = inner.typed(depth + 1)?;
            if inner.has_room() {
                items.push(value);
            }
        }
        (self.room, self.cut) = (inner.room, inner.cut);
        Some(Value::List(items))
    }

    /// A reader of the table or array that begins here with its length.
    fn inner(&mut self) -> Option<Reader<'a>> {
        let length = self.cursor.u32()?;
        let cursor = self.cursor.part(usize::try_from(length).ok()?)?;
        Some(Reader { cursor, show_secrets: self.show_secrets, room: self.room, cut: self.cut })
    }

    /// False where tables are too deep: what is in there is left out.
    fn goes_on(&mut self, depth: usize) -> bool {
        self.cut |= depth >= DEPTH_MAX;
        depth < DEPTH_MAX
    }

    /// A value of a table, behind its type.
    fn typed(&mut self, depth: usize) -> Option<Value> {
        Some(match self.cursor.u8()? {
            b't' => Value::Flag(self.cursor.u8()? != 0),
            b'b' => Value::Number(self.cursor.i8()?.into()),
            b'B' => Value::Number(self.cursor.u8()?.into()),
            // A short string in the specification, which nobody sends.
            b's' => Value::Number(self.cursor.i16()?.into()),
            b'u' => Value::Number(self.cursor.u16()?.into()),
            b'I' => Value::Number(self.cursor.i32()?.into()),
            b'i' => Value::Number(self.cursor.u32()?.into()),
            b'l' | b'L' => Value::Number(self.cursor.i64()?),
            b'f' => Value::Float(self.cursor.f32()?.into()),
            b'd' => Value::Float(self.cursor.f64()?),
            b'D' => {
                let (scale, number) = (self.cursor.u8()?, self.cursor.i32()?);
                Value::Text(format!("{number}e-{scale}").into())
            }
            b'S' | b'x' => {
                let length = self.cursor.u32()?;
                self.bytes(length)?
            }
            b'T' => unsigned(self.cursor.u64()?),
            b'V' => Value::Null,
            b'A' => self.array(depth)?,
            b'F' => self.table(depth)?,
            _ => return None,
        })
    }
}

fn unsigned(number: u64) -> Value {
    Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Whose name a SASL response of the mechanism before it holds (RFC 4616; RabbitMQ's AMQPLAIN).
fn user(fields: &[Field], response: &Value) -> Option<Vec<u8>> {
    let Value::Bytes(response) = response else { return None };
    let mechanism = fields.iter().find(|field| field.name == "mechanism")?;
    match &mechanism.value {
        Value::Bytes(name) if name == b"PLAIN" => {
            response.split(|&byte| byte == 0).nth(1).map(<[u8]>::to_vec)
        }
        Value::Bytes(name) if name == b"AMQPLAIN" => {
            let at = memchr::memmem::find(response, b"\x05LOGINS")?;
            let mut cursor = Cursor::new(&response[at + 7..]);
            let length = cursor.u32()?;
            cursor.bytes(usize::try_from(length).ok()?).map(<[u8]>::to_vec)
        }
        _ => None,
    }
}
