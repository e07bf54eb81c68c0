//! Extension mechanisms (EDNS, RFC 6891): the OPT record and its options.

use super::message::{Message, Record};
use super::tables::{error_name, option_name};
use crate::protocol::MASK;
use crate::protocol::cursor::Cursor;
use crate::record::Value;
use data_encoding::HEXLOWER;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Options that are shown of one record.
const OPTIONS_MAX: usize = 64;

/// Numbers of options that are decoded.
mod option {
    pub const NSID: u16 = 3;
    pub const SUBNET: u16 = 8;
    pub const COOKIE: u16 = 10;
    pub const KEEPALIVE: u16 = 11;
    pub const PADDING: u16 = 12;
    pub const ERROR: u16 = 15;
}

/// What an OPT record says: version, size of UDP payloads, flags and options. Also tells whether it is all of it.
pub fn value(message: &Message<'_>, opt: &Record, show_secrets: bool) -> (Value, bool) {
    let text = |text: &'static str| Value::Text(text.into());
    let mut entries = vec![
        (text("version"), Value::Number((opt.ttl >> 16 & 0xff).into())),
        (text("udp-payload-size"), Value::Number(opt.class.into())),
        (text("do"), Value::Flag(opt.ttl & 0x8000 != 0)),
    ];
    let options = options(message, opt);
    for &(number, data) in options.iter().take(OPTIONS_MAX) {
        let value = match number {
            option::COOKIE if !show_secrets => MASK.to_owned(),
            _ => option_text(number, data),
        };
        entries.push((Value::Text(option_name(number)), Value::Bytes(value.into_bytes())));
    }
    (Value::Map(entries), options.len() <= OPTIONS_MAX)
}

/// The first extended error: its name, and what the sender adds (RFC 8914).
pub fn extended_error(message: &Message<'_>) -> Option<String> {
    let opt = message.opt()?;
    let (_, data) = options(message, opt).into_iter().find(|(number, _)| *number == option::ERROR)?;
    Some(option_text(option::ERROR, data))
}

/// Number and data of each option, up to the first that is not whole.
fn options<'a>(message: &Message<'a>, opt: &Record) -> Vec<(u16, &'a [u8])> {
    let data: &'a [u8] = &message.data[opt.data.0..opt.data.1];
    let mut cursor = Cursor::new(data);
    let mut next = || {
        let (number, length) = (cursor.u16()?, cursor.u16()?);
        Some((number, cursor.bytes(length.into())?))
    };
    std::iter::from_fn(&mut next).collect()
}

fn option_text(number: u16, data: &[u8]) -> String {
    let decoded = match number {
        option::NSID if data.iter().all(|&byte| byte.is_ascii_graphic() || byte == b' ') => {
            Some(String::from_utf8_lossy(data).into_owned())
        }
        option::SUBNET => subnet(data),
        option::KEEPALIVE => keepalive(data),
        option::PADDING => Some(format!("{} bytes", data.len())),
        option::ERROR => error(data),
        _ => None,
    };
    decoded.unwrap_or_else(|| HEXLOWER.encode(data))
}

/// `192.0.2.0/24/0`: address, source prefix, scope prefix (RFC 7871, section 6).
fn subnet(data: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(data);
    let (family, source, scope) = (cursor.u16()?, cursor.u8()?, cursor.u8()?);
    let rest = cursor.rest();
    let mut bytes = [0; 16];
    bytes.get_mut(..rest.len())?.copy_from_slice(rest);
    let address = match family {
        1 if rest.len() <= 4 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string(),
        2 => Ipv6Addr::from(bytes).to_string(),
        _ => return None,
    };
    Some(format!("{address}/{source}/{scope}"))
}

/// Of a response, how long the connection may be idle, in units of 100 ms (RFC 7828, section 3.1).
fn keepalive(data: &[u8]) -> Option<String> {
    match data {
        [] => Some(String::new()),
        [high, low] => Some(format!("{} ms", u32::from(u16::from_be_bytes([*high, *low])) * 100)),
        _ => None,
    }
}

fn error(data: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(data);
    let name = error_name(cursor.u16()?);
    let extra = String::from_utf8_lossy(cursor.rest());
    let extra = extra.trim_end_matches('\0');
    Some(if extra.is_empty() { name.into_owned() } else { format!("{name}: {extra}") })
}
