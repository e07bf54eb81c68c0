//! The header with which a proxy tells a server for whom it connects, in front of all else that a client sends. MySQL and
//! MariaDB read it where they are told to.
//!
//! Source: "The PROXY protocol, versions 1 & 2" (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use super::packet::{bytes, text};
use crate::protocol::cursor::Cursor;
use crate::record::{Field, Value};

/// What begins a header of version 1, which is a line.
const LINE: &[u8] = b"PROXY ";

/// The longest header of version 1.
const LINE_MAX: usize = 107;

/// What begins a header of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Whether a header begins here. Its length, or None where that is not there yet.
pub fn header(data: &[u8]) -> Option<Option<u64>> {
    let begins = |with: &[u8]| data.starts_with(with) || data.len() >= 4 && with.starts_with(data);
    if begins(LINE) {
        let line = &data[..data.len().min(LINE_MAX)];
        let end = memchr::memchr(b'\n', line);
        return if end.is_none() && line.len() == LINE_MAX {
            None
        } else {
            Some(end.map(|at| at as u64 + 1))
        };
    }
    if begins(SIGNATURE) {
        let length = data.get(14..).and_then(|rest| Cursor::new(rest).u16());
        return Some(length.map(|length| 16 + u64::from(length)));
    }
    None
}

/// What a header says.
pub fn describe(data: &[u8]) -> (String, Vec<Field>) {
    let kind = text("type", "PROXY header");
    if data.starts_with(LINE) {
        let line = data.trim_ascii_end();
        return (String::from_utf8_lossy(line).into_owned(), vec![kind, bytes("header", line)]);
    }
    let mut cursor = Cursor::new(data.get(12..).unwrap_or_default());
    let command = cursor.u8().unwrap_or(0);
    let family = cursor.u8().unwrap_or(0);
    let _length = cursor.u16();
    let addresses = match family >> 4 {
        1 => cursor.array::<12>().map(|ends| {
            let [a, b, c, d, e, f, g, h, ..] = ends;
            format!("{a}.{b}.{c}.{d} {e}.{f}.{g}.{h}")
        }),
        2 => cursor.array::<32>().map(|ends| {
            let half = |from: usize| {
                let mut address = [0; 16];
                address.copy_from_slice(&ends[from..from + 16]);
                std::net::Ipv6Addr::from(address)
            };
            format!("{} {}", half(0), half(16))
        }),
        _ => None,
    };
    let what = if command & 15 == 0 { "LOCAL".to_owned() } else { addresses.unwrap_or_default() };
    let fields = vec![kind, Field::new("addresses", Value::Text(what.clone().into()))];
    (format!("PROXY version 2 {what}").trim_end().to_owned(), fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_known() {
        assert_eq!(header(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nabc"), Some(Some(32)));
        assert_eq!(header(b"PROX"), Some(None));
        assert_eq!(header(&[b"PROXY ", &[b'x'; 200][..]].concat()), None);
        let second = [SIGNATURE, b"\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02"].concat();
        assert_eq!(header(&second), Some(Some(28)));
        assert_eq!(describe(&second).0, "PROXY version 2 1.2.3.4 5.6.7.8");
        assert_eq!(header(&second[..13]), Some(None));
        assert_eq!(header(b"\x4a\0\0\x01"), None);
    }
}
