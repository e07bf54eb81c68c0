//! What both sides said in one handshake, and what they sent behind it; how that becomes records.

use super::show::Shown;
use super::{NAME, names};
use crate::event::{Cause, Timestamp};
use crate::protocol::Output;
use crate::protocol::exchange::{self, Half};
use crate::protocol::framed::Frame;
use crate::record::{Field, Value};

/// How many messages and alerts of one side are listed by name.
const MESSAGES_MAX: usize = 64;

/// An alert: level and description.
pub type Alert = (u8, u8);

/// One side of a handshake.
#[derive(Debug, Default)]
pub struct Side {
    half: Option<Half>,
    /// When its first hello was whole: what latency is measured from.
    hello: Option<Timestamp>,
    /// What its first hello was, on one line.
    line: String,
    messages: Vec<Value>,
    alerts: Vec<Alert>,
    fields: Vec<Field>,
    /// It sent ChangeCipherSpec.
    pub changed: bool,
    /// It sent Finished, or what can only come behind it.
    pub finished: bool,
    /// It sent an alert that is encrypted.
    pub protected_alert: bool,
}

impl Side {
    /// Counts a record among its own.
    pub fn take_in(&mut self, frame: &Frame<'_>) {
        extend(&mut self.half, frame);
    }

    /// It begins with this record.
    pub fn begins_with(&self, frame: &Frame<'_>) -> bool {
        is_only(&self.half, frame)
    }

    /// A client's: the server asked for another hello, and it came.
    pub fn has_two_hellos(&self) -> bool {
        self.fields.iter().any(|field| field.name == "second_client_hello")
    }

    /// Bytes are lost that may have been messages of its own.
    pub fn lose(&mut self, cause: Cause) {
        self.add_cause(cause);
        self.field(Field::new("lost_messages", Value::Text("unknown".into())));
    }

    /// Why something of it is missing or not shown.
    pub fn add_cause(&mut self, cause: Cause) {
        if let Some(half) = &mut self.half {
            half.add_cause(cause);
        }
    }

    /// A message came.
    pub fn message(&mut self, name: impl Into<std::borrow::Cow<'static, str>>) {
        match self.messages.len() < MESSAGES_MAX {
            true => self.messages.push(Value::Text(name.into())),
            false => self.add_cause(Cause::FieldTruncated),
        }
    }

    /// True where it sent a message of this name.
    pub fn said(&self, name: &str) -> bool {
        self.messages.iter().any(|value| matches!(value, Value::Text(text) if text == name))
    }

    /// An alert came.
    pub fn alert(&mut self, alert: Alert) {
        match self.alerts.len() < MESSAGES_MAX {
            true => self.alerts.push(alert),
            false => self.add_cause(Cause::FieldTruncated),
        }
    }

    /// Its hello: the first one makes the fields, a second one is a field by itself. `time`: when it was whole.
    pub fn hello(&mut self, shown: Shown, line: String, second: &'static str, time: Option<Timestamp>) {
        if shown.is_shortened {
            self.add_cause(Cause::FieldTruncated);
        }
        if self.line.is_empty() {
            (self.line, self.hello) = (line, time);
            self.fields.splice(0..0, shown.fields);
        } else {
            self.field(Field::new(second, super::show::map(shown.fields)));
        }
    }

    /// Replaces the fields that a HelloRetryRequest made, which become one field.
    pub fn after_retry(&mut self) {
        let fields = std::mem::take(&mut self.fields);
        if !fields.is_empty() {
            self.fields.push(Field::new("hello_retry_request", super::show::map(fields)));
        }
        self.line.clear();
    }

    /// Adds a field; of one that is there already the first one stands.
    pub fn field(&mut self, field: Field) {
        if self.fields.iter().all(|one| one.name != field.name) {
            self.fields.push(field);
        }
    }

    /// True where it gave up: an alert that ends the connection.
    pub fn gave_up(&self, is_13: bool) -> bool {
        // Of TLS 1.3 the level has no meaning any more (RFC 8446, section 6).
        let ends = |&(level, description): &Alert| {
            level == 2 || description == 0 || is_13 && !matches!(description, 90 | 112)
        };
        self.alerts.iter().any(ends)
    }

    /// The alerts as words, for the line of the record.
    fn alert_line(&self) -> Option<String> {
        let mut words: Vec<String> = self.alerts.iter().take(4).map(|&alert| alert_name(alert)).collect();
        if self.protected_alert {
            words.push("encrypted alert".to_owned());
        }
        (!words.is_empty()).then(|| words.join(", "))
    }

    fn into_half(mut self) -> Option<Half> {
        let mut half = self.half.take()?;
        if !self.alerts.is_empty() {
            let names = self.alerts.iter().map(|&alert| Value::Text(alert_name(alert).into()));
            self.fields.push(Field::new("alerts", Value::List(names.collect())));
        }
        if self.protected_alert {
            self.fields.push(Field::new("encrypted_alert", Value::Flag(true)));
        }
        if self.line.is_empty() {
            let names = self.messages.iter().take(4).filter_map(|value| match value {
                Value::Text(name) => Some(name.as_ref()),
                _ => None,
            });
            self.line = names.collect::<Vec<_>>().join(", ");
        }
        if !self.messages.is_empty() {
            self.fields.push(Field::new("messages", Value::List(self.messages)));
        }
        half.message.fields = self.fields;
        half.summary = self.line;
        // Latency is from the end of the hello to the beginning of the answer; later flights do not move it.
        half.message.ended = self.hello.unwrap_or(half.message.ended);
        Some(half)
    }
}

/// One handshake.
#[derive(Debug, Default)]
pub struct Handshake {
    pub client: Side,
    pub server: Side,
    /// The version agreed on.
    pub version: Option<u16>,
    /// The server asked for another ClientHello, which has not been answered.
    pub retried: bool,
    /// The server goes on with a session that it knows.
    pub resumed: bool,
    /// The client offered data before the handshake's end.
    pub early_data: bool,
}

impl Handshake {
    /// True for TLS 1.3, as far as it is known.
    pub fn is_13(&self) -> bool {
        self.version.is_some_and(names::is_13)
    }

    /// True where it came to its end, as far as it can be seen.
    pub fn is_over(&self) -> bool {
        let is_13 = self.is_13();
        let gave_up = |side: &Side| side.gave_up(is_13) || side.protected_alert;
        gave_up(&self.client) || gave_up(&self.server) || self.client.finished && self.server.finished
    }

    /// The record of it.
    pub fn tell(mut self, out: &mut dyn Output) {
        let finished = self.client.finished && self.server.finished;
        let failed = [&self.client, &self.server].map(Side::alert_line);
        if self.resumed {
            self.server.field(Field::new("resumed", Value::Flag(true)));
            self.server.line.push_str(" resumed");
        }
        let [client, server] = [self.client.into_half(), self.server.into_half()];
        let notes = failed.into_iter().zip(["client", "server"]);
        let mut notes: Vec<String> =
            notes.filter_map(|(words, who)| words.map(|words| format!("{who}: {words}"))).collect();
        if !finished && notes.is_empty() && client.is_some() && server.is_some() {
            notes.push("not finished".to_owned());
        }
        let notes = notes.join("; ");
        let join = |line: &str| match (line.is_empty(), notes.is_empty()) {
            (true, _) => notes.clone(),
            (_, true) => line.to_owned(),
            _ => format!("{line}; {notes}"),
        };
        match (client, server) {
            (Some(client), Some(mut server)) => {
                server.summary = join(&server.summary);
                exchange::pair(NAME, client, server, out);
            }
            (Some(mut client), None) => {
                client.summary = join(&client.summary);
                exchange::unanswered(NAME, client, out);
            }
            (None, Some(mut server)) => {
                server.summary = join(&server.summary);
                exchange::unasked(NAME, server, out);
            }
            (None, None) => {}
        }
    }
}

/// `fatal handshake_failure`.
pub fn alert_name((level, description): Alert) -> String {
    let level = if level == 2 { "fatal" } else { "warning" };
    format!("{level} {}", names::alert(description))
}

/// What one direction sends under protection.
#[derive(Debug, Default)]
pub struct Protected {
    half: Option<Half>,
    /// Records of application data, of which TLS 1.3 makes everything, and their bytes without headers.
    records: u64,
    bytes: u64,
    alerts: u64,
    handshakes: u64,
    heartbeats: u64,
    /// A record that the stream's end cuts: the others are whole.
    cut: Option<Half>,
    /// Why records may be missing, before, between or behind them.
    lost: Vec<Cause>,
}

impl Protected {
    /// Counts a record.
    pub fn take_in(&mut self, frame: &Frame<'_>, content: super::record::Content) {
        use super::record::Content;
        if frame.causes.contains(&Cause::Incomplete) {
            extend(&mut self.cut, frame);
            return;
        }
        extend(&mut self.half, frame);
        match content {
            Content::ApplicationData => {
                self.records += 1;
                self.bytes += frame.length.saturating_sub(super::record::HEADER as u64);
            }
            Content::Alert => self.alerts += 1,
            Content::Handshake => self.handshakes += 1,
            Content::Heartbeat => self.heartbeats += 1,
            Content::ChangeCipherSpec => {}
        }
    }

    /// Nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.half.is_none()
    }

    /// It begins with this record.
    pub fn begins_with(&self, frame: &Frame<'_>) -> bool {
        is_only(&self.half, frame)
    }

    /// It ends with this record.
    pub fn ends_with(&self, frame: &Frame<'_>) -> bool {
        let last = self.cut.as_ref().or(self.half.as_ref());
        last.is_some_and(|half| half.message.range.to == frame.range.to)
    }

    /// Bytes are lost beside its records, which may have been more of them.
    pub fn lose(&mut self, causes: &[Cause]) {
        causes.iter().for_each(|cause| cause.note_in(&mut self.lost));
    }

    fn into_half(self, unseen: bool) -> Option<Half> {
        let mut half = self.half?;
        let mut fields = Vec::new();
        self.lost.iter().for_each(|&cause| half.add_cause(cause));
        if !self.lost.is_empty() {
            fields.push(Field::new("lost_records", Value::Text("unknown".into())));
        }
        if unseen {
            fields.push(Field::new("handshake", Value::Text("unseen".into())));
        }
        for (name, count, always) in [
            ("records", self.records, true),
            ("bytes", self.bytes, true),
            ("encrypted_alerts", self.alerts, false),
            ("encrypted_handshake_messages", self.handshakes, false),
            ("heartbeats", self.heartbeats, false),
        ] {
            if always || count > 0 {
                fields.push(Field::new(name, Value::Number(i64::try_from(count).unwrap_or(i64::MAX))));
            }
        }
        half.message.fields = fields;
        half.summary = match self.records {
            0 => "none".to_owned(),
            1 => format!("1 record {}", size(self.bytes)),
            records => format!("{records} records {}", size(self.bytes)),
        };
        let others =
            [(self.alerts, "alert"), (self.handshakes, "handshake message"), (self.heartbeats, "heartbeat")];
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
            let plural = if count == 1 { "" } else { "s" };
            half.summary.push_str(&format!(", {count} {what}{plural}"));
        }
        Some(half)
    }
}

/// The record of what both sides sent under protection. `unseen`: the handshake had been before.
pub fn tell_protected(mut client: Protected, mut server: Protected, unseen: bool, out: &mut dyn Output) {
    let cut = [client.cut.take(), server.cut.take()];
    let lost = [&client, &server].map(|side| side.lost.first().copied());
    let title = if unseen { "application data (handshake unseen): " } else { "application data: " };
    match (client.into_half(unseen), server.into_half(unseen)) {
        (Some(mut client), Some(server)) => {
            client.summary.insert_str(0, title);
            exchange::pair(NAME, client, server, out);
        }
        (Some(mut client), None) => {
            client.summary.insert_str(0, title);
            match lost[1] {
                None => exchange::lone(NAME, client, true, out),
                cause => exchange::unanswered_because(NAME, client, cause, out),
            }
        }
        (None, Some(mut server)) => {
            server.summary.insert_str(0, title);
            match lost[0] {
                None => exchange::lone(NAME, server, false, out),
                _ => exchange::unasked(NAME, server, out),
            }
        }
        (None, None) => {}
    }
    // What came of records that the end cuts would make all the others count as cut.
    for (half, is_client) in cut.into_iter().zip([true, false]) {
        if let Some(mut half) = half {
            half.summary = "application data: a record without its end".to_owned();
            exchange::lone(NAME, half, is_client, out);
        }
    }
}

/// A frame is the first that was counted, and the last.
fn is_only(half: &Option<Half>, frame: &Frame<'_>) -> bool {
    half.as_ref().is_some_and(|half| half.message.range == frame.range)
}

/// Counts a frame among those of a message.
fn extend(half: &mut Option<Half>, frame: &Frame<'_>) {
    match half {
        Some(half) => half.extend(frame.range, frame.times[1], &frame.causes),
        None => {
            let mut new = Half::new(frame.direction, frame.range, frame.times, "", Vec::new());
            frame.causes.iter().for_each(|&cause| new.add_cause(cause));
            *half = Some(new);
        }
    }
}

/// Bytes in decimal units: `12 B`, `12.3 kB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1000.0, 0);
    // What would be shown as 1000.0 is one of the next unit.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}
