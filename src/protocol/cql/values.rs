//! Values of columns and variables by their type (native_protocol_v5.spec, section 6).

use super::read::{Bound, Type};
use crate::protocol::cursor::Cursor;
use crate::record::Value;
use std::net::IpAddr;

/// How many characters of a value a summary shows.
const BRIEF_MAX: usize = 40;

/// A value for a field: at most `most` bytes of it, and whether that is all.
pub fn shown(bound: Bound<'_>, kind: Option<&Type>, most: usize) -> (Value, bool) {
    let bytes = match bound {
        Bound::Null => return (Value::Null, true),
        Bound::NotSet => return (Value::Text("not set".into()), true),
        Bound::Bytes(bytes) => bytes,
    };
    if let Some(value) = kind.and_then(|kind| decode(kind.id, bytes)) {
        return (value, true);
    }
    let part = &bytes[..bytes.len().min(most)];
    let value = match kind.is_some_and(|kind| is_text(kind.id)) || kind.is_none() && is_readable(part) {
        true => Value::Bytes(part.to_vec()),
        false => Value::Text(format!("0x{}", data_encoding::HEXLOWER.encode(part)).into()),
    };
    (value, part.len() == bytes.len())
}

/// A value for a summary: `7`, `'abc'`, `null`, `0x0001`.
pub fn brief(bound: Bound<'_>, kind: Option<&Type>) -> String {
    match shown(bound, kind, 2 * BRIEF_MAX) {
        (Value::Null, _) => "null".to_owned(),
        (Value::Number(number), _) => number.to_string(),
        (Value::Float(number), _) => number.to_string(),
        (Value::Flag(flag), _) => flag.to_string(),
        (Value::Text(text), is_all) => cut(&text, is_all),
        (Value::Bytes(bytes), is_all) => format!("'{}'", cut(&String::from_utf8_lossy(&bytes), is_all)),
        _ => String::new(),
    }
}

fn cut(text: &str, is_all: bool) -> String {
    match text.char_indices().nth(BRIEF_MAX) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None if !is_all => format!("{text}\u{2026}"),
        None => text.to_owned(),
    }
}

fn is_text(id: u16) -> bool {
    matches!(id, 0x01 | 0x0d)
}

fn is_readable(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(char::is_control))
}

fn decode(id: u16, bytes: &[u8]) -> Option<Value> {
    let mut cursor = Cursor::new(bytes);
    let value = match id {
        // Milliseconds since 1970; nanoseconds since midnight.
        0x02 | 0x05 | 0x0b | 0x12 => Value::Number(cursor.i64()?),
        0x04 => Value::Flag(cursor.u8()? != 0),
        0x07 => Value::Float(cursor.f64()?),
        0x08 => Value::Float(cursor.f32()?.into()),
        0x09 => Value::Number(cursor.i32()?.into()),
        0x0c | 0x0f => Value::Text(uuid(cursor.array()?).into()),
        0x10 => Value::Text(address(&mut cursor)?.to_string().into()),
        // Days, of which 2^31 is 1970-01-01.
        0x11 => Value::Number(i64::from(cursor.u32()?) - (1 << 31)),
        0x13 => Value::Number(cursor.i16()?.into()),
        0x14 => Value::Number(cursor.i8()?.into()),
        _ => return None,
    };
    cursor.is_empty().then_some(value)
}

fn address(cursor: &mut Cursor<'_>) -> Option<IpAddr> {
    match cursor.len() {
        4 => cursor.array::<4>().map(IpAddr::from),
        16 => cursor.array::<16>().map(IpAddr::from),
        _ => None,
    }
}

/// As RFC 9562 writes them.
pub fn uuid(bytes: [u8; 16]) -> String {
    let mut text = data_encoding::HEXLOWER.encode(&bytes);
    [20, 16, 12, 8].iter().for_each(|&at| text.insert(at, '-'));
    text
}
