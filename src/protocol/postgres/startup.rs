//! How a connection begins: packets without a type byte, encryption, and who the client is.
//!
//! Source: PostgreSQL documentation, "Message Flow", sections Start-up, Canceling Requests in Progress, SSL and GSSAPI
//! Session Encryption; "SASL Authentication".

use super::message::HEADER;
use super::request::quoted;
use crate::protocol::MASKED;
use crate::protocol::cursor::Cursor;
use crate::protocol::framed::Frame;
use crate::record::{Field, Value};

/// Length and code.
pub const HEADER_UNTYPED: usize = 8;

/// The longest packet that a server reads here (`MAX_STARTUP_PACKET_LENGTH`).
pub const PACKET_MAX: u32 = 10_000;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSSENC: u32 = 80_877_104;

/// The most parameters that are kept.
const PARAMETERS_MAX: usize = 64;

/// What a packet without a type byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// StartupMessage of protocol 3, with the minor version.
    Startup(u16),
    /// CancelRequest.
    Cancel,
    /// SSLRequest: if the server says yes, TLS follows.
    Ssl,
    /// GSSENCRequest: if the server says yes, GSSAPI follows.
    Gss,
}

/// Reads a header: what packet it is, and its bytes in all. `Ok(None)` where it is not whole yet.
///
/// # Errors
/// Why it is no such packet.
pub fn header(data: &[u8]) -> Result<Option<(Packet, u64)>, &'static str> {
    let mut cursor = Cursor::new(data);
    let Some(length) = cursor.u32() else {
        let can_be = data.iter().take(2).all(|&byte| byte == 0);
        return if can_be { Ok(None) } else { Err("no length of a startup packet") };
    };
    if !(8..=PACKET_MAX).contains(&length) {
        return Err("no length of a startup packet");
    }
    let Some(code) = cursor.u32() else {
        // 0x0003.... or 0x04d2....
        let can_be = cursor.rest().first().is_none_or(|byte| matches!(byte, 0 | 4));
        return if can_be { Ok(None) } else { Err("no code of a startup packet") };
    };
    let packet = match code {
        SSL if length == 8 => Packet::Ssl,
        GSSENC if length == 8 => Packet::Gss,
        CANCEL if (13..=12 + 256).contains(&length) => Packet::Cancel,
        code if code >> 16 == 3 && length > 8 => Packet::Startup(code as u16),
        code if code >> 16 == 2 => {
            return Err("a startup packet of protocol 2, which servers no longer speak");
        }
        _ => return Err("no code of a startup packet"),
    };
    Ok(Some((packet, u64::from(length))))
}

/// Whether bytes are one of these packets: as far as they are there, and all of it.
///
/// # Errors
/// Why not.
pub fn is_packet(data: &[u8]) -> Result<bool, &'static str> {
    let Some((packet, length)) = header(data)? else { return Ok(false) };
    let Packet::Startup(_) = packet else { return Ok(true) };
    let whole = data.len() as u64 >= length;
    let mut cursor = Cursor::new(&data[HEADER_UNTYPED..data.len().min(length as usize)]);
    let mut has_user = false;
    loop {
        let before = cursor.rest();
        let Some(name) = cursor.until(0) else {
            let is_begun = !whole && before.iter().all(u8::is_ascii_graphic);
            return if is_begun { Ok(false) } else { Err("no parameters of a startup packet") };
        };
        if name.is_empty() {
            let ends = whole && cursor.is_empty() && has_user;
            return if ends { Ok(true) } else { Err("no parameters of a startup packet") };
        }
        // The first one is enough to tell it from other protocols (Kafka has requests with the same header).
        if !name.iter().all(u8::is_ascii_graphic) {
            return Err("no parameters of a startup packet");
        }
        has_user |= name == b"user";
        if cursor.until(0).is_none() {
            return if whole { Err("no parameters of a startup packet") } else { Ok(false) };
        }
    }
}

/// The summary and fields of a StartupMessage.
pub fn startup(minor: u16, data: &[u8]) -> (String, Vec<Field>) {
    let mut cursor = Cursor::new(data.get(HEADER_UNTYPED..).unwrap_or_default());
    let mut summary = "StartupMessage".to_owned();
    let mut fields = vec![Field::new("protocol_version", Value::Text(format!("3.{minor}").into()))];
    let mut parameters = Vec::new();
    while let Some(name) = cursor.until(0).filter(|name| !name.is_empty()) {
        let value = cursor.until(0).unwrap_or(cursor.rest());
        if matches!(name, b"user" | b"database" | b"replication") {
            let text = String::from_utf8_lossy(value);
            summary.push_str(&format!(" {}={text}", String::from_utf8_lossy(name)));
        }
        if parameters.len() < PARAMETERS_MAX {
            parameters.push((Value::Bytes(name.to_vec()), Value::Bytes(value.to_vec())));
        }
    }
    fields.push(Field::new("parameters", Value::Map(parameters)));
    (summary, fields)
}

/// The summary and fields of a CancelRequest.
pub fn cancel(data: &[u8], show_secrets: bool) -> (String, Vec<Field>) {
    let mut cursor = Cursor::new(data.get(HEADER_UNTYPED..).unwrap_or_default());
    let pid = cursor.u32().unwrap_or(0);
    let hex = data_encoding::HEXLOWER.encode(cursor.rest());
    let key = if show_secrets { Value::Text(hex.into()) } else { MASKED };
    let fields = vec![Field::new("process_id", Value::Number(pid.into())), Field::new("secret_key", key)];
    (format!("CancelRequest for process {pid}"), fields)
}

/// Authentication: whether the client has to answer before anything else comes.
pub fn awaits_client(frame: &Frame<'_>) -> bool {
    // AuthenticationOk and AuthenticationSASLFinal are followed by more of the server's.
    code(frame.data).is_some_and(|code| !matches!(code, 0 | 12))
}

/// AuthenticationOk: what follows, up to ReadyForQuery, is the end of the login.
pub fn admits(frame: &Frame<'_>) -> bool {
    code(frame.data) == Some(0)
}

fn code(data: &[u8]) -> Option<u32> {
    Cursor::new(data.get(HEADER..)?).u32()
}

/// What an Authentication message says: its name, with the mechanisms of SASL, and whether SASL goes on with it.
pub fn authentication(data: &[u8], show_secrets: bool) -> (String, Vec<Field>) {
    let rest = data.get(HEADER + 4..).unwrap_or_default();
    let name = match code(data) {
        Some(0) => "AuthenticationOk",
        Some(2) => "AuthenticationKerberosV5",
        Some(3) => "AuthenticationCleartextPassword",
        Some(5) => "AuthenticationMD5Password",
        Some(6) => "AuthenticationSCMCredential",
        Some(7) => "AuthenticationGSS",
        Some(8) => "AuthenticationGSSContinue",
        Some(9) => "AuthenticationSSPI",
        Some(10) => "AuthenticationSASL",
        Some(11) => "AuthenticationSASLContinue",
        Some(12) => "AuthenticationSASLFinal",
        _ => "Authentication",
    };
    let mut fields = Vec::new();
    let mut summary = name.to_owned();
    match code(data) {
        Some(10) => {
            let mechanisms = rest.split(|&byte| byte == 0).filter(|name| !name.is_empty()).take(16);
            let names: Vec<&[u8]> = mechanisms.collect();
            let shown = names.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(", ");
            summary.push_str(&format!(" ({shown})"));
            let list = names.into_iter().map(|name| Value::Bytes(name.to_vec())).collect();
            fields.push(Field::new("mechanisms", Value::List(list)));
        }
        Some(5 | 8 | 11 | 12) => fields.push(Field::new("authentication_data", secret(rest, show_secrets))),
        _ => {}
    }
    (summary, fields)
}

/// A message of the client that proves who it is: its name, summary and fields. `asked` is what the server asked for;
/// `may_lack`: that may have been lost.
pub fn proof(
    asked: Option<Asked>,
    may_lack: bool,
    data: &[u8],
    show_secrets: bool,
) -> (&'static str, String, Vec<Field>) {
    let body = data.get(HEADER..).unwrap_or_default();
    match asked {
        None if may_lack => {
            // All share the type `p`, and only what the server asked for tells them apart.
            let fields = vec![Field::new("unknown_data", secret(body, show_secrets))];
            let name = "unknown: PasswordMessage, SASL or GSS response";
            (name, "password, SASL or GSS response (question not seen)".to_owned(), fields)
        }
        Some(Asked::Sasl) => {
            let mut cursor = Cursor::new(body);
            let mechanism = cursor.until(0).unwrap_or_default();
            let _length = cursor.u32();
            let fields = vec![
                Field::new("mechanism", Value::Bytes(mechanism.to_vec())),
                Field::new("authentication_data", secret(cursor.rest(), show_secrets)),
            ];
            let shown = quoted(mechanism);
            let summary = format!("SASLInitialResponse {}", shown.trim_matches('"'));
            ("SASLInitialResponse", summary, fields)
        }
        Some(Asked::SaslContinue) => {
            let fields = vec![Field::new("authentication_data", secret(body, show_secrets))];
            ("SASLResponse", "SASLResponse".to_owned(), fields)
        }
        Some(Asked::Gss) => {
            let fields = vec![Field::new("authentication_data", secret(body, show_secrets))];
            ("GSSResponse", "GSSResponse".to_owned(), fields)
        }
        None | Some(Asked::Password) => {
            let password = body.strip_suffix(&[0]).unwrap_or(body);
            let fields = vec![Field::new("password", secret(password, show_secrets))];
            ("PasswordMessage", "PasswordMessage".to_owned(), fields)
        }
    }
}

/// What the server wants of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A password, in clear or hashed.
    Password,
    /// The first message of SASL.
    Sasl,
    /// A later one.
    SaslContinue,
    /// A token of GSSAPI or SSPI.
    Gss,
}

/// What an Authentication message asks for.
pub fn asks(data: &[u8]) -> Option<Asked> {
    match code(data)? {
        3 | 5 => Some(Asked::Password),
        7..=9 => Some(Asked::Gss),
        10 => Some(Asked::Sasl),
        11 => Some(Asked::SaslContinue),
        _ => None,
    }
}

fn secret(bytes: &[u8], show: bool) -> Value {
    if show { Value::Bytes(bytes.to_vec()) } else { MASKED }
}
