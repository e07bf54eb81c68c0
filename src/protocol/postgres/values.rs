//! Values of parameters and columns: text, or binary by the type that it has.
//!
//! Types by their number: `src/include/catalog/pg_type.dat` of PostgreSQL.

use crate::protocol::cursor::Cursor;
use crate::record::Value;

/// How many characters of a value a summary shows.
const BRIEF_MAX: usize = 40;

/// How many values a summary shows.
const BRIEF_COUNT: usize = 12;

const BOOL: u32 = 16;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const OID: u32 = 26;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const UUID: u32 = 2950;

/// Types whose binary form is their text: name, text, json, xml, unknown, bpchar, varchar.
const TEXTS: [u32; 7] = [19, 25, 114, 142, 705, 1042, 1043];

/// A value as it came.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Its bytes; `None` for NULL.
    pub bytes: Option<&'a [u8]>,
    /// In binary format.
    pub binary: bool,
    /// The number of its type; 0 where it is not known.
    pub oid: u32,
}

impl Raw<'_> {
    /// For a field: at most `most` bytes of it, and whether that is all.
    pub fn value(self, most: usize) -> (Value, bool) {
        let Some(bytes) = self.bytes else { return (Value::Null, true) };
        if self.binary
            && let Some(value) = decode(self.oid, bytes)
        {
            return (value, true);
        }
        let shown = &bytes[..bytes.len().min(most)];
        (Value::Bytes(shown.to_vec()), shown.len() == bytes.len())
    }

    /// For a summary: `7`, `'abc'`, `NULL`, `\x0001`.
    pub fn brief(self) -> String {
        let Some(bytes) = self.bytes else { return "NULL".to_owned() };
        match decode(self.oid, bytes).filter(|_| self.binary) {
            Some(Value::Number(number)) => return number.to_string(),
            Some(Value::Float(number)) => return number.to_string(),
            Some(Value::Flag(flag)) => return flag.to_string(),
            Some(Value::Text(text)) => return text.into_owned(),
            _ => {}
        }
        if self.binary && !TEXTS.contains(&self.oid) {
            let more = if bytes.len() > BRIEF_MAX / 2 { "\u{2026}" } else { "" };
            let hex: String = bytes.iter().take(BRIEF_MAX / 2).map(|byte| format!("{byte:02x}")).collect();
            return format!("\\x{hex}{more}");
        }
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * BRIEF_MAX)]);
        let is_number = !TEXTS.contains(&self.oid)
            && !bytes.is_empty()
            && bytes.len() <= BRIEF_MAX
            && bytes.iter().all(|byte| byte.is_ascii_digit() || b".-".contains(byte));
        if is_number {
            return text.into_owned();
        }
        let mut shown: String = text.chars().take(BRIEF_MAX).collect();
        if shown.len() < bytes.len() && text.chars().nth(BRIEF_MAX).is_some() {
            shown.push('\u{2026}');
        }
        format!("'{shown}'")
    }
}

/// `[7, 'abc', NULL]`, or nothing where there are no values. `count` is how many there are, of which `briefs` begins.
pub fn list(briefs: &[String], count: u64) -> String {
    if count == 0 {
        return String::new();
    }
    let more = if briefs.len() as u64 == count { "" } else { ", \u{2026}" };
    format!("[{}{more}]", briefs.join(", "))
}

/// Whether one more value has room in a summary.
pub fn has_room(briefs: &[String]) -> bool {
    briefs.len() < BRIEF_COUNT
}

fn decode(oid: u32, bytes: &[u8]) -> Option<Value> {
    let mut cursor = Cursor::new(bytes);
    let value = match oid {
        BOOL => Value::Flag(cursor.u8()? != 0),
        INT2 => Value::Number(cursor.i16()?.into()),
        INT4 => Value::Number(cursor.i32()?.into()),
        INT8 => Value::Number(cursor.i64()?),
        OID => Value::Number(cursor.u32()?.into()),
        FLOAT4 => Value::Float(cursor.f32()?.into()),
        FLOAT8 => Value::Float(cursor.f64()?),
        UUID => Value::Text(uuid(cursor.array()?).into()),
        _ => return None,
    };
    cursor.is_empty().then_some(value)
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(oid: u32, binary: bool, bytes: &[u8], brief: &str) {
        assert_eq!(Raw { bytes: Some(bytes), binary, oid }.brief(), brief);
    }

    #[test]
    fn values_are_shown_by_their_type() {
        check(0, false, b"7", "7");
        check(0, false, b"-1.5", "-1.5");
        check(25, false, b"7", "'7'");
        check(0, false, b"abc", "'abc'");
        check(0, false, b"", "''");
        check(INT4, true, &[0, 0, 0, 7], "7");
        check(INT8, true, &[0xff; 8], "-1");
        check(BOOL, true, &[1], "true");
        check(FLOAT8, true, &1.5f64.to_be_bytes(), "1.5");
        check(25, true, b"abc", "'abc'");
        check(INT4, true, &[0, 7], "\\x0007");
        check(0, true, &[0, 7], "\\x0007");
        check(UUID, true, &[0x11; 16], "11111111-1111-1111-1111-111111111111");
        check(0, false, &[b'x'; 100], &format!("'{}\u{2026}'", "x".repeat(BRIEF_MAX)));
        assert_eq!(Raw { bytes: None, binary: false, oid: 0 }.brief(), "NULL");
    }
}
