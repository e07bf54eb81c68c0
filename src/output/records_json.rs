//! Records and the tracker's reasoning as JSON Lines: `type: record` and `type: trace`.

use super::json::{Connection, name, write_line};
use super::records::{RecordView, Step};
use super::sockets::Socket;
use super::time::rfc3339;
use crate::conn::Info;
use crate::event::Timestamp;
use crate::record::{Field, Message, Record, Value};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::io::{self, Write};

/// The JSON view of records.
#[derive(Debug, Default)]
pub struct JsonRecords;

impl RecordView for JsonRecords {
    fn record(&mut self, info: &Info, _: Timestamp, record: &Record, out: &mut dyn Write) -> io::Result<()> {
        write_line(&RecordLine::new(info, record), out)
    }

    fn trace(&mut self, info: &Info, step: &Step<'_>, out: &mut dyn Write) -> io::Result<()> {
        let line = TraceLine {
            r#type: "trace",
            time: rfc3339(step.time),
            connection: connection(info),
            level: step.level,
            step: step.step,
            message: step.message.to_string(),
        };
        write_line(&line, out)
    }
}

/// The fields that say which connection a line is about.
pub fn connection(info: &Info) -> Connection<'_> {
    Connection::new(Socket::new(info.id, &info.open), info.task.as_ref(), info.fd)
}

#[derive(Serialize)]
struct TraceLine<'a> {
    r#type: &'static str,
    time: String,
    #[serde(flatten)]
    connection: Connection<'a>,
    level: u8,
    step: &'static str,
    message: String,
}

#[derive(Serialize)]
struct RecordLine<'a> {
    r#type: &'static str,
    time: String,
    #[serde(flatten)]
    connection: Connection<'a>,
    protocol: &'static str,
    status: &'static str,
    summary: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Fields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Fields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_range: Option<[u64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_range: Option<[u64; 2]>,
    causes: Vec<&'static str>,
}

impl<'a> RecordLine<'a> {
    fn new(info: &'a Info, record: &'a Record) -> RecordLine<'a> {
        let range = |message: &Option<Message>| message.as_ref().map(|one| [one.range.from, one.range.to]);
        RecordLine {
            r#type: "record",
            time: rfc3339(record.started()),
            connection: connection(info),
            protocol: record.protocol,
            status: record.status.name(),
            summary: Cow::Borrowed(&record.summary),
            latency_ns: record.latency(),
            request: record.request.as_ref().map(|message| Fields(&message.fields)),
            response: record.response.as_ref().map(|message| Fields(&message.fields)),
            request_range: range(&record.request),
            response_range: range(&record.response),
            causes: record.causes().into_iter().map(|cause| cause.slug()).collect(),
        }
    }
}

/// A message's fields as an object.
struct Fields<'a>(&'a [Field]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for field in self.0 {
            map.serialize_entry(&field.name, &Shown(&field.value))?;
        }
        map.end()
    }
}

/// A value as JSON. Bytes are text, those that are not UTF-8 escaped.
struct Shown<'a>(&'a Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bytes(bytes) => serializer.serialize_str(&name(bytes)),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Number(number) => serializer.serialize_i64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Flag(flag) => serializer.serialize_bool(*flag),
            Value::Null => serializer.serialize_unit(),
            Value::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(&Shown(value))?;
                }
                list.end()
            }
            Value::Map(entries) => serialize_map(entries, serializer),
        }
    }
}

/// A map as an object; the values of a name that comes more than once as a list at its first place.
fn serialize_map<S: Serializer>(entries: &[(Value, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    let names: Vec<Cow<'_, str>> = entries.iter().map(|(key, _)| key_text(key)).collect();
    let mut map = serializer.serialize_map(None)?;
    for (index, key) in names.iter().enumerate() {
        if names[..index].contains(key) {
            continue;
        }
        let same = names.iter().zip(entries).filter(|(other, _)| *other == key);
        let values: Vec<Shown<'_>> = same.map(|(_, (_, value))| Shown(value)).collect();
        match values.as_slice() {
            [one] => map.serialize_entry(key, one)?,
            several => map.serialize_entry(key, several)?,
        }
    }
    map.end()
}

fn key_text(key: &Value) -> Cow<'_, str> {
    match key {
        Value::Bytes(bytes) => name(bytes),
        Value::Text(text) => Cow::Borrowed(text),
        other => Cow::Owned(serde_json::to_string(&Shown(other)).unwrap_or_default()),
    }
}
