//! The parser under whole conversations, written by hand from the specification.

mod conversations;
mod damage;
mod detection;

use super::PROTOCOL;
use crate::protocol::Options;
use crate::protocol::testing::{Outcome, Setup, Step, bytes, check_whole, field};
use crate::record::Value;

/// The protocol header.
const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes.push(0xce);
    bytes
}

fn method(channel: u16, class: u16, id: u16, arguments: &[u8]) -> Vec<u8> {
    frame(1, channel, &[&class.to_be_bytes(), &id.to_be_bytes(), arguments].concat())
}

/// A content header of class basic; `properties` begins with the flags.
fn header(channel: u16, size: u64, properties: &[u8]) -> Vec<u8> {
    frame(2, channel, &[&[0, 60, 0, 0], &size.to_be_bytes()[..], properties].concat())
}

fn body(channel: u16, bytes: &[u8]) -> Vec<u8> {
    frame(3, channel, bytes)
}

/// `basic.publish` to exchange `x` with routing key `k`.
fn publish(channel: u16) -> Vec<u8> {
    method(channel, 60, 40, b"\x00\x00\x01x\x01k\x00")
}

/// A conversation by its summaries, in all cuts and with all damage.
#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    check_whole(&PROTOCOL, steps, setup(), expected)
}
