//! What protocols produce: a request with its response, or a lone message, as named fields and ranges.
//!
//! Protocol-neutral, so that output, comparison and manual need no edit for a new protocol. The only
//! part of the crate it knows is the vocabulary of [`crate::event`].

use crate::event::{Cause, Direction, Range, Timestamp};
use std::borrow::Cow;

/// How whole a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Everything that belongs to it was seen.
    Complete,
    /// A request whose response never came into view.
    NoResponse,
    /// A response whose request never came into view.
    NoRequest,
    /// One of its messages lacks bytes: a gap, or the connection or trace ended inside it.
    Truncated,
}

impl Status {
    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Status::Complete => "complete",
            Status::NoResponse => "no-response",
            Status::NoRequest => "no-request",
            Status::Truncated => "truncated",
        }
    }
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, or bytes that are mostly text; may hold any byte: escape before showing it.
    Bytes(Vec<u8>),
    /// Text that the parser itself chose.
    Text(Cow<'static, str>),
    /// A whole number.
    Number(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Flag(bool),
    /// Nothing, where the protocol has such a value.
    Null,
    /// Several values in order.
    List(Vec<Value>),
    /// Names with values, in order, repeats kept.
    Map(Vec<(Value, Value)>),
}

/// One named field of a message. Names are those of the protocol's standard.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The name.
    pub name: Cow<'static, str>,
    /// The value.
    pub value: Value,
}

impl Field {
    /// A field called `name`.
    pub fn new(name: impl Into<Cow<'static, str>>, value: Value) -> Field {
        Field { name: name.into(), value }
    }
}

/// One message: a request, a response, or a lone one.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Which way it went.
    pub direction: Direction,
    /// The stream bytes it was cut from, from the first to the last.
    pub range: Range,
    /// The parts of `range` that are its own, in order, where frames of other messages lie between them; empty where
    /// all of it is.
    pub parts: Vec<Range>,
    /// Time of its first byte.
    pub started: Timestamp,
    /// Time of its last byte.
    pub ended: Timestamp,
    /// Its fields.
    pub fields: Vec<Field>,
    /// Why bytes of it are missing or not decoded; empty where nothing is. That its other half is missing is followed by why.
    pub causes: Vec<Cause>,
}

/// A request with its response, or a lone message.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The protocol's name, as in the table of protocols, or that of what it carries (`grpc` over `http2`).
    pub protocol: &'static str,
    /// How whole it is.
    pub status: Status,
    /// What matters of it on one line, such as `200 GET /a?b=1 12.3 kB`, without status and latency.
    /// May hold any character of the peer's: escape before showing it.
    pub summary: String,
    /// The request, or the lone message of a client.
    pub request: Option<Message>,
    /// The response, or the lone message of a server.
    pub response: Option<Message>,
}

impl Message {
    /// The value of its first field with this name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.value)
    }

    /// The stream bytes that are its own: `parts`, or all of `range`.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + '_ {
        let whole = self.parts.is_empty().then_some(self.range);
        self.parts.iter().copied().chain(whole)
    }
}

impl Record {
    /// Time of the record's first byte.
    pub fn started(&self) -> Timestamp {
        let first = self.request.as_ref().or(self.response.as_ref());
        first.map_or(Timestamp::default(), |message| message.started)
    }

    /// Nanoseconds from the last byte of the request to the first byte of the response. Where the response begins before
    /// the request ends (data that the server asks for, streams), to its last byte.
    pub fn latency(&self) -> Option<u64> {
        let (request, response) = (self.request.as_ref()?, self.response.as_ref()?);
        let answered = if response.started < request.ended { response.ended } else { response.started };
        Some(answered.since(request.ended))
    }

    /// The messages there are: request first.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.request.iter().chain(self.response.iter())
    }

    /// Every cause that touched the record, each once, in pipeline order.
    pub fn causes(&self) -> Vec<Cause> {
        let mut causes: Vec<Cause> = self.messages().flat_map(|m| m.causes.iter().copied()).collect();
        causes.sort();
        causes.dedup();
        causes
    }
}
