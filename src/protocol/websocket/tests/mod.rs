//! The parser under whole conversations, written by hand from the RFCs.

mod compression;
mod damage;
mod detection;
mod messages;

use super::PROTOCOL;
use crate::event::{Direction, Range, Timestamp};
use crate::protocol::testing::Setup;
use crate::protocol::{Agreement, Options, Parser, Protocol};
use crate::record::{Field, Message, Value};

/// A key of a client.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

/// What a server answers to an upgrade with this extension and subprotocol.
fn agreement(extensions: &str, subprotocol: &str) -> Agreement {
    let pairs = [("Sec-WebSocket-Extensions", extensions), ("Sec-WebSocket-Protocol", subprotocol)];
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let headers = pairs.map(|(name, value)| (bytes(name), bytes(value))).collect();
    let answer = Message {
        direction: Direction::Recv,
        range: Range::new(0, 1),
        parts: Vec::new(),
        started: Timestamp(0),
        ended: Timestamp(0),
        fields: vec![Field::new("headers", Value::Map(headers))],
        causes: Vec::new(),
    };
    Agreement { client: answer.direction.reverse(), asked: None, answer: Some(answer) }
}

fn after(extensions: &str, subprotocol: &str, options: Options) -> Box<dyn Parser + Send> {
    let mut parser = (PROTOCOL.parser)(options);
    parser.take_over(agreement(extensions, subprotocol));
    parser
}

/// Behind a handshake without extensions.
static PLAIN: Protocol = Protocol { parser: |options| after("", "", options), ..PROTOCOL_COPY };

/// Behind one that agreed on compression with a context of earlier messages.
static DEFLATE: Protocol = Protocol {
    parser: |options| after("permessage-deflate; server_max_window_bits=15", "", options),
    ..PROTOCOL_COPY
};

/// Behind one that agreed on compression without.
static ALONE: Protocol = Protocol {
    parser: |options| {
        after("permessage-deflate; client_no_context_takeover; server_no_context_takeover", "", options)
    },
    ..PROTOCOL_COPY
};

const PROTOCOL_COPY: Protocol = Protocol {
    name: "websocket",
    detect: super::detect::detect,
    parser: super::parser,
    datagrams: None,
    endpoint: super::endpoint,
    keep_alives: &[],
};

/// A frame of a server; `first` is its first byte.
fn server(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        medium @ 126..=0xffff => {
            frame.push(126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// The same of a client.
fn client(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = server(first, payload);
    let size = frame.len() - payload.len();
    frame[1] |= 0x80;
    frame.truncate(size);
    frame.extend(KEY);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ KEY[at % 4]));
    frame
}

/// Several frames as one string of bytes.
fn all(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}
