//! What messages mean: their fields and summaries, secrets masked.

use super::message::{Body, Header, Kind, Pairs};
use crate::protocol::cursor::Cursor;
use crate::protocol::{MASKED, Options};
use crate::record::{Field, Value};

/// How many bytes of a name, a value or a reason are shown.
const TEXT_MAX: usize = 512;

/// Words in the keys of contexts and headers that let somebody in.
const SECRETS: [&str; 6] = ["authorization", "credential", "password", "secret", "token", "cookie"];

/// Keys of Finagle's own contexts, with what their values are.
const TRACE: &[u8] = b"com.twitter.finagle.tracing.TraceContext";
const DEADLINE: &[u8] = b"com.twitter.finagle.Deadline";
const RETRIES: &[u8] = b"com.twitter.finagle.Retries";

/// Keys of Treq: the ids of a trace, and its flags.
const TRACE_ID: u8 = 1;
const TRACE_FLAG: u8 = 2;

/// What is shown of a message.
#[derive(Debug, Default)]
pub struct Shown {
    pub summary: String,
    pub fields: Vec<Field>,
    /// Something is shown shorter than it came.
    pub is_cut: bool,
}

/// Shows a message. `size` is how many bytes its body has, of which `kept` are at hand.
pub fn show(header: &Header, body: &Body<'_>, size: u64, kept: u64, options: Options) -> Shown {
    let mut shown = Shown::default();
    let name = header.kind.name();
    shown.word("type", name);
    shown.number("tag", header.tag);
    let mut words = vec![name.to_owned()];
    if let Some(status) = body.status {
        let status = match status {
            0 => "OK".to_owned(),
            1 => "ERROR".to_owned(),
            2 => "NACK".to_owned(),
            other => format!("status {other}"),
        };
        words.push(status.clone());
        shown.fields.push(Field::new("status", Value::Text(status.into())));
    }
    if let Some(version) = body.version {
        words.push(format!("version {version}"));
        shown.number("version", version);
    }
    if let Some(dst) = body.dst.filter(|dst| !dst.is_empty()) {
        words.push(text(dst));
        shown.text("dst", dst);
    }
    if let Some(which) = body.which {
        words.push(format!("tag {which}"));
        shown.number("which", which);
    }
    if let Some((unit, length)) = body.lease {
        let unit = if unit == 0 { "ms" } else { "since the epoch in ms" };
        words.push(format!("{length} {unit}"));
        shown.word("unit", unit);
        shown.number("howlong", length);
    }
    shown.pairs("contexts", &body.contexts, options);
    shown.pairs("headers", &body.headers, options);
    shown.pairs("dtab", &body.dtab, options);
    shown.keys(&body.keys);
    let length = body.rest.len() as u64 + (size - kept);
    let is_reason = matches!(header.kind, Kind::Rerr | Kind::Tdiscarded)
        || matches!(body.status, Some(1 | 2)) && matches!(header.kind, Kind::Rreq | Kind::Rdispatch);
    if is_reason {
        words.extend((!body.rest.is_empty()).then(|| text(body.rest)));
        shown.text("why", body.rest);
    } else if matches!(header.kind, Kind::Treq | Kind::Rreq | Kind::Tdispatch | Kind::Rdispatch) {
        if let Some((message, method)) = thrift(body.rest) {
            words.push(format!("thrift {}", text(method)));
            shown.word("thrift_type", message);
            shown.text("thrift_method", method);
        }
        words.push(format!("{length} bytes"));
        shown.number("body_length", i64::try_from(length).unwrap_or(i64::MAX));
        if options.max_field > 0 && length > 0 {
            let part = &body.rest[..body.rest.len().min(options.max_field)];
            shown.is_cut |= (part.len() as u64) < length;
            shown.fields.push(Field::new("body", Value::Bytes(part.to_vec())));
        }
    }
    shown.summary = words.join(" ");
    shown
}

impl Shown {
    fn text(&mut self, name: &'static str, value: &[u8]) {
        self.is_cut |= value.len() > TEXT_MAX;
        self.fields.push(Field::new(name, bytes(value)));
    }

    fn word(&mut self, name: &'static str, value: &'static str) {
        self.fields.push(Field::new(name, Value::Text(value.into())));
    }

    fn number(&mut self, name: &'static str, value: impl Into<i64>) {
        self.fields.push(Field::new(name, Value::Number(value.into())));
    }

    fn pairs(&mut self, name: &'static str, pairs: &Pairs<'_>, options: Options) {
        if pairs.is_empty() {
            return;
        }
        let mut list = Vec::new();
        for (key, value) in pairs {
            let is_secret = is_secret(key) && !options.show_secrets;
            let shown = if is_secret { MASKED } else { context(key, value) };
            self.is_cut |= value.len() > TEXT_MAX && !is_secret;
            list.push((bytes(key), shown));
        }
        self.fields.push(Field::new(name, Value::Map(list)));
    }

    /// Metadata of Treq.
    fn keys(&mut self, keys: &[(u8, &[u8])]) {
        for (key, value) in keys {
            match *key {
                TRACE_ID if value.len() == 24 => self.fields.push(Field::new("traceid", ids(value))),
                TRACE_FLAG => self.fields.push(Field::new("traceflag", hex(value))),
                _ => self.fields.push(Field::new(format!("key {key}"), bytes(value))),
            }
        }
    }
}

fn is_secret(key: &[u8]) -> bool {
    let key = String::from_utf8_lossy(key).to_ascii_lowercase();
    SECRETS.iter().any(|word| key.contains(word))
}

/// The value of a context, as what it is where that is known.
fn context(key: &[u8], value: &[u8]) -> Value {
    let mut cursor = Cursor::new(value);
    match key {
        // Beyond 32 bytes there is the high half of a trace id of 128 bits.
        TRACE if matches!(value.len(), 32 | 40) => ids(value),
        DEADLINE if value.len() == 16 => {
            let (sent, until) = (cursor.i64().unwrap_or(0), cursor.i64().unwrap_or(0));
            let pairs = [("timestamp_ns", sent), ("deadline_ns", until)];
            Value::Map(pairs.map(|(name, time)| (Value::Text(name.into()), Value::Number(time))).to_vec())
        }
        RETRIES if value.len() == 4 => cursor.i32().map_or(Value::Null, |count| Value::Number(count.into())),
        _ => bytes(value),
    }
}

/// `spanid:8 parentid:8 traceid:8`, flags behind them in a context.
fn ids(value: &[u8]) -> Value {
    let names = ["spanid", "parentid", "traceid", "flags", "traceid_high"];
    let pairs = names.into_iter().zip(value.chunks(8));
    Value::Map(pairs.map(|(name, id)| (Value::Text(name.into()), hex(id))).collect())
}

fn hex(value: &[u8]) -> Value {
    let value = &value[..value.len().min(TEXT_MAX)];
    Value::Text(data_encoding::HEXLOWER.encode(value).into())
}

/// The kind and the method of a message of Thrift's binary protocol
/// (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-binary-protocol.md>), which ThriftMux carries.
fn thrift(body: &[u8]) -> Option<(&'static str, &[u8])> {
    let mut cursor = Cursor::new(body);
    let kind = match cursor.u32()? {
        0x8001_0001 => "CALL",
        0x8001_0002 => "REPLY",
        0x8001_0003 => "EXCEPTION",
        0x8001_0004 => "ONEWAY",
        _ => return None,
    };
    let length = usize::try_from(cursor.u32()?).ok()?;
    let name = cursor.bytes(length).filter(|name| !name.is_empty())?;
    let is_name = name.iter().all(|byte| byte.is_ascii_graphic());
    (is_name && cursor.u32().is_some()).then_some((kind, name))
}

fn bytes(value: &[u8]) -> Value {
    Value::Bytes(value[..value.len().min(TEXT_MAX)].to_vec())
}

fn text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(TEXT_MAX)]);
    let shown: String = text.chars().take(200).collect();
    if shown.len() < text.len() || value.len() > TEXT_MAX { format!("{shown}\u{2026}") } else { shown }
}
