//! Frames of the connection as a whole: SETTINGS and PING with their acknowledgements, GOAWAY, extensions; and those
//! that only steer, which are counted: flow control, priorities, frames of streams that are over.

use super::frame::{self, Header};
use super::{NAME, Part, half};
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::protocol::exchange::{self, Half, PARTS_MAX, Pending};
use crate::protocol::{Options, Output};
use crate::record::{Field, Message, Value};
use data_encoding::BASE64URL_NOPAD;
use std::collections::BTreeMap;

/// The state of both directions.
pub(super) struct Control {
    /// SETTINGS that wait for their acknowledgement, by the direction in which they went.
    settings: [Pending<()>; 2],
    /// PINGs likewise, by their content.
    pings: [Pending<[u8; 8]>; 2],
    counted: [Option<Counted>; 2],
    /// Why acknowledgements of SETTINGS that wait may be lost, by the direction in which these went.
    settings_lost: [Option<Cause>; 2],
    /// The same of PINGs.
    pings_lost: [Option<Cause>; 2],
}

impl Default for Control {
    fn default() -> Control {
        Control {
            settings: [Pending::new(NAME), Pending::new(NAME)],
            pings: [Pending::new(NAME), Pending::new(NAME)],
            counted: [None, None],
            settings_lost: [None, None],
            pings_lost: [None, None],
        }
    }
}

/// Frames that are shown as one record: how often each kind came, and whether for a stream that was over.
struct Counted {
    half: Half,
    kinds: BTreeMap<(bool, u8), u64>,
}

/// Frames of this type are shown by their number alone.
pub(super) fn is_counted(kind: u8) -> bool {
    matches!(kind, frame::PRIORITY | frame::WINDOW_UPDATE | frame::PRIORITY_UPDATE)
}

impl Control {
    /// Takes a frame of the connection.
    pub(super) fn frame(
        &mut self,
        header: Header,
        part: &Part<'_>,
        client: Option<Direction>,
        options: &Options,
        out: &mut dyn Output,
    ) {
        let is_ack = header.has(frame::ACK);
        match header.kind {
            frame::SETTINGS if is_ack => self.settings_ack(part, out),
            frame::SETTINGS => self.settings(part, out),
            frame::PING => self.ping(is_ack, part, out),
            frame::GOAWAY => exchange::lone(NAME, goaway(part, options), client == Some(part.direction), out),
            kind if is_counted(kind) => {
                self.count(header.kind, false, part, client, out);
            }
            _ => exchange::lone(NAME, extension(header, part, options), client == Some(part.direction), out),
        }
    }

    fn settings(&mut self, part: &Part<'_>, out: &mut dyn Output) {
        let (settings, is_more) = frame::settings(part.payload);
        let mut summary = "SETTINGS".to_owned();
        for (name, value) in &settings {
            if let (Value::Text(name), Value::Number(value)) = (name, value) {
                summary.push_str(&format!(" {name}={value}"));
            }
        }
        let mut half =
            half(part, summary, vec![kind("SETTINGS"), Field::new("settings", Value::Map(settings))]);
        if is_more {
            half.add_cause(Cause::Unsupported);
        }
        let index = part.direction.index();
        if self.settings[index].is_empty() {
            self.settings_lost[index] = None;
        }
        self.settings[index].push((), half, out);
    }

    /// Acknowledged in the order in which they came (RFC 9113, section 6.5.3). Behind lost acknowledgements only one that
    /// waits alone is known to be meant.
    fn settings_ack(&mut self, part: &Part<'_>, out: &mut dyn Output) {
        let ack = half(part, "ACK".to_owned(), vec![kind("SETTINGS"), Field::new("ack", Value::Flag(true))]);
        let asking = part.direction.reverse().index();
        let waiting = &mut self.settings[asking];
        if let Some(cause) = self.settings_lost[asking].filter(|_| waiting.len() > 1) {
            waiting.give_up(Some(cause), out);
        }
        match waiting.pop() {
            Some((_, settings)) => exchange::pair(NAME, settings, ack, out),
            None => exchange::unasked(NAME, Half { summary: "SETTINGS ACK".to_owned(), ..ack }, out),
        }
    }

    fn ping(&mut self, is_ack: bool, part: &Part<'_>, out: &mut dyn Output) {
        let mut data = [0; 8];
        let length = part.payload.len().min(data.len());
        data[..length].copy_from_slice(&part.payload[..length]);
        let mut fields = vec![kind("PING"), Field::new("data", Value::Bytes(data.to_vec()))];
        if !is_ack {
            let ping = half(part, "PING (keep-alive)".to_owned(), fields);
            let index = part.direction.index();
            if self.pings[index].is_empty() {
                self.pings_lost[index] = None;
            }
            return self.pings[index].push(data, ping, out);
        }
        fields.push(Field::new("ack", Value::Flag(true)));
        let ack = half(part, "ACK".to_owned(), fields);
        let asking = part.direction.reverse().index();
        let same = self.pings[asking].keys().filter(|&key| *key == data).count();
        if let Some(cause) = self.pings_lost[asking].filter(|_| same > 1) {
            while let Some(ping) = self.pings[asking].take(&data) {
                exchange::unanswered_because(NAME, ping, Some(cause), out);
            }
        }
        match self.pings[asking].take(&data) {
            Some(ping) => exchange::pair(NAME, ping, ack, out),
            None => exchange::unasked(NAME, Half { summary: "PING ACK (keep-alive)".to_owned(), ..ack }, out),
        }
    }

    /// Counts a frame; `late` where its stream was over.
    pub(super) fn count(
        &mut self,
        kind: u8,
        late: bool,
        part: &Part<'_>,
        client: Option<Direction>,
        out: &mut dyn Output,
    ) {
        let slot = &mut self.counted[part.direction.index()];
        match slot {
            Some(counted) => counted.half.extend(part.range, part.times[1], part.causes),
            None => {
                let half = half(part, String::new(), Vec::new());
                *slot = Some(Counted { half, kinds: BTreeMap::new() });
            }
        }
        let Some(counted) = slot else { return };
        *counted.kinds.entry((late, kind)).or_default() += 1;
        if counted.half.message.parts.len() >= PARTS_MAX {
            self.flush(part.direction, client, out);
        }
    }

    /// What was counted becomes a record.
    fn flush(&mut self, direction: Direction, client: Option<Direction>, out: &mut dyn Output) {
        let Some(Counted { mut half, kinds }) = self.counted[direction.index()].take() else { return };
        let mut counts = Vec::new();
        for ((late, kind), count) in kinds {
            let late = if late { "late " } else { "" };
            let name = format!("{late}{}", frame::type_name(kind));
            counts.push(format!("{count} {name}"));
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            half.message.fields.push(Field::new(name, Value::Number(count)));
        }
        half.summary = counts.join(", ");
        exchange::lone(NAME, half, client == Some(direction), out);
    }

    /// Frames of a direction are lost, acknowledgements perhaps among them.
    pub(super) fn lost(&mut self, direction: Direction, cause: Cause) {
        let asking = direction.reverse().index();
        if !self.settings[asking].is_empty() {
            self.settings_lost[asking] = Some(cause);
        }
        if !self.pings[asking].is_empty() {
            self.pings_lost[asking] = Some(cause);
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&mut self, client: Option<Direction>, out: &mut dyn Output) {
        for direction in Direction::BOTH {
            self.settings[direction.index()].give_up(self.settings_lost[direction.index()], out);
            self.pings[direction.index()].give_up(self.pings_lost[direction.index()], out);
            self.flush(direction, client, out);
        }
    }
}

fn kind(name: &'static str) -> Field {
    Field::new("type", Value::Text(name.into()))
}

/// RFC 9113, section 6.8.
fn goaway(part: &Part<'_>, options: &Options) -> Half {
    let number = |at: usize| {
        let bytes = part.payload.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    let (last, code) = (number(0) & 0x7fff_ffff, frame::error_name(number(4)));
    let debug = part.payload.get(8..).unwrap_or_default();
    let mut summary = format!("GOAWAY {code}, last stream {last}");
    if !debug.is_empty() {
        summary.push_str(&format!(": {}", String::from_utf8_lossy(&debug[..debug.len().min(80)])));
    }
    let mut fields = vec![
        kind("GOAWAY"),
        Field::new("last_stream_id", Value::Number(last.into())),
        Field::new("error_code", Value::Text(code)),
    ];
    let shown = &debug[..debug.len().min(options.max_field)];
    if !shown.is_empty() {
        fields.push(Field::new("debug_data", Value::Bytes(shown.to_vec())));
    }
    let mut half = half(part, summary, fields);
    if options.max_field > 0 && shown.len() < debug.len() {
        half.add_cause(Cause::FieldTruncated);
    }
    half
}

/// A frame of an extension (RFC 9113, section 5.5), such as ALTSVC and ORIGIN: named, and not decoded.
fn extension(header: Header, part: &Part<'_>, options: &Options) -> Half {
    let name = frame::type_name(header.kind);
    let summary = format!("{name} of stream {}, {} bytes", header.stream, header.length);
    let mut fields = vec![
        Field::new("type", Value::Text(name)),
        Field::new("stream_id", Value::Number(header.stream.into())),
    ];
    let shown = &part.payload[..part.payload.len().min(options.max_field)];
    if !shown.is_empty() {
        fields.push(Field::new("payload", Value::Bytes(shown.to_vec())));
    }
    let mut half = half(part, summary, fields);
    half.add_cause(Cause::Unsupported);
    half
}

/// The preface of a client that sent nothing behind it.
pub(super) fn lone_preface(direction: Direction, range: Range, time: Timestamp, out: &mut dyn Output) {
    let half = Half::new(direction, range, [time; 2], "connection preface", vec![kind("preface")]);
    exchange::lone(NAME, half, true, out);
}

/// The request of HTTP/1.1 that asked for HTTP/2 is stream 1 (RFC 7540, section 3.2): its fields under the names that
/// they have there.
pub(super) fn upgraded(asked: Message) -> (Half, Vec<Field>) {
    let Message { direction, range, parts, started, ended, fields, causes } = asked;
    let mut named = vec![Field::new("upgraded", Value::Flag(true))];
    for field in fields {
        match &*field.name {
            "target" => named.push(Field::new("path", field.value)),
            "version" => {}
            "headers" => {
                named.extend(header(&field.value, b"host").map(|host| Field::new("authority", host.clone())));
                if let Some(Value::Bytes(coded)) = header(&field.value, b"http2-settings")
                    && let Ok(payload) = BASE64URL_NOPAD.decode(coded.trim_ascii_end())
                {
                    named.push(Field::new("settings", Value::Map(frame::settings(&payload).0)));
                }
                named.push(field);
            }
            _ => named.push(field),
        }
    }
    let mut half = Half::new(direction, range, [started, ended], "", Vec::new());
    half.message.parts = parts;
    causes.into_iter().for_each(|cause| half.add_cause(cause));
    (half, named)
}

fn header<'a>(headers: &'a Value, name: &[u8]) -> Option<&'a Value> {
    let Value::Map(headers) = headers else { return None };
    let is_named = |key: &Value| matches!(key, Value::Bytes(key) if key.eq_ignore_ascii_case(name));
    headers.iter().find(|(key, _)| is_named(key)).map(|(_, value)| value)
}
