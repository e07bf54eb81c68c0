//! AMQP 0-9-1 (<https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>), with RabbitMQ's extensions.
//!
//! This file leads one connection through its frames and finds out what belongs together; [`frame`] reads the heads of
//! frames, [`method`] is the table of methods, [`values`] reads their arguments, [`content`] puts messages together,
//! [`confirm`] knows what the server confirms, [`detect`] knows the protocol by its content.
//!
//! A method that is answered is paired with its -ok, by the order of each channel. A message (`basic.publish`,
//! `basic.deliver`, `basic.return`, `basic.get-ok`) is one with its header and body. What is published on a channel in
//! confirm mode is paired with the `basic.ack` or `basic.nack` of its number. Everything else is a record by itself.
//!
//! Left out: AMQP 1.0, which is another protocol; and the classes file, stream and tunnel of 0-9, which nobody has: they are
//! named by their numbers.

mod confirm;
mod content;
mod detect;
mod frame;
mod method;
#[cfg(test)]
mod tests;
mod values;

use super::cursor::Cursor;
use super::exchange::{self, Half, Pending};
use super::framed::{Driver, Frame, Framed, Head};
use super::{End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::{Field, Record, Value};
use confirm::Confirms;
use content::Content;
use frame::{END, HEAD, Not, Type};
use method::{BASIC, CHANNEL, Method, Part, Sender};
use std::collections::BTreeMap;
use values::Reader;

/// The name in records, filters and traces.
const NAME: &str = "amqp";

/// How many messages of one connection may be under way at once, each on its channel.
const CONTENTS_MAX: usize = 1024;

/// How long a text may be in a summary, in characters.
const SHOWN_MAX: usize = 128;

/// Arguments that a summary shows, where they are not empty.
const SHOWN: [&str; 20] = [
    "mechanism",
    "user",
    "virtual_host",
    "frame_max",
    "heartbeat",
    "queue",
    "exchange",
    "type",
    "destination",
    "source",
    "routing_key",
    "prefetch_count",
    "consumer_tag",
    "delivery_tag",
    "message_count",
    "consumer_count",
    "active",
    "reason",
    "reply_code",
    "reply_text",
];

/// Reply codes from here on tell of an error (AMQP 0-9-1, section 1.2 of the reference).
const ERRORS: u32 = 300;

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: None,
    endpoint,
    keep_alives: &["heartbeat"],
};

/// A method with the exchange, routing key or queue it names; failed where the server refuses it, returns the message, or
/// closes with an error.
fn endpoint(record: &Record) -> Endpoint {
    let text = |name| endpoint::asked(record, name).or_else(|| endpoint::answered(record, name));
    let Some(method) = text("method") else { return endpoint::of_summary(record) };
    let mut name = method.clone().into_owned();
    for argument in ["queue", "exchange", "routing_key"] {
        // Of an answer such words tell of what came, not of what was asked.
        let value = match record.request {
            Some(_) => endpoint::asked(record, argument),
            None => endpoint::answered(record, argument),
        };
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            name.push_str(&format!(" {argument}={value}"));
        }
    }
    let code = text("reply_code").and_then(|code| code.parse::<u32>().ok());
    let failed = code.is_some_and(|code| code >= ERRORS)
        || endpoint::asked(record, "refused").is_some()
        || endpoint::answered(record, "method").is_some_and(|method| method == "basic.nack")
            && method == "basic.publish";
    Endpoint { name: endpoint::shortened(&name), failed }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Amqp {
        options,
        client: options.client(),
        limit: frame::SIZE_MAX,
        ends: [None; 2],
        lengths: [0; 2],
        missing: [None; 2],
        greeting: None,
        calls: Pending::new(NAME),
        contents: BTreeMap::new(),
        confirms: Confirms::new(),
    }))
}

/// By what a call is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    direction: Direction,
    channel: u16,
    class: u16,
    id: u16,
}

/// One connection.
struct Amqp {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    /// How long a payload can be.
    limit: u32,
    /// The last byte of the frame under way, by direction, once it has passed.
    ends: [Option<u8>; 2],
    /// How long that frame is.
    lengths: [u64; 2],
    /// Why frames are missing before what comes now.
    missing: [Option<Cause>; 2],
    /// A protocol header that the server may refuse by its own.
    greeting: Option<Half>,
    calls: Pending<Call>,
    contents: BTreeMap<(usize, u16), Content>,
    confirms: Confirms,
}

impl Framed for Amqp {
    fn head(&mut self, input: Input<'_>) -> Head {
        let Input { direction, data, .. } = input;
        if data.starts_with(&b"AMQP"[..data.len().min(4)]) {
            return match data.len() {
                8.. => Head::Frame { length: 8, keep: 8 },
                _ => Head::More("the rest of a protocol header"),
            };
        }
        match frame::head(data, self.limit) {
            Ok(head) => {
                let length = head.length();
                self.ends[direction.index()] = None;
                self.lengths[direction.index()] = length;
                let shown = HEAD.saturating_add(self.options.max_field);
                let keep = match head.kind {
                    Type::Body if (head.size as usize) > self.options.max_field => shown,
                    _ => usize::try_from(length).unwrap_or(usize::MAX),
                };
                Head::Frame { length, keep }
            }
            Err(Not::Yet) => Head::More("the rest of a frame's head"),
            Err(Not::Ever(length, reason)) => Head::Malformed { length, reason: reason.to_owned() },
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        if frame.data.starts_with(b"AMQP") {
            out.frame(frame.direction, frame.range, format_args!("protocol header"));
            self.greet(frame, out);
            return Ok(());
        }
        let index = frame.direction.index();
        let end = if frame.is_all() { frame.data.last().copied() } else { self.ends[index] };
        if end.is_some_and(|end| end != END) {
            return Err("no frame-end octet where the frame's size puts it".to_owned());
        }
        let head = frame::head(frame.data, u32::MAX).map_err(|_| "a head that gaps cut")?;
        let payload = &frame.data[HEAD..];
        let payload = &payload[..payload.len().min(head.size as usize)];
        self.check(head.kind, payload, frame)?;
        let name = head.kind.name();
        out.frame(frame.direction, frame.range, format_args!("{name} channel {}", head.channel));
        match head.kind {
            Type::Method => self.method(head.channel, payload, frame, out),
            Type::Header => self.header(head.channel, payload, frame, out),
            Type::Body => self.body(head, payload, frame, out),
            Type::Heartbeat => {
                let half = half(frame, "heartbeat".to_owned(), vec![channel(0)]);
                exchange::lone(NAME, half, self.is_client(frame.direction), out);
            }
        }
        Ok(())
    }

    fn beyond(&mut self, direction: Direction, at: u64, data: &[u8]) {
        let index = direction.index();
        if at + data.len() as u64 == self.lengths[index] {
            self.ends[index] = data.last().copied();
        }
    }

    fn begin_inside(&mut self, direction: Direction) {
        self.missing[direction.index()] = Some(Cause::BeforeAttach);
    }

    fn resync(&mut self, _: Direction, data: &[u8], at_event: bool) -> Resync {
        detect::boundary(data, at_event)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        self.missing[direction.index()] = Some(cause);
        self.calls.give_up(Some(cause), out);
        let cut: Vec<_> =
            self.contents.keys().copied().filter(|(index, _)| *index == direction.index()).collect();
        for key in cut {
            self.end_content(key, Some(cause), out);
        }
        // Numbers count what is published: what the server confirms of what was seen before stays certain.
        if self.client != Some(direction.reverse()) {
            self.confirms.lost(cause, out);
        }
    }

    fn close(&mut self, end: End, _: Timestamp, out: &mut dyn Output) {
        self.end_greeting(out);
        let open: Vec<_> = self.contents.keys().copied().collect();
        for key in open {
            out.step("cut-off", format_args!("{} inside a message", end.reason()));
            self.end_content(key, Some(Cause::Incomplete), out);
        }
        self.calls.give_up(None, out);
        self.confirms.close(out);
    }
}

impl Amqp {
    fn is_client(&self, direction: Direction) -> bool {
        self.client.is_none_or(|client| client == direction)
    }

    /// Refuses frames that are all there and not well-formed, before they are taken for frames.
    fn check(&self, kind: Type, payload: &[u8], frame: &Frame<'_>) -> Result<(), String> {
        if !frame.is_all() {
            return Ok(());
        }
        let mut cursor = Cursor::new(payload);
        match kind {
            Type::Method => {
                let Some((_, _, Some(method))) = method::read(&mut cursor) else { return Ok(()) };
                let read = Reader::new(cursor, false).arguments(method.arguments, &mut Vec::new());
                read.ok_or_else(|| format!("arguments of {} that are not well-formed", method.name))
            }
            Type::Header => {
                cursor.skip(12).ok_or("a header without size")?;
                let read = Reader::new(cursor, false).properties(&mut Vec::new());
                read.ok_or_else(|| "properties that are not well-formed".to_owned())
            }
            Type::Body | Type::Heartbeat => Ok(()),
        }
    }

    fn greet(&mut self, frame: &Frame<'_>, out: &mut dyn Output) {
        let version: Vec<String> = frame.data[4..].iter().map(u8::to_string).collect();
        let version = version.join("-");
        let fields = vec![
            Field::new("method", Value::Text("protocol-header".into())),
            Field::new("version", Value::Text(version.clone().into())),
        ];
        let greeting = half(frame, format!("protocol header {version}"), fields);
        match self.greeting.take() {
            Some(asked) if asked.message.direction != frame.direction => {
                exchange::pair(NAME, asked, greeting, out);
            }
            earlier => {
                earlier.into_iter().for_each(|earlier| exchange::lone(NAME, earlier, true, out));
                self.client.get_or_insert(frame.direction);
                self.greeting = Some(greeting);
            }
        }
    }

    fn end_greeting(&mut self, out: &mut dyn Output) {
        if let Some(greeting) = self.greeting.take() {
            let from_client = self.is_client(greeting.message.direction);
            exchange::lone(NAME, greeting, from_client, out);
        }
    }

    fn method(&mut self, number: u16, payload: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let direction = frame.direction;
        let mut cursor = Cursor::new(payload);
        let known = method::read(&mut cursor);
        let Some((class, id, Some(method))) = known else {
            let name = match known {
                Some((class, id, _)) => format!("class {class} method {id}"),
                None => "method: unknown".to_owned(),
            };
            let mut half = half(frame, name.clone(), vec![channel(number)]);
            half.message.fields.push(Field::new("method", Value::Text(name.into())));
            if known.is_some() {
                half.add_cause(Cause::Unsupported);
            }
            return exchange::lone(NAME, half, self.is_client(direction), out);
        };
        match method.sender {
            // Surer than the role, which is a guess where the beginning was not seen.
            Sender::Client => self.client = Some(direction),
            Sender::Server => self.client = Some(direction.reverse()),
            Sender::Both => {}
        }
        self.end_greeting(out);
        // A new method on a channel ends what was under way there.
        self.end_content((direction.index(), number), Some(Cause::Incomplete), out);
        let mut fields = vec![Field::new("method", Value::Text(method.name.into())), channel(number)];
        let mut reader = Reader::new(cursor, self.options.show_secrets);
        let is_read = reader.arguments(method.arguments, &mut fields).is_some();
        let is_longer = is_read && !reader.cursor.is_empty();
        let is_cut = reader.cut || !is_read && !frame.is_cut();
        let mut half = half(frame, summary(method, &fields), fields);
        if is_cut {
            half.add_cause(Cause::FieldTruncated);
        }
        if is_longer {
            half.add_cause(Cause::Unsupported);
        }
        self.settle(method, number, &half, out);
        if method.has_content() {
            return self.begin_content(method, number, half, out);
        }
        let call = Call { direction, channel: number, class, id };
        match method.part {
            Part::Call if flag(&half, "no_wait") => {
                exchange::lone(NAME, half, self.is_client(direction), out)
            }
            Part::Call => self.calls.push(call, half, out),
            Part::Answer(id) => match self.calls.take(&Call { direction: direction.reverse(), id, ..call }) {
                Some(request) => exchange::pair(NAME, request, half, out),
                None => exchange::unasked(NAME, half, out),
            },
            Part::Alone if method.class == BASIC && matches!(id, 80 | 120) && !self.is_client(direction) => {
                self.confirms.settle(number, half, out);
            }
            Part::Alone => exchange::lone(NAME, half, self.is_client(direction), out),
        }
    }

    /// What a method changes for others: what both sides agree on, and what can't be answered any more.
    fn settle(&mut self, method: &Method, channel: u16, half: &Half, out: &mut dyn Output) {
        match method.name {
            "connection.tune-ok" => {
                if let Some(max) = number(half, "frame_max") {
                    // The size of all of the frame; 0 is without a limit.
                    let max = u32::try_from(max).unwrap_or(u32::MAX);
                    self.limit = if max == 0 { u32::MAX } else { max.saturating_sub(HEAD as u32 + 1) };
                }
            }
            "confirm.select" => self.confirms.begin(channel),
            "channel.open" => self.confirms.end(Some(channel), out),
            "channel.close" | "connection.close" | "channel.close-ok" | "connection.close-ok" => {
                let channel = (method.class == CHANNEL).then_some(channel);
                if method.part == Part::Call {
                    self.refuse(channel, half, out);
                }
                // What a client closes can be confirmed until the server agrees.
                if !self.is_client(half.message.direction) {
                    self.confirms.end(channel, out);
                }
            }
            _ => {}
        }
    }

    /// Whoever closes does not answer any more. A server that closes for a method tells which, and why.
    fn refuse(&mut self, channel: Option<u16>, close: &Half, out: &mut dyn Output) {
        let answered = close.message.direction.reverse();
        let cause = [number(close, "class_id"), number(close, "method_id")];
        let is_of = |call: &Call| call.direction == answered && channel.is_none_or(|of| of == call.channel);
        while let Some((call, mut request)) = self.calls.take_if(is_of) {
            if cause == [Some(call.class.into()), Some(call.id.into())]
                && let Some(code) = number(close, "reply_code")
            {
                request.message.fields.push(Field::new("refused", Value::Number(code)));
                request.summary.push_str(&format!(" (refused: {code})"));
            }
            exchange::unanswered(NAME, request, out);
        }
    }

    fn begin_content(&mut self, method: &'static Method, channel: u16, half: Half, out: &mut dyn Output) {
        let direction = half.message.direction;
        let mut content = Content::new(half, Some(method));
        match method.part {
            Part::Answer(id) => {
                let call = Call { direction: direction.reverse(), channel, class: method.class, id };
                content.request = self.calls.take(&call);
            }
            _ if method.sender == Sender::Client => content.tag = self.confirms.next(channel),
            _ => {}
        }
        self.insert((direction.index(), channel), content, out);
    }

    fn insert(&mut self, key: (usize, u16), content: Content, out: &mut dyn Output) {
        self.end_content(key, Some(Cause::Incomplete), out);
        if self.contents.len() >= CONTENTS_MAX
            && let Some(&other) = self.contents.keys().next()
        {
            self.end_content(other, Some(Cause::Limit), out);
        }
        self.contents.insert(key, content);
    }

    fn header(&mut self, number: u16, payload: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let key = (frame.direction.index(), number);
        if !self.contents.get(&key).is_some_and(Content::wants_header) {
            let content = self.unknown(number, frame);
            self.insert(key, content, out);
        } else {
            self.extend(key, frame);
        }
        let Some(content) = self.contents.get_mut(&key) else { return };
        content.header(Cursor::new(payload), frame, self.options);
        if content.is_complete() {
            self.end_content(key, None, out);
        }
    }

    fn body(&mut self, head: frame::Frame, payload: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let key = (frame.direction.index(), head.channel);
        if self.contents.get(&key).is_some_and(Content::wants_body) {
            self.extend(key, frame);
        } else {
            let content = self.unknown(head.channel, frame);
            self.insert(key, content, out);
        }
        let Some(content) = self.contents.get_mut(&key) else { return };
        content.body(payload, head.size, self.options);
        if content.is_complete() {
            self.end_content(key, None, out);
        }
    }

    /// A further frame of the message under way.
    fn extend(&mut self, key: (usize, u16), frame: &Frame<'_>) {
        if let Some(content) = self.contents.get_mut(&key) {
            content.half.extend(frame.range, frame.times[1], &frame.causes);
        }
    }

    /// A message of which the method was not seen.
    fn unknown(&self, number: u16, frame: &Frame<'_>) -> Content {
        let fields = vec![Field::new("method", Value::Text("unknown".into())), channel(number)];
        let mut half = half(frame, "message (method: unknown)".to_owned(), fields);
        half.add_cause(self.missing[frame.direction.index()].unwrap_or(Cause::Incomplete));
        Content::new(half, None)
    }

    /// The message under way on a channel ends: as a whole, or for a cause.
    fn end_content(&mut self, key: (usize, u16), cause: Option<Cause>, out: &mut dyn Output) {
        let Some(content) = self.contents.remove(&key) else { return };
        // Of what began before, nothing tells where it ends: it lacks nothing more by ending.
        let cause = cause.filter(|&cause| cause != Cause::Incomplete || content.has_known_end());
        let (mut half, request, tag, method) = content.finish(self.options);
        cause.into_iter().for_each(|cause| half.add_cause(cause));
        let from_client = self.is_client(half.message.direction);
        match (request, tag) {
            (Some(request), _) => exchange::pair(NAME, request, half, out),
            (None, Some(tag)) => self.confirms.wait(key.1, tag, half, out),
            (None, None) if method.is_some_and(|method| matches!(method.part, Part::Answer(_))) => {
                exchange::unasked(NAME, half, out);
            }
            (None, None) => exchange::lone(NAME, half, from_client, out),
        }
    }
}

fn half(frame: &Frame<'_>, summary: String, fields: Vec<Field>) -> Half {
    let mut half = Half::new(frame.direction, frame.range, frame.times, summary, fields);
    frame.causes.iter().for_each(|&cause| half.add_cause(cause));
    half
}

fn channel(number: u16) -> Field {
    Field::new("channel", Value::Number(number.into()))
}

fn value<'a>(half: &'a Half, name: &str) -> Option<&'a Value> {
    half.message.field(name)
}

fn number(half: &Half, name: &str) -> Option<i64> {
    match value(half, name) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

fn flag(half: &Half, name: &str) -> bool {
    value(half, name) == Some(&Value::Flag(true))
}

/// `exchange.declare exchange=logs type=fanout`.
fn summary(method: &Method, fields: &[Field]) -> String {
    let mut summary = method.name.to_owned();
    for field in fields {
        let text = match &field.value {
            Value::Bytes(bytes) if !bytes.is_empty() => shown(bytes),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Map(members) if field.name.ends_with("_properties") => {
                product(members).iter().for_each(|word| {
                    summary.push(' ');
                    summary.push_str(word);
                });
                continue;
            }
            _ => continue,
        };
        if SHOWN.contains(&&*field.name) {
            match &*field.name {
                "reply_code" | "reply_text" => summary.push_str(&format!(" {text}")),
                name => summary.push_str(&format!(" {name}={text}")),
            }
        }
    }
    summary
}

/// What a peer is called, and its version.
fn product(members: &[(Value, Value)]) -> Vec<String> {
    let find = |name: &str| {
        let is_it = |key: &Value| matches!(key, Value::Bytes(bytes) if bytes == name.as_bytes());
        members.iter().find(|(key, _)| is_it(key)).and_then(|(_, value)| match value {
            Value::Bytes(bytes) => Some(shown(bytes)),
            _ => None,
        })
    };
    ["product", "version"].into_iter().filter_map(find).collect()
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let more = if shown.len() < text.len() { "\u{2026}" } else { "" };
    format!("{shown}{more}")
}
