//! What records tell of hellos, in the names of the standard.

use super::fingerprint;
use super::hello::{Hello, extension};
use super::names;
use crate::record::{Field, Value};
use data_encoding::HEXLOWER;
use std::borrow::Cow;

/// How many entries of one list are shown: more than any client offers.
const LIST_MAX: usize = 256;

/// How many bytes of one text are shown: a host's name has at most 253 (RFC 1035).
const TEXT_MAX: usize = 1024;

/// Fields of one message.
#[derive(Debug, Default)]
pub struct Shown {
    pub fields: Vec<Field>,
    /// Something of it is shown shorter than it came.
    pub is_shortened: bool,
}

impl Shown {
    fn add(&mut self, name: &'static str, value: Value) {
        self.fields.push(Field::new(name, value));
    }

    fn name(&mut self, name: &'static str, value: Cow<'static, str>) {
        self.add(name, Value::Text(value));
    }

    fn hex(&mut self, name: &'static str, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.add(name, Value::Text(HEXLOWER.encode(bytes).into()));
        }
    }

    fn text(&mut self, name: &'static str, bytes: &[u8]) {
        let value = self.clip(bytes);
        self.add(name, value);
    }

    fn clip(&mut self, bytes: &[u8]) -> Value {
        self.is_shortened |= bytes.len() > TEXT_MAX;
        Value::Bytes(bytes[..bytes.len().min(TEXT_MAX)].to_vec())
    }

    fn list(&mut self, name: &'static str, numbers: &[u16], named: fn(u16) -> Cow<'static, str>) {
        if numbers.is_empty() {
            return;
        }
        self.is_shortened |= numbers.len() > LIST_MAX;
        let values = numbers.iter().take(LIST_MAX).map(|&number| Value::Text(named(number)));
        self.add(name, Value::List(values.collect()));
    }

    fn protocols(&mut self, hello: &Hello<'_>) {
        let names = hello.alpn();
        if !names.is_empty() {
            self.is_shortened |= names.len() > LIST_MAX;
            let values = names.iter().take(LIST_MAX).map(|name| self.clip(name)).collect();
            self.add("application_layer_protocol_negotiation", Value::List(values));
        }
    }

    fn extensions(&mut self, hello: &Hello<'_>) {
        let numbers: Vec<u16> = hello.extensions.iter().map(|(number, _)| *number).collect();
        self.list("extensions", &numbers, names::extension);
    }
}

/// Fields of a ClientHello.
pub fn client_hello(hello: &Hello<'_>) -> Shown {
    let mut shown = Shown::default();
    shown.name("legacy_version", names::version(hello.version));
    if let Some(name) = hello.server_name() {
        shown.text("server_name", name);
    }
    shown.protocols(hello);
    if hello.extension(extension::SUPPORTED_VERSIONS).is_some() {
        shown.list("supported_versions", &hello.offered_versions(), names::version);
    }
    shown.list("cipher_suites", &hello.cipher_suites, names::suite);
    if !matches!(hello.compression, [] | [0]) {
        shown.hex("compression_methods", hello.compression);
    }
    shown.extensions(hello);
    shown.list("supported_groups", &hello.groups(), names::group);
    shown.list("key_share", &hello.client_shares(), names::group);
    shown.list("signature_algorithms", &hello.signatures(), names::signature);
    shown.hex("random", hello.random);
    shown.hex("session_id", hello.session_id);
    // What a ticket holds is the server's secret; that there is one tells that the client wants to resume.
    if let Some(ticket) = hello.extension(extension::SESSION_TICKET).filter(|ticket| !ticket.is_empty()) {
        shown.add("session_ticket_length", Value::Number(ticket.len() as i64));
    }
    match hello.identities() {
        0 => {}
        count => shown.add("pre_shared_key_identities", Value::Number(count as i64)),
    }
    for (name, number) in [
        ("early_data", extension::EARLY_DATA),
        ("encrypted_client_hello", extension::ENCRYPTED_CLIENT_HELLO),
        ("encrypted_server_name", extension::ENCRYPTED_SERVER_NAME),
        ("status_request", extension::STATUS_REQUEST),
    ] {
        if hello.extension(number).is_some() {
            shown.add(name, Value::Flag(true));
        }
    }
    if !hello.is_odd {
        shown.name("ja3", fingerprint::ja3(hello).into());
        shown.name("ja4", fingerprint::ja4(hello).into());
    }
    shown
}

/// Fields of a ServerHello, or of a HelloRetryRequest.
pub fn server_hello(hello: &Hello<'_>) -> Shown {
    let mut shown = Shown::default();
    shown.name("version", names::version(hello.chosen_version()));
    if let Some(&suite) = hello.cipher_suites.first() {
        shown.name("cipher_suite", names::suite(suite));
    }
    shown.protocols(hello);
    if !matches!(hello.compression, [] | [0]) {
        shown.hex("compression_method", hello.compression);
    }
    shown.extensions(hello);
    if let Some(group) = hello.server_share() {
        shown.name("key_share", names::group(group));
    }
    if let Some(&[high, low]) = hello.extension(extension::PRE_SHARED_KEY) {
        shown.add("pre_shared_key", Value::Number(u16::from_be_bytes([high, low]).into()));
    }
    if !hello.is_retry() {
        shown.hex("random", hello.random);
    }
    if !hello.is_odd {
        shown.name("ja3s", fingerprint::ja3s(hello).into());
    }
    shown.hex("session_id", hello.session_id);
    shown
}

/// What matters of a ClientHello: `ClientHello example.org (h2, http/1.1)`.
pub fn client_line(hello: &Hello<'_>) -> String {
    let mut line = "ClientHello".to_owned();
    if let Some(name) = hello.server_name() {
        line.push(' ');
        line.push_str(&short(name));
    }
    let protocols: Vec<String> = hello.alpn().iter().take(4).map(|name| short(name)).collect();
    if !protocols.is_empty() {
        line.push_str(&format!(" ({})", protocols.join(", ")));
    }
    line
}

/// What matters of a ServerHello: `TLS 1.3 TLS_AES_256_GCM_SHA384 h2`.
pub fn server_line(hello: &Hello<'_>) -> String {
    let mut line = names::version(hello.chosen_version()).into_owned();
    if let Some(&suite) = hello.cipher_suites.first() {
        line.push(' ');
        line.push_str(&names::suite(suite));
    }
    if let Some(name) = hello.alpn().first() {
        line.push(' ');
        line.push_str(&short(name));
    }
    line
}

fn short(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(255)]).into_owned()
}

/// Fields as a value.
pub fn map(fields: Vec<Field>) -> Value {
    Value::Map(fields.into_iter().map(|field| (Value::Text(field.name), field.value)).collect())
}
