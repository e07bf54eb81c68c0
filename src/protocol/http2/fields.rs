//! The fields of a header block as a record shows them (RFC 9113, section 8).

use super::hpack::{Block, Known, Line};
use crate::protocol::MASKED;
use crate::protocol::http1::head::codings;
use crate::protocol::secrets::{self, is_secret_name};
use crate::record::{Field, Value};
use std::borrow::Cow;

/// What stands for a name or value that was said before the trace, or is lost.
pub(super) const UNKNOWN: &str = "unknown";

/// Pseudo-header fields, with the names that records give them.
const PSEUDO: [(&[u8], &str); 6] = [
    (b":method", "method"),
    (b":scheme", "scheme"),
    (b":authority", "authority"),
    (b":path", "path"),
    // RFC 8441.
    (b":protocol", "protocol"),
    (b":status", "status"),
];

/// The fields of one block.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// By their place in [`PSEUDO`].
    pseudo: [Option<Vec<u8>>; 6],
    /// The others in order, secrets masked.
    pub(super) headers: Vec<(Value, Value)>,
    /// How many are not known for want of earlier blocks.
    pub(super) unknown: usize,
    /// How many of these have a name that is not known.
    pub(super) unnamed: usize,
    /// Others may be in what could not be read of the block.
    cut: bool,
    /// How many are left out beyond a bound.
    pub(super) left_out: usize,
    /// Lower case.
    pub(super) content_type: Option<Vec<u8>>,
    /// Of Content-Encoding.
    pub(super) codings: Vec<String>,
    pub(super) grpc_encoding: Option<String>,
    /// A form in the body shows its passwords.
    pub(super) shows_secrets: bool,
    pub(super) grpc_status: Option<Vec<u8>>,
    pub(super) grpc_message: Option<Vec<u8>>,
}

impl Fields {
    /// Sorts the lines of a block.
    pub(super) fn new(block: Block, show_secrets: bool) -> Fields {
        let cut = block.cut || block.fault.is_some();
        let mut fields =
            Fields { left_out: block.left_out, cut, shows_secrets: show_secrets, ..Fields::default() };
        for line in block.lines {
            fields.add(line, show_secrets);
        }
        fields
    }

    fn add(&mut self, (name, value): Line, show_secrets: bool) {
        self.unknown += usize::from(name == Known::No || value == Known::No);
        self.unnamed += usize::from(name == Known::No);
        let (name, value) = match (name, value) {
            (Known::Yes(name), Known::Yes(value)) => (name, value),
            (Known::No, Known::Yes(value)) => {
                // It may be a secret: nobody knows what it is called.
                let shown = if show_secrets { Value::Bytes(value) } else { MASKED };
                return self.headers.push((Value::Text(UNKNOWN.into()), shown));
            }
            (Known::Yes(name), Known::No) => {
                return self.headers.push((Value::Bytes(name), Value::Text(UNKNOWN.into())));
            }
            (Known::No, Known::No) => return,
        };
        if let Some(at) = PSEUDO.iter().position(|(pseudo, _)| *pseudo == name) {
            let value = if !show_secrets && name == b":path" { secrets::url(&value) } else { value };
            self.pseudo[at].get_or_insert(value);
            return;
        }
        self.learn(&name, &value);
        let value = match !show_secrets {
            true if is_secret_name(&name) => MASKED,
            true if secrets::holds_url(&name) => Value::Bytes(secrets::url(&value)),
            _ => Value::Bytes(value),
        };
        self.headers.push((Value::Bytes(name), value));
    }

    fn learn(&mut self, name: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"content-type" => self.content_type = Some(value.to_ascii_lowercase()),
            b"content-encoding" => self.codings.extend(codings(value)),
            b"grpc-encoding" => self.grpc_encoding = Some(text()).filter(|name| name != "identity"),
            b"grpc-status" => self.grpc_status = Some(value.to_vec()),
            b"grpc-message" => self.grpc_message = Some(value.to_vec()),
            _ => {}
        }
    }

    /// A pseudo-header field, by the name that records give it.
    pub(super) fn pseudo(&self, name: &str) -> Option<&[u8]> {
        let at = PSEUDO.iter().position(|(_, known)| *known == name)?;
        self.pseudo[at].as_deref()
    }

    /// A pseudo-header field as text, to be shown on a line.
    pub(super) fn text(&self, name: &str) -> Cow<'_, str> {
        match self.pseudo(name) {
            Some(value) => String::from_utf8_lossy(value),
            None => Cow::Borrowed(if self.may_hide() { "(unknown)" } else { "(none)" }),
        }
    }

    /// True where a field that is absent may be one of those that are not known.
    pub(super) fn may_hide(&self) -> bool {
        self.unnamed > 0 || self.cut
    }

    /// How many are not known, as the value of a field; none where all are.
    pub(super) fn unknown_count(&self) -> Option<Value> {
        match self.cut {
            true => Some(Value::Text(UNKNOWN.into())),
            false if self.unknown == 0 => None,
            false => Some(Value::Number(i64::try_from(self.unknown).unwrap_or(i64::MAX))),
        }
    }

    /// The status of a response.
    pub(super) fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.pseudo("status")?).ok()?.parse().ok()
    }

    /// True where a request's fields are here.
    pub(super) fn is_request(&self) -> bool {
        self.pseudo("method").is_some() || self.pseudo("path").is_some() || self.pseudo("scheme").is_some()
    }

    /// The fields as a record has them.
    pub(super) fn into_record(mut self, is_request: bool) -> Vec<Field> {
        let (may_hide, unknown) = (self.may_hide(), self.unknown_count());
        let mut fields = Vec::with_capacity(10);
        for (at, (_, name)) in PSEUDO.iter().enumerate() {
            match self.pseudo[at].take() {
                Some(value) if *name == "status" => fields.push(Field::new(*name, number(value))),
                Some(value) => fields.push(Field::new(*name, Value::Bytes(value))),
                // Every request has these, but for CONNECT (RFC 9113, sections 8.3.1 and 8.5).
                None if may_hide && *name != "protocol" && (*name == "status") != is_request => {
                    fields.push(Field::new(*name, Value::Text(UNKNOWN.into())));
                }
                None => {}
            }
        }
        fields.push(Field::new("headers", Value::Map(self.headers)));
        fields.extend(unknown.map(|count| Field::new("unknown_fields", count)));
        if self.left_out > 0 {
            let count = i64::try_from(self.left_out).unwrap_or(i64::MAX);
            fields.push(Field::new("left_out_fields", Value::Number(count)));
        }
        fields
    }
}

/// A number, where it is one.
pub(super) fn number(text: Vec<u8>) -> Value {
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
    number.map_or(Value::Bytes(text), Value::Number)
}
