//! Kafka (<https://kafka.apache.org/protocol>), between clients and brokers and among brokers.
//!
//! This file leads one connection through its messages and finds out what belongs together; [`api`] is the table of APIs,
//! [`schema`] what their messages are made of, [`decode`] reads them, [`records`] counts record batches, [`errors`] names
//! error codes, [`request`] reads headers, [`detect`] knows the protocol by its content.
//!
//! A frame is one message with its size. A response is paired with the request of its correlation id, which tells what
//! it is: without the request the API is unknown. A broker answers in order, so requests before the one that is
//! answered stay without a response. Only what is produced with `acks` of 0 is not answered.
//!
//! Left out: the records themselves, and bodies of APIs that [`api`] has no schema for.

mod api;
mod decode;
mod detect;
mod errors;
mod records;
mod request;
mod schema;
#[cfg(test)]
mod tests;

use super::exchange::{self, Half, Pending};
use super::framed::{Driver, Frame, Framed, Head, KEEP_MAX};
use super::{End, Endpoint, Input, MASKED, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::{Field, Record, Value};
use api::Api;
use decode::{Decoder, Notes, Stop};
use request::At;
use std::collections::BTreeSet;

/// The name in records, filters and traces.
const NAME: &str = "kafka";

/// The largest message that is taken for one: ten times what brokers accept unless told otherwise
/// (`socket.request.max.bytes`).
const SIZE_MAX: usize = 1000 << 20;

/// The error code with which a broker refuses a version.
const UNSUPPORTED_VERSION: [u8; 2] = [0, 35];

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: None,
    endpoint,
    keep_alives: &["Heartbeat"],
};

/// An API with what it is asked of; failed where the answer has an error, be it of one partition.
fn endpoint(record: &Record) -> Endpoint {
    let failed = endpoint::any_field(record, |name, _| name == "error");
    Endpoint { failed, ..endpoint::of_summary(record) }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Kafka {
        options,
        // Learnt from content: where the beginning was not seen, the role is a guess.
        client: None,
        opener: options.client(),
        doubtful: false,
        pending: Pending::new(NAME),
        has_tokens: false,
        lost: None,
    }))
}

/// What a response needs to know of its request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    /// A request, by its number.
    Request { correlation: i32, key: i16, version: i16 },
    /// Bytes of SASL without a header, which the first version of SaslHandshake leads to.
    Token,
}

/// One connection.
struct Kafka {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    /// The direction of the end that opened the connection, where that was seen.
    opener: Option<Direction>,
    /// What comes first may be anything: messages before it are lost, or came before the trace.
    doubtful: bool,
    pending: Pending<Asked>,
    /// Messages without a header can come.
    has_tokens: bool,
    /// Why responses are missing before those that come now.
    lost: Option<Cause>,
}

impl Framed for Kafka {
    fn head(&mut self, input: Input<'_>) -> Head {
        let Input { direction, data, .. } = input;
        let Some(bytes) = data.first_chunk() else { return Head::More("the size of a message") };
        let Some(size) = request::size_of(*bytes) else {
            return Head::Malformed { length: 4, reason: "no size of a message".to_owned() };
        };
        let frame = Head::Frame { length: size as u64 + 4, keep: KEEP_MAX };
        if self.client == Some(direction.reverse()) {
            let is_token = matches!(self.pending.front(), Some((Asked::Token, _)));
            let is_long_enough = size >= 4 || self.has_tokens || is_token;
            return match is_long_enough {
                true => frame,
                false => Head::Malformed { length: 4, reason: "too short for a response".to_owned() },
            };
        }
        // A response can begin like a request; one of whose body all is there ends where it says.
        let is_whole = data.len() - 4 >= size;
        if self.client.is_none() && self.doubtful && is_whole && size >= 4 && request::at(data) == At::No {
            self.client = Some(direction.reverse());
            return frame;
        }
        let rest = &data[4..size.saturating_add(4).min(data.len())];
        let mut decoder = Decoder::new(rest, size - rest.len(), false, 0);
        match request::header(&mut decoder) {
            Ok(_) => {
                self.client = Some(direction);
                frame
            }
            Err(Stop::Short) => Head::More("the rest of a request's header"),
            Err(Stop::Bad(_)) if self.has_tokens => frame,
            Err(Stop::Bad(_)) if self.client.is_none() && size >= 4 => {
                self.client = Some(direction.reverse());
                frame
            }
            Err(Stop::Bad(reason)) => Head::Malformed { length: 4, reason: format!("no request: {reason}") },
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let size = frame.length - 4;
        let data = frame.data.get(4..).unwrap_or_default();
        let beyond = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(data.len());
        let decoder = Decoder::new(data, beyond, self.options.show_secrets, self.options.max_field);
        let is_request = self.client != Some(frame.direction.reverse());
        out.frame(
            frame.direction,
            frame.range,
            format_args!("{} of {size} bytes", if is_request { "request" } else { "response" }),
        );
        if is_request {
            self.request(decoder, frame, out)
        } else {
            self.response(decoder, frame, out)
        }
        Ok(())
    }

    fn begin_inside(&mut self, _: Direction) {
        (self.opener, self.doubtful) = (None, true);
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        if self.client == Some(direction.reverse()) {
            let awaited = self.pending.keys().filter_map(|asked| match asked {
                Asked::Request { correlation, .. } => Some(*correlation),
                Asked::Token => None,
            });
            return detect::boundary_of_response(data, at_event, &awaited.collect());
        }
        match detect::boundary_of_request(data, at_event) {
            Resync::Skip(_) if self.client.is_none() && at_event => {
                match detect::boundary_of_response(data, true, &BTreeSet::new()) {
                    Resync::Found(0) => Resync::Found(0),
                    _ => Resync::Skip(data.len()),
                }
            }
            found => found,
        }
    }

    fn lost(&mut self, direction: Direction, cause: Cause, _: &mut dyn Output) {
        // What comes behind the first request says less of who sends it.
        self.client = self.client.or(self.opener);
        self.doubtful = true;
        // Requests that are lost leave responses without one; those that wait are still told by their number.
        if self.client != Some(direction) {
            self.lost = Some(cause);
        }
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        let lost = self.lost;
        self.pending.give_up(lost, out);
    }
}

impl Kafka {
    fn request(&mut self, mut decoder: Decoder<'_>, frame: &Frame<'_>, out: &mut dyn Output) {
        let token = decoder.cursor.rest();
        let header = match request::header(&mut decoder) {
            Ok(header) => header,
            Err(_) if self.has_tokens && !frame.is_cut() => {
                return self.pending.push(Asked::Token, self.token(token, frame), out);
            }
            Err(_) => {
                let fields = vec![unknown("api"), size(frame)];
                return exchange::lone(
                    NAME,
                    half(frame, "request (api: unknown)".to_owned(), fields),
                    true,
                    out,
                );
            }
        };
        self.has_tokens = (header.key, header.version) == (api::SASL_HANDSHAKE, 0);
        let mut fields = vec![
            Field::new("api", Value::Text(header.name().into())),
            Field::new("api_key", Value::Number(header.key.into())),
            Field::new("api_version", Value::Number(header.version.into())),
            Field::new("correlation_id", Value::Number(header.correlation.into())),
            Field::new("client_id", request::text(header.client_id)),
            size(frame),
        ];
        let read = body(&mut decoder, header.api, header.version, 0, &mut fields);
        let notes = std::mem::take(&mut decoder.notes);
        let mut summary = format!("{} v{}", header.name(), header.version);
        describe(&notes, &fields, &mut summary);
        count_records(&notes, read, &mut summary);
        let mut half = half(frame, summary, fields);
        finish(&mut half, read, &decoder, &notes, frame);
        if header.key == api::PRODUCE && notes.acks == Some(0) {
            return exchange::lone(NAME, half, true, out);
        }
        let asked =
            Asked::Request { correlation: header.correlation, key: header.key, version: header.version };
        self.pending.push(asked, half, out);
    }

    fn response(&mut self, mut decoder: Decoder<'_>, frame: &Frame<'_>, out: &mut dyn Output) {
        if let Some((Asked::Token, _)) = self.pending.front()
            && let Some((_, asked)) = self.pending.pop()
        {
            let answer = self.token(decoder.cursor.rest(), frame);
            return exchange::pair(NAME, asked, answer, out);
        }
        let Ok(correlation) = request::correlation(&mut decoder) else {
            let fields = vec![unknown("api"), unknown("correlation_id"), size(frame)];
            return exchange::unasked(NAME, half(frame, "response (api: unknown)".to_owned(), fields), out);
        };
        let mut fields = vec![Field::new("correlation_id", Value::Number(correlation.into())), size(frame)];
        let Some((key, version, asked)) = self.take(correlation, out) else {
            fields.insert(0, unknown("api"));
            let summary = format!("response (api: unknown) {} bytes", frame.length - 4);
            return exchange::unasked(NAME, half(frame, summary, fields), out);
        };
        let api = api::find(key);
        let header = match api {
            Some(api) if api.has_flexible_response_header(version) => decoder.skip_tags(),
            _ => Ok(()),
        };
        // A broker that does not know the version of ApiVersions answers in the first one, with its error (KIP-511).
        let is_refused = key == api::API_VERSIONS && decoder.cursor.rest().starts_with(&UNSUPPORTED_VERSION);
        let version = if is_refused { 0 } else { version };
        let read = header.and_then(|()| body(&mut decoder, api, version, 1, &mut fields));
        let notes = std::mem::take(&mut decoder.notes);
        let mut summary = String::new();
        match notes.errors.as_slice() {
            [] if read.is_ok() && !is_undecoded(&fields) => summary.push_str("ok"),
            [] => summary.push_str(&format!("{} bytes", frame.length - 4)),
            errors => summary.push_str(&errors.join(", ")),
        }
        count_records(&notes, read, &mut summary);
        let mut half = half(frame, summary, fields);
        finish(&mut half, read, &decoder, &notes, frame);
        exchange::pair(NAME, asked, half, out);
    }

    /// The request that a response is to. What was asked before it is not answered any more.
    fn take(&mut self, correlation: i32, out: &mut dyn Output) -> Option<(i16, i16, Half)> {
        let is_it =
            |asked: &Asked| matches!(asked, Asked::Request { correlation: id, .. } if *id == correlation);
        if !self.pending.keys().any(is_it) {
            return None;
        }
        while let Some((asked, half)) = self.pending.pop() {
            if let Asked::Request { key, version, .. } = asked
                && is_it(&asked)
            {
                return Some((key, version, half));
            }
            exchange::unanswered_because(NAME, half, self.lost, out);
        }
        None
    }

    fn token(&self, bytes: &[u8], frame: &Frame<'_>) -> Half {
        let shown = match self.options.show_secrets {
            true => Value::Bytes(bytes[..bytes.len().min(self.options.max_field)].to_vec()),
            false => MASKED,
        };
        let fields = vec![Field::new("auth_bytes", shown), size(frame)];
        half(frame, format!("SASL {} bytes", frame.length - 4), fields)
    }
}

/// Reads the body of a request (`side` 0) or response (1), where it is known what it is made of.
fn body(
    decoder: &mut Decoder<'_>,
    api: Option<&'static Api>,
    version: i16,
    side: usize,
    fields: &mut Vec<Field>,
) -> Result<(), Stop> {
    match api {
        Some(api @ Api { schemas: Some(schemas), newest, .. }) if version <= *newest => {
            decoder.body(schemas[side], version, api.is_flexible(version), fields)?;
            // Whoever receives it passes over what follows, and so is it told.
            if !api.ends(version, decoder.cursor.rest()) {
                let count = decoder.cursor.len() + decoder.beyond;
                fields.push(Field::new(
                    "trailing_bytes",
                    Value::Number(i64::try_from(count).unwrap_or(i64::MAX)),
                ));
            }
            Ok(())
        }
        Some(Api { schemas: Some(_), .. }) => {
            fields.push(Field::new("undecoded", Value::Text("a newer version".into())));
            Ok(())
        }
        _ => {
            fields.push(Field::new("undecoded", Value::Text("the body".into())));
            Ok(())
        }
    }
}

/// Notes what a message lacks.
fn finish(half: &mut Half, read: Result<(), Stop>, decoder: &Decoder<'_>, notes: &Notes, frame: &Frame<'_>) {
    let has_more = half.message.field("trailing_bytes").is_some();
    if is_undecoded(&half.message.fields) || has_more || notes.is_packed {
        half.add_cause(Cause::Unsupported);
    }
    match read {
        Err(Stop::Bad(reason)) => {
            half.message.fields.push(Field::new("malformed", Value::Text(reason.into())));
            half.add_cause(Cause::ParseError);
        }
        Err(Stop::Short) if !frame.is_cut() => half.add_cause(Cause::FieldTruncated),
        _ if decoder.cut => half.add_cause(Cause::FieldTruncated),
        _ => {}
    }
}

fn is_undecoded(fields: &[Field]) -> bool {
    fields.iter().any(|field| field.name == "undecoded")
}

/// What a request is about: ` group=g topic, other`.
fn describe(notes: &Notes, fields: &[Field], summary: &mut String) {
    for group in &notes.groups {
        summary.push_str(&format!(" group={group}"));
    }
    let words = ["client_software_name", "client_software_version", "mechanism", "key", "transactional_id"];
    for field in fields.iter().filter(|field| words.contains(&&*field.name)) {
        if let Value::Bytes(text) = &field.value {
            summary.push(' ');
            summary.extend(String::from_utf8_lossy(text).chars().take(64));
        }
    }
    if !notes.topics.is_empty() {
        summary.push_str(&format!(" {}", notes.topics.join(", ")));
    }
    if notes.topic_count > notes.topics.len() {
        summary.push_str(&format!(" of {}", notes.topic_count));
    }
}

/// How many records a message has. Of one that is not all at hand, those that were seen.
fn count_records(notes: &Notes, read: Result<(), Stop>, summary: &mut String) {
    match notes.records {
        Some(_) if notes.is_packed => summary.push_str(" packed records"),
        Some(count) if read.is_err() => summary.push_str(&format!(" {count} records or more")),
        Some(1) => summary.push_str(" 1 record"),
        Some(count) => summary.push_str(&format!(" {count} records")),
        None => {}
    }
}

fn half(frame: &Frame<'_>, summary: String, fields: Vec<Field>) -> Half {
    let mut half = Half::new(frame.direction, frame.range, frame.times, summary, fields);
    frame.causes.iter().for_each(|&cause| half.add_cause(cause));
    half
}

fn unknown(name: &'static str) -> Field {
    Field::new(name, Value::Text("unknown".into()))
}

fn size(frame: &Frame<'_>) -> Field {
    Field::new("size", Value::Number(i64::try_from(frame.length - 4).unwrap_or(i64::MAX)))
}
