//! What messages and control frames mean, in fields and on one line.

use super::super::exchange::Half;
use super::super::framed::Frame;
use super::content::{Ended, number};
use super::{Current, close};

use super::frame::Opcode;
use crate::event::Cause;
use crate::record::{Field, Value};

/// How many characters of a text its summary shows.
const TEXT_MAX: usize = 60;

/// What is known of a message but its payload.
pub(super) struct Facts {
    pub(super) opcode: Option<Opcode>,
    /// Bytes of payload as they were sent.
    pub(super) length: u64,
    pub(super) fragments: u32,
    pub(super) subprotocol: Option<Value>,
    /// What is known of the extensions, where the message is changed by one.
    pub(super) extension: Option<Value>,
    pub(super) wrong_mask: Option<&'static str>,
}

/// Gives a message its fields and its summary.
pub(super) fn message(half: &mut Half, facts: Facts, ended: Ended) {
    let Ended { fields, causes, text } = ended;
    let name = facts.opcode.map_or("unknown", Opcode::name);
    let said = |name: &str| fields.iter().find(|field| field.name == name).map(|field| &field.value);
    let length = match said("inflated_length") {
        Some(Value::Number(length)) => format!("{length} bytes ({} compressed)", facts.length),
        _ if facts.extension.is_some() => format!("{} bytes compressed", facts.length),
        _ => format!("{} bytes", facts.length),
    };
    half.summary = match text.filter(|text| !text.is_empty()) {
        Some(text) => format!("{name} {length}: {}", beginning(&text)),
        None => format!("{name} {length}"),
    };
    let own = &mut half.message.fields;
    own.push(Field::new("opcode", Value::Text(name.into())));
    own.push(Field::new("payload_length", number(facts.length)));
    if facts.fragments > 1 {
        own.push(Field::new("fragments", Value::Number(facts.fragments.into())));
    }
    if let Some(subprotocol) = facts.subprotocol {
        own.push(Field::new("subprotocol", subprotocol));
    }
    if let Some(extension) = facts.extension {
        own.push(Field::new("extension", extension));
    }
    own.extend(fields);
    causes.into_iter().for_each(|cause| half.add_cause(cause));
    blame(half, facts.wrong_mask);
}

/// Says what is wrong with a message, where something is and nothing was said of it before.
fn blame(half: &mut Half, wrong: Option<&'static str>) {
    let Some(wrong) = wrong else { return };
    half.add_cause(Cause::ParseError);
    if half.message.field("error").is_none() {
        half.message.fields.push(Field::new("error", Value::Text(wrong.into())));
    }
}

/// A control frame, whose payload has at most 125 bytes, as half of a record.
pub(super) fn control(frame: &Frame<'_>, current: &Current, payload: &[u8], limit: usize) -> Half {
    let header = &current.header;
    let name = header.opcode.name();
    let mut half = Half::new(frame.direction, frame.range, frame.times, name, Vec::new());
    frame.causes.iter().for_each(|&cause| half.add_cause(cause));
    let mut fields = vec![
        Field::new("opcode", Value::Text(name.into())),
        Field::new("payload_length", number(header.length)),
    ];
    let shown = |bytes: &[u8]| Value::Bytes(bytes[..bytes.len().min(limit)].to_vec());
    let mut error = None;
    let cut = if header.opcode == Opcode::Close {
        let (close, wrong) = close::read(payload);
        if let Some(code) = close.code {
            fields.push(Field::new("code", Value::Number(code.into())));
            fields.push(Field::new("code_name", Value::Text(close::name(code).into())));
            half.summary = format!("close {code} {}", close::name(code));
        }
        if !close.reason.is_empty() && limit > 0 {
            fields.push(Field::new("reason", shown(close.reason)));
            let text = String::from_utf8_lossy(close.reason);
            half.summary = format!("{}: {}", half.summary, beginning(&text));
        }
        error = wrong.filter(|_| !frame.is_cut());
        close.reason.len() > limit
    } else {
        half.summary = format!("{name} {} bytes", header.length);
        if limit > 0 {
            fields.push(Field::new("payload", shown(payload)));
        }
        payload.len() > limit
    };
    if cut && limit > 0 {
        half.add_cause(Cause::FieldTruncated);
    }
    half.message.fields = fields;
    blame(&mut half, error);
    blame(&mut half, current.wrong_mask);
    half
}

/// The first characters of a text, with a mark where there are more.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
