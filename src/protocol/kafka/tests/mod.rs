//! The parser under whole conversations, written by hand from the protocol's guide.

mod conversations;
mod damage;
mod detection;

use super::PROTOCOL;
use crate::protocol::Options;
use crate::protocol::testing::{Outcome, Setup, Step, bytes, check_whole, field};
use crate::record::Value;

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

fn message(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

/// A request of client `me`; `tags` are those of its header, if it has any.
fn request(key: i16, version: i16, correlation: i32, tags: &[u8], body: &[u8]) -> Vec<u8> {
    let [key, version] = [key, version].map(i16::to_be_bytes);
    message(&[&key, &version, &correlation.to_be_bytes(), b"\x00\x02me", tags, body])
}

fn response(correlation: i32, tags: &[u8], body: &[u8]) -> Vec<u8> {
    message(&[&correlation.to_be_bytes(), tags, body])
}

/// A batch of version 2 of the format with that many records, compressed by that codec.
fn batch(records: i32, codec: u16) -> Vec<u8> {
    let rest = [
        // Leader's epoch, version, checksum.
        &b"\x00\x00\x00\x00\x02\xde\xad\xbe\xef"[..],
        &codec.to_be_bytes(),
        // Last offset delta, two times, producer's id and epoch, first sequence.
        &[0; 4 + 8 + 8 + 8 + 2 + 4],
        &records.to_be_bytes(),
        b"the records",
    ]
    .concat();
    [&[0; 8][..], &(rest.len() as u32).to_be_bytes(), &rest].concat()
}

/// Produce v3 of these records to partition 0 of topic `t`.
fn produce(correlation: i32, acks: i16, records: &[u8]) -> Vec<u8> {
    let body = [
        &b"\xff\xff"[..],
        &acks.to_be_bytes(),
        b"\x00\x00\x05\xdc\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01\x00\x00\x00\x00",
        &(records.len() as u32).to_be_bytes(),
        records,
    ]
    .concat();
    request(0, 3, correlation, b"", &body)
}

/// What answers it: an error code, and offset 7.
fn produced(correlation: i32, error: i16) -> Vec<u8> {
    let body = [
        &b"\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01\x00\x00\x00\x00"[..],
        &error.to_be_bytes(),
        b"\x00\x00\x00\x00\x00\x00\x00\x07\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
    ]
    .concat();
    response(correlation, b"", &body)
}

/// Heartbeat v0 of group `g`, and its answer.
fn heartbeat(correlation: i32) -> Vec<u8> {
    request(12, 0, correlation, b"", b"\x00\x01g\x00\x00\x00\x05\x00\x01m")
}

fn alive(correlation: i32) -> Vec<u8> {
    response(correlation, b"", b"\x00\x00")
}

/// A conversation by its summaries, in all cuts and with all damage.
#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    check_whole(&PROTOCOL, steps, setup(), expected)
}

/// A structure by its members.
fn map(members: &[(&'static str, Value)]) -> Value {
    Value::Map(members.iter().map(|(name, value)| (Value::Text((*name).into()), value.clone())).collect())
}
