//! MongoDB: the wire protocol (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>), with compression
//! and the operations of the time before OP_MSG.
//!
//! This file leads one connection through its messages and finds out what belongs together; [`message`] takes messages
//! apart, [`compressed`] undoes their compression, [`bson`] reads documents, [`show`] says what messages mean,
//! [`detect`] knows the protocol by its content.
//!
//! A request is paired with the message whose `responseTo` is its `requestID`. To a request with `moreToCome`, and to
//! the writes of the time before commands, no answer comes. A server that streams (`exhaust`) answers its own answers:
//! those after the first are records by themselves, which say to what they belong.

mod bson;
mod compressed;
mod decimal;
mod detect;
mod message;
mod show;
#[cfg(test)]
mod tests;

use super::exchange::{self, Half, Pending};
use super::framed::{Driver, Frame, Framed, Head, KEEP_MAX};
use super::{End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::{Field, Record, Value};
use compressed::{Inner, Short};
use crc::{CRC_32_ISCSI, Crc};
use message::{Body, HEADER, Header, OP_COMPRESSED};
use show::{Message, Shown};
use std::collections::VecDeque;

/// The name in records, filters and traces.
const NAME: &str = "mongodb";

/// How many cursors of one connection are remembered with the command that opened them.
const CURSORS_MAX: usize = 1024;

/// How many streams of answers of one connection are remembered.
const STREAMS_MAX: usize = 256;

/// CRC-32C (Castagnoli), as in OP_MSG.
const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The table's row.
pub static PROTOCOL: Protocol =
    Protocol { name: NAME, detect: detect::detect, parser, datagrams: None, endpoint, keep_alives: &[] };

/// A command with its collection or database; failed with `ok: 0`, an error of the old protocol, or a failed write.
fn endpoint(record: &Record) -> Endpoint {
    let failed = record.response.as_ref().is_some_and(|response| {
        response.field("ok") == Some(&Value::Number(0))
            || ["$err", "writeErrors"].iter().any(|name| response.field(name).is_some())
    });
    Endpoint { name: endpoint::first_words(record, 2), failed }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(MongoDb {
        options,
        client: options.client(),
        requests: Pending::new(NAME),
        lost: None,
        cursors: VecDeque::new(),
        streams: VecDeque::new(),
    }))
}

/// One connection.
struct MongoDb {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    /// Requests that wait for their answers, by `requestID`.
    requests: Pending<i32>,
    /// Why answers may be missing.
    lost: Option<Cause>,
    /// Open cursors, and the summary of the command that opened each.
    cursors: VecDeque<(i64, String)>,
    /// Answers that are followed by others: the `requestID` of the last one, and the summary of what was asked.
    streams: VecDeque<(i32, String)>,
}

impl Framed for MongoDb {
    fn head(&mut self, input: Input<'_>) -> Head {
        let data = input.data;
        if !Header::is_possible(data) {
            let reason = "no header of a message".to_owned();
            return Head::Malformed { length: data.len().min(HEADER), reason };
        }
        match Header::read(data) {
            Some(header) => Head::Frame { length: header.length.into(), keep: KEEP_MAX },
            None => Head::More("the header of a message"),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let header = Header::read(frame.data).ok_or("no header")?;
        let bytes = frame.data.get(HEADER..).unwrap_or_default();
        let is_limited = !frame.is_cut() && !frame.is_all();
        let mut causes = frame.causes.clone();
        let inner = match header.op_code {
            OP_COMPRESSED => Some(compressed::inflate(bytes, frame.is_cut(), is_limited)?),
            _ => None,
        };
        if is_limited {
            causes.push(Cause::FieldTruncated);
        }
        let message = match &inner {
            Some(inner) => within(header, inner, &mut causes)?,
            None => {
                let body = message::body(header.op_code, bytes, !frame.is_all())?;
                let checksum =
                    body.checksum.map(|sum| match CHECKSUM.checksum(&frame.data[..frame.data.len() - 4]) {
                        right if right == sum => "right",
                        _ => "wrong",
                    });
                Message { header, op_code: header.op_code, compressor: None, body, checksum }
            }
        };
        let what = message::name(message.op_code).unwrap_or("an operation that is not known");
        out.frame(frame.direction, frame.range, format_args!("{what} {}", header.request_id));
        if message::name(message.op_code).is_none() {
            causes.push(Cause::Unsupported);
        }
        if message.body.is_limited {
            causes.push(Cause::Limit);
        }
        self.message(&message, frame, &causes, out);
        Ok(())
    }

    fn resync(&mut self, _: Direction, data: &[u8], at_event: bool) -> Resync {
        detect::boundary(data, at_event)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, _: &mut dyn Output) {
        // Messages say to what they belong, so nothing has to be given up.
        if self.client != Some(direction) {
            self.lost = Some(cause);
        }
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.requests.give_up(self.lost, out);
    }
}

/// The message within a compressed one.
fn within<'a>(header: Header, inner: &'a Inner, causes: &mut Vec<Cause>) -> Result<Message<'a>, String> {
    let is_cut = inner.short.is_some();
    causes.extend(match inner.short {
        Some(Short::Limit) if inner.body.is_empty() => Some(Cause::Limit),
        Some(Short::Limit) => Some(Cause::FieldTruncated),
        Some(Short::Unsupported) => Some(Cause::Unsupported),
        Some(Short::Missing) | None => None,
    });
    if inner.op_code == OP_COMPRESSED {
        return Err("OP_COMPRESSED within OP_COMPRESSED".to_owned());
    }
    let body = match inner.short {
        Some(Short::Unsupported) => Body::default(),
        _ => message::body(inner.op_code, &inner.body, is_cut)?,
    };
    let (op_code, compressor) = (inner.op_code, Some(inner.compressor));
    let checksum = body.checksum.map(|_| "of the message before its compression");
    Ok(Message { header, op_code, compressor, body, checksum })
}

impl MongoDb {
    /// Whether a message is a request: by what it says, by the side that sends it, or by what it answers.
    fn is_request(&mut self, message: &Message<'_>, direction: Direction) -> bool {
        if let Some(is_request) = message.is_request() {
            self.client = Some(if is_request { direction } else { direction.reverse() });
            return is_request;
        }
        match self.client {
            Some(client) => client == direction,
            // Some clients give -1 instead of 0.
            None => matches!(message.header.response_to, 0 | -1),
        }
    }

    fn message(&mut self, message: &Message<'_>, frame: &Frame<'_>, causes: &[Cause], out: &mut dyn Output) {
        let header = message.header;
        if self.is_request(message, frame.direction) {
            let mut shown = message.request(self.options);
            if let Some(id) = message.continued() {
                let opened =
                    self.cursors.iter().find(|(of, _)| *of == id).map(|(_, summary)| summary.clone());
                // It can have been opened on another connection, as well.
                let by = opened.map_or(Value::Text("unknown".into()), |by| Value::Bytes(by.into_bytes()));
                shown.fields.push(Field::new("cursorOpenedBy", by));
            }
            let half = half(frame, shown, causes);
            if self.requests.is_empty() {
                // What was lost before can't be the answer to this.
                self.lost = None;
            }
            match message.wants_answer() {
                true => self.requests.push(header.request_id, half, out),
                false => exchange::lone(NAME, half, true, out),
            }
            return;
        }
        let request = self.requests.take(&header.response_to);
        let is_query =
            |request: &Half| request.message.field("command").is_none() && request.summary.starts_with("OP_");
        let to_query = request.as_ref().is_some_and(is_query);
        let mut shown = message.response(to_query, self.options);
        let stream = self.streams.iter().position(|(id, _)| *id == header.response_to);
        let stream = stream.and_then(|at| self.streams.remove(at)).map(|(_, summary)| summary);
        let summary = request.as_ref().map(|request| request.summary.clone()).or_else(|| stream.clone());
        if let Some(summary) = &summary {
            self.remember(message, summary, request.as_ref());
        }
        match (request, stream) {
            (Some(request), _) => exchange::pair(NAME, request, half(frame, shown, causes), out),
            (None, Some(asked)) => {
                shown.summary = format!("{asked} (exhaust) -> {}", shown.summary);
                shown.fields.push(Field::new("exhaustOf", Value::Bytes(asked.into_bytes())));
                exchange::lone(NAME, half(frame, shown, causes), false, out);
            }
            (None, None) => exchange::unasked(NAME, half(frame, shown, causes), out),
        }
    }

    /// Keeps what later messages refer to: an open cursor, and that more answers follow.
    fn remember(&mut self, message: &Message<'_>, summary: &str, request: Option<&Half>) {
        if let Some(id) = message.cursor() {
            // A command that goes on with a cursor did not open it.
            let is_known = self.cursors.iter().any(|(of, _)| *of == id);
            let continues = request.is_some_and(|request| request.message.field("cursorOpenedBy").is_some());
            if id != 0 && !is_known && !continues {
                if self.cursors.len() >= CURSORS_MAX {
                    self.cursors.pop_front();
                }
                self.cursors.push_back((id, summary.to_owned()));
            }
        }
        let is_exhaust_query = message.op_code == message::OP_REPLY
            && message.cursor().is_some_and(|id| id != 0)
            && request.is_none_or(is_exhaust);
        if message.body.more_to_come(message.op_code) || is_exhaust_query {
            if self.streams.len() >= STREAMS_MAX {
                self.streams.pop_front();
            }
            self.streams.push_back((message.header.request_id, summary.to_owned()));
        }
    }
}

/// Whether a query of the time before OP_MSG asks for all that there is.
fn is_exhaust(request: &Half) -> bool {
    let flags = request.message.field("flagBits");
    matches!(flags, Some(Value::List(flags)) if flags.contains(&Value::Text("exhaust".into())))
}

fn half(frame: &Frame<'_>, shown: Shown, causes: &[Cause]) -> Half {
    let mut half = Half::new(frame.direction, frame.range, frame.times, shown.summary, shown.fields);
    causes.iter().for_each(|&cause| half.add_cause(cause));
    if shown.is_cut {
        half.add_cause(Cause::FieldTruncated);
    }
    half
}
