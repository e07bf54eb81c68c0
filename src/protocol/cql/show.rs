//! What is shown of a message, whichever it is.

use super::envelope::{Front, Header};
use super::read::{self, Column};
use super::values;
use crate::protocol::{MASKED, Options};
use crate::record::{Field, Value};

/// How many bytes of a name or an error message are shown.
const TEXT_MAX: usize = 512;

/// The fields and the line of a message.
#[derive(Debug, Default)]
pub struct Shown {
    pub summary: String,
    pub fields: Vec<Field>,
    /// Something is shown shorter than it came.
    pub is_cut: bool,
    /// Something was not looked at, for it is too much.
    pub is_limited: bool,
}

impl Shown {
    pub fn text(&mut self, name: &'static str, value: &[u8]) {
        self.is_cut |= value.len() > TEXT_MAX;
        self.fields.push(Field::new(name, bytes(value)));
    }

    pub fn word(&mut self, name: &'static str, value: impl Into<std::borrow::Cow<'static, str>>) {
        self.fields.push(Field::new(name, Value::Text(value.into())));
    }

    pub fn number(&mut self, name: &'static str, value: impl Into<i64>) {
        self.fields.push(Field::new(name, Value::Number(value.into())));
    }

    pub fn list(&mut self, name: &'static str, values: Vec<Value>) {
        self.fields.push(Field::new(name, Value::List(values)));
    }

    /// What every message has.
    pub fn header(&mut self, header: &Header) {
        self.word("opcode", header.opcode.name());
        self.number("version", header.version);
        self.number("stream", header.stream);
        let flags: Vec<Value> = header.flag_names().map(|name| Value::Text(name.into())).collect();
        if !flags.is_empty() {
            self.list("flags", flags);
        }
    }

    /// What stands in front of the body.
    pub fn front(&mut self, front: &Front<'_>, options: Options) {
        if let Some(id) = front.tracing_id {
            self.word("tracing_id", values::uuid(id));
        }
        if !front.warnings.is_empty() {
            self.list("warnings", front.warnings.iter().map(|warning| bytes(warning)).collect());
        }
        if !front.payload.is_empty() {
            let mut pairs = Vec::new();
            for (name, value) in &front.payload {
                let value = value.map(|value| &value[..value.len().min(options.max_field.max(64))]);
                pairs.push((bytes(name), value.map_or(Value::Null, |value| Value::Bytes(value.to_vec()))));
            }
            self.fields.push(Field::new("custom_payload", Value::Map(pairs)));
        }
    }

    /// What only the two ends should know: a token of SASL.
    pub fn token(&mut self, token: Option<&[u8]>, options: Options) {
        let value = match token {
            None => Value::Null,
            Some(token) if options.show_secrets => Value::Bytes(token.to_vec()),
            Some(_) => MASKED,
        };
        self.fields.push(Field::new("token", value));
    }

    /// Descriptions of columns, as `name type`.
    pub fn columns(&mut self, name: &'static str, columns: &[Column]) {
        let line =
            |column: &Column| Value::Bytes(format!("{} {}", column.name, column.kind.text).into_bytes());
        if !columns.is_empty() {
            self.list(name, columns.iter().map(line).collect());
        }
    }

    pub fn strings(&mut self, name: &'static str, strings: &[&[u8]]) {
        self.list(name, strings.iter().map(|string| bytes(string)).collect());
    }
}

fn bytes(value: &[u8]) -> Value {
    Value::Bytes(value[..value.len().min(TEXT_MAX)].to_vec())
}

/// A name in a summary.
pub fn word(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]).chars().take(200).collect()
}

/// The name of a consistency level (section 3).
pub fn consistency(level: u16) -> String {
    let names = [
        "ANY",
        "ONE",
        "TWO",
        "THREE",
        "QUORUM",
        "ALL",
        "LOCAL_QUORUM",
        "EACH_QUORUM",
        "SERIAL",
        "LOCAL_SERIAL",
        "LOCAL_ONE",
    ];
    names.get(usize::from(level)).map_or_else(|| format!("0x{level:04x}"), |&name| name.to_owned())
}

/// Values that a statement is given, for a field and a summary.
#[derive(Debug, Default)]
pub struct Given {
    pub values: Vec<Value>,
    pub briefs: Vec<String>,
    pub count: u64,
}

/// How many values of one statement are kept.
const VALUES_MAX: usize = 1024;

/// How many values a summary shows.
const BRIEF_COUNT: usize = 12;

impl Given {
    pub fn add(
        &mut self,
        name: Option<&[u8]>,
        bound: read::Bound<'_>,
        variable: Option<&Column>,
        options: Options,
        shown: &mut Shown,
    ) {
        self.count += 1;
        let kind = variable.map(|variable| &variable.kind);
        let name = name.map(word).or_else(|| variable.map(|variable| variable.name.clone()));
        if self.briefs.len() < BRIEF_COUNT {
            self.briefs.push(values::brief(bound, kind));
        }
        if options.max_field == 0 {
            return;
        }
        if self.values.len() >= VALUES_MAX {
            shown.is_limited = true;
            return;
        }
        let (value, is_all) = values::shown(bound, kind, options.max_field);
        shown.is_cut |= !is_all;
        self.values.push(match name {
            Some(name) => Value::Map(vec![(Value::Bytes(name.into_bytes()), value)]),
            None => value,
        });
    }

    /// ` [7, 'abc']`, or nothing.
    pub fn line(&self) -> String {
        if self.count == 0 {
            return String::new();
        }
        let more = if self.briefs.len() as u64 == self.count { "" } else { ", \u{2026}" };
        format!(" [{}{more}]", self.briefs.join(", "))
    }
}
