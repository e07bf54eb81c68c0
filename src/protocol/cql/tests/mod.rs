//! The parser under whole conversations, written by hand from the specification.

mod conversations;
mod detection;
mod framing;

use super::PROTOCOL;
use crate::protocol::Options;
use crate::protocol::testing::{Outcome, Setup, Step, bytes, check_whole, field, recv, send, word};
use crate::record::Value;

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

/// A conversation, by its summaries; in all cuts and with all damage.
#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    check_whole(&PROTOCOL, steps, setup(), expected)
}

/// An envelope: version with the direction bit, flags, stream, opcode, body.
fn envelope(version: u8, flags: u8, stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = stream.to_be_bytes();
    let length = u32::try_from(body.len()).expect("a short body").to_be_bytes();
    [&[version, flags, high, low, opcode][..], &length, body].concat()
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text").to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

fn long_string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a text").to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

fn value(bytes: &[u8]) -> Vec<u8> {
    let length = i32::try_from(bytes.len()).expect("a short value").to_be_bytes();
    [&length[..], bytes].concat()
}

/// A QUERY of v4 with consistency ONE and no parameters.
fn query(stream: i16, statement: &str) -> Vec<u8> {
    envelope(4, 0, stream, 7, &[&long_string(statement)[..], &[0, 1, 0]].concat())
}

fn void(stream: i16) -> Vec<u8> {
    envelope(0x84, 0, stream, 8, &[0, 0, 0, 1])
}

fn startup(version: u8, compression: Option<&str>) -> Vec<u8> {
    let mut pairs = vec![string("CQL_VERSION"), string("3.0.0")];
    pairs.extend(compression.into_iter().flat_map(|name| [string("COMPRESSION"), string(name)]));
    let count = u16::try_from(pairs.len() / 2).expect("few").to_be_bytes();
    envelope(version, 0, 0, 1, &[&count[..], &pairs.concat()].concat())
}

fn ready(version: u8) -> Vec<u8> {
    envelope(version | 0x80, 0, 0, 2, &[])
}

/// The beginning of a connection of v4.
fn joined(compression: Option<&str>) -> [Step; 2] {
    [send(startup(4, compression)), recv(ready(4))]
}
