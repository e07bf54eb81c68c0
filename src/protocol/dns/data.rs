//! The data of resource records as text, as zone files have them (RFC 1035, section 5; the RFC of each type).

use super::message::{Message, Record};
use super::name;
use super::tables::{Part, layout, rtype, service_key, type_name};
use crate::protocol::MASK;
use crate::protocol::cursor::Cursor;
use data_encoding::{BASE32HEX_NOPAD, BASE64, HEXLOWER};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The data of a record. Those that do not follow its type, and those of unknown types, are shown as RFC 3597
/// (section 5) wants it.
pub fn text(message: &Message<'_>, record: &Record, show_secrets: bool) -> String {
    let (from, to) = record.data;
    let parts = layout(record.rtype);
    if from == to && (parts.is_empty() || record.section < 3) {
        return String::new(); // an update that deletes, or asks whether it is there (RFC 2136, section 2.4)
    }
    // Names in the data may lead to any place before.
    let whole = &message.data[..to];
    let mut reader = Reader { whole, at: from, text: String::new(), show_secrets };
    let read = if parts.is_empty() { None } else { parts.iter().try_for_each(|&part| reader.part(part)) };
    match read {
        Some(()) if reader.at == to => reader.text,
        _ if record.rtype == rtype::TKEY && !show_secrets => MASK.to_owned(),
        _ => unknown(&whole[from..]),
    }
}

/// Data of which the layout is not known: `\# 4 0a000001`.
pub fn unknown(data: &[u8]) -> String {
    let space = if data.is_empty() { "" } else { " " };
    format!("\\# {}{space}{}", data.len(), HEXLOWER.encode(data))
}

/// A string in quotes.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    bytes.iter().for_each(|&byte| name::push_escaped(&mut text, byte, b"\"\\"));
    text.push('"');
    text
}

/// Reads the parts of one record's data.
struct Reader<'a> {
    /// The message up to the end of the data.
    whole: &'a [u8],
    at: usize,
    text: String,
    show_secrets: bool,
}

impl<'a> Reader<'a> {
    /// Reads one part and adds its text. `None` where it is not there.
    fn part(&mut self, part: Part) -> Option<()> {
        let said = match part {
            Part::Name => {
                let (text, end) = name::text(self.whole, self.at).ok()?;
                self.at = end;
                text
            }
            Part::U8 => self.read(Cursor::u8)?.to_string(),
            Part::U16 => self.read(Cursor::u16)?.to_string(),
            Part::U32 => self.read(Cursor::u32)?.to_string(),
            Part::U48 => {
                let (high, low) = (self.read(Cursor::u16)?, self.read(Cursor::u32)?);
                (u64::from(high) << 32 | u64::from(low)).to_string()
            }
            Part::V4 => Ipv4Addr::from(self.read(Cursor::array::<4>)?).to_string(),
            Part::V6 => Ipv6Addr::from(self.read(Cursor::array::<16>)?).to_string(),
            Part::Text => quoted(self.counted()?),
            Part::Texts => {
                let mut texts = vec![quoted(self.counted()?)];
                while self.at < self.whole.len() {
                    texts.push(quoted(self.counted()?));
                }
                texts.join(" ")
            }
            Part::Tag => self.counted()?.escape_ascii().to_string(),
            Part::Rest => quoted(self.rest()),
            Part::Base64 => BASE64.encode(self.rest()),
            Part::Hex => HEXLOWER.encode(self.rest()),
            Part::Salt => match self.counted()? {
                [] => "-".to_owned(),
                salt => HEXLOWER.encode(salt),
            },
            Part::Hash => BASE32HEX_NOPAD.encode(self.counted()?),
            Part::Type => type_name(self.read(Cursor::u16)?).into_owned(),
            Part::Types => types(self.rest())?,
            Part::Date => date(self.read(Cursor::u32)?),
            Part::Service => service(self.rest())?,
            Part::Base64Of16 => {
                let length = self.read(Cursor::u16)?;
                BASE64.encode(self.read(|cursor| cursor.bytes(length.into()))?)
            }
            Part::Secret => {
                let length = self.read(Cursor::u16)?;
                let bytes = self.read(|cursor| cursor.bytes(length.into()))?;
                if self.show_secrets { BASE64.encode(bytes) } else { MASK.to_owned() }
            }
        };
        if !self.text.is_empty() && !said.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(&said);
        Some(())
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut Cursor<'a>) -> Option<T>) -> Option<T> {
        let mut cursor = Cursor::new(self.whole.get(self.at..)?);
        let value = read(&mut cursor)?;
        self.at = self.whole.len() - cursor.len();
        Some(value)
    }

    /// Bytes behind their length.
    fn counted(&mut self) -> Option<&'a [u8]> {
        self.read(|cursor| {
            let length = cursor.u8()?;
            cursor.bytes(length.into())
        })
    }

    fn rest(&mut self) -> &'a [u8] {
        let rest = self.whole.get(self.at..).unwrap_or_default();
        self.at = self.whole.len();
        rest
    }
}

/// A bitmap of types: windows of 256 types, each behind its number and length.
fn types(bytes: &[u8]) -> Option<String> {
    let (mut cursor, mut names) = (Cursor::new(bytes), Vec::new());
    while !cursor.is_empty() {
        let (window, length) = (u16::from(cursor.u8()?), cursor.u8()?);
        for (at, &byte) in (0u16..).zip(cursor.bytes(length.into()).filter(|bits| bits.len() <= 32)?) {
            let set = (0..8).filter(|bit| byte & (0x80 >> bit) != 0);
            names.extend(set.map(|bit| type_name(window << 8 | (at * 8 + bit))));
        }
    }
    Some(names.join(" "))
}

/// `20240131235959`, for seconds since 1970, which RFC 4034 (section 3.1.5) counts in 32 bits.
fn date(seconds: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The days of a year that begins in March follow one rule in every four of them (2100 lies in reach, and is none of
    // its leap years).
    let (mut year, mut rest) = (1970, days);
    let is_leap = |year: u32| year.is_multiple_of(4) && year != 2100;
    while rest >= 365 + u32::from(is_leap(year)) {
        rest -= 365 + u32::from(is_leap(year));
        year += 1;
    }
    let months = [31, 28 + u32::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while rest >= months[month] {
        rest -= months[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}{:02}{:02}{hour:02}{minute:02}{second:02}", month + 1, rest + 1)
}

/// Service parameters: `alpn=h2,h3 port=8443` (RFC 9460, section 2.1).
fn service(bytes: &[u8]) -> Option<String> {
    let (mut cursor, mut text) = (Cursor::new(bytes), String::new());
    while !cursor.is_empty() {
        let (key, length) = (cursor.u16()?, cursor.u16()?);
        let value = cursor.bytes(length.into())?;
        let space = if text.is_empty() { "" } else { " " };
        write!(text, "{space}{}", service_key(key)).ok()?;
        if !value.is_empty() {
            write!(text, "={}", service_value(key, value)?).ok()?;
        }
    }
    Some(text)
}

fn service_value(key: u16, value: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(value);
    let mut list = Vec::new();
    match key {
        0 => {
            while !cursor.is_empty() {
                list.push(service_key(cursor.u16()?).into_owned());
            }
        }
        1 => {
            while !cursor.is_empty() {
                let length = cursor.u8().filter(|&length| length > 0)?;
                let mut one = String::new();
                let bytes = cursor.bytes(length.into())?;
                bytes.iter().for_each(|&byte| name::push_escaped(&mut one, byte, b"\\,\" "));
                list.push(one);
            }
        }
        3 => list.push(<[u8; 2]>::try_from(value).ok().map(u16::from_be_bytes)?.to_string()),
        4 => {
            while !cursor.is_empty() {
                list.push(Ipv4Addr::from(cursor.array::<4>()?).to_string());
            }
        }
        5 => list.push(BASE64.encode(value)),
        6 => {
            while !cursor.is_empty() {
                list.push(Ipv6Addr::from(cursor.array::<16>()?).to_string());
            }
        }
        _ => list.push(quoted(value)),
    }
    Some(list.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @SECONDS +%Y%m%d%H%M%S` of GNU coreutils.
        for (seconds, expected) in [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (1_704_067_199, "20231231235959"),
            (1_709_210_096, "20240229123456"),
            (4_107_542_400, "21000301000000"),
            (u32::MAX, "21060207062815"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
