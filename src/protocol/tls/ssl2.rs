//! SSL 2 (Hickman, "The SSL Protocol", Netscape 1995; RFC 6101, appendix E): its ClientHello, with which clients of old
//! begin whatever version they speak, and the little that is clear of a connection that stays with it.

use super::certificate;
use super::names;
use crate::protocol::cursor::Cursor;
use crate::record::{Field, Value};

/// The bytes of a record with its header, if these bytes begin one (section 1.1: two bytes of header, or three with
/// padding).
pub fn record(data: &[u8]) -> Option<u64> {
    let &[high, low] = data.first_chunk::<2>()?;
    let length = match high & 0x80 {
        0 => 3 + u64::from(u16::from_be_bytes([high & 0x3f, low])),
        _ => 2 + u64::from(u16::from_be_bytes([high & 0x7f, low])),
    };
    Some(length)
}

/// What a first message can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A hello that is that long.
    Hello(usize),
    /// The beginning of one.
    Begun,
    No,
}

/// Judges whether a ClientHello begins here: its lengths have to add up.
pub fn client_hello(data: &[u8]) -> Shape {
    let prefix = |at: usize, ok: fn(u8) -> bool| data.get(at).is_none_or(|&byte| ok(byte));
    let is_shaped = prefix(0, |byte| byte & 0x80 != 0)
        && prefix(2, |byte| byte == 1)
        && prefix(3, |byte| byte == 0 || byte == 3)
        && prefix(4, |byte| byte <= 4)
        && (data.len() < 5 || data[3] == 3 || data[4] == 2);
    if !is_shaped {
        return Shape::No;
    }
    let mut cursor = Cursor::new(data);
    let Some((header, _)) = cursor.u16().zip(cursor.array::<3>()) else { return Shape::Begun };
    let (Some(specs), Some(id), Some(challenge)) = (cursor.u16(), cursor.u16(), cursor.u16()) else {
        return Shape::Begun;
    };
    let [length, specs, id, challenge] = [header & 0x7fff, specs, id, challenge].map(usize::from);
    let adds_up = length == 9 + specs + id + challenge;
    let is_sound = specs > 0 && specs % 3 == 0 && [0, 16, 32].contains(&id) && (16..=32).contains(&challenge);
    if adds_up && is_sound { Shape::Hello(2 + length) } else { Shape::No }
}

/// Judges whether a ServerHello of SSL 2 begins here.
pub fn server_hello(data: &[u8]) -> Shape {
    let Some(head) = data.first_chunk::<13>() else {
        let is_begun =
            data.first().is_none_or(|byte| byte & 0x80 != 0) && data.get(2).is_none_or(|&kind| kind == 4);
        return if is_begun { Shape::Begun } else { Shape::No };
    };
    let at = |index: usize| usize::from(u16::from_be_bytes([head[index], head[index + 1]]));
    let length = at(0) & 0x7fff;
    let adds_up = length == 11 + at(7) + at(9) + at(11);
    match head[0] & 0x80 != 0 && head[2] == 4 && head[5..7] == [0, 2] && at(9) % 3 == 0 && adds_up {
        true => Shape::Hello(2 + length),
        false => Shape::No,
    }
}

/// Version and fields of a whole ClientHello.
pub fn describe_client(data: &[u8]) -> Option<(u16, Vec<Field>)> {
    let mut cursor = Cursor::new(data);
    cursor.skip(3)?;
    let version = cursor.u16()?;
    let (specs, id, challenge) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    let suites = suites(cursor.bytes(specs.into())?);
    let mut fields = vec![
        Field::new("format", Value::Text("SSL 2.0".into())),
        Field::new("legacy_version", Value::Text(names::version(version))),
        Field::new("cipher_suites", Value::List(suites)),
    ];
    for (name, length) in [("session_id", id), ("challenge", challenge)] {
        let bytes = cursor.bytes(length.into())?;
        if !bytes.is_empty() {
            fields.push(Field::new(name, Value::Text(data_encoding::HEXLOWER.encode(bytes).into())));
        }
    }
    Some((version, fields))
}

/// Fields of a whole ServerHello.
pub fn describe_server(data: &[u8]) -> Option<Vec<Field>> {
    let mut cursor = Cursor::new(data);
    cursor.skip(3)?;
    let (is_resumed, _, version) = (cursor.u8()?, cursor.u8()?, cursor.u16()?);
    let (certificate, specs, _) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    let mut fields = vec![Field::new("version", Value::Text(names::version(version)))];
    let certificate = cursor.bytes(certificate.into())?;
    fields.push(Field::new("cipher_suites", Value::List(suites(cursor.bytes(specs.into())?))));
    if !certificate.is_empty() {
        fields.push(Field::new("certificates", Value::List(vec![certificate::describe(certificate, true)])));
    }
    if is_resumed != 0 {
        fields.push(Field::new("resumed", Value::Flag(true)));
    }
    Some(fields)
}

/// Cipher specs of three bytes: those of later versions begin with 0 (RFC 5246, appendix E.2).
fn suites(specs: &[u8]) -> Vec<Value> {
    let name = |spec: &[u8]| match *spec {
        [0, high, low] => names::suite(u16::from_be_bytes([high, low])),
        [1, 0, 0x80] => "SSL2_RC4_128_WITH_MD5".into(),
        [2, 0, 0x80] => "SSL2_RC4_128_EXPORT40_WITH_MD5".into(),
        [3, 0, 0x80] => "SSL2_RC2_128_CBC_WITH_MD5".into(),
        [4, 0, 0x80] => "SSL2_RC2_128_CBC_EXPORT40_WITH_MD5".into(),
        [5, 0, 0x80] => "SSL2_IDEA_128_CBC_WITH_MD5".into(),
        [6, 0, 0x40] => "SSL2_DES_64_CBC_WITH_MD5".into(),
        [7, 0, 0xc0] => "SSL2_DES_192_EDE3_CBC_WITH_MD5".into(),
        [8, 0, 0x80] => "SSL2_RC4_64_WITH_MD5".into(),
        [a, b, c, ..] => format!("0x{a:02x}{b:02x}{c:02x}").into(),
        _ => "cut".into(),
    };
    specs.chunks_exact(3).take(256).map(|spec| Value::Text(name(spec))).collect()
}
