//! What certificates say of whom they are for (RFC 5280, section 4.1), read from DER without judging it: peers send
//! certificates that break rules, and of a message that is cut the beginning still tells something.

use crate::protocol::cursor::Cursor;
use crate::record::Value;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::net::{Ipv4Addr, Ipv6Addr};

/// How many names of one certificate are listed. Their number is told.
const NAMES_MAX: usize = 200;

/// The most bytes of one name that are shown.
const NAME_MAX: usize = 1024;

mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OID: u8 = 0x06;
    pub const T61_STRING: u8 = 0x14;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const UTC_TIME: u8 = 0x17;
    pub const UNIVERSAL_STRING: u8 = 0x1c;
    pub const BMP_STRING: u8 = 0x1e;
    pub const SEQUENCE: u8 = 0x30;
    pub const VERSION: u8 = 0xa0;
    pub const EXTENSIONS: u8 = 0xa3;
}

/// The OID of subjectAltName, 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// One element: its tag and content. Content that is cut ends where the bytes do.
fn element<'a>(cursor: &mut Cursor<'a>) -> Option<(u8, Cursor<'a>)> {
    let tag = cursor.u8()?;
    let first = cursor.u8()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let bytes = cursor.bytes(usize::from(first & 0x7f))?;
            bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte))
        }
        _ => return None,
    };
    Some((tag, cursor.part(length.min(cursor.len()))?))
}

/// The next element, which has to have this tag.
fn expect<'a>(cursor: &mut Cursor<'a>, wanted: u8) -> Option<Cursor<'a>> {
    element(cursor).filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
}

/// What is known of a certificate. `is_whole` tells that `der` is all of it.
pub fn describe(der: &[u8], is_whole: bool) -> Value {
    let mut fields = Fields::default();
    let is_read = fields.read(der).is_some();
    if !is_read && is_whole {
        fields.text("unreadable", format!("what follows {} is no X.509", fields.last()));
    }
    if is_whole {
        fields.text("sha256", HEXLOWER.encode(&Sha256::digest(der)));
    }
    Value::Map(fields.0)
}

#[derive(Default)]
struct Fields(Vec<(Value, Value)>);

impl Fields {
    fn add(&mut self, name: &'static str, value: Value) {
        self.0.push((Value::Text(name.into()), value));
    }

    fn text(&mut self, name: &'static str, text: String) {
        self.add(name, Value::Bytes(text.into_bytes()));
    }

    /// The field that was read last.
    fn last(&self) -> String {
        match self.0.last() {
            Some((Value::Text(name), _)) => name.to_string(),
            _ => "its beginning".to_owned(),
        }
    }

    fn read(&mut self, der: &[u8]) -> Option<()> {
        let mut certificate = expect(&mut Cursor::new(der), tag::SEQUENCE)?;
        let mut rest = expect(&mut certificate, tag::SEQUENCE)?;
        if rest.rest().first() == Some(&tag::VERSION) {
            element(&mut rest)?;
        }
        let serial = expect(&mut rest, tag::INTEGER)?;
        self.text("serial_number", HEXLOWER.encode(clip(serial.rest())));
        expect(&mut rest, tag::SEQUENCE)?;
        let issuer = expect(&mut rest, tag::SEQUENCE)?;
        self.text("issuer", name(issuer));
        let mut validity = expect(&mut rest, tag::SEQUENCE)?;
        for name in ["not_before", "not_after"] {
            let (tag, time) = element(&mut validity)?;
            self.text(name, moment(tag, time.rest()));
        }
        let subject = expect(&mut rest, tag::SEQUENCE)?;
        self.text("subject", name(subject));
        let key = expect(&mut rest, tag::SEQUENCE)?;
        if let Some(key) = public_key(key) {
            self.text("public_key", key);
        }
        while !rest.is_empty() {
            if let (tag::EXTENSIONS, mut wrapped) = element(&mut rest)? {
                self.extensions(expect(&mut wrapped, tag::SEQUENCE)?);
            }
        }
        Some(())
    }

    fn extensions(&mut self, mut list: Cursor<'_>) {
        while let Some(mut extension) = expect(&mut list, tag::SEQUENCE) {
            let is_names =
                expect(&mut extension, tag::OID).is_some_and(|oid| oid.rest() == ALTERNATIVE_NAMES);
            while let Some((tag, mut value)) = element(&mut extension) {
                if is_names && tag == tag::OCTET_STRING {
                    self.alternative_names(expect(&mut value, tag::SEQUENCE).unwrap_or(value));
                }
            }
        }
    }

    /// GeneralNames (RFC 5280, section 4.2.1.6).
    fn alternative_names(&mut self, mut list: Cursor<'_>) {
        let (mut names, mut count) = (Vec::new(), 0);
        while let Some((tag, value)) = element(&mut list) {
            count += 1;
            if names.len() < NAMES_MAX {
                names.push(Value::Bytes(general_name(tag, value)));
            }
        }
        if count > names.len() {
            self.add("subject_alternative_name_count", Value::Number(count as i64));
        }
        self.add("subject_alternative_name", Value::List(names));
    }
}

fn general_name(tag: u8, value: Cursor<'_>) -> Vec<u8> {
    let plain = |prefix: &str| [prefix.as_bytes(), clip(value.rest())].concat();
    match tag {
        0x81 => plain("email:"),
        0x82 => plain("DNS:"),
        0x86 => plain("URI:"),
        0x87 => match value.rest().len() {
            4 => value.rest().first_chunk::<4>().map(|ip| format!("IP:{}", Ipv4Addr::from(*ip))),
            _ => value.rest().first_chunk::<16>().map(|ip| format!("IP:{}", Ipv6Addr::from(*ip))),
        }
        .unwrap_or_else(|| format!("IP:{}", HEXLOWER.encode(clip(value.rest()))))
        .into_bytes(),
        0xa4 => {
            let mut value = value;
            let inner = expect(&mut value, tag::SEQUENCE).unwrap_or(value);
            format!("dirName:{}", name(inner)).into_bytes()
        }
        0x88 => format!("RID:{}", oid(value.rest())).into_bytes(),
        _ => format!("other:{}", HEXLOWER.encode(clip(value.rest()))).into_bytes(),
    }
}

fn clip(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(NAME_MAX)]
}

/// A distinguished name as RFC 4514 writes it: the last part first.
fn name(mut sequence: Cursor<'_>) -> String {
    let mut parts = Vec::new();
    while let Some((_, mut set)) = element(&mut sequence) {
        let mut attributes = Vec::new();
        while let Some((_, mut attribute)) = element(&mut set) {
            let Some(kind) = expect(&mut attribute, tag::OID) else { continue };
            let (tag, value) = element(&mut attribute).unwrap_or((0, Cursor::new(&[])));
            attributes.push(format!(
                "{}={}",
                attribute_name(kind.rest()),
                escape(&string(tag, value.rest()))
            ));
        }
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    let mut text = parts.join(",");
    if text.len() > NAME_MAX {
        let end = (0..=NAME_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Backslashes as RFC 4514, section 2.4 asks for. What a terminal must not see is the business of the output.
fn escape(value: &str) -> String {
    let mut text = String::new();
    for (at, character) in value.char_indices() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (at == 0 && matches!(character, ' ' | '#'))
            || (character == ' ' && at + 1 == value.len());
        if special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// A string of any of the types that names are made of.
fn string(tag: u8, value: &[u8]) -> String {
    let value = clip(value);
    let pairs = || value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let fours = || value.chunks_exact(4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
    match tag {
        tag::BMP_STRING => char::decode_utf16(pairs()).map(|one| one.unwrap_or('\u{fffd}')).collect(),
        tag::UNIVERSAL_STRING => fours().map(|one| char::from_u32(one).unwrap_or('\u{fffd}')).collect(),
        tag::T61_STRING if str::from_utf8(value).is_err() => {
            value.iter().map(|&byte| char::from(byte)).collect()
        }
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

/// Short names of the attributes (RFC 4514, section 3; RFC 4519).
fn attribute_name(kind: &[u8]) -> String {
    let short = match kind {
        [0x55, 0x04, 3] => "CN",
        [0x55, 0x04, 4] => "SN",
        [0x55, 0x04, 5] => "serialNumber",
        [0x55, 0x04, 6] => "C",
        [0x55, 0x04, 7] => "L",
        [0x55, 0x04, 8] => "ST",
        [0x55, 0x04, 9] => "STREET",
        [0x55, 0x04, 10] => "O",
        [0x55, 0x04, 11] => "OU",
        [0x55, 0x04, 12] => "title",
        [0x55, 0x04, 13] => "description",
        [0x55, 0x04, 15] => "businessCategory",
        [0x55, 0x04, 17] => "postalCode",
        [0x55, 0x04, 18] => "postOfficeBox",
        [0x55, 0x04, 42] => "GN",
        [0x55, 0x04, 43] => "initials",
        [0x55, 0x04, 97] => "organizationIdentifier",
        // 1.2.840.113549.1.9.1, 0.9.2342.19200300.100.1.25 and .1, 1.3.6.1.4.1.311.60.2.1.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x3c, 2, 1, 1] => "jurisdictionL",
        [0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x3c, 2, 1, 2] => "jurisdictionST",
        [0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x3c, 2, 1, 3] => "jurisdictionC",
        _ => return oid(kind),
    };
    short.to_owned()
}

/// An object identifier in numbers (X.690, section 8.19).
fn oid(bytes: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0u64;
    for &byte in bytes.iter().take(64) {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first);
                number -= first * 40;
            }
            numbers.push(number);
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// A time as RFC 3339 writes it; as it is where it is no time that RFC 5280 allows.
fn moment(tag: u8, text: &[u8]) -> String {
    let text = clip(text);
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let shape = match (tag, digits) {
        // Two digits from 50 on are of the last century (RFC 5280, section 4.1.2.5.1).
        (tag::UTC_TIME, Some(digits @ [b'5'..=b'9', ..])) => Some(("19", digits)),
        (tag::UTC_TIME, Some(digits)) => Some(("20", digits)),
        (tag::GENERALIZED_TIME, Some(digits)) => Some(("", digits)),
        _ => None,
    };
    let whole = shape.map(|(century, digits)| format!("{century}{}", String::from_utf8_lossy(digits)));
    match whole {
        Some(all) if all.len() == 14 || all.len() == 12 => {
            let seconds = if all.len() == 14 { &all[12..] } else { "00" };
            let [year, month, day] = [&all[..4], &all[4..6], &all[6..8]];
            format!("{year}-{month}-{day}T{}:{}:{seconds}Z", &all[8..10], &all[10..12])
        }
        _ => String::from_utf8_lossy(text).into_owned(),
    }
}

/// Kind and size of a key: `RSA 2048`, `EC secp256r1`, `Ed25519`.
fn public_key(mut info: Cursor<'_>) -> Option<String> {
    let mut algorithm = expect(&mut info, tag::SEQUENCE)?;
    let kind = expect(&mut algorithm, tag::OID)?;
    match kind.rest() {
        // rsaEncryption and id-RSASSA-PSS: the key is a sequence of modulus and exponent.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1 | 10] => {
            let mut bits = expect(&mut info, tag::BIT_STRING)?;
            bits.skip(1)?;
            let mut key = expect(&mut bits, tag::SEQUENCE)?;
            let modulus = expect(&mut key, tag::INTEGER)?.rest();
            let zeros = modulus.iter().take_while(|&&byte| byte == 0).count();
            let first = modulus.get(zeros)?;
            Some(format!("RSA {}", (modulus.len() - zeros) * 8 - first.leading_zeros() as usize))
        }
        // id-ecPublicKey
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1] => {
            let curve = expect(&mut algorithm, tag::OID)?;
            let name = match curve.rest() {
                [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7] => "secp256r1".to_owned(),
                [0x2b, 0x81, 0x04, 0, 0x22] => "secp384r1".to_owned(),
                [0x2b, 0x81, 0x04, 0, 0x23] => "secp521r1".to_owned(),
                other => oid(other),
            };
            Some(format!("EC {name}"))
        }
        [0x2b, 0x65, 0x70] => Some("Ed25519".to_owned()),
        [0x2b, 0x65, 0x71] => Some("Ed448".to_owned()),
        [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1] => Some("DSA".to_owned()),
        other => Some(oid(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_rfc_4514_does() {
        // C=DE, O="A, B", CN=x + serialNumber=1, in this order in DER.
        let part = |oid: u8, value: &str| {
            let value = [&[0x0c, value.len() as u8], value.as_bytes()].concat();
            let attribute = [&[0x06, 3, 0x55, 4, oid][..], &value].concat();
            [&[0x30, attribute.len() as u8], &attribute[..]].concat()
        };
        let set = |parts: &[Vec<u8>]| {
            let all = parts.concat();
            [&[0x31, all.len() as u8], &all[..]].concat()
        };
        let der =
            [set(&[part(6, "DE")]), set(&[part(10, "A, B")]), set(&[part(3, "x"), part(5, "1")])].concat();
        assert_eq!(name(Cursor::new(&der)), "CN=x+serialNumber=1,O=A\\, B,C=DE");
    }

    #[test]
    fn times_of_both_types_are_written_alike_and_odd_ones_as_they_are() {
        let rows: [(u8, &[u8], &str); 5] = [
            (tag::UTC_TIME, b"491231235959Z", "2049-12-31T23:59:59Z"),
            (tag::UTC_TIME, b"500101000000Z", "1950-01-01T00:00:00Z"),
            (tag::UTC_TIME, b"0912312359Z", "2009-12-31T23:59:00Z"),
            (tag::GENERALIZED_TIME, b"20500101000000Z", "2050-01-01T00:00:00Z"),
            (tag::UTC_TIME, b"tomorrow", "tomorrow"),
        ];
        for (tag, text, expected) in rows {
            assert_eq!(moment(tag, text), expected);
        }
    }

    #[test]
    fn object_identifiers_are_written_in_numbers() {
        assert_eq!(oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]), "1.2.840.113549");
        assert_eq!(oid(&[0x88, 0x37, 3]), "2.999.3");
    }
}
