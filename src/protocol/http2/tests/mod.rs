//! Whole conversations, written from RFC 9113, RFC 7541 and the description of gRPC over HTTP/2.

mod calls;
mod connections;
mod damage;
mod exchanges;

use super::super::testing::{Outcome, Setup, Step, bytes, recv, run_damaged, run_in_cuts, send};
use super::frame::{END_HEADERS, END_STREAM, PREFACE};
use super::{PROTOCOL, frame};
use crate::protocol::Options;
use crate::record::{Message, Record, Value};

/// One frame.
fn cut(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal field that is not indexed and has a new name (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// Likewise, but entered into the table (RFC 7541, section 6.2.1).
fn indexed(name: &str, value: &str) -> Vec<u8> {
    let mut literal = field(name, value);
    literal[0] = 0x40;
    literal
}

/// `:method: GET`, `:scheme: http`, `:path` with an index of its name.
fn get(path: &str) -> Vec<u8> {
    [&[0x82, 0x86, 0x04, path.len() as u8][..], path.as_bytes()].concat()
}

fn headers(flags: u8, stream: u32, block: impl AsRef<[u8]>) -> Vec<u8> {
    cut(frame::HEADERS, flags | END_HEADERS, stream, block)
}

fn data(flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    cut(frame::DATA, flags, stream, payload)
}

/// The preface and SETTINGS of both, without acknowledgements.
fn opening() -> Vec<Step> {
    let first = cut(frame::SETTINGS, 0, 0, b"\0\x03\0\0\0\x64");
    vec![send([PREFACE, &first].concat()), recv(cut(frame::SETTINGS, 0, 0, b""))]
}

/// The first two of the records that [`opening`] makes at the end.
const OPENING: [&str; 2] = ["SETTINGS MAX_CONCURRENT_STREAMS=100 [no-response]", "SETTINGS [no-response]"];

/// Runs a conversation behind an opening, in cuts and damaged; gives what it made without the opening's records.
fn talk(steps: &[Step], options: Options) -> Outcome {
    let all = [opening(), steps.to_vec()].concat();
    let setup = Setup { options, ..Setup::default() };
    let mut outcome = run_in_cuts(&PROTOCOL, &all, setup);
    run_damaged(&PROTOCOL, &all, setup);
    assert!(outcome.skipped.is_empty(), "{:?}", outcome.skipped);
    let opened = |record: &Record| record.summary.starts_with("SETTINGS");
    assert_eq!(outcome.records.iter().filter(|record| opened(record)).count(), OPENING.len());
    outcome.records.retain(|record| !opened(record));
    outcome
}

fn check(steps: &[Step], expected: &[&str]) -> Vec<Record> {
    let outcome = talk(steps, Options { max_field: 1000, ..Options::default() });
    assert_eq!(outcome.summaries(), expected);
    outcome.records
}

fn value<'a>(message: &'a Option<Message>, name: &str) -> &'a Value {
    let fields = &message.as_ref().expect("a message").fields;
    let field = fields.iter().find(|field| field.name == name);
    &field.unwrap_or_else(|| panic!("no {name} in {fields:?}")).value
}

fn map(pairs: &[(&str, &str)]) -> Value {
    Value::Map(pairs.iter().map(|(name, value)| (bytes(name), bytes(value))).collect())
}
