//! Values of parameters and columns: text, or binary by the type that they have.
//!
//! Source: MySQL Source Code Documentation, "Binary Protocol Resultset", section Binary Protocol Value;
//! `field_types.h`.

use super::packet;
use crate::protocol::cursor::Cursor;
use crate::record::Value;
use std::fmt::Write;

/// How many characters of a value a summary shows.
const BRIEF_MAX: usize = 40;

/// How many values a summary shows.
const BRIEF_COUNT: usize = 12;

/// The type of a parameter or column, as it decides how a binary value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its number in `enum_field_types`.
    pub code: u8,
    pub unsigned: bool,
}

/// What a binary value says.
#[derive(Clone, Debug, PartialEq)]
pub enum Read<'a> {
    Plain(Value),
    /// What is there of a string, and the length that it has.
    String(&'a [u8], u64),
}

/// Reads a binary value. None where it is not whole (of a string: its length), or where the type is not known.
pub fn binary<'a>(kind: Kind, cursor: &mut Cursor<'a>) -> Option<Read<'a>> {
    let value = match (kind.code, kind.unsigned) {
        (6, _) => Value::Null,
        (1, true) => Value::Number(cursor.u8()?.into()),
        (1, false) => Value::Number(cursor.i8()?.into()),
        (2 | 13, true) => Value::Number(cursor.u16_le()?.into()),
        (2 | 13, false) => Value::Number(cursor.i16_le()?.into()),
        (3 | 9, true) => Value::Number(cursor.u32_le()?.into()),
        (3 | 9, false) => Value::Number(cursor.i32_le()?.into()),
        (8, true) => {
            let number = cursor.u64_le()?;
            i64::try_from(number).map_or_else(|_| Value::Text(number.to_string().into()), Value::Number)
        }
        (8, false) => Value::Number(cursor.i64_le()?),
        (4, _) => Value::Float(cursor.f32_le()?.into()),
        (5, _) => Value::Float(cursor.f64_le()?),
        (7 | 10 | 12, _) => Value::Text(date(cursor)?.into()),
        (11, _) => Value::Text(time(cursor)?.into()),
        (0 | 15 | 16 | 242 | 245..=255, _) => {
            let (bytes, length) = packet::string_begun(cursor)?;
            return Some(Read::String(bytes, length));
        }
        _ => return None,
    };
    Some(Read::Plain(value))
}

/// DATE, DATETIME and TIMESTAMP: as many of year, month, day, time of day and microseconds as are not zero.
fn date(cursor: &mut Cursor<'_>) -> Option<String> {
    let length = cursor.u8()?;
    let mut part = cursor.part(length.into())?;
    let (year, month, day) = match length {
        0 => (0, 0, 0),
        _ => (part.u16_le()?, part.u8()?, part.u8()?),
    };
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if length >= 7 {
        let _ = write!(text, " {:02}:{:02}:{:02}", part.u8()?, part.u8()?, part.u8()?);
    }
    if length >= 11 {
        let _ = write!(text, ".{:06}", part.u32_le()?);
    }
    Some(text)
}

/// TIME: a span, which can be negative and longer than a day.
fn time(cursor: &mut Cursor<'_>) -> Option<String> {
    let length = cursor.u8()?;
    let mut part = cursor.part(length.into())?;
    if length < 8 {
        return Some("00:00:00".to_owned());
    }
    let sign = if part.u8()? == 1 { "-" } else { "" };
    let hours = u64::from(part.u32_le()?) * 24 + u64::from(part.u8()?);
    let mut text = format!("{sign}{hours:02}:{:02}:{:02}", part.u8()?, part.u8()?);
    if length >= 12 {
        let _ = write!(text, ".{:06}", part.u32_le()?);
    }
    Some(text)
}

/// For a field: at most `most` bytes of a string, and whether that is all.
pub fn shown(read: &Read<'_>, most: usize) -> (Value, bool) {
    match read {
        Read::Plain(value) => (value.clone(), true),
        Read::String(bytes, length) => {
            let kept = &bytes[..bytes.len().min(most)];
            (Value::Bytes(kept.to_vec()), kept.len() as u64 == *length)
        }
    }
}

/// For a summary: `7`, `'abc'`, `NULL`.
pub fn brief(read: &Read<'_>) -> String {
    match read {
        Read::Plain(Value::Number(number)) => number.to_string(),
        Read::Plain(Value::Float(number)) => number.to_string(),
        Read::Plain(Value::Text(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.to_string(),
        Read::Plain(Value::Text(text)) => format!("'{text}'"),
        Read::Plain(_) => "NULL".to_owned(),
        Read::String(bytes, length) => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * BRIEF_MAX)]);
            let mut shown: String = text.chars().take(BRIEF_MAX).collect();
            if (shown.len() as u64) < *length && text.chars().count() >= BRIEF_MAX {
                shown.push('\u{2026}');
            }
            format!("'{shown}'")
        }
    }
}

/// Values of parameters, as they are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// For a field, where fields are wanted.
    pub values: Vec<Value>,
    /// For the summary.
    pub briefs: Vec<String>,
    /// How many there are.
    pub count: u64,
    /// Values are shown in part, or not at all.
    pub cut: bool,
}

impl Values {
    /// Reads `count` values behind the bits that tell which are NULL. `long` tells of which the value came in other
    /// packets; `room` is how many bytes of them may be kept.
    pub fn read(
        kinds: &[Kind],
        nulls: &[u8],
        cursor: &mut Cursor<'_>,
        room: usize,
        long: impl Fn(usize) -> bool,
    ) -> Values {
        let mut all = Values { count: kinds.len() as u64, ..Values::default() };
        let mut left = room;
        for (index, kind) in kinds.iter().enumerate() {
            let is_null = nulls.get(index / 8).is_some_and(|bits| bits >> (index % 8) & 1 == 1);
            let read = if is_null {
                Some(Read::Plain(Value::Null))
            } else if long(index) {
                Some(Read::Plain(Value::Text("long data".into())))
            } else {
                binary(*kind, cursor)
            };
            let Some(read) = read else {
                all.cut = true;
                break;
            };
            if all.briefs.len() < BRIEF_COUNT {
                let is_long = !is_null && long(index);
                all.briefs.push(if is_long { "long data".to_owned() } else { brief(&read) });
            }
            if room > 0 {
                let (value, whole) = shown(&read, left);
                all.cut |= !whole;
                left = left.saturating_sub(size(&value));
                all.values.push(value);
            }
        }
        all
    }

    /// `[7, 'abc', NULL]`, or nothing where there are no values.
    pub fn line(&self) -> String {
        if self.count == 0 {
            return String::new();
        }
        let more = if self.briefs.len() as u64 == self.count { "" } else { ", \u{2026}" };
        format!(" [{}{more}]", self.briefs.join(", "))
    }
}

/// What a value counts for among the bytes that may be kept.
pub fn size(value: &Value) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len().max(1),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: u8, unsigned: bool, bytes: &[u8], expected: &str) {
        let mut cursor = Cursor::new(bytes);
        let read = binary(Kind { code, unsigned }, &mut cursor).expect("a value");
        assert_eq!((brief(&read).as_str(), cursor.len()), (expected, 0));
    }

    /// The examples of the specification, and one of each other type.
    #[test]
    fn binary_values_are_read_by_their_type() {
        check(8, false, &[1, 0, 0, 0, 0, 0, 0, 0], "1");
        check(8, true, &[0xff; 8], "18446744073709551615");
        check(8, false, &[0xff; 8], "-1");
        check(3, false, &[1, 0, 0, 0], "1");
        check(9, false, &[0xff; 4], "-1");
        check(2, true, &[0xff, 0xff], "65535");
        check(13, false, &[0xdf, 7], "2015");
        check(1, false, &[0xff], "-1");
        check(5, false, &[0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x24, 0x40], "10.2");
        check(4, false, &[0x00, 0x00, 0xc0, 0x3f], "1.5");
        check(10, false, &[4, 0xda, 7, 10, 17], "'2010-10-17'");
        check(10, false, &[0], "'0000-00-00'");
        check(
            12,
            false,
            &[0x0b, 0xda, 0x07, 0x0a, 0x11, 0x13, 0x1b, 0x1e, 0x01, 0, 0, 0],
            "'2010-10-17 19:27:30.000001'",
        );
        check(7, false, &[7, 0xda, 7, 10, 17, 19, 27, 30], "'2010-10-17 19:27:30'");
        check(11, false, &[12, 1, 0x78, 0, 0, 0, 0x13, 0x1b, 0x1e, 1, 0, 0, 0], "'-2899:27:30.000001'");
        check(11, false, &[0], "'00:00:00'");
        check(254, false, b"\x03foo", "'foo'");
        check(6, false, &[], "NULL");
        assert_eq!(binary(Kind { code: 12, unsigned: false }, &mut Cursor::new(&[7, 1])), None);
        assert_eq!(binary(Kind { code: 99, unsigned: false }, &mut Cursor::new(&[7, 1])), None);
    }
}
