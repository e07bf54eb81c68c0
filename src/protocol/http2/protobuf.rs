//! Protocol buffers without a schema (<https://protobuf.dev/programming-guides/encoding/>): fields by number, as
//! `protoc --decode_raw` shows them, but that what reads as text is text.
//!
//! The wire format does not tell text, bytes and messages apart: what is shown is what the bytes can be read as.

use crate::protocol::cursor::Cursor;
use crate::record::Value;

/// How deep messages may nest before they are shown as bytes.
const DEPTH_MAX: usize = 16;

/// How many fields of one message are shown, those of the messages inside it included.
const FIELDS_MAX: usize = 4096;

/// The largest number of a field.
const NUMBER_MAX: u64 = (1 << 29) - 1;

/// What could be read of a message.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    /// Numbers with values, in order, repeats kept.
    pub(super) fields: Vec<(Value, Value)>,
    /// All of it could be read.
    pub(super) whole: bool,
}

/// Reads the fields of a message up to its end, or to where it can't be one or was cut.
pub(super) fn decode(data: &[u8]) -> Message {
    let mut budget = FIELDS_MAX;
    let mut cursor = Cursor::new(data);
    let (fields, whole) = fields(&mut cursor, None, 0, &mut budget);
    Message { fields, whole }
}

/// Fields up to the end, or to the end of group `group`. False where something is no field.
fn fields(
    cursor: &mut Cursor<'_>,
    group: Option<u64>,
    depth: usize,
    budget: &mut usize,
) -> (Vec<(Value, Value)>, bool) {
    let mut found = Vec::new();
    while !cursor.is_empty() {
        let mut next = *cursor;
        let Some(tag) = varint(&mut next) else { return (found, false) };
        let (number, wire_type) = (tag >> 3, tag & 7);
        if number == 0 || number > NUMBER_MAX {
            return (found, false);
        }
        if wire_type == 4 {
            *cursor = next;
            return (found, group == Some(number));
        }
        let Some(left) = budget.checked_sub(1) else { return (found, false) };
        *budget = left;
        let Some(value) = value(&mut next, wire_type, number, depth, budget) else { return (found, false) };
        found.push((Value::Number(number.cast_signed()), value));
        *cursor = next;
    }
    (found, group.is_none())
}

fn value(
    cursor: &mut Cursor<'_>,
    wire_type: u64,
    number: u64,
    depth: usize,
    budget: &mut usize,
) -> Option<Value> {
    Some(match wire_type {
        // Negative numbers of 32 bits have ten bytes, too.
        0 => Value::Number(varint(cursor)?.cast_signed()),
        1 => Value::Text(format!("{:#018x}", cursor.u64_le()?).into()),
        5 => Value::Text(format!("{:#010x}", cursor.u32_le()?).into()),
        2 => {
            let length = usize::try_from(varint(cursor)?).ok()?;
            delimited(cursor.bytes(length)?, depth, budget)
        }
        3 if depth < DEPTH_MAX => {
            let (fields, whole) = fields(cursor, Some(number), depth + 1, budget);
            whole.then_some(Value::Map(fields))?
        }
        _ => return None,
    })
}

/// Text, a message or bytes.
fn delimited(data: &[u8], depth: usize, budget: &mut usize) -> Value {
    // A message whose first field is text may consist of printable characters and line breaks, the first being one.
    let text = is_text(data) && !data.starts_with(b"\n");
    if !text && !data.is_empty() && depth < DEPTH_MAX {
        let (fields, whole) = fields(&mut Cursor::new(data), None, depth + 1, budget);
        if whole {
            return Value::Map(fields);
        }
    }
    Value::Bytes(data.to_vec())
}

fn is_text(data: &[u8]) -> bool {
    let is_printable = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    std::str::from_utf8(data).is_ok_and(|text| text.chars().all(is_printable))
}

fn varint(cursor: &mut Cursor<'_>) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = cursor.u8()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: i64, value: i64) -> (Value, Value) {
        (Value::Number(number), Value::Number(value))
    }

    fn bytes(number: i64, text: &[u8]) -> (Value, Value) {
        (Value::Number(number), Value::Bytes(text.to_vec()))
    }

    fn all(data: &[u8]) -> Vec<(Value, Value)> {
        let message = decode(data);
        assert!(message.whole, "{message:?}");
        message.fields
    }

    #[test]
    fn the_examples_of_the_encoding_guide_are_read() {
        assert_eq!(all(&[0x08, 0x96, 0x01]), [number(1, 150)]);
        assert_eq!(all(b"\x12\x07testing"), [bytes(2, b"testing")]);
        let nested = all(&[0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(nested, [(Value::Number(3), Value::Map(vec![number(1, 150)]))]);
        // Packed numbers can be read as a message or as bytes; 3, 270, 86942 are no message.
        assert_eq!(all(b"\x32\x06\x03\x8e\x02\x9e\xa7\x05"), [bytes(6, b"\x03\x8e\x02\x9e\xa7\x05")]);
        // -2 as int64.
        let negative = [&[0x08, 0xfe][..], &[0xff; 8], &[0x01]].concat();
        assert_eq!(all(&negative), [number(1, -2)]);
        // A double, a float, a group.
        let fixed = all(b"\x09\0\0\0\0\0\0\xf0\x3f\x15\0\0\x80\x3f\x1b\x08\x05\x1c");
        let hex = |number: i64, text: &'static str| (Value::Number(number), Value::Text(text.into()));
        let group = (Value::Number(3), Value::Map(vec![number(1, 5)]));
        assert_eq!(fixed, [hex(1, "0x3ff0000000000000"), hex(2, "0x3f800000"), group]);
    }

    #[test]
    fn a_message_of_text_alone_is_told_from_text() {
        let inner = (Value::Number(1), Value::Map(vec![bytes(1, b"0123456789")]));
        assert_eq!(all(b"\x0a\x0c\x0a\x0a0123456789"), [inner]);
        assert_eq!(all(b"\x0a\x0cline\nanother"), [bytes(1, b"line\nanother")]);
    }

    #[test]
    fn what_is_there_of_a_cut_message_is_shown() {
        assert_eq!(decode(b"\x08\x01\x12\x07test"), Message { fields: vec![number(1, 1)], whole: false });
        for broken in [&b"\x00\x01"[..], b"\x0c", b"\x0f\x01", b"\x0b\x08\x01\x14", &[0xff; 11]] {
            assert_eq!(decode(broken), Message { fields: Vec::new(), whole: false }, "{broken:?}");
        }
    }

    #[test]
    fn depth_and_number_of_fields_are_bounded() {
        let mut deep = b"\x08\x01".to_vec();
        for _ in 0..60 {
            deep = [&[0x0a, deep.len() as u8][..], &deep].concat();
        }
        let (mut levels, mut value) = (0, all(&deep).remove(0).1);
        while let Value::Map(mut fields) = value {
            (levels, value) = (levels + 1, fields.remove(0).1);
        }
        assert_eq!(levels, DEPTH_MAX);
        let many = decode(&[0x08, 0x01].repeat(FIELDS_MAX + 1));
        assert_eq!((many.fields.len(), many.whole), (FIELDS_MAX, false));
        // Groups that never end.
        assert!(!decode(&[0x0b; 100_000]).whole);
    }
}
