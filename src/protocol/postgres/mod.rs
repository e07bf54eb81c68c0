//! PostgreSQL: the frontend/backend protocol, version 3
//! (<https://www.postgresql.org/docs/current/protocol.html>).
//!
//! This file leads one connection through its messages: [`message`] knows their types and lengths, [`startup`] how a
//! connection begins, [`request`] and [`answer`] what client and server say, [`statements`] which SQL a name stands
//! for, [`pairing`] which answer belongs to which request, [`detect`] the protocol and its boundaries by content.
//!
//! A frame is one message. A record is what is asked for in one go, with its answer: a Query, or the messages of the
//! extended protocol up to an Execute, a Flush or a Sync; a step of the login; while a connection streams replication,
//! each message by itself.
//!
//! Left out: protocol 2, which servers since 14 do not speak; what follows an agreed encryption is GSSAPI or the business of
//! [`super::tls`].

mod answer;
mod client;
mod detect;
mod message;
mod pairing;
mod replication;
mod request;
mod sql;
mod startup;
mod statements;
#[cfg(test)]
mod tests;
mod values;

use super::cursor::Cursor;
use super::exchange::{self, Half};
use super::framed::{Driver, Frame, Framed, Head};
use super::{End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::{Field, Record, Value};
use message::{HEADER, Shape, Side};
use pairing::Pairing;
use request::{Op, Request, text};
use startup::{Asked, Packet};
use statements::Tables;

/// The name in records, filters and traces.
const NAME: &str = "postgres";

/// How much of a message is looked at besides what fields may show.
const LOOK: usize = 64 << 10;

/// The least bytes of a statement that are kept, whatever fields may show.
const QUERY_MIN: usize = 1024;

/// The table's row.
pub static PROTOCOL: Protocol =
    Protocol { name: NAME, detect: detect::detect, parser, datagrams: None, endpoint, keep_alives: &[] };

/// A statement without its literals; other messages by their type.
fn endpoint(record: &Record) -> Endpoint {
    let asked = ["query", "statement", "type"].iter().find_map(|name| endpoint::asked(record, name));
    match asked {
        Some(asked) => Endpoint { name: endpoint::statement(&asked), failed: endpoint::has_error(record) },
        None => endpoint::of_summary(record),
    }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Postgres {
        options,
        client: options.client(),
        phase: Phase::Packet,
        untyped: false,
        pairing: Pairing::new(NAME, options),
        tables: Tables::default(),
        asked: None,
        streams: false,
        switched: None,
        unblocked: [false; 2],
        answered: false,
    }))
}

/// What the client sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A packet without type byte.
    Packet,
    /// What the server's answer to the request to encrypt allows.
    Negotiation,
    /// Messages.
    Messages,
    /// Either, for something was lost.
    Unknown,
}

/// One connection.
struct Postgres {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    phase: Phase,
    /// The frame under way of the client has no type byte.
    untyped: bool,
    pairing: Pairing,
    tables: Tables,
    /// What the server wants to know of the client.
    asked: Option<Asked>,
    /// CopyData goes in both directions: replication.
    streams: bool,
    /// What both directions speak since an agreement.
    switched: Option<&'static str>,
    /// Go on once without the other direction.
    unblocked: [bool; 2],
    /// The server has said something, or it is not known whether it has.
    answered: bool,
}

impl Framed for Postgres {
    fn head(&mut self, input: Input<'_>) -> Head {
        if let Some(name) = self.switched {
            return Head::Switched(name.to_owned());
        }
        match self.side(input) {
            Ok(Side::Client) => self.client_head(input),
            Ok(Side::Server) => self.server_head(input),
            Err(head) => head,
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        self.answered |= self.client != Some(frame.direction);
        if self.client == Some(frame.direction) {
            self.unblocked[frame.direction.reverse().index()] = false;
            if std::mem::take(&mut self.untyped) {
                return self.packet(frame, out);
            }
            self.client_message(frame, out);
        } else if matches!(self.pairing.next_op(), Some(Op::Negotiate(_))) && frame.length == 1
            || frame.length < HEADER as u64
        {
            self.negotiated(frame, out);
        } else {
            self.server_message(frame, out);
        }
        Ok(())
    }

    fn begin_inside(&mut self, _: Direction) {
        self.phase = Phase::Unknown;
        self.answered = true;
        self.pairing.started_late();
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        let sides: &[Side] = match self.client {
            Some(client) if client == direction => &[Side::Client],
            Some(_) => &[Side::Server],
            None => &Side::BOTH,
        };
        let packets = sides.contains(&Side::Client) && self.phase != Phase::Messages;
        detect::boundary(sides, data, at_event, packets)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        match self.client {
            Some(client) if client != direction => {
                self.answered = true;
                self.asked = None;
                if self.phase == Phase::Negotiation {
                    // The answer to the request to encrypt is lost. What the client says next tells what it was.
                    self.phase = Phase::Unknown;
                    out.step("assumed", format_args!("TLS follows if the client begins it"));
                }
                self.pairing.lost_answers(cause, out);
            }
            _ => {
                if self.phase != Phase::Messages {
                    self.phase = Phase::Unknown;
                }
                self.tables.lose();
                self.pairing.lost_requests(cause);
            }
        }
    }

    fn switched(&self) -> Option<&'static str> {
        self.switched
    }

    fn unblock(&mut self, direction: Direction) {
        self.unblocked[direction.index()] = true;
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.pairing.close(out);
    }
}

impl Postgres {
    /// Who sends in a direction; learnt from content where it is not known.
    fn side(&mut self, input: Input<'_>) -> Result<Side, Head> {
        let direction = input.direction;
        if let Some(client) = self.client {
            return Ok(if client == direction { Side::Client } else { Side::Server });
        }
        if self.phase != Phase::Messages {
            match startup::is_packet(input.data) {
                Ok(true) => return Ok(self.learn(direction)),
                Ok(false) if self.phase == Phase::Packet => return Err(Head::More("the first packet")),
                _ => {}
            }
        }
        let can_be = |side| message::shape(side, input.data) != Shape::No;
        match (can_be(Side::Client), can_be(Side::Server)) {
            (true, false) => Ok(self.learn(direction)),
            (false, true) => {
                self.learn(direction.reverse());
                Ok(Side::Server)
            }
            (true, true) if self.unblocked[direction.index()] => {
                self.learn(direction.reverse());
                Ok(Side::Server)
            }
            (true, true) => Err(Head::Other("what tells the client from the server")),
            (false, false) => Err(Head::Malformed { length: 1, reason: "no message".to_owned() }),
        }
    }

    fn learn(&mut self, client: Direction) -> Side {
        self.client = Some(client);
        Side::Client
    }

    fn client_head(&mut self, input: Input<'_>) -> Head {
        if self.phase == Phase::Negotiation {
            if !self.unblocked[input.direction.index()] {
                return Head::Other("the answer to the request to encrypt");
            }
            self.phase = Phase::Unknown;
        }
        let data = input.data;
        if self.phase == Phase::Unknown {
            // The server's yes to TLS can be among what was lost.
            if let [0x16, 3, ..] = data {
                self.switched = Some("TLS");
                return Head::Switched("TLS".to_owned());
            }
            match startup::is_packet(data) {
                Ok(true) => self.phase = Phase::Packet,
                Ok(false) => return Head::More("a packet"),
                Err(_) => self.phase = Phase::Messages,
            }
        }
        if self.phase == Phase::Packet {
            return match startup::header(data) {
                Ok(Some((_, length))) => {
                    self.untyped = true;
                    Head::Frame { length, keep: startup::PACKET_MAX as usize }
                }
                Ok(None) => Head::More("the header of a packet"),
                Err(reason) => Head::Malformed { length: data.len().min(8), reason: reason.to_owned() },
            };
        }
        typed(Side::Client, data, LOOK + self.options.max_field)
    }

    fn server_head(&mut self, input: Input<'_>) -> Head {
        let data = input.data;
        let kind = data[0];
        let unblocked = self.unblocked[input.direction.index()];
        let is_letter = matches!(kind, b'S' | b'N' | b'G');
        if let Some(Op::Negotiate(_)) = self.pairing.next_op()
            && is_letter
        {
            return Head::Frame { length: 1, keep: 1 };
        }
        if self.phase == Phase::Packet && !unblocked {
            return Head::Other("the first packet of the client");
        }
        // A server says nothing that begins with one of these letters before it has asked who the client is.
        let is_first = !self.answered;
        let is_no_message =
            || self.phase != Phase::Messages && message::shape(Side::Server, data) == Shape::No;
        if is_letter && (is_first || is_no_message()) {
            return Head::Frame { length: 1, keep: 1 };
        }
        // What comes unasked need not wait.
        let unasked = matches!(kind, b'N' | b'S' | b'A' | b'E') || self.streams;
        if !unasked && !unblocked && self.pairing.must_wait() {
            return Head::Other("its request");
        }
        let keep = match kind {
            b'D' => HEADER + 2 + if self.options.max_field > 0 { self.pairing.wants_of_row() } else { 0 },
            b'd' => HEADER + replication::KEEP,
            _ => LOOK + self.options.max_field,
        };
        typed(Side::Server, data, keep)
    }

    /// The one byte that answers an SSLRequest or GSSENCRequest.
    fn negotiated(&mut self, frame: &Frame<'_>, out: &mut dyn Output) {
        let letter = frame.data.first().copied().unwrap_or_default();
        let follows = match (self.pairing.next_op(), letter) {
            (_, b'N') => None,
            (Some(Op::Negotiate(what)), _) => Some(*what),
            (_, b'G') => Some("GSSAPI encryption"),
            _ => Some("TLS"),
        };
        let letter = char::from(letter);
        let said = follows.map_or("refused".to_owned(), |what| format!("{what} follows"));
        out.frame(frame.direction, frame.range, format_args!("{letter}: {said}"));
        let fields = vec![Field::new("answer", Value::Text(letter.to_string().into()))];
        let half = Half::new(frame.direction, frame.range, frame.times, format!("{letter} ({said})"), fields);
        self.pairing.negotiated(half, out);
        self.switched = follows;
        if self.phase == Phase::Negotiation {
            self.phase = Phase::Packet;
        }
    }

    fn server_message(&mut self, frame: &Frame<'_>, out: &mut dyn Output) {
        let kind = frame.data[0];
        let name = message::name(Side::Server, kind).unwrap_or_default();
        out.frame(frame.direction, frame.range, format_args!("{name} {}", frame.length));
        let body = &frame.data[HEADER.min(frame.data.len())..];
        if self.phase == Phase::Negotiation && kind == b'E' {
            self.phase = Phase::Packet;
        }
        if self.comes_alone(kind, body, frame) {
            return self.alone(kind, name, body, frame, out);
        }
        if kind == b'R' {
            self.asked = startup::asks(frame.data);
        }
        self.pairing.answer(kind, frame, &mut self.tables, out);
        match kind {
            b'W' => self.streams = true,
            b'C' | b'Z' | b'E' => self.streams = false,
            _ => {}
        }
    }

    /// Whether a message of the server answers nothing.
    fn comes_alone(&mut self, kind: u8, body: &[u8], frame: &Frame<'_>) -> bool {
        match kind {
            b'A' => !self.pairing.is_answering(),
            b'S' => self.pairing.is_idle(),
            b'N' | b'E' => self.pairing.is_idle() && !self.pairing.is_uncertain(),
            b'd' => {
                let length = frame.length - HEADER as u64;
                let begins =
                    self.pairing.is_idle() && replication::is_replication(Side::Server, body, length);
                self.streams |= begins;
                self.streams
            }
            b'c' => self.streams,
            _ => false,
        }
    }

    fn alone(&mut self, kind: u8, name: &'static str, body: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let mut cursor = Cursor::new(body);
        let (summary, fields) = match kind {
            b'A' => answer::notification(body),
            b'N' | b'E' => {
                let report = answer::Report::new(body);
                (report.summary(), vec![Field::new("error", report.value())])
            }
            b'S' => {
                let name = cursor.until(0).unwrap_or_default();
                let value = cursor.until(0).unwrap_or(cursor.rest());
                let [name, value] = [name, value].map(answer::short);
                let [shown, to] = [&name, &value].map(|text| String::from_utf8_lossy(text).into_owned());
                let pair = (Value::Bytes(name), Value::Bytes(value));
                let fields = vec![Field::new("parameter_status", Value::Map(vec![pair]))];
                (format!("ParameterStatus {shown}={to}"), fields)
            }
            b'd' => replication::describe(Side::Server, body, frame.length - HEADER as u64),
            _ => (name.to_owned(), Vec::new()),
        };
        let fields = with_type(name, fields);
        lone(frame, summary, fields, false, out);
    }

    /// A packet without type byte.
    fn packet(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let Ok(Some((packet, _))) = startup::header(frame.data) else {
            return Err("no packet".to_owned());
        };
        let (name, op) = match packet {
            Packet::Startup(_) => ("StartupMessage", Some(Op::Login)),
            // Nothing answers it: the server closes the connection.
            Packet::Cancel => ("CancelRequest", None),
            Packet::Ssl => ("SSLRequest", Some(Op::Negotiate("TLS"))),
            Packet::Gss => ("GSSENCRequest", Some(Op::Negotiate("GSSAPI encryption"))),
        };
        out.frame(frame.direction, frame.range, format_args!("{name}"));
        let (summary, fields) = match packet {
            Packet::Startup(minor) => startup::startup(minor, frame.data),
            Packet::Cancel => startup::cancel(frame.data, self.options.show_secrets),
            Packet::Ssl | Packet::Gss => (name.to_owned(), Vec::new()),
        };
        let Some(op) = op else {
            lone(frame, summary, with_type(name, fields), true, out);
            return Ok(());
        };
        self.phase = if op == Op::Login { Phase::Messages } else { Phase::Negotiation };
        self.pairing.client_moves(frame, out);
        self.pairing.push(Request::single(frame, name, op, summary, fields), out);
        self.pairing.settle(out);
        Ok(())
    }
}

/// A message with its type byte.
fn typed(side: Side, data: &[u8], keep: usize) -> Head {
    match message::length(side, data) {
        Ok(Some(length)) => Head::Frame { length, keep: keep.max(HEADER) },
        Ok(None) => Head::More("the length of a message"),
        Err((length, reason)) => Head::Malformed { length, reason },
    }
}

/// Fields behind the type of what comes alone, unless they say it.
fn with_type(name: &'static str, mut fields: Vec<Field>) -> Vec<Field> {
    if fields.first().is_none_or(|field| field.name != "type") {
        fields.insert(0, text("type", name));
    }
    fields
}

fn lone(frame: &Frame<'_>, summary: String, fields: Vec<Field>, from_client: bool, out: &mut dyn Output) {
    let mut half = Half::new(frame.direction, frame.range, frame.times, summary, fields);
    frame.causes.iter().for_each(|&cause| half.add_cause(cause));
    exchange::lone(NAME, half, from_client, out);
}

/// The types that a ParameterDescription tells.
fn parameter_types(frame: &Frame<'_>) -> Vec<u32> {
    let mut cursor = Cursor::new(frame.data.get(HEADER..).unwrap_or_default());
    let count = cursor.u16().unwrap_or(0);
    (0..count).map_while(|_| cursor.u32()).collect()
}
