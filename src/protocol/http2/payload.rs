//! What the DATA frames of a message carry: a plain body or messages of gRPC, and how either is shown.

use super::fields::{Fields, UNKNOWN};
use super::grpc::{self, Coding, Messages};
use crate::event::Cause;
use crate::protocol::Options;
use crate::protocol::exchange::Half;
use crate::protocol::http1::body::Body;
use crate::record::{Field, Value};

#[derive(Default)]
pub(super) enum Payload {
    /// None came.
    #[default]
    Empty,
    /// What it is has to be told by its first bytes, for its header fields don't.
    Undecided(Vec<u8>),
    Plain(Box<Body>),
    Grpc(Box<Messages>, Evidence),
    /// By its first bytes it can be gRPC's; whether it is, the rest of the stream has to tell.
    Likely(Box<Messages>, Box<Body>),
}

impl Payload {
    /// Takes bytes, once it is decided what they are.
    pub(super) fn push(&mut self, data: &[u8]) {
        match self {
            Payload::Empty | Payload::Undecided(_) => {}
            Payload::Plain(body) => body.push(data),
            Payload::Grpc(messages, _) => messages.push(data),
            Payload::Likely(messages, body) => {
                messages.push(data);
                body.push(data);
            }
        }
    }

    /// Counts bytes that are missing, likewise.
    pub(super) fn miss(&mut self, length: u64) {
        match self {
            Payload::Empty | Payload::Undecided(_) => {}
            Payload::Plain(body) => body.miss(length),
            Payload::Grpc(messages, _) => messages.miss(length),
            Payload::Likely(messages, body) => {
                messages.miss(length);
                body.miss(length);
            }
        }
    }

    /// Decides for or against gRPC where the first bytes left that open: its messages add up, and nothing that is known
    /// of the stream speaks against it (`may_be`).
    pub(super) fn decide(&mut self, may_be: bool, ended: bool) {
        *self = match std::mem::take(self) {
            Payload::Likely(messages, _) if may_be && messages.add_up(ended) => {
                Payload::Grpc(messages, Evidence::FirstBytes)
            }
            Payload::Likely(_, body) => Payload::Plain(body),
            decided => decided,
        };
    }
}

/// By what a payload was taken for gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    Said,
    FirstBytes,
}

pub(super) fn plain_payload(fields: Option<&Fields>, options: &Options) -> Payload {
    Payload::Plain(body(fields, options))
}

pub(super) fn grpc_payload(fields: Option<&Fields>, options: &Options) -> Payload {
    Payload::Grpc(messages(fields, options), Evidence::Said)
}

fn body(fields: Option<&Fields>, options: &Options) -> Box<Body> {
    let codings = fields.map_or(&[][..], |fields| &fields.codings);
    Box::new(Body::new(codings, options.max_field))
}

fn messages(fields: Option<&Fields>, options: &Options) -> Box<Messages> {
    let content_type = fields.and_then(|fields| fields.content_type.as_deref());
    let coding = Coding {
        is_protobuf: content_type.is_none_or(grpc::is_protobuf),
        encoding: fields.and_then(|fields| fields.grpc_encoding.clone()),
    };
    Box::new(Messages::new(coding, options.max_field))
}

/// A payload that can be gRPC's by its first bytes.
pub(super) fn likely_grpc(fields: Option<&Fields>, options: &Options) -> Payload {
    Payload::Likely(messages(fields, options), body(fields, options))
}

/// Adds what is shown of a payload. `coded`: it is not known whether it is compressed.
pub(super) fn add_payload(payload: Payload, coded: bool, half: &mut Half, fields: &mut Vec<Field>) {
    if coded && matches!(payload, Payload::Undecided(_) | Payload::Plain(_)) {
        fields.push(Field::new("body_coding", Value::Text(UNKNOWN.into())));
    }
    match payload {
        // The end of the stream has decided.
        Payload::Empty | Payload::Likely(..) => {}
        // Too few bytes to tell: four at most.
        Payload::Undecided(first) => fields.push(Field::new("body", Value::Bytes(first))),
        Payload::Plain(mut body) => {
            if let Some(coding) = body.unsupported.take() {
                fields.push(Field::new("body_coding", Value::Bytes(coding.into_bytes())));
                half.add_cause(Cause::Unsupported);
            }
            if let Some(shown) = body.take_shown() {
                if shown.cut {
                    half.add_cause(Cause::FieldTruncated);
                }
                fields.push(Field::new("body", Value::Bytes(shown.bytes)));
                if shown.decoded {
                    fields.push(Field::new("body_decoded", Value::Flag(true)));
                }
            }
        }
        Payload::Grpc(mut messages, evidence) => {
            let (shown, inside) = messages.finish();
            let count = i64::try_from(messages.count).unwrap_or(i64::MAX);
            fields.push(Field::new("message_count", Value::Number(count)));
            if !shown.is_empty() {
                fields.push(Field::new("messages", Value::List(shown)));
            }
            if evidence == Evidence::FirstBytes {
                fields.push(Field::new("grpc", Value::Text("by its first bytes".into())));
            }
            let fault = messages.fault.or(inside.then_some("the last message is not whole"));
            if let Some(fault) = fault {
                fields.push(Field::new("messages_fault", Value::Text(fault.into())));
            }
            if messages.cut {
                half.add_cause(Cause::FieldTruncated);
            }
            if messages.unsupported {
                half.add_cause(Cause::Unsupported);
            }
        }
    }
}
