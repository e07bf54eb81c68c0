//! What messages mean: their fields and summaries, secrets masked.

use super::HEADERS_MAX;
use super::line::{Line, Op};
use crate::event::Cause;
use crate::protocol::exchange::Half;
use crate::protocol::framed::Frame;
use crate::protocol::secrets::is_secret_name;
use crate::protocol::{MASKED, Options};
use crate::record::{Field, Value};

/// How many headers of a message are kept.
const COUNT_MAX: usize = 256;

/// How many bytes of names and short texts are kept.
const TEXT_MAX: usize = 1024;

/// Members of CONNECT that let somebody in.
const SECRETS: [&str; 4] = ["pass", "auth_token", "jwt", "sig"];

/// A message with its fields and summary.
pub fn half(line: &Line<'_>, frame: &Frame<'_>, options: Options) -> Half {
    let mut fields = vec![Field::new("op", Value::Text(line.op.name().into()))];
    let mut cut = false;
    let summary = match line.op {
        Op::Info | Op::Connect => json(line, options, &mut fields),
        Op::Err => {
            let text = short(line.rest);
            let summary = format!("-ERR {}", String::from_utf8_lossy(&text));
            fields.push(Field::new("error", Value::Bytes(trimmed(&text).to_vec())));
            summary
        }
        Op::Ping | Op::Pong | Op::Ok => line.op.name().to_owned(),
        Op::Sub | Op::Unsub => subscription(line, &mut fields),
        Op::Pub | Op::Hpub | Op::Msg | Op::Hmsg => published(line, frame, options, &mut fields, &mut cut),
    };
    let mut half = Half::new(frame.direction, frame.range, frame.times, summary, fields);
    frame.causes.iter().for_each(|&cause| half.add_cause(cause));
    if cut {
        half.add_cause(Cause::FieldTruncated);
    }
    half
}

/// Whether a CONNECT asks for confirmations: it does unless it says no.
pub fn is_verbose(rest: &[u8]) -> bool {
    let members = serde_json::from_slice::<serde_json::Value>(rest);
    members.ok().and_then(|members| members.get("verbose")?.as_bool()).unwrap_or(true)
}

fn json(line: &Line<'_>, options: Options, fields: &mut Vec<Field>) -> String {
    let name = line.op.name();
    let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(line.rest) else {
        // Secrets can't be found in what can't be read.
        let shown = if options.show_secrets { Value::Bytes(line.rest.to_vec()) } else { MASKED };
        fields.push(Field::new("options", shown));
        return name.to_owned();
    };
    let text =
        |key: &str| members.get(key).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
    let words: &[&str] = match line.op {
        Op::Info => &["server_name", "version"],
        _ => &["lang", "version", "name"],
    };
    let mut summary = name.to_owned();
    words.iter().filter_map(|key| text(key)).for_each(|word| {
        summary.push(' ');
        summary.extend(word.chars().take(64));
    });
    if let (Op::Connect, Some(user)) = (line.op, text("user")) {
        summary.push_str(" user=");
        summary.extend(user.chars().take(64));
    }
    let mut pairs = Vec::new();
    for (key, value) in members {
        let is_secret = line.op == Op::Connect && SECRETS.contains(&key.as_str()) && !options.show_secrets;
        // An account can be chosen by a token in the place of the user.
        let value = if is_secret && !value.is_null() { MASKED } else { value_of(value) };
        pairs.push((Value::Bytes(key.into_bytes()), value));
    }
    fields.push(Field::new("options", Value::Map(pairs)));
    summary
}

/// JSON as a value. The line's bound is the bound of its size, and serde_json's of its depth.
fn value_of(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Flag(flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Number(number),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::Bytes(text.into_bytes()),
        serde_json::Value::Array(list) => Value::List(list.into_iter().map(value_of).collect()),
        serde_json::Value::Object(members) => {
            let pairs = members.into_iter();
            Value::Map(pairs.map(|(key, value)| (Value::Bytes(key.into_bytes()), value_of(value))).collect())
        }
    }
}

fn subscription(line: &Line<'_>, fields: &mut Vec<Field>) -> String {
    let words = line.words;
    let mut summary = line.op.name().to_owned();
    if let Some(subject) = words.subject {
        summary.push_str(&format!(" {}", shown(subject)));
        fields.push(Field::new("subject", Value::Bytes(short(subject))));
    }
    if let Some(queue) = words.queue {
        summary.push_str(&format!(" queue {}", shown(queue)));
        fields.push(Field::new("queue_group", Value::Bytes(short(queue))));
    }
    if let Some(sid) = words.sid {
        summary.push_str(&format!(" sid {}", shown(sid)));
        fields.push(Field::new("sid", Value::Bytes(short(sid))));
    }
    if let Some(max) = words.max {
        summary.push_str(&format!(" after {max} messages"));
        fields.push(number("max_msgs", max));
    }
    summary
}

fn published(
    line: &Line<'_>,
    frame: &Frame<'_>,
    options: Options,
    fields: &mut Vec<Field>,
    cut: &mut bool,
) -> String {
    let words = line.words;
    let total = words.total.unwrap_or(0);
    let size = total.saturating_sub(words.header);
    let subject = words.subject.unwrap_or_default();
    let mut summary = format!("{} {}", line.op.name(), shown(subject));
    fields.push(Field::new("subject", Value::Bytes(short(subject))));
    for (name, value) in [("sid", words.sid), ("reply_to", words.reply)] {
        fields.extend(value.map(|value| Field::new(name, Value::Bytes(short(value)))));
    }
    let body = frame.data.get(line.length..).unwrap_or_default();
    let header_end = usize::try_from(words.header).unwrap_or(usize::MAX).min(body.len());
    let (headers, payload) = body.split_at(header_end);
    if words.header > 0 {
        *cut |= words.header > HEADERS_MAX;
        let (status, list) = read_headers(headers, options.show_secrets, cut);
        if let Some(status) = status {
            summary.push_str(&format!(" {}", String::from_utf8_lossy(&status)));
            fields.push(Field::new("status", Value::Bytes(status)));
        }
        fields.push(Field::new("headers", Value::Map(list)));
    }
    summary.push_str(&format!(" {size} bytes"));
    fields.push(number("payload_length", size));
    if options.max_field > 0 && size > 0 {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let kept = size.min(options.max_field).min(payload.len());
        // Of long headers not all are looked at: what follows is not at hand then.
        *cut |= kept < size && !frame.is_cut();
        fields.push(Field::new("payload", Value::Bytes(payload[..kept].to_vec())));
    }
    summary
}

type Headers = Vec<(Value, Value)>;

/// The status of `NATS/1.0 503 No Responders`, where there is one, and the headers.
fn read_headers(bytes: &[u8], show_secrets: bool, cut: &mut bool) -> (Option<Vec<u8>>, Headers) {
    let mut lines = bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix(b"NATS/1.0").map(|rest| short(rest.trim_ascii()));
    let mut headers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if headers.len() >= COUNT_MAX {
            *cut = true;
            break;
        }
        let at = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = (&line[..at], line.get(at + 1..).unwrap_or_default().trim_ascii());
        let value = if is_secret_name(name) && !show_secrets { MASKED } else { Value::Bytes(value.to_vec()) };
        headers.push((Value::Bytes(name.to_vec()), value));
    }
    (status.filter(|status| !status.is_empty()), headers)
}

fn trimmed(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

fn short(text: &[u8]) -> Vec<u8> {
    text[..text.len().min(TEXT_MAX)].to_vec()
}

fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let shown: String = text.chars().take(128).collect();
    let more = if shown.len() < text.len() { "\u{2026}" } else { "" };
    format!("{shown}{more}")
}

fn number(name: &'static str, value: u64) -> Field {
    Field::new(name, Value::Number(i64::try_from(value).unwrap_or(i64::MAX)))
}
